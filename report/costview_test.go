package report

import (
	"bytes"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"demurrage/internal/cost"
	"demurrage/internal/image"
)

// allFacts writes every fact table behind its name.
func allFacts(w io.Writer, run *Run) error {
	for _, t := range FactTables(run) {
		if _, err := fmt.Fprintf(w, "== %s\r\n", t.Name); err != nil {
			return err
		}
		if err := t.Write(w); err != nil {
			return err
		}
	}
	return nil
}

// costly is the sample with layers, a bill and a past.
func costly(t testing.TB) *Run {
	run := sample(t)
	run.Stored = map[image.Repository]cost.Stored{
		repo(platform, virginia, "prod/api"):    {Exact: true, Unique: 700 << 20, Freed: 123_456_789},
		repo(platform, virginia, "prod/multi"):  {Exact: true, Unique: 100 << 20, Freed: 60 << 20},
		repo(platform, saopaulo, "edge"):        {Exact: true, Unique: 800 << 20, Freed: 90 << 20},
		repo(platform, virginia, "shared/base"): {Unique: 250 << 20},
		repo(payments, tokyo, "checkout"):       {Exact: true, Unique: 600 << 20},
	}
	run.Layers = "exact: manifests of all images"
	run.Bill = &cost.Bill{Metric: "UnblendedCost", Currency: "USD", AsOf: now, Lines: []cost.BillLine{
		{Month: "2026-08", Account: platform, Region: virginia, UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: 1_000_000},
		{Month: "2026-09", Account: platform, Region: virginia, UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: 1_234_567, Provisional: true},
		{Month: "2026-09", Account: platform, Region: virginia, UsageType: "DataTransfer-Out-Bytes", Amount: 20_001, Provisional: true},
		{Month: "2026-09", Account: payments, Region: tokyo, UsageType: "APN1-TimedStorage-ByteHrs", Storage: true, Amount: -5, Provisional: true},
		{Month: "2026-09", Account: closed, Region: virginia, UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: 77, Provisional: true},
	}}
	run.History = []Month{
		{Month: "2026-06", RunID: "june", Complete: true, Accounts: map[string]MonthSum{platform: {Stored: 1 << 30, Images: 5, List: 100_000}}},
		{Month: "2026-08", RunID: "august", Accounts: map[string]MonthSum{platform: {Stored: 2 << 30, Images: 9, List: 200_000, Low: 1, High: 2}},
			Deleted: MonthDeleted{Images: 3, Bytes: 1 << 20, Saving: 12}},
	}
	run.Workbook = "s3://reports/2026-10/report.xlsx"
	return run
}

func TestCostGolden(t *testing.T) {
	for _, o := range []struct {
		name  string
		write func(io.Writer, *Run) error
	}{
		{"cost.md", Markdown}, {"cost-short.txt", func(w io.Writer, r *Run) error { _, err := io.WriteString(w, Short(r)); return err }},
		{"cost-focus.csv", FOCUS}, {"cost-facts.csv", allFacts}, {"cost.html", HTML},
	} {
		var first, second bytes.Buffer
		if err := o.write(&first, costly(t)); err != nil {
			t.Fatal(err)
		}
		if err := o.write(&second, costly(t)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first.Bytes(), second.Bytes()) {
			t.Errorf("%s: the same run gave other bytes", o.name)
		}
		golden(t, o.name, first.Bytes())
	}
}

