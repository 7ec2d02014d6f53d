// Package cost turns stored bytes into money: it measures what repositories store and what a plan really frees of it,
// prices that, and splits what AWS has billed among them so that the parts add up to the bill.
//
// It is pure: it fetches no price list, bill or manifest, and knows no clock. It never guesses: bytes in a region whose
// price is not known have no cost, which is not the same as a cost of zero.
package cost

import (
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"demurrage/internal/image"
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
	Currency   string            `json:"currency"`        // ISO 4217, of all amounts: that of the list (see CurrencyOf), or of In
	AsOf       time.Time         `json:"as_of"`           // when the list was read
	Source     string            `json:"source"`          // in words
	PerGBMonth map[string]Money  `json:"per_gb_month"`    // standard storage, by region, in the list's currency
	Archive    map[string][]Tier `json:"archive"`         // archive storage, by region, in the list's currency
	Rate       Rate              `json:"rate,omitzero"`   // of the list's currency in Currency; 0: they are the same
	Listed     string            `json:"listed,omitzero"` // the list's currency; "": Currency
}

// Tier is a price for what is stored beyond a number of bytes, up to where the next tier begins.
type Tier struct {
	From       int64 `json:"from"` // 0 of the first
	PerGBMonth Money `json:"per_gb_month"`
}

// CurrencyOf gives the currency that a region's prices are listed and billed in. "" says that it is not known.
//
// https://docs.amazonaws.cn/en_us/aws/latest/userguide/billing-and-payment.html
func CurrencyOf(region string) string {
	switch image.PartitionOf(region).ID {
	case "aws", "aws-us-gov":
		return "USD"
	case "aws-cn":
		return "CNY"
	}
	return ""
}

// List gives ECR's list prices that were read when this was built. Regions that are missing were not read.
func List() Prices {
	return Prices{
		Currency: "USD",
		AsOf:     time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC),
		Source:   "AWS Price List (AmazonECR, standard storage)",
		PerGBMonth: map[string]Money{
			"ap-northeast-1": 100_000,
			"us-east-1":      100_000,
		},
		Archive: map[string][]Tier{
			"ap-northeast-1": {{0, 100_000}, {150 << 40, 70_000}},
		},
	}
}

// Monthly is what so many bytes cost a month in a region, rounded half up to a millionth of the currency. False
// says that the price is not known. Whoever adds up amounts adds the results: sums of rounded parts agree with each
// other, the price of a sum need not. What Money cannot hold is as much as it can.
func (p Prices) Monthly(region string, bytes int64) (Money, bool) {
	price, ok := p.PerGBMonth[region]
	if !ok || price < 0 || bytes < 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(uint64(price), uint64(bytes))
	lo, carry := bits.Add64(lo, GB/2, 0)
	hi += carry
	m := Money(math.MaxInt64)
	if hi < GB/2 { // at most 2^63-1 after the division
		m = Money(hi<<34 | lo>>30)
	}
	return m.Convert(p.Rate), true
}
