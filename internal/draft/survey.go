package draft

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"golang.org/x/sync/errgroup"

	"demurrage/accounts"
)

// Actions are the IAM actions that a survey needs in an account, beside those that list its regions. A scan needs them
// all too, so that the role for scanning is enough.
func Actions() []string {
	return []string{"ecr:DescribeRepositories", "ecs:ListTaskDefinitions", "lambda:ListFunctions"}
}

// Survey says where to look, and how. All of it is required but Regions.
type Survey struct {
	Accounts []accounts.Account
	Regions  []string // nil: all that are enabled in each account
	// Enter says why an account cannot be entered, nil if it can.
	Enter func(context.Context, accounts.Account) error
	// Enabled lists the regions that are enabled in an account.
	Enabled func(context.Context, accounts.Account) ([]string, error)
	// Config gives the credentials for an account's region.
	Config func(a accounts.Account, region string) aws.Config
}

// sideBySide is how many accounts, and then how many of their regions, are looked at at once.
const sideBySide = 32

// Seen is what an account holds, and what of it could not be seen.
type Seen struct {
	ID, Name     string
	Repositories map[string][]string // by region
	Families     map[string][]string // of task definitions that are ACTIVE
	Functions    map[string][]string // those that are made of an image
	Disabled     []string            // regions that were asked for but are not enabled in the account: nothing can be there
	Unseen       []Unseen
	Answered     bool // at least one list came
}

// Unseen is something that could not be read.
type Unseen struct {
	What    string   // "repositories"; "regions"; "" for the whole account
	Regions []string // sorted; none where it concerns no region
	Why     string   // the first region's, where they differ
	code    string   // of the error: those of one code are one Unseen
}

// String says it on one line, though Why is whatever AWS answered.
func (u Unseen) String() string {
	switch {
	case u.What == "":
		return "could not be entered: " + u.Why
	case len(u.Regions) == 0:
		return u.What + " could not be read: " + u.Why
	default:
		return u.What + " in " + strings.Join(u.Regions, ", ") + " could not be read: " + u.Why
	}
}

