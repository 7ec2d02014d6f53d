package check

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer"
	cetypes "github.com/aws/aws-sdk-go-v2/service/costexplorer/types"
	"github.com/aws/aws-sdk-go-v2/service/pricing"

	"demurrage/internal/scan"
)

// Outside is about accounts of the organization that the configuration does not list.
func Outside(ids []string) Check {
	return Check{What: "accounts that are not scanned", Status: Warning,
		Error: fmt.Sprintf("the organization has %d that the configuration does not list (%s): what policies let them pull is blocked", len(ids), few(ids, 3)),
		Fix:   "set discover = true under [organization], list them in [[accounts]], or vouch for them in [[attestations]]"}
}

// PriceList asks the Price List for one product. Whose is the ARN of who asks. A report does without, with less in it.
func PriceList(ctx context.Context, cfg aws.Config, whose string) Check {
	return finance(ctx, cfg, "Price List", whose, "pricing:GetProducts", "set price_list = false under [billing]",
		ask(pricing.NewFromConfig, (*pricing.Client).GetProducts, &pricing.GetProductsInput{ServiceCode: aws.String("AmazonECR"), MaxResults: one}))
}

// CostExplorer asks for the cost of one day, which AWS charges 0.01 USD for.
func CostExplorer(ctx context.Context, cfg aws.Config, whose string, now time.Time) Check {
	day := now.UTC().AddDate(0, 0, -2)
	return finance(ctx, cfg, "Cost Explorer (one request, 0.01 USD)", whose, "ce:GetCostAndUsage", "set cost_explorer = false under [billing]",
		ask(costexplorer.NewFromConfig, (*costexplorer.Client).GetCostAndUsage, &costexplorer.GetCostAndUsageInput{
			Granularity: cetypes.GranularityMonthly, Metrics: []string{"UsageQuantity"},
			TimePeriod: &cetypes.DateInterval{Start: aws.String(day.Format(time.DateOnly)), End: aws.String(day.AddDate(0, 0, 1).Format(time.DateOnly))},
		}))
}

func finance(ctx context.Context, cfg aws.Config, what, whose, action, without string, p probe) Check {
	check := Check{What: what, Status: OK}
	switch err := p.run(ctx, cfg, scan.Target{}); {
	case err == nil:
	case denied(err):
		check.Status, check.Error = Warning, scan.Reason(err)
		check.Fix = "add to the policy of " + whose + ": " + Allow(action) + " or " + without + ": reports lack it until then"
	default:
		check.Status, check.Error = Warning, scan.Reason(err)
		check.Fix = "check again, or " + without + ": reports lack it until then"
	}
	return check
}
