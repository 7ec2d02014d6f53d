package report

import (
	"bufio"
	"cmp"
	"io"
	"maps"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/planner"
)

// Sweep is what a sweep did, and what its report says beyond that.
type Sweep struct {
	ID       string
	Ledger   *journal.Ledger
	Accounts map[string]Account // by id; an account that is missing has no name
	Prices   cost.Prices
	Hints    []string // commands to go on with, shown last on the terminal
}

// run is what a sweep shares with the report of a plan.
func (s *Sweep) run() *Run {
	return &Run{Plan: &planner.Plan{}, ID: s.ID, Accounts: s.Accounts, Prices: s.Prices, Hints: s.Hints}
}

// sweepFacts are the figures of a sweep.
type sweepFacts struct {
	journal.Summary
	effect   effect         // of all
	accounts []sweptAccount // by id
	open     []*journal.Record
	unknown  journal.Tally // of what is left, what is in calls of which nobody knows what became
	failures []*alike
	skipped  map[journal.Code][]*alike // of codes whose details tell more than the code
	whole    string                    // where all images are listed
}

// effect is what a sweep deleted or, in a dry run, would delete.
type effect struct {
	would    journal.Tally // of a dry run: it counts among what is skipped there
	bytes    int64
	saving   cost.Money // a month, at most
	unpriced int64      // bytes in regions without a known price
}

type sweptAccount struct {
	Account
	journal.AccountCount
	effect effect
}

// alike are images of an account on whose fate the same words are on record.
type alike struct {
	account string
	code    journal.Code
	words   string
	journal.Tally
	first []journal.Entry
}

// newSweepFacts adds up. Of images alike it holds so many at most; 0: all.
func newSweepFacts(s *Sweep, most int) *sweepFacts {
	f := &sweepFacts{Summary: s.Ledger.Summary(), open: s.Ledger.Open(), skipped: map[journal.Code][]*alike{}, whole: "journal of sweep " + s.ID}
	if f.Last.DryRun {
		f.whole = "--format json lists all"
	}
	for _, r := range f.open {
		for i := range r.Images {
			f.unknown.Add(journal.Tally{Images: 1, Bytes: r.Images[i].Bytes})
		}
	}
	type group struct {
		account, words string
		state          journal.State
		code           journal.Code
	}
	groups := map[group]*alike{}
	would := map[string]map[string]int64{} // bytes by account and region
	for e := range s.Ledger.Images() {
		switch {
		case e.State == journal.Deleted:
			continue
		case f.Last.DryRun && e.Code == journal.DryRun:
			if would[e.Account] == nil {
				would[e.Account] = map[string]int64{}
			}
			would[e.Account][e.Region] += e.Bytes
			continue
		case e.State != journal.Failed && !telling(e.Code):
			continue
		}
		k := group{e.Account, e.Detail, e.State, e.Code}
		g := groups[k]
		if g == nil {
			g = &alike{account: e.Account, code: e.Code, words: e.Detail}
			groups[k] = g
			if e.State == journal.Failed {
				f.failures = append(f.failures, g)
			} else {
				f.skipped[e.Code] = append(f.skipped[e.Code], g)
			}
		}
		g.Add(journal.Tally{Images: 1, Bytes: e.Bytes})
		if most == 0 || len(g.first) < most {
			g.first = append(g.first, e)
		}
	}
	sortAlike(f.failures)
	for list := range maps.Values(f.skipped) {
		sortAlike(list)
	}
	run := s.run()
	for _, count := range f.Accounts {
		a := sweptAccount{Account: run.account(count.Account), AccountCount: count}
		freed := count.Freed
		if f.Last.DryRun {
			freed = would[count.Account]
			for _, c := range count.Codes {
				if c.State == journal.Skipped && c.Code == journal.DryRun {
					a.effect.would = c.Tally
				}
			}
		}
		for bytes := range maps.Values(freed) {
			a.effect.bytes += bytes
		}
		a.effect.saving, a.effect.unpriced = priceOf(s.Prices, freed)
		f.effect.add(&a.effect)
		f.accounts = append(f.accounts, a)
	}
	return f
}

