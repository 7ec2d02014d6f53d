package orgsim

import (
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/inspector2"
	"github.com/aws/aws-sdk-go-v2/service/inspector2/types"
)

type inspectorState struct {
	ecr bool // it scans the registry
}

// inspectorService is Amazon Inspector, as far as it knows of images of the registry that run on ECS: at once and to the
// task.
func inspectorService() *service {
	s := &service{name: "inspector2", protocol: restJSON, lowerCamel: true, badParameter: "ValidationException"}
	status := func(on bool) *types.State {
		st := types.StatusDisabled
		if on {
			st = types.StatusEnabled
		}
		return &types.State{Status: st, ErrorCode: types.ErrorCodeAlreadyEnabled, ErrorMessage: new("")}
	}
	set := func(c *Call, kinds []types.ResourceScanType, on bool) []types.Account {
		if slices.Contains(kinds, types.ResourceScanTypeEcr) {
			c.home().inspector.ecr = on
		}
		st := types.StatusDisabled
		if c.home().inspector.ecr {
			st = types.StatusEnabled
		}
		return []types.Account{{AccountId: &c.Account, Status: st, ResourceStatus: &types.ResourceStatus{Ec2: types.StatusDisabled, Ecr: st}}}
	}
	op(s, "Enable", func(c *Call, in *inspector2.EnableInput) (*inspector2.EnableOutput, error) {
		return &inspector2.EnableOutput{Accounts: set(c, in.ResourceTypes, true), FailedAccounts: []types.FailedAccount{}}, nil
	}, route("POST", "/enable", 200))
	op(s, "Disable", func(c *Call, in *inspector2.DisableInput) (*inspector2.DisableOutput, error) {
		return &inspector2.DisableOutput{Accounts: set(c, in.ResourceTypes, false), FailedAccounts: []types.FailedAccount{}}, nil
	}, route("POST", "/disable", 200))
	op(s, "BatchGetAccountStatus", func(c *Call, in *inspector2.BatchGetAccountStatusInput) (*inspector2.BatchGetAccountStatusOutput, error) {
		out := &inspector2.BatchGetAccountStatusOutput{Accounts: []types.AccountState{}, FailedAccounts: []types.FailedAccount{}}
		on := c.home().inspector.ecr
		ids := in.AccountIds
		if len(ids) == 0 {
			ids = []string{c.Account}
		}
		for _, id := range ids {
			if id != c.Account {
				out.FailedAccounts = append(out.FailedAccounts, types.FailedAccount{AccountId: new(id), ErrorCode: types.ErrorCodeAccessDenied, ErrorMessage: new("Access denied")})
				continue
			}
			out.Accounts = append(out.Accounts, types.AccountState{AccountId: &c.Account, State: status(on),
				ResourceState: &types.ResourceState{Ecr: status(on), Ec2: status(false)}})
		}
		return out, nil
	}, route("POST", "/status/batch/get", 200))
	op(s, "ListCoverage", listCoverage, route("POST", "/coverage/list", 200))
	return s
}

// listCoverage lists the images of the registry that running tasks use, and the others with a count of 0.
func listCoverage(c *Call, in *inspector2.ListCoverageInput) (*inspector2.ListCoverageOutput, error) {
	out := &inspector2.ListCoverageOutput{CoveredResources: []types.CoveredResource{}}
	if !c.home().inspector.ecr {
		return out, nil
	}
	used := make(map[string]map[string]bool)
	for _, reg := range c.Server.allRegions() {
		for _, cl := range reg.ecs.clusters {
			for _, t := range cl.tasks {
				for _, ct := range t.Containers {
					if !t.stopped() {
						c.Server.recordUse(used, aws.ToString(ct.Image), aws.ToString(ct.ImageDigest), *t.TaskArn)
					}
				}
			}
		}
	}
	var list []types.CoveredResource
	for _, name := range slices.Sorted(maps.Keys(c.home().ecr.repositories)) {
		r := c.home().ecr.repositories[name]
		var digests []string
		for d := range r.byDigest {
			digests = append(digests, d.String())
		}
		slices.Sort(digests)
		for _, d := range digests {
			n := int64(len(used[c.Account+"/"+c.Region+"/"+name+"@"+d]))
			meta := &types.EcrContainerImageMetadata{InUseCount: &n}
			if n > 0 {
				meta.LastInUseAt = new(c.Now)
			}
			if covered(in.FilterCriteria, meta) {
				list = append(list, types.CoveredResource{AccountId: &c.Account, ResourceType: types.CoverageResourceTypeAwsEcrContainerImage, ScanType: types.ScanTypePackage,
					ResourceId: new(c.arn("ecr", "repository/"+name+"/"+d)), ResourceMetadata: &types.ResourceScanMetadata{EcrImage: meta}})
			}
		}
	}
	list, next, err := page(list, in.MaxResults, 100, 200, in.NextToken)
	out.CoveredResources, out.NextToken = list, next
	return out, err
}

func covered(f *types.CoverageFilterCriteria, m *types.EcrContainerImageMetadata) bool {
	if f == nil {
		return true
	}
	for _, n := range f.EcrImageInUseCount {
		if n.LowerInclusive != nil && *m.InUseCount < *n.LowerInclusive || n.UpperInclusive != nil && *m.InUseCount > *n.UpperInclusive {
			return false
		}
	}
	for _, d := range f.EcrImageLastInUseAt {
		last := aws.ToTime(m.LastInUseAt)
		if last.IsZero() || d.StartInclusive != nil && last.Before(d.StartInclusive.Add(-time.Second)) || d.EndInclusive != nil && last.After(*d.EndInclusive) {
			return false
		}
	}
	return true
}
