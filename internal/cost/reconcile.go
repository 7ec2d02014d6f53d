package cost

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"demurrage/internal/image"
)

// Unit is what the figures of a check count.
type Unit string

// The units of checks.
const (
	UnitMoney Unit = "money" // millionths, as Money
	UnitBytes Unit = "bytes"
	UnitCount Unit = "count"
)

// Check is two figures, found in two ways, that have to agree.
type Check struct {
	Name                               string
	Unit                               Unit
	Left, Right, Difference, Tolerance int64 // Difference is Left minus Right
	OK                                 bool  // the difference, either way, is at most the tolerance
}

// Equal checks that two figures are the same.
func Equal[T ~int | ~int64](name string, unit Unit, left, right T) Check {
	return Within(name, unit, left, right, 0)
}

// Within checks that two figures differ by no more than the tolerance, which is not negative.
func Within[T ~int | ~int64](name string, unit Unit, left, right, tolerance T) Check {
	c := Check{Name: name, Unit: unit, Left: int64(left), Right: int64(right), Tolerance: int64(tolerance)}
	c.Difference = c.Left - c.Right
	switch { // a difference of more than 63 bits is as large as can be
	case c.Left >= 0 && c.Right < 0 && c.Difference < 0:
		c.Difference = math.MaxInt64
	case c.Left < 0 && c.Right >= 0 && c.Difference >= 0:
		c.Difference = math.MinInt64
	}
	c.OK = -c.Tolerance <= c.Difference && c.Difference <= c.Tolerance
	return c
}

// QuantityTolerance is how far, in percent of the larger one, billed and stored bytes may be apart. What is billed is
// the average of a month, what is stored is that of one moment: pushes and deletions lie between. It is less than
// the 7 percent between a GB of 2^30 bytes and one of 10^9, so that a bill which counts in the latter is found out.
const QuantityTolerance = 5

// Quantities compares, by account and region, the bytes that were billed in a month with those that are stored, within
// QuantityTolerance. It tells whether layers are counted as AWS counts them.
//
// What cannot be compared is left out: a month that was not over when the bill was read, since its quantity still
// grows; a registry where a repository's layers are not known exactly; one where nothing was scanned.
func (b *Bill) Quantities(month string, scanned []Scanned) []Check {
	start, err := time.Parse("2006-01", month)
	if err != nil || b.AsOf.Before(start.AddDate(0, 1, 0)) {
		return nil
	}
	billed := map[image.Registry]int64{}
	for i := range b.Lines {
		if l := &b.Lines[i]; l.Month == month && l.Storage {
			billed[image.Registry{Account: l.Account, Region: l.Region}] += l.Quantity
		}
	}
	var checks []Check
	for group := range byRegistry(scanned) {
		if slices.ContainsFunc(group, func(i int) bool { return !scanned[i].Stored.Exact }) {
			continue
		}
		at := scanned[group[0]].Repository.Registry
		left, right := billed[at], int64(0)
		for _, i := range group {
			right += scanned[i].Stored.Unique
		}
		name := "billed = stored bytes, " + month + ", " + at.Account + " " + at.Region
		checks = append(checks, Within(name, UnitBytes, left, right, percent(max(left, right), QuantityTolerance)))
	}
	return checks
}

// percent of n, rounded down; of a negative n, 0.
func percent(n int64, p uint64) int64 {
	hi, lo := bits.Mul64(uint64(max(n, 0)), p)
	q, _ := bits.Div64(hi, lo, 100)
	return int64(q)
}