func (e *effect) add(o *effect) {
	e.would.Add(o.would)
	e.bytes += o.bytes
	e.saving += o.saving
	e.unpriced += o.unpriced
}

func sortAlike(list []*alike) {
	slices.SortFunc(list, func(a, b *alike) int {
		return cmp.Or(cmp.Compare(b.Images, a.Images), cmp.Compare(a.account, b.account), cmp.Compare(a.code, b.code), cmp.Compare(a.words, b.words))
	})
}

// spread says how many images of each group are shown of so many in all: one of each before a second of any.
func spread(groups []*alike, most int) []int {
	shown := make([]int, len(groups))
	for more := true; more && most > 0; {
		more = false
		for i, g := range groups {
			if most > 0 && shown[i] < len(g.first) {
				shown[i]++
				most--
				more = true
			}
		}
	}
	return shown
}

// The states of a sweep.
const (
	sweepComplete    = "complete"
	sweepInterrupted = "interrupted"
	sweepAbandoned   = "abandoned"
)

func stateOf(s *journal.Summary) string {
	switch {
	case s.Abandoned != "":
		return sweepAbandoned
	case s.EndedAt.IsZero():
		return sweepInterrupted
	}
	return sweepComplete
}

// outcome says what became of a sweep: in a word, and how much of what was planned.
func (f *sweepFacts) outcome() (word, text string) {
	s, state := &f.Summary, stateOf(&f.Summary)
	did := f.Deleted
	if s.Last.DryRun {
		did = f.effect.would
	}
	text = share(did, s.Planned)
	switch {
	case s.Last.DryRun:
		word = "DRY RUN"
		if state != sweepComplete {
			word += ", " + strings.ToUpper(state)
		}
		text = ": would delete " + text
		if s.Deleted.Images > 0 {
			text += "; deleted before, by an attempt that was interrupted: " + tally(s.Deleted)
		}
	case state != sweepComplete:
		word, text = strings.ToUpper(state), ": deleted "+text
	case s.Planned.Images == 0 && did.Images == 0:
		return "NOTHING DELETED", ": nothing was planned."
	case did.Images == 0:
		word, text = "NOTHING DELETED", " of "+count(s.Planned.Images, "planned image")+", "+size(s.Planned.Bytes)
	default:
		word, text = "DELETED", " "+text
	}
	text += others(s, f.effect.would)
	switch left := number(s.Left.Images) + " left"; {
	case state == sweepAbandoned:
		text += "; " + left + ": " + s.Abandoned
	case s.Left.Images == 0:
	case s.Last.DryRun:
		text += "; " + left
	case state == sweepInterrupted:
		text += "; " + left + ": the same command goes on"
	}
	return word, text + "."
}

// share says how much of what was planned: "1,234 of 1,300 planned images, 45 GiB of 48 GiB promised (94 %)".
func share(did, planned journal.Tally) string {
	s := number(did.Images) + " of " + count(planned.Images, "planned image") + ", " + size(did.Bytes) + " of " + size(planned.Bytes) + " promised"
	if p := percent(did.Bytes, planned.Bytes); p != "" {
		s += " (" + p + ")"
	}
	return s
}

// others counts what was not deleted, for whatever reason, but for what a dry run would delete.
func others(s *journal.Summary, would journal.Tally) string {
	var text string
	if s.Failed.Images > 0 {
		text += "; " + number(s.Failed.Images) + " failed"
	}
	if n := s.Skipped.Images - would.Images; n > 0 {
		text += "; " + number(n) + " skipped"
	}
	return text
}

// percent rounds down, and never something to nothing; "" where there is no whole.
func percent(part, whole int64) string {
	if whole <= 0 || part < 0 {
		return ""
	}
	if part >= whole {
		return "100 %"
	}
	hi, lo := bits.Mul64(uint64(part), 100)
	p, _ := bits.Div64(hi, lo, uint64(whole))
	if p == 0 && part > 0 {
		return "< 1 %"
	}
	return strconv.FormatUint(p, 10) + " %"
}

