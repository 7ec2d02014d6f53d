package assume

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// ErrNoRole says that an account has no role to be entered by, and is not entered as the hub itself.
var ErrNoRole = errors.New("no role is configured")

// ErrNoPolicy says that a session would be as wide as its role, where a session policy was meant to hold.
var ErrNoPolicy = errors.New("no session policy would hold")

// ErrWrongAccount says that STS gave a session in another account than the one that was meant.
var ErrWrongAccount = errors.New("the session is in another account")

// Error is why an account cannot be entered.
type Error struct {
	Account string
	Role    string // ARN; "" where there is none
	Hint    string // what to do about it
	Err     error
}

func (e *Error) Error() string {
	s := "account " + e.Account + ": "
	if e.Role != "" {
		s += "assume role " + e.Role + ": "
	}
	// Of an answer only code and message are shown: its request id makes each text another.
	var api smithy.APIError
	if errors.As(e.Err, &api) {
		s += fmt.Sprintf("%s: %q", api.ErrorCode(), api.ErrorMessage())
	} else {
		s += e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// RetryableError is false: the calls that wait for the session shall not repeat what STS's own client has given up.
func (e *Error) RetryableError() bool { return false }

// failing is an account that cannot be entered, for a reason known beforehand.
type failing struct{ err *Error }

func (f failing) Retrieve(context.Context) (aws.Credentials, error) { return aws.Credentials{}, f.err }

// session assumes one role with one policy, and remembers for good if it was refused. It stands behind an aws.CredentialsCache,
// which keeps the credentials and lets one caller at a time through.
type session struct {
	client        *sts.Client
	account, role string
	externalID    string
	assume        *stscreds.AssumeRoleProvider
	hub           string // ARN, for the hint
	mu            sync.Mutex
	refused       error
}

// newSession makes the credentials of a role that caller assumes.
func (p *Provider) newSession(client *sts.Client, account, role, externalID, policy string, caller Identity) aws.CredentialsProvider {
	duration := p.opts.Duration
	if caller.Chained {
		duration = min(duration, chainedLimit)
	}
	s := &session{client: client, account: account, role: role, externalID: externalID, hub: caller.ARN}
	s.assume = stscreds.NewAssumeRoleProvider(client, role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = p.opts.SessionName
		o.Duration = duration
		if externalID != "" {
			o.ExternalID = &externalID
		}
		if policy != "" {
			o.Policy = &policy
		}
	})
	return aws.NewCredentialsCache(s, refreshEarly)
}

// Retrieve implements aws.CredentialsProvider. All its errors are *Error.
func (s *session) Retrieve(ctx context.Context) (aws.Credentials, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused != nil {
		return aws.Credentials{}, s.refused
	}
	creds, err := s.assume.Retrieve(ctx)
	if err == nil {
		err = s.verify(ctx, creds)
	}
	if err == nil {
		return creds, nil
	}
	hint, final := s.judge(err)
	err = &Error{Account: s.account, Role: s.role, Hint: hint, Err: err}
	if final {
		s.refused = err
	}
	return aws.Credentials{}, err
}

// verify makes sure that the session is in the account that was meant.
func (s *session) verify(ctx context.Context, creds aws.Credentials) error {
	got := creds.AccountID
	if got == "" {
		out, err := s.client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}, func(o *sts.Options) {
			o.Credentials = credentials.StaticCredentialsProvider{Value: creds}
		})
		if err != nil {
			return fmt.Errorf("find out the session's account: %w", err)
		}
		got = aws.ToString(out.Account)
	}
	if got != s.account {
		return fmt.Errorf("%w: %q", ErrWrongAccount, got)
	}
	return nil
}

// judge says what to do about an error, and whether the same request can only meet it again.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors
func (s *session) judge(err error) (hint string, final bool) {
	if errors.Is(err, ErrWrongAccount) {
		return "check the account in the role's ARN", true
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return "", false
	}
	switch api.ErrorCode() {
	case "AccessDenied", "AccessDeniedException":
		external := "asks for an external id"
		if s.externalID != "" {
			external = "asks for another external id"
		}
		return fmt.Sprintf("the role does not exist there, its trust policy does not admit %s or %s, or that identity lacks sts:AssumeRole", s.hub, external), true
	case "ValidationError":
		return "the role may not allow sessions this long: see duration under [assume]", true
	case "MalformedPolicyDocument", "PackedPolicyTooLarge":
		return "the session policy is not accepted", true
	case "RegionDisabledException":
		return "STS is not active in this region for that account: set AWS_REGION to a region that is enabled by default", true
	case "ExpiredToken", "ExpiredTokenException":
		return "the hub's own credentials have expired", false
	}
	return "", false
}

// cacheless takes off what aws.CredentialsCache puts around an error.
func cacheless(err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return err
}
