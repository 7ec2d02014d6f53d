package planner

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"demurrage/internal/image"
)

// pullAllowance is how far behind lastRecordedPullTime may be: ECR refreshes it at least every 24 hours.
const pullAllowance = 24 * time.Hour

// Repository plans one repository: retention, then protection, then the coverage gate, through the graph.
func (m *Merged) Repository(inv *image.Inventory) *RepositoryPlan {
	if !slices.IsSortedFunc(inv.Images, image.Compare) {
		sorted := *inv
		sorted.Images = slices.Clone(inv.Images)
		slices.SortFunc(sorted.Images, image.Compare)
		inv = &sorted
	}
	images := inv.Images
	j := &judge{
		m:          m,
		repository: inv.Repository.Name,
		images:     images,
		graph:      image.NewGraph(images),
		keep:       make([]bool, len(images)),
		inUse:      make([]bool, len(images)),
		pulled:     make([]bool, len(images)),
		reasons:    make([][]Reason, len(images)),
		verdict:    make([][]Reason, len(images)),
	}
	p := &RepositoryPlan{Inventory: inv, RepositorySummary: RepositorySummary{
		Repository: inv.Repository, Tags: inv.Tags, HasPolicy: inv.HasPolicy, Errors: inv.Errors,
	}}
	for i := range m.rules.Repositories {
		if r := &m.rules.Repositories[i]; r.Matches(inv.Repository) {
			j.rule = r
			p.Rule = r.Name.String()
			p.AllowEmpty, p.KeepTags = r.AllowEmpty, r.KeepTags
			break
		}
	}
	if len(images) > 0 {
		p.LastPush = images[len(images)-1].PushedAt
	}
	j.lastPush = p.LastPush
	j.uses(inv.Repository, p, len(inv.Errors) == 0)
	j.protect()
	j.judgeRoots()
	j.spread()
	p.gate = j.gate(inv)
	p.Decisions = j.decide(&p.gate)
	for i := range p.Decisions {
		p.Count.count(p.Decisions[i])
	}
	for i := range images {
		if images[i].LastPulledAt.After(p.LastPull) {
			p.LastPull = images[i].LastPulledAt
		}
		if len(images[i].Tags) == 0 && j.graph.IsRoot(i) {
			p.Untagged.add(Tally{1, images[i].OwnBytes()})
		}
	}
	return p
}

// judge holds the state of one repository while it is planned. keep only ever turns from false to true.
type judge struct {
	m          *Merged
	repository string
	rule       *RepositoryRule
	images     []image.Image
	graph      *image.Graph
	lastPush   time.Time
	keep       []bool
	inUse      []bool     // a resource uses it, or something used hangs on it
	pulled     []bool     // its recent pull stands in for a use nobody can list
	unknown    []Reason   // uses of which nobody knows what image they mean
	reasons    [][]Reason // to keep
	verdict    [][]Reason // of the rule over a root that has expired; shared between images
}

func (j *judge) keepFor(i int, r Reason) {
	j.keep[i] = true
	j.reasons[i] = append(j.reasons[i], r)
}

// uses finds the images that the uses of the repository point at. What they point at in vain is broken, unless the
// list of images may be incomplete.
func (j *judge) uses(repo image.Repository, p *RepositoryPlan, whole bool) {
	r := j.m.byRepository[repo]
	if r == nil {
		return
	}
	tagged := map[string]bool{}
	for i := range j.images {
		var uses []int
		uses = append(uses, r.byDigest[j.images[i].Digest]...)
		for _, tag := range j.images[i].Tags {
			if byTag := r.byTag[tag]; len(byTag) > 0 {
				tagged[tag] = true
				uses = append(uses, byTag...)
			}
		}
		slices.Sort(uses)
		for _, u := range slices.Compact(uses) {
			use := &j.m.uses[u]
			j.inUse[i] = true
			j.keepFor(i, Reason{InUse, useDetail(use), use.Source, use.Account, use.Region, use.Resource})
		}
	}
	for _, u := range r.all {
		use := &j.m.uses[u]
		if use.Unknown != "" {
			j.unknown = append(j.unknown, Reason{CoverageGap, use.Unknown + ", so that any image of the repository may be meant", use.Source, use.Account, use.Region, use.Resource})
		}
		if !use.Since.IsZero() {
			j.unknown = append(j.unknown, Reason{CoverageGap, "it runs since " + use.Since.UTC().Format(time.RFC3339) + " from tag " + use.Ref.Tag +
				", which may have moved since, and does not say which digest that was", use.Source, use.Account, use.Region, use.Resource})
		}
	}
	if !whole {
		return
	}
	for _, u := range r.all {
		use := &j.m.uses[u]
		ref := &use.Ref
		found := tagged[ref.Tag]
		if ref.Digest != "" { // what runs is the digest, whatever became of the tag
			_, found = j.graph.Find(ref.Digest)
		}
		if !found && use.Through == "" && (ref.Tag != "" || ref.Digest != "") {
			p.Broken = append(p.Broken, j.m.uses[u])
		}
	}
}

