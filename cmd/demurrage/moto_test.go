package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/xuri/excelize/v2"
)

// The whole program against moto (https://github.com/getmoto/moto), a stand-in for AWS that nobody here wrote, seeded
// by boto3, so that neither our simulator nor our own reading of AWS stands on both sides of the test.
//
//	pip install 'moto[server]==5.2.1' boto3

// motoDeviations is everything in which moto 5.2.1 differs from AWS and that stood in the way of this test. Either the
// proxy mends an answer, or testdata/moto/seed.py seeds in another way; the program knows nothing of moto. TestMoto
// fails when moto no longer has a deviation: its entry can then go.
var motoDeviations = []motoDeviation{
	{
		name: "account-list-regions", service: "account", operation: "ListRegions",
		moto: "does not have the operation: 404",
		aws:  "lists the regions of the account, with their opt-in status",
		here: "the proxy answers the two regions that are seeded",
		mend: func(_ *motoWorld, a *motoAnswer) bool {
			if a.status == http.StatusOK {
				return false
			}
			regions := []map[string]string{}
			for _, region := range []string{motoEast, motoTokyo} {
				regions = append(regions, map[string]string{"RegionName": region, "RegionOptStatus": "ENABLED_BY_DEFAULT"})
			}
			a.status, a.header = http.StatusOK, http.Header{"Content-Type": {"application/json"}}
			a.set(map[string]any{"Regions": regions})
			return true
		},
	},
	{
		name: "ecs-describe-tasks-numbers", service: "ecs", operation: "DescribeTasks",
		moto: "sends the cpu and memory of a container as numbers",
		aws:  "sends strings, as its model says; the Go SDK refuses anything else",
		here: "the proxy makes strings of them",
		mend: func(_ *motoWorld, a *motoAnswer) (changed bool) {
			body := a.object()
			for _, task := range motoList(body["tasks"]) {
				for _, container := range motoList(task["containers"]) {
					for _, key := range []string{"cpu", "memory"} {
						if n, ok := container[key].(json.Number); ok {
							container[key], changed = n.String(), true
						}
					}
				}
			}
			a.set(body)
			return changed
		},
	},
	{
		name: "lambda-resolved-image-uri", service: "lambda", operation: "GetFunction",
		moto: "makes up the digest in ResolvedImageUri from the text of ImageUri, and the rest of it cannot be parsed where that has a digest",
		aws:  "tells the digest that the image had when the version was made",
		here: "the proxy answers what the seed noted then",
		mend: func(w *motoWorld, a *motoAnswer) bool { return w.mendCode(a, "ResolvedImageUri") },
	},
	{
		name: "lambda-published-image-uri", service: "lambda", operation: "GetFunction",
		moto: "changes the ImageUri of published versions with that of $LATEST",
		aws:  "never changes a published version",
		here: "the proxy answers what the seed noted when the version was published",
		mend: func(w *motoWorld, a *motoAnswer) bool { return w.mendCode(a, "ImageUri") },
	},
	{
		name:  "not-served",
		moto:  "does not have App Runner, AgentCore, GameLift's containers, Image Builder and Inspector's coverage, nor ECS daemons, pull-through caches, exclusions from pull times and some lists of SageMaker",
		aws:   "answers empty lists where there is nothing",
		here:  "the proxy answers that there is nothing",
		still: func(_ *testing.T, w *motoWorld) bool { return w.proxy.unserved() > 0 },
	},
	{
		name: "sts-session-policy",
		moto: "does not enforce session policies",
		aws:  "allows a session what role and session policy both allow",
		here: "the proxy refuses what the session policy does not allow",
		still: func(t *testing.T, w *motoWorld) bool {
			none := url.Values{"Policy": {`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:DescribeImages","Resource":"*"}]}`}}
			status, _ := w.call(t, w.assume(t, w.Accounts["shop"], none), motoEast, "ecr", "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories", "{}")
			return status == http.StatusOK
		},
	},
	{
		name: "put-image-digest",
		moto: "makes up a digest from those of the layers (of an index: at random) and ignores that it is not the manifest's",
		aws:  "takes the SHA-256 of the manifest",
		here: "the seed sends imageDigest, which both take",
	},
	{
		name: "put-image-moved-tag",
		moto: "deletes the image that loses its last tag to another",
		aws:  "leaves it, untagged",
		here: "the seed gives it another tag before",
	},
	{
		name: "run-task-security-groups",
		moto: "answers 500 where a task in a VPC names no security group",
		aws:  "takes the default one",
		here: "the seed names it",
	},
	{
		name: "ecs-task-state",
		moto: "brings a task a step nearer to STOPPED each time that it is described",
		aws:  "lets it run",
		here: "the seed tells moto to take a million looks for each step",
	},
	{
		name: "delete-untagged", service: "ecr", operation: "BatchDeleteImage",
		moto: "deletes images without a tag, and does not mention them in its answer",
		aws:  "mentions each by its digest",
		here: "the proxy mentions those too",
		mend: func(_ *motoWorld, a *motoAnswer) (changed bool) {
			if a.status != http.StatusOK {
				return false
			}
			body := a.object()
			mentioned := map[any]bool{}
			for _, id := range motoList(body["imageIds"]) {
				mentioned[id["imageDigest"]] = true
			}
			for _, failure := range motoList(body["failures"]) {
				if id, ok := failure["imageId"].(map[string]any); ok {
					mentioned[id["imageDigest"]] = true
				}
			}
			deleted, _ := body["imageIds"].([]any)
			for _, digest := range motoAskedDigests(a.request) {
				if !mentioned[digest] {
					deleted, changed = append(deleted, map[string]any{"imageDigest": digest}), true
				}
			}
			body["imageIds"] = deleted
			a.set(body)
			return changed
		},
	},
	{
		name: "delete-child",
		moto: "deletes an image while an index refers to it",
		aws:  "refuses that: ImageReferencedByManifestList",
		here: "TestMotoDelete looks at the order of the calls",
	},
	{
		name:  "cloudformation-exclusion",
		moto:  "makes stacks with an AWS::ECR::PullTimeUpdateExclusion, but not the exclusion",
		aws:   "makes it, or fails the stack",
		here:  "TestMotoRoles looks for the roles alone; cfn-lint knows the type",
		still: motoTakesExclusion,
	},
	{
		name:  "cloudformation-policy",
		moto:  "keeps the policies of a stack's role as Python writes a dictionary",
		aws:   "keeps them as JSON",
		here:  "roles.py reads them as Python",
		still: motoWritesPython,
	},
	{
		name: "sts-trust",
		moto: "assumes roles whatever their trust policies say, and roles that do not exist",
		aws:  "assumes what trusts the caller",
		here: "TestMotoRoles compares the trust policies; TestRolesTrust has the simulator enforce them",
		still: func(t *testing.T, w *motoWorld) bool {
			return w.assume(t, w.Accounts["closed"], nil) != "" // which has no role
		},
	},
}

