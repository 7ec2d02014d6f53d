package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/go-cmp/cmp"

	"demurrage/accounts"
	"demurrage/internal/draft"
	"demurrage/internal/orgsim"
	"demurrage/planner"
)

// demoWorld is the demo's organization, entered from its hub, with nothing in the working directory.
func demoWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: orgsim.New(), reporter: t, dir: t.TempDir(), hub: orgsim.Demo().Hub, region: virginia, callers: map[string]string{}}
	if err := w.SeedDemo(time.Now().UTC()); err != nil {
		t.Fatal(err)
	}
	w.SetClock(time.Time{})
	t.Cleanup(w.serve())
	return w
}

func (w *world) load(name string) *accounts.Config {
	w.Helper()
	config, err := accounts.Load(filepath.Join(w.dir, name))
	if err != nil {
		w.Fatalf("%v", err)
	}
	return config
}

// TestGenerateDemo: from an empty directory, generate, check, plan, report and delete work without a touch of the file, everything that
// the organization holds has a rule, and nothing is deleted.
func TestGenerateDemo(t *testing.T) {
	t.Parallel()
	w := demoWorld(t)
	demo := orgsim.Demo()
	o := w.must(2, "generate", "--external-id", "northquay-demurrage")
	config := w.load("accounts.toml")
	text, err := os.ReadFile(filepath.Join(w.dir, "accounts.toml"))
	if err != nil {
		t.Fatal(err)
	}

	var got, want []string
	for _, a := range config.Accounts {
		if a.Enforce || a.Name == "" {
			t.Errorf("account %s: name %q, enforce %t", a.ID, a.Name, a.Enforce)
		}
		got = append(got, a.ID)
	}
	for _, a := range demo.Accounts {
		if a.Closed {
			if !strings.Contains(string(text), `#   "`+a.ID+`",    # `+a.Name+": CLOSED\n") {
				t.Errorf("nothing is said of the closed account %s", a.ID)
			}
			continue
		}
		want = append(want, a.ID)
		if refused := strings.Contains(o.stderr, "not seen: "+a.ID+" ("+a.Name+"): could not be entered: assume role "); refused != a.Refuses {
			t.Errorf("account %s refuses %t, and that is said %t:\n%s", a.ID, a.Refuses, refused, o.stderr)
		}
	}
	if !slices.Contains(want, "999999999999") {
		want = append(want, "999999999999")
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(config.Rules().Attestations) != 0 || !config.Organization.Discover {
		t.Errorf("%d attestations, discover = %t", len(config.Rules().Attestations), config.Organization.Discover)
	}
	regions := map[string]bool{}
	for _, r := range demo.Repositories {
		if w.refuses(r.Account) {
			continue
		}
		regions[r.Region] = true
		if !slices.ContainsFunc(config.Rules().Repositories, func(rule planner.RepositoryRule) bool { return rule.Name.Match(r.Name) }) {
			t.Errorf("no rule is for %s", r.Name)
		}
	}
	for region := range regions {
		if !strings.Contains(string(text), region) {
			t.Errorf("region %s is missing", region)
		}
	}

	checked := w.must(2, "check", "--format", "json")
	for _, a := range demo.Accounts {
		if said := strings.Contains(checked.stdout, `"account": "`+a.ID+`"`); !said {
			t.Errorf("check says nothing of %s", a.ID)
		}
	}
	plan := w.plan(2, "--out", "plan.json")
	if n := plan.Summary.Delete.Images; n == 0 {
		t.Error("the plan deletes nothing")
	}
	w.must(2, "report", "--run", plan.RunID, "--out", "report.xlsx")
	if info, err := os.Stat(filepath.Join(w.dir, "report.xlsx")); err != nil || info.Size() == 0 {
		t.Errorf("no workbook: %v", err)
	}
	before := w.Calls()
	w.must(4, "delete", "--plan", "plan.json")
	if n := operations(w.called(before))["ecr:"+"BatchDelete"+"Image"]; n != 0 {
		t.Errorf("%d deletions", n)
	}
}

func (w *world) refuses(id string) bool {
	return slices.ContainsFunc(orgsim.Demo().Accounts, func(a orgsim.DemoAccount) bool { return a.ID == id && a.Refuses })
}

// TestGenerateKeepsVersions: what is generated keeps every published version of a function, as no configuration of functions
// does: whoever knows its number may invoke it, and nothing in AWS lists who does.
func TestGenerateKeepsVersions(t *testing.T) {
	t.Parallel()
	w := newManaged(t)
	w.share(virginia, "fn/worker")
	var digests []string
	for i := range 12 {
		tag := fmt.Sprint("v", i)
		digests = append(digests, w.push(accountA, virginia, "fn/worker", "code "+tag, tag))
		if ref := host(virginia) + "/fn/worker:" + tag; i == 0 {
			w.function("worker", ref, true)
		} else {
			w.update(accountB, virginia, "worker", ref)
		}
	}
	w.must(0, "generate", "--external-id", externalID)
	if text, err := os.ReadFile(filepath.Join(w.dir, "accounts.toml")); err != nil || !strings.Contains(string(text), "[[lambda_functions]]\nname = \"worker\"") {
		t.Errorf("%v\n%s", err, text)
	}
	plan := w.plan(0, "--all")
	for i, digest := range digests {
		if img := plan.image("fn/worker", digest); img.Action != "keep" || !slices.ContainsFunc(img.Reasons, func(r planReason) bool { return r.Code == "in-use" }) {
			t.Errorf("version %d: %+v", i+1, img)
		}
	}
}

// newManaged is a world entered from its management account, whose accounts A and B hold something in two regions.
func newManaged(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, virginia)
	w.hub = "999999999999"
	w.trust(accountA, w.hub, externalID)
	w.trust(accountB, w.hub, externalID)
	w.role(accountHub, w.hub)
	for _, name := range []string{"prod/web", "prod/api", "solo"} {
		w.repository(accountA, virginia, name)
	}
	w.repository(accountB, ireland, "prod/web")
	w.push(accountA, virginia, "prod/web", "one", "v1")
	for range 3 {
		w.register(virginia, "web-front", host(virginia)+"/prod/web:v1")
	}
	w.share(virginia, "of-functions")
	w.push(accountA, virginia, "of-functions", "two", "v1")
	w.function("resize", host(virginia)+"/of-functions:v1", false)
	if err := os.Remove(filepath.Join(w.dir, "accounts.toml")); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestGenerateCalls: one page of each list in each region, the regions and a session once an account, and the roles
// need be allowed nothing else.
func TestGenerateCalls(t *testing.T) {
	t.Parallel()
	w := newManaged(t)
	w.allow(append(draft.Actions(), "account:ListRegions"))
	before := w.Calls()
	o := w.must(0, "generate", "--external-id", externalID)
	want := map[string]int{"sts:GetCallerIdentity": 1, "organizations:ListAccounts": 1, "sts:AssumeRole": 3, "account:ListRegions": 4,
		"ecr:DescribeRepositories": 8, "ecs:ListTaskDefinitions": 8, "lambda:ListFunctions": 8}
	if diff := cmp.Diff(want, operations(w.called(before))); diff != "" {
		t.Error(diff)
	}
	if want := "found: 4 accounts, 5 repositories, 1 task definition family, 1 function in 2 regions\n"; !strings.Contains(o.stderr, want) {
		t.Errorf("%q is not in\n%s", want, o.stderr)
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "accounts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`made from organization o-demurrage01.`, `regions = ["eu-west-1", "us-east-1"]`,
		"name = \"alpha\"\n# us-east-1: 4 repositories\n", "name_pattern = \"prod/*\"    # 2 names\n", "name = \"solo\"\n", "name = \"resize\"\n", "name = \"web-front\"\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	again := w.must(0, "generate", "--external-id", externalID, "--out", "-")
	if diff := cmp.Diff(string(text), again.stdout); diff != "" {
		t.Errorf("another file from the same organization:\n%s", diff)
	}
	w.allow(permissions())
	w.must(0, "plan")
}

// TestGenerateSession: no session that generate makes may do more than list.
func TestGenerateSession(t *testing.T) {
	t.Parallel()
	w := newManaged(t) // its roles may do everything
	var keys [][2]string
	w.tamper(func(op string, r *http.Request, _ []byte) *tamper {
		if op == "DescribeRepositories" {
			if key, token := credentialOf(r); token != "" {
				keys = append(keys, [2]string{key, token})
			}
		}
		return nil
	})
	w.must(0, "generate", "--external-id", externalID)
	w.tamper(nil)
	if len(keys) == 0 {
		t.Fatal("no session was seen")
	}
	for _, key := range keys {
		_, err := lambda.NewFromConfig(w.with(key[0], key[1], virginia)).ListFunctions(t.Context(), &lambda.ListFunctionsInput{FunctionVersion: lambdatypes.FunctionVersionAll})
		if err != nil {
			t.Error(err)
		}
		name := "resize"
		if _, err := lambda.NewFromConfig(w.with(key[0], key[1], virginia)).GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}); err == nil || !strings.Contains(err.Error(), "AccessDenied") {
			t.Errorf("a session for lists may get a function: %v", err)
		}
	}
}

