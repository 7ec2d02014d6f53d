package orgsim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
)

// cluster is the cluster "main" seen by one caller.
type cluster struct {
	*ecs.Client
	t *testing.T
}

func (m *sim) cluster(cfg aws.Config) cluster {
	m.t.Helper()
	c := cluster{ecs.NewFromConfig(cfg), m.t}
	if _, err := c.CreateCluster(m.t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("main")}); err != nil {
		m.t.Fatal(err)
	}
	return c
}

// register makes a revision of a family with a container for each image and answers its ARN.
func (c cluster) register(family string, images ...string) string {
	c.t.Helper()
	in := &ecs.RegisterTaskDefinitionInput{Family: &family, Cpu: aws.String("256"), Memory: aws.String("512")}
	for i, image := range images {
		in.ContainerDefinitions = append(in.ContainerDefinitions, types.ContainerDefinition{Name: aws.String(fmt.Sprint("c", i)), Image: &image, Memory: aws.Int32(64)})
	}
	out, err := c.RegisterTaskDefinition(c.t.Context(), in)
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.TaskDefinition.TaskDefinitionArn
}

func (c cluster) run(td string) types.Task {
	c.t.Helper()
	out, err := c.RunTask(c.t.Context(), &ecs.RunTaskInput{Cluster: aws.String("main"), TaskDefinition: &td})
	if err != nil {
		c.t.Fatal(err)
	}
	return out.Tasks[0]
}

func (c cluster) create(in *ecs.CreateServiceInput) types.Service {
	c.t.Helper()
	in.Cluster = aws.String("main")
	out, err := c.CreateService(c.t.Context(), in)
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.Service
}

func (c cluster) update(in *ecs.UpdateServiceInput) types.Service {
	c.t.Helper()
	in.Cluster = aws.String("main")
	out, err := c.UpdateService(c.t.Context(), in)
	if err != nil {
		c.t.Fatal(err)
	}
	return *out.Service
}

func (c cluster) describe(service string) types.Service {
	c.t.Helper()
	out, err := c.DescribeServices(c.t.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("main"), Services: []string{service}})
	if err != nil || len(out.Services) != 1 {
		c.t.Fatal(err, out)
	}
	return out.Services[0]
}

// digests are those of a service's running tasks' first containers.
func (c cluster) digests(service string) []string {
	c.t.Helper()
	list, err := c.ListTasks(c.t.Context(), &ecs.ListTasksInput{Cluster: aws.String("main"), ServiceName: &service})
	if err != nil {
		c.t.Fatal(err)
	}
	if len(list.TaskArns) == 0 {
		return nil
	}
	out, err := c.DescribeTasks(c.t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("main"), Tasks: list.TaskArns})
	if err != nil || len(out.Failures) > 0 {
		c.t.Fatal(err, out)
	}
	var ds []string
	for _, t := range out.Tasks {
		ds = append(ds, aws.ToString(t.Containers[0].ImageDigest))
	}
	return ds
}

func (c cluster) pinned(revision string) []types.ContainerImage {
	c.t.Helper()
	out, err := c.DescribeServiceRevisions(c.t.Context(), &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{revision}})
	if err != nil || len(out.ServiceRevisions) != 1 {
		c.t.Fatal(err, out)
	}
	return out.ServiceRevisions[0].ContainerImages
}

const appURI = accountA + ".dkr.ecr.us-east-1.amazonaws.com/app"

