package scan

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/image"
)

// A managed daemon runs a task on every instance of its capacity providers. Neither the services nor the task
// definitions of a cluster show it; its tasks are listed like others, as far as there are instances.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons.html
type daemonAPI interface {
	ListDaemons(context.Context, *ecs.ListDaemonsInput, ...func(*ecs.Options)) (*ecs.ListDaemonsOutput, error)
	DescribeDaemon(context.Context, *ecs.DescribeDaemonInput, ...func(*ecs.Options)) (*ecs.DescribeDaemonOutput, error)
	DescribeDaemonRevisions(context.Context, *ecs.DescribeDaemonRevisionsInput, ...func(*ecs.Options)) (*ecs.DescribeDaemonRevisionsOutput, error)
	ListDaemonDeployments(context.Context, *ecs.ListDaemonDeploymentsInput, ...func(*ecs.Options)) (*ecs.ListDaemonDeploymentsOutput, error)
	DescribeDaemonDeployments(context.Context, *ecs.DescribeDaemonDeploymentsInput, ...func(*ecs.Options)) (*ecs.DescribeDaemonDeploymentsOutput, error)
}

// daemonBatch is how many revisions and deployments of daemons can be described at once.
const daemonBatch = 20

const daemonDefinitionPart = ":daemon-task-definition/"

// daemons looks at the daemons of a cluster, those that are being deleted included: their tasks still run.
func (s *ecsScan) daemons(ctx context.Context, cluster string) {
	err := chain(func(token *string) (*string, error) {
		out, err := s.api.ListDaemons(ctx, &ecs.ListDaemonsInput{ClusterArn: &cluster, MaxResults: aws.Int32(ecsPage), NextToken: token})
		if err != nil {
			return nil, err
		}
		for i := range out.DaemonSummariesList {
			s.daemon(ctx, strings.Clone(aws.ToString(out.DaemonSummariesList[i].DaemonArn)))
		}
		return out.NextToken, nil
	})
	if err != nil && !noDaemons(err) {
		s.failIn(ctx, "ListDaemons", cluster, err)
	}
}

// noDaemons reports whether ECS says that it has no daemons in the region at all, so that nobody can have made one.
func noDaemons(err error) bool {
	code := errorCode(err)
	return code == (&types.UnsupportedFeatureException{}).ErrorCode() || code == "UnknownOperationException"
}

