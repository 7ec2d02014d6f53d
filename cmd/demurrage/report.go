package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "writes the workbook of a stored run (default: the last; scans first if there is none)",
		Description: `The format follows the file's ending: .xlsx, .csv, .json or .md.

  demurrage report --out report.xlsx
  demurrage report --month 2026-10 --out october.xlsx
  demurrage report --run 20261120T224303Z-4f2a --out images.csv`,
		Flags: []cli.Flag{
			runFlag(), nowFlag(), acceptFlag(),
			&cli.StringFlag{Name: "month", Usage: "the last run of a `MONTH`, as 2026-10"},
			&cli.StringFlag{Name: "out", Value: "report.xlsx", Usage: "the `FILE` to write"},
			&cli.BoolFlag{Name: "all", Usage: "images that are kept, too (.csv, .json)"},
		},
		Action: func(c *cli.Context) error {
			out := c.String("out")
			if err := checkOut(out); err != nil {
				return err
			}
			if c.String("month") != "" {
				if c.String("run") != "" {
					return fmt.Errorf("--month and --run both choose a run: give one")
				}
				if _, err := time.Parse("2006-01", c.String("month")); err != nil {
					return fmt.Errorf("--month: %q is not a month (2026-10)", c.String("month"))
				}
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			id, err := s.storedRun(c.Context, c.String("run"), c.String("month"))
			if err != nil {
				return err
			}
			run, err := s.planOf(c.Context, id)
			if err != nil {
				return err
			}
			if err := s.writeFile(out, run, c.Bool("all")); err != nil {
				return err
			}
			return verdict(run, c.Bool("accept-incomplete"))
		},
	}
}
