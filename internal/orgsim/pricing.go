package orgsim

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	"github.com/aws/aws-sdk-go-v2/service/pricing/types"
)

// priceRegion is a region as price lists and bills name it.
type priceRegion struct{ prefix, location string }

// priceRegions are all that exist here. What is of us-east-1 has no prefix, but for what is newer than prefixes are.
var priceRegions = map[string]priceRegion{
	"af-south-1":     {"AFS1", "Africa (Cape Town)"},
	"ap-east-1":      {"APE1", "Asia Pacific (Hong Kong)"},
	"ap-northeast-1": {"APN1", "Asia Pacific (Tokyo)"},
	"ap-northeast-2": {"APN2", "Asia Pacific (Seoul)"},
	"ap-northeast-3": {"APN3", "Asia Pacific (Osaka)"},
	"ap-south-1":     {"APS3", "Asia Pacific (Mumbai)"},
	"ap-southeast-1": {"APS1", "Asia Pacific (Singapore)"},
	"ap-southeast-2": {"APS2", "Asia Pacific (Sydney)"},
	"ca-central-1":   {"CAN1", "Canada (Central)"},
	"cn-north-1":     {"CNN1", "China (Beijing)"},
	"cn-northwest-1": {"CNW1", "China (Ningxia)"},
	"eu-central-1":   {"EUC1", "EU (Frankfurt)"},
	"eu-central-2":   {"EUC2", "Europe (Zurich)"},
	"eu-north-1":     {"EUN1", "EU (Stockholm)"},
	"eu-south-1":     {"EUS1", "EU (Milan)"},
	"eu-west-1":      {"EU", "EU (Ireland)"},
	"eu-west-2":      {"EUW2", "EU (London)"},
	"eu-west-3":      {"EUW3", "EU (Paris)"},
	"il-central-1":   {"ILC1", "Israel (Tel Aviv)"},
	"me-south-1":     {"MES1", "Middle East (Bahrain)"},
	"sa-east-1":      {"SAE1", "South America (Sao Paulo)"},
	"us-east-1":      {"USE1", "US East (N. Virginia)"},
	"us-east-2":      {"USE2", "US East (Ohio)"},
	"us-gov-east-1":  {"UGE1", "AWS GovCloud (US-East)"},
	"us-gov-west-1":  {"UGW1", "AWS GovCloud (US-West)"},
	"us-west-1":      {"USW1", "US West (N. California)"},
	"us-west-2":      {"USW2", "US West (Oregon)"},
}

// usageType is what a bill calls a use in a region.
func usageType(region, name string) string {
	if region == "us-east-1" {
		return name
	}
	return priceRegions[region].prefix + "-" + name
}

// ecrPrices are the prices of ECR in a region, for a GB-month or a GB. Those of GovCloud and China are made up.
type ecrPrices struct{ currency, storage, archive, archiveMore, retrieval, transfer string }

func ecrPricesOf(region string) ecrPrices {
	switch partitionOf(region) {
	case "aws-cn":
		return ecrPrices{"CNY", "0.6900000000", "0.6900000000", "0.4800000000", "0.2000000000", "0.9330000000"}
	case "aws-us-gov":
		return ecrPrices{"USD", "0.1200000000", "0.1200000000", "0.0840000000", "0.0360000000", "0.1550000000"}
	default:
		return ecrPrices{"USD", "0.1000000000", "0.1000000000", "0.0700000000", "0.0300000000", "0.0900000000"}
	}
}

func pricingService() *service {
	s := &service{name: "pricing", protocol: json11, targetPrefix: "AWSPriceListService", global: true, badParameter: "InvalidNextTokenException"}
	op(s, "GetProducts", getProducts)
	return s
}

// signedFor refuses a call that is signed for a region where the service has no endpoint.
func (c *Call) signedFor(regions ...string) error {
	if slices.Contains(regions, c.Region) {
		return nil
	}
	return &apiError{Code: "InvalidSignatureException", Message: "Credential should be scoped to a valid region.", Status: http.StatusForbidden}
}

// getProducts lists the products of ECR in all regions of the partition; the list of the aws partition has GovCloud too.
//
// https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
func getProducts(c *Call, in *pricing.GetProductsInput) (*pricing.GetProductsOutput, error) {
	if err := c.signedFor("us-east-1", "eu-central-1", "ap-south-1", "cn-northwest-1"); err != nil {
		return nil, err
	}
	if v := aws.ToString(in.FormatVersion); v != "" && v != "aws_v1" {
		return nil, errorf("InvalidParameterException", "The format version %s is not supported", v)
	}
	if code := aws.ToString(in.ServiceCode); code != "AmazonECR" {
		return nil, errorf("NotFoundException", "The service code %s was not found", code)
	}
	for _, f := range in.Filters {
		if f.Type != types.FilterTypeTermMatch && f.Type != types.FilterTypeEquals {
			return nil, errorf("InvalidParameterException", "Filters of the type %s are not simulated", f.Type)
		}
	}
	var list []string
	for _, region := range sortedNames(priceRegions) {
		if (c.Partition == "aws-cn") != (partitionOf(region) == "aws-cn") {
			continue
		}
		for _, p := range ecrProducts(region, time.Date(c.Now.Year(), c.Now.Month(), 1, 0, 0, 0, 0, time.UTC)) {
			if p.matches(in.Filters) {
				text, err := json.Marshal(p)
				if err != nil {
					return nil, err
				}
				list = append(list, string(text))
			}
		}
	}
	list, next, err := page(list, in.MaxResults, 100, 100, in.NextToken)
	return &pricing.GetProductsOutput{FormatVersion: new("aws_v1"), PriceList: list, NextToken: next}, err
}

