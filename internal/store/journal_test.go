package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sweepID   = "20261120T224303Z-4f2a"
	sweepPath = "sweeps/" + sweepID + "/"
)

type testRecord struct {
	N    int    `json:"n"`
	Text string `json:"text,omitempty"`
}

func record(n int) testRecord { return testRecord{n, "täxt\n<&> \u2028"} }

func openJournal(t *testing.T, s *Store) *Journal {
	t.Helper()
	j, err := s.OpenJournal(t.Context(), sweepID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func mustAppend(t *testing.T, j *Journal, records ...any) {
	t.Helper()
	if err := j.Append(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func readRecords(t *testing.T, s *Store, id string) ([]testRecord, error) {
	t.Helper()
	var got []testRecord
	for raw, err := range s.JournalRecords(t.Context(), id) {
		if err != nil {
			return got, err
		}
		var r testRecord
		if err := json.Unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	return got, nil
}

func wantRecords(t *testing.T, s *Store, id string, want ...testRecord) {
	t.Helper()
	got, err := readRecords(t, s, id)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestJournal(t *testing.T) { everywhere(t, testJournal) }

func testJournal(t *testing.T, p site) {
	ctx, s := t.Context(), p.open(t)
	if ids, err := s.Journals(ctx); err != nil || len(ids) != 0 {
		t.Errorf("Journals of an empty store: %v, %v", ids, err)
	}
	if _, err := readRecords(t, s, sweepID); !IsNotExist(err) {
		t.Errorf("no journal: %v", err)
	}
	j := openJournal(t, s)
	mustAppend(t, j, record(1))
	mustAppend(t, j)
	mustAppend(t, j, record(2), record(3))
	wantRecords(t, s, sweepID, record(1), record(2), record(3)) // while it is open
	for _, bad := range []any{3, "x", nil, []int{1}, make(chan int), json.RawMessage("{")} {
		if err := j.Append(ctx, record(9), bad); err == nil {
			t.Errorf("%v was written", bad)
		}
	}
	ended, cancel := context.WithCancelCause(ctx)
	cancel(ErrLockLost)
	if err := j.Append(ended, record(9)); !errors.Is(err, ErrLockLost) {
		t.Errorf("Append after the end of its context: %v", err)
	}
	mustAppend(t, j, record(4)) // none of these wrote anything
	for range 2 {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := j.Append(ctx, record(9)); err == nil || !strings.Contains(err.Error(), sweepPath+"journal") {
		t.Errorf("Append after Close: %v", err)
	}
	j = openJournal(t, p.open(t))
	mustAppend(t, j, record(5))
	wantRecords(t, s, sweepID, record(1), record(2), record(3), record(4), record(5))
	for _, err := range s.JournalRecords(ctx, sweepID) {
		if err != nil {
			t.Error(err)
		}
		break // stopping early is no error
	}

	const earlier = "20261019T224303Z-4f2a"
	other, err := s.OpenJournal(ctx, earlier)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, other, record(0))
	if err := other.Close(); err != nil {
		t.Error(err)
	}
	put(t, s, "sweeps/notes.txt", "x")
	if ids, err := s.Journals(ctx); err != nil || !slices.Equal(ids, []string{earlier, sweepID}) {
		t.Errorf("Journals: %v, %v", ids, err)
	}
	wantRecords(t, s, earlier, record(0))
}

// TestJournalAtOnce: what is appended together stays together, and nothing is lost.
func TestJournalAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		s := p.open(t)
		j := openJournal(t, s)
		const many, each = 8, 5
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				for k := range each {
					if err := j.Append(t.Context(), record(100*i+2*k), record(100*i+2*k+1)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		got, err := readRecords(t, s, sweepID)
		if err != nil || len(got) != 2*many*each {
			t.Fatalf("%d records, %v", len(got), err)
		}
		last := map[int]int{}
		for k := 0; k < len(got); k += 2 {
			i, n := got[k].N/100, got[k].N%100
			if got[k+1].N != got[k].N+1 || n != last[i] {
				t.Errorf("out of order: %d, %d", got[k].N, got[k+1].N)
			}
			last[i] = n + 2
		}
	})
}

// TestManyObjects: more than are read ahead, and more than a page of a list.
func TestManyObjects(t *testing.T) {
	t.Parallel()
	s := simulated(t).open(t)
	j := openJournal(t, s)
	var want []testRecord
	for i := range 1010 {
		mustAppend(t, j, testRecord{N: i})
		want = append(want, testRecord{N: i})
	}
	wantRecords(t, s, sweepID, want...)
	mustAppend(t, openJournal(t, s), testRecord{N: 1010})
	wantRecords(t, s, sweepID, append(want, testRecord{N: 1010})...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var last error
	for _, err := range s.JournalRecords(ctx, sweepID) {
		if n++; n == 100 {
			cancel()
		}
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("%v after %d records", last, n)
	}
}

// TestTornJournal: wherever a writer was killed in its last line, that line was never there.
func TestTornJournal(t *testing.T) {
	s, dir := directory(t)
	j := openJournal(t, s)
	mustAppend(t, j, record(1), record(2))
	file := filepath.Join(dir, filepath.FromSlash(sweepPath), journalName)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, record(3))
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	check := func(name string, torn []byte) {
		t.Helper()
		if err := os.WriteFile(file, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		wantRecords(t, s, sweepID, record(1), record(2))
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, torn) {
			t.Errorf("%s: reading changes the journal", name)
		}
		j := openJournal(t, s)
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, before) {
			t.Errorf("%s: %q is left, %v", name, now, err)
		}
		mustAppend(t, j, record(4))
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		wantRecords(t, s, sweepID, record(1), record(2), record(4))
	}
	for n := len(before); n < len(whole); n++ {
		check(fmt.Sprint(n), whole[:n])
		if n > len(before) {
			check(fmt.Sprint(n, " with an end"), append(slices.Clone(whole[:n-1]), '\n')) // the closing brace at least is missing
		}
	}
	for name, tail := range map[string]string{
		"zeros": strings.Repeat("\x00", 5000), "zeros with an end": strings.Repeat("\x00", 5000) + "\n", "an empty line": "\n",
		"no object": "[1]\n", "two in one": `{"n":1}{"n":2}` + "\n", "long": `{"text":"` + strings.Repeat("x", 1<<20),
	} {
		check(name, append(slices.Clone(before), tail...))
	}
}

// TestDamagedJournal: damage that no kill explains is an error that names it, and nothing is cut off.
func TestDamagedJournal(t *testing.T) {
	s, dir := directory(t)
	j := openJournal(t, s)
	mustAppend(t, j, record(1), record(2), record(3))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, filepath.FromSlash(sweepPath), journalName)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for name, text := range map[string]string{
		"cut short":  lines[0] + lines[1][:5] + "\n" + lines[2],
		"end lost":   lines[0] + lines[1][:5] + lines[2] + lines[0],
		"zeros":      lines[0] + strings.Repeat("\x00", len(lines[1])-1) + "\n" + lines[2],
		"no line":    lines[0] + "\n" + lines[2],
		"two of it":  lines[0] + "x\nx\n",
		"and a torn": lines[0] + "x\n" + lines[1][:5],
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readRecords(t, s, sweepID)
		if err == nil || !strings.Contains(err.Error(), sweepPath+journalName) || !strings.Contains(err.Error(), "line 2") || len(got) != 1 {
			t.Errorf("%s: %v after %d records", name, err, len(got))
		}
		for range 2 {
			if _, err := s.OpenJournal(t.Context(), sweepID); err == nil || !strings.Contains(err.Error(), "line 2") || !strings.Contains(err.Error(), sweepPath+journalName) {
				t.Errorf("%s: OpenJournal: %v", name, err)
			}
		}
		if now, err := os.ReadFile(file); err != nil || string(now) != text {
			t.Errorf("%s: it was changed", name)
		}
	}
}

// TestGaps: on S3, a number that is missing and an object that is damaged are errors that name it.
func TestGaps(t *testing.T) { testGaps(t, simulated(t)) }

func testGaps(t *testing.T, p site) {
	s := p.open(t)
	j := openJournal(t, s)
	mustAppend(t, j, record(1))
	mustAppend(t, j, record(2), record(3))
	mustAppend(t, j, record(4))
	second := journalKey(sweepPath, 2)
	for name, text := range map[string]string{"torn": `{"n":2}` + "\n" + `{"n":3`, "other": `<html>`, "no end": `{"n":2}`} {
		put(t, s, second, text)
		if _, err := readRecords(t, s, sweepID); err == nil || !strings.Contains(err.Error(), second) || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, n := range []int{2, 1} {
		key := journalKey(sweepPath, n)
		if err := s.bucket.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if got, err := readRecords(t, s, sweepID); err == nil || !strings.Contains(err.Error(), key) || len(got) != 0 {
			t.Errorf("without %d: %v after %d records", n, err, len(got))
		}
		if _, err := s.OpenJournal(t.Context(), sweepID); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("OpenJournal without %d: %v", n, err)
		}
	}
}

// TestTwoWriters: one of them at most writes.
func TestTwoWriters(t *testing.T) { everywhere(t, testTwoWriters) }

func testTwoWriters(t *testing.T, p site) {
	ctx, s, other := t.Context(), p.open(t), p.open(t)
	first := openJournal(t, s)
	if !p.onS3() {
		for _, s := range []*Store{s, other} {
			if _, err := s.OpenJournal(ctx, sweepID); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), sweepPath+journalName) {
				t.Errorf("the second: %v", err)
			}
		}
		mustAppend(t, first, record(1))
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		mustAppend(t, openJournal(t, other), record(2))
		wantRecords(t, s, sweepID, record(1), record(2))
		return
	}
	second := openJournal(t, other)
	mustAppend(t, first, record(1))
	for range 2 { // not even when it writes the same
		if err := second.Append(ctx, record(1)); !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), journalKey(sweepPath, 1)) {
			t.Errorf("the second: %v", err)
		}
	}
	third := openJournal(t, other)
	mustAppend(t, third, record(2))
	if err := first.Append(ctx, record(3)); !errors.Is(err, ErrBusy) {
		t.Errorf("the first, which was overtaken: %v", err)
	}
	wantRecords(t, s, sweepID, record(1), record(2))
}

