package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"demurrage/internal/image"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// pushed is an image by its letter, with an age in days.
func pushed(name string, days float64, tags ...string) image.Image {
	return image.Image{Digest: digest(name), Tags: tags, PushedAt: now.Add(-time.Duration(days * float64(day)))}
}

// digest makes a digest that is recognizable by its start.
func digest(name string) image.Digest {
	return image.Digest("sha256:" + fmt.Sprintf("%x%064d", name, 0)[:64])
}

func index(img image.Image, children ...string) image.Image {
	img.MediaType = image.MediaTypeOCIIndex
	for _, c := range children {
		img.Children = append(img.Children, digest(c))
	}
	return img
}

func restoring(img image.Image) image.Image {
	img.Status = image.Activating
	return img
}

func archived(img image.Image, days float64) image.Image {
	img.Status, img.ArchivedAt = image.Archived, now.Add(-time.Duration(days*float64(day)))
	return img
}

func restored(img image.Image, days float64) image.Image {
	img.ActivatedAt = now.Add(-time.Duration(days * float64(day)))
	return img
}

func pulled(img image.Image, days float64) image.Image {
	img.LastPulledAt = now.Add(-time.Duration(days * float64(day)))
	return img
}

// rule is the JSON of a rule. tags: "any", "untagged", or patterns with commas between them. count: "3 images", "5 days",
// "5 days unpulled" or "365 days archived".
func rule(priority int, tags, count, action string) string {
	selection := fmt.Sprintf(`"tagStatus":%q`, tags)
	if tags != "any" && tags != "untagged" {
		selection = fmt.Sprintf(`"tagStatus":"tagged","tagPatternList":["%s"]`, strings.ReplaceAll(tags, ",", `","`))
	}
	var n int
	var unit, kind string
	fmt.Sscan(count, &n, &unit, &kind)
	switch {
	case unit == "images":
		selection += fmt.Sprintf(`,"countType":"imageCountMoreThan","countNumber":%d`, n)
	case kind == "unpulled":
		selection += fmt.Sprintf(`,"countType":"sinceImagePulled","countUnit":"days","countNumber":%d`, n)
	case kind == "archived":
		selection += fmt.Sprintf(`,"storageClass":"archive","countType":"sinceImageTransitioned","countUnit":"days","countNumber":%d`, n)
	default:
		selection += fmt.Sprintf(`,"countType":"sinceImagePushed","countUnit":"days","countNumber":%d`, n)
	}
	does := `{"type":"expire"}`
	if action == "transition" {
		does = `{"type":"transition","targetStorageClass":"archive"}`
	}
	return fmt.Sprintf(`{"rulePriority":%d,"description":"Rule %d","selection":{%s},"action":%s}`, priority, priority, selection, does)
}

func policyText(rules ...string) string { return `{"rules":[` + strings.Join(rules, ",") + `]}` }

func parse(t testing.TB, rules ...string) *Policy {
	t.Helper()
	p, problems := Parse(policyText(rules...))
	if p == nil {
		t.Fatalf("%v", problems)
	}
	return p
}

