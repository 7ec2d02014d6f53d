package scan

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"

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
			s.fail("DescribeServices", cluster, err)
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
			s.fail("ListServices", cluster, err)
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
	r := referrer{source: "ecs-service", resource: arn, live: true}
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if deployment := aws.ToString(sv.CurrentServiceDeployment); deployment != "" && !settled(sv) {
		s.deployments[deployment] = arn
	}
	for i := range sv.CurrentServiceRevisions {
		if revision := aws.ToString(sv.CurrentServiceRevisions[i].Arn); revision != "" {
			s.revisions[revision] = arn
		}
	}
}

// settled reports whether a service has a single deployment, and that is complete: there is nothing then that it may
// return to but its current revisions.
func settled(sv *types.Service) bool {
	return len(sv.Deployments) == 1 && sv.Deployments[0].RolloutState == types.DeploymentRolloutStateCompleted
}

// serviceDeployments adds the revisions that deployments which are going on may still return to.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
func (s *ecsScan) serviceDeployments(ctx context.Context) {
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

func (s *ecsScan) serviceDeployment(d *types.ServiceDeployment) {
	if d.Status == types.ServiceDeploymentStatusSuccessful || d.Status == types.ServiceDeploymentStatusRollbackSuccessful {
		return // the service's current revisions are all there is
	}
	service := s.deployments[aws.ToString(d.ServiceDeploymentArn)]
	revisions := d.SourceServiceRevisions
	if d.TargetServiceRevision != nil {
		revisions = append(revisions, *d.TargetServiceRevision)
	}
	if d.Rollback != nil {
		revisions = append(revisions, types.ServiceRevisionSummary{Arn: d.Rollback.ServiceRevisionArn})
	}
	for i := range revisions {
		if arn := aws.ToString(revisions[i].Arn); arn != "" {
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
	s.refer(definition, referrer{source: "ecs-service", resource: service, as: name, live: true})
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
		service := serviceOf[arn]
		out, describeErr := s.api.DescribeServices(ctx, &ecs.DescribeServicesInput{
			Cluster: aws.String(clusterOf(service)), Services: []string{service},
		})
		if describeErr != nil {
			s.fail("DescribeServices", service, describeErr)
			continue
		}
		deleted := len(out.Services) == 0 && len(out.Failures) == 1 && aws.ToString(out.Failures[0].Reason) == "MISSING" ||
			len(out.Services) == 1 && aws.ToString(out.Services[0].Status) == "INACTIVE"
		if !deleted {
			s.fail(op, arn, err)
		}
	}
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
