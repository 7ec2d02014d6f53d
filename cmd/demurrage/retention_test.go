package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
)

const (
	retentionEcrm   = "1. What ecrm's defaults do"
	retentionNewest = "2. Untagged after a day, the others 30 days before the newest push"
	retentionDev    = "3. The last ten `dev-` images, and never one that carries `prod-`"
)

// aged is an image of a certain age, and what the rules make of it.
type aged struct {
	name  string // "REPOSITORY/NAME": its content, and how others in the table refer to it
	age   time.Duration
	tags  string   // separated by blanks; none: untagged
	holds []string // an index of these, which stand before it
	signs string   // a signature of this, which stands before it
	want  string   // the action, and the codes of all reasons, sorted
}

// ruleSet is a section of docs/retention.md at work on a registry.
type ruleSet struct {
	name, section string
	images        []aged
	use           func(w *world, ref func(image string) string) // by account B
	refuse        bool                                          // B lets nobody look
}

// TestRetention copies each rule set from docs/retention.md, plans with it, and asks for the fate of every image.
func TestRetention(t *testing.T) {
	t.Parallel()
	sets := retentionSets(t)
	for _, c := range ruleSets {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, virginia)
			head, _, ok := strings.Cut(worldConfig, "[[task_definitions]]")
			if !ok || sets[c.section] == "" {
				t.Fatalf("section %q of the document has no rules", c.section)
			}
			w.config(head + sets[c.section])

			// Ages are exact: the plan counts them from the time that pushes are counted back from.
			now := time.Now().UTC().Truncate(time.Second)
			shared := map[string]bool{}
			names, digests, want := map[string]string{}, map[string]string{}, map[string]string{}
			for _, img := range c.images {
				repository, _, _ := strings.Cut(img.name, "/")
				if !shared[repository] {
					w.share(virginia, repository)
					shared[repository] = true
				}
				content, tags := manifest(img.name), strings.Fields(img.tags)
				if len(img.holds) > 0 {
					var held []string
					for _, name := range img.holds {
						held = append(held, digests[name])
					}
					content = indexOf(held...)
				}
				if img.signs != "" {
					tags = append(tags, strings.Replace(digests[img.signs], ":", "-", 1)+".sig")
				}
				d := w.putAt(now.Add(-img.age), repository, content, tags...)
				names[repository+"@"+d], digests[img.name], want[img.name] = img.name, d, img.want
			}
			w.cluster(accountB, virginia)
			w.cluster(accountB, ireland)
			if c.use != nil {
				c.use(w, func(image string) string {
					repository, _, _ := strings.Cut(image, "/")
					return host(virginia) + "/" + repository + "@" + digests[image]
				})
			}
			code := 0
			if c.refuse {
				w.trust(accountB, accountHub, "another")
				code = 2
			}

			got := map[string]string{}
			for _, img := range w.plan(code, "--now", now.Format(time.RFC3339)).Images {
				var codes []string
				for _, r := range img.Reasons {
					codes = append(codes, r.Code)
				}
				slices.Sort(codes)
				key := img.Repository + "@" + img.Digest
				if names[key] == "" {
					t.Errorf("an image that nobody pushed: %s %v", key, img.Tags)
				}
				got[names[key]] = strings.Join(append([]string{img.Action}, slices.Compact(codes)...), " ")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what becomes of the images (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRetentionDocument: every rule set of the document is tested, and nothing else is ready to copy.
func TestRetentionDocument(t *testing.T) {
	t.Parallel()
	for section := range retentionSets(t) {
		if !slices.ContainsFunc(ruleSets, func(c ruleSet) bool { return c.section == section }) {
			t.Errorf("the rules of section %q are not tested", section)
		}
	}
}

// retentionSets takes the rule sets out of the document, by the headings that they stand under.
func retentionSets(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/retention.md")
	if err != nil {
		t.Fatal(err)
	}
	sets, section, inside := map[string]string{}, "", false
	for line := range strings.Lines(string(text)) {
		heading, isHeading := strings.CutPrefix(line, "## ")
		switch {
		case inside && strings.HasPrefix(line, "```"):
			inside = false
		case inside:
			sets[section] += line
		case isHeading:
			section = strings.TrimSpace(heading)
		case strings.HasPrefix(line, "```toml"):
			if sets[section] != "" {
				t.Fatalf("section %q has several rule sets", section)
			}
			inside = true
		}
	}
	return sets
}

// putAt pushes into a repository of A at a time.
func (w *world) putAt(at time.Time, repository, manifest string, tags ...string) string {
	w.Helper()
	w.SetClock(at)
	defer w.SetClock(time.Time{})
	if len(tags) == 0 {
		tags = []string{""}
	}
	for _, tag := range tags {
		in := ecr.PutImageInput{RepositoryName: &repository, ImageManifest: &manifest}
		if tag != "" {
			in.ImageTag = &tag
		}
		done(w.ecr(accountA, virginia).PutImage(w.Context(), &in))(w)
	}
	return digest.FromString(manifest).String()
}

const days = 24 * time.Hour

// series makes images REPOSITORY/PREFIX1 to n, each with its name as its tag. The last is the newest and of that age, and
// each of the others an hour older than the next.
func series(repository, prefix string, n int, age time.Duration, want string) []aged {
	var all []aged
	for i := 1; i <= n; i++ {
		name := fmt.Sprint(prefix, i)
		all = append(all, aged{name: repository + "/" + name, age: age + time.Duration(n-i)*time.Hour, tags: name, want: want})
	}
	return all
}

var ruleSets = []ruleSet{
	{
		name: "ecrm", section: retentionEcrm,
		images: slices.Concat(
			// Nobody has pushed for 100 days: the five newest that are tagged stay.
			[]aged{{name: "quiet/latest", age: 200 * days, tags: "old latest", want: "keep keep-tag"}},
			[]aged{{name: "quiet/v0", age: 106 * days, tags: "v0", want: "delete expired"}},
			[]aged{{name: "quiet/v1", age: 105 * days, tags: "v1", want: "delete expired"}},
			series("quiet", "w", 5, 100*days, "keep keep-count"),
			[]aged{{name: "quiet/untagged", age: 99 * days, want: "delete untagged-expired"}},

			// Where five are young, no older one stays by its number: ecrm would keep both.
			[]aged{
				{name: "busy/old", age: 40 * days, tags: "old", want: "delete expired"},
				{name: "busy/at-30-days", age: 30 * days, tags: "at-30-days", want: "delete expired"},
				{name: "busy/young", age: 29 * days, tags: "young", want: "keep within-expiry"},
				{name: "busy/untagged-old", age: 30 * days, want: "delete untagged-expired"},
				{name: "busy/untagged-young", age: 29 * days, want: "keep within-expiry"},
			},
			series("busy", "v", 5, 2*days, "keep keep-count within-expiry"),

			// A multi-arch image is one image, and its platforms follow it.
			[]aged{
				{name: "multi/amd64-of-v1", age: 91 * days, want: "delete child-of-deleted"},
				{name: "multi/v1", age: 90 * days, tags: "v1", holds: []string{"multi/amd64-of-v1"}, want: "delete expired"},
				{name: "multi/amd64-of-v2", age: 81 * days, want: "keep child-of-kept"},
				{name: "multi/arm64-of-v2", age: 81 * days, want: "keep child-of-kept"},
				{name: "multi/v2", age: 80 * days, tags: "v2", holds: []string{"multi/amd64-of-v2", "multi/arm64-of-v2"}, want: "keep keep-count"},
			},
			series("multi", "w", 4, 70*days, "keep keep-count"),

			// Seven revisions of a task definition, and a service that has not moved on from the first.
			[]aged{
				{name: "web/v1", age: 97 * days, tags: "v1", want: "keep in-use"},
				{name: "web/v2", age: 96 * days, tags: "v2", want: "delete expired"},
				{name: "web/v3", age: 95 * days, tags: "v3", want: "keep in-use"},
				{name: "web/v4", age: 94 * days, tags: "v4", want: "keep in-use"},
				{name: "web/v5", age: 93 * days, tags: "v5", want: "keep in-use"},
				{name: "web/v6", age: 92 * days, tags: "v6", want: "keep in-use"},
				{name: "web/v7", age: 91 * days, tags: "v7", want: "keep in-use"},
				{name: "web/elsewhere", age: 90 * days, tags: "elsewhere", want: "keep in-use"}, // in a region that nothing names
			},
			series("web", "w", 5, 60*days, "keep keep-count"),

			// Eight versions of a function, the first with an alias; the last is $LATEST too.
			[]aged{
				{name: "resize/v1", age: 98 * days, tags: "v1", want: "keep in-use"},
				{name: "resize/v2", age: 97 * days, tags: "v2", want: "delete expired"},
				{name: "resize/v3", age: 96 * days, tags: "v3", want: "delete expired"},
				{name: "resize/v4", age: 95 * days, tags: "v4", want: "keep in-use"}, // ecrm counts $LATEST, and lets it go
				{name: "resize/v5", age: 94 * days, tags: "v5", want: "keep in-use"},
				{name: "resize/v6", age: 93 * days, tags: "v6", want: "keep in-use"},
				{name: "resize/v7", age: 92 * days, tags: "v7", want: "keep in-use"},
				{name: "resize/v8", age: 91 * days, tags: "v8", want: "keep in-use"},
			},
			series("resize", "w", 5, 60*days, "keep keep-count"),
		),
		use: func(w *world, ref func(string) string) {
			w.service("web", w.register(virginia, "web", ref("web/v1")), 1, "")
			for i := 2; i <= 7; i++ {
				w.register(virginia, "web", ref(fmt.Sprint("web/v", i)))
			}
			w.task(ireland, "elsewhere", ref("web/elsewhere"))
			w.function("resize", ref("resize/v1"), true)
			done(w.lambda(accountB, virginia).CreateAlias(w.Context(), &lambda.CreateAliasInput{
				FunctionName: aws.String("resize"), Name: aws.String("stable"), FunctionVersion: aws.String("1"),
			}))(w)
			for i := 2; i <= 8; i++ {
				w.update(accountB, virginia, "resize", ref(fmt.Sprint("resize/v", i)))
			}
		},
	},
	{
		name: "ecrm-unread", section: retentionEcrm, refuse: true,
		images: slices.Concat(
			[]aged{
				{name: "quiet/v1", age: 110 * days, tags: "v1", want: "blocked coverage-gap"},
				{name: "quiet/v2", age: 109 * days, want: "blocked coverage-gap"},
			},
			series("quiet", "w", 5, 100*days, "keep keep-count"),
		),
	},
	{
		name: "newest-push", section: retentionNewest,
		images: []aged{
			// Nobody has pushed for 200 days.
			{name: "quiet/v1", age: 300 * days, tags: "v1", want: "delete expired"},
			{name: "quiet/v2", age: 230 * days, tags: "v2", want: "delete expired"},
			{name: "quiet/v3", age: 229 * days, tags: "v3", want: "keep within-expiry"},
			{name: "quiet/untagged-old", age: 201 * days, want: "delete untagged-expired"},
			{name: "quiet/untagged", age: 200*days + 12*time.Hour, want: "keep within-expiry"},
			{name: "quiet/v4", age: 200 * days, tags: "v4", want: "keep within-expiry"},

			// What is used stays, with a tag and without.
			{name: "used/v1", age: 500 * days, tags: "v1", want: "keep in-use"},
			{name: "used/untagged", age: 400 * days, want: "keep in-use"},
			{name: "used/v2", age: 100 * days, tags: "v2", want: "delete expired"},
			{name: "used/v3", age: 10 * days, tags: "v3", want: "keep within-expiry"},

			// The newest push may be an untagged one.
			{name: "moved/v1", age: 120 * days, tags: "v1", want: "delete expired"},
			{name: "moved/v2", age: 119 * days, tags: "v2", want: "keep within-expiry"},
			{name: "moved/untagged-old", age: 91 * days, want: "delete untagged-expired"},
			{name: "moved/untagged", age: 90 * days, want: "keep within-expiry"},

			// Or a signature, which makes the others old.
			{name: "signed/v1", age: 100 * days, tags: "v1", want: "delete expired"},
			{name: "signed/v2", age: 90 * days, tags: "v2", want: "delete expired"},
			{name: "signed/signature", age: 2 * days, signs: "signed/v2", want: "delete referrer-of-deleted"},
		},
		use: func(w *world, ref func(string) string) {
			w.task(virginia, "tagged", host(virginia)+"/used:v1")
			w.task(virginia, "untagged", ref("used/untagged"))
		},
	},
	{
		name: "dev-prod", section: retentionDev,
		images: slices.Concat(
			[]aged{
				{name: "app/dev-1", age: 90 * days, tags: "dev-1 prod-1", want: "keep keep-tag"}, // which a lifecycle policy takes
				{name: "app/dev-2", age: 80 * days, tags: "dev-2", want: "delete expired"},
				{name: "app/dev-3", age: 70 * days, tags: "dev-3", want: "keep in-use"},
				{name: "app/release", age: 60 * days, tags: "v1.0", want: "delete expired"}, // neither dev- nor prod-, and not named
				{name: "app/dev-4", age: 50 * days, tags: "dev-4", want: "delete expired"},
			},
			// Of the ten newest one is prod- alone, so that nine of the ten dev- stay.
			[]aged{{name: "app/dev-5", age: 29 * days, tags: "dev-5", want: "delete expired"}},
			series("app", "dev-1", 9, 20*days, "keep keep-count"),
			[]aged{
				{name: "app/prod", age: 10 * days, tags: "prod-2", want: "keep keep-count keep-tag"},
				{name: "app/untagged", age: 5 * days, want: "delete untagged-expired"}, // takes no place
			},

			// Fewer than ten stay however old they are.
			series("small", "dev-", 4, 300*days, "keep keep-count"),

			// A day with eleven pushes keeps them all until the next.
			[]aged{
				{name: "rush/yesterday", age: 1 * days, tags: "dev-y", want: "delete expired"},
				{name: "rush/untagged-yesterday", age: 1 * days, want: "delete untagged-expired"},
				{name: "rush/dev-0", age: 23 * time.Hour, tags: "dev-0", want: "keep min-age within-expiry"},
				{name: "rush/untagged", age: 23 * time.Hour, want: "keep min-age within-expiry"},
			},
			series("rush", "dev-", 10, time.Hour, "keep keep-count min-age within-expiry"),
		),
		use: func(w *world, ref func(string) string) { w.task(virginia, "app", ref("app/dev-3")) },
	},
}
