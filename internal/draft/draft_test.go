package draft

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"demurrage/accounts"
	"demurrage/internal/scan"
	"demurrage/planner"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestActionsAreThoseOfAScan(t *testing.T) {
	for _, action := range Actions() {
		if !slices.Contains(scan.Actions(), action) {
			t.Errorf("the role for scanning lacks %s", action)
		}
	}
}

func TestCollapse(t *testing.T) {
	numbered := func(n int, format string) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf(format, i))
		}
		return names
	}
	for _, tt := range []struct {
		name  string
		names []string
		want  string
	}{
		{name: "nothing"},
		{"alone", []string{"web"}, "=web"},
		{"alone with a separator", []string{"prod/web"}, "=prod/web"},
		{"shared", []string{"prod/web", "prod/api"}, "prod/*"},
		{"each separator is its own", []string{"a-1", "a-2", "a_1", "a_2", "a/1"}, "=a/1 a-* a_*"},
		{"the first separator counts", []string{"a-b/c", "a-d_e"}, "a-*"},
		{"twice is once", []string{"web-1", "web-1"}, "=web-1"},
		{"the prefix alone", []string{"prod", "prod/", "prod/web"}, "=prod prod/*"},
		{"nothing before the separator", []string{"-a", "-b"}, "-*"},
		{"wildcards before it", []string{"a*-1", "a*-2", "b?-1", "b?-2"}, "=a*-1 =a*-2 =b?-1 =b?-2"},
		{"wildcards behind it", []string{"a-*", "a-?"}, "a-*"},
		{"specific first", []string{"zz-1", "a-1", "a-2", "long-1", "long-2"}, "=zz-1 long-* a-*"},
		{"empty and no UTF-8", []string{"", "a\xff", "b"}, "=b"},
		{"50 are not too many", numbered(50, "n%02d"), "=" + strings.Join(numbered(50, "n%02d"), " =")},
		{"51 are", append(numbered(51, "n%02d"), "team-a", "team-b"), "=" + strings.Join(numbered(48, "n%02d"), " =") + " team-* *"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Collapse(tt.names) {
				text := p.Text
				if p.Exact {
					text = "=" + text
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// hostile is text that wants out of strings and comments.
var hostile = []string{
	"\n", "\r", "\r\n", "\"", `"""`, "'", `\`, `\"`, "#", "[[accounts]]", "\nenforce = true\n", "\u2028", "\u2029", "\u0085", "\x00", "\x1b[31m", "\x7f",
	"\u202e", "\ufeff", "é", "😀", "\U000e0001", "*", "?", "=", "]", "{{.}}", "-", "/", "_", "a", "B", " ", "\t", "\v", "\f",
}

func randomName(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(8) {
		b.WriteString(hostile[r.IntN(len(hostile))])
	}
	return b.String()
}

// TestCollapseProperty: every name has a pattern, none is in vain, there are few, and neither the order of the names nor
// naming one twice matters.
func TestCollapseProperty(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		var names []string
		plainNames := r.IntN(2) == 0
		for range r.IntN(200) {
			name := randomName(r)
			if plainNames {
				name = fmt.Sprintf("%c%c%d", 'a'+rune(r.IntN(26)), separators[r.IntN(3)], r.IntN(20))
			}
			names = append(names, name)
		}
		patterns := Collapse(names)
		if len(patterns) > mostPatterns {
			t.Fatalf("%d patterns", len(patterns))
		}
		hits := map[int]map[string]bool{}
		for _, name := range names {
			i := slices.IndexFunc(patterns, func(p Pattern) bool { return p.Match(name) })
			if i < 0 {
				t.Fatalf("%q matches none of %v", name, patterns)
			}
			if hits[i] == nil {
				hits[i] = map[string]bool{}
			}
			hits[i][name] = true
		}
		for i, p := range patterns {
			if len(hits[i]) != p.Names {
				t.Fatalf("%q is the first match of %d names, and says %d", p.Text, len(hits[i]), p.Names)
			}
		}
		names = append(names, names...)
		r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		if diff := cmp.Diff(patterns, Collapse(names)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestTenThousandNames(t *testing.T) {
	var names []string
	for i := range 10_000 {
		names = append(names, fmt.Sprintf("team%d/service-%d", i%700, i))
	}
	patterns := Collapse(names)
	sum := 0
	for _, p := range patterns {
		sum += p.Names
	}
	if last := patterns[len(patterns)-1]; len(patterns) != mostPatterns || sum != len(names) || last.Text != "*" || last.Exact {
		t.Errorf("%d patterns for %d names, the last is %q", len(patterns), sum, last.Text)
	}
}

func load(t *testing.T, c Config) *accounts.Config {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "accounts.toml")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := accounts.Load(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, &b)
	}
	for i, line := range strings.Split(b.String(), "\n") {
		for _, r := range line {
			if r < ' ' || r == 0x7f || r == 0x202e {
				t.Fatalf("line %d has %U in it", i+1, r)
			}
		}
	}
	return config
}

// TestHostileText: names, notes and error texts come back as they were or stay comments, whatever they are.
func TestHostileText(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		c := Config{Origin: randomName(r), Notes: []string{randomName(r)}, Role: "DemurrageRead", SweepRole: "DemurrageSweep", Discover: true}
		var seen []Seen
		var names []string
		for i := range 1 + r.IntN(5) {
			s := Seen{ID: fmt.Sprintf("%012d", i+1), Name: randomName(r), Repositories: map[string][]string{}, Families: map[string][]string{}, Functions: map[string][]string{}}
			for range r.IntN(10) {
				name := randomName(r)
				names = append(names, name)
				s.Repositories["us-east-1"] = append(s.Repositories["us-east-1"], name)
				s.Families[randomName(r)] = append(s.Families["x"], name)
				s.Functions["eu-west-1"] = append(s.Functions["eu-west-1"], name)
			}
			s.Unseen = []Unseen{{Why: randomName(r)}, {What: "functions", Regions: []string{randomName(r)}, Why: randomName(r)}}
			seen = append(seen, s)
		}
		c.Closed = []Account{{ID: "999999999999", Name: randomName(r), State: randomName(r)}}
		c.Commands = []Command{{Name: "list", Command: []string{"sh", strings.ReplaceAll(randomName(r), "\x00", "")}, Timeout: "1h", Notes: []string{randomName(r)}}}
		c.Fill(seen)
		config := load(t, c)
		if len(config.Accounts) != len(seen) || len(config.Rules().Attestations) != 0 {
			t.Fatalf("%d accounts instead of %d, %d attestations", len(config.Accounts), len(seen), len(config.Rules().Attestations))
		}
		for i, a := range config.Accounts {
			if a.Enforce || a.ID != seen[i].ID || a.Name != seen[i].Name {
				t.Fatalf("%+v of %+v", a, seen[i])
			}
		}
		if got := config.ExternalCommands[0].Command[1]; got != c.Commands[0].Command[1] {
			t.Fatalf("%q became %q", c.Commands[0].Command[1], got)
		}
		rules := config.Rules().Repositories
		for _, name := range names {
			i := slices.IndexFunc(c.Repositories, func(p Rule) bool { return p.Match(name) })
			if i < 0 || !rules[i].Name.Match(name) {
				t.Fatalf("%q: rule %d does not match", name, i)
			}
		}
	}
	// No UTF-8 is as good as the replacement.
	if got := load(t, Config{Role: "R", SweepRole: "S", Accounts: []Account{{ID: "111111111111", Name: "a\xffb"}}}).Accounts[0].Name; got != "a\ufffdb" {
		t.Errorf("name %q", got)
	}
}

// TestGolden shows a whole file.
func TestGolden(t *testing.T) {
	c := Config{Origin: "organization o-example123", Role: "DemurrageRead", SweepRole: "DemurrageSweep", ExternalID: "example-1234", Discover: true,
		Closed: []Account{{ID: "444444444444", Name: "old", State: "CLOSED"}}}
	c.Fill([]Seen{
		{ID: "111111111111", Name: "shop", Repositories: map[string][]string{"us-east-1": {"prod/api", "prod/web", "tools"}, "ap-northeast-1": {"prod/web"}},
			Families: map[string][]string{"eu-west-1": {"prod-api"}}, Functions: map[string][]string{"us-east-1": {"resize", "resize-video"}}},
		{ID: "222222222222", Name: "new\n[[accounts]]"},
		{ID: "333333333333", Name: "legacy", Unseen: []Unseen{{Why: "assume role arn:aws:iam::333333333333:role/DemurrageRead: AccessDenied"}}},
	})
	config := load(t, c)
	golden(t, "testdata/organization.toml", c)
	if len(config.Accounts) != 3 {
		t.Errorf("%d accounts", len(config.Accounts))
	}
}

// golden compares what is written with a file, and gives it.
func golden(t *testing.T, file string, c Config) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Error(diff)
	}
	return b.Bytes()
}

// TestFill: nothing seen is a file too, and what is said of the accounts.
func TestFill(t *testing.T) {
	c := Config{Role: "DemurrageRead", SweepRole: "DemurrageSweep"}
	c.Fill([]Seen{
		{ID: "111111111111", Repositories: map[string][]string{"us-east-1": {"a", "b"}}, Families: map[string][]string{"eu-west-1": {"f"}}},
		{ID: "222222222222", Unseen: []Unseen{{Why: "refused"}}},
		{ID: "333333333333", Unseen: []Unseen{{What: "functions", Regions: []string{"us-east-1"}, Why: "denied"}}},
	})
	want := []Account{
		{ID: "111111111111", Notes: []string{"eu-west-1: 1 task definition family", "us-east-1: 2 repositories"}},
		{ID: "222222222222", Notes: []string{"NOT SEEN: could not be entered: refused"}},
		{ID: "333333333333", Notes: []string{"NOT SEEN: functions in us-east-1 could not be read: denied"}},
	}
	if diff := cmp.Diff(want, c.Accounts); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(c.Regions, []string{"us-east-1"}) || !slices.Equal(c.Missing, []string{"222222222222"}) {
		t.Errorf("regions %v, missing %v", c.Regions, c.Missing)
	}
	if config := load(t, c); config.KeepTaskDefinitions("f") != 5 || config.Rules().Repositories[0].Expires != 30*24*time.Hour {
		t.Errorf("%+v", config.Rules().Repositories)
	}
	empty := Config{Role: "DemurrageRead", SweepRole: "DemurrageSweep"}
	empty.Fill([]Seen{{ID: "111111111111"}})
	if config := load(t, empty); len(config.Rules().Repositories) != 0 || !config.Accounts[0].AllRegions() {
		t.Errorf("%+v", config)
	}
}

// TestCommentedLinesLoad: what is commented out is right too, once a person has filled it in.
func TestCommentedLinesLoad(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, Config{Role: "R", SweepRole: "S", Accounts: []Account{{ID: "111111111111"}}, Closed: []Account{{ID: "222222222222", Name: "old", State: "CLOSED"}}}); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		commented, ok := strings.CutPrefix(line, "# ")
		if key, _, assigns := strings.Cut(commented, " = "); ok && (strings.HasPrefix(commented, "[[") || strings.HasPrefix(commented, `  "`) || commented == "]\n" || assigns && !strings.ContainsAny(key, " ,(")) {
			line = commented
		}
		lines = append(lines, line)
	}
	text := strings.Join(lines, "")
	if _, err := accounts.Parse("unfilled", []byte(text)); err == nil || !strings.Contains(err.Error(), "attestations[0].reason") || !strings.Contains(err.Error(), "attestations[0].expires") {
		t.Errorf("an attestation without a reason and a day loads: %v", err)
	}
	text = strings.NewReplacer(`reason = ""`, `reason = "gone"`, "YYYY-MM-DD", "2027-01-01").Replace(text)
	config, err := accounts.Parse("filled", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if n := len(config.Rules().Attestations); n != 1 || len(config.Rules().Repositories) != 1 {
		t.Errorf("%d attestations of %s", n, text)
	}
}

