package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/internal/scan"
	"demurrage/planner"
)

// rig is a sweep over an ECR that answers as a test says.
type rig struct {
	t      *testing.T
	ledger *journal.Ledger
	events []string         // what happened, in its order
	calls  [][]image.Digest // that were sent, retries too
	looks  int              // of Present
	// answer gives status and body of the answer to the nth call, from 1 on; nil: everything is deleted; status 0: the
	// connection breaks.
	answer  func(n int, digests []image.Digest) (status int, body string)
	present func() (map[image.Digest]bool, error)
	held    error
	options Options
}

func newRig(t *testing.T) *rig {
	g := &rig{t: t, ledger: journal.NewLedger(), present: func() (map[image.Digest]bool, error) { return nil, nil }}
	if err := g.ledger.Apply(&journal.Record{Kind: journal.KindBegin, Begin: &journal.Begin{}}); err != nil {
		t.Fatal(err)
	}
	g.options = Options{
		ReviewedAt: now, Concurrency: 1, MaxFailures: 100, Log: slog.New(slog.DiscardHandler),
		Enter: func(_ context.Context, _ string, repositories []image.Repository) ([]Session, error) {
			return []Session{{Role: "role", Repositories: repositories, Client: func(string) API { return g.client() }}}, nil
		},
		Keep: func(context.Context, image.Registry, []Going) { g.events = append(g.events, "keep") },
		Present: func(context.Context, image.Repository) (map[image.Digest]bool, error) {
			g.looks++
			return g.present()
		},
		Held: func() error {
			g.events = append(g.events, "held")
			return g.held
		},
		Record: func(_ context.Context, records ...journal.Record) error {
			for i := range records {
				g.events = append(g.events, string(records[i].Kind))
				if err := g.ledger.Apply(&records[i]); err != nil {
					return err
				}
			}
			return nil
		},
	}
	return g
}

// client is the SDK's own, which sends again what had no answer.
func (g *rig) client() *ecr.Client {
	return ecr.NewFromConfig(aws.Config{
		Region: "us-east-1", HTTPClient: g, Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) {
				o.MaxAttempts = 2
				o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
			})
		},
	})
}

