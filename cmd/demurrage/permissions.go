package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/template"

	"github.com/urfave/cli/v2"

	"demurrage/internal/preview"
)

// memberRole is a role in the accounts that are scanned, and what it is for.
type memberRole struct {
	Name      string // by default
	ID        string // in a template
	Parameter string // of the template of all roles: its name
	Condition string // of that template, under which it is made
	Does      string
	Key       string // of accounts.toml
	Actions   []string
	Denied    []string // whatever another policy of the role may allow one day
}

// memberRoles are the roles by the value of --role.
func memberRoles() map[string]memberRole {
	return map[string]memberRole{
		"read": {"DemurrageRead", "ReadRole", "ReadRoleName", "IsHome", "reads this account with. It changes nothing.", "role", readActions(), nil},
		"sweep": {"DemurrageSweep", "SweepRole", "SweepRoleName", "MakeSweepRole",
			"deletes images of this account with, in sessions for the repositories of a plan alone.", "sweep_role", []string{sweepAction},
			[]string{"ecr:DeleteRepository", "ecr:PutLifecyclePolicy", "ecr:SetRepositoryPolicy"}},
	}
}

// readActions are all that the read role is allowed. The sessions of a scan are restricted to permissions().
func readActions() []string {
	return slices.Sorted(slices.Values(append(permissions(), preview.Actions()...)))
}

func permissionsCommand() *cli.Command {
	return &cli.Command{
		Name:  "permissions",
		Usage: "prints what the roles have to be allowed, exactly",
		Description: `The policy of the role that demurrage scans an account with: every action that a scan or "audit --verify" calls and none
besides, made from the same tables that the scanners are held to. Without any one of them the scan has a gap and ends with
2; without ecr:GetAccountSetting, ecr:GetLifecyclePolicy and the two of previews it has none: savings are shown rather too
small, and "audit" cannot see or verify policies.
Of account:ListRegions and ec2:DescribeRegions one is enough. With --role sweep, that of the role that "delete" deletes with.

  demurrage permissions                            a policy document
  demurrage permissions --format cloudformation    a template of the role, for a stack
  demurrage permissions --role sweep --format cloudformation
  demurrage permissions --role all --format cloudformation > member-roles.yaml
                                                   both roles, for a StackSet: deploy/member-roles.yaml`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "json", Usage: "json or cloudformation"},
			&cli.StringFlag{Name: "role", Value: "read", Usage: "read or sweep; all for the template of both"},
		},
		Action: func(c *cli.Context) error {
			name, format := c.String("role"), c.String("format")
			role, ok := memberRoles()[name]
			switch {
			case !ok && name != "all":
				return fmt.Errorf("--role: %q is neither read nor sweep nor all", name)
			case format == "json" && name == "all":
				return errors.New("--role all: a policy document is of one role: choose read or sweep, or --format cloudformation")
			case format == "json":
				return writePolicy(c.App.Writer, role)
			case format == "cloudformation" && name == "all":
				return writeMemberRoles(c.App.Writer)
			case format == "cloudformation":
				return roleTemplates.ExecuteTemplate(c.App.Writer, "one", role)
			default:
				return fmt.Errorf("--format: %q is neither json nor cloudformation", format)
			}
		},
	}
}

