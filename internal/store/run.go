package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"

	"demurrage/internal/image"
	"demurrage/internal/scan"
)

const runSchema = "demurrage/run/1"

// Run says what a run is: when it was, under which configuration, and which accounts and targets it was meant to
// cover. With it a stored run can be planned and reported without its configuration.
type Run struct {
	Schema       string        `json:"schema"`
	ID           string        `json:"id"`
	StartedAt    time.Time     `json:"started_at"`
	FinishedAt   time.Time     `json:"finished_at,omitzero"` // zero: it was interrupted, or is still going on
	Now          time.Time     `json:"now,omitzero"`         // what ages are counted from, where that was not the start of the run
	ConfigSHA256 string        `json:"config_sha256"`
	Generations  string        `json:"generations"` // the rules by which old revisions and versions were looked at or passed over
	Version      string        `json:"version"`
	Hub          string        `json:"hub,omitempty"` // account that the run was made from
	Targets      []scan.Target `json:"targets"`
	Accounts     []Account     `json:"accounts"`
	Unscanned    []Account     `json:"unscanned,omitempty"` // in the organization, and not looked at
	// Coverage is what was found out before any target was scanned: regions that are not enabled in an account, and
	// accounts whose regions could not be listed.
	Coverage []image.Coverage `json:"coverage,omitempty"`
	// Organization is what the organization said of itself; without it, policies that admit it admit nobody knows whom.
	Organization image.Organization `json:"organization,omitzero"`
	// Imports: it saw uses from elsewhere. They are an object of their own, which has to be there then.
	Imports bool `json:"imports,omitempty"`
}

// Account is what a run knows about an account.
type Account struct {
	ID         string            `json:"id"`
	Name       string            `json:"name,omitempty"`
	Owner      string            `json:"owner,omitempty"`
	CostCenter string            `json:"cost_center,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	OU         string            `json:"ou,omitempty"`
	State      string            `json:"state,omitempty"`  // as AWS Organizations gives it
	Reason     string            `json:"reason,omitempty"` // of an unscanned one: why
}

// ErrNoRun says that the store has no such run.
var ErrNoRun = errors.New("no such run")

var runID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}$`)

// NewID makes the id of a run that starts at t. Ids sort by time.
func NewID(t time.Time) string {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return t.UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}

func runKey(id string) (string, error) {
	if !runID.MatchString(id) {
		return "", fmt.Errorf("%q is not the id of a run: %w", id, ErrNoRun)
	}
	return "runs/" + id + "/run.json", nil
}

// Begin stores a new run and returns it with its schema and, where it has none, its id and start.
func (s *Store) Begin(ctx context.Context, r Run) (Run, error) {
	r.Schema, r.FinishedAt = runSchema, time.Time{}
	if r.StartedAt.IsZero() {
		r.StartedAt = time.Now().UTC()
	}
	if r.ID == "" {
		r.ID = NewID(r.StartedAt)
	}
	key, err := runKey(r.ID)
	if err != nil {
		return r, err
	}
	for _, t := range r.Targets {
		if _, err := targetKey(r.ID, place(t)); err != nil {
			return r, err
		}
	}
	return r, s.writeJSON(ctx, key, blob.WriterOptions{IfNotExist: true}, r)
}

// Finish marks a run as finished: every target that could be scanned is in the store.
func (s *Store) Finish(ctx context.Context, id string, at time.Time) error {
	r, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	r.FinishedAt = at.UTC()
	key, err := runKey(id)
	if err != nil {
		return err
	}
	return s.writeJSON(ctx, key, blob.WriterOptions{}, r)
}

// Get gives a run; the error is ErrNoRun if there is none of that id.
func (s *Store) Get(ctx context.Context, id string) (Run, error) {
	key, err := runKey(id)
	if err != nil {
		return Run{}, err
	}
	var r Run
	if err := s.readJSON(ctx, key, &r); IsNotExist(err) {
		return Run{}, fmt.Errorf("run %s: %w", id, ErrNoRun)
	} else if err != nil {
		return Run{}, err
	}
	if r.Schema != runSchema {
		return Run{}, fmt.Errorf("read %s: schema %q instead of %q", key, r.Schema, runSchema)
	}
	if r.ID != id {
		return Run{}, fmt.Errorf("read %s: it is run %q", key, r.ID)
	}
	return r, nil
}

// Runs gives all runs, newest first. One that cannot be read comes with an error and its id alone.
func (s *Store) Runs(ctx context.Context) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		ids, err := s.runIDs(ctx)
		if err != nil {
			yield(Run{}, err)
			return
		}
		for _, id := range slices.Backward(ids) {
			r, err := s.Get(ctx, id)
			if errors.Is(err, ErrNoRun) {
				continue // half deleted
			}
			if err != nil {
				r = Run{ID: id}
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Last gives the newest finished run; the error is ErrNoRun if there is none.
func (s *Store) Last(ctx context.Context) (Run, error) {
	for r, err := range s.Runs(ctx) {
		if err != nil || !r.FinishedAt.IsZero() {
			return r, err
		}
	}
	return Run{}, fmt.Errorf("no run was finished: %w", ErrNoRun)
}

func (s *Store) runIDs(ctx context.Context) ([]string, error) {
	var ids []string
	list := s.bucket.List(&blob.ListOptions{Prefix: "runs/", Delimiter: "/"})
	for {
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", hint(err))
		}
		if id := strings.TrimSuffix(strings.TrimPrefix(o.Key, "runs/"), "/"); o.IsDir && runID.MatchString(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}
