package orgsim

import (
	"cmp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsExpress is what an Express service has besides being a service: a task definition that is made for it, and an
// infrastructure of which nothing is simulated.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/express-service-overview.html
type ecsExpress struct {
	infrastructureRole, executionRole, taskRole *string
	cpu, memory                                 *string
	container                                   *types.ExpressGatewayContainer
	scaling                                     *types.ExpressGatewayScalingTarget
	updated                                     time.Time
}

func addECSExpressOps(s *service) {
	op(s, "CreateExpressGatewayService", createExpressService)
	op(s, "UpdateExpressGatewayService", updateExpressService)
	op(s, "DescribeExpressGatewayService", describeExpressService)
	op(s, "DeleteExpressGatewayService", deleteExpressService)
}

func createExpressService(c *Call, in *ecs.CreateExpressGatewayServiceInput) (*ecs.CreateExpressGatewayServiceOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if in.InfrastructureRoleArn == nil {
		return nil, invalidParameter("infrastructureRoleArn can not be blank.")
	}
	if in.TaskDefinitionArn == nil && (in.ExecutionRoleArn == nil || in.PrimaryContainer == nil) {
		return nil, invalidParameter("executionRoleArn and primaryContainer are required without a task definition.")
	}
	x := &ecsExpress{
		infrastructureRole: in.InfrastructureRoleArn, executionRole: in.ExecutionRoleArn, taskRole: in.TaskRoleArn,
		cpu: in.Cpu, memory: in.Memory, container: in.PrimaryContainer, scaling: in.ScalingTarget, updated: c.Now,
	}
	name := aws.ToString(in.ServiceName)
	if name == "" {
		name = "express-" + c.home().ecs.id(c)[:8]
	}
	td, err := x.define(c, cl, name, in.TaskDefinitionArn)
	if err != nil {
		return nil, err
	}
	if _, err := createService(c, &ecs.CreateServiceInput{
		Cluster: in.Cluster, ServiceName: &name, TaskDefinition: td, DesiredCount: new(x.desired()), LaunchType: types.LaunchTypeFargate, Tags: in.Tags,
	}); err != nil {
		return nil, err
	}
	s := cl.services[name]
	s.express = x
	return &ecs.CreateExpressGatewayServiceOutput{Service: s.describeExpress(c)}, nil
}

func (x *ecsExpress) desired() int32 {
	if x.scaling == nil {
		return 1
	}
	return aws.ToInt32(cmp.Or(x.scaling.MinTaskCount, new(int32(1))))
}

// define gives the task definition to deploy: the one that was named, or a new revision of the service's own.
func (x *ecsExpress) define(c *Call, cl *ecsCluster, name string, given *string) (*string, error) {
	if given != nil {
		return given, nil
	}
	out, err := registerTaskDefinition(c, &ecs.RegisterTaskDefinitionInput{
		Family: new(cl.name + "-" + name), ExecutionRoleArn: x.executionRole, TaskRoleArn: x.taskRole,
		Cpu: cmp.Or(x.cpu, new("256")), Memory: cmp.Or(x.memory, new("512")),
		NetworkMode: types.NetworkModeAwsvpc, RequiresCompatibilities: []types.Compatibility{types.CompatibilityFargate},
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: new("Main"), Image: x.container.Image, Command: x.container.Command, Environment: x.container.Environment, Secrets: x.container.Secrets,
		}},
	})
	if err != nil {
		return nil, err
	}
	return out.TaskDefinition.TaskDefinitionArn, nil
}

// expressService finds an Express service by its ARN.
func (c *Call) expressService(arn *string) (*ecsServiceState, error) {
	rest, ok := strings.CutPrefix(aws.ToString(arn), c.ecsARN("service", ""))
	cluster, _, _ := strings.Cut(rest, "/")
	if cl := c.home().ecs.clusters[cluster]; ok && cl != nil {
		if s := cl.service(arn); s != nil && s.active && s.express != nil {
			return s, nil
		}
	}
	return nil, errorf("ResourceNotFoundException", "The specified Express service could not be found.")
}

