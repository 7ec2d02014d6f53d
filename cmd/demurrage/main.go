// Command demurrage finds the container images that overstay in Amazon ECR across an AWS Organization, proves which
// of them nothing uses, and says what they cost.
//
// This package only wires: flags to packages, errors to exit codes. It holds no logic of its own, and nothing
// imports it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/urfave/cli/v2"
)

// version is set by the linker: go build -ldflags "-X main.version=…".
var version = "dev"

func main() {
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	if last := len(args) - 1; last > 0 && args[last] == completionFlag {
		complete(stdout, newApp(stdout, stderr), args[1:last])
		return exitOK
	}
	for _, variable := range os.Environ() { // an empty one is none
		if name, value, _ := strings.Cut(variable, "="); value == "" && strings.HasPrefix(name, "DEMURRAGE_") {
			_ = os.Unsetenv(name)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)() // a second signal ends it at once: what hangs may hang
	err := newApp(stdout, stderr).RunContext(ctx, args)
	var e *exitError
	switch {
	case err != nil && ctx.Err() != nil:
		if !errors.As(err, &e) || e.code != exitInterrupted {
			e = &exitError{exitInterrupted, "interrupted"}
		}
		fmt.Fprintln(stderr, "demurrage:", printable(e.Error()))
		return exitInterrupted
	case err == nil:
		return exitOK
	case errors.As(err, &e):
		fmt.Fprintln(stderr, "demurrage:", printable(e.Error()))
		return e.code
	default:
		fmt.Fprintln(stderr, "demurrage:", printable(err.Error()))
		return exitNothing
	}
}

// printable writes out whatever controls a terminal: errors have in them what AWS and the store say.
func printable(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		if r == '\n' || unicode.IsGraphic(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

func newApp(stdout, stderr io.Writer) *cli.App {
	app := &cli.App{
		Name:      "demurrage",
		Usage:     "finds the container images in Amazon ECR that nothing in an AWS Organization uses",
		UsageText: "demurrage [--config accounts.toml] COMMAND [flags]",
		Version:   version,
		Description: strings.TrimSpace(`
From one central account, demurrage assumes a role into every account and region of accounts.toml, finds every image
and everything that uses one, joins the use across accounts, and plans what can go. Unknown is never unused: what
could not be looked at blocks what it might concern.

  demurrage demo                                try it on a simulated organization: no AWS account, no configuration
  demurrage generate                            write accounts.toml from what the organization has
  demurrage check                               try roles and permissions, and say what is missing
  demurrage plan                                scan, and show what could go
  demurrage report --out report.xlsx            the workbook of the last run
  demurrage delete --plan plan.json             apply a plan that was saved (plan --out plan.json) and reviewed
  demurrage explain ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG

Exit codes: 0 all was done · 1 nothing useful was done · 2 done, but something was blocked because it could not be
read · 3 some deletions failed · 4 refused by a brake or at the confirmation · 130 interrupted.`),
		Flags:     sharedFlags(true),
		Commands:  []*cli.Command{demoCommand(), generateCommand(), checkCommand(), planCommand(), reportCommand(), explainCommand(), deleteCommand(), historyCommand(), auditCommand(), recommendCommand(), scanCommand(), usesCommand(), permissionsCommand(), completionCommand(), simCommand()},
		Writer:    stdout,
		ErrWriter: stderr,
		// The exit code is run's to decide, and usage errors are errors like any other.
		ExitErrHandler:         func(*cli.Context, error) {},
		OnUsageError:           func(_ *cli.Context, err error, _ bool) error { return err },
		Suggest:                true,
		UseShortOptionHandling: false,
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				hint := "see demurrage --help"
				if near := cli.SuggestCommand(c.App.Commands, name); near != "" {
					hint = strings.TrimSuffix(strings.ToLower(near[:1])+near[1:], "?") + "?"
				}
				return fmt.Errorf("unknown command %q: %s", name, hint)
			}
			return errors.Join(cli.ShowAppHelp(c), errors.New("no command given"))
		},
	}
	for _, cmd := range app.Commands {
		finish(cmd)
	}
	return app
}
