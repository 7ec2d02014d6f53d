package lifecycle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"demurrage/internal/image"
)

// advice writes the policy, verifies it, and says what it rests on.
func (d *draft) advice() Advice {
	if len(d.takes) == 0 && d.bare == 0 {
		return Advice{Why: append(d.rest(), none)}
	}
	text := d.text()
	for utf8.RuneCountInString(text) > maxText && len(d.takes) > 0 {
		last := len(d.takes) - 1
		for _, i := range d.takes[last].goes {
			d.goes[i].taken = false
		}
		d.takes = d.takes[:last]
		text = d.text()
	}
	p, problems := Parse(text)
	if p == nil {
		return Advice{Why: []string{fmt.Sprintf("the policy would not be valid: %s", problems[0].Text)}}
	}
	if fault := d.verify(p); fault != "" {
		return Advice{Why: append(d.rest(), fault, none)}
	}
	a := Advice{Policy: text, Why: d.why()}
	goes := map[int32]bool{}
	for i := range d.goes {
		goes[d.goes[i].place] = true
	}
	for _, i := range d.untagged {
		goes[i] = true
	}
	frees, other := false, 0
	for i, f := range p.Evaluate(d.images, d.now) {
		if !f.Now && f.After == "" {
			continue
		}
		a.Expires = append(a.Expires, d.images[i].Digest)
		frees = frees || !d.images[i].IsIndex()
		if !goes[int32(i)] {
			other++
		}
	}
	slices.Sort(a.Expires)
	if !frees {
		return Advice{Why: append(d.rest(), "a policy on the rest would free nothing now: there is none to recommend")}
	}
	if other > 0 {
		a.Why = append(a.Why, fmt.Sprintf("it takes %s beyond the plan, old enough and in the same families: they are not in use, but the plan keeps them for now", countImages(other)))
	}
	a.Why = append(a.Why, d.rest()...)
	return a
}

// rest says what the policy leaves of what goes, and why.
func (d *draft) rest() []string {
	n, shielded := 0, 0
	for i := range d.goes {
		if d.goes[i].taken {
			continue
		}
		if n++; d.goes[i].shielded {
			shielded++
		}
	}
	if n == 0 {
		return d.left
	}
	left := []string{fmt.Sprintf("left to demurrage: %d of the %s that go by the plan and have tags", n, countImages(len(d.goes)))}
	if shielded > 0 {
		left = append(left, fmt.Sprintf("%d of these: a rule protects tags that they carry too", shielded))
	}
	if shielded < n && len(d.left) == 0 {
		left = append(left, "no family of tags that is safe to take has a place in the policy for the others")
	}
	return append(left, d.left...)
}

// why says what the policy rests on.
func (d *draft) why() []string {
	var why []string
	for k, g := range d.guards {
		n := 0
		for i := range d.stays {
			if d.stays[i].matches(g.glob) {
				n++
			}
		}
		why = append(why, fmt.Sprintf("rule %d protects the tags %s, which %s: it counts to %d, more than a repository holds, so it never acts, and shields what it selects from every rule below",
			k+1, quote(g.text), carry(n), guardCount))
	}
	for k, t := range d.takes {
		text := fmt.Sprintf("rule %d takes the tags %s %d days after the push: nothing that must stay is exposed to it", len(d.guards)+k+1, quote(t.text), t.days)
		if t.text == "*" {
			text = fmt.Sprintf("rule %d takes every tag that no rule above protects %d days after the push, those of tomorrow included: a new family of tags that is deployed needs a protecting rule first", len(d.guards)+k+1, t.days)
		}
		why = append(why, text)
	}
	if d.bare > 0 {
		why = append(why, fmt.Sprintf("rule %d takes untagged images %d days after the push; the untagged children of indexes that stay are held back by ECR as long as the index is there", len(d.guards)+len(d.takes)+1, d.bare))
	}
	if len(d.stays) > 0 {
		why = append(why, "all of this rests on the tags of today: what must stay has to keep them. Immutable tags make sure of it; a policy does not know what is in use")
	}
	return why
}