// TestDocumentedExamples is the user guide's page lifecycle_policy_examples, with the outcomes that it gives.
func TestDocumentedExamples(t *testing.T) {
	both := []image.Image{pushed("A", 10, "beta-1", "prod-1"), pushed("B", 9, "beta-2", "prod-2"), pushed("C", 8, "beta-3")}
	combined := []string{rule(1, "any", "30 days", "transition"), rule(2, "any", "365 days archived", "expire")}
	tests := []struct {
		name   string
		images []image.Image
		rules  []string
		want   string // letter, rule and action of what goes
	}{
		{"image age", []image.Image{pushed("A", 15, "prod1"), pushed("B", 13, "prod2"), pushed("C", 15, "dev")},
			[]string{rule(1, "prod*", "14 days", "expire")}, "A1expire"},
		{"image age, untagged, as the page had it before", []image.Image{pushed("A", 15), pushed("B", 13), pushed("C", 15, "dev")},
			[]string{rule(1, "untagged", "14 days", "expire")}, "A1expire"},
		{"image count", []image.Image{pushed("A", 3), pushed("B", 2), pushed("C", 1), pushed("D", 4, "v1")},
			[]string{rule(1, "untagged", "1 images", "expire")}, "A1expire B1expire"},
		{"multiple rules, example A", both, []string{rule(1, "prod*", "1 images", "expire"), rule(2, "beta*", "1 images", "expire")}, "A1expire"},
		{"multiple rules, example B", both, []string{rule(1, "beta*", "1 images", "expire"), rule(2, "prod*", "1 images", "expire")}, "A1expire B1expire"},
		{"multiple tags, example A", []image.Image{
			pushed("A", 12, "alpha-1"), pushed("B", 11, "beta-1"), pushed("C", 10, "alpha-2", "beta-2"),
			pushed("D", 4, "alpha-3"), pushed("E", 3, "beta-3"), pushed("F", 2, "alpha-4", "beta-4"),
		}, []string{rule(1, "alpha*,beta*", "5 days", "expire")}, "C1expire"},
		{"multiple tags, example B", []image.Image{
			pushed("A", 10, "alpha-1", "beta-1", "gamma-1"), pushed("B", 9, "alpha-2", "beta-2"), pushed("C", 8, "alpha-3", "beta-3", "gamma-2"),
		}, []string{rule(1, "alpha*,beta*", "1 images", "expire")}, "A1expire B1expire"},
		{"all images, example A", []image.Image{pushed("A", 4, "alpha-1"), pushed("B", 3, "beta-1"), pushed("C", 2), pushed("D", 1, "alpha-2")},
			[]string{rule(1, "any", "1 images", "expire")}, "A1expire B1expire C1expire"},
		// D and E are both of "1 day ago": E is the newest that the last rule sees, and not older than one day to the second.
		{"all images, example B", []image.Image{
			pushed("A", 4, "alpha-1", "beta-1"), pushed("B", 3), pushed("C", 2, "alpha-2"), pushed("D", 1.0001, "git hash"), pushed("E", 1),
		}, []string{rule(1, "alpha*", "1 images", "expire"), rule(2, "untagged", "1 days", "expire"), rule(3, "any", "1 images", "expire")},
			"A1expire B2expire D3expire"},
		{"archive, older than", []image.Image{pushed("A", 31, "prod1"), pushed("B", 29, "prod2"), pushed("C", 31, "dev")},
			[]string{rule(1, "prod*", "30 days", "transition")}, "A1transition"},
		{"archive, not pulled", []image.Image{pulled(pushed("A", 200), 91), pulled(pushed("B", 200), 89), pushed("C", 91, "x"), pushed("D", 89, "x")},
			[]string{rule(1, "any", "90 days unpulled", "transition")}, "A1transition C1transition"},
		{"archive and expire", []image.Image{
			pushed("A", 31, "x"), pushed("B", 29), archived(pushed("C", 900, "x"), 366), archived(pushed("D", 900, "x"), 364),
		}, combined, "A1transition C2expire"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := outcome(tt.images, parse(t, tt.rules...).Evaluate(tt.images, now)); got != tt.want {
				t.Errorf("%s goes, want %s", got, tt.want)
			}
		})
	}
}

func outcome(images []image.Image, fates []Fate) string {
	var goes []string
	for i, f := range fates {
		if f.Now {
			goes = append(goes, fmt.Sprintf("%s%d%s", name(images[i].Digest), f.Rule, f.Action))
		}
	}
	return strings.Join(goes, " ")
}

// name is the letter of a digest made by digest.
func name(d image.Digest) string {
	var b []byte
	fmt.Sscanf(string(d[7:9]), "%x", &b)
	return string(b)
}

