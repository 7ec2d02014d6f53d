package scan

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	"github.com/aws/aws-sdk-go-v2/service/batch/types"

	"demurrage/internal/image"
)

// AWS Batch publishes no rates for reads.
var batchReads = bucket{name: "reads", rate: 10, burst: 20, adapt: true}

var batchOps = map[string]bucket{
	"DescribeJobDefinitions": batchReads,
	"DescribeJobQueues":      batchReads,
	"ListJobs":               batchReads,
	"DescribeJobs":           batchReads,
}

const (
	batchPage = 100 // of every list, and of explicit names
)

type batchAPI interface {
	batch.DescribeJobDefinitionsAPIClient
	batch.DescribeJobQueuesAPIClient
	batch.ListJobsAPIClient
	DescribeJobs(context.Context, *batch.DescribeJobsInput, ...func(*batch.Options)) (*batch.DescribeJobsOutput, error)
}

// batchScan looks at job definitions, all active revisions of them, and at jobs that have not ended: those were made
// of what their definition was then, be it deregistered since.
//
// https://docs.aws.amazon.com/batch/latest/userguide/job_definitions.html
type batchScan struct {
	*work
	api batchAPI
}

func scanBatch(ctx context.Context, w *work) {
	s := &batchScan{work: w, api: batch.NewFromConfig(w.cfg)}
	definitions := s.definitions(ctx)
	s.jobs(ctx)
	s.lookUp(ctx, w.pinned(ctx), definitions)
}

func resolveBatch(ctx context.Context, w *work, pinned []pin) {
	s := &batchScan{work: w, api: batch.NewFromConfig(w.cfg)}
	s.lookUp(ctx, pinned, nil)
}

