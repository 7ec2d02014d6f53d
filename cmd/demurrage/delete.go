package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"demurrage/assume"
	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/internal/scan"
	"demurrage/internal/store"
	"demurrage/internal/sweep"
	"demurrage/planner"
	"demurrage/report"
)

func deleteCommand() *cli.Command {
	return &cli.Command{
		Name:  "delete",
		Usage: "deletes what a reviewed plan says and a fresh look still allows",
		Description: `What goes is the saved plan intersected with a fresh one, looked at once more just before each registry's deletions; what has
changed is skipped and said. Only accounts with enforce = true are touched. Without --plan it plans, shows, and asks.
Every call is in the journal before it is sent: after an interruption, the same command goes on.

  demurrage plan --out plan.json        review this file, then
  demurrage delete --plan plan.json --dry-run
  demurrage delete --plan plan.json
  demurrage delete --plan plan.json --account 223344556677 --repository 'ci/*'
  demurrage delete                      plan, look, and type the number

Exit codes: 0 done · 2 done, but something is blocked because it could not be read · 3 some deletions failed · 4 refused by a
brake or at the confirmation, nothing touched · 130 interrupted.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "plan", Usage: "apply the saved plan `FILE` (plan --out plan.json)"},
			&cli.BoolFlag{Name: "yes", Usage: "do not ask, for unattended runs without --plan"},
			&cli.BoolFlag{Name: "dry-run", Usage: "do everything but the calls that delete; leaves no journal"},
			&cli.StringSliceFlag{Name: "account", Usage: "only the account `ID`; can be repeated"},
			&cli.StringSliceFlag{Name: "region", Usage: "only the region `NAME`; can be repeated"},
			&cli.StringSliceFlag{Name: "repository", Usage: "only repositories that match `PATTERN`; can be repeated"},
			&cli.StringFlag{Name: "format", Value: "table", Usage: "table, json or markdown, to stdout"},
			&cli.StringFlag{Name: "now", Hidden: true},
		},
		Action: func(c *cli.Context) error {
			if c.String("now") != "" {
				return errors.New("delete takes no --now (nor DEMURRAGE_NOW): what is deleted is as old as it is")
			}
			format, err := report.ParseFormat(c.String("format"))
			if err != nil {
				return err
			}
			if !slices.Contains([]report.Format{report.FormatTable, report.FormatMarkdown, report.FormatJSON}, format) {
				return fmt.Errorf("--format: %s is none of table, markdown, json", format)
			}
			d := &deletion{dryRun: c.Bool("dry-run"), format: format}
			if err := d.narrow(c); err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			d.session = s
			return d.run(c.Context)
		},
	}
}

// lease is how long the lock outlives its holder.
const lease = 15 * time.Second

// deletion is one run of the delete command.
type deletion struct {
	*session
	dryRun bool
	format report.Format
	filter sweep.Filter

	reviewed *sweep.Reviewed
	shown    bool // reviewed is the plan that was just made
	lock     *store.Lock
	id       string
	book     *book
	others   map[string]*journal.Ledger // interrupted sweeps of other plans
	fresh    *planned
	todo     *sweep.Todo
}

func (d *deletion) narrow(c *cli.Context) error {
	for _, a := range c.StringSlice("account") {
		if !image.ValidAccount(a) {
			return fmt.Errorf("--account: %q is not an account id of 12 digits", a)
		}
		d.filter.Accounts = append(d.filter.Accounts, a)
	}
	for _, r := range c.StringSlice("region") {
		if !image.ValidRegion(r) {
			return fmt.Errorf("--region: %q is not a region", r)
		}
		d.filter.Regions = append(d.filter.Regions, r)
	}
	for _, r := range c.StringSlice("repository") {
		if r == "" {
			return errors.New("--repository: the pattern is empty")
		}
		d.filter.Repositories = append(d.filter.Repositories, image.Glob(r))
	}
	return nil
}

// run is the whole of it. What is refused before the first call is exit code 4.
func (d *deletion) run(ctx context.Context) error {
	err := d.apply(ctx)
	var refusal *sweep.Refusal
	var held *store.HeldError
	switch {
	case errors.As(err, &refusal), errors.As(err, &held):
		return &exitError{exitRefused, err.Error()}
	}
	return err
}

func (d *deletion) apply(ctx context.Context) error {
	if err := d.review(); err != nil {
		return err
	}
	p, err := d.provider()
	if err != nil {
		return err
	}
	if !d.dryRun {
		host, _ := os.Hostname()
		d.lock, err = d.store.Lock(ctx, "delete", store.Holder{
			Who: p.Identity().ARN, Host: host, PID: os.Getpid(), What: strings.Join(os.Args[1:], " "), Since: time.Now().UTC(),
		}, lease)
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := d.lock.Release(ctx); err != nil {
				d.log.Warn("lock not released", "error", err)
			}
		}()
		ctx = d.lock.Context()
	}
	if d.fresh, err = d.planned(ctx, ""); err != nil {
		return err
	}
	if d.reviewed == nil { // the plan is shown
		if err := d.measure(ctx, d.fresh); err != nil {
			return err
		}
	}
	if err := d.goOn(ctx); err != nil {
		return err
	}
	defer func() { d.book.close() }()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.begin(ctx, p); err != nil {
		return err
	}
	d.reviewed.Images = nil // what is to be done is in todo; of a million images, this is much memory
	err = d.sweep(ctx, p)
	return d.finish(ctx, err)
}

// review reads the saved plan, if there is one, and refuses what may not be applied, before anything is touched.
func (d *deletion) review() error {
	path := d.c.String("plan")
	if path == "" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if d.reviewed, err = sweep.ReadPlan(f); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := d.reviewed.Check(d.config.SHA256, time.Now(), d.config.Safety.MaxPlanAge); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := d.reviewed.Narrow(d.filter); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// goOn finds sweeps that were interrupted, accounts for the calls that the one of this plan left open and goes on with it.
// Otherwise it makes a new one. Those of other plans are closed when this one begins.
func (d *deletion) goOn(ctx context.Context) error {
	d.shown = d.reviewed == nil
	if d.shown {
		var err error
		if d.reviewed, err = sweep.Review(d.fresh.Plan, d.fresh.ID, d.config.SHA256); err != nil {
			return err
		}
		if err := d.reviewed.Narrow(d.filter); err != nil {
			return err
		}
	}
	ids, err := d.store.Journals(ctx)
	if err != nil {
		return err
	}
	d.others = map[string]*journal.Ledger{}
	for _, id := range ids {
		if err := d.store.LoadSweep(ctx, id, &struct{}{}); err == nil {
			continue // it has ended
		} else if !store.IsNotExist(err) {
			return err
		}
		ledger, err := journal.Replay(d.store.JournalRecords(ctx, id))
		if err != nil {
			return fmt.Errorf("journal of sweep %s: %w", id, err)
		}
		if len(ledger.Begins) == 0 {
			continue // killed before it began anything
		}
		same := ledger.Begins[0].Plan.SHA256 == d.reviewed.SHA256
		if !same {
			d.others[id] = ledger
			continue
		}
		b, err := d.openBook(ctx, id, ledger)
		if err != nil {
			return err
		}
		if err := d.settle(ctx, b); err != nil {
			b.close()
			return fmt.Errorf("go on with sweep %s: %w", id, err)
		}
		d.id, d.book = id, b
		d.say("going on with sweep %s, which was interrupted", id)
		return nil
	}
	d.id, d.book = store.NewID(time.Now()), &book{ledger: journal.NewLedger()} // the journal is made when there is something to write
	return nil
}

func (d *deletion) settle(ctx context.Context, b *book) error {
	return sweep.Settle(ctx, b.ledger, func(r image.Registry) iter.Seq2[image.Inventory, error] { return d.inventory(ctx, r) }, b.record)
}

// closeOthers closes the interrupted sweeps of other plans, now that nothing refuses this one.
func (d *deletion) closeOthers(ctx context.Context) error {
	for _, id := range slices.Sorted(maps.Keys(d.others)) {
		if err := d.closeOther(ctx, id, d.others[id]); err != nil {
			return fmt.Errorf("close sweep %s: %w", id, err)
		}
	}
	return nil
}

func (d *deletion) closeOther(ctx context.Context, id string, ledger *journal.Ledger) error {
	b, err := d.openBook(ctx, id, ledger)
	if err != nil {
		return err
	}
	defer b.close()
	if err := d.settle(ctx, b); err != nil {
		return err
	}
	if !ledger.Ended { // otherwise it was killed between its end and its summary
		if err := b.record(ctx, journal.Record{Kind: journal.KindEnd, End: &journal.End{Abandoned: "interrupted, and then another plan was applied"}}); err != nil {
			return err
		}
		d.say("sweep %s, which was interrupted, is closed: another plan is applied", id)
	}
	return d.store.SaveSweep(ctx, id, ledger.Summary())
}

// inventory gives the repositories of a registry as the fresh scan found them, and an error in the end if it could not read
// all of it.
func (d *deletion) inventory(ctx context.Context, r image.Registry) iter.Seq2[image.Inventory, error] {
	for _, c := range d.fresh.usage.Coverage {
		if c.Account == r.Account && c.Region == r.Region && c.Source == image.SourceECR && c.Status == image.CoverageOK {
			return d.store.Inventory(ctx, d.fresh.ID, r)
		}
	}
	return func(yield func(image.Inventory, error) bool) {
		for inv, err := range d.store.Inventory(ctx, d.fresh.ID, r) {
			if err != nil {
				break
			}
			if !yield(inv, nil) {
				return
			}
		}
		yield(image.Inventory{}, fmt.Errorf("registry %s could not be read", r.Host()))
	}
}

// prepare applies the brakes, shows what is to go and has it confirmed.
func (d *deletion) prepare(ctx context.Context) error {
	brakes := sweep.Brakes{
		Enforced:   func(id string) bool { return d.accounts[id].Enforce },
		MaxPercent: d.config.Safety.MaxDeletePercent,
		MaxImages:  d.config.Safety.MaxDeleteImages,
		MaxBytes:   d.config.Safety.MaxDeleteBytes,
	}
	if err := d.confirmed(ctx, &brakes); err != nil {
		return err
	}
	var err error
	d.todo, err = sweep.Prepare(d.reviewed, d.fresh.Plan, d.fresh.merged.Pullers, brakes, d.book.ledger)
	if err != nil {
		return err
	}
	if d.shown && d.format == report.FormatTable {
		if err := d.write(d.fresh.Run, report.FormatTable, false); err != nil {
			return err
		}
		fmt.Fprintln(d.stdout)
	}
	if why, braked := d.todo.Braked(); braked && len(d.book.ledger.Begins) == 0 {
		if err := d.account(ctx); err != nil {
			return err
		}
		return errors.Join(d.summary(), &sweep.Refusal{Why: "nothing was deleted, since brakes hold all of the plan that is still deletable: " + why})
	}
	d.say("%s", d.announcement())
	if d.shown && d.todo.Going.Images > 0 && !d.dryRun && !d.c.Bool("yes") {
		if d.format != report.FormatTable { // stdout is for the summary
			width, _ := terminal(d.stderr)
			if err := report.Table(d.stderr, d.fresh.Run, report.TermOptions{Width: width, Color: color(d.c, d.stderr)}); err != nil {
				return err
			}
		}
		return d.confirm()
	}
	return nil
}

func (d *deletion) announcement() string {
	t := d.todo.Going
	return fmt.Sprintf("%s images (%s) of %d repositories in %d accounts can be deleted now, of %s that the plan names",
		humanize.Comma(int64(t.Images)), humanize.IBytes(uint64(t.Bytes)), len(d.todo.Work), len(d.todo.ByAccount), humanize.Comma(int64(d.reviewed.Tally().Images)))
}

// say tells people what goes on.
func (d *deletion) say(format string, args ...any) {
	if !sharedBool(d.c, "quiet") {
		fmt.Fprintf(d.stderr, format+"\n", args...)
	}
}

// confirm has the number of images typed.
func (d *deletion) confirm() error {
	n := d.todo.Going.Images
	fmt.Fprintf(d.stderr, "Deleted images do not come back. To delete %d images, type that number: ", n)
	asked := time.Now()
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(d.c.App.Reader, 1<<10)).ReadString('\n')
		answers <- line
	}()
	select {
	case <-d.c.Done():
		return context.Cause(d.c.Context)
	case line := <-answers:
		words := strings.Fields(strings.ToLower(strings.ReplaceAll(line, ",", "")))
		if len(words) > 0 && words[0] == "delete" {
			words = words[1:]
		}
		if len(words) == 2 && strings.HasPrefix(words[1], "image") {
			words = words[:1]
		}
		if len(words) != 1 || words[0] != strconv.Itoa(n) {
			return &sweep.Refusal{Why: fmt.Sprintf("not confirmed: nothing was deleted (the number is %d; --yes does not ask)", n)}
		}
		if waited := time.Since(asked); waited > patience {
			return &sweep.Refusal{Why: fmt.Sprintf("nothing was deleted: the answer came after %s, and what was shown is too old by then; run it again", waited.Round(time.Minute))}
		}
		return nil
	}
}

// patience is how long what was scanned may wait for a confirmation: the looks before the deletions do not take in everything.
const patience = time.Hour

// confirmed sets the brake of confirm_after: it plans the newest complete run that is old enough.
func (d *deletion) confirmed(ctx context.Context, b *sweep.Brakes) error {
	after := d.config.Safety.ConfirmAfter
	if after == 0 {
		return nil
	}
	days := strconv.FormatFloat(after.Hours()/24, 'f', -1, 64) + "d"
	b.Unconfirmed = "no complete run at least " + days + " older than this one found it deletable too ([safety] confirm_after)"
	b.Confirmed = func(image.Repository) (map[image.Digest]bool, error) { return nil, nil }
	for run, err := range d.store.Runs(ctx) {
		if err != nil {
			return err
		}
		if run.FinishedAt.IsZero() || !run.Now.IsZero() || d.fresh.run.StartedAt.Sub(run.StartedAt) < after || run.Generations != d.config.Generations() {
			continue
		}
		earlier, err := d.planned(ctx, run.ID)
		if err != nil {
			return fmt.Errorf("confirm by run %s: %w", run.ID, err)
		}
		if !earlier.Plan.Complete {
			continue
		}
		b.Unconfirmed = "run " + run.ID + ", at least " + days + " older, did not find it deletable too ([safety] confirm_after)"
		b.Confirmed = func(repo image.Repository) (map[image.Digest]bool, error) { return d.deletableIn(ctx, earlier, repo) }
		return nil
	}
	return nil
}

// deletableIn lists what an earlier run found deletable in a repository.
func (d *deletion) deletableIn(ctx context.Context, earlier *planned, repo image.Repository) (map[image.Digest]bool, error) {
	deletable := map[image.Digest]bool{}
	for inv, err := range d.store.Inventory(ctx, earlier.ID, repo.Registry) {
		if store.IsNotExist(err) {
			return nil, nil // it was not planned then
		}
		if err != nil {
			return nil, err
		}
		if inv.Repository != repo {
			continue
		}
		for _, decision := range earlier.merged.Repository(&inv).Decisions {
			if decision.Action == planner.Delete {
				deletable[decision.Image.Digest] = true
			}
		}
		break
	}
	return deletable, nil
}

// begin opens the journal, if that is not done.
func (d *deletion) begin(ctx context.Context, p *assume.Provider) error {
	if !d.dryRun {
		if err := d.closeOthers(ctx); err != nil {
			return err
		}
	}
	if d.book.journal == nil {
		var err error
		if d.book, err = d.openBook(ctx, d.id, d.book.ledger); err != nil {
			return err
		}
	}
	return d.beginning(ctx, p)
}

// beginning writes down what is to be accounted for, and what is left alone from the start.
func (d *deletion) beginning(ctx context.Context, p *assume.Provider) error {
	host, _ := os.Hostname()
	err := d.book.record(ctx, journal.Record{Kind: journal.KindBegin, Begin: &journal.Begin{
		Sweep: d.id, Who: p.Identity().ARN, Host: host, PID: os.Getpid(), Version: version, Config: d.config.SHA256,
		Plan: d.reviewed.Plan, Run: d.fresh.ID, Incomplete: !d.fresh.Plan.Complete, Filters: d.filters(),
		StartedAt: time.Now().UTC(), DryRun: d.dryRun, PlannedIn: d.reviewed.Planned(d.book.ledger),
	}})
	if err != nil {
		return err
	}
	return d.book.record(ctx, d.todo.Skipped...)
}

func (d *deletion) filters() []string {
	var all []string
	for _, a := range d.filter.Accounts {
		all = append(all, "account="+a)
	}
	for _, r := range d.filter.Regions {
		all = append(all, "region="+r)
	}
	for _, r := range d.filter.Repositories {
		all = append(all, "repository="+r.String())
	}
	return all
}

// sweep deletes.
func (d *deletion) sweep(ctx context.Context, p *assume.Provider) error {
	if len(d.todo.Work) == 0 {
		return nil
	}
	imports, err := d.store.LoadImports(ctx, d.fresh.run)
	if err != nil {
		return err
	}
	scanning := d.scanOptions(p, imports)
	scanning.Targets = d.fresh.run.Targets
	scanning.Sources = scan.FastSources()
	sweeping := newSweeping(d.session, d.todo.Work)
	defer sweeping.phase.end()
	scanning.Progress = sweeping.event
	looks := scan.NewLooks(scanning)
	looker := &sweep.Looker{Looks: looks, Targets: d.fresh.run.Targets, Mirrors: d.fresh.usage.Mirrors, Merged: d.fresh.merged}
	enter, err := d.sweeper(ctx)
	if err != nil {
		return err
	}
	return sweep.Run(ctx, sweep.Options{
		ReviewedAt:  d.reviewed.GeneratedAt,
		Concurrency: d.config.Concurrency,
		MaxFailures: d.config.Safety.MaxFailures,
		DryRun:      d.dryRun,
		Enter: func(ctx context.Context, account string, repositories []image.Repository) ([]sweep.Session, error) {
			sweeping.enter(account)
			return enter(ctx, account, repositories)
		},
		Look: looker.Look,
		Keep: (&keeper{deletion: d, scanning: scanning}).keep,
		Present: func(ctx context.Context, repo image.Repository) (map[image.Digest]bool, error) {
			return scan.Present(ctx, scanning, scan.Target{Account: repo.Account, Region: repo.Region, Planned: true}, repo.Name)
		},
		Held: func() error {
			if d.lock == nil {
				return nil
			}
			return d.lock.Held()
		},
		Record:   d.book.record,
		Log:      d.log,
		Progress: sweeping.record,
		LastCall: d.book.ledger.LastCall(),
	}, d.todo.Work)
}

// mostManifests bounds how many manifests a sweep keeps, at a few KB each.
const mostManifests = 100_000

// keeper keeps manifests with the journal.
type keeper struct {
	*deletion
	scanning scan.Options
	kept     atomic.Int64
}

// keptManifest is a line of what is kept. With its layers still in the repository, an image can be put back by it.
type keptManifest struct {
	image.Repository
	Digest    image.Digest `json:"digest"`
	Tags      []string     `json:"tags,omitempty"`
	MediaType string       `json:"media_type"`
	Manifest  string       `json:"manifest"`
}

// keep stores the manifests of images that are about to go. That some cannot be had stops nothing.
func (k *keeper) keep(ctx context.Context, registry image.Registry, going []sweep.Going) {
	tags := map[string]map[image.Digest][]string{}
	wanted := map[string][]*image.Image{}
	for _, g := range going {
		name := g.Plan.Repository.Name
		tags[name] = map[image.Digest][]string{}
		for i := range g.Images {
			tags[name][g.Images[i].Digest] = g.Images[i].Tags
		}
		for i := range g.Plan.Inventory.Images {
			img := &g.Plan.Inventory.Images[i]
			if _, ok := tags[name][img.Digest]; ok && k.kept.Add(1) <= mostManifests {
				wanted[name] = append(wanted[name], img)
			}
		}
	}
	if len(wanted) == 0 {
		return
	}
	part := fmt.Sprintf("%06d-%s-%s", k.lock.Fence(), registry.Account, registry.Region)
	err := k.store.SaveManifests(ctx, k.id, part, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		return scan.Manifests(ctx, k.scanning, scan.Target{Account: registry.Account, Region: registry.Region, Planned: true}, wanted,
			func(name string, img *image.Image, text string) error {
				return enc.Encode(keptManifest{image.Repository{Registry: registry, Name: name}, img.Digest, tags[name][img.Digest], img.MediaType, text})
			})
	})
	if err != nil {
		k.log.Warn("manifests not kept", "account", registry.Account, "region", registry.Region, "error", err)
	}
}

// sweepAction is all that a session which deletes is allowed.
const sweepAction = "ecr:BatchDeleteImage"

// sweeper gives the function by which accounts are entered to delete: their sweep role, in sessions that may delete in the
// repositories of the plan and do nothing else.
func (d *deletion) sweeper(ctx context.Context) (func(context.Context, string, []image.Repository) ([]sweep.Session, error), error) {
	a := d.config.Assume
	p, err := assume.New(ctx, assume.Options{
		HubRole: a.HubRole, ExternalID: a.ExternalID, SessionName: a.SessionName, Duration: a.Duration,
		Region: d.config.FirstRegion(), Role: assume.SweepRole, Everywhere: true, Calls: &d.screen.calls,
	})
	if err != nil {
		return nil, err
	}
	clients := &sweep.Clients{}
	return func(ctx context.Context, id string, repositories []image.Repository) ([]sweep.Session, error) {
		account := d.accounts[id]
		byARN := map[string]image.Repository{}
		var arns []string
		for _, r := range repositories {
			byARN[r.ARN()] = r
			arns = append(arns, r.ARN())
		}
		grants, err := assume.AllowOn(sweepAction, arns)
		if err != nil {
			return nil, fmt.Errorf("account %s: %w", id, err)
		}
		var sessions []sweep.Session
		for _, g := range grants {
			if err := p.CheckSession(ctx, account, g.Policy); err != nil {
				return nil, err
			}
			s := sweep.Session{Role: p.Principal(account), Client: func(region string) sweep.API {
				return clients.In(image.Registry{Account: id, Region: region}, p.Session(account, region, g.Policy))
			}}
			for _, arn := range g.Resources {
				s.Repositories = append(s.Repositories, byARN[arn])
			}
			sessions = append(sessions, s)
		}
		return sessions, nil
	}, nil
}

// finish closes the journal, shows the summary and decides the exit code.
func (d *deletion) finish(ctx context.Context, err error) error {
	interrupted := d.c.Err() != nil
	if err == nil && !interrupted {
		err = d.end(ctx)
	}
	if shown := d.summary(); shown != nil {
		err = errors.Join(err, shown)
	}
	s := d.book.ledger.Summary()
	if !interrupted && err == nil {
		d.closing(d.fresh.Run, d.swept(), d.following(&s))
	}
	switch {
	case interrupted:
		return &exitError{exitInterrupted, fmt.Sprintf("interrupted; what was done is in the journal of sweep %s, and %s", d.id, d.next())}
	case err != nil && (s.Deleted.Images+s.Failed.Images > 0 || len(d.book.ledger.Open()) > 0):
		return &exitError{exitFailed, fmt.Sprintf("sweep %s broke off, %d images are left: %v (%s)", d.id, s.Left.Images, err, d.next())}
	case err != nil:
		return err
	case s.Failed.Images > 0:
		return &exitError{exitFailed, fmt.Sprintf("%d of %d deletions failed (sweep %s)", s.Failed.Images, s.Failed.Images+s.Deleted.Images, d.id)}
	}
	if err := verdict(d.fresh.Run, false); err != nil {
		return err
	}
	for _, c := range s.Codes {
		if c.Code == journal.NotLooked {
			return &exitError{exitIncomplete, fmt.Sprintf("%d images are held back by what could not be read in the look before their deletion (sweep %s)", c.Images, d.id)}
		}
	}
	return nil
}

// next says how to go on.
func (d *deletion) next() string {
	if d.shown {
		return "the next delete accounts for it and plans anew"
	}
	return "the same command goes on with it"
}

// end closes the journal. A sweep that has ended by itself has left nothing.
func (d *deletion) end(ctx context.Context) error {
	if left := d.book.ledger.Summary().Left; left != (journal.Tally{}) {
		return fmt.Errorf("the journal of sweep %s does not add up: %d images, %d bytes are unaccounted for", d.id, left.Images, left.Bytes)
	}
	if err := d.book.record(ctx, journal.Record{Kind: journal.KindEnd, End: &journal.End{}}); err != nil || d.dryRun {
		return err
	}
	summary := d.book.ledger.Summary()
	if err := d.release(ctx, &summary); err != nil {
		d.log.Warn("what is not stored any more is not measured: the realised saving is that of the sizes of images", "error", err)
	}
	return d.store.SaveSweep(ctx, d.id, summary)
}

// release measures what the sweep really freed. One that was gone on with is not measured: what went before its last scan
// is not in it.
func (d *deletion) release(ctx context.Context, summary *journal.Summary) error {
	if summary.Attempts > 1 {
		return nil
	}
	sizes := map[image.Repository]int64{}
	stored, err := d.stored(ctx, d.fresh, func(r image.Repository, i *planner.Decision) bool {
		e, ok := d.book.ledger.Get(r, i.Image.Digest)
		if !ok || e.State != journal.Deleted {
			return false
		}
		sizes[r] += e.Bytes
		return true
	})
	if err != nil {
		return err
	}
	released := map[string]map[string]int64{} // by account and region
	for r, bytes := range sizes {
		if s := stored[r]; s.Exact {
			bytes = s.Freed
		}
		if released[r.Account] == nil {
			released[r.Account] = map[string]int64{}
		}
		released[r.Account][r.Region] += bytes
	}
	for i := range summary.Accounts {
		a := &summary.Accounts[i]
		a.Released = released[a.Account]
	}
	return nil
}

// account books what is left alone without beginning a sweep.
func (d *deletion) account(ctx context.Context) error {
	p, err := d.provider()
	if err != nil {
		return err
	}
	if err := d.beginning(ctx, p); err != nil { // into the ledger alone: nothing was touched
		return err
	}
	return d.book.record(ctx, journal.Record{Kind: journal.KindEnd, End: &journal.End{}})
}

// following are the commands after a sweep that has ended.
func (d *deletion) following(s *journal.Summary) []string {
	next := d.mend(d.fresh.Run)
	again := []string{"delete"}
	if path := d.c.String("plan"); path != "" {
		again = append(again, "--plan", path)
	}
	switch {
	case d.dryRun && d.todo.Going.Images > 0:
		next = append(next, d.command(append(again, d.narrowed()...)...))
	case s.Failed.Images > 0:
		next = append(next, d.command("history"), d.command("plan", "--out", "plan.json"))
	}
	return next
}

// narrowed are the flags that narrow the plan.
func (d *deletion) narrowed() (flags []string) {
	for _, name := range []string{"account", "region", "repository"} {
		for _, value := range d.c.StringSlice(name) {
			flags = append(flags, "--"+name, value)
		}
	}
	return flags
}

func (d *deletion) swept() *report.Sweep {
	return &report.Sweep{ID: d.id, Ledger: d.book.ledger, Accounts: d.fresh.Accounts, Prices: d.fresh.Prices}
}

func (d *deletion) summary() error {
	width, _ := terminal(d.stdout)
	s := d.swept()
	switch d.format {
	case report.FormatJSON:
		return report.SweepJSON(d.stdout, s)
	case report.FormatMarkdown:
		return report.SweepMarkdown(d.stdout, s)
	default:
		return report.SweepText(d.stdout, s, report.TermOptions{Width: width, Color: color(d.c, d.stdout)})
	}
}

// book is a ledger and the journal that it is the sum of; a dry run has no journal.
type book struct {
	mu      sync.Mutex
	ledger  *journal.Ledger
	journal *store.Journal
	fence   int64
}

func (d *deletion) openBook(ctx context.Context, id string, ledger *journal.Ledger) (*book, error) {
	b := &book{ledger: ledger}
	if d.dryRun {
		return b, nil
	}
	b.fence = d.lock.Fence()
	var err error
	b.journal, err = d.store.OpenJournal(ctx, id)
	return b, err
}

// record writes records into the journal and, once they are safe there, into the ledger.
func (b *book) record(ctx context.Context, records ...journal.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(records) == 0 {
		return nil
	}
	all := make([]any, len(records))
	for i := range records {
		records[i].At, records[i].Fence = time.Now().UTC(), b.fence
		all[i] = &records[i]
	}
	if b.journal != nil {
		if err := b.journal.Append(ctx, all...); err != nil {
			return err
		}
	}
	for i := range records {
		if err := b.ledger.Apply(&records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (b *book) close() {
	if b.journal != nil {
		_ = b.journal.Close() // every record was synced
	}
}