// TestGeneratePartial: what one account or service refuses is said with its reason, and the rest is there.
func TestGeneratePartial(t *testing.T) {
	t.Parallel()
	w := newManaged(t)
	w.trust(accountHub, w.hub, "another")
	w.SetFaults([]orgsim.Fault{
		{Account: accountA, Service: "ecr", Operation: "DescribeRepositories", Code: "AccessDeniedException"},
		{Account: accountB, Region: ireland, Service: "lambda", Operation: "ListFunctions", Code: "AccessDeniedException"},
		{Account: accountB, Service: "account", Operation: "ListRegions", Code: "AccessDeniedException"},
	})
	o := w.must(2, "generate", "--external-id", externalID)
	config := w.load("accounts.toml")
	if len(config.Accounts) != 4 {
		t.Errorf("%d accounts", len(config.Accounts))
	}
	text, err := os.ReadFile(filepath.Join(w.dir, "accounts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`(?s)id = "111111111111"\n.*?# NOT SEEN: repositories in eu-west-1, us-east-1 could not be read: AccessDeniedException`,
		`(?s)id = "222222222222"\n.*?# NOT SEEN: functions in eu-west-1 could not be read: AccessDeniedException`,
		`(?s)id = "333333333333"\n.*?# NOT SEEN: could not be entered: assume role arn:aws:iam::333333333333:role/DemurrageRead: AccessDenied`,
		`other regions may have some, in: 111111111111, 333333333333\n`,
		`name = "prod/web"\n`,
	} {
		if !regexp.MustCompile(want).Match(text) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if n := strings.Count(o.stderr, "not seen: "); n != 3 {
		t.Errorf("%d lines say what was not seen:\n%s", n, o.stderr)
	}

	// Its regions cannot be listed at all: those that were asked for are looked in.
	w.SetFaults([]orgsim.Fault{
		{Service: "account", Operation: "ListRegions", Code: "AccessDeniedException"}, {Service: "ec2", Operation: "DescribeRegions", Code: "UnauthorizedOperation"},
	})
	o = w.must(2, "generate", "--external-id", externalID, "--account", accountA, "--region", virginia, "--out", "a.toml")
	if !strings.Contains(o.stderr, "regions could not be read: ") || !strings.Contains(o.stderr, "4 repositories") {
		t.Error(o.stderr)
	}
	// Nothing at all can be seen: nothing is written.
	w.SetFaults([]orgsim.Fault{{Service: "ecr", Code: "AccessDeniedException"}, {Service: "ecs", Code: "AccessDeniedException"}, {Service: "lambda", Code: "AccessDeniedException"}})
	o = w.must(1, "generate", "--external-id", externalID, "--out", "b.toml")
	if _, err := os.Stat(filepath.Join(w.dir, "b.toml")); err == nil || !strings.Contains(o.stderr, "nothing could be read") {
		t.Errorf("%v\n%s", err, o.stderr)
	}
}

// TestGenerateWorldPlans: the file of accounts that were named plans as one that a person wrote.
func TestGenerateWorldPlans(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	p := seedPair(w)
	w.must(0, "generate", "--external-id", externalID, "--account", accountB, "--account", accountA, "--account", accountA, "--force")
	config := w.load("accounts.toml")
	if len(config.Accounts) != 2 || config.Organization.Discover {
		t.Errorf("%d accounts, discover = %t", len(config.Accounts), config.Organization.Discover)
	}
	for _, i := range w.plan(0, "--all").Images {
		if i.Digest == p.used && i.Action != "keep" {
			t.Errorf("the image in use: %s", i.Action)
		}
	}
}
