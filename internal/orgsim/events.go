package orgsim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

type eventsState struct {
	buses map[string]*eventBus // by name; the one named default is there from the beginning
}

type eventBus struct {
	rules   shelf[types.Rule]
	targets map[string][]types.Target // by rule
}

func (e *eventsState) bus(name *string) (*eventBus, string, error) {
	n := aws.ToString(name)
	if n == "" {
		n = "default"
	}
	if b := e.buses[n]; b != nil {
		return b, n, nil
	}
	if n == "default" {
		return &eventBus{}, n, nil
	}
	return nil, n, errorf("ResourceNotFoundException", "Event bus %s does not exist.", n)
}

func (e *eventsState) change(name *string) (*eventBus, string, error) {
	b, n, err := e.bus(name)
	if err != nil {
		return nil, n, err
	}
	if e.buses == nil {
		e.buses = make(map[string]*eventBus)
	}
	e.buses[n] = b
	return b, n, nil
}

// eventsService is EventBridge, whose rules never fire.
func eventsService() *service {
	s := &service{name: "events", protocol: json11, targetPrefix: "AWSEvents", badParameter: "ValidationException"}
	s.bucket = func(string) (string, int, int) { return "all", 50, 50 }
	op(s, "CreateEventBus", func(c *Call, in *eventbridge.CreateEventBusInput) (*eventbridge.CreateEventBusOutput, error) {
		e := &c.home().events
		if e.buses[aws.ToString(in.Name)] != nil {
			return nil, errorf("ResourceAlreadyExistsException", "Event bus %s already exists.", *in.Name)
		}
		if e.buses == nil {
			e.buses = make(map[string]*eventBus)
		}
		e.buses[*in.Name] = &eventBus{}
		return &eventbridge.CreateEventBusOutput{EventBusArn: new(c.arn("events", "event-bus/"+*in.Name))}, nil
	})
	op(s, "ListEventBuses", func(c *Call, in *eventbridge.ListEventBusesInput) (*eventbridge.ListEventBusesOutput, error) {
		names := []string{"default"}
		for name := range c.home().events.buses {
			if name != "default" {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		names, next, err := page(names, in.Limit, 100, 100, in.NextToken)
		out := &eventbridge.ListEventBusesOutput{NextToken: next, EventBuses: []types.EventBus{}}
		for _, name := range names {
			out.EventBuses = append(out.EventBuses, types.EventBus{Name: new(name), Arn: new(c.arn("events", "event-bus/"+name))})
		}
		return out, err
	})
	op(s, "PutRule", func(c *Call, in *eventbridge.PutRuleInput) (*eventbridge.PutRuleOutput, error) {
		b, bus, err := c.home().events.change(in.EventBusName)
		if err != nil {
			return nil, err
		}
		resource := "rule/" + aws.ToString(in.Name)
		if bus != "default" {
			resource = "rule/" + bus + "/" + aws.ToString(in.Name)
		}
		state := in.State
		if state == "" {
			state = types.RuleStateEnabled
		}
		arn := c.arn("events", resource)
		b.rules.put(*in.Name, types.Rule{Arn: &arn, Name: in.Name, EventBusName: &bus, ScheduleExpression: in.ScheduleExpression, EventPattern: in.EventPattern, State: state})
		return &eventbridge.PutRuleOutput{RuleArn: &arn}, nil
	})
	op(s, "DeleteRule", func(c *Call, in *eventbridge.DeleteRuleInput) (*eventbridge.DeleteRuleOutput, error) {
		b, _, err := c.home().events.change(in.EventBusName)
		if err != nil {
			return nil, err
		}
		if len(b.targets[aws.ToString(in.Name)]) > 0 {
			return nil, errorf("ValidationException", "Rule can't be deleted since it has targets.")
		}
		b.rules.drop(aws.ToString(in.Name))
		return &eventbridge.DeleteRuleOutput{}, nil
	})
	op(s, "ListRules", func(c *Call, in *eventbridge.ListRulesInput) (*eventbridge.ListRulesOutput, error) {
		b, _, err := c.home().events.bus(in.EventBusName)
		if err != nil {
			return nil, err
		}
		list, next, err := page(b.rules.all(), in.Limit, 100, 100, in.NextToken)
		return &eventbridge.ListRulesOutput{Rules: list, NextToken: next}, err
	})
	op(s, "PutTargets", func(c *Call, in *eventbridge.PutTargetsInput) (*eventbridge.PutTargetsOutput, error) {
		b, _, err := c.home().events.change(in.EventBusName)
		if err != nil {
			return nil, err
		}
		rule := aws.ToString(in.Rule)
		if _, ok := b.rules.get(rule); !ok {
			return nil, errorf("ResourceNotFoundException", "Rule %s does not exist on EventBus.", rule)
		}
		list := slices.Clone(b.targets[rule])
		for _, t := range in.Targets {
			list = slices.DeleteFunc(list, func(x types.Target) bool { return *x.Id == aws.ToString(t.Id) })
			list = append(list, t)
		}
		if len(list) > 5 {
			return nil, errorf("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
		}
		if b.targets == nil {
			b.targets = make(map[string][]types.Target)
		}
		b.targets[rule] = list
		return &eventbridge.PutTargetsOutput{FailedEntries: []types.PutTargetsResultEntry{}}, nil
	})
	op(s, "ListTargetsByRule", func(c *Call, in *eventbridge.ListTargetsByRuleInput) (*eventbridge.ListTargetsByRuleOutput, error) {
		b, _, err := c.home().events.bus(in.EventBusName)
		if err != nil {
			return nil, err
		}
		if _, ok := b.rules.get(aws.ToString(in.Rule)); !ok {
			return nil, errorf("ResourceNotFoundException", "Rule %s does not exist on EventBus.", aws.ToString(in.Rule))
		}
		list, next, err := page(b.targets[*in.Rule], in.Limit, 100, 100, in.NextToken)
		return &eventbridge.ListTargetsByRuleOutput{Targets: list, NextToken: next}, err
	})
	return s
}
