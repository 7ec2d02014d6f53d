package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"demurrage/accounts"
	"demurrage/internal/image"
	"demurrage/internal/store"
	"demurrage/internal/uselist"
)

// file writes into the directory of the world, as of some days ago, and returns its path.
func (w *world) file(name, text string, days int) string {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		w.Fatalf("%v", err)
	}
	if err := os.Chtimes(path, ago(days), ago(days)); err != nil {
		w.Fatalf("%v", err)
	}
	return path
}

// commands adds external commands to the configuration, each a shell script.
func (w *world) commands(timeout string, scripts ...string) {
	w.Helper()
	text := worldConfig
	for i, script := range scripts {
		file := w.file(fmt.Sprintf("command%d", i), "#!/bin/sh\n"+script+"\n", 0)
		text += fmt.Sprintf("[[external_commands]]\nname = \"on-prem%d\"\ncommand = [%q, \"--all\"]\ntimeout = %q\n", i, file, timeout)
	}
	w.config(text)
}

// usedBy asks that the image that nothing in AWS uses is kept, by the evidence of a source.
func (p *pair) usedBy(t *testing.T, plan *planFile, source, resource, detail string) {
	t.Helper()
	img := plan.image("shared", p.shared)
	if img.Action != "keep" || len(img.Reasons) != 1 {
		t.Fatalf("%+v", img)
	}
	r := img.Reasons[0]
	if r.Code != "in-use" || r.Source != source || !regexp.MustCompile(resource).MatchString(r.Resource) || !regexp.MustCompile(detail).MatchString(r.Detail) {
		t.Errorf("%+v", r)
	}
}

const instant = `2\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`

// TestImportedUse: what only an imported list uses is kept, with the file and its time as evidence, until the list is
// removed; a stored run keeps what it saw of it.
func TestImportedUse(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	file := p.file("hosts.txt", "# rack 1\nnginx\n"+host(virginia)+"/shared:v1\n", 2)
	if o := p.must(0, "uses", "import", file); !strings.Contains(o.stdout, "imported hosts, seen "+ago(2).Format(time.DateOnly)) || !strings.Contains(o.stdout, "uses of ECR images: 1; of other registries, left out: 1\n") {
		t.Errorf("%s", o.stdout)
	}
	plan := p.plan(0)
	p.usedBy(t, plan, "import", `/hosts\.txt: line 3$`, `imported from /.*/hosts\.txt, seen `+instant+`\)?$`)
	if !plan.Complete {
		t.Error("the plan is not complete")
	}
	found := false
	for _, c := range plan.Coverage {
		found = found || c == image.Coverage{Account: "*", Region: "*", Source: "import:hosts", Status: image.CoverageOK}
	}
	if !found {
		t.Errorf("coverage: %+v", plan.Coverage)
	}
	p.must(0, "uses", "remove", "hosts")
	if again := p.plan(0, "--run", plan.RunID); again.action("shared", p.shared) != "keep" {
		t.Error("the stored run forgot")
	}
	p.want(t, p.plan(0), "delete", "delete", "delete")

	if err := os.Remove(filepath.Join(p.dir, "demurrage-data", "runs", plan.RunID, "imports.json.zst")); err != nil {
		t.Fatal(err)
	}
	if o := p.must(1, "plan", "--run", plan.RunID); !strings.Contains(o.stderr, "imports.json.zst") {
		t.Errorf("what the run saw is lost: %s", o.stderr)
	}
}

// TestStaleList: nobody knows what a list that is too old leaves out, so that it blocks everything.
func TestStaleList(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.must(0, "uses", "import", p.file("hosts.txt", host(virginia)+"/shared:v1\n", 9))
	plan := p.plan(2)
	p.want(t, plan, "blocked", "keep", "blocked")
	if img := plan.image("private", p.private); !img.has("coverage-gap", "*") || !strings.Contains(img.Reasons[0].Detail, "seen 9 days ago, older than max_age 7 days") ||
		!strings.Contains(img.Reasons[0].Detail, "demurrage uses remove hosts") {
		t.Errorf("%+v", img.Reasons)
	}
	if o := p.must(0, "uses", "list"); !strings.Contains(o.stdout, "stale") {
		t.Errorf("%s", o.stdout)
	}
	// Importing it again mends it, and so does a longer life.
	p.config(worldConfig + "[uses]\nmax_age = \"10d\"\n")
	p.want(t, p.plan(0), "delete", "keep", "delete")
	p.config(worldConfig)
	p.must(0, "uses", "import", "--observed", ago(6).Format(time.RFC3339), filepath.Join(p.dir, "hosts.txt"))
	p.want(t, p.plan(0), "delete", "keep", "delete")
}

// TestDamagedList: a list that cannot be read may have named anything.
func TestDamagedList(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.must(0, "uses", "import", p.file("hosts.txt", host(virginia)+"/shared:v1\n", 0))
	p.file("demurrage-data/uses/hosts.json", "{", 0)
	p.want(t, p.plan(2), "blocked", "blocked", "blocked")
	p.must(1, "uses", "list")
	p.must(1, "uses", "import", filepath.Join(p.dir, "hosts.txt")) // the damaged one may be another's
	p.must(0, "uses", "import", "--name", "hosts", filepath.Join(p.dir, "hosts.txt"))
	p.want(t, p.plan(0), "delete", "keep", "delete")
}

