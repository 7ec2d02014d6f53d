package cost

import "time"

// Bill is what AWS has billed for ECR, by month, account, region and usage type. It knows no repositories.
//
// https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_GetCostAndUsage.html
type Bill struct {
	Metric   string     `json:"metric"`   // of Cost Explorer: UnblendedCost, NetUnblendedCost, AmortizedCost
	Currency string     `json:"currency"` // ISO 4217
	AsOf     time.Time  `json:"as_of"`
	Lines    []BillLine `json:"lines"` // by month, account, region, usage type
}

// BillLine is one line of a bill.
type BillLine struct {
	Month       string `json:"month"` // 2026-10
	Account     string `json:"account"`
	Region      string `json:"region"` // "" where the usage type tells none that is known
	UsageType   string `json:"usage_type"`
	Storage     bool   `json:"storage"` // timed storage; otherwise transfer and others
	Amount      Money  `json:"amount"`
	Quantity    int64  `json:"quantity"`              // of storage, in bytes kept for a whole month
	Provisional bool   `json:"provisional,omitempty"` // AWS still estimates the month
}

// Month is the month of a time, as a bill names it: "2026-10".
func Month(t time.Time) string { return t.UTC().Format("2006-01") }
