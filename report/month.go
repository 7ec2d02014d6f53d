package report

// MonthOf is what is to be remembered of a run for the reports of later months.
func MonthOf(run *Run) Month {
	f := newFacts(run)
	m := Month{Month: f.month, RunID: run.ID, At: run.GeneratedAt.UTC(), Complete: run.Plan.Complete, Currency: f.currency, Accounts: map[string]MonthSum{}}
	for i := range f.accounts {
		if a := &f.accounts[i]; a.repositories > 0 {
			m.Accounts[a.ID] = MonthSum{Stored: a.stored, Images: a.count.Total().Images, List: a.list, Low: a.low, High: a.saving}
		}
	}
	return m
}
