package report

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// written gives the workbook's bytes and the workbook as it is read back.
func written(t testing.TB, run *Run, opts WorkbookOptions) ([]byte, *excelize.File) {
	t.Helper()
	var b bytes.Buffer
	if err := Workbook(&b, run, opts); err != nil {
		t.Fatal(err)
	}
	f, err := excelize.OpenReader(bytes.NewReader(b.Bytes()), excelize.Options{RawCellValue: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return b.Bytes(), f
}

func rows(t testing.TB, f *excelize.File, sheet string) [][]string {
	t.Helper()
	r, err := f.GetRows(sheet)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// columnOf gives the cells of a column below the header, without the total, and the total.
func columnOf(t testing.TB, rows [][]string, title string) (cells []string, total string) {
	t.Helper()
	i := slices.Index(rows[0], title)
	if i < 0 {
		t.Fatalf("no column %q in %q", title, rows[0])
	}
	for _, row := range rows[1:] {
		cell := ""
		if i < len(row) {
			cell = row[i]
		}
		if row[0] == "Total" {
			return cells, cell
		}
		cells = append(cells, cell)
	}
	return cells, ""
}

// exact reads a number and scales it: whatever is not a whole number then was rounded on the way.
func exact(t testing.TB, cell string, scale int64) int64 {
	t.Helper()
	if cell == "" || cell == unpricedText {
		return 0
	}
	r, ok := new(big.Rat).SetString(cell)
	if scale&(scale-1) == 0 { // of a number in binary units, the double is exact, not its shortest decimals
		f, err := strconv.ParseFloat(cell, 64)
		ok = err == nil && r.SetFloat64(f) != nil
	}
	if !ok {
		t.Fatalf("%q is no number", cell)
	}
	r.Mul(r, big.NewRat(scale, 1))
	if !r.IsInt() {
		t.Fatalf("%q x %d is no whole number", cell, scale)
	}
	return r.Num().Int64()
}

func sumColumn(t testing.TB, rows [][]string, title string, scale int64) (added, total int64) {
	t.Helper()
	cells, last := columnOf(t, rows, title)
	for _, c := range cells {
		added += exact(t, c, scale)
	}
	return added, exact(t, last, scale)
}

// bulk is a plan with odd sizes in many repositories, some in regions without a price.
func bulk(t testing.TB, repositories, imagesEach int) *Run {
	r := rand.New(rand.NewPCG(5, 6))
	run := &Run{ID: "bulk", GeneratedAt: now, Prices: cost.List(), Accounts: map[string]Account{}}
	regions := []string{tokyo, virginia, saopaulo}
	var inventories []image.Inventory
	usage := planner.Usage{}
	for i := range repositories {
		id := fmt.Sprintf("%012d", 100000000000+int64(i%17))
		run.Accounts[id] = Account{ID: id, Name: fmt.Sprintf("account-%02d", i%17)}
		inv := image.Inventory{Repository: repo(id, regions[i%len(regions)], fmt.Sprintf("team/service-%05d", i))}
		for j := range imagesEach {
			im := img(fmt.Sprint(i, "/", j), 0, 1+j, fmt.Sprintf("build-%06d", j))
			im.Bytes = r.Int64N(1 << 33)
			if r.IntN(3) > 0 {
				im.LastPulledAt = im.PushedAt.Add(day)
			}
			inv.Images = append(inv.Images, im)
		}
		slices.SortFunc(inv.Images, image.Compare)
		inventories = append(inventories, inv)
		status := image.Coverage{Account: id, Region: inv.Repository.Region, Source: "ecs", Status: image.CoverageOK}
		if i%17 == 3 {
			status.Status, status.Error = image.CoverageFailed, "denied"
		}
		usage.Coverage = append(usage.Coverage, status)
	}
	slices.SortFunc(inventories, func(a, b image.Inventory) int { return image.CompareRepositories(a.Repository, b.Repository) })
	run.Plan = build(t, testRules, usage, inventories)
	return run
}

// Every sheet, JSON and CSV add up to the same, to the last byte and the last millionth.
func TestTotalsAgree(t *testing.T) {
	for name, run := range map[string]*Run{"sample": sample(t), "bulk": bulk(t, 100, 60)} {
		t.Run(name, func(t *testing.T) {
			f := newFacts(run)
			_, book := written(t, run, WorkbookOptions{})
			accounts, repositories := rows(t, book, sheetAccounts), rows(t, book, sheetRepositories)
			all := f.total.count.Total()
			const money = 1_000_000
			for _, c := range []struct {
				title string
				scale int64
				want  int64
			}{
				{"Images", 1, int64(all.Images)},
				{"Stored (GB)", cost.GB, all.Bytes},
				{"List cost (USD a month)", money, int64(f.total.list)},
				{"Reclaimable (GB)", cost.GB, f.total.count.Delete.Bytes},
				{"Saving, high (USD a month)", money, int64(f.total.saving)},
				{"Blocked (GB)", cost.GB, f.total.count.Blocked.Bytes},
			} {
				for sheet, rows := range map[string][][]string{sheetAccounts: accounts, sheetRepositories: repositories} {
					if added, total := sumColumn(t, rows, c.title, c.scale); added != c.want || total != c.want {
						t.Errorf("%s, %s: rows add up to %d, the total is %d, want %d", sheet, c.title, added, total, c.want)
					}
				}
			}
			if added, total := sumColumn(t, repositories, "Reclaimable images", 1); added != int64(run.Plan.Count.Delete.Images) || total != added {
				t.Errorf("reclaimable images: %d, total %d", added, total)
			}
			list := rows(t, book, sheetImages)
			if n := len(list) - 1; n != run.Plan.Count.Delete.Images {
				t.Errorf("%d rows of images, want %d", n, run.Plan.Count.Delete.Images)
			}
			if added, _ := sumColumn(t, list, "Size (MB)", 1<<20); added != run.Plan.Count.Delete.Bytes {
				t.Errorf("images add up to %d bytes, want %d", added, run.Plan.Count.Delete.Bytes)
			}
			summary := figuresOf(t, book)
			for title, want := range map[string]int64{"List cost (USD a month)": int64(f.total.list), "Saving, high (USD a month)": int64(f.total.saving),
				"Saving that is blocked, high (USD a month)": int64(f.total.held)} {
				if got := exact(t, summary[title], money); got != want {
					t.Errorf("summary: %s is %d, want %d", title, got, want)
				}
			}
			if got := exact(t, summary["Reclaimable (GB)"], cost.GB); got != run.Plan.Count.Delete.Bytes {
				t.Errorf("summary: %d bytes reclaimable", got)
			}

			var doc struct {
				Summary struct {
					Images                int
					Bytes                 int64
					Delete, Blocked, Keep planner.Tally
				}
				Images []struct {
					Bytes  int64
					Action planner.Action
				}
			}
			var b bytes.Buffer
			if err := JSON(&b, run, true); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
				t.Fatal(err)
			}
			tallies := map[planner.Action]planner.Tally{}
			for _, i := range doc.Images {
				tallies[i.Action] = planner.Tally{Images: tallies[i.Action].Images + 1, Bytes: tallies[i.Action].Bytes + i.Bytes}
			}
			want := map[planner.Action]planner.Tally{planner.Delete: doc.Summary.Delete, planner.Blocked: doc.Summary.Blocked, planner.Keep: doc.Summary.Keep}
			if !maps.Equal(tallies, want) || doc.Summary.Delete != run.Plan.Count.Delete || doc.Summary.Bytes != all.Bytes || doc.Summary.Images != all.Images {
				t.Errorf("JSON: images %v, summary %+v", tallies, doc.Summary)
			}

			b.Reset()
			if err := CSV(&b, run, true); err != nil {
				t.Fatal(err)
			}
			records, err := csv.NewReader(&b).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			clear(tallies)
			for _, r := range records[1:] {
				a := planner.Action(r[9])
				tallies[a] = planner.Tally{Images: tallies[a].Images + 1, Bytes: tallies[a].Bytes + exact(t, r[6], 1)}
			}
			if !maps.Equal(tallies, want) {
				t.Errorf("CSV: images %v, want %v", tallies, want)
			}
		})
	}
}

// The sheets are ordered by money, then name.
func TestWorkbookOrder(t *testing.T) {
	_, book := written(t, bulk(t, 100, 10), WorkbookOptions{})
	for sheet, name := range map[string]string{sheetAccounts: "Name", sheetRepositories: "Repository"} {
		r := rows(t, book, sheet)
		money, _ := columnOf(t, r, "List cost (USD a month)")
		names, _ := columnOf(t, r, name)
		for i := 1; i < len(money); i++ {
			if c := cmp.Compare(exact(t, money[i], 1_000_000), exact(t, money[i-1], 1_000_000)); c > 0 || c == 0 && names[i] < names[i-1] {
				t.Errorf("%s: row %d (%s, %s) after (%s, %s)", sheet, i, names[i], money[i], names[i-1], money[i-1])
			}
		}
	}
}

// figuresOf are the summary's figures by their names.
func figuresOf(t testing.TB, book *excelize.File) map[string]string {
	figures := map[string]string{}
	all := rows(t, book, sheetSummary)
	for _, at := range []int{4, 6} { // names, with the figures below
		for i, name := range all[at] {
			figures[name] = all[at+1][i]
		}
	}
	return figures
}

func parts(t *testing.T, data []byte) map[string]string {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(b)
		if f.Name == "[Content_Types].xml" { // in no order
			types := strings.SplitAfter(string(b), ">")
			slices.Sort(types)
			all[f.Name] = strings.Join(types, "")
		}
	}
	return all
}

func TestWorkbookIsStable(t *testing.T) {
	run := financial(t, sample(t))
	first, _ := written(t, run, WorkbookOptions{})
	want := parts(t, first)
	for range 5 {
		second, _ := written(t, run, WorkbookOptions{})
		if diff := gocmp.Diff(want, parts(t, second)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestWorkbookForm(t *testing.T) {
	data, book := written(t, sample(t), WorkbookOptions{})
	want := []string{"Summary", "Cost centres", "Accounts", "Regions", "Repositories", "Images to delete", "Blocked", "Broken references", "Trend",
		"Reconciliation", "Coverage", "Assumptions", "Glossary"}
	if got := book.GetSheetList(); !slices.Equal(got, want) {
		t.Errorf("sheets %q", got)
	}
	p := parts(t, data)
	for i, name := range want {
		xml := p[fmt.Sprintf("xl/worksheets/sheet%d.xml", i+1)]
		high := `fitToHeight="0"`
		if name == sheetSummary { // one page for finance
			high = `fitToHeight="1"`
		}
		must := []string{high, `<pageSetUpPr fitToPage="true"`, `orientation="landscape"`, `paperSize="9"`, `fitToWidth="1"`, `Page &amp;P of &amp;N`}
		if i > 0 {
			must = append(must, `state="frozen"`, `<cols>`)
		}
		if i > 0 && name != sheetRepositories {
			must = append(must, `<autoFilter ref="`)
		}
		for _, m := range must {
			if !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(xml, `="true"`, `="1"`), `pageSetUpPr fitToPage="1"`, `pageSetUpPr fitToPage="true"`), m) {
				t.Errorf("%s: no %s", name, m)
			}
		}
		if i > 0 && !strings.Contains(p["xl/workbook.xml"], "&#39;"+name+"&#39;!$1:$1</definedName>") {
			t.Errorf("%s: no print titles", name)
		}
	}
	tables, err := book.GetTables(sheetRepositories)
	if err != nil || len(tables) != 1 || tables[0].Name != "Repositories" || tables[0].Range != "A1:X9" {
		t.Errorf("tables %+v, %v", tables, err)
	}
	for sheet, want := range map[string]excelize.CellType{sheetAccounts: excelize.CellTypeSharedString, sheetRepositories: excelize.CellTypeInlineString} {
		kind, err := book.GetCellType(sheet, "A2")
		if value, _ := book.GetCellValue(sheet, "A2"); err != nil || kind != want || value != platform {
			t.Errorf("%s: account id: %v %q, %v", sheet, kind, value, err)
		}
	}
	list := rows(t, book, sheetRepositories)
	last := fmt.Sprintf("J%d", len(list))
	if formula, _ := book.GetCellFormula(sheetRepositories, last); formula != fmt.Sprintf("SUBTOTAL(109,J2:J%d)", len(list)-1) {
		t.Errorf("formula of the total: %q", formula)
	}
	if value, err := book.CalcCellValue(sheetRepositories, last, excelize.Options{RawCellValue: true}); err != nil || value == "" {
		t.Errorf("the total is calculated as %q, %v", value, err)
	}
	props, err := book.GetDocProps()
	if err != nil || props.Created != "2026-10-01T09:30:00Z" || props.Modified != props.Created || props.Creator != "demurrage 1.0.0" || props.Title == "" {
		t.Errorf("properties %+v, %v", props, err)
	}
	if banner, _ := book.GetCellValue(sheetSummary, "A2"); !strings.HasPrefix(banner, "PROVISIONAL (INCOMPLETE): 3 of 9 sources read") {
		t.Errorf("banner %q", banner)
	}
	// Whose a repository is: the account's word, else its own tags.
	for _, row := range rows(t, book, sheetRepositories)[1:] {
		want := map[string][2]string{"prod/api": {"team-api", "CC-1001"}, "checkout": {"Pay Team", "CC-2002"}, "scratch/tmp": {"", "CC-1001"}}
		if w, ok := want[row[3]]; ok && (row[4] != w[0] || row[5] != w[1]) {
			t.Errorf("%s belongs to %q, %q; want %q", row[3], row[4], row[5], w)
		}
	}
	// A region without a price has no amounts, and says so.
	money, _ := columnOf(t, rows(t, book, sheetRepositories), "List cost (USD a month)")
	if n := len(slices.DeleteFunc(money, func(s string) bool { return s != unpricedText })); n != 1 {
		t.Errorf("%d repositories without a price, want 1", n)
	}
}

func TestWorkbookOfNothing(t *testing.T) {
	run := &Run{Plan: build(t, planner.Rules{}, planner.Usage{}, nil), Prices: cost.List(), GeneratedAt: now}
	_, book := written(t, run, WorkbookOptions{})
	if banner, _ := book.GetCellValue(sheetSummary, "A2"); !strings.HasPrefix(banner, "FINAL: 0 of 0") {
		t.Errorf("banner %q", banner)
	}
	for _, o := range outputs {
		if err := o.write(io.Discard, run); err != nil {
			t.Errorf("%s: %v", o.name, err)
		}
	}
}

type file struct {
	bytes.Buffer
	closed bool
}

func (f *file) Close() error { f.closed = true; return nil }

func TestWorkbookOverflow(t *testing.T) {
	run := bulk(t, 20, 40)
	total := run.Plan.Count.Delete.Images
	const most = 11 // rows: a header, nine images, a note
	var beside file
	_, book := written(t, run, WorkbookOptions{maxRows: most, Overflow: func() (string, io.WriteCloser, error) { return "rest.csv", &beside, nil }})
	list := rows(t, book, sheetImages)
	note := fmt.Sprintf("%d more images do not fit this sheet: they are in rest.csv", total-9)
	if len(list) != most || list[most-1][0] != note {
		t.Errorf("%d rows, the last is %q", len(list), list[len(list)-1])
	}
	records, err := csv.NewReader(&beside).ReadAll()
	if err != nil || len(records) != 1+total-9 || !beside.closed {
		t.Fatalf("%d rows beside it (closed %t), %v; want %d", len(records), beside.closed, err, 1+total-9)
	}
	if !slices.Equal(records[0], list[0]) {
		t.Errorf("header %q beside, %q in the sheet", records[0], list[0])
	}
	digests := map[string]bool{}
	var bytes int64
	for _, row := range slices.Concat(list[1:most-1], records[1:]) {
		digests[row[3]] = true
		bytes += exact(t, row[7], 1<<20)
	}
	if len(digests) != total || bytes != run.Plan.Count.Delete.Bytes {
		t.Errorf("%d images, %d bytes; want %d, %d", len(digests), bytes, total, run.Plan.Count.Delete.Bytes)
	}
	if !slices.ContainsFunc(rows(t, book, sheetSummary), func(row []string) bool { return len(row) > 0 && strings.Contains(row[0], note) }) {
		t.Error("the summary does not say so")
	}

	_, book = written(t, run, WorkbookOptions{maxRows: most})
	if list = rows(t, book, sheetImages); len(list) != most || !strings.Contains(list[most-1][0], "not listed") {
		t.Errorf("without a file: %d rows, the last is %q", len(list), list[len(list)-1])
	}
	_, book = written(t, run, WorkbookOptions{maxRows: total + 1, Overflow: func() (string, io.WriteCloser, error) { t.Error("opened"); return "", nil, nil }})
	if list = rows(t, book, sheetImages); len(list) != total+1 {
		t.Errorf("%d rows where all fit", len(list))
	}
}

func TestClip(t *testing.T) {
	for _, s := range []string{strings.Repeat("x", 32_767), strings.Repeat("é", 32_767), strings.Repeat("🚢", 16_383) + "x"} {
		if clip(s) != s {
			t.Errorf("%d units were cut", len(utf16.Encode([]rune(s))))
		}
	}
	for _, s := range []string{strings.Repeat("x", 40_000), strings.Repeat("🚢", 16_384), "x" + strings.Repeat("🚢", 16_384)} {
		got := clip(s)
		if n := len(utf16.Encode([]rune(got))); n > 32_767 || n < 32_766 || !strings.HasSuffix(got, "…") || !strings.HasPrefix(s, strings.TrimSuffix(got, "…")) {
			t.Errorf("cut to %d units", n)
		}
	}
}

func BenchmarkJSON(b *testing.B) {
	run := bulk(b, 500, 200) // 100,000 images
	for b.Loop() {
		if err := JSON(io.Discard, run, true); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWorkbookImages(b *testing.B) {
	run := bulk(b, 500, 200)
	for b.Loop() {
		if err := Workbook(io.Discard, run, WorkbookOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(run.Plan.Count.Delete.Images), "rows")
}

func TestLinesOf(t *testing.T) {
	for _, c := range []struct {
		s    string
		want int
	}{
		{"", 1}, {"ten letter", 1}, {"eleven more", 2}, {"1234567890", 1}, {"12345678901", 2}, {"a 1234567890", 2}, {"a 12345678901 b", 3},
		{"123456789012345678901", 3}, {"ü ü ü ü ü", 1}, {"one two three four", 2},
	} {
		if got := linesOf(c.s, 10); got != c.want {
			t.Errorf("%q takes %d lines, want %d", c.s, got, c.want)
		}
	}
}

// What is longer than its column is wrapped, in a row that is high enough for it: nothing is cut off in print.
func TestLongTextIsWrapped(t *testing.T) {
	_, book := written(t, sample(t), WorkbookOptions{})
	wrapped := map[string]bool{}
	for _, sheet := range []string{sheetBlocked, sheetBroken, sheetCoverage, sheetAssumptions, sheetGlossary} {
		for y, row := range rows(t, book, sheet)[1:] {
			height, err := book.GetRowHeight(sheet, y+2)
			if err != nil {
				t.Fatal(err)
			}
			for x, cell := range row {
				column, _ := excelize.ColumnNumberToName(x + 1)
				width, err := book.GetColWidth(sheet, column)
				if err != nil {
					t.Fatal(err)
				}
				n := len([]rune(cell))
				if n <= int(width) {
					continue
				}
				id, err := book.GetCellStyle(sheet, column+strconv.Itoa(y+2))
				if err != nil {
					t.Fatal(err)
				}
				style, err := book.GetStyle(id)
				if err != nil {
					t.Fatal(err)
				}
				if room := max(int(height/lineHeight), 1) * int(width); style.Alignment == nil || !style.Alignment.WrapText || room < n {
					t.Errorf("%s: %d characters in a row with room for %d: %q", sheet, n, room, cell)
				}
				wrapped[sheet] = true
			}
		}
	}
	for _, sheet := range []string{sheetBlocked, sheetCoverage, sheetAssumptions, sheetGlossary} {
		if !wrapped[sheet] {
			t.Errorf("%s has no long text to look at", sheet)
		}
	}
}
