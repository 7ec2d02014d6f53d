package accounts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"demurrage/internal/image"
	"demurrage/planner"
)

// Config is a valid configuration.
type Config struct {
	Assume       Assume
	Organization Organization
	Accounts     []Account // of the [[accounts]] entries, completed by the defaults; by id
	Concurrency  int       // targets in flight at once, at least 1
	Store        string    // a directory, or s3://bucket/prefix
	Safety       Safety
	Billing      Billing
	Report       Report
	SHA256       string // of the file's bytes, in hex

	MaxUseAge        time.Duration // of an imported list of uses: an older one is a gap
	ExternalCommands []ExternalCommand

	scanRegions     []string // nil: all
	rules           planner.Rules
	taskDefinitions []generations
	lambdaFunctions []generations
}

// Assume is how roles are assumed. The roles of accounts, and their external ids, are found in each Account.
type Assume struct {
	Role, SweepRole Role
	HubRole         string // as ParseRole takes it; "" for none
	ExternalID      string
	SessionName     string
	Duration        time.Duration // of a session: 15 minutes to 12 hours
}

// Organization is which accounts AWS Organizations is asked for.
type Organization struct {
	Discover        bool
	IncludeOUs      []string // empty: the whole organization
	ExcludeAccounts []string
}

// Safety holds the brakes of delete. The minimum age, which changes decisions, is part of the rules.
type Safety struct {
	MaxPlanAge       time.Duration // of a saved plan: an older one is refused
	ConfirmAfter     time.Duration // an earlier run, this much older or more, must have found the same deletable; 0: off
	MaxDeletePercent int           // 0 to 100
	MaxDeleteImages  int           // 0: no limit
	MaxDeleteBytes   int64         // 0: no limit
	MaxFailures      int           // failed calls in a row after which the rest of an account is left alone, at least 1
}

// Billing is where prices and bills come from.
type Billing struct {
	CostExplorer bool   // ask it for the bill
	Role         string // ARN of the role to ask the payer with; "": the hub's own identity
	Metric       string // of Cost Explorer
	PriceList    bool   // ask AWS for prices
	// Prices are the company's own, in millionths of the price list's currency for a GB (2^30 bytes) and month, by region.
	Prices map[string]int64
}

// Report is how the cost report is to look.
type Report struct {
	Layers         string // exact, estimate or off; "auto": exact where our reading leaves no pull times, otherwise estimate
	Currency       string // that amounts are shown in, ISO 4217; "": the price list's
	ExchangeRate   int64  // millionths of Currency for one of the price list's currency
	RateDate       time.Time
	RateSource     string
	FiscalStart    time.Month
	OwnerTags      []string // keys of resource tags, the first that is there counts
	CostCenterTags []string
}

// ExternalCommand is a program that prints a list of uses.
type ExternalCommand struct {
	Name    string
	Command []string // the program and its arguments; no shell is asked
	Timeout time.Duration
}

// All as a number of generations to keep means every one of them.
const All = -1

// The defaults of accounts.toml.
const (
	defaultSessionName     = "demurrage"
	defaultDuration        = time.Hour
	defaultConcurrency     = 32
	defaultTaskDefinitions = 5
	defaultStore           = "demurrage-data"
	defaultMinAge          = day
	defaultMaxPlanAge      = 7 * day
	defaultMaxFailures     = 5
	defaultMaxUseAge       = 7 * day
	defaultTimeout         = time.Minute
)

// generations is how many generations of what a pattern matches are kept for a rollback.
type generations struct {
	name image.Pattern
	keep int
}

// Load reads and validates the configuration at path. See Parse for what is wrong with a configuration.
func Load(path string) (*Config, error) {
	data, err := readFile(path)
	switch {
	case errors.Is(err, syscall.EISDIR):
		return nil, fmt.Errorf("read the configuration: %w: name the file in it, as in %s", err, filepath.Join(path, "accounts.toml"))
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("read the configuration: %w: let whoever runs this read it", err)
	case err != nil:
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return Parse(path, data)
}

// readFile reads a file that is no larger than any configuration: /dev/zero, say, has no end.
func readFile(path string) ([]byte, error) {
	const most = 64 << 20 // ten thousand accounts with what generate says of each have a quarter of it
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("%s has more than %d MiB: name the configuration of demurrage", path, most>>20)
	}
	return data, err
}

// Parse validates a configuration; name is what errors call it. The error joins a *KeyError for every problem, in the
// order of the file, up to 50 of them; what is not TOML at all has one alone.
func Parse(name string, data []byte) (*Config, error) {
	var raw rawConfig
	d, err := readDocument(name, data, &raw)
	if err != nil {
		return nil, err
	}
	c := d.config(&raw)
	if err := d.err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	c.SHA256 = hex.EncodeToString(sum[:])
	return c, nil
}

// Rules is what the planner has to know of the configuration.
func (c *Config) Rules() planner.Rules {
	r := c.rules
	r.Repositories, r.Attestations = slices.Clone(r.Repositories), slices.Clone(r.Attestations)
	return r
}

// FirstRegion is a region that the configuration names, "" where it names none: where the environment names no region,
// it tells the partition.
func (c *Config) FirstRegion() string {
	for _, a := range c.Accounts {
		if len(a.Regions) > 0 {
			return a.Regions[0]
		}
	}
	if len(c.scanRegions) > 0 {
		return c.scanRegions[0]
	}
	return ""
}

// KeepTaskDefinitions is how many of the newest revisions of a task definition family count as used, since a rollback
// may need them: what the first matching rule says, or 5.
func (c *Config) KeepTaskDefinitions(family string) int {
	return keep(c.taskDefinitions, family, defaultTaskDefinitions)
}

// KeepLambdaVersions is how many of the newest published versions of a function count as used: what the first
// matching rule says, or All.
func (c *Config) KeepLambdaVersions(function string) int {
	return keep(c.lambdaFunctions, function, All)
}

// Generations writes down which generations count as used. Uses that were collected by other rules than these cannot
// be planned with these.
func (c *Config) Generations() string {
	var b strings.Builder
	for i, rules := range [][]generations{c.taskDefinitions, c.lambdaFunctions} {
		b.WriteString([]string{"task definitions", "; functions"}[i])
		for _, r := range rules {
			fmt.Fprintf(&b, " %s=%d", r.name, r.keep)
		}
	}
	return b.String()
}

func keep(rules []generations, name string, otherwise int) int {
	for _, r := range rules {
		if r.name.Match(name) {
			return r.keep
		}
	}
	return otherwise
}

// account is an account of which only the organization knows.
func (c *Config) account(id string) Account {
	a := Account{ID: id, ExternalID: c.Assume.ExternalID, Regions: slices.Clone(c.scanRegions)}
	c.assumed(&a)
	return a
}

// assumed gives an account the default roles where it has none of its own.
func (c *Config) assumed(a *Account) {
	partition := partitionOf(a.Regions)
	a.Role = cmp.Or(a.Role, c.Assume.Role.ARN(partition, a.ID))
	a.SweepRole = cmp.Or(a.SweepRole, c.Assume.SweepRole.ARN(partition, a.ID))
}

// partitionOf is the partition of regions that all lie in one, "" where there are none to tell by.
func partitionOf(regions []string) string {
	if len(regions) == 0 {
		return ""
	}
	return image.PartitionOf(regions[0]).ID
}
