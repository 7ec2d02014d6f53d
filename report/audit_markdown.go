package report

import (
	"bufio"
	"io"
	"slices"

	"demurrage/internal/audit"
)

// AuditMarkdown writes a summary of an audit for a message or a pull request.
func AuditMarkdown(w io.Writer, run *Run, a *audit.Audit, v *audit.Verified) error {
	m := &markdown{w: bufio.NewWriter(w), run: run, fig: figures{run.Prices.Currency}}
	f := newFacts(run)
	if v != nil {
		m.line("**Verified** ", mdEscaper.Replace(verifiedText(v)))
		m.line()
		for i := range v.Failures[:min(len(v.Failures), fewest)] {
			m.line("- ", mdText(placeText(run, v.Failures[i].Repository)), ": no preview: ", mdText(v.Failures[i].Error))
		}
		m.more(len(v.Failures), "failure")
		for i := range v.Differences[:min(len(v.Differences), fewest)] {
			d := &v.Differences[i]
			m.line("- ", mdText(placeText(run, d.Repository)), " ", mdText(imageName(d.Tags, d.Digest)), ": ", mdText(differenceText(d)))
		}
		m.more(len(v.Differences), "difference")
		m.line()
	}
	state := "Complete"
	if !run.Plan.Complete || !a.Complete() || v != nil && len(v.Failures) > 0 {
		state = "INCOMPLETE"
	}
	m.line("**", state, "** ", date(run.GeneratedAt), ": images in use that a lifecycle policy takes: **", number(len(a.Now)), " now**, ", number(len(a.Next)),
		" next · perhaps in use ", number(len(a.Blocked)), " · problems ", number(len(a.Problems)), " · broken references ", number(f.broken.live), " live, ", number(f.broken.latent), " latent")
	m.findings("In use, and taken now", a.Now)
	m.findings("In use, and taken next", a.Next)
	if list := unknownUses(a); len(list) > 0 {
		m.title(unknownUseTitle)
		for i := range list[:min(len(list), fewest)] {
			m.line("- ", mdText(placeText(run, list[i].repository)), ": ", mdText(list[i].String()), ": ", mdText(list[i].why))
		}
		m.more(len(list), "repository")
	}
	if list := protectedBy(a); len(list) > 0 {
		m.title(protectedTitle)
		for _, p := range list[:min(len(list), fewest)] {
			m.line("- ", mdText(placeText(run, p.Repository)), ": ", mdText(protectedText(p)))
		}
		m.more(len(list), "repository")
	}
	if list := sortedProblems(a); len(list) > 0 {
		m.title("Policies that are wrong, contradict themselves or match nothing")
		for i := range list[:min(len(list), fewest)] {
			m.line("- ", mdText(placeText(run, list[i].Repository)), ": ", mdText(problemText(&list[i])))
		}
		m.more(len(list), "problem")
	}
	m.broken(f)
	m.gaps(f)
	m.line()
	m.line(policylessText(a))
	if len(a.Unread) > 0 {
		m.line()
		m.line("The lifecycle policies of ", count(len(a.Unread), "repository"), " could not be read: what they take is not known.")
	}
	m.freed(a)
	if run.WhatIf {
		m.line()
		m.line("What if: ages are counted from ", date(run.GeneratedAt), ", not from when the run was made.")
	}
	return m.w.Flush()
}

func (m *markdown) title(s string) {
	m.line()
	m.line("**", s, "**")
	m.line()
}

func (m *markdown) findings(title string, list []audit.Finding) {
	if len(list) == 0 {
		return
	}
	near := slices.IndexFunc(list, func(f audit.Finding) bool { return f.Far })
	if near < 0 {
		near = len(list)
	}
	m.title(title)
	for i := range list[:min(near, shortcut)] {
		f := &list[i]
		m.line("- ", mdText(placeText(m.run, f.Repository)), " ", mdText(imageName(f.Tags, f.Digest)), ": ", mdText(whenText(f)))
		for j := range f.Reasons[:min(len(f.Reasons), consumersShown)] {
			m.line("  - ", mdText(consumerText(m.run, &f.Reasons[j])))
		}
		if more := len(f.Reasons) + f.More - consumersShown; more > 0 {
			m.line("  - and by ", number(more), " more")
		}
	}
	if more := near - shortcut; more > 0 {
		m.line()
		m.line("+", count(more, "more image"))
	}
	if far := len(list) - near; far > 0 {
		m.line()
		m.line(farText(far))
	}
}

func (m *markdown) freed(a *audit.Audit) {
	list, sum := byFreed(a)
	if len(list) == 0 {
		return
	}
	m.line()
	m.line("| Repository | Policy takes now | Size | Plan deletes | Size | Both | Size |")
	m.line("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
	row := func(name string, p *audit.Policy) {
		m.line("| ", name, " | ", number(p.Expires.Images), " | ", size(p.Expires.Bytes), " | ", number(p.Deletes.Images), " | ", size(p.Deletes.Bytes),
			" | ", number(p.Both.Images), " | ", size(p.Both.Bytes), " |")
	}
	for _, p := range list[:min(len(list), fewest)] {
		row(mdText(placeText(m.run, p.Repository)), p)
	}
	row("All with a policy", &sum)
	m.more(len(list), "repository")
}
