package report

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"demurrage/internal/journal"
	"demurrage/planner"
)

// HistoryEntry is a run of the past.
type HistoryEntry struct {
	ID         string
	Kind       string // "scan" or "delete"
	StartedAt  time.Time
	FinishedAt time.Time // zero: it was interrupted, or is still going on

	Accounts, Targets, Unscanned int // of a scan

	Run   string           // of a deletion: the run that it was checked against
	Sweep *journal.Summary // of a deletion

	Err string // why it cannot be read; then little else is known of it
}

// HistorySchema is the version of the JSON contract of the history.
const HistorySchema = "demurrage/history/1"

// History lists runs, in the order in which they are given.
func History(w io.Writer, entries []HistoryEntry, format Format, opts TermOptions) error {
	switch format {
	case FormatTable:
		t := newTerminal(w, opts, &Run{Plan: &planner.Plan{}})
		t.history(entries)
		return t.w.Flush()
	case FormatMarkdown:
		m := &markdown{w: bufio.NewWriter(w)}
		m.history(entries)
		return m.w.Flush()
	case FormatJSON:
		return historyJSON(w, entries)
	default:
		return fmt.Errorf("the history cannot be had as %s: use table, json or markdown", format)
	}
}

func (e *HistoryEntry) started() string {
	if e.StartedAt.IsZero() {
		return "–"
	}
	return e.StartedAt.UTC().Format("2006-01-02 15:04")
}

func (e *HistoryEntry) took() string {
	switch {
	case e.Err != "":
		return "UNREADABLE"
	case e.FinishedAt.IsZero():
		return "INTERRUPTED or running"
	case e.StartedAt.IsZero():
		return "–"
	}
	return max(e.FinishedAt.Sub(e.StartedAt), 0).Round(time.Second).String()
}

// result says what came of it.
func (e *HistoryEntry) result() string {
	s := e.Sweep
	switch {
	case e.Err != "":
		return "cannot be read: " + e.Err
	case s == nil && e.Kind == "delete":
		return "nothing on record"
	case s == nil:
		return count(e.Accounts, "account") + ", " + count(e.Targets, "target") + unscanned(e.Unscanned)
	}
	out := "deleted " + share(s.Deleted, s.Planned) + others(s, journal.Tally{})
	if s.Left.Images != 0 {
		out += "; " + number(s.Left.Images) + " left"
	}
	if s.Abandoned != "" {
		out += "; ABANDONED: " + s.Abandoned
	}
	return out
}

// who is the identity behind a deletion.
func (e *HistoryEntry) who() string {
	if e.Sweep == nil {
		return ""
	}
	return e.Sweep.Last.Who
}

// history writes a line an entry, and below it what came of it.
func (t *terminal) history(entries []HistoryEntry) {
	if len(entries) == 0 {
		t.line("No runs yet.")
		return
	}
	const indent = "    "
	rows := [][4]string{{"STARTED (UTC)", "KIND", "TOOK", "ID"}}
	for i := range entries {
		e := &entries[i]
		rows = append(rows, [4]string{e.started(), squeeze(visible(e.Kind), 8), e.took(), visible(e.ID)})
	}
	var widths [4]int
	for _, row := range rows {
		for c, cell := range row {
			widths[c] = max(widths[c], text.StringWidth(cell))
		}
	}
	room := t.width - widths[0] - widths[1] - widths[2] - 3*len(gutter)
	const enough = 22 // for an id
	for i, row := range rows {
		color := bold
		if i > 0 {
			switch e := &entries[i-1]; {
			case e.Err != "":
				color = red
			case e.FinishedAt.IsZero():
				color = yellow
			default:
				color = ""
			}
		}
		if room < min(widths[3], enough) {
			t.wrappedIn(color, "", row[0]+" "+row[1]+" "+row[2]+" "+row[3], 3)
		} else {
			line := ""
			for c, cell := range row[:3] {
				line += text.Pad(cell, widths[c]+len(gutter), ' ')
			}
			t.line(t.paint(color, line+squeeze(row[3], room)))
		}
		if i == 0 {
			continue
		}
		e := &entries[i-1]
		t.wrapped(indent, e.result(), 4)
		if who := e.who(); who != "" {
			t.wrapped(indent, "by "+who+e.checked(), 4)
		}
	}
}

// checked says what a deletion was checked against.
func (e *HistoryEntry) checked() string {
	if e.Run == "" {
		return ""
	}
	return ", checked against run " + e.Run
}

func (m *markdown) history(entries []HistoryEntry) {
	if len(entries) == 0 {
		m.line("No runs yet.")
		return
	}
	m.line("| Started (UTC) | Kind | Took | Id | Result | By |")
	m.line("| --- | --- | ---: | --- | --- | --- |")
	for i := range entries {
		e := &entries[i]
		m.line("| ", e.started(), " | ", mdText(e.Kind), " | ", e.took(), " | ", mdText(e.ID), " | ", mdText(e.result()), " | ", mdText(e.who()), " |")
	}
}

type jsonHistory struct {
	ID         string     `json:"id"`
	Kind       string     `json:"kind"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"` // null: it was interrupted, or is still going on
	Error      string     `json:"error,omitempty"`

	Scan   *jsonScan  `json:"scan,omitempty"`
	Delete *jsonSwept `json:"delete,omitempty"`
}

type jsonScan struct {
	Accounts  int `json:"accounts"`
	Targets   int `json:"targets"`
	Unscanned int `json:"unscanned_accounts"`
}

type jsonSwept struct {
	Run       string `json:"run_id"`
	Who       string `json:"who"`
	State     string `json:"state"`
	Abandoned string `json:"abandoned,omitempty"`
	Attempts  int    `json:"attempts"`
	Calls     int    `json:"calls"`
	journal.Counts
	Codes []journal.CodeCount `json:"codes"`
}

func historyJSON(w io.Writer, entries []HistoryEntry) error {
	j := newJSONWriter(w)
	j.field("schema", HistorySchema)
	j.list("runs")
	for i := range entries {
		e := &entries[i]
		out := jsonHistory{ID: e.ID, Kind: e.Kind, StartedAt: utc(e.StartedAt), FinishedAt: utc(e.FinishedAt), Error: e.Err}
		switch s := e.Sweep; {
		case e.Err != "":
		case s != nil:
			out.Delete = &jsonSwept{e.Run, s.Last.Who, stateOf(s), s.Abandoned, s.Attempts, s.Calls, s.Counts, orEmpty(s.Codes)}
		case e.Kind == "scan":
			out.Scan = &jsonScan{e.Accounts, e.Targets, e.Unscanned}
		}
		j.entry(&out)
	}
	j.endList()
	return j.close()
}
