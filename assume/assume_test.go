package assume

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"demurrage/accounts"
	"demurrage/internal/orgsim"
)

const (
	hub    = orgsim.ManagementAccount
	member = "111111111111"
	other  = "222222222222"
)

// world is a simulated organization that the environment leads to.
type world struct {
	*orgsim.Server
	t   *testing.T
	url string
}

func newWorld(t *testing.T) *world {
	w := &world{Server: orgsim.New(), t: t}
	w.AddAccount(member, "member")
	w.AddAccount(other, "other")
	server := httptest.NewServer(w.Server)
	t.Cleanup(server.Close)
	w.url = server.URL
	environment(t, w.url)
	return w
}

// environment is all that New reads. The access key makes the caller an administrator of the management account.
func environment(t *testing.T, url string) {
	for key, value := range map[string]string{
		"AWS_ENDPOINT_URL": url, "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "AKIAHUB", "AWS_SECRET_ACCESS_KEY": "secret",
		"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(key, value)
	}
}

func (w *world) as(key string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
		HTTPClient: SteadyClient{newHTTPClient()}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
}

const (
	trustHub  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + hub + `"},"Action":"sts:AssumeRole"}]}`
	trustWith = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + hub + `"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"sts:ExternalId":"right"}}}]}`
	admin     = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
)