func tally(t journal.Tally) string { return images(planner.Tally(t)) }

// unaccounted says that a journal does not add up, which should not happen; "" if it does.
func (f *sweepFacts) unaccounted() string {
	if l := f.Left; l.Images < 0 || l.Bytes < 0 || stateOf(&f.Summary) == sweepComplete && l != (journal.Tally{}) {
		return "THE JOURNAL DOES NOT ADD UP: planned are " + strconv.Itoa(l.Images) + " images and " + strconv.FormatInt(l.Bytes, 10) +
			" bytes more than it accounts for"
	}
	return ""
}

// underWay says that it is not known what became of some calls; "" if it is.
func (f *sweepFacts) underWay() string {
	if len(f.open) == 0 {
		return ""
	}
	return count(len(f.open), "call") + " with " + tally(f.unknown) +
		" had no answer yet: what became of them is found out when the sweep goes on."
}

// freed compares what went with what the plan promised.
func (f *sweepFacts) freed(fig figures, prices cost.Prices) string {
	s := "Freed "
	if f.Last.DryRun {
		s = "Would free "
	}
	if f.effect.bytes == 0 {
		return s + "nothing of " + size(f.Planned.Bytes) + " that the plan promised."
	}
	s += size(f.effect.bytes) + " of " + size(f.Planned.Bytes) + " that the plan promised"
	if p := percent(f.effect.bytes, f.Planned.Bytes); p != "" {
		s += " (" + p + ")"
	}
	if f.effect.unpriced == f.effect.bytes {
		return s + ", where no price is known."
	}
	return s + ", which saves " + fig.saving(f.effect.saving, f.effect.bytes, f.effect.unpriced) + " (" + upperBound + "; " + priceNote(prices) + ")."
}

// calls says how often ECR was asked to delete.
func (f *sweepFacts) calls() string {
	s := count(f.Calls, "BatchDeleteImage call")
	if f.Attempts > 1 {
		s += " in " + count(f.Attempts, "attempt")
	}
	return s + "."
}

// provenance says who swept, by which plan.
func (f *sweepFacts) provenance(id string) string {
	b := &f.Last
	s := "Sweep " + id + ", begun " + minute(f.FirstBegun)
	if b.Who != "" {
		s += " by " + b.Who
	}
	if strings.HasPrefix(b.Plan.SHA256, "run:") {
		s += "; plan made by the same command"
	} else if b.Plan.SHA256 != "" {
		s += "; plan " + cut(b.Plan.SHA256, 13) + " of run " + b.Plan.Run + ", " + minute(b.Plan.GeneratedAt)
	}
	if b.Run != "" {
		s += "; checked against run " + b.Run
	}
	if len(b.Filters) > 0 {
		s += "; only " + strings.Join(b.Filters, " ")
	}
	s += "."
	if b.Incomplete {
		s += " That run is incomplete: what could not be looked at holds images back."
	}
	return s
}

func minute(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04") + " UTC"
}

// What nobody should take a deletion for.
const (
	openMoment = "Not seen: a deployment that began between the last look and the deletion. ECR offers nothing to close that moment."
	noReturn   = "Not undone: a deleted image does not come back. A manifest that was kept with the journal can be pushed again only while ECR " +
		"still has all of its layers; else the image has to be built again."
)

// SweepText writes what a sweep did, for people: the outcome, what failed, figures by account, what was left alone and why.
func SweepText(w io.Writer, s *Sweep, opts TermOptions) error {
	t := newTerminal(w, opts, s.run())
	most := shortcut
	if opts.All {
		most = 0
	}
	f := newSweepFacts(s, most)
	t.swept(f)
	t.failures(f)
	t.sweptAccounts(f)
	t.skips(f)
	t.wrappedIn(bold, "", f.freed(t.fig, s.Prices)+" "+f.calls(), 0)
	t.wrapped("", f.provenance(s.ID), 0)
	t.line("")
	t.wrapped("", openMoment, 0)
	t.wrapped("", noReturn, 0)
	t.hints()
	return t.w.Flush()
}

