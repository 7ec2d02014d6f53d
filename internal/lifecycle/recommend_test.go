package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"demurrage/internal/image"
)

func TestFamilyOf(t *testing.T) {
	tests := []struct{ tag, patterns string }{
		{"prod-17", "prod-*"},
		{"prod17", "prod*"},
		{"v1.2.3", "v*"},
		{"rel-web-12", "rel-* rel-web-*"},
		{"rel-web-v12", "rel-* rel-web-* rel-web-v*"},
		{"main-4f3a9c1", "main-*"},
		{"sha-deadbeef", "sha-*"},
		{"2026.11.21", ""},
		{"4f3a9c1", ""},
		{"1234", ""},
		{"x7k2", ""},
		{"17-dev", "*-dev"},
		{"1.2.3-rc1", ""},
		{"latest", "latest!"},
		{"prod-blue", "prod-* prod-blue!"},
		{"-x", "-x!"},
		{"1-", ""},
		{"sha256-" + strings.Repeat("a1", 32) + ".sig", "sha256-*"},
		{"a*b", ""},
		{"", "!"},
	}
	for _, tt := range tests {
		f := familyOf(tt.tag)
		got := strings.Join(f.patterns, " ")
		if f.exact {
			got += "!"
		}
		if got != tt.patterns {
			t.Errorf("%q is of %q, want %q", tt.tag, got, tt.patterns)
		}
		for _, p := range f.patterns {
			if !newGlob(p).match(tt.tag) {
				t.Errorf("%q does not match %q", p, tt.tag)
			}
		}
	}
}

// in tells the images with one of these letters.
func in(letters string) func(*image.Image) bool {
	return func(img *image.Image) bool { return strings.Contains(letters, name(img.Digest)) }
}