func updateExpressService(c *Call, in *ecs.UpdateExpressGatewayServiceInput) (*ecs.UpdateExpressGatewayServiceOutput, error) {
	s, err := c.expressService(in.ServiceArn)
	if err != nil {
		return nil, errorf("ServiceNotFoundException", "Service not found.")
	}
	x := *s.express
	x.container, x.scaling = cmp.Or(in.PrimaryContainer, x.container), cmp.Or(in.ScalingTarget, x.scaling)
	x.executionRole, x.taskRole = cmp.Or(in.ExecutionRoleArn, x.executionRole), cmp.Or(in.TaskRoleArn, x.taskRole)
	x.cpu, x.memory, x.updated = cmp.Or(in.Cpu, x.cpu), cmp.Or(in.Memory, x.memory), c.Now
	if in.TaskDefinitionArn == nil && x.container == nil {
		return nil, invalidParameter("A service with a task definition of its own needs a task definition.")
	}
	td, err := x.define(c, s.cluster, s.name, in.TaskDefinitionArn)
	if err != nil {
		return nil, err
	}
	if _, err := updateService(c, &ecs.UpdateServiceInput{Cluster: &s.cluster.name, Service: &s.name, TaskDefinition: td, DesiredCount: new(x.desired())}); err != nil {
		return nil, err
	}
	s.express = &x
	d := s.describeExpress(c)
	return &ecs.UpdateExpressGatewayServiceOutput{Service: &types.UpdatedExpressGatewayService{
		Cluster: d.Cluster, CreatedAt: d.CreatedAt, ServiceArn: d.ServiceArn, ServiceName: d.ServiceName, Status: d.Status,
		TargetConfiguration: &d.ActiveConfigurations[0], UpdatedAt: d.UpdatedAt,
	}}, nil
}

func describeExpressService(c *Call, in *ecs.DescribeExpressGatewayServiceInput) (*ecs.DescribeExpressGatewayServiceOutput, error) {
	s, err := c.expressService(in.ServiceArn)
	if err != nil {
		return nil, err
	}
	return &ecs.DescribeExpressGatewayServiceOutput{Service: s.describeExpress(c)}, nil
}

func deleteExpressService(c *Call, in *ecs.DeleteExpressGatewayServiceInput) (*ecs.DeleteExpressGatewayServiceOutput, error) {
	s, err := c.expressService(in.ServiceArn)
	if err != nil {
		return nil, errorf("ServiceNotFoundException", "Service not found.")
	}
	if _, err := deleteService(c, &ecs.DeleteServiceInput{Cluster: &s.cluster.name, Service: &s.name, Force: new(true)}); err != nil {
		return nil, err
	}
	return &ecs.DeleteExpressGatewayServiceOutput{Service: s.describeExpress(c)}, nil
}

func (s *ecsServiceState) describeExpress(c *Call) *types.ECSExpressGatewayService {
	x := s.express
	d := &types.ECSExpressGatewayService{
		Cluster: &s.cluster.name, CreatedAt: new(s.created), CurrentDeployment: &s.deployment.arn, InfrastructureRoleArn: x.infrastructureRole,
		ServiceArn: &s.arn, ServiceName: &s.name, Status: &types.ExpressGatewayServiceStatus{StatusCode: types.ExpressGatewayServiceStatusCodeInactive},
		Tags: c.home().ecs.tags[s.arn], UpdatedAt: new(x.updated),
	}
	if s.active {
		d.Status = &types.ExpressGatewayServiceStatus{StatusCode: types.ExpressGatewayServiceStatusCodeActive}
	}
	for _, dep := range s.visible() {
		d.ActiveConfigurations = append(d.ActiveConfigurations, types.ExpressGatewayServiceConfiguration{
			Cpu: dep.fleet.definition.Cpu, CreatedAt: new(dep.created), ExecutionRoleArn: dep.fleet.definition.ExecutionRoleArn, Memory: dep.fleet.definition.Memory,
			PrimaryContainer: x.container, ScalingTarget: x.scaling, ServiceRevisionArn: &dep.revision, TaskDefinitionArn: dep.fleet.definition.TaskDefinitionArn, TaskRoleArn: x.taskRole,
		})
	}
	return d
}
