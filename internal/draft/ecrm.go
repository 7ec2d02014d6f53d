package draft

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// ecrm is the configuration of ecrm, as of its version 0.7: https://github.com/fujiwara/ecrm#configurations.
type ecrm struct {
	Clusters         []ecrmNamed      `yaml:"clusters"`
	EKSClusters      yaml.Node        `yaml:"eks_clusters"` // of newer versions; whatever it says, every cluster is looked at
	TaskDefinitions  []ecrmGeneration `yaml:"task_definitions"`
	LambdaFunctions  []ecrmGeneration `yaml:"lambda_functions"`
	ExternalCommands []ecrmCommand    `yaml:"external_commands"`
	Repositories     []ecrmRepository `yaml:"repositories"`
}

type ecrmNamed struct {
	Name        string `yaml:"name"`
	NamePattern string `yaml:"name_pattern"`
}

type ecrmGeneration struct {
	ecrmNamed  `yaml:",inline"`
	KeepCount  int64 `yaml:"keep_count"`
	KeepAliase *bool `yaml:"keep_aliase"` // of functions; obsolete there
}

type ecrmRepository struct {
	ecrmNamed       `yaml:",inline"`
	Expires         string   `yaml:"expires"`
	KeepCount       int64    `yaml:"keep_count"`
	KeepTagPatterns []string `yaml:"keep_tag_patterns"`
}

type ecrmCommand struct {
	Command []string          `yaml:"command"`
	Env     map[string]string `yaml:"env"`
	Dir     string            `yaml:"dir"`
	Timeout string            `yaml:"timeout"`
}

// ecrmKeep is how many generations ecrm keeps where its configuration does not say.
const ecrmKeep = 5

// translation is an ecrm configuration on its way.
type translation struct {
	name     string
	places   *yaml.Node
	problems []error
}

// FromECRM translates a configuration of ecrm; name is what errors call its file. Every point where the meaning changes
// has a note at the place that it concerns. What ecrm does not know, or would refuse, is an error with its line; the errors
// of all entries are joined.
//
// ecrm knows one account and one region, which its configuration does not name: accounts and regions are still to be filled in.
func FromECRM(name string, data []byte) (Config, error) {
	var e ecrm
	t := translation{name: name}
	if err := t.read(data, &e); err != nil {
		return Config{}, err
	}
	c := Config{Origin: "the ecrm configuration " + name, Notes: []string{
		`ecrm deletes wherever it runs. Here no account is deleted from until it has enforce = true.`,
		`ecrm looks for uses in the ECS clusters, task definitions and functions that its configuration matches, of one account and region. ` +
			`Here every source is always looked at, in every enabled region, so that more is kept. What cannot be read blocks deletions (exit code 2).`,
		`ecrm deletes the last image of a repository, too; here the newest is left, unless a [[repositories]] entry says allow_empty = true. ` +
			`And nothing younger than [safety] min_age, a day, goes.`,
		`What ecrm was given with --scanned-files comes in with "demurrage uses import", which reads its format.`,
	}}
	if len(e.Clusters) > 0 {
		var names []string
		for i, cluster := range e.Clusters {
			if cluster.Name == "" && cluster.NamePattern == "" {
				t.reject("clusters", i, "has neither name nor name_pattern")
			}
			for _, text := range []string{cluster.Name, cluster.NamePattern} {
				if text != "" {
					names = append(names, quote(text))
				}
			}
		}
		c.Notes = append(c.Notes, "clusters ("+strings.Join(names, ", ")+") has no counterpart: every ECS cluster is always looked at.")
	} else {
		c.Notes = append(c.Notes, "ecrm looked at no ECS cluster, since its configuration names none. Here every one is always looked at.")
	}
	if !e.EKSClusters.IsZero() {
		c.Notes = append(c.Notes, "eks_clusters has no counterpart: every EKS cluster is always looked at.")
	}
	if len(e.TaskDefinitions) == 0 {
		c.Notes = append(c.Notes, "ecrm looked at no task definition beside those that run, since its configuration names none. Here the newest 5 revisions of every family count as used.")
	}
	if len(e.LambdaFunctions) == 0 {
		c.Notes = append(c.Notes, "ecrm looked at no function, since its configuration names none. Here every published version of every function counts as used.")
	}
	c.TaskDefinitions = t.generations("task_definitions", e.TaskDefinitions)
	c.Functions = t.generations("lambda_functions", e.LambdaFunctions)
	if len(e.TaskDefinitions) > 0 {
		note(c.TaskDefinitions, "ecrm does not look at a family that nothing matches. Here its newest 5 revisions count as used.")
	}
	if len(e.LambdaFunctions) > 0 {
		note(c.Functions, "ecrm does not look at a function that nothing matches. Here all its published versions count as used. "+
			"And ecrm counts $LATEST among keep_count, and aliased versions not; here keep_count is of published versions, aliased ones among them. Both are always kept.")
	}
	for i := range e.Repositories {
		c.Repositories = append(c.Repositories, t.repository(i, &e.Repositories[i]))
	}
	names := map[string]bool{}
	for i := range e.ExternalCommands {
		c.Commands = append(c.Commands, t.command(i, &e.ExternalCommands[i], names))
	}
	if len(t.problems) > 0 {
		return Config{}, errors.Join(t.problems...)
	}
	return c, nil
}

