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
	fast    bool                         // every deployment may change what it tells; see FastSources

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
	{name: "ecs", fast: true, service: "ecs", ops: ecsOps, scan: scanECS, resolve: resolveECS},
	{name: "lambda", fast: true, service: "lambda", ops: lambdaOps, scan: scanLambda, resolve: resolveLambda},
	{name: "eks", fast: true, service: "eks", ops: eksOps, scan: scanEKS},
	{name: "batch", fast: true, service: "batch", ops: batchOps, scan: scanBatch, resolve: resolveBatch},
	{name: "events", service: "events", ops: eventsOps, scan: scanEvents, pins: true},
	{name: "scheduler", service: "scheduler", ops: schedulerOps, scan: scanScheduler, pins: true},
	{name: "states", service: "states", ops: statesOps, scan: scanStates, pins: true},
	{name: "codebuild", service: "codebuild", ops: codebuildOps, scan: scanCodeBuild},
	{name: "sagemaker", fast: true, service: "sagemaker", ops: sagemakerOps, scan: scanSageMaker},
	{name: "apprunner", fast: true, service: "apprunner", ops: apprunnerOps, scan: scanAppRunner, regions: apprunnerRegions},
	{name: "bedrock-agentcore", fast: true, service: "bedrock-agentcore", ops: agentcoreOps, scan: scanAgentCore, regions: agentcoreRegions},
	{name: "emr-serverless", fast: true, service: "emr-serverless", ops: emrOps, scan: scanEMR, regions: emrRegions},
	{name: "gamelift", service: "gamelift", ops: gameliftOps, scan: scanGameLift, regions: gameliftRegions},
	{name: "imagebuilder", service: "imagebuilder", ops: imagebuilderOps, scan: scanImageBuilder, regions: imagebuilderRegions},
	{name: "inspector", service: "inspector2", where: planned, ops: inspectorOps, scan: scanInspector, regions: inspectorRegions},
	{name: image.SourceMirrors, service: "ecr", ops: mirrorOps, scan: scanMirrors},
	{name: image.SourceIAM, service: "iam", where: home, ops: iamOps, scan: scanIAM},
}

// FastSources are the sources whose answers change with every deployment, sorted: what somebody puts to use a minute ago
// shows in them. They are what runs images and pulls them from ECR when it starts them: ecs, lambda, eks, batch, apprunner,
// sagemaker, bedrock-agentcore and emr-serverless. The others need no second look within hours of the first:
//
//   - events, scheduler and states start what is fast itself. A revision that is deployed is among the newest of its family
//     there, and what runs shows there; only an old one that somebody has a rule start again does not before it runs.
//   - codebuild and imagebuilder name what to build in or upon, which people change. A build that runs has pulled its image.
//   - gamelift runs copies that it makes of images when their definition is made.
//   - inspector repeats what ecs and eks say, hours later.
//   - pull-through-cache and iam are settings: they say who could pull, not who does.
//   - ecr is looked at anyway, one registry at a time: see Looks.Registry.
func FastSources() []string {
	var names []string
	for _, s := range sources {
		if s.fast {
			names = append(names, s.name)
		}
	}
	slices.Sort(names)
	return names
}

// includes reports whether a source is among those to look at.
func (o *Options) includes(s *source) bool {
	return o.Sources == nil || slices.Contains(o.Sources, s.name)
}

// checkSources panics if what is named cannot be looked at, or not without what is not named: a pin of a source that is
// looked at would be lost.
func (o *Options) checkSources() {
	all := Sources()
	for _, name := range o.Sources {
		if !slices.Contains(all, name) {
			panic("scan: there is no source " + name)
		}
	}
	pins := slices.ContainsFunc(sources, func(s source) bool { return s.pins && o.includes(&s) })
	for _, s := range sources {
		if pins && s.resolve != nil && !o.includes(&s) {
			panic("scan: what other sources pin is not looked up without " + s.name)
		}
	}
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
