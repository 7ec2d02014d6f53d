package orgsim

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer"
	cetypes "github.com/aws/aws-sdk-go-v2/service/costexplorer/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/pricing"
	pricingtypes "github.com/aws/aws-sdk-go-v2/service/pricing/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"demurrage/internal/image"
)

// billed asks Cost Explorer for the bill of ECR by account and usage type, and gives the quantities and amounts by month,
// account and usage type, with how many pages they came on.
func billed(m *sim, cfg aws.Config, from, to string) (quantity, amount map[string]*big.Rat, estimated []string, pages int) {
	m.t.Helper()
	c := costexplorer.NewFromConfig(cfg)
	in := &costexplorer.GetCostAndUsageInput{
		TimePeriod: &cetypes.DateInterval{Start: &from, End: &to}, Granularity: cetypes.GranularityMonthly,
		Metrics: []string{"UnblendedCost", "UsageQuantity"}, Filter: ofECR(),
		GroupBy: []cetypes.GroupDefinition{
			{Type: cetypes.GroupDefinitionTypeDimension, Key: aws.String("LINKED_ACCOUNT")},
			{Type: cetypes.GroupDefinitionTypeDimension, Key: aws.String("USAGE_TYPE")},
		},
	}
	quantity, amount = make(map[string]*big.Rat), make(map[string]*big.Rat)
	for {
		out, err := c.GetCostAndUsage(m.t.Context(), in)
		if err != nil {
			m.t.Fatal(err)
		}
		pages++
		for _, r := range out.ResultsByTime {
			if month := (*r.TimePeriod.Start)[:7]; r.Estimated && !slices.Contains(estimated, month) {
				estimated = append(estimated, month)
			}
			for _, g := range r.Groups {
				key := (*r.TimePeriod.Start)[:7] + " " + strings.Join(g.Keys, " ")
				if quantity[key] != nil {
					m.t.Errorf("%s comes twice", key)
				}
				quantity[key], _ = new(big.Rat).SetString(*g.Metrics["UsageQuantity"].Amount)
				amount[key], _ = new(big.Rat).SetString(*g.Metrics["UnblendedCost"].Amount)
			}
		}
		if out.NextPageToken == nil {
			return quantity, amount, estimated, pages
		}
		in.NextPageToken = out.NextPageToken
	}
}

func ofECR() *cetypes.Expression {
	return &cetypes.Expression{Dimensions: &cetypes.DimensionValues{Key: cetypes.DimensionService, Values: []string{"Amazon EC2 Container Registry (ECR)"}}}
}

// near reports whether an answer with ten decimals is a number.
func near(got, want *big.Rat) bool {
	d := new(big.Rat).Sub(got, want)
	return d.Abs(d).Cmp(big.NewRat(1, 10_000_000_000)) <= 0
}

