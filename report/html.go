package report

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	_ "embed" // of the page's parts
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"

	"demurrage/internal/cost"
)

var (
	//go:embed html.tmpl
	pageTemplate string
	//go:embed html.css
	pageStyle string
	//go:embed html.js
	pageScript string
)

var pageLayout = template.Must(template.New("page").Parse(pageTemplate))

const (
	longestPageText = 300  // runes of a text from elsewhere
	mostBroken      = 5000 // broken references on the page
)

// HTML writes the run as one page that needs nothing else: no network, no other file. Its policy lets only the style and
// the script run that are in it. The tables show their first rows, and search all.
func HTML(w io.Writer, run *Run) error {
	p, err := newPage(run)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	if err := pageLayout.Execute(b, p); err != nil {
		return err
	}
	return b.Flush()
}

type page struct {
	Policy    template.HTMLAttr
	CSS       template.CSS
	JS        template.JS
	Data      template.JS
	Month     string
	Final     bool
	Coverage  string
	Figures   []pageFigure
	Unknown   []string
	Maps      []treemap
	Legend    []pageLegend
	Method    []string
	RunID     string
	Generated string
	Config    string
	Version   string
}

type pageFigure struct{ Name, Value, Note string }

type pageLegend struct{ Class, Text string }

// pageText is text from elsewhere as the page shows it. Escaping it is the template's.
func pageText(s string) string { return cut(visible(s), longestPageText) }

func newPage(run *Run) (*page, error) {
	v := newCostView(run)
	data, err := json.Marshal(newPageData(run, v)) // <, > and & are escaped in it: it cannot end its element
	if err != nil {
		return nil, err
	}
	p := &page{
		Policy: template.HTMLAttr(`http-equiv="Content-Security-Policy" content="default-src 'none'; style-src '` + sourceHash(pageStyle) +
			`'; script-src '` + sourceHash(pageScript) + `'; img-src data:; base-uri 'none'; form-action 'none'"`),
		CSS: template.CSS(pageStyle), JS: template.JS(pageScript), Data: template.JS(data),
		Month:    v.month,
		Final:    run.Plan.Complete && v.total.blocked.Images == 0 && !v.provisional,
		Coverage: v.coverage.String() + unscanned(len(run.Plan.Unscanned)),
		Figures:  pageFigures(v),
		Unknown:  pageUnknown(run, v),
		Legend: []pageLegend{
			{"none", "nothing can go (plain)"}, {"some", "less than half can go (dots)"}, {"most", "half or more can go (lines)"},
		},
		Method: pageMethod(run, v),
		RunID:  pageText(run.ID), Generated: run.GeneratedAt.UTC().Format("2006-01-02 15:04"), Config: pageText(run.ConfigSHA256), Version: pageText(run.Version),
	}
	if accounts := newPlots(v); len(accounts) > 0 {
		p.Maps = []treemap{newTreemap(v, accounts, "wide", 1000, 480), newTreemap(v, accounts, "tall", 380, 560)}
	}
	return p, nil
}

// sourceHash names an embedded text in a policy.
//
// https://www.w3.org/TR/CSP3/#grammardef-hash-source
func sourceHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func pageFigures(v *costView) []pageFigure {
	t, list := &v.total, figures{v.currency}
	const unknown = "not known"
	billed := pageFigure{"Billed", unknown, "no bill could be read"}
	if v.billed {
		billed.Value, billed.Note = figures{v.billCurrency}.money(t.billed), v.billedNote()+", "+pageText(v.metric)+"; of a repository: allocated by stored bytes"
	}
	price := pageFigure{"List price", unknown, "no price is known"}
	if t.isPriced() {
		price.Value, price.Note = list.money(t.list), "a month, of what is stored now"
	}
	low := pageFigure{"Saving, low", unknown, "layers are not known"}
	if t.hasLow() {
		low.Value, low.Note = list.money(t.low), "a month, projected: what will really go"
		if n := t.lowMissing(); n > 0 {
			low.Note += "; without " + count(n, "repository") + " where it is not known"
		}
	}
	high := pageFigure{"Saving, high", unknown, "no price is known"}
	if t.goes.Images == 0 || t.unpriced == 0 || t.high > 0 {
		high.Value, high.Note = list.money(t.high), "a month, projected: sizes of what goes, an upper bound"
	}
	stored := pageFigure{"Stored", size(t.unique), "unique layers, in " + count(t.repositories, "repository")}
	if t.estimated > 0 {
		stored.Note = "at most, in " + count(t.repositories, "repository")
	}
	return []pageFigure{
		billed, price, low, high, stored,
		{"To delete", images(t.goes), "as planned"},
		{"Blocked", images(t.blocked), "kept, since something was not looked at"},
		{"Broken references", number(v.live) + " live", number(v.latent) + " latent"},
	}
}

