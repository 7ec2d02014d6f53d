package audit_test

import (
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"demurrage/internal/audit"
	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
	"demurrage/planner"
)

var (
	now      = time.Date(2026, time.November, 21, 12, 0, 0, 0, time.UTC)
	registry = image.Registry{Account: "111111111111", Region: "us-east-1"}
)

func digest(n int) image.Digest { return image.Digest("sha256:" + fmt.Sprintf("%064x", n)) }

// at is an image that was pushed so many days ago.
func at(n, days int, tags ...string) image.Image {
	return image.Image{Digest: digest(n), Tags: tags, Bytes: 100, PushedAt: now.AddDate(0, 0, -days), MediaType: image.MediaTypeOCIManifest}
}

func rule(priority int, selection, action string) string {
	return fmt.Sprintf(`{"rulePriority":%d,"selection":{%s},"action":{%s}}`, priority, selection, action)
}

const (
	expire    = `"type":"expire"`
	toArchive = `"type":"transition","targetStorageClass":"archive"`
)

func policy(rules ...string) string { return `{"rules":[` + strings.Join(rules, ",") + `]}` }

func older(status string, days int) string {
	return fmt.Sprintf(`"tagStatus":%q,"countType":"sinceImagePushed","countUnit":"days","countNumber":%d`, status, days)
}

// plan plans one repository, of which these tags are used.
func plan(text string, images []image.Image, gaps []image.Coverage, used ...string) *planner.Plan {
	inv := image.Inventory{Repository: image.Repository{Registry: registry, Name: "app"}, Lifecycle: image.LifecycleSome, Expires: text, Images: images}
	usage := planner.Usage{Coverage: append([]image.Coverage{{Account: registry.Account, Region: registry.Region, Source: "ecr", Status: image.CoverageOK}}, gaps...)}
	for _, tag := range used {
		usage.Uses = append(usage.Uses, image.Use{Ref: image.Ref{Repository: inv.Repository, Tag: tag}, Source: "ecs-service", Account: "222222222222",
			Region: "eu-west-1", Resource: "arn:aws:ecs:eu-west-1:222222222222:service/main/" + tag, Live: true})
	}
	rules := planner.Rules{Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 30 * 24 * time.Hour, KeepTags: []image.Pattern{image.Exact("keep")}}}, MinAge: time.Hour}
	var inventories iter.Seq2[image.Inventory, error] = func(yield func(image.Inventory, error) bool) { yield(inv, nil) }
	p, err := planner.Build(planner.Merge(rules, now, usage), inventories)
	if err != nil {
		panic(err)
	}
	return p
}