// TestFailedAppend: after a write of which nobody knows how far it went, nothing more is written.
func TestFailedAppend(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		s := p.open(t)
		j := openJournal(t, s)
		mustAppend(t, j, record(1))
		write := j.write
		j.write = func(context.Context, []byte) error { return io.ErrShortWrite }
		if err := j.Append(t.Context(), record(2)); !errors.Is(err, io.ErrShortWrite) || !strings.Contains(err.Error(), sweepPath+"journal") {
			t.Error(err)
		}
		j.write = write
		if err := j.Append(t.Context(), record(3)); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("Append after one that failed: %v", err)
		}
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		wantRecords(t, s, sweepID, record(1))
		mustAppend(t, openJournal(t, s), record(4))
		wantRecords(t, s, sweepID, record(1), record(4))
	})
}

// TestSweepKeys: nothing but validated ids gets into a key.
func TestSweepKeys(t *testing.T) {
	s, dir := directory(t)
	ctx := t.Context()
	for _, id := range []string{"", "..", "../x", sweepID + "/..", strings.ToUpper(sweepID), "x" + sweepID} {
		_, err := s.OpenJournal(ctx, id)
		errs := []error{err, s.SaveManifests(ctx, id, "a", func(io.Writer) error { return nil }), s.SaveSweep(ctx, id, 1), s.LoadSweep(ctx, id, new(int))}
		for _, records := range []func(func(json.RawMessage, error) bool){s.JournalRecords(ctx, id), s.Manifests(ctx, id)} {
			n := 0
			for _, err := range records {
				errs = append(errs, err)
				n++
			}
			if n != 1 {
				t.Errorf("%q: %d records", id, n)
			}
		}
		for i, err := range errs {
			if err == nil || IsNotExist(err) {
				t.Errorf("%q: %d: %v", id, i, err)
			}
		}
	}
	for _, part := range []string{"", "a/b", "a b", "ä", strings.Repeat("x", 201)} {
		if err := s.SaveManifests(ctx, sweepID, part, func(io.Writer) error { return nil }); err == nil {
			t.Errorf("part %q: no error", part)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the store holds %v, %v", entries, err)
	}
	openJournal(t, s)
	mustLock(t, s, "alice", DefaultLease)
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Error(err)
		} else if info, err := d.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
		return nil
	})
}

