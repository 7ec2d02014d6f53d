package sweep

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/planner"
)

var (
	now  = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	repo = image.Repository{Registry: image.Registry{Account: "111111111111", Region: "us-east-1"}, Name: "app"}
)

// dig is the digest that a test calls n.
func dig(n int) image.Digest { return image.Digest(fmt.Sprintf("sha256:%064x", n)) }

// img is an image of a hundred days and n minutes ago.
func img(n int, change ...func(*image.Image)) image.Image {
	i := image.Image{Digest: dig(n), Bytes: 10, PushedAt: now.AddDate(0, 0, -100).Add(time.Duration(n) * time.Minute), MediaType: image.MediaTypeOCIManifest}
	for _, f := range change {
		f(&i)
	}
	return i
}

func tagged(tags ...string) func(*image.Image) { return func(i *image.Image) { i.Tags = tags } }
func refers(to int) func(*image.Image)         { return func(i *image.Image) { i.Subject = dig(to) } }
func holding(children ...int) func(*image.Image) {
	return func(i *image.Image) {
		i.MediaType = image.MediaTypeOCIIndex
		for _, c := range children {
			i.Children = append(i.Children, dig(c))
		}
	}
}

// planOf plans a repository by a rule that lets everything go which is not in use.
func planOf(allowEmpty bool, used []int, images ...image.Image) *planner.RepositoryPlan {
	var uses []image.Use
	for _, n := range used {
		uses = append(uses, image.Use{Ref: image.Ref{Repository: repo, Digest: dig(n)}, Source: "ecs-task", Account: repo.Account, Region: repo.Region, Resource: "arn:task"})
	}
	rules := planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 24 * time.Hour, AllowEmpty: allowEmpty}}}
	return planner.Merge(rules, now, planner.Usage{Uses: uses}).Repository(&image.Inventory{Repository: repo, Images: images})
}

// all reviews every image as it is.
func all(images ...image.Image) []Candidate {
	var list []Candidate
	for i := range images {
		list = append(list, Candidate{images[i].Digest, images[i].OwnBytes(), images[i].Tags, images[i].LastPulledAt, images[i].Status})
	}
	sortCandidates(list)
	return list
}

// spell writes a verdict as the numbers of its calls, and why the rest stays.
func spell(v verdict) string {
	var parts []string
	number := func(d image.Digest) string {
		s := strings.TrimLeft(strings.TrimPrefix(string(d), "sha256:"), "0")
		return s
	}
	for _, call := range v.calls {
		var digests []string
		for _, i := range call {
			digests = append(digests, number(i.Digest))
		}
		parts = append(parts, "["+strings.Join(digests, " ")+"]")
	}
	var skipped []string
	for _, i := range v.skipped {
		skipped = append(skipped, number(i.Digest)+" "+string(i.Code))
	}
	slices.Sort(skipped)
	return strings.Join(append(parts, skipped...), ", ")
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		name     string
		images   []image.Image
		used     []int
		reviewed []Candidate // nil: all
		empty    bool
		at       time.Time // of the review; zero: now
		want     string
	}{
		{name: "one stays", images: []image.Image{img(1), img(2)}, want: "[1], 2 last-root"},
		{name: "none stays where the rule says so", images: []image.Image{img(1), img(2)}, empty: true, want: "[1 2]"},
		{name: "something else stays", images: []image.Image{img(1), img(2), img(3)}, used: []int{1}, want: "[2 3], 1 not-deletable"},
		{name: "of the last, one that can be pulled", images: []image.Image{img(1), img(2, func(i *image.Image) { i.Status = image.Archived })}, want: "[2], 1 last-root"},
		{name: "with the last root stays what hangs on it", images: []image.Image{img(1), img(2), img(3, holding(1, 2)), img(4, refers(3)), img(5, refers(2))},
			want: "1 relative-stays, 2 relative-stays, 3 last-root, 4 relative-stays, 5 relative-stays"},
		{name: "index, then children", images: []image.Image{img(1), img(2), img(3, holding(1, 2))}, empty: true, want: "[3], [1 2]"},
		{name: "indexes in indexes", images: []image.Image{img(1), img(2, holding(1)), img(3, holding(2))}, empty: true, want: "[3], [2], [1]"},
		{name: "referrer, then subject", images: []image.Image{img(1), img(2, refers(1)), img(3, refers(2))}, empty: true, want: "[3], [2], [1]"},
		{name: "referrer by tag", images: []image.Image{img(1), img(2, tagged("sha256-"+strings.TrimPrefix(string(dig(1)), "sha256:")+".sig"))}, empty: true, want: "[2], [1]"},
		{name: "a subject whose referrer was not reviewed", images: []image.Image{img(1), img(2, refers(1))}, empty: true, reviewed: all(img(1)), want: "1 relative-stays"},
		{name: "a referrer whose subject was not reviewed", images: []image.Image{img(1), img(2, refers(1))}, empty: true, reviewed: all(img(2)), want: "2 relative-stays"},
		{name: "a child whose index was not reviewed", images: []image.Image{img(1), img(2, holding(1))}, empty: true, reviewed: all(img(1)), want: "1 relative-stays"},
		{name: "one of two indexes was not reviewed", images: []image.Image{img(1), img(2, holding(1)), img(3, holding(1))}, empty: true, reviewed: all(img(1), img(2, holding(1))), want: "[2], 1 relative-stays"},
		{name: "gone", images: []image.Image{img(1)}, empty: true, reviewed: all(img(1), img(2)), want: "[1], 2 gone"},
		{name: "not reviewed", images: []image.Image{img(1), img(2)}, empty: true, reviewed: all(img(1)), want: "[1]"},
		{name: "pulled since", images: []image.Image{img(1, func(i *image.Image) { i.LastPulledAt = now }), img(2)}, empty: true, reviewed: all(img(1), img(2)), want: "[2], 1 changed"},
		{name: "a child pulled since", images: []image.Image{img(1, func(i *image.Image) { i.LastPulledAt = now }), img(2), img(3, holding(1, 2)), img(4, holding(3))}, empty: true,
			reviewed: all(img(1), img(2), img(3, holding(1, 2)), img(4, holding(3))), want: "1 changed, 2 relative-stays, 3 relative-stays, 4 relative-stays"},
		{name: "a child pulled since that another index keeps", images: []image.Image{img(1, func(i *image.Image) { i.LastPulledAt = now.Add(time.Minute) }), img(2, holding(1)), img(3, holding(1))}, empty: true,
			used: []int{3}, reviewed: all(img(2, holding(1))), want: "2 relative-stays"},
		{name: "tagged since", images: []image.Image{img(1, tagged("a", "b")), img(2)}, empty: true, reviewed: all(img(1, tagged("a")), img(2)), want: "[2], 1 changed"},
		{name: "pushed anew since", images: []image.Image{img(1, func(i *image.Image) { i.PushedAt = now.AddDate(0, 0, -2) })}, empty: true, at: now.AddDate(0, 0, -4), reviewed: all(img(1)), want: "1 changed"},
		{name: "on its way back from the archive", images: []image.Image{img(1, func(i *image.Image) { i.Status = image.Activating })}, empty: true, reviewed: all(img(1)), want: "1 changed"},
		{name: "back from the archive", images: []image.Image{img(1)}, empty: true,
			reviewed: all(img(1, func(i *image.Image) { i.Status = image.Archived })), want: "1 changed"},
		{name: "a tag less", images: []image.Image{img(1, tagged("a"))}, empty: true, reviewed: all(img(1, tagged("a", "b"))), want: "[1]"},
		{name: "tags that tie a knot", images: []image.Image{
			img(1, tagged("sha256-"+strings.TrimPrefix(string(dig(2)), "sha256:"))),
			img(2, tagged("sha256-"+strings.TrimPrefix(string(dig(1)), "sha256:"))),
		}, empty: true, want: "[1], [2]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reviewed := tt.reviewed
			if reviewed == nil {
				reviewed = all(tt.images...)
			}
			at := tt.at
			if at.IsZero() {
				at = now
			}
			v := judge(reviewed, planOf(tt.empty, tt.used, tt.images...), at, journal.NotDeletable)
			if got := spell(v); got != tt.want {
				t.Errorf("%s\ninstead of\n%s", got, tt.want)
			}
		})
	}
}

