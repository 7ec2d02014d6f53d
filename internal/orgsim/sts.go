package orgsim

import (
	"crypto/rand"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
)

// stsService is AWS STS: AssumeRole and GetCallerIdentity.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func stsService() *service {
	s := &service{name: "sts", protocol: query, xmlns: "https://sts.amazonaws.com/doc/2011-06-15/"}
	op(s, "AssumeRole", assumeRole, selfAuthorized())
	op(s, "GetCallerIdentity", getCallerIdentity, selfAuthorized()) // needs no permission
	return s
}

func getCallerIdentity(c *Call, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{
		Account: aws.String(c.Account), Arn: aws.String(c.Caller.ARN), UserId: aws.String(c.Caller.UserID),
	}, nil
}

var (
	sessionNamePattern = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalIDPattern  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
)

const (
	minSession        = 900
	defaultSession    = 3600
	maxChainedSession = 3600 // https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
	longestSession    = 43200
	maxSessionPolicy  = 2048
)

func validationError(field, constraint string) error {
	return errorf("ValidationError", "1 validation error detected: Value at '%s' failed to satisfy constraint: %s", field, constraint)
}

func assumeRole(c *Call, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	name, roleARN := aws.ToString(in.RoleSessionName), aws.ToString(in.RoleArn)
	seconds := aws.ToInt32(in.DurationSeconds)
	if in.DurationSeconds == nil {
		seconds = defaultSession
	}
	switch {
	case !sessionNamePattern.MatchString(name):
		return nil, validationError("roleSessionName", `Member must satisfy regular expression pattern: [\w+=,.@-]{2,64}`)
	case len(roleARN) < 20:
		return nil, validationError("roleArn", "Member must have length greater than or equal to 20")
	case seconds < minSession || seconds > longestSession:
		return nil, validationError("durationSeconds", "Member must be between 900 and 43200")
	case in.ExternalId != nil && (len(*in.ExternalId) > 1224 || !externalIDPattern.MatchString(*in.ExternalId)):
		return nil, validationError("externalId", `Member must have length between 2 and 1224 and satisfy [\w+=,.@:\/-]*`)
	case in.Policy != nil && len(*in.Policy) > maxSessionPolicy:
		return nil, validationError("policy", "Member must have length less than or equal to 2048")
	}

	account, r, err := c.assumableRole(in, roleARN)
	if err != nil {
		return nil, err
	}
	if c.Caller.isSession() && seconds > maxChainedSession {
		return nil, errorf("ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	}
	if seconds > r.maxSession {
		return nil, errorf("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	policies, err := c.sessionPolicies(in, account)
	if err != nil {
		return nil, err
	}

	ses := &session{
		token: "SIM" + rand.Text() + rand.Text(), account: account, role: r.name, name: name, partition: c.Partition,
		policies: policies, expires: time.Now().Add(time.Duration(seconds) * time.Second).Truncate(time.Second),
	}
	key := sessionPrefix + rand.Text()[:13]
	c.Server.sessions.put(key, ses)
	out := &sts.AssumeRoleOutput{
		AssumedRoleUser: &types.AssumedRoleUser{
			Arn:           aws.String(ses.arn()),
			AssumedRoleId: aws.String(r.id + ":" + name),
		},
		Credentials: &types.Credentials{
			AccessKeyId: aws.String(key), SecretAccessKey: aws.String(rand.Text() + rand.Text()[:14]),
			SessionToken: aws.String(ses.token), Expiration: aws.Time(ses.expires),
		},
		SourceIdentity: in.SourceIdentity,
	}
	if in.Policy != nil {
		out.PackedPolicySize = aws.Int32(int32(max(1, len(*in.Policy)*100/maxSessionPolicy)))
	}
	return out, nil
}

// assumableRole finds the role and asks its trust policy and the caller's own policies. A role that does not
// exist is the same answer as one that refuses, as AWS does it.
func (c *Call) assumableRole(in *sts.AssumeRoleInput, roleARN string) (account string, r *role, err error) {
	refused := c.accessDeniedError("User: " + c.Caller.ARN + " is not authorized to perform: sts:AssumeRole on resource: " + roleARN)
	parts := strings.SplitN(roleARN, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || !strings.HasPrefix(parts[5], "role/") {
		return "", nil, errorf("ValidationError", "%s is invalid", roleARN)
	}
	account = parts[4]
	a := c.Server.accounts[account]
	if a == nil || a.member.closed() || parts[1] != c.Partition {
		return "", nil, refused
	}
	r = a.iam.roles[roleARN[strings.LastIndexByte(roleARN, '/')+1:]]
	if r == nil || r.arn(c.Partition, account) != roleARN {
		return "", nil, refused
	}
	c.conditions = map[string][]string{"sts:RoleSessionName": {aws.ToString(in.RoleSessionName)}}
	if in.ExternalId != nil {
		c.conditions["sts:ExternalId"] = []string{*in.ExternalId}
	}
	// The trust policy has to allow even within the account, where any other resource's policy need not.
	if v := c.newEvaluation("sts:AssumeRole", roleARN, account).evaluate(r.trust); v == silent || v == denies {
		return "", nil, refused
	}
	if err := c.authorize("sts:AssumeRole", roleARN, account, r.trust); err != nil {
		return "", nil, refused
	}
	return account, r, nil
}

// sessionPolicies are the policies that cut the new session down; nil if the caller passes none.
func (c *Call) sessionPolicies(in *sts.AssumeRoleInput, account string) ([]*policyDoc, error) {
	var out []*policyDoc
	if in.Policy != nil {
		p, err := parseIdentityPolicy(*in.Policy)
		if err != nil {
			return nil, errorf("MalformedPolicyDocument", "%v", err)
		}
		out = append(out, p)
	}
	if len(in.PolicyArns) > 10 {
		return nil, validationError("policyArns", "Member must have length less than or equal to 10")
	}
	for _, d := range in.PolicyArns {
		p := c.Server.managedPolicy(account, aws.ToString(d.Arn))
		if p == nil {
			return nil, errorf("MalformedPolicyDocument", "the policy %s does not exist", aws.ToString(d.Arn))
		}
		out = append(out, p)
	}
	return out, nil
}

func (ses *session) arn() string {
	return "arn:" + ses.partition + ":sts::" + ses.account + ":assumed-role/" + ses.role + "/" + ses.name
}

// sessionPrincipal is a session with what its role may do now; a role that is gone may do nothing.
func (s *Server) sessionPrincipal(ses *session) principal {
	p := principal{
		Account: ses.account, ARN: ses.arn(), session: ses.policies,
		RoleARN: "arn:" + ses.partition + ":iam::" + ses.account + ":role/" + ses.role,
	}
	a := s.accounts[ses.account]
	if a == nil {
		return p
	}
	if r := a.iam.roles[ses.role]; r != nil {
		p.RoleARN = r.arn(ses.partition, ses.account)
		p.UserID = r.id + ":" + ses.name
		p.identity = s.policiesOf(a, r)
	}
	return p
}
