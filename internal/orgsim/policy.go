package orgsim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// policyDoc is a parsed IAM policy.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type policyDoc struct {
	Version    string
	ID         string        `json:"Id"`
	Statements statementList `json:"Statement"`
}

type statement struct {
	Sid          string
	Effect       string
	Action       stringList
	NotAction    stringList
	Resource     stringList
	NotResource  stringList
	Principal    *principalSet
	NotPrincipal *principalSet
	Condition    map[string]map[string]valueList
}

// statementList is a list, or one statement alone.
type statementList []statement

func (l *statementList) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte("[")) {
		return strictJSON(b, (*[]statement)(l))
	}
	var s statement
	if err := strictJSON(b, &s); err != nil {
		return err
	}
	*l = statementList{s}
	return nil
}

// stringList is a list of strings, or one alone.
type stringList []string

func (l *stringList) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte("[")) {
		return json.Unmarshal(b, (*[]string)(l))
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*l = stringList{s}
	return nil
}

// valueList is a condition's values: strings, booleans or numbers, one or a list.
type valueList []string

func (l *valueList) UnmarshalJSON(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var data any
	if err := d.Decode(&data); err != nil {
		return err
	}
	list, ok := data.([]any)
	if !ok {
		list = []any{data}
	}
	for _, e := range list {
		switch e.(type) {
		case string, bool, json.Number:
			*l = append(*l, fmt.Sprint(e))
		default:
			return fmt.Errorf("a condition's value cannot be %v", e)
		}
	}
	return nil
}

// principalSet is a Principal element: {"AWS": …, "Service": …, "Federated": …} or "*".
type principalSet struct {
	AWS, Service, Federated, CanonicalUser stringList
}

func (p *principalSet) UnmarshalJSON(b []byte) error {
	if bytes.HasPrefix(b, []byte(`"`)) {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		if s != "*" {
			return fmt.Errorf("invalid principal %q", s)
		}
		p.AWS = stringList{"*"}
		return nil
	}
	type plain principalSet
	return strictJSON(b, (*plain)(p))
}

func strictJSON(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("there is something after the document")
	}
	return nil
}

// parsePolicy parses and checks a policy of any kind.
func parsePolicy(text string) (*policyDoc, error) {
	var p policyDoc
	if err := strictJSON([]byte(text), &p); err != nil {
		return nil, fmt.Errorf("the policy is not valid JSON of a policy: %w", err)
	}
	if p.Version != "" && p.Version != "2012-10-17" && p.Version != "2008-10-17" {
		return nil, fmt.Errorf("unknown policy version %q", p.Version)
	}
	if len(p.Statements) == 0 {
		return nil, fmt.Errorf("the policy has no statement")
	}
	for _, st := range p.Statements {
		if err := st.check(); err != nil {
			return nil, err
		}
	}
	return &p, nil
}

func (st *statement) check() error {
	switch {
	case st.Effect != "Allow" && st.Effect != "Deny":
		return fmt.Errorf("invalid effect %q", st.Effect)
	case (len(st.Action) > 0) == (len(st.NotAction) > 0):
		return fmt.Errorf("a statement needs either Action or NotAction")
	case len(st.Resource) > 0 && len(st.NotResource) > 0:
		return fmt.Errorf("a statement cannot have both Resource and NotResource")
	case st.Principal != nil && st.NotPrincipal != nil:
		return fmt.Errorf("a statement cannot have both Principal and NotPrincipal")
	}
	for _, a := range slices.Concat(st.Action, st.NotAction) {
		if a != "*" && !strings.Contains(a, ":") {
			return fmt.Errorf("the action %q has no service", a)
		}
	}
	for _, set := range []*principalSet{st.Principal, st.NotPrincipal} {
		if set == nil {
			continue
		}
		for _, p := range set.AWS {
			if p != "*" && !isAccountID(p) && !(strings.HasPrefix(p, "arn:") && !strings.Contains(p, "*")) {
				return fmt.Errorf("invalid principal in policy: %q", p)
			}
		}
	}
	for name, keys := range st.Condition {
		if _, ok := conditionOperator(name); !ok && !otherOperator(name) {
			return fmt.Errorf("unknown condition operator %q", name)
		}
		if len(keys) == 0 {
			return fmt.Errorf("the condition %q is empty", name)
		}
	}
	return nil
}

