package scan

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"

	"demurrage/internal/image"
)

// App Runner publishes no rates.
var apprunnerAll = bucket{name: "everything", rate: 10, burst: 10, adapt: true}

var apprunnerOps = map[string]bucket{
	"ListServices":    apprunnerAll,
	"DescribeService": apprunnerAll,
}

// https://docs.aws.amazon.com/general/latest/gr/apprunner.html
var apprunnerRegions = []string{
	"ap-northeast-1", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "eu-central-1", "eu-west-1", "eu-west-2", "eu-west-3",
	"us-east-1", "us-east-2", "us-west-2",
}

const apprunnerPage = 20

type apprunnerAPI interface {
	apprunner.ListServicesAPIClient
	DescribeService(context.Context, *apprunner.DescribeServiceInput, ...func(*apprunner.Options)) (*apprunner.DescribeServiceOutput, error)
}

// scanAppRunner looks at the images of services, paused ones included. The image is deployed from its tag; which digest
// that was App Runner does not tell.
//
// https://docs.aws.amazon.com/apprunner/latest/dg/service-source-image.html
func scanAppRunner(ctx context.Context, w *work) {
	var api apprunnerAPI = apprunner.NewFromConfig(w.cfg)
	var arns []string
	for out, err := range pages(ctx, apprunner.NewListServicesPaginator(api, &apprunner.ListServicesInput{MaxResults: aws.Int32(apprunnerPage)})) {
		if err != nil {
			w.fail("ListServices", "", err)
			break
		}
		for i := range out.ServiceSummaryList {
			arns = append(arns, aws.ToString(out.ServiceSummaryList[i].ServiceArn))
		}
	}
	each(ctx, w, 4, slices.Values(arns), func(arn string) {
		const op = "DescribeService"
		out, err := api.DescribeService(ctx, &apprunner.DescribeServiceInput{ServiceArn: &arn})
		switch {
		case errorCode(err) == (&types.ResourceNotFoundException{}).ErrorCode(): // deleted meanwhile
		case err != nil:
			w.fail(op, arn, err)
		case out.Service == nil:
			w.fail(op, arn, errNoAnswer)
		case out.Service.Status != types.ServiceStatusDeleted:
			w.images(op, image.Use{Source: "apprunner-service", Resource: arn, Live: true}, out.Service.SourceConfiguration)
		}
	})
}
