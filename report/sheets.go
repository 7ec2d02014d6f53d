package report

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// The sheets of the workbook that are streamed.

const unpricedText = "unpriced" // in the place of an amount: no price is known

// money is the amount of some totals, or says that none is known.
func money(of *totals, m any) any {
	if !of.priced() {
		return unpricedText
	}
	return m
}

func (b *book) perMonth(what string) string { return what + " (" + b.facts.currency + " a month)" }

// The titles of columns that several sheets have.
const (
	titleStored      = "Stored (GB)"
	titleReclaimable = "Reclaimable (GB)"
)

func (b *book) titleList() string   { return b.perMonth("List cost") }
func (b *book) titleBilled() string { return b.billTitle("Billed") }
func (b *book) titleLow() string    { return b.perMonth("Saving, low") }
func (b *book) titleHigh() string   { return b.perMonth("Saving, high") }

func (b *book) repositories() error {
	own := len(b.facts.repositories)
	order := make([]int32, own+len(b.facts.rest)) // of repositories, and rests behind them
	nameOf := func(i int32) string {
		if int(i) < own {
			return b.facts.repositories[i].Repository.Name
		}
		return b.facts.rest[int(i)-own].name
	}
	weightOf := func(i int32) cost.Money {
		if int(i) < own {
			return b.weight(&b.facts.repositories[i].sums)
		}
		return b.weight(&b.facts.rest[int(i)-own].sums)
	}
	names := 20
	for i := range order {
		order[i] = int32(i)
		names = max(names, utf8.RuneCountInString(nameOf(int32(i)))+2)
	}
	slices.SortFunc(order, func(x, y int32) int { // the rest of the order is the plan's
		return cmp.Or(cmp.Compare(weightOf(y), weightOf(x)), cmp.Compare(nameOf(x), nameOf(y)), cmp.Compare(x, y))
	})
	fields := []field{
		{"Account", kindText, 14}, {"Account name", kindText, 18}, {"Region", kindText, 15}, {"Repository", kindText, float64(min(names, 60))},
		{"Owner", kindText, 14}, {"Cost centre", kindText, 12}, {"Images", kindInt, 9}, {"Sum of sizes (GB)", kindGB, 10}, {titleStored, kindGB, 10},
		{b.titleList(), kindMoney, 12}, {b.billTitle("Billed, allocated"), kindMoney, 15}, {titleReclaimable, kindGB, 15},
		{b.titleLow(), kindMoney, 12}, {b.titleHigh(), kindMoney, 12}, {"Last push", kindDate, 11}, {"Last pull", kindDate, 11},
		{"Lifecycle policy", kindText, 10}, {"Rule", kindText, 18},
		{"Layers", kindText, 10}, {"Owner from", kindText, 14}, {"Cost centre from", kindText, 14}, {"Reclaimable images", kindInt, 13},
		{"Blocked (GB)", kindGB, 12}, {"Untagged images", kindInt, 11},
	}
	const shown = 18 // columns in print
	s, err := b.sheet(sheetRepositories, fields, len(order), true)
	if err != nil {
		return err
	}
	for _, i := range order {
		if int(i) >= own {
			r := &b.facts.rest[int(i)-own]
			err := s.add(r.Account, b.run.account(r.Account).Name, r.Region, r.name, r.owner.name, r.costCenter.name, nil, nil, nil, nil, b.billed(r.billed),
				nil, nil, nil, nil, nil, nil, nil, nil, r.owner.from.String(), r.costCenter.from.String())
			if err != nil {
				return err
			}
			continue
		}
		r := &b.facts.repositories[i]
		t := r.totals()
		all := t.count.Total()
		err := s.add(r.Repository.Account, b.run.account(r.Repository.Account).Name, r.Repository.Region, r.Repository.Name, r.owner.name, r.costCenter.name,
			all.Images, gb(all.Bytes), gb(r.stored), money(t, r.list), b.billed(r.billed), gb(t.reclaimable), low(t), money(t, r.saving),
			r.LastPush, r.LastPull, b.lifecycle(r), cmp.Or(r.Rule, "(none: kept)"),
			b.layers(r), r.owner.from.String(), r.costCenter.from.String(), r.Count.Delete.Images, gb(r.Count.Blocked.Bytes), r.Untagged.Images)
		if err != nil {
			return err
		}
	}
	if err := s.table("Repositories"); err != nil {
		return err
	}
	if len(order) == 0 {
		s.row++ // a table has a row at least
	}
	t, all := &b.facts.total, b.facts.total.count.Total()
	err = s.totals("Total", nil, nil, nil, nil, nil, sum{all.Images}, sum{gb(all.Bytes)}, sum{gb(t.stored)}, sum{t.list}, b.sumBilled(t),
		sum{gb(t.reclaimable)}, sumLow(t), sum{t.saving}, nil, nil, nil, nil, nil, nil, nil, sum{t.count.Delete.Images}, sum{gb(t.count.Blocked.Bytes)}, sum{t.untagged.Images})
	if err != nil {
		return err
	}
	if err := b.printed(sheetRepositories, shown, s.row); err != nil {
		return err
	}
	return s.close()
}

