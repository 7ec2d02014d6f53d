package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"demurrage/accounts"
	"demurrage/assume"
	"demurrage/internal/audit"
	"demurrage/internal/image"
	"demurrage/internal/preview"
	"demurrage/report"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name:  "audit",
		Usage: "finds lifecycle policies that take images in use, now or next; broken references; consumers outside the scan",
		Description: `The policy of every repository is evaluated here, over the last stored run (scans first if there is none), and held against
the plan: a policy knows tags, ages and counts, and is blind to use. What it takes although something uses it comes first,
with whoever uses it and when it goes. Nothing is changed in AWS. Findings do not change the exit code.

With --verify, ECR evaluates the same policies itself (StartLifecyclePolicyPreview, which applies nothing), and what it says
otherwise is listed. The reading role needs ecr:StartLifecyclePolicyPreview and ecr:GetLifecyclePolicyPreview for that.
The account that demurrage runs in needs role in its [[accounts]] entry: previews are never asked for without a role.

  demurrage audit
  demurrage audit --repository 'prod/*' --repository platform/envoy
  demurrage audit --format json | jq '.in_use_now[] | {repository, tags, due, reasons}'
  demurrage audit --out audit.md
  demurrage audit --verify --repository 'prod/*'`,
		Flags: []cli.Flag{
			runFlag(), nowFlag(), acceptFlag(),
			&cli.StringFlag{Name: "format", Value: "table", Usage: "table, json or markdown, to stdout"},
			&cli.StringFlag{Name: "out", Usage: "write it to `FILE` too, in the format of its ending (.json, .md)"},
			repositoryFlag(),
			&cli.BoolFlag{Name: "verify", Usage: "compare with AWS's own preview of each policy"},
		},
		Action: auditPolicies,
	}
}

// repositoryFlag narrows a command to some repositories.
func repositoryFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "repository", Usage: "only repositories that match `PATTERN`; can be repeated"}
}

// repositories is what --repository says; nil: all.
func repositories(c *cli.Context) audit.Filter {
	var patterns []image.Pattern
	for _, p := range c.StringSlice("repository") {
		patterns = append(patterns, image.Glob(p))
	}
	if len(patterns) == 0 {
		return nil
	}
	return func(r image.Repository) bool {
		return slices.ContainsFunc(patterns, func(p image.Pattern) bool { return p.Match(r.Name) })
	}
}

