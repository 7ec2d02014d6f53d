package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer"
	"github.com/aws/aws-sdk-go-v2/service/pricing"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/billing"
	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/internal/scan"
	"demurrage/internal/store"
	"demurrage/planner"
	"demurrage/report"
)

const (
	pricesLast = 7 * 24 * time.Hour
	billLasts  = 24 * time.Hour // of a month that AWS still estimates
	patient    = time.Minute    // with what a report can do without
)

// askFinance asks AWS for prices and for the bill, and keeps both with the run. That they cannot be had stops nothing: the
// report says so.
func (s *session) askFinance(ctx context.Context, id string) error {
	asking := s.screen.phase("asking for prices and the bill", 0, "", nil, nil)
	defer asking.end()
	f := store.Finance{At: time.Now().UTC(), Prices: cost.List()}
	p, err := s.provider()
	if err != nil {
		return err
	}
	if s.config.Billing.PriceList {
		limited, cancel := context.WithTimeout(ctx, patient)
		prices, err := s.askPrices(limited, p)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			s.log.Info("prices cannot be asked for, so those that demurrage was built with are used", "error", err)
		} else {
			f.Prices = prices
		}
	}
	switch {
	case !s.config.Billing.CostExplorer:
		f.Missing = "Cost Explorer is not asked ([billing] cost_explorer = false)"
	default:
		limited, cancel := context.WithTimeout(ctx, patient)
		f.Bill, err = s.askBill(limited, p)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			f.Missing = err.Error()
			if before, err := s.store.LoadFinance(ctx, id); err == nil {
				f.Bill = before.Bill
			}
		}
	}
	return s.store.SaveFinance(ctx, id, f)
}

// askPrices gives the price list, which is asked for once a week.
func (s *session) askPrices(ctx context.Context, p *assume.Provider) (cost.Prices, error) {
	const region, name = "us-east-1", "prices"
	var kept cost.Prices
	hub := p.Identity().Account
	if err := s.store.LoadCache(ctx, hub, region, name, &kept); err == nil && time.Since(kept.AsOf) < pricesLast {
		return kept, nil
	}
	list, err := billing.Prices(ctx, pricing.NewFromConfig(in(p.Hub(), billing.Region(p.Hub().Region))), nil, time.Now())
	if err != nil {
		return kept, err
	}
	for _, note := range list.Notes {
		s.log.Info("a price was not understood", "note", note)
	}
	if err := s.store.SaveCache(ctx, hub, region, name, list.Prices); err != nil {
		s.log.Warn("prices not kept", "error", err)
	}
	return list.Prices, nil
}

func (s *session) askBill(ctx context.Context, p *assume.Provider) (*cost.Bill, error) {
	cfg, err := s.payer(ctx, p)
	if err != nil {
		return nil, err
	}
	return billing.Bill(ctx, costexplorer.NewFromConfig(cfg), s.config.Billing.Metric, time.Now())
}

// payer is whoever asks for the bill, where Cost Explorer is.
func (s *session) payer(ctx context.Context, p *assume.Provider) (aws.Config, error) {
	cfg := p.Hub()
	if role := s.config.Billing.Role; role != "" {
		a, err := arn.Parse(role)
		if err != nil {
			return aws.Config{}, err
		}
		policy, err := assume.AllowActions(billing.Actions())
		if err != nil {
			return aws.Config{}, err
		}
		payer := accounts.Account{ID: a.AccountID, Role: role, RoleOwn: true, ExternalID: s.config.Assume.ExternalID}
		if err := p.CheckSession(ctx, payer, policy); err != nil {
			return aws.Config{}, err
		}
		cfg = p.Session(payer, cfg.Region, policy)
	}
	return in(cfg, billing.Region(cfg.Region)), nil
}

func in(cfg aws.Config, region string) aws.Config {
	cfg = cfg.Copy()
	cfg.Region = region
	return cfg
}

