package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"

	"demurrage/internal/cost"
)

// Finance is what was known of prices and bills when a run was reported.
type Finance struct {
	At      time.Time   `json:"at"` // when it was asked for
	Prices  cost.Prices `json:"prices"`
	Bill    *cost.Bill  `json:"bill,omitempty"`
	Missing string      `json:"missing,omitempty"` // why there is no bill, or none newer
}

func financeKey(id string) (string, error) {
	if !runID.MatchString(id) {
		return "", fmt.Errorf("%q is not the id of a run: %w", id, ErrNoRun)
	}
	return "runs/" + id + "/finance.json", nil
}

// SaveFinance stores the prices and the bill that a run is reported with.
func (s *Store) SaveFinance(ctx context.Context, id string, f Finance) error {
	key, err := financeKey(id)
	if err != nil {
		return err
	}
	return s.writeJSON(ctx, key, blob.WriterOptions{}, f)
}

// LoadFinance gives what SaveFinance stored. The error of a run that has none satisfies IsNotExist.
func (s *Store) LoadFinance(ctx context.Context, id string) (f Finance, err error) {
	key, err := financeKey(id)
	if err != nil {
		return f, err
	}
	return f, s.readJSON(ctx, key, &f)
}

const historyPrefix = "history/"

// SaveHistory keeps the summary of a run, which outlives its snapshots.
func (s *Store) SaveHistory(ctx context.Context, id string, v any) error {
	if !runID.MatchString(id) {
		return fmt.Errorf("%q is not the id of a run: %w", id, ErrNoRun)
	}
	return s.writeJSON(ctx, historyPrefix+id+".json", blob.WriterOptions{}, v)
}

// History gives the summaries of runs, oldest first.
func (s *Store) History(ctx context.Context) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		names, err := s.names(ctx, historyPrefix)
		if err != nil {
			yield(nil, err)
			return
		}
		slices.Sort(names)
		for _, name := range names {
			id, ok := strings.CutSuffix(name, ".json")
			if !ok || !runID.MatchString(id) {
				continue
			}
			var raw json.RawMessage
			if err := s.readJSON(ctx, historyPrefix+name, &raw); !yield(raw, err) {
				return
			}
		}
	}
}
