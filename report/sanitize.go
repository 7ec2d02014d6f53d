package report

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible makes text safe to print: line breaks and tabs become a space, and whatever controls a terminal or the
// order of characters (control and format characters, broken UTF-8) is written out as an escape.
func visible(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsGraphic(r) || r != ' ' && unicode.IsSpace(r)
	}) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.IsGraphic(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// cellText makes text safe for a table that people open in a spreadsheet: characters that XML forbids, that control
// a terminal or that reorder what is read are removed. Tabs and line breaks stay, as do the joiners of emoji and scripts.
func cellText(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || !inCell(r) }) {
		return s
	}
	return strings.Map(func(r rune) rune {
		if inCell(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func inCell(r rune) bool {
	switch r {
	case '\t', '\n', '\r', '\u200c', '\u200d':
		return true
	case '\uFFFE', '\uFFFF':
		return false
	}
	return !unicode.In(r, unicode.Cc, unicode.Cf)
}

// csvText is cellText that no spreadsheet takes for a formula.
func csvText(s string) string {
	s = cellText(s)
	if s != "" && strings.IndexByte("=+-@\t\r\n", s[0]) >= 0 {
		return "'" + s
	}
	return s
}
