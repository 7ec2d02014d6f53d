package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"demurrage/internal/image"
)

func clock(day int) time.Time { return time.Date(2026, 1, 1+day, 12, 0, 0, 0, time.UTC) }

func (w *world) ecr() *ecr.Client { return ecr.NewFromConfig(w.as(tokyo)) }

// pull reads a manifest, as somebody who pulls the image does.
func (w *world) pull(repository, digest string) {
	w.t.Helper()
	out := must(w.ecr().BatchGetImage(w.t.Context(), &ecr.BatchGetImageInput{
		RepositoryName: &repository, ImageIds: []types.ImageIdentifier{{ImageDigest: &digest}},
	}))(w.t)
	if len(out.Images) != 1 {
		w.t.Fatalf("not pulled: %v", out.Failures)
	}
}

// nested has an index of an index of an image, and an image that refers to the inner index.
func nested(t *testing.T) (w *world, outer, inner, leaf, sbom string) {
	w = newWorld(t)
	w.SetClock(clock(0))
	w.repository("app")
	leaf = w.push("app", manifest("leaf", ""), "")
	inner = w.push("app", indexManifest(leaf), "")
	outer = w.push("app", indexManifest(inner), "v1")
	sbom = w.push("app", manifest("sbom", inner), "")
	return w, outer, inner, leaf, sbom
}

func TestInventory(t *testing.T) {
	w, outer, inner, leaf, sbom := nested(t)
	must(w.ecr().PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: aws.String("app"), ImageManifest: aws.String(indexManifest(inner)), ImageTag: aws.String("a")}))(t)
	archived := w.push("app", manifest("archived", ""), "old")
	must(w.ecr().UpdateImageStorageClass(t.Context(), &ecr.UpdateImageStorageClassInput{
		RepositoryName: aws.String("app"), ImageId: &types.ImageIdentifier{ImageDigest: &archived}, TargetStorageClass: types.TargetStorageClassArchive,
	}))(t)
	must(w.ecr().SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:BatchGetImage"}]}`)}))(t)
	must(w.ecr().TagResource(t.Context(), &ecr.TagResourceInput{
		ResourceArn: aws.String("arn:aws:ecr:ap-northeast-1:111111111111:repository/app"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}},
	}))(t)
	w.repository("aaa")

	snap := w.scan()
	wantOK(t, snap)
	if len(snap.Inventories) != 2 || snap.Inventories[0].Repository.Name != "aaa" || snap.Inventories[0].HasPolicy {
		t.Errorf("inventories: %+v", snap.Inventories)
	}
	inv := repositoryOf(t, snap, "app")
	if !inv.HasPolicy || !strings.Contains(inv.Policy, accountB) || inv.Tags["team"] != "blue" || inv.Errors != nil || !inv.CreatedAt.Equal(clock(0)) {
		t.Errorf("repository: %+v", inv)
	}
	if !slices.IsSortedFunc(inv.Images, image.Compare) || len(inv.Images) != 5 {
		t.Errorf("images: %+v", inv.Images)
	}
	if img := imageOf(t, inv, outer); !slices.Equal(img.Tags, []string{"a", "v1"}) || !slices.Equal(img.Children, []image.Digest{image.Digest(inner)}) || img.MediaType != image.MediaTypeOCIIndex {
		t.Errorf("outer index: %+v", img)
	}
	if img := imageOf(t, inv, inner); !slices.Equal(img.Children, []image.Digest{image.Digest(leaf)}) {
		t.Errorf("inner index: %+v", img)
	}
	if img := imageOf(t, inv, sbom); img.Subject != image.Digest(inner) || img.ArtifactType == "" {
		t.Errorf("sbom: %+v", img)
	}
	if img := imageOf(t, inv, archived); img.Status != image.Archived || img.Bytes == 0 || !img.PushedAt.Equal(clock(0)) {
		t.Errorf("archived image: %+v", img)
	}
	if n := w.calls(nil)["ecr:BatchGetImage"]; n != 1 {
		t.Errorf("%d BatchGetImage", n)
	}
}

func TestUnplannedTargetIsNotInventoried(t *testing.T) {
	w, _, _, _, _ := nested(t)
	before := w.calls(nil)
	snap := w.run(w.options(Target{Account: accountA, Region: tokyo}))[image.Registry{Account: accountA, Region: tokyo}]
	wantOK(t, snap)
	if len(snap.Coverage) != len(Expected(Target{Account: accountA, Region: tokyo})) || len(snap.Inventories) != 0 {
		t.Errorf("snapshot: %+v", snap)
	}
	for op := range w.calls(before) {
		if strings.HasPrefix(op, "ecr:") && op != "ecr:DescribePullThroughCacheRules" {
			t.Errorf("%s was called", op)
		}
	}
}

