package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/organizations/types"
	"github.com/aws/smithy-go"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/draft"
)

func generateCommand() *cli.Command {
	return &cli.Command{
		Name:  "generate",
		Usage: "writes an accounts.toml from what the organization has",
		Description: `Asks AWS Organizations for the accounts (or takes those of --account), lists in every enabled region of each the repositories,
task definitions and functions, and writes a commented accounts.toml: names collapsed into patterns at / _ -, images
kept for 30 days, the newest 5, and "latest". It deletes nothing as it is: no account has enforce = true. An account that
refuses the role is listed with a comment that says so. Nothing is changed in AWS.

  demurrage generate --external-id example-1234
  demurrage generate --hub-role arn:aws:iam::111111111111:role/DemurrageHub
  demurrage generate --account 111111111111 --account 222222222222 --region us-east-1 --out -
  demurrage generate --from-ecrm ecrm.yaml --account 111111111111 --region ap-northeast-1

Exit codes: 0 written · 1 nothing could be read, nothing is written · 2 written, but something could not be seen · 4 the file
exists, and nobody said that it may be replaced.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "out", Usage: "the `FILE` to write, - for stdout (default: that of --config)"},
			&cli.StringSliceFlag{Name: "account", Usage: "the account `ID`, instead of those of the organization; can be repeated"},
			&cli.StringSliceFlag{Name: "region", Usage: "look in, and plan, the region `NAME` alone; can be repeated"},
			&cli.StringFlag{Name: "role", Value: memberRoles()["read"].Name, Usage: "a role: `NAME`, PATH/NAME or an ARN with {account}"},
			&cli.StringFlag{Name: "hub-role", Usage: "the `ARN` of a role to assume before that"},
			&cli.StringFlag{Name: "external-id", Usage: "the external `ID` that the roles ask for"},
			&cli.StringFlag{Name: "from-ecrm", Usage: "translate the ecrm configuration `FILE`, without AWS"},
			&cli.BoolFlag{Name: "force", Usage: "replace the file if it exists, without asking"},
		},
		Action: generate,
	}
}

func generate(c *cli.Context) error {
	s, err := newSession(c, nil)
	if err != nil {
		return err
	}
	path := cmp.Or(c.String("out"), sharedString(c, "config"))
	exists, err := s.mayReplace(path)
	if err != nil {
		return err
	}
	d := draft.Config{
		Role: c.String("role"), SweepRole: memberRoles()["sweep"].Name, ExternalID: c.String("external-id"), HubRole: c.String("hub-role"),
		Regions: distinct(c.StringSlice("region")),
	}
	ids := distinct(c.StringSlice("account"))
	for _, id := range ids {
		d.Accounts = append(d.Accounts, draft.Account{ID: id})
	}
	if d.Role == "" {
		return errors.New("--role: it is empty")
	}
	var seen []draft.Seen
	if file := c.String("from-ecrm"); file != "" {
		err = fromECRM(&d, file)
	} else {
		seen, err = s.survey(c.Context, &d)
	}
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := draft.Write(&text, d); err != nil {
		return err
	}
	if _, err := accounts.Parse(path, text.Bytes()); err != nil {
		return fmt.Errorf("nothing is written, since it would not load, which is a mistake of this program: %w", err)
	}
	if path == "-" {
		if _, err := s.stdout.Write(text.Bytes()); err != nil {
			return err
		}
	} else {
		if _, err := os.Lstat(path); err == nil && !exists {
			return &exitError{exitRefused, path + " has come into being meanwhile, and is left as it is"}
		}
		if err := s.replace(path, func(w io.Writer) error { _, err := w.Write(text.Bytes()); return err }); err != nil {
			return err
		}
	}
	s.summarize(path, d, seen)
	unseen := slices.ContainsFunc(seen, func(s draft.Seen) bool { return len(s.Unseen) > 0 })
	if unseen {
		return &exitError{exitIncomplete, "not everything could be seen: it is said above, and in comments of the file"}
	}
	return nil
}

// mayReplace asks before a file is replaced, and says whether there is one.
func (s *session) mayReplace(path string) (exists bool, err error) {
	if path == "-" {
		return false, nil
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return false, fmt.Errorf("--out: %w", err)
		}
		return false, nil
	case err != nil:
		return false, fmt.Errorf("--out: %w", err)
	case info.IsDir():
		return false, fmt.Errorf("--out: %s is a directory", path)
	case info.Mode()&os.ModeSymlink != 0: // it would be replaced, and what it leads to would stay
		return false, &exitError{exitRefused, path + " is a link, and is left as it is: name the file that it leads to with --out"}
	case !info.Mode().IsRegular():
		return false, &exitError{exitRefused, path + " is not a regular file, and is left as it is: name another with --out"}
	}
	if source, err := os.Stat(s.c.String("from-ecrm")); err == nil && os.SameFile(source, info) {
		return false, &exitError{exitRefused, path + " is what --from-ecrm translates, and is left as it is: name another file with --out"}
	}
	if s.c.Bool("force") {
		return true, nil
	}
	in, ok := s.c.App.Reader.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return true, &exitError{exitRefused, path + " exists, and is left as it is: name another file with --out, or replace it with --force"}
	}
	fmt.Fprintf(s.stderr, "%s exists. Replace it? [y/N] ", printable(path))
	answers := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(in, 1<<10)).ReadString('\n')
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case <-s.c.Done():
		return true, context.Cause(s.c.Context)
	case answer := <-answers:
		if answer != "y" && answer != "yes" {
			return true, &exitError{exitRefused, path + " is left as it is"}
		}
		return true, nil
	}
}

// fromECRM adds what an ecrm configuration says to what the flags say.
func fromECRM(d *draft.Config, file string) error {
	if len(d.Accounts) == 0 || len(d.Regions) == 0 {
		return errors.New("--from-ecrm: an ecrm configuration is for one account and region, and does not name them: say which with --account and --region")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--from-ecrm: %w", err)
	}
	if _, err := parseDraft(*d); err != nil {
		return err
	}
	t, err := draft.FromECRM(file, data)
	if err != nil {
		return fmt.Errorf("--from-ecrm: %w", err)
	}
	t.Role, t.SweepRole, t.ExternalID, t.HubRole, t.Accounts, t.Regions = d.Role, d.SweepRole, d.ExternalID, d.HubRole, d.Accounts, d.Regions
	*d = t
	return nil
}

// survey fills in what AWS says.
func (s *session) survey(ctx context.Context, d *draft.Config) ([]draft.Seen, error) {
	d.Discover = len(d.Accounts) == 0
	config, err := parseDraft(*d) // the flags, judged as the file that they go into
	if err != nil {
		return nil, err
	}
	policy, err := assume.AllowActions(append(draft.Actions(), "account:ListRegions", "ec2:DescribeRegions"))
	if err != nil {
		return nil, err
	}
	p, err := assume.New(ctx, assume.Options{
		HubRole: d.HubRole, ExternalID: d.ExternalID, SessionName: config.Assume.SessionName, Duration: config.Assume.Duration,
		Region: config.FirstRegion(), Role: assume.ScanRole, Policy: policy, Calls: &s.screen.calls,
	})
	if err != nil {
		return nil, err
	}
	phase := s.screen.phase("looking at what there is", 0, "", nil, nil)
	defer phase.end()
	roster, err := listed(ctx, config, organizations.NewFromConfig(p.Hub()), p.Identity())
	if err != nil {
		return nil, err
	}
	d.Origin = "what the accounts hold that were named with --account"
	if d.Discover {
		d.Origin = "the organization that account " + p.Identity().Account + " is in"
		if id := roster.Organization.ID; id != "" {
			d.Origin = "organization " + id
		}
	}
	for _, u := range roster.Unscanned {
		named := slices.ContainsFunc(d.Accounts, func(a draft.Account) bool { return a.ID == u.Account })
		if (d.Discover || named) && u.State != string(types.AccountStateActive) {
			d.Closed = append(d.Closed, draft.Account{ID: u.Account, Name: u.Name, State: u.State})
		}
	}
	d.Accounts = nil
	if len(roster.Accounts) == 0 {
		return nil, errors.New("there is no account to look at: none is ACTIVE")
	}
	hub := account.NewFromConfig(p.Hub())
	seen, err := draft.Survey{
		Accounts: roster.Accounts, Regions: d.Regions, Enter: p.Check, Config: p.Config,
		Enabled: func(ctx context.Context, a accounts.Account) ([]string, error) {
			cfg := p.Config(a, p.Hub().Region)
			return accounts.EnabledRegions(ctx, account.NewFromConfig(cfg), ec2.NewFromConfig(cfg), hub, a.ID)
		},
	}.Look(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(seen, func(s draft.Seen) bool { return s.Answered }) {
		return nil, nothingSeen(seen)
	}
	d.Fill(seen)
	return seen, nil
}

// listed gives the accounts to look at, by name where the organization tells.
func listed(ctx context.Context, config *accounts.Config, org accounts.Organizations, who assume.Identity) (*accounts.Roster, error) {
	roster, err := config.Roster(ctx, org)
	if err == nil || ctx.Err() != nil {
		return roster, cmp.Or(context.Cause(ctx), err)
	}
	if !config.Organization.Discover {
		return config.Roster(ctx, nil)
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return nil, fmt.Errorf("list the accounts of the organization as %s: %s: %s (only the management account and delegated administrators with organizations:ListAccounts may: "+
			"run it there, name a role there with --hub-role, or name accounts with --account ID)", who.ARN, api.ErrorCode(), api.ErrorMessage())
	}
	return nil, err
}

// nothingSeen is why no account could be read at all.
func nothingSeen(seen []draft.Seen) error {
	const most = 5
	var b strings.Builder
	b.WriteString("nothing could be read, so that nothing is written (`demurrage permissions --format cloudformation` prints the role that each account needs; --role, --external-id and --hub-role name it)")
	lines := draft.Summary(seen)[1:]
	for _, line := range lines[:min(len(lines), most)] {
		b.WriteString("\n  " + line)
	}
	if n := len(lines) - most; n > 0 {
		fmt.Fprintf(&b, "\n  and %d more", n)
	}
	return errors.New(b.String())
}

// summarize says what was found and what to do next.
func (s *session) summarize(path string, d draft.Config, seen []draft.Seen) {
	if sharedBool(s.c, "quiet") {
		return
	}
	const most = 10
	if seen != nil {
		lines := draft.Summary(seen)
		for _, line := range lines[:min(len(lines), most+1)] {
			fmt.Fprintln(s.stderr, line)
		}
		if n := len(lines) - most - 1; n > 0 {
			fmt.Fprintf(s.stderr, "not seen: %d more, in comments of the file\n", n)
		}
	} else {
		fmt.Fprintf(s.stderr, "translated: every point where the meaning differs has a comment (%d)\n", d.Comments())
	}
	if n := len(d.Closed); n > 0 {
		fmt.Fprintf(s.stderr, "closed or suspended: %d, which hold back what they may pull until somebody attests that they use nothing: see [[attestations]]\n", n)
	}
	with := ""
	switch path {
	case "accounts.toml":
	case "-":
		with = " --config FILE"
	default:
		with = " --config " + quoted(printable(path))
	}
	fmt.Fprintf(s.stderr, "next: demurrage check%s    # are roles and permissions in place?\n", with)
	fmt.Fprintf(s.stderr, "      demurrage plan%s     # what could go; it changes nothing\n", with)
}

// parseDraft judges what the flags say.
func parseDraft(d draft.Config) (*accounts.Config, error) {
	var text bytes.Buffer
	if err := draft.Write(&text, d); err != nil {
		return nil, err
	}
	config, err := accounts.Parse("", text.Bytes())
	if err != nil {
		return nil, flagErrors(err)
	}
	return config, nil
}

// flagErrors tells problems of the file by the flags that they come from.
func flagErrors(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var list []error
	for _, err := range joined.Unwrap() {
		if e, ok := errors.AsType[*accounts.KeyError](err); ok {
			for _, flag := range [][2]string{
				{"assume.role", "role"}, {"assume.external_id", "external-id"}, {"assume.hub_role", "hub-role"},
				{"scan.regions", "region"}, {"accounts[", "account"},
			} {
				if strings.HasPrefix(e.Key, flag[0]) {
					err = fmt.Errorf("--%s: %w", flag[1], e.Err)
				}
			}
		}
		list = append(list, err)
	}
	return errors.Join(list...)
}

func distinct(texts []string) []string {
	if len(texts) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(texts)))
}
