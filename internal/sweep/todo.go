package sweep

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/planner"
)

// Work is what is to be deleted from one repository.
type Work struct {
	image.Repository
	Images []Candidate // as they were reviewed
	Policy string      // who could pull, when the plan was made
	// Pullers are the accounts whose workloads could use its images; with All any account could.
	Pullers []string
	All     bool
}

// verdict is what a look says about the images of a repository that are to go.
type verdict struct {
	calls   [][]journal.Image // what goes, in the order in which it has to be sent, at most batch images a call
	skipped []journal.Image
	images  int // that the repository has
}

// count is how many images go.
func (v *verdict) count() journal.Tally {
	var t journal.Tally
	for _, call := range v.calls {
		t.Add(tally(call))
	}
	return t
}

func tally(images []journal.Image) journal.Tally {
	t := journal.Tally{Images: len(images)}
	for i := range images {
		t.Bytes += images[i].Bytes
	}
	return t
}

// judge narrows what was reviewed to what a newer plan of its repository deletes too, and leaves nothing behind that hangs
// on what goes. code is what that newer plan's objections are called.
func judge(reviewed []Candidate, p *planner.RepositoryPlan, reviewedAt time.Time, code journal.Code) verdict {
	images := make([]image.Image, len(p.Decisions))
	for i := range p.Decisions {
		images[i] = *p.Decisions[i].Image
	}
	s := &selection{plan: p, images: images, graph: image.NewGraph(images), going: make([]*Candidate, len(images)), pulled: make([]bool, len(images))}
	for i := range images { // what was not reviewed too: indexes share children
		s.pulled[i] = images[i].LastPulledAt.After(reviewedAt)
	}
	v := verdict{images: len(images)}
	for i := range reviewed {
		c := &reviewed[i]
		at, ok := s.graph.Find(c.Digest)
		switch {
		case !ok:
			v.skipped = append(v.skipped, c.skip(journal.Gone, "it is not in the repository any more"))
		case p.Decisions[at].Action == planner.Blocked && code == journal.Changed: // a gap that the fresh plan did not have
			v.skipped = append(v.skipped, c.skip(journal.NotLooked, objection(&p.Decisions[at])))
		case p.Decisions[at].Action != planner.Delete:
			v.skipped = append(v.skipped, c.skip(code, objection(&p.Decisions[at])))
		default:
			s.pulled[at] = images[at].LastPulledAt.After(c.LastPulledAt)
			if why := touched(c, &images[at], reviewedAt); why != "" {
				v.skipped = append(v.skipped, c.skip(journal.Changed, why))
			} else {
				s.going[at] = c
			}
		}
	}
	v.skipped = append(v.skipped, s.leaveOne()...)
	v.skipped = append(v.skipped, s.leaveRelatives()...)
	v.calls = s.calls()
	return v
}

// objection is why a plan does not delete an image, in words.
func objection(d *planner.Decision) string {
	if len(d.Reasons) == 0 {
		return string(d.Action)
	}
	r := &d.Reasons[0]
	s := string(r.Code) + ": " + r.Detail
	if r.Resource != "" {
		s += " (" + r.Source + " " + r.Resource + ")"
	}
	if more := len(d.Reasons) - 1; more > 0 {
		s += fmt.Sprintf(", and %d more", more)
	}
	return s
}

// touched says what somebody has done with an image since it was reviewed that does not change its plan: a pull (ours are
// not among LastPulledAt), a new tag, another push after it was deleted, or its return from the archive. Whoever does such a
// thing has something in mind with it.
func touched(c *Candidate, img *image.Image, reviewedAt time.Time) string {
	if img.PushedAt.After(reviewedAt) {
		return "pushed anew " + img.PushedAt.UTC().Format(time.RFC3339) + ", since the plan was made"
	}
	if img.Status == image.Activating || img.Status == image.Active && c.Status != image.Active {
		return "brought back from the archive since the plan was made"
	}
	if img.LastPulledAt.After(c.LastPulledAt) {
		return "pulled " + img.LastPulledAt.UTC().Format(time.RFC3339) + ", which was not known when the plan of " +
			reviewedAt.UTC().Format(time.RFC3339) + " was made"
	}
	for _, tag := range img.Tags {
		if !slices.Contains(c.Tags, tag) {
			return "tagged " + tag + " since the plan was made"
		}
	}
	return ""
}

func (c *Candidate) skip(code journal.Code, detail string) journal.Image {
	return journal.Image{Digest: c.Digest, Bytes: c.Bytes, Tags: c.Tags, State: journal.Skipped, Code: code, Detail: detail}
}

// selection is what goes from a repository, by the place of each image in its graph; nil: it stays.
type selection struct {
	plan   *planner.RepositoryPlan
	images []image.Image
	graph  *image.Graph
	going  []*Candidate
	pulled []bool // since the review, itself or something that it holds
}

func (s *selection) drop(i int, code journal.Code, detail string) journal.Image {
	c := s.going[i]
	s.going[i] = nil
	return c.skip(code, detail)
}

