package accounts

import (
	"cmp"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"

	"demurrage/internal/image"
)

// metrics of Cost Explorer that are amounts of money.
//
// https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetCostAndUsage.html
var metrics = []string{"UnblendedCost", "NetUnblendedCost", "AmortizedCost", "NetAmortizedCost", "BlendedCost"}

var (
	layerModes = []string{"auto", "exact", "estimate", "off"}
	currency   = regexp.MustCompile(`^[A-Z]{3}$`)
	payerRole  = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$`)
	decimal    = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,6})?$`)
)

func (d *document) billing(raw *rawBilling) Billing {
	b := Billing{
		CostExplorer: raw.CostExplorer || !d.has("billing.cost_explorer"), PriceList: raw.PriceList || !d.has("billing.price_list"),
		Role: raw.Role, Metric: cmp.Or(raw.Metric, metrics[0]), Prices: map[string]int64{},
	}
	if b.Role != "" && !payerRole.MatchString(b.Role) {
		d.rejectf("billing.role", "%q is not the ARN of a role (use arn:aws:iam::PAYER:role/NAME)", clip(b.Role))
	}
	if !slices.Contains(metrics, b.Metric) {
		d.rejectf("billing.metric", "%q is not a metric%s; the metrics are %s", clip(b.Metric), suggest(b.Metric, metrics), strings.Join(metrics, ", "))
	}
	for _, region := range slices.Sorted(maps.Keys(raw.Prices)) {
		path := "billing.prices." + region
		if !image.ValidRegion(region) {
			d.rejectf("billing.prices", "%q is not a region (as in us-east-1)", clip(region))
			continue
		}
		price, ok := micros(raw.Prices[region])
		if !ok {
			d.rejectf(path, `%q is not a price for a GB and month (a decimal, as in "0.10")`, clip(raw.Prices[region]))
		}
		b.Prices[region] = price
	}
	return b
}

func (d *document) report(raw *rawReport) Report {
	r := Report{
		Layers: cmp.Or(raw.Layers, layerModes[0]), Currency: raw.Currency, ExchangeRate: 1_000_000, RateSource: strings.TrimSpace(raw.ExchangeRateSource),
		FiscalStart: time.Month(d.atLeast("report.fiscal_year_start", raw.FiscalYearStart, 1, 1)),
		OwnerTags:   []string{"owner", "Owner"}, CostCenterTags: []string{"cost-center", "CostCenter", "cost_center"},
	}
	if !slices.Contains(layerModes, r.Layers) {
		d.rejectf("report.layers", "%q is no way to count layers (use one of %s)", clip(r.Layers), strings.Join(layerModes, ", "))
	}
	if r.Currency != "" && !currency.MatchString(r.Currency) {
		d.rejectf("report.currency", "%q is not a currency code (three capital letters, as in EUR)", clip(r.Currency))
	}
	if r.FiscalStart > time.December {
		d.rejectf("report.fiscal_year_start", "%d is not a month (use 1 to 12)", r.FiscalStart)
	}
	if d.has("report.exchange_rate") {
		rate, ok := micros(raw.ExchangeRate)
		if !ok || rate == 0 {
			d.rejectf("report.exchange_rate", `%q is not a rate (a decimal above 0, as in "0.92")`, clip(raw.ExchangeRate))
		}
		r.ExchangeRate = rate
	}
	if raw.ExchangeRateDate != nil {
		r.RateDate = d.day("report.exchange_rate_date", raw.ExchangeRateDate)
	}
	if r.Currency != "" && !d.has("report.exchange_rate") && r.Currency != "USD" {
		d.rejectf("report.exchange_rate", "is missing: give what one unit of the price list's currency is in %s, as in \"0.92\"", r.Currency)
	}
	if r.Currency == "" && d.has("report.exchange_rate") {
		d.rejectf("report.exchange_rate", "is given without the currency that it leads to (currency)")
	}
	if d.has("report.owner_tags") {
		r.OwnerTags = raw.OwnerTags
	}
	if d.has("report.cost_center_tags") {
		r.CostCenterTags = raw.CostCenterTags
	}
	return r
}

// day reads a day, as a string or as TOML has them.
func (d *document) day(path string, v any) time.Time {
	switch v := v.(type) {
	case string:
		t, err := time.Parse(time.DateOnly, v)
		if err != nil {
			d.rejectf(path, `%q is not a day (use YYYY-MM-DD)`, clip(v))
		}
		return t
	case toml.LocalDate:
		return v.AsTime(time.UTC)
	default:
		d.rejectf(path, `must be a day, as in "2027-03-31", not %s`, describe(v))
		return time.Time{}
	}
}

// micros reads a decimal without sign, with at most 6 places, in millionths.
func micros(s string) (int64, bool) {
	if !decimal.MatchString(s) {
		return 0, false
	}
	whole, fraction, _ := strings.Cut(s, ".")
	n, err := strconv.ParseInt(whole+(fraction + "000000")[:6], 10, 64)
	return n, err == nil && n < math.MaxInt64
}
