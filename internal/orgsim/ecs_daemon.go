package orgsim

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsDaemon is a managed daemon: a task on each instance of its capacity providers, which have one each.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/managed-daemons.html
type ecsDaemon struct {
	name, arn        string
	cluster          *ecsCluster
	created, updated time.Time
	providers        []string
	config           *types.DaemonDeploymentConfiguration

	run       *ecsDaemonRun // of the last deployment
	completed *ecsDaemonRun // the last that was deployed with success: what a rollback returns to
	history   []string      // ARNs of its deployments, oldest first
}

// ecsDaemonRun is a revision that is deployed.
type ecsDaemonRun struct {
	revision, arn string // arn: of the deployment
	fleet         *ecsFleet
	bakes         time.Time // it is watched until then; zero: it is not
}

func addECSDaemonOps(s *service) {
	byARN := func(c *Call, arn *string) []string { return []string{aws.ToString(arn)} }
	op(s, "RegisterDaemonTaskDefinition", registerDaemonTaskDefinition)
	op(s, "DescribeDaemonTaskDefinition", describeDaemonTaskDefinition)
	op(s, "ListDaemonTaskDefinitions", listDaemonTaskDefinitions)
	op(s, "DeleteDaemonTaskDefinition", deleteDaemonTaskDefinition)
	op(s, "CreateDaemon", createDaemon)
	op(s, "UpdateDaemon", updateDaemon, resource(func(c *Call, in *ecs.UpdateDaemonInput) []string { return byARN(c, in.DaemonArn) }))
	op(s, "DeleteDaemon", deleteDaemon, resource(func(c *Call, in *ecs.DeleteDaemonInput) []string { return byARN(c, in.DaemonArn) }))
	op(s, "ListDaemons", listDaemons)
	op(s, "DescribeDaemon", describeDaemon, settles(), resource(func(c *Call, in *ecs.DescribeDaemonInput) []string { return byARN(c, in.DaemonArn) }))
	op(s, "DescribeDaemonRevisions", describeDaemonRevisions)
	op(s, "ListDaemonDeployments", listDaemonDeployments, settles())
	op(s, "DescribeDaemonDeployments", describeDaemonDeployments, settles())
}

// daemonDefinition finds what `family`, `family:revision` or an ARN names; nil if it is not there.
func (c *Call) daemonDefinition(ref *string) *types.DaemonTaskDefinition {
	name := strings.TrimPrefix(aws.ToString(ref), c.ecsARN("daemon-task-definition", ""))
	family, revision, exact := strings.Cut(name, ":")
	all := c.home().ecs.daemonFamilies[family]
	if !exact {
		for _, td := range slices.Backward(all) {
			if td.Status == types.DaemonTaskDefinitionStatusActive {
				return td
			}
		}
		return nil
	}
	n, err := strconv.Atoi(revision)
	if err != nil || n < 1 || n > len(all) {
		return nil
	}
	return all[n-1]
}

func registerDaemonTaskDefinition(c *Call, in *ecs.RegisterDaemonTaskDefinitionInput) (*ecs.RegisterDaemonTaskDefinitionOutput, error) {
	family := aws.ToString(in.Family)
	if family == "" || len(family) > 255 || strings.ContainsAny(family, ":/ ") {
		return nil, clientError("Invalid 'family' setting for daemon task definition.")
	}
	if len(in.ContainerDefinitions) == 0 {
		return nil, clientError("Container list cannot be empty.")
	}
	for i := range in.ContainerDefinitions {
		if aws.ToString(in.ContainerDefinitions[i].Image) == "" {
			return nil, clientError("Container.image should not be null or empty.")
		}
	}
	e := &c.home().ecs
	revision := len(e.daemonFamilies[family]) + 1
	td := &types.DaemonTaskDefinition{
		ContainerDefinitions:    in.ContainerDefinitions,
		Cpu:                     in.Cpu,
		DaemonTaskDefinitionArn: new(c.ecsARN("daemon-task-definition", family+":"+strconv.Itoa(revision))),
		ExecutionRoleArn:        in.ExecutionRoleArn,
		Family:                  &family,
		IpcMode:                 in.IpcMode,
		Memory:                  in.Memory,
		PidMode:                 in.PidMode,
		RegisteredAt:            new(c.Now),
		RegisteredBy:            new(c.Caller.ARN),
		Revision:                int32(revision),
		Status:                  types.DaemonTaskDefinitionStatusActive,
		TaskRoleArn:             in.TaskRoleArn,
		Volumes:                 in.Volumes,
	}
	if e.daemonFamilies == nil {
		e.daemonFamilies = make(map[string][]*types.DaemonTaskDefinition)
	}
	e.daemonFamilies[family] = append(e.daemonFamilies[family], td)
	e.setTags(*td.DaemonTaskDefinitionArn, in.Tags)
	return &ecs.RegisterDaemonTaskDefinitionOutput{DaemonTaskDefinitionArn: td.DaemonTaskDefinitionArn}, nil
}

