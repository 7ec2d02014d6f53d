package orgsim

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsFamily is a task definition family: revision N is at N-1. A change of status replaces the value.
type ecsFamily struct {
	name      string
	revisions []*types.TaskDefinition
}

func addECSTaskDefinitionOps(s *service) {
	op(s, "RegisterTaskDefinition", registerTaskDefinition)
	op(s, "DeregisterTaskDefinition", deregisterTaskDefinition)
	op(s, "DeleteTaskDefinitions", deleteTaskDefinitions)
	op(s, "DescribeTaskDefinition", describeTaskDefinition)
	op(s, "ListTaskDefinitions", listTaskDefinitions)
	op(s, "ListTaskDefinitionFamilies", listTaskDefinitionFamilies)
}

func clientError(format string, args ...any) error { return errorf("ClientException", format, args...) }

// latest is the newest ACTIVE revision; nil if there is none.
func (f *ecsFamily) latest() *types.TaskDefinition {
	for _, td := range slices.Backward(f.revisions) {
		if td.Status == types.TaskDefinitionStatusActive {
			return td
		}
	}
	return nil
}

// taskDefinition finds what `family`, `family:revision` or an ARN names; nil if it is not there.
func (c *Call) taskDefinition(ref *string) *types.TaskDefinition {
	name := aws.ToString(ref)
	if strings.HasPrefix(name, "arn:") {
		rest, ok := strings.CutPrefix(name, c.ecsARN("task-definition", ""))
		if !ok {
			return nil
		}
		name = rest
	}
	family, revision, exact := strings.Cut(name, ":")
	f := c.home().ecs.families[family]
	if f == nil {
		return nil
	}
	if !exact {
		return f.latest()
	}
	n, err := strconv.Atoi(revision)
	if err != nil || n < 1 || n > len(f.revisions) {
		return nil
	}
	return f.revisions[n-1]
}

// runnableTaskDefinition is one that tasks can be started from.
func (c *Call) runnableTaskDefinition(ref *string) (*types.TaskDefinition, error) {
	td := c.taskDefinition(ref)
	if td == nil {
		return nil, clientError("TaskDefinition not found.")
	}
	if td.Status != types.TaskDefinitionStatusActive {
		return nil, clientError("TaskDefinition is inactive")
	}
	return td, nil
}

func (c *Call) setStatus(td *types.TaskDefinition, status types.TaskDefinitionStatus) *types.TaskDefinition {
	changed := *td
	changed.Status = status
	switch status {
	case types.TaskDefinitionStatusInactive:
		changed.DeregisteredAt = new(c.Now)
	case types.TaskDefinitionStatusDeleteInProgress:
		changed.DeleteRequestedAt = new(c.Now)
	}
	c.home().ecs.families[*td.Family].revisions[td.Revision-1] = &changed
	return &changed
}

func registerTaskDefinition(c *Call, in *ecs.RegisterTaskDefinitionInput) (*ecs.RegisterTaskDefinitionOutput, error) {
	family := aws.ToString(in.Family)
	if family == "" || len(family) > 255 || strings.ContainsAny(family, ":/ ") {
		return nil, clientError("Invalid 'family' setting for task definition.")
	}
	if len(in.ContainerDefinitions) == 0 {
		return nil, clientError("Container list cannot be empty.")
	}
	containers := slices.Clone(in.ContainerDefinitions)
	for i := range containers {
		if aws.ToString(containers[i].Image) == "" {
			return nil, clientError("Container.image should not be null or empty.")
		}
		if containers[i].Essential == nil {
			containers[i].Essential = new(true)
		}
	}
	e := &c.home().ecs
	if e.families == nil {
		e.families = make(map[string]*ecsFamily)
	}
	f := e.families[family]
	if f == nil {
		f = &ecsFamily{name: family}
		e.families[family] = f
	}
	revision := int32(len(f.revisions) + 1)
	td := &types.TaskDefinition{
		Compatibilities:         []types.Compatibility{types.CompatibilityEc2},
		ContainerDefinitions:    containers,
		Cpu:                     in.Cpu,
		EnableFaultInjection:    in.EnableFaultInjection,
		EphemeralStorage:        in.EphemeralStorage,
		ExecutionRoleArn:        in.ExecutionRoleArn,
		Family:                  &family,
		IpcMode:                 in.IpcMode,
		Memory:                  in.Memory,
		NetworkMode:             in.NetworkMode,
		PidMode:                 in.PidMode,
		PlacementConstraints:    in.PlacementConstraints,
		ProxyConfiguration:      in.ProxyConfiguration,
		RegisteredAt:            new(c.Now),
		RegisteredBy:            new(c.Caller.ARN),
		RequiresCompatibilities: in.RequiresCompatibilities,
		Revision:                revision,
		RuntimePlatform:         in.RuntimePlatform,
		Status:                  types.TaskDefinitionStatusActive,
		TaskDefinitionArn:       new(c.ecsARN("task-definition", family+":"+strconv.Itoa(int(revision)))),
		TaskRoleArn:             in.TaskRoleArn,
		Volumes:                 in.Volumes,
	}
	if slices.Contains(in.RequiresCompatibilities, types.CompatibilityFargate) {
		td.Compatibilities = append(td.Compatibilities, types.CompatibilityFargate)
	}
	f.revisions = append(f.revisions, td)
	e.setTags(*td.TaskDefinitionArn, in.Tags)
	return &ecs.RegisterTaskDefinitionOutput{TaskDefinition: td, Tags: in.Tags}, nil
}

