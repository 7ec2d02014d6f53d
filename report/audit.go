package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"demurrage/internal/audit"
	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
	"demurrage/planner"
)

const consumersShown = 3 // of an image, for people

// Audit writes what lifecycle policies do for people: what AWS says otherwise, then images in use that go now and those
// that go later, images that something unknown may use, what is wrong with policies, references to images that are gone,
// consumers outside the scan, repositories without a policy, and what policies free compared with the plan. v is nil where
// AWS's own previews were not asked for.
func Audit(w io.Writer, run *Run, a *audit.Audit, v *audit.Verified, opts TermOptions) error {
	t := newTerminal(w, opts, run)
	f := newFacts(run)
	t.wrapped("", asOf(run), 0)
	t.line("")
	t.verified(v)
	t.taken(red, "In use, and taken NOW by a lifecycle policy", "No image in use is taken now by a lifecycle policy"+asFarAs(run, a), a.Now)
	t.taken(yellow, "In use, and taken NEXT", "", a.Next)
	t.unknownUse(a)
	t.protected(a)
	t.problems(a)
	t.broken(f)
	t.gaps(f)
	t.policyless(a)
	t.freed(a)
	t.hints()
	return t.w.Flush()
}

// asOf says which run it is that speaks: the last one stored may be months old.
func asOf(run *Run) string {
	return "As of run " + run.ID + " of " + date(run.GeneratedAt) + ": now is then."
}

func asFarAs(run *Run, a *audit.Audit) string {
	if run.Plan.Complete && a.Complete() && len(run.Plan.Gaps) == 0 {
		return "."
	}
	return ", as far as could be looked at."
}

func (t *terminal) verified(v *audit.Verified) {
	if v == nil {
		return
	}
	color := ""
	if len(v.Differences)+len(v.Failures) > 0 {
		color = red
	}
	t.wrappedIn(color, "", verifiedText(v), 0)
	shown := t.few(len(v.Failures))
	for i := range v.Failures[:shown] {
		t.wrapped("  ", t.place(v.Failures[i].Repository)+": no preview: "+v.Failures[i].Error, 4)
	}
	t.rest(len(v.Failures)-shown, "failure")
	shown = t.few(len(v.Differences))
	for i := range v.Differences[:shown] {
		d := &v.Differences[i]
		t.wrapped("  ", t.place(d.Repository)+" "+imageName(d.Tags, d.Digest)+": "+differenceText(d), 4)
	}
	t.rest(len(v.Differences)-shown, "difference")
	t.line("")
}

func verifiedText(v *audit.Verified) string {
	return "AWS's own preview of " + count(v.Repositories, "repository") + ": the same is said here of " + count(v.Images, "image") + " that they take; " +
		count(len(v.Differences), "difference") + "; no preview of " + number(len(v.Failures)) + "."
}

func differenceText(d *audit.Difference) string {
	var s string
	switch d.Kind {
	case audit.AWSOnly:
		s = "AWS " + verdictText(d.AWS) + ", we do not"
	case audit.HereOnly:
		s = "we say that it " + verdictText(d.Here) + ", AWS does not"
	case audit.OtherRule:
		s = "AWS " + verdictText(d.AWS) + ", we say that it " + verdictText(d.Here)
	}
	return s + " (" + d.Why + ")"
}

func verdictText(v audit.Verdict) string {
	what := "expires it"
	if v.Action == lifecycle.Transition {
		what = "archives it"
	}
	return what + " by rule " + number(v.Rule)
}

