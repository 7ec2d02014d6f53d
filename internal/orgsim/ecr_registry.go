package orgsim

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// Operations on the caller's own registry.
func addECRRegistryOps(s *service) {
	op(s, "PutRegistryPolicy", putRegistryPolicy)
	op(s, "GetRegistryPolicy", getRegistryPolicy)
	op(s, "DeleteRegistryPolicy", deleteRegistryPolicy)
	op(s, "DescribeRegistry", describeRegistry)
	op(s, "PutReplicationConfiguration", putReplicationConfiguration)
	op(s, "GetAccountSetting", getAccountSetting)
	op(s, "PutAccountSetting", putAccountSetting)
	op(s, "GetAuthorizationToken", getAuthorizationToken)
	op(s, "CreatePullThroughCacheRule", createPullThroughCacheRule)
	op(s, "DescribePullThroughCacheRules", describePullThroughCacheRules)
	op(s, "RegisterPullTimeUpdateExclusion", registerPullTimeUpdateExclusion)
	op(s, "DeregisterPullTimeUpdateExclusion", deregisterPullTimeUpdateExclusion)
	op(s, "ListPullTimeUpdateExclusions", listPullTimeUpdateExclusions)
}

func putRegistryPolicy(c *Call, in *ecr.PutRegistryPolicyInput) (*ecr.PutRegistryPolicyOutput, error) {
	p, err := newECRPolicy(in.PolicyText)
	if err != nil {
		return nil, err
	}
	c.home().ecr.policy = p
	return &ecr.PutRegistryPolicyOutput{PolicyText: new(p.text), RegistryId: new(c.Account)}, nil
}

func (c *Call) errNoRegistryPolicy() error {
	return errorf("RegistryPolicyNotFoundException", "Registry policy does not exist in the registry with id '%s'", c.Account)
}

func getRegistryPolicy(c *Call, _ *ecr.GetRegistryPolicyInput) (*ecr.GetRegistryPolicyOutput, error) {
	p := c.home().ecr.policy
	if p == nil {
		return nil, c.errNoRegistryPolicy()
	}
	return &ecr.GetRegistryPolicyOutput{PolicyText: new(p.text), RegistryId: new(c.Account)}, nil
}

func deleteRegistryPolicy(c *Call, _ *ecr.DeleteRegistryPolicyInput) (*ecr.DeleteRegistryPolicyOutput, error) {
	e := &c.home().ecr
	if e.policy == nil {
		return nil, c.errNoRegistryPolicy()
	}
	text := e.policy.text
	e.policy = nil
	return &ecr.DeleteRegistryPolicyOutput{PolicyText: &text, RegistryId: new(c.Account)}, nil
}

func describeRegistry(c *Call, _ *ecr.DescribeRegistryInput) (*ecr.DescribeRegistryOutput, error) {
	conf := c.home().ecr.replication
	if conf == nil {
		conf = &types.ReplicationConfiguration{Rules: []types.ReplicationRule{}}
	}
	return &ecr.DescribeRegistryOutput{RegistryId: new(c.Account), ReplicationConfiguration: conf}, nil
}

// putReplicationConfiguration keeps the configuration; nothing is replicated.
func putReplicationConfiguration(c *Call, in *ecr.PutReplicationConfigurationInput) (*ecr.PutReplicationConfigurationOutput, error) {
	c.home().ecr.replication = in.ReplicationConfiguration
	return &ecr.PutReplicationConfigurationOutput{ReplicationConfiguration: in.ReplicationConfiguration}, nil
}

// ecrSettings are the account settings that exist, each with its values; the first is the default.
var ecrSettings = map[string][]string{
	"BASIC_SCAN_TYPE_VERSION": {"AWS_NATIVE", "CLAIR"},
	"REGISTRY_POLICY_SCOPE":   {"V2", "V1"},
	"BLOB_MOUNTING":           {"DISABLED", "ENABLED"},
}

func (e *ecrState) setting(name string) string {
	if v, ok := e.settings[name]; ok {
		return v
	}
	return ecrSettings[name][0]
}

