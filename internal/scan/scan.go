// Package scan reads AWS: what images exist, and what uses them, one target (an account in a region) at a time and
// many targets side by side.
//
// It only reads. It never assumes a role (it is handed a function that gives an aws.Config), never decides what is
// kept, and never passes over what it could not read: that becomes a failed Coverage, which blocks the images it
// might concern.
package scan

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"demurrage/internal/image"
)

// Target is an account in a region.
type Target struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Planned bool   `json:"planned,omitempty"` // its registry is inventoried; uses are looked for in any case
	Home    bool   `json:"home,omitempty"`    // what an account has only once (IAM) is looked at from here
}

// Options says what to scan and how. Targets, Config and Sink are required.
type Options struct {
	Targets     []Target
	Concurrency int64 // targets in flight; below 1: one

	// Sources are the names of those to look at, and to have coverage of; nil: all. To name one that there is not, or one
	// that pins without those that look pins up, is a mistake of the program, which panics. A look at some writes no cache
	// but that of manifests, since it does not see what all of them together do.
	Sources []string
	// Repositories says which repositories of a registry are inventoried; nil: all. With it their resource tags, which are
	// for the report, are not read, and nothing is forgotten that the cache knows of others.
	Repositories func(name string) bool

	// Config gives the credentials for a target. An error concerns the whole target.
	Config func(ctx context.Context, account, region string) (aws.Config, error)

	// KeepTaskDefinitions is how many of a family's newest active revisions are kept for a rollback, and
	// KeepLambdaVersions how many of a function's newest published versions. Negative, or a nil function: all.
	KeepTaskDefinitions func(family string) int
	KeepLambdaVersions  func(function string) int

	// Covered says whether a list of uses from elsewhere stands in for a cluster that cannot be read (its name is
	// that of EKS), and what that list is called. nil: no cluster is.
	Covered func(account, region, cluster string) (origin string, ok bool)

	// OwnPrincipal is the ARN of the role that an account is read with, "" where it is not known. Pulls by others
	// that leave no pull time are worth a warning, and so are ours that do.
	OwnPrincipal func(account string) string

	// Layers says how what images are stored as is found out; "" decides for each registry: LayersExact where OwnPrincipal
	// is registered as a pull-time exclusion, LayersEstimate elsewhere. With Repositories it is not.
	Layers Layers

	// Cache remembers what is immutable from run to run; nil: nothing is remembered.
	Cache Cache

	// Sink takes each finished target, from several goroutines at once. It must not keep the snapshot. An error
	// stops the run, since what cannot be stored cannot be planned.
	Sink func(ctx context.Context, snap *Snapshot) error

	Log      *slog.Logger // nil: silent
	Progress func(Event)  // called from several goroutines at once; nil: nobody watches
}

// Snapshot is all that was found in one target.
type Snapshot struct {
	Account     string
	Region      string
	ScannedAt   time.Time         // when the scan of the target began, by the local clock
	Uses        []image.Use       // sorted by image.CompareUses, each once
	Coverage    []image.Coverage  // sorted by source
	Inventories []image.Inventory // sorted by repository name
	Contents    []image.Contents  // of every inventory, sorted by repository name; nil where LayersMode is LayersOff or ""
	LayersMode  Layers            // how Contents came about; "" where no registry was looked at
	Mounted     bool              // the repositories share blobs, or nobody knows whether they do; false without Contents
	Mirrors     []image.Mirror    // pull-through caches of the target whose upstream is a registry of ECR; sorted
	Trusts      []string          // of a home: the trust policies of the account's roles that admit others, each once; sorted
	Notes       []image.Note      // sorted, each once
}

// Event tells that a target was begun or, with Done, finished; with Source, that one of its sources was.
type Event struct {
	Target
	Source                     string
	Done                       bool
	Uses, Repositories, Images int
	Failed                     []string // sources that could not be read completely
}

// Run scans every target and hands each to the sink as soon as it is finished. What cannot be read in AWS is no
// error: it is in the coverage of the target's snapshot. An error means that the run itself went wrong: the sink
// failed, or ctx was done, in which case targets that were not finished have not reached the sink.
func Run(ctx context.Context, o Options) error {
	o.defaults()
	slots := semaphore.NewWeighted(max(o.Concurrency, 1))
	g, runCtx := errgroup.WithContext(ctx)
	texts := &configTexts{}
	for _, t := range o.Targets {
		if err := slots.Acquire(runCtx, 1); err != nil {
			break
		}
		g.Go(func() error {
			defer slots.Release(1)
			o.Progress(Event{Target: t})
			snap := scanTarget(runCtx, &o, t, texts)
			if runCtx.Err() != nil {
				return context.Cause(runCtx) // half of a target is not a target
			}
			if err := o.Sink(runCtx, snap); err != nil {
				return err
			}
			o.Progress(event(t, snap))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx) // done before the first target was begun
}

// defaults makes the zero values work, and sees to it that the sources can.
func (o *Options) defaults() {
	o.checkSources()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Event) {}
	}
	if o.Cache == nil {
		o.Cache = noCache{}
	}
}

func event(t Target, snap *Snapshot) Event {
	e := Event{Target: t, Done: true, Uses: len(snap.Uses), Repositories: len(snap.Inventories)}
	for i := range snap.Inventories {
		e.Images += len(snap.Inventories[i].Images)
	}
	for _, c := range snap.Coverage {
		if c.Status == image.CoverageFailed {
			e.Failed = append(e.Failed, c.Source)
		}
	}
	return e
}
