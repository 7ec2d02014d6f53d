package cost

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		m    Money
		r    Rate
		want Money
	}{
		{1_000_000, 151_370_000, 151_370_000},
		{123, 1_000_000, 123},
		{123, 0, 123}, // no rate
		{1, 500_000, 1}, {1, 499_999, 0}, {3, 500_000, 2},
		{-1, 500_000, 0}, {-1, 500_001, -1}, {-3, 500_000, -1},
		{math.MaxInt64, 1_000_000, math.MaxInt64}, {math.MaxInt64, 2_000_000, math.MaxInt64}, {math.MaxInt64, math.MaxInt64, math.MaxInt64},
		{math.MinInt64, 1, -9223372036855}, {math.MinInt64, 2_000_000, -math.MaxInt64},
	} {
		if got := c.m.Convert(c.r); got != c.want {
			t.Errorf("%d x %s = %d, want %d", c.m, c.r, got, c.want)
		}
	}
}

// The result is the exact product rounded half up, for any amount and rate.
func TestConvertIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	limit := big.NewInt(math.MaxInt64)
	for range 100_000 {
		m, rate := Money(r.Uint64()>>r.UintN(64)), Rate(1+r.Int64N(math.MaxInt64)>>r.UintN(63))
		if r.IntN(2) == 0 {
			m = -m
		}
		want := new(big.Int).Mul(big.NewInt(int64(m)), big.NewInt(int64(rate)))
		want.Add(want, big.NewInt(500_000))
		want.Div(want, big.NewInt(1_000_000)) // rounds down, for a positive divisor
		if want.CmpAbs(limit) > 0 {
			want.Mul(limit, big.NewInt(int64(want.Sign())))
		}
		if got := m.Convert(rate); big.NewInt(int64(got)).Cmp(want) != 0 {
			t.Fatalf("%d x %d = %d, want %s", m, rate, got, want)
		}
	}
}

// An amount in another currency is the listed one, converted: row by row, whatever is added up.
func TestPricesIn(t *testing.T) {
	list := List()
	yen := list.In("JPY", 151_370_000)
	if list.Converted() || !yen.Converted() || yen.Listed != "USD" || yen.In("USD", 0).Converted() {
		t.Errorf("%+v of %+v", yen, list)
	}
	if list.Currency != "USD" || list.Rate != 0 || yen.Currency != "JPY" || yen.AsOf != list.AsOf || yen.Source != list.Source {
		t.Fatalf("%+v of %+v", yen, list)
	}
	r := rand.New(rand.NewPCG(23, 24))
	for range 1000 {
		bytes := r.Int64N(1 << 50)
		usd, ok := list.Monthly("ap-northeast-1", bytes)
		jpy, ok2 := yen.Monthly("ap-northeast-1", bytes)
		if !ok || !ok2 || jpy != usd.Convert(151_370_000) {
			t.Fatalf("%d bytes: %s USD, %s JPY", bytes, usd, jpy)
		}
		if back, _ := yen.In("USD", 0).Monthly("ap-northeast-1", bytes); back != usd {
			t.Fatalf("%d bytes: %s USD, then %s", bytes, usd, back)
		}
	}
	if m, ok := yen.Monthly("mars-north-1", GB); ok || m != 0 {
		t.Errorf("an unknown region costs %s", m)
	}
}

func TestBillIn(t *testing.T) {
	usd := &Bill{Metric: "UnblendedCost", Currency: "USD", Lines: []BillLine{{Amount: 1, Quantity: 7}, {Amount: -1}, {Amount: 3}}}
	got := usd.In("EUR", 500_000)
	for i, want := range []Money{1, 0, 2} {
		if got.Lines[i].Amount != want {
			t.Errorf("line %d: %d, want %d", i, got.Lines[i].Amount, want)
		}
	}
	if got.Currency != "EUR" || got.Metric != "UnblendedCost" || got.Lines[0].Quantity != 7 {
		t.Errorf("%+v", got)
	}
	if usd.Currency != "USD" || usd.Lines[0].Amount != 1 || usd.Lines[2].Amount != 3 {
		t.Errorf("the bill itself became %+v", usd)
	}
}
