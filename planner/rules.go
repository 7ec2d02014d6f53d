// Package planner decides, for every image of every scanned repository, whether it stays, may go, or is blocked by
// something that could not be looked at, and says why.
//
// It is pure: values in, values out. It knows no context, no clock (the time is a parameter), no SDK and no logger,
// and must never learn of any. The one rule it keeps: an image is deletable only if everything that could be using
// it was looked at and nothing is.
package planner

import (
	"time"

	"demurrage/internal/image"
)

// Rules are what the configuration says about retention and about what need not be looked at.
type Rules struct {
	Repositories []RepositoryRule // the first that matches decides; a repository that none matches is kept
	Attestations []Attestation
	MinAge       time.Duration // nothing younger is ever deleted
}

// RepositoryRule is the retention of the repositories that it matches.
type RepositoryRule struct {
	Name             image.Pattern
	Accounts         []image.Pattern // empty: all
	Expires          time.Duration   // 0: images are kept whatever their age
	FromNewestPush   bool            // ages count back from the repository's newest push, not from now
	KeepCount        int             // newest roots kept whatever their age
	KeepTags         []image.Pattern
	KeepPulledWithin time.Duration // 0: pull times do not matter
	UntaggedExpires  time.Duration // 0: untagged roots are judged like all others
	AllowEmpty       bool          // the last root may be deleted too: no decision of the plan, but a brake of the sweep
}

// Matches reports whether the rule is for this repository.
func (r *RepositoryRule) Matches(repo image.Repository) bool {
	return r.Name.Match(repo.Name) && (len(r.Accounts) == 0 || matchAny(r.Accounts, repo.Account))
}

// Attestation is a person's word that nothing in a scope uses images, although it could not be read.
type Attestation struct {
	Accounts []image.Pattern
	Regions  []string // empty: all
	Sources  []string // empty: all
	Reason   string
	Expires  time.Time // the instant from which it counts no more
}

// InForce reports whether the attestation still counts at a time.
func (a *Attestation) InForce(now time.Time) bool { return now.Before(a.Expires) }

func matchAny(patterns []image.Pattern, name string) bool {
	for _, p := range patterns {
		if p.Match(name) {
			return true
		}
	}
	return false
}
