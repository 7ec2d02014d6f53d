package scan

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"demurrage/internal/image"
)

const pinARN = "arn:aws:ecs:" + tokyo + ":" + accountA + ":task-definition/"

// ecsPin is the word of a rule that it starts a task definition.
func ecsPin(rule, name string) pin {
	return pin{kind: "ecs", name: name, by: "events", use: image.Use{
		Source: "events-rule", Account: accountA, Region: tokyo, Live: true,
		Resource: "arn:aws:events:" + tokyo + ":" + accountA + ":rule/" + rule, Detail: "rule " + rule,
	}}
}

// scanPins looks at ECS alone, as if other sources had met the pins; with foreign, as if that had been elsewhere.
func (w *world) scanPins(keep int, foreign bool, list ...pin) *work {
	w.t.Helper()
	o := w.options()
	o.Cache = noCache{}
	o.KeepTaskDefinitions = func(string) int { return keep }
	i := slices.IndexFunc(sources, func(s source) bool { return s.name == "ecs" })
	met := newPins(0)
	met.all = list
	work := &work{Target: Target{Account: accountA, Region: tokyo}, source: sources[i], opts: &o, log: slog.New(slog.DiscardHandler), pins: met}
	work.cfg = work.limited(w.as(tokyo))
	if foreign {
		resolveECS(w.t.Context(), work, list)
	} else {
		scanECS(w.t.Context(), work)
	}
	return work
}

// TestPinnedDefinitions: what a rule starts is in use, by whatever name, at whatever revision, whatever is kept.
func TestPinnedDefinitions(t *testing.T) {
	for _, tt := range []struct{ name, pinned, want string }{
		{"ARN with a revision", pinARN + "job:1", "job:1"},
		{"ARN", pinARN + "job", "job:2"},
		{"family and revision", "job:1", "job:1"},
		{"family", "job", "job:2"},
		{"deregistered", pinARN + "job:3", "job:3"},
	} {
		for _, foreign := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				w := newWorld(t)
				for _, tag := range []string{"job", "jobs", "other"} {
					for n := range 3 {
						w.register(tag, host+"/"+tag+":"+string(rune('1'+n)), "nginx")
					}
				}
				must(w.ecs().DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("job:3")}))(t)
				got := w.scanPins(0, foreign, ecsPin("nightly", tt.pinned))
				want := ecsPin("nightly", "").use
				want.Ref = image.Ref{Repository: image.Repository{Registry: image.Registry{Account: accountA, Region: tokyo}, Name: "job"}, Tag: tt.want[4:]}
				want.Detail = "rule nightly, task definition " + tt.want + ", container app"
				if len(got.errs) > 0 || len(got.notes) > 0 || !slices.Equal(got.found, []image.Use{want}) {
					t.Errorf("uses %+v, errors %v, notes %v; want %+v", got.found, got.errs, got.notes, want)
				}
				calls := w.calls(nil)
				delete(calls, "ecs:RegisterTaskDefinition")
				delete(calls, "ecs:DeregisterTaskDefinition")
				if calls["ecs:DescribeTaskDefinition"] != 1 || calls["ecs:ListTaskDefinitions"] != 1 || foreign && len(calls) != 2 {
					t.Errorf("calls: %v", calls)
				}
			})
		}
	}
}

// TestPinnedDefinitionThatDoesNotExist: from what is not there nothing can be started, if that is certain.
func TestPinnedDefinitionThatDoesNotExist(t *testing.T) {
	for _, tt := range []struct {
		name, pinned string
		deny         string // an operation
		code         string
		note         string // part of it; "": the source has failed
	}{
		{"revision", "job:9", "", "", "job:9, which does not exist"},
		{"family", pinARN + "none", "", "", "none, which has no active revision"},
		{"no name", "a b", "", "", "a b, which is no name of one"},
		{"revision 0", "job:0", "", "", "job:0, which is no name of one"},
		{"revision, no list", "job:9", "ListTaskDefinitions", "AccessDeniedException", ""},
		{"family, no list", "none", "ListTaskDefinitions", "AccessDeniedException", ""},
		{"revision denied", "job:9", "DescribeTaskDefinition", "AccessDeniedException", ""},
		{"family denied", "none", "DescribeTaskDefinition", "AccessDeniedException", ""},
		{"listed", "job:1", "DescribeTaskDefinition", "ClientException", ""},
	} {
		for _, foreign := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				w := newWorld(t)
				w.register("job", host+"/job:1")
				w.tamper(func(op string, _ []byte) *tamper {
					if op == tt.deny {
						return &tamper{code: tt.code}
					}
					return nil
				})
				p := ecsPin("nightly", tt.pinned)
				got := w.scanPins(0, foreign, p)
				if len(got.found) > 0 || (tt.note == "") != (len(got.errs) > 0) {
					t.Errorf("uses %v, errors %v", got.found, got.errs)
				}
				told := slices.ContainsFunc(got.notes, func(n image.Note) bool { return n.Resource == p.use.Resource && strings.Contains(n.Text, tt.note) })
				if told != (tt.note != "") {
					t.Errorf("notes: %v", got.notes)
				}
			})
		}
	}
}

