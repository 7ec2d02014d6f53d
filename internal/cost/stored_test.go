package cost

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"demurrage/internal/image"
)

func digest(s string) image.Digest { return image.Digest("sha256:" + s) }

// held makes a repository of images written as "name blob,blob": blobs have the size of their name's number, manifests 1
// byte. An image that ends in "-" goes, one that starts with "?" is not known and has 1,000 bytes, one that starts with
// "~" was deleted meanwhile.
func held(images ...string) Holding {
	h := Holding{Contents: &image.Contents{}}
	var blobs []image.Digest
	of := map[image.Digest][]image.Digest{}
	for _, im := range images {
		name, list, _ := strings.Cut(im, " ")
		goes := name[len(name)-1] == '-'
		d := digest(name)
		if name[0] != '~' {
			h.Images = append(h.Images, Fate{d, 1000, goes})
		}
		if name[0] == '?' {
			continue
		}
		of[d] = nil
		for b := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' }) {
			of[d] = append(of[d], digest(b))
			blobs = append(blobs, digest(b))
		}
	}
	slices.Sort(blobs)
	blobs = slices.Compact(blobs)
	for _, b := range blobs {
		size, err := strconv.ParseInt(string(b[len("sha256:"):]), 10, 64)
		if err != nil {
			panic(err)
		}
		h.Contents.Blobs = append(h.Contents.Blobs, image.Blob{Digest: b, Bytes: size})
	}
	for _, d := range slices.Sorted(maps.Keys(of)) {
		c := image.Content{Digest: d, Manifest: 1}
		for _, b := range of[d] {
			c.Blobs = append(c.Blobs, int32(slices.Index(blobs, b)))
		}
		slices.Sort(c.Blobs)
		h.Contents.Images = append(h.Contents.Images, c)
	}
	return h
}

