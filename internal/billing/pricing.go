package billing

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/pricing"

	"demurrage/internal/cost"
)

// PricingAPI is what is asked of the Price List.
type PricingAPI interface {
	GetProducts(context.Context, *pricing.GetProductsInput, ...func(*pricing.Options)) (*pricing.GetProductsOutput, error)
}

// List is a price list.
type List struct {
	cost.Prices
	Notes []string // products that look like storage and could not be understood, sorted
}

// priceSource is what Prices names as the source of what it reads.
const priceSource = "AWS Price List (AmazonECR)"

// Prices reads the list prices of storage in regions of one partition; of all that are listed, if none is named. The client
// has to be of Region. A region that is not listed is missing in what it gives.
//
// Prices are those of now, which has to be the time of the call, rounded half up to a millionth of the currency. The list is
// in USD; China's is in CNY.
//
// https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
func Prices(ctx context.Context, client PricingAPI, regions []string, now time.Time) (*List, error) {
	r := priceReader{regions: regions, now: now, prices: make(map[priceKey][]cost.Tier)}
	if err := r.read(ctx, client); err != nil {
		hint := ""
		if code := errorCode(err); code == "AccessDeniedException" || code == "AccessDenied" {
			hint = " (the role needs pricing:GetProducts)"
		}
		return nil, fmt.Errorf("read the price list: %w%s", err, hint)
	}
	return r.list(), nil
}

// product is an entry of the price list, as far as it is read.
//
// https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/bulk-api-reading-price-list-files.html
type product struct {
	Product struct {
		SKU        string `json:"sku"`
		Attributes struct {
			RegionCode string `json:"regionCode"`
			UsageType  string `json:"usagetype"`
		} `json:"attributes"`
	} `json:"product"`
	Terms json.RawMessage `json:"terms"` // terms
}

type terms struct {
	OnDemand map[string]term `json:"OnDemand"`
}

type term struct {
	EffectiveDate   time.Time            `json:"effectiveDate"`
	PriceDimensions map[string]dimension `json:"priceDimensions"`
}

type dimension struct {
	Unit         string            `json:"unit"`
	BeginRange   string            `json:"beginRange"`
	EndRange     string            `json:"endRange"`
	PricePerUnit map[string]string `json:"pricePerUnit"`
}

type priceKey struct {
	region string
	kind   storage
}

type priceReader struct {
	regions  []string // none: all
	now      time.Time
	currency string
	prices   map[priceKey][]cost.Tier // nil: there are products that contradict each other, or cannot be understood
	notes    []string
}

func (r *priceReader) read(ctx context.Context, client PricingAPI) error {
	in := &pricing.GetProductsInput{ServiceCode: aws.String("AmazonECR"), FormatVersion: aws.String("aws_v1"), MaxResults: aws.Int32(100)}
	for seen := make(map[string]bool); ; {
		out, err := client.GetProducts(ctx, in)
		if err != nil {
			return err
		}
		for _, text := range out.PriceList {
			if err := r.add(text); err != nil {
				return err
			}
		}
		token := aws.ToString(out.NextToken)
		if token == "" {
			return nil
		}
		if seen[token] {
			return errors.New("the same page comes again")
		}
		seen[token] = true
		in.NextToken = out.NextToken
	}
}