// TestFillUnseen: where something could not be seen, no rule is for everything: it would be for that as well.
func TestFillUnseen(t *testing.T) {
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("team%d", i))
	}
	by := map[string][]string{"us-east-1": names}
	seen := []Seen{{ID: "111111111111", Repositories: by, Families: by, Functions: by}, {ID: "222222222222"}}
	for _, hidden := range []bool{false, true} {
		if hidden {
			seen[1].Unseen = []Unseen{{Why: "refused"}}
		}
		c := Config{Role: "DemurrageRead", SweepRole: "DemurrageSweep"}
		c.Fill(seen)
		for _, rules := range [][]Rule{c.Repositories, c.TaskDefinitions, c.Functions} {
			if last := rules[len(rules)-1]; (last.Text == "*") == hidden {
				t.Errorf("hidden %t: the last rule is for %q", hidden, last.Text)
			}
		}
		if want := map[bool]int{true: 3}[hidden]; len(c.Notes) != want {
			t.Errorf("hidden %t: %q", hidden, c.Notes)
		}
		if config := load(t, c); hidden && slices.ContainsFunc(config.Rules().Repositories, func(r planner.RepositoryRule) bool { return r.Name.Match("payments/ledger") }) {
			t.Error("a repository that nobody saw has a rule")
		}
	}
}