// Whatever is pushed, pushed again, deleted by tag, by digest and with its repository: the bill of each month is what
// StoredBytes tells from moment to moment.
func TestBillFollowsFromWhatIsStored(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := newSim(t)
		start := time.Date(2025, 12, 20, 3, 4, 5, 0, time.UTC)
		now := start
		m.SetClock(now)
		accounts := []string{accountA, accountB}
		regions := []string{"us-east-1", "ap-northeast-1"}
		var moments []time.Time
		names := []string{"app", "web"}
		clients := make(map[string]*ecr.Client)
		for _, a := range accounts {
			for _, region := range regions {
				cfg := m.as(a)
				cfg.Region = region
				clients[a+" "+region] = ecr.NewFromConfig(cfg)
			}
		}
		keys := slices.Sorted(maps.Keys(clients))
		for range 250 {
			now = now.Add(time.Duration(r.Int64N(int64(36 * time.Hour))))
			m.SetClock(now)
			moments = append(moments, now)
			if r.IntN(20) == 0 { // what is remembered of it must not stay
				billed(m, m.as(ManagementAccount), "2025-12-01", "2026-01-01")
			}
			c, name := clients[keys[r.IntN(len(keys))]], names[r.IntN(len(names))]
			// Errors are as good: a repository that is there or not, an image that exists.
			switch n := r.IntN(20); {
			case n == 0:
				_, _ = c.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &name, Force: true})
			case n < 7:
				list, err := c.ListImages(t.Context(), &ecr.ListImagesInput{RepositoryName: &name})
				if err == nil && len(list.ImageIds) > 0 {
					id := list.ImageIds[r.IntN(len(list.ImageIds))]
					if r.IntN(2) == 0 {
						id = ecrtypes.ImageIdentifier{ImageDigest: id.ImageDigest}
					}
					_, err = c.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &name, ImageIds: []ecrtypes.ImageIdentifier{id}})
				}
				_ = err
			default:
				_, _ = c.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name})
				var layers []string
				for range 1 + r.IntN(3) {
					layer := r.IntN(6)
					layers = append(layers, fmt.Sprintf(`{"digest":%q,"size":%d}`, sha256Of(fmt.Sprint(layer)), 1_000_000_007*layer))
				}
				text := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":%d},"layers":[%s]}`,
					mediaOCIManifest, sha256Of("config"), 1234, strings.Join(layers, ","))
				in := &ecr.PutImageInput{RepositoryName: &name, ImageManifest: &text}
				if r.IntN(3) > 0 {
					in.ImageTag = aws.String(fmt.Sprint("v", r.IntN(4)))
				}
				_, _ = c.PutImage(t.Context(), in)
			}
		}
		now = now.Add(5 * 24 * time.Hour)
		m.SetClock(now)
		moments = append(moments, now)

		// Bytes times nanoseconds, by month, account and usage type.
		want := make(map[string]*big.Int)
		for i, from := range moments[:len(moments)-1] {
			stored := m.StoredBytes(from)
			for from.Before(moments[i+1]) {
				to := time.Date(from.Year(), from.Month()+1, 1, 0, 0, 0, 0, time.UTC)
				if moments[i+1].Before(to) {
					to = moments[i+1]
				}
				for repo, bytes := range stored {
					key := from.Format("2006-01 ") + repo.Account + " " + map[string]string{"us-east-1": "", "ap-northeast-1": "APN1-"}[repo.Region] + "TimedStorage-ByteHrs"
					if want[key] == nil {
						want[key] = new(big.Int)
					}
					want[key].Add(want[key], new(big.Int).Mul(big.NewInt(bytes), big.NewInt(int64(to.Sub(from)))))
				}
				from = to
			}
		}
		quantity, amount, estimated, _ := billed(m, m.as(ManagementAccount), "2025-12-01", time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC).Format(billDate))
		if len(want) < 10 {
			t.Fatalf("only %d lines", len(want))
		}
		for key, byteTime := range want {
			if byteTime.Sign() == 0 {
				continue
			}
			month, _ := time.Parse("2006-01", key[:7])
			gbMonths := new(big.Rat).SetFrac(byteTime, new(big.Int).Mul(big.NewInt(1<<30), big.NewInt(int64(month.AddDate(0, 1, 0).Sub(month)))))
			if quantity[key] == nil || !near(quantity[key], gbMonths) {
				t.Errorf("seed %d: %s: %v GB-months, want %s", seed, key, quantity[key], gbMonths.FloatString(10))
			} else if price := new(big.Rat).Mul(gbMonths, big.NewRat(1, 10)); !near(amount[key], price) {
				t.Errorf("seed %d: %s: costs %s, want %s", seed, key, amount[key].FloatString(10), price.FloatString(10))
			}
			delete(quantity, key)
		}
		for key := range quantity {
			if !strings.Contains(key, "DataTransfer-Out-Bytes") {
				t.Errorf("seed %d: %s is billed and was not stored", seed, key)
			}
		}
		if got := fmt.Sprint(estimated); got != now.Format("[2006-01]") {
			t.Errorf("seed %d: estimated: %s", seed, got)
		}
	}
}

// What StoredBytes says, said by hand: layers that images share count once, and in each repository.
func TestStoredBytes(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	at := func(day int) time.Time { return time.Date(2026, 3, day, 0, 0, 0, 0, time.UTC) }
	manifest := func(config string, layers ...string) string {
		var list []string
		for _, l := range layers {
			list = append(list, fmt.Sprintf(`{"digest":%q,"size":%d}`, sha256Of(l), 1000*len(l)))
		}
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"digest":%q,"size":7},"layers":[%s]}`, mediaOCIManifest, sha256Of(config), strings.Join(list, ","))
	}
	one, two := manifest("1", "base", "a", "a"), manifest("2", "base", "bb")
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"digest":%q,"size":%d}]}`, mediaOCIIndex, sha256Of(two), len(two))
	m.SetClock(at(1))
	app, web := m.repository(m.as(accountA), "app"), m.repository(m.as(accountA), "web")
	app.push(one, "1")
	m.SetClock(at(2))
	app.push(two, "2")
	app.push(index, "i")
	web.push(two, "2")
	m.SetClock(at(3))
	if _, err := app.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &app.name, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("1")}}}); err != nil {
		t.Fatal(err)
	}
	m.SetClock(at(4))
	if _, err := web.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: &web.name, Force: true}); err != nil {
		t.Fatal(err)
	}
	in := func(name string) image.Repository {
		return image.Repository{Registry: image.Registry{Account: accountA, Region: "us-east-1"}, Name: name}
	}
	first, second := int64(len(one)+7+4000+1000), int64(len(two)+7+4000+2000)
	for _, c := range []struct {
		at   time.Time
		want map[image.Repository]int64
	}{
		{at(1).Add(-1), map[image.Repository]int64{}},
		{at(1), map[image.Repository]int64{in("app"): first}},
		{at(2), map[image.Repository]int64{in("app"): first + second - 4000 + int64(len(index)), in("web"): second}},
		{at(3), map[image.Repository]int64{in("app"): second + int64(len(index)), in("web"): second}},
		{at(4), map[image.Repository]int64{in("app"): second + int64(len(index))}},
	} {
		if got := m.StoredBytes(c.at); !maps.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.at, got, c.want)
		}
	}
}

