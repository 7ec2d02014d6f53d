package orgsim

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsaccount "github.com/aws/aws-sdk-go-v2/service/account"
	accounttypes "github.com/aws/aws-sdk-go-v2/service/account/types"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

func TestOrganizationPaging(t *testing.T) {
	m := newSim(t)
	for i := range 43 { // with management, alpha and beta: 46
		m.AddAccount(fmt.Sprintf("5%011d", i), fmt.Sprintf("team-%d", i))
	}
	c := organizations.NewFromConfig(m.as("AKIA"))
	var ids []string
	var sizes []int
	pages := organizations.NewListAccountsPaginator(c, &organizations.ListAccountsInput{})
	for pages.HasMorePages() {
		p, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(p.Accounts))
		for _, a := range p.Accounts {
			ids = append(ids, *a.Id)
		}
	}
	if !slices.Equal(sizes, []int{20, 20, 6}) {
		t.Errorf("pages of %v", sizes)
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 46 {
		t.Errorf("%d different accounts, want 46", n)
	}
	for name, in := range map[string]organizations.ListAccountsInput{
		"too large a page": {MaxResults: aws.Int32(21)}, "bad token": {NextToken: aws.String("x")}, "token of something else": {NextToken: aws.String("bm90aGluZw==")},
	} {
		_, err := c.ListAccounts(t.Context(), &in)
		if codeOf(err) != "InvalidInputException" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOrganizationTree(t *testing.T) {
	m := newSim(t)
	ctx := t.Context()
	c := organizations.NewFromConfig(m.as("AKIA"))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	roots, err := c.ListRoots(ctx, nil)
	must(err)
	root := roots.Roots[0].Id
	prod, err := c.CreateOrganizationalUnit(ctx, &organizations.CreateOrganizationalUnitInput{ParentId: root, Name: aws.String("prod")})
	must(err)
	_, err = c.CreateOrganizationalUnit(ctx, &organizations.CreateOrganizationalUnitInput{ParentId: root, Name: aws.String("prod")})
	wantCode(t, err, "DuplicateOrganizationalUnitException")
	web, err := c.CreateOrganizationalUnit(ctx, &organizations.CreateOrganizationalUnitInput{ParentId: prod.OrganizationalUnit.Id, Name: aws.String("web")})
	must(err)
	_, err = c.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: aws.String(accountA), SourceParentId: web.OrganizationalUnit.Id, DestinationParentId: prod.OrganizationalUnit.Id})
	wantCode(t, err, "SourceParentNotFoundException")
	_, err = c.MoveAccount(ctx, &organizations.MoveAccountInput{AccountId: aws.String(accountA), SourceParentId: root, DestinationParentId: web.OrganizationalUnit.Id})
	must(err)

	d, err := c.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: aws.String(accountA)})
	must(err)
	want := organizationID + "/" + *root + "/" + *prod.OrganizationalUnit.Id + "/" + *web.OrganizationalUnit.Id + "/" + accountA + "/"
	if !slices.Equal(d.Account.Paths, []string{want}) {
		t.Errorf("paths %v, want %s", d.Account.Paths, want)
	}
	in, err := c.ListAccountsForParent(ctx, &organizations.ListAccountsForParentInput{ParentId: web.OrganizationalUnit.Id})
	must(err)
	if len(in.Accounts) != 1 || *in.Accounts[0].Id != accountA {
		t.Errorf("accounts of the unit: %v", in.Accounts)
	}
	parents, err := c.ListParents(ctx, &organizations.ListParentsInput{ChildId: web.OrganizationalUnit.Id})
	must(err)
	if *parents.Parents[0].Id != *prod.OrganizationalUnit.Id || parents.Parents[0].Type != types.ParentTypeOrganizationalUnit {
		t.Errorf("parents: %v", parents.Parents)
	}
	children, err := c.ListChildren(ctx, &organizations.ListChildrenInput{ParentId: root, ChildType: types.ChildTypeAccount})
	must(err)
	if len(children.Children) != 2 { // management and beta
		t.Errorf("accounts under the root: %d", len(children.Children))
	}

	// The trust of a role by its place in the organization follows the move.
	role := m.makeRole(accountB, "prod-only", trust(`{"ForAnyValue:StringLike":{"aws:PrincipalOrgPaths":"`+organizationID+`/*/`+*prod.OrganizationalUnit.Id+`/*"}}`, "*"), "")
	_, err = m.stsAs(m.as(accountA)).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
	wantCode(t, err, "")
	_, err = m.stsAs(m.as(ManagementAccount)).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")})
	wantCode(t, err, "AccessDenied")
}