// TestOwnPulls: the reading of an index by a scan is no pull, however often it is looked at, and a pull by somebody
// else, before or after, is.
func TestOwnPulls(t *testing.T) {
	w, outer, inner, leaf, _ := nested(t)
	pulledAt := func(d string) time.Time {
		t.Helper()
		return imageOf(t, repositoryOf(t, w.scan(), "app"), d).LastPulledAt
	}
	w.SetClock(clock(1))
	w.pull("app", inner)
	w.SetClock(clock(2))
	for range 3 {
		if got := pulledAt(outer); !got.IsZero() {
			t.Errorf("outer index was pulled at %v", got)
		}
		if got := pulledAt(inner); !got.Equal(clock(1)) {
			t.Errorf("inner index was pulled at %v", got)
		}
		if got := pulledAt(leaf); !got.IsZero() {
			t.Errorf("leaf was pulled at %v", got)
		}
	}
	w.SetClock(clock(2).Add(61 * time.Second))
	w.pull("app", outer)
	if got, want := pulledAt(outer), clock(2).Add(61*time.Second); !got.Equal(want) {
		t.Errorf("outer index was pulled at %v, want %v", got, want)
	}
	if got := pulledAt(inner); !got.Equal(clock(1)) {
		t.Errorf("inner index was pulled at %v", got)
	}
}

// TestOwnPullsOfCancelledRun: a run that is cancelled right after it read the manifests remembers that it did.
func TestOwnPullsOfCancelledRun(t *testing.T) {
	w, outer, _, _, _ := nested(t)
	w.SetClock(clock(1))
	ctx, cancel := context.WithCancel(t.Context())
	w.tamper(func(op string, _ []byte) *tamper {
		if op == "GetRepositoryPolicy" {
			cancel()
		}
		return nil
	})
	o := w.options(Target{Account: accountA, Region: tokyo, Planned: true})
	o.Sink = func(context.Context, *Snapshot) error { t.Error("half a target was stored"); return nil }
	if err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v", err)
	}
	w.tamper(nil)
	before := w.calls(nil)
	if got := imageOf(t, repositoryOf(t, w.scan(), "app"), outer).LastPulledAt; !got.IsZero() {
		t.Errorf("pulled at %v", got)
	}
	if n := w.calls(before)["ecr:BatchGetImage"]; n != 0 {
		t.Errorf("%d BatchGetImage", n)
	}
}

