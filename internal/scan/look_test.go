package scan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventstypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/google/go-cmp/cmp"

	"demurrage/internal/image"
	"demurrage/internal/orgsim"
)

var here = Target{Account: accountA, Region: tokyo, Planned: true}

// looks takes looks as a deletion does.
func (w *world) looks() *Looks {
	o := w.options(here)
	o.Sources = FastSources()
	return NewLooks(o)
}

// look looks at accountA in tokyo.
func (w *world) look(l *Looks) *Snapshot {
	w.t.Helper()
	var snap *Snapshot
	called := time.Now()
	begun, err := l.At(w.t.Context(), []Target{here}, func(s *Snapshot) error { snap = s; return nil })
	if err != nil || snap == nil || begun.Before(called) || !begun.Equal(snap.ScannedAt) {
		w.t.Fatalf("called at %v, begun at %v: %v, %v", called, begun, snap, err)
	}
	return snap
}

// ruled makes a rule that starts a definition.
func (w *world) ruled(definition string) {
	w.t.Helper()
	c := eventbridge.NewFromConfig(w.as(tokyo))
	must(c.PutRule(w.t.Context(), &eventbridge.PutRuleInput{Name: aws.String("nightly"), ScheduleExpression: aws.String("rate(1 day)")}))(w.t)
	must(c.PutTargets(w.t.Context(), &eventbridge.PutTargetsInput{Rule: aws.String("nightly"), Targets: []eventstypes.Target{{
		Id: aws.String("1"), Arn: aws.String("arn:aws:ecs:" + tokyo + ":" + accountA + ":cluster/main"), RoleArn: aws.String("arn:aws:iam::" + accountA + ":role/r"),
		EcsParameters: &eventstypes.EcsParameters{TaskDefinitionArn: &definition},
	}}}))(w.t)
}

func sourcesOf(snap *Snapshot) (names []string) {
	for _, c := range snap.Coverage {
		names = append(names, c.Source)
	}
	return names
}

func TestFastSources(t *testing.T) {
	want := []string{"apprunner", "batch", "bedrock-agentcore", "ecs", "eks", "emr-serverless", "lambda", "sagemaker"}
	if got := FastSources(); !slices.Equal(got, want) {
		t.Errorf("fast: %v", got)
	}
	for _, names := range [][]string{{"ecs", "esc"}, {""}, {"events"}, {"ecs", "batch", "scheduler"}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("sources %q are looked at", names)
				}
			}()
			NewLooks(Options{Sources: names})
		}()
	}
	NewLooks(Options{Sources: append(FastSources(), "events")})
	NewLooks(Options{Sources: Sources()})
	NewLooks(Options{Sources: []string{}})
}

// TestPartialLook calls what its sources call, and has coverage of them alone.
func TestPartialLook(t *testing.T) {
	w, _, _, _, _ := nested(t)
	w.cluster("main")
	w.service("main", "one", w.register("web", host+"/app:v1"), 1)
	w.push("app", manifest("function", ""), "f")
	w.function("f", host+"/app:f")
	w.ruled(w.register("job", host+"/app:v1"))
	full := w.scan()
	for _, names := range [][]string{FastSources(), {"ecs"}, {image.SourceECR}, {"codebuild", image.SourceIAM}, {}, nil} {
		o := w.options(here)
		o.Sources = names
		allowed := make(map[string]bool)
		for _, s := range sources {
			if names == nil || slices.Contains(names, s.name) {
				for op := range s.ops {
					allowed[s.service+":"+op] = true
				}
			}
		}
		before := w.calls(nil)
		snap := w.run(o)[here.place()]
		wantOK(t, snap)
		calls := w.calls(before)
		for op := range calls {
			if !allowed[op] {
				t.Errorf("a look at %v calls %s", names, op)
			}
		}
		want := slices.DeleteFunc(sourcesOf(full), func(s string) bool { return names != nil && !slices.Contains(names, s) })
		if got := sourcesOf(snap); !slices.Equal(got, want) || (len(calls) == 0) != (len(want) == 0) {
			t.Errorf("a look at %v has coverage of %v with the calls %v", names, got, calls)
		}
		for _, u := range full.Uses { // each source finds what it always does; job:1 is pinned, so that events tells of it
			if found := slices.Contains(snap.Uses, u); found != slices.ContainsFunc(want, func(s string) bool { return strings.HasPrefix(u.Source, s) }) {
				t.Errorf("a look at %v has found %v: %+v", names, found, u)
			}
		}
	}
	// What cannot be read at all is known of these sources alone too.
	o := w.options(here)
	o.Sources = []string{"lambda", "ecs"}
	o.Config = func(context.Context, string, string) (aws.Config, error) { return aws.Config{}, errTest }
	snap := w.run(o)[here.place()]
	if got := sourcesOf(snap); !slices.Equal(got, []string{"ecs", "lambda"}) || snap.Coverage[0].Status != image.CoverageFailed {
		t.Errorf("coverage: %+v", snap.Coverage)
	}
}