func TestCreateAndCloseAccount(t *testing.T) {
	m := newSim(t)
	ctx := t.Context()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	m.SetClock(at)
	c := organizations.NewFromConfig(m.as("AKIA"))
	in := &organizations.CreateAccountInput{AccountName: aws.String("new"), Email: aws.String("new@example.com"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("x")}}}
	out, err := c.CreateAccount(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	st, err := c.DescribeCreateAccountStatus(ctx, &organizations.DescribeCreateAccountStatusInput{CreateAccountRequestId: out.CreateAccountStatus.Id})
	if err != nil {
		t.Fatal(err)
	}
	if s := st.CreateAccountStatus; s.State != types.CreateAccountStateSucceeded || *s.AccountId != "100000000001" || !s.CompletedTimestamp.Equal(at) {
		t.Errorf("status: %+v", s)
	}
	again, err := c.CreateAccount(ctx, in)
	if err != nil || again.CreateAccountStatus.FailureReason != types.CreateAccountFailureReasonEmailAlreadyExists {
		t.Errorf("the same e-mail again: %v %v", again, err)
	}
	tags, err := c.ListTagsForResource(ctx, &organizations.ListTagsForResourceInput{ResourceId: aws.String("100000000001")})
	if err != nil || len(tags.Tags) != 1 {
		t.Errorf("tags: %v %v", tags, err)
	}

	// The new account can be entered from the management account, and from nowhere else.
	admin := &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::100000000001:role/OrganizationAccountAccessRole"), RoleSessionName: aws.String("test")}
	_, err = m.stsAs(m.as(accountA)).AssumeRole(ctx, admin)
	wantCode(t, err, "AccessDenied")
	session := m.assume(m.as("AKIA"), admin)

	_, err = c.CloseAccount(ctx, &organizations.CloseAccountInput{AccountId: aws.String(ManagementAccount)})
	wantCode(t, err, "ConstraintViolationException")
	_, err = c.CloseAccount(ctx, &organizations.CloseAccountInput{AccountId: aws.String("100000000001")})
	wantCode(t, err, "")
	d, err := c.DescribeAccount(ctx, &organizations.DescribeAccountInput{AccountId: aws.String("100000000001")})
	if err != nil || d.Account.State != types.AccountStateClosed || d.Account.Status != types.AccountStatusSuspended {
		t.Errorf("closed account: %+v %v", d, err)
	}
	_, err = m.stsAs(session).GetCallerIdentity(ctx, nil)
	wantCode(t, err, "InvalidClientTokenId")
	_, err = m.stsAs(m.as("AKIA")).AssumeRole(ctx, admin)
	wantCode(t, err, "AccessDenied")
}

