package orgsim

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	orgtypes "github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
)

func TestCallerIdentity(t *testing.T) {
	m := newSim(t)
	role := m.makeRole(accountA, "reader", trust("", ManagementAccount), allow("iam:*"))
	session := m.assume(m.as("AKIAANYTHING"), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("me@work")})
	inChina := m.as(accountA)
	inChina.Region = "cn-north-1"
	for name, tc := range map[string]struct {
		cfg          aws.Config
		account, arn string
	}{
		"account id": {m.as(accountA), accountA, "arn:aws:iam::111111111111:root"},
		"any key":    {m.as("AKIAANYTHING"), ManagementAccount, "arn:aws:iam::999999999999:user/admin"},
		"session":    {session, accountA, "arn:aws:sts::111111111111:assumed-role/reader/me@work"},
		"partition":  {inChina, accountA, "arn:aws-cn:iam::111111111111:root"},
	} {
		out, err := m.stsAs(tc.cfg).GetCallerIdentity(t.Context(), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if *out.Account != tc.account || *out.Arn != tc.arn || *out.UserId == "" {
			t.Errorf("%s: %s %s %s", name, *out.Account, *out.Arn, *out.UserId)
		}
	}

	// An EKS token is a presigned GetCallerIdentity that somebody else sends.
	req, err := sts.NewPresignClient(m.stsAs(session)).PresignGetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(req.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || !strings.Contains(string(body), "<Arn>arn:aws:sts::111111111111:assumed-role/reader/me@work</Arn>") {
		t.Errorf("presigned: %s %s", resp.Status, body)
	}
}

func TestCredentials(t *testing.T) {
	m := newSim(t)
	role := m.makeRole(accountA, "reader", trust("", ManagementAccount), "")
	out, err := m.stsAs(m.as("AKIA")).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
	if err != nil {
		t.Fatal(err)
	}
	c := out.Credentials
	check := func(name string, cfg aws.Config, want string) {
		t.Helper()
		_, err := m.stsAs(cfg).GetCallerIdentity(t.Context(), nil)
		if codeOf(err) != want {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	check("good", m.as(*c.AccessKeyId, "x", *c.SessionToken), "")
	check("without token", m.as(*c.AccessKeyId), "InvalidClientTokenId")
	check("wrong token", m.as(*c.AccessKeyId, "x", "y"), "InvalidClientTokenId")
	check("an account outside of the organization", m.as("333333333333"), "")
	check("session of another run", m.as("ASIASIM0000000000000", "x", "y"), "InvalidClientTokenId")
	china := m.as(*c.AccessKeyId, "x", *c.SessionToken)
	china.Region = "cn-north-1"
	check("another partition", china, "InvalidClientTokenId")

	m.SetClock(time.Now().Add(1000 * time.Hour))
	check("sessions live in real time", m.as(*c.AccessKeyId, "x", *c.SessionToken), "")
	m.sessions.get(*c.AccessKeyId).expires = time.Now()
	check("expired", m.as(*c.AccessKeyId, "x", *c.SessionToken), "ExpiredToken")

	for name, tc := range map[string]struct {
		auth   string
		status int
		code   string
	}{
		"no authorization": {"", 403, "MissingAuthenticationToken"},
		"another scheme":   {"Bearer x", 400, "IncompleteSignature"},
		"short scope":      {"AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1, Signature=0", 400, "IncompleteSignature"},
	} {
		req, _ := http.NewRequest("POST", m.url, strings.NewReader("Action=GetCallerIdentity"))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if tc.auth != "" {
			req.Header.Set("Authorization", tc.auth)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != tc.status || !strings.Contains(string(body), "<Code>"+tc.code+"</Code>") {
			t.Errorf("%s: %s %s", name, resp.Status, body)
		}
	}
}

func TestAssumeRole(t *testing.T) {
	m := newSim(t)
	policy := allow("iam:ListRoles", "iam:GetRole", "s3:*", "sts:AssumeRole")
	open := m.makeRole(accountA, "open", trust("", ManagementAccount), policy)
	m.makeRole(accountA, "external", trust(`{"StringEquals":{"sts:ExternalId":"demurrage"}}`, ManagementAccount), policy)
	m.makeRole(accountA, "member", trust(`{"StringEquals":{"aws:PrincipalOrgID":"`+organizationID+`"}}`, "*"), policy)
	m.makeRole(accountA, "stranger", trust(`{"StringEquals":{"aws:PrincipalOrgID":"o-another000"}}`, "*"), policy)
	m.makeRole(accountA, "root-path", trust(`{"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"`+organizationID+`/`+rootID+`/*"}}`, "*"), policy)
	m.makeRole(accountA, "only-hub", trust("", "arn:aws:iam::"+accountB+":role/hub"), policy)
	m.makeRole(accountB, "hub", trust("", ManagementAccount), allow("sts:AssumeRole"))
	m.makeRole(accountB, "powerless", trust("", ManagementAccount), "")

	admin := m.as("AKIA")
	hub := m.assume(admin, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + accountB + ":role/hub")})
	powerless := m.assume(admin, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + accountB + ":role/powerless")})
	inA := func(name string) string { return "arn:aws:iam::" + accountA + ":role/" + name }
	long := allow(strings.Repeat("s3:x", 600))

	for _, tc := range []struct {
		name string
		cfg  aws.Config
		in   sts.AssumeRoleInput
		want string
	}{
		{"trusted account", admin, sts.AssumeRoleInput{RoleArn: &open}, ""},
		{"twelve hours", admin, sts.AssumeRoleInput{RoleArn: &open, DurationSeconds: aws.Int32(43200)}, ""},
		{"untrusted account", m.as(accountB), sts.AssumeRoleInput{RoleArn: &open}, "AccessDenied"},
		{"the role's own account, untrusted", m.as(accountA), sts.AssumeRoleInput{RoleArn: &open}, "AccessDenied"},
		{"no such role", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA("nobody"))}, "AccessDenied"},
		{"no such account", admin, sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::333333333333:role/open")}, "AccessDenied"},
		{"wrong path", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA("x/open"))}, "AccessDenied"},
		{"wrong partition", admin, sts.AssumeRoleInput{RoleArn: aws.String("arn:aws-cn:iam::" + accountA + ":role/open")}, "AccessDenied"},
		{"not a role", admin, sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + accountA + ":user/open")}, "ValidationError"},

		{"external id missing", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA("external"))}, "AccessDenied"},
		{"external id wrong", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA("external")), ExternalId: aws.String("Demurrage")}, "AccessDenied"},
		{"external id right", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA("external")), ExternalId: aws.String("demurrage")}, ""},
		{"external id malformed", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA("external")), ExternalId: aws.String("a b")}, "ValidationError"},

		{"organization", m.as(accountB), sts.AssumeRoleInput{RoleArn: aws.String(inA("member"))}, ""},
		{"another organization", m.as(accountB), sts.AssumeRoleInput{RoleArn: aws.String(inA("stranger"))}, "AccessDenied"},
		{"organization path", m.as(accountB), sts.AssumeRoleInput{RoleArn: aws.String(inA("root-path"))}, ""},

		{"the trusted role", hub, sts.AssumeRoleInput{RoleArn: aws.String(inA("only-hub"))}, ""},
		{"not the trusted role", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA("only-hub"))}, "AccessDenied"},
		{"a session that may not assume", powerless, sts.AssumeRoleInput{RoleArn: aws.String(inA("member"))}, "AccessDenied"},
		{"chained, one hour", hub, sts.AssumeRoleInput{RoleArn: aws.String(inA("only-hub")), DurationSeconds: aws.Int32(3600)}, ""},
		{"chained, longer", hub, sts.AssumeRoleInput{RoleArn: aws.String(inA("only-hub")), DurationSeconds: aws.Int32(3601)}, "ValidationError"},

		{"too short", admin, sts.AssumeRoleInput{RoleArn: &open, DurationSeconds: aws.Int32(899)}, "ValidationError"},
		{"longer than the role allows", admin, sts.AssumeRoleInput{RoleArn: aws.String(inA(defaultRole)), DurationSeconds: aws.Int32(3601)}, "ValidationError"},
		{"bad session name", admin, sts.AssumeRoleInput{RoleArn: &open, RoleSessionName: aws.String("a/b")}, "ValidationError"},
		{"long session name", admin, sts.AssumeRoleInput{RoleArn: &open, RoleSessionName: aws.String(strings.Repeat("x", 65))}, "ValidationError"},
		{"malformed session policy", admin, sts.AssumeRoleInput{RoleArn: &open, Policy: aws.String(`{"Statement":[]}`)}, "MalformedPolicyDocument"},
		{"session policy too long", admin, sts.AssumeRoleInput{RoleArn: &open, Policy: &long}, "ValidationError"},
		{"unknown policy ARN", admin, sts.AssumeRoleInput{RoleArn: &open, PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/None")}}}, "MalformedPolicyDocument"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.in.RoleSessionName == nil {
				tc.in.RoleSessionName = aws.String("test")
			}
			out, err := m.stsAs(tc.cfg).AssumeRole(t.Context(), &tc.in)
			wantCode(t, err, tc.want)
			if err != nil {
				return
			}
			seconds := int32(3600)
			if tc.in.DurationSeconds != nil {
				seconds = *tc.in.DurationSeconds
			}
			left := time.Until(*out.Credentials.Expiration)
			if d := time.Duration(seconds)*time.Second - left; d < -time.Second || d > 30*time.Second {
				t.Errorf("expires in %v, want %d s", left, seconds)
			}
		})
	}
}