func TestTasksResolveDigests(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	d := r.push(manifestOf("v1"), "v1")
	old := r.push(manifestOf("v0"), "latest")
	r.push(manifestOf("v2"), "latest") // v0 has no tag now
	c := m.cluster(m.as(accountA))
	m.SetClock(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
	for image, want := range map[string]string{
		appURI + ":v1":     d,
		appURI:             digestOf(manifestOf("v2")),
		appURI + "@" + old: old,
		accountA + ".dkr.ecr-fips.us-east-1.amazonaws.com/app:v1@" + old: old,
		accountA + ".dkr-ecr.us-east-1.on.aws/app:v1":                    d,
		"public.ecr.aws/nginx/nginx@" + d:                                d,
	} {
		task := c.run(c.register("f", image))
		ct := task.Containers[0]
		if *task.LastStatus != "RUNNING" || *ct.Image != image || aws.ToString(ct.ImageDigest) != want || *task.Cpu != "256" || *ct.Memory != "64" {
			t.Errorf("%s: %s %s, want digest %s: %s", image, *task.LastStatus, aws.ToString(ct.ImageDigest), want, aws.ToString(task.StoppedReason))
		}
	}
	if im := r.image(byDigest(old)); im.LastRecordedPullTime == nil {
		t.Error("a task did not move the pull time")
	}
	for _, image := range []string{appURI + ":none", appURI + "@" + digestOf("none"), accountA + ".dkr.ecr.us-east-1.amazonaws.com/none:a", "444444444444.dkr.ecr.us-east-1.amazonaws.com/app:a"} {
		task := c.run(c.register("f", appURI+":v1", image))
		if *task.LastStatus != "STOPPED" || task.StopCode != types.TaskStopCodeTaskFailedToStart || task.Containers[1].ImageDigest != nil ||
			!strings.HasPrefix(*task.StoppedReason, "CannotPullContainerError") {
			t.Errorf("%s: %+v", image, task)
		}
	}
}

func TestTaskPullsPlatformOfIndex(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	amd, arm := manifestOf("amd"), manifestOf("arm")
	dAmd, dArm := r.push(amd, ""), r.push(arm, "")
	dIndex := r.push(indexOf(amd, arm), "v1")
	c := m.cluster(m.as(accountA))
	task := c.run(c.register("f", appURI+":v1"))
	if got := *task.Containers[0].ImageDigest; got != dIndex {
		t.Errorf("the task reports %s, want the index %s", got, dIndex)
	}
	for d, want := range map[string]bool{dIndex: true, dAmd: true, dArm: false} {
		if got := r.image(byDigest(d)).LastRecordedPullTime != nil; got != want {
			t.Errorf("%s pulled: %v, want %v", d, got, want)
		}
	}
}

func TestCrossAccountPulls(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	r.push(manifestOf("v1"), "v1")
	c := m.cluster(m.as(accountB))
	td := c.register("f", appURI+":v1")
	status := func() string { t.Helper(); return *c.run(td).LastStatus }
	if got := status(); got != "STOPPED" {
		t.Errorf("with no policy: %s", got)
	}
	for principal, want := range map[string]string{
		`{"AWS":"333333333333"}`:                                            "STOPPED",
		`{"AWS":"arn:aws:iam::222222222222:root"}`:                          "RUNNING",
		`"*","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-other"}}`: "STOPPED",
		`"*"`: "RUNNING",
	} {
		if _, err := r.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &r.name, PolicyText: aws.String(repositoryPolicy(principal))}); err != nil {
			t.Fatal(err)
		}
		if got := status(); got != want {
			t.Errorf("with principal %s: %s, want %s", principal, got, want)
		}
	}
}

func TestServiceRevisionPinsDigests(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	d1 := r.push(manifestOf("v1"), "latest")
	c := m.cluster(m.as(accountA))
	td := c.register("web", appURI+":latest")
	s := c.create(&ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(2)})
	if len(s.Deployments) != 1 || len(s.CurrentServiceRevisions) != 1 || s.TaskSets != nil || s.RunningCount != 2 ||
		s.CurrentServiceRevisions[0].RunningTaskCount != 2 || *s.TaskDefinition != td || s.Deployments[0].RolloutState != "COMPLETED" {
		t.Fatalf("service: %+v", s)
	}
	rev1 := *s.CurrentServiceRevisions[0].Arn
	d2 := r.push(manifestOf("v2"), "latest")

	s = c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(3)})
	if got := c.digests("web"); !slices.Equal(got, []string{d1, d1, d1}) || *s.CurrentServiceRevisions[0].Arn != rev1 {
		t.Errorf("scaled up after the tag moved: %v, want %s thrice", got, d1)
	}
	c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(0)})
	if got := c.digests("web"); got != nil {
		t.Errorf("at zero: %v", got)
	}
	if diff := cmp.Diff(`[{"ContainerName":"c0","Image":"`+appURI+`:latest","ImageDigest":"`+d1+`"}]`, marshal(c.pinned(rev1))); diff != "" {
		t.Error(diff)
	}
	if use := m.InUse()[accountA+"/us-east-1/app@"+d1]; !slices.Contains(use, *s.ServiceArn) {
		t.Errorf("the pinned image is used by %v", use)
	}

	// The scheduler replaces a stopped task, from the pinned digest.
	c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(1)})
	list, err := c.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: aws.String("main"), ServiceName: aws.String("web")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("main"), Task: &list.TaskArns[0]}); err != nil {
		t.Fatal(err)
	}
	if got := c.digests("web"); !slices.Equal(got, []string{d1}) {
		t.Errorf("after stopping a task: %v", got)
	}

	s = c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), ForceNewDeployment: true})
	rev2 := *s.CurrentServiceRevisions[0].Arn
	if got := c.digests("web"); !slices.Equal(got, []string{d2}) || rev2 == rev1 {
		t.Errorf("after a forced deployment: %v", got)
	}
	list2, err := c.ListServiceDeployments(t.Context(), &ecs.ListServiceDeploymentsInput{Cluster: aws.String("main"), Service: aws.String("web")})
	if err != nil || len(list2.ServiceDeployments) != 2 || *list2.ServiceDeployments[0].TargetServiceRevisionArn != rev2 {
		t.Fatalf("deployments: %+v, %v", list2, err)
	}
	deps, err := c.DescribeServiceDeployments(t.Context(), &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*list2.ServiceDeployments[0].ServiceDeploymentArn, "arn:none"}})
	if err != nil || len(deps.ServiceDeployments) != 1 || *deps.ServiceDeployments[0].SourceServiceRevisions[0].Arn != rev1 || *deps.Failures[0].Reason != "MISSING" {
		t.Fatalf("deployment: %+v, %v", deps, err)
	}
	if got := aws.ToString(c.pinned(rev1)[0].ImageDigest); got != d1 {
		t.Errorf("the old revision pins %s", got)
	}

	// With its pinned image gone, the service cannot scale.
	r.delete(byDigest(d2))
	s = c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(2)})
	if s.RunningCount != 1 || s.Deployments[0].FailedTasks != 1 {
		t.Errorf("with the image gone: %d running, %d failed", s.RunningCount, s.Deployments[0].FailedTasks)
	}
}

