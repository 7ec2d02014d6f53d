package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	codebuildtypes "github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"demurrage/internal/image"
	"demurrage/internal/journal"
)

// blind hides all pull times: what is put to use shows by its use alone.
func blind(op string, _ *http.Request, _ []byte) *tamper {
	if op != "DescribeImages" {
		return nil
	}
	return &tamper{change: func(answer map[string]any) {
		details, _ := answer["imageDetails"].([]any)
		for _, d := range details {
			delete(d.(map[string]any), "lastRecordedPullTime")
		}
	}}
}

func (s *sweepFile) image(digest string) sweptImage {
	i := slices.IndexFunc(s.Images, func(i sweptImage) bool { return i.Digest == digest })
	if i < 0 {
		return sweptImage{}
	}
	return s.Images[i]
}

// TestSecondLookSeesUses: what is deployed after the fresh plan is in use, whether or not its pull left a time.
func TestSecondLookSeesUses(t *testing.T) {
	t.Parallel()
	ref := host(virginia)
	for name, since := range map[string]func(p *pair){
		"task":     func(p *pair) { p.task(virginia, "new", ref+"/shared:v1") },
		"service":  func(p *pair) { p.service("new", p.register(virginia, "new", ref+"/shared:v1"), 1, "") },
		"function": func(p *pair) { p.world.function("new", ref+"/shared@"+p.shared, false) },
		"through a cache": func(p *pair) {
			p.register(virginia, "new", image.Registry{Account: accountB, Region: virginia}.Host()+"/cached/shared:v1")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			p.tamper(blind)
			if name == "through a cache" {
				done(p.ecr(accountB, virginia).CreatePullThroughCacheRule(p.Context(), &ecr.CreatePullThroughCacheRuleInput{
					EcrRepositoryPrefix: aws.String("cached"), UpstreamRegistryUrl: aws.String(ref), UpstreamRepositoryPrefix: aws.String("ROOT"),
					CustomRoleArn: aws.String("arn:aws:iam::" + accountB + ":role/cache"),
				}))(p.world)
			}
			p.save(0)
			p.whenSweeping(func() { since(p) })
			s := p.delete(0, "--plan", "plan.json")
			if i := s.image(p.shared); s.state(p.shared) != "skipped changed" || !strings.HasPrefix(i.Detail, "in-use: ") {
				t.Errorf("%+v", i)
			}
			if !p.holds(accountA, "shared", p.shared) || s.state(p.private) != "deleted" {
				t.Errorf("%+v", s.Images)
			}
		})
	}
}

// TestUsesOfTheStartCount: the second look does not ask all sources again, and what the others said of a tag goes on
// holding, wherever the tag is moved meanwhile, be it back to where it was when the plan was reviewed.
func TestUsesOfTheStartCount(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.tamper(blind)
	p.save(0)
	move := func(content string) {
		done(p.ecr(accountA, virginia).PutImage(p.Context(), &ecr.PutImageInput{RepositoryName: aws.String("shared"), ImageManifest: aws.String(manifest(content)), ImageTag: aws.String("v1")}))(p.world)
	}
	move("used")
	done(codebuild.NewFromConfig(p.as(accountB, virginia)).CreateProject(p.Context(), &codebuild.CreateProjectInput{
		Name: aws.String("build"), ServiceRole: aws.String("arn:aws:iam::" + accountB + ":role/build"), Source: &codebuildtypes.ProjectSource{Type: codebuildtypes.SourceTypeNoSource},
		Artifacts:   &codebuildtypes.ProjectArtifacts{Type: codebuildtypes.ArtifactsTypeNoArtifacts},
		Environment: &codebuildtypes.ProjectEnvironment{Image: aws.String(host(virginia) + "/shared:v1"), Type: codebuildtypes.EnvironmentTypeLinuxContainer, ComputeType: codebuildtypes.ComputeTypeBuildGeneral1Small},
	}))(p.world)
	p.whenSweeping(func() { move("shared") })
	s := p.delete(0, "--plan", "plan.json")
	if i := s.image(p.shared); s.state(p.shared) != "skipped changed" || !strings.HasPrefix(i.Detail, "in-use: ") || !p.holds(accountA, "shared", p.shared) {
		t.Errorf("%+v", i)
	}
}

