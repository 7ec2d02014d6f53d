package scan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"

	"demurrage/internal/image"
)

func wantUses(t *testing.T, snap *Snapshot, source string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if diff := cmp.Diff(want, uses(snap, source)); diff != "" {
		t.Errorf("uses by %s (-want +got):\n%s", source, diff)
	}
}

// ecsWorld has a repository with an image under a tag, and a cluster.
func ecsWorld(t *testing.T) (w *world, ref, digest string) {
	w = newWorld(t)
	w.repository("app")
	digest = w.push("app", manifest("one", ""), "v1")
	w.cluster("main")
	return w, host + "/app:v1", digest
}

func TestServiceAtZeroKeepsItsDigest(t *testing.T) {
	w, ref, old := ecsWorld(t)
	w.service("main", "idle", w.register("idle", ref), 0)
	w.push("app", manifest("two", ""), "v1") // the tag moves away
	snap := w.scan()
	wantOK(t, snap)
	got := uses(snap, "ecs-service")
	if len(got) != 2 || !strings.HasPrefix(got[1], "live | idle | app:v1@"+short(old)+" | container app, service revision ") {
		t.Errorf("uses: %q", got)
	}
	if want := "live | idle | app:v1 | container app, task definition idle:1"; got[0] != want {
		t.Errorf("use %q, want %q", got[0], want)
	}
	wantUses(t, snap, "ecs-task-definition")
}

func TestServicesWithTaskSetsOnly(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	c := w.ecs()
	blue := w.register("shop", ref)
	must(c.CreateService(t.Context(), &ecs.CreateServiceInput{
		Cluster: aws.String("main"), ServiceName: aws.String("external"), DesiredCount: aws.Int32(0),
		DeploymentController: &types.DeploymentController{Type: types.DeploymentControllerTypeExternal},
	}))(t)
	must(c.CreateTaskSet(t.Context(), &ecs.CreateTaskSetInput{
		Cluster: aws.String("main"), Service: aws.String("external"), TaskDefinition: &blue,
	}))(t)
	must(c.CreateService(t.Context(), &ecs.CreateServiceInput{
		Cluster: aws.String("main"), ServiceName: aws.String("deployed"), DesiredCount: aws.Int32(0), TaskDefinition: &blue,
		DeploymentController: &types.DeploymentController{Type: types.DeploymentControllerTypeCodeDeploy},
	}))(t)
	// The revision that the task sets need is not among the newest any more, and deregistered.
	w.register("shop", "nginx")
	must(c.DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &blue}))(t)
	// What AWS answers for such services: no task definition of their own.
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "DescribeServices" {
			return nil
		}
		return &tamper{change: edit(func(m map[string]any) {
			for _, s := range m["services"].([]any) {
				delete(s.(map[string]any), "taskDefinition")
			}
		})}
	})
	o := w.options(Target{Account: accountA, Region: tokyo, Planned: true})
	o.KeepTaskDefinitions = func(string) int { return 1 }
	snap := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	wantOK(t, snap)
	var got []string
	for _, u := range uses(snap, "ecs-service") {
		got = append(got, strings.Fields(u)[2]+" "+u[strings.Index(u, "task set"):strings.Index(u, "task set")+8])
	}
	if want := []string{"deployed task set", "external task set"}; !slices.Equal(got, want) {
		t.Errorf("services that use the image: %q, want %q", got, want)
	}
}

func TestTasks(t *testing.T) {
	w, ref, digest := ecsWorld(t)
	pinned := host + "/app@" + digest
	both := ref + "@" + digest
	public := "public.ecr.aws/nginx/nginx:1"
	running := w.register("job", ref, pinned, both, public)
	w.task("main", running)
	stopped := w.task("main", w.register("old", ref))
	c := w.ecs()
	must(c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("main"), Task: &stopped}))(t)
	must(c.DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &running}))(t)
	w.push("app", manifest("two", ""), "v1")
	snap := w.scan()
	wantOK(t, snap)
	d := short(digest)
	wantUses(t, snap, "ecs-task",
		"live | task | app:v1@"+d+" | container app",
		"live | task | app@"+d+" | container app1",
		"live | task | app:v1@"+d+" | container app2",
		"live | task | app:v1 | container app, task definition job:1",
		"live | task | app@"+d+" | container app1, task definition job:1",
		"live | task | app:v1@"+d+" | container app2, task definition job:1",
		"kept | task | app:v1@"+d+" | container app, stopped",
		"kept | task | app:v1 | container app, task definition old:1",
	)
	wantUses(t, snap, "ecs-task-definition", "kept | old:1 | app:v1 | container app, kept for a rollback")
}