func TestServiceLifecycle(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	c := m.cluster(m.as(accountA))
	ctx := t.Context()
	c.register("web", "nginx:1")
	c.create(&ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)})
	_, err := c.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("main"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web")})
	wantCode(t, err, "InvalidParameterException")
	_, err = c.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("none"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web")})
	wantCode(t, err, "ClusterNotFoundException")
	_, err = c.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("main"), ServiceName: aws.String("x"), TaskDefinition: aws.String("none")})
	wantCode(t, err, "ClientException")
	_, err = c.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("none")})
	wantCode(t, err, "ServiceNotFoundException")
	_, err = c.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: aws.String("main"), Service: aws.String("web")})
	wantCode(t, err, "InvalidParameterException")
	_, err = c.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("main")})
	wantCode(t, err, "ClusterContainsServicesException")
	out, err := c.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: aws.String("main"), Service: aws.String("web"), Force: aws.Bool(true)})
	if err != nil || *out.Service.Status != "INACTIVE" || out.Service.RunningCount != 0 {
		t.Errorf("deleted: %+v, %v", out, err)
	}
	_, err = c.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("web")})
	wantCode(t, err, "ServiceNotActiveException")
	if list, err := c.ListServices(ctx, &ecs.ListServicesInput{Cluster: aws.String("main")}); err != nil || len(list.ServiceArns) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
	if got := *c.describe("web").Status; got != "INACTIVE" {
		t.Errorf("described: %s", got)
	}

	for i := range 23 {
		c.create(&ecs.CreateServiceInput{ServiceName: aws.String(fmt.Sprint("s", i)), TaskDefinition: aws.String("web"), SchedulingStrategy: types.SchedulingStrategyDaemon})
	}
	var pages []int
	p := ecs.NewListServicesPaginator(c, &ecs.ListServicesInput{Cluster: aws.String("main")})
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, len(out.ServiceArns))
	}
	if !slices.Equal(pages, []int{10, 10, 3}) {
		t.Errorf("pages of %v", pages)
	}
	eleven := slices.Repeat([]string{"s1"}, 11)
	_, err = c.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("main"), Services: eleven})
	wantCode(t, err, "InvalidParameterException")
	ds, err := c.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("main"), Services: []string{"s1", "none"}})
	if err != nil || len(ds.Services) != 1 || *ds.Failures[0].Reason != "MISSING" || *ds.Failures[0].Arn != "arn:aws:ecs:us-east-1:111111111111:service/main/none" {
		t.Errorf("described: %+v, %v", ds, err)
	}
}

