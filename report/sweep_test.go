package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/internal/journal"
)

const gib = 1 << 30

// swept is an image of so many MiB on record; its digest is made of its name.
func swept(name string, mib int, state journal.State, code journal.Code, detail string, tags ...string) journal.Image {
	return journal.Image{Digest: digest(name), Bytes: int64(mib) << 20, Tags: tags, State: state, Code: code, Detail: detail}
}

// several are images alike.
func several(name string, n, mib int, state journal.State, code journal.Code, detail string) []journal.Image {
	var list []journal.Image
	for i := range n {
		list = append(list, swept(fmt.Sprintf("%s-%d", name, i), mib, state, code, detail))
	}
	return list
}

// recorded is a record with consistent particulars.
func recorded(kind journal.Kind, r image.Repository, call int, images ...journal.Image) *journal.Record {
	rec := &journal.Record{Kind: kind, At: now.Add(time.Minute), Account: r.Account, Region: r.Region, Repository: r.Name, Call: call}
	for _, img := range images {
		if kind == journal.KindIntent {
			img.State, img.Code, img.Detail = "", "", ""
		}
		rec.Images = append(rec.Images, img)
	}
	return rec
}

// called are the two records of a call.
func called(r image.Repository, call int, images ...journal.Image) []*journal.Record {
	return []*journal.Record{recorded(journal.KindIntent, r, call, images...), recorded(journal.KindOutcome, r, call, images...)}
}

func ended(why string) *journal.Record {
	return &journal.Record{Kind: journal.KindEnd, At: now.Add(5*time.Minute + 3*time.Second), End: &journal.End{Abandoned: why}}
}

