package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"demurrage/internal/advice"
	"demurrage/internal/audit"
	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
	"demurrage/planner"
)

// audited is an audit with one of everything, and a text wherever somebody else decides what stands there.
func audited(s string) (*audit.Audit, *audit.Verified) {
	r := image.Repository{Registry: image.Registry{Account: platform, Region: virginia}, Name: s}
	finding := func(f audit.Finding) audit.Finding {
		f.Repository, f.Digest, f.Rule, f.Text, f.Action = r, digest("x"), 1, s, lifecycle.Expire
		for range 5 {
			f.Reasons = append(f.Reasons, planner.Reason{Code: planner.InUse, Detail: s, Source: s, Account: s, Region: s, Resource: s})
		}
		return f
	}
	archived := finding(audit.Finding{Now: true, Tags: []string{s, s, s, s}, Parts: []image.Digest{digest("y")}})
	archived.Action = lifecycle.Transition
	counts := map[planner.Code]int{planner.KeepTag: 3, planner.MinAge: 1}
	tally := planner.Tally{Images: 3, Bytes: 300}
	a := &audit.Audit{
		Now:      []audit.Finding{finding(audit.Finding{Now: true, Tags: []string{s}}), archived, finding(audit.Finding{Now: true, Tied: true})},
		Next:     []audit.Finding{finding(audit.Finding{Due: now.Add(day)}), finding(audit.Finding{Pushes: 1}), finding(audit.Finding{}), finding(audit.Finding{Pushes: 9999, Far: true})},
		Blocked:  []audit.Finding{finding(audit.Finding{Now: true, More: 7}), finding(audit.Finding{Due: now.Add(day)})},
		Problems: []audit.Problem{{Repository: r, Problem: lifecycle.Problem{Priority: 1, Code: audit.Unmatched, Text: s}}, {Repository: r, Problem: lifecycle.Problem{Code: s, Text: s, Fatal: true}}},
		Policies: []audit.Policy{{Repository: r, Rules: 1, Errors: []string{s}, ProtectedNow: counts, ProtectedNext: counts, Unknown: true, Expires: tally, Deletes: tally, Both: tally}},
		Without:  []image.Repository{r}, Unread: []image.Repository{r},
	}
	v := &audit.Verified{Repositories: 2, Images: 3, Failures: []audit.Failure{{Repository: r, Error: s}}}
	for _, kind := range []audit.Kind{audit.AWSOnly, audit.HereOnly, audit.OtherRule} {
		v.Differences = append(v.Differences, audit.Difference{Repository: r, Digest: digest("x"), Tags: []string{s}, Kind: kind, AWS: audit.Verdict{Rule: 1, Action: lifecycle.Transition}, Why: s})
	}
	return a, v
}

// TestAuditGolden: the order of what an audit says, and how.
func TestAuditGolden(t *testing.T) {
	run := sample(t)
	a, v := audited("prod/api")
	for _, o := range []struct {
		name  string
		write func(*bytes.Buffer) error
	}{
		{"audit-100.txt", func(b *bytes.Buffer) error { return Audit(b, run, a, v, TermOptions{Width: 100}) }},
		{"audit.json", func(b *bytes.Buffer) error { return AuditJSON(b, run, a, v) }},
		{"audit.md", func(b *bytes.Buffer) error { return AuditMarkdown(b, run, a, v) }},
		{"audit-nothing.txt", func(b *bytes.Buffer) error { return Audit(b, run, &audit.Audit{}, nil, TermOptions{Width: 100}) }},
	} {
		t.Run(o.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := o.write(&b); err != nil {
				t.Fatal(err)
			}
			golden(t, o.name, b.Bytes())
		})
	}
}

// TestAuditStates: a message says complete only where the document of the same audit does.
func TestAuditStates(t *testing.T) {
	run := sample(t)
	plan := *run.Plan
	plan.Complete = true
	run.Plan = &plan
	for want, v := range map[string]*audit.Verified{"**Complete**": {}, "**INCOMPLETE**": {Failures: []audit.Failure{{Error: "throttled"}}}} {
		var text, document bytes.Buffer
		if err := errors.Join(AuditMarkdown(&text, run, &audit.Audit{}, v), AuditJSON(&document, run, &audit.Audit{}, v)); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(text.String(), want) || strings.Contains(document.String(), `"complete": true`) != (want == "**Complete**") {
			t.Errorf("%s: %s\n%s", want, text.String(), document.String())
		}
	}
}

