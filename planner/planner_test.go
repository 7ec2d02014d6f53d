package planner

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"demurrage/internal/image"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// d makes a digest that begins with its name.
func d(name string) image.Digest {
	hex := ""
	for _, c := range []byte(name) {
		hex += fmt.Sprintf("%02x", c)
	}
	return image.Digest("sha256:" + hex + strings.Repeat("0", 64-len(hex)))
}

func name(digest image.Digest) string {
	out := ""
	for i := 7; i < len(digest); i += 2 {
		var c byte
		fmt.Sscanf(string(digest[i:i+2]), "%02x", &c)
		if c == 0 {
			break
		}
		out += string(c)
	}
	return out
}

type opt func(*image.Image)

func img(name string, age time.Duration, opts ...opt) image.Image {
	i := image.Image{Digest: d(name), Bytes: 100, PushedAt: now.Add(-age), MediaType: image.MediaTypeOCIManifest}
	for _, o := range opts {
		o(&i)
	}
	return i
}

func tags(t ...string) opt         { return func(i *image.Image) { i.Tags = t } }
func subject(n string) opt         { return func(i *image.Image) { i.Subject = d(n) } }
func pulled(age time.Duration) opt { return func(i *image.Image) { i.LastPulledAt = now.Add(-age) } }
func archived(i *image.Image)      { i.Status = image.Archived }
func unreadable(i *image.Image)    { i.Unreadable = "manifest does not parse" }
func signatureOf(n string) opt     { return tags("sha256-" + string(d(n)[7:]) + ".sig") }
func index(children ...string) opt {
	return func(i *image.Image) {
		i.MediaType = image.MediaTypeOCIIndex
		for _, c := range children {
			i.Children = append(i.Children, d(c))
		}
	}
}

var home = image.Repository{Registry: image.Registry{Account: "111111111111", Region: "us-east-1"}, Name: "app"}

func repository(images ...image.Image) *image.Inventory {
	slices.SortFunc(images, image.Compare)
	return &image.Inventory{Repository: home, Images: images}
}

// ref: "v1" is a tag, "@a" the digest of image a, "v1@a" both.
func ref(s string) image.Ref {
	tag, digest, ok := strings.Cut(s, "@")
	r := image.Ref{Repository: home, Tag: tag}
	if ok {
		r.Digest = d(digest)
	}
	return r
}

func use(s string) image.Use {
	return image.Use{Ref: ref(s), Source: "ecs-task", Account: "222222222222", Region: "eu-west-1", Resource: "arn:task/" + s, Live: true}
}

func ok(account string) []image.Coverage {
	var c []image.Coverage
	for _, source := range []string{"ecr", "ecs", "lambda"} {
		c = append(c, image.Coverage{Account: account, Region: "us-east-1", Source: source, Status: image.CoverageOK})
	}
	return c
}

func failed(account, source, err string) image.Coverage {
	return image.Coverage{Account: account, Region: "us-east-1", Source: source, Status: image.CoverageFailed, Error: err}
}

var rule = RepositoryRule{Name: image.Glob("*"), Expires: 30 * day}

func rules(r RepositoryRule) Rules { return Rules{Repositories: []RepositoryRule{r}, MinAge: day} }

func seq(inventories ...*image.Inventory) iter.Seq2[image.Inventory, error] {
	return func(yield func(image.Inventory, error) bool) {
		for _, inv := range inventories {
			if !yield(*inv, nil) {
				return
			}
		}
	}
}

