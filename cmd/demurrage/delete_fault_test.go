package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"demurrage/internal/orgsim"
	"demurrage/internal/store"
)

// TestUnseen: nobody agrees to what was not shown.
func TestUnseen(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	cmd, stdout, stderr := p.command("delete", "--format", "json")
	cmd.Stdin = strings.NewReader("3\n")
	_ = cmd.Run()
	asked := strings.Index(stderr.String(), "type that number")
	if asked < 0 || !strings.Contains(stderr.String()[:max(asked, 0)], "private") {
		t.Errorf("asked without a plan: %s", stderr)
	}
	p.parseSweep(stdout.String())
}

// TestHeldIsEscaped: who holds the lock is printed as it stands in the store.
func TestHeldIsEscaped(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	s, err := store.Open(t.Context(), filepath.Join(p.dir, "demurrage-data"), slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lock(t.Context(), "delete", store.Holder{Who: "arn", What: "delete --repository \x1b]0;owned\x07\u009b31m"}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Release(context.Background()) }()
	o := p.must(4, "delete", "--plan", "plan.json")
	if strings.ContainsAny(o.stderr, "\x1b\x07\u009b") {
		t.Errorf("%q", o.stderr)
	}
}

// TestRefusedClosesNothing: a deletion that is refused touches nothing, not even somebody else's interrupted sweep.
func TestRefusedClosesNothing(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.killAtFirstCall("delete", "--plan", "plan.json", "--account", accountA)
	cmd, _, stderr := p.command("delete")
	cmd.Stdin = strings.NewReader("no\n")
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 4 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	s := p.delete(0, "--plan", "plan.json")
	if s.Attempts != 2 || s.Deleted.Images != 3 {
		t.Errorf("%d attempts, %d deleted, %d skipped; refused was: %s", s.Attempts, s.Deleted.Images, s.Skipped.Images, stderr)
	}
}

// killAtFirstCall kills a deletion when ECR has carried out its first call.
func (p *pair) killAtFirstCall(args ...string) {
	cmd, _, _ := p.command(args...)
	p.tamper(killing(cmd))
	_ = cmd.Run()
	p.tamper(nil)
}

func killing(cmd *exec.Cmd) func(string, *http.Request, []byte) *tamper {
	return func(op string, _ *http.Request, _ []byte) *tamper {
		if op != "BatchDeleteImage" {
			return nil
		}
		return &tamper{change: func(map[string]any) { _ = cmd.Process.Kill() }}
	}
}

// TestPulledByTagSincePlan: after our own reading of an index, ECR shows a pull of it at the child alone.
func TestPulledByTagSincePlan(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	amd, arm := p.push(accountA, virginia, "shared", "amd"), p.push(accountA, virginia, "shared", "arm")
	index := p.put(accountA, virginia, "shared", indexOf(amd, arm), "multi")
	p.save(0)
	p.pull(accountB, "shared", arm) // as part of shared:multi, within a day of our reading of that
	s := p.delete(0, "--plan", "plan.json")
	for _, d := range []string{index, amd, arm} {
		if !p.holds(accountA, "shared", d) {
			t.Errorf("%s is gone: %s", d, s.state(d))
		}
	}
}

// TestGapInLook: what could not be read in the last look holds images back: that is exit code 2.
func TestGapInLook(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, account, service, operation string }{
		{"uses", accountB, "ecs", "ListClusters"},
		{"registry", accountA, "ecr", "DescribeRepositories"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newSweepPair(t)
			p.save(0)
			p.whenSweeping(func() {
				p.SetFaults([]orgsim.Fault{{Service: tt.service, Operation: tt.operation, Account: tt.account, Code: "AccessDeniedException"}})
			})
			s := p.delete(2, "--plan", "plan.json")
			if got := s.state(p.shared); got != "skipped not-looked" || !p.holds(accountA, "shared", p.shared) {
				t.Error(got)
			}
		})
	}
}

// TestOpenCall: the sweep is killed while ECR deletes; in the next attempt something of the registry cannot be read that has nothing to
// do with what its images are.
func TestOpenCall(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	cmd, _, _ := p.command("delete", "--plan", "plan.json")
	p.tamper(func(op string, r *http.Request, body []byte) *tamper {
		if op != "BatchDeleteImage" || !bytes.Contains(body, []byte(p.shared)) {
			return nil
		}
		return &tamper{change: func(map[string]any) { _ = cmd.Process.Kill() }} // after ECR has deleted it
	})
	_ = cmd.Run()
	p.tamper(nil)
	if p.holds(accountA, "shared", p.shared) {
		t.Fatal("it was not deleted")
	}
	p.SetFaults([]orgsim.Fault{{Service: "ecr", Operation: "ListTagsForResource", Account: accountA, Code: "AccessDeniedException"}})
	s := p.delete(2, "--plan", "plan.json")
	if got := s.state(p.shared); got != "deleted" {
		t.Errorf("it was deleted by the sweep, whose state is %s, and the books say %q; planned %d, deleted %d", s.State, got, s.Planned.Images, s.Deleted.Images)
	}
}

