package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"demurrage/accounts"
	"demurrage/internal/cost"
	"demurrage/internal/orgsim"
	"demurrage/internal/store"
	"demurrage/planner"
	"demurrage/report"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "runs the main job against a simulated organization in this process: no AWS account, no configuration",
		Description: `Prints the plan and writes demurrage-report.xlsx, .html, .json, .csv and .md, the accounts.toml it used and the stored run
into a directory.

  demurrage demo
  demurrage demo --out elsewhere --all`,
		Flags: []cli.Flag{
			nowFlag(),
			&cli.StringFlag{Name: "out", Value: "demurrage-out", Usage: "the `DIR` to write into"},
			&cli.BoolFlag{Name: "all", Usage: "repositories without a saving, too"},
		},
		Action: demo,
	}
}

func demo(c *cli.Context) error {
	now, err := parseNow(c)
	if err != nil {
		return err
	}
	if now.IsZero() {
		now = time.Now().UTC()
	}
	company := orgsim.Demo()
	server, text, err := seeded("demo", now)
	if err != nil {
		return err
	}
	dir := c.String("out")
	// The configuration that is left behind finds the run that is: `demurrage explain --config DIR/accounts.toml REF`.
	text = bytes.Replace(text, []byte(`url = "demurrage-data"`), fmt.Appendf(nil, "url = %q", filepath.Join(dir, "data")), 1)
	config, err := accounts.Parse("demo.toml", text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "accounts.toml"), text, 0o644); err != nil {
		return err
	}

	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go func() { _ = serve(ctx, listener, server) }()
	if err := simulatedEnvironment("http://"+listener.Addr().String(), company.Hub); err != nil {
		return err
	}

	s, err := openConfig(c, config)
	if err != nil {
		return err
	}
	defer s.close()
	if err := rememberDemo(ctx, s, server, now); err != nil {
		return err
	}
	run, err := s.planOf(ctx, "")
	if err != nil {
		return err
	}
	run.Hints = append(run.Hints,
		fmt.Sprintf("Everything above is simulated. The workbook is %s.", filepath.Join(dir, "demurrage-report.xlsx")))
	if err := s.write(run, report.FormatTable, c.Bool("all")); err != nil {
		return err
	}
	run.Workbook = "demurrage-report.xlsx"
	for _, ending := range []string{".xlsx", ".html", ".json", ".csv", ".md"} {
		if err := s.writeFile(filepath.Join(dir, "demurrage-report"+ending), run, "", c.Bool("all")); err != nil {
			return err
		}
	}
	// The company has an account that refuses the role and one that is closed: those gaps are part of the show.
	announced := func(id string) bool {
		return slices.ContainsFunc(company.Accounts, func(a orgsim.DemoAccount) bool { return a.ID == id && (a.Refuses || a.Closed) })
	}
	if slices.ContainsFunc(run.Plan.Gaps, func(g planner.Gap) bool { return !announced(g.Account) }) {
		return verdict(run, false)
	}
	return nil
}

// simulatedEnvironment points the SDK at the simulated organization, and at nothing that this machine may have for
// the real one.
func simulatedEnvironment(endpoint, account string) error {
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "AWS_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": account, "AWS_SECRET_ACCESS_KEY": "simulated", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// rememberDemo gives the store of the demo a past: what runs at the end of each of the last twelve months would have
// remembered, from what the simulated organization stored then. One month was missed.
func rememberDemo(ctx context.Context, s *session, server *orgsim.Server, now time.Time) error {
	const months, missed = 12, 7
	prices := cost.List()
	first := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	for back := months; back > 0; back-- {
		if back == missed {
			continue
		}
		at := first.AddDate(0, 1-back, 0).Add(-time.Hour)
		m := report.Month{Month: cost.Month(at), RunID: store.NewID(at), At: at, Complete: true, Currency: prices.Currency, Accounts: map[string]report.MonthSum{}}
		for repository, bytes := range server.StoredBytes(at) {
			sum := m.Accounts[repository.Account]
			list, _ := prices.Monthly(repository.Region, bytes)
			sum.Stored += bytes
			sum.List += list
			m.Accounts[repository.Account] = sum
		}
		if err := s.store.SaveHistory(ctx, m.RunID, m); err != nil {
			return err
		}
	}
	return nil
}
