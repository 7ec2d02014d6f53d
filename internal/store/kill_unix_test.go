//go:build unix

package store

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	killLease = 500 * time.Millisecond
	fileLimit = 1000
)

func init() {
	children["append"] = func(t *testing.T, s *Store, id string, say func(any), _ func()) {
		j, err := s.OpenJournal(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for n := 0; ; n += 2 {
			long := strings.Repeat("x", 100*(n%97))
			if err := j.Append(t.Context(), testRecord{n, long}, testRecord{n + 1, long}); err != nil {
				t.Fatal(err)
			}
			say(n + 1)
		}
	}
	children["fill"] = func(t *testing.T, s *Store, id string, say func(any), _ func()) {
		j, err := s.OpenJournal(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: fileLimit, Max: fileLimit}); err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; err == nil; n++ {
			err = j.Append(t.Context(), record(n))
		}
		say(n - 1)
		say(text(err))
		say(text(j.Append(t.Context(), record(n))))
	}
	children["hold"] = func(t *testing.T, s *Store, _ string, say func(any), wait func()) {
		l, err := s.Lock(t.Context(), "sweep", holder("child"), killLease)
		if err != nil {
			t.Fatal(err)
		}
		say(l.Fence())
		wait()
	}
	children["pause"] = func(t *testing.T, s *Store, id string, say func(any), wait func()) {
		l, err := s.Lock(t.Context(), "sweep", holder("child"), killLease)
		if err != nil {
			t.Fatal(err)
		}
		j, err := s.OpenJournal(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		say(text(j.Append(l.Context(), record(1))))
		wait()
		say(text(l.Held()))
		say(text(j.Append(l.Context(), record(2))))
		say(text(j.Append(t.Context(), record(3)))) // one that forgets to ask
		<-l.Context().Done()
		say(text(context.Cause(l.Context())))
		say(text(l.Release(t.Context())))
	}
}

// TestKilledWriter: kill -9 in the middle of writing loses nothing of what was acknowledged, nor its order.
func TestKilledWriter(t *testing.T) {
	const mine = -1 // of who goes on
	everywhere(t, func(t *testing.T, p site) {
		for round := range 5 {
			id := NewID(time.Date(2026, 11, 20, 0, 0, round, 0, time.UTC))
			c := p.child(t, "append", id)
			last := -1
			for began := time.Now(); last < 20 || time.Since(began) < time.Duration(round)*10*time.Millisecond; {
				if !c.hear(&last) {
					t.Fatal("the child ended by itself")
				}
			}
			c.kill()
			for c.hear(&last) { // what it said and was not heard yet
			}
			s := p.open(t)
			for resumed := range 2 {
				got, err := readRecords(t, s, id)
				if err != nil {
					t.Fatal(err)
				}
				// What was under way when it was killed may land at any time, also behind what others append.
				own := slices.DeleteFunc(slices.Clone(got), func(r testRecord) bool { return r.N == mine })
				if len(own) <= last || len(got)-len(own) != resumed || slices.ContainsFunc(got[:last+1], func(r testRecord) bool { return r.N == mine }) {
					t.Fatalf("%d records and %d of %d appended since, %d were acknowledged: %+v", len(own), len(got)-len(own), resumed, last+1, got)
				}
				for i, r := range own {
					if r.N != i {
						t.Fatalf("record %d is %d", i, r.N)
					}
				}
				j, err := s.OpenJournal(t.Context(), id) // goes on with it
				if err != nil {
					t.Fatal(err)
				}
				mustAppend(t, j, testRecord{N: mine})
				if err := j.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// TestKilledHolder: who was killed cannot release its lock.
func TestKilledHolder(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		c := p.child(t, "hold", sweepID)
		var fence int64
		if !c.hear(&fence) || fence != 1 {
			t.Fatalf("fence %d", fence)
		}
		c.kill()
		began := time.Now()
		if l := mustLock(t, p.open(t), "bob", killLease); l.Fence() != 2 || time.Since(began) < killLease {
			t.Errorf("fence %d after %s", l.Fence(), time.Since(began))
		}
	})
}

// TestPausedHolder: one that slept while its lock was taken over finds out when it wakes up, and writes nothing more.
func TestPausedHolder(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		c := p.child(t, "pause", sweepID)
		heard := func() string {
			t.Helper()
			var s string
			if !c.hear(&s) {
				t.Fatal("the child ended by itself")
			}
			return s
		}
		if s := heard(); s != "" {
			t.Fatal(s)
		}
		if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		s := p.open(t)
		l := mustLock(t, s, "bob", time.Minute)
		if l.Fence() != 2 {
			t.Errorf("fence %d", l.Fence())
		}
		want := []testRecord{record(1), record(4)}
		if p.onS3() {
			mustAppend(t, openJournal(t, s), record(4))
		} else {
			if _, err := s.OpenJournal(t.Context(), sweepID); text(err) == "" || text(err)[:5] != "busy:" {
				t.Errorf("the journal of one that is only paused: %v", err)
			}
			want = want[:1]
		}
		if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		c.goOn()
		if s := heard(); !strings.HasPrefix(s, "lost: lock sweep") {
			t.Errorf("Held: %s", s)
		}
		if s := heard(); !strings.HasPrefix(s, "lost: write "+sweepPath+"journal") {
			t.Errorf("Append: %s", s)
		}
		if s := heard(); p.onS3() && !strings.HasPrefix(s, "busy: ") {
			t.Errorf("Append of one that does not ask: %s", s)
		} else if !p.onS3() {
			want = append(want, record(3)) // in a directory nobody else could have written meanwhile
		}
		if s := heard(); !strings.HasPrefix(s, "lost: ") {
			t.Errorf("context: %s", s)
		}
		if s := heard(); s != "" {
			t.Errorf("Release: %s", s)
		}
		if err := l.Held(); err != nil {
			t.Error(err)
		}
		wantRecords(t, s, sweepID, want...)
	})
}

// TestNoSpace: a write that ends in the middle is an error, the last one, and is cut off when the journal is opened again.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	p := site{location: filepath.Join(t.TempDir(), "data")}
	c := p.child(t, "fill", sweepID)
	var n int
	var first, second string
	if !c.hear(&n) || !c.hear(&first) || !c.hear(&second) || !strings.Contains(first, sweepPath+journalName) || !strings.Contains(second, first) {
		t.Fatalf("after %d records: %q, then %q", n, first, second)
	}
	_ = c.cmd.Wait()
	s := p.open(t)
	got, err := readRecords(t, s, sweepID)
	if err != nil || len(got) != n {
		t.Errorf("%d records, want %d: %v", len(got), n, err)
	}
	if info, err := os.Stat(s.path(sweepPath + journalName)); err != nil || info.Size() != fileLimit {
		t.Errorf("no line is torn, this test tests nothing: %v", err)
	}
	mustAppend(t, openJournal(t, s), testRecord{N: n})
	if got, err = readRecords(t, s, sweepID); err != nil || len(got) != n+1 || got[n].N != n {
		t.Errorf("%d records, want %d: %v", len(got), n+1, err)
	}
}