// note says something at the first of some entries.
func note(rules []Rule, text string) {
	if len(rules) > 0 {
		rules[0].Notes = append([]string{text}, rules[0].Notes...)
	}
}

// inType is what the YAML library adds of this program's types.
var inType = regexp.MustCompile(` (?:not found )?(?:already set )?in(?: type|to) draft\.\w+$`)

// read decodes one document and nothing besides, and keeps where everything stands.
func (t *translation) read(data []byte, e *ecrm) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	switch err := dec.Decode(e); {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: it is empty", t.name)
	case err != nil:
		return t.syntax(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: there is more than one YAML document in it, and ecrm reads only the first: leave that one alone", t.name)
	}
	t.places = &yaml.Node{}
	if err := yaml.Unmarshal(data, t.places); err != nil {
		return t.syntax(err)
	}
	// The decoder passes over them, and would number the others anew.
	var problems []error
	for list, entries := range t.lists() {
		for i, entry := range entries {
			if entry.Tag == "!!null" {
				problems = append(problems, fmt.Errorf("%s:%d: %s[%d] is empty", t.name, entry.Line, list, i))
			}
		}
	}
	return errors.Join(problems...)
}

// lists are the lists of the document, in its order.
func (t *translation) lists() iter.Seq2[string, []*yaml.Node] {
	return func(yield func(string, []*yaml.Node) bool) {
		if len(t.places.Content) == 0 {
			return
		}
		root := t.places.Content[0].Content
		for k := 0; k+1 < len(root); k += 2 {
			list := root[k+1]
			if list.Alias != nil {
				list = list.Alias
			}
			if list.Kind == yaml.SequenceNode && !yield(root[k].Value, list.Content) {
				return
			}
		}
	}
}

// syntax makes of an error of the YAML library one with file and line.
func (t *translation) syntax(err error) error {
	texts := []string{strings.TrimPrefix(err.Error(), "yaml: ")}
	if list, ok := errors.AsType[*yaml.TypeError](err); ok {
		texts = list.Errors
	}
	var problems []error
	for _, text := range texts {
		text = inType.ReplaceAllString(text, "")
		if field, ok := strings.CutPrefix(text[strings.Index(text, ": ")+1:], " field "); ok {
			text = text[:strings.Index(text, ": ")] + ": " + strconv.Quote(field) + " is no key of ecrm's configuration there, or is given twice"
		}
		if line, rest, ok := strings.Cut(strings.TrimPrefix(text, "line "), ": "); ok && strings.HasPrefix(text, "line ") {
			problems = append(problems, fmt.Errorf("%s:%s: %s", t.name, line, rest))
		} else {
			problems = append(problems, fmt.Errorf("%s: %s", t.name, text))
		}
	}
	return errors.Join(problems...)
}

// reject notes a problem of the i-th entry of a list.
func (t *translation) reject(list string, i int, format string, args ...any) {
	at := t.name
	if line := t.line(list, i); line > 0 {
		at += ":" + strconv.Itoa(line)
	}
	t.problems = append(t.problems, fmt.Errorf("%s: %s[%d] %s", at, list, i, fmt.Sprintf(format, args...)))
}

func (t *translation) line(list string, i int) int {
	for name, entries := range t.lists() {
		if name == list && i < len(entries) {
			return entries[i].Line
		}
	}
	return 0
}

