package scan

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// What a check has to know of a scan, so that it asks for what a scan needs and nothing else.

// Need is a source and the IAM actions that a look at it takes, sorted.
type Need struct {
	Source  string
	Actions []string
}

// Needs are those of the sources that are looked at in a target, sorted by source.
func Needs(t Target) []Need {
	var needs []Need
	for _, s := range sources {
		if !s.looksAt(t) {
			continue
		}
		n := Need{Source: s.name}
		for op := range s.ops {
			n.Actions = append(n.Actions, s.service+":"+op)
		}
		slices.Sort(n.Actions)
		needs = append(needs, n)
	}
	slices.SortFunc(needs, func(a, b Need) int { return strings.Compare(a.Source, b.Source) })
	return needs
}

// Limited gives the configuration of a source's clients in one target, with the rates of its APIs.
func Limited(cfg aws.Config, source string) aws.Config {
	w := work{source: named(source)}
	return w.limited(cfg)
}

// Absent reports whether an error says that a source's service does not exist in a region, which a scan would call
// unavailable.
func Absent(source, region string, err error) bool {
	s := named(source)
	return s.regions != nil && !slices.Contains(s.regions, region) && noSuchHost(err)
}

// named is a source by its name. That there is none is a mistake of the program.
func named(name string) source {
	i := slices.IndexFunc(sources, func(s source) bool { return s.name == name })
	if i < 0 {
		panic("scan: there is no source " + name)
	}
	return sources[i]
}

// Reason is an error's text as coverage has it: without what differs from request to request.
func Reason(err error) string { return reason(err) }

// Cluster is what a look at an EKS cluster comes to.
type Cluster struct {
	Name   string
	Origin string // the list of uses that stands in for it if it cannot be read, "" where none does
	Errors []ClusterError
}

// ClusterError is something that cannot be read of a cluster.
type ClusterError struct{ Op, Err, Fix string }

// CheckClusters looks whether the clusters of a target can be read: one object of each kind that a scan lists. The error
// is that of listing them. Of the options OwnPrincipal and Covered count.
func CheckClusters(ctx context.Context, o Options, t Target, cfg aws.Config) ([]Cluster, error) {
	o.defaults()
	w := &work{Target: t, source: named("eks"), opts: &o, log: o.Log}
	w.cfg = w.limited(cfg)
	s := newEKS(w)
	s.probe = true
	names := s.clusters(ctx)
	if len(w.errs) > 0 {
		return nil, w.errs[0].Err
	}
	var mu sync.Mutex
	var found []Cluster
	each(ctx, w, eksParallel, maps.Keys(names), func(name string) {
		c := s.cluster(ctx, name)
		if c == nil {
			return
		}
		mine := Cluster{Name: name}
		if o.Covered != nil {
			mine.Origin, _ = o.Covered(t.Account, t.Region, name)
		}
		for _, f := range c.failures {
			e := ClusterError{Op: f.op, Err: reason(f.err)}
			if h, ok := errors.AsType[*hinted](f.err); ok {
				e.Err, e.Fix = reason(h.err), h.hint
			}
			mine.Errors = append(mine.Errors, e)
		}
		mu.Lock()
		defer mu.Unlock()
		found = append(found, mine)
	})
	slices.SortFunc(found, func(a, b Cluster) int { return strings.Compare(a.Name, b.Name) })
	if len(w.errs) > 0 {
		return found, w.errs[0]
	}
	return found, context.Cause(ctx)
}
