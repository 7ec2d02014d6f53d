package scan

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"demurrage/internal/image"
)

// kubeAPIVariable names the program of tools/kubeapi, which takes minutes to build.
const kubeAPIVariable = "DEMURRAGE_KUBEAPI"

// realKube starts a real Kubernetes API server that puts tokens before webhook.
func realKube(t *testing.T, webhook string) (k *kube, ca string) {
	t.Helper()
	program := os.Getenv(kubeAPIVariable)
	if program == "" {
		t.Skipf("a real kube-apiserver is not built: (cd tools/kubeapi && go build -o /tmp/kubeapi .) takes some minutes, then set %s=/tmp/kubeapi", kubeAPIVariable)
	}
	cmd := exec.CommandContext(t.Context(), program, "--dir", t.TempDir(), "--webhook", webhook)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // it ends with its standard input
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("the API server does not start: %v\n%s", err, stderr.String())
	}
	var ready struct{ URL, CA, Token string }
	if err := json.Unmarshal(line, &ready); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ready.CA))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
	t.Cleanup(client.CloseIdleConnections)
	return &kube{t: t, url: ready.URL, client: client, token: func() string { return ready.Token }}, ready.CA
}

// authenticator does what EKS does with a token: it sends the call that the token holds to STS, with the cluster's name, and
// looks up the access entry of whoever STS says has signed it.
func (w *world) authenticator(cluster string) string {
	ts := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var review fields
		_ = json.NewDecoder(r.Body).Decode(&review)
		token, _ := review["spec"].(fields)["token"].(string)
		status := fields{"authenticated": false}
		if user, groups, ok := w.whoSigned(token, cluster); ok {
			status = fields{"authenticated": true, "user": fields{"username": user, "groups": groups}}
		}
		review["status"] = status
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(review)
	}))
	w.t.Cleanup(ts.Close)
	return ts.URL
}

func (w *world) whoSigned(token, cluster string) (user string, groups []string, ok bool) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
	if err != nil || !strings.HasPrefix(string(raw), w.url) {
		return "", nil, false
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, string(raw), nil)
	if err != nil {
		return "", nil, false
	}
	req.Header.Set("x-k8s-aws-id", cluster)
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", nil, false
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	var identity struct {
		ARN string `xml:"GetCallerIdentityResult>Arn"`
	}
	if answer.StatusCode != http.StatusOK || xml.Unmarshal(body, &identity) != nil {
		return "", nil, false
	}
	parts := strings.Split(identity.ARN, "/") // arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
	if len(parts) != 3 {
		return "", nil, false
	}
	role := strings.Replace(strings.Replace(parts[0], ":sts:", ":iam:", 1), ":assumed-role", ":role/", 1) + parts[1]
	out, err := w.eks().DescribeAccessEntry(context.Background(), &eks.DescribeAccessEntryInput{ClusterName: &cluster, PrincipalArn: &role})
	if err != nil {
		return "", nil, false
	}
	return identity.ARN, out.AccessEntry.KubernetesGroups, true
}

// apply creates the objects of a file, each of which is checked strictly.
func (k *kube) apply(file string) {
	k.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		k.t.Fatal(err)
	}
	paths := map[string]string{
		"ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles", "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
		"Namespace": "/api/v1/namespaces", "ServiceAccount": "/api/v1/namespaces/demurrage/serviceaccounts",
		"ConfigMap": "/api/v1/namespaces/demurrage/configmaps", "CronJob": "/apis/batch/v1/namespaces/demurrage/cronjobs",
	}
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		var kind string
		for line := range strings.Lines(document) {
			if after, ok := strings.CutPrefix(line, "kind: "); ok {
				kind = strings.TrimSpace(after)
			}
		}
		req, _ := http.NewRequestWithContext(k.t.Context(), http.MethodPost, k.url+paths[kind]+"?fieldValidation=Strict", strings.NewReader(document))
		req.Header.Set("Authorization", "Bearer "+k.token())
		req.Header.Set("Content-Type", "application/yaml")
		answer, err := k.client.Do(req)
		if err != nil {
			k.t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != http.StatusCreated {
			k.t.Fatalf("%s of %s: %d %s", kind, file, answer.StatusCode, body)
		}
	}
}

