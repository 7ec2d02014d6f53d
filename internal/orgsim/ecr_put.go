package orgsim

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// maxTags is the quota of tags an image has.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
const maxTags = 1000

// putImage pushes a manifest, or tags one that is there. Layers are not asked for: their sizes are those that the
// manifest states. Pushing an archived image again restores it.
//
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html
func putImage(c *Call, r *ecrRepository, in *ecr.PutImageInput) (*ecr.PutImageOutput, error) {
	raw := []byte(aws.ToString(in.ImageManifest))
	tag := aws.ToString(in.ImageTag)
	m, err := parseManifest(raw, aws.ToString(in.ImageManifestMediaType))
	if err != nil {
		return nil, err
	}
	digest := imageDigest(sha256.Sum256(raw))
	if in.ImageDigest != nil && *in.ImageDigest != digest.String() {
		return nil, errorf("ImageDigestDoesNotMatchException", "The provided image digest '%s' does not match the digest '%s' calculated by the registry", *in.ImageDigest, digest)
	}
	if in.ImageTag != nil && !validTag(tag) {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'imageTag' failed to satisfy constraint: 'must satisfy regular expression '[a-zA-Z0-9_][a-zA-Z0-9-_.]{0,127}''")
	}

	im := r.byDigest[digest]
	if im != nil && (tag == "" || r.byTag[tag] == im) && im.status(c.Now) != types.ImageStatusArchived {
		return nil, errorf("ImageAlreadyExistsException", "Image with digest '%s' and tag '%s' already exists in the repository with name '%s' in registry with id '%s'", digest, tag, r.name, r.account)
	}
	if old := r.byTag[tag]; old != nil && old != im && r.immutable(tag) {
		return nil, errorf("ImageTagAlreadyExistsException", "The image tag '%s' already exists in the '%s' repository and cannot be overwritten because the tag is immutable.", tag, r.name)
	}
	if im != nil && tag != "" && r.byTag[tag] != im && len(im.tags) >= maxTags {
		return nil, errorf("LimitExceededException", "The image with digest '%s' already has the maximum of %d tags", digest, maxTags)
	}
	if im == nil {
		if im, err = r.newImage(digest, m); err != nil {
			return nil, err
		}
		im.pushed = c.Now.UnixNano()
		im.manifest = ecrManifestSource{kept: &raw}
		r.insert(im)
	}
	if im.status(c.Now) == types.ImageStatusArchived {
		im.more.archived, im.more.activeAt = false, c.Now.UnixNano()
	}
	if tag != "" {
		r.tag(im, tag)
	}
	return &ecr.PutImageOutput{Image: &types.Image{
		ImageId:                &types.ImageIdentifier{ImageDigest: new(digest.String()), ImageTag: in.ImageTag},
		ImageManifest:          in.ImageManifest,
		ImageManifestMediaType: new(m.MediaType),
		RegistryId:             new(r.account),
		RepositoryName:         new(r.name),
	}}, nil
}

// newImage makes the record of a manifest. The children of an index must be in the repository; its size is the
// largest child's (ImageDetail.imageSizeInBytes).
func (s *ecrImages) newImage(digest imageDigest, m *ecrManifest) (*ecrImage, error) {
	im := &ecrImage{
		digest:   digest,
		media:    unique.Make(m.MediaType),
		artifact: unique.Make(m.artifactMediaType()),
	}
	if m.Subject != nil {
		subject, _ := parseDigest(m.Subject.Digest)
		im.extend().subject = &subject
	}
	if !m.isIndex() {
		im.size = m.size()
		return im, nil
	}
	var missing []string
	for _, d := range m.Manifests {
		digest, _ := parseDigest(d.Digest)
		child := s.byDigest[digest]
		if child == nil {
			missing = append(missing, d.Digest)
			continue
		}
		im.size = max(im.size, child.size)
		if more := im.extend(); !slices.Contains(more.children, digest) {
			more.children = append(more.children, digest)
		}
	}
	if missing != nil {
		return nil, errorf("ReferencedImagesNotFoundException", "The manifest list references images that do not exist in the repository: [%s]", strings.Join(missing, ", "))
	}
	return im, nil
}

// GeneratedImages describe images whose manifests are made when they are asked for, so that a repository of
// 100,000 images costs little memory.
type GeneratedImages struct {
	Count    int
	Manifest func(i int) []byte    // pure; children before their index
	Pushed   func(i int) time.Time // when image i was pushed
	Pulled   func(i int) time.Time // optional; the zero time: never
	Tags     func(i int) []string  // optional; every tag once, none that the repository has

	// Size is optional and spares parsing every manifest: all are then single OCI images of this size, with no
	// subject and the OCI config type.
	Size func(i int) int64
}

// GenerateImages adds images to an existing repository.
func (s *Server) GenerateImages(account, region, repository string, g GeneratedImages) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.ecrRepository(account, region, repository)
	if r == nil {
		return errorf("RepositoryNotFoundException", "The repository with name '%s' does not exist in the registry with id '%s'", repository, account)
	}
	plain := ecrImage{
		media:    unique.Make(mediaOCIManifest),
		artifact: unique.Make("application/vnd.oci.image.config.v1+json"),
	}
	batch := make([]ecrImage, g.Count)
	r.ordered = slices.Grow(r.ordered, g.Count)
	for i := range batch {
		im := &batch[i]
		raw := g.Manifest(i)
		digest := imageDigest(sha256.Sum256(raw))
		if g.Size != nil {
			*im = plain
			im.digest, im.size = digest, g.Size(i)
		} else {
			m, err := parseManifest(raw, "")
			if err != nil {
				return err
			}
			made, err := r.newImage(digest, m)
			if err != nil {
				return err
			}
			*im = *made
		}
		if r.byDigest[digest] != nil {
			return errorf("ImageAlreadyExistsException", "Image with digest '%s' already exists in the repository with name '%s'", digest, r.name)
		}
		im.manifest = ecrManifestSource{generate: g.Manifest, i: i}
		im.pushed = g.Pushed(i).UnixNano()
		if g.Pulled != nil {
			if t := g.Pulled(i); !t.IsZero() {
				im.pulled = t.UnixNano()
			}
		}
		r.ordered = append(r.ordered, im)
		r.index(im)
		if g.Tags != nil {
			im.tags = g.Tags(i)
			for _, tag := range im.tags {
				r.byTag[tag] = im
			}
		}
	}
	slices.SortFunc(r.ordered, compareImages)
	return nil
}