func TestCostView(t *testing.T) {
	v := newCostView(costly(t))
	if v.total.billed != 1_234_567+20_001-5+77 || v.billMonth != "2026-09" || !v.provisional {
		t.Errorf("billed %s of %s", v.total.billed, v.billMonth)
	}
	if v.total.freed != 123_456_789+150<<20 || v.total.freedMissing != 0 || v.total.lowMissing() != 1 {
		t.Errorf("freed %d, %d missing; low %d missing", v.total.freed, v.total.freedMissing, v.total.lowMissing())
	}
	var accounts, rows costSums
	for i := range v.accounts {
		accounts.add(&v.accounts[i].sums)
	}
	beyond := map[string]cost.Money{}
	for i := range v.rows {
		rows.add(&v.rows[i].costSums)
		beyond[v.rows[i].beyond+v.rows[i].Account] += v.rows[i].billed
	}
	if accounts != v.total || rows != v.total {
		t.Errorf("accounts %+v\nrows %+v\ntotal %+v", accounts, rows, v.total)
	}
	if beyond[cost.NotScanned+closed] != 77 || beyond[cost.NotStorage+platform] != 20_001 {
		t.Errorf("beyond repositories: %v", beyond)
	}
	months := ""
	for _, m := range v.trend {
		months += fmt.Sprintf("%s %t %t; ", m.month, m.remembered != nil, m.billed != nil)
	}
	if want := "2026-06 true false; 2026-07 false false; 2026-08 true true; 2026-09 false true; 2026-10 true false; "; months != want {
		t.Errorf("trend %s", months)
	}
	run := costly(t)
	run.Bill = nil
	if v := newCostView(run); v.billed || v.total.billed != 0 {
		t.Errorf("a bill out of nothing: %s", v.total.billed)
	}
}

// decimal reads an exact amount back.
func decimal(t *testing.T, s string) cost.Money {
	t.Helper()
	if s == "" {
		return 0
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is no number", s)
	}
	r.Mul(r, big.NewRat(1_000_000, 1))
	if !r.IsInt() {
		t.Fatalf("%q is finer than a millionth", s)
	}
	return cost.Money(r.Num().Int64())
}

func records(t *testing.T, write func(io.Writer) error) []map[string]string {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	raw := b.String()
	if strings.Count(raw, "\n") < 1 || strings.Contains(strings.ReplaceAll(raw, "\r\n", ""), "\n") {
		t.Error("lines do not end in CRLF")
	}
	all, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]string
	for _, r := range all[1:] {
		m := map[string]string{}
		for i, cell := range r {
			if i >= 0 && cell != "" && strings.IndexByte("=+@\t\r", cell[0]) >= 0 {
				t.Errorf("a cell %q", cell[:min(len(cell), 40)])
			}
			m[all[0][i]] = cell
		}
		out = append(out, m)
	}
	return out
}

func factTable(t *testing.T, run *Run, name string) []map[string]string {
	t.Helper()
	for _, f := range FactTables(run) {
		if f.Name == name {
			return records(t, f.Write)
		}
	}
	t.Fatalf("no table %s", name)
	return nil
}

