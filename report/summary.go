package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"
)

// summary is the page that finance reads: figures, two charts, the largest accounts. What is on it does not need calculating.
func (b *book) summary() error {
	f, p, t := b.facts, b.run.Plan, &b.facts.total
	if err := b.page(sheetSummary, "", 1); err != nil {
		return err
	}
	if err := b.file.SetColWidth(sheetSummary, "A", "H", 18.5); err != nil {
		return err
	}
	hide := false
	if err := b.file.SetSheetView(sheetSummary, -1, &excelize.ViewOptions{ShowGridLines: &hide}); err != nil {
		return err
	}
	n := &note{book: b}
	n.put(kindTitle, "Container images in Amazon ECR: cost and savings, "+f.month+" ("+fiscalPeriod(f.month, b.run.Finance.FiscalStart)+")")
	b.sums[sheetSummary] = map[string]int64{"billed": int64(t.billed)}
	n.state()
	n.skip()

	change, percent := b.change(&t.sums)
	billed := any(t.billed)
	if !f.bill.known() {
		billed = nil
	}
	realised, of := b.realised()
	unowned := shareOf(b.weight(&b.unowned().sums), b.weight(&t.sums))
	n.figures(
		figure{b.billTitle("Billed"), kindBigMoney, billed},
		figure{"Change on the month (" + f.currency + ")", kindBigMoney, change},
		figure{"Change on the month", kindBigPercent, percent},
		figure{"Stored (TB)", kindBigTB, tb(t.stored)},
		figure{b.titleLow(), kindBigMoney, low(t)},
		figure{b.titleHigh(), kindBigMoney, money(t, t.saving)},
		figure{"Untagged share", kindBigPercent, unowned},
		figure{"Realised saving" + of + " (" + f.currency + " a month)", kindBigMoney, realised},
	)
	n.figures(
		figure{b.titleList(), kindBigMoney, money(t, t.list)},
		figure{"Repositories", kindBigInt, t.repositories},
		figure{"Images", kindBigInt, t.count.Total().Images},
		figure{"Images to delete", kindBigInt, p.Count.Delete.Images},
		figure{titleReclaimable, kindBigGB, gb(t.reclaimable)},
		figure{"Blocked images", kindBigInt, p.Count.Blocked.Images},
		figure{b.perMonth("Saving that is blocked, high"), kindBigMoney, money(t, t.held)},
		figure{"Broken references, live and latent", kindBigInt, f.broken.live + f.broken.latent},
	)
	n.skip()

	const charts = 15 // rows
	top := n.at + 1
	for range charts {
		n.at++
		n.height(16)
	}
	n.skip()
	titles := []any{"Ten largest accounts", "Account", titleStored, b.titleList(), b.titleBilled(), titleReclaimable, b.titleLow(), b.titleHigh()}
	look := []kind{kindHeader, kindHeader}
	for range titles[2:] {
		look = append(look, kindHeaderRight)
	}
	n.row(look, titles...)
	n.height(32)
	first := n.at + 1
	largest := slices.DeleteFunc(b.byWeight(), func(a account) bool { return a.count.Total().Images == 0 && a.billed == 0 })
	largest = largest[:min(len(largest), 10)]
	look = []kind{kindText, kindText, kindGB, kindMoney, kindMoney, kindGB, kindMoney, kindMoney}
	for i := range largest {
		a := &largest[i]
		n.row(look, cmp.Or(cellText(a.Name), a.ID), a.ID, gb(a.stored), money(&a.totals, a.list), b.billed(a.billed), gb(a.reclaimable), low(&a.totals), money(&a.totals, a.saving))
	}
	if n.err == nil && len(largest) > 0 {
		n.err = b.file.AddIgnoredErrors(sheetSummary, cells(1, first, 2, n.at), excelize.IgnoredErrorsNumberStoredAsText)
	}
	n.skip()
	n.broken()
	n.notes()
	if n.err != nil {
		return n.err
	}
	at := func(column string) string { return column + strconv.Itoa(top) }
	if err := b.trendChart(sheetSummary, at("A"), chartWidth, chartHeight); err != nil {
		return err
	}
	if len(largest) > 0 {
		if err := b.largestChart(at("E"), first, len(largest)); err != nil {
			return err
		}
	}
	return b.printed(sheetSummary, summaryColumns, n.at)
}