// role makes an administrator role in an account that trusts the hub, with sessions of up to 12 hours.
func (w *world) role(account, path, name, trust string) string {
	w.t.Helper()
	api := iam.NewFromConfig(w.as(account))
	out, err := api.CreateRole(w.t.Context(), &iam.CreateRoleInput{
		RoleName: &name, Path: &path, AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(43200),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = api.PutRolePolicy(w.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("admin"), PolicyDocument: aws.String(admin)})
	if err != nil {
		w.t.Fatal(err)
	}
	return *out.Role.Arn
}

// calls counts the calls of an operation, and those that failed.
func (w *world) calls(operation string) (all, failed int) {
	for _, c := range w.Calls() {
		if c.Operation == operation {
			all, failed = all+c.Calls, failed+c.Errors
		}
	}
	return all, failed
}

func provider(t *testing.T, opts Options) *Provider {
	t.Helper()
	p, err := New(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// caller asks STS whose a configuration is.
func caller(t *testing.T, cfg aws.Config) (string, error) {
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return *out.Arn, nil
}

var tenRegions = []string{
	"us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1", "eu-west-2", "eu-west-3", "eu-north-1", "sa-east-1", "ap-northeast-1",
}

// everywhere calls ECR in ten regions at once, twice in each, and returns the errors.
func everywhere(t *testing.T, p *Provider, a accounts.Account) []error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for _, region := range append(tenRegions, tenRegions...) {
		wg.Go(func() {
			_, err := ecr.NewFromConfig(p.Config(a, region)).DescribeRepositories(t.Context(), &ecr.DescribeRepositoriesInput{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errs
}

func TestOneSessionPerAccount(t *testing.T) {
	w := newWorld(t)
	w.SetFaults([]orgsim.Fault{{Operation: "AssumeRole", LatencyMS: 50}})
	p := provider(t, Options{})
	for _, id := range []string{member, other} {
		if errs := everywhere(t, p, accounts.Account{ID: id, Role: w.role(id, "/", "Read", trustHub)}); errs != nil {
			t.Fatal(errs)
		}
	}
	if all, failed := w.calls("AssumeRole"); all != 2 || failed != 0 {
		t.Errorf("%d AssumeRole calls, %d failed; want one for each of two accounts", all, failed)
	}
	if all, _ := w.calls("GetCallerIdentity"); all != 1 {
		t.Errorf("%d GetCallerIdentity calls, want 1", all)
	}
}

func TestRefusalIsRemembered(t *testing.T) {
	w := newWorld(t)
	w.SetFaults([]orgsim.Fault{{Operation: "AssumeRole", LatencyMS: 20}})
	p := provider(t, Options{})
	a := accounts.Account{ID: member, Role: "arn:aws:iam::111111111111:role/Missing"}
	errs := everywhere(t, p, a)
	errs = append(errs, everywhere(t, p, a)...)
	if len(errs) != 40 {
		t.Fatalf("%d errors, want 40", len(errs))
	}
	check := p.Check(t.Context(), a)
	for _, err := range errs {
		var e *Error
		var api smithy.APIError
		if !errors.As(err, &e) || !errors.Is(err, check) || !errors.As(err, &api) || api.ErrorCode() != "AccessDenied" {
			t.Fatalf("err = %v", err)
		}
	}
	if all, failed := w.calls("AssumeRole"); all != 1 || failed != 1 {
		t.Errorf("%d AssumeRole calls, %d failed; want one", all, failed)
	}
	want := `account 111111111111: assume role arn:aws:iam::111111111111:role/Missing: AccessDenied: "User: arn:aws:iam::999999999999:user/admin is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::111111111111:role/Missing" (the role does not exist there, its trust policy does not admit arn:aws:iam::999999999999:user/admin or asks for an external id, or that identity lacks sts:AssumeRole)`
	if check.Error() != want {
		t.Errorf("error = %s\n want = %s", check, want)
	}
}

// Throttling is waited out by the SDK, and an outage is not held against the account.
func TestPassingErrors(t *testing.T) {
	w := newWorld(t)
	p := provider(t, Options{})
	a := accounts.Account{ID: member, Role: w.role(member, "/", "Read", trustHub)}
	w.SetFaults([]orgsim.Fault{{Operation: "AssumeRole", Code: "Throttling", Times: 1}})
	if err := p.Check(t.Context(), a); err != nil {
		t.Errorf("throttled once: %v", err)
	}
	b := accounts.Account{ID: other, Role: w.role(other, "/", "Read", trustHub)}
	w.SetFaults([]orgsim.Fault{{Operation: "AssumeRole", Code: "ExpiredToken", Times: 1, Status: 403}})
	if err := p.Check(t.Context(), b); err == nil || !strings.Contains(err.Error(), "hub's own credentials have expired") {
		t.Errorf("expired: %v", err)
	}
	if err := p.Check(t.Context(), b); err != nil {
		t.Errorf("after that: %v", err)
	}
}

// A call that waits for a session does not repeat what STS's client gave up.
func TestErrorIsNotRetried(t *testing.T) {
	err := fmt.Errorf("get credentials: %w", &Error{Err: &smithy.GenericAPIError{Code: "Throttling"}})
	if newRetryer().IsErrorRetryable(err) {
		t.Error("retryable")
	}
	if newRetryer() == newRetryer() {
		t.Error("clients share a retryer")
	}
}

func TestSessionPolicy(t *testing.T) {
	w := newWorld(t)
	reads, err := AllowActions([]string{"ecr:Describe*", "ecr:List*", "ecr:BatchGetImage"})
	if err != nil {
		t.Fatal(err)
	}
	hubRole := w.role(hub, "/", "Hub", trustHub)
	tests := map[string]struct {
		account accounts.Account
		opts    Options
	}{
		"member":                   {accounts.Account{ID: member, Role: w.role(member, "/", "Read", trustHub)}, Options{Policy: reads}},
		"central, by a hub role":   {accounts.Account{ID: hub, Role: "arn:aws:iam::999999999999:role/None"}, Options{Policy: reads, HubRole: hubRole}},
		"central, by its own role": {accounts.Account{ID: hub, Role: hubRole, RoleOwn: true}, Options{Policy: reads}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			repo := "repo-" + tt.account.ID
			own := ecr.NewFromConfig(w.as(tt.account.ID))
			_, _ = own.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &repo})
			api := ecr.NewFromConfig(provider(t, tt.opts).Config(tt.account, "us-east-1"))
			if _, err := api.DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: &repo}); err != nil {
				t.Errorf("a read is refused: %v", err)
			}
			_, err := api.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &repo, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("x")}}})
			wantDenied(t, err)
			_, err = api.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &repo, Force: true})
			wantDenied(t, err)
		})
	}
}