// TestSecondLookSeesGaps: what cannot be read just before the deletions blocks as it does before the plan.
func TestSecondLookSeesGaps(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"ListClusters", "ListFunctions", "DescribeTasks"} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			p.task(virginia, "old", host(virginia)+"/shared:v2")
			p.save(0)
			p.whenSweeping(func() {
				p.tamper(func(op string, r *http.Request, _ []byte) *tamper {
					if op == operation && p.callerOf(r) == accountB {
						return &tamper{code: "AccessDeniedException"}
					}
					return nil
				})
			})
			s := p.delete(2, "--plan", "plan.json")
			if i := s.image(p.shared); s.state(p.shared) != "skipped not-looked" || !strings.Contains(i.Detail, "coverage-gap") {
				t.Errorf("%+v", i)
			}
			if !p.holds(accountA, "shared", p.shared) {
				t.Error("it is gone")
			}
		})
	}
}

// TestPolicyChangedSincePlan: whom a repository lets in since the fresh plan was made nobody has looked at.
func TestPolicyChangedSincePlan(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.tamper(blind)
	p.save(0)
	p.whenSweeping(func() { p.policy("private", pullPolicy) })
	s := p.delete(2, "--plan", "plan.json")
	if got := s.state(p.private); got != "skipped not-looked" || !p.holds(accountA, "private", p.private) {
		t.Errorf("%q", got)
	}
}

// TestUnreadableBeforeDeletion: a registry that cannot be read again is left alone, and not taken for an empty one.
func TestUnreadableBeforeDeletion(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.whenSweeping(func() {
		p.tamper(func(op string, r *http.Request, _ []byte) *tamper {
			if op == "DescribeRepositories" && p.callerOf(r) == accountA {
				return &tamper{code: "AccessDeniedException"}
			}
			return nil
		})
	})
	s := p.delete(2, "--plan", "plan.json")
	if s.state(p.private) != "skipped not-looked" || s.state(p.shared) != "skipped not-looked" || s.state(p.own) != "deleted" {
		t.Errorf("%+v", s.Images)
	}
}

// TestNothingBeyondThePlan: what has become deletable since the review stays.
func TestNothingBeyondThePlan(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	late := p.push(accountB, virginia, "own", "late")
	p.repository(accountB, virginia, "late")
	later := p.push(accountB, virginia, "late", "later")
	s := p.delete(0, "--plan", "plan.json")
	if !p.holds(accountB, "own", late) || !p.holds(accountB, "late", later) || s.Planned.Images != 3 || s.state(p.own) != "deleted" {
		t.Errorf("%+v", s.Images)
	}
}

// TestFilters: each of them narrows, of a saved plan and of one that is just shown.
func TestFilters(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		args []string
		want []string // what is deleted
	}{
		"account":            {[]string{"--account", accountA, "--yes"}, []string{"ireland", "private", "shared"}},
		"region":             {[]string{"--region", ireland, "--yes"}, []string{"ireland"}},
		"repository":         {[]string{"--repository", "s*", "--yes"}, []string{"shared"}},
		"all":                {[]string{"--account", accountA, "--region", virginia, "--repository", "*", "--yes"}, []string{"private", "shared"}},
		"two":                {[]string{"--repository", "private", "--repository", "own", "--yes"}, []string{"own", "private"}},
		"account, saved":     {[]string{"--account", accountB, "--plan", "plan.json"}, []string{"own"}},
		"region, saved":      {[]string{"--region", ireland, "--plan", "plan.json"}, []string{"ireland"}},
		"repository, saved":  {[]string{"--repository", "private", "--plan", "plan.json"}, []string{"private"}},
		"nothing of a cross": {[]string{"--account", accountB, "--repository", "private", "--plan", "plan.json"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			p.config(strings.Replace(sweepConfig, `["us-east-1"]`, `["us-east-1", "eu-west-1"]`, 1))
			p.repository(accountA, ireland, "ireland")
			p.push(accountA, ireland, "ireland", "ireland")
			if slices.Contains(tt.args, "--plan") {
				p.save(0)
			}
			s := p.delete(0, tt.args...)
			var deleted []string
			for _, i := range s.Images {
				if i.State == "deleted" {
					deleted = append(deleted, i.Repository)
				}
			}
			slices.Sort(deleted)
			if !slices.Equal(deleted, tt.want) || s.Planned.Images != len(tt.want) {
				t.Errorf("%v instead of %v", deleted, tt.want)
			}
			for name, held := range map[string]bool{
				"private": p.holds(accountA, "private", p.private), "shared": p.holds(accountA, "shared", p.shared), "own": p.holds(accountB, "own", p.own),
			} {
				if held == slices.Contains(tt.want, name) {
					t.Errorf("%s is there: %v", name, held)
				}
			}
		})
	}
}

