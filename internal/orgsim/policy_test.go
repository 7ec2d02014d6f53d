package orgsim

import (
	"strings"
	"testing"
)

func TestWildcard(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true}, {"*", "anything/at:all", true}, {"", "", true}, {"", "x", false},
		{"ecr:*", "ecr:ListImages", true}, {"ecr:*Image", "ecr:BatchGetImage", true}, {"ecr:*Image", "ecr:ListImages", false},
		{"a?c", "abc", true}, {"a?c", "ac", false}, {"a*b*c", "aXbXbYc", true}, {"a*b*c", "aXcXb", false}, {"**", "x", true}, {"x*", "x", true},
	} {
		if got := wildcard(tc.pattern, tc.s); got != tc.want {
			t.Errorf("wildcard(%q, %q) = %v", tc.pattern, tc.s, got)
		}
	}
}

func TestArnLike(t *testing.T) {
	const role = "arn:aws:iam::111111111111:role/team/ci"
	for pattern, want := range map[string]bool{
		role: true, "arn:aws:iam::111111111111:role/*": true, "arn:*:iam::*:role/*/ci": true, "*": true,
		"arn:aws:*:role/team/ci": false, "arn:aws:iam::222222222222:role/*": false, "arn:aws:iam::111111111111": false,
	} {
		if got := arnLike(pattern, role); got != want {
			t.Errorf("arnLike(%q) = %v", pattern, got)
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":           ``,
		"no JSON":           `{`,
		"no statement":      `{"Version":"2012-10-17"}`,
		"empty list":        `{"Version":"2012-10-17","Statement":[]}`,
		"version":           `{"Version":"2020-01-01","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
		"effect":            `{"Statement":[{"Effect":"allow","Action":"*","Resource":"*"}]}`,
		"no action":         `{"Statement":[{"Effect":"Allow","Resource":"*"}]}`,
		"both actions":      `{"Statement":[{"Effect":"Allow","Action":"*","NotAction":"a:b","Resource":"*"}]}`,
		"action no service": `{"Statement":[{"Effect":"Allow","Action":"ListImages","Resource":"*"}]}`,
		"unknown element":   `{"Statement":[{"Effect":"Allow","Actions":"*","Resource":"*"}]}`,
		"unknown operator":  `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"aws:PrincipalArn":"x"}}}]}`,
		"principal pattern": `{"Statement":[{"Effect":"Allow","Action":"a:b","Principal":{"AWS":"arn:aws:iam::111111111111:role/*"}}]}`,
		"principal text":    `{"Statement":[{"Effect":"Allow","Action":"a:b","Principal":"111111111111"}]}`,
		"trailing text":     `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]} {}`,
	} {
		if _, err := parsePolicy(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := parseIdentityPolicy(`{"Statement":{"Effect":"Allow","Action":"a:b"}}`); err == nil {
		t.Error("an identity policy without a resource was accepted")
	}
	if _, err := parseIdentityPolicy(trust("", "*")); err == nil {
		t.Error("an identity policy with a principal was accepted")
	}
	if _, err := parseTrustPolicy(allow("sts:AssumeRole")); err == nil {
		t.Error("a trust policy without principal was accepted")
	}
}

// roleSession is a session of role app in account A, with one identity policy.
func roleSession(identity string) principal {
	p := principal{
		Account: accountA, ARN: "arn:aws:sts::" + accountA + ":assumed-role/app/s1", RoleARN: "arn:aws:iam::" + accountA + ":role/x/app",
	}
	if identity != "" {
		p.identity = []*policyDoc{mustParsePolicy(identity)}
	}
	return p
}

func statementOf(fields string) string {
	return `{"Version":"2012-10-17","Statement":[{` + strings.ReplaceAll(fields, `'`, `"`) + `}]}`
}

func TestAuthorize(t *testing.T) {
	const (
		readAll = `'Effect':'Allow','Action':'ecr:*','Resource':'*'`
		action  = "ecr:BatchGetImage"
		arn     = "arn:aws:ecr:us-east-1:" + accountA + ":repository/team/app"
		roleARN = "arn:aws:iam::" + accountA + ":role/x/app"
		sesARN  = "arn:aws:sts::" + accountA + ":assumed-role/app/s1"
	)
	for _, tc := range []struct {
		name     string
		identity string // statement; "": none
		session  string // "": no session policy
		resource string // "": no resource policy
		owner    string // default: account A, which calls
		want     bool
	}{
		{name: "nothing allows", want: false},
		{name: "identity allows", identity: readAll, want: true},
		{name: "action without case", identity: `'Effect':'Allow','Action':'ECR:batchgetIMAGE','Resource':'*'`, want: true},
		{name: "another action", identity: `'Effect':'Allow','Action':'ecr:Describe*','Resource':'*'`, want: false},
		{name: "list of actions", identity: `'Effect':'Allow','Action':['a:b','ecr:BatchGet*'],'Resource':'*'`, want: true},
		{name: "NotAction takes it out", identity: `'Effect':'Allow','NotAction':'ecr:Batch*','Resource':'*'`, want: false},
		{name: "NotAction leaves it in", identity: `'Effect':'Allow','NotAction':'iam:*','Resource':'*'`, want: true},
		{name: "resource pattern", identity: `'Effect':'Allow','Action':'*','Resource':'arn:aws:ecr:*:*:repository/team/*'`, want: true},
		{name: "other resource", identity: `'Effect':'Allow','Action':'*','Resource':'arn:aws:ecr:*:*:repository/other/*'`, want: false},
		{name: "NotResource", identity: `'Effect':'Allow','Action':'*','NotResource':'arn:aws:ecr:*:*:repository/team/*'`, want: false},
		{name: "explicit deny wins", identity: readAll + `},{'Effect':'Deny','Action':'ecr:Batch*','Resource':'*'`, want: false},

		{name: "session policy cuts down", identity: readAll, session: `'Effect':'Allow','Action':'ecr:List*','Resource':'*'`, want: false},
		{name: "session policy allows too", identity: readAll, session: `'Effect':'Allow','Action':'ecr:Batch*','Resource':'*'`, want: true},
		{name: "session policy alone gives nothing", session: readAll, want: false},
		{name: "session policy denies", identity: readAll, session: readAll + `},{'Effect':'Deny','Action':'*','Resource':'*'`, want: false},

		{name: "own resource policy for the role", resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'AWS':'` + roleARN + `'}`, want: true},
		{name: "own resource policy for everybody", resource: `'Effect':'Allow','Action':'ecr:*','Principal':'*'`, want: true},
		{name: "own account in a resource policy only delegates", resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'AWS':'` + accountA + `'}`, want: false},
		{name: "resource policy of the role stays within the session policy", session: `'Effect':'Allow','Action':'s3:*','Resource':'*'`,
			resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'AWS':'` + roleARN + `'}`, want: false},
		{name: "resource policy of the session goes past it", session: `'Effect':'Allow','Action':'s3:*','Resource':'*'`,
			resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'AWS':'` + sesARN + `'}`, want: true},
		{name: "resource policy denies", identity: readAll, resource: `'Effect':'Deny','Action':'ecr:*','Principal':'*'`, want: false},
		{name: "resource policy denies others", identity: readAll, resource: `'Effect':'Deny','Action':'ecr:*','NotPrincipal':{'AWS':'` + roleARN + `'}`, want: true},
		{name: "resource policy denies all but another", identity: readAll, resource: `'Effect':'Deny','Action':'ecr:*','NotPrincipal':{'AWS':'` + accountB + `'}`, want: false},

		{name: "across accounts without resource policy", identity: readAll, owner: accountB, want: false},
		{name: "across accounts, both", identity: readAll, owner: accountB, resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'AWS':'arn:aws:iam::` + accountA + `:root'}`, want: true},
		{name: "across accounts, account id", identity: readAll, owner: accountB, resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'AWS':['` + accountA + `']}`, want: true},
		{name: "across accounts, only the resource", owner: accountB, resource: `'Effect':'Allow','Action':'ecr:*','Principal':'*'`, want: false},
		{name: "across accounts, another account", identity: readAll, owner: accountB, resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'AWS':'` + accountB + `'}`, want: false},
		{name: "across accounts, the organization", identity: readAll, owner: accountB,
			resource: `'Effect':'Allow','Action':'ecr:*','Principal':'*','Condition':{'StringEquals':{'aws:PrincipalOrgID':'` + organizationID + `'}}`, want: true},
		{name: "across accounts, another organization", identity: readAll, owner: accountB,
			resource: `'Effect':'Allow','Action':'ecr:*','Principal':'*','Condition':{'StringEquals':{'aws:PrincipalOrgID':'o-other00000'}}`, want: false},
		{name: "a service is not a role", identity: readAll, owner: accountB, resource: `'Effect':'Allow','Action':'ecr:*','Principal':{'Service':'lambda.amazonaws.com'}`, want: false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := New()
			s.AddAccount(accountA, "a")
			s.AddAccount(accountB, "b")
			c := &Call{Server: s, Account: accountA, Region: "us-east-1", Partition: "aws", Caller: roleSession("")}
			c.op = &operation{service: ecrService()}
			if tc.identity != "" {
				c.Caller.identity = []*policyDoc{mustParsePolicy(statementOf(tc.identity))}
			}
			if tc.session != "" {
				c.Caller.session = []*policyDoc{mustParsePolicy(statementOf(tc.session))}
			}
			var policy *policyDoc
			if tc.resource != "" {
				policy = mustParsePolicy(statementOf(tc.resource))
			}
			owner := tc.owner
			if owner == "" {
				owner = accountA
			}
			err := c.authorize(action, arn, owner, policy)
			if (err == nil) != tc.want {
				t.Errorf("allowed = %v (%v), want %v", err == nil, err, tc.want)
			}
			if err != nil && (!strings.HasPrefix(err.Error(), "AccessDeniedException: User: "+sesARN+" is not authorized to perform: "+action+" on resource: "+arn+" ")) {
				t.Errorf("message: %v", err)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	context := map[string][]string{
		"aws:principalarn": {"arn:aws:iam::111111111111:role/x/app"}, "aws:requestedregion": {"us-east-1"}, "aws:principalisawsservice": {"false"},
		"aws:principalorgpaths": {"o-1/r-1/ou-1/", "o-1/r-1/ou-2/"}, "sts:externalid": {"Secret"},
	}
	for _, tc := range []struct {
		condition   string
		allow, deny bool // whether a statement with this effect applies
	}{
		{`{'StringEquals':{'sts:ExternalId':'Secret'}}`, true, true},
		{`{'StringEquals':{'sts:ExternalId':['other','Secret']}}`, true, true},
		{`{'StringEquals':{'sts:ExternalId':'secret'}}`, false, false},
		{`{'StringEqualsIgnoreCase':{'STS:externalid':'secret'}}`, true, true},
		{`{'StringNotEquals':{'sts:ExternalId':'Secret'}}`, false, false},
		{`{'StringNotEquals':{'sts:ExternalId':['a','Secret']}}`, false, false},
		{`{'StringNotEquals':{'sts:ExternalId':['a','b']}}`, true, true},
		{`{'StringLike':{'aws:RequestedRegion':'us-*'}}`, true, true},
		{`{'StringNotLike':{'aws:RequestedRegion':['eu-*','us-*']}}`, false, false},
		{`{'ArnLike':{'aws:PrincipalArn':'arn:aws:iam::*:role/x/*'}}`, true, true},
		{`{'ArnEquals':{'aws:PrincipalArn':'arn:aws:iam::222222222222:role/*'}}`, false, false},
		{`{'Bool':{'aws:PrincipalIsAWSService':false}}`, true, true},
		{`{'Bool':{'aws:PrincipalIsAWSService':'true'}}`, false, false},
		{`{'Null':{'sts:ExternalId':'false'}}`, true, true},
		{`{'Null':{'sts:ExternalId':true}}`, false, false},
		{`{'Null':{'aws:SourceAccount':true}}`, true, true},
		{`{'StringEquals':{'aws:SourceAccount':'1'}}`, false, false},       // absent
		{`{'StringEqualsIfExists':{'aws:SourceAccount':'1'}}`, true, true}, // absent
		{`{'StringNotEquals':{'aws:SourceAccount':'1'}}`, true, true},      // absent: negated operators hold
		{`{'ForAnyValue:StringLike':{'aws:PrincipalOrgPaths':'o-1/r-1/ou-2/*'}}`, true, true},
		{`{'ForAllValues:StringLike':{'aws:PrincipalOrgPaths':'o-1/r-1/ou-2/*'}}`, false, false},
		{`{'ForAllValues:StringLike':{'aws:PrincipalOrgPaths':'o-1/*'}}`, true, true},
		{`{'ForAllValues:StringEquals':{'aws:SourceAccount':'1'}}`, true, true},  // no values
		{`{'ForAnyValue:StringEquals':{'aws:SourceAccount':'1'}}`, false, false}, // no values
		{`{'StringEquals':{'sts:ExternalId':'Secret','aws:RequestedRegion':'eu-west-1'}}`, false, false},
		// What cannot be evaluated never permits and always forbids.
		{`{'StringEquals':{'aws:Unheard':'x'}}`, false, true},
		{`{'IpAddress':{'aws:SourceIp':'10.0.0.0/8'}}`, false, true},
		{`{'IpAddress':{'aws:SourceIp':'10.0.0.0/8'},'StringEquals':{'sts:ExternalId':'no'}}`, false, false},
	} {
		for effect, want := range map[string]bool{"Allow": tc.allow, "Deny": tc.deny} {
			p, err := parsePolicy(statementOf(`'Effect':'` + effect + `','Action':'*','Resource':'*','Condition':` + tc.condition))
			if err != nil {
				t.Errorf("%s: %v", tc.condition, err)
				continue
			}
			e := &evaluation{caller: &principal{}, action: "a:b", resource: "*", context: context}
			if got := e.evaluate(p) != silent; got != want {
				t.Errorf("%s %s: applies = %v, want %v", effect, tc.condition, got, want)
			}
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add(allow("ecr:*"))
	f.Add(trust(`{"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":["a","b*"]}}`, "*", accountA))
	f.Add(`{"Statement":{"Effect":"Deny","NotAction":"a:?","NotPrincipal":"*","NotResource":["*"],"Condition":{"Null":{"sts:ExternalId":true}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePolicy(text)
		if err != nil {
			return
		}
		caller := roleSession("")
		e := &evaluation{caller: &caller, action: "ecr:ListImages", resource: "*", context: map[string][]string{"sts:externalid": {"x"}}}
		first := e.evaluate(p)
		if again := e.evaluate(p); again != first {
			t.Errorf("%q: %v, then %v", text, first, again)
		}
	})
}
