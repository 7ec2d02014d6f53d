package planner

import (
	"testing"

	"demurrage/internal/image"
)

// TestAttestedCache: C cannot be read, and somebody vouches that nothing in C uses images. D is read, and pulls an image
// from a repository of C, which may be a cache of ours: what nobody in C uses, somebody else uses through C.
func TestAttestedCache(t *testing.T) {
	const c, d = "333333333333", "444444444444"
	r := rules(rule)
	r.Attestations = []Attestation{{Accounts: []image.Pattern{image.Glob(c)}, Expires: now.Add(day)}}
	cached := image.Repository{Registry: image.Registry{Account: c, Region: "us-east-1"}, Name: "hub/app"}
	use := image.Use{Ref: image.Ref{Repository: cached, Tag: "v1"}, Source: "ecs-task", Account: d, Region: "us-east-1", Resource: "arn", Live: true}
	unread := failed(c, "pull-through-cache", "the role does not exist")
	for _, tt := range []struct {
		name  string
		usage Usage
		want  Action
	}{
		{"the rules were read", Usage{Uses: []image.Use{use}, Coverage: ok(c), Mirrors: []image.Mirror{{Cache: cached.Registry, Prefix: "hub", Upstream: home.Registry}}}, Keep},
		{"the rules were not read", Usage{Uses: []image.Use{use}, Coverage: []image.Coverage{failed(c, "ecs", "the role does not exist"), unread}}, Blocked},
		{"in the account's regions that are not known", Usage{Uses: []image.Use{use}, Coverage: []image.Coverage{{Account: c, Region: "*", Source: "regions", Status: image.CoverageFailed, Error: "denied"}}}, Blocked},
		{"nobody uses C's registry", Usage{Coverage: []image.Coverage{failed(c, "ecs", "the role does not exist"), unread}}, Delete},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.usage.Coverage = append(append(ok(home.Account), ok(d)...), tt.usage.Coverage...)
			inv := repository(img("a", 50*day, tags("v1")))
			inv.HasPolicy, inv.Policy = true, lets(c)
			if got := Merge(r, now, tt.usage).Repository(inv).Decisions[0]; got.Action != tt.want {
				t.Errorf("%s instead of %s: %+v", got.Action, tt.want, got.Reasons)
			}
		})
	}
}