// TestDeploymentAfterTheScan shows in a look, and in each the one that came before it.
func TestDeploymentAfterTheScan(t *testing.T) {
	w, ref, first := ecsWorld(t)
	w.service("main", "one", w.register("web", ref), 1)
	if used := digestsUsed(w.scan(), "ecs-service"); !used[first] || len(used) != 1 {
		t.Errorf("in use: %v", used)
	}
	l := w.looks()
	for _, name := range []string{"two", "three"} {
		digest := w.push("app", manifest(name, ""), "v1")
		w.deploy("one", w.register("web", ref), nil)
		w.function(name, ref)
		snap := w.look(l)
		wantOK(t, snap)
		if !digestsUsed(snap, "ecs-service")[digest] || !digestsUsed(snap, "lambda-function")[digest] {
			t.Errorf("deployment %s is not in use: %+v", name, snap.Uses)
		}
		if len(snap.Inventories) > 0 {
			t.Errorf("a look at what is used has taken inventory")
		}
	}
}

func (c *memoryCache) copy() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(map[string]string)
	for k, v := range c.m {
		m[k] = string(v)
	}
	return m
}

// TestPartialLookLosesNoCache: what only all sources together know of is still remembered, and what a look has found out
// alone is asked for again.
func TestPartialLookLosesNoCache(t *testing.T) {
	w, c, _ := lambdaWorld(t)
	prod(t, c, "1")
	w.ruled(w.register("job", host+"/fn:v1"))
	for range 3 {
		w.register("job", host+"/fn:v1")
	}
	o := w.options(here)
	o.KeepTaskDefinitions = func(string) int { return 1 }
	warm := func() map[string]int {
		t.Helper()
		before := w.calls(nil)
		wantOK(t, w.run(o)[here.place()])
		return w.calls(before)
	}
	warm()
	want := warm()
	if want["ecs:DescribeTaskDefinition"] != 0 {
		t.Fatalf("calls of a warm run: %v", want)
	}
	before := w.mem.copy()
	partial := o
	partial.Sources = FastSources()
	l := NewLooks(partial)
	calls := w.calls(nil)
	wantOK(t, w.look(l))
	if n := w.calls(calls)["ecs:DescribeTaskDefinition"]; n != 0 {
		t.Errorf("%d DescribeTaskDefinition: the look has not read the cache", n)
	}
	w.register("new", host+"/fn:v1")
	snap := w.look(l)
	if len(uses(snap, "ecs-task-definition")) != 2 {
		t.Errorf("uses: %v", snap.Uses)
	}
	if diff := cmp.Diff(before, w.mem.copy()); diff != "" {
		t.Errorf("caches:\n%s", diff)
	}
	want["ecs:DescribeTaskDefinition"] = 1 // that of "new"
	if diff := cmp.Diff(want, warm()); diff != "" {
		t.Errorf("calls of a warm run after a look (-want +got):\n%s", diff)
	}
}

