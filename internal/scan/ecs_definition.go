package scan

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/image"
)

type definitionAPI interface {
	ecs.ListTaskDefinitionsAPIClient
	DescribeTaskDefinition(context.Context, *ecs.DescribeTaskDefinitionInput, ...func(*ecs.Options)) (*ecs.DescribeTaskDefinitionOutput, error)
	ListDaemonTaskDefinitions(context.Context, *ecs.ListDaemonTaskDefinitionsInput, ...func(*ecs.Options)) (*ecs.ListDaemonTaskDefinitionsOutput, error)
	DescribeDaemonTaskDefinition(context.Context, *ecs.DescribeDaemonTaskDefinitionInput, ...func(*ecs.Options)) (*ecs.DescribeDaemonTaskDefinitionOutput, error)
}

// activeDefinitions are the active task definitions of a target.
type activeDefinitions struct {
	arns     []string
	complete bool // the whole list was read
}

// definedContainer is what the cache keeps of a container definition: a revision of a task definition never changes,
// and its number is never given to another.
type definedContainer struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// definitionCache keeps the containers of task definitions by ARN.
type definitionCache map[string][]definedContainer

const definitionCacheName = "ecs-task-definitions"

// listDefinitions lists the active revisions of all families at once, or of the families that begin with a text.
func (s *ecsScan) listDefinitions(ctx context.Context, prefix string) activeDefinitions {
	var l activeDefinitions
	in := &ecs.ListTaskDefinitionsInput{Status: types.TaskDefinitionStatusActive, MaxResults: aws.Int32(ecsPage)}
	if prefix != "" {
		in.FamilyPrefix = &prefix
	}
	for out, err := range pages(ctx, ecs.NewListTaskDefinitionsPaginator(s.api, in)) {
		if err != nil {
			s.fail("ListTaskDefinitions", prefix, err)
			return l
		}
		l.arns = append(l.arns, out.TaskDefinitionArns...)
	}
	l.complete = true
	return l
}

// newest picks the newest revisions of each family, as many as are to be kept for a rollback. An ARN that does not
// have the form of one is picked in any case.
func (s *ecsScan) newest(arns []string) map[string]bool {
	type revision struct {
		arn    string
		number int
	}
	picked := make(map[string]bool)
	families := make(map[[2]string][]revision)
	for _, arn := range arns {
		family, number, ok := definitionOf(arn)
		if !ok {
			picked[arn] = true
			continue
		}
		kind := strings.TrimSuffix(arn, arn[strings.LastIndexByte(arn, '/'):]) // a daemon's family may have the same name
		families[[2]string{kind, family}] = append(families[[2]string{kind, family}], revision{arn, number})
	}
	for family, revisions := range families {
		keep := len(revisions)
		if s.opts.KeepTaskDefinitions != nil {
			if n := s.opts.KeepTaskDefinitions(family[1]); n >= 0 {
				keep = min(n, keep)
			}
		}
		slices.SortFunc(revisions, func(a, b revision) int { return b.number - a.number })
		for _, r := range revisions[:keep] {
			picked[r.arn] = true
		}
	}
	return picked
}

// definitionOf takes family and revision from a task definition's ARN, a daemon's too.
func definitionOf(arn string) (family string, revision int, ok bool) {
	_, name, ok := strings.Cut(arn, ":task-definition/")
	if !ok {
		_, name, ok = strings.Cut(arn, daemonDefinitionPart)
	}
	family, number, ok2 := strings.Cut(name, ":")
	revision, err := strconv.Atoi(number)
	return family, revision, ok && ok2 && family != "" && err == nil
}

// definitions looks at the task definitions that something refers to, whatever their status, and at those kept for
// a rollback: each once, and those of an earlier run not at all.
func (s *ecsScan) definitions(ctx context.Context, listed activeDefinitions, kept map[string]bool) {
	cache := loadCache[definitionCache](ctx, s.work, definitionCacheName)
	wanted := maps.Clone(kept)
	for arn := range s.referrers {
		wanted[arn] = true
	}
	known := make(definitionCache, len(wanted)) // what was really read, now or earlier, and nothing else
	var fetch []string
	for _, arn := range sortedKeys(wanted) {
		if c := cache[arn]; len(c) > 0 {
			known[arn] = c
		} else {
			fetch = append(fetch, arn)
		}
	}
	var mu sync.Mutex
	each(ctx, s.work, 8, slices.Values(fetch), func(arn string) {
		containers, err := s.describeDefinition(ctx, arn)
		if err != nil {
			if !s.deleted(arn, err, listed) {
				s.fail(describeOp(arn), arn, err)
			}
			return
		}
		mu.Lock()
		defer mu.Unlock()
		known[arn] = containers
	})
	for arn := range known {
		s.definitionUses(arn, known[arn], kept[arn])
	}
	s.namelessUses(known)

	// What is neither listed nor referred to any more is forgotten.
	for _, arn := range listed.arns {
		wanted[arn] = true
	}
	for arn, c := range cache {
		if wanted[arn] || !listed.complete {
			known[arn] = c
		}
	}
	if len(fetch) > 0 || len(known) != len(cache) {
		saveCache(ctx, s.work, definitionCacheName, known)
	}
}