// Look lists the repositories, task definition families and functions of all accounts, side by side. What cannot be
// read is no error, but told with its account. The error is that of ctx. The accounts come back by id.
func (s Survey) Look(ctx context.Context) ([]Seen, error) {
	seen := make([]Seen, len(s.Accounts))
	regions := make([][]string, len(s.Accounts))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	for i, a := range s.Accounts {
		seen[i] = Seen{ID: a.ID, Name: a.Name, Repositories: map[string][]string{}, Families: map[string][]string{}, Functions: map[string][]string{}}
		g.Go(func() error {
			regions[i] = s.regions(gctx, a, &seen[i])
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(sideBySide)
	var mu sync.Mutex
	for i, a := range s.Accounts {
		for _, region := range regions[i] {
			g.Go(func() error {
				cfg := s.Config(a, region)
				for _, l := range lists {
					names, err := l.names(gctx, cfg)
					if gctx.Err() != nil {
						return gctx.Err()
					}
					mu.Lock()
					if err != nil {
						seen[i].unseen(l.what, region, err)
					} else {
						seen[i].Answered = true
						if len(names) > 0 {
							l.of(&seen[i])[region] = names
						}
					}
					mu.Unlock()
				}
				return nil
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	for i := range seen {
		for _, u := range seen[i].Unseen {
			slices.Sort(u.Regions)
		}
		slices.SortStableFunc(seen[i].Unseen, func(a, b Unseen) int { return cmp.Or(cmp.Compare(a.What, b.What), cmp.Compare(a.code, b.code)) })
	}
	slices.SortFunc(seen, func(a, b Seen) int { return cmp.Compare(a.ID, b.ID) })
	return seen, nil
}

// regions are where to look in an account.
func (s Survey) regions(ctx context.Context, a accounts.Account, seen *Seen) []string {
	if err := s.Enter(ctx, a); err != nil {
		seen.Unseen = append(seen.Unseen, Unseen{Why: strings.TrimPrefix(err.Error(), "account "+a.ID+": ")}) // it says what to do
		return nil
	}
	enabled, err := s.Enabled(ctx, a)
	if err != nil {
		seen.Unseen = append(seen.Unseen, Unseen{What: "regions", Why: err.Error()})
		return s.Regions // they were asked for: some may answer
	}
	if s.Regions == nil {
		return enabled
	}
	var both []string
	for _, r := range s.Regions {
		if slices.Contains(enabled, r) {
			both = append(both, r)
		} else {
			seen.Disabled = append(seen.Disabled, r)
		}
	}
	return both
}

func (s *Seen) unseen(what, region string, err error) {
	code := ""
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		code = api.ErrorCode()
	}
	for i := range s.Unseen {
		if u := &s.Unseen[i]; u.What == what && u.code == code && code != "" {
			if region < slices.Min(u.Regions) {
				u.Why = reason(err)
			}
			u.Regions = append(u.Regions, region)
			return
		}
	}
	s.Unseen = append(s.Unseen, Unseen{What: what, Regions: []string{region}, Why: reason(err), code: code})
}

// reason is an error's text without what the SDK makes up anew for each request.
func reason(err error) string {
	op, ok := errors.AsType[*smithy.OperationError](err)
	if !ok {
		return err.Error()
	}
	if api, ok := errors.AsType[smithy.APIError](op); ok {
		return strings.TrimSuffix(api.ErrorCode()+": "+api.ErrorMessage(), ": ")
	}
	return op.Err.Error()
}

// lists are what is asked of a region.
var lists = []struct {
	what  string
	names func(context.Context, aws.Config) ([]string, error)
	of    func(*Seen) map[string][]string
}{
	{"repositories", repositories, func(s *Seen) map[string][]string { return s.Repositories }},
	{"task definitions", families, func(s *Seen) map[string][]string { return s.Families }},
	{"functions", functions, func(s *Seen) map[string][]string { return s.Functions }},
}

// repositories asks for pages of 1,000, the longest that there are.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeRepositories.html
func repositories(ctx context.Context, cfg aws.Config) ([]string, error) {
	var names []string
	pages := ecr.NewDescribeRepositoriesPaginator(ecr.NewFromConfig(cfg), &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range page.Repositories {
			names = append(names, aws.ToString(r.RepositoryName))
		}
	}
	return distinct(names), nil
}

// families takes them from the definitions, which a scan lists too, rather than ask for ListTaskDefinitionFamilies, which
// the role for scanning need not allow.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html
func families(ctx context.Context, cfg aws.Config) ([]string, error) {
	var names []string
	pages := ecs.NewListTaskDefinitionsPaginator(ecs.NewFromConfig(cfg), &ecs.ListTaskDefinitionsInput{
		Status: ecstypes.TaskDefinitionStatusActive, MaxResults: aws.Int32(100),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, arn := range page.TaskDefinitionArns {
			_, name, ok := strings.Cut(arn, ":task-definition/") // arn:…:task-definition/FAMILY:REVISION
			end := strings.LastIndexByte(name, ':')
			if !ok || end <= 0 {
				return nil, fmt.Errorf("%q is not the ARN of a task definition", arn)
			}
			if family := name[:end]; len(names) == 0 || names[len(names)-1] != family {
				names = append(names, family)
			}
		}
	}
	return distinct(names), nil
}

// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html
func functions(ctx context.Context, cfg aws.Config) ([]string, error) {
	var names []string
	pages := lambda.NewListFunctionsPaginator(lambda.NewFromConfig(cfg), &lambda.ListFunctionsInput{MaxItems: aws.Int32(50)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, f := range page.Functions {
			if f.PackageType == lambdatypes.PackageTypeImage {
				names = append(names, aws.ToString(f.FunctionName))
			}
		}
	}
	return distinct(names), nil
}

func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