func getAccountSetting(c *Call, in *ecr.GetAccountSettingInput) (*ecr.GetAccountSettingOutput, error) {
	name := aws.ToString(in.Name)
	if ecrSettings[name] == nil {
		return nil, errorf("ValidationException", "Invalid account setting name '%s'", name)
	}
	return &ecr.GetAccountSettingOutput{Name: new(name), Value: new(c.home().ecr.setting(name))}, nil
}

func putAccountSetting(c *Call, in *ecr.PutAccountSettingInput) (*ecr.PutAccountSettingOutput, error) {
	name, value := aws.ToString(in.Name), aws.ToString(in.Value)
	if !slices.Contains(ecrSettings[name], value) {
		return nil, errorf("ValidationException", "Invalid account setting '%s' with value '%s'", name, value)
	}
	e := &c.home().ecr
	if e.settings == nil {
		e.settings = make(map[string]string)
	}
	e.settings[name] = value
	return &ecr.PutAccountSettingOutput{Name: new(name), Value: new(value)}, nil
}

// getAuthorizationToken answers a token of the right shape; the registry's own HTTP API is not simulated.
func getAuthorizationToken(c *Call, in *ecr.GetAuthorizationTokenInput) (*ecr.GetAuthorizationTokenOutput, error) {
	registries := in.RegistryIds
	if len(registries) == 0 {
		registries = []string{c.Account}
	}
	out := &ecr.GetAuthorizationTokenOutput{}
	for _, id := range registries {
		out.AuthorizationData = append(out.AuthorizationData, types.AuthorizationData{
			AuthorizationToken: new(base64.StdEncoding.EncodeToString([]byte("AWS:simulated-" + c.Account))),
			ExpiresAt:          new(c.Now.Add(12 * time.Hour)),
			ProxyEndpoint:      new("https://" + ecrHost(id, c.Region)),
		})
	}
	return out, nil
}

func createPullThroughCacheRule(c *Call, in *ecr.CreatePullThroughCacheRuleInput) (*ecr.CreatePullThroughCacheRuleOutput, error) {
	e := &c.home().ecr
	prefix := aws.ToString(in.EcrRepositoryPrefix)
	byPrefix := func(r types.PullThroughCacheRule, prefix string) int {
		return strings.Compare(*r.EcrRepositoryPrefix, prefix)
	}
	i, found := slices.BinarySearchFunc(e.cacheRules, prefix, byPrefix)
	if found {
		return nil, errorf("PullThroughCacheRuleAlreadyExistsException", "A pull through cache rule with the prefix '%s' already exists in the registry with id '%s'", prefix, c.Account)
	}
	rule := types.PullThroughCacheRule{
		CreatedAt:                new(c.Now),
		UpdatedAt:                new(c.Now),
		CredentialArn:            in.CredentialArn,
		CustomRoleArn:            in.CustomRoleArn,
		EcrRepositoryPrefix:      new(prefix),
		RegistryId:               new(c.Account),
		UpstreamRegistry:         in.UpstreamRegistry,
		UpstreamRegistryUrl:      in.UpstreamRegistryUrl,
		UpstreamRepositoryPrefix: in.UpstreamRepositoryPrefix,
	}
	e.cacheRules = slices.Insert(slices.Clone(e.cacheRules), i, rule)
	return &ecr.CreatePullThroughCacheRuleOutput{
		CreatedAt:                rule.CreatedAt,
		CredentialArn:            rule.CredentialArn,
		CustomRoleArn:            rule.CustomRoleArn,
		EcrRepositoryPrefix:      rule.EcrRepositoryPrefix,
		RegistryId:               rule.RegistryId,
		UpstreamRegistry:         rule.UpstreamRegistry,
		UpstreamRegistryUrl:      rule.UpstreamRegistryUrl,
		UpstreamRepositoryPrefix: rule.UpstreamRepositoryPrefix,
	}, nil
}

