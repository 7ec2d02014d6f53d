package sweep

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/planner"
)

// Brakes are what stops a sweep before its first call.
type Brakes struct {
	Enforced   func(account string) bool // accounts that may be deleted from at all
	MaxPercent int                       // of a repository's images
	MaxImages  int                       // of a sweep; 0: no limit
	MaxBytes   int64                     // the same
	// Confirmed gives the images of a repository that an earlier run, old enough, found deletable too; nil: nobody asks.
	Confirmed func(image.Repository) (map[image.Digest]bool, error)
	// Unconfirmed says in words what is missed.
	Unconfirmed string
}

// Todo is what is to be done of a reviewed plan, and what is not.
type Todo struct {
	Work    []Work           // by account, region, repository
	Skipped []journal.Record // why the rest is not
	Going   journal.Tally    // what would go as things stand
	// ByAccount is Going by account.
	ByAccount map[string]journal.Tally
}

// Prepare intersects what was reviewed with a fresh plan and applies the brakes. done is what an interrupted attempt at
// the same plan has deleted: it counts for the brakes. A brake that stops all is a *Refusal.
func Prepare(r *Reviewed, fresh *planner.Plan, pullers func(*image.Inventory) ([]string, bool), b Brakes, done *journal.Ledger) (*Todo, error) {
	t := &Todo{ByAccount: map[string]journal.Tally{}}
	left := maps.Clone(r.Images)
	var tooMuch []string
	for p, err := range fresh.Repositories {
		if err != nil {
			return nil, err
		}
		reviewed, ok := left[p.Repository]
		if !ok {
			continue
		}
		delete(left, p.Repository)
		before := len(reviewed)
		reviewed = slices.DeleteFunc(slices.Clone(reviewed), func(c Candidate) bool { return deleted(done, p.Repository, c.Digest) })
		before -= len(reviewed)
		reviewed, skipped, err := b.hold(p.Repository, reviewed)
		if err != nil {
			return nil, err
		}
		v := judge(reviewed, p, r.GeneratedAt, journal.NotDeletable)
		t.skip(p.Repository, append(skipped, v.skipped...))
		going := v.count()
		if going.Images == 0 {
			continue
		}
		if n, of := going.Images+before, v.images+before; n*100 > b.MaxPercent*of {
			tooMuch = append(tooMuch, fmt.Sprintf("%s: %d of %d images (%d %%)", p.Repository, n, of, n*100/of))
		}
		t.Going.Add(going)
		sum := t.ByAccount[p.Repository.Account]
		sum.Add(going)
		t.ByAccount[p.Repository.Account] = sum
		w := Work{Repository: p.Repository, Policy: p.Inventory.Policy}
		w.Pullers, w.All = pullers(p.Inventory)
		for _, call := range v.calls {
			for i := range call {
				at, _ := slices.BinarySearchFunc(reviewed, call[i].Digest, func(c Candidate, d image.Digest) int { return cmp.Compare(c.Digest, d) })
				w.Images = append(w.Images, reviewed[at])
			}
		}
		sortCandidates(w.Images)
		t.Work = append(t.Work, w)
	}
	for _, repo := range slices.SortedFunc(maps.Keys(left), image.CompareRepositories) {
		var skipped []journal.Image
		for i := range left[repo] {
			if c := &left[repo][i]; !deleted(done, repo, c.Digest) {
				skipped = append(skipped, c.skip(journal.NotDeletable, "its repository is not in the fresh plan: it is gone, its account or region is not configured any more, or it could not be read"))
			}
		}
		t.skip(repo, skipped)
	}
	t.unknown(done)
	return t, b.stop(t, tooMuch, done)
}

// unknown turns what was skipped into failures where an earlier attempt has sent a call for it of which nobody knows what
// became, since the registry could not be read again.
func (t *Todo) unknown(done *journal.Ledger) {
	if done == nil {
		return
	}
	for _, open := range done.Open() {
		sent := map[image.Digest]bool{}
		for i := range open.Images {
			sent[open.Images[i].Digest] = true
		}
		for i := range t.Skipped {
			r := &t.Skipped[i]
			if r.Repo() != open.Repo() {
				continue
			}
			for k := range r.Images {
				if img := &r.Images[k]; sent[img.Digest] {
					img.State, img.Code = journal.Failed, journal.NoAnswer
					img.Detail = "the sweep was interrupted while it was being deleted, and what became of it is not known, since its repository could not be read"
				}
			}
		}
	}
}