// motoDeviation is a deviation of moto's from AWS, and what is done about it.
type motoDeviation struct {
	name            string
	moto, aws, here string // what moto does, what AWS does, and what is done about it here

	// Of the proxy's: the answers it mends. mend reports whether there was anything to.
	service, operation string
	mend               func(*motoWorld, *motoAnswer) bool
	// still asks moto itself whether it deviates. Of entries with neither mend nor still, the seed tells, and of those that
	// TestMoto does not come across.
	still func(*testing.T, *motoWorld) bool
}

const (
	motoEast, motoTokyo = "us-east-1", "ap-northeast-1"
	motoHubKey          = "AKIAHUB0000000000000" // moto takes any key that it does not know for its default account
	motoReadRole        = "DemurrageRead"
	motoSweepRole       = "DemurrageSweep"
)

// TestMoto is one test, for moto is started and seeded once.
func TestMoto(t *testing.T) {
	t.Parallel()
	w := newMotoWorld(t)
	t.Run("plan", func(t *testing.T) { testMotoPlan(t, w) })
	t.Run("discover", func(t *testing.T) { testMotoDiscover(t, w) })
	t.Run("gaps", func(t *testing.T) { testMotoGaps(t, w) })
	t.Run("regions", func(t *testing.T) { testMotoRegions(t, w) })
	t.Run("S3", func(t *testing.T) { testMotoS3(t, w) })
	t.Run("deviations", func(t *testing.T) { testMotoDeviations(t, w) })
	t.Run("cluster", func(t *testing.T) { testMotoCluster(t, w) }) // the last: a cluster that nobody can reach is a gap ever after
}