func TestCostExplorer(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	m.SetClock(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	m.repository(m.as(accountA), "app").push(cliManifests()["v1"], "v1")
	m.repository(m.as("555555555555"), "outside").push(cliManifests()["v1"], "v1")
	m.SetClock(time.Date(2026, 4, 16, 0, 0, 0, 0, time.UTC))
	ask := func(cfg aws.Config, change func(*costexplorer.GetCostAndUsageInput)) (*costexplorer.GetCostAndUsageOutput, error) {
		in := &costexplorer.GetCostAndUsageInput{
			TimePeriod: &cetypes.DateInterval{Start: aws.String("2026-02-01"), End: aws.String("2026-05-01")}, Granularity: cetypes.GranularityMonthly,
			Metrics: []string{"UsageQuantity"}, GroupBy: []cetypes.GroupDefinition{{Type: cetypes.GroupDefinitionTypeDimension, Key: aws.String("SERVICE")}},
		}
		if change != nil {
			change(in)
		}
		return costexplorer.NewFromConfig(cfg).GetCostAndUsage(t.Context(), in)
	}
	payer := m.as(ManagementAccount)
	out, err := ask(payer, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range out.ResultsByTime {
		got = append(got, fmt.Sprint(*r.TimePeriod.Start, *r.TimePeriod.End, r.Estimated))
		for _, g := range r.Groups {
			if !strings.Contains(g.Keys[0], "Registry") {
				got = append(got, g.Keys[0]+" "+*g.Metrics["UsageQuantity"].Amount+" "+*g.Metrics["UsageQuantity"].Unit)
			}
		}
	}
	want := []string{
		"2026-02-012026-03-01false", "2026-03-012026-04-01false", "Amazon Simple Storage Service 100 GB-Mo",
		"2026-04-012026-05-01true", "Amazon Simple Storage Service 50 GB-Mo",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	for _, c := range []struct {
		name   string
		cfg    aws.Config
		change func(*costexplorer.GetCostAndUsageInput)
		code   string
	}{
		{"a member", m.as(accountA), nil, "AccessDeniedException"},
		{"a role in a member", m.assume(m.as(accountB), &sts.AssumeRoleInput{RoleArn: aws.String(m.makeRole(accountA, "r", trust("", accountB), allow("ce:*")))}), nil, "AccessDeniedException"},
		{"a role in the payer", m.assume(m.as(accountA), &sts.AssumeRoleInput{RoleArn: aws.String(m.makeRole(ManagementAccount, "billing", trust("", accountA), allow("ce:GetCostAndUsage")))}), nil, ""},
		{"a role that may not", m.assume(m.as(accountA), &sts.AssumeRoleInput{RoleArn: aws.String(m.makeRole(ManagementAccount, "other", trust("", accountA), allow("ce:GetDimensionValues")))}), nil, "AccessDeniedException"},
		{"days", payer, func(in *costexplorer.GetCostAndUsageInput) { in.Granularity = cetypes.GranularityDaily }, "ValidationException"},
		{"the future", payer, func(in *costexplorer.GetCostAndUsageInput) { in.TimePeriod.End = aws.String("2026-05-02") }, "ValidationException"},
		{"long ago", payer, func(in *costexplorer.GetCostAndUsageInput) { in.TimePeriod.Start = aws.String("2024-05-01") }, "ValidationException"},
		{"nothing", payer, func(in *costexplorer.GetCostAndUsageInput) { in.TimePeriod.End = in.TimePeriod.Start }, "ValidationException"},
		{"no metric of it", payer, func(in *costexplorer.GetCostAndUsageInput) { in.Metrics = []string{"Cost"} }, "ValidationException"},
		{"a page of nothing", payer, func(in *costexplorer.GetCostAndUsageInput) { in.NextPageToken = aws.String("x") }, "InvalidNextTokenException"},
	} {
		_, err := ask(c.cfg, c.change)
		if codeOf(err) != c.code {
			t.Errorf("%s: %v, want %q", c.name, err, c.code)
		}
	}
	tokyo := payer
	tokyo.Region = "ap-northeast-1"
	if _, err := ask(tokyo, nil); codeOf(err) != "InvalidSignatureException" {
		t.Errorf("signed for Tokyo: %v", err)
	}
}

// A year of the demo's bill comes on several pages.
func TestBillOfTheDemo(t *testing.T) {
	m := newDemoSim(t)
	quantity, _, estimated, pages := billed(m.sim, m.in(ManagementAccount, "us-east-1"), "2025-11-01", "2026-12-01")
	if pages < 2 || len(quantity) < billPage || !slices.Equal(estimated, []string{"2026-11"}) {
		t.Errorf("%d lines on %d pages, estimated: %v", len(quantity), pages, estimated)
	}
}

func TestPricing(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	list := func(region string, filters ...pricingtypes.Filter) (texts []string, pages int) {
		cfg := m.as(accountA)
		cfg.Region = region
		p := pricing.NewGetProductsPaginator(pricing.NewFromConfig(cfg), &pricing.GetProductsInput{ServiceCode: aws.String("AmazonECR"), Filters: filters})
		for p.HasMorePages() {
			out, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, out.PriceList...)
			pages++
		}
		return texts, pages
	}
	texts, pages := list("us-east-1")
	skus := make(map[string]bool)
	for _, text := range texts {
		var p priceProduct
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		skus[p.Product.SKU] = true
	}
	if pages != 2 || len(texts) != 125 || len(skus) != 125 {
		t.Errorf("%d products, %d SKUs on %d pages", len(texts), len(skus), pages)
	}
	if texts, _ := list("us-east-1", pricingtypes.Filter{Field: aws.String("usagetype"), Type: pricingtypes.FilterTypeTermMatch, Value: aws.String("APN1-TimedStorage-ByteHrs")}); len(texts) != 1 || !strings.Contains(texts[0], `"regionCode":"ap-northeast-1"`) {
		t.Errorf("Tokyo: %v", texts)
	}
	if texts, _ := list("cn-northwest-1"); len(texts) != 10 || !strings.Contains(texts[0], `"CNY":`) {
		t.Errorf("China: %v", texts)
	}
	_, err := pricing.NewFromConfig(m.as(accountA)).GetProducts(t.Context(), &pricing.GetProductsInput{ServiceCode: aws.String("AmazonEC2")})
	wantCode(t, err, "NotFoundException")
	for partition, regions := range partitionRegions {
		for _, r := range regions {
			if priceRegions[r.name].prefix == "" {
				t.Errorf("%s: %s is not in the price list", partition, r.name)
			}
		}
	}
}

func TestBillAmount(t *testing.T) {
	for text, want := range map[string]string{
		"0": "0", "12.5": "12.5", "100": "100", "0.0012": "0.0012", "0.00012": "1.2E-4", "0.0000001": "1.0E-7", "0.00000000004": "0", "1234567890.12345678904": "1234567890.123456789",
	} {
		r, _ := new(big.Rat).SetString(text)
		if got := billAmount(r); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// The aws CLI checks the shapes of both services.
func TestCLIOfBilling(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	m.SetClock(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	m.repository(m.as(accountA), "app").push(cliManifests()["v1"], "v1")
	m.SetClock(time.Date(2026, 4, 16, 0, 0, 0, 0, time.UTC))
	const (
		p      = ManagementAccount
		period = " --time-period Start=2026-03-01,End=2026-05-01"
		filter = ` --filter {"Dimensions":{"Key":"SERVICE","Values":["Amazon~Simple~Storage~Service"]}}`
	)
	m.awsCLI([]awsCall{
		{account: p, command: "ce get-cost-and-usage --granularity MONTHLY --metrics UnblendedCost UsageQuantity --group-by Type=DIMENSION,Key=LINKED_ACCOUNT Type=DIMENSION,Key=USAGE_TYPE" + period + filter,
			query: "ResultsByTime[].[Estimated,Groups[0].Keys[1],Groups[0].Metrics.UnblendedCost.[Amount,Unit]]", want: "False TimedStorage-ByteHrs 2.3 USD True TimedStorage-ByteHrs 1.15 USD"},
		{account: p, command: "ce get-dimension-values --dimension USAGE_TYPE" + period, query: "DimensionValues[].Value", want: "DataTransfer-Out-Bytes TimedStorage-ByteHrs"},
		{account: p, command: "ce get-dimension-values --dimension LINKED_ACCOUNT" + period, query: "DimensionValues[].[Value,Attributes.description]", want: accountA + " alpha"},
		{account: accountA, command: "ce get-dimension-values --dimension SERVICE" + period, fails: "(AccessDeniedException)"},
		{command: "pricing get-products --service-code AmazonECR --filters Type=TERM_MATCH,Field=regionCode,Value=us-east-1 Type=TERM_MATCH,Field=usagetype,Value=TimedStorage-ByteHrs", query: "length(PriceList)", want: "1"},
		{command: "pricing get-products --service-code AmazonECR", query: "length(PriceList)", want: "100 25"},
		{command: "pricing get-products --service-code AmazonX", fails: "(NotFoundException)"},
	})
}