// stale reports whether a stored run is to be asked for anew: it has no bill, or one that AWS still estimated.
func (s *session) stale(ctx context.Context, run store.Run) bool {
	f, err := s.store.LoadFinance(ctx, run.ID)
	if err != nil {
		return true
	}
	if !s.config.Billing.CostExplorer || time.Since(f.At) < billLasts {
		return false
	}
	month := cost.Month(run.StartedAt)
	return f.Bill == nil || slices.ContainsFunc(f.Bill.Lines, func(l cost.BillLine) bool { return l.Month == month && l.Provisional })
}

// price adds to a planned run prices, and the bill that was stored with them.
func (s *session) price(ctx context.Context, p *planned) error {
	f, err := s.store.LoadFinance(ctx, p.ID)
	if store.IsNotExist(err) {
		f, err = store.Finance{Prices: cost.List(), Missing: "the bill was not asked for yet: demurrage report --run " + p.ID + " asks"}, nil
	}
	if err != nil {
		return err
	}
	c := s.config.Report
	prices := f.Prices
	if prices.PerGBMonth == nil {
		prices = cost.List()
	}
	if own := s.config.Billing.Prices; len(own) > 0 {
		prices.PerGBMonth = maps.Clone(prices.PerGBMonth)
		for region, price := range own {
			prices.PerGBMonth[region] = cost.Money(price)
		}
		prices.Source += "; prices of the configuration for " + fmt.Sprint(slices.Sorted(maps.Keys(own)))
	}
	p.Finance = report.Finance{RateDate: c.RateDate, RateSource: c.RateSource, FiscalStart: c.FiscalStart, OwnerKeys: c.OwnerTags, CostCenterKeys: c.CostCenterTags}
	p.Prices, p.Bill, p.BillMissing = prices, f.Bill, f.Missing
	if c.Currency != "" && c.Currency != prices.Currency {
		rate := cost.Rate(c.ExchangeRate)
		p.Prices = prices.In(c.Currency, rate)
		if f.Bill != nil && f.Bill.Currency == prices.Currency { // of another one there is no rate
			p.Bill = f.Bill.In(c.Currency, rate)
		}
	}
	return nil
}

// costs adds what the cost report says beyond that: what is stored and freed, which takes going through all inventories once
// more, and what is remembered of earlier months.
func (s *session) costs(ctx context.Context, p *planned) error {
	err := s.measure(ctx, p)
	if err != nil {
		return err
	}
	p.History, err = s.months(ctx, p)
	return err
}

// measure adds what each repository stores and what the plan frees of it.
func (s *session) measure(ctx context.Context, p *planned) (err error) {
	p.Stored, err = s.stored(ctx, p, func(_ image.Repository, d *planner.Decision) bool { return d.Action == planner.Delete })
	return err
}

// stored measures what each repository stores and what is freed of it by what goes, registry by registry.
func (s *session) stored(ctx context.Context, p *planned, goes func(image.Repository, *planner.Decision) bool) (map[image.Repository]cost.Stored, error) {
	all := map[image.Repository]cost.Stored{}
	p.Lifecycle = map[image.Repository]bool{}
	var at image.Registry
	var contents map[string]*image.Contents
	var holdings []cost.Holding
	var names []image.Repository
	flush := func() {
		for i, stored := range cost.Measure(holdings, p.mounted[at]) {
			all[names[i]] = stored
		}
		holdings, names = nil, nil
	}
	measuring := s.screen.phase("measuring", planning(p.run.Targets), "registries", nil, nil)
	defer measuring.end()
	for r, err := range registries(measuring, func(r *planner.RepositoryPlan) image.Registry { return r.Repository.Registry }, p.Plan.Repositories) {
		if err != nil {
			return nil, err
		}
		if r.Repository.Registry != at {
			flush()
			at, contents = r.Repository.Registry, map[string]*image.Contents{}
			for c, err := range s.store.Contents(ctx, p.ID, at) {
				if store.IsNotExist(err) {
					break
				}
				if err != nil {
					return nil, err
				}
				contents[c.Repository.Name] = &c
			}
		}
		if l := r.Inventory.Lifecycle; l != "" {
			p.Lifecycle[r.Repository] = l == image.LifecycleSome
		}
		h := cost.Holding{Contents: contents[r.Repository.Name], Images: make([]cost.Fate, len(r.Decisions))}
		for i := range r.Decisions {
			d := &r.Decisions[i]
			h.Images[i] = cost.Fate{Digest: d.Image.Digest, Bytes: d.Image.OwnBytes(), Goes: goes(r.Repository, d)}
		}
		holdings, names = append(holdings, h), append(names, r.Repository)
	}
	flush()
	return all, nil
}

