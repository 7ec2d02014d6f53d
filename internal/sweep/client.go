package sweep

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"demurrage/internal/image"
)

// pace is how many calls of BatchDeleteImage are sent a second in a registry. AWS publishes no limit and is taken to let
// through 10; a tenth is left to whoever else works there. Each call takes up to 100 images.
const pace rate.Limit = 9

// Clients makes clients of ECR whose calls keep to the pace of their registry together.
type Clients struct{ paces sync.Map }

// In gives a client for a registry, with the credentials of cfg.
func (c *Clients) In(registry image.Registry, cfg aws.Config) API {
	l, _ := c.paces.LoadOrStore(registry, rate.NewLimiter(pace, 1))
	return ecr.NewFromConfig(cfg, func(o *ecr.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			// Behind the SDK's retries, so that they take their turn too.
			return stack.Finalize.Insert(paced{l.(*rate.Limiter)}, "Retry", middleware.After)
		})
	})
}

type paced struct{ *rate.Limiter }

func (paced) ID() string { return "demurrage:pace" }

func (p paced) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	if err := p.Wait(ctx); err != nil {
		return middleware.FinalizeOutput{}, middleware.Metadata{}, err
	}
	return next.HandleFinalize(ctx, in)
}
