package scan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"demurrage/internal/image"
)

// inventory takes an inventory as it is taken just before a deletion.
func (w *world) inventory(repositories ...string) map[string]*image.Inventory {
	w.t.Helper()
	snap, err := w.looks().Registry(w.t.Context(), here, repositories)
	if err != nil {
		w.t.Fatal(err)
	}
	found := make(map[string]*image.Inventory)
	for i := range snap.Inventories {
		found[snap.Inventories[i].Repository.Name] = &snap.Inventories[i]
	}
	return found
}

// all are the images of repositories.
func all(inventories map[string]*image.Inventory) map[string][]*image.Image {
	images := make(map[string][]*image.Image)
	for name, inv := range inventories {
		for i := range inv.Images {
			images[name] = append(images[name], &inv.Images[i])
		}
	}
	return images
}

// recorded is the pull time that ECR has of an image, whoever pulled it.
func (w *world) recorded(repository, digest string) time.Time {
	w.t.Helper()
	out := must(w.ecr().DescribeImages(w.t.Context(), &ecr.DescribeImagesInput{RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &digest}}}))(w.t)
	return aws.ToTime(out.ImageDetails[0].LastRecordedPullTime).UTC()
}

func (w *world) archive(repository, digest string) {
	w.t.Helper()
	must(w.ecr().UpdateImageStorageClass(w.t.Context(), &ecr.UpdateImageStorageClassInput{
		RepositoryName: &repository, ImageId: &ecrtypes.ImageIdentifier{ImageDigest: &digest}, TargetStorageClass: ecrtypes.TargetStorageClassArchive,
	}))(w.t)
}

// fetched collects what Manifests gives.
type fetched map[string]string

func (f fetched) take(repository string, img *image.Image, text string) error {
	f[repository+"@"+string(img.Digest)] = text
	return nil
}

// TestManifests: they are those of the images, and fetching them is nobody's pull, in the next look and in the next scan.
// What others pull before or later is.
func TestManifests(t *testing.T) {
	w, outer, inner, leaf, sbom := nested(t)
	w.repository("other")
	plain := w.push("other", manifest("other", ""), "v1")
	archived := w.push("other", manifest("archived", ""), "old")
	w.archive("other", archived)
	w.scan()
	w.SetClock(clock(1))
	w.pull("app", leaf)
	o := w.options(here)
	o.Sources = FastSources()
	for day := 2; day < 4; day++ { // a second time too
		w.SetClock(clock(day))
		got := make(fetched)
		before := w.calls(nil)
		if err := Manifests(t.Context(), o, here, all(w.inventory("app", "other")), got.take); err != nil {
			t.Fatal(err)
		}
		calls := w.calls(before)
		if calls["ecr:BatchGetImage"] != 2 {
			t.Errorf("calls: %v", calls)
		}
		want := fetched{
			"app@" + outer: indexManifest(inner), "app@" + inner: indexManifest(leaf), "app@" + leaf: manifest("leaf", ""),
			"app@" + sbom: manifest("sbom", inner), "other@" + plain: manifest("other", ""),
		}
		if !maps.Equal(got, want) {
			t.Errorf("manifests: %v", got)
		}
		if got := w.recorded("app", sbom); !got.Equal(clock(day)) {
			t.Fatalf("ECR has recorded %v", got)
		}
		for _, look := range []func() map[string]*image.Inventory{
			func() map[string]*image.Inventory { return w.inventory("app", "other") },
			func() map[string]*image.Inventory {
				snap := w.scan()
				return map[string]*image.Inventory{"app": repositoryOf(t, snap, "app"), "other": repositoryOf(t, snap, "other")}
			},
		} {
			found := look()
			for _, d := range []string{outer, inner, sbom} {
				if img := imageOf(t, found["app"], d); !img.LastPulledAt.IsZero() {
					t.Errorf("pulled: %+v", img)
				}
			}
			if img := imageOf(t, found["app"], leaf); !img.LastPulledAt.Equal(clock(1)) {
				t.Errorf("leaf: %+v", img)
			}
			if img := imageOf(t, found["other"], plain); !img.LastPulledAt.IsZero() {
				t.Errorf("pulled: %+v", img)
			}
		}
	}
	later := clock(3).Add(2 * time.Minute)
	w.SetClock(later)
	w.pull("app", sbom)
	w.pull("app", leaf)
	for range 2 {
		inv := w.inventory("app")["app"]
		if !imageOf(t, inv, sbom).LastPulledAt.Equal(later) || !imageOf(t, inv, leaf).LastPulledAt.Equal(later) || !imageOf(t, inv, outer).LastPulledAt.IsZero() {
			t.Errorf("after somebody's pull: %+v", inv.Images)
		}
	}
}

