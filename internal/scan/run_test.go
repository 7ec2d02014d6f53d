package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	codebuildtypes "github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/time/rate"

	"demurrage/internal/image"
	"demurrage/internal/orgsim"
)

// generate fills a repository with plain images.
func (w *world) generate(repository string, n int) {
	w.t.Helper()
	err := w.GenerateImages(accountA, tokyo, repository, orgsim.GeneratedImages{
		Count:    n,
		Manifest: func(i int) []byte { return []byte(manifest(fmt.Sprintf("%s %d", repository, i), "")) },
		Pushed:   func(i int) time.Time { return clock(0).Add(time.Duration(i) * time.Minute) },
		Tags:     func(i int) []string { return []string{fmt.Sprintf("v%d", i)} },
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestCallsAreCounted holds the number of API calls to what the page sizes allow, cold and warm.
func TestCallsAreCounted(t *testing.T) {
	w := newWorld(t)
	const repositories, images, clusters, services, revisions = 3, 1001, 2, 11, 7
	for i := range repositories {
		name := fmt.Sprintf("app%d", i)
		w.repository(name)
		w.generate(name, images)
		for j := range 101 { // one more index than a BatchGetImage takes
			w.push(name, indexManifest(w.push(name, manifest(fmt.Sprint("child", j), ""), "")), "")
		}
	}
	for i := range 60 {
		for range revisions {
			w.register(fmt.Sprintf("family%d", i), host+"/app0:v1")
		}
	}
	definition := w.register("web", host+"/app0:v1")
	for i := range clusters {
		cluster := fmt.Sprintf("c%d", i)
		w.cluster(cluster)
		for j := range services {
			w.service(cluster, fmt.Sprintf("s%d", j), definition, 10)
		}
	}
	w.function("f", host+"/app0:v1")
	ceil := func(n, size int) int { return (n + size - 1) / size }
	o := w.options(Target{Account: accountA, Region: tokyo, Planned: true})
	o.KeepTaskDefinitions = func(string) int { return 1 }
	total := images + 202
	want := map[string]int{
		"ecr:DescribeRepositories": 1,
		"ecr:GetRegistryPolicy":    1,
		"ecr:DescribeImages":       repositories * ceil(total, 1000),
		"ecr:GetRepositoryPolicy":  repositories,
		"ecr:GetLifecyclePolicy":   repositories,
		"ecr:ListTagsForResource":  repositories,
		"ecr:BatchGetImage":        repositories * 2,

		"ecs:ListClusters":              1,
		"ecs:ListTasks":                 clusters * (ceil(services*10, 100) + 1),
		"ecs:DescribeTasks":             clusters * ceil(services*10, 100),
		"ecs:ListServices":              clusters,
		"ecs:DescribeServices":          clusters * ceil(services, 10),
		"ecs:DescribeServiceRevisions":  ceil(clusters*services, 20),
		"ecs:ListDaemons":               clusters,
		"ecs:ListTaskDefinitions":       ceil(60*revisions+1, 100),
		"ecs:ListDaemonTaskDefinitions": 1,
		"ecs:DescribeTaskDefinition":    61,

		"lambda:ListFunctions": 1,
		"lambda:ListAliases":   1,
		"lambda:GetFunction":   1,
	}
	for _, op := range emptyLists {
		want[op]++
	}
	for _, op := range []string{"ecr:DescribeRegistry", "ecr:ListPullTimeUpdateExclusions", "ecr:GetAccountSetting", "inspector2:BatchGetAccountStatus"} {
		want[op] = 1
	}
	before := w.calls(nil)
	first := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	wantOK(t, first)
	if !slices.IsSortedFunc(first.Uses, image.CompareUses) || len(slices.Compact(slices.Clone(first.Uses))) != len(first.Uses) {
		t.Error("uses are not sorted or not unique")
	}
	// The same index is in every repository: read in the first one that comes to it.
	got := w.calls(before)
	if n := got["ecr:BatchGetImage"]; n > want["ecr:BatchGetImage"] {
		t.Errorf("%d BatchGetImage", n)
	}
	want["ecr:BatchGetImage"] = got["ecr:BatchGetImage"]
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls of a cold run (-want +got):\n%s", diff)
	}

	before = w.calls(nil)
	second := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	delete(want, "ecr:BatchGetImage")
	delete(want, "ecs:DescribeTaskDefinition")
	if diff := cmp.Diff(want, w.calls(before)); diff != "" {
		t.Errorf("calls of a warm run (-want +got):\n%s", diff)
	}
	first.ScannedAt, second.ScannedAt = time.Time{}, time.Time{}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the warm run differs (-cold +warm):\n%s", diff)
	}
}

// TestDenied: a source that is denied fails, with the place and the reason, and the others are read. What a target as
// plain as this one does not call is denied in the tests of its source, and in that of the program's permissions.
func TestDenied(t *testing.T) {
	seed := func(t *testing.T) *world {
		w, _, _ := lambdaWorld(t)
		w.cluster("main")
		w.service("main", "one", w.register("web", host+"/fn:v1"), 1)
		return w
	}
	w := seed(t)
	before := w.calls(nil)
	wantOK(t, w.scan())
	called := w.calls(before)
	for _, s := range sources {
		for op := range s.ops {
			if called[s.service+":"+op] == 0 || op == "DescribeServiceRevisions" || s.service == "ecr" || s.where == home {
				continue // their own tests
			}
			t.Run(s.name+" "+op, func(t *testing.T) {
				w := seed(t)
				w.SetFaults([]orgsim.Fault{{Service: s.service, Operation: op, Code: "AccessDeniedException", Status: 403}})
				wantFailed(t, w.scan(), s.name, op, "AccessDeniedException: simulated fault")
			})
		}
	}
}

// TestMiddleOfPaging: whatever list breaks off after its first page fails its source.
func TestMiddleOfPaging(t *testing.T) {
	const token = "there-is-more"
	for _, s := range sources {
		if s.where == home || s.name == "gamelift" || s.name == "inspector" {
			continue // XML; CBOR; lists nothing unless it is enabled
		}
		t.Run(s.name, func(t *testing.T) {
			w, ref, _ := ecsWorld(t)
			w.service("main", "one", w.register("web", ref), 1)
			o := w.options(Target{Account: accountA, Region: tokyo, Planned: true})
			broke := false
			o.Config = func(ctx context.Context, account, region string) (aws.Config, error) {
				cfg, err := w.config(ctx, account, region)
				cfg.HTTPClient = roundTrip(func(r *http.Request) (*http.Response, error) {
					var body []byte
					if r.Body != nil {
						body, _ = io.ReadAll(r.Body)
						r.Body = io.NopCloser(bytes.NewReader(body))
					}
					if !strings.Contains(r.Header.Get("Authorization"), "/"+s.service+"/aws4_request") {
						return http.DefaultTransport.RoundTrip(r)
					}
					if strings.Contains(string(body)+r.URL.RawQuery, token) {
						w.mu.Lock()
						broke = true
						w.mu.Unlock()
						return &http.Response{StatusCode: 400, Header: http.Header{"X-Amzn-Errortype": {"ValidationException"}}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}, nil
					}
					res, err := http.DefaultTransport.RoundTrip(r)
					if err != nil || res.StatusCode != http.StatusOK {
						return res, err
					}
					answer, _ := io.ReadAll(res.Body)
					var m map[string]any
					if json.Unmarshal(answer, &m) == nil {
						for _, key := range []string{"nextToken", "NextToken", "NextMarker"} {
							m[key] = token
						}
						answer, _ = json.Marshal(m)
					}
					res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(answer)), int64(len(answer))
					res.Header.Del("Content-Length")
					return res, nil
				})
				return cfg, err
			}
			snap := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
			if c := coverageOf(t, snap, s.name); c.Status != image.CoverageFailed || !strings.Contains(c.Error, "ValidationException") || !broke {
				t.Errorf("coverage: %+v", c)
			}
		})
	}
}

