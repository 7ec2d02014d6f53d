package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"demurrage/internal/image"
)

// TestSweepRandomly plans and deletes in random organizations, while people deploy, push, tag, pull and delete, while AWS
// throttles, fails, refuses and loses answers, and while the program is killed and started again. Whatever happens, nothing
// is deleted that was in use when the last look at its registry began, nothing that was not in the plan, and the books say
// exactly what is gone.
//
// The simulator itself knows what is in use: neither scan nor planner is asked. DEMURRAGE_SEEDS=5000 tries more,
// DEMURRAGE_SEED=N begins with seed N.
func TestSweepRandomly(t *testing.T) {
	t.Parallel()
	number := func(name string, otherwise int) int {
		n, err := strconv.Atoi(os.Getenv(name))
		if err != nil {
			return otherwise
		}
		return n
	}
	first, seeds := number("DEMURRAGE_SEED", 1), number("DEMURRAGE_SEEDS", 24)
	if testing.Short() {
		seeds = 4
	}
	var mu sync.Mutex
	sums := map[string]int{}
	t.Run("seeds", func(t *testing.T) {
		for seed := first; seed < first+seeds; seed++ {
			t.Run(strconv.Itoa(seed), func(t *testing.T) {
				t.Parallel()
				tr := newTrial(t, seed)
				tr.run()
				mu.Lock()
				defer mu.Unlock()
				for k, n := range tr.sums {
					sums[k] += n
				}
			})
		}
	})
	for _, k := range slices.Sorted(maps.Keys(sums)) {
		t.Logf("%s: %d", k, sums[k])
	}
	if !testing.Short() && seeds >= 24 {
		for _, k := range []string{"images deleted", "kills", "answers lost", "partial failures", "deployments while it deletes"} {
			if sums[k] == 0 {
				t.Errorf("these seeds have no %s: they test too little", k)
			}
		}
	}
}

// trial is one random organization and what happens in it.
type trial struct {
	*world
	t      *testing.T
	url2   string // where the program finds AWS
	strict bool   // one target after the other, so that it can be told when a look began

	mu      sync.Mutex // guards what follows
	random  *rand.Rand
	cmd     *exec.Cmd
	calls   int // of this attempt
	killAt  int // at which of them the program is killed; 0: it is not
	faults  bool
	looks   map[string]map[string]bool // account -> what was in use when the newest look at it began
	planned map[string]bool            // account/region/repository@digest
	removed map[string]bool            // by the program, says the simulator
	sums    map[string]int
	content int
	shared  map[string]bool
}

func newTrial(t *testing.T, seed int) *trial {
	w := newWorld(t, virginia)
	w.LimitRegions(virginia)
	tr := &trial{world: w, t: t, random: rand.New(rand.NewPCG(uint64(seed), 4)), looks: map[string]map[string]bool{},
		planned: map[string]bool{}, removed: map[string]bool{}, sums: map[string]int{}, shared: map[string]bool{}}
	front := httptest.NewServer(tr)
	t.Cleanup(front.Close)
	tr.url2 = front.URL
	w.sweepRole(accountA)
	w.sweepRole(accountB)
	tr.strict = tr.random.IntN(2) == 0
	concurrency := 8
	if tr.strict {
		concurrency = 1
	}
	rule := ""
	for _, r := range []string{"keep_count = 2\n", "allow_empty = true\n", "untagged_expires = \"2d\"\n", "keep_tag_patterns = [\"prod-*\"]\n", "keep_pulled_within = \"7d\"\n"} {
		if tr.random.IntN(2) == 0 {
			rule += r
		}
	}
	w.config(fmt.Sprintf(`[assume]
role = "DemurrageRead"
sweep_role = "DemurrageSweep"
external_id = "of-the-tests"
[scan]
regions = ["us-east-1"]
concurrency = %d
[[accounts]]
id = "111111111111"
enforce = true
[[accounts]]
id = "222222222222"
enforce = true
[[task_definitions]]
name_pattern = "*"
keep_count = 1000
[[repositories]]
name_pattern = "*"
expires = "30d"
%s`, concurrency, rule))
	tr.seed()
	return tr
}

