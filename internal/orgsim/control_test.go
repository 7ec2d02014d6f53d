package orgsim

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
)

// control sends a body to one of the simulator's own paths and checks the status.
func (m *sim) control(path, body string, want int) {
	m.t.Helper()
	resp, err := http.Post(m.url+path, "application/json", strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != want {
		m.t.Errorf("%s %s: %s, want %d", path, body, resp.Status, want)
	}
}

func TestControlRefusesNonsense(t *testing.T) {
	m := newSim(t)
	for path, bodies := range map[string][]string{
		"/_sim/clock":    {`{"now":"yesterday"}`, `{"time":"2026-01-01T00:00:00Z"}`, ``, `[]`},
		"/_sim/faults":   {`{}`, `[{"operaton":"X","code":"Y"}]`, `[{"code":"X","rate":2}]`, `[{"code":"X","status":200}]`, `[{"operation":"X"}]`, `[{"code":"X","times":-1}]`},
		"/_sim/throttle": {`{}`, `{"enabled":"yes"}`},
	} {
		for _, body := range bodies {
			m.control(path, body, http.StatusBadRequest)
		}
	}
	m.control("/_sim/other", "", http.StatusNotFound)
	m.control("/_sim/calls", "", http.StatusNotFound) // POST
}

func TestClock(t *testing.T) {
	m := newSim(t)
	m.control("/_sim/clock", `{"now":"2026-01-31T00:00:00Z"}`, http.StatusNoContent)
	resp, err := http.Get(m.url + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if got := resp.Header.Get("Date"); got != "Sat, 31 Jan 2026 00:00:00 GMT" {
		t.Errorf("Date: %s", got)
	}
	m.makeRole(accountA, "r", trust("", accountA), "")
	out, err := iam.NewFromConfig(m.as(accountA)).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("r")})
	if err != nil || !out.Role.CreateDate.Equal(time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("created %v (%v)", out, err)
	}
	m.control("/_sim/clock", `{}`, http.StatusNoContent)
	if d := time.Since(m.now()); d < 0 || d > time.Minute {
		t.Errorf("the clock does not run again: %v", d)
	}
}

func TestFaults(t *testing.T) {
	m := newSim(t)
	list := func(account string) error {
		_, err := iam.NewFromConfig(m.as(account)).ListRoles(t.Context(), nil)
		return err
	}
	m.control("/_sim/faults", `[
		{"account":"111111111111","service":"iam","operation":"ListRoles","code":"ThrottlingException","times":2},
		{"account":"222222222222","code":"InternalFailure"},
		{"service":"iam","operation":"GetRole","code":"AccessDenied","status":403}]`, http.StatusNoContent)
	wantCode(t, list(accountA), "ThrottlingException")
	wantCode(t, list(accountA), "ThrottlingException")
	wantCode(t, list(accountA), "")
	wantCode(t, list(accountB), "InternalFailure")
	wantCode(t, list(accountB), "InternalFailure")
	wantCode(t, list(ManagementAccount), "")

	m.SetFaults([]Fault{{Rate: 0.5, Code: "ThrottlingException"}})
	failed := 0
	for range 200 {
		if list(accountA) != nil {
			failed++
		}
	}
	if failed < 60 || failed > 140 {
		t.Errorf("%d of 200 failed at a rate of a half", failed)
	}

	// A retrying client gets through what passes.
	m.SetFaults([]Fault{{Code: "ServiceUnavailable", Times: 2}})
	cfg := m.as(accountA)
	cfg.Retryer = func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
	}
	_, err := iam.NewFromConfig(cfg).ListRoles(t.Context(), nil)
	wantCode(t, err, "")

	m.control("/_sim/faults", `[{"service": "iam", "status": 503}]`, http.StatusNoContent)
	_, err = iam.NewFromConfig(m.as(accountA), func(o *iam.Options) { o.RetryMaxAttempts = 1 }).ListRoles(t.Context(), nil)
	wantCode(t, err, "ServiceUnavailable")

	m.SetFaults([]Fault{{LatencyMS: 60}})
	start := time.Now()
	wantCode(t, list(accountA), "")
	if d := time.Since(start); d < 60*time.Millisecond {
		t.Errorf("took %v, want 60 ms at least", d)
	}
	m.SetFaults([]Fault{{LatencyMS: 3600_000}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start = time.Now()
	if _, err := iam.NewFromConfig(m.as(accountA)).ListRoles(ctx, nil); err == nil || time.Since(start) > 10*time.Second {
		t.Errorf("a cancelled call: %v after %v", err, time.Since(start))
	}
}

func TestCalls(t *testing.T) {
	m := newSim(t)
	c := iam.NewFromConfig(m.as(accountA))
	for range 3 {
		_, _ = c.ListRoles(t.Context(), nil)
	}
	_, _ = c.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("none")})
	_, _ = organizations.NewFromConfig(m.as(accountB)).ListAccounts(t.Context(), nil) // denied
	m.SetFaults([]Fault{{Operation: "ListRoles", Code: "ThrottlingException"}})
	_, _ = c.ListRoles(t.Context(), nil)

	resp, err := http.Get(m.url + "/_sim/calls")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got []CallCount
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := []CallCount{
		{accountA, "us-east-1", "iam", "GetRole", 1, 1},
		{accountA, "us-east-1", "iam", "ListRoles", 4, 1},
		{accountB, "us-east-1", "organizations", "ListAccounts", 1, 1},
	}
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("row %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestThrottle(t *testing.T) {
	m := newSim(t)
	c := organizations.NewFromConfig(m.as("AKIA"))
	burst := func() (throttled int) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 40 {
			wg.Go(func() {
				_, err := c.ListAccounts(t.Context(), nil)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					wantCode(t, err, "TooManyRequestsException")
					throttled++
				}
			})
		}
		wg.Wait()
		return throttled
	}
	if n := burst(); n != 0 {
		t.Errorf("%d calls were throttled before throttling is on", n)
	}
	m.control("/_sim/throttle", `{"enabled":true}`, http.StatusNoContent)
	if n := burst(); n < 10 || n > 28 { // a burst of 12, and 8 more a second
		t.Errorf("%d of 40 calls were throttled", n)
	}
	m.control("/_sim/throttle", `{"enabled":false}`, http.StatusNoContent)
	if n := burst(); n != 0 {
		t.Errorf("%d calls were throttled after", n)
	}
}

func TestReset(t *testing.T) {
	m := newSim(t)
	m.makeRole(accountA, "r", trust("", accountA), "")
	m.SetClock(time.Unix(0, 0))
	m.SetFaults([]Fault{{Code: "ThrottlingException"}})
	m.LimitRegions("eu-west-1")
	m.control("/_sim/reset", "", http.StatusNoContent)
	if n := len(m.Calls()); n != 0 {
		t.Errorf("%d rows of calls are left", n)
	}
	out, err := organizations.NewFromConfig(m.as("AKIA")).ListAccounts(t.Context(), nil)
	if err != nil || len(out.Accounts) != 1 {
		t.Errorf("accounts: %+v %v", out, err)
	}
	if time.Since(m.now()) > time.Minute {
		t.Error("the clock is still frozen")
	}
	roles, err := iam.NewFromConfig(m.as(accountA)).ListRoles(t.Context(), nil)
	if err != nil || len(roles.Roles) != 0 {
		t.Errorf("roles are left: %+v %v", roles, err)
	}
}
