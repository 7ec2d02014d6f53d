// Package draft writes the first accounts.toml of a company: from what its accounts hold, or from the configuration
// of ecrm. What it writes loads as it is, deletes nothing as it is (no account has enforce = true), and says in comments
// what it is made of and what could not be seen.
//
// It must never vouch for anything (attestations are a person's), never let a name or an error text of AWS break out
// of its string or comment, and never change anything in AWS.
package draft

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"text/template"
	"unicode"
	"unicode/utf8"
)

// The retention of rules that nobody has asked for otherwise: ecrm's.
const (
	DefaultExpires   = "30d"
	DefaultKeepCount = 5
	DefaultKeepTag   = "latest"
)

// Config is an accounts.toml to be written. Its texts may be anything: they are written so that they stay texts.
type Config struct {
	Origin string   // what it was made from: the first line
	Notes  []string // of the whole, a comment each

	Role, SweepRole, ExternalID, HubRole string // as [assume] takes them; "": none

	Discover bool
	Regions  []string // whose registries are planned; nil: all
	Missing  []string // accounts whose registries could not be looked for: they may lie in other regions

	Accounts        []Account // by id
	Closed          []Account // of the organization, but not to be entered
	TaskDefinitions []Rule
	Functions       []Rule
	Repositories    []Rule
	Commands        []Command
}

// Account is an account with what is to be said of it.
type Account struct {
	ID, Name string
	State    string // of those that are closed
	Notes    []string
}

// Rule is one entry of [[task_definitions]], [[lambda_functions]] or [[repositories]].
type Rule struct {
	Pattern
	Notes           []string
	KeepCount       int // 0: the key is left out, as are those that are "" or empty
	Expires         string
	UntaggedExpires string
	KeepTags        []string
}

// Command is one entry of [[external_commands]].
type Command struct {
	Name    string
	Command []string
	Timeout string
	Notes   []string
}

//go:embed accounts.toml.tmpl
var text string

var file = template.Must(template.New("accounts.toml").Funcs(template.FuncMap{
	"quote":   quote,
	"list":    list,
	"plain":   plain,
	"comment": comment,
	"join":    func(texts []string) string { return strings.Join(texts, ", ") },
	"names":   func(n int, what string) string { return count(n, what) },
}).Parse(text))

// Write writes the file.
func Write(w io.Writer, c Config) error { return file.Execute(w, c) }

// quote is a string of TOML. Whatever does not print is escaped: what turns the direction of a text would show another
// name than the one that counts.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, string(utf8.RuneError)) {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			escape(&b, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func escape(b *strings.Builder, r rune) {
	if r > 0xFFFF {
		fmt.Fprintf(b, `\U%08X`, r)
		return
	}
	fmt.Fprintf(b, `\u%04X`, r)
}

func list(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = quote(t)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// plain is a text for a comment: on one line, of what prints, and no longer than anybody reads.
func plain(s string) string {
	const most = 1000
	var b strings.Builder
	n := 0
	for _, r := range strings.ToValidUTF8(s, string(utf8.RuneError)) {
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		if unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			escape(&b, r)
		}
	}
	return b.String()
}

// comment is a text as comment lines no wider than a terminal, as far as its words allow.
func comment(label, s string) string {
	const width = 118
	var lines []string
	line := "#"
	for _, word := range strings.Fields(label + plain(s)) {
		if line != "#" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = "#"
		}
		line += " " + word
	}
	return strings.Join(append(lines, line), "\n")
}

// count is "1 repository", "2 repositories".
func count(n int, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "y"):
		what = strings.TrimSuffix(what, "y") + "ies"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