func TestRuntimeDigest(t *testing.T) {
	const (
		a = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		b = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	)
	const repo = "111111111111.dkr.ecr.us-east-1.amazonaws.com/app"
	for _, tt := range []struct {
		name, text, digest string
		want               []string
		wantErr            bool
	}{
		{"not started", repo + ":v1", "", []string{"v1@"}, false},
		{"tag", repo + ":v1", a, []string{"v1@" + a}, false},
		{"no tag", repo, a, []string{"latest@" + a}, false},
		{"digest", repo + "@" + a, a, []string{"@" + a}, false},
		{"tag and digest", repo + ":v1@" + a, a, []string{"v1@" + a}, false},
		{"another digest runs", repo + ":v1@" + a, b, []string{"v1@" + a, "@" + b}, false},
		{"bad digest", repo + ":v1", "sha512:00", []string{"v1@"}, true},
		{"bad reference", repo + ":", a, nil, true},
		{"other registry", "nginx:1", a, nil, false},
		{"other registry, bad digest", "nginx:1", "x", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refs, err := new(work).resolve(tt.text, tt.digest)
			if (err != nil) != tt.wantErr {
				t.Errorf("error %v", err)
			}
			var got []string
			for _, r := range refs {
				got = append(got, r.Tag+"@"+string(r.Digest))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNewestRevisionsAreKept(t *testing.T) {
	w := newWorld(t)
	for i := range 12 {
		w.register("web", fmt.Sprintf("%s/web:%d", host, i+1))
	}
	w.register("other", host+"/other:1")
	o := w.options(Target{Account: accountA, Region: tokyo})
	o.KeepTaskDefinitions = func(family string) int {
		if family == "web" {
			return 3
		}
		return 0
	}
	snap := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	wantUses(t, snap, "ecs-task-definition",
		"kept | web:12 | web:12 | container app, kept for a rollback",
		"kept | web:11 | web:11 | container app, kept for a rollback",
		"kept | web:10 | web:10 | container app, kept for a rollback")
	if n := w.calls(nil)["ecs:DescribeTaskDefinition"]; n != 3 {
		t.Errorf("%d task definitions were described", n)
	}
	o.KeepTaskDefinitions = func(string) int { return -1 }
	snap = w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	if n := len(snap.Uses); n != 13 {
		t.Errorf("%d uses with all revisions kept", n)
	}
}

func TestEveryHostForm(t *testing.T) {
	w := newWorld(t)
	hosts := []string{
		"222222222222.dkr.ecr.us-east-1.amazonaws.com", "222222222222.dkr.ecr-fips.us-east-1.amazonaws.com",
		"222222222222.dkr-ecr.us-east-1.on.aws", "222222222222.dkr-ecr-fips.us-east-1.on.aws",
		"222222222222.dkr.ecr.cn-north-1.amazonaws.com.cn",
	}
	for _, h := range hosts {
		w.register("web", h+"/app")
	}
	snap := w.scan()
	wantOK(t, snap)
	regions := make(map[string]int)
	for _, u := range snap.Uses {
		if u.Ref.Repository.Account != accountB || u.Ref.Tag != "latest" {
			t.Errorf("reference %s", u.Ref)
		}
		regions[u.Ref.Repository.Region]++
	}
	if regions["us-east-1"] != 4 || regions["cn-north-1"] != 1 {
		t.Errorf("uses by region: %v", regions)
	}
}

func TestReferenceThatDoesNotParseIsAGap(t *testing.T) {
	w := newWorld(t)
	w.register("web", "222222222222.dkr.ecr.us-east-1.example.com/app:v1")
	wantFailed(t, w.scan(), "ecs", "DescribeTaskDefinition", "task-definition/web:1", "example.com")
}

// TestECSFailures: whatever is missing from an answer fails the source, and nothing else does.
func TestECSFailures(t *testing.T) {
	failures := func(reason string, entries string) func(map[string]any) {
		return func(m map[string]any) {
			list := m[entries].([]any)
			arn := list[0].(map[string]any)[strings.TrimSuffix(entries, "s")+"Arn"]
			m[entries] = list[1:]
			if reason != "" {
				m["failures"] = []any{map[string]any{"arn": arn, "reason": reason}}
			}
		}
	}
	for _, tt := range []struct{ name, op, entries, part, reason string }{
		{"task denied", "DescribeTasks", "tasks", "task", "ACCESS_DENIED"},
		{"task missing but listed", "DescribeTasks", "tasks", "task", "MISSING"},
		{"task not answered", "DescribeTasks", "tasks", "task", ""},
		{"service denied", "DescribeServices", "services", "service", "ACCESS_DENIED"},
		{"service missing but listed", "DescribeServices", "services", "service", "MISSING"},
		{"service not answered", "DescribeServices", "services", "service", ""},
		{"revision of before 2024-10-25", "DescribeServiceRevisions", "serviceRevisions", "service-revision", "MISSING"},
		{"revision not answered", "DescribeServiceRevisions", "serviceRevisions", "service-revision", ""},
		{"deployment missing", "DescribeServiceDeployments", "serviceDeployments", "service-deployment", "MISSING"},
		{"deployment not answered", "DescribeServiceDeployments", "serviceDeployments", "service-deployment", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			w.service("main", "one", w.register("web", ref), 1)
			w.deploy("one", "", watched)
			w.tamper(func(op string, _ []byte) *tamper {
				if op == tt.op {
					return &tamper{change: edit(failures(tt.reason, tt.entries))}
				}
				return nil
			})
			wantFailed(t, w.scan(), "ecs", tt.op, ":"+tt.part+"/main/", tt.reason)
		})
	}
}

// TestGoneMeanwhile: what ended between being listed and being described is no use and no gap.
func TestGoneMeanwhile(t *testing.T) {
	const gone = "arn:aws:ecs:ap-northeast-1:111111111111:"
	for _, tt := range []struct{ name, list, entries, describe, arn string }{
		{"task", "ListTasks", "taskArns", "DescribeTasks", gone + "task/main/0123456789abcdef"},
		{"service", "ListServices", "serviceArns", "DescribeServices", gone + "service/main/gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			w.service("main", "one", w.register("web", ref), 1)
			described := false
			w.tamper(func(op string, body []byte) *tamper {
				switch {
				case op == tt.describe && strings.Contains(string(body), tt.arn):
					described = true
				case op == tt.list && !described && !strings.Contains(string(body), "STOPPED"):
					return &tamper{change: edit(func(m map[string]any) {
						if list, ok := m[tt.entries].([]any); ok { // App Runner has a ListServices too
							m[tt.entries] = append(list, tt.arn)
						}
					})}
				}
				return nil
			})
			wantOK(t, w.scan())
			if !described {
				t.Error("it was not asked about")
			}
		})
	}
}

// TestRevisionOfDeletedService: the service is deleted between its description and that of its revision.
func TestRevisionOfDeletedService(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	w.service("main", "one", w.register("web", ref), 0)
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "DescribeServiceRevisions" {
			return nil
		}
		w.tamper(nil)
		return &tamper{
			before: func() {
				must(w.ecs().DeleteService(t.Context(), &ecs.DeleteServiceInput{Cluster: aws.String("main"), Service: aws.String("one"), Force: aws.Bool(true)}))(t)
			},
			change: edit(func(m map[string]any) {
				arn := m["serviceRevisions"].([]any)[0].(map[string]any)["serviceRevisionArn"]
				m["serviceRevisions"] = []any{}
				m["failures"] = []any{map[string]any{"arn": arn, "reason": "MISSING"}}
			}),
		}
	})
	wantOK(t, w.scan())
}