// definitions records all active definitions and gives them by ARN. The newest revision of a name is what is started
// unless somebody asks for another.
func (s *batchScan) definitions(ctx context.Context) map[string]*types.JobDefinition {
	active := make(map[string]*types.JobDefinition)
	newest := make(map[string]int32)
	p := batch.NewDescribeJobDefinitionsPaginator(s.api, &batch.DescribeJobDefinitionsInput{Status: aws.String("ACTIVE"), MaxResults: aws.Int32(batchPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("DescribeJobDefinitions", "", err)
			break
		}
		for i := range out.JobDefinitions {
			d := &out.JobDefinitions[i]
			active[aws.ToString(d.JobDefinitionArn)] = d
			name := aws.ToString(d.JobDefinitionName)
			newest[name] = max(newest[name], aws.ToInt32(d.Revision))
		}
	}
	for arn, d := range active {
		live := aws.ToInt32(d.Revision) == newest[aws.ToString(d.JobDefinitionName)]
		s.definition(image.Use{Source: "batch-job-definition", Resource: arn, Live: live}, d)
	}
	return active
}

// definition records the images of a definition as used by the resource of use.
func (s *batchScan) definition(use image.Use, d *types.JobDefinition) {
	const op = "DescribeJobDefinitions"
	prefix := use.Detail
	record := func(where, text string) {
		use.Detail = strings.TrimPrefix(prefix+", "+where, ", ")
		if text != "" {
			s.use(op, use, text, "")
		}
	}
	s.properties(record, "", d.ContainerProperties, d.EcsProperties, d.EksProperties)
	if d.NodeProperties != nil {
		s.nodes(record, d.NodeProperties)
	}
}

func (s *batchScan) nodes(record func(where, text string), n *types.NodeProperties) {
	for i := range n.NodeRangeProperties {
		r := &n.NodeRangeProperties[i]
		s.properties(record, "nodes "+aws.ToString(r.TargetNodes)+", ", r.Container, r.EcsProperties, r.EksProperties)
	}
}

func (*batchScan) properties(record func(where, text string), prefix string, c *types.ContainerProperties, ecs *types.EcsProperties, eks *types.EksProperties) {
	if c != nil {
		record(prefix+"container", aws.ToString(c.Image))
	}
	if ecs != nil {
		for _, task := range ecs.TaskProperties {
			for _, c := range task.Containers {
				record(prefix+"container "+aws.ToString(c.Name), aws.ToString(c.Image))
			}
		}
	}
	if eks != nil && eks.PodProperties != nil {
		for _, c := range slices.Concat(eks.PodProperties.InitContainers, eks.PodProperties.Containers) {
			record(prefix+"container "+aws.ToString(c.Name), aws.ToString(c.Image))
		}
	}
}

// jobs looks at the jobs of every queue that have not ended. A job queue's list of one status is one call at least.
func (s *batchScan) jobs(ctx context.Context) {
	var queues []string
	p := batch.NewDescribeJobQueuesPaginator(s.api, &batch.DescribeJobQueuesInput{MaxResults: aws.Int32(batchPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("DescribeJobQueues", "", err)
			break
		}
		for i := range out.JobQueues {
			queues = append(queues, aws.ToString(out.JobQueues[i].JobQueueArn))
		}
	}
	each(ctx, s.work, 4, slices.Values(queues), func(queue string) {
		listed := make(map[string]bool)
		// In the order in which a job goes through them, so that one that moves on is seen once at least.
		for _, status := range []types.JobStatus{
			types.JobStatusSubmitted, types.JobStatusPending, types.JobStatusRunnable, types.JobStatusStarting, types.JobStatusRunning,
		} {
			p := batch.NewListJobsPaginator(s.api, &batch.ListJobsInput{JobQueue: &queue, JobStatus: status, MaxResults: aws.Int32(batchPage)})
			for out, err := range pages(ctx, p) {
				if err != nil {
					s.fail("ListJobs", queue, err)
					break
				}
				for i := range out.JobSummaryList {
					listed[aws.ToString(out.JobSummaryList[i].JobId)] = true
				}
			}
		}
		s.describeJobs(ctx, sortedKeys(listed))
	})
}

func (s *batchScan) describeJobs(ctx context.Context, ids []string) {
	for ids := range slices.Chunk(ids, batchPage) {
		out, err := s.api.DescribeJobs(ctx, &batch.DescribeJobsInput{Jobs: ids})
		if err != nil {
			s.fail("DescribeJobs", ids[0], err)
			continue
		}
		answered := make(map[string]bool)
		for i := range out.Jobs {
			answered[aws.ToString(out.Jobs[i].JobId)] = true
			s.job(&out.Jobs[i])
		}
		for _, id := range ids {
			if !answered[id] { // jobs stay for a week after their end
				s.fail("DescribeJobs", id, errNoAnswer)
			}
		}
	}
}

func (s *batchScan) job(j *types.JobDetail) {
	if j.Status == types.JobStatusSucceeded || j.Status == types.JobStatusFailed {
		return // ended meanwhile
	}
	use := image.Use{Source: "batch-job", Resource: aws.ToString(j.JobArn), Live: true}
	record := func(where, text string) {
		use.Detail = where
		if text != "" {
			s.use("DescribeJobs", use, text, "")
		}
	}
	if j.Container != nil {
		record("container", aws.ToString(j.Container.Image))
	}
	if j.EcsProperties != nil {
		for _, task := range j.EcsProperties.TaskProperties {
			for _, c := range task.Containers {
				record("container "+aws.ToString(c.Name), aws.ToString(c.Image))
			}
		}
	}
	if j.EksProperties != nil && j.EksProperties.PodProperties != nil {
		for _, c := range slices.Concat(j.EksProperties.PodProperties.InitContainers, j.EksProperties.PodProperties.Containers) {
			record("container "+aws.ToString(c.Name), aws.ToString(c.Image))
		}
	}
	if j.NodeProperties != nil {
		s.nodes(record, j.NodeProperties)
	}
}

// lookUp records the images of the definitions that others name: by ARN or by name, with a revision or as the newest.
func (s *batchScan) lookUp(ctx context.Context, pinned []pin, active map[string]*types.JobDefinition) {
	for _, p := range pinned {
		name, revision := jobDefinitionOf(p.name)
		d := find(active, name, revision)
		if d == nil {
			var err error
			if d, err = s.describe(ctx, p.name, name, revision); err != nil {
				s.fail("DescribeJobDefinitions", p.name, err)
				continue
			}
		}
		if d == nil {
			s.note(p.use.Resource, "the job definition that it starts does not exist: "+clipped(p.name))
			continue
		}
		use := p.use
		use.Detail = strings.TrimPrefix(use.Detail+", job definition "+name+":"+strconv.Itoa(int(aws.ToInt32(d.Revision))), ", ")
		s.definition(use, d)
	}
}

// describe asks for a definition that is not among the active ones.
func (s *batchScan) describe(ctx context.Context, text, name string, revision int32) (*types.JobDefinition, error) {
	in := &batch.DescribeJobDefinitionsInput{JobDefinitions: []string{text}}
	if revision == 0 {
		in = &batch.DescribeJobDefinitionsInput{JobDefinitionName: &name, Status: aws.String("ACTIVE")}
	}
	found := make(map[string]*types.JobDefinition)
	for out, err := range pages(ctx, batch.NewDescribeJobDefinitionsPaginator(s.api, in)) {
		if err != nil {
			return nil, err
		}
		for i := range out.JobDefinitions {
			found[aws.ToString(out.JobDefinitions[i].JobDefinitionArn)] = &out.JobDefinitions[i]
		}
	}
	return find(found, name, revision), nil
}

// find is the definition of a name and revision, the newest one for revision 0; nil if there is none.
func find(definitions map[string]*types.JobDefinition, name string, revision int32) *types.JobDefinition {
	var best *types.JobDefinition
	for _, d := range definitions {
		if aws.ToString(d.JobDefinitionName) != name {
			continue
		}
		if r := aws.ToInt32(d.Revision); r == revision || revision == 0 && (best == nil || r > aws.ToInt32(best.Revision)) {
			best = d
		}
	}
	return best
}

// jobDefinitionOf takes apart arn:…:job-definition/NAME:REVISION, NAME:REVISION and NAME.
func jobDefinitionOf(text string) (name string, revision int32) {
	if _, after, ok := strings.Cut(text, ":job-definition/"); ok {
		text = after
	}
	name, number, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil {
		return name, 0
	}
	return name, int32(n)
}
