package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/image"
)

// The buckets of the ECS API: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
var (
	ecsClusters    = bucket{name: "clusters", rate: 20, burst: 50}
	ecsTasks       = bucket{name: "tasks", rate: 20, burst: 100}
	ecsServices    = bucket{name: "services", rate: 20, burst: 100}
	ecsRevisions   = bucket{name: "service revisions", rate: 20, burst: 50}
	ecsDeployments = bucket{name: "service deployments", rate: 20, burst: 50}
	ecsDefinitions = bucket{name: "task definitions", rate: 20, burst: 50}
)

var ecsOps = map[string]bucket{
	"ListClusters":               ecsClusters,
	"ListTasks":                  ecsTasks,
	"DescribeTasks":              ecsTasks,
	"ListServices":               ecsServices,
	"DescribeServices":           ecsServices,
	"DescribeServiceRevisions":   ecsRevisions,
	"DescribeServiceDeployments": ecsDeployments,
	"ListTaskDefinitions":        ecsDefinitions,
	"DescribeTaskDefinition":     ecsDefinitions,
}

// ecsPage is the longest page of every list of ECS.
const ecsPage = 100

type ecsAPI interface {
	ecs.ListClustersAPIClient
	taskAPI
	serviceAPI
	definitionAPI
}

// ecsScan looks at the tasks, services and task definitions of a target.
type ecsScan struct {
	*work
	api ecsAPI

	mu          sync.Mutex
	deployments map[string]string     // service deployment -> service
	revisions   map[string]string     // service revision -> service
	referrers   map[string][]referrer // task definition -> what refers to it
	nameless    []container           // whose image only the task definition can tell
}

// container is a container of a task or of a service revision, with the digest that ECS resolved its image to.
type container struct {
	use        image.Use // without the reference
	op         string
	definition string
	name       string
	digest     string
}

// referrer is a resource that refers to a task definition.
type referrer struct {
	source, resource string
	as               string // in words: "deployment PRIMARY"
	live             bool
	told             bool // it has told which image and digest each of its containers runs
}

func scanECS(ctx context.Context, w *work) {
	s := &ecsScan{
		work: w, api: ecs.NewFromConfig(w.cfg),
		deployments: make(map[string]string), revisions: make(map[string]string), referrers: make(map[string][]referrer),
	}
	s.scan(ctx)
}

func (s *ecsScan) scan(ctx context.Context) {
	var listed activeDefinitions
	parts := []func(){func() { listed = s.listDefinitions(ctx) }}
	for _, cluster := range s.clusters(ctx) {
		parts = append(parts,
			func() { s.tasks(ctx, cluster) },
			func() { s.services(ctx, cluster) })
	}
	each(ctx, s.work, 8, slices.Values(parts), func(part func()) { part() })
	s.serviceDeployments(ctx)
	s.serviceRevisions(ctx)
	s.definitions(ctx, listed)
}

// clusters lists all clusters, whatever their status.
func (s *ecsScan) clusters(ctx context.Context) []string {
	var arns []string
	p := ecs.NewListClustersPaginator(s.api, &ecs.ListClustersInput{MaxResults: aws.Int32(ecsPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("ListClusters", "", err)
			break
		}
		arns = append(arns, out.ClusterArns...)
	}
	return arns
}

// refer notes that a resource refers to a task definition.
func (s *ecsScan) refer(definition string, r referrer) {
	if definition == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.referrers[definition] = append(s.referrers[definition], r)
}

// run records the image that a container runs. ECS leaves the image of containers that it adds itself (Service
// Connect, GuardDuty) empty; of any other the task definition knows it.
func (s *ecsScan) run(c container, text string) {
	if text != "" {
		s.use(c.op, c.use, text, c.digest)
		return
	}
	if c.digest != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.nameless = append(s.nameless, c)
	}
}

// unanswered reads the failures of a batch answer and compares what was asked with what was answered. Resources
// that ECS calls MISSING are returned, since they may merely have ended meanwhile; all else is recorded.
func (s *ecsScan) unanswered(op string, asked, answered []string, failures []types.Failure) (missing []string) {
	settled := make(map[string]bool, len(asked))
	for _, arn := range answered {
		settled[arn] = true
	}
	for _, f := range failures {
		arn := aws.ToString(f.Arn)
		settled[arn] = true
		if aws.ToString(f.Reason) == "MISSING" && slices.Contains(asked, arn) {
			missing = append(missing, arn)
			continue
		}
		s.fail(op, arn, failureError(f))
	}
	for _, arn := range asked {
		if !settled[arn] {
			s.fail(op, arn, errNoAnswer)
		}
	}
	return missing
}

var (
	errNoAnswer = errors.New("it was asked about and is not in the answer")
	errMissing  = errors.New("MISSING: it cannot be described although it is still listed")
)

func failureError(f types.Failure) error {
	if f.Detail != nil {
		return fmt.Errorf("failure %s: %s", aws.ToString(f.Reason), *f.Detail)
	}
	return fmt.Errorf("failure %s", aws.ToString(f.Reason))
}

// missing looks a second time whether resources that could not be described are listed. Those that are not have
// ended.
func (s *ecsScan) missing(op string, arns []string, list func() (listed map[string]bool, complete bool)) {
	if len(arns) == 0 {
		return
	}
	listed, complete := list()
	for _, arn := range arns {
		if !complete || listed[arn] {
			s.fail(op, arn, errMissing)
		}
	}
}
