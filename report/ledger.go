package report

import (
	"cmp"
	"fmt"
	"time"

	"demurrage/internal/cost"
	"demurrage/internal/image"
)

// ledger is the bill in the currency of the report.
type ledger struct {
	missing     string // why there is none; "" where there is one
	of          *cost.Bill
	month       string // whose bill is allocated: the run's, or the last one before it that is billed
	before      string // the month before it, where it is billed
	provisional bool   // AWS still estimates the month
	storage     cost.Money
	other       cost.Money
	months      map[string]cost.Money            // all that is billed
	accounts    map[string]map[string]cost.Money // by account and month
}

// newLedger reads the bill of a run as of a month.
func newLedger(run *Run, month string) ledger {
	l := ledger{months: map[string]cost.Money{}, accounts: map[string]map[string]cost.Money{}}
	if run.Bill == nil {
		l.missing = cmp.Or(run.BillMissing, "it was not read")
		return l
	}
	if run.Bill.Currency != "" && run.Bill.Currency != run.Prices.Currency {
		l.missing = "it is in " + run.Bill.Currency + ", for which there is no exchange rate"
		return l
	}
	l.of = run.Bill
	for i := range l.of.Lines {
		if m := l.of.Lines[i].Month; m <= month && m > l.month {
			l.month = m
		}
	}
	if l.month == "" {
		l.missing = "it has no line up to " + month
		return l
	}
	previous := monthsBefore(l.month, 1)
	for i := range l.of.Lines {
		line := &l.of.Lines[i]
		l.months[line.Month] += line.Amount
		if l.accounts[line.Account] == nil {
			l.accounts[line.Account] = map[string]cost.Money{}
		}
		l.accounts[line.Account][line.Month] += line.Amount
		switch {
		case line.Month == previous:
			l.before = previous
		case line.Month != l.month:
		case line.Storage:
			l.storage += line.Amount
		default:
			l.other += line.Amount
		}
		if line.Month == l.month && line.Provisional {
			l.provisional = true
		}
	}
	return l
}

// known reports whether there is a bill.
func (l *ledger) known() bool { return l.missing == "" }

func compareRegistries(a, b image.Registry) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
}

// firstOf is the first instant of a month like "2026-10"; zero where the text is none.
func firstOf(month string) time.Time {
	t, _ := time.Parse("2006-01", month)
	return t
}

// monthsBefore is the month that many months before one.
func monthsBefore(month string, n int) string { return cost.Month(firstOf(month).AddDate(0, -n, 0)) }

const trendLength = 13

// lastMonths are the thirteen months up to one, rising.
func lastMonths(month string) []string {
	list := make([]string, trendLength)
	for i := range list {
		list[i] = monthsBefore(month, trendLength-1-i)
	}
	return list
}

// fiscalPeriod names the period of a month: "FY2027 P02" is the second month of the fiscal year that ends in 2027.
func fiscalPeriod(month string, start time.Month) string {
	t := firstOf(month)
	if start < time.January || start > time.December {
		start = time.January
	}
	year, period := t.Year(), int(t.Month()-start)
	if period < 0 {
		period += 12
	} else if start != time.January {
		year++
	}
	return fmt.Sprintf("FY%04d P%02d", year, period+1)
}