// show writes decisions as "name action code,code" in the order of names.
func show(p *RepositoryPlan) string {
	var lines []string
	for _, d := range p.Decisions {
		var codes []string
		for _, r := range d.Reasons {
			if !slices.Contains(codes, string(r.Code)) {
				codes = append(codes, string(r.Code))
			}
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", name(d.Image.Digest), d.Action, strings.Join(codes, ",")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestRepository(t *testing.T) {
	with := func(f func(*RepositoryRule)) Rules {
		r := rule
		f(&r)
		return rules(r)
	}
	tests := []struct {
		name   string
		rules  Rules
		images []image.Image
		uses   []image.Use
		want   string
	}{
		{"age at the boundary has expired", rules(rule),
			[]image.Image{img("a", 30*day), img("b", 30*day-time.Second)}, nil,
			"a delete expired\nb keep within-expiry"},
		{"no rule", Rules{}, []image.Image{img("a", 300*day)}, nil, "a keep no-rule"},
		{"a rule for another account", with(func(r *RepositoryRule) { r.Accounts = []image.Pattern{image.Exact("333333333333")} }),
			[]image.Image{img("a", 300*day)}, nil, "a keep no-rule"},
		{"a rule without expires", with(func(r *RepositoryRule) { r.Expires = 0 }), []image.Image{img("a", 300*day)}, nil, "a keep no-rule"},
		{"first match wins", Rules{Repositories: []RepositoryRule{{Name: image.Glob("a*")}, rule}}, []image.Image{img("a", 300*day)}, nil, "a keep no-rule"},
		{"counted from the newest push", with(func(r *RepositoryRule) { r.FromNewestPush = true }),
			[]image.Image{img("a", 300*day), img("b", 129*day), img("c", 100*day)}, nil,
			"a delete expired\nb keep within-expiry\nc keep within-expiry"},
		{"min age", with(func(r *RepositoryRule) { r.Expires = time.Hour }), []image.Image{img("a", 2*time.Hour), img("b", day)}, nil,
			"a keep min-age\nb delete expired"},
		{"keep count counts roots, newest first, used or not", with(func(r *RepositoryRule) { r.KeepCount = 2 }),
			[]image.Image{img("a", 50*day, tags("1")), img("b", 60*day, index("c")), img("c", 60*day), img("d", 70*day), img("e", 40*day, signatureOf("a"))},
			[]image.Use{use("1")},
			"a keep in-use,keep-count\nb keep keep-count\nc keep child-of-kept\nd delete expired\ne keep referrer-of-kept"},
		{"untagged have a life of their own", with(func(r *RepositoryRule) { r.UntaggedExpires = 2 * day; r.KeepCount = 1 }),
			[]image.Image{img("a", 3*day), img("b", 40*day, tags("1")), img("c", 50*day, tags("2")), img("d", 36*time.Hour)}, nil,
			"a delete untagged-expired\nb keep keep-count\nc delete expired\nd keep within-expiry"},
		{"untagged alone expire", with(func(r *RepositoryRule) { r.Expires = 0; r.UntaggedExpires = 2 * day }),
			[]image.Image{img("a", 3*day), img("b", 40*day, tags("1"))}, nil,
			"a delete untagged-expired\nb keep no-rule"},
		{"keep tags", with(func(r *RepositoryRule) { r.KeepTags = []image.Pattern{image.Glob("v*")} }),
			[]image.Image{img("a", 50*day, tags("dev-1", "v1")), img("b", 50*day, tags("dev-2"))}, nil,
			"a keep keep-tag\nb delete expired"},
		{"pulled, with a day's allowance", with(func(r *RepositoryRule) { r.KeepPulledWithin = 10 * day }),
			[]image.Image{img("a", 50*day, pulled(11*day)), img("b", 50*day, pulled(11*day+time.Second)), img("c", 50*day)}, nil,
			"a keep pulled-recently\nb delete expired\nc delete expired"},
		{"pulls do not matter unless asked", rules(rule), []image.Image{img("a", 50*day, pulled(day))}, nil, "a delete expired"},
		{"archived images are judged", rules(rule), []image.Image{img("a", 50*day, archived)}, nil, "a delete expired"},
		{"used by tag, by digest, by both", rules(rule),
			[]image.Image{img("a", 50*day, tags("1")), img("b", 50*day), img("c", 50*day), img("e", 50*day, tags("3")), img("f", 50*day, tags("2"))},
			[]image.Use{use("1"), use("@b"), use("3@c")},
			"a keep in-use\nb keep in-use\nc keep in-use\ne keep in-use\nf delete expired"},
		{"a used child keeps its indexes and their other children", rules(rule),
			[]image.Image{img("a", 50*day, index("b")), img("b", 50*day, index("c", "d")), img("c", 50*day), img("d", 50*day), img("e", 50*day, index("f")), img("f", 50*day)},
			[]image.Use{use("@c")},
			"a keep index-of-kept\nb keep index-of-kept,child-of-kept\nc keep in-use,child-of-kept\nd keep child-of-kept\ne delete expired\nf delete child-of-deleted"},
		{"a child shared with a kept index stays", rules(rule),
			[]image.Image{img("a", 50*day, index("c")), img("b", 5*day, index("c")), img("c", 50*day)}, nil,
			"a delete expired\nb keep within-expiry\nc keep child-of-kept"},
		{"a child kept for its tag does not keep its index", with(func(r *RepositoryRule) { r.KeepTags = []image.Pattern{image.Glob("v*")} }),
			[]image.Image{img("a", 50*day, index("b", "c")), img("b", 50*day, tags("v1")), img("c", 50*day)}, nil,
			"a delete expired\nb keep keep-tag\nc delete child-of-deleted"},
		{"a pulled child keeps its index", with(func(r *RepositoryRule) { r.KeepPulledWithin = 10 * day }),
			[]image.Image{img("a", 50*day, index("b")), img("b", 50*day, pulled(day))}, nil,
			"a keep index-of-kept\nb keep pulled-recently,child-of-kept"},
		{"signatures follow their subject, whatever their age", rules(rule),
			[]image.Image{img("a", 50*day, tags("1")), img("b", 50*day, signatureOf("a")), img("c", 45*day, subject("a")),
				img("e", 50*day), img("f", 2*day, subject("e")), img("g", 2*day, signatureOf("e"))},
			[]image.Use{use("1")},
			"a keep in-use\nb keep referrer-of-kept\nc keep referrer-of-kept\ne delete expired\nf delete referrer-of-deleted\ng delete referrer-of-deleted"},
		{"a used referrer keeps its subject, a pulled one does not", with(func(r *RepositoryRule) { r.KeepPulledWithin = 10 * day }),
			[]image.Image{img("a", 50*day), img("b", 50*day, subject("a")), img("e", 50*day), img("f", 50*day, subject("e"), pulled(day))},
			[]image.Use{use("@b")},
			"a keep subject-of-kept\nb keep in-use,referrer-of-kept\ne delete expired\nf keep pulled-recently"},
		{"an orphaned signature is a root", rules(rule), []image.Image{img("b", 50*day, signatureOf("gone"))}, nil, "b delete expired"},
		{"a signature's tag cannot take a root's own life", rules(rule),
			[]image.Image{img("a", 50*day), img("b", 5*day, tags("release", "sha256-"+string(d("a")[7:])+".sig"))}, nil,
			"a delete expired\nb keep within-expiry"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := Merge(tt.rules, now, Usage{Uses: tt.uses, Coverage: ok(home.Account)})
			p := m.Repository(repository(tt.images...))
			if got := show(p); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			if len(p.Broken) > 0 {
				t.Errorf("broken: %v", p.Broken)
			}
		})
	}
}

func TestGate(t *testing.T) {
	const other = "222222222222"
	policy := func(i *image.Inventory) { i.HasPolicy = true }
	tests := []struct {
		name      string
		coverage  []image.Coverage
		unscanned []Unscanned
		attest    []Attestation
		inventory func(*image.Inventory)
		images    []image.Image
		want      string
		complete  bool
	}{
		{name: "all looked at", want: "a delete expired", complete: true},
		{name: "a usage source of the owner failed", coverage: []image.Coverage{failed(home.Account, "ecs", "denied")}, want: "a blocked coverage-gap"},
		{name: "of another account, no policy", coverage: []image.Coverage{failed(other, "ecs", "denied")}, want: "a delete expired"},
		{name: "of another account, with a policy", coverage: []image.Coverage{failed(other, "ecs", "denied")}, inventory: policy, want: "a blocked coverage-gap"},
		{name: "the owner's regions are unknown", coverage: []image.Coverage{{Account: home.Account, Region: "*", Source: "regions", Status: image.CoverageFailed, Error: "denied"}},
			want: "a blocked coverage-gap"},
		{name: "another registry could not be read", coverage: []image.Coverage{failed(other, "ecr", "denied")}, inventory: policy, want: "a delete expired"},
		{name: "the repository could be read only in part", coverage: []image.Coverage{failed(home.Account, "ecr", "page 2: denied")},
			inventory: func(i *image.Inventory) { i.Errors = []string{"page 2: denied"} }, want: "a blocked coverage-gap"},
		{name: "unavailable does not block", coverage: []image.Coverage{{Account: home.Account, Region: "x", Source: "lambda", Status: image.CoverageUnavailable}},
			want: "a delete expired", complete: true},
		{name: "an account that nobody scans, no policy", unscanned: []Unscanned{{Account: other, Why: "excluded"}}, want: "a delete expired", complete: true},
		{name: "an account that nobody scans, with a policy", unscanned: []Unscanned{{Account: other, Why: "excluded"}}, inventory: policy,
			want: "a blocked unscanned-consumer", complete: true},
		{name: "an unscanned account is attested", unscanned: []Unscanned{{Account: other, Why: "excluded"}}, inventory: policy,
			attest: []Attestation{{Accounts: []image.Pattern{image.Exact(other)}, Expires: now.Add(1)}}, want: "a delete expired", complete: true},
		{name: "an unscanned account is attested in part", unscanned: []Unscanned{{Account: other, Why: "excluded"}}, inventory: policy,
			attest: []Attestation{{Accounts: []image.Pattern{image.Exact(other)}, Sources: []string{"ecs"}, Expires: now.Add(1)}},
			want:   "a blocked unscanned-consumer", complete: true},
		{name: "attested", coverage: []image.Coverage{failed(home.Account, "ecs", "denied")},
			attest: []Attestation{{Accounts: []image.Pattern{image.Glob("*")}, Regions: []string{"us-east-1"}, Sources: []string{"ecs"}, Expires: now.Add(1)}},
			want:   "a delete expired", complete: true},
		{name: "the attestation has expired", coverage: []image.Coverage{failed(home.Account, "ecs", "denied")},
			attest: []Attestation{{Accounts: []image.Pattern{image.Glob("*")}, Expires: now}}, want: "a blocked coverage-gap"},
		{name: "attested for another region", coverage: []image.Coverage{failed(home.Account, "ecs", "denied")},
			attest: []Attestation{{Accounts: []image.Pattern{image.Glob("*")}, Regions: []string{"eu-west-1"}, Expires: now.Add(1)}}, want: "a blocked coverage-gap"},
		{name: "attested for another source", coverage: []image.Coverage{failed(home.Account, "ecs", "denied")},
			attest: []Attestation{{Accounts: []image.Pattern{image.Glob("*")}, Sources: []string{"eks"}, Expires: now.Add(1)}}, want: "a blocked coverage-gap"},
		{name: "nobody can attest what a registry holds", coverage: []image.Coverage{failed(home.Account, "ecr", "page 2")},
			inventory: func(i *image.Inventory) { i.Errors = []string{"page 2"} },
			attest:    []Attestation{{Accounts: []image.Pattern{image.Glob("*")}, Expires: now.Add(1)}}, want: "a blocked coverage-gap"},
		{name: "an unreadable manifest blocks its repository", images: []image.Image{img("a", 50*day), img("b", 50*day, unreadable)},
			want: "a blocked unreadable-manifest\nb blocked unreadable-manifest", complete: true},
		{name: "an unreadable index blocks, archived or being restored", images: []image.Image{
			img("a", 60*day, tags("1")), img("b", 50*day, unreadable, archived), img("c", 40*day)},
			want: "a blocked unreadable-manifest\nb blocked unreadable-manifest\nc blocked unreadable-manifest", complete: true},
		{name: "a policy names an account outside of the scan", inventory: func(i *image.Inventory) {
			i.HasPolicy, i.Policy = true, `{"Statement": {"Principal": {"AWS": ["arn:aws:iam::222222222222:root", "`+home.Account+`"]}}}`
		}, want: "a blocked unscanned-consumer", complete: true},
		{name: "a policy names a scanned account", coverage: ok(other), inventory: func(i *image.Inventory) {
			i.HasPolicy, i.Policy = true, `{"Statement": {"Principal": {"AWS": "222222222222"}}}`
		}, want: "a delete expired", complete: true},
		{name: "a policy names an attested account", attest: []Attestation{{Accounts: []image.Pattern{image.Exact(other)}, Expires: now.Add(1)}}, inventory: func(i *image.Inventory) {
			i.HasPolicy, i.Policy = true, `{"Statement": {"Principal": {"AWS": "222222222222"}}}`
		}, want: "a delete expired", complete: true},
		{name: "kept wins over blocked, relatives follow", coverage: []image.Coverage{failed(home.Account, "ecs", "denied")},
			images: []image.Image{img("a", 5*day), img("b", 50*day, index("c")), img("c", 50*day), img("e", 50*day, signatureOf("b"))},
			want:   "a keep within-expiry\nb blocked coverage-gap\nc blocked child-of-blocked\ne blocked referrer-of-blocked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			images := tt.images
			if images == nil {
				images = []image.Image{img("a", 50*day)}
			}
			inv := repository(images...)
			if tt.inventory != nil {
				tt.inventory(inv)
			}
			r := rules(rule)
			r.Attestations = tt.attest
			m := Merge(r, now, Usage{Coverage: slices.Concat(ok(home.Account)[1:], tt.coverage), Unscanned: tt.unscanned})
			p, err := Build(m, seq(inv))
			if err != nil {
				t.Fatal(err)
			}
			for rp, err := range p.Repositories {
				if got := show(rp); err != nil || got != tt.want {
					t.Errorf("got\n%s, %v\nwant\n%s", got, err, tt.want)
				}
			}
			if p.Complete != tt.complete {
				t.Errorf("complete: %v", p.Complete)
			}
			if p.Count.Blocked.Images > 0 && len(p.Gaps) > 0 && p.Gaps[0].Unblocks != p.Count.Blocked {
				t.Errorf("mending the only gap unblocks %v of %v", p.Gaps[0].Unblocks, p.Count.Blocked)
			}
		})
	}
}

