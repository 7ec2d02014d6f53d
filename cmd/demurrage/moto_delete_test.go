package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// motoEnforced are the accounts that images are deleted from. The hub has images that could go too, and keeps them.
var motoEnforced = []string{"platform", "shop", "pay"}

const motoSweepCalls = 6 // one a repository, and one more where an index goes before its children

// TestMotoDelete applies plans. Each subtest has a moto of its own, since what is deleted does not come back.
func TestMotoDelete(t *testing.T) {
	t.Parallel()
	t.Run("plan", func(t *testing.T) {
		t.Parallel()
		testMotoDeletePlan(t, newMotoSweepWorld(t))
	})
	t.Run("S3", func(t *testing.T) {
		t.Parallel()
		testMotoDeleteS3(t, newMotoSweepWorld(t))
	})
}

// newMotoSweepWorld is a world 60 days later: delete takes no --now, and moto has no push times but now, so the proxy
// makes images older. Nothing else that demurrage reads here has an age that counts.
func newMotoSweepWorld(t *testing.T) *motoWorld {
	w := newMotoWorld(t)
	w.proxy.mu.Lock()
	defer w.proxy.mu.Unlock()
	w.proxy.older, w.proxy.sweeping = 60*24*time.Hour, true
	return w
}

// A plan applied to three accounts deletes exactly the planned digests.
func testMotoDeletePlan(t *testing.T, w *motoWorld) {
	config := w.config(t, filepath.Join(t.TempDir(), "data"), w.listed(motoEnforced...))
	plan := w.planned(t, config)
	before := w.held(t)

	dry := w.sweep(t, exitOK, config, "--plan", plan, "--dry-run")
	if n := len(w.proxy.swept()); n != 0 || dry.Deleted.Images != 0 {
		t.Fatalf("a dry run makes %d calls: %+v", n, dry)
	}
	s := w.sweep(t, exitOK, config, "--plan", plan)
	w.gone(t, before)
	w.swept(t, s, nil)
	w.inOrder(t)
	if s.Attempts != 1 {
		t.Errorf("%d attempts", s.Attempts)
	}

	// Once more: what is left of the plan is what its account is not enforced for, and that is refused.
	again := w.sweep(t, exitRefused, config, "--plan", plan)
	w.gone(t, before)
	if n := len(w.proxy.swept()); n != motoSweepCalls || again.Deleted.Images != 0 || again.Skipped != s.Planned {
		t.Errorf("the same plan once more: %d calls in all, %+v", n, again)
	}
	for key, digest := range w.expected(motoEnforced...) {
		if got := again.state(digest); got != "skipped gone" {
			t.Errorf("%s, once more: %q", key, got)
		}
	}
}

