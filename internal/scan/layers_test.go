package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"demurrage/internal/image"
)

// self is who tests scan accountA as.
const self = "arn:aws:iam::" + accountA + ":root"

// exclude registers us as a pull-time exclusion.
func (w *world) exclude() {
	w.t.Helper()
	must(w.ecr().RegisterPullTimeUpdateExclusion(w.t.Context(), &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: aws.String(self)}))(w.t)
}

// scanLayers scans the one planned target in a mode.
func (w *world) scanLayers(mode Layers) *Snapshot {
	w.t.Helper()
	return w.run(w.layersOptions(mode))[image.Registry{Account: accountA, Region: tokyo}]
}

func (w *world) layersOptions(mode Layers) Options {
	o := w.options(Target{Account: accountA, Region: tokyo, Planned: true})
	o.Layers = mode
	o.OwnPrincipal = func(string) string { return self }
	return o
}

// layered is an image of layers by name, each as large as its name is long, beside a configuration of its own.
func layered(name string, layers ...string) string {
	list := []any{}
	for _, l := range layers {
		list = append(list, descriptor(layerType, l, len(l)))
	}
	b, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": image.MediaTypeOCIManifest,
		"config": descriptor("application/vnd.oci.image.config.v1+json", "config of "+name, 100), "layers": list,
	})
	return string(b)
}

