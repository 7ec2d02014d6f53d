package report

import (
	"maps"
	"slices"

	"demurrage/internal/cost"
)

// checks compares what the sheets add up to with each other, with the bill and with the plan.
func (b *book) checks() []cost.Check {
	f, t := b.facts, &b.facts.total
	currency := " (" + f.currency + ")"
	var list []cost.Check
	same := func(what, title string, unit cost.Unit, right int64, of string, sheets ...string) {
		for _, sheet := range sheets {
			list = append(list, cost.Equal(what+": sheet "+sheet+" = "+of, unit, b.sums[sheet][title], right))
		}
	}
	if f.bill.known() {
		bill := int64(f.bill.storage + f.bill.other)
		same("Billed"+currency, b.titleBilled(), cost.UnitMoney, bill, "the bill", sheetCostCentres, sheetAccounts, sheetRegions)
		same("Billed"+currency, b.billTitle("Billed, allocated"), cost.UnitMoney, bill, "the bill", sheetRepositories)
		list = append(list, cost.Equal("Billed"+currency+": sheet "+sheetSummary+" = the bill", cost.UnitMoney, b.sums[sheetSummary]["billed"], bill))
		var allocated, beside, other cost.Money
		for i := range f.repositories {
			allocated += f.repositories[i].billed
		}
		for i := range f.rest {
			if f.rest[i].name == cost.NotStorage {
				other += f.rest[i].billed
			} else {
				beside += f.rest[i].billed
			}
		}
		list = append(list,
			cost.Equal("Storage"+currency+": allocated to repositories and "+cost.NotScanned+" = the bill's storage", cost.UnitMoney, int64(allocated+beside), int64(f.bill.storage)),
			cost.Equal("Transfer and others"+currency+": rows "+cost.NotStorage+" = the bill's other lines", cost.UnitMoney, int64(other), int64(f.bill.other)))
		list = append(list, f.bill.of.Quantities(f.bill.month, f.scanned())...)
	}
	perMonth := " (" + f.currency + " a month)"
	same("List cost"+perMonth, b.titleList(), cost.UnitMoney, int64(t.list), "the facts", sheetCostCentres, sheetAccounts, sheetRegions, sheetRepositories)
	same("Saving, low"+perMonth, b.titleLow(), cost.UnitMoney, int64(t.low), "the facts", sheetCostCentres, sheetAccounts, sheetRepositories)
	same("Saving, high"+perMonth, b.titleHigh(), cost.UnitMoney, int64(t.saving), "the facts", sheetCostCentres, sheetAccounts, sheetRepositories)
	same("Stored (GB)", titleStored, cost.UnitBytes, t.stored, "the facts", sheetCostCentres, sheetAccounts, sheetRegions, sheetRepositories)

	scanned, failed, unscanned, organization := b.organization()
	p := b.run.Plan.Count.Delete
	return append(list,
		cost.Equal("Accounts: scanned ("+number(scanned)+"), failed in part or whole ("+number(failed)+") and not scanned ("+number(unscanned)+") = the organization", cost.UnitCount, int64(scanned+failed+unscanned), int64(organization)),
		cost.Equal("Images to delete: rows and overflow = the plan", cost.UnitCount, int64(b.listed.Images), int64(p.Images)),
		cost.Equal("Images to delete (GB): rows and overflow = the plan", cost.UnitBytes, b.listed.Bytes, p.Bytes),
		cost.Equal("Images to delete: sheet "+sheetRepositories+" = the plan", cost.UnitCount, b.sums[sheetRepositories]["Reclaimable images"], int64(p.Images)),
	)
}

// organization counts the accounts that were read in full, those that were not, those that were not scanned, and those that
// there are.
func (b *book) organization() (scanned, failed, unscanned, all int) {
	for i := range b.facts.accounts {
		switch a := &b.facts.accounts[i]; {
		case a.ID == "*": // of several accounts: belongs to none
		case a.unscanned != "":
			unscanned++
		case a.coverage.failed > 0:
			failed++
		case a.coverage.total() > 0:
			scanned++
		}
	}
	known := maps.Clone(b.run.Accounts)
	if known == nil {
		known = map[string]Account{}
	}
	for _, u := range b.run.Plan.Unscanned {
		known[u.Account] = Account{}
	}
	return scanned, failed, unscanned, len(known)
}

func (b *book) reconciliation() error {
	list := b.checks()
	s, err := b.sheet(sheetReconciliation, []field{
		{"Check", kindText, 84}, {"Left", kindText, 18}, {"Right", kindText, 18}, {"Difference", kindText, 16}, {"Tolerance", kindText, 12}, {"Result", kindText, 12},
	}, len(list), false)
	if err != nil {
		return err
	}
	for _, c := range list {
		value := func(n int64) styled {
			switch c.Unit {
			case cost.UnitMoney:
				return styled{kindMoney, cost.Money(n)}
			case cost.UnitBytes:
				return styled{kindGB, gb(n)}
			default:
				return styled{kindInt, int(n)}
			}
		}
		result := styled{kindOK, "OK"}
		if !c.OK {
			result = styled{kindDiffers, "DIFFERS"}
		}
		if err := s.add(c.Name, value(c.Left), value(c.Right), value(c.Difference), value(c.Tolerance), result); err != nil {
			return err
		}
	}
	return s.close()
}

// differs are the checks that fail.
func (b *book) differs() int {
	return len(slices.DeleteFunc(b.checks(), func(c cost.Check) bool { return c.OK }))
}
