package report

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	flag.Parse()
	text.OverrideRuneWidthEastAsianWidth(false) // whatever the locale of whoever tests
	os.Exit(m.Run())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

var now = time.Date(2026, time.October, 1, 9, 30, 0, 0, time.UTC)

const day = 24 * time.Hour

func digest(name string) image.Digest {
	return image.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(name))))
}

// img is an image of so many MiB, pushed so many days ago; its digest is made of its name.
func img(name string, mib, days int, tags ...string) image.Image {
	return image.Image{Digest: digest(name), Tags: tags, Bytes: int64(mib) << 20, PushedAt: now.Add(-time.Duration(days) * day), MediaType: image.MediaTypeOCIManifest}
}

func repo(account, region, name string) image.Repository {
	return image.Repository{Registry: image.Registry{Account: account, Region: region}, Name: name}
}

func all(inventories []image.Inventory) iter.Seq2[image.Inventory, error] {
	return func(yield func(image.Inventory, error) bool) {
		for i := range inventories {
			if !yield(inventories[i], nil) {
				return
			}
		}
	}
}

func build(t testing.TB, rules planner.Rules, usage planner.Usage, inventories []image.Inventory) *planner.Plan {
	t.Helper()
	p, err := planner.Build(planner.Merge(rules, now, usage), all(inventories))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const (
	platform = "111111111111"
	payments = "222222222222"
	research = "333333333333"
	closed   = "444444444444"
	tokyo    = "ap-northeast-1"
	virginia = "us-east-1"
	saopaulo = "sa-east-1"
)

var testRules = planner.Rules{
	Repositories: []planner.RepositoryRule{
		{Name: image.Glob("scratch/*")},
		{Name: image.Glob("*"), Expires: 30 * day, KeepCount: 1, KeepTags: []image.Pattern{image.Glob("stable")}, UntaggedExpires: day},
	},
	Attestations: []planner.Attestation{
		{Accounts: []image.Pattern{image.Glob("*")}, Regions: []string{saopaulo}, Sources: []string{"eks"}, Reason: "denied by SCP", Expires: now.Add(180 * day)},
		{Accounts: []image.Pattern{image.Exact(research)}, Reason: "expired long ago", Expires: now.Add(-day)},
	},
	MinAge: day,
}

// sample is a small plan with something of everything.
func sample(t testing.TB) *Run {
	index := img("index", 40, 50, "multi")
	index.MediaType = image.MediaTypeOCIIndex
	index.Children = []image.Digest{digest("amd64"), digest("arm64")}
	signature := img("signature", 1, 50, "sha256-"+string(digest("index"))[7:]+".sig")
	pulled := img("api-2", 300, 60, "v2")
	pulled.LastPulledAt = now.Add(-45 * day)
	ref := func(r image.Repository, tag string, d image.Digest) image.Ref {
		return image.Ref{Repository: r, Tag: tag, Digest: d}
	}
	api := repo(platform, virginia, "prod/api")
	usage := planner.Usage{
		Uses: []image.Use{
			{Ref: ref(api, "v1", ""), Source: "ecs-task-definition", Account: payments, Region: tokyo, Resource: "arn:aws:ecs:ap-northeast-1:222222222222:task-definition/api:7", Detail: "container app"},
			{Ref: ref(api, "v3", digest("api-3")), Source: "ecs-service", Account: platform, Region: virginia, Resource: "arn:aws:ecs:us-east-1:111111111111:service/prod/api", Detail: "deployment PRIMARY", Live: true},
			{Ref: ref(api, "v9", ""), Source: "ecs-service", Account: payments, Region: tokyo, Resource: "arn:aws:ecs:ap-northeast-1:222222222222:service/prod/checkout", Detail: "deployment PRIMARY", Live: true},
			{Ref: ref(repo(platform, virginia, "gone"), "latest", ""), Source: "lambda-function", Account: platform, Region: virginia, Resource: "arn:aws:lambda:us-east-1:111111111111:function:report:3"},
		},
		Coverage: []image.Coverage{
			{Account: platform, Region: virginia, Source: "ecr", Status: image.CoverageOK},
			{Account: platform, Region: virginia, Source: "ecs", Status: image.CoverageOK},
			{Account: platform, Region: saopaulo, Source: "ecr", Status: image.CoverageOK},
			{Account: platform, Region: saopaulo, Source: "eks", Status: image.CoverageFailed, Error: "eks: ListClusters: AccessDeniedException"},
			{Account: platform, Region: virginia, Source: "apprunner", Status: image.CoverageUnavailable},
			{Account: payments, Region: tokyo, Source: "ecr", Status: image.CoverageFailed, Error: "ecr: BatchGetImage: ServerException"},
			{Account: payments, Region: tokyo, Source: "ecs", Status: image.CoverageFailed, Error: "ecs: DescribeTasks: ThrottlingException: Rate exceeded"},
			{Account: payments, Region: virginia, Source: "ecs", Status: image.CoverageFailed, Error: "ecs: DescribeTasks: ThrottlingException: Rate exceeded"},
			{Account: research, Region: "*", Source: "regions", Status: image.CoverageFailed, Error: "sts: AssumeRole: AccessDenied: User: arn:aws:sts::999999999999:assumed-role/hub/demurrage is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::333333333333:role/DemurrageRead"},
		},
		Unscanned: []planner.Unscanned{{Account: closed, Name: "old-shop", State: "SUSPENDED", Why: "suspended"}},
		Notes: []image.Note{{Account: platform, Region: virginia, Source: "states", Resource: "arn:aws:states:us-east-1:111111111111:stateMachine:nightly",
			Text: "the task definition that it starts is computed at run time: $.family"}},
	}
	inventories := []image.Inventory{
		{Repository: repo(platform, saopaulo, "edge"), Images: []image.Image{img("edge-1", 700, 90, "e1"), img("edge-2", 710, 10, "e2")}},
		{Repository: repo(platform, virginia, "prod/api"), Tags: map[string]string{"owner": "team-api", "CostCenter": "CC-9"}, Images: []image.Image{
			img("api-0", 290, 120), img("api-1", 295, 100, "v1"), pulled, img("api-3", 305, 20, "v3"), img("stable", 280, 200, "stable"),
		}},
		{Repository: repo(platform, virginia, "prod/multi"), Images: []image.Image{
			img("amd64", 38, 50), img("arm64", 40, 50), index, signature, img("multi-2", 45, 5, "multi2"),
		}},
		{Repository: repo(platform, virginia, "scratch/tmp"), Images: []image.Image{img("tmp", 11, 400, "tmp")}},
		{Repository: repo(platform, virginia, "shared/base"), HasPolicy: true, Policy: `{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}}`, Images: []image.Image{img("base-1", 120, 400, "b1"), img("base-2", 130, 300, "b2")}},
		{Repository: repo(payments, tokyo, "checkout"), Images: []image.Image{img("checkout-1", 500, 80, "c1"), img("checkout-2", 510, 40, "c2")}},
		{Repository: repo(payments, tokyo, "empty"), Images: nil},
		{Repository: repo(payments, tokyo, "partly-read"), Errors: []string{"ecr: BatchGetImage: ServerException"}, Images: []image.Image{img("partly-1", 50, 80, "p1"), img("partly-2", 51, 40, "p2")}},
	}
	return &Run{
		Plan:         build(t, testRules, usage, inventories),
		ID:           "20261001T093000Z-demo",
		ConfigSHA256: "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
		Version:      "1.0.0",
		GeneratedAt:  now,
		Prices:       cost.List(),
		Accounts: map[string]Account{
			platform: {ID: platform, Name: "platform", CostCenter: "CC-1001", OU: "Root/Prod"},
			payments: {ID: payments, Name: "payments-prod", Owner: "Pay Team", Tags: map[string]string{"CostCenter": "CC-2002"}},
			research: {ID: research, Name: "research"},
		},
		Hints: []string{"Why an image stays or goes: demurrage explain REF"},
	}
}

// A command ends with what is urgent first, in lines that fit, and with commands that are whole.
func TestClosing(t *testing.T) {
	for name, c := range map[string]struct {
		run   *Run
		width int
		want  []string // what the lines begin with; a line that is wrapped goes on with two spaces
	}{
		"sample": {financial(t, sample(t)), 0, []string{"Broken references: ", "Not looked at: ", "Money: deleting ", "Next: demurrage explain ", "      demurrage check"}},
		"narrow": {financial(t, sample(t)), 40, []string{"Broken references: ", "Not looked at: ", "Money: deleting ", "Next: demurrage explain ", "      demurrage check"}},
		"nothing": {&Run{Plan: build(t, planner.Rules{}, planner.Usage{}, nil), Prices: cost.List(), GeneratedAt: now}, 80,
			[]string{"Broken references: none.", "Not looked at: nothing; ", "Money: nothing goes", "Next: nothing to do."}},
	} {
		t.Run(name, func(t *testing.T) {
			var next []string
			if u := c.run.FirstBroken(); u != nil {
				if !u.Live {
					t.Errorf("the first is %+v", u)
				}
				next = []string{"demurrage explain " + u.Ref.String(), "demurrage check"}
			}
			var b strings.Builder
			if err := Closing(&b, c.run, nil, next, TermOptions{Width: c.width}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(b.String()) {
				line = strings.TrimSuffix(line, "\n")
				if c.width > 0 && len([]rune(line)) > c.width && !strings.Contains(line, "demurrage ") {
					t.Errorf("too long: %q", line)
				}
				if !strings.HasPrefix(line, "  ") || strings.HasPrefix(line, "      ") {
					got = append(got, line)
				}
			}
			for i, want := range c.want {
				if len(got) != len(c.want) || !strings.HasPrefix(got[i], want) {
					t.Fatalf("got\n%s\nwant %q", b.String(), c.want)
				}
			}
		})
	}
}

func TestClosingOfHostileRun(t *testing.T) {
	run := financial(t, sample(t))
	for i := range run.Plan.Broken {
		run.Plan.Broken[i].Resource = "arn:\x1b[2J\nNext: rm -rf"
	}
	var b strings.Builder
	if err := Closing(&b, run, nil, []string{"demurrage explain \x1b[2J"}, TermOptions{Width: 80}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "\x1b") || strings.Contains(b.String(), "\nNext: rm") {
		t.Errorf("%q", b.String())
	}
}
