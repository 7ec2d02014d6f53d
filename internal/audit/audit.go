// Package audit joins a plan with what lifecycle policies do: which images that are in use, that are protected by the
// configuration, or of which nobody knows whether they are in use, a repository's policy takes now, and which ones next.
//
// It is pure: values in, findings out. It never judges by itself what is in use; the plan does.
package audit

import (
	"cmp"
	"slices"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
	"demurrage/planner"
)

// Audit is what the policies of all repositories do against a plan.
type Audit struct {
	Now     []Finding // images in use that go at the next evaluation, which is within 24 hours; by repository
	Next    []Finding // images in use that go later: those with the earliest date first
	Blocked []Finding // images that something unknown may use; those that go now first

	Problems []Problem
	Policies []Policy           // of every repository that has one
	Without  []image.Repository // that have none
	Unread   []image.Repository // of which nobody knows whether they have one
}

// Complete reports whether every policy was read and understood. What a policy does that was not is not known.
func (a *Audit) Complete() bool {
	return len(a.Unread) == 0 && !slices.ContainsFunc(a.Problems, func(p Problem) bool { return p.Fatal })
}

// Finding is an image that a policy takes, or will take, although the plan does not know it to be unused.
type Finding struct {
	Repository image.Repository
	Digest     image.Digest
	Tags       []string
	Bytes      int64 // its own, without Parts

	Rule   int              // priority of the rule that takes it
	Text   string           // of the rule: its description
	Action lifecycle.Action // Transition: an archived image cannot be pulled until it is restored
	Now    bool             // at the next evaluation, or at one that follows since an index has to go first
	Tied   bool             // with Now: it, or an image that was pushed at the same instant
	Due    time.Time        // of a rule that goes by age; zero: it cannot be known
	Pushes int              // of a rule that counts: after so many more
	// Far: it goes in ten years, or after more pushes than farPushes and than the repository has images. Rules that mean never
	// say 9999.
	Far bool

	// Reasons name the consumers, or what could not be looked at. At most 20, and More that are left out.
	Reasons []planner.Reason
	More    int
	// Parts go with it: children of an index that is taken, referrers of a subject.
	Parts []image.Digest
}

// Problem is something wrong with the policy of a repository.
type Problem struct {
	Repository image.Repository
	lifecycle.Problem
}

// Policy is what one repository's policy does.
type Policy struct {
	Repository image.Repository
	Rules      int
	Errors     []string // what could not be read of the repository: images may be missing here

	// Images that only the configuration keeps, by the reason that keeps them, and that the policy takes all the same. What
	// hangs on one of them is not counted again.
	ProtectedNow, ProtectedNext map[planner.Code]int
	// Unknown: something that may use images of the repository was not looked at, so that these may be in use, too.
	Unknown bool

	Expires planner.Tally // by the policy, now
	Deletes planner.Tally // by the plan
	Both    planner.Tally
}

const (
	mostReasons = 20    // that a finding holds, as images of the plan's JSON
	farPushes   = 1_000 // a pipeline makes as many in some weeks
)

// Filter says which repositories are looked at; nil: all.
type Filter func(image.Repository) bool

// Of looks at the policy of every repository of a plan, as of the plan's time. Memory is for what is found. The error
// is that of reading the plan.
func Of(p *planner.Plan, filter Filter) (*Audit, error) {
	a := &Audit{}
	policies := map[string]parsed{} // many repositories have the same text
	for r, err := range p.Repositories {
		if err != nil {
			return nil, err
		}
		if filter != nil && !filter(r.Repository) {
			continue
		}
		switch r.Inventory.Lifecycle {
		case image.LifecycleNone:
			a.Without = append(a.Without, r.Repository)
			continue
		case image.LifecycleSome:
		default:
			a.Unread = append(a.Unread, r.Repository)
			continue
		}
		text := r.Inventory.Expires
		of, ok := policies[text]
		if !ok {
			of.policy, of.problems = lifecycle.Parse(text)
			policies[text] = of
		}
		a.repository(r, of, p.Now)
	}
	slices.SortStableFunc(a.Next, soonest)
	slices.SortStableFunc(a.Blocked, soonest)
	return a, nil
}

type parsed struct {
	policy   *lifecycle.Policy
	problems []lifecycle.Problem
}

// soonest orders by when something goes: now, at a date, after pushes, nobody knows.
func soonest(a, b Finding) int {
	rank := func(f Finding) int {
		switch {
		case f.Far:
			return 4
		case f.Now:
			return 0
		case !f.Due.IsZero():
			return 1
		case f.Pushes > 0:
			return 2
		}
		return 3
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), a.Due.Compare(b.Due), cmp.Compare(a.Pushes, b.Pushes))
}

