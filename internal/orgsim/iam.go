package orgsim

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// iamState is IAM of one account: roles and customer-managed policies by name, which are unique whatever the path.
type iamState struct {
	roles    map[string]*role
	policies map[string]*managedPolicy
	nextID   int
}

type role struct {
	name, path, id, description string
	created                     time.Time
	maxSession                  int32
	trustText                   string
	trust                       *policyDoc
	inline                      map[string]inlinePolicy
	attached                    []string // ARNs, sorted
	tags                        []types.Tag
}

type inlinePolicy struct {
	text string
	doc  *policyDoc
}

type managedPolicy struct {
	name, path, id, description string
	created                     time.Time
	doc                         *policyDoc
}

func (r *role) arn(partition, account string) string {
	return "arn:" + partition + ":iam::" + account + ":role" + r.path + r.name
}

func (p *managedPolicy) arn(partition, account string) string {
	return "arn:" + partition + ":iam::" + account + ":policy" + p.path + p.name
}

// awsManagedPolicies are the policies of the account "aws". ReadOnlyAccess lists the services that are simulated.
// See https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
var awsManagedPolicies = map[string]*policyDoc{
	"AdministratorAccess": mustParsePolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`),
	"ReadOnlyAccess": mustParsePolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*","Action":[
		"account:Get*","account:ListRegions","ce:Get*","ec2:Describe*","ecr:BatchCheck*","ecr:BatchGet*","ecr:Describe*","ecr:Get*","ecr:List*",
		"ecs:Describe*","ecs:List*","iam:Get*","iam:List*","lambda:Get*","lambda:List*","organizations:Describe*","organizations:List*",
		"pricing:GetProducts","s3:Get*","s3:List*","sts:GetCallerIdentity"]}]}`),
	"AmazonEC2ContainerRegistryReadOnly": mustParsePolicy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Resource":"*","Action":[
		"ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability","ecr:GetDownloadUrlForLayer","ecr:GetRepositoryPolicy",
		"ecr:DescribeRepositories","ecr:ListImages","ecr:DescribeImages","ecr:BatchGetImage","ecr:GetLifecyclePolicy",
		"ecr:GetLifecyclePolicyPreview","ecr:ListTagsForResource","ecr:DescribeImageScanFindings"]}]}`),
	"AmazonEC2ContainerRegistryFullAccess": mustParsePolicy(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["ecr:*","cloudtrail:LookupEvents"],"Resource":"*"},
		{"Effect":"Allow","Action":"iam:CreateServiceLinkedRole","Resource":"*"}]}`),
}

func mustParsePolicy(text string) *policyDoc {
	p, err := parsePolicy(text)
	if err != nil {
		panic(err)
	}
	return p
}

// managedPolicy finds a policy that roles of an account may have attached; nil if there is none.
func (s *Server) managedPolicy(account, arn string) *policyDoc {
	owner, name, ok := splitPolicyARN(arn)
	switch {
	case !ok:
		return nil
	case owner == "aws":
		return awsManagedPolicies[name]
	case owner != account || s.accounts[account] == nil:
		return nil
	}
	if p := s.accounts[account].iam.policies[name]; p != nil {
		return p.doc
	}
	return nil
}

// splitPolicyARN takes arn:PARTITION:iam::OWNER:policy/path/name apart.
func splitPolicyARN(arn string) (owner, name string, ok bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || !strings.HasPrefix(parts[5], "policy/") {
		return "", "", false
	}
	return parts[4], parts[5][strings.LastIndexByte(parts[5], '/')+1:], true
}

