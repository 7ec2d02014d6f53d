package orgsim

import (
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// ecrState is Amazon ECR of one account in one region: its private registry.
type ecrState struct {
	repositories map[string]*ecrRepository
	names        []string         // of repositories, sorted
	former       []*ecrRepository // deleted ones, for the bill

	policy      *ecrPolicy // of the registry
	exclusions  []ecrExclusion
	settings    map[string]string
	cacheRules  []types.PullThroughCacheRule
	replication *types.ReplicationConfiguration
}

// ecrPolicy is a policy as it was put (answered as it was) and parsed (asked).
type ecrPolicy struct {
	text string
	doc  *policyDoc
}

// ecrExclusion is a principal whose pulls do not move pull times.
type ecrExclusion struct {
	principal string
	created   time.Time
}

func newECRPolicy(text *string) (*ecrPolicy, error) {
	doc, err := parsePolicy(aws.ToString(text))
	if err == nil && len(doc.Statements) == 0 {
		err = errors.New("no statement")
	}
	if err != nil {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided': %v", err)
	}
	return &ecrPolicy{text: *text, doc: doc}, nil
}

func ecrService() *service {
	s := &service{
		name:         "ecr",
		protocol:     json11,
		targetPrefix: "AmazonEC2ContainerRegistry_V20150921",
		lowerCamel:   true,
	}
	addECRRepositoryOps(s)
	addECRLifecycleOps(s)
	addECRRegistryOps(s)
	addECRImageOps(s)
	return s
}

// repositoryOp registers an operation on one existing repository, which may be another account's: the input's
// RegistryId and RepositoryName say which. The caller's identity policies are asked, and for another account's
// repository its policies too.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html
func repositoryOp[I, O any](s *service, name string, f func(c *Call, r *ecrRepository, in *I) (*O, error), opts ...opOption) {
	run := func(c *Call, in *I) (*O, error) {
		fields := reflect.ValueOf(in).Elem()
		registry := fields.FieldByName("RegistryId").Interface().(*string)
		repo := fields.FieldByName("RepositoryName").Interface().(*string)
		r, err := c.ecrRepository(registry, aws.ToString(repo), c.op.action)
		if err != nil {
			return nil, err
		}
		return f(c, r, in)
	}
	op(s, name, run, append(opts, selfAuthorized())...)
}

// ecrRepository authorizes an action on a repository and finds it. IAM is asked first, as AWS does: who may not
// ask does not learn what exists.
func (c *Call) ecrRepository(registryID *string, name, action string) (*ecrRepository, error) {
	owner := c.Account
	if aws.ToString(registryID) != "" {
		owner = *registryID
	}
	var r *ecrRepository
	var policy *policyDoc
	if reg := c.Server.regionOf(owner, c.Region); reg != nil {
		r = reg.ecr.repositories[name]
		policy = reg.ecr.policyOf(r)
	}
	if err := c.authorize(action, ecrARN(c.Region, owner, name), owner, policy); err != nil {
		return nil, err
	}
	if r == nil {
		return nil, errorf("RepositoryNotFoundException", "The repository with name '%s' does not exist in the registry with id '%s'", name, owner)
	}
	return r, nil
}

// policyOf joins the policies that guard a repository (which may be nil): its own and, since policy scope V2, its
// registry's, which then covers every action.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry-permissions.html
func (e *ecrState) policyOf(r *ecrRepository) *policyDoc {
	var doc *policyDoc
	if r != nil && r.policy != nil {
		doc = r.policy.doc
	}
	if e.policy != nil && e.setting("REGISTRY_POLICY_SCOPE") == "V2" {
		doc = joinPolicies(doc, e.policy.doc)
	}
	return doc
}

// joinPolicies makes one policy of several; nil ones do not count.
func joinPolicies(docs ...*policyDoc) *policyDoc {
	joined := new(policyDoc)
	for _, d := range docs {
		if d != nil {
			joined.Statements = append(joined.Statements, d.Statements...)
		}
	}
	return joined
}

// ecrRepository looks a repository up in any account; nil if it does not exist.
func (s *Server) ecrRepository(account, region, name string) *ecrRepository {
	reg := s.regionOf(account, region)
	if reg == nil {
		return nil
	}
	return reg.ecr.repositories[name]
}

func (e *ecrState) add(r *ecrRepository) {
	if e.repositories == nil {
		e.repositories = make(map[string]*ecrRepository)
	}
	e.repositories[r.name] = r
	i, _ := slices.BinarySearch(e.names, r.name)
	e.names = slices.Insert(slices.Clone(e.names), i, r.name)
}

func (e *ecrState) remove(name string) {
	delete(e.repositories, name)
	if i, ok := slices.BinarySearch(e.names, name); ok {
		e.names = slices.Delete(slices.Clone(e.names), i, i+1)
	}
}

// ecrARN is the ARN of a repository; of all of a registry's for the name "*".
func ecrARN(region, account, name string) string {
	return "arn:" + partitionOf(region) + ":ecr:" + region + ":" + account + ":repository/" + name
}

// ecrHost is the registry's host name as RepositoryUri gives it.
func ecrHost(account, region string) string {
	return account + ".dkr.ecr." + region + "." + dnsSuffixOf(partitionOf(region))
}

// valueOf is what p points at; the zero value for nil.
func valueOf[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
