package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/urfave/cli/v2"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/billing"
	"demurrage/internal/check"
	"demurrage/internal/image"
	"demurrage/internal/scan"
	"demurrage/internal/store"
	"demurrage/planner"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "checks the configuration, the roles, the regions and every permission that a run needs, and says what to add",
		Description: `It changes nothing in AWS: lists are asked for one entry, everything else for what does not exist. Into the store it
writes one object, which it deletes again. Where Cost Explorer is configured it asks it once, which AWS charges 0.01 USD for.

Exit codes: 0 nothing that a run needs is missing · 2 something is missing in some account or region, or an account is closed
and nobody attests that it uses nothing · 1 no run can be made: no credentials, no store, or no account lets demurrage in.

  demurrage check
  demurrage check --account 111111111111
  demurrage check --format json | jq '.checks[] | select(.status == "failed")'`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Value: "table", Usage: "table or json, to stdout"},
			&cli.StringSliceFlag{Name: "account", Usage: "look at the account `ID` alone (can be repeated)"},
			&cli.BoolFlag{Name: "accept-incomplete", Usage: "exit 0 although something is missing somewhere"},
		},
		Action: func(c *cli.Context) error {
			format := c.String("format")
			if format != "table" && format != "json" {
				return fmt.Errorf("--format: %q is neither table nor json", format)
			}
			for _, id := range c.StringSlice("account") {
				if !image.ValidAccount(id) {
					return fmt.Errorf("--account: %q is not an account id (12 digits)", id)
				}
			}
			config, err := load(c)
			if err != nil {
				return err
			}
			s, err := newSession(c, config)
			if err != nil {
				return err
			}
			k := &checking{session: s, only: c.StringSlice("account")}
			phase := s.screen.phase("checking", 0, "", nil, nil)
			fatal := k.run(c.Context)
			phase.end()
			if k.store != nil {
				s.close()
			}
			if err := c.Err(); err != nil {
				return err
			}
			slices.SortFunc(k.checks, check.Compare)
			if err := k.write(format); err != nil {
				return err
			}
			switch failed := check.Summarize(k.checks).Failed; {
			case fatal != nil:
				return fatal
			case failed > 0 && !c.Bool("accept-incomplete"):
				return &exitError{exitIncomplete, fmt.Sprintf("failed checks: %d; a run would be incomplete", failed)}
			}
			return nil
		},
	}
}

// checking is a check under way.
type checking struct {
	*session
	only   []string // accounts; empty: all
	checks []check.Check
}

func (k *checking) write(format string) error {
	if format == "json" {
		return check.JSON(k.stdout, k.checks)
	}
	width, _ := terminal(k.stdout)
	var b bytes.Buffer
	if err := check.Table(&b, k.checks, width); err != nil {
		return err
	}
	_, err := k.stdout.Write(b.Bytes())
	return err
}

// add notes how a check went that concerns the run as a whole.
func (k *checking) add(what string, err error, otherwise check.Status, fix string) {
	c := check.Check{What: what, Status: check.OK}
	if err != nil {
		c.Status, c.Error, c.Fix = otherwise, scan.Reason(err), fix
	}
	k.checks = append(k.checks, c)
}