// taken lists findings, each with whoever uses it.
func (t *terminal) taken(color, title, none string, list []audit.Finding) {
	if len(list) == 0 {
		if none != "" {
			t.wrapped("", none, 0)
			t.line("")
		}
		return
	}
	near := list
	if far := slices.IndexFunc(list, func(f audit.Finding) bool { return f.Far }); far >= 0 && !t.all {
		near = list[:far]
	}
	t.heading(color, title+": "+count(len(list), "image"))
	shown := t.few(len(near))
	for i := range list[:shown] {
		f := &list[i]
		t.wrapped("  ", t.place(f.Repository)+" "+imageName(f.Tags, f.Digest), 3)
		t.wrapped("      ", whenText(f), 4)
		most := len(f.Reasons)
		if !t.all {
			most = min(most, consumersShown)
		}
		for j := range f.Reasons[:most] {
			t.wrapped("      ", t.consumer(&f.Reasons[j]), 4)
		}
		if more := len(f.Reasons) - most + f.More; more > 0 {
			t.wrapped("      ", "and by "+number(more)+" more", 0)
		}
	}
	t.rest(len(near)-shown, "image")
	if n := len(list) - len(near); n > 0 {
		t.wrapped("  ", farText(n), 0)
	}
	t.line("")
}

func farText(n int) string {
	return "… and " + count(n, "image") + " only in ten years, or after more than 1,000 pushes: --format json"
}

func (t *terminal) consumer(r *planner.Reason) string { return consumerText(t.run, r) }

func consumerText(run *Run, r *planner.Reason) string {
	s := "used by " + r.Source
	if r.Account != "" {
		s += " in " + named(run.account(r.Account)) + ", " + r.Region
	}
	if r.Resource != "" {
		s += ": " + r.Resource
	}
	if r.Detail != "" {
		s += " (" + r.Detail + ")"
	}
	return s
}

// place names a repository, or a registry.
func (t *terminal) place(r image.Repository) string { return placeText(t.run, r) }

func placeText(run *Run, r image.Repository) string {
	s := named(run.account(r.Account)) + " " + r.Region
	if r.Name != "" {
		s += " " + r.Name
	}
	return s
}

// imageName is an image by its first tags and the beginning of its digest.
func imageName(tags []string, d image.Digest) string {
	const most = 3
	short := string(d)
	if len(short) > 19 {
		short = short[:19] + "…"
	}
	if len(tags) == 0 {
		return "untagged " + short
	}
	s := strings.Join(tags[:min(len(tags), most)], " ")
	if len(tags) > most {
		s += fmt.Sprintf(" +%d", len(tags)-most)
	}
	return s + " (" + short + ")"
}

// whenText says which rule takes an image, and when.
func whenText(f *audit.Finding) string {
	s := "rule " + number(f.Rule)
	if f.Text != "" {
		s += fmt.Sprintf(" (%q)", f.Text)
	}
	what := " expires it"
	if f.Action == lifecycle.Transition {
		what = " moves it to the archive"
	}
	s += what + " " + when(f)
	if f.Action == lifecycle.Transition {
		s += ": it cannot be pulled until it is restored, which takes up to 20 minutes"
	}
	if len(f.Parts) > 0 {
		s += "; " + count(len(f.Parts), "image") + " that hang on it with it"
		if len(f.Parts) == 1 {
			s = strings.Replace(s, "that hang on it", "that hangs on it", 1)
		}
	}
	return s
}

func when(f *audit.Finding) string {
	switch {
	case f.Tied:
		return "within 24 hours, or an image that was pushed at the same instant"
	case f.Now:
		return "within 24 hours"
	case !f.Due.IsZero() && f.Pushes > 0:
		return "from " + date(f.Due) + " on, after " + pushes(f.Pushes)
	case !f.Due.IsZero():
		return "on " + date(f.Due)
	case f.Pushes > 0:
		return "after " + pushes(f.Pushes)
	}
	return "at a time that cannot be known"
}

func pushes(n int) string {
	if n == 1 {
		return "one more image that it counts is pushed"
	}
	return number(n) + " more images that it counts are pushed"
}

// unknownUse sums up the images that something unknown may use, by repository.
type unknownUse struct {
	repository image.Repository
	now, next  int
	due        time.Time // the earliest of next
	why        string
}

