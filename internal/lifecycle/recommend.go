package lifecycle

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"demurrage/internal/image"
)

// Advice is a policy that cannot take what must stay, or why there is none.
type Advice struct {
	Policy  string         // JSON, indented; "": there is no safe one
	Why     []string       // why none can be safe, or what it rests on ("the tags prod-… are protected because …")
	Expires []image.Digest // what it would take now, and the children that follow their indexes; sorted
}

const (
	// guardCount is the number that a protecting rule counts to. ECR has no rule that keeps; a count that is never reached does, since
	// the rule's selection shields from all rules below. A repository holds 100,000 images unless the quota is raised.
	guardCount = 999_999
	maxGuards  = 40 // of the 50 rules, so that some are left to take
	// maxCandidates bounds the patterns that are tried: those of the most images that go.
	maxCandidates = 500

	minAge     = 7  // days; below that a policy races with the deployment of what was just pushed
	minAgeRest = 30 // days; of a rule for every tag

	// counterTags are the tags of a family that show that it counts: v1 to v5. Places and lines of versions are fewer.
	counterTags = 5
)

const none = "so there is no policy to recommend: leave this repository to demurrage, which knows what is in use"

// Recommend proposes a policy for a repository: images for which stay(digest) is true can never be taken by it as long as
// they carry the tags they carry today, nor can what will carry a tag of one of the patterns never. goes are those that the
// plan would delete; the policy should take as many of these as it safely can.
//
// An image that neither must stay nor goes (a plan keeps it as one of the newest, say) may be taken once it is as old as those
// that go. So stay has to be true for everything whose use is in doubt.
//
// What hangs on an image that must stay (children, the indexes that hold it, referrers, subjects) stays too. Rules that take
// select families of tags (see familyOf) that no image that must stay is exposed to: its lasting tags are of other
// families, or one of them is of a family that a protecting rule above shields. A tag that moves (latest) or may (prod-eu1, see
// fix) shields only what is exposed by no other tag: when it moves on, the image that still runs would be left to the others.
// For the same reason there is a rule for untagged images only if no image that must stay is untagged or can become so by losing
// nothing but such tags.
//
// The result is verified with Evaluate: today, in fifty years, after many pushes, and with everything restored from the archive.
func Recommend(images []image.Image, stay, goes func(*image.Image) bool, never []image.Pattern, now time.Time) Advice {
	d := &draft{images: images, now: now, keep: closure(images, stay), costs: map[string]int{}, counts: map[string]int{}}
	for _, n := range never {
		if text := strings.ReplaceAll(n.String(), "?", "*"); !noTag.MatchString(text) { // ECR has no "?"
			d.never = append(d.never, newPattern(text))
		}
	}
	archived := 0
	for i := range images {
		img := &images[i]
		var t tagged
		if len(img.Tags) > 0 {
			t = d.newTagged(int32(i), img)
		}
		switch {
		case d.keep[i]:
			if len(img.Tags) > 0 {
				d.stays = append(d.stays, t)
			}
		case !goes(img):
		case img.Status != image.Active:
			archived++
		case len(img.Tags) > 0:
			d.goes = append(d.goes, t)
		default:
			d.untagged = append(d.untagged, int32(i))
		}
	}
	for i := range d.stays {
		d.fix(&d.stays[i])
	}
	byDigest := func(a, b tagged) int {
		return strings.Compare(string(images[a.place].Digest), string(images[b.place].Digest))
	}
	slices.SortFunc(d.stays, byDigest)
	slices.SortFunc(d.goes, byDigest)
	if len(d.goes)+len(d.untagged) == 0 {
		if archived > 0 {
			return Advice{Why: []string{fmt.Sprintf("all that goes (%s) is archived; a rule on the archive knows its age there and nothing else, so it is left to demurrage", countImages(archived))}}
		}
		return Advice{Why: []string{"nothing goes from this repository, so there is nothing for a policy to take"}}
	}
	d.protect()
	d.take()
	d.takeUntagged()
	return d.advice()
}

// draft is a policy in the making.
type draft struct {
	images   []image.Image
	now      time.Time
	keep     []bool // by place: what must stay
	stays    []tagged
	goes     []tagged
	untagged []int32 // places of what goes and has no tags
	costs    map[string]int
	counts   map[string]int // how many tags the narrowest patterns of families have

	never  []pattern // of tags that are to stay, whoever will carry them
	guards []pattern // protecting rules
	takes  []taking
	bare   int      // days of the rule for untagged images; 0: none
	left   []string // why some of what goes is left
}

