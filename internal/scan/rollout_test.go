package scan

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/orgsim"
)

// watched is a rolling deployment that is watched for ten minutes, when its older tasks are gone already; blueGreen is
// one whose older tasks run on meanwhile.
var (
	watched   = &types.DeploymentConfiguration{BakeTimeInMinutes: aws.Int32(10), Alarms: &types.DeploymentAlarms{Enable: true, Rollback: true, AlarmNames: []string{"errors"}}}
	blueGreen = &types.DeploymentConfiguration{BakeTimeInMinutes: aws.Int32(10), Strategy: types.DeploymentStrategyBlueGreen}
)

// deploy deploys a service anew, with a definition or the one it has ("").
func (w *world) deploy(service, definition string, config *types.DeploymentConfiguration) {
	w.t.Helper()
	in := &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: &service, ForceNewDeployment: true, DeploymentConfiguration: config}
	if definition != "" {
		in.TaskDefinition = &definition
	}
	must(w.ecs().UpdateService(w.t.Context(), in))(w.t)
}

func (w *world) described(service string) types.Service {
	w.t.Helper()
	return must(w.ecs().DescribeServices(w.t.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("main"), Services: []string{service}}))(w.t).Services[0]
}

func (w *world) stop(service string) {
	w.t.Helper()
	must(w.ecs().StopServiceDeployment(w.t.Context(), &ecs.StopServiceDeploymentInput{
		ServiceDeploymentArn: w.described(service).CurrentServiceDeployment, StopType: types.StopServiceDeploymentStopTypeRollback,
	}))(w.t)
}

// deployedWorld has a service of three revisions, each of another image under the same tag: the first was deployed
// with success, the second was given up for the third, which is watched.
func deployedWorld(t *testing.T, config *types.DeploymentConfiguration) (w *world, digests [3]string) {
	t.Helper()
	w, ref, first := ecsWorld(t)
	w.SetClock(clock(0))
	w.service("main", "one", w.register("web", ref), 1)
	digests[0] = first
	for i, name := range []string{"two", "three"} {
		w.SetClock(clock(0).Add(time.Duration(i) * time.Minute))
		digests[i+1] = w.push("app", manifest(name, ""), "v1")
		w.deploy("one", "", config)
	}
	return w, digests
}

// TestDeploymentInProgress: what a rollback may return to is in use as long as there may be one, whether it still has
// tasks or not. It costs a call for each such service, and one for all their deployments.
func TestDeploymentInProgress(t *testing.T) {
	for name, config := range map[string]*types.DeploymentConfiguration{"rolling": watched, "blue/green": blueGreen} {
		t.Run(name, func(t *testing.T) {
			w, d := deployedWorld(t, config)
			w.tamper(func(op string, _ []byte) *tamper { return w.withoutTasks(op) })
			check := func(when string, used ...string) {
				t.Helper()
				before := w.calls(nil)
				snap := w.scan()
				wantECS(t, snap)
				got := digestsUsed(snap, "ecs-service")
				for _, digest := range used {
					if !got[digest] {
						t.Errorf("%s: the image %d is not in use", when, slices.Index(d[:], digest))
					}
				}
				if len(got) != len(used) {
					t.Errorf("%s: %d images are in use, want %d", when, len(got), len(used))
				}
				want := map[string]int{"ecs:ListServiceDeployments": 1, "ecs:DescribeServiceDeployments": 1}
				if when != "watched" {
					want = nil
				}
				calls := w.calls(before)
				maps.DeleteFunc(calls, func(op string, _ int) bool { return !strings.Contains(op, "ServiceDeployments") })
				if !maps.Equal(calls, want) {
					t.Errorf("%s: calls %v", when, calls)
				}
			}
			check("watched", d[0], d[1], d[2])
			w.stop("one")
			check("rolled back", d[0])
			w.deploy("one", "", config)
			w.SetClock(clock(1))
			check("complete", d[2])
		})
	}
}