func unknownUses(a *audit.Audit) []unknownUse {
	places := map[image.Repository]int{}
	var list []unknownUse
	for i := range a.Blocked {
		f := &a.Blocked[i]
		at, ok := places[f.Repository]
		if !ok {
			at = len(list)
			places[f.Repository] = at
			list = append(list, unknownUse{repository: f.Repository})
		}
		u := &list[at]
		if f.Now {
			u.now++
		} else {
			u.next++
			if u.due.IsZero() || !f.Due.IsZero() && f.Due.Before(u.due) {
				u.due = f.Due
			}
		}
		if u.why == "" && len(f.Reasons) > 0 {
			r := &f.Reasons[0]
			u.why = string(r.Code) + ": " + r.Detail
			if more := len(f.Reasons) - 1 + f.More; more > 0 {
				u.why += fmt.Sprintf(" (and %s)", count(more, "more reason"))
			}
		}
	}
	slices.SortStableFunc(list, func(a, b unknownUse) int {
		return cmp.Or(cmp.Compare(min(b.now, 1), min(a.now, 1)), image.CompareRepositories(a.repository, b.repository))
	})
	return list
}

func (u *unknownUse) String() string {
	s := number(u.now) + " now, " + number(u.next) + " later"
	if !u.due.IsZero() {
		s += ", the first on " + date(u.due)
	}
	return s
}

const unknownUseTitle = "Perhaps in use: what could use them was not looked at, and unknown is never unused"

func (t *terminal) unknownUse(a *audit.Audit) {
	list := unknownUses(a)
	if len(list) == 0 {
		return
	}
	t.heading(yellow, unknownUseTitle+": "+count(len(a.Blocked), "image")+" in "+count(len(list), "repository"))
	shown := t.few(len(list))
	for i := range list[:shown] {
		t.wrapped("  ", t.place(list[i].repository)+": "+list[i].String(), 3)
		if list[i].why != "" {
			t.wrapped("      ", list[i].why, 3)
		}
	}
	t.rest(len(list)-shown, "repository")
	t.line("")
}

// reasonCounts writes numbers of images by the reason that keeps them.
func reasonCounts(counts map[planner.Code]int) string {
	total := 0
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(counts)) {
		total += counts[code]
		parts = append(parts, string(code)+" "+number(counts[code]))
	}
	if total == 0 {
		return "0"
	}
	return number(total) + " (" + strings.Join(parts, ", ") + ")"
}

func protectedText(p *audit.Policy) string {
	s := reasonCounts(p.ProtectedNow) + " now, " + reasonCounts(p.ProtectedNext) + " later"
	if p.Unknown {
		s += "; they may be in use, since not everything was looked at"
	}
	return s
}

func protectedBy(a *audit.Audit) []*audit.Policy {
	var list []*audit.Policy
	for i := range a.Policies {
		if p := &a.Policies[i]; len(p.ProtectedNow) > 0 {
			list = append(list, p)
		}
	}
	return list
}

const protectedTitle = "Not in use, but kept by the configuration and taken all the same"

func (t *terminal) protected(a *audit.Audit) {
	list := protectedBy(a)
	if len(list) == 0 {
		return
	}
	t.heading(bold, protectedTitle+": images of "+count(len(list), "repository"))
	shown := t.few(len(list))
	for _, p := range list[:shown] {
		t.wrapped("  ", t.place(p.Repository)+": "+protectedText(p), 3)
	}
	t.rest(len(list)-shown, "repository")
	t.line("")
}

// sortedProblems has first what makes a policy impossible to evaluate, last what only matches nothing.
func sortedProblems(a *audit.Audit) []audit.Problem {
	rank := func(p audit.Problem) int {
		switch {
		case p.Fatal:
			return 0
		case p.Code == audit.Unmatched:
			return 2
		}
		return 1
	}
	list := slices.Clone(a.Problems)
	slices.SortStableFunc(list, func(a, b audit.Problem) int { return cmp.Compare(rank(a), rank(b)) })
	return list
}

