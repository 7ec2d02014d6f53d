package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/cost"
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
	config         *accounts.Config
	store          *store.Store
	now            time.Time
	provider       func() (*assume.Provider, error) // made when first needed: a stored run can be planned without AWS
}

// open reads the flags and the configuration and opens the store. Nothing is touched in AWS yet.
func open(c *cli.Context) (*session, error) {
	path := sharedString(c, "config")
	config, err := accounts.Load(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w (copy accounts.toml.example, or name one with --config; `demurrage demo` needs none)", err)
	}
	if err != nil {
		return nil, err
	}
	return openConfig(c, config)
}

func openConfig(c *cli.Context, config *accounts.Config) (*session, error) {
	s := &session{c: c, stdout: c.App.Writer, stderr: c.App.ErrWriter, config: config}
	var err error
	if s.log, err = logger(c, s.stderr); err != nil {
		return nil, err
	}
	if s.now, err = parseNow(c); err != nil {
		return nil, err
	}
	s.provider = sync.OnceValues(s.newProvider)
	s.store, err = store.Open(c.Context, config.Store, s.log, func(context.Context) (aws.Config, error) {
		p, err := s.provider()
		if err != nil {
			return aws.Config{}, err
		}
		return p.Hub(), nil
	})
	return s, err
}

func (s *session) close() {
	if err := s.store.Close(); err != nil {
		s.log.Warn("store not closed", "error", err)
	}
}

// newProvider finds the ambient credentials and restricts what is done with them to the reads of a scan.
func (s *session) newProvider() (*assume.Provider, error) {
	policy, err := assume.AllowActions(append(scan.Actions(), "account:ListRegions", "ec2:DescribeRegions"))
	if err != nil {
		return nil, err
	}
	a := s.config.Assume
	return assume.New(s.c.Context, assume.Options{
		HubRole: a.HubRole, ExternalID: a.ExternalID, SessionName: a.SessionName, Duration: a.Duration,
		Region: s.config.FirstRegion(), Role: assume.ScanRole, Policy: policy,
		Load: []func(*config.LoadOptions) error{maxAttempts},
	})
}