// TestManifestsAreReadOnce, by digest: also when the same index is in a second repository.
func TestManifestsAreReadOnce(t *testing.T) {
	w, outer, inner, _, _ := nested(t)
	first := w.scan()
	w.repository("copy")
	w.push("copy", manifest("leaf", ""), "")
	w.push("copy", indexManifest(childrenOf(t, first, inner)...), "v1")
	before := w.calls(nil)
	second := w.scan()
	if n := w.calls(before)["ecr:BatchGetImage"]; n != 0 {
		t.Errorf("%d BatchGetImage on the second run", n)
	}
	if diff := cmp.Diff(repositoryOf(t, first, "app"), repositoryOf(t, second, "app")); diff != "" {
		t.Errorf("the second run differs (-first +second):\n%s", diff)
	}
	if img := imageOf(t, repositoryOf(t, second, "copy"), inner); len(img.Children) != 1 {
		t.Errorf("copy: %+v", img)
	}
	// What merely could not be listed is not forgotten.
	w.tamper(func(op string, _ []byte) *tamper {
		if op == "DescribeImages" {
			return &tamper{code: "AccessDeniedException"}
		}
		return nil
	})
	w.scan()
	w.tamper(nil)
	before = w.calls(nil)
	w.scan()
	if n := w.calls(before)["ecr:BatchGetImage"]; n != 0 {
		t.Errorf("%d BatchGetImage after a failed run", n)
	}
	// What is gone is.
	must(w.ecr().DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app"), Force: true}))(t)
	w.scan()
	var c cached[manifestCache]
	if err := json.Unmarshal(w.mem.m[accountA+tokyo+manifestCacheName], &c); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.Value.Children[image.Digest(outer)]; ok || len(c.Value.Children) != 1 || len(c.Value.Pulls) != 0 {
		t.Errorf("cache: %+v", c.Value)
	}
}

func childrenOf(t *testing.T, snap *Snapshot, index string) (children []string) {
	for _, d := range imageOf(t, repositoryOf(t, snap, "app"), index).Children {
		children = append(children, string(d))
	}
	return children
}

// TestUnreadableManifests: each way a manifest can be bad makes its image unreadable, and only its image; it is
// tried again in the next run, and the tries are no pulls.
func TestUnreadableManifests(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(img map[string]any, answer map[string]any)
		want   string
	}{
		{"other content", func(img, _ map[string]any) { img["imageManifest"] = img["imageManifest"].(string) + " " }, "its manifest has the digest"},
		{"not answered", func(_, answer map[string]any) { answer["images"] = []any{} }, "did not answer"},
		{"failure", func(img, answer map[string]any) {
			answer["images"] = []any{}
			answer["failures"] = []any{map[string]any{"imageId": img["imageId"], "failureCode": "KmsError", "failureReason": "no key"}}
		}, "KmsError: no key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.SetClock(clock(0))
			w.repository("app")
			leaf := w.push("app", manifest("leaf", ""), "")
			index := w.push("app", indexManifest(leaf), "v1")
			w.tamper(func(op string, _ []byte) *tamper {
				if op != "BatchGetImage" {
					return nil
				}
				return &tamper{change: edit(func(m map[string]any) { tt.change(m["images"].([]any)[0].(map[string]any), m) })}
			})
			for range 2 {
				snap := w.scan()
				if tt.name == "other content" { // AWS answered all right
					wantOK(t, snap)
				} else {
					wantFailed(t, snap, "ecr", "BatchGetImage", index, tt.want)
				}
				inv := repositoryOf(t, snap, "app")
				if img := imageOf(t, inv, index); !strings.Contains(img.Unreadable, tt.want) || img.Children != nil {
					t.Errorf("index: %+v", img)
				}
				if img := imageOf(t, inv, leaf); img.Unreadable != "" {
					t.Errorf("leaf: %+v", img)
				}
			}
			if n := w.calls(nil)["ecr:BatchGetImage"]; n != 2 {
				t.Errorf("%d BatchGetImage", n)
			}
			w.tamper(nil)
			inv := repositoryOf(t, w.scan(), "app")
			img := imageOf(t, inv, index)
			if img.Unreadable != "" || len(img.Children) != 1 {
				t.Errorf("index: %+v", img)
			}
			if tt.name == "other content" && !img.LastPulledAt.IsZero() {
				t.Errorf("pulled at %v", img.LastPulledAt)
			}
		})
	}
}

