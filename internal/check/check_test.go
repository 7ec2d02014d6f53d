package check

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/orgsim"
	"demurrage/internal/scan"
)

const (
	hub    = orgsim.ManagementAccount
	member = "111111111111"
	role   = "arn:aws:iam::111111111111:role/DemurrageRead"
)

// allActions are what a check has to ask for.
func allActions() []string {
	return slices.Sorted(slices.Values(append(scan.Actions(), "account:ListRegions", "ec2:DescribeRegions")))
}

func TestProbes(t *testing.T) {
	got := slices.Sorted(maps.Keys(probes))
	if want := allActions(); !slices.Equal(got, want) {
		t.Errorf("probes of %v\nwant %v", got, want)
	}
}

// world is a simulated organization of the hub and a member in two regions, and a role there.
type world struct {
	*orgsim.Server
	t   *testing.T
	url string
}

func newWorld(t *testing.T, actions ...string) *world {
	w := &world{Server: orgsim.New(), t: t}
	w.LimitRegions("us-east-1", "eu-west-1")
	w.AddAccount(member, "member")
	server := httptest.NewServer(w.Server)
	t.Cleanup(server.Close)
	w.url = server.URL
	api := iam.NewFromConfig(w.as(member))
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + hub + `"},"Action":"sts:AssumeRole"}]}`
	if _, err := api.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("DemurrageRead"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	w.allow(actions)
	return w
}

// allow makes the role's policy anew.
func (w *world) allow(actions []string) {
	w.t.Helper()
	text, _ := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{"Effect": "Allow", "Action": actions, "Resource": "*"}})
	_, err := iam.NewFromConfig(w.as(member)).PutRolePolicy(w.t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("DemurrageRead"), PolicyName: aws.String("read"), PolicyDocument: aws.String(string(text))})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) as(key string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &w.url, HTTPClient: assume.SteadyClient{HTTPClient: awshttp.NewBuildableClient()},
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""), Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func (w *world) options() Options {
	creds := aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(w.as(hub)), role))
	return Options{
		Accounts: []accounts.Account{{ID: member, Role: role, Regions: []string{"us-east-1"}}}, Concurrency: 4,
		Identity: "arn:aws:sts::" + hub + ":assumed-role/Hub/demurrage", Hub: w.as(hub), Organization: "o-demurrage01",
		Config: func(ctx context.Context, _ accounts.Account, region string) (aws.Config, error) {
			cfg := w.as("")
			cfg.Region, cfg.Credentials = region, creds
			_, err := creds.Retrieve(ctx)
			return cfg, err
		},
		Principal: func(accounts.Account) string { return role },
	}
}

func (w *world) check(o Options) []Check {
	w.t.Helper()
	checks, refused, err := Run(w.t.Context(), o)
	if err != nil || refused {
		w.t.Fatalf("refused %t, %v", refused, err)
	}
	return checks
}

// bad are the checks that are neither fine nor the pull-time exclusion that these roles do not have.
func bad(checks []Check) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.Status == OK || c.What == "pull-time exclusion" })
}

func TestWhole(t *testing.T) {
	w := newWorld(t, allActions()...)
	checks := w.check(w.options())
	if left := bad(checks); len(left) > 0 {
		t.Errorf("%+v", left)
	}
	var asked []string
	for _, c := range checks {
		asked = append(asked, c.What)
	}
	for _, action := range allActions() {
		if !slices.Contains(asked, action) {
			t.Errorf("%s was not checked", action)
		}
	}
	// One call an action and region, and a few to go by.
	calls, reads := 0, true
	for _, c := range w.Calls() {
		if c.Account == member && c.Service != "iam" {
			calls += c.Calls
		}
		reads = reads && (c.Service == "iam" || c.Operation == "AssumeRole" ||
			slices.ContainsFunc([]string{"List", "Describe", "Get", "BatchGet", "BatchDescribe"}, func(word string) bool { return strings.HasPrefix(c.Operation, word) }))
	}
	if most := 2*len(scan.Actions()) + 12; calls > most {
		t.Errorf("%d calls, at most %d expected", calls, most)
	}
	if !reads {
		t.Errorf("something else than reads was called: %+v", w.Calls())
	}
}

// A role that lacks any one action is told just that.
func TestEachAction(t *testing.T) {
	t.Parallel()
	all := allActions()
	var wg sync.WaitGroup
	slots := make(chan bool, 16) // they wait for rates more than they work
	for _, action := range all {
		w := newWorld(t, slices.DeleteFunc(slices.Clone(all), func(a string) bool { return a == action })...)
		w.LimitRegions("us-east-1")
		wg.Go(func() {
			slots <- true
			defer func() { <-slots }()
			checks, _, err := Run(t.Context(), w.options())
			left := bad(checks)
			if err != nil || len(left) != 1 {
				t.Errorf("%s: %v, %+v", action, err, left)
				return
			}
			want := Failed
			if lenient[action] != "" || action == "account:ListRegions" || action == "ec2:DescribeRegions" {
				want = Warning
			}
			if c := left[0]; c.What != action || c.Status != want || !strings.HasSuffix(c.Fix, role+`: {"Effect":"Allow","Action":["`+action+`"],"Resource":"*"}`) {
				t.Errorf("%s: %+v", action, c)
			}
		})
	}
	wg.Wait()
}