func deregisterTaskDefinition(c *Call, in *ecs.DeregisterTaskDefinitionInput) (*ecs.DeregisterTaskDefinitionOutput, error) {
	if name := aws.ToString(in.TaskDefinition); !strings.Contains(name[strings.LastIndexByte(name, '/')+1:], ":") {
		return nil, clientError("Revision is missing.")
	}
	td := c.taskDefinition(in.TaskDefinition)
	if td == nil {
		return nil, clientError("Unable to describe task definition.")
	}
	if td.Status != types.TaskDefinitionStatusActive {
		return nil, clientError("The specified task definition is %s. Specify an ACTIVE task definition and try again.", strings.ToLower(string(td.Status)))
	}
	return &ecs.DeregisterTaskDefinitionOutput{TaskDefinition: c.setStatus(td, types.TaskDefinitionStatusInactive)}, nil
}

// deleteTaskDefinitions moves INACTIVE revisions to DELETE_IN_PROGRESS, where they stay.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteTaskDefinitions.html
func deleteTaskDefinitions(c *Call, in *ecs.DeleteTaskDefinitionsInput) (*ecs.DeleteTaskDefinitionsOutput, error) {
	if len(in.TaskDefinitions) < 1 || len(in.TaskDefinitions) > 10 {
		return nil, invalidParameter("taskDefinitions must have between 1 and 10 entries.")
	}
	out := &ecs.DeleteTaskDefinitionsOutput{TaskDefinitions: []types.TaskDefinition{}, Failures: []types.Failure{}}
	for _, ref := range in.TaskDefinitions {
		td := c.taskDefinition(&ref)
		switch {
		case td == nil:
			out.Failures = append(out.Failures, types.Failure{Arn: &ref, Reason: new("TASK_DEFINITION_NOT_FOUND"), Detail: new("The specified task definition could not be found. Specify a valid task definition and try again.")})
		case td.Status == types.TaskDefinitionStatusActive:
			out.Failures = append(out.Failures, types.Failure{Arn: td.TaskDefinitionArn, Reason: new("TASK_DEFINITION_NOT_INACTIVE"), Detail: new("The specified task definition is still in ACTIVE status. Please deregister the target and try again.")})
		default:
			out.TaskDefinitions = append(out.TaskDefinitions, *c.setStatus(td, types.TaskDefinitionStatusDeleteInProgress))
		}
	}
	return out, nil
}

func describeTaskDefinition(c *Call, in *ecs.DescribeTaskDefinitionInput) (*ecs.DescribeTaskDefinitionOutput, error) {
	td := c.taskDefinition(in.TaskDefinition)
	if td == nil {
		return nil, clientError("Unable to describe task definition.")
	}
	out := &ecs.DescribeTaskDefinitionOutput{TaskDefinition: td}
	if slices.Contains(in.Include, types.TaskDefinitionFieldTags) {
		out.Tags = c.home().ecs.tags[*td.TaskDefinitionArn]
	}
	return out, nil
}

// listTaskDefinitions lists by family, then revision. FamilyPrefix is the full name of a family.
func listTaskDefinitions(c *Call, in *ecs.ListTaskDefinitionsInput) (*ecs.ListTaskDefinitionsOutput, error) {
	e := &c.home().ecs
	status := cmp.Or(in.Status, types.TaskDefinitionStatusActive)
	if !slices.Contains(status.Values(), status) {
		return nil, invalidParameter("status should be one of %v", status.Values())
	}
	var found []*types.TaskDefinition
	for _, name := range slices.Sorted(maps.Keys(e.families)) {
		if in.FamilyPrefix != nil && *in.FamilyPrefix != name {
			continue
		}
		for _, td := range e.families[name].revisions {
			if td.Status == status {
				found = append(found, td)
			}
		}
	}
	if in.Sort == types.SortOrderDesc {
		slices.Reverse(found)
	}
	found, next, err := page(found, in.MaxResults, 100, 100, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &ecs.ListTaskDefinitionsOutput{NextToken: next, TaskDefinitionArns: []string{}}
	for _, td := range found {
		out.TaskDefinitionArns = append(out.TaskDefinitionArns, *td.TaskDefinitionArn)
	}
	return out, nil
}

// listTaskDefinitionFamilies lists families by prefix: ACTIVE ones have an ACTIVE revision, INACTIVE ones do not.
func listTaskDefinitionFamilies(c *Call, in *ecs.ListTaskDefinitionFamiliesInput) (*ecs.ListTaskDefinitionFamiliesOutput, error) {
	e := &c.home().ecs
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(e.families)) {
		active := e.families[name].latest() != nil
		if !strings.HasPrefix(name, aws.ToString(in.FamilyPrefix)) ||
			in.Status == types.TaskDefinitionFamilyStatusActive && !active ||
			in.Status == types.TaskDefinitionFamilyStatusInactive && active {
			continue
		}
		names = append(names, name)
	}
	names, next, err := page(names, in.MaxResults, 100, 100, in.NextToken)
	return &ecs.ListTaskDefinitionFamiliesOutput{Families: names, NextToken: next}, err
}
