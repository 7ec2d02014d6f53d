package report

import (
	"io"

	"demurrage/internal/image"
)

// Closing is what a command ends with for people, a line for each thing that matters, the most urgent first: references that
// are broken, what could not be looked at and what that holds back, money, and the commands to go on with. Money is what the
// plan would save, or, with a sweep, what that has freed.
func Closing(w io.Writer, run *Run, swept *Sweep, next []string, opts TermOptions) error {
	v := newCostView(run)
	t := newTerminal(w, opts, run)
	t.brokenInShort(v)
	t.gapsInShort(v)
	switch {
	case swept != nil:
		f := newSweepFacts(swept, shortcut)
		t.wrapped("", "Money: "+f.freed(t.fig, swept.Prices), 0)
	case v.total.goes.Images == 0:
		t.wrapped("", "Money: nothing goes, so nothing is saved.", 0)
	default:
		t.wrapped("", "Money: deleting "+images(v.total.goes)+" saves "+v.saving(&v.total)+".", 0)
	}
	if len(next) == 0 {
		t.line("Next: nothing to do.")
	}
	for i, command := range next {
		head := "Next: "
		if i > 0 {
			head = "      "
		}
		t.line(head + visible(command)) // whole, so that it can be copied
	}
	return t.w.Flush()
}

func (t *terminal) brokenInShort(v *costView) {
	broken := t.run.Plan.Broken
	if len(broken) == 0 {
		t.line("Broken references: none.")
		return
	}
	first := t.run.FirstBroken()
	t.wrappedIn(red, "", "Broken references: "+number(v.live)+" live, "+number(v.latent)+" latent; the first is "+first.Ref.String()+", used by "+
		first.Source+" "+first.Resource, 3)
}

// FirstBroken is the broken reference that matters most, nil where there is none.
func (run *Run) FirstBroken() *image.Use {
	broken := run.Plan.Broken
	for i := range broken {
		if broken[i].Live {
			return &broken[i]
		}
	}
	if len(broken) == 0 {
		return nil
	}
	return &broken[0]
}

func (t *terminal) gapsInShort(v *costView) {
	p := t.run.Plan
	if len(v.gaps) == 0 && p.Count.Blocked.Images == 0 {
		t.wrapped("", "Not looked at: nothing; "+v.coverage.String()+".", 0)
		return
	}
	failed := map[string]bool{}
	for _, c := range p.Coverage {
		if c.Status == image.CoverageFailed {
			failed[c.Account] = true
		}
	}
	s := "Not looked at: " + count(v.coverage.failed, "source") + " in " + count(len(failed), "account") + unscanned(p.Outside()) + "; holds back "
	if p.Count.Blocked.Images == 0 {
		s += "nothing that would be deleted"
	} else {
		s += images(p.Count.Blocked) + t.money(v.total.held, p.Count.Blocked.Bytes, v.blockedUnpriced)
	}
	t.wrappedIn(yellow, "", s+".", 0)
}