func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		name     string
		mounted  bool
		holdings []Holding
		want     []Stored
	}{
		{"nothing", false, nil, []Stored{}},
		{"an empty repository is known", false, []Holding{{}}, []Stored{{true, 0, 0}}},
		{"one image stays", false, []Holding{held("a 10,20")}, []Stored{{true, 31, 0}}},
		{"one image goes", false, []Holding{held("a- 10,20")}, []Stored{{true, 31, 31}}},
		{"a shared layer stays", false, []Holding{held("a- 10,20", "b 10,30")}, []Stored{{true, 62, 21}}},
		{"two that go share a layer", false, []Holding{held("a- 10,20", "b- 10,30", "c 40")}, []Stored{{true, 103, 62}}},
		{"an index is its manifest", false, []Holding{held("a-", "b- 10", "c 20")}, []Stored{{true, 33, 12}}},
		{"what was deleted meanwhile does not count", false, []Holding{held("a- 10", "~b 10,30")}, []Stored{{true, 11, 11}}},
		{"an image that is not known", false, []Holding{held("a- 10,20", "?b")}, []Stored{{false, 1031, 0}}},
		{"one that goes, not known", false, []Holding{held("a- 10,20", "?b-")}, []Stored{{false, 1031, 0}}},
		{"nothing is known", false, []Holding{{Images: []Fate{{digest("a"), 7, true}, {digest("b"), 8, false}}}}, []Stored{{false, 15, 0}}},
		{"others stay exact", false, []Holding{held("?a"), held("a- 10", "b 20")}, []Stored{{false, 1000, 0}, {true, 32, 11}}},
		{"apart, repositories share nothing", false, []Holding{held("a- 10"), held("a 10")}, []Stored{{true, 11, 11}, {true, 11, 0}}},

		{"mounted: booked on the first", true, []Holding{held("a 10,20"), held("a 10,30")}, []Stored{{true, 31, 0}, {true, 31, 0}}},
		{"mounted: held by another repository", true, []Holding{held("a- 10,20"), held("a 10")}, []Stored{{true, 31, 21}, {true, 1, 0}}},
		{"mounted: goes everywhere", true, []Holding{held("a- 10,20"), held("a- 10,30")}, []Stored{{true, 31, 31}, {true, 31, 31}}},
		{"mounted: the first has it no more", true, []Holding{held("~a 10", "b 20"), held("a- 10")}, []Stored{{true, 21, 0}, {true, 11, 11}}},
		{"mounted: one that stays may share anything", true, []Holding{held("a- 10", "b 20"), held("?a")}, []Stored{{true, 32, 1}, {false, 1000, 0}}},
		{"mounted: one that goes holds nothing", true, []Holding{held("a- 10", "b 20"), held("?a-")}, []Stored{{true, 32, 11}, {false, 1000, 0}}},
		{"mounted: booked where not all is known", true, []Holding{held("a- 10", "?b-"), held("a- 10,20")}, []Stored{{false, 1011, 0}, {true, 21, 21}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Measure(c.holdings, c.mounted); !slices.Equal(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

// A cache that was damaged, or a manifest that lies, makes an image one that is not known.
func TestMeasureDamaged(t *testing.T) {
	for name, damage := range map[string]func(c *image.Contents){
		"place too large":   func(c *image.Contents) { c.Images[0].Blobs[0] = int32(len(c.Blobs)) },
		"negative place":    func(c *image.Contents) { c.Images[0].Blobs[0] = -1 },
		"negative blob":     func(c *image.Contents) { c.Blobs[0].Bytes = -1 },
		"negative manifest": func(c *image.Contents) { c.Images[0].Manifest = -1 },
	} {
		h := held("a- 10", "b 20")
		damage(h.Contents)
		if got, want := Measure([]Holding{h}, false)[0], (Stored{false, 1021, 0}); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// An image that is listed twice is stored once, and stays if either says so.
func TestMeasureTwice(t *testing.T) {
	h := held("a- 10", "b- 20")
	h.Images = append(h.Images, h.Images[0], Fate{h.Images[1].Digest, 1000, false})
	for range 2 {
		if got, want := Measure([]Holding{h}, false)[0], (Stored{true, 32, 11}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		slices.Reverse(h.Images)
	}
}

// registry makes repositories whose images share layers, with stale contents; sizes are those of the contents.
func registry(r *rand.Rand, exact bool) []Holding {
	type blob struct {
		digest image.Digest
		bytes  int64
	}
	pool := make([]blob, 1+r.IntN(60))
	for i := range pool {
		pool[i] = blob{digest(fmt.Sprintf("%016x", r.Uint64())), r.Int64N(1 << 30)}
	}
	holdings := make([]Holding, r.IntN(6))
	for i := range holdings {
		c := &image.Contents{}
		own := map[image.Digest]int64{}
		refs := map[image.Digest][]image.Digest{}
		for range r.IntN(25) {
			of := image.Content{Digest: digest(fmt.Sprintf("%016x", r.Uint64())), Manifest: r.Int64N(5000)}
			f := Fate{Digest: of.Digest, Goes: r.IntN(2) == 0}
			if r.IntN(6) > 0 { // otherwise an index
				f.Bytes = of.Manifest
				for range 1 + r.IntN(8) {
					b := pool[r.IntN(len(pool))]
					if slices.Contains(refs[of.Digest], b.digest) {
						continue
					}
					own[b.digest] = b.bytes
					f.Bytes += b.bytes
					refs[of.Digest] = append(refs[of.Digest], b.digest)
				}
			}
			if exact || r.IntN(20) > 0 {
				c.Images = append(c.Images, of)
			}
			if r.IntN(10) > 0 { // otherwise it was deleted meanwhile
				holdings[i].Images = append(holdings[i].Images, f)
			}
		}
		slices.SortFunc(c.Images, func(a, b image.Content) int { return cmp.Compare(a.Digest, b.Digest) })
		sorted := slices.Sorted(maps.Keys(own))
		for _, d := range sorted {
			c.Blobs = append(c.Blobs, image.Blob{Digest: d, Bytes: own[d]})
		}
		for j := range c.Images {
			for _, d := range refs[c.Images[j].Digest] {
				at, _ := slices.BinarySearch(sorted, d)
				c.Images[j].Blobs = append(c.Images[j].Blobs, int32(at))
			}
			slices.Sort(c.Images[j].Blobs)
		}
		if exact || r.IntN(20) > 0 {
			holdings[i].Contents = c
		}
	}
	return holdings
}

// naive finds the same by sets of digests.
func naive(holdings []Holding, mounted bool) []Stored {
	type key struct {
		repository int
		digest     image.Digest
	}
	stored := make([]Stored, len(holdings))
	alive := map[key]bool{}
	unknownStays := false
	each := func(visit func(i int, f Fate, c *image.Content)) {
		for i, h := range holdings {
			for _, f := range h.Images {
				var found *image.Content
				if h.Contents != nil {
					for j := range h.Contents.Images {
						if h.Contents.Images[j].Digest == f.Digest {
							found = &h.Contents.Images[j]
						}
					}
				}
				visit(i, f, found)
			}
		}
	}
	scope := func(i int) int {
		if mounted {
			return 0
		}
		return i
	}
	for i := range stored {
		stored[i].Exact = true
	}
	each(func(i int, f Fate, c *image.Content) {
		if c == nil {
			stored[i].Exact = false
			unknownStays = unknownStays || !f.Goes
			return
		}
		for _, at := range c.Blobs {
			k := key{scope(i), holdings[i].Contents.Blobs[at].Digest}
			alive[k] = alive[k] || !f.Goes
		}
	})
	booked := map[key]bool{}
	each(func(i int, f Fate, c *image.Content) {
		if c == nil {
			stored[i].Unique += f.Bytes
			return
		}
		stored[i].Unique += c.Manifest
		if f.Goes && stored[i].Exact {
			stored[i].Freed += c.Manifest
		}
		for _, at := range c.Blobs {
			b := holdings[i].Contents.Blobs[at]
			k := key{scope(i), b.Digest}
			if booked[k] {
				continue
			}
			booked[k] = true
			stored[i].Unique += b.Bytes
			if !alive[k] && stored[i].Exact && (!mounted || !unknownStays) {
				stored[i].Freed += b.Bytes
			}
		}
	})
	return stored
}

func sum(stored []Stored) (s Stored) {
	s.Exact = true
	for _, x := range stored {
		s.Exact = s.Exact && x.Exact
		s.Unique += x.Unique
		s.Freed += x.Freed
	}
	return s
}

// copied copies holdings as far as fates go.
func copied(holdings []Holding) []Holding {
	c := slices.Clone(holdings)
	for i := range c {
		c[i].Images = slices.Clone(c[i].Images)
	}
	return c
}

func TestMeasureProperties(t *testing.T) {
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 7))
		exact := seed%2 == 0
		holdings := registry(r, exact)
		apart, shared := Measure(holdings, false), Measure(holdings, true)
		for mounted, got := range map[bool][]Stored{false: apart, true: shared} {
			fail := func(format string, args ...any) {
				t.Helper()
				t.Fatalf("seed %d, mounted %t: %s", seed, mounted, fmt.Sprintf(format, args...))
			}
			if want := naive(holdings, mounted); !slices.Equal(got, want) {
				fail("%+v, want %+v", got, want)
			}
			all := sum(got)
			if exact && !all.Exact {
				fail("not exact")
			}
			for i, s := range got {
				sizes := int64(0) // of what goes; an index's size is without its manifest
				for _, f := range holdings[i].Images {
					if f.Goes {
						sizes += f.Bytes
						if c := holdings[i].Contents; f.Bytes == 0 && c != nil {
							for _, of := range c.Images {
								if of.Digest == f.Digest {
									sizes += of.Manifest
								}
							}
						}
					}
				}
				if s.Freed < 0 || s.Freed > s.Unique || !mounted && s.Freed > sizes {
					fail("%d: %+v is freed by deleting %d", i, s, sizes)
				}
			}

			// Freeing everything frees everything stored, and freeing nothing frees nothing.
			for _, goes := range []bool{true, false} {
				whole := copied(holdings)
				for _, h := range whole {
					for i := range h.Images {
						h.Images[i].Goes = goes
					}
				}
				for i, s := range Measure(whole, mounted) {
					want := Stored{got[i].Exact, got[i].Unique, 0}
					if goes && s.Exact {
						want.Freed = want.Unique
					}
					if s != want {
						fail("all go %t: %d is %+v, want %+v", goes, i, s, want)
					}
				}
			}

			// The order of images does not matter, nor that of repositories but for where shared blobs are booked.
			mixed := copied(holdings)
			for _, h := range mixed {
				r.Shuffle(len(h.Images), func(i, j int) { h.Images[i], h.Images[j] = h.Images[j], h.Images[i] })
			}
			if s := Measure(mixed, mounted); !slices.Equal(s, got) {
				fail("in another order %+v, not %+v", s, got)
			}
			order := r.Perm(len(mixed))
			for i, from := range order {
				mixed[i] = holdings[from]
			}
			again := Measure(mixed, mounted)
			if s := sum(again); s.Unique != all.Unique || exact && s != all {
				fail("in another order %+v, not %+v", s, all)
			}
			for i, from := range order {
				if !mounted && again[i] != got[from] {
					fail("in another order %+v, not %+v", again[i], got[from])
				}
			}

			// One more that stays never frees more, and what is stored is the same.
			more := copied(holdings)
			for range 3 {
				if len(more) == 0 {
					break
				}
				if h := more[r.IntN(len(more))]; len(h.Images) > 0 {
					h.Images[r.IntN(len(h.Images))].Goes = false
				}
			}
			for i, s := range Measure(more, mounted) {
				if s.Freed > got[i].Freed || s.Unique != got[i].Unique {
					fail("with survivors %+v, not %+v", s, got[i])
				}
			}
			// So does one that was pushed meanwhile, whether it is known or not.
			pushed := copied(holdings)
			for i := range pushed {
				of := digest(fmt.Sprintf("%016x", r.Uint64()))
				if c := pushed[i].Contents; c != nil && len(c.Images) > 0 && r.IntN(2) == 0 {
					of = c.Images[r.IntN(len(c.Images))].Digest
				}
				pushed[i].Images = append(pushed[i].Images, Fate{of, 5, false})
			}
			for i, s := range Measure(pushed, mounted) {
				if !mounted && s.Freed > got[i].Freed {
					fail("after a push %+v, not %+v", s, got[i])
				}
			}
			if s := sum(Measure(pushed, mounted)); s.Freed > all.Freed {
				fail("after a push %+v, not %+v", s, all)
			}
		}
		if a, s := sum(apart), sum(shared); s.Unique > a.Unique || exact && s.Freed > a.Freed {
			t.Fatalf("seed %d: mounted %+v, apart %+v", seed, s, a)
		}
	}
}

func BenchmarkMeasure(b *testing.B) {
	r := rand.New(rand.NewPCG(8, 9))
	const images, layers = 100_000, 10
	c := &image.Contents{Blobs: make([]image.Blob, images*4), Images: make([]image.Content, images)}
	for i := range c.Blobs {
		c.Blobs[i] = image.Blob{Digest: digest(fmt.Sprintf("%064x", i)), Bytes: r.Int64N(1 << 28)}
	}
	h := Holding{Contents: c, Images: make([]Fate, images)}
	for i := range c.Images {
		d := digest(fmt.Sprintf("%064x", i))
		places := make([]int32, layers)
		for j := range places {
			places[j] = r.Int32N(int32(len(c.Blobs)))
		}
		slices.Sort(places)
		c.Images[i] = image.Content{Digest: d, Manifest: 2000, Blobs: slices.Compact(places)}
		h.Images[i] = Fate{d, 1 << 28, r.IntN(2) == 0}
	}
	r.Shuffle(images, func(i, j int) { h.Images[i], h.Images[j] = h.Images[j], h.Images[i] })
	for name, mounted := range map[string]bool{"apart": false, "mounted": true} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Measure([]Holding{h}, mounted)
			}
		})
	}
}
