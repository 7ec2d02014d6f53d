package billing

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	"github.com/google/go-cmp/cmp"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/internal/orgsim"
)

var now = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// config is a configuration of the real SDK for an endpoint, with an access key.
func config(url, key string) aws.Config {
	return aws.Config{
		Region: Region("us-east-1"), BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider(key, "secret", ""),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		},
	}
}

// script answers each request with the next body, and keeps the requests. A body that names an error is one.
type script struct {
	t        *testing.T
	bodies   []string
	requests []map[string]any
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked map[string]any
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		s.t.Error(err)
	}
	s.requests = append(s.requests, asked)
	if len(s.bodies) == 0 {
		s.t.Errorf("one request too many: %v", asked)
		w.WriteHeader(http.StatusTeapot)
		return
	}
	body := s.bodies[0]
	s.bodies = s.bodies[1:]
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if strings.HasPrefix(body, `{"__type"`) {
		w.WriteHeader(http.StatusBadRequest)
	}
	_, _ = w.Write([]byte(body))
}

func play(t *testing.T, bodies ...string) (*script, aws.Config) {
	s := &script{t: t, bodies: bodies}
	ts := httptest.NewServer(s)
	t.Cleanup(ts.Close)
	return s, config(ts.URL, "AKIA")
}

// month is a result of Cost Explorer; each group is "account usage-type amount quantity unit".
func month(start, end string, estimated bool, groups ...string) string {
	var list []string
	for _, g := range groups {
		f := strings.Fields(g)
		list = append(list, fmt.Sprintf(`{"Keys":[%q,%q],"Metrics":{"UnblendedCost":{"Amount":%q,"Unit":"USD"},"UsageQuantity":{"Amount":%q,"Unit":%q}}}`, f[0], f[1], f[2], f[3], f[4]))
	}
	return fmt.Sprintf(`{"TimePeriod":{"Start":%q,"End":%q},"Total":{},"Groups":[%s],"Estimated":%t}`, start, end, strings.Join(list, ","), estimated)
}

func page(token string, months ...string) string {
	if token != "" {
		token = fmt.Sprintf(`"NextPageToken":%q,`, token)
	}
	return "{" + token + `"ResultsByTime":[` + strings.Join(months, ",") + `]}`
}

