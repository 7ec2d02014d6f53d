package scan

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/image"
)

type taskAPI interface {
	ecs.ListTasksAPIClient
	ecs.DescribeTasksAPIClient
}

const describeTasksBatch = 100

// tasks looks at the tasks of a cluster: running ones, and those that stopped within the last hour or so.
func (s *ecsScan) tasks(ctx context.Context, cluster string) {
	listed, _ := s.listTasks(ctx, cluster)
	var missing []string
	for batch := range slices.Chunk(sortedKeys(listed), describeTasksBatch) {
		out, err := s.api.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: batch})
		if err != nil {
			s.failIn(ctx, "DescribeTasks", cluster, err)
			continue
		}
		var answered []string
		for i := range out.Tasks {
			answered = append(answered, aws.ToString(out.Tasks[i].TaskArn))
			s.task(&out.Tasks[i])
		}
		missing = append(missing, s.unanswered("DescribeTasks", batch, answered, out.Failures)...)
	}
	s.missing("DescribeTasks", missing, func() (map[string]bool, bool) { return s.listTasks(ctx, cluster) })
}

func (s *ecsScan) listTasks(ctx context.Context, cluster string) (arns map[string]bool, complete bool) {
	arns, complete = make(map[string]bool), true
	// Running ones first: a task that stops between the two lists is in both and not in neither. They include those that
	// are still to start; and no task ever has the third status, PENDING, as its desired one.
	for _, status := range []types.DesiredStatus{types.DesiredStatusRunning, types.DesiredStatusStopped} {
		p := ecs.NewListTasksPaginator(s.api, &ecs.ListTasksInput{
			Cluster: &cluster, DesiredStatus: status, MaxResults: aws.Int32(ecsPage),
		})
		for out, err := range pages(ctx, p) {
			if err != nil {
				s.failIn(ctx, "ListTasks", cluster, err)
				complete = false
				break
			}
			for _, arn := range out.TaskArns {
				arns[arn] = true
			}
		}
	}
	return arns, complete
}

func (s *ecsScan) task(t *types.Task) {
	arn, definition := aws.ToString(t.TaskArn), aws.ToString(t.TaskDefinitionArn)
	live := aws.ToString(t.LastStatus) != "STOPPED"
	told := len(t.Containers) > 0 && !slices.ContainsFunc(t.Containers, func(c types.Container) bool {
		return aws.ToString(c.Image) == "" || aws.ToString(c.ImageDigest) == ""
	})
	s.refer(definition, referrer{use: image.Use{Source: "ecs-task", Resource: arn, Live: live}, kind: byTask, told: told})
	for i := range t.Containers {
		c := &t.Containers[i]
		detail := "container " + aws.ToString(c.Name)
		if !live {
			detail += ", stopped"
		}
		use := image.Use{Source: "ecs-task", Resource: arn, Detail: detail, Live: live}
		if live && aws.ToString(c.ImageDigest) == "" && t.StartedAt != nil {
			// The agent is too old to tell. What has not started yet is still to resolve its tag.
			use.Since = t.StartedAt.UTC()
		}
		s.run(container{
			use: use, op: "DescribeTasks", definition: definition, name: aws.ToString(c.Name), digest: aws.ToString(c.ImageDigest),
		}, aws.ToString(c.Image))
	}
}