// What runs from a tag without saying which digest that was may be any image of the repository: the tag can have moved
// to a newer one, back to an older one, or be gone.
func TestUnknownDigest(t *testing.T) {
	for name, images := range map[string][]image.Image{
		"moved on":   {img("a", 50*day, tags("1")), img("b", 60*day)},
		"moved back": {img("a", 90*day, tags("1")), img("b", 60*day)},
		"gone":       {img("b", 60*day)},
	} {
		t.Run(name, func(t *testing.T) {
			u := use("1")
			u.Since = now.Add(-55 * day)
			p, err := Build(Merge(rules(rule), now, Usage{Uses: []image.Use{u}, Coverage: ok(home.Account)}), seq(repository(images...)))
			if err != nil {
				t.Fatal(err)
			}
			for r, err := range p.Repositories {
				if got := show(r); err != nil || !strings.Contains(got, "b blocked coverage-gap") {
					t.Errorf("got\n%s, %v", got, err)
				}
			}
			if blocked := p.Count.Blocked; blocked.Images != 1 || len(p.Gaps) != 1 || p.Gaps[0].Unblocks != blocked {
				t.Errorf("gaps %+v", p.Gaps)
			}
		})
	}
}

// An attestation that lets images go is said to be needed, though nothing but a policy names its account.
func TestAttestedStrangerCounts(t *testing.T) {
	r := rules(rule)
	r.Attestations = []Attestation{{Accounts: []image.Pattern{image.Exact("222222222222")}, Expires: now.Add(1)}}
	var inventories []*image.Inventory
	for _, name := range []string{"a", "b"} {
		inv := repository(img(name, 50*day))
		inv.Repository.Name, inv.HasPolicy, inv.Policy = name, true, lets("222222222222")
		inventories = append(inventories, inv)
	}
	p, err := Build(Merge(r, now, Usage{Coverage: ok(home.Account)}), seq(inventories...))
	if err != nil || p.Count.Delete.Images != 2 || len(p.Attestations) != 1 || p.Attestations[0].Used != 1 {
		t.Errorf("%v %+v", err, p)
	}
}

