package image

import (
	"cmp"
	"slices"
	"strings"
)

// Mirror is a pull-through cache whose upstream is a registry of ECR: pulling PREFIX/NAME from the cache takes
// UPSTREAM-PREFIX/NAME from the upstream whenever the cache does not have it.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache.html
type Mirror struct {
	Cache          Registry `json:"cache"`
	Prefix         string   `json:"prefix"` // "": every repository of the cache that no longer prefix matches
	Upstream       Registry `json:"upstream"`
	UpstreamPrefix string   `json:"upstream_prefix"` // "": names are the same but for Prefix
	// Policies are the texts of the policies that let others pull from the cache: of its repositories, each once, and
	// of its registry.
	Policies []string `json:"policies,omitempty"`
}

// CompareMirrors orders by cache and prefix.
func CompareMirrors(a, b Mirror) int {
	return cmp.Or(compareRegistries(a.Cache, b.Cache), cmp.Compare(a.Prefix, b.Prefix), compareRegistries(a.Upstream, b.Upstream),
		cmp.Compare(a.UpstreamPrefix, b.UpstreamPrefix), slices.Compare(a.Policies, b.Policies))
}

func compareRegistries(a, b Registry) int {
	return CompareRepositories(Repository{Registry: a}, Repository{Registry: b})
}

// Source is the repository that a repository of the cache takes its images from.
func (m *Mirror) Source(cached Repository) (Repository, bool) {
	name, ok := underPrefix(cached.Name, m.Prefix)
	if cached.Registry != m.Cache || !ok {
		return Repository{}, false
	}
	return Repository{Registry: m.Upstream, Name: join(m.UpstreamPrefix, name)}, true
}

// Cached is the repository of the cache that images of a repository are pulled through.
func (m *Mirror) Cached(upstream Repository) (Repository, bool) {
	name, ok := underPrefix(upstream.Name, m.UpstreamPrefix)
	if upstream.Registry != m.Upstream || !ok {
		return Repository{}, false
	}
	return Repository{Registry: m.Cache, Name: join(m.Prefix, name)}, true
}

func underPrefix(name, prefix string) (rest string, ok bool) {
	if prefix == "" {
		return name, true
	}
	return strings.CutPrefix(name, strings.TrimSuffix(prefix, "/")+"/")
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return strings.TrimSuffix(prefix, "/") + "/" + name
}