// Journal and lock in a bucket: killed in the middle of a call, then gone on with, while a third is refused.
func testMotoDeleteS3(t *testing.T, w *motoWorld) {
	const prefix = "of/delete/"
	config := w.config(t, "s3://demurrage-runs/"+strings.TrimSuffix(prefix, "/"), w.listed(motoEnforced...))
	w.oneByOne(t, config)
	plan := w.planned(t, config)
	before := w.held(t)

	// The third call is done, and nobody hears of it.
	const last = 3
	first := w.start(t, config, plan)
	w.proxy.onDeleted(func(n int) {
		if n == last {
			_ = first.Process.Kill()
			<-first.ended
		}
	})
	first.exits(t, -1)
	if n := len(w.proxy.swept()); n != last {
		t.Fatalf("%d calls, of which the third killed", n)
	}
	keys := w.bucket(t, prefix)
	if lock := w.lock(t, prefix+"locks/delete/000000000001.json"); lock.Released || lock.PID != first.Process.Pid || lock.Fence != 1 {
		t.Errorf("the lock of the one that was killed: %+v", lock)
	}
	id := motoSweepID(t, keys, prefix)
	records := w.journal(t, keys, prefix, id)
	if n := motoCount(records, "intent") - motoCount(records, "outcome"); n != 1 || motoCount(records, "intent") != last || motoCount(records, "end") != 0 {
		t.Errorf("the journal of the one that was killed: %v", motoKinds(records))
	}
	if slices.Contains(keys, prefix+"sweeps/"+id+"/summary.json") {
		t.Error("there is a summary of what has not ended")
	}
	if out := w.run(t, exitOK, config, "history", "--format", "json"); !strings.Contains(out, id) || !strings.Contains(out, `"interrupted"`) {
		t.Errorf("history, interrupted:\n%s", out)
	}

	// Go on, and let somebody else try meanwhile.
	second := w.start(t, config, plan)
	refused := make(chan *motoProgram, 1)
	w.proxy.onDeleted(func(n int) {
		if n == last+1 {
			third := w.start(t, config, plan)
			<-third.ended
			refused <- third
		}
	})
	second.exits(t, exitOK)
	w.proxy.onDeleted(nil)
	if len(refused) == 0 {
		t.Fatal("it has deleted nothing more")
	}
	third := <-refused
	third.exits(t, exitRefused)
	holder := fmt.Sprintf("(process %d)", second.Process.Pid)
	if text := third.err.String(); !strings.Contains(text, "arn:aws:sts::"+w.Accounts["hub"]) && !strings.Contains(text, "arn:aws:iam::"+w.Accounts["hub"]) ||
		!strings.Contains(text, holder) || !strings.Contains(text, "delete --plan") {
		t.Errorf("the one that is refused does not name the holder, %s of the hub: %s", holder, text)
	}
	if third.out.Len() > 0 {
		t.Errorf("the one that is refused says: %s", &third.out)
	}

	s := parseMotoSweep(t, second.out.Bytes())
	w.gone(t, before)
	w.swept(t, s, w.proxy.swept()[last-1].digests)
	w.inOrder(t)
	if s.Attempts != 2 || s.ID != id {
		t.Errorf("%d attempts of sweep %s, which was %s", s.Attempts, s.ID, id)
	}
	keys = w.bucket(t, prefix)
	if locks := motoUnder(keys, prefix+"locks/"); !slices.Equal(locks, []string{prefix + "locks/delete/000000000002.json"}) {
		t.Errorf("locks: %v", locks)
	} else {
		if lock := w.lock(t, locks[0]); !lock.Released || lock.PID != second.Process.Pid || lock.Fence != 2 {
			t.Errorf("the lock in the end: %+v", lock)
		}
	}
	if got := motoSweepID(t, keys, prefix); got != id {
		t.Errorf("the sweep is %s, and was %s", got, id)
	}
	if !slices.Contains(keys, prefix+"sweeps/"+id+"/summary.json") || len(motoUnder(keys, prefix+"sweeps/"+id+"/manifests/")) == 0 {
		t.Errorf("no summary or no manifests: %v", keys)
	}
	w.accounted(t, w.journal(t, keys, prefix, id))
	out := w.run(t, exitOK, config, "history", "--format", "json")
	if !strings.Contains(out, id) || !strings.Contains(out, `"complete"`) || strings.Contains(out, `"interrupted"`) {
		t.Errorf("history:\n%s", out)
	}
	if out := w.run(t, exitOK, config, "history"); !strings.Contains(out, id) || !strings.Contains(out, "delete") {
		t.Errorf("history:\n%s", out)
	}
}

// accounted reads the whole journal: each planned image has an intent before its outcome, and one end.
func (w *motoWorld) accounted(t *testing.T, records []motoRecord) {
	t.Helper()
	intended, ended := map[int]motoRecord{}, map[int]bool{}
	states := map[string]string{}
	for i, r := range records {
		switch r.Kind {
		case "intent":
			if _, ok := intended[r.Call]; ok {
				t.Errorf("two intents of call %d", r.Call)
			}
			intended[r.Call] = r
			continue
		case "outcome":
			intent, ok := intended[r.Call]
			if !ok || ended[r.Call] || len(intent.Images) != len(r.Images) {
				t.Errorf("outcome %d of call %d, of %d images where %d were intended", i, r.Call, len(r.Images), len(intent.Images))
			}
			ended[r.Call] = true
			if want := "arn:aws:iam::" + r.Account + ":role/" + motoSweepRole; r.Role != want {
				t.Errorf("call %d is made by %q, want %s", r.Call, r.Role, want)
			}
		}
		for _, img := range r.Images {
			// What the configuration forbids is said again by the second attempt.
			if states[img.Digest] != "" && img.State != "skipped" {
				t.Errorf("%s is %s, and then %s", img.Digest, states[img.Digest], img.State)
			}
			states[img.Digest] = img.State
		}
	}
	want := map[string]string{}
	for _, digest := range w.expected("hub") {
		want[digest] = "skipped"
	}
	for _, digest := range w.expected(motoEnforced...) {
		want[digest] = "deleted"
	}
	if diff := gocmp.Diff(want, states); diff != "" {
		t.Errorf("the journal (-want +got):\n%s", diff)
	}
	if n := len(records); n == 0 || records[0].Kind != "begin" || records[n-1].Kind != "end" ||
		motoCount(records, "begin") != 2 || motoCount(records, "end") != 1 || len(intended) != len(ended) || len(ended) != motoSweepCalls {
		t.Errorf("the journal: %v", motoKinds(records))
	}
	for _, r := range records {
		if r.Fence != 1 && r.Fence != 2 {
			t.Errorf("a record under lock %d", r.Fence)
		}
	}
}

