package lifecycle

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of PutLifecyclePolicy and of the user guide (lifecycle_policy_parameters, service-quotas).
const (
	maxText      = 30_720 // characters
	maxRules     = 50
	maxWildcards = 4  // in a pattern
	minArchived  = 90 // days in the archive before a rule may expire an image
)

// Parse reads the text of a policy. Without a Policy, at least one of the problems is fatal.
//
// It is as strict as ECR: a key that it does not know, null and a wrong type are refused. What ECR takes but cannot be meant
// (rules that nothing can reach, lists that are an AND) is a problem that is not fatal. Problems are sorted by priority.
func Parse(text string) (*Policy, []Problem) {
	p := parser{}
	rules := p.policy(text)
	if !p.fatal {
		slices.SortFunc(rules, func(a, b Rule) int { return cmp.Compare(a.Priority, b.Priority) })
		p.together(rules)
	}
	if !p.fatal {
		p.doubtful(rules)
	}
	slices.SortFunc(p.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Code, b.Code), strings.Compare(a.Text, b.Text))
	})
	if p.fatal {
		return nil, p.problems
	}
	return &Policy{Rules: rules}, p.problems
}

// parser collects what is wrong.
type parser struct {
	problems []Problem
	fatal    bool
}

func (p *parser) refuse(priority int, code, format string, args ...any) {
	p.fatal = true
	p.problems = append(p.problems, Problem{Priority: priority, Code: code, Text: fmt.Sprintf(format, args...), Fatal: true})
}

func (p *parser) doubt(priority int, code, format string, args ...any) {
	p.problems = append(p.problems, Problem{Priority: priority, Code: code, Text: fmt.Sprintf(format, args...)})
}

// policy reads the rules as they stand, and refuses what is wrong with each of them.
func (p *parser) policy(text string) []Rule {
	if n := utf8.RuneCountInString(text); n > maxText {
		p.refuse(0, "too-long", "the policy has %d characters; ECR takes at most %d", n, maxText)
		return nil
	}
	if !utf8.ValidString(text) {
		p.refuse(0, "syntax", "the policy is not UTF-8")
		return nil
	}
	if err := checkSyntax(text); err != nil {
		p.refuse(0, "syntax", "the policy is not the JSON of one: %v", err)
		return nil
	}
	top := object{parser: p, what: "the policy"}
	if !top.read(json.RawMessage(text)) {
		return nil
	}
	raw, ok := top.list("rules")
	top.end()
	if !ok {
		return nil
	}
	switch {
	case len(raw) == 0:
		p.refuse(0, "no-rules", "the policy has no rules")
	case len(raw) > maxRules:
		p.refuse(0, "too-many-rules", "the policy has %d rules; ECR takes at most %d", len(raw), maxRules)
		return nil
	}
	rules := make([]Rule, len(raw))
	for i, raw := range raw {
		p.rule(&rules[i], i, raw)
	}
	return rules
}

// rule reads one rule.
func (p *parser) rule(r *Rule, place int, raw json.RawMessage) {
	o := object{parser: p, what: fmt.Sprintf("rule number %d", place+1)}
	if !o.read(raw) {
		return
	}
	priority, ok := o.integer("rulePriority", true)
	if ok && priority < 1 {
		p.refuse(0, "priority", "%s: rulePriority is %d; it starts at 1", o.what, priority)
		ok = false
	}
	if ok {
		r.Priority, o.priority, o.what = priority, priority, fmt.Sprintf("rule %d", priority)
	}
	r.Description, _ = o.text("description", false)
	if s, ok := o.object("selection", "its selection"); ok {
		p.selection(r, &s)
		s.end()
	}
	if a, ok := o.object("action", "its action"); ok {
		p.action(r, &a)
		a.end()
	}
	o.end()
}

