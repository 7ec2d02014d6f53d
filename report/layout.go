package report

import (
	"fmt"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// The layout of the terminal: lines that fit its width, whatever the text in them.

const (
	bold   = "\x1b[1m"
	red    = "\x1b[1;31m"
	yellow = "\x1b[1;33m"
	plain  = "\x1b[0m"
)

func (t *terminal) paint(color, s string) string {
	if !t.color || color == "" || s == "" {
		return s
	}
	return color + s + plain
}

func (t *terminal) line(s string) { fmt.Fprintln(t.w, s) }

func (t *terminal) heading(color, s string) { t.wrappedIn(color, "", s, 0) }

// wrapped writes text in as many lines as it needs, at most so many unless most is 0.
func (t *terminal) wrapped(indent, s string, most int) { t.wrappedIn("", indent, s, most) }

func (t *terminal) wrappedIn(color, indent, s string, most int) {
	lines := wrap(visible(s), t.width-len(indent)-2, most)
	if most > 0 && len(lines) > most {
		lines = lines[:most]
		lines[most-1] = cut(lines[most-1]+"…", t.width-len(indent)-2)
	}
	for i, l := range lines {
		if i > 0 {
			l = "  " + l
		}
		t.line(indent + t.paint(color, l))
	}
}

// wrap breaks text between words, and words that are longer than a line wherever it ends. It stops soon after so
// many lines, unless most is 0.
func wrap(s string, width, most int) []string {
	var lines []string
	line, used := "", 0
	for word := range strings.FieldsSeq(s) {
		w := text.StringWidth(word)
		if used > 0 && used+1+w <= width {
			line += " " + word
			used += 1 + w
			continue
		}
		if used > 0 {
			lines = append(lines, line)
		}
		for w > width && (most == 0 || len(lines) <= most) {
			head := prefix(word, width)
			lines = append(lines, head)
			word = word[len(head):]
			w -= text.StringWidth(head)
		}
		if most > 0 && len(lines) > most {
			return lines
		}
		line, used = word, w
	}
	return append(lines, line)
}

// prefix is as much of s as fits a width, one character at least.
func prefix(s string, width int) string {
	used := 0
	for i, r := range s {
		used += text.RuneWidth(r)
		if used > width && i > 0 {
			return s[:i]
		}
	}
	return s
}

// suffix is as much of the end of s as fits a width.
func suffix(s string, width int) string {
	runes := []rune(s)
	i, used := len(runes), 0
	for i > 0 && used+text.RuneWidth(runes[i-1]) <= width {
		i--
		used += text.RuneWidth(runes[i])
	}
	return string(runes[i:])
}

// cut shortens s to a width at its end.
func cut(s string, width int) string {
	if text.StringWidth(s) <= width {
		return s
	}
	return prefix(s, width-text.StringWidth("…")) + "…"
}

// squeeze shortens s to a width in its middle: what names begin and end with tells them apart.
func squeeze(s string, width int) string {
	if text.StringWidth(s) <= width {
		return s
	}
	left := max(width-text.StringWidth("…"), 1)
	head := prefix(s, (left+1)/2)
	return head + "…" + suffix(s[len(head):], left-text.StringWidth(head))
}

// column is a column of numbers. Where a table is too wide, the columns with the highest drop go first; those with 0 stay.
type column struct {
	title string
	drop  int
}

// grid is a table whose first column holds names and whose others hold numbers.
type grid struct {
	first   string
	columns []column
	rows    [][]string // a row of one cell is the heading of a group
}

func (g *grid) add(name string, cells ...string) {
	g.rows = append(g.rows, append([]string{visible(name)}, cells...))
}

func (g *grid) group(name string) { g.rows = append(g.rows, []string{visible(name)}) }

const gutter = "  " // before each column

// grid writes a table that fits the width: it gives up columns before it cuts names below a width that still tells
// them apart.
func (t *terminal) grid(g *grid) {
	const enough = 32
	widths := make([]int, len(g.columns))
	names := text.StringWidth(g.first)
	for i, c := range g.columns {
		widths[i] = text.StringWidth(c.title)
	}
	for _, row := range g.rows {
		names = max(names, text.StringWidth(row[0]))
		for i, cell := range row[1:] {
			widths[i] = max(widths[i], text.StringWidth(cell))
		}
	}
	left, shown := t.width-len(gutter), make([]bool, len(widths))
	for i, w := range widths {
		left -= len(gutter) + w
		shown[i] = true
	}
	for drop := 9; drop > 0 && left < min(names, enough); drop-- {
		for i, c := range g.columns {
			if c.drop == drop {
				left += len(gutter) + widths[i]
				shown[i] = false
			}
		}
	}
	names = min(names, max(left, 8))

	style := table.StyleDefault
	style.Options = table.Options{SeparateHeader: true}
	style.Box.PaddingLeft, style.Box.PaddingRight = gutter, ""
	style.Format = table.FormatOptions{}
	pretty := table.NewWriter()
	pretty.SetStyle(style)
	configs := []table.ColumnConfig{{Number: 1, WidthMin: names, WidthMax: names}}
	header := table.Row{squeeze(g.first, names)}
	for i, c := range g.columns {
		if shown[i] {
			header = append(header, c.title)
			configs = append(configs, table.ColumnConfig{Number: len(header), Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
	}
	pretty.SetColumnConfigs(configs)
	pretty.AppendHeader(header)
	for _, row := range g.rows {
		name := squeeze(row[0], names)
		if len(row) == 1 {
			name = t.paint(bold, name)
		}
		cells := table.Row{name}
		for i, cell := range row[1:] {
			if shown[i] {
				cells = append(cells, cell)
			}
		}
		pretty.AppendRow(cells)
	}
	for line := range strings.Lines(pretty.Render()) {
		t.line(strings.TrimRight(line, " \n"))
	}
}
