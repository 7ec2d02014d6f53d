package sweep

import (
	"context"
	"fmt"
	"iter"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/journal"
)

// Settle accounts for the calls of an interrupted sweep of which nobody knows what became, by what a scan that began
// after them found: what is gone was deleted by them, what is there is still to be done. inventory gives the
// repositories of a registry, and an error if they are not known: such a call stays open.
func Settle(ctx context.Context, l *journal.Ledger, inventory func(image.Registry) iter.Seq2[image.Inventory, error], record func(context.Context, ...journal.Record) error) error {
	for _, intent := range l.Open() {
		repo := intent.Repo()
		present, err := holds(repo, inventory(repo.Registry))
		if err != nil {
			continue
		}
		outcome := journal.Record{Kind: journal.KindOutcome, At: time.Now().UTC(), Account: repo.Account, Region: repo.Region, Repository: repo.Name, Role: intent.Role, Call: intent.Call}
		for _, img := range intent.Images {
			if present[img.Digest] {
				continue
			}
			img.Why, img.State, img.Detail = "", journal.Deleted, "the sweep was interrupted; the next scan found it gone"
			outcome.Images = append(outcome.Images, img)
		}
		if err := record(ctx, outcome); err != nil {
			return err
		}
	}
	return nil
}

// holds lists the images of one repository of a registry. One that is not there holds none.
func holds(repo image.Repository, inventories iter.Seq2[image.Inventory, error]) (map[image.Digest]bool, error) {
	present := map[image.Digest]bool{}
	for inv, err := range inventories {
		if err != nil {
			return nil, err
		}
		if inv.Repository != repo {
			continue
		}
		if len(inv.Errors) > 0 {
			return nil, fmt.Errorf("its repository could not be read: %s", inv.Errors[0])
		}
		for i := range inv.Images {
			present[inv.Images[i].Digest] = true
		}
		return present, nil // whatever is wrong with others
	}
	return present, nil
}