// pattern takes over the one of name and name_pattern that is given. They mean here what they mean in ecrm.
func (t *translation) pattern(list string, i int, n ecrmNamed) (Pattern, []string) {
	switch {
	case n.Name != "" && n.NamePattern != "":
		t.reject(list, i, "has both name and name_pattern: ecrm takes only one of them")
	case n.Name == "" && n.NamePattern == "":
		t.reject(list, i, "has neither name nor name_pattern, so that it matches nothing in ecrm")
	case n.Name != "" && strings.ContainsAny(n.Name, "*?"):
		return Pattern{Text: n.Name, Exact: true}, []string{
			`"name" is compared as it stands, in ecrm too, so that this matches nothing. If all were meant, write name_pattern.`}
	case n.Name != "":
		return Pattern{Text: n.Name, Exact: true}, nil
	}
	return Pattern{Text: n.NamePattern}, nil
}

// keepCount checks a number. ecrm refuses none.
func (t *translation) keepCount(list string, i int, n int64) int {
	if n < 0 || n > math.MaxInt32/4 {
		t.reject(list, i, "has a keep_count of %d, of which demurrage can make nothing", n)
		return 0
	}
	return int(n)
}

func (t *translation) generations(list string, entries []ecrmGeneration) []Rule {
	var rules []Rule
	for i, e := range entries {
		p, notes := t.pattern(list, i, e.ecrmNamed)
		r := Rule{Pattern: p, Notes: notes, KeepCount: t.keepCount(list, i, e.KeepCount)}
		if e.KeepAliase != nil {
			if list != "lambda_functions" {
				t.reject(list, i, "has keep_aliase, which ecrm knows for functions only")
			}
			r.Notes = append(r.Notes, "keep_aliase is left out: aliased versions are always kept, as in ecrm since 0.6.")
		}
		if r.KeepCount == 0 {
			r.KeepCount = ecrmKeep
			r.Notes = append(r.Notes, "ecrm's default of keep_count is written out.")
		}
		rules = append(rules, r)
	}
	return rules
}

func (t *translation) repository(i int, e *ecrmRepository) Rule {
	const list = "repositories"
	p, notes := t.pattern(list, i, e.ecrmNamed)
	r := Rule{Pattern: p, Notes: notes, KeepCount: t.keepCount(list, i, e.KeepCount), KeepTags: e.KeepTagPatterns}
	switch d, err := ecrmDuration(e.Expires); {
	case e.Expires == "":
		t.reject(list, i, "has no expires, without which ecrm does not start")
	case err != nil:
		t.reject(list, i, "has expires %q, %v", e.Expires, err)
	case d <= 0:
		t.reject(list, i, "has expires %q, which is no time at all", e.Expires)
	default:
		text, exact := duration(d)
		r.Expires = text
		if !exact {
			r.Notes = append(r.Notes, fmt.Sprintf("expires was %s: ages are counted in whole hours here, rounded up.", quote(e.Expires)))
		}
	}
	if slices.Contains(r.KeepTags, "") {
		t.reject(list, i, "has an empty text among keep_tag_patterns, which matches no tag")
	}
	if len(r.KeepTags) == 0 {
		r.KeepTags = []string{DefaultKeepTag}
		r.Notes = append(r.Notes, "ecrm's default of keep_tag_patterns is written out.")
	}
	if r.KeepCount > 0 {
		r.UntaggedExpires = r.Expires
		r.Notes = append(r.Notes,
			fmt.Sprintf("keep_count means less than in ecrm: there the newest %d are kept of those tagged images that have expired and are not in use, "+
				"images and indexes counted apart; here the newest %d of all tagged ones, used or young ones among them. Raise it to keep as many as before.", r.KeepCount, r.KeepCount),
			"untagged_expires keeps untagged images out of keep_count, as in ecrm.")
	}
	return r
}

// ecrmToken is a number and a unit. ecrm allows blanks anywhere, signs before the number, and any case.
// https://github.com/k1LoW/duration#supported-unit-of-time
var ecrmToken = regexp.MustCompile(`^([+-]*)([0-9.]+)([a-zµ]+)`)

var ecrmUnits = map[string]time.Duration{
	"ns": 1, "nsec": 1, "nanosecond": 1,
	"us": time.Microsecond, "usec": time.Microsecond, "microsecond": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond, "millisecond": time.Millisecond,
	"s": time.Second, "sec": time.Second, "second": time.Second,
	"m": time.Minute, "min": time.Minute, "minute": time.Minute,
	"h": time.Hour, "hour": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour,
}

