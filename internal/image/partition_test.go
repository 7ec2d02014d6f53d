package image

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// The suffixes are AWS's to change: the SDK's endpoint rules are asked, so that this table cannot drift from them.
func TestPartitionsAgreeWithSDK(t *testing.T) {
	regions := map[string]string{
		"us-east-1": "aws", "ap-northeast-1": "aws", "eu-central-2": "aws", "mx-central-1": "aws",
		"cn-north-1": "aws-cn", "cn-northwest-1": "aws-cn",
		"us-gov-west-1": "aws-us-gov", "us-gov-east-1": "aws-us-gov",
		"eusc-de-east-1": "aws-eusc",
		"us-iso-east-1":  "aws-iso", "us-isob-east-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e", "us-isof-south-1": "aws-iso-f",
	}
	resolver := ecr.NewDefaultEndpointResolverV2()
	for region, id := range regions {
		p := PartitionOf(region)
		if p.ID != id {
			t.Errorf("PartitionOf(%s) = %s, want %s", region, p.ID, id)
		}
		endpoint, err := resolver.ResolveEndpoint(context.Background(), ecr.EndpointParameters{Region: aws.String(region)})
		if err != nil {
			t.Fatal(err)
		}
		_, suffix, ok := strings.Cut(endpoint.URI.Host, "."+region+".")
		if !ok || suffix != p.dnsSuffix {
			t.Errorf("the SDK calls %s in %s; the suffix here is %s", endpoint.URI.Host, region, p.dnsSuffix)
		}
		if !ValidRegion(region) {
			t.Errorf("%s is not taken for a region", region)
		}
	}
	for _, bad := range []string{"", "us-east", "US-EAST-1", "us-east-1a", "../us-east-1", "us--1", "us-east-123"} {
		if ValidRegion(bad) {
			t.Errorf("%q is taken for a region", bad)
		}
	}
}