// editRuns changes what the store says of its runs.
func (w *world) editRuns(change func(run map[string]any)) {
	w.Helper()
	runs, err := filepath.Glob(filepath.Join(w.dir, "demurrage-data", "runs", "*", "run.json"))
	if err != nil || len(runs) == 0 {
		w.Fatalf("no runs: %v", err)
	}
	for _, path := range runs {
		data, err := os.ReadFile(path)
		if err != nil {
			w.Fatalf("%v", err)
		}
		var run map[string]any
		if err := json.Unmarshal(data, &run); err != nil {
			w.Fatalf("%v", err)
		}
		change(run)
		data, _ = json.Marshal(run)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			w.Fatalf("%v", err)
		}
	}
}

// TestWhatConfirms: only a complete, finished run of what there was, old enough, confirms a deletion.
func TestWhatConfirms(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		confirms  bool
		days      int
		scan      int // exit code of the plan by the earlier run
		before    func(p *pair)
		meanwhile func(p *pair)
	}{
		{name: "old enough", confirms: true, days: 8},
		{name: "too young", days: 6},
		{name: "interrupted", days: 8, meanwhile: func(p *pair) { p.editRuns(func(run map[string]any) { delete(run, "finished_at") }) }},
		{name: "of a chosen time", days: 8, meanwhile: func(p *pair) { p.editRuns(func(run map[string]any) { run["now"] = run["started_at"] }) }},
		{name: "incomplete", days: 8, scan: 2, before: func(p *pair) { p.trust(accountB, accountHub, "another") }, meanwhile: func(p *pair) { p.trust(accountB, accountHub, externalID) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t, "[safety]\nconfirm_after = \"7d\"")
			if tt.before != nil {
				tt.before(p)
			}
			p.must(tt.scan, "plan")
			p.antedate(tt.days)
			if tt.meanwhile != nil {
				tt.meanwhile(p)
			}
			p.save(0)
			if tt.confirms {
				s := p.delete(0, "--plan", "plan.json")
				if s.Deleted.Images != 3 {
					t.Errorf("%+v", s.Images)
				}
				return
			}
			s := p.delete(4, "--plan", "plan.json")
			if calls, _ := p.deletions(); calls > 0 || s.Skipped.Images != 3 || s.state(p.private) != "skipped unconfirmed" {
				t.Errorf("%d calls, %+v", calls, s.Images)
			}
		})
	}
}

// killBeforeFirstCall begins a sweep and kills it when it sends its first call, before ECR sees that.
func (p *pair) killBeforeFirstCall(t *testing.T, args ...string) {
	t.Helper()
	cmd, _, stderr := p.command(append([]string{"delete", "--plan", "plan.json"}, args...)...)
	killed := false
	p.tamper(func(op string, _ *http.Request, _ []byte) *tamper {
		if op != "BatchDeleteImage" {
			return nil
		}
		killed = true
		_ = cmd.Process.Kill()
		return &tamper{code: "ServerException"}
	})
	_ = cmd.Run()
	p.tamper(nil)
	if !killed {
		t.Fatalf("it sends no call\n%s", stderr)
	}
}

// sweeps reads all that the store has of sweeps and locks.
func (w *world) sweeps() map[string]string {
	w.Helper()
	files := map[string]string{}
	for _, dir := range []string{"sweeps", "locks"} {
		_ = filepath.WalkDir(filepath.Join(w.dir, "demurrage-data", dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				data, _ := os.ReadFile(path)
				files[path] = string(data)
			}
			return nil
		})
	}
	return files
}