// ---- What the tests need --------------------------------------------------------------------------------------------

// expected are the digests of the images that are to go from some accounts, by key.
func (w *motoWorld) expected(accounts ...string) map[string]string {
	out := map[string]string{}
	for _, account := range accounts {
		for _, key := range w.deletable(account + "/") {
			out[key] = w.Images[key]
		}
	}
	return out
}

// planned saves a plan and checks that it is what motoWanted says.
func (w *motoWorld) planned(t *testing.T, config string) (path string) {
	t.Helper()
	w.compare(t, parseMotoPlan(t, []byte(w.run(t, exitOK, config, "plan", "--format", "json", "--all"))), motoWanted)
	path = filepath.Join(t.TempDir(), "plan.json")
	w.run(t, exitOK, config, "plan", "--out", path)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, img := range parseMotoPlan(t, data).Images {
		if img.Action == "delete" {
			got = append(got, img.Digest)
		}
	}
	want := slices.Sorted(maps.Values(w.expected("hub", "platform", "shop", "pay")))
	slices.Sort(got)
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Fatalf("the saved plan deletes (-want +got):\n%s", diff)
	}
	return path
}

// oneByOne has accounts dealt with one after the other, so that no two calls are on their way at once.
func (w *motoWorld) oneByOne(t *testing.T, config string) {
	t.Helper()
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Replace(text, []byte("[scan]\n"), []byte("[scan]\nconcurrency = 1\n"), 1)
	if err := os.WriteFile(config, changed, 0o600); err != nil || bytes.Equal(changed, text) {
		t.Fatalf("%s: nothing changed, or %v", config, err)
	}
}

func (w *motoWorld) sweep(t *testing.T, code int, config string, args ...string) *sweepFile {
	t.Helper()
	return parseMotoSweep(t, []byte(w.run(t, code, config, append([]string{"delete", "--format", "json"}, args...)...)))
}

func parseMotoSweep(t *testing.T, data []byte) *sweepFile {
	t.Helper()
	var s sweepFile
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatalf("the summary is no JSON: %v\n%s", err, data)
	}
	return &s
}

// swept checks the summary: every planned image is deleted, or skipped since its account is not enforced. That some are
// gone was found out by the next scan; of all others ECR said so.
func (w *motoWorld) swept(t *testing.T, s *sweepFile, found []string) {
	t.Helper()
	deleted, kept := w.expected(motoEnforced...), w.expected("hub")
	if s.State != "complete" || s.DryRun || s.Calls != motoSweepCalls || s.Planned.Images != len(deleted)+len(kept) ||
		s.Deleted.Images != len(deleted) || s.Skipped.Images != len(kept) || s.Failed.Images != 0 || s.Left.Images != 0 ||
		s.Deleted.Bytes+s.Skipped.Bytes != s.Planned.Bytes || len(s.Images) != s.Planned.Images {
		t.Errorf("the summary: %+v", s)
	}
	for key, digest := range deleted {
		if got := s.state(digest); got != "deleted" {
			t.Errorf("%s: %q", key, got)
		}
	}
	for key, digest := range kept {
		if got := s.state(digest); got != "skipped not-enforced" {
			t.Errorf("%s: %q", key, got)
		}
	}
	for _, img := range s.Images {
		toldLater := strings.Contains(img.Detail, "found it gone")
		if img.State == "deleted" && (toldLater != slices.Contains(found, img.Digest) || !toldLater && img.Detail != "") {
			t.Errorf("%s is deleted: %q", img.Digest, img.Detail)
		}
	}
}

// held lists all images of all accounts, as account/region/repository@digest. It asks moto itself.
func (w *motoWorld) held(t *testing.T) map[string]bool {
	t.Helper()
	const api = "AmazonEC2ContainerRegistry_V20150921."
	images := map[string]bool{}
	for name, id := range w.Accounts {
		key := motoHubKey
		if name != "hub" {
			key = w.assume(t, id, url.Values{})
		}
		for _, region := range []string{motoEast, motoTokyo} {
			var out struct {
				Repositories []struct{ RepositoryName string }
				ImageIDs     []struct{ ImageDigest string } `json:"imageIds"`
				NextToken    string
			}
			ask := func(operation, body string) {
				status, data := w.call(t, key, region, "ecr", api+operation, body)
				if err := json.Unmarshal(data, &out); err != nil || status != http.StatusOK || out.NextToken != "" {
					t.Fatalf("%s: %d %v\n%s", operation, status, err, data)
				}
			}
			ask("DescribeRepositories", "{}")
			for _, r := range out.Repositories {
				out.ImageIDs = nil
				ask("ListImages", `{"repositoryName": `+strconv.Quote(r.RepositoryName)+`}`)
				for _, i := range out.ImageIDs {
					images[name+"/"+region+"/"+r.RepositoryName+"@"+i.ImageDigest] = true
				}
			}
		}
	}
	return images
}

