package cost

import (
	"cmp"
	"slices"

	"demurrage/internal/image"
)

// Stored is what a repository stores, in bytes, and what a plan frees of it.
type Stored struct {
	Exact  bool  // the manifests of all its images are known
	Unique int64 // each blob once, and every manifest; an image whose manifest is not known counts with its size
	Freed  int64 // what no image that stays refers to: what will really go. 0 unless Exact
}

// Holding is a repository with what becomes of its images.
type Holding struct {
	Contents *image.Contents // nil: nothing is known
	Images   []Fate          // all its images
}

// Fate is an image and whether a plan deletes it.
type Fate struct {
	Digest image.Digest
	Bytes  int64 // its size; 0 of an index
	Goes   bool
}

// Measure gives what each of the repositories of one registry stores and what is freed of it, in their order. Contents
// of images that are not among a holding's (deleted meanwhile) do not count. An image whose content cannot be right (a
// place without a blob, a negative size) is one that is not known.
//
// Where mounted, layers are shared across the registry: a blob counts once, with the first holding that has an image
// which refers to it, and it is freed there when no image of the whole registry that stays does. As long as an image of the
// registry that stays is not known, any blob may be one of its own, so that manifests alone are sure to go: Freed is
// then a lower bound, in the exact repositories too. It is one in any case, and Unique with it: ECR shares only what
// was pushed so that it can be, between repositories of the same encryption, and does not tell which blobs these are.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/blob-mounting.html
func Measure(holdings []Holding, mounted bool) []Stored {
	stored := make([]Stored, len(holdings))
	var (
		m       marks
		shared  []sharedBlob
		places  = map[image.Digest]int32{} // in shared
		unknown bool                       // an image that stays is not known
	)
	for i := range holdings {
		s := &stored[i]
		unknown = m.read(&holdings[i], s) || unknown
		for at, mark := range m.blobs {
			if mark == 0 {
				continue
			}
			b := &holdings[i].Contents.Blobs[at]
			if !mounted {
				s.Unique += b.Bytes
				if mark&stays == 0 {
					s.Freed += b.Bytes
				}
				continue
			}
			place, ok := places[b.Digest]
			if !ok {
				place = int32(len(shared))
				places[b.Digest] = place
				shared = append(shared, sharedBlob{bytes: b.Bytes, holding: int32(i)})
			}
			shared[place].marks |= mark
		}
	}
	for _, b := range shared {
		s := &stored[b.holding]
		s.Unique += b.bytes
		if b.marks&stays == 0 && !unknown {
			s.Freed += b.bytes
		}
	}
	for i := range stored {
		if !stored[i].Exact {
			stored[i].Freed = 0
		}
	}
	return stored
}

// sharedBlob is a blob of a registry, booked on the first holding that refers to it.
type sharedBlob struct {
	bytes   int64
	holding int32
	marks   uint8
}

const (
	goes  = 1 << iota // an image that goes is it, or refers to it
	stays             // one that stays is, or does
)

// marks say what becomes of the images and blobs of one repository, by their places in its contents.
type marks struct{ images, blobs []uint8 }

// read marks what a holding's images refer to, and counts what is theirs alone: manifests, and images that are not known.
// True says that one of the latter stays.
func (m *marks) read(h *Holding, s *Stored) (unknown bool) {
	var c image.Contents
	if h.Contents != nil {
		c = *h.Contents
	}
	m.images, m.blobs = zeroed(m.images, len(c.Images)), zeroed(m.blobs, len(c.Blobs))
	s.Exact = true
	for _, f := range h.Images {
		mark := uint8(stays)
		if f.Goes {
			mark = goes
		}
		i, ok := slices.BinarySearchFunc(c.Images, f.Digest, func(c image.Content, d image.Digest) int { return cmp.Compare(c.Digest, d) })
		if !ok || !sound(&c, &c.Images[i]) {
			s.Exact = false
			s.Unique += f.Bytes
			unknown = unknown || !f.Goes
			continue
		}
		m.images[i] |= mark
		for _, at := range c.Images[i].Blobs {
			m.blobs[at] |= mark
		}
	}
	for i, mark := range m.images {
		if mark == 0 {
			continue
		}
		s.Unique += c.Images[i].Manifest
		if mark&stays == 0 {
			s.Freed += c.Images[i].Manifest
		}
	}
	return unknown
}

// sound says that an image's content names blobs that there are, and sizes that can be.
func sound(c *image.Contents, of *image.Content) bool {
	for _, at := range of.Blobs {
		if at < 0 || int(at) >= len(c.Blobs) || c.Blobs[at].Bytes < 0 {
			return false
		}
	}
	return of.Manifest >= 0
}

// zeroed gives n zeros, in the memory of s where they fit.
func zeroed(s []uint8, n int) []uint8 {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}
