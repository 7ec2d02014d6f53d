package orgsim

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

func addECRImageOps(s *service) {
	repositoryOp(s, "PutImage", putImage)
	repositoryOp(s, "DescribeImages", describeImages)
	repositoryOp(s, "ListImages", listImages)
	// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
	repositoryOp(s, "ListImageReferrers", listImageReferrers, action("ecr:BatchGetImage"))
	repositoryOp(s, "BatchGetImage", batchGetImage)
	repositoryOp(s, "BatchDeleteImage", batchDeleteImage)
	repositoryOp(s, "UpdateImageStorageClass", updateImageStorageClass)
}

// imageCursor is the place in a repository's order where a page ended: behind row rows of an image.
type imageCursor struct {
	pushed int64
	digest imageDigest
	row    int
}

func (k imageCursor) token() *string {
	t := base64.URLEncoding.EncodeToString(fmt.Appendf(nil, "%d %x %d", k.pushed, k.digest[:], k.row))
	return &t
}

func parseImageCursor(token string) (k imageCursor, err error) {
	raw, err := base64.URLEncoding.DecodeString(token)
	if err == nil {
		var digest []byte
		_, err = fmt.Sscanf(string(raw), "%d %x %d", &k.pushed, &digest, &k.row)
		if err == nil && copy(k.digest[:], digest) < len(k.digest) {
			err = errors.New("not a digest")
		}
	}
	if err != nil || k.row < 0 {
		return k, &pageError{"Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid pagination token'"}
	}
	return k, nil
}

// pageImages walks the images that match in their order, each as one or more rows, from a token on, and answers
// a page of rows with the token of the next.
func pageImages[T any](r *ecrRepository, match func(*ecrImage) bool, rows func(*ecrImage) []T, maxResults *int32, token *string) ([]T, *string, error) {
	size := 100
	if maxResults != nil {
		if size = int(*maxResults); size < 1 || size > 1000 {
			return nil, nil, &pageError{"Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value between 1 and 1000'"}
		}
	}
	var from imageCursor
	if aws.ToString(token) != "" {
		var err error
		if from, err = parseImageCursor(*token); err != nil {
			return nil, nil, err
		}
	}
	out := make([]T, 0, min(size, len(r.ordered)))
	for _, im := range r.ordered[r.position(from.pushed, from.digest):] {
		if !match(im) {
			continue
		}
		all := rows(im)
		first := 0
		if im.digest == from.digest {
			first = min(from.row, len(all))
		}
		room := size - len(out)
		if len(all)-first > room {
			out = append(out, all[first:first+room]...)
			return out, imageCursor{im.pushed, im.digest, first + room}.token(), nil
		}
		out = append(out, all[first:]...)
	}
	return out, nil, nil
}

// imageFilter matches by tag and image status; without a status only ACTIVE images match.
//
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImagesFilter.html
func imageFilter(now time.Time, tag types.TagStatus, status types.ImageStatusFilter) (func(*ecrImage) bool, error) {
	if tag != "" && !slices.Contains(tag.Values(), tag) {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'filter' failed to satisfy constraint: 'Member must satisfy enum value set: %v'", tag.Values())
	}
	if status != "" && !slices.Contains(status.Values(), status) {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'filter' failed to satisfy constraint: 'Member must satisfy enum value set: %v'", status.Values())
	}
	if status == "" {
		status = types.ImageStatusFilterActive
	}
	return func(im *ecrImage) bool {
		if tag == types.TagStatusTagged && len(im.tags) == 0 || tag == types.TagStatusUntagged && len(im.tags) > 0 {
			return false
		}
		return status == types.ImageStatusFilterAny || string(status) == string(im.status(now))
	}, nil
}

func describeImages(c *Call, r *ecrRepository, in *ecr.DescribeImagesInput) (*ecr.DescribeImagesOutput, error) {
	f := valueOf(in.Filter)
	match, err := imageFilter(c.Now, f.TagStatus, f.ImageStatus)
	if err != nil {
		return nil, err
	}
	if in.ImageIds == nil {
		details, next, err := pageImages(r, match, func(im *ecrImage) []types.ImageDetail {
			return []types.ImageDetail{r.detail(im, c.Now)}
		}, in.MaxResults, in.NextToken)
		return &ecr.DescribeImagesOutput{ImageDetails: details, NextToken: next}, err
	}

	if in.MaxResults != nil || in.NextToken != nil {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'maxResults' failed to satisfy constraint: 'maxResults and nextToken cannot be used together with imageIds'")
	}
	if err := checkImageIDs(in.ImageIds); err != nil {
		return nil, err
	}
	out := &ecr.DescribeImagesOutput{ImageDetails: []types.ImageDetail{}}
	seen := make(map[*ecrImage]bool)
	for _, id := range in.ImageIds {
		im, code := r.find(id)
		switch code {
		case "":
		case types.ImageFailureCodeImageNotFound, types.ImageFailureCodeImageTagDoesNotMatchDigest:
			return nil, r.errImageNotFound(id)
		default:
			return nil, errorf("InvalidParameterException", "%s", *imageFailure(id, code, "").FailureReason)
		}
		if !match(im) {
			return nil, r.errImageNotFound(id)
		}
		if !seen[im] {
			seen[im] = true
			out.ImageDetails = append(out.ImageDetails, r.detail(im, c.Now))
		}
	}
	return out, nil
}