func TestTaskSets(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	d1 := r.push(manifestOf("v1"), "latest")
	c := m.cluster(m.as(accountA))
	ctx := t.Context()
	td := c.register("web", appURI+":latest")
	main := aws.String("main")

	blue := c.create(&ecs.CreateServiceInput{
		ServiceName: aws.String("blue"), TaskDefinition: &td, DesiredCount: aws.Int32(2),
		DeploymentController: &types.DeploymentController{Type: types.DeploymentControllerTypeCodeDeploy},
	})
	if blue.Deployments != nil || blue.CurrentServiceRevisions != nil || len(blue.TaskSets) != 1 ||
		*blue.TaskSets[0].Status != "PRIMARY" || blue.RunningCount != 2 || *blue.TaskSets[0].TaskDefinition != td {
		t.Errorf("CODE_DEPLOY: %+v", blue)
	}
	_, err := c.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: main, Service: aws.String("blue"), TaskDefinition: &td})
	wantCode(t, err, "InvalidParameterException")

	ext := c.create(&ecs.CreateServiceInput{
		ServiceName: aws.String("ext"), DesiredCount: aws.Int32(4),
		DeploymentController: &types.DeploymentController{Type: types.DeploymentControllerTypeExternal},
	})
	if ext.Deployments != nil || ext.CurrentServiceRevisions != nil || ext.TaskSets != nil || ext.TaskDefinition != nil {
		t.Errorf("EXTERNAL: %+v", ext)
	}
	create := func(scale float64) *types.TaskSet {
		t.Helper()
		out, err := c.CreateTaskSet(ctx, &ecs.CreateTaskSetInput{Cluster: main, Service: aws.String("ext"), TaskDefinition: &td, Scale: &types.Scale{Value: scale, Unit: types.ScaleUnitPercent}})
		if err != nil {
			t.Fatal(err)
		}
		return out.TaskSet
	}
	one := create(30) // 1.2 is rounded up
	d2 := r.push(manifestOf("v2"), "latest")
	two := create(50)
	if one.ComputedDesiredCount != 2 || one.RunningCount != 2 || *one.Status != "ACTIVE" {
		t.Errorf("task set: %+v", one)
	}
	got := c.digests("ext")
	if !slices.Equal(got, []string{d1, d1, d2, d2}) {
		t.Errorf("tasks: %v", got)
	}
	if _, err := c.UpdateServicePrimaryTaskSet(ctx, &ecs.UpdateServicePrimaryTaskSetInput{Cluster: main, Service: aws.String("ext"), PrimaryTaskSet: two.Id}); err != nil {
		t.Fatal(err)
	}
	// Scaled later, a task set starts what it pinned.
	if _, err := c.UpdateTaskSet(ctx, &ecs.UpdateTaskSetInput{Cluster: main, Service: aws.String("ext"), TaskSet: one.TaskSetArn, Scale: &types.Scale{Value: 75}}); err != nil {
		t.Fatal(err)
	}
	ext = c.describe("ext")
	if *ext.TaskDefinition != td || len(ext.TaskSets) != 2 || *ext.TaskSets[1].Status != "PRIMARY" || ext.RunningCount != 5 {
		t.Errorf("EXTERNAL: %+v", ext)
	}
	sets, err := c.DescribeTaskSets(ctx, &ecs.DescribeTaskSetsInput{Cluster: main, Service: aws.String("ext"), TaskSets: []string{*one.TaskSetArn, "none"}})
	if err != nil || len(sets.TaskSets) != 1 || len(sets.Failures) != 1 || sets.TaskSets[0].RunningCount != 3 {
		t.Errorf("described: %+v, %v", sets, err)
	}
	_, err = c.DeleteTaskSet(ctx, &ecs.DeleteTaskSetInput{Cluster: main, Service: aws.String("ext"), TaskSet: one.Id})
	wantCode(t, err, "InvalidParameterException")
	if out, err := c.DeleteTaskSet(ctx, &ecs.DeleteTaskSetInput{Cluster: main, Service: aws.String("ext"), TaskSet: one.Id, Force: aws.Bool(true)}); err != nil || *out.TaskSet.Status != "DRAINING" {
		t.Errorf("deleted: %+v, %v", out, err)
	}
	if got := c.digests("ext"); !slices.Equal(got, []string{d2, d2}) {
		t.Errorf("tasks: %v", got)
	}
	_, err = c.DeleteTaskSet(ctx, &ecs.DeleteTaskSetInput{Cluster: main, Service: aws.String("ext"), TaskSet: one.Id})
	wantCode(t, err, "TaskSetNotFoundException")
	c.create(&ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: &td})
	_, err = c.CreateTaskSet(ctx, &ecs.CreateTaskSetInput{Cluster: main, Service: aws.String("web"), TaskDefinition: &td})
	wantCode(t, err, "InvalidParameterException")
}