// selection reads what a rule selects and how it counts.
func (p *parser) selection(r *Rule, s *object) {
	status, ok := s.oneOf("tagStatus", true, string(Tagged), string(Untagged), string(Any))
	r.TagStatus = TagStatus(status)
	prefixes, hasPrefixes := s.texts("tagPrefixList")
	patterns, hasPatterns := s.texts("tagPatternList")
	r.TagPrefixes, r.TagPatterns = prefixes, patterns
	switch {
	case hasPrefixes && hasPatterns:
		p.refuse(r.Priority, "tag-lists", "%s has tagPrefixList and tagPatternList; ECR takes one of them", s.what)
	case !ok:
	case r.TagStatus != Tagged && (hasPrefixes || hasPatterns):
		p.refuse(r.Priority, "tag-lists", "%s has a list of tags beside tagStatus %s; it belongs to tagged only", s.what, r.TagStatus)
	case r.TagStatus == Tagged && len(prefixes)+len(patterns) == 0:
		p.refuse(r.Priority, "tag-lists", "%s has tagStatus tagged and neither tagPrefixList nor tagPatternList", s.what)
	}
	for _, pattern := range patterns {
		if n := strings.Count(pattern, "*"); n > maxWildcards {
			p.refuse(r.Priority, "wildcards", "%s: the pattern %s has %d wildcards; ECR takes at most %d", s.what, quote(pattern), n, maxWildcards)
		}
	}
	r.StorageClass, _ = s.oneOf("storageClass", false, standard, archive)

	count, ok := s.oneOf("countType", true, string(ImageCountMoreThan), string(SinceImagePushed), string(SinceImagePulled), string(SinceImageTransitioned))
	r.CountType = CountType(count)
	unit, hasUnit := s.text("countUnit", false)
	if ok {
		switch {
		case r.CountType == ImageCountMoreThan && hasUnit:
			p.refuse(r.Priority, "count-unit", "%s has a countUnit beside %s; it belongs to the since… types only", s.what, count)
		case r.CountType != ImageCountMoreThan && !hasUnit:
			p.refuse(r.Priority, "count-unit", "%s has no countUnit; %s needs days", s.what, count)
		case hasUnit && unit != "days":
			p.refuse(r.Priority, "count-unit", "%s has the countUnit %s; only days exists", s.what, quote(unit))
		}
		switch {
		case r.CountType == SinceImageTransitioned && r.StorageClass != archive:
			p.refuse(r.Priority, "storage-class", "%s: %s needs the storageClass archive", s.what, count)
		case r.CountType != SinceImageTransitioned && r.StorageClass == archive:
			p.refuse(r.Priority, "storage-class", "%s: the storageClass archive goes with sinceImageTransitioned only", s.what)
		}
	}
	if n, isNumber := s.integer("countNumber", true); isNumber {
		r.CountNumber = n
		switch {
		case n < 1:
			p.refuse(r.Priority, "count-number", "%s: countNumber is %d; it starts at 1", s.what, n)
		case n < minArchived && r.CountType == SinceImageTransitioned:
			p.refuse(r.Priority, "count-number", "%s: countNumber is %d; images stay in the archive for %d days at least", s.what, n, minArchived)
		}
	}
}

// action reads what a rule does, after its selection.
func (p *parser) action(r *Rule, a *object) {
	action, ok := a.oneOf("type", true, string(Expire), string(Transition))
	r.Action = Action(action)
	_, hasTarget := a.oneOf("targetStorageClass", false, archive)
	switch {
	case !ok:
	case r.Action == Expire && hasTarget:
		p.refuse(r.Priority, "action", "%s expires and has a targetStorageClass; it belongs to transition only", a.what)
	case r.Action == Transition && !hasTarget && !a.wrong("targetStorageClass"):
		p.refuse(r.Priority, "action", "%s is a transition without the targetStorageClass %s", a.what, archive)
	case r.Action == Expire && r.CountType == SinceImagePulled:
		p.refuse(r.Priority, "action", "%s expires by %s, which can only transition", a.what, r.CountType)
	case r.Action == Transition && r.CountType == SinceImageTransitioned:
		p.refuse(r.Priority, "action", "%s is a transition by %s, which can only expire", a.what, r.CountType)
	}
}