// TestExternalCommand: what only a command knows of is kept, with its name and time as evidence.
func TestExternalCommand(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.commands("1m", `test "$1" = --all && test -z "$(cat)" && test -n "$HOME" && echo careful >&2 && echo `+host(virginia)+`/shared:v1 '# web'`,
		`echo '[{"ref": "`+host(virginia)+`/private:v1", "resource": "rack 7"}]'`)
	plan := p.plan(0)
	p.usedBy(t, plan, "external-command", `^on-prem0: line 1$`, `listed by external command on-prem0, seen `+instant)
	if r := plan.image("private", p.private).Reasons; len(r) != 1 || r[0].Resource != "on-prem1: rack 7" {
		t.Errorf("%+v", r)
	}
	p.config(worldConfig) // a stored run does not ask again
	if again := p.plan(0, "--run", plan.RunID); again.action("shared", p.shared) != "keep" {
		t.Error("the stored run forgot")
	}
}

// TestExternalCommandFails: nobody knows what it would have listed, so that everything is blocked. None of these takes
// longer than the timeout, or leaves a process behind.
func TestExternalCommandFails(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ script, want string }{
		"fails":             {`echo ` + host(virginia) + `/shared:v1; printf 'no \033[31mroute\n to host' >&2; exit 3`, `exit status 3: no \[31mroute to host$`},
		"hangs":             {`sleep 90`, `has not ended after 1s and was killed$`},
		"hangs deeper":      {`trap '' TERM; sh -c 'echo $$ >child; exec sleep 90' & wait`, `has not ended after 1s and was killed$`},
		"talks without end": {`yes nginx`, `prints more than 64 MiB$`},
		"complains":         {`head -c 5000 /dev/zero | tr '\0' x >&2; exit 1`, `exit status 1: x{1000}x{1000}x{48}$`},
		"prints nothing":    {`true`, `its output: it names no image at all`},
		"prints no list":    {`echo Unauthorized: log in`, `its output:1: "Unauthorized: log in" is not an image reference`},
		"prints half":       {`echo '["nginx",'`, `its output:2: the JSON is cut short`},
		"leaves something":  {`echo nginx; sleep 90 &`, `something that it started holds on to its output`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			timeout := "1m"
			if strings.HasPrefix(name, "hangs") {
				timeout = "1s"
			}
			p.commands(timeout, tt.script)
			start := time.Now()
			plan := p.plan(2)
			if took := time.Since(start); took > 45*time.Second {
				t.Errorf("took %s", took)
			}
			p.want(t, plan, "blocked", "blocked", "blocked")
			if pid, err := os.ReadFile(filepath.Join(p.dir, "child")); err == nil {
				for deadline := time.Now().Add(10 * time.Second); running(strings.TrimSpace(string(pid))); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("what it started was left behind")
					}
				}
			} else if name == "hangs deeper" {
				t.Error(err)
			}
			for _, c := range plan.Coverage {
				if c.Source == "external:on-prem0" {
					if c.Account != "*" || c.Region != "*" || !strings.HasPrefix(c.Error, "external command on-prem0: ") || !regexp.MustCompile(tt.want).MatchString(c.Error) {
						t.Errorf("%+v", c)
					}
					return
				}
			}
			t.Errorf("coverage: %+v", plan.Coverage)
		})
	}
}

// running reports whether a process is there and not a zombie.
func running(pid string) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", pid).Output()
	return err == nil && !strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// TestExternalCommandIsMissing: a program that is not there has listed nothing.
func TestExternalCommandIsMissing(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.config(worldConfig + "[[external_commands]]\nname = \"on-prem\"\ncommand = [\"/nowhere/list\"]\n")
	p.want(t, p.plan(2), "blocked", "blocked", "blocked")
}

// TestResumeKnowsNewLists: a run that goes on has seen nothing of a list that was imported since.
func TestResumeKnowsNewLists(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.must(0, "uses", "import", p.file("hosts.txt", host(virginia)+"/shared:v1\n", 0))
	id := p.plan(0).RunID
	p.unfinish(id, time.Now().Add(time.Second)) // it is written down in seconds
	if plan := p.plan(0, "--resume"); plan.RunID != id || plan.action("shared", p.shared) != "keep" {
		t.Errorf("run %s, %s", plan.RunID, plan.action("shared", p.shared))
	}
	p.unfinish(id, time.Now().Add(-time.Minute))
	if o := p.must(1, "plan", "--resume"); !strings.Contains(o.stderr, "list of uses hosts was imported since") {
		t.Errorf("%s", o.stderr)
	}
}