// pageOf reads a page back: what its data says, and the document.
func pageOf(t *testing.T, run *Run) (*pageData, *html.Node, []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, run); err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	var data pageData
	found := false
	for n := range doc.Descendants() {
		if n.Data == "script" && attr(n, "id") == "data" {
			found = true
			d := json.NewDecoder(strings.NewReader(n.FirstChild.Data))
			d.DisallowUnknownFields()
			d.UseNumber()
			if err := d.Decode(&data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !found {
		t.Fatal("no data")
	}
	return &data, doc, b.Bytes()
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// The totals of the page, its tables, the fact tables and the FOCUS file agree.
func TestCostTotalsAgree(t *testing.T) {
	big := bulk(t, 700, 3)
	big.Stored = map[image.Repository]cost.Stored{}
	big.Bill = &cost.Bill{Metric: "UnblendedCost", Currency: "USD"}
	r := rand.New(rand.NewPCG(9, 10))
	for i := range big.Plan.Summaries {
		s := &big.Plan.Summaries[i]
		bytes := s.Count.Total().Bytes
		if r.IntN(5) > 0 {
			big.Stored[s.Repository] = cost.Stored{Exact: r.IntN(3) > 0, Unique: r.Int64N(bytes + 1), Freed: r.Int64N(s.Count.Delete.Bytes + 1)}
		}
		if i%9 == 0 {
			big.Bill.Lines = append(big.Bill.Lines, cost.BillLine{Month: "2026-10", Account: s.Repository.Account, Region: s.Repository.Region,
				Storage: i%2 == 0, Amount: cost.Money(r.Int64N(1e9) - 1e6)})
		}
	}
	for name, run := range map[string]*Run{"sample": sample(t), "costly": costly(t), "bulk": big} {
		t.Run(name, func(t *testing.T) {
			v := newCostView(run)
			check := func(where string, list, billed, low, high cost.Money, unique int64) {
				t.Helper()
				w := &v.total
				if list != w.list || billed != w.billed || low != w.low || high != w.high || unique != w.unique {
					t.Errorf("%s: list %s billed %s low %s high %s of %d bytes; want %s %s %s %s of %d", where, list, billed, low, high, unique, w.list, w.billed, w.low, w.high, w.unique)
				}
			}
			integer := func(s string) (n int64) {
				fmt.Sscan(s, &n)
				return n
			}
			for _, name := range []string{"accounts", "repositories"} {
				var list, billed, low, high cost.Money
				var unique int64
				for _, row := range factTable(t, run, name) {
					list += decimal(t, row["list_USD"])
					billed += decimal(t, row["billed_USD"])
					low += decimal(t, row["saving_low_USD"])
					high += decimal(t, row["saving_high_USD"])
					unique += integer(row["unique_bytes"])
				}
				check(name+".csv", list, billed, low, high, unique)
			}
			var list, billed, low, high cost.Money
			var unique int64
			for _, row := range records(t, func(w io.Writer) error { return FOCUS(w, run) }) {
				list += decimal(t, row["ListCost"])
				billed += decimal(t, row["BilledCost"])
				low += decimal(t, row["x_SavingLow"])
				high += decimal(t, row["x_SavingHigh"])
				unique += integer(row["x_UniqueBytes"])
				if row["BilledCost"] == "" == v.billed {
					t.Errorf("billed %q", row["BilledCost"])
				}
				if row["ListCost"] != "" { // the price times the quantity
					got := ratOf(t, row["PricingQuantity"])
					got.Mul(got, ratOf(t, row["ListUnitPrice"])).Sub(got, ratOf(t, row["ListCost"]))
					if got.Abs(got).Cmp(ratOf(t, "0.000001")) > 0 {
						t.Errorf("%s: %s x %s is not %s", row["ResourceId"], row["PricingQuantity"], row["ListUnitPrice"], row["ListCost"])
					}
				}
			}
			check("focus", list, billed, low, high, unique)

			data, _, raw := pageOf(t, run)
			value := func(m *cost.Money) cost.Money {
				if m == nil {
					return 0
				}
				return *m
			}
			check("page", value(data.Total.List), value(data.Total.Billed), value(data.Total.Low), value(data.Total.High), data.Total.Unique)
			for _, table := range data.Tables[:2] {
				sums := map[string]int64{}
				for _, row := range table.Rows {
					if len(row) != len(table.Columns) {
						t.Fatalf("%s: a row of %d cells under %d columns", table.ID, len(row), len(table.Columns))
					}
					for i, c := range table.Columns {
						if n, ok := row[i].(json.Number); ok {
							sums[strings.SplitN(c.Name, " (", 2)[0]] += integer(n.String())
						}
					}
				}
				money := func(name string) cost.Money { return cost.Money(sums[name]) }
				for name := range sums {
					if strings.HasPrefix(name, "Billed ") {
						sums["Billed"] = sums[name]
					}
				}
				check("page, "+table.ID, money("List"), money("Billed"), money("Saving, low"), money("Saving, high"), sums["Stored"])
				if want := newFacts(run).total.reclaimable; sums["Reclaimable"] != want { // as in the workbook
					t.Errorf("page, %s: %d bytes are reclaimable, and %d in the workbook", table.ID, sums["Reclaimable"], want)
				}
			}
			if name == "bulk" && len(raw) > 500<<10 {
				t.Errorf("a page of %d bytes", len(raw))
			}
		})
	}
}

func ratOf(t *testing.T, s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		t.Fatalf("%q is no number", s)
	}
	return r
}

func TestFOCUSColumns(t *testing.T) {
	place := slices.Index(focusColumns, "x_AllocatedBilled")
	if !slices.IsSorted(focusColumns[:place]) || !slices.IsSorted(focusColumns[place:]) {
		t.Error("columns are not in order")
	}
	for _, row := range records(t, func(w io.Writer) error { return FOCUS(w, costly(t)) }) {
		if row["BillingPeriodStart"] != "2026-09-01T00:00:00Z" || row["BillingPeriodEnd"] != "2026-10-01T00:00:00Z" {
			t.Errorf("period %s to %s", row["BillingPeriodStart"], row["BillingPeriodEnd"])
		}
		for name := range row {
			if !slices.Contains(focusColumns, name) {
				t.Errorf("a column %s", name)
			}
		}
	}
	run := costly(t)
	run.Bill.Metric = "AmortizedCost"
	for _, row := range records(t, func(w io.Writer) error { return FOCUS(w, run) }) {
		if row["BilledCost"] != "" || row["EffectiveCost"] == "" {
			t.Errorf("what is amortized is no billed cost: %v", row)
		}
	}
	run.Bill.Currency = "EUR" // without a rate
	for _, row := range records(t, func(w io.Writer) error { return FOCUS(w, run) }) {
		if row["BilledCost"] != "" || row["EffectiveCost"] != "" || row["BillingCurrency"] != "USD" || row["PricingCurrency"] != "USD" {
			t.Errorf("currencies are mixed up: %v", row)
		}
	}
}

// Nothing of a page comes from elsewhere, and its policy lets nothing run but what is in it.
func TestPageIsClosed(t *testing.T) {
	_, doc, raw := pageOf(t, costly(t))
	policy := ""
	var style, script string
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("<%s> has %s", n.Data, a.Key)
			}
			if a.Key == "src" || a.Key == "href" && a.Val != "data:," {
				t.Errorf("<%s> loads %s", n.Data, a.Val)
			}
		}
		switch {
		case n.Data == "meta" && attr(n, "http-equiv") == "Content-Security-Policy":
			policy = attr(n, "content")
		case n.Data == "style":
			style = n.FirstChild.Data
		case n.Data == "script" && attr(n, "id") != "data":
			script = n.FirstChild.Data
		}
	}
	want := "default-src 'none'; style-src '" + sourceHash(style) + "'; script-src '" + sourceHash(script) + "'; img-src data:; base-uri 'none'; form-action 'none'"
	if policy != want {
		t.Errorf("policy %s, want %s", policy, want)
	}
	if strings.Contains(pageScript, "</") || strings.Contains(pageStyle, "</") || bytes.Contains(raw, []byte("ZgotmplZ")) || bytes.Contains(raw, []byte("://")) {
		t.Error("the page holds what it must not")
	}
	for _, ways := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "fetch(", "XMLHttp"} {
		if strings.Contains(pageScript, ways) {
			t.Errorf("the script has %s", ways)
		}
	}
}

