package report

import (
	"bufio"
	"io"
	"strings"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// TermOptions are how the report is shown on a terminal.
type TermOptions struct {
	Width int  // columns; 0: not a terminal
	Color bool // never the only signal
	All   bool // repositories in which nothing can go too, and whole lists
}

const (
	noWidth  = 160 // for what is not a terminal
	minWidth = 40
	shortcut = 20 // entries of a list that is not shown whole
)

// Table writes the plan for people, what needs their attention first: that references point at images that are gone,
// and what could not be looked at, each in a few lines and then in full; then what can go and what it costs.
func Table(w io.Writer, run *Run, opts TermOptions) error {
	f := newFacts(run)
	t := newTerminal(w, opts, run)
	t.headline(f)
	t.incomplete(f)
	t.broken(f)
	t.gaps(f)
	t.attestations()
	t.notes()
	t.repositories(f)
	t.registries(f)
	t.total(f)
	t.hints()
	return t.w.Flush()
}

type terminal struct {
	w     *bufio.Writer // holds the first error
	width int
	all   bool
	color bool
	run   *Run
	fig   figures
}

func newTerminal(w io.Writer, opts TermOptions, run *Run) *terminal {
	t := &terminal{w: bufio.NewWriter(w), width: max(opts.Width, minWidth), all: opts.All, color: opts.Color, run: run,
		fig: figures{run.Prices.Currency}}
	if opts.Width <= 0 {
		t.width = noWidth
	}
	return t
}

// headline counts the broken references before anything else; they are listed below what was not looked at.
func (t *terminal) headline(f *facts) {
	if len(t.run.Plan.Broken) > 0 {
		t.heading(red, "BROKEN: "+number(f.broken.live)+" live and "+number(f.broken.latent)+" latent references to images that are gone")
		t.line("")
	}
}

// incomplete says at the top that something could not be looked at, a line a gap; the details follow.
func (t *terminal) incomplete(f *facts) {
	if len(f.gaps) == 0 {
		return
	}
	t.heading(red, "INCOMPLETE: what could not be looked at holds back "+images(t.run.Plan.Count.Blocked)+
		t.money(f.total.held, t.run.Plan.Count.Blocked.Bytes, f.total.unpriced.Blocked.Bytes))
	const most = 5
	for i := range f.gaps[:min(len(f.gaps), most)] {
		g := &f.gaps[i]
		t.wrapped("  ", named(t.run.account(g.Account))+": "+missed(g.Gap, false)+". "+t.unblocks(g), 4)
	}
	t.more(len(f.gaps)-most, "gap")
	t.line("")
}

func (t *terminal) broken(f *facts) {
	broken := t.run.Plan.Broken
	if len(broken) == 0 {
		t.wrapped("", "No broken references: every image that is used exists, as far as could be looked at.", 0)
		t.line("")
		return
	}
	t.heading(red, "Broken references: "+number(f.broken.live)+" live, "+number(f.broken.latent)+" latent (the image that is used is gone)")
	shown := t.few(len(broken))
	for i := range broken[:shown] {
		t.brokenReference(&broken[i])
	}
	t.more(len(broken)-shown, "broken reference")
	t.line("")
}

func (t *terminal) brokenReference(u *image.Use) {
	t.wrapped("  ", liveness(u)+" "+u.Ref.String(), 3)
	t.wrapped("      ", "used by "+u.Source+" "+u.Resource, 3)
}

func (t *terminal) gaps(f *facts) {
	p := t.run.Plan
	t.wrapped("", "Coverage: "+f.coverage.String()+unscanned(len(p.Unscanned))+".", 0)
	if len(f.gaps) > 0 {
		t.line("")
		t.heading(yellow, "Not looked at: "+count(len(f.gaps), "gap")+"; "+images(p.Count.Blocked)+" blocked"+
			t.money(f.total.held, p.Count.Blocked.Bytes, f.total.unpriced.Blocked.Bytes))
	}
	shown := t.few(len(f.gaps))
	for i := range f.gaps[:shown] {
		t.gap(&f.gaps[i])
	}
	t.more(len(f.gaps)-shown, "gap")
	t.unreadable(f)
	t.line("")
}

func unscanned(n int) string {
	if n == 0 {
		return ""
	}
	return "; " + count(n, "account") + " of the organization not scanned"
}

func (t *terminal) gap(g *gap) {
	t.wrapped("  ", named(t.run.account(g.Account))+": "+missed(g.Gap, t.all), 3)
	t.wrapped("      ", g.Error, 4)
	t.wrapped("      ", t.unblocks(g), 0)
	t.wrapped("      ", "To do: "+remedy(g.Gap)+".", 0)
}

func (t *terminal) unblocks(g *gap) string {
	if g.HoldsBack.Images == 0 {
		return "It holds back nothing that would be deleted."
	}
	if g.Unblocks.Images == 0 {
		return "Mending it alone unblocks nothing; it is one reason for " + images(g.HoldsBack) + "."
	}
	s := "Mending it unblocks " + images(g.Unblocks) + t.money(g.saving, g.Unblocks.Bytes, g.unpriced)
	if g.HoldsBack.Images > g.Unblocks.Images {
		s += "; it is one reason for " + images(g.HoldsBack)
	}
	return s + "."
}

// money is a saving as the end of a list, or nothing.
func (t *terminal) money(m cost.Money, bytes, unpriced int64) string {
	if s := t.fig.saving(m, bytes, unpriced); s != "" {
		return ", " + s
	}
	return ""
}

// unreadable lists repositories that are blocked by themselves: something in them could not be read.
func (t *terminal) unreadable(f *facts) {
	var repos []*repository
	for i := range f.repositories {
		if r := &f.repositories[i]; len(r.Errors) > 0 {
			repos = append(repos, r)
		}
	}
	if len(repos) == 0 {
		return
	}
	t.line("")
	t.heading(yellow, "Read in part: "+count(len(repos), "repository")+", nothing in them is deletable")
	shown := t.few(len(repos))
	for _, r := range repos[:shown] {
		t.wrapped("  ", named(t.run.account(r.Repository.Account))+" "+r.Repository.Region+" "+r.Repository.Name+": "+images(r.Count.Blocked)+" blocked", 3)
		for _, e := range r.Errors[:min(len(r.Errors), 3)] {
			t.wrapped("      ", e, 4)
		}
	}
	t.more(len(repos)-shown, "repository")
}

func (t *terminal) attestations() {
	attested := t.run.Plan.Attestations
	if len(attested) == 0 {
		return
	}
	t.heading(bold, "Attestations in force: a person vouches that nothing there uses images")
	for i := range attested {
		a := &attested[i]
		used := "stands in for " + count(a.Used, "failure")
		if a.Used == 0 {
			used = "not needed in this run"
		}
		t.wrapped("  ", "until "+date(a.Expires)+": "+scope(&a.Attestation)+" ("+used+")", 4)
		t.wrapped("      ", "Reason: "+a.Reason, 4)
	}
	t.line("")
}

// notes lists what changes no decision and should be known all the same.
func (t *terminal) notes() {
	notes := t.run.Plan.Notes
	if len(notes) == 0 {
		return
	}
	t.heading(bold, "Worth knowing")
	shown := t.few(len(notes))
	for i := range notes[:shown] {
		n := &notes[i]
		t.wrapped("  ", n.Source+" in "+named(t.run.account(n.Account))+", "+n.Region+": "+n.Text, 4)
		if n.Resource != "" {
			t.wrapped("      ", n.Resource, 3)
		}
	}
	t.more(len(notes)-shown, "note")
	t.line("")
}

// Where there is little room, what can go stays longest.
var actionColumns = []column{
	{"IMAGES", 3}, {"SIZE", 4},
	{"DELETE", 0}, {"SIZE", 1},
	{"BLOCKED", 2}, {"SIZE", 5},
	{"KEPT", 4}, {"SIZE", 6},
}

func actionCells(c planner.Count) []string {
	var cells []string
	for _, t := range [...]planner.Tally{c.Total(), c.Delete, c.Blocked, c.Keep} {
		if t.Images == 0 {
			cells = append(cells, "–", "–")
		} else {
			cells = append(cells, number(t.Images), size(t.Bytes))
		}
	}
	return cells
}

// concerns: something in it would go.
func concerns(c planner.Count) bool { return c.Delete.Images > 0 || c.Blocked.Images > 0 }

func (t *terminal) repositories(f *facts) {
	rows := grid{first: "REPOSITORY", columns: actionColumns}
	omitted := 0
	var last image.Registry
	for i := range f.repositories {
		r := &f.repositories[i]
		if !t.all && !concerns(r.Count) {
			omitted++
			continue
		}
		if r.Repository.Registry != last {
			last = r.Repository.Registry
			rows.group(named(t.run.account(last.Account)) + ", " + last.Region)
		}
		rows.add("  "+r.Repository.Name, actionCells(r.Count)...)
	}
	if len(rows.rows) > 0 {
		t.grid(&rows)
	}
	if omitted > 0 {
		t.wrapped("", count(omitted, "repository")+" in which nothing can go not shown.", 0)
	}
	if len(f.repositories) == 0 {
		t.line("No repositories.")
	}
	t.line("")
}

func (t *terminal) registries(f *facts) {
	rows := grid{first: "ACCOUNT AND REGION", columns: append([]column{{"REPOSITORIES", 7}}, actionColumns...)}
	rows.columns = append(rows.columns, column{"COST/MONTH", 3}, column{"SAVING", 0})
	omitted := 0
	for i := range f.registries {
		r := &f.registries[i]
		if !t.all && !concerns(r.count) {
			omitted++
			continue
		}
		cells := append([]string{number(r.repositories)}, actionCells(r.count)...)
		rows.add(named(t.run.account(r.Account))+", "+r.Region, append(cells, t.price(&r.totals, r.list), t.price(&r.totals, r.saving))...)
	}
	if len(rows.rows) > 0 {
		t.grid(&rows)
	}
	if omitted > 0 {
		t.wrapped("", count(omitted, "registry")+" in which nothing can go not shown.", 0)
	}
	if len(f.registries) > 0 {
		t.line("")
	}
}

// price is an amount in a table, whose heading or note says that it is an upper bound.
func (t *terminal) price(of *totals, m cost.Money) string {
	if m == 0 || !of.priced() {
		return "–"
	}
	return strings.TrimPrefix(t.fig.atMost(m), "≤ ")
}

func (t *terminal) total(f *facts) {
	c := f.total.count
	s := "Total: " + images(c.Total()) + " in " + count(f.total.repositories, "repository") +
		"; delete " + images(c.Delete) + "; blocked " + images(c.Blocked) + "; kept " + images(c.Keep) + ". "
	saving := t.fig.saving(f.total.saving, c.Delete.Bytes, f.total.unpriced.Delete.Bytes)
	if saving == "" {
		saving = "nothing"
	}
	s += "Deleting saves " + saving + " (" + upperBound + "; " + priceNote(t.run.Prices) + ")."
	if f.total.exact > 0 && c.Delete.Images > 0 {
		s += " Of that, " + t.fig.money(f.total.low) + " will really go: layers that nothing else refers to, as far as they are known (" +
			number(f.total.exact) + " of " + count(f.total.repositories, "repository") + ")."
	}
	t.wrappedIn(bold, "", s, 0)
	if u := f.total.unpriced.Total(); u.Images > 0 {
		t.wrapped("", size(u.Bytes)+" are in regions without a known price and in no amount of money.", 0)
	}
}

// hints are the last lines.
func (t *terminal) hints() {
	for i, hint := range t.run.Hints {
		if i == 0 {
			t.line("")
		}
		t.wrapped("", hint, 0)
	}
}

// few is how many of n entries are shown.
func (t *terminal) few(n int) int {
	if t.all {
		return n
	}
	return min(n, shortcut)
}

func (t *terminal) more(n int, noun string) {
	if n > 0 {
		t.wrapped("  ", "+"+count(n, "more "+noun), 0)
	}
}

// named is an account's id with its name, if it has one.
func named(a Account) string {
	if a.Name == "" {
		return a.ID
	}
	return a.ID + " " + a.Name
}
