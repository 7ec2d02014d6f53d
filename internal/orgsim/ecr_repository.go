package orgsim

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// ecrRepository is a repository: its settings here, its images in ecr_image.go.
type ecrRepository struct {
	account, region, name string

	created    time.Time
	mutability types.ImageTagMutability
	exceptions []types.ImageTagMutabilityExclusionFilter
	encryption *types.EncryptionConfiguration
	scanning   *types.ImageScanningConfiguration
	policy     *ecrPolicy
	lifecycle  string
	preview    *ecrPreview
	tags       map[string]string

	ecrImages
}

func (r *ecrRepository) arn() string { return ecrARN(r.region, r.account, r.name) }
func (r *ecrRepository) uri() string { return ecrHost(r.account, r.region) + "/" + r.name }

func (r *ecrRepository) describe() types.Repository {
	return types.Repository{
		CreatedAt:                          new(r.created),
		EncryptionConfiguration:            r.encryption,
		ImageScanningConfiguration:         r.scanning,
		ImageTagMutability:                 r.mutability,
		ImageTagMutabilityExclusionFilters: r.exceptions,
		RegistryId:                         new(r.account),
		RepositoryArn:                      new(r.arn()),
		RepositoryName:                     new(r.name),
		RepositoryUri:                      new(r.uri()),
	}
}

// immutable reports whether a tag, once given, may not move.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
func (r *ecrRepository) immutable(tag string) bool {
	excepted := slices.ContainsFunc(r.exceptions, func(f types.ImageTagMutabilityExclusionFilter) bool {
		return wildcard(aws.ToString(f.Filter), tag)
	})
	switch r.mutability {
	case types.ImageTagMutabilityImmutable:
		return true
	case types.ImageTagMutabilityImmutableWithExclusion:
		return !excepted
	case types.ImageTagMutabilityMutableWithExclusion:
		return excepted
	default:
		return false
	}
}

func addECRRepositoryOps(s *service) {
	op(s, "CreateRepository", createRepository, selfAuthorized())
	op(s, "DescribeRepositories", describeRepositories, selfAuthorized())
	repositoryOp(s, "DeleteRepository", deleteRepository)
	repositoryOp(s, "SetRepositoryPolicy", setRepositoryPolicy)
	repositoryOp(s, "GetRepositoryPolicy", getRepositoryPolicy)
	repositoryOp(s, "DeleteRepositoryPolicy", deleteRepositoryPolicy)
	repositoryOp(s, "PutImageTagMutability", putImageTagMutability)
	op(s, "TagResource", tagRepository, selfAuthorized())
	op(s, "UntagResource", untagRepository, selfAuthorized())
	op(s, "ListTagsForResource", listRepositoryTags, selfAuthorized())
}

var repositoryName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func createRepository(c *Call, in *ecr.CreateRepositoryInput) (*ecr.CreateRepositoryOutput, error) {
	name := aws.ToString(in.RepositoryName)
	owner := c.Account
	if in.RegistryId != nil {
		owner = *in.RegistryId
	}
	reg := c.Server.regionOf(owner, c.Region)
	var policy *policyDoc
	if reg != nil {
		policy = reg.ecr.policyOf(nil)
	}
	if err := c.authorize(c.op.action, ecrARN(c.Region, owner, name), owner, policy); err != nil {
		return nil, err
	}
	if len(name) < 2 || len(name) > 256 || !repositoryName.MatchString(name) {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '%s''", repositoryName)
	}
	if reg.ecr.repositories[name] != nil {
		return nil, errorf("RepositoryAlreadyExistsException", "The repository with name '%s' already exists in the registry with id '%s'", name, owner)
	}
	r := &ecrRepository{
		account: owner, region: c.Region, name: name,
		created:    c.Now,
		mutability: in.ImageTagMutability,
		exceptions: in.ImageTagMutabilityExclusionFilters,
		encryption: in.EncryptionConfiguration,
		scanning:   in.ImageScanningConfiguration,
	}
	if r.mutability == "" {
		r.mutability = types.ImageTagMutabilityMutable
	}
	if r.encryption == nil {
		r.encryption = &types.EncryptionConfiguration{EncryptionType: types.EncryptionTypeAes256}
	}
	if r.scanning == nil {
		r.scanning = &types.ImageScanningConfiguration{}
	}
	r.setTags(in.Tags)
	reg.ecr.add(r)
	return &ecr.CreateRepositoryOutput{Repository: new(r.describe())}, nil
}

// describeRepositories pages through a registry, or answers the repositories that are named, every one of which
// must exist. For another account's registry the policy of each named repository decides.
func describeRepositories(c *Call, in *ecr.DescribeRepositoriesInput) (*ecr.DescribeRepositoriesOutput, error) {
	out := &ecr.DescribeRepositoriesOutput{Repositories: []types.Repository{}}
	if len(in.RepositoryNames) > 0 {
		if in.MaxResults != nil || in.NextToken != nil {
			return nil, errorf("InvalidParameterException", "Invalid parameter at 'maxResults' failed to satisfy constraint: 'maxResults and nextToken cannot be used together with repositoryNames'")
		}
		if len(in.RepositoryNames) > 100 {
			return nil, errorf("InvalidParameterException", "Invalid parameter at 'repositoryNames' failed to satisfy constraint: 'Member must have length less than or equal to 100'")
		}
		for _, name := range in.RepositoryNames {
			r, err := c.ecrRepository(in.RegistryId, name, c.op.action)
			if err != nil {
				return nil, err
			}
			out.Repositories = append(out.Repositories, r.describe())
		}
		return out, nil
	}

	owner := c.Account
	if in.RegistryId != nil {
		owner = *in.RegistryId
	}
	reg := c.Server.regionOf(owner, c.Region)
	var policy *policyDoc
	if reg != nil {
		policy = reg.ecr.policyOf(nil)
	}
	if err := c.authorize(c.op.action, ecrARN(c.Region, owner, "*"), owner, policy); err != nil {
		return nil, err
	}
	names, next, err := page(reg.ecr.names, in.MaxResults, 100, 1000, in.NextToken)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		out.Repositories = append(out.Repositories, reg.ecr.repositories[name].describe())
	}
	out.NextToken = next
	return out, nil
}

