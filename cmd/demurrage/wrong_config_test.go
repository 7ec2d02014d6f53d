package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf16"
)

// wrongConfigs are files that no run may start with: where the problem is, and what of the remedy is said.
var wrongConfigs = []struct {
	name, text string
	place      string // line:column: key, or the beginning of it
	remedy     string
}{
	{"unknown key", "[[accounts]]\nid = \"111111111111\"\nrol = \"x\"\n", `3:1: accounts[0].rol: `, `did you mean "role"?`},
	{"unknown key, like no other", wrongOK + "colour = \"red\"\n", `3:1: accounts[0].colour: `, "accounts.toml.example has every key"},
	{"a key in another case", "[[accounts]]\nID = \"111111111111\"\n", `2:1: accounts[0].ID: `, `did you mean "id"?`},
	{"unknown table", "[assum]\nrole = \"x\"\n[[accounts]]\nid = \"111111111111\"\n", `1:2: assum: `, `did you mean "assume"?`},
	{"a list for a table", "accounts = [\"111111111111\"]\n", `1:13: accounts[0]: `, "must be a table ([[accounts]])"},
	{"a table for a list", "[accounts]\nid = \"111111111111\"\n", `1:2: accounts: `, "([[accounts]])"},
	{"wrong type", "[[accounts]]\nid = \"111111111111\"\nenforce = \"yes\"\n", `3:1: accounts[0].enforce: `, "must be true or false"},
	{"eleven digits", "[[accounts]]\nid = \"11111111111\"\n", `2:1: accounts[0].id: `, "12 digits"},
	{"a number for an account", "[[accounts]]\nid = 111111111111\n", `2:1: accounts[0].id: `, `write "111111111111", in quotes`},
	{"eleven digits of a number", "[[accounts]]\nid = 11111111111\n", `2:1: accounts[0].id: `, "write all of them, in quotes"},
	{"an account id in groups", "[[accounts]]\nid = \"1111-1111-1111\"\n", `2:1: accounts[0].id: `, `as in "111111111111"`},
	{"digits of another script", "[[accounts]]\nid = \"١١١١١١١١١١١١\"\n", `2:1: accounts[0].id: `, `as in "111111111111"`},
	{"a leading zero", "[[accounts]]\nid = 011111111111\n", `2:6: `, "put it in quotes"},
	{"an account twice", "[[accounts]]\nid = \"111111111111\"\n[[accounts]]\nid = \"111111111111\"\n", `4:1: accounts[1].id: `, "remove one of the two"},
	{"an account that is excluded", "[organization]\ndiscover = true\nexclude_accounts = [\"111111111111\"]\n" + wrongOK, `5:1: accounts[0].id: `, "remove it from one of the two"},
	{"an excluded account's id", "[organization]\ndiscover = true\nexclude_accounts = [\"sandbox\"]\n", `3:21: organization.exclude_accounts[0]: `, "12 digits"},
	{"no account, and none to be found", "[organization]\ndiscover = false\n", ` accounts: `, "set discover = true"},
	{"a unit that cannot be", "[organization]\ndiscover = true\ninclude_ous = [\"Production\"]\n", `3:16: organization.include_ous[0]: `, "ou-…-…"},
	{"units without discovery", "[organization]\ninclude_ous = [\"ou-abcd-12345678\"]\n" + wrongOK, `2:1: organization.include_ous: `, "without discover = true: set it"},
	{"no account", "[assume]\nrole = \"Read\"\n", ` accounts: `, "add [[accounts]] entries, or set discover = true"},
	{"duration", wrongOK + "[[repositories]]\nname = \"a\"\nexpires = \"30 days\"\n", `5:1: repositories[0].expires: `, "use 30d, 2w or 24h"},
	{"name and pattern", wrongOK + "[[repositories]]\nname = \"a\"\nname_pattern = \"b*\"\nexpires = \"30d\"\n", `5:1: repositories[0].name_pattern: `, "remove the other"},
	{"empty pattern", wrongOK + "[[repositories]]\nname_pattern = \"\"\nexpires = \"30d\"\n", `4:1: repositories[0].name_pattern: `, `"*" matches everything`},
	{"empty name", wrongOK + "[[task_definitions]]\nname = \"\"\n", `4:1: task_definitions[0].name: `, "give the name"},
	{"empty tag pattern", wrongOK + "[[repositories]]\nname = \"a\"\nkeep_tag_patterns = [\"\"]\n", `5:22: repositories[0].keep_tag_patterns[0]: `, "remove it"},
	{"neither", wrongOK + "[[repositories]]\nexpires = \"30d\"\n", `3:3: repositories[0]: `, `name_pattern = "*" matches everything`},
	{"region", wrongOK + "[scan]\nregions = [\"us-east\"]\n", `4:12: scan.regions[0]: `, "as in us-east-1"},
	{"two partitions", wrongOK + "[scan]\nregions = [\"us-east-1\", \"cn-north-1\"]\n", `4:25: scan.regions[1]: `, "a configuration of their own"},
	{"a region twice", wrongOK + "[scan]\nregions = [\"us-east-1\", \"us-east-1\"]\n", `4:25: scan.regions[1]: `, "remove one"},
	{"all and one", wrongOK + "[scan]\nregions = [\"all\", \"us-east-1\"]\n", `4:12: scan.regions[0]: `, "remove it, or them"},
	{"no region", wrongOK + "[scan]\nregions = []\n", `4:1: scan.regions: `, `or ["all"]`},
	{"concurrency", wrongOK + "[scan]\nconcurrency = 0\n", `4:1: scan.concurrency: `, "use 1 or more"},
	{"role ARN", wrongOK + "[assume]\nrole = \"arn:aws:s3:::bucket\"\n", `4:1: assume.role: `, "arn:{partition}:iam::{account}:role/NAME"},
	{"role of another account", wrongOK + "role = \"arn:aws:iam::222222222222:role/R\"\n", `3:1: accounts[0].role: `, "write {account}"},
	{"role of another partition", wrongOK + "regions = [\"us-east-1\"]\nrole = \"arn:aws-cn:iam::111111111111:role/R\"\n", `4:1: accounts[0].role: `, "write {partition}"},
	{"session name", wrongOK + "[assume]\nsession_name = \"a b\"\n", `4:1: assume.session_name: `, "use 2 to 64 of letters"},
	{"external id", wrongOK + "[assume]\nexternal_id = \"…\"\n", `4:1: assume.external_id: `, "2 to 1224 of letters"},
	{"attestation without reason", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nexpires = \"2099-01-01\"\n", `3:3: attestations[0].reason: `, "say why"},
	{"attestation without accounts", wrongOK + "[[attestations]]\nreason = \"x\"\nexpires = \"2099-01-01\"\n", `3:3: attestations[0].accounts: `, `["*"] for all`},
	{"attestation for ever", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nreason = \"x\"\n", `3:3: attestations[0].expires: `, "give the day"},
	{"attestation for no source", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nreason = \"x\"\nexpires = \"2099-01-01\"\nsources = []\n", `7:1: attestations[0].sources: `, "leave the key out"},
	{"attestation until some day", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nreason = \"x\"\nexpires = \"2099-02-30\"\n", `6:1: attestations[0].expires: `, "use YYYY-MM-DD"},
	{"attestation for a name", wrongOK + "[[attestations]]\naccounts = [\"prod\"]\nreason = \"x\"\nexpires = \"2099-01-01\"\n", `4:13: attestations[0].accounts[0]: `, "* stands for any number"},
	{"no such source", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nreason = \"x\"\nexpires = \"2099-01-01\"\nsources = [\"ekz\"]\n", `7:12: attestations[0].sources[0]: `, `did you mean "eks"?`},
	{"negative count", wrongOK + "[[repositories]]\nname = \"a\"\nkeep_count = -1\n", `5:1: repositories[0].keep_count: `, "use 0 or more"},
	{"a count of lambda", wrongOK + "[[lambda_functions]]\nname = \"a\"\nkeep_count = 0\n", `5:1: lambda_functions[0].keep_count: `, "use 1 or more"},
	{"min_age", wrongOK + "[safety]\nmin_age = \"30m\"\n", `4:1: safety.min_age: `, "24h"},
	{"percent", wrongOK + "[safety]\nmax_delete_percent = 101\n", `4:1: safety.max_delete_percent: `, "use 0 to 100"},
	{"bytes", wrongOK + "[safety]\nmax_delete_bytes = \"500 gigs\"\n", `4:1: safety.max_delete_bytes: `, "500GiB"},
	{"store", wrongOK + "[store]\nurl = \"gs://bucket\"\n", `4:1: store.url: `, "s3://bucket/prefix"},
	{"no bucket", wrongOK + "[store]\nurl = \"s3://\"\n", `4:1: store.url: `, "use s3://bucket/prefix"},
	{"a slash too few", wrongOK + "[store]\nurl = \"s3:/bucket/prefix\"\n", `4:1: store.url: `, "s3://bucket/prefix"},
	{"a store that was not filled in", wrongOK + "[store]\nurl = \"\"\n", `4:1: store.url: `, "leave the key out"},
	{"expires_from", wrongOK + "[[repositories]]\nname = \"a\"\nexpires = \"1d\"\nexpires_from = \"newest_push\"\n", `6:1: repositories[0].expires_from: `, `did you mean "newest-push"?`},
	{"empty expires_from", wrongOK + "[[repositories]]\nname = \"a\"\nexpires = \"1d\"\nexpires_from = \"\"\n", `6:1: repositories[0].expires_from: `, `use "now"`},
	{"a command twice", wrongOK + "[[external_commands]]\nname = \"a\"\ncommand = [\"x\"]\n[[external_commands]]\nname = \"a\"\ncommand = [\"y\"]\n", `7:1: external_commands[1].name: `, "give this one another"},
	{"no program", wrongOK + "[[external_commands]]\nname = \"a\"\ncommand = []\n", `5:1: external_commands[0].command: `, "list the program"},
	{"a currency without a rate", wrongOK + "[report]\ncurrency = \"EUR\"\n", `3:2: report.exchange_rate: `, `as in "0.92"`},
	{"a metric", wrongOK + "[billing]\nmetric = \"Cost\"\n", `4:1: billing.metric: `, "the metrics are UnblendedCost"},
	{"controls in a value", wrongOK + "[[repositories]]\nname = \"a\"\nexpires = \"\\u001b[2J\\u202e\\u0007\"\n", `5:1: repositories[0].expires: `, "use 30d"},
	{"controls in a key", wrongOK + "\"\\u001b[2Jrole\\u202e\" = 1\n", `3:1: accounts[0].`, "accounts.toml.example"},
	{"a control that is written as it is", wrongOK + "name = \"\x1b[2J\"\n", `3:9: `, "mend this line"},
	{"a key without end", wrongOK + strings.Repeat("k", 1e5) + " = 1\n", `3:1: accounts[0].kkk`, "accounts.toml.example"},
	{"nested keys", wrongOK + strings.Repeat("a.", 1e6) + "a = 1\n", `3:2000001: `, "name the configuration"},
	{"nested lists", wrongOK + "name = " + strings.Repeat("[", 1e6) + strings.Repeat("]", 1e6) + "\n", `3:`, "nested more than"},
	{"half a million keys", wrongOK + manyKeys(500_000), `10002:1: `, "name the configuration"},
	{"an account a quarter of a million times", strings.Repeat(wrongOK, 250_000), `4:1: accounts[1].id: `, "and 249949 more problems: mend these first"},
	{"a key twice", "[[accounts]]\nid = \"111111111111\"\nid = \"222222222222\"\n", `3:1: `, "already defined"},
	{"a table twice", wrongOK + "[scan]\n[scan]\n", `4:2: `, "mend this line"},
	{"no TOML", "accounts:\n  - id: \"111111111111\"\n", `1:9: `, "mend this line"},
	{"a string without end", "[[accounts]]\nid = \"111111111111\n", `2:19: `, "mend this line"},
	{"quotes of a word processor", "[[accounts]]\nid = “111111111111”\n", `2:6: `, "quotes of TOML are straight"},
	{"a bare word", wrongOK + "name = platform\n", `3:8: `, "mend this line"},
	{"a list without end", wrongOK + "[scan]\nregions = [\"us-east-1\",\n", `4:24: `, "mend this line"},
	{"JSON", "{\"accounts\": []}\n", `1:1: `, "mend this line"},
	{"not closed", "[[accounts]\nid = \"111111111111\"\n", `1:11: `, "mend this line"},
	{"byte order mark", "\ufeff" + wrongOK, `1:1: `, "save the file as UTF-8"},
	{"UTF-16", utf16Text("\ufeff" + wrongOK), `1:1: `, "save the file as UTF-8"},
	{"Latin-1", wrongOK + "name = \"Z\xfcrich\"\n", `3:10: `, "save it as UTF-8"},
	{"a program", "\x7fELF\x02\x01\x01\x00\x00", `1:8: `, "name a TOML file"},
	{"nothing", "", ` accounts: `, "add [[accounts]] entries"},
	{"only comments", "# [[accounts]]\n# id = \"111111111111\"\n", ` accounts: `, "add [[accounts]] entries"},
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d = 1\n", i)
	}
	return b.String()
}

