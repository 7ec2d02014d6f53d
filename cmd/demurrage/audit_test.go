package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"demurrage/internal/orgsim"
)

// auditFile is the contract of an audit, as far as tests read it.
type auditFile struct {
	Schema   string
	RunID    string `json:"run_id"`
	Complete bool
	Now      []auditFinding `json:"in_use_now"`
	Next     []auditFinding `json:"in_use_next"`
	Blocked  []auditFinding
	Problems []struct {
		Repository, Code, Text string
		Rule                   int
		Fatal                  bool
	}
	Broken   []struct{ Ref string }        `json:"broken_references"`
	Without  []struct{ Repository string } `json:"without_policy"`
	Unread   []struct{ Repository string } `json:"unread_policy"`
	Policies []auditPolicy
	Verified *struct {
		Repositories, Images int
		Differences          []auditDifference
		Failures             []struct{ Account, Repository, Error string }
	}
}

type auditPolicy struct {
	Repository    string
	Unknown       bool
	Now           map[string]int `json:"protected_now"`
	Next          map[string]int `json:"protected_next"`
	Expires, Both struct{ Images, Bytes int }
	Deletes       struct{ Images, Bytes int } `json:"plan_deletes"`
}

type auditDifference struct {
	Repository, Digest, Kind, Why string
	AWS, Here                     *struct {
		Rule   int
		Action string
	}
}

type auditFinding struct {
	Account, Region, Repository, Digest, Action string
	Tags, Parts                                 []string
	Rule, Pushes                                int
	Now, Far                                    bool
	Due                                         *time.Time
	Reasons                                     []planReason
}

// audit runs the command and asks for an exit code.
func (w *world) audit(code int, args ...string) *auditFile {
	w.Helper()
	o := w.must(code, append([]string{"audit", "--format", "json"}, args...)...)
	var a auditFile
	if err := json.Unmarshal([]byte(o.stdout), &a); err != nil {
		w.Fatalf("the audit is no JSON: %v\n%s", err, o.stdout)
	}
	if a.Schema != "demurrage/audit/1" {
		w.Fatalf("schema %q", a.Schema)
	}
	return &a
}

// TestAuditDemo: the audit finds the two incidents that people wrote about, each with its consumer: the count rule of a shared
// sidecar's repository that takes the tag of the service that seldom deploys, and the rule for dev-… that takes what is also
// tagged prod-…. Two rules, the first for prod-…, do not. ECR's own preview, as the simulated organization makes it, says the
// same of every image.
func TestAuditDemo(t *testing.T) {
	t.Parallel()
	w := demoWorld(t)
	w.config(string(orgsim.DemoConfig()))
	a := w.audit(2, "--verify")

	for _, want := range []struct{ repository, tag, consumer string }{
		{"platform/envoy-sidecar", "v1.90.0", "arn:aws:ecs:us-east-1:320000000011:service/prod/prod-tariff-lookup"},
		{"prod/declare", "prod-7", "arn:aws:ecs:us-east-1:320000000011:service/prod/prod-declare"},
	} {
		i := slices.IndexFunc(a.Now, func(f auditFinding) bool { return f.Repository == want.repository && slices.Contains(f.Tags, want.tag) })
		if i < 0 {
			t.Errorf("%s:%s is not found", want.repository, want.tag)
			continue
		}
		f := a.Now[i]
		if f.Rule != 1 || f.Action != "expire" || !slices.ContainsFunc(f.Reasons, func(r planReason) bool {
			return r.Code == "in-use" && r.Source == "ecs-service" && r.Account == "320000000011" && r.Region == virginia && r.Resource == want.consumer
		}) {
			t.Errorf("%s:%s: %+v", want.repository, want.tag, f)
		}
	}
	for _, f := range a.Now {
		if f.Repository != "platform/envoy-sidecar" && f.Repository != "prod/declare" {
			t.Errorf("in use and taken: %+v", f)
		}
		if f.Repository == "platform/envoy-sidecar" && len(f.Parts) != 5 { // two platforms, two attestations, a signature
			t.Errorf("%v: %d parts", f.Tags, len(f.Parts))
		}
	}
	// The two rules take images of the repository, and none that is in use.
	safe := slices.IndexFunc(a.Policies, func(p auditPolicy) bool {
		return p.Repository == "prod/edi-gateway"
	})
	if safe < 0 || a.Policies[safe].Expires.Images == 0 || a.Policies[safe].Both.Images == 0 {
		t.Errorf("prod/edi-gateway: %+v", a.Policies)
	}
	if len(a.Problems) != 1 || a.Problems[0].Repository != "prod/eta-service" || a.Problems[0].Code != "unmatched" {
		t.Errorf("problems: %+v", a.Problems)
	}
	if len(a.Blocked) == 0 || len(a.Broken) == 0 || len(a.Without) == 0 || a.Complete {
		t.Errorf("blocked %d, broken %d, without a policy %d, complete %t", len(a.Blocked), len(a.Broken), len(a.Without), a.Complete)
	}
	if v := a.Verified; v == nil || v.Repositories != len(a.Policies) || v.Images < 1000 || len(v.Differences)+len(v.Failures) > 0 {
		t.Errorf("verified: %+v", v)
	}
}