func (g *rig) Do(r *http.Request) (*http.Response, error) {
	var in struct {
		ImageIDs []struct{ ImageDigest, ImageTag string }
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		g.t.Error(err)
	}
	var digests []image.Digest
	for _, id := range in.ImageIDs {
		if id.ImageTag != "" || id.ImageDigest == "" {
			g.t.Errorf("sent as %+v: only a digest alone deletes an image with all of its tags", id)
		}
		digests = append(digests, image.Digest(id.ImageDigest))
	}
	g.calls = append(g.calls, digests)
	g.events = append(g.events, "call")
	status, body := 200, answerOf(digests, nil)
	if g.answer != nil {
		status, body = g.answer(len(g.calls), digests)
	}
	if status == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// answerOf is an answer that says of each image that it is deleted, or why not.
func answerOf(digests []image.Digest, codes map[image.Digest]string) string {
	ids, failures := []any{}, []any{}
	for _, d := range digests {
		id := map[string]any{"imageDigest": d}
		if code := codes[d]; code != "" {
			failures = append(failures, map[string]any{"imageId": id, "failureCode": code, "failureReason": "so it is"})
		} else {
			ids = append(ids, id)
		}
	}
	b, _ := json.Marshal(map[string]any{"imageIds": ids, "failures": failures})
	return string(b)
}

// sweep deletes all images of some repositories.
func (g *rig) sweep(plans ...*planner.RepositoryPlan) error {
	byName := map[string]Looked{}
	var work []Work
	for _, p := range plans {
		byName[p.Repository.Account+p.Repository.Region+p.Repository.Name] = Looked{Plan: p}
		var images []image.Image
		for i := range p.Decisions {
			images = append(images, *p.Decisions[i].Image)
		}
		work = append(work, Work{Repository: p.Repository, Images: all(images...)})
	}
	g.options.Look = func(_ context.Context, r image.Registry, work []Work) (map[string]Looked, error) {
		looked := map[string]Looked{}
		for i := range work {
			if l, ok := byName[r.Account+r.Region+work[i].Name]; ok {
				looked[work[i].Name] = l
			}
		}
		return looked, nil
	}
	return Run(g.t.Context(), g.options, work)
}

func (g *rig) must(plans ...*planner.RepositoryPlan) {
	g.t.Helper()
	if err := g.sweep(plans...); err != nil {
		g.t.Fatal(err)
	}
}

// state is what became of an image of the repository of all tests.
func (g *rig) state(n int) string {
	img, ok := g.ledger.Get(repo, dig(n))
	if !ok {
		return "not booked"
	}
	return strings.TrimSpace(string(img.State) + " " + string(img.Code))
}

// inRepository plans a repository of another name, or account.
func inRepository(account, name string, images ...image.Image) *planner.RepositoryPlan {
	r := image.Repository{Registry: image.Registry{Account: account, Region: repo.Region}, Name: name}
	rules := planner.Rules{MinAge: time.Hour, Repositories: []planner.RepositoryRule{{Name: image.Glob("*"), Expires: 24 * time.Hour, AllowEmpty: true}}}
	return planner.Merge(rules, now, planner.Usage{}).Repository(&image.Inventory{Repository: r, Images: images})
}

// TestWhatECRAnswers: every image of a call is accounted for by what ECR says of it, and by a look where that says nothing.
func TestWhatECRAnswers(t *testing.T) {
	const present, gone, unknown = "present", "gone", "unknown"
	failure := func(code string) string {
		return answerOf([]image.Digest{dig(1)}, map[image.Digest]string{dig(1): code})
	}
	fault := func(code string) string { return `{"__type": "` + code + `", "message": "so it is"}` }
	silent := answerOf(nil, nil)
	type answer struct {
		status int
		body   string
	}
	for name, tt := range map[string]struct {
		answers []answer // the last one again and again
		look    string   // what a look finds; "": there is no need of one
		want    string
	}{
		"deleted":                   {[]answer{{200, answerOf([]image.Digest{dig(1)}, nil)}}, "", "deleted"},
		"failure":                   {[]answer{{200, failure("KmsError")}}, "", "failed KmsError"},
		"gone before":               {[]answer{{200, failure("ImageNotFound")}}, "", "skipped gone"},
		"silent, present":           {[]answer{{200, silent}}, present, "failed no-answer"},
		"silent, gone":              {[]answer{{200, silent}}, gone, "deleted"},
		"silent, unknown":           {[]answer{{200, silent}}, unknown, "failed no-answer"},
		"refused":                   {[]answer{{400, fault("AccessDeniedException")}}, "", "failed AccessDeniedException"},
		"no repository":             {[]answer{{400, fault("RepositoryNotFoundException")}}, "", "skipped gone"},
		"server's error, present":   {[]answer{{500, fault("ServerException")}}, present, "failed ServerException"},
		"server's error, gone":      {[]answer{{500, fault("ServerException")}}, gone, "deleted"},
		"server's error, unknown":   {[]answer{{500, fault("ServerException")}}, unknown, "failed ServerException"},
		"server's, of the client":   {[]answer{{503, fault("AccessDeniedException")}}, gone, "deleted"},
		"no connection, present":    {[]answer{{0, ""}}, present, "failed call-failed"},
		"no connection, gone":       {[]answer{{0, ""}}, gone, "deleted"},
		"lost answer, refused then": {[]answer{{0, ""}, {400, fault("ThrottlingException")}}, gone, "deleted"},
		"lost answer, not found":    {[]answer{{0, ""}, {200, failure("ImageNotFound")}}, "", "deleted"},
		"throttled, not found":      {[]answer{{400, fault("ThrottlingException")}, {200, failure("ImageNotFound")}}, "", "skipped gone"},
		"lost answer, failure":      {[]answer{{0, ""}, {200, failure("KmsError")}}, gone, "deleted"},
		"lost answer, failure, present": {[]answer{{500, fault("ServerException")}, {200, failure("KmsError")}}, present,
			"failed KmsError"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.answer = func(n int, _ []image.Digest) (int, string) {
				a := tt.answers[min(n, len(tt.answers))-1]
				return a.status, a.body
			}
			g.present = func() (map[image.Digest]bool, error) {
				switch tt.look {
				case present:
					return map[image.Digest]bool{dig(1): true}, nil
				case unknown:
					return nil, errors.New("nobody knows")
				}
				return nil, nil
			}
			g.must(planOf(true, nil, img(1)))
			if got := g.state(1); got != tt.want {
				t.Errorf("%q instead of %q", got, tt.want)
			}
			if (g.looks > 0) != (tt.look != "") {
				t.Errorf("%d looks", g.looks)
			}
			if open := g.ledger.Open(); len(open) > 0 {
				t.Errorf("%d calls have no outcome", len(open))
			}
		})
	}
}

