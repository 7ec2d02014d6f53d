package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"

	"demurrage/internal/image"
	"demurrage/internal/scan"
)

const usageSchema = "demurrage/usage/1"

// Usage is what was found in a target, but for its registry.
type Usage struct {
	Account   string
	Region    string
	ScannedAt time.Time
	Uses      []image.Use
	Coverage  []image.Coverage
	Mirrors   []image.Mirror
	Trusts    []string // as in scan.Snapshot
	Notes     []image.Note
	Layers    scan.Layers // as scan.Snapshot.LayersMode
	Mounted   bool        // as in scan.Snapshot
}

// usageFile is Usage as it is stored.
type usageFile struct {
	Schema    string         `json:"schema"`
	Account   string         `json:"account"`
	Region    string         `json:"region"`
	ScannedAt time.Time      `json:"scanned_at"`
	Coverage  []coverageFile `json:"coverage"`
	Uses      []image.Use    `json:"uses"`
	Mirrors   []image.Mirror `json:"mirrors,omitempty"`
	Trusts    []string       `json:"trusts,omitempty"`
	Notes     []image.Note   `json:"notes,omitempty"`
	Layers    scan.Layers    `json:"layers,omitempty"`
	Mounted   bool           `json:"mounted,omitempty"`
}

// coverageFile stores what the output of a plan leaves out.
type coverageFile struct {
	image.Coverage
	Unread bool `json:"unread,omitempty"`
}

func place(t scan.Target) image.Registry { return image.Registry{Account: t.Account, Region: t.Region} }

func targetKey(id string, t image.Registry) (string, error) {
	if !runID.MatchString(id) {
		return "", fmt.Errorf("%q is not the id of a run: %w", id, ErrNoRun)
	}
	if !image.ValidAccount(t.Account) || !image.ValidRegion(t.Region) {
		return "", fmt.Errorf("%q in %q is not an account in a region", t.Account, t.Region)
	}
	return "runs/" + id + "/targets/" + t.Account + "/" + t.Region + "/", nil
}

const (
	usageName     = "usage.json.zst"
	inventoryName = "inventory.jsonl.zst"
	layersName    = "layers.jsonl.zst"
)

// SaveSnapshot stores a target of a run. The target counts as done only when all of it is stored.
func (s *Store) SaveSnapshot(ctx context.Context, id string, snap *scan.Snapshot) error {
	key, err := targetKey(id, image.Registry{Account: snap.Account, Region: snap.Region})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(snap.Coverage, func(c image.Coverage) bool { return c.Source == image.SourceECR }) {
		err := s.writeZstd(ctx, key+inventoryName, func(w io.Writer) error { return encodeLines(w, snap.Inventories) })
		if err != nil {
			return err
		}
	}
	if len(snap.Contents) > 0 {
		if err := s.writeZstd(ctx, key+layersName, func(w io.Writer) error { return encodeLines(w, snap.Contents) }); err != nil {
			return err
		}
	}
	u := usageFile{
		Schema: usageSchema, Account: snap.Account, Region: snap.Region,
		ScannedAt: snap.ScannedAt.UTC(), Coverage: []coverageFile{}, Uses: snap.Uses,
		Mirrors: snap.Mirrors, Trusts: snap.Trusts, Notes: snap.Notes,
		Layers: snap.LayersMode, Mounted: snap.Mounted,
	}
	for _, c := range snap.Coverage {
		u.Coverage = append(u.Coverage, coverageFile{c, c.Unread})
	}
	return s.writeZstd(ctx, key+usageName, func(w io.Writer) error { return json.NewEncoder(w).Encode(&u) })
}

func encodeLines[T any](w io.Writer, lines []T) error {
	enc := json.NewEncoder(w)
	for i := range lines {
		if err := enc.Encode(&lines[i]); err != nil {
			return err
		}
	}
	return nil
}

