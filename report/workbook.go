package report

import (
	"archive/zip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
	"demurrage/planner"
)

// WorkbookOptions are what the workbook may need beside its own file.
type WorkbookOptions struct {
	// Overflow opens the CSV file for the images to delete that are beyond what a sheet can hold, and gives the
	// name to mention. It is called only if there are such images. Without it the workbook says how many are missing.
	Overflow func() (name string, file io.WriteCloser, err error)

	maxRows int // of a sheet; 0: Excel's own limit
}

// The sheets, in their order.
const (
	sheetSummary        = "Summary"
	sheetCostCentres    = "Cost centres"
	sheetAccounts       = "Accounts"
	sheetRegions        = "Regions"
	sheetRepositories   = "Repositories"
	sheetImages         = "Images to delete"
	sheetBlocked        = "Blocked"
	sheetBroken         = "Broken references"
	sheetTrend          = "Trend"
	sheetReconciliation = "Reconciliation"
	sheetCoverage       = "Coverage"
	sheetAssumptions    = "Assumptions"
	sheetGlossary       = "Glossary"
)

var sheetNames = []string{sheetSummary, sheetCostCentres, sheetAccounts, sheetRegions, sheetRepositories, sheetImages, sheetBlocked, sheetBroken,
	sheetTrend, sheetReconciliation, sheetCoverage, sheetAssumptions, sheetGlossary}

// Workbook writes the run as an Excel workbook. Long sheets are streamed through temporary files, and the workbook
// is compressed straight into w.
func Workbook(w io.Writer, run *Run, opts WorkbookOptions) error {
	return workbook(w, run, newFacts(run), opts)
}

func workbook(w io.Writer, run *Run, f *facts, opts WorkbookOptions) (err error) {
	b := &book{file: excelize.NewFile(), run: run, facts: f, trend: trendOf(run, f), maxRows: opts.maxRows, sums: map[string]map[string]int64{}}
	if b.maxRows == 0 {
		b.maxRows = excelize.TotalRows
	}
	defer func() { err = errors.Join(err, b.file.Close()) }()
	if err := b.prepare(); err != nil {
		return err
	}
	for _, write := range []func() error{
		b.costCentres,
		b.accounts,
		b.regions,
		b.repositories,
		func() error { return b.images(opts.Overflow) },
		b.blocked,
		b.broken,
		b.trendSheet,
		b.coverage,
		b.assumptions,
		b.glossary,
		b.summary,        // says what became of the others
		b.reconciliation, // compares all
	} {
		if err := write(); err != nil {
			return err
		}
	}
	// By default the whole file is put together in memory first.
	b.file.SetZipWriter(func(io.Writer) excelize.ZipWriter { return zip.NewWriter(w) })
	return b.file.Write(io.Discard)
}

type book struct {
	file    *excelize.File
	run     *Run
	facts   *facts
	trend   []trendMonth
	styles  [kinds]int
	maxRows int
	sums    map[string]map[string]int64 // of what was written, by sheet and title of the column: money, bytes or numbers
	listed  planner.Tally               // images to delete that are on their sheet or beside it
	beyond  string                      // what the summary says of images beyond the sheet
}

// billTitle is the header of billed amounts.
func (b *book) billTitle(what string) string {
	if b.facts.bill.month == "" {
		return what + " (" + b.facts.currency + ")"
	}
	return what + " " + b.facts.bill.month + " (" + b.facts.currency + ")"
}

// billed is an amount that was billed; nil without a bill.
func (b *book) billed(m cost.Money) any {
	if !b.facts.bill.known() {
		return nil
	}
	return m
}

// change is by how much more is billed than in the month before; nil where that is not known.
func (b *book) change(t *sums) (amount, share any) {
	if !b.facts.bill.known() || b.facts.bill.before == "" {
		return nil, nil
	}
	if t.before > 0 {
		share = float64(t.billed-t.before) / float64(t.before)
	}
	return t.billed - t.before, share
}

// weight is the figure that rows are ordered and shares are taken by: billed, or list price where there is no bill.
func (b *book) weight(t *sums) cost.Money {
	if b.facts.bill.known() {
		return t.billed
	}
	return t.list
}

// shareOf is a part of a whole; nil of nothing.
func shareOf(part, whole cost.Money) any {
	if whole == 0 {
		return nil
	}
	return float64(part) / float64(whole)
}