// tagged is an image with its tags, which are lasting (a version, a build) or moving (latest).
type tagged struct {
	place           int32
	lasting, moving []string
	fixed           []string // those of the lasting ones that do not move for sure; of images that must stay
	families        []family // of the lasting ones, then the moving ones
	taken, shielded bool     // by the rules chosen so far
}

// pattern is a pattern of a rule.
type pattern struct {
	text string
	glob glob
}

// taking is a rule that takes.
type taking struct {
	pattern
	goes []int // places in draft.goes
	days int
}

// newTagged sorts the tags of an image, and counts those of each family.
func (d *draft) newTagged(place int32, img *image.Image) tagged {
	t := tagged{place: place}
	var moving []family
	for _, tag := range img.Tags {
		if f := familyOf(tag); f.exact {
			t.moving, moving = append(t.moving, tag), append(moving, f)
		} else {
			t.lasting, t.families = append(t.lasting, tag), append(t.families, f)
			if n := len(f.patterns); n > 0 {
				d.counts[f.patterns[n-1]]++
			}
		}
	}
	t.families = append(t.families, moving...)
	return t
}

func (t *tagged) matches(g glob) bool {
	return slices.ContainsFunc(t.lasting, g.match) || slices.ContainsFunc(t.moving, g.match)
}

// fix finds the lasting tags that stay with their image: those that count (build-77, v77 as one of many) or name what was built
// (a commit, a date, v1.2.3). Of others (prod-eu1, prod-us-east-1, node18, v1) there may be one for a place or a line of
// versions, and it moves.
func (d *draft) fix(t *tagged) {
	for i, tag := range t.lasting {
		patterns := t.families[i].patterns
		if n := len(patterns); n > 0 && d.counts[patterns[n-1]] >= counterTags || fixedTag.MatchString(tag) && !regionTag.MatchString(tag) ||
			slices.ContainsFunc(strings.FieldsFunc(tag, func(c rune) bool { return strings.ContainsRune(separators, c) }), isHash) {
			t.fixed = append(t.fixed, tag)
		}
	}
}

var (
	noTag     = regexp.MustCompile(`[^a-zA-Z0-9_.*-]`) // https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
	fixedTag  = regexp.MustCompile(`[0-9]{5}|[0-9]\.[0-9]+\.[0-9]|(^|[-_])[0-9]+($|[-_])`)
	regionTag = regexp.MustCompile(`\b[a-z]{2}(-[a-z]+)?-(north|south|east|west|northeast|northwest|southeast|southwest|central)-[0-9]`)
)

// meets reports whether some tag matches both patterns.
func (p pattern) meets(q pattern) bool { return meet(p.text, q.text) }

func meet(a, b string) bool {
	switch {
	case a == "" || b == "":
		return strings.Trim(a+b, "*") == ""
	case a[0] == '*':
		return meet(a[1:], b) || meet(a, b[1:])
	case b[0] == '*':
		return meet(a, b[1:]) || meet(a[1:], b)
	}
	return a[0] == b[0] && meet(a[1:], b[1:])
}

func newPattern(text string) pattern { return pattern{text: text, glob: newGlob(text)} }

// closure is what must stay, and all that hangs on it.
func closure(images []image.Image, stay func(*image.Image) bool) []bool {
	g := image.NewGraph(images)
	keep := make([]bool, len(images))
	var queue []int
	add := func(i int) {
		if !keep[i] {
			keep[i] = true
			queue = append(queue, i)
		}
	}
	for i := range images {
		if stay(&images[i]) {
			add(i)
		}
	}
	for len(queue) > 0 {
		i := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, e := range g.Down(i) {
			add(e.To)
		}
		for _, e := range g.Up(i) {
			add(e.To) // a referrer goes with its subject
		}
	}
	return keep
}

// protect chooses the rules that cost nothing: patterns of tags that must stay and that nothing that goes carries. Each image
// that must stay gets one for its lasting tags if there is one, and each moving tag gets one.
func (d *draft) protect() {
	// The needs that a pattern serves: an image by its lasting tags, or a moving tag.
	type need struct{ image, tag string }
	serves := map[string]map[need]bool{}
	for i := range d.stays {
		s := &d.stays[i]
		for k, f := range s.families {
			n := need{image: string(d.images[s.place].Digest)}
			if f.exact {
				n = need{tag: s.moving[k-len(s.lasting)]}
			}
			for _, text := range f.patterns {
				if serves[text] == nil {
					serves[text] = map[need]bool{}
				}
				serves[text][n] = true
			}
		}
	}
	texts := slices.SortedFunc(maps.Keys(serves), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(serves[b]), len(serves[a])), cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	served := map[need]bool{}
	for _, text := range texts {
		fresh := false
		for n := range serves[text] {
			fresh = fresh || !served[n]
		}
		if len(d.guards) == maxGuards {
			return
		}
		if !fresh {
			continue
		}
		g := newPattern(text)
		if d.cost(g) == 0 {
			d.guards = append(d.guards, g)
			maps.Copy(served, serves[text])
		}
	}
}