func describeDaemonTaskDefinition(c *Call, in *ecs.DescribeDaemonTaskDefinitionInput) (*ecs.DescribeDaemonTaskDefinitionOutput, error) {
	td := c.daemonDefinition(in.DaemonTaskDefinition)
	if td == nil {
		return nil, clientError("Unable to describe daemon task definition.")
	}
	return &ecs.DescribeDaemonTaskDefinitionOutput{DaemonTaskDefinition: td}, nil
}

func listDaemonTaskDefinitions(c *Call, in *ecs.ListDaemonTaskDefinitionsInput) (*ecs.ListDaemonTaskDefinitionsOutput, error) {
	e := &c.home().ecs
	status := cmp.Or(in.Status, types.DaemonTaskDefinitionStatusFilterActive)
	found := []types.DaemonTaskDefinitionSummary{}
	for _, family := range slices.Sorted(maps.Keys(e.daemonFamilies)) {
		if in.Family != nil && *in.Family != family || !strings.HasPrefix(family, aws.ToString(in.FamilyPrefix)) {
			continue
		}
		revisions := e.daemonFamilies[family]
		if in.Revision == types.DaemonTaskDefinitionRevisionFilterLastRegistered {
			revisions = revisions[len(revisions)-1:]
		}
		for _, td := range revisions {
			if status == types.DaemonTaskDefinitionStatusFilterAll || string(td.Status) == string(status) {
				found = append(found, types.DaemonTaskDefinitionSummary{
					Arn: td.DaemonTaskDefinitionArn, DeleteRequestedAt: td.DeleteRequestedAt, RegisteredAt: td.RegisteredAt, RegisteredBy: td.RegisteredBy, Status: td.Status,
				})
			}
		}
	}
	if in.Sort == types.SortOrderDesc {
		slices.Reverse(found)
	}
	found, next, err := page(found, in.MaxResults, 100, 100, in.NextToken)
	return &ecs.ListDaemonTaskDefinitionsOutput{DaemonTaskDefinitions: found, NextToken: next}, err
}

// deleteDaemonTaskDefinition moves a revision to DELETE_IN_PROGRESS, where it stays. Daemons made of it run on.
func deleteDaemonTaskDefinition(c *Call, in *ecs.DeleteDaemonTaskDefinitionInput) (*ecs.DeleteDaemonTaskDefinitionOutput, error) {
	if !strings.Contains(lastSegment(aws.ToString(in.DaemonTaskDefinition)), ":") {
		return nil, clientError("Revision is missing.")
	}
	td := c.daemonDefinition(in.DaemonTaskDefinition)
	if td == nil || td.Status != types.DaemonTaskDefinitionStatusActive {
		return nil, clientError("The specified daemon task definition is not active.")
	}
	changed := *td
	changed.Status, changed.DeleteRequestedAt = types.DaemonTaskDefinitionStatusDeleteInProgress, new(c.Now)
	c.home().ecs.daemonFamilies[*td.Family][td.Revision-1] = &changed
	return &ecs.DeleteDaemonTaskDefinitionOutput{DaemonTaskDefinitionArn: td.DaemonTaskDefinitionArn}, nil
}

