package scan

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"demurrage/internal/image"
)

// TestRegistryPolicy: the policy of the registry can let others pull from repositories that have none.
func TestRegistryPolicy(t *testing.T) {
	allow := func(action string) string {
		return `{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":` + action +
			`,"Resource":"arn:aws:ecr:ap-northeast-1:111111111111:repository/*"}]}`
	}
	for _, tt := range []struct {
		name, policy string
		shared       bool
	}{
		{"none", "", false},
		{"pull", allow(`["ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"]`), true},
		{"everything", allow(`"*"`), true},
		{"replication alone", allow(`["ecr:CreateRepository","ecr:ReplicateImage"]`), false},
		{"replication and more", allow(`["ecr:ReplicateImage","ecr:*"]`), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.repository("app")
			if tt.policy != "" {
				must(w.ecr().PutRegistryPolicy(t.Context(), &ecr.PutRegistryPolicyInput{PolicyText: &tt.policy}))(t)
			}
			snap := w.scan()
			wantOK(t, snap)
			inv := repositoryOf(t, snap, "app")
			if inv.HasPolicy != tt.shared || strings.Contains(inv.Policy, "222222222222") != tt.shared {
				t.Errorf("shared: %v, policy %s", inv.HasPolicy, inv.Policy)
			}
		})
	}
}

func TestActionsOf(t *testing.T) {
	for policy, want := range map[string]string{
		`{"Statement":{"Action":"a"}}`:                        "a",
		`{"Statement":[{"Action":["a","b"]},{"Action":"c"}]}`: "a b c",
		`{"Statement":[{"NotAction":"a"}]}`:                   "*",
		`{"Statement":[{"Action":{}}]}`:                       "*",
		`{"Statement":"a"}`:                                   "*",
		`{}`:                                                  "*",
		``:                                                    "*",
	} {
		if got := strings.Join(actionsOf(policy), " "); got != want {
			t.Errorf("%s: %q, want %q", policy, got, want)
		}
	}
}

// TestRepositoryListedTwice: a page that was shifted while it was read repeats a repository.
func TestRepositoryListedTwice(t *testing.T) {
	w := newWorld(t)
	w.repository("app")
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "DescribeRepositories" {
			return nil
		}
		return &tamper{change: edit(func(m map[string]any) {
			m["repositories"] = append(m["repositories"].([]any), m["repositories"].([]any)...)
		})}
	})
	snap := w.scan()
	wantOK(t, snap)
	if len(snap.Inventories) != 1 {
		t.Errorf("%d repositories", len(snap.Inventories))
	}
}

// TestArchivedIndexIsNotAskedFor: ECR refuses to serve it, which would look like a failure.
func TestArchivedIndexIsNotAskedFor(t *testing.T) {
	w := newWorld(t)
	w.repository("app")
	leaf := w.push("app", manifest("leaf", ""), "")
	index := w.push("app", indexManifest(leaf), "v1")
	must(w.ecr().UpdateImageStorageClass(t.Context(), &ecr.UpdateImageStorageClassInput{
		RepositoryName: aws.String("app"), ImageId: &types.ImageIdentifier{ImageDigest: &index}, TargetStorageClass: types.TargetStorageClassArchive,
	}))(t)
	snap := w.scan()
	wantOK(t, snap)
	if img := imageOf(t, repositoryOf(t, snap, "app"), index); img.Status != image.Archived || img.Unreadable == "" {
		t.Errorf("image: %+v", img)
	}
	if n := w.calls(nil)["ecr:BatchGetImage"]; n != 0 {
		t.Errorf("%d BatchGetImage", n)
	}
}

