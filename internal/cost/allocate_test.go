package cost

import (
	"cmp"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAllocate(t *testing.T) {
	for _, c := range []struct {
		name    string
		total   Money
		weights []int64
		want    []Money
		rest    Money
	}{
		{"nobody", 5, nil, nil, 5},
		{"nobody stores anything", -5, []int64{0, 0}, []Money{0, 0}, -5},
		{"a negative weight is none", 5, []int64{-3, 0}, []Money{0, 0}, 5},
		{"nothing", 0, []int64{1, 2}, []Money{0, 0}, 0},
		{"one", 7, []int64{3}, []Money{7}, 0},
		{"even", 9, []int64{1, 1, 1}, []Money{3, 3, 3}, 0},
		{"equal ones in order", 8, []int64{1, 1, 1}, []Money{3, 3, 2}, 0},
		{"a refund in the same order", -8, []int64{1, 1, 1}, []Money{-3, -3, -2}, 0},
		{"the largest remainder", 10, []int64{25, 35, 40}, []Money{2, 4, 4}, 0}, // 2.5, 3.5, 4
		{"of equal remainders the heavier", 1, []int64{1, 1, 2}, []Money{0, 0, 1}, 0},
		{"and of those too", 3, []int64{1, 3}, []Money{1, 2}, 0}, // 0.75, 2.25
		{"nothing for nothing", 3, []int64{0, 5, -1, 5, 0}, []Money{0, 2, 0, 1, 0}, 0},
		{"less than there are", 2, []int64{1, 1, 1, 1}, []Money{1, 1, 0, 0}, 0},
		{"the most", math.MaxInt64, []int64{math.MaxInt64}, []Money{math.MaxInt64}, 0},
		{"the least", math.MinInt64, []int64{math.MaxInt64}, []Money{math.MinInt64}, 0},
		{"weights beyond 64 bits", math.MaxInt64, []int64{math.MaxInt64, math.MaxInt64, math.MaxInt64}, []Money{3074457345618258603, 3074457345618258602, 3074457345618258602}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, rest := Allocate(c.total, c.weights)
			if !slices.Equal(got, c.want) || rest != c.rest {
				t.Errorf("%d and %d left, want %d and %d", got, rest, c.want, c.rest)
			}
		})
	}
}

func weights(r *rand.Rand) []int64 {
	w := make([]int64, r.IntN(40))
	most := int64(1) << r.UintN(62) // where it is small, many are equal
	for i := range w {
		switch r.IntN(8) {
		case 0:
		case 1:
			w[i] = -r.Int64N(100)
		case 2:
			w[i] = w[r.IntN(i+1)]
		default:
			w[i] = r.Int64N(most)
		}
	}
	return w
}

func TestAllocateProperties(t *testing.T) {
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 11))
		w := weights(r)
		total := Money(r.Uint64() >> r.UintN(64))
		got, rest := Allocate(total, w)

		all := big.NewInt(0)
		for _, x := range w {
			all.Add(all, big.NewInt(max(x, 0)))
		}
		left := total - rest
		for i, share := range got {
			left -= share
			if w[i] <= 0 && share != 0 {
				t.Fatalf("seed %d: %d for a weight of %d", seed, share, w[i])
			}
			if !all.IsUint64() || all.Sign() == 0 || w[i] <= 0 {
				continue
			}
			// Each share is the exact one, rounded down or up: less than one away.
			d := new(big.Int).Mul(big.NewInt(int64(total)), big.NewInt(w[i]))
			d.Sub(d, new(big.Int).Mul(big.NewInt(int64(share)), all))
			if d.CmpAbs(all) >= 0 {
				t.Fatalf("seed %d: %d of %d for %d of %d", seed, share, total, w[i], all)
			}
			for j := range got { // and nobody gets less than who weighs less
				if a, b := share, got[j]; w[i] > w[j] && w[j] >= 0 && (total > 0 && a < b || total < 0 && a > b) {
					t.Fatalf("seed %d: %d for %d, %d for %d", seed, a, w[i], b, w[j])
				}
			}
		}
		for i := range got { // of equal ones, the earlier get more
			for j := range i {
				if d := got[j] - got[i]; w[i] == w[j] && (total >= 0 && (d < 0 || d > 1) || total < 0 && (d > 0 || d < -1)) {
					t.Fatalf("seed %d: %d, then %d for the same", seed, got[j], got[i])
				}
			}
		}
		if left != 0 {
			t.Fatalf("seed %d: %d of %d is lost", seed, left, total)
		}
		if want := total; all.Sign() == 0 && rest != want || all.Sign() > 0 && rest != 0 {
			t.Fatalf("seed %d: %d is left of %d, weights %d", seed, rest, total, all)
		}

		if total != math.MinInt64 {
			back, backRest := Allocate(-total, w)
			for i := range back {
				if back[i] != -got[i] {
					t.Fatalf("seed %d: %d is refunded of %d", seed, back[i], got[i])
				}
			}
			if backRest != -rest {
				t.Fatalf("seed %d: %d is left of a refund, %d of the charge", seed, backRest, rest)
			}
		}

		// In any order each weight gets the same shares, and in the order of their keys each item does.
		order := r.Perm(len(w))
		mixed := make([]int64, len(w))
		for i, from := range order {
			mixed[i] = w[from]
		}
		shares, _ := Allocate(total, mixed)
		type item struct {
			weight int64
			share  Money
		}
		var was, is []item
		for i := range w {
			was, is = append(was, item{w[i], got[i]}), append(is, item{mixed[i], shares[i]})
		}
		compare := func(a, b item) int { return cmp.Or(cmp.Compare(a.weight, b.weight), cmp.Compare(a.share, b.share)) }
		slices.SortFunc(was, compare)
		slices.SortFunc(is, compare)
		if !slices.Equal(was, is) {
			t.Fatalf("seed %d: shares depend on the order: %v and %v", seed, was, is)
		}
	}
}

func BenchmarkAllocate(b *testing.B) {
	r := rand.New(rand.NewPCG(12, 13))
	w := make([]int64, 500_000)
	for i := range w {
		w[i] = r.Int64N(1 << 40)
	}
	b.ReportAllocs()
	for b.Loop() {
		Allocate(123_456_789_012_345, w)
	}
}
