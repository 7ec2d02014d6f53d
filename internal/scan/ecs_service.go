package scan

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/image"
)

type serviceAPI interface {
	ecs.ListServicesAPIClient
	ecs.DescribeServicesAPIClient
	revisionAPI
}

type revisionAPI interface {
	ListServiceDeployments(context.Context, *ecs.ListServiceDeploymentsInput, ...func(*ecs.Options)) (*ecs.ListServiceDeploymentsOutput, error)
	DescribeServiceDeployments(context.Context, *ecs.DescribeServiceDeploymentsInput, ...func(*ecs.Options)) (*ecs.DescribeServiceDeploymentsOutput, error)
	DescribeServiceRevisions(context.Context, *ecs.DescribeServiceRevisionsInput, ...func(*ecs.Options)) (*ecs.DescribeServiceRevisionsOutput, error)
}

const (
	describeServicesBatch    = 10
	describeDeploymentsBatch = 20
	describeRevisionsBatch   = 20
)

// services looks at the services of a cluster, draining ones included.
func (s *ecsScan) services(ctx context.Context, cluster string) {
	listed, _ := s.listServices(ctx, cluster)
	var missing []string
	for batch := range slices.Chunk(sortedKeys(listed), describeServicesBatch) {
		out, err := s.api.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &cluster, Services: batch})
		if err != nil {
			s.failIn(ctx, "DescribeServices", cluster, err)
			continue
		}
		var answered []string
		for i := range out.Services {
			answered = append(answered, aws.ToString(out.Services[i].ServiceArn))
			s.service(&out.Services[i])
		}
		missing = append(missing, s.unanswered("DescribeServices", batch, answered, out.Failures)...)
	}
	s.missing("DescribeServices", missing, func() (map[string]bool, bool) { return s.listServices(ctx, cluster) })
}

