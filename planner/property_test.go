package planner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"demurrage/internal/image"
)

// world is a random organization: everything that a plan is made of.
type world struct {
	rules       Rules
	usage       Usage
	inventories []*image.Inventory
}

func randomWorld(r *rand.Rand) *world {
	w := &world{}
	accounts := []string{"111111111111", "222222222222", "333333333333"}
	rule := RepositoryRule{Name: image.Glob("r*"), Expires: time.Duration(1+r.IntN(40)) * day, FromNewestPush: r.IntN(3) == 0, KeepCount: r.IntN(4)}
	if r.IntN(2) == 0 {
		rule.UntaggedExpires = time.Duration(1+r.IntN(10)) * day
	}
	if r.IntN(2) == 0 {
		rule.KeepPulledWithin = time.Duration(1+r.IntN(20)) * day
	}
	if r.IntN(2) == 0 {
		rule.KeepTags = []image.Pattern{image.Glob("t1*")}
	}
	w.rules = Rules{Repositories: []RepositoryRule{rule}, MinAge: day}
	if r.IntN(4) == 0 {
		w.rules.Attestations = []Attestation{{Accounts: []image.Pattern{image.Exact(accounts[r.IntN(3)])}, Expires: now.Add(day)}}
	}
	for _, account := range accounts {
		for _, c := range ok(account) {
			if r.IntN(12) == 0 {
				c.Status, c.Error = image.CoverageFailed, "denied"
			}
			w.usage.Coverage = append(w.usage.Coverage, c)
		}
	}
	if r.IntN(6) == 0 {
		w.usage.Unscanned = []Unscanned{{Account: "444444444444", Why: "excluded"}}
	}
	for i := range 1 + r.IntN(4) {
		w.inventories = append(w.inventories, randomInventory(r, image.Repository{
			Registry: image.Registry{Account: accounts[r.IntN(3)], Region: "us-east-1"}, Name: fmt.Sprintf("%c%d", "rrrx"[r.IntN(4)], i)}))
	}
	slices.SortFunc(w.inventories, func(a, b *image.Inventory) int { return image.CompareRepositories(a.Repository, b.Repository) })
	for range r.IntN(8) {
		w.usage.Uses = append(w.usage.Uses, w.randomUse(r))
	}
	return w
}

func randomInventory(r *rand.Rand, repo image.Repository) *image.Inventory {
	inv := &image.Inventory{Repository: repo, HasPolicy: r.IntN(3) == 0}
	n := r.IntN(14)
	for i := range n {
		im := img(fmt.Sprint(i), time.Duration(r.IntN(60*24))*time.Hour)
		for k := range r.IntN(3) {
			im.Tags = append(im.Tags, fmt.Sprintf("t%d-%d", i, k))
		}
		other := d(fmt.Sprint(r.IntN(n + 1)))
		switch r.IntN(8) {
		case 0, 1:
			im.MediaType = image.MediaTypeOCIIndex
			for range r.IntN(4) {
				im.Children = append(im.Children, d(fmt.Sprint(r.IntN(n+1))))
			}
		case 2:
			im.Subject = other
		case 3:
			im.Tags = append(im.Tags, "sha256-"+string(other[7:])+".sig")
		case 4:
			im.LastPulledAt = now.Add(-time.Duration(r.IntN(30)) * day)
		case 5:
			if r.IntN(5) == 0 {
				im.Unreadable = "no JSON"
				if r.IntN(2) == 0 {
					im.Status = image.Archived
				}
			}
		}
		inv.Images = append(inv.Images, im)
	}
	if r.IntN(15) == 0 {
		inv.Errors = []string{"page 2 failed"}
	}
	slices.SortFunc(inv.Images, image.Compare)
	return inv
}

func (w *world) randomUse(r *rand.Rand) image.Use {
	inv := w.inventories[r.IntN(len(w.inventories))]
	u := image.Use{Ref: image.Ref{Repository: inv.Repository}, Source: "ecs-task", Account: "222222222222", Region: "us-east-1",
		Resource: fmt.Sprintf("arn:%d", r.IntN(1000)), Live: r.IntN(2) == 0}
	i := r.IntN(15)
	if r.IntN(3) > 0 {
		u.Ref.Tag = fmt.Sprintf("t%d-%d", i, r.IntN(2))
	}
	if u.Ref.Tag == "" || r.IntN(4) == 0 {
		u.Ref.Digest = d(fmt.Sprint(i))
	} else if r.IntN(4) == 0 {
		u.Since = now.Add(-time.Duration(r.IntN(60)) * day)
	}
	return u
}

func (w *world) plan(t testing.TB) (*Plan, map[image.Repository]*RepositoryPlan) {
	p, err := Build(Merge(w.rules, now, w.usage), seq(w.inventories...))
	if err != nil {
		t.Fatal(err)
	}
	repos := map[image.Repository]*RepositoryPlan{}
	for r, err := range p.Repositories {
		if err != nil {
			t.Fatal(err)
		}
		repos[r.Repository] = r
	}
	return p, repos
}