func problemText(p *audit.Problem) string {
	s := p.Text
	if p.Priority > 0 {
		s = "rule " + number(p.Priority) + ": " + s
	}
	if p.Fatal {
		s += " (the policy cannot be evaluated: what it takes is not known)"
	}
	return s
}

func (t *terminal) problems(a *audit.Audit) {
	list := sortedProblems(a)
	if len(list) == 0 {
		return
	}
	t.heading(yellow, "Policies that are wrong, contradict themselves or match nothing: "+count(len(list), "problem"))
	shown := t.few(len(list))
	for i := range list[:shown] {
		t.wrapped("  ", t.place(list[i].Repository)+": "+problemText(&list[i]), 4)
	}
	t.rest(len(list)-shown, "problem")
	t.line("")
}

func policylessText(a *audit.Audit) string {
	return count(len(a.Policies), "repository") + " with a lifecycle policy, " + number(len(a.Without)) + " without one."
}

func (t *terminal) policyless(a *audit.Audit) {
	t.wrapped("", policylessText(a), 0)
	if len(a.Unread) > 0 {
		t.heading(red, "Lifecycle policies that could not be read: of "+count(len(a.Unread), "repository")+". What they take is not known")
		shown := t.few(len(a.Unread))
		for _, r := range a.Unread[:shown] {
			t.wrapped("  ", t.place(r), 2)
		}
		t.rest(len(a.Unread)-shown, "repository")
		t.wrapped("  ", "To do: allow the reading role ecr:GetLifecyclePolicy, then scan again.", 0)
	}
}

// byFreed are the policies that take or spare most first, and the sums of all.
func byFreed(a *audit.Audit) (list []*audit.Policy, sum audit.Policy) {
	for i := range a.Policies {
		p := &a.Policies[i]
		for _, of := range []struct{ to, from *planner.Tally }{{&sum.Expires, &p.Expires}, {&sum.Deletes, &p.Deletes}, {&sum.Both, &p.Both}} {
			of.to.Images += of.from.Images
			of.to.Bytes += of.from.Bytes
		}
		if p.Expires.Images+p.Deletes.Images > 0 {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b *audit.Policy) int {
		return cmp.Compare(max(b.Expires.Bytes, b.Deletes.Bytes), max(a.Expires.Bytes, a.Deletes.Bytes))
	})
	return list, sum
}

func (t *terminal) freed(a *audit.Audit) {
	list, sum := byFreed(a)
	if len(list) == 0 {
		return
	}
	cells := func(p *audit.Policy) []string {
		var out []string
		for _, of := range []planner.Tally{p.Expires, p.Deletes, p.Both} {
			if of.Images == 0 {
				out = append(out, "–", "–")
			} else {
				out = append(out, number(of.Images), size(of.Bytes))
			}
		}
		return out
	}
	rows := grid{first: "REPOSITORY WITH A POLICY", columns: []column{{"POLICY TAKES NOW", 2}, {"SIZE", 0}, {"PLAN DELETES", 3}, {"SIZE", 0}, {"BOTH", 4}, {"SIZE", 1}}}
	shown := t.few(len(list))
	for _, p := range list[:shown] {
		rows.add(p.Repository.Account+" "+p.Repository.Region+" "+p.Repository.Name, cells(p)...)
	}
	rows.add("All with a policy", cells(&sum)...)
	t.line("")
	t.grid(&rows)
	t.rest(len(list)-shown, "repository")
	t.wrapped("", "Sizes of images: layers that images share are counted more than once.", 0)
}

// rest says how many entries of a list are left out, and where they are.
func (t *terminal) rest(n int, noun string) {
	if n > 0 {
		t.wrapped("  ", "… and "+count(n, "more "+noun)+": --format json", 0)
	}
}