// low is the saving that is sure; nil where no layers are known.
func low(t *totals) any {
	if t.exact == 0 {
		return nil
	}
	return money(t, t.low)
}

// kind is how a cell looks.
type kind int

const (
	kindText kind = iota
	kindInt
	kindMoney
	kindGB
	kindPercent
	kindDate
	kindTB
	kindMonth
	kindPrice
	kindHeader
	kindHeaderRight // of numbers
	kindNote
	kindTitle
	kindFinal
	kindIncomplete
	kindOK
	kindDiffers
	kindWrap
	kindWord  // in the place of a number
	kindRate  // a price among texts
	kindLabel // of a figure
	kindBigInt
	kindBigMoney
	kindBigPercent
	kindBigTB
	kindBigGB
	kindTotal // the first of the total row's, one for each of the above in their order
	kindTotalInt
	kindTotalMoney
	kindTotalGB
	kindTotalPercent
	kindTotalDate
	kindTotalTB
	kindTotalMonth
	kindTotalPrice
	kinds
)

// fontName is Excel's own. A style that names none is shown in whatever comes first.
const fontName = "Calibri"

// Colours that most colour-blind people tell apart; the words say the same.
const (
	blue    = "648FFF"
	magenta = "DC267F"
	amber   = "FFB000"
	green   = "B7E1CD" // of what agrees
	pink    = "F4B6C2" // of what differs
)

func (b *book) prepare() error {
	formats := [...]string{
		kindText: "@", kindInt: "#,##0", kindMoney: `#,##0.00;[Red]-#,##0.00;"–"`, kindGB: "#,##0.0", kindPercent: "0.0%", kindDate: "yyyy-mm-dd",
		kindTB: "#,##0.000", kindMonth: "yyyy-mm", kindPrice: "#,##0.0000##",
	}
	big := func(k kind) excelize.Style {
		return excelize.Style{CustomNumFmt: &formats[k], Font: &excelize.Font{Family: fontName, Bold: true, Size: 14}, Alignment: &excelize.Alignment{Horizontal: "left"}}
	}
	indented := &excelize.Alignment{Horizontal: "left", Indent: 1, Vertical: "top"} // away from the number before it
	top := &excelize.Alignment{Vertical: "top", WrapText: true}
	styles := [kinds]excelize.Style{
		kindHeader: {Font: &excelize.Font{Family: fontName, Size: 11, Bold: true}, Fill: solid(blue), Alignment: &excelize.Alignment{Horizontal: "left", Indent: 1, Vertical: "center", WrapText: true}},
		kindHeaderRight: {Font: &excelize.Font{Family: fontName, Size: 11, Bold: true}, Fill: solid(blue),
			Alignment: &excelize.Alignment{Horizontal: "right", Vertical: "center", WrapText: true}},
		kindNote:       {Alignment: top},
		kindTitle:      {Font: &excelize.Font{Family: fontName, Bold: true, Size: 16}},
		kindFinal:      {Font: &excelize.Font{Family: fontName, Bold: true, Size: 12}, Fill: solid(blue), Alignment: &excelize.Alignment{Vertical: "center"}},
		kindIncomplete: {Font: &excelize.Font{Family: fontName, Bold: true, Size: 12}, Fill: solid(amber), Alignment: &excelize.Alignment{Vertical: "center"}},
		kindOK:         {Font: &excelize.Font{Family: fontName, Size: 11, Bold: true}, Fill: solid(green), Alignment: indented},
		kindDiffers:    {Font: &excelize.Font{Family: fontName, Size: 11, Bold: true}, Fill: solid(pink), Alignment: indented},
		kindWrap:       {CustomNumFmt: &formats[kindText], Alignment: &excelize.Alignment{Horizontal: "left", Indent: 1, Vertical: "top", WrapText: true}},
		kindRate:       {CustomNumFmt: &formats[kindPrice], Alignment: indented},
		kindWord:       {Alignment: &excelize.Alignment{Horizontal: "right", Vertical: "top"}},
		kindLabel:      {Font: &excelize.Font{Family: fontName, Size: 8, Color: "595959"}, Alignment: &excelize.Alignment{Vertical: "bottom", WrapText: true}, Border: line("top", "BFBFBF")},
		kindBigInt:     big(kindInt), kindBigMoney: big(kindMoney), kindBigPercent: big(kindPercent), kindBigTB: big(kindTB), kindBigGB: big(kindGB),
	}
	for k, format := range formats {
		styles[k] = excelize.Style{CustomNumFmt: &format, Alignment: &excelize.Alignment{Vertical: "top"}}
		styles[kindTotal+kind(k)] = excelize.Style{CustomNumFmt: &format, Font: &excelize.Font{Family: fontName, Size: 11, Bold: true},
			Border: line("top", "000000")}
	}
	styles[kindText].Alignment = indented
	for k := range styles {
		id, err := b.file.NewStyle(&styles[k])
		if err != nil {
			return err
		}
		b.styles[k] = id
	}
	for i, name := range sheetNames {
		var err error
		if i == 0 {
			err = b.file.SetSheetName("Sheet1", name)
		} else {
			_, err = b.file.NewSheet(name)
		}
		if err != nil {
			return err
		}
	}
	created := b.run.GeneratedAt.UTC().Format(time.RFC3339)
	return b.file.SetDocProps(&excelize.DocProperties{
		Title: "Container images that overstay", Subject: "Amazon ECR storage", Creator: strings.TrimSpace("demurrage " + cellText(b.run.Version)),
		LastModifiedBy: "demurrage", Description: "Run " + cellText(b.run.ID), Identifier: cellText(b.run.ID), Language: "en",
		Created: created, Modified: created,
	})
}

