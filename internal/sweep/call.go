package sweep

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"demurrage/internal/image"
	"demurrage/internal/journal"
)

// delete sends one call, between two records. What is refused since an index refers to it is put aside if again is set.
func (r *repositorySweep) delete(ctx context.Context, images []journal.Image, again bool) error {
	if len(images) == 0 {
		return nil
	}
	if r.DryRun {
		return r.record(ctx, skipRecord(r.Repository, skipAll(images, journal.DryRun, "it would be deleted")))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	call := journal.Record{Account: r.Account, Region: r.Region, Repository: r.Name, Role: r.role, Call: r.calls.next()}
	intent := call
	intent.Kind, intent.Images = journal.KindIntent, images
	if err := r.record(ctx, intent); err != nil {
		return err
	}
	// The lock is asked for last of all: whatever the journal took, nobody else has begun meanwhile.
	if err := r.Held(); err != nil {
		return err
	}
	outcome := call
	outcome.Kind = journal.KindOutcome
	in := &ecr.BatchDeleteImageInput{RegistryId: aws.String(r.Account), RepositoryName: aws.String(r.Name)}
	for i := range images {
		in.ImageIds = append(in.ImageIds, types.ImageIdentifier{ImageDigest: aws.String(string(images[i].Digest))})
	}
	cctx, cancel := withGrace(ctx)
	defer cancel()
	started := time.Now()
	attempts := &attempts{}
	out, err := r.client.BatchDeleteImage(cctx, in, attempts.note)
	r.log.Info("images deleted", "region", r.Region, "repository", r.Name, "images", len(images), "took", time.Since(started), "error", err)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // nobody knows what became of it: whoever goes on with the sweep will look
	}
	if err != nil {
		outcome.Error = describe(err)
		outcome.Images, err = r.refused(ctx, images, err, attempts.lost.Load())
	} else {
		outcome.Images, err = r.answered(ctx, images, out, again)
	}
	if err != nil {
		return err
	}
	r.count(outcome.Images)
	return r.record(ctx, outcome)
}

// count counts failures in a row. That an index refers to an image, or that somebody was faster, says nothing about what
// comes next.
func (r *repositorySweep) count(images []journal.Image) {
	failed := false
	for i := range images {
		switch {
		case images[i].State == journal.Deleted:
			r.failures = 0
			return
		case images[i].State == journal.Failed && images[i].Code != journal.Code(types.ImageFailureCodeImageReferencedByManifestList):
			failed = true
		}
	}
	if failed {
		r.failures++
	}
}

// answered accounts for every image of a call that ECR has answered.
//
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
func (r *repositorySweep) answered(ctx context.Context, images []journal.Image, out *ecr.BatchDeleteImageOutput, again bool) ([]journal.Image, error) {
	gone := map[image.Digest]bool{} // an entry a tag
	for _, id := range out.ImageIds {
		gone[image.Digest(aws.ToString(id.ImageDigest))] = true
	}
	failures := map[image.Digest]*types.ImageFailure{}
	for i := range out.Failures {
		if id := out.Failures[i].ImageId; id != nil {
			failures[image.Digest(aws.ToString(id.ImageDigest))] = &out.Failures[i]
		}
	}
	repeated := repeated(out.ResultMetadata)
	var booked, unsure []journal.Image
	for _, img := range images {
		img.Why = ""
		f := failures[img.Digest]
		switch {
		case f == nil && gone[img.Digest]:
			img.State = journal.Deleted
		case f == nil:
			img.Code, img.Detail = journal.NoAnswer, "ECR did not answer for it"
			unsure = append(unsure, img)
			continue
		case f.FailureCode == types.ImageFailureCodeImageNotFound && repeated:
			img.State, img.Detail = journal.Deleted, "by an attempt whose answer was lost"
		case f.FailureCode == types.ImageFailureCodeImageNotFound:
			img.State, img.Code, img.Detail = journal.Skipped, journal.Gone, "somebody else has deleted it"
		case f.FailureCode == types.ImageFailureCodeImageReferencedByManifestList && again:
			r.again = append(r.again, img)
			r.aside[img.Digest] = true
			continue
		default:
			img.State, img.Code, img.Detail = journal.Failed, journal.Code(f.FailureCode), clean(aws.ToString(f.FailureReason))
			if repeated { // an earlier attempt may have succeeded all the same
				unsure = append(unsure, img)
				continue
			}
		}
		booked = append(booked, r.stay(img))
	}
	if len(unsure) == 0 {
		return booked, nil
	}
	looked, err := r.look(ctx, unsure)
	return append(booked, looked...), err
}

