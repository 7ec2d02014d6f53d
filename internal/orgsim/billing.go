package orgsim

import (
	"cmp"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer"
	"github.com/aws/aws-sdk-go-v2/service/costexplorer/types"
)

// billPage is how many groups an answer of Cost Explorer has.
const billPage = 300

func costExplorerService() *service {
	s := &service{name: "ce", protocol: json11, targetPrefix: "AWSInsightsIndexService", global: true, badParameter: "InvalidNextTokenException"}
	op(s, "GetCostAndUsage", getCostAndUsage)
	op(s, "GetDimensionValues", getDimensionValues)
	return s
}

// asPayer refuses whoever is not in the management account, which alone pays here.
func (c *Call) asPayer() error {
	if err := c.signedFor("us-east-1", "cn-northwest-1"); err != nil {
		return err
	}
	if c.Account != ManagementAccount {
		return c.accessDeniedError("User not enabled for cost explorer access")
	}
	return nil
}

// billLine is what an account used of something in a period, and what that cost.
type billLine struct {
	account, region, service, usageType string
	unit                                string // of quantity
	quantity, cost                      *big.Rat
}

func (l *billLine) dimension(d types.Dimension) (string, error) {
	switch d {
	case types.DimensionService:
		return l.service, nil
	case types.DimensionLinkedAccount:
		return l.account, nil
	case types.DimensionUsageType:
		return l.usageType, nil
	case types.DimensionRegion:
		return l.region, nil
	case types.DimensionRecordType:
		return "Usage", nil
	default:
		return "", errorf("ValidationException", "The dimension %s is not simulated", d)
	}
}

// meets reports whether a filter lets a line through.
func (l *billLine) meets(e *types.Expression) (bool, error) {
	switch {
	case e == nil:
		return true, nil
	case e.Not != nil:
		ok, err := l.meets(e.Not)
		return !ok, err
	case len(e.And) > 0:
		for i := range e.And {
			if ok, err := l.meets(&e.And[i]); err != nil || !ok {
				return false, err
			}
		}
		return true, nil
	case len(e.Or) > 0:
		for i := range e.Or {
			if ok, err := l.meets(&e.Or[i]); err != nil || ok {
				return ok, err
			}
		}
		return false, nil
	case e.Dimensions == nil:
		return false, errorf("ValidationException", "Filters by anything but dimensions are not simulated")
	}
	for _, o := range e.Dimensions.MatchOptions {
		if o != types.MatchOptionEquals && o != types.MatchOptionCaseSensitive {
			return false, errorf("ValidationException", "The match option %s is not simulated", o)
		}
	}
	value, err := l.dimension(e.Dimensions.Key)
	return slices.Contains(e.Dimensions.Values, value), err
}

// metric is a figure of a line. There are no discounts, so that all costs are the same.
func (l *billLine) metric(name string) (amount *big.Rat, unit string, ok bool) {
	switch name {
	case "UsageQuantity":
		return l.quantity, l.unit, true
	case "UnblendedCost", "NetUnblendedCost", "AmortizedCost", "NetAmortizedCost", "BlendedCost":
		return l.cost, ecrPricesOf(l.region).currency, true
	}
	return nil, "", false
}

// billPeriod is a month, or the part of one that was asked for.
type billPeriod struct {
	from, to time.Time
	length   time.Duration // of the whole month
}

const billDate = "2006-01-02"

// billPeriods cuts what was asked for into months.
func billPeriods(asked *types.DateInterval, now time.Time) ([]billPeriod, error) {
	if asked == nil {
		return nil, errorf("ValidationException", "TimePeriod is required")
	}
	from, err := time.Parse(billDate, aws.ToString(asked.Start))
	if err != nil {
		return nil, errorf("ValidationException", "Start time %s is invalid", aws.ToString(asked.Start))
	}
	end, err := time.Parse(billDate, aws.ToString(asked.End))
	if err != nil {
		return nil, errorf("ValidationException", "End time %s is invalid", aws.ToString(asked.End))
	}
	month := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	switch {
	case !from.Before(end):
		return nil, errorf("ValidationException", "Start date (and hour) should be before end date (and hour)")
	case end.After(month.AddDate(0, 1, 0)):
		return nil, errorf("ValidationException", "end date past the beginning of next month")
	case from.Before(month.AddDate(0, -14, 0)):
		return nil, errorf("ValidationException", "You haven't enabled historical data beyond 14 months")
	}
	var periods []billPeriod
	for from.Before(end) {
		first := time.Date(from.Year(), from.Month(), 1, 0, 0, 0, 0, time.UTC)
		next := first.AddDate(0, 1, 0)
		p := billPeriod{from: from, to: next, length: next.Sub(first)}
		if end.Before(next) {
			p.to = end
		}
		periods = append(periods, p)
		from = next
	}
	return periods, nil
}