func TestTaskDefinitions(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	cfg := m.as(accountA)
	cfg.Region = "cn-north-1"
	c := cluster{ecs.NewFromConfig(cfg), t}
	ctx := t.Context()
	for range 3 {
		c.register("web", "a:1")
	}
	c.register("web-2", "a:1")
	const prefix = "arn:aws-cn:ecs:cn-north-1:111111111111:task-definition/"

	describe := func(ref string) (string, error) {
		out, err := c.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &ref})
		if err != nil {
			return "", err
		}
		return strings.TrimPrefix(*out.TaskDefinition.TaskDefinitionArn, prefix) + " " + string(out.TaskDefinition.Status), nil
	}
	if _, err := c.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web:3")}); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"web": "web:2 ACTIVE", "web:1": "web:1 ACTIVE", "web:3": "web:3 INACTIVE", prefix + "web:3": "web:3 INACTIVE", prefix + "web-2": "web-2:1 ACTIVE"} {
		if got, err := describe(ref); err != nil || got != want {
			t.Errorf("%s is %s (%v), want %s", ref, got, err, want)
		}
	}
	for _, ref := range []string{"none", "web:4", "web:0", "web:x", "arn:aws:ecs:us-east-1:111111111111:task-definition/web:1"} {
		_, err := describe(ref)
		wantCode(t, err, "ClientException")
		if !strings.Contains(fmt.Sprint(err), "Unable to describe task definition.") {
			t.Error(err)
		}
	}
	list := func(in ecs.ListTaskDefinitionsInput) string {
		out, err := c.ListTaskDefinitions(ctx, &in)
		if err != nil {
			return codeOf(err)
		}
		return strings.ReplaceAll(strings.Join(out.TaskDefinitionArns, " "), prefix, "")
	}
	for _, tt := range []struct {
		in   ecs.ListTaskDefinitionsInput
		want string
	}{
		{ecs.ListTaskDefinitionsInput{}, "web:1 web:2 web-2:1"},
		{ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web")}, "web:1 web:2"},
		{ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("we")}, ""},
		{ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("web"), Sort: types.SortOrderDesc}, "web:2 web:1"},
		{ecs.ListTaskDefinitionsInput{Status: types.TaskDefinitionStatusInactive}, "web:3"},
		{ecs.ListTaskDefinitionsInput{MaxResults: aws.Int32(1)}, "web:1"},
		{ecs.ListTaskDefinitionsInput{MaxResults: aws.Int32(101)}, "InvalidParameterException"},
	} {
		if got := list(tt.in); got != tt.want {
			t.Errorf("%s: %q, want %q", marshal(tt.in), got, tt.want)
		}
	}
	del, err := c.DeleteTaskDefinitions(ctx, &ecs.DeleteTaskDefinitionsInput{TaskDefinitions: []string{"web:3", "web:1", "web:9"}})
	if err != nil || len(del.TaskDefinitions) != 1 || del.TaskDefinitions[0].Status != "DELETE_IN_PROGRESS" || len(del.Failures) != 2 {
		t.Errorf("deleted: %+v, %v", del, err)
	}
	if got := list(ecs.ListTaskDefinitionsInput{Status: types.TaskDefinitionStatusDeleteInProgress}); got != "web:3" {
		t.Error(got)
	}
	if _, err := c.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("web-2:1")}); err != nil {
		t.Fatal(err)
	}
	for status, want := range map[types.TaskDefinitionFamilyStatus][]string{"": {"web", "web-2"}, "ACTIVE": {"web"}, "INACTIVE": {"web-2"}, "ALL": {"web", "web-2"}} {
		out, err := c.ListTaskDefinitionFamilies(ctx, &ecs.ListTaskDefinitionFamiliesInput{Status: status, FamilyPrefix: aws.String("we")})
		if err != nil || !slices.Equal(out.Families, want) {
			t.Errorf("%q families: %v, %v", status, out, err)
		}
	}
}

