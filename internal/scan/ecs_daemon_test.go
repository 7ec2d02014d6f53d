package scan

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/image"
)

const daemonProvider = "arn:aws:ecs:" + tokyo + ":" + accountA + ":capacity-provider/managed"

func (w *world) registerDaemon(family, img string) string {
	w.t.Helper()
	return *must(w.ecs().RegisterDaemonTaskDefinition(w.t.Context(), &ecs.RegisterDaemonTaskDefinitionInput{
		Family: &family, ContainerDefinitions: []types.DaemonContainerDefinition{{Name: aws.String("agent"), Image: &img}},
	}))(w.t).DaemonTaskDefinitionArn
}

func (w *world) daemon(name, definition string) string {
	w.t.Helper()
	return *must(w.ecs().CreateDaemon(w.t.Context(), &ecs.CreateDaemonInput{
		ClusterArn: aws.String("arn:aws:ecs:" + tokyo + ":" + accountA + ":cluster/main"), DaemonName: &name,
		DaemonTaskDefinitionArn: &definition, CapacityProviderArns: []string{daemonProvider},
	}))(w.t).DaemonArn
}

func (w *world) updateDaemon(arn, definition string, bake int32) {
	w.t.Helper()
	must(w.ecs().UpdateDaemon(w.t.Context(), &ecs.UpdateDaemonInput{
		DaemonArn: &arn, DaemonTaskDefinitionArn: &definition, CapacityProviderArns: []string{daemonProvider},
		DeploymentConfiguration: &types.DaemonDeploymentConfiguration{BakeTimeInMinutes: bake},
	}))(w.t)
}

// withoutTasks lists no tasks, so that nothing but the daemon or service knows its images.
func (w *world) withoutTasks(op string) *tamper {
	if op != "ListTasks" {
		return nil
	}
	return &tamper{change: edit(func(m map[string]any) { m["taskArns"] = []any{} })}
}

func wantECS(t *testing.T, snap *Snapshot, parts ...string) {
	t.Helper()
	c := coverageOf(t, snap, "ecs")
	if want := image.CoverageOK; len(parts) == 0 && c.Status != want || len(parts) > 0 && c.Status != image.CoverageFailed {
		t.Errorf("coverage of ecs: %s %s", c.Status, c.Error)
	}
	for _, part := range parts {
		if !strings.Contains(c.Error, part) {
			t.Errorf("%q is not in the error %q", part, c.Error)
		}
	}
}

// digestsUsed are those that a source says are in use.
func digestsUsed(snap *Snapshot, source string) map[string]bool {
	got := make(map[string]bool)
	for _, u := range snap.Uses {
		if u.Source == source && u.Ref.Digest != "" {
			got[string(u.Ref.Digest)] = true
		}
	}
	return got
}

// TestDaemons: the digest that a daemon's revision has pinned is in use, and its task definition, also when that was
// deleted; the newest definitions are kept for a rollback.
func TestDaemons(t *testing.T) {
	w, ref, digest := ecsWorld(t)
	arn := w.daemon("agent", w.registerDaemon("agent", ref))
	w.registerDaemon("agent", host+"/app:v2")
	w.registerDaemon("agent", host+"/app:v3")
	w.register("agent", host+"/app:same-family")
	w.push("app", manifest("two", ""), "v1") // the tag moves away
	w.tamper(func(op string, _ []byte) *tamper { return w.withoutTasks(op) })
	o := w.options(Target{Account: accountA, Region: tokyo, Planned: true})
	o.KeepTaskDefinitions = func(string) int { return 1 }
	snap := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	wantECS(t, snap)
	got := uses(snap, "ecs-daemon")
	if len(got) != 2 || got[0][:strings.LastIndex(got[0], " ")] != "live | agent | app:v1 | container agent, task definition agent:1, daemon revision" ||
		!strings.HasPrefix(got[1], "live | agent | app:v1@"+short(digest)+" | container agent, daemon revision ") {
		t.Errorf("uses: %q", got)
	}
	for _, u := range snap.Uses {
		if u.Source == "ecs-daemon" && u.Resource != arn {
			t.Errorf("resource %s", u.Resource)
		}
	}
	wantUses(t, snap, "ecs-daemon-task-definition", "kept | agent:3 | app:v3 | container agent, kept for a rollback")
	wantUses(t, snap, "ecs-task-definition", "kept | agent:1 | app:same-family | container app, kept for a rollback")
	before := w.calls(nil)
	w.run(o)
	calls := w.calls(before)
	for op, want := range map[string]int{
		"ListDaemons": 1, "DescribeDaemon": 1, "ListDaemonDeployments": 1, "DescribeDaemonRevisions": 1,
		"DescribeDaemonDeployments": 0, "ListDaemonTaskDefinitions": 1, "DescribeDaemonTaskDefinition": 0,
	} {
		if calls["ecs:"+op] != want {
			t.Errorf("%d %s in a warm run, want %d", calls["ecs:"+op], op, want)
		}
	}

	// ECS forgets the definition; the daemon goes on.
	w.mem.m = make(map[string][]byte)
	must(w.ecs().DeleteDaemonTaskDefinition(t.Context(), &ecs.DeleteDaemonTaskDefinitionInput{DaemonTaskDefinition: aws.String("agent:1")}))(t)
	w.tamper(func(op string, body []byte) *tamper {
		if op == "DescribeDaemonTaskDefinition" && strings.Contains(string(body), "agent:1") {
			return &tamper{code: "ClientException"}
		}
		return w.withoutTasks(op)
	})
	snap = w.scan()
	wantECS(t, snap)
	if !digestsUsed(snap, "ecs-daemon")[digest] {
		t.Error("the pinned image is not in use")
	}
}

