package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"demurrage/internal/cost"
)

const longestShort = 200 // runes of a text from elsewhere in a short text

// Short is the run in a few lines of plain text, for mail and chat: a line of figures, the repositories where most can go,
// what could not be looked at, broken references and where the workbook is. No line has characters that control anything.
func Short(run *Run) string {
	v := newCostView(run)
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	text := func(s string) string { return cut(visible(s), longestShort) }
	state := "Complete"
	if !run.Plan.Complete {
		state = "INCOMPLETE"
	}
	if run.WhatIf {
		state += ", what if"
	}
	line("%s %s: %s; %s go, %s blocked.", state, date(run.GeneratedAt), v.figures(), number(v.total.goes.Images), count(v.total.blocked.Images, "image"))
	if run.Bill == nil && run.BillMissing != "" {
		line("Billed cost is not known: %s", text(run.BillMissing))
	}
	if largest := v.largest(); len(largest) > 0 {
		line("")
		line("Most can go from:")
		for _, r := range largest[:min(len(largest), fewest)] {
			line("- %s (%s, %s): %s, saving %s", text(r.Name), text(named(*r.account)), text(r.Region), images(r.goes), v.saving(&r.costSums))
		}
		if n := len(largest) - fewest; n > 0 {
			line("- and %s", count(n, "more repository"))
		}
	}
	if len(v.gaps) > 0 {
		line("")
		line("Not looked at (%s%s):", v.coverage, unscanned(len(run.Plan.Unscanned)))
		for i := range v.gaps[:min(len(v.gaps), fewest)] {
			g := &v.gaps[i]
			line("- %s: %s: %s; holds back %s", text(named(run.account(g.Account))), text(missed(g.Gap, false)), text(g.Error), images(g.HoldsBack))
		}
		if n := len(v.gaps) - fewest; n > 0 {
			line("- and %s", count(n, "more gap"))
		}
	}
	if broken := run.Plan.Broken; len(broken) > 0 {
		line("")
		line("Broken references (%s live, %s latent):", number(v.live), number(v.latent))
		for i := range broken[:min(len(broken), fewest)] {
			u := &broken[i]
			line("- %s: %s, used by %s %s", liveness(u), text(u.Ref.String()), text(u.Source), text(u.Resource))
		}
		if n := len(broken) - fewest; n > 0 {
			line("- and %s", count(n, "more reference"))
		}
	}
	if run.Workbook != "" {
		line("")
		line("Workbook: %s", visible(run.Workbook))
	}
	return b.String()
}

// figures is the line of figures: what is stored, billed and its list price, and what can be saved.
func (v *costView) figures() string {
	t := &v.total
	parts := []string{size(t.unique) + " stored in " + count(t.repositories, "repository")}
	if t.estimated > 0 {
		parts[0] = size(t.unique) + " stored at most in " + count(t.repositories, "repository")
	}
	if v.billed {
		parts = append(parts, "billed "+figures{v.billCurrency}.money(t.billed)+" ("+v.billedNote()+")")
	}
	if t.isPriced() {
		parts = append(parts, "list "+figures{v.currency}.money(t.list)+" a month")
	}
	return strings.Join(append(parts, "saving "+v.saving(t)), ", ")
}

// billedNote says what billed amounts are of: "2026-09, provisional".
func (v *costView) billedNote() string {
	if v.provisional {
		return visible(v.billMonth) + ", provisional"
	}
	return visible(v.billMonth)
}

// saving is the range of what deleting would save a month: "$1.20 to $3.40 a month".
func (v *costView) saving(s *costSums) string {
	fig := figures{v.currency}
	switch {
	case s.goes.Images == 0:
		return "nothing"
	case s.goes.Bytes > 0 && s.high == 0 && s.unpriced > 0:
		return "no known price"
	case !s.hasLow():
		return fig.atMost(s.high) + " a month"
	case s.lowMissing() > 0:
		return "at least " + fig.money(s.low) + " where layers are known, at most " + fig.money(s.high) + " a month"
	}
	return lowToHigh(fig, s.low, s.high) + " a month"
}

func lowToHigh(fig figures, low, high cost.Money) string {
	if low.Cents() == high.Cents() {
		return fig.money(high)
	}
	return fig.money(low) + " to " + fig.money(high)
}

// largest are the repositories that something goes of, those first where deleting saves most.
func (v *costView) largest() []*costRow {
	var list []*costRow
	for i := range v.rows {
		if v.rows[i].goes.Images > 0 {
			list = append(list, &v.rows[i])
		}
	}
	slices.SortStableFunc(list, func(a, b *costRow) int {
		return cmp.Or(cmp.Compare(b.low, a.low), cmp.Compare(b.high, a.high), cmp.Compare(b.goes.Bytes, a.goes.Bytes))
	})
	return list
}