// bill is what the organization used in a period up to now, by account, region, service and usage type.
//
// Storage follows from what repositories stored from moment to moment. Where an account stored anything in a region it
// also sent some of it out, and kept something in S3 whose usage type reads like that of ECR.
func (s *Server) bill(p billPeriod, now time.Time) []billLine {
	until := p.to
	if now.Before(until) {
		until = now
	}
	var lines []billLine
	for _, id := range sortedNames(s.accounts) {
		a := s.accounts[id]
		if a.member.parent == "" { // it pays for itself
			continue
		}
		a.mu.Lock()
		names := sortedNames(a.regions)
		a.mu.Unlock()
		for _, name := range names {
			stored := new(big.Int)
			for _, r := range s.regionOf(id, name).ecr.all() {
				stored.Add(stored, byteTime(r.history(), p.from.UnixNano(), until.UnixNano()))
			}
			if stored.Sign() == 0 {
				continue
			}
			prices := ecrPricesOf(name)
			add := func(service, usage, unit, price string, quantity *big.Rat) {
				each, _ := new(big.Rat).SetString(price)
				lines = append(lines, billLine{
					account: id, region: name, service: service, usageType: usageType(name, usage),
					unit: unit, quantity: quantity, cost: each.Mul(each, quantity),
				})
			}
			month := big.NewInt(int64(p.length))
			add(ecrServiceName, "TimedStorage-ByteHrs", "GB-Mo", prices.storage, new(big.Rat).SetFrac(stored, new(big.Int).Lsh(month, 30)))
			passed := new(big.Rat).SetFrac(big.NewInt(int64(until.Sub(p.from))), month)
			megabytes := 500 + int64(40_000*demoRandom(id+name, p.from.Year()*12+int(p.from.Month())))
			add(ecrServiceName, "DataTransfer-Out-Bytes", "GB", prices.transfer, new(big.Rat).Mul(passed, big.NewRat(megabytes, 1024)))
			add("Amazon Simple Storage Service", "TimedStorage-ByteHrs", "GB-Mo", "0.0230000000", new(big.Rat).Mul(passed, big.NewRat(100, 1)))
		}
	}
	return lines
}

const ecrServiceName = "Amazon EC2 Container Registry (ECR)"

// billGroup are the lines of a period that have the same keys; without keys and lines it stands for a period in which
// there is nothing.
type billGroup struct {
	period billPeriod
	keys   []string
	lines  []billLine
}

// getCostAndUsage answers by month. A page ends after billPage groups, wherever in a month that is.
//
// https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetCostAndUsage.html
func getCostAndUsage(c *Call, in *costexplorer.GetCostAndUsageInput) (*costexplorer.GetCostAndUsageOutput, error) {
	if err := c.asPayer(); err != nil {
		return nil, err
	}
	periods, err := billPeriods(in.TimePeriod, c.Now)
	switch {
	case err != nil:
		return nil, err
	case in.Granularity != types.GranularityMonthly:
		return nil, errorf("ValidationException", "The granularity %s is not simulated", in.Granularity)
	case len(in.GroupBy) > 2:
		return nil, errorf("ValidationException", "Group by cannot have more than 2 elements")
	case len(in.Metrics) == 0:
		return nil, errorf("ValidationException", "At least one metric is required")
	}
	for _, m := range in.Metrics {
		if _, _, ok := new(billLine).metric(m); !ok {
			return nil, errorf("ValidationException", "Invalid metric %s", m)
		}
	}
	var groups []billGroup
	for _, p := range periods {
		of, err := c.Server.billGroups(c, in, p)
		if err != nil {
			return nil, err
		}
		groups = append(groups, of...)
	}
	groups, next, err := page(groups, nil, billPage, billPage, in.NextPageToken)
	if err != nil {
		return nil, err
	}
	out := &costexplorer.GetCostAndUsageOutput{
		NextPageToken: next, GroupDefinitions: in.GroupBy, ResultsByTime: []types.ResultByTime{},
		DimensionValueAttributes: []types.DimensionValuesWithAttributes{},
	}
	described := make(map[string]bool)
	for _, g := range groups {
		start := g.period.from.Format(billDate)
		if n := len(out.ResultsByTime); n == 0 || *out.ResultsByTime[n-1].TimePeriod.Start != start {
			out.ResultsByTime = append(out.ResultsByTime, types.ResultByTime{
				Estimated: g.period.to.After(c.Now), Groups: []types.Group{}, Total: map[string]types.MetricValue{},
				TimePeriod: &types.DateInterval{Start: &start, End: new(g.period.to.Format(billDate))},
			})
		}
		r := &out.ResultsByTime[len(out.ResultsByTime)-1]
		switch {
		case len(in.GroupBy) == 0:
			r.Total = g.metrics(in.Metrics)
		case len(g.lines) > 0:
			r.Groups = append(r.Groups, types.Group{Keys: g.keys, Metrics: g.metrics(in.Metrics)})
		}
		for i, d := range in.GroupBy {
			if aws.ToString(d.Key) == string(types.DimensionLinkedAccount) && len(g.keys) > 0 && !described[g.keys[i]] {
				described[g.keys[i]] = true
				out.DimensionValueAttributes = append(out.DimensionValueAttributes, c.Server.accountValue(g.keys[i]))
			}
		}
	}
	return out, nil
}