// TestIncidents is what people wrote about: a rule that takes what another team runs.
func TestIncidents(t *testing.T) {
	t.Run("a rule on dev- takes the image that is prod-1 too", func(t *testing.T) {
		images := []image.Image{pushed("A", 40, "dev-1", "prod-1"), pushed("B", 1, "dev-2")}
		if got := outcome(images, parse(t, rule(1, "dev-*", "30 days", "expire")).Evaluate(images, now)); got != "A1expire" {
			t.Errorf("%s goes", got)
		}
		if got := outcome(images, parse(t, rule(1, "prod-*", "100 images", "expire"), rule(2, "dev-*", "30 days", "expire")).Evaluate(images, now)); got != "" {
			t.Errorf("%s goes in spite of the rule on prod-", got)
		}
	})
	t.Run("a count in a shared repository takes the tag of the seldom deployed service", func(t *testing.T) {
		images := []image.Image{pushed("A", 300, "1.0.0"), pushed("B", 3, "1.1.0"), pushed("C", 2, "1.1.1"), pushed("D", 1, "1.1.2")}
		fates := parse(t, rule(1, "any", "3 images", "expire")).Evaluate(images, now)
		if got := outcome(images, fates); got != "A1expire" {
			t.Errorf("%s goes", got)
		}
		if fates[1].Pushes != 1 || fates[3].Pushes != 3 {
			t.Errorf("after %d and %d pushes, want 1 and 3", fates[1].Pushes, fates[3].Pushes)
		}
	})
}