// TestSomeRepositories: they are inventoried as ever, and nothing is forgotten that concerns others.
func TestSomeRepositories(t *testing.T) {
	w, outer, inner, leaf, sbom := nested(t)
	w.repository("other")
	w.push("other", indexManifest(w.push("other", manifest("other", ""), "")), "v1")
	w.repository("empty")
	w.SetClock(clock(1))
	full := w.scan()
	l := w.looks()
	registry := func(names ...string) *Snapshot {
		t.Helper()
		snap, err := l.Registry(t.Context(), Target{Account: accountA, Region: tokyo}, names)
		if err != nil {
			t.Fatal(err)
		}
		wantOK(t, snap)
		if got := sourcesOf(snap); !slices.Equal(got, []string{image.SourceECR}) {
			t.Errorf("coverage of %v", got)
		}
		return snap
	}
	snap := registry("app", "none")
	if len(snap.Inventories) != 1 {
		t.Fatalf("inventories: %+v", snap.Inventories)
	}
	want := repositoryOf(t, full, "app")
	want.Lifecycle, want.Expires = "", "" // are for the report
	if diff := cmp.Diff(want, repositoryOf(t, snap, "app")); diff != "" {
		t.Errorf("inventory (-full +some):\n%s", diff)
	}
	if len(registry().Inventories) != 0 || len(registry("none").Inventories) != 0 || len(registry("empty", "other").Inventories) != 2 {
		t.Error("other repositories than those asked for")
	}

	// A tag moves, somebody pulls, an index is pushed, a policy is set: all of it shows, and our own read does not.
	w.SetClock(clock(2))
	w.pull("app", leaf)
	index := w.push("app", indexManifest(leaf, sbom), "v1")
	must(w.ecr().SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:BatchGetImage"}]}`)}))(t)
	must(w.ecr().BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: aws.String("app"), ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &outer}}}))(t)
	before := w.calls(nil)
	for range 2 {
		inv := repositoryOf(t, registry("app"), "app")
		if !strings.Contains(inv.Policy, accountB) || !imageOf(t, inv, leaf).LastPulledAt.Equal(clock(2)) {
			t.Errorf("repository: %+v", inv)
		}
		if img := imageOf(t, inv, index); !slices.Equal(img.Tags, []string{"v1"}) || !slices.Equal(img.Children, []image.Digest{image.Digest(leaf), image.Digest(sbom)}) || !img.LastPulledAt.IsZero() {
			t.Errorf("index: %+v", img)
		}
		if img := imageOf(t, inv, inner); !img.LastPulledAt.IsZero() {
			t.Errorf("inner index: %+v", img)
		}
	}
	if n := w.calls(before)["ecr:BatchGetImage"]; n != 1 {
		t.Errorf("%d BatchGetImage", n)
	}
	kept := loadManifests(t.Context(), &work{Target: here, opts: &l.opts, log: l.opts.Log}).kept
	if len(kept.Children) != 4 || len(kept.Pulls) != 2 || len(kept.Pulls["app"]) != 3 {
		t.Errorf("the cache has forgotten: %+v", kept)
	}
	before = w.calls(nil)
	wantOK(t, w.scan())
	if n := w.calls(before)["ecr:BatchGetImage"]; n != 0 {
		t.Errorf("%d BatchGetImage of a scan after the looks", n)
	}

	// What cannot be read is a gap as ever.
	w.tamper(func(op string, _ []byte) *tamper {
		if op == "DescribeImages" {
			return &tamper{code: "AccessDeniedException"}
		}
		return nil
	})
	snap, err := l.Registry(t.Context(), here, []string{"app"})
	if err != nil {
		t.Fatal(err)
	}
	wantFailed(t, snap, "ecr", "DescribeImages", "app")
	if inv := repositoryOf(t, snap, "app"); len(inv.Errors) != 1 {
		t.Errorf("repository: %+v", inv)
	}
}

