package orgsim

import (
	"cmp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// batchGetImage answers manifests. It is what a pull begins with, and so moves the image's pull time, except for
// excluded principals.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-time-update-exclusions.html
func batchGetImage(c *Call, r *ecrRepository, in *ecr.BatchGetImageInput) (*ecr.BatchGetImageOutput, error) {
	if err := checkImageIDs(in.ImageIds); err != nil {
		return nil, err
	}
	silent := c.Server.regionOf(r.account, r.region).ecr.excluded(cmp.Or(c.Caller.RoleARN, c.Caller.ARN))
	out := &ecr.BatchGetImageOutput{Images: []types.Image{}, Failures: []types.ImageFailure{}}
	for _, id := range in.ImageIds {
		im, code := r.find(id)
		if code != "" {
			out.Failures = append(out.Failures, imageFailure(id, code, ""))
			continue
		}
		if im.status(c.Now) != types.ImageStatusActive {
			out.Failures = append(out.Failures, imageFailure(id, types.ImageFailureCodeImageInaccessible, "Requested image is archived and cannot be pulled"))
			continue
		}
		if len(in.AcceptedMediaTypes) > 0 && !slices.Contains(in.AcceptedMediaTypes, im.media.Value()) {
			out.Failures = append(out.Failures, imageFailure(id, types.ImageFailureCodeImageNotFound, ""))
			continue
		}
		if !silent {
			im.pulled = c.Now.UnixNano()
		}
		out.Images = append(out.Images, types.Image{
			ImageId:                &types.ImageIdentifier{ImageDigest: new(im.digest.String()), ImageTag: id.ImageTag},
			ImageManifest:          new(string(im.manifest.bytes())),
			ImageManifestMediaType: new(im.media.Value()),
			RegistryId:             new(r.account),
			RepositoryName:         new(r.name),
		})
	}
	return out, nil
}

// updateImageStorageClass archives an image at once, and restores one within 20 minutes, in which it is
// ACTIVATING.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/archive-image.html
func updateImageStorageClass(c *Call, r *ecrRepository, in *ecr.UpdateImageStorageClassInput) (*ecr.UpdateImageStorageClassOutput, error) {
	id := valueOf(in.ImageId)
	im, code := r.find(id)
	switch code {
	case "":
	case types.ImageFailureCodeImageNotFound, types.ImageFailureCodeImageTagDoesNotMatchDigest:
		return nil, r.errImageNotFound(id)
	default:
		return nil, errorf("InvalidParameterException", "%s", *imageFailure(id, code, "").FailureReason)
	}
	status := im.status(c.Now)
	switch {
	case in.TargetStorageClass == types.TargetStorageClassArchive && status == types.ImageStatusActive:
		more := im.extend()
		more.archived, more.archivedAt = true, c.Now.UnixNano()
	case in.TargetStorageClass == types.TargetStorageClassStandard && status == types.ImageStatusArchived:
		more := im.extend()
		more.archived, more.activeAt = false, c.Now.Add(restoration).UnixNano()
	case !slices.Contains(in.TargetStorageClass.Values(), in.TargetStorageClass):
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'targetStorageClass' failed to satisfy constraint: 'Member must satisfy enum value set: %v'", in.TargetStorageClass.Values())
	default:
		return nil, errorf("ImageStorageClassUpdateNotSupportedException", "The image with digest '%s' is %s and cannot be moved to storage class %s", im.digest, status, in.TargetStorageClass)
	}
	return &ecr.UpdateImageStorageClassOutput{
		ImageId:        &types.ImageIdentifier{ImageDigest: new(im.digest.String()), ImageTag: id.ImageTag},
		ImageStatus:    im.status(c.Now),
		RegistryId:     new(r.account),
		RepositoryName: new(r.name),
	}, nil
}