// layers says how what images share is known.
type layers struct {
	mounted map[image.Registry]bool // registries whose repositories share layers
	modes   map[scan.Layers]int     // registries by how they were read
}

func (l *layers) add(at image.Registry, u *store.Usage) {
	if u.Layers != "" {
		l.mounted[at] = u.Mounted
		l.modes[u.Layers]++
	}
}

func (l *layers) String() string {
	var parts []string
	for _, m := range []struct {
		mode scan.Layers
		what string
	}{
		{scan.LayersExact, "exact, by reading every manifest"},
		{scan.LayersEstimate, "estimated: only manifests that are known already count, other images with their size"},
		{scan.LayersOff, "off: images count with their size"},
	} {
		if n := l.modes[m.mode]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d registries %s", n, m.what))
		}
	}
	return strings.Join(parts, "; ")
}

// months gives what is remembered of the months before that of a run: the last complete run of each, or its last one.
func (s *session) months(ctx context.Context, p *planned) ([]report.Month, error) {
	byMonth := map[string]report.Month{}
	p.Since = map[string]time.Time{}
	for raw, err := range s.store.History(ctx) {
		if err != nil {
			return nil, err
		}
		var m report.Month
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("summaries of runs: %w", err)
		}
		if m.At.Before(p.GeneratedAt) {
			since := make(map[string]time.Time, len(m.Failed)) // what was read in between is forgotten
			for _, place := range m.Failed {
				if since[place] = m.At; !p.Since[place].IsZero() {
					since[place] = p.Since[place]
				}
			}
			p.Since = since
		}
		if m.Currency != p.Prices.Currency { // amounts that cannot be added to these
			continue
		}
		if m.Month < cost.Month(p.GeneratedAt) && (m.Complete || !byMonth[m.Month].Complete) {
			byMonth[m.Month] = m
		}
	}
	deleted, err := s.deleted(ctx, p.Prices)
	if err != nil {
		return nil, err
	}
	var months []report.Month
	for _, month := range slices.Sorted(maps.Keys(byMonth)) {
		m := byMonth[month]
		m.Deleted = deleted[month]
		months = append(months, m)
	}
	p.Deleted = deleted[cost.Month(p.GeneratedAt)]
	return months, nil
}

// deleted sums up the sweeps of each month, at the prices of now.
func (s *session) deleted(ctx context.Context, prices cost.Prices) (map[string]report.MonthDeleted, error) {
	ids, err := s.store.Journals(ctx)
	if err != nil {
		return nil, err
	}
	byMonth := map[string]report.MonthDeleted{}
	for _, id := range ids {
		var sum journal.Summary
		if err := s.store.LoadSweep(ctx, id, &sum); store.IsNotExist(err) {
			continue // interrupted: whoever goes on with it will sum it up
		} else if err != nil {
			return nil, err
		}
		month := cost.Month(sum.LastAt)
		d := byMonth[month]
		d.Images += sum.Deleted.Images
		d.Bytes += sum.Deleted.Bytes
		for _, a := range sum.Accounts {
			freed := a.Freed
			if a.Released != nil {
				freed = a.Released
			}
			for _, region := range slices.Sorted(maps.Keys(freed)) {
				saved, _ := prices.Monthly(region, freed[region])
				d.Saving += saved
			}
		}
		byMonth[month] = d
	}
	return byMonth, nil
}

// remember keeps the summary of a run for the reports of later months. A what-if is not remembered.
func (s *session) remember(ctx context.Context, p *planned) error {
	if p.WhatIf || p.run.FinishedAt.IsZero() {
		return nil
	}
	return s.store.SaveHistory(ctx, p.ID, report.MonthOf(p.Run))
}