// TestRollbackInProgress: what a rollback is returning to is in use, all the more if its tasks do not start.
func TestRollbackInProgress(t *testing.T) {
	w, d := deployedWorld(t, watched)
	must(w.ecr().BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{
		RepositoryName: aws.String("app"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &d[0]}},
	}))(t)
	w.stop("one")
	out := must(w.ecs().DescribeServiceDeployments(t.Context(), &ecs.DescribeServiceDeploymentsInput{
		ServiceDeploymentArns: []string{*w.described("one").CurrentServiceDeployment},
	}))(t)
	if got := out.ServiceDeployments[0].Status; got != types.ServiceDeploymentStatusRollbackInProgress {
		t.Fatalf("the rollback is %s", got)
	}
	snap := w.scan()
	wantECS(t, snap)
	if got := digestsUsed(snap, "ecs-service"); !got[d[0]] {
		t.Errorf("in use: %v", got)
	}
}

// TestRolloutCannotBeRead: what a rollout may return to is unknown if nobody tells (S14).
func TestRolloutCannotBeRead(t *testing.T) {
	for _, op := range []string{"ListServiceDeployments", "DescribeServiceDeployments"} {
		w, _ := deployedWorld(t, watched)
		w.SetFaults([]orgsim.Fault{{Operation: op, Code: "AccessDeniedException", Status: 400}})
		wantECS(t, w.scan(), op, "AccessDeniedException")
	}
}

// TestRolloutPages: the deployments on a page that came count when the next one fails.
func TestRolloutPages(t *testing.T) {
	w, d := deployedWorld(t, watched)
	w.tamper(func(op string, body []byte) *tamper {
		switch {
		case op != "ListServiceDeployments":
			return w.withoutTasks(op)
		case strings.Contains(string(body), "nextToken"):
			return &tamper{code: "ServerException"}
		}
		return &tamper{change: edit(func(m map[string]any) { m["nextToken"] = "more" })}
	})
	snap := w.scan()
	wantECS(t, snap, "ListServiceDeployments", "service/main/one", "ServerException")
	if !digestsUsed(snap, "ecs-service")[d[0]] {
		t.Error("the revision that a rollback returns to is not in use")
	}
}

// TestRolloutOfDeletedService: the service is deleted before its deployments are listed, or merely said to be.
func TestRolloutOfDeletedService(t *testing.T) {
	for _, really := range []bool{true, false} {
		w, _ := deployedWorld(t, watched)
		w.tamper(func(op string, _ []byte) *tamper {
			if op != "ListServiceDeployments" {
				return nil
			}
			w.tamper(nil)
			if really {
				must(w.ecs().DeleteService(t.Context(), &ecs.DeleteServiceInput{Cluster: aws.String("main"), Service: aws.String("one"), Force: aws.Bool(true)}))(t)
			}
			return &tamper{code: "ServiceNotFoundException"}
		})
		if snap := w.scan(); really {
			wantECS(t, snap)
		} else {
			wantECS(t, snap, "ListServiceDeployments", "ServiceNotFoundException")
		}
	}
}

// TestRollingServiceUsesBothDefinitions: of every deployment (S11), of what it rolls back to (S6), of every revision
// (S12), each of which is the only one to tell here.
func TestRollingServiceUsesBothDefinitions(t *testing.T) {
	for _, by := range []string{"deployment", "rollback", "revision"} {
		t.Run(by, func(t *testing.T) {
			w, ref, digest := ecsWorld(t)
			w.SetClock(clock(0))
			first := w.register("web", ref)
			w.service("main", "one", first, 1)
			w.deploy("one", w.register("web", ref), blueGreen)
			must(w.ecs().DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &first}))(t)
			if by == "rollback" {
				// The image is gone, so that the rollback does not end.
				must(w.ecr().BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: aws.String("app"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &digest}}}))(t)
				must(w.ecs().UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("one"), DesiredCount: aws.Int32(2)}))(t)
				w.stop("one")
			}
			w.tamper(func(op string, _ []byte) *tamper {
				switch op {
				case "ListServiceDeployments":
					return &tamper{change: edit(func(m map[string]any) { m["serviceDeployments"] = []any{} })}
				case "DescribeServices":
					return &tamper{change: edit(func(m map[string]any) {
						s := m["services"].([]any)[0].(map[string]any)
						delete(s, "taskDefinition")
						if by != "deployment" {
							s["deployments"] = []any{}
						}
						if by != "revision" {
							s["currentServiceRevisions"] = []any{}
						}
						if by != "rollback" {
							delete(s, "currentServiceDeployment")
						}
					})}
				case "DescribeServiceDeployments":
					return &tamper{change: edit(func(m map[string]any) {
						delete(m["serviceDeployments"].([]any)[0].(map[string]any), "sourceServiceRevisions")
					})}
				}
				return w.withoutTasks(op)
			})
			if got := uses(w.scan(), "ecs-service"); !slices.ContainsFunc(got, func(u string) bool { return strings.Contains(u, "task definition web:1") }) {
				t.Errorf("web:1 is not used: %q", got)
			}
		})
	}
}

