package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"demurrage/internal/orgsim"
)

// sweepConfig is worldConfig with both accounts enforced. What tests add comes last, so that it may begin with a table.
const sweepConfig = `[assume]
role        = "DemurrageRead"
sweep_role  = "DemurrageSweep"
external_id = "of-the-tests"

[scan]
regions = ["us-east-1"]

[[accounts]]
id      = "111111111111"
name    = "alpha"
enforce = true

[[accounts]]
id      = "222222222222"
name    = "beta"
enforce = true

[[task_definitions]]
name_pattern = "*"
keep_count   = 1

[[lambda_functions]]
name_pattern = "*"
keep_count   = 1

[[repositories]]
name_pattern = "*"
expires      = "30d"
allow_empty  = true
`

// sweepRole makes the role DemurrageSweep, which may do everything: what demurrage does not, it restrains itself from.
func (w *world) sweepRole(account string) {
	w.Helper()
	c, name := iam.NewFromConfig(w.as(account, w.region)), aws.String("DemurrageSweep")
	done(c.CreateRole(w.Context(), &iam.CreateRoleInput{RoleName: name, AssumeRolePolicyDocument: aws.String(w.trustPolicy(accountHub, externalID))}))(w)
	done(c.PutRolePolicy(w.Context(), &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("all"), PolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`)}))(w)
}

// newSweepPair is a pair that may be deleted from.
func newSweepPair(t *testing.T, more ...string) *pair {
	t.Helper()
	p := newPair(t)
	p.sweepRole(accountA)
	p.sweepRole(accountB)
	p.config(sweepConfig + strings.Join(more, "\n"))
	return p
}

// sweepFile is the summary of a sweep in JSON, as far as tests read it.
type sweepFile struct {
	ID, State                               string
	Attempts, Calls                         int
	DryRun                                  bool `json:"dry_run"`
	Planned, Deleted, Skipped, Failed, Left struct {
		Images int
		Bytes  int64
	}
	Images []sweptImage
}

type sweptImage struct{ Account, Region, Repository, Digest, State, Code, Detail string }

// delete runs the command and asks for an exit code.
func (w *world) delete(code int, args ...string) *sweepFile {
	w.Helper()
	o := w.must(code, append([]string{"delete", "--format", "json"}, args...)...)
	return w.parseSweep(o.stdout)
}

func (w *world) parseSweep(text string) *sweepFile {
	w.Helper()
	var s sweepFile
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		w.Fatalf("the summary is no JSON: %v\n%s", err, text)
	}
	if n := s.Deleted.Images + s.Skipped.Images + s.Failed.Images + s.Left.Images; n != s.Planned.Images {
		w.Fatalf("%d of %d planned images are accounted for\n%s", n, s.Planned.Images, text)
	}
	return &s
}

// state is what became of an image, with the code.
func (s *sweepFile) state(digest string) string {
	i := slices.IndexFunc(s.Images, func(i sweptImage) bool { return i.Digest == digest })
	if i < 0 {
		return ""
	}
	return strings.TrimSpace(s.Images[i].State + " " + s.Images[i].Code)
}

// save plans into plan.json.
func (w *world) save(code int) {
	w.Helper()
	w.must(code, "plan", "--out", "plan.json")
}

// holds reports whether an image exists.
func (w *world) holds(account, repository, digest string) bool {
	w.Helper()
	out, err := w.ecr(account, virginia).DescribeImages(w.Context(), &ecr.DescribeImagesInput{RepositoryName: &repository, MaxResults: aws.Int32(1000)})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(out.ImageDetails, func(d ecrtypes.ImageDetail) bool { return *d.ImageDigest == digest })
}

// deletions counts the calls of BatchDeleteImage so far.
func (w *world) deletions() (calls, errors int) {
	for _, c := range w.Calls() {
		if c.Operation == "BatchDeleteImage" {
			calls, errors = calls+c.Calls, errors+c.Errors
		}
	}
	return calls, errors
}

func TestDeletePlan(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	dry := p.delete(0, "--plan", "plan.json", "--dry-run")
	if calls, _ := p.deletions(); calls != 0 || dry.state(p.own) != "skipped dry-run" || !dry.DryRun {
		t.Fatalf("a dry run: %d calls, %+v", calls, dry)
	}
	if entries, _ := os.ReadDir(filepath.Join(p.dir, "demurrage-data", "sweeps")); len(entries) > 0 {
		t.Error("a dry run leaves a journal")
	}
	s := p.delete(0, "--plan", "plan.json")
	for _, c := range []struct{ account, repository, digest string }{{accountA, "private", p.private}, {accountA, "shared", p.shared}, {accountB, "own", p.own}} {
		if p.holds(c.account, c.repository, c.digest) || s.state(c.digest) != "deleted" {
			t.Errorf("%s: %s", c.repository, s.state(c.digest))
		}
	}
	if !p.holds(accountA, "shared", p.used) || !p.holds(accountA, "shared", p.function) {
		t.Error("an image in use is gone")
	}
	if s.Planned.Images != 3 || s.Deleted.Images != 3 || s.State != "complete" || s.Calls != 3 {
		t.Errorf("%+v", s)
	}

	// Once more: everything is gone, and said to be.
	again := p.delete(0, "--plan", "plan.json")
	if again.Skipped.Images != 3 || again.state(p.own) != "skipped gone" || again.ID == s.ID {
		t.Errorf("%+v", again)
	}
	for _, format := range []string{"table", "json", "markdown"} {
		o := p.must(0, "history", "--format", format)
		if !strings.Contains(o.stdout, s.ID) || !strings.Contains(o.stdout, "delete") {
			t.Errorf("history as %s:\n%s", format, o.stdout)
		}
	}
}

// TestDeleteRefuses: what may not be applied is refused before anything is touched, by exit code 4 if it is a brake.
func TestDeleteRefuses(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	plan, err := os.ReadFile(filepath.Join(p.dir, "plan.json"))
	if err != nil {
		t.Fatal(err)
	}
	edit := func(name, pattern, with string) string {
		changed := regexp.MustCompile(pattern).ReplaceAll(plan, []byte(with))
		if bytes.Equal(changed, plan) {
			t.Fatalf("%s: nothing to change", name)
		}
		if err := os.WriteFile(filepath.Join(p.dir, name), changed, 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	calls := len(p.Calls())
	for _, tt := range []struct {
		name string
		code int
		want string
		args []string
	}{
		{"too old", 4, "max_plan_age", []string{"--plan", edit("old.json", `"generated_at": "[^"]*"`, `"generated_at": "`+ago(8).Format(time.RFC3339)+`"`)}},
		{"another config", 4, "another configuration", []string{"--plan", edit("config.json", `"config_sha256": "..`, `"config_sha256": "zz`)}},
		{"another version", 4, "demurrage/plan/2", []string{"--plan", edit("version.json", `demurrage/plan/1`, `demurrage/plan/2`)}},
		{"what-if", 4, "what-if", []string{"--plan", edit("whatif.json", `"complete"`, `"what_if": true, "complete"`)}},
		{"no plan", 1, "no such file", []string{"--plan", "missing.json"}},
		{"no JSON", 1, "accounts.toml: at byte", []string{"--plan", "accounts.toml"}},
		{"cut short", 1, "ends in the middle", []string{"--plan", edit("short.json", `(?s)"images": \[.*`, `"images": [`)}},
		{"--now", 1, "--now", []string{"--plan", "plan.json", "--now", "2026-01-01"}},
		{"filter that matches nothing", 1, "--repository nothing*", []string{"--plan", "plan.json", "--repository", "nothing*"}},
		{"account", 1, "12 digits", []string{"--plan", "plan.json", "--account", "1"}},
		{"format", 1, "--format", []string{"--plan", "plan.json", "--format", "csv"}},
	} {
		o := p.must(tt.code, append([]string{"delete"}, tt.args...)...)
		if !strings.Contains(o.stderr, tt.want) {
			t.Errorf("%s: %q does not say %q", tt.name, o.stderr, tt.want)
		}
	}
	if n := len(p.Calls()); n != calls {
		t.Error("AWS was asked")
	}
	cmd, _, stderr := p.command("delete", "--plan", "plan.json")
	cmd.Env = append(cmd.Env, "DEMURRAGE_NOW=2026-01-01")
	if _ = cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "DEMURRAGE_NOW") {
		t.Errorf("exit code %d: %s", cmd.ProcessState.ExitCode(), stderr)
	}
}

func TestDeleteBrakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, from, to string // what is changed in the configuration
		add            string
		code           int
		want           string // on stderr
		states         [3]string
	}{
		{name: "enforce nowhere", from: "enforce = true", to: "enforce = false", code: 4, want: "not-enforced", states: [3]string{"skipped not-enforced", "skipped not-enforced", "skipped not-enforced"}},
		{name: "enforce in B alone", from: "name    = \"alpha\"\nenforce = true", to: "name = \"alpha\"", states: [3]string{"skipped not-enforced", "skipped not-enforced", "deleted"}},
		{name: "percent", add: "[safety]\nmax_delete_percent = 40", code: 4, want: "max_delete_percent = 40"},
		{name: "images", add: "[safety]\nmax_delete_images = 2", code: 4, want: "max_delete_images is 2"},
		{name: "bytes", add: "[safety]\nmax_delete_bytes = \"20MiB\"", code: 4, want: "max_delete_bytes is 20 MiB"},
		{name: "as many as may go", add: "[safety]\nmax_delete_images = 3\nmax_delete_bytes = \"1GiB\"", states: [3]string{"deleted", "deleted", "deleted"}},
		{name: "last root", from: "allow_empty  = true", to: "", states: [3]string{"skipped last-root", "deleted", "skipped last-root"}},
		{name: "min_age", add: "[safety]\nmin_age = \"200d\"", states: [3]string{"", "", ""}},
		{name: "nothing confirmed", add: "[safety]\nconfirm_after = \"7d\"", code: 4, want: "unconfirmed", states: [3]string{"skipped unconfirmed", "skipped unconfirmed", "skipped unconfirmed"}},
		{name: "no sweep role", from: "DemurrageSweep", to: "Missing", code: 3, want: "3 of 3 deletions failed", states: [3]string{"failed call-failed", "failed call-failed", "failed call-failed"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			text := sweepConfig
			if tt.from != "" {
				text = strings.ReplaceAll(text, tt.from, tt.to)
			}
			p.config(text + tt.add)
			p.save(0)
			o := p.must(tt.code, "delete", "--plan", "plan.json", "--format", "json")
			if !strings.Contains(o.stderr, tt.want) {
				t.Errorf("stderr: %s", o.stderr)
			}
			calls, _ := p.deletions()
			if tt.code == 4 && calls > 0 {
				t.Error("a brake stops after the first call")
			}
			if o.stdout != "" {
				s := p.parseSweep(o.stdout)
				if got := [3]string{s.state(p.private), s.state(p.shared), s.state(p.own)}; got != tt.states {
					t.Error(cmp.Diff(tt.states, got))
				}
			} else if tt.states[0] != "" {
				t.Error("no summary")
			}
		})
	}
}