// TestLooksAreShared by all who asked before they began, and by nobody who asked later.
func TestLooksAreShared(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	w.service("main", "one", w.register("web", ref), 1)
	held, release := make(chan struct{}), make(chan struct{})
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "ListClusters" {
			return nil
		}
		w.tamper(nil)
		return &tamper{before: func() { close(held); <-release }}
	})
	l := w.looks()
	var wg sync.WaitGroup
	var snaps [4]*Snapshot
	ask := func(i int) {
		wg.Go(func() { snaps[i] = w.look(l) })
	}
	before := w.calls(nil)
	ask(0)
	<-held
	w.function("f", ref)
	digest := w.push("app", manifest("two", ""), "v1")
	w.deploy("one", "", nil)
	called := time.Now()
	for i := range 3 {
		ask(i + 1)
	}
	for {
		l.mu.Lock()
		k := l.next[here]
		n := 0
		if k != nil {
			n = len(k.waiters)
		}
		l.mu.Unlock()
		if n == 3 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(release)
	wg.Wait()
	if snaps[0] == snaps[1] || snaps[1] != snaps[2] || snaps[2] != snaps[3] {
		t.Errorf("snapshots: %p", snaps)
	}
	if !snaps[0].ScannedAt.Before(called) || snaps[1].ScannedAt.Before(called) || !digestsUsed(snaps[1], "ecs-service")[digest] {
		t.Errorf("asked at %v: %+v", called, snaps[1])
	}
	if n := w.calls(before)["ecs:ListClusters"]; n != 2 {
		t.Errorf("%d looks", n)
	}
	last := weak.Make(snaps[3])
	snaps = [4]*Snapshot{}
	for range 10 {
		runtime.GC()
		if last.Value() == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if last.Value() != nil {
		t.Error("the snapshot is kept")
	}
	runtime.KeepAlive(l)
}

// TestLookInterrupted: it stops when nobody waits for it any more, and not before, and the next is unharmed.
func TestLookInterrupted(t *testing.T) {
	w, ref, _ := ecsWorld(t)
	w.service("main", "one", w.register("web", ref), 1)
	w.SetFaults([]orgsim.Fault{{Operation: "ListClusters", LatencyMS: 60_000, Times: 1}})
	l := w.looks()
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(errTest) })
	start := time.Now()
	if _, err := l.At(ctx, []Target{here}, func(*Snapshot) error { t.Error("there is a snapshot"); return nil }); !errors.Is(err, errTest) {
		t.Errorf("At: %v", err)
	}
	if _, err := l.At(ctx, []Target{here}, nil); !errors.Is(err, errTest) {
		t.Errorf("At with a done context: %v", err)
	}
	if _, err := l.Registry(ctx, here, nil); !errors.Is(err, errTest) {
		t.Errorf("Registry with a done context: %v", err)
	}
	snap := w.look(l)
	wantOK(t, snap)
	if len(uses(snap, "ecs-service")) == 0 || time.Since(start) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(start), snap.Uses)
	}
}

// TestOneTargetFails, others are looked at.
func TestOneTargetFails(t *testing.T) {
	w := newWorld(t)
	o := w.options(here)
	o.Sources = FastSources()
	o.Config = func(ctx context.Context, account, region string) (aws.Config, error) {
		if account == accountB {
			return aws.Config{}, errTest
		}
		return w.config(ctx, account, region)
	}
	failed := make(map[string]bool)
	_, err := NewLooks(o).At(t.Context(), []Target{{Account: accountB, Region: tokyo}, here}, func(s *Snapshot) error {
		failed[s.Account] = s.Coverage[0].Status == image.CoverageFailed
		return nil
	})
	if err != nil || !maps.Equal(failed, map[string]bool{accountA: false, accountB: true}) {
		t.Errorf("failed: %v, error %v", failed, err)
	}
}