// TestSecondPagesFail: an error in the middle of paging fails the source, and what was read before counts.
func TestSecondPagesFail(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	for i := range 101 {
		w.register(fmt.Sprintf("family%d", i), ref)
	}
	w.tamper(func(op string, body []byte) *tamper {
		if op == "ListTaskDefinitions" && strings.Contains(string(body), "nextToken") {
			return &tamper{code: "ServerException"}
		}
		return nil
	})
	snap := w.scan()
	wantFailed(t, snap, "ecs", "ListTaskDefinitions", "ServerException")
	if n := len(uses(snap, "ecs-task-definition")); n != 100 {
		t.Errorf("%d uses", n)
	}
}

// TestThrottling: a throttled call is tried again; one that is throttled for ever is a gap.
func TestThrottling(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	w.register("web", ref)
	w.SetFaults([]orgsim.Fault{{Operation: "ListTaskDefinitions", Code: "ThrottlingException", Times: 2}, {Operation: "DescribeImages", Code: "ThrottlingException", Times: 1}})
	wantOK(t, w.scan())
	w.SetFaults([]orgsim.Fault{{Operation: "ListTaskDefinitions", Code: "ThrottlingException"}})
	wantFailed(t, w.scan(), "ecs", "ListTaskDefinitions", "ThrottlingException")
}