// daemon finds a daemon by its ARN: …:daemon/CLUSTER/NAME.
func (c *Call) daemon(arn *string) (*ecsDaemon, error) {
	rest, ok := strings.CutPrefix(aws.ToString(arn), c.ecsARN("daemon", ""))
	cluster, name, ok2 := strings.Cut(rest, "/")
	if cl := c.home().ecs.clusters[cluster]; ok && ok2 && cl != nil && cl.daemons[name] != nil {
		c.settleECS()
		if d := cl.daemons[name]; d != nil {
			return d, nil
		}
	}
	return nil, errorf("DaemonNotFoundException", "Daemon not found.")
}

func createDaemon(c *Call, in *ecs.CreateDaemonInput) (*ecs.CreateDaemonOutput, error) {
	cl, err := c.cluster(in.ClusterArn)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.DaemonName)
	if name == "" || len(name) > 255 || strings.ContainsAny(name, "/: ") {
		return nil, invalidParameter("Invalid daemon name.")
	}
	if cl.daemons[name] != nil {
		return nil, invalidParameter("Creation of daemon was not idempotent.")
	}
	td, err := c.deployableDaemon(in.DaemonTaskDefinitionArn, in.CapacityProviderArns)
	if err != nil {
		return nil, err
	}
	d := &ecsDaemon{
		name: name, arn: c.ecsARN("daemon", cl.name, name), cluster: cl, created: c.Now,
		providers: in.CapacityProviderArns, config: in.DeploymentConfiguration,
	}
	cl.daemons[name] = d
	c.home().ecs.setTags(d.arn, in.Tags)
	d.deploy(c, td)
	return &ecs.CreateDaemonOutput{CreatedAt: new(d.created), DaemonArn: &d.arn, DeploymentArn: &d.run.arn, Status: types.DaemonStatusActive}, nil
}

func (c *Call) deployableDaemon(arn *string, providers []string) (*types.DaemonTaskDefinition, error) {
	if len(providers) == 0 {
		return nil, invalidParameter("capacityProviderArns cannot be empty.")
	}
	td := c.daemonDefinition(arn)
	if td == nil || td.Status != types.DaemonTaskDefinitionStatusActive {
		return nil, clientError("Daemon task definition not found.")
	}
	return td, nil
}

func updateDaemon(c *Call, in *ecs.UpdateDaemonInput) (*ecs.UpdateDaemonOutput, error) {
	d, err := c.daemon(in.DaemonArn)
	if err != nil {
		return nil, err
	}
	td, err := c.deployableDaemon(in.DaemonTaskDefinitionArn, in.CapacityProviderArns)
	if err != nil {
		return nil, err
	}
	d.providers = in.CapacityProviderArns
	d.config = cmp.Or(in.DeploymentConfiguration, d.config)
	d.deploy(c, td)
	return &ecs.UpdateDaemonOutput{CreatedAt: new(d.created), DaemonArn: &d.arn, DeploymentArn: &d.run.arn, Status: types.DaemonStatusActive, UpdatedAt: new(c.Now)}, nil
}