// Thousands of children in a repository that hundreds of gaps concern: what they share is kept once.
func BenchmarkManyGaps(b *testing.B) {
	var coverage []image.Coverage
	for i := range 4000 {
		coverage = append(coverage, failed(fmt.Sprintf("%012d", i), "ecs", fmt.Sprintf("denied %d", i)))
	}
	var images []image.Image
	for i := range 1000 {
		c := fmt.Sprintf("c%d", i)
		images = append(images, img(c, 60*day), img(fmt.Sprintf("i%d", i), 50*day, index(c)))
	}
	inv := repository(images...)
	inv.HasPolicy = true
	m := Merge(rules(rule), now, Usage{Coverage: coverage})
	b.ReportAllocs()
	for b.Loop() {
		if p := m.Repository(inv); p.Count.Blocked.Images != 2000 {
			b.Fatal(p.Count)
		}
	}
}

// A source that was meant to be looked at and about which nothing is known has failed.
func TestMissingCoverageBlocks(t *testing.T) {
	m := Merge(rules(rule), now, Usage{Coverage: ok(home.Account)[:2], Expected: ok(home.Account)})
	if got := show(m.Repository(repository(img("a", 50*day)))); got != "a blocked coverage-gap" {
		t.Error(got)
	}
}

func TestBroken(t *testing.T) {
	gone := home
	gone.Name = "gone"
	elsewhere := home
	elsewhere.Region = "eu-west-1" // not scanned
	latent := use("old")
	latent.Live, latent.Source = false, "ecs-task-definition"
	uses := []image.Use{latent, use("1"), use("missing"), use("@x"), use("1@x"), use("nosuchtag@a")}
	for _, r := range []image.Repository{gone, elsewhere} {
		u := use("v1")
		u.Ref.Repository = r
		uses = append(uses, u)
	}
	m := Merge(rules(rule), now, Usage{Uses: uses, Coverage: ok(home.Account)})
	p, err := Build(m, seq(repository(img("a", 50*day, tags("1")))))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range p.Broken {
		got = append(got, fmt.Sprintf("%v %s %s %s", b.Live, b.Ref.Repository.Name, b.Ref.Tag, name(b.Ref.Digest)))
	}
	want := []string{"true app 1 x", "true app  x", "true app missing ", "true gone v1 ", "false app old "}
	slices.Sort(got[:len(got)-1])
	slices.Sort(want[:len(want)-1])
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}

	inv := repository(img("a", 50*day, tags("1")))
	inv.Errors = []string{"page 2 failed"}
	if p := m.Repository(inv); len(p.Broken) != 0 {
		t.Errorf("broken although images may be missing from the list: %v", p.Broken)
	}
}