func useDetail(u *image.Use) string {
	how := "as " + u.Ref.Tag
	switch {
	case u.Ref.Digest != "" && u.Ref.Tag != "":
		how = "as " + u.Ref.Tag + "@" + string(u.Ref.Digest)
	case u.Ref.Digest != "":
		how = "by digest"
	}
	if u.Through != "" {
		how += ", pulled through the cache " + u.Through
	}
	if u.Detail == "" {
		return how
	}
	return how + ": " + u.Detail
}

// protect finds the reasons to keep that any image can have by itself, roots and relatives alike.
func (j *judge) protect() {
	now, minAge := j.m.now, j.m.rules.MinAge
	for i := range j.images {
		img := &j.images[i]
		if now.Sub(img.PushedAt) < minAge {
			j.keepFor(i, Reason{Code: MinAge, Detail: "pushed less than " + days(minAge) + " ago"})
		}
		if j.rule == nil {
			continue
		}
		for _, tag := range img.Tags {
			if k := slices.IndexFunc(j.rule.KeepTags, func(p image.Pattern) bool { return p.Match(tag) }); k >= 0 {
				j.keepFor(i, Reason{Code: KeepTag, Detail: fmt.Sprintf("tag %s matches %q", tag, j.rule.KeepTags[k])})
			}
		}
		if within := j.rule.KeepPulledWithin; within > 0 && !img.LastPulledAt.IsZero() && now.Sub(img.LastPulledAt) <= within+pullAllowance {
			j.pulled[i] = true
			j.keepFor(i, Reason{Code: PulledRecently, Detail: "last pulled " + img.LastPulledAt.UTC().Format(time.DateOnly) + ", kept for " + days(within)})
		}
	}
}

// judgeRoots applies the rule of the repository to its roots.
func (j *judge) judgeRoots() {
	if j.rule == nil {
		for i := range j.images {
			if j.graph.IsRoot(i) {
				j.keepFor(i, Reason{Code: NoRule, Detail: "no rule matches the repository"})
			}
		}
		return
	}
	r := j.rule
	from, since := j.m.now, "now"
	if r.FromNewestPush {
		from, since = j.lastPush, "the newest push"
	}
	name := r.Name.String()
	// One text a rule, not one an image: plans of a million images are made of these.
	noExpiry := Reason{Code: NoRule, Detail: "rule " + name + " sets no expires"}
	within := Reason{Code: WithinExpiry, Detail: "rule " + name + " keeps images for " + days(r.Expires) + " before " + since}
	expired := []Reason{{Code: Expired, Detail: "rule " + name + ": older than " + days(r.Expires) + " before " + since}}
	untaggedWithin := Reason{Code: WithinExpiry, Detail: "rule " + name + " keeps untagged images for " + days(r.UntaggedExpires) + " before " + since}
	untaggedExpired := []Reason{{Code: UntaggedExpired, Detail: "rule " + name + ": untagged and older than " + days(r.UntaggedExpires) + " before " + since}}
	newest := Reason{Code: KeepCount, Detail: fmt.Sprintf("one of the %d newest that rule %s keeps", r.KeepCount, name)}
	counted := 0
	for i := len(j.images) - 1; i >= 0; i-- { // newest first
		if !j.graph.IsRoot(i) {
			continue
		}
		img := &j.images[i]
		age := from.Sub(img.PushedAt)
		if len(img.Tags) == 0 && r.UntaggedExpires > 0 {
			if age < r.UntaggedExpires {
				j.keepFor(i, untaggedWithin)
			} else {
				j.verdict[i] = untaggedExpired
			}
			continue
		}
		counted++
		if counted <= r.KeepCount {
			j.keepFor(i, newest)
		}
		switch {
		case r.Expires <= 0:
			j.keepFor(i, noExpiry)
		case age < r.Expires:
			j.keepFor(i, within)
		default:
			j.verdict[i] = expired
		}
	}
}

