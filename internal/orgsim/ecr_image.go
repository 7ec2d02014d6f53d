package orgsim

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unique"

	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// imageDigest is the sha256 of a manifest.
type imageDigest [sha256.Size]byte

func (d imageDigest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

func parseDigest(s string) (d imageDigest, ok bool) {
	h, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(h) != hex.EncodedLen(len(d)) || h != strings.ToLower(h) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(h))
	return d, err == nil
}

// ecrImage is an image, an index or an artifact. There may be a million of them: what few have is in more.
type ecrImage struct {
	digest   imageDigest
	size     int64
	pushed   int64 // Unix nanoseconds
	pulled   int64 // Unix nanoseconds; 0: never
	tags     []string
	media    unique.Handle[string]
	artifact unique.Handle[string]
	manifest ecrManifestSource
	more     *ecrImageMore
}

// ecrManifestSource gives the bytes of a manifest: kept ones, or made again for image i of a generated set.
type ecrManifestSource struct {
	kept     *[]byte
	generate func(i int) []byte
	i        int
}

func (m ecrManifestSource) bytes() []byte {
	if m.kept != nil {
		return *m.kept
	}
	return m.generate(m.i)
}

// ecrImageMore is for indexes, artifacts with a subject, and images that were ever archived.
type ecrImageMore struct {
	children   []imageDigest
	subject    *imageDigest
	archived   bool
	archivedAt int64 // Unix nanoseconds of the last time; 0: never
	activeAt   int64 // the same of the last restoration, which is under way until then
}

// restoration is how long the simulated archive takes: AWS says within 20 minutes.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/restore-image.html
const restoration = 20 * time.Minute

func (im *ecrImage) status(now time.Time) types.ImageStatus {
	switch {
	case im.more == nil:
		return types.ImageStatusActive
	case im.more.archived:
		return types.ImageStatusArchived
	case im.more.activeAt > now.UnixNano():
		return types.ImageStatusActivating
	default:
		return types.ImageStatusActive
	}
}

func (im *ecrImage) extend() *ecrImageMore {
	if im.more == nil {
		im.more = new(ecrImageMore)
	}
	return im.more
}

func (im *ecrImage) subject() *imageDigest {
	if im.more == nil {
		return nil
	}
	return im.more.subject
}

func (im *ecrImage) children() []imageDigest {
	if im.more == nil {
		return nil
	}
	return im.more.children
}

// ecrImages are the images of a repository. The order of every listing is by push time, then digest; it is kept
// as images come and go, so that a page costs its own length.
type ecrImages struct {
	ordered   []*ecrImage
	byDigest  map[imageDigest]*ecrImage
	byTag     map[string]*ecrImage
	holders   map[imageDigest][]*ecrImage  // child: the indexes that hold it
	referrers map[imageDigest][]*ecrImage  // subject, which need not exist: its artifacts
	gone      []ecrGone                    // deleted ones, for the bill
	steps     atomic.Pointer[[]storedStep] // history, once it was asked for; nil: images changed since
}

func compareImages(a, b *ecrImage) int {
	return cmp.Or(cmp.Compare(a.pushed, b.pushed), bytes.Compare(a.digest[:], b.digest[:]))
}

// position of the first image that is not before (pushed, digest).
func (s *ecrImages) position(pushed int64, digest imageDigest) int {
	i, _ := slices.BinarySearchFunc(s.ordered, &ecrImage{pushed: pushed, digest: digest}, compareImages)
	return i
}

// insert adds an untagged image.
func (s *ecrImages) insert(im *ecrImage) {
	s.ordered = slices.Insert(s.ordered, s.position(im.pushed, im.digest), im)
	s.index(im)
}

// index makes an image that is in ordered known by its digest, children and subject.
func (s *ecrImages) index(im *ecrImage) {
	if s.byDigest == nil {
		s.byDigest = make(map[imageDigest]*ecrImage)
		s.byTag = make(map[string]*ecrImage)
		s.holders = make(map[imageDigest][]*ecrImage)
		s.referrers = make(map[imageDigest][]*ecrImage)
	}
	s.byDigest[im.digest] = im
	s.steps.Store(nil)
	for _, child := range im.children() {
		s.holders[child] = append(s.holders[child], im)
	}
	if subject := im.subject(); subject != nil {
		s.referrers[*subject] = append(s.referrers[*subject], im)
	}
}

