package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"demurrage/internal/image"
	"demurrage/internal/orgsim"
	"demurrage/internal/scan"
)

const (
	accountA = "111111111111"
	accountB = "222222222222"
	tokyo    = "ap-northeast-1"
	virginia = "us-east-1"
)

var silent = slog.New(slog.DiscardHandler)

// each runs a test on a directory and on S3.
func each(t *testing.T, f func(t *testing.T, s *Store)) {
	t.Run("directory", func(t *testing.T) {
		s, _ := directory(t)
		f(t, s)
	})
	t.Run("s3", func(t *testing.T) {
		sim := httptest.NewServer(orgsim.New())
		t.Cleanup(sim.Close)
		cfg := aws.Config{
			Region: virginia, BaseEndpoint: &sim.URL,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: orgsim.ManagementAccount, SecretAccessKey: "secret"}, nil
			}),
		}
		client := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
		if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("demurrage")}); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), "s3://demurrage/some/prefix", silent, func(context.Context) (aws.Config, error) { return cfg, nil })
		if err != nil {
			t.Fatal(err)
		}
		f(t, s)
	})
}

func directory(t *testing.T) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s, err := Open(t.Context(), dir, silent, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

func digestOf(i int) image.Digest { return image.Digest(fmt.Sprintf("sha256:%064x", i)) }

// snapshot is a target with some repositories.
func snapshot(account, region string, repositories int) *scan.Snapshot {
	snap := &scan.Snapshot{Account: account, Region: region, ScannedAt: time.Date(2026, 11, 20, 1, 2, 3, 4, time.UTC)}
	place := image.Registry{Account: account, Region: region}
	for i := range repositories {
		inv := image.Inventory{
			Repository: image.Repository{Registry: place, Name: fmt.Sprintf("app%03d", i)}, CreatedAt: snap.ScannedAt,
			Tags: map[string]string{"team": "blue"}, HasPolicy: true, Policy: "{}", Errors: []string{"half"}, Images: []image.Image{},
		}
		for j := range 20 {
			inv.Images = append(inv.Images, image.Image{
				Digest: digestOf(j), Tags: []string{"v1"}, Bytes: int64(j), PushedAt: snap.ScannedAt, LastPulledAt: snap.ScannedAt,
				MediaType: image.MediaTypeOCIIndex, Status: image.Archived, Subject: digestOf(1), Children: []image.Digest{digestOf(2)}, Unreadable: "no",
			})
		}
		snap.Inventories = append(snap.Inventories, inv)
		snap.Uses = append(snap.Uses, image.Use{
			Ref: image.Ref{Repository: inv.Repository, Tag: "v1", Digest: digestOf(3)}, Source: "ecs-task",
			Account: account, Region: region, Resource: "arn", Detail: "why", Live: true,
		})
		snap.Contents = append(snap.Contents, image.Contents{
			Repository: inv.Repository, Blobs: []image.Blob{{Digest: digestOf(100 + i), Bytes: 7}, {Digest: digestOf(200), Bytes: 8}},
			Images: []image.Content{{Digest: digestOf(1), Manifest: 9, Blobs: []int32{0, 1}}, {Digest: digestOf(2), Manifest: 10}},
		})
	}
	snap.LayersMode, snap.Mounted = scan.LayersEstimate, true
	snap.Coverage = []image.Coverage{
		{Account: account, Region: region, Source: "ecr", Status: image.CoverageOK},
		{Account: account, Region: region, Source: "ecs", Status: image.CoverageFailed, Error: "denied", Unread: true},
	}
	return snap
}

var targets = []scan.Target{
	{Account: accountB, Region: tokyo, Planned: true},
	{Account: accountA, Region: virginia, Planned: true},
	{Account: accountA, Region: tokyo, Planned: true},
	{Account: accountA, Region: "eu-west-1"},
	{Account: accountB, Region: virginia, Planned: true},
}

func begin(t *testing.T, s *Store) Run {
	t.Helper()
	r, err := s.Begin(t.Context(), Run{Targets: targets})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRuns(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if _, err := s.Last(ctx); !errors.Is(err, ErrNoRun) {
			t.Errorf("Last of an empty store: %v", err)
		}
		start := time.Date(2026, 11, 20, 22, 43, 3, 0, time.UTC)
		want := Run{
			StartedAt: start, Now: start, ConfigSHA256: "abc", Generations: "task definitions prod-*=5; functions", Version: "v1", Hub: accountA, Targets: targets,
			Accounts:  []Account{{ID: accountA, Name: "a", Owner: "o", CostCenter: "c", Tags: map[string]string{"k": "v"}, OU: "ou-1", State: "ACTIVE"}},
			Unscanned: []Account{{ID: accountB, State: "SUSPENDED", Reason: "not in the configuration"}},
		}
		var ids []string
		for i := range 3 {
			want.StartedAt = start.Add(time.Duration(i) * time.Hour)
			r, err := s.Begin(ctx, want)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.ID)
		}
		if !strings.HasPrefix(ids[0], "20261120T224303Z-") || !slices.IsSorted(ids) {
			t.Errorf("ids %q", ids)
		}
		got, err := s.Get(ctx, ids[2])
		if err != nil {
			t.Fatal(err)
		}
		want.Schema, want.ID = runSchema, ids[2]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Get (-want +got):\n%s", diff)
		}
		if err := s.Finish(ctx, ids[1], start.Add(90*time.Minute)); err != nil {
			t.Fatal(err)
		}
		last, err := s.Last(ctx)
		if err != nil || last.ID != ids[1] || !last.FinishedAt.Equal(start.Add(90*time.Minute)) {
			t.Errorf("Last: %+v, %v", last, err)
		}
		var listed []string
		for r, err := range s.Runs(ctx) {
			if err != nil {
				t.Error(err)
			}
			listed = append(listed, r.ID)
		}
		slices.Reverse(listed)
		if !slices.Equal(listed, ids) {
			t.Errorf("Runs: %q, want %q", listed, ids)
		}
		if _, err := s.Begin(ctx, Run{ID: ids[0], StartedAt: start}); err == nil {
			t.Error("a run was overwritten")
		}
		if _, err := s.Get(ctx, "20260101T000000Z-0000"); !errors.Is(err, ErrNoRun) {
			t.Errorf("Get of no run: %v", err)
		}
	})
}

