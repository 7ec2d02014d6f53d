package scan

import (
	"context"
	"maps"
	"slices"

	"demurrage/internal/image"
)

// source is one AWS service to look at.
type source struct {
	name     string                       // in coverage
	service  string                       // prefix of its IAM actions
	registry bool                         // looked at in planned targets only
	ops      map[string]bucket            // every operation called, with the rate bucket it draws on
	scan     func(context.Context, *work) // reports through the work; never returns before its goroutines
}

// sources is where a scanner is registered.
var sources = []source{
	{name: image.SourceECR, service: "ecr", registry: true, ops: ecrOps, scan: scanECR},
	{name: "ecs", service: "ecs", ops: ecsOps, scan: scanECS},
	{name: "lambda", service: "lambda", ops: lambdaOps, scan: scanLambda},
}

// Sources are the names of the sources in coverage, sorted.
func Sources() []string {
	var names []string
	for _, s := range sources {
		names = append(names, s.name)
	}
	slices.Sort(names)
	return names
}

// Expected is what a scan of a target has to have coverage of: the account, region and source of each.
func Expected(t Target) []image.Coverage {
	var expected []image.Coverage
	for _, s := range sources {
		if t.Planned || !s.registry {
			expected = append(expected, image.Coverage{Account: t.Account, Region: t.Region, Source: s.name})
		}
	}
	return expected
}

// Actions are the IAM actions that a scan needs, sorted: reads, all of them. The session policy of a scan is made of
// them.
func Actions() []string {
	var actions []string
	for _, s := range sources {
		for op := range maps.Keys(s.ops) {
			actions = append(actions, s.service+":"+op)
		}
	}
	slices.Sort(actions)
	return actions
}