// billGroups groups what the filter lets through of a period, in the order of the keys.
func (s *Server) billGroups(c *Call, in *costexplorer.GetCostAndUsageInput, p billPeriod) ([]billGroup, error) {
	groups := make(map[string]*billGroup)
	for _, l := range s.bill(p, c.Now) {
		if ok, err := l.meets(in.Filter); err != nil {
			return nil, err
		} else if !ok {
			continue
		}
		var keys []string
		for _, d := range in.GroupBy {
			if d.Type != types.GroupDefinitionTypeDimension {
				return nil, errorf("ValidationException", "Groups by %s are not simulated", d.Type)
			}
			key, err := l.dimension(types.Dimension(aws.ToString(d.Key)))
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		id := strings.Join(keys, "\x00")
		g := groups[id]
		if g == nil {
			g = &billGroup{period: p, keys: keys}
			groups[id] = g
		}
		g.lines = append(g.lines, l)
	}
	list := []billGroup{}
	for _, id := range sortedNames(groups) {
		list = append(list, *groups[id])
	}
	if len(list) == 0 {
		list = append(list, billGroup{period: p})
	}
	return list, nil
}

// metrics adds the lines of a group up. Quantities of different units are added all the same, as AWS does.
func (g *billGroup) metrics(names []string) map[string]types.MetricValue {
	out := make(map[string]types.MetricValue)
	for _, name := range names {
		sum, of := new(big.Rat), ""
		for i := range g.lines {
			amount, unit, _ := g.lines[i].metric(name)
			sum.Add(sum, amount)
			if of = cmp.Or(of, unit); of != unit {
				of = "N/A"
			}
		}
		out[name] = types.MetricValue{Amount: new(billAmount(sum)), Unit: new(cmp.Or(of, "N/A"))}
	}
	return out
}

// billAmount writes an amount as Cost Explorer does: up to ten decimals, and what is very small with an exponent.
func billAmount(r *big.Rat) string {
	text := strings.TrimRight(r.FloatString(10), "0")
	if text = strings.TrimSuffix(text, "."); !strings.HasPrefix(text, "0.000") {
		return text
	}
	digits := strings.TrimLeft(text[len("0."):], "0")
	exponent := len(text) - len("0.") - len(digits) + 1
	fraction := digits[1:]
	return digits[:1] + "." + cmp.Or(fraction, "0") + "E-" + strconv.Itoa(exponent)
}

// accountValue is an account with its name.
func (s *Server) accountValue(id string) types.DimensionValuesWithAttributes {
	v := types.DimensionValuesWithAttributes{Value: &id, Attributes: map[string]string{}}
	if a := s.accounts[id]; a != nil {
		v.Attributes["description"] = a.member.name
	}
	return v
}

// getDimensionValues lists what there is of a dimension.
//
// https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetDimensionValues.html
func getDimensionValues(c *Call, in *costexplorer.GetDimensionValuesInput) (*costexplorer.GetDimensionValuesOutput, error) {
	if err := c.asPayer(); err != nil {
		return nil, err
	}
	periods, err := billPeriods(in.TimePeriod, c.Now)
	if err != nil {
		return nil, err
	}
	found := make(map[string]bool)
	for _, p := range periods {
		for _, l := range c.Server.bill(p, c.Now) {
			value, err := l.dimension(in.Dimension)
			if err != nil {
				return nil, err
			}
			if ok, err := l.meets(in.Filter); err != nil {
				return nil, err
			} else if ok && strings.Contains(value, aws.ToString(in.SearchString)) {
				found[value] = true
			}
		}
	}
	values := []types.DimensionValuesWithAttributes{}
	for _, v := range sortedNames(found) {
		if in.Dimension == types.DimensionLinkedAccount {
			values = append(values, c.Server.accountValue(v))
			continue
		}
		values = append(values, types.DimensionValuesWithAttributes{Value: &v, Attributes: map[string]string{}})
	}
	total := int32(len(values))
	values, next, err := page(values, in.MaxResults, 1000, 1000, in.NextPageToken)
	return &costexplorer.GetDimensionValuesOutput{
		DimensionValues: values, NextPageToken: next, ReturnSize: new(int32(len(values))), TotalSize: &total,
	}, err
}