func solid(color string) excelize.Fill {
	return excelize.Fill{Type: "pattern", Pattern: 1, Color: []string{color}}
}

func line(side, color string) []excelize.Border {
	return []excelize.Border{{Type: side, Style: 1, Color: color}}
}

// headerHeight has room for titles of three lines, in points.
const headerHeight = 45

// page lays out a sheet for print: landscape A4, fitted to the width and to so many pages of height (0: as many as it
// takes), numbered. It comes after AutoFilter, which puts the sheet's properties back, and before the stream.
func (b *book) page(sheet, titles string, high int) error {
	const a4 = 9
	landscape, yes, one, size := "landscape", true, 1, a4
	if titles != "" {
		err := b.file.SetDefinedName(&excelize.DefinedName{Name: "_xlnm.Print_Titles", RefersTo: "'" + sheet + "'!" + titles, Scope: sheet})
		if err != nil {
			return err
		}
	}
	if err := b.file.SetSheetProps(sheet, &excelize.SheetPropsOptions{FitToPage: &yes}); err != nil {
		return err
	}
	if err := b.file.SetPageLayout(sheet, &excelize.PageLayoutOptions{Size: &size, Orientation: &landscape, FitToWidth: &one, FitToHeight: &high}); err != nil {
		return err
	}
	side, end, foot := 0.4, 0.5, 0.3 // inches
	err := b.file.SetPageMargins(sheet, &excelize.PageLayoutMarginsOptions{Left: &side, Right: &side, Top: &end, Bottom: &end, Header: &foot, Footer: &foot, Horizontally: &yes})
	if err != nil {
		return err
	}
	return b.file.SetHeaderFooter(sheet, &excelize.HeaderFooterOptions{OddFooter: "&L&A&C" + b.run.GeneratedAt.UTC().Format(time.DateOnly) + "&RPage &P of &N"})
}

// field is a column of a sheet.
type field struct {
	title string
	kind  kind
	width float64
}

// sheet is a sheet with a header row. Long ones are streamed. What a stream cannot have, sparklines and charts, is on
// plain sheets, which are held in memory.
type sheet struct {
	book   *book
	name   string
	fields []field
	stream *excelize.StreamWriter // nil: plain
	row    int                    // last one written
	cells  []any
	sums   []int64 // of the columns, as written
}

// sheet starts a streamed sheet that will have so many rows below its header. A table brings a filter of its own.
func (b *book) sheet(name string, fields []field, rows int, isTable bool) (*sheet, error) {
	s, err := b.begin(name, fields, rows, !isTable)
	if err != nil {
		return nil, err
	}
	if s.stream, err = b.file.NewStreamWriter(name); err != nil {
		return nil, err
	}
	for i, f := range fields {
		if err := s.stream.SetColWidth(i+1, i+1, f.width); err != nil {
			return nil, err
		}
	}
	if err := s.stream.SetPanes(topRow()); err != nil {
		return nil, err
	}
	return s, s.header()
}