// TestJudgeRandomly checks on random graphs that every reviewed image is either sent or skipped, that nothing is sent
// together with or before what it waits for, and that no fewer calls would do.
func TestJudgeRandomly(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		var images []image.Image
		for n := 1; n <= 1+random.IntN(400); n++ {
			i := img(n)
			switch {
			case n > 2 && random.IntN(6) == 0:
				holding(1+random.IntN(n-1), 1+random.IntN(n-1))(&i)
			case n > 2 && random.IntN(6) == 0:
				refers(1 + random.IntN(n-1))(&i)
			}
			images = append(images, i)
		}
		var used []int
		for range random.IntN(4) {
			used = append(used, 1+random.IntN(len(images)))
		}
		plan := planOf(random.IntN(2) == 0, used, images...)
		reviewed := slices.DeleteFunc(all(images...), func(Candidate) bool { return random.IntN(20) == 0 })
		v := judge(reviewed, plan, now, journal.NotDeletable)
		when := map[image.Digest]int{}
		for n, call := range v.calls {
			if len(call) == 0 || len(call) > batch {
				t.Fatalf("seed %d: a call of %d images", seed, len(call))
			}
			for _, i := range call {
				if when[i.Digest] != 0 {
					t.Fatalf("seed %d: %s is sent twice", seed, i.Digest)
				}
				when[i.Digest] = n + 1
			}
		}
		if got := v.count().Images + len(v.skipped); got != len(reviewed) {
			t.Fatalf("seed %d: %d of %d images are accounted for", seed, got, len(reviewed))
		}
		g := image.NewGraph(images)
		longest := 0
		depth := map[int]int{}
		var deep func(i int) int
		deep = func(i int) int {
			if depth[i] == 0 {
				d := 1
				for _, e := range g.Up(i) {
					if e.Relation == image.Child {
						d = max(d, deep(e.To)+1)
					}
				}
				for _, e := range g.Down(i) {
					if e.Relation == image.Referrer {
						d = max(d, deep(e.To)+1)
					}
				}
				depth[i] = d
			}
			return depth[i]
		}
		for i := range images {
			mine := when[images[i].Digest]
			if mine == 0 {
				continue
			}
			longest = max(longest, deep(i))
			for _, e := range g.Up(i) {
				parent := when[images[e.To].Digest]
				if parent == 0 {
					t.Fatalf("seed %d: %s goes and what it hangs on stays", seed, images[i].Digest)
				}
				if e.Relation == image.Child && parent >= mine {
					t.Fatalf("seed %d: a child in call %d, its index in %d", seed, mine, parent)
				}
				if e.Relation == image.Referrer && parent <= mine {
					t.Fatalf("seed %d: a referrer in call %d, its subject in %d", seed, mine, parent)
				}
			}
		}
		least := max(longest, (v.count().Images+batch-1)/batch)
		if len(v.calls) > least+1 {
			t.Errorf("seed %d: %d calls, %d might do", seed, len(v.calls), least)
		}
	}
}