// TestOnlyListsWereRead: that a list was imported does not make a run that read nothing of AWS worth anything.
func TestOnlyListsWereRead(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.must(0, "uses", "import", p.file("hosts.txt", host(virginia)+"/shared:v1\n", 0))
	p.trust(accountA, accountHub, "another")
	p.trust(accountB, accountHub, "another")
	if o := p.must(1, "plan"); !strings.Contains(o.stderr, "nothing could be read") {
		t.Errorf("%s", o.stderr)
	}
}

const pods = `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "shop"},
	"spec": {"containers": [{"name": "app", "image": "111111111111.dkr.ecr.us-east-1.amazonaws.com/shared:v1"}]}}]}`

// TestListOfACluster: its uses name the cluster and the pod; what may be missing in it is noted.
func TestListOfACluster(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	const cluster = "eks:" + accountB + "/us-east-1/main"
	o := p.must(0, "uses", "import", "--covers", cluster, p.file("pods.json", pods, 0))
	const note = "lists pods only: workloads at zero replicas and CronJobs between two runs are not in it"
	if !strings.Contains(o.stdout, "imported eks-222222222222-us-east-1-main, seen ") || !strings.Contains(o.stdout, "note: "+note) || !strings.Contains(o.stdout, `of namespace "shop"`) {
		t.Errorf("%s", o.stdout)
	}
	out := p.must(0, "plan", "--format", "json", "--all").stdout
	plan := p.parsePlan([]byte(out))
	p.usedBy(t, plan, "import", `^`+cluster+`: shop/Pod/web-1$`, `container app, imported from /.*/pods\.json, seen `+instant)
	if !strings.Contains(out, note) {
		t.Error("the plan does not note that it lists pods only")
	}
	// A stale one is a gap of the cluster's account, whether or not EKS knows the cluster (as it does not here), and for check too.
	p.must(0, "uses", "import", "--covers", cluster, "--observed", ago(9).Format(time.DateOnly), filepath.Join(p.dir, "pods.json"))
	plan = p.plan(2)
	p.want(t, plan, "delete", "keep", "blocked")
	if gap := failures(plan); len(gap) != 1 || gap[0].Account != accountB || gap[0].Region != virginia || !strings.Contains(gap[0].Error, "demurrage uses remove eks-") {
		t.Errorf("failures: %+v", gap)
	}
	p.must(2, "check")
	p.must(0, "uses", "remove", "eks-"+accountB+"-us-east-1-main")
	p.must(0, "check")
}

// TestCovered: a fresh list stands in for exactly the cluster it is of. A list of an account that is not scanned does not
// make it a scanned one.
func TestCovered(t *testing.T) {
	now := time.Now()
	s := &session{config: &accounts.Config{MaxUseAge: 7 * 24 * time.Hour}}
	roster := &accounts.Roster{Accounts: []accounts.Account{{ID: accountB}}}
	list := func(name, account, cluster string, age time.Duration) *store.UseList {
		l := &store.UseList{Name: name, Origin: []string{"/x.json"}, ObservedAt: now.Add(-age), Refs: []uselist.Entry{{Resource: "r"}}}
		if cluster != "" {
			l.Covers = &store.Cluster{Account: account, Region: virginia, Name: cluster}
		}
		return l
	}
	var all store.Imports
	for _, tt := range []struct {
		list    *store.UseList
		account string
		status  image.CoverageStatus
	}{
		{list("fresh", accountB, "fresh", time.Hour), accountB, image.CoverageOK},
		{list("stale", accountB, "stale", 8*24*time.Hour), accountB, image.CoverageFailed},
		{list("elsewhere", accountC, "stale", 8*24*time.Hour), "*", image.CoverageFailed},
		{list("stranger", accountC, "fresh", time.Hour), "*", image.CoverageOK},
		{list("any", "", "", time.Hour), "*", image.CoverageOK},
		{list("old", "", "", 8*24*time.Hour), "*", image.CoverageFailed},
	} {
		if c := s.imported(&all, tt.list, roster); c.Account != tt.account || (c.Region == "*") != (tt.account == "*") || c.Region != "*" && c.Region != virginia || c.Status != tt.status || c.Source != "import:"+tt.list.Name || (c.Error == "") != (c.Status == image.CoverageOK) {
			t.Errorf("%+v", c)
		}
	}
	if len(all.Uses) != 6 || all.Uses[3].Account != accountC || !all.Uses[3].Live {
		t.Errorf("a use is lost: %+v", all.Uses)
	}
	ask := covered(all)
	for _, tt := range []struct {
		account, region, cluster string
		want                     bool
	}{
		{accountB, virginia, "fresh", true}, {accountC, virginia, "fresh", true}, {accountB, virginia, "stale", false}, {accountB, ireland, "fresh", false},
		{accountA, virginia, "fresh", false}, {accountB, virginia, "Fresh", false}, {accountB, virginia, "", false},
	} {
		origin, ok := ask(tt.account, tt.region, tt.cluster)
		if ok != tt.want || ok && !strings.Contains(origin, "imported from /x.json, seen ") {
			t.Errorf("%+v: %q, %v", tt, origin, ok)
		}
	}
}