// seed makes registries, graphs and uses.
func (tr *trial) seed() {
	for _, account := range []string{accountA, accountB} {
		tr.cluster(account, virginia)
		for n := range 1 + tr.random.IntN(3) {
			name := fmt.Sprintf("%s/r%d", []string{"app", "team/x"}[tr.random.IntN(2)], n)
			if account == accountA && tr.random.IntN(2) == 0 {
				tr.share(virginia, name)
				tr.shared[account+name] = true
			} else {
				tr.repository(account, virginia, name)
			}
			for range 2 + tr.random.IntN(14) {
				tr.publish(account, name, 1+tr.random.IntN(200))
			}
			if tr.random.IntN(8) == 0 {
				for range 130 { // more than a call takes
					tr.publish(account, name, 60+tr.random.IntN(30))
				}
			}
		}
	}
	for range tr.random.IntN(8) {
		tr.deploy()
	}
}

// images lists what a registry holds: repository -> images.
func (tr *trial) images(account string) map[string][]ecrtypes.ImageDetail {
	all := map[string][]ecrtypes.ImageDetail{}
	c := tr.ecr(account, virginia)
	for _, r := range done(c.DescribeRepositories(tr.Context(), &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(1000)}))(tr.world).Repositories {
		all[*r.RepositoryName] = done(c.DescribeImages(tr.Context(), &ecr.DescribeImagesInput{RepositoryName: r.RepositoryName, MaxResults: aws.Int32(1000)}))(tr.world).ImageDetails
	}
	return all
}

// publish pushes an image, an index of others, or a referrer to one, some days ago, with or without tags.
func (tr *trial) publish(account, repository string, days int) {
	tr.content++
	text := manifest(fmt.Sprint("content ", tr.content, " of ", account))
	others := tr.images(account)[repository]
	if len(others) > 0 {
		switch some := *others[tr.random.IntN(len(others))].ImageDigest; tr.random.IntN(8) {
		case 0, 1:
			text = indexOf(some, *others[tr.random.IntN(len(others))].ImageDigest)
		case 2:
			text = referrerTo(some, tr.content)
		}
	}
	tr.SetClock(ago(days))
	defer tr.SetClock(time.Time{})
	in := &ecr.PutImageInput{RepositoryName: &repository, ImageManifest: &text}
	if tr.random.IntN(3) > 0 {
		in.ImageTag = aws.String([]string{"latest", "prod-1", "v1", "v2", fmt.Sprint("build-", tr.content), fmt.Sprint("build-", tr.content)}[tr.random.IntN(6)])
	}
	_, _ = tr.ecr(account, virginia).PutImage(tr.Context(), in) // the same index may be there already
}

func referrerTo(subject string, n int) string {
	b, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": image.MediaTypeOCIManifest, "artifactType": "application/vnd.example.signature",
		"config": descriptor("application/vnd.oci.empty.v1+json", "{}", 2), "layers": []any{descriptor("application/octet-stream", fmt.Sprint("signature ", n), 100)},
		"subject": map[string]any{"mediaType": image.MediaTypeOCIManifest, "digest": subject, "size": 500},
	})
	return string(b)
}

// reference is some image as somebody would write it.
func (tr *trial) reference() (account, repository string, detail ecrtypes.ImageDetail, ref string) {
	account = []string{accountA, accountB}[tr.random.IntN(2)]
	all := tr.images(account)
	names := slices.Sorted(maps.Keys(all))
	repository = names[tr.random.IntN(len(names))]
	if len(all[repository]) == 0 {
		return account, repository, detail, ""
	}
	detail = all[repository][tr.random.IntN(len(all[repository]))]
	ref = image.Registry{Account: account, Region: virginia}.Host() + "/" + repository
	if n := len(detail.ImageTags); n > 0 && tr.random.IntN(3) > 0 {
		return account, repository, detail, ref + ":" + detail.ImageTags[tr.random.IntN(n)]
	}
	return account, repository, detail, ref + "@" + *detail.ImageDigest
}

