package scan

import (
	"context"
	"maps"
	"slices"

	"demurrage/internal/image"
)

// source is one AWS service to look at.
type source struct {
	name    string                       // in coverage
	service string                       // prefix of its IAM actions
	where   where                        // in which targets it is looked at
	ops     map[string]bucket            // every operation called, with the rate bucket it draws on
	scan    func(context.Context, *work) // reports through the work; never returns before its goroutines
	pins    bool                         // it may name, with work.pin, what other sources have to look at

	// resolve looks at what another target's sources pinned here. It is for sources that look at pins: see pin.go.
	resolve func(context.Context, *work, []pin)

	// regions are those that are known to have the service. nil: it is everywhere. Only in a region that is not among
	// them does a host that cannot be resolved mean that there is no such service; see coverage.
	regions []string
}

// where says in which targets a source is looked at.
type where int

const (
	everywhere where = iota
	planned          // where registries are planned
	home             // once an account: what it looks at knows no regions
)

// sources is where a scanner is registered: its line, and its name in accounts.Sources.
var sources = []source{
	{name: image.SourceECR, service: "ecr", where: planned, ops: ecrOps, scan: scanECR},
	{name: "ecs", service: "ecs", ops: ecsOps, scan: scanECS, resolve: resolveECS},
	{name: "lambda", service: "lambda", ops: lambdaOps, scan: scanLambda, resolve: resolveLambda},
	{name: "eks", service: "eks", ops: eksOps, scan: scanEKS},
	{name: "batch", service: "batch", ops: batchOps, scan: scanBatch, resolve: resolveBatch},
	{name: "events", service: "events", ops: eventsOps, scan: scanEvents, pins: true},
	{name: "scheduler", service: "scheduler", ops: schedulerOps, scan: scanScheduler, pins: true},
	{name: "states", service: "states", ops: statesOps, scan: scanStates, pins: true},
	{name: "codebuild", service: "codebuild", ops: codebuildOps, scan: scanCodeBuild},
	{name: "sagemaker", service: "sagemaker", ops: sagemakerOps, scan: scanSageMaker},
	{name: "apprunner", service: "apprunner", ops: apprunnerOps, scan: scanAppRunner, regions: apprunnerRegions},
	{name: "bedrock-agentcore", service: "bedrock-agentcore", ops: agentcoreOps, scan: scanAgentCore, regions: agentcoreRegions},
	{name: "emr-serverless", service: "emr-serverless", ops: emrOps, scan: scanEMR, regions: emrRegions},
	{name: "gamelift", service: "gamelift", ops: gameliftOps, scan: scanGameLift, regions: gameliftRegions},
	{name: "imagebuilder", service: "imagebuilder", ops: imagebuilderOps, scan: scanImageBuilder, regions: imagebuilderRegions},
	{name: "inspector", service: "inspector2", where: planned, ops: inspectorOps, scan: scanInspector, regions: inspectorRegions},
	{name: "pull-through-cache", service: "ecr", ops: mirrorOps, scan: scanMirrors},
	{name: image.SourceIAM, service: "iam", where: home, ops: iamOps, scan: scanIAM},
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

// looksAt reports whether the source is looked at in a target.
func (s *source) looksAt(t Target) bool {
	switch s.where {
	case planned:
		return t.Planned
	case home:
		return t.Home
	default:
		return true
	}
}

// Expected is what a scan of a target has to have coverage of: the account, region and source of each.
func Expected(t Target) []image.Coverage {
	var expected []image.Coverage
	for _, s := range sources {
		if s.looksAt(t) {
			expected = append(expected, image.Coverage{Account: t.Account, Region: t.Region, Source: s.name})
		}
	}
	return expected
}

// Actions are the IAM actions that a scan needs, sorted, each once: reads, all of them. The session policy of a scan
// is made of them.
func Actions() []string {
	var actions []string
	for _, s := range sources {
		for op := range maps.Keys(s.ops) {
			actions = append(actions, s.service+":"+op)
		}
	}
	slices.Sort(actions)
	return slices.Compact(actions)
}
