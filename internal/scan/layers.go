package scan

import (
	"bytes"
	"cmp"
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
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"demurrage/internal/image"
)

// Layers says how what images are stored as is found out in a registry. Whatever it is changes no decision of a plan.
type Layers string

// The ways. Reading a manifest moves the image's pull time, unless our role is registered as a pull-time exclusion: to
// read those of all images is the default only where it is.
const (
	LayersExact    Layers = "exact"    // the manifest of every active image is read, once in the image's life
	LayersEstimate Layers = "estimate" // nothing is read for it: known is what was, as indexes are
	LayersOff      Layers = "off"
)

const (
	layersCacheName = "ecr-layers"
	layersAhead     = 400     // calls that are remembered at once before they are made
	layersAtOnce    = 4       // calls in flight
	maxBlob         = 1 << 40 // bytes; ECR takes layers of 52,000 MiB. More is a manifest that lies
)

// layers is what is remembered about what the images of a registry are stored as, for ever. nil remembers nothing.
type layers struct {
	mode Layers

	mu      sync.Mutex
	changed bool
	blobs   []image.Blob
	places  map[image.Digest]int32 // in blobs
	images  map[image.Digest]image.Content
	opaque  map[image.Digest]bool // read, and it does not say
}

// layersCache is layers as it is kept: as image.Contents is, for all repositories at once.
type layersCache struct {
	Blobs  []image.Blob    `json:"blobs"`
	Images []image.Content `json:"images"`
	Opaque []image.Digest  `json:"opaque,omitempty"`
}

func loadLayers(ctx context.Context, w *work, mode Layers) *layers {
	kept := loadCache[layersCache](ctx, w, layersCacheName)
	l := &layers{
		mode: mode, blobs: kept.Blobs, places: make(map[image.Digest]int32, len(kept.Blobs)),
		images: make(map[image.Digest]image.Content, len(kept.Images)), opaque: make(map[image.Digest]bool),
	}
	for i, b := range kept.Blobs {
		l.places[b.Digest] = int32(i)
	}
	for _, c := range kept.Images {
		if !slices.ContainsFunc(c.Blobs, func(p int32) bool { return p < 0 || int(p) >= len(kept.Blobs) }) {
			l.images[c.Digest] = c
		}
	}
	for _, d := range kept.Opaque {
		l.opaque[d] = true
	}
	return l
}

func (l *layers) save(ctx context.Context, w *work) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.changed {
		return
	}
	kept := layersCache{Blobs: l.blobs, Opaque: slices.Sorted(maps.Keys(l.opaque))}
	kept.Images = slices.SortedFunc(maps.Values(l.images), compareContents)
	saveCache(ctx, w, layersCacheName, kept)
	l.changed = false
}

func compareContents(a, b image.Content) int { return cmp.Compare(a.Digest, b.Digest) }

