package image

import (
	"regexp"
	"strings"
)

// Pattern matches names as the configuration writes them: "*" is any text, "/" included, "?" is one character, and
// everything else is itself. The zero value matches nothing.
type Pattern struct {
	text string
	re   *regexp.Regexp // nil: text is compared as it stands
}

// Glob makes a pattern of a text with wildcards.
func Glob(text string) Pattern {
	if !strings.ContainsAny(text, "*?") {
		return Pattern{text: text}
	}
	expr := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(text))
	return Pattern{text: text, re: regexp.MustCompile(`(?s)\A` + expr + `\z`)}
}

// Exact makes a pattern that matches one name, whose "*" and "?" are themselves.
func Exact(text string) Pattern { return Pattern{text: text} }

// Match reports whether the pattern matches the whole of name.
func (p Pattern) Match(name string) bool {
	if p.re == nil {
		return p.text != "" && p.text == name
	}
	return p.re.MatchString(name)
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }
