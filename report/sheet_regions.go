package report

import (
	"cmp"
	"slices"

	"demurrage/internal/cost"
)

func (b *book) regions() error {
	type region struct {
		name string
		totals
	}
	all := map[string]*region{}
	at := func(name string) *region {
		if all[name] == nil {
			all[name] = &region{name: name}
		}
		return all[name]
	}
	for i := range b.facts.repositories {
		r := &b.facts.repositories[i]
		at(r.Repository.Region).add(r.totals())
	}
	for i := range b.facts.rest {
		r := &b.facts.rest[i]
		at(r.Region).add(&r.totals)
	}
	list := make([]*region, 0, len(all))
	for _, r := range all {
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y *region) int {
		return cmp.Or(cmp.Compare(b.weight(&y.sums), b.weight(&x.sums)), cmp.Compare(x.name, y.name))
	})
	s, err := b.sheet(sheetRegions, []field{
		{"Region", kindText, 30}, {"Price (" + b.facts.currency + " per GB-month)", kindPrice, 18}, {"Repositories", kindInt, 15}, {titleStored, kindGB, 14},
		{b.titleList(), kindMoney, 16}, {b.titleBilled(), kindMoney, 16}, {"Without a known price (GB)", kindGB, 16},
	}, len(list), false)
	if err != nil {
		return err
	}
	for _, r := range list {
		var price any = unpricedText
		if m, ok := b.run.Prices.Monthly(r.name, cost.GB); ok {
			price = m
		}
		err := s.add(cmp.Or(r.name, "(the bill does not tell)"), price, r.repositories, gb(r.stored), money(&r.totals, r.list), b.billed(r.billed), gb(r.unpriced.Total().Bytes))
		if err != nil {
			return err
		}
	}
	t := &b.facts.total
	if err := s.totals("Total", nil, sum{t.repositories}, sum{gb(t.stored)}, sum{t.list}, b.sumBilled(t), sum{gb(t.unpriced.Total().Bytes)}); err != nil {
		return err
	}
	return s.close()
}