func (t *terminal) swept(f *sweepFacts) {
	color, state := bold, stateOf(&f.Summary)
	switch {
	case f.Failed.Images > 0 || state == sweepAbandoned:
		color = red
	case state == sweepInterrupted:
		color = yellow
	}
	word, text := f.outcome()
	t.heading(color, word+text)
	for _, s := range []string{f.unaccounted(), f.underWay()} {
		if s != "" {
			t.wrappedIn(red, "", s, 0)
		}
	}
	t.line("")
}

func (t *terminal) failures(f *sweepFacts) {
	if f.Failed.Images == 0 {
		return
	}
	t.heading(red, "FAILED: "+tally(f.Failed))
	told := map[journal.Code]bool{}
	t.alike(f, "  ", f.failures, t.few(f.Failed.Images), (*alike).failure, func(g *alike) {
		if todo := sweepWords[g.code].todo; todo != "" && !told[g.code] {
			told[g.code] = true
			t.wrapped("      ", "To do: "+todo+".", 0)
		}
	})
	t.line("")
}

// failure is why images failed: the code, and in words.
func (g *alike) failure() string {
	switch {
	case g.words == "":
		return string(g.code)
	case strings.HasPrefix(g.words, string(g.code)+": "):
		return g.words
	}
	return string(g.code) + ": " + g.words
}

// alike lists groups of images: what is on record of them, some of them, and what else there is to say.
func (t *terminal) alike(f *sweepFacts, indent string, groups []*alike, most int, words func(*alike) string, then func(*alike)) {
	rest := 0
	for i, shown := range spread(groups, most) {
		g := groups[i]
		if shown == 0 {
			rest += g.Images
			continue
		}
		t.wrapped(indent, cmp.Or(words(g), "no words on record"), 4)
		for j := range g.first[:shown] {
			t.wrapped(indent+"    ", entryText(&g.first[j]), 3)
		}
		if n := g.Images - shown; n > 0 {
			t.wrapped(indent+"    ", "+"+number(n)+" more of account "+named(t.run.account(g.account))+" with the same words", 2)
		}
		if then != nil {
			then(g)
		}
	}
	if rest > 0 {
		t.wrapped(indent, "and "+number(rest)+" more ("+f.whole+")", 2)
	}
}

// refText names an image as others may ask for it.
func refText(e *journal.Entry) string { return e.String() + "@" + string(e.Digest) }

// entryText names an image with its tags.
func entryText(e *journal.Entry) string {
	s := refText(e)
	if len(e.Tags) > 0 {
		s += " (" + strings.Join(e.Tags, " ") + ")"
	}
	return s
}

// sweptAccounts is the table. Where there is little room, what went stays longest.
func (t *terminal) sweptAccounts(f *sweepFacts) {
	if len(f.accounts) == 0 {
		return
	}
	rows := grid{first: "ACCOUNT"}
	dry := f.Last.DryRun
	columns := []struct {
		column
		shown bool
		cell  func(*journal.Counts, *effect) string
	}{
		{column{"PLANNED", 3}, true, func(c *journal.Counts, _ *effect) string { return dash(c.Planned.Images) }},
		{column{"DELETED", 0}, !dry || f.Deleted.Images > 0, func(c *journal.Counts, _ *effect) string { return dash(c.Deleted.Images) }},
		{column{"WOULD GO", 0}, dry, func(_ *journal.Counts, e *effect) string { return dash(e.would.Images) }},
		{column{"SKIPPED", 4}, true, func(c *journal.Counts, e *effect) string { return dash(c.Skipped.Images - e.would.Images) }},
		{column{"FAILED", 0}, f.Failed.Images != 0, func(c *journal.Counts, _ *effect) string { return dash(c.Failed.Images) }},
		{column{"LEFT", 0}, f.Left.Images != 0, func(c *journal.Counts, _ *effect) string { return dash(c.Left.Images) }},
		{column{"FREED", 2}, !dry, freedCell},
		{column{"WOULD FREE", 2}, dry, freedCell},
		{column{"SAVING", 1}, true, func(_ *journal.Counts, e *effect) string { return t.fig.amount(e.saving) }},
	}
	add := func(name string, c *journal.Counts, e *effect) {
		var cells []string
		for i := range columns {
			if columns[i].shown {
				cells = append(cells, columns[i].cell(c, e))
			}
		}
		rows.add(name, cells...)
	}
	for i := range columns {
		if columns[i].shown {
			rows.columns = append(rows.columns, columns[i].column)
		}
	}
	for i := range f.accounts {
		a := &f.accounts[i]
		add(named(a.Account), &a.Counts, &a.effect)
	}
	if len(f.accounts) > 1 {
		add("Total", &f.Counts, &f.effect)
	}
	t.grid(&rows)
	t.line("")
}

