// Package assume turns an account and a region into an aws.Config: ambient credentials, an optional hub role, and
// then one role session per account, which all of its regions and services share.
//
// It must never give out credentials of another account than the one that was asked for, never a session that is
// wider than the session policy it was told to use, and never ask twice for a session that was refused. It changes
// nothing in AWS.
package assume

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"

	"demurrage/accounts"
	"demurrage/internal/image"
)

// Options say how sessions are made. The zero value assumes each account's scan role for an hour, without a session
// policy.
type Options struct {
	HubRole     string        // a first hop, as accounts.ParseRole takes it: a bare name is a role of the ambient account
	ExternalID  string        // for the hub role; those of the accounts are theirs
	SessionName string        // "": "demurrage"
	Duration    time.Duration // 0: an hour. Cut to an hour where roles are chained, since AWS then refuses more
	Region      string        // to be used where the environment names none; "": us-east-1

	// Role is which of an account's roles is assumed; "": ScanRole.
	Role RoleKey
	// Everywhere: the hub's own account is entered by its role too, never with the hub's own credentials. What deletes
	// needs that, since it must always carry a session policy.
	Everywhere bool
	// Policy is the session policy, as AllowActions makes it; "": sessions may do all that the role may.
	Policy string
	// Calls counts every call that is sent, each attempt of it; nil: nobody counts.
	Calls *atomic.Int64
	// Load has the last word on the ambient configuration: endpoints and credentials of a simulation.
	Load []func(*config.LoadOptions) error
}

// RoleKey is one of the roles that the configuration has for an account, by its key.
type RoleKey string

const (
	ScanRole  RoleKey = "role"
	SweepRole RoleKey = "sweep_role"
)

// of gives the ARN, "" for none, and whether the account's own entry names it.
func (k RoleKey) of(a accounts.Account) (arn string, own bool) {
	switch k {
	case ScanRole:
		return a.Role, a.RoleOwn
	case SweepRole:
		return a.SweepRole, a.SweepRoleOwn
	}
	return "", false
}

// Identity is who the hub is.
type Identity struct {
	Account, ARN, Partition string
	Chained                 bool // a role session: what it assumes lasts an hour at most
}

// Provider makes the configurations of a run. It is safe for concurrent use.
type Provider struct {
	opts     Options
	ambient  aws.Config
	hub      aws.Config
	hubRole  string // ARN; "" where the ambient identity is the hub
	identity Identity

	mu       sync.Mutex
	sessions map[sessionKey]aws.CredentialsProvider
	clients  map[string]*sts.Client // of the hub, by region: their rate limits count together
}

// sessionKey is all that sets one session apart from another within a Provider.
type sessionKey struct {
	account, role, externalID, policy string
	own                               bool
}

// chainedLimit is the longest session of a chained role.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
const chainedLimit = time.Hour