func TestSessionIsRestricted(t *testing.T) {
	m := newSim(t)
	role := m.makeRole(accountA, "reader", trust("", ManagementAccount), allow("iam:*", "s3:CreateBucket"))
	admin := m.as("AKIA")
	try := func(cfg aws.Config, listRoles, deleteRole, createBucket string) {
		t.Helper()
		c := iam.NewFromConfig(cfg)
		_, err := c.ListRoles(t.Context(), &iam.ListRolesInput{})
		wantCode(t, err, listRoles)
		_, err = c.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("nobody")})
		wantCode(t, err, deleteRole)
		_, err = s3.NewFromConfig(cfg).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String(fmt.Sprintf("bucket-%d", time.Now().UnixNano()))})
		wantCode(t, err, createBucket)
	}
	whole := m.assume(admin, &sts.AssumeRoleInput{RoleArn: &role})
	try(whole, "", "NoSuchEntity", "")
	try(m.assume(admin, &sts.AssumeRoleInput{RoleArn: &role, Policy: aws.String(allow("iam:List*", "ecr:*"))}), "", "AccessDenied", "AccessDenied")
	try(m.assume(admin, &sts.AssumeRoleInput{RoleArn: &role, PolicyArns: []ststypes.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/ReadOnlyAccess")}}}),
		"", "AccessDenied", "AccessDenied")

	// A session has what its role has now.
	owner := iam.NewFromConfig(m.as(accountA))
	if _, err := owner.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String("reader"), PolicyName: aws.String("p")}); err != nil {
		t.Fatal(err)
	}
	try(whole, "AccessDenied", "AccessDenied", "AccessDenied")
	if _, err := owner.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}); err != nil {
		t.Fatal(err)
	}
	try(whole, "", "NoSuchEntity", "")
}

