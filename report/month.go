package report

import "demurrage/internal/image"

// MonthOf is what is to be remembered of a run for the reports of later months.
func MonthOf(run *Run) Month {
	f := newFacts(run)
	m := Month{Month: f.month, RunID: run.ID, At: run.GeneratedAt.UTC(), Complete: run.Plan.Complete, Currency: f.currency, Accounts: map[string]MonthSum{}}
	for i := range f.accounts {
		if a := &f.accounts[i]; a.repositories > 0 {
			m.Accounts[a.ID] = MonthSum{Stored: a.stored, Images: a.count.Total().Images, List: a.list, Low: a.low, High: a.saving}
		}
	}
	for _, c := range run.Plan.Coverage {
		if c.Status == image.CoverageFailed {
			m.Failed = append(m.Failed, Place(c))
		}
	}
	return m
}

// Place names a source of a target, as Month remembers those that failed.
func Place(c image.Coverage) string { return c.Account + "/" + c.Region + "/" + c.Source }
