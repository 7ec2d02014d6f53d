package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"demurrage/internal/image"
)

var (
	registry = image.Registry{Account: "111111111111", Region: "us-east-1"}
	repo     = image.Repository{Registry: registry, Name: "app"}
)

func digest(i int) image.Digest { return image.Digest(fmt.Sprintf("sha256:%064x", i)) }

func images(state State, code Code, numbers ...int) (list []Image) {
	for _, n := range numbers {
		list = append(list, Image{Digest: digest(n), Bytes: int64(100 + n), State: state, Code: code})
	}
	return list
}

func begin(planned int) Record {
	t := Tally{Images: planned}
	for i := range planned {
		t.Bytes += int64(100 + i)
	}
	return Record{Kind: KindBegin, Begin: &Begin{Sweep: "s", PlannedIn: []Planned{{repo.Account, repo.Region, t}}}}
}

func of(kind Kind, call int, list []Image) Record {
	return Record{Kind: kind, Account: repo.Account, Region: repo.Region, Repository: repo.Name, Call: call, Images: list}
}

func replay(records ...Record) (*Ledger, error) {
	return Replay(func(yield func(json.RawMessage, error) bool) {
		for i := range records {
			raw, err := json.Marshal(&records[i])
			if !yield(raw, err) {
				return
			}
		}
	})
}

func mustReplay(t *testing.T, records ...Record) *Ledger {
	t.Helper()
	l, err := replay(records...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What was deleted stays deleted, whatever later attempts say; everything else they decide anew.
func TestAttempts(t *testing.T) {
	first := []Record{
		begin(4),
		of(KindSkip, 0, images(Skipped, Changed, 3)),
		of(KindIntent, 1, images("", "", 0, 1)),
		of(KindOutcome, 1, append(images(Deleted, "", 0), images(Failed, "ServerException", 1)...)),
	}
	l := mustReplay(t, first...)
	s := l.Summary()
	if s.Planned.Images != 4 || s.Deleted != (Tally{1, 100}) || s.Failed != (Tally{1, 101}) || s.Skipped != (Tally{1, 103}) || s.Left != (Tally{1, 102}) {
		t.Errorf("the first attempt: %+v", s.Counts)
	}

	l = mustReplay(t, append(first, begin(4))...)
	s = l.Summary()
	if s.Attempts != 2 || s.Deleted.Images != 1 || s.Failed.Images != 0 || s.Skipped.Images != 0 || s.Left.Images != 3 {
		t.Errorf("a second attempt that has decided nothing: %+v", s.Counts)
	}

	l = mustReplay(t, append(first, begin(4), of(KindSkip, 0, images(Skipped, Gone, 0, 1)))...)
	if img, _ := l.Get(repo, digest(0)); img.State != Deleted {
		t.Errorf("what this sweep has deleted is %v", img)
	}
	if img, _ := l.Get(repo, digest(1)); img.State != Skipped || img.Code != Gone {
		t.Errorf("what is gone by itself is %v", img)
	}
}

// An intent without an outcome is open, and its images are nothing yet.
func TestOpen(t *testing.T) {
	l := mustReplay(t, begin(2), of(KindIntent, 7, images("", "", 0)), of(KindIntent, 8, images("", "", 1)), of(KindOutcome, 8, images(Failed, CallFailed, 1)))
	open := l.Open()
	if len(open) != 1 || open[0].Call != 7 || l.LastCall() != 8 {
		t.Fatalf("open: %+v, last %d", open, l.LastCall())
	}
	if s := l.Summary(); s.Left.Images != 1 || s.Calls != 2 || !s.EndedAt.IsZero() {
		t.Errorf("%+v", s)
	}
	// Trying an image again takes back what was said of it, until the outcome is known.
	l = mustReplay(t, begin(1), of(KindIntent, 1, images("", "", 0)), of(KindOutcome, 1, images(Failed, CallFailed, 0)), of(KindIntent, 2, images("", "", 0)))
	if s := l.Summary(); s.Failed.Images != 0 || s.Left.Images != 1 {
		t.Errorf("%+v", s.Counts)
	}
}

// A journal that cannot be so is an error and not a guess.
func TestSenseless(t *testing.T) {
	for name, test := range map[string]struct {
		records []Record
		want    string
	}{
		"nothing began":     {[]Record{of(KindSkip, 0, nil)}, "before any beginning"},
		"begin of nothing":  {[]Record{{Kind: KindBegin}}, "particulars"},
		"one number twice":  {[]Record{begin(1), of(KindIntent, 1, nil), of(KindIntent, 1, nil)}, "call 1 is begun twice"},
		"outcome of none":   {[]Record{begin(1), of(KindOutcome, 3, nil)}, "call 3 has an outcome and was not begun"},
		"a kind of a later": {[]Record{begin(1), {Kind: "undo"}}, `"undo" is no kind`},
	} {
		if _, err := replay(test.records...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	broken := errors.New("disk")
	_, err := Replay(func(yield func(json.RawMessage, error) bool) { yield(nil, broken) })
	if !errors.Is(err, broken) {
		t.Errorf("a record that cannot be read: %v", err)
	}
	_, err = Replay(func(yield func(json.RawMessage, error) bool) { yield(json.RawMessage(`{"kind":`), nil) })
	if err == nil || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("half a record: %v", err)
	}
}

// Whatever happens in whatever order: planned = deleted + skipped + failed + left, by account and in sum, and each image
// counts once.
func TestAddsUp(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		const n = 12
		l := NewLedger()
		records := []Record{begin(n)}
		call := 0
		for range 30 {
			i := r.IntN(n)
			switch r.IntN(4) {
			case 0:
				records = append(records, of(KindSkip, 0, images(Skipped, Changed, i)))
			case 1:
				if r.IntN(8) == 0 {
					records = append(records, begin(n))
				}
			default:
				call++
				records = append(records, of(KindIntent, call, images("", "", i)))
				if r.IntN(5) > 0 {
					records = append(records, of(KindOutcome, call, images([]State{Deleted, Failed, Skipped}[r.IntN(3)], CallFailed, i)))
				}
			}
		}
		for i := range records {
			records[i].At = time.Unix(int64(i), 0)
			if err := l.Apply(&records[i]); err != nil {
				t.Fatal(err)
			}
			s := l.Summary()
			sum := s.Left
			for _, t := range []Tally{s.Deleted, s.Skipped, s.Failed} {
				sum.Add(t)
			}
			if sum != s.Planned || s.Left.Images < 0 || s.Left.Bytes < 0 || s.Deleted != s.Accounts[0].Deleted {
				t.Fatalf("seed %d, record %d: %+v", seed, i, s.Counts)
			}
			got := 0
			for range l.Images() {
				got++
			}
			if got != n-s.Left.Images {
				t.Fatalf("seed %d: %d images, %d left of %d", seed, got, s.Left.Images, n)
			}
		}
		again := mustReplay(t, records...)
		if diff := cmp.Diff(l.Summary(), again.Summary()); diff != "" {
			t.Fatalf("seed %d: replayed (-applied +replayed):\n%s", seed, diff)
		}
	}
}