func TestSnapshots(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		r := begin(t, s)
		var wg sync.WaitGroup
		for i, target := range targets[:4] {
			wg.Go(func() {
				if err := s.SaveSnapshot(ctx, r.ID, snapshot(target.Account, target.Region, i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		done, err := s.Done(ctx, r.ID)
		if err != nil {
			t.Fatal(err)
		}
		for i, target := range targets {
			if done[place(target)] != (i < 4) {
				t.Errorf("Done[%v] = %v", target, done[place(target)])
			}
		}
		want := snapshot(accountA, tokyo, 2)
		u, err := s.LoadUsage(ctx, r.ID, place(targets[2]))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&Usage{Account: accountA, Region: tokyo, ScannedAt: want.ScannedAt, Uses: want.Uses, Coverage: want.Coverage, Layers: scan.LayersEstimate, Mounted: true}, u); diff != "" {
			t.Errorf("LoadUsage (-want +got):\n%s", diff)
		}
		if _, err := s.LoadUsage(ctx, r.ID, place(targets[4])); !IsNotExist(err) {
			t.Errorf("LoadUsage of a target that was not scanned: %v", err)
		}
		wantAll := slices.Concat(want.Inventories, snapshot(accountA, virginia, 1).Inventories, snapshot(accountB, tokyo, 0).Inventories)
		var got []image.Inventory
		for inv, err := range s.Inventories(ctx, r.ID) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, inv)
		}
		if diff := cmp.Diff(wantAll, got); diff != "" {
			t.Errorf("Inventories (-want +got):\n%s", diff)
		}
		for _, err := range s.Inventories(ctx, r.ID) {
			if err != nil {
				t.Error(err)
			}
			break // stopping early is no error
		}
		contents := func(target scan.Target) (got []image.Contents, err error) {
			for c, err := range s.Contents(ctx, r.ID, place(target)) {
				if err != nil {
					return got, err
				}
				got = append(got, c)
			}
			return got, nil
		}
		if got, err := contents(targets[2]); err != nil || !cmp.Equal(want.Contents, got) {
			t.Errorf("Contents: %v, %v", got, err)
		}
		for _, target := range []scan.Target{targets[0], targets[4]} { // one without repositories, and one that was not scanned
			if got, err := contents(target); !IsNotExist(err) || got != nil {
				t.Errorf("Contents where there are none: %v, %v", got, err)
			}
		}
		for _, err := range s.Contents(ctx, r.ID, place(targets[2])) {
			if err != nil {
				t.Error(err)
			}
			break
		}
		if _, err := contents(scan.Target{Account: "none", Region: tokyo}); err == nil || IsNotExist(err) {
			t.Errorf("Contents of no account: %v", err)
		}
	})
}

