package scan

import (
	"context"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"demurrage/internal/image"
)

// resolveECS looks at the task definitions that resources of another target start: at these alone.
func resolveECS(ctx context.Context, w *work, pins []pin) {
	s := newECSScan(w)
	families := make(map[string]bool)
	for _, p := range pins {
		if family, _, ok := pinnedName(p.name); ok {
			families[family] = true
		}
	}
	listed := activeDefinitions{complete: true}
	for _, family := range sortedKeys(families) {
		l := s.listDefinitions(ctx, family)
		listed.arns = append(listed.arns, l.arns...)
		listed.complete = listed.complete && l.complete
	}
	s.pinnedDefinitions(ctx, pins, listed)
	s.definitions(ctx, listed, map[string]bool{})
}

var definitionName = regexp.MustCompile(`^(?:arn:[a-z-]+:ecs:[a-z0-9-]+:[0-9]{12}:task-definition/)?([\w-]{1,255})(?::([0-9]{1,9}))?$`)

// pinnedName takes a pin's name apart: an ARN, or what stands at the end of one. revision is 0 where there is none,
// which means the newest active one.
func pinnedName(name string) (family string, revision int, ok bool) {
	m := definitionName.FindStringSubmatch(name)
	if m == nil {
		return "", 0, false
	}
	if m[2] != "" {
		revision, _ = strconv.Atoi(m[2])
		return m[1], revision, revision > 0
	}
	return m[1], 0, true
}

// pinnedDefinitions notes which task definitions pins refer to, whether they are kept for a rollback or not. A pin is
// evidence of its own, however many others start the same.
func (s *ecsScan) pinnedDefinitions(ctx context.Context, pins []pin, listed activeDefinitions) {
	prefix := "arn:" + image.PartitionOf(s.Region).ID + ":ecs:" + s.Region + ":" + s.Account + ":task-definition/"
	latest := latestOf(listed)
	for _, p := range pins {
		family, revision, ok := pinnedName(p.name)
		if !ok {
			s.notePinned(p.use, clipped(p.name), "which is no name of one")
			continue
		}
		arn := prefix + family + ":" + strconv.Itoa(revision)
		if revision == 0 {
			if arn, ok = latest[family]; !ok {
				var err error
				if arn, err = s.askLatest(ctx, family, listed); err != nil {
					s.fail("DescribeTaskDefinition", family, err)
					continue
				}
				latest[family] = arn
			}
			if arn == "" {
				s.notePinned(p.use, family, "which has no active revision")
				continue
			}
		}
		s.refer(arn, referrer{use: p.use, kind: byPin})
	}
}

// latestOf gives the newest active revision of each family, as far as the list tells: not if it is incomplete.
func latestOf(listed activeDefinitions) map[string]string {
	latest := make(map[string]string)
	if !listed.complete {
		return latest
	}
	numbers := make(map[string]int)
	for _, arn := range listed.arns {
		if family, revision, ok := definitionOf(arn); ok && revision > numbers[family] {
			latest[family], numbers[family] = arn, revision
		}
	}
	return latest
}

// askLatest asks for the newest active revision of a family that was not listed: it may be newer than the list. "" if
// there is none.
func (s *ecsScan) askLatest(ctx context.Context, family string, listed activeDefinitions) (arn string, err error) {
	out, err := s.api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &family})
	switch {
	case errorCode(err) == (&types.ClientException{}).ErrorCode() && listed.complete:
		return "", nil
	case err != nil:
		return "", err
	case out.TaskDefinition == nil || aws.ToString(out.TaskDefinition.TaskDefinitionArn) == "":
		return "", errNoAnswer
	}
	return strings.Clone(*out.TaskDefinition.TaskDefinitionArn), nil
}

// notePinned tells that a resource starts a task definition from which nothing can be started.
func (s *ecsScan) notePinned(use image.Use, name, why string) {
	s.note(use.Resource, "it starts the task definition "+name+", "+why)
}
