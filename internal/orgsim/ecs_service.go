package orgsim

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsServiceState is a service. Under the ECS controller its tasks are the fleets of its deployments, under
// CODE_DEPLOY and EXTERNAL those of its task sets.
type ecsServiceState struct {
	name, arn  string
	cluster    *ecsCluster
	active     bool
	created    time.Time
	createdBy  string
	controller types.DeploymentControllerType
	strategy   types.SchedulingStrategy
	launchType types.LaunchType
	desired    int32
	settings   ecs.CreateServiceInput // what is only kept and answered

	ecsRollouts               // ECS controller
	sets        []*ecsTaskSet // the other controllers
	history     []string      // ARNs of service deployments, oldest first
	express     *ecsExpress   // of an Express service
}

// ecsFleet keeps a number of tasks of one task definition running, with the images that were pinned when it was
// deployed.
type ecsFleet struct {
	cluster    *ecsCluster
	definition *types.TaskDefinition
	images     []types.ContainerImage
	spec       taskSpec
	desired    int32
	failed     int32
	tasks      []*ecsTask // running
}

// keep starts or stops tasks until n run. Tasks that cannot start are not tried again until the next change.
func (f *ecsFleet) keep(c *Call, n int32) {
	f.desired = n
	f.tasks = slices.DeleteFunc(f.tasks, (*ecsTask).stopped)
	for int32(len(f.tasks)) > n {
		last := len(f.tasks) - 1
		f.tasks[last].stop(c, types.TaskStopCodeServiceSchedulerInitiated, "Scaling activity initiated by (deployment "+f.spec.startedBy+")")
		f.tasks = f.tasks[:last]
	}
	f.failed = 0
	for i := int32(len(f.tasks)); i < n; i++ {
		t := c.startTask(f.cluster, f.definition, f.spec)
		if t.stopped() {
			f.failed++
			continue
		}
		f.tasks = append(f.tasks, t)
	}
}

func (f *ecsFleet) running() int32 { return int32(len(f.tasks)) }

func addECSServiceOps(s *service) {
	op(s, "CreateService", createService)
	op(s, "UpdateService", updateService)
	op(s, "DeleteService", deleteService)
	op(s, "ListServices", listServices)
	op(s, "DescribeServices", describeServices, settles(), resource(func(c *Call, in *ecs.DescribeServicesInput) []string {
		var arns []string
		for _, name := range in.Services {
			arns = append(arns, c.serviceARN(in.Cluster, name))
		}
		return arns
	}))
}

func (c *Call) serviceARN(cluster *string, name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return c.ecsARN("service", clusterName(cluster), name)
}

// service finds a service, deleted ones too, by name or ARN.
func (cl *ecsCluster) service(ref *string) *ecsServiceState {
	s := cl.services[lastSegment(aws.ToString(ref))]
	if s == nil || strings.HasPrefix(*ref, "arn:") && *ref != s.arn {
		return nil
	}
	return s
}

func (cl *ecsCluster) activeService(ref *string) (*ecsServiceState, error) {
	s := cl.service(ref)
	if s == nil {
		return nil, errorf("ServiceNotFoundException", "Service not found.")
	}
	if !s.active {
		return nil, errorf("ServiceNotActiveException", "Service was not ACTIVE.")
	}
	return s, nil
}

