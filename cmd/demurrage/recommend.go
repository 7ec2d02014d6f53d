package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"demurrage/internal/advice"
	"demurrage/internal/image"
	"demurrage/report"
)

func recommendCommand() *cli.Command {
	return &cli.Command{
		Name:  "recommend",
		Usage: "writes lifecycle policies that cannot take what is in use today, or says why there is no safe one",
		Description: `For each repository of the last stored run (scans first if there is none): a policy whose tag selections protect what the plan
keeps or blocks, and that takes as much as it safely can of what the plan deletes. A directory gets ACCOUNT/REGION/NAME.json
(as ECR takes it), .tf (Terraform) and .cfn.yaml (CloudFormation), a README.md of what each saves and which repositories have
no safe policy and why, and summary.json. What an earlier run wrote there is replaced; a directory of others is refused (4).
demurrage itself puts no policy.

  demurrage recommend
  demurrage recommend --out policies/ --repository 'prod/*'
  demurrage recommend --run 20261120T224303Z-4f2a
  aws ecr put-lifecycle-policy --registry-id 111111111111 --region us-east-1 --repository-name prod/app \
      --lifecycle-policy-text file://recommendations/111111111111/us-east-1/prod/app.json`,
		Flags: []cli.Flag{
			runFlag(), nowFlag(), acceptFlag(), repositoryFlag(),
			&cli.StringFlag{Name: "out", Value: "recommendations", Usage: "the `DIR` to write into"},
		},
		Action: recommend,
	}
}

func recommend(c *cli.Context) (err error) {
	dir := c.String("out")
	if err := refuseForeign(advice.Check(dir)); err != nil {
		return err
	}
	s, err := open(c)
	if err != nil {
		return err
	}
	defer s.close()
	run, err := s.lastPlan(c.Context, c.String("run"))
	if err != nil {
		return err
	}
	filter := repositories(c)
	var chosen []image.Repository
	for i := range run.Plan.Summaries {
		if r := run.Plan.Summaries[i].Repository; filter == nil || filter(r) {
			chosen = append(chosen, r)
		}
	}
	if filter != nil && len(chosen) == 0 {
		return fmt.Errorf("--repository: no repository of run %s matches %q", run.ID, c.StringSlice("repository"))
	}
	folder, err := advice.Open(dir, chosen)
	if err != nil {
		return refuseForeign(err)
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	out := &report.Recommended{Dir: dir}
	for r, err := range run.Plan.Repositories {
		if err != nil {
			return err
		}
		if c.Err() != nil {
			return c.Err()
		}
		if filter != nil && !filter(r.Repository) {
			continue
		}
		a := advice.Of(r, run.Plan.Now)
		if err := folder.Put(&a); err != nil {
			return err
		}
		out.Advice = append(out.Advice, a)
	}
	if out.Files, err = folder.Finish(); err != nil {
		return err
	}
	if err := folder.Write(advice.Index, func(w io.Writer) error { return report.RecommendIndex(w, run, out) }); err != nil {
		return err
	}
	if err := folder.Write(advice.Summary, func(w io.Writer) error { return report.RecommendJSON(w, run, out) }); err != nil {
		return err
	}
	width, _ := terminal(s.stdout)
	if err := report.Recommend(s.stdout, run, out, report.TermOptions{Width: width, Color: color(c, s.stdout)}); err != nil {
		return err
	}
	return verdict(run, c.Bool("accept-incomplete"))
}

// refuseForeign makes a refusal of what would overwrite the files of others.
func refuseForeign(err error) error {
	if errors.Is(err, advice.ErrForeign) {
		return &exitError{exitRefused, err.Error() + ": name another directory with --out"}
	}
	return err
}