// The JSON of a policy, in the order of the user guide.
type (
	ruleJSON struct {
		Priority    int           `json:"rulePriority"`
		Description string        `json:"description"`
		Selection   selectionJSON `json:"selection"`
		Action      actionJSON    `json:"action"`
	}
	selectionJSON struct {
		TagStatus   TagStatus `json:"tagStatus"`
		TagPatterns []string  `json:"tagPatternList,omitempty"`
		CountType   CountType `json:"countType"`
		CountUnit   string    `json:"countUnit,omitempty"`
		CountNumber int       `json:"countNumber"`
	}
	actionJSON struct {
		Type Action `json:"type"`
	}
)

// text is the JSON of the policy.
func (d *draft) text() string {
	var rules []ruleJSON
	add := func(description string, s selectionJSON) {
		rules = append(rules, ruleJSON{Priority: len(rules) + 1, Description: description, Selection: s, Action: actionJSON{Expire}})
	}
	for _, g := range d.guards {
		add(fmt.Sprintf("protect %s: never counts so far, shields from the rules below", g.text),
			selectionJSON{TagStatus: Tagged, TagPatterns: []string{g.text}, CountType: ImageCountMoreThan, CountNumber: guardCount})
	}
	for _, t := range d.takes {
		add(fmt.Sprintf("expire %s after %d days", t.text, t.days),
			selectionJSON{TagStatus: Tagged, TagPatterns: []string{t.text}, CountType: SinceImagePushed, CountUnit: "days", CountNumber: t.days})
	}
	if d.bare > 0 {
		add(fmt.Sprintf("expire untagged images after %d days", d.bare),
			selectionJSON{TagStatus: Untagged, CountType: SinceImagePushed, CountUnit: "days", CountNumber: d.bare})
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string][]ruleJSON{"rules": rules}); err != nil {
		panic(err) // strings and numbers only
	}
	return strings.TrimSpace(b.String())
}

// verify evaluates the policy where it could fail, and says what it would take; "": nothing that must stay.
func (d *draft) verify(p *Policy) string {
	restored := slices.Clone(d.images)
	for i := range restored {
		restored[i].Status = image.Active
	}
	// Many pushes of all that the policy knows, newer than everything.
	pushed := slices.Clone(d.images)
	for r := range p.Rules {
		var tags []string
		for _, pattern := range p.Rules[r].TagPatterns {
			tags = append(tags, strings.ReplaceAll(pattern, "*", "0"))
		}
		for n := range 200 {
			pushed = append(pushed, image.Image{Digest: image.Digest(fmt.Sprintf("sha256:%064x", r<<16|n)), Tags: tags, PushedAt: d.now.AddDate(1, 0, 0)})
		}
	}
	for _, world := range []struct {
		images []image.Image
		at     time.Time
		when   string
	}{
		{d.images, d.now, "now"}, {d.images, d.now.AddDate(50, 0, 0), "in time"},
		{pushed, d.now.AddDate(2, 0, 0), "after some pushes"}, {restored, d.now.AddDate(50, 0, 0), "once it is restored"},
	} {
		safe := d.safe(p, world.images, world.at)
		for i := range d.images {
			if d.keep[i] && !safe(i) {
				return fmt.Sprintf("the best policy would take %s %s, which must stay", d.images[i].Digest, world.when)
			}
		}
	}
	return ""
}

// safe gives the test whether a policy can never take an image: no rule selects it, or one that never counts so far, or an index
// holds it that is safe itself.
func (d *draft) safe(p *Policy, images []image.Image, at time.Time) func(int) bool {
	fates := p.Evaluate(images, at)
	state := make([]int8, len(images)) // 1: safe, -1: not, or not known yet
	holders := map[image.Digest][]int{}
	for i := range images {
		if images[i].Status == image.Active {
			for _, c := range images[i].Children {
				holders[c] = append(holders[c], i)
			}
		}
	}
	var safe func(int) bool
	safe = func(i int) bool {
		if state[i] == 0 {
			state[i] = -1
			f := fates[i]
			if f.Rule == 0 || f.Rule <= len(d.guards) && f.Pushes > guardCount/2 || !f.Now && slices.ContainsFunc(holders[images[i].Digest], safe) {
				state[i] = 1
			}
		}
		return state[i] == 1
	}
	return safe
}

func countImages(n int) string {
	if n == 1 {
		return "1 image"
	}
	return fmt.Sprintf("%d images", n)
}

func carry(n int) string {
	if n == 0 {
		return "the configuration keeps (keep_tag_patterns)"
	}
	if n == 1 {
		return "1 image that must stay carries"
	}
	return fmt.Sprintf("%d images that must stay carry", n)
}