// TestNamelessContainers: a container whose image ECS leaves out is looked up in the task definition.
func TestNamelessContainers(t *testing.T) {
	w, ref, digest := ecsWorld(t)
	w.task("main", w.register("job", ref))
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "DescribeTasks" {
			return nil
		}
		return &tamper{change: edit(func(m map[string]any) {
			task := m["tasks"].([]any)[0].(map[string]any)
			containers := task["containers"].([]any)
			delete(containers[0].(map[string]any), "image")
			task["containers"] = append(containers, map[string]any{"name": "ecs-service-connect-x", "imageDigest": digest})
		})}
	})
	snap := w.scan()
	wantOK(t, snap)
	wantUses(t, snap, "ecs-task",
		"live | task | app:v1@"+short(digest)+" | container app",
		"live | task | app:v1 | container app, task definition job:1")
}

// TestOneClusterDoesNotStopTheOthers: an operation that fails for one cluster fails the source, and the rest of the
// source is read all the same.
func TestOneClusterDoesNotStopTheOthers(t *testing.T) {
	for _, op := range []string{"ListTasks", "DescribeTasks", "ListServices", "DescribeServices"} {
		t.Run(op, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			w.cluster("second")
			definition := w.register("web", ref)
			for _, c := range []string{"main", "second"} {
				w.service(c, c, definition, 1)
			}
			w.tamper(func(o string, body []byte) *tamper {
				if o == op && strings.Contains(string(body), "cluster/main") {
					return &tamper{code: "AccessDeniedException"}
				}
				return nil
			})
			snap := w.scan()
			wantFailed(t, snap, "ecs", op, "cluster/main", "AccessDeniedException")
			clusters := make(map[string]bool)
			for _, u := range snap.Uses {
				for _, c := range []string{"main", "second"} {
					if strings.Contains(u.Resource, "/"+c+"/") {
						clusters[c+" "+u.Source] = true
					}
				}
			}
			if !clusters["second ecs-service"] || !clusters["second ecs-task"] || len(clusters) < 3 {
				t.Errorf("uses by cluster and source: %v", clusters)
			}
		})
	}
}

