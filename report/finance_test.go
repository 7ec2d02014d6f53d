package report

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// financial adds to a run what finance has: unique bytes, a bill of thirteen months, a history with a gap.
func financial(t testing.TB, run *Run) *Run {
	t.Helper()
	r := rand.New(rand.NewPCG(7, 8))
	run.Layers = "exact: manifests of all images were read"
	run.Stored = map[image.Repository]cost.Stored{}
	stored := map[string]int64{}
	registries := map[image.Registry]int64{}
	for i := range run.Plan.Summaries {
		s := &run.Plan.Summaries[i]
		all := s.Count.Total().Bytes
		unique := all - all/3
		run.Stored[s.Repository] = cost.Stored{Exact: len(s.Errors) == 0, Unique: unique, Freed: s.Count.Delete.Bytes / 2}
		if len(s.Errors) > 0 {
			run.Stored[s.Repository] = cost.Stored{Unique: all}
			unique = all
		}
		registries[s.Repository.Registry] += unique
		stored[s.Repository.Account] += unique
	}
	month := cost.Month(run.GeneratedAt)
	run.Bill = &cost.Bill{Metric: "UnblendedCost", Currency: "USD", AsOf: run.GeneratedAt}
	for i, m := range lastMonths(month) {
		for at, bytes := range registries {
			amount := cost.Money(float64(bytes)/cost.GB*(60_000+4_000*float64(i))) + cost.Money(r.Int64N(5_000))
			run.Bill.Lines = append(run.Bill.Lines,
				cost.BillLine{Month: m, Account: at.Account, Region: at.Region, UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: amount, Quantity: bytes},
				cost.BillLine{Month: m, Account: at.Account, Region: at.Region, UsageType: "DataTransfer-Out-Bytes", Amount: 3_333 + amount/10})
		}
		run.Bill.Lines = append(run.Bill.Lines,
			cost.BillLine{Month: m, Account: closed, Region: tokyo, UsageType: "APN1-TimedStorage-ByteHrs", Storage: true, Amount: 123_457},
			cost.BillLine{Month: m, Account: platform, UsageType: "Mystery", Amount: 1})
		if i < 3 || i == 7 || i == 12 { // before the first run, missed, now
			continue
		}
		h := Month{Month: m, RunID: "run-" + m, At: firstOf(m).Add(day), Complete: i != 5, Accounts: map[string]MonthSum{}}
		for id, bytes := range stored {
			b := bytes * int64(i+8) / 22
			list, _ := run.Prices.Monthly(virginia, b)
			h.Accounts[id] = MonthSum{Stored: b, Images: i, List: list}
		}
		h.Deleted = MonthDeleted{Images: i, Bytes: int64(i) << 26, Saving: cost.Money(i) * 6_250}
		run.History = append(run.History, h)
	}
	run.Finance = Finance{FiscalStart: time.April}
	run.Lifecycle = map[image.Repository]bool{}
	for i := range run.Plan.Summaries {
		run.Lifecycle[run.Plan.Summaries[i].Repository] = i%2 == 0
	}
	return run
}

