package cost

import (
	"cmp"
	"math/bits"
	"slices"
)

// Allocate splits an amount in proportion to weights, so that the shares add up to it exactly: each share is rounded
// down, and those with the largest remainders get a millionth more (largest remainder, Hamilton's method). Of equal
// remainders the larger weight comes first, then the earlier place: whoever puts equal items into an order of their
// own, by name say, gets the same shares whatever order they came in.
//
// A negative amount (a credit, a refund) is split as the positive one is. A weight that is not positive gets nothing.
// Where none is, nothing is allocated and the amount is handed back as the rest; otherwise the rest is 0.
func Allocate(total Money, weights []int64) (shares []Money, rest Money) {
	shares = make([]Money, len(weights))
	sum, shift := sumOf(weights)
	if sum == 0 {
		return shares, total
	}
	amount := uint64(total)
	if total < 0 {
		amount = -amount
	}
	type remainder struct {
		of     uint64
		weight int64
		at     int
	}
	remainders := make([]remainder, 0, len(weights))
	left := amount
	for i, w := range weights {
		if w <= 0 {
			continue
		}
		hi, lo := bits.Mul64(amount, uint64(w)>>shift)
		share, r := bits.Div64(hi, lo, sum) // the share is at most the amount, so that the division cannot overflow
		shares[i] = Money(share)
		left -= share
		if r > 0 {
			remainders = append(remainders, remainder{r, w, i})
		}
	}
	if left > 0 {
		slices.SortFunc(remainders, func(a, b remainder) int {
			return cmp.Or(cmp.Compare(b.of, a.of), cmp.Compare(b.weight, a.weight), cmp.Compare(a.at, b.at))
		})
		for _, r := range remainders[:left] { // the remainders add up to left times the sum, and each is less than the sum
			shares[r.at]++
		}
	}
	if total < 0 {
		for i := range shares {
			shares[i] = -shares[i]
		}
	}
	return shares, 0
}

// sumOf adds up the positive weights. Where they exceed 64 bits, their last bits are left out: as many as shift says.
func sumOf(weights []int64) (sum uint64, shift int) {
	var hi uint64
	for _, w := range weights {
		if w > 0 {
			var carry uint64
			sum, carry = bits.Add64(sum, uint64(w), 0)
			hi += carry
		}
	}
	if hi == 0 {
		return sum, 0
	}
	shift, sum = bits.Len64(hi), 0
	for _, w := range weights {
		if w > 0 {
			sum += uint64(w) >> shift
		}
	}
	return sum, shift
}