// TestDaemonTasks are tasks like others, whose definition is a daemon's.
func TestDaemonTasks(t *testing.T) {
	w, ref, digest := ecsWorld(t)
	w.daemon("agent", w.registerDaemon("agent", ref))
	snap := w.scan()
	wantECS(t, snap)
	wantUses(t, snap, "ecs-task", "live | task | app:v1@"+short(digest)+" | container agent")
	if n := w.calls(nil)["ecs:DescribeTaskDefinition"]; n != 0 {
		t.Errorf("%d DescribeTaskDefinition", n)
	}
}

// TestDaemonRollback: while a deployment is watched, the revision that was deployed last with success is in use, also
// when another one was given up since.
func TestDaemonRollback(t *testing.T) {
	w, ref, first := ecsWorld(t)
	w.SetClock(clock(0))
	definition := w.registerDaemon("agent", ref)
	arn := w.daemon("agent", definition)
	second := w.push("app", manifest("two", ""), "v1")
	w.updateDaemon(arn, definition, 10)
	w.SetClock(clock(0).Add(time.Minute))
	third := w.push("app", manifest("three", ""), "v1")
	w.updateDaemon(arn, definition, 10)
	w.tamper(func(op string, _ []byte) *tamper { return w.withoutTasks(op) })
	snap := w.scan()
	wantECS(t, snap)
	if got := digestsUsed(snap, "ecs-daemon"); !got[first] || !got[second] || !got[third] {
		t.Errorf("in use: %v", got)
	}
	w.SetClock(clock(1))
	snap = w.scan()
	wantECS(t, snap)
	if got := digestsUsed(snap, "ecs-daemon"); len(got) != 1 || !got[third] {
		t.Errorf("in use when the bake time is over: %v", got)
	}
}

// TestDaemonFailures: whatever is denied or missing from an answer fails the source; the rest is read.
func TestDaemonFailures(t *testing.T) {
	drop := func(entries, reason string) func(m map[string]any) {
		return func(m map[string]any) {
			e := m[entries].([]any)[0].(map[string]any)
			arn := e[strings.TrimSuffix(entries, "s")+"Arn"]
			m[entries] = m[entries].([]any)[1:]
			if reason != "" {
				m["failures"] = []any{map[string]any{"arn": arn, "reason": reason}}
			}
		}
	}
	type failure struct {
		name, op string
		tamper   *tamper
		parts    []string
	}
	tests := []failure{
		{"revision denied", "DescribeDaemonRevisions", &tamper{change: edit(drop("daemonRevisions", "ACCESS_DENIED"))}, []string{":daemon-revision/", "ACCESS_DENIED"}},
		{"revision missing", "DescribeDaemonRevisions", &tamper{change: edit(drop("daemonRevisions", "MISSING"))}, []string{":daemon-revision/", "MISSING"}},
		{"revision not answered", "DescribeDaemonRevisions", &tamper{change: edit(drop("daemonRevisions", ""))}, []string{":daemon-revision/", "not in the answer"}},
		{"deployment missing", "DescribeDaemonDeployments", &tamper{change: edit(drop("daemonDeployments", "MISSING"))}, []string{":daemon-deployment/", "MISSING"}},
		{"deployment not answered", "DescribeDaemonDeployments", &tamper{change: edit(drop("daemonDeployments", ""))}, []string{":daemon-deployment/", "not in the answer"}},
		{"daemon not answered", "DescribeDaemon", &tamper{change: edit(func(m map[string]any) { clear(m) })}, []string{":daemon/main/agent", "not in the answer"}},
		{"definition not answered", "DescribeDaemonTaskDefinition", &tamper{change: edit(func(m map[string]any) { clear(m) })}, []string{"daemon-task-definition/agent:1", "not in the answer"}},
		{"definition missing", "DescribeDaemonTaskDefinition", &tamper{code: "ClientException"}, []string{"daemon-task-definition/agent:1"}},
		{"bad reference", "DescribeDaemonTaskDefinition", &tamper{change: func(b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), "amazonaws.com", "example.com"))
		}}, []string{":daemon/main/agent", "example.com"}},
	}
	for _, op := range []string{
		"ListDaemons", "DescribeDaemon", "DescribeDaemonRevisions", "ListDaemonDeployments", "DescribeDaemonDeployments",
		"ListDaemonTaskDefinitions", "DescribeDaemonTaskDefinition",
	} {
		tests = append(tests, failure{op + " denied", op, &tamper{code: "AccessDeniedException"}, []string{"AccessDeniedException"}})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, ref, digest := ecsWorld(t)
			arn := w.daemon("agent", w.registerDaemon("agent", ref))
			w.updateDaemon(arn, w.registerDaemon("agent", ref), 10)
			w.task("main", w.register("web", ref))
			w.tamper(func(op string, _ []byte) *tamper {
				if op == tt.op {
					return tt.tamper
				}
				return nil
			})
			snap := w.scan()
			wantECS(t, snap, append(tt.parts, tt.op)...)
			if !digestsUsed(snap, "ecs-task")[digest] {
				t.Error("the rest was not read")
			}
		})
	}
}

