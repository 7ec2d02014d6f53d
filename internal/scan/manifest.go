package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/opencontainers/go-digest"

	"demurrage/internal/image"
)

const (
	batchGetImage     = 100
	manifestCacheName = "ecr-manifests"
)

// manifests is what is remembered about the manifests of a registry: what they say, for ever, and when we read
// them, since reading moves the image's pull time (https://github.com/aws/containers-roadmap/issues/2390).
type manifests struct {
	mu      sync.Mutex
	changed bool
	kept    manifestCache
}

type manifestCache struct {
	Children map[image.Digest][]image.Digest     `json:"children"` // of every manifest that was read and understood
	Pulls    map[string]map[image.Digest]ownPull `json:"pulls"`    // by repository
}

// ownPull is a manifest read by us: the pull time from before, and the server's clock when it answered. Earlier are those
// of our reads in the days before, of which ECR may have recorded the first alone.
type ownPull struct {
	Before  time.Time   `json:"before,omitzero"`
	At      time.Time   `json:"at"`
	Earlier []time.Time `json:"earlier,omitempty"`
}

// made reports whether a recorded pull is this one. The window is narrow, since a pull that is somebody's must not
// pass for ours. (ECR may leave a pull unrecorded for a day after ours. Whoever pulls an index pulls one of its
// children too, of which a scan does not read the manifest where that would move its pull time, so that pull shows there.
// Manifests does read it, of what is about to be deleted, and so does a scan that was told to by LayersExact, once, and
// says so: a pull of what then stays after all may go unseen for that day.)
func (p ownPull) made(recorded time.Time) bool {
	by := func(at time.Time) bool {
		return !at.IsZero() && !recorded.Before(at.Add(-2*time.Second)) && !recorded.After(at.Add(time.Minute))
	}
	return by(p.At) || slices.ContainsFunc(p.Earlier, by)
}

func loadManifests(ctx context.Context, w *work) *manifests {
	m := &manifests{kept: loadCache[manifestCache](ctx, w, manifestCacheName)}
	if m.kept.Children == nil {
		m.kept.Children = make(map[image.Digest][]image.Digest)
	}
	if m.kept.Pulls == nil {
		m.kept.Pulls = make(map[string]map[image.Digest]ownPull)
	}
	return m
}

func (m *manifests) save(ctx context.Context, w *work) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed {
		saveCache(ctx, w, manifestCacheName, m.kept)
	}
}

// recall fills in what is known about a repository's images, takes our own pulls out of their pull times, and gives
// the images whose manifest has to be read. complete says that the repository has no other images, so that what is known
// of others can be forgotten.
func (m *manifests) recall(repository string, images []image.Image, complete bool) (unread []*image.Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pulls := m.kept.Pulls[repository]
	present := make(map[image.Digest]bool)
	for i := range images {
		img := &images[i]
		if p, ok := pulls[img.Digest]; ok {
			present[img.Digest] = true
			if p.made(img.LastPulledAt) {
				img.LastPulledAt = p.Before
			}
		}
		if image.Childless(img.MediaType) {
			continue
		}
		children, ok := m.kept.Children[img.Digest]
		switch {
		case ok:
			img.Children = children
		case img.Status != image.Active:
			img.Unreadable = "its status is " + string(img.Status) + ", so that it cannot be pulled" // ECR refuses: do not ask
		default:
			unread = append(unread, img)
		}
	}
	if complete && len(present) < len(pulls) {
		maps.DeleteFunc(pulls, func(d image.Digest, _ ownPull) bool { return !present[d] })
		m.changed = true
	}
	return unread
}

// pulled remembers that we read a manifest.
func (m *manifests) pulled(repository string, img *image.Image, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept.Pulls[repository] == nil {
		m.kept.Pulls[repository] = make(map[image.Digest]ownPull)
	}
	p := ownPull{Before: img.LastPulledAt, At: at.UTC()}
	if last, ok := m.kept.Pulls[repository][img.Digest]; ok && last.Before.Equal(p.Before) { // nobody has pulled it since
		p.Earlier = slices.DeleteFunc(append(slices.Clone(last.Earlier), last.At), func(t time.Time) bool { return p.At.Sub(t) > 48*time.Hour })
	}
	m.kept.Pulls[repository][img.Digest] = p
	m.changed = true
}

// learn remembers what a manifest says.
func (m *manifests) learn(img *image.Image) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept.Children[img.Digest] = img.Children
	m.changed = true
}

// forgetOthers drops what concerns repositories or images that are gone. It needs the whole list of repositories.
func (m *manifests) forgetOthers(repositories []image.Inventory, found []image.Inventory) {
	m.mu.Lock()
	defer m.mu.Unlock()
	exists := make(map[string]bool)
	for i := range repositories {
		exists[repositories[i].Repository.Name] = true
	}
	present := make(map[image.Digest]bool)
	for i := range found {
		if len(found[i].Errors) > 0 {
			return
		}
		for j := range found[i].Images {
			present[found[i].Images[j].Digest] = true
		}
	}
	before := len(m.kept.Pulls) + len(m.kept.Children)
	maps.DeleteFunc(m.kept.Pulls, func(name string, _ map[image.Digest]ownPull) bool { return !exists[name] })
	maps.DeleteFunc(m.kept.Children, func(d image.Digest, _ []image.Digest) bool { return !present[d] })
	m.changed = m.changed || before != len(m.kept.Pulls)+len(m.kept.Children)
}

