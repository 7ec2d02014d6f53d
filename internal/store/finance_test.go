package store

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"demurrage/internal/cost"
)

func TestFinance(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		st := s.open(t)
		id := NewID(time.Now())
		if _, err := st.LoadFinance(t.Context(), id); !IsNotExist(err) {
			t.Errorf("of a run that has none: %v", err)
		}
		want := Finance{At: time.Date(2026, 11, 1, 2, 3, 4, 0, time.UTC), Prices: cost.List(), Missing: "why",
			Bill: &cost.Bill{Metric: "UnblendedCost", Currency: "USD", Lines: []cost.BillLine{{Month: "2026-10", Account: "111111111111", UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: 12_345_678, Quantity: 1 << 40}}}}
		if err := st.SaveFinance(t.Context(), id, want); err != nil {
			t.Fatal(err)
		}
		got, err := st.LoadFinance(t.Context(), id)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
		if err := st.SaveFinance(t.Context(), "../x", want); err == nil {
			t.Error("stored outside")
		}
	})
}

func TestHistory(t *testing.T) {
	everywhere(t, func(t *testing.T, s site) {
		st := s.open(t)
		for raw, err := range st.History(t.Context()) {
			t.Errorf("of an empty store: %s %v", raw, err)
		}
		for _, day := range []int{3, 1, 2} {
			id := NewID(time.Date(2026, 11, day, 0, 0, 0, 0, time.UTC))
			if err := st.SaveHistory(t.Context(), id, map[string]int{"day": day}); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for raw, err := range st.History(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(raw))
		}
		if len(got) != 3 || got[0] > got[1] || got[1] > got[2] {
			t.Errorf("%q", got)
		}
	})
}
