package planner

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"demurrage/internal/image"
)

// Usage is what a run found out about use, everywhere: the first pass.
type Usage struct {
	Uses      []image.Use
	Coverage  []image.Coverage
	Unscanned []Unscanned
	// Expected are the sources that the run meant to look at (account, region and source of each). One without an
	// entry in Coverage was not looked at: it failed.
	Expected []image.Coverage

	Mirrors      []image.Mirror
	Trusts       map[string][]string // account -> the trust policies of its roles that admit others
	Organization image.Organization
	Notes        []image.Note
}

// Merged is the use of all targets, joined on the registries it points at, with what could not be looked at.
// It is immutable: any number of repositories can be planned from it.
type Merged struct {
	usage        Usage
	rules        Rules
	now          time.Time
	uses         []image.Use // sorted by CompareUses
	byRepository map[image.Repository]*repositoryUses
	mirrors      map[image.Registry][]*image.Mirror // by upstream
	*reach
}

// reach is who could use what, and what of that is not known. It does not depend on the uses, if nothing is attested.
type reach struct {
	coverage     []image.Coverage // attestations applied
	attested     []Attested
	unscanned    []Unscanned
	gaps         []Gap
	notes        []image.Note
	assumers     map[string]access // account -> who may assume a role there
	members      map[string]*image.Member
	organization image.Organization
	gapsOf       map[string][]int         // account -> the gaps that are about its workloads; "*": those that may be about any
	everyGap     []int                    // all gaps that are about workloads
	trustGaps    map[string][]int         // account -> the gaps in who may assume its roles
	known        map[string]bool          // accounts that are scanned, or known not to be
	roleGaps     map[string][]int         // account -> the gaps in what may assume a role there; see assumable
	consumers    sync.Map                 // of consumersOf, by what they follow from
	registryGaps map[image.Registry][]int // gaps in the reading of a registry itself
	whole        map[image.Registry]bool  // registries whose repositories are all known
}

type repositoryUses struct {
	byTag    map[string][]int // indexes into uses
	byDigest map[image.Digest][]int
	all      []int
}

// Merge joins the uses of every target with what was and was not looked at. The order of its inputs does not matter.
func Merge(rules Rules, now time.Time, usage Usage) *Merged {
	m := join(rules, now, usage)
	m.reach = &reach{
		coverage:     slices.Clone(usage.Coverage),
		unscanned:    slices.Clone(usage.Unscanned),
		notes:        slices.Clone(usage.Notes),
		assumers:     map[string]access{},
		organization: usage.Organization,
		members:      map[string]*image.Member{},
		gapsOf:       map[string][]int{},
		trustGaps:    map[string][]int{},
		known:        map[string]bool{},
		roleGaps:     map[string][]int{},
		registryGaps: map[image.Registry][]int{},
		whole:        map[image.Registry]bool{},
	}
	slices.SortFunc(m.notes, image.CompareNotes)
	m.notes = slices.Compact(m.notes)
	for account, trusts := range usage.Trusts {
		var a access
		for _, trust := range trusts {
			a.add(assumers(trust))
		}
		m.assumers[account] = a
	}
	for i := range m.organization.Members {
		member := &m.organization.Members[i]
		m.members[member.Account] = member
	}
	m.missing(usage.Expected)
	slices.SortFunc(m.coverage, func(a, b image.Coverage) int {
		return cmp.Or(image.CompareCoverage(a, b), cmp.Compare(a.Error, b.Error))
	})
	slices.SortFunc(m.unscanned, func(a, b Unscanned) int { return cmp.Compare(a.Account, b.Account) })
	m.attest()
	m.findGaps()
	m.assumable()
	return m
}

// Again merges once more, with other uses and with what could not be looked at this time on top.
func (m *Merged) Again(uses []image.Use, gaps []image.Coverage) *Merged {
	usage := m.usage
	usage.Uses = uses
	if len(gaps) > 0 || len(m.attested) > 0 {
		usage.Coverage = slices.Concat(usage.Coverage, gaps)
		return Merge(m.rules, m.now, usage)
	}
	again := join(m.rules, m.now, usage)
	again.reach = m.reach // the same for every look, which would go through the organization each time
	return again
}

