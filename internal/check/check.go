// Package check asks AWS whether a scan would be allowed all that it needs: the roles, the regions, every permission of every
// source by the cheapest call, the clusters. What is missing is told with what to add.
//
// It only reads, and what it asks for mostly does not exist. It must never call anything that changes something, nor what
// a scan does not call; it is handed configurations with credentials, as a scan is.
package check

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/sync/errgroup"

	"demurrage/accounts"
	"demurrage/internal/image"
	"demurrage/internal/scan"
)

// Status is how a check went.
type Status string

const (
	OK          Status = "ok"
	Warning     Status = "warning" // a run goes on without it, and is complete
	Failed      Status = "failed"  // a run has a gap there, or cannot be made
	Attested    Status = "attested"
	Unavailable Status = "unavailable" // the service does not exist there
)

// Check is one thing that was looked at.
type Check struct {
	Account string `json:"account"` // "" where it concerns the run as a whole
	Region  string `json:"region"`  // "" where it knows no regions
	What    string `json:"what"`
	Status  Status `json:"status"`
	Error   string `json:"error"` // of AWS, as a rule; "" where all is well
	Fix     string `json:"fix"`   // what to do about it

	role   string // that lacks What, which is an action; "" elsewhere
	common string // Fix in general words, for a table in which many are alike; "": there are none
}

// Options are what is to be checked. All but Organization, Sweep, Attested and Covered are required.
type Options struct {
	Accounts    []accounts.Account
	Concurrency int // accounts, and then targets, at once

	Identity     string // ARN of whoever assumes the roles
	Hub          aws.Config
	Organization string // its id; "" where unknown

	Config    func(ctx context.Context, a accounts.Account, region string) (aws.Config, error) // the error is why it cannot be entered
	Principal func(a accounts.Account) string                                                  // ARN of the role it is entered by; "" for Identity itself
	Sweep     func(ctx context.Context, a accounts.Account) error                              // assumes the role that deletes

	Attested func(account, region, source string) bool // a person vouches for it
	Covered  func(account, region, cluster string) (origin string, ok bool)
}

// checker is a check of many accounts.
type checker struct {
	Options
	mu     sync.Mutex
	checks []Check
}

func (c *checker) add(checks ...Check) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.checks = append(c.checks, checks...)
}