// TestConfigFails: the account's targets are one gap, other accounts are scanned.
func TestConfigFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config func(w *world, region string) (aws.Config, error)
	}{
		{"no configuration", func(_ *world, region string) (aws.Config, error) {
			return aws.Config{}, fmt.Errorf("assume role in %s: https response error StatusCode: 403, RequestID: %s, api error AccessDenied: no", region, region)
		}},
		{"no credentials", func(w *world, region string) (aws.Config, error) {
			cfg := w.as(region)
			cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, errTest })
			return cfg, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			o := w.options(Target{accountA, tokyo, true, false}, Target{accountA, virginia, false, false}, Target{accountB, tokyo, true, false})
			o.Config = func(ctx context.Context, account, region string) (aws.Config, error) {
				if account == accountA {
					return tt.config(w, region)
				}
				return w.config(ctx, account, region)
			}
			snaps := w.run(o)
			wantOK(t, snaps[image.Registry{Account: accountB, Region: tokyo}])
			planned, other := snaps[image.Registry{Account: accountA, Region: tokyo}], snaps[image.Registry{Account: accountA, Region: virginia}]
			if len(planned.Coverage) != len(Expected(Target{Planned: true})) || len(other.Coverage) != len(Expected(Target{})) {
				t.Errorf("coverage: %v, %v", planned.Coverage, other.Coverage)
			}
			text := planned.Coverage[0].Error
			for _, c := range slices.Concat(planned.Coverage, other.Coverage) {
				if c.Status != image.CoverageFailed || !c.Unread || c.Error != text || !strings.Contains(text, accountA) || strings.Contains(text, "RequestID") {
					t.Errorf("coverage: %+v", c)
				}
			}
		})
	}
}

// TestPanic: in a scanner's own goroutine and in those that it starts.
func TestPanic(t *testing.T) {
	w, _, _ := lambdaWorld(t)
	w.register("web", "nginx")
	o := w.options(Target{accountA, tokyo, true, false})
	o.KeepTaskDefinitions = func(string) int { panic("boom") }
	wantFailed(t, w.run(o)[image.Registry{Account: accountA, Region: tokyo}], "ecs", "panic", "boom")
	o = w.options(Target{accountA, tokyo, true, false})
	o.KeepLambdaVersions = func(string) int { panic("boom") }
	wantFailed(t, w.run(o)[image.Registry{Account: accountA, Region: tokyo}], "lambda", "panic", "boom")
}

func TestCancel(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	w.register("web", ref)
	w.SetFaults([]orgsim.Fault{{Account: accountA, Operation: "ListTaskDefinitions", LatencyMS: 60_000}})
	ctx, cancel := context.WithCancel(t.Context())
	var sink collector
	o := w.options(Target{accountA, tokyo, true, false}, Target{accountB, tokyo, true, false}, Target{accountA, virginia, false, false})
	o.Concurrency = 2
	o.Sink = func(ctx context.Context, snap *Snapshot) error {
		_ = sink.take(ctx, snap)
		cancel()
		return nil
	}
	start := time.Now()
	if err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("it took %v to stop", d)
	}
	if len(sink.snaps) != 1 || sink.snaps[image.Registry{Account: accountB, Region: tokyo}] == nil {
		t.Errorf("stored: %v", sink.snaps)
	}
	cancelled, stop := context.WithCancelCause(t.Context())
	stop(errTest)
	if err := Run(cancelled, o); !errors.Is(err, errTest) {
		t.Errorf("Run with a done context: %v", err)
	}
}