// join sorts the uses, those through caches too, by what they use.
func join(rules Rules, now time.Time, usage Usage) *Merged {
	m := &Merged{
		usage:        usage,
		rules:        rules,
		now:          now,
		uses:         slices.Clone(usage.Uses),
		byRepository: map[image.Repository]*repositoryUses{},
		mirrors:      map[image.Registry][]*image.Mirror{},
	}
	m.mirror(usage.Mirrors)
	slices.SortFunc(m.uses, image.CompareUses)
	m.uses = slices.Compact(m.uses)
	for i, u := range m.uses {
		r := m.byRepository[u.Ref.Repository]
		if r == nil {
			r = &repositoryUses{byTag: map[string][]int{}, byDigest: map[image.Digest][]int{}}
			m.byRepository[u.Ref.Repository] = r
		}
		r.all = append(r.all, i)
		if u.Ref.Tag != "" {
			r.byTag[u.Ref.Tag] = append(r.byTag[u.Ref.Tag], i)
		}
		if u.Ref.Digest != "" {
			r.byDigest[u.Ref.Digest] = append(r.byDigest[u.Ref.Digest], i)
		}
	}
	return m
}

// hops is how many caches are followed from one to the next; a ring of them ends here.
const hops = 8

// mirror adds, for every use of an image of a pull-through cache, the use of the image that the cache takes it from, and
// so on where that is a cache itself.
func (m *Merged) mirror(mirrors []image.Mirror) {
	byCache := map[image.Registry][]*image.Mirror{}
	for i := range mirrors {
		mirror := &mirrors[i]
		byCache[mirror.Cache] = append(byCache[mirror.Cache], mirror)
		m.mirrors[mirror.Upstream] = append(m.mirrors[mirror.Upstream], mirror)
	}
	uses := m.uses
	for range hops {
		var through []image.Use
		for i := range uses {
			for _, mirror := range byCache[uses[i].Ref.Repository.Registry] {
				source, ok := mirror.Source(uses[i].Ref.Repository)
				if !ok {
					continue
				}
				use := uses[i]
				use.Through = use.Ref.Repository.String()
				use.Ref.Repository = source
				through = append(through, use)
			}
		}
		if len(through) == 0 {
			return
		}
		m.uses = append(m.uses, through...)
		uses = through
	}
}

// missing adds a failure for each source that nothing is known about: the run was interrupted, or its data is lost.
func (m *Merged) missing(expected []image.Coverage) {
	type key struct{ account, region, source string }
	seen := make(map[key]bool, len(m.coverage))
	for _, c := range m.coverage {
		seen[key{c.Account, c.Region, c.Source}] = true
	}
	for _, c := range expected {
		if k := (key{c.Account, c.Region, c.Source}); !seen[k] {
			seen[k] = true
			m.coverage = append(m.coverage, image.Coverage{Account: c.Account, Region: c.Region, Source: c.Source,
				Status: image.CoverageFailed, Error: "not looked at in this run", Unread: true})
		}
	}
}

// attest turns failures that somebody vouches for into attested ones. An attestation says that nothing in its scope
// uses images; it cannot say what is in a registry. So a registry that was read in part stays failed, while one of
// which nothing was read (the account refused the role) may be attested: none of its images are in the plan anyway. Nor can it
// say what others use through an account's caches, see mayBeCache. A list
// of uses from elsewhere that fails is no account's: whoever vouches for it removes it.
func (m *Merged) attest() {
	for _, a := range m.rules.Attestations {
		if a.InForce(m.now) {
			m.attested = append(m.attested, Attested{Attestation: a})
		}
	}
	for i := range m.coverage {
		c := &m.coverage[i]
		if c.Status != image.CoverageFailed || c.Source == image.SourceECR && !c.Unread || c.Account == anyAccount || m.mayBeCache(c) {
			continue
		}
		for j := range m.attested {
			if m.attested[j].Covers(c.Account, c.Region, c.Source) {
				c.Status = image.CoverageAttested
				m.attested[j].Used++
				break
			}
		}
	}
}

