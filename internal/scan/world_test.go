package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/opencontainers/go-digest"

	"demurrage/assume"
	"demurrage/internal/image"
	"demurrage/internal/orgsim"
)

const (
	accountA = "111111111111"
	accountB = "222222222222"
	tokyo    = "ap-northeast-1"
	virginia = "us-east-1"
)

// world is a simulated organization behind a listener, whose answers tests can tamper with.
type world struct {
	*orgsim.Server
	t    *testing.T
	url  string
	mem  *memoryCache
	mu   sync.Mutex
	hook func(op string, body []byte) *tamper

	hooks sync.Mutex // around a hook and what it returns
}

// tamper replaces an answer, or changes it.
type tamper struct {
	code   string // answer with this error
	change func(answer []byte) []byte
	before func() // runs before the call
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Server: orgsim.New(), t: t, mem: &memoryCache{m: make(map[string][]byte)}}
	w.AddAccount(accountA, "alpha")
	w.AddAccount(accountB, "beta")
	ts := httptest.NewServer(w)
	t.Cleanup(ts.Close)
	w.url = ts.URL
	return w
}

func (w *world) tamper(hook func(op string, body []byte) *tamper) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = hook
}

// ServeHTTP lets the hook at JSON 1.1 services ("DescribeTasks" and the request's body) and at Lambda's GetFunction.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	_, op, ok := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if _, name, found := strings.Cut(r.URL.Path, "/2015-03-31/functions/"); found && r.Method == http.MethodGet && name != "" && !strings.Contains(name, "/") {
		op, ok = "GetFunction", true
	}
	w.mu.Lock()
	hook := w.hook
	w.mu.Unlock()
	if !ok || hook == nil {
		w.Server.ServeHTTP(rw, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.hooks.Lock() // hooks keep count in plain variables
	tm := hook(op, body)
	w.hooks.Unlock()
	if tm == nil {
		w.Server.ServeHTTP(rw, r)
		return
	}
	if tm.code != "" {
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		rw.WriteHeader(400)
		fmt.Fprintf(rw, `{"__type": %q, "message": "tampered"}`, tm.code)
		return
	}
	if tm.before != nil {
		tm.before()
	}
	rec := httptest.NewRecorder()
	w.Server.ServeHTTP(rec, r)
	answer := rec.Body.Bytes()
	if tm.change != nil {
		w.hooks.Lock()
		answer = tm.change(answer)
		w.hooks.Unlock()
	}
	maps.Copy(rw.Header(), rec.Header())
	rw.Header().Set("Content-Length", fmt.Sprint(len(answer)))
	rw.WriteHeader(rec.Code)
	_, _ = rw.Write(answer)
}

// edit changes a JSON answer as a map.
func edit(f func(m map[string]any)) func([]byte) []byte {
	return func(b []byte) []byte {
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			panic(err)
		}
		f(m)
		b, _ = json.Marshal(m)
		return b
	}
}

// config is the configuration of an account, with hasty retries.
func (w *world) config(_ context.Context, account, region string) (aws.Config, error) {
	return aws.Config{
		Region: region, BaseEndpoint: &w.url, HTTPClient: assume.SteadyClient{HTTPClient: awshttp.NewBuildableClient()},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: account, SecretAccessKey: "secret"}, nil
		}),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = 4
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
			})
		},
	}, nil
}

// as is the configuration of accountA in a region.
func (w *world) as(region string) aws.Config {
	cfg, _ := w.config(w.t.Context(), accountA, region)
	return cfg
}

func (w *world) options(targets ...Target) Options {
	return Options{Targets: targets, Concurrency: 4, Config: w.config, Cache: w.mem}
}

// run scans and returns the snapshots.
func (w *world) run(o Options) map[image.Registry]*Snapshot {
	w.t.Helper()
	var sink collector
	o.Sink = sink.take
	if err := Run(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
	return sink.snaps
}

// scan scans one planned target.
func (w *world) scan() *Snapshot {
	w.t.Helper()
	t := Target{Account: accountA, Region: tokyo, Planned: true}
	return w.run(w.options(t))[image.Registry{Account: accountA, Region: tokyo}]
}

type collector struct {
	mu    sync.Mutex
	snaps map[image.Registry]*Snapshot
}

func (c *collector) take(_ context.Context, snap *Snapshot) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snaps == nil {
		c.snaps = make(map[image.Registry]*Snapshot)
	}
	c.snaps[image.Registry{Account: snap.Account, Region: snap.Region}] = snap
	return nil
}

