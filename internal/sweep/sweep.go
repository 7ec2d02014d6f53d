package sweep

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"golang.org/x/sync/errgroup"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/planner"
)

// API is all that a sweep does in AWS.
type API interface {
	BatchDeleteImage(context.Context, *ecr.BatchDeleteImageInput, ...func(*ecr.Options)) (*ecr.BatchDeleteImageOutput, error)
}

// Session may delete images in some repositories of an account, and nothing else.
type Session struct {
	Role         string // ARN
	Repositories []image.Repository
	// Client is the client for a region.
	Client func(region string) API
}

// Looked is what the look just before the deletions says of a repository: a plan, or why there is none.
type Looked struct {
	Plan   *planner.RepositoryPlan
	Code   journal.Code
	Detail string
}

// Going is what is about to be deleted from a repository.
type Going struct {
	Plan   *planner.RepositoryPlan
	Images []journal.Image
}

// Options says how a sweep is carried out. All functions are required but Progress, and may be called from several
// goroutines at once.
type Options struct {
	ReviewedAt  time.Time
	Concurrency int  // accounts at once
	MaxFailures int  // failed calls in a row after which an account is left alone
	DryRun      bool // all but the calls that delete
	// Enter gives the sessions of an account, which together may delete in exactly these repositories. An error concerns
	// the account.
	Enter func(ctx context.Context, account string, repositories []image.Repository) ([]Session, error)
	// Look takes the look just before the deletions of a registry. An error ends the sweep.
	Look func(ctx context.Context, registry image.Registry, work []Work) (map[string]Looked, error)
	// Keep stores the manifests of what is about to be deleted from a registry, as far as they can be had.
	Keep func(ctx context.Context, registry image.Registry, going []Going)
	// Present lists what a repository holds.
	Present func(context.Context, image.Repository) (map[image.Digest]bool, error)
	// Held is asked before every call whether the lock still holds.
	Held func() error
	// Record writes records so that they survive whatever happens next. An error ends the sweep.
	Record   func(context.Context, ...journal.Record) error
	Log      *slog.Logger
	Progress func(*journal.Record) // images that are dealt with: every record but intents
	LastCall int                   // number of the last call of the attempts before this one

	calls *callNumber
}

// grace is how long a call that is under way when the sweep is interrupted may take to end.
const grace = time.Second

// Run deletes what is to be done, account by account side by side and registry by registry in each. The error is that
// of ctx if it was done, or of the journal, the lock or a look; what AWS refuses is no error but stands in the journal.
func Run(ctx context.Context, o Options, work []Work) error {
	o.calls = &callNumber{last: o.LastCall}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(o.Concurrency, 1))
	for account := range slices.Values(groups(work, func(w *Work) string { return w.Account })) {
		g.Go(func() error {
			s := &accountSweep{Options: &o, log: o.Log.With("account", account[0].Account)}
			return s.run(ctx, account)
		})
	}
	return g.Wait()
}

// groups splits a sorted list where the key changes.
func groups[K comparable](work []Work, key func(*Work) K) [][]Work {
	var list [][]Work
	for i := range work {
		if i == 0 || key(&work[i]) != key(&work[i-1]) {
			list = append(list, work[i:i:len(work)])
		}
		last := len(list) - 1
		list[last] = list[last][:len(list[last])+1]
	}
	return list
}

// accountSweep deletes from one account, one call after the other.
type accountSweep struct {
	*Options
	log      *slog.Logger
	sessions []Session
	failures int // calls in a row
}

func (s *accountSweep) run(ctx context.Context, work []Work) error {
	repositories := make([]image.Repository, len(work))
	for i := range work {
		repositories[i] = work[i].Repository
	}
	sessions, err := s.Enter(ctx, work[0].Account, repositories)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.log.Warn("account cannot be entered to delete", "error", err)
		return s.each(ctx, work, journal.Failed, journal.CallFailed, err.Error())
	}
	s.sessions = sessions
	for _, registry := range groups(work, func(w *Work) image.Registry { return w.Registry }) {
		if s.stopped() {
			if err := s.each(ctx, registry, journal.Skipped, journal.AccountStopped, s.why()); err != nil {
				return err
			}
			continue
		}
		if err := s.registry(ctx, registry); err != nil {
			return err
		}
	}
	return nil
}

