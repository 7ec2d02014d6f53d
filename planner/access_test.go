package planner

import (
	"fmt"
	"strings"
	"testing"

	"demurrage/internal/image"
)

// lets is a policy that lets accounts pull.
func lets(accounts ...string) string {
	return fmt.Sprintf(`{"Statement": [{"Effect": "Allow", "Principal": {"AWS": ["%s"]}, "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}]}`,
		strings.Join(accounts, `", "`))
}

func TestPullers(t *testing.T) {
	const pull = `"Effect": "Allow", "Action": "ecr:BatchGetImage"`
	for _, tt := range []struct{ name, statement, want string }{
		{"account", pull + `, "Principal": {"AWS": "222222222222"}`, "222222222222"},
		{"root", pull + `, "Principal": {"AWS": "arn:aws:iam::222222222222:root"}`, "222222222222"},
		{"role and user", pull + `, "Principal": {"AWS": ["arn:aws:iam::333333333333:role/a/b", "arn:aws-cn:iam::222222222222:user/u"]}`, "222222222222 333333333333"},
		{"session", pull + `, "Principal": {"AWS": "arn:aws:sts::222222222222:assumed-role/r/s"}`, "222222222222"},
		{"deleted role", pull + `, "Principal": {"AWS": ["AROAJQABLZS4A3QDU576Q"]}`, ""},
		{"what is no principal", pull + `, "Principal": {"AWS": "somebody"}`, "anyone"},
		{"star", pull + `, "Principal": "*"`, "anyone"},
		{"star of AWS", pull + `, "Principal": {"AWS": "*"}`, "anyone"},
		{"no principal", pull, "anyone"},
		{"NotPrincipal", pull + `, "NotPrincipal": {"AWS": "222222222222"}`, "anyone"},
		{"another kind", pull + `, "Principal": {"CanonicalUser": "79a59df900b949e55d96a1e698fbaced"}`, "anyone"},
		{"federated", pull + `, "Principal": {"Federated": "cognito-identity.amazonaws.com"}`, "anyone"},
		{"organization", pull + `, "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abc"}}`, "org o-abc"},
		{"two of them, in another case", pull + `, "Principal": "*", "Condition": {"StringEquals": {"AWS:principalorgid": ["o-abc", "o-def"]}}`, "org o-abc org o-def"},
		{"any organization", pull + `, "Principal": "*", "Condition": {"StringLike": {"aws:PrincipalOrgID": "o-*"}}`, "anyone"},
		{"path", pull + `, "Principal": "*", "Condition": {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": ["o-abc/r-x/ou-y/*"]}}`, "path o-abc/r-x/ou-y/*"},
		{"path that an absent key satisfies", pull + `, "Principal": "*", "Condition": {"ForAllValues:StringLike": {"aws:PrincipalOrgPaths": ["o-abc/r-x/ou-y/*"]}}`, "anyone"},
		{"organization and path", pull + `, "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abc"}, "ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-abc/r-x/*"}}`, "path o-abc/r-x/*"},
		{"principal's account", pull + `, "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalAccount": ["222222222222"]}}`, "222222222222"},
		{"part of an account id", pull + `, "Principal": "*", "Condition": {"StringLike": {"aws:PrincipalAccount": ["2222*"]}}`, "anyone"},
		{"principal's ARN", pull + `, "Principal": "*", "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::222222222222:role/*"}}`, "222222222222"},
		{"ARN of any account", pull + `, "Principal": "*", "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/ci"}}`, "anyone"},
		{"accounts twice", pull + `, "Principal": {"AWS": ["222222222222", "333333333333"]}, "Condition": {"StringEquals": {"aws:PrincipalAccount": "333333333333"}}`, "333333333333"},
		{"accounts of the organization", pull + `, "Principal": {"AWS": "222222222222"}, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abc"}}`, "222222222222"},
		{"what is not the organization", pull + `, "Principal": "*", "Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-abc"}}`, "anyone"},
		{"if it exists", pull + `, "Principal": "*", "Condition": {"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-abc"}}`, "anyone"},
		{"another condition", pull + `, "Principal": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}`, "anyone"},
		{"a variable", pull + `, "Principal": "*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": ["o-abc", "${aws:ResourceOrgID}"]}}`, "anyone"},
		{"Lambda for the account", pull + `, "Principal": {"Service": "lambda.amazonaws.com"}, "Condition": {"StringLike": {"aws:sourceArn": "arn:aws:lambda:us-east-1:111111111111:function:*"}}`, "111111111111"},
		{"Lambda for an account", pull + `, "Principal": {"Service": "lambda.amazonaws.com"}, "Condition": {"StringEquals": {"aws:SourceAccount": "222222222222"}}`, "222222222222"},
		{"Lambda for the organization", pull + `, "Principal": {"Service": "lambda.amazonaws.com"}, "Condition": {"StringEquals": {"aws:SourceOrgID": "o-abc"}}`, "org o-abc"},
		{"Lambda", pull + `, "Principal": {"Service": "lambda.amazonaws.com"}`, "services"},
		{"Lambda and the caller's account", pull + `, "Principal": {"Service": "lambda.amazonaws.com"}, "Condition": {"StringEquals": {"aws:PrincipalAccount": "222222222222"}}`, "services"},
		{"Lambda and an account", pull + `, "Principal": {"AWS": "222222222222", "Service": "lambda.amazonaws.com"}`, "services 222222222222"},
		{"other actions", `"Effect": "Allow", "Action": ["ecr:DescribeImages", "ecr:PutImage"], "Principal": "*"`, ""},
		{"wildcard", `"Effect": "Allow", "Action": "ECR:Batch*", "Principal": {"AWS": "222222222222"}`, "222222222222"},
		{"NotAction", `"Effect": "Allow", "NotAction": "ecr:BatchGetImage", "Principal": {"AWS": "222222222222"}`, "222222222222"},
		{"deny", `"Effect": "Deny", "Action": "ecr:*", "Principal": "*"`, ""},
		{"this repository", pull + `, "Principal": {"AWS": "222222222222"}, "Resource": "arn:aws:ecr:us-east-1:111111111111:repository/app*"`, "222222222222"},
		{"another repository", pull + `, "Principal": {"AWS": "222222222222"}, "Resource": "arn:aws:ecr:us-east-1:111111111111:repository/other"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			repository := image.Repository{Registry: image.Registry{Account: "111111111111", Region: "us-east-1"}, Name: "app/web"}
			for _, policy := range []string{`{"Statement": [{` + tt.statement + `}]}`, `{"Statement": {` + tt.statement + `}}`} {
				if got := words(pullers(policy, repository)); got != tt.want {
					t.Errorf("%s admits %q, not %q", policy, got, tt.want)
				}
			}
			both := lets("444444444444") + `{"Statement": [{` + tt.statement + `}]}`
			if got := words(pullers(both, repository)); !strings.Contains(got, "444444444444") || tt.want == "anyone" && !strings.Contains(got, "anyone") {
				t.Errorf("two policies admit %q", got)
			}
		})
	}
	for _, broken := range []string{"x", lets("222222222222") + "x", `{"Statement": "x"}`, `{}`, `[]`} {
		if got := pullers(broken, image.Repository{}); !got.anyone {
			t.Errorf("%s admits %q", broken, words(got))
		}
	}
	if got := words(pullers("", image.Repository{})); got != "" {
		t.Errorf("no policy admits %q", got)
	}
}

func words(a access) string {
	var w []string
	if a.anyone {
		w = append(w, "anyone")
	}
	if a.services {
		w = append(w, "services")
	}
	w = append(w, a.accounts...)
	for _, o := range a.orgs {
		w = append(w, "org "+o)
	}
	for _, p := range a.paths {
		w = append(w, "path "+p)
	}
	return strings.Join(w, " ")
}

func FuzzPullers(f *testing.F) {
	f.Add(lets("222222222222"))
	f.Fuzz(func(_ *testing.T, policy string) { pullers(policy, image.Repository{Name: "a"}) })
}

// What a gap or an account that is not scanned holds back, and what not.
func TestConsumers(t *testing.T) {
	const (
		b, c, d = "222222222222", "333333333333", "444444444444"
		orgOnly = `{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*", "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-abc"}}}]}`
		ouOnly  = `{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*", "Condition": {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-abc/r-x/ou-b/*"}}}]}`
		public  = `{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}]}`
		service = `{"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "ecr:*"}]}`
		own     = `{"Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "ecr:*", "Condition": {"StringLike": {"aws:sourceArn": "arn:aws:lambda:us-east-1:111111111111:function:*"}}}]}`
		trustsB = `{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"}, "Action": "sts:AssumeRole"}]}`
		github  = `{"Statement": [{"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::111111111111:oidc-provider/token.actions.githubusercontent.com"}, "Action": "sts:AssumeRoleWithWebIdentity"}]}`
	)
	org := image.Organization{ID: "o-abc", Members: []image.Member{
		{Account: home.Account, Path: "o-abc/r-x/"}, {Account: b, Path: "o-abc/r-x/ou-b/"}, {Account: c, Path: "o-abc/r-x/ou-c/"},
	}}
	failedB := []image.Coverage{failed(b, "ecs", "denied")}
	everywhere := image.Coverage{Account: "*", Region: "*", Source: "import:x", Status: image.CoverageFailed, Error: "stale"}
	cache := image.Mirror{Cache: image.Registry{Account: c, Region: "eu-west-1"}, Prefix: "up", Upstream: home.Registry}
	for _, tt := range []struct {
		name   string
		policy string
		usage  Usage
		attest string
		want   string // "" deletes
	}{
		{"nobody else", "", Usage{Coverage: failedB}, "", ""},
		{"the account that failed", lets(b), Usage{Coverage: failedB}, "", "coverage-gap " + b},
		{"another account", lets(c), Usage{Coverage: append(failedB, ok(c)...)}, "", ""},
		{"organization", orgOnly, Usage{Coverage: append(failedB, ok(c)...), Organization: org}, "", "coverage-gap " + b},
		{"organization, all of it read", orgOnly, Usage{Coverage: append(ok(b), ok(c)...), Organization: org}, "", ""},
		{"organization, one account not scanned", orgOnly, Usage{Coverage: ok(b), Organization: org}, "", "unscanned-consumer " + c},
		{"organization, one account excluded", orgOnly, Usage{Coverage: ok(b), Organization: org, Unscanned: []Unscanned{{Account: c, Why: "excluded"}}}, "", "unscanned-consumer " + c},
		{"organization, the excluded one attested", orgOnly, Usage{Coverage: ok(b), Organization: org, Unscanned: []Unscanned{{Account: c, Why: "excluded"}}}, c, ""},
		{"organization that is not known", orgOnly, Usage{Coverage: append(ok(b), ok(c)...)}, "", "unscanned-consumer o-abc"},
		{"organization that is not known, attested", orgOnly, Usage{Coverage: append(ok(b), ok(c)...)}, "*", ""},
		{"unit of the one that failed", ouOnly, Usage{Coverage: append(failedB, ok(c)...), Organization: org}, "", "coverage-gap " + b},
		{"unit of others", ouOnly, Usage{Coverage: append(ok(b), failed(c, "ecs", "denied")), Organization: org}, "", ""},
		{"public", public, Usage{Coverage: ok(b)}, "", "unscanned-consumer *"},
		{"public, attested", public, Usage{Coverage: ok(b)}, "*", ""},
		{"public, one account attested", public, Usage{Coverage: ok(b)}, b, "unscanned-consumer *"},
		{"service", service, Usage{Coverage: failedB}, "", "coverage-gap " + b},
		{"service, all read", service, Usage{Coverage: ok(b)}, "", ""},
		{"service for the own account", own, Usage{Coverage: failedB}, "", ""},
		{"account not scanned", lets(d), Usage{Coverage: ok(b), Organization: org}, "", "unscanned-consumer " + d},
		{"account not scanned, attested", lets(d), Usage{Coverage: ok(b), Organization: org}, d, ""},
		{"role that the failed account may assume", "", Usage{Coverage: failedB, Trusts: map[string][]string{home.Account: {trustsB}}}, "", "coverage-gap " + b},
		{"role that another account may assume", "", Usage{Coverage: append(ok(b), failed(c, "ecs", "denied")), Trusts: map[string][]string{home.Account: {trustsB}}}, "", ""},
		{"role of another owner", "", Usage{Coverage: failedB, Trusts: map[string][]string{c: {trustsB}}}, "", ""},
		{"role of a federated user", "", Usage{Coverage: failedB, Trusts: map[string][]string{home.Account: {github}}}, "", ""},
		{"roles not read, and an account failed", "", Usage{Coverage: append(failedB, failed(home.Account, image.SourceIAM, "denied"))}, "", "coverage-gap " + home.Account + " coverage-gap " + b},
		{"roles not read, and nothing else missing", "", Usage{Coverage: append(ok(b), failed(home.Account, image.SourceIAM, "denied"))}, "", ""},
		{"cache of the failed account", "", Usage{Coverage: []image.Coverage{failed(c, "ecs", "denied")}, Mirrors: []image.Mirror{cache}}, "", "coverage-gap " + c},
		{"cache that the failed account may pull from", "", Usage{Coverage: append(failedB, ok(c)...), Mirrors: []image.Mirror{
			{Cache: cache.Cache, Prefix: "up", Upstream: home.Registry, Policies: []string{lets(b)}}}}, "", "coverage-gap " + b},
		{"cache of something else", "", Usage{Coverage: []image.Coverage{failed(c, "ecs", "denied")}, Mirrors: []image.Mirror{
			{Cache: cache.Cache, Prefix: "up", Upstream: home.Registry, UpstreamPrefix: "other"}}}, "", ""},
		{"what may be about any account", "", Usage{Coverage: []image.Coverage{everywhere}}, "", "coverage-gap *"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := rules(rule)
			if tt.attest != "" {
				r.Attestations = []Attestation{{Accounts: []image.Pattern{image.Glob(tt.attest)}, Expires: now.Add(1)}}
			}
			if r.Attestations != nil && strings.Contains(tt.name, "failed") {
				t.Fatal("would attest the failure")
			}
			tt.usage.Coverage = append(ok(home.Account), tt.usage.Coverage...)
			inv := repository(img("a", 50*day))
			inv.HasPolicy, inv.Policy = tt.policy != "", tt.policy
			var got []string
			d := Merge(r, now, tt.usage).Repository(inv).Decisions[0]
			for _, reason := range d.Reasons {
				if d.Action == Blocked {
					got = append(got, string(reason.Code)+" "+reason.Account)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%s %q instead of %q", d.Action, got, tt.want)
			}
		})
	}
}

// A use of an image of a cache is one of the image that the cache pulls, through any number of caches.
func TestUseThroughCaches(t *testing.T) {
	near := image.Registry{Account: "333333333333", Region: "eu-west-1"}
	far := image.Registry{Account: "444444444444", Region: "eu-west-2"}
	u := Usage{
		Coverage: ok(home.Account),
		Mirrors: []image.Mirror{
			{Cache: near, Prefix: "b", Upstream: far, UpstreamPrefix: "c"},
			{Cache: far, Prefix: "c", Upstream: home.Registry},
			{Cache: home.Registry, Upstream: near, UpstreamPrefix: "b"}, // a ring
		},
		Uses: []image.Use{{Ref: image.Ref{Repository: image.Repository{Registry: near, Name: "b/" + home.Name}, Tag: "v1"}, Source: "ecs-task", Account: "333333333333", Resource: "arn"}},
	}
	m := Merge(rules(rule), now, u)
	p := m.Repository(repository(img("a", 50*day, tags("v1")), img("b", 50*day)))
	if got := show(p); got != "a keep in-use, b delete expired" && got != "a keep in-use\nb delete expired" {
		t.Error(got)
	}
	if p := m.Repository(repository(img("b", 50*day))); len(p.Broken) != 0 {
		t.Errorf("broken though the cache may have it: %+v", p.Broken)
	}
}

// What is computed at run time may be any image of its repository, and is none that is gone.
func TestUnknownImage(t *testing.T) {
	u := Usage{Coverage: ok(home.Account), Uses: []image.Use{{Ref: image.Ref{Repository: home}, Source: "states-state-machine", Account: home.Account, Resource: "arn", Unknown: "computed"}}}
	p := Merge(rules(rule), now, u).Repository(repository(img("a", 50*day, tags("v1"))))
	if got := show(p); got != "a blocked coverage-gap" || len(p.Broken) != 0 {
		t.Error(got, p.Broken)
	}
}