// parseIdentityPolicy parses a policy of a role or a session: it says on what, not to whom.
func parseIdentityPolicy(text string) (*policyDoc, error) {
	p, err := parsePolicy(text)
	if err != nil {
		return nil, err
	}
	for _, st := range p.Statements {
		if st.Principal != nil || st.NotPrincipal != nil {
			return nil, fmt.Errorf("policy document should not specify a principal")
		}
		if len(st.Resource) == 0 && len(st.NotResource) == 0 {
			return nil, fmt.Errorf("policy statement must contain resources")
		}
	}
	return p, nil
}

// parseTrustPolicy parses a role's trust policy: it says to whom, not on what.
func parseTrustPolicy(text string) (*policyDoc, error) {
	p, err := parsePolicy(text)
	if err != nil {
		return nil, err
	}
	for _, st := range p.Statements {
		if st.Principal == nil && st.NotPrincipal == nil {
			return nil, fmt.Errorf("missing required field Principal")
		}
		if len(st.Resource) > 0 || len(st.NotResource) > 0 {
			return nil, fmt.Errorf("has prohibited field Resource")
		}
	}
	return p, nil
}

// principal is who calls.
type principal struct {
	Account string
	ARN     string // of the user, or of the session
	RoleARN string // of the session's role
	UserID  string

	root     bool
	identity []*policyDoc // what the user or the role may do
	session  []*policyDoc // what the session is cut down to; nil: it is not
}

// rootOf is the root of an account.
func rootOf(account, partition string) principal {
	return principal{Account: account, ARN: "arn:" + partition + ":iam::" + account + ":root", UserID: account, root: true}
}

// managementAdmin is an administrator of the management account.
func managementAdmin(partition string) principal {
	return principal{
		Account: ManagementAccount, ARN: "arn:" + partition + ":iam::" + ManagementAccount + ":user/admin",
		UserID: "AIDASIMADMIN000000000", identity: []*policyDoc{awsManagedPolicies["AdministratorAccess"]},
	}
}

// isSession tells whether the caller is a role session.
func (p *principal) isSession() bool { return p.RoleARN != "" }

// evaluation is one question to IAM.
type evaluation struct {
	caller           *principal
	action, resource string
	context          map[string][]string
}

// Verdicts of one policy. How it names the caller matters for resource policies: a permission for the whole
// account only lets the account's own policies decide, one for the role or for everybody counts by itself, and
// one for the session even ignores the session policy.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics-single-account.html
type verdict int

const (
	silent verdict = iota
	allowsAccount
	allowsPrincipal
	allowsSession
	denies
)

// evaluate returns the strongest verdict of the policies; in identity and session policies everybody is the
// principal.
func (e *evaluation) evaluate(policies ...*policyDoc) verdict {
	best := silent
	for _, p := range policies {
		if p == nil {
			continue
		}
		for i := range p.Statements {
			best = max(best, e.statement(&p.Statements[i]))
		}
	}
	return best
}

func (e *evaluation) statement(st *statement) verdict {
	deny := st.Effect == "Deny"
	if !e.actionMatches(st) || !e.resourceMatches(st) {
		return silent
	}
	who := allowsPrincipal
	switch {
	case st.Principal != nil:
		who = st.Principal.match(e.caller)
	case st.NotPrincipal != nil && st.NotPrincipal.match(e.caller) != silent:
		who = silent
	}
	if who == silent {
		return silent
	}
	met, known := e.conditionsMet(st)
	switch {
	case deny && (met || !known): // what cannot be evaluated must not be more permissive than AWS
		return denies
	case deny || !met || !known:
		return silent
	default:
		return who
	}
}

func (e *evaluation) actionMatches(st *statement) bool {
	match := func(pattern string) bool { return wildcard(strings.ToLower(pattern), strings.ToLower(e.action)) }
	if len(st.Action) > 0 {
		return slices.ContainsFunc(st.Action, match)
	}
	return !slices.ContainsFunc(st.NotAction, match)
}

func (e *evaluation) resourceMatches(st *statement) bool {
	match := func(pattern string) bool { return wildcard(pattern, e.resource) }
	switch {
	case len(st.Resource) > 0:
		return slices.ContainsFunc(st.Resource, match)
	case len(st.NotResource) > 0:
		return !slices.ContainsFunc(st.NotResource, match)
	default: // trust and repository policies mean what they hang on
		return true
	}
}