// layers says how what a repository stores is known.
func (b *book) layers(r *repository) string {
	switch {
	case r.exact:
		return "exact"
	case b.run.Stored == nil:
		return "sizes"
	}
	return "estimate"
}

func (b *book) lifecycle(r *repository) any {
	switch has, known := b.run.Lifecycle[r.Repository]; {
	case !known:
		return nil
	case has:
		return "yes"
	default:
		return "no"
	}
}

func (b *book) sumBilled(t *totals) any {
	if !b.facts.bill.known() {
		return nil
	}
	return sum{t.billed}
}

func sumLow(t *totals) any {
	if t.exact == 0 {
		return nil
	}
	return sum{t.low}
}

// images lists every image that goes, in the order of the plan: there can be too many to sort.
func (b *book) images(open func() (string, io.WriteCloser, error)) (err error) {
	fields := []field{
		{"Account", kindText, 14}, {"Region", kindText, 15}, {"Repository", kindText, 30}, {"Digest", kindText, 72}, {"Tags", kindText, 24},
		{"Pushed", kindDate, 11}, {"Last pulled", kindDate, 11}, {"Size (MB)", kindGB, 11}, {"Rule", kindText, 16}, {"Reason", kindWrap, 90},
	}
	total := b.facts.total.count.Delete.Images
	fit := min(total, b.maxRows-1)
	if fit < total {
		fit-- // the last row says what is beyond it
	}
	s, err := b.sheet(sheetImages, fields, fit, false)
	if err != nil {
		return err
	}
	var rest *overflow
	if fit < total && open != nil {
		if rest, err = openOverflow(open, fields); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rest.close()) }()
	}
	written := 0
	values := make([]any, len(fields))
repositories:
	for r, err := range b.run.Plan.Repositories {
		if err != nil {
			return err
		}
		if r.Count.Delete.Images == 0 {
			continue
		}
		values[0], values[1], values[2], values[8] = r.Repository.Account, r.Repository.Region, r.Repository.Name, r.Rule
		for i := range r.Decisions {
			d := &r.Decisions[i]
			if d.Action != planner.Delete {
				continue
			}
			written++
			if written <= fit || rest != nil {
				b.listed.Images++
				b.listed.Bytes += d.Image.OwnBytes()
			}
			values[3], values[4] = string(d.Image.Digest), strings.Join(d.Image.Tags, " ")
			values[5], values[6], values[7] = d.Image.PushedAt, d.Image.LastPulledAt, mb(d.Image.OwnBytes())
			values[9] = reasonText(d.Reasons)
			if written <= fit {
				err = s.add(values...)
			} else if rest != nil {
				err = rest.add(d, values)
			} else {
				break repositories
			}
			if err != nil {
				return err
			}
		}
	}
	if fit < total {
		b.beyond = number(total-fit) + " more images do not fit this sheet and are not listed: write the plan as CSV"
		if rest != nil {
			b.beyond = number(total-fit) + " more images do not fit this sheet: they are in " + rest.name
		}
		if err := s.add(b.beyond); err != nil {
			return err
		}
	}
	return s.close()
}

func reasonText(reasons []planner.Reason) string {
	if len(reasons) == 0 {
		return ""
	}
	s := string(reasons[0].Code) + ": " + reasons[0].Detail
	if n := len(reasons) - 1; n > 0 {
		s += " (+" + strconv.Itoa(n) + " more)"
	}
	return s
}

// add writes the row of an image that the sheet has no room for.
func (o *overflow) add(d *planner.Decision, values []any) error {
	row := make([]string, len(values))
	for i, v := range values {
		if s, ok := v.(string); ok {
			row[i] = csvText(s)
		}
	}
	row[5], row[6] = date(d.Image.PushedAt), date(d.Image.LastPulledAt)
	row[7] = strconv.FormatFloat(cellValue(values[7]).(float64), 'f', -1, 64)
	return o.csv.Write(row)
}