func TestParseManifest(t *testing.T) {
	const child = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for _, tt := range []struct {
		name, mediaType, text string
		children              int
		wantErr               string
	}{
		{"index", image.MediaTypeOCIIndex, indexManifest(child), 1, ""},
		{"the same child for two platforms", image.MediaTypeOCIIndex, indexManifest(child, child), 1, ""},
		{"empty index", image.MediaTypeOCIIndex, indexManifest(), 0, ""},
		{"docker list", image.MediaTypeDockerIndex, `{"schemaVersion":2,"manifests":[{"digest":"` + child + `"}]}`, 1, ""},
		{"no type", "", `{"schemaVersion":1,"fsLayers":[]}`, 0, ""},
		{"unknown type", "application/x", `{"config":{}}`, 0, ""},
		{"unknown type with children", "application/x", `{"manifests":[{"digest":"` + child + `"}]}`, 1, ""},
		{"index without a list", image.MediaTypeOCIIndex, `{"schemaVersion":2}`, 0, "without a list"},
		{"index with null", image.MediaTypeDockerIndex, `{"manifests":null}`, 0, "without a list"},
		{"bad child", image.MediaTypeOCIIndex, indexManifest("sha512:00"), 0, "not a sha256 digest"},
		{"child without a digest", image.MediaTypeOCIIndex, `{"manifests":[{}]}`, 0, "not a sha256 digest"},
		{"list of another type", image.MediaTypeOCIIndex, `{"manifests":{}}`, 0, "cannot be parsed"},
		{"cut short", image.MediaTypeOCIIndex, `{"manifests":[`, 0, "cannot be parsed"},
		{"something behind", image.MediaTypeOCIIndex, indexManifest(child) + "{}", 0, "cannot be parsed"},
		{"no JSON", image.MediaTypeOCIIndex, "<html>", 0, "cannot be parsed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := &image.Image{Digest: image.Digest(digest.FromString(tt.text)), MediaType: tt.mediaType}
			children, err := parseManifest(img, tt.text)
			if len(children) != tt.children {
				t.Errorf("children %v", children)
			}
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(indexManifest("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"))
	f.Add(manifest("a", ""))
	f.Fuzz(func(t *testing.T, text string) {
		img := &image.Image{Digest: image.Digest(digest.FromString(text)), MediaType: image.MediaTypeOCIIndex}
		children, err := parseManifest(img, text)
		if err != nil && children != nil {
			t.Errorf("children %v with error %v", children, err)
		}
		for _, c := range children {
			if _, err := image.ParseDigest(string(c)); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestECRDenied: what each operation's denial does to the source, the repository and its images.
func TestECRDenied(t *testing.T) {
	for _, tt := range []struct {
		op    string
		check func(t *testing.T, snap *Snapshot, index string)
	}{
		{"DescribeRepositories", func(t *testing.T, snap *Snapshot, _ string) {
			if len(snap.Inventories) != 0 {
				t.Errorf("inventories: %+v", snap.Inventories)
			}
		}},
		{"DescribeImages", func(t *testing.T, snap *Snapshot, _ string) {
			if inv := repositoryOf(t, snap, "app"); len(inv.Errors) != 1 || !strings.Contains(inv.Errors[0], "AccessDenied") {
				t.Errorf("repository: %+v", inv)
			}
		}},
		{"BatchGetImage", func(t *testing.T, snap *Snapshot, index string) {
			inv := repositoryOf(t, snap, "app")
			if img := imageOf(t, inv, index); !strings.Contains(img.Unreadable, "AccessDenied") {
				t.Errorf("index: %+v", img)
			}
		}},
		{"GetRepositoryPolicy", func(t *testing.T, snap *Snapshot, _ string) {
			if inv := repositoryOf(t, snap, "app"); !inv.HasPolicy || len(inv.Errors) != 1 || len(inv.Images) != 4 {
				t.Errorf("repository: %+v", inv)
			}
		}},
		{"GetRegistryPolicy", func(t *testing.T, snap *Snapshot, _ string) {
			if inv := repositoryOf(t, snap, "app"); !inv.HasPolicy || len(inv.Errors) != 1 {
				t.Errorf("repository: %+v", inv)
			}
		}},
		{"ListTagsForResource", func(t *testing.T, snap *Snapshot, _ string) {
			if inv := repositoryOf(t, snap, "app"); inv.HasPolicy || inv.Errors != nil || len(inv.Images) != 4 {
				t.Errorf("repository: %+v", inv)
			}
		}},
	} {
		t.Run(tt.op, func(t *testing.T) {
			w, outer, _, _, _ := nested(t)
			w.tamper(func(op string, _ []byte) *tamper {
				if op == tt.op {
					return &tamper{code: "AccessDeniedException"}
				}
				return nil
			})
			snap := w.scan()
			wantFailed(t, snap, "ecr", tt.op, "AccessDeniedException: tampered")
			tt.check(t, snap, outer)
		})
	}
}

// TestRepositoryDeletedMeanwhile: at whichever call it shows, the repository is left out and nothing has failed.
func TestRepositoryDeletedMeanwhile(t *testing.T) {
	for _, op := range []string{"DescribeImages", "BatchGetImage", "GetRepositoryPolicy", "ListTagsForResource"} {
		t.Run(op, func(t *testing.T) {
			w, _, _, _, _ := nested(t)
			w.repository("stays")
			w.tamper(func(o string, body []byte) *tamper {
				if o != op || !strings.Contains(string(body), "app") {
					return nil
				}
				w.tamper(nil)
				return &tamper{before: func() {
					must(w.ecr().DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app"), Force: true}))(t)
				}}
			})
			snap := w.scan()
			wantOK(t, snap)
			if len(snap.Inventories) != 1 || snap.Inventories[0].Repository.Name != "stays" {
				t.Errorf("inventories: %+v", snap.Inventories)
			}
		})
	}
}

// TestSecondPageFails: what was read is kept, marked as incomplete.
func TestSecondPageFails(t *testing.T) {
	w := newWorld(t)
	w.repository("big")
	w.generate("big", 1200)
	w.tamper(func(op string, body []byte) *tamper {
		if op == "DescribeImages" && strings.Contains(string(body), "nextToken") {
			return &tamper{code: "ServerException"}
		}
		return nil
	})
	snap := w.scan()
	wantFailed(t, snap, "ecr", "DescribeImages", "big", "ServerException")
	if inv := repositoryOf(t, snap, "big"); len(inv.Images) != 1000 || len(inv.Errors) != 1 {
		t.Errorf("%d images, errors %v", len(inv.Images), inv.Errors)
	}
}

// TestDamagedImageDetails: an image that is only half told makes the repository's inventory incomplete.
func TestDamagedImageDetails(t *testing.T) {
	for _, tt := range []struct{ name, key string }{{"no push time", "imagePushedAt"}, {"no digest", "imageDigest"}} {
		t.Run(tt.name, func(t *testing.T) {
			w, _, _, _, _ := nested(t)
			w.tamper(func(op string, _ []byte) *tamper {
				if op != "DescribeImages" {
					return nil
				}
				return &tamper{change: edit(func(m map[string]any) { delete(m["imageDetails"].([]any)[0].(map[string]any), tt.key) })}
			})
			snap := w.scan()
			wantFailed(t, snap, "ecr", "DescribeImages", "app")
			if inv := repositoryOf(t, snap, "app"); len(inv.Images) != 3 || len(inv.Errors) != 1 {
				t.Errorf("repository: %+v", inv)
			}
		})
	}
}

// TestImagesOutOfOrder: images are sorted, and one that a shifted page shows twice is there once.
func TestImagesOutOfOrder(t *testing.T) {
	w := newWorld(t)
	w.repository("big")
	w.generate("big", 50)
	w.tamper(func(op string, _ []byte) *tamper {
		if op != "DescribeImages" {
			return nil
		}
		return &tamper{change: edit(func(m map[string]any) {
			list := m["imageDetails"].([]any)
			slices.Reverse(list)
			m["imageDetails"] = append(list, list[:10]...)
		})}
	})
	inv := repositoryOf(t, w.scan(), "big")
	if len(inv.Images) != 50 || !slices.IsSortedFunc(inv.Images, image.Compare) {
		t.Errorf("images: %v", inv.Images)
	}
}

// TestPulledAgainAfterOurs is the narrow window of ownPull.made.
func TestPulledAgainAfterOurs(t *testing.T) {
	p := ownPull{At: clock(0)}
	for _, tt := range []struct {
		after time.Duration
		want  bool
	}{
		{-3 * time.Second, false}, {-2 * time.Second, true}, {0, true}, {time.Minute, true}, {61 * time.Second, false}, {24 * time.Hour, false},
	} {
		if got := p.made(clock(0).Add(tt.after)); got != tt.want {
			t.Errorf("made(%v after) = %v", tt.after, got)
		}
	}
	if (ownPull{}).made(time.Time{}) {
		t.Error("without a server time a pull counts as ours")
	}
}

// TestUnknownMediaTypeIsRead: only types that are known to have no children are left unread.
func TestUnknownMediaTypeIsRead(t *testing.T) {
	w, outer, _, _, _ := nested(t)
	w.tamper(func(op string, body []byte) *tamper {
		switch op {
		case "DescribeImages":
			return &tamper{change: edit(func(m map[string]any) {
				for _, d := range m["imageDetails"].([]any) {
					d.(map[string]any)["imageManifestMediaType"] = "application/vnd.unheard.of"
				}
			})}
		case "BatchGetImage":
			if !strings.Contains(string(body), `"application/vnd.unheard.of"`) {
				t.Error("the type is not accepted")
			}
		}
		return nil
	})
	inv := repositoryOf(t, w.scan(), "app")
	if img := imageOf(t, inv, outer); len(img.Children) != 1 || !img.IsIndex() {
		t.Errorf("index of an unknown type: %+v", img)
	}
	for _, img := range inv.Images {
		if img.Unreadable != "" {
			t.Errorf("image: %+v", img)
		}
	}
}

func BenchmarkParseManifest(b *testing.B) {
	children := slices.Collect(maps.Keys(func() map[string]bool {
		m := make(map[string]bool)
		for i := range 12 {
			m[digest.FromString(fmt.Sprint(i)).String()] = true
		}
		return m
	}()))
	text := indexManifest(children...)
	img := &image.Image{Digest: image.Digest(digest.FromString(text)), MediaType: image.MediaTypeOCIIndex}
	for b.Loop() {
		if _, err := parseManifest(img, text); err != nil {
			b.Fatal(err)
		}
	}
}