// What is no permission but fails a scan is never ok: what lists everything is not answered with "there is no such thing",
// and credentials that a region does not know say nothing of what does not exist.
func TestScanFails(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"UnrecognizedClientException", "UnsupportedRegionException", "ValidationException", "UnknownOperationException", "ResourceNotFoundException"} {
		w := newWorld(t, allActions()...)
		w.LimitRegions("us-east-1")
		var faults []map[string]any
		for _, s := range services() {
			faults = append(faults, map[string]any{"service": s, "code": code, "status": 400})
		}
		text, _ := json.Marshal(faults)
		answer, err := http.Post(w.url+"/_sim/faults", "application/json", strings.NewReader(string(text)))
		if err != nil || answer.StatusCode != http.StatusNoContent {
			t.Fatal(answer, err)
		}
		answer.Body.Close()
		failed := map[string]Status{}
		for _, c := range w.check(w.options()) {
			failed[c.What] = c.Status
		}
		lists := []string{"ecr:DescribeRepositories", "ecr:GetRegistryPolicy", "ecr:DescribePullThroughCacheRules", "ecs:ListClusters", "ecs:ListTaskDefinitions",
			"lambda:ListFunctions", "lambda:ListEventSourceMappings", "eks:ListClusters", "batch:DescribeJobDefinitions", "batch:DescribeJobQueues", "events:ListEventBuses",
			"scheduler:ListSchedules", "states:ListStateMachines", "codebuild:ListProjects", "sagemaker:ListModels", "sagemaker:ListPipelines", "apprunner:ListServices",
			"bedrock-agentcore:ListAgentRuntimes", "emr-serverless:ListApplications", "gamelift:ListContainerGroupDefinitions", "gamelift:ListContainerFleets",
			"imagebuilder:ListContainerRecipes", "inspector2:BatchGetAccountStatus", "iam:ListRoles"}
		if code == "UnrecognizedClientException" {
			lists = scan.Actions()
		}
		for _, what := range lists {
			if got := failed[what]; got != Failed && lenient[what] == "" {
				t.Errorf("%s: %s is %q", code, what, got)
			}
		}
		if code == "UnknownOperationException" && failed["ecs:ListDaemonTaskDefinitions"] != OK {
			t.Error("a region without daemons has none, as a scan takes it")
		}
	}
}

