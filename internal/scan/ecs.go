package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	ecsServices    = bucket{name: "services and daemons", rate: 20, burst: 100}
	ecsRevisions   = bucket{name: "service revisions", rate: 20, burst: 50}
	ecsDeployments = bucket{name: "service deployments", rate: 20, burst: 50}
	ecsDefinitions = bucket{name: "task definitions", rate: 20, burst: 50}
)

var ecsOps = map[string]bucket{
	"ListClusters":                 ecsClusters,
	"DescribeClusters":             ecsClusters,
	"ListTasks":                    ecsTasks,
	"DescribeTasks":                ecsTasks,
	"ListServices":                 ecsServices,
	"DescribeServices":             ecsServices,
	"DescribeServiceRevisions":     ecsRevisions,
	"ListServiceDeployments":       ecsDeployments,
	"DescribeServiceDeployments":   ecsDeployments,
	"ListTaskDefinitions":          ecsDefinitions,
	"DescribeTaskDefinition":       ecsDefinitions,
	"ListDaemons":                  ecsServices,
	"DescribeDaemon":               ecsServices,
	"DescribeDaemonRevisions":      ecsServices,
	"ListDaemonDeployments":        ecsServices,
	"DescribeDaemonDeployments":    ecsServices,
	"ListDaemonTaskDefinitions":    ecsDefinitions,
	"DescribeDaemonTaskDefinition": ecsDefinitions,
}

// ecsPage is the longest page of every list of ECS.
const ecsPage = 100

type ecsAPI interface {
	ecs.ListClustersAPIClient
	DescribeClusters(context.Context, *ecs.DescribeClustersInput, ...func(*ecs.Options)) (*ecs.DescribeClustersOutput, error)
	taskAPI
	serviceAPI
	daemonAPI
	definitionAPI
}

// ecsScan looks at the tasks, services, daemons and task definitions of a target.
//
// Tasks are seen whoever started them (a service, RunTask, Batch, a rule) and wherever they run, since the lists are
// asked for without a filter. Express services are services like any other.
type ecsScan struct {
	*work
	api ecsAPI

	mu                sync.Mutex
	unsettled         map[string]bool       // services that are being deployed
	deployments       map[string]string     // service deployment -> service
	revisions         map[string]string     // service revision -> service
	daemonDeployments map[string]string     // daemon deployment -> daemon
	daemonRevisions   map[string]string     // daemon revision -> daemon
	referrers         map[string][]referrer // task definition, a daemon's too -> what refers to it
	nameless          []container           // whose image only the task definition can tell
}

func newECSScan(w *work) *ecsScan {
	return &ecsScan{
		work: w, api: ecs.NewFromConfig(w.cfg),
		unsettled: make(map[string]bool), deployments: make(map[string]string), revisions: make(map[string]string),
		daemonDeployments: make(map[string]string), daemonRevisions: make(map[string]string),
		referrers: make(map[string][]referrer),
	}
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
	use  image.Use // without the reference; a pin's says where the resource is
	kind referrerKind
	as   string // in words: "deployment PRIMARY"
	told bool   // what it runs is known without the definition: the image of each container, a task's with its digest
}

type referrerKind int

const (
	byService referrerKind = iota
	byTask
	byDaemon
	byPin
)

func scanECS(ctx context.Context, w *work) { newECSScan(w).scan(ctx) }

func (s *ecsScan) scan(ctx context.Context) {
	var listed, daemons activeDefinitions
	parts := []func(){
		func() { listed = s.listDefinitions(ctx, "") },
		func() { daemons = s.listDaemonDefinitions(ctx) },
	}
	for _, cluster := range s.clusters(ctx) {
		parts = append(parts,
			func() { s.tasks(ctx, cluster) },
			func() { s.services(ctx, cluster) },
			func() { s.daemons(ctx, cluster) })
	}
	each(ctx, s.work, 8, slices.Values(parts), func(part func()) { part() })
	s.serviceDeployments(ctx)
	s.serviceRevisions(ctx)
	s.daemonDeploymentsAndRevisions(ctx)
	s.pinnedDefinitions(ctx, s.pinned(ctx), listed)
	all := activeDefinitions{slices.Concat(listed.arns, daemons.arns), listed.complete && daemons.complete}
	s.definitions(ctx, all, s.newest(all.arns))
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

// failIn records that something in a cluster could not be read, unless the cluster was deleted. A deleted one may be
// listed for a while, and had neither tasks nor services nor instances left.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html
func (s *ecsScan) failIn(ctx context.Context, op, cluster string, err error) {
	switch errorCode(err) {
	case "ClusterNotFoundException", "ClientException", "InvalidParameterException":
		if s.clusterDeleted(ctx, cluster) {
			return
		}
	}
	s.fail(op, cluster, err)
}

func (s *ecsScan) clusterDeleted(ctx context.Context, cluster string) bool {
	out, err := s.api.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{cluster}})
	if err != nil {
		s.fail("DescribeClusters", cluster, err)
		return false
	}
	return len(out.Clusters) == 1 && aws.ToString(out.Clusters[0].Status) == "INACTIVE" ||
		len(out.Clusters) == 0 && len(out.Failures) == 1 && aws.ToString(out.Failures[0].Reason) == "MISSING"
}

// refer notes that a resource refers to a task definition.
func (s *ecsScan) refer(definition string, r referrer) {
	if definition == "" {
		return
	}
	definition = strings.Clone(definition)
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