// deploy makes a revision with the digests that the images have now. Its tasks replace the older ones at once, and are
// watched for the bake time; where they cannot start the circuit breaker, which daemons always have, returns to the
// revision that was deployed last with success.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/daemon-deployments.html
func (d *ecsDaemon) deploy(c *Call, td *types.DaemonTaskDefinition) {
	e := &c.home().ecs
	if e.daemonRevisions == nil {
		e.daemonRevisions = make(map[string]*types.DaemonRevision)
		e.daemonDeployments = make(map[string]*types.DaemonDeployment)
		e.bakingDaemons = make(map[*ecsDaemon]bool)
	}
	d.updated = c.Now
	old := d.run
	definition := &types.TaskDefinition{
		Cpu: td.Cpu, ExecutionRoleArn: td.ExecutionRoleArn, Family: td.Family, Memory: td.Memory, TaskDefinitionArn: td.DaemonTaskDefinitionArn,
	}
	for i := range td.ContainerDefinitions {
		definition.ContainerDefinitions = append(definition.ContainerDefinitions, types.ContainerDefinition{
			Cpu: td.ContainerDefinitions[i].Cpu, Image: td.ContainerDefinitions[i].Image, Memory: td.ContainerDefinitions[i].Memory, Name: td.ContainerDefinitions[i].Name,
		})
	}
	run := &ecsDaemonRun{
		revision: c.ecsARN("daemon-revision", d.cluster.name, d.name, e.number(c)),
		arn:      c.ecsARN("daemon-deployment", d.cluster.name, d.name, e.id(c)[:22]),
	}
	record := &types.DaemonDeployment{
		ClusterArn: &d.cluster.arn, CreatedAt: new(c.Now), DaemonDeploymentArn: &run.arn, DeploymentConfiguration: d.config,
		StartedAt: new(c.Now), Status: types.DaemonDeploymentStatusInProgress,
		TargetDaemonRevision: &types.DaemonDeploymentRevisionDetail{Arn: &run.revision},
	}
	if old != nil {
		record.SourceDaemonRevisions = []types.DaemonDeploymentRevisionDetail{{Arn: &old.revision}}
		if !old.bakes.IsZero() {
			old.bakes = time.Time{}
			d.record(c, func(r *types.DaemonDeployment) {
				r.Status, r.StoppedAt = types.DaemonDeploymentStatusStopped, new(c.Now)
			})
		}
		old.fleet.keep(c, 0)
	}
	images := c.containerImages(definition)
	run.fleet = d.start(c, run.arn, definition, images)
	d.run, d.history = run, append(d.history, run.arn)
	e.daemonDeployments[run.arn] = record
	revision := &types.DaemonRevision{
		ClusterArn: &d.cluster.arn, CreatedAt: new(c.Now), DaemonArn: &d.arn, DaemonRevisionArn: &run.revision, DaemonTaskDefinitionArn: td.DaemonTaskDefinitionArn,
	}
	for _, im := range images {
		revision.ContainerImages = append(revision.ContainerImages, types.DaemonContainerImage{ContainerName: im.ContainerName, Image: im.Image, ImageDigest: im.ImageDigest})
	}
	e.daemonRevisions[run.revision] = revision

	switch {
	case run.fleet.failed > 0 && d.completed == nil:
		d.record(c, func(r *types.DaemonDeployment) {
			r.Status, r.StoppedAt = types.DaemonDeploymentStatusStopped, new(c.Now)
		})
	case run.fleet.failed > 0:
		d.rollBack(c)
	case d.config != nil && d.config.BakeTimeInMinutes > 0 && old != nil:
		run.bakes = c.Now.Add(time.Duration(d.config.BakeTimeInMinutes) * time.Minute)
		e.bakingDaemons[d] = true
	default:
		d.complete(c)
	}
}

func (d *ecsDaemon) start(c *Call, startedBy string, definition *types.TaskDefinition, images []types.ContainerImage) *ecsFleet {
	f := &ecsFleet{
		cluster: d.cluster, definition: definition, images: images,
		spec: taskSpec{group: "daemon:" + d.name, startedBy: startedBy, launchType: types.LaunchTypeManagedInstances, pinned: images},
	}
	f.spec.fleet = f
	f.keep(c, int32(len(d.providers)))
	return f
}

func (d *ecsDaemon) rollBack(c *Call) {
	failed, back := d.run, d.completed
	failed.fleet.keep(c, 0)
	d.run = &ecsDaemonRun{revision: back.revision, arn: failed.arn, fleet: d.start(c, failed.arn, back.fleet.definition, back.fleet.images)}
	status := types.DaemonDeploymentStatusRollbackFailed
	if d.run.fleet.failed == 0 {
		status, d.completed = types.DaemonDeploymentStatusRollbackSuccessful, d.run
	}
	d.record(c, func(r *types.DaemonDeployment) {
		r.Status, r.FinishedAt = status, new(c.Now)
		r.Rollback = &types.DaemonRollback{
			Reason: new("The circuit breaker threshold was exceeded."), RollbackCapacityProviders: d.providers,
			RollbackTargetDaemonRevisionArn: &back.revision, StartedAt: new(c.Now),
		}
	})
}