// TestHalfSavedTarget: without its usage a target is not done.
func TestHalfSavedTarget(t *testing.T) {
	s, dir := directory(t)
	r := begin(t, s)
	snap := snapshot(accountA, tokyo, 1)
	if err := s.SaveSnapshot(t.Context(), r.ID, snap); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "runs", r.ID, "targets", accountA, tokyo, usageName)); err != nil {
		t.Fatal(err)
	}
	done, err := s.Done(t.Context(), r.ID)
	if err != nil || len(done) != 0 {
		t.Errorf("Done: %v, %v", done, err)
	}
	for inv, err := range s.Inventories(t.Context(), r.ID) {
		t.Errorf("Inventories: %v, %v", inv, err)
	}
	// A write that is cancelled leaves nothing behind.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.SaveSnapshot(ctx, r.ID, snapshot(accountA, virginia, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("SaveSnapshot: %v", err)
	}
	err = s.write(t.Context(), "half", nil, func(w io.Writer) error {
		_, _ = w.Write([]byte("half"))
		return errors.New("no more")
	})
	if err == nil {
		t.Error("no error")
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if strings.Contains(path, "half") || strings.Contains(path, virginia) && !d.IsDir() || strings.HasSuffix(path, ".tmp") {
			t.Errorf("%s was left behind", path)
		}
		return nil
	})
}

// damages are the ways in which an object can go bad.
var damages = map[string]func([]byte) []byte{
	"empty":     func([]byte) []byte { return nil },
	"cut short": func(b []byte) []byte { return b[:len(b)/2] },
	"last byte": func(b []byte) []byte { return b[:len(b)-1] },
	"flipped": func(b []byte) []byte {
		b = bytes.Clone(b)
		b[len(b)/2] ^= 0x40
		return b
	},
	"something behind": func(b []byte) []byte { return append(bytes.Clone(b), b...) },
	"other text":       func([]byte) []byte { return []byte("<html>not found</html>") },
	"other JSON":       func(b []byte) []byte { return compress(b, "{}\n") },
	"end missing": func(b []byte) []byte {
		text, _ := decompress(b)
		return compress(b, strings.TrimSuffix(text, "}\n"))
	},
}

func compress(like []byte, text string) []byte {
	if _, err := decompress(like); err != nil {
		return []byte(text)
	}
	enc, _ := zstd.NewWriter(nil)
	return enc.EncodeAll([]byte(text), nil)
}

func decompress(b []byte) (string, error) {
	dec, _ := zstd.NewReader(nil)
	defer dec.Close()
	text, err := dec.DecodeAll(b, nil)
	if err != nil {
		return string(b), err
	}
	return string(text), nil
}