func (s *ecsScan) listServices(ctx context.Context, cluster string) (arns map[string]bool, complete bool) {
	arns = make(map[string]bool)
	p := ecs.NewListServicesPaginator(s.api, &ecs.ListServicesInput{Cluster: &cluster, MaxResults: aws.Int32(ecsPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.failIn(ctx, "ListServices", cluster, err)
			return arns, false
		}
		for _, arn := range out.ServiceArns {
			arns[arn] = true
		}
	}
	return arns, true
}

// service notes what a service can start tasks from: its task definition, those of its deployments (a rollback
// returns to one), those of its task sets (services under CODE_DEPLOY or EXTERNAL have nothing else), and its
// revisions, which alone know the digests that a service at zero will start. The desired count does not matter.
func (s *ecsScan) service(sv *types.Service) {
	if aws.ToString(sv.Status) == "INACTIVE" {
		return // deleted meanwhile
	}
	arn := aws.ToString(sv.ServiceArn)
	r := referrer{use: image.Use{Source: "ecs-service", Resource: arn, Live: true}}
	s.refer(aws.ToString(sv.TaskDefinition), r)
	for i := range sv.Deployments {
		d := &sv.Deployments[i]
		r.as = "deployment " + aws.ToString(d.Status)
		s.refer(aws.ToString(d.TaskDefinition), r)
	}
	for i := range sv.TaskSets {
		t := &sv.TaskSets[i]
		r.as = "task set " + aws.ToString(t.Status)
		s.refer(aws.ToString(t.TaskDefinition), r)
	}
	arn = strings.Clone(arn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !settled(sv) {
		if deployment := aws.ToString(sv.CurrentServiceDeployment); deployment != "" {
			s.deployments[deployment] = arn
		}
		if sv.DeploymentController == nil || sv.DeploymentController.Type == types.DeploymentControllerTypeEcs {
			s.unsettled[arn] = true // the other controllers have no service deployments
		}
	}
	for i := range sv.CurrentServiceRevisions {
		if revision := aws.ToString(sv.CurrentServiceRevisions[i].Arn); revision != "" {
			s.revisions[revision] = arn
		}
	}
}

// settled reports whether a service has a single deployment, and that is complete: there is nothing then that it may
// return to but its current revision. Until its bake time is over a deployment is not complete; and one that is can be
// neither stopped nor rolled back. Whoever wants the older version back deploys its task definition anew, which is what
// the newest ones are kept for.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html
func settled(sv *types.Service) bool {
	return len(sv.Deployments) == 1 && sv.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
}

// serviceDeployments adds the revisions that services which are being deployed may return to. A rollback, by an alarm,
// the circuit breaker, a hook or by hand, goes to the revision of the last deployment that was successful. Where other
// deployments were begun and given up since, that is none of the current ones, and need not be the source of the one
// that is going on: so all deployments since then are looked at. The history goes back 90 days; what was successful
// before that is the source of the oldest that is left.
//
// This costs a call for each service that is not settled, and one for 20 of the deployments; nothing for the others.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
func (s *ecsScan) serviceDeployments(ctx context.Context) {
	each(ctx, s.work, 4, slices.Values(sortedKeys(s.unsettled)), func(service string) { s.history(ctx, service) })
	for batch := range slices.Chunk(sortedKeys(s.deployments), describeDeploymentsBatch) {
		out, err := s.api.DescribeServiceDeployments(ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: batch})
		if err != nil {
			s.fail("DescribeServiceDeployments", batch[0], err)
			continue
		}
		var answered []string
		for i := range out.ServiceDeployments {
			answered = append(answered, aws.ToString(out.ServiceDeployments[i].ServiceDeploymentArn))
			s.serviceDeployment(&out.ServiceDeployments[i])
		}
		missing := s.unanswered("DescribeServiceDeployments", batch, answered, out.Failures)
		s.missingParts(ctx, "DescribeServiceDeployments", missing, s.deployments, errMissing)
	}
}

// history adds a service's deployments since the last successful one, and what that deployed.
func (s *ecsScan) history(ctx context.Context, service string) {
	const op = "ListServiceDeployments"
	var list []rollout
	err := chain(func(token *string) (*string, error) {
		out, err := s.api.ListServiceDeployments(ctx, &ecs.ListServiceDeploymentsInput{
			Cluster: aws.String(clusterOf(service)), Service: &service, MaxResults: aws.Int32(ecsPage), NextToken: token,
		})
		if err != nil {
			return nil, err
		}
		for i := range out.ServiceDeployments {
			d := &out.ServiceDeployments[i]
			list = append(list, rollout{
				arn: aws.ToString(d.ServiceDeploymentArn), target: aws.ToString(d.TargetServiceRevisionArn),
				created: aws.ToTime(d.CreatedAt), successful: d.Status == types.ServiceDeploymentStatusSuccessful,
			})
		}
		return out.NextToken, nil
	})
	if err != nil && !s.serviceDeleted(ctx, service) {
		s.fail(op, service, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	addRollouts(list, service, s.deployments, s.revisions)
}

// rollout is a deployment of a service or daemon.
type rollout struct {
	arn, target string // target: the revision that it deploys
	created     time.Time
	successful  bool
}

// addRollouts adds the deployments since the last successful one, and the revision that this one deployed.
func addRollouts(list []rollout, owner string, deployments, revisions map[string]string) {
	slices.SortStableFunc(list, func(a, b rollout) int { return b.created.Compare(a.created) })
	for _, r := range list {
		if r.successful {
			if r.target != "" {
				revisions[r.target] = owner
			}
			return
		}
		deployments[r.arn] = owner
	}
}

func (s *ecsScan) serviceDeployment(d *types.ServiceDeployment) {
	service := s.deployments[aws.ToString(d.ServiceDeploymentArn)]
	var revisions []string
	if d.TargetServiceRevision != nil {
		revisions = append(revisions, aws.ToString(d.TargetServiceRevision.Arn))
	}
	if d.Rollback != nil {
		revisions = append(revisions, aws.ToString(d.Rollback.ServiceRevisionArn))
	}
	if d.Status != types.ServiceDeploymentStatusSuccessful { // after that there is no way back
		for i := range d.SourceServiceRevisions {
			revisions = append(revisions, aws.ToString(d.SourceServiceRevisions[i].Arn))
		}
	}
	for _, arn := range revisions {
		if arn != "" {
			s.revisions[arn] = service
		}
	}
}

// serviceRevisions looks at the current revisions of all services of the target: ECS resolves tags to digests once
// for each of them.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-revision.html
func (s *ecsScan) serviceRevisions(ctx context.Context) {
	batches := slices.Chunk(sortedKeys(s.revisions), describeRevisionsBatch)
	each(ctx, s.work, 4, batches, func(batch []string) {
		out, err := s.api.DescribeServiceRevisions(ctx, &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: batch})
		if err != nil {
			s.fail("DescribeServiceRevisions", batch[0], err)
			return
		}
		var answered []string
		for i := range out.ServiceRevisions {
			answered = append(answered, aws.ToString(out.ServiceRevisions[i].ServiceRevisionArn))
			s.serviceRevision(&out.ServiceRevisions[i])
		}
		missing := s.unanswered("DescribeServiceRevisions", batch, answered, out.Failures)
		s.missingParts(ctx, "DescribeServiceRevisions", missing, s.revisions, errOldRevision)
	})
}

func (s *ecsScan) serviceRevision(r *types.ServiceRevision) {
	arn := aws.ToString(r.ServiceRevisionArn)
	name := "service revision " + path.Base(arn)
	service := s.revisions[arn]
	definition := aws.ToString(r.TaskDefinition)
	s.refer(definition, referrer{use: image.Use{Source: "ecs-service", Resource: service, Live: true}, as: name})
	for i := range r.ContainerImages {
		c := &r.ContainerImages[i]
		s.run(container{
			use: image.Use{
				Source: "ecs-service", Resource: service, Live: true,
				Detail: "container " + aws.ToString(c.ContainerName) + ", " + name,
			},
			op: "DescribeServiceRevisions", definition: definition,
			name: aws.ToString(c.ContainerName), digest: aws.ToString(c.ImageDigest),
		}, aws.ToString(c.Image))
	}
}

// missingParts tells what is missing because its service was deleted meanwhile from what cannot be described.
func (s *ecsScan) missingParts(ctx context.Context, op string, arns []string, serviceOf map[string]string, err error) {
	for _, arn := range arns {
		if !s.serviceDeleted(ctx, serviceOf[arn]) {
			s.fail(op, arn, err)
		}
	}
}

// serviceDeleted reports whether it is proven that a service was deleted meanwhile.
func (s *ecsScan) serviceDeleted(ctx context.Context, service string) bool {
	out, err := s.api.DescribeServices(ctx, &ecs.DescribeServicesInput{
		Cluster: aws.String(clusterOf(service)), Services: []string{service},
	})
	if err != nil {
		s.fail("DescribeServices", service, err)
		return false
	}
	return len(out.Services) == 0 && len(out.Failures) == 1 && aws.ToString(out.Failures[0].Reason) == "MISSING" ||
		len(out.Services) == 1 && aws.ToString(out.Services[0].Status) == "INACTIVE"
}

// Which digests such a service would start is not known until it is deployed again.
var errOldRevision = errors.New("MISSING: a revision from before October 25, 2024 cannot be described; deploy the service once more")

// clusterOf is the cluster in a service's ARN: arn:…:service/CLUSTER/NAME, and the default one in the old form
// arn:…:service/NAME.
func clusterOf(service string) string {
	_, rest, _ := strings.Cut(service, ":service/")
	cluster, _, ok := strings.Cut(rest, "/")
	if !ok {
		return "default"
	}
	return cluster
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