// run makes the checks. An error says that no run can be made.
func (k *checking) run(ctx context.Context) error {
	k.add("configuration "+sharedString(k.c, "config"), nil, check.OK, "")
	k.ended()
	p, err := k.provider()
	if err != nil {
		k.add("hub identity", err, check.Failed, hintOf(err))
	} else {
		k.add("hub identity "+p.Identity().ARN, nil, check.OK, "")
	}
	fatal := err
	if fatal == nil || !strings.HasPrefix(k.config.Store, "s3://") {
		stored := k.openStore()
		if stored == nil {
			stored = k.store.Check(ctx)
		}
		k.add("store "+k.config.Store, stored, check.Failed, cmp.Or(hintOf(stored), "see what the error says of url under [store]"))
		if stored != nil {
			fatal = cmp.Or(fatal, fmt.Errorf("the store cannot be used: %w", stored))
		}
	}
	if p == nil || ctx.Err() != nil {
		return fatal
	}
	k.money(ctx, p)
	roster, err := k.organization(ctx, p)
	if err != nil {
		return cmp.Or(fatal, err)
	}
	if len(k.only) > 0 {
		for _, id := range k.only {
			if !slices.ContainsFunc(roster.Accounts, func(a accounts.Account) bool { return a.ID == id }) {
				return fmt.Errorf("--account: account %s is not among those that are scanned", id)
			}
		}
		roster.Accounts = slices.DeleteFunc(roster.Accounts, func(a accounts.Account) bool { return !slices.Contains(k.only, a.ID) })
	}
	if len(roster.Accounts) == 0 {
		return cmp.Or(fatal, errors.New("there is no account to scan: add [[accounts]] entries, or set discover = true under [organization]"))
	}
	k.accounts = map[string]accounts.Account{}
	for _, a := range roster.Accounts {
		k.accounts[a.ID] = a
	}
	o, err := k.options(ctx, p, roster)
	if err != nil {
		return err
	}
	checks, refused, err := check.Run(ctx, o)
	k.checks = append(k.checks, checks...)
	switch {
	case err != nil:
		return err
	case fatal != nil:
		return fatal
	case refused:
		return errors.New("no account lets demurrage in: see what to do about the roles")
	case !slices.ContainsFunc(checks, func(c check.Check) bool { return c.What == "region" && c.Status == check.OK }):
		return errors.New("there is no registry to plan: none of the regions of the configuration is enabled in any account that can be entered; mend regions under [scan], or enable one (aws account enable-region)")
	}
	return nil
}

// organization says which accounts there are.
func (k *checking) organization(ctx context.Context, p *assume.Provider) (*accounts.Roster, error) {
	client := organizations.NewFromConfig(assume.Impatient(p.Hub()))
	fix := "run demurrage in the organization's management account or a delegated administrator, and add to the policy of " + check.Role(p.Identity().ARN) + ": " +
		check.Allow("organizations:ListAccounts", "organizations:ListAccountsForParent", "organizations:ListOrganizationalUnitsForParent", "organizations:ListTagsForResource")
	if !k.config.Organization.Discover {
		roster, err := k.config.Roster(ctx, nil)
		if err != nil {
			return nil, err
		}
		roster.Organization, err = accounts.AskOrganization(ctx, client)
		if err != nil {
			err = fmt.Errorf("who may pull by the organization's id is not known: %w", err)
		}
		k.add("AWS Organizations", err, check.Warning, fix)
		k.outside(roster)
		return roster, nil
	}
	roster, err := k.config.Roster(ctx, client)
	if err != nil {
		fix += " or set discover = false under [organization] and list the accounts"
		k.add("AWS Organizations", err, check.Failed, fix)
		return nil, err
	}
	k.add("AWS Organizations", nil, check.OK, "")
	for _, u := range roster.Unscanned {
		if len(k.only) > 0 && !slices.Contains(k.only, u.Account) {
			continue
		}
		c := check.Check{Account: u.Account, What: "account", Status: check.Failed, Error: u.Why + " (" + u.State + "): it is not scanned, and what it may pull is blocked",
			Fix: "if nothing there uses images, write an [[attestations]] entry for the account"}
		switch {
		case k.attested(u.Account, "*", "*"):
			c.Status, c.Error, c.Fix = check.Attested, u.Why+" ("+u.State+"): it is not scanned", ""
		case slices.ContainsFunc(k.config.Accounts, func(a accounts.Account) bool { return a.ID == u.Account }):
			c.Fix = "remove its [[accounts]] entry, or have the account reopened; " + c.Fix
		}
		k.checks = append(k.checks, c)
	}
	return roster, nil
}

// outside warns of the accounts of the organization that nobody listed: a plan is held back where policies let them pull.
func (k *checking) outside(roster *accounts.Roster) {
	var ids []string
	for _, m := range roster.Organization.Members {
		if !slices.ContainsFunc(roster.Accounts, func(a accounts.Account) bool { return a.ID == m.Account }) && !k.attested(m.Account, "*", "*") {
			ids = append(ids, m.Account)
		}
	}
	if len(ids) > 0 && len(k.only) == 0 {
		k.checks = append(k.checks, check.Outside(ids))
	}
}

