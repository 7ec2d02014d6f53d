package report

import (
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"demurrage/internal/cost"
	"demurrage/planner"
)

// figures writes numbers for people. The currency is the price list's.
type figures struct{ currency string }

// money is an amount to the cent, with its currency.
func (f figures) money(m cost.Money) string {
	cents := m.Cents()
	sign := ""
	if cents < 0 {
		sign, cents = "-", -cents
	}
	s := humanize.Comma(cents/100) + "." + strconv.FormatInt(100+cents%100, 10)[1:]
	if f.currency == "USD" {
		return sign + "$" + s
	}
	return sign + s + " " + f.currency
}

// atMost is an amount that is an upper bound.
func (f figures) atMost(m cost.Money) string {
	if m > 0 && m.Cents() == 0 {
		return "< " + f.money(cost.Money(10_000))
	}
	return "≤ " + f.money(m)
}

// saving is what deleting so much would save at most, as far as prices are known; "" if there is nothing to save.
func (f figures) saving(m cost.Money, bytes, unpriced int64) string {
	switch {
	case bytes == 0:
		return ""
	case unpriced == bytes:
		return "no known price"
	case unpriced > 0:
		return f.atMost(m) + " a month and " + size(unpriced) + " without a known price"
	}
	return f.atMost(m) + " a month"
}

// priceNote says where the prices are from.
func priceNote(p cost.Prices) string {
	return p.Source + ", " + p.AsOf.Format("2006-01")
}

const upperBound = "upper bound: list price × image sizes; shared layers are counted more than once"

func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

func number(n int) string { return humanize.Comma(int64(n)) }

// images writes a tally: "12 images, 3.4 GiB".
func images(t planner.Tally) string { return count(t.Images, "image") + ", " + size(t.Bytes) }

// count writes a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "y") {
		return number(n) + " " + strings.TrimSuffix(noun, "y") + "ies"
	}
	return number(n) + " " + noun + "s"
}

// date writes a day in UTC, "" for no time.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}
