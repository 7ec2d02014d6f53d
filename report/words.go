package report

import (
	"slices"
	"strings"

	"demurrage/internal/image"
	"demurrage/planner"
)

// What several outputs say in words.

// missed says what was not looked at: "ecs, eks in 2 regions", or in which ones.
func missed(g *planner.Gap, whole bool) string {
	switch {
	case g.Unscanned && g.Account == "*":
		return "anybody could pull"
	case g.Unscanned:
		return "not scanned"
	case g.Account == "*":
		return strings.Join(g.Sources, ", ")
	case slices.Equal(g.Sources, []string{"regions"}):
		return "which regions it has, so that uses in others may be missed"
	case slices.Contains(g.Regions, "*"):
		return "the whole account"
	}
	s := strings.Join(g.Sources, ", ")
	if len(g.Sources) > 6 && !whole {
		s = count(len(g.Sources), "source")
	}
	switch {
	case len(g.Regions) == 1 || whole:
		s += " in " + strings.Join(g.Regions, ", ")
	case len(g.Regions) > 1:
		s += " in " + count(len(g.Regions), "region")
	}
	return s
}

// remedy says what a person can do about a gap.
func remedy(g *planner.Gap) string {
	const attest = ", or add an [[attestations]] entry if nothing there uses images"
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(strings.ToLower(g.Error), w) })
	}
	switch {
	case g.Unscanned && g.Account == "*":
		return "let the policy name accounts or the organization" + attest
	case g.Unscanned && !image.ValidAccount(g.Account):
		return "let organizations:ListAccounts be called from here if it is yours" + attest
	case g.Unscanned:
		return "add the account to the scan" + attest
	case g.Account == "*":
		return "mend what the error says, then run again"
	case slices.Equal(g.Sources, []string{"regions"}) && !has("assume role"):
		return "allow the reading role account:ListRegions or ec2:DescribeRegions" + attest
	case has("manifests that are or may be indexes"):
		return "let the manifests be read; one that nobody can read has to be pushed again or deleted by hand"
	case has("not looked at in this run"):
		return "run the scan again: it was interrupted"
	case has("assumerole", "assume role"):
		return "deploy the reading role in the account and let it be assumed" + attest
	case has("accessdenied", "access denied", "not authorized", "unauthorized"):
		return "allow the reading role what the error names" + attest
	case has("throttl", "rate exceeded", "toomanyrequests", "too many requests"):
		return "run again, with a lower scan concurrency"
	case has("timeout", "deadline exceeded", "no such host", "connection re", "dial tcp"):
		return "make the endpoint reachable from here, then run again"
	case slices.Equal(g.Sources, []string{image.SourceECR}):
		return "let the registry be read, then run again"
	}
	return "mend what the error says, then run again" + attest
}

// scope says what an attestation is for.
func scope(a *planner.Attestation) string {
	accounts := make([]string, len(a.Accounts))
	for i, p := range a.Accounts {
		accounts[i] = p.String()
	}
	all := func(list []string, what string) string {
		if len(list) == 0 {
			return "all " + what
		}
		return what + " " + strings.Join(list, " ")
	}
	text := "accounts " + strings.Join(accounts, " ")
	if slices.Contains(accounts, "*") {
		text = "all accounts"
	}
	return text + ", " + all(a.Regions, "regions") + ", " + all(a.Sources, "sources")
}

// liveness is how a broken reference matters.
func liveness(u *image.Use) string {
	if u.Live {
		return "live"
	}
	return "latent"
}

// String says how much was looked at.
func (c coverage) String() string {
	s := number(c.ok) + " of " + count(c.total(), "source") + " read"
	for _, part := range []struct {
		n    int
		what string
	}{{c.unavailable, "not in their region"}, {c.attested, "attested"}, {c.failed, "failed"}} {
		if part.n > 0 {
			s += ", " + number(part.n) + " " + part.what
		}
	}
	return s
}