// TestEveryFailureIsRead: of several failures in one answer, each counts for its own image, and none for another.
func TestEveryFailureIsRead(t *testing.T) {
	g := newRig(t)
	g.answer = func(_ int, digests []image.Digest) (int, string) {
		return 200, answerOf(digests, map[image.Digest]string{dig(1): "KmsError", dig(3): "ImageNotFound", dig(4): "InvalidImageDigest"})
	}
	g.must(planOf(true, nil, img(1), img(2), img(3), img(4)))
	for n, want := range map[int]string{1: "failed KmsError", 2: "deleted", 3: "skipped gone", 4: "failed InvalidImageDigest"} {
		if got := g.state(n); got != want {
			t.Errorf("image %d: %q instead of %q", n, got, want)
		}
	}
}

// TestOrderOfACall: intent, lock, call, outcome. The manifests are kept before all of it.
func TestOrderOfACall(t *testing.T) {
	g := newRig(t)
	g.must(planOf(true, nil, img(1, tagged("v1", "v2"))))
	if got := strings.Join(g.events, " "); got != "keep intent held call outcome" {
		t.Error(got)
	}
}

// TestNothingIsSentWithoutIntent: a journal that takes no intent ends the sweep before its call.
func TestNothingIsSentWithoutIntent(t *testing.T) {
	g := newRig(t)
	g.options.Record = func(context.Context, ...journal.Record) error { return io.ErrShortWrite }
	if err := g.sweep(planOf(true, nil, img(1))); !errors.Is(err, io.ErrShortWrite) || len(g.calls) > 0 {
		t.Errorf("%d calls, %v", len(g.calls), err)
	}
}

// TestNothingIsSentWithoutLock: a lock that is lost ends the sweep before the next call, and leaves no false outcome.
func TestNothingIsSentWithoutLock(t *testing.T) {
	g := newRig(t)
	g.held = errors.New("lost")
	if err := g.sweep(planOf(true, nil, img(1))); !errors.Is(err, g.held) || len(g.calls) > 0 || g.state(1) != "not booked" {
		t.Errorf("%d calls, %v, %s", len(g.calls), err, g.state(1))
	}
}

// TestInterruptedCallStaysOpen: of a call whose answer an interruption cuts off nothing is booked: who goes on will look.
func TestInterruptedCallStaysOpen(t *testing.T) {
	g := newRig(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	g.answer = func(int, []image.Digest) (int, string) {
		cancel(stopped)
		return 0, ""
	}
	plan := planOf(true, nil, img(1), img(2, holding(1)))
	g.options.Look = func(context.Context, image.Registry, []Work) (map[string]Looked, error) {
		return map[string]Looked{repo.Name: {Plan: plan}}, nil
	}
	err := Run(ctx, g.options, []Work{{Repository: repo, Images: all(img(1), img(2, holding(1)))}})
	if open := g.ledger.Open(); !errors.Is(err, stopped) || len(open) != 1 || g.state(2) != "not booked" || g.state(1) != "not booked" {
		t.Errorf("%v, %d calls are open, %s, %s", err, len(open), g.state(2), g.state(1))
	}
}

// TestDryRunSendsNothing, keeps no manifests and asks for no lock; every image is booked.
func TestDryRunSendsNothing(t *testing.T) {
	g := newRig(t)
	g.options.DryRun = true
	g.must(planOf(true, nil, img(1), img(2)))
	if got := strings.Join(g.events, " "); got != "skip" || g.state(1) != "skipped dry-run" || g.state(2) != "skipped dry-run" {
		t.Errorf("%s: %s, %s", got, g.state(1), g.state(2))
	}
}

// TestWhatTheLookDoesNotMention stays.
func TestWhatTheLookDoesNotMention(t *testing.T) {
	g := newRig(t)
	g.options.Look = func(context.Context, image.Registry, []Work) (map[string]Looked, error) { return nil, nil }
	if err := Run(t.Context(), g.options, []Work{{Repository: repo, Images: all(img(1))}}); err != nil || len(g.calls) > 0 || g.state(1) != "skipped not-looked" {
		t.Errorf("%v, %d calls, %s", err, len(g.calls), g.state(1))
	}
}

// TestChildrenOfWhatFailedStay: an index that could not be deleted still needs all that it holds, down to the last.
func TestChildrenOfWhatFailedStay(t *testing.T) {
	for name, images := range map[string][]image.Image{
		"indexes":   {img(1), img(2, holding(1)), img(3, holding(2))},
		"referrers": {img(1), img(2, refers(1)), img(3, refers(2))},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.answer = func(_ int, digests []image.Digest) (int, string) {
				return 200, answerOf(digests, map[image.Digest]string{dig(3): "KmsError"})
			}
			g.must(planOf(true, nil, images...))
			if len(g.calls) != 1 || g.state(3) != "failed KmsError" || g.state(2) != "skipped relative-stays" || g.state(1) != "skipped relative-stays" {
				t.Errorf("%d calls: %s, %s, %s", len(g.calls), g.state(3), g.state(2), g.state(1))
			}
		})
	}
}

