package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"demurrage/internal/cost"
	"demurrage/internal/delivery"
	"demurrage/report"
)

func reportCommand() *cli.Command {
	return &cli.Command{
		Name:  "report",
		Usage: "writes the cost report of a stored run (default: the last; scans first if there is none)",
		Description: `The format follows the file's ending: .xlsx, .html, .csv, .json or .md; --format focus makes a .csv with the columns of
FOCUS; a directory gets every table of facts as a CSV file. --to sends what was written on, and the news where the report
is incomplete or cannot be made.

  demurrage report --out report.xlsx
  demurrage report --month 2026-10 --out october.xlsx
  demurrage report --out report.html
  demurrage report --out tables/
  demurrage report --format focus --out focus.csv
  demurrage report --run 20261120T224303Z-4f2a --out images.csv
  demurrage report --out report.xlsx --to s3://finance-reports/ecr/ --to arn:aws:sns:us-east-1:111111111111:ecr-costs
  demurrage report --out report.xlsx --to 'mailto:finance@example.com?from=demurrage@example.com'`,
		Flags: []cli.Flag{
			runFlag(), nowFlag(), acceptFlag(),
			&cli.StringFlag{Name: "month", Usage: "the last run of a `MONTH`, as 2026-10"},
			&cli.StringSliceFlag{Name: "out", Value: cli.NewStringSlice("report.xlsx"), Usage: "the `FILE` to write, or DIR/ for tables; can be repeated"},
			&cli.StringFlag{Name: "format", Usage: "focus: the .csv has the columns of FOCUS (default: by the file's ending)"},
			&cli.StringSliceFlag{Name: "to", Usage: "send it to `DEST`: s3://BUCKET/PREFIX/, SNS ARN, mailto:TO?from=FROM; can be repeated"},
			&cli.StringFlag{Name: "layers", Usage: "of a scan made now: exact, estimate or off (default: [report] layers)"},
			&cli.BoolFlag{Name: "all", Usage: "images that are kept, too (.csv, .json)"},
		},
		Action: writeReport,
	}
}

// reporting is one call of the command.
type reporting struct {
	*session
	files []delivery.File
	to    []delivery.Destination
}

func writeReport(c *cli.Context) error {
	format := report.Format(c.String("format"))
	if format != "" && format != report.FormatFOCUS {
		return fmt.Errorf("--format: %q is not focus: other formats follow the ending of --out", c.String("format"))
	}
	outs := c.StringSlice("out")
	for _, out := range outs {
		if strings.HasSuffix(out, "/") && format == "" {
			continue
		}
		if format == report.FormatFOCUS && !strings.HasSuffix(out, ".csv") {
			return fmt.Errorf("--out: %q does not end in .csv, which FOCUS files are", out)
		}
		if err := checkOut(out); err != nil {
			return err
		}
	}
	if c.String("month") != "" {
		if c.String("run") != "" {
			return fmt.Errorf("--month and --run both choose a run: give one")
		}
		if _, err := time.Parse("2006-01", c.String("month")); err != nil {
			return fmt.Errorf("--month: %q is not a month (2026-10)", c.String("month"))
		}
	}
	r := &reporting{}
	for _, dest := range c.StringSlice("to") {
		d, err := delivery.Parse(dest)
		if err != nil {
			return fmt.Errorf("--to: %w", err)
		}
		r.to = append(r.to, d)
	}
	s, err := open(c)
	if err != nil {
		return err
	}
	defer s.close()
	if l := c.String("layers"); l != "" {
		if l != "exact" && l != "estimate" && l != "off" {
			return fmt.Errorf("--layers: %q is none of exact, estimate, off", l)
		}
		s.config.Report.Layers = l
	}
	r.session = s
	run, err := r.run(c.Context)
	if err == nil {
		if first := outs[0]; strings.HasSuffix(first, ".xlsx") {
			run.Workbook = filepath.Base(first)
		}
		for _, out := range outs {
			if err = r.write(out, run, format, c.Bool("all")); err != nil {
				break
			}
		}
	}
	if c.Err() != nil {
		return err
	}
	if err != nil { // whoever waits for the report is to hear of it
		return errors.Join(err, r.deliver(c.Context, delivery.Message{
			Subject: "demurrage: no cost report could be made", Text: "The cost report of Amazon ECR could not be made:\n\n" + err.Error() + "\n",
			Attributes: map[string]string{"outcome": "failed"},
		}))
	}
	s.closing(run, nil, s.proceed(run, "", ""))
	verdict := verdict(run, c.Bool("accept-incomplete"))
	if err := r.deliver(c.Context, r.message(run)); err != nil {
		return errors.Join(err, verdict)
	}
	return verdict
}

// run plans the run that is asked for, after asking AWS for what has changed in the bill since.
func (r *reporting) run(ctx context.Context) (*report.Run, error) {
	id, err := r.storedRun(ctx, r.c.String("run"), r.c.String("month"))
	if err != nil {
		return nil, err
	}
	if id != "" {
		run, err := r.store.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		if r.stale(ctx, run) {
			if err := r.askFinance(ctx, id); err != nil {
				if ctx.Err() != nil {
					return nil, err
				}
				r.log.Warn("prices and bill are as they were stored: AWS cannot be asked", "error", err)
			}
		}
	}
	return r.planOf(ctx, id)
}

// write writes a file, or a file for each table into a directory.
func (r *reporting) write(out string, run *report.Run, format report.Format, all bool) error {
	if !strings.HasSuffix(out, "/") {
		if err := r.writeFile(out, run, format, all); err != nil {
			return err
		}
		r.files = append(r.files, delivery.File{Name: filepath.Base(out), Path: out})
		if beside := overflowName(out); beside != out {
			if _, err := os.Stat(beside); err == nil {
				r.files = append(r.files, delivery.File{Name: filepath.Base(beside), Path: beside})
			}
		}
		return nil
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, table := range report.FactTables(run) {
		path := filepath.Join(out, table.Name+".csv")
		if err := r.replace(path, func(w io.Writer) error { return table.Write(w) }); err != nil {
			return err
		}
		r.files = append(r.files, delivery.File{Name: filepath.Base(path), Path: path})
	}
	return nil
}

func (r *reporting) message(run *report.Run) delivery.Message {
	outcome := "complete"
	if !run.Plan.Complete {
		outcome = "incomplete"
	}
	month := cost.Month(run.GeneratedAt)
	sum := report.MonthOf(run)
	var low, high cost.Money
	for _, a := range sum.Accounts {
		low, high = low+a.Low, high+a.High
	}
	return delivery.Message{
		Subject:    "demurrage: cost of Amazon ECR, " + month + " (" + outcome + ")",
		Text:       report.Short(run),
		Attributes: map[string]string{"run": run.ID, "month": month, "complete": strconv.FormatBool(run.Plan.Complete), "outcome": outcome, "currency": sum.Currency},
		Numbers:    map[string]string{"saving_low": low.String(), "saving_high": high.String()},
		Files:      r.files,
	}
}

func (r *reporting) deliver(ctx context.Context, m delivery.Message) error {
	if len(r.to) == 0 {
		return nil
	}
	p, err := r.provider()
	if err != nil {
		return err
	}
	return delivery.DeliverAll(ctx, p.Hub(), r.to, m)
}
