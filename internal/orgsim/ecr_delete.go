package orgsim

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// batchDeleteImage deletes by digest, with all tags, or takes single tags away, the last one with its image. A
// child of an index cannot go, and neither can it in the same call as its index: what an index holds is looked at
// as it was when the call began.
//
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html and, for the last tag of a
// child, https://github.com/aws/containers-roadmap/issues/1567
func batchDeleteImage(c *Call, r *ecrRepository, in *ecr.BatchDeleteImageInput) (*ecr.BatchDeleteImageOutput, error) {
	if err := checkImageIDs(in.ImageIds); err != nil {
		return nil, err
	}
	out := &ecr.BatchDeleteImageOutput{ImageIds: []types.ImageIdentifier{}, Failures: []types.ImageFailure{}}
	var deleted []*ecrImage
	for _, id := range in.ImageIds {
		im, code := r.find(id)
		if code != "" {
			out.Failures = append(out.Failures, imageFailure(id, code, ""))
			continue
		}
		gone := im.ids()
		if id.ImageTag != nil {
			gone = []types.ImageIdentifier{{ImageDigest: new(im.digest.String()), ImageTag: id.ImageTag}}
			if len(im.tags) > 1 {
				r.untag(im, *id.ImageTag)
				out.ImageIds = append(out.ImageIds, gone...)
				continue
			}
		}
		if holders := r.holders[im.digest]; len(holders) > 0 {
			var digests []string
			for _, h := range holders {
				digests = append(digests, h.digest.String())
			}
			out.Failures = append(out.Failures, imageFailure(id, types.ImageFailureCodeImageReferencedByManifestList,
				fmt.Sprintf("Requested image referenced by manifest list: [%s]", strings.Join(digests, ", "))))
			continue
		}
		r.delete(im)
		r.forget(im, c.Now)
		deleted = append(deleted, im)
		out.ImageIds = append(out.ImageIds, gone...)
	}
	for _, im := range deleted {
		r.release(im)
	}
	return out, nil
}
