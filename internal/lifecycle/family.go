package lifecycle

import (
	"strings"

	"demurrage/internal/image"
)

// family is what a tag is one of many of, as patterns for a rule.
type family struct {
	patterns []string // the widest first
	exact    bool     // the last of them is the tag itself
}

const separators = "-_./"

// familyOf guesses what a tag is one of many of: prod-17 is of prod-*, v1.2.3 of v*, rel-web-4f3a9c1 of rel-* and rel-web-*,
// 17-dev of *-dev. A plain number, date or hash is of no family: no pattern tells it from another.
//
// A tag in which nothing runs (latest, prod, main-arm) is a name that moves from image to image; it is a family of its own,
// and of what stands before its separators.
func familyOf(tag string) family {
	if strings.Contains(tag, "*") {
		return family{} // not a tag
	}
	if _, ok := image.SubjectOfTag(tag); ok {
		return family{patterns: []string{"sha256-*"}}
	}
	stem, tail, runs := split(tag)
	var f family
	for i := range stem {
		if i+1 < len(stem) && strings.IndexByte(separators, stem[i]) >= 0 && i > 0 {
			f.patterns = append(f.patterns, stem[:i+1]+"*")
		}
	}
	switch {
	case !runs:
		f.patterns, f.exact = append(f.patterns, tag), true
	case stem != "":
		f.patterns = append(f.patterns, stem+"*")
	case tail != "":
		f.patterns = append(f.patterns, "*"+tail)
	}
	return f
}

// split cuts a tag at its running parts (numbers and hashes): what stands before the first of them and after the last. If
// nothing in it runs, all of it is stem.
func split(tag string) (stem, tail string, runs bool) {
	for start := 0; start < len(tag); {
		end := len(tag)
		if n := strings.IndexAny(tag[start:], separators); n >= 0 {
			end = start + n
		}
		if word := tag[start:end]; running(word) {
			if !runs {
				stem = tag[:start]
				if !isHash(word) {
					stem += lead(word)
				}
			}
			runs, tail = true, tag[end:]
		}
		start = end + 1
	}
	if !runs {
		return tag, "", false
	}
	if strings.Trim(tail, separators) == "" {
		tail = ""
	}
	return stem, tail, true
}

// running: the word is a number, a hash, or has a digit in it.
func running(word string) bool { return strings.ContainsAny(word, "0123456789") || isHash(word) }

// isHash: an abbreviated commit, or more of one.
func isHash(word string) bool {
	return len(word) >= 7 && strings.Trim(word, "0123456789abcdefABCDEF") == ""
}

// lead is the letters before a number: v of v17. Of a word that is letters and digits mixed it is nothing.
func lead(word string) string {
	letters := strings.TrimRight(word, "0123456789")
	if strings.ContainsAny(letters, "0123456789") {
		return ""
	}
	return letters
}