// readManifests finds out the children of a repository's indexes. The manifest of an image that may be an index is
// read once in its life; one that cannot be read or understood makes the image unreadable, and is tried again in the
// next run. The only error is errDeleted.
func (s *ecrScan) readManifests(ctx context.Context, inv *image.Inventory) error {
	name := inv.Repository.Name
	unread := s.manifests.recall(name, inv.Images, len(inv.Errors) == 0 && s.opts.Repositories == nil)
	for batch := range slices.Chunk(unread, batchGetImage) {
		out, err := s.images.BatchGetImage(ctx, batchInput(name, batch))
		if repositoryGone(err) {
			return errDeleted
		}
		if err != nil {
			s.fail("BatchGetImage", name, err)
			for _, img := range batch {
				img.Unreadable = reason(err)
			}
			continue
		}
		s.readAnswer(name, batch, out)
	}
	return nil
}

func batchInput(repository string, batch []*image.Image) *ecr.BatchGetImageInput {
	in := &ecr.BatchGetImageInput{RepositoryName: &repository, AcceptedMediaTypes: []string{
		image.MediaTypeOCIIndex, image.MediaTypeDockerIndex, image.MediaTypeOCIManifest, image.MediaTypeDockerV2,
		image.MediaTypeDockerV1, image.MediaTypeDockerSigned, image.MediaTypeOCIArtifact,
	}}
	for _, img := range batch {
		in.ImageIds = append(in.ImageIds, types.ImageIdentifier{ImageDigest: aws.String(string(img.Digest))})
		if img.MediaType != "" && !slices.Contains(in.AcceptedMediaTypes, img.MediaType) {
			in.AcceptedMediaTypes = append(in.AcceptedMediaTypes, img.MediaType)
		}
	}
	return in
}

var errNotAnswered = errors.New("ECR did not answer for it")

func (s *ecrScan) readAnswer(repository string, batch []*image.Image, out *ecr.BatchGetImageOutput) {
	// The clock of the answer, not ours: it is compared with times that ECR sets. Without one the pull counts as
	// somebody's.
	at, _ := awsmiddleware.GetServerTime(out.ResultMetadata)
	answers := make(map[string]*types.Image)
	for i := range out.Images {
		if id := out.Images[i].ImageId; id != nil {
			answers[aws.ToString(id.ImageDigest)] = &out.Images[i]
		}
	}
	failures := make(map[string]string)
	for i := range out.Failures {
		f := &out.Failures[i]
		if f.ImageId != nil {
			failures[aws.ToString(f.ImageId.ImageDigest)] = strings.TrimSuffix(string(f.FailureCode)+": "+aws.ToString(f.FailureReason), ": ")
		}
	}
	for _, img := range batch {
		answer, why := answers[string(img.Digest)], failures[string(img.Digest)]
		switch {
		case answer != nil:
			s.manifests.pulled(repository, img, at)
			children, err := parseManifest(img, aws.ToString(answer.ImageManifest))
			if err != nil {
				img.Unreadable = err.Error()
				continue
			}
			img.Children = children
			s.manifests.learn(img)
			s.layers.learn(s.work, img.Digest, aws.ToString(answer.ImageManifest))
		default:
			err := errNotAnswered
			if why != "" {
				err = errors.New(why)
			}
			img.Unreadable = err.Error()
			s.fail("BatchGetImage", repository+"@"+string(img.Digest), err)
		}
	}
}

// parseManifest gives the children that a manifest names, none if it is no index.
//
// https://github.com/opencontainers/image-spec/blob/main/image-index.md
func parseManifest(img *image.Image, text string) ([]image.Digest, error) {
	if got := digest.FromString(text); string(got) != string(img.Digest) {
		return nil, fmt.Errorf("its manifest has the digest %s", got)
	}
	var m struct {
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("its manifest cannot be parsed: %w", err)
	}
	if len(m.Manifests) == 0 || bytes.Equal(m.Manifests, []byte("null")) {
		if img.IsIndex() {
			return nil, errors.New("it is an index without a list of manifests")
		}
		return nil, nil
	}
	var entries []struct {
		Digest string `json:"digest"`
	}
	if err := json.Unmarshal(m.Manifests, &entries); err != nil {
		return nil, fmt.Errorf("its list of manifests cannot be parsed: %w", err)
	}
	var children []image.Digest
	for _, e := range entries {
		d, err := image.ParseDigest(e.Digest)
		if err != nil {
			return nil, fmt.Errorf("one of its manifests: %w", err)
		}
		if !slices.Contains(children, d) {
			children = append(children, d)
		}
	}
	return children, nil
}