// TestOneBatchDoesNotStopTheOthers of the same cluster.
func TestOneBatchDoesNotStopTheOthers(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	definition := w.register("web", ref)
	for i := range 11 {
		w.service("main", fmt.Sprintf("s%02d", i), definition, 10)
	}
	failed := make(map[string]bool)
	w.tamper(func(op string, _ []byte) *tamper {
		if (op == "DescribeTasks" || op == "DescribeServices") && !failed[op] {
			failed[op] = true
			return &tamper{code: "AccessDeniedException"}
		}
		return nil
	})
	snap := w.scan()
	wantFailed(t, snap, "ecs", "DescribeTasks", "DescribeServices")
	tasks, services := make(map[string]bool), make(map[string]bool)
	for _, u := range snap.Uses {
		switch u.Source {
		case "ecs-task":
			tasks[u.Resource] = true
		case "ecs-service":
			services[u.Resource] = true
		}
	}
	if len(tasks) != 10 || len(services) != 1 {
		t.Errorf("%d tasks and %d services were read", len(tasks), len(services))
	}
}

// TestUndescribedDefinitionIsNotCached: one that could not be read is a gap, now and in the next run.
func TestUndescribedDefinitionIsNotCached(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	w.register("web", ref)
	w.register("shop", ref)
	w.tamper(func(op string, body []byte) *tamper {
		if op == "DescribeTaskDefinition" && strings.Contains(string(body), "web:1") {
			return &tamper{code: "ClientException"}
		}
		return nil
	})
	for range 2 {
		wantFailed(t, w.scan(), "ecs", "DescribeTaskDefinition", "task-definition/web:1")
	}
	w.tamper(nil)
	snap := w.scan()
	wantOK(t, snap)
	wantUses(t, snap, "ecs-task-definition",
		"kept | web:1 | app:v1 | container app, kept for a rollback", "kept | shop:1 | app:v1 | container app, kept for a rollback")
}

// TestDefinitionCacheForgets: what is neither active nor referred to leaves the cache.
func TestDefinitionCacheForgets(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	first := w.register("web", ref)
	w.register("web", ref)
	w.scan()
	must(w.ecs().DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &first}))(t)
	w.scan()
	var c cached[definitionCache]
	if err := json.Unmarshal(w.mem.m[accountA+tokyo+definitionCacheName], &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Value) != 1 {
		t.Errorf("cache: %v", c.Value)
	}
}

func TestDefinitionOf(t *testing.T) {
	for _, tt := range []struct {
		arn      string
		family   string
		revision int
		ok       bool
	}{
		{"arn:aws:ecs:us-east-1:111111111111:task-definition/web:12", "web", 12, true},
		{"arn:aws-cn:ecs:cn-north-1:111111111111:task-definition/a_b-c:1", "a_b-c", 1, true},
		{"arn:aws:ecs:us-east-1:111111111111:task-definition/web", "", 0, false},
		{"arn:aws:ecs:us-east-1:111111111111:daemon-task-definition/web:1", "web", 1, true},
		{"arn:aws:ecs:us-east-1:111111111111:service/web:1", "", 0, false},
		{"", "", 0, false},
	} {
		family, revision, ok := definitionOf(tt.arn)
		if ok != tt.ok || ok && (family != tt.family || revision != tt.revision) {
			t.Errorf("definitionOf(%q) = %q, %d, %v", tt.arn, family, revision, ok)
		}
	}
}