// actions is what becomes of each image, by repository and digest.
func actions(repos map[image.Repository]*RepositoryPlan) map[string]Action {
	a := map[string]Action{}
	for repo, p := range repos {
		for _, d := range p.Decisions {
			a[repo.String()+"@"+string(d.Image.Digest)] = d.Action
		}
	}
	return a
}

const seeds = 3000

func eachWorld(t *testing.T, f func(t *testing.T, r *rand.Rand, w *world)) {
	for seed := range uint64(seeds) {
		r := rand.New(rand.NewPCG(seed, 1))
		w := randomWorld(r)
		f(t, r, w)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestEveryImageGetsOneDecision(t *testing.T) {
	eachWorld(t, func(t *testing.T, _ *rand.Rand, w *world) {
		p, repos := w.plan(t)
		var sum Count
		for _, inv := range w.inventories {
			r := repos[inv.Repository]
			if len(r.Decisions) != len(inv.Images) {
				t.Fatalf("%d decisions for %d images", len(r.Decisions), len(inv.Images))
			}
			for i, d := range r.Decisions {
				if d.Image.Digest != inv.Images[i].Digest || len(d.Reasons) == 0 {
					t.Errorf("image %s: decision for %s with reasons %v", inv.Images[i].Digest, d.Image.Digest, d.Reasons)
				}
				sum.count(d)
			}
		}
		if sum != p.Count {
			t.Errorf("count %v, want %v", p.Count, sum)
		}
	})
}

// What must hold of every deletion, checked against the world and not against the planner's own workings.
func TestNothingInUseIsDeleted(t *testing.T) {
	eachWorld(t, func(t *testing.T, _ *rand.Rand, w *world) {
		_, repos := w.plan(t)
		got := actions(repos)
		for _, inv := range w.inventories {
			gone := func(d image.Digest) bool { return got[inv.Repository.String()+"@"+string(d)] == Delete }
			tagged := map[string]image.Digest{}
			for _, im := range inv.Images {
				for _, tag := range im.Tags {
					tagged[tag] = im.Digest
				}
				if gone(im.Digest) && now.Sub(im.PushedAt) < w.rules.MinAge {
					t.Errorf("%s is younger than min_age", im.Digest)
				}
				if gone(im.Digest) && (len(inv.Errors) > 0 || slices.ContainsFunc(inv.Images, func(i image.Image) bool { return i.Unreadable != "" })) {
					t.Errorf("%s goes from a repository that could not be read in full", im.Digest)
				}
				if gone(im.Digest) && im.Unreadable != "" {
					t.Errorf("%s goes, and nobody knows what it holds", im.Digest)
				}
				for _, c := range im.Children {
					if gone(c) && !gone(im.Digest) {
						t.Errorf("%s goes while its index %s stays", c, im.Digest)
					}
				}
				if gone(im.Digest) && im.Subject != "" && im.Subject != im.Digest && !gone(im.Subject) && hasImage(inv, im.Subject) {
					t.Errorf("%s goes while its subject stays", im.Digest)
				}
			}
			for _, u := range w.usage.Uses {
				if u.Ref.Repository != inv.Repository {
					continue
				}
				for _, d := range []image.Digest{u.Ref.Digest, tagged[u.Ref.Tag]} {
					if d == "" || !hasImage(inv, d) {
						continue
					}
					if gone(d) {
						t.Errorf("%s is used and goes", d)
					}
					for _, im := range inv.Images {
						if slices.Contains(im.Children, d) && gone(im.Digest) {
							t.Errorf("index %s of the used %s goes", im.Digest, d)
						}
					}
				}
			}
			for _, c := range w.usage.Coverage {
				attested := slices.ContainsFunc(w.rules.Attestations, func(a Attestation) bool { return a.Accounts[0].Match(c.Account) })
				if c.Status == image.CoverageFailed && c.Source != "ecr" && !attested && (inv.HasPolicy || c.Account == inv.Repository.Account) {
					for _, im := range inv.Images {
						if gone(im.Digest) {
							t.Errorf("%s goes although %s of %s could not be read", im.Digest, c.Source, c.Account)
						}
					}
				}
			}
		}
	})
}

func hasImage(inv *image.Inventory, d image.Digest) bool {
	return slices.ContainsFunc(inv.Images, func(i image.Image) bool { return i.Digest == d })
}

// worse: nothing that stayed goes, and nothing that was kept for a reason becomes merely blocked.
func worse(t *testing.T, before, after map[string]Action) {
	t.Helper()
	for image, a := range before {
		if a != Delete && after[image] == Delete || a == Keep && after[image] == Blocked {
			t.Errorf("%s: %s became %s", image, a, after[image])
		}
	}
}

func TestAddingAUseOnlyProtects(t *testing.T) {
	eachWorld(t, func(t *testing.T, r *rand.Rand, w *world) {
		_, before := w.plan(t)
		w.usage.Uses = append(w.usage.Uses, w.randomUse(r))
		_, after := w.plan(t)
		worse(t, actions(before), actions(after))
	})
}

func TestLosingCoverageOnlyProtects(t *testing.T) {
	eachWorld(t, func(t *testing.T, r *rand.Rand, w *world) {
		_, before := w.plan(t)
		w.usage.Expected = slices.Clone(w.usage.Coverage)
		if i := r.IntN(len(w.usage.Coverage)); r.IntN(2) == 0 {
			w.usage.Coverage = slices.Delete(slices.Clone(w.usage.Coverage), i, i+1)
		} else {
			w.usage.Coverage[i].Status, w.usage.Coverage[i].Error = image.CoverageFailed, "gone"
		}
		_, after := w.plan(t)
		worse(t, actions(before), actions(after))
	})
}

func TestOrderOfInputsDoesNotMatter(t *testing.T) {
	eachWorld(t, func(t *testing.T, r *rand.Rand, w *world) {
		p1, before := w.plan(t)
		shuffle(r, w.usage.Uses)
		shuffle(r, w.usage.Coverage)
		shuffle(r, w.inventories)
		for _, inv := range w.inventories {
			inv.Images = slices.Clone(inv.Images)
			shuffle(r, inv.Images)
		}
		p2, after := w.plan(t)
		for repo := range maps.Keys(before) {
			if !reflect.DeepEqual(before[repo], after[repo]) {
				t.Errorf("%s differs", repo)
			}
		}
		p1.Repositories, p2.Repositories = nil, nil
		if !reflect.DeepEqual(p1, p2) {
			t.Errorf("plans differ:\n%+v\n%+v", p1, p2)
		}
	})
}

func shuffle[T any](r *rand.Rand, s []T) {
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// BenchmarkPlan plans 1,000,000 images in 2,000 repositories with 200,000 uses.
// go test ./planner -run xxx -bench Plan -benchmem
func BenchmarkPlan(b *testing.B) {
	const repositories, images, uses = 2000, 500, 200_000
	r := rand.New(rand.NewPCG(1, 1))
	rule := RepositoryRule{Name: image.Glob("*"), Expires: 30 * day, KeepCount: 5, KeepTags: []image.Pattern{image.Exact("latest"), image.Glob("v*")}, KeepPulledWithin: 14 * day}
	var inventories []*image.Inventory
	for i := range repositories {
		inv := &image.Inventory{Repository: image.Repository{Registry: image.Registry{Account: fmt.Sprintf("%012d", i/10), Region: "us-east-1"}, Name: fmt.Sprintf("team/app-%04d", i)}}
		for k := range images {
			im := img(fmt.Sprintf("%d/%d", i, k), time.Duration(k)*12*time.Hour, tags(fmt.Sprintf("build-%d", k)))
			switch k % 10 {
			case 0:
				im.MediaType, im.Children = image.MediaTypeOCIIndex, []image.Digest{d(fmt.Sprintf("%d/%d", i, k+1)), d(fmt.Sprintf("%d/%d", i, k+2))}
			case 1, 2:
				im.Tags = nil
			case 3:
				im.Tags = []string{"sha256-" + string(d(fmt.Sprintf("%d/%d", i, k-3))[7:]) + ".sig"}
			}
			inv.Images = append(inv.Images, im)
		}
		slices.SortFunc(inv.Images, image.Compare)
		inventories = append(inventories, inv)
	}
	usage := Usage{}
	for i := range uses {
		usage.Uses = append(usage.Uses, image.Use{Ref: image.Ref{Repository: inventories[r.IntN(repositories)].Repository, Tag: fmt.Sprintf("build-%d", r.IntN(images))},
			Source: "ecs-task", Account: fmt.Sprintf("%012d", i%500), Region: "us-east-1", Resource: fmt.Sprintf("arn:aws:ecs:us-east-1:%012d:task/%d", i%500, i), Live: true})
	}
	all := seq(inventories...)
	b.ReportAllocs()
	for b.Loop() {
		p, err := Build(Merge(Rules{Repositories: []RepositoryRule{rule}, MinAge: day}, now, usage), all)
		if err != nil || p.Count.Total().Images != repositories*images {
			b.Fatal(err, p.Count)
		}
	}
}

// Again decides as Merge does of the same.
func TestAgain(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 9))
		w := randomWorld(r)
		base := Merge(w.rules, now, w.usage)
		usage := w.usage
		usage.Uses = nil
		for range r.IntN(8) {
			usage.Uses = append(usage.Uses, w.randomUse(r))
		}
		var gaps []image.Coverage
		if r.IntN(3) == 0 {
			gaps = []image.Coverage{{Account: "111111111111", Region: "us-east-1", Source: "ecs", Status: image.CoverageFailed, Error: "throttled"}}
		}
		again := base.Again(usage.Uses, gaps)
		usage.Coverage = slices.Concat(usage.Coverage, gaps)
		whole := Merge(w.rules, now, usage)
		for _, inv := range w.inventories {
			got, want := again.Repository(inv), whole.Repository(inv)
			if !reflect.DeepEqual(got.Decisions, want.Decisions) {
				t.Fatalf("seed %d: %v:\n%v\nwant\n%v", seed, inv.Repository, got.Decisions, want.Decisions)
			}
		}
	}
}