func wantDenied(t *testing.T, err error) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || !strings.HasPrefix(api.ErrorCode(), "AccessDenied") {
		t.Errorf("err = %v, want AccessDenied", err)
	}
}

func TestAllowActions(t *testing.T) {
	a, err := AllowActions([]string{"ecs:List*", "ecr:Describe*", "ecs:List*"})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:Describe*","ecs:List*"],"Resource":"*"}]}`; a != want {
		t.Errorf("policy = %s", a)
	}
	if _, err := AllowActions(nil); err == nil {
		t.Error("no action is no error")
	}
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("service:Action%03d", i))
	}
	if _, err := AllowActions(many); err == nil || !strings.Contains(err.Error(), "2048") {
		t.Errorf("err = %v", err)
	}
	for _, policy := range []string{strings.Repeat(" ", 2047) + "{}", "{"} {
		if _, err := New(t.Context(), Options{Policy: policy}); err == nil {
			t.Errorf("New takes the policy %.10q", policy)
		}
	}
}

// A chained session of more than an hour would be refused.
func TestDuration(t *testing.T) {
	w := newWorld(t)
	hubRole := w.role(hub, "/ops/", "Hub", trustHub)
	a := accounts.Account{ID: member, Role: w.role(member, "/", "Read", trustHub)}
	for name, tt := range map[string]struct {
		opts Options
		want time.Duration
	}{
		"default":                {Options{}, time.Hour},
		"long":                   {Options{Duration: 4 * time.Hour}, 4 * time.Hour},
		"short":                  {Options{Duration: 15 * time.Minute}, 15 * time.Minute},
		"chained by the hub":     {Options{Duration: 4 * time.Hour, HubRole: "ops/Hub"}, time.Hour},
		"chained by ARN":         {Options{Duration: 4 * time.Hour, HubRole: hubRole}, time.Hour},
		"chained and short":      {Options{Duration: 30 * time.Minute, HubRole: hubRole}, 30 * time.Minute},
		"chained by environment": {Options{Duration: 4 * time.Hour, Load: roleSession(t, w, hubRole)}, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			p := provider(t, tt.opts)
			creds, err := p.Config(a, "us-east-1").Credentials.Retrieve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			// The cache takes up to five minutes off.
			if left := time.Until(creds.Expires); left > tt.want || left < tt.want-6*time.Minute {
				t.Errorf("the session lasts %v, want %v", left, tt.want)
			}
			if got, want := p.Identity().Chained, strings.Contains(name, "chained"); got != want {
				t.Errorf("Chained = %v, want %v", got, want)
			}
		})
	}
}

// roleSession has the ambient credentials be those of a role.
func roleSession(t *testing.T, w *world, role string) []func(*config.LoadOptions) error {
	out, err := sts.NewFromConfig(w.as("AKIAHUB")).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("ambient")})
	if err != nil {
		t.Fatal(err)
	}
	c := out.Credentials
	return []func(*config.LoadOptions) error{config.WithCredentialsProvider(
		credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken))}
}

func TestHubRole(t *testing.T) {
	w := newWorld(t)
	w.role(hub, "/", "Hub", trustWith)
	p := provider(t, Options{HubRole: "Hub", ExternalID: "right", SessionName: "nightly"})
	want := Identity{Account: hub, ARN: "arn:aws:sts::999999999999:assumed-role/Hub/nightly", Partition: "aws", Chained: true}
	if p.Identity() != want {
		t.Errorf("Identity = %+v", p.Identity())
	}
	if got, err := caller(t, p.Hub()); err != nil || got != want.ARN {
		t.Errorf("Hub is %s, %v", got, err)
	}
	// Elsewhere too, where its own account is the central one.
	role := w.role(other, "/", "Hub", trustHub)
	p = provider(t, Options{HubRole: role})
	if got, err := caller(t, p.Config(accounts.Account{ID: other}, "eu-west-1")); err != nil || got != "arn:aws:sts::222222222222:assumed-role/Hub/demurrage" {
		t.Errorf("central account is entered as %s, %v", got, err)
	}
	for _, role := range []string{"None", "not a role"} {
		if _, err := New(t.Context(), Options{HubRole: role}); err == nil || !strings.HasPrefix(err.Error(), "hub role: ") {
			t.Errorf("hub role %q: %v", role, err)
		}
	}
}