// TestTasksOfEveryKind: whoever started them, wherever they run, from the moment they are asked for to the one they are
// gone.
func TestTasksOfEveryKind(t *testing.T) {
	for _, launch := range []types.LaunchType{types.LaunchTypeEc2, types.LaunchTypeFargate, types.LaunchTypeExternal, types.LaunchTypeManagedInstances} {
		for _, status := range []string{"PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", "DEPROVISIONING"} {
			w, ref, digest := ecsWorld(t)
			out := must(w.ecs().RunTask(t.Context(), &ecs.RunTaskInput{
				Cluster: aws.String("main"), TaskDefinition: aws.String(w.register("job", ref)), LaunchType: launch, StartedBy: aws.String("events-rule/x"),
			}))(t)
			if slices.Contains([]string{"DEACTIVATING", "STOPPING", "DEPROVISIONING"}, status) { // their desired status is STOPPED
				must(w.ecs().StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("main"), Task: out.Tasks[0].TaskArn}))(t)
			}
			w.tamper(func(op string, _ []byte) *tamper {
				if op != "DescribeTasks" {
					return nil
				}
				return &tamper{change: edit(func(m map[string]any) { m["tasks"].([]any)[0].(map[string]any)["lastStatus"] = status })}
			})
			snap := w.scan()
			wantECS(t, snap)
			wantUses(t, snap, "ecs-task",
				"live | task | app:v1@"+short(digest)+" | container app",
				"live | task | app:v1 | container app, task definition job:1")
		}
	}
}

// TestDeletedCluster: one that is still listed is no gap, if ECS says that it was deleted.
func TestDeletedCluster(t *testing.T) {
	for _, tt := range []struct {
		name string
		arn  string // of the cluster that is listed besides
		deny bool
		gap  bool
	}{
		{"inactive", "arn:aws:ecs:" + tokyo + ":" + accountA + ":cluster/old", false, false},
		{"gone", "arn:aws:ecs:" + tokyo + ":" + accountA + ":cluster/gone", false, false},
		{"nobody knows", "arn:aws:ecs:" + tokyo + ":" + accountA + ":cluster/old", true, true},
		{"there, and not found", "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			w.task("main", w.register("job", ref))
			w.cluster("old")
			must(w.ecs().DeleteCluster(t.Context(), &ecs.DeleteClusterInput{Cluster: aws.String("old")}))(t)
			w.tamper(func(op string, _ []byte) *tamper {
				switch {
				case op == "ListClusters" && tt.arn != "":
					return &tamper{change: edit(func(m map[string]any) { m["clusterArns"] = append(m["clusterArns"].([]any), tt.arn) })}
				case op == "DescribeClusters" && tt.deny:
					return &tamper{code: "AccessDeniedException"}
				case op == "ListServices" && tt.arn == "":
					return &tamper{code: "ClusterNotFoundException"}
				}
				return nil
			})
			snap := w.scan()
			if tt.gap {
				wantECS(t, snap, "ClusterNotFoundException")
			} else {
				wantECS(t, snap)
			}
			if len(uses(snap, "ecs-task")) == 0 {
				t.Error("the other cluster was not read")
			}
		})
	}
}

// TestExpressService: it is listed, described and deployed as any other service is, at its own task definition, so that
// no operation of its own is needed to see its image.
func TestExpressService(t *testing.T) {
	w, ref, digest := ecsWorld(t)
	role := aws.String("arn:aws:iam::" + accountA + ":role/r")
	out := must(w.ecs().CreateExpressGatewayService(t.Context(), &ecs.CreateExpressGatewayServiceInput{
		Cluster: aws.String("main"), ServiceName: aws.String("site"), InfrastructureRoleArn: role, ExecutionRoleArn: role,
		PrimaryContainer: &types.ExpressGatewayContainer{Image: &ref},
	}))(t)
	w.push("app", manifest("two", ""), "v1")
	w.tamper(func(op string, _ []byte) *tamper { return w.withoutTasks(op) })
	before := w.calls(nil)
	o := w.options(Target{Account: accountA, Region: tokyo, Planned: true})
	o.KeepTaskDefinitions = func(string) int { return 0 }
	snap := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	wantECS(t, snap)
	if !digestsUsed(snap, "ecs-service")[digest] {
		t.Errorf("uses: %v", uses(snap, "ecs-service"))
	}
	for _, u := range snap.Uses {
		if u.Resource != *out.Service.ServiceArn {
			t.Errorf("use by %s", u.Resource)
		}
	}
	for op := range w.calls(before) {
		if strings.Contains(op, "Express") {
			t.Errorf("%s was called", op)
		}
	}
}
