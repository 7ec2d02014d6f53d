package orgsim

import (
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	agentcore "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
)

type agentCoreState struct {
	runtimes shelf[*agentRuntime] // by id
}

// agentRuntime has a version for each change; the endpoint DEFAULT serves the newest.
type agentRuntime struct {
	arn, id, name string
	artifacts     []types.AgentRuntimeArtifact
	endpoints     map[string]string // name -> version
}

func (r *agentRuntime) containers(version int) string {
	if a, ok := r.artifacts[version-1].(*types.AgentRuntimeArtifactMemberContainerConfiguration); ok {
		return aws.ToString(a.Value.ContainerUri)
	}
	return ""
}

func agentCoreService() *service {
	registerUnion[types.AgentRuntimeArtifact](map[string]any{
		"containerConfiguration": types.AgentRuntimeArtifactMemberContainerConfiguration{},
	})
	s := &service{name: "bedrock-agentcore", protocol: restJSON, lowerCamel: true, badParameter: "ValidationException"}
	s.bucket = func(operation string) (string, int, int) {
		if operation == "GetAgentRuntime" {
			return "get", 50, 50
		}
		return "list", 5, 5
	}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for _, rt := range r.agentCore.runtimes.items {
			for version := range rt.artifacts {
				use(rt.containers(version+1), "", rt.arn)
			}
		}
	}
	find := func(c *Call, id *string) (*agentRuntime, error) {
		if r, ok := c.home().agentCore.runtimes.get(aws.ToString(id)); ok {
			return r, nil
		}
		return nil, errorf("ResourceNotFoundException", "Agent runtime %s was not found.", aws.ToString(id))
	}
	op(s, "CreateAgentRuntime", func(c *Call, in *agentcore.CreateAgentRuntimeInput) (*agentcore.CreateAgentRuntimeOutput, error) {
		id := fmt.Sprintf("%s-%010d", aws.ToString(in.AgentRuntimeName), len(c.home().agentCore.runtimes.items)+1)
		r := &agentRuntime{arn: c.arn("bedrock-agentcore", "runtime/"+id), id: id, name: aws.ToString(in.AgentRuntimeName),
			artifacts: []types.AgentRuntimeArtifact{in.AgentRuntimeArtifact}, endpoints: map[string]string{"DEFAULT": "1"}}
		c.home().agentCore.runtimes.put(id, r)
		return &agentcore.CreateAgentRuntimeOutput{AgentRuntimeArn: &r.arn, AgentRuntimeId: &id, AgentRuntimeVersion: new("1"),
			Status: types.AgentRuntimeStatusReady}, nil
	}, route("PUT", "/runtimes/", 202))
	op(s, "UpdateAgentRuntime", func(c *Call, in *agentcore.UpdateAgentRuntimeInput) (*agentcore.UpdateAgentRuntimeOutput, error) {
		r, err := find(c, in.AgentRuntimeId)
		if err != nil {
			return nil, err
		}
		r.artifacts = append(r.artifacts, in.AgentRuntimeArtifact)
		version := strconv.Itoa(len(r.artifacts))
		r.endpoints["DEFAULT"] = version
		return &agentcore.UpdateAgentRuntimeOutput{AgentRuntimeArn: &r.arn, AgentRuntimeId: &r.id, AgentRuntimeVersion: &version,
			Status: types.AgentRuntimeStatusReady}, nil
	}, route("PUT", "/runtimes/{AgentRuntimeId}/", 202))
	op(s, "CreateAgentRuntimeEndpoint", func(c *Call, in *agentcore.CreateAgentRuntimeEndpointInput) (*agentcore.CreateAgentRuntimeEndpointOutput, error) {
		r, err := find(c, in.AgentRuntimeId)
		if err != nil {
			return nil, err
		}
		version := aws.ToString(in.AgentRuntimeVersion)
		if version == "" {
			version = strconv.Itoa(len(r.artifacts))
		}
		r.endpoints[aws.ToString(in.Name)] = version
		return &agentcore.CreateAgentRuntimeEndpointOutput{AgentRuntimeArn: &r.arn, AgentRuntimeEndpointArn: new(r.arn + "/runtime-endpoint/" + *in.Name),
			AgentRuntimeId: &r.id, EndpointName: in.Name, TargetVersion: &version, Status: types.AgentRuntimeEndpointStatusReady}, nil
	}, route("PUT", "/runtimes/{AgentRuntimeId}/runtime-endpoints/", 202))
	op(s, "GetAgentRuntime", func(c *Call, in *agentcore.GetAgentRuntimeInput) (*agentcore.GetAgentRuntimeOutput, error) {
		r, err := find(c, in.AgentRuntimeId)
		if err != nil {
			return nil, err
		}
		version := len(r.artifacts)
		if v := aws.ToString(in.AgentRuntimeVersion); v != "" {
			if version, err = strconv.Atoi(v); err != nil || version < 1 || version > len(r.artifacts) {
				return nil, errorf("ResourceNotFoundException", "Version %s of agent runtime %s was not found.", v, r.id)
			}
		}
		return &agentcore.GetAgentRuntimeOutput{AgentRuntimeArn: &r.arn, AgentRuntimeId: &r.id, AgentRuntimeName: &r.name, AgentRuntimeVersion: new(strconv.Itoa(version)),
			AgentRuntimeArtifact: r.artifacts[version-1], Status: types.AgentRuntimeStatusReady}, nil
	}, route("GET", "/runtimes/{AgentRuntimeId}/", 200, "version=AgentRuntimeVersion"))
	summary := func(r *agentRuntime, version int) types.AgentRuntime {
		return types.AgentRuntime{AgentRuntimeArn: &r.arn, AgentRuntimeId: &r.id, AgentRuntimeName: &r.name, AgentRuntimeVersion: new(strconv.Itoa(version)), Status: types.AgentRuntimeStatusReady}
	}
	op(s, "ListAgentRuntimes", func(c *Call, in *agentcore.ListAgentRuntimesInput) (*agentcore.ListAgentRuntimesOutput, error) {
		var list []types.AgentRuntime
		for _, r := range c.home().agentCore.runtimes.all() {
			list = append(list, summary(r, len(r.artifacts)))
		}
		list, next, err := page(list, in.MaxResults, 10, 100, in.NextToken)
		return &agentcore.ListAgentRuntimesOutput{AgentRuntimes: list, NextToken: next}, err
	}, route("POST", "/runtimes/", 200, "MaxResults", "NextToken"))
	op(s, "ListAgentRuntimeVersions", func(c *Call, in *agentcore.ListAgentRuntimeVersionsInput) (*agentcore.ListAgentRuntimeVersionsOutput, error) {
		r, err := find(c, in.AgentRuntimeId)
		if err != nil {
			return nil, err
		}
		var list []types.AgentRuntime
		for version := len(r.artifacts); version > 0; version-- {
			list = append(list, summary(r, version))
		}
		list, next, err := page(list, in.MaxResults, 10, 100, in.NextToken)
		return &agentcore.ListAgentRuntimeVersionsOutput{AgentRuntimes: list, NextToken: next}, err
	}, route("POST", "/runtimes/{AgentRuntimeId}/versions/", 200, "MaxResults", "NextToken"))
	op(s, "ListAgentRuntimeEndpoints", func(c *Call, in *agentcore.ListAgentRuntimeEndpointsInput) (*agentcore.ListAgentRuntimeEndpointsOutput, error) {
		r, err := find(c, in.AgentRuntimeId)
		if err != nil {
			return nil, err
		}
		var list []types.AgentRuntimeEndpoint
		for _, name := range sortedNames(r.endpoints) {
			list = append(list, types.AgentRuntimeEndpoint{Name: &name, Id: &name, AgentRuntimeArn: &r.arn, AgentRuntimeEndpointArn: new(r.arn + "/runtime-endpoint/" + name),
				LiveVersion: new(r.endpoints[name]), Status: types.AgentRuntimeEndpointStatusReady})
		}
		list, next, err := page(list, in.MaxResults, 10, 100, in.NextToken)
		return &agentcore.ListAgentRuntimeEndpointsOutput{RuntimeEndpoints: list, NextToken: next}, err
	}, route("POST", "/runtimes/{AgentRuntimeId}/runtime-endpoints/", 200, "MaxResults", "NextToken"))
	return s
}