func TestRecommend(t *testing.T) {
	tests := []struct {
		name       string
		images     []image.Image
		stay, goes string
		rules      string // "pattern days …", "+pattern" protects; "": no policy
		expires    string
		why        string // some of it
	}{
		{"two families", []image.Image{pushed("A", 1, "prod-9"), pushed("B", 100, "prod-2"), pushed("C", 100, "dev-1"), pushed("D", 50, "dev-2"), pushed("E", 2, "dev-3")},
			"AB", "CD", "+prod-* dev-* 49", "CD", `rule 1 protects the tags "prod-*", which 2 images that must stay carry`},
		{"both tags on one image", []image.Image{pushed("A", 90, "dev-1", "prod-1"), pushed("B", 100, "dev-2"), pushed("C", 100, "dev-3")},
			"A", "BC", "+prod-* dev-* 99", "BC", ""},
		{"one family, versions", []image.Image{pushed("A", 1, "v1.2.0"), pushed("B", 100, "v1.1.0")}, "A", "B", "", "",
			`"v1.2.0" must stay and is of the same family, "v*"`},
		{"plain numbers", []image.Image{pushed("A", 1, "17"), pushed("B", 100, "16")}, "A", "B", "", "",
			`"17" must stay, and no pattern tells it from the tags that go`},
		{"a moving tag is no shield for what is left when it moves", []image.Image{pushed("A", 100, "17", "latest"), pushed("B", 100, "16")}, "A", "B", "", "", "no policy can be safe"},
		{"a moving tag of the family", []image.Image{pushed("A", 100, "dev-main"), pushed("B", 100, "dev-16")}, "A", "B", "+dev-main dev-* 99", "B", ""},
		{"hashes beside a family that shields", []image.Image{pushed("A", 100, "prod-3", "4f3a9c1"), pushed("B", 100, "aaaabbb"), pushed("C", 40, "aaaabbc")}, "A", "BC", "+prod-* * 39", "BC",
			"those of tomorrow included"},
		{"every tag takes its time", []image.Image{pushed("A", 100, "prod-3"), pushed("B", 100, "aaaabbb"), pushed("C", 10, "aaaabbc")}, "A", "BC", "+prod-* * 30", "B", ""},
		{"nobody uses it", []image.Image{pushed("A", 100, "4f3a9c1")}, "", "A", "", "", "left to demurrage"},
		{"nobody uses it, a family", []image.Image{pushed("A", 100, "dev-1")}, "", "A", "dev-* 99", "A", ""},
		{"the family that goes is the larger one", []image.Image{pushed("A", 1, "prod-5", "dev-9"), pushed("B", 100, "prod-1"), pushed("C", 100, "dev-1"), pushed("D", 100, "dev-2")},
			"A", "BCD", "+prod-* dev-* 99", "CD", "left to demurrage: 1 of the 3 images that go by the plan and have tags\n1 of these: a rule protects"},
		{"untagged", []image.Image{pushed("A", 1, "prod-5"), pushed("B", 20), pushed("C", 30)}, "A", "BC", "+prod-* untagged 19", "BC", ""},
		{"untagged, some of it young", []image.Image{pushed("A", 1, "prod-5"), pushed("B", 3), pushed("C", 30)}, "A", "BC", "+prod-* untagged 7", "C", ""},
		{"untagged in use", []image.Image{pushed("A", 100), pushed("B", 20)}, "A", "B", "", "", "no rule can tell the untagged images that must stay (1)"},
		{"untagged, and what runs is latest", []image.Image{pushed("A", 100, "latest"), pushed("B", 20)}, "A", "B", "", "", `no tag but "latest", which moves`},
		{"untagged, and what runs is the tag of a place", []image.Image{pushed("A", 100, "prod-eu1"), pushed("B", 20)}, "A", "B", "", "", `no tag but "prod-eu1", which may move`},
		{"untagged, and what runs is the tag of a region", []image.Image{pushed("A", 100, "us-east-1"), pushed("B", 20)}, "A", "B", "", "", `no tag but "us-east-1", which may move`},
		{"untagged, and what runs is a line of versions", []image.Image{pushed("A", 100, "node18"), pushed("B", 20)}, "A", "B", "", "", `no tag but "node18", which may move`},
		{"untagged, and what runs is one of many versions", []image.Image{pushed("A", 100, "v6"), pushed("B", 20), pushed("C", 100, "v2"), pushed("D", 100, "v3"), pushed("E", 100, "v4"), pushed("F", 100, "v5")},
			"ACDEF", "B", "+v* untagged 19", "B", ""},
		{"the tag of a place is no shield for what is left when it moves", []image.Image{pushed("A", 100, "prod-eu1", "build-77"), pushed("B", 100, "build-76")}, "A", "B", "", "", `"build-77" must stay and is of the same family`},
		{"untagged, archived in use", []image.Image{archived(pushed("A", 100), 10), pushed("B", 20)}, "A", "B", "", "", "no rule can tell"},
		{"children of what stays", []image.Image{index(pushed("A", 100, "v1.0.0"), "B"), pushed("B", 100), pushed("C", 20)}, "A", "C", "+v* untagged 19", "C", "children of indexes that stay are held back"},
		{"a child of an archived index in use", []image.Image{archived(index(pushed("A", 100, "v1"), "B"), 10), pushed("B", 100), pushed("C", 20)}, "B", "C", "", "", "no rule can tell"},
		{"a child in use", []image.Image{index(pushed("A", 100, "v1.0.0"), "B"), pushed("B", 100), pushed("C", 20)}, "B", "C", "+v* untagged 19", "C", ""},
		{"a signature of what stays", []image.Image{pushed("A", 100, "v1"), {Digest: digest("B"), Subject: digest("A"), PushedAt: now}, pushed("C", 20)}, "A", "C", "", "", "1 of them are signatures"},
		{"an index and its children", []image.Image{pushed("A", 1, "v1.0.0"), index(pushed("B", 50, "pr-1"), "C"), pushed("C", 50)}, "A", "BC", "+v* pr-* 49 untagged 49", "BC", ""},
		{"an index, but its children have to stay", []image.Image{pushed("A", 1), index(pushed("B", 50, "pr-1"), "C"), pushed("C", 50)}, "A", "BC", "", "", "would free nothing"},
		{"too young", []image.Image{pushed("A", 1, "prod-1"), pushed("B", 3, "dev-1")}, "A", "B", "", "", "would free nothing"},
		{"nothing goes", []image.Image{pushed("A", 1, "prod-1")}, "A", "", "", "", "nothing goes"},
		{"all that goes is archived", []image.Image{archived(pushed("A", 100, "dev-1"), 100)}, "", "A", "", "", "is archived"},
		{"older ones that the plan keeps", []image.Image{pushed("A", 1, "prod-1"), pushed("B", 20, "dev-1"), pushed("C", 30, "dev-2")}, "A", "B", "+prod-* dev-* 19", "BC", "1 image beyond the plan"},
		{"many tags to protect", []image.Image{pushed("A", 1, "blue", "green", "prod"), pushed("B", 30, "dev-2")}, "A", "B", "+blue +prod +green dev-* 29", "B", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Recommend(tt.images, in(tt.stay), in(tt.goes), nil, now)
			if got := shape(t, a.Policy); got != tt.rules {
				t.Errorf("policy %q, want %q", got, tt.rules)
			}
			var expires []string
			for _, d := range a.Expires {
				expires = append(expires, name(d))
			}
			if got := strings.Join(expires, ""); got != tt.expires {
				t.Errorf("expires %q, want %q", got, tt.expires)
			}
			if why := strings.Join(a.Why, "\n"); !strings.Contains(why, tt.why) || why == "" {
				t.Errorf("why:\n%s\nwithout %q", why, tt.why)
			}
		})
	}
}

