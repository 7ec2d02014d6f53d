package scan

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"demurrage/internal/image"
)

// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
var eventsAll = bucket{name: "everything", rate: 50, burst: 50}

var eventsOps = map[string]bucket{
	"ListEventBuses":    eventsAll,
	"ListRules":         eventsAll,
	"ListTargetsByRule": eventsAll,
}

const eventsPage = 100

type eventsAPI interface {
	ListEventBuses(context.Context, *eventbridge.ListEventBusesInput, ...func(*eventbridge.Options)) (*eventbridge.ListEventBusesOutput, error)
	ListRules(context.Context, *eventbridge.ListRulesInput, ...func(*eventbridge.Options)) (*eventbridge.ListRulesOutput, error)
	ListTargetsByRule(context.Context, *eventbridge.ListTargetsByRuleInput, ...func(*eventbridge.Options)) (*eventbridge.ListTargetsByRuleOutput, error)
}

// eventsScan looks at what the rules of every event bus start. A rule that is disabled can be enabled again at any
// time; what it starts counts as not live.
type eventsScan struct {
	*work
	api eventsAPI
}

func scanEvents(ctx context.Context, w *work) {
	s := &eventsScan{work: w, api: eventbridge.NewFromConfig(w.cfg)}
	var buses []string
	err := chain(func(token *string) (*string, error) {
		out, err := s.api.ListEventBuses(ctx, &eventbridge.ListEventBusesInput{NextToken: token, Limit: aws.Int32(eventsPage)})
		if err != nil {
			return nil, err
		}
		for i := range out.EventBuses {
			buses = append(buses, aws.ToString(out.EventBuses[i].Name))
		}
		return out.NextToken, nil
	})
	if err != nil {
		s.fail("ListEventBuses", "", err)
	}
	for _, bus := range buses {
		s.bus(ctx, bus)
	}
}

func (s *eventsScan) bus(ctx context.Context, bus string) {
	var rules []types.Rule
	err := chain(func(token *string) (*string, error) {
		out, err := s.api.ListRules(ctx, &eventbridge.ListRulesInput{EventBusName: &bus, NextToken: token, Limit: aws.Int32(eventsPage)})
		if err != nil {
			return nil, err
		}
		rules = append(rules, out.Rules...)
		return out.NextToken, nil
	})
	if err != nil && errorCode(err) != (&types.ResourceNotFoundException{}).ErrorCode() { // the bus was deleted meanwhile
		s.fail("ListRules", bus, err)
	}
	each(ctx, s.work, 8, slices.Values(rules), func(rule types.Rule) { s.rule(ctx, bus, &rule) })
}

func (s *eventsScan) rule(ctx context.Context, bus string, rule *types.Rule) {
	arn := aws.ToString(rule.Arn)
	use := image.Use{Source: "events-rule", Resource: arn, Detail: "rule " + aws.ToString(rule.Name), Live: rule.State != types.RuleStateDisabled}
	if !use.Live {
		use.Detail += ", disabled"
	}
	err := chain(func(token *string) (*string, error) {
		out, err := s.api.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{
			EventBusName: &bus, Rule: rule.Name, NextToken: token, Limit: aws.Int32(eventsPage),
		})
		if err != nil {
			return nil, err
		}
		for i := range out.Targets {
			s.target(use, &out.Targets[i])
		}
		return out.NextToken, nil
	})
	if err != nil && errorCode(err) != (&types.ResourceNotFoundException{}).ErrorCode() { // the rule was deleted meanwhile
		s.fail("ListTargetsByRule", arn, err)
	}
}

// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_Target.html
func (s *eventsScan) target(use image.Use, t *types.Target) {
	const op = "ListTargetsByRule"
	if t.EcsParameters != nil {
		s.pin("ecs", aws.ToString(t.EcsParameters.TaskDefinitionArn), use)
	}
	if t.BatchParameters != nil {
		s.pin("batch", aws.ToString(t.BatchParameters.JobDefinition), use)
	}
	if arn := aws.ToString(t.Arn); strings.Contains(arn, ":lambda:") {
		s.pin("lambda", arn, use)
	}
	s.mentions(op, use, aws.ToString(t.Input))
	if t.InputTransformer != nil {
		s.mentions(op, use, aws.ToString(t.InputTransformer.InputTemplate))
	}
}