// TestSecondTry: what an index outside of the plan holds is tried exactly twice, at most a hundred at once.
func TestSecondTry(t *testing.T) {
	g := newRig(t)
	var images []image.Image
	held := map[image.Digest]string{}
	const n = 250
	for i := range n {
		images = append(images, img(i+1))
		held[dig(i+1)] = "ImageReferencedByManifestList"
	}
	g.answer = func(_ int, digests []image.Digest) (int, string) { return 200, answerOf(digests, held) }
	g.must(planOf(true, nil, images...))
	tries := map[image.Digest]int{}
	for _, call := range g.calls {
		if len(call) > 100 {
			t.Errorf("a call of %d images", len(call))
		}
		for _, d := range call {
			tries[d]++
		}
	}
	for i := range n {
		if tries[dig(i+1)] != 2 || g.state(i+1) != "failed ImageReferencedByManifestList" {
			t.Fatalf("image %d: %d tries, %s", i+1, tries[dig(i+1)], g.state(i+1))
		}
	}
	if len(g.calls) != 6 {
		t.Errorf("%d calls", len(g.calls))
	}
}

// TestHeldImagesAfterAStop: what waited for its second try when the account was stopped is booked.
func TestHeldImagesAfterAStop(t *testing.T) {
	g := newRig(t)
	g.options.MaxFailures = 1
	g.answer = func(_ int, digests []image.Digest) (int, string) {
		return 200, answerOf(digests, map[image.Digest]string{dig(1): "ImageReferencedByManifestList", dig(2): "KmsError"})
	}
	g.must(planOf(true, nil, img(1), img(2)))
	if len(g.calls) != 1 || g.state(1) != "skipped account-stopped" || g.state(2) != "failed KmsError" {
		t.Errorf("%d calls, %s, %s", len(g.calls), g.state(1), g.state(2))
	}
}

// TestMaxFailures: an account is left alone after so many failed calls in a row, over all of its repositories.
func TestMaxFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		codes []string // what each call is answered with, "" for success, an error as a whole with "!"
		calls int
	}{
		"partly failed":  {[]string{"KmsError", "KmsError", "KmsError"}, 2},
		"refused":        {[]string{"!", "!", "!"}, 2},
		"not in a row":   {[]string{"!", "", "KmsError", "", "!"}, 5},
		"in a row later": {[]string{"!", "", "!", "!", "!"}, 4},
		"held by others": {[]string{"ImageReferencedByManifestList", "", "", "", ""}, 6},
		"gone":           {[]string{"ImageNotFound", "ImageNotFound", "ImageNotFound", "ImageNotFound"}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.options.MaxFailures = 2
			g.answer = func(n int, digests []image.Digest) (int, string) {
				code := ""
				if n <= len(tt.codes) {
					code = tt.codes[n-1]
				}
				if code == "!" {
					return 400, `{"__type": "AccessDeniedException", "message": "so it is"}`
				}
				codes := map[image.Digest]string{}
				for _, d := range digests {
					codes[d] = code
				}
				return 200, answerOf(digests, codes)
			}
			var plans []*planner.RepositoryPlan
			for i := range tt.codes {
				plans = append(plans, inRepository(repo.Account, fmt.Sprintf("app%d", i), img(1)))
			}
			g.must(plans...)
			if len(g.calls) != tt.calls {
				t.Errorf("%d calls instead of %d", len(g.calls), tt.calls)
			}
			booked := 0
			for range g.ledger.Images() {
				booked++
			}
			if booked != len(tt.codes) {
				t.Errorf("%d of %d images are booked", booked, len(tt.codes))
			}
		})
	}
}

