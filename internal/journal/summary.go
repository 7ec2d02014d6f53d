package journal

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Summary is what a sweep has done so far. Planned is the sum of Deleted, Skipped, Failed and Left, and when the sweep
// has ended by itself, nothing is left.
type Summary struct {
	Last       Begin     // the newest attempt
	Attempts   int       // how often it was begun or gone on with
	FirstBegun time.Time // of the first
	LastAt     time.Time // of the last record
	EndedAt    time.Time // zero: it was interrupted, or is still going on
	Abandoned  string    // why it ended with something left
	Calls      int       // calls of BatchDeleteImage
	Counts               // of all
	Accounts   []AccountCount
}

// Counts are what became of the images of a plan.
type Counts struct {
	Planned Tally       `json:"planned"`
	Deleted Tally       `json:"deleted"`
	Skipped Tally       `json:"skipped"`
	Failed  Tally       `json:"failed"`
	Left    Tally       `json:"left"`            // not yet done: the sweep was interrupted
	Codes   []CodeCount `json:"codes,omitempty"` // of what was skipped or failed, most images first
}

// CodeCount counts the images that were skipped or that failed for one reason.
type CodeCount struct {
	State State `json:"state"`
	Code  Code  `json:"code"`
	Tally
}

// AccountCount is what became of the images of an account.
type AccountCount struct {
	Account string
	Counts
	Freed map[string]int64 // bytes deleted, by region, to price them: the sizes of images, so that what they shared counts more than once
	// Released are the bytes that are not stored any more, by region: what nothing that stayed refers to, and the sizes of
	// images where that is not known. nil: it was not measured. Journals do not tell; whoever sums one up may.
	Released map[string]int64 `json:",omitempty"`
}

// Summary adds up.
func (l *Ledger) Summary() Summary {
	s := Summary{Attempts: len(l.Begins), Calls: l.calls, Abandoned: l.End.Abandoned}
	if len(l.Begins) == 0 {
		return s
	}
	s.LastAt, s.Last, s.FirstBegun = l.LastAt, l.Begins[len(l.Begins)-1], l.Begins[0].StartedAt
	if l.Ended {
		s.EndedAt = l.EndedAt
	}
	accounts := map[string]*AccountCount{}
	codes := map[string]map[CodeCount]*Tally{"": {}} // by account; "" is all
	at := func(id string) *AccountCount {
		if accounts[id] == nil {
			accounts[id] = &AccountCount{Account: id, Freed: map[string]int64{}}
			codes[id] = map[CodeCount]*Tally{}
		}
		return accounts[id]
	}
	for _, p := range s.Last.PlannedIn {
		at(p.Account).Planned.Add(p.Tally)
	}
	for e := range l.Images() {
		a := at(e.Account)
		t := Tally{1, e.Bytes}
		switch e.State {
		case Deleted:
			a.Deleted.Add(t)
			a.Freed[e.Region] += e.Bytes
			continue
		case Failed:
			a.Failed.Add(t)
		case Skipped:
			a.Skipped.Add(t)
		}
		for _, id := range []string{"", e.Account} {
			k := CodeCount{State: e.State, Code: e.Code}
			if codes[id][k] == nil {
				codes[id][k] = &Tally{}
			}
			codes[id][k].Add(t)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		a := accounts[id]
		a.Codes = sortCodes(codes[id])
		a.Left = a.Planned
		for _, t := range []Tally{a.Deleted, a.Skipped, a.Failed} {
			a.Left.Add(Tally{-t.Images, -t.Bytes})
		}
		s.Planned.Add(a.Planned)
		s.Deleted.Add(a.Deleted)
		s.Skipped.Add(a.Skipped)
		s.Failed.Add(a.Failed)
		s.Left.Add(a.Left)
		s.Accounts = append(s.Accounts, *a)
	}
	s.Codes = sortCodes(codes[""])
	return s
}

func sortCodes(codes map[CodeCount]*Tally) []CodeCount {
	var list []CodeCount
	for k, t := range codes {
		k.Tally = *t
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b CodeCount) int {
		return cmp.Or(cmp.Compare(b.Images, a.Images), cmp.Compare(a.State, b.State), cmp.Compare(a.Code, b.Code))
	})
	return list
}