// memoryCache is a Cache that encodes as the store does.
type memoryCache struct {
	mu sync.Mutex
	m  map[string][]byte
}

func (c *memoryCache) LoadCache(_ context.Context, account, region, name string, into any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.m[account+region+name]; ok {
		return json.Unmarshal(b, into)
	}
	return nil
}

func (c *memoryCache) SaveCache(ctx context.Context, account, region, name string, value any) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b, err := json.Marshal(value)
	c.m[account+region+name] = b
	return err
}

// must is for calls that seed.
func must[T any](out T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

const layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

// manifest is an image whose content is told by a name.
func manifest(name, subject string) string {
	m := map[string]any{
		"schemaVersion": 2, "mediaType": image.MediaTypeOCIManifest,
		"config": descriptor("application/vnd.oci.image.config.v1+json", "config of "+name, 100),
		"layers": []any{descriptor(layerType, "layer of "+name, 1000)},
	}
	if subject != "" {
		m["artifactType"] = "application/vnd.example.sbom"
		m["subject"] = map[string]any{"mediaType": image.MediaTypeOCIManifest, "digest": subject, "size": 10}
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func indexManifest(children ...string) string {
	list := []any{}
	for _, c := range children {
		list = append(list, map[string]any{"mediaType": image.MediaTypeOCIManifest, "digest": c, "size": 10})
	}
	b, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": image.MediaTypeOCIIndex, "manifests": list})
	return string(b)
}

func descriptor(mediaType, content string, size int) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest.FromString(content).String(), "size": size}
}

func (w *world) repository(name string) {
	w.t.Helper()
	c := w.ecr()
	must(c.CreateRepository(w.t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name}))(w.t)
}

// push puts a manifest under a tag (none: "") and returns its digest.
func (w *world) push(repository, text, tag string) string {
	w.t.Helper()
	c := w.ecr()
	in := &ecr.PutImageInput{RepositoryName: &repository, ImageManifest: &text}
	if tag != "" {
		in.ImageTag = &tag
	}
	return *must(c.PutImage(w.t.Context(), in))(w.t).Image.ImageId.ImageDigest
}

// host is the registry that tests push to: accountA in tokyo.
const host = accountA + ".dkr.ecr." + tokyo + ".amazonaws.com"

// register makes a task definition of containers named app, app1, …
func (w *world) register(family string, images ...string) string {
	w.t.Helper()
	in := &ecs.RegisterTaskDefinitionInput{Family: &family, Cpu: aws.String("256"), Memory: aws.String("512")}
	for i, img := range images {
		name := "app"
		if i > 0 {
			name = fmt.Sprintf("app%d", i)
		}
		in.ContainerDefinitions = append(in.ContainerDefinitions, ecstypes.ContainerDefinition{
			Name: &name, Image: &img, Memory: aws.Int32(128), Essential: aws.Bool(true),
		})
	}
	return *must(w.ecs().RegisterTaskDefinition(w.t.Context(), in))(w.t).TaskDefinition.TaskDefinitionArn
}

func (w *world) ecs() *ecs.Client { return ecs.NewFromConfig(w.as(tokyo)) }

func (w *world) cluster(name string) {
	w.t.Helper()
	must(w.ecs().CreateCluster(w.t.Context(), &ecs.CreateClusterInput{ClusterName: &name}))(w.t)
}

func (w *world) service(cluster, name, definition string, desired int32) {
	w.t.Helper()
	must(w.ecs().CreateService(w.t.Context(), &ecs.CreateServiceInput{
		Cluster: &cluster, ServiceName: &name, TaskDefinition: &definition, DesiredCount: &desired,
	}))(w.t)
}

func (w *world) task(cluster, definition string) string {
	w.t.Helper()
	out := must(w.ecs().RunTask(w.t.Context(), &ecs.RunTaskInput{Cluster: &cluster, TaskDefinition: &definition}))(w.t)
	return *out.Tasks[0].TaskArn
}

