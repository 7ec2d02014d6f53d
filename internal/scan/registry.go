package scan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/opencontainers/go-digest"

	"demurrage/internal/image"
)

// batchesAhead is how many calls that read manifests are remembered at once before they are made.
const batchesAhead = 20

// registry is for reading single things from a registry, as a scan reads them. It has no manifests.
func registry(ctx context.Context, o *Options, t Target) (*ecrScan, error) {
	o.defaults()
	cfg, err := config(ctx, o, t)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(sources, func(s source) bool { return s.name == image.SourceECR })
	log := o.Log.With("account", t.Account, "region", t.Region, "source", image.SourceECR)
	w := &work{Target: t, source: sources[i], opts: o, log: log, pins: newPins(0)}
	w.cfg = w.limited(cfg)
	client := ecr.NewFromConfig(w.cfg)
	return &ecrScan{work: w, repositories: client, images: client}, nil
}

// Manifests fetches the manifests of images of a registry, by repository, and gives them to f, whose error ends it. The
// images have to come from an inventory that was just taken, with their pull times: that we read them, and nobody has
// pulled them, is remembered before each read, since who is killed remembers nothing afterwards.
//
// What has no manifest to give is passed over: an image that is not active, one that ECR answers with a failure or with
// something else, a repository that is gone. The error is that of f or of ctx, or says which repositories could not be
// read; it does not keep those after it from being.
//
// ECR may leave a pull unrecorded for a day after our read, so read only what is about to be deleted.
func Manifests(ctx context.Context, o Options, t Target, wanted map[string][]*image.Image,
	f func(repository string, img *image.Image, manifest string) error,
) error {
	s, err := registry(ctx, &o, t)
	if err != nil {
		return err
	}
	s.manifests = loadManifests(ctx, s.work)
	defer s.manifests.save(ctx, s.work)
	type batch struct {
		repository string
		images     []*image.Image
	}
	var batches []batch
	left := 0
	for _, repository := range slices.Sorted(maps.Keys(wanted)) {
		left += len(wanted[repository])
		active := slices.DeleteFunc(slices.Clone(wanted[repository]), func(img *image.Image) bool { return img.Status != image.Active })
		for images := range slices.Chunk(active, batchGetImage) {
			batches = append(batches, batch{repository, images})
		}
	}
	var errs []error
	unread := map[string]bool{} // repositories: the next call would hardly fare better
	for ahead := range slices.Chunk(batches, batchesAhead) {
		for _, b := range ahead {
			for _, img := range b.images {
				s.manifests.pulled(b.repository, img, time.Now()) // ECR's clock is not known before it answers
			}
		}
		s.manifests.save(ctx, s.work)
		for _, b := range ahead {
			if unread[b.repository] {
				continue
			}
			out, err := s.images.BatchGetImage(ctx, batchInput(b.repository, b.images))
			if err != nil && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				unread[b.repository] = true
				if !repositoryGone(err) {
					errs = append(errs, fmt.Errorf("repository %s: BatchGetImage: %w", b.repository, err))
				}
				continue
			}
			texts := s.answered(b.repository, b.images, out)
			for _, img := range b.images {
				text, ok := texts[img.Digest]
				if !ok {
					continue
				}
				left--
				if err := f(b.repository, img, text); err != nil {
					return err
				}
			}
		}
	}
	if left > 0 {
		s.log.Info("manifests passed over", "images", left)
	}
	return errors.Join(errs...)
}

// answered remembers that we read the manifests that are in an answer, and gives those that are what they should be.
func (s *ecrScan) answered(repository string, batch []*image.Image, out *ecr.BatchGetImageOutput) map[image.Digest]string {
	at, _ := awsmiddleware.GetServerTime(out.ResultMetadata) // as in readAnswer
	texts := make(map[image.Digest]string, len(batch))
	for i := range out.Images {
		answer := &out.Images[i]
		k := slices.IndexFunc(batch, func(img *image.Image) bool {
			return answer.ImageId != nil && string(img.Digest) == aws.ToString(answer.ImageId.ImageDigest)
		})
		if k < 0 {
			continue
		}
		s.manifests.pulled(repository, batch[k], at)
		if text := aws.ToString(answer.ImageManifest); string(digest.FromString(text)) == string(batch[k].Digest) {
			texts[batch[k].Digest] = text
		}
	}
	return texts
}

// Present tells which images a repository has, whatever their status: none, if it does not exist.
func Present(ctx context.Context, o Options, t Target, repository string) (map[image.Digest]bool, error) {
	s, err := registry(ctx, &o, t)
	if err != nil {
		return nil, err
	}
	inv := image.Inventory{Repository: image.Repository{Registry: t.place(), Name: repository}}
	present := make(map[image.Digest]bool)
	if err := s.describeImages(ctx, &inv); errors.Is(err, errDeleted) {
		return present, nil
	}
	if len(s.errs) > 0 {
		return nil, s.errs[0]
	}
	for i := range inv.Images {
		present[inv.Images[i].Digest] = true
	}
	return present, nil
}
