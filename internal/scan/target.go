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
	for _, s := range sources {
		if s.registry && !t.Planned {
			continue
		}
		w := &work{Target: t, source: s, opts: o, log: log.With("source", s.name)}
		works = append(works, w)
		if err == nil {
			w.cfg = w.limited(cfg)
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
	for _, w := range works {
		wg.Go(func() {
			defer w.rescue()
			w.source.scan(ctx, w)
		})
	}
	wg.Wait()

	for _, w := range works {
		snap.Uses = append(snap.Uses, w.found...)
		snap.Inventories = append(snap.Inventories, w.inventories...)
		snap.Coverage = append(snap.Coverage, w.coverage())
		w.found, w.inventories = nil, nil
	}
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

// coverage sums up what became of a source. None of the sources of this version is unavailable anywhere: ECR, ECS and
// Lambda exist in every region, so that a host which cannot be resolved is a failure like any other.
func (w *work) coverage() image.Coverage {
	c := image.Coverage{Account: w.Account, Region: w.Region, Source: w.source.name, Status: image.CoverageOK}
	if len(w.errs) > 0 {
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
