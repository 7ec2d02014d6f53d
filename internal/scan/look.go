package scan

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"demurrage/internal/image"
)

// Looks takes looks at targets, each for everybody who asked before it began. Whoever asks later waits for the next one,
// since what was read before the question may have changed before it.
//
// Each target is in the queue once at most, so that many who ask for the same targets cost hardly more than one, and nobody
// waits for longer than it takes to go round all targets once.
type Looks struct {
	opts  Options
	slots *semaphore.Weighted

	mu      sync.Mutex
	queue   []*look          // to be begun, first come, first served; without waiters: given up
	next    map[Target]*look // those that have not begun, be they in the queue or behind one that is running
	running map[Target]bool
}

// look is one look at one target.
type look struct {
	target  Target
	ctx     context.Context // done when nobody waits any more
	cancel  context.CancelFunc
	waiters map[chan<- *Snapshot]bool // each with room for all that it waits for
}

// NewLooks makes looks by o: with its sources, its configurations, its cache, which is read only (see Sources), and at most
// its concurrency at once. Its targets tell which accounts are scanned, as they do in Run; its sink is not used.
func NewLooks(o Options) *Looks {
	o.defaults()
	return &Looks{
		opts: o, slots: semaphore.NewWeighted(max(o.Concurrency, 1)),
		next: make(map[Target]*look), running: make(map[Target]bool),
	}
}

// At looks at targets and gives f, one at a time, a snapshot of each that was begun after At was called; begun is when the
// first of them was. Others get the same snapshots: f must not change them. Those that f has not come to yet are waiting in
// memory: it must not take long.
//
// What cannot be read in AWS is no error: it is in the coverage. The error is that of ctx, or of f, with which At ends; the
// looks go on if somebody else waits for them.
func (l *Looks) At(ctx context.Context, targets []Target, f func(*Snapshot) error) (begun time.Time, err error) {
	begun = time.Now().UTC()
	if ctx.Err() != nil {
		return begun, context.Cause(ctx)
	}
	snaps := make(chan *Snapshot, len(targets))
	joined := l.join(ctx, targets, snaps)
	defer l.leave(joined, snaps)
	for i := range joined {
		var snap *Snapshot
		select {
		case snap = <-snaps:
		case <-ctx.Done():
			return begun, context.Cause(ctx)
		}
		if i == 0 || snap.ScannedAt.Before(begun) {
			begun = snap.ScannedAt
		}
		if err := f(snap); err != nil {
			return begun, err
		}
	}
	return begun, nil
}

// join waits for the next look at each target.
func (l *Looks) join(ctx context.Context, targets []Target, snaps chan<- *Snapshot) (joined []*look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.begin()
	for _, t := range targets {
		k := l.next[t]
		if k == nil {
			k = &look{target: t, waiters: make(map[chan<- *Snapshot]bool)}
			k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
			l.next[t] = k
			if !l.running[t] {
				l.queue = append(l.queue, k)
			}
		}
		if !k.waiters[snaps] { // a target that was named twice
			k.waiters[snaps] = true
			joined = append(joined, k)
		}
	}
	return joined
}

// leave waits no longer for what has not been given yet, and gives up looks that nobody else waits for.
func (l *Looks) leave(joined []*look, snaps chan<- *Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range joined {
		if !k.waiters[snaps] {
			continue
		}
		delete(k.waiters, snaps)
		if len(k.waiters) > 0 {
			continue
		}
		k.cancel()
		if l.next[k.target] == k {
			delete(l.next, k.target)
		}
	}
}

// begin begins as many looks as there are free slots for. l.mu is held.
func (l *Looks) begin() {
	for len(l.queue) > 0 {
		k := l.queue[0]
		if len(k.waiters) > 0 {
			if !l.slots.TryAcquire(1) {
				return
			}
			delete(l.next, k.target) // whoever asks from now on is too late for this one
			l.running[k.target] = true
			go l.take(k)
		}
		l.queue[0] = nil
		l.queue = l.queue[1:]
	}
}

// take takes a look that holds a slot.
func (l *Looks) take(k *look) {
	snap := scanTarget(k.ctx, &l.opts, k.target, &configTexts{})
	l.mu.Lock()
	defer l.mu.Unlock()
	for snaps := range k.waiters {
		snaps <- snap
	}
	clear(k.waiters)
	k.cancel()
	delete(l.running, k.target)
	if next := l.next[k.target]; next != nil {
		l.queue = append(l.queue, next)
	}
	l.slots.Release(1)
	l.begin()
}

// Registry looks at some repositories of a target's registry, and at nothing else. It goes before all looks that have not
// begun. There must not be two at once at the same registry, nor one beside Manifests. The error is that of ctx.
func (l *Looks) Registry(ctx context.Context, t Target, names []string) (*Snapshot, error) {
	if err := l.slots.Acquire(ctx, 1); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.begin() // the slot may have come too late for this one, and passed by the others
		return nil, context.Cause(ctx)
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.slots.Release(1)
		l.begin()
	}()
	wanted := make(map[string]bool, len(names))
	for _, name := range names {
		wanted[name] = true
	}
	o := l.opts
	o.Sources = []string{image.SourceECR}
	o.Repositories = func(name string) bool { return wanted[name] }
	t.Planned = true
	snap := scanTarget(ctx, &o, t, &configTexts{})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return snap, nil
}