const wrongOK = "[[accounts]]\nid = \"111111111111\"\n"

func utf16Text(text string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(text)) {
		b.WriteString(string([]byte{byte(u)}) + string([]byte{byte(u >> 8)}))
	}
	return b.String()
}

// traceOf is what a panic prints, and no error message.
var traceOf = regexp.MustCompile(`goroutine \d+|panic:|\.go:\d+|%!|&\{|map\[|0xc0[0-9a-f]{8}|raw[A-Z]`)

// controlOf is what changes what a terminal shows.
var controlOf = regexp.MustCompile(`[^\P{C}\n]|\p{Zl}|\p{Zp}`)

// TestWrongConfigs: every command ends with 1 before it touches anything, names the place, and says what to do.
func TestWrongConfigs(t *testing.T) {
	var calls atomic.Int64
	aws := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		rw.WriteHeader(http.StatusInternalServerError)
	}))
	defer aws.Close()
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": aws.URL, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": virginia, "AWS_MAX_ATTEMPTS": "1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true"} {
		t.Setenv(name, value)
	}
	commands := [][]string{{"plan"}, {"scan"}, {"report"}, {"delete", "--plan", "plan.json"}, {"explain", host(virginia) + "/app:v1"},
		{"check"}, {"check", "--format", "json"}, {"audit"}, {"recommend"}, {"history"}, {"uses", "list"}, {"delete", "--yes"}, {"plan", "--run", "x", "--accept-incomplete"}}
	refused := func(t *testing.T, file, place, remedy string) {
		t.Helper()
		commands := commands
		if info, err := os.Stat(file); err == nil && info.Size() > 1<<20 {
			commands = commands[:1]
		}
		t.Chdir(filepath.Dir(file))
		before := entries(t)
		for _, command := range commands {
			var stdout, stderr bytes.Buffer
			code := run(append([]string{"demurrage", "--config", file}, command...), &stdout, &stderr)
			got := stderr.String()
			if code != exitNothing || stdout.Len() > 0 || traceOf.MatchString(got) || controlOf.MatchString(got) || len(got) > 20_000 || !strings.Contains(got, place) || !strings.Contains(got, remedy) {
				t.Errorf("%v exits %d, without %q or %q, or with what nobody should see:\n%.3000q %.300s", command, code, place, remedy, got, &stdout)
			}
		}
		if n := calls.Swap(0); n > 0 {
			t.Errorf("%d calls were made", n)
		}
		if after := entries(t); after != before {
			t.Errorf("files were made: %s, before: %s", after, before)
		}
	}
	for _, tt := range wrongConfigs {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "wrong.toml")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			refused(t, file, file+":"+tt.place, tt.remedy)
		})
	}
	t.Run("a directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "wrong.toml")
		if err := os.Mkdir(file, 0o700); err != nil {
			t.Fatal(err)
		}
		refused(t, file, file, "name the file in it")
	})
	t.Run("not there", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "wrong.toml")
		refused(t, file, file, "name another with --config")
	})
	t.Run("without end", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "wrong.toml")
		if err := os.Symlink("/dev/zero", file); err != nil {
			t.Fatal(err)
		}
		refused(t, file, file, "more than 64 MiB: name the configuration")
	})
	t.Run("a link to nowhere", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "wrong.toml")
		if err := os.Symlink("nowhere.toml", file); err != nil {
			t.Fatal(err)
		}
		refused(t, file, file, "name another with --config")
	})
	t.Run("a name that clears the screen", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "\x1b[2J.toml")
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, file, `\x1b[2J.toml:1:`, "mend this line")
	})
	t.Run("not readable", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "wrong.toml")
		if err := os.WriteFile(file, []byte(wrongOK), 0o000); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(file); err == nil {
			t.Skip("whoever runs the tests reads every file")
		}
		refused(t, file, file, "let whoever runs this read it")
	})
	// The table can fail: what is right goes further.
	file := filepath.Join(t.TempDir(), "right.toml")
	if err := os.WriteFile(file, []byte(wrongOK), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(file))
	var stdout, stderr bytes.Buffer
	if run([]string{"demurrage", "--config", file, "plan"}, &stdout, &stderr); calls.Load() == 0 {
		t.Errorf("nobody is asked: %s", &stderr)
	}
}

// entries lists what is in the working directory.
func entries(t *testing.T) string {
	t.Helper()
	list, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(list)
}