// TestManyManifests takes a call for each hundred of those that can be pulled.
func TestManyManifests(t *testing.T) {
	w := newWorld(t)
	w.repository("big")
	w.generate("big", 251)
	images := all(w.inventory("big"))
	for _, img := range images["big"][:50] {
		w.archive("big", string(img.Digest))
		img.Status = image.Archived
	}
	got := make(fetched)
	if err := Manifests(t.Context(), w.options(here), here, images, got.take); err != nil || len(got) != 201 {
		t.Errorf("%d manifests, %v", len(got), err)
	}
	if n := w.calls(nil)["ecr:BatchGetImage"]; n != 3 {
		t.Errorf("%d BatchGetImage", n)
	}
	before := w.calls(nil)
	if err := Manifests(t.Context(), w.options(here), here, map[string][]*image.Image{"big": images["big"][:50], "none": nil}, got.take); err != nil {
		t.Error(err)
	}
	if calls := w.calls(before); len(calls) != 0 {
		t.Errorf("calls: %v", calls)
	}
}

// TestManifestsThatCannotBeHad are passed over or an error, keep no other from being fetched, and what was read is
// remembered.
func TestManifestsThatCannotBeHad(t *testing.T) {
	seed := func(t *testing.T) (w *world, images map[string][]*image.Image, digests []string) {
		w = newWorld(t)
		w.SetClock(clock(0))
		for i, name := range []string{"aa", "bb", "cc"} {
			w.repository(name)
			digests = append(digests, w.push(name, manifest(fmt.Sprint("image ", i), ""), "v1"))
		}
		w.SetClock(clock(1))
		return w, all(w.inventory("aa", "bb", "cc")), digests
	}
	answer := func(change func(m map[string]any)) func(w *world) {
		return func(w *world) {
			w.tamper(func(op string, body []byte) *tamper {
				if op != "BatchGetImage" || !strings.Contains(string(body), `"repositoryName":"bb"`) {
					return nil
				}
				return &tamper{change: edit(change)}
			})
		}
	}
	for _, tt := range []struct {
		name    string
		spoil   func(w *world)
		read    bool // the manifest of bb was given, good or bad
		wantErr string
	}{
		{"failure", answer(func(m map[string]any) {
			id := m["images"].([]any)[0].(map[string]any)["imageId"]
			m["images"], m["failures"] = []any{}, []any{map[string]any{"imageId": id, "failureCode": "ImageNotFound"}}
		}), false, ""},
		{"no answer", answer(func(m map[string]any) { m["images"] = []any{} }), false, ""},
		{"another image", answer(func(m map[string]any) {
			m["images"].([]any)[0].(map[string]any)["imageId"].(map[string]any)["imageDigest"] = "sha256:" + strings.Repeat("0", 64)
		}), false, ""},
		{"other content", answer(func(m map[string]any) { m["images"].([]any)[0].(map[string]any)["imageManifest"] = "{}" }), true, ""},
		{"deleted image", func(w *world) {
			must(w.ecr().BatchDeleteImage(w.t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: aws.String("bb"), ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("v1")}}}))(w.t)
		}, false, ""},
		{"deleted repository", func(w *world) {
			must(w.ecr().DeleteRepository(w.t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("bb"), Force: true}))(w.t)
		}, false, ""},
		{"denied", func(w *world) {
			w.tamper(func(op string, body []byte) *tamper {
				if op == "BatchGetImage" && strings.Contains(string(body), `"repositoryName":"bb"`) {
					return &tamper{code: "AccessDeniedException"}
				}
				return nil
			})
		}, false, "repository bb: BatchGetImage: operation error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, images, digests := seed(t)
			tt.spoil(w)
			got := make(fetched)
			err := Manifests(t.Context(), w.options(here), here, images, got.take)
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if want := []string{"aa@" + digests[0], "cc@" + digests[2]}; !slices.Equal(sortedKeys(got), want) {
				t.Errorf("manifests of %v", sortedKeys(got))
			}
			w.tamper(nil)
			for name, inv := range w.inventory("aa", "cc") {
				if !inv.Images[0].LastPulledAt.IsZero() {
					t.Errorf("%s was pulled at %v", name, inv.Images[0].LastPulledAt)
				}
			}
			if !tt.read {
				return
			}
			if inv := w.inventory("bb")["bb"]; !inv.Images[0].LastPulledAt.IsZero() || w.recorded("bb", digests[1]).IsZero() {
				t.Errorf("bb was pulled at %v", inv.Images[0].LastPulledAt)
			}
		})
	}

	// It ends in the middle.
	for _, name := range []string{"f fails", "interrupted", "interrupted by the call", "no account"} {
		t.Run(name, func(t *testing.T) {
			w, images, digests := seed(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			o := w.options(here)
			switch name {
			case "no account":
				o.Config = func(context.Context, string, string) (aws.Config, error) { return aws.Config{}, errTest }
			case "interrupted by the call":
				w.tamper(func(op string, _ []byte) *tamper {
					if op == "BatchGetImage" {
						cancel(errTest)
					}
					return nil
				})
			}
			n := 0
			err := Manifests(ctx, o, here, images, func(string, *image.Image, string) error {
				n++
				if name == "f fails" {
					return errTest
				}
				cancel(errTest)
				return nil
			})
			if !errors.Is(err, errTest) || n > 1 {
				t.Errorf("after %d: %v", n, err)
			}
			w.tamper(nil)
			if n == 0 {
				return // whether ECR has recorded it nobody can say
			}
			if inv := w.inventory("aa")["aa"]; !inv.Images[0].LastPulledAt.IsZero() || w.recorded("aa", digests[0]).IsZero() {
				t.Errorf("aa was pulled at %v", inv.Images[0].LastPulledAt)
			}
		})
	}
}

