package scan

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/sync/errgroup"

	"demurrage/internal/image"
)

// work is one source's scan of one target: what a scanner is given, and where it leaves what it finds. Its methods
// may be called from several goroutines.
type work struct {
	Target
	source source
	cfg    aws.Config // rate limited
	opts   *Options
	log    *slog.Logger
	pins   *pins // of the target; see pin.go

	mu          sync.Mutex
	found       []image.Use
	mirrors     []image.Mirror
	trusts      []string
	notes       []image.Note
	inventories []image.Inventory
	contents    []image.Contents
	layersMode  Layers
	mounted     bool
	errs        []*ScanError
	parsed      map[string]parsedRef // by text: many resources use the same image
}

type parsedRef struct {
	ref image.Ref
	err error
}

// fail records something that could not be read. The source becomes a gap in the coverage.
func (w *work) fail(op, resource string, err error) {
	e := &ScanError{Account: w.Account, Region: w.Region, Source: w.source.name, Op: op, Resource: resource, Err: err}
	w.log.Debug("not readable", "op", op, "resource", resource, "error", err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, e)
}

// rescue turns a panic into a failed source. It is deferred in every goroutine of a scan.
func (w *work) rescue() {
	if p := recover(); p != nil {
		w.log.Error("panic in a scanner", "panic", p, "stack", string(debug.Stack()))
		w.fail("panic", "", fmt.Errorf("%v", p))
	}
}

// use records that a resource uses the image that text names. digest is what the service resolved the text to, ""
// if it does not say. A text that names no ECR image is no use; one that cannot be understood is a failure of op.
func (w *work) use(op string, u image.Use, text, digest string) {
	refs, err := w.resolve(text, digest)
	if err != nil {
		w.fail(op, u.Resource, err)
	}
	w.add(u, refs...)
}

// note tells whoever reads the plan something that changes no decision.
func (w *work) note(resource, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, image.Note{
		Account: w.Account, Region: w.Region, Source: w.source.name, Resource: strings.Clone(resource), Text: text,
	})
}

// add records the use of images. A use that already says where its resource is was pinned from there.
func (w *work) add(u image.Use, refs ...image.Ref) {
	if u.Account == "" {
		u.Account, u.Region = w.Account, w.Region
	}
	u.Resource = strings.Clone(u.Resource) // the SDK's strings hold on to whole answers
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, ref := range refs {
		use := u
		use.Ref = ref
		if ref.Digest != "" {
			use.Since = time.Time{} // what runs is known
		}
		w.found = append(w.found, use)
	}
}

// resolve gives the references that a text and the digest it was resolved to amount to: the two in one, unless the
// text pins another digest than the one that runs, when both are needed. With an error the references that could be
// understood are given all the same.
func (w *work) resolve(text, digest string) ([]image.Ref, error) {
	ref, err := w.parse(text)
	if errors.Is(err, image.ErrNotECR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if digest == "" {
		return []image.Ref{ref}, nil
	}
	d, err := image.ParseDigest(digest)
	if err != nil {
		return []image.Ref{ref}, err
	}
	switch ref.Digest {
	case d:
		return []image.Ref{ref}, nil
	case "":
		ref.Digest = image.Digest(strings.Clone(string(d)))
		return []image.Ref{ref}, nil
	}
	return []image.Ref{ref, {Repository: ref.Repository, Digest: image.Digest(strings.Clone(string(d)))}}, nil
}

// parse is image.ParseRef with a memory.
func (w *work) parse(text string) (image.Ref, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.parsed[text]
	if !ok {
		text = strings.Clone(text)
		p.ref, p.err = image.ParseRef(text)
		if w.parsed == nil {
			w.parsed = make(map[string]parsedRef)
		}
		w.parsed[text] = p
	}
	return p.ref, p.err
}

// each calls f for every item, at most n at a time, until ctx is done, and returns when all calls have. A panic
// fails the source.
func each[T any](ctx context.Context, w *work, n int, items iter.Seq[T], f func(T)) {
	var g errgroup.Group
	g.SetLimit(n)
	for item := range items {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error {
			defer w.rescue()
			f(item)
			return nil
		})
	}
	_ = g.Wait() // no call returns an error
}

// paginator is what every paginator of the SDK is; P is the service's Options.
type paginator[O, P any] interface {
	HasMorePages() bool
	NextPage(context.Context, ...func(*P)) (*O, error)
}

// pages goes through the pages of a list. An error is the last thing it gives.
func pages[O, P any](ctx context.Context, p paginator[O, P]) iter.Seq2[*O, error] {
	return func(yield func(*O, error) bool) {
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if !yield(out, err) || err != nil {
				return
			}
		}
	}
}

// chain goes through the pages of a list for which the SDK has no paginator: call asks for the page that a token stands
// for, takes what is in it, and gives the token of the next.
func chain(call func(token *string) (next *string, err error)) error {
	var token *string
	for {
		next, err := call(token)
		if err != nil || next == nil || *next == "" {
			return err
		}
		token = next
	}
}