// learn remembers what a manifest, which must be that of the digest, says an image is stored as.
func (l *layers) learn(w *work, d image.Digest, manifest string) {
	if l == nil {
		return
	}
	blobs, err := parseLayers(manifest)
	if err != nil {
		w.log.Info("a manifest does not say what its image is stored as", "digest", d, "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changed = true
	if err != nil {
		l.opaque[d] = true
		return
	}
	c := image.Content{Digest: d, Manifest: int64(len(manifest))}
	for _, b := range blobs {
		place, ok := l.places[b.Digest]
		if !ok {
			place = int32(len(l.blobs))
			l.places[b.Digest] = place
			l.blobs = append(l.blobs, b)
		}
		l.blobs[place].Bytes = max(l.blobs[place].Bytes, b.Bytes) // whichever of two that differ is read first
		c.Blobs = append(c.Blobs, place)
	}
	slices.Sort(c.Blobs)
	c.Blobs = slices.Compact(c.Blobs)
	l.images[d] = c
}

// wants reports whether the manifest of an image is worth reading: it is not known, can be pulled, was not just tried
// to read, and its type tells the sizes of layers.
func (l *layers) wants(img *image.Image) bool {
	if img.Status != image.Active || img.Unreadable != "" || img.MediaType == image.MediaTypeDockerV1 || img.MediaType == image.MediaTypeDockerSigned {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, known := l.images[img.Digest]
	return !known && !l.opaque[img.Digest]
}

// contents gives what is known of a repository.
func (l *layers) contents(inv *image.Inventory) image.Contents {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := image.Contents{Repository: inv.Repository, Blobs: []image.Blob{}, Images: []image.Content{}}
	var used []int32
	for i := range inv.Images {
		if known, ok := l.images[inv.Images[i].Digest]; ok {
			c.Images = append(c.Images, known)
			used = append(used, known.Blobs...)
		}
	}
	slices.SortFunc(c.Images, compareContents)
	slices.Sort(used)
	used = slices.Compact(used)
	slices.SortFunc(used, func(a, b int32) int { return cmp.Compare(l.blobs[a].Digest, l.blobs[b].Digest) })
	places := make(map[int32]int32, len(used))
	for i, p := range used {
		places[p] = int32(i)
		c.Blobs = append(c.Blobs, l.blobs[p])
	}
	for i := range c.Images {
		c.Images[i].Blobs = moved(c.Images[i].Blobs, places)
	}
	return c
}

// moved gives blobs their places in another list.
func moved(blobs []int32, places map[int32]int32) []int32 {
	var at []int32
	for _, p := range blobs {
		at = append(at, places[p])
	}
	slices.Sort(at)
	return at
}

// forgetOthers drops images that are gone, and the blobs that none refers to any more. It needs all repositories of the
// registry, with all of their images.
func (l *layers) forgetOthers(found []image.Inventory) {
	present := make(map[image.Digest]bool)
	for i := range found {
		if len(found[i].Errors) > 0 {
			return
		}
		for j := range found[i].Images {
			present[found[i].Images[j].Digest] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.images) + len(l.opaque)
	maps.DeleteFunc(l.opaque, func(d image.Digest, _ bool) bool { return !present[d] })
	maps.DeleteFunc(l.images, func(d image.Digest, _ image.Content) bool { return !present[d] })
	if len(l.images)+len(l.opaque) == before {
		return
	}
	l.changed = true
	old, places := l.blobs, make(map[int32]int32)
	used := make([]bool, len(old))
	for _, c := range l.images {
		for _, p := range c.Blobs {
			used[p] = true
		}
	}
	l.blobs = nil
	clear(l.places)
	for p, b := range old {
		if used[p] {
			at := int32(len(l.blobs))
			places[int32(p)], l.places[b.Digest] = at, at
			l.blobs = append(l.blobs, b)
		}
	}
	for d, c := range l.images {
		c.Blobs = moved(c.Blobs, places)
		l.images[d] = c
	}
}

// parseLayers gives the layers and the configuration that a manifest names, none of an index. Layers that may not be
// distributed, as those of Windows, are fetched from elsewhere and left out: a registry need not have them.
//
// https://github.com/opencontainers/image-spec/blob/main/manifest.md#image-manifest-property-descriptions
func parseLayers(manifest string) ([]image.Blob, error) {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      *int64 `json:"size"`
	}
	var m struct {
		Config    *descriptor     `json:"config"`
		Layers    []descriptor    `json:"layers"`
		Blobs     []descriptor    `json:"blobs"` // of an OCI artifact manifest
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal([]byte(manifest), &m); err != nil {
		return nil, fmt.Errorf("it cannot be parsed: %w", err)
	}
	descriptors := slices.Concat(m.Layers, m.Blobs)
	if m.Config != nil {
		descriptors = append(descriptors, *m.Config)
	}
	if index := len(m.Manifests) > 0 && !bytes.Equal(m.Manifests, []byte("null")); index != (len(descriptors) == 0) {
		return nil, errors.New("it is neither an index nor an image, or both")
	}
	var blobs []image.Blob
	for _, d := range descriptors {
		digest, err := image.ParseDigest(d.Digest)
		if err != nil {
			return nil, fmt.Errorf("one of its layers: %w", err)
		}
		if d.Size == nil || *d.Size < 0 || *d.Size > maxBlob {
			return nil, fmt.Errorf("its layer %s has no size that can be", digest)
		}
		if strings.Contains(d.MediaType, ".nondistributable.") || strings.Contains(d.MediaType, ".foreign.") {
			continue
		}
		blobs = append(blobs, image.Blob{Digest: digest, Bytes: *d.Size})
	}
	return blobs, nil
}

// prepareLayers decides how what images are stored as is found out here. excluded says that our reads leave no pull time.
func (s *ecrScan) prepareLayers(ctx context.Context, excluded bool) {
	mode := s.opts.Layers
	if mode == "" {
		mode = LayersEstimate
		if excluded {
			mode = LayersExact
		}
	}
	if s.opts.Repositories != nil {
		return // it is for the report
	}
	s.layersMode = mode
	if mode != LayersOff {
		s.layers = loadLayers(ctx, s.work, mode)
		s.mounted = s.blobMounting(ctx)
	}
}

// blobMounting reports whether the repositories of the registry share blobs. Where that cannot be found out they are
// taken to, since then less is freed by what goes.
//
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAccountSetting.html
func (s *ecrScan) blobMounting(ctx context.Context) bool {
	out, err := s.repositories.GetAccountSetting(ctx, &ecr.GetAccountSettingInput{Name: aws.String("BLOB_MOUNTING")})
	if err == nil {
		switch value := aws.ToString(out.Value); value {
		case "ENABLED":
			return true
		case "DISABLED":
			return false
		default:
			err = fmt.Errorf("its value is %q", value)
		}
	}
	s.log.Info("account setting not readable", "setting", "BLOB_MOUNTING", "error", err)
	s.note("", "whether its repositories share layers (BLOB_MOUNTING) could not be read; they are taken to, so that savings are rather too small: GetAccountSetting: "+reason(err))
	return true
}

// storeContents leaves what the images of the repositories are stored as, having read what is to be read for it. all
// says that these are all repositories of the registry.
func (s *ecrScan) storeContents(ctx context.Context, excluded, all bool) {
	if s.layers == nil {
		return
	}
	slices.SortFunc(s.inventories, func(a, b image.Inventory) int { return image.CompareRepositories(a.Repository, b.Repository) })
	if s.layers.mode == LayersExact {
		s.readLayers(ctx, excluded)
	}
	if ctx.Err() != nil {
		return
	}
	for i := range s.inventories {
		s.contents = append(s.contents, s.layers.contents(&s.inventories[i]))
	}
	if all {
		s.layers.forgetOthers(s.inventories)
	}
}

// layersBatch is a call that reads manifests.
type layersBatch struct {
	repository string
	images     []*image.Image
}

// readLayers reads the manifests of all images of which nothing is known yet. That we read them is remembered before, as
// in Manifests. What cannot be read is no failure: it only is not known.
func (s *ecrScan) readLayers(ctx context.Context, excluded bool) {
	r := layersRead{tried: make(map[*image.Image]bool), failed: make(map[string]error)}
	// An image that is in several repositories is read in the first, and in the next if that fails.
	for batches := s.layersBatches(&r); len(batches) > 0; batches = s.layersBatches(&r) {
		for ahead := range slices.Chunk(batches, layersAhead) {
			ahead = slices.DeleteFunc(ahead, func(b layersBatch) bool { return r.failed[b.repository] != nil })
			for _, b := range ahead {
				for _, img := range b.images {
					s.manifests.pulled(b.repository, img, time.Now())
				}
			}
			s.manifests.save(ctx, s.work)
			s.layers.save(ctx, s.work)
			each(ctx, s.work, layersAtOnce, slices.Values(ahead), func(b layersBatch) { s.readBatch(ctx, &r, b) })
			if ctx.Err() != nil {
				return
			}
		}
	}
	maps.DeleteFunc(r.failed, func(_ string, err error) bool { return repositoryGone(err) })
	if names := slices.Sorted(maps.Keys(r.failed)); len(names) > 0 {
		s.note("", fmt.Sprintf("what images are stored as could not be read in %d of its repositories: %s: BatchGetImage: %s",
			len(names), names[0], reason(r.failed[names[0]])))
	}
	if r.read > 0 && !excluded {
		s.note("", fmt.Sprintf("the manifests of %d images were read for their layers by a role that is not registered as a pull-time exclusion: ECR may leave pulls of these images by others unrecorded for a day", r.read))
	}
}

// layersRead is how far the reading has come.
type layersRead struct {
	tried map[*image.Image]bool

	mu     sync.Mutex
	failed map[string]error // repositories that were given up
	read   int              // images
}

// layersBatches gives the calls that read what is not known and was not tried, each digest once.
func (s *ecrScan) layersBatches(r *layersRead) (batches []layersBatch) {
	asked := make(map[image.Digest]bool)
	for i := range s.inventories {
		inv := &s.inventories[i]
		if r.failed[inv.Repository.Name] != nil {
			continue
		}
		var unread []*image.Image
		for j := range inv.Images {
			img := &inv.Images[j]
			if !r.tried[img] && !asked[img.Digest] && s.layers.wants(img) {
				r.tried[img], asked[img.Digest] = true, true
				unread = append(unread, img)
			}
		}
		for images := range slices.Chunk(unread, batchGetImage) {
			batches = append(batches, layersBatch{inv.Repository.Name, images})
		}
	}
	return batches
}

func (s *ecrScan) readBatch(ctx context.Context, r *layersRead, b layersBatch) {
	r.mu.Lock()
	failed := r.failed[b.repository] != nil
	r.mu.Unlock()
	if failed {
		return // the next call would hardly fare better
	}
	out, err := s.images.BatchGetImage(ctx, batchInput(b.repository, b.images))
	if err != nil {
		s.log.Info("layers not readable", "repository", b.repository, "error", err)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.failed[b.repository] = err
		return
	}
	texts := s.answered(b.repository, b.images, out)
	for d, text := range texts {
		s.layers.learn(s.work, d, text)
	}
	if missing := len(b.images) - len(texts); missing > 0 {
		why := ""
		if len(out.Failures) > 0 {
			why = string(out.Failures[0].FailureCode)
		}
		s.log.Info("layers of images not readable", "repository", b.repository, "images", missing, "failure", why)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read += len(texts)
}