// deploy starts something from a random image, where that can be pulled.
func (tr *trial) deploy() {
	account, repository, _, ref := tr.reference()
	if ref == "" {
		return
	}
	in := account
	if tr.shared[account+repository] && tr.random.IntN(2) == 0 {
		in = accountB
	}
	tr.content++
	name := fmt.Sprint("deployment-", tr.content)
	c := tr.ecs(in, virginia)
	if tr.random.IntN(4) == 0 {
		_, _ = tr.lambda(in, virginia).CreateFunction(tr.Context(), &lambda.CreateFunctionInput{
			FunctionName: &name, PackageType: lambdatypes.PackageTypeImage, Role: aws.String("arn:aws:iam::" + in + ":role/function"),
			Code: &lambdatypes.FunctionCode{ImageUri: &ref},
		})
		return
	}
	definition := done(c.RegisterTaskDefinition(tr.Context(), &ecs.RegisterTaskDefinitionInput{
		Family: &name, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: &ref, Memory: aws.Int32(128), Essential: aws.Bool(true)}},
	}))(tr.world).TaskDefinition.TaskDefinitionArn
	switch tr.random.IntN(3) {
	case 0:
		_, _ = c.RunTask(tr.Context(), &ecs.RunTaskInput{Cluster: aws.String("main"), TaskDefinition: definition})
	case 1:
		_, _ = c.CreateService(tr.Context(), &ecs.CreateServiceInput{Cluster: aws.String("main"), ServiceName: &name, DesiredCount: aws.Int32(1), TaskDefinition: definition})
	}
	if tr.random.IntN(2) == 0 { // only what runs knows the image then
		tr.deregister(in, virginia, *definition)
	}
}

// happen does one thing that people do.
func (tr *trial) happen() {
	switch tr.random.IntN(6) {
	case 0:
		account, repository, _, _ := tr.reference()
		tr.publish(account, repository, 0)
	case 1: // somebody puts a tag on an old image
		account, repository, detail, ref := tr.reference()
		if ref == "" {
			return
		}
		c := tr.ecr(account, virginia)
		out := done(c.BatchGetImage(tr.Context(), &ecr.BatchGetImageInput{RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: detail.ImageDigest}}}))(tr.world)
		if len(out.Images) == 1 {
			_, _ = c.PutImage(tr.Context(), &ecr.PutImageInput{RepositoryName: &repository, ImageManifest: out.Images[0].ImageManifest, ImageTag: aws.String([]string{"latest", "v1", "rollback"}[tr.random.IntN(3)])})
		}
	case 2: // somebody deletes
		account, repository, detail, ref := tr.reference()
		if _, used := tr.InUse()[account+"/"+virginia+"/"+repository+"@"+aws.ToString(detail.ImageDigest)]; ref != "" && !used {
			done(tr.ecr(account, virginia).BatchDeleteImage(tr.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: detail.ImageDigest}}}))(tr.world)
		}
	default:
		tr.deploy()
	}
}

// ---- what the program meets ----

func (tr *trial) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body := readAll(r)
	op, account := operationOf(r), ""
	if op == "ListClusters" || op == "BatchDeleteImage" {
		account = tr.callerOf(r)
	}
	tr.mu.Lock()
	tr.calls++
	if tr.killAt > 0 && tr.calls >= tr.killAt && tr.cmd != nil {
		tr.killAt = 0
		tr.sums["kills"]++
		before := tr.random.IntN(2) == 0
		if before {
			_ = tr.cmd.Process.Kill()
		}
		tr.mu.Unlock()
		tr.serve1(httptest.NewRecorder(), r, op, account, body) // it was on its way
		if !before {
			_ = tr.cmd.Process.Kill()
		}
		panic(http.ErrAbortHandler)
	}
	fault := ""
	if tr.faults && op != "" {
		switch n := tr.random.IntN(1000); {
		case n < 8:
			fault = "ThrottlingException"
		case n < 14:
			fault = "ServerException"
		case n < 16 && (op == "BatchDeleteImage" || tr.random.IntN(8) == 0):
			fault = "AccessDeniedException"
		case op == "BatchDeleteImage" && n < 60:
			fault = "lost"
		case op == "BatchDeleteImage" && n < 120:
			fault = "partial"
		}
	}
	tr.mu.Unlock()
	switch fault {
	case "":
		tr.serve1(rw, r, op, account, body)
	case "lost":
		tr.sum("answers lost")
		tr.serve1(httptest.NewRecorder(), r, op, account, body)
		panic(http.ErrAbortHandler)
	case "partial":
		tr.sum("partial failures")
		tr.partial(rw, r, account, body)
	default:
		tr.sum(fault)
		rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
		rw.WriteHeader(map[bool]int{true: 500, false: 400}[fault == "ServerException"])
		fmt.Fprintf(rw, `{"__type": %q, "message": "random"}`, fault)
	}
}

func (tr *trial) sum(what string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.sums[what]++
}

// serve1 serves a call, and looks closely at those that matter.
func (tr *trial) serve1(rw http.ResponseWriter, r *http.Request, op, account string, body []byte) {
	switch op {
	case "ListClusters":
		used := tr.inUse()
		tr.mu.Lock()
		tr.looks[account] = used
		if tr.faults && tr.random.IntN(3) == 0 {
			tr.sums["deployments while it deletes"]++
			tr.happen()
		}
		tr.mu.Unlock()
	case "BatchDeleteImage":
		tr.batchDelete(rw, r, account, body)
		return
	}
	tr.Server.ServeHTTP(rw, r)
}