// TestRecommendDemo: for every repository with a recommended policy, the simulated organization's own preview of it takes
// nothing that the plan keeps or blocks, and takes as many images as were said.
func TestRecommendDemo(t *testing.T) {
	t.Parallel()
	w := demoWorld(t)
	w.config(string(orgsim.DemoConfig()))
	plan := w.plan(2)
	w.must(2, "recommend", "--out", "policies/")
	action := map[string]string{}
	for _, i := range plan.Images {
		action[i.Account+"/"+i.Region+"/"+i.Repository+"@"+i.Digest] = i.Action
	}
	s := w.recommended("policies")
	advised, saved, gone, mended := 0, 0, 0, false
	for _, r := range s.Repositories {
		if !r.Safe {
			if len(r.Why) == 0 {
				t.Errorf("%s: no policy, and nothing says why", r.Repository)
			}
			continue
		}
		advised++
		key := r.Account + "/" + r.Region + "/" + r.Repository
		text, err := os.ReadFile(filepath.Join(w.dir, "policies", key+".json"))
		if err != nil {
			t.Fatal(err)
		}
		done(w.ecr(r.Account, r.Region).PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: &r.Repository, LifecyclePolicyText: aws.String(string(text))}))(w)
		taken := w.preview(r.Account, r.Region, r.Repository)
		for _, d := range taken {
			if action[key+"@"+d] != "delete" {
				t.Errorf("%s: the policy takes %s, which is to stay (%s)\n%s", key, d, action[key+"@"+d], text)
				break
			}
		}
		// The incident of the rule for dev-… is mended by the one for prod-… before it.
		if r.Repository == "prod/declare" {
			mended = strings.Index(string(text), `"prod-*"`) > 0 && strings.Index(string(text), `"prod-*"`) < strings.Index(string(text), `"dev-*"`)
		}
		if len(taken) != r.Expires.Images {
			t.Errorf("%s: the policy takes %d images, and %d were said", key, len(taken), r.Expires.Images)
		}
		saved += r.Expires.Images
		gone += r.Deletes.Images
	}
	t.Logf("%d of %d repositories have a policy, which take %d of %d images", advised, len(s.Repositories), saved, gone)
	if !mended {
		t.Error("prod/declare has no policy that protects prod-… before it takes dev-…")
	}
	if advised == 0 || saved == 0 {
		t.Errorf("%d policies take %d images: this test tests nothing", advised, saved)
	}
	// With all of them in place, the audit finds nothing in use that goes.
	if a := w.audit(2, "--verify", "--run", w.plan(2).RunID); len(a.Now)+len(a.Blocked) > 0 || len(a.Verified.Differences)+len(a.Verified.Failures) > 0 {
		for _, f := range slices.Concat(a.Now, a.Blocked) {
			if _, err := os.Stat(filepath.Join(w.dir, "policies", f.Account, f.Region, f.Repository+".json")); err == nil {
				t.Errorf("taken: %+v", f)
			}
		}
		if len(a.Verified.Differences)+len(a.Verified.Failures) > 0 {
			t.Errorf("verified: %+v", a.Verified)
		}
	}
}

