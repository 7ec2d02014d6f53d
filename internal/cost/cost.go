// Package cost turns stored bytes into money at list price.
//
// It is pure: it reads no price list and no bill, and knows no clock. It never guesses: bytes in a region whose
// price is not known have no cost, which is not the same as a cost of zero.
package cost

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Money is an amount in millionths (1e-6) of a currency.
type Money int64

const (
	unit = 1_000_000 // of Money in one of the currency
	cent = unit / 100
)

// String is the exact amount in decimals, two at least: "0.10", "12.345678".
func (m Money) String() string {
	sign, u := "", uint64(m)
	if m < 0 {
		sign, u = "-", -uint64(m)
	}
	fraction := strconv.FormatUint(unit+u%unit, 10)[1:]
	fraction = fraction[:2] + strings.TrimRight(fraction[2:], "0")
	return sign + strconv.FormatUint(u/unit, 10) + "." + fraction
}

// Cents rounds half up to hundredths of the currency.
func (m Money) Cents() int64 {
	c, rest := int64(m)/cent, int64(m)%cent
	switch {
	case rest >= cent/2:
		c++
	case rest < -cent/2:
		c--
	}
	return c
}

// Float is the amount in the currency's unit, for spreadsheets. Amounts below 2^53 millionths convert so that the
// shortest decimal of the result is the exact amount.
func (m Money) Float() float64 { return float64(m) / unit }

// GB is what AWS bills storage by, in bytes.
const GB = 1 << 30

// Prices is a dated list of storage prices.
type Prices struct {
	Currency   string    // ISO 4217
	AsOf       time.Time // when the list was read
	Source     string
	PerGBMonth map[string]Money // standard storage, by region
}

// List gives the list prices of ECR's standard storage that were read when this was built. Regions that are
// missing were not read.
func List() Prices {
	return Prices{
		Currency: "USD",
		AsOf:     time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC),
		Source:   "AWS Price List (AmazonECR, standard storage)",
		PerGBMonth: map[string]Money{
			"ap-northeast-1": 100_000,
			"us-east-1":      100_000,
		},
	}
}

// Monthly is what so many bytes cost a month in a region, rounded half up to a millionth of the currency. False
// says that the price is not known. Whoever adds up amounts adds the results: sums of rounded parts agree with each
// other, the price of a sum need not.
func (p Prices) Monthly(region string, bytes int64) (Money, bool) {
	price, ok := p.PerGBMonth[region]
	if !ok || price < 0 || bytes < 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(price), uint64(bytes))
	lo, carry := bits.Add64(lo, GB/2, 0)
	hi += carry
	if hi >= GB/2 { // more than 2^63-1 after the division
		return math.MaxInt64, true
	}
	return Money(hi<<34 | lo>>30), true
}