// TestNever: tags that the configuration keeps are protected from every rule that could take them, though nothing has them yet.
func TestNever(t *testing.T) {
	images := []image.Image{pushed("A", 1, "prod-1"), pushed("B", 100, "rel-1"), pushed("C", 100, "rel-2")}
	for pattern, want := range map[string]string{
		"latest":     "+prod-* rel-* 99", // no tag is both
		"rel-*-lts":  "+prod-* +rel-*-lts rel-* 99",
		"*-lts":      "+prod-* +*-lts rel-* 99",
		"rel-9?":     "+prod-* +rel-9* rel-* 99",
		"rel-1-lts":  "+prod-* +rel-1-lts rel-* 99",
		"rel-[0-9]":  "+prod-* rel-* 99", // no tag has brackets
		"a*b*c*d*e*": "+prod-* rel-* 99",
		"r*b*c*d*e*": "", // ECR has four wildcards
		"rel-?":      "", // which would protect all that goes
	} {
		a := Recommend(images, in("A"), in("BC"), []image.Pattern{image.Glob(pattern)}, now)
		if got := shape(t, a.Policy); got != want {
			t.Errorf("%s: policy %q, want %q\n%s", pattern, got, want, strings.Join(a.Why, "\n"))
		}
		if asked := strings.Contains(strings.Join(a.Why, "\n"), "keep_tag_patterns"); asked != (want != "+prod-* rel-* 99" && pattern != "rel-?") {
			t.Errorf("%s: %s", pattern, strings.Join(a.Why, "\n"))
		}
	}
	// More than there are rules for: those that take keep their places.
	var many []image.Pattern
	for n := range maxGuards {
		many = append(many, image.Glob(fmt.Sprint("rel-", n, "-lts")))
	}
	if a := Recommend(images, in("A"), in("BC"), many, now); a.Policy != "" || !strings.Contains(strings.Join(a.Why, "\n"), "keep_tag_patterns") {
		t.Errorf("%d patterns: %s\n%s", len(many), a.Policy, strings.Join(a.Why, "\n"))
	}
}

