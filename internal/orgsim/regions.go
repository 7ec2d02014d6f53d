package orgsim

import (
	"slices"
	"strings"
)

// partitionOf is the partition that a region's name belongs to.
func partitionOf(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	default:
		return "aws"
	}
}

// dnsSuffixOf is the domain of a partition's endpoints.
func dnsSuffixOf(partition string) string {
	if partition == "aws-cn" {
		return "amazonaws.com.cn"
	}
	return "amazonaws.com"
}

// awsRegion is a region of a partition; optIn: an account has to enable it first.
type awsRegion struct {
	name  string
	optIn bool
}

// partitionRegions are the regions that exist, sorted: of the aws partition all that are enabled by default and
// some that are not. See https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
var partitionRegions = map[string][]awsRegion{
	"aws": {
		{"af-south-1", true}, {"ap-east-1", true}, {"ap-northeast-1", false}, {"ap-northeast-2", false},
		{"ap-northeast-3", false}, {"ap-south-1", false}, {"ap-southeast-1", false}, {"ap-southeast-2", false},
		{"ca-central-1", false}, {"eu-central-1", false}, {"eu-central-2", true}, {"eu-north-1", false},
		{"eu-south-1", true}, {"eu-west-1", false}, {"eu-west-2", false}, {"eu-west-3", false},
		{"il-central-1", true}, {"me-south-1", true}, {"sa-east-1", false}, {"us-east-1", false},
		{"us-east-2", false}, {"us-west-1", false}, {"us-west-2", false},
	},
	"aws-cn":     {{"cn-north-1", false}, {"cn-northwest-1", false}},
	"aws-us-gov": {{"us-gov-east-1", false}, {"us-gov-west-1", false}},
}

// regionsOf lists a partition's regions that exist in this world.
func (s *Server) regionsOf(partition string) []awsRegion {
	if s.limit == nil {
		return partitionRegions[partition]
	}
	return slices.DeleteFunc(slices.Clone(partitionRegions[partition]), func(r awsRegion) bool { return !s.limit[r.name] })
}

func (s *Server) findRegion(name string) (awsRegion, bool) {
	regions := s.regionsOf(partitionOf(name))
	i := slices.IndexFunc(regions, func(r awsRegion) bool { return r.name == name })
	if i < 0 {
		return awsRegion{}, false
	}
	return regions[i], true
}

// regionEnabled tells whether an account may use a region.
func (s *Server) regionEnabled(a *account, name string) bool {
	r, ok := s.findRegion(name)
	return ok && a.regionEnabled(r)
}

func (a *account) regionEnabled(r awsRegion) bool { return !r.optIn || a.optIn[r.name] }
