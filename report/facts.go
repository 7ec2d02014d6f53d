package report

import (
	"cmp"
	"maps"
	"slices"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// facts are the figures of a run at one grain, month x account x region x repository, and their sums. Money is rounded
// at that grain, once for each figure; whatever an output adds up, it adds up from here.
type facts struct {
	currency     string       // of all amounts
	month        string       // of the run
	bill         ledger       // what is billed, before it is allocated
	repositories []repository // by account, region, name, as the plan has them
	rest         []rest       // what is billed for no repository that is known, by account, region and what it is
	accounts     []account    // by id: every account that was scanned, owns something, is billed or is known not to be scanned
	registries   []registry   // by account and region: of their repositories
	gaps         []gap        // as the plan has them
	coverage     coverage
	broken       struct{ live, latent int }
	total        totals
}

type repository struct {
	*planner.RepositorySummary // what is counted
	owner                      whose
	costCenter                 whose
	exact                      bool // its layers are all known
	priced                     bool // its region's price is known
	sums
}

// totals are a repository's figures as they are added up. There can be half a million repositories: what can be had from
// their summaries is not kept twice.
func (r *repository) totals() *totals {
	t := &totals{repositories: 1, count: r.Count, untagged: r.Untagged, sums: r.sums, reclaimable: r.Count.Delete.Bytes, likely: r.saving}
	if r.exact {
		t.exact, t.reclaimable, t.likely = 1, r.freed, r.low
	}
	if !r.priced {
		t.unpriced = r.Count
	}
	return t
}

// rest is what an account is billed in a region for no repository that is known.
type rest struct {
	image.Registry
	name       string
	owner      whose
	costCenter whose
	totals
}

type registry struct {
	image.Registry
	totals
}

type account struct {
	Account
	totals
	owner      whose
	costCenter whose
	coverage   coverage
	unscanned  string // why it is not scanned
}

// totals are figures that can be added up. The bytes of count are sums of image sizes, so that layers which images
// share count more than once: what is made of them is an upper bound.
type totals struct {
	repositories int
	exact        int        // repositories whose layers are all known
	reclaimable  int64      // freed, and the sum of the sizes of what goes where layers are not known
	likely       cost.Money // of reclaimable
	count        planner.Count
	untagged     planner.Tally
	unpriced     planner.Count // what lies in regions without a known price, and is in none of the sums of money
	sums
}

// sums are the bytes and the money of totals.
type sums struct {
	stored int64      // unique bytes, or the sum of sizes of repositories of which nothing else is known
	freed  int64      // of exact repositories: what will really go
	list   cost.Money // of stored
	low    cost.Money // of freed
	saving cost.Money // of the sizes of what goes: high
	held   cost.Money // of the sizes of what is blocked
	billed cost.Money // allocated by stored
	before cost.Money // billed in the month before, allocated by what is stored now
}

func (t *totals) add(o *totals) {
	t.repositories += o.repositories
	t.exact += o.exact
	t.reclaimable += o.reclaimable
	t.likely += o.likely
	t.count.Add(o.count)
	t.untagged.Images += o.untagged.Images
	t.untagged.Bytes += o.untagged.Bytes
	t.unpriced.Add(o.unpriced)
	t.sums.add(&o.sums)
}

func (s *sums) add(o *sums) {
	s.stored += o.stored
	s.freed += o.freed
	s.list += o.list
	s.low += o.low
	s.saving += o.saving
	s.held += o.held
	s.billed += o.billed
	s.before += o.before
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
	f := &facts{currency: run.Prices.Currency, month: cost.Month(run.GeneratedAt), repositories: make([]repository, len(p.Summaries))}
	f.bill = newLedger(run, f.month)
	accounts := map[string]*account{}
	at := func(id string) *account {
		a := accounts[id]
		if a == nil {
			a = &account{Account: run.account(id)}
			a.owner, a.costCenter = run.owner(&a.Account, nil), run.costCenter(&a.Account, nil)
			accounts[id] = a
		}
		return a
	}
	for i := range p.Summaries {
		f.repositories[i] = newRepository(run, &at(p.Summaries[i].Repository.Account).Account, &p.Summaries[i])
	}
	f.allocate()
	for i := range f.rest {
		r := &f.rest[i]
		a := at(r.Account)
		r.owner, r.costCenter = a.owner, a.costCenter
		a.add(&r.totals)
		f.total.add(&r.totals)
	}
	for i := range f.repositories {
		r := &f.repositories[i]
		if n := len(f.registries); n == 0 || f.registries[n-1].Registry != r.Repository.Registry {
			f.registries = append(f.registries, registry{Registry: r.Repository.Registry})
		}
		t := r.totals()
		f.registries[len(f.registries)-1].add(t)
		at(r.Repository.Account).add(t)
		f.total.add(t)
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
		owner:             run.owner(a, s.Tags),
		costCenter:        run.costCenter(a, s.Tags),
		sums:              sums{stored: s.Count.Total().Bytes},
	}
	stored, known := run.Stored[s.Repository]
	if known {
		r.stored = stored.Unique
	}
	if r.exact = stored.Exact; r.exact {
		r.freed = stored.Freed
	}
	price := func(bytes int64) cost.Money {
		m, _ := run.Prices.Monthly(s.Repository.Region, bytes)
		return m
	}
	if _, r.priced = run.Prices.Monthly(s.Repository.Region, 0); !r.priced {
		return r
	}
	r.saving, r.held = price(s.Count.Delete.Bytes), price(s.Count.Blocked.Bytes)
	r.list = price(s.Count.Keep.Bytes) + r.saving + r.held
	r.saving = price(max(s.Count.Delete.Bytes, r.freed)) // manifests are in no size
	if known {
		r.list = price(stored.Unique)
	}
	if r.exact {
		r.low = price(stored.Freed)
	}
	return r
}

// allocate gives every repository its part of what its account is billed for storage in its region, by what it stores.
// What nothing can be allocated to stays as rests, so that the whole is the bill.
func (f *facts) allocate() {
	if !f.bill.known() {
		return
	}
	scanned := f.scanned()
	type key struct {
		image.Registry
		name string
	}
	rests := map[key]*sums{}
	at := func(r *cost.Rest) *sums {
		k := key{r.Registry, r.Name}
		if rests[k] == nil {
			rests[k] = &sums{}
		}
		return rests[k]
	}
	billed, before := f.bill.of.Allocate(f.bill.month, scanned), f.bill.of.Allocate(f.bill.before, scanned)
	for i := range f.repositories {
		f.repositories[i].billed, f.repositories[i].before = billed.Billed[i], before.Billed[i]
	}
	for i := range billed.Rest {
		at(&billed.Rest[i]).billed = billed.Rest[i].Amount
	}
	for i := range before.Rest {
		at(&before.Rest[i]).before = before.Rest[i].Amount
	}
	for _, k := range slices.SortedFunc(maps.Keys(rests), func(a, b key) int {
		return cmp.Or(compareRegistries(a.Registry, b.Registry), cmp.Compare(a.name, b.name))
	}) {
		f.rest = append(f.rest, rest{Registry: k.Registry, name: k.name, totals: totals{sums: *rests[k]}})
	}
}

// scanned are the repositories by what a bill is allocated by.
func (f *facts) scanned() []cost.Scanned {
	list := make([]cost.Scanned, len(f.repositories))
	for i := range f.repositories {
		r := &f.repositories[i]
		list[i] = cost.Scanned{Repository: r.Repository, Stored: cost.Stored{Exact: r.exact, Unique: r.stored}}
	}
	return list
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

// The keys of resource tags that say whose something is, first the one that counts, unless the configuration has others.
var (
	ownerKeys      = []string{"owner", "Owner"}
	costCenterKeys = []string{"cost-center", "CostCenter", "cost_center"}
)

// whose is an owner or a cost centre, and who says so.
type whose struct {
	name string
	from source
}

// source is who says whose something is.
type source uint8

const (
	fromNobody source = iota
	fromConfig
	fromAccountTag
	fromRepositoryTag
)

func (s source) String() string {
	return [...]string{fromNobody: "", fromConfig: "config", fromAccountTag: "account tag", fromRepositoryTag: "repository tag"}[s]
}

// owner says whose a repository with such tags in an account is: the configuration's word counts before the account's
// tags, and these before the repository's.
func (run *Run) owner(a *Account, tags map[string]string) whose {
	return whoseIs(a.Owner, a.Tags, tags, run.ownerKeys())
}

func (run *Run) costCenter(a *Account, tags map[string]string) whose {
	return whoseIs(a.CostCenter, a.Tags, tags, run.costCenterKeys())
}

func (run *Run) ownerKeys() []string {
	if len(run.Finance.OwnerKeys) > 0 {
		return run.Finance.OwnerKeys
	}
	return ownerKeys
}

func (run *Run) costCenterKeys() []string {
	if len(run.Finance.CostCenterKeys) > 0 {
		return run.Finance.CostCenterKeys
	}
	return costCenterKeys
}

func whoseIs(configured string, account, repository map[string]string, keys []string) whose {
	for _, w := range []whose{{configured, fromConfig}, {tagged(account, keys), fromAccountTag}, {tagged(repository, keys), fromRepositoryTag}} {
		if w.name != "" {
			return w
		}
	}
	return whose{}
}

func tagged(tags map[string]string, keys []string) string {
	for _, k := range keys {
		if v := tags[k]; v != "" {
			return v
		}
	}
	return ""
}