// shape is the elements and attributes of a page without its texts, which must not change it.
func shape(doc *html.Node) map[string]int {
	out := map[string]int{}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode {
			key := n.Data
			for _, a := range n.Attr {
				key += " " + a.Key
			}
			out[key]++
		}
	}
	return out
}

func TestHostileCost(t *testing.T) {
	var harmless map[string]int
	for i, s := range append([]string{"harmless"}, hostileTexts...) {
		run := hostile(t, s)
		run.BillMissing, run.Layers, run.Workbook = s, s, s
		run.Stored = map[image.Repository]cost.Stored{repo(platform, virginia, s): {Exact: true, Unique: 90 << 20, Freed: 80 << 20}}
		data, doc, raw := pageOf(t, run)
		for _, r := range string(raw) {
			if r != '\n' && !visibleRune(r) {
				t.Fatalf("text %d: %U on the page", i, r)
			}
		}
		got := shape(doc)
		for key, n := range got {
			switch name, _, _ := strings.Cut(key, " "); name {
			case "text", "li", "g", "rect", "title": // as many as fit
				continue
			}
			if i > 0 && harmless[key] != n {
				t.Errorf("text %d: %d of <%s>, not %d", i, n, key, harmless[key])
			}
		}
		if i == 0 {
			harmless = got
		}
		found := false
		for _, row := range data.Tables[0].Rows {
			found = found || row[0] == pageText(s)
		}
		if !found {
			t.Errorf("text %d: not in the page's table", i)
		}

		want := strings.NewReplacer("\r\n", "\n", "\r", "").Replace(csvText(s)) // what a reader makes of line ends
		for _, f := range FactTables(run) {
			for _, row := range records(t, f.Write) {
				for _, cell := range row {
					checkCell(t, i, cell)
				}
			}
		}
		found = false
		for _, row := range factTable(t, run, "repositories") {
			found = found || row["repository"] == want && row["owner"] == want && row["account_name"] == want
		}
		if !found {
			t.Errorf("text %d: not in the fact table", i)
		}
		found = false
		for _, row := range records(t, func(w io.Writer) error { return FOCUS(w, run) }) {
			for _, cell := range row {
				checkCell(t, i, cell)
			}
			found = found || row["ResourceName"] == want && row["SubAccountName"] == want
			var tags map[string]string
			if row["Tags"] != "" && json.Unmarshal([]byte(row["Tags"]), &tags) != nil {
				t.Errorf("text %d: tags %q", i, row["Tags"][:min(len(row["Tags"]), 80)])
			}
		}
		if !found {
			t.Errorf("text %d: not in the FOCUS file", i)
		}

		checkLines(t, i, Short(run), 1<<30, false)
		if n := len(Short(run)); n > 12_000+len(visible(s)) {
			t.Errorf("text %d: a short text of %d bytes", i, n)
		}
	}
}