// TestConfirmAfter: only what an earlier complete run, old enough, found deletable too.
func TestConfirmAfter(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t, "[safety]\nconfirm_after = \"7d\"")
	p.SetClock(ago(33))
	young := manifest("young")
	done(p.ecr(accountA, virginia).PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: aws.String("private"), ImageManifest: &young}))(p.world)
	p.SetClock(time.Time{})
	p.must(0, "scan")
	p.antedate(8)
	plan := p.plan(0)
	youngDigest := ""
	for _, img := range plan.Images {
		if img.Repository == "private" && img.Digest != p.private {
			youngDigest = img.Digest
		}
	}
	if plan.action("private", youngDigest) != "delete" {
		t.Fatalf("%+v", plan.image("private", youngDigest))
	}
	p.save(0)
	s := p.delete(0, "--plan", "plan.json")
	if s.state(p.private) != "deleted" || s.state(p.own) != "deleted" || s.state(youngDigest) != "skipped unconfirmed" {
		t.Errorf("%+v", s.Images)
	}
}

// antedate makes the runs of the store older.
func (w *world) antedate(days int) {
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
		started, _ := time.Parse(time.RFC3339Nano, run["started_at"].(string))
		started = started.AddDate(0, 0, -days)
		id := started.Format("20060102T150405Z") + run["id"].(string)[len("20060102T150405Z"):]
		run["started_at"], run["finished_at"], run["id"] = started, started.Add(time.Minute), id
		data, _ = json.Marshal(run)
		old := filepath.Dir(path)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			w.Fatalf("%v", err)
		}
		if err := os.Rename(old, filepath.Join(filepath.Dir(old), id)); err != nil {
			w.Fatalf("%v", err)
		}
	}
}

