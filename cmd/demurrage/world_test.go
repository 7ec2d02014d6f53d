package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/testscript"

	"demurrage/assume"
	"demurrage/internal/image"
	"demurrage/internal/orgsim"
)

// TestMain makes the test binary the program as well: started as "demurrage" it is demurrage, so that tests run it as
// users do, in a process with an environment of its own, and side by side.
func TestMain(m *testing.M) {
	testscript.Main(sideBySide{m}, map[string]func(){"demurrage": main})
}

// sideBySide runs more tests at once than there are processors: programs that wait for rate limits need none.
type sideBySide struct{ *testing.M }

func (m sideBySide) Run() int {
	flag.Parse()
	if err := flag.Set("test.parallel", "10"); err != nil {
		panic(err)
	}
	return m.M.Run()
}

// The accounts of a world. Only A's and B's are in the configuration; the hub is where demurrage runs.
const (
	accountA   = "111111111111"
	accountB   = "222222222222"
	accountC   = "444444444444"
	accountHub = "333333333333"

	virginia = "us-east-1"
	ireland  = "eu-west-1" // in no configuration of these tests, but enabled
	beijing  = "cn-north-1"

	externalID = "of-the-tests"
)

// worldConfig plans everything that is older than 30 days for deletion, and keeps one generation for a rollback.
const worldConfig = `[assume]
role        = "DemurrageRead"
external_id = "of-the-tests"

[scan]
regions = ["us-east-1"]

[[accounts]]
id   = "111111111111"
name = "alpha"

[[accounts]]
id   = "222222222222"
name = "beta"

[[task_definitions]]
name_pattern = "*"
keep_count   = 1

[[lambda_functions]]
name_pattern = "*"
keep_count   = 1

[[repositories]]
name_pattern = "*"
expires      = "30d"
`

// reporter is what seeding needs of *testing.T and of *testscript.TestScript.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

// world is a simulated organization behind a listener, and a directory to run demurrage in.
type world struct {
	*orgsim.Server
	reporter

	url, dir string
	direct   string // past the hooks, for the tests themselves
	hub      string // the account that demurrage runs in
	region   string // its AWS_REGION

	mu      sync.Mutex
	callers map[string]string // access keys of sessions -> their accounts
	hook    func(op string, r *http.Request, body []byte) *tamper
	front   func(rw http.ResponseWriter, r *http.Request) (served bool) // before everything; set before the program runs

	hooks sync.Mutex // around a hook and what it returns
}

// tamper replaces an answer, or changes it.
type tamper struct {
	code   string                      // answer with this error
	change func(answer map[string]any) // edit the answer
}

// newWorld makes a world of the accounts A, B and the hub, in two regions of the partition of region, where the hub
// may assume the role of A and B, and that role may do everything.
func newWorld(t *testing.T, region string) *world {
	t.Helper()
	w := startWorld(t, t.TempDir(), region)
	t.Cleanup(w.serve())
	w.config(worldConfig)
	w.role(accountA, accountHub)
	w.role(accountB, accountHub)
	return w
}

func startWorld(r reporter, dir, region string) *world {
	w := &world{Server: orgsim.New(), reporter: r, dir: dir, hub: accountHub, region: region, callers: map[string]string{}}
	if strings.HasPrefix(region, "cn-") {
		w.LimitRegions("cn-north-1", "cn-northwest-1")
	} else {
		w.LimitRegions(virginia, ireland)
	}
	w.AddAccount(accountA, "alpha")
	w.AddAccount(accountB, "beta")
	w.AddAccount(accountHub, "hub")
	return w
}

// serve begins to listen and returns what ends it.
func (w *world) serve() (stop func()) {
	ts, direct := httptest.NewServer(w), httptest.NewServer(w.Server)
	w.url, w.direct = ts.URL, direct.URL
	return func() { ts.Close(); direct.Close() }
}

