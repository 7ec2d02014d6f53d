package scan

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/aws-sdk-go-v2/service/sfn/types"

	"demurrage/internal/image"
)

// https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
var (
	statesDescribe = bucket{name: "DescribeStateMachine", rate: 20, burst: 200}
	statesList     = bucket{name: "ListStateMachines", rate: 5, burst: 100}
	statesVersions = bucket{name: "ListStateMachineVersions", rate: 1, burst: 100}
)

var statesOps = map[string]bucket{
	"ListStateMachines":        statesList,
	"DescribeStateMachine":     statesDescribe,
	"ListStateMachineVersions": statesVersions,
}

const statesPage = 1000

type statesAPI interface {
	sfn.ListStateMachinesAPIClient
	DescribeStateMachine(context.Context, *sfn.DescribeStateMachineInput, ...func(*sfn.Options)) (*sfn.DescribeStateMachineOutput, error)
	ListStateMachineVersions(context.Context, *sfn.ListStateMachineVersionsInput, ...func(*sfn.Options)) (*sfn.ListStateMachineVersionsOutput, error)
}

// statesVersion is what the cache keeps of a published version, which never changes: its definition.
type statesVersion struct {
	Created    int64  `json:"created"` // Unix seconds: a machine that is made anew counts its versions on, but who knows
	Definition string `json:"definition"`
}

const statesCacheName = "states-versions"

// statesScan looks at the definitions of state machines: the current one and every published version, since aliases and
// whoever knows their ARN can start any of them. What executions run that began under an older definition is not seen:
// they would have to be described one by one.
type statesScan struct {
	*work
	api statesAPI
}

func scanStates(ctx context.Context, w *work) {
	s := &statesScan{work: w, api: sfn.NewFromConfig(w.cfg)}
	var machines []string
	p := sfn.NewListStateMachinesPaginator(s.api, &sfn.ListStateMachinesInput{MaxResults: statesPage})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("ListStateMachines", "", err)
			break
		}
		for i := range out.StateMachines {
			machines = append(machines, aws.ToString(out.StateMachines[i].StateMachineArn))
		}
	}
	before := loadCache[map[string]statesVersion](ctx, w, statesCacheName)
	after := make(map[string]statesVersion)
	each(ctx, w, 4, slices.Values(machines), func(arn string) {
		s.describe(ctx, arn)
		for arn, v := range s.versions(ctx, arn, before) {
			s.mu.Lock()
			after[arn] = v
			s.mu.Unlock()
		}
	})
	if len(machines) > 0 || len(before) > 0 {
		saveCache(ctx, w, statesCacheName, after)
	}
}

func (s *statesScan) describe(ctx context.Context, arn string) {
	out, err := s.api.DescribeStateMachine(ctx, &sfn.DescribeStateMachineInput{StateMachineArn: &arn})
	if err != nil {
		s.failed("DescribeStateMachine", arn, err)
		return
	}
	s.definition(arn, "definition", true, aws.ToString(out.Definition))
}

func (s *statesScan) definition(arn, detail string, live bool, text string) {
	s.mentions("DescribeStateMachine", image.Use{Source: "states-state-machine", Resource: arn, Detail: detail, Live: live}, text)
}

// versions looks at the published versions of a machine, and gives them for the cache.
func (s *statesScan) versions(ctx context.Context, machine string, known map[string]statesVersion) map[string]statesVersion {
	seen := make(map[string]statesVersion)
	err := chain(func(token *string) (*string, error) {
		out, err := s.api.ListStateMachineVersions(ctx, &sfn.ListStateMachineVersionsInput{StateMachineArn: &machine, NextToken: token, MaxResults: statesPage})
		if err != nil {
			return nil, err
		}
		for i := range out.StateMachineVersions {
			item := &out.StateMachineVersions[i]
			arn := strings.Clone(aws.ToString(item.StateMachineVersionArn))
			v := statesVersion{Created: aws.ToTime(item.CreationDate).Unix()}
			if known[arn].Created == v.Created && known[arn].Definition != "" {
				v = known[arn]
			} else {
				out, err := s.api.DescribeStateMachine(ctx, &sfn.DescribeStateMachineInput{StateMachineArn: &arn})
				if err != nil {
					s.failed("DescribeStateMachine", arn, err)
					continue
				}
				v.Definition = strings.Clone(aws.ToString(out.Definition))
			}
			seen[arn] = v
			s.definition(arn, "version "+arn[strings.LastIndexByte(arn, ':')+1:], true, v.Definition)
		}
		return out.NextToken, nil
	})
	if err != nil {
		s.failed("ListStateMachineVersions", machine, err)
	}
	return seen
}

func (s *statesScan) failed(op, arn string, err error) {
	if errorCode(err) != (&types.StateMachineDoesNotExist{}).ErrorCode() { // it was deleted meanwhile
		s.fail(op, arn, err)
	}
}