func TestIAM(t *testing.T) {
	m := newSim(t)
	c := iam.NewFromConfig(m.as(accountA))
	ctx := t.Context()
	text := trust("", ManagementAccount)
	if _, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), Path: aws.String("/team/"), AssumeRolePolicyDocument: &text}); err != nil {
		t.Fatal(err)
	}
	_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: &text})
	wantCode(t, err, "EntityAlreadyExists")
	_, err = c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("bad"), AssumeRolePolicyDocument: aws.String("{}")})
	wantCode(t, err, "MalformedPolicyDocument")
	_, err = c.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("none")})
	wantCode(t, err, "NoSuchEntity")
	_, err = iam.NewFromConfig(m.as(accountB)).GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r")})
	wantCode(t, err, "NoSuchEntity")
	got, err := c.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r")})
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:iam::" + accountA + ":role/team/r"; *got.Role.Arn != want {
		t.Errorf("ARN %s, want %s", *got.Role.Arn, want)
	}

	pol, err := c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("own"), PolicyDocument: aws.String(allow("s3:ListAllMyBuckets"))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: pol.Policy.Arn}); err != nil {
		t.Fatal(err)
	}
	_, err = c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("r"), PolicyArn: aws.String("arn:aws:iam::" + accountB + ":policy/own")})
	wantCode(t, err, "NoSuchEntity")
	session := m.assume(m.as("AKIA"), &sts.AssumeRoleInput{RoleArn: got.Role.Arn})
	_, err = s3.NewFromConfig(session).ListBuckets(ctx, nil)
	wantCode(t, err, "")
	_, err = c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("r")})
	wantCode(t, err, "DeleteConflict")

	if _, err := c.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("r"), PolicyDocument: aws.String(trust("", accountB))}); err != nil {
		t.Fatal(err)
	}
	_, err = m.stsAs(m.as("AKIA")).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: got.Role.Arn, RoleSessionName: aws.String("test")})
	wantCode(t, err, "AccessDenied")

	for i := range 120 {
		m.makeRole(accountB, fmt.Sprintf("role-%03d", i), text, "")
	}
	n := 0
	pages := iam.NewListRolesPaginator(iam.NewFromConfig(m.as(accountB)), &iam.ListRolesInput{})
	for pages.HasMorePages() {
		p, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(p.Roles)
	}
	if calls := findCall(m.Calls(), "iam", "ListRoles"); n != 121 || calls.Calls != 2 {
		t.Errorf("%d roles in %d pages, want 121 in 2", n, calls.Calls)
	}
}

