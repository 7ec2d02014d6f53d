package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer/types"

	"demurrage/internal/cost"
)

// CostExplorerAPI is what is asked of Cost Explorer, each page of it for 0.01 USD.
type CostExplorerAPI interface {
	GetCostAndUsage(context.Context, *costexplorer.GetCostAndUsageInput, ...func(*costexplorer.Options)) (*costexplorer.GetCostAndUsageOutput, error)
}

// Months is how many months a bill has: a year, and the same month of the year before. Cost Explorer keeps no more for
// whoever has not asked it to.
const Months = 13

const (
	service  = "Amazon EC2 Container Registry (ECR)"
	quantity = "UsageQuantity"
	date     = time.DateOnly
)

// Bill reads what ECR cost in the month of now and the ones before it, with one query of as many pages as it takes. The
// client has to be of the account that pays (the management account) and of Region. The metric is one of Cost Explorer's:
// UnblendedCost, NetUnblendedCost, AmortizedCost.
//
// Amounts and quantities are exact, but for being rounded half up to a millionth and to a byte. A bill without a line has no
// currency.
//
// https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetCostAndUsage.html
func Bill(ctx context.Context, client CostExplorerAPI, metric string, now time.Time) (*cost.Bill, error) {
	now = now.UTC()
	next := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	first := next.AddDate(0, -Months, 0)
	in := &costexplorer.GetCostAndUsageInput{
		TimePeriod:  &types.DateInterval{Start: aws.String(first.Format(date)), End: aws.String(next.Format(date))}, // without the end
		Granularity: types.GranularityMonthly,
		Metrics:     []string{metric, quantity},
		Filter:      &types.Expression{Dimensions: &types.DimensionValues{Key: types.DimensionService, Values: []string{service}}},
		GroupBy: []types.GroupDefinition{
			{Type: types.GroupDefinitionTypeDimension, Key: aws.String(string(types.DimensionLinkedAccount))},
			{Type: types.GroupDefinitionTypeDimension, Key: aws.String(string(types.DimensionUsageType))},
		},
	}
	r := billReader{
		bill: &cost.Bill{Metric: metric, AsOf: now}, first: cost.Month(first), last: cost.Month(now),
		sums: make(map[billKey]billSum), provisional: make(map[string]bool),
	}
	if err := r.read(ctx, client, in); err != nil {
		return nil, fmt.Errorf("read the bill: %w%s", plain(err), advice(err))
	}
	return r.bill, nil
}

// advice says what can be done about an error.
func advice(err error) string {
	switch errorCode(err) {
	case "AccessDeniedException", "AccessDenied":
		return " (the role needs ce:GetCostAndUsage in the account that pays, the organization's management account, and Cost Explorer has to be enabled there)"
	case "DataUnavailableException":
		return " (Cost Explorer has no data yet: enable it in the account that pays, the organization's management account, and try again after 24 hours)"
	}
	return ""
}

type billKey struct{ month, account, usageType string }

// billSum is a line before it is rounded.
type billSum struct{ amount, quantity *big.Rat }

// billReader makes a bill of answers.
type billReader struct {
	bill        *cost.Bill
	first, last string // months
	sums        map[billKey]billSum
	provisional map[string]bool // months
}

func (r *billReader) read(ctx context.Context, client CostExplorerAPI, in *costexplorer.GetCostAndUsageInput) error {
	for seen := make(map[string]bool); ; {
		out, err := client.GetCostAndUsage(ctx, in)
		if err != nil {
			return err
		}
		for i := range out.ResultsByTime {
			if err := r.add(&out.ResultsByTime[i]); err != nil {
				return err
			}
		}
		token := aws.ToString(out.NextPageToken)
		if token == "" {
			return r.finish()
		}
		if seen[token] {
			return errors.New("the same page comes again")
		}
		seen[token] = true
		in.NextPageToken = out.NextPageToken
	}
}

