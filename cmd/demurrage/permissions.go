package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"text/template"

	"github.com/urfave/cli/v2"
)

// memberRole is a role in the accounts that are scanned, and what it is for.
type memberRole struct {
	Name    string // by default
	ID      string // in a template
	Does    string
	Key     string // of accounts.toml
	Actions []string
}

// memberRoles are the roles by the value of --role.
func memberRoles() map[string]memberRole {
	return map[string]memberRole{
		"read": {"DemurrageRead", "ReadRole", "reads this account with. It changes nothing.", "role", permissions()},
		"sweep": {"DemurrageSweep", "SweepRole",
			"deletes images of this account with, in sessions for the repositories of a plan alone.", "sweep_role", []string{sweepAction}},
	}
}

func permissionsCommand() *cli.Command {
	return &cli.Command{
		Name:  "permissions",
		Usage: "prints what the roles have to be allowed, exactly",
		Description: `The policy of the role that demurrage scans an account with: every action that a scan calls and none besides, made
from the same tables that the scanners are held to. Without any one of them the scan has a gap and ends with 2; without
ecr:GetAccountSetting and ecr:GetLifecyclePolicy it has none: savings are shown rather too small, and a column stays empty.
Of account:ListRegions and ec2:DescribeRegions one is enough. With --role sweep, that of the role that "delete" deletes with.

  demurrage permissions                            a policy document
  demurrage permissions --format cloudformation    a template of the role, for a stack or a StackSet
  demurrage permissions --role sweep --format cloudformation`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "json", Usage: "json or cloudformation"},
			&cli.StringFlag{Name: "role", Value: "read", Usage: "read or sweep"},
		},
		Action: func(c *cli.Context) error {
			role, ok := memberRoles()[c.String("role")]
			if !ok {
				return fmt.Errorf("--role: %q is neither read nor sweep", c.String("role"))
			}
			switch format := c.String("format"); format {
			case "json":
				return writePolicy(c.App.Writer, role)
			case "cloudformation":
				return roleTemplate.Execute(c.App.Writer, role)
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
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{{role.Name, "Allow", role.Actions, "*"}}})
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// roleTemplate is a stack of a role. It is trusted by the exact principal, from the organization.
var roleTemplate = template.Must(template.New("").Parse(`AWSTemplateFormatVersion: "2010-09-09"
Description: The role that demurrage {{.Does}}
Parameters:
  HubPrincipalArn:
    Type: String
    Description: ARN of the role (or user) that demurrage runs as in the central account
  ExternalId:
    Type: String
    NoEcho: true
    MinLength: 2
    Description: assume.external_id of accounts.toml
  OrganizationId:
    Type: String
    AllowedPattern: "^o-[a-z0-9]{10,32}$"
    Description: id of the AWS organization
  RoleName:
    Type: String
    Default: {{.Name}}
    Description: assume.{{.Key}} of accounts.toml
Resources:
  {{.ID}}:
    Type: AWS::IAM::Role
    Properties:
      RoleName: !Ref RoleName
      AssumeRolePolicyDocument:
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
{{end}}Outputs:
  {{.ID}}Arn:
    Value: !GetAtt {{.ID}}.Arn
`))
