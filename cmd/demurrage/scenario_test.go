package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/google/go-cmp/cmp"

	"demurrage/internal/orgsim"
)

// pair is the world that most scenarios begin with. In account A are the repositories "private" and "shared" (every
// account may pull), in B "own"; each has an old image that nothing uses. A cluster of B runs a service with a task
// and a function, of images of "shared" that are therefore kept.
type pair struct {
	*world
	private, shared, own string // digests of what nothing uses
	used, function       string // digests of what B uses
}

func newPair(t *testing.T) *pair {
	t.Helper()
	w := newWorld(t, virginia)
	return seedPair(w)
}

func seedPair(w *world) *pair {
	w.Helper()
	w.repository(accountA, virginia, "private")
	w.share(virginia, "shared")
	w.repository(accountB, virginia, "own")
	p := &pair{
		world:    w,
		private:  w.push(accountA, virginia, "private", "private", "v1"),
		shared:   w.push(accountA, virginia, "shared", "shared", "v1"),
		own:      w.push(accountB, virginia, "own", "own", "v1"),
		used:     w.push(accountA, virginia, "shared", "used", "v2"),
		function: w.push(accountA, virginia, "shared", "function", "v3"),
	}
	ref := host(virginia) + "/shared"
	w.cluster(accountB, virginia)
	w.service("web", w.register(virginia, "web", ref+":v2"), 1, "")
	w.function("resize", ref+":v3", false)
	return p
}

// want asks what becomes of the images that nothing uses, and that what B uses is not deleted, whatever happened.
func (p *pair) want(t *testing.T, plan *planFile, private, shared, own string) {
	t.Helper()
	for _, c := range []struct{ repository, digest, want string }{
		{"private", p.private, private}, {"shared", p.shared, shared}, {"own", p.own, own},
	} {
		if got := plan.action(c.repository, c.digest); got != c.want {
			t.Errorf("%s: %q instead of %q", c.repository, got, c.want)
		}
	}
	for _, digest := range []string{p.used, p.function} {
		if got := plan.action("shared", digest); got == "delete" {
			t.Errorf("an image in use is deletable: %+v", plan.image("shared", digest))
		}
	}
}

func TestPair(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	plan := p.plan(0)
	p.want(t, plan, "delete", "delete", "delete")
	if !plan.Complete || plan.action("shared", p.used) != "keep" || plan.action("shared", p.function) != "keep" {
		t.Errorf("%+v", plan)
	}
}

// TestAccountThatRefusesTheRole guards against way 9, an account that nobody looks at: nothing that it could be
// using is deletable, the rest is, and people are told first thing.
func TestAccountThatRefusesTheRole(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.trust(accountB, accountHub, "another")
	plan := p.plan(2)
	p.want(t, plan, "delete", "blocked", "")
	if plan.Complete {
		t.Error("the plan calls itself complete")
	}
	if img := plan.image("shared", p.shared); !img.has("coverage-gap", accountB) {
		t.Errorf("the reason does not name account B: %+v", img.Reasons)
	}
	for _, img := range plan.Images {
		if img.Account == accountB {
			t.Errorf("an image of B is in the plan: %+v", img)
		}
	}

	o := p.must(2, "plan", "--run", plan.RunID)
	first := strings.Join(strings.Split(o.stdout, "\n")[:2], "\n")
	for _, text := range []string{"3 images, 30 MiB", accountB + " beta", "Mending it unblocks 3 images, 30 MiB"} {
		if !strings.Contains(first, text) {
			t.Errorf("the first lines of the table do not say %q:\n%s", text, first)
		}
	}
	for _, text := range []string{"role/DemurrageRead", "To do:"} {
		if !strings.Contains(o.stdout, text) {
			t.Errorf("the table does not say %q:\n%s", text, o.stdout)
		}
	}
	if !strings.Contains(o.stderr, "coverage is incomplete") {
		t.Errorf("stderr: %s", o.stderr)
	}
	p.must(0, "plan", "--run", plan.RunID, "--accept-incomplete")
}