func TestEvaluate(t *testing.T) {
	at := func(days float64) time.Time { return now.Add(time.Duration(days * float64(day))) }
	activating := archived(pushed("A", 500), 100)
	activating.Status = image.Activating
	tests := []struct {
		name   string
		images []image.Image
		rules  []string
		want   []Fate
	}{
		{"no rule", []image.Image{pushed("A", 500, "x")}, []string{rule(1, "dev*", "1 days", "expire")}, []Fate{{}}},
		{"age, the date", []image.Image{pushed("A", 10)}, []string{rule(1, "any", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(4)}}},
		{"age, to the instant", []image.Image{pushed("A", 14)}, []string{rule(1, "any", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: now}}},
		{"age, past", []image.Image{pushed("A", 15)}, []string{rule(1, "any", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(-1), Now: true}}},
		{"age, never", []image.Image{pushed("A", 15)}, []string{rule(1, "any", "2147483647 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire}}},
		{"restored, the age starts anew", []image.Image{restored(pushed("A", 500), 10)}, []string{rule(1, "any", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(4)}}},
		{"restored is newer in a count", []image.Image{restored(pushed("A", 500), 1), pushed("B", 2)}, []string{rule(1, "any", "1 images", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Pushes: 1}, {Rule: 1, Shield: 1, Action: Expire, Now: true}}},
		{"pulled before the restoration", []image.Image{restored(pulled(pushed("A", 500), 400), 10)}, []string{rule(1, "any", "90 days unpulled", "transition")},
			[]Fate{{Rule: 1, Shield: 1, Action: Transition, Due: at(80)}}},
		{"pulled after the restoration", []image.Image{restored(pulled(pushed("A", 500), 5), 10)}, []string{rule(1, "any", "90 days unpulled", "transition")},
			[]Fate{{Rule: 1, Shield: 1, Action: Transition, Due: at(85)}}},
		{"archived images are not for standard rules", []image.Image{archived(pushed("A", 500), 400)}, []string{rule(1, "any", "14 days", "expire")}, []Fate{{}}},
		{"archived images are not counted", []image.Image{archived(pushed("A", 1), 0), pushed("B", 2)}, []string{rule(1, "any", "1 images", "expire")},
			[]Fate{{}, {Rule: 1, Shield: 1, Action: Expire, Pushes: 1}}},
		{"being restored is archived still", []image.Image{activating}, []string{rule(1, "any", "14 days", "expire"), rule(2, "any", "90 days archived", "expire")},
			[]Fate{{Rule: 2, Shield: 2, Action: Expire, Due: at(-10), Now: true}}},
		{"archived, nobody knows when", []image.Image{{Digest: digest("A"), PushedAt: now, Status: image.Archived}}, []string{rule(1, "any", "90 days archived", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire}}},
		{"a tie at the end of the count", []image.Image{pushed("A", 1), pushed("B", 2), pushed("C", 2), pushed("D", 3)}, []string{rule(1, "any", "2 images", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Pushes: 2}, {Rule: 1, Shield: 1, Action: Expire, Pushes: 1, Tied: true},
				{Rule: 1, Shield: 1, Action: Expire, Now: true, Tied: true}, {Rule: 1, Shield: 1, Action: Expire, Now: true}}},
		{"a tie elsewhere", []image.Image{pushed("A", 1), pushed("B", 2), pushed("C", 2), pushed("D", 3)}, []string{rule(1, "any", "3 images", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Pushes: 3}, {Rule: 1, Shield: 1, Action: Expire, Pushes: 2},
				{Rule: 1, Shield: 1, Action: Expire, Pushes: 1}, {Rule: 1, Shield: 1, Action: Expire, Now: true}}},
		{"an index that stays holds its children", []image.Image{index(pushed("A", 90, "v1"), "B"), pushed("B", 90)}, []string{rule(1, "untagged", "14 days", "expire")},
			[]Fate{{}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Held: digest("A")}}},
		{"a child follows its index", []image.Image{index(pushed("A", 90), "B"), index(pushed("B", 90), "C"), pushed("C", 90)}, []string{rule(1, "any", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Now: true}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), After: digest("A")},
				{Rule: 1, Shield: 1, Action: Expire, Due: at(-76), After: digest("B")}}},
		{"nested, the outermost stays", []image.Image{index(pushed("A", 90, "v1"), "B"), index(pushed("B", 90), "C"), pushed("C", 90)}, []string{rule(1, "untagged", "14 days", "expire")},
			[]Fate{{}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Held: digest("A")}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Held: digest("B")}}},
		{"two indexes, one stays", []image.Image{index(pushed("A", 90), "C"), index(pushed("B", 90, "v1"), "C"), pushed("C", 90)}, []string{rule(1, "untagged", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Now: true}, {}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Held: digest("B")}}},
		{"two indexes that stay, one forever", []image.Image{index(pushed("A", 9), "C"), index(pushed("B", 90, "v1"), "C"), pushed("C", 90)}, []string{rule(1, "untagged", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(5)}, {}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Held: digest("B")}}},
		{"an archived index holds nothing", []image.Image{archived(index(pushed("A", 90, "v1"), "B"), 1), pushed("B", 90)}, []string{rule(1, "untagged", "14 days", "expire")},
			[]Fate{{}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Now: true}}},
		{"an index that is being restored holds nothing yet", []image.Image{restoring(index(pushed("A", 90, "v1"), "B")), pushed("B", 90)}, []string{rule(1, "untagged", "14 days", "expire")},
			[]Fate{{}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Now: true}}},
		{"a child that the index names twice", []image.Image{index(pushed("A", 90), "B", "B"), pushed("B", 90)}, []string{rule(1, "any", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Now: true}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), After: digest("A")}}},
		{"a knot", []image.Image{index(pushed("A", 90), "B"), index(pushed("B", 90), "A")}, []string{rule(1, "any", "14 days", "expire")},
			[]Fate{{Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Held: digest("B")}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Held: digest("A")}}},
		{"a referrer is an image", []image.Image{pushed("A", 90, "v1"), {Digest: digest("B"), Subject: digest("A"), PushedAt: at(-90)}}, []string{rule(1, "untagged", "14 days", "expire")},
			[]Fate{{}, {Rule: 1, Shield: 1, Action: Expire, Due: at(-76), Now: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := parse(t, tt.rules...).Evaluate(tt.images, now)
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("%s: %+v, want %+v", name(tt.images[i].Digest), got[i], tt.want[i])
				}
			}
		})
	}
}

func TestUnmatched(t *testing.T) {
	p := parse(t, rule(3, "prod*", "1 images", "expire"), rule(5, "qa*", "1 images", "expire"), rule(7, "untagged", "1 images", "expire"), rule(9, "any", "90 days archived", "expire"))
	if got := p.Unmatched([]image.Image{pushed("A", 1, "prod1")}); !slices.Equal(got, []int{5, 7, 9}) {
		t.Errorf("rules %v select nothing", got)
	}
}