// Reasons are shared between repositories: what one adds must not show in another.
func TestReasonsOfOneRepositoryStayThere(t *testing.T) {
	const x, y = "555555555555", "666666666666"
	var coverage []image.Coverage
	for _, a := range []string{"a", "b", "c"} { // three appended one by one: room for a fourth
		coverage = append(coverage, failed("222222222222", "ecs", a))
	}
	m := Merge(rules(rule), now, Usage{Coverage: coverage})
	plan := func(stranger string) *RepositoryPlan {
		inv := repository(img("a", 50*day))
		inv.HasPolicy, inv.Policy = true, lets("222222222222", stranger)
		return m.Repository(inv)
	}
	p := plan(x)
	plan(y)
	if r := p.Decisions[0].Reasons; !slices.ContainsFunc(r, func(r Reason) bool { return r.Account == x }) || len(r) != 4 {
		t.Errorf("reasons: %+v", r)
	}
}

func TestUnscannedAccountVouchedForInPart(t *testing.T) {
	a := Attestation{Accounts: []image.Pattern{image.Exact("222222222222")}, Regions: []string{"us-east-1"}, Expires: now.Add(1)}
	r := rules(rule)
	r.Attestations = []Attestation{a}
	inv := repository(img("a", 50*day))
	inv.HasPolicy = true
	m := Merge(r, now, Usage{Coverage: ok(home.Account), Unscanned: []Unscanned{{Account: "222222222222", Why: "excluded"}}})
	if got := show(m.Repository(inv)); got != "a blocked unscanned-consumer" {
		t.Error(got)
	}
}

func TestWhatTwoGapsBlockNeitherUnblocks(t *testing.T) {
	m := Merge(rules(rule), now, Usage{Coverage: []image.Coverage{failed(home.Account, "ecs", "x"), failed(home.Account, "lambda", "y")}})
	p, err := Build(m, seq(repository(img("a", 50*day))))
	if err != nil || len(p.Gaps) != 2 {
		t.Fatal(err, p.Gaps)
	}
	for _, g := range p.Gaps {
		if g.HoldsBack != p.Count.Blocked || g.Unblocks != (Tally{}) {
			t.Errorf("gap %+v", g)
		}
	}
}

func TestPolicyNamesAnUnscannedAccount(t *testing.T) {
	inv := repository(img("a", 50*day))
	inv.HasPolicy, inv.Policy = true, lets("222222222222")
	m := Merge(rules(rule), now, Usage{Coverage: ok(home.Account), Unscanned: []Unscanned{{Account: "222222222222", Why: "excluded"}}})
	p, err := Build(m, seq(inv))
	if err != nil || len(p.Gaps) != 1 || p.Gaps[0].Unblocks != p.Count.Blocked {
		t.Errorf("%v, gaps %+v", err, p.Gaps)
	}
}
