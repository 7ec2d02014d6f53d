package accounts

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/account/types"
)

// EnabledRegions lists the regions that are enabled in an account, sorted; those that are just being enabled or
// disabled count, since things may still run there. It asks in the account's own session, and if that fails in the
// hub's, naming the account; which AWS allows only to the management account and to delegated administrators for
// account management. Either client may be nil. The error joins what both said, and no region is returned with it.
//
// https://docs.aws.amazon.com/accounts/latest/reference/API_ListRegions.html
func EnabledRegions(ctx context.Context, own, hub account.ListRegionsAPIClient, id string) ([]string, error) {
	failed := errors.New("there is no session to ask in")
	if own != nil {
		regions, err := listRegions(ctx, own, nil)
		if err == nil {
			return regions, nil
		}
		failed = fmt.Errorf("in its own session: %w", err)
	}
	if hub != nil && ctx.Err() == nil {
		regions, err := listRegions(ctx, hub, &id)
		if err == nil {
			return regions, nil
		}
		failed = fmt.Errorf("%w; in the hub's session: %w", failed, err)
	}
	return nil, fmt.Errorf("list the regions of account %s: %w", id, failed)
}

func listRegions(ctx context.Context, api account.ListRegionsAPIClient, id *string) ([]string, error) {
	var regions []string
	pages := account.NewListRegionsPaginator(api, &account.ListRegionsInput{AccountId: id, MaxResults: aws.Int32(50)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Regions {
			if name := aws.ToString(r.RegionName); name != "" && r.RegionOptStatus != types.RegionOptStatusDisabled {
				regions = append(regions, name)
			}
		}
	}
	if len(regions) == 0 {
		return nil, errors.New("the answer names no enabled region, but every account has some")
	}
	slices.Sort(regions)
	return slices.Compact(regions), nil
}