// TestTaskWithoutDigest: as long as a task does not say what it runs, the time since when is known; once it does, or
// once it has stopped, that does not matter.
func TestTaskWithoutDigest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(task, container map[string]any)
		since  bool
	}{
		{"running, with its digest", func(_, _ map[string]any) {}, false},
		{"running, without", func(_, c map[string]any) { delete(c, "imageDigest") }, true},
		{"being pulled, without", func(task, c map[string]any) { delete(c, "imageDigest"); delete(task, "startedAt") }, false},
		{"stopped, without", func(task, c map[string]any) { delete(c, "imageDigest"); task["lastStatus"] = "STOPPED" }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			arn := w.task("main", w.register("job", ref))
			w.tamper(func(op string, _ []byte) *tamper {
				if op != "DescribeTasks" {
					return nil
				}
				return &tamper{change: edit(func(m map[string]any) {
					task := m["tasks"].([]any)[0].(map[string]any)
					tt.change(task, task["containers"].([]any)[0].(map[string]any))
				})}
			})
			snap := w.scan()
			wantOK(t, snap)
			found := false
			for _, u := range snap.Uses {
				if u.Resource == arn && !strings.Contains(u.Detail, "task definition") {
					found = true
					if u.Since.IsZero() == tt.since {
						t.Errorf("since: %v", u.Since)
					}
				}
			}
			if !found {
				t.Error("the task uses nothing")
			}
		})
	}
}

// TestFunctionWithoutDigest: the tag of a function may have moved since Lambda resolved it.
func TestFunctionWithoutDigest(t *testing.T) {
	w, _, _ := lambdaWorld(t)
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "GetFunction" {
			return nil
		}
		return &tamper{change: edit(func(m map[string]any) { delete(m["Code"].(map[string]any), "ResolvedImageUri") })}
	})
	wantFailed(t, w.scan(), "lambda", "GetFunction", "was resolved to")
}

// TestDeletedDefinition: a definition that is gone for good hides nothing, as long as all that refers to it has told
// what it runs; anything less is a gap.
func TestDeletedDefinition(t *testing.T) {
	for _, tt := range []struct {
		name   string
		gap    bool
		before func(w *world, definition, ref string)
		code   string
		digest bool
	}{
		{"of a task", false, nil, "ClientException", true},
		{"of a task that does not tell its digest", true, nil, "ClientException", false},
		{"of a service too", true, func(w *world, definition, _ string) { w.service("main", "one", definition, 1) }, "ClientException", true},
		{"denied", true, nil, "AccessDeniedException", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			definition := w.register("job", ref)
			w.task("main", definition)
			if tt.before != nil {
				tt.before(w, definition, ref)
			}
			must(w.ecs().DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &definition}))(t)
			w.tamper(func(op string, _ []byte) *tamper {
				switch {
				case op == "DescribeTaskDefinition":
					return &tamper{code: tt.code}
				case op == "DescribeTasks" && !tt.digest:
					return &tamper{change: edit(func(m map[string]any) {
						delete(m["tasks"].([]any)[0].(map[string]any)["containers"].([]any)[0].(map[string]any), "imageDigest")
					})}
				}
				return nil
			})
			if snap := w.scan(); tt.gap {
				wantFailed(t, snap, "ecs", "DescribeTaskDefinition", tt.code)
			} else {
				wantOK(t, snap)
			}
		})
	}
}

// TestDeletedDefinitionOfASilentTask: a task without containers (T2), or whose container tells a digest but no image (T4), has told nothing.
func TestDeletedDefinitionOfASilentTask(t *testing.T) {
	for name, change := range map[string]func(task map[string]any){
		"no containers": func(task map[string]any) { task["containers"] = []any{} },
		"no image":      func(task map[string]any) { delete(task["containers"].([]any)[0].(map[string]any), "image") },
	} {
		t.Run(name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			definition := w.register("job", ref)
			w.task("main", definition)
			must(w.ecs().DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String(definition)}))(t)
			w.tamper(func(op string, _ []byte) *tamper {
				switch op {
				case "DescribeTaskDefinition":
					return &tamper{code: "ClientException"}
				case "DescribeTasks":
					return &tamper{change: edit(func(m map[string]any) { change(m["tasks"].([]any)[0].(map[string]any)) })}
				}
				return nil
			})
			wantFailed(t, w.scan(), "ecs", "DescribeTaskDefinition", "ClientException")
		})
	}
}