// moto has clusters of EKS, with no Kubernetes behind their endpoints and no certificate in their authority.
func testMotoCluster(t *testing.T, w *motoWorld) {
	const cluster = `{"name": "main", "roleArn": "arn:aws:iam::123456789012:role/eks", "resourcesVpcConfig": {"subnetIds": ["subnet-1", "subnet-2"]}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.moto+"/clusters", strings.NewReader(cluster))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if status, answer := motoDo(t, req, motoHubKey, motoEast, "eks"); status != http.StatusOK {
		t.Fatalf("create the cluster: %d %s", status, answer)
	}
	p := w.plan(t, exitIncomplete, w.config(t, filepath.Join(t.TempDir(), "data"), w.listed()))
	if p.Complete || len(p.Gaps) != 1 || p.Gaps[0].Account != w.Accounts["hub"] ||
		!strings.Contains(p.Gaps[0].Error, "cluster/main") {
		t.Errorf("complete: %v, gaps: %v", p.Complete, p.Gaps)
	}
}

// motoWant is what is to become of an image, said by a person who knows how the organization was seeded.
type motoWant struct {
	action, code string
	users        []motoUser // in-use: all that use it, and nothing else does
	blocker      string     // of what is blocked by a gap: the account with the gap
}

// motoUser is a resource, by the label of its ARN, and where it is.
type motoUser struct{ source, resource, account, region string }

func motoKeptBy(users ...motoUser) motoWant {
	return motoWant{action: "keep", code: "in-use", users: users}
}

var motoGone = motoWant{action: "delete", code: "expired"}

// motoWanted is the whole organization, 60 days after it was seeded.
var motoWanted = map[string]motoWant{
	"hub/us-east-1/security/jobs:batch":     motoKeptBy(motoUser{"batch-job-definition", "hub-batch", "hub", motoEast}),
	"hub/us-east-1/security/jobs:codebuild": motoKeptBy(motoUser{"codebuild-project", "hub-codebuild", "hub", motoEast}),
	"hub/us-east-1/security/jobs:sagemaker": motoKeptBy(motoUser{"sagemaker-model", "hub-sagemaker", "hub", motoEast}),
	"hub/us-east-1/security/jobs:states":    motoKeptBy(motoUser{"states-state-machine", "hub-states", "hub", motoEast}),
	"hub/us-east-1/security/jobs:events":    motoKeptBy(motoUser{"events-rule", "hub-events", "hub", motoEast}),
	"hub/us-east-1/security/jobs:scheduler": motoKeptBy(motoUser{"scheduler-schedule", "hub-scheduler", "hub", motoEast}),
	"hub/us-east-1/security/jobs:unused":    motoGone,

	"platform/us-east-1/base/envoy:v1": motoKeptBy( // by tag, across accounts and regions
		motoUser{"ecs-service", "shop-web", "shop", motoTokyo}, motoUser{"ecs-task-definition", "web-r2", "shop", motoTokyo}),
	"platform/us-east-1/base/envoy:v2": motoKeptBy(motoUser{"ecs-task", "runner", "pay", motoTokyo}), // by digest, likewise
	"platform/us-east-1/base/envoy:v3": motoGone,
	"platform/us-east-1/base/envoy:v4": motoKeptBy(motoUser{"lambda-function", "pay-settle:1", "pay", motoEast}), // its tag has moved since; alias prod
	"platform/us-east-1/base/envoy:v5": motoKeptBy( // of the newest version, and where the tag is now that another asks for
		motoUser{"lambda-function", "pay-settle:3", "pay", motoEast}, motoUser{"lambda-function", "pay-settle:1", "pay", motoEast}),
	"platform/us-east-1/base/envoy:v6": motoKeptBy(motoUser{"lambda-function", "pay-settle:$LATEST", "pay", motoEast}),
	"platform/us-east-1/base/envoy:v7": motoGone, // of a version that is neither the newest nor has an alias

	"platform/us-east-1/base/multi:m1":       motoKeptBy(motoUser{"ecs-task-definition", "batch", "shop", motoEast}),
	"platform/us-east-1/base/multi:m1-amd64": {action: "keep", code: "child-of-kept"},
	"platform/us-east-1/base/multi:m1-arm64": {action: "keep", code: "child-of-kept"},
	"platform/us-east-1/base/multi:m2":       motoGone,
	"platform/us-east-1/base/multi:m2-amd64": {action: "delete", code: "child-of-deleted"},
	"platform/us-east-1/base/multi:m2-arm64": {action: "delete", code: "child-of-deleted"},

	"platform/ap-northeast-1/base/agent:a1": motoKeptBy(motoUser{"ecs-service", "platform-agent", "platform", motoTokyo}), // by a task set alone
	"platform/ap-northeast-1/base/agent:a2": motoGone,

	"shop/ap-northeast-1/shop/web:r0": motoGone, // untagged
	"shop/ap-northeast-1/shop/web:r1": motoGone, // the third newest revision, where two are kept
	"shop/ap-northeast-1/shop/web:r2": motoKeptBy(motoUser{"ecs-task-definition", "web-r2", "shop", motoTokyo}),
	"shop/ap-northeast-1/shop/web:r3": motoKeptBy(motoUser{"ecs-service", "shop-web", "shop", motoTokyo}),
	"shop/ap-northeast-1/shop/web:w1": motoKeptBy(motoUser{"ecs-service", "shop-worker", "shop", motoTokyo}), // on an inactive revision
	"shop/ap-northeast-1/shop/web:s1": {action: "keep", code: "keep-tag"},
	"shop/us-east-1/legacy/thing:x1":  {action: "keep", code: "no-rule"},

	"pay/us-east-1/pay/api:p1": motoKeptBy(motoUser{"ecs-task", "stopped", "pay", motoEast}),
	"pay/us-east-1/pay/api:p2": motoGone,

	"hub/us-east-1/security/scanner:k1": motoKeptBy(motoUser{"ecs-task-definition", "scanner", "hub", motoEast}),
	"hub/us-east-1/security/scanner:k2": motoGone,
}

// motoRules is the part of accounts.toml that all runs have in common.
const motoRules = `
[scan]
regions = ["us-east-1", "ap-northeast-1"]

[[task_definitions]]
name_pattern = "*"
keep_count = 2

[[lambda_functions]]
name_pattern = "*"
keep_count = 1

[[repositories]]
name_pattern = "shop/*"
expires = "30d"
keep_tag_patterns = ["stable-*"]

[[repositories]]
name_pattern = "base/*"
expires = "30d"

[[repositories]]
name_pattern = "pay/*"
expires = "30d"

[[repositories]]
name_pattern = "security/*"
expires = "30d"
`

func testMotoPlan(t *testing.T, w *motoWorld) {
	config := w.config(t, filepath.Join(t.TempDir(), "data"), w.listed())
	first := w.plan(t, exitOK, config)
	w.compare(t, first, motoWanted)
	if !first.Complete || len(first.Gaps) != 0 {
		t.Errorf("complete: %v, gaps: %v", first.Complete, first.Gaps)
	}
	covered := map[[3]string]bool{}
	for _, c := range first.Coverage {
		covered[[3]string{c.Account, c.Region, c.Source}] = c.Status == "ok"
	}
	for _, account := range []string{"hub", "platform", "shop", "pay"} {
		for _, region := range []string{motoEast, motoTokyo} {
			for _, source := range []string{"ecr", "ecs", "lambda"} {
				if !covered[[3]string{w.Accounts[account], region, source}] {
					t.Errorf("%s was not looked at in %s, %s", source, account, region)
				}
			}
		}
	}
	envoy := w.Accounts["platform"] + ".dkr.ecr.us-east-1.amazonaws.com/base/envoy"
	broken := []motoUse{
		{envoy + ":gone", true, "ecs-service", w.Accounts["pay"], motoEast, w.ARNs["pay-ghost"]},
		{envoy + "@sha256:" + strings.Repeat("0", 64), false, "ecs-task-definition", w.Accounts["shop"], motoEast, w.ARNs["lost"]},
	}
	if diff := gocmp.Diff(broken, first.Broken); diff != "" {
		t.Errorf("broken references (-want +got):\n%s", diff)
	}

	// Once more, with what the first run remembered.
	w.proxy.forget()
	second := w.plan(t, exitOK, config)
	if diff := gocmp.Diff(first, second, cmpopts.IgnoreFields(motoPlan{}, "RunID")); diff != "" {
		t.Errorf("the second plan differs (-first +second):\n%s", diff)
	}
	for _, op := range []string{"ecr:BatchGetImage", "ecs:DescribeTaskDefinition"} {
		if n := w.proxy.calls()[op]; n != 0 {
			t.Errorf("the second run calls %s %d times: what never changes is read once", op, n)
		}
	}
	if n := w.proxy.calls()["lambda:GetFunction"]; n != 1 {
		t.Errorf("the second run calls lambda:GetFunction %d times, want once, for $LATEST", n)
	}

	// What is stored needs no AWS any more.
	w.proxy.forget()
	book := filepath.Join(t.TempDir(), "report.xlsx")
	w.run(t, exitOK, config, "report", "--out", book)
	w.inWorkbook(t, book, "base/envoy", w.Images["platform/us-east-1/base/envoy:v3"], w.ARNs["pay-ghost"])
	out := w.run(t, exitOK, config, "explain", envoy+"@"+w.Images["platform/us-east-1/base/envoy:v4"])
	if !strings.Contains(out, w.ARNs["pay-settle:1"]) {
		t.Errorf("explain does not name %s:\n%s", w.ARNs["pay-settle:1"], out)
	}
	if calls := w.proxy.calls(); len(calls) != 0 {
		t.Errorf("a stored run was reported with calls to AWS: %v", calls)
	}
}

// With discover, the accounts are those of the organization: the hub's and the closed one too.
func testMotoDiscover(t *testing.T, w *motoWorld) {
	const discover = "[organization]\ndiscover = true\n"
	t.Run("attested", func(t *testing.T) {
		attestation := fmt.Sprintf("[[attestations]]\naccounts = [%q]\nreason = \"closed\"\nexpires = \"2099-01-01\"\n", w.Accounts["closed"])
		p := w.plan(t, exitOK, w.config(t, filepath.Join(t.TempDir(), "data"), discover+attestation))
		w.compare(t, p, motoWanted)
		w.unscanned(t, p, w.Accounts["closed"])
	})
	// Nobody looks into a closed account, but no policy lets it pull: it holds back nothing.
	t.Run("unattested", func(t *testing.T) {
		p := w.plan(t, exitOK, w.config(t, filepath.Join(t.TempDir(), "data"), discover))
		w.compare(t, p, motoWanted)
		w.unscanned(t, p, w.Accounts["closed"])
	})
}

// What cannot be read blocks what it might use, and nothing else.
func testMotoGaps(t *testing.T, w *motoWorld) {
	for name, tt := range map[string]struct {
		deny    motoRequest // empty fields: any
		account string      // with the gap
		lost    []string    // images whose only use lies behind it
		blocked []string    // and others that it might use
		unread  []string    // images that are not in the plan at all
	}{
		"a service in a region": {
			deny:    motoRequest{account: "shop", region: motoTokyo, service: "ecs"},
			account: "shop",
			lost: []string{"platform/us-east-1/base/envoy:v1", "shop/ap-northeast-1/shop/web:r2", "shop/ap-northeast-1/shop/web:r3",
				"shop/ap-northeast-1/shop/web:w1"},
			blocked: slices.Concat(w.deletable("platform/us-east-1/"), w.deletable("shop/")),
		},
		"an operation": {
			deny:    motoRequest{account: "pay", service: "lambda", operation: "GetFunction"},
			account: "pay",
			lost: []string{"platform/us-east-1/base/envoy:v4", "platform/us-east-1/base/envoy:v5",
				"platform/us-east-1/base/envoy:v6"},
			blocked: slices.Concat(w.deletable("platform/us-east-1/base/envoy"), w.deletable("pay/")), // multi is shop's alone
		},
		"an account": {
			deny:    motoRequest{account: "hub", service: "sts", operation: "AssumeRole", role: "shop"},
			account: "shop",
			lost: []string{"platform/us-east-1/base/envoy:v1", "platform/us-east-1/base/multi:m1",
				"platform/us-east-1/base/multi:m1-amd64", "platform/us-east-1/base/multi:m1-arm64"},
			blocked: w.deletable("platform/us-east-1/"),
			unread:  slices.DeleteFunc(slices.Collect(maps.Keys(motoWanted)), func(k string) bool { return !strings.HasPrefix(k, "shop/") }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.proxy.refuse(tt.deny)
			defer w.proxy.refuse(motoRequest{})
			p := w.plan(t, exitIncomplete, w.config(t, filepath.Join(t.TempDir(), "data"), w.listed()))
			expected := motoOverlay(motoWanted, motoBlockedBy("coverage-gap", tt.account), slices.Concat(tt.lost, tt.blocked))
			for _, key := range tt.unread {
				delete(expected, key)
			}
			w.compare(t, p, expected)
			if p.Complete || len(p.Gaps) != 1 || p.Gaps[0].Account != w.Accounts[tt.account] || !strings.Contains(p.Gaps[0].Error, "AccessDenied") {
				t.Errorf("complete: %v, gaps: %v", p.Complete, p.Gaps)
			}
		})
	}
}

// Who may not ask which regions are enabled in an account finds it out from EC2. moto has every region enabled, and
// in all of them uses are looked for.
func testMotoRegions(t *testing.T, w *motoWorld) {
	w.proxy.forget()
	w.proxy.refuse(motoRequest{service: "account"})
	defer w.proxy.refuse(motoRequest{})
	p := w.plan(t, exitOK, w.config(t, filepath.Join(t.TempDir(), "data"), w.listed()))
	w.compare(t, p, motoWanted)
	if n := w.proxy.calls()["ec2:DescribeRegions"]; n != 4 {
		t.Errorf("EC2 was asked %d times for the regions of 4 accounts", n)
	}
	if !slices.ContainsFunc(p.Coverage, func(c motoCoverage) bool { return c.Region == "eu-west-1" && c.Source == "ecs" && c.Status == "ok" }) {
		t.Error("ECS was not looked at in eu-west-1")
	}
}

// Runs kept in a bucket.
func testMotoS3(t *testing.T, w *motoWorld) {
	config := w.config(t, "s3://demurrage-runs/of/moto", w.listed())
	w.run(t, exitOK, config, "scan", "--now", motoNow())
	dir := t.TempDir()
	w.run(t, exitOK, config, "report", "--all", "--out", filepath.Join(dir, "last.json"))
	data, err := os.ReadFile(filepath.Join(dir, "last.json"))
	if err != nil {
		t.Fatal(err)
	}
	last := parseMotoPlan(t, data)
	w.compare(t, last, motoWanted)

	stored := parseMotoPlan(t, []byte(w.run(t, exitOK, config, "plan", "--run", last.RunID, "--format", "json", "--all")))
	if diff := gocmp.Diff(last, stored); diff != "" {
		t.Errorf("plan --run %s differs (-report +plan):\n%s", last.RunID, diff)
	}
	w.run(t, exitOK, config, "report", "--run", last.RunID, "--out", filepath.Join(dir, "report.xlsx"))
	w.inWorkbook(t, filepath.Join(dir, "report.xlsx"), "base/envoy", w.Images["platform/us-east-1/base/envoy:v3"])

	status, listing := w.get(t, motoHubKey, "s3", "/demurrage-runs?list-type=2")
	keys := regexp.MustCompile(`<Key>([^<]*)</Key>`).FindAllStringSubmatch(string(listing), -1)
	if status != http.StatusOK || len(keys) == 0 {
		t.Errorf("the bucket: %d\n%s", status, listing)
	}
	for _, key := range keys {
		if !strings.HasPrefix(key[1], "of/moto/") {
			t.Errorf("%s lies outside of the store", key[1])
		}
	}
}

// Every deviation that is worked around is still there.
func testMotoDeviations(t *testing.T, w *motoWorld) {
	for _, d := range motoDeviations {
		still, known := w.Seen[d.name]
		switch {
		case known:
		case d.mend != nil:
			still, known = w.proxy.mended(d.name) > 0, true
		case d.still != nil:
			still, known = d.still(t, w), true
		}
		if !known {
			t.Errorf("%s: the seed does not tell whether moto still deviates", d.name)
		} else if !still {
			t.Errorf("%s: moto deviates no longer (it %s): the entry can go", d.name, d.moto)
		}
	}
	for name := range w.Seen {
		if !slices.ContainsFunc(motoDeviations, func(d motoDeviation) bool { return d.name == name }) {
			t.Errorf("%s: the seed works around what is not in the table", name)
		}
	}
}

// ---- The world ------------------------------------------------------------------------------------------------------

// motoWorld is moto, what the seed put there, and the proxy before it.
type motoWorld struct {
	Accounts  map[string]string            `json:"accounts"`  // by name
	Images    map[string]string            `json:"images"`    // digests by account/region/repository:label
	ARNs      map[string]string            `json:"arns"`      // by label
	Functions map[string]map[string]string `json:"functions"` // the code of each version of a function, by ARN
	Seen      map[string]bool              `json:"seen"`      // whether moto still has a deviation

	moto  string // endpoint
	proxy *motoProxy
	env   []string // of the programs that run against it
}

// newMotoWorld starts moto, seeds it, and puts a proxy before it.
func newMotoWorld(t *testing.T) *motoWorld {
	server, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("moto_server is not installed: pip install 'moto[server]==5.2.1'")
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: it seeds moto")
	}
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		t.Skip("boto3 is not installed, which seeds moto: pip install boto3")
	}
	var bare []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "AWS_") && !strings.HasPrefix(variable, "DEMURRAGE_") {
			bare = append(bare, variable)
		}
	}
	w := &motoWorld{moto: startMoto(t, server, bare), env: append(slices.Clip(bare),
		"AWS_ACCESS_KEY_ID="+motoHubKey, "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION="+motoEast,
		"AWS_CONFIG_FILE="+os.DevNull, "AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true",
		"NO_PROXY=127.0.0.1", // Go never asks a proxy for loopback, Python does
	)}

	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	seed := exec.CommandContext(ctx, python, filepath.Join("testdata", "moto", "seed.py"), w.moto)
	seed.Env = w.env
	var stderr bytes.Buffer
	seed.Stderr = &stderr
	out, err := seed.Output()
	if err != nil {
		t.Fatalf("seed: %v\n%s", err, &stderr)
	}
	if err := json.Unmarshal(out, w); err != nil {
		t.Fatalf("seed: %v", err)
	}

	w.proxy = &motoProxy{t: t, world: w, sessions: map[string]motoSession{}, counts: map[string]int{}, mends: map[string]int{}}
	front := httptest.NewServer(w.proxy)
	t.Cleanup(front.Close)
	w.env = append(w.env, "AWS_ENDPOINT_URL="+front.URL)
	return w
}

// startMoto runs moto_server until the test ends, and gives its endpoint.
func startMoto(t *testing.T, path string, env []string) string {
	// The port is free when moto takes it, but for bad luck: moto cannot be handed a listener.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var log motoLog
	cmd := exec.Command(path, "-H", "127.0.0.1", "-p", strconv.Itoa(port))
	cmd.Env = append(slices.Clip(env), "MOTO_EC2_LOAD_DEFAULT_AMIS=false") // they take seconds for each account and region
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Skipf("moto_server does not start: %v", err)
	}
	ctx, exited := context.WithCancelCause(context.Background())
	go func() { exited(fmt.Errorf("moto_server ended: %w", cmp.Or(cmd.Wait(), errors.New("exit status 0")))) }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ctx.Done()
	})

	endpoint := fmt.Sprintf("http://127.0.0.1:%d", port)
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if ctx.Err() != nil {
			t.Fatalf("%v\n%s", context.Cause(ctx), log.String())
		}
		res, err := http.Get(endpoint + "/moto-api/data.json")
		if err != nil {
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return endpoint
		}
	}
	t.Fatalf("moto_server does not answer\n%s", log.String())
	return ""
}

type motoLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *motoLog) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *motoLog) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// config writes an accounts.toml, with what there is to say of accounts.
func (w *motoWorld) config(t *testing.T, store, accounts string) string {
	path := filepath.Join(t.TempDir(), "accounts.toml")
	text := fmt.Sprintf("[assume]\nrole = %q\nsweep_role = %q\n[store]\nurl = %q\n[billing]\nprice_list = false\ncost_explorer = false\n%s%s", motoReadRole, motoSweepRole, store, motoRules, accounts)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// listed is an entry for every account that is open; from those that are named, images may be deleted.
func (w *motoWorld) listed(enforced ...string) string {
	var b strings.Builder
	for _, name := range []string{"hub", "platform", "shop", "pay"} {
		fmt.Fprintf(&b, "[[accounts]]\nid = %q\nname = %q\nenforce = %t\n", w.Accounts[name], name, slices.Contains(enforced, name))
	}
	return b.String()
}

// run is the program.
func (w *motoWorld) run(t *testing.T, code int, config string, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("demurrage", append([]string{"--config", config}, args...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = w.env, &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("%q: %v", args, err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%q exits %d, want %d\n%s%s", args, got, code, &stderr, &stdout)
	}
	return stdout.String()
}

// motoNow is what ages are counted from: 60 days from now, since moto has no push times but now.
func motoNow() string { return time.Now().AddDate(0, 0, 60).UTC().Format(time.DateOnly) }

// plan scans and plans.
func (w *motoWorld) plan(t *testing.T, code int, config string) *motoPlan {
	t.Helper()
	return parseMotoPlan(t, []byte(w.run(t, code, config, "plan", "--format", "json", "--all", "--now", motoNow())))
}

// motoPlan is the plan as whoever reads the JSON sees it.
type motoPlan struct {
	RunID     string         `json:"run_id"`
	Complete  bool           `json:"complete"`
	Coverage  []motoCoverage `json:"coverage"`
	Broken    []motoUse      `json:"broken_references"`
	Gaps      []motoGap      `json:"gaps"`
	Unscanned []motoCoverage `json:"unscanned_accounts"`
	Images    []motoImage    `json:"images"`
}

type motoCoverage struct{ Account, Region, Source, Status, Error string }

type motoGap struct{ Account, Error string }

type motoUse struct {
	Ref                               string
	Live                              bool
	Source, Account, Region, Resource string
}

type motoImage struct {
	Account, Region, Repository, Digest, Action string
	Tags                                        []string
	Bytes                                       int64
	PushedAt                                    string `json:"pushed_at"`
	Reasons                                     []motoReason
}

type motoReason struct{ Code, Detail, Source, Account, Region, Resource string }

func parseMotoPlan(t *testing.T, data []byte) *motoPlan {
	t.Helper()
	var p motoPlan
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatalf("the plan is no JSON: %v\n%s", err, data)
	}
	return &p
}

// compare checks the decision about every image, with the code of a reason and all users.
func (w *motoWorld) compare(t *testing.T, p *motoPlan, expected map[string]motoWant) {
	t.Helper()
	names := map[string]string{} // of accounts by id
	for name, id := range w.Accounts {
		names[id] = name
	}
	labels := map[string]string{} // of resources by ARN
	for label, arn := range w.ARNs {
		labels[arn] = label
	}
	got := map[string]motoImage{}
	for _, item := range p.Images {
		got[names[item.Account]+"/"+item.Region+"/"+item.Repository+"@"+item.Digest] = item
	}
	for _, key := range slices.Sorted(maps.Keys(expected)) {
		want := expected[key]
		repository, _, _ := strings.Cut(key, ":")
		id := repository + "@" + w.Images[key]
		item, ok := got[id]
		if !ok {
			t.Errorf("%s is not in the plan", key)
			continue
		}
		delete(got, id)
		found := false
		users := map[motoUser]bool{} // one reason for each way in which it is used
		for _, r := range item.Reasons {
			found = found || r.Code == want.code && (want.code != "coverage-gap" && want.code != "unscanned-consumer" || names[r.Account] == want.blocker)
			if r.Code == "in-use" {
				users[motoUser{r.Source, cmp.Or(labels[r.Resource], r.Resource), names[r.Account], r.Region}] = true
			}
		}
		wantUsers := map[motoUser]bool{}
		for _, u := range want.users {
			wantUsers[u] = true
		}
		if item.Action != want.action || !found || !maps.Equal(users, wantUsers) {
			t.Errorf("%s: %s %v, want %v", key, item.Action, item.Reasons, want)
		}
	}
	for id, item := range got {
		t.Errorf("%s is in the plan: %s %v", id, item.Action, item.Reasons)
	}
}

// unscanned checks which accounts of the organization are not scanned.
func (w *motoWorld) unscanned(t *testing.T, p *motoPlan, accounts ...string) {
	t.Helper()
	var got []string
	for _, u := range p.Unscanned {
		got = append(got, u.Account)
	}
	if !slices.Equal(got, accounts) {
		t.Errorf("unscanned accounts: %v, want %v", got, accounts)
	}
}

// deletable are the images that are expected to go, by the beginning of their name.
func (w *motoWorld) deletable(prefix string) []string {
	var keys []string
	for key, want := range motoWanted {
		if strings.HasPrefix(key, prefix) && want.action == "delete" {
			keys = append(keys, key)
		}
	}
	return keys
}

func motoBlockedBy(code, account string) motoWant {
	return motoWant{action: "blocked", code: code, blocker: account}
}

// motoOverlay expects something else of some images. Children of an index are blocked with it.
func motoOverlay(expected map[string]motoWant, of motoWant, keys []string) map[string]motoWant {
	expected = maps.Clone(expected)
	for _, key := range keys {
		switch expected[key].code {
		case "child-of-kept", "child-of-deleted":
			expected[key] = motoWant{action: of.action, code: "child-of-blocked"}
		default:
			expected[key] = of
		}
	}
	return expected
}

// inWorkbook checks that texts are somewhere in the cells of a workbook.
func (w *motoWorld) inWorkbook(t *testing.T, path string, texts ...string) {
	t.Helper()
	book, err := excelize.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = book.Close() }()
	var all strings.Builder
	for _, sheet := range book.GetSheetList() {
		rows, err := book.GetRows(sheet)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			all.WriteString(strings.Join(row, "\t") + "\n")
		}
	}
	for _, text := range texts {
		if !strings.Contains(all.String(), text) {
			t.Errorf("%s: %s is in no cell", path, text)
		}
	}
}

// mendCode sets one key of a function's code to what the seed noted.
func (w *motoWorld) mendCode(a *motoAnswer, key string) bool {
	body := a.object()
	configuration, _ := body["Configuration"].(map[string]any)
	code, _ := body["Code"].(map[string]any)
	arn, _ := configuration["FunctionArn"].(string)
	noted, ok := w.Functions[arn]
	if !ok || code == nil || code[key] == noted[key] {
		return false
	}
	code[key] = noted[key]
	a.set(body)
	return true
}

// call asks moto itself, without the proxy.
func (w *motoWorld) call(t *testing.T, key, region, service, target, body string) (status int, answer []byte) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.moto+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if target == "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", target)
	}
	return motoDo(t, req, key, region, service)
}

func (w *motoWorld) get(t *testing.T, key, service, path string) (status int, answer []byte) {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.moto+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return motoDo(t, req, key, motoEast, service)
}

// motoDo sends a request signed as well as moto looks at it: not at all beyond the scope.
func motoDo(t *testing.T, req *http.Request, key, region, service string) (int, []byte) {
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+key+"/20260101/"+region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, data
}

// assume gives the access key of a session that moto made.
func (w *motoWorld) assume(t *testing.T, account string, more url.Values) string {
	form := url.Values{"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleSessionName": {"probe"},
		"RoleArn": {"arn:aws:iam::" + account + ":role/" + motoReadRole}}
	maps.Copy(form, more)
	status, data := w.call(t, motoHubKey, motoEast, "sts", "", form.Encode())
	if status != http.StatusOK {
		t.Fatalf("AssumeRole: %d\n%s", status, data)
	}
	return motoAssumedKey(data)
}

func motoAssumedKey(answer []byte) string {
	var out struct {
		Key string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	}
	if xml.Unmarshal(answer, &out) != nil {
		return ""
	}
	return out.Key
}

// ---- The proxy ------------------------------------------------------------------------------------------------------

// motoProxy stands between the program and moto: it mends moto's deviations, refuses what it is told to refuse and what a
// session policy does not allow, and counts.
type motoProxy struct {
	t     *testing.T
	world *motoWorld

	mu       sync.Mutex
	sessions map[string]motoSession // by access key
	denied   motoRequest
	counts   map[string]int // calls by "service:Operation"
	mends    map[string]int // by the deviation's name

	// Of TestMotoDelete.
	older     time.Duration // added to the age of images
	sweeping  bool          // images may be deleted, by the sweep role
	deletions []motoDeletion
	deleted   func(n int) // called after moto has done the n-th deletion, before it is answered
}

// motoSession is what the proxy knows of credentials.
type motoSession struct {
	account   string
	role      string
	actions   map[string]bool // that the session policy allows; nil: there is none
	resources map[string]bool // that it allows them on
}

// motoRequest is what a call asks for. The account is that of the credentials, by name.
type motoRequest struct {
	account, region, service, operation string
	role                                string // AssumeRole: whose role it is
	resource                            string // BatchDeleteImage: the ARN of the repository
}

// matches reports whether a request is one of those that q describes by the fields that are not empty.
func (q motoRequest) matches(r motoRequest) bool {
	return q != motoRequest{} && (q.account == "" || q.account == r.account) && (q.region == "" || q.region == r.region) &&
		(q.service == "" || q.service == r.service) && (q.operation == "" || q.operation == r.operation) && (q.role == "" || q.role == r.role)
}

// motoAnswer is what moto says, to be mended.
type motoAnswer struct {
	request []byte
	status  int
	header  http.Header
	body    []byte
}

// object is the body as JSON, with numbers as they are written.
func (a *motoAnswer) object() map[string]any {
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.UseNumber()
	var out map[string]any
	_ = dec.Decode(&out) // what is no object has nothing to mend
	return out
}

func (a *motoAnswer) set(v any) {
	if data, err := json.Marshal(v); err == nil {
		a.body = data
	}
}

// motoList are the objects of a JSON array.
func motoList(v any) []map[string]any {
	var out []map[string]any
	items, _ := v.([]any)
	for _, item := range items {
		if o, ok := item.(map[string]any); ok {
			out = append(out, o)
		}
	}
	return out
}

func (p *motoProxy) ServeHTTP(rw http.ResponseWriter, in *http.Request) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadRequest)
		return
	}
	key, r, form := p.classify(in, body)
	a, ok := p.judge(key, r)
	if !ok {
		if a, err = p.forward(in, body); err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		a.request = body
		p.learn(a, form, r)
		p.serve(a, in, r)
		p.age(a, r)
		for _, d := range motoDeviations {
			if d.mend != nil && d.service == r.service && d.operation == r.operation && d.mend(p.world, a) {
				p.mu.Lock()
				p.mends[d.name]++
				p.mu.Unlock()
			}
		}
		p.note(a, r)
	}
	maps.Copy(rw.Header(), a.header)
	rw.Header().Del("Content-Length") // of the body before it was mended
	if in.Method == http.MethodHead {
		rw.Header().Set("Content-Length", a.header.Get("Content-Length"))
	}
	rw.WriteHeader(a.status)
	_, _ = rw.Write(a.body)
}

// motoCredential is the scope in a signature: key, date, region, service.
var motoCredential = regexp.MustCompile(`Credential=([^/]+)/[^/]+/([^/]+)/([^/]+)/aws4_request`)

// classify finds out who asks for what.
func (p *motoProxy) classify(in *http.Request, body []byte) (key string, r motoRequest, form url.Values) {
	if scope := motoCredential.FindStringSubmatch(in.Header.Get("Authorization")); scope != nil {
		key, r.region, r.service = scope[1], scope[2], scope[3]
	}
	path := strings.Split(strings.Trim(in.URL.Path, "/"), "/")
	_, r.operation, _ = strings.Cut(in.Header.Get("X-Amz-Target"), ".")
	switch r.service {
	case "sts", "ec2", "iam": // the query protocol
		form, _ = url.ParseQuery(string(body))
		r.operation = form.Get("Action")
		if arn := strings.Split(form.Get("RoleArn"), ":"); len(arn) == 6 {
			r.role = p.name(arn[4])
		}
	case "account":
		r.operation = strings.ToUpper(path[0][:1]) + path[0][1:]
	case "batch", "scheduler", "eks", "emr-serverless", "imagebuilder", "inspector2", "bedrock-agentcore":
		r.operation = motoRestOperation(r.service, in.Method, path)
	case "gamelift":
		r.operation = path[len(path)-1]
	case "lambda":
		if path[1] == "event-source-mappings" {
			r.operation = "ListEventSourceMappings"
			break
		}
		r.operation = map[int]string{2: "ListFunctions", 3: "GetFunction", 4: "ListAliases"}[len(path)]
	case "s3":
		r.operation = in.Method
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[r.service+":"+r.operation]++
	r.account = "hub"
	if s, ok := p.sessions[key]; ok {
		r.account = s.account
	} else if key != motoHubKey {
		p.t.Errorf("%v with the unknown key %q", r, key)
	}
	if r.operation == "BatchDeleteImage" {
		var asked struct{ RepositoryName, RegistryID string }
		_ = json.Unmarshal(body, &asked)
		r.resource = "arn:aws:ecr:" + r.region + ":" + asked.RegistryID + ":repository/" + asked.RepositoryName
	}
	return key, r, form
}

// motoRestOperation finds the operation behind a method and a path, by the permissions that the program asks for.
func motoRestOperation(service, method string, path []string) string {
	switch service + " " + method + " " + strings.Join(path[:1], "") {
	case "scheduler GET schedules":
		return map[bool]string{true: "ListSchedules", false: "GetSchedule"}[len(path) == 1]
	case "eks GET clusters":
		return map[bool]string{true: "ListClusters", false: "DescribeCluster"}[len(path) == 1]
	case "emr-serverless GET applications":
		return map[bool]string{true: "ListApplications", false: "GetApplication"}[len(path) == 1]
	case "bedrock-agentcore POST runtimes":
		return "ListAgentRuntimes"
	case "inspector2 POST status":
		return "BatchGetAccountStatus"
	case "inspector2 POST coverage":
		return "ListCoverage"
	}
	for _, action := range permissions() {
		if s, operation, _ := strings.Cut(action, ":"); s == service && strings.EqualFold(operation, path[len(path)-1]) {
			return operation
		}
	}
	return method + " " + strings.Join(path, "/")
}

// motoServes are the services that moto has, of which only errors that say so are taken for operations that are missing.
var motoServes = map[string]bool{"sts": true, "s3": true, "account": true, "ec2": true, "organizations": true}

// serve says that there is nothing, where moto does not have the operation.
func (p *motoProxy) serve(a *motoAnswer, in *http.Request, r motoRequest) {
	if r.service == "ecr" && r.operation == "GetAccountSetting" { // moto knows none
		a.status, a.header, a.body = http.StatusOK, http.Header{"Content-Type": {"application/json"}}, []byte(`{"name": "BLOB_MOUNTING", "value": "DISABLED"}`)
		return
	}
	status := r.operation == "BatchGetAccountStatus" // it is served, without a word on ECR
	if motoServes[r.service] || a.status < 400 && !status || a.status == http.StatusForbidden || a.status == http.StatusBadRequest && r.service == "ecs" && r.operation == "DescribeTaskDefinition" {
		return
	}
	if !strings.HasPrefix(r.operation, "List") && !strings.HasPrefix(r.operation, "Describe") && r.operation != "BatchGetAccountStatus" ||
		strings.Contains(string(a.body), "NotFoundException") && !strings.Contains(string(a.body), "UnknownOperation") {
		return
	}
	a.status, a.header, a.body = http.StatusOK, http.Header{"Content-Type": {"application/json"}}, []byte("{}")
	switch {
	case in.Header.Get("Smithy-Protocol") != "":
		a.header = http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}}
		a.body = []byte{0xa0} // an empty map
	case r.operation == "BatchGetAccountStatus":
		a.body = []byte(`{"accounts": [{"resourceState": {"ecr": {"status": "DISABLED"}}}], "failedAccounts": []}`)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mends["not-served"]++
}

func (p *motoProxy) unserved() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mends["not-served"]
}

// motoAllowed reports whether an action is among those of a session policy, which may end in a star.
func motoAllowed(actions map[string]bool, action string) bool {
	for a := range actions {
		if prefix, wild := strings.CutSuffix(a, "*"); a == action || wild && strings.HasPrefix(action, prefix) {
			return true
		}
	}
	return false
}

// name is an account's name.
func (p *motoProxy) name(id string) string {
	for name, known := range p.world.Accounts {
		if known == id {
			return name
		}
	}
	return id
}

// motoReads are the operations that change nothing. The program stores runs in S3, and writes nowhere else but to delete.
var motoReads = regexp.MustCompile(`^(List|Describe|Get|BatchGet)|^AssumeRole$`)

// judge refuses what must not or shall not be done.
func (p *motoProxy) judge(key string, r motoRequest) (*motoAnswer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.sessions[key]
	deletes := p.sweeping && s.role == motoSweepRole && r.service == "ecr" && r.operation == "BatchDeleteImage"
	if !motoReads.MatchString(r.operation) && r.service != "s3" && !deletes {
		p.t.Errorf("%v is no read", r)
	}
	allowed := true
	if s.actions != nil {
		allowed = motoAllowed(s.actions, r.service+":"+r.operation) && (r.resource == "" || s.resources[r.resource]) ||
			r.operation == "GetCallerIdentity" // which nobody can be denied
		if !allowed {
			p.t.Errorf("%v: the session policy does not allow it", r)
		}
	} else if key != motoHubKey {
		p.t.Errorf("%v in a session without a policy", r)
	}
	if allowed && !p.denied.matches(r) {
		return nil, false
	}
	a := &motoAnswer{status: http.StatusForbidden, header: http.Header{}}
	const message = "not authorized to perform this"
	if r.service == "sts" {
		a.header.Set("Content-Type", "text/xml")
		a.body = []byte("<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>" + message + "</Message></Error></ErrorResponse>")
		return a, true
	}
	a.header.Set("Content-Type", "application/x-amz-json-1.1")
	a.header.Set("X-Amzn-ErrorType", "AccessDeniedException")
	a.set(map[string]string{"__type": "AccessDeniedException", "message": message})
	return a, true
}

// forward asks moto.
func (p *motoProxy) forward(in *http.Request, body []byte) (*motoAnswer, error) {
	out, err := http.NewRequestWithContext(in.Context(), in.Method, p.world.moto+in.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header, out.Host = in.Header.Clone(), in.Host
	out.Header.Del("Accept-Encoding") // the transport's business
	out.Header.Del("Expect")          // moto never says 100 Continue
	res, err := http.DefaultTransport.RoundTrip(out)
	if err != nil {
		return nil, err
	}
	a := &motoAnswer{status: res.StatusCode, header: res.Header}
	a.body, err = io.ReadAll(res.Body)
	return a, errors.Join(err, res.Body.Close())
}

// learn remembers the sessions that moto makes.
func (p *motoProxy) learn(a *motoAnswer, form url.Values, r motoRequest) {
	if r.operation != "AssumeRole" || a.status != http.StatusOK {
		return
	}
	s := motoSession{account: r.role}
	_, s.role, _ = strings.Cut(form.Get("RoleArn"), ":role/")
	if text := form.Get("Policy"); text != "" {
		var policy struct {
			Statement []struct {
				Action   []string
				Resource any // one, or a list
			}
		}
		if err := json.Unmarshal([]byte(text), &policy); err != nil {
			p.t.Errorf("session policy: %v", err)
		}
		s.actions, s.resources = map[string]bool{}, map[string]bool{}
		for _, statement := range policy.Statement {
			for _, action := range statement.Action {
				s.actions[action] = true
			}
			list, ok := statement.Resource.([]any)
			if !ok {
				list = []any{statement.Resource}
			}
			for _, resource := range list {
				s.resources[fmt.Sprint(resource)] = true
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions[motoAssumedKey(a.body)] = s
}

// refuse makes the proxy answer AccessDenied to some requests; none, if q is empty.
func (p *motoProxy) refuse(q motoRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.denied = q
}

// forget starts counting anew.
func (p *motoProxy) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.counts)
}

func (p *motoProxy) calls() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

func (p *motoProxy) mended(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mends[name]
}