// TestDaemonPages: what was listed before a page failed counts.
func TestDaemonPages(t *testing.T) {
	for _, tt := range []struct{ op, source string }{
		{"ListDaemons", "ecs-daemon"}, {"ListDaemonTaskDefinitions", "ecs-daemon-task-definition"}, {"ListDaemonDeployments", "ecs-daemon"},
	} {
		t.Run(tt.op, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			w.daemon("agent", w.registerDaemon("agent", ref))
			w.registerDaemon("other", ref)
			w.tamper(func(op string, body []byte) *tamper {
				switch {
				case op != tt.op:
					return nil
				case strings.Contains(string(body), "nextToken"):
					return &tamper{code: "ServerException"}
				}
				return &tamper{change: edit(func(m map[string]any) { m["nextToken"] = "more" })}
			})
			snap := w.scan()
			wantECS(t, snap, tt.op, "ServerException")
			if len(uses(snap, tt.source)) == 0 {
				t.Errorf("nothing of %s was kept", tt.source)
			}
		})
	}
}

// TestDaemonDeletedMeanwhile is no gap; neither is a region without daemons.
func TestDaemonDeletedMeanwhile(t *testing.T) {
	for name, hook := range map[string]func(w *world, arn string) func(op string, _ []byte) *tamper{
		"before its description": func(w *world, arn string) func(op string, _ []byte) *tamper {
			return func(op string, _ []byte) *tamper {
				if op == "DescribeDaemon" {
					return &tamper{code: "DaemonNotFoundException"}
				}
				return nil
			}
		},
		"before that of its revision": func(w *world, arn string) func(op string, _ []byte) *tamper {
			return func(op string, _ []byte) *tamper {
				if op != "DescribeDaemonRevisions" {
					return nil
				}
				return &tamper{
					before: func() {
						must(w.ecs().DeleteDaemon(t.Context(), &ecs.DeleteDaemonInput{DaemonArn: &arn}))(t)
					},
					change: edit(func(m map[string]any) {
						r := m["daemonRevisions"].([]any)[0].(map[string]any)["daemonRevisionArn"]
						m["daemonRevisions"], m["failures"] = []any{}, []any{map[string]any{"arn": r, "reason": "MISSING"}}
					}),
				}
			}
		},
		"no such thing in the region": func(*world, string) func(op string, _ []byte) *tamper {
			return func(op string, _ []byte) *tamper {
				if op == "ListDaemons" || op == "ListDaemonTaskDefinitions" {
					return &tamper{code: "UnsupportedFeatureException"}
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			arn := w.daemon("agent", w.registerDaemon("agent", ref))
			w.tamper(hook(w, arn))
			wantECS(t, w.scan())
		})
	}
}

// TestDaemonWithoutHistory: its current revision is in use, whatever is told of deployments.
func TestDaemonWithoutHistory(t *testing.T) {
	w, ref, digest := ecsWorld(t)
	w.daemon("agent", w.registerDaemon("agent", ref))
	w.tamper(func(op string, _ []byte) *tamper {
		if op == "ListDaemonDeployments" {
			return &tamper{change: edit(func(m map[string]any) { m["daemonDeployments"] = []any{} })}
		}
		return w.withoutTasks(op)
	})
	snap := w.scan()
	wantECS(t, snap)
	if !digestsUsed(snap, "ecs-daemon")[digest] {
		t.Error("the current revision is not in use")
	}
}