func (s *accountSweep) stopped() bool { return s.failures >= s.MaxFailures }

func (s *accountSweep) why() string {
	return fmt.Sprintf("%d calls in a row failed in the account ([safety] max_failures)", s.failures)
}

// each books all images of some repositories alike.
func (s *accountSweep) each(ctx context.Context, work []Work, state journal.State, code journal.Code, detail string) error {
	var records []journal.Record
	for i := range work {
		images := make([]journal.Image, len(work[i].Images))
		for k := range images {
			images[k] = work[i].Images[k].skip(code, detail)
			images[k].State = state
		}
		records = append(records, skipRecord(work[i].Repository, images))
	}
	return s.record(ctx, records...)
}

// record writes into the journal, which an interruption must not keep from being complete.
func (s *accountSweep) record(ctx context.Context, records ...journal.Record) error {
	records = slices.DeleteFunc(records, func(r journal.Record) bool { return r.Kind == journal.KindSkip && len(r.Images) == 0 })
	if len(records) == 0 {
		return nil
	}
	gctx, cancel := withGrace(ctx)
	defer cancel()
	if err := s.Record(gctx, records...); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if s.Progress != nil {
		for i := range records {
			if records[i].Kind != journal.KindIntent {
				s.Progress(&records[i])
			}
		}
	}
	return nil
}

// lookLasts is how long a look is trusted: what is left of a registry by then is looked at again.
const lookLasts = 5 * time.Minute

// registry looks once more and deletes.
func (s *accountSweep) registry(ctx context.Context, work []Work) error {
	looked, err := s.Look(ctx, work[0].Registry, work)
	if err != nil {
		return err
	}
	since := time.Now()
	var going []Going
	for i := range work {
		if l := looked[work[i].Name]; l.Plan != nil {
			if v := judge(work[i].Images, l.Plan, s.ReviewedAt, journal.Changed); len(v.calls) > 0 {
				going = append(going, Going{l.Plan, slices.Concat(v.calls...)})
			}
		}
	}
	if len(going) > 0 && !s.DryRun {
		s.Keep(ctx, work[0].Registry, going)
	}
	for i := range work {
		if time.Since(since) > lookLasts && !s.stopped() {
			if looked, err = s.Look(ctx, work[0].Registry, work[i:]); err != nil {
				return err
			}
			since = time.Now()
		}
		if err := s.looked(ctx, &work[i], looked); err != nil {
			return err
		}
	}
	return nil
}

// looked deletes from a repository that was just looked at.
func (s *accountSweep) looked(ctx context.Context, w *Work, looked map[string]Looked) error {
	l, ok := looked[w.Name]
	if !ok {
		l = Looked{Code: journal.NotLooked, Detail: "the look just before its deletions says nothing of it"}
	}
	if l.Plan == nil {
		return s.each(ctx, []Work{*w}, journal.Skipped, l.Code, l.Detail)
	}
	v := judge(w.Images, l.Plan, s.ReviewedAt, journal.Changed)
	if err := s.record(ctx, skipRecord(w.Repository, v.skipped)); err != nil {
		return err
	}
	return s.repository(ctx, w.Repository, l.Plan, v.calls)
}

// repositorySweep deletes from one repository.
type repositorySweep struct {
	*accountSweep
	image.Repository
	client API
	role   string
	stays  map[image.Digest]string // what was to go and has not, and why: its children cannot go either
	again  []journal.Image         // refused since an index refers to them
	aside  map[image.Digest]bool   // those; their subjects stay, since ECR removes referrers with them
}