// TestStoppedAccountInNextRegistry: a stop holds in the account's other regions, and in no other account.
func TestStoppedAccountInNextRegistry(t *testing.T) {
	g := newRig(t)
	g.options.MaxFailures = 1
	g.answer = func(n int, digests []image.Digest) (int, string) {
		if n == 1 {
			return 400, `{"__type": "AccessDeniedException", "message": "so it is"}`
		}
		return 200, answerOf(digests, nil)
	}
	first, elsewhere, other := inRepository("111111111111", "app", img(1)), inRepository("111111111111", "app", img(1)), inRepository("222222222222", "app", img(1))
	elsewhere.Repository.Region = "us-west-2"
	g.must(first, elsewhere, other)
	got := map[string]string{}
	for e := range g.ledger.Images() {
		got[e.Account+" "+e.Region] = string(e.State)
	}
	if len(g.calls) != 2 || got["111111111111 us-east-1"] != "failed" || got["111111111111 us-west-2"] != "skipped" || got["222222222222 us-east-1"] != "deleted" {
		t.Errorf("%d calls, %v", len(g.calls), got)
	}
}

// TestJudgeBeforeDeletion: the second look has every objection that the first one has.
func TestJudgeBeforeDeletion(t *testing.T) {
	for _, tt := range []struct {
		name     string
		images   []image.Image
		used     []int
		reviewed []Candidate
		empty    bool
		want     string
	}{
		{name: "in use by now", images: []image.Image{img(1), img(2)}, used: []int{1}, empty: true, reviewed: all(img(1), img(2)), want: "[2], 1 changed"},
		{name: "the last by now", images: []image.Image{img(1)}, reviewed: all(img(1)), want: "1 last-root"},
		{name: "a signature since", images: []image.Image{img(1), img(2, refers(1))}, empty: true, reviewed: all(img(1)), want: "1 relative-stays"},
		{name: "an index since", images: []image.Image{img(1), img(2, holding(1))}, empty: true, reviewed: all(img(1)), want: "1 relative-stays"},
		{name: "pulled since", images: []image.Image{img(1, func(i *image.Image) { i.LastPulledAt = now })}, empty: true, reviewed: all(img(1)), want: "1 changed"},
		{name: "tagged since", images: []image.Image{img(1, tagged("a"))}, empty: true, reviewed: all(img(1)), want: "1 changed"},
		{name: "gone since", images: []image.Image{img(2)}, empty: true, reviewed: all(img(1)), want: "1 gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := spell(judge(tt.reviewed, planOf(tt.empty, tt.used, tt.images...), now, journal.Changed)); got != tt.want {
				t.Errorf("%s\ninstead of\n%s", got, tt.want)
			}
		})
	}
}

// prepare prepares the deletion of all images of some repositories, of which an earlier attempt has deleted some: done are
// images of the repository of all tests.
func prepare(t *testing.T, b Brakes, done []int, plans ...*planner.RepositoryPlan) (*Todo, error) {
	t.Helper()
	r := &Reviewed{Plan: journal.Plan{GeneratedAt: now}, Images: map[image.Repository][]Candidate{}}
	for _, p := range plans {
		for i := range p.Decisions {
			r.Images[p.Repository] = append(r.Images[p.Repository], all(*p.Decisions[i].Image)...)
		}
	}
	ledger := journal.NewLedger()
	record := journal.Record{Kind: journal.KindSkip, Account: repo.Account, Region: repo.Region, Repository: repo.Name}
	for _, n := range done {
		r.Images[repo] = append(r.Images[repo], Candidate{Digest: dig(n), Bytes: 10})
		record.Images = append(record.Images, journal.Image{Digest: dig(n), Bytes: 10, State: journal.Deleted})
	}
	for _, rec := range []journal.Record{{Kind: journal.KindBegin, Begin: &journal.Begin{}}, record} {
		if err := ledger.Apply(&rec); err != nil {
			t.Fatal(err)
		}
	}
	for _, list := range r.Images {
		sortCandidates(list)
	}
	if b.Enforced == nil {
		b.Enforced = func(string) bool { return true }
	}
	if b.MaxPercent == 0 {
		b.MaxPercent = 100
	}
	fresh := &planner.Plan{Repositories: func(yield func(*planner.RepositoryPlan, error) bool) {
		for _, p := range plans {
			if !yield(p, nil) {
				return
			}
		}
	}}
	return Prepare(r, fresh, func(*image.Inventory) ([]string, bool) { return nil, false }, b, ledger)
}

