package main

import (
	"cmp"
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
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/internal/scan"
	"demurrage/internal/sweep"
)

// screen is where people watch: stderr, if it is a terminal. What is logged meanwhile goes through it, and stands above what
// moves. It shows nothing anywhere else.
type screen struct {
	w     io.Writer
	shows bool
	calls atomic.Int64 // of AWS, with every attempt

	mu   sync.Mutex
	bars *mpb.Progress // of the phase that is under way
}

func newScreen(c *cli.Context, w io.Writer) *screen {
	_, tty := terminal(w)
	return &screen{w: w, shows: tty && !sharedBool(c, "quiet") && os.Getenv("TERM") != "dumb"}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bars != nil {
		return s.bars.Write(b)
	}
	return s.w.Write(b)
}

// phase is a part of a command that takes its time, as a line on the screen or two. Its methods may be called from several
// goroutines at once, also after its end.
type phase struct {
	screen *screen
	bar    *mpb.Bar
	lines  []*mpb.Bar
}

// phase shows what is being done, of how many of a unit ("": that is not known), with what beside and below say at the moment
// (nil: nothing). There is one phase at a time.
func (s *screen) phase(doing string, total int, unit string, beside, below func() string) *phase {
	p := &phase{screen: s}
	if !s.shows {
		return p
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bars = mpb.New(mpb.WithOutput(s.w), mpb.WithWidth(30))
	text := func(f func() string) decor.Decorator {
		return decor.Any(func(decor.Statistics) string { return oneLine(f()) })
	}
	head := []decor.Decorator{decor.Name(oneLine(doing))}
	style := mpb.NopStyle()
	if unit != "" {
		head = append(head, decor.CountersNoUnit(" %d/%d "+unit+" "))
		style = mpb.BarStyle()
	}
	p.bar = s.bars.New(0, style, mpb.BarPriority(0), mpb.BarFillerTrim(), mpb.PrependDecorators(head...),
		mpb.AppendDecorators(text(func() string {
			said := " " + amount(int(s.calls.Load()), "call")
			if beside != nil {
				said += ", " + beside()
			}
			return said
		})))
	p.bar.SetTotal(int64(total), false) // by now: the bar is not taken for done before its end, when all of it is
	p.lines = append(p.lines, p.bar)
	if below != nil {
		p.lines = append(p.lines, s.bars.New(0, mpb.NopStyle(), mpb.BarPriority(1), mpb.BarFillerTrim(), mpb.PrependDecorators(text(below))))
	}
	return p
}

func (p *phase) add(n int) {
	if p.bar != nil {
		p.bar.IncrBy(n)
	}
}

// end takes the phase from the screen, before anything else is written there.
func (p *phase) end() {
	if p.bar == nil {
		return
	}
	p.screen.mu.Lock()
	defer p.screen.mu.Unlock()
	for _, line := range p.lines {
		line.Abort(true)
	}
	p.screen.bars.Wait()
	p.screen.bars = nil
}

func oneLine(s string) string { return strings.ReplaceAll(printable(s), "\n", " ") }

// amount is a number with what it counts.
func amount(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(int64(n)) + " " + noun
}

// waits says what is waited for. It is told by scans what they are at.
type waits struct {
	mu      sync.Mutex
	running map[scan.Target]*wait
	images  int
	failed  int
}

// wait is for a target, or for some of its sources.
type wait struct {
	since   time.Time
	whole   bool // until what it answered is stored
	sources []string
}

func (w *waits) event(e scan.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.running[e.Target]
	if t == nil {
		if e.Done {
			return
		}
		t = &wait{since: time.Now()}
		if w.running == nil {
			w.running = map[scan.Target]*wait{}
		}
		w.running[e.Target] = t
	}
	switch {
	case e.Source == "":
		t.whole = !e.Done
		w.images += e.Images
		w.failed += len(e.Failed)
	case e.Done:
		if i := slices.Index(t.sources, e.Source); i >= 0 {
			t.sources = slices.Delete(t.sources, i, i+1)
		}
	default:
		t.sources = append(t.sources, e.Source)
	}
	if !t.whole && len(t.sources) == 0 {
		delete(w.running, e.Target)
	}
}

func (w *waits) found() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return amount(w.images, "image") + ", " + amount(w.failed, "source") + " failed"
}

// String names the target that is waited for longest, with the sources that have not answered.
func (w *waits) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.running) == 0 {
		return ""
	}
	longest := slices.MinFunc(slices.Collect(maps.Keys(w.running)), func(a, b scan.Target) int {
		return cmp.Or(w.running[a].since.Compare(w.running[b].since), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
	t := w.running[longest]
	s := "waiting for " + longest.Account + " " + longest.Region
	if len(t.sources) > 0 {
		s += " " + strings.Join(slices.Sorted(slices.Values(t.sources)), ", ")
	}
	s += " (" + strconv.Itoa(int(time.Since(t.since).Seconds())) + "s)"
	if n := len(w.running) - 1; n > 0 {
		s += " and " + amount(n, "more target")
	}
	return s
}

// sweeping says how far a sweep is.
type sweeping struct {
	waits
	phase *phase
	names func(account string) string

	mu      sync.Mutex
	done    map[journal.State]int
	left    map[string]int // images by account
	entered []string       // accounts that are under way, in the order in which they were entered
}

func newSweeping(s *session, work []sweep.Work) *sweeping {
	w := &sweeping{done: map[journal.State]int{}, left: map[string]int{}, names: func(id string) string {
		return strings.TrimSpace(id + " " + s.accounts[id].Name)
	}}
	total := 0
	for i := range work {
		w.left[work[i].Account] += len(work[i].Images)
		total += len(work[i].Images)
	}
	w.phase = s.screen.phase("deleting", total, "images", w.outcomes, w.where)
	return w
}

func (w *sweeping) enter(account string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entered = append(w.entered, account)
}

func (w *sweeping) record(r *journal.Record) {
	w.mu.Lock()
	for i := range r.Images {
		w.done[r.Images[i].State]++
	}
	if w.left[r.Account] -= len(r.Images); w.left[r.Account] <= 0 {
		w.entered = slices.DeleteFunc(w.entered, func(id string) bool { return id == r.Account })
	}
	w.mu.Unlock()
	w.phase.add(len(r.Images))
}

func (w *sweeping) outcomes() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return humanize.Comma(int64(w.done[journal.Deleted])) + " deleted, " + humanize.Comma(int64(w.done[journal.Skipped])) + " skipped, " +
		humanize.Comma(int64(w.done[journal.Failed])) + " failed"
}

func (w *sweeping) where() string {
	w.mu.Lock()
	var s string
	if len(w.entered) > 0 {
		s = "in " + w.names(w.entered[0])
	}
	if n := len(w.entered) - 1; n > 0 {
		s += " and " + amount(n, "more account")
	}
	w.mu.Unlock()
	if waiting := w.String(); waiting != "" {
		return strings.TrimPrefix(s+"; looking once more, "+waiting, "; ")
	}
	return s
}

// registries counts in a phase the registries that something is gone through by.
func registries[T any](p *phase, of func(T) image.Registry, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var last image.Registry
		for item, err := range list {
			if err == nil && of(item) != last {
				last = of(item)
				p.add(1)
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// planning counts the targets whose registries are planned.
func planning(targets []scan.Target) (n int) {
	for _, t := range targets {
		if t.Planned {
			n++
		}
	}
	return n
}
