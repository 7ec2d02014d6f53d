package orgsim

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// Counts are how many images of a repository get which decision.
type Counts struct{ Total, Keep, Delete, Blocked int }

// DemoExpected says, for each repository of Demo that a plan has (its key is DemoRepository.Key), what becomes of
// its images. It is the yardstick for the planner, so it shares nothing with it: it reads the description and the
// rules below, which restate demo.toml by hand, and is as plain as possible.
func DemoExpected() map[string]Counts {
	d := Demo()
	out := make(map[string]Counts)
	world := expectedWorld(d)
	for _, r := range d.Repositories {
		if r.Account == demoFeeder || r.Account == demoLegacy || r.Region == demoIreland {
			continue // the account cannot be read, or the region is not planned
		}
		var n Counts
		for _, x := range world[r] {
			n.Total++
			switch {
			case x.keep:
				n.Keep++
			case r.Shared:
				n.Blocked++ // baltic-feeder may pull from it, and could not be read
			default:
				n.Delete++
			}
		}
		out[r.Key()] = n
	}
	return out
}

// expectedRule is a [[repositories]] entry of demo.toml.
type expectedRule struct {
	prefix, account  string
	expires          int // days, as all that follow
	fromNewest       bool
	keepCount        int
	keepTags         []string // * stands at the end only
	pulledWithin     int
	untaggedExpires  int
	untaggedSeparate bool
}

var expectedRules = []expectedRule{
	{prefix: "prod/", expires: 180, keepCount: 10, keepTags: []string{"latest", "release-*"}, pulledWithin: 30, untaggedExpires: 7, untaggedSeparate: true},
	{prefix: "staging/", expires: 45, fromNewest: true, keepCount: 3, untaggedExpires: 2, untaggedSeparate: true},
	{prefix: "platform/", account: demoPlatform, expires: 365, keepCount: 5, keepTags: []string{"latest", "stable"}, pulledWithin: 60},
	{prefix: "ml/", expires: 90, keepCount: 3, keepTags: []string{"champion"}, pulledWithin: 30, untaggedExpires: 3, untaggedSeparate: true},
	{prefix: "ci/", expires: 21, keepCount: 2, untaggedExpires: 1, untaggedSeparate: true},
	{prefix: "", account: demoSandbox, expires: 30, keepCount: 1},
}

func expectedRuleOf(r *DemoRepository) *expectedRule {
	for i := range expectedRules {
		rule := &expectedRules[i]
		if strings.HasPrefix(r.Name, rule.prefix) && (rule.account == "" || rule.account == r.Account) {
			return rule
		}
	}
	return nil
}

// expectedImage is an image that is there in the end.
type expectedImage struct {
	push   DemoPush
	tags   []string // in the end; a cosign signature has one in any case
	used   bool
	pulled bool // not too long ago
	keep   bool
}

// expectedWorld decides for every image of every repository whether it is kept.
func expectedWorld(d *Description) map[*DemoRepository]map[string]*expectedImage {
	world := make(map[*DemoRepository]map[string]*expectedImage)
	for _, r := range d.Repositories {
		world[r] = expectedImages(r)
	}
	expectedUses(d, world)
	for _, r := range d.Repositories {
		for _, p := range r.Pulls {
			expectedPull(world, r, strconv.Itoa(p.Build), p.Age)
		}
		expectedDecide(r, world[r])
	}
	return world
}

// expectedImages are the images that were not deleted, by the name of their push.
func expectedImages(r *DemoRepository) map[string]*expectedImage {
	images := make(map[string]*expectedImage)
	for _, p := range r.Pushes() {
		images[p.Name] = &expectedImage{push: p}
	}
	for tag, name := range expectedTags(r, 0) {
		images[name].tags = append(images[name].tags, tag)
	}
	for _, x := range r.Deleted {
		for name, im := range images {
			if im.push.Build == x.Build && im.push.Subject == "" {
				delete(images, name)
			}
		}
	}
	return images
}

// expectedTags says what each tag named at an age. Deletions are left out: nothing is resolved that is deleted.
func expectedTags(r *DemoRepository, at time.Duration) map[string]string {
	type given struct {
		age       time.Duration
		tag, name string
	}
	var all []given
	for _, p := range r.Pushes() {
		for _, tag := range p.Tags {
			all = append(all, given{p.Age, tag, p.Name})
		}
	}
	for _, x := range r.Extra {
		all = append(all, given{x.Age, x.Tag, strconv.Itoa(x.Build)})
	}
	slices.SortStableFunc(all, func(a, b given) int { return int(b.age/time.Second - a.age/time.Second) })
	names := make(map[string]string)
	for _, g := range all {
		if g.age >= at {
			names[g.tag] = g.name
		}
	}
	return names
}

// expectedResolve is what a reference ran at an age.
func expectedResolve(i DemoImage, at time.Duration) string {
	if i.Build > 0 {
		return strconv.Itoa(i.Build)
	}
	tag := i.Tag
	if tag == "" {
		tag = "latest"
	}
	return expectedTags(i.Repository, at)[tag]
}