// ServeHTTP lets the hook at the services with JSON protocols.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if w.front != nil && w.front(rw, r) {
		return
	}
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	op := operationOf(r)
	if hook == nil || op == "" {
		w.Server.ServeHTTP(rw, r)
		return
	}
	body := readAll(r)
	w.hooks.Lock() // hooks keep count in plain variables
	tm := hook(op, r, body)
	w.hooks.Unlock()
	switch {
	case tm == nil:
		w.Server.ServeHTTP(rw, r)
	case tm.code != "":
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		rw.Header().Set("X-Amzn-Errortype", tm.code) // Lambda's place for it
		rw.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(rw, `{"__type": %q, "message": "tampered"}`, tm.code)
	default:
		rec := httptest.NewRecorder()
		w.Server.ServeHTTP(rec, r)
		var answer map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil {
			panic(err)
		}
		w.hooks.Lock()
		tm.change(answer)
		w.hooks.Unlock()
		out, _ := json.Marshal(answer)
		maps.Copy(rw.Header(), rec.Header())
		rw.Header().Set("Content-Length", fmt.Sprint(len(out)))
		rw.WriteHeader(rec.Code)
		_, _ = rw.Write(out)
	}
}

// readAll reads a request's body and leaves it there.
func readAll(r *http.Request) []byte {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// operationOf names the operation of a request that tests tamper with; "" for others.
func operationOf(r *http.Request) string {
	if _, op, ok := strings.Cut(r.Header.Get("X-Amz-Target"), "."); ok {
		return op
	}
	if r.Method == http.MethodGet && strings.TrimSuffix(r.URL.Path, "/") == "/2015-03-31/functions" {
		return "ListFunctions"
	}
	return ""
}

// callerOf is the account that a request is made in.
func (w *world) callerOf(r *http.Request) string {
	key, token := credentialOf(r)
	w.mu.Lock()
	account := w.callers[key]
	w.mu.Unlock() // what follows comes through ServeHTTP again
	if account == "" {
		out := done(sts.NewFromConfig(w.with(key, token, w.region)).GetCallerIdentity(context.WithoutCancel(r.Context()), &sts.GetCallerIdentityInput{}))(w)
		account = *out.Account
		w.mu.Lock()
		w.callers[key] = account
		w.mu.Unlock()
	}
	return account
}

// credentialOf takes the access key and the session token from a request. With them anybody can make requests as the
// caller, since the simulation does not verify signatures.
func credentialOf(r *http.Request) (key, token string) {
	_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ = strings.Cut(rest, "/")
	return key, r.Header.Get("X-Amz-Security-Token")
}

func (w *world) tamper(hook func(op string, r *http.Request, body []byte) *tamper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

// ---- the program ----

// outcome is what a run of the program left behind.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// environment is all that the program sees: the simulation, and nothing of the machine's.
func (w *world) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TMPDIR=" + os.TempDir(), "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
		"AWS_ENDPOINT_URL=" + w.url, "AWS_ACCESS_KEY_ID=" + w.hub, "AWS_SECRET_ACCESS_KEY=simulated", "AWS_REGION=" + w.region,
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_MAX_ATTEMPTS=2", // what fails for good shall not hold up the tests
	}
}