func (w *world) function(name, uri string) {
	w.t.Helper()
	must(lambda.NewFromConfig(w.as(tokyo)).CreateFunction(w.t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, PackageType: lambdatypes.PackageTypeImage, Role: aws.String("arn:aws:iam::" + accountA + ":role/r"),
		Code: &lambdatypes.FunctionCode{ImageUri: &uri},
	}))(w.t)
}

// calls counts the calls of each operation since the counts were taken before.
func (w *world) calls(before map[string]int) map[string]int {
	n := make(map[string]int)
	for _, c := range w.Calls() {
		n[c.Service+":"+c.Operation] += c.Calls
	}
	for op, c := range before {
		if n[op] -= c; n[op] == 0 {
			delete(n, op)
		}
	}
	return n
}

func coverageOf(t *testing.T, snap *Snapshot, source string) image.Coverage {
	t.Helper()
	i := slices.IndexFunc(snap.Coverage, func(c image.Coverage) bool { return c.Source == source })
	if i < 0 {
		t.Fatalf("no coverage of %s in %v", source, snap.Coverage)
	}
	return snap.Coverage[i]
}

func wantOK(t *testing.T, snap *Snapshot) {
	t.Helper()
	for _, c := range snap.Coverage {
		if c.Status != image.CoverageOK {
			t.Errorf("coverage of %s: %s %s", c.Source, c.Status, c.Error)
		}
	}
}

// wantFailed asks for a source that failed with a text that has all the parts, while all others are ok.
func wantFailed(t *testing.T, snap *Snapshot, source string, parts ...string) {
	t.Helper()
	for _, c := range snap.Coverage {
		if c.Source != source {
			if c.Status != image.CoverageOK {
				t.Errorf("coverage of %s: %s %s", c.Source, c.Status, c.Error)
			}
			continue
		}
		if c.Status != image.CoverageFailed {
			t.Errorf("coverage of %s is %s", source, c.Status)
		}
		if c.Account != snap.Account || c.Region != snap.Region {
			t.Errorf("coverage of %s/%s in the snapshot of %s/%s", c.Account, c.Region, snap.Account, snap.Region)
		}
		for _, part := range append(parts, source) {
			if !strings.Contains(c.Error, part) {
				t.Errorf("%q is not in the error %q", part, c.Error)
			}
		}
	}
}

// uses lists the uses of one source as text: "live|kept resource-name ref detail".
func uses(snap *Snapshot, source string) []string {
	var texts []string
	for _, u := range snap.Uses {
		if u.Source != source {
			continue
		}
		live := "kept"
		if u.Live {
			live = "live"
		}
		ref := u.Ref.Repository.Name
		if u.Ref.Tag != "" {
			ref += ":" + u.Ref.Tag
		}
		if u.Ref.Digest != "" {
			ref += "@" + short(string(u.Ref.Digest))
		}
		resource := u.Resource[strings.LastIndexAny(u.Resource, "/")+1:]
		if source == "lambda-function" {
			resource = u.Resource[strings.Index(u.Resource, ":function:")+len(":function:"):]
		}
		if source == "ecs-task" {
			resource = "task"
		}
		texts = append(texts, strings.Join([]string{live, resource, ref, u.Detail}, " | "))
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

func short(d string) string { return strings.TrimPrefix(d, "sha256:")[:8] }

func repositoryOf(t *testing.T, snap *Snapshot, name string) *image.Inventory {
	t.Helper()
	for i := range snap.Inventories {
		if snap.Inventories[i].Repository.Name == name {
			return &snap.Inventories[i]
		}
	}
	t.Fatalf("no repository %s", name)
	return nil
}

func imageOf(t *testing.T, inv *image.Inventory, d string) *image.Image {
	t.Helper()
	for i := range inv.Images {
		if string(inv.Images[i].Digest) == d {
			return &inv.Images[i]
		}
	}
	t.Fatalf("no image %s in %s", d, inv.Repository.Name)
	return nil
}

var errTest = errors.New("test")

func ecsClient(cfg aws.Config) *ecs.Client { return ecs.NewFromConfig(cfg) }