// wantContents makes, by itself, what the manifests of a repository amount to.
func wantContents(t *testing.T, repository string, manifests ...string) image.Contents {
	t.Helper()
	sizes := make(map[string]int64)
	of := make(map[string][]string)
	for _, text := range manifests {
		d := digest.FromString(text).String()
		of[d] = nil
		var m struct {
			Config *struct {
				Digest string
				Size   int64
			}
			Layers []struct {
				Digest string
				Size   int64
			}
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		if m.Config == nil {
			continue
		}
		sizes[m.Config.Digest] = m.Config.Size
		of[d] = append(of[d], m.Config.Digest)
		for _, l := range m.Layers {
			sizes[l.Digest] = l.Size
			of[d] = append(of[d], l.Digest)
		}
	}
	c := image.Contents{
		Repository: image.Repository{Registry: image.Registry{Account: accountA, Region: tokyo}, Name: repository},
		Blobs:      []image.Blob{}, Images: []image.Content{},
	}
	blobs := slices.Sorted(maps.Keys(sizes))
	for _, b := range blobs {
		c.Blobs = append(c.Blobs, image.Blob{Digest: image.Digest(b), Bytes: sizes[b]})
	}
	length := make(map[string]int64)
	for _, text := range manifests {
		length[digest.FromString(text).String()] = int64(len(text))
	}
	for _, d := range slices.Sorted(maps.Keys(of)) {
		var places []int32
		for i, b := range blobs {
			if slices.Contains(of[d], b) {
				places = append(places, int32(i))
			}
		}
		c.Images = append(c.Images, image.Content{Digest: image.Digest(d), Manifest: length[d], Blobs: places})
	}
	return c
}

// asked counts, by digest, how often a manifest was asked for. It is a hook.
type asked map[string]int

func (a asked) hook(op string, body []byte) *tamper {
	if op == "BatchGetImage" {
		var in struct {
			ImageIds []struct{ ImageDigest string }
		}
		if err := json.Unmarshal(body, &in); err != nil {
			panic(err)
		}
		for _, id := range in.ImageIds {
			a[id.ImageDigest]++
		}
	}
	return nil
}

// shelf is a registry of two repositories that share an image and layers, with indexes, a referrer and an archived image.
type shelf struct {
	*world
	app, other []string // manifests that can be read
	archived   string   // digest, of other
}

func newShelf(t *testing.T) *shelf {
	s := &shelf{world: newWorld(t)}
	s.SetClock(clock(0))
	put := func(repository, text, tag string) string {
		d := s.push(repository, text, tag)
		if repository == "app" {
			s.app = append(s.app, text)
		} else {
			s.other = append(s.other, text)
		}
		return d
	}
	s.repository("app")
	s.repository("other")
	s.repository("empty")
	amd := put("app", layered("amd", "base", "base", "own of amd"), "") // the same layer twice
	arm := put("app", layered("arm", "base for arm", "own of arm"), "")
	inner := put("app", indexManifest(amd, arm), "")
	put("app", indexManifest(inner), "v1")
	put("app", manifest("sbom", inner), "")
	put("other", layered("amd", "base", "base", "own of amd"), "copy")
	put("other", layered("second", "base", "more"), "v2")
	put("other", indexManifest(), "nothing")
	s.archived = s.push("other", layered("archived", "base", "old"), "old")
	s.archive("other", s.archived)
	return s
}

func (s *shelf) want(t *testing.T) []image.Contents {
	return []image.Contents{wantContents(t, "app", s.app...), wantContents(t, "empty"), wantContents(t, "other", s.other...)}
}

// TestLayersExact: where our role is excluded, or wherever it is told to, a scan reads every manifest once in an image's life, tells what
// the images are stored as, and leaves no pull for the planner.
func TestLayersExact(t *testing.T) {
	for _, tt := range []struct {
		name     string
		excluded bool
		mode     Layers
	}{{"by default", true, ""}, {"excluded", true, LayersExact}, {"not excluded", false, LayersExact}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			if tt.excluded {
				s.exclude()
			}
			s.SetClock(clock(1))
			counts := make(asked)
			s.tamper(counts.hook)
			for run := range 3 {
				s.SetClock(clock(2 + run))
				before := s.calls(nil)
				snap := s.scanLayers(tt.mode)
				wantOK(t, snap)
				if snap.LayersMode != LayersExact || snap.Mounted {
					t.Errorf("mode %q, mounted %v", snap.LayersMode, snap.Mounted)
				}
				if diff := cmp.Diff(s.want(t), snap.Contents); diff != "" {
					t.Errorf("contents of run %d (-want +got):\n%s", run, diff)
				}
				if n := s.calls(before)["ecr:BatchGetImage"]; (run > 0) != (n == 0) {
					t.Errorf("%d BatchGetImage in run %d", n, run)
				}
				for _, inv := range snap.Inventories {
					for _, img := range inv.Images {
						if !img.LastPulledAt.IsZero() || img.Unreadable != "" {
							t.Errorf("run %d, %s: %+v", run, inv.Repository.Name, img)
						}
					}
				}
				said := slices.ContainsFunc(snap.Notes, func(n image.Note) bool { return strings.Contains(n.Text, "not registered as a pull-time exclusion") })
				if said != (!tt.excluded && run == 0) {
					t.Errorf("notes of run %d: %+v", run, snap.Notes)
				}
			}
			for _, text := range slices.Concat(s.app, s.other) {
				if d := digest.FromString(text).String(); counts[d] != 1 {
					t.Errorf("%s was asked for %d times: %s", d, counts[d], text)
				}
			}
			if n := counts[s.archived]; n != 0 {
				t.Errorf("the archived image was asked for %d times", n)
			}
			if at := s.recorded("app", digest.FromString(s.app[0]).String()); at.IsZero() != tt.excluded {
				t.Fatalf("ECR has recorded %v", at)
			}
			// What is pushed later is read alone, and somebody's pull is one.
			s.other = append(s.other, layered("third", "base", "newest"))
			third := s.push("other", s.other[len(s.other)-1], "v3")
			later := clock(5).Add(time.Hour)
			s.SetClock(later)
			if !tt.excluded {
				s.pull("app", digest.FromString(s.app[0]).String())
			}
			clear(counts)
			snap := s.scanLayers(tt.mode)
			if diff := cmp.Diff(s.want(t), snap.Contents); diff != "" {
				t.Errorf("contents (-want +got):\n%s", diff)
			}
			if !maps.Equal(counts, asked{third: 1}) {
				t.Errorf("asked for: %v", counts)
			}
			if at := imageOf(t, repositoryOf(t, snap, "app"), digest.FromString(s.app[0]).String()).LastPulledAt; !tt.excluded && !at.Equal(later) {
				t.Errorf("somebody's pull: %v", at)
			}
			// What was known before it was archived stays known.
			s.archive("other", third)
			if diff := cmp.Diff(s.want(t), s.scanLayers(tt.mode).Contents); diff != "" {
				t.Errorf("contents (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLayersEstimate reads nothing that is not read anyway, and tells what is known; off tells nothing.
func TestLayersEstimate(t *testing.T) {
	s := newShelf(t)
	counts := make(asked)
	s.tamper(counts.hook)
	snap := s.scanLayers("") // nobody is excluded
	wantOK(t, snap)
	indexes := func(texts []string) []string {
		return slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return !strings.Contains(text, `"manifests"`) })
	}
	want := []image.Contents{wantContents(t, "app", indexes(s.app)...), wantContents(t, "empty"), wantContents(t, "other", indexes(s.other)...)}
	if diff := cmp.Diff(want, snap.Contents); diff != "" || snap.LayersMode != LayersEstimate {
		t.Errorf("mode %q, contents (-want +got):\n%s", snap.LayersMode, diff)
	}
	if len(counts) != 3 {
		t.Errorf("asked for: %v", counts)
	}
	before := s.calls(nil)
	off := s.scanLayers(LayersOff)
	if off.Contents != nil || off.LayersMode != LayersOff || off.Mounted || s.calls(before)["ecr:GetAccountSetting"] != 0 {
		t.Errorf("off: %+v", off)
	}
	if got := s.scanLayers(LayersExact); !cmp.Equal(s.want(t), got.Contents) {
		t.Errorf("exact: %+v", got.Contents)
	}
	clear(counts)
	if got := s.scanLayers(LayersEstimate); !cmp.Equal(s.want(t), got.Contents) || got.LayersMode != LayersEstimate || len(counts) != 0 {
		t.Errorf("estimate with all known: asked for %v: %+v", counts, got.Contents)
	}
	if _, err := s.looks().Registry(t.Context(), here, []string{"app"}); err != nil || s.calls(before)["ecr:GetAccountSetting"] != 2 {
		t.Errorf("a look asks for layers: %v, %v", err, s.calls(before))
	}
	// What an older version remembers has children alone.
	delete(s.mem.m, accountA+tokyo+layersCacheName)
	if got := s.scanLayers(LayersExact); !cmp.Equal(s.want(t), got.Contents) {
		t.Errorf("exact after an older version: %+v", got.Contents)
	}
}

// TestLayersNotReadable: whatever goes wrong, what images are stored as is only not known: their inventory and the coverage
// are what they would be without, and the next run tries again.
func TestLayersNotReadable(t *testing.T) {
	for _, tt := range []struct {
		name string
		bad  func(s *shelf) *tamper
		note string
	}{
		{"denied", func(*shelf) *tamper { return &tamper{code: "AccessDeniedException"} }, "could not be read in 1 of its repositories: other: BatchGetImage: AccessDenied"},
		{"gone", func(*shelf) *tamper { return &tamper{code: "RepositoryNotFoundException"} }, ""},
		{"failures", func(*shelf) *tamper {
			return &tamper{change: edit(func(m map[string]any) {
				id := m["images"].([]any)[0].(map[string]any)["imageId"]
				m["images"] = []any{}
				m["failures"] = []any{map[string]any{"imageId": id, "failureCode": "KmsError", "failureReason": "no key"}}
			})}
		}, ""},
		{"other content", func(*shelf) *tamper {
			return &tamper{change: edit(func(m map[string]any) {
				for _, img := range m["images"].([]any) {
					img.(map[string]any)["imageManifest"] = "{}"
				}
			})}
		}, ""},
		{"archived meanwhile", func(s *shelf) *tamper {
			return &tamper{before: func() { s.archive("other", digest.FromString(s.other[1]).String()) }}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			s.exclude()
			plain := s.scanLayers(LayersEstimate)
			var tampered bool
			s.tamper(func(op string, body []byte) *tamper {
				if op != "BatchGetImage" || !strings.Contains(string(body), `"other"`) || tampered && tt.name == "archived meanwhile" {
					return nil
				}
				tampered = true
				return tt.bad(s)
			})
			snap := s.scanLayers("")
			s.tamper(nil)
			wantOK(t, snap)
			if !tampered {
				t.Fatal("nothing was tampered with")
			}
			if diff := cmp.Diff(plain.Inventories, snap.Inventories); diff != "" {
				t.Errorf("inventories (-estimate +exact):\n%s", diff)
			}
			if diff := cmp.Diff(s.want(t)[:2], snap.Contents[:2]); diff != "" {
				t.Errorf("contents of the others (-want +got):\n%s", diff)
			}
			// The copy of app's image is known from there, and the index was read before.
			if got := snap.Contents[2].Images; len(got) != 2 {
				t.Errorf("contents: %+v", got)
			}
			noted := slices.IndexFunc(snap.Notes, func(n image.Note) bool { return strings.Contains(n.Text, "stored as") })
			if (noted >= 0) != (tt.note != "") || noted >= 0 && !strings.Contains(snap.Notes[noted].Text, tt.note) {
				t.Errorf("notes: %+v", snap.Notes)
			}
			if tt.name == "archived meanwhile" {
				return
			}
			if diff := cmp.Diff(s.want(t), s.scanLayers("").Contents); diff != "" {
				t.Errorf("contents of the next run (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLayersOfCopies: an image that cannot be read in one repository is read in the next.
func TestLayersOfCopies(t *testing.T) {
	w := newWorld(t)
	w.exclude()
	text := layered("same", "base")
	for i := range 4 {
		name := fmt.Sprint("copy", i)
		w.repository(name)
		w.push(name, text, "v1")
	}
	w.tamper(func(op string, body []byte) *tamper {
		if op == "BatchGetImage" && !strings.Contains(string(body), `"copy2"`) {
			return &tamper{code: "AccessDeniedException"}
		}
		return nil
	})
	snap := w.scanLayers("")
	for i, got := range snap.Contents {
		if diff := cmp.Diff(wantContents(t, fmt.Sprint("copy", i), text), got); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
	}
}

// TestLayersOpaque: a manifest that does not say what its image is stored as is not read twice.
func TestLayersOpaque(t *testing.T) {
	w := newWorld(t)
	w.exclude()
	w.repository("app")
	odd := w.push("app", strings.Replace(layered("odd", "base"), `"size":4`, `"size":9000000000000`, 1), "v1")
	counts := make(asked)
	w.tamper(counts.hook)
	for range 2 {
		snap := w.scanLayers("")
		wantOK(t, snap)
		if diff := cmp.Diff([]image.Contents{wantContents(t, "app")}, snap.Contents); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
	}
	if counts[odd] != 1 {
		t.Errorf("asked for: %v", counts)
	}
}

// TestLayersKilled: a run that is cancelled between two reads, or killed, remembers that it read, and what.
func TestLayersKilled(t *testing.T) {
	for _, killed := range []bool{false, true} {
		t.Run(fmt.Sprint("killed ", killed), func(t *testing.T) {
			w := newWorld(t)
			now := time.Now().UTC().Truncate(time.Second) // who is killed knows no clock but its own
			w.SetClock(now)
			w.repository("big")
			w.generate("big", 1201)
			o := w.layersOptions(LayersExact)
			ctx, cancel := context.WithCancel(t.Context())
			n := 0
			var atKill map[string][]byte
			w.tamper(func(op string, _ []byte) *tamper {
				if op != "BatchGetImage" {
					return nil
				}
				if n++; n < 6 {
					return nil
				}
				return &tamper{change: func(answer []byte) []byte {
					if atKill == nil {
						w.mem.mu.Lock()
						atKill = maps.Clone(w.mem.m)
						w.mem.mu.Unlock()
						cancel()
					}
					return answer
				}}
			})
			o.Sink = func(context.Context, *Snapshot) error { t.Error("half a target was stored"); return nil }
			if err := Run(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
			w.tamper(nil)
			if killed {
				w.mem.m = atKill
			}
			read := 0
			for _, d := range w.digests("big") {
				if !w.recorded("big", d).IsZero() {
					read++
				}
			}
			if read < 200 || read == 1201 { // three more calls are in flight with the sixth
				t.Fatalf("%d images were read", read)
			}
			before := w.calls(nil)
			snap := w.scanLayers(LayersEstimate)
			for _, img := range repositoryOf(t, snap, "big").Images {
				if !img.LastPulledAt.IsZero() {
					t.Fatalf("pulled: %+v", img)
				}
			}
			if known := len(snap.Contents[0].Images); killed && known > 0 || !killed && known < 200 {
				t.Errorf("%d are known", known)
			}
			if n := w.calls(before)["ecr:BatchGetImage"]; n != 0 {
				t.Errorf("%d BatchGetImage", n)
			}
			if got := w.scanLayers(LayersExact).Contents[0]; len(got.Images) != 1201 || len(got.Blobs) != 2402 {
				t.Errorf("%d images, %d blobs", len(got.Images), len(got.Blobs))
			}
		})
	}
}

// digests lists the images of a repository.
func (w *world) digests(repository string) (digests []string) {
	w.t.Helper()
	p := ecr.NewListImagesPaginator(w.ecr(), &ecr.ListImagesInput{RepositoryName: &repository})
	for p.HasMorePages() {
		for _, id := range must(p.NextPage(w.t.Context()))(w.t).ImageIds {
			digests = append(digests, *id.ImageDigest)
		}
	}
	return digests
}

// TestLayersForgotten: what is gone is not remembered, and what merely could not be listed is.
func TestLayersForgotten(t *testing.T) {
	s := newShelf(t)
	s.exclude()
	s.scanLayers("")
	kept := func() (c layersCache) {
		t.Helper()
		v := cached[layersCache]{}
		if err := json.Unmarshal(s.mem.m[accountA+tokyo+layersCacheName], &v); err != nil {
			t.Fatal(err)
		}
		return v.Value
	}
	all := kept()
	if len(all.Images) != 7 || len(all.Blobs) != 10 {
		t.Errorf("cache: %+v", all)
	}
	for _, op := range []string{"DescribeImages", "DescribeRepositories"} {
		s.tamper(func(o string, _ []byte) *tamper {
			if o == op {
				return &tamper{code: "AccessDeniedException"}
			}
			return nil
		})
		s.scanLayers("")
		s.tamper(nil)
		if diff := cmp.Diff(all, kept()); diff != "" {
			t.Errorf("without %s (-before +after):\n%s", op, diff)
		}
	}
	must(s.ecr().DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app"), Force: true}))(t)
	want := []image.Contents{wantContents(t, "empty"), wantContents(t, "other", s.other...)}
	for range 2 {
		before := s.calls(nil)
		if diff := cmp.Diff(want, s.scanLayers("").Contents); diff != "" {
			t.Errorf("contents (-want +got):\n%s", diff)
		}
		if n := s.calls(before)["ecr:BatchGetImage"]; n != 0 {
			t.Errorf("%d BatchGetImage", n)
		}
	}
	if c := kept(); len(c.Images) != 3 || len(c.Blobs) != 5 {
		t.Errorf("cache: %+v", c)
	}
}

// TestBlobMounting: only what ECR says is disabled is.
func TestBlobMounting(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		tamper      *tamper
		mounted     bool
		noted       string
	}{
		{"disabled", "DISABLED", nil, false, ""},
		{"enabled", "ENABLED", nil, true, ""},
		{"denied", "DISABLED", &tamper{code: "AccessDeniedException"}, true, "AccessDeniedException"},
		{"unheard of", "DISABLED", &tamper{change: edit(func(m map[string]any) { m["value"] = "PARTLY" })}, true, `"PARTLY"`},
		{"nothing", "DISABLED", &tamper{change: edit(func(m map[string]any) { clear(m) })}, true, `""`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _, _, _, _ := nested(t)
			must(w.ecr().PutAccountSetting(t.Context(), &ecr.PutAccountSettingInput{Name: aws.String("BLOB_MOUNTING"), Value: &tt.value}))(t)
			w.tamper(func(op string, _ []byte) *tamper {
				if op == "GetAccountSetting" {
					return tt.tamper
				}
				return nil
			})
			snap := w.scanLayers("")
			wantOK(t, snap)
			if snap.Mounted != tt.mounted {
				t.Errorf("mounted: %v", snap.Mounted)
			}
			noted := slices.IndexFunc(snap.Notes, func(n image.Note) bool { return strings.Contains(n.Text, "BLOB_MOUNTING") })
			if (noted >= 0) != (tt.noted != "") || noted >= 0 && !strings.Contains(snap.Notes[noted].Text, tt.noted) {
				t.Errorf("notes: %+v", snap.Notes)
			}
		})
	}
}

func TestParseLayers(t *testing.T) {
	const a, b = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	for _, tt := range []struct {
		name, text string
		want       []image.Blob
		wantErr    string
	}{
		{"image", `{"config":{"digest":"` + a + `","size":3},"layers":[{"digest":"` + b + `","size":4}]}`, []image.Blob{{Digest: b, Bytes: 4}, {Digest: a, Bytes: 3}}, ""},
		{"no layers", `{"config":{"digest":"` + a + `","size":0},"layers":[]}`, []image.Blob{{Digest: a}}, ""},
		{"artifact manifest", `{"blobs":[{"digest":"` + b + `","size":4}]}`, []image.Blob{{Digest: b, Bytes: 4}}, ""},
		{"foreign layer", `{"config":{"digest":"` + a + `","size":3},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"` + b + `","size":4}]}`, []image.Blob{{Digest: a, Bytes: 3}}, ""},
		{"nondistributable layer", `{"config":{"digest":"` + a + `","size":3},"layers":[{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd","digest":"` + b + `","size":4}]}`, []image.Blob{{Digest: a, Bytes: 3}}, ""},
		{"index", indexManifest(a, b), nil, ""},
		{"empty index", indexManifest(), nil, ""},
		{"both", `{"manifests":[],"config":{"digest":"` + a + `","size":3}}`, nil, "or both"},
		{"neither", `{"schemaVersion":1,"fsLayers":[]}`, nil, "neither"},
		{"no size", `{"layers":[{"digest":"` + a + `"}]}`, nil, "no size that can be"},
		{"negative size", `{"layers":[{"digest":"` + a + `","size":-1}]}`, nil, "no size that can be"},
		{"huge size", `{"layers":[{"digest":"` + a + `","size":9223372036854775807}]}`, nil, "no size that can be"},
		{"fraction", `{"layers":[{"digest":"` + a + `","size":1.5}]}`, nil, "cannot be parsed"},
		{"bad digest", `{"layers":[{"digest":"sha512:00","size":1}]}`, nil, "not a sha256 digest"},
		{"no JSON", "<html>", nil, "cannot be parsed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseLayers(tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("blobs (-want +got):\n%s", diff)
			}
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

// TestLayersRemembered: whatever comes and goes, in whichever order it is read, what is known is what the manifests say.
func TestLayersRemembered(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := &work{opts: &Options{Cache: &memoryCache{m: map[string][]byte{}}}}
		w.Account, w.Region = accountA, tokyo
		texts := make(map[string]map[string]string) // by repository and digest
		for range 6 {
			l := loadLayers(t.Context(), w, LayersExact)
			for i := range 3 {
				name := fmt.Sprint("app", i)
				if texts[name] == nil {
					texts[name] = make(map[string]string)
				}
				for range r.IntN(6) {
					var layers []string
					for range 1 + r.IntN(5) {
						layers = append(layers, fmt.Sprint("layer ", r.IntN(20)))
					}
					text := layered(fmt.Sprint(r.IntN(10)), layers...)
					texts[name][digest.FromString(text).String()] = text
				}
				maps.DeleteFunc(texts[name], func(string, string) bool { return r.IntN(4) == 0 })
			}
			var found []image.Inventory
			for name, of := range texts {
				inv := image.Inventory{Repository: wantContents(t, name).Repository}
				for d, text := range of {
					img := image.Image{Digest: image.Digest(d)}
					if l.wants(&img) {
						l.learn(w, img.Digest, text)
					}
					inv.Images = append(inv.Images, img)
				}
				found = append(found, inv)
			}
			check := func() {
				t.Helper()
				for i := range found {
					name := found[i].Repository.Name
					if diff := cmp.Diff(wantContents(t, name, slices.Collect(maps.Values(texts[name]))...), l.contents(&found[i])); diff != "" {
						t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
					}
				}
			}
			check()
			l.forgetOthers(found)
			check()
			used := make(map[image.Digest]bool)
			for i := range found {
				for _, b := range l.contents(&found[i]).Blobs {
					used[b.Digest] = true
				}
			}
			if len(l.blobs) < len(used) || len(l.places) != len(l.blobs) {
				t.Fatalf("%d blobs, %d places, %d used", len(l.blobs), len(l.places), len(used))
			}
			l.save(t.Context(), w)
		}
	}
}

// BenchmarkLayersKnown: a registry of 100,000 images of which everything is known.
func BenchmarkLayersKnown(b *testing.B) {
	w := &work{opts: &Options{Cache: &memoryCache{m: map[string][]byte{}}}}
	l := loadLayers(b.Context(), w, LayersExact)
	inv := image.Inventory{}
	for i := range 100_000 {
		var layers []string
		for j := range 8 {
			layers = append(layers, fmt.Sprint("layer ", i/(j+1), " ", j))
		}
		text := layered(fmt.Sprint(i), layers...)
		d := image.Digest(digest.FromString(text))
		l.learn(w, d, text)
		inv.Images = append(inv.Images, image.Image{Digest: d})
	}
	l.save(b.Context(), w)
	b.ReportAllocs()
	for b.Loop() {
		l := loadLayers(b.Context(), w, LayersExact)
		if c := l.contents(&inv); len(c.Images) != len(inv.Images) {
			b.Fatal(len(c.Images))
		}
		l.forgetOthers([]image.Inventory{inv})
	}
}
