package draft

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"demurrage/accounts"
)

func TestFromECRM(t *testing.T) {
	data, err := os.ReadFile("testdata/ecrm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := FromECRM("ecrm.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	c.Role, c.SweepRole, c.Regions, c.Accounts = "DemurrageRead", "DemurrageSweep", []string{"ap-northeast-1"}, []Account{{ID: "111111111111"}}
	text := golden(t, "testdata/ecrm.toml", c)
	config, err := accounts.Parse("ecrm.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	for family, keep := range map[string]int{"prod-web": 10, "batch": 3, "dev-web": 5} {
		if got := config.KeepTaskDefinitions(family); got != keep {
			t.Errorf("%d revisions of %s are kept, not %d", got, family, keep)
		}
	}
	if got := config.KeepLambdaVersions("any"); got != 5 {
		t.Errorf("%d versions are kept", got)
	}
	rules := config.Rules().Repositories
	if len(rules) != 4 || rules[0].Expires != 90*24*time.Hour || rules[0].KeepCount != 5 || rules[0].UntaggedExpires != rules[0].Expires ||
		rules[1].Expires != 26*time.Hour || rules[1].KeepCount != 0 || rules[1].UntaggedExpires != 0 || !rules[1].KeepTags[0].Match("latest") ||
		!rules[2].Name.Match("exact*") || rules[2].Name.Match("exactly") {
		t.Errorf("%+v", rules)
	}
	if got := config.ExternalCommands; len(got) != 3 || got[0].Timeout != 30*time.Second || got[1].Name != "list-images.sh-2" || got[2].Timeout != time.Hour {
		t.Errorf("%+v", got)
	}
}

func TestFromECRMErrors(t *testing.T) {
	const repository = "repositories:\n  - name: a\n    expires: 1d\n"
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "e.yaml: it is empty"},
		{"no YAML", "a: [", "e.yaml:1: did not find expected node content"},
		{"not a map", "- a", "e.yaml:1: cannot unmarshal !!seq"},
		{"two documents", repository + "---\n" + repository, "more than one YAML document"},
		{"unknown key", "clusters: []\nregions: [a]\n", `e.yaml:2: "regions" is no key of ecrm's configuration`},
		{"unknown key inside", repository + "    keep: 3\n", `e.yaml:4: "keep" is no key`},
		{"unknown key of a cluster", "clusters:\n  - pattern: a\n", `e.yaml:2: "pattern" is no key`},
		{"twice", repository + "    expires: 2d\n", `e.yaml:4: mapping key "expires" already defined`},
		{"wrong type", repository + "    keep_count: many\n", "e.yaml:4: cannot unmarshal !!str `many` into int64"},
		{"several", "a: 1\nb: 2\n", "e.yaml:2: \"b\" is no key"},
		{"null", "clusters:\n  - ~\n", "e.yaml:2: clusters[0] is empty"},
		{"cluster without a name", "clusters:\n  - name: a\n  - {}\n", "e.yaml:3: clusters[1] has neither name nor name_pattern"},
		{"both", "task_definitions:\n  - name: a\n    name_pattern: b\n", "e.yaml:2: task_definitions[0] has both"},
		{"neither", "lambda_functions:\n  - keep_count: 3\n", "e.yaml:2: lambda_functions[0] has neither"},
		{"negative", "task_definitions:\n  - name: a\n    keep_count: -1\n", "keep_count of -1"},
		{"keep_aliase elsewhere", "task_definitions:\n  - name: a\n    keep_aliase: true\n", "task_definitions[0] has keep_aliase"},
		{"no expires", "repositories:\n  - name: a\n", "e.yaml:2: repositories[0] has no expires"},
		{"bad expires", "repositories:\n  - name: a\n    expires: 1month\n", `"1month" is not a duration`},
		{"no time", "repositories:\n  - name: a\n    expires: 0d\n", "no time at all"},
		{"empty tag", repository + "    keep_tag_patterns: ['']\n", "empty text among keep_tag_patterns"},
		{"no command", "external_commands:\n  - timeout: 3s\n", "e.yaml:2: external_commands[0] has no command"},
		{"bad timeout", "external_commands:\n  - command: [a]\n    timeout: soon\n", `timeout "soon"`},
		{"bad variable", "external_commands:\n  - command: [a]\n    env: {'a=b': c}\n", `"a=b" as the name of a variable`},
		{"NUL", "external_commands:\n  - command: [\"a\\0\"]\n", "NUL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := FromECRM("e.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, not %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "draft.") {
				t.Errorf("%v names a type of this program", err)
			}
		})
	}
}

func TestECRMDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "30days": 30 * day, "30 days": 30 * day, "1 DAY": day, "2w": 14 * day, "2 weeks": 14 * day, "1day 2hours": 26 * time.Hour,
		"1.5d": 36 * time.Hour, "2d-1d": day, "90min": 90 * time.Minute, "1ms": time.Millisecond, "3 nsec": 3, "1s": time.Second, "4secs": 0, "1month": 0,
		"d": 0, "30": 0, "x": 0, "1..2d": 0, "1ss": 0, "9999999999w": 0, "1hs": 0, "7mins": 0,
	} {
		got, err := ecrmDuration(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for d, want := range map[time.Duration]string{30 * day: "30d", time.Nanosecond: "1h", 25 * time.Hour: "25h", 23*time.Hour + 1: "1d"} {
		if got, _ := duration(d); got != want {
			t.Errorf("%v: %s", d, got)
		}
	}
}

// FuzzFromECRM: whatever can be translated loads.
func FuzzFromECRM(f *testing.F) {
	data, err := os.ReadFile("testdata/ecrm.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, text := range []string{
		"external_commands:\n  - command: [a=b, '']\n    env: {A: \"\\n\"}\n    dir: ..\n    timeout: 1h\n", "repositories:\n  - name: \"\\t\\\"#\"\n    expires: 1h\n",
		"a: &a {name: x, expires: 1d}\nrepositories: [*a, *a]\n", "clusters: &c\n  - name: a\ntask_definitions: *c\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := FromECRM("e.yaml", data)
		if err != nil {
			return
		}
		c.Role, c.SweepRole, c.Accounts = "DemurrageRead", "DemurrageSweep", []Account{{ID: "111111111111"}}
		var b bytes.Buffer
		if err := Write(&b, c); err != nil {
			t.Fatal(err)
		}
		if _, err := accounts.Parse("e.toml", b.Bytes()); err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
	})
}