// New loads the ambient configuration (AWS_* with AWS_ENDPOINT_URL, profiles, instance roles), takes the hub role if
// there is one, and asks STS who that is. It fails without working credentials, and on a policy that is too long.
func New(ctx context.Context, opts Options) (*Provider, error) {
	opts.SessionName = cmp.Or(opts.SessionName, "demurrage")
	opts.Duration = cmp.Or(opts.Duration, time.Hour)
	opts.Role = cmp.Or(opts.Role, ScanRole)
	if err := checkPolicy(opts.Policy); err != nil {
		return nil, err
	}
	ambient, err := config.LoadDefaultConfig(ctx, append([]func(*config.LoadOptions) error{
		config.WithHTTPClient(newHTTPClient()),
		config.WithRetryer(newRetryer),
		config.WithAppID("demurrage"),
		config.WithLogger(logging.Nop{}), // what matters comes back as an error
		config.WithCredentialsCacheOptions(refreshEarly),
		maxAttempts,
		counting(opts.Calls),
	}, opts.Load...)...)
	if err != nil {
		return nil, &HubError{"load the AWS configuration", err}
	}
	ambient.HTTPClient = SteadyClient{ambient.HTTPClient}
	if ambient.Region == "" {
		ambient.Region = cmp.Or(opts.Region, "us-east-1")
	}
	p := &Provider{
		opts: opts, ambient: ambient, hub: ambient,
		sessions: map[sessionKey]aws.CredentialsProvider{},
		clients:  map[string]*sts.Client{},
	}
	if p.identity, err = whoami(ctx, ambient); err != nil {
		return nil, &HubError{"find out whose the AWS credentials are", err}
	}
	role, err := accounts.ParseRole(opts.HubRole)
	if err != nil {
		return nil, fmt.Errorf("hub role: %w", err)
	}
	if p.hubRole = role.ARN(p.identity.Partition, p.identity.Account); p.hubRole != "" {
		_, account, err := splitRole(p.hubRole)
		if err != nil {
			return nil, fmt.Errorf("hub role: %w", err)
		}
		// The hub's own session only has to outlive what is assumed from it, which as a chained role is an hour at most.
		hop := p.identity
		hop.Chained = true
		p.hub.Credentials = p.newSession(sts.NewFromConfig(ambient), account, p.hubRole, opts.ExternalID, "", hop)
		if p.identity, err = whoami(ctx, p.hub); err != nil {
			return nil, &HubError{"hub role", cacheless(err)}
		}
	}
	return p, nil
}

// Hub is the hub's own configuration: for AWS Organizations, for the regions of accounts, for billing. It carries
// no session policy, and nothing that scans or deletes may have it.
func (p *Provider) Hub() aws.Config { return p.hub.Copy() }

// HubRole is the ARN of the hub role, "" where the ambient identity is the hub.
func (p *Provider) HubRole() string { return p.hubRole }

// Identity is who the hub is.
func (p *Provider) Identity() Identity { return p.identity }

// Config gives the configuration for a region of an account. All those of one account share its credentials, which
// are asked for at the first call that needs them, once, and again before they expire. An account whose role cannot
// be assumed gives a configuration with which every call fails with the same *Error; Check tells beforehand.
//
// The account of the hub is entered with the hub's own credentials, unless its own [[accounts]] entry names a role, or
// Options.Everywhere holds. If there is a hub role, that is assumed once more, so that the session policy holds there too; where the ambient
// credentials are the hub's, no session policy can be put on them.
func (p *Provider) Config(account accounts.Account, region string) aws.Config {
	return p.config(region, p.credentials(account, p.opts.Policy))
}

// Session is Config with this session policy, as AllowOn makes it, in place of the Provider's own. Each policy of an
// account has credentials of its own. Where the policy would not hold, since there is none or since it would have to
// be put on the hub's ambient credentials, every call fails with the same *Error; CheckSession tells beforehand.
func (p *Provider) Session(account accounts.Account, region, policy string) aws.Config {
	return p.config(region, p.restricted(account, policy))
}

func (p *Provider) config(region string, c aws.CredentialsProvider) aws.Config {
	cfg := p.ambient.Copy()
	cfg.Region = region
	cfg.Credentials = c
	return cfg
}

// Principal is the ARN of the role that an account is entered by, "" where that is none: the hub's ambient credentials.
func (p *Provider) Principal(account accounts.Account) string {
	role, own := p.opts.Role.of(account)
	if p.asHub(account, own) {
		return p.hubRole
	}
	return strings.Replace(role, "{partition}", p.identity.Partition, 1)
}

// Check assumes the role of an account now, unless that was done already. The error is an *Error.
func (p *Provider) Check(ctx context.Context, account accounts.Account) error {
	_, err := p.credentials(account, p.opts.Policy).Retrieve(ctx)
	return cacheless(err)
}

// CheckSession is Check for what Session gives.
func (p *Provider) CheckSession(ctx context.Context, account accounts.Account, policy string) error {
	_, err := p.restricted(account, policy).Retrieve(ctx)
	return cacheless(err)
}

