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
	{"unknown table", "[assme]\nrole = \"x\"\n[[accounts]]\nid = \"111111111111\"\n", `1:2: assme: `, `did you mean "assume"?`},
	{"wrong type", "[[accounts]]\nid = \"111111111111\"\nenforce = \"yes\"\n", `3:1: accounts[0].enforce: `, "must be true or false"},
	{"eleven digits", "[[accounts]]\nid = \"11111111111\"\n", `2:1: accounts[0].id: `, "12 digits"},
	{"a number for an account", "[[accounts]]\nid = 111111111111\n", `2:1: accounts[0].id: `, `write "111111111111", in quotes`},
	{"a leading zero", "[[accounts]]\nid = 011111111111\n", `2:6: `, "put it in quotes"},
	{"an account twice", "[[accounts]]\nid = \"111111111111\"\n[[accounts]]\nid = \"111111111111\"\n", `4:1: accounts[1].id: `, "remove one of the two"},
	{"no account", "[assume]\nrole = \"Read\"\n", ` accounts: `, "add [[accounts]] entries, or set discover = true"},
	{"duration", wrongOK + "[[repositories]]\nname = \"a\"\nexpires = \"30 days\"\n", `5:1: repositories[0].expires: `, "use 30d, 2w or 24h"},
	{"name and pattern", wrongOK + "[[repositories]]\nname = \"a\"\nname_pattern = \"b*\"\nexpires = \"30d\"\n", `5:1: repositories[0].name_pattern: `, "only one of the two"},
	{"empty pattern", wrongOK + "[[repositories]]\nname_pattern = \"\"\nexpires = \"30d\"\n", `4:1: repositories[0].name_pattern: `, `"*" matches everything`},
	{"neither", wrongOK + "[[repositories]]\nexpires = \"30d\"\n", `3:3: repositories[0]: `, `name_pattern = "*" matches everything`},
	{"region", wrongOK + "[scan]\nregions = [\"us-east\"]\n", `4:12: scan.regions[0]: `, "as in us-east-1"},
	{"two partitions", wrongOK + "[scan]\nregions = [\"us-east-1\", \"cn-north-1\"]\n", `4:25: scan.regions[1]: `, "an account has one partition"},
	{"role ARN", wrongOK + "[assume]\nrole = \"arn:aws:s3:::bucket\"\n", `4:1: assume.role: `, "arn:{partition}:iam::{account}:role/NAME"},
	{"role of another account", wrongOK + "role = \"arn:aws:iam::222222222222:role/R\"\n", `3:1: accounts[0].role: `, "write {account}"},
	{"role of another partition", wrongOK + "regions = [\"us-east-1\"]\nrole = \"arn:aws-cn:iam::111111111111:role/R\"\n", `4:1: accounts[0].role: `, "are of partition aws"},
	{"external id", wrongOK + "[assume]\nexternal_id = \"…\"\n", `4:1: assume.external_id: `, "2 to 1224 of letters"},
	{"attestation without reason", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nexpires = \"2099-01-01\"\n", `3:3: attestations[0].reason: `, "say why"},
	{"attestation without accounts", wrongOK + "[[attestations]]\nreason = \"x\"\nexpires = \"2099-01-01\"\n", `3:3: attestations[0].accounts: `, `["*"] for all`},
	{"attestation for ever", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nreason = \"x\"\n", `3:3: attestations[0].expires: `, "give the day"},
	{"no such source", wrongOK + "[[attestations]]\naccounts = [\"1*\"]\nreason = \"x\"\nexpires = \"2099-01-01\"\nsources = [\"ekz\"]\n", `7:12: attestations[0].sources[0]: `, `did you mean "eks"?`},
	{"negative count", wrongOK + "[[repositories]]\nname = \"a\"\nkeep_count = -1\n", `5:1: repositories[0].keep_count: `, "less than 0"},
	{"min_age", wrongOK + "[safety]\nmin_age = \"30m\"\n", `4:1: safety.min_age: `, "24h"},
	{"percent", wrongOK + "[safety]\nmax_delete_percent = 101\n", `4:1: safety.max_delete_percent: `, "more than 100"},
	{"store", wrongOK + "[store]\nurl = \"gs://bucket\"\n", `4:1: store.url: `, "s3://bucket/prefix"},
	{"no bucket", wrongOK + "[store]\nurl = \"s3://\"\n", `4:1: store.url: `, "use s3://bucket/prefix"},
	{"expires_from", wrongOK + "[[repositories]]\nname = \"a\"\nexpires = \"1d\"\nexpires_from = \"newest_push\"\n", `6:1: repositories[0].expires_from: `, `did you mean "newest-push"?`},
	{"a key twice", "[[accounts]]\nid = \"111111111111\"\nid = \"222222222222\"\n", `3:1: `, "already defined"},
	{"a table twice", wrongOK + "[scan]\n[scan]\n", `4:2: `, "mend this line"},
	{"no TOML", "accounts:\n  - id: \"111111111111\"\n", `1:9: `, "mend this line"},
	{"not closed", "[[accounts]\nid = \"111111111111\"\n", `1:11: `, "mend this line"},
	{"byte order mark", "\ufeff" + wrongOK, `1:1: `, "save the file as UTF-8"},
	{"UTF-16", utf16Text("\ufeff" + wrongOK), `1:1: `, "save the file as UTF-8"},
	{"Latin-1", wrongOK + "name = \"Z\xfcrich\"\n", `3:10: `, "save it as UTF-8"},
	{"a program", "\x7fELF\x02\x01\x01\x00\x00", `1:8: `, "name a TOML file"},
	{"nothing", "", ` accounts: `, "add [[accounts]] entries"},
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
var traceOf = regexp.MustCompile(`goroutine \d+|panic:|\.go:\d+`)

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
	commands := [][]string{{"plan"}, {"scan"}, {"report"}, {"delete", "--plan", "plan.json"}, {"explain", host(virginia) + "/app:v1"}}
	refused := func(t *testing.T, file, place, remedy string) {
		t.Helper()
		t.Chdir(filepath.Dir(file))
		before := entries(t)
		for _, command := range commands {
			var stdout, stderr bytes.Buffer
			code := run(append([]string{"demurrage", "--config", file}, command...), &stdout, &stderr)
			got := stderr.String()
			if code != exitNothing || stdout.Len() > 0 || traceOf.MatchString(got) || !strings.Contains(got, place) || !strings.Contains(got, remedy) {
				t.Errorf("%v exits %d, without %q or %q:\n%s%s", command, code, place, remedy, got, &stdout)
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