func of(t *testing.T, p *planner.Plan) *audit.Audit {
	t.Helper()
	a, err := audit.Of(p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// names are the findings of a list, in its order, as text that can be compared.
func names(list []audit.Finding) string {
	var out []string
	for _, f := range list {
		s := strings.Join(f.Tags, "+")
		if len(f.Tags) == 0 {
			s = string(f.Digest[len(f.Digest)-1:])
		}
		if f.Action == lifecycle.Transition {
			s += " archived"
		}
		switch {
		case f.Now:
			s += " now"
		case !f.Due.IsZero():
			s += " " + f.Due.Format(time.DateOnly)
		case f.Pushes > 0:
			s += fmt.Sprintf(" after %d", f.Pushes)
		}
		if len(f.Parts) > 0 {
			s += fmt.Sprintf(" with %d", len(f.Parts))
		}
		if f.Far {
			s += " far"
		}
		out = append(out, s)
	}
	return strings.Join(out, "; ")
}

func TestAudit(t *testing.T) {
	index := at(1, 50, "multi")
	index.MediaType, index.Children = image.MediaTypeOCIIndex, []image.Digest{digest(2), digest(3)}
	signature := at(4, 50)
	signature.Subject = digest(1)
	multi := []image.Image{index, at(2, 50), at(3, 50), signature}
	one := []image.Image{at(1, 100, "old"), at(2, 50, "used"), at(3, 1, "new")}
	failed := []image.Coverage{{Account: registry.Account, Region: registry.Region, Source: "ecs", Status: image.CoverageFailed, Error: "AccessDenied"}}
	for _, tt := range []struct {
		name, policy             string
		images                   []image.Image
		used                     []string
		gaps                     []image.Coverage
		now, next, blocked, kept string
	}{
		{name: "now", policy: policy(rule(1, older("any", 40), expire)), images: one, used: []string{"used"}, now: "used now", kept: "map[] map[within-expiry:1]"},
		{name: "next", policy: policy(rule(1, older("any", 60), expire)), images: one, used: []string{"used"}, next: "used 2026-12-01", kept: "map[] map[within-expiry:1]"},
		{name: "the archive", policy: policy(rule(1, older("any", 40), toArchive)), images: one, used: []string{"used"}, now: "used archived now", kept: "map[] map[within-expiry:1]"},
		{name: "a count", policy: policy(rule(1, `"tagStatus":"any","countType":"imageCountMoreThan","countNumber":2`, expire)), images: one, used: []string{"used"},
			next: "used after 1", kept: "map[] map[within-expiry:1]"},
		{name: "never", policy: policy(rule(1, `"tagStatus":"any","countType":"imageCountMoreThan","countNumber":9999`, expire)), images: one, used: []string{"used"},
			next: "used after 9998 far", kept: "map[] map[within-expiry:1]"},
		{name: "earliest first", policy: policy(rule(1, older("any", 200), expire)), images: one, used: []string{"new", "old", "used"},
			next: "old 2027-03-01; used 2027-04-20; new 2027-06-08", kept: "map[] map[]"},
		{name: "unknown is never unused", policy: policy(rule(1, older("any", 40), expire)), images: one, used: []string{"used"}, gaps: failed,
			now: "used now", blocked: "old now", kept: "map[] map[within-expiry:1]"},
		{name: "the configuration", policy: policy(rule(1, older("any", 40), expire)), images: []image.Image{at(1, 100, "keep"), at(2, 99)}, kept: "map[keep-tag:1] map[]"},
		{name: "an index with its parts", policy: policy(rule(1, older("any", 40), expire)), images: multi, used: []string{"multi"}, now: "multi now with 3", kept: "map[] map[]"},
		// The classic: an untagged rule never takes the children of an index that stays.
		{name: "children are held", policy: policy(rule(1, older("untagged", 14), expire)), images: multi[:3], used: []string{"multi"}, kept: "map[] map[]"},
		{name: "children go with their index", policy: policy(rule(1, older("untagged", 14), expire), rule(2, older("any", 60), expire)), images: multi[:3], used: []string{"multi"},
			next: "multi 2026-12-01 with 2", kept: "map[] map[]"},
		{name: "children wait for the count of their index", policy: policy(rule(1, older("untagged", 14), expire),
			rule(2, `"tagStatus":"any","countType":"imageCountMoreThan","countNumber":4`, expire)), images: multi[:3], used: []string{"multi"}, next: "multi after 4 with 2", kept: "map[] map[]"},
		{name: "nothing", policy: policy(rule(1, older("untagged", 14), expire)), images: one, used: []string{"used"}, kept: "map[] map[]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := of(t, plan(tt.policy, tt.images, tt.gaps, tt.used...))
			if len(a.Policies) != 1 {
				t.Fatalf("%+v", a)
			}
			kept := fmt.Sprint(a.Policies[0].ProtectedNow, " ", a.Policies[0].ProtectedNext)
			if names(a.Now) != tt.now || names(a.Next) != tt.next || names(a.Blocked) != tt.blocked || kept != tt.kept {
				t.Errorf("now %q, next %q, blocked %q, kept %q", names(a.Now), names(a.Next), names(a.Blocked), kept)
			}
			if a.Policies[0].Unknown != (tt.gaps != nil) {
				t.Errorf("unknown: %t", a.Policies[0].Unknown)
			}
			for _, f := range append(a.Now, a.Next...) {
				if len(f.Reasons) != 1 || f.Reasons[0].Account != "222222222222" || f.Reasons[0].Region != "eu-west-1" || !strings.HasSuffix(f.Reasons[0].Resource, f.Tags[0]) {
					t.Errorf("%v: its consumer is not named: %+v", f.Tags, f.Reasons)
				}
			}
		})
	}
}

// TestChildInUse: a task that runs a child by digest is named at the index, which is what a policy takes.
func TestChildInUse(t *testing.T) {
	index := at(1, 50, "multi")
	index.MediaType, index.Children = image.MediaTypeOCIIndex, []image.Digest{digest(2), digest(3)}
	a := of(t, plan(policy(rule(1, older("any", 40), expire)), []image.Image{index, at(2, 50, "amd64"), at(3, 50)}, nil, "amd64"))
	if names(a.Now) != "multi now with 2" || len(a.Now[0].Reasons) != 1 || !strings.HasSuffix(a.Now[0].Reasons[0].Resource, "/amd64") {
		t.Errorf("%q: %+v", names(a.Now), a.Now)
	}
}

// TestFreed: what the policy takes, what the plan deletes and what both do are three numbers.
func TestFreed(t *testing.T) {
	p := of(t, plan(policy(rule(1, older("tagged", 40)+`,"tagPrefixList":["dev"]`, expire)),
		[]image.Image{at(1, 100, "dev1"), at(2, 90, "dev2"), at(3, 80, "prod"), at(4, 70)}, nil, "dev1")).Policies[0]
	if p.Expires != (planner.Tally{Images: 2, Bytes: 200}) || p.Deletes != (planner.Tally{Images: 3, Bytes: 300}) || p.Both != (planner.Tally{Images: 1, Bytes: 100}) {
		t.Errorf("%+v", p)
	}
}

func TestProblems(t *testing.T) {
	a := of(t, plan(policy(rule(1, older("untagged", 14), expire), rule(2, older("tagged", 14)+`,"tagPrefixList":["snapshot"]`, expire)), []image.Image{at(1, 1, "v1"), at(2, 1)}, nil))
	if len(a.Problems) != 1 || a.Problems[0].Priority != 2 || a.Problems[0].Code != audit.Unmatched || !a.Complete() {
		t.Errorf("%+v", a.Problems)
	}
	a = of(t, plan(`{"rules":[]}`, []image.Image{at(1, 100, "v1")}, nil, "v1"))
	if len(a.Problems) != 1 || !a.Problems[0].Fatal || a.Complete() || len(a.Policies) != 1 || len(a.Now) > 0 {
		t.Errorf("a policy that cannot be evaluated: %+v", a)
	}
}

func TestCompare(t *testing.T) {
	inv := &image.Inventory{Repository: image.Repository{Registry: registry, Name: "app"}, Expires: policy(rule(1, older("any", 40), expire)),
		Images: []image.Image{at(1, 100, "v1"), at(2, 50, "v2"), at(3, 1, "v3")}}
	aws := func(n, priority int, tags ...string) audit.Previewed {
		return audit.Previewed{Digest: digest(n), Tags: tags, PushedAt: now.AddDate(0, 0, -60), Rule: priority, Action: lifecycle.Expire}
	}
	fresh := aws(9, 1)
	fresh.PushedAt = now
	for _, tt := range []struct {
		name    string
		preview []audit.Previewed
		same    int
		want    string
	}{
		{"the same", []audit.Previewed{aws(1, 1, "v1"), aws(2, 1, "v2")}, 2, ""},
		{"less", []audit.Previewed{aws(1, 1, "v1")}, 1, "2 here-only images have been"},
		{"more", []audit.Previewed{aws(1, 1, "v1"), aws(2, 1, "v2"), aws(3, 1, "v3")}, 2, "3 aws-only images have been"},
		{"another tag", []audit.Previewed{aws(1, 1, "v1"), aws(2, 1, "v2"), aws(3, 1, "v9")}, 2, "3 aws-only its tags have changed"},
		{"another rule", []audit.Previewed{aws(1, 2, "v1"), aws(2, 1, "v2")}, 1, "1 other-rule images have been"},
		{"pushed since", []audit.Previewed{aws(1, 1, "v1"), aws(2, 1, "v2"), fresh}, 2, "9 aws-only it was pushed after the run"},
		{"never seen", []audit.Previewed{aws(1, 1, "v1"), aws(2, 1, "v2"), aws(9, 1)}, 2, "9 aws-only it is not in the inventory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := &audit.Verified{}
			v.Compare(inv, now.Add(-time.Hour), tt.preview, now)
			var got string
			for _, d := range v.Differences {
				got += string(d.Digest[len(d.Digest)-1:]) + " " + string(d.Kind) + " " + d.Why
			}
			if v.Repositories != 1 || v.Images != tt.same || len(v.Failures) > 0 || !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("%+v", v)
			}
		})
	}
	v := &audit.Verified{}
	v.Compare(&image.Inventory{Expires: "{"}, now, nil, now)
	if len(v.Failures) != 1 {
		t.Errorf("a policy that only AWS understands: %+v", v)
	}
}

