package report

import (
	"time"

	"demurrage/internal/cost"
)

// jsonCost are the month's figures: bytes, and millionths of the currency. What is not known is null, which is not zero.
type jsonCost struct {
	Month       string    `json:"month"`
	Currency    string    `json:"currency"`
	BilledMonth string    `json:"billed_month,omitempty"`
	Metric      string    `json:"metric,omitempty"`
	Provisional bool      `json:"provisional"`
	Rate        *jsonRate `json:"exchange_rate,omitempty"` // that amounts were converted by
	jsonCostSums
}

type jsonRate struct {
	Currency string `json:"currency"` // that it is of: the price list's
	Rate     string `json:"rate"`     // what one unit of it is in the currency of the amounts, in decimals
	Date     string `json:"date,omitempty"`
	Source   string `json:"source,omitempty"`
}

func (run *Run) jsonRate() *jsonRate {
	p := &run.Prices
	if !p.Converted() {
		return nil
	}
	return &jsonRate{Currency: p.Listed, Rate: p.Rate.String(), Date: date(run.Finance.RateDate), Source: run.Finance.RateSource}
}

type jsonCostSums struct {
	Repositories   int         `json:"repositories"`
	Images         int         `json:"images"`
	ImageBytes     int64       `json:"image_bytes"`
	UniqueBytes    int64       `json:"unique_bytes"`
	EstimatedBytes int64       `json:"estimated_bytes"` // of unique: where only the sum of sizes is known
	Billed         *cost.Money `json:"billed_micros"`
	List           *cost.Money `json:"list_micros"`
	FreedBytes     *int64      `json:"freed_bytes"`
	SavingLow      *cost.Money `json:"saving_low_micros"`
	SavingHigh     *cost.Money `json:"saving_high_micros"`
}

type jsonCostAccount struct {
	Account    string `json:"account"`
	Name       string `json:"name,omitempty"`
	Owner      string `json:"owner,omitempty"`
	CostCenter string `json:"cost_center,omitempty"`
	jsonCostSums
}

type jsonCostRow struct {
	Account    string     `json:"account"`
	Region     string     `json:"region"`
	Repository string     `json:"repository,omitempty"`
	Beyond     string     `json:"beyond,omitempty"` // what is billed and is no repository
	Owner      string     `json:"owner,omitempty"`
	CostCenter string     `json:"cost_center,omitempty"`
	Exact      bool       `json:"exact"` // its layers are known
	LastPush   *time.Time `json:"last_push,omitempty"`
	LastPull   *time.Time `json:"last_pull,omitempty"`
	jsonCostSums
}

func known[T any](v T, ok bool) *T {
	if !ok {
		return nil
	}
	return &v
}

func (s *costSums) json(v *costView) jsonCostSums {
	return jsonCostSums{
		Repositories: s.repositories, Images: s.images, ImageBytes: s.sum, UniqueBytes: s.unique, EstimatedBytes: s.estimated,
		Billed: known(s.billed, v.billed), List: known(s.list, s.isPriced()), FreedBytes: known(s.freed, s.hasFreed()),
		SavingLow: known(s.low, s.hasLow()), SavingHigh: known(s.high, s.isPriced()),
	}
}

// costs writes the figures of the month, of its accounts and of its repositories, which add up to each other.
func (j *jsonWriter) costs(run *Run, v *costView) {
	j.field("cost", jsonCost{Month: v.month, Currency: v.currency, BilledMonth: v.billMonth, Metric: v.metric, Provisional: v.provisional, Rate: run.jsonRate(), jsonCostSums: v.total.json(v)})
	j.list("cost_accounts")
	for i := range v.accounts {
		a := &v.accounts[i]
		j.entry(jsonCostAccount{a.ID, a.Name, a.owner.name, a.costCenter.name, a.sums.json(v)})
	}
	j.endList()
	j.list("cost_repositories")
	for i := range v.rows {
		r := &v.rows[i]
		j.entry(jsonCostRow{r.Account, r.Region, r.Name, r.beyond, r.owner, r.costCenter, r.exact,
			known(r.lastPush, !r.lastPush.IsZero()), known(r.lastPull, !r.lastPull.IsZero()), r.json(v)})
	}
	j.endList()
}