// sweepOf adds up records behind a beginning that plans what they account for, and so much more in the first registry.
func sweepOf(t testing.TB, b journal.Begin, more journal.Tally, records ...*journal.Record) *Sweep {
	t.Helper()
	sums := map[image.Registry]*journal.Tally{}
	seen := map[string]bool{}
	var order []image.Registry
	for _, r := range records {
		reg := r.Repo().Registry
		for _, img := range r.Images {
			if r.Kind == journal.KindIntent {
				continue
			}
			if sums[reg] == nil {
				sums[reg] = &journal.Tally{}
				order = append(order, reg)
			}
			if k := r.Repo().String() + string(img.Digest); !seen[k] {
				seen[k] = true
				sums[reg].Add(journal.Tally{Images: 1, Bytes: img.Bytes})
			}
		}
	}
	for i, reg := range order {
		if i == 0 {
			sums[reg].Add(more)
		}
		b.PlannedIn = append(b.PlannedIn, journal.Planned{Account: reg.Account, Region: reg.Region, Tally: *sums[reg]})
	}
	l := journal.NewLedger()
	for _, r := range append([]*journal.Record{{Kind: journal.KindBegin, At: now, Begin: &b}}, records...) {
		if err := l.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	return &Sweep{
		ID: "20261001T093000Z-5eed", Ledger: l, Prices: cost.List(),
		Accounts: map[string]Account{platform: {ID: platform, Name: "platform"}, payments: {ID: payments, Name: "payments-prod"}, research: {ID: research, Name: "research"}},
		Hints:    []string{"The journal: demurrage-data/sweeps/20261001T093000Z-5eed"},
	}
}

var sampleBegin = journal.Begin{
	Sweep: "20261001T093000Z-5eed", Who: "arn:aws:sts::999999999999:assumed-role/hub/demurrage", Host: "hub", PID: 7, Version: "1.0.0",
	Plan: journal.Plan{SHA256: "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945", Run: "20260930T090000Z-0001", GeneratedAt: now.Add(-day)},
	Run:  "20261001T092900Z-0002", StartedAt: now,
}

const denied = "AccessDeniedException: User: arn:aws:sts::222222222222:assumed-role/DemurrageSweep/demurrage is not authorized to perform: ecr:BatchDeleteImage"

// mixed has an image of every fate.
func mixed() []*journal.Record {
	api, edge, multi := repo(platform, virginia, "prod/api"), repo(platform, saopaulo, "edge"), repo(platform, virginia, "prod/multi")
	checkout, labs := repo(payments, tokyo, "checkout"), repo(research, virginia, "labs/notebook")
	records := slices.Concat(
		called(api, 1, several("api", 100, 300, journal.Deleted, "", "")...),
		called(api, 2, append(several("apj", 7, 290, journal.Deleted, "", ""),
			swept("held", 120, journal.Failed, "ImageReferencedByManifestList", "Requested image referenced by manifest list: [sha256:1bc0]", "v1", "v1.0"))...),
		called(edge, 3, several("edge", 2, 700, journal.Deleted, "", "")...),
		called(checkout, 4, several("checkout", 3, 500, journal.Failed, "AccessDeniedException", denied)...),
	)
	return append(records,
		recorded(journal.KindSkip, api, 0,
			swept("pulled", 310, journal.Skipped, journal.Changed, "pulled 2026-10-01T09:29:00Z, which was not known when the plan of 2026-09-30T09:30:00Z was made", "v7"),
			swept("tagged", 310, journal.Skipped, journal.Changed, "tagged stable since the plan was made", "v8"),
			swept("used", 310, journal.Skipped, journal.NotDeletable, "in-use: deployment PRIMARY (ecs-service arn:aws:ecs:us-east-1:111111111111:service/prod/api)", "v9"),
			swept("gone", 310, journal.Skipped, journal.Gone, "it is not in the repository any more")),
		recorded(journal.KindSkip, multi, 0,
			swept("last", 40, journal.Skipped, journal.LastRoot, "nothing else would be left in the repository"),
			swept("child", 38, journal.Skipped, journal.RelativeStays, "it is a child of sha256:1bc0, which stays"),
			swept("index", 0, journal.Skipped, journal.RelativeStays, "it refers to sha256:1bc0, which stays")),
		recorded(journal.KindSkip, checkout, 0, several("unlooked", 9, 100, journal.Skipped, journal.NotLooked, "the registry could not be read again: ecr: DescribeImages: ServerException")...),
		recorded(journal.KindSkip, checkout, 0, several("stopped", 4, 100, journal.Skipped, journal.AccountStopped, "5 calls in a row failed in the account ([safety] max_failures)")...),
		recorded(journal.KindSkip, checkout, 0, swept("novel", 1, journal.Skipped, "a-code-of-tomorrow", "whatever it says")),
		recorded(journal.KindSkip, labs, 0, several("labs", 30, 50, journal.Skipped, journal.NotEnforced, "account 333333333333 has no enforce = true")...),
		recorded(journal.KindSkip, labs, 0, swept("young", 50, journal.Skipped, journal.Unconfirmed, "no complete run at least 7d older than this one found it deletable too")),
	)
}

func dry() []*journal.Record {
	return []*journal.Record{
		recorded(journal.KindSkip, repo(platform, virginia, "prod/api"), 0, several("api", 12, 300, journal.Skipped, journal.DryRun, "it would be deleted")...),
		recorded(journal.KindSkip, repo(platform, saopaulo, "edge"), 0, several("edge", 2, 700, journal.Skipped, journal.DryRun, "it would be deleted")...),
		recorded(journal.KindSkip, repo(research, virginia, "labs"), 0, several("labs", 3, 50, journal.Skipped, journal.NotEnforced, "account 333333333333 has no enforce = true")...),
	}
}

// sweeps are sweeps of every kind.
func sweeps(t testing.TB) map[string]*Sweep {
	api := repo(platform, virginia, "prod/api")
	dryBegin, narrowed, again := sampleBegin, sampleBegin, sampleBegin
	dryBegin.DryRun = true
	dryBegin.Plan.SHA256 = "run:20261001T092900Z-0002"
	narrowed.Filters, narrowed.Incomplete = []string{"account=111111111111", "repository=prod/*"}, true
	done := called(api, 1, several("api", 20, 300, journal.Deleted, "", "")...)
	under := recorded(journal.KindIntent, api, 2, several("way", 10, 300, "", "", "")...)
	continued := sweepOf(t, dryBegin, journal.Tally{}, slices.Concat(done, []*journal.Record{
		recorded(journal.KindSkip, api, 0, several("rest", 5, 300, journal.Skipped, journal.DryRun, "it would be deleted")...), ended("")})...)
	failing := sweepOf(t, again, journal.Tally{}, append(slices.Concat(
		called(api, 1, several("denied", 60, 10, journal.Failed, "AccessDeniedException", denied)...),
		called(api, 2, func() (list []journal.Image) {
			for i := range 30 {
				list = append(list, swept(fmt.Sprintf("held-%d", i), 10, journal.Failed, "ImageReferencedByManifestList", fmt.Sprintf("Requested image referenced by manifest list: [%d]", i)))
			}
			return list
		}()...)), ended(""))...)
	return map[string]*Sweep{
		"complete":    sweepOf(t, sampleBegin, journal.Tally{}, append(mixed(), ended(""))...),
		"dry-run":     sweepOf(t, dryBegin, journal.Tally{}, append(dry(), ended(""))...),
		"interrupted": sweepOf(t, narrowed, journal.Tally{Images: 1_500, Bytes: 400 * gib}, append(done, under)...),
		"abandoned":   sweepOf(t, sampleBegin, journal.Tally{Images: 30, Bytes: gib}, append(slices.Clone(done), ended("interrupted, and then another plan was applied"))...),
		"braked":      sweepOf(t, dryBegin, journal.Tally{}, append(dry()[2:], ended(""))...),
		"skipped":     sweepOf(t, sampleBegin, journal.Tally{}, append(dry()[2:], ended(""))...),
		"nothing":     sweepOf(t, sampleBegin, journal.Tally{}, ended("")),
		"continued":   continued,
		"failing":     failing,
		"unbalanced":  sweepOf(t, sampleBegin, journal.Tally{Images: -3, Bytes: -7}, append(slices.Clone(done), ended(""))...),
		"unbegun":     {Ledger: journal.NewLedger()},
	}
}

func TestSweepGolden(t *testing.T) {
	for _, c := range []struct {
		name, sweep string
		write       func(io.Writer, *Sweep) error
	}{
		{"sweep-80.txt", "complete", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{Width: 80}) }},
		{"sweep-color.txt", "complete", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{Width: 120, Color: true}) }},
		{"sweep-dry-run.txt", "dry-run", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{Width: 100}) }},
		{"sweep-continued.txt", "continued", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{Width: 100}) }},
		{"sweep-interrupted.txt", "interrupted", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{Width: 80}) }},
		{"sweep-abandoned.txt", "abandoned", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{}) }},
		{"sweep-failing.txt", "failing", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{}) }},
		{"sweep-nothing.txt", "nothing", func(w io.Writer, s *Sweep) error { return SweepText(w, s, TermOptions{Width: 80}) }},
		{"sweep.md", "complete", SweepMarkdown},
		{"sweep-dry-run.md", "dry-run", SweepMarkdown},
		{"sweep-interrupted.md", "interrupted", SweepMarkdown},
		{"sweep-dry-run.json", "dry-run", SweepJSON},
		{"sweep-interrupted.json", "interrupted", SweepJSON},
	} {
		t.Run(c.name, func(t *testing.T) {
			var first, second bytes.Buffer
			if err := errors.Join(c.write(&first, sweeps(t)[c.sweep]), c.write(&second, sweeps(t)[c.sweep])); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Error("the same sweep gave other bytes")
			}
			golden(t, c.name, first.Bytes())
			if err := c.write(fails{}, sweeps(t)[c.sweep]); !errors.Is(err, errFull) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSweepOutcome(t *testing.T) {
	for name, want := range map[string]string{
		"complete":    "DELETED 109 of 165 planned images, 33 GiB of 38 GiB promised (85 %); 4 failed; 52 skipped.",
		"dry-run":     "DRY RUN: would delete 14 of 17 planned images, 4.9 GiB of 5.0 GiB promised (97 %); 3 skipped.",
		"interrupted": "INTERRUPTED: deleted 20 of 1,520 planned images, 5.9 GiB of 406 GiB promised (1 %); 1,500 left: the same command goes on.",
		"abandoned":   "ABANDONED: deleted 20 of 50 planned images, 5.9 GiB of 6.9 GiB promised (85 %); 30 left: interrupted, and then another plan was applied.",
		"braked":      "DRY RUN: would delete 0 of 3 planned images, 0 B of 150 MiB promised (0 %); 3 skipped.",
		"skipped":     "NOTHING DELETED of 3 planned images, 150 MiB; 3 skipped.",
		"nothing":     "NOTHING DELETED: nothing was planned.",
		"continued":   "DRY RUN: would delete 5 of 25 planned images, 1.5 GiB of 7.3 GiB promised (20 %); deleted before, by an attempt that was interrupted: 20 images, 5.9 GiB.",
		"failing":     "NOTHING DELETED of 90 planned images, 900 MiB; 90 failed.",
		"unbegun":     "INTERRUPTED: deleted 0 of 0 planned images, 0 B of 0 B promised.",
	} {
		word, text := newSweepFacts(sweeps(t)[name], 1).outcome()
		if got := word + text; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	if s := newSweepFacts(sweeps(t)["unbalanced"], 1).unaccounted(); !strings.Contains(s, "-3 images and -7 bytes") {
		t.Errorf("a journal that does not add up: %q", s)
	}
	for _, c := range []struct {
		part, whole int64
		want        string
	}{
		{0, 0, ""}, {1, 0, ""}, {0, 10, "0 %"}, {1, 1000, "< 1 %"}, {29, 100, "29 %"}, {999, 1000, "99 %"}, {10, 10, "100 %"}, {1<<63 - 2, 1<<63 - 1, "99 %"}, {-1, 5, ""},
	} {
		if got := percent(c.part, c.whole); got != c.want {
			t.Errorf("%d of %d are %q, want %q", c.part, c.whole, got, c.want)
		}
	}
}

type sweepDocument struct {
	Schema, ID, State                                   string
	Planned, Deleted, Skipped, Failed, Left, Unanswered journal.Tally
	Would                                               journal.Tally `json:"would_delete"`
	Codes                                               []journal.CodeCount
	Saving                                              *jsonSaving
	Freed                                               jsonFreed
	EndedAt                                             *time.Time `json:"ended_at"`
	Accounts                                            []struct {
		Account, Name                           string
		Planned, Deleted, Skipped, Failed, Left journal.Tally
		Codes                                   []journal.CodeCount
		Saving                                  *jsonSaving
	}
	Images []struct {
		Account, Region, Repository, Digest, State, Code, Detail string
		Tags                                                     []string
		Bytes                                                    int64
	}
}

func readSweep(t *testing.T, s *Sweep) (doc sweepDocument) {
	t.Helper()
	var b bytes.Buffer
	if err := SweepJSON(&b, s); err != nil {
		t.Fatal(err)
	}
	for _, r := range b.String() {
		if r != '\n' && !unicode.IsGraphic(r) {
			t.Fatalf("%U in JSON", r)
		}
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// Planned is what is deleted, skipped, failed and left, in every account and in all; images add up to it; the text and the
// message say the same figures.
func TestSweepAddsUp(t *testing.T) {
	for name, s := range sweeps(t) {
		doc := readSweep(t, s)
		sum := func(tallies ...journal.Tally) (total journal.Tally) {
			for _, t := range tallies {
				total.Add(t)
			}
			return total
		}
		var planned, deleted, skipped, failed, left journal.Tally
		var micros cost.Money
		for _, a := range doc.Accounts {
			if sum(a.Deleted, a.Skipped, a.Failed, a.Left) != a.Planned {
				t.Errorf("%s: account %s does not add up: %+v", name, a.Account, a)
			}
			planned, deleted, skipped, failed, left = sum(planned, a.Planned), sum(deleted, a.Deleted), sum(skipped, a.Skipped), sum(failed, a.Failed), sum(left, a.Left)
			if a.Saving != nil {
				micros += a.Saving.Micros
			}
			codes := journal.Tally{}
			for _, c := range a.Codes {
				codes.Add(c.Tally)
			}
			if codes != sum(a.Skipped, a.Failed) {
				t.Errorf("%s: the codes of account %s do not add up", name, a.Account)
			}
		}
		if planned != doc.Planned || deleted != doc.Deleted || skipped != doc.Skipped || failed != doc.Failed || left != doc.Left {
			t.Errorf("%s: the accounts do not add up to the whole", name)
		}
		if doc.Saving != nil && doc.Saving.Micros != micros {
			t.Errorf("%s: the accounts save %d, all of them %d", name, micros, doc.Saving.Micros)
		}
		states := map[string]journal.Tally{}
		for _, img := range doc.Images {
			states[img.State] = sum(states[img.State], journal.Tally{Images: 1, Bytes: img.Bytes})
		}
		if states["deleted"] != doc.Deleted || states["skipped"] != doc.Skipped || states["failed"] != doc.Failed {
			t.Errorf("%s: the images do not add up: %v", name, states)
		}
		if doc.Freed != (jsonFreed{doc.Deleted.Bytes, doc.Planned.Bytes}) || (doc.State == sweepInterrupted) != (doc.EndedAt == nil) {
			t.Errorf("%s: %+v, %s", name, doc.Freed, doc.State)
		}

		var text, message bytes.Buffer
		if err := errors.Join(SweepText(&text, s, TermOptions{Width: 400}), SweepMarkdown(&message, s)); err != nil {
			t.Fatal(err)
		}
		wanted := []string{"of " + count(doc.Planned.Images, "planned image")}
		did := doc.Deleted
		if strings.Contains(text.String(), "DRY RUN") {
			did = doc.Would
		}
		if doc.Planned.Images == 0 {
			wanted = nil
		}
		if did.Images > 0 {
			wanted = append(wanted, number(did.Images)+" of ", size(did.Bytes)+" of "+size(doc.Planned.Bytes))
		}
		if n := doc.Skipped.Images - doc.Would.Images; n > 0 {
			wanted = append(wanted, "; "+number(n)+" skipped")
		}
		if doc.Failed.Images > 0 {
			wanted = append(wanted, "; "+number(doc.Failed.Images)+" failed")
		}
		if doc.Saving != nil && doc.Saving.Micros > 0 {
			wanted = append(wanted, figures{doc.Saving.Currency}.atMost(doc.Saving.Micros))
		}
		for _, c := range doc.Codes {
			if c.State == journal.Skipped && c.Code != journal.DryRun {
				wanted = append(wanted, tally(c.Tally))
			}
		}
		for _, want := range wanted {
			if want = strings.TrimSpace(want); !strings.Contains(text.String(), want) || !strings.Contains(message.String(), want) {
				t.Errorf("%s: no %q in the text or the message:\n%s%s", name, want, &text, &message)
			}
		}
	}
}

// Every code of the journal is explained.
func TestSweepWords(t *testing.T) {
	for _, c := range []journal.Code{journal.DryRun, journal.NotEnforced, journal.NotDeletable, journal.Unconfirmed, journal.LastRoot,
		journal.RelativeStays, journal.Changed, journal.NotLooked, journal.Gone, journal.AccountStopped, journal.CallFailed, journal.NoAnswer} {
		if sweepWords[c].means == "" || c.Brake() && sweepWords[c].todo == "" {
			t.Errorf("%s is not explained", c)
		}
	}
}

// What is shown of failures is spread over all kinds of them, twenty at most; the whole list has all.
func TestSweepFailuresShown(t *testing.T) {
	s := sweeps(t)["failing"]
	for all, want := range map[bool]int{false: 20, true: 90} {
		var b bytes.Buffer
		if err := SweepText(&b, s, TermOptions{All: all}); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), "@sha256:"); n != want {
			t.Errorf("%d images shown, want %d", n, want)
		}
		if strings.Contains(b.String(), "and 11 more (journal of sweep 20261001T093000Z-5eed)") == all {
			t.Errorf("the rest is not counted:\n%s", &b)
		}
	}
}

func TestSweepFits(t *testing.T) {
	for _, s := range sweeps(t) {
		for width := 40; width <= 200; width++ {
			var b bytes.Buffer
			if err := SweepText(&b, s, TermOptions{Width: width, All: width%2 == 0}); err != nil {
				t.Fatal(err)
			}
			checkLines(t, width, b.String(), width, false)
		}
	}
}

// hostileSweep puts a text wherever somebody else decides what stands there.
func hostileSweep(t testing.TB, s string) *Sweep {
	evil, api := repo(platform, virginia, s), repo(platform, virginia, "prod/api")
	b := sampleBegin
	b.Who, b.Host, b.Run, b.Filters, b.Plan.Run, b.Plan.SHA256 = s, s, s, []string{s}, s, s
	out := sweepOf(t, b, journal.Tally{Images: 1, Bytes: 1}, slices.Concat(
		called(evil, 1, swept("gone", 1, journal.Deleted, "", "", s), swept("stays", 1, journal.Failed, journal.Code(s), s, s)),
		[]*journal.Record{
			recorded(journal.KindSkip, evil, 0, swept("changed", 1, journal.Skipped, journal.Changed, s, s), swept("other", 1, journal.Skipped, journal.Code(s), s, s)),
			recorded(journal.KindSkip, repo(s, s, s), 0, swept("elsewhere", 1, journal.Skipped, journal.NotLooked, s)),
			recorded(journal.KindIntent, api, 2, swept("way", 1, "", "", "", s)),
			ended(s),
		})...)
	out.ID, out.Hints, out.Accounts = s, []string{s}, map[string]Account{platform: {Name: s}, s: {Name: s}}
	out.Prices.Source = s
	return out
}

func TestHostileSweep(t *testing.T) {
	for i, text := range hostileTexts {
		s := hostileSweep(t, text)
		for _, width := range []int{0, 1, 40, 80, 132} {
			for _, opts := range []TermOptions{{Width: width}, {Width: width, All: true}, {Width: width, Color: true}} {
				var b bytes.Buffer
				if err := SweepText(&b, s, opts); err != nil {
					t.Fatal(err)
				}
				checkLines(t, i, b.String(), width, opts.Color)
			}
		}
		var b bytes.Buffer
		if err := SweepMarkdown(&b, s); err != nil {
			t.Fatal(err)
		}
		checkMarkdown(t, i, b.String(), 9)
		doc := readSweep(t, s)
		want := asJSON(text)
		found := false
		for _, img := range doc.Images {
			found = found || img.Repository == want && slices.Equal(img.Tags, []string{want}) && img.Code == want && img.Detail == want
		}
		if doc.ID != want || !found {
			t.Errorf("text %d: an image or the id %.100q is lost", i, doc.ID)
		}
	}
}

// asJSON is what a text reads back as.
func asJSON(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	return strings.Replace(s, "\ufffdbroken", "\ufffd\ufffdbroken", 1) // one for each broken byte
}

// checkMarkdown finds no markup of others, and rows of so many bars.
func checkMarkdown(t *testing.T, i int, out string, bars int) {
	t.Helper()
	checkLines(t, i, out, 1<<30, false)
	for _, bad := range []string{"<script", "<img", "](https", "# g"} {
		if strings.Contains(strings.NewReplacer(`\#`, "", `\]`, "").Replace(out), bad) {
			t.Errorf("text %d: %q in\n%s", i, bad, out)
		}
	}
	for line := range strings.Lines(out) {
		if len(line) > 8_000 {
			t.Errorf("text %d: a line of %d bytes", i, len(line))
		}
		if strings.HasPrefix(line, "|") && strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") != bars {
			t.Errorf("text %d: a row with other columns: %q", i, line)
		}
	}
}