// add takes a product in. What is no storage is passed over, and so is storage whose price has a shape that is not known:
// with a note, and its region's price is missing then.
func (r *priceReader) add(text string) error {
	if !json.Valid([]byte(text)) {
		return errors.New("a product is no JSON")
	}
	var p product
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		r.notes = append(r.notes, fmt.Sprintf("a product of an unknown shape: %v", err))
		return nil
	}
	region, usage := p.Product.Attributes.RegionCode, p.Product.Attributes.UsageType
	key := priceKey{region, storageOf(usage)}
	if key.kind == notStorage || region == "" || len(r.regions) > 0 && !slices.Contains(r.regions, region) {
		return nil
	}
	tiers, currency, err := p.tiers(r.now)
	old, known := r.prices[key]
	switch {
	case err != nil:
	case regionOf(usage) != region:
		err = errors.New("the usage type is not of the region")
	case key.kind == standard && len(tiers) > 1:
		err = errors.New("standard storage has tiers")
	case known && !slices.Equal(old, tiers):
		err = errors.New("there are several prices")
	}
	if err != nil {
		r.notes = append(r.notes, fmt.Sprintf("%.40s %.80s (SKU %.40s): %v", region, usage, p.Product.SKU, err))
		r.prices[key] = nil
		return nil
	}
	r.currency = cmp.Or(r.currency, currency)
	if r.currency != currency {
		return fmt.Errorf("prices in %s and in %s: only regions of one partition can be asked for at once", r.currency, currency)
	}
	r.prices[key] = tiers
	return nil
}

func (r *priceReader) list() *List {
	slices.Sort(r.notes)
	l := &List{
		Prices: cost.Prices{Currency: r.currency, AsOf: r.now.UTC(), Source: priceSource, PerGBMonth: make(map[string]cost.Money), Archive: make(map[string][]cost.Tier)},
		Notes:  r.notes,
	}
	for key, tiers := range r.prices {
		switch {
		case tiers == nil:
		case key.kind == standard:
			l.PerGBMonth[key.region] = tiers[0].PerGBMonth
		default:
			l.Archive[key.region] = tiers
		}
	}
	return l
}

// tiers are the prices of a product that hold now: they begin at nothing, leave no gap and have no end.
func (p *product) tiers(now time.Time) ([]cost.Tier, string, error) {
	if p.Terms == nil {
		return nil, "", errors.New("no price")
	}
	var all terms
	if err := json.Unmarshal(p.Terms, &all); err != nil {
		return nil, "", fmt.Errorf("terms of an unknown shape: %w", err)
	}
	var current *term
	for _, name := range slices.Sorted(maps.Keys(all.OnDemand)) {
		t := all.OnDemand[name]
		if t.EffectiveDate.After(now) || current != nil && current.EffectiveDate.After(t.EffectiveDate) {
			continue
		}
		current = &t
	}
	if current == nil || len(current.PriceDimensions) == 0 {
		return nil, "", errors.New("no price")
	}
	type step struct {
		cost.Tier
		end int64 // -1: none
	}
	var steps []step
	var currency string
	for _, d := range current.PriceDimensions {
		if d.Unit != "GB-Mo" {
			return nil, "", fmt.Errorf("a price for %.20q", d.Unit)
		}
		if len(d.PricePerUnit) != 1 {
			return nil, "", errors.New("not a price in one currency")
		}
		s := step{end: -1}
		for c, text := range d.PricePerUnit {
			price, err := parseMoney(text)
			switch {
			case err != nil:
				return nil, "", err
			case price < 0 || !currencyCode(c) || currency != "" && currency != c:
				return nil, "", fmt.Errorf("a price of %.40s %.10q", text, c)
			}
			currency, s.PerGBMonth = c, price
		}
		var err error
		if s.From, err = parseGB(d.BeginRange); err != nil {
			return nil, "", err
		}
		if d.EndRange != "Inf" {
			if s.end, err = parseGB(d.EndRange); err != nil {
				return nil, "", err
			}
		}
		steps = append(steps, s)
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.From, b.From) })
	tiers, end := make([]cost.Tier, 0, len(steps)), int64(0)
	for _, s := range steps {
		if s.From != end {
			return nil, "", errors.New("tiers with gaps")
		}
		tiers, end = append(tiers, s.Tier), s.end
	}
	if end != -1 {
		return nil, "", errors.New("tiers with an end")
	}
	return tiers, currency, nil
}

// parseGB reads an amount of GB-months as bytes.
func parseGB(text string) (int64, error) {
	r, err := parseDecimal(text)
	if err != nil {
		return 0, err
	}
	n, err := scaled(r, cost.GB)
	if err == nil && n < 0 {
		err = errors.New("a negative amount")
	}
	return n, err
}
