package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// sharedFlags work before and after the command's name. Only those of the application read the environment, so that
// a flag given before the command is not outranked by a variable after it.
func sharedFlags(app bool) []cli.Flag {
	env := func(name string) []string {
		if app {
			return []string{name}
		}
		return nil
	}
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Value: "accounts.toml", Usage: "the configuration `FILE`", EnvVars: env("DEMURRAGE_CONFIG"), Category: "shared"},
		&cli.StringFlag{Name: "log-level", Value: "warn", Usage: "debug, info, warn or error: what goes to stderr", EnvVars: env("DEMURRAGE_LOG_LEVEL"), Category: "shared"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json", EnvVars: env("DEMURRAGE_LOG_FORMAT"), Category: "shared"},
		&cli.BoolFlag{Name: "no-color", Usage: "no colours, as with NO_COLOR", EnvVars: env("DEMURRAGE_NO_COLOR"), Category: "shared"},
		&cli.BoolFlag{Name: "quiet", Usage: "no progress and no summary on stderr", EnvVars: env("DEMURRAGE_QUIET"), Category: "shared"},
	}
}

// The flags of the commands that scan or plan.
func runFlag() cli.Flag {
	return &cli.StringFlag{Name: "run", Usage: "take the stored run `ID` instead of scanning"}
}

func nowFlag() cli.Flag {
	return &cli.StringFlag{Name: "now", Usage: "count ages from `TIME` (2026-10-31 or RFC 3339), not from now"}
}

func acceptFlag() cli.Flag {
	return &cli.BoolFlag{Name: "accept-incomplete", Usage: "exit 0 although something could not be read"}
}

func resumeFlag() cli.Flag {
	return &cli.BoolFlag{Name: "resume", Usage: "go on with the last run if it was interrupted"}
}

// finish gives a command the shared flags, its own flags a variable each, and makes sure that it ignores nothing: urfave/cli stops reading flags at
// the first argument, so that `explain REF --run ID` would drop --run in silence.
func finish(cmd *cli.Command) {
	for _, flag := range cmd.Flags {
		name := "DEMURRAGE_" + strings.ToUpper(strings.ReplaceAll(flag.Names()[0], "-", "_"))
		switch f := flag.(type) {
		case *cli.StringFlag:
			f.EnvVars = []string{name}
		case *cli.BoolFlag:
			f.EnvVars, f.DisableDefaultText = []string{name}, true // none is true by default
		case *cli.StringSliceFlag:
			f.EnvVars = []string{name}
		case *cli.IntFlag:
			f.EnvVars = []string{name}
		}
	}
	for _, sub := range cmd.Subcommands {
		finish(sub)
	}
	cmd.Flags = append(cmd.Flags, sharedFlags(false)...)
	cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error { return err }
	cmd.HideHelpCommand = true
	wanted := strings.Fields(cmd.ArgsUsage)
	action := cmd.Action
	cmd.Action = func(c *cli.Context) error {
		args := c.Args().Slice()
		for i, arg := range args {
			if i > 0 && strings.HasPrefix(arg, "-") && arg != "-" {
				return fmt.Errorf("%s: flag %s must stand before %s", cmd.Name, arg, args[0])
			}
		}
		switch {
		case len(args) > len(wanted) && !strings.HasSuffix(cmd.ArgsUsage, "…"):
			return fmt.Errorf("%s: unexpected argument %q", cmd.Name, args[len(wanted)])
		case len(args) < len(wanted):
			return fmt.Errorf("%s: %s is missing", cmd.Name, wanted[len(args)])
		}
		if _, err := logger(c, io.Discard); err != nil {
			return err // before anything is written, and by commands that log nothing, too
		}
		return action(c)
	}
}

// shared finds the context that a shared flag was set in: the command's, else the application's.
func shared(c *cli.Context, name string) *cli.Context {
	var app *cli.Context
	for _, ctx := range c.Lineage() {
		if ctx.Command == nil {
			continue
		}
		if slices.Contains(ctx.LocalFlagNames(), name) {
			return ctx
		}
		app = ctx
	}
	return app
}

func sharedString(c *cli.Context, name string) string { return shared(c, name).String(name) }
func sharedBool(c *cli.Context, name string) bool     { return shared(c, name).Bool(name) }

// logger writes to stderr, in the level and format asked for.
func logger(c *cli.Context, w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(sharedString(c, "log-level"))); err != nil {
		return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", sharedString(c, "log-level"))
	}
	options := &slog.HandlerOptions{Level: level}
	switch format := sharedString(c, "log-format"); format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	default:
		return nil, fmt.Errorf("--log-format: %q is neither text nor json", format)
	}
}

// parseNow reads --now; the zero time is none.
func parseNow(c *cli.Context) (time.Time, error) { return parseTime(c, "now") }

// parseTime reads a flag that is a time; the zero time is none.
func parseTime(c *cli.Context, flag string) (time.Time, error) {
	s := c.String(flag)
	if s == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("--%s: %q is neither a date (2026-10-31) nor a time (2026-10-31T12:00:00Z)", flag, s)
}

// terminal is the width of a terminal behind w, and whether there is one.
func terminal(w io.Writer) (width int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, true
	}
	return width, true
}

// color: only on a terminal, and only where nobody minds (https://no-color.org).
func color(c *cli.Context, w io.Writer) bool {
	_, tty := terminal(w)
	return tty && os.Getenv("NO_COLOR") == "" && !sharedBool(c, "no-color") && os.Getenv("TERM") != "dumb"
}