// daemon notes the revisions that a daemon runs, and the deployments since its last successful one: as with services, a
// rollback returns to the revision of that. It costs two calls a daemon, of which there are few.
func (s *ecsScan) daemon(ctx context.Context, arn string) {
	out, err := s.api.DescribeDaemon(ctx, &ecs.DescribeDaemonInput{DaemonArn: &arn})
	switch {
	case errorCode(err) == (&types.DaemonNotFoundException{}).ErrorCode():
		return // deleted meanwhile
	case err == nil && out.Daemon == nil:
		err = errNoAnswer
	}
	if err != nil {
		s.fail("DescribeDaemon", arn, err)
		return
	}
	var list []rollout
	err = chain(func(token *string) (*string, error) {
		out, err := s.api.ListDaemonDeployments(ctx, &ecs.ListDaemonDeploymentsInput{DaemonArn: &arn, MaxResults: aws.Int32(ecsPage), NextToken: token})
		if err != nil {
			return nil, err
		}
		for i := range out.DaemonDeployments {
			d := &out.DaemonDeployments[i]
			list = append(list, rollout{
				arn: aws.ToString(d.DaemonDeploymentArn), target: aws.ToString(d.TargetDaemonRevisionArn),
				created: aws.ToTime(d.CreatedAt), successful: d.Status == types.DaemonDeploymentStatusSuccessful,
			})
		}
		return out.NextToken, nil
	})
	if err != nil {
		s.fail("ListDaemonDeployments", arn, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	addRollouts(list, arn, s.daemonDeployments, s.daemonRevisions)
	for i := range out.Daemon.CurrentRevisions {
		if revision := aws.ToString(out.Daemon.CurrentRevisions[i].Arn); revision != "" {
			s.daemonRevisions[revision] = arn
		}
	}
}

// daemonDeploymentsAndRevisions looks at what the deployments of daemons may return to, and at all revisions: ECS
// resolves tags to digests once for each of them.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/daemon-deployments.html
func (s *ecsScan) daemonDeploymentsAndRevisions(ctx context.Context) {
	for batch := range slices.Chunk(sortedKeys(s.daemonDeployments), daemonBatch) {
		const op = "DescribeDaemonDeployments"
		out, err := s.api.DescribeDaemonDeployments(ctx, &ecs.DescribeDaemonDeploymentsInput{DaemonDeploymentArns: batch})
		if err != nil {
			s.fail(op, batch[0], err)
			continue
		}
		var answered []string
		for i := range out.DaemonDeployments {
			answered = append(answered, aws.ToString(out.DaemonDeployments[i].DaemonDeploymentArn))
			s.daemonDeployment(&out.DaemonDeployments[i])
		}
		s.missingOfDaemons(ctx, op, s.unanswered(op, batch, answered, out.Failures), s.daemonDeployments)
	}
	for batch := range slices.Chunk(sortedKeys(s.daemonRevisions), daemonBatch) {
		const op = "DescribeDaemonRevisions"
		out, err := s.api.DescribeDaemonRevisions(ctx, &ecs.DescribeDaemonRevisionsInput{DaemonRevisionArns: batch})
		if err != nil {
			s.fail(op, batch[0], err)
			continue
		}
		var answered []string
		for i := range out.DaemonRevisions {
			answered = append(answered, aws.ToString(out.DaemonRevisions[i].DaemonRevisionArn))
			s.daemonRevision(&out.DaemonRevisions[i])
		}
		s.missingOfDaemons(ctx, op, s.unanswered(op, batch, answered, out.Failures), s.daemonRevisions)
	}
}

func (s *ecsScan) daemonDeployment(d *types.DaemonDeployment) {
	daemon := s.daemonDeployments[aws.ToString(d.DaemonDeploymentArn)]
	var revisions []string
	if d.TargetDaemonRevision != nil {
		revisions = append(revisions, aws.ToString(d.TargetDaemonRevision.Arn))
	}
	if d.Rollback != nil {
		revisions = append(revisions, aws.ToString(d.Rollback.RollbackTargetDaemonRevisionArn))
	}
	if d.Status != types.DaemonDeploymentStatusSuccessful { // after that there is no way back
		for i := range d.SourceDaemonRevisions {
			revisions = append(revisions, aws.ToString(d.SourceDaemonRevisions[i].Arn))
		}
	}
	for _, arn := range revisions {
		if arn != "" {
			s.daemonRevisions[arn] = daemon
		}
	}
}

func (s *ecsScan) daemonRevision(r *types.DaemonRevision) {
	arn := aws.ToString(r.DaemonRevisionArn)
	name := "daemon revision " + path.Base(arn)
	use := image.Use{Source: "ecs-daemon", Resource: s.daemonRevisions[arn], Live: true}
	definition := aws.ToString(r.DaemonTaskDefinitionArn)
	// A daemon runs on after its definition was deleted.
	told := len(r.ContainerImages) > 0
	for i := range r.ContainerImages {
		c := &r.ContainerImages[i]
		told = told && aws.ToString(c.Image) != ""
		use.Detail = "container " + aws.ToString(c.ContainerName) + ", " + name
		s.run(container{
			use: use, op: "DescribeDaemonRevisions", definition: definition,
			name: aws.ToString(c.ContainerName), digest: aws.ToString(c.ImageDigest),
		}, aws.ToString(c.Image))
	}
	use.Detail = ""
	s.refer(definition, referrer{use: use, kind: byDaemon, as: name, told: told})
}

// missingOfDaemons tells what is missing because its daemon was deleted meanwhile from what cannot be described.
func (s *ecsScan) missingOfDaemons(ctx context.Context, op string, arns []string, daemonOf map[string]string) {
	for _, arn := range arns {
		_, err := s.api.DescribeDaemon(ctx, &ecs.DescribeDaemonInput{DaemonArn: aws.String(daemonOf[arn])})
		if errorCode(err) != (&types.DaemonNotFoundException{}).ErrorCode() {
			s.fail(op, arn, errMissing)
		}
	}
}

// listDaemonDefinitions lists the active revisions of daemons' task definitions.
func (s *ecsScan) listDaemonDefinitions(ctx context.Context) activeDefinitions {
	var l activeDefinitions
	err := chain(func(token *string) (*string, error) {
		out, err := s.api.ListDaemonTaskDefinitions(ctx, &ecs.ListDaemonTaskDefinitionsInput{
			Status: types.DaemonTaskDefinitionStatusFilterActive, MaxResults: aws.Int32(ecsPage), NextToken: token,
		})
		if err != nil {
			return nil, err
		}
		for i := range out.DaemonTaskDefinitions {
			l.arns = append(l.arns, strings.Clone(aws.ToString(out.DaemonTaskDefinitions[i].Arn)))
		}
		return out.NextToken, nil
	})
	if err != nil && !noDaemons(err) {
		s.fail("ListDaemonTaskDefinitions", "", err)
		return l
	}
	l.complete = true
	return l
}

func (s *ecsScan) describeDaemonDefinition(ctx context.Context, arn string) ([]definedContainer, error) {
	out, err := s.api.DescribeDaemonTaskDefinition(ctx, &ecs.DescribeDaemonTaskDefinitionInput{DaemonTaskDefinition: &arn})
	if err != nil {
		return nil, err
	}
	if out.DaemonTaskDefinition == nil {
		return nil, errNoAnswer
	}
	var containers []definedContainer
	for i := range out.DaemonTaskDefinition.ContainerDefinitions {
		c := &out.DaemonTaskDefinition.ContainerDefinitions[i]
		containers = append(containers, definedContainer{
			Name: strings.Clone(aws.ToString(c.Name)), Image: strings.Clone(aws.ToString(c.Image)),
		})
	}
	return containers, nil
}