func (r *billReader) add(result *types.ResultByTime) error {
	if result.TimePeriod == nil {
		return errors.New("a result of no month")
	}
	start, err := time.Parse(date, aws.ToString(result.TimePeriod.Start))
	if err != nil {
		return fmt.Errorf("month %.40q", aws.ToString(result.TimePeriod.Start))
	}
	month := cost.Month(start)
	if start.Day() != 1 || aws.ToString(result.TimePeriod.End) != start.AddDate(0, 1, 0).Format(date) || month < r.first || month > r.last {
		return fmt.Errorf("%s to %.40s is no month that was asked for", start.Format(date), aws.ToString(result.TimePeriod.End))
	}
	if result.Estimated {
		r.provisional[month] = true
	}
	for i := range result.Groups {
		if err := r.addGroup(month, &result.Groups[i]); err != nil {
			return fmt.Errorf("%s %.200q: %w", month, result.Groups[i].Keys, err)
		}
	}
	return nil
}

// addGroup adds a group to its line, which other pages may have too.
func (r *billReader) addGroup(month string, g *types.Group) error {
	if len(g.Keys) != 2 {
		return errors.New("not an account and a usage type")
	}
	amount, currency, err := metricOf(g, r.bill.Metric)
	if err != nil {
		return err
	}
	r.bill.Currency = cmp.Or(r.bill.Currency, currency)
	if currency != r.bill.Currency || !currencyCode(currency) {
		return fmt.Errorf("an amount in %.10q, others in %.10q", currency, r.bill.Currency)
	}
	key := billKey{month, g.Keys[0], g.Keys[1]}
	sum, ok := r.sums[key]
	if !ok {
		sum = billSum{new(big.Rat), new(big.Rat)}
		r.sums[key] = sum
	}
	sum.amount.Add(sum.amount, amount)
	if storageOf(key.usageType) == notStorage {
		return nil
	}
	stored, unit, err := metricOf(g, quantity)
	if err != nil {
		return err
	}
	if unit != "N/A" && !strings.HasPrefix(unit, "GB-Mo") { // N/A: Cost Explorer does not always say
		return fmt.Errorf("storage in %.20q", unit)
	}
	sum.quantity.Add(sum.quantity, stored)
	return nil
}

func metricOf(g *types.Group, name string) (amount *big.Rat, unit string, err error) {
	m, ok := g.Metrics[name]
	if !ok || m.Amount == nil {
		return nil, "", errors.New("no " + name)
	}
	amount, err = parseDecimal(*m.Amount)
	return amount, aws.ToString(m.Unit), err
}

// currencyCode reports whether s has the form of ISO 4217.
func currencyCode(s string) bool {
	return len(s) == 3 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// finish rounds the lines and sorts them.
func (r *billReader) finish() error {
	r.bill.Lines = make([]cost.BillLine, 0, len(r.sums))
	for key, sum := range r.sums {
		amount, err := scaled(sum.amount, millionths)
		if err != nil {
			return fmt.Errorf("%.200q: %w", key, err)
		}
		stored, err := scaled(sum.quantity, cost.GB)
		if err != nil {
			return fmt.Errorf("%.200q: %w", key, err)
		}
		r.bill.Lines = append(r.bill.Lines, cost.BillLine{
			Month: key.month, Account: key.account, Region: regionOf(key.usageType), UsageType: key.usageType,
			Storage: storageOf(key.usageType) != notStorage, Amount: cost.Money(amount), Quantity: stored,
			Provisional: r.provisional[key.month],
		})
	}
	slices.SortFunc(r.bill.Lines, func(a, b cost.BillLine) int {
		return cmp.Or(cmp.Compare(a.Month, b.Month), cmp.Compare(a.Account, b.Account),
			cmp.Compare(a.Region, b.Region), cmp.Compare(a.UsageType, b.UsageType))
	})
	return nil
}