// policiesOf are the identity policies of a role.
func (s *Server) policiesOf(a *account, r *role) []*policyDoc {
	var out []*policyDoc
	for _, p := range r.inline {
		out = append(out, p.doc)
	}
	for _, arn := range r.attached {
		if p := s.managedPolicy(a.id, arn); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// iamService is the part of IAM that roles need. See https://docs.aws.amazon.com/IAM/latest/APIReference/
func iamService() *service {
	s := &service{name: "iam", protocol: query, xmlns: "https://iam.amazonaws.com/doc/2010-05-08/", global: true, badParameter: "ValidationError"}
	op(s, "CreateRole", createRole, resource(func(c *Call, in *iam.CreateRoleInput) []string {
		return []string{(&role{name: aws.ToString(in.RoleName), path: pathOr(in.Path)}).arn(c.Partition, c.Account)}
	}))
	op(s, "GetRole", getRole, onRole(func(in *iam.GetRoleInput) *string { return in.RoleName }))
	op(s, "ListRoles", listRoles)
	op(s, "DeleteRole", deleteRole, onRole(func(in *iam.DeleteRoleInput) *string { return in.RoleName }))
	op(s, "UpdateRole", updateRole, onRole(func(in *iam.UpdateRoleInput) *string { return in.RoleName }))
	op(s, "UpdateAssumeRolePolicy", updateAssumeRolePolicy, onRole(func(in *iam.UpdateAssumeRolePolicyInput) *string { return in.RoleName }))
	op(s, "PutRolePolicy", putRolePolicy, onRole(func(in *iam.PutRolePolicyInput) *string { return in.RoleName }))
	op(s, "GetRolePolicy", getRolePolicy, onRole(func(in *iam.GetRolePolicyInput) *string { return in.RoleName }))
	op(s, "ListRolePolicies", listRolePolicies, onRole(func(in *iam.ListRolePoliciesInput) *string { return in.RoleName }))
	op(s, "DeleteRolePolicy", deleteRolePolicy, onRole(func(in *iam.DeleteRolePolicyInput) *string { return in.RoleName }))
	op(s, "CreatePolicy", createPolicy)
	op(s, "AttachRolePolicy", attachRolePolicy, onRole(func(in *iam.AttachRolePolicyInput) *string { return in.RoleName }))
	op(s, "DetachRolePolicy", detachRolePolicy, onRole(func(in *iam.DetachRolePolicyInput) *string { return in.RoleName }))
	op(s, "ListAttachedRolePolicies", listAttachedRolePolicies, onRole(func(in *iam.ListAttachedRolePoliciesInput) *string { return in.RoleName }))
	return s
}

// onRole makes the role the resource that IAM is asked about.
func onRole[I any](name func(*I) *string) opOption {
	return resource(func(c *Call, in *I) []string {
		n := aws.ToString(name(in))
		if r := c.iam().roles[n]; r != nil {
			return []string{r.arn(c.Partition, c.Account)}
		}
		return []string{"arn:" + c.Partition + ":iam::" + c.Account + ":role/" + n}
	})
}

func (c *Call) iam() *iamState { return &c.Server.accounts[c.Account].iam }

func (c *Call) role(name *string) (*role, error) {
	if r := c.iam().roles[aws.ToString(name)]; r != nil {
		return r, nil
	}
	return nil, noSuchEntity("The role with name %s cannot be found.", aws.ToString(name))
}

func noSuchEntity(format string, args ...any) error {
	return &apiError{Code: "NoSuchEntity", Message: fmt.Sprintf(format, args...), Status: http.StatusNotFound}
}

func conflict(code, format string, args ...any) error {
	return &apiError{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusConflict}
}

func malformedPolicy(err error) error {
	return errorf("MalformedPolicyDocument", "%v", err)
}

func pathOr(p *string) string {
	if p == nil {
		return "/"
	}
	return *p
}

var (
	entityName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	entityPath = regexp.MustCompile(`^/([\x21-\x7e]+/)?$`)
)

func checkEntity(name, path string, longest int) error {
	switch {
	case !entityName.MatchString(name) || len(name) > longest:
		return errorf("ValidationError", "The specified value for the name is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_- and be at most %d long", longest)
	case !entityPath.MatchString(path) || len(path) > 512:
		return errorf("ValidationError", "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.")
	}
	return nil
}

// newID makes a unique id such as AROA….
func (st *iamState) newID(prefix, account string) string {
	st.nextID++
	return fmt.Sprintf("%s%s%05d", prefix, account, st.nextID)
}

// putRole adds a role that is known to be good.
func (a *account) putRole(r *role) *role {
	if a.iam.roles == nil {
		a.iam.roles = make(map[string]*role)
	}
	r.id = a.iam.newID("AROA", a.id)
	a.iam.roles[r.name] = r
	return r
}

func createRole(c *Call, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	name, path := aws.ToString(in.RoleName), pathOr(in.Path)
	if err := checkEntity(name, path, 64); err != nil {
		return nil, err
	}
	if c.iam().roles[name] != nil {
		return nil, conflict("EntityAlreadyExists", "Role with name %s already exists.", name)
	}
	longest := int32(3600)
	if in.MaxSessionDuration != nil {
		longest = *in.MaxSessionDuration
	}
	if err := checkMaxSession(longest); err != nil {
		return nil, err
	}
	text := aws.ToString(in.AssumeRolePolicyDocument)
	trust, err := parseTrustPolicy(text)
	if err != nil {
		return nil, malformedPolicy(err)
	}
	r := c.Server.accounts[c.Account].putRole(&role{
		name: name, path: path, description: aws.ToString(in.Description), created: c.Now, maxSession: longest,
		trustText: text, trust: trust, tags: in.Tags,
	})
	return &iam.CreateRoleOutput{Role: r.describe(c)}, nil
}

func checkMaxSession(seconds int32) error {
	if seconds < 3600 || seconds > longestSession {
		return validationError("maxSessionDuration", "Member must be between 3600 and 43200")
	}
	return nil
}

func (r *role) describe(c *Call) *types.Role {
	out := &types.Role{
		Arn: aws.String(r.arn(c.Partition, c.Account)), CreateDate: aws.Time(r.created), Path: aws.String(r.path),
		RoleId: aws.String(r.id), RoleName: aws.String(r.name), MaxSessionDuration: aws.Int32(r.maxSession),
		AssumeRolePolicyDocument: aws.String(url.PathEscape(r.trustText)), // IAM answers documents URL-encoded
		Tags:                     slices.Clone(r.tags),
	}
	if r.description != "" {
		out.Description = aws.String(r.description)
	}
	return out
}

func getRole(c *Call, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	return &iam.GetRoleOutput{Role: r.describe(c)}, nil
}

func listRoles(c *Call, in *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	roles := []types.Role{}
	for _, name := range slices.Sorted(maps.Keys(c.iam().roles)) {
		if r := c.iam().roles[name]; strings.HasPrefix(r.path, aws.ToString(in.PathPrefix)) {
			d := r.describe(c)
			d.Tags = nil // a list does not have them
			roles = append(roles, *d)
		}
	}
	out, next, err := page(roles, in.MaxItems, 100, 1000, in.Marker)
	return &iam.ListRolesOutput{Roles: out, Marker: next, IsTruncated: next != nil}, err
}

func deleteRole(c *Call, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	if len(r.inline)+len(r.attached) > 0 {
		return nil, conflict("DeleteConflict", "Cannot delete entity, must delete policies first.")
	}
	delete(c.iam().roles, r.name)
	return &iam.DeleteRoleOutput{}, nil
}

func updateRole(c *Call, in *iam.UpdateRoleInput) (*iam.UpdateRoleOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	if in.MaxSessionDuration != nil {
		if err := checkMaxSession(*in.MaxSessionDuration); err != nil {
			return nil, err
		}
		r.maxSession = *in.MaxSessionDuration
	}
	if in.Description != nil {
		r.description = *in.Description
	}
	return &iam.UpdateRoleOutput{}, nil
}

func updateAssumeRolePolicy(c *Call, in *iam.UpdateAssumeRolePolicyInput) (*iam.UpdateAssumeRolePolicyOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	trust, err := parseTrustPolicy(aws.ToString(in.PolicyDocument))
	if err != nil {
		return nil, malformedPolicy(err)
	}
	r.trust, r.trustText = trust, *in.PolicyDocument
	return &iam.UpdateAssumeRolePolicyOutput{}, nil
}

func putRolePolicy(c *Call, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.PolicyName)
	if err := checkEntity(name, "/", 128); err != nil {
		return nil, err
	}
	doc, err := parseIdentityPolicy(aws.ToString(in.PolicyDocument))
	if err != nil {
		return nil, malformedPolicy(err)
	}
	if r.inline == nil {
		r.inline = make(map[string]inlinePolicy)
	}
	r.inline[name] = inlinePolicy{text: *in.PolicyDocument, doc: doc}
	return &iam.PutRolePolicyOutput{}, nil
}

func getRolePolicy(c *Call, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	p, ok := r.inline[aws.ToString(in.PolicyName)]
	if !ok {
		return nil, noSuchEntity("The role policy with name %s cannot be found.", aws.ToString(in.PolicyName))
	}
	return &iam.GetRolePolicyOutput{PolicyDocument: aws.String(url.PathEscape(p.text)), PolicyName: in.PolicyName, RoleName: in.RoleName}, nil
}

func listRolePolicies(c *Call, in *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	names := slices.AppendSeq([]string{}, maps.Keys(r.inline))
	slices.Sort(names)
	out, next, err := page(names, in.MaxItems, 100, 1000, in.Marker)
	return &iam.ListRolePoliciesOutput{PolicyNames: out, Marker: next, IsTruncated: next != nil}, err
}

func deleteRolePolicy(c *Call, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	if _, ok := r.inline[aws.ToString(in.PolicyName)]; !ok {
		return nil, noSuchEntity("The role policy with name %s cannot be found.", aws.ToString(in.PolicyName))
	}
	delete(r.inline, *in.PolicyName)
	return &iam.DeleteRolePolicyOutput{}, nil
}

func createPolicy(c *Call, in *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error) {
	name, path := aws.ToString(in.PolicyName), pathOr(in.Path)
	if err := checkEntity(name, path, 128); err != nil {
		return nil, err
	}
	st := c.iam()
	if st.policies[name] != nil {
		return nil, conflict("EntityAlreadyExists", "A policy called %s already exists. Duplicate names are not allowed.", name)
	}
	doc, err := parseIdentityPolicy(aws.ToString(in.PolicyDocument))
	if err != nil {
		return nil, malformedPolicy(err)
	}
	p := &managedPolicy{name: name, path: path, id: st.newID("ANPA", c.Account), description: aws.ToString(in.Description), created: c.Now, doc: doc}
	if st.policies == nil {
		st.policies = make(map[string]*managedPolicy)
	}
	st.policies[name] = p
	return &iam.CreatePolicyOutput{Policy: &types.Policy{
		Arn: aws.String(p.arn(c.Partition, c.Account)), PolicyName: aws.String(name), Path: aws.String(path), PolicyId: aws.String(p.id),
		DefaultVersionId: aws.String("v1"), AttachmentCount: aws.Int32(0), PermissionsBoundaryUsageCount: aws.Int32(0), IsAttachable: true,
		CreateDate: aws.Time(p.created), UpdateDate: aws.Time(p.created),
	}}, nil
}

func attachRolePolicy(c *Call, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	arn := aws.ToString(in.PolicyArn)
	if c.Server.managedPolicy(c.Account, arn) == nil {
		return nil, noSuchEntity("Policy %s does not exist or is not attachable.", arn)
	}
	if !slices.Contains(r.attached, arn) {
		r.attached = append(slices.Clone(r.attached), arn)
		slices.Sort(r.attached)
	}
	return &iam.AttachRolePolicyOutput{}, nil
}

func detachRolePolicy(c *Call, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	i := slices.Index(r.attached, aws.ToString(in.PolicyArn))
	if i < 0 {
		return nil, noSuchEntity("Policy %s was not found.", aws.ToString(in.PolicyArn))
	}
	r.attached = slices.Delete(slices.Clone(r.attached), i, i+1)
	return &iam.DetachRolePolicyOutput{}, nil
}

func listAttachedRolePolicies(c *Call, in *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error) {
	r, err := c.role(in.RoleName)
	if err != nil {
		return nil, err
	}
	policies := []types.AttachedPolicy{}
	for _, arn := range r.attached {
		_, name, _ := splitPolicyARN(arn)
		policies = append(policies, types.AttachedPolicy{PolicyArn: aws.String(arn), PolicyName: aws.String(name)})
	}
	out, next, err := page(policies, in.MaxItems, 100, 1000, in.Marker)
	return &iam.ListAttachedRolePoliciesOutput{AttachedPolicies: out, Marker: next, IsTruncated: next != nil}, err
}
