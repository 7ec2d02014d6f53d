package lifecycle

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"demurrage/internal/image"
)

// Evaluate says of each image, in the order given, what the policy does to it at now. The images are all of one
// repository, archived ones included; their order does not matter.
//
// It takes O(n log n) for the order by age, and a pass over the images for each rule.
func (p *Policy) Evaluate(images []image.Image, now time.Time) []Fate {
	fates := make([]Fate, len(images))
	order := newestFirst(images)
	ranked := make([]int32, 0, len(images)) // what a rule selects, youngest first
	marks := make([]uint64, len(images))    // which rules select an image: one pass through the images' memory for many rules
	for rules := range slices.Chunk(p.Rules, 64) {
		clear(marks)
		mark(marks, images, rules)
		for r := range rules {
			rule := &rules[r]
			ranked = ranked[:0]
			for _, i := range order {
				if marks[i]>>r&1 != 0 {
					ranked = append(ranked, i)
				}
			}
			for rank, i := range ranked {
				if fates[i].Shield == 0 {
					fates[i] = rule.fate(&images[i], rank, now)
				}
			}
			if rule.CountType == ImageCountMoreThan {
				markTies(fates, images, ranked, rule)
			}
		}
	}
	hold(fates, images)
	return fates
}

// mark sets the bit of each rule that selects an image.
func mark(marks []uint64, images []image.Image, rules []Rule) {
	selectors := make([]func(*image.Image) bool, len(rules))
	for r := range rules {
		selectors[r] = rules[r].selector()
	}
	for i := range images {
		for r, selects := range selectors {
			if selects(&images[i]) {
				marks[i] |= 1 << r
			}
		}
	}
}

// Unmatched gives the priorities of the rules that select none of the images, whatever other rules hold.
func (p *Policy) Unmatched(images []image.Image) []int {
	var unmatched []int
	for r := range p.Rules {
		selects := p.Rules[r].selector()
		matches := false
		for i := range images {
			if matches = selects(&images[i]); matches {
				break
			}
		}
		if !matches {
			unmatched = append(unmatched, p.Rules[r].Priority)
		}
	}
	return unmatched
}

// age is what an image's age and place in the order go by.
func age(img *image.Image) time.Time {
	if !img.ActivatedAt.IsZero() {
		return img.ActivatedAt
	}
	return img.PushedAt
}

// newestFirst gives the places of the images from the youngest to the oldest, by digest where two are of the same age.
func newestFirst(images []image.Image) []int32 {
	order := make([]int32, len(images))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := &images[a], &images[b]
		return cmp.Or(age(y).Compare(age(x)), strings.Compare(string(x.Digest), string(y.Digest)))
	})
	return order
}

// fate is what a rule does to an image that it selects, as the one with that rank: 0 is the youngest.
func (r *Rule) fate(img *image.Image, rank int, now time.Time) Fate {
	f := Fate{Rule: r.Priority, Shield: r.Priority, Action: r.Action}
	since := age(img)
	switch r.CountType {
	case ImageCountMoreThan:
		f.Pushes = max(0, r.CountNumber-rank)
		f.Now = f.Pushes == 0
		return f
	case SinceImagePulled:
		if img.LastPulledAt.After(img.ActivatedAt) {
			since = img.LastPulledAt
		}
	case SinceImageTransitioned:
		since = img.ArchivedAt
	case SinceImagePushed:
	}
	if since.IsZero() {
		return f
	}
	// Beyond the year 9999 is never, and no JSON can say it.
	if due := since.UTC().AddDate(0, 0, r.CountNumber); due.Year() <= 9999 {
		f.Due, f.Now = due, now.After(due)
	}
	return f
}

// markTies marks the images of a counting rule between which the count ends though they are of the same age.
func markTies(fates []Fate, images []image.Image, ranked []int32, r *Rule) {
	n := r.CountNumber
	if n < 1 || n >= len(ranked) {
		return
	}
	at := age(&images[ranked[n]])
	if !age(&images[ranked[n-1]]).Equal(at) {
		return
	}
	for k := n - 1; k >= 0 && age(&images[ranked[k]]).Equal(at); k-- {
		fates[ranked[k]].Tied = fates[ranked[k]].Rule == r.Priority
	}
	for k := n; k < len(ranked) && age(&images[ranked[k]]).Equal(at); k++ {
		fates[ranked[k]].Tied = fates[ranked[k]].Rule == r.Priority
	}
}

