package scan

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"demurrage/internal/image"
)

var mirrorOps = map[string]bucket{
	"DescribePullThroughCacheRules": ecrRest,
	"DescribeRepositories":          ecrRest,
	"GetRepositoryPolicy":           ecrRest,
	"GetRegistryPolicy":             ecrRest,
}

type mirrorAPI interface {
	ecr.DescribePullThroughCacheRulesAPIClient
	ecr.DescribeRepositoriesAPIClient
	GetRegistryPolicy(context.Context, *ecr.GetRegistryPolicyInput, ...func(*ecr.Options)) (*ecr.GetRegistryPolicyOutput, error)
	GetRepositoryPolicy(context.Context, *ecr.GetRepositoryPolicyInput, ...func(*ecr.Options)) (*ecr.GetRepositoryPolicyOutput, error)
}

// scanMirrors looks for pull-through caches of other registries of ECR: in every target, since what is pulled through
// them is used elsewhere than where it seems to be. Only where there is one are the policies of its repositories read.
func scanMirrors(ctx context.Context, w *work) {
	var api mirrorAPI = ecr.NewFromConfig(w.cfg)
	p := ecr.NewDescribePullThroughCacheRulesPaginator(api, &ecr.DescribePullThroughCacheRulesInput{MaxResults: aws.Int32(ecrPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			w.fail("DescribePullThroughCacheRules", "", err)
			break
		}
		for i := range out.PullThroughCacheRules {
			mirrorRule(w, &out.PullThroughCacheRules[i])
		}
	}
	if len(w.mirrors) > 0 {
		mirrorPolicies(ctx, w, api)
	}
}

// mirrorRule takes over a rule whose upstream is a registry of ECR. ROOT stands for no prefix.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-private.html
func mirrorRule(w *work, r *types.PullThroughCacheRule) {
	upstream, err := w.parse(strings.TrimSuffix(aws.ToString(r.UpstreamRegistryUrl), "/") + "/any")
	if errors.Is(err, image.ErrNotECR) {
		return // Docker Hub, Quay, …
	}
	if err != nil {
		w.fail("DescribePullThroughCacheRules", aws.ToString(r.EcrRepositoryPrefix), err)
		return
	}
	prefix := func(p *string) string {
		if s := strings.Clone(aws.ToString(p)); s != "ROOT" {
			return s
		}
		return ""
	}
	w.mirrors = append(w.mirrors, image.Mirror{
		Cache: image.Registry{Account: w.Account, Region: w.Region}, Prefix: prefix(r.EcrRepositoryPrefix),
		Upstream: upstream.Repository.Registry, UpstreamPrefix: prefix(r.UpstreamRepositoryPrefix),
	})
}

// mirrorPolicies finds out who else may pull through the caches.
func mirrorPolicies(ctx context.Context, w *work, api mirrorAPI) {
	add := func(m *image.Mirror, policy *string) {
		if text := aws.ToString(policy); text != "" && !slices.Contains(m.Policies, text) {
			m.Policies = append(m.Policies, strings.Clone(text))
		}
	}
	registry, err := api.GetRegistryPolicy(ctx, &ecr.GetRegistryPolicyInput{})
	switch {
	case err == nil:
		for i := range w.mirrors {
			add(&w.mirrors[i], registry.PolicyText)
		}
	case errorCode(err) != (&types.RegistryPolicyNotFoundException{}).ErrorCode():
		w.fail("GetRegistryPolicy", "", err)
	}
	for out, err := range pages(ctx, ecr.NewDescribeRepositoriesPaginator(api, &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(ecrPage)})) {
		if err != nil {
			w.fail("DescribeRepositories", "", err)
			break
		}
		for i := range out.Repositories {
			name := aws.ToString(out.Repositories[i].RepositoryName)
			repository := image.Repository{Registry: image.Registry{Account: w.Account, Region: w.Region}, Name: name}
			for i := range w.mirrors {
				if _, ok := w.mirrors[i].Source(repository); !ok {
					continue
				}
				policy, err := api.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RepositoryName: &name})
				switch {
				case err == nil:
					add(&w.mirrors[i], policy.PolicyText)
				case repositoryGone(err), errorCode(err) == (&types.RepositoryPolicyNotFoundException{}).ErrorCode():
				default:
					w.fail("GetRepositoryPolicy", name, err)
				}
			}
		}
	}
	for i := range w.mirrors {
		slices.Sort(w.mirrors[i].Policies)
	}
}