func (tr *trial) inUse() map[string]bool {
	used := map[string]bool{}
	for key := range tr.InUse() {
		used[key] = true
	}
	return used
}

type deleteRequest struct {
	RepositoryName string              `json:"repositoryName"`
	RegistryID     string              `json:"registryId"`
	ImageIDs       []map[string]string `json:"imageIds"`
	Failures       []map[string]any    `json:"-"`
}

// batchDelete checks what a call of the program deletes against what is in use.
func (tr *trial) batchDelete(rw http.ResponseWriter, r *http.Request, account string, body []byte) {
	var in deleteRequest
	if err := json.Unmarshal(body, &in); err != nil {
		tr.t.Errorf("BatchDeleteImage: %v", err)
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.faults && tr.random.IntN(4) == 0 {
		tr.sums["deployments while it deletes"]++
		tr.happen() // in the window that ECR leaves open
	}
	used := tr.inUse()
	lookers := []string{account}
	if tr.shared[account+in.RepositoryName] {
		lookers = append(lookers, accountB)
	}
	if in.RegistryID != account {
		tr.t.Errorf("deletes in registry %s as %s", in.RegistryID, account)
	}
	for _, id := range in.ImageIDs {
		key := account + "/" + virginia + "/" + in.RepositoryName + "@" + id["imageDigest"]
		if id["imageDigest"] == "" || id["imageTag"] != "" {
			tr.t.Errorf("deletes by tag: %v", id)
		}
		if !tr.planned[key] {
			tr.t.Errorf("%s is deleted and was not in the plan", key)
		}
		if !used[key] {
			continue
		}
		known := true
		for _, looker := range lookers {
			known = known && tr.looks[looker][key]
		}
		switch {
		case known && (tr.strict || tr.wasUsed(key)):
			tr.t.Errorf("%s is deleted and was in use when the last look began, by %v", key, tr.InUse()[key])
		default:
			tr.sums["deployed in the window that ECR leaves open"]++
		}
	}
	rec := httptest.NewRecorder()
	tr.Server.ServeHTTP(rec, r)
	var out struct {
		ImageIDs []map[string]string `json:"imageIds"`
		Failures []struct {
			Code string `json:"failureCode"`
		} `json:"failures"`
	}
	_ = json.Unmarshal(rec.Body.Bytes(), &out)
	for _, id := range out.ImageIDs {
		tr.removed[account+"/"+virginia+"/"+in.RepositoryName+"@"+id["imageDigest"]] = true
	}
	for _, f := range out.Failures {
		if f.Code == "ImageReferencedByManifestList" {
			tr.sums["refused for an index's sake"]++
		}
	}
	maps.Copy(rw.Header(), rec.Header())
	rw.WriteHeader(rec.Code)
	_, _ = rw.Write(rec.Body.Bytes())
}

// wasUsed: where looks overlap, only what was in use before the program began is sure to have been seen.
func (tr *trial) wasUsed(key string) bool { return tr.looks["start"][key] }

// partial deletes some of what is asked for, and answers failures for the rest.
func (tr *trial) partial(rw http.ResponseWriter, r *http.Request, account string, body []byte) {
	var in map[string]any
	_ = json.Unmarshal(body, &in)
	ids, _ := in["imageIds"].([]any)
	cut := len(ids) / 2
	in["imageIds"] = ids[:cut]
	out := map[string]any{"imageIds": []any{}, "failures": []any{}}
	if cut > 0 {
		less, _ := json.Marshal(in)
		r2 := r.Clone(r.Context())
		r2.Body, r2.ContentLength = io.NopCloser(bytes.NewReader(less)), int64(len(less))
		rec := httptest.NewRecorder()
		tr.batchDelete(rec, r2, account, less)
		_ = json.Unmarshal(rec.Body.Bytes(), &out)
	}
	failures, _ := out["failures"].([]any)
	for _, id := range ids[cut:] {
		failures = append(failures, map[string]any{"imageId": id, "failureCode": "KmsError", "failureReason": "random"})
	}
	out["failures"] = failures
	rw.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(rw).Encode(out)
}

// ---- the trial ----

func (tr *trial) run() {
	tr.must(0, "plan", "--out", "plan.json", "--quiet")
	data, err := os.ReadFile(filepath.Join(tr.dir, "plan.json"))
	if err != nil {
		tr.t.Fatal(err)
	}
	for _, img := range tr.parsePlan(data).Images {
		if img.Action == "delete" {
			tr.planned[img.Account+"/"+img.Region+"/"+img.Repository+"@"+img.Digest] = true
		}
	}
	for range tr.random.IntN(4) {
		tr.happen()
	}
	var o outcome
	const most = 8
	for attempt := 1; ; attempt++ {
		o = tr.attempt(attempt)
		if o.code == 0 || o.code == 2 || o.code == 3 || o.code == 4 {
			break
		}
		if o.code != -1 && o.code != 1 {
			tr.t.Fatalf("exit code %d\n%s", o.code, o.stderr)
		}
		if attempt == most {
			tr.t.Fatalf("still exit code %d after %d attempts\n%s", o.code, attempt, o.stderr)
		}
	}
	tr.account(o)
}

// attempt runs the program, which may be killed; the last attempts meet no faults.
func (tr *trial) attempt(n int) outcome {
	cmd, stdout, stderr := tr.command("delete", "--plan", "plan.json", "--format", "json", "--quiet")
	cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL="+tr.url2)
	used := tr.inUse()
	tr.mu.Lock()
	tr.calls, tr.killAt, tr.faults, tr.cmd = 0, 0, n < 5 && tr.random.IntN(4) > 0, cmd
	tr.looks = map[string]map[string]bool{"start": used}
	if n < 4 && tr.random.IntN(3) == 0 {
		tr.killAt = 1 + tr.random.IntN(220)
	}
	tr.sums["attempts"]++
	err := cmd.Start()
	tr.mu.Unlock()
	if err != nil {
		tr.t.Fatal(err)
	}
	_ = cmd.Wait()
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), 0}
}