// TestMissingRevisionOfAServiceNobodyAnswersFor: only a service that is proven gone excuses its revision (S9, S15).
func TestMissingRevisionOfAServiceNobodyAnswersFor(t *testing.T) {
	for want, change := range map[string]*tamper{
		"MISSING":               {change: edit(func(m map[string]any) { m["services"], m["failures"] = []any{}, []any{} })},
		"AccessDeniedException": {code: "AccessDeniedException"},
	} {
		t.Run(want, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			w.service("main", "one", w.register("web", ref), 0)
			asked := false
			w.tamper(func(op string, _ []byte) *tamper {
				switch {
				case op == "DescribeServiceRevisions":
					asked = true
					return &tamper{change: edit(func(m map[string]any) {
						arn := m["serviceRevisions"].([]any)[0].(map[string]any)["serviceRevisionArn"]
						m["serviceRevisions"], m["failures"] = []any{}, []any{map[string]any{"arn": arn, "reason": "MISSING"}}
					})}
				case op == "DescribeServices" && asked:
					return change
				}
				return nil
			})
			wantFailed(t, w.scan(), "ecs", want)
		})
	}
}

// TestRolloutsSinceTheLastSuccess: in whatever order they are listed.
func TestRolloutsSinceTheLastSuccess(t *testing.T) {
	list := []rollout{
		{"d2", "r2", clock(2), true}, {"d4", "r4", clock(4), false}, {"d1", "r1", clock(1), false}, {"d3", "r3", clock(3), false}, {"d0", "r0", clock(0), true},
	}
	deployments, revisions := make(map[string]string), make(map[string]string)
	addRollouts(list, "s", deployments, revisions)
	if !maps.Equal(deployments, map[string]string{"d3": "s", "d4": "s"}) || !maps.Equal(revisions, map[string]string{"r2": "s"}) {
		t.Errorf("deployments %v, revisions %v", deployments, revisions)
	}
}

// TestRevisionsOfDeployments: what a deployment comes from, what it goes to, and what it was rolled back to.
func TestRevisionsOfDeployments(t *testing.T) {
	for _, tt := range []struct {
		status string
		want   []string
	}{
		{"IN_PROGRESS", []string{"back", "source", "target"}},
		{"STOPPED", []string{"back", "source", "target"}},
		{"ROLLBACK_SUCCESSFUL", []string{"back", "source", "target"}},
		{"SUCCESSFUL", []string{"back", "target"}},
	} {
		s := newECSScan(&work{})
		s.deployments["d"], s.daemonDeployments["d"] = "s", "s"
		arn := func(text string) *string { return &text }
		s.serviceDeployment(&types.ServiceDeployment{
			ServiceDeploymentArn: arn("d"), Status: types.ServiceDeploymentStatus(tt.status), Rollback: &types.Rollback{ServiceRevisionArn: arn("back")},
			SourceServiceRevisions: []types.ServiceRevisionSummary{{Arn: arn("source")}}, TargetServiceRevision: &types.ServiceRevisionSummary{Arn: arn("target")},
		})
		s.daemonDeployment(&types.DaemonDeployment{
			DaemonDeploymentArn: arn("d"), Status: types.DaemonDeploymentStatus(tt.status), Rollback: &types.DaemonRollback{RollbackTargetDaemonRevisionArn: arn("back")},
			SourceDaemonRevisions: []types.DaemonDeploymentRevisionDetail{{Arn: arn("source")}}, TargetDaemonRevision: &types.DaemonDeploymentRevisionDetail{Arn: arn("target")},
		})
		if !slices.Equal(sortedKeys(s.revisions), tt.want) || !slices.Equal(sortedKeys(s.daemonRevisions), tt.want) {
			t.Errorf("%s: %v, %v", tt.status, s.revisions, s.daemonRevisions)
		}
	}
}