// TestDeployedSincePlan guards against way 11: something was deployed between plan and delete, or between two calls of it.
func TestDeployedSincePlan(t *testing.T) {
	t.Parallel()
	ref := host(virginia)
	for _, tt := range []struct {
		name  string
		since func(p *pair)
		want  string // what becomes of "shared"
	}{
		{"nothing", func(*pair) {}, "deleted"},
		{"task", func(p *pair) { p.task(virginia, "new", ref+"/shared:v1") }, "skipped not-deletable"},
		{"service", func(p *pair) { p.service("new", p.register(virginia, "new", ref+"/shared:v1"), 1, "") }, "skipped not-deletable"},
		{"function", func(p *pair) { p.world.function("new", ref+"/shared@"+p.shared, false) }, "skipped not-deletable"},
		{"tag", func(p *pair) { p.retag("shared", p.shared, "rollback") }, "skipped changed"},
		{"pull", func(p *pair) { p.pull(accountB, "shared", p.shared) }, "skipped changed"},
		{"deleted", func(p *pair) {
			done(p.ecr(accountA, virginia).BatchDeleteImage(p.Context(), &ecr.BatchDeleteImageInput{RepositoryName: aws.String("shared"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &p.shared}}}))(p.world)
		}, "skipped gone"},
		{"repository deleted", func(p *pair) {
			done(p.ecr(accountA, virginia).DeleteRepository(p.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("shared"), Force: true}))(p.world)
		}, "skipped not-deletable"},
		{"unreadable account", func(p *pair) { p.trust(accountB, accountHub, "another") }, "skipped not-deletable"},
	} {
		t.Run("before/"+tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			p.save(0)
			tt.since(p)
			code := 0
			if tt.name == "unreadable account" {
				code = 2
			}
			s := p.delete(code, "--plan", "plan.json")
			if got := s.state(p.shared); got != tt.want {
				t.Errorf("%q instead of %q: %+v", got, tt.want, s.Images)
			}
			if got := s.state(p.private); got != "deleted" {
				t.Errorf("private: %q", got)
			}
		})
		// The same, after the scan of the start and before the look at the registry: when the sweep role is assumed.
		t.Run("during/"+tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			p.save(0)
			p.whenSweeping(func() { tt.since(p) })
			want := strings.Replace(tt.want, "not-deletable", "changed", 1)
			switch tt.name {
			case "repository deleted":
				want = "skipped gone"
			case "unreadable account":
				t.Skip("the session that B is read with lives on")
			}
			s := p.delete(0, "--plan", "plan.json")
			if got := s.state(p.shared); got != want {
				t.Errorf("%q instead of %q: %+v", got, want, s.Images)
			}
			if got := s.state(p.private); got != "deleted" {
				t.Errorf("private: %q", got)
			}
		})
	}
}

// whenSweeping lets something happen once, when the sweep role of A is assumed: the fresh plan is made by then, and no
// registry has been looked at again.
func (w *world) whenSweeping(f func()) {
	var once sync.Once
	w.front = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && r.Header.Get("X-Amz-Target") == "" {
			body := readAll(r)
			if strings.Contains(string(body), "AssumeRole") && strings.Contains(string(body), accountA+"%3Arole%2FDemurrageSweep") {
				once.Do(f)
			}
		}
		return false
	}
}

