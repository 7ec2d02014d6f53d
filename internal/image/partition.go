package image

import (
	"slices"
	"strings"
)

// Partition is a group of AWS regions with its own accounts, ARNs and host names.
type Partition struct {
	ID            string // "aws", "aws-cn", …: the second field of its ARNs
	dnsSuffix     string
	dualStack     string // suffix of dkr-ecr hosts
	regionPrefix  []string
	GlobalRegions []string // where its global services (IAM, Organizations) are signed for, first the one to use
}

// partitions is checked against the SDK's endpoint rules by a test. The first entry is the one that every region
// without another's prefix belongs to.
var partitions = []Partition{
	{"aws", "amazonaws.com", "on.aws", nil, []string{"us-east-1"}},
	{"aws-cn", "amazonaws.com.cn", "on.amazonwebservices.com.cn", []string{"cn-"}, []string{"cn-north-1"}},
	{"aws-us-gov", "amazonaws.com", "on.aws", []string{"us-gov-"}, []string{"us-gov-west-1"}},
	{"aws-eusc", "amazonaws.eu", "on.amazonwebservices.eu", []string{"eusc-"}, []string{"eusc-de-east-1"}},
	{"aws-iso", "c2s.ic.gov", "on.aws.ic.gov", []string{"us-iso-"}, []string{"us-iso-east-1"}},
	{"aws-iso-b", "sc2s.sgov.gov", "on.aws.scloud", []string{"us-isob-"}, []string{"us-isob-east-1"}},
	{"aws-iso-e", "cloud.adc-e.uk", "on.cloud-aws.adc-e.uk", []string{"eu-isoe-"}, []string{"eu-isoe-west-1"}},
	{"aws-iso-f", "csp.hci.ic.gov", "on.aws.hci.ic.gov", []string{"us-isof-"}, []string{"us-isof-south-1"}},
}

// PartitionOf gives the partition of a region; a region that no other partition claims is of the aws partition.
func PartitionOf(region string) Partition {
	for _, p := range partitions[1:] {
		if slices.ContainsFunc(p.regionPrefix, func(prefix string) bool { return strings.HasPrefix(region, prefix) }) {
			return p
		}
	}
	return partitions[0]
}

// knownSuffix accepts each partition's suffixes for every region: a mismatch of the two protects an image too many
// at worst.
func knownSuffix(suffix string) bool {
	return slices.ContainsFunc(partitions, func(p Partition) bool { return suffix == p.dnsSuffix || suffix == p.dualStack })
}

// ValidRegion reports whether s has the form of a region's name: words of letters, then a number ("ap-northeast-1").
func ValidRegion(s string) bool {
	parts := strings.Split(s, "-")
	if len(parts) < 3 || len(s) > 32 {
		return false
	}
	for _, p := range parts[:len(parts)-1] {
		if p == "" || strings.ContainsFunc(p, func(r rune) bool { return r < 'a' || r > 'z' }) {
			return false
		}
	}
	n := parts[len(parts)-1]
	return n != "" && len(n) <= 2 && !strings.ContainsFunc(n, func(r rune) bool { return r < '0' || r > '9' })
}
