package scan

import (
	"context"
	"time"

	"demurrage/internal/image"
)

// Cache keeps values that are named within an account and region, from run to run. It is used from several
// goroutines, each for another account and region or name.
type Cache interface {
	// LoadCache decodes the value into the pointer into and leaves it alone if there is none.
	LoadCache(ctx context.Context, account, region, name string, into any) error
	SaveCache(ctx context.Context, account, region, name string, value any) error
}

type noCache struct{}

func (noCache) LoadCache(context.Context, string, string, string, any) error { return nil }
func (noCache) SaveCache(context.Context, string, string, string, any) error { return nil }

// cached is a value as it is kept; a cache of another schema is no cache.
type cached[T any] struct {
	Schema int `json:"schema"`
	Value  T   `json:"value"`
}

const cacheSchema = 1

// loadCache gives what is remembered under a name, the zero value if there is nothing or it cannot be read: what is
// cached can be read again from AWS.
func loadCache[T any](ctx context.Context, w *work, name string) T {
	var c cached[T]
	if err := w.opts.Cache.LoadCache(ctx, w.Account, w.Region, name, &c); err != nil {
		if ctx.Err() == nil {
			w.log.Warn("cache not readable", "cache", name, "error", err)
		}
		return *new(T)
	}
	if c.Schema != cacheSchema {
		return *new(T)
	}
	return c.Value
}

// saveCache remembers a value, also when the run was cancelled meanwhile: what was read once needs never be read
// again, and our own reading of a manifest must not pass for somebody's pull in the next run. Failing to is only a
// waste (and an image that is kept a little longer).
func saveCache[T any](ctx context.Context, w *work, name string, value T) {
	if w.opts.Sources != nil && w.source.name != image.SourceECR {
		return // a partial look does not know all that is worth remembering
	}
	interrupted := ctx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	defer context.AfterFunc(interrupted, func() { time.AfterFunc(time.Second, cancel) })() // nobody waits long at the end
	if err := w.opts.Cache.SaveCache(ctx, w.Account, w.Region, name, cached[T]{cacheSchema, value}); err != nil {
		w.log.Warn("cache not saved", "cache", name, "error", err)
	}
}
