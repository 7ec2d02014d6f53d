package accounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/smithy-go"
	"golang.org/x/time/rate"

	"demurrage/internal/image"
)

// Organizations is what the roster needs of AWS Organizations. It answers only the management account and delegated
// administrators.
type Organizations interface {
	organizations.ListAccountsAPIClient
	organizations.ListAccountsForParentAPIClient
	organizations.ListOrganizationalUnitsForParentAPIClient
}

// Roster is every account that is known: those to scan and those not to. Both are sorted by id.
type Roster struct {
	Accounts  []Account
	Unscanned []Unscanned

	Organization image.Organization // what the organization says of itself, if it was asked
}

// Unscanned is an account of the organization that is not scanned. What it may pull is unknown.
type Unscanned struct {
	Account string
	Name    string
	State   string // in the organization
	Why     string
}

// Roster gives the accounts to scan: those of the [[accounts]] entries and, with discover, those that the
// organization lists as ACTIVE, within include_ous and without exclude_accounts. An entry adds to what the
// organization says of its account, stays where the organization does not list it, and is scanned outside of
// include_ous too; only an account that is not ACTIVE is left out even so, since nobody can enter it.
//
// Without discover org may be nil. Where it is not, the organization is asked all the same, so that the accounts
// without an entry come back as Unscanned.
//
// Any failing call is an error: an organization that was read in part would be reported as the whole. An
// organizational unit that does not exist is a types.ParentNotFoundException.
//
// The units are walked down with ListAccountsForParent and ListOrganizationalUnitsForParent. The newer Paths of an
// account are shown, but not relied upon, since older endpoints leave them out. See
// https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListAccounts.html and, for the states,
// https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_accounts_account_state.html.
func (c *Config) Roster(ctx context.Context, org Organizations) (*Roster, error) {
	entries := map[string]Account{}
	for _, a := range c.Accounts {
		entries[a.ID] = a
	}
	r := &Roster{}
	if org != nil {
		listed, err := listAccounts(ctx, org)
		if err != nil {
			return nil, err
		}
		r.Organization = organization(listed)
		inside := map[string]string{} // the accounts under include_ous, and the way there
		for _, ou := range c.Organization.IncludeOUs {
			if err := walk(ctx, org, ou, ou, listed, inside); err != nil {
				return nil, err
			}
		}
		for _, id := range slices.Sorted(maps.Keys(listed)) {
			known := listed[id]
			a, entry := entries[id]
			delete(entries, id)
			if !entry {
				a = c.account(id)
			}
			a.complete(known)
			if a.OU == "" {
				a.OU = inside[id]
			}
			_, in := inside[id]
			var why string
			switch {
			case a.State != string(types.AccountStateActive):
				why = "its state in the organization is not ACTIVE"
			case entry:
			case !c.Organization.Discover:
				why = "it has no [[accounts]] entry, and accounts are not discovered"
			case slices.Contains(c.Organization.ExcludeAccounts, id):
				why = "exclude_accounts names it"
			case len(c.Organization.IncludeOUs) > 0 && !in:
				why = "it is outside of include_ous"
			}
			if why != "" {
				r.Unscanned = append(r.Unscanned, Unscanned{Account: id, Name: a.Name, State: a.State, Why: why})
				continue
			}
			r.Accounts = append(r.Accounts, a)
		}
	} else if c.Organization.Discover {
		return nil, fmt.Errorf("discover accounts: no client for AWS Organizations")
	}
	for _, a := range entries {
		r.Accounts = append(r.Accounts, a)
	}
	slices.SortFunc(r.Accounts, func(a, b Account) int { return cmp.Compare(a.ID, b.ID) })
	return r, nil
}

// AskOrganization gives the accounts of the organization, for those who do not discover theirs: policies admit it as a
// whole. Only the management account and delegated administrators may ask.
func AskOrganization(ctx context.Context, org organizations.ListAccountsAPIClient) (image.Organization, error) {
	listed, err := listAccounts(ctx, org)
	return organization(listed), err
}