// services are those of all actions.
func services() []string {
	names := map[string]bool{}
	for _, action := range scan.Actions() {
		service, _, _ := strings.Cut(action, ":")
		names[service] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// All that a role lacks is one statement, and one row of the table.
func TestStatement(t *testing.T) {
	w := newWorld(t, "account:ListRegions", "ec2:DescribeRegions", "sagemaker:*")
	checks := w.check(w.options())
	fixes := map[string]bool{}
	for _, c := range bad(checks) {
		fixes[c.Fix] = true
	}
	if len(fixes) != 1 {
		t.Fatalf("%d statements", len(fixes))
	}
	_, text, _ := strings.Cut(slices.Collect(maps.Keys(fixes))[0], ": ")
	var s struct {
		Effect, Resource string
		Action           []string
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil || s.Effect != "Allow" || s.Resource != "*" {
		t.Fatalf("%s: %v", text, err)
	}
	w.allow(append(s.Action, "account:ListRegions", "ec2:DescribeRegions", "sagemaker:*"))
	if left := bad(w.check(w.options())); len(left) > 0 {
		t.Errorf("with the statement: %+v", left)
	}
	var b strings.Builder
	if err := Table(&b, checks, 100); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "not permitted"); n > 4 {
		t.Errorf("%d rows:\n%s", n, b.String())
	}
	t.Log("\n" + b.String())
}

func TestOrganizationPolicies(t *testing.T) {
	w := newWorld(t, allActions()...)
	o := w.options()
	text := "User: x is not authorized to perform: ecs:ListTasks on resource: * with an explicit deny in a service control policy"
	o.Config = refusing(o.Config, "ListTasks", text)
	for _, c := range bad(w.check(o)) {
		if c.What != "ecs:ListTasks" || c.Status != Failed || !strings.Contains(c.Fix, "policy of the organization") ||
			!strings.Contains(c.Fix, `[[attestations]] entry: accounts = ["111111111111"], regions = ["`+c.Region+`"], sources = ["ecs"]`) {
			t.Errorf("%+v", c)
		}
	}
	o.Attested = func(account, region, source string) bool {
		return account == member && region != "*" && source == "ecs"
	}
	for _, c := range bad(w.check(o)) {
		if c.Status != Attested {
			t.Errorf("%+v", c)
		}
	}
}

// refusing answers an operation with AccessDenied.
func refusing(config func(context.Context, accounts.Account, string) (aws.Config, error), operation, text string) func(context.Context, accounts.Account, string) (aws.Config, error) {
	return func(ctx context.Context, a accounts.Account, region string) (aws.Config, error) {
		cfg, err := config(ctx, a, region)
		cfg.HTTPClient = refuser{cfg.HTTPClient, operation, text}
		return cfg, err
	}
}

type refuser struct {
	aws.HTTPClient
	operation, text string
}

func (r refuser) Do(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.Header.Get("X-Amz-Target"), "."+r.operation) {
		return r.HTTPClient.Do(req)
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Type", "application/x-amz-json-1.1")
	rec.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(rec, `{"__type": "AccessDeniedException", "message": %q}`, r.text)
	return rec.Result(), nil
}

func TestRoles(t *testing.T) {
	w := newWorld(t, allActions()...)
	o := w.options()
	denied := func(arn string) error {
		_, err := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(w.as(hub)), arn).Retrieve(t.Context())
		return err
	}
	o.Config = func(context.Context, accounts.Account, string) (aws.Config, error) {
		return aws.Config{}, denied("arn:aws:iam::111111111111:role/Missing")
	}
	o.Sweep = func(context.Context, accounts.Account) error {
		return denied("arn:aws:iam::111111111111:role/DemurrageSweep")
	}
	o.Accounts[0].Enforce, o.Accounts[0].SweepRole, o.Accounts[0].ExternalID = true, "arn:{partition}:iam::111111111111:role/DemurrageSweep", "s3cret"
	checks, refused, err := Run(t.Context(), o)
	if err != nil || !refused || len(checks) != 2 {
		t.Fatalf("refused %t, %v: %+v", refused, err, checks)
	}
	for i, want := range []string{"read", "sweep"} {
		for _, text := range []string{
			"--role " + want, `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + hub + `:role/Hub"},"Action":["sts:AssumeRole"],` +
				`"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-demurrage01","sts:ExternalId":"s3cret"}}}`,
		} {
			if !strings.Contains(checks[i].Fix, text) {
				t.Errorf("%s: %s lacks %s", want, checks[i].Fix, text)
			}
		}
	}
	o.Attested = func(account, region, source string) bool { return true }
	if checks, _, _ := Run(t.Context(), o); checks[0].Status != Attested {
		t.Errorf("%+v", checks[0])
	}
}

// Regions that are off, and the exclusion that spares pull times.
func TestRegions(t *testing.T) {
	w := newWorld(t, allActions()...)
	_, err := ecr.NewFromConfig(w.as(member)).RegisterPullTimeUpdateExclusion(t.Context(), &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: aws.String(role)})
	if err != nil {
		t.Fatal(err)
	}
	o := w.options()
	o.Accounts[0].Regions = []string{"us-east-1", "eu-west-1", "me-south-1"}
	got := map[string]Status{}
	for _, c := range w.check(o) {
		if c.What == "region" || c.What == "pull-time exclusion" {
			got[c.What+" "+c.Region] = c.Status
		}
	}
	want := map[string]Status{"region us-east-1": OK, "region eu-west-1": OK, "region me-south-1": Warning, "pull-time exclusion us-east-1": OK, "pull-time exclusion eu-west-1": Warning}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestManyAlike: what is the same thing to do in many registries is one thing to do; in a few, each can be copied.
func TestManyAlike(t *testing.T) {
	for n, want := range map[int]string{3: "\n  3  each 2\n", 4: "\n  1  all\n\n"} {
		var checks []Check
		for i := range n {
			checks = append(checks, Check{Account: fmt.Sprintf("%012d", i), Region: "us-east-1", What: "x", Status: Warning, Fix: fmt.Sprint("each ", i), common: "all"})
		}
		var b strings.Builder
		if err := Table(&b, checks, 80); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("%v\n%s", err, b.String())
		}
	}
}

// Text of AWS neither makes lines nor controls the terminal.
func TestHostile(t *testing.T) {
	var b strings.Builder
	err := Table(&b, []Check{{Account: member, Region: "us-east-1", What: "EKS cluster x\nok", Status: Failed, Error: "a\x1b[31m\r\nFORGED", Fix: "run\nrm -rf /\u202e"}}, 80)
	if err != nil || strings.ContainsAny(b.String(), "\x1b\r\u202e") || strings.Contains(b.String(), "\nrm") {
		t.Errorf("%q %v", b.String(), err)
	}
}