func (w *world) command(args ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("demurrage", args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.environment(), &stdout, &stderr
	return cmd, &stdout, &stderr
}

func (w *world) demurrage(args ...string) outcome {
	w.Helper()
	cmd, stdout, stderr := w.command(args...)
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatalf("demurrage %v: %v", args, err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(start)}
}

// must runs the program and asks for an exit code.
func (w *world) must(code int, args ...string) outcome {
	w.Helper()
	o := w.demurrage(args...)
	if o.code != code {
		w.Fatalf("demurrage %v: exit code %d instead of %d\n%s\n%.4000s", args, o.code, code, o.stderr, o.stdout)
	}
	return o
}

// planFile is the contract of a plan, as far as tests read it.
type planFile struct {
	Schema   string           `json:"schema"`
	RunID    string           `json:"run_id"`
	Complete bool             `json:"complete"`
	Coverage []image.Coverage `json:"coverage"`
	Summary  struct {
		Images                int
		Delete, Blocked, Keep struct{ Images int }
	} `json:"summary"`
	Broken []struct {
		Ref      string
		Live     bool
		Resource string
	} `json:"broken_references"`
	Unscanned []struct{ Account, State, Why string } `json:"unscanned_accounts"`
	Notes     []planNote                             `json:"notes"`
	Images    []plannedImage                         `json:"images"`
}

type planNote struct{ Account, Source, Resource, Text string }

type plannedImage struct {
	Account, Region, Repository, Digest, Action string
	Tags                                        []string
	LastPulledAt                                *time.Time `json:"last_pulled_at"`
	Reasons                                     []planReason
}

type planReason struct{ Code, Detail, Source, Account, Region, Resource string }

// plan makes a plan and asks for an exit code.
func (w *world) plan(code int, args ...string) *planFile {
	w.Helper()
	o := w.must(code, append([]string{"plan", "--format", "json", "--all"}, args...)...)
	return w.parsePlan([]byte(o.stdout))
}

func (w *world) parsePlan(data []byte) *planFile {
	w.Helper()
	var p planFile
	if err := json.Unmarshal(data, &p); err != nil {
		w.Fatalf("the plan is no JSON: %v\n%s", err, data)
	}
	if p.Schema != "demurrage/plan/1" {
		w.Fatalf("schema %q", p.Schema)
	}
	return &p
}

// action is what becomes of an image; "" if the plan does not have it.
func (p *planFile) action(repository, digest string) string {
	img := p.image(repository, digest)
	return img.Action
}

func (p *planFile) image(repository, digest string) plannedImage {
	i := slices.IndexFunc(p.Images, func(i plannedImage) bool { return i.Repository == repository && i.Digest == digest })
	if i < 0 {
		return plannedImage{}
	}
	return p.Images[i]
}

// actions lists what becomes of all images, as text that can be compared.
func (p *planFile) actions() []string {
	var list []string
	for _, i := range p.Images {
		list = append(list, strings.Join([]string{i.Account, i.Region, i.Repository, i.Digest, i.Action}, " "))
	}
	return list
}

// counts sums the actions up by repository.
func (p *planFile) counts() map[string]orgsim.Counts {
	out := map[string]orgsim.Counts{}
	for _, i := range p.Images {
		key := i.Account + "/" + i.Region + "/" + i.Repository
		n := out[key]
		n.Total++
		switch i.Action {
		case "keep":
			n.Keep++
		case "delete":
			n.Delete++
		case "blocked":
			n.Blocked++
		}
		out[key] = n
	}
	return out
}

func (i plannedImage) has(code, account string) bool {
	return slices.ContainsFunc(i.Reasons, func(r planReason) bool { return r.Code == code && (account == "" || r.Account == account) })
}

// ---- seeding, with the real SDK over HTTP ----

func (w *world) config(text string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "accounts.toml"), []byte(text), 0o644); err != nil {
		w.Fatalf("%v", err)
	}
}

// as is the root of an account.
func (w *world) as(account, region string) aws.Config {
	return w.with(account, "", region)
}

// with is whoever has an access key and a session token. It does not retry.
func (w *world) with(key, token, region string) aws.Config {
	return aws.Config{
		Region: region, BaseEndpoint: &w.direct, HTTPClient: assume.SteadyClient{HTTPClient: awshttp.NewBuildableClient()}, Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key, SecretAccessKey: "secret", SessionToken: token}, nil
		}),
	}
}

func (w *world) ecr(account, region string) *ecr.Client {
	return ecr.NewFromConfig(w.as(account, region))
}
func (w *world) ecs(account, region string) *ecs.Client {
	return ecs.NewFromConfig(w.as(account, region))
}

func (w *world) lambda(account, region string) *lambda.Client {
	return lambda.NewFromConfig(w.as(account, region))
}

// done gives the answer of a call that has to succeed.
func done[T any](out T, err error) func(w *world) T {
	return func(w *world) T {
		w.Helper()
		if err != nil {
			w.Fatalf("seed: %v", err)
		}
		return out
	}
}

// role makes the role DemurrageRead, which may do everything, so that what demurrage cannot do is its own restraint.
func (w *world) role(account, trusted string) {
	w.Helper()
	c, name := iam.NewFromConfig(w.as(account, w.region)), aws.String("DemurrageRead")
	done(c.CreateRole(w.Context(), &iam.CreateRoleInput{
		RoleName: name, AssumeRolePolicyDocument: aws.String(w.trustPolicy(trusted, externalID)),
	}))(w)
	done(c.PutRolePolicy(w.Context(), &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("all"), PolicyDocument: aws.String(
		`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`)}))(w)
}