func writePolicy(w io.Writer, role memberRole) error {
	type statement struct {
		Sid      string
		Effect   string
		Action   []string
		Resource string
	}
	statements := []statement{{role.Name, "Allow", role.Actions, "*"}}
	if len(role.Denied) > 0 {
		statements = append(statements, statement{role.Name + "Never", "Deny", role.Denied, "*"})
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", statements})
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// writeMemberRoles writes the template of all roles, for a StackSet: deploy/member-roles.yaml.
func writeMemberRoles(w io.Writer) error {
	roles := memberRoles()
	return roleTemplates.ExecuteTemplate(w, "all", []memberRole{roles["read"], roles["sweep"]})
}

// roleTemplates are stacks of a role and of all. A role is trusted by the exact principal, from the organization.
var roleTemplates = template.Must(template.New("").Parse(`
{{- define "trusted"}}  HubPrincipalArn:
    Type: String
    AllowedPattern: "^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/.+$"
    ConstraintDescription: has to be the ARN of a role or user, as in arn:aws:iam::333333333333:role/DemurrageHub
    Description: ARN of the role (or user) that demurrage runs as in the central account. It has to be there already
  ExternalId:
    Type: String
    NoEcho: true
    MinLength: 2
    MaxLength: 1224
    AllowedPattern: "^[A-Za-z0-9_+=,.@:/-]*$"
    Description: assume.external_id of accounts.toml
  OrganizationId:
    Type: String
    AllowedPattern: "^o-[a-z0-9]{10,32}$"
    Description: id of the AWS organization
{{end}}

{{- define "properties"}}      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement:
          - Effect: Allow
            Principal:
              AWS: !Ref HubPrincipalArn
            Action: sts:AssumeRole
            Condition:
              StringEquals:
                sts:ExternalId: !Ref ExternalId
                aws:PrincipalOrgID: !Ref OrganizationId
      Policies:
        - PolicyName: {{.Name}}
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
              - Sid: {{.Name}}
                Effect: Allow
                Resource: "*"
                Action:
{{range .Actions}}                  - {{.}}
{{end}}{{with .Denied}}              - Sid: {{$.Name}}Never
                Effect: Deny
                Resource: "*"
                Action:
{{range .}}                  - {{.}}
{{end}}{{end}}{{end}}

{{- define "one"}}AWSTemplateFormatVersion: "2010-09-09"
Description: The role that demurrage {{.Does}}
Parameters:
{{template "trusted"}}  RoleName:
    Type: String
    Default: {{.Name}}
    Description: assume.{{.Key}} of accounts.toml
Resources:
  {{.ID}}:
    Type: AWS::IAM::Role
    Properties:
      RoleName: !Ref RoleName
{{template "properties" .}}Outputs:
  {{.ID}}Arn:
    Value: !GetAtt {{.ID}}.Arn
{{end}}

{{- define "all"}}# The roles that demurrage enters the accounts of an organization by. Made by
#
#   demurrage permissions --role all --format cloudformation > deploy/member-roles.yaml
#
# from the tables that the scanners are held to, and compared with them by a test: do not edit it, make it anew.
#
# Roles are global and belong to one stack: the one in HomeRegion. That images are read without this counting as a pull
# (AWS::ECR::PullTimeUpdateExclusion) is a setting of each account and region: deploy to every region that has repositories,
# HomeRegion first. The hub's role has to exist before, or IAM refuses the trust policy.
#
# 1. Every account but the management account, also those to come: a service-managed StackSet, from the management account
#    (from a delegated administrator add --call-as DELEGATED_ADMIN to both):
#
#   aws cloudformation create-stack-set --stack-set-name demurrage-roles \
#     --template-body file://deploy/member-roles.yaml --capabilities CAPABILITY_NAMED_IAM \
#     --permission-model SERVICE_MANAGED --auto-deployment Enabled=true,RetainStacksOnAccountRemoval=false \
#     --parameters ParameterKey=HubPrincipalArn,ParameterValue=arn:aws:iam::333333333333:role/DemurrageHub \
#       ParameterKey=ExternalId,ParameterValue=EXTERNAL-ID ParameterKey=OrganizationId,ParameterValue=o-exampleorgid \
#       ParameterKey=HomeRegion,ParameterValue=us-east-1
#   aws cloudformation create-stack-instances --stack-set-name demurrage-roles \
#     --deployment-targets OrganizationalUnitIds=r-examplerootid --regions us-east-1 eu-west-1 \
#     --operation-preferences RegionConcurrencyType=SEQUENTIAL,RegionOrder=us-east-1,eu-west-1,MaxConcurrentPercentage=100,FailureTolerancePercentage=100
#
# 2. The management account, which service-managed StackSets leave out: stacks of its own, with credentials of it, in each
#    region:
#
#   for region in us-east-1 eu-west-1; do
#     aws cloudformation deploy --region $region --stack-name demurrage-roles \
#       --template-file deploy/member-roles.yaml --capabilities CAPABILITY_NAMED_IAM \
#       --parameter-overrides HubPrincipalArn=arn:aws:iam::333333333333:role/DemurrageHub ExternalId=EXTERNAL-ID \
#         OrganizationId=o-exampleorgid HomeRegion=us-east-1
#   done
#
# SweepRole=yes makes the role that "delete" needs; nothing else does. Access to the inside of EKS clusters is an access
# entry in each cluster. "demurrage check" says what is missing where.
AWSTemplateFormatVersion: "2010-09-09"
Description: The roles that demurrage enters this account by, and the exclusion of its reads from the pull times of images
Parameters:
{{template "trusted"}}  HomeRegion:
    Type: String
    AllowedPattern: "^[a-z]{2,4}(-[a-z]+)+-[0-9]+$"
    Description: the region whose stack has the roles, which are global. Stacks in other regions have the exclusion alone
  SweepRole:
    Type: String
    AllowedValues: ["yes", "no"]
    Default: "no"
    Description: whether to make the role that images are deleted with
  PullTimeExclusion:
    Type: String
    AllowedValues: ["yes", "no"]
    Default: "yes"
    Description: whether to exclude the read role from pull times; no where it already is, or where ECR has no such setting
{{range .}}  {{.Parameter}}:
    Type: String
    AllowedPattern: "^[A-Za-z0-9_+=,.@-]{1,64}$"
    Default: {{.Name}}
    Description: assume.{{.Key}} of accounts.toml
{{end}}Conditions:
  IsHome: !Equals [!Ref AWS::Region, !Ref HomeRegion]
  MakeSweepRole: !And
    - !Equals [!Ref AWS::Region, !Ref HomeRegion]
    - !Equals [!Ref SweepRole, "yes"]
  MakePullTimeExclusion: !Equals [!Ref PullTimeExclusion, "yes"]
Resources:
{{range .}}  Demurrage{{.ID}}:
    Type: AWS::IAM::Role
    Condition: {{.Condition}}
    Properties:
      RoleName: !Ref {{.Parameter}}
      Description: demurrage {{.Does}}
{{template "properties" .}}{{end}}  DemurragePullTimeExclusion:
    Type: AWS::ECR::PullTimeUpdateExclusion
    Condition: MakePullTimeExclusion
    Properties:
      PrincipalArn: !If
        - IsHome
        - !GetAtt DemurrageReadRole.Arn
        - !Sub arn:${AWS::Partition}:iam::${AWS::AccountId}:role/${ReadRoleName}
Outputs:
{{range .}}  {{.ID}}Arn:
    Condition: {{.Condition}}
    Value: !GetAtt Demurrage{{.ID}}.Arn
{{end}}{{end}}`))
