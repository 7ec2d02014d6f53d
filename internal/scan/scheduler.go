package scan

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"demurrage/internal/image"
)

// https://docs.aws.amazon.com/scheduler/latest/UserGuide/scheduler-quotas.html
var (
	schedulerList = bucket{name: "ListSchedules", rate: 50, burst: 50}
	schedulerGet  = bucket{name: "GetSchedule", rate: 250, burst: 250}
)

var schedulerOps = map[string]bucket{
	"ListSchedules": schedulerList,
	"GetSchedule":   schedulerGet,
}

const schedulerPage = 100

type schedulerAPI interface {
	scheduler.ListSchedulesAPIClient
	GetSchedule(context.Context, *scheduler.GetScheduleInput, ...func(*scheduler.Options)) (*scheduler.GetScheduleOutput, error)
}

// schedulerScan looks at what schedules of every group start. The list tells a target's ARN alone, so that each
// schedule has to be asked for.
type schedulerScan struct {
	*work
	api schedulerAPI
}

func scanScheduler(ctx context.Context, w *work) {
	s := &schedulerScan{work: w, api: scheduler.NewFromConfig(w.cfg)}
	var schedules []types.ScheduleSummary
	p := scheduler.NewListSchedulesPaginator(s.api, &scheduler.ListSchedulesInput{MaxResults: aws.Int32(schedulerPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("ListSchedules", "", err)
			break
		}
		schedules = append(schedules, out.Schedules...)
	}
	each(ctx, w, 8, slices.Values(schedules), func(summary types.ScheduleSummary) { s.schedule(ctx, &summary) })
}

func (s *schedulerScan) schedule(ctx context.Context, summary *types.ScheduleSummary) {
	out, err := s.api.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: summary.Name, GroupName: summary.GroupName})
	if err != nil {
		if errorCode(err) != (&types.ResourceNotFoundException{}).ErrorCode() { // it was deleted meanwhile
			s.fail("GetSchedule", aws.ToString(summary.Arn), err)
		}
		return
	}
	use := image.Use{
		Source: "scheduler-schedule", Resource: aws.ToString(out.Arn), Detail: "schedule " + aws.ToString(out.Name),
		Live: out.State != types.ScheduleStateDisabled,
	}
	if !use.Live {
		use.Detail += ", disabled"
	}
	t := out.Target
	if t == nil {
		return
	}
	if t.EcsParameters != nil {
		s.pin("ecs", aws.ToString(t.EcsParameters.TaskDefinitionArn), use)
	}
	if arn := aws.ToString(t.Arn); strings.Contains(arn, ":lambda:") {
		s.pin("lambda", arn, use)
	}
	// Targets that can be any operation of AWS say in their input what to start.
	// https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
	s.mentions("GetSchedule", use, aws.ToString(t.Input))
}
