package orgsim

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/eks/types"
)

func TestCLIOfEKS(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	role := m.makeRole(accountA, "reader", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}]}`, "")
	v := map[string]string{
		"arn": "arn:aws:eks:us-east-1:111111111111", "reader": role, "url": m.url,
		"admin": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy", "view": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy",
	}
	const create = "eks create-cluster --role-arn arn:aws:iam::111111111111:role/eks --resources-vpc-config subnetIds=subnet-1,subnet-2 --name "
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: create + "main --query cluster.[arn,status,endpoint]", want: "@arn:cluster/main\tCREATING\tNone"},
		{args: create + "main", want: "error: ResourceInUseException"},
		{args: create + "_main", want: "error: InvalidParameterException"},
		{args: "eks create-cluster --name x --role-arn arn:aws:iam::111111111111:role/eks --resources-vpc-config subnetIds=subnet-1", want: "error: InvalidParameterException"},
		{args: "eks describe-cluster --name main --query cluster.[name,status,endpoint,accessConfig.authenticationMode]", want: "main\tACTIVE\t@url/_k8s/111111111111/us-east-1/main\tCONFIG_MAP"},
		{args: "eks describe-cluster --name none", want: "error: ResourceNotFoundException"},
		{account: accountB, args: "eks describe-cluster --name main", want: "error: ResourceNotFoundException"},
		{args: "eks register-cluster --name outside --connector-config provider=EKS_ANYWHERE,roleArn=arn:aws:iam::111111111111:role/c --query cluster.[status,connectorConfig.provider]", want: "PENDING\tEKS_ANYWHERE"},
		{args: "eks list-clusters --query clusters", want: "main"},
		{args: "eks list-clusters --include all --page-size 1 --query clusters", want: "main\noutside"},
		{args: "eks list-clusters --include some", want: "error: InvalidParameterException"},
		{args: "eks describe-cluster --name outside --query cluster.[endpoint,connectorConfig.provider]", want: "None\tEKS_ANYWHERE"},
		{args: "eks delete-cluster --name outside", want: "error: InvalidRequestException"},
		{args: "eks deregister-cluster --name outside --query cluster.name", want: "outside"},

		{args: "eks create-access-entry --cluster-name main --principal-arn @reader", want: "error: InvalidRequestException"},
		{args: "eks update-cluster-config --name main --access-config authenticationMode=API_AND_CONFIG_MAP --query update.type", want: "AccessConfigUpdate"},
		{args: "eks update-cluster-config --name main --access-config authenticationMode=CONFIG_MAP", want: "error: InvalidParameterException"},
		{args: "eks create-access-entry --cluster-name main --principal-arn arn:aws:iam::111111111111:role/none", want: "error: InvalidParameterException"},
		{args: "eks create-access-entry --cluster-name main --principal-arn @reader --kubernetes-groups system:masters", want: "error: InvalidParameterException"},
		{args: "eks create-access-entry --cluster-name main --principal-arn @reader --kubernetes-groups demurrage --query accessEntry.[principalArn,type,kubernetesGroups[0]]", want: "@reader\tSTANDARD\tdemurrage"},
		{args: "eks create-access-entry --cluster-name main --principal-arn @reader", want: "error: ResourceInUseException"},
		{args: "eks list-access-entries --cluster-name main --page-size 1 --query accessEntries", want: "@reader\narn:aws:iam::111111111111:root"},
		{args: "eks associate-access-policy --cluster-name main --principal-arn @reader --policy-arn @view --access-scope type=cluster --query associatedAccessPolicy.accessScope.type", want: "cluster"},
		{args: "eks associate-access-policy --cluster-name main --principal-arn @reader --policy-arn @viewer --access-scope type=cluster", want: "error: InvalidParameterException"},
		{args: "eks list-access-entries --cluster-name main --associated-policy-arn @view --query accessEntries", want: "@reader"},
		{args: "eks list-associated-access-policies --cluster-name main --principal-arn @reader --query associatedAccessPolicies[].policyArn", want: "@view"},
		{args: "eks disassociate-access-policy --cluster-name main --principal-arn @reader --policy-arn @view", want: ""},
		{args: "eks disassociate-access-policy --cluster-name main --principal-arn @reader --policy-arn @view", want: "error: ResourceNotFoundException"},
		{args: "eks describe-access-entry --cluster-name main --principal-arn @reader --query accessEntry.username", want: "arn:aws:sts::111111111111:assumed-role/reader/{{SessionName}}"},
		{args: "eks delete-access-entry --cluster-name main --principal-arn @reader", want: ""},
		{args: "eks describe-access-entry --cluster-name main --principal-arn @reader", want: "error: ResourceNotFoundException"},

		{args: "eks update-cluster-config --name main --resources-vpc-config endpointPublicAccess=false", want: "error: InvalidParameterException"},
		{args: "eks update-cluster-config --name main --resources-vpc-config endpointPublicAccess=true", want: "error: InvalidParameterException"},
		{args: "eks update-cluster-config --name main --resources-vpc-config endpointPublicAccess=false,endpointPrivateAccess=true --query update.type", want: "EndpointAccessUpdate"},
		{args: "eks describe-cluster --name main --query cluster.endpoint", want: "https://….gr7.us-east-1.eks.invalid"},
		{args: "eks delete-cluster --name main --query cluster.status", want: "DELETING"},
		{args: "eks list-clusters --query clusters", want: ""},
	})
}

// kubeSim is an organization with a cluster, and who seeds it by HTTP.
type kubeSim struct {
	*sim
	token string
}

func newKubeSim(t *testing.T) *kubeSim {
	t.Helper()
	m := newSim(t)
	if _, err := eks.NewFromConfig(m.as(accountA)).CreateCluster(t.Context(), &eks.CreateClusterInput{
		Name: aws.String("main"), RoleArn: aws.String("arn:aws:iam::111111111111:role/eks"),
		ResourcesVpcConfig: &types.VpcConfigRequest{SubnetIds: []string{"subnet-1", "subnet-2"}},
	}); err != nil {
		t.Fatal(err)
	}
	return &kubeSim{sim: m}
}

func (k *kubeSim) call(method, path, body string) (int, string) {
	k.t.Helper()
	req, _ := http.NewRequestWithContext(k.t.Context(), method, k.url+kubePrefix+accountA+"/us-east-1/main/"+path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+k.token)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer answer.Body.Close()
	var o map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&o); err != nil {
		k.t.Fatal(err)
	}
	if o["kind"] == "Status" {
		return answer.StatusCode, o["reason"].(string)
	}
	if items, ok := o["items"].([]any); ok {
		var names []string
		for _, item := range items {
			names = append(names, kubeField(item, "metadata", "name").(string))
		}
		more, _ := kubeField(o, "metadata", "continue").(string)
		return answer.StatusCode, strings.Join(names, " ") + ";" + more
	}
	return answer.StatusCode, kubeField(o, "metadata", "name").(string)
}

// TestKubernetes: `aws eks get-token` is the way in for kubectl and curl.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("aws")
	if err != nil || testing.Short() {
		t.Skip("needs the aws CLI")
	}
	k := newKubeSim(t)
	token := func(account string) string {
		cmd := exec.CommandContext(t.Context(), path, "--endpoint-url", k.url, "--region", "us-east-1", "eks", "get-token", "--cluster-name", "main", "--query", "status.token", "--output", "text")
		cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + account, "AWS_SECRET_ACCESS_KEY=x", "AWS_ENDPOINT_URL=" + k.url}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	pod := func(name, more string) string {
		return `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"` + name + `"},"spec":{"containers":[{"name":"c","image":"nginx"}]}` + more + `}`
	}
	k.token = token(accountA)
	other := token(accountB)
	for _, tt := range []struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		{"", "POST", "api/v1/namespaces/shop/pods", pod("b", ""), 201, "b"},
		{"", "POST", "api/v1/namespaces/shop/pods", pod("a", ""), 201, "a"},
		{"", "POST", "api/v1/namespaces/other/pods", pod("a", ""), 201, "a"},
		{"", "POST", "api/v1/namespaces/shop/pods", pod("a", ""), 409, "AlreadyExists"},
		{"", "POST", "api/v1/namespaces/shop/pods", pod("", ""), 422, "Invalid"},
		{"", "POST", "apis/apps/v1/namespaces/shop/deployments", pod("a", ""), 400, "BadRequest"},
		{"", "POST", "api/v1/pods", pod("c", ""), 405, "MethodNotAllowed"},
		{"", "GET", "api/v1/pods?limit=2", "", 200, "a a;c2hvcC9h"},
		{"", "GET", "api/v1/pods?limit=2&continue=c2hvcC9h", "", 200, "b;"},
		{"", "GET", "api/v1/pods?limit=x", "", 400, "BadRequest"},
		{"", "GET", "api/v1/namespaces/shop/pods", "", 200, "a b;"},
		{"", "GET", "api/v1/namespaces/shop/pods/b", "", 200, "b"},
		{"", "GET", "api/v1/namespaces/shop/pods/c", "", 404, "NotFound"},
		{"", "GET", "api/v1/secrets", "", 404, "NotFound"},
		{"", "GET", "apis/batch/v1/jobs", "", 200, ";"},
		{"", "PUT", "api/v1/namespaces/shop/pods/b/status", pod("b", `,"status":{"phase":"Running"}`), 200, "b"},
		{"", "DELETE", "api/v1/namespaces/shop/pods/b", "", 200, "b"},
		{"", "GET", "api/v1/namespaces/shop/pods/b", "", 404, "NotFound"},
		{other, "GET", "api/v1/pods", "", 401, "Unauthorized"},
		{"none", "GET", "api/v1/pods", "", 401, "Unauthorized"},
		{"k8s-aws-v1.AAAA", "GET", "api/v1/pods", "", 401, "Unauthorized"},
	} {
		own := k.token
		if tt.token != "" {
			k.token = tt.token
		}
		if status, got := k.call(tt.method, tt.path, tt.body); status != tt.status || got != tt.want {
			t.Errorf("%s %s: %d %q, want %d %q", tt.method, tt.path, status, got, tt.status, tt.want)
		}
		k.token = own
	}
}

// TestKubernetesInUse: what the objects of a cluster need, in the simulation's own words.
func TestKubernetesInUse(t *testing.T) {
	t.Parallel()
	k := newKubeSim(t)
	r := k.repository(k.as(accountA), "app")
	v := cliManifests()
	r.push(v["v1"], "v1")
	r.push(v["v2"], "v2")
	seed := func(kind, kindName, version, name string, o map[string]any) {
		o["apiVersion"], o["kind"] = version, kindName
		metadata, _ := o["metadata"].(map[string]any)
		if metadata == nil {
			metadata = map[string]any{}
			o["metadata"] = metadata
		}
		metadata["name"] = name
		if err := k.seedKubernetes(accountA, "us-east-1", "main", kind, "shop", o); err != nil {
			t.Fatal(err)
		}
	}
	spec := func(image string) map[string]any {
		return map[string]any{"containers": []any{map[string]any{"name": "c", "image": image}}}
	}
	seed("apis/apps/v1/deployments", "Deployment", "apps/v1", "zero", map[string]any{"spec": map[string]any{"replicas": 0, "template": map[string]any{"spec": spec(appURI + ":v1")}}})
	seed("api/v1/pods", "Pod", "v1", "web-1", map[string]any{
		"metadata": map[string]any{"ownerReferences": []any{map[string]any{"kind": "ReplicaSet", "name": "web", "controller": true}}},
		"spec":     spec(appURI + ":v1"),
		"status":   map[string]any{"phase": "Running", "containerStatuses": []any{map[string]any{"name": "c", "imageID": appURI + "@" + v["d2"]}}},
	})
	seed("api/v1/pods", "Pod", "v1", "done", map[string]any{"spec": spec(appURI + ":v2"), "status": map[string]any{"phase": "Succeeded"}})
	const arn = "arn:aws:eks:us-east-1:111111111111:cluster/main/shop/"
	use := k.InUse()
	if got := use[accountA+"/us-east-1/app@"+v["d1"]]; !slices.Equal(got, []string{arn + "deployment/zero"}) {
		t.Errorf("v1 is used by %q", got)
	}
	if got := use[accountA+"/us-east-1/app@"+v["d2"]]; !slices.Equal(got, []string{arn + "replicaset/web"}) {
		t.Errorf("v2 is used by %q", got)
	}
}
