package store

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"demurrage/internal/image"
	"demurrage/internal/uselist"
)

func useList(name string) UseList {
	at := time.Date(2026, 11, 20, 1, 2, 3, 4, time.UTC)
	return UseList{
		Schema: useListSchema, Name: name, Origin: []string{"/a.txt", "stdin"}, ImportedAt: at, ObservedAt: at, Skipped: 3,
		Covers: &Cluster{accountA, tokyo, "main"}, Notes: []string{"pods only"},
		Refs: []uselist.Entry{{Ref: image.Ref{Repository: image.Repository{Registry: image.Registry{Account: accountA, Region: tokyo}, Name: "app"}, Tag: "v1"},
			Resource: "line 1", Detail: "why", Rollback: true, Since: at}},
	}
}

func TestUseLists(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		if names, err := s.UseLists(ctx); err != nil || len(names) != 0 {
			t.Errorf("UseLists of an empty store: %v, %v", names, err)
		}
		if _, err := s.UseList(ctx, "hosts"); !IsNotExist(err) {
			t.Errorf("UseList of nothing: %v", err)
		}
		if err := s.RemoveUseList(ctx, "hosts"); !IsNotExist(err) {
			t.Errorf("RemoveUseList of nothing: %v", err)
		}
		want := useList("hosts")
		for _, name := range []string{"rack.2", "hosts", "hosts"} {
			l := useList(name)
			if name != "hosts" {
				l.Refs = nil
			}
			if err := s.SaveUseList(ctx, l); err != nil {
				t.Fatal(err)
			}
		}
		if names, err := s.UseLists(ctx); err != nil || !slices.Equal(names, []string{"hosts", "rack.2"}) {
			t.Errorf("UseLists: %v, %v", names, err)
		}
		got, err := s.UseList(ctx, "hosts")
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if err := s.RemoveUseList(ctx, "hosts"); err != nil {
			t.Error(err)
		}
		if names, err := s.UseLists(ctx); err != nil || !slices.Equal(names, []string{"rack.2"}) {
			t.Errorf("UseLists: %v, %v", names, err)
		}
	})
}

// TestUseListNames: nothing but a name gets into a key, and an object under another's key is an error.
func TestUseListNames(t *testing.T) {
	s, dir := directory(t)
	ctx := t.Context()
	for _, name := range []string{"", ".", "..", "../x", "a/b", "-x", "a b", "ä", strings.Repeat("x", 151)} {
		_, err := s.UseList(ctx, name)
		for _, err := range []error{err, s.SaveUseList(ctx, useList(name)), s.RemoveUseList(ctx, name)} {
			if err == nil || IsNotExist(err) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if err := s.SaveUseList(ctx, useList("hosts")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "uses", "hosts.json"), filepath.Join(dir, "uses", "racks.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UseList(ctx, "racks"); err == nil || !strings.Contains(err.Error(), "uses/racks.json") {
		t.Errorf("another's list: %v", err)
	}
	for _, text := range []string{"", "{", `{"name": "racks", "schema": "demurrage/uses/2"}`} {
		if err := os.WriteFile(filepath.Join(dir, "uses", "racks.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.UseList(ctx, "racks"); err == nil || IsNotExist(err) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestImports: what a run saw of elsewhere is there as a whole, or its absence is an error.
func TestImports(t *testing.T) {
	each(t, func(t *testing.T, s *Store) {
		ctx := t.Context()
		l := useList("hosts")
		want := Imports{
			Uses:    []image.Use{{Ref: l.Refs[0].Ref, Source: "import", Resource: "line 1", Live: true, Since: l.ImportedAt}},
			Notes:   []image.Note{{Account: "*", Region: "*", Source: "import:hosts", Text: "pods only"}},
			Covered: []Covered{{*l.Covers, "list hosts"}},
		}
		r := Run{ID: NewID(time.Now()), Imports: true, Coverage: []image.Coverage{{Account: "*", Region: "*", Source: "import:hosts", Status: image.CoverageFailed, Error: "stale"}}}
		if err := s.SaveImports(ctx, r.ID, want); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Last(ctx); !errors.Is(err, ErrNoRun) {
			t.Errorf("a run that has not begun: %v", err)
		}
		if _, err := s.Begin(ctx, r); err != nil {
			t.Fatal(err)
		}
		run, err := s.Get(ctx, r.ID)
		if diff := cmp.Diff(r.Coverage, run.Coverage); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		got, err := s.LoadImports(ctx, run)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		if got, err := s.LoadImports(ctx, Run{ID: NewID(time.Now())}); err != nil || len(got.Uses) != 0 {
			t.Errorf("of a run without any: %v, %v", got, err)
		}
		if _, err := s.LoadImports(ctx, Run{ID: NewID(time.Now()), Imports: true}); err == nil {
			t.Error("they are lost, and nothing says so")
		}
	})
}

func TestParseCluster(t *testing.T) {
	c, err := ParseCluster("eks:111111111111/us-east-1/Main_1")
	if err != nil || c != (Cluster{accountA, virginia, "Main_1"}) || c.String() != "eks:111111111111/us-east-1/Main_1" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, s := range []string{
		"", "eks:", "111111111111/us-east-1/main", "eks:1/us-east-1/main", "eks:111111111111/virginia/main", "eks:111111111111/us-east-1/",
		"eks:111111111111/us-east-1/a/b", "eks:111111111111/us-east-1/-a", "eks:111111111111/us-east-1/a\n", "ecs:111111111111/us-east-1/main",
		"eks:111111111111/us-east-1/" + strings.Repeat("x", 101),
	} {
		if c, err := ParseCluster(s); err == nil {
			t.Errorf("%q: %+v", s, c)
		}
	}
}