// mayBeCache reports whether a failure leaves it unknown what a registry mirrors that others use images of: whoever
// vouches that nothing in the account uses images says nothing of them.
func (m *Merged) mayBeCache(c *image.Coverage) bool {
	if c.Source != image.SourceMirrors && c.Region != "*" {
		return false
	}
	for repository, uses := range m.byRepository {
		if repository.Account == c.Account && (repository.Region == c.Region || c.Region == "*" && !m.mirrorsRead(repository.Registry)) &&
			slices.ContainsFunc(uses.all, func(i int) bool { return m.uses[i].Account != c.Account }) {
			return true
		}
	}
	return false
}

// mirrorsRead reports whether it is known what a registry mirrors.
func (m *Merged) mirrorsRead(r image.Registry) bool {
	return slices.ContainsFunc(m.coverage, func(c image.Coverage) bool {
		return c.Account == r.Account && c.Region == r.Region && c.Source == image.SourceMirrors && c.Status == image.CoverageOK
	})
}

// Covers reports whether a failure lies in the scope: an attestation for named regions says nothing of a failure whose
// region is not known ("*"), and one for named sources nothing of the failure to learn an account's regions.
func (a *Attestation) Covers(account, region, source string) bool {
	return matchAny(a.Accounts, account) &&
		(len(a.Regions) == 0 || slices.Contains(a.Regions, region)) &&
		(len(a.Sources) == 0 || slices.Contains(a.Sources, source))
}

// findGaps groups what failed by what a person would mend: the account and the error.
func (m *Merged) findGaps() {
	type key struct{ account, err string }
	at := map[key]int{}
	for _, c := range m.coverage {
		m.known[c.Account] = true
		if c.Source == image.SourceECR && c.Status == image.CoverageOK {
			m.whole[image.Registry{Account: c.Account, Region: c.Region}] = true
		}
		if c.Status != image.CoverageFailed {
			continue
		}
		k := key{c.Account, c.Error}
		i, ok := at[k]
		if !ok {
			i = len(m.gaps)
			at[k] = i
			m.gaps = append(m.gaps, Gap{Account: c.Account, Error: c.Error})
		}
		g := &m.gaps[i]
		g.Regions = insert(g.Regions, c.Region)
		g.Sources = insert(g.Sources, c.Source)
	}
	for _, u := range m.unscanned {
		m.known[u.Account] = true
		if i := m.vouches(u.Account); i >= 0 {
			m.attested[i].Used++
		} else {
			m.gaps = append(m.gaps, Gap{Account: u.Account, Error: u.Why, Unscanned: true})
		}
	}
	slices.SortFunc(m.gaps, compareGaps)
	for i := range m.gaps {
		g := &m.gaps[i]
		use := g.Unscanned
		for _, source := range g.Sources {
			switch source {
			case image.SourceECR:
				for _, region := range g.Regions {
					r := image.Registry{Account: g.Account, Region: region}
					m.registryGaps[r] = append(m.registryGaps[r], i)
				}
			case image.SourceIAM:
				m.trustGaps[g.Account] = append(m.trustGaps[g.Account], i)
			default:
				use = true
			}
		}
		if use { // the others say nothing about who uses images
			m.gapsOf[g.Account] = append(m.gapsOf[g.Account], i)
			m.everyGap = append(m.everyGap, i)
		}
	}
}

// vouches is the place of the attestation of everything in an account that stands in for the account, -1 if there is
// none.
func (m *Merged) vouches(account string) int {
	return slices.IndexFunc(m.attested, func(a Attested) bool {
		return len(a.Regions) == 0 && len(a.Sources) == 0 && matchAny(a.Accounts, account)
	})
}

func compareGaps(a, b Gap) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Error, b.Error), slices.Compare(a.Regions, b.Regions),
		slices.Compare(a.Sources, b.Sources))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// insert adds to a sorted list what is not in it yet.
func insert(list []string, s string) []string {
	i, found := slices.BinarySearch(list, s)
	if found {
		return list
	}
	return slices.Insert(list, i, s)
}