// hold keeps back the children of indexes: none goes before every index that refers to it is gone. It starts with what goes
// and is held by nothing, and follows the references down, so that in a knot (digests cannot tie one) nothing goes.
func hold(fates []Fate, images []image.Image) {
	var places map[image.Digest]int32
	for i := range images {
		if len(images[i].Children) > 0 {
			places = make(map[image.Digest]int32, len(images))
			break
		}
	}
	if places == nil {
		return
	}
	for i := range images {
		places[images[i].Digest] = int32(i)
	}
	holders, children := make([][]int32, len(images)), make([][]int32, len(images))
	for i := range images {
		if images[i].Status != image.Active {
			continue // archived: its children are free to go
		}
		for _, d := range images[i].Children {
			c, ok := places[d]
			if n := len(holders[c]); !ok || n > 0 && holders[c][n-1] == int32(i) {
				continue // not here, or named twice
			}
			holders[c] = append(holders[c], int32(i))
			children[i] = append(children[i], c)
		}
	}

	// goes holds what goes now or after something that goes now.
	goes := make([]bool, len(images))
	waits := make([]int, len(images)) // how many of its holders do not go, as far as is known yet
	var queue []int32
	for i := range images {
		waits[i] = len(holders[i])
		if fates[i].Now && waits[i] == 0 {
			goes[i] = true
			queue = append(queue, int32(i))
		}
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, c := range children[i] {
			if waits[c]--; waits[c] == 0 && fates[c].Now {
				goes[c] = true
				queue = append(queue, c)
			}
		}
	}
	for i := range images {
		f := &fates[i]
		if f.Rule == 0 || len(holders[i]) == 0 {
			continue
		}
		for _, h := range holders[i] {
			d := images[h].Digest
			switch {
			case goes[h]:
				if f.After == "" || d < f.After {
					f.After = d
				}
			case f.Held == "" || firstHolder(fates, images, h, places[f.Held]):
				f.Held = d
			}
		}
		if f.Held != "" || !f.Now {
			f.After = ""
		}
	}
	for i := range images {
		if f := &fates[i]; f.Held != "" || f.After != "" {
			f.Now = false
		}
	}
}

// firstHolder reports whether index a is to be named before b: one that no rule acts on does, then the smaller digest.
func firstHolder(fates []Fate, images []image.Image, a, b int32) bool {
	if x, y := fates[a].Rule == 0, fates[b].Rule == 0; x != y {
		return x
	}
	return images[a].Digest < images[b].Digest
}

// selector gives the test of a rule's selection: storage class, tag status, prefixes and patterns.
func (r *Rule) selector() func(*image.Image) bool {
	archived := r.class() == archive
	globs := r.globs()
	return func(img *image.Image) bool {
		if (img.Status != image.Active) != archived {
			return false
		}
		switch r.TagStatus {
		case Any:
			return true
		case Untagged:
			return len(img.Tags) == 0
		case Tagged:
		}
		if len(img.Tags) == 0 || len(globs) == 0 {
			return false
		}
		for i := range globs {
			if !slices.ContainsFunc(img.Tags, globs[i].match) {
				return false
			}
		}
		return true
	}
}

// globs are the prefixes or the patterns of a rule.
func (r *Rule) globs() []glob {
	globs := make([]glob, 0, len(r.TagPrefixes)+len(r.TagPatterns))
	for _, p := range r.TagPrefixes {
		globs = append(globs, glob{p, ""})
	}
	for _, p := range r.TagPatterns {
		globs = append(globs, newGlob(p))
	}
	return globs
}

// glob is the parts of a pattern between its wildcards. A prefix is one whose wildcard is its end, and has no other: its
// own * are themselves.
type glob []string

func newGlob(pattern string) glob { return strings.Split(pattern, "*") }

// match reports whether the pattern matches the whole of a tag: the first part at its start, the last at its end, and the
// others, as early as they come, between them.
func (g glob) match(tag string) bool {
	if len(g) == 1 {
		return tag == g[0]
	}
	rest, ok := strings.CutPrefix(tag, g[0])
	if !ok {
		return false
	}
	for _, part := range g[1 : len(g)-1] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, g[len(g)-1])
}

// covers reports whether the pattern matches every tag that another one matches: it does if it matches the other one's text
// with a sign in the place of each wildcard that no tag and no pattern has.
func (g glob) covers(other glob) bool { return g.match(strings.Join(other, "\x00")) }
