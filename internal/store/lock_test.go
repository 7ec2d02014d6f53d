package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gocloud.dev/blob"
)

var opaque = blob.WriterOptions{ContentType: "application/octet-stream"}

func holder(who string) Holder {
	return Holder{Who: who, Host: "host-of-" + who, PID: 17, What: "delete", Since: time.Date(2026, 11, 20, 1, 2, 3, 0, time.UTC)}
}

func mustLock(t *testing.T, s *Store, who string, lease time.Duration) *Lock {
	t.Helper()
	l, err := s.Lock(t.Context(), "sweep", holder(who), lease)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Release(context.Background()) })
	return l
}

// die lets a holder end without a word.
func die(l *Lock) {
	l.mu.Lock()
	l.end(errors.New("died"))
	l.mu.Unlock()
	<-l.done
	l.released = true // so that the end of the test does not release it
}

func TestLock(t *testing.T) { everywhere(t, testLock) }

func testLock(t *testing.T, p site) {
	ctx, s, other := t.Context(), p.open(t), p.open(t)
	l := mustLock(t, s, "alice", 1500*time.Millisecond)
	if err := l.Held(); err != nil || l.Fence() != 1 || l.Context().Err() != nil {
		t.Errorf("fence %d, held: %v, context: %v", l.Fence(), err, l.Context().Err())
	}
	_, err := other.Lock(ctx, "sweep", holder("bob"), 1500*time.Millisecond)
	var held *HeldError
	if !errors.As(err, &held) || held.Holder != holder("alice") {
		t.Fatalf("a lock that is held: %v", err)
	}
	for _, part := range []string{"lock sweep", "alice", "host-of-alice", "17", "2026-11-20T01:02:03Z"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %s", err, part)
		}
	}
	if l, err := other.Lock(ctx, "another", holder("bob"), 1500*time.Millisecond); err != nil || l.Fence() != 1 {
		t.Errorf("another lock: %v", err)
	} else if err := l.Release(ctx); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := l.Release(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := l.Held(); err == nil || errors.Is(err, ErrLockLost) {
		t.Errorf("Held after Release: %v", err)
	}
	if context.Cause(l.Context()) == nil || errors.Is(context.Cause(l.Context()), ErrLockLost) {
		t.Errorf("the context after Release: %v", context.Cause(l.Context()))
	}
	// What was released is free at once: with a lease of an hour, nobody would wait for it.
	next := mustLock(t, other, "bob", time.Hour)
	if next.Fence() != 2 {
		t.Errorf("fence %d", next.Fence())
	}
	if numbers, err := s.lockNumbers(ctx, "sweep"); err != nil || !slices.Equal(numbers, []int64{2}) {
		t.Errorf("there are %v, %v", numbers, err)
	}
}

// TestLockContention: many want it, one at a time has it, and each has a higher number than the one before.
func TestLockContention(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		var (
			inside atomic.Int32
			mu     sync.Mutex
			fences []int64
			wg     sync.WaitGroup
		)
		stores := []*Store{p.open(t), p.open(t), p.open(t), p.open(t)}
		const many, times = 20, 1
		for i := range many {
			s := stores[i%len(stores)]
			wg.Go(func() {
				for n := 0; n < times; {
					l, err := s.Lock(t.Context(), "sweep", holder(fmt.Sprint(i)), time.Second)
					var held *HeldError
					if errors.As(err, &held) {
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if l.Held() == nil { // a machine that is busy enough can lose it
						if inside.Add(1) != 1 {
							t.Error("two have it")
						}
						mu.Lock()
						fences = append(fences, l.Fence())
						mu.Unlock()
						time.Sleep(time.Millisecond)
						inside.Add(-1)
						n++
					}
					if err := l.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if len(fences) != many*times || !slices.IsSortedFunc(fences, func(a, b int64) int {
			if a < b {
				return -1
			}
			return 1
		}) {
			t.Errorf("fences %v", fences)
		}
	})
}

// TestDeadHolder: who stops renewing is taken over, a lease after somebody has begun to watch.
func TestDeadHolder(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		const lease = 200 * time.Millisecond
		s := p.open(t)
		for i := range int64(3) {
			began := time.Now()
			l := mustLock(t, s, fmt.Sprint(i), lease)
			if l.Fence() != i+1 {
				t.Errorf("fence %d", l.Fence())
			}
			if took := time.Since(began); i > 0 && took < lease {
				t.Errorf("taken over after %s", took)
			}
			die(l)
		}
	})
}

// TestLiveHolder: who renews is never taken over, however many leases long.
func TestLiveHolder(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		const lease = 4 * time.Second // a machine that has much else to do must not miss a renewal; TestLockHours has more of them
		s := p.open(t)
		l := mustLock(t, s, "alice", lease)
		for range 2 {
			var held *HeldError
			if _, err := s.Lock(t.Context(), "sweep", holder("bob"), lease); !errors.As(err, &held) || held.Holder.Who != "alice" {
				t.Fatal(err)
			}
		}
		if err := l.Held(); err != nil {
			t.Error(err)
		}
	})
}