func TestSinkFails(t *testing.T) {
	w := newWorld(t)
	o := w.options(Target{accountA, tokyo, true, false}, Target{accountB, tokyo, true, false})
	o.Concurrency = 1
	n := 0
	o.Sink = func(context.Context, *Snapshot) error { n++; return errTest }
	if err := Run(t.Context(), o); !errors.Is(err, errTest) || n != 1 {
		t.Errorf("Run: %v after %d targets", err, n)
	}
}

func TestConcurrencyAndProgress(t *testing.T) {
	w := newWorld(t)
	var targets []Target
	for i := range 6 {
		account := fmt.Sprintf("%012d", i+1)
		w.AddAccount(account, "x")
		targets = append(targets, Target{account, tokyo, true, false})
	}
	w.SetFaults([]orgsim.Fault{{Operation: "ListClusters", LatencyMS: 20}, {Account: targets[3].Account, Operation: "ListFunctions", Code: "ServiceException", Status: 403}})
	var inFlight, most, done, failed, asked, answered atomic.Int64
	o := w.options(targets...)
	o.Concurrency = 2
	o.Progress = func(e Event) {
		if e.Source != "" {
			if e.Done {
				answered.Add(1)
			} else {
				asked.Add(1)
			}
			return
		}
		if e.Done {
			inFlight.Add(-1)
			done.Add(1)
			failed.Add(int64(len(e.Failed)))
			return
		}
		if n := inFlight.Add(1); n > most.Load() {
			most.Store(n)
		}
	}
	if n := len(w.run(o)); n != len(targets) {
		t.Errorf("%d targets", n)
	}
	if most.Load() != 2 || done.Load() != 6 || failed.Load() != 1 {
		t.Errorf("most in flight %d, done %d, failed %d", most.Load(), done.Load(), failed.Load())
	}
	want := int64(0)
	for _, target := range targets {
		want += int64(len(Expected(target)))
	}
	if asked.Load() != want || answered.Load() != want {
		t.Errorf("%d sources were begun and %d finished, of %d", asked.Load(), answered.Load(), want)
	}
}

