package orgsim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"
)

type schedulerState struct {
	schedules shelf[scheduler.GetScheduleOutput] // by group/name
}

// schedulerService is EventBridge Scheduler, whose schedules never fire.
func schedulerService() *service {
	s := &service{name: "scheduler", protocol: restJSON, badParameter: "ValidationException"}
	s.bucket = func(operation string) (string, int, int) {
		if operation == "GetSchedule" {
			return operation, 250, 250
		}
		return operation, 50, 50
	}
	key := func(group, name *string) string {
		if aws.ToString(group) == "" {
			group = new("default")
		}
		return *group + "/" + aws.ToString(name)
	}
	notFound := func(name string) error {
		return errorf("ResourceNotFoundException", "Schedule %s does not exist.", name)
	}
	op(s, "CreateSchedule", func(c *Call, in *scheduler.CreateScheduleInput) (*scheduler.CreateScheduleOutput, error) {
		k := key(in.GroupName, in.Name)
		if _, ok := c.home().scheduler.schedules.get(k); ok {
			return nil, errorf("ConflictException", "Schedule %s already exists.", k)
		}
		state := in.State
		if state == "" {
			state = types.ScheduleStateEnabled
		}
		group := k[:len(k)-len(*in.Name)-1]
		arn := c.arn("scheduler", "schedule/"+k)
		c.home().scheduler.schedules.put(k, scheduler.GetScheduleOutput{
			Arn: &arn, Name: in.Name, GroupName: &group, State: state, Target: in.Target, ScheduleExpression: in.ScheduleExpression,
			FlexibleTimeWindow: in.FlexibleTimeWindow, CreationDate: new(c.Now), LastModificationDate: new(c.Now),
		})
		return &scheduler.CreateScheduleOutput{ScheduleArn: &arn}, nil
	}, route("POST", "/schedules/{Name}", 200))
	op(s, "GetSchedule", func(c *Call, in *scheduler.GetScheduleInput) (*scheduler.GetScheduleOutput, error) {
		k := key(in.GroupName, in.Name)
		out, ok := c.home().scheduler.schedules.get(k)
		if !ok {
			return nil, notFound(k)
		}
		return &out, nil
	}, route("GET", "/schedules/{Name}", 200, "GroupName"))
	op(s, "DeleteSchedule", func(c *Call, in *scheduler.DeleteScheduleInput) (*scheduler.DeleteScheduleOutput, error) {
		k := key(in.GroupName, in.Name)
		if _, ok := c.home().scheduler.schedules.get(k); !ok {
			return nil, notFound(k)
		}
		c.home().scheduler.schedules.drop(k)
		return &scheduler.DeleteScheduleOutput{}, nil
	}, route("DELETE", "/schedules/{Name}", 200, "GroupName"))
	op(s, "ListSchedules", func(c *Call, in *scheduler.ListSchedulesInput) (*scheduler.ListSchedulesOutput, error) {
		var list []types.ScheduleSummary
		for _, x := range c.home().scheduler.schedules.all() {
			if in.GroupName == nil || *in.GroupName == *x.GroupName {
				list = append(list, types.ScheduleSummary{Arn: x.Arn, Name: x.Name, GroupName: x.GroupName, State: x.State,
					CreationDate: x.CreationDate, LastModificationDate: x.LastModificationDate, Target: &types.TargetSummary{Arn: x.Target.Arn}})
			}
		}
		list, next, err := page(list, in.MaxResults, 100, 100, in.NextToken)
		return &scheduler.ListSchedulesOutput{Schedules: list, NextToken: next}, err
	}, route("GET", "/schedules", 200, "ScheduleGroup=GroupName", "MaxResults", "NamePrefix", "NextToken", "State"))
	return s
}
