package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"demurrage/report"
)

func planCommand() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "scans (or takes a stored run) and shows what could be deleted, what is kept and what is blocked, and why",
		Description: `Nothing is changed in AWS. The plan of a stored run is as of that run.

  demurrage plan
  demurrage plan --out plan.json                 the plan that a person reviews
  demurrage plan --format json --all | jq '.images[] | select(.action == "blocked")'
  demurrage plan --run 20261120T224303Z-4f2a --now 2026-12-31`,
		Flags: []cli.Flag{
			runFlag(), resumeFlag(), nowFlag(), acceptFlag(),
			&cli.StringFlag{Name: "format", Value: "table", Usage: "table, json, csv or markdown, to stdout"},
			&cli.StringFlag{Name: "out", Usage: "write the plan to `FILE` too, in the format of its ending (.json, .csv, .md, .xlsx)"},
			&cli.BoolFlag{Name: "all", Usage: "images that are kept, and repositories without a saving, too"},
		},
		Action: func(c *cli.Context) error {
			format, err := report.ParseFormat(c.String("format"))
			if err != nil {
				return err
			}
			if c.String("run") != "" && c.Bool("resume") {
				return errors.New("--run takes a stored run and --resume goes on with one: give one of them")
			}
			if err := checkOut(c.String("out")); err != nil {
				return err
			}
			s, err := open(c)
			if err != nil {
				return err
			}
			defer s.close()
			run, err := s.planOf(c.Context, c.String("run"))
			if err != nil {
				return err
			}
			if err := s.write(run, format, c.Bool("all")); err != nil {
				return err
			}
			if out := c.String("out"); out != "" {
				if err := s.writeFile(out, run, "", c.Bool("all")); err != nil {
					return err
				}
			}
			s.closing(run, nil, s.proceed(run, c.String("out"), run.ID))
			return verdict(run, c.Bool("accept-incomplete"))
		},
	}
}

// checkOut refuses a file whose ending says no format, or that has no directory, before anything is scanned.
func checkOut(path string) error {
	if path == "" {
		return nil
	}
	if _, err := report.FormatOf(path); err != nil {
		return err
	}
	_, err := os.Stat(filepath.Dir(path))
	return err
}