// gone checks that of what was held the planned images of the enforced accounts are gone, and nothing else.
func (w *motoWorld) gone(t *testing.T, before map[string]bool) {
	t.Helper()
	want := maps.Clone(before)
	for key, digest := range w.expected(motoEnforced...) {
		repository, _, _ := strings.Cut(key, ":")
		id := repository + "@" + digest
		if !want[id] {
			t.Errorf("%s was not there", key)
		}
		delete(want, id)
	}
	if diff := gocmp.Diff(want, w.held(t)); diff != "" {
		t.Errorf("what is held in the end (-want +got):\n%s", diff)
	}
}

// inOrder checks the calls: each planned digest once, by the sweep role, and an index before its children.
func (w *motoWorld) inOrder(t *testing.T) {
	t.Helper()
	calls := w.proxy.swept()
	at := map[string]int{}
	for i, c := range calls {
		if c.status != http.StatusOK || c.byTag {
			t.Errorf("call %d: %+v", i, c)
		}
		for _, d := range c.digests {
			if _, ok := at[d]; ok {
				t.Errorf("%s is deleted twice", d)
			}
			at[d] = i
		}
	}
	want := w.expected(motoEnforced...)
	if got := slices.Sorted(maps.Keys(at)); !slices.Equal(got, slices.Sorted(maps.Values(want))) {
		t.Errorf("%d digests are deleted, want %d", len(got), len(want))
	}
	if len(calls) != motoSweepCalls {
		t.Errorf("%d calls, want %d: %+v", len(calls), motoSweepCalls, calls)
	}
	const index = "platform/us-east-1/base/multi:m2"
	for _, child := range []string{index + "-amd64", index + "-arm64"} {
		if at[w.Images[index]] >= at[w.Images[child]] {
			t.Errorf("%s goes in call %d, its index in call %d", child, at[w.Images[child]], at[w.Images[index]])
		}
	}
}

// motoProgram is the program in a process of its own.
type motoProgram struct {
	*exec.Cmd
	out, err bytes.Buffer // to be read after ended
	ended    chan struct{}
}

// start starts a deletion.
func (w *motoWorld) start(t *testing.T, config, plan string) *motoProgram {
	p := &motoProgram{Cmd: exec.Command("demurrage", "--config", config, "delete", "--plan", plan, "--format", "json"), ended: make(chan struct{})}
	p.Env, p.Stdout, p.Stderr = w.env, &p.out, &p.err
	if err := p.Start(); err != nil {
		t.Errorf("start: %v", err)
		close(p.ended)
		return p
	}
	t.Cleanup(func() { _ = p.Process.Kill(); <-p.ended })
	go func() { _ = p.Wait(); close(p.ended) }()
	return p
}

// exits waits for the end.
func (p *motoProgram) exits(t *testing.T, code int) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(4 * time.Minute):
		t.Fatal("it does not end")
	}
	if p.ProcessState == nil || p.ProcessState.ExitCode() != code {
		t.Fatalf("it ends with %v, want %d\n%s%s", p.ProcessState, code, &p.err, &p.out)
	}
}

// motoRecord is a line of a journal as whoever reads it sees it.
type motoRecord struct {
	Kind, Account, Region, Repository, Role, Error string
	Call                                           int
	Fence                                          int64
	Images                                         []struct{ Digest, State, Code, Detail string }
}

func motoKinds(records []motoRecord) (kinds []string) {
	for _, r := range records {
		kinds = append(kinds, r.Kind)
	}
	return kinds
}

func motoCount(records []motoRecord, kind string) (n int) {
	for _, r := range records {
		if r.Kind == kind {
			n++
		}
	}
	return n
}

// motoLock is a lock likewise.
type motoLock struct {
	Fence    int64
	PID      int
	Released bool
}