// TestAccountOutsideOfTheOrganization: every id is somebody's account, and no account is a member by itself.
func TestAccountOutsideOfTheOrganization(t *testing.T) {
	const stranger = "333333333333"
	m := newSim(t)
	role := m.makeRole(accountA, "members", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole",
		"Condition":{"StringEquals":{"aws:PrincipalOrgID":"`+organizationID+`"}}}]}`, "")
	for account, want := range map[string]string{stranger: "AccessDenied", ManagementAccount: ""} {
		_, err := m.stsAs(m.as(account)).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
		wantCode(t, err, want)
	}
	_, err := organizations.NewFromConfig(m.as(stranger)).DescribeOrganization(t.Context(), nil)
	wantCode(t, err, "AWSOrganizationsNotInUseException")
	c := organizations.NewFromConfig(m.as(ManagementAccount))
	_, err = c.DescribeAccount(t.Context(), &organizations.DescribeAccountInput{AccountId: aws.String(stranger)})
	wantCode(t, err, "AccountNotFoundException")
	out, err := c.ListAccounts(t.Context(), nil)
	if err != nil || slices.ContainsFunc(out.Accounts, func(a orgtypes.Account) bool { return *a.Id == stranger }) {
		t.Errorf("accounts: %+v %v", out, err)
	}
	// Once it joins, it has what it had.
	strangerRole := m.makeRole(stranger, "kept", trust("", ManagementAccount), "")
	m.AddAccount(stranger, "joined")
	if _, err := m.stsAs(m.as(ManagementAccount)).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &strangerRole, RoleSessionName: aws.String("test")}); err != nil {
		t.Error(err)
	}
}