// pageUnknown says in words what the figures do not know.
func pageUnknown(run *Run, v *costView) []string {
	var list []string
	t := &v.total
	switch {
	case run.Bill == nil:
		s := "What AWS billed: there are list prices only."
		if run.BillMissing != "" {
			s = "What AWS billed: " + pageText(run.BillMissing) + ". There are list prices only."
		}
		list = append(list, s)
	case !v.billed:
		list = append(list, "What AWS billed: the bill has no month up to "+v.month+".")
	case v.billMonth != v.month:
		list = append(list, "What AWS billed in "+v.month+": the last bill is of "+pageText(v.billMonth)+".")
	case v.provisional:
		list = append(list, "The final bill of "+pageText(v.billMonth)+": AWS still estimates it.")
	}
	if t.estimated > 0 {
		list = append(list, "The layers of all images: "+size(t.estimated)+" of "+size(t.unique)+" stored are an upper bound.")
	}
	if n := t.lowMissing(); n > 0 {
		list = append(list, "The low saving of "+count(n, "repository")+", whose layers or price are not known: they are not in it.")
	}
	if t.unpriced > 0 {
		list = append(list, "The price of "+size(t.unpriced)+" in regions without a known price: they are in no amount at list price.")
	}
	if n := len(v.gaps); n > 0 {
		list = append(list, count(n, "gap")+" in what was looked at (below): what could use images there is not known, so "+images(t.blocked)+" stay.")
	}
	for i := range run.Plan.Attestations {
		a := &run.Plan.Attestations[i]
		list = append(list, "Attested until "+date(a.Expires)+" rather than looked at: "+pageText(scope(&a.Attestation))+": "+pageText(a.Reason))
	}
	if run.WhatIf {
		list = append(list, "What if: ages are counted from "+date(run.GeneratedAt)+", not from when the run was made.")
	}
	return list
}

func pageMethod(run *Run, v *costView) []string {
	list := []string{
		"Billed is what AWS says for an account and region. It knows no repositories: storage is allocated to them by their stored bytes, to the last millionth, and what is left is in rows of its own.",
		"List price is the price list (" + pageText(priceNote(run.Prices)) + ", " + pageText(v.currency) + ") for each stored byte once.",
		"Savings are projections at list price. Low: layers that no image that stays refers to. High: the sum of the sizes of what goes.",
		"Reclaimable is what goes if the plan is applied: the layers that nothing else refers to, or the sizes of the images where layers are not known.",
		"1 GB = 1 GiB = 2^30 bytes.",
	}
	if run.Layers != "" {
		list = append(list, "Layers: "+pageText(run.Layers))
	}
	return list
}

// pageData is what the page's script makes tables of. Amounts are in millionths, sizes in bytes; what is not known is null.
type pageData struct {
	Currency     string      `json:"currency"`
	BillCurrency string      `json:"bill_currency"`
	Month        string      `json:"month"`
	BillMonth    string      `json:"bill_month"`
	Total        pageTotal   `json:"total"`
	Strings      []string    `json:"strings"` // that cells of kind ref point at
	Tables       []pageTable `json:"tables"`
}

type pageTotal struct {
	Images int         `json:"images"`
	Unique int64       `json:"unique_bytes"`
	List   *cost.Money `json:"list"`
	Billed *cost.Money `json:"billed"`
	Low    *cost.Money `json:"saving_low"`
	High   *cost.Money `json:"saving_high"`
}

type pageTable struct {
	ID      string       `json:"id"`
	Title   string       `json:"title"`
	Sum     bool         `json:"sum"`
	Columns []pageColumn `json:"columns"`
	Rows    [][]any      `json:"rows"`
}

type pageColumn struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // text, ref, date, int, gb (bytes), money (millionths)
}