func (a *Audit) repository(r *planner.RepositoryPlan, of parsed, now time.Time) {
	for _, problem := range of.problems {
		a.Problems = append(a.Problems, Problem{r.Repository, problem})
	}
	out := Policy{Repository: r.Repository, Errors: r.Errors, Unknown: r.Unknown(), Deletes: r.Count.Delete}
	if of.policy == nil {
		a.Policies = append(a.Policies, out)
		return
	}
	out.Rules = len(of.policy.Rules)
	look := newLook(r, of.policy, now)
	a.Problems = append(a.Problems, look.unmatched(of)...)
	for i := range r.Decisions {
		d := &r.Decisions[i]
		if fate := look.fates[i]; fate.Now && fate.Action == lifecycle.Expire {
			t := planner.Tally{Images: 1, Bytes: d.Image.OwnBytes()}
			add(&out.Expires, t)
			if d.Action == planner.Delete {
				add(&out.Both, t)
			}
		}
	}
	look.findings(a, &out)
	a.Policies = append(a.Policies, out)
}

func add(t *planner.Tally, o planner.Tally) { t.Images += o.Images; t.Bytes += o.Bytes }

// keptFor is the first reason that keeps an image.
func keptFor(d *planner.Decision) planner.Code {
	if len(d.Reasons) == 0 {
		return planner.NoRule
	}
	return d.Reasons[0].Code
}

// class is how the plan sees an image.
type class uint8

const (
	goes      class = iota // the plan deletes it
	protected              // the configuration alone keeps it
	unknown                // blocked
	used                   // something uses it, or what it hangs together with
)

// look is one repository while it is looked at.
type look struct {
	*planner.RepositoryPlan
	policy *lifecycle.Policy
	graph  *image.Graph
	class  []class
	users  []int // of an image that is used only through another: which one; else itself
	now    time.Time

	evaluated []lifecycle.Fate // as the policy says
	fates     []lifecycle.Fate // in the end
}

func newLook(r *planner.RepositoryPlan, policy *lifecycle.Policy, now time.Time) *look {
	images := r.Inventory.Images
	l := &look{RepositoryPlan: r, policy: policy, graph: image.NewGraph(images), now: now, evaluated: policy.Evaluate(images, now),
		fates: make([]lifecycle.Fate, len(images)), class: make([]class, len(images)), users: make([]int, len(images))}
	for i := range images {
		l.fates[i] = l.fate(i, 0)
	}
	var queue []int
	for i := range r.Decisions {
		d := &r.Decisions[i]
		l.users[i] = i
		switch {
		case d.Action == planner.Blocked:
			l.class[i] = unknown
		case d.Action == planner.Keep && slices.ContainsFunc(d.Reasons, inUse):
			l.class[i] = used
			queue = append(queue, i)
		case d.Action == planner.Keep:
			l.class[i] = protected
		}
	}
	// As the planner does: use spreads up to the indexes that hold an image and to the subjects of what is used itself, and
	// from there down to everything that hangs on them.
	l.spread(queue, l.graph.Up)
	queue = nil
	for i, c := range l.class {
		if c == used {
			queue = append(queue, i)
		}
	}
	l.spread(queue, l.graph.Down)
	return l
}

func inUse(r planner.Reason) bool { return r.Code == planner.InUse }

func (l *look) spread(queue []int, edges func(int) []image.Edge) {
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range edges(i) {
			if l.class[e.To] == protected { // what is used is kept, and so is all that it spreads to
				l.class[e.To], l.users[e.To] = used, l.users[i]
				queue = append(queue, e.To)
			}
		}
	}
}

// fate is what becomes of an image in the end: one that indexes hold goes once they all have gone, be it to the archive, or not
// at all. What follows an index that goes now counts as going now.
func (l *look) fate(i, depth int) lifecycle.Fate {
	f := l.evaluated[i]
	if f.Rule == 0 || f.Held == "" && f.After == "" || depth > maxDepth {
		return f
	}
	f.Now = l.ready(&f)
	for _, e := range l.graph.Up(i) {
		if e.Relation != image.Child || l.Decisions[e.To].Image.Status != image.Active {
			continue // what is archived holds nothing
		}
		index := l.fate(e.To, depth+1)
		if index.Rule == 0 {
			return lifecycle.Fate{Shield: f.Shield, Held: f.Held}
		}
		f.Now = f.Now && index.Now
		if index.Now {
			continue
		}
		f.Pushes = max(f.Pushes, index.Pushes)
		if index.Due.After(f.Due) {
			f.Due = index.Due
		}
	}
	if !f.Due.After(l.now) && !f.Now {
		f.Due = time.Time{} // it waits for something else
	}
	return f
}

const maxDepth = 8 // of indexes in indexes

// ready says that a rule would act on an image now, were it held by nothing.
func (l *look) ready(f *lifecycle.Fate) bool {
	counts := slices.ContainsFunc(l.policy.Rules, func(r lifecycle.Rule) bool {
		return r.Priority == f.Rule && r.CountType == lifecycle.ImageCountMoreThan
	})
	return counts && f.Pushes == 0 || !f.Due.IsZero() && l.now.After(f.Due)
}