// shape is the rules of a policy in short.
func shape(t *testing.T, text string) string {
	if text == "" {
		return ""
	}
	p, problems := Parse(text)
	if p == nil {
		t.Fatalf("%v\n%s", problems, text)
	}
	if len(problems) > 0 {
		t.Errorf("%v\n%s", problems, text)
	}
	var rules []string
	for _, r := range p.Rules {
		s := string(r.TagStatus)
		if r.TagStatus == Tagged {
			s = r.TagPatterns[0]
		}
		if r.CountType == ImageCountMoreThan {
			s = "+" + s
		} else {
			s += fmt.Sprintf(" %d", r.CountNumber)
		}
		rules = append(rules, s)
	}
	return strings.Join(rules, " ")
}

// TestRecommendNeverTakesWhatStays runs the policies that are recommended for years, as the plainest reading of the user guide
// has them, on repositories made at random.
func TestRecommendNeverTakesWhatStays(t *testing.T) {
	policies, takes := 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 11))
		images := repository(r, 1+r.IntN(40))
		// Some seeds have repositories in which families tell what stays.
		family := []string{"prod-", "v", "latest", "rel-", ""}[r.IntN(5)]
		verdict := map[image.Digest]int{} // 1 stays, 2 goes
		for i := range images {
			verdict[images[i].Digest] = r.IntN(3)
			if family != "" {
				verdict[images[i].Digest] = 2 * r.IntN(2)
				if slices.ContainsFunc(images[i].Tags, func(tag string) bool { return strings.HasPrefix(tag, family) }) {
					verdict[images[i].Digest] = r.IntN(2)
				}
			}
		}
		stay := func(img *image.Image) bool { return verdict[img.Digest] == 1 }
		a := Recommend(images, stay, func(img *image.Image) bool { return verdict[img.Digest] == 2 }, nil, now)
		if len(a.Why) == 0 {
			t.Fatalf("seed %d: no reason", seed)
		}
		if a.Policy == "" {
			if len(a.Expires) > 0 {
				t.Fatalf("seed %d: no policy that takes %v", seed, a.Expires)
			}
			continue
		}
		policies++
		takes += len(a.Expires)
		p, problems := Parse(a.Policy)
		if p == nil || len(a.Expires) == 0 {
			t.Fatalf("seed %d: %v\n%s", seed, problems, a.Policy)
		}
		if len(p.Rules) > maxRules || len(a.Policy) > maxText {
			t.Fatalf("seed %d: %d rules, %d bytes", seed, len(p.Rules), len(a.Policy))
		}
		left := slices.Clone(images)
		for year := range 6 {
			at := now.AddDate(year*year, 0, 0)
			// Images are pushed with tags of all families, archived ones are restored, and the policy is applied until it rests.
			if year > 0 {
				for _, img := range repository(r, 20) {
					img.PushedAt = at.Add(-time.Hour)
					left = append(left, img)
				}
				for i := range left {
					if r.IntN(4) == 0 {
						left[i].Status, left[i].ActivatedAt = image.Active, at
					}
				}
			}
			for {
				goes := naive(p, left, at)
				var rest []image.Image
				for i := range left {
					if goes[i] == 0 {
						rest = append(rest, left[i])
					} else if stay(&left[i]) {
						t.Fatalf("seed %d: rule %d takes %+v, which must stay\n%s\n%s", seed, goes[i], left[i], a.Policy, strings.Join(a.Why, "\n"))
					}
				}
				if len(rest) == len(left) {
					break
				}
				left = rest
			}
			for _, d := range a.Expires {
				if year == 0 && slices.ContainsFunc(left, func(img image.Image) bool { return img.Digest == d }) {
					t.Fatalf("seed %d: %s was to expire now", seed, d)
				}
			}
		}
	}
	if policies < 100 || takes < 500 {
		t.Errorf("%d policies that take %d images: the test shows little", policies, takes)
	}
	t.Logf("%d policies that take %d images", policies, takes)
}

