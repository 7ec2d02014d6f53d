package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

var hostileTexts = []string{
	`=HYPERLINK("https://evil.example/","click")`,
	"+1+1", "-1+1", "@SUM(A1)", "\t=1+1", "\r=1+1", "\x1b=1+1", "\u202e=1+1",
	"<script>alert(1)</script>",
	"<img src=x onerror=alert(1)>",
	"\x1b[2J\x1b]0;owned\x07\x1b]8;;https://evil.example\x1b\\link",
	"\u009b31mcsi",
	"\u202etxt.exe\u2066\u200f\u061c",
	"a|b`c`[d](https://evil.example)*e*_f_\n\n# g\r\n- h",
	strings.Repeat("A", 40_000),
	strings.Repeat("long words ", 4_000),
	"🚢 👨‍👩‍👧 é 船荷 ｆｕｌｌ",
	"\xff\xfebroken\x00\x01\ufffe",
	"a\u2028b\u2029c\u0085d",
	"_x000D_ &amp; %s %!d(string) {{.}} ${HOME}",
	"\U000E0001\U000E0041tag",
}

// hostile puts a text wherever somebody else decides what stands there.
func hostile(t *testing.T, s string) *Run {
	api := repo(platform, virginia, "prod/api")
	bad := img("bad", 100, 300, s)
	bad.MediaType, bad.ArtifactType = s, s
	evil := image.Repository{Registry: api.Registry, Name: s}
	usage := planner.Usage{
		Uses: []image.Use{
			{Ref: image.Ref{Repository: api, Tag: "used"}, Source: "ecs-task", Account: platform, Region: virginia, Resource: s, Detail: s, Live: true},
			{Ref: image.Ref{Repository: api, Tag: s}, Source: "ecs-service", Account: platform, Region: virginia, Resource: s},
			{Ref: image.Ref{Repository: evil, Tag: "gone"}, Source: s, Account: s, Region: s, Resource: s, Detail: s, Live: true},
		},
		Coverage: []image.Coverage{
			{Account: platform, Region: virginia, Source: "ecr", Status: image.CoverageOK},
			{Account: payments, Region: tokyo, Source: s, Status: image.CoverageFailed, Error: s},
		},
		Unscanned: []planner.Unscanned{{Account: closed, Name: s, State: s, Why: s}},
		Notes:     []image.Note{{Account: s, Region: s, Source: s, Resource: s, Text: s}},
	}
	rules := testRules
	rules.Repositories = append([]planner.RepositoryRule{{Name: image.Exact(s), Expires: day}}, rules.Repositories...)
	rules.Attestations = []planner.Attestation{{Accounts: []image.Pattern{image.Exact(s)}, Regions: []string{s}, Sources: []string{s}, Reason: s, Expires: now.Add(day)}}
	inventories := []image.Inventory{
		{Repository: evil, Tags: map[string]string{"owner": s}, Images: []image.Image{bad}},
		{Repository: api, Images: []image.Image{img("used", 10, 300, "used"), img("old", 10, 200, "old"), img("new", 10, 1, "new")}},
		{Repository: repo(payments, tokyo, "blocked"), Errors: []string{s}, Images: []image.Image{img("b1", 10, 300, "b1"), img("b2", 10, 200, "b2")}},
	}
	slices.SortFunc(inventories, func(a, b image.Inventory) int { return image.CompareRepositories(a.Repository, b.Repository) })
	return &Run{
		Plan: build(t, rules, usage, inventories), ID: s, ConfigSHA256: s, Version: s, GeneratedAt: now, Prices: cost.List(),
		Accounts:    map[string]Account{platform: {Name: s, Owner: s, CostCenter: s, OU: s}, payments: {Name: s}},
		Bill:        &cost.Bill{Metric: s, Currency: "USD", Lines: []cost.BillLine{{Month: "2026-10", Account: s, Region: s, UsageType: s, Amount: 5}}},
		BillMissing: s, Layers: s, Finance: Finance{RateSource: s, OwnerKeys: []string{s, "owner"}},
	}
}

// Nothing that is printed has a character in it that a terminal obeys, and no line is wider than the terminal.
func TestHostileTerminal(t *testing.T) {
	for i, s := range hostileTexts {
		run := hostile(t, s)
		for _, width := range []int{0, 1, 40, 60, 80, 132, 250} {
			for _, opts := range []TermOptions{{Width: width}, {Width: width, All: true}, {Width: width, Color: true}} {
				var b bytes.Buffer
				if err := Table(&b, run, opts); err != nil {
					t.Fatal(err)
				}
				checkLines(t, i, b.String(), width, opts.Color)
			}
		}
		var b bytes.Buffer
		err := Explain(&b, run, image.Ref{Repository: image.Repository{Registry: image.Registry{Account: platform, Region: virginia}, Name: s}, Tag: s})
		if err != nil {
			t.Errorf("text %d: %v", i, err)
		}
		checkLines(t, i, b.String(), 1<<30, false)
	}
}

func checkLines(t *testing.T, i int, out string, width int, color bool) {
	t.Helper()
	if width == 0 {
		width = noWidth
	}
	width = max(width, minWidth)
	for line := range strings.SplitSeq(out, "\n") {
		if color {
			for _, code := range []string{bold, red, yellow, plain} {
				line = strings.ReplaceAll(line, code, "")
			}
		}
		for _, r := range line {
			if !unicode.IsGraphic(r) {
				t.Fatalf("text %d: %U in %q", i, r, line)
			}
		}
		if w := text.StringWidth(line); w > width {
			t.Fatalf("text %d: a line of %d columns in %d: %q", i, w, width, line)
		}
	}
}