func auditPolicies(c *cli.Context) error {
	format, err := auditFormat(report.ParseFormat(c.String("format")))
	if err != nil {
		return err
	}
	out, outFormat := c.String("out"), report.Format("")
	if out != "" {
		if err := checkOut(out); err != nil {
			return err
		}
		if outFormat, err = auditFormat(report.FormatOf(out)); err != nil {
			return fmt.Errorf("--out %s: an audit is written to a file that ends in .json or .md", out)
		}
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
	a, err := audit.Of(run.Plan, filter)
	if err != nil {
		return err
	}
	if filter != nil && len(a.Policies)+len(a.Without)+len(a.Unread) == 0 {
		return fmt.Errorf("--repository: no repository of run %s matches %q", run.ID, c.StringSlice("repository"))
	}
	var v *audit.Verified
	if c.Bool("verify") {
		if v, err = s.verify(c.Context, run, filter); err != nil {
			return err
		}
	}
	write := func(w io.Writer, format report.Format) error {
		switch format {
		case report.FormatJSON:
			return report.AuditJSON(w, run, a, v)
		case report.FormatMarkdown:
			return report.AuditMarkdown(w, run, a, v)
		default:
			width, _ := terminal(s.stdout)
			return report.Audit(w, run, a, v, report.TermOptions{Width: width, Color: color(c, s.stdout)})
		}
	}
	if err := write(s.stdout, format); err != nil {
		return err
	}
	if out != "" {
		if err := s.replace(out, func(w io.Writer) error { return write(w, outFormat) }); err != nil {
			return err
		}
	}
	return auditVerdict(verdict(run, c.Bool("accept-incomplete")), a, v, c.Bool("accept-incomplete"))
}

// auditFormat lets the formats through that an audit has.
func auditFormat(f report.Format, err error) (report.Format, error) {
	if err != nil {
		return "", err
	}
	if !slices.Contains([]report.Format{report.FormatTable, report.FormatMarkdown, report.FormatJSON}, f) {
		return "", fmt.Errorf("format %s is none of table, markdown (.md), json", f)
	}
	return f, nil
}

// auditVerdict adds to the verdict over a plan what the audit could not see.
func auditVerdict(plan error, a *audit.Audit, v *audit.Verified, accept bool) error {
	e, incomplete := errors.AsType[*exitError](plan)
	if plan != nil && !incomplete || accept {
		return plan
	}
	var parts []string
	if incomplete {
		parts = append(parts, e.msg)
	}
	if n := len(a.Unread); n > 0 {
		parts = append(parts, fmt.Sprintf("the lifecycle policies of %d repositories could not be read", n))
	}
	fatal := map[image.Repository]bool{}
	for i := range a.Problems {
		if a.Problems[i].Fatal {
			fatal[a.Problems[i].Repository] = true
		}
	}
	if len(fatal) > 0 {
		parts = append(parts, fmt.Sprintf("the lifecycle policies of %d repositories could not be evaluated", len(fatal)))
	}
	if v != nil && len(v.Failures) > 0 {
		parts = append(parts, fmt.Sprintf("%d previews could not be made", len(v.Failures)))
	}
	if len(parts) == 0 {
		return nil
	}
	return &exitError{exitIncomplete, strings.Join(parts, "; ")}
}

// previewed is what AWS said of a repository.
type previewed struct {
	list []audit.Previewed
	at   time.Time
}

// verify has AWS preview the policies of a run and compares: registries side by side, the repositories of one after another.
func (s *session) verify(ctx context.Context, run *report.Run, filter audit.Filter) (*audit.Verified, error) {
	type job struct {
		image.Repository
		text string
	}
	jobs := map[image.Registry][]job{}
	n := 0
	for inv, err := range s.store.Inventories(ctx, run.ID) {
		if err != nil {
			return nil, err
		}
		if inv.Lifecycle == image.LifecycleSome && (filter == nil || filter(inv.Repository)) {
			jobs[inv.Repository.Registry] = append(jobs[inv.Repository.Registry], job{inv.Repository, inv.Expires})
			n++
		}
	}
	if !sharedBool(s.c, "quiet") {
		fmt.Fprintf(s.stderr, "verify: %d previews in %d registries, at least %d calls to ECR (--repository chooses)\n", n, len(jobs), 2*n)
	}
	v := &audit.Verified{}
	if n == 0 {
		return v, nil
	}
	p, err := s.provider()
	if err != nil {
		return nil, err
	}
	roster, err := s.roster(ctx, p)
	if err != nil {
		return nil, err
	}
	policy, err := assume.AllowActions(preview.Actions())
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	results := map[image.Repository]previewed{}
	fail := func(r image.Repository, err error) {
		mu.Lock()
		defer mu.Unlock()
		v.Failures = append(v.Failures, audit.Failure{Repository: r, Error: err.Error()})
	}
	phase := s.screen.phase("asking ECR for previews", n, "repositories", nil, nil)
	var g errgroup.Group
	g.SetLimit(s.config.Concurrency)
	for registry, list := range jobs {
		g.Go(func() error {
			cfg, err := s.previewer(ctx, p, roster, registry, policy)
			if err != nil {
				for _, j := range list {
					fail(j.Repository, err)
					phase.add(1)
				}
				return nil
			}
			client := preview.Client(cfg)
			for _, j := range list {
				got, at, err := preview.Preview(ctx, client, j.Name, j.text)
				phase.add(1)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if err != nil {
					fail(j.Repository, err)
					continue
				}
				mu.Lock()
				results[j.Repository] = previewed{got, at}
				mu.Unlock()
			}
			return nil
		})
	}
	err = g.Wait()
	phase.end()
	if err != nil {
		return nil, err
	}
	stored, err := s.store.Get(ctx, run.ID)
	if err != nil {
		return nil, err
	}
	for inv, err := range s.store.Inventories(ctx, run.ID) {
		if err != nil {
			return nil, err
		}
		if got, ok := results[inv.Repository]; ok {
			v.Compare(&inv, stored.StartedAt, got.list, got.at)
		}
	}
	v.Sort()
	return v, nil
}

// previewer enters the account of a registry with a session that can make previews and nothing else.
func (s *session) previewer(ctx context.Context, p *assume.Provider, roster *accounts.Roster, r image.Registry, policy string) (aws.Config, error) {
	i := slices.IndexFunc(roster.Accounts, func(a accounts.Account) bool { return a.ID == r.Account })
	if i < 0 {
		return aws.Config{}, errors.New("the account is not in the configuration any more")
	}
	a := roster.Accounts[i]
	if err := p.CheckSession(ctx, a, policy); err != nil {
		return aws.Config{}, err
	}
	return p.Session(a, r.Region, policy), nil
}
