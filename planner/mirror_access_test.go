package planner

import (
	"testing"

	"demurrage/internal/image"
)

// Whoever may pull from a part of a cache, through other caches, or by a role in the account of one who may, could have
// the image in use.
func TestConsumersBehindCaches(t *testing.T) {
	const b, c, d, e = "222222222222", "333333333333", "444444444444", "555555555555"
	part := func(resource string) string {
		return `{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "` + b + `"}, "Action": "ecr:*", "Resource": "` + resource + `"}]}`
	}
	const trustsB = `{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"}, "Action": "sts:AssumeRole"}]}`
	near := image.Registry{Account: c, Region: "us-east-1"}
	far := image.Registry{Account: d, Region: "eu-west-2"}
	direct := func(prefix string, policies ...string) image.Mirror {
		return image.Mirror{Cache: near, Prefix: prefix, Upstream: home.Registry, Policies: policies}
	}
	failedB := append(ok(c), append(ok(d), failed(b, "ecs", "denied"))...)
	for _, tt := range []struct {
		name, policy string
		usage        Usage
		want         Action
	}{
		{"registry policy for a part of the cache", "", Usage{Coverage: failedB, Mirrors: []image.Mirror{direct("hub", part("arn:aws:ecr:us-east-1:333333333333:repository/hub/app"))}}, Blocked},
		{"registry policy for a part of a cache without a prefix", "", Usage{Coverage: failedB, Mirrors: []image.Mirror{direct("", part("arn:aws:ecr:us-east-1:333333333333:repository/app*"))}}, Blocked},
		{"registry policy for another part of the cache", "", Usage{Coverage: failedB, Mirrors: []image.Mirror{direct("hub", part("arn:aws:ecr:us-east-1:333333333333:repository/hub/other"))}}, Delete},
		{"an account that is not scanned", "", Usage{Coverage: ok(c), Mirrors: []image.Mirror{direct("hub", part("arn:aws:ecr:us-east-1:333333333333:repository/hub/app"))}}, Blocked},
		{"cache of a cache", lets(c), Usage{Coverage: failedB, Mirrors: []image.Mirror{direct("hub", lets(d)),
			{Cache: far, Prefix: "x", Upstream: near, UpstreamPrefix: "hub", Policies: []string{lets(b)}}}}, Blocked},
		{"cache of a cache in the account that failed", lets(c), Usage{Coverage: append(ok(c), failed(d, "ecs", "denied")), Mirrors: []image.Mirror{direct("hub"),
			{Cache: far, Prefix: "x", Upstream: near, UpstreamPrefix: "hub"}}}, Blocked},
		{"a ring of caches", lets(c), Usage{Coverage: failedB, Mirrors: []image.Mirror{direct("hub"), {Cache: home.Registry, Upstream: near, UpstreamPrefix: "hub"}}}, Delete},
		{"role in the account of a cache", lets(c), Usage{Coverage: failedB, Mirrors: []image.Mirror{direct("hub")}, Trusts: map[string][]string{c: {trustsB}}}, Blocked},
		{"role in an account that the policy lets pull", lets(c), Usage{Coverage: failedB, Trusts: map[string][]string{c: {trustsB}}}, Blocked},
		{"role in an account that may not pull", lets(c), Usage{Coverage: failedB, Trusts: map[string][]string{e: {trustsB}}}, Delete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.usage.Coverage = append(ok(home.Account), tt.usage.Coverage...)
			inv := repository(img("a", 50*day))
			inv.HasPolicy, inv.Policy = tt.policy != "", tt.policy
			if d := Merge(rules(rule), now, tt.usage).Repository(inv).Decisions[0]; d.Action != tt.want {
				t.Errorf("%s instead of %s: %+v", d.Action, tt.want, d.Reasons)
			}
		})
	}
}

// Repositories that share a policy may differ in who pulls them through the same cache.
func TestConsumersOfACacheAreNotShared(t *testing.T) {
	const b, c = "222222222222", "333333333333"
	policy := `{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "` + b + `"}, "Action": "ecr:*", "Resource": "arn:aws:ecr:us-east-1:333333333333:repository/hub/app"}]}`
	m := Merge(rules(rule), now, Usage{Coverage: append(ok(home.Account), append(ok(c), failed(b, "ecs", "denied"))...),
		Mirrors: []image.Mirror{{Cache: image.Registry{Account: c, Region: "us-east-1"}, Prefix: "hub", Upstream: home.Registry, Policies: []string{policy}}}})
	other := repository(img("a", 50*day))
	other.Repository.Name = "other"
	if got := m.Repository(other).Decisions[0].Action; got != Delete {
		t.Errorf("the other repository: %s", got)
	}
	if got := m.Repository(repository(img("a", 50*day))).Decisions[0].Action; got != Blocked {
		t.Errorf("the one that B may pull: %s", got)
	}
}