func describePullThroughCacheRules(c *Call, in *ecr.DescribePullThroughCacheRulesInput) (*ecr.DescribePullThroughCacheRulesOutput, error) {
	rules := c.home().ecr.cacheRules
	if len(in.EcrRepositoryPrefixes) > 0 {
		rules = slices.DeleteFunc(slices.Clone(rules), func(r types.PullThroughCacheRule) bool {
			return !slices.Contains(in.EcrRepositoryPrefixes, *r.EcrRepositoryPrefix)
		})
		if len(rules) < len(in.EcrRepositoryPrefixes) {
			return nil, errorf("PullThroughCacheRuleNotFoundException", "The pull through cache rule was not found in the registry with id '%s'", c.Account)
		}
	}
	rules, next, err := page(rules, in.MaxResults, 100, 1000, in.NextToken)
	if err != nil {
		return nil, err
	}
	return &ecr.DescribePullThroughCacheRulesOutput{PullThroughCacheRules: slices.Clone(rules), NextToken: next}, nil
}

// https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-time-update-exclusions.html

func (e *ecrState) excluded(principal string) bool {
	return slices.ContainsFunc(e.exclusions, func(x ecrExclusion) bool { return x.principal == principal })
}

// exclusionPrincipal is the form of the API's model, with the account; and its root, which a key of 12 digits is here.
var exclusionPrincipal = regexp.MustCompile(`^arn:aws(?:-[a-z]+)*:iam::([0-9]{12}):(?:root|(?:role|user)/[\w+=,.@-]+(?:/[\w+=,.@-]+)*)$`)

func registerPullTimeUpdateExclusion(c *Call, in *ecr.RegisterPullTimeUpdateExclusionInput) (*ecr.RegisterPullTimeUpdateExclusionOutput, error) {
	e := &c.home().ecr
	arn := aws.ToString(in.PrincipalArn)
	if m := exclusionPrincipal.FindStringSubmatch(arn); m == nil || len(arn) > 200 || m[1] != c.Account {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'principalArn' failed to satisfy constraint: 'must be the ARN of a role or user of the registry's account'")
	}
	if e.excluded(arn) {
		return nil, errorf("ExclusionAlreadyExistsException", "A pull time update exclusion for '%s' already exists", arn)
	}
	if len(e.exclusions) >= 100 {
		return nil, errorf("LimitExceededException", "The registry with id '%s' already has the maximum of 100 pull time update exclusions", c.Account)
	}
	e.exclusions = append(slices.Clip(e.exclusions), ecrExclusion{principal: arn, created: c.Now})
	return &ecr.RegisterPullTimeUpdateExclusionOutput{CreatedAt: new(c.Now), PrincipalArn: &arn}, nil
}

func deregisterPullTimeUpdateExclusion(c *Call, in *ecr.DeregisterPullTimeUpdateExclusionInput) (*ecr.DeregisterPullTimeUpdateExclusionOutput, error) {
	e := &c.home().ecr
	arn := aws.ToString(in.PrincipalArn)
	if !e.excluded(arn) {
		return nil, errorf("ExclusionNotFoundException", "There is no pull time update exclusion for '%s'", arn)
	}
	e.exclusions = slices.DeleteFunc(slices.Clone(e.exclusions), func(x ecrExclusion) bool { return x.principal == arn })
	return &ecr.DeregisterPullTimeUpdateExclusionOutput{PrincipalArn: &arn}, nil
}

func listPullTimeUpdateExclusions(c *Call, in *ecr.ListPullTimeUpdateExclusionsInput) (*ecr.ListPullTimeUpdateExclusionsOutput, error) {
	excl, next, err := page(c.home().ecr.exclusions, in.MaxResults, 100, 1000, in.NextToken)
	if err != nil {
		return nil, err
	}
	out := &ecr.ListPullTimeUpdateExclusionsOutput{NextToken: next, PullTimeUpdateExclusions: []string{}}
	for _, x := range excl {
		out.PullTimeUpdateExclusions = append(out.PullTimeUpdateExclusions, x.principal)
	}
	return out, nil
}