const (
	summaryColumns = 8
	chartWidth     = 580 // four columns and fifteen rows, in what excelize takes for pixels
	chartHeight    = 280
)

// unowned is what belongs to no cost centre.
func (b *book) unowned() *totals {
	var t totals
	for i := range b.facts.repositories {
		if r := &b.facts.repositories[i]; r.costCenter.name == "" {
			t.add(r.totals())
		}
	}
	for i := range b.facts.rest {
		if r := &b.facts.rest[i]; r.costCenter.name == "" {
			t.add(&r.totals)
		}
	}
	return &t
}

// realised is what deletions saved since last month: in the run's month, or, where nothing is remembered of it yet, in the
// one before; nil where nothing is remembered of either.
func (b *book) realised() (amount any, month string) {
	last := len(b.trend) - 1
	for _, t := range []trendMonth{b.trend[last], b.trend[last-1]} {
		if t.realised != nil {
			return t.realised, " " + t.month
		}
	}
	return nil, ""
}

// largestChart draws what the largest accounts are billed (at list price where there is no bill) and what they would save,
// side by side: a saving is never stacked on a cost.
func (b *book) largestChart(at string, first, rows int) error {
	cost, what, saving, kind := "E", "Billed", "G", "low"
	if !b.facts.bill.known() {
		cost, what = "D", "List cost"
	}
	if b.facts.total.exact == 0 {
		saving, kind = "H", "high"
	}
	of := func(column string) string {
		return sheetSummary + "!$" + column + "$" + strconv.Itoa(first) + ":$" + column + "$" + strconv.Itoa(first+rows-1)
	}
	header := func(column string) string { return sheetSummary + "!$" + column + "$" + strconv.Itoa(first-1) }
	small := excelize.Font{Size: 8, Color: "595959"}
	return b.file.AddChart(sheetSummary, at, &excelize.Chart{
		Type: excelize.Bar,
		Series: []excelize.ChartSeries{
			{Name: header(cost), Categories: of("A"), Values: of(cost), Fill: solid(blue)},
			{Name: header(saving), Categories: of("A"), Values: of(saving), Fill: solid(amber)},
		},
		Format: excelize.GraphicOptions{Positioning: "twoCell", Name: "Largest accounts", AltText: what + " and saving (" + kind + ") in " + b.facts.currency +
			" of the largest accounts, side by side. The figures are in the table below."},
		Dimension: excelize.ChartDimension{Width: chartWidth, Height: chartHeight},
		Title:     title("Ten largest accounts: " + strings.ToLower(what) + " and saving, " + kind + " (" + b.facts.currency + ")"),
		Legend:    excelize.ChartLegend{Position: "bottom"},
		XAxis:     excelize.ChartAxis{ReverseOrder: true, Font: excelize.Font{Size: 7, Color: small.Color}},
		YAxis:     excelize.ChartAxis{MajorGridLines: true, Font: small, NumFmt: axisFormat(b.weight(&b.byWeight()[0].sums).Float()), Minimum: new(float64)},
	})
}

// figure is a figure with its name above it.
type figure struct {
	name  string
	kind  kind
	value any
}

// note writes the summary row by row, on a sheet that is not streamed. It keeps the first error.
type note struct {
	book *book
	at   int
	err  error
}

func (n *note) skip() {
	n.at++
	n.height(8)
}

func (n *note) height(points float64) {
	if n.err == nil {
		n.err = n.book.file.SetRowHeight(sheetSummary, n.at, points)
	}
}

// state is the banner.
func (n *note) state() {
	b, p := n.book, n.book.run.Plan
	var why []string
	if !p.Complete || p.Count.Blocked.Images > 0 {
		why = append(why, "INCOMPLETE")
	}
	if b.facts.bill.provisional {
		why = append(why, "bill of "+b.facts.bill.month+" estimated by AWS")
	}
	if d := b.differs(); d > 0 {
		why = append(why, count(d, "check")+" DIFFERS: see "+sheetReconciliation)
	}
	state, banner := "FINAL", kindFinal
	if len(why) > 0 {
		state, banner = "PROVISIONAL ("+strings.Join(why, "; ")+")", kindIncomplete
	}
	n.wide(banner, 24, state+": "+b.facts.coverage.String()+unscanned(len(p.Unscanned)))
	n.wide(kindNote, 16, "Run "+b.run.ID+", generated "+b.run.GeneratedAt.UTC().Format("2006-01-02 15:04")+" UTC, amounts in "+b.facts.currency)
}

