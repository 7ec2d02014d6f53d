package report

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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

func (b *book) perMonth(what string) string { return what + " (" + b.run.Prices.Currency + " a month)" }

func (b *book) accounts() error {
	list := slices.Clone(b.facts.accounts)
	slices.SortFunc(list, func(a, b account) int {
		return cmp.Or(cmp.Compare(b.list, a.list), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	s, err := b.sheet(sheetAccounts, []field{
		{"Account", kindText, 15}, {"Name", kindText, 26}, {"OU", kindText, 18}, {"Cost centre", kindText, 14}, {"Owner", kindText, 18},
		{"Repositories", kindInt, 13}, {"Images", kindInt, 11}, {"Stored (GB)", kindGB, 12}, {b.perMonth("List cost"), kindMoney, 14},
		{"Reclaimable (GB)", kindGB, 13}, {b.perMonth("Saving, upper bound"), kindMoney, 17}, {"Saving share of list cost", kindPercent, 13},
		{"Blocked (GB)", kindGB, 12}, {"Without a known price (GB)", kindGB, 15}, {"Coverage", kindText, 40},
	}, len(list), false)
	if err != nil {
		return err
	}
	for i := range list {
		a := &list[i]
		var share any
		if a.list > 0 {
			share = float64(a.saving) / float64(a.list)
		}
		all := a.count.Total()
		err := s.add(a.ID, a.Name, a.OU, a.costCenter(), a.owner(), a.repositories, all.Images, gb(all.Bytes), money(&a.totals, a.list),
			gb(a.count.Delete.Bytes), money(&a.totals, a.saving), share, gb(a.count.Blocked.Bytes), gb(a.unpriced.Total().Bytes), coverageText(a))
		if err != nil {
			return err
		}
	}
	t, all := &b.facts.total, b.facts.total.count.Total()
	err = s.totals("Total", nil, nil, nil, nil, sum{t.repositories}, sum{all.Images}, sum{gb(all.Bytes)}, sum{t.list},
		sum{gb(t.count.Delete.Bytes)}, sum{t.saving}, nil, sum{gb(t.count.Blocked.Bytes)}, sum{gb(t.unpriced.Total().Bytes)})
	if err != nil {
		return err
	}
	return s.close()
}

func coverageText(a *account) string {
	switch {
	case a.unscanned != "":
		return "not scanned: " + a.unscanned
	case a.coverage.failed > 0:
		return "INCOMPLETE: " + a.coverage.String()
	}
	return "complete: " + a.coverage.String()
}

func (b *book) repositories() error {
	list := make([]*repository, len(b.facts.repositories))
	names := 20
	for i := range list {
		list[i] = &b.facts.repositories[i]
		names = max(names, utf8.RuneCountInString(list[i].Repository.Name)+2)
	}
	slices.SortStableFunc(list, func(a, b *repository) int { // the rest of the order is the plan's
		return cmp.Or(cmp.Compare(b.list, a.list), cmp.Compare(a.Repository.Name, b.Repository.Name))
	})
	s, err := b.sheet(sheetRepositories, []field{
		{"Account", kindText, 15}, {"Account name", kindText, 24}, {"Region", kindText, 16}, {"Repository", kindText, float64(min(names, 60))},
		{"Owner", kindText, 16}, {"Cost centre", kindText, 14}, {"Images", kindInt, 10}, {"Stored (GB)", kindGB, 12},
		{b.perMonth("List cost"), kindMoney, 14}, {"Reclaimable images", kindInt, 13}, {"Reclaimable (GB)", kindGB, 13},
		{b.perMonth("Saving, upper bound"), kindMoney, 17}, {"Blocked (GB)", kindGB, 12}, {"Untagged images", kindInt, 11},
		{"Last push", kindDate, 12}, {"Last pull", kindDate, 12}, {"Rule", kindText, 24},
	}, len(list), true)
	if err != nil {
		return err
	}
	for _, r := range list {
		all := r.count.Total()
		err := s.add(r.Repository.Account, b.run.account(r.Repository.Account).Name, r.Repository.Region, r.Repository.Name, r.owner, r.costCenter,
			all.Images, gb(all.Bytes), money(&r.totals, r.list), r.count.Delete.Images, gb(r.count.Delete.Bytes), money(&r.totals, r.saving),
			gb(r.count.Blocked.Bytes), r.untagged.Images, r.LastPush, r.LastPull, cmp.Or(r.Rule, "(none: kept)"))
		if err != nil {
			return err
		}
	}
	if err := s.table("Repositories"); err != nil {
		return err
	}
	if len(list) == 0 {
		s.row++ // a table has a row at least
	}
	t, all := &b.facts.total, b.facts.total.count.Total()
	err = s.totals("Total", nil, nil, nil, nil, nil, sum{all.Images}, sum{gb(all.Bytes)}, sum{t.list}, sum{t.count.Delete.Images},
		sum{gb(t.count.Delete.Bytes)}, sum{t.saving}, sum{gb(t.count.Blocked.Bytes)}, sum{t.untagged.Images})
	if err != nil {
		return err
	}
	return s.close()
}

// images lists every image that goes, in the order of the plan: there can be too many to sort.
func (b *book) images(open func() (string, io.WriteCloser, error)) (err error) {
	fields := []field{
		{"Account", kindText, 15}, {"Region", kindText, 16}, {"Repository", kindText, 36}, {"Digest", kindText, 74}, {"Tags", kindText, 30},
		{"Pushed", kindDate, 12}, {"Last pulled", kindDate, 12}, {"Size (MB)", kindGB, 12}, {"Rule", kindText, 24}, {"Reason", kindText, 60},
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
		{"What", kindText, 20}, {"Account", kindText, 15}, {"Account name", kindText, 24}, {"Region", kindText, 24}, {"Source", kindText, 26},
		{"Error", kindText, 60}, {"What to do", kindText, 60}, {"Images it is one reason to hold back", kindInt, 14}, {"Held back (GB)", kindGB, 12},
		{"Images that mending it alone unblocks", kindInt, 16}, {"Unblocked by mending it alone (GB)", kindGB, 16},
		{b.perMonth("Saving it holds back, upper bound"), kindMoney, 19}, {"Without a known price (GB)", kindGB, 15},
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
			strings.Join(r.Errors, "; "), "let the repository be read, then run again", r.count.Blocked.Images, gb(r.count.Blocked.Bytes),
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
		{"Reference", kindText, 80}, {"Live or latent", kindText, 14}, {"Source", kindText, 22}, {"Resource", kindText, 90}, {"Account", kindText, 15},
		{"Account name", kindText, 24}, {"Region", kindText, 16}, {"Detail", kindText, 40},
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
		{"Error", kindText, 90},
	}, len(list)+len(unscanned)+len(notes), false)
	if err != nil {
		return err
	}
	for i := range list {
		c := &list[i]
		if err := s.add(c.Account, b.run.account(c.Account).Name, c.Region, c.Source, string(c.Status), c.Error); err != nil {
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