func (w *world) retag(repository, digest, tag string) {
	w.Helper()
	c := w.ecr(accountA, virginia)
	// As somebody whose pulls leave no time: the tag alone is what has changed.
	done(c.RegisterPullTimeUpdateExclusion(w.Context(), &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: aws.String("arn:aws:iam::" + accountA + ":role/DemurrageRead")}))(w)
	done(c.PutImage(w.Context(), &ecr.PutImageInput{RepositoryName: &repository, ImageManifest: aws.String(manifest("shared")), ImageTag: &tag}))(w)
}

// TestOwnPullsDoNotCount: what demurrage itself reads, for its graph and for its journal, is nobody's pull.
func TestOwnPullsDoNotCount(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	child := p.push(accountA, virginia, "private", "child")
	index := p.put(accountA, virginia, "private", indexOf(child), "multi")
	p.save(0)
	// The manifests of "private" are read, and then it cannot be deleted from.
	p.SetFaults([]orgsim.Fault{{Service: "ecr", Operation: "BatchDeleteImage", Account: accountA, Code: "AccessDeniedException"}})
	s := p.delete(3, "--plan", "plan.json")
	if got := s.state(index); got != "failed AccessDeniedException" {
		t.Fatalf("%q: %+v", got, s.Images)
	}
	p.SetFaults(nil)
	s = p.delete(0, "--plan", "plan.json")
	for _, d := range []string{index, child, p.private, p.shared} {
		if got := s.state(d); got != "deleted" {
			t.Errorf("%s: %q", d, got)
		}
	}
	kept, _ := filepath.Glob(filepath.Join(p.dir, "demurrage-data", "sweeps", s.ID, "manifests", "*"))
	if len(kept) == 0 {
		t.Error("no manifests are kept")
	}
}

// TestFailuresAreRead guards against way 15: an answer of 200 in which images failed.
func TestFailuresAreRead(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	child := p.push(accountA, virginia, "private", "child")
	index := p.put(accountA, virginia, "private", indexOf(child), "multi")
	p.save(0)
	var order [][]string
	p.tamper(func(op string, r *http.Request, body []byte) *tamper {
		if op != "BatchDeleteImage" {
			return nil
		}
		var in struct {
			RepositoryName string
			ImageIDs       []struct{ ImageDigest string } `json:"imageIds"`
		}
		_ = json.Unmarshal(body, &in)
		var sent []string
		for _, id := range in.ImageIDs {
			sent = append(sent, id.ImageDigest)
		}
		order = append(order, sent)
		if in.RepositoryName != "shared" {
			return nil
		}
		return &tamper{change: func(answer map[string]any) {
			answer["imageIds"] = []any{}
			answer["failures"] = []any{map[string]any{"imageId": map[string]any{"imageDigest": p.shared}, "failureCode": "KmsError", "failureReason": "=HYPERLINK(\"x\")"}}
		}}
	})
	s := p.delete(3, "--plan", "plan.json")
	if got := s.state(p.shared); got != "failed KmsError" {
		t.Errorf("%q", got)
	}
	if s.state(index) != "deleted" || s.state(child) != "deleted" {
		t.Errorf("%+v", s.Images)
	}
	at := func(d string) int {
		return slices.IndexFunc(order, func(call []string) bool { return slices.Contains(call, d) })
	}
	if at(index) >= at(child) {
		t.Errorf("the index goes in call %d, its child in call %d", at(index), at(child))
	}
}

// TestSilentAnswer: an answer that does not mention an image proves nothing: somebody looks.
func TestSilentAnswer(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.tamper(func(op string, _ *http.Request, _ []byte) *tamper {
		if op != "BatchDeleteImage" {
			return nil
		}
		return &tamper{change: func(answer map[string]any) { answer["imageIds"], answer["failures"] = []any{}, []any{} }}
	})
	if s := p.delete(0, "--plan", "plan.json"); s.Deleted.Images != 3 {
		t.Errorf("%+v", s)
	}
}

