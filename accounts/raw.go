package accounts

// The TOML file as it is written. Nothing outside of this package sees these; whether a key was given at all is
// asked of the document.

type rawConfig struct {
	Assume           rawAssume            `toml:"assume"`
	Organization     rawOrganization      `toml:"organization"`
	Scan             rawScan              `toml:"scan"`
	Accounts         []rawAccount         `toml:"accounts"`
	Attestations     []rawAttestation     `toml:"attestations"`
	Uses             rawUses              `toml:"uses"`
	ExternalCommands []rawExternalCommand `toml:"external_commands"`
	TaskDefinitions  []rawGenerations     `toml:"task_definitions"`
	LambdaFunctions  []rawGenerations     `toml:"lambda_functions"`
	Repositories     []rawRepository      `toml:"repositories"`
	Store            rawStore             `toml:"store"`
	Safety           rawSafety            `toml:"safety"`
	Billing          rawBilling           `toml:"billing"`
	Report           rawReport            `toml:"report"`
}

// rawID is an account id, or a pattern of account ids: a type of its own for the sake of ids written as numbers.
type rawID string

type rawAssume struct {
	Role        string `toml:"role"`
	SweepRole   string `toml:"sweep_role"`
	ExternalID  string `toml:"external_id"`
	SessionName string `toml:"session_name"`
	Duration    string `toml:"duration"`
	HubRole     string `toml:"hub_role"`
}

type rawOrganization struct {
	Discover        bool     `toml:"discover"`
	IncludeOUs      []string `toml:"include_ous"`
	ExcludeAccounts []rawID  `toml:"exclude_accounts"`
}

type rawScan struct {
	Regions     []string `toml:"regions"`
	Concurrency int64    `toml:"concurrency"`
}

type rawAccount struct {
	ID         rawID             `toml:"id"`
	Name       string            `toml:"name"`
	Owner      string            `toml:"owner"`
	CostCenter string            `toml:"cost_center"`
	Tags       map[string]string `toml:"tags"`
	Enforce    bool              `toml:"enforce"`
	Role       string            `toml:"role"`
	SweepRole  string            `toml:"sweep_role"`
	ExternalID string            `toml:"external_id"`
	Regions    []string          `toml:"regions"`
}

type rawAttestation struct {
	Accounts []rawID  `toml:"accounts"`
	Regions  []string `toml:"regions"`
	Sources  []string `toml:"sources"`
	Reason   string   `toml:"reason"`
	Expires  any      `toml:"expires"` // a string or a TOML date
}

type rawUses struct {
	MaxAge string `toml:"max_age"`
}

type rawExternalCommand struct {
	Name    string   `toml:"name"`
	Command []string `toml:"command"`
	Timeout string   `toml:"timeout"`
}

type rawGenerations struct {
	Name        string `toml:"name"`
	NamePattern string `toml:"name_pattern"`
	KeepCount   int64  `toml:"keep_count"`
}

type rawRepository struct {
	Name             string   `toml:"name"`
	NamePattern      string   `toml:"name_pattern"`
	Accounts         []rawID  `toml:"accounts"`
	Expires          string   `toml:"expires"`
	ExpiresFrom      string   `toml:"expires_from"`
	KeepCount        int64    `toml:"keep_count"`
	KeepTagPatterns  []string `toml:"keep_tag_patterns"`
	KeepPulledWithin string   `toml:"keep_pulled_within"`
	UntaggedExpires  string   `toml:"untagged_expires"`
	AllowEmpty       bool     `toml:"allow_empty"`
}

type rawStore struct {
	URL string `toml:"url"`
}

type rawSafety struct {
	MinAge           string `toml:"min_age"`
	MaxPlanAge       string `toml:"max_plan_age"`
	ConfirmAfter     string `toml:"confirm_after"`
	MaxDeletePercent int64  `toml:"max_delete_percent"`
	MaxDeleteImages  int64  `toml:"max_delete_images"`
	MaxDeleteBytes   any    `toml:"max_delete_bytes"` // a number or a string
	MaxFailures      int64  `toml:"max_failures"`
}

type rawBilling struct {
	CostExplorer bool              `toml:"cost_explorer"`
	Role         string            `toml:"role"`
	Metric       string            `toml:"metric"`
	PriceList    bool              `toml:"price_list"`
	Prices       map[string]string `toml:"prices"`
}

type rawReport struct {
	Layers             string   `toml:"layers"`
	Currency           string   `toml:"currency"`
	ExchangeRate       string   `toml:"exchange_rate"`
	ExchangeRateDate   any      `toml:"exchange_rate_date"` // a string or a TOML date
	ExchangeRateSource string   `toml:"exchange_rate_source"`
	FiscalYearStart    int64    `toml:"fiscal_year_start"`
	OwnerTags          []string `toml:"owner_tags"`
	CostCenterTags     []string `toml:"cost_center_tags"`
}