// TestResumeByContents: a sweep goes on with the plan of the same contents alone, whatever its run.
func TestResumeByContents(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.killBeforeFirstCall(t)
	plan, err := os.ReadFile(filepath.Join(p.dir, "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "copy.json"), append(plan, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	s := p.delete(0, "--plan", "copy.json")
	if s.Attempts != 1 || s.Deleted.Images != 3 {
		t.Errorf("%+v", s)
	}
	if o := p.must(0, "history"); !strings.Contains(strings.ToLower(o.stdout), "abandoned") {
		t.Errorf("history:\n%s", o.stdout)
	}
}

// TestResumeWithoutSight: of a call that was cut off in a registry that cannot be read by now nothing is claimed.
func TestResumeWithoutSight(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.killBeforeFirstCall(t, "--repository", "private")
	p.tamper(func(op string, r *http.Request, _ []byte) *tamper {
		if op == "DescribeRepositories" && p.callerOf(r) == accountA {
			return &tamper{code: "AccessDeniedException"}
		}
		return nil
	})
	s := p.delete(3, "--plan", "plan.json")
	if !p.holds(accountA, "private", p.private) || s.state(p.private) != "failed no-answer" || s.Attempts != 2 {
		t.Errorf("%+v", s)
	}
}

// TestDryRunLeavesNothing: beside a sweep that was interrupted, of this plan or another, nothing is written, no lock taken.
func TestDryRunLeavesNothing(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.must(0, "delete", "--plan", "plan.json", "--dry-run")
	if files := p.sweeps(); len(files) > 0 {
		t.Errorf("%v", files)
	}
	p.killBeforeFirstCall(t)
	p.must(0, "plan", "--out", "other.json")
	before := p.sweeps()
	for _, plan := range []string{"plan.json", "other.json"} {
		s := p.delete(0, "--plan", plan, "--dry-run")
		if s.state(p.private) != "skipped dry-run" {
			t.Errorf("%+v", s.Images)
		}
		after := p.sweeps()
		if len(after) != len(before) {
			t.Errorf("%s: %d files instead of %d", plan, len(after), len(before))
		}
		for path, text := range before {
			if after[path] != text {
				t.Errorf("%s: %s has changed", plan, path)
			}
		}
	}
}

// TestLockTakenOver: somebody who has taken over the lock meanwhile works alone from then on.
func TestLockTakenOver(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the lock to be renewed")
	}
	t.Parallel()
	p := newSweepPair(t)
	p.config(strings.Replace(sweepConfig, "[scan]", "[scan]\nconcurrency = 1", 1))
	p.save(0)
	calls := 0
	p.tamper(func(op string, _ *http.Request, _ []byte) *tamper {
		if op != "BatchDeleteImage" {
			return nil
		}
		if calls++; calls == 1 {
			locks := filepath.Join(p.dir, "demurrage-data", "locks", "delete")
			if err := os.WriteFile(filepath.Join(locks, "000000000002.json"), []byte(`{"schema": "demurrage/lock/1", "fence": 2, "lease": "15s", "who": "another"}`), 0o600); err != nil {
				t.Error(err)
			}
			time.Sleep(lease/3 + 2*time.Second)
		}
		return nil
	})
	o := p.demurrage("delete", "--plan", "plan.json")
	if calls != 1 || o.code == 0 || !strings.Contains(o.stderr, "taken over") {
		t.Errorf("%d calls, exit code %d: %s", calls, o.code, o.stderr)
	}
}

// TestHubIsSweptByItsRole: the hub's own account is entered by its sweep role too, in a session that may do nothing else.
func TestHubIsSweptByItsRole(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.sweepRole(accountHub)
	p.config(strings.Replace(sweepConfig, "[[task_definitions]]", "[[accounts]]\nid = \""+accountHub+"\"\nname = \"hub\"\nenforce = true\n\n[[task_definitions]]", 1))
	p.repository(accountHub, virginia, "tools")
	tools := p.push(accountHub, virginia, "tools", "tools")
	p.save(0)
	key := ""
	p.tamper(func(op string, r *http.Request, _ []byte) *tamper {
		if op == "BatchDeleteImage" && p.callerOf(r) == accountHub {
			key, _ = credentialOf(r)
		}
		return nil
	})
	s := p.delete(0, "--plan", "plan.json")
	if s.state(tools) != "deleted" || key == "" || key == accountHub {
		t.Errorf("%q by %q", s.state(tools), key)
	}
}

// TestBooksThatDoNotAddUp are an error, and no sweep ends with them.
func TestBooksThatDoNotAddUp(t *testing.T) {
	t.Parallel()
	b := &book{ledger: journal.NewLedger()}
	begin := journal.Begin{PlannedIn: []journal.Planned{{Account: accountA, Region: virginia, Tally: journal.Tally{Images: 1, Bytes: 5}}}}
	if err := b.record(t.Context(), journal.Record{Kind: journal.KindBegin, Begin: &begin}); err != nil {
		t.Fatal(err)
	}
	if err := (&deletion{book: b, dryRun: true}).end(t.Context()); err == nil || !strings.Contains(err.Error(), "add up") || b.ledger.Ended {
		t.Errorf("%v", err)
	}
}