func (b *book) blocked() error {
	gaps := slices.Clone(b.facts.gaps)
	slices.SortStableFunc(gaps, func(x, y gap) int {
		return cmp.Or(cmp.Compare(y.saving, x.saving), cmp.Compare(y.Unblocks.Bytes, x.Unblocks.Bytes))
	})
	var repos []*repository
	for i := range b.facts.repositories {
		if r := &b.facts.repositories[i]; len(r.Errors) > 0 {
			repos = append(repos, r)
		}
	}
	slices.SortStableFunc(repos, func(x, y *repository) int { return cmp.Compare(y.held, x.held) })
	s, err := b.sheet(sheetBlocked, []field{
		{"What", kindText, 26}, {"Account", kindText, 15}, {"Account name", kindText, 24}, {"Region", kindWrap, 24}, {"Source", kindWrap, 26},
		{"Error", kindWrap, 60}, {"What to do", kindWrap, 60}, {"Images it is one reason to hold back", kindInt, 14}, {"Held back (GB)", kindGB, 12},
		{"Images that mending it alone unblocks", kindInt, 16}, {"Unblocked by mending it alone (GB)", kindGB, 16},
		{b.perMonth("Saving it holds back, high"), kindMoney, 19}, {"Without a known price (GB)", kindGB, 15},
	}, len(gaps)+len(repos), false)
	if err != nil {
		return err
	}
	for i := range gaps {
		g := &gaps[i]
		what, saving := "gap", any(g.saving)
		if g.unpriced > 0 && g.unpriced == g.Unblocks.Bytes {
			saving = unpricedText
		}
		if g.Unscanned {
			what = "unscanned account"
		}
		err := s.add(what, g.Account, b.run.account(g.Account).Name, strings.Join(g.Regions, " "), strings.Join(g.Sources, " "), g.Error, remedy(g.Gap),
			g.HoldsBack.Images, gb(g.HoldsBack.Bytes), g.Unblocks.Images, gb(g.Unblocks.Bytes), saving, gb(g.unpriced))
		if err != nil {
			return err
		}
	}
	for _, r := range repos {
		err := s.add("repository read in part", r.Repository.Account, b.run.account(r.Repository.Account).Name, r.Repository.Region, r.Repository.Name,
			strings.Join(r.Errors, "; "), "let the repository be read, then run again", r.Count.Blocked.Images, gb(r.Count.Blocked.Bytes),
			nil, nil, nil, nil) // the figures of what mending it unblocks stand with the gap, to be counted once
		if err != nil {
			return err
		}
	}
	return s.close()
}

func (b *book) broken() error {
	list := b.run.Plan.Broken
	s, err := b.sheet(sheetBroken, []field{
		{"Reference", kindWrap, 80}, {"Live or latent", kindText, 14}, {"Source", kindText, 22}, {"Resource", kindWrap, 90}, {"Account", kindText, 15},
		{"Account name", kindText, 24}, {"Region", kindText, 16}, {"Detail", kindWrap, 40},
	}, len(list), false)
	if err != nil {
		return err
	}
	for i := range list {
		u := &list[i]
		err := s.add(u.Ref.String(), liveness(u), u.Source, u.Resource, u.Account, b.run.account(u.Account).Name, u.Region, u.Detail)
		if err != nil {
			return err
		}
	}
	return s.close()
}

func (b *book) coverage() error {
	list := b.run.Plan.Coverage
	unscanned, notes := b.run.Plan.Unscanned, b.run.Plan.Notes
	s, err := b.sheet(sheetCoverage, []field{
		{"Account", kindText, 15}, {"Account name", kindText, 24}, {"Region", kindText, 16}, {"Source", kindText, 22}, {"Status", kindText, 14},
		{"Error", kindWrap, 90}, {"Since", kindDate, 12},
	}, len(list)+len(unscanned)+len(notes), false)
	if err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		var since any
		if c.Status == image.CoverageFailed {
			t, ok := b.run.Since[Place(*c)]
			if !ok {
				t = b.run.GeneratedAt
			}
			since = t.UTC().Truncate(24 * time.Hour) // the day
		}
		if err := s.add(c.Account, b.run.account(c.Account).Name, c.Region, c.Source, string(c.Status), c.Error, since); err != nil {
			return err
		}
	}
	for i := range unscanned {
		u := &unscanned[i]
		if err := s.add(u.Account, b.run.account(u.Account).Name, "*", "*", "not scanned", u.Why); err != nil {
			return err
		}
	}
	for i := range notes {
		n := &notes[i]
		if err := s.add(n.Account, b.run.account(n.Account).Name, n.Region, n.Source, "note", strings.TrimSpace(n.Resource+" "+n.Text)); err != nil {
			return err
		}
	}
	return s.close()
}
