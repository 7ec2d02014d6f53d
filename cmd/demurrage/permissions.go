package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

func permissionsCommand() *cli.Command {
	return &cli.Command{
		Name:  "permissions",
		Usage: "prints what the read role has to be allowed, exactly",
		Description: `The policy of the role that demurrage scans an account with: every action that a scan calls and none besides, made
from the same tables that the scanners are held to. Without any one of them the scan has a gap and ends with 2.
Of account:ListRegions and ec2:DescribeRegions one is enough.

  demurrage permissions                            a policy document
  demurrage permissions --format cloudformation    a template of the role, for a stack or a StackSet`,
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Value: "json", Usage: "json or cloudformation"}},
		Action: func(c *cli.Context) error {
			switch format := c.String("format"); format {
			case "json":
				return writePolicy(c.App.Writer, permissions())
			case "cloudformation":
				return writeTemplate(c.App.Writer, permissions())
			default:
				return fmt.Errorf("--format: %q is neither json nor cloudformation", format)
			}
		},
	}
}

func writePolicy(w io.Writer, actions []string) error {
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
	}{"2012-10-17", []statement{{"DemurrageRead", "Allow", actions, "*"}}})
	if err != nil {
		return err
	}
	_, err = w.Write(b.Bytes())
	return err
}

// template is a stack of the read role. The role is trusted by the exact principal, from the organization.
const template = `AWSTemplateFormatVersion: "2010-09-09"
Description: The role that demurrage reads this account with. It changes nothing.
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
    Default: DemurrageRead
    Description: assume.role of accounts.toml
Resources:
  ReadRole:
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
        - PolicyName: DemurrageRead
          PolicyDocument:
            Version: "2012-10-17"
            Statement:
              - Sid: DemurrageRead
                Effect: Allow
                Resource: "*"
                Action:
%s
Outputs:
  ReadRoleArn:
    Value: !GetAtt ReadRole.Arn
`

func writeTemplate(w io.Writer, actions []string) error {
	var lines []string
	for _, a := range actions {
		lines = append(lines, "                  - "+a)
	}
	_, err := fmt.Fprintf(w, template, strings.Join(lines, "\n"))
	return err
}