func TestBill(t *testing.T) {
	const a, b = "111111111111", "222222222222"
	s, cfg := play(t,
		page("p2",
			month("2025-11-01", "2025-12-01", false),
			month("2026-10-01", "2026-11-01", false,
				b+" TimedStorage-ByteHrs 0.0000005 0.00000000046566128730773926 GB-Mo", // half a millionth, half a byte
				a+" EU-TimedStorage-ByteHrs 1.2E-7 1.5 GB-Mo",
				a+" APN1-TimedStorage-ByteHrs 12.3456785 100.000000001 GB-Month")),
		page("p3",
			month("2026-10-01", "2026-11-01", false,
				a+" APN1-TimedStorage-ByteHrs 0.0000004 1 N/A", // the same line on another page: rounded once
				a+" APN1-TimedStorage-Archive-ByteHrs 2 20 GB-Mo",
				a+" DataTransfer-Out-Bytes -3.5 12 GB", // a credit
				a+" USE1-APN1-AWS-Out-Bytes 0.01 1 GB",
				a+" XYZ9-TimedStorage-ByteHrs 1 10 GB-Mo",
				a+" UGW1-TimedStorage-ByteHrs -0.0000005 0 GB-Mo")), // half up
		page("",
			month("2026-11-01", "2026-12-01", true, a+" TimedStorage-ByteHrs 1e3 1E4 GB-Mo"),
			month("2026-11-01", "2026-12-01", false, b+" NoUsageType 0 0 N/A")),
	)
	got, err := Bill(t.Context(), costexplorer.NewFromConfig(cfg), "UnblendedCost", now)
	if err != nil {
		t.Fatal(err)
	}
	want := &cost.Bill{Metric: "UnblendedCost", Currency: "USD", AsOf: now, Lines: []cost.BillLine{
		{Month: "2026-10", Account: a, UsageType: "XYZ9-TimedStorage-ByteHrs", Storage: true, Amount: 1_000_000, Quantity: 10 << 30},
		{Month: "2026-10", Account: a, Region: "ap-northeast-1", UsageType: "APN1-TimedStorage-Archive-ByteHrs", Storage: true, Amount: 2_000_000, Quantity: 20 << 30},
		{Month: "2026-10", Account: a, Region: "ap-northeast-1", UsageType: "APN1-TimedStorage-ByteHrs", Storage: true, Amount: 12_345_679, Quantity: 101<<30 + 1},
		{Month: "2026-10", Account: a, Region: "eu-west-1", UsageType: "EU-TimedStorage-ByteHrs", Storage: true, Amount: 0, Quantity: 3 << 29},
		{Month: "2026-10", Account: a, Region: "us-east-1", UsageType: "DataTransfer-Out-Bytes", Amount: -3_500_000},
		{Month: "2026-10", Account: a, Region: "us-east-1", UsageType: "USE1-APN1-AWS-Out-Bytes", Amount: 10_000},
		{Month: "2026-10", Account: a, Region: "us-gov-west-1", UsageType: "UGW1-TimedStorage-ByteHrs", Storage: true, Amount: 0},
		{Month: "2026-10", Account: b, Region: "us-east-1", UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: 1, Quantity: 1},
		{Month: "2026-11", Account: a, Region: "us-east-1", UsageType: "TimedStorage-ByteHrs", Storage: true, Amount: 1_000_000_000, Quantity: 10_000 << 30, Provisional: true},
		{Month: "2026-11", Account: b, UsageType: "NoUsageType", Provisional: true},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}

	if len(s.requests) != 3 {
		t.Fatalf("%d requests", len(s.requests))
	}
	for i, token := range []any{nil, "p2", "p3"} {
		if s.requests[i]["NextPageToken"] != token {
			t.Errorf("request %d: token %v", i, s.requests[i]["NextPageToken"])
		}
		delete(s.requests[i], "NextPageToken")
		asked, _ := json.Marshal(s.requests[i])
		const want = `{"Filter":{"Dimensions":{"Key":"SERVICE","Values":["Amazon EC2 Container Registry (ECR)"]}},"Granularity":"MONTHLY",` +
			`"GroupBy":[{"Key":"LINKED_ACCOUNT","Type":"DIMENSION"},{"Key":"USAGE_TYPE","Type":"DIMENSION"}],"Metrics":["UnblendedCost","UsageQuantity"],` +
			`"TimePeriod":{"End":"2026-12-01","Start":"2025-11-01"}}`
		if string(asked) != want {
			t.Errorf("request %d: %s", i, asked)
		}
	}
}

func TestBillOfNothing(t *testing.T) {
	_, cfg := play(t, `{"ResultsByTime":[]}`)
	got, err := Bill(t.Context(), costexplorer.NewFromConfig(cfg), "AmortizedCost", now)
	if d := cmp.Diff(&cost.Bill{Metric: "AmortizedCost", AsOf: now, Lines: []cost.BillLine{}}, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

func TestBillErrors(t *testing.T) {
	october := func(group string) string { return page("", month("2026-10-01", "2026-11-01", false, group)) }
	const keys = `{"ResultsByTime":[{"TimePeriod":{"Start":"2026-10-01","End":"2026-11-01"},"Groups":[%s]}]}`
	for _, c := range []struct{ name, answer, want string }{
		{"no number", october("1 TimedStorage-ByteHrs 1,5 1 GB-Mo"), `"1,5" is not a number`},
		{"a fraction", october("1 TimedStorage-ByteHrs 1/3 1 GB-Mo"), "not a number"},
		{"infinity", october("1 TimedStorage-ByteHrs Inf 1 GB-Mo"), "not a number"},
		{"hexadecimal", october("1 TimedStorage-ByteHrs 0x1p3 1 GB-Mo"), "not a number"},
		{"a number to fill the memory with", october("1 TimedStorage-ByteHrs 1e999999999 1 GB-Mo"), "not a number"},
		{"more than there is", october("1 TimedStorage-ByteHrs 1e13 1 GB-Mo"), "too large"},
		{"no quantity that is a number", october("1 TimedStorage-ByteHrs 1 x GB-Mo"), "not a number"},
		{"storage in hours", october("1 TimedStorage-ByteHrs 1 1 Hrs"), `storage in "Hrs"`},
		{"half a month", page("", month("2026-10-01", "2026-10-15", false)), "no month that was asked for"},
		{"a month too old", page("", month("2025-10-01", "2025-11-01", false)), "no month that was asked for"},
		{"no month", page("", month("October", "2026-11-01", false)), `month "October"`},
		{"no period", `{"ResultsByTime":[{"Groups":[]}]}`, "no month"},
		{"one key", fmt.Sprintf(keys, `{"Keys":["1"],"Metrics":{}}`), "not an account and a usage type"},
		{"no metric", fmt.Sprintf(keys, `{"Keys":["1","TimedStorage-ByteHrs"],"Metrics":{"UsageQuantity":{"Amount":"1"}}}`), "no UnblendedCost"},
		{"no quantity", fmt.Sprintf(keys, `{"Keys":["1","TimedStorage-ByteHrs"],"Metrics":{"UnblendedCost":{"Amount":"1","Unit":"USD"}}}`), "no UsageQuantity"},
		{"no currency", fmt.Sprintf(keys, `{"Keys":["1","x"],"Metrics":{"UnblendedCost":{"Amount":"1"}}}`), `in ""`},
		{"two currencies", fmt.Sprintf(keys, `{"Keys":["1","x"],"Metrics":{"UnblendedCost":{"Amount":"1","Unit":"USD"}}},{"Keys":["1","y"],"Metrics":{"UnblendedCost":{"Amount":"1","Unit":"CNY"}}}`), `an amount in "CNY", others in "USD"`},
		{"no access", `{"__type":"AccessDeniedException","message":"User not enabled for cost explorer access"}`, "needs ce:GetCostAndUsage in the account that pays"},
		{"no data", `{"__type":"DataUnavailableException","message":"Data is not available."}`, "try again after 24 hours"},
	} {
		_, cfg := play(t, c.answer)
		if _, err := Bill(t.Context(), costexplorer.NewFromConfig(cfg), "UnblendedCost", now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	_, cfg := play(t, page("again"), page("again"))
	if _, err := Bill(t.Context(), costexplorer.NewFromConfig(cfg), "UnblendedCost", now); err == nil {
		t.Error("the same page for ever is no error")
	}
}

// priced is a product; each price is "begin end unit currency amount".
func priced(region, usage string, prices ...string) string {
	return fmt.Sprintf(`{"product":{"productFamily":"EC2 Container Registry","sku":"S","attributes":{"regionCode":%q,"usagetype":%q}},"terms":{"OnDemand":{"S.T":%s}}}`,
		region, usage, termSince("2026-01-01", prices...))
}

func termSince(since string, prices ...string) string {
	var list []string
	for i, p := range prices {
		f := strings.Fields(p)
		list = append(list, fmt.Sprintf(`"%d":{"beginRange":%q,"endRange":%q,"unit":%q,"pricePerUnit":{%q:%q}}`, i, f[0], f[1], f[2], f[3], f[4]))
	}
	return fmt.Sprintf(`{"effectiveDate":"%sT00:00:00Z","priceDimensions":{%s}}`, since, strings.Join(list, ","))
}

func priceList(token string, products ...string) string {
	body, err := json.Marshal(map[string]any{"FormatVersion": "aws_v1", "PriceList": products, "NextToken": token})
	if err != nil {
		panic(err)
	}
	return string(body)
}

func TestPrices(t *testing.T) {
	flat := func(price string) string { return "0 Inf GB-Mo USD " + price }
	list := func(change func(*List)) *List {
		l := &List{
			Prices: cost.Prices{Currency: "USD", AsOf: now, Source: priceSource, PerGBMonth: map[string]cost.Money{}, Archive: map[string][]cost.Tier{}},
		}
		change(l)
		return l
	}
	twice := strings.Replace(priced("us-east-1", "TimedStorage-ByteHrs", flat("0.2")), `"OnDemand":{`,
		`"OnDemand":{"S.A":`+termSince("2025-01-01", flat("0.1"))+`,"S.Z":`+termSince("2027-01-01", flat("0.3"))+`,`, 1)
	for _, c := range []struct {
		name    string
		regions []string
		pages   []string
		want    *List
	}{
		{"nothing", nil, []string{priceList("")}, list(func(l *List) { l.Currency = "" })},
		{"pages, regions and what is not asked for", []string{"us-east-1", "ap-northeast-1", "mx-central-1"}, []string{
			priceList("2", priced("us-east-1", "TimedStorage-ByteHrs", flat("0.1000000000")), priced("us-east-2", "USE2-TimedStorage-ByteHrs", flat("0.11"))),
			priceList("", priced("ap-northeast-1", "APN1-TimedStorage-ByteHrs", flat("0.1234567")), priced("us-east-1", "DataTransfer-Out-Bytes", "0 Inf GB USD 0.09")),
		}, list(func(l *List) {
			l.PerGBMonth = map[string]cost.Money{"us-east-1": 100_000, "ap-northeast-1": 123_457}
		})},
		{"rounding", nil, []string{priceList("", priced("us-east-1", "TimedStorage-ByteHrs", flat("0.0000005")), priced("us-east-2", "USE2-TimedStorage-ByteHrs", flat("4.9E-7")))},
			list(func(l *List) { l.PerGBMonth = map[string]cost.Money{"us-east-1": 1, "us-east-2": 0} })},
		{"tiers of the archive, in any order", nil, []string{priceList("", priced("us-east-1", "USE1-TimedStorage-Archive-ByteHrs", "153600 Inf GB-Mo USD 0.07", "0 153600 GB-Mo USD 0.1"))},
			list(func(l *List) {
				l.Archive["us-east-1"] = []cost.Tier{{PerGBMonth: 100_000}, {From: 150 << 40, PerGBMonth: 70_000}}
			})},
		{"prices of other times", nil, []string{priceList("", twice)}, list(func(l *List) { l.PerGBMonth["us-east-1"] = 200_000 })},
		{"the same product twice", nil, []string{priceList("", priced("us-east-1", "TimedStorage-ByteHrs", flat("0.1")), priced("us-east-1", "USE1-TimedStorage-ByteHrs", flat("0.10")))},
			list(func(l *List) { l.PerGBMonth["us-east-1"] = 100_000 })},
		{"contradictions stay missing", nil, []string{priceList("", priced("us-east-1", "TimedStorage-ByteHrs", flat("0.1")), priced("us-east-1", "USE1-TimedStorage-ByteHrs", flat("0.2")), priced("us-east-1", "TimedStorage-ByteHrs", flat("0.1")))},
			list(func(l *List) {
				l.Notes = []string{"us-east-1 TimedStorage-ByteHrs (SKU S): there are several prices", "us-east-1 USE1-TimedStorage-ByteHrs (SKU S): there are several prices"}
			})},
		{"China", nil, []string{priceList("", priced("cn-north-1", "CNN1-TimedStorage-ByteHrs", "0 Inf GB-Mo CNY 0.69"))},
			list(func(l *List) { l.Currency, l.PerGBMonth = "CNY", map[string]cost.Money{"cn-north-1": 690_000} })},
	} {
		_, cfg := play(t, c.pages...)
		got, err := Prices(t.Context(), pricing.NewFromConfig(cfg), c.regions, now)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// A shape that is not known leaves the price missing, with a note, and the others as they are.
func TestPricesOfUnknownShapes(t *testing.T) {
	for _, c := range []struct{ product, note string }{
		{priced("us-east-1", "TimedStorage-ByteHrs", "0 1 GB-Mo USD 0", "1 Inf GB-Mo USD 0.1"), "standard storage has tiers"},
		{priced("us-east-1", "TimedStorage-ByteHrs"), "no price"},
		{priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Hrs USD 0.1"), `a price for "GB-Hrs"`},
		{priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Mo USD -0.1"), "a price of -0.1"},
		{priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Mo usd 0.1"), "a price of 0.1"},
		{priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Mo USD free"), `"free" is not a number`},
		{priced("us-east-1", "TimedStorage-ByteHrs", "0 100 GB-Mo USD 0.1"), "tiers with an end"},
		{priced("us-east-1", "TimedStorage-ByteHrs", "1 Inf GB-Mo USD 0.1"), "tiers with gaps"},
		{priced("us-east-1", "TimedStorage-Archive-ByteHrs", "0 5 GB-Mo USD 0.1", "6 Inf GB-Mo USD 0.1"), "tiers with gaps"},
		{priced("us-east-1", "TimedStorage-Archive-ByteHrs", "0 Inf GB-Mo USD 0.1", "0 Inf GB-Mo USD 0.2"), "tiers with"},
		{priced("us-east-1", "TimedStorage-ByteHrs", "0 all GB-Mo USD 0.1"), `"all" is not a number`},
		{priced("us-east-1", "USE2-TimedStorage-ByteHrs", "0 Inf GB-Mo USD 0.1"), "not of the region"},
		{strings.Replace(priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Mo USD 0.1"), `"0.1"`, `"0.1","CNY":"0.7"`, 1), "one currency"},
		{strings.Replace(priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Mo USD 0.1"), "2026-01-01T", "2026-12-01T", 1), "no price"},
		{strings.Replace(priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Mo USD 0.1"), `"0.1"`, `0.1`, 1), "unknown shape"},
		{`{"product":{"attributes":{"regionCode":"us-east-1","usagetype":"TimedStorage-ByteHrs"}}}`, "no price"},
		{`{"product":7}`, "unknown shape"},
		{`[]`, "unknown shape"},
	} {
		_, cfg := play(t, priceList("", c.product, priced("eu-west-1", "EU-TimedStorage-ByteHrs", "0 Inf GB-Mo USD 0.1")))
		got, err := Prices(t.Context(), pricing.NewFromConfig(cfg), nil, now)
		if err != nil || len(got.PerGBMonth) != 1 || len(got.Archive) != 0 || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], c.note) {
			t.Errorf("%s: %+v, %v; want the note %s", c.product, got, err, c.note)
		}
	}
	for _, c := range []struct{ name, page, want string }{
		{"no JSON", priceList("", `{"product":`), "no JSON"},
		{"two partitions", priceList("", priced("us-east-1", "TimedStorage-ByteHrs", "0 Inf GB-Mo USD 0.1"), priced("cn-north-1", "CNN1-TimedStorage-ByteHrs", "0 Inf GB-Mo CNY 0.7")), "one partition"},
		{"no access", `{"__type":"AccessDeniedException","message":"no"}`, "needs pricing:GetProducts"},
	} {
		_, cfg := play(t, c.page)
		if _, err := Prices(t.Context(), pricing.NewFromConfig(cfg), nil, now); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	_, cfg := play(t, priceList("again"), priceList("again"))
	if _, err := Prices(t.Context(), pricing.NewFromConfig(cfg), nil, now); err == nil {
		t.Error("the same page for ever is no error")
	}
}

func TestRegionOf(t *testing.T) {
	for usage, want := range map[string]string{
		"TimedStorage-ByteHrs": "us-east-1", "USE1-TimedStorage-Archive-ByteHrs": "us-east-1", "DataTransfer-Out-Bytes": "us-east-1",
		"EU-TimedStorage-ByteHrs": "eu-west-1", "EUW1-TimedStorage-ByteHrs": "eu-west-1", "EUC1-DataTransfer-In-Bytes": "eu-central-1",
		"CNN1-TimedStorage-ByteHrs": "cn-north-1", "UGE1-TimedStorage-ByteHrs": "us-gov-east-1",
		"EUN1-EUC1-AWS-Out-Bytes": "eu-north-1", "Requests": "", "": "", "-TimedStorage-ByteHrs": "", "ABC1-TimedStorage-ByteHrs": "", "apn1-TimedStorage-ByteHrs": "",
	} {
		if got := regionOf(usage); got != want {
			t.Errorf("%s: %q, want %q", usage, got, want)
		}
	}
	seen := make(map[string]string)
	for prefix, region := range regionOfPrefix {
		if !image.ValidRegion(region) {
			t.Errorf("%s: %s is no region", prefix, region)
		}
		if other := seen[region]; other != "" && region != "eu-west-1" {
			t.Errorf("%s and %s are both %s", prefix, other, region)
		}
		seen[region] = prefix
	}
}

func TestStorageOf(t *testing.T) {
	for usage, want := range map[string]storage{
		"TimedStorage-ByteHrs": standard, "APN1-TimedStorage-ByteHrs": standard, "APN1-TimedStorage-Archive-ByteHrs": archive,
		"NotTimedStorage-ByteHrs": notStorage, "TimedStorage-ByteHrs-Free": notStorage, "DataTransfer-Out-Bytes": notStorage, "APN1-Retrieval-Archive": notStorage, "": notStorage,
	} {
		if got := storageOf(usage); got != want {
			t.Errorf("%s: %d, want %d", usage, got, want)
		}
	}
}

// The demo's bill is what it stored, at list price, to the byte and to the millionth.
func TestDemo(t *testing.T) {
	world := orgsim.New()
	if err := world.SeedDemo(now); err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(world)
	t.Cleanup(ts.Close)
	payer := config(ts.URL, orgsim.ManagementAccount)

	prices, err := Prices(t.Context(), pricing.NewFromConfig(payer), orgsim.DemoRegions, now)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]cost.Money{"us-east-1": 100_000, "ap-northeast-1": 100_000, "eu-west-1": 100_000}, prices.PerGBMonth); d != "" || prices.Currency != "USD" {
		t.Error(prices.Currency, d)
	}
	if d := cmp.Diff([]cost.Tier{{PerGBMonth: 100_000}, {From: 150 << 40, PerGBMonth: 70_000}}, prices.Archive["us-east-1"]); d != "" || len(prices.Notes) != 0 {
		t.Error(d, prices.Notes)
	}

	// A month in which nobody does anything is that of what is stored.
	later := time.Date(2027, 1, 10, 0, 0, 0, 0, time.UTC)
	world.SetClock(later)
	world.SetFaults([]orgsim.Fault{{Service: "ce", Code: "LimitExceededException", Times: 2}}) // which is throttling, tried again
	bill, err := Bill(t.Context(), costexplorer.NewFromConfig(payer), "UnblendedCost", later)
	if err != nil {
		t.Fatal(err)
	}
	stored := make(map[image.Registry]int64)
	for repo, bytes := range world.StoredBytes(later) {
		stored[repo.Registry] += bytes
	}
	months := make(map[string]bool)
	for _, l := range bill.Lines {
		months[l.Month] = true
		if l.Provisional != (l.Month == "2027-01") {
			t.Errorf("%+v", l)
		}
		registry := image.Registry{Account: l.Account, Region: l.Region}
		if l.Month != "2026-12" || !l.Storage {
			continue
		}
		if l.Quantity != stored[registry] {
			t.Errorf("%v: %d bytes are billed, %d stored", registry, l.Quantity, stored[registry])
		}
		if list, _ := prices.Monthly(l.Region, stored[registry]); l.Amount != list {
			t.Errorf("%v: %v is billed, %v the list price", registry, l.Amount, list)
		}
		delete(stored, registry)
	}
	if len(stored) > 0 || len(months) != Months {
		t.Errorf("not billed: %v; %d months", stored, len(months))
	}

	_, err = Bill(t.Context(), costexplorer.NewFromConfig(config(ts.URL, "111111111111")), "UnblendedCost", later)
	if err == nil || !strings.Contains(err.Error(), "the account that pays") {
		t.Errorf("a member reads the bill: %v", err)
	}
}

// Each region that the simulated price list knows, in all partitions, is read.
func TestPricesOfAllRegions(t *testing.T) {
	ts := httptest.NewServer(orgsim.New())
	t.Cleanup(ts.Close)
	for region, want := range map[string]int{"us-gov-west-1": 25, "cn-north-1": 2} {
		cfg := config(ts.URL, "AKIA")
		cfg.Region = Region(region)
		got, err := Prices(t.Context(), pricing.NewFromConfig(cfg), nil, time.Now())
		if err != nil || len(got.PerGBMonth) != want || len(got.Archive) != want || len(got.Notes) > 0 || got.PerGBMonth[region] == 0 {
			t.Errorf("%s: %+v, %v", region, got, err)
		}
	}
}

// What policies are made of is what is called.
func TestActions(t *testing.T) {
	var files []byte
	for _, name := range []string{"bill.go", "pricing.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, text...)
	}
	for _, action := range Actions() {
		_, operation, _ := strings.Cut(action, ":")
		if strings.Count(string(files), "client."+operation+"(") != 1 {
			t.Errorf("%s is not called once", action)
		}
	}
	if strings.Count(string(files), "client.") != len(Actions()) || !slices.IsSorted(Actions()) {
		t.Errorf("actions: %v", Actions())
	}
}
