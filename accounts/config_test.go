package accounts

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"demurrage/internal/image"
	"demurrage/planner"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestGoodFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.ok.toml")
	for _, file := range append(files, "../accounts.toml.example") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c, err := Load(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.SHA256) != 64 {
				t.Errorf("SHA256 = %q", c.SHA256)
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.bad.toml")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Parse("accounts.toml", data)
			if err == nil {
				t.Fatal("no error")
			}
			if c != nil {
				t.Error("a configuration came with the error")
			}
			got, golden := err.Error()+"\n", strings.TrimSuffix(file, ".toml")+".err"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("accounts.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFullFile(t *testing.T) {
	c, err := Load("testdata/full.ok.toml")
	if err != nil {
		t.Fatal(err)
	}
	patterns := cmp.Comparer(func(a, b image.Pattern) bool {
		exactly := func(p image.Pattern) bool {
			return strings.Contains(p.String(), "*") && !p.Match(strings.ReplaceAll(p.String(), "*", "x"))
		}
		return a.String() == b.String() && exactly(a) == exactly(b)
	})
	wantAccounts := []Account{
		{
			ID: "111111111111", Name: "platform", Owner: "team-a", CostCenter: "CC-1001", Enforce: true,
			Tags:      map[string]string{"stage": "prod", "a.b": "c"},
			Role:      "arn:{partition}:iam::111111111111:role/DemurrageRead",
			SweepRole: "arn:{partition}:iam::111111111111:role/ops/DemurrageSweep", ExternalID: "ext:1/2",
		},
		{
			ID: "222222222222", Role: "arn:aws-cn:iam::222222222222:role/Own", RoleOwn: true,
			SweepRole: "arn:aws-cn:iam::222222222222:role/ops/DemurrageSweep", ExternalID: "other",
			Regions: []string{"cn-north-1", "cn-northwest-1"},
		},
	}
	if diff := cmp.Diff(wantAccounts, c.Accounts); diff != "" {
		t.Error(diff)
	}
	wantRules := planner.Rules{
		Repositories: []planner.RepositoryRule{
			{
				Name: image.Glob("prod/*"), Accounts: []image.Pattern{image.Glob("1*")}, Expires: 30 * day, FromNewestPush: true,
				KeepCount: 5, KeepTags: []image.Pattern{image.Glob("latest"), image.Glob("v*")}, KeepPulledWithin: 14 * day,
				UntaggedExpires: day, AllowEmpty: true,
			},
			{Name: image.Exact("*")},
		},
		Attestations: []planner.Attestation{
			{
				Accounts: []image.Pattern{image.Glob("*"), image.Glob("1111*"), image.Glob("22222222222?")},
				Regions:  []string{"sa-east-1"}, Sources: []string{"eks", "regions"}, Reason: "denied by SCP",
				Expires: time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC),
			},
			{Accounts: []image.Pattern{image.Glob("111111111111")}, Reason: "empty", Expires: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)},
		},
		MinAge: time.Hour,
	}
	if diff := cmp.Diff(wantRules, c.Rules(), patterns); diff != "" {
		t.Error(diff)
	}
	if got, want := c.Assume.Duration, 90*time.Minute; got != want {
		t.Errorf("Duration = %v, want %v", got, want)
	}
	if got, want := c.Safety, (Safety{MaxPlanAge: 36 * time.Hour, ConfirmAfter: 7 * day, MaxDeleteImages: 500, MaxDeleteBytes: 500 << 30, MaxFailures: 1}); got != want {
		t.Errorf("Safety = %+v, want %+v", got, want)
	}
	wantCommands := []ExternalCommand{{"on-prem", []string{"/bin/list", "--all"}, 5 * time.Minute}, {"ci", []string{"list"}, time.Minute}}
	if diff := cmp.Diff(wantCommands, c.ExternalCommands); diff != "" || c.MaxUseAge != 2*day {
		t.Errorf("MaxUseAge = %v, %s", c.MaxUseAge, diff)
	}
	for name, want := range map[string]int{"prod-a": 9, "one": 5, "other": 5} {
		if got := c.KeepTaskDefinitions(name); got != want {
			t.Errorf("KeepTaskDefinitions(%q) = %d, want %d", name, got, want)
		}
	}
	for name, want := range map[string]int{"prod-a": 3, "all": All, "other": All} {
		if got := c.KeepLambdaVersions(name); got != want {
			t.Errorf("KeepLambdaVersions(%q) = %d, want %d", name, got, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := parse(t, "[[accounts]]\nid = \"111111111111\"\n")
	want := &Config{
		Assume:      Assume{SessionName: "demurrage", Duration: time.Hour},
		Accounts:    []Account{{ID: "111111111111"}},
		Concurrency: 32,
		Store:       "demurrage-data",
		Safety:      Safety{MaxPlanAge: 7 * day, MaxDeletePercent: 100, MaxFailures: 5},
		Billing:     Billing{CostExplorer: true, PriceList: true, Metric: "UnblendedCost", Prices: map[string]int64{}},
		Report: Report{
			Layers: "auto", ExchangeRate: 1_000_000, FiscalStart: time.January, OwnerTags: []string{"owner", "Owner"},
			CostCenterTags: []string{"cost-center", "CostCenter", "cost_center"},
		},
		MaxUseAge: 7 * day,
		SHA256:    "acf5ffd4aa4f03ebd3ba9b9ef4e5f4dbbdf5d83b4ee5a4e4a1a1e02ba5a2b1b7",
		rules:     planner.Rules{MinAge: 24 * time.Hour},
	}
	want.SHA256 = c.SHA256
	if diff := cmp.Diff(want, c, cmp.AllowUnexported(Config{}, Role{}, generations{}, image.Pattern{})); diff != "" {
		t.Error(diff)
	}
	if !c.Accounts[0].AllRegions() {
		t.Error("without regions an account is planned in all")
	}
}

// A problem can be found with errors.As, with the cause behind it.
func TestTypedErrors(t *testing.T) {
	_, err := Parse("x.toml", []byte("[[accounts]]\nid = \"111111111111\"\n[safety]\n  min_age = \"soon\"\n"))
	var key *KeyError
	var duration *DurationError
	if !errors.As(err, &key) || !errors.As(err, &duration) {
		t.Fatalf("%T %v", err, err)
	}
	if key.Key != "safety.min_age" || key.Line != 4 || key.Column != 3 || duration.Text != "soon" {
		t.Errorf("%+v, %+v", key, duration)
	}
}

func TestLoadMissingFile(t *testing.T) {
	if _, err := Load("testdata/none.toml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"1h": time.Hour, "24h": day, "30d": 30 * day, "2w": 14 * day, "007d": 7 * day} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "30", "0d", "-1d", "+1d", "1.5d", "1d2h", "30 d", " 30d", "30D", "30x", "15m", "1_0d", "106752d", "99999999999999999999d", "٣d"} {
		var want *DurationError
		if got, err := ParseDuration(text); !errors.As(err, &want) {
			t.Errorf("ParseDuration(%q) = %v, %v, want a *DurationError", text, got, err)
		}
	}
}

func TestMaxDeleteBytes(t *testing.T) {
	const head = "[[accounts]]\nid = \"111111111111\"\n[safety]\nmax_delete_bytes = "
	for value, want := range map[string]int64{
		"0": 0, `"0"`: 0, `"0GiB"`: 0, "1": 1, "1_000": 1000, `"1"`: 1, "9223372036854775807": 1<<63 - 1,
		`"500GiB"`: 500 << 30, `"500 GiB"`: 500 << 30, `"500GB"`: 500e9, `"500gb"`: 500e9, `"1.5 TiB"`: 3 << 39, `"7EiB"`: 7 << 60,
	} {
		c, err := Parse("accounts.toml", []byte(head+value))
		if err != nil {
			t.Errorf("%s: %v", value, err)
		} else if c.Safety.MaxDeleteBytes != want {
			t.Errorf("%s = %d, want %d", value, c.Safety.MaxDeleteBytes, want)
		}
	}
	const at = "accounts.toml:4:1: safety.max_delete_bytes: "
	if _, err := Parse("accounts.toml", []byte(head+"-1")); err == nil || err.Error() != at+"-1 is less than 0: use 0 for no limit, or more" {
		t.Errorf("-1: %v", err)
	}
	// A fraction of a byte would be 0, which is no limit; 1,5 would be 15.
	for _, text := range []string{"", " ", "GiB", "-1GiB", "+1GiB", "1 GiB or so", "500 gigs", "1e3", "0x10", "NaN", "inf", "1.2.3GiB", "0.5", "0.0001KiB", "1,5GiB", "8EiB", "16EiB", "99999999999999999999", "٣GiB"} {
		want := at + strconv.Quote(text) + " is not a number of bytes (use a whole number, 500GiB or 500GB)"
		if _, err := Parse("accounts.toml", []byte(head+`"`+text+`"`)); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for value, what := range map[string]string{"1.5": "a number with a fraction", "true": "true or false", "[1]": "a list", "{a = 1}": "a table", "2026-01-01": "a date or time"} {
		want := at + `must be a whole number of bytes or a string as in "500GiB", not ` + what
		if _, err := Parse("accounts.toml", []byte(head+value)); err == nil || err.Error() != want {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestConfirmAfterIsOff(t *testing.T) {
	c := parse(t, "[[accounts]]\nid = \"111111111111\"\n[safety]\nconfirm_after = \"\"\n")
	if c.Safety.ConfirmAfter != 0 {
		t.Errorf("ConfirmAfter = %v", c.Safety.ConfirmAfter)
	}
}

func TestParseRole(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "",
		"Read":                                  "arn:aws-cn:iam::111111111111:role/Read",
		"team/a/Read":                           "arn:aws-cn:iam::111111111111:role/team/a/Read",
		"/team/Read":                            "arn:aws-cn:iam::111111111111:role/team/Read",
		"Read+=,.@-_1":                          "arn:aws-cn:iam::111111111111:role/Read+=,.@-_1",
		"arn:aws:iam::222222222222:role/p/Read": "arn:aws:iam::222222222222:role/p/Read",
		"arn:{partition}:iam::{account}:role/Read":     "arn:aws-cn:iam::111111111111:role/Read",
		"arn:aws-us-gov:iam::{account}:role/Read":      "arn:aws-us-gov:iam::111111111111:role/Read",
		"arn:{partition}:iam::222222222222:role/Re@ad": "arn:aws-cn:iam::222222222222:role/Re@ad",
	} {
		role, err := ParseRole(text)
		if err != nil {
			t.Errorf("ParseRole(%q): %v", text, err)
		} else if got := role.ARN("aws-cn", "111111111111"); got != want {
			t.Errorf("ParseRole(%q).ARN = %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{
		"/", "a/", "a//b", "a b", "Rôle", "{account}", "x/{account}", strings.Repeat("x", 65), "arn:", "arn:aws:iam::1:role/x",
		"arn:aws:iam::111111111111:user/x", "arn:aws:sts::111111111111:role/x", "arn:aws:iam:us-east-1:111111111111:role/x",
		"arn:AWS:iam::111111111111:role/x", "arn:aws:iam::111111111111:role/", "arn:aws:iam::111111111111:role/x:y\n",
	} {
		if role, err := ParseRole(text); err == nil {
			t.Errorf("ParseRole(%q) = %+v, want an error", text, role)
		}
	}
}

func TestTargets(t *testing.T) {
	target := func(regions ...string) (list []Target) {
		for _, r := range regions {
			list = append(list, Target{"111111111111", r})
		}
		return list
	}
	tests := map[string]struct {
		regions, enabled        []string
		plan, uses, unavailable []Target
	}{
		"all":          {nil, []string{"b", "a"}, target("a", "b"), target("a", "b"), nil},
		"all, unknown": {nil, nil, nil, nil, nil},
		"some":         {[]string{"c", "a"}, []string{"a", "b", "c"}, target("a", "c"), target("a", "b", "c"), nil},
		"not enabled":  {[]string{"x", "a"}, []string{"a", "b"}, target("a"), target("a", "b"), target("x")},
		"unknown":      {[]string{"x", "a"}, nil, target("a", "x"), target("a", "x"), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			plan, uses, unavailable := Targets(Account{ID: "111111111111", Regions: tt.regions}, tt.enabled)
			if diff := cmp.Diff([][]Target{tt.plan, tt.uses, tt.unavailable}, [][]Target{plan, uses, unavailable}); diff != "" {
				t.Error(diff)
			}
			for _, p := range plan {
				if !slices.Contains(uses, p) {
					t.Errorf("%v is planned, but uses are not looked for there", p)
				}
			}
		})
	}
}

// Every key is shown to the new user, in its section, set or commented out.
func TestExampleIsComplete(t *testing.T) {
	data, err := os.ReadFile("../accounts.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	header := regexp.MustCompile(`^(?:# )?\[\[?([a-z_]+)\]?\]`)
	setting := regexp.MustCompile(`^(?:# )?([a-z_]+) = `)
	shown := map[string]map[string]bool{}
	section := ""
	for line := range strings.Lines(string(data)) {
		if m := header.FindStringSubmatch(line); m != nil {
			section = m[1]
			if shown[section] == nil {
				shown[section] = map[string]bool{}
			}
		} else if m := setting.FindStringSubmatch(line); m != nil {
			shown[section][m[1]] = true
		}
	}
	known := map[string]map[string]bool{}
	for field := range reflect.TypeFor[rawConfig]().Fields() {
		section := field.Tag.Get("toml")
		known[section] = map[string]bool{}
		inner := field.Type
		if inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		for _, key := range keys(inner) {
			known[section][key] = true
		}
	}
	// One of the two would do nothing beside the other; the text names it.
	for _, section := range []string{"task_definitions", "lambda_functions"} {
		if !strings.Contains(string(data), `or name = "…"`) {
			t.Error("name is not mentioned")
		}
		delete(known[section], "name")
	}
	if diff := cmp.Diff(known, shown); diff != "" {
		t.Errorf("keys that exist (-) and keys that accounts.toml.example shows (+):\n%s", diff)
	}
}

// What is commented out is the default, or an example that is valid in its place.
func TestExampleUncommented(t *testing.T) {
	data, err := os.ReadFile("../accounts.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^# ([a-z_]+ = |\[)`).ReplaceAllString(string(data), "$1")
	c := parse(t, text)
	base := parse(t, string(data))
	for name, got := range map[string][2]any{
		"session": {c.Assume.SessionName, base.Assume.SessionName}, "duration": {c.Assume.Duration, base.Assume.Duration},
		"hub_role": {c.Assume.HubRole, base.Assume.HubRole}, "discover": {c.Organization.Discover, base.Organization.Discover},
		"concurrency": {c.Concurrency, base.Concurrency}, "store": {c.Store, base.Store}, "safety": {c.Safety, base.Safety},
		"min_age": {c.Rules().MinAge, base.Rules().MinAge},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: the example shows %v, the default is %v", name, got[0], got[1])
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.toml")
	for _, file := range append(files, "../accounts.toml.example") {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("accounts.toml", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v", c, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "accounts.toml:") {
				t.Fatalf("the error names no place: %v", err)
			}
			return
		}
		for i, a := range c.Accounts {
			if !image.ValidAccount(a.ID) || (i > 0 && c.Accounts[i-1].ID >= a.ID) {
				t.Fatalf("accounts: %+v", c.Accounts)
			}
		}
		if c.Concurrency < 1 || c.Rules().MinAge < time.Hour || c.Safety.MaxDeletePercent > 100 || c.Safety.MaxPlanAge < time.Hour || c.Safety.MaxDeleteBytes < 0 || c.Safety.MaxFailures < 1 {
			t.Fatalf("%+v", c)
		}
	})
}

func TestFinance(t *testing.T) {
	data, err := os.ReadFile("testdata/finance.ok.toml")
	if err != nil {
		t.Fatal(err)
	}
	c := parse(t, string(data))
	want := Billing{Role: "arn:aws:iam::999999999999:role/Payer", Metric: "NetUnblendedCost", Prices: map[string]int64{"us-east-1": 90_000, "ap-northeast-1": 87_500}}
	if diff := cmp.Diff(want, c.Billing); diff != "" {
		t.Error(diff)
	}
	report := Report{
		Layers: "exact", Currency: "EUR", ExchangeRate: 925_000, RateDate: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), RateSource: "treasury",
		FiscalStart: time.April, OwnerTags: []string{"team"}, CostCenterTags: []string{"kst"},
	}
	if diff := cmp.Diff(report, c.Report); diff != "" {
		t.Error(diff)
	}
}
