package orgsim

import (
	"cmp"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsRollouts is what the ECS controller deploys of a service.
type ecsRollouts struct {
	deployment *ecsDeployment   // the last one
	replaced   []*ecsDeployment // what it replaces, newest first, until it is complete
	completed  *ecsDeployment   // the last one that was complete: what a rollback returns to
}

// ecsDeployment is the running state of a deployment of a service revision.
type ecsDeployment struct {
	id, revision, arn string // arn: of the service deployment
	created           time.Time
	fleet             *ecsFleet
	state             types.DeploymentRolloutState
	hook              string    // it is paused until somebody decides about this hook
	bakes             time.Time // it is watched until then; zero: it is not, or not yet
}

// How long a rolling deployment with alarms is watched if nobody says: AWS computes that from the alarms.
const alarmBakeTime = 5 * time.Minute

func addECSDeploymentOps(s *service) {
	op(s, "DescribeServiceRevisions", describeServiceRevisions)
	op(s, "ListServiceDeployments", listServiceDeployments, settles())
	op(s, "DescribeServiceDeployments", describeServiceDeployments, settles())
	op(s, "StopServiceDeployment", stopServiceDeployment)
	op(s, "ContinueServiceDeployment", continueServiceDeployment)
}

// settles is for reads of what changes by itself: they take the write lock, to bring it up to date.
func settles() opOption { return func(o *operation) { o.write = true } }

// settleECS completes the deployments whose bake time is over.
func (c *Call) settleECS() {
	e := &c.home().ecs
	for s := range e.baking {
		if s.deployment != nil {
			s.advance(c)
		}
	}
	for d := range e.bakingDaemons {
		d.advance(c)
	}
}

// visible are the deployments that DescribeServices shows: the last one first, then those that still have tasks.
func (r *ecsRollouts) visible() []*ecsDeployment {
	list := []*ecsDeployment{r.deployment}
	for _, d := range r.replaced {
		if d.fleet.running() > 0 {
			list = append(list, d)
		}
	}
	return list
}

// fleets are those of everything that runs or that the service may return to.
func (r *ecsRollouts) fleets() []*ecsFleet {
	if r.deployment == nil {
		return nil
	}
	fleets := []*ecsFleet{r.deployment.fleet}
	for _, d := range r.replaced {
		fleets = append(fleets, d.fleet)
	}
	if r.completed != nil && r.completed != r.deployment && r.deployment.state != types.DeploymentRolloutStateCompleted {
		fleets = append(fleets, r.completed.fleet)
	}
	return fleets
}

// newDeployment starts the tasks of a revision.
func (s *ecsServiceState) newDeployment(c *Call, revision, arn string, td *types.TaskDefinition, images []types.ContainerImage) *ecsDeployment {
	d := &ecsDeployment{
		id: "ecs-svc/" + c.home().ecs.number(c), revision: revision, arn: arn,
		created: c.Now, state: types.DeploymentRolloutStateInProgress,
	}
	d.fleet = &ecsFleet{
		cluster: s.cluster, definition: td, images: images,
		spec: taskSpec{group: "service:" + s.name, startedBy: d.id, launchType: s.launchType, pinned: images},
	}
	d.fleet.spec.fleet = d.fleet
	d.fleet.keep(c, s.desired)
	return d
}

// deploy makes a service revision with the digests that the images have now, and begins to replace all tasks by it.
func (s *ecsServiceState) deploy(c *Call, td *types.TaskDefinition) {
	e := &c.home().ecs
	images := c.containerImages(td)
	d := s.newDeployment(c,
		c.ecsARN("service-revision", s.cluster.name, s.name, e.number(c)),
		c.ecsARN("service-deployment", s.cluster.name, s.name, e.id(c)[:22]), td, images)
	record := &types.ServiceDeployment{
		ClusterArn:              &s.cluster.arn,
		CreatedAt:               new(c.Now),
		DeploymentConfiguration: s.settings.DeploymentConfiguration,
		LifecycleStage:          types.ServiceDeploymentLifecycleStageScaleUp,
		ServiceArn:              &s.arn,
		ServiceDeploymentArn:    &d.arn,
		StartedAt:               new(c.Now),
		Status:                  types.ServiceDeploymentStatusInProgress,
		TargetServiceRevision: &types.ServiceRevisionSummary{
			Arn: &d.revision, RequestedTaskCount: s.desired, RunningTaskCount: d.fleet.running(),
		},
		UpdatedAt: new(c.Now),
	}
	if old := s.deployment; old != nil {
		s.supersede(c)
		for _, d := range s.visible() {
			record.SourceServiceRevisions = append(record.SourceServiceRevisions, types.ServiceRevisionSummary{
				Arn: &d.revision, RequestedTaskCount: d.fleet.desired, RunningTaskCount: d.fleet.running(),
			})
		}
		s.replaced = s.visible()
	}
	if e.revisions == nil {
		e.revisions = make(map[string]*types.ServiceRevision)
		e.deployments = make(map[string]*types.ServiceDeployment)
	}
	e.deployments[d.arn] = record
	e.revisions[d.revision] = &types.ServiceRevision{
		ClusterArn:           &s.cluster.arn,
		ContainerImages:      images,
		CreatedAt:            new(c.Now),
		LaunchType:           s.launchType,
		LoadBalancers:        s.settings.LoadBalancers,
		NetworkConfiguration: s.settings.NetworkConfiguration,
		ServiceArn:           &s.arn,
		ServiceRevisionArn:   &d.revision,
		TaskDefinition:       td.TaskDefinitionArn,
	}
	s.history = append(s.history, d.arn)
	s.deployment = d
	s.scaledUp(c)
}

// supersede stops the deployment that is going on, if there is one, in favour of the next.
func (s *ecsServiceState) supersede(c *Call) {
	if s.deployment.state == types.DeploymentRolloutStateInProgress {
		s.deployment.hook, s.deployment.bakes = "", time.Time{}
		s.record(c, func(r *types.ServiceDeployment) {
			r.Status, r.StoppedAt, r.StatusReason = types.ServiceDeploymentStatusStopped, new(c.Now), new("Service deployment stopped because a new deployment started.")
			r.LifecycleHookDetails = nil
		})
	}
}

// scaledUp goes on with a deployment whose tasks were started. One that has failed keeps the older tasks.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
func (s *ecsServiceState) scaledUp(c *Call) {
	d, config := s.deployment, s.settings.DeploymentConfiguration
	if config == nil {
		config = &types.DeploymentConfiguration{}
	}
	if d.fleet.failed > 0 {
		breaker := config.DeploymentCircuitBreaker
		switch {
		case breaker == nil || !breaker.Enable:
		case breaker.Rollback && s.completed != nil:
			s.rollBack(c, "Service deployment rolled back because the circuit breaker threshold was exceeded.")
		default:
			d.state = types.DeploymentRolloutStateFailed
			s.record(c, func(r *types.ServiceDeployment) {
				r.Status, r.StoppedAt, r.StatusReason = types.ServiceDeploymentStatusStopped, new(c.Now), new("Service deployment stopped because the circuit breaker threshold was exceeded.")
			})
		}
		return
	}
	if slices.ContainsFunc(config.LifecycleHooks, func(h types.DeploymentLifecycleHook) bool {
		return h.TargetType == types.DeploymentLifecycleHookTargetTypePause
	}) && len(s.replaced) > 0 {
		d.hook = c.home().ecs.id(c)
		s.record(c, func(r *types.ServiceDeployment) {
			r.LifecycleStage = types.ServiceDeploymentLifecycleStagePostScaleUp
			r.LifecycleHookDetails = []types.DeploymentLifecycleHookDetail{{
				HookId: &d.hook, Status: types.DeploymentLifecycleHookStatusAwaitingAction, TargetType: types.DeploymentLifecycleHookTargetTypePause,
			}}
		})
		return
	}
	s.bake(c, config)
}

// bake begins to watch a deployment, for as long as it was told to. A rolling one has no older tasks then.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
func (s *ecsServiceState) bake(c *Call, config *types.DeploymentConfiguration) {
	d := s.deployment
	bake := time.Duration(aws.ToInt32(config.BakeTimeInMinutes)) * time.Minute
	if cmp.Or(config.Strategy, types.DeploymentStrategyRolling) == types.DeploymentStrategyRolling {
		for _, old := range s.replaced {
			old.fleet.keep(c, 0)
		}
		switch {
		case config.Alarms == nil || !config.Alarms.Enable:
			bake = 0
		case bake == 0:
			bake = alarmBakeTime
		}
	}
	if bake > 0 && len(s.replaced) > 0 {
		d.bakes = c.Now.Add(bake)
		s.record(c, func(r *types.ServiceDeployment) { r.LifecycleStage = types.ServiceDeploymentLifecycleStageBakeTime })
		e := &c.home().ecs
		if e.baking == nil {
			e.baking = make(map[*ecsServiceState]bool)
		}
		e.baking[s] = true
		return
	}
	s.complete(c, types.ServiceDeploymentStatusSuccessful)
}

// advance completes a deployment that was watched for long enough.
func (s *ecsServiceState) advance(c *Call) {
	if d := s.deployment; d.bakes.IsZero() || !c.Now.Before(d.bakes) {
		delete(c.home().ecs.baking, s)
		if !d.bakes.IsZero() && d.state == types.DeploymentRolloutStateInProgress {
			s.complete(c, types.ServiceDeploymentStatusSuccessful)
		}
	}
}

func (s *ecsServiceState) complete(c *Call, status types.ServiceDeploymentStatus) {
	d := s.deployment
	for _, old := range s.replaced {
		old.fleet.keep(c, 0)
	}
	d.state, d.hook, d.bakes = types.DeploymentRolloutStateCompleted, "", time.Time{}
	s.replaced, s.completed = nil, d
	s.record(c, func(r *types.ServiceDeployment) {
		r.Status, r.FinishedAt, r.LifecycleHookDetails = status, new(c.Now), nil
		r.LifecycleStage = types.ServiceDeploymentLifecycleStageCleanUp
	})
}

// rollBack returns to the revision that was deployed last with success, with the digests that it has pinned. Where its
// tasks still run they stay; as long as they cannot be started the rollback is in progress.
func (s *ecsServiceState) rollBack(c *Call, reason string) {
	failed, back := s.deployment, s.completed
	failed.hook, failed.bakes = "", time.Time{}
	s.replaced = append([]*ecsDeployment{failed}, s.replaced...)
	if back.fleet.running() < s.desired {
		back = s.newDeployment(c, back.revision, failed.arn, back.fleet.definition, back.fleet.images)
	}
	s.replaced = slices.DeleteFunc(s.replaced, func(d *ecsDeployment) bool { return d == back })
	back.arn = failed.arn
	s.deployment = back
	s.record(c, func(r *types.ServiceDeployment) {
		r.Status, r.LifecycleHookDetails = types.ServiceDeploymentStatusRollbackInProgress, nil
		r.Rollback = &types.Rollback{Reason: &reason, ServiceRevisionArn: &back.revision, StartedAt: new(c.Now)}
	})
	s.resume(c)
}

// resume goes on with a deployment that could not start its tasks, if it can now.
func (s *ecsServiceState) resume(c *Call) {
	switch d := s.deployment; {
	case d.state == types.DeploymentRolloutStateFailed, d.hook != "", !d.bakes.IsZero():
	case c.home().ecs.deployments[d.arn].Status == types.ServiceDeploymentStatusRollbackInProgress:
		if d.fleet.failed == 0 {
			s.complete(c, types.ServiceDeploymentStatusRollbackSuccessful)
		}
	case d.state == types.DeploymentRolloutStateInProgress:
		s.scaledUp(c)
	}
}

// end stops everything.
func (s *ecsServiceState) end(c *Call) {
	if s.deployment == nil {
		return
	}
	for _, d := range append(s.replaced, s.deployment) {
		d.fleet.keep(c, 0)
	}
	s.replaced = nil
	s.deployment.state = types.DeploymentRolloutStateCompleted
}

// record changes what is told of the last deployment.
func (s *ecsServiceState) record(c *Call, change func(*types.ServiceDeployment)) {
	e := &c.home().ecs
	r := *e.deployments[s.deployment.arn]
	change(&r)
	r.UpdatedAt = new(c.Now)
	e.deployments[s.deployment.arn] = &r
}

func (d *ecsDeployment) describe(s *ecsServiceState, primary bool) types.Deployment {
	out := types.Deployment{
		CreatedAt:            new(d.created),
		DesiredCount:         d.fleet.desired,
		FailedTasks:          d.fleet.failed,
		Id:                   &d.id,
		LaunchType:           s.launchType,
		NetworkConfiguration: s.settings.NetworkConfiguration,
		RolloutState:         d.state,
		RolloutStateReason:   new("ECS deployment " + d.id + " in progress."),
		RunningCount:         d.fleet.running(),
		Status:               new("ACTIVE"),
		TaskDefinition:       d.fleet.definition.TaskDefinitionArn,
		UpdatedAt:            new(d.created),
	}
	if primary {
		out.Status = new("PRIMARY")
	}
	switch d.state {
	case types.DeploymentRolloutStateCompleted:
		out.RolloutStateReason = new("ECS deployment " + d.id + " completed.")
	case types.DeploymentRolloutStateFailed:
		out.RolloutStateReason = new("ECS deployment circuit breaker: tasks failed to start.")
	}
	return out
}

// goingOn finds the service of a deployment that is going on.
func (c *Call) goingOn(arn *string) (*ecsServiceState, error) {
	e := &c.home().ecs
	r := e.deployments[aws.ToString(arn)]
	if r == nil {
		return nil, errorf("ServiceDeploymentNotFoundException", "The service deployment was not found.")
	}
	c.settleECS()
	s := e.clusters[lastSegment(*r.ClusterArn)].service(r.ServiceArn)
	if s == nil || !s.active || s.deployment == nil || s.deployment.arn != *arn || e.deployments[*arn].FinishedAt != nil || e.deployments[*arn].StoppedAt != nil {
		return nil, errorf("ConflictException", "The service deployment is not in progress.")
	}
	return s, nil
}

// stopServiceDeployment rolls a deployment back.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html
func stopServiceDeployment(c *Call, in *ecs.StopServiceDeploymentInput) (*ecs.StopServiceDeploymentOutput, error) {
	if cmp.Or(in.StopType, types.StopServiceDeploymentStopTypeRollback) != types.StopServiceDeploymentStopTypeRollback {
		return nil, invalidParameter("The stop type %s is not supported.", in.StopType)
	}
	s, err := c.goingOn(in.ServiceDeploymentArn)
	if err != nil {
		return nil, err
	}
	if s.completed == nil {
		return nil, errorf("ConflictException", "There is no service revision to roll back to.")
	}
	if c.home().ecs.deployments[s.deployment.arn].Rollback == nil { // else it goes on
		s.rollBack(c, "Service deployment rolled back because of a user request.")
	}
	return &ecs.StopServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, nil
}

func continueServiceDeployment(c *Call, in *ecs.ContinueServiceDeploymentInput) (*ecs.ContinueServiceDeploymentOutput, error) {
	s, err := c.goingOn(in.ServiceDeploymentArn)
	if err != nil {
		return nil, err
	}
	if s.deployment.hook == "" || s.deployment.hook != aws.ToString(in.HookId) {
		return nil, invalidParameter("The service deployment does not wait for the hook %s.", aws.ToString(in.HookId))
	}
	if in.Action == types.DeploymentLifecycleHookActionRollback {
		s.rollBack(c, "Service deployment rolled back because of a user request.")
	} else {
		s.deployment.hook = ""
		s.record(c, func(r *types.ServiceDeployment) { r.LifecycleHookDetails = nil })
		s.bake(c, s.settings.DeploymentConfiguration)
	}
	return &ecs.ContinueServiceDeploymentOutput{ServiceDeploymentArn: in.ServiceDeploymentArn}, nil
}

func describeServiceRevisions(c *Call, in *ecs.DescribeServiceRevisionsInput) (*ecs.DescribeServiceRevisionsOutput, error) {
	if len(in.ServiceRevisionArns) < 1 || len(in.ServiceRevisionArns) > 20 {
		return nil, invalidParameter("serviceRevisionArns must have between 1 and 20 entries.")
	}
	out := &ecs.DescribeServiceRevisionsOutput{ServiceRevisions: []types.ServiceRevision{}, Failures: []types.Failure{}}
	for _, arn := range in.ServiceRevisionArns {
		if r := c.home().ecs.revisions[arn]; r != nil {
			out.ServiceRevisions = append(out.ServiceRevisions, *r)
		} else {
			out.Failures = append(out.Failures, missing(arn))
		}
	}
	return out, nil
}

// listServiceDeployments lists the newest first. Services of other controllers have none.
func listServiceDeployments(c *Call, in *ecs.ListServiceDeploymentsInput) (*ecs.ListServiceDeploymentsOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	s := cl.service(in.Service)
	if s == nil {
		return nil, errorf("ServiceNotFoundException", "Service not found.")
	}
	c.settleECS()
	found := []types.ServiceDeploymentBrief{}
	for _, arn := range slices.Backward(s.history) {
		d := c.home().ecs.deployments[arn]
		if len(in.Status) > 0 && !slices.Contains(in.Status, d.Status) {
			continue
		}
		if r := in.CreatedAt; r != nil && (r.After != nil && d.CreatedAt.Before(*r.After) || r.Before != nil && d.CreatedAt.After(*r.Before)) {
			continue
		}
		found = append(found, types.ServiceDeploymentBrief{
			ClusterArn: d.ClusterArn, CreatedAt: d.CreatedAt, FinishedAt: d.FinishedAt,
			ServiceArn: d.ServiceArn, ServiceDeploymentArn: d.ServiceDeploymentArn, StartedAt: d.StartedAt,
			Status: d.Status, TargetServiceRevisionArn: d.TargetServiceRevision.Arn,
		})
	}
	found, next, err := page(found, in.MaxResults, 20, 100, in.NextToken)
	return &ecs.ListServiceDeploymentsOutput{ServiceDeployments: found, NextToken: next}, err
}

func describeServiceDeployments(c *Call, in *ecs.DescribeServiceDeploymentsInput) (*ecs.DescribeServiceDeploymentsOutput, error) {
	if len(in.ServiceDeploymentArns) < 1 || len(in.ServiceDeploymentArns) > 20 {
		return nil, invalidParameter("serviceDeploymentArns must have between 1 and 20 entries.")
	}
	c.settleECS()
	out := &ecs.DescribeServiceDeploymentsOutput{ServiceDeployments: []types.ServiceDeployment{}, Failures: []types.Failure{}}
	for _, arn := range in.ServiceDeploymentArns {
		if d := c.home().ecs.deployments[arn]; d != nil {
			out.ServiceDeployments = append(out.ServiceDeployments, *d)
		} else {
			out.Failures = append(out.Failures, missing(arn))
		}
	}
	return out, nil
}