// maxAttempts honours AWS_MAX_ATTEMPTS, which the SDK passes over where it is given a retryer.
func maxAttempts(o *config.LoadOptions) error {
	env, err := config.NewEnvConfig()
	if err != nil {
		return err
	}
	if retryer := o.Retryer; retryer != nil && env.RetryMaxAttempts > 0 {
		o.Retryer = func() aws.Retryer { return retry.AddWithMaxAttempts(retryer(), env.RetryMaxAttempts) }
	}
	return nil
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
			if !run.FinishedAt.IsZero() && run.Now.Format("2006-01") == month {
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

// planOf plans a stored run, or, without an id, scans first.
func (s *session) planOf(ctx context.Context, id string) (*report.Run, error) {
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
	now := run.Now
	if s.c.String("now") != "" {
		now = s.now
	}
	usage, err := s.usage(ctx, run)
	if err != nil {
		return nil, err
	}
	plan, err := planner.Build(planner.Merge(s.config.Rules(), now, usage), s.store.Inventories(ctx, id))
	if err != nil {
		return nil, err
	}
	r := &report.Run{Plan: plan, ID: id, ConfigSHA256: s.config.SHA256, Version: version, GeneratedAt: now, Prices: cost.List(),
		Accounts: map[string]report.Account{}, Hints: []string{lookedAt()}}
	for _, a := range slices.Concat(run.Accounts, run.Unscanned) {
		r.Accounts[a.ID] = report.Account{ID: a.ID, Name: a.Name, Owner: a.Owner, CostCenter: a.CostCenter, OU: a.OU, Tags: a.Tags}
	}
	return r, nil
}

// lookedAt says plainly what this version does not know of.
func lookedAt() string {
	return "Looked at: " + strings.Join(scan.Sources(), ", ") + ". What only other services use (EKS, Batch, …) is not seen by this version."
}

// usage loads what every target of a run uses, and what the run should have looked at.
func (s *session) usage(ctx context.Context, run store.Run) (planner.Usage, error) {
	usage := planner.Usage{Coverage: slices.Clone(run.Coverage)}
	for _, a := range run.Unscanned {
		usage.Unscanned = append(usage.Unscanned, planner.Unscanned{Account: a.ID, Name: a.Name, State: a.State, Why: a.Reason})
	}
	for _, t := range run.Targets {
		usage.Expected = append(usage.Expected, scan.Expected(t)...)
		u, err := s.store.LoadUsage(ctx, run.ID, image.Registry{Account: t.Account, Region: t.Region})
		if store.IsNotExist(err) {
			continue // the run was interrupted before it: the planner misses its coverage
		}
		if err != nil {
			return usage, err
		}
		usage.Uses = append(usage.Uses, u.Uses...)
		usage.Coverage = append(usage.Coverage, u.Coverage...)
	}
	return usage, nil
}

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
	byID := map[string]accounts.Account{}
	for _, a := range roster.Accounts {
		byID[a.ID] = a
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
	progress := newProgress(s.c, s.stderr, len(targets))
	err = scan.Run(ctx, scan.Options{
		Targets:     targets,
		Concurrency: int64(s.config.Concurrency),
		Config: func(ctx context.Context, id, region string) (aws.Config, error) {
			a, ok := byID[id]
			if !ok { // a resumed run whose account has left the configuration
				return aws.Config{}, fmt.Errorf("account %s is not in the configuration any more", id)
			}
			return p.Config(a, region), p.Check(ctx, a)
		},
		KeepTaskDefinitions: s.config.KeepTaskDefinitions,
		KeepLambdaVersions:  s.config.KeepLambdaVersions,
		Cache:               s.store,
		Sink:                func(ctx context.Context, snap *scan.Snapshot) error { return s.store.SaveSnapshot(ctx, run.ID, snap) },
		Log:                 s.log,
		Progress:            progress.event,
	})
	progress.end()
	if ctx.Err() != nil {
		return "", &exitError{exitInterrupted, fmt.Sprintf("interrupted; what was scanned is stored: demurrage plan --resume goes on with run %s", run.ID)}
	}
	if err != nil {
		return "", err
	}
	return run.ID, s.store.Finish(ctx, run.ID, time.Now().UTC())
}

// roster says which accounts there are.
func (s *session) roster(ctx context.Context, p *assume.Provider) (*accounts.Roster, error) {
	if !s.config.Organization.Discover {
		return s.config.Roster(ctx, nil)
	}
	return s.config.Roster(ctx, organizations.NewFromConfig(p.Hub()))
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
			done, err := s.store.Done(ctx, run.ID)
			return run, done, err
		}
	}
	targets, coverage, err := s.targets(ctx, p, roster)
	if err != nil {
		return store.Run{}, nil, err
	}
	run := store.Run{StartedAt: time.Now().UTC(), Now: s.now, ConfigSHA256: s.config.SHA256, Version: version, Hub: p.Identity().Account,
		Targets: targets, Coverage: coverage}
	for _, a := range roster.Accounts {
		run.Accounts = append(run.Accounts, store.Account{ID: a.ID, Name: a.Name, Owner: a.Owner, CostCenter: a.CostCenter, Tags: a.Tags, OU: a.OU, State: a.State})
	}
	for _, u := range roster.Unscanned {
		run.Unscanned = append(run.Unscanned, store.Account{ID: u.Account, Name: u.Name, State: u.State, Reason: u.Why})
	}
	run, err = s.store.Begin(ctx, run)
	return run, nil, err
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
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.config.Concurrency)
	for _, a := range roster.Accounts {
		g.Go(func() error {
			cfg := p.Config(a, p.Hub().Region)
			enabled, err := accounts.EnabledRegions(ctx, account.NewFromConfig(cfg), ec2.NewFromConfig(cfg), hub, a.ID)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			planned, uses, unavailable := accounts.Targets(a, enabled)
			mu.Lock()
			defer mu.Unlock()
			for _, t := range uses {
				targets = append(targets, scan.Target{Account: t.Account, Region: t.Region, Planned: slices.Contains(planned, t)})
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
	slices.SortFunc(targets, func(a, b scan.Target) int {
		return accounts.CompareTargets(accounts.Target{Account: a.Account, Region: a.Region}, accounts.Target{Account: b.Account, Region: b.Region})
	})
	slices.SortFunc(coverage, image.CompareCoverage)
	return targets, coverage, nil
}

// verdict turns a plan that is not complete into exit code 2.
func verdict(run *report.Run, accept bool) error {
	blocked := run.Plan.Count.Blocked.Images
	if accept || run.Plan.Complete && blocked == 0 {
		return nil
	}
	failed := 0
	for _, c := range run.Plan.Coverage {
		if c.Status == image.CoverageFailed {
			failed++
		}
	}
	return &exitError{exitIncomplete, fmt.Sprintf("coverage is incomplete: %d sources could not be read, %d images are blocked (run %s)", failed, blocked, run.ID)}
}

// write shows a run on stdout.
func (s *session) write(run *report.Run, format report.Format, all bool) error {
	if format == report.FormatTable {
		width, _ := terminal(s.stdout)
		return report.Table(s.stdout, run, report.TermOptions{Width: width, Color: color(s.c, s.stdout), All: all})
	}
	return writeFormat(s.stdout, run, format, all, "")
}

// writeFile writes a report whole or not at all: a reader never meets half of one.
func (s *session) writeFile(path string, run *report.Run, all bool) (err error) {
	format, err := report.FormatOf(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".demurrage-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if err := errors.Join(writeFormat(tmp, run, format, all, path), tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	if !sharedBool(s.c, "quiet") {
		fmt.Fprintln(s.stderr, "wrote", path)
	}
	return nil
}