// TestDamage: every object that is damaged, in whatever way, is an error that names it, and a cache that is damaged
// is none at all.
func TestDamage(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			s, dir := directory(t)
			ctx := t.Context()
			r := begin(t, s)
			if err := s.SaveSnapshot(ctx, r.ID, snapshot(accountA, tokyo, 30)); err != nil {
				t.Fatal(err)
			}
			if err := s.SaveCache(ctx, accountA, tokyo, "things", map[string]string{"a": "b"}); err != nil {
				t.Fatal(err)
			}
			base := "runs/" + r.ID + "/"
			for key, read := range map[string]func() error{
				base + "targets/" + accountA + "/" + tokyo + "/" + inventoryName: func() error {
					n := 0
					for _, err := range s.Inventories(ctx, r.ID) {
						if err != nil {
							return err
						}
						n++
					}
					return fmt.Errorf("%d repositories and no error", n)
				},
				base + "targets/" + accountA + "/" + tokyo + "/" + layersName: func() error {
					for _, err := range s.Contents(ctx, r.ID, image.Registry{Account: accountA, Region: tokyo}) {
						if err != nil {
							return err
						}
					}
					return errors.New("Contents gives no error")
				},
				base + "targets/" + accountA + "/" + tokyo + "/" + usageName: func() error {
					_, err := s.LoadUsage(ctx, r.ID, image.Registry{Account: accountA, Region: tokyo})
					return err
				},
				base + "run.json": func() error {
					_, err := s.Get(ctx, r.ID)
					if _, lastErr := s.Last(ctx); lastErr == nil {
						return errors.New("Last gives no error")
					}
					return err
				},
			} {
				if strings.HasSuffix(key, "run.json") && (name == "flipped" || name == "last byte") {
					continue // it is for people to read and has no checksum
				}
				file := filepath.Join(dir, filepath.FromSlash(key))
				whole, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, damage(whole), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := read(); err == nil || !strings.Contains(err.Error(), key) {
					t.Errorf("%s: error %v", key, err)
				}
				if err := os.WriteFile(file, whole, 0o600); err != nil {
					t.Fatal(err)
				}
			}

			var log bytes.Buffer
			s.log = slog.New(slog.NewTextHandler(&log, nil))
			file := filepath.Join(dir, "cache", accountA, tokyo, "things.json.zst")
			whole, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			var got map[string]string
			if err := s.LoadCache(ctx, accountA, tokyo, "things", &got); err != nil || len(got) != 0 {
				t.Errorf("LoadCache: %v, %v", got, err)
			}
			if name != "other JSON" && !strings.Contains(log.String(), "things.json.zst") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}

// TestMisplacedObjects: an object under another target's key is an error.
func TestMisplacedObjects(t *testing.T) {
	s, dir := directory(t)
	ctx := t.Context()
	r := begin(t, s)
	for _, region := range []string{tokyo, virginia} {
		if err := s.SaveSnapshot(ctx, r.ID, snapshot(accountA, region, 2)); err != nil {
			t.Fatal(err)
		}
	}
	path := func(region, name string) string {
		return filepath.Join(dir, "runs", r.ID, "targets", accountA, region, name)
	}
	for _, name := range []string{usageName, inventoryName} {
		if err := os.Rename(path(tokyo, name), path(virginia, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.LoadUsage(ctx, r.ID, image.Registry{Account: accountA, Region: virginia}); err == nil {
		t.Error("LoadUsage: no error")
	}
	var last error
	for _, err := range s.Inventories(ctx, r.ID) {
		last = err
	}
	if last == nil {
		t.Error("Inventories: no error")
	}
	// A planned target that is done and has no inventory.
	if err := os.Remove(path(virginia, inventoryName)); err != nil {
		t.Fatal(err)
	}
	last = nil
	for _, err := range s.Inventories(ctx, r.ID) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), inventoryName) {
		t.Errorf("Inventories without one: %v", last)
	}
}

func TestCache(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		got := map[string]int{"untouched": 1}
		if err := s.LoadCache(ctx, accountA, tokyo, "things", &got); err != nil || got["untouched"] != 1 {
			t.Errorf("LoadCache of nothing: %v, %v", got, err)
		}
		for i := range 2 {
			if err := s.SaveCache(ctx, accountA, tokyo, "things", map[string]int{"a": i}); err != nil {
				t.Fatal(err)
			}
		}
		got = nil
		if err := s.LoadCache(ctx, accountA, tokyo, "things", &got); err != nil || got["a"] != 1 || len(got) != 1 {
			t.Errorf("LoadCache: %v, %v", got, err)
		}
		if err := s.LoadCache(ctx, accountB, tokyo, "things", &got); err != nil || len(got) != 1 {
			t.Errorf("LoadCache of another account: %v, %v", got, err)
		}
	})
}