// The same in no time, over hours: in a directory nothing but time is waited for.
func TestLockHours(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := site{location: dir}.open(t)
		l := mustLock(t, s, "alice", DefaultLease)
		for range 500 {
			var held *HeldError
			if _, err := s.Lock(t.Context(), "sweep", holder("bob"), DefaultLease); !errors.As(err, &held) {
				t.Fatal(err)
			}
			time.Sleep(17 * time.Second)
			if err := l.Held(); err != nil {
				t.Fatal(err)
			}
		}
		die(l)
		began := time.Now()
		if next := mustLock(t, s, "bob", DefaultLease); next.Fence() != 2 || time.Since(began) < DefaultLease {
			t.Errorf("fence %d after %s", next.Fence(), time.Since(began))
		}
	})
}

// TestDamagedLock: what cannot be read is watched for the default lease, and taken over.
func TestDamagedLock(t *testing.T) {
	f := lockFile{Schema: lockSchema, Fence: 7, Holder: holder("alice"), Lease: "1s", Token: "x"}
	whole := func(change func(*lockFile)) string {
		f := f
		change(&f)
		data, _ := json.Marshal(f)
		return string(data)
	}
	for name, data := range map[string]string{
		"empty":          "",
		"half":           whole(func(*lockFile) {})[:100],
		"zeros":          strings.Repeat("\x00", 300),
		"released, half": `{"released": true`,
		"schema":         whole(func(f *lockFile) { f.Schema = "demurrage/lock/2"; f.Released = true }),
		"number":         whole(func(f *lockFile) { f.Fence = 6; f.Released = true }),
		"no lease":       whole(func(f *lockFile) { f.Lease = "" }),
		"negative lease": whole(func(f *lockFile) { f.Lease = "-1s" }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := site{location: dir}.open(t)
				put(t, s, "locks/sweep/000000000003.json", whole(func(f *lockFile) { f.Fence = 3; f.Released = true }))
				put(t, s, "locks/sweep/000000000007.json", data)
				put(t, s, "locks/sweep/000000000009.json.0123.tmp", data)
				began := time.Now()
				if l := mustLock(t, s, "bob", time.Second); l.Fence() != 8 || time.Since(began) < DefaultLease {
					t.Errorf("fence %d after %s", l.Fence(), time.Since(began))
				}
				if numbers, err := s.lockNumbers(t.Context(), "sweep"); err != nil || !slices.Equal(numbers, []int64{8}) {
					t.Errorf("there are %v, %v", numbers, err)
				}
			})
		})
	}
}

// TestLockChanges: whatever changes while it is watched is alive.
func TestLockChanges(t *testing.T) {
	alice, _ := json.Marshal(lockFile{Schema: lockSchema, Fence: 1, Holder: holder("alice"), Lease: "1m0s"})
	for name, tt := range map[string]struct{ first, then, who string }{
		"to be read at last": {string(alice)[:50], string(alice), "alice"},
		"half overwritten":   {string(alice), strings.Replace(string(alice), "{", "x", 1), "alice"},
		"never to be read":   {"a", "b", "somebody unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				s := site{location: dir}.open(t)
				put(t, s, "locks/sweep/000000000001.json", tt.first)
				go func() {
					time.Sleep(10*time.Second + time.Millisecond)
					put(t, s, "locks/sweep/000000000001.json", tt.then)
				}()
				_, err := s.Lock(t.Context(), "sweep", holder("bob"), time.Minute)
				var held *HeldError
				if !errors.As(err, &held) || !strings.Contains(err.Error(), tt.who) {
					t.Error(err)
				}
			})
		})
	}
}