// cost is how many of the images that go a pattern matches.
func (d *draft) cost(p pattern) int {
	n, ok := d.costs[p.text]
	if !ok {
		for i := range d.goes {
			if d.goes[i].matches(p.glob) {
				n++
			}
		}
		d.costs[p.text] = n
	}
	return n
}

// exposed gives the tag by which an image that must stay would be taken by a rule on a pattern, now or when its moving tags have
// moved on; "": it is safe.
func (d *draft) exposed(s *tagged, g glob) string {
	guarded := func(tag string) bool {
		return slices.ContainsFunc(d.guards, func(p pattern) bool { return p.glob.match(tag) })
	}
	if slices.ContainsFunc(s.fixed, guarded) {
		return ""
	}
	taken := func(tag string) bool { return g.match(tag) && !guarded(tag) }
	if i := slices.IndexFunc(s.lasting, taken); i >= 0 {
		return s.lasting[i]
	}
	if i := slices.IndexFunc(s.moving, taken); i >= 0 {
		return s.moving[i]
	}
	return ""
}

// take chooses the rules that take families of tags: those of the most images that go first, the narrower of two that take
// as many, and in the end every tag.
func (d *draft) take() {
	weight := map[string]int{}
	for i := range d.goes {
		seen := map[string]bool{}
		for _, f := range d.goes[i].families {
			for k, text := range f.patterns {
				if f.exact && k == len(f.patterns)-1 || seen[text] {
					continue // a policy for one name that moves is none
				}
				seen[text] = true
				weight[text]++
			}
		}
	}
	texts := slices.SortedFunc(maps.Keys(weight), func(a, b string) int {
		return cmp.Or(cmp.Compare(weight[b], weight[a]), cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	texts = texts[:min(len(texts), maxCandidates)]
	for _, text := range append(texts, "*") {
		if len(d.guards)+len(d.takes) < maxRules-1 { // the last is for untagged images
			d.takeFamily(newPattern(text))
		}
	}
}

// takeFamily adds a rule on a pattern if that is safe, with more protecting rules where they cost less than it brings.
func (d *draft) takeFamily(p pattern) {
	var fresh []int
	for i := range d.goes {
		if t := &d.goes[i]; !t.taken && !t.shielded && t.matches(p.glob) {
			fresh = append(fresh, i)
		}
	}
	if len(fresh) == 0 {
		return
	}
	if p.text == "*" && len(d.stays) == 0 {
		d.left = append(d.left, "nothing that must stay has a tag, so nothing tells how the deployment of tomorrow will be tagged: a rule for every tag would take it")
		return
	}
	before := len(d.guards)
	for i := range d.stays {
		s := &d.stays[i]
		tag := d.exposed(s, p.glob)
		if tag == "" {
			continue
		}
		if g, ok := d.cheapest(s, tag); ok && len(d.guards) < maxGuards {
			if d.guards = append(d.guards, g); d.exposed(s, p.glob) == "" {
				continue
			}
		}
		d.guards = d.guards[:before]
		d.refuse(p, tag, len(fresh))
		return
	}
	for _, n := range d.never {
		if !n.meets(p) || slices.ContainsFunc(d.guards, func(g pattern) bool { return g.glob.covers(n.glob) }) {
			continue
		}
		if len(d.guards) >= maxGuards || strings.Count(n.text, "*") > maxWildcards {
			d.guards = d.guards[:before]
			d.left = append(d.left, fmt.Sprintf("no rule can protect the tags %s, which the configuration keeps (keep_tag_patterns), from one on %s", quote(n.text), quote(p.text)))
			return
		}
		d.guards = append(d.guards, n)
	}
	added := d.guards[before:]
	shielded := func(i int) bool {
		return slices.ContainsFunc(added, func(g pattern) bool { return d.goes[i].matches(g.glob) })
	}
	lost := 0
	for _, t := range d.takes {
		for _, i := range t.goes {
			if shielded(i) {
				lost++
			}
		}
	}
	all := len(fresh)
	if fresh = slices.DeleteFunc(fresh, shielded); len(fresh) <= lost {
		// All that would protect what must stay protects what goes too.
		d.refuse(p, d.protectedBy(added), all)
		d.guards = d.guards[:before]
		return
	}
	if len(d.guards)+len(d.takes) >= maxRules-1 {
		d.guards = d.guards[:before]
		return
	}
	if len(added) > 0 {
		for i := range d.goes {
			if shielded(i) {
				d.goes[i].shielded, d.goes[i].taken = true, false
			}
		}
		for k := range d.takes {
			d.takes[k].goes = slices.DeleteFunc(d.takes[k].goes, shielded)
		}
		d.takes = slices.DeleteFunc(d.takes, func(t taking) bool { return len(t.goes) == 0 })
	}
	places := make([]int32, len(fresh))
	for k, i := range fresh {
		d.goes[i].taken, places[k] = true, d.goes[i].place
	}
	least := minAge
	if p.text == "*" {
		least = minAgeRest
	}
	d.takes = append(d.takes, taking{pattern: p, goes: fresh, days: max(least, d.youngest(places))})
}

// protectedBy is a tag that must stay and that rules protect.
func (d *draft) protectedBy(guards []pattern) string {
	for i := range d.stays {
		for _, tag := range slices.Concat(d.stays[i].lasting, d.stays[i].moving) {
			if slices.ContainsFunc(guards, func(g pattern) bool { return g.glob.match(tag) }) {
				return tag
			}
		}
	}
	return ""
}

// cheapest is the pattern that protects an image that is exposed by a tag and that the fewest images that go match.
func (d *draft) cheapest(s *tagged, tag string) (best pattern, ok bool) {
	least := 0
	families := s.families[:len(s.lasting)]
	if k := slices.Index(s.moving, tag); k >= 0 {
		families = s.families[len(s.lasting)+k:][:1]
	}
	for _, f := range families {
		for _, text := range f.patterns {
			if g := newPattern(text); !ok || d.cost(g) < least {
				best, least, ok = g, d.cost(g), true
			}
		}
	}
	return best, ok
}

// refuse notes why a family is left, for the first few.
func (d *draft) refuse(p pattern, tag string, n int) {
	const most = 3
	seen := slices.ContainsFunc(d.left, func(text string) bool { return strings.HasPrefix(text, quote(tag)) })
	if seen || p.text == "*" && len(d.left) > 0 || len(d.left) >= most {
		return
	}
	if p.text == "*" {
		d.left = append(d.left, fmt.Sprintf("%s must stay, and no pattern tells it from the tags that go: the deployment of tomorrow uses a tag that no rule knows, so no policy can be safe", quote(tag)))
		return
	}
	d.left = append(d.left, fmt.Sprintf("%s must stay and is of the same family, %s, as the tags of %s that go: the deployment of tomorrow uses such a tag, and no rule can know which, so no policy on them can be safe",
		quote(tag), quote(p.text), countImages(n)))
}

// takeUntagged decides on a rule for untagged images.
func (d *draft) takeUntagged() {
	if len(d.untagged) == 0 {
		return
	}
	holders := map[image.Digest]bool{} // children of active indexes that stay
	for i := range d.images {
		if d.keep[i] && d.images[i].Status == image.Active {
			for _, c := range d.images[i].Children {
				holders[c] = true
			}
		}
	}
	bare, referrers := 0, 0
	for i := range d.images {
		img := &d.images[i]
		if d.keep[i] && len(img.Tags) == 0 && !holders[img.Digest] {
			if bare++; img.Subject != "" {
				referrers++
			}
		}
	}
	if bare > 0 {
		text := fmt.Sprintf("no rule can tell the untagged images that must stay (%d) from the untagged that go (%d), so no rule for untagged images can be safe, and none for any image", bare, len(d.untagged))
		if referrers > 0 {
			text += fmt.Sprintf("; %d of them are signatures and the like of images that must stay", referrers)
		}
		d.left = append(d.left, text)
		return
	}
	for i := range d.stays {
		if s := &d.stays[i]; len(s.fixed) == 0 {
			verb := "moves"
			if len(s.moving) == 0 {
				verb = "may move"
			}
			d.left = append(d.left, fmt.Sprintf("an image that must stay has no tag but %s, which %s: when it does, the image is untagged and, going by its push, old at once, whoever still runs it. So no rule for untagged images can be safe, and those that go (%d) are left to demurrage",
				quote(slices.Concat(s.moving, s.lasting)[0]), verb, len(d.untagged)))
			return
		}
	}
	d.bare = max(minAge, d.youngest(d.untagged))
}

// youngest is the whole days that all of some images are older than.
func (d *draft) youngest(places []int32) int {
	days := math.MaxInt32
	for _, i := range places {
		past := d.now.Sub(age(&d.images[i]))
		n := int(past / (24 * time.Hour))
		if time.Duration(n)*24*time.Hour == past {
			n-- // older than: not to the instant
		}
		days = min(days, n)
	}
	return days
}
