package report

import (
	"cmp"
	"maps"
	"slices"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// facts are the figures of a run at one grain, account x region x repository, and their sums. Money is rounded at
// that grain, once for each action; whatever an output adds up, it adds up from here.
type facts struct {
	repositories []repository // by account, region, name, as the plan has them
	accounts     []account    // by id: every account that was scanned, owns something or is known not to be scanned
	registries   []registry   // by account and region
	gaps         []gap        // as the plan has them
	coverage     coverage
	broken       struct{ live, latent int }
	total        totals
}

type repository struct {
	*planner.RepositorySummary
	owner      string
	costCenter string
	totals
}

type registry struct {
	image.Registry
	totals
}

type account struct {
	Account
	totals
	coverage  coverage
	unscanned string // why it is not scanned
}

// totals are figures that can be added up. Sizes are sums of image sizes, so that layers which images share count
// more than once: bytes and money are upper bounds.
type totals struct {
	repositories int
	count        planner.Count
	untagged     planner.Tally
	list         cost.Money    // of all images
	saving       cost.Money    // of those that go
	held         cost.Money    // of those that are blocked
	unpriced     planner.Count // what lies in regions without a known price, and is in none of the sums of money
}

func (t *totals) add(o *totals) {
	t.repositories += o.repositories
	t.count.Add(o.count)
	t.untagged.Images += o.untagged.Images
	t.untagged.Bytes += o.untagged.Bytes
	t.list += o.list
	t.saving += o.saving
	t.held += o.held
	t.unpriced.Add(o.unpriced)
}

// priced reports whether the sums of money stand for anything: they do unless all of it lies where no price is known.
func (t *totals) priced() bool {
	return t.unpriced.Total() == planner.Tally{} || t.unpriced.Total() != t.count.Total()
}

// gap is a gap with the price of what mending it would unblock.
type gap struct {
	*planner.Gap
	saving   cost.Money
	unpriced int64 // bytes
}

// coverage counts sources by what became of them.
type coverage struct{ ok, unavailable, attested, failed int }

func (c *coverage) add(s image.CoverageStatus) {
	switch s {
	case image.CoverageOK:
		c.ok++
	case image.CoverageUnavailable:
		c.unavailable++
	case image.CoverageAttested:
		c.attested++
	default:
		c.failed++
	}
}

func (c coverage) total() int { return c.ok + c.unavailable + c.attested + c.failed }

func newFacts(run *Run) *facts {
	p := run.Plan
	f := &facts{repositories: make([]repository, len(p.Summaries))}
	accounts := map[string]*account{}
	at := func(id string) *account {
		a := accounts[id]
		if a == nil {
			a = &account{Account: run.account(id)}
			accounts[id] = a
		}
		return a
	}
	for i := range p.Summaries {
		r := &f.repositories[i]
		a := at(p.Summaries[i].Repository.Account)
		*r = newRepository(run, &a.Account, &p.Summaries[i])
		if n := len(f.registries); n == 0 || f.registries[n-1].Registry != r.Repository.Registry {
			f.registries = append(f.registries, registry{Registry: r.Repository.Registry})
		}
		f.registries[len(f.registries)-1].add(&r.totals)
		a.add(&r.totals)
		f.total.add(&r.totals)
	}
	for _, c := range p.Coverage {
		at(c.Account).coverage.add(c.Status)
		f.coverage.add(c.Status)
	}
	for _, u := range p.Unscanned {
		a := at(u.Account)
		a.unscanned = cmp.Or(u.Why, "not scanned")
		a.Name = cmp.Or(a.Name, u.Name)
	}
	for _, id := range slices.Sorted(maps.Keys(accounts)) {
		f.accounts = append(f.accounts, *accounts[id])
	}
	for i := range p.Gaps {
		f.gaps = append(f.gaps, newGap(run, &p.Gaps[i]))
	}
	for i := range p.Broken {
		if p.Broken[i].Live {
			f.broken.live++
		} else {
			f.broken.latent++
		}
	}
	return f
}

func newRepository(run *Run, a *Account, s *planner.RepositorySummary) repository {
	r := repository{
		RepositorySummary: s,
		owner:             cmp.Or(a.owner(), tagged(s.Tags, ownerKeys)),
		costCenter:        cmp.Or(a.costCenter(), tagged(s.Tags, costCenterKeys)),
		totals:            totals{repositories: 1, count: s.Count, untagged: s.Untagged},
	}
	kept, ok := run.Prices.Monthly(s.Repository.Region, s.Count.Keep.Bytes)
	if !ok {
		r.unpriced = s.Count
		return r
	}
	r.saving, _ = run.Prices.Monthly(s.Repository.Region, s.Count.Delete.Bytes)
	r.held, _ = run.Prices.Monthly(s.Repository.Region, s.Count.Blocked.Bytes)
	r.list = kept + r.saving + r.held
	return r
}

func newGap(run *Run, g *planner.Gap) gap {
	priced := gap{Gap: g}
	priced.saving, priced.unpriced = priceOf(run.Prices, g.UnblocksPerRegion)
	return priced
}

// priceOf is what bytes cost a month, by region, and how many of them lie where no price is known.
func priceOf(p cost.Prices, perRegion map[string]int64) (sum cost.Money, unpriced int64) {
	for region, bytes := range perRegion {
		if m, ok := p.Monthly(region, bytes); ok {
			sum += m
		} else {
			unpriced += bytes
		}
	}
	return sum, unpriced
}

// account is what is known of an account: at least its id.
func (run *Run) account(id string) Account {
	a := run.Accounts[id]
	a.ID = id
	if id == "*" {
		a.Name = "(any account)"
	}
	if a.Name == "" {
		for i := range run.Plan.Unscanned {
			if run.Plan.Unscanned[i].Account == id {
				a.Name = run.Plan.Unscanned[i].Name
			}
		}
	}
	return a
}

// The keys of resource tags that say whose something is, first the one that counts.
var (
	ownerKeys      = []string{"owner", "Owner"}
	costCenterKeys = []string{"cost-center", "CostCenter", "cost_center"}
)

func (a *Account) owner() string      { return cmp.Or(a.Owner, tagged(a.Tags, ownerKeys)) }
func (a *Account) costCenter() string { return cmp.Or(a.CostCenter, tagged(a.Tags, costCenterKeys)) }

func tagged(tags map[string]string, keys []string) string {
	for _, k := range keys {
		if v := tags[k]; v != "" {
			return v
		}
	}
	return ""
}
