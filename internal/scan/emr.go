package scan

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless/types"

	"demurrage/internal/image"
)

// https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/endpoints-quotas.html
var emrAll = bucket{name: "everything", rate: 10, burst: 20, adapt: true}

var emrOps = map[string]bucket{
	"ListApplications": emrAll,
	"GetApplication":   emrAll,
}

// https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/endpoints-quotas.html
var emrRegions = []string{
	"af-south-1", "ap-east-1", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-southeast-1", "ap-southeast-2",
	"ap-southeast-3", "ca-central-1", "cn-north-1", "cn-northwest-1", "eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1",
	"eu-west-2", "eu-west-3", "il-central-1", "me-central-1", "me-south-1", "sa-east-1", "us-east-1", "us-east-2", "us-gov-east-1",
	"us-gov-west-1", "us-west-1", "us-west-2",
}

const emrPage = 50

type emrAPI interface {
	emrserverless.ListApplicationsAPIClient
	GetApplication(context.Context, *emrserverless.GetApplicationInput, ...func(*emrserverless.Options)) (*emrserverless.GetApplicationOutput, error)
}

// scanEMR looks at the custom images of applications of EMR Serverless: of the application and of its kinds of workers.
// The digest is resolved when the application is created or updated.
//
// https://docs.aws.amazon.com/emr/latest/EMR-Serverless-UserGuide/application-custom-image.html
func scanEMR(ctx context.Context, w *work) {
	var api emrAPI = emrserverless.NewFromConfig(w.cfg)
	var ids []string
	for out, err := range pages(ctx, emrserverless.NewListApplicationsPaginator(api, &emrserverless.ListApplicationsInput{MaxResults: aws.Int32(emrPage)})) {
		if err != nil {
			w.fail("ListApplications", "", err)
			break
		}
		for i := range out.Applications {
			if out.Applications[i].State != types.ApplicationStateTerminated {
				ids = append(ids, aws.ToString(out.Applications[i].Id))
			}
		}
	}
	each(ctx, w, 4, slices.Values(ids), func(id string) {
		const op = "GetApplication"
		out, err := api.GetApplication(ctx, &emrserverless.GetApplicationInput{ApplicationId: &id})
		switch {
		case errorCode(err) == (&types.ResourceNotFoundException{}).ErrorCode(): // deleted meanwhile
		case err != nil:
			w.fail(op, id, err)
		case out.Application == nil:
			w.fail(op, id, errNoAnswer)
		default:
			a := out.Application
			use := image.Use{Source: "emr-serverless-application", Resource: aws.ToString(a.Arn), Live: true}
			w.images(op, use, a.ImageConfiguration)
			w.images(op, use, a.WorkerTypeSpecifications)
		}
	})
}