func TestExternalID(t *testing.T) {
	w := newWorld(t)
	role := w.role(member, "/team/", "Read", trustWith)
	p := provider(t, Options{})
	if err := p.Check(t.Context(), accounts.Account{ID: member, Role: role, ExternalID: "right"}); err != nil {
		t.Error(err)
	}
	err := p.Check(t.Context(), accounts.Account{ID: member, Role: role, ExternalID: "wrong"})
	wantDenied(t, err)
	if !strings.Contains(err.Error(), "another external id") || strings.Contains(err.Error(), "wrong") {
		t.Errorf("err = %v", err)
	}
	wantDenied(t, p.Check(t.Context(), accounts.Account{ID: member, Role: role}))
}

// A role of another account opens that one, but the credentials go nowhere.
func TestWrongAccount(t *testing.T) {
	w := newWorld(t)
	p := provider(t, Options{})
	a := accounts.Account{ID: member, Role: w.role(other, "/", "Read", trustHub)}
	for range 2 {
		creds, err := p.Config(a, "us-east-1").Credentials.Retrieve(t.Context())
		if !errors.Is(err, ErrWrongAccount) || creds.HasKeys() {
			t.Errorf("creds = %+v, err = %v", creds, err)
		}
	}
	if all, _ := w.calls("AssumeRole"); all != 1 {
		t.Errorf("%d AssumeRole calls, want 1", all)
	}
}

func TestCentralAccount(t *testing.T) {
	w := newWorld(t)
	own := w.role(hub, "/", "Own", trustHub)
	p := provider(t, Options{})
	for name, tt := range map[string]struct {
		account accounts.Account
		want    string
	}{
		"no role":          {accounts.Account{ID: hub}, "arn:aws:iam::999999999999:user/admin"},
		"the default role": {accounts.Account{ID: hub, Role: "arn:aws:iam::999999999999:role/None"}, "arn:aws:iam::999999999999:user/admin"},
		"its own role":     {accounts.Account{ID: hub, Role: own, RoleOwn: true}, "arn:aws:sts::999999999999:assumed-role/Own/demurrage"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := caller(t, p.Config(tt.account, "eu-west-1")); err != nil || got != tt.want {
				t.Errorf("caller = %s, %v, want %s", got, err, tt.want)
			}
		})
	}
	err := p.Check(t.Context(), accounts.Account{ID: member})
	if !errors.Is(err, ErrNoRole) || err.Error() != "account 111111111111: no role is configured (set role under [assume], or in its [[accounts]] entry)" {
		t.Errorf("err = %v", err)
	}
}

func TestSweepRole(t *testing.T) {
	w := newWorld(t)
	a := accounts.Account{ID: member, Role: "arn:aws:iam::111111111111:role/None", SweepRole: w.role(member, "/", "Sweep", trustHub)}
	p := provider(t, Options{Role: SweepRole})
	if got, err := caller(t, p.Config(a, "us-east-1")); err != nil || got != "arn:aws:sts::111111111111:assumed-role/Sweep/demurrage" {
		t.Errorf("caller = %s, %v", got, err)
	}
}