func TestGlob(t *testing.T) {
	tests := []struct {
		pattern, tag string
		want         bool
	}{
		{"prod", "prod", true}, {"prod", "prod1", false}, {"prod*", "prod", true}, {"prod*", "pro", false},
		{"*prod*", "repo-production", true}, {"*prod*", "prod-team", true}, {"a*a", "a", false}, {"a*a", "aa", true},
		{"*", "x", true}, {"a*b*c", "a1b2c", true}, {"a*b*c", "acb", false}, {"a*b*b", "ab", false}, {"a*bc*c", "abc", false}, {"**x", "x", true},
		{"", "x", false}, {"a*ab", "aab", true}, {"*ab*ab*", "xabab", true}, {"*ab*ab*", "xabb", false},
	}
	for _, tt := range tests {
		if got := newGlob(tt.pattern).match(tt.tag); got != tt.want {
			t.Errorf("%q matches %q: %v", tt.pattern, tt.tag, got)
		}
	}
}

// TestGlobCovers compares with every word of a small alphabet.
func TestGlobCovers(t *testing.T) {
	var words, patterns []string
	for n := range 7 {
		for k := range 1 << n {
			words = append(words, strings.NewReplacer("0", "a", "1", "b").Replace(fmt.Sprintf("%0*b", n, k)[:n]))
		}
	}
	for _, w := range words {
		if len(w) > 3 {
			continue
		}
		for cut := range len(w) + 1 {
			patterns = append(patterns, w, w[:cut]+"*"+w[cut:], "*"+w[:cut]+"*"+w[cut:])
		}
	}
	for _, p := range patterns {
		for _, q := range patterns {
			a, b := newGlob(p), newGlob(q)
			covers := !slices.ContainsFunc(words, func(w string) bool { return b.match(w) && !a.match(w) })
			// A word can need more letters than those here to tell the two apart.
			if got := a.covers(b); got && !covers {
				t.Errorf("%q does not cover %q", p, q)
			} else if !got && covers && strings.Count(q, "*") == 0 {
				t.Errorf("%q covers %q", p, q)
			}
		}
	}
}

// repository makes a repository at random: few ages (so that there are ties), a few tag families, indexes, archived images.
func repository(r *rand.Rand, size int) []image.Image {
	families := []string{"prod-%d", "dev-%d", "v1.%d", "latest", "%d", "pr-%d-x", "qa", "%07x", "rel-web-%d", "%d-dev"}
	images := make([]image.Image, size)
	for i := range images {
		img := &images[i]
		img.Digest = image.Digest(fmt.Sprintf("sha256:%064x", r.Uint64()))
		img.PushedAt = now.Add(-time.Duration(r.IntN(40)) * 5 * day)
		for range r.IntN(4) {
			tag := families[r.IntN(len(families))]
			if strings.Contains(tag, "%") {
				tag = fmt.Sprintf(tag, i)
			}
			if !slices.Contains(img.Tags, tag) {
				img.Tags = append(img.Tags, tag)
			}
		}
		slices.Sort(img.Tags)
		switch r.IntN(12) {
		case 0:
			img.Status, img.ArchivedAt = image.Archived, now.Add(-time.Duration(r.IntN(400))*day)
		case 1:
			img.ActivatedAt = now.Add(-time.Duration(r.IntN(100)) * day)
		case 2:
			img.LastPulledAt = now.Add(-time.Duration(r.IntN(100)) * day)
		case 3:
			img.Status = image.Activating
		case 4, 5:
			img.MediaType = image.MediaTypeOCIIndex
			for range r.IntN(3) {
				img.Children = append(img.Children, images[r.IntN(i+1)].Digest)
			}
		case 6:
			img.Subject = images[r.IntN(i+1)].Digest
		}
	}
	return images
}

// randomPolicy makes a policy that ECR takes.
func randomPolicy(r *rand.Rand) *Policy {
	selections := []string{"prod*", "dev*", "v*", "latest", "*", "*dev", "pr-*,prod-*", "*-*", "rel-*", "*1*"}
	counts := []string{"1 images", "3 images", "10 images", "30 days", "100 days"}
	var rules []string
	priority := 0
	for range 1 + r.IntN(4) {
		priority += 1 + r.IntN(3)
		rules = append(rules, rule(priority, selections[r.IntN(len(selections))], counts[r.IntN(len(counts))], []string{"expire", "transition"}[r.IntN(2)]))
	}
	for _, status := range []string{"untagged", "any"} {
		if r.IntN(2) == 0 {
			priority++
			rules = append(rules, rule(priority, status, counts[r.IntN(len(counts))], "expire"))
		}
	}
	if r.IntN(3) == 0 {
		priority++
		rules = append(rules, rule(priority, "any", "120 days archived", "expire"))
	}
	p, problems := Parse(policyText(rules...))
	if p == nil {
		panic(fmt.Sprint(problems))
	}
	return p
}