// priceProduct is one entry of a price list.
//
// https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/bulk-api-reading-price-list-files.html
type priceProduct struct {
	Product struct {
		ProductFamily string            `json:"productFamily"`
		Attributes    map[string]string `json:"attributes"`
		SKU           string            `json:"sku"`
	} `json:"product"`
	ServiceCode string `json:"serviceCode"`
	Terms       struct {
		OnDemand map[string]priceTerm `json:"OnDemand"`
	} `json:"terms"`
	Version         string `json:"version"`
	PublicationDate string `json:"publicationDate"`
}

type priceTerm struct {
	PriceDimensions map[string]priceDimension `json:"priceDimensions"`
	SKU             string                    `json:"sku"`
	EffectiveDate   string                    `json:"effectiveDate"`
	OfferTermCode   string                    `json:"offerTermCode"`
	TermAttributes  struct{}                  `json:"termAttributes"`
}

type priceDimension struct {
	Unit         string            `json:"unit"`
	EndRange     string            `json:"endRange"`
	Description  string            `json:"description"`
	AppliesTo    []string          `json:"appliesTo"`
	RateCode     string            `json:"rateCode"`
	BeginRange   string            `json:"beginRange"`
	PricePerUnit map[string]string `json:"pricePerUnit"`
}

func (p *priceProduct) matches(filters []types.Filter) bool {
	for _, f := range filters {
		field, value := aws.ToString(f.Field), p.Product.ProductFamily
		if field != "productFamily" {
			value = p.Product.Attributes[field]
		}
		if value != aws.ToString(f.Value) {
			return false
		}
	}
	return true
}

// archiveTier is where the price of the archive changes, in GB: 150 TB.
const archiveTier = "153600"

// ecrProducts are the products of a region, with prices that hold since a time.
func ecrProducts(region string, since time.Time) []priceProduct {
	p := ecrPricesOf(region)
	newer := priceRegions[region].prefix + "-" // the archive has prefixes everywhere
	return []priceProduct{
		newPriceProduct(region, since, usageType(region, "TimedStorage-ByteHrs"), p.currency, "GB-Mo", p.storage, ""),
		newPriceProduct(region, since, newer+"TimedStorage-Archive-ByteHrs", p.currency, "GB-Mo", p.archive, p.archiveMore),
		newPriceProduct(region, since, newer+"Retrieval-Archive", p.currency, "GB", p.retrieval, ""),
		newPriceProduct(region, since, usageType(region, "DataTransfer-Out-Bytes"), p.currency, "GB", p.transfer, ""),
		newPriceProduct(region, since, usageType(region, "DataTransfer-In-Bytes"), p.currency, "GB", "0.0000000000", ""),
	}
}

// newPriceProduct is a product with one price, or with another one from archiveTier on.
func newPriceProduct(region string, since time.Time, usage, currency, unit, price, more string) priceProduct {
	const term = "JRTCKXETXF"
	effective := since.Format(time.RFC3339)
	sum := sha256.Sum256([]byte(region + "/" + usage))
	sku := base32.StdEncoding.EncodeToString(sum[:10])
	t := priceTerm{SKU: sku, EffectiveDate: effective, OfferTermCode: term, PriceDimensions: make(map[string]priceDimension)}
	add := func(code, begin, end, price string) {
		code = sku + "." + term + "." + code
		t.PriceDimensions[code] = priceDimension{
			Unit: unit, BeginRange: begin, EndRange: end, RateCode: code, AppliesTo: []string{},
			Description:  price + " " + currency + " per " + unit + " of " + usage,
			PricePerUnit: map[string]string{currency: price},
		}
	}
	if more == "" {
		add("6YS6EN2CT7", "0", "Inf", price)
	} else {
		add("PGHJ3S3EYE", "0", archiveTier, price)
		add("D42MF2PVJS", archiveTier, "Inf", more)
	}
	out := priceProduct{ServiceCode: "AmazonECR", Version: since.Format("20060102150405"), PublicationDate: effective}
	out.Product.ProductFamily, out.Product.SKU = "EC2 Container Registry", sku
	if strings.Contains(usage, "DataTransfer") {
		out.Product.ProductFamily = "Data Transfer"
	}
	out.Product.Attributes = map[string]string{
		"servicecode": "AmazonECR", "servicename": "Amazon EC2 Container Registry (ECR)", "regionCode": region,
		"location": priceRegions[region].location, "locationType": "AWS Region", "usagetype": usage, "operation": "",
	}
	out.Terms.OnDemand = map[string]priceTerm{sku + "." + term: t}
	return out
}