// figures writes names, and figures below them.
func (n *note) figures(list ...figure) {
	n.at++
	n.height(28)
	for i, f := range list {
		n.cell(i+1, kindLabel, f.name)
	}
	n.at++
	n.height(21)
	for i, f := range list {
		v := f.value
		if v == nil {
			v = "–"
		}
		n.cell(i+1, f.kind, cellValue(v))
	}
}

// put writes a row of one kind.
func (n *note) put(k kind, values ...any) {
	all := make([]kind, len(values))
	for i := range all {
		all[i] = k
	}
	n.row(all, values...)
}

func (n *note) row(look []kind, values ...any) {
	n.at++
	for i, v := range values {
		v = cellValue(v)
		k := look[i]
		if _, ok := v.(string); ok && k < kindHeader && k != kindText {
			k = kindWord
		}
		n.cell(i+1, k, v)
	}
}

// broken names the references whose image is gone, first those of what runs.
func (n *note) broken() {
	list := n.book.run.Plan.Broken
	if len(list) == 0 {
		return
	}
	n.wide(kindHeader, 18, "Broken references: "+number(n.book.facts.broken.live)+" live, "+number(n.book.facts.broken.latent)+" latent")
	const most = 3
	for i := range list[:min(len(list), most)] {
		u := &list[i]
		n.note(liveness(u) + ": " + u.Ref.String() + ", used by " + u.Source + " " + u.Resource)
	}
	if len(list) > most {
		n.note("+" + number(len(list)-most) + " more on the sheet " + sheetBroken)
	}
	n.skip()
}

func (n *note) notes() {
	b := n.book
	if !b.facts.bill.known() {
		n.note("Nothing is known of what was billed: " + b.facts.bill.missing + ". Amounts are list prices.")
	}
	if b.facts.total.exact < b.facts.total.repositories {
		n.note("The layers of " + number(b.facts.total.repositories-b.facts.total.exact) + " of " + count(b.facts.total.repositories, "repository") +
			" are not known in full: there cost is an upper bound, and so is the saving, since layers that images share are stored and billed once.")
	}
	if u := b.facts.total.unpriced.Total(); u.Images > 0 {
		n.note(size(u.Bytes) + " are in regions without a known price: they are in no amount of list cost and saving.")
	}
	if b.beyond != "" {
		n.note(sheetImages + ": " + b.beyond + ".")
	}
	if b.run.WhatIf {
		n.note("What if: ages are counted from " + date(b.run.GeneratedAt) + ", not from when the run was made.")
	}
	attested := ""
	if len(b.run.Plan.Attestations) > 0 {
		attested = ", " + count(len(b.run.Plan.Attestations), "attestation") + " in force"
	}
	n.note("A saving is a projection: low is what will go of layers, high the sizes of what goes. Prices: " + priceNote(b.run.Prices) + ". Method" + attested + ": sheet " + sheetAssumptions + ".")
}

func (n *note) note(s string) {
	s = clip(cellText(s))
	const long = 420 // characters of a note that a page has room for
	if r := []rune(s); len(r) > long {
		s = string(r[:long-1]) + "…"
	}
	n.wide(kindNote, 15*float64(1+utf8.RuneCountInString(s)/165), s)
}

// wide writes a text over the width of the page.
func (n *note) wide(k kind, height float64, s string) {
	n.put(k, s)
	for i := 2; i <= summaryColumns; i++ {
		n.cell(i, k, nil)
	}
	if n.err == nil {
		from, to, _ := strings.Cut(cells(1, n.at, summaryColumns, n.at), ":")
		n.err = n.book.file.MergeCell(sheetSummary, from, to)
	}
	n.height(height)
}

func (n *note) cell(column int, k kind, v any) {
	if n.err == nil {
		n.err = n.book.cell(sheetSummary, column, n.at, n.book.styles[k], v)
	}
}