// TestBrakesLetThroughExactly what they say, over the whole run and all of its attempts.
func TestBrakesLetThroughExactly(t *testing.T) {
	two := []*planner.RepositoryPlan{inRepository("111111111111", "app", img(1), img(2)), inRepository("222222222222", "app", img(3), img(4))}
	half := []*planner.RepositoryPlan{planOf(false, []int{1, 2}, img(1), img(2), img(3), img(4))}
	for _, tt := range []struct {
		name   string
		plans  []*planner.RepositoryPlan
		done   []int
		brakes Brakes
		want   string // of the refusal; "": none
	}{
		{"four images", two, nil, Brakes{MaxImages: 4}, ""},
		{"three images: no account has as many", two, nil, Brakes{MaxImages: 3}, "max_delete_images is 3"},
		{"forty bytes", two, nil, Brakes{MaxBytes: 40}, ""},
		{"thirty-nine bytes: no account has as many", two, nil, Brakes{MaxBytes: 39}, "max_delete_bytes"},
		{"an attempt before, images", two, []int{5}, Brakes{MaxImages: 5}, ""},
		{"an attempt before, an image too many", two, []int{5}, Brakes{MaxImages: 4}, "5 images would go"},
		{"an attempt before, a byte too many", two, []int{5}, Brakes{MaxBytes: 49}, "max_delete_bytes"},
		{"half", half, nil, Brakes{MaxPercent: 50}, ""},
		{"more than 49 %", half, nil, Brakes{MaxPercent: 49}, "app: 2 of 4 images (50 %)"},
		{"an attempt before, percent", half, []int{5, 6}, Brakes{MaxPercent: 66}, "app: 4 of 6 images (66 %)"},
		{"an attempt before, percent of all there was", half, []int{5, 6}, Brakes{MaxPercent: 67}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := prepare(t, tt.brakes, tt.done, tt.plans...)
			var refusal *Refusal
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (!errors.As(err, &refusal) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v does not say %q", err, tt.want)
			}
		})
	}
}

// TestPrepareHolds: whatever both plans say, nothing goes that is not enforced, not confirmed, or done.
func TestPrepareHolds(t *testing.T) {
	plan := planOf(true, nil, img(1), img(2))
	going := func(todo *Todo, err error) string {
		if err != nil {
			return err.Error()
		}
		var numbers []string
		for _, w := range todo.Work {
			for _, c := range w.Images {
				numbers = append(numbers, strings.TrimLeft(strings.TrimPrefix(string(c.Digest), "sha256:"), "0"))
			}
		}
		for _, r := range todo.Skipped {
			for _, i := range r.Images {
				numbers = append(numbers, string(i.Code))
			}
		}
		return strings.Join(numbers, " ")
	}
	for _, tt := range []struct {
		name   string
		brakes Brakes
		done   []int
		plans  []*planner.RepositoryPlan
		want   string
	}{
		{"nothing", Brakes{}, nil, []*planner.RepositoryPlan{plan}, "1 2"},
		{"not enforced", Brakes{Enforced: func(string) bool { return false }}, nil, []*planner.RepositoryPlan{plan}, "not-enforced not-enforced"},
		{"one is confirmed", Brakes{Confirmed: func(image.Repository) (map[image.Digest]bool, error) {
			return map[image.Digest]bool{dig(2): true}, nil
		}}, nil, []*planner.RepositoryPlan{plan}, "2 unconfirmed"},
		{"the repository is not in the fresh plan", Brakes{}, nil, nil, ""},
		{"done", Brakes{}, []int{3}, []*planner.RepositoryPlan{plan}, "1 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := going(prepare(t, tt.brakes, tt.done, tt.plans...)); got != tt.want {
				t.Errorf("%q instead of %q", got, tt.want)
			}
		})
	}
	r := &Reviewed{Plan: journal.Plan{GeneratedAt: now}, Images: map[image.Repository][]Candidate{repo: all(img(1))}}
	empty := &planner.Plan{Repositories: func(func(*planner.RepositoryPlan, error) bool) {}}
	if got := going(Prepare(r, empty, nil, Brakes{Enforced: func(string) bool { return true }}, nil)); got != "not-deletable" {
		t.Errorf("of a repository that is not in the fresh plan: %q", got)
	}
}

