package orgsim

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsTaskSet is a deployment of a CODE_DEPLOY or EXTERNAL service.
type ecsTaskSet struct {
	id, arn, externalID, startedBy string
	service                        *ecsServiceState
	created, updated               time.Time
	launchType                     types.LaunchType
	scale                          float64 // percent of the service's desired count
	status                         string  // PRIMARY, ACTIVE; DRAINING in the answer to its deletion
	fleet                          *ecsFleet
}

func addECSTaskSetOps(s *service) {
	op(s, "CreateTaskSet", createTaskSet)
	op(s, "UpdateTaskSet", updateTaskSet)
	op(s, "UpdateServicePrimaryTaskSet", updateServicePrimaryTaskSet)
	op(s, "DescribeTaskSets", describeTaskSets)
	op(s, "DeleteTaskSet", deleteTaskSet)
}

// addTaskSet deploys a task definition as a new task set, with the digests that its images have now.
func (s *ecsServiceState) addTaskSet(c *Call, td *types.TaskDefinition, set *ecsTaskSet) {
	e := &c.home().ecs
	set.id = "ecs-svc/" + e.number(c)
	set.arn = c.ecsARN("task-set", s.cluster.name, s.name, set.id)
	set.service, set.created, set.updated = s, c.Now, c.Now
	images := c.containerImages(td)
	set.fleet = &ecsFleet{
		cluster: s.cluster, definition: td, images: images,
		spec: taskSpec{group: "service:" + s.name, startedBy: set.id, launchType: set.launchType, pinned: images},
	}
	set.fleet.spec.fleet = set.fleet
	s.sets = append(slices.Clip(s.sets), set)
	set.fleet.keep(c, set.desired())
}

// desired is the task set's share of the service's desired count, rounded up.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskSet.html
func (set *ecsTaskSet) desired() int32 {
	return int32(math.Ceil(float64(set.service.desired) * set.scale / 100))
}

func (s *ecsServiceState) scaleTaskSets(c *Call) {
	for _, set := range s.sets {
		set.fleet.keep(c, set.desired())
	}
}

func (set *ecsTaskSet) describe(c *Call) types.TaskSet {
	d := types.TaskSet{
		ClusterArn:           &set.service.cluster.arn,
		ComputedDesiredCount: set.desired(),
		CreatedAt:            new(set.created),
		Id:                   &set.id,
		LaunchType:           set.launchType,
		RunningCount:         set.fleet.running(),
		Scale:                &types.Scale{Unit: types.ScaleUnitPercent, Value: set.scale},
		ServiceArn:           &set.service.arn,
		StabilityStatus:      types.StabilityStatusSteadyState,
		StabilityStatusAt:    new(set.updated),
		Status:               new(set.status),
		TaskDefinition:       set.fleet.definition.TaskDefinitionArn,
		TaskSetArn:           &set.arn,
		UpdatedAt:            new(set.updated),
		Tags:                 c.home().ecs.tags[set.arn],
	}
	if set.fleet.failed > 0 {
		d.StabilityStatus = types.StabilityStatusStabilizing
	}
	if set.externalID != "" {
		d.ExternalId = &set.externalID
	}
	if set.startedBy != "" {
		d.StartedBy = &set.startedBy
	}
	return d
}

// taskSetService finds the service of a task set request; the ECS controller has no task sets.
func taskSetService(c *Call, cluster, service *string) (*ecsServiceState, error) {
	cl, err := c.cluster(cluster)
	if err != nil {
		return nil, err
	}
	s, err := cl.activeService(service)
	if err != nil {
		return nil, err
	}
	if s.controller == types.DeploymentControllerTypeEcs {
		return nil, invalidParameter("Invalid deployment controller type: ECS. Task sets are supported by the CODE_DEPLOY and EXTERNAL deployment controllers.")
	}
	return s, nil
}

// taskSet finds a task set by id ("ecs-svc/…") or ARN.
func (s *ecsServiceState) taskSet(ref *string) (*ecsTaskSet, error) {
	name := aws.ToString(ref)
	for _, set := range s.sets {
		if set.arn == name || set.id == name || strings.TrimPrefix(set.id, "ecs-svc/") == name {
			return set, nil
		}
	}
	return nil, errorf("TaskSetNotFoundException", "The specified task set wasn't found.")
}