// bench is a Looks whose looks take their time and find nothing.
type bench struct {
	*Looks
	mu    sync.Mutex
	busy  map[string]int
	total int // in flight
	most  int
	begun int
	ended int // to their end
	took  func() time.Duration
	wrong func(format string, args ...any)
}

func newBench(t *testing.T, concurrency int64, took func() time.Duration) *bench {
	b := &bench{busy: make(map[string]int), took: took, wrong: t.Errorf}
	b.Looks = NewLooks(Options{Sources: []string{"ecs"}, Concurrency: concurrency, Config: b.config})
	return b
}

func (b *bench) config(ctx context.Context, account, _ string) (aws.Config, error) {
	b.mu.Lock()
	b.begun++
	b.total++
	b.most = max(b.most, b.total)
	if b.busy[account]++; b.busy[account] > 1 {
		b.wrong("two looks at %s at once", account)
	}
	d := b.took()
	b.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	b.busy[account]--
	if ctx.Err() == nil {
		b.ended++
	}
	return aws.Config{}, errTest
}

func second() time.Duration { return time.Second }

func targetsOf(accounts ...int) (targets []Target) {
	for _, a := range accounts {
		targets = append(targets, Target{Account: fmt.Sprintf("%012d", a), Region: tokyo})
	}
	return targets
}

func nothing(*Snapshot) error { return nil }

// TestLooksGoRound: who comes in the middle of a round shares what is left of it, and then gets what it has missed.
func TestLooksGoRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1, second)
		all := targetsOf(1, 2, 3, 4, 5, 6)
		start := time.Now()
		var wg sync.WaitGroup
		ask := func(after, want time.Duration, targets ...Target) {
			wg.Go(func() {
				time.Sleep(after)
				begun, err := b.At(t.Context(), targets, nothing)
				if d := time.Since(start); err != nil || d != want || begun.Before(start.Add(after)) {
					t.Errorf("asked after %v: answered after %v, begun after %v: %v", after, d, begun.Sub(start), err)
				}
			})
		}
		ask(0, 6*time.Second, all...)
		ask(2500*time.Millisecond, 9*time.Second, all...)
		ask(2500*time.Millisecond, 4*time.Second, all[3])
		ask(2500*time.Millisecond, 9*time.Second, all[2], all[2])
		ask(5500*time.Millisecond, 5500*time.Millisecond) // for nothing
		wg.Wait()
	})
}

// TestLooksOfMany: whatever they ask for, when, and how it ends.
func TestLooksOfMany(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			r := rand.New(rand.NewPCG(seed, 0))
			random := func(n int) int {
				mu.Lock()
				defer mu.Unlock()
				return r.IntN(n)
			}
			b := newBench(t, 3, func() time.Duration { return time.Duration(random(1000)) * time.Millisecond })
			var wg sync.WaitGroup
			for i := range 60 {
				wg.Go(func() {
					time.Sleep(time.Duration(random(20_000)) * time.Millisecond)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if random(3) == 0 {
						time.AfterFunc(time.Duration(random(5000))*time.Millisecond, cancel)
					}
					targets := targetsOf(random(10), random(10), random(10), random(10), random(10))
					fails := -1
					if random(5) == 0 {
						fails = random(3)
					}
					if random(4) == 0 {
						snap, err := b.Registry(ctx, targetsOf(100 + i)[0], nil)
						if err != nil && ctx.Err() == nil || err == nil && len(snap.Coverage) != 1 {
							t.Errorf("Registry: %+v, %v", snap, err)
						}
						return
					}
					called := time.Now()
					given := make(map[string]bool)
					var inside sync.Mutex
					first := time.Time{}
					begun, err := b.At(ctx, targets, func(s *Snapshot) error {
						if !inside.TryLock() {
							t.Error("two calls at once")
						}
						defer inside.Unlock()
						if s.ScannedAt.Before(called) || given[s.Account] {
							t.Errorf("asked at %v, looked at %v", called, s.ScannedAt)
						}
						if first.IsZero() || s.ScannedAt.Before(first) {
							first = s.ScannedAt
						}
						given[s.Account] = true
						if len(given)-1 == fails {
							return errTest
						}
						return nil
					})
					switch {
					case errors.Is(err, errTest):
						if fails < 0 {
							t.Error("an error out of nothing")
						}
					case err != nil:
						if ctx.Err() == nil {
							t.Errorf("At: %v", err)
						}
					default:
						for _, target := range targets {
							if !given[target.Account] {
								t.Errorf("%s was not looked at", target.Account)
							}
						}
						if !begun.Equal(first) {
							t.Errorf("begun at %v, not %v", begun, first)
						}
					}
				})
			}
			wg.Wait()
			synctest.Wait()
			if b.most > 3 || b.total != 0 || len(b.queue)+len(b.next)+len(b.running) != 0 || !b.slots.TryAcquire(3) {
				t.Errorf("most at once %d, left %d, %v, %v, %v", b.most, b.total, b.queue, b.next, b.running)
			}
		})
	}
}

