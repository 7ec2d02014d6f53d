package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"

	"demurrage/internal/image"
	"demurrage/internal/uselist"
)

const (
	useListSchema = "demurrage/uses/1"
	importsSchema = "demurrage/imports/1"
)

// UseList is an imported list of uses. It stays in the store, and is part of every run, until it is replaced or removed.
type UseList struct {
	Schema     string          `json:"schema"`
	Name       string          `json:"name"`
	Origin     []string        `json:"origin"` // the files that it was made of
	ImportedAt time.Time       `json:"imported_at"`
	ObservedAt time.Time       `json:"observed_at"` // when what it says was so
	Covers     *Cluster        `json:"covers,omitempty"`
	Skipped    int             `json:"skipped"` // references to other registries than ECR's
	Notes      []string        `json:"notes,omitempty"`
	Refs       []uselist.Entry `json:"refs"`
}

// Cluster is a cluster of EKS.
type Cluster struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Name    string `json:"name"`
}

// String is the cluster as --covers takes it.
func (c Cluster) String() string { return "eks:" + c.Account + "/" + c.Region + "/" + c.Name }

// clusterName follows https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html.
var clusterName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$`)

// ParseCluster reads eks:ACCOUNT/REGION/CLUSTER.
func ParseCluster(s string) (Cluster, error) {
	rest, ok := strings.CutPrefix(s, "eks:")
	parts := strings.Split(rest, "/")
	switch {
	case !ok || len(parts) != 3:
		return Cluster{}, fmt.Errorf("%q is not eks:ACCOUNT/REGION/CLUSTER", s)
	case !image.ValidAccount(parts[0]):
		return Cluster{}, fmt.Errorf("%q is not an account id of 12 digits", parts[0])
	case !image.ValidRegion(parts[1]):
		return Cluster{}, fmt.Errorf("%q is not a region", parts[1])
	case !clusterName.MatchString(parts[2]):
		return Cluster{}, fmt.Errorf("%q is not the name of a cluster", parts[2])
	}
	return Cluster{parts[0], parts[1], parts[2]}, nil
}

var useListName = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._-]{0,149}$`)

// ValidUseListName reports whether a list may be called so.
func ValidUseListName(s string) bool { return useListName.MatchString(s) }

func useListKey(name string) (string, error) {
	if !ValidUseListName(name) {
		return "", fmt.Errorf("%q is not the name of a list (letters, digits and ._-)", name)
	}
	return "uses/" + name + ".json", nil
}

// SaveUseList stores a list in place of the one of the same name, if there is one.
func (s *Store) SaveUseList(ctx context.Context, l UseList) error {
	key, err := useListKey(l.Name)
	if err != nil {
		return err
	}
	l.Schema = useListSchema
	return s.writeJSON(ctx, key, blob.WriterOptions{}, l)
}

// UseList gives an imported list. The error of one that is not there satisfies IsNotExist.
func (s *Store) UseList(ctx context.Context, name string) (UseList, error) {
	key, err := useListKey(name)
	if err != nil {
		return UseList{}, err
	}
	var l UseList
	if err := s.readJSON(ctx, key, &l); err != nil {
		return UseList{}, err
	}
	if l.Schema != useListSchema || l.Name != name {
		return UseList{}, fmt.Errorf("read %s: it is %q of schema %q", key, l.Name, l.Schema)
	}
	return l, nil
}

// UseLists gives the names of the imported lists, sorted.
func (s *Store) UseLists(ctx context.Context) ([]string, error) {
	var names []string
	list := s.bucket.List(&blob.ListOptions{Prefix: "uses/"})
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list imported uses: %w", hint(err))
		}
		if name, ok := strings.CutSuffix(strings.TrimPrefix(o.Key, "uses/"), ".json"); ok && ValidUseListName(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// RemoveUseList takes a list out of the store. The error of one that is not there satisfies IsNotExist.
func (s *Store) RemoveUseList(ctx context.Context, name string) error {
	key, err := useListKey(name)
	if err != nil {
		return err
	}
	if err := s.bucket.Delete(ctx, key); err != nil {
		return fmt.Errorf("remove %s: %w", key, err)
	}
	return nil
}

// Imports are the uses from elsewhere as a run saw them: those of imported lists and of external commands.
type Imports struct {
	Uses    []image.Use  `json:"uses,omitempty"`
	Notes   []image.Note `json:"notes,omitempty"`
	Covered []Covered    `json:"covered,omitempty"`
}

// Covered is a cluster that a list stands in for.
type Covered struct {
	Cluster
	Origin string `json:"origin"` // the list, in words
}

// importsFile is Imports as they are stored.
type importsFile struct {
	Schema string `json:"schema"`
	Run    string `json:"run"`
	Imports
}

func importsKey(id string) (string, error) {
	if !runID.MatchString(id) {
		return "", fmt.Errorf("%q is not the id of a run: %w", id, ErrNoRun)
	}
	return "runs/" + id + "/imports.json.zst", nil
}

// SaveImports stores what a run saw of elsewhere, before the run itself is: a run that is stored has all of it.
func (s *Store) SaveImports(ctx context.Context, id string, i Imports) error {
	key, err := importsKey(id)
	if err != nil {
		return err
	}
	return s.writeZstd(ctx, key, func(w io.Writer) error { return json.NewEncoder(w).Encode(importsFile{importsSchema, id, i}) })
}

// LoadImports gives what a run saw of elsewhere.
func (s *Store) LoadImports(ctx context.Context, r Run) (Imports, error) {
	if !r.Imports {
		return Imports{}, nil
	}
	key, err := importsKey(r.ID)
	if err != nil {
		return Imports{}, err
	}
	var f importsFile
	if err := s.readZstd(ctx, key, func(r io.Reader) error { return decodeOne(r, &f) }); err != nil {
		return Imports{}, err
	}
	if f.Schema != importsSchema || f.Run != r.ID {
		return Imports{}, fmt.Errorf("read %s: it is %q of run %q", key, f.Schema, f.Run)
	}
	return f.Imports, nil
}
