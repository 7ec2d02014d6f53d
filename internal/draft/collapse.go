package draft

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"demurrage/internal/image"
)

// mostPatterns is how many patterns of a kind people read.
const mostPatterns = 50

// separators end the prefix that names share, as ecrm has them.
const separators = "/_-"

// Pattern is a name, or what several names have in common.
type Pattern struct {
	Text  string
	Exact bool // Text is a name: * and ? are themselves
	Names int  // that it was made of; 0: it was not made of names
}

// Match reports whether a name is meant.
func (p Pattern) Match(name string) bool {
	if p.Exact {
		return image.Exact(p.Text).Match(name)
	}
	return image.Glob(p.Text).Match(name)
}

// Collapse finds few patterns that together match all names, the most specific first. Names that share what stands
// before their first "/", "_" or "-" become one pattern; a name that shares it with no other stays itself, and so does
// one whose beginning has wildcards in it. Where that leaves more than 50, those that stand for most names are left and
// "*", the last, is for the rest. The same names in any order give the same patterns.
//
// What is no UTF-8 is left out: no AWS service has such names, and TOML could not name it.
func Collapse(names []string) []Pattern {
	groups := map[string][]string{}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if name == "" || !utf8.ValidString(name) {
			continue
		}
		key := name
		if i := strings.IndexAny(name, separators); i >= 0 && !strings.ContainsAny(name[:i], "*?") {
			key = name[:i+1]
		}
		groups[key] = append(groups[key], name)
	}
	var patterns []Pattern
	for key, members := range groups {
		if len(members) == 1 {
			patterns = append(patterns, Pattern{Text: members[0], Exact: true, Names: 1})
		} else {
			patterns = append(patterns, Pattern{Text: key + "*", Names: len(members)})
		}
	}
	if len(patterns) > mostPatterns {
		slices.SortFunc(patterns, func(a, b Pattern) int {
			return cmp.Or(cmp.Compare(b.Names, a.Names), cmp.Compare(a.Text, b.Text))
		})
		rest := Pattern{Text: "*"}
		for _, p := range patterns[mostPatterns-1:] {
			rest.Names += p.Names
		}
		patterns = append(patterns[:mostPatterns-1], rest)
	}
	slices.SortFunc(patterns, func(a, b Pattern) int {
		if a.Exact != b.Exact {
			if a.Exact {
				return -1
			}
			return 1
		}
		if !a.Exact {
			if c := cmp.Compare(len(b.Text), len(a.Text)); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.Text, b.Text)
	})
	return patterns
}
