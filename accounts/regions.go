package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/account/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"
)

// DescribeRegionsAPI is the part of EC2 that knows an account's regions.
type DescribeRegionsAPI interface {
	DescribeRegions(context.Context, *ec2.DescribeRegionsInput, ...func(*ec2.Options)) (*ec2.DescribeRegionsOutput, error)
}

// EnabledRegions lists the regions that are enabled in an account, sorted; those that are just being enabled or
// disabled count, since things may still run there. Three ways are tried, since different companies allow different
// ones: account management in the account's own session, then in the hub's, naming the account, which AWS allows only to
// the management account and to delegated administrators; and last EC2 in the account, which lists no region that is
// just being disabled. A nil client is left out. The error joins what all said, and no region is returned with it.
//
// https://docs.aws.amazon.com/accounts/latest/reference/API_ListRegions.html
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRegions.html
func EnabledRegions(ctx context.Context, own account.ListRegionsAPIClient, compute DescribeRegionsAPI, hub account.ListRegionsAPIClient, id string) ([]string, error) {
	var failed regionsError
	for _, way := range []struct {
		name string
		try  func() ([]string, error)
	}{
		{"ListRegions in its own session", func() ([]string, error) { return listRegions(ctx, own, nil) }},
		{"ListRegions in the hub's session", func() ([]string, error) { return listRegions(ctx, hub, &id) }},
		{"DescribeRegions", func() ([]string, error) { return describeRegions(ctx, compute) }},
	} {
		regions, err := way.try()
		if err == nil {
			return regions, nil
		}
		if !errors.Is(err, errNobody) {
			failed = append(failed, fmt.Errorf("%s: %w", way.name, plain(err)))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if failed == nil {
		failed = regionsError{errNobody}
	}
	return nil, fmt.Errorf("list the regions of account %s: %w", id, failed)
}

// regionsError is what every way to the regions said, on one line.
type regionsError []error

func (e regionsError) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e regionsError) Unwrap() []error { return e }

// plain leaves out of an error what the SDK makes up anew for each request, so that one cause has one text.
func plain(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return &plainError{api.ErrorCode() + ": " + api.ErrorMessage(), err}
	}
	return err
}

type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

var errNobody = errors.New("there is nobody to ask")

// describeRegions asks EC2, which lists just those that are enabled.
func describeRegions(ctx context.Context, api DescribeRegionsAPI) ([]string, error) {
	if api == nil {
		return nil, errNobody
	}
	out, err := api.DescribeRegions(ctx, &ec2.DescribeRegionsInput{})
	if err != nil {
		return nil, err
	}
	var regions []string
	for _, r := range out.Regions {
		regions = append(regions, aws.ToString(r.RegionName))
	}
	return enabled(regions)
}

func listRegions(ctx context.Context, api account.ListRegionsAPIClient, id *string) ([]string, error) {
	if api == nil {
		return nil, errNobody
	}
	var regions []string
	pages := account.NewListRegionsPaginator(api, &account.ListRegionsInput{AccountId: id, MaxResults: aws.Int32(50)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Regions {
			if r.RegionOptStatus != types.RegionOptStatusDisabled {
				regions = append(regions, aws.ToString(r.RegionName))
			}
		}
	}
	return enabled(regions)
}

// enabled checks and sorts an answer.
func enabled(regions []string) ([]string, error) {
	if slices.Contains(regions, "") {
		return nil, errors.New("the answer has a region without a name")
	}
	if len(regions) == 0 {
		return nil, errors.New("the answer names no enabled region, but every account has some")
	}
	slices.Sort(regions)
	return slices.Compact(regions), nil
}
