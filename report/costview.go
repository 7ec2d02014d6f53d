package report

import (
	"time"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// costView is the cost of a run as the page, the fact tables, the FOCUS file and the short texts show it: one row for each
// account x region x repository, and for what is billed beyond them. Every sum is added up from the rows.
type costView struct {
	month           string // of the run
	currency        string // of list prices and of savings
	billed          bool   // there is a bill
	billMonth       string // that the billed amounts are of: the run's, or the last one before it that has a bill
	billCurrency    string
	metric          string
	provisional     bool // AWS still estimates the billed month
	rows            []costRow
	accounts        []costAccount // by id
	total           costSums
	gaps            []gap
	coverage        coverage
	blockedUnpriced int64 // bytes of what is blocked in regions without a known price
	live, latent    int   // broken references
	trend           []costMonth
}

// costRow is a repository, or what is billed in a region that is no stored repository.
type costRow struct {
	image.Repository        // the name is "" for what is none
	beyond           string // "", cost.NotScanned or cost.NotStorage
	account          *Account
	owner            string
	costCenter       string
	tags             map[string]string
	exact            bool // unique bytes are known; otherwise they are the sum of sizes, an upper bound
	priced           bool // otherwise no amount at list price is known
	price            cost.Money
	rule             string
	lastPush         time.Time
	lastPull         time.Time
	costSums
}

// costSums are figures that can be added up. A saving is a projection, never part of a cost.
type costSums struct {
	repositories int
	images       int
	sum          int64 // of image sizes: layers that images share count more than once
	unique       int64 // as stored
	estimated    int64 // of unique: where only the sum of sizes is known
	goes         planner.Tally
	blocked      planner.Tally
	list         cost.Money // of unique
	billed       cost.Money // allocated by unique bytes
	freed        int64      // what really goes, where that is known
	reclaimable  int64      // freed, and the sizes of what goes where that is not known
	low          cost.Money // of freed
	freedKnown   int        // repositories that something goes of and whose freed bytes are known
	freedMissing int        // and those where they are not: they are in neither sum
	lowKnown     int        // of freedKnown, those with a price
	high         cost.Money // of the sizes of what goes
	held         cost.Money // of the sizes of what is blocked
	unpriced     int64      // unique bytes in regions without a known price: they are in no amount at list price
}

func (s *costSums) add(o *costSums) {
	s.repositories += o.repositories
	s.images += o.images
	s.sum += o.sum
	s.unique += o.unique
	s.estimated += o.estimated
	s.goes.Images += o.goes.Images
	s.goes.Bytes += o.goes.Bytes
	s.blocked.Images += o.blocked.Images
	s.blocked.Bytes += o.blocked.Bytes
	s.list += o.list
	s.billed += o.billed
	s.freed += o.freed
	s.reclaimable += o.reclaimable
	s.low += o.low
	s.freedKnown += o.freedKnown
	s.freedMissing += o.freedMissing
	s.lowKnown += o.lowKnown
	s.high += o.high
	s.held += o.held
	s.unpriced += o.unpriced
}

// priced reports whether the amounts at list price stand for anything.
func (s *costSums) isPriced() bool { return s.unpriced == 0 || s.unpriced < s.unique }

// hasFreed and hasLow report whether the sums of what really goes stand for anything: something in them is known, or
// nothing goes.
func (s *costSums) hasFreed() bool { return s.freedKnown > 0 || s.freedMissing == 0 }
func (s *costSums) hasLow() bool   { return s.lowKnown > 0 || s.freedKnown+s.freedMissing == 0 }

// lowMissing counts the repositories that something goes of and that are not in the low saving.
func (s *costSums) lowMissing() int { return s.freedKnown + s.freedMissing - s.lowKnown }

type costAccount struct {
	account
	sums costSums
}

// costMonth is a month of the trend. What nobody knows of it is missing, never zero.
type costMonth struct {
	month       string
	provisional bool
	billed      *cost.Money // storage and others
	storage     *cost.Money
	remembered  *Month
	stored      int64
	images      int
	list        cost.Money
	low, high   cost.Money
	lowKnown    bool
}

func newCostView(run *Run) *costView {
	f := newFacts(run)
	v := &costView{
		month: f.month, currency: f.currency, gaps: f.gaps, coverage: f.coverage, live: f.broken.live, latent: f.broken.latent,
		blockedUnpriced: f.total.unpriced.Blocked.Bytes,
		billed:          f.bill.known(), billMonth: f.bill.month, provisional: f.bill.provisional,
	}
	if v.billed {
		v.billCurrency, v.metric = f.currency, run.Bill.Metric
	}
	v.rows = make([]costRow, 0, len(f.repositories)+len(f.rest))
	ids := map[string]int{}
	for i := range f.accounts {
		ids[f.accounts[i].ID] = i
		v.accounts = append(v.accounts, costAccount{account: f.accounts[i]})
	}
	of := func(id string) *Account { return &f.accounts[ids[id]].Account }
	for i := range f.repositories {
		v.rows = append(v.rows, newCostRow(run, of(f.repositories[i].Repository.Account), &f.repositories[i]))
	}
	for i := range f.rest {
		r := &f.rest[i]
		if r.billed == 0 {
			continue
		}
		row := costRow{Repository: image.Repository{Registry: r.Registry}, beyond: r.name, account: of(r.Account), owner: r.owner.name, costCenter: r.costCenter.name}
		row.billed = r.billed
		v.rows = append(v.rows, row)
	}
	for i := range v.rows {
		r := &v.rows[i]
		v.accounts[ids[r.Account]].sums.add(&r.costSums)
		v.total.add(&r.costSums)
	}
	v.trend = newCostTrend(run, v)
	return v
}

func newCostRow(run *Run, a *Account, f *repository) costRow {
	r := costRow{
		Repository: f.Repository, account: a, owner: f.owner.name, costCenter: f.costCenter.name, tags: f.Tags,
		rule: f.Rule, lastPush: f.LastPush, lastPull: f.LastPull,
	}
	all := f.Count.Total()
	r.repositories, r.images, r.sum, r.unique, r.goes, r.blocked = 1, all.Images, all.Bytes, f.stored, f.Count.Delete, f.Count.Blocked
	r.billed, r.list, r.low, r.high, r.held = f.billed, f.list, f.low, f.saving, f.held
	r.reclaimable = f.totals().reclaimable
	r.exact = f.exact || all.Images == 0
	if !r.exact {
		r.estimated = r.unique
	}
	switch {
	case r.goes.Images == 0:
	case r.exact:
		r.freed, r.freedKnown = f.freed, 1
	default:
		r.freedMissing = 1
	}
	r.price, r.priced = run.Prices.Monthly(r.Region, cost.GB)
	if !r.priced {
		r.unpriced = r.unique
		return r
	}
	r.lowKnown = r.freedKnown
	return r
}

// newCostTrend puts together what is remembered of earlier months, the bills and this run, with every month between them.
func newCostTrend(run *Run, v *costView) []costMonth {
	months := map[string]*costMonth{}
	at := func(month string) *costMonth {
		if months[month] == nil {
			months[month] = &costMonth{month: month}
		}
		return months[month]
	}
	if v.billed {
		for i := range run.Bill.Lines {
			l := &run.Bill.Lines[i]
			m := at(l.Month)
			if m.billed == nil {
				m.billed, m.storage = new(cost.Money), new(cost.Money)
			}
			*m.billed += l.Amount
			if l.Storage {
				*m.storage += l.Amount
			}
			m.provisional = m.provisional || l.Provisional
		}
	}
	for i := range run.History {
		m := at(run.History[i].Month)
		m.remembered, m.lowKnown = &run.History[i], true
		for _, a := range run.History[i].Accounts {
			m.stored += a.Stored
			m.images += a.Images
			m.list += a.List
			m.low += a.Low
			m.high += a.High
		}
	}
	t := &v.total
	m := at(v.month)
	now := Month{Month: v.month, RunID: run.ID, At: run.GeneratedAt, Complete: run.Plan.Complete, Deleted: run.Deleted}
	m.remembered, m.stored, m.images, m.list, m.low, m.high, m.lowKnown = &now, t.unique, t.images, t.list, t.low, t.high, t.hasLow()
	last, err := time.Parse("2006-01", v.month)
	if err != nil {
		return nil
	}
	var trend []costMonth
	for back := trendLength - 1; back >= 0; back-- {
		name := cost.Month(last.AddDate(0, -back, 0))
		if m := months[name]; m != nil {
			trend = append(trend, *m)
		} else if len(trend) > 0 {
			trend = append(trend, costMonth{month: name}) // missed
		}
	}
	return trend
}