// bucket lists the objects under a prefix. It asks moto itself.
func (w *motoWorld) bucket(t *testing.T, prefix string) []string {
	t.Helper()
	status, data := w.get(t, motoHubKey, "s3", "/demurrage-runs?list-type=2&prefix="+url.QueryEscape(prefix))
	var out struct {
		IsTruncated bool
		Contents    []struct{ Key string }
	}
	if err := xml.Unmarshal(data, &out); err != nil || status != http.StatusOK || out.IsTruncated {
		t.Fatalf("the bucket: %d %v\n%s", status, err, data)
	}
	var keys []string
	for _, c := range out.Contents {
		keys = append(keys, c.Key)
	}
	slices.Sort(keys)
	return keys
}

func motoUnder(keys []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, prefix) })
}

// read gives an object.
func (w *motoWorld) read(t *testing.T, key string) []byte {
	t.Helper()
	status, data := w.get(t, motoHubKey, "s3", "/demurrage-runs/"+key)
	if status != http.StatusOK {
		t.Fatalf("%s: %d\n%s", key, status, data)
	}
	return data
}

func (w *motoWorld) lock(t *testing.T, key string) (l motoLock) {
	t.Helper()
	if data := w.read(t, key); json.Unmarshal(data, &l) != nil {
		t.Fatalf("%s is no JSON: %s", key, data)
	}
	return l
}

// motoSweepID is the id of the only sweep in a store.
func motoSweepID(t *testing.T, keys []string, prefix string) string {
	t.Helper()
	ids := map[string]bool{}
	for _, k := range motoUnder(keys, prefix+"sweeps/") {
		id, _, _ := strings.Cut(strings.TrimPrefix(k, prefix+"sweeps/"), "/")
		ids[id] = true
	}
	if len(ids) != 1 {
		t.Fatalf("sweeps in the store: %v", ids)
	}
	return slices.Collect(maps.Keys(ids))[0]
}

// journal reads the journal of a sweep: its objects are numbered from 1 on, without a gap.
func (w *motoWorld) journal(t *testing.T, keys []string, prefix, id string) (records []motoRecord) {
	t.Helper()
	dir := prefix + "sweeps/" + id + "/journal/"
	for i, key := range motoUnder(keys, dir) {
		if want := fmt.Sprintf("%s%08d.jsonl", dir, i+1); key != want {
			t.Errorf("the journal has %s instead of %s", key, want)
		}
		for line := range bytes.Lines(w.read(t, key)) {
			var r motoRecord
			if err := json.Unmarshal(line, &r); err != nil {
				t.Fatalf("%s: %v: %s", key, err, line)
			}
			records = append(records, r)
		}
	}
	return records
}

// ---- The proxy ------------------------------------------------------------------------------------------------------

// motoDeletion is a call of BatchDeleteImage that moto has answered.
type motoDeletion struct {
	digests []string
	byTag   bool
	status  int
}

// motoAskedDigests are the digests that a request names.
func motoAskedDigests(request []byte) (digests []string) {
	var in map[string]any
	_ = json.Unmarshal(request, &in)
	for _, id := range motoList(in["imageIds"]) {
		if digest, ok := id["imageDigest"].(string); ok {
			digests = append(digests, digest)
		}
	}
	return digests
}

// note keeps account of deletions.
func (p *motoProxy) note(a *motoAnswer, r motoRequest) {
	if r.service != "ecr" || r.operation != "BatchDeleteImage" {
		return
	}
	p.mu.Lock()
	p.deletions = append(p.deletions, motoDeletion{motoAskedDigests(a.request), bytes.Contains(a.request, []byte("imageTag")), a.status})
	n, deleted := len(p.deletions), p.deleted
	p.mu.Unlock()
	if deleted != nil {
		deleted(n)
	}
}

func (p *motoProxy) swept() []motoDeletion {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.deletions)
}

// onDeleted has f called when moto has done a deletion, and before anybody hears of it.
func (p *motoProxy) onDeleted(f func(n int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deleted = f
}

// age makes images older, as if time had passed.
func (p *motoProxy) age(a *motoAnswer, r motoRequest) {
	p.mu.Lock()
	older := p.older
	p.mu.Unlock()
	if older == 0 || r.service != "ecr" || r.operation != "DescribeImages" || a.status != http.StatusOK {
		return
	}
	body := a.object()
	for _, detail := range motoList(body["imageDetails"]) {
		n, ok := detail["imagePushedAt"].(json.Number)
		pushed, err := n.Float64()
		if !ok || err != nil {
			p.t.Errorf("an image without a push time: %v", detail)
			continue
		}
		detail["imagePushedAt"] = pushed - older.Seconds()
	}
	a.set(body)
}