// TestLooksEnd: with one who leaves, by his context or his own error, those looks end that nobody else waits for.
func TestLooksEnd(t *testing.T) {
	for _, failing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 2, second)
			start := time.Now()
			var wg sync.WaitGroup
			wg.Go(func() {
				ctx, cancel := context.WithTimeoutCause(t.Context(), 1500*time.Millisecond, errTest)
				defer cancel()
				n := 0
				_, err := b.At(ctx, targetsOf(1, 2, 3, 4, 5, 6), func(*Snapshot) error {
					if n++; failing && n == 2 {
						return errTest
					}
					return nil
				})
				if !errors.Is(err, errTest) {
					t.Errorf("At: %v", err)
				}
			})
			wg.Go(func() {
				time.Sleep(500 * time.Millisecond)
				if _, err := b.At(t.Context(), targetsOf(3, 5), nothing); err != nil || time.Since(start) > 3*time.Second {
					t.Errorf("the other one, after %v: %v", time.Since(start), err)
				}
			})
			wg.Wait()
			synctest.Wait()
			// 1, 2, 3 and 5 are needed; 4 has begun beside 3 and is given up, 6 is never begun.
			if b.ended != 4 || b.begun > 5 || b.total != 0 {
				t.Errorf("begun %d, ended %d, left %d", b.begun, b.ended, b.total)
			}
		})
	}
}

// TestRegistryGoesFirst, and whoever gives it up, be it at the very moment when its turn has come, holds nobody up.
func TestRegistryGoesFirst(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1, second)
			start := time.Now()
			var wg sync.WaitGroup
			wg.Go(func() {
				if _, err := b.At(t.Context(), targetsOf(1, 2, 3), nothing); err != nil || time.Since(start) != 4*time.Second {
					t.Errorf("At after %v: %v", time.Since(start), err)
				}
			})
			time.Sleep(time.Millisecond)
			for range 3 {
				wg.Go(func() {
					ctx, cancel := context.WithDeadlineCause(t.Context(), start.Add(time.Second), errTest)
					defer cancel()
					if _, err := b.Registry(ctx, targetsOf(4)[0], nil); !errors.Is(err, errTest) {
						t.Errorf("Registry given up after %v: %v", time.Since(start), err)
					}
				})
			}
			synctest.Wait()
			wg.Go(func() {
				if _, err := b.Registry(t.Context(), targetsOf(5)[0], nil); err != nil || time.Since(start) != 2*time.Second {
					t.Errorf("Registry after %v: %v", time.Since(start), err)
				}
			})
			wg.Wait()
		})
	}
}
