package orgsim

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/apprunner/types"
)

type appRunnerState struct {
	services shelf[types.Service] // by ARN
	serial   int
}

// appRunnerService is App Runner, whose services run at once.
func appRunnerService() *service {
	s := &service{name: "apprunner", protocol: json10, targetPrefix: "AppRunner", badParameter: "InvalidRequestException"}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for arn, svc := range r.appRunner.services.items {
			if svc.SourceConfiguration.ImageRepository != nil {
				use(aws.ToString(svc.SourceConfiguration.ImageRepository.ImageIdentifier), "", arn)
			}
		}
	}
	op(s, "CreateService", func(c *Call, in *apprunner.CreateServiceInput) (*apprunner.CreateServiceOutput, error) {
		a := &c.home().appRunner
		a.serial++
		id := fmt.Sprintf("%032x", a.serial)
		arn := c.arn("apprunner", "service/"+aws.ToString(in.ServiceName)+"/"+id)
		svc := types.Service{ServiceArn: &arn, ServiceId: &id, ServiceName: in.ServiceName, SourceConfiguration: in.SourceConfiguration,
			Status: types.ServiceStatusRunning, CreatedAt: new(c.Now), UpdatedAt: new(c.Now)}
		a.services.put(arn, svc)
		return &apprunner.CreateServiceOutput{Service: &svc, OperationId: &id}, nil
	})
	op(s, "PauseService", func(c *Call, in *apprunner.PauseServiceInput) (*apprunner.PauseServiceOutput, error) {
		svc, ok := c.home().appRunner.services.get(aws.ToString(in.ServiceArn))
		if !ok {
			return nil, errorf("ResourceNotFoundException", "Service with the provided arn does not exist: %s", aws.ToString(in.ServiceArn))
		}
		svc.Status = types.ServiceStatusPaused
		c.home().appRunner.services.put(*svc.ServiceArn, svc)
		return &apprunner.PauseServiceOutput{Service: &svc}, nil
	})
	op(s, "DeleteService", func(c *Call, in *apprunner.DeleteServiceInput) (*apprunner.DeleteServiceOutput, error) {
		svc, ok := c.home().appRunner.services.get(aws.ToString(in.ServiceArn))
		if !ok {
			return nil, errorf("ResourceNotFoundException", "Service with the provided arn does not exist: %s", aws.ToString(in.ServiceArn))
		}
		c.home().appRunner.services.drop(*svc.ServiceArn)
		svc.Status = types.ServiceStatusDeleted
		return &apprunner.DeleteServiceOutput{Service: &svc, OperationId: svc.ServiceId}, nil
	})
	op(s, "ListServices", func(c *Call, in *apprunner.ListServicesInput) (*apprunner.ListServicesOutput, error) {
		var list []types.ServiceSummary
		for _, svc := range c.home().appRunner.services.all() {
			list = append(list, types.ServiceSummary{ServiceArn: svc.ServiceArn, ServiceId: svc.ServiceId, ServiceName: svc.ServiceName, Status: svc.Status})
		}
		list, next, err := page(list, in.MaxResults, 20, 20, in.NextToken)
		return &apprunner.ListServicesOutput{ServiceSummaryList: list, NextToken: next}, err
	})
	op(s, "DescribeService", func(c *Call, in *apprunner.DescribeServiceInput) (*apprunner.DescribeServiceOutput, error) {
		svc, ok := c.home().appRunner.services.get(aws.ToString(in.ServiceArn))
		if !ok {
			return nil, errorf("ResourceNotFoundException", "Service with the provided arn does not exist: %s", aws.ToString(in.ServiceArn))
		}
		return &apprunner.DescribeServiceOutput{Service: &svc}, nil
	})
	return s
}
