package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"demurrage/internal/journal"
	"demurrage/internal/store"
	"demurrage/report"
)

func historyCommand() *cli.Command {
	return &cli.Command{
		Name:  "history",
		Usage: "lists the scans and deletions of the store, newest first",
		Description: `  demurrage history
  demurrage history --format json --last 100`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "table", Usage: "table, json or markdown"},
			&cli.IntFlag{Name: "last", Value: 20, Usage: "at most `N` entries; 0: all"},
		},
		Action: func(c *cli.Context) error {
			format, err := report.ParseFormat(c.String("format"))
			if err != nil {
				return err
			}
			if c.Int("last") < 0 {
				return fmt.Errorf("--last: %d is less than 0", c.Int("last"))
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			entries, err := s.history(c.Context, c.Int("last"))
			if err != nil {
				return err
			}
			width, _ := terminal(s.stdout)
			return report.History(s.stdout, entries, format, report.TermOptions{Width: width, Color: color(c, s.stdout)})
		},
	}
}

// history reads what the store has of past runs, newest first.
func (s *session) history(ctx context.Context, last int) ([]report.HistoryEntry, error) {
	var entries []report.HistoryEntry
	for run, err := range s.store.Runs(ctx) {
		if err != nil && run.ID == "" {
			return nil, err
		}
		if last > 0 && len(entries) == last {
			break
		}
		e := report.HistoryEntry{ID: run.ID, Kind: "scan", StartedAt: run.StartedAt, FinishedAt: run.FinishedAt,
			Accounts: len(run.Accounts), Targets: len(run.Targets), Unscanned: len(run.Unscanned)}
		if err != nil {
			e.Err = err.Error()
		}
		entries = append(entries, e)
	}
	ids, err := s.store.Journals(ctx)
	if err != nil {
		return nil, err
	}
	for i, id := range slices.Backward(ids) {
		if last > 0 && len(ids)-i > last {
			break
		}
		e := report.HistoryEntry{ID: id, Kind: "delete"}
		summary, err := s.sweepSummary(ctx, id)
		if err != nil {
			e.Err = err.Error()
		} else {
			e.Sweep, e.StartedAt, e.FinishedAt, e.Run = &summary, summary.FirstBegun, summary.EndedAt, summary.Last.Run
		}
		entries = append(entries, e)
	}
	started := func(e *report.HistoryEntry) time.Time {
		if !e.StartedAt.IsZero() {
			return e.StartedAt
		}
		t, _ := time.Parse("20060102T150405Z", e.ID[:min(len(e.ID), len("20060102T150405Z"))])
		return t
	}
	slices.SortStableFunc(entries, func(a, b report.HistoryEntry) int { return started(&b).Compare(started(&a)) })
	if last > 0 && len(entries) > last {
		entries = entries[:last]
	}
	return entries, nil
}

// sweepSummary gives the summary of a sweep, of an interrupted one by its journal.
func (s *session) sweepSummary(ctx context.Context, id string) (journal.Summary, error) {
	var summary journal.Summary
	err := s.store.LoadSweep(ctx, id, &summary)
	if !store.IsNotExist(err) {
		return summary, err
	}
	ledger, err := journal.Replay(s.store.JournalRecords(ctx, id))
	if err != nil {
		return summary, err
	}
	return ledger.Summary(), nil
}
