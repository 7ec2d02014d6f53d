package cost

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"demurrage/internal/image"
)

func repository(account, region, name string) image.Repository {
	return image.Repository{Registry: image.Registry{Account: account, Region: region}, Name: name}
}

func TestBillAllocate(t *testing.T) {
	b := &Bill{Currency: "USD", Lines: []BillLine{
		{Month: "2026-09", Account: "1", Region: "r", Storage: true, Amount: 500},
		{Month: "2026-10", Account: "1", Region: "r", UsageType: "TimedStorage", Storage: true, Amount: 100},
		{Month: "2026-10", Account: "1", Region: "r", UsageType: "TimedStorage-Archive", Storage: true, Amount: 1},
		{Month: "2026-10", Account: "1", Region: "r", UsageType: "DataTransfer-Out", Amount: 7},
		{Month: "2026-10", Account: "1", Region: "empty", Storage: true, Amount: 3},
		{Month: "2026-10", Account: "1", Region: "", Storage: true, Amount: 2, Provisional: true},
		{Month: "2026-10", Account: "2", Region: "r", Storage: true, Amount: 40},
		{Month: "2026-10", Account: "2", Region: "r", Amount: -4},
		{Month: "2026-10", Account: "3", Region: "r", Storage: true, Amount: 6},
		{Month: "2026-10", Account: "3", Region: "r", Storage: true, Amount: -6},
		{Month: "2026-10", Account: "4", Region: "r", Storage: true, Amount: -9},
	}}
	scanned := []Scanned{
		{repository("4", "r", "b"), Stored{Unique: 5}},
		{repository("1", "r", "b"), Stored{Unique: 1}},
		{repository("1", "empty", "a"), Stored{}},
		{repository("1", "r", "a"), Stored{Unique: 1}},
		{repository("5", "r", "a"), Stored{Unique: 1}},
		{repository("4", "r", "a"), Stored{Unique: 5}},
	}
	a := b.Allocate("2026-10", scanned)
	if want := []Money{-4, 50, 0, 51, 0, -5}; !slices.Equal(a.Billed, want) {
		t.Errorf("billed %d, want %d", a.Billed, want)
	}
	want := []Rest{
		{image.Registry{Account: "1", Region: ""}, NotScanned, 2},
		{image.Registry{Account: "1", Region: "empty"}, NotScanned, 3},
		{image.Registry{Account: "1", Region: "r"}, NotStorage, 7},
		{image.Registry{Account: "2", Region: "r"}, NotScanned, 40},
		{image.Registry{Account: "2", Region: "r"}, NotStorage, -4},
	}
	if !slices.Equal(a.Rest, want) {
		t.Errorf("rest %+v, want %+v", a.Rest, want)
	}
	if a.Month != "2026-10" || a.Currency != "USD" || a.Lines != 10 || !a.Provisional || a.Total != 140 {
		t.Errorf("%+v", a)
	}
	if c := checked(a, b); !c.OK || c.Left != 140 || c.Right != 140 || c.Difference != 0 || c.Unit != UnitMoney {
		t.Errorf("%+v", c)
	}
	a.Billed[1]++
	if c := checked(a, b); c.OK || c.Difference != 1 {
		t.Errorf("a millionth more: %+v", c)
	}
	a.Billed[1]--
	a.Rest = a.Rest[1:]
	if c := checked(a, b); c.OK || c.Difference != -2 {
		t.Errorf("a row less: %+v", c)
	}
	if a := b.Allocate("2026-11", scanned); a.Lines != 0 || a.Total != 0 || len(a.Rest) != 0 || len(a.Billed) != len(scanned) {
		t.Errorf("a month that is not billed: %+v", a)
	}
}

func billed(r *rand.Rand) (*Bill, []Scanned) {
	accounts, regions := 1+r.IntN(5), []string{"", "ap-northeast-1", "us-east-1", "sa-east-1"}
	b := &Bill{Currency: "USD"}
	for range r.IntN(60) {
		b.Lines = append(b.Lines, BillLine{
			Month: fmt.Sprintf("2026-%02d", 9+r.IntN(3)), Account: fmt.Sprint(r.IntN(accounts)), Region: regions[r.IntN(len(regions))],
			Storage: r.IntN(3) > 0, Amount: Money(r.Int64N(1<<40)>>r.UintN(40)) - Money(r.Int64N(1<<30)>>r.UintN(30)),
		})
	}
	var scanned []Scanned
	for i := range r.IntN(80) {
		unique := int64(0)
		switch r.IntN(4) {
		case 0:
		case 1:
			unique = 1 << 30 // as others
		default:
			unique = r.Int64N(1 << 44)
		}
		scanned = append(scanned, Scanned{
			repository(fmt.Sprint(r.IntN(accounts+1)), regions[1+r.IntN(3)], fmt.Sprintf("app-%02d", i)), Stored{Exact: true, Unique: unique},
		})
	}
	r.Shuffle(len(scanned), func(i, j int) { scanned[i], scanned[j] = scanned[j], scanned[i] })
	return b, scanned
}

