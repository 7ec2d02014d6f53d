package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"golang.org/x/sync/errgroup"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/image"
	"demurrage/internal/scan"
	"demurrage/internal/store"
)

// scan makes a run, or goes on with the last one, and gives its id.
func (s *session) scan(ctx context.Context) (string, error) {
	p, err := s.provider()
	if err != nil {
		return "", err
	}
	roster, err := s.roster(ctx, p)
	if err != nil {
		return "", err
	}
	s.accounts = map[string]accounts.Account{}
	for _, a := range roster.Accounts {
		s.accounts[a.ID] = a
	}
	run, done, err := s.begin(ctx, p, roster)
	if err != nil {
		return "", err
	}
	var targets []scan.Target
	for _, t := range run.Targets {
		if !done[image.Registry{Account: t.Account, Region: t.Region}] {
			targets = append(targets, t)
		}
	}
	imports, err := s.store.LoadImports(ctx, run)
	if err != nil {
		return "", err
	}
	var watch waits
	scanning := s.screen.phase("scanning", len(targets), "targets", watch.found, watch.String)
	o := s.scanOptions(p, imports)
	o.Targets = targets
	o.Progress = func(e scan.Event) {
		if watch.event(e); e.Source == "" && e.Done {
			scanning.add(1)
		}
	}
	o.Sink = func(ctx context.Context, snap *scan.Snapshot) error { return s.store.SaveSnapshot(ctx, run.ID, snap) }
	err = scan.Run(ctx, o)
	scanning.end()
	if ctx.Err() != nil && s.c.Err() == nil {
		return "", context.Cause(ctx) // a lock that was lost
	}
	if ctx.Err() != nil {
		return "", &exitError{exitInterrupted, fmt.Sprintf("interrupted; what was scanned is stored: %s goes on with run %s", s.command("plan", "--resume"), run.ID)}
	}
	if err != nil {
		return "", err
	}
	return run.ID, s.store.Finish(ctx, run.ID, time.Now().UTC())
}

// scanOptions are how targets are looked at, whichever they are.
func (s *session) scanOptions(p *assume.Provider, imports store.Imports) scan.Options {
	return scan.Options{
		Concurrency: int64(s.config.Concurrency),
		Config: func(ctx context.Context, id, region string) (aws.Config, error) {
			a, ok := s.accounts[id]
			if !ok { // a resumed run whose account has left the configuration
				return aws.Config{}, fmt.Errorf("account %s is not in the configuration any more", id)
			}
			return p.Config(a, region), p.Check(ctx, a)
		},
		KeepTaskDefinitions: s.config.KeepTaskDefinitions,
		KeepLambdaVersions:  s.config.KeepLambdaVersions,
		Covered:             covered(imports),
		OwnPrincipal:        func(id string) string { return p.Principal(s.accounts[id]) },
		Layers:              s.layers(),
		Cache:               s.store,
		Log:                 s.log,
	}
}

// roster says which accounts there are.
func (s *session) roster(ctx context.Context, p *assume.Provider) (*accounts.Roster, error) {
	client := organizations.NewFromConfig(p.Hub())
	if s.config.Organization.Discover {
		roster, err := s.config.Roster(ctx, client)
		if err != nil {
			return nil, err
		}
		if err := accounts.TagsOf(ctx, client, roster.Accounts); err != nil { // of the report alone: no gap
			s.log.Info("tags of accounts cannot be read: owners and cost centres are those of the configuration and of repositories", "error", err)
		}
		return roster, ctx.Err()
	}
	roster, err := s.config.Roster(ctx, nil)
	if err != nil {
		return nil, err
	}
	// Policies admit the organization as a whole, whoever is listed here. Not every hub may ask who belongs to it.
	organization, err := accounts.AskOrganization(ctx, client)
	if err != nil {
		s.log.Info("the organization cannot be listed: who may pull by its id is not known", "error", err)
		return roster, ctx.Err()
	}
	roster.Organization = organization
	return roster, nil
}

