package report

import (
	"archive/zip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
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
	sheetSummary      = "Summary"
	sheetAccounts     = "Accounts"
	sheetRepositories = "Repositories"
	sheetImages       = "Images to delete"
	sheetBlocked      = "Blocked"
	sheetBroken       = "Broken references"
	sheetCoverage     = "Coverage"
)

// Workbook writes the run as an Excel workbook. Long sheets are streamed through temporary files, and the workbook
// is compressed straight into w.
func Workbook(w io.Writer, run *Run, opts WorkbookOptions) (err error) {
	b := &book{file: excelize.NewFile(), run: run, facts: newFacts(run), maxRows: opts.maxRows}
	if b.maxRows == 0 {
		b.maxRows = excelize.TotalRows
	}
	defer func() { err = errors.Join(err, b.file.Close()) }()
	if err := b.prepare(); err != nil {
		return err
	}
	for _, write := range []func() error{
		b.accounts,
		b.repositories,
		func() error { return b.images(opts.Overflow) },
		b.blocked,
		b.broken,
		b.coverage,
		b.summary, // last, since it says what became of the others
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
	styles  [kinds]int
	maxRows int
	beyond  string // what the summary says of images beyond the sheet
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
	kindHeader
	kindNote
	kindTitle
	kindFinal
	kindIncomplete
	kindTotal // the first of the total row's, one for each of the above in their order
	kindTotalInt
	kindTotalMoney
	kindTotalGB
	kindTotalPercent
	kindTotalDate
	kindTotalTB
	kinds
)

// Colours that most colour-blind people tell apart; the words say the same.
const (
	blue  = "648FFF"
	amber = "FFB000"
)

func (b *book) prepare() error {
	formats := [...]string{
		kindText: "@", kindInt: "#,##0", kindMoney: `#,##0.00;[Red]-#,##0.00;"–"`, kindGB: "#,##0.0", kindPercent: "0.0%", kindDate: "yyyy-mm-dd",
		kindTB: "#,##0.000",
	}
	top := &excelize.Alignment{Vertical: "top", WrapText: true}
	styles := [kinds]excelize.Style{
		kindHeader:     {Font: &excelize.Font{Bold: true}, Fill: solid(blue), Alignment: &excelize.Alignment{Vertical: "center", WrapText: true}},
		kindNote:       {Alignment: top},
		kindTitle:      {Font: &excelize.Font{Bold: true, Size: 16}},
		kindFinal:      {Font: &excelize.Font{Bold: true, Size: 12}, Fill: solid(blue), Alignment: &excelize.Alignment{Vertical: "center"}},
		kindIncomplete: {Font: &excelize.Font{Bold: true, Size: 12}, Fill: solid(amber), Alignment: &excelize.Alignment{Vertical: "center"}},
	}
	for k, format := range formats {
		styles[k] = excelize.Style{CustomNumFmt: &format}
		styles[kindTotal+kind(k)] = excelize.Style{CustomNumFmt: &format, Font: &excelize.Font{Bold: true},
			Border: []excelize.Border{{Type: "top", Style: 1, Color: "000000"}}}
	}
	for k := range styles {
		id, err := b.file.NewStyle(&styles[k])
		if err != nil {
			return err
		}
		b.styles[k] = id
	}
	for i, name := range []string{sheetSummary, sheetAccounts, sheetRepositories, sheetImages, sheetBlocked, sheetBroken, sheetCoverage} {
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

// headerHeight has room for titles of three lines, in points.
const headerHeight = 45

// page lays out a sheet for print: landscape A4, fitted to the width and to so many pages of height (0: as many as it
// takes), numbered. It comes after AutoFilter, which
// puts the sheet's properties back, and before the stream.
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
	return b.file.SetHeaderFooter(sheet, &excelize.HeaderFooterOptions{OddFooter: "&L&A&C" + b.run.GeneratedAt.UTC().Format(time.DateOnly) + "&RPage &P of &N"})
}

// field is a column of a streamed sheet.
type field struct {
	title string
	kind  kind
	width float64
}

// sheet is a streamed sheet with a header row.
type sheet struct {
	book   *book
	name   string
	fields []field
	stream *excelize.StreamWriter
	row    int // last one written
	cells  []any
}

// sheet starts a sheet that will have so many rows below its header. A table brings a filter of its own.
func (b *book) sheet(name string, fields []field, rows int, isTable bool) (*sheet, error) {
	if !isTable {
		if err := b.file.AutoFilter(name, cells(1, 1, len(fields), 1+rows), nil); err != nil {
			return nil, err
		}
	}
	if err := b.page(name, "$1:$1", 0); err != nil {
		return nil, err
	}
	stream, err := b.file.NewStreamWriter(name)
	if err != nil {
		return nil, err
	}
	s := &sheet{book: b, name: name, fields: fields, stream: stream, cells: make([]any, len(fields))}
	for i, f := range fields {
		if err := stream.SetColWidth(i+1, i+1, f.width); err != nil {
			return nil, err
		}
		if f.title == "Account" { // an id, however much it looks like a number
			if err := b.file.AddIgnoredErrors(name, cells(i+1, 1, i+1, 1+rows), excelize.IgnoredErrorsNumberStoredAsText); err != nil {
				return nil, err
			}
		}
	}
	if err := stream.SetPanes(&excelize.Panes{Freeze: true, YSplit: 1, TopLeftCell: "A2", ActivePane: "bottomLeft"}); err != nil {
		return nil, err
	}
	for i, f := range fields {
		s.cells[i] = excelize.Cell{StyleID: b.styles[kindHeader], Value: f.title}
	}
	return s, s.set(excelize.RowOpts{Height: headerHeight})
}

// add writes a row: strings, ints, money, bytes, times; nil leaves a cell empty.
func (s *sheet) add(values ...any) error { return s.write(0, values) }

func (s *sheet) write(style kind, values []any) error {
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
		}
		cell.Value = cellValue(cell.Value)
		k := s.fields[i].kind
		if _, ok := cell.Value.(string); ok {
			k = kindText
		}
		cell.StyleID = s.book.styles[style+k]
		s.cells[i] = cell
	}
	return s.set()
}

func (s *sheet) set(opts ...excelize.RowOpts) error {
	s.row++
	at, err := excelize.CoordinatesToCellName(1, s.row)
	if err != nil {
		return err
	}
	return s.stream.SetRow(at, s.cells, opts...)
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

func (s *sheet) close() error { return s.stream.Flush() }

// gb are bytes in units of 2^30, mb in units of 2^20: both exact.
type (
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
