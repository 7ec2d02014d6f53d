package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// TestEmptyListStandsInForNothing: kubectl prints a List without items, and succeeds, where the namespace is mistyped or
// -A was forgotten. Of a private cluster nothing is known then.
func TestEmptyListStandsInForNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	done(eks.NewFromConfig(p.as(accountB, virginia)).CreateCluster(t.Context(), &eks.CreateClusterInput{Name: aws.String("main"), RoleArn: aws.String(someRole),
		ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-1", "subnet-2"}, EndpointPublicAccess: aws.Bool(false), EndpointPrivateAccess: aws.Bool(true)}}))(p.world)
	used := p.push(accountA, virginia, "shared", "runs in the private cluster", "pod")
	for _, list := range []string{
		`{"apiVersion": "v1", "kind": "List", "items": [], "metadata": {"resourceVersion": ""}}`,
		`{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "default", "name": "kubernetes"}}]}`,
	} {
		file := filepath.Join(p.dir, "uses.json")
		if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		if o := p.demurrage("uses", "import", "--covers", "eks:"+accountB+"/"+virginia+"/main", file); o.code != 1 {
			t.Errorf("%s stands in for the cluster: exit code %d %s", list, o.code, o.stderr)
		}
		plan := p.parsePlan([]byte(p.demurrage("plan", "--format", "json", "--all").stdout))
		if img := plan.image("shared", used); img.Action == "delete" {
			t.Errorf("with %s: %s %+v", list, img.Action, img.Reasons)
		}
	}
}
