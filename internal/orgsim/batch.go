package orgsim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"
)

type batchState struct {
	definitions map[string][]*types.JobDefinition // by name, in order of revision
	queues      shelf[types.JobQueueDetail]
	jobs        shelf[types.JobDetail] // by id
	serial      int
}

func batchService() *service {
	s := &service{name: "batch", protocol: restJSON, lowerCamel: true, badParameter: "ClientException"}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for _, revisions := range r.batch.definitions {
			for _, d := range revisions {
				if *d.Status == "ACTIVE" {
					batchImages(d, func(text string) { use(text, "", *d.JobDefinitionArn) })
				}
			}
		}
		for _, j := range r.batch.jobs.all() {
			if j.Container != nil && j.Status != types.JobStatusSucceeded && j.Status != types.JobStatusFailed {
				use(aws.ToString(j.Container.Image), "", *j.JobArn)
			}
		}
	}
	op(s, "RegisterJobDefinition", func(c *Call, in *batch.RegisterJobDefinitionInput) (*batch.RegisterJobDefinitionOutput, error) {
		b := &c.home().batch
		if b.definitions == nil {
			b.definitions = make(map[string][]*types.JobDefinition)
		}
		name := aws.ToString(in.JobDefinitionName)
		revision := int32(len(b.definitions[name]) + 1)
		d := &types.JobDefinition{
			JobDefinitionName: &name, Revision: &revision, Status: new("ACTIVE"), Type: new(string(in.Type)),
			JobDefinitionArn:    new(c.arn("batch", fmt.Sprintf("job-definition/%s:%d", name, revision))),
			ContainerProperties: in.ContainerProperties, EcsProperties: in.EcsProperties, EksProperties: in.EksProperties, NodeProperties: in.NodeProperties,
		}
		b.definitions[name] = append(slices.Clip(b.definitions[name]), d)
		return &batch.RegisterJobDefinitionOutput{JobDefinitionArn: d.JobDefinitionArn, JobDefinitionName: &name, Revision: &revision}, nil
	}, route("POST", "/v1/registerjobdefinition", 200))
	op(s, "DeregisterJobDefinition", func(c *Call, in *batch.DeregisterJobDefinitionInput) (*batch.DeregisterJobDefinitionOutput, error) {
		b := &c.home().batch
		name, revision := jobDefinitionName(aws.ToString(in.JobDefinition))
		for i, d := range b.definitions[name] {
			if *d.Revision == revision {
				gone := *d
				gone.Status = new("INACTIVE")
				b.definitions[name] = slices.Clone(b.definitions[name])
				b.definitions[name][i] = &gone
			}
		}
		return &batch.DeregisterJobDefinitionOutput{}, nil
	}, route("POST", "/v1/deregisterjobdefinition", 200))
	op(s, "DescribeJobDefinitions", describeJobDefinitions, route("POST", "/v1/describejobdefinitions", 200))
	op(s, "CreateJobQueue", func(c *Call, in *batch.CreateJobQueueInput) (*batch.CreateJobQueueOutput, error) {
		arn := c.arn("batch", "job-queue/"+aws.ToString(in.JobQueueName))
		c.home().batch.queues.put(*in.JobQueueName, types.JobQueueDetail{
			JobQueueArn: &arn, JobQueueName: in.JobQueueName, State: types.JQStateEnabled, Status: types.JQStatusValid, Priority: in.Priority,
			ComputeEnvironmentOrder: in.ComputeEnvironmentOrder,
		})
		return &batch.CreateJobQueueOutput{JobQueueArn: &arn, JobQueueName: in.JobQueueName}, nil
	}, route("POST", "/v1/createjobqueue", 200))
	op(s, "DescribeJobQueues", func(c *Call, in *batch.DescribeJobQueuesInput) (*batch.DescribeJobQueuesOutput, error) {
		list, next, err := page(c.home().batch.queues.all(), in.MaxResults, 100, 100, in.NextToken)
		return &batch.DescribeJobQueuesOutput{JobQueues: list, NextToken: next}, err
	}, route("POST", "/v1/describejobqueues", 200))
	op(s, "SubmitJob", submitJob, route("POST", "/v1/submitjob", 200))
	op(s, "TerminateJob", func(c *Call, in *batch.TerminateJobInput) (*batch.TerminateJobOutput, error) {
		b := &c.home().batch
		if j, ok := b.jobs.get(aws.ToString(in.JobId)); ok {
			j.Status = types.JobStatusFailed
			b.jobs.put(*in.JobId, j)
		}
		return &batch.TerminateJobOutput{}, nil
	}, route("POST", "/v1/terminatejob", 200))
	op(s, "ListJobs", func(c *Call, in *batch.ListJobsInput) (*batch.ListJobsOutput, error) {
		status := in.JobStatus
		if status == "" {
			status = types.JobStatusRunning
		}
		var list []types.JobSummary
		for _, j := range c.home().batch.jobs.all() {
			if j.Status == status && strings.HasSuffix(*j.JobQueue, aws.ToString(in.JobQueue)) {
				list = append(list, types.JobSummary{JobId: j.JobId, JobArn: j.JobArn, JobName: j.JobName, Status: j.Status, JobDefinition: j.JobDefinition})
			}
		}
		list, next, err := page(list, in.MaxResults, 100, 100, in.NextToken)
		return &batch.ListJobsOutput{JobSummaryList: list, NextToken: next}, err
	}, route("POST", "/v1/listjobs", 200))
	op(s, "DescribeJobs", func(c *Call, in *batch.DescribeJobsInput) (*batch.DescribeJobsOutput, error) {
		if len(in.Jobs) > 100 {
			return nil, errorf("ClientException", "at most 100 jobs")
		}
		out := &batch.DescribeJobsOutput{Jobs: []types.JobDetail{}}
		for _, id := range in.Jobs {
			if j, ok := c.home().batch.jobs.get(id[strings.LastIndexByte(id, '/')+1:]); ok {
				out.Jobs = append(out.Jobs, j)
			}
		}
		return out, nil
	}, route("POST", "/v1/describejobs", 200))
	return s
}

