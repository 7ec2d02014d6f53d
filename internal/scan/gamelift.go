package scan

import (
	"context"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/gamelift"
	"github.com/aws/aws-sdk-go-v2/service/gamelift/types"

	"demurrage/internal/image"
)

// GameLift publishes no rates for these.
var gameliftAll = bucket{name: "everything", rate: 5, burst: 10, adapt: true}

var gameliftOps = map[string]bucket{
	"ListContainerGroupDefinitions":        gameliftAll,
	"ListContainerGroupDefinitionVersions": gameliftAll,
	"ListContainerFleets":                  gameliftAll,
}

// https://docs.aws.amazon.com/gameliftservers/latest/developerguide/gamelift-regions.html
var gameliftRegions = []string{
	"af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
	"ap-southeast-5", "ap-southeast-7", "ca-central-1", "cn-north-1", "cn-northwest-1", "eu-central-1", "eu-north-1", "eu-south-1", "eu-west-1",
	"eu-west-2", "eu-west-3", "me-south-1", "sa-east-1", "us-east-1", "us-east-2", "us-west-1", "us-west-2",
}

const gameliftPage = 10

type gameliftAPI interface {
	gamelift.ListContainerGroupDefinitionsAPIClient
	gamelift.ListContainerGroupDefinitionVersionsAPIClient
	gamelift.ListContainerFleetsAPIClient
}

// scanGameLift looks at all versions of container group definitions: the digests that they were resolved to are what
// fleets run and can be set back to. Those that a fleet runs are live.
//
// https://docs.aws.amazon.com/gameliftservers/latest/developerguide/containers-create-groups.html
func scanGameLift(ctx context.Context, w *work) {
	var api gameliftAPI = gamelift.NewFromConfig(w.cfg)
	runs := make(map[string]string) // definition -> fleet
	for out, err := range pages(ctx, gamelift.NewListContainerFleetsPaginator(api, &gamelift.ListContainerFleetsInput{Limit: aws.Int32(gameliftPage)})) {
		if err != nil {
			w.fail("ListContainerFleets", "", err)
			break
		}
		for i := range out.ContainerFleets {
			f := &out.ContainerFleets[i]
			runs[aws.ToString(f.GameServerContainerGroupDefinitionArn)] = aws.ToString(f.FleetArn)
			runs[aws.ToString(f.PerInstanceContainerGroupDefinitionArn)] = aws.ToString(f.FleetArn)
		}
	}
	var names []string
	for out, err := range pages(ctx, gamelift.NewListContainerGroupDefinitionsPaginator(api,
		&gamelift.ListContainerGroupDefinitionsInput{Limit: aws.Int32(gameliftPage)})) {
		if err != nil {
			w.fail("ListContainerGroupDefinitions", "", err)
			break
		}
		for i := range out.ContainerGroupDefinitions {
			names = append(names, aws.ToString(out.ContainerGroupDefinitions[i].Name))
		}
	}
	each(ctx, w, 4, slices.Values(names), func(name string) {
		const op = "ListContainerGroupDefinitionVersions"
		for out, err := range pages(ctx, gamelift.NewListContainerGroupDefinitionVersionsPaginator(api,
			&gamelift.ListContainerGroupDefinitionVersionsInput{Name: &name, Limit: aws.Int32(gameliftPage)})) {
			if err != nil {
				if errorCode(err) != (&types.NotFoundException{}).ErrorCode() { // deleted meanwhile
					w.fail(op, name, err)
				}
				return
			}
			for i := range out.ContainerGroupDefinitions {
				d := &out.ContainerGroupDefinitions[i]
				arn := aws.ToString(d.ContainerGroupDefinitionArn)
				use := image.Use{Source: "gamelift-container-group-definition", Resource: arn, Detail: "version " + strconv.Itoa(int(aws.ToInt32(d.VersionNumber)))}
				if fleet := runs[arn]; fleet != "" {
					use.Live, use.Detail = true, use.Detail+", "+fleet
				}
				w.images(op, use, d)
			}
		}
	})
}