// trust changes who may assume an account's role.
func (w *world) trust(account, trusted, externalID string) {
	w.Helper()
	c := iam.NewFromConfig(w.as(account, w.region))
	done(c.UpdateAssumeRolePolicy(w.Context(), &iam.UpdateAssumeRolePolicyInput{
		RoleName: aws.String("DemurrageRead"), PolicyDocument: aws.String(w.trustPolicy(trusted, externalID)),
	}))(w)
}

func (w *world) trustPolicy(trusted, externalID string) string {
	return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "arn:` +
		image.PartitionOf(w.region).ID + `:iam::` + trusted + `:root"}, "Condition": {"StringEquals": {"sts:ExternalId": "` + externalID + `"}}}]}`
}

func (w *world) repository(account, region, name string) {
	w.Helper()
	done(w.ecr(account, region).CreateRepository(w.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name}))(w)
}

// pullPolicy lets B pull, and its functions.
const pullPolicy = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
	"Principal": {"AWS": "` + accountB + `", "Service": "lambda.amazonaws.com"},
	"Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}]}`

// share makes a repository of A that B may pull from.
func (w *world) share(region, name string) {
	w.Helper()
	w.repository(accountA, region, name)
	done(w.ecr(accountA, region).SetRepositoryPolicy(w.Context(), &ecr.SetRepositoryPolicyInput{
		RepositoryName: &name, PolicyText: aws.String(pullPolicy),
	}))(w)
}

// policy changes who may pull from a repository of A.
func (w *world) policy(name, text string) {
	w.Helper()
	done(w.ecr(accountA, w.region).SetRepositoryPolicy(w.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: &name, PolicyText: &text}))(w)
}

// ago is a time that no span of the configurations is near to.
func ago(days int) time.Time { return time.Now().UTC().Truncate(time.Second).AddDate(0, 0, -days) }

// push puts an image whose content is told by a name, 100 days ago, and returns its digest.
func (w *world) push(account, region, repository, content string, tags ...string) string {
	w.Helper()
	return w.put(account, region, repository, manifest(content), tags...)
}

func (w *world) put(account, region, repository, manifest string, tags ...string) string {
	w.Helper()
	w.SetClock(ago(100))
	defer w.SetClock(time.Time{})
	c, d := w.ecr(account, region), digest.FromString(manifest).String()
	in := &ecr.PutImageInput{RepositoryName: &repository, ImageManifest: &manifest}
	if len(tags) == 0 {
		done(c.PutImage(w.Context(), in))(w)
	}
	for _, tag := range tags {
		in.ImageTag = &tag
		done(c.PutImage(w.Context(), in))(w)
	}
	return d
}

func descriptor(mediaType, content string, size int) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest.FromString(content).String(), "size": size}
}

func manifest(content string) string {
	b, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": image.MediaTypeOCIManifest,
		"config": descriptor("application/vnd.oci.image.config.v1+json", "config of "+content, 100),
		"layers": []any{descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer of "+content, 10<<20)},
	})
	return string(b)
}

func indexOf(children ...string) string {
	var list []any
	for i, c := range children {
		list = append(list, map[string]any{
			"mediaType": image.MediaTypeOCIManifest, "digest": c, "size": 500,
			"platform": map[string]string{"os": "linux", "architecture": []string{"amd64", "arm64"}[i%2]},
		})
	}
	b, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": image.MediaTypeOCIIndex, "manifests": list})
	return string(b)
}

// pull is what a container runtime begins with.
func (w *world) pull(account, repository string, digests ...string) {
	w.Helper()
	in := &ecr.BatchGetImageInput{RegistryId: aws.String(accountA), RepositoryName: &repository}
	for _, d := range digests {
		in.ImageIds = append(in.ImageIds, ecrtypes.ImageIdentifier{ImageDigest: &d})
	}
	if out := done(w.ecr(account, virginia).BatchGetImage(w.Context(), in))(w); len(out.Failures) > 0 {
		w.Fatalf("pull: %v", out.Failures)
	}
}