func jobDefinitionName(text string) (name string, revision int32) {
	text = text[strings.LastIndexByte(text, '/')+1:]
	name, number, _ := strings.Cut(text, ":")
	n, _ := strconv.ParseInt(number, 10, 32)
	return name, int32(n)
}

func batchImages(d *types.JobDefinition, f func(string)) {
	props := func(c *types.ContainerProperties, e *types.EcsProperties, k *types.EksProperties) {
		if c != nil {
			f(aws.ToString(c.Image))
		}
		if e != nil {
			for _, t := range e.TaskProperties {
				for _, c := range t.Containers {
					f(aws.ToString(c.Image))
				}
			}
		}
		if k != nil && k.PodProperties != nil {
			for _, c := range slices.Concat(k.PodProperties.InitContainers, k.PodProperties.Containers) {
				f(aws.ToString(c.Image))
			}
		}
	}
	props(d.ContainerProperties, d.EcsProperties, d.EksProperties)
	if d.NodeProperties != nil {
		for _, n := range d.NodeProperties.NodeRangeProperties {
			props(n.Container, n.EcsProperties, n.EksProperties)
		}
	}
}

// describeJobDefinitions: by name or ARN inactive ones are shown too, until they are forgotten after 180 days.
func describeJobDefinitions(c *Call, in *batch.DescribeJobDefinitionsInput) (*batch.DescribeJobDefinitionsOutput, error) {
	b := &c.home().batch
	var list []types.JobDefinition
	if len(in.JobDefinitions) > 100 {
		return nil, errorf("ClientException", "at most 100 job definitions")
	}
	names := slices.Clone(in.JobDefinitions)
	if len(names) == 0 {
		for name := range b.definitions {
			if in.JobDefinitionName == nil || *in.JobDefinitionName == name {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	for _, text := range names {
		name, revision := jobDefinitionName(text)
		for _, d := range b.definitions[name] {
			if (revision == 0 || *d.Revision == revision) && (in.Status == nil || *d.Status == *in.Status) {
				list = append(list, *d)
			}
		}
	}
	list, next, err := page(list, in.MaxResults, 100, 100, in.NextToken)
	return &batch.DescribeJobDefinitionsOutput{JobDefinitions: list, NextToken: next}, err
}

// submitJob starts a job that runs until it is terminated.
func submitJob(c *Call, in *batch.SubmitJobInput) (*batch.SubmitJobOutput, error) {
	b := &c.home().batch
	name, revision := jobDefinitionName(aws.ToString(in.JobDefinition))
	var d *types.JobDefinition
	for _, x := range b.definitions[name] {
		if *x.Status == "ACTIVE" && (revision == 0 || *x.Revision == revision) {
			d = x
		}
	}
	if d == nil {
		return nil, errorf("ClientException", "JobDefinition %s not found", aws.ToString(in.JobDefinition))
	}
	queue := aws.ToString(in.JobQueue)
	if _, ok := b.queues.get(queue[strings.LastIndexByte(queue, '/')+1:]); !ok {
		return nil, errorf("ClientException", "JobQueue %s not found", queue)
	}
	b.serial++
	id := fmt.Sprintf("%08x-0000-4000-8000-%012x", b.serial, b.serial)
	j := types.JobDetail{
		JobId: &id, JobArn: new(c.arn("batch", "job/"+id)), JobName: in.JobName, JobQueue: new(c.arn("batch", "job-queue/"+queue[strings.LastIndexByte(queue, '/')+1:])),
		JobDefinition: d.JobDefinitionArn, Status: types.JobStatusRunning, StartedAt: new(c.Now.UnixMilli()),
	}
	if d.ContainerProperties != nil {
		j.Container = &types.ContainerDetail{Image: d.ContainerProperties.Image}
	}
	b.jobs.put(id, j)
	return &batch.SubmitJobOutput{JobArn: j.JobArn, JobId: &id, JobName: in.JobName}, nil
}