// selects is the selection of a rule, written anew.
func selects(r *Rule, img *image.Image) bool {
	archived := img.Status == image.Archived || img.Status == image.Activating
	if archived != (r.StorageClass == "archive") {
		return false
	}
	if r.TagStatus != Tagged {
		return r.TagStatus == Any || len(img.Tags) == 0
	}
	all := len(r.TagPrefixes)+len(r.TagPatterns) > 0
	for _, p := range r.TagPrefixes {
		all = all && slices.ContainsFunc(img.Tags, func(tag string) bool { return strings.HasPrefix(tag, p) })
	}
	for _, p := range r.TagPatterns {
		all = all && slices.ContainsFunc(img.Tags, func(tag string) bool {
			ok, err := path.Match(p, tag)
			return ok && err == nil
		})
	}
	return all
}

// naive says by the plainest reading of the page LifecyclePolicies which rule takes each image now; 0: none. It knows nothing of the rest of this package but the types.
func naive(p *Policy, images []image.Image, now time.Time) []int {
	since := func(img *image.Image) time.Time {
		if !img.ActivatedAt.IsZero() {
			return img.ActivatedAt
		}
		return img.PushedAt
	}
	older := func(t time.Time, days int) bool { return !t.IsZero() && now.Sub(t) > time.Duration(days)*day }
	marked, held := make([]int, len(images)), make([]bool, len(images))
	for k := range p.Rules {
		r := &p.Rules[k]
		var selected []int
		for i := range images {
			if selects(r, &images[i]) {
				selected = append(selected, i)
			}
		}
		for _, i := range selected {
			if held[i] {
				continue // immune
			}
			held[i] = true
			takes := false
			switch r.CountType {
			case ImageCountMoreThan:
				newer := 0
				for _, j := range selected {
					a, b := since(&images[j]), since(&images[i])
					if a.After(b) || a.Equal(b) && images[j].Digest < images[i].Digest {
						newer++
					}
				}
				takes = newer >= r.CountNumber
			case SinceImagePushed:
				takes = older(since(&images[i]), r.CountNumber)
			case SinceImagePulled:
				last := since(&images[i])
				if pull := images[i].LastPulledAt; !pull.IsZero() && pull.After(images[i].ActivatedAt) {
					last = pull
				}
				takes = older(last, r.CountNumber)
			case SinceImageTransitioned:
				takes = older(images[i].ArchivedAt, r.CountNumber)
			}
			if takes {
				marked[i] = r.Priority
			}
		}
	}
	goes := slices.Clone(marked)
	for i := range images {
		if images[i].Status != image.Active {
			continue
		}
		for j := range images {
			if slices.Contains(images[i].Children, images[j].Digest) {
				goes[j] = 0
			}
		}
	}
	return goes
}

