package orgsim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
)

const (
	organizationID = "o-demurrage01"
	rootID         = "r-demu"
	listLimit      = 20 // the page of every list; see orgs_reference_limits.html
	defaultRole    = "OrganizationAccountAccessRole"
)

// membership is an account as the organization knows it.
type membership struct {
	name, email string
	parent      string // root or OU
	joined      time.Time
	created     bool // by the organization; the management account was invited
	state       types.AccountState
}

// closed tells whether the account's credentials stopped working.
func (m *membership) closed() bool { return m.state != types.AccountStateActive }

// organizationState is the tree above the accounts.
type organizationState struct {
	order     []string // account ids in the order they joined
	units     map[string]*unit
	unitOrder []string
	requests  map[string]types.CreateAccountStatus
	tags      map[string]map[string]string
	delegated map[string]map[string]time.Time // account -> service principal -> since
	nextID    int
}

type unit struct{ id, name, parent string }

func newOrganization() organizationState {
	return organizationState{
		units:     make(map[string]*unit),
		requests:  make(map[string]types.CreateAccountStatus),
		tags:      make(map[string]map[string]string),
		delegated: make(map[string]map[string]time.Time),
	}
}

// delegatedTo tells whether an account is a delegated administrator for a service; an empty service: for any.
func (st *organizationState) delegatedTo(account, service string) bool {
	services := st.delegated[account]
	if service == "" {
		return len(services) > 0
	}
	_, ok := services[service]
	return ok
}