// together refuses what is wrong between the rules, which are sorted by priority.
func (p *parser) together(rules []Rule) {
	last := map[string]*Rule{} // the rule for any, by storage class
	untagged := map[string]*Rule{}
	for i := range rules {
		r := &rules[i]
		if i > 0 && rules[i-1].Priority == r.Priority {
			p.refuse(r.Priority, "priority", "two rules have the rulePriority %d", r.Priority)
		}
		class := r.class()
		if above := last[class]; above != nil {
			if r.TagStatus == Any {
				p.refuse(r.Priority, "any", "rules %d and %d are both for any image of the storage class %s", above.Priority, r.Priority, class)
			} else {
				p.refuse(above.Priority, "any", "rule %d is for any image, so it has to have the highest rulePriority; rule %d comes after it", above.Priority, r.Priority)
			}
		}
		switch r.TagStatus {
		case Any:
			last[class] = r
		case Untagged:
			if above := untagged[class]; above != nil {
				p.refuse(r.Priority, "untagged", "rules %d and %d are both for untagged images of the storage class %s; ECR takes one", above.Priority, r.Priority, class)
			}
			untagged[class] = r
		case Tagged:
		}
	}
}

// doubtful says what ECR takes but nobody can mean.
func (p *parser) doubtful(rules []Rule) {
	for i := range rules {
		r := &rules[i]
		list, name := r.TagPrefixes, "tagPrefixList"
		if len(r.TagPatterns) > 0 {
			list, name = r.TagPatterns, "tagPatternList"
		}
		seen := map[string]bool{}
		for _, entry := range list {
			if seen[entry] {
				p.doubt(r.Priority, "duplicate", "rule %d: %s has %s twice", r.Priority, name, quote(entry))
			}
			seen[entry] = true
			if entry == "" && len(r.TagPrefixes) > 0 {
				p.doubt(r.Priority, "empty", "rule %d: the empty prefix matches every tag", r.Priority)
			}
			if entry == "" && len(r.TagPatterns) > 0 {
				p.doubt(r.Priority, "never-matches", "rule %d: the empty pattern matches no tag", r.Priority)
			}
			if len(r.TagPrefixes) > 0 && strings.Contains(entry, "*") {
				p.doubt(r.Priority, "never-matches", "rule %d: a prefix has no wildcards, so %s matches no tag; tagPatternList has them", r.Priority, quote(entry))
			}
		}
		if len(seen) > 1 {
			p.doubt(r.Priority, "and", "rule %d: %s has %d entries, and an image must match each of them: note that this is AND. For OR, write a rule for each", r.Priority, name, len(seen))
		}
		p.shadowed(rules[:i], r)
	}
}

// shadowed doubts a rule whose every image is held by a rule above it.
func (p *parser) shadowed(above []Rule, r *Rule) {
	var untagged, tagged *Rule
	for i := range above {
		a := &above[i]
		if a.class() != r.class() {
			continue
		}
		if a.TagStatus == Untagged {
			untagged = a
		}
		if a.TagStatus == Tagged && a.covers(&Rule{TagStatus: Tagged, TagPatterns: []string{"*"}}) {
			tagged = a
		}
		if !a.covers(r) {
			continue
		}
		why := fmt.Sprintf("rule %d never acts: every image that it selects is held by rule %d, and is immune to all rules below that", r.Priority, a.Priority)
		switch {
		case a.Action != r.Action:
			p.doubt(r.Priority, "contradictory", "%s; rule %d would %s what rule %d would %s", why, a.Priority, a.Action, r.Priority, r.Action)
		case r.covers(a):
			p.doubt(r.Priority, "duplicate", "%s; the two select the same", why)
		default:
			p.doubt(r.Priority, "shadowed", "%s", why)
		}
		return
	}
	if r.TagStatus == Any && untagged != nil && tagged != nil {
		p.doubt(r.Priority, "shadowed", "rule %d never acts: rule %d holds every untagged image and rule %d every tagged one", r.Priority, untagged.Priority, tagged.Priority)
	}
}

// class is the storage class that a rule selects from.
func (r *Rule) class() string { return cmp.Or(r.StorageClass, standard) }

// covers reports whether a rule selects every image, of the same storage class, that another one selects.
func (r *Rule) covers(other *Rule) bool {
	if r.TagStatus == Any {
		return true
	}
	if r.TagStatus != other.TagStatus {
		return false
	}
	theirs := other.globs()
	for _, mine := range r.globs() {
		if !slices.ContainsFunc(theirs, mine.covers) {
			return false
		}
	}
	return true
}

