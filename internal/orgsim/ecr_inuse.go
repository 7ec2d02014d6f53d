package orgsim

import (
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// InUse is the simulation's own knowledge of what needs which image: a check that is independent of any scanner.
// Keys are "account/region/repository@digest", values the sorted ARNs of running tasks, active services (the
// images that their revision or task sets pinned), active task definitions (what their references mean now) and
// functions' versions. Images that are children of an index in use are in use by the same. Only images that exist
// are listed.
func (s *Server) InUse() map[string][]string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	users := make(map[string]map[string]bool)
	for _, reg := range s.allRegions() {
		reg.ecs.eachUse(func(image, digest, arn string) { s.recordUse(users, image, digest, arn) })
		for _, svc := range s.services {
			if svc.uses != nil {
				svc.uses(reg, func(image, digest, arn string) { s.recordUse(users, image, digest, arn) })
			}
		}
		for _, f := range reg.lambda.functions {
			for _, v := range append([]*lambdaVersion{f.latest}, f.published...) {
				s.recordUse(users, v.resolvedURI, "", f.arn+":"+*v.Version)
			}
		}
	}
	out := make(map[string][]string, len(users))
	for image, arns := range users {
		out[image] = slices.Sorted(maps.Keys(arns))
	}
	return out
}

func (s *Server) allRegions() []*region {
	var regions []*region
	for _, a := range s.accounts {
		a.mu.Lock()
		for _, r := range a.regions {
			regions = append(regions, r)
		}
		a.mu.Unlock()
	}
	return regions
}

// eachUse reports a reference with the digest it was resolved to; no digest means what the reference says now.
func (e *ecsState) eachUse(use func(image, digest, arn string)) {
	for _, f := range e.families {
		for _, td := range f.revisions {
			if td.Status != ecstypes.TaskDefinitionStatusActive {
				continue
			}
			for _, cd := range td.ContainerDefinitions {
				use(*cd.Image, "", *td.TaskDefinitionArn)
			}
		}
	}
	e.eachDaemonUse(use)
	for _, cl := range e.clusters {
		for _, t := range cl.tasks {
			if t.stopped() {
				continue
			}
			for _, ct := range t.Containers {
				use(*ct.Image, aws.ToString(ct.ImageDigest), *t.TaskArn)
			}
		}
		for _, svc := range cl.services {
			if !svc.active {
				continue
			}
			fleets := svc.fleets()
			for _, set := range svc.sets {
				fleets = append(fleets, set.fleet)
			}
			for _, fleet := range fleets {
				for _, im := range fleet.images {
					use(*im.Image, aws.ToString(im.ImageDigest), svc.arn)
				}
			}
		}
	}
}

func (s *Server) recordUse(users map[string]map[string]bool, image, digest, arn string) {
	ref, ok := parseImageRef(image)
	if !ok {
		return
	}
	if digest != "" {
		ref.digest = digest
	}
	r, im := s.locate(ref)
	if im == nil {
		return
	}
	var record func(im *ecrImage)
	record = func(im *ecrImage) {
		key := r.account + "/" + r.region + "/" + r.name + "@" + im.digest.String()
		if users[key] == nil {
			users[key] = make(map[string]bool)
		}
		users[key][arn] = true
		for _, d := range im.children() {
			if child := r.byDigest[d]; child != nil {
				record(child)
			}
		}
	}
	record(im)
}