// Every sheet adds up to the bill and to the facts, in any currency, and the reconciliation says so.
func TestReconciliation(t *testing.T) {
	yen := financial(t, sample(t))
	yen.Prices, yen.Bill = yen.Prices.In("JPY", 149_123_457), yen.Bill.In("JPY", 149_123_457)
	for _, m := range yen.History {
		for id, sum := range m.Accounts {
			sum.List = sum.List.Convert(149_123_457)
			m.Accounts[id] = sum
		}
	}
	unscanned := sample(t)
	for name, run := range map[string]*Run{
		"sample": financial(t, sample(t)), "bulk": financial(t, bulk(t, 100, 60)), "yen": yen, "no bill": unscanned,
		"nothing": {Plan: build(t, planner.Rules{}, planner.Usage{}, nil), Prices: cost.List(), GeneratedAt: now},
	} {
		t.Run(name, func(t *testing.T) {
			_, book := written(t, run, WorkbookOptions{})
			checks := rows(t, book, sheetReconciliation)
			for _, row := range checks[1:] {
				if row[5] != "OK" || exact(t, row[3], 1) != 0 || row[1] != row[2] {
					t.Errorf("%q", row)
				}
			}
			if run.Bill == nil {
				return
			}
			if len(checks) < 20 {
				t.Errorf("%d checks", len(checks)-1)
			}
			var bill cost.Money // added up anew, line by line
			for _, l := range run.Bill.Lines {
				if l.Month == "2026-10" {
					bill += l.Amount
				}
			}
			currency := run.Prices.Currency
			for sheet, title := range map[string]string{sheetCostCentres: "Billed 2026-10 (" + currency + ")", sheetAccounts: "Billed 2026-10 (" + currency + ")",
				sheetRegions: "Billed 2026-10 (" + currency + ")", sheetRepositories: "Billed, allocated 2026-10 (" + currency + ")"} {
				if added, total := sumColumn(t, rows(t, book, sheet), title, 1_000_000); added != int64(bill) || total != int64(bill) {
					t.Errorf("%s: rows add up to %d, the total is %d, the bill is %d", sheet, added, total, bill)
				}
			}
			if got := exact(t, figuresOf(t, book)["Billed 2026-10 ("+currency+")"], 1_000_000); got != int64(bill) {
				t.Errorf("summary: billed %d, want %d", got, bill)
			}
			f := newFacts(run)
			for _, c := range []struct {
				title  string
				scale  int64
				want   int64
				sheets []string
			}{
				{"Stored (GB)", cost.GB, f.total.stored, []string{sheetCostCentres, sheetAccounts, sheetRegions, sheetRepositories}},
				{"List cost (" + currency + " a month)", 1_000_000, int64(f.total.list), []string{sheetCostCentres, sheetAccounts, sheetRegions, sheetRepositories}},
				{"Saving, low (" + currency + " a month)", 1_000_000, int64(f.total.low), []string{sheetCostCentres, sheetAccounts, sheetRepositories}},
				{"Saving, high (" + currency + " a month)", 1_000_000, int64(f.total.saving), []string{sheetCostCentres, sheetAccounts, sheetRepositories}},
				{"Change on the month (" + currency + ")", 1_000_000, int64(f.total.billed - f.total.before), []string{sheetCostCentres}},
			} {
				for _, sheet := range c.sheets {
					if added, total := sumColumn(t, rows(t, book, sheet), c.title, c.scale); added != c.want || total != c.want {
						t.Errorf("%s, %s: rows add up to %d, the total is %d, want %d", sheet, c.title, added, total, c.want)
					}
				}
			}
		})
	}
}

// Where one side is wrong, the check that compares it says by how much, and the summary that the report is provisional.
func TestReconciliationDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(*facts, *Run)
		check  string
		diff   string
		others int // checks that the same thing breaks
	}{
		"an account's bill": {func(f *facts, _ *Run) { f.accounts[0].billed += 1_230_000 }, "Billed (USD): sheet Accounts = the bill", "1.23", 0},
		"a repository":      {func(f *facts, _ *Run) { f.repositories[1].low -= 500_000 }, "Saving, low (USD a month): sheet Repositories = the facts", "-0.5", 1},
		"the bill":          {func(f *facts, _ *Run) { f.bill.other += 2 }, "Billed (USD): sheet Regions = the bill", "-0.000002", 5},
		"a lost rest":       {func(f *facts, _ *Run) { f.rest = f.rest[1:] }, "Billed (USD): sheet Repositories = the bill", "", 3},
		"stored bytes":      {func(f *facts, _ *Run) { f.repositories[1].stored += cost.GB }, "Stored (GB): sheet Regions = the facts", "1", 2},
		"an account unread": {func(_ *facts, r *Run) { r.Accounts["999999999999"] = Account{} }, "Accounts: scanned (1), failed in part or whole (2) and not scanned (1) = the organization", "-1", 0},
		"a lost image":      {func(_ *facts, r *Run) { r.Plan.Count.Delete.Images++ }, "Images to delete: rows and overflow = the plan", "-1", 1},
	} {
		t.Run(name, func(t *testing.T) {
			run := financial(t, sample(t))
			f := newFacts(run)
			c.breaks(f, run)
			var b bytes.Buffer
			if err := workbook(&b, run, f, WorkbookOptions{}); err != nil {
				t.Fatal(err)
			}
			book, err := excelize.OpenReader(&b, excelize.Options{RawCellValue: true})
			if err != nil {
				t.Fatal(err)
			}
			others, found := 0, false
			for i, row := range rows(t, book, sheetReconciliation)[1:] {
				at := fmt.Sprintf("F%d", i+2)
				id, _ := book.GetCellStyle(sheetReconciliation, at)
				style, err := book.GetStyle(id)
				if err != nil {
					t.Fatal(err)
				}
				fill := map[string]string{"OK": green, "DIFFERS": pink}[row[5]]
				if len(style.Fill.Color) != 1 || style.Fill.Color[0] != fill {
					t.Errorf("%s is filled %q", row[5], style.Fill.Color)
				}
				switch {
				case row[0] == c.check:
					found = true
					if row[5] != "DIFFERS" || c.diff != "" && row[3] != c.diff || exact(t, row[3], 1<<30*1_000_000) == 0 {
						t.Errorf("%q, want %s", row, c.diff)
					}
				case row[5] != "OK":
					others++
				}
			}
			if !found || others != c.others {
				t.Errorf("found %t, %d others differ, want %d", found, others, c.others)
			}
			if banner, _ := book.GetCellValue(sheetSummary, "A2"); !strings.Contains(banner, "DIFFERS: see Reconciliation") {
				t.Errorf("banner %q", banner)
			}
		})
	}
}