func ecrmDuration(text string) (time.Duration, error) {
	rest := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	sum := 0.0
	for rest != "" {
		m := ecrmToken.FindStringSubmatch(rest)
		if m == nil {
			return 0, errors.New(`which is not a duration of ecrm (as in "30days")`)
		}
		unit, ok := ecrmUnits[m[3]]
		if long, plural := strings.CutSuffix(m[3], "s"); !ok && plural && len(long) > 3 || m[3] == "days" {
			unit, ok = ecrmUnits[long]
		}
		n, err := strconv.ParseFloat(m[2], 64)
		if !ok || err != nil {
			return 0, fmt.Errorf("where %s is not a duration of ecrm (as in %q)", quote(m[0]), "30days")
		}
		if strings.HasSuffix(m[1], "-") {
			n = -n
		}
		sum += n * float64(unit)
		rest = rest[len(m[0]):]
	}
	if sum > math.MaxInt64/2 {
		return 0, errors.New("which is more than anybody lives to see")
	}
	return time.Duration(sum), nil
}

// duration writes a time as accounts.toml has it, in whole hours, rounded up.
func duration(d time.Duration) (text string, exact bool) {
	hours := (d + time.Hour - 1) / time.Hour
	if hours%24 == 0 {
		text = fmt.Sprintf("%dd", hours/24)
	} else {
		text = fmt.Sprintf("%dh", hours)
	}
	return text, hours*time.Hour == d
}

// commandName is what a name may not have in it.
var commandName = regexp.MustCompile(`[^0-9A-Za-z._-]+`)

// command takes over an external command. names are those that are taken.
func (t *translation) command(i int, e *ecrmCommand, names map[string]bool) Command {
	const list = "external_commands"
	if len(e.Command) == 0 || e.Command[0] == "" {
		t.reject(list, i, "has no command")
		return Command{}
	}
	for _, text := range slices.Concat(e.Command, slices.Collect(maps.Values(e.Env)), slices.Collect(maps.Keys(e.Env)), []string{e.Dir}) {
		if strings.ContainsRune(text, 0) {
			t.reject(list, i, "has a NUL character in it")
			return Command{}
		}
	}
	c := Command{Command: e.Command, Notes: []string{"A command that fails, or prints what cannot be read, blocks every deletion here; ecrm stops."}}
	base := strings.TrimLeft(commandName.ReplaceAllString(path.Base(e.Command[0]), "-"), "._-")
	if base = base[:min(len(base), 90)]; base == "" {
		base = "command"
	}
	c.Name = base
	for n := 2; names[c.Name]; n++ {
		c.Name = fmt.Sprintf("%s-%d", base, n)
	}
	names[c.Name] = true
	if e.Dir != "" {
		c.Command = append([]string{"sh", "-c", `cd -- "$0" && exec "$@"`, e.Dir}, c.Command...)
		c.Notes = append(c.Notes, "dir has no counterpart: a shell changes the directory first.")
	}
	if len(e.Env) > 0 {
		set := []string{"env"}
		for _, key := range slices.Sorted(maps.Keys(e.Env)) {
			if key == "" || strings.Contains(key, "=") {
				t.reject(list, i, "has %q as the name of a variable in env", key)
			}
			set = append(set, key+"="+e.Env[key])
		}
		c.Command = append(set, c.Command...)
		c.Notes = append(c.Notes, "env has no counterpart: env(1) sets the variables. They can be seen in the list of processes; if one is a secret, have the command read it from elsewhere.")
	}
	c.Timeout = "1h"
	if e.Timeout == "" {
		c.Notes = append(c.Notes, "ecrm waits for it for ever; here for an hour, the longest that there is.")
		return c
	}
	d, err := time.ParseDuration(e.Timeout)
	if err != nil || d <= 0 {
		t.reject(list, i, "has timeout %q, which is not a duration (as in 30s)", e.Timeout)
		return c
	}
	if d > time.Hour {
		c.Notes = append(c.Notes, fmt.Sprintf("timeout was %s; an hour is the longest here.", quote(e.Timeout)))
		return c
	}
	seconds := (d + time.Second - 1) / time.Second
	c.Timeout = fmt.Sprintf("%ds", seconds)
	if seconds*time.Second != d {
		c.Notes = append(c.Notes, fmt.Sprintf("timeout was %s: whole seconds, rounded up.", quote(e.Timeout)))
	}
	return c
}