func checkImageIDs(ids []types.ImageIdentifier) error {
	if len(ids) < 1 || len(ids) > 100 {
		return errorf("InvalidParameterException", "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length between 1 and 100'")
	}
	return nil
}

func (r *ecrRepository) errImageNotFound(id types.ImageIdentifier) error {
	orNull := func(s *string) string {
		if s == nil {
			return "null"
		}
		return *s
	}
	return errorf("ImageNotFoundException", "The image with imageId {imageDigest:'%s', imageTag:'%s'} does not exist within the repository with name '%s' in the registry with id '%s'",
		orNull(id.ImageDigest), orNull(id.ImageTag), r.name, r.account)
}

func (r *ecrRepository) detail(im *ecrImage, now time.Time) types.ImageDetail {
	d := types.ImageDetail{
		ImageDigest:            new(im.digest.String()),
		ImageManifestMediaType: new(im.media.Value()),
		ImagePushedAt:          new(time.Unix(0, im.pushed).UTC()),
		ImageSizeInBytes:       new(im.size),
		ImageStatus:            im.status(now),
		ImageTags:              im.tags,
		RegistryId:             &r.account,
		RepositoryName:         &r.name,
	}
	if len(im.tags) == 0 {
		d.ImageTags = nil
	}
	if a := im.artifact.Value(); a != "" {
		d.ArtifactMediaType = &a
	}
	if im.pulled != 0 {
		d.LastRecordedPullTime = new(time.Unix(0, im.pulled).UTC())
	}
	if m := im.more; m != nil {
		if m.subject != nil {
			d.SubjectManifestDigest = new(m.subject.String())
		}
		if m.archivedAt != 0 {
			d.LastArchivedAt = new(time.Unix(0, m.archivedAt).UTC())
		}
		if m.activeAt != 0 && m.activeAt <= now.UnixNano() {
			d.LastActivatedAt = new(time.Unix(0, m.activeAt).UTC())
		}
	}
	return d
}

// listImages answers a row for each tag, and one for an image that has none.
func listImages(c *Call, r *ecrRepository, in *ecr.ListImagesInput) (*ecr.ListImagesOutput, error) {
	f := valueOf(in.Filter)
	match, err := imageFilter(c.Now, f.TagStatus, f.ImageStatus)
	if err != nil {
		return nil, err
	}
	ids, next, err := pageImages(r, match, (*ecrImage).ids, in.MaxResults, in.NextToken)
	return &ecr.ListImagesOutput{ImageIds: ids, NextToken: next}, err
}

// ids are an image's identifiers: one for each tag, or the digest alone.
func (im *ecrImage) ids() []types.ImageIdentifier {
	digest := new(im.digest.String())
	if len(im.tags) == 0 {
		return []types.ImageIdentifier{{ImageDigest: digest}}
	}
	ids := make([]types.ImageIdentifier, len(im.tags))
	for i, tag := range im.tags {
		ids[i] = types.ImageIdentifier{ImageDigest: digest, ImageTag: &tag}
	}
	return ids
}

func listImageReferrers(c *Call, r *ecrRepository, in *ecr.ListImageReferrersInput) (*ecr.ListImageReferrersOutput, error) {
	subject, ok := parseDigest(aws.ToString(valueOf(in.SubjectId).ImageDigest))
	if !ok {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'subjectId' failed to satisfy constraint: 'must have an image digest'")
	}
	f := valueOf(in.Filter)
	match, err := imageFilter(c.Now, "", types.ImageStatusFilter(f.ArtifactStatus))
	if err != nil {
		return nil, err
	}
	found := make([]*ecrImage, 0, len(r.referrers[subject]))
	for _, im := range r.referrers[subject] {
		if match(im) && (len(f.ArtifactTypes) == 0 || slices.Contains(f.ArtifactTypes, im.artifact.Value())) {
			found = append(found, im)
		}
	}
	slices.SortFunc(found, compareImages)
	found, next, err := page(found, in.MaxResults, 20, 50, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &ecr.ListImageReferrersOutput{NextToken: next, Referrers: []types.ImageReferrer{}}
	for _, im := range found {
		raw := im.manifest.bytes()
		ref := types.ImageReferrer{
			Digest:         new(im.digest.String()),
			MediaType:      new(im.media.Value()),
			Size:           new(int64(len(raw))),
			ArtifactStatus: types.ArtifactStatus(im.status(c.Now)),
			ArtifactType:   new(im.artifact.Value()),
		}
		if m, err := parseManifest(raw, im.media.Value()); err == nil {
			ref.Annotations = m.Annotations
		}
		out.Referrers = append(out.Referrers, ref)
	}
	return out, nil
}