// leaveOne keeps the newest root where none would stay, unless the rule allows that: of roots that can be pulled, if there
// is one.
func (s *selection) leaveOne() []journal.Image {
	if s.plan.AllowEmpty {
		return nil
	}
	last := s.graph.LastRoot(s.images, func(i int) bool { return s.going[i] != nil })
	if last < 0 {
		return nil
	}
	return []journal.Image{s.drop(last, journal.LastRoot, "nothing else would be left in the repository")}
}

// leaveRelatives keeps what cannot go alone: a child or referrer goes only with all of its indexes and subjects, since it
// is of use with them; a subject only with its referrers, since ECR removes them with it, reviewed or not; and an index only
// if nobody has pulled a child of it since the review: for a day after our own reading of an index, ECR shows a pull of it at
// its children alone.
func (s *selection) leaveRelatives() []journal.Image {
	var left []journal.Image
	for again := true; again; {
		again = false
		for i := range s.images {
			if s.going[i] == nil {
				continue
			}
			for _, e := range s.graph.Up(i) {
				if s.going[e.To] == nil {
					what := "it is a child of "
					if e.Relation == image.Referrer {
						what = "it refers to "
					}
					left = append(left, s.drop(i, journal.RelativeStays, what+string(s.images[e.To].Digest)+", which stays"))
					again = true
					break
				}
			}
			if s.going[i] == nil {
				continue
			}
			for _, e := range s.graph.Down(i) {
				var why string
				switch {
				case e.Relation == image.Referrer && s.going[e.To] == nil:
					why = " refers to it and stays"
				case e.Relation == image.Child && s.pulled[e.To]:
					s.pulled[i] = true
					why = ", which it holds, was pulled since the plan was made"
				default:
					continue
				}
				left = append(left, s.drop(i, journal.RelativeStays, string(s.images[e.To].Digest)+why))
				again = true
				break
			}
		}
	}
	return left
}

// batch is the most images that a call of BatchDeleteImage takes.
const batch = 100

// calls puts what goes into as few calls as can be, with each index and each referrer in an earlier call than its children
// and its subject: call by call whatever may go, first what most others wait for in a row.
func (s *selection) calls() [][]journal.Image {
	after := make([][]int, len(s.images)) // what may only go in a later call
	waits := make([]int, len(s.images))   // for so many
	order := func(first, then int) {
		after[first] = append(after[first], then)
		waits[then]++
	}
	var ready []int
	for i := range s.images {
		if s.going[i] == nil {
			continue
		}
		for _, e := range s.graph.Down(i) {
			switch {
			case s.going[e.To] == nil:
			case e.Relation == image.Child:
				order(i, e.To)
			default:
				order(e.To, i)
			}
		}
	}
	left := 0
	for i := range s.images {
		if s.going[i] == nil {
			continue
		}
		left++
		if waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	height := s.heights(after)
	var calls [][]journal.Image
	for left > 0 {
		if len(ready) == 0 { // tags can tie a knot: ECR knows no order there
			for i := range s.images {
				if s.going[i] != nil && waits[i] > 0 {
					waits[i] = 0
					ready = append(ready, i)
					break
				}
			}
		}
		slices.SortFunc(ready, func(a, b int) int { return cmp.Or(cmp.Compare(height[b], height[a]), cmp.Compare(a, b)) })
		now := ready[:min(len(ready), batch)]
		ready = slices.Clone(ready[len(now):])
		call := make([]journal.Image, len(now))
		for k, i := range now {
			call[k] = s.record(i)
			s.going[i] = nil
			left--
		}
		for _, i := range now {
			for _, then := range after[i] {
				if waits[then]--; waits[then] == 0 && s.going[then] != nil {
					ready = append(ready, then)
				}
			}
		}
		calls = append(calls, call)
	}
	return calls
}

// heights counts, for each image, the longest row of images that wait for it.
func (s *selection) heights(after [][]int) []int {
	height := make([]int, len(s.images))
	state := make([]uint8, len(s.images)) // 1: under way, 2: known
	var visit func(i int)
	visit = func(i int) {
		state[i] = 1
		for _, then := range after[i] {
			if state[then] == 0 {
				visit(then)
			}
			if state[then] == 2 {
				height[i] = max(height[i], height[then]+1)
			}
		}
		state[i] = 2
	}
	for i := range s.images {
		if state[i] == 0 {
			visit(i)
		}
	}
	return height
}

// record is what the journal says of an image before it goes.
func (s *selection) record(i int) journal.Image {
	c := s.going[i]
	var why []string
	for _, r := range s.plan.Decisions[i].Reasons {
		why = append(why, string(r.Code)+": "+r.Detail)
	}
	const most = 3
	if more := len(why) - most; more > 0 {
		why = append(why[:most], fmt.Sprintf("and %d more", more))
	}
	return journal.Image{Digest: c.Digest, Bytes: c.Bytes, Tags: s.images[i].Tags, Why: strings.Join(why, "; ")}
}
