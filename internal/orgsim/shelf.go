package orgsim

import (
	"maps"
	"slices"
)

// shelf keeps the resources of one kind by name. The zero value is empty; values are replaced, never changed.
type shelf[T any] struct{ items map[string]T }

func (s *shelf[T]) put(name string, item T) {
	if s.items == nil {
		s.items = make(map[string]T)
	}
	s.items[name] = item
}

func (s *shelf[T]) get(name string) (T, bool) {
	item, ok := s.items[name]
	return item, ok
}

func (s *shelf[T]) drop(name string) { delete(s.items, name) }

// sorted are the names in order; all are the resources in that order.
func (s *shelf[T]) sorted() []string { return sortedNames(s.items) }

func sortedNames[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func (s *shelf[T]) all() []T {
	var list []T
	for _, name := range s.sorted() {
		list = append(list, s.items[name])
	}
	return list
}

// arn is the ARN of a resource of the caller's account and region.
func (c *Call) arn(service, resource string) string {
	return "arn:" + c.Partition + ":" + service + ":" + c.Region + ":" + c.Account + ":" + resource
}