func freedCell(_ *journal.Counts, e *effect) string {
	if e.bytes == 0 {
		return "–"
	}
	return size(e.bytes)
}

func dash(n int) string {
	if n == 0 {
		return "–"
	}
	return number(n)
}

// amount is money in a table, which says elsewhere that it is an upper bound.
func (f figures) amount(m cost.Money) string {
	if m == 0 {
		return "–"
	}
	return strings.TrimPrefix(f.atMost(m), "≤ ")
}

func (t *terminal) skips(f *sweepFacts) {
	total := f.Skipped
	total.Add(journal.Tally{Images: -f.effect.would.Images, Bytes: -f.effect.would.Bytes})
	if total.Images == 0 {
		return
	}
	t.heading(bold, "Skipped, and why: "+tally(total))
	for _, c := range f.reasons() {
		w := sweepWords[c.Code]
		s := string(c.Code) + ": " + tally(c.Tally)
		if w.means != "" {
			s += ": " + w.means
		}
		t.wrapped("  ", s, 4)
		if w.todo != "" {
			t.wrapped("      ", "To do: "+w.todo+".", 0)
		}
		const examples = 5
		most := examples
		if t.all {
			most = c.Images
		}
		t.alike(f, "      ", f.skipped[c.Code], most, func(g *alike) string { return g.words }, nil)
	}
	t.line("")
}

// reasons are the codes of what was skipped, but for what a dry run would delete.
func (f *sweepFacts) reasons() []journal.CodeCount {
	var list []journal.CodeCount
	for _, c := range f.Codes {
		if c.State != journal.Failed && !(f.Last.DryRun && c.Code == journal.DryRun) {
			list = append(list, c)
		}
	}
	return list
}

// SweepMarkdown writes what a sweep did, for a message or a pull request.
func SweepMarkdown(w io.Writer, s *Sweep) error {
	f := newSweepFacts(s, 1)
	m := &markdown{w: bufio.NewWriter(w), run: s.run(), fig: figures{s.Prices.Currency}}
	word, text := f.outcome()
	m.line("**", word, "**", mdText(text))
	for _, s := range []string{f.unaccounted(), f.underWay()} {
		if s != "" {
			m.line()
			m.line(mdText(s))
		}
	}
	m.line()
	m.line(mdText(f.freed(m.fig, s.Prices)), " ", f.calls())
	m.failures(f)
	m.sweptAccounts(f)
	m.skips(f)
	m.line()
	m.line(mdText(f.provenance(s.ID)))
	return m.w.Flush()
}

func (m *markdown) failures(f *sweepFacts) {
	if len(f.failures) == 0 {
		return
	}
	m.line()
	m.line("**FAILED** (", tally(f.Failed), ")")
	m.line()
	rest := 0
	for i, g := range f.failures {
		if i >= fewest {
			rest += g.Images
			continue
		}
		s := "- " + mdText(g.failure()) + ": " + mdText(refText(&g.first[0]))
		if g.Images > 1 {
			s += " and " + number(g.Images-1) + " more"
		}
		m.line(s)
	}
	if rest > 0 {
		m.line()
		m.line("+", count(rest, "more failure"))
	}
}