func TestSampleFits(t *testing.T) {
	for _, run := range []*Run{sample(t), bulk(t, 60, 20)} {
		for width := 40; width <= 200; width++ {
			var b bytes.Buffer
			if err := Table(&b, run, TermOptions{Width: width, All: width%2 == 0}); err != nil {
				t.Fatal(err)
			}
			checkLines(t, width, b.String(), width, false)
		}
	}
}

func TestHostileJSON(t *testing.T) {
	for i, s := range hostileTexts {
		var b bytes.Buffer
		if err := JSON(&b, hostile(t, s), true); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && !unicode.IsGraphic(r) {
				t.Fatalf("text %d: %U", i, r)
			}
		}
		var doc struct {
			RunID  string `json:"run_id"`
			Images []struct {
				Repository string
				Tags       []string
			}
			Gaps []planner.Gap
		}
		if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		want := strings.ToValidUTF8(s, "\ufffd")
		want = strings.Replace(want, "\ufffdbroken", "\ufffd\ufffdbroken", 1) // one for each broken byte
		if doc.RunID != want || !slices.ContainsFunc(doc.Gaps, func(g planner.Gap) bool { return g.Error == want }) {
			t.Errorf("text %d: read back as %.100q", i, doc.RunID)
		}
		found := false
		for _, im := range doc.Images {
			if im.Tags == nil {
				t.Errorf("text %d: tags are null", i)
			}
			found = found || im.Repository == want && slices.Equal(im.Tags, []string{want})
		}
		if !found {
			t.Errorf("text %d: its image is lost", i)
		}
	}
}

func TestHostileCSV(t *testing.T) {
	for i, s := range hostileTexts {
		var b bytes.Buffer
		if err := CSV(&b, hostile(t, s), true); err != nil {
			t.Fatal(err)
		}
		if strings.Count(b.String(), "\n") != strings.Count(b.String(), "\r\n") {
			t.Errorf("text %d: a line does not end in CRLF", i)
		}
		records, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, r := range records[1:] {
			for _, cell := range r {
				if cell != "" && strings.ContainsRune("=+-@\t\r\n", rune(cell[0])) {
					t.Errorf("text %d: a cell starts as a formula: %.50q", i, cell)
				}
				checkCell(t, i, cell)
			}
			want := strings.NewReplacer("\r\n", "\n", "\r", "").Replace(csvText(s)) // what a reader makes of line ends
			found = found || r[2] == want && r[4] == want
		}
		if !found {
			t.Errorf("text %d: its image is lost", i)
		}
	}
}

func checkCell(t *testing.T, i int, cell string) {
	t.Helper()
	for _, r := range cell {
		if !inCell(r) {
			t.Fatalf("text %d: %U in a cell", i, r)
		}
	}
}

func TestHostileMarkdown(t *testing.T) {
	for i, s := range hostileTexts {
		var b bytes.Buffer
		if err := Markdown(&b, hostile(t, s)); err != nil {
			t.Fatal(err)
		}
		checkLines(t, i, b.String(), 1<<30, false)
		for _, bad := range []string{"<script", "<img", "](https", "# g"} {
			if strings.Contains(strings.NewReplacer(`\#`, "", `\]`, "").Replace(b.String()), bad) {
				t.Errorf("text %d: %q in\n%s", i, bad, b.String())
			}
		}
		for line := range strings.Lines(b.String()) {
			if len(line) > 8_000 {
				t.Errorf("text %d: a line of %d bytes", i, len(line))
			}
			if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != 7 {
				t.Errorf("text %d: a row with other columns: %q", i, line)
			}
		}
	}
}

func TestHostileWorkbook(t *testing.T) {
	for i, s := range hostileTexts {
		run := hostile(t, s)
		var beside file
		data, book := written(t, run, WorkbookOptions{})
		written(t, run, WorkbookOptions{maxRows: 2, Overflow: func() (string, io.WriteCloser, error) { return s, &beside, nil }})
		for name, xml := range parts(t, data) {
			if strings.HasPrefix(name, "xl/worksheets/sheet") && (strings.Count(xml, "<f>") != strings.Count(xml, "<f>SUBTOTAL(") || strings.Contains(xml, "<hyperlink")) {
				t.Errorf("text %d: %s has a formula or a link", i, name)
			}
		}
		want := clip(cellText(s))
		for sheet, place := range map[string]int{sheetCostCentres: 0, sheetAccounts: 1, sheetRegions: 0, sheetRepositories: 3, sheetImages: 2, sheetBlocked: 5,
			sheetBroken: 3, sheetCoverage: 5, sheetAssumptions: 1} {
			found := false
			for _, row := range rows(t, book, sheet) {
				for _, cell := range row {
					checkCell(t, i, cell)
				}
				found = found || place < len(row) && strings.ReplaceAll(row[place], "\r\n", "\n") == strings.ReplaceAll(want, "\r\n", "\n")
			}
			if !found {
				t.Errorf("text %d: not on sheet %s", i, sheet)
			}
		}
		records, err := csv.NewReader(&beside).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			for _, cell := range r {
				checkCell(t, i, cell)
			}
		}
	}
}
