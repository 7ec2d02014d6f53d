package orgsim

import (
	"cmp"
	"encoding/json"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"time"

	"demurrage/internal/image"
)

// What a registry stores, and is billed for: each blob of a repository once as long as any image that refers to it
// exists, and each manifest. Nothing is added up when an image is pushed: a repository's history is made when it is asked
// for, and kept until its images change.

// ecrGone is an image that is no more, and since when (Unix nanoseconds).
type ecrGone struct {
	image *ecrImage
	at    int64
}

// storedStep is a change of what a repository stores.
type storedStep struct{ at, bytes int64 }

// forget remembers an image that was deleted, for the bill.
func (s *ecrImages) forget(im *ecrImage, now time.Time) {
	s.gone = append(s.gone, ecrGone{im, now.UnixNano()})
}

// bury takes a repository with all its images out of the registry; the bill remembers it.
func (e *ecrState) bury(r *ecrRepository, now time.Time) {
	for _, im := range r.ordered {
		r.forget(im, now)
	}
	r.ordered = nil
	r.steps.Store(nil)
	e.remove(r.name)
	e.former = append(e.former, r)
}

// all are the repositories by name, then those that were deleted.
func (e *ecrState) all() []*ecrRepository {
	list := make([]*ecrRepository, 0, len(e.names)+len(e.former))
	for _, name := range e.names {
		list = append(list, e.repositories[name])
	}
	return append(list, e.former...)
}

// ever gives every image that a repository ever had, with when it went (Unix nanoseconds).
func (s *ecrImages) ever(f func(im *ecrImage, to int64)) {
	for _, im := range s.ordered {
		f(im, math.MaxInt64)
	}
	for _, g := range s.gone {
		f(g.image, g.at)
	}
}

// stored gives what an image is stored as: its manifest, configuration and layers.
func (im *ecrImage) stored(f func(digest imageDigest, bytes int64)) {
	raw := im.manifest.bytes()
	f(im.digest, int64(len(raw)))
	type blob struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
	var m struct {
		Config *blob  `json:"config"`
		Layers []blob `json:"layers"`
	}
	if err := json.Unmarshal(raw, &m); err != nil { // it was parsed when it was pushed
		panic(err)
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, b := range m.Layers {
		d, _ := parseDigest(b.Digest)
		f(d, b.Size)
	}
}

// history is how what a repository stores has changed, in the order of time.
func (s *ecrImages) history() []storedStep {
	if steps := s.steps.Load(); steps != nil {
		return *steps
	}
	type life struct{ from, to int64 }
	type content struct {
		bytes int64
		lives []life
	}
	contents := make(map[imageDigest]*content)
	s.ever(func(im *ecrImage, to int64) {
		im.stored(func(d imageDigest, bytes int64) {
			c := contents[d]
			if c == nil {
				c = new(content)
				contents[d] = c
			}
			c.bytes = max(c.bytes, bytes)
			c.lives = append(c.lives, life{im.pushed, to})
		})
	})
	changes := make(map[int64]int64)
	for _, c := range contents {
		slices.SortFunc(c.lives, func(a, b life) int { return cmp.Compare(a.from, b.from) })
		for i := 0; i < len(c.lives); {
			l := c.lives[i]
			for i++; i < len(c.lives) && c.lives[i].from <= l.to; i++ {
				l.to = max(l.to, c.lives[i].to)
			}
			changes[l.from] += c.bytes
			if l.to < math.MaxInt64 {
				changes[l.to] -= c.bytes
			}
		}
	}
	steps := make([]storedStep, 0, len(changes))
	for at, bytes := range changes {
		steps = append(steps, storedStep{at, bytes})
	}
	slices.SortFunc(steps, func(a, b storedStep) int { return cmp.Compare(a.at, b.at) })
	s.steps.Store(&steps)
	return steps
}

// byteTime is what was stored from one time to another, in bytes times nanoseconds.
func byteTime(steps []storedStep, from, to int64) *big.Int {
	var hi, lo uint64
	level, since := int64(0), from
	add := func(until int64) {
		if until = min(until, to); until > since {
			h, l := bits.Mul64(uint64(level), uint64(until-since))
			var carry uint64
			lo, carry = bits.Add64(lo, l, 0)
			hi += h + carry
			since = until
		}
	}
	for _, s := range steps {
		add(s.at)
		level += s.bytes
	}
	add(to)
	sum := new(big.Int).SetUint64(hi)
	return sum.Lsh(sum, 64).Or(sum, new(big.Int).SetUint64(lo))
}

// StoredBytes gives the bytes that each repository stores at a time. Repositories that store nothing are missing. It is
// for tests, and has nothing in common with how bills are made but the images.
func (s *Server) StoredBytes(at time.Time) map[image.Repository]int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make(map[image.Repository]int64)
	for _, reg := range s.allRegions() {
		for _, r := range reg.ecr.all() {
			blobs := make(map[imageDigest]int64)
			r.ever(func(im *ecrImage, to int64) {
				if im.pushed <= at.UnixNano() && at.UnixNano() < to {
					im.stored(func(d imageDigest, bytes int64) { blobs[d] = bytes })
				}
			})
			for _, bytes := range blobs {
				out[image.Repository{Registry: image.Registry{Account: r.account, Region: r.region}, Name: r.name}] += bytes
			}
		}
	}
	return out
}