func visibleRune(r rune) bool { return r != '\uFFFD' && visible(string(r)) == string(r) }

// A squarified rectangle is filled whole: areas are as the weights, and nothing lies outside or upon another.
func TestSquarify(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 300 {
		weights := make([]int64, 1+r.IntN(60))
		total := int64(0)
		for i := range weights {
			weights[i] = 1 + r.Int64N(1<<r.IntN(40))
			total += weights[i]
		}
		slices.Sort(weights)
		slices.Reverse(weights)
		in := box{5, 7, 1000, 480}
		boxes := squarify(weights, in)
		if len(boxes) != len(weights) {
			t.Fatalf("%d boxes of %d", len(boxes), len(weights))
		}
		for i, b := range boxes {
			want := 1000 * 480 * float64(weights[i]) / float64(total)
			if off := float64(b.W)*float64(b.H) - want; off > 1e-3 || off < -1e-3 {
				t.Fatalf("box %d of %v is %v, not %g", i, weights, b, want)
			}
			if b.X < in.X-1e-3 || b.Y < in.Y-1e-3 || b.X+b.W > in.X+in.W+1e-3 || b.Y+b.H > in.Y+in.H+1e-3 {
				t.Fatalf("box %v is outside", b)
			}
			for _, o := range boxes[:i] {
				if w, h := min(b.X+b.W, o.X+o.W)-max(b.X, o.X), min(b.Y+b.H, o.Y+o.H)-max(b.Y, o.Y); w > 1e-3 && h > 1e-3 {
					t.Fatalf("%v lies on %v", b, o)
				}
			}
		}
	}
}

func TestPageOfMany(t *testing.T) {
	if testing.Short() {
		t.Skip("many repositories")
	}
	run := bulk(t, 20_000, 1)
	start := time.Now()
	data, doc, raw := pageOf(t, run)
	if n := len(data.Tables[0].Rows); n != 20_000 {
		t.Errorf("%d rows", n)
	}
	if len(raw) > 4<<20 {
		t.Errorf("a page of %d bytes", len(raw))
	}
	cells := 0
	for n := range doc.Descendants() {
		if n.Data == "g" && strings.HasPrefix(attr(n, "class"), "cell ") {
			cells++
		}
	}
	if cells > 2*(mostFields+mostAccounts+1) {
		t.Errorf("%d fields", cells)
	}
	t.Logf("%d bytes, %d fields, made and read in %s", len(raw), cells, time.Since(start))
}

// browser finds a Chromium, or skips the test.
func browser(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no Chromium")
	return ""
}