// reason is a gap as the reason of a blocked image.
func (g *Gap) reason() Reason {
	if g.Unscanned {
		who := "account " + g.Account
		switch {
		case g.Account == anyAccount:
			who = "any account of AWS"
		case !image.ValidAccount(g.Account):
			who = "organization " + g.Account
		}
		return Reason{Code: UnscannedConsumer, Account: g.Account, Detail: who + " could pull from this repository and is not scanned: " + g.Error}
	}
	return Reason{Code: CoverageGap, Account: g.Account, Source: strings.Join(g.Sources, ","), Region: strings.Join(g.Regions, ","), Detail: g.Error}
}

// Build plans every repository that the inventories yield, in their order (account, region, name), and sums up.
// The inventories are gone through once here and once more each time Plan.Repositories is.
func Build(m *Merged, inventories iter.Seq2[image.Inventory, error]) (*Plan, error) {
	p := &Plan{
		Now:          m.now,
		Complete:     !slices.ContainsFunc(m.coverage, func(c image.Coverage) bool { return c.Status == image.CoverageFailed }),
		Coverage:     m.coverage,
		Gaps:         slices.Clone(m.gaps),
		Unscanned:    m.unscanned,
		Attestations: slices.Clone(m.attested),
		Notes:        m.notes,
	}
	p.Repositories = func(yield func(*RepositoryPlan, error) bool) {
		for inv, err := range inventories {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(m.Repository(&inv), nil) {
				return
			}
		}
	}
	seen := map[image.Repository]bool{}
	own := ownGaps{}
	vouched := map[string]bool{}
	for inv, err := range inventories {
		if err != nil {
			return nil, err
		}
		r := m.Repository(&inv)
		seen[inv.Repository] = true
		p.Count.Add(r.Count)
		p.Broken = append(p.Broken, r.Broken...)
		p.Summaries = append(p.Summaries, r.RepositorySummary)
		for _, account := range r.gate.vouched {
			if !vouched[account] {
				vouched[account] = true
				p.Attestations[m.vouches(account)].Used++
			}
		}
		if r.Count.Blocked.Images > 0 {
			p.Gaps = own.charge(p.Gaps, r)
		}
	}
	for repo, uses := range m.byRepository {
		if !seen[repo] && m.whole[repo.Registry] {
			for _, i := range uses.all {
				if m.uses[i].Through == "" { // the cache may have it still
					p.Broken = append(p.Broken, m.uses[i])
				}
			}
		}
	}
	slices.SortFunc(p.Broken, image.CompareUses)
	slices.SortFunc(p.Summaries, func(a, b RepositorySummary) int { return image.CompareRepositories(a.Repository, b.Repository) })
	slices.SortFunc(p.Gaps, func(a, b Gap) int {
		return cmp.Or(cmp.Compare(b.Unblocks.Bytes, a.Unblocks.Bytes), cmp.Compare(b.HoldsBack.Bytes, a.HoldsBack.Bytes),
			cmp.Compare(b.HoldsBack.Images, a.HoldsBack.Images), compareGaps(a, b))
	})
	return p, nil
}

// ownGaps are the gaps that only the repositories themselves show, by what a person would mend: their place in the
// plan's list.
type ownGaps map[string]int

// charge books the blocked images of a repository on the gaps that hold them back.
func (o ownGaps) charge(gaps []Gap, r *RepositoryPlan) []Gap {
	blockers := slices.Clone(r.gate.gaps)
	for _, g := range r.gate.own {
		key := g.Account + " " + strings.Join(g.Regions, ",") + " " + g.Error
		i, ok := o[key]
		if !ok {
			i = len(gaps)
			o[key] = i
			gaps = append(gaps, g)
		}
		blockers = append(blockers, i)
	}
	for _, i := range blockers {
		g := &gaps[i]
		g.HoldsBack.add(r.Count.Blocked)
		if len(blockers) == 1 {
			g.Unblocks.add(r.Count.Blocked)
			if g.UnblocksPerRegion == nil {
				g.UnblocksPerRegion = map[string]int64{}
			}
			g.UnblocksPerRegion[r.Repository.Region] += r.Count.Blocked.Bytes
		}
	}
	return gaps
}
