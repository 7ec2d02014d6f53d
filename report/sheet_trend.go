package report

import (
	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
)

// trendMonth is a month of the trend. What is not known of it is nil: a month that was missed is a gap, not a zero.
type trendMonth struct {
	month              string
	billed, list       any // cost.Money
	stored             any // tb
	added, deleted     any // gb
	realised           any // cost.Money
	coverage           string
	storedBytes        int64
	remembered, isLast bool
}

// remembered is what the store knows of a month; nil: nothing.
func (run *Run) remembered(month string) *Month {
	for i := range run.History {
		if run.History[i].Month == month {
			return &run.History[i]
		}
	}
	return nil
}

// trendOf are the thirteen months up to the run's. The run's own figures stand for its month, whatever is remembered of it.
func trendOf(run *Run, f *facts) []trendMonth {
	list := make([]trendMonth, 0, trendLength)
	for i, month := range lastMonths(f.month) {
		t := trendMonth{month: month, coverage: "no run", isLast: i == trendLength-1}
		if f.bill.known() {
			if m, ok := f.bill.months[month]; ok {
				t.billed = m
			}
		}
		if m := run.remembered(month); m != nil {
			t.remembered = true
			var sum cost.Money
			for _, a := range m.Accounts {
				t.storedBytes += a.Stored
				sum += a.List
			}
			t.list, t.coverage = sum, covered(m.Complete)
			t.deleted, t.realised = gb(m.Deleted.Bytes), m.Deleted.Saving
		}
		if t.isLast {
			t.remembered, t.storedBytes, t.list, t.coverage = true, f.total.stored, money(&f.total, f.total.list), covered(run.Plan.Complete)
			if run.Deleted.Images > 0 {
				t.deleted, t.realised = gb(run.Deleted.Bytes), run.Deleted.Saving
			}
		}
		if t.remembered {
			t.stored = tb(t.storedBytes)
			if i > 0 && list[i-1].remembered {
				deleted, _ := t.deleted.(gb)
				t.added = gb(t.storedBytes-list[i-1].storedBytes) + deleted
			}
		}
		list = append(list, t)
	}
	return list
}

func covered(complete bool) string {
	if complete {
		return "complete"
	}
	return "INCOMPLETE"
}

// The columns of the trend that charts show.
const (
	trendMonthColumn  = "A"
	trendBilledColumn = "C"
	trendListColumn   = "D"
	trendStoredColumn = "E"
)

func (b *book) trendSheet() error {
	s, err := b.plain(sheetTrend, []field{
		{"Month", kindMonth, 12}, {"Fiscal period", kindText, 14}, {"Billed (" + b.facts.currency + ")", kindMoney, 16}, {b.titleList(), kindMoney, 16},
		{"Stored (TB)", kindTB, 14}, {"Added (GB)", kindGB, 14}, {"Deleted (GB)", kindGB, 14}, {b.perMonth("Realised saving"), kindMoney, 18}, {"Coverage", kindText, 16},
	}, len(b.trend))
	if err != nil {
		return err
	}
	for _, t := range b.trend {
		err := s.add(firstOf(t.month), fiscalPeriod(t.month, b.run.Finance.FiscalStart), t.billed, t.list, t.stored, t.added, t.deleted, t.realised, t.coverage)
		if err != nil {
			return err
		}
	}
	if err := b.trendChart(sheetTrend, "A17", 1000, 380); err != nil {
		return err
	}
	return s.close()
}

// trendChart draws what was billed (at list price where there is no bill) as columns and what was stored as a line.
func (b *book) trendChart(sheet, at string, width, height uint) error {
	column, what := trendBilledColumn, "Billed"
	if !b.facts.bill.known() {
		column, what = trendListColumn, "List cost"
	}
	of := func(column string) string { return sheetTrend + "!$" + column + "$2:$" + column + "$14" }
	months := of(trendMonthColumn)
	from, to := b.trend[0].month, b.trend[len(b.trend)-1].month
	axis := excelize.ChartAxis{Font: excelize.Font{Size: 8, Color: "595959"}, NumFmt: excelize.ChartNumFmt{CustomNumFmt: "yyyy-mm"},
		Alignment: excelize.Alignment{TextRotation: -45}}
	var most cost.Money
	var bytes int64
	for _, t := range b.trend {
		m := t.billed
		if column == trendListColumn {
			m = t.list
		}
		if m, ok := m.(cost.Money); ok {
			most = max(most, m)
		}
		bytes = max(bytes, t.storedBytes)
	}
	return b.file.AddChart(sheet, at, &excelize.Chart{
		Type:         excelize.Col,
		Series:       []excelize.ChartSeries{{Name: sheetTrend + "!$" + column + "$1", Categories: months, Values: of(column), Fill: solid(blue)}},
		Format:       excelize.GraphicOptions{Positioning: "twoCell", Name: "Trend", AltText: what + " in " + b.facts.currency + " by month from " + from + " to " + to + " as columns, stored TB as a line. The figures are on the sheet " + sheetTrend + "."},
		Dimension:    excelize.ChartDimension{Width: width, Height: height},
		Title:        title(what + " (" + b.facts.currency + ") and stored (TB), 13 months"),
		Legend:       excelize.ChartLegend{Position: "bottom"},
		ShowBlanksAs: "gap",
		XAxis:        axis,
		YAxis:        excelize.ChartAxis{MajorGridLines: true, Font: axis.Font, NumFmt: axisFormat(most.Float()), Minimum: new(float64)},
	}, &excelize.Chart{
		Type: excelize.Line,
		Series: []excelize.ChartSeries{{Name: sheetTrend + "!$" + trendStoredColumn + "$1", Categories: months, Values: of(trendStoredColumn),
			Fill: solid(magenta), Line: excelize.LineOptions{Width: 2.25},
			Marker: excelize.ChartMarker{Symbol: "circle", Size: 6, Fill: solid(magenta)}}},
		ShowBlanksAs: "gap",
		YAxis:        excelize.ChartAxis{Secondary: true, Font: axis.Font, NumFmt: axisFormat(float64(bytes) / (cost.GB << 10)), Minimum: new(float64)},
	})
}

func title(s string) excelize.ChartTitle {
	return excelize.ChartTitle{Paragraph: []excelize.RichTextRun{{Text: s, Font: &excelize.Font{Bold: true, Size: 11}}}}
}

// axisFormat has as many decimals as an axis up to that much needs.
func axisFormat(most float64) excelize.ChartNumFmt {
	switch {
	case most >= 10:
		return excelize.ChartNumFmt{CustomNumFmt: "#,##0"}
	case most >= 0.1:
		return excelize.ChartNumFmt{CustomNumFmt: "0.00"}
	}
	return excelize.ChartNumFmt{CustomNumFmt: "0.0000"}
}