// spread carries protection through the graph to a fixed point: first up, from what is used to the indexes that hold
// it and the subjects that it signs, then down from everything that is kept.
//
// Up to a subject because ECR removes referrers within a day of their subject, so that a used referrer (an artifact
// that somebody pulls) is only safe while its subject stays.
func (j *judge) spread() {
	var queue []int
	for i := range j.images {
		if j.inUse[i] || j.pulled[i] {
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range j.graph.Up(i) {
			if e.Relation == image.Referrer && !j.inUse[i] {
				continue // verifying a signature pulls it: that alone says nothing about its subject
			}
			grew := j.inUse[i] && !j.inUse[e.To] || j.pulled[i] && !j.pulled[e.To]
			if !grew {
				continue
			}
			j.inUse[e.To] = j.inUse[e.To] || j.inUse[i]
			j.pulled[e.To] = j.pulled[e.To] || j.pulled[i]
			j.keep[e.To] = true
			queue = append(queue, e.To)
		}
	}
	for i := range j.images {
		if j.keep[i] {
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range j.graph.Down(i) {
			if !j.keep[e.To] {
				j.keep[e.To] = true
				queue = append(queue, e.To)
			}
		}
	}
}

// gate is what stands between the images of a repository that nothing keeps and their deletion.
type gate struct {
	reasons []Reason // for every image; shared between repositories
	gaps    []int    // where they are gaps of the whole plan
	own     []Gap    // and where only this repository shows them
	vouched []string // accounts that the policy names, nobody scans, and an attestation stands in for
}

// gate finds what could hide a use of an image of the repository: what could not be looked at of those who could pull
// from it, and accounts that could and that nobody looks at.
func (j *judge) gate(inv *image.Inventory) gate {
	m, home := j.m, inv.Repository
	c := m.consumersOf(inv)
	g := gate{gaps: c.gaps, reasons: slices.Clip(c.reasons), own: slices.Clip(c.strangers), vouched: c.vouched}
	own := func(gap Gap, reasons ...Reason) {
		g.own = append(g.own, gap)
		g.reasons = append(g.reasons, reasons...)
	}
	registry := Gap{Account: home.Account, Regions: []string{home.Region}, Sources: []string{image.SourceECR}}

	if len(inv.Errors) > 0 {
		if gaps := m.registryGaps[home.Registry]; len(gaps) > 0 {
			g.gaps = slices.Concat(g.gaps, gaps)
			slices.Sort(g.gaps)
			g.gaps = slices.Compact(g.gaps)
		} else {
			registry.Error = "repository " + home.Name + ": " + strings.Join(inv.Errors, "; ")
			g.own = append(g.own, registry)
		}
		for _, e := range inv.Errors {
			g.reasons = append(g.reasons, Reason{Code: CoverageGap, Detail: e, Source: image.SourceECR, Account: home.Account, Region: home.Region})
		}
	}
	for _, r := range j.unknown {
		own(Gap{Account: r.Account, Regions: []string{r.Region}, Sources: []string{r.Source}, Error: r.Resource + ": " + r.Detail}, r)
	}
	j.unreadable(own, registry)
	return g
}

// unreadable blocks what an index could hold whose manifest nobody can read, be it archived: any image of the
// repository.
func (j *judge) unreadable(own func(Gap, ...Reason), gap Gap) {
	count, first := 0, ""
	for i := range j.images {
		if img := &j.images[i]; img.Unreadable != "" {
			if count++; count == 1 {
				first = string(img.Digest) + ": " + img.Unreadable
			}
		}
	}
	if count == 0 {
		return
	}
	what := fmt.Sprintf("%d manifests that are or may be indexes cannot be read", count)
	gap.Error = "repository " + j.repository + ": " + what
	own(gap, Reason{Code: UnreadableManifest, Detail: what + ", the first: " + first})
}

// decide turns the fixed point into one decision an image.
func (j *judge) decide(gate *gate) []Decision {
	decisions := make([]Decision, len(j.images))
	blocked := func(i int) bool { return !j.keep[i] && len(gate.reasons) > 0 }
	for i := range j.images {
		d := &decisions[i]
		d.Image = &j.images[i]
		switch {
		case j.keep[i]:
			d.Action = Keep
			d.Reasons = j.reasons[i]
			for _, e := range j.graph.Down(i) {
				switch {
				case e.Relation == image.Child && (j.inUse[e.To] || j.pulled[e.To]):
					d.Reasons = append(d.Reasons, Reason{Code: IndexOfKept, Detail: "holds " + string(j.images[e.To].Digest)})
				case e.Relation == image.Referrer && j.inUse[e.To]:
					d.Reasons = append(d.Reasons, Reason{Code: SubjectOfKept, Detail: "subject of " + string(j.images[e.To].Digest)})
				}
			}
			d.Reasons = j.inherit(i, d.Reasons, ChildOfKept, ReferrerOfKept, func(parent int) bool { return j.keep[parent] })
		case blocked(i):
			d.Action = Blocked
			// What hangs on others shares their reasons: thousands of children must not each repeat hundreds of gaps.
			d.Reasons = j.inherit(i, nil, ChildOfBlocked, ReferrerOfBlocked, blocked)
			if j.graph.IsRoot(i) {
				d.Reasons = append(slices.Clip(gate.reasons), d.Reasons...) // shared, as long as there are no others
			}
		default:
			d.Action = Delete
			d.Reasons = j.inherit(i, slices.Clip(j.verdict[i]), ChildOfDeleted, ReferrerOfDeleted, func(int) bool { return true })
		}
	}
	return decisions
}

// inherit adds the reasons that an image has from those it hangs on.
func (j *judge) inherit(i int, reasons []Reason, child, referrer Code, from func(parent int) bool) []Reason {
	for _, e := range j.graph.Up(i) {
		if !from(e.To) {
			continue
		}
		r := Reason{Code: child, Detail: "child of " + string(j.images[e.To].Digest)}
		if e.Relation == image.Referrer {
			r = Reason{Code: referrer, Detail: "refers to " + string(j.images[e.To].Digest)}
		}
		reasons = append(reasons, r)
	}
	return reasons
}

// days writes a duration as the configuration does.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	if d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}