// match tells how a Principal element names the caller. Callers are never services or federated users here.
func (p *principalSet) match(c *principal) verdict {
	best := silent
	for _, a := range p.AWS {
		switch {
		case a == "*", a == c.RoleARN && c.isSession():
			best = max(best, allowsPrincipal)
		case a == c.ARN && c.isSession():
			best = max(best, allowsSession)
		case a == c.ARN && !c.root:
			best = max(best, allowsPrincipal)
		case a == c.Account, strings.HasPrefix(a, "arn:") && strings.HasSuffix(a, ":iam::"+c.Account+":root"):
			best = max(best, allowsAccount)
		}
	}
	return best
}

// wildcard matches * (any text) and ? (one character).
func wildcard(pattern, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, mark = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

// conditionKeys are the keys that are evaluated, in lower case; one that is not here makes its statement count
// for Deny and not for Allow. Those of service principals are always absent, as they are for roles and users.
var conditionKeys = map[string]bool{
	"aws:principalorgid": true, "aws:principalorgpaths": true, "aws:principalaccount": true, "aws:principalarn": true,
	"aws:principaltype": true, "aws:principalservicename": true, "aws:principalisawsservice": true,
	"aws:sourceaccount": true, "aws:sourcearn": true, "aws:requestedregion": true, "aws:securetransport": true,
	"aws:resourceaccount": true, "aws:resourceorgid": true, "sts:externalid": true, "sts:rolesessionname": true,
}

// operator compares one value of the request with one of the policy.
type operator struct {
	match   func(pattern, value string) bool
	negated bool
}

var operators = map[string]operator{
	"StringEquals":              {match: func(p, v string) bool { return p == v }},
	"StringNotEquals":           {match: func(p, v string) bool { return p == v }, negated: true},
	"StringEqualsIgnoreCase":    {match: strings.EqualFold},
	"StringNotEqualsIgnoreCase": {match: strings.EqualFold, negated: true},
	"StringLike":                {match: wildcard},
	"StringNotLike":             {match: wildcard, negated: true},
	"ArnEquals":                 {match: arnLike},
	"ArnLike":                   {match: arnLike},
	"ArnNotEquals":              {match: arnLike, negated: true},
	"ArnNotLike":                {match: arnLike, negated: true},
	"Bool":                      {match: strings.EqualFold},
	"Null":                      {},
}

// otherOperator tells whether AWS has the operator; those are accepted, but cannot be evaluated.
func otherOperator(name string) bool {
	_, base := splitOperator(name)
	base = strings.TrimSuffix(base, "IfExists")
	return strings.HasPrefix(base, "Numeric") || strings.HasPrefix(base, "Date") || base == "IpAddress" || base == "NotIpAddress" || base == "BinaryEquals"
}

func splitOperator(name string) (set, base string) {
	if s, b, ok := strings.Cut(name, ":"); ok {
		return s, b
	}
	return "", name
}

func conditionOperator(name string) (operator, bool) {
	set, base := splitOperator(name)
	if set != "" && set != "ForAnyValue" && set != "ForAllValues" {
		return operator{}, false
	}
	op, ok := operators[strings.TrimSuffix(base, "IfExists")]
	return op, ok
}

// arnLike compares ARNs part by part, so that * does not cross a colon before the resource.
func arnLike(pattern, value string) bool {
	ps, vs := strings.SplitN(pattern, ":", 6), strings.SplitN(value, ":", 6)
	if len(ps) != 6 || len(vs) != 6 {
		return pattern == "*"
	}
	for i := range ps {
		if !wildcard(ps[i], vs[i]) {
			return false
		}
	}
	return true
}

// conditionsMet tells whether all conditions of a statement hold; known is false if one cannot be evaluated and
// the others hold.
func (e *evaluation) conditionsMet(st *statement) (met, known bool) {
	known = true
	for name, keys := range st.Condition {
		op, ok := conditionOperator(name)
		for key, want := range keys {
			if !ok || !conditionKeys[strings.ToLower(key)] {
				known = false
				continue
			}
			if !e.condition(name, op, strings.ToLower(key), want) {
				return false, true
			}
		}
	}
	return true, known
}

// condition evaluates one key. Negated operators hold for a key that is absent, and ForAllValues for no values.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-logic-multiple-context-keys-or-values.html
func (e *evaluation) condition(name string, op operator, key string, want []string) bool {
	set, base := splitOperator(name)
	base, ifExists := strings.CutSuffix(base, "IfExists")
	have := e.context[key]
	if base == "Null" {
		return slices.ContainsFunc(want, func(w string) bool { return strings.EqualFold(w, "true") == (len(have) == 0) })
	}
	matches := func(v string) bool {
		hit := slices.ContainsFunc(want, func(w string) bool { return op.match(w, v) })
		return hit != op.negated
	}
	switch {
	case set == "ForAllValues":
		return !slices.ContainsFunc(have, func(v string) bool { return !matches(v) })
	case len(have) == 0:
		return ifExists || op.negated && set == ""
	case op.negated && set == "":
		return !slices.ContainsFunc(have, func(v string) bool { return !matches(v) })
	default:
		return slices.ContainsFunc(have, matches)
	}
}

// newEvaluation prepares a question with everything that is known about the caller.
func (c *Call) newEvaluation(action, resourceARN, ownerAccount string) *evaluation {
	p := &c.Caller
	ctx := map[string][]string{
		"aws:requestedregion":       {c.Region},
		"aws:securetransport":       {"true"}, // policies that ask for TLS are about the real network
		"aws:resourceaccount":       {ownerAccount},
		"aws:principalisawsservice": {"false"},
		"aws:principalaccount":      {p.Account},
		"aws:principalarn":          {p.ARN},
	}
	if c.Server.inOrganization(p.Account) {
		ctx["aws:principalorgid"] = []string{organizationID}
		ctx["aws:principalorgpaths"] = []string{c.Server.organizationPath(p.Account)}
	}
	if c.Server.inOrganization(ownerAccount) {
		ctx["aws:resourceorgid"] = []string{organizationID}
	}
	switch {
	case p.isSession():
		ctx["aws:principalarn"] = []string{p.RoleARN}
		ctx["aws:principaltype"] = []string{"AssumedRole"}
	case p.root:
		ctx["aws:principaltype"] = []string{"Account"}
	default:
		ctx["aws:principaltype"] = []string{"User"}
	}
	for k, v := range c.conditions {
		ctx[strings.ToLower(k)] = v
	}
	return &evaluation{caller: p, action: action, resource: resourceARN, context: ctx}
}

// authorize asks IAM whether the caller may do action on a resource of ownerAccount; resourcePolicy is the
// resource's own policy or nil. An explicit deny anywhere wins. In one account either side may allow; across
// accounts both must. It returns an access-denied error or nil.
func (c *Call) authorize(action, resourceARN, ownerAccount string, resourcePolicy *policyDoc) error {
	e := c.newEvaluation(action, resourceARN, ownerAccount)
	deny := func(reason string) error { return c.denied(action, resourceARN, reason) }

	byResource := e.evaluate(resourcePolicy)
	if byResource == denies {
		return deny("with an explicit deny in a resource-based policy")
	}
	p := &c.Caller
	byIdentity, bySession := allowsPrincipal, allowsPrincipal
	if !p.root {
		byIdentity = e.evaluate(p.identity...)
	}
	if p.session != nil {
		bySession = e.evaluate(p.session...)
	}
	switch {
	case byIdentity == denies:
		return deny("with an explicit deny in an identity-based policy")
	case bySession == denies:
		return deny("with an explicit deny in a session policy")
	}
	if p.Account == ownerAccount {
		if byResource == allowsSession || byResource == allowsPrincipal && bySession != silent {
			return nil
		}
	} else if byResource == silent {
		return deny("because no resource-based policy allows the " + action + " action")
	}
	switch {
	case byIdentity == silent:
		return deny("because no identity-based policy allows the " + action + " action")
	case bySession == silent:
		return deny("because no session policy allows the " + action + " action")
	}
	return nil
}

// accessDenied is the error of a caller who may not do action on resource, for operations that find so out by
// other means than authorize.
func accessDenied(c *Call, action, resource string) error {
	return c.denied(action, resource, "because no identity-based policy allows the "+action+" action")
}

func (c *Call) denied(action, resource, reason string) error {
	message := fmt.Sprintf("User: %s is not authorized to perform: %s", c.Caller.ARN, action)
	if resource != "*" {
		message += " on resource: " + resource
	}
	return c.accessDeniedError(message + " " + reason)
}

func (c *Call) accessDeniedError(message string) error {
	switch c.op.service.protocol {
	case query, restXML:
		return &apiError{Code: "AccessDenied", Message: message, Status: 403}
	case ec2query:
		return &apiError{Code: "UnauthorizedOperation", Message: message, Status: 403}
	default:
		return &apiError{Code: "AccessDeniedException", Message: message}
	}
}
