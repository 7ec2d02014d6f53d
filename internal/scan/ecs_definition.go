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

// listDefinitions lists the active revisions of all families at once.
func (s *ecsScan) listDefinitions(ctx context.Context) activeDefinitions {
	var l activeDefinitions
	p := ecs.NewListTaskDefinitionsPaginator(s.api, &ecs.ListTaskDefinitionsInput{
		Status: types.TaskDefinitionStatusActive, MaxResults: aws.Int32(ecsPage),
	})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("ListTaskDefinitions", "", err)
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
	families := make(map[string][]revision)
	for _, arn := range arns {
		family, number, ok := definitionOf(arn)
		if !ok {
			picked[arn] = true
			continue
		}
		families[family] = append(families[family], revision{arn, number})
	}
	for family, revisions := range families {
		keep := len(revisions)
		if s.opts.KeepTaskDefinitions != nil {
			if n := s.opts.KeepTaskDefinitions(family); n >= 0 {
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

// definitionOf takes family and revision from a task definition's ARN.
func definitionOf(arn string) (family string, revision int, ok bool) {
	_, name, ok := strings.Cut(arn, ":task-definition/")
	family, number, ok2 := strings.Cut(name, ":")
	revision, err := strconv.Atoi(number)
	return family, revision, ok && ok2 && family != "" && err == nil
}

// definitions looks at the task definitions that something refers to, whatever their status, and at those kept for
// a rollback: each once, and those of an earlier run not at all.
func (s *ecsScan) definitions(ctx context.Context, listed activeDefinitions) {
	newest := s.newest(listed.arns)
	cache := loadCache[definitionCache](ctx, s.work, definitionCacheName)
	wanted := maps.Clone(newest)
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
				s.fail("DescribeTaskDefinition", arn, err)
			}
			return
		}
		mu.Lock()
		defer mu.Unlock()
		known[arn] = containers
	})
	for arn := range known {
		s.definitionUses(arn, known[arn], newest[arn])
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
// refers to it are tasks that have told what they run. Nothing can be started from it any more.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/delete-task-definition-v2.html
func (s *ecsScan) deleted(arn string, err error, listed activeDefinitions) bool {
	return errorCode(err) == (&types.ClientException{}).ErrorCode() && listed.complete && !slices.Contains(listed.arns, arn) &&
		!slices.ContainsFunc(s.referrers[arn], func(r referrer) bool { return r.source != "ecs-task" || !r.told })
}

func (s *ecsScan) describeDefinition(ctx context.Context, arn string) ([]definedContainer, error) {
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

// definitionUses records the images of one task definition, for the services and tasks that refer to it and for a
// rollback.
func (s *ecsScan) definitionUses(arn string, containers []definedContainer, rollback bool) {
	const op = "DescribeTaskDefinition"
	name := arn[strings.LastIndexByte(arn, '/')+1:]
	witnesses := witnesses(s.referrers[arn])
	live := slices.ContainsFunc(witnesses, func(r referrer) bool { return r.live })
	for _, c := range containers {
		for _, r := range witnesses {
			detail := "container " + c.Name + ", task definition " + name
			if r.as != "" {
				detail += ", " + r.as
			}
			s.use(op, image.Use{Source: r.source, Resource: r.resource, Detail: detail, Live: r.live}, c.Image, "")
		}
		if rollback && !live {
			s.use(op, image.Use{
				Source: "ecs-task-definition", Resource: arn, Detail: "container " + c.Name + ", kept for a rollback",
			}, c.Image, "")
		}
	}
}

// witnesses picks the referrers that are named as users of a task definition: every service, once; and, of tasks
// that no service stands for, one, since their own images are recorded for each of them already.
func witnesses(all []referrer) []referrer {
	var services, tasks []referrer
	for _, r := range all {
		if r.source == "ecs-service" {
			services = append(services, r)
		} else {
			tasks = append(tasks, r)
		}
	}
	slices.SortFunc(services, func(a, b referrer) int {
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.as, b.as))
	})
	services = slices.CompactFunc(services, func(a, b referrer) bool { return a.resource == b.resource })
	if len(services) > 0 || len(tasks) == 0 {
		return services
	}
	return []referrer{slices.MinFunc(tasks, func(a, b referrer) int {
		if a.live != b.live {
			if a.live {
				return -1
			}
			return 1
		}
		return strings.Compare(a.resource, b.resource)
	})}
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