// TestReferencedByManifestList: what an index holds that nobody knew of is tried once more, and then reported.
func TestReferencedByManifestList(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	tries := 0
	p.tamper(func(op string, _ *http.Request, body []byte) *tamper {
		if op != "BatchDeleteImage" || !bytes.Contains(body, []byte(p.shared)) {
			return nil
		}
		if tries++; tries == 1 {
			index := indexOf(p.shared)
			done(p.ecr(accountA, virginia).PutImage(p.Context(), &ecr.PutImageInput{RepositoryName: aws.String("shared"), ImageManifest: &index}))(p.world)
		}
		return nil
	})
	s := p.delete(3, "--plan", "plan.json")
	if got := s.state(p.shared); got != "failed ImageReferencedByManifestList" || tries != 2 {
		t.Errorf("%q after %d tries", got, tries)
	}
}

func TestFailuresInARow(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t, "[safety]\nmax_failures = 2")
	for i := range 5 {
		name := fmt.Sprintf("app/%d", i)
		p.repository(accountA, virginia, name)
		p.push(accountA, virginia, name, name)
	}
	p.save(0)
	p.SetFaults([]orgsim.Fault{{Service: "ecr", Operation: "BatchDeleteImage", Account: accountA, Code: "AccessDeniedException"}})
	s := p.delete(3, "--plan", "plan.json")
	calls, _ := p.deletions()
	if s.Failed.Images != 2 || calls != 3 || s.state(p.shared) != "skipped account-stopped" || s.state(p.own) != "deleted" {
		t.Errorf("%d calls, %+v", calls, s)
	}
}

func TestConfirmation(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, typed string
		args        []string
		code        int
	}{
		{"number", "3\n", nil, 0},
		{"sentence", "delete 3 images\n", nil, 0},
		{"another number", "4\n", nil, 4},
		{"yes", "yes\n", nil, 4},
		{"nothing", "", nil, 4},
		{"narrowed", "1\n", []string{"--repository", "own"}, 0},
		{"not asked", "", []string{"--yes"}, 0},
		{"not asked in a dry run", "", []string{"--dry-run"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			cmd, stdout, stderr := p.command(append([]string{"delete"}, tt.args...)...)
			cmd.Stdin = strings.NewReader(tt.typed)
			_ = cmd.Run()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Fatalf("exit code %d\n%s\n%s", got, stderr, stdout)
			}
			calls, _ := p.deletions()
			if tt.code == 4 || tt.name == "not asked in a dry run" {
				if calls > 0 {
					t.Error("something was deleted")
				}
				return
			}
			if p.holds(accountB, "own", p.own) {
				t.Error("nothing was deleted")
			}
			if got := p.holds(accountA, "private", p.private); got != (tt.name == "narrowed") {
				t.Errorf("private is there: %v", got)
			}
			if !strings.Contains(stdout.String(), "REPOSITORY") {
				t.Errorf("the plan is not shown:\n%s", stdout)
			}
		})
	}
}