// TagsOf asks the organization for the tags of accounts, where the configuration does not say both whose an account is and
// who pays for it, and adds them; those that the entry has count before. An error ends the asking, since the next call would
// hardly fare better: accounts that were not asked for keep the tags that they have.
//
// It takes a call for each account, so that their pace leaves some of the organization's quota to others.
//
// https://docs.aws.amazon.com/organizations/latest/APIReference/API_ListTagsForResource.html
func TagsOf(ctx context.Context, org organizations.ListTagsForResourceAPIClient, list []Account) error {
	pace := rate.NewLimiter(20, 20)
	for i := range list {
		a := &list[i]
		if a.State == "" || a.Owner != "" && a.CostCenter != "" { // not of the organization, or all is said
			continue
		}
		tags := map[string]string{}
		pages := organizations.NewListTagsForResourcePaginator(org, &organizations.ListTagsForResourceInput{ResourceId: &a.ID})
		for pages.HasMorePages() {
			if err := pace.Wait(ctx); err != nil {
				return err
			}
			page, err := pages.NextPage(ctx)
			if err != nil {
				return fmt.Errorf("list the tags of account %s: %w", a.ID, err)
			}
			for _, t := range page.Tags {
				tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
			}
		}
		maps.Copy(tags, a.Tags)
		a.Tags = tags
	}
	return nil
}

func organization(listed map[string]types.Account) image.Organization {
	var o image.Organization
	for _, id := range slices.Sorted(maps.Keys(listed)) {
		a := listed[id]
		// arn:aws:organizations::MANAGEMENT:account/o-…/ID
		if parts := strings.Split(aws.ToString(a.Arn), "/"); len(parts) == 3 {
			o.ID = parts[1]
		}
		m := image.Member{Account: id}
		if len(a.Paths) == 1 {
			m.Path = strings.TrimSuffix(strings.TrimSuffix(a.Paths[0], "/"), "/"+id) + "/"
		}
		o.Members = append(o.Members, m)
	}
	return o
}

// complete adds what the organization knows of an account.
func (a *Account) complete(known types.Account) {
	a.Name = cmp.Or(a.Name, aws.ToString(known.Name))
	a.State = cmp.Or(string(known.State), string(known.Status)) // Status gives way to State
	if len(known.Paths) > 0 {
		a.OU = strings.TrimSuffix(strings.Trim(known.Paths[0], "/"), "/"+a.ID)
	}
	if parts := strings.SplitN(aws.ToString(known.Arn), ":", 3); len(parts) == 3 {
		a.Role, a.SweepRole = withPartition(a.Role, parts[1]), withPartition(a.SweepRole, parts[1])
	}
}

func listAccounts(ctx context.Context, org organizations.ListAccountsAPIClient) (map[string]types.Account, error) {
	listed := map[string]types.Account{}
	pages := organizations.NewListAccountsPaginator(org, &organizations.ListAccountsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the accounts of the organization: %w%s", plain(err), advice(err))
		}
		if err := add(listed, page.Accounts); err != nil {
			return nil, err
		}
	}
	return listed, nil
}

// advice says who may ask.
func advice(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok && strings.HasPrefix(api.ErrorCode(), "AccessDenied") {
		return " (only the management account and delegated administrators may ask, with organizations:ListAccounts; or set discover = false under [organization] and list the accounts)"
	}
	return ""
}

func add(listed map[string]types.Account, page []types.Account) error {
	for _, a := range page {
		id := aws.ToString(a.Id)
		if !image.ValidAccount(id) {
			return fmt.Errorf("list the accounts of the organization: %q is not an account id", clip(id))
		}
		if _, ok := listed[id]; !ok { // one that was made since
			listed[id] = a
		}
	}
	return nil
}

// walk notes every account below a root or unit in inside, with its path from the unit that the configuration names.
func walk(ctx context.Context, org Organizations, parent, path string, listed map[string]types.Account, inside map[string]string) error {
	accounts := organizations.NewListAccountsForParentPaginator(org, &organizations.ListAccountsForParentInput{ParentId: &parent})
	for accounts.HasMorePages() {
		page, err := accounts.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list the accounts of unit %q: %w", parent, err)
		}
		if err := add(listed, page.Accounts); err != nil {
			return err
		}
		for _, a := range page.Accounts {
			inside[*a.Id] = path
		}
	}
	units := organizations.NewListOrganizationalUnitsForParentPaginator(org, &organizations.ListOrganizationalUnitsForParentInput{ParentId: &parent})
	for units.HasMorePages() {
		page, err := units.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list the units of unit %q: %w", parent, err)
		}
		for _, ou := range page.OrganizationalUnits {
			id := aws.ToString(ou.Id)
			if err := walk(ctx, org, id, path+"/"+id, listed, inside); err != nil {
				return err
			}
		}
	}
	return nil
}