// recommendation is the contract of summary.json, as far as tests read it.
type recommendation struct {
	Schema       string
	Files        []string
	Repositories []struct {
		Account, Region, Repository string
		Safe                        bool
		Why, Files                  []string
		Expires                     struct{ Images, Bytes int }
		Deletes                     struct{ Images, Bytes int } `json:"plan_deletes"`
	}
}

// recommended reads summary.json and asks that the directory has exactly the files that it lists.
func (w *world) recommended(dir string) *recommendation {
	w.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, dir, "summary.json"))
	if err != nil {
		w.Fatalf("%v", err)
	}
	var s recommendation
	if err := json.Unmarshal(data, &s); err != nil || s.Schema != "demurrage/recommend/1" {
		w.Fatalf("summary.json: %v, schema %q", err, s.Schema)
	}
	var there []string
	root := filepath.Join(w.dir, dir)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(root, path); err == nil && !d.IsDir() && name != "README.md" && name != "summary.json" {
			there = append(there, filepath.ToSlash(name))
		}
		return err
	})
	slices.Sort(there)
	if err != nil || !slices.Equal(there, s.Files) {
		w.Fatalf("%v: the files are %q, listed are %q", err, there, s.Files)
	}
	return &s
}

// preview asks the organization which images a repository's policy would take now.
func (w *world) preview(account, region, repository string) []string {
	w.Helper()
	c := w.ecr(account, region)
	done(c.StartLifecyclePolicyPreview(w.Context(), &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: &repository}))(w)
	var digests []string
	in := &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: &repository, MaxResults: aws.Int32(100)}
	for {
		out := done(c.GetLifecyclePolicyPreview(w.Context(), in))(w)
		if out.Status == ecrtypes.LifecyclePolicyPreviewStatusInProgress {
			continue
		}
		for _, r := range out.PreviewResults {
			digests = append(digests, *r.ImageDigest)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return digests
		}
	}
}

// lifecycle puts a policy on a repository of A.
func (w *world) lifecycle(repository, text string) {
	w.Helper()
	done(w.ecr(accountA, virginia).PutLifecyclePolicy(w.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: &repository, LifecyclePolicyText: &text}))(w)
}

// expireAfter is a policy that takes everything so many days after its push.
func expireAfter(days int) string {
	return fmt.Sprintf(`{"rules":[{"rulePriority":1,"description":"all","selection":{"tagStatus":"any","countType":"sinceImagePushed","countUnit":"days","countNumber":%d},"action":{"type":"expire"}}]}`, days)
}