// ended warns of attestations that vouch for nothing any more.
func (k *checking) ended() {
	for _, text := range endedAttestations(k.config, time.Now()) {
		k.checks = append(k.checks, check.Check{What: "attestation", Status: check.Warning, Error: text, Fix: "give it a later day in expires, if it still holds, or remove it"})
	}
}

func (k *checking) attested(account, region, source string) bool {
	now := time.Now()
	return slices.ContainsFunc(k.config.Rules().Attestations, func(a planner.Attestation) bool {
		return a.InForce(now) && a.Covers(account, region, source)
	})
}

// money checks what reports are made from besides.
func (k *checking) money(ctx context.Context, p *assume.Provider) {
	b := k.config.Billing
	if b.PriceList {
		hub := assume.Impatient(p.Hub())
		k.checks = append(k.checks, check.PriceList(ctx, in(hub, billing.Region(hub.Region)), check.Role(p.Identity().ARN)))
	}
	if b.CostExplorer {
		cfg, err := k.payer(ctx, p)
		if err != nil {
			k.add("Cost Explorer", err, check.Warning, "see role under [billing], or set cost_explorer = false there: reports have no bill until then")
			return
		}
		k.checks = append(k.checks, check.CostExplorer(ctx, assume.Impatient(cfg), cmp.Or(b.Role, check.Role(p.Identity().ARN)), time.Now()))
	}
}

// options are how accounts are checked.
func (k *checking) options(ctx context.Context, p *assume.Provider, roster *accounts.Roster) (check.Options, error) {
	o := check.Options{
		Accounts: roster.Accounts, Concurrency: k.config.Concurrency,
		Identity: cmp.Or(p.HubRole(), p.Identity().ARN), Hub: assume.Impatient(p.Hub()), Organization: roster.Organization.ID,
		Config: func(ctx context.Context, a accounts.Account, region string) (aws.Config, error) {
			return assume.Impatient(p.Config(a, region)), p.Check(ctx, a)
		},
		Principal: p.Principal,
		Attested:  k.attested,
	}
	if k.store != nil {
		var imports store.Imports
		names, err := k.store.UseLists(ctx)
		if err != nil {
			return o, err
		}
		for _, name := range names {
			l, err := k.store.UseList(ctx, name)
			if err != nil {
				k.add("list of uses "+name, err, check.Failed, "import it again, or remove it with demurrage uses remove "+name)
				continue
			}
			c := k.imported(&imports, &l, roster)
			if c.Status == image.CoverageFailed {
				k.add("list of uses "+name, errors.New(c.Error), check.Failed, "import it again, or remove it with demurrage uses remove "+name)
			}
		}
		o.Covered = covered(imports)
	}
	for _, external := range k.config.ExternalCommands {
		_, err := exec.LookPath(external.Command[0])
		k.add("external command "+external.Name, err, check.Failed, "install it, or mend command of its [[external_commands]] entry")
	}
	if !slices.ContainsFunc(roster.Accounts, func(a accounts.Account) bool { return a.Enforce }) {
		return o, nil
	}
	policy, err := assume.AllowActions([]string{"sts:GetCallerIdentity"}) // what needs no permission
	if err != nil {
		return o, err
	}
	a := k.config.Assume
	sweeper, err := assume.New(ctx, assume.Options{
		HubRole: a.HubRole, ExternalID: a.ExternalID, SessionName: a.SessionName, Duration: a.Duration,
		Region: k.config.FirstRegion(), Role: assume.SweepRole, Everywhere: true, Calls: &k.screen.calls,
	})
	if err != nil {
		return o, err
	}
	o.Sweep = func(ctx context.Context, a accounts.Account) error { return sweeper.CheckSession(ctx, a, policy) }
	return o, nil
}

// hintOf is what an error says to do about it, "" if it says nothing.
func hintOf(err error) string {
	if e, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return e.Hint()
	}
	return ""
}