func (m *markdown) sweptAccounts(f *sweepFacts) {
	if len(f.accounts) == 0 {
		return
	}
	const most = 10
	list := slices.Clone(f.accounts)
	slices.SortStableFunc(list, func(a, b sweptAccount) int {
		return cmp.Or(cmp.Compare(b.effect.bytes, a.effect.bytes), cmp.Compare(b.Planned.Images, a.Planned.Images))
	})
	did, freed := "Deleted", "Freed"
	if f.Last.DryRun {
		did, freed = "Would go", "Would free"
	}
	m.line()
	m.line("| Account | Planned | ", did, " | Skipped | Failed | Left | ", freed, " | At most a month |")
	m.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for i := range list[:min(len(list), most)] {
		a := &list[i]
		n := a.Deleted.Images
		if f.Last.DryRun {
			n = a.effect.would.Images
		}
		price := m.fig.amount(a.effect.saving)
		if a.effect.bytes > 0 && a.effect.unpriced == a.effect.bytes {
			price = "no known price"
		}
		m.line("| ", mdText(named(a.Account)), " | ", number(a.Planned.Images), " | ", number(n), " | ", number(a.Skipped.Images-a.effect.would.Images),
			" | ", number(a.Failed.Images), " | ", number(a.Left.Images), " | ", size(a.effect.bytes), " | ", price, " |")
	}
	if n := len(list) - most; n > 0 {
		m.line()
		m.line("and ", count(n, "more account"))
	}
}

func (m *markdown) skips(f *sweepFacts) {
	reasons := f.reasons()
	if len(reasons) == 0 {
		return
	}
	m.line()
	m.line("**Skipped**")
	m.line()
	for _, c := range reasons {
		s := "- " + mdText(string(c.Code)) + ": " + tally(c.Tally)
		if w := sweepWords[c.Code]; w.means != "" {
			s += ": " + mdText(w.means)
		}
		m.line(s)
	}
}

// SweepSchema is the version of the JSON contract of a sweep.
const SweepSchema = "demurrage/sweep/1"

// SweepJSON writes what a sweep did in the form of SweepSchema: one document, an entry a line, with every image on record.
func SweepJSON(w io.Writer, s *Sweep) error {
	f := newSweepFacts(s, 1)
	j := newJSONWriter(w)
	j.field("schema", SweepSchema)
	j.field("id", s.ID)
	j.field("plan", jsonSweptPlan{f.Last.Plan.SHA256, f.Last.Plan.Run, utc(f.Last.Plan.GeneratedAt)})
	j.field("run_id", f.Last.Run)
	j.field("run_incomplete", f.Last.Incomplete)
	j.field("filters", orEmpty(f.Last.Filters))
	j.field("who", f.Last.Who)
	j.field("dry_run", f.Last.DryRun)
	j.field("started_at", utc(f.FirstBegun))
	j.field("ended_at", utc(f.EndedAt))
	j.field("state", stateOf(&f.Summary))
	if f.Abandoned != "" {
		j.field("abandoned", f.Abandoned)
	}
	j.field("attempts", f.Attempts)
	j.field("calls", f.Calls)
	j.field("planned", f.Planned)
	j.field("deleted", f.Deleted)
	j.field("skipped", f.Skipped)
	j.field("failed", f.Failed)
	j.field("left", f.Left)
	j.field("unanswered", f.unknown)
	if f.Last.DryRun {
		j.field("would_delete", f.effect.would)
	}
	j.field("freed", jsonFreed{f.Deleted.Bytes, f.Planned.Bytes})
	j.field("saving", newJSONSaving(&f.effect, s.Prices))
	j.list("codes")
	for i := range f.Codes {
		j.entry(&f.Codes[i])
	}
	j.endList()
	j.list("accounts")
	for i := range f.accounts {
		a := &f.accounts[i]
		out := jsonSweptAccount{Account: a.ID, Name: a.Name, Counts: a.Counts, Codes: orEmpty(a.Codes), Saving: newJSONSaving(&a.effect, s.Prices)}
		if f.Last.DryRun {
			out.WouldDelete = &a.effect.would
		}
		j.entry(&out)
	}
	j.endList()
	j.list("images")
	for e := range s.Ledger.Images() {
		j.entry(jsonSweptImage{e.Account, e.Region, e.Name, e.Digest, orEmpty(e.Tags), e.Bytes, e.State, e.Code, e.Detail})
		if j.err != nil {
			break
		}
	}
	j.endList()
	return j.close()
}

