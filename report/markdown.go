package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"demurrage/internal/image"
)

const fewest = 5 // entries of a list in a message

// Markdown writes a summary for a message or a pull request: a line of figures, the repositories where most can go,
// what could not be looked at, and references to images that are gone.
func Markdown(w io.Writer, run *Run) error {
	f := newFacts(run)
	m := &markdown{w: bufio.NewWriter(w), run: run, fig: figures{run.Prices.Currency}}
	m.figures(f)
	m.cost()
	m.broken(f)
	m.largest(f)
	m.gaps(f)
	m.attestations()
	m.notes()
	if run.WhatIf {
		m.line("")
		m.line("What if: ages are counted from ", date(run.GeneratedAt), ", not from when the run was made.")
	}
	return m.w.Flush()
}

type markdown struct {
	w   *bufio.Writer // holds the first error
	run *Run
	fig figures
}

func (m *markdown) line(parts ...string) {
	fmt.Fprintln(m.w, strings.Join(parts, ""))
}

func (m *markdown) figures(f *facts) {
	c := f.total.count
	state := "Complete"
	if !m.run.Plan.Complete {
		state = "INCOMPLETE"
	}
	saving := ""
	if s := m.fig.saving(f.total.saving, c.Delete.Bytes, f.total.unpriced.Delete.Bytes); s != "" {
		saving = " (" + s + ")"
	}
	m.line("**", state, "** ", date(m.run.GeneratedAt), ": ", images(c.Total()), " in ", count(f.total.repositories, "repository"),
		" · delete **", images(c.Delete), "**", saving, " · blocked ", images(c.Blocked), " · kept ", images(c.Keep),
		" · broken references ", number(f.broken.live), " live, ", number(f.broken.latent), " latent")
	m.line()
	m.line("Amounts are an ", upperBound, " (", mdText(priceNote(m.run.Prices)), ").")
}

// cost says what a run knows beyond sizes of images: stored layers, the bill, and where the workbook is.
func (m *markdown) cost() {
	if run := m.run; run.Stored == nil && run.Bill == nil && run.BillMissing == "" && run.Workbook == "" {
		return
	}
	v := newCostView(m.run)
	m.line()
	m.line("**Cost** ", mdText(v.month), ": ", mdText(v.figures()))
	if n := v.total.lowMissing(); n > 0 {
		m.line()
		m.line("The lower saving leaves out ", count(n, "repository"), ", whose layers or price are not known.")
	}
	if m.run.Bill == nil && m.run.BillMissing != "" {
		m.line()
		m.line("Billed cost is not known: ", mdText(m.run.BillMissing))
	}
	if m.run.Workbook != "" {
		m.line()
		m.line("Workbook: ", mdText(m.run.Workbook))
	}
}

func (m *markdown) largest(f *facts) {
	list := make([]*repository, 0, len(f.repositories))
	for i := range f.repositories {
		if f.repositories[i].Count.Delete.Images > 0 {
			list = append(list, &f.repositories[i])
		}
	}
	if len(list) == 0 {
		return
	}
	slices.SortStableFunc(list, func(a, b *repository) int { return cmp.Compare(b.Count.Delete.Bytes, a.Count.Delete.Bytes) })
	m.line()
	m.line("| Repository | Account | Region | Delete | Size | At most a month |")
	m.line("| --- | --- | --- | ---: | ---: | ---: |")
	for _, r := range list[:min(len(list), fewest)] {
		price := "no known price"
		if r.totals().priced() {
			price = m.fig.money(r.saving)
		}
		m.line("| ", mdText(r.Repository.Name), " | ", mdText(named(m.run.account(r.Repository.Account))), " | ", mdText(r.Repository.Region),
			" | ", number(r.Count.Delete.Images), " | ", size(r.Count.Delete.Bytes), " | ", price, " |")
	}
	m.more(len(list), "repository")
}

func (m *markdown) gaps(f *facts) {
	if len(f.gaps) == 0 {
		return
	}
	m.line()
	m.line("**Not looked at** (", f.coverage.String(), unscanned(len(m.run.Plan.Unscanned)), ")")
	m.line()
	for i := range f.gaps[:min(len(f.gaps), fewest)] {
		g := &f.gaps[i]
		effect := "holds back " + images(g.HoldsBack)
		if s := m.fig.saving(g.saving, g.Unblocks.Bytes, g.unpriced); g.Unblocks.Images > 0 {
			effect = "mending it unblocks " + images(g.Unblocks)
			if s != "" {
				effect += " (" + s + ")"
			}
		}
		m.line("- ", mdText(named(m.run.account(g.Account))), ": ", mdText(missed(g.Gap, false)), ": ", mdText(g.Error), "; ", effect)
	}
	m.more(len(f.gaps), "gap")
}

func (m *markdown) attestations() {
	attested := m.run.Plan.Attestations
	if len(attested) == 0 {
		return
	}
	m.line()
	m.line("**Attested** to use no images")
	m.line()
	for i := range attested {
		a := &attested[i]
		m.line("- until ", date(a.Expires), ": ", mdText(scope(&a.Attestation)), ": ", mdText(a.Reason))
	}
}

func (m *markdown) notes() {
	notes := m.run.Plan.Notes
	if len(notes) == 0 {
		return
	}
	m.line()
	m.line("**Worth knowing**")
	m.line()
	for i := range notes[:min(len(notes), fewest)] {
		n := &notes[i]
		m.line("- ", mdText(n.Source), " in ", mdText(named(m.run.account(n.Account))), ", ", mdText(n.Region), ": ", mdText(n.Text), " ", mdText(n.Resource))
	}
	m.more(len(notes), "note")
}

func (m *markdown) broken(f *facts) {
	broken := m.run.Plan.Broken
	if len(broken) == 0 {
		return
	}
	m.line()
	m.line("**Broken references** (", number(f.broken.live), " live, ", number(f.broken.latent), " latent)")
	m.line()
	for i := range broken[:min(len(broken), fewest)] {
		m.line("- ", brokenText(&broken[i]))
	}
	m.more(len(broken), "reference")
}

func brokenText(u *image.Use) string {
	return liveness(u) + ": " + mdText(u.Ref.String()) + ", used by " + mdText(u.Source) + " " + mdText(u.Resource)
}

// more says how many entries of a list are left out.
func (m *markdown) more(n int, noun string) {
	if n > fewest {
		m.line()
		m.line("+", count(n-fewest, "more "+noun))
	}
}

// mdText makes text that is shown as it is: names in code style, and anything with other characters in it escaped
// for Markdown and HTML, so that it is no markup, no link and no second line. What somebody made longer than any name is cut.
func mdText(s string) string {
	s = cut(visible(s), 600)
	if s == "" {
		return ""
	}
	if !strings.ContainsFunc(s, func(r rune) bool { return !isPlain(r) }) && !strings.Contains(s, "://") {
		return "`" + s + "`"
	}
	return mdEscaper.Replace(s)
}

// isPlain: names of AWS resources are made of these, and none means anything inside a code span or to HTML.
func isPlain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._/:@*-", r)
}

var mdEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`,
	"[", `\[`, "]", `\]`, "|", `\|`, "~", `\~`, "#", `\#`, "!", `\!`, "://", `\://`)