// TestReleasedWhileWatched: it need not run out.
func TestReleasedWhileWatched(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := site{location: dir}.open(t)
		l := mustLock(t, s, "alice", time.Hour)
		go func() {
			time.Sleep(time.Minute)
			_ = l.Release(context.Background())
		}()
		began := time.Now()
		if next := mustLock(t, s, "bob", time.Hour); next.Fence() != 2 || time.Since(began) > 2*time.Minute {
			t.Errorf("fence %d after %s", next.Fence(), time.Since(began))
		}
	})
}

// TestLockIsLost: for every reason, the context ends and says so, and Held does.
func TestLockIsLost(t *testing.T) {
	const lease = 300 * time.Millisecond
	lost := func(t *testing.T, l *Lock, why string) {
		t.Helper()
		<-l.Context().Done()
		for _, err := range []error{l.Held(), context.Cause(l.Context())} {
			if !errors.Is(err, ErrLockLost) || !strings.Contains(err.Error(), "lock sweep") || !strings.Contains(err.Error(), why) {
				t.Errorf("%v, want that %s", err, why)
			}
		}
		if err := l.Release(context.Background()); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	everywhere(t, func(t *testing.T, p site) {
		t.Run("taken over", func(t *testing.T) {
			s := p.open(t)
			l := mustLock(t, s, "alice", 3*lease)
			data, _ := json.Marshal(lockFile{Schema: lockSchema, Fence: 5, Holder: holder("bob"), Lease: "1s", Released: true})
			put(t, s, "locks/sweep/000000000005.json", string(data))
			lost(t, l, "taken over by bob on host-of-bob")
		})
		t.Run("gone", func(t *testing.T) {
			s := p.open(t)
			l := mustLock(t, s, "alice", 3*lease)
			if err := s.bucket.Delete(t.Context(), lockKey("sweep", l.Fence())); err != nil {
				t.Fatal(err)
			}
			lost(t, l, "its object is gone")
		})
	})
	t.Run("the store fails", func(t *testing.T) {
		var broken atomic.Bool
		p := simulated(t)
		l := mustLock(t, p.behind(t, func(w http.ResponseWriter, r *http.Request) bool {
			if broken.Load() {
				s3Answer(w, http.StatusForbidden, "AccessDenied")
			}
			return !broken.Load()
		}, nil).open(t), "alice", 2*lease)
		broken.Store(true)
		<-l.Context().Done()
		broken.Store(false)
		lost(t, l, "AccessDenied")
		if next := mustLock(t, p.open(t), "bob", time.Hour); next.Fence() != 2 {
			t.Errorf("fence %d", next.Fence())
		}
	})
	t.Run("the store hangs", func(t *testing.T) {
		var hangs atomic.Bool
		l := mustLock(t, simulated(t).behind(t, func(_ http.ResponseWriter, r *http.Request) bool {
			if hangs.Load() {
				<-r.Context().Done()
			}
			return true
		}, nil).open(t), "alice", lease)
		hangs.Store(true)
		<-l.Context().Done()
		hangs.Store(false)
		lost(t, l, "it was not renewed for")
	})
	t.Run("the machine slept", func(t *testing.T) { // and its monotonic clock with it
		l := mustLock(t, site{location: t.TempDir()}.open(t), "alice", time.Hour)
		l.mu.Lock()
		l.renewed.wall = l.renewed.wall.Add(-time.Hour)
		l.mu.Unlock()
		_ = l.Held() // nothing else notices before its time
		lost(t, l, "it was not renewed for 1h0m0")
	})
	t.Run("the clock was set back", func(t *testing.T) {
		l := mustLock(t, site{location: t.TempDir()}.open(t), "alice", time.Hour)
		l.mu.Lock()
		l.renewed.wall = l.renewed.wall.Add(24 * time.Hour)
		l.mu.Unlock()
		if err := l.Held(); err != nil {
			t.Error(err)
		}
		l.mu.Lock()
		l.renewed.mono = l.renewed.mono.Add(-time.Hour)
		l.mu.Unlock()
		_ = l.Held()
		lost(t, l, "it was not renewed for 1h0m0")
	})
}

// TestRenewalFailsForAWhile: a renewal that fails is tried again, and so the lock is kept.
func TestRenewalFailsForAWhile(t *testing.T) {
	t.Parallel()
	var failures atomic.Int32
	s := simulated(t).behind(t, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && !conditional(r) && failures.Add(1) <= 3 {
			s3Answer(w, http.StatusForbidden, "AccessDenied")
			return false
		}
		return true
	}, nil).open(t)
	l := mustLock(t, s, "alice", 1500*time.Millisecond)
	for failures.Load() < 5 {
		time.Sleep(10 * time.Millisecond)
	}
	if err := l.Held(); err != nil {
		t.Error(err)
	}
}