func TestTaskListing(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	c := m.cluster(m.as(accountA))
	ctx := t.Context()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	m.SetClock(start)
	td, other := c.register("job", "busybox"), c.register("other", "busybox")
	for range 12 {
		if _, err := c.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("main"), TaskDefinition: &td, Count: aws.Int32(10)}); err != nil {
			t.Fatal(err)
		}
	}
	task := c.run(other)
	_, err := c.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("main"), TaskDefinition: &td, Count: aws.Int32(11)})
	wantCode(t, err, "InvalidParameterException")
	list := func(in ecs.ListTasksInput) (arns []string) {
		t.Helper()
		in.Cluster = aws.String("main")
		p := ecs.NewListTasksPaginator(c, &in)
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.TaskArns) > 100 {
				t.Errorf("a page of %d", len(out.TaskArns))
			}
			arns = append(arns, out.TaskArns...)
		}
		return arns
	}
	if got := len(list(ecs.ListTasksInput{})); got != 121 {
		t.Errorf("%d tasks", got)
	}
	if got := list(ecs.ListTasksInput{Family: aws.String("other")}); !slices.Equal(got, []string{*task.TaskArn}) {
		t.Errorf("by family: %v", got)
	}
	_, err = c.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("main"), MaxResults: aws.Int32(101)})
	wantCode(t, err, "InvalidParameterException")
	_, err = c.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("main"), ServiceName: aws.String("none")})
	wantCode(t, err, "ServiceNotFoundException")
	_, err = c.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String("main"), Tasks: make([]string, 101)})
	wantCode(t, err, "InvalidParameterException")

	if _, err := c.StopTask(ctx, &ecs.StopTaskInput{Cluster: aws.String("main"), Task: task.TaskArn}); err != nil {
		t.Fatal(err)
	}
	described := func() *ecs.DescribeTasksOutput {
		t.Helper()
		out, err := c.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String("main"), Tasks: []string{*task.TaskArn}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	m.SetClock(start.Add(59 * time.Minute))
	if got := list(ecs.ListTasksInput{DesiredStatus: types.DesiredStatusStopped}); !slices.Equal(got, []string{*task.TaskArn}) || *described().Tasks[0].LastStatus != "STOPPED" {
		t.Errorf("stopped: %v", got)
	}
	m.SetClock(start.Add(time.Hour))
	if got := list(ecs.ListTasksInput{DesiredStatus: types.DesiredStatusStopped}); len(got) != 0 {
		t.Errorf("stopped an hour ago: %v", got)
	}
	if out := described(); len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" || *out.Failures[0].Arn != *task.TaskArn {
		t.Errorf("stopped an hour ago: %+v", out)
	}
}

func TestClusters(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	c := m.cluster(m.as(accountA))
	ctx := t.Context()
	out, err := c.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{"main", "none", "arn:aws:ecs:us-east-1:111111111111:cluster/main"}})
	if err != nil || len(out.Clusters) != 2 || len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = c.ListTasks(ctx, &ecs.ListTasksInput{})
	wantCode(t, err, "ClusterNotFoundException")
	made, err := c.CreateCluster(ctx, &ecs.CreateClusterInput{})
	if err != nil || *made.Cluster.ClusterName != "default" {
		t.Errorf("%+v, %v", made, err)
	}
	_, err = c.ListTasks(ctx, &ecs.ListTasksInput{})
	wantCode(t, err, "")
	task := c.run(c.register("f", "busybox"))
	_, err = c.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("main")})
	wantCode(t, err, "ClusterContainsTasksException")
	if _, err := c.StopTask(ctx, &ecs.StopTaskInput{Cluster: aws.String("main"), Task: task.TaskArn}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteCluster(ctx, &ecs.DeleteClusterInput{Cluster: aws.String("main")}); err != nil {
		t.Fatal(err)
	}
	list, err := c.ListClusters(ctx, &ecs.ListClustersInput{})
	if err != nil || !slices.Equal(list.ClusterArns, []string{"arn:aws:ecs:us-east-1:111111111111:cluster/default"}) {
		t.Errorf("%v, %v", list, err)
	}
}

func TestInUse(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	child := manifestOf("v1")
	dChild := r.push(child, "")
	dIndex := r.push(indexOf(child), "v1")
	idle := r.push(manifestOf("idle"), "idle")
	c := m.cluster(m.as(accountA))
	td := c.register("f", appURI+":v1")
	task := c.run(td)
	if _, err := c.DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &td}); err != nil {
		t.Fatal(err)
	}
	use := m.InUse()
	for _, d := range []string{dIndex, dChild} {
		if got := use[accountA+"/us-east-1/app@"+d]; !slices.Equal(got, []string{*task.TaskArn}) {
			t.Errorf("%s is used by %v", d, got)
		}
	}
	if got := use[accountA+"/us-east-1/app@"+idle]; got != nil {
		t.Errorf("the idle image is used by %v", got)
	}
}
