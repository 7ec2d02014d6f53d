package planner

import (
	"slices"
	"strings"

	"demurrage/internal/image"
)

// anyAccount stands for every account of AWS in a gap, and in the coverage of what may be about any.
const anyAccount = "*"

// consumers are those who could pull from a repository, as far as they are not known to the last: what could not be
// looked at of them, and those that nobody looks at. Repositories with the same policies share them.
type consumers struct {
	accounts  []string // that could pull, the own one too; sorted
	all       bool     // every account could
	gaps      []int    // sorted
	strangers []Gap    // accounts that could pull and are not scanned
	vouched   []string // those of them that an attestation stands in for
	reasons   []Reason // of gaps and strangers, for every image
}

// consumersOf finds out who could pull from a repository:
//   - workloads of its own account;
//   - those whom its policy lets in, or that of its registry;
//   - those who could pull from a cache that pulls from it, and that cache's own account;
//   - accounts that could not be looked at and that may assume a role of any of these accounts. (Those outside of the
//     organization are not counted here: what they run on plain hosts nobody can list.)
func (m *Merged) consumersOf(inv *image.Inventory) *consumers {
	home := inv.Repository
	policy := inv.Policy
	unread := inv.HasPolicy && policy == "" // its error blocks the repository anyway
	key := []string{home.Account, policy}
	caches := m.cachesOf(home)
	some := saysWhich(policy) // about some repositories only
	for _, c := range caches {
		key = append(key, c.Cache.Account, c.Cache.Region, c.Prefix)
		some = some || slices.ContainsFunc(c.Policies, saysWhich)
	}
	if some {
		key = append(key, home.ARN())
	}
	if unread {
		key = append(key, "unread")
	}
	name := strings.Join(key, "\x00")
	if c, ok := m.consumers.Load(name); ok {
		return c.(*consumers)
	}
	b := consumerSet{m: m, home: home.Account, pull: map[string]bool{}, gaps: map[int]bool{}, strangers: map[string]string{}}
	b.gapsOf(anyAccount)
	b.gapsOf(home.Account)
	if unread {
		b.everyGap()
	}
	b.admit(pullers(policy, home), "the policy of the repository lets it pull")
	for _, c := range caches {
		b.pullFrom(c.Cache.Account)
		for _, p := range c.Policies {
			b.admit(pullers(p, c.repository), "it may pull through the cache "+c.Cache.Host()+"/"+c.Prefix)
		}
	}
	b.rolesOf(home.Account)
	c := b.consumers()
	m.consumers.Store(name, c)
	return c
}

// saysWhich reports whether a policy, as that of a registry does, says which repositories it is about.
func saysWhich(policy string) bool { return strings.Contains(strings.ToLower(policy), "resource\"") }

// cache is a pull-through cache of a repository, with the repository there that holds its images.
type cache struct {
	*image.Mirror
	repository image.Repository
}

// cachesOf finds the caches that pull from a repository, and those that pull from these.
func (m *Merged) cachesOf(home image.Repository) []cache {
	var caches []cache
	upstream := []image.Repository{home}
	seen := map[image.Repository]bool{home: true}
	for range hops {
		var next []image.Repository
		for _, u := range upstream {
			for _, mirror := range m.mirrors[u.Registry] {
				if cached, ok := mirror.Cached(u); ok && !seen[cached] {
					seen[cached] = true
					caches = append(caches, cache{mirror, cached})
					next = append(next, cached)
				}
			}
		}
		upstream = next
	}
	return caches
}

// consumerSet collects consumers.
type consumerSet struct {
	m         *Merged
	home      string
	pull      map[string]bool // accounts that could
	all       bool            // any could
	gaps      map[int]bool
	strangers map[string]string // account, or organization, or "*" -> why it could pull
	vouched   []string
}

func (b *consumerSet) gapsOf(account string) {
	if account != anyAccount {
		b.pull[account] = true
	}
	for _, i := range b.m.gapsOf[account] {
		b.gaps[i] = true
	}
}

// rolesOf adds the accounts that may assume a role of an account, and the gaps in what may.
func (b *consumerSet) rolesOf(account string) {
	for _, i := range b.m.roleGaps[account] {
		b.gaps[i] = true
	}
	b.all = b.all || len(b.m.trustGaps[account]) > 0
	if a, ok := b.m.assumers[account]; ok {
		for id := range b.m.known {
			if b.m.admits(&a, id) {
				b.pull[id] = true
			}
		}
	}
}