// TestLostAnswer: the SDK asks once more when an answer is lost, and then meets the object that it has made.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	var sent, lose atomic.Int32
	s := simulated(t).behind(t, nil, func(r *http.Request) bool {
		if !conditional(r) {
			return true
		}
		sent.Add(1)
		return lose.Add(-1) < 0
	}).open(t)
	lose.Store(1)
	l := mustLock(t, s, "alice", time.Minute)
	if l.Fence() != 1 || sent.Load() != 2 {
		t.Errorf("fence %d after %d requests", l.Fence(), sent.Load())
	}
	j, err := s.OpenJournal(t.Context(), sweepID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		lose.Store(1)
		if err := j.Append(t.Context(), record(i)); err != nil {
			t.Fatal(err)
		}
	}
	wantRecords(t, s, sweepID, record(0), record(1))
}

// TestLateRequest: a request can be so long on its way that others have held its number and the next, and have cleared
// it. Then it succeeds, and must not count.
func TestLateRequest(t *testing.T) {
	t.Parallel()
	p := simulated(t)
	arrived, goOn := make(chan bool), make(chan bool)
	var once sync.Once
	slow := p.behind(t, func(_ http.ResponseWriter, r *http.Request) bool {
		if conditional(r) {
			once.Do(func() {
				close(arrived)
				<-goOn
			})
		}
		return true
	}, nil).open(t)
	late := make(chan error)
	go func() {
		l, err := slow.Lock(t.Context(), "sweep", holder("late"), 2*time.Second)
		if err == nil {
			err = fmt.Errorf("it has number %d", l.Fence())
		}
		late <- err
	}()
	<-arrived
	s := p.open(t)
	if err := mustLock(t, s, "first", time.Minute).Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	l := mustLock(t, s, "second", 2*time.Second)
	if numbers, err := s.lockNumbers(t.Context(), "sweep"); err != nil || !slices.Equal(numbers, []int64{2}) {
		t.Fatalf("there are %v, %v: this test tests nothing", numbers, err)
	}
	close(goOn)
	var held *HeldError
	if err := <-late; !errors.As(err, &held) || held.Holder.Who != "second" {
		t.Error(err)
	}
	if err := l.Held(); err != nil {
		t.Error(err)
	}
}

// TestLockContext: the end of the context stops waiting, and the work, but the lock is kept.
func TestLockContext(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		s := p.open(t)
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		const lease = time.Second
		l, err := s.Lock(ctx, "sweep", holder("alice"), lease)
		if err != nil {
			t.Fatal(err)
		}
		cancel(why)
		<-l.Context().Done()
		if err := context.Cause(l.Context()); !errors.Is(err, why) {
			t.Error(err)
		}
		var held *HeldError
		for range 3 {
			if _, err := s.Lock(t.Context(), "sweep", holder("bob"), lease); !errors.As(err, &held) {
				t.Fatal(err)
			}
		}
		if err := l.Held(); err != nil {
			t.Error(err)
		}
		if err := l.Release(ctx); err == nil { // or by chance
			if err := l.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
		next := mustLock(t, s, "bob", time.Hour)
		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(50*time.Millisecond, func() { cancel(why) })
		if _, err := s.Lock(ctx, "sweep", holder("alice"), time.Hour); !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := next.Held(); err != nil {
			t.Error(err)
		}
	})
}

func TestLockArguments(t *testing.T) {
	s, dir := directory(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", "A", "a b"} {
		if _, err := s.Lock(t.Context(), name, holder("alice"), time.Minute); err == nil {
			t.Errorf("%q: no error", name)
		}
	}
	for _, lease := range []time.Duration{0, -1, 15} {
		if _, err := s.Lock(t.Context(), "sweep", holder("alice"), lease); err == nil {
			t.Errorf("%s: no error", lease)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the store holds %v, %v", entries, err)
	}
}
