package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// Summary counts checks.
type Summary struct {
	OK          int  `json:"ok"`
	Warning     int  `json:"warning"`
	Failed      int  `json:"failed"`
	Attested    int  `json:"attested"`
	Unavailable int  `json:"unavailable"`
	Complete    bool `json:"complete"` // nothing failed
}

// Summarize counts checks by their status.
func Summarize(checks []Check) Summary {
	var s Summary
	for _, c := range checks {
		switch c.Status {
		case OK:
			s.OK++
		case Warning:
			s.Warning++
		case Failed:
			s.Failed++
		case Attested:
			s.Attested++
		case Unavailable:
			s.Unavailable++
		}
	}
	s.Complete = s.Failed == 0
	return s
}

// JSON writes all checks, which are sorted.
func JSON(w io.Writer, checks []Check) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Schema  string  `json:"schema"`
		Checks  []Check `json:"checks"`
		Summary Summary `json:"summary"`
	}{"demurrage/check/1", append([]Check{}, checks...), Summarize(checks)})
}

// row is what is one trouble to whoever mends it: the same in many regions, or many actions that a role lacks.
type row struct {
	account, reason, fix string
	status               Status
	regions, whats       []string
}

// rows gathers what is not well. Failures come first.
func rows(checks []Check) []*row {
	type key struct {
		account, what, reason, fix string
		status                     Status
	}
	var byWhat []*row
	at := map[key]*row{}
	same := map[string]int{}
	for _, c := range checks {
		same[c.common]++
	}
	for _, c := range checks {
		if c.common != "" && same[c.common] > 3 {
			c.Fix = c.common
		}
		if c.Status == OK || c.Status == Unavailable {
			continue
		}
		k := key{c.Account, c.What, c.Error, c.Fix, c.Status}
		if c.role != "" { // the text has the action in it
			k.reason = "not permitted"
		}
		r := at[k]
		if r == nil {
			r = &row{account: c.Account, reason: k.reason, fix: c.Fix, status: c.Status, whats: []string{c.What}}
			at[k] = r
			byWhat = append(byWhat, r)
		}
		r.regions = append(r.regions, c.Region)
	}
	type wide struct {
		account, reason, fix, regions string
		status                        Status
	}
	var rows []*row
	merged := map[wide]*row{}
	for _, r := range byWhat {
		k := wide{r.account, r.reason, r.fix, strings.Join(r.regions, " "), r.status}
		if m := merged[k]; m != nil {
			m.whats = append(m.whats, r.whats...)
			continue
		}
		merged[k] = r
		rows = append(rows, r)
	}
	order := map[Status]int{Failed: 0, Warning: 1, Attested: 2}
	slices.SortStableFunc(rows, func(a, b *row) int { return cmp.Compare(order[a.status], order[b.status]) })
	return rows
}

// few names so many of a list and counts the others.
func few(list []string, most int) string {
	if n := len(list) - most; n > 1 {
		return strings.Join(list[:most], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(list, ", ")
}

// Table writes what is not well for a terminal of a width (0: unknown), what to do about each, and the counts of the rest.
// What is to be copied is on a line of its own, however long.
func Table(w io.Writer, checks []Check, width int) error {
	list := rows(checks)
	var fixes []string
	number := map[string]int{}
	if len(list) > 0 {
		t := table.NewWriter()
		t.SetStyle(table.StyleLight)
		t.Style().Format.Header = text.FormatDefault
		t.AppendHeader(table.Row{"ACCOUNT", "REGION", "WHAT", "STATUS", "DO"})
		room := max(cmp.Or(width, 120)-12-22-8-5-16, 20)
		t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, WidthMax: 22, WidthMaxEnforcer: text.WrapSoft}, {Number: 3, WidthMax: room, WidthMaxEnforcer: text.WrapSoft}, {Number: 5, Align: text.AlignRight, AlignHeader: text.AlignRight}})
		for _, r := range list {
			do := ""
			if r.fix != "" {
				if number[r.fix] == 0 {
					fixes = append(fixes, r.fix)
					number[r.fix] = len(fixes)
				}
				do = strconv.Itoa(number[r.fix])
			}
			what := few(r.whats, 3)
			if r.reason != "" {
				what += ": " + r.reason
			}
			t.AppendRow(table.Row{cmp.Or(r.account, "-"), cmp.Or(oneLine(few(r.regions, 2)), "-"), oneLine(what), string(r.status), do})
		}
		if _, err := fmt.Fprintln(w, t.Render()); err != nil {
			return err
		}
	}
	if len(fixes) > 0 {
		if _, err := fmt.Fprintln(w, "\nWhat to do:"); err != nil {
			return err
		}
	}
	for i, fix := range fixes {
		if _, err := fmt.Fprintf(w, "%3d  %s\n", i+1, breakJSON(oneLine(fix))); err != nil {
			return err
		}
	}
	s := Summarize(checks)
	sep := ""
	if len(list) > 0 {
		sep = "\n"
	}
	_, err := fmt.Fprintf(w, "%s%d ok, %d warnings, %d failed, %d attested, %d unavailable (the service does not exist there)\n", sep, s.OK, s.Warning, s.Failed, s.Attested, s.Unavailable)
	return err
}

// breakJSON puts statements on lines of their own.
func breakJSON(fix string) string {
	return strings.ReplaceAll(strings.ReplaceAll(fix, `: {"Effect"`, ":\n     "+`{"Effect"`), `} `, "}\n     ")
}

// oneLine makes text of AWS safe to print: what breaks lines or controls a terminal is written out.
func oneLine(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.IsGraphic(r):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
