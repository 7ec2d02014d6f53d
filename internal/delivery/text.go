package delivery

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// harmless removes what controls a terminal or the order of characters, and what XML, which SNS and SQS speak, does
// not take. Line feeds and tabs stay, as do the joiners of emoji and scripts.
func harmless(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(strings.ToValidUTF8(s, "\uFFFD"))
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\u200c' || r == '\u200d':
			return r
		case r == '\u2028' || r == '\u2029':
			return '\n'
		case r&0xFFFE == 0xFFFE || unicode.In(r, unicode.Cc, unicode.Cf):
			return -1
		}
		return r
	}, s)
}

// plain reports whether text is harmless and on one line.
func plain(s string) bool { return !strings.ContainsAny(s, "\n\t") && harmless(s) == s }

// oneLine is harmless text of at most limit characters, with a single space where it had any white space.
func oneLine(s string, limit int) string {
	s = strings.Join(strings.Fields(harmless(s)), " ")
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:limit-3]), " ") + "..."
}

// asciiLine is oneLine for those who take ASCII only.
func asciiLine(s string, limit int) string {
	return oneLine(strings.Map(func(r rune) rune {
		switch {
		case r == '–' || r == '—' || r == '−':
			return '-'
		case r == '\u200c' || r == '\u200d':
			return -1
		case r > unicode.MaxASCII && !unicode.IsSpace(r):
			return '?'
		}
		return r
	}, harmless(s)), limit)
}

// cut leaves at most limit bytes of a text, with a note where there was more.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	const note = "\n[cut: the rest is in the report]\n"
	end := max(limit-len(note), 0)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + note
}

// megabytes is a size as people read it.
func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
