package scan

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"
)

// bucket is a rate limit that AWS keeps for each account and region, shared by the operations that name it. With
// adapt, AWS publishes none: rate is where to begin.
type bucket struct {
	name  string
	rate  rate.Limit // requests a second
	burst int
	adapt bool
}

// limited gives the configuration of the source's clients: every attempt of every request takes a token of its
// operation's bucket first, retries too.
func (w *work) limited(cfg aws.Config) aws.Config {
	l := &limits{ops: w.source.ops, buckets: make(map[bucket]*limiter)}
	for _, b := range l.ops {
		if l.buckets[b] == nil {
			l.buckets[b] = newLimiter(b)
		}
	}
	cfg = cfg.Copy()
	cfg.APIOptions = append(cfg.APIOptions[:len(cfg.APIOptions):len(cfg.APIOptions)], func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(l, "Retry", middleware.After)
	})
	return cfg
}

// limits is the middleware. It stands behind the SDK's retries and before the request is signed.
type limits struct {
	ops     map[string]bucket
	buckets map[bucket]*limiter // not written after it was made
}

func (*limits) ID() string { return "demurrage:limits" }

func (l *limits) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	op := middleware.GetOperationName(ctx)
	b, ok := l.ops[op]
	if !ok {
		return middleware.FinalizeOutput{}, middleware.Metadata{}, fmt.Errorf("operation %s has no rate bucket", op)
	}
	lim := l.buckets[b]
	if err := lim.wait(ctx); err != nil {
		return middleware.FinalizeOutput{}, middleware.Metadata{}, err
	}
	out, metadata, err := next.HandleFinalize(ctx, in)
	lim.learn(err)
	return out, metadata, err
}

// limiter is the rate limit of one bucket in one target.
type limiter struct {
	*rate.Limiter
	adapt bool

	mu     sync.Mutex
	halved time.Time
}

func newLimiter(b bucket) *limiter {
	return &limiter{Limiter: rate.NewLimiter(b.rate, b.burst), adapt: b.adapt}
}

// wait takes a token. Unlike rate.Limiter.Wait it does not give up before ctx does.
func (l *limiter) wait(ctx context.Context) error {
	r := l.Reserve()
	d := r.Delay()
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		r.Cancel()
		return ctx.Err()
	}
}

// The bounds within which a limiter adapts, in requests a second, and how long a throttled burst counts as one.
const (
	slowest  rate.Limit = 1
	fastest  rate.Limit = 500
	cooldown            = time.Second
)

// learn adapts the rate to an answer: up by a tenth of a request for each one that was not throttled (so by a tenth
// a second when the bucket is the bottleneck), down by half when one was.
func (l *limiter) learn(err error) {
	if !l.adapt {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.SetLimit(min(l.Limit()+0.1, fastest))
		return
	}
	if throttled(err) && time.Since(l.halved) >= cooldown {
		l.halved = time.Now()
		l.SetLimit(max(l.Limit()/2, slowest))
	}
}

func throttled(err error) bool {
	return retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err) == aws.TrueTernary
}
