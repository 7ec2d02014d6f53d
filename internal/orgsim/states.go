package orgsim

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"
)

type statesState struct {
	machines shelf[*stateMachine] // by ARN
}

type stateMachine struct {
	sfn.DescribeStateMachineOutput
	versions []sfn.DescribeStateMachineOutput // the oldest first
}

// statesService is Step Functions, whose state machines do not run.
func statesService() *service {
	s := &service{name: "states", protocol: json10, targetPrefix: "AWSStepFunctions", lowerCamel: true, badParameter: "InvalidToken"}
	s.bucket = func(operation string) (string, int, int) {
		switch operation {
		case "DescribeStateMachine":
			return operation, 20, 200
		case "ListStateMachineVersions", "ListStateMachineAliases":
			return operation, 1, 100
		default:
			return operation, 5, 100
		}
	}
	missing := func(arn string) error {
		return errorf("StateMachineDoesNotExist", "State Machine Does Not Exist: '%s'", arn)
	}
	check := func(definition *string) error {
		if !json.Valid([]byte(aws.ToString(definition))) {
			return errorf("InvalidDefinition", "Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION'")
		}
		return nil
	}
	publish := func(c *Call, m *stateMachine) *string {
		v := m.DescribeStateMachineOutput
		v.StateMachineArn = new(fmt.Sprintf("%s:%d", *m.StateMachineArn, len(m.versions)+1))
		v.CreationDate = new(c.Now)
		m.versions = append(m.versions, v)
		return v.StateMachineArn
	}
	op(s, "CreateStateMachine", func(c *Call, in *sfn.CreateStateMachineInput) (*sfn.CreateStateMachineOutput, error) {
		if err := check(in.Definition); err != nil {
			return nil, err
		}
		arn := c.arn("states", "stateMachine:"+aws.ToString(in.Name))
		kind := in.Type
		if kind == "" {
			kind = types.StateMachineTypeStandard
		}
		m := &stateMachine{DescribeStateMachineOutput: sfn.DescribeStateMachineOutput{
			StateMachineArn: &arn, Name: in.Name, Definition: in.Definition, RoleArn: in.RoleArn, Type: kind, Status: types.StateMachineStatusActive, CreationDate: new(c.Now),
		}}
		c.home().states.machines.put(arn, m)
		out := &sfn.CreateStateMachineOutput{StateMachineArn: &arn, CreationDate: new(c.Now)}
		if in.Publish {
			out.StateMachineVersionArn = publish(c, m)
		}
		return out, nil
	})
	op(s, "UpdateStateMachine", func(c *Call, in *sfn.UpdateStateMachineInput) (*sfn.UpdateStateMachineOutput, error) {
		m, ok := c.home().states.machines.get(aws.ToString(in.StateMachineArn))
		if !ok {
			return nil, missing(aws.ToString(in.StateMachineArn))
		}
		if in.Definition != nil {
			if err := check(in.Definition); err != nil {
				return nil, err
			}
			m.Definition = in.Definition
		}
		out := &sfn.UpdateStateMachineOutput{UpdateDate: new(c.Now)}
		if in.Publish {
			out.StateMachineVersionArn = publish(c, m)
		}
		return out, nil
	})
	op(s, "PublishStateMachineVersion", func(c *Call, in *sfn.PublishStateMachineVersionInput) (*sfn.PublishStateMachineVersionOutput, error) {
		m, ok := c.home().states.machines.get(aws.ToString(in.StateMachineArn))
		if !ok {
			return nil, missing(aws.ToString(in.StateMachineArn))
		}
		return &sfn.PublishStateMachineVersionOutput{StateMachineVersionArn: publish(c, m), CreationDate: new(c.Now)}, nil
	})
	op(s, "DeleteStateMachine", func(c *Call, in *sfn.DeleteStateMachineInput) (*sfn.DeleteStateMachineOutput, error) {
		c.home().states.machines.drop(aws.ToString(in.StateMachineArn))
		return &sfn.DeleteStateMachineOutput{}, nil
	})
	op(s, "DescribeStateMachine", func(c *Call, in *sfn.DescribeStateMachineInput) (*sfn.DescribeStateMachineOutput, error) {
		arn := aws.ToString(in.StateMachineArn)
		if m, ok := c.home().states.machines.get(arn); ok {
			out := m.DescribeStateMachineOutput
			return &out, nil
		}
		if i := strings.LastIndexByte(arn, ':'); i > 0 {
			if m, ok := c.home().states.machines.get(arn[:i]); ok {
				for _, v := range m.versions {
					if *v.StateMachineArn == arn {
						return &v, nil
					}
				}
			}
		}
		return nil, missing(arn)
	})
	op(s, "ListStateMachines", func(c *Call, in *sfn.ListStateMachinesInput) (*sfn.ListStateMachinesOutput, error) {
		var list []types.StateMachineListItem
		for _, m := range c.home().states.machines.all() {
			list = append(list, types.StateMachineListItem{StateMachineArn: m.StateMachineArn, Name: m.Name, Type: m.Type, CreationDate: m.CreationDate})
		}
		list, next, err := page(list, upTo(in.MaxResults), 100, 1000, in.NextToken)
		return &sfn.ListStateMachinesOutput{StateMachines: list, NextToken: next}, err
	})
	op(s, "ListStateMachineVersions", func(c *Call, in *sfn.ListStateMachineVersionsInput) (*sfn.ListStateMachineVersionsOutput, error) {
		var list []types.StateMachineVersionListItem
		if m, ok := c.home().states.machines.get(aws.ToString(in.StateMachineArn)); ok {
			for i := len(m.versions) - 1; i >= 0; i-- { // the newest first
				list = append(list, types.StateMachineVersionListItem{StateMachineVersionArn: m.versions[i].StateMachineArn, CreationDate: m.versions[i].CreationDate})
			}
		}
		list, next, err := page(list, upTo(in.MaxResults), 100, 1000, in.NextToken)
		return &sfn.ListStateMachineVersionsOutput{StateMachineVersions: list, NextToken: next}, err
	})
	return s
}

// upTo is a page size of which 0 means the default.
func upTo(n int32) *int32 {
	if n == 0 {
		return nil
	}
	return &n
}