// A month that was missed is a gap: empty cells, and charts that leave it out.
func TestTrend(t *testing.T) {
	run := financial(t, sample(t))
	data, book := written(t, run, WorkbookOptions{})
	list := rows(t, book, sheetTrend)
	if len(list) != 1+trendLength {
		t.Fatalf("%d rows", len(list)-1)
	}
	for i, row := range list[1:] {
		row = append(row, make([]string, 9-len(row))...)
		serial, err := excelize.ExcelDateToTime(float64(exact(t, row[0], 1)), false)
		want := time.Date(2025, time.October+time.Month(i), 1, 0, 0, 0, 0, time.UTC)
		if err != nil || !serial.Equal(want) {
			t.Errorf("row %d is of %v, want %v", i, serial, want)
		}
		if row[2] == "" {
			t.Errorf("%s: nothing billed", row[1])
		}
		missed := i < 3 || i == 7
		for column := 3; column < 8; column++ {
			unknown := missed || column == 5 && (i == 3 || i == 8) || column > 5 && i == 12
			if (row[column] == "") != unknown {
				t.Errorf("%s: %s is %q", row[1], list[0][column], row[column])
			}
		}
		if want := map[bool]string{true: "no run"}[missed]; want != "" && row[8] != want || !missed && row[8] == "no run" {
			t.Errorf("%s: coverage %q", row[1], row[8])
		}
	}
	if list[1][1] != "FY2026 P07" || list[7][1] != "FY2027 P01" || list[8][1] != "FY2027 P02" {
		t.Errorf("fiscal periods %q %q %q", list[1][1], list[7][1], list[8][1])
	}
	charts := 0
	for name, xml := range parts(t, data) {
		switch {
		case strings.HasPrefix(name, "xl/charts/chart"):
			charts++
			if !strings.Contains(xml, `dispBlanksAs val="gap">`) {
				t.Errorf("%s draws what is not known", name)
			}
		case strings.HasPrefix(name, "xl/drawings/drawing"):
			if strings.Count(xml, "<xdr:cNvPr ") != strings.Count(xml, ` descr="`) || strings.Contains(xml, `descr=""`) {
				t.Errorf("%s: a chart without a text", name)
			}
		}
	}
	if charts != 3 {
		t.Errorf("%d charts", charts)
	}

	run.Bill, run.BillMissing, run.History = nil, "the role may not read it", nil
	_, book = written(t, run, WorkbookOptions{})
	for i, row := range rows(t, book, sheetTrend)[1:] {
		row = append(row, make([]string, 9-len(row))...)
		if row[2] != "" || (row[3] == "") != (i < 12) {
			t.Errorf("without a bill or a history: %q", row)
		}
	}
	text := fmt.Sprint(rows(t, book, sheetSummary))
	if !strings.Contains(text, "Nothing is known of what was billed: the role may not read it. Amounts are list prices.") || figuresOf(t, book)["Billed (USD)"] != "–" {
		t.Errorf("the summary does not say that there is no bill: %s", text)
	}
}