func deleteRepository(c *Call, r *ecrRepository, in *ecr.DeleteRepositoryInput) (*ecr.DeleteRepositoryOutput, error) {
	if len(r.ordered) > 0 && !in.Force {
		return nil, errorf("RepositoryNotEmptyException", "The repository with name '%s' in registry with id '%s' cannot be deleted because it still contains images", r.name, r.account)
	}
	c.Server.regionOf(r.account, r.region).ecr.bury(r, c.Now)
	return &ecr.DeleteRepositoryOutput{Repository: new(r.describe())}, nil
}

func setRepositoryPolicy(_ *Call, r *ecrRepository, in *ecr.SetRepositoryPolicyInput) (*ecr.SetRepositoryPolicyOutput, error) {
	p, err := newECRPolicy(in.PolicyText)
	if err != nil {
		return nil, err
	}
	for _, st := range p.doc.Statements {
		if st.Resource != nil || st.NotResource != nil { // the repository itself is the resource
			return nil, errorf("InvalidParameterException", "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid repository policy provided'")
		}
	}
	r.policy = p
	return &ecr.SetRepositoryPolicyOutput{PolicyText: new(p.text), RegistryId: new(r.account), RepositoryName: new(r.name)}, nil
}

func (r *ecrRepository) errNoPolicy() error {
	return errorf("RepositoryPolicyNotFoundException", "Repository policy does not exist for the repository with name '%s' in the registry with id '%s'", r.name, r.account)
}

func getRepositoryPolicy(_ *Call, r *ecrRepository, _ *ecr.GetRepositoryPolicyInput) (*ecr.GetRepositoryPolicyOutput, error) {
	if r.policy == nil {
		return nil, r.errNoPolicy()
	}
	return &ecr.GetRepositoryPolicyOutput{PolicyText: new(r.policy.text), RegistryId: new(r.account), RepositoryName: new(r.name)}, nil
}

func deleteRepositoryPolicy(_ *Call, r *ecrRepository, _ *ecr.DeleteRepositoryPolicyInput) (*ecr.DeleteRepositoryPolicyOutput, error) {
	if r.policy == nil {
		return nil, r.errNoPolicy()
	}
	out := &ecr.DeleteRepositoryPolicyOutput{PolicyText: new(r.policy.text), RegistryId: new(r.account), RepositoryName: new(r.name)}
	r.policy = nil
	return out, nil
}

func putImageTagMutability(_ *Call, r *ecrRepository, in *ecr.PutImageTagMutabilityInput) (*ecr.PutImageTagMutabilityOutput, error) {
	if !slices.Contains(in.ImageTagMutability.Values(), in.ImageTagMutability) {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'imageTagMutability' failed to satisfy constraint: 'Member must satisfy enum value set: %v'", in.ImageTagMutability.Values())
	}
	r.mutability, r.exceptions = in.ImageTagMutability, in.ImageTagMutabilityExclusionFilters
	return &ecr.PutImageTagMutabilityOutput{
		ImageTagMutability:                 r.mutability,
		ImageTagMutabilityExclusionFilters: r.exceptions,
		RegistryId:                         new(r.account),
		RepositoryName:                     new(r.name),
	}, nil
}

func (r *ecrRepository) setTags(tags []types.Tag) {
	m := maps.Clone(r.tags)
	if m == nil {
		m = make(map[string]string)
	}
	for _, t := range tags {
		m[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	r.tags = m
}

// repositoryByARN is for the tagging operations, which name a repository by its ARN.
func repositoryByARN(c *Call, arn *string) (*ecrRepository, error) {
	parts := strings.SplitN(aws.ToString(arn), ":", 6)
	if len(parts) != 6 || parts[2] != "ecr" || parts[3] != c.Region || !strings.HasPrefix(parts[5], "repository/") {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN'")
	}
	return c.ecrRepository(&parts[4], strings.TrimPrefix(parts[5], "repository/"), c.op.action)
}

func tagRepository(c *Call, in *ecr.TagResourceInput) (*ecr.TagResourceOutput, error) {
	r, err := repositoryByARN(c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	r.setTags(in.Tags)
	return &ecr.TagResourceOutput{}, nil
}

func untagRepository(c *Call, in *ecr.UntagResourceInput) (*ecr.UntagResourceOutput, error) {
	r, err := repositoryByARN(c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	r.setTags(nil)
	for _, k := range in.TagKeys {
		delete(r.tags, k)
	}
	return &ecr.UntagResourceOutput{}, nil
}

func listRepositoryTags(c *Call, in *ecr.ListTagsForResourceInput) (*ecr.ListTagsForResourceOutput, error) {
	r, err := repositoryByARN(c, in.ResourceArn)
	if err != nil {
		return nil, err
	}
	out := &ecr.ListTagsForResourceOutput{Tags: []types.Tag{}}
	for _, k := range slices.Sorted(maps.Keys(r.tags)) {
		out.Tags = append(out.Tags, types.Tag{Key: new(k), Value: new(r.tags[k])})
	}
	return out, nil
}
