package main

import (
	"fmt"
	"io"
	"sync"

	"github.com/urfave/cli/v2"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"demurrage/internal/journal"
	"demurrage/internal/scan"
)

// progress shows on a terminal how far a scan is, and is silent everywhere else.
type progress struct {
	bars *mpb.Progress
	bar  *mpb.Bar

	mu     sync.Mutex
	images int
	failed int
}

func newProgress(c *cli.Context, w io.Writer, targets int) *progress {
	if _, tty := terminal(w); !tty || sharedBool(c, "quiet") {
		return &progress{}
	}
	p := &progress{bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))}
	p.bar = p.bars.AddBar(int64(targets),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name("scanning "), decor.CountersNoUnit("%d/%d targets")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			p.mu.Lock()
			defer p.mu.Unlock()
			return fmt.Sprintf("%d images, %d sources failed", p.images, p.failed)
		})))
	return p
}

func (p *progress) event(e scan.Event) {
	if p.bar == nil || !e.Done {
		return
	}
	p.mu.Lock()
	p.images += e.Images
	p.failed += len(e.Failed)
	p.mu.Unlock()
	p.bar.Increment()
}

func (p *progress) end() {
	if p.bars == nil {
		return
	}
	p.bar.Abort(true)
	p.bars.Wait()
}

// deleting shows how far a sweep is.
type deleting struct {
	bars *mpb.Progress
	bar  *mpb.Bar
}

func newDeleting(c *cli.Context, w io.Writer, images int) *deleting {
	if _, tty := terminal(w); !tty || sharedBool(c, "quiet") {
		return &deleting{}
	}
	p := &deleting{bars: mpb.New(mpb.WithOutput(w), mpb.WithWidth(40))}
	p.bar = p.bars.AddBar(int64(images), mpb.BarRemoveOnComplete(), mpb.PrependDecorators(decor.Name("deleting "), decor.CountersNoUnit("%d/%d images")))
	return p
}

func (p *deleting) add(t journal.Tally) {
	if p.bar != nil {
		p.bar.IncrBy(t.Images)
	}
}

func (p *deleting) end() {
	if p.bars != nil {
		p.bar.Abort(true)
		p.bars.Wait()
	}
}