// TestInterrupted: the program ends soon, between two calls, and the next goes on where it ended.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		code   int
		hang   bool
		op     string
		call   int // when the signal comes
	}{
		{"SIGINT", syscall.SIGINT, 130, false, "BatchDeleteImage", 5},
		{"SIGTERM", syscall.SIGTERM, 130, false, "BatchDeleteImage", 5},
		{"SIGTERM while a call hangs", syscall.SIGTERM, 130, true, "BatchDeleteImage", 5},
		{"SIGKILL", syscall.SIGKILL, -1, false, "BatchDeleteImage", 5},
		{"SIGKILL while a call hangs", syscall.SIGKILL, -1, true, "BatchDeleteImage", 5},
		// Nobody hears of these pulls, and yet they are ours.
		{"SIGTERM while it reads manifests", syscall.SIGTERM, 130, true, "BatchGetImage", 3},
		{"SIGKILL while it reads manifests", syscall.SIGKILL, -1, true, "BatchGetImage", 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			for i := range 20 {
				name := fmt.Sprintf("app/%02d", i)
				p.repository(accountA, virginia, name)
				p.push(accountA, virginia, name, name)
			}
			p.save(0)
			cmd, stdout, stderr := p.command("delete", "--plan", "plan.json", "--format", "json")
			release := make(chan struct{})
			var after, before int
			signalled := false
			p.tamper(func(op string, r *http.Request, _ []byte) *tamper {
				if op != tt.op {
					return nil
				}
				if signalled {
					after++
				} else {
					before++
				}
				if before == tt.call && !signalled {
					signalled = true
					_ = cmd.Process.Signal(tt.signal)
					if tt.hang {
						select {
						case <-release:
						case <-r.Context().Done():
						}
					}
				}
				return nil
			})
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { _ = cmd.Wait(); close(ended) }()
			select {
			case <-ended: // the call hangs until then
			case <-time.After(time.Minute):
				t.Fatal("it does not end")
			}
			close(release)
			p.tamper(nil)
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Fatalf("exit code %d\n%s\n%s", got, stderr, stdout)
			}
			if after > 2 { // one an account may have been on its way
				t.Errorf("%d calls after the signal", after)
			}
			first := ""
			if tt.code == 130 {
				s := p.parseSweep(stdout.String())
				if s.State != "interrupted" || s.Left.Images == 0 {
					t.Errorf("%+v", s)
				}
				first = s.ID
			}
			s := p.delete(0, "--plan", "plan.json")
			if s.Deleted.Images != 23 || s.State != "complete" || s.Attempts != 2 || first != "" && s.ID != first {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestOneAtATime: a second deletion over the same store is refused and told who is at work.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	var second outcome
	started := false
	p.front = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".BatchDeleteImage") && !started {
			started = true
			second = p.demurrage("delete", "--plan", "plan.json")
		}
		return false
	}
	p.delete(0, "--plan", "plan.json")
	if second.code != 4 || !strings.Contains(second.stderr, "arn:aws:iam::"+accountHub) {
		t.Errorf("exit code %d: %s", second.code, second.stderr)
	}
}

// TestAnotherPlan: an interrupted sweep of another plan is closed, and what it left open is accounted for.
func TestAnotherPlan(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	cmd, _, _ := p.command("delete", "--plan", "plan.json")
	p.tamper(func(op string, _ *http.Request, _ []byte) *tamper {
		if op == "BatchDeleteImage" {
			_ = cmd.Process.Kill()
		}
		return nil
	})
	_ = cmd.Run()
	p.tamper(nil)
	p.must(0, "plan", "--out", "other.json")
	p.must(0, "delete", "--plan", "other.json")
	o := p.must(0, "history")
	if !strings.Contains(strings.ToLower(o.stdout), "abandoned") {
		t.Errorf("history:\n%s", o.stdout)
	}
	for _, c := range []struct{ account, repository, digest string }{{accountA, "private", p.private}, {accountA, "shared", p.shared}, {accountB, "own", p.own}} {
		if p.holds(c.account, c.repository, c.digest) {
			t.Errorf("%s is there still", c.repository)
		}
	}
}

// TestFewestCalls: throttled as AWS does, a large sweep makes as few calls as there can be, and none fails for good.
func TestFewestCalls(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for rate limits")
	}
	t.Parallel()
	p := newSweepPair(t)
	p.config(strings.Replace(sweepConfig, `["us-east-1"]`, `["us-east-1", "eu-west-1"]`, 1))
	const repositories, images = 200, 50
	var wg sync.WaitGroup
	places := []struct{ account, region string }{{accountA, virginia}, {accountA, ireland}, {accountB, virginia}, {accountB, ireland}}
	p.SetClock(ago(100))
	for i, place := range places {
		wg.Go(func() {
			c := p.ecr(place.account, place.region)
			for n := i; n < repositories; n += len(places) {
				name := fmt.Sprintf("app/%03d", n)
				p.repository(place.account, place.region, name)
				for k := range images {
					m := manifest(fmt.Sprint(n, " ", k))
					done(c.PutImage(p.Context(), &ecr.PutImageInput{RepositoryName: &name, ImageManifest: &m}))(p.world)
				}
			}
		})
	}
	wg.Wait()
	p.SetClock(time.Time{})
	p.save(0)
	p.SetThrottle(true)
	cmd, stdout, stderr := p.command("delete", "--plan", "plan.json", "--format", "json")
	cmd.Env = append(cmd.Env, "AWS_MAX_ATTEMPTS=8")
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	s := p.parseSweep(stdout.String())
	calls, refused := p.deletions()
	t.Logf("%d calls, of which %d throttled", calls, refused)
	if s.Deleted.Images != repositories*images+3 || s.Calls != repositories+3 || calls-refused != repositories+3 {
		t.Errorf("%d deleted by %d calls (%d throttled)", s.Deleted.Images, calls, refused)
	}
}

