package journal

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"

	"demurrage/internal/image"
)

// Ledger is what the records of a sweep add up to. It is not safe for concurrent use.
type Ledger struct {
	Begins  []Begin   // first the one that began the sweep, then those that went on with it
	LastAt  time.Time // of the last record
	Ended   bool
	EndedAt time.Time
	End     End

	images map[image.Repository]map[image.Digest]Image
	open   map[int]*Record // intents without an outcome, by their number
	calls  int
	last   int // number of the last call
}

// NewLedger makes an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{images: map[image.Repository]map[image.Digest]Image{}, open: map[int]*Record{}}
}

// Replay adds up the records of a journal.
func Replay(records iter.Seq2[json.RawMessage, error]) (*Ledger, error) {
	l := NewLedger()
	n := 0
	for raw, err := range records {
		if err != nil {
			return nil, err
		}
		n++
		var r Record
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("record %d: %w", n, err)
		}
		if err := l.Apply(&r); err != nil {
			return nil, fmt.Errorf("record %d: %w", n, err)
		}
	}
	return l, nil
}

// Apply adds a record.
func (l *Ledger) Apply(r *Record) error {
	if r.Kind != KindBegin && len(l.Begins) == 0 {
		return fmt.Errorf("%q before any beginning", r.Kind)
	}
	l.LastAt = r.At
	switch r.Kind {
	case KindBegin:
		if r.Begin == nil {
			return fmt.Errorf("a beginning without its particulars")
		}
		l.Begins, l.Ended, l.End = append(l.Begins, *r.Begin), false, End{}
		for _, m := range l.images { // a new attempt decides anew what is not gone
			maps.DeleteFunc(m, func(_ image.Digest, img Image) bool { return img.State != Deleted })
		}
	case KindIntent:
		if l.open[r.Call] != nil {
			return fmt.Errorf("call %d is begun twice", r.Call)
		}
		for _, img := range r.Images {
			if l.images[r.Repo()][img.Digest].State != Deleted {
				delete(l.images[r.Repo()], img.Digest) // tried again: what was said of it holds no more
			}
		}
		l.calls++
		l.last = max(l.last, r.Call)
		l.open[r.Call] = r
	case KindOutcome:
		if l.open[r.Call] == nil {
			return fmt.Errorf("call %d has an outcome and was not begun", r.Call)
		}
		delete(l.open, r.Call)
		l.book(r)
	case KindSkip:
		l.book(r)
	case KindEnd:
		l.Ended, l.EndedAt = true, r.At
		if r.End != nil {
			l.End = *r.End
		}
	default:
		return fmt.Errorf("%q is no kind of record", r.Kind)
	}
	return nil
}

func (l *Ledger) book(r *Record) {
	repo := r.Repo()
	m := l.images[repo]
	if m == nil {
		m = map[image.Digest]Image{}
		l.images[repo] = m
	}
	for _, img := range r.Images {
		if img.Detail == "" && img.State != Deleted {
			img.Detail = r.Error
		}
		if m[img.Digest].State != Deleted { // whatever is found later, it was this sweep that deleted it
			m[img.Digest] = img
		}
	}
}

// Get gives what became of an image; ok is false where nothing is on record.
func (l *Ledger) Get(repo image.Repository, d image.Digest) (Image, bool) {
	img, ok := l.images[repo][d]
	return img, ok
}

// Open gives the intents of calls of which nobody knows what became, in the order in which they were written.
func (l *Ledger) Open() []*Record {
	var open []*Record
	for _, k := range slices.Sorted(maps.Keys(l.open)) {
		open = append(open, l.open[k])
	}
	return open
}

// LastCall is the number of the last call, over all attempts.
func (l *Ledger) LastCall() int { return l.last }

// Entry is what became of an image.
type Entry struct {
	image.Repository
	Image
}

// Images gives every image on record by account, region, repository and digest.
func (l *Ledger) Images() iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for _, repo := range slices.SortedFunc(maps.Keys(l.images), image.CompareRepositories) {
			for _, d := range slices.Sorted(maps.Keys(l.images[repo])) {
				if !yield(Entry{repo, l.images[repo][d]}) {
					return
				}
			}
		}
	}
}
