package orgsim

import (
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsaccount "github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/account/types"
)

// accountService is AWS Account Management: which regions an account has enabled.
// See https://docs.aws.amazon.com/accounts/latest/reference/API_Operations.html
func accountService() *service {
	s := &service{name: "account", protocol: restJSON, global: true, badParameter: "ValidationException"}
	arn := func(c *Call, id *string) []string {
		account := c.Account
		if id != nil {
			account = *id
		}
		return []string{"arn:" + c.Partition + ":account::" + account + ":account"}
	}
	op(s, "ListRegions", listRegions, route("POST", "/listRegions", 200),
		resource(func(c *Call, in *awsaccount.ListRegionsInput) []string { return arn(c, in.AccountId) }))
	op(s, "GetRegionOptStatus", getRegionOptStatus, route("POST", "/getRegionOptStatus", 200),
		resource(func(c *Call, in *awsaccount.GetRegionOptStatusInput) []string { return arn(c, in.AccountId) }))
	op(s, "EnableRegion", enableRegion, route("POST", "/enableRegion", 200),
		resource(func(c *Call, in *awsaccount.EnableRegionInput) []string { return arn(c, in.AccountId) }))
	op(s, "DisableRegion", disableRegion, route("POST", "/disableRegion", 200),
		resource(func(c *Call, in *awsaccount.DisableRegionInput) []string { return arn(c, in.AccountId) }))
	return s
}

// managed finds the account that a call is about: the caller's own, or for the management account and a
// delegated administrator that with the id. The management account has to leave its own id out.
func (c *Call) managed(id *string) (*account, error) {
	if id == nil {
		return c.Server.accounts[c.Account], nil
	}
	refuse := func(why string) error {
		return c.accessDeniedError("User: " + c.Caller.ARN + " is not authorized to perform: " + c.op.action + " (" + why + ")")
	}
	if *id == ManagementAccount {
		return nil, refuse("The management account can only be managed using the standalone context from the management account.")
	}
	if c.Account != ManagementAccount && !c.Server.org.delegatedTo(c.Account, "account.amazonaws.com") {
		return nil, refuse("Your organization must first enable trusted access and make this account its delegated administrator.")
	}
	a := c.Server.accounts[*id]
	if a == nil {
		return nil, refuse("The account is not a member of your organization.")
	}
	return a, nil
}

func (a *account) optStatus(r awsRegion) types.RegionOptStatus {
	switch {
	case !r.optIn:
		return types.RegionOptStatusEnabledByDefault
	case a.regionEnabled(r):
		return types.RegionOptStatusEnabled
	default:
		return types.RegionOptStatusDisabled
	}
}

func listRegions(c *Call, in *awsaccount.ListRegionsInput) (*awsaccount.ListRegionsOutput, error) {
	a, err := c.managed(in.AccountId)
	if err != nil {
		return nil, err
	}
	regions := []types.Region{}
	for _, r := range c.Server.regionsOf(c.Partition) {
		status := a.optStatus(r)
		if len(in.RegionOptStatusContains) == 0 || slices.Contains(in.RegionOptStatusContains, status) {
			regions = append(regions, types.Region{RegionName: aws.String(r.name), RegionOptStatus: status})
		}
	}
	out, next, err := page(regions, in.MaxResults, 50, 50, in.NextToken)
	return &awsaccount.ListRegionsOutput{Regions: out, NextToken: next}, err
}

func (c *Call) namedRegion(name *string) (awsRegion, error) {
	r, ok := c.Server.findRegion(aws.ToString(name))
	if !ok || partitionOf(r.name) != c.Partition {
		return r, errorf("ValidationException", "The region %s does not exist", aws.ToString(name))
	}
	return r, nil
}

func getRegionOptStatus(c *Call, in *awsaccount.GetRegionOptStatusInput) (*awsaccount.GetRegionOptStatusOutput, error) {
	a, err := c.managed(in.AccountId)
	if err != nil {
		return nil, err
	}
	r, err := c.namedRegion(in.RegionName)
	if err != nil {
		return nil, err
	}
	return &awsaccount.GetRegionOptStatusOutput{RegionName: in.RegionName, RegionOptStatus: a.optStatus(r)}, nil
}

func enableRegion(c *Call, in *awsaccount.EnableRegionInput) (*awsaccount.EnableRegionOutput, error) {
	return &awsaccount.EnableRegionOutput{}, c.setRegion(in.AccountId, in.RegionName, true)
}

func disableRegion(c *Call, in *awsaccount.DisableRegionInput) (*awsaccount.DisableRegionOutput, error) {
	return &awsaccount.DisableRegionOutput{}, c.setRegion(in.AccountId, in.RegionName, false)
}

func (c *Call) setRegion(id, name *string, enabled bool) error {
	a, err := c.managed(id)
	if err != nil {
		return err
	}
	r, err := c.namedRegion(name)
	if err != nil {
		return err
	}
	if !r.optIn {
		return errorf("ValidationException", "The region %s is enabled by default and cannot be enabled or disabled", r.name)
	}
	if a.optIn == nil {
		a.optIn = make(map[string]bool)
	}
	a.optIn[r.name] = enabled
	return nil
}