func TestManifests(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		ctx, s := t.Context(), p.open(t)
		get := func() (got []string, err error) {
			for m, err := range s.Manifests(ctx, sweepID) {
				if err != nil {
					return got, err
				}
				got = append(got, string(m))
			}
			return got, nil
		}
		if got, err := get(); err != nil || len(got) != 0 {
			t.Errorf("none: %v, %v", got, err)
		}
		for _, part := range []string{"b", "a", "..", "b"} {
			if err := s.SaveManifests(ctx, sweepID, part, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "{\"part\":%q}\n{\"n\":2}\n", part)
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.SaveManifests(ctx, sweepID, "empty", func(io.Writer) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := s.SaveManifests(ctx, sweepID, "a", func(w io.Writer) error { return io.ErrNoProgress }); !errors.Is(err, io.ErrNoProgress) {
			t.Error(err)
		}
		put(t, s, sweepPath+"manifests/c.jsonl.zst.18af.tmp", "x")
		want := []string{`{"part":".."}`, `{"n":2}`, `{"part":"a"}`, `{"n":2}`, `{"part":"b"}`, `{"n":2}`}
		if got, err := get(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q, %v", got, err)
		}
		for range s.Manifests(ctx, sweepID) {
			break
		}
		key := sweepPath + "manifests/b.jsonl.zst"
		data, err := s.readAll(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		for name, damage := range damages {
			put(t, s, key, string(damage(data)))
			got, err := get()
			if name == "other JSON" || name == "something behind" { // it is sound
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), key) || len(got) > 6 {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	})
}

func TestSaveSweep(t *testing.T) {
	everywhere(t, func(t *testing.T, p site) {
		ctx, s := t.Context(), p.open(t)
		var got testRecord
		if err := s.LoadSweep(ctx, sweepID, &got); !IsNotExist(err) {
			t.Errorf("LoadSweep of nothing: %v", err)
		}
		for i := range 2 {
			if err := s.SaveSweep(ctx, sweepID, record(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.LoadSweep(ctx, sweepID, &got); err != nil || got != record(1) {
			t.Errorf("LoadSweep: %v, %v", got, err)
		}
		put(t, s, sweepPath+"summary.json", "{")
		if err := s.LoadSweep(ctx, sweepID, &got); err == nil || !strings.Contains(err.Error(), sweepPath+"summary.json") {
			t.Errorf("damaged: %v", err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	s := site{location: b.TempDir()}.open(b)
	j, err := s.OpenJournal(b.Context(), sweepID)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := j.Append(b.Context(), record(1), record(2)); err != nil {
			b.Fatal(err)
		}
	}
}
