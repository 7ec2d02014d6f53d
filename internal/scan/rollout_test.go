package scan

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// TestRolloutCannotBeRead: what a rollout may return to is unknown if nobody tells (S14).
func TestRolloutCannotBeRead(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	w.service("main", "one", w.register("web", ref), 1)
	w.tamper(func(op string, _ []byte) *tamper {
		switch op {
		case "DescribeServices":
			return &tamper{change: edit(rolling)}
		case "DescribeServiceDeployments":
			return &tamper{code: "AccessDeniedException"}
		}
		return nil
	})
	wantFailed(t, w.scan(), "ecs", "DescribeServiceDeployments", "AccessDeniedException")
}

// TestRollingServiceUsesBothDefinitions: of every deployment (S11), of what it rolls back to (S6), of every revision (S12).
func TestRollingServiceUsesBothDefinitions(t *testing.T) {
	for _, by := range []string{"deployment", "rollback", "revision"} {
		t.Run(by, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			first := w.register("web", ref)
			w.service("main", "one", first, 1)
			var revision any
			w.tamper(func(op string, _ []byte) *tamper {
				if op != "DescribeServices" {
					return nil
				}
				return &tamper{change: edit(func(m map[string]any) {
					revision = m["services"].([]any)[0].(map[string]any)["currentServiceRevisions"].([]any)[0].(map[string]any)["arn"]
				})}
			})
			w.scan()
			w.tamper(nil)
			second := w.register("web", ref)
			must(w.ecs().UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("one"), TaskDefinition: &second}))(t)
			for _, d := range []string{first} {
				must(w.ecs().DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &d}))(t)
			}
			w.tamper(func(op string, _ []byte) *tamper {
				switch op {
				case "ListTasks":
					return &tamper{change: edit(func(m map[string]any) { m["taskArns"] = []any{} })}
				case "DescribeServices":
					return &tamper{change: edit(func(m map[string]any) {
						s := m["services"].([]any)[0].(map[string]any)
						d := s["deployments"].([]any)
						if by == "deployment" {
							s["deployments"] = append(d, map[string]any{"status": "ACTIVE", "taskDefinition": first})
							delete(s, "currentServiceDeployment")
						} else {
							rolling(m)
						}
						if by == "revision" {
							s["currentServiceRevisions"] = append(s["currentServiceRevisions"].([]any), map[string]any{"arn": revision})
							delete(s, "currentServiceDeployment")
						}
					})}
				case "DescribeServiceDeployments":
					return &tamper{change: edit(func(m map[string]any) {
						d := m["serviceDeployments"].([]any)[0].(map[string]any)
						d["status"], d["sourceServiceRevisions"] = "ROLLBACK_IN_PROGRESS", []any{}
						d["rollback"] = map[string]any{"serviceRevisionArn": revision}
					})}
				}
				return nil
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