func createService(c *Call, in *ecs.CreateServiceInput) (*ecs.CreateServiceOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.ServiceName)
	if name == "" || len(name) > 255 || strings.ContainsAny(name, "/: ") {
		return nil, invalidParameter("Invalid service name.")
	}
	if old := cl.services[name]; old != nil && old.active {
		return nil, invalidParameter("Creation of service was not idempotent.")
	}
	s := &ecsServiceState{
		name: name, arn: c.ecsARN("service", cl.name, name), cluster: cl, active: true,
		created: c.Now, createdBy: c.Caller.ARN,
		controller: types.DeploymentControllerTypeEcs,
		strategy:   cmp.Or(in.SchedulingStrategy, types.SchedulingStrategyReplica),
		launchType: launchType(in.LaunchType, in.CapacityProviderStrategy),
		settings:   *in,
	}
	if in.DeploymentController != nil {
		s.controller = cmp.Or(in.DeploymentController.Type, s.controller)
	}
	switch {
	case s.strategy == types.SchedulingStrategyDaemon && in.DesiredCount != nil:
		return nil, invalidParameter("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again.")
	case s.strategy == types.SchedulingStrategyDaemon && s.controller != types.DeploymentControllerTypeEcs:
		return nil, invalidParameter("The daemon scheduling strategy is not supported by the %s deployment controller.", s.controller)
	case s.strategy == types.SchedulingStrategyDaemon:
		s.desired = 1 // one task for each container instance, of which there is one
	case aws.ToInt32(in.DesiredCount) < 0:
		return nil, invalidParameter("Desired count cannot be negative.")
	default:
		s.desired = aws.ToInt32(in.DesiredCount)
	}

	if s.controller == types.DeploymentControllerTypeExternal {
		// What runs is a matter of the task sets.
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-external.html
		if in.TaskDefinition != nil {
			return nil, invalidParameter("TaskDefinition should not be specified for services with an EXTERNAL deployment controller.")
		}
		cl.put(c, s, in.Tags)
		return &ecs.CreateServiceOutput{Service: new(s.describe(c))}, nil
	}
	if in.TaskDefinition == nil {
		return nil, invalidParameter("TaskDefinition can not be blank.")
	}
	td, err := c.runnableTaskDefinition(in.TaskDefinition)
	if err != nil {
		return nil, err
	}
	cl.put(c, s, in.Tags)
	if s.controller == types.DeploymentControllerTypeCodeDeploy {
		s.addTaskSet(c, td, &ecsTaskSet{launchType: s.launchType, scale: 100, status: "PRIMARY", startedBy: "CODE_DEPLOY"})
	} else {
		s.deploy(c, td)
	}
	return &ecs.CreateServiceOutput{Service: new(s.describe(c))}, nil
}

func (cl *ecsCluster) put(c *Call, s *ecsServiceState, tags []types.Tag) {
	cl.services[s.name] = s
	e := &c.home().ecs
	delete(e.tags, s.arn)
	e.setTags(s.arn, tags)
}

func updateService(c *Call, in *ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	s, err := cl.activeService(in.Service)
	if err != nil {
		return nil, err
	}
	if s.controller != types.DeploymentControllerTypeEcs {
		if in.TaskDefinition != nil {
			return nil, invalidParameter("Unable to update task definition on services with a %s deployment controller. Use %s to trigger a new deployment.", s.controller, controllerTool(s.controller))
		}
		if in.ForceNewDeployment {
			return nil, invalidParameter("Cannot force a new deployment on services with a %s deployment controller. Use %s to trigger a new deployment.", s.controller, controllerTool(s.controller))
		}
	}
	var td *types.TaskDefinition
	if in.TaskDefinition != nil {
		if td, err = c.runnableTaskDefinition(in.TaskDefinition); err != nil {
			return nil, err
		}
	}
	if in.DesiredCount != nil {
		if s.strategy == types.SchedulingStrategyDaemon {
			return nil, invalidParameter("The daemon scheduling strategy does not support a desired count for services. Remove the desired count value and try again.")
		}
		if *in.DesiredCount < 0 {
			return nil, invalidParameter("Desired count cannot be negative.")
		}
		s.desired = *in.DesiredCount
	}
	if in.DeploymentConfiguration != nil {
		s.settings.DeploymentConfiguration = in.DeploymentConfiguration
	}
	if s.deployment != nil {
		current := s.deployment.fleet.definition
		if td != nil && *td.TaskDefinitionArn != *current.TaskDefinitionArn || in.ForceNewDeployment {
			s.deploy(c, cmp.Or(td, current))
		} else {
			s.deployment.fleet.keep(c, s.desired)
			s.resume(c)
		}
	}
	s.scaleTaskSets(c)
	return &ecs.UpdateServiceOutput{Service: new(s.describe(c))}, nil
}

func controllerTool(t types.DeploymentControllerType) string {
	if t == types.DeploymentControllerTypeCodeDeploy {
		return "AWS CodeDeploy"
	}
	return "task sets"
}

// deleteService stops all tasks at once; the service stays describable as INACTIVE.
func deleteService(c *Call, in *ecs.DeleteServiceInput) (*ecs.DeleteServiceOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	s, err := cl.activeService(in.Service)
	if err != nil {
		return nil, err
	}
	if !aws.ToBool(in.Force) {
		if s.strategy == types.SchedulingStrategyReplica && s.desired > 0 {
			return nil, invalidParameter("The service cannot be stopped while it is scaled above 0.")
		}
		if s.controller == types.DeploymentControllerTypeExternal && len(s.sets) > 0 {
			return nil, invalidParameter("The service cannot be stopped while it has task sets.")
		}
	}
	s.desired, s.active = 0, false
	s.end(c)
	s.scaleTaskSets(c)
	s.sets = nil
	return &ecs.DeleteServiceOutput{Service: new(s.describe(c))}, nil
}

