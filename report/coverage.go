package report

import "io"

// Coverage writes what a run looked at and what it could not look at, without the plan.
func Coverage(w io.Writer, run *Run, opts TermOptions) error {
	f := newFacts(run)
	t := newTerminal(w, opts, run)
	t.gaps(f)
	t.attestations()
	rows := grid{first: "ACCOUNT", columns: []column{{"REPOSITORIES", 2}, {"IMAGES", 1}, {"READ", 0}, {"NOT THERE", 4}, {"ATTESTED", 3}, {"FAILED", 0}}}
	for i := range f.accounts {
		a := &f.accounts[i]
		if a.coverage.total() == 0 {
			continue
		}
		rows.add(named(a.Account), number(a.repositories), number(a.count.Total().Images), number(a.coverage.ok), number(a.coverage.unavailable),
			number(a.coverage.attested), number(a.coverage.failed))
	}
	t.grid(&rows)
	t.wrapped("", "Run "+run.ID+": "+images(f.total.count.Total())+" in "+count(f.total.repositories, "repository")+".", 0)
	return t.w.Flush()
}