// account checks the books of the program against the simulator's.
func (tr *trial) account(o outcome) {
	type tally struct{ Images int }
	var s struct {
		ID, State                               string
		Planned, Deleted, Skipped, Failed, Left tally
		Images                                  []struct{ Account, Region, Repository, Digest, State, Code, Detail string }
	}
	if err := json.Unmarshal([]byte(o.stdout), &s); err != nil {
		if o.code == 2 && len(tr.planned) == 0 {
			return
		}
		tr.t.Fatalf("exit code %d, summary: %v\n%s\n%s", o.code, err, o.stdout, o.stderr)
	}
	if s.Planned.Images != len(tr.planned) || s.Planned.Images != s.Deleted.Images+s.Skipped.Images+s.Failed.Images || s.Left.Images != 0 || s.State != "complete" {
		tr.t.Errorf("the books do not add up to the %d images of the plan: %.600s", len(tr.planned), o.stdout)
	}
	seen := map[string]string{}
	for _, img := range s.Images {
		key := img.Account + "/" + img.Region + "/" + img.Repository + "@" + img.Digest
		if seen[key] != "" {
			tr.t.Errorf("%s is on record twice", key)
		}
		seen[key] = img.State
		unknown := strings.Contains(img.Detail, "could not be found out") || strings.Contains(img.Detail, "is not known")
		removed := tr.removed[key]
		// Where the answer to a call is lost and somebody else deletes the image, nobody can tell whose deletion it was.
		lost := strings.Contains(img.Detail, "answer was lost") || strings.Contains(img.Detail, "found it gone")
		if lost && !removed && img.State == "deleted" && !tr.holds(img.Account, img.Repository, img.Digest) {
			tr.sums["images that others deleted meanwhile"]++
			removed = true
		}
		if removed != (img.State == "deleted") && !unknown {
			tr.t.Errorf("%s: %s %s (%s) in the books, deleted by the program: %v", key, img.State, img.Code, img.Detail, removed)
		}
		tr.sums["images "+img.State]++
	}
	for key := range tr.planned {
		if seen[key] == "" {
			tr.t.Errorf("%s is not in the books", key)
		}
	}
	for key := range tr.removed {
		if seen[key] == "" {
			tr.t.Errorf("%s is gone and not in the books", key)
		}
	}
	if s.Failed.Images > 0 != (o.code == 3) {
		tr.t.Errorf("exit code %d with %d failures", o.code, s.Failed.Images)
	}
	if tr.t.Failed() {
		tr.t.Logf("journal in %s\nstderr: %s", filepath.Join(tr.dir, "demurrage-data", "sweeps", s.ID), o.stderr)
	}
}
