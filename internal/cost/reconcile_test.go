package cost

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		left, right, tolerance, difference int64
		ok                                 bool
	}{
		{0, 0, 0, 0, true},
		{5, 4, 0, 1, false},
		{5, 4, 1, 1, true},
		{4, 6, 1, -2, false},
		{4, 6, 2, -2, true},
		{math.MaxInt64, -1, math.MaxInt64 - 1, math.MaxInt64, false},
		{math.MinInt64, 1, math.MaxInt64, math.MinInt64, false},
		{0, math.MinInt64, 5, math.MaxInt64, false},
		{math.MinInt64, 0, math.MaxInt64, math.MinInt64, false},
		{math.MinInt64, math.MinInt64, 0, 0, true},
	} {
		got := Within("n", UnitCount, c.left, c.right, c.tolerance)
		want := Check{Name: "n", Unit: UnitCount, Left: c.left, Right: c.right, Difference: c.difference, Tolerance: c.tolerance, OK: c.ok}
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if c := Equal("n", UnitMoney, Money(3), Money(4)); c.OK || c.Difference != -1 || c.Tolerance != 0 {
		t.Errorf("%+v", c)
	}
}

func TestQuantities(t *testing.T) {
	b := &Bill{AsOf: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Lines: []BillLine{
		{Month: "2026-09", Account: "1", Region: "r", Storage: true, Quantity: 999},
		{Month: "2026-10", Account: "1", Region: "r", Storage: true, Quantity: 60},
		{Month: "2026-10", Account: "1", Region: "r", Storage: true, Quantity: 40},
		{Month: "2026-10", Account: "1", Region: "r", Quantity: 999}, // transfer
		{Month: "2026-10", Account: "2", Region: "r", Storage: true, Quantity: 94},
		{Month: "2026-10", Account: "3", Region: "r", Storage: true, Quantity: 5},
		{Month: "2026-10", Account: "not scanned", Region: "r", Storage: true, Quantity: 5},
	}}
	scanned := []Scanned{
		{repository("4", "r", "a"), Stored{Exact: true, Unique: 1000}},
		{repository("2", "r", "a"), Stored{Exact: true, Unique: 100}},
		{repository("1", "r", "b"), Stored{Exact: true, Unique: 55}},
		{repository("3", "r", "a"), Stored{Exact: true, Unique: 3}},
		{repository("3", "r", "b"), Stored{Unique: 3}},
		{repository("1", "r", "a"), Stored{Exact: true, Unique: 50}},
	}
	want := []Check{
		{"billed = stored bytes, 2026-10, 1 r", UnitBytes, 100, 105, -5, 5, true},
		{"billed = stored bytes, 2026-10, 2 r", UnitBytes, 94, 100, -6, 5, false},
		{"billed = stored bytes, 2026-10, 4 r", UnitBytes, 0, 1000, -1000, 50, false},
	}
	if got := b.Quantities("2026-10", scanned); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	b.AsOf = b.AsOf.Add(-time.Second)
	if got := b.Quantities("2026-10", scanned); got != nil {
		t.Errorf("a month that is not over: %+v", got)
	}
	if got := b.Quantities("October", scanned); got != nil {
		t.Errorf("no month: %+v", got)
	}
}

// A bill that counts in GB of 10^9 bytes is found out, whichever way it was read.
func TestQuantitiesTellTheUnit(t *testing.T) {
	const stored = 123 << 30
	for _, quantity := range []int64{stored / GB * 1_000_000_000, stored / 1_000_000_000 * GB} {
		b := &Bill{AsOf: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Lines: []BillLine{{Month: "2026-10", Account: "1", Storage: true, Quantity: quantity}}}
		got := b.Quantities("2026-10", []Scanned{{repository("1", "", "a"), Stored{Exact: true, Unique: stored}}})
		if len(got) != 1 || got[0].OK {
			t.Errorf("%d: %+v", quantity, got)
		}
	}
}
