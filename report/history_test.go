package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"
)

func sampleHistory(t testing.TB) []HistoryEntry {
	all := sweeps(t)
	of := func(name string, id string) HistoryEntry {
		s := all[name].Ledger.Summary()
		return HistoryEntry{ID: id, Kind: "delete", StartedAt: s.FirstBegun, FinishedAt: s.EndedAt, Run: s.Last.Run, Sweep: &s}
	}
	return []HistoryEntry{
		of("interrupted", "20261001T093000Z-0006"),
		of("complete", "20261001T093000Z-0005"),
		of("abandoned", "20261001T093000Z-0004"),
		{ID: "20261001T090000Z-0003", Kind: "scan", StartedAt: now.Add(-30 * time.Minute), FinishedAt: now.Add(-30*time.Minute + 4321*time.Millisecond), Accounts: 512, Targets: 2_048, Unscanned: 1},
		{ID: "20260930T090000Z-0002", Kind: "scan", StartedAt: now.Add(-day), Accounts: 1, Targets: 1},
		{ID: "20260929T090000Z-0001", Kind: "delete", Err: "journal of sweep 20260929T090000Z-0001: line 3 is damaged"},
		{ID: "20260928T090000Z-0000", Kind: "scan", Err: "read runs/20260928T090000Z-0000/run.json: unexpected end of JSON input"},
	}
}

func TestHistoryGolden(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"history-80.txt": func(w io.Writer) error { return History(w, sampleHistory(t), FormatTable, TermOptions{Width: 80}) },
		"history-40.txt": func(w io.Writer) error { return History(w, sampleHistory(t), FormatTable, TermOptions{Width: 40}) },
		"history-color.txt": func(w io.Writer) error {
			return History(w, sampleHistory(t), FormatTable, TermOptions{Width: 120, Color: true})
		},
		"history.json": func(w io.Writer) error { return History(w, sampleHistory(t), FormatJSON, TermOptions{}) },
		"history.md":   func(w io.Writer) error { return History(w, sampleHistory(t), FormatMarkdown, TermOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, name, b.Bytes())
			if err := write(fails{}); !errors.Is(err, errFull) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestHistoryOfNothing(t *testing.T) {
	for format, want := range map[Format]string{
		FormatTable: "No runs yet.\n", FormatMarkdown: "No runs yet.\n", FormatJSON: "{\"schema\": \"demurrage/history/1\",\n \"runs\": []}\n",
	} {
		var b bytes.Buffer
		if err := History(&b, nil, format, TermOptions{}); err != nil || b.String() != want {
			t.Errorf("%s: %v, %q", format, err, &b)
		}
	}
	for _, format := range []Format{FormatCSV, FormatWorkbook, ""} {
		var b bytes.Buffer
		if err := History(&b, sampleHistory(t), format, TermOptions{}); err == nil || b.Len() > 0 {
			t.Errorf("%s: no error", format)
		}
	}
}

func TestHistoryFits(t *testing.T) {
	for width := 40; width <= 200; width++ {
		var b bytes.Buffer
		if err := History(&b, sampleHistory(t), FormatTable, TermOptions{Width: width}); err != nil {
			t.Fatal(err)
		}
		checkLines(t, width, b.String(), width, false)
	}
}

func TestHostileHistory(t *testing.T) {
	for i, text := range hostileTexts {
		s := hostileSweep(t, text).Ledger.Summary()
		entries := []HistoryEntry{
			{ID: text, Kind: "delete", StartedAt: now, FinishedAt: now, Run: text, Sweep: &s},
			{ID: text, Kind: text, Err: text},
		}
		for _, width := range []int{0, 40, 60, 80, 132} {
			var b bytes.Buffer
			if err := History(&b, entries, FormatTable, TermOptions{Width: width, Color: width == 80}); err != nil {
				t.Fatal(err)
			}
			checkLines(t, i, b.String(), width, width == 80)
		}
		var md, js bytes.Buffer
		if err := errors.Join(History(&md, entries, FormatMarkdown, TermOptions{}), History(&js, entries, FormatJSON, TermOptions{})); err != nil {
			t.Fatal(err)
		}
		checkMarkdown(t, i, md.String(), 7)
		if strings.ContainsFunc(js.String(), func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }) {
			t.Errorf("text %d: a character that a terminal obeys", i)
		}
		var doc struct {
			Runs []struct {
				ID, Error string
				Delete    struct{ Who, Abandoned string }
			}
		}
		if err := json.Unmarshal(js.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		if want := asJSON(text); doc.Runs[0].ID != want || doc.Runs[0].Delete.Who != want || doc.Runs[0].Delete.Abandoned != want || doc.Runs[1].Error != want {
			t.Errorf("text %d: read back as %.200q", i, js.String())
		}
	}
}