// TestRealKubernetes reads a real API server, with a token that is checked as EKS does and the permissions of
// deploy/eks-uses.yaml. Only DescribeCluster and the authenticator are ours.
func TestRealKubernetes(t *testing.T) {
	defer func(n int) { kubePage = n }(kubePage)
	kubePage = 2
	w := newWorld(t)
	k, ca := realKube(t, w.authenticator("main"))
	w.eksCluster("main")
	front := w.front(func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/clusters/main" || r.Method != http.MethodGet {
			return false
		}
		_ = json.NewEncoder(rw).Encode(fields{"cluster": fields{
			"name": "main", "status": "ACTIVE", "endpoint": k.url, "certificateAuthority": fields{"data": base64.StdEncoding.EncodeToString([]byte(ca))},
		}})
		return true
	})
	w.url = *must(front.Config(t.Context(), accountA, tokyo))(t).BaseEndpoint
	role, o := w.eksReader()

	// Nobody that the cluster knows.
	wantFailed(t, w.scanEKS(o), "eks", "401", "aws eks create-access-entry")

	// Known, but nothing is granted to its group yet.
	must(w.eks().CreateAccessEntry(t.Context(), &eks.CreateAccessEntryInput{ClusterName: aws.String("main"), PrincipalArn: &role, KubernetesGroups: []string{"demurrage"}}))(t)
	wantFailed(t, w.scanUntil(o, image.CoverageFailed, "forbidden"), "eks", "pods", "deployments.apps")

	k.apply("../../deploy/eks-uses.yaml")
	k.must("POST", "/api/v1/namespaces", fields{"apiVersion": "v1", "kind": "Namespace", "metadata": fields{"name": "shop"}})
	seedKube(k)
	snap := w.scanUntil(o, image.CoverageOK, "")
	wantOK(t, snap)
	wantKubeUses(t, snap)
	for _, u := range snap.Uses {
		if !strings.HasPrefix(u.Resource, "arn:aws:eks:"+tokyo+":"+accountA+":cluster/main/shop/") {
			t.Errorf("resource %s", u.Resource)
		}
	}

	// Each permission of the ClusterRole is needed, and none but those to list.
	const clusterRole = "/apis/rbac.authorization.k8s.io/v1/clusterroles/demurrage-uses"
	rules := k.must("GET", clusterRole, nil)["rules"].([]any)
	grant := func() {
		k.must("PUT", clusterRole, fields{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": fields{"name": "demurrage-uses"}, "rules": rules,
		})
	}
	for i := range rules {
		rules[i].(fields)["verbs"] = []any{"list"}
	}
	for i := range rules {
		resources := rules[i].(fields)["resources"].([]any)
		for j := range resources {
			rules[i].(fields)["resources"] = slices.Delete(slices.Clone(resources), j, j+1)
			grant()
			wantFailed(t, w.scanUntil(o, image.CoverageFailed, "forbidden"), "eks", "cluster/main", "forbidden: "+resources[j].(string), "ClusterRole demurrage-uses")
			rules[i].(fields)["resources"] = resources
			grant()
			wantKubeUses(t, w.scanUntil(o, image.CoverageOK, ""))
		}
	}

	// A certificate of another authority is no cluster of ours.
	ca = otherAuthority
	wantFailed(t, w.scanEKS(o), "eks", "certificate")
}

// scanUntil scans until EKS is as it will be: the API server learns of changed permissions within moments, and remembers
// for as long what it refused.
func (w *world) scanUntil(o Options, want image.CoverageStatus, text string) *Snapshot {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		snap := w.scanEKS(o)
		c := coverageOf(w.t, snap, "eks")
		if c.Status == want && strings.Contains(c.Error, text) || time.Now().After(deadline) {
			return snap
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// otherAuthority is a certificate that signed nothing.
const otherAuthority = `-----BEGIN CERTIFICATE-----
MIIBgTCCASegAwIBAgIUA0TGlOQHH2+jmH/g6RC6UGviY2kwCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAgFw0yNjExMjEwMzMxMTVaGA8yMTI2MTAy
ODAzMzExNVowFTETMBEGA1UEAwwKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABF7BO7h7jrdKfJTFL34twTcqBz9qFkG1Pq/IVKNH6Q56AQjgkUwL
s2lEbF2yTMrjvGlYr46x2bUcWtqC7utTntCjUzBRMB0GA1UdDgQWBBSsYTJKeXNe
VhyXVl/N2aVqg2+O+DAfBgNVHSMEGDAWgBSsYTJKeXNeVhyXVl/N2aVqg2+O+DAP
BgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCzrtDHCM3rCCFUbsvr
i1QQAE3BcDWqLlCiN3Dpfr8rUAIgMgwd6q4Gk9jJtXtM16srn4xP2UqbvQlplDBo
sGDDDiM=
-----END CERTIFICATE-----
`