// TestNoSuchHost: a name that does not resolve proves nothing about a service that exists in every region. A filter,
// a split horizon or an endpoint variable can hide it.
func TestNoSuchHost(t *testing.T) {
	for _, prefix := range []string{"lambda", "ecs", "api.ecr", ""} {
		t.Run(prefix, func(t *testing.T) {
			w := newWorld(t)
			o := w.options(Target{accountA, tokyo, true, false})
			o.Config = func(ctx context.Context, account, region string) (aws.Config, error) {
				cfg, err := w.config(ctx, account, region)
				cfg.BaseEndpoint = nil
				cfg.HTTPClient = roundTrip(func(r *http.Request) (*http.Response, error) {
					if strings.HasPrefix(r.URL.Hostname(), prefix) {
						return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: r.URL.Hostname(), IsNotFound: true}}
					}
					r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(w.url, "http://")
					return http.DefaultTransport.RoundTrip(r)
				})
				return cfg, err
			}
			snap := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
			for _, c := range snap.Coverage {
				i := slices.IndexFunc(sources, func(s source) bool { return s.name == c.Source })
				want := image.CoverageOK
				if prefix == "" || strings.HasSuffix(prefix, sources[i].service) {
					want = image.CoverageFailed
					if r := sources[i].regions; r != nil && !slices.Contains(r, tokyo) {
						want = image.CoverageUnavailable
					}
				}
				if c.Status != want {
					t.Errorf("coverage: %+v, not %s", c, want)
				}
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) Do(r *http.Request) (*http.Response, error) { return f(r) }

// TestSessionPolicy: nothing but reads is among what a scan may do. (That it fits is assume's to see to.)
func TestSessionPolicy(t *testing.T) {
	actions := Actions()
	for _, a := range actions {
		_, op, _ := strings.Cut(a, ":")
		if !slices.ContainsFunc([]string{"Describe", "List", "Get", "BatchGet"}, func(p string) bool { return strings.HasPrefix(op, p) }) {
			t.Errorf("%s is no read", a)
		}
	}
	if !slices.IsSorted(actions) || !slices.IsSorted(Sources()) || len(slices.Compact(actions)) != len(Actions()) {
		t.Errorf("actions %v, sources %v", actions, Sources())
	}
}

// TestEveryAttemptTakesAToken: retries too.
func TestEveryAttemptTakesAToken(t *testing.T) {
	w := newWorld(t)
	w.SetFaults([]orgsim.Fault{{Operation: "ListClusters", Code: "ServerException", Status: 500, Times: 2}})
	slow := bucket{name: "slow", rate: 10, burst: 1}
	wk := &work{log: slog.New(slog.DiscardHandler), source: source{ops: map[string]bucket{"ListClusters": slow}}}
	s := &ecsScan{work: wk, api: ecsClient(wk.limited(w.as(tokyo)))}
	start := time.Now()
	s.clusters(t.Context())
	if len(wk.errs) > 0 {
		t.Fatal(wk.errs[0])
	}
	if d := time.Since(start); d < 190*time.Millisecond {
		t.Errorf("three attempts took %v: they did not wait for a token each", d)
	}
	// An operation without a bucket is refused.
	wk = &work{log: slog.New(slog.DiscardHandler)}
	s = &ecsScan{work: wk, api: ecsClient(wk.limited(w.as(tokyo)))}
	s.clusters(t.Context())
	if len(wk.errs) != 1 || !strings.Contains(wk.errs[0].Error(), "no rate bucket") {
		t.Errorf("errors: %v", wk.errs)
	}
}

func TestBuckets(t *testing.T) {
	type key = [2]string
	want := map[key]rate.Limit{
		{"ecs", "ListTaskDefinitions"}: 20, {"ecs", "DescribeTaskDefinition"}: 20, {"ecs", "ListTasks"}: 20,
		{"ecs", "ListServices"}: 20, {"lambda", "GetFunction"}: 100, {"lambda", "ListFunctions"}: 15, {"lambda", "ListAliases"}: 15,
		{"ecr", "BatchGetImage"}: 2000, {"ecr", "DescribeImages"}: 10,
	}
	for _, s := range sources {
		for op, b := range s.ops {
			if r, ok := want[key{s.service, op}]; ok && r != b.rate {
				t.Errorf("%s %s: %v a second", s.service, op, b.rate)
			}
		}
	}
	if ecsOps["ListTaskDefinitions"] != ecsOps["DescribeTaskDefinition"] || ecsOps["ListTasks"] == ecsOps["ListServices"] || lambdaOps["ListAliases"] != lambdaOps["ListFunctions"] {
		t.Error("operations share the wrong buckets")
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(bucket{rate: 20, burst: 50})
		start := time.Now()
		for range 250 {
			if err := l.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != 10*time.Second {
			t.Errorf("250 tokens took %v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("wait: %v", err)
		}
		deadline, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		start = time.Now()
		if err := l.wait(deadline); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Millisecond {
			t.Errorf("wait: %v after %v", err, time.Since(start))
		}
	})
}

func TestLimiterAdapts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := error(&smithy.GenericAPIError{Code: "ThrottlingException"})
		l := newLimiter(ecrRest)
		for range 100 {
			l.learn(nil)
		}
		if got := float64(l.Limit()); math.Abs(got-20) > 0.01 {
			t.Errorf("after 100 answers: %v a second", got)
		}
		time.Sleep(time.Minute)
		for range 10 { // one burst of throttling, not ten
			l.learn(throttle)
		}
		if got := float64(l.Limit()); math.Abs(got-10) > 0.01 {
			t.Errorf("after a throttled burst: %v a second", got)
		}
		l.learn(errTest)
		if got := float64(l.Limit()); math.Abs(got-10) > 0.01 {
			t.Errorf("after another error: %v a second", got)
		}
		for range 100 {
			time.Sleep(cooldown)
			l.learn(throttle)
		}
		if got := l.Limit(); got != slowest {
			t.Errorf("throttled for ever: %v a second", got)
		}
		for range 100_000 {
			l.learn(nil)
		}
		if got := l.Limit(); got != fastest {
			t.Errorf("never throttled: %v a second", got)
		}
		fixed := newLimiter(ecsTasks)
		fixed.learn(throttle)
		if fixed.Limit() != ecsTasks.rate {
			t.Error("a published rate was changed")
		}
	})
}