// TestRegistryPolicyLetsOthersPull: the policy of a registry can let other accounts pull as that of a repository can.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry-permissions.html
func TestRegistryPolicyLetsOthersPull(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.trust(accountB, accountHub, "another")
	done(p.ecr(accountA, virginia).PutRegistryPolicy(t.Context(), &ecr.PutRegistryPolicyInput{PolicyText: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Sid": "pull", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::` + accountB + `:root"},
			"Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"], "Resource": "arn:aws:ecr:us-east-1:` + accountA + `:repository/*"}]}`),
	}))(p.world)
	p.pull(accountB, "private", p.private) // or this test tests nothing
	p.want(t, p.plan(2), "blocked", "blocked", "")
}

// TestPolicyNamesAnAccountOutsideTheScan: where accounts are not discovered, the policy of a repository is the only
// sign of an account that may pull from it and that no configuration names.
func TestPolicyNamesAnAccountOutsideTheScan(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.AddAccount(accountC, "gamma")
	done(p.ecr(accountA, virginia).SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{
		RepositoryName: aws.String("private"), PolicyText: aws.String(strings.Replace(pullPolicy, accountB, accountC, 1)),
	}))(p.world)
	p.pull(accountC, "private", p.private)
	p.want(t, p.plan(2), "blocked", "delete", "delete")
}

// TestAttestedAccount: a person's word is the only way past what cannot be read, while it is in force.
func TestAttestedAccount(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.trust(accountB, accountHub, "another")
	attestation := func(expires time.Time) string {
		return fmt.Sprintf("\n[[attestations]]\naccounts = [%q]\nreason = \"moved away\"\nexpires = %q\n", accountB, expires.Format(time.DateOnly))
	}
	p.config(worldConfig + attestation(time.Now().AddDate(0, 0, 30)))
	plan := p.plan(0)
	if got := plan.action("shared", p.shared); got != "delete" {
		t.Errorf("attested: %q", got)
	}
	if o := p.must(0, "plan", "--run", plan.RunID); !strings.Contains(o.stdout, "moved away") {
		t.Errorf("the table does not show the attestation:\n%s", o.stdout)
	}
	p.config(worldConfig + attestation(time.Now().AddDate(0, 0, -1)))
	p.want(t, p.plan(2), "delete", "blocked", "")
	// The same data under a later time: it has expired meanwhile.
	p.config(worldConfig + attestation(time.Now().AddDate(0, 0, 30)))
	p.want(t, p.plan(2, "--run", plan.RunID, "--now", time.Now().AddDate(0, 0, 40).Format(time.DateOnly)), "delete", "blocked", "")
}

// TestAccountsOutsideTheScan guards against way 9: accounts of the organization that are excluded or suspended are
// reported, and block what they may pull.
func TestAccountsOutsideTheScan(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.hub = orgsim.ManagementAccount
	p.role(accountHub, p.hub)
	p.AddAccount(accountC, "closed")
	done(organizations.NewFromConfig(p.as(orgsim.ManagementAccount, virginia)).CloseAccount(p.Context(),
		&organizations.CloseAccountInput{AccountId: aws.String(accountC)}))(p.world)
	p.trust(accountA, p.hub, externalID)
	p.trust(accountB, p.hub, externalID)
	p.policy("shared", `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*",
		"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-demurrage01"}}}]}`)
	config := strings.Replace(worldConfig, "[scan]", "[organization]\ndiscover = true\nexclude_accounts = [\""+accountB+"\"]\n\n[scan]", 1)
	config = strings.Replace(config, "[[accounts]]\nid   = \"222222222222\"\nname = \"beta\"\n", "", 1)
	p.config(config)

	plan := p.plan(2)
	p.want(t, plan, "delete", "blocked", "")
	var reported []string
	for _, u := range plan.Unscanned {
		reported = append(reported, u.Account)
	}
	if diff := cmp.Diff([]string{accountB, accountC}, reported); diff != "" {
		t.Errorf("unscanned accounts (-want +got):\n%s", diff)
	}
	img := plan.image("shared", p.shared)
	if !img.has("unscanned-consumer", accountB) || !img.has("unscanned-consumer", accountC) {
		t.Errorf("reasons: %+v", img.Reasons)
	}
	attest := func(ids string) string {
		return config + "\n[[attestations]]\naccounts = [" + ids + "]\nreason = \"shut down\"\nexpires = \"2099-01-01\"\n"
	}
	p.config(attest(`"` + accountC + `"`))
	p.want(t, p.plan(2), "delete", "blocked", "")
	p.config(attest(`"` + accountB + `", "` + accountC + `"`))
	plan = p.plan(0)
	if got := plan.action("shared", p.shared); got != "delete" {
		t.Errorf("attested: %q", got)
	}
}

// TestOwnReadsDoNotProtect: reading the manifest of an index moves its pull time, which would keep it for ever; the
// pull of somebody else does keep it.
func TestOwnReadsDoNotProtect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.config(worldConfig + "keep_pulled_within = \"20d\"\n")
	w.share(virginia, "multi")
	child := w.push(accountA, virginia, "multi", "amd64")
	other := w.push(accountA, virginia, "multi", "arm64")
	index := w.put(accountA, virginia, "multi", indexOf(child, other), "v1")
	alone := w.put(accountA, virginia, "multi", indexOf(w.push(accountA, virginia, "multi", "s390x")), "v2")
	pulledAt := func(digest string) *time.Time {
		out := done(w.ecr(accountA, virginia).DescribeImages(t.Context(), &ecr.DescribeImagesInput{
			RepositoryName: aws.String("multi"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &digest}},
		}))(w)
		return out.ImageDetails[0].LastRecordedPullTime
	}

	first := w.plan(0)
	if pulledAt(index) == nil {
		t.Fatal("reading the manifest left no trace: this test tests nothing")
	}
	if got := first.action("multi", index); got != "delete" {
		t.Fatalf("first plan: %q", got)
	}
	second := w.plan(0)
	if diff := cmp.Diff(first.Images, second.Images); diff != "" {
		t.Errorf("the second plan differs (-first +second):\n%s", diff)
	}

	// A stranger pulls one index as runtimes do, with the child for its platform, right after we read it; and the
	// other by its index alone, a while later.
	w.pull(accountB, "multi", index, child)
	w.SetClock(time.Now().Add(2 * time.Hour))
	w.pull(accountB, "multi", alone)
	w.SetClock(time.Time{})
	third := w.plan(0)
	if img := third.image("multi", child); img.Action != "keep" || !img.has("pulled-recently", "") {
		t.Errorf("the child that was pulled: %+v", img)
	}
	for name, digest := range map[string]string{"with its child": index, "alone": alone} {
		if got := third.action("multi", digest); got != "keep" {
			t.Errorf("the index that was pulled %s: %q", name, got)
		}
	}
}

// TestLostCacheKeeps: without the memory of our own reads they count as somebody's.
func TestLostCacheKeeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.config(worldConfig + "keep_pulled_within = \"20d\"\n")
	w.repository(accountA, virginia, "multi")
	index := w.put(accountA, virginia, "multi", indexOf(w.push(accountA, virginia, "multi", "amd64")), "v1")
	if got := w.plan(0).action("multi", index); got != "delete" {
		t.Fatalf("first plan: %q", got)
	}
	if err := os.RemoveAll(filepath.Join(w.dir, "demurrage-data", "cache")); err != nil {
		t.Fatal(err)
	}
	if got := w.plan(0).action("multi", index); got != "keep" {
		t.Errorf("without the cache: %q", got)
	}
}

// ---- what cannot be read ----

// cut ends the pages of a list in the middle: the first page lacks the last entry, and the second fails.
func cut(op, list, token string) func(string, *http.Request, []byte) *tamper {
	const more = "bW9yZQ=="
	return func(got string, r *http.Request, body []byte) *tamper {
		if got != op {
			return nil
		}
		if strings.Contains(string(body), more) || strings.Contains(r.URL.RawQuery, "Marker=") {
			return &tamper{code: "AccessDeniedException"}
		}
		return &tamper{change: func(answer map[string]any) {
			if all, _ := answer[list].([]any); len(all) > 0 {
				answer[list], answer[token] = all[:len(all)-1], more
			}
		}}
	}
}

// fail moves the first entry of an answer to its list of failures.
func fail(op, list, arn string) func(string, *http.Request, []byte) *tamper {
	return func(got string, _ *http.Request, _ []byte) *tamper {
		if got != op {
			return nil
		}
		return &tamper{change: func(answer map[string]any) {
			if all, _ := answer[list].([]any); len(all) > 0 {
				first := all[0].(map[string]any)
				answer[list] = all[1:]
				answer["failures"] = []any{map[string]any{"arn": first[arn], "reason": "INTERNAL"}}
			}
		}}
	}
}

// only limits tampering to the sessions of one account.
func only(w *world, account string, hook func(string, *http.Request, []byte) *tamper) func(string, *http.Request, []byte) *tamper {
	return func(op string, r *http.Request, body []byte) *tamper {
		if w.callerOf(r) != account {
			return nil
		}
		return hook(op, r, body)
	}
}

// TestUnreadable guards against ways 9, 10 and 14, in every form that "could not be read" comes in: nothing that it
// might concern is deletable, everything else is, the exit code is 2, and the coverage names what failed.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	faulty := func(account, service, operation, code string) func(*pair) {
		return func(p *pair) {
			p.SetFaults([]orgsim.Fault{{Account: account, Service: service, Operation: operation, Code: code}})
		}
	}
	tampered := func(account string, hook func(string, *http.Request, []byte) *tamper) func(*pair) {
		return func(p *pair) { p.tamper(only(p.world, account, hook)) }
	}
	for _, c := range []struct {
		name                 string
		spoil                func(*pair)
		private, shared, own string
		source               string // that failed
		text                 string // in its error
	}{
		// Of B's workloads nothing is known for sure: B's own repository and those that it may pull from.
		{"09-ecs/paging/ListClusters", tampered(accountB, cut("ListClusters", "clusterArns", "nextToken")), "delete", "blocked", "blocked", "ecs", "ListClusters"},
		{"09-ecs/paging/ListTasks", tampered(accountB, cut("ListTasks", "taskArns", "nextToken")), "delete", "blocked", "blocked", "ecs", "ListTasks"},
		{"09-ecs/paging/ListServices", tampered(accountB, cut("ListServices", "serviceArns", "nextToken")), "delete", "blocked", "blocked", "ecs", "ListServices"},
		{"09-ecs/paging/ListTaskDefinitions", tampered(accountB, cut("ListTaskDefinitions", "taskDefinitionArns", "nextToken")), "delete", "blocked", "blocked", "ecs", "ListTaskDefinitions"},
		{"09-ecs/denied/DescribeServiceRevisions", faulty(accountB, "ecs", "DescribeServiceRevisions", "AccessDeniedException"), "delete", "blocked", "blocked", "ecs", "DescribeServiceRevisions"},
		{"09-ecs/denied/DescribeTaskDefinition", faulty(accountB, "ecs", "DescribeTaskDefinition", "AccessDeniedException"), "delete", "blocked", "blocked", "ecs", "DescribeTaskDefinition"},
		{"09-ecs/throttled/DescribeTasks", faulty(accountB, "ecs", "DescribeTasks", "ThrottlingException"), "delete", "blocked", "blocked", "ecs", "DescribeTasks"},
		{"10-ecs/failures/DescribeTasks", tampered(accountB, fail("DescribeTasks", "tasks", "taskArn")), "delete", "blocked", "blocked", "ecs", "INTERNAL"},
		{"10-ecs/failures/DescribeServices", tampered(accountB, fail("DescribeServices", "services", "serviceArn")), "delete", "blocked", "blocked", "ecs", "INTERNAL"},
		{"10-ecs/failures/DescribeServiceRevisions", tampered(accountB, fail("DescribeServiceRevisions", "serviceRevisions", "serviceRevisionArn")), "delete", "blocked", "blocked", "ecs", "INTERNAL"},
		{"09-regions/denied", func(p *pair) {
			p.SetFaults([]orgsim.Fault{{Service: "account", Code: "AccessDeniedException"}, {Service: "ec2", Code: "UnauthorizedOperation"}})
		}, "blocked", "blocked", "blocked", "regions", "ListRegions"},
		{"09-lambda/paging/ListFunctions", tampered(accountB, cut("ListFunctions", "Functions", "NextMarker")), "delete", "blocked", "blocked", "lambda", "ListFunctions"},
		{"09-lambda/denied/GetFunction", faulty(accountB, "lambda", "GetFunction", "AccessDeniedException"), "delete", "blocked", "blocked", "lambda", "GetFunction"},
		{"09-lambda/throttled/ListAliases", faulty(accountB, "lambda", "ListAliases", "TooManyRequestsException"), "delete", "blocked", "blocked", "lambda", "ListAliases"},

		// A registry that cannot be read concerns itself alone.
		{"ecr/paging/DescribeRepositories", tampered(accountA, cut("DescribeRepositories", "repositories", "nextToken")), "delete", "", "delete", "ecr", "DescribeRepositories"},
		{"ecr/paging/DescribeImages", tampered(accountA, cut("DescribeImages", "imageDetails", "nextToken")), "", "blocked", "delete", "ecr", "DescribeImages"},
		{"ecr/throttled/DescribeImages", faulty(accountB, "ecr", "DescribeImages", "ThrottlingException"), "delete", "delete", "", "ecr", "DescribeImages"},
		{"ecr/denied/GetRepositoryPolicy", faulty(accountB, "ecr", "GetRepositoryPolicy", "AccessDeniedException"), "delete", "delete", "blocked", "ecr", "GetRepositoryPolicy"},
		{"ecr/denied/GetRegistryPolicy", faulty(accountB, "ecr", "GetRegistryPolicy", "AccessDeniedException"), "delete", "delete", "blocked", "ecr", "GetRegistryPolicy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			c.spoil(p)
			plan := p.plan(2)
			p.want(t, plan, c.private, c.shared, c.own)
			if plan.Complete {
				t.Error("the plan calls itself complete")
			}
			found := false
			for _, cov := range plan.Coverage {
				if cov.Status == "failed" {
					found = found || cov.Source == c.source && strings.Contains(cov.Error, c.text)
					if cov.Source != c.source {
						t.Errorf("another source failed too: %+v", cov)
					}
				}
			}
			if !found {
				t.Errorf("no failed coverage of %s says %q: %+v", c.source, c.text, plan.Coverage)
			}
		})
	}
}

// TestUnreadableManifest guards against way 14: what an index that cannot be read holds is not known.
func TestUnreadableManifest(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(answer map[string]any){
		"failure": func(answer map[string]any) {
			first := answer["images"].([]any)[0].(map[string]any)
			answer["images"] = []any{}
			answer["failures"] = []any{map[string]any{"imageId": first["imageId"], "failureCode": "ImageInaccessible"}}
		},
		"not-answered": func(answer map[string]any) { answer["images"] = []any{} },
		"garbage": func(answer map[string]any) {
			answer["images"].([]any)[0].(map[string]any)["imageManifest"] = "{"
		},
		"another-manifest": func(answer map[string]any) {
			answer["images"].([]any)[0].(map[string]any)["imageManifest"] = indexOf()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			p.repository(accountA, virginia, "multi")
			child := p.push(accountA, virginia, "multi", "amd64")
			lone := p.push(accountA, virginia, "multi", "lone")
			index := p.put(accountA, virginia, "multi", indexOf(child), "v1")
			p.tamper(func(op string, _ *http.Request, _ []byte) *tamper {
				if op != "BatchGetImage" {
					return nil
				}
				return &tamper{change: change}
			})
			plan := p.plan(2)
			for _, d := range []string{child, lone, index} {
				if img := plan.image("multi", d); img.Action != "blocked" || !img.has("unreadable-manifest", "") {
					t.Errorf("%+v", img)
				}
			}
			p.want(t, plan, "delete", "delete", "delete")
			// It is read again in the next run.
			p.tamper(nil)
			if got := p.plan(0).action("multi", child); got != "delete" {
				t.Errorf("when it can be read: %q", got)
			}
		})
	}
}

// ---- what it costs, and what it never does ----

// TestCalls holds the calls of a run to the formula: whatever is called more often than that will be too much with a
// million images.
func TestCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	const images, indexes, services, tasks, functions = 1001, 101, 11, 101, 2
	w.share(virginia, "big")
	w.SetClock(ago(100))
	var wg sync.WaitGroup
	digests := make([]string, images)
	c := w.ecr(accountA, virginia)
	for i := range 8 {
		wg.Go(func() {
			for n := i; n < images; n += 8 {
				text := manifest(fmt.Sprint("image ", n))
				out, err := c.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: aws.String("big"), ImageManifest: &text, ImageTag: aws.String(fmt.Sprint("v", n))})
				if err != nil {
					t.Error(err)
					return
				}
				digests[n] = *out.Image.ImageId.ImageDigest
			}
		})
	}
	wg.Wait()
	w.SetClock(time.Time{})
	if t.Failed() {
		t.FailNow()
	}
	w.repository(accountA, virginia, "multi")
	child := w.push(accountA, virginia, "multi", "amd64")
	w.SetClock(ago(100))
	for i := range indexes {
		text := indexOf(child) + strings.Repeat(" ", i)
		done(c.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: aws.String("multi"), ImageManifest: &text, ImageTag: aws.String(fmt.Sprint("i", i))}))(w)
	}
	w.SetClock(time.Time{})
	w.repository(accountB, virginia, "own")
	w.cluster(accountB, virginia)
	for i := range services {
		name := fmt.Sprint("service-", i)
		for revision := range 3 { // the newest is the one kept and the one in use
			definition := w.register(virginia, name, host(virginia)+"/big:v"+fmt.Sprint(i))
			if revision == 2 {
				w.service(name, definition, map[bool]int32{true: tasks}[i == 0], "")
			}
		}
	}
	for i := range functions {
		name := fmt.Sprint("function-", i)
		w.function(name, host(virginia)+"/big:v20", true)
	}

	const accounts, regions, planned = 2, 2, 2 // planned: A and B in us-east-1
	pages := func(n, size int) int { return (n + size - 1) / size }
	formula := func(first bool) map[string]int {
		once := map[bool]int{true: 1}[first]
		m := map[string]int{
			"sts:GetCallerIdentity":      1,
			"sts:AssumeRole":             accounts,
			"organizations:ListAccounts": 1,
			"account:ListRegions":        accounts,
			"ecr:DescribeRepositories":   planned,
			"ecr:DescribeImages":         pages(images, 1000) + 2, // big, multi, own
			"ecr:GetRegistryPolicy":      2,
			"ecr:GetRepositoryPolicy":    3,
			"ecr:GetLifecyclePolicy":     3,
			"ecr:ListTagsForResource":    3,
			"ecr:BatchGetImage":          once * pages(indexes, 100),

			"ecs:ListClusters":             accounts * regions,
			"ecs:ListTaskDefinitions":      accounts * regions,
			"ecs:ListServices":             1,
			"ecs:DescribeServices":         pages(services, 10),
			"ecs:DescribeServiceRevisions": pages(services, 20),
			"ecs:ListTasks":                pages(tasks, 100) + 1, // running, stopped
			"ecs:DescribeTasks":            pages(tasks, 100),
			"ecs:DescribeTaskDefinition":   once * services,

			"lambda:ListFunctions": accounts * regions,
			"lambda:ListAliases":   functions,
			"lambda:GetFunction":   functions + once*functions, // $LATEST, and version 1 once

			"ce:GetCostAndUsage":  1,        // the hub is not the account that pays
			"pricing:GetProducts": once * 2, // kept for a week
		}
		// What there is nothing of costs one list in each target (of SageMaker's jobs two, by status).
		for _, op := range emptyLists {
			m[op] += accounts * regions
		}
		m["ecs:ListDaemonTaskDefinitions"], m["ecs:ListDaemons"] = accounts*regions, 1
		m["ecr:DescribeRegistry"], m["ecr:ListPullTimeUpdateExclusions"], m["ecr:GetAccountSetting"] = planned, planned, planned
		m["inspector2:BatchGetAccountStatus"] = planned
		m["iam:ListRoles"] = accounts
		maps.DeleteFunc(m, func(_ string, n int) bool { return n == 0 })
		return m
	}
	for run := range 3 {
		before := w.Calls()
		w.plan(0)
		if diff := cmp.Diff(formula(run == 0), operations(w.called(before))); diff != "" {
			t.Errorf("calls of run %d (-formula +calls):\n%s", run+1, diff)
		}
	}
	before := w.Calls()
	w.must(0, "explain", host(virginia)+"/big:v1")
	w.must(0, "report", "--out", "r.csv")
	if n := w.called(before); len(n) != 0 {
		t.Errorf("a stored run is asked in AWS: %v", n)
	}
}

// TestNothingIsChangedInScannedAccounts: only reads are called, and the very session that demurrage scans with is
// refused a deletion, though the role may do everything.
func TestNothingIsChangedInScannedAccounts(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.repository(accountA, virginia, "multi")
	p.put(accountA, virginia, "multi", indexOf(p.push(accountA, virginia, "multi", "amd64")), "v1")
	type session struct{ key, token string }
	var mu sync.Mutex
	sessions := map[session]bool{}
	p.tamper(func(op string, r *http.Request, _ []byte) *tamper {
		if op == "DescribeImages" {
			mu.Lock()
			defer mu.Unlock()
			key, token := credentialOf(r)
			sessions[session{key, token}] = true
		}
		return nil
	})
	before := p.Calls()
	for _, args := range [][]string{{"scan"}, {"plan"}, {"report"}, {"explain", host(virginia) + "/private:v1"}, {"plan", "--format", "json", "--out", "p.json"}} {
		p.must(0, args...)
	}
	p.tamper(nil)
	reads := regexp.MustCompile(`^[a-z0-9-]+:(Describe|List|Get|BatchGetImage$|BatchGetAccountStatus$)`)
	hub := regexp.MustCompile(`^(sts:(AssumeRole|GetCallerIdentity)|organizations:ListAccounts)$`)
	for c := range p.called(before) {
		op := c.Service + ":" + c.Operation
		if !reads.MatchString(op) && (c.Account != accountHub || !hub.MatchString(op)) {
			t.Errorf("account %s: %s", c.Account, op)
		}
	}

	if len(sessions) < 2 {
		t.Fatalf("%d sessions were seen", len(sessions))
	}
	for s := range sessions {
		cfg := p.with(s.key, s.token, virginia)
		if _, err := ecr.NewFromConfig(cfg).DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{}); err != nil {
			t.Errorf("the session does not work: this test tests nothing: %v", err)
		}
		for _, repository := range []string{"private", "own"} {
			_, err := ecr.NewFromConfig(cfg).BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{
				RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}},
			})
			if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
				t.Errorf("BatchDeleteImage with a session of a scan: %v", err)
			}
			_, err = ecr.NewFromConfig(cfg).PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{
				RepositoryName: &repository, LifecyclePolicyText: aws.String(`{"rules": []}`),
			})
			if err == nil || !strings.Contains(err.Error(), "AccessDenied") {
				t.Errorf("PutLifecyclePolicy with a session of a scan: %v", err)
			}
		}
	}
	p.want(t, p.plan(0), "delete", "delete", "delete") // they are all still there
}

// ---- stored runs ----

// TestStoredRunThatLostData: a run with a part missing blocks what that part could have told, and a part that is
// damaged is an error. Uses are never lost in silence.
func TestStoredRunThatLostData(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	plan := p.plan(0)
	file := func(account, region, name string) string {
		return filepath.Join(p.dir, "demurrage-data", "runs", plan.RunID, "targets", account, region, name)
	}
	usage := file(accountB, virginia, "usage.json.zst")
	whole, err := os.ReadFile(usage)
	if err != nil {
		t.Fatal(err)
	}
	restore := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	check := func(name string, wantError string) {
		t.Helper()
		for _, args := range [][]string{
			{"plan", "--run", plan.RunID}, {"report", "--run", plan.RunID, "--out", "r.json"},
			{"explain", "--run", plan.RunID, host(virginia) + "/shared:v2"},
		} {
			o := p.demurrage(args...)
			if o.code != 1 || !strings.Contains(o.stderr, wantError) {
				t.Errorf("%s: %v: exit code %d: %s", name, args, o.code, o.stderr)
			}
		}
	}

	remove(usage)
	missing := p.plan(2, "--run", plan.RunID)
	p.want(t, missing, "delete", "blocked", "")
	if img := missing.image("shared", p.used); img.Action == "delete" {
		t.Errorf("its use is lost: %+v", img)
	}
	restore(usage, whole[:len(whole)/2])
	check("cut short", "usage.json.zst")
	damaged := slices.Clone(whole)
	damaged[len(damaged)/2] ^= 0xff
	restore(usage, damaged)
	check("damaged", "usage.json.zst")
	restore(usage, []byte{})
	check("empty", "usage.json.zst")
	if other, err := os.ReadFile(file(accountA, virginia, "usage.json.zst")); err != nil {
		t.Error(err)
	} else {
		restore(usage, other)
		check("of another target", "usage.json.zst")
	}
	restore(usage, whole)
	p.want(t, p.plan(0, "--run", plan.RunID), "delete", "delete", "delete")

	inventory := file(accountA, virginia, "inventory.jsonl.zst")
	images, err := os.ReadFile(inventory)
	if err != nil {
		t.Fatal(err)
	}
	restore(inventory, images[:len(images)-8])
	check("inventory cut short", "inventory.jsonl.zst")
	remove(inventory)
	check("inventory missing", "inventory.jsonl.zst")
	restore(inventory, images)
	remove(filepath.Join(p.dir, "demurrage-data", "runs", plan.RunID, "run.json"))
	check("run.json missing", "no such run")
}

// TestInterruptedScanIsResumed: SIGINT ends a scan within 2 seconds, whatever it waits for, and --resume goes on from
// what was stored.
func TestInterruptedScanIsResumed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.SetFaults([]orgsim.Fault{{Account: accountB, Region: virginia, Service: "lambda", Operation: "ListFunctions", LatencyMS: 60_000}})
	cmd, stdout, stderr := p.command("--config", "./accounts.toml", "plan")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stored := func() (n int) {
		files, _ := filepath.Glob(filepath.Join(p.dir, "demurrage-data", "runs", "*", "targets", "*", "*", "usage.json.zst"))
		return len(files)
	}
	for deadline := time.Now().Add(20 * time.Second); stored() < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("%d targets are stored\n%s", stored(), stderr)
		}
	}
	interrupted := time.Now()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	t.Logf("it took %v to end", time.Since(interrupted))
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if stdout.Len() > 0 || !strings.Contains(stderr.String(), "demurrage --config ./accounts.toml plan --resume goes on") {
		t.Errorf("stdout %q\nstderr %q", stdout, stderr)
	}

	// What was not scanned is unknown, not unused.
	runs, err := os.ReadDir(filepath.Join(p.dir, "demurrage-data", "runs"))
	if err != nil || len(runs) != 1 {
		t.Fatalf("%d runs are stored (%v)", len(runs), err)
	}
	p.want(t, p.plan(2, "--run", runs[0].Name()), "delete", "blocked", "")

	config, err := os.ReadFile(filepath.Join(p.dir, "accounts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	p.config(string(config) + "keep_count = 1\n")
	if o := p.must(1, "plan", "--resume"); !strings.Contains(o.stderr, "configuration has changed") {
		t.Errorf("stderr: %s", o.stderr)
	}
	p.config(string(config))

	p.SetFaults(nil)
	before := p.Calls()
	plan := p.plan(0, "--resume")
	if plan.RunID != runs[0].Name() {
		t.Errorf("run %s instead of %s", plan.RunID, runs[0].Name())
	}
	for c := range p.called(before) {
		money := c.Service == "pricing" || c.Service == "ce"
		if !money && c.Service != "sts" && c.Service != "organizations" && (c.Account != accountB || c.Region != virginia) {
			t.Errorf("what was stored is scanned again: %+v", c)
		}
	}
	p.want(t, plan, "delete", "delete", "delete")
	fresh := p.plan(0)
	if diff := cmp.Diff(fresh.actions(), plan.actions()); diff != "" {
		t.Errorf("the resumed plan differs from a fresh one (-fresh +resumed):\n%s", diff)
	}
	if fresh.RunID == plan.RunID || p.plan(0, "--resume").RunID == plan.RunID {
		t.Error("a finished run was resumed")
	}
}

// ---- the demo ----

// TestDemo: the demo's decisions are those of an independent count of its description, and a plan of the same company
// served by `sim` has the same, image by image.
func TestDemo(t *testing.T) {
	t.Parallel()
	w := &world{Server: orgsim.New(), reporter: t, dir: t.TempDir(), hub: orgsim.Demo().Hub, region: virginia}
	t.Run("expected", func(t *testing.T) {
		w.must(0, "demo", "--all")
		data, err := os.ReadFile(filepath.Join(w.dir, "demurrage-out", "demurrage-report.json"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(orgsim.DemoExpected(), w.parsePlan(data).counts()); diff != "" {
			t.Errorf("decisions by repository (-expected +planned):\n%s", diff)
		}
	})
	t.Run("sim", func(t *testing.T) {
		out, err := os.Create(filepath.Join(w.dir, "sim.out"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = out.Close() }()
		cmd, _, stderr := w.command("sim", "--listen", "127.0.0.1:0", "--write-config", "accounts.toml")
		cmd.Stdout = out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // the exit code is looked at below
		}()
		listening := regexp.MustCompile(`http://[0-9.:]+`)
		for deadline := time.Now().Add(20 * time.Second); w.url == ""; time.Sleep(10 * time.Millisecond) {
			text, _ := os.ReadFile(out.Name())
			w.url = string(listening.Find(text))
			if time.Now().After(deadline) {
				_ = cmd.Process.Kill()
				t.Fatalf("sim does not listen: %s", stderr)
			}
		}
		plan := w.plan(2) // the demo's announced gaps are gaps here
		data, err := os.ReadFile(filepath.Join(w.dir, "demurrage-out", "demurrage-report.json"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w.parsePlan(data).actions(), plan.actions()); diff != "" {
			t.Errorf("decisions (-demo +sim):\n%s", diff)
		}
		answer, err := http.Get(w.url + "/_sim/calls")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = answer.Body.Close() }()
		var calls []orgsim.CallCount
		if err := json.NewDecoder(answer.Body).Decode(&calls); err != nil || len(calls) == 0 {
			t.Errorf("/_sim/calls: %d entries (%v)", len(calls), err)
		}
		for _, c := range calls {
			if c.Operation == "BatchDeleteImage" || strings.HasPrefix(c.Operation, "Put") || strings.HasPrefix(c.Operation, "Update") {
				t.Errorf("a change: %+v", c)
			}
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			t.Error("sim does not end")
		}
		if code := cmd.ProcessState.ExitCode(); code != 130 {
			t.Errorf("sim: exit code %d", code)
		}
	})
}