func (d *ecsDaemon) complete(c *Call) {
	d.completed, d.run.bakes = d.run, time.Time{}
	d.record(c, func(r *types.DaemonDeployment) {
		r.Status, r.FinishedAt = types.DaemonDeploymentStatusSuccessful, new(c.Now)
	})
}

// advance completes a deployment that was watched for long enough.
func (d *ecsDaemon) advance(c *Call) {
	if d.run.bakes.IsZero() || !c.Now.Before(d.run.bakes) {
		delete(c.home().ecs.bakingDaemons, d)
		if !d.run.bakes.IsZero() {
			d.complete(c)
		}
	}
}

// record changes what is told of the last deployment.
func (d *ecsDaemon) record(c *Call, change func(*types.DaemonDeployment)) {
	e := &c.home().ecs
	r := *e.daemonDeployments[d.run.arn]
	change(&r)
	e.daemonDeployments[d.run.arn] = &r
}

// deleteDaemon stops all tasks; the daemon is gone at once.
func deleteDaemon(c *Call, in *ecs.DeleteDaemonInput) (*ecs.DeleteDaemonOutput, error) {
	d, err := c.daemon(in.DaemonArn)
	if err != nil {
		return nil, err
	}
	d.run.fleet.keep(c, 0)
	delete(d.cluster.daemons, d.name)
	delete(c.home().ecs.bakingDaemons, d)
	return &ecs.DeleteDaemonOutput{CreatedAt: new(d.created), DaemonArn: &d.arn, DeploymentArn: &d.run.arn, Status: types.DaemonStatusDeleteInProgress, UpdatedAt: new(c.Now)}, nil
}

func listDaemons(c *Call, in *ecs.ListDaemonsInput) (*ecs.ListDaemonsOutput, error) {
	cl, err := c.cluster(in.ClusterArn)
	if err != nil {
		return nil, err
	}
	found := []types.DaemonSummary{}
	for _, name := range slices.Sorted(maps.Keys(cl.daemons)) {
		d := cl.daemons[name]
		if len(in.CapacityProviderArns) > 0 && !slices.ContainsFunc(in.CapacityProviderArns, func(p string) bool { return slices.Contains(d.providers, p) }) {
			continue
		}
		found = append(found, types.DaemonSummary{CreatedAt: new(d.created), DaemonArn: &d.arn, Status: types.DaemonStatusActive, UpdatedAt: new(d.updated)})
	}
	found, next, err := page(found, in.MaxResults, 100, 100, in.NextToken)
	return &ecs.ListDaemonsOutput{DaemonSummariesList: found, NextToken: next}, err
}

func describeDaemon(c *Call, in *ecs.DescribeDaemonInput) (*ecs.DescribeDaemonOutput, error) {
	d, err := c.daemon(in.DaemonArn)
	if err != nil {
		return nil, err
	}
	current := types.DaemonRevisionDetail{Arn: &d.run.revision, TotalRunningCount: d.run.fleet.running()}
	for _, p := range d.providers {
		current.CapacityProviders = append(current.CapacityProviders, types.DaemonCapacityProvider{Arn: &p, RunningCount: d.run.fleet.running() / int32(len(d.providers))})
	}
	return &ecs.DescribeDaemonOutput{Daemon: &types.DaemonDetail{
		ClusterArn: &d.cluster.arn, CreatedAt: new(d.created), CurrentRevisions: []types.DaemonRevisionDetail{current},
		DaemonArn: &d.arn, DeploymentArn: &d.run.arn, Status: types.DaemonStatusActive, UpdatedAt: new(d.updated),
	}}, nil
}