// expectedUses marks what is in use: by reference now, and by what references were when they were deployed.
func expectedUses(d *Description, world map[*DemoRepository]map[string]*expectedImage) {
	use := func(r *DemoRepository, name string) {
		if im := world[r][name]; im != nil {
			im.used = true
		}
	}
	refer := func(images []DemoImage) { // as it is written, today
		for _, i := range images {
			tag := i.Tag
			if tag == "" && i.Build == 0 {
				tag = "latest"
			}
			use(i.Repository, expectedTags(i.Repository, 0)[tag])
			if i.Build > 0 {
				use(i.Repository, strconv.Itoa(i.Build))
			}
		}
	}
	readable := func(account string) bool { return account != demoFeeder && account != demoLegacy }

	for _, f := range d.Families {
		if !readable(f.Account) {
			continue
		}
		left := 5
		if strings.HasPrefix(f.Name, "batch-") {
			left = 2
		}
		for _, rev := range slices.Backward(f.Revisions) {
			if !rev.Inactive && left > 0 {
				left--
				refer(rev.Images)
			}
		}
	}
	for _, v := range d.Services {
		var deployed int          // revision
		var pinned map[int]string // what its images were when it was deployed
		var images []DemoImage    // of the revision
		for _, x := range v.Deployments {
			if x.Revision != deployed {
				deployed, pinned, images = x.Revision, make(map[int]string), v.Family.Revisions[x.Revision-1].Images
				for k, i := range images {
					pinned[k] = expectedResolve(i, x.Age)
				}
			}
			if x.Desired > 0 { // its tasks pull
				for k, i := range images {
					expectedPull(world, i.Repository, pinned[k], x.Age)
				}
			}
		}
		if !readable(v.Family.Account) {
			continue
		}
		refer(images)
		for k, i := range images {
			use(i.Repository, pinned[k])
		}
	}
	for _, t := range d.Tasks { // all of them stopped less than an hour ago
		images := t.Family.Revisions[t.Revision-1].Images
		refer(images)
		for _, i := range images {
			use(i.Repository, expectedResolve(i, t.Started))
			expectedPull(world, i.Repository, expectedResolve(i, t.Started), t.Started)
		}
	}
	for _, o := range d.Others {
		refer([]DemoImage{o.Image})
	}
	for _, f := range d.Functions {
		for i, code := range f.Code {
			version := i + 1
			name := expectedResolve(code.Image, code.Age)
			expectedPull(world, code.Image.Repository, name, code.Age)
			aliased := slices.ContainsFunc(f.Aliases, func(a DemoAlias) bool { return a.Version == version })
			if version > len(f.Code)-3 || aliased {
				refer([]DemoImage{code.Image})
				use(code.Image.Repository, name)
			}
		}
	}
}

// expectedPull marks a pull that is recent enough for the rule, with the day that pull times may be late.
func expectedPull(world map[*DemoRepository]map[string]*expectedImage, r *DemoRepository, name string, age time.Duration) {
	rule, im := expectedRuleOf(r), world[r][name]
	if rule != nil && im != nil && rule.pulledWithin > 0 && age <= demoDays(rule.pulledWithin+1) {
		im.pulled = true
	}
}

// expectedDecide marks what is kept.
func expectedDecide(r *DemoRepository, images map[string]*expectedImage) {
	rule := expectedRuleOf(r)
	held := make(map[string][]string) // child or signature -> what it hangs on, if that is there
	for name, im := range images {
		for _, child := range im.push.Children {
			held[child] = append(held[child], name)
		}
		if im.push.Subject != "" && images[im.push.Subject] != nil {
			held[name] = append(held[name], im.push.Subject)
		}
	}
	newest := time.Duration(1 << 62)
	var roots []*expectedImage
	for name, im := range images {
		newest = min(newest, im.push.Age)
		im.keep = im.used || im.pulled || im.push.Age < 24*time.Hour
		if len(held[name]) == 0 {
			roots = append(roots, im)
		}
		if rule == nil {
			im.keep = true
			continue
		}
		for _, tag := range im.tags {
			for _, pattern := range rule.keepTags {
				prefix, wild := strings.CutSuffix(pattern, "*")
				im.keep = im.keep || tag == pattern || wild && strings.HasPrefix(tag, prefix)
			}
		}
	}
	if rule == nil {
		return
	}
	slices.SortFunc(roots, func(a, b *expectedImage) int { return int(a.push.Age/time.Second - b.push.Age/time.Second) })
	counted := 0
	for _, im := range roots { // newest first
		age := im.push.Age
		if rule.fromNewest {
			age -= newest
		}
		tagged := len(im.tags) > 0 || im.push.Kind == demoCosign
		if !tagged && rule.untaggedSeparate {
			im.keep = im.keep || age < demoDays(rule.untaggedExpires)
			continue
		}
		counted++
		im.keep = im.keep || counted <= rule.keepCount || age < demoDays(rule.expires)
	}
	// What is used or pulled keeps the indexes that hold it, and what is kept keeps all that hangs on it.
	for again := true; again; {
		again = false
		mark := func(flag *bool) {
			if !*flag {
				*flag, again = true, true
			}
		}
		for name, im := range images {
			for _, parent := range held[name] {
				up := images[parent]
				signs := im.push.Subject == parent
				if im.used {
					mark(&up.used)
					mark(&up.keep)
				}
				if im.pulled && !signs {
					mark(&up.pulled)
					mark(&up.keep)
				}
				if up.keep {
					mark(&im.keep)
				}
			}
		}
	}
}
