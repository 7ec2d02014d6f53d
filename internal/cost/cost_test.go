package cost

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

func TestMonthly(t *testing.T) {
	p := List()
	for _, c := range []struct {
		bytes int64
		want  string
	}{
		{0, "0.00"},
		{GB, "0.10"},
		{10 * GB, "1.00"},
		{GB / 2, "0.05"},
		{5368, "0.00"},     // 0.49992 millionths
		{5369, "0.000001"}, // 0.50002
		{GB + 5369, "0.100001"},
		{1 << 50, "104857.60"}, // a petabyte
	} {
		got, ok := p.Monthly("us-east-1", c.bytes)
		if !ok || got.String() != c.want {
			t.Errorf("Monthly(%d) = %s, %t; want %s", c.bytes, got, ok, c.want)
		}
	}
	if m, ok := p.Monthly("mars-north-1", GB); ok || m != 0 {
		t.Errorf("an unknown region costs %s, %t", m, ok)
	}
	if m, ok := p.Monthly("us-east-1", -1); ok || m != 0 {
		t.Errorf("negative bytes cost %s, %t", m, ok)
	}
}

// The result is the exact quotient rounded half up, for any price and size, and never wraps around.
func TestMonthlyIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	half, gb, most := big.NewInt(GB/2), big.NewInt(GB), big.NewInt(math.MaxInt64)
	for range 100_000 {
		price := Money(r.Uint64() >> (1 + r.UintN(63)))
		bytes := int64(r.Uint64() >> (1 + r.UintN(63)))
		got, ok := Prices{PerGBMonth: map[string]Money{"r": price}}.Monthly("r", bytes)
		want := new(big.Int).Mul(big.NewInt(int64(price)), big.NewInt(bytes))
		want.Add(want, half).Div(want, gb)
		if want.Cmp(most) > 0 {
			want = most
		}
		if !ok || big.NewInt(int64(got)).Cmp(want) != 0 {
			t.Fatalf("%d x %d bytes = %d, %t; want %s", price, bytes, got, ok, want)
		}
	}
}

// More bytes never cost less, and parts cost what the whole costs, up to half a millionth each.
func TestMonthlyProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	p := List()
	for range 100_000 {
		a, b := r.Int64N(1<<50), r.Int64N(1<<50)
		ma, _ := p.Monthly("us-east-1", a)
		mb, _ := p.Monthly("us-east-1", b)
		sum, _ := p.Monthly("us-east-1", a+b)
		if sum < ma || sum < mb {
			t.Fatalf("%d bytes cost %d, %d bytes of them %d", a+b, sum, a, ma)
		}
		if d := ma + mb - sum; d < -1 || d > 1 {
			t.Fatalf("%d and %d bytes: parts and whole differ by %d", a, b, d)
		}
	}
}

func TestMoneyText(t *testing.T) {
	for _, c := range []struct {
		m     Money
		text  string
		cents int64
	}{
		{0, "0.00", 0}, {1, "0.000001", 0}, {4_999, "0.004999", 0}, {5_000, "0.005", 1}, {-5_000, "-0.005", 0},
		{-5_001, "-0.005001", -1}, {1_500_000, "1.50", 150}, {-1_230_000, "-1.23", -123},
		{math.MaxInt64, "9223372036854.775807", 922337203685478}, {math.MinInt64, "-9223372036854.775808", -922337203685478},
	} {
		if got := c.m.String(); got != c.text {
			t.Errorf("Money(%d) = %q, want %q", int64(c.m), got, c.text)
		}
		if got := c.m.Cents(); got != c.cents {
			t.Errorf("Money(%d) = %d cents, want %d", int64(c.m), got, c.cents)
		}
	}
}

func TestCurrencyOf(t *testing.T) {
	for region, want := range map[string]string{"us-east-1": "USD", "us-gov-west-1": "USD", "cn-north-1": "CNY", "us-iso-east-1": ""} {
		if got := CurrencyOf(region); got != want {
			t.Errorf("%s: %q, want %q", region, got, want)
		}
	}
}
