package scan

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"

	"demurrage/internal/image"
)

// A resource can name what it starts: a rule of EventBridge a task definition, a state machine a job definition or a
// version of a function, be it a revision that is older than all that are kept for a rollback. Such a name is a pin. The
// source that meets it (pins is set in its line of the table) does not look it up itself: the source that knows the
// kind of thing does, in the target that the name points at, as if the resource were a user of its own.

// pin is the word of one resource that it starts another.
type pin struct {
	kind string    // the source that can look it up: "ecs" (task definitions), "batch" (job definitions), "lambda" (functions)
	name string    // as written: an ARN, with or without revision; family:revision; a name alone
	use  image.Use // who says so: source, resource, detail, and the account and region of the resource
	by   string    // the source that met it
}

// pins collects what the sources of a target name, for its other sources.
type pins struct {
	ready chan struct{} // closed when every source that can name something has ended

	mu   sync.Mutex
	left int
	all  []pin
}

func newPins(pinning int) *pins {
	p := &pins{ready: make(chan struct{}), left: pinning}
	if pinning == 0 {
		close(p.ready)
	}
	return p
}

// end tells that one of the sources that can name something has ended.
func (p *pins) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left--; p.left == 0 {
		close(p.ready)
	}
}

// pin records that a resource starts what name means to the source kind. use says which resource, as for work.use.
func (w *work) pin(kind, name string, use image.Use) {
	use.Account, use.Region = w.Account, w.Region
	use.Resource, use.Detail = strings.Clone(use.Resource), strings.Clone(use.Detail)
	w.pins.mu.Lock()
	defer w.pins.mu.Unlock()
	w.pins.all = append(w.pins.all, pin{kind, strings.Clone(name), use, w.source.name})
}

// pinned waits for the target's other sources to end and gives what they named of this one, as far as it is in this
// target. A source that calls it must not pin.
func (w *work) pinned(ctx context.Context) []pin {
	select {
	case <-w.pins.ready:
	case <-ctx.Done():
		return nil // the target will not be stored
	}
	w.pins.mu.Lock()
	defer w.pins.mu.Unlock()
	var own []pin
	for _, p := range w.pins.all {
		if p.kind == w.source.name && p.target(w.Target).place() == w.place() {
			own = append(own, p)
		}
	}
	return own
}

func (t Target) place() image.Registry { return image.Registry{Account: t.Account, Region: t.Region} }

var arnPlace = regexp.MustCompile(`^arn:[a-z-]+:[a-z0-9-]+:([a-z0-9-]+):([0-9]{12}):`)

// target is where the name points: what is not an ARN, at the place where it was met.
func (p *pin) target(met Target) Target {
	if m := arnPlace.FindStringSubmatch(p.name); m != nil {
		return Target{Account: m[2], Region: m[1]}
	}
	return met
}

// resolveForeign looks up what the sources of a target pinned in other targets of the run. What they pinned in
// accounts that are not scanned is for whoever judges those accounts: they are consumers that nobody looks at.
func resolveForeign(ctx context.Context, o *Options, t Target, p *pins, works []*work) {
	type group struct {
		target image.Registry
		kind   string
		by     string // the source that has failed if this does
	}
	groups := make(map[group][]pin)
	for _, pin := range p.all {
		if to := pin.target(t).place(); to != t.place() {
			g := group{to, pin.kind, pin.by}
			groups[g] = append(groups[g], pin)
		}
	}
	for g, list := range groups {
		i := slices.IndexFunc(works, func(w *work) bool { return w.source.name == g.by })
		j := slices.IndexFunc(sources, func(s source) bool { return s.name == g.kind })
		if i < 0 || j < 0 || sources[j].resolve == nil {
			panic("nobody looks up pins of " + g.kind + " by " + g.by)
		}
		by := works[i]
		if !o.scans(g.target.Account) {
			continue
		}
		there := Target{Account: g.target.Account, Region: g.target.Region}
		cfg, err := config(ctx, o, there)
		if err != nil {
			by.fail("pinned "+g.kind, list[0].name, err)
			continue
		}
		alone := *o
		alone.Cache = noCache{} // the other target's own scan writes that one
		w := &work{Target: there, source: sources[j], opts: &alone, log: by.log.With("of_account", there.Account, "of_region", there.Region), pins: newPins(0)}
		w.cfg = w.limited(cfg)
		func() {
			defer w.rescue()
			w.source.resolve(ctx, w, list)
		}()
		by.found = append(by.found, w.found...)
		by.notes = append(by.notes, w.notes...)
		by.errs = append(by.errs, w.errs...)
	}
}

// scans reports whether an account is among those of the run.
func (o *Options) scans(account string) bool {
	return slices.ContainsFunc(o.Targets, func(t Target) bool { return t.Account == account })
}