// TestArchivedIndexFreesItsChildren: an index that goes to the archive holds nothing, so a rule that expires its children does it for good.
func TestArchivedIndexFreesItsChildren(t *testing.T) {
	index := at(1, 50, "multi")
	index.MediaType, index.Children = image.MediaTypeOCIIndex, []image.Digest{digest(2)}
	p := policy(rule(1, older("tagged", 40)+`,"tagPatternList":["multi"]`, toArchive), rule(2, older("untagged", 14), expire))
	a := of(t, plan(p, []image.Image{index, at(2, 50)}, nil, "multi"))
	if got := names(a.Now); got != "multi archived now; 2 now" {
		t.Errorf("now %q, next %q", got, names(a.Next))
	}
}

// TestArchivedIndexHoldsNothing: an index that is archived keeps none of its children, be they in use.
func TestArchivedIndexHoldsNothing(t *testing.T) {
	index := at(1, 50, "multi")
	index.MediaType, index.Children = image.MediaTypeOCIIndex, []image.Digest{digest(2)}
	for _, index.Status = range []image.Status{image.Archived, image.Activating} {
		a := of(t, plan(policy(rule(1, older("untagged", 14), expire)), []image.Image{index, at(2, 50)}, nil, "multi"))
		if got := names(a.Now); got != "2 now" || len(a.Now[0].Reasons) != 1 {
			t.Errorf("%s: now %q, next %q", index.Status, got, names(a.Next))
		}
	}
}