// TestAuditIsBounded: long lists are cut on a terminal, with the number that is left out, and whole in JSON.
func TestAuditIsBounded(t *testing.T) {
	a, _ := audited("prod/api")
	one := a.Now[0]
	a.Now = nil
	for i := range 1000 {
		one.Tags = []string{fmt.Sprintf("v%d", i)}
		a.Now = append(a.Now, one)
	}
	var text, doc bytes.Buffer
	if err := Audit(&text, sample(t), a, nil, TermOptions{Width: 100}); err != nil {
		t.Fatal(err)
	}
	if err := AuditJSON(&doc, sample(t), a, nil); err != nil {
		t.Fatal(err)
	}
	if s := text.String(); !strings.Contains(s, "NOW by a lifecycle policy: 1,000 images") || !strings.Contains(s, "… and 980 more images: --format json") || strings.Contains(s, " v20 ") {
		t.Errorf("%.2000s", s)
	}
	if n := strings.Count(doc.String(), `"tags":["v`); n != 1000 {
		t.Errorf("%d in JSON", n)
	}
}

func TestHostileAudit(t *testing.T) {
	for i, s := range hostileTexts {
		run := hostile(t, s)
		a, v := audited(s)
		for _, width := range []int{0, 40, 80, 132} {
			var b bytes.Buffer
			if err := Audit(&b, run, a, v, TermOptions{Width: width, Color: width == 80}); err != nil {
				t.Fatal(err)
			}
			checkLines(t, i, b.String(), width, width == 80)
		}
		var b bytes.Buffer
		if err := AuditJSON(&b, run, a, v); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b.Bytes()) {
			t.Errorf("text %d: no JSON", i)
		}
		graphic(t, i, b.String())
		b.Reset()
		if err := AuditMarkdown(&b, run, a, v); err != nil {
			t.Fatal(err)
		}
		notMarkup(t, i, b.String())
		r := &Recommended{Dir: "out", Advice: []advice.Advice{
			{Repository: a.Without[0], Why: []string{s, s}, Deletes: planner.Tally{Images: 1}}, {Repository: a.Without[0], Why: []string{s}},
			{Repository: repo(platform, virginia, "app"), Why: []string{s}, Files: []string{platform + "/" + virginia + "/app.json"}, Expires: planner.Tally{Images: 1, Bytes: 9}},
		}}
		b.Reset()
		if err := RecommendIndex(&b, run, r); err != nil {
			t.Fatal(err)
		}
		notMarkup(t, i, b.String())
		b.Reset()
		if err := RecommendJSON(&b, run, r); err != nil {
			t.Fatal(err)
		}
		if !json.Valid(b.Bytes()) {
			t.Errorf("text %d: no JSON", i)
		}
		graphic(t, i, b.String())
		b.Reset()
		if err := Recommend(&b, run, r, TermOptions{Width: 80}); err != nil {
			t.Fatal(err)
		}
		graphic(t, i, b.String())
	}
}

func graphic(t *testing.T, i int, s string) {
	t.Helper()
	for _, r := range s {
		if r != '\n' && !unicode.IsGraphic(r) {
			t.Fatalf("text %d: %U", i, r)
		}
	}
}

// notMarkup: no text is markup.
func notMarkup(t *testing.T, i int, s string) {
	t.Helper()
	graphic(t, i, s)
	s = strings.NewReplacer(`\#`, "", `\]`, "").Replace(s)
	for _, bad := range []string{"<script", "<img", "](https", "# g"} {
		if strings.Contains(s, bad) {
			t.Errorf("text %d: %q", i, bad)
		}
	}
}

// TestPutCommand: a shell takes the command as it is meant.
func TestPutCommand(t *testing.T) {
	r := repo(platform, virginia, "prod/api")
	for dir, want := range map[string]string{
		"out": "file://out/" + platform, "out/": "file://out/" + platform, "my files": "'file://my files/" + platform, "a'b;$(c)": `'file://a'\''b;$(c)/` + platform,
	} {
		if got := putCommand(dir, r); !strings.Contains(got, " --lifecycle-policy-text "+want) {
			t.Errorf("%s: %s", dir, got)
		}
	}
}