type jsonSweptPlan struct {
	SHA256      string     `json:"sha256"`
	Run         string     `json:"run_id"`
	GeneratedAt *time.Time `json:"generated_at"`
}

type jsonFreed struct {
	Bytes    int64 `json:"bytes"`
	Promised int64 `json:"promised_bytes"`
}

// jsonSaving is an upper bound of what is saved a month.
type jsonSaving struct {
	Micros   cost.Money `json:"micros"` // millionths of the currency
	Currency string     `json:"currency"`
	Unpriced int64      `json:"unpriced_bytes,omitempty"` // in regions without a known price, and not in the amount
}

// newJSONSaving is nil where no price is known.
func newJSONSaving(e *effect, p cost.Prices) *jsonSaving {
	if p.Currency == "" || e.bytes > 0 && e.unpriced == e.bytes {
		return nil
	}
	return &jsonSaving{e.saving, p.Currency, e.unpriced}
}

type jsonSweptAccount struct {
	Account string `json:"account"`
	Name    string `json:"name"`
	journal.Counts
	WouldDelete *journal.Tally      `json:"would_delete,omitempty"`
	Codes       []journal.CodeCount `json:"codes"`
	Saving      *jsonSaving         `json:"saving"`
}

type jsonSweptImage struct {
	Account    string        `json:"account"`
	Region     string        `json:"region"`
	Repository string        `json:"repository"`
	Digest     image.Digest  `json:"digest"`
	Tags       []string      `json:"tags"`
	Bytes      int64         `json:"bytes"`
	State      journal.State `json:"state"`
	Code       journal.Code  `json:"code"`
	Detail     string        `json:"detail"`
}

// utc is a time for JSON; nil for no time.
func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// telling reports whether the details of a code say more than the code does.
func telling(c journal.Code) bool {
	return c == journal.Changed || c == journal.NotDeletable || c == journal.NotLooked || sweepWords[c].means == ""
}

// sweepWords says what the codes of a journal mean, and what a person can do about it.
var sweepWords = map[journal.Code]struct{ means, todo string }{
	journal.DryRun:      {"they would have been deleted, but for a dry run", "run without --dry-run"},
	journal.NotEnforced: {"their account may not be deleted from", "set enforce = true in its [[accounts]] entry, once its plans have been reviewed"},
	journal.NotDeletable: {"a fresh plan keeps or blocks them, whatever the reviewed one said",
		"nothing, unless they should go all the same: demurrage explain REF has every reason"},
	journal.Unconfirmed: {"no complete run that is older by [safety] confirm_after found them deletable too",
		"scan regularly and run again when they have been deletable for that long"},
	journal.LastRoot:      {"nothing else would be left in their repository", "set allow_empty = true in its [[repositories]] entry to let it be emptied"},
	journal.RelativeStays: {"an index, a subject or a referrer of theirs is not deleted", ""},
	journal.Changed: {"the look just before the deletion keeps them: they are used, or were pulled, tagged or pushed since",
		"plan again and have that reviewed, if they should go all the same"},
	journal.NotLooked: {"the look just before the deletion could not be taken, or not of all that could use them, and nothing is deleted without it", "mend what the words say, then run the same command again"},
	journal.Gone:      {"somebody else had deleted them before", ""},
	journal.AccountStopped: {"too many calls in a row had failed in their account ([safety] max_failures)",
		"mend what failed, then run the same command again"},

	journal.CallFailed:              {"the call failed as a whole", "mend what the words say (may the sweep role be assumed, and delete there?), then run the same command again"},
	journal.NoAnswer:                {"it is not known what became of them", "run the same command again: what is gone by then is done"},
	"ImageReferencedByManifestList": {"an index that stays refers to them", "let the index go first: a new plan knows it"},
	"AccessDeniedException":         {"the sweep role may not delete them", "allow the sweep role what the error names, then run the same command again"},
}
