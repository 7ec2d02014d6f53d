// Package accounts turns accounts.toml into validated values: whose registries are planned, under which roles, by
// which rules, and which account–region pairs (targets) that makes. It also asks AWS Organizations which accounts
// there are.
//
// What is not valid never leaves it: a Config either is complete and consistent or was never made. It must never
// drop an account in silence (what is not scanned is named, with the reason), never guess what a wrong entry may have
// meant, and never hold or ask for credentials: the clients that it calls are handed to it.
package accounts

import (
	"cmp"
	"slices"
)

// Target is one account in one region: what is scanned at a time. It is comparable, and a map key.
type Target struct{ Account, Region string }

// String is "account/region".
func (t Target) String() string { return t.Account + "/" + t.Region }

// CompareTargets orders targets by account and region.
func CompareTargets(a, b Target) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
}

// Account is one AWS account with everything that the configuration (and the organization) say about it.
type Account struct {
	ID         string
	Name       string
	Owner      string
	CostCenter string
	Tags       map[string]string
	Enforce    bool // false: planned and reported, never deleted from

	// The ARNs of the roles to assume, "" where none is configured. "{partition}" stands in them as long as nothing
	// has told the account's partition: it is then that of whoever assumes them.
	Role, SweepRole string
	// Whether the account's own [[accounts]] entry names the role, rather than [assume].
	RoleOwn, SweepRoleOwn bool
	ExternalID            string

	Regions []string // whose registries are planned, in the order written; nil: those enabled in the account
	OU      string   // the path to it in the organization, of ids parted by "/"; "" where unknown
	State   string   // in the organization; "" where that was not asked
}

// AllRegions reports whether registries are planned in every region that is enabled in the account.
func (a Account) AllRegions() bool { return a.Regions == nil }

// Targets gives the targets of an account, given the regions that are enabled in it (see EnabledRegions): plan,
// those whose registries are planned; uses, those where uses are looked for, which are all enabled ones, since images
// are pulled across regions; and unavailable, those that the configuration names but that are not enabled in the
// account, so that nobody can look at them. Each is sorted; plan is a part of uses, and unavailable of neither.
//
// No enabled region at all means that they could not be found out: the configured regions are then taken to be
// enabled, and the caller has to record that others may exist.
func Targets(a Account, enabled []string) (plan, uses, unavailable []Target) {
	if len(enabled) == 0 {
		enabled = a.Regions
	}
	configured := a.Regions
	if a.AllRegions() {
		configured = enabled
	}
	for _, region := range configured {
		t := Target{a.ID, region}
		if slices.Contains(enabled, region) {
			plan = append(plan, t)
		} else {
			unavailable = append(unavailable, t)
		}
	}
	for _, region := range enabled {
		uses = append(uses, Target{a.ID, region})
	}
	return sorted(plan), sorted(uses), sorted(unavailable)
}

func sorted(targets []Target) []Target {
	slices.SortFunc(targets, CompareTargets)
	return slices.Compact(targets)
}
