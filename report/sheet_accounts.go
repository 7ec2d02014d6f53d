package report

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// byWeight are the accounts in the order of sheets: money, then name.
func (b *book) byWeight() []account {
	list := slices.Clone(b.facts.accounts)
	slices.SortFunc(list, func(x, y account) int {
		return cmp.Or(cmp.Compare(b.weight(&y.sums), b.weight(&x.sums)), cmp.Compare(x.Name, y.Name), cmp.Compare(x.ID, y.ID))
	})
	return list
}

// accounts is plain, not streamed: it has a small chart in every row. The months that these show stand beside what is printed.
func (b *book) accounts() error {
	list := b.byWeight()
	months := lastMonths(b.facts.month)
	what := "Billed"
	if !b.facts.bill.known() {
		what = "List cost"
	}
	units := 12
	for i := range list {
		units = max(units, utf8.RuneCountInString(list[i].OU)+3)
	}
	fields := []field{
		{"Account", kindText, 14}, {"Name", kindText, 20}, {"OU", kindWrap, float64(min(units, 60))}, {"Cost centre", kindText, 12}, {"Owner", kindText, 14},
		{"Repositories", kindInt, 15}, {"Images", kindInt, 9}, {titleStored, kindGB, 11}, {b.titleList(), kindMoney, 12},
		{b.titleBilled(), kindMoney, 12}, {"Billed minus list (" + b.facts.currency + ")", kindMoney, 12}, {titleReclaimable, kindGB, 15},
		{b.titleLow(), kindMoney, 12}, {b.titleHigh(), kindMoney, 12}, {"Saving share of list cost", kindPercent, 11}, {"Blocked (GB)", kindGB, 10},
		{what + ", 13 months", kindText, 16}, {"Coverage", kindWrap, 34},
	}
	printed := len(fields)
	trend := slices.IndexFunc(fields, func(f field) bool { return f.title == what+", 13 months" }) + 1
	for _, m := range months {
		fields = append(fields, field{m + " (" + b.facts.currency + ")", kindMoney, 12})
	}
	s, err := b.plain(sheetAccounts, fields, len(list))
	if err != nil {
		return err
	}
	var small excelize.SparklineOptions
	values := make([]any, len(fields))
	for i := range list {
		a := &list[i]
		var difference any
		if b.facts.bill.known() && a.priced() {
			difference = a.billed - a.list
		}
		values = append(values[:0], a.ID, a.Name, a.OU, a.costCenter.name, a.owner.name, a.repositories, a.count.Total().Images, gb(a.stored),
			money(&a.totals, a.list), b.billed(a.billed), difference, gb(a.reclaimable), low(&a.totals), money(&a.totals, a.saving),
			shareOf(a.likely, a.list), gb(a.count.Blocked.Bytes), nil, coverageText(a))
		for _, m := range months {
			values = append(values, b.monthOf(a, m))
		}
		if err := s.add(values...); err != nil {
			return err
		}
		at, _ := excelize.CoordinatesToCellName(trend, s.row)
		small.Location = append(small.Location, at)
		small.Range = append(small.Range, "'"+sheetAccounts+"'!"+cells(printed+1, s.row, len(fields), s.row))
	}
	t, all := &b.facts.total, b.facts.total.count.Total()
	var difference any
	if b.facts.bill.known() {
		difference = sum{t.billed - t.list}
	}
	values = append(values[:0], "Total", nil, nil, nil, nil, sum{t.repositories}, sum{all.Images}, sum{gb(t.stored)}, sum{t.list}, b.sumBilled(t), difference,
		sum{gb(t.reclaimable)}, sumLow(t), sum{t.saving}, shareOf(t.likely, t.list), sum{gb(t.count.Blocked.Bytes)})
	if err := s.totals(values...); err != nil {
		return err
	}
	if len(list) > 0 {
		small.Type, small.SeriesColor, small.EmptyCells = "column", blue, "gap"
		if err := b.file.AddSparkline(sheetAccounts, &small); err != nil {
			return err
		}
	}
	if err := b.printed(sheetAccounts, printed, s.row); err != nil {
		return err
	}
	return s.close()
}

// monthOf is what an account cost in a month: billed, or at list price where there is no bill; nil where that is not known.
func (b *book) monthOf(a *account, month string) any {
	if b.facts.bill.known() {
		if _, ok := b.facts.bill.months[month]; !ok {
			return nil
		}
		return b.facts.bill.accounts[a.ID][month]
	}
	if month == b.facts.month {
		return money(&a.totals, a.list)
	}
	if m := b.run.remembered(month); m != nil {
		if s, ok := m.Accounts[a.ID]; ok {
			return s.List
		}
	}
	return nil
}

// printed sets what of a sheet is printed.
func (b *book) printed(sheet string, columns, rows int) error {
	from, _ := excelize.CoordinatesToCellName(1, 1, true)
	to, _ := excelize.CoordinatesToCellName(columns, max(rows, 1), true)
	return b.file.SetDefinedName(&excelize.DefinedName{Name: "_xlnm.Print_Area", RefersTo: "'" + sheet + "'!" + from + ":" + to, Scope: sheet})
}

func coverageText(a *account) string {
	switch {
	case a.unscanned != "":
		return "not scanned: " + a.unscanned
	case a.coverage.total() == 0:
		return "not scanned"
	case a.coverage.failed > 0:
		return "INCOMPLETE: " + a.coverage.String()
	}
	return "complete: " + a.coverage.String()
}
