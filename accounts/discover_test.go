package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/account"
	accounttypes "github.com/aws/aws-sdk-go-v2/service/account/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/google/go-cmp/cmp"

	"demurrage/internal/orgsim"
)

// world is a simulated organization: in the root 999999999999 (management) and 111111111111; below it the unit
// prod with 222222222222, in that eu with 333333333333; and closed, with 444444444444, whose state is CLOSED.
type world struct {
	*orgsim.Server
	t                      *testing.T
	url                    string
	root, prod, eu, closed string
}

func newWorld(t *testing.T) *world {
	w := &world{Server: orgsim.New(), t: t}
	for id, name := range map[string]string{"111111111111": "platform", "222222222222": "web", "333333333333": "web-eu", "444444444444": "old"} {
		w.AddAccount(id, name)
	}
	server := httptest.NewServer(w.Server)
	t.Cleanup(server.Close)
	w.url = server.URL
	org := w.organizations("test")
	roots, err := org.ListRoots(t.Context(), &organizations.ListRootsInput{})
	w.must(err)
	w.root = *roots.Roots[0].Id
	w.prod = w.unit(w.root, "prod", "222222222222")
	w.eu = w.unit(w.prod, "eu", "333333333333")
	w.closed = w.unit(w.root, "closed", "444444444444")
	_, err = org.CloseAccount(t.Context(), &organizations.CloseAccountInput{AccountId: aws.String("444444444444")})
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// config is that of the owner of an access key.
func (w *world) config(key string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
		Retryer: func() aws.Retryer { // a connection that breaks is tried again, as the program does
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		},
	}
}

func (w *world) organizations(key string) *organizations.Client {
	return organizations.NewFromConfig(w.config(key))
}

// unit makes a unit and moves accounts into it from the root.
func (w *world) unit(parent, name string, ids ...string) string {
	w.t.Helper()
	org := w.organizations("test")
	out, err := org.CreateOrganizationalUnit(w.t.Context(), &organizations.CreateOrganizationalUnitInput{ParentId: &parent, Name: &name})
	w.must(err)
	for _, id := range ids {
		_, err := org.MoveAccount(w.t.Context(), &organizations.MoveAccountInput{AccountId: &id, SourceParentId: &w.root, DestinationParentId: out.OrganizationalUnit.Id})
		w.must(err)
	}
	return *out.OrganizationalUnit.Id
}

// summary is a roster in one word per account.
func summary(r *Roster) (scanned, unscanned string) {
	var s, u []string
	for _, a := range r.Accounts {
		s = append(s, a.ID[:1]+":"+a.Name)
	}
	for _, a := range r.Unscanned {
		u = append(u, a.Account[:1]+":"+a.Name+":"+a.State+":"+a.Why)
	}
	return strings.Join(s, " "), strings.Join(u, " ")
}