// unmatched are the rules that select no image of the repository as it is.
func (l *look) unmatched(of parsed) []Problem {
	if len(l.Decisions) == 0 {
		return nil
	}
	var out []Problem
	for _, priority := range of.policy.Unmatched(l.Inventory.Images) {
		told := slices.ContainsFunc(of.problems, func(p lifecycle.Problem) bool { return p.Priority == priority && p.Code == "never-matches" })
		if !told {
			out = append(out, Problem{l.Repository, lifecycle.Problem{Priority: priority, Code: Unmatched, Text: "it selects no image that the repository has"}})
		}
	}
	return out
}

// Unmatched is the code of the problem that a rule matches nothing in a repository as it is.
const Unmatched = "unmatched"

// findings adds the images that are used or blocked and that the policy takes, those that hang on others of them as parts,
// and counts those that the configuration alone keeps.
func (l *look) findings(a *Audit, p *Policy) {
	fates := slices.Clone(l.fates)
	for i := range fates {
		fates[i].Now = fates[i].Now || fates[i].Tied // it may be this one
	}
	taken := func(i int) bool { return fates[i].Rule != 0 && l.class[i] != goes }
	parts := map[int][]int{}
	heads := make([]int, len(fates))
	for i := range fates {
		if !taken(i) {
			continue
		}
		heads[i] = l.head(i, func(to int) bool {
			return taken(to) && fates[to].Now == fates[i].Now && l.class[to] == l.class[i] && follows(&fates[i], &fates[to])
		})
		if heads[i] != i {
			parts[heads[i]] = append(parts[heads[i]], i)
		}
	}
	for i := range fates {
		if !taken(i) || heads[i] != i {
			continue
		}
		if l.class[i] == protected {
			p.protected(keptFor(&l.Decisions[i]), &fates[i])
			continue
		}
		f := l.finding(i, fates[i], parts[i])
		switch {
		case l.class[i] == unknown:
			a.Blocked = append(a.Blocked, f)
		case f.Now:
			a.Now = append(a.Now, f)
		default:
			a.Next = append(a.Next, f)
		}
	}
}

// follows: an image goes the way that another one goes, and not before it. If it does not, it has a date of its own to tell.
func follows(part, head *lifecycle.Fate) bool {
	return part.Action == head.Action && (head.Now || !part.Due.Before(head.Due) && part.Pushes >= head.Pushes)
}

// protected counts an image that the configuration alone keeps.
func (p *Policy) protected(code planner.Code, fate *lifecycle.Fate) {
	counts := &p.ProtectedNext
	if fate.Now {
		counts = &p.ProtectedNow
	}
	if *counts == nil {
		*counts = map[planner.Code]int{}
	}
	(*counts)[code]++
}

// head follows what an image hangs on as long as that is taken too. Tags can tie a knot: there, the first one is it.
func (l *look) head(i int, taken func(int) bool) int {
	seen := []int{i}
	for {
		next := -1
		for _, e := range l.graph.Up(seen[len(seen)-1]) {
			if taken(e.To) {
				next = e.To
				break
			}
		}
		switch {
		case next < 0:
			return seen[len(seen)-1]
		case slices.Contains(seen, next):
			return slices.Min(seen[slices.Index(seen, next):])
		}
		seen = append(seen, next)
	}
}

func (l *look) finding(i int, fate lifecycle.Fate, parts []int) Finding {
	img := l.Decisions[i].Image
	f := Finding{Repository: l.Repository, Digest: img.Digest, Tags: img.Tags, Bytes: img.OwnBytes(),
		Rule: fate.Rule, Action: fate.Action, Now: fate.Now, Tied: fate.Tied, Due: fate.Due, Pushes: fate.Pushes}
	if f.Now {
		f.Due, f.Pushes = time.Time{}, 0
	}
	f.Far = f.Pushes > max(len(l.Decisions), farPushes) || f.Due.After(l.now.AddDate(10, 0, 0))
	if at := slices.IndexFunc(l.policy.Rules, func(r lifecycle.Rule) bool { return r.Priority == fate.Rule }); at >= 0 {
		f.Text = l.policy.Rules[at].Description
	}
	for _, p := range parts {
		f.Parts = append(f.Parts, l.Decisions[p].Image.Digest)
	}
	if l.class[i] == unknown {
		f.Reasons = l.Decisions[i].Reasons // shared with others: thousands of images have the same
	} else {
		f.Reasons = l.consumers(append([]int{i, l.users[i]}, parts...))
	}
	f.More = max(len(f.Reasons)-mostReasons, 0)
	f.Reasons = f.Reasons[:len(f.Reasons)-f.More]
	return f
}

// consumers are whoever uses one of these images, each resource once.
func (l *look) consumers(of []int) []planner.Reason {
	type resource struct{ source, account, region, resource string }
	seen := map[resource]bool{}
	var out []planner.Reason
	for _, i := range of {
		for _, r := range l.Decisions[i].Reasons {
			key := resource{r.Source, r.Account, r.Region, r.Resource}
			if inUse(r) && !seen[key] {
				seen[key] = true
				out = append(out, r)
			}
		}
	}
	return out
}
