package report

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"math/big"
	"strconv"
	"time"

	"demurrage/internal/cost"
)

// focusColumns are the columns of FOCUS 1.2 that mean something here, as it names them, in alphabetical order, and behind
// them our own. Those that nobody here knows are there and empty.
//
// https://focus.finops.org/focus-specification/v1-2/
var focusColumns = []string{
	"BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory",
	"ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit",
	"ContractedCost", "ContractedUnitPrice", "EffectiveCost", "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
	"PricingCurrency", "PricingCurrencyListUnitPrice", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName",
	"ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuPriceId",
	"SubAccountId", "SubAccountName", "SubAccountType", "Tags",
	"x_AllocatedBilled", "x_BlockedBytes", "x_BlockedSavingHigh", "x_CostCenter", "x_DeleteBytes", "x_DeleteImages", "x_FreedBytes", "x_ImageBytes", "x_Images",
	"x_Metric", "x_Owner", "x_Provisional", "x_RunId", "x_SavingHigh", "x_SavingLow", "x_UniqueBytes", "x_UniqueBytesExact",
}

// FOCUS writes the month's costs as a table with the columns of FOCUS 1.2 (FinOps Open Cost and Usage Specification): a
// row for each repository, and for what is billed beyond them. It is not conformant: what a report on repositories cannot
// know (who issues the invoice, SKUs, negotiated prices) is empty rather than invented. Quantities and list costs are those of
// a whole month at what the run found stored. Amounts are in BillingCurrency; savings are projections, in x_ columns alone,
// in PricingCurrency.
func FOCUS(w io.Writer, run *Run) error {
	v := newCostView(run)
	month := v.month
	if v.billed {
		month = v.billMonth
	}
	start, err := time.Parse("2006-01", month)
	if err != nil {
		return err
	}
	from, to := instant(start), instant(start.AddDate(0, 1, 0))
	c := csv.NewWriter(w)
	c.UseCRLF = true
	if err := c.Write(focusColumns); err != nil {
		return err
	}
	line := make([]string, len(focusColumns))
	row := make(map[string]string, len(focusColumns))
	for i := range v.rows {
		r := &v.rows[i]
		clear(row)
		row["BillingCurrency"], row["PricingCurrency"] = csvText(v.currency), csvText(v.currency)
		row["BillingPeriodStart"], row["BillingPeriodEnd"], row["ChargePeriodStart"], row["ChargePeriodEnd"] = from, to, from, to
		row["ChargeCategory"], row["ChargeFrequency"] = "Usage", "Usage-Based"
		row["ProviderName"], row["PublisherName"] = "AWS", "AWS"
		row["ServiceCategory"], row["ServiceSubcategory"], row["ServiceName"] = "Compute", "Containers", "Amazon EC2 Container Registry (ECR)" // as Cost Explorer has it
		row["RegionId"], row["SubAccountId"], row["SubAccountName"], row["SubAccountType"] = csvText(r.Region), csvText(r.Account), csvText(r.account.Name), "AWS Account"
		row["x_CostCenter"], row["x_Owner"], row["x_RunId"] = csvText(r.costCenter), csvText(r.owner), csvText(run.ID)
		if v.billed {
			column := "BilledCost"
			if v.metric == "AmortizedCost" || v.metric == "NetAmortizedCost" {
				column = "EffectiveCost"
			}
			row[column], row["x_Metric"], row["x_Provisional"] = r.billed.String(), csvText(v.metric), strconv.FormatBool(v.provisional)
			row["x_AllocatedBilled"] = strconv.FormatBool(r.beyond == "")
		}
		if r.beyond != "" {
			row["ChargeDescription"] = csvText("Amazon ECR " + r.beyond)
		} else if err := focusRepository(row, r); err != nil {
			return err
		}
		for i, name := range focusColumns {
			line[i] = row[name]
		}
		if err := c.Write(line); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

// focusRepository fills in what only a repository has.
func focusRepository(row map[string]string, r *costRow) error {
	row["ChargeDescription"] = "Amazon ECR storage, allocated by stored unique bytes"
	row["ResourceId"], row["ResourceName"], row["ResourceType"] = csvText(r.ARN()), csvText(r.Name), "ECR Repository"
	if len(r.tags) > 0 {
		tags, err := json.Marshal(r.tags) // in the order of their keys
		if err != nil {
			return err
		}
		row["Tags"] = csvText(string(tags))
	}
	quantity := gibMonths(r.unique)
	row["ConsumedQuantity"], row["ConsumedUnit"] = quantity, "GiB-Months"
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	if r.priced {
		row["PricingCategory"], row["PricingQuantity"], row["PricingUnit"] = "Standard", quantity, "GiB-Months"
		row["PricingCurrencyListUnitPrice"] = r.price.String()
		row["ListCost"], row["ListUnitPrice"] = r.list.String(), r.price.String()
		row["x_SavingHigh"], row["x_BlockedSavingHigh"] = r.high.String(), r.held.String()
	}
	if r.hasLow() {
		row["x_SavingLow"] = r.low.String()
	}
	if r.hasFreed() {
		row["x_FreedBytes"] = number(r.freed)
	}
	row["x_BlockedBytes"], row["x_DeleteBytes"], row["x_DeleteImages"] = number(r.blocked.Bytes), number(r.goes.Bytes), strconv.Itoa(r.goes.Images)
	row["x_ImageBytes"], row["x_Images"], row["x_UniqueBytes"] = number(r.sum), strconv.Itoa(r.images), number(r.unique)
	row["x_UniqueBytesExact"] = strconv.FormatBool(r.exact)
	return nil
}

// gibMonths is bytes kept for a month in the unit that they are priced by, to ten decimals: times the price it is the
// list cost, to less than a millionth up to a petabyte's price.
func gibMonths(bytes int64) string {
	return new(big.Rat).SetFrac64(bytes, cost.GB).FloatString(10)
}