func (s *accountSweep) repository(ctx context.Context, repo image.Repository, plan *planner.RepositoryPlan, calls [][]journal.Image) error {
	if len(calls) == 0 {
		return nil
	}
	r := &repositorySweep{accountSweep: s, Repository: repo, stays: map[image.Digest]string{}, aside: map[image.Digest]bool{}}
	for _, session := range s.sessions {
		if slices.Contains(session.Repositories, repo) {
			r.client, r.role = session.Client(repo.Region), session.Role
		}
	}
	if r.client == nil {
		return fmt.Errorf("no session may delete from %s", repo)
	}
	holders := holdersOf(plan)
	for i, call := range calls {
		if s.stopped() {
			if err := s.record(ctx, skipRecord(repo, skipAll(slices.Concat(calls[i:]...), journal.AccountStopped, s.why()))); err != nil {
				return err
			}
			break
		}
		call, left := r.withoutOrphans(call, holders)
		if len(left) > 0 {
			if err := s.record(ctx, skipRecord(repo, left)); err != nil {
				return err
			}
		}
		if err := r.delete(ctx, call, true); err != nil {
			return err
		}
	}
	// By now every index that was to go is gone: whoever is refused once more is held by another.
	again := r.again
	r.again = nil
	if s.stopped() {
		return s.record(ctx, skipRecord(repo, skipAll(again, journal.AccountStopped, s.why()+", and an index refers to it")))
	}
	for call := range slices.Chunk(again, batch) {
		if err := r.delete(ctx, call, false); err != nil {
			return err
		}
	}
	return nil
}

// holdersOf gives the indexes that hold each image of a plan, and its referrers: what has to go first.
func holdersOf(plan *planner.RepositoryPlan) func(image.Digest) (indexes, referrers []image.Digest) {
	images := make([]image.Image, len(plan.Decisions))
	for i := range plan.Decisions {
		images[i] = *plan.Decisions[i].Image
	}
	g := image.NewGraph(images)
	return func(d image.Digest) (indexes, referrers []image.Digest) {
		i, ok := g.Find(d)
		if !ok {
			return nil, nil
		}
		for _, e := range g.Up(i) {
			if e.Relation == image.Child {
				indexes = append(indexes, images[e.To].Digest)
			}
		}
		for _, e := range g.Down(i) {
			if e.Relation == image.Referrer {
				referrers = append(referrers, images[e.To].Digest)
			}
		}
		return indexes, referrers
	}
}

// withoutOrphans leaves out what has to stay since something that should have gone before it has not. (Of an index that may
// go yet, ECR itself keeps the children.)
func (r *repositorySweep) withoutOrphans(call []journal.Image, holders func(image.Digest) (indexes, referrers []image.Digest)) (rest, left []journal.Image) {
	if len(r.stays)+len(r.aside) == 0 {
		return call, nil
	}
	for _, img := range call {
		indexes, referrers := holders(img.Digest)
		first := ""
		for _, d := range indexes {
			if r.stays[d] != "" {
				first = string(d)
			}
		}
		for _, d := range referrers {
			if r.stays[d] != "" || r.aside[d] {
				first = string(d)
			}
		}
		if first == "" {
			rest = append(rest, img)
			continue
		}
		r.stays[img.Digest] = "it stays too"
		left = append(left, skipAll([]journal.Image{img}, journal.RelativeStays, first+" should have gone first and has not")...)
	}
	return rest, left
}

func skipAll(images []journal.Image, code journal.Code, detail string) []journal.Image {
	out := make([]journal.Image, len(images))
	for i, img := range images {
		out[i] = img
		out[i].State, out[i].Code, out[i].Detail, out[i].Why = journal.Skipped, code, detail, ""
	}
	return out
}

// callNumber numbers the calls of a sweep.
type callNumber struct {
	mu   sync.Mutex
	last int
}

func (c *callNumber) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	return c.last
}