// Run checks accounts side by side. Refused says that none of them can be entered. An error is that of ctx alone.
func Run(ctx context.Context, o Options) (checks []Check, refused bool, err error) {
	if o.Attested == nil {
		o.Attested = func(string, string, string) bool { return false }
	}
	c := &checker{Options: o}
	var mu sync.Mutex
	var targets []scan.Target
	configs := map[string]accounts.Account{}
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(max(o.Concurrency, 1))
	for _, a := range o.Accounts {
		g.Go(func() error {
			found := c.account(groupCtx, a)
			mu.Lock()
			defer mu.Unlock()
			configs[a.ID] = a
			targets = append(targets, found...)
			return context.Cause(groupCtx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	slices.SortFunc(targets, func(a, b scan.Target) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
	g, groupCtx = errgroup.WithContext(ctx)
	g.SetLimit(max(o.Concurrency, 1))
	for _, t := range targets {
		g.Go(func() error {
			c.target(groupCtx, configs[t.Account], t)
			return context.Cause(groupCtx)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	c.statements()
	slices.SortFunc(c.checks, Compare)
	return c.checks, len(o.Accounts) > 0 && len(targets) == 0, nil
}

// Compare orders checks: by account, region and what was looked at.
func Compare(a, b Check) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.What, b.What),
		cmp.Compare(a.Status, b.Status), cmp.Compare(a.Error, b.Error), cmp.Compare(a.Fix, b.Fix))
}

// account enters an account and finds out its regions. It gives the targets there are, none if it cannot be entered.
func (c *checker) account(ctx context.Context, a accounts.Account) []scan.Target {
	role := Check{Account: a.ID, What: "role " + cmp.Or(c.Principal(a), "(the hub's own credentials)"), Status: OK}
	cfg, err := c.Config(ctx, a, c.Hub.Region)
	if err == nil {
		err = c.inside(ctx, cfg, a)
	}
	c.sweepRole(ctx, a)
	if err != nil {
		role.Status, role.Error, role.Fix = Failed, scan.Reason(err), c.entrance(a, "read", c.Principal(a), err)
		if c.Attested(a.ID, "*", "*") {
			role.Status, role.Fix = Attested, ""
		}
		c.add(role)
		return nil
	}
	c.add(role)
	return c.regions(ctx, a, cfg)
}

// inside makes sure that a session is where it is meant to be.
func (c *checker) inside(ctx context.Context, cfg aws.Config, a accounts.Account) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return err
	}
	if id := aws.ToString(out.Account); id != a.ID {
		return fmt.Errorf("the session is in account %s", id)
	}
	who, err := arn.Parse(aws.ToString(out.Arn))
	if err != nil {
		return fmt.Errorf("STS answers that the session is %q", aws.ToString(out.Arn))
	}
	for _, region := range a.Regions {
		if p := image.PartitionOf(region).ID; p != who.Partition {
			return fmt.Errorf("the session is in partition %s, and region %s of the configuration in %s: each partition needs a hub and a configuration of its own", who.Partition, region, p)
		}
	}
	return nil
}

// sweepRole looks whether an account that is deleted from lets the role in that deletes.
func (c *checker) sweepRole(ctx context.Context, a accounts.Account) {
	if !a.Enforce || c.Sweep == nil {
		return
	}
	role := strings.Replace(a.SweepRole, "{partition}", image.PartitionOf(c.Hub.Region).ID, 1)
	check := Check{Account: a.ID, What: "role " + cmp.Or(role, "to delete with"), Status: OK}
	if err := c.Sweep(ctx, a); err != nil {
		check.Status, check.Error, check.Fix = Failed, scan.Reason(err), c.entrance(a, "sweep", role, err)
		if a.SweepRole == "" {
			check.Fix = "set sweep_role under [assume] or in the account's [[accounts]] entry, or enforce = false"
		}
	}
	c.add(check)
}

// entrance is what to do where a role cannot be assumed. AWS does not tell why.
func (c *checker) entrance(a accounts.Account, kind, role string, err error) string {
	if role == "" || !denied(err) {
		return ""
	}
	condition := map[string]string{}
	asks := "asks for an external id (the configuration has none)"
	if a.ExternalID != "" {
		condition["sts:ExternalId"], asks = a.ExternalID, "asks for another external id"
	}
	if c.Organization != "" {
		condition["aws:PrincipalOrgID"] = c.Organization
	}
	trust := statement{Effect: "Allow", Principal: map[string]string{"AWS": Role(c.Identity)}, Action: []string{"sts:AssumeRole"}}
	if len(condition) > 0 {
		trust.Condition = map[string]map[string]string{"StringEquals": condition}
	}
	return "AWS does not tell whether the role is missing, does not trust the hub or " + asks + ". Make it (demurrage permissions --role " + kind +
		" --format cloudformation), with this statement in its trust policy: " + trust.String() +
		" and this one in the policy of " + Role(c.Identity) + ": " + statement{Effect: "Allow", Action: []string{"sts:AssumeRole"}, Resource: role}.String()
}

// Role is the ARN of the role that a session is of, as trust policies name it; other ARNs are themselves. The path of a
// role is not in its sessions' ARNs.
func Role(identity string) string {
	a, err := arn.Parse(identity)
	name, ok := strings.CutPrefix(a.Resource, "assumed-role/")
	if err != nil || a.Service != "sts" || !ok {
		return identity
	}
	name, _, _ = strings.Cut(name, "/")
	a.Service, a.Resource = "iam", "role/"+name
	return a.String()
}

// statement is one of an IAM policy.
type statement struct {
	Effect    string
	Principal map[string]string `json:",omitempty"`
	Action    []string
	Resource  string                       `json:",omitempty"`
	Condition map[string]map[string]string `json:",omitempty"`
}

func (s statement) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings alone
	}
	return string(text)
}

// Allow is the statement that allows actions, sorted.
func Allow(actions ...string) string {
	return statement{Effect: "Allow", Action: slices.Compact(slices.Sorted(slices.Values(actions))), Resource: "*"}.String()
}

// regions gives the targets of an account. Of the two actions that tell its regions one is enough.
func (c *checker) regions(ctx context.Context, a accounts.Account, cfg aws.Config) []scan.Target {
	cfg.Region = c.Hub.Region
	actions := []string{"account:ListRegions", "ec2:DescribeRegions"}
	errs := make([]error, len(actions))
	var wg sync.WaitGroup
	for i, action := range actions {
		wg.Go(func() { errs[i] = probes[action].run(ctx, cfg, scan.Target{Account: a.ID, Region: cfg.Region}) })
	}
	wg.Wait()
	var own account.ListRegionsAPIClient
	var compute accounts.DescribeRegionsAPI
	if errs[0] == nil {
		own = account.NewFromConfig(cfg)
	}
	if errs[1] == nil {
		compute = ec2.NewFromConfig(cfg)
	}
	enabled, err := accounts.EnabledRegions(ctx, own, compute, account.NewFromConfig(c.Hub), a.ID)
	for i, action := range actions {
		check := Check{Account: a.ID, What: action, Status: OK}
		if errs[i] != nil {
			check = c.refusal(check, a, "regions", errs[i])
			if err == nil {
				check.Status = Warning
			} else if c.Attested(a.ID, "*", "regions") {
				check.Status = Attested
			}
		}
		c.add(check)
	}
	planned, uses, unavailable := accounts.Targets(a, enabled)
	for _, t := range unavailable {
		c.add(Check{Account: a.ID, Region: t.Region, What: "region", Status: Warning, Error: "the region is not enabled in the account",
			Fix: "nothing can be there; if it should be, aws account enable-region --region-name " + t.Region + ", otherwise leave it out of regions"})
	}
	var targets []scan.Target
	for i, t := range uses {
		p := slices.Contains(planned, t)
		if p {
			c.add(Check{Account: a.ID, Region: t.Region, What: "region", Status: OK})
		}
		targets = append(targets, scan.Target{Account: t.Account, Region: t.Region, Planned: p, Home: i == 0})
	}
	return targets
}

// lenient are the actions without which a scan has no gap.
var lenient = map[string]string{
	"ecr:GetAccountSetting":  "savings are shown rather too small without it",
	"ecr:GetLifecyclePolicy": "whether repositories have lifecycle policies is not known without it",
}

// target asks for every permission of every source in a target, side by side, each at the pace of its API.
func (c *checker) target(ctx context.Context, a accounts.Account, t scan.Target) {
	cfg, err := c.Config(ctx, a, t.Region)
	if err != nil { // it could be a moment ago
		c.add(Check{Account: t.Account, Region: t.Region, What: "role " + c.Principal(a), Status: Failed, Error: scan.Reason(err)})
		return
	}
	cfg = cfg.Copy()
	cfg.Region = t.Region
	needed := map[string][]string{} // by action: the sources that need it
	limited := map[string]aws.Config{}
	for _, n := range scan.Needs(t) {
		limited[n.Source] = scan.Limited(cfg, n.Source)
		for _, action := range n.Actions {
			needed[action] = append(needed[action], n.Source)
		}
	}
	var wg sync.WaitGroup
	for action, sources := range needed {
		wg.Go(func() {
			err := probes[action].run(ctx, limited[sources[0]], t)
			if ctx.Err() != nil {
				return
			}
			check := Check{Account: t.Account, Region: t.Region, What: action, Status: OK}
			switch {
			case judge(err) == permitted:
			case scan.Absent(sources[0], t.Region, err):
				check.Status, check.Error = Unavailable, "the service has no endpoint in the region"
			default:
				check = c.refusal(check, a, strings.Join(sources, ", "), err)
				if why := lenient[action]; why != "" {
					check.Status, check.Error = Warning, check.Error+" ("+why+")"
				} else if !slices.ContainsFunc(sources, func(s string) bool { return s == image.SourceECR || !c.Attested(t.Account, t.Region, s) }) {
					check.Status = Attested
				}
			}
			c.add(check)
			switch {
			case check.Status != OK:
			case action == "eks:ListClusters":
				c.clusters(ctx, cfg, a, t)
			case action == "ecr:ListPullTimeUpdateExclusions":
				c.exclusion(ctx, limited[sources[0]], a, t)
			}
		})
	}
	wg.Wait()
}

// refusal fills in what to do about an action that is not permitted, or of which that is not known.
func (c *checker) refusal(check Check, a accounts.Account, source string, err error) Check {
	check.Status, check.Error = Failed, scan.Reason(err)
	if judge(err) != refused {
		check.Fix = "check again; whether the call is permitted is not known: a scan fails where the service does. " +
			"If the service is not to be had there, and nothing there uses images, an [[attestations]] entry says so"
		return check
	}
	text := strings.ToLower(check.Error)
	if strings.Contains(text, "service control policy") || strings.Contains(text, "resource control policy") {
		check.Fix = "a policy of the organization denies it, which no policy of the role can change: have it changed, or, if nothing there uses images, write an [[attestations]] entry: " +
			fmt.Sprintf("accounts = [%q]", check.Account)
		if check.Region != "" {
			check.Fix += fmt.Sprintf(", regions = [%q]", check.Region)
		}
		for i, s := range strings.Split(source, ", ") {
			check.Fix += []string{", sources = [", ", "}[min(i, 1)] + fmt.Sprintf("%q", s)
		}
		check.Fix += `], reason = "…", expires = "YYYY-MM-DD"`
		return check
	}
	check.role = cmp.Or(c.Principal(a), Role(c.Identity))
	return check
}

// statements gives every role one statement with all that it lacks.
func (c *checker) statements() {
	missing := map[string][]string{}
	for _, check := range c.checks {
		if check.role != "" {
			missing[check.role] = append(missing[check.role], check.What)
		}
	}
	for i := range c.checks {
		check := &c.checks[i]
		if check.role == "" {
			continue
		}
		check.Fix = "add to the policy of " + check.role + ": " + Allow(missing[check.role]...)
		text := strings.ToLower(check.Error)
		for _, policy := range []string{"permissions boundary", "session policy"} {
			if strings.Contains(text, policy) {
				check.Fix = "allow it in the " + policy + " too. Also: " + check.Fix
			}
		}
		if strings.Contains(text, "explicit deny") {
			check.Fix = "take away the Deny. Also: " + check.Fix
		}
	}
}

// clusters looks at the Kubernetes API of every cluster.
func (c *checker) clusters(ctx context.Context, cfg aws.Config, a accounts.Account, t scan.Target) {
	clusters, err := scan.CheckClusters(ctx, scan.Options{
		OwnPrincipal: func(string) string { return cmp.Or(c.Principal(a), Role(c.Identity)) }, Covered: c.Covered,
	}, t, cfg)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		c.add(Check{Account: t.Account, Region: t.Region, What: "EKS clusters", Status: Failed, Error: scan.Reason(err), Fix: "check again"})
	}
	for _, cluster := range clusters {
		check := Check{Account: t.Account, Region: t.Region, What: "EKS cluster " + cluster.Name, Status: OK}
		for _, e := range cluster.Errors {
			failed := check
			failed.Status, failed.Error, failed.Fix = Failed, e.Op+": "+e.Err, e.Fix
			switch {
			case cluster.Origin != "":
				failed.Status, failed.Error = Warning, failed.Error+" (the uses of "+cluster.Origin+" stand in)"
			case c.Attested(t.Account, t.Region, "eks"):
				failed.Status = Attested
			}
			c.add(failed)
		}
		if len(cluster.Errors) == 0 {
			c.add(check)
		}
	}
}

