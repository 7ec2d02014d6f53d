package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// TestImportStandsInForACluster: a private cluster cannot be reached. It blocks what it could pull, names itself and says
// what to do; a fresh list that was made inside of it clears exactly that gap and protects what it names, until it is stale.
func TestImportStandsInForACluster(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	private := func(name string) {
		done(eks.NewFromConfig(p.as(accountB, virginia)).CreateCluster(t.Context(), &eks.CreateClusterInput{Name: &name, RoleArn: aws.String(someRole),
			ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-1", "subnet-2"}, EndpointPublicAccess: aws.Bool(false), EndpointPrivateAccess: aws.Bool(true)}}))(p.world)
	}
	private("main")
	pod := p.push(accountA, virginia, "shared", "pod", "pod")
	plan := p.plan(2)
	p.want(t, plan, "delete", "blocked", "blocked")
	gap := failures(plan)
	covers := "eks:" + accountB + "/" + virginia + "/main"
	if len(gap) != 1 || gap[0].Source != "eks" || !strings.Contains(gap[0].Error, "main") || !strings.Contains(gap[0].Error, covers) {
		t.Errorf("failures: %+v", gap)
	}

	file := filepath.Join(p.dir, "uses.json")
	list := `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "shop", "name": "cart"},
		"spec": {"replicas": 0, "template": {"spec": {"containers": [{"name": "app", "image": "` + host(virginia) + `/shared:pod"}]}}}}]}`
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must(0, "uses", "import", "--covers", covers, file)
	plan = p.plan(0)
	p.want(t, plan, "delete", "delete", "delete")
	if img := plan.image("shared", pod); img.Action != "keep" || len(img.Reasons) == 0 || !strings.Contains(img.Reasons[0].Resource+img.Reasons[0].Detail, "cart") {
		t.Errorf("what the list names: %+v", img)
	}

	private("other") // of which the list says nothing
	plan = p.plan(2)
	if gap := failures(plan); len(gap) != 1 || !strings.Contains(gap[0].Error, "other") || strings.Contains(gap[0].Error, covers) {
		t.Errorf("failures: %+v", gap)
	}
	p.must(0, "uses", "import", "--covers", covers, "--observed", time.Now().AddDate(0, 0, -9).Format(time.RFC3339), file)
	plan = p.plan(2) // the list's gap, and that of both clusters
	if gap := failures(plan); len(gap) != 2 || !strings.HasPrefix(gap[0].Source+gap[1].Source, "eksimport:") || !strings.Contains(gap[0].Error, covers) {
		t.Errorf("failures: %+v", gap)
	}
}
