package cost

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	"demurrage/internal/image"
)

// What a bill has beside the repositories that were scanned, as it stands where a repository's name would. No
// repository can have such a name.
const (
	NotScanned = "(billed, not scanned)" // storage where nothing was scanned, or nothing is stored
	NotStorage = "(not storage: transfer and others)"
)

// Scanned is a repository and what it stores. Where its layers are not known, Stored says so and Unique is the sum of
// the sizes of its images.
type Scanned struct {
	Repository image.Repository
	Stored     Stored
}

// Allocation is a month's bill, split among repositories. The bill knows accounts and regions only: the storage that
// each has is split by what its repositories store now, so that what was deleted within the month is borne by what is
// left. All amounts, those of the repositories and the rest, add up to Total exactly.
type Allocation struct {
	Month       string
	Currency    string
	Lines       int     // of the bill in this month; 0: the bill does not know the month
	Provisional bool    // one of them is
	Total       Money   // of them
	Billed      []Money // of each repository, in the order that they were given in
	Rest        []Rest  // by account, region and name
}

// Rest is what no repository is billed of an account and region.
type Rest struct {
	Registry image.Registry // the region may be ""
	Name     string         // NotScanned or NotStorage
	Amount   Money          // never 0
}

// Allocate splits what was billed for a month among the repositories, each of which is given once. Neither their order
// nor that of the bill's lines matters: a millionth that cannot be split goes by size, then by name.
func (b *Bill) Allocate(month string, scanned []Scanned) *Allocation {
	a := &Allocation{Month: month, Currency: b.Currency, Billed: make([]Money, len(scanned))}
	type sums struct{ storage, other Money }
	billed := map[image.Registry]sums{}
	for i := range b.Lines {
		l := &b.Lines[i]
		if l.Month != month {
			continue
		}
		a.Lines++
		a.Provisional = a.Provisional || l.Provisional
		a.Total += l.Amount
		at := image.Registry{Account: l.Account, Region: l.Region}
		s := billed[at]
		if l.Storage {
			s.storage += l.Amount
		} else {
			s.other += l.Amount
		}
		billed[at] = s
	}

	for group := range byRegistry(scanned) {
		at := scanned[group[0]].Repository.Registry
		weights := make([]int64, len(group))
		for i, of := range group {
			weights[i] = scanned[of].Stored.Unique
		}
		s := billed[at]
		shares, rest := Allocate(s.storage, weights)
		for i, of := range group {
			a.Billed[of] = shares[i]
		}
		s.storage = rest
		billed[at] = s
	}

	for _, at := range slices.SortedFunc(maps.Keys(billed), compareRegistries) {
		s := billed[at]
		if s.storage != 0 {
			a.Rest = append(a.Rest, Rest{at, NotScanned, s.storage})
		}
		if s.other != 0 {
			a.Rest = append(a.Rest, Rest{at, NotStorage, s.other})
		}
	}
	return a
}

// byRegistry gives the places of the repositories of each registry, ordered by registry and name.
func byRegistry(scanned []Scanned) iter.Seq[[]int] {
	order := make([]int, len(scanned))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := &scanned[a], &scanned[b]
		return cmp.Or(image.CompareRepositories(x.Repository, y.Repository), cmp.Compare(x.Stored.Unique, y.Stored.Unique))
	})
	return func(yield func([]int) bool) {
		for start, end := 0, 0; start < len(order); start = end {
			at := scanned[order[start]].Repository.Registry
			for end < len(order) && scanned[order[end]].Repository.Registry == at {
				end++
			}
			if !yield(order[start:end]) {
				return
			}
		}
	}
}

func compareRegistries(a, b image.Registry) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
}