// exclusion looks whether our own reading of manifests leaves pull times alone.
func (c *checker) exclusion(ctx context.Context, cfg aws.Config, a accounts.Account, t scan.Target) {
	role := c.Principal(a)
	if role == "" {
		return
	}
	check := Check{Account: t.Account, Region: t.Region, What: "pull-time exclusion", Status: OK}
	api, in, found := ecr.NewFromConfig(cfg), &ecr.ListPullTimeUpdateExclusionsInput{MaxResults: aws.Int32(100)}, false
	for {
		out, err := api.ListPullTimeUpdateExclusions(ctx, in)
		if err != nil {
			check.Status, check.Error = Warning, scan.Reason(err)
			c.add(check)
			return
		}
		found = found || slices.Contains(out.PullTimeUpdateExclusions, role)
		if in.NextToken = out.NextToken; found || aws.ToString(in.NextToken) == "" {
			break
		}
	}
	if !found {
		check.Status, check.Error = Warning, "reading a manifest counts as a pull of its image, since the role is not registered as an exclusion"
		const register = "once for each registry: aws ecr register-pull-time-update-exclusion --region "
		check.Fix, check.common = register+t.Region+" --principal-arn "+role, register+"REGION --principal-arn "+strings.Replace(role, ":"+t.Account+":", ":ACCOUNT:", 1)
	}
	c.add(check)
}
