package cost

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Rate is an exchange rate in millionths: how much of one currency a unit of another is. It is never negative; 0 says that
// there is none, and converts nothing.
type Rate int64

// String is the exact rate in decimals.
func (r Rate) String() string { return Money(r).String() }

// Convert gives an amount in another currency, rounded half up to a millionth (of a negative amount: towards zero, as
// Cents does). What Money cannot hold is as much as it can.
//
// Convert single amounts, at the grain of a report, and add up the results: sums of converted amounts agree with each
// other, the conversion of a sum need not.
func (m Money) Convert(r Rate) Money {
	if r == 0 {
		return m
	}
	u, half := uint64(m), uint64(unit/2)
	if m < 0 {
		u, half = -u, unit/2-1
	}
	hi, lo := bits.Mul64(u, uint64(r))
	lo, carry := bits.Add64(lo, half, 0)
	hi += carry
	q := uint64(math.MaxInt64)
	if hi < unit/2 { // the quotient is less than 2^63
		q, _ = bits.Div64(hi, lo, unit)
	}
	if m < 0 {
		return -Money(q)
	}
	return Money(q)
}

// In gives the prices with amounts in another currency: each is what the list says, converted. The rate is of the list's
// currency, whatever the amounts were in before.
func (p Prices) In(currency string, r Rate) Prices {
	p.Listed = cmp.Or(p.Listed, p.Currency)
	p.Currency, p.Rate = currency, r
	return p
}

// Converted reports whether amounts are in another currency than the list's.
func (p Prices) Converted() bool { return p.Listed != "" && p.Listed != p.Currency }

// In gives the bill in another currency. Each line is converted, so that what is allocated from it adds up to it.
func (b *Bill) In(currency string, r Rate) *Bill {
	in := *b
	in.Currency, in.Lines = currency, slices.Clone(b.Lines)
	for i := range in.Lines {
		in.Lines[i].Amount = in.Lines[i].Amount.Convert(r)
	}
	return &in
}