// refused accounts for the images of a call that failed as a whole. Where ECR clearly refused it, none of them is gone;
// otherwise (a timeout, an internal error) somebody has to look.
// lost says that an earlier attempt, whose answer was lost, may have succeeded.
func (r *repositorySweep) refused(ctx context.Context, images []journal.Image, cause error, lost bool) ([]journal.Image, error) {
	code, detail := journal.CallFailed, describe(cause)
	var api smithy.APIError
	if errors.As(cause, &api) {
		code, detail = journal.Code(clean(api.ErrorCode())), clean(api.ErrorMessage())
	}
	if !lost && api != nil && api.ErrorCode() == (&types.RepositoryNotFoundException{}).ErrorCode() {
		gone := skipAll(images, journal.Gone, "somebody else has deleted the repository")
		return gone, nil
	}
	failed := make([]journal.Image, len(images))
	for i, img := range images {
		img.Why, img.State, img.Code, img.Detail = "", journal.Failed, code, detail
		failed[i] = img
	}
	if lost || !clear(cause) {
		return r.look(ctx, failed)
	}
	for i := range failed {
		r.stay(failed[i])
	}
	return failed, nil
}

// look finds out which of the images that seem to have failed are gone all the same.
func (r *repositorySweep) look(ctx context.Context, images []journal.Image) ([]journal.Image, error) {
	present, err := r.Present(ctx, r.Repository)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx) // left open, as after any other interruption
	}
	var booked []journal.Image
	for _, img := range images {
		img.State = journal.Failed
		switch {
		case err != nil:
			img.Detail += "; whether it was deleted all the same could not be found out: " + describe(err)
		case !present[img.Digest]:
			img.State, img.Code, img.Detail = journal.Deleted, "", "all the same: "+img.Detail
		}
		booked = append(booked, r.stay(img))
	}
	return booked, nil
}

// stay remembers what has not gone.
func (r *repositorySweep) stay(img journal.Image) journal.Image {
	if img.State == journal.Failed {
		r.stays[img.Digest] = string(img.Code)
	}
	return img
}

// clear reports whether an error says that nothing was done: the only attempt was refused by ECR as the caller's fault.
func clear(err error) bool {
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorFault() == smithy.FaultServer {
		return false
	}
	var answer *awshttp.ResponseError
	if errors.As(err, &answer) && answer.HTTPStatusCode() >= 500 {
		return false
	}
	var tried *retry.MaxAttemptsError
	return !errors.As(err, &tried)
}

// repeated reports whether a call was sent before, and may have been carried out although its answer was lost. (One that
// was throttled was not.)
func repeated(m middleware.Metadata) bool {
	results, _ := retry.GetAttemptResults(m)
	for _, r := range results.Results {
		if r.Err != nil && !clear(r.Err) {
			return true
		}
	}
	return false
}

// attempts watches the attempts of one call. The error of a call is that of its last attempt and says nothing of those before.
type attempts struct{ lost atomic.Bool } // one of them may have been carried out although its answer was lost

func (a *attempts) note(o *ecr.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(a, "Retry", middleware.After)
	})
}

func (*attempts) ID() string { return "demurrage:attempts" }

func (a *attempts) HandleFinalize(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
	middleware.FinalizeOutput, middleware.Metadata, error,
) {
	out, m, err := next.HandleFinalize(ctx, in)
	if err != nil && !clear(err) {
		a.lost.Store(true)
	}
	return out, m, err
}

// withGrace gives a context that outlives ctx by a moment, so that a call that is under way may end.
func withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	graced, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(grace, cancel)
		context.AfterFunc(graced, func() { timer.Stop() })
	})
	return graced, func() { stop(); cancel() }
}

// describe is an error's text without what makes each another, and without control characters.
func describe(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Sprintf("%s: %s", clean(api.ErrorCode()), clean(api.ErrorMessage()))
	}
	return clean(err.Error())
}

func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
