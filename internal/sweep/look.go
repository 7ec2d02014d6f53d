package sweep

import (
	"context"
	"fmt"
	"slices"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/internal/scan"
	"demurrage/planner"
)

// Looker takes the look just before the deletions of a registry: at what changes fast in every account that could pull
// from it, and then at its repositories. What the scan of the start saw goes on counting: a look adds uses and gaps, and
// takes none away.
type Looker struct {
	Looks   *scan.Looks
	Targets []scan.Target // of the run of the start
	Mirrors []image.Mirror
	Merged  *planner.Merged
}

// Look plans the repositories of a registry once more. The error is that of ctx.
func (l *Looker) Look(ctx context.Context, registry image.Registry, work []Work) (map[string]Looked, error) {
	uses := l.Merged.UsesOf(registry)
	var gaps []image.Coverage
	caches := map[image.Registry]bool{registry: true}
	for i := range l.Mirrors { // a cache of a cache too: whatever is used through one may come from here
		caches[l.Mirrors[i].Cache] = true
	}
	// First what is used, then what its tags mean: a tag that moves in between moves to what is then protected.
	_, err := l.Looks.At(ctx, l.targets(work), func(snap *scan.Snapshot) error {
		for i := range snap.Uses {
			if caches[snap.Uses[i].Ref.Repository.Registry] {
				uses = append(uses, snap.Uses[i])
			}
		}
		gaps = append(gaps, failed(snap)...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(work))
	for i := range work {
		names[i] = work[i].Name
	}
	snap, err := l.Looks.Registry(ctx, scan.Target{Account: registry.Account, Region: registry.Region, Planned: true}, names)
	if err != nil {
		return nil, err
	}
	unread := failed(snap)
	merged := l.Merged.Again(uses, append(gaps, unread...))
	looked := make(map[string]Looked, len(work))
	for i := range work {
		w := &work[i]
		at := slices.IndexFunc(snap.Inventories, func(inv image.Inventory) bool { return inv.Repository == w.Repository })
		switch {
		case at < 0 && len(unread) > 0:
			looked[w.Name] = Looked{Code: journal.NotLooked, Detail: "the registry could not be read again: " + unread[0].Error}
		case at < 0:
			looked[w.Name] = Looked{Code: journal.Gone, Detail: "its repository is not there any more"}
		case snap.Inventories[at].Policy != w.Policy && !l.covered(merged, &snap.Inventories[at], w):
			looked[w.Name] = Looked{Code: journal.NotLooked, Detail: "its policy lets in more accounts than when it was planned, and those were not looked at again"}
		default:
			looked[w.Name] = Looked{Plan: merged.Repository(&snap.Inventories[at])}
		}
	}
	return looked, nil
}

// covered reports whether all that a changed policy lets in was looked at.
func (l *Looker) covered(m *planner.Merged, inv *image.Inventory, w *Work) bool {
	pullers, all := m.Pullers(inv)
	return w.All || !all && !slices.ContainsFunc(pullers, func(id string) bool { return !slices.Contains(w.Pullers, id) })
}

// targets are those of the accounts that could pull from any of the repositories.
func (l *Looker) targets(work []Work) []scan.Target {
	pullers := map[string]bool{}
	all := false
	for i := range work {
		all = all || work[i].All
		for _, id := range work[i].Pullers {
			pullers[id] = true
		}
	}
	var targets []scan.Target
	for _, t := range l.Targets {
		if all || pullers[t.Account] {
			targets = append(targets, t)
		}
	}
	return targets
}

func failed(snap *scan.Snapshot) []image.Coverage {
	var gaps []image.Coverage
	for _, c := range snap.Coverage {
		if c.Status == image.CoverageFailed {
			c.Error = fmt.Sprintf("in the look before the deletion: %s", c.Error)
			gaps = append(gaps, c)
		}
	}
	return gaps
}