func TestWhoMaySeeTheOrganization(t *testing.T) {
	m := newSim(t)
	ctx := t.Context()
	member := organizations.NewFromConfig(m.as(accountA))
	_, err := member.DescribeOrganization(ctx, nil)
	wantCode(t, err, "")
	_, err = member.ListAccounts(ctx, nil)
	wantCode(t, err, "AccessDeniedException")
	_, err = organizations.NewFromConfig(m.as("AKIA")).RegisterDelegatedAdministrator(ctx, &organizations.RegisterDelegatedAdministratorInput{
		AccountId: aws.String(accountA), ServicePrincipal: aws.String("account.amazonaws.com")})
	wantCode(t, err, "")
	_, err = member.ListAccounts(ctx, nil)
	wantCode(t, err, "")
	_, err = member.CloseAccount(ctx, &organizations.CloseAccountInput{AccountId: aws.String(accountB)})
	wantCode(t, err, "AccessDeniedException")

	// Being in the right account is not enough: IAM has to allow it too.
	role := m.makeRole(ManagementAccount, "weak", trust("", ManagementAccount), allow("sts:*"))
	weak := m.assume(m.as("AKIA"), &sts.AssumeRoleInput{RoleArn: &role})
	_, err = organizations.NewFromConfig(weak).ListAccounts(ctx, nil)
	wantCode(t, err, "AccessDeniedException")
}

func TestRegions(t *testing.T) {
	m := newSim(t)
	ctx := t.Context()
	list := func(cfg aws.Config, id *string) ([]string, error) {
		var names []string
		pages := awsaccount.NewListRegionsPaginator(awsaccount.NewFromConfig(cfg), &awsaccount.ListRegionsInput{AccountId: id, MaxResults: aws.Int32(10),
			RegionOptStatusContains: []accounttypes.RegionOptStatus{accounttypes.RegionOptStatusEnabled, accounttypes.RegionOptStatusEnabledByDefault}})
		for pages.HasMorePages() {
			p, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, r := range p.Regions {
				names = append(names, *r.RegionName)
			}
		}
		return names, nil
	}
	admin, member := m.as("AKIA"), m.as(accountA)
	names, err := list(admin, aws.String(accountA))
	if err != nil || len(names) != 17 {
		t.Errorf("%d regions are enabled by default, want 17 (%v)", len(names), err)
	}
	for name, tc := range map[string]struct {
		cfg  aws.Config
		id   *string
		want string
	}{
		"management for itself": {admin, nil, ""}, "management with its own id": {admin, aws.String(ManagementAccount), "AccessDeniedException"},
		"member for itself": {member, nil, ""}, "member for another": {member, aws.String(accountB), "AccessDeniedException"},
	} {
		if _, err := list(tc.cfg, tc.id); codeOf(err) != tc.want {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}

	inMilan := member
	inMilan.Region = "eu-south-1"
	_, err = m.stsAs(inMilan).GetCallerIdentity(ctx, nil)
	wantCode(t, err, "InvalidClientTokenId")
	if _, err := awsaccount.NewFromConfig(admin).EnableRegion(ctx, &awsaccount.EnableRegionInput{AccountId: aws.String(accountA), RegionName: aws.String("eu-south-1")}); err != nil {
		t.Fatal(err)
	}
	_, err = m.stsAs(inMilan).GetCallerIdentity(ctx, nil)
	wantCode(t, err, "")
	if names, _ := list(member, nil); len(names) != 18 {
		t.Errorf("%d regions, want 18", len(names))
	}
	_, err = awsaccount.NewFromConfig(member).DisableRegion(ctx, &awsaccount.DisableRegionInput{RegionName: aws.String("us-east-1")})
	wantCode(t, err, "ValidationException")
	nowhere := member
	nowhere.Region = "mars-east-1"
	_, err = m.stsAs(nowhere).GetCallerIdentity(ctx, nil)
	wantCode(t, err, "InvalidClientTokenId")

	for region, want := range map[string]int{"cn-north-1": 2, "us-gov-west-1": 2} {
		cfg := member
		cfg.Region = region
		if names, err := list(cfg, nil); len(names) != want {
			t.Errorf("%s: %v %v", region, names, err)
		}
	}

	m.LimitRegions("us-east-1", "eu-west-1")
	if names, _ := list(member, nil); !slices.Equal(names, []string{"eu-west-1", "us-east-1"}) {
		t.Errorf("limited to %v", names)
	}
	inOhio := member
	inOhio.Region = "us-east-2"
	_, err = m.stsAs(inOhio).GetCallerIdentity(ctx, nil)
	wantCode(t, err, "InvalidClientTokenId")
}