// plain starts a sheet that is not streamed.
func (b *book) plain(name string, fields []field, rows int) (*sheet, error) {
	s, err := b.begin(name, fields, rows, true)
	if err != nil {
		return nil, err
	}
	for i, f := range fields {
		column, err := excelize.ColumnNumberToName(i + 1)
		if err == nil {
			err = b.file.SetColWidth(name, column, column, f.width)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := b.file.SetPanes(name, topRow()); err != nil {
		return nil, err
	}
	return s, s.header()
}

func topRow() *excelize.Panes {
	return &excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}
}

func (b *book) begin(name string, fields []field, rows int, filter bool) (*sheet, error) {
	if filter {
		if err := b.file.AutoFilter(name, cells(1, 1, len(fields), 1+rows), nil); err != nil {
			return nil, err
		}
	}
	if err := b.page(name, "$1:$1", 0); err != nil {
		return nil, err
	}
	for i, f := range fields {
		if f.title == "Account" { // an id, however much it looks like a number
			if err := b.file.AddIgnoredErrors(name, cells(i+1, 1, i+1, 1+rows), excelize.IgnoredErrorsNumberStoredAsText); err != nil {
				return nil, err
			}
		}
	}
	return &sheet{book: b, name: name, fields: fields, cells: make([]any, len(fields)), sums: make([]int64, len(fields))}, nil
}

func (s *sheet) header() error {
	for i, f := range s.fields {
		s.cells[i] = excelize.Cell{StyleID: s.book.styles[kindHeader], Value: f.title}
	}
	return s.set(excelize.RowOpts{Height: headerHeight})
}

// add writes a row: strings, ints, money, bytes, times; nil leaves a cell empty.
func (s *sheet) add(values ...any) error { return s.write(0, values) }

func (s *sheet) write(style kind, values []any) error {
	lines := 1
	for i := range s.fields {
		s.cells[i] = nil
		if i >= len(values) || values[i] == nil {
			if style != 0 {
				s.cells[i] = excelize.Cell{StyleID: s.book.styles[style]}
			}
			continue
		}
		cell := excelize.Cell{Value: values[i]}
		if total, ok := values[i].(sum); ok {
			cell.Formula, cell.Value = s.sumOf(i), total.value
		} else {
			s.sums[i] += amount(values[i])
		}
		k := s.fields[i].kind
		if styled, ok := cell.Value.(styled); ok {
			k, cell.Value = styled.kind, styled.value
		}
		cell.Value = cellValue(cell.Value)
		if _, ok := cell.Value.(string); ok && k < kindHeader && k != kindText {
			k = kindWord
		}
		if k < kindHeader {
			k += style
		}
		if text, ok := cell.Value.(string); ok && k == kindWrap {
			lines = max(lines, linesOf(text, int(s.fields[i].width)))
		}
		cell.StyleID = s.book.styles[k]
		s.cells[i] = cell
	}
	if lines > 1 {
		return s.set(excelize.RowOpts{Height: lineHeight * float64(min(lines, 26))}) // a row has 409 points at most
	}
	return s.set()
}

const lineHeight = 15.5 // points

// linesOf is in how many lines a cell shows a text. Words go to the next line as a whole, unless they are longer than one.
func linesOf(s string, width int) int {
	lines, used := 1, 0
	for word := range strings.FieldsSeq(s) {
		n := utf8.RuneCountInString(word)
		if used > 0 && used+1+n > width {
			lines, used = lines+1, 0
		}
		if used > 0 {
			used++
		}
		used += n
		lines += (used - 1) / width
		used = 1 + (used-1)%width
	}
	return lines
}

// styled is a value that looks other than its column.
type styled struct {
	kind  kind
	value any
}

// amount is a value as a whole number, to be added up.
func amount(v any) int64 {
	switch v := v.(type) {
	case int:
		return int64(v)
	case cost.Money:
		return int64(v)
	case gb:
		return int64(v)
	case tb:
		return int64(v)
	case mb:
		return int64(v)
	}
	return 0
}

func (s *sheet) set(opts ...excelize.RowOpts) error {
	s.row++
	at, err := excelize.CoordinatesToCellName(1, s.row)
	if err != nil {
		return err
	}
	if s.stream != nil {
		return s.stream.SetRow(at, s.cells, opts...)
	}
	for i, v := range s.cells {
		if cell, ok := v.(excelize.Cell); ok {
			if err := s.book.cell(s.name, i+1, s.row, cell.StyleID, cell.Value); err != nil {
				return err
			}
		}
	}
	for _, o := range opts {
		if err := s.book.file.SetRowHeight(s.name, s.row, o.Height); err != nil {
			return err
		}
	}
	return nil
}

// escapes are read as characters, "_x000D_" as a carriage return, and so have to be escaped. A stream does that by itself.
var escapes = regexp.MustCompile(`_x[0-9A-Fa-f]{4}_`)

// cell writes a cell of a sheet that is not streamed. Formulas are left to streams: only these take a value along.
func (b *book) cell(sheet string, column, row, style int, v any) error {
	at, err := excelize.CoordinatesToCellName(column, row)
	if err != nil {
		return err
	}
	if s, ok := v.(string); ok {
		err = b.file.SetCellStr(sheet, at, escapes.ReplaceAllString(s, "_x005F$0"))
	} else if v != nil {
		err = b.file.SetCellValue(sheet, at, v)
	}
	if err != nil {
		return err
	}
	return b.file.SetCellStyle(sheet, at, at, style)
}

// sum is the total of a column: the value for whoever does not calculate, with the formula beside it.
type sum struct{ value any }

// sumOf adds up what a filter leaves of a column.
func (s *sheet) sumOf(i int) string {
	if s.row < 2 {
		return ""
	}
	return "SUBTOTAL(109," + cells(i+1, 2, i+1, s.row) + ")"
}

func (s *sheet) totals(values ...any) error { return s.write(kindTotal, values) }

// table makes an Excel table of the rows so far.
func (s *sheet) table(name string) error {
	return s.stream.AddTable(&excelize.Table{Name: name, Range: cells(1, 1, len(s.fields), s.row), StyleName: "TableStyleLight1"})
}

func (s *sheet) close() error {
	sums := map[string]int64{}
	for i, f := range s.fields {
		sums[f.title] = s.sums[i]
	}
	s.book.sums[s.name] = sums
	if s.stream == nil {
		return nil
	}
	return s.stream.Flush()
}

// tb are bytes in units of 2^40, gb of 2^30, mb of 2^20: all exact.
type (
	tb int64
	gb int64
	mb int64
)

// cellValue gives what a cell holds. Text from elsewhere is only ever typed text: excelize writes strings inline,
// and nothing here makes a formula or a link of one.
func cellValue(v any) any {
	switch v := v.(type) {
	case string:
		if v = cellText(v); v == "" {
			return nil
		}
		return clip(v)
	case cost.Money:
		return v.Float()
	case tb:
		return float64(v) / (cost.GB << 10)
	case gb:
		return float64(v) / cost.GB
	case mb:
		return float64(v) / (cost.GB >> 10)
	case time.Time:
		if v.IsZero() {
			return nil
		}
		return v.UTC()
	}
	return v
}

// clip shortens text to what a cell can hold, which is counted in UTF-16.
func clip(s string) string {
	if len(s) <= excelize.TotalCellChars {
		return s
	}
	units := 0
	end := 0 // of what fits along with an ellipsis
	for i, r := range s {
		units += utf16.RuneLen(r)
		if units <= excelize.TotalCellChars-1 {
			end = i + len(string(r))
		}
		if units > excelize.TotalCellChars {
			return s[:end] + "…"
		}
	}
	return s
}

// cells names a range.
func cells(fromColumn, fromRow, toColumn, toRow int) string {
	from, _ := excelize.CoordinatesToCellName(fromColumn, fromRow)
	to, _ := excelize.CoordinatesToCellName(toColumn, toRow)
	return from + ":" + to
}

// overflow is the CSV file with the rows that a sheet cannot hold.
type overflow struct {
	name string
	file io.WriteCloser
	csv  *csv.Writer
}

func openOverflow(open func() (string, io.WriteCloser, error), header []field) (*overflow, error) {
	name, file, err := open()
	if err != nil {
		return nil, fmt.Errorf("open the file for further rows: %w", err)
	}
	o := &overflow{name: name, file: file, csv: csv.NewWriter(file)}
	o.csv.UseCRLF = true
	row := make([]string, len(header))
	for i := range header {
		row[i] = header[i].title
	}
	return o, o.csv.Write(row)
}

func (o *overflow) close() error {
	o.csv.Flush()
	return errors.Join(o.csv.Error(), o.file.Close())
}
