package report

import (
	"cmp"
	"slices"
)

// costCentre is what belongs to one.
type costCentre struct {
	name     string
	from     []string
	owners   []string
	accounts map[string]bool
	totals
}

const untagged = "(untagged)"

// costCentresOf groups what is at the finest grain, so that an account's repositories may belong to several. What belongs
// to none comes last.
func (b *book) costCentresOf() []*costCentre {
	all := map[string]*costCentre{}
	add := func(of, owner whose, account string, t *totals) {
		c := all[of.name]
		if c == nil {
			c = &costCentre{name: of.name, accounts: map[string]bool{}}
			all[of.name] = c
		}
		for _, v := range []struct {
			list *[]string
			text string
		}{{&c.from, of.from.String()}, {&c.owners, owner.name}} {
			if v.text != "" && !slices.Contains(*v.list, v.text) && len(*v.list) <= mostNames {
				*v.list = append(*v.list, v.text)
			}
		}
		c.accounts[account] = true
		c.add(t)
	}
	for i := range b.facts.repositories {
		r := &b.facts.repositories[i]
		add(r.costCenter, r.owner, r.Repository.Account, r.totals())
	}
	for i := range b.facts.rest {
		r := &b.facts.rest[i]
		add(r.costCenter, r.owner, r.Account, &r.totals)
	}
	list := make([]*costCentre, 0, len(all))
	for _, c := range all {
		list = append(list, c)
	}
	slices.SortFunc(list, func(x, y *costCentre) int {
		if (x.name == "") != (y.name == "") {
			return cmp.Compare(y.name, "") - cmp.Compare(x.name, "")
		}
		return cmp.Or(cmp.Compare(b.weight(&y.sums), b.weight(&x.sums)), cmp.Compare(x.name, y.name))
	})
	return list
}

const mostNames = 3 // of owners in a cell

// some lists names that were collected up to one more than are shown.
func some(names []string) string {
	text := ""
	for i, n := range names {
		if i == mostNames {
			return text + ", …"
		}
		if i > 0 {
			text += ", "
		}
		text += n
	}
	return text
}

func (b *book) costCentres() error {
	list := b.costCentresOf()
	of := "Share of billed"
	if !b.facts.bill.known() {
		of = "Share of list cost"
	}
	s, err := b.sheet(sheetCostCentres, []field{
		{"Cost centre", kindText, 20}, {"Cost centre from", kindText, 22}, {"Owner", kindText, 30}, {"Accounts", kindInt, 10}, {"Repositories", kindInt, 15},
		{titleStored, kindGB, 12}, {b.titleList(), kindMoney, 14}, {b.titleBilled(), kindMoney, 14}, {of, kindPercent, 10},
		{"Change on the month (" + b.facts.currency + ")", kindMoney, 14}, {"Change on the month", kindPercent, 11},
		{b.titleLow(), kindMoney, 14}, {b.titleHigh(), kindMoney, 14},
	}, len(list), false)
	if err != nil {
		return err
	}
	t := &b.facts.total
	for _, c := range list {
		amount, percent := b.change(&c.sums)
		err := s.add(cmp.Or(c.name, untagged), some(c.from), some(c.owners), len(c.accounts), c.repositories, gb(c.stored), money(&c.totals, c.list), b.billed(c.billed),
			shareOf(b.weight(&c.sums), b.weight(&t.sums)), amount, percent, low(&c.totals), money(&c.totals, c.saving))
		if err != nil {
			return err
		}
	}
	amount, percent := b.change(&t.sums)
	if amount != nil {
		amount = sum{amount}
	}
	err = s.totals("Total", nil, nil, nil, sum{t.repositories}, sum{gb(t.stored)}, sum{t.list}, b.sumBilled(t), nil, amount, percent, sumLow(t), sum{t.saving})
	if err != nil {
		return err
	}
	return s.close()
}
