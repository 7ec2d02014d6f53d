package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"demurrage/internal/orgsim"
)

// TestGenerationsOfAStoredRun: uses that were collected under a smaller keep_count do not carry a larger one.
func TestGenerationsOfAStoredRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.repository(accountA, virginia, "app")
	w.push(accountA, virginia, "app", "one", "v1")
	plan := w.plan(0)
	w.config(strings.Replace(worldConfig, "keep_count   = 1", "keep_count   = 9", 1))
	for _, args := range [][]string{{"plan", "--run", plan.RunID}, {"report"}} {
		if o := w.must(1, args...); !strings.Contains(o.stderr, "scan again") {
			t.Errorf("%v: %s", args, o.stderr)
		}
	}
	w.config(strings.Replace(worldConfig, "30d", "60d", 1)) // retention may change freely
	w.must(0, "plan", "--run", plan.RunID)
}

// TestWhatIfIsSaid: a plan whose ages count from another time than the run says so, also when it is drawn again.
func TestWhatIfIsSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.repository(accountA, virginia, "app")
	const said = "Ages are counted from 2040-01-01"
	plan := w.plan(0, "--now", "2040-01-01")
	for _, args := range [][]string{{"plan", "--run", plan.RunID}, {"plan", "--run", plan.RunID, "--now", "2040-01-01"}} {
		if o := w.must(0, args...); !strings.Contains(o.stdout, said) {
			t.Errorf("%v: %s", args, o.stdout)
		}
	}
	if o := w.must(0, "plan", "--run", plan.RunID, "--format", "json"); !strings.Contains(o.stdout, `"what_if": true`) && !strings.Contains(o.stdout, `"what_if":true`) {
		t.Errorf("JSON: %s", o.stdout)
	}
	if o := w.must(0, "plan", "--run", plan.RunID, "--format", "markdown"); !strings.Contains(o.stdout, "What if: ages are counted from 2040-01-01") {
		t.Errorf("Markdown: %s", o.stdout)
	}
	if o := w.must(0, "plan"); strings.Contains(o.stdout, "Ages are counted") {
		t.Errorf("stdout: %s", o.stdout)
	}
}

// TestMistypedRegion: a configuration that plans nothing is no success.
func TestMistypedRegion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.config(strings.Replace(worldConfig, "us-east-1", "us-est-1", 1))
	if o := w.must(1, "plan"); !strings.Contains(o.stderr, "us-est-1") && !strings.Contains(o.stderr, "no registry to plan") {
		t.Errorf("stderr: %s", o.stderr)
	}
	w.config(strings.Replace(worldConfig, `"us-east-1"`, `"us-east-1", "us-est-1"`, 1))
	if o := w.must(0, "plan"); !strings.Contains(o.stderr, "us-est-1") {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// TestRunAndResume: two flags that both choose a run are an error, never one of them ignored.
func TestRunAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.must(1, "plan", "--run", "20261120T224303Z-4f2a", "--resume")
}

// unfinish makes a stored run look interrupted, at a time of choice.
func (w *world) unfinish(id string, started time.Time) {
	w.Helper()
	file := filepath.Join(w.dir, "demurrage-data", "runs", id, "run.json")
	b, err := os.ReadFile(file)
	if err != nil {
		w.Fatalf("%v", err)
	}
	b = regexp.MustCompile(`(?m)^ *"finished_at".*\n`).ReplaceAll(b, nil)
	b = regexp.MustCompile(`"started_at": "[^"]*"`).ReplaceAll(b, []byte(`"started_at": "`+started.UTC().Format(time.RFC3339)+`"`))
	if err := os.WriteFile(file, b, 0o600); err != nil {
		w.Fatalf("%v", err)
	}
}

// TestOldRunIsNotResumed: what it saw is not seen again (RUN2).
func TestOldRunIsNotResumed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.unfinish(p.plan(0).RunID, time.Now().Add(-resumeLimit-time.Minute))
	if o := p.must(1, "plan", "--resume"); !strings.Contains(o.stderr, "scan anew") {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// TestOnlyTheLastRunIsResumed, not one that a finished run has overtaken (RUN7).
func TestOnlyTheLastRunIsResumed(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	old := p.plan(0).RunID
	time.Sleep(1100 * time.Millisecond) // ids sort by the second
	p.plan(0)
	p.unfinish(old, time.Now())
	if got := p.plan(0, "--resume").RunID; got == old {
		t.Error("it was resumed")
	}
}

// TestResumeKnowsWhoJoined: an account that joined the organization since the interrupted run began is in none of its
// targets, and nothing would say so.
func TestResumeKnowsWhoJoined(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.hub = orgsim.ManagementAccount
	p.role(accountHub, p.hub)
	p.trust(accountA, p.hub, externalID)
	p.trust(accountB, p.hub, externalID)
	p.config(strings.Replace(worldConfig, "[scan]", "[organization]\ndiscover = true\n\n[scan]", 1))
	id := p.plan(0).RunID
	p.unfinish(id, time.Now())
	p.AddAccount("555555555555", "new")
	if o := p.must(1, "plan", "--resume"); !strings.Contains(o.stderr, "555555555555 has joined") {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// TestOnlyReportsNeedThePast: what explains or deletes depends on nothing that only the cost report says. Summaries of runs
// that cannot be read show who reads them.
func TestOnlyReportsNeedThePast(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t, "[safety]\nconfirm_after = \"7d\"")
	p.plan(0)
	p.antedate(8)
	p.save(0)
	remembered, err := filepath.Glob(filepath.Join(p.dir, "demurrage-data", "history", "*.json"))
	if err != nil || len(remembered) != 2 {
		t.Fatalf("%q is remembered (%v)", remembered, err)
	}
	for _, path := range remembered {
		if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p.must(1, "report")
	p.must(1, "plan")
	p.must(0, "explain", host(virginia)+"/private@"+p.private)
	if s := p.delete(0, "--plan", "plan.json"); s.Deleted.Images == 0 {
		t.Errorf("%+v", s)
	}
}
