package scan

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"demurrage/internal/image"
)

// scanTarget looks at every source of one target, side by side.
func scanTarget(ctx context.Context, o *Options, t Target, texts *configTexts) *Snapshot {
	snap := &Snapshot{Account: t.Account, Region: t.Region, ScannedAt: time.Now().UTC()}
	log := o.Log.With("account", t.Account, "region", t.Region)
	cfg, err := config(ctx, o, t)
	var works []*work
	pinning := 0
	for _, s := range sources {
		if !s.looksAt(t) || !o.includes(&s) {
			continue
		}
		w := &work{Target: t, source: s, opts: o, log: log.With("source", s.name)}
		works = append(works, w)
		if err == nil {
			w.cfg = w.limited(cfg)
		}
		if s.pins {
			pinning++
		}
	}
	if err != nil {
		text := texts.of(t.Account, err)
		log.Info("target cannot be read", "error", err)
		for _, w := range works {
			snap.Coverage = append(snap.Coverage, image.Coverage{
				Account: t.Account, Region: t.Region, Source: w.source.name,
				Status: image.CoverageFailed, Error: text, Unread: true,
			})
		}
		slices.SortFunc(snap.Coverage, image.CompareCoverage)
		return snap
	}

	var wg sync.WaitGroup
	pins := newPins(pinning)
	for _, w := range works {
		w.pins = pins
		wg.Go(func() {
			o.Progress(Event{Target: t, Source: w.source.name})
			defer o.Progress(Event{Target: t, Source: w.source.name, Done: true})
			if w.source.pins {
				defer pins.end()
			}
			defer w.rescue()
			w.source.scan(ctx, w)
		})
	}
	wg.Wait()
	resolveForeign(ctx, o, t, pins, works)

	for _, w := range works {
		snap.Uses = append(snap.Uses, w.found...)
		snap.Inventories = append(snap.Inventories, w.inventories...)
		snap.Mirrors = append(snap.Mirrors, w.mirrors...)
		snap.Trusts = append(snap.Trusts, w.trusts...)
		snap.Notes = append(snap.Notes, w.notes...)
		snap.Coverage = append(snap.Coverage, w.coverage())
		if w.layersMode != "" {
			snap.Contents, snap.LayersMode, snap.Mounted = w.contents, w.layersMode, w.mounted
		}
		w.found, w.inventories, w.contents = nil, nil, nil
	}
	slices.SortFunc(snap.Mirrors, image.CompareMirrors)
	slices.Sort(snap.Trusts)
	snap.Trusts = slices.Compact(snap.Trusts)
	slices.SortFunc(snap.Notes, image.CompareNotes)
	snap.Notes = slices.Compact(snap.Notes)
	slices.SortFunc(snap.Uses, image.CompareUses)
	snap.Uses = slices.Compact(snap.Uses)
	slices.SortFunc(snap.Inventories, func(a, b image.Inventory) int {
		return image.CompareRepositories(a.Repository, b.Repository)
	})
	slices.SortFunc(snap.Coverage, image.CompareCoverage)
	log.Info("target scanned", "uses", len(snap.Uses), "repositories", len(snap.Inventories))
	return snap
}

// config gets a target's configuration and makes sure that there are credentials in it, so that a role that
// cannot be assumed is told once and not by every operation.
func config(ctx context.Context, o *Options, t Target) (aws.Config, error) {
	cfg, err := o.Config(ctx, t.Account, t.Region)
	if err != nil {
		return aws.Config{}, err
	}
	cfg = cfg.Copy()
	cfg.Region = t.Region
	if cfg.Credentials != nil {
		if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
			return aws.Config{}, err
		}
	}
	return cfg, nil
}

// configTexts gives the targets of an account that fail for lack of a configuration one and the same error text,
// that of the first, so that their gaps are one gap.
type configTexts struct{ m sync.Map }

func (c *configTexts) of(account string, err error) string {
	text, _ := c.m.LoadOrStore(account, ConfigError(account, err))
	return text.(string)
}

// ConfigError is the coverage error of an account that there are no credentials for. It is the same for one cause,
// however often that was met.
func ConfigError(account string, err error) string {
	text := requestID.ReplaceAllString(err.Error(), "")
	if !strings.HasPrefix(text, "account "+account) {
		text = "account " + account + ": " + text
	}
	return text
}

// requestID is what makes the SDK's text of one and the same error another every time.
var requestID = regexp.MustCompile(`(, )?(RequestID|HostID): [^,]*`)

// coverage sums up what became of a source. A service is unavailable only where two independent things say so: it is
// not known to be in the region, and no errors came but that its host does not exist. Either alone proves nothing, as
// resolvers break and services come to new regions.
func (w *work) coverage() image.Coverage {
	c := image.Coverage{Account: w.Account, Region: w.Region, Source: w.source.name, Status: image.CoverageOK}
	absent := !slices.ContainsFunc(w.errs, func(e *ScanError) bool { return !noSuchHost(e) }) && len(w.found) == 0
	switch {
	case len(w.errs) == 0:
	case absent && w.source.regions != nil && !slices.Contains(w.source.regions, w.Region):
		c.Status, c.Error = image.CoverageUnavailable, "the service has no endpoint in the region"
	default:
		c.Status, c.Error = image.CoverageFailed, summary(w.errs)
		w.log.Info("source could not be read completely", "errors", len(w.errs), "error", c.Error)
	}
	return c
}

// summary is the text of a source's errors: sorted, each once, and no longer than people read.
func summary(errs []*ScanError) string {
	const most = 8
	var texts []string
	for _, err := range errs {
		texts = append(texts, err.what()) // the place stands beside it
	}
	slices.Sort(texts)
	texts = slices.Compact(texts)
	if n := len(texts) - most; n > 0 {
		texts = append(texts[:most], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(texts, "; ")
}