// asHub reports whether an account is entered as the hub itself.
func (p *Provider) asHub(account accounts.Account, own bool) bool {
	return account.ID == p.identity.Account && !own && !p.opts.Everywhere
}

// restricted gives credentials that this policy holds for, and no others.
func (p *Provider) restricted(account accounts.Account, policy string) aws.CredentialsProvider {
	_, own := p.opts.Role.of(account)
	switch err := checkPolicy(policy); {
	case err != nil:
		return failing{&Error{Account: account.ID, Err: err}}
	case policy == "":
		return failing{&Error{Account: account.ID, Err: ErrNoPolicy}}
	case p.asHub(account, own) && p.hubRole == "":
		return failing{&Error{Account: account.ID, Err: ErrNoPolicy, Hint: fmt.Sprintf("none can be put on the hub's own credentials: set %s in its [[accounts]] entry", p.opts.Role)}}
	}
	return p.credentials(account, policy)
}

func (p *Provider) credentials(account accounts.Account, policy string) aws.CredentialsProvider {
	role, own := p.opts.Role.of(account)
	key := sessionKey{account.ID, role, account.ExternalID, policy, own}
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.sessions[key]
	if !ok {
		c = p.newCredentials(account, role, policy, own)
		p.sessions[key] = c
	}
	return c
}

// newCredentials is called with the lock held.
func (p *Provider) newCredentials(account accounts.Account, role, policy string, own bool) aws.CredentialsProvider {
	if p.asHub(account, own) {
		if p.hubRole == "" || policy == "" {
			return p.hub.Credentials
		}
		return p.newSession(sts.NewFromConfig(p.ambient), account.ID, p.hubRole, p.opts.ExternalID, policy, p.identity)
	}
	if role == "" {
		return failing{&Error{Account: account.ID, Err: ErrNoRole, Hint: fmt.Sprintf("set %s under [assume], or in its [[accounts]] entry", p.opts.Role)}}
	}
	role = strings.Replace(role, "{partition}", p.identity.Partition, 1)
	partition, _, err := splitRole(role)
	if err != nil {
		return failing{&Error{Account: account.ID, Role: role, Err: err}}
	}
	if partition != p.identity.Partition {
		return failing{&Error{Account: account.ID, Role: role, Hint: "each partition needs a hub of its own",
			Err: fmt.Errorf("it is in partition %q, the hub in %q", partition, p.identity.Partition)}}
	}
	return p.newSession(p.client(stsRegion(p.hub.Region, partition, account)), account.ID, role, account.ExternalID, policy, p.identity)
}

// client is called with the lock held.
func (p *Provider) client(region string) *sts.Client {
	c := p.clients[region]
	if c == nil {
		cfg := p.hub.Copy()
		cfg.Region = region
		c = sts.NewFromConfig(cfg)
		p.clients[region] = c
	}
	return c
}

// stsRegion is where a role is assumed: in the ambient region, or, where that is of another partition, in the first
// region of the account.
func stsRegion(ambient, partition string, account accounts.Account) string {
	if image.PartitionOf(ambient).ID != partition && len(account.Regions) > 0 {
		return account.Regions[0]
	}
	return ambient
}