// TestKeys: nothing but validated ids gets into a key.
func TestKeys(t *testing.T) {
	s, dir := directory(t)
	ctx := t.Context()
	for _, id := range []string{"", "..", "../x", "20261120T224303Z-4f2a/..", "20261120T224303Z-4F2A", "x20261120T224303Z-4f2a"} {
		if _, err := s.Get(ctx, id); !errors.Is(err, ErrNoRun) {
			t.Errorf("Get(%q): %v", id, err)
		}
		if _, err := s.Done(ctx, id); !errors.Is(err, ErrNoRun) {
			t.Errorf("Done(%q): %v", id, err)
		}
		if err := s.SaveSnapshot(ctx, id, snapshot(accountA, tokyo, 0)); !errors.Is(err, ErrNoRun) {
			t.Errorf("SaveSnapshot(%q): %v", id, err)
		}
	}
	id := NewID(time.Now())
	for _, target := range [][2]string{{"", tokyo}, {"../../../../x", tokyo}, {accountA, ""}, {accountA, "../x"}, {accountA, "us-east-1/.."}} {
		if err := s.SaveSnapshot(ctx, id, snapshot(target[0], target[1], 0)); err == nil {
			t.Errorf("SaveSnapshot of %q: no error", target)
		}
		if err := s.SaveCache(ctx, target[0], target[1], "x", 1); err == nil {
			t.Errorf("SaveCache of %q: no error", target)
		}
		if _, err := s.Begin(ctx, Run{Targets: []scan.Target{{Account: target[0], Region: target[1]}}}); err == nil {
			t.Errorf("Begin with %q: no error", target)
		}
	}
	for _, name := range []string{"", "..", "a/b", "A"} {
		if err := s.SaveCache(ctx, accountA, tokyo, name, 1); err == nil {
			t.Errorf("SaveCache under %q: no error", name)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the store holds %v, %v", entries, err)
	}
}

func TestOpen(t *testing.T) {
	s, dir := directory(t)
	begin(t, s)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if d.IsDir() && info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for _, location := range []string{"", "gs://bucket", "file:///x", "s3://"} {
		if _, err := Open(t.Context(), location, silent, func(context.Context) (aws.Config, error) { return aws.Config{}, nil }); err == nil {
			t.Errorf("Open(%q): no error", location)
		}
	}
	if _, err := Open(t.Context(), "s3://bucket", silent, func(context.Context) (aws.Config, error) { return aws.Config{}, io.ErrClosedPipe }); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Open without a configuration: %v", err)
	}
}

func BenchmarkSaveSnapshot(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir(), silent, nil)
	if err != nil {
		b.Fatal(err)
	}
	snap, id := snapshot(accountA, tokyo, 25), NewID(time.Now()) // 500 images
	b.ReportAllocs()
	for b.Loop() {
		if err := s.SaveSnapshot(b.Context(), id, snap); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInventory(b *testing.B) {
	s, err := Open(b.Context(), b.TempDir(), silent, nil)
	if err != nil {
		b.Fatal(err)
	}
	snap, id := snapshot(accountA, tokyo, 25), NewID(time.Now())
	if err := s.SaveSnapshot(b.Context(), id, snap); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range s.Inventory(b.Context(), id, image.Registry{Account: accountA, Region: tokyo}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