func TestPartitions(t *testing.T) {
	w := newWorld(t)
	t.Setenv("AWS_REGION", "cn-north-1")
	p := provider(t, Options{})
	if p.Identity().Partition != "aws-cn" {
		t.Fatalf("Identity = %+v", p.Identity())
	}
	w.role(member, "/", "Read", trustHub)
	for _, role := range []string{"arn:aws-cn:iam::111111111111:role/Read", "arn:{partition}:iam::111111111111:role/Read"} {
		got, err := caller(t, p.Config(accounts.Account{ID: member, Role: role}, "cn-northwest-1"))
		if err != nil || got != "arn:aws-cn:sts::111111111111:assumed-role/Read/demurrage" {
			t.Errorf("caller = %s, %v", got, err)
		}
	}
	err := p.Check(t.Context(), accounts.Account{ID: member, Role: "arn:aws:iam::111111111111:role/Read", Regions: []string{"us-east-1"}})
	if err == nil || !strings.Contains(err.Error(), `it is in partition "aws", the hub in "aws-cn"`) {
		t.Errorf("err = %v", err)
	}
	for _, c := range w.Calls() {
		if c.Operation == "AssumeRole" && c.Region != "cn-north-1" {
			t.Errorf("AssumeRole in %s", c.Region)
		}
	}
}

func TestSTSRegion(t *testing.T) {
	for _, tt := range []struct {
		ambient, partition string
		regions            []string
		want               string
	}{
		{"us-east-1", "aws", []string{"eu-west-1"}, "us-east-1"},
		{"us-east-1", "aws", nil, "us-east-1"},
		{"us-east-1", "aws-cn", []string{"cn-northwest-1", "cn-north-1"}, "cn-northwest-1"},
	} {
		if got := stsRegion(tt.ambient, tt.partition, accounts.Account{Regions: tt.regions}); got != tt.want {
			t.Errorf("stsRegion(%q, %q, %v) = %q, want %q", tt.ambient, tt.partition, tt.regions, got, tt.want)
		}
	}
}

func TestNewFails(t *testing.T) {
	w := newWorld(t)
	w.SetFaults([]orgsim.Fault{{Operation: "GetCallerIdentity", Code: "InvalidClientTokenId", Status: 403}})
	if _, err := New(t.Context(), Options{}); err == nil || !strings.HasPrefix(err.Error(), "find out whose the AWS credentials are: ") {
		t.Errorf("err = %v", err)
	}
}

// fakeSTS answers as the simulated one never does.
type fakeSTS struct {
	mu       sync.Mutex
	expires  time.Duration // of sessions, from now
	assumed  string        // ARN of the AssumedRoleUser; "" for none
	identity string        // account of whoever has a session
	requests []url.Values
	agents   []string
}

func (f *fakeSTS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	f.requests = append(f.requests, r.Form)
	f.agents = append(f.agents, r.UserAgent())
	if r.Form.Get("Action") == "AssumeRole" {
		user := ""
		if f.assumed != "" {
			user = "<AssumedRoleUser><Arn>" + f.assumed + "</Arn><AssumedRoleId>A:x</AssumedRoleId></AssumedRoleUser>"
		}
		fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult>%s<Credentials><AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
			user, time.Now().Add(f.expires).UTC().Format(time.RFC3339))
		return
	}
	account, arn := hub, "arn:aws:iam::"+hub+":user/admin"
	if r.Header.Get("X-Amz-Security-Token") != "" {
		account, arn = f.identity, "arn:aws:sts::"+f.identity+":assumed-role/Read/x"
	}
	fmt.Fprintf(w, `<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>%s</Arn><UserId>U</UserId><Account>%s</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`, arn, account)
}

func (f *fakeSTS) count(action string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, r := range f.requests {
		if r.Get("Action") == action {
			n++
		}
	}
	return n
}