// whoami calls GetCallerIdentity, which needs no permission. It is what a run begins with: where nobody listens, that is
// told at once.
func whoami(ctx context.Context, cfg aws.Config) (Identity, error) {
	cfg = Impatient(cfg)
	if cfg.Credentials != nil {
		if _, err := cfg.Credentials.Retrieve(ctx); err != nil { // which may take its time: somebody may be asked for a code
			return Identity{}, err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, firstAnswer, fmt.Errorf("STS has not answered within %s", firstAnswer))
	defer cancel()
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil && ctx.Err() != nil {
		return Identity{}, context.Cause(ctx)
	}
	if err != nil {
		return Identity{}, err
	}
	a, err := arn.Parse(aws.ToString(out.Arn))
	if err != nil || !image.ValidAccount(aws.ToString(out.Account)) {
		return Identity{}, fmt.Errorf("STS answers that the caller is %q of account %q", aws.ToString(out.Arn), aws.ToString(out.Account))
	}
	return Identity{
		Account: *out.Account, ARN: *out.Arn, Partition: a.Partition,
		Chained: a.Service == "sts" && strings.HasPrefix(a.Resource, "assumed-role/"),
	}, nil
}

// splitRole takes a role's ARN apart.
func splitRole(role string) (partition, account string, err error) {
	a, err := arn.Parse(role)
	if err != nil || a.Service != "iam" || !strings.HasPrefix(a.Resource, "role/") {
		return "", "", fmt.Errorf("%q is not the ARN of a role", role)
	}
	return a.Partition, a.AccountID, nil
}

// newHTTPClient is shared by all clients: a scan talks to some hundred hosts, several connections each.
func newHTTPClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(5 * time.Minute).WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns = 4096
		t.MaxIdleConnsPerHost = 128
		t.ResponseHeaderTimeout = time.Minute // a connection that died silently must not stop the run
	})
}

// SteadyClient sends small bodies from memory of its own. The SDK closes the body of a request as soon as the answer
// is there, while net/http may still be looking for its end, and then breaks the connection: a fast answer would be
// lost and asked for again.
type SteadyClient struct{ aws.HTTPClient }

func (c SteadyClient) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil && r.ContentLength > 0 && r.ContentLength <= 1<<20 {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return c.HTTPClient.Do(r)
}

// newRetryer is called once per client, so that one throttled service of one account slows down no other. The
// SDK's retry budget is off: it turns a throttled call into a failed one, which would block images, and the adaptive
// mode slows down by itself.
func newRetryer() aws.Retryer {
	return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, func(o *retry.StandardOptions) {
			o.MaxAttempts = 8
			o.RateLimiter = ratelimit.None
		})
	})
}

// counting has every client count what it sends. It stands behind the retries.
func counting(calls *atomic.Int64) func(*config.LoadOptions) error {
	return config.WithAPIOptions([]func(*middleware.Stack) error{func(stack *middleware.Stack) error {
		if calls == nil {
			return nil
		}
		return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("CountCalls", func(
			ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
		) (middleware.DeserializeOutput, middleware.Metadata, error) {
			calls.Add(1)
			return next.HandleDeserialize(ctx, in)
		}), middleware.After)
	}})
}

// refreshEarly renews credentials before they expire, so that no long page loop meets dead ones.
func refreshEarly(o *aws.CredentialsCacheOptions) {
	o.ExpiryWindow = 5 * time.Minute
	o.ExpiryWindowJitterFrac = 0.5
}

// firstAnswer is how long STS may take to say who the hub is.
const firstAnswer = 30 * time.Second

// Impatient gives a configuration whose clients do not try again where nobody listens or where there is no such host. A
// scan does, since both pass; who asks whether something can be reached wants to know it now.
func Impatient(cfg aws.Config) aws.Config {
	cfg = cfg.Copy()
	if patient := cfg.Retryer; patient != nil {
		cfg.Retryer = func() aws.Retryer {
			r := patient()
			return impatient{retry.AddWithMaxAttempts(r, r.MaxAttempts()).(aws.RetryerV2)}
		}
	}
	return cfg
}

type impatient struct{ aws.RetryerV2 }

func (r impatient) IsErrorRetryable(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return !errors.Is(err, syscall.ECONNREFUSED) && !(ok && dns.IsNotFound) && r.RetryerV2.IsErrorRetryable(err)
}

// maxAttempts honours AWS_MAX_ATTEMPTS, which the SDK passes over where it is given a retryer.
func maxAttempts(o *config.LoadOptions) error {
	env, err := config.NewEnvConfig()
	if err != nil {
		return err
	}
	if retryer := o.Retryer; retryer != nil && env.RetryMaxAttempts > 0 {
		o.Retryer = func() aws.Retryer { return retry.AddWithMaxAttempts(retryer(), env.RetryMaxAttempts) }
	}
	return nil
}