func deleted(done *journal.Ledger, repo image.Repository, d image.Digest) bool {
	if done == nil {
		return false
	}
	img, ok := done.Get(repo, d)
	return ok && img.State == journal.Deleted
}

// hold takes out what may not be deleted whatever the plans say.
func (b *Brakes) hold(repo image.Repository, reviewed []Candidate) (rest []Candidate, held []journal.Image, err error) {
	if !b.Enforced(repo.Account) {
		for i := range reviewed {
			held = append(held, reviewed[i].skip(journal.NotEnforced, "account "+repo.Account+" has no enforce = true"))
		}
		return nil, held, nil
	}
	if b.Confirmed == nil {
		return reviewed, nil, nil
	}
	confirmed, err := b.Confirmed(repo)
	if err != nil {
		return nil, nil, err
	}
	for i := range reviewed {
		if c := &reviewed[i]; confirmed[c.Digest] {
			rest = append(rest, *c)
		} else {
			held = append(held, c.skip(journal.Unconfirmed, b.Unconfirmed))
		}
	}
	return rest, held, nil
}

// stop refuses what is more than the brakes let through, all at once.
func (b *Brakes) stop(t *Todo, tooMuch []string, done *journal.Ledger) error {
	var why []string
	if n := len(tooMuch); n > 0 {
		const most = 10
		if n > most {
			tooMuch = append(tooMuch[:most], fmt.Sprintf("and %d more repositories", n-most))
		}
		why = append(why, fmt.Sprintf("more than max_delete_percent = %d of a repository would go:\n  %s\n"+
			"  (raise it under [safety], narrow the sweep with --repository, or keep more by its rule)", b.MaxPercent, strings.Join(tooMuch, "\n  ")))
	}
	sum := t.Going
	if done != nil {
		for e := range done.Images() {
			if e.State == journal.Deleted {
				sum.Add(journal.Tally{Images: 1, Bytes: e.Bytes})
			}
		}
	}
	if b.MaxImages > 0 && sum.Images > b.MaxImages {
		why = append(why, fmt.Sprintf("%d images would go, and max_delete_images is %d\n  (raise it under [safety], or narrow the sweep with --account, --region, --repository)", sum.Images, b.MaxImages))
	}
	if b.MaxBytes > 0 && sum.Bytes > b.MaxBytes {
		why = append(why, fmt.Sprintf("%s would go, and max_delete_bytes is %s\n  (raise it under [safety], or narrow the sweep with --account, --region, --repository)",
			humanize.IBytes(uint64(sum.Bytes)), humanize.IBytes(uint64(b.MaxBytes))))
	}
	if len(why) > 0 {
		return refuse("nothing was deleted: %s", strings.Join(why, "\nand "))
	}
	return nil
}

func (t *Todo) skip(repo image.Repository, images []journal.Image) {
	if len(images) > 0 {
		t.Skipped = append(t.Skipped, skipRecord(repo, images))
	}
}

// skipRecord says that images are left alone. What is the same for all of them is said once: there may be thousands.
func skipRecord(repo image.Repository, images []journal.Image) journal.Record {
	r := journal.Record{Kind: journal.KindSkip, Account: repo.Account, Region: repo.Region, Repository: repo.Name, Images: images}
	for i := range images {
		if images[i].Detail != images[0].Detail {
			return r
		}
	}
	if len(images) > 1 {
		r.Error = images[0].Detail
		for i := range images {
			images[i].Detail = ""
		}
	}
	return r
}

// Braked reports whether nothing is to be done although the plans agree, since brakes hold all of it, and says which.
func (t *Todo) Braked() (string, bool) {
	if len(t.Work) > 0 {
		return "", false
	}
	codes := map[journal.Code]int{}
	for i := range t.Skipped {
		for _, img := range t.Skipped[i].Images {
			if img.Code.Brake() {
				codes[img.Code]++
			}
		}
	}
	var parts []string
	for _, c := range slices.Sorted(maps.Keys(codes)) {
		parts = append(parts, fmt.Sprintf("%d images %s", codes[c], c))
	}
	return strings.Join(parts, ", "), len(parts) > 0
}