// TestOpenCallUnreadable: the same, and then the account cannot be entered: nobody knows, so that nobody says "skipped".
func TestOpenCallUnreadable(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	cmd, _, _ := p.command("delete", "--plan", "plan.json")
	p.tamper(func(op string, r *http.Request, body []byte) *tamper {
		if op != "BatchDeleteImage" || !bytes.Contains(body, []byte(p.shared)) {
			return nil
		}
		return &tamper{change: func(map[string]any) { _ = cmd.Process.Kill() }}
	})
	_ = cmd.Run()
	p.tamper(nil)
	p.SetFaults([]orgsim.Fault{{Service: "ecr", Operation: "DescribeRepositories", Account: accountA, Code: "AccessDeniedException"}})
	s := p.delete(3, "--plan", "plan.json")
	if got := s.state(p.shared); got != "failed no-answer" {
		t.Errorf("it was deleted, and the books of the sweep, whose state is %s, say %q", s.State, got)
	}
}

// loseLock has somebody else take the lock at the first call of an operation, which takes longer than a renewal.
func (p *pair) loseLock(operation string) {
	var once sync.Once
	p.front = func(rw http.ResponseWriter, r *http.Request) bool {
		served := false
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+operation) {
			once.Do(func() {
				served = true
				p.Server.ServeHTTP(rw, r)
				if err := os.WriteFile(filepath.Join(p.dir, "demurrage-data", "locks", "delete", "000000000002.json"), []byte("{}"), 0o600); err != nil {
					p.Fatalf("%v", err)
				}
				time.Sleep(7 * time.Second)
			})
		}
		return served
	}
}

// TestLockLostWhileScanning: nobody has interrupted it, and plan --resume is not what goes on with it.
func TestLockLostWhileScanning(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.loseLock("DescribeImages")
	o := p.demurrage("delete", "--plan", "plan.json")
	if o.code != 1 || !strings.Contains(o.stderr, "lock") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// TestLockLostInFirstCall: something was deleted, be it not known yet.
func TestLockLostInFirstCall(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.loseLock("BatchDeleteImage")
	o := p.demurrage("delete", "--plan", "plan.json", "--account", accountA)
	if p.holds(accountA, "private", p.private) {
		t.Fatal("nothing was deleted")
	}
	if o.code != 3 || !strings.Contains(o.stderr, "sweep") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
}

// TestInterruptedWhileStoreHangs: two signals end it whatever hangs.
func TestInterruptedWhileStoreHangs(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	if _, err := s3.NewFromConfig(p.as(accountHub, virginia), func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("demurrage-runs")}); err != nil {
		t.Fatal(err)
	}
	p.config(sweepConfig + "[store]\nurl = \"s3://demurrage-runs/x\"\n")
	release := make(chan struct{})
	var sweeping, hung atomic.Bool
	seen := make(chan struct{}, 100)
	p.front = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost && r.Header.Get("X-Amz-Target") == "" {
			if body := readAll(r); bytes.Contains(body, []byte("DemurrageSweep")) {
				sweeping.Store(true)
			}
		}
		if sweeping.Load() && r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/cache/") {
			hung.Store(true)
			select {
			case seen <- struct{}{}:
			default:
			}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		return false
	}
	p.save(0)
	cmd, stdout, stderr := p.command("delete", "--plan", "plan.json")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-seen:
	case <-ended:
		t.Fatalf("ended: %s %s", stdout, stderr)
	}
	began := time.Now()
	_ = cmd.Process.Signal(syscall.SIGINT)
	time.Sleep(3 * time.Second)
	_ = cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-ended:
	case <-time.After(90 * time.Second):
		_ = cmd.Process.Kill()
		<-ended
	}
	close(release)
	t.Logf("exit code %d after %s", cmd.ProcessState.ExitCode(), time.Since(began))
	if time.Since(began) > 10*time.Second {
		t.Errorf("it took %s", time.Since(began))
	}
}