func checkScale(scale *types.Scale) error {
	if scale != nil && (scale.Value < 0 || scale.Value > 100) {
		return invalidParameter("Scale value must be between 0 and 100.")
	}
	return nil
}

func createTaskSet(c *Call, in *ecs.CreateTaskSetInput) (*ecs.CreateTaskSetOutput, error) {
	s, err := taskSetService(c, in.Cluster, in.Service)
	if err != nil {
		return nil, err
	}
	if err := checkScale(in.Scale); err != nil {
		return nil, err
	}
	td, err := c.runnableTaskDefinition(in.TaskDefinition)
	if err != nil {
		return nil, err
	}
	set := &ecsTaskSet{
		externalID: aws.ToString(in.ExternalId),
		launchType: launchType(in.LaunchType, in.CapacityProviderStrategy),
		status:     "ACTIVE",
	}
	if in.Scale != nil {
		set.scale = in.Scale.Value
	}
	s.addTaskSet(c, td, set)
	c.home().ecs.setTags(set.arn, in.Tags)
	return &ecs.CreateTaskSetOutput{TaskSet: new(set.describe(c))}, nil
}

func updateTaskSet(c *Call, in *ecs.UpdateTaskSetInput) (*ecs.UpdateTaskSetOutput, error) {
	s, err := taskSetService(c, in.Cluster, in.Service)
	if err != nil {
		return nil, err
	}
	set, err := s.taskSet(in.TaskSet)
	if err != nil {
		return nil, err
	}
	if err := checkScale(in.Scale); err != nil {
		return nil, err
	}
	if in.Scale != nil {
		set.scale, set.updated = in.Scale.Value, c.Now
		set.fleet.keep(c, set.desired())
	}
	return &ecs.UpdateTaskSetOutput{TaskSet: new(set.describe(c))}, nil
}

func updateServicePrimaryTaskSet(c *Call, in *ecs.UpdateServicePrimaryTaskSetInput) (*ecs.UpdateServicePrimaryTaskSetOutput, error) {
	s, err := taskSetService(c, in.Cluster, in.Service)
	if err != nil {
		return nil, err
	}
	primary, err := s.taskSet(in.PrimaryTaskSet)
	if err != nil {
		return nil, err
	}
	for _, set := range s.sets {
		set.status = "ACTIVE"
	}
	primary.status, primary.updated = "PRIMARY", c.Now
	return &ecs.UpdateServicePrimaryTaskSetOutput{TaskSet: new(primary.describe(c))}, nil
}

func describeTaskSets(c *Call, in *ecs.DescribeTaskSetsInput) (*ecs.DescribeTaskSetsOutput, error) {
	s, err := taskSetService(c, in.Cluster, in.Service)
	if err != nil {
		return nil, err
	}
	out := &ecs.DescribeTaskSetsOutput{TaskSets: []types.TaskSet{}, Failures: []types.Failure{}}
	sets := s.sets
	if len(in.TaskSets) > 0 {
		sets = nil
		for _, ref := range in.TaskSets {
			set, err := s.taskSet(&ref)
			if err != nil {
				arn := ref
				if !strings.HasPrefix(ref, "arn:") {
					arn = c.ecsARN("task-set", s.cluster.name, s.name, ref)
				}
				out.Failures = append(out.Failures, missing(arn))
				continue
			}
			sets = append(sets, set)
		}
	}
	for _, set := range sets {
		d := set.describe(c)
		if !slices.Contains(in.Include, types.TaskSetFieldTags) {
			d.Tags = nil
		}
		out.TaskSets = append(out.TaskSets, d)
	}
	return out, nil
}

func deleteTaskSet(c *Call, in *ecs.DeleteTaskSetInput) (*ecs.DeleteTaskSetOutput, error) {
	s, err := taskSetService(c, in.Cluster, in.Service)
	if err != nil {
		return nil, err
	}
	set, err := s.taskSet(in.TaskSet)
	if err != nil {
		return nil, err
	}
	if set.scale > 0 && !aws.ToBool(in.Force) {
		return nil, invalidParameter("The task set cannot be deleted while it is scaled above 0. Use force to delete it.")
	}
	set.scale, set.status, set.updated = 0, "DRAINING", c.Now
	set.fleet.keep(c, 0)
	s.sets = slices.DeleteFunc(slices.Clone(s.sets), func(x *ecsTaskSet) bool { return x == set })
	return &ecs.DeleteTaskSetOutput{TaskSet: new(set.describe(c))}, nil
}