// pullFrom adds the gaps of all that could pull as an account.
func (b *consumerSet) pullFrom(account string) {
	b.gapsOf(account)
	b.rolesOf(account)
}

func (b *consumerSet) everyGap() {
	b.all = true
	for _, i := range b.m.everyGap {
		b.gaps[i] = true
	}
}

// admit adds those that a policy admits.
func (b *consumerSet) admit(a access, why string) {
	m := b.m
	for _, id := range a.accounts {
		b.account(id, why)
	}
	if a.services {
		// To use an image in an AWS service one has to be admitted oneself too. Those who are no longer may be of the
		// company, of which all gaps count.
		b.everyGap()
	}
	for _, org := range a.orgs {
		b.organization(org, why, func(*image.Member) bool { return true })
	}
	for _, path := range a.paths {
		org, _, _ := strings.Cut(path, "/")
		b.organization(org, why, func(member *image.Member) bool { return member.Under(m.organization.ID, path) })
	}
	if a.anyone {
		b.everyGap()
		b.stranger(anyAccount, why+", as it lets any account of AWS")
	}
}

func (b *consumerSet) account(id, why string) {
	if id == b.home {
		return
	}
	b.pullFrom(id)
	if !b.m.known[id] {
		b.stranger(id, why)
	}
}

func (b *consumerSet) organization(id, why string, in func(*image.Member) bool) {
	o := &b.m.organization
	if o.ID != id {
		b.everyGap()
		b.stranger(id, why+", and which accounts the organization has is not known")
		return
	}
	for i := range o.Members {
		if member := &o.Members[i]; in(member) {
			b.account(member.Account, why)
		}
	}
}

func (b *consumerSet) stranger(id, why string) {
	if b.m.vouches(id) >= 0 {
		b.vouched = insert(b.vouched, id)
		return
	}
	if b.strangers[id] == "" {
		b.strangers[id] = why
	}
}

// assumable finds, for every account whose roles were to be read, the gaps of accounts that may assume one of them:
// they could do there whatever the role may. Where the roles could not be read that is any account, and the roles are one
// more thing to mend.
func (m *Merged) assumable() {
	for home := range m.trustGaps {
		for _, i := range m.everyGap {
			if m.gaps[i].Account != home {
				m.roleGaps[home] = append(m.roleGaps[home], i)
			}
		}
		if len(m.roleGaps[home]) > 0 {
			m.roleGaps[home] = append(m.roleGaps[home], m.trustGaps[home]...)
		}
	}
	for home, a := range m.assumers {
		for _, i := range m.everyGap {
			if m.admits(&a, m.gaps[i].Account) {
				m.roleGaps[home] = append(m.roleGaps[home], i)
			}
		}
	}
}

// admits reports whether roles that let in a may be assumed from an account.
func (m *Merged) admits(a *access, id string) bool {
	member := m.members[id]
	return a.anyone || slices.Contains(a.accounts, id) ||
		slices.ContainsFunc(a.orgs, func(org string) bool { return member == nil || org == m.organization.ID }) ||
		slices.ContainsFunc(a.paths, func(path string) bool { return member == nil || member.Under(m.organization.ID, path) })
}

// Pullers gives the accounts whose workloads could use images of a repository, as far as its policy, that of its
// registry, pull-through caches and the roles of its account tell; or all: any account could.
func (m *Merged) Pullers(inv *image.Inventory) (accounts []string, all bool) {
	c := m.consumersOf(inv)
	return c.accounts, c.all
}

// UsesOf gives the uses of images of a registry, through pull-through caches too.
func (m *Merged) UsesOf(r image.Registry) []image.Use {
	var uses []image.Use
	for repository, of := range m.byRepository {
		if repository.Registry == r {
			for _, i := range of.all {
				uses = append(uses, m.uses[i])
			}
		}
	}
	slices.SortFunc(uses, image.CompareUses)
	return uses
}

func (b *consumerSet) consumers() *consumers {
	c := &consumers{vouched: b.vouched, all: b.all, accounts: sortedKeys(b.pull)}
	for i := range b.m.gaps {
		if b.gaps[i] {
			c.gaps = append(c.gaps, i)
			c.reasons = append(c.reasons, b.m.gaps[i].reason())
		}
	}
	for _, id := range sortedKeys(b.strangers) {
		gap := Gap{Account: id, Unscanned: true, Error: b.strangers[id]}
		c.strangers = append(c.strangers, gap)
		c.reasons = append(c.reasons, gap.reason())
	}
	return c
}
