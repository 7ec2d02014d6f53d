package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/urfave/cli/v2"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/image"
	"demurrage/internal/scan"
	"demurrage/internal/store"
	"demurrage/planner"
	"demurrage/report"
)

// session is what the commands that scan or plan share: the configuration, the store and, once AWS is needed, a
// provider of credentials.
type session struct {
	c              *cli.Context
	stdout, stderr io.Writer
	log            *slog.Logger
	screen         *screen
	config         *accounts.Config
	store          *store.Store
	whatIf         time.Time                        // --now; zero: none was given
	provider       func() (*assume.Provider, error) // made when first needed: a stored run can be planned without AWS
	accounts       map[string]accounts.Account      // those of the last scan, by id
}

// open reads the flags and the configuration and opens the store. Nothing is touched in AWS yet.
func open(c *cli.Context) (*session, error) {
	config, err := load(c)
	if err != nil {
		return nil, err
	}
	return openConfig(c, config)
}

// load reads the configuration.
func load(c *cli.Context) (*accounts.Config, error) {
	config, err := accounts.Load(sharedString(c, "config"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w (`demurrage generate` makes one; name another with --config; `demurrage demo` needs none)", err)
	}
	return config, err
}

func openConfig(c *cli.Context, config *accounts.Config) (*session, error) {
	s, err := newSession(c, config)
	if err != nil {
		return nil, err
	}
	return s, s.openStore()
}

// newSession is a session without its store.
func newSession(c *cli.Context, config *accounts.Config) (*session, error) {
	s := &session{c: c, stdout: c.App.Writer, stderr: c.App.ErrWriter, config: config, screen: newScreen(c, c.App.ErrWriter)}
	var err error
	if s.log, err = logger(c, s.screen); err != nil {
		return nil, err
	}
	if s.whatIf, err = parseNow(c); err != nil {
		return nil, err
	}
	s.provider = sync.OnceValues(s.newProvider)
	return s, nil
}

func (s *session) openStore() (err error) {
	s.store, err = store.Open(s.c.Context, s.config.Store, s.log, func(context.Context) (aws.Config, error) {
		p, err := s.provider()
		if err != nil {
			return aws.Config{}, err
		}
		return p.Hub(), nil
	})
	return err
}

func (s *session) close() {
	if err := s.store.Close(); err != nil {
		s.log.Warn("store not closed", "error", err)
	}
}

// permissions are all that a session for scanning may do.
func permissions() []string {
	actions := append(scan.Actions(), "account:ListRegions", "ec2:DescribeRegions")
	slices.Sort(actions)
	return actions
}

// newProvider finds the ambient credentials and restricts what is done with them to the reads of a scan.
func (s *session) newProvider() (*assume.Provider, error) {
	policy, err := assume.AllowActions(permissions())
	if err != nil {
		return nil, err
	}
	a := s.config.Assume
	return assume.New(s.c.Context, assume.Options{
		HubRole: a.HubRole, ExternalID: a.ExternalID, SessionName: a.SessionName, Duration: a.Duration,
		Region: s.config.FirstRegion(), Role: assume.ScanRole, Policy: policy, Calls: &s.screen.calls,
	})
}

// storedRun finds the run that --run or --month name, or the last one; "" where none is stored yet.
func (s *session) storedRun(ctx context.Context, id, month string) (string, error) {
	switch {
	case id != "":
		return id, nil
	case month != "":
		for run, err := range s.store.Runs(ctx) {
			if err != nil {
				return "", err
			}
			if !run.FinishedAt.IsZero() && run.StartedAt.Format("2006-01") == month {
				return run.ID, nil
			}
		}
		return "", fmt.Errorf("no finished run of %s is stored", month)
	}
	run, err := s.store.Last(ctx)
	if errors.Is(err, store.ErrNoRun) {
		return "", nil
	}
	return run.ID, err
}

// planned is a planned run with what it was planned from.
type planned struct {
	*report.Run
	run     store.Run
	usage   planner.Usage
	merged  *planner.Merged
	mounted map[image.Registry]bool // registries whose repositories share layers
}

// lastPlan plans the stored run that is named, or the last one, or, where none is stored yet, a new one.
func (s *session) lastPlan(ctx context.Context, id string) (*report.Run, error) {
	id, err := s.storedRun(ctx, id, "")
	if err != nil {
		return nil, err
	}
	return s.planOf(ctx, id)
}

// planOf plans a stored run, or, without an id, scans first, with prices and the bill of today.
func (s *session) planOf(ctx context.Context, id string) (*report.Run, error) {
	if id == "" {
		var err error
		if id, err = s.scan(ctx); err != nil {
			return nil, err
		}
		if err := s.askFinance(ctx, id); err != nil {
			return nil, err
		}
	}
	p, err := s.planned(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := s.costs(ctx, p); err != nil {
		return nil, err
	}
	return p.Run, s.remember(ctx, p)
}

// planned plans a stored run, or, without an id, scans first. It knows prices, and nothing else of what the cost report says.
func (s *session) planned(ctx context.Context, id string) (*planned, error) {
	if id == "" {
		var err error
		if id, err = s.scan(ctx); err != nil {
			return nil, err
		}
	}
	run, err := s.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if collected := s.config.Generations(); run.Generations != collected {
		return nil, fmt.Errorf("run %s cannot be planned with this configuration: it was scanned with [[task_definitions]] and [[lambda_functions]] of %q, which are %q now; scan again",
			id, run.Generations, collected)
	}
	hints := []string{lookedAt()}
	now := run.StartedAt.Truncate(time.Second)
	whatIf := cmp.Or(s.whatIf, run.Now)
	if !whatIf.IsZero() {
		now = whatIf
		hints = append(hints, "Ages are counted from "+now.Format(time.RFC3339)+" (--now), while the run saw what there was at "+run.StartedAt.Format(time.RFC3339)+".")
	}
	for _, text := range endedAttestations(s.config, now) {
		hints = append(hints, "No longer in force: the attestation for "+text+".")
	}
	usage, layers, err := s.usage(ctx, run)
	if err != nil {
		return nil, err
	}
	phase := s.screen.phase("planning", planning(run.Targets), "registries", nil, nil)
	merged := planner.Merge(s.config.Rules(), now, usage)
	plan, err := planner.Build(merged, registries(phase, func(i image.Inventory) image.Registry { return i.Repository.Registry }, s.store.Inventories(ctx, id)))
	phase.end()
	if err != nil {
		return nil, err
	}
	r := &report.Run{Plan: plan, WhatIf: !whatIf.IsZero(), ID: id, ConfigSHA256: s.config.SHA256, Version: version, GeneratedAt: now,
		Accounts: map[string]report.Account{}, Hints: hints}
	for _, a := range slices.Concat(run.Accounts, run.Unscanned) {
		r.Accounts[a.ID] = report.Account{ID: a.ID, Name: a.Name, Owner: a.Owner, CostCenter: a.CostCenter, OU: a.OU, Tags: a.Tags}
	}
	p := &planned{Run: r, run: run, usage: usage, merged: merged, mounted: layers.mounted}
	r.Layers = layers.String()
	return p, s.price(ctx, p)
}

// endedAttestations says which vouch for nothing any more, and since when.
func endedAttestations(config *accounts.Config, now time.Time) (texts []string) {
	for _, a := range config.Rules().Attestations {
		if !a.InForce(now) {
			var of []string
			for _, p := range a.Accounts {
				of = append(of, p.String())
			}
			texts = append(texts, strings.Join(of, ", ")+" ("+a.Reason+") ended on "+a.Expires.Format(time.DateOnly))
		}
	}
	return texts
}

// lookedAt says plainly where uses were looked for.
func lookedAt() string {
	return "Looked at: " + strings.Join(scan.Sources(), ", ") + ". What runs on plain hosts or elsewhere is only known if it was imported."
}

// usage loads what every target of a run uses, and what the run should have looked at.
func (s *session) usage(ctx context.Context, run store.Run) (planner.Usage, *layers, error) {
	layers := &layers{map[image.Registry]bool{}, map[scan.Layers]int{}}
	usage := planner.Usage{Coverage: slices.Clone(run.Coverage), Organization: run.Organization, Trusts: map[string][]string{}}
	for _, a := range run.Unscanned {
		usage.Unscanned = append(usage.Unscanned, planner.Unscanned{Account: a.ID, Name: a.Name, State: a.State, Why: a.Reason})
	}
	imports, err := s.store.LoadImports(ctx, run)
	if err != nil {
		return usage, layers, err
	}
	usage.Uses, usage.Notes = imports.Uses, imports.Notes
	reading := s.screen.phase("reading what was found", len(run.Targets), "targets", nil, nil)
	defer reading.end()
	for _, t := range run.Targets {
		reading.add(1)
		usage.Expected = append(usage.Expected, scan.Expected(t)...)
		u, err := s.store.LoadUsage(ctx, run.ID, image.Registry{Account: t.Account, Region: t.Region})
		if store.IsNotExist(err) {
			continue // the run was interrupted before it: the planner misses its coverage
		}
		if err != nil {
			return usage, layers, err
		}
		layers.add(image.Registry{Account: t.Account, Region: t.Region}, u)
		usage.Uses = append(usage.Uses, u.Uses...)
		usage.Coverage = append(usage.Coverage, u.Coverage...)
		usage.Mirrors = append(usage.Mirrors, u.Mirrors...)
		usage.Notes = append(usage.Notes, u.Notes...)
		if len(u.Trusts) > 0 {
			usage.Trusts[t.Account] = u.Trusts
		}
	}
	return usage, layers, nil
}