// checkSyntax refuses text that is not one JSON value, and objects that have a key twice: which one counts is not defined.
func checkSyntax(text string) error {
	d := json.NewDecoder(strings.NewReader(text))
	if err := checkValue(d, 0); err != nil {
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the end of the policy")
	}
	return nil
}

func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if depth > 10 {
		return errors.New("nested too deeply")
	}
	switch t {
	case json.Delim('{'):
		keys := map[string]bool{}
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name, _ := key.(string)
			if keys[name] {
				return fmt.Errorf("the key %s stands twice in one object", quote(name))
			}
			keys[name] = true
			if err := checkValue(d, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for d.More() {
			if err := checkValue(d, depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = d.Token()
	return err
}

// object is a JSON object that is read key by key. Keys are compared as they stand, unlike encoding/json does.
type object struct {
	*parser
	what     string
	priority int
	values   map[string]json.RawMessage
	bad      []string
}

func (o *object) read(raw json.RawMessage) bool {
	if !bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) || json.Unmarshal(raw, &o.values) != nil {
		o.refuse(o.priority, "syntax", "%s is no object", o.what)
		return false
	}
	return true
}

// take removes a key and reads its value into v.
func (o *object) take(key string, required bool, v any, kind string) bool {
	raw, ok := o.values[key]
	delete(o.values, key)
	if !ok {
		if required {
			o.refuse(o.priority, "missing", "%s has no %s", o.what, key)
		}
		return false
	}
	if bytes.Equal(raw, []byte("null")) || json.Unmarshal(raw, v) != nil {
		o.refuse(o.priority, "syntax", "%s: %s is not %s", o.what, key, kind)
		o.bad = append(o.bad, key)
		return false
	}
	return true
}

// wrong: the key was there, with a value that was refused.
func (o *object) wrong(key string) bool { return slices.Contains(o.bad, key) }

// end refuses the keys that nobody took.
func (o *object) end() {
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		o.refuse(o.priority, "unknown-key", "%s has the key %s, which ECR does not know", o.what, quote(key))
	}
}

func (o *object) text(key string, required bool) (s string, ok bool) {
	ok = o.take(key, required, &s, "a string")
	return s, ok
}

func (o *object) oneOf(key string, required bool, values ...string) (string, bool) {
	s, ok := o.text(key, required)
	if ok && !slices.Contains(values, s) {
		o.refuse(o.priority, "value", "%s: %s is %s; ECR knows %s", o.what, key, quote(s), strings.Join(values, ", "))
		o.bad = append(o.bad, key)
		return "", false
	}
	return s, ok
}

func (o *object) texts(key string) ([]string, bool) {
	var raw []*string
	if !o.take(key, false, &raw, "a list of strings") {
		return nil, false
	}
	list := make([]string, 0, len(raw))
	for _, s := range raw {
		if s == nil {
			o.refuse(o.priority, "syntax", "%s: %s is not a list of strings", o.what, key)
			return nil, true
		}
		list = append(list, *s)
	}
	return list, true
}

func (o *object) list(key string) (list []json.RawMessage, ok bool) {
	ok = o.take(key, true, &list, "a list")
	return list, ok
}

func (o *object) integer(key string, required bool) (int, bool) {
	var n json.RawMessage
	if !o.take(key, required, &n, "a whole number") {
		return 0, false
	}
	i, err := strconv.Atoi(string(n))
	if err != nil || i > math.MaxInt32 || i < math.MinInt32 {
		o.refuse(o.priority, "syntax", "%s: %s is not a whole number of 32 bits", o.what, key)
		return 0, false
	}
	return i, true
}

func (o *object) object(key, what string) (object, bool) {
	in := object{parser: o.parser, what: o.what + ", " + what, priority: o.priority}
	var raw json.RawMessage
	if !o.take(key, true, &raw, "an object") {
		return in, false
	}
	return in, in.read(raw)
}

// quote makes text of a policy fit for a message: no control characters, no endless lines.
func quote(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.QuoteToGraphic(s)
}
