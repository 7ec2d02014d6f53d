package orgsim

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

const (
	accountA = "111111111111"
	accountB = "222222222222"
)

// sim is a simulated organization behind a real listener, with two member accounts.
type sim struct {
	*Server
	t    *testing.T
	url  string
	http *http.Client
}

func newSim(t *testing.T) *sim {
	t.Helper()
	s := New()
	s.AddAccount(accountA, "alpha")
	s.AddAccount(accountB, "beta")
	return serve(t, s)
}

// serve listens for a simulator until the end of the test.
func serve(t *testing.T, s *Server) *sim {
	ts := httptest.NewServer(s)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(ts.Close)
	t.Cleanup(transport.CloseIdleConnections)
	return &sim{Server: s, t: t, url: ts.URL, http: &http.Client{Transport: plainBodies{transport}}}
}

// plainBodies hides the WriteTo method of request bodies. The SDK closes a body as soon as the answer's header is
// there, and WriteTo of its closed bodies is an error; net/http, which looks for the body's end after it has sent all
// of it, then drops the connection under a long answer. It takes a server as fast as this one to see that, and
// clients that retry, as all but those of these tests do, are not affected.
type plainBodies struct{ *http.Transport }

func (p plainBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return p.Transport.RoundTrip(r)
}

// as is a configuration of the real SDK with an access key; extra are the secret and the session token. It does
// not retry, so that tests count calls.
func (m *sim) as(key string, extra ...string) aws.Config {
	secret, token := "secret", ""
	if len(extra) == 2 {
		secret, token = extra[0], extra[1]
	}
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(m.url), HTTPClient: m.http,
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, token),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
	}
}

func (m *sim) stsAs(cfg aws.Config) *sts.Client { return sts.NewFromConfig(cfg) }

// makeRole makes a role in an account with a trust policy and an inline policy.
func (m *sim) makeRole(account, name, trust, policy string) string {
	m.t.Helper()
	c := iam.NewFromConfig(m.as(account))
	out, err := c.CreateRole(m.t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust, MaxSessionDuration: aws.Int32(43200)})
	if err != nil {
		m.t.Fatal(err)
	}
	if policy != "" {
		if _, err := c.PutRolePolicy(m.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: &policy}); err != nil {
			m.t.Fatal(err)
		}
	}
	return *out.Role.Arn
}

// assume assumes a role, or fails the test.
func (m *sim) assume(cfg aws.Config, in *sts.AssumeRoleInput) aws.Config {
	m.t.Helper()
	if in.RoleSessionName == nil {
		in.RoleSessionName = aws.String("test")
	}
	out, err := m.stsAs(cfg).AssumeRole(m.t.Context(), in)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.as(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
}

// wantCode checks the error code that a client got; "" is success.
func wantCode(t *testing.T, err error, want string) {
	t.Helper()
	if got := codeOf(err); got != want {
		t.Errorf("got error code %q (%v), want %q", got, err, want)
	}
}

func codeOf(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	return "not an API error: " + err.Error()
}

// trust is a trust policy for AWS principals with an optional condition.
func trust(condition string, principals ...string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["` + strings.Join(principals, `","`) +
		`"]},"Action":"sts:AssumeRole"` + condition + `}]}`
}

// allow is an identity policy that allows actions on everything.
func allow(actions ...string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["` + strings.Join(actions, `","`) + `"],"Resource":"*"}}`
}

func findCall(calls []CallCount, service, operation string) CallCount {
	i := slices.IndexFunc(calls, func(c CallCount) bool { return c.Service == service && c.Operation == operation })
	if i < 0 {
		return CallCount{}
	}
	return calls[i]
}
