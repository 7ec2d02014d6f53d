package orgsim

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless/types"
)

type emrState struct {
	applications shelf[types.Application] // by id
}

// emrService is EMR Serverless without jobs. Images are resolved when an application is created.
func emrService() *service {
	s := &service{name: "emr-serverless", protocol: restJSON, lowerCamel: true, badParameter: "ValidationException"}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for _, a := range r.emr.applications.all() {
			if a.ImageConfiguration != nil {
				use(aws.ToString(a.ImageConfiguration.ImageUri), aws.ToString(a.ImageConfiguration.ResolvedImageDigest), *a.Arn)
			}
			for _, w := range a.WorkerTypeSpecifications {
				use(aws.ToString(w.ImageConfiguration.ImageUri), aws.ToString(w.ImageConfiguration.ResolvedImageDigest), *a.Arn)
			}
		}
	}
	resolve := func(c *Call, in *types.ImageConfigurationInput) *types.ImageConfiguration {
		if in == nil {
			return nil
		}
		out := &types.ImageConfiguration{ImageUri: in.ImageUri}
		if ref, ok := parseImageRef(aws.ToString(in.ImageUri)); ok {
			if _, im := c.Server.locate(ref); im != nil {
				out.ResolvedImageDigest = new(im.digest.String())
			}
		}
		return out
	}
	op(s, "CreateApplication", func(c *Call, in *emrserverless.CreateApplicationInput) (*emrserverless.CreateApplicationOutput, error) {
		id := fmt.Sprintf("00f%013d", len(c.home().emr.applications.items)+1)
		a := types.Application{ApplicationId: &id, Arn: new(c.arn("emr-serverless", "/applications/"+id)), Name: in.Name, Type: in.Type, ReleaseLabel: in.ReleaseLabel,
			State: types.ApplicationStateCreated, CreatedAt: new(c.Now), UpdatedAt: new(c.Now), ImageConfiguration: resolve(c, in.ImageConfiguration)}
		for name, w := range in.WorkerTypeSpecifications {
			if a.WorkerTypeSpecifications == nil {
				a.WorkerTypeSpecifications = make(map[string]types.WorkerTypeSpecification)
			}
			a.WorkerTypeSpecifications[name] = types.WorkerTypeSpecification{ImageConfiguration: resolve(c, w.ImageConfiguration)}
		}
		c.home().emr.applications.put(id, a)
		return &emrserverless.CreateApplicationOutput{ApplicationId: &id, Arn: a.Arn, Name: in.Name}, nil
	}, route("POST", "/applications", 200))
	op(s, "DeleteApplication", func(c *Call, in *emrserverless.DeleteApplicationInput) (*emrserverless.DeleteApplicationOutput, error) {
		a, ok := c.home().emr.applications.get(aws.ToString(in.ApplicationId))
		if !ok {
			return nil, errorf("ResourceNotFoundException", "Application %s does not exist", aws.ToString(in.ApplicationId))
		}
		a.State = types.ApplicationStateTerminated
		c.home().emr.applications.put(*in.ApplicationId, a)
		return &emrserverless.DeleteApplicationOutput{}, nil
	}, route("DELETE", "/applications/{ApplicationId}", 200))
	op(s, "GetApplication", func(c *Call, in *emrserverless.GetApplicationInput) (*emrserverless.GetApplicationOutput, error) {
		a, ok := c.home().emr.applications.get(aws.ToString(in.ApplicationId))
		if !ok {
			return nil, errorf("ResourceNotFoundException", "Application %s does not exist", aws.ToString(in.ApplicationId))
		}
		return &emrserverless.GetApplicationOutput{Application: &a}, nil
	}, route("GET", "/applications/{ApplicationId}", 200))
	op(s, "ListApplications", func(c *Call, in *emrserverless.ListApplicationsInput) (*emrserverless.ListApplicationsOutput, error) {
		var list []types.ApplicationSummary
		for _, a := range c.home().emr.applications.all() {
			list = append(list, types.ApplicationSummary{Id: a.ApplicationId, Arn: a.Arn, Name: a.Name, State: a.State, Type: a.Type, ReleaseLabel: a.ReleaseLabel,
				CreatedAt: a.CreatedAt, UpdatedAt: a.UpdatedAt})
		}
		list, next, err := page(list, in.MaxResults, 50, 50, in.NextToken)
		return &emrserverless.ListApplicationsOutput{Applications: list, NextToken: next}, err
	}, route("GET", "/applications", 200, "MaxResults", "NextToken", "States"))
	return s
}