// emptyLists are the calls for what a target has nothing of.
var emptyLists = []string{
	"apprunner:ListServices", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues", "bedrock-agentcore:ListAgentRuntimes",
	"codebuild:ListProjects", "ecr:DescribePullThroughCacheRules", "eks:ListClusters", "emr-serverless:ListApplications",
	"events:ListEventBuses", "events:ListRules", "gamelift:ListContainerFleets", "gamelift:ListContainerGroupDefinitions",
	"imagebuilder:ListContainerRecipes", "lambda:ListEventSourceMappings", "scheduler:ListSchedules", "states:ListStateMachines",
	"sagemaker:ListModels", "sagemaker:ListEndpoints", "sagemaker:ListInferenceComponents", "sagemaker:ListImages",
	"sagemaker:ListModelPackageGroups", "sagemaker:ListModelPackages", "sagemaker:ListAlgorithms", "sagemaker:ListMonitoringSchedules",
	"sagemaker:ListDataQualityJobDefinitions", "sagemaker:ListModelQualityJobDefinitions", "sagemaker:ListModelBiasJobDefinitions", "sagemaker:ListModelExplainabilityJobDefinitions",
	"sagemaker:ListPipelines", "sagemaker:ListTrainingJobs", "sagemaker:ListProcessingJobs", "sagemaker:ListHyperParameterTuningJobs",
	"sagemaker:ListTrainingJobs", "sagemaker:ListProcessingJobs", "sagemaker:ListHyperParameterTuningJobs",
}