func TestEvaluateProperties(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		images, p := repository(r, 1+r.IntN(60)), randomPolicy(r)
		fates := p.Evaluate(images, now)
		if fault := faults(p, images, fates); fault != "" {
			t.Fatalf("seed %d: %s", seed, fault)
		}
		for i, want := range naive(p, images, now) {
			if got := fates[i]; got.Now != (want > 0) || want > 0 && got.Rule != want {
				t.Fatalf("seed %d: %+v, want rule %d to act\n%+v\n%+v", seed, got, want, images[i], p)
			}
		}

		// The order of the images does not matter.
		shuffled := slices.Clone(images)
		r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		again := map[image.Digest]Fate{}
		for i, f := range p.Evaluate(shuffled, now) {
			again[shuffled[i].Digest] = f
		}
		for i := range images {
			if again[images[i].Digest] != fates[i] {
				t.Fatalf("seed %d: in another order %+v, was %+v", seed, again[images[i].Digest], fates[i])
			}
		}

		// What a new rule above all others selects falls to no other.
		above := Rule{Priority: 1, TagStatus: Tagged, TagPatterns: []string{"prod*"}, CountType: ImageCountMoreThan, CountNumber: 1 << 20, Action: Expire}
		more := &Policy{Rules: append([]Rule{above}, p.Rules...)}
		for i := range p.Rules {
			more.Rules[i+1].Priority++
		}
		for i, f := range more.Evaluate(images, now) {
			if selects(&above, &images[i]) && (f.Rule != 1 || f.Now || f.Shield != 1) {
				t.Fatalf("seed %d: %+v of an image that rule 1 selects", seed, f)
			}
		}

		// The dates and the pushes come true.
		for i, f := range fates {
			if f.Held != "" || f.After != "" || f.Now {
				continue
			}
			if !f.Due.IsZero() {
				if p.Evaluate(images, f.Due)[i].Now || p.Evaluate(images, f.Due.Add(time.Second))[i].Rule != f.Rule {
					t.Fatalf("seed %d: %+v does not come true", seed, f)
				}
			}
			if f.Pushes > 0 {
				rule := p.Rules[slices.IndexFunc(p.Rules, func(r Rule) bool { return r.Priority == f.Rule })]
				later := slices.Clone(images)
				for n := range f.Pushes {
					if p.Evaluate(later, now)[i].Now {
						t.Fatalf("seed %d: %+v goes after %d pushes", seed, f, n)
					}
					again := image.Image{Digest: image.Digest(fmt.Sprintf("sha256:%064d", n)), PushedAt: now.Add(time.Hour)}
					if rule.TagStatus == Tagged {
						for _, pattern := range rule.TagPatterns {
							again.Tags = append(again.Tags, strings.ReplaceAll(pattern, "*", "0"))
						}
					}
					later = append(later, again)
				}
				if last := p.Evaluate(later, now)[i]; !last.Now && last.Held == "" && last.After == "" {
					t.Fatalf("seed %d: %+v does not go after so many pushes", seed, f)
				}
			}
		}
	}
}

// faults checks what has to hold of any policy and any images; "": nothing is wrong.
func faults(p *Policy, images []image.Image, fates []Fate) string {
	if len(fates) != len(images) {
		return fmt.Sprintf("%d fates of %d images", len(fates), len(images))
	}
	for i, f := range fates {
		first := 0
		var action Action
		for k := range p.Rules {
			if selects(&p.Rules[k], &images[i]) {
				first, action = p.Rules[k].Priority, p.Rules[k].Action
				break
			}
		}
		if f.Rule != first || f.Shield != first || f.Action != action {
			return fmt.Sprintf("%+v, but the first rule that selects the image is %d", f, first)
		}
		if f.Now && (f.Held != "" || f.After != "" || f.Pushes != 0) || f.Held != "" && f.After != "" || f.Rule == 0 && f != (Fate{}) {
			return fmt.Sprintf("%+v contradicts itself", f)
		}
		// Held by an index that does not go, After one of those that all do.
		var stay, goes []image.Digest
		for j := range images {
			if images[j].Status != image.Active || !slices.Contains(images[j].Children, images[i].Digest) {
				continue
			}
			if fates[j].Now || fates[j].After != "" {
				goes = append(goes, images[j].Digest)
			} else {
				stay = append(stay, images[j].Digest)
			}
		}
		if f.Rule > 0 && (f.Held != "") != (len(stay) > 0) || f.Held != "" && !slices.Contains(stay, f.Held) || f.After != "" && !slices.Contains(goes, f.After) {
			return fmt.Sprintf("%+v, but of the indexes that refer to it %s stay and %s go", f, stay, goes)
		}
	}
	return ""
}

// BenchmarkEvaluate is the largest repository that ECR allows, under the longest policy.
func BenchmarkEvaluate(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	images := repository(r, 100_000)
	var rules []string
	for i := range maxRules - 1 {
		rules = append(rules, rule(i+1, fmt.Sprintf("team%d-*", i), "10 images", "expire"))
	}
	p := parse(b, append(rules, rule(maxRules, "any", "1000 images", "expire"))...)
	b.ReportAllocs()
	for b.Loop() {
		p.Evaluate(images, now)
	}
}