func listServices(c *Call, in *ecs.ListServicesInput) (*ecs.ListServicesOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	arns := []string{}
	for _, name := range slices.Sorted(maps.Keys(cl.services)) {
		s := cl.services[name]
		if !s.active || in.LaunchType != "" && in.LaunchType != s.launchType ||
			in.SchedulingStrategy != "" && in.SchedulingStrategy != s.strategy ||
			in.ResourceManagementType != "" && (in.ResourceManagementType == types.ResourceManagementTypeEcs) != (s.express != nil) {
			continue
		}
		arns = append(arns, s.arn)
	}
	arns, next, err := page(arns, in.MaxResults, 10, 100, in.NextToken)
	return &ecs.ListServicesOutput{ServiceArns: arns, NextToken: next}, err
}

func describeServices(c *Call, in *ecs.DescribeServicesInput) (*ecs.DescribeServicesOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if len(in.Services) < 1 {
		return nil, invalidParameter("Services cannot be empty.")
	}
	if len(in.Services) > 10 {
		return nil, invalidParameter("Services cannot be longer than 10.")
	}
	c.settleECS()
	out := &ecs.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
	for _, ref := range in.Services {
		s := cl.service(&ref)
		if s == nil {
			out.Failures = append(out.Failures, missing(c.serviceARN(in.Cluster, ref)))
			continue
		}
		d := s.describe(c)
		if slices.Contains(in.Include, types.ServiceFieldTags) {
			d.Tags = c.home().ecs.tags[s.arn]
		}
		out.Services = append(out.Services, d)
	}
	return out, nil
}

func (s *ecsServiceState) describe(c *Call) types.Service {
	d := types.Service{
		CapacityProviderStrategy:      s.settings.CapacityProviderStrategy,
		ClusterArn:                    &s.cluster.arn,
		CreatedAt:                     new(s.created),
		CreatedBy:                     &s.createdBy,
		DeploymentConfiguration:       s.settings.DeploymentConfiguration,
		DeploymentController:          &types.DeploymentController{Type: s.controller},
		DesiredCount:                  s.desired,
		EnableECSManagedTags:          s.settings.EnableECSManagedTags,
		EnableExecuteCommand:          s.settings.EnableExecuteCommand,
		Events:                        []types.ServiceEvent{},
		HealthCheckGracePeriodSeconds: s.settings.HealthCheckGracePeriodSeconds,
		LaunchType:                    s.launchType,
		LoadBalancers:                 s.settings.LoadBalancers,
		NetworkConfiguration:          s.settings.NetworkConfiguration,
		PlatformVersion:               s.settings.PlatformVersion,
		PropagateTags:                 cmp.Or(s.settings.PropagateTags, types.PropagateTagsNone),
		ResourceManagementType:        types.ResourceManagementTypeCustomer,
		SchedulingStrategy:            s.strategy,
		ServiceArn:                    &s.arn,
		ServiceName:                   &s.name,
		ServiceRegistries:             s.settings.ServiceRegistries,
		Status:                        new("INACTIVE"),
	}
	if s.express != nil {
		d.ResourceManagementType = types.ResourceManagementTypeEcs
	}
	if s.active {
		d.Status = new("ACTIVE")
	}
	if dep := s.deployment; dep != nil {
		d.TaskDefinition = dep.fleet.definition.TaskDefinitionArn
		d.RunningCount = dep.fleet.running()
		d.Deployments = []types.Deployment{}
		if s.active {
			d.CurrentServiceDeployment = &dep.arn
		}
		for i, dep := range s.visible() {
			if !s.active {
				break
			}
			d.CurrentServiceRevisions = append(d.CurrentServiceRevisions, types.ServiceCurrentRevisionSummary{
				Arn: &dep.revision, RequestedTaskCount: dep.fleet.desired, RunningTaskCount: dep.fleet.running(),
			})
			d.Deployments = append(d.Deployments, dep.describe(s, i == 0))
			if i > 0 {
				d.RunningCount += dep.fleet.running()
			}
		}
	}
	for _, set := range s.sets {
		d.TaskSets = append(d.TaskSets, set.describe(c))
		d.RunningCount += set.fleet.running()
		if set.status == "PRIMARY" {
			d.TaskDefinition = set.fleet.definition.TaskDefinitionArn
		}
	}
	return d
}
