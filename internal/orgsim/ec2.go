package orgsim

import (
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// ec2Service is the one operation of Amazon EC2 that tells which regions an account has.
func ec2Service() *service {
	s := &service{name: "ec2", protocol: ec2query, xmlns: "http://ec2.amazonaws.com/doc/2016-11-15/"}
	op(s, "DescribeRegions", describeRegions)
	return s
}

// The SDK's EC2 module is large and not needed otherwise, so these are written out.
type (
	describeRegionsInput struct {
		RegionName []string
		AllRegions *bool
		Filter     []ec2Filter
	}
	ec2Filter struct {
		Name  *string
		Value []string
	}
	describeRegionsOutput struct{ RegionInfo []regionInfo }
	regionInfo            struct{ RegionName, RegionEndpoint, OptInStatus string }
)

// describeRegions lists the regions enabled in the account, or with AllRegions all.
// See https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRegions.html
func describeRegions(c *Call, in *describeRegionsInput) (*describeRegionsOutput, error) {
	a := c.Server.accounts[c.Account]
	wanted := make(map[string]bool)
	for _, n := range in.RegionName {
		if r, ok := c.Server.findRegion(n); !ok || partitionOf(r.name) != c.Partition {
			return nil, errorf("InvalidParameterValue", "Invalid region names: '%s'", n)
		}
		wanted[n] = true
	}
	out := &describeRegionsOutput{RegionInfo: []regionInfo{}}
	for _, r := range c.Server.regionsOf(c.Partition) {
		info := regionInfo{RegionName: r.name, RegionEndpoint: "ec2." + r.name + "." + dnsSuffixOf(c.Partition), OptInStatus: "opt-in-not-required"}
		if r.optIn {
			info.OptInStatus = "not-opted-in"
			if a.regionEnabled(r) {
				info.OptInStatus = "opted-in"
			}
		}
		if info.OptInStatus == "not-opted-in" && !aws.ToBool(in.AllRegions) || len(wanted) > 0 && !wanted[r.name] {
			continue
		}
		ok, err := info.passes(in.Filter)
		if err != nil {
			return nil, err
		}
		if ok {
			out.RegionInfo = append(out.RegionInfo, info)
		}
	}
	return out, nil
}

func (i *regionInfo) passes(filters []ec2Filter) (bool, error) {
	values := map[string]string{"opt-in-status": i.OptInStatus, "region-name": i.RegionName, "endpoint": i.RegionEndpoint}
	for _, f := range filters {
		have, ok := values[aws.ToString(f.Name)]
		if !ok {
			return false, &apiError{Code: "InvalidParameterValue", Message: "The filter '" + aws.ToString(f.Name) + "' is invalid", Status: http.StatusBadRequest}
		}
		hit := false
		for _, v := range f.Value {
			hit = hit || wildcard(v, have)
		}
		if !hit {
			return false, nil
		}
	}
	return true, nil
}