func TestRefreshBeforeExpiry(t *testing.T) {
	for name, tt := range map[string]struct {
		expires time.Duration
		calls   int
	}{
		"fresh":           {time.Hour, 1},
		"about to expire": {2 * time.Minute, 3},
	} {
		t.Run(name, func(t *testing.T) {
			fake := &fakeSTS{expires: tt.expires, assumed: "arn:aws:sts::111111111111:assumed-role/Read/x"}
			server := httptest.NewServer(fake)
			defer server.Close()
			environment(t, server.URL)
			p := provider(t, Options{})
			for _, region := range []string{"us-east-1", "eu-west-1", "us-east-1"} {
				cfg := p.Config(accounts.Account{ID: member, Role: "arn:aws:iam::111111111111:role/Read"}, region)
				if _, err := cfg.Credentials.Retrieve(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if got := fake.count("AssumeRole"); got != tt.calls {
				t.Errorf("%d AssumeRole calls, want %d", got, tt.calls)
			}
		})
	}
}

// Where AssumeRole does not say in which account the session is, the session is asked.
func TestAccountOfSession(t *testing.T) {
	for name, tt := range map[string]struct {
		assumed, identity string
		ok                bool
	}{
		"told":            {"arn:aws:sts::111111111111:assumed-role/Read/x", "", true},
		"told, wrong":     {"arn:aws:sts::222222222222:assumed-role/Read/x", "", false},
		"not told":        {"", member, true},
		"not told, wrong": {"", other, false},
	} {
		t.Run(name, func(t *testing.T) {
			fake := &fakeSTS{expires: time.Hour, assumed: tt.assumed, identity: tt.identity}
			server := httptest.NewServer(fake)
			defer server.Close()
			environment(t, server.URL)
			err := provider(t, Options{}).Check(t.Context(), accounts.Account{ID: member, Role: "arn:aws:iam::111111111111:role/Read"})
			if tt.ok != (err == nil) || (!tt.ok && !errors.Is(err, ErrWrongAccount)) {
				t.Errorf("err = %v", err)
			}
		})
	}
}

// What goes over the wire, and as whom.
func TestRequest(t *testing.T) {
	fake := &fakeSTS{expires: time.Hour, assumed: "arn:aws:sts::111111111111:assumed-role/Read/x"}
	server := httptest.NewServer(fake)
	defer server.Close()
	environment(t, server.URL)
	policy, err := AllowActions([]string{"ecr:Describe*"})
	if err != nil {
		t.Fatal(err)
	}
	p := provider(t, Options{Duration: 2 * time.Hour, Policy: policy, SessionName: "nightly"})
	if err := p.Check(t.Context(), accounts.Account{ID: member, Role: "arn:aws:iam::111111111111:role/Read", ExternalID: "ext"}); err != nil {
		t.Fatal(err)
	}
	r := fake.requests[len(fake.requests)-1]
	for key, want := range map[string]string{
		"RoleArn": "arn:aws:iam::111111111111:role/Read", "RoleSessionName": "nightly", "ExternalId": "ext", "DurationSeconds": "7200", "Policy": policy,
	} {
		if got := r.Get(key); got != want {
			t.Errorf("%s = %q, want %q", key, got, want)
		}
	}
	if !json.Valid([]byte(r.Get("Policy"))) {
		t.Error("the policy is not JSON")
	}
	if !slices.ContainsFunc(fake.agents, func(a string) bool { return strings.Contains(a, "app/demurrage") }) {
		t.Errorf("user agents: %q", fake.agents)
	}
}

// Every attempt of a call counts, whoever makes it.
func TestCalls(t *testing.T) {
	w := newWorld(t)
	var calls atomic.Int64
	p := provider(t, Options{Calls: &calls})
	w.SetFaults([]orgsim.Fault{{Operation: "AssumeRole", Code: "Throttling", Times: 2}})
	a := accounts.Account{ID: member, Role: w.role(member, "/", "Read", trustHub)}
	before := 0
	for _, c := range w.Calls() {
		if c.Service != "iam" { // those of the test
			before += c.Calls
		}
	}
	if err := p.Check(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := caller(t, p.Config(a, "us-east-1")); err != nil {
		t.Fatal(err)
	}
	after := 0
	for _, c := range w.Calls() {
		if c.Service != "iam" {
			after += c.Calls
		}
	}
	if int(calls.Load()) != after || after != before+4 {
		t.Errorf("%d calls counted; %d were made, of which 4 are those: %d before", calls.Load(), after, before)
	}
}
