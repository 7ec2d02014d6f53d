package scan

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	agentcore "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"

	"demurrage/internal/image"
)

// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/bedrock-agentcore-limits.html
var (
	agentcoreGet  = bucket{name: "Get", rate: 50, burst: 50}
	agentcoreList = bucket{name: "List", rate: 5, burst: 5}
)

var agentcoreOps = map[string]bucket{
	"ListAgentRuntimes":         agentcoreList,
	"ListAgentRuntimeVersions":  agentcoreList,
	"ListAgentRuntimeEndpoints": agentcoreList,
	"GetAgentRuntime":           agentcoreGet,
}

// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/agentcore-regions.html
var agentcoreRegions = []string{
	"ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-central-1", "eu-north-1",
	"eu-west-1", "eu-west-2", "eu-west-3", "sa-east-1", "us-east-1", "us-east-2", "us-gov-west-1", "us-west-2",
}

const agentcorePage = 100

type agentcoreAPI interface {
	agentcore.ListAgentRuntimesAPIClient
	agentcore.ListAgentRuntimeVersionsAPIClient
	agentcore.ListAgentRuntimeEndpointsAPIClient
	GetAgentRuntime(context.Context, *agentcore.GetAgentRuntimeInput, ...func(*agentcore.Options)) (*agentcore.GetAgentRuntimeOutput, error)
}

// agentcoreScan looks at every version of every runtime. Those that an endpoint serves, or is changing to, are live.
//
// https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/agent-runtime-versioning.html
type agentcoreScan struct {
	*work
	api agentcoreAPI
}

func scanAgentCore(ctx context.Context, w *work) {
	s := &agentcoreScan{work: w, api: agentcore.NewFromConfig(w.cfg)}
	var runtimes []types.AgentRuntime
	for out, err := range pages(ctx, agentcore.NewListAgentRuntimesPaginator(s.api, &agentcore.ListAgentRuntimesInput{MaxResults: aws.Int32(agentcorePage)})) {
		if err != nil {
			s.fail("ListAgentRuntimes", "", err)
			break
		}
		runtimes = append(runtimes, out.AgentRuntimes...)
	}
	each(ctx, w, 4, slices.Values(runtimes), func(r types.AgentRuntime) { s.runtime(ctx, aws.ToString(r.AgentRuntimeId)) })
}

func (s *agentcoreScan) runtime(ctx context.Context, id string) {
	served := make(map[string][]string) // version -> names of endpoints
	for out, err := range pages(ctx, agentcore.NewListAgentRuntimeEndpointsPaginator(s.api,
		&agentcore.ListAgentRuntimeEndpointsInput{AgentRuntimeId: &id, MaxResults: aws.Int32(agentcorePage)})) {
		if err != nil {
			s.failed("ListAgentRuntimeEndpoints", id, err)
			break
		}
		for i := range out.RuntimeEndpoints {
			e := &out.RuntimeEndpoints[i]
			for _, v := range []string{aws.ToString(e.LiveVersion), aws.ToString(e.TargetVersion)} {
				if v != "" && !slices.Contains(served[v], aws.ToString(e.Name)) {
					served[v] = append(served[v], aws.ToString(e.Name))
				}
			}
		}
	}
	versions := make(map[string]bool)
	for v := range served {
		versions[v] = true
	}
	for out, err := range pages(ctx, agentcore.NewListAgentRuntimeVersionsPaginator(s.api,
		&agentcore.ListAgentRuntimeVersionsInput{AgentRuntimeId: &id, MaxResults: aws.Int32(agentcorePage)})) {
		if err != nil {
			s.failed("ListAgentRuntimeVersions", id, err)
			break
		}
		for i := range out.AgentRuntimes {
			versions[aws.ToString(out.AgentRuntimes[i].AgentRuntimeVersion)] = true
		}
	}
	for _, v := range sortedKeys(versions) {
		out, err := s.api.GetAgentRuntime(ctx, &agentcore.GetAgentRuntimeInput{AgentRuntimeId: &id, AgentRuntimeVersion: &v})
		if err != nil {
			s.failed("GetAgentRuntime", id+" version "+v, err)
			continue
		}
		use := image.Use{Source: "bedrock-agentcore-runtime", Resource: aws.ToString(out.AgentRuntimeArn), Detail: "version " + v, Live: len(served[v]) > 0}
		if use.Live {
			use.Detail += ", endpoint " + strings.Join(served[v], ", ")
		}
		s.images("GetAgentRuntime", use, out.AgentRuntimeArtifact)
	}
}

func (s *agentcoreScan) failed(op, resource string, err error) {
	if errorCode(err) != (&types.ResourceNotFoundException{}).ErrorCode() { // it was deleted meanwhile
		s.fail(op, resource, err)
	}
}