func TestFiscalPeriod(t *testing.T) {
	for _, c := range []struct {
		month string
		start time.Month
		want  string
	}{
		{"2026-01", 0, "FY2026 P01"}, {"2026-12", time.January, "FY2026 P12"}, {"2026-05", time.April, "FY2027 P02"}, {"2026-03", time.April, "FY2026 P12"},
		{"2026-11", time.October, "FY2027 P02"}, {"2026-09", time.October, "FY2026 P12"},
	} {
		if got := fiscalPeriod(c.month, c.start); got != c.want {
			t.Errorf("%s from %v: %s, want %s", c.month, c.start, got, c.want)
		}
	}
}

// The configuration counts before an account's tags, and these before a repository's; the keys can be chosen.
func TestWhose(t *testing.T) {
	run := &Run{Finance: Finance{OwnerKeys: []string{"team", "squad"}}}
	tags := func(kv ...string) map[string]string { return map[string]string{kv[0]: kv[1]} }
	for _, c := range []struct {
		account    Account
		repository map[string]string
		want       whose
	}{
		{Account{Owner: "a", Tags: tags("team", "b")}, tags("team", "c"), whose{"a", fromConfig}},
		{Account{Tags: tags("squad", "b")}, tags("team", "c"), whose{"b", fromAccountTag}},
		{Account{Tags: tags("owner", "b")}, tags("team", "c"), whose{"c", fromRepositoryTag}},
		{Account{}, tags("Owner", "c"), whose{}},
	} {
		if got := run.owner(&c.account, c.repository); got != c.want {
			t.Errorf("%+v, %v: %v, want %v", c.account, c.repository, got, c.want)
		}
	}
	if got := run.costCenter(&Account{}, tags("CostCenter", "CC")); got != (whose{"CC", fromRepositoryTag}) || got.from.String() != "repository tag" {
		t.Errorf("default keys: %v", got)
	}
}

// A bill that cannot be shown is as good as none, and the report says why.
func TestLedger(t *testing.T) {
	run := financial(t, sample(t))
	line := func(month, region string, storage bool, amount cost.Money) cost.BillLine {
		return cost.BillLine{Month: month, Account: platform, Region: region, Storage: storage, Amount: amount}
	}
	for name, c := range map[string]struct {
		bill    *cost.Bill
		missing string
		month   string
		change  bool
	}{
		"of another currency": {&cost.Bill{Currency: "EUR"}, "it is in EUR, for which there is no exchange rate", "", false},
		"empty":               {&cost.Bill{Currency: "USD"}, "it has no line up to 2026-10", "", false},
		"later":               {&cost.Bill{Currency: "USD", Lines: []cost.BillLine{line("2026-11", virginia, true, 1)}}, "it has no line up to 2026-10", "", false},
		"the month before":    {&cost.Bill{Currency: "USD", Lines: []cost.BillLine{line("2026-09", virginia, true, 5), line("2026-11", virginia, true, 9)}}, "", "2026-09", false},
		"after a gap":         {&cost.Bill{Currency: "USD", Lines: []cost.BillLine{line("2026-08", virginia, true, 5), line("2026-10", virginia, true, 9)}}, "", "2026-10", false},
		"two months":          {&cost.Bill{Currency: "USD", Lines: []cost.BillLine{line("2026-09", virginia, true, 5), line("2026-10", virginia, true, 9)}}, "", "2026-10", true},
	} {
		t.Run(name, func(t *testing.T) {
			run.Bill = c.bill
			f := newFacts(run)
			if f.bill.missing != c.missing || f.bill.month != c.month || (f.bill.before != "") != c.change {
				t.Errorf("%+v", f.bill)
			}
			if f.bill.known() && f.total.billed != f.bill.storage {
				t.Errorf("billed %s of %s", f.total.billed, f.bill.storage)
			}
		})
	}
}