// host is A's registry.
func host(region string) string {
	return image.Registry{Account: accountA, Region: region}.Host()
}

// register makes a revision of a task definition with one container.
func (w *world) register(region, family, ref string) string {
	w.Helper()
	return *done(w.ecs(accountB, region).RegisterTaskDefinition(w.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: &family, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: &ref, Memory: aws.Int32(128), Essential: aws.Bool(true)}},
	}))(w).TaskDefinition.TaskDefinitionArn
}

func (w *world) deregister(account, region, definition string) {
	w.Helper()
	done(w.ecs(account, region).DeregisterTaskDefinition(w.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &definition}))(w)
}

func (w *world) cluster(account, region string) {
	w.Helper()
	done(w.ecs(account, region).CreateCluster(w.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("main")}))(w)
}

// task runs a task of a reference in B, and takes care that nothing but the task knows the reference.
func (w *world) task(region, family, ref string) string {
	w.Helper()
	definition := w.register(region, family, ref)
	out := done(w.ecs(accountB, region).RunTask(w.Context(), &ecs.RunTaskInput{Cluster: aws.String("main"), TaskDefinition: &definition}))(w)
	if len(out.Tasks) != 1 || aws.ToString(out.Tasks[0].LastStatus) != "RUNNING" {
		w.Fatalf("the task of %s does not run: %+v", ref, out)
	}
	w.deregister(accountB, region, definition)
	return *out.Tasks[0].TaskArn
}

func (w *world) service(name, definition string, desired int32, controller ecstypes.DeploymentControllerType) string {
	w.Helper()
	in := &ecs.CreateServiceInput{
		Cluster: aws.String("main"), ServiceName: &name, DesiredCount: &desired,
		DeploymentController: &ecstypes.DeploymentController{Type: cmp.Or(controller, ecstypes.DeploymentControllerTypeEcs)},
	}
	if definition != "" {
		in.TaskDefinition = &definition
	}
	return *done(w.ecs(accountB, virginia).CreateService(w.Context(), in))(w).Service.ServiceArn
}

func (w *world) taskSet(account, region, service, definition string, scale float64) {
	w.Helper()
	done(w.ecs(account, region).CreateTaskSet(w.Context(), &ecs.CreateTaskSetInput{
		Cluster: aws.String("main"), Service: &service, TaskDefinition: &definition,
		Scale: &ecstypes.Scale{Unit: ecstypes.ScaleUnitPercent, Value: scale},
	}))(w)
}

func (w *world) function(name, ref string, publish bool) string {
	w.Helper()
	return *done(w.lambda(accountB, virginia).CreateFunction(w.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, PackageType: lambdatypes.PackageTypeImage, Role: aws.String("arn:aws:iam::" + accountB + ":role/function"),
		Code: &lambdatypes.FunctionCode{ImageUri: &ref}, Publish: publish,
	}))(w).FunctionArn
}

func (w *world) update(account, region, function, ref string) {
	w.Helper()
	done(w.lambda(account, region).UpdateFunctionCode(w.Context(), &lambda.UpdateFunctionCodeInput{
		FunctionName: &function, ImageUri: &ref, Publish: true,
	}))(w)
}

// called counts the calls since a snapshot of Calls, by account, service and operation.
func (w *world) called(before []orgsim.CallCount) map[orgsim.CallCount]int {
	n := map[orgsim.CallCount]int{}
	key := func(c orgsim.CallCount) orgsim.CallCount {
		return orgsim.CallCount{Account: c.Account, Region: c.Region, Service: c.Service, Operation: c.Operation}
	}
	for _, c := range w.Calls() {
		n[key(c)] += c.Calls
	}
	for _, c := range before {
		n[key(c)] -= c.Calls
	}
	maps.DeleteFunc(n, func(_ orgsim.CallCount, n int) bool { return n == 0 })
	return n
}

// operations sums calls up by "service:operation".
func operations(calls map[orgsim.CallCount]int) map[string]int {
	n := map[string]int{}
	for c, calls := range calls {
		n[c.Service+":"+c.Operation] += calls
	}
	return n
}