// TestPlanCannotDelete: the role that plan reads with may delete, the session of it that plan uses may not; a program in
// its place is refused.
func TestPlanCannotDelete(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	var once sync.Once
	var err error
	p.tamper(func(op string, r *http.Request, _ []byte) *tamper {
		if op == "DescribeImages" && p.callerOf(r) == accountA {
			key, token := credentialOf(r)
			once.Do(func() {
				_, err = ecr.NewFromConfig(p.with(key, token, virginia)).BatchDeleteImage(p.Context(), &ecr.BatchDeleteImageInput{
					RepositoryName: aws.String("private"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &p.private}}})
			})
		}
		return nil
	})
	p.save(0)
	if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("plan deletes: %v", err)
	}
}

// TestSweepCanOnlyDelete: the role that delete uses may do everything, its sessions only what the plan says.
func TestSweepCanOnlyDelete(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.repository(accountA, virginia, "bystander")
	bystander := p.push(accountA, virginia, "bystander", "bystander", "keep")
	p.config(sweepConfig[:strings.Index(sweepConfig, "[[repositories]]")] + "[[repositories]]\nname = \"bystander\"\n" + sweepConfig[strings.Index(sweepConfig, "[[repositories]]"):])
	p.save(0)
	type attempt struct {
		what string
		err  error
	}
	var tried []attempt
	p.tamper(func(op string, r *http.Request, body []byte) *tamper {
		if op != "BatchDeleteImage" || p.callerOf(r) != accountA || len(tried) > 0 {
			return nil
		}
		key, token := credentialOf(r)
		for _, region := range []string{virginia, ireland} {
			cfg := p.with(key, token, region)
			c := ecr.NewFromConfig(cfg)
			try := func(what string, err error) { tried = append(tried, attempt{region + " " + what, err}) }
			_, err := c.BatchDeleteImage(p.Context(), &ecr.BatchDeleteImageInput{RepositoryName: aws.String("bystander"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &bystander}}})
			try("another repository", err)
			_, err = c.DeleteRepository(p.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("private"), Force: true})
			try("DeleteRepository", err)
			_, err = c.PutLifecyclePolicy(p.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("private"), LifecyclePolicyText: aws.String("{}")})
			try("PutLifecyclePolicy", err)
			_, err = c.SetRepositoryPolicy(p.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("private"), PolicyText: aws.String(pullPolicy)})
			try("SetRepositoryPolicy", err)
			_, err = c.DescribeImages(p.Context(), &ecr.DescribeImagesInput{RepositoryName: aws.String("private")})
			try("DescribeImages", err)
			_, err = c.PutImage(p.Context(), &ecr.PutImageInput{RepositoryName: aws.String("private"), ImageManifest: aws.String(manifest("x"))})
			try("PutImage", err)
			_, err = ecs.NewFromConfig(cfg).ListClusters(p.Context(), &ecs.ListClustersInput{})
			try("ListClusters", err)
			_, err = iam.NewFromConfig(cfg).ListRoles(p.Context(), &iam.ListRolesInput{})
			try("ListRoles", err)
		}
		return nil
	})
	p.delete(0, "--plan", "plan.json")
	p.tamper(nil)
	if len(tried) != 16 {
		t.Fatalf("%d attempts", len(tried))
	}
	for _, a := range tried {
		if a.err == nil || !strings.Contains(a.err.Error(), "AccessDenied") {
			t.Errorf("%s: %v", a.what, a.err)
		}
	}
	if !p.holds(accountA, "bystander", bystander) {
		t.Error("the bystander is gone")
	}
}