// TestUnrecordedOwnPulls: ECR may record the first of our reads alone when we read twice in a day.
func TestUnrecordedOwnPulls(t *testing.T) {
	m := &manifests{kept: manifestCache{Pulls: make(map[string]map[image.Digest]ownPull)}}
	digest := image.Digest("sha256:" + strings.Repeat("a", 64))
	recall := func(recorded time.Time) time.Time {
		images := []image.Image{{Digest: digest, MediaType: image.MediaTypeOCIManifest, LastPulledAt: recorded}}
		m.recall("app", images, true)
		return images[0].LastPulledAt
	}
	read := func(recorded, at time.Time) {
		m.pulled("app", &image.Image{Digest: digest, LastPulledAt: recall(recorded)}, at)
	}
	first, second, third := clock(10), clock(10).Add(time.Hour), clock(10).Add(5*time.Hour)
	read(clock(1), first)
	read(first, second)
	read(first, third)
	for _, tt := range []struct{ recorded, want time.Time }{
		{first, clock(1)}, {second, clock(1)}, {third, clock(1)},
		{first.Add(30 * time.Minute), first.Add(30 * time.Minute)}, {third.Add(time.Hour), third.Add(time.Hour)},
	} {
		if got := recall(tt.recorded); !got.Equal(tt.want) {
			t.Errorf("recorded at %v: pulled at %v", tt.recorded, got)
		}
	}
	// After somebody's pull no earlier time can be recorded any more.
	theirs := third.Add(time.Hour)
	read(theirs, theirs.Add(time.Hour))
	if p := m.kept.Pulls["app"][digest]; len(p.Earlier) != 0 || !p.Before.Equal(theirs) {
		t.Errorf("kept: %+v", p)
	}
	read(theirs, theirs.Add(49*time.Hour+time.Second))
	read(theirs, theirs.Add(50*time.Hour+time.Second))
	if p := m.kept.Pulls["app"][digest]; len(p.Earlier) != 1 {
		t.Errorf("kept: %+v", p)
	}
}

func TestPresent(t *testing.T) {
	w, outer, inner, leaf, sbom := nested(t)
	archived := w.push("app", manifest("archived", ""), "old")
	w.archive("app", archived)
	w.repository("empty")
	w.repository("big")
	w.generate("big", 1001)
	o := w.options(here)
	o.Sources = FastSources()
	present := func(repository string) map[image.Digest]bool {
		t.Helper()
		got, err := Present(t.Context(), o, here, repository)
		if err != nil || got == nil {
			t.Errorf("%s: %v, %v", repository, got, err)
		}
		return got
	}
	want := make(map[image.Digest]bool)
	for _, d := range []string{outer, inner, leaf, sbom, archived} {
		want[image.Digest(d)] = true
	}
	if got := present("app"); !maps.Equal(got, want) {
		t.Errorf("present: %v", got)
	}
	if len(present("empty"))+len(present("none")) != 0 {
		t.Error("images out of nothing")
	}
	before := w.calls(nil)
	if n := len(present("big")); n != 1001 {
		t.Errorf("%d images", n)
	}
	if calls := w.calls(before); !maps.Equal(calls, map[string]int{"ecr:DescribeImages": 2}) {
		t.Errorf("calls: %v", calls)
	}
	w.tamper(func(op string, body []byte) *tamper {
		if op == "DescribeImages" && strings.Contains(string(body), "nextToken") {
			return &tamper{code: "AccessDeniedException"}
		}
		return nil
	})
	if got, err := Present(t.Context(), o, here, "big"); got != nil || err == nil || errorCode(err) != "AccessDeniedException" {
		t.Errorf("half of it: %d images, %v", len(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Present(ctx, o, here, "app"); got != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("with a done context: %v, %v", got, err)
	}
	o.Config = func(context.Context, string, string) (aws.Config, error) { return aws.Config{}, errTest }
	if _, err := Present(t.Context(), o, here, "app"); !errors.Is(err, errTest) {
		t.Errorf("without an account: %v", err)
	}
}