// addAccount adds an account under the root, with the role that AWS makes in an account it creates.
func (s *Server) addAccount(id, name, email, roleName string, now time.Time) *account {
	if email == "" {
		email = id + "@example.com"
	}
	a := s.accounts[id]
	if a == nil {
		a = &account{id: id, s: s, regions: make(map[string]*region)}
		s.accounts[id] = a
	}
	a.member = membership{
		name: name, email: email, parent: rootID, joined: now, created: id != ManagementAccount,
		state: types.AccountStateActive,
	}
	s.org.order = append(s.org.order, id)
	if id == ManagementAccount {
		return a
	}
	if roleName == "" {
		roleName = defaultRole
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + ManagementAccount + `:root"},"Action":"sts:AssumeRole"}]}`
	admin := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	a.putRole(&role{
		name: roleName, path: "/", created: now, maxSession: 3600, trustText: trust, trust: mustParsePolicy(trust),
		inline: map[string]inlinePolicy{"AdministratorAccess": {text: admin, doc: mustParsePolicy(admin)}},
	})
	return a
}

// ancestors are the ids from the root down to a root, unit or account's parent, with the parent itself.
func (st *organizationState) ancestors(parent string) []string {
	var out []string
	for parent != rootID {
		u := st.units[parent]
		if u == nil {
			return nil
		}
		out = append(out, u.id)
		parent = u.parent
	}
	out = append(out, rootID)
	slices.Reverse(out)
	return out
}

// path is "o-…/r-…/ou-…/" of a parent.
func (st *organizationState) path(parent string) string {
	return organizationID + "/" + strings.Join(st.ancestors(parent), "/") + "/"
}

// organizationPath is an account's value of aws:PrincipalOrgPaths.
func (s *Server) organizationPath(id string) string {
	if !s.inOrganization(id) {
		return ""
	}
	return s.org.path(s.accounts[id].member.parent)
}

// organizationsService is AWS Organizations: accounts, units, tags and delegated administrators.
// See https://docs.aws.amazon.com/organizations/latest/APIReference/
func organizationsService() *service {
	s := &service{
		name: "organizations", protocol: json11, targetPrefix: "AWSOrganizationsV20161128", global: true,
		badParameter: "InvalidInputException",
	}
	op(s, "DescribeOrganization", describeOrganization) // any member account may ask
	op(s, "ListRoots", forReaders(listRoots))
	op(s, "ListAccounts", forReaders(listAccounts))
	op(s, "DescribeAccount", forReaders(describeAccount))
	op(s, "ListAccountsForParent", forReaders(listAccountsForParent))
	op(s, "ListChildren", forReaders(listChildren))
	op(s, "ListParents", forReaders(listParents))
	op(s, "DescribeOrganizationalUnit", forReaders(describeOrganizationalUnit))
	op(s, "ListOrganizationalUnitsForParent", forReaders(listOrganizationalUnitsForParent))
	op(s, "DescribeCreateAccountStatus", forReaders(describeCreateAccountStatus))
	op(s, "ListTagsForResource", forReaders(listTagsForResource))
	op(s, "ListDelegatedAdministrators", forReaders(listDelegatedAdministrators))
	op(s, "CreateAccount", forManagement(createAccount))
	op(s, "CreateOrganizationalUnit", forManagement(createOrganizationalUnit))
	op(s, "MoveAccount", forManagement(moveAccount))
	op(s, "CloseAccount", forManagement(closeAccount))
	op(s, "TagResource", forManagement(tagResource))
	op(s, "UntagResource", forManagement(untagResource))
	op(s, "RegisterDelegatedAdministrator", forManagement(registerDelegatedAdministrator))
	return s
}

// forManagement lets only the management account in.
func forManagement[I, O any](f func(*Call, *I) (*O, error)) func(*Call, *I) (*O, error) {
	return func(c *Call, in *I) (*O, error) {
		if c.Account != ManagementAccount {
			return nil, errorf("AccessDeniedException", "You don't have permissions to access this resource.")
		}
		return f(c, in)
	}
}

// forReaders lets the management account and delegated administrators (of any service) in.
func forReaders[I, O any](f func(*Call, *I) (*O, error)) func(*Call, *I) (*O, error) {
	return func(c *Call, in *I) (*O, error) {
		if c.Account != ManagementAccount && !c.Server.org.delegatedTo(c.Account, "") {
			return nil, errorf("AccessDeniedException", "You don't have permissions to access this resource.")
		}
		return f(c, in)
	}
}

// orgARN is the ARN of something in the organization: kind is account, ou, root or organization.
func (c *Call) orgARN(kind, id string) *string {
	arn := "arn:" + c.Partition + ":organizations::" + ManagementAccount + ":" + kind + "/" + organizationID
	if id != "" {
		arn += "/" + id
	}
	return &arn
}

func describeOrganization(c *Call, _ *organizations.DescribeOrganizationInput) (*organizations.DescribeOrganizationOutput, error) {
	if !c.Server.inOrganization(c.Account) {
		return nil, errorf("AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
	}
	m := &c.Server.accounts[ManagementAccount].member
	return &organizations.DescribeOrganizationOutput{Organization: &types.Organization{
		Id: aws.String(organizationID), Arn: c.orgARN("organization", ""), FeatureSet: types.OrganizationFeatureSetAll,
		MasterAccountId: aws.String(ManagementAccount), MasterAccountArn: c.orgARN("account", ManagementAccount), MasterAccountEmail: aws.String(m.email),
		AvailablePolicyTypes: []types.PolicyTypeSummary{},
	}}, nil
}

func listRoots(c *Call, in *organizations.ListRootsInput) (*organizations.ListRootsOutput, error) {
	roots := []types.Root{{Id: aws.String(rootID), Arn: c.orgARN("root", rootID), Name: aws.String("Root"), PolicyTypes: []types.PolicyTypeSummary{}}}
	out, next, err := page(roots, in.MaxResults, listLimit, listLimit, in.NextToken)
	return &organizations.ListRootsOutput{Roots: out, NextToken: next}, err
}

// describeMember is the account as the API shows it. Status is being retired in favour of State: a closed
// account is CLOSED there and SUSPENDED here.
func (c *Call) describeMember(id string) types.Account {
	m := &c.Server.accounts[id].member
	out := types.Account{
		Id: aws.String(id), Arn: c.orgARN("account", id), Name: aws.String(m.name), Email: aws.String(m.email),
		JoinedMethod: types.AccountJoinedMethodInvited, JoinedTimestamp: aws.Time(m.joined),
		State: m.state, Status: types.AccountStatusActive, Paths: []string{c.Server.org.path(m.parent) + id + "/"},
	}
	if m.created {
		out.JoinedMethod = types.AccountJoinedMethodCreated
	}
	if m.closed() {
		out.Status = types.AccountStatusSuspended
	}
	return out
}

func listAccounts(c *Call, in *organizations.ListAccountsInput) (*organizations.ListAccountsOutput, error) {
	ids, next, err := page(c.Server.org.order, in.MaxResults, listLimit, listLimit, in.NextToken)
	return &organizations.ListAccountsOutput{Accounts: c.describeMembers(ids), NextToken: next}, err
}

func (c *Call) describeMembers(ids []string) []types.Account {
	out := make([]types.Account, 0, len(ids))
	for _, id := range ids {
		out = append(out, c.describeMember(id))
	}
	return out
}

// memberAccount finds an account of the organization.
func (c *Call) memberAccount(id *string) (*account, error) {
	if !isAccountID(aws.ToString(id)) {
		return nil, errorf("InvalidInputException", "You provided a value that does not match the required pattern.")
	}
	if c.Server.inOrganization(*id) {
		return c.Server.accounts[*id], nil
	}
	return nil, errorf("AccountNotFoundException", "You specified an account that doesn't exist.")
}

func describeAccount(c *Call, in *organizations.DescribeAccountInput) (*organizations.DescribeAccountOutput, error) {
	a, err := c.memberAccount(in.AccountId)
	if err != nil {
		return nil, err
	}
	d := c.describeMember(a.id)
	return &organizations.DescribeAccountOutput{Account: &d}, nil
}

// isParent tells whether an id is the root or a unit.
func (st *organizationState) isParent(id string) bool { return id == rootID || st.units[id] != nil }

func errParentNotFound(code string) error {
	return errorf(code, "You specified parent that doesn't exist.")
}

// accountsIn are the ids of the accounts right under a parent.
func (s *Server) accountsIn(parent string) []string {
	var out []string
	for _, id := range s.org.order {
		if s.accounts[id].member.parent == parent {
			out = append(out, id)
		}
	}
	return out
}

func (st *organizationState) unitsIn(parent string) []string {
	var out []string
	for _, id := range st.unitOrder {
		if st.units[id].parent == parent {
			out = append(out, id)
		}
	}
	return out
}

func listAccountsForParent(c *Call, in *organizations.ListAccountsForParentInput) (*organizations.ListAccountsForParentOutput, error) {
	parent := aws.ToString(in.ParentId)
	if !c.Server.org.isParent(parent) {
		return nil, errParentNotFound("ParentNotFoundException")
	}
	ids, next, err := page(c.Server.accountsIn(parent), in.MaxResults, listLimit, listLimit, in.NextToken)
	return &organizations.ListAccountsForParentOutput{Accounts: c.describeMembers(ids), NextToken: next}, err
}

func listChildren(c *Call, in *organizations.ListChildrenInput) (*organizations.ListChildrenOutput, error) {
	parent := aws.ToString(in.ParentId)
	if !c.Server.org.isParent(parent) {
		return nil, errParentNotFound("ParentNotFoundException")
	}
	var all []string
	switch in.ChildType {
	case types.ChildTypeAccount:
		all = c.Server.accountsIn(parent)
	case types.ChildTypeOrganizationalUnit:
		all = c.Server.org.unitsIn(parent)
	default:
		return nil, errorf("InvalidInputException", "You specified an invalid value for ChildType.")
	}
	ids, next, err := page(all, in.MaxResults, listLimit, listLimit, in.NextToken)
	children := []types.Child{}
	for _, id := range ids {
		children = append(children, types.Child{Id: aws.String(id), Type: in.ChildType})
	}
	return &organizations.ListChildrenOutput{Children: children, NextToken: next}, err
}

func listParents(c *Call, in *organizations.ListParentsInput) (*organizations.ListParentsOutput, error) {
	id := aws.ToString(in.ChildId)
	var parent string
	if c.Server.inOrganization(id) {
		parent = c.Server.accounts[id].member.parent
	} else if u := c.Server.org.units[id]; u != nil {
		parent = u.parent
	} else {
		return nil, errorf("ChildNotFoundException", "We can't find an organizational unit (OU) or AWS account with the ChildId that you specified.")
	}
	kind := types.ParentTypeOrganizationalUnit
	if parent == rootID {
		kind = types.ParentTypeRoot
	}
	return &organizations.ListParentsOutput{Parents: []types.Parent{{Id: aws.String(parent), Type: kind}}}, nil
}

func (c *Call) describeUnit(u *unit) *types.OrganizationalUnit {
	return &types.OrganizationalUnit{
		Id: aws.String(u.id), Arn: c.orgARN("ou", u.id), Name: aws.String(u.name), Path: aws.String(c.Server.org.path(u.id)),
	}
}

func createOrganizationalUnit(c *Call, in *organizations.CreateOrganizationalUnitInput) (*organizations.CreateOrganizationalUnitOutput, error) {
	st := &c.Server.org
	name, parent := aws.ToString(in.Name), aws.ToString(in.ParentId)
	if !st.isParent(parent) {
		return nil, errParentNotFound("ParentNotFoundException")
	}
	if name == "" || len(name) > 128 {
		return nil, errorf("InvalidInputException", "You specified an invalid value for Name.")
	}
	for _, id := range st.unitsIn(parent) {
		if st.units[id].name == name {
			return nil, errorf("DuplicateOrganizationalUnitException", "An OU with the same name already exists.")
		}
	}
	u := &unit{id: fmt.Sprintf("ou-%s-%08d", strings.TrimPrefix(rootID, "r-"), len(st.unitOrder)+1), name: name, parent: parent}
	st.units[u.id] = u
	st.unitOrder = append(st.unitOrder, u.id)
	st.tag(u.id, in.Tags)
	return &organizations.CreateOrganizationalUnitOutput{OrganizationalUnit: c.describeUnit(u)}, nil
}

func describeOrganizationalUnit(c *Call, in *organizations.DescribeOrganizationalUnitInput) (*organizations.DescribeOrganizationalUnitOutput, error) {
	u := c.Server.org.units[aws.ToString(in.OrganizationalUnitId)]
	if u == nil {
		return nil, errorf("OrganizationalUnitNotFoundException", "You specified an organizational unit that doesn't exist.")
	}
	return &organizations.DescribeOrganizationalUnitOutput{OrganizationalUnit: c.describeUnit(u)}, nil
}

func listOrganizationalUnitsForParent(c *Call, in *organizations.ListOrganizationalUnitsForParentInput) (*organizations.ListOrganizationalUnitsForParentOutput, error) {
	st := &c.Server.org
	parent := aws.ToString(in.ParentId)
	if !st.isParent(parent) {
		return nil, errParentNotFound("ParentNotFoundException")
	}
	ids, next, err := page(st.unitsIn(parent), in.MaxResults, listLimit, listLimit, in.NextToken)
	units := []types.OrganizationalUnit{}
	for _, id := range ids {
		units = append(units, *c.describeUnit(st.units[id]))
	}
	return &organizations.ListOrganizationalUnitsForParentOutput{OrganizationalUnits: units, NextToken: next}, err
}

// createAccount makes an account at once, where AWS answers IN_PROGRESS and takes a minute.
func createAccount(c *Call, in *organizations.CreateAccountInput) (*organizations.CreateAccountOutput, error) {
	name, email := aws.ToString(in.AccountName), aws.ToString(in.Email)
	if name == "" || len(name) > 50 || len(email) < 6 || len(email) > 64 || !strings.Contains(email, "@") {
		return nil, errorf("InvalidInputException", "You provided an invalid account name or e-mail address.")
	}
	if r := aws.ToString(in.RoleName); in.RoleName != nil && checkEntity(r, "/", 64) != nil {
		return nil, errorf("InvalidInputException", "You provided an invalid role name.")
	}
	st := &c.Server.org
	status := types.CreateAccountStatus{
		Id: aws.String(fmt.Sprintf("car-%032d", len(st.requests)+1)), AccountName: aws.String(name),
		RequestedTimestamp: aws.Time(c.Now), CompletedTimestamp: aws.Time(c.Now), State: types.CreateAccountStateSucceeded,
	}
	if slices.ContainsFunc(st.order, func(id string) bool { return strings.EqualFold(c.Server.accounts[id].member.email, email) }) {
		status.State, status.FailureReason = types.CreateAccountStateFailed, types.CreateAccountFailureReasonEmailAlreadyExists
	} else {
		id := c.Server.nextAccountID()
		c.Server.addAccount(id, name, email, aws.ToString(in.RoleName), c.Now)
		st.tag(id, in.Tags)
		status.AccountId = aws.String(id)
	}
	st.requests[*status.Id] = status
	return &organizations.CreateAccountOutput{CreateAccountStatus: &status}, nil
}

// nextAccountID counts up from 100000000001, past ids that AddAccount took.
func (s *Server) nextAccountID() string {
	for {
		s.org.nextID++
		if id := fmt.Sprintf("1%011d", s.org.nextID); s.accounts[id] == nil {
			return id
		}
	}
}

func describeCreateAccountStatus(c *Call, in *organizations.DescribeCreateAccountStatusInput) (*organizations.DescribeCreateAccountStatusOutput, error) {
	status, ok := c.Server.org.requests[aws.ToString(in.CreateAccountRequestId)]
	if !ok {
		return nil, errorf("CreateAccountStatusNotFoundException", "We can't find a create account request with the CreateAccountRequestId that you specified.")
	}
	return &organizations.DescribeCreateAccountStatusOutput{CreateAccountStatus: &status}, nil
}

func moveAccount(c *Call, in *organizations.MoveAccountInput) (*organizations.MoveAccountOutput, error) {
	a, err := c.memberAccount(in.AccountId)
	if err != nil {
		return nil, err
	}
	from, to := aws.ToString(in.SourceParentId), aws.ToString(in.DestinationParentId)
	switch {
	case a.member.parent != from:
		return nil, errParentNotFound("SourceParentNotFoundException")
	case !c.Server.org.isParent(to):
		return nil, errParentNotFound("DestinationParentNotFoundException")
	case from == to:
		return nil, errorf("DuplicateAccountException", "That account is already present in the specified destination.")
	}
	a.member.parent = to
	return &organizations.MoveAccountOutput{}, nil
}

// closeAccount closes at once; AWS passes through PENDING_CLOSURE.
// See https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_accounts_account_state.html
func closeAccount(c *Call, in *organizations.CloseAccountInput) (*organizations.CloseAccountOutput, error) {
	a, err := c.memberAccount(in.AccountId)
	switch {
	case err != nil:
		return nil, err
	case a.id == ManagementAccount:
		return nil, errorf("ConstraintViolationException", "You cannot close the management account.")
	case a.member.closed():
		return nil, errorf("AccountAlreadyClosedException", "You attempted to close an account that is already closed.")
	case c.Server.org.delegatedTo(a.id, ""):
		return nil, errorf("ConstraintViolationException", "You cannot close an account that is a delegated administrator.")
	}
	a.member.state = types.AccountStateClosed
	return &organizations.CloseAccountOutput{}, nil
}

// tag sets tags of a resource.
func (st *organizationState) tag(id string, tags []types.Tag) {
	if st.tags[id] == nil {
		st.tags[id] = make(map[string]string)
	}
	for _, t := range tags {
		st.tags[id][aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
}

func (c *Call) taggable(id *string) error {
	if c.Server.accounts[aws.ToString(id)] == nil && !c.Server.org.isParent(aws.ToString(id)) {
		return errorf("TargetNotFoundException", "We can't find a root, OU, account, or policy with the TargetId that you specified.")
	}
	return nil
}

func tagResource(c *Call, in *organizations.TagResourceInput) (*organizations.TagResourceOutput, error) {
	if err := c.taggable(in.ResourceId); err != nil {
		return nil, err
	}
	for _, t := range in.Tags {
		if aws.ToString(t.Key) == "" || t.Value == nil {
			return nil, errorf("InvalidInputException", "You specified a tag without key or value.")
		}
	}
	c.Server.org.tag(*in.ResourceId, in.Tags)
	return &organizations.TagResourceOutput{}, nil
}

func untagResource(c *Call, in *organizations.UntagResourceInput) (*organizations.UntagResourceOutput, error) {
	if err := c.taggable(in.ResourceId); err != nil {
		return nil, err
	}
	for _, k := range in.TagKeys {
		delete(c.Server.org.tags[*in.ResourceId], k)
	}
	return &organizations.UntagResourceOutput{}, nil
}

func listTagsForResource(c *Call, in *organizations.ListTagsForResourceInput) (*organizations.ListTagsForResourceOutput, error) {
	if err := c.taggable(in.ResourceId); err != nil {
		return nil, err
	}
	tags := []types.Tag{}
	set := c.Server.org.tags[*in.ResourceId]
	for _, k := range slices.Sorted(maps.Keys(set)) {
		tags = append(tags, types.Tag{Key: aws.String(k), Value: aws.String(set[k])})
	}
	out, next, err := page(tags, nil, listLimit, listLimit, in.NextToken)
	return &organizations.ListTagsForResourceOutput{Tags: out, NextToken: next}, err
}

func registerDelegatedAdministrator(c *Call, in *organizations.RegisterDelegatedAdministratorInput) (*organizations.RegisterDelegatedAdministratorOutput, error) {
	a, err := c.memberAccount(in.AccountId)
	service := aws.ToString(in.ServicePrincipal)
	st := &c.Server.org
	switch {
	case err != nil:
		return nil, err
	case a.id == ManagementAccount:
		return nil, errorf("ConstraintViolationException", "You cannot register the management account as a delegated administrator.")
	case !strings.HasSuffix(service, ".amazonaws.com"):
		return nil, errorf("InvalidInputException", "You specified an unrecognized service principal.")
	case st.delegatedTo(a.id, service):
		return nil, errorf("AccountAlreadyRegisteredException", "The provided account is already a delegated administrator for your organization.")
	}
	if st.delegated[a.id] == nil {
		st.delegated[a.id] = make(map[string]time.Time)
	}
	st.delegated[a.id][service] = c.Now
	return &organizations.RegisterDelegatedAdministratorOutput{}, nil
}

func listDelegatedAdministrators(c *Call, in *organizations.ListDelegatedAdministratorsInput) (*organizations.ListDelegatedAdministratorsOutput, error) {
	admins := []types.DelegatedAdministrator{}
	for _, id := range c.Server.org.order {
		if !c.Server.org.delegatedTo(id, aws.ToString(in.ServicePrincipal)) {
			continue
		}
		d := c.describeMember(id)
		since := slices.MinFunc(slices.Collect(maps.Values(c.Server.org.delegated[id])), time.Time.Compare)
		admins = append(admins, types.DelegatedAdministrator{
			Id: d.Id, Arn: d.Arn, Name: d.Name, Email: d.Email, JoinedMethod: d.JoinedMethod, JoinedTimestamp: d.JoinedTimestamp,
			State: d.State, Status: d.Status, DelegationEnabledDate: aws.Time(since),
		})
	}
	out, next, err := page(admins, in.MaxResults, listLimit, listLimit, in.NextToken)
	return &organizations.ListDelegatedAdministratorsOutput{DelegatedAdministrators: out, NextToken: next}, err
}