// TestPinWithoutTheWholeList: the newest revision of a family is asked for if the list may lack it.
func TestPinWithoutTheWholeList(t *testing.T) {
	w := newWorld(t)
	w.register("job", host+"/job:1")
	w.register("job", host+"/job:2")
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "ListTaskDefinitions" {
			return nil
		}
		return &tamper{change: edit(func(m map[string]any) {
			m["taskDefinitionArns"] = m["taskDefinitionArns"].([]any)[:1]
			w.tamper(func(op string, _ []byte) *tamper {
				if op == "ListTaskDefinitions" {
					return &tamper{code: "ServerException"}
				}
				return nil
			})
			m["nextToken"] = "x"
		})}
	})
	got := w.scanPins(0, false, ecsPin("nightly", "job"))
	if len(got.found) != 1 || got.found[0].Ref.Tag != "2" || len(got.errs) == 0 {
		t.Errorf("uses %v, errors %v", got.found, got.errs)
	}
}

// TestPinsAreEvidence beside services and tasks, each of them.
func TestPinsAreEvidence(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	definition := w.register("job", ref)
	w.service("main", "one", definition, 1)
	disabled := ecsPin("disabled", "job:1")
	disabled.use.Live, disabled.use.Source = false, "scheduler-schedule"
	got := w.scanPins(0, false, ecsPin("a", "job:1"), ecsPin("b", "job"), ecsPin("b", "job:1"), disabled)
	seen := make(map[string]int)
	for _, u := range got.found {
		if strings.Contains(u.Detail, "task definition job:1") {
			seen[u.Source+" "+u.Resource[strings.LastIndexByte(u.Resource, '/')+1:]]++
		}
	}
	want := map[string]int{"ecs-service one": 1, "events-rule a": 1, "events-rule b": 1, "scheduler-schedule disabled": 1}
	if len(seen) != len(want) || slices.ContainsFunc(sortedKeys(want), func(k string) bool { return seen[k] != want[k] }) {
		t.Errorf("users of the definition: %v", seen)
	}
}

// TestUnreadablePinnedReference: an image that looks like ECR's and cannot be understood is a gap.
func TestUnreadablePinnedReference(t *testing.T) {
	w := newWorld(t)
	w.register("job", accountB+".dkr.ecr.us-east-1.example.com/app:v1")
	got := w.scanPins(0, false, ecsPin("nightly", "job"))
	if len(got.errs) != 1 || got.errs[0].Resource != ecsPin("nightly", "").use.Resource {
		t.Errorf("errors %v", got.errs)
	}
}

// TestRulePinsADefinition that is older than all that are kept, here and in another account of the run.
func TestRulePinsADefinition(t *testing.T) {
	for _, account := range []string{accountA, accountB} {
		w := newWorld(t)
		w.register("job", host+"/job:1")
		w.register("job", host+"/job:2")
		cfg, _ := w.config(t.Context(), account, tokyo)
		c := eventbridge.NewFromConfig(cfg)
		rule := must(c.PutRule(t.Context(), &eventbridge.PutRuleInput{Name: aws.String("nightly"), ScheduleExpression: aws.String("rate(1 day)")}))(t)
		must(c.PutTargets(t.Context(), &eventbridge.PutTargetsInput{Rule: aws.String("nightly"), Targets: []types.Target{{
			Id: aws.String("1"), Arn: aws.String("arn:aws:ecs:" + tokyo + ":" + account + ":cluster/main"), RoleArn: aws.String("arn:aws:iam::" + account + ":role/r"),
			EcsParameters: &types.EcsParameters{TaskDefinitionArn: aws.String(pinARN + "job:1")},
		}}}))(t)
		o := w.options(Target{Account: accountA, Region: tokyo}, Target{Account: accountB, Region: tokyo})
		o.KeepTaskDefinitions = func(string) int { return 0 }
		var got []image.Use
		for _, snap := range w.run(o) {
			wantOK(t, snap)
			got = append(got, snap.Uses...)
		}
		if len(got) != 1 || got[0].Resource != *rule.RuleArn || got[0].Account != account || got[0].Ref.Tag != "1" || !got[0].Live {
			t.Errorf("uses: %+v", got)
		}
	}
}