// delete takes an image out with all its tags. An index goes on holding its children until it is released.
func (s *ecrImages) delete(im *ecrImage) {
	for _, tag := range im.tags {
		delete(s.byTag, tag)
	}
	delete(s.byDigest, im.digest)
	s.steps.Store(nil)
	i := s.position(im.pushed, im.digest)
	s.ordered = slices.Delete(s.ordered, i, i+1)
	if subject := im.subject(); subject != nil {
		unlink(s.referrers, *subject, im)
	}
}

func (s *ecrImages) release(im *ecrImage) {
	for _, child := range im.children() {
		unlink(s.holders, child, im)
	}
}

func unlink(m map[imageDigest][]*ecrImage, d imageDigest, im *ecrImage) {
	rest := slices.DeleteFunc(m[d], func(x *ecrImage) bool { return x == im })
	if len(rest) == 0 {
		delete(m, d)
		return
	}
	m[d] = rest
}

// tag gives an image a tag; the image that had it before keeps existing without.
func (s *ecrImages) tag(im *ecrImage, tag string) {
	if old := s.byTag[tag]; old == im {
		return
	} else if old != nil {
		s.untag(old, tag)
	}
	s.byTag[tag] = im
	im.tags = append(slices.Clip(im.tags), tag) // clipped: answers under way share the old slice
}

func (s *ecrImages) untag(im *ecrImage, tag string) {
	delete(s.byTag, tag)
	im.tags = slices.DeleteFunc(slices.Clone(im.tags), func(t string) bool { return t == tag })
}

// find looks an image up by tag, digest or both; code says why there is none.
func (s *ecrImages) find(id types.ImageIdentifier) (im *ecrImage, code types.ImageFailureCode) {
	if id.ImageDigest == nil && id.ImageTag == nil {
		return nil, types.ImageFailureCodeMissingDigestAndTag
	}
	if id.ImageDigest != nil {
		d, ok := parseDigest(*id.ImageDigest)
		if !ok {
			return nil, types.ImageFailureCodeInvalidImageDigest
		}
		if im = s.byDigest[d]; im == nil {
			return nil, types.ImageFailureCodeImageNotFound
		}
	}
	if id.ImageTag != nil {
		if !validTag(*id.ImageTag) {
			return nil, types.ImageFailureCodeInvalidImageTag
		}
		tagged := s.byTag[*id.ImageTag]
		if tagged == nil {
			return nil, types.ImageFailureCodeImageNotFound
		}
		if im != nil && im != tagged {
			return nil, types.ImageFailureCodeImageTagDoesNotMatchDigest
		}
		im = tagged
	}
	return im, ""
}

// validTag is the grammar of tags: a word character, then up to 127 of [\w.-].
func validTag(tag string) bool {
	if tag == "" || len(tag) > 128 || tag[0] == '.' || tag[0] == '-' {
		return false
	}
	for _, b := range []byte(tag) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '_', b == '.', b == '-':
		default:
			return false
		}
	}
	return true
}

func imageFailure(id types.ImageIdentifier, code types.ImageFailureCode, reason string) types.ImageFailure {
	if reason == "" {
		switch code {
		case types.ImageFailureCodeImageNotFound:
			reason = "Requested image not found"
		case types.ImageFailureCodeMissingDigestAndTag:
			reason = "Invalid request parameters: both tag and digest cannot be null"
		case types.ImageFailureCodeImageTagDoesNotMatchDigest:
			reason = "Requested image tag does not match the digest"
		case types.ImageFailureCodeInvalidImageDigest:
			reason = "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"
		case types.ImageFailureCodeInvalidImageTag:
			reason = "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9-_.]+'"
		}
	}
	return types.ImageFailure{ImageId: &id, FailureCode: code, FailureReason: &reason}
}