// TestRealThrottle: under the documented limits a scan gets through by itself.
func TestRealThrottle(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	w := newWorld(t)
	for i := range 25 {
		w.repository(fmt.Sprintf("app%02d", i))
	}
	for i := range 60 {
		w.register(fmt.Sprintf("f%d", i), "nginx")
	}
	w.SetThrottle(true)
	o := w.options(Target{accountA, tokyo, true, false})
	o.Config = func(ctx context.Context, account, region string) (aws.Config, error) {
		cfg, err := w.config(ctx, account, region)
		cfg.Retryer = func() aws.Retryer {
			return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
				o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) { o.MaxAttempts = 10 })
			})
		}
		return cfg, err
	}
	snap := w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
	wantOK(t, snap)
	if len(snap.Inventories) != 25 {
		t.Errorf("%d repositories", len(snap.Inventories))
	}
}

// TestDamagedCache is read over, not trusted.
func TestDamagedCache(t *testing.T) {
	w, _, _, _, _ := nested(t)
	w.register("web", host+"/app:v1")
	first := w.scan()
	const web = "arn:aws:ecs:ap-northeast-1:111111111111:task-definition/web:1"
	for _, b := range []string{
		"", "{", "null", `{"schema":1,"value":[]}`, `{"schema":1,"value":{"` + web + `":null}}`,
		`{"schema":2,"value":{"` + web + `":[{"name":"app","image":"nginx"}]}}`,
	} {
		for k := range w.mem.m {
			w.mem.m[k] = []byte(b)
		}
		snap := w.scan()
		wantOK(t, snap)
		if diff := cmp.Diff(first.Uses, snap.Uses); diff != "" {
			t.Errorf("uses with the cache %q: %s", b, diff)
		}
		if n := len(repositoryOf(t, snap, "app").Images); n != 4 {
			t.Errorf("%d images with the cache %q", n, b)
		}
	}
	// Without any cache at all.
	o := w.options(Target{accountA, tokyo, true, false})
	o.Cache = nil
	wantOK(t, w.run(o)[image.Registry{Account: accountA, Region: tokyo}])
}

func TestScanError(t *testing.T) {
	err := &ScanError{Account: accountA, Region: tokyo, Source: "ecs", Op: "DescribeTasks", Resource: "cluster/main", Err: &smithy.OperationError{
		ServiceID: "ECS", OperationName: "DescribeTasks", Err: &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"},
	}}
	if want := "111111111111/ap-northeast-1: ecs DescribeTasks cluster/main: AccessDeniedException: no"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if _, ok := errors.AsType[smithy.APIError](error(err)); !ok {
		t.Error("it does not unwrap")
	}
	var errs []*ScanError
	for i := range 20 {
		e := *err
		e.Resource = fmt.Sprintf("cluster/%02d", i)
		errs = append(errs, &e, &e)
	}
	slices.Reverse(errs)
	if text := summary(errs); strings.Count(text, "cluster/") != 8 || !strings.HasSuffix(text, "; and 12 more") || !strings.Contains(text, "cluster/00") {
		t.Errorf("summary: %s", text)
	}
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

// TestProjectThatIsNotFound: BatchGetProjects names in a list of its own what it does not find. A project that is listed
// and cannot be read is a gap.
func TestProjectThatIsNotFound(t *testing.T) {
	w := newWorld(t)
	c := codebuild.NewFromConfig(w.as(tokyo))
	must(c.CreateProject(t.Context(), &codebuild.CreateProjectInput{Name: aws.String("build"), ServiceRole: aws.String("arn:aws:iam::" + accountA + ":role/r"),
		Source: &codebuildtypes.ProjectSource{Type: codebuildtypes.SourceTypeNoSource}, Artifacts: &codebuildtypes.ProjectArtifacts{Type: codebuildtypes.ArtifactsTypeNoArtifacts},
		Environment: &codebuildtypes.ProjectEnvironment{Image: aws.String(host + "/app:v1"), Type: codebuildtypes.EnvironmentTypeLinuxContainer, ComputeType: codebuildtypes.ComputeTypeBuildGeneral1Small}}))(t)
	wantOK(t, w.scan())
	wantUses(t, w.scan(), "codebuild-project", "live | build | app:v1 | build environment")
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "BatchGetProjects" {
			return nil
		}
		return &tamper{change: edit(func(m map[string]any) { m["projects"], m["projectsNotFound"] = []any{}, []any{"build"} })}
	})
	wantFailed(t, w.scan(), "codebuild", "BatchGetProjects", "build")
}