// TestArchivedIndexBesideOne: of two indexes that refer to a child, the archived one does not keep it from going with the other.
func TestArchivedIndexBesideOne(t *testing.T) {
	index, old := at(1, 50, "multi"), at(3, 50, "old")
	index.MediaType, index.Children = image.MediaTypeOCIIndex, []image.Digest{digest(2)}
	old.MediaType, old.Children, old.Status = index.MediaType, index.Children, image.Archived
	a := of(t, plan(policy(rule(1, older("any", 40), expire)), []image.Image{index, at(2, 50, "child"), old}, nil, "child"))
	if got := names(a.Now); got != "multi now with 1" {
		t.Errorf("now %q, next %q", got, names(a.Next))
	}
}

// TestTiedInUse: of two images that were pushed at the same instant nobody knows which one a count takes.
func TestTiedInUse(t *testing.T) {
	p := policy(rule(1, `"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1`, expire))
	for _, used := range []string{"a", "b"} {
		a := of(t, plan(p, []image.Image{at(1, 50, "a"), at(2, 50, "b")}, nil, used))
		if got := names(a.Now); got != used+" now" || !a.Now[0].Tied {
			t.Errorf("%s: now %q, next %q", used, got, names(a.Next))
		}
	}
}

// TestUnread: of what could not be read, nobody knows what it takes. What only moves to the archive frees nothing.
func TestUnread(t *testing.T) {
	p := plan(policy(rule(1, older("any", 40), toArchive)), []image.Image{at(1, 50, "a")}, nil)
	if a := of(t, p); !a.Complete() || a.Policies[0].Expires.Images != 0 {
		t.Errorf("%+v", a)
	}
	unread := *p
	unread.Repositories = func(yield func(*planner.RepositoryPlan, error) bool) {
		for r, err := range p.Repositories {
			r.Inventory.Lifecycle = ""
			if !yield(r, err) {
				return
			}
		}
	}
	if a := of(t, &unread); a.Complete() || len(a.Unread) != 1 {
		t.Errorf("%+v", a)
	}
}

// TestPartThatGoesFirst: a signature that goes long before what it signs is no part of its end.
func TestPartThatGoesFirst(t *testing.T) {
	signature := at(2, 50)
	signature.Subject = digest(1)
	p := policy(rule(1, older("untagged", 60), expire), rule(2, older("any", 9999), expire))
	a := of(t, plan(p, []image.Image{at(1, 50, "v1"), signature}, nil, "v1"))
	if got := names(a.Next); got != "2 2026-12-01; v1 2054-02-16 far" {
		t.Errorf("next %q", got)
	}
}