// deleted reports whether a task definition is gone for good: ECS does not know it, does not list it, and all that
// refers to it has told what it runs or is a pin, which starts nothing then. Nothing can be started from it any more.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/delete-task-definition-v2.html
func (s *ecsScan) deleted(arn string, err error, listed activeDefinitions) bool {
	if errorCode(err) != (&types.ClientException{}).ErrorCode() || !listed.complete || slices.Contains(listed.arns, arn) ||
		slices.ContainsFunc(s.referrers[arn], func(r referrer) bool { return !r.told && r.kind != byPin }) {
		return false
	}
	for _, r := range s.referrers[arn] {
		if r.kind == byPin {
			s.notePinned(r.use, nameOf(arn), "which does not exist")
		}
	}
	return true
}

// describeOp is the operation that describes a task definition.
func describeOp(arn string) string {
	if strings.Contains(arn, daemonDefinitionPart) {
		return "DescribeDaemonTaskDefinition"
	}
	return "DescribeTaskDefinition"
}

func (s *ecsScan) describeDefinition(ctx context.Context, arn string) ([]definedContainer, error) {
	if strings.Contains(arn, daemonDefinitionPart) {
		return s.describeDaemonDefinition(ctx, arn)
	}
	out, err := s.api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &arn})
	if err != nil {
		return nil, err
	}
	if out.TaskDefinition == nil {
		return nil, errNoAnswer
	}
	var containers []definedContainer
	for i := range out.TaskDefinition.ContainerDefinitions {
		c := &out.TaskDefinition.ContainerDefinitions[i]
		containers = append(containers, definedContainer{
			Name: strings.Clone(aws.ToString(c.Name)), Image: strings.Clone(aws.ToString(c.Image)),
		})
	}
	return containers, nil
}

// nameOf is family:revision.
func nameOf(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// definitionUses records the images of one task definition, for all that refers to it and for a rollback.
func (s *ecsScan) definitionUses(arn string, containers []definedContainer, rollback bool) {
	op, kept := describeOp(arn), "ecs-task-definition"
	if op == "DescribeDaemonTaskDefinition" {
		kept = "ecs-daemon-task-definition"
	}
	name := nameOf(arn)
	witnesses := witnesses(s.referrers[arn])
	live := slices.ContainsFunc(witnesses, func(r referrer) bool { return r.use.Live })
	for _, c := range containers {
		for _, r := range witnesses {
			use := r.use
			switch {
			case r.kind == byPin:
				use.Detail = strings.TrimPrefix(use.Detail+", task definition "+name+", container "+c.Name, ", ")
			case r.as != "":
				use.Detail = "container " + c.Name + ", task definition " + name + ", " + r.as
			default:
				use.Detail = "container " + c.Name + ", task definition " + name
			}
			s.use(op, use, c.Image, "")
		}
		if rollback && !live {
			s.use(op, image.Use{Source: kept, Resource: arn, Detail: "container " + c.Name + ", kept for a rollback"}, c.Image, "")
		}
	}
}

// witnesses picks the referrers that are named as users of a task definition: all but tasks, each resource once; and, of
// tasks that nothing else that is live stands for, one, since their own images are recorded for each of them already.
func witnesses(all []referrer) []referrer {
	var named, tasks []referrer
	for _, r := range all {
		if r.kind == byTask {
			tasks = append(tasks, r)
		} else {
			named = append(named, r)
		}
	}
	sortReferrers(named)
	named = slices.CompactFunc(named, func(a, b referrer) bool { return a.use.Resource == b.use.Resource })
	if len(tasks) == 0 || slices.ContainsFunc(named, func(r referrer) bool { return r.use.Live }) {
		return named
	}
	sortReferrers(tasks)
	slices.SortStableFunc(tasks, liveFirst)
	return append(named, tasks[0])
}

func sortReferrers(list []referrer) {
	slices.SortFunc(list, func(a, b referrer) int {
		return cmp.Or(cmp.Compare(a.use.Resource, b.use.Resource), liveFirst(a, b), cmp.Compare(a.as, b.as), cmp.Compare(a.use.Detail, b.use.Detail))
	})
}

func liveFirst(a, b referrer) int {
	switch {
	case a.use.Live == b.use.Live:
		return 0
	case a.use.Live:
		return -1
	default:
		return 1
	}
}

// namelessUses records containers of which ECS tells the digest and not the image, by their task definition. A
// container that is not in its task definition was added by ECS and has no image of ours.
func (s *ecsScan) namelessUses(known definitionCache) {
	for _, c := range s.nameless {
		for _, d := range known[c.definition] {
			if d.Name == c.name {
				s.use(c.op, c.use, d.Image, c.digest)
			}
		}
	}
}