// begin stores a new run, or finds the interrupted one to go on with and what of it is done.
func (s *session) begin(ctx context.Context, p *assume.Provider, roster *accounts.Roster) (store.Run, map[image.Registry]bool, error) {
	if s.c.Bool("resume") {
		for run, err := range s.store.Runs(ctx) {
			if err != nil {
				return run, nil, err
			}
			if !run.FinishedAt.IsZero() {
				break
			}
			if run.ConfigSHA256 != s.config.SHA256 {
				return run, nil, fmt.Errorf("run %s cannot be resumed: the configuration has changed since", run.ID)
			}
			if age := time.Since(run.StartedAt); age > resumeLimit {
				return run, nil, fmt.Errorf("run %s cannot be resumed: it is %s old, and what it saw may have changed; scan anew", run.ID, age.Round(time.Minute))
			}
			if joined := strangers(roster, run); joined != "" {
				return run, nil, fmt.Errorf("run %s cannot be resumed: account %s has joined since, and it does not know of it; scan anew", run.ID, joined)
			}
			switch list, err := s.importedSince(ctx, run.StartedAt); {
			case err != nil:
				return run, nil, err
			case list != "":
				return run, nil, fmt.Errorf("run %s cannot be resumed: the list of uses %s was imported since, and it does not know of it; scan anew", run.ID, list)
			}
			done, err := s.store.Done(ctx, run.ID)
			return run, done, err
		}
	}
	targets, coverage, err := s.targets(ctx, p, roster)
	if err != nil {
		return store.Run{}, nil, err
	}
	started := time.Now().UTC()
	imports, elsewhere, err := s.elsewhere(ctx, roster)
	if err != nil {
		return store.Run{}, nil, err
	}
	coverage = append(coverage, elsewhere...)
	slices.SortFunc(coverage, image.CompareCoverage)
	run := store.Run{ID: store.NewID(started), StartedAt: started, Now: s.whatIf, ConfigSHA256: s.config.SHA256, Generations: s.config.Generations(), Version: version, Hub: p.Identity().Account,
		Targets: targets, Coverage: coverage, Organization: roster.Organization, Imports: len(elsewhere) > 0}
	for _, a := range roster.Accounts {
		run.Accounts = append(run.Accounts, store.Account{ID: a.ID, Name: a.Name, Owner: a.Owner, CostCenter: a.CostCenter, Tags: a.Tags, OU: a.OU, State: a.State})
	}
	for _, u := range roster.Unscanned {
		run.Unscanned = append(run.Unscanned, store.Account{ID: u.Account, Name: u.Name, State: u.State, Reason: u.Why})
	}
	if run.Imports {
		if err := s.store.SaveImports(ctx, run.ID, imports); err != nil {
			return store.Run{}, nil, err
		}
	}
	run, err = s.store.Begin(ctx, run)
	return run, nil, err
}

// strangers is the first account that a run does not know of, "" if it knows all.
func strangers(roster *accounts.Roster, run store.Run) string {
	known := map[string]bool{}
	for _, a := range slices.Concat(run.Accounts, run.Unscanned) {
		known[a.ID] = true
	}
	for _, a := range roster.Accounts {
		if !known[a.ID] {
			return a.ID
		}
	}
	for _, u := range roster.Unscanned {
		if !known[u.Account] {
			return u.Account
		}
	}
	return ""
}

// resumeLimit is how old an interrupted run may be: what it has seen of some targets is not seen again.
const resumeLimit = 6 * time.Hour

// targets finds out the regions of every account, side by side. An account whose regions cannot be listed is
// scanned in those of the configuration, and is a gap.
func (s *session) targets(ctx context.Context, p *assume.Provider, roster *accounts.Roster) ([]scan.Target, []image.Coverage, error) {
	var mu sync.Mutex
	var targets []scan.Target
	var coverage []image.Coverage
	hub := account.NewFromConfig(p.Hub())
	listing := s.screen.phase("listing regions", len(roster.Accounts), "accounts", nil, nil)
	defer listing.end()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.config.Concurrency)
	for _, a := range roster.Accounts {
		g.Go(func() error {
			defer listing.add(1)
			cfg := p.Config(a, p.Hub().Region)
			enabled, err := accounts.EnabledRegions(ctx, account.NewFromConfig(cfg), ec2.NewFromConfig(cfg), hub, a.ID)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			planned, uses, unavailable := accounts.Targets(a, enabled)
			mu.Lock()
			defer mu.Unlock()
			for i, t := range uses {
				targets = append(targets, scan.Target{Account: t.Account, Region: t.Region, Planned: slices.Contains(planned, t), Home: i == 0})
			}
			for _, t := range unavailable {
				for _, c := range scan.Expected(scan.Target{Account: t.Account, Region: t.Region, Planned: true}) {
					c.Status, c.Error = image.CoverageUnavailable, "the region is not enabled in the account"
					coverage = append(coverage, c)
				}
			}
			if err != nil {
				text := err.Error()
				if refused := p.Check(ctx, a); refused != nil {
					text = scan.ConfigError(a.ID, refused) // one gap with those of its targets
				}
				coverage = append(coverage, image.Coverage{Account: a.ID, Region: "*", Source: "regions", Status: image.CoverageFailed, Error: text})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(targets, func(t scan.Target) bool { return t.Planned }) {
		return nil, nil, errors.New("there is no registry to plan: no account is left, or none of the regions of the configuration is enabled in any")
	}
	warned := map[string]bool{}
	for _, c := range coverage {
		if c.Status == image.CoverageUnavailable && !warned[c.Region] && !slices.ContainsFunc(targets, func(t scan.Target) bool { return t.Region == c.Region }) {
			warned[c.Region] = true
			s.log.Warn("region is enabled in no account: is it mistyped?", "region", c.Region)
		}
	}
	slices.SortFunc(targets, func(a, b scan.Target) int {
		return accounts.CompareTargets(accounts.Target{Account: a.Account, Region: a.Region}, accounts.Target{Account: b.Account, Region: b.Region})
	})
	slices.SortFunc(coverage, image.CompareCoverage)
	return targets, coverage, nil
}

// layers is how what images share is to be found out; "": as suits each registry.
func (s *session) layers() scan.Layers {
	if s.config.Report.Layers == "auto" {
		return ""
	}
	return scan.Layers(s.config.Report.Layers)
}