// LoadUsage gives the uses and the coverage of a target. The error of a target that was not scanned satisfies
// IsNotExist.
func (s *Store) LoadUsage(ctx context.Context, id string, t image.Registry) (*Usage, error) {
	key, err := targetKey(id, t)
	if err != nil {
		return nil, err
	}
	key += usageName
	var f usageFile
	if err := s.readZstd(ctx, key, func(r io.Reader) error { return decodeOne(r, &f) }); err != nil {
		return nil, err
	}
	if f.Schema != usageSchema || f.Account != t.Account || f.Region != t.Region {
		return nil, fmt.Errorf("read %s: it is %q of %s in %s", key, f.Schema, f.Account, f.Region)
	}
	u := &Usage{
		Account: f.Account, Region: f.Region, ScannedAt: f.ScannedAt, Uses: f.Uses, Mirrors: f.Mirrors, Trusts: f.Trusts, Notes: f.Notes,
		Layers: f.Layers, Mounted: f.Mounted,
	}
	for _, c := range f.Coverage {
		c.Coverage.Unread = c.Unread
		u.Coverage = append(u.Coverage, c.Coverage)
	}
	return u, nil
}

// Done gives the targets of a run that are stored.
func (s *Store) Done(ctx context.Context, id string) (map[image.Registry]bool, error) {
	if !runID.MatchString(id) {
		return nil, fmt.Errorf("%q is not the id of a run: %w", id, ErrNoRun)
	}
	prefix := "runs/" + id + "/targets/"
	done := make(map[image.Registry]bool)
	list := s.bucket.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", prefix, err)
		}
		parts := strings.Split(strings.TrimPrefix(o.Key, prefix), "/")
		if len(parts) == 3 && parts[2] == usageName {
			done[image.Registry{Account: parts[0], Region: parts[1]}] = true
		}
	}
}

// Inventories gives the repositories of a run's planned targets that are done, by account, region and name, one at
// a time. After an error it ends; what came before is then not all there is.
func (s *Store) Inventories(ctx context.Context, id string) iter.Seq2[image.Inventory, error] {
	return func(yield func(image.Inventory, error) bool) {
		registries, err := s.registries(ctx, id)
		if err != nil {
			yield(image.Inventory{}, err)
			return
		}
		for _, r := range registries {
			for inv, err := range s.Inventory(ctx, id, r) {
				if !yield(inv, err) || err != nil {
					return
				}
			}
		}
	}
}

// registries gives the planned targets of a run that are done, sorted.
func (s *Store) registries(ctx context.Context, id string) ([]image.Registry, error) {
	run, err := s.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	done, err := s.Done(ctx, id)
	if err != nil {
		return nil, err
	}
	var registries []image.Registry
	for _, t := range run.Targets {
		if t.Planned && done[place(t)] {
			registries = append(registries, place(t))
		}
	}
	slices.SortFunc(registries, func(a, b image.Registry) int {
		return image.CompareRepositories(image.Repository{Registry: a}, image.Repository{Registry: b})
	})
	return slices.Compact(registries), nil
}

// Inventory gives the repositories of one target by name. After an error it ends; what came before is then not all
// there is.
func (s *Store) Inventory(ctx context.Context, id string, t image.Registry) iter.Seq2[image.Inventory, error] {
	return lines(ctx, s, id, t, inventoryName, func(inv *image.Inventory) image.Repository { return inv.Repository })
}

// Contents gives what the images of one target's repositories are stored as, by the repository's name. The error of a
// target of which nothing was stored, since its layers were not looked at or it has no repositories, satisfies
// IsNotExist. After an error it ends.
func (s *Store) Contents(ctx context.Context, id string, t image.Registry) iter.Seq2[image.Contents, error] {
	return lines(ctx, s, id, t, layersName, func(c *image.Contents) image.Repository { return c.Repository })
}

// lines gives what an object of a target has for each of its repositories.
func lines[T any](ctx context.Context, s *Store, id string, t image.Registry, name string, repository func(*T) image.Repository) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		key, err := targetKey(id, t)
		if err != nil {
			yield(*new(T), err)
			return
		}
		err = s.readZstd(ctx, key+name, func(r io.Reader) error {
			dec := json.NewDecoder(bufio.NewReader(r))
			last := ""
			for {
				var line T
				if err := dec.Decode(&line); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				of := repository(&line)
				if of.Registry != t || of.Name <= last {
					return fmt.Errorf("repository %s is out of place", of)
				}
				last = of.Name
				if !yield(line, nil) {
					return errStopped
				}
			}
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(*new(T), err)
		}
	}
}

var errStopped = errors.New("the caller has seen enough")