// TestAuditDates: what is in use and goes later has its date, and what nothing uses is none of an audit's findings.
func TestAuditDates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.cluster(accountB, virginia)
	w.share(virginia, "app")
	w.push(accountA, virginia, "app", "used", "v1") // 100 days ago
	w.push(accountA, virginia, "app", "unused", "v2")
	w.service("web", w.register(virginia, "web", host(virginia)+"/app:v1"), 1, "")
	w.lifecycle("app", expireAfter(130))
	a := w.audit(0)
	if len(a.Now)+len(a.Blocked) > 0 || len(a.Next) != 1 || !slices.Equal(a.Next[0].Tags, []string{"v1"}) {
		t.Fatalf("%+v", a)
	}
	if due := a.Next[0].Due; due == nil || due.Format(time.DateOnly) != ago(100).AddDate(0, 0, 130).Format(time.DateOnly) {
		t.Errorf("due %v", due)
	}
	if a := w.audit(0, "--now", ago(-31).Format(time.DateOnly)); len(a.Now) != 1 || len(a.Next) != 0 {
		t.Errorf("a month later: %+v", a)
	}
	if a := w.audit(0, "--repository", "app"); len(a.Next) != 1 {
		t.Errorf("chosen: %+v", a)
	}
	if o := w.must(1, "audit", "--repository", "ap"); !strings.Contains(o.stderr, "no repository") {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// TestAuditUnknown: where a consumer could not be looked at, what nothing is known to use is listed, too; and a policy that
// could not be read is a gap.
func TestAuditUnknown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.share(virginia, "app")
	w.push(accountA, virginia, "app", "unused", "v1")
	w.lifecycle("app", expireAfter(30))
	if a := w.audit(0); len(a.Now)+len(a.Next)+len(a.Blocked) > 0 {
		t.Errorf("everything was read: %+v", a)
	}
	w.trust(accountB, accountHub, "another")
	run := w.plan(2).RunID // by its id: the runs of one second have no order
	if a := w.audit(2, "--run", run); len(a.Blocked) != 1 || !a.Blocked[0].Now || len(a.Blocked[0].Reasons) == 0 {
		t.Errorf("unknown: %+v", a.Blocked)
	}
	w.audit(0, "--run", run, "--accept-incomplete")

	w.trust(accountB, accountHub, externalID)
	w.SetFaults([]orgsim.Fault{{Service: "ecr", Operation: "GetLifecyclePolicy", Code: "AccessDeniedException", Status: 400}})
	run = w.plan(0).RunID
	o := w.must(2, "audit", "--run", run)
	if !strings.Contains(o.stdout, "could not be read") || !strings.Contains(o.stderr, "the lifecycle policies of 1 repositories could not be read") {
		t.Errorf("%s\n%s", o.stdout, o.stderr)
	}
	if a := w.audit(2, "--run", run); len(a.Unread) != 1 || len(a.Policies)+len(a.Without) > 0 {
		t.Errorf("unread: %+v", a)
	}
}

// TestVerifyTells: what AWS says otherwise is listed with its likely reason and does not change the exit code; a preview that
// cannot be made does.
func TestVerifyTells(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	for _, name := range []string{"app", "gone"} {
		w.repository(accountA, virginia, name)
		w.push(accountA, virginia, name, "old "+name, "v1")
		w.lifecycle(name, expireAfter(30))
	}
	w.must(0, "scan")
	if a := w.audit(0, "--verify"); a.Verified == nil || a.Verified.Images != 2 || len(a.Verified.Differences) > 0 {
		t.Errorf("as it was: %+v", a.Verified)
	}
	later := w.push(accountA, virginia, "app", "old, too", "v2")
	a := w.audit(0, "--verify", "--repository", "app")
	if v := a.Verified; v.Images != 1 || len(v.Differences) != 1 || v.Differences[0].Digest != later || v.Differences[0].Kind != "aws-only" || v.Differences[0].Why == "" {
		t.Errorf("an image more: %+v", v)
	}
	done(w.ecr(accountA, virginia).BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: aws.String("app"),
		ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}}}))(w)
	if v := w.audit(0, "--verify", "--repository", "app").Verified; len(v.Differences) != 2 || !slices.ContainsFunc(v.Differences, func(d auditDifference) bool {
		return d.Kind == "here-only" && d.AWS == nil && d.Here.Rule == 1
	}) {
		t.Errorf("an image less: %+v", v)
	}
	done(w.ecr(accountA, virginia).DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("gone"), Force: true}))(w)
	o := w.must(2, "audit", "--verify")
	if !strings.Contains(o.stderr, "verify: 2 previews in 1 registries, at least 4 calls") || !strings.Contains(o.stderr, "1 previews could not be made") ||
		!strings.Contains(o.stdout, "gone: no preview: StartLifecyclePolicyPreview: RepositoryNotFoundException") {
		t.Errorf("%s\n%s", o.stderr, o.stdout)
	}
	w.trust(accountA, accountHub, "another")
	if v := w.audit(2, "--verify").Verified; len(v.Failures) != 2 || v.Failures[0].Account != accountA || v.Failures[0].Repository == v.Failures[1].Repository || v.Failures[0].Error != v.Failures[1].Error {
		t.Errorf("no way in: %+v", v)
	}
}