func newPageData(run *Run, v *costView) *pageData {
	t := &v.total
	d := &pageData{
		Currency: visible(v.currency), BillCurrency: visible(v.billCurrency), Month: v.month, BillMonth: visible(v.billMonth), Strings: []string{},
		Total: pageTotal{t.images, t.unique, known(t.list, t.isPriced()), known(t.billed, v.billed), known(t.low, t.hasLow()), known(t.high, t.isPriced())},
	}
	refs := map[string]int{}
	ref := func(s string) int {
		s = pageText(s)
		at, ok := refs[s]
		if !ok {
			at = len(d.Strings)
			refs[s] = at
			d.Strings = append(d.Strings, s)
		}
		return at
	}
	perMonth := func(what string) string { return what + " (" + d.Currency + " a month)" }
	billed := func(row []any, s *costSums) []any {
		if v.billed {
			row = append(row, s.billed)
		}
		return row
	}
	money := []pageColumn{{"Images", "int"}, {"Stored (GB)", "gb"}, {perMonth("List"), "money"}}
	if v.billed {
		money = append(money, pageColumn{"Billed " + d.BillMonth + " (" + d.BillCurrency + ", allocated)", "money"})
	}
	money = append(money, pageColumn{titleReclaimable, "gb"}, pageColumn{perMonth("Saving, low"), "money"}, pageColumn{perMonth("Saving, high"), "money"}, pageColumn{"Blocked (GB)", "gb"})
	sums := func(row []any, s *costSums) []any {
		row = billed(append(row, s.images, s.unique, known(s.list, s.isPriced())), s)
		return append(row, s.reclaimable, known(s.low, s.hasLow()), known(s.high, s.isPriced()), s.blocked.Bytes)
	}

	repositories := pageTable{ID: "repositories", Title: "Repositories", Sum: true, Rows: make([][]any, 0, len(v.rows)),
		Columns: slices.Concat([]pageColumn{{"Repository", "text"}, {"Account", "ref"}, {"Name", "ref"}, {"Region", "ref"}}, money,
			[]pageColumn{{"Owner", "ref"}, {"Cost centre", "ref"}, {"Last push", "date"}, {"Last pull", "date"}, {"Rule", "ref"}})}
	rows := make([]*costRow, len(v.rows))
	for i := range rows {
		rows[i] = &v.rows[i]
	}
	slices.SortStableFunc(rows, func(a, b *costRow) int { // the rest of the order is the plan's
		return cmp.Or(cmp.Compare(b.list, a.list), cmp.Compare(b.unique, a.unique), cmp.Compare(b.billed, a.billed), cmp.Compare(a.Name, b.Name))
	})
	for _, r := range rows {
		name, rule := pageText(r.Name), cmp.Or(r.rule, "(none: kept)")
		if r.beyond != "" {
			name, rule = r.beyond, ""
		}
		row := sums([]any{name, ref(r.Account), ref(r.account.Name), ref(r.Region)}, &r.costSums)
		repositories.Rows = append(repositories.Rows, append(row, ref(r.owner), ref(r.costCenter), date(r.lastPush), date(r.lastPull), ref(rule)))
	}

	accounts := pageTable{ID: "accounts", Title: "Accounts", Sum: true, Rows: make([][]any, 0, len(v.accounts)),
		Columns: slices.Concat([]pageColumn{{"Account", "text"}, {"Name", "text"}, {"Cost centre", "ref"}, {"Owner", "ref"}, {"OU", "ref"}, {"Repositories", "int"}}, money,
			[]pageColumn{{"Coverage", "text"}})}
	byCost := slices.Clone(v.accounts)
	slices.SortStableFunc(byCost, func(a, b costAccount) int {
		return cmp.Or(cmp.Compare(b.sums.list, a.sums.list), cmp.Compare(b.sums.unique, a.sums.unique), cmp.Compare(b.sums.billed, a.sums.billed))
	})
	for i := range byCost {
		a := &byCost[i]
		row := sums([]any{pageText(a.ID), pageText(a.Name), ref(a.costCenter.name), ref(a.owner.name), ref(a.OU), a.sums.repositories}, &a.sums)
		accounts.Rows = append(accounts.Rows, append(row, pageText(coverageText(&a.account))))
	}

	gaps := pageTable{ID: "gaps", Title: "Not looked at", Rows: make([][]any, 0, len(v.gaps)),
		Columns: []pageColumn{{"Account", "text"}, {"Name", "text"}, {"What", "text"}, {"Error", "text"}, {"What to do", "text"}, {"Holds back (images)", "int"},
			{"Holds back (GB)", "gb"}, {"Mending unblocks (GB)", "gb"}, {perMonth("Mending saves at most"), "money"}}}
	for i := range v.gaps {
		g := &v.gaps[i]
		gaps.Rows = append(gaps.Rows, []any{pageText(g.Account), pageText(run.account(g.Account).Name), pageText(missed(g.Gap, true)), pageText(g.Error), remedy(g.Gap),
			g.HoldsBack.Images, g.HoldsBack.Bytes, g.Unblocks.Bytes, known(g.saving, g.unpriced == 0 || g.unpriced < g.Unblocks.Bytes)})
	}

	all := run.Plan.Broken
	broken := pageTable{ID: "broken", Title: "Broken references", Rows: make([][]any, 0, min(len(all), mostBroken)),
		Columns: []pageColumn{{"State", "text"}, {"Reference", "text"}, {"Source", "ref"}, {"Resource", "text"}, {"Account", "ref"}, {"Region", "ref"}}}
	if len(all) > mostBroken {
		broken.Title = fmt.Sprintf("Broken references (the first %s of %s)", number(mostBroken), number(len(all)))
		all = all[:mostBroken]
	}
	for i := range all {
		u := &all[i]
		broken.Rows = append(broken.Rows, []any{liveness(u), pageText(u.Ref.String()), ref(u.Source), pageText(u.Resource), ref(u.Account), ref(u.Region)})
	}
	d.Tables = []pageTable{repositories, accounts, gaps, broken}
	return d
}