func TestRecommendIsStable(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 13))
		images := repository(r, 60)
		stay := func(img *image.Image) bool {
			return slices.ContainsFunc(img.Tags, func(tag string) bool { return strings.HasPrefix(tag, "prod-") })
		}
		goes := func(img *image.Image) bool { return !stay(img) }
		want := Recommend(images, stay, goes, nil, now)
		r.Shuffle(len(images), func(i, j int) { images[i], images[j] = images[j], images[i] })
		if got := Recommend(images, stay, goes, nil, now); got.Policy != want.Policy || !slices.Equal(got.Expires, want.Expires) || !slices.Equal(got.Why, want.Why) {
			t.Fatalf("seed %d: in another order\n%s\n%q\n%v\nwas\n%s\n%q\n%v", seed, got.Policy, got.Why, got.Expires, want.Policy, want.Why, want.Expires)
		}
	}
}

// TestRecommendManyFamilies: the limits of a policy hold.
func TestRecommendManyFamilies(t *testing.T) {
	var images []image.Image
	long := strings.Repeat("x", 100)
	for i := range 200 {
		letters := fmt.Sprintf("%c%c", 'a'+i/26, 'a'+i%26)
		images = append(images, pushed(fmt.Sprintf("s%d", i), 10, fmt.Sprintf("stay%s%s-1", letters, long)), pushed(fmt.Sprintf("g%d", i), 100, fmt.Sprintf("go%s%s-1", letters, long)))
	}
	stay := func(img *image.Image) bool { return strings.HasPrefix(img.Tags[0], "stay") }
	a := Recommend(images, stay, func(img *image.Image) bool { return !stay(img) }, nil, now)
	p, problems := Parse(a.Policy)
	if p == nil {
		t.Fatal(problems, a.Why)
	}
	if len(a.Expires) < 5 {
		t.Errorf("%d images expire by %d rules", len(a.Expires), len(p.Rules))
	}
}

// TestRecommendManyRules: where more families could be taken than a policy has rules, and more names would have to be protected
// than are, the policy is valid and what must stay is safe.
func TestRecommendManyRules(t *testing.T) {
	letters := func(i int) string { return fmt.Sprintf("%c%c", 'a'+i/26, 'a'+i%26) }
	for name, of := range map[string]struct{ stay, goes func(i int) string }{
		"families": {func(i int) string { return fmt.Sprint("stay", letters(i), "-1") }, func(i int) string { return fmt.Sprint("go", letters(i), "-1") }},
		"names":    {func(i int) string { return fmt.Sprint("dev-", letters(i)) }, func(i int) string { return fmt.Sprint("dev-", i) }},
	} {
		t.Run(name, func(t *testing.T) {
			var images []image.Image
			for i := range 100 {
				images = append(images, pushed(fmt.Sprintf("s%d", i), 100, of.stay(i)), pushed(fmt.Sprintf("g%d", i), 100, of.goes(i)))
			}
			stays := map[image.Digest]bool{}
			for i := 0; i < len(images); i += 2 {
				stays[images[i].Digest] = true
			}
			a := Recommend(images, func(i *image.Image) bool { return stays[i.Digest] }, func(i *image.Image) bool { return !stays[i.Digest] }, nil, now)
			if why := strings.Join(a.Why, " "); strings.Contains(why, "would not be valid") || strings.Contains(why, "the best policy would take") {
				t.Error(why)
			}
			if (a.Policy == "") != (name == "names") {
				t.Errorf("%q: %s", a.Why, a.Policy)
			}
		})
	}
}

func BenchmarkRecommend(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	images := repository(r, 100_000)
	stay := func(img *image.Image) bool {
		return slices.ContainsFunc(img.Tags, func(tag string) bool { return strings.HasPrefix(tag, "prod-") })
	}
	for b.Loop() {
		Recommend(images, stay, func(img *image.Image) bool { return !stay(img) }, nil, now)
	}
}
