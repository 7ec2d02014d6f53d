// Package preview asks ECR itself what a lifecycle policy would do: StartLifecyclePolicyPreview evaluates one and applies
// nothing.
//
// It changes nothing in AWS but the repository's last preview.
package preview

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"demurrage/internal/audit"
	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
)

// Actions are the IAM actions that previews need.
func Actions() []string {
	return []string{"ecr:GetLifecyclePolicyPreview", "ecr:StartLifecyclePolicyPreview"}
}

// API is what is called.
type API interface {
	StartLifecyclePolicyPreview(context.Context, *ecr.StartLifecyclePolicyPreviewInput, ...func(*ecr.Options)) (*ecr.StartLifecyclePolicyPreviewOutput, error)
	GetLifecyclePolicyPreview(context.Context, *ecr.GetLifecyclePolicyPreviewInput, ...func(*ecr.Options)) (*ecr.GetLifecyclePolicyPreviewOutput, error)
}

const (
	page     = 100              // the longest of GetLifecyclePolicyPreview
	patience = 10 * time.Minute // with one preview
	first    = time.Second      // pause before a preview is asked for again
	longest  = 15 * time.Second
)

// Client makes a client whose every attempt, retries too, waits for the rate at which a registry may be called: AWS publishes
// none for these operations, so it is where scans begin.
func Client(cfg aws.Config) *ecr.Client {
	limit := rate.NewLimiter(10, 20)
	return ecr.NewFromConfig(cfg, func(o *ecr.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("demurrage:limit",
				func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
					if err := limit.Wait(ctx); err != nil {
						return middleware.FinalizeOutput{}, middleware.Metadata{}, err
					}
					return next.HandleFinalize(ctx, in)
				}), "Retry", middleware.After)
		})
	})
}

// Preview has AWS evaluate the text of a policy over a repository, waits for the result, and gives it with the time that
// it is of. Another preview of the repository that is under way is waited for first.
func Preview(ctx context.Context, api API, repository, text string) ([]audit.Previewed, time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it was not there after %s", patience))
	defer cancel()
	at, err := start(ctx, api, repository, text)
	if err != nil {
		return nil, at, wrap(ctx, "StartLifecyclePolicyPreview", err)
	}
	list, err := result(ctx, api, repository, text)
	if err != nil {
		return nil, at, wrap(ctx, "GetLifecyclePolicyPreview", err)
	}
	return list, at, nil
}

func start(ctx context.Context, api API, repository, text string) (time.Time, error) {
	for pause := first; ; pause = min(2*pause, longest) {
		_, err := api.StartLifecyclePolicyPreview(ctx, &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: &repository, LifecyclePolicyText: &text})
		if _, busy := errors.AsType[*types.LifecyclePolicyPreviewInProgressException](err); !busy {
			return time.Now().UTC(), err
		}
		if err := sleep(ctx, pause); err != nil {
			return time.Time{}, err
		}
	}
}

func result(ctx context.Context, api API, repository, text string) ([]audit.Previewed, error) {
	in := &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: &repository, MaxResults: aws.Int32(page)}
	var list []audit.Previewed
	for pause := first; ; {
		out, err := api.GetLifecyclePolicyPreview(ctx, in)
		if err != nil {
			return nil, err
		}
		switch out.Status {
		case types.LifecyclePolicyPreviewStatusInProgress:
			if err := sleep(ctx, pause); err != nil {
				return nil, err
			}
			pause = min(2*pause, longest)
			list, in.NextToken = nil, nil // somebody has started it again
			continue
		case types.LifecyclePolicyPreviewStatusComplete:
		default:
			return nil, fmt.Errorf("the preview ended as %q", out.Status)
		}
		if !same(aws.ToString(out.LifecyclePolicyText), text) {
			return nil, errors.New("somebody else has started a preview of another policy meanwhile: run again")
		}
		for i := range out.PreviewResults {
			p, err := previewed(&out.PreviewResults[i])
			if err != nil {
				return nil, err
			}
			list = append(list, p)
		}
		if aws.ToString(out.NextToken) == "" {
			return list, nil
		}
		if aws.ToString(in.NextToken) == *out.NextToken {
			return nil, errors.New("its pages repeat themselves")
		}
		in.NextToken = out.NextToken
	}
}

func previewed(r *types.LifecyclePolicyPreviewResult) (audit.Previewed, error) {
	d, err := image.ParseDigest(aws.ToString(r.ImageDigest))
	if err != nil {
		return audit.Previewed{}, err
	}
	p := audit.Previewed{Digest: d, Tags: r.ImageTags, PushedAt: aws.ToTime(r.ImagePushedAt), Rule: int(aws.ToInt32(r.AppliedRulePriority))}
	if r.Action != nil {
		p.Action = lifecycle.Action(strings.ToLower(string(r.Action.Type)))
	}
	return p, nil
}

// same: two texts of one policy, however they are written. A text that AWS does not repeat is taken on trust.
func same(a, b string) bool {
	if a == "" || a == b {
		return true
	}
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wrap says what was called. Of an answer of AWS only code and message are shown.
func wrap(ctx context.Context, op string, err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("%s: %s: %s", op, api.ErrorCode(), api.ErrorMessage())
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s: %w", op, err)
}