func TestRoster(t *testing.T) {
	const (
		closed  = "4:old:CLOSED:its state in the organization is not ACTIVE"
		outside = "it is outside of include_ous"
		noEntry = "it has no [[accounts]] entry, and accounts are not discovered"
	)
	w := newWorld(t)
	tests := map[string]struct{ text, scanned, unscanned string }{
		"whole organization": {
			"[organization]\ndiscover = true",
			"1:platform 2:web 3:web-eu 9:management", closed,
		},
		"units are walked to the ground": {
			"[organization]\ndiscover = true\ninclude_ous = [PROD]",
			"2:web 3:web-eu", "1:platform:ACTIVE:" + outside + " " + closed + " 9:management:ACTIVE:" + outside,
		},
		"the root is everything": {
			"[organization]\ndiscover = true\ninclude_ous = [EU, ROOT]",
			"1:platform 2:web 3:web-eu 9:management", closed,
		},
		"an entry counts outside of the units too": {
			"[organization]\ndiscover = true\ninclude_ous = [EU]\n[[accounts]]\nid = \"111111111111\"\nname = \"mine\"",
			"1:mine 3:web-eu", "2:web:ACTIVE:" + outside + " " + closed + " 9:management:ACTIVE:" + outside,
		},
		"excluded": {
			"[organization]\ndiscover = true\nexclude_accounts = [\"222222222222\", \"777777777777\"]",
			"1:platform 3:web-eu 9:management", "2:web:ACTIVE:exclude_accounts names it " + closed,
		},
		"an entry that the organization does not list stays; one that is closed does not": {
			"[organization]\ndiscover = true\n[[accounts]]\nid = \"555555555555\"\nname = \"foreign\"\n[[accounts]]\nid = \"444444444444\"\nname = \"mine\"",
			"1:platform 2:web 3:web-eu 5:foreign 9:management", "4:mine:CLOSED:its state in the organization is not ACTIVE",
		},
		"without discovery": {
			"[[accounts]]\nid = \"222222222222\"",
			"2:web", "1:platform:ACTIVE:" + noEntry + " 3:web-eu:ACTIVE:" + noEntry + " " + closed + " 9:management:ACTIVE:" + noEntry,
		},
	}
	ids := strings.NewReplacer("PROD", `"`+w.prod+`"`, "EU", `"`+w.eu+`"`, "ROOT", `"`+w.root+`"`)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := parse(t, ids.Replace(tt.text)).Roster(t.Context(), w.organizations("test"))
			if err != nil {
				t.Fatal(err)
			}
			scanned, unscanned := summary(r)
			if diff := cmp.Diff([]string{tt.scanned, tt.unscanned}, []string{scanned, unscanned}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRosterCompletesAccounts(t *testing.T) {
	w := newWorld(t)
	c := parse(t, `
[assume]
role = "Read"
external_id = "ext"
[organization]
discover = true
include_ous = ["`+w.eu+`"]
[[accounts]]
id = "111111111111"
owner = "me"
role = "Own"
`)
	r, err := c.Roster(t.Context(), w.organizations("test"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Accounts {
		r.Accounts[i].OU = r.Accounts[i].OU[strings.LastIndex(r.Accounts[i].OU, "/")+1:]
	}
	want := []Account{
		{ID: "111111111111", Name: "platform", Owner: "me", Role: "arn:aws:iam::111111111111:role/Own", RoleOwn: true, ExternalID: "ext", OU: w.root, State: "ACTIVE"},
		{ID: "333333333333", Name: "web-eu", Role: "arn:aws:iam::333333333333:role/Read", ExternalID: "ext", OU: w.eu, State: "ACTIVE"},
	}
	if diff := cmp.Diff(want, r.Accounts); diff != "" {
		t.Error(diff)
	}
}

func TestRosterPages(t *testing.T) {
	w := newWorld(t)
	for i := range 45 {
		w.AddAccount(fmt.Sprintf("5000000000%02d", i), "many")
	}
	for _, text := range []string{"", "include_ous = [\"" + w.root + "\"]"} {
		r, err := parse(t, "[organization]\ndiscover = true\n"+text).Roster(t.Context(), w.organizations("test"))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Accounts) != 4+45 || len(r.Unscanned) != 1 {
			t.Errorf("%q: %d accounts and %d unscanned, want 49 and 1", text, len(r.Accounts), len(r.Unscanned))
		}
	}
}

func TestRosterErrors(t *testing.T) {
	w := newWorld(t)
	discover := "[organization]\ndiscover = true\n"
	t.Run("no client", func(t *testing.T) {
		if r, err := parse(t, discover).Roster(t.Context(), nil); err == nil {
			t.Errorf("Roster = %+v", r)
		}
	})
	t.Run("not an administrator", func(t *testing.T) {
		_, err := parse(t, discover).Roster(t.Context(), w.organizations("111111111111"))
		var denied *types.AccessDeniedException
		if !errors.As(err, &denied) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("unknown unit", func(t *testing.T) {
		_, err := parse(t, discover+"include_ous = [\"ou-demu-99999999\"]").Roster(t.Context(), w.organizations("test"))
		var missing *types.ParentNotFoundException
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), `"ou-demu-99999999"`) {
			t.Errorf("err = %v", err)
		}
	})
	t.Run("a listing that fails", func(t *testing.T) {
		w.SetFaults([]orgsim.Fault{{Service: "organizations", Operation: "ListAccounts", Code: "ServiceException", Status: 500}})
		defer w.SetFaults(nil)
		if r, err := parse(t, discover).Roster(t.Context(), w.organizations("test")); err == nil {
			t.Errorf("Roster = %+v", r)
		}
	})
}

// Without discovery and without an organization nothing is asked.
func TestRosterOffline(t *testing.T) {
	r, err := parse(t, "[[accounts]]\nid = \"222222222222\"\n[[accounts]]\nid = \"111111111111\"").Roster(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if scanned, unscanned := summary(r); scanned != "1: 2:" || unscanned != "" {
		t.Errorf("%q, %q", scanned, unscanned)
	}
}

// Endpoints that do not know State yet, or not Status any more, and states that nobody knows.
func TestAccountState(t *testing.T) {
	tests := map[string]struct {
		state  types.AccountState
		status types.AccountStatus
		scan   bool
	}{
		"both":                     {"ACTIVE", "ACTIVE", true},
		"state alone":              {"ACTIVE", "", true},
		"status alone":             {"", "ACTIVE", true},
		"status alone, suspended":  {"", "SUSPENDED", false},
		"state comes first":        {"CLOSED", "ACTIVE", false},
		"state comes first, again": {"ACTIVE", "SUSPENDED", true},
		"unknown":                  {"HIBERNATING", "ACTIVE", false},
		"none":                     {"", "", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			org := fixed{accounts: []types.Account{{Id: aws.String("111111111111"), State: tt.state, Status: tt.status}}}
			r, err := parse(t, "[organization]\ndiscover = true").Roster(t.Context(), org)
			if err != nil {
				t.Fatal(err)
			}
			if got := len(r.Accounts) == 1; got != tt.scan || len(r.Accounts)+len(r.Unscanned) != 1 {
				t.Errorf("roster = %+v", r)
			}
		})
	}
}

// fixed is an organization that gives answers the simulated one does not.
type fixed struct {
	Organizations
	accounts []types.Account
}

func (f fixed) ListAccounts(context.Context, *organizations.ListAccountsInput, ...func(*organizations.Options)) (*organizations.ListAccountsOutput, error) {
	return &organizations.ListAccountsOutput{Accounts: f.accounts}, nil
}

func TestEnabledRegions(t *testing.T) {
	w := newWorld(t)
	const id = "111111111111"
	own, hub, foreign := account.NewFromConfig(w.config(id)), account.NewFromConfig(w.config("test")), account.NewFromConfig(w.config("222222222222"))
	_, err := own.EnableRegion(t.Context(), &account.EnableRegionInput{RegionName: aws.String("ap-east-1")})
	w.must(err)
	compute := ec2.NewFromConfig(w.config(id))
	fail := []orgsim.Fault{{Account: id, Service: "account", Code: "AccessDeniedException", Status: 403}}

	for name, tt := range map[string]struct {
		own     account.ListRegionsAPIClient
		compute DescribeRegionsAPI
		hub     account.ListRegionsAPIClient
		faults  []orgsim.Fault
		ok      bool
	}{
		"own":                         {own, nil, foreign, nil, true},
		"EC2, since own is denied":    {own, compute, foreign, fail, true},
		"hub, since both are denied":  {own, compute, hub, append(fail, orgsim.Fault{Service: "ec2", Code: "UnauthorizedOperation", Status: 403}), true},
		"hub alone":                   {nil, nil, hub, nil, true},
		"own alone":                   {own, nil, nil, nil, true},
		"all denied":                  {own, nil, foreign, fail, false},
		"own denied, and nobody else": {own, nil, nil, fail, false},
		"a hub that may not ask":      {nil, nil, foreign, nil, false},
		"nobody":                      {nil, nil, nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			w.SetFaults(tt.faults)
			defer w.SetFaults(nil)
			regions, err := EnabledRegions(t.Context(), tt.own, tt.compute, tt.hub, id)
			if (err == nil) != tt.ok {
				t.Fatalf("err = %v", err)
			}
			if !tt.ok {
				if regions != nil || !strings.HasPrefix(err.Error(), "list the regions of account 111111111111: ") {
					t.Errorf("%v, %v", regions, err)
				}
				// One cause has one text, or two runs in a row differ.
				_, again := EnabledRegions(t.Context(), tt.own, tt.compute, tt.hub, id)
				if again.Error() != err.Error() || strings.Contains(err.Error(), "\n") {
					t.Errorf("first %q, then %q", err, again)
				}
				return
			}
			joined := strings.Join(regions, " ")
			if !strings.Contains(joined, "ap-east-1 ap-northeast-1") || strings.Contains(joined, "me-south-1") {
				t.Errorf("regions = %v", regions)
			}
		})
	}
}

// regionAnswer gives statuses that the simulated organization does not know.
type regionAnswer []accounttypes.Region

func (r regionAnswer) ListRegions(context.Context, *account.ListRegionsInput, ...func(*account.Options)) (*account.ListRegionsOutput, error) {
	return &account.ListRegionsOutput{Regions: r}, nil
}

func TestRegionStatuses(t *testing.T) {
	var answer regionAnswer
	for i, status := range append(accounttypes.RegionOptStatus("").Values(), "NEW") {
		answer = append(answer, accounttypes.Region{RegionName: aws.String(fmt.Sprintf("%d-%s", i, status)), RegionOptStatus: status})
	}
	got, err := EnabledRegions(t.Context(), answer, nil, nil, "111111111111")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(got, " "), "DISABLED") || len(got) != len(answer)-1 {
		t.Errorf("regions = %v", got)
	}
	if got, err := EnabledRegions(t.Context(), regionAnswer{}, nil, nil, "111111111111"); err == nil {
		t.Errorf("an answer without any region gave %v", got)
	}
}
