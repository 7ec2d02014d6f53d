package planner

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"demurrage/internal/image"
)

// access is who a policy lets in. It may hold more than the policy allows and never less: whatever cannot be understood
// lets anyone in, and what denies is not read.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
type access struct {
	anyone   bool     // every account of AWS
	services bool     // an AWS service, on behalf of accounts that the policy does not tell
	accounts []string // sorted
	orgs     []string // ids of organizations; sorted
	paths    []string // patterns of aws:PrincipalOrgPaths; sorted
}

func (a *access) add(b access) {
	a.anyone = a.anyone || b.anyone
	a.services = a.services || b.services
	for _, s := range b.accounts {
		a.accounts = insert(a.accounts, s)
	}
	for _, s := range b.orgs {
		a.orgs = insert(a.orgs, s)
	}
	for _, s := range b.paths {
		a.paths = insert(a.paths, s)
	}
}

// policyStatement is a statement of a policy, as far as it says who is let in.
type policyStatement struct {
	Effect                string
	Principal             json.RawMessage
	NotPrincipal          json.RawMessage
	Action, NotAction     json.RawMessage
	Resource, NotResource json.RawMessage
	Condition             map[string]map[string]json.RawMessage
}

// pullers says who may pull from a repository by policies: one text or several, one after the other. Pulling begins
// with the manifest, so that it is ecr:BatchGetImage that counts.
func pullers(policies string, repository image.Repository) access {
	return admitted(policies, func(s *policyStatement) bool {
		return s.allows("ecr:BatchGetImage") && s.concerns(repository.ARN())
	})
}

// assumers says who may assume a role by its trust policy. Federated users (of GitHub, of a company's directory) are no
// accounts of AWS.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_actions-resources-contextkeys.html
func assumers(trust string) access {
	return admitted(trust, func(s *policyStatement) bool { return s.allows("sts:AssumeRole") })
}

func admitted(policies string, relevant func(*policyStatement) bool) access {
	var a access
	d := json.NewDecoder(strings.NewReader(policies))
	for {
		var doc struct{ Statement json.RawMessage }
		err := d.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return a
		}
		statements, ok := oneOrMany[policyStatement](doc.Statement)
		if err != nil || !ok {
			return access{anyone: true}
		}
		for i := range statements {
			if s := &statements[i]; s.Effect != "Deny" && relevant(s) {
				a.add(s.admits())
			}
		}
	}
}

// oneOrMany reads what policies write as a value or as a list of values.
func oneOrMany[T any](raw json.RawMessage) (many []T, ok bool) {
	if json.Unmarshal(raw, &many) == nil {
		return many, true
	}
	var one T
	if json.Unmarshal(raw, &one) != nil {
		return nil, false
	}
	return []T{one}, true
}

// allows reports whether the statement may allow an action.
func (s *policyStatement) allows(action string) bool {
	actions, ok := oneOrMany[string](s.Action)
	if !ok || len(s.NotAction) > 0 {
		return true
	}
	return slices.ContainsFunc(actions, func(a string) bool { return image.Glob(strings.ToLower(a)).Match(strings.ToLower(action)) })
}

// concerns reports whether the statement may be about a resource. In a repository's own policy all are.
func (s *policyStatement) concerns(arn string) bool {
	resources, ok := oneOrMany[string](s.Resource)
	if !ok || len(s.NotResource) > 0 {
		return true
	}
	return slices.ContainsFunc(resources, func(r string) bool { return strings.Contains(r, "${") || image.Glob(r).Match(arn) })
}

// admits is whom the statement lets in.
func (s *policyStatement) admits() access {
	if len(s.NotPrincipal) > 0 {
		return access{anyone: true}
	}
	if all, ok := oneOrMany[string](s.Principal); ok {
		return s.narrow(principals(all), principalKeys)
	}
	var typed map[string]json.RawMessage
	if json.Unmarshal(s.Principal, &typed) != nil || len(typed) == 0 {
		return access{anyone: true}
	}
	var a access
	for kind, raw := range typed {
		named, ok := oneOrMany[string](raw)
		switch {
		case !ok:
			a.anyone = true
		case kind == "AWS":
			a.add(s.narrow(principals(named), principalKeys))
		case kind == "Service":
			a.add(s.narrow(access{services: true}, sourceKeys))
		case kind == "Federated" && !s.allows("ecr:BatchGetImage"): // of a trust policy
		default:
			a.anyone = true
		}
	}
	return a
}