// TestSettle: a call that was cut off is believed to have deleted exactly what a complete reading does not find.
func TestSettle(t *testing.T) {
	unread := errors.New("unread")
	for name, tt := range map[string]struct {
		found image.Inventory
		err   error
		want  string // of the images 1 and 2, and how many calls stay open
	}{
		"one is there":               {found: image.Inventory{Repository: repo, Images: []image.Image{img(2)}}, want: "deleted, not booked, 0"},
		"the repository is gone":     {found: image.Inventory{Repository: image.Repository{Registry: repo.Registry, Name: "other"}, Images: []image.Image{img(1)}}, want: "deleted, deleted, 0"},
		"the registry is not known":  {err: unread, want: "not booked, not booked, 1"},
		"the repository is not read": {found: image.Inventory{Repository: repo, Errors: []string{"DescribeImages: half of it"}}, want: "not booked, not booked, 1"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			intent := journal.Record{Kind: journal.KindIntent, Account: repo.Account, Region: repo.Region, Repository: repo.Name, Call: 7, Images: []journal.Image{{Digest: dig(1)}, {Digest: dig(2)}}}
			if err := g.ledger.Apply(&intent); err != nil {
				t.Fatal(err)
			}
			inventory := func(image.Registry) iter.Seq2[image.Inventory, error] {
				return func(yield func(image.Inventory, error) bool) { yield(tt.found, tt.err) }
			}
			if err := Settle(t.Context(), g.ledger, inventory, g.options.Record); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s, %s, %d", g.state(1), g.state(2), len(g.ledger.Open())); got != tt.want {
				t.Errorf("%s instead of %s", got, tt.want)
			}
		})
	}
}

// TestNumbersGoOn: an attempt numbers its calls behind those of the attempts before, of which one may be open still.
func TestNumbersGoOn(t *testing.T) {
	g := newRig(t)
	if err := g.ledger.Apply(&journal.Record{Kind: journal.KindIntent, Account: repo.Account, Region: repo.Region, Repository: repo.Name, Call: 1, Images: []journal.Image{{Digest: dig(9)}}}); err != nil {
		t.Fatal(err)
	}
	g.options.LastCall = g.ledger.LastCall()
	g.must(planOf(true, nil, img(1)))
	if open := g.ledger.Open(); g.ledger.LastCall() != 2 || len(open) != 1 || open[0].Call != 1 {
		t.Errorf("call %d is the last, %d are open", g.ledger.LastCall(), len(open))
	}
}

// TestCallsAreOrdered guards the order of a repository's calls, whatever a graph looks like: see TestJudgeRandomly.
func TestCallsAreOrdered(t *testing.T) {
	g := newRig(t)
	g.must(planOf(true, nil, img(1), img(2, holding(1)), img(3, refers(2))))
	want := [][]image.Digest{{dig(3)}, {dig(2)}, {dig(1)}}
	if !slices.EqualFunc(g.calls, want, slices.Equal[[]image.Digest]) {
		t.Errorf("%v", g.calls)
	}
}

// TestTargetsOfALook: everybody who could pull from any of the repositories is looked at, and all where any account could.
func TestTargetsOfALook(t *testing.T) {
	l := &Looker{}
	for _, account := range []string{"111111111111", "222222222222", "333333333333"} {
		for _, region := range []string{"us-east-1", "us-west-2"} {
			l.Targets = append(l.Targets, scan.Target{Account: account, Region: region})
		}
	}
	own, other := Work{Pullers: []string{"111111111111"}}, Work{Pullers: []string{"111111111111", "333333333333"}}
	for name, tt := range map[string]struct {
		work []Work
		want int
	}{
		"one account": {[]Work{own}, 2},
		"two":         {[]Work{own, other}, 4},
		"all":         {[]Work{own, {All: true}, own}, 6},
	} {
		if got := len(l.targets(tt.work)); got != tt.want {
			t.Errorf("%s: %d targets instead of %d", name, got, tt.want)
		}
	}
}