func TestBillAllocateProperties(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 17))
		b, scanned := billed(r)
		if r.IntN(2) == 0 {
			b = b.In("JPY", Rate(1+r.Int64N(1_000_000_000)))
		}
		a := b.Allocate("2026-10", scanned)

		// What each account and region is billed is on its repositories and rows, to the millionth.
		open := map[image.Registry]Money{}
		var total Money
		for _, l := range b.Lines {
			if l.Month == "2026-10" {
				open[image.Registry{Account: l.Account, Region: l.Region}] += l.Amount
				total += l.Amount
			}
		}
		for i, m := range a.Billed {
			open[scanned[i].Repository.Registry] -= m
			if scanned[i].Stored.Unique == 0 && m != 0 {
				t.Fatalf("seed %d: an empty repository is billed %d", seed, m)
			}
		}
		for _, rest := range a.Rest {
			open[rest.Registry] -= rest.Amount
		}
		for at, m := range open {
			if m != 0 {
				t.Fatalf("seed %d: %d is lost of %v", seed, m, at)
			}
		}
		if c := checked(a, b); a.Total != total || !c.OK || c.Right != int64(total) {
			t.Fatalf("seed %d: %d, %+v; want %d", seed, a.Total, c, total)
		}

		// In any order each repository is billed the same.
		was := map[image.Repository]Money{}
		for i, m := range a.Billed {
			was[scanned[i].Repository] = m
		}
		r.Shuffle(len(scanned), func(i, j int) { scanned[i], scanned[j] = scanned[j], scanned[i] })
		r.Shuffle(len(b.Lines), func(i, j int) { b.Lines[i], b.Lines[j] = b.Lines[j], b.Lines[i] })
		again := b.Allocate("2026-10", scanned)
		for i, m := range again.Billed {
			if of := scanned[i].Repository; m != was[of] {
				t.Fatalf("seed %d: %v is billed %d or %d", seed, of, m, was[of])
			}
		}
		if !slices.Equal(again.Rest, a.Rest) {
			t.Fatalf("seed %d: %+v or %+v", seed, again.Rest, a.Rest)
		}
	}
}

func BenchmarkBillAllocate(b *testing.B) {
	r := rand.New(rand.NewPCG(18, 19))
	bill := &Bill{}
	var scanned []Scanned
	for i := range 500 {
		account := fmt.Sprintf("%012d", i)
		for _, region := range []string{"ap-northeast-1", "us-east-1"} {
			bill.Lines = append(bill.Lines, BillLine{Month: "2026-10", Account: account, Region: region, Storage: true, Amount: Money(r.Int64N(1 << 40))})
			for j := range 500 {
				scanned = append(scanned, Scanned{repository(account, region, fmt.Sprintf("team/app-%03d", j)), Stored{Unique: r.Int64N(1 << 40)}})
			}
		}
	}
	for name, shuffled := range map[string]bool{"sorted": false, "shuffled": true} {
		b.Run(name, func(b *testing.B) {
			s := slices.Clone(scanned)
			if shuffled {
				r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
			}
			b.ReportAllocs()
			for b.Loop() {
				bill.Allocate("2026-10", s)
			}
		})
	}
}

// checked compares what was allocated, repositories and rest, with the lines of the bill that it was allocated from.
func checked(a *Allocation, b *Bill) Check {
	var allocated, billed Money
	for _, m := range a.Billed {
		allocated += m
	}
	for i := range a.Rest {
		allocated += a.Rest[i].Amount
	}
	for i := range b.Lines {
		if b.Lines[i].Month == a.Month {
			billed += b.Lines[i].Amount
		}
	}
	return Equal("allocated = billed, "+a.Month, UnitMoney, allocated, billed)
}