var (
	principalARN = regexp.MustCompile(`^arn:[a-z-]+:(?:iam|sts)::([0-9]{12}):`)
	// formerPrincipal is what AWS puts in the place of a role or user that was deleted: it admits nobody any more.
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
	formerPrincipal = regexp.MustCompile(`^A(?:ROA|IDA)[A-Z0-9]{12,}$`)
)

func principals(names []string) access {
	var a access
	for _, name := range names {
		switch m := principalARN.FindStringSubmatch(name); {
		case m != nil:
			a.accounts = insert(a.accounts, m[1])
		case image.ValidAccount(name):
			a.accounts = insert(a.accounts, name)
		case !formerPrincipal.MatchString(name):
			a.anyone = true
		}
	}
	return a
}

// The condition keys that tell the account of whoever calls, and of the resource that an AWS service calls for.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
var (
	principalKeys = map[string]func(string) (access, bool){
		"aws:principalaccount": accountOf, "aws:principalarn": accountOfARN, "aws:principalorgid": orgOf, "aws:principalorgpaths": pathOf,
	}
	sourceKeys = map[string]func(string) (access, bool){
		"aws:sourceaccount": accountOf, "aws:sourcearn": accountOfARN, "aws:sourceorgid": orgOf, "aws:sourceorgpaths": pathOf,
	}
	anyARN  = regexp.MustCompile(`^arn:[a-z*-]+:[a-z0-9*-]+:[a-z0-9*-]*:([0-9]{12}):`)
	orgID   = regexp.MustCompile(`^o-[a-z0-9]+$`)
	orgPath = regexp.MustCompile(`^o-[a-z0-9]+/`)
)

func accountOf(v string) (access, bool) {
	return access{accounts: []string{v}}, image.ValidAccount(v)
}

func accountOfARN(v string) (access, bool) {
	m := anyARN.FindStringSubmatch(v)
	if m == nil {
		return access{}, false
	}
	return access{accounts: []string{m[1]}}, true
}

func orgOf(v string) (access, bool) { return access{orgs: []string{v}}, orgID.MatchString(v) }

func pathOf(v string) (access, bool) { return access{paths: []string{v}}, orgPath.MatchString(v) }

// narrow applies the conditions that are understood: those that ask for a value of one of the keys. Any other leaves
// things as they are, as do operators that a missing key satisfies.
func (s *policyStatement) narrow(a access, keys map[string]func(string) (access, bool)) access {
	for operator, conditions := range s.Condition {
		switch strings.ToLower(strings.TrimPrefix(operator, "ForAnyValue:")) {
		case "stringequals", "stringequalsignorecase", "stringlike", "arnequals", "arnlike":
		default:
			continue
		}
		for key, raw := range conditions {
			read := keys[strings.ToLower(key)]
			values, ok := oneOrMany[string](raw)
			if read == nil || !ok {
				continue
			}
			var only access
			for _, v := range values {
				one, understood := read(v)
				if !understood || strings.Contains(v, "${") {
					ok = false
					break
				}
				only.add(one)
			}
			if ok {
				a = a.within(only)
			}
		}
	}
	return a
}

// within narrows down to those that a condition admits, which are of one kind: accounts, organizations or paths. Of two
// conditions on different kinds the more telling one is kept.
func (a access) within(only access) access {
	switch {
	case only.accounts != nil && (a.accounts == nil || a.anyone || a.services):
		return only
	case only.accounts != nil:
		a.accounts = slices.DeleteFunc(slices.Clone(a.accounts), func(id string) bool { return !slices.Contains(only.accounts, id) })
		return a
	case a.anyone || a.services:
		return only
	case a.orgs != nil && only.paths != nil:
		return only
	default:
		return a
	}
}