// On paper every page of a long table has the header.
func TestPageInPrint(t *testing.T) {
	chromium := browser(t)
	if _, err := exec.LookPath("pdftotext"); err != nil {
		t.Skip("no pdftotext")
	}
	dir := t.TempDir()
	page, pdf := filepath.Join(dir, "report.html"), filepath.Join(dir, "report.pdf")
	var b bytes.Buffer
	if err := HTML(&b, bulk(t, 100, 2)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(page, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), chromium, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+dir, "--no-pdf-header-footer", "--print-to-pdf="+pdf, "file://"+page)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	text, err := exec.CommandContext(t.Context(), "pdftotext", "-layout", pdf, "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^ *team/service`)
	tables := 0
	for i, s := range strings.Split(string(text), "\f") {
		if !row.MatchString(s) {
			continue
		}
		tables++
		if !regexp.MustCompile(`(?m)^ *Repository +Account`).MatchString(s) {
			t.Errorf("page %d has rows without a header:\n%s", i+1, s)
		}
	}
	if tables < 2 {
		t.Errorf("%d pages of repositories", tables)
	}
}

// The script runs in a real browser with nothing to complain of, where there is one.
func TestPageInBrowser(t *testing.T) {
	browser := browser(t)
	for i, s := range []string{"harmless", "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "\u202etxt.exe"} {
		var b bytes.Buffer
		if err := HTML(&b, hostile(t, s)); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "report.html")
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), browser, "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+dir, "--enable-logging=stderr", "--v=0", "--dump-dom", "file://"+path)
		var out, messages bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &messages
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v\n%s", err, messages.String())
		}
		if m := regexp.MustCompile(`(?m)^.*CONSOLE.*$`).FindString(messages.String()); m != "" {
			t.Errorf("text %d: %s", i, m)
		}
		if !strings.Contains(out.String(), `<h2 id="h-repositories">`) || !strings.Contains(out.String(), "<td>") {
			t.Errorf("text %d: the script made no tables", i)
		}
	}
}

func TestSourceHash(t *testing.T) {
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sourceHash(""), "sha256-"))
	if err != nil || fmt.Sprintf("%x", sum) != "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" {
		t.Errorf("%x, %v", sum, err)
	}
}

// Every byte and every repository is in one field, however many there are.
func TestPlots(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, n := range []int{0, 1, 39, 299, 300, 301, 2_000} {
		v := &costView{}
		total, goes := int64(0), int64(0)
		for i := range n {
			row := costRow{Repository: repo(fmt.Sprintf("%012d", i%61), virginia, fmt.Sprint(i)), account: &Account{ID: fmt.Sprintf("%012d", i%61)}}
			row.unique = 1 + r.Int64N(1<<40)
			row.freed, row.freedKnown, row.goes.Images = r.Int64N(row.unique), 1, 1
			total, goes = total+row.unique, goes+row.freed
			v.rows = append(v.rows, row)
		}
		plots := newPlots(v)
		repositories := 0
		for i, a := range plots {
			sum := int64(0)
			for _, p := range a.plots {
				sum += p.bytes
				goes -= p.goes
				repositories += max(p.rest, 1)
			}
			if total -= a.bytes; sum != a.bytes || i > mostAccounts {
				t.Errorf("%d repositories: account %d has %d bytes in fields of %d", n, i, a.bytes, sum)
			}
		}
		if total != 0 || goes != 0 || repositories != n {
			t.Errorf("%d repositories: %d in fields, %d bytes and %d that go are not", n, repositories, total, goes)
		}
	}
}

// The figures of the JSON add up as those of the other outputs do.
func TestJSONCosts(t *testing.T) {
	run := costly(t)
	var out bytes.Buffer
	if err := JSON(&out, run, false); err != nil {
		t.Fatal(err)
	}
	type sums struct {
		Unique int64  `json:"unique_bytes"`
		Billed *int64 `json:"billed_micros"`
		List   *int64 `json:"list_micros"`
		Low    *int64 `json:"saving_low_micros"`
	}
	var doc struct {
		Cost         sums
		Accounts     []sums `json:"cost_accounts"`
		Repositories []sums `json:"cost_repositories"`
	}
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	v := newCostView(run)
	if doc.Cost.Unique != v.total.unique || *doc.Cost.Billed != int64(v.total.billed) || *doc.Cost.List != int64(v.total.list) {
		t.Errorf("%+v", doc.Cost)
	}
	for name, list := range map[string][]sums{"accounts": doc.Accounts, "repositories": doc.Repositories} {
		var unique, billed, listed int64
		for _, s := range list {
			unique += s.Unique
			if s.Billed != nil {
				billed += *s.Billed
			}
			if s.List != nil {
				listed += *s.List
			}
		}
		if len(list) == 0 || unique != doc.Cost.Unique || billed != *doc.Cost.Billed || listed != *doc.Cost.List {
			t.Errorf("%s add up to %d bytes, %d and %d, and the whole is %+v", name, unique, billed, listed, doc.Cost)
		}
	}
}