func describeDaemonRevisions(c *Call, in *ecs.DescribeDaemonRevisionsInput) (*ecs.DescribeDaemonRevisionsOutput, error) {
	if len(in.DaemonRevisionArns) < 1 || len(in.DaemonRevisionArns) > 20 {
		return nil, invalidParameter("daemonRevisionArns must have between 1 and 20 entries.")
	}
	out := &ecs.DescribeDaemonRevisionsOutput{DaemonRevisions: []types.DaemonRevision{}, Failures: []types.Failure{}}
	for _, arn := range in.DaemonRevisionArns {
		if r := c.home().ecs.daemonRevisions[arn]; r != nil {
			out.DaemonRevisions = append(out.DaemonRevisions, *r)
		} else {
			out.Failures = append(out.Failures, missing(arn))
		}
	}
	return out, nil
}

// listDaemonDeployments lists the newest first.
func listDaemonDeployments(c *Call, in *ecs.ListDaemonDeploymentsInput) (*ecs.ListDaemonDeploymentsOutput, error) {
	d, err := c.daemon(in.DaemonArn)
	if err != nil {
		return nil, err
	}
	found := []types.DaemonDeploymentSummary{}
	for _, arn := range slices.Backward(d.history) {
		r := c.home().ecs.daemonDeployments[arn]
		if len(in.Status) > 0 && !slices.Contains(in.Status, r.Status) {
			continue
		}
		found = append(found, types.DaemonDeploymentSummary{
			ClusterArn: r.ClusterArn, CreatedAt: r.CreatedAt, DaemonArn: &d.arn, DaemonDeploymentArn: r.DaemonDeploymentArn, FinishedAt: r.FinishedAt,
			StartedAt: r.StartedAt, Status: r.Status, StoppedAt: r.StoppedAt, TargetDaemonRevisionArn: r.TargetDaemonRevision.Arn,
		})
	}
	found, next, err := page(found, in.MaxResults, 20, 100, in.NextToken)
	return &ecs.ListDaemonDeploymentsOutput{DaemonDeployments: found, NextToken: next}, err
}

func describeDaemonDeployments(c *Call, in *ecs.DescribeDaemonDeploymentsInput) (*ecs.DescribeDaemonDeploymentsOutput, error) {
	if len(in.DaemonDeploymentArns) < 1 || len(in.DaemonDeploymentArns) > 20 {
		return nil, invalidParameter("daemonDeploymentArns must have between 1 and 20 entries.")
	}
	c.settleECS()
	out := &ecs.DescribeDaemonDeploymentsOutput{DaemonDeployments: []types.DaemonDeployment{}, Failures: []types.Failure{}}
	for _, arn := range in.DaemonDeploymentArns {
		if r := c.home().ecs.daemonDeployments[arn]; r != nil {
			out.DaemonDeployments = append(out.DaemonDeployments, *r)
		} else {
			out.Failures = append(out.Failures, missing(arn))
		}
	}
	return out, nil
}

// eachDaemonUse reports the images of daemons' active task definitions, those that daemons have pinned, and those that
// a rollback returns to.
func (e *ecsState) eachDaemonUse(use func(image, digest, arn string)) {
	for _, family := range e.daemonFamilies {
		for _, td := range family {
			for i := range td.ContainerDefinitions {
				if td.Status == types.DaemonTaskDefinitionStatusActive {
					use(*td.ContainerDefinitions[i].Image, "", *td.DaemonTaskDefinitionArn)
				}
			}
		}
	}
	for _, cl := range e.clusters {
		for _, d := range cl.daemons {
			runs := []*ecsDaemonRun{d.run}
			if d.completed != nil && e.daemonDeployments[d.run.arn].Status != types.DaemonDeploymentStatusSuccessful {
				runs = append(runs, d.completed)
			}
			for _, run := range runs {
				for _, im := range run.fleet.images {
					use(*im.Image, aws.ToString(im.ImageDigest), d.arn)
				}
			}
		}
	}
}
