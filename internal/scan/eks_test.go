package scan

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"demurrage/internal/image"
	"demurrage/internal/orgsim"
)

func init() { kubePause = time.Millisecond }

func (w *world) eks() *eks.Client { return eks.NewFromConfig(w.as(tokyo)) }

// eksCluster makes a cluster that lets accountA in.
func (w *world) eksCluster(name string) {
	w.t.Helper()
	must(w.eks().CreateCluster(w.t.Context(), &eks.CreateClusterInput{
		Name: &name, RoleArn: aws.String("arn:aws:iam::" + accountA + ":role/eks"),
		ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-1", "subnet-2"}},
		AccessConfig:       &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApi},
	}))(w.t)
}

func (w *world) eksOptions() Options {
	o := w.options(Target{Account: accountA, Region: tokyo})
	o.OwnPrincipal = func(string) string { return "arn:aws:iam::" + accountA + ":role/reader" }
	return o
}

func (w *world) scanEKS(o Options) *Snapshot {
	w.t.Helper()
	return w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
}

// kube is the administrator of a Kubernetes API, the simulated one or a real one.
type kube struct {
	t      *testing.T
	url    string
	token  func() string
	client *http.Client
}

func (w *world) kube(cluster string) *kube {
	return &kube{t: w.t, url: w.url + "/_k8s/" + accountA + "/" + tokyo + "/" + cluster, client: http.DefaultClient, token: func() string { return w.eksToken(w.as(tokyo), cluster) }}
}

// eksToken is the token of whoever a configuration belongs to.
func (w *world) eksToken(cfg aws.Config, cluster string) string {
	w.t.Helper()
	c := &eksCluster{eksScan: &eksScan{tokens: sts.NewPresignClient(sts.NewFromConfig(cfg))}, name: cluster, about: &ekstypes.Cluster{}}
	return must(c.token(w.t.Context()))(w.t)
}

func (k *kube) do(method, path string, body any) (status int, answer map[string]any) {
	k.t.Helper()
	text, _ := json.Marshal(body)
	req, _ := http.NewRequestWithContext(k.t.Context(), method, k.url+path, bytes.NewReader(text))
	req.Header.Set("Authorization", "Bearer "+k.token())
	req.Header.Set("Content-Type", "application/json")
	out, err := k.client.Do(req)
	if err != nil {
		k.t.Fatal(err)
	}
	defer out.Body.Close()
	_ = json.NewDecoder(out.Body).Decode(&answer)
	return out.StatusCode, answer
}

func (k *kube) must(method, path string, body any) map[string]any {
	k.t.Helper()
	status, answer := k.do(method, path, body)
	if status >= 300 {
		k.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

type fields = map[string]any

// create makes an object of a kind in the namespace "shop" and writes its status, if it has one.
func (k *kube) create(kind, name string, o fields) {
	k.t.Helper()
	i := slices.IndexFunc(kubeKinds, func(k kubeKind) bool { return k.name == kind })
	api, plural := kubeKinds[i].path[:strings.LastIndex(kubeKinds[i].path, "/")], kubeKinds[i].path[strings.LastIndex(kubeKinds[i].path, "/"):]
	names := map[string]string{
		"deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet", "replicaset": "ReplicaSet", "controllerrevision": "ControllerRevision",
		"replicationcontroller": "ReplicationController", "podtemplate": "PodTemplate", "cronjob": "CronJob", "job": "Job", "pod": "Pod",
	}
	o["apiVersion"], o["kind"] = strings.TrimPrefix(strings.TrimPrefix(api, "/apis/"), "/api/"), names[kind]
	metadata, _ := o["metadata"].(fields)
	if metadata == nil {
		metadata = fields{}
		o["metadata"] = metadata
	}
	metadata["name"] = name
	made := k.must("POST", api+"/namespaces/shop"+plural, o)
	if status := o["status"]; status != nil {
		made["status"] = status
		k.must("PUT", api+"/namespaces/shop"+plural+"/"+name+"/status", made)
	}
}

// ephemeral adds an ephemeral container to a pod, which cannot be created with one.
func (k *kube) ephemeral(pod, text string) {
	k.t.Helper()
	path := "/api/v1/namespaces/shop/pods/" + pod
	o := k.must("GET", path, nil)
	o["spec"].(fields)["ephemeralContainers"] = []any{fields{"name": "debug", "image": text}}
	k.must("PUT", path+"/ephemeralcontainers", o)
}

func podSpec(containers ...string) fields {
	list := []any{}
	for i, text := range containers {
		list = append(list, fields{"name": fmt.Sprintf("c%d", i), "image": text})
	}
	return fields{"containers": list, "restartPolicy": "Always"}
}

// template is the spec of a workload with one container.
func template(text string, more fields) fields {
	o := fields{
		"selector": fields{"matchLabels": fields{"app": "x"}},
		"template": fields{"metadata": fields{"labels": fields{"app": "x"}}, "spec": podSpec(text)},
	}
	for k, v := range more {
		o[k] = v
	}
	return o
}

func jobTemplate(text string, more fields) fields {
	spec := podSpec(text)
	spec["restartPolicy"] = "Never"
	o := fields{"template": fields{"spec": spec}}
	for k, v := range more {
		o[k] = v
	}
	return o
}

// runs is the status of a pod whose containers c0, c1, … run from what the node reports.
func runs(ids ...string) fields {
	list := []any{}
	for i, id := range ids {
		list = append(list, fields{
			"name": fmt.Sprintf("c%d", i), "image": "whatever", "imageID": id, "ready": true, "restartCount": 0,
			"state": fields{"running": fields{"startedAt": "2026-11-01T10:00:00Z"}},
		})
	}
	return fields{"phase": "Running", "startTime": "2026-11-01T09:59:00Z", "containerStatuses": list}
}

func ownedBy(kind, name string) fields {
	version := "apps/v1"
	if kind == "Job" {
		version = "batch/v1"
	}
	return fields{"ownerReferences": []any{fields{"apiVersion": version, "kind": kind, "name": name, "uid": "11111111-2222-3333-4444-555555555555", "controller": true}}}
}

var (
	digestA = "sha256:" + strings.Repeat("a", 64)
	digestB = "sha256:" + strings.Repeat("b", 64)
)

// seedKube puts an object of every kind into a cluster, each with images of its own in the repository r. kubeUses is what a
// scan is to find of it.
func seedKube(k *kube) {
	ref := func(tag string) string { return host + "/r:" + tag }
	k.create("deployment", "web", fields{"spec": template(ref("deployment"), fields{"replicas": 2})})
	k.create("deployment", "zero", fields{"spec": template(ref("zero"), fields{"replicas": 0})})
	k.create("statefulset", "db", fields{"spec": template(ref("statefulset"), fields{"serviceName": "db"})})
	k.create("daemonset", "agent", fields{"spec": template(ref("daemonset"), nil)})
	k.create("replicaset", "web-1", fields{"metadata": ownedBy("Deployment", "web"), "spec": template(ref("replicaset"), fields{"replicas": 0})})
	k.create("replicaset", "web-2", fields{"metadata": ownedBy("Deployment", "web"), "spec": template(ref("deployment"), fields{"replicas": 2})})
	rc := template(ref("rc"), nil)
	rc["selector"] = fields{"app": "x"}
	k.create("replicationcontroller", "old", fields{"spec": rc})
	k.create("podtemplate", "base", fields{"template": fields{"metadata": fields{}, "spec": podSpec(ref("podtemplate"))}})
	k.create("controllerrevision", "agent-1", fields{
		"revision": 3, "data": fields{"spec": fields{"template": fields{"$patch": "replace", "spec": podSpec(ref("revision"))}}},
	})
	job := jobTemplate(ref("cronjob"), nil)
	k.create("cronjob", "nightly", fields{"spec": fields{"schedule": "0 3 * * *", "jobTemplate": fields{"spec": job}}})
	k.create("cronjob", "asleep", fields{"spec": fields{"schedule": "0 3 * * *", "suspend": true, "jobTemplate": fields{"spec": jobTemplate(ref("asleep"), nil)}}})
	k.create("job", "migrate", fields{"spec": jobTemplate(ref("job"), nil)})
	k.create("job", "held", fields{"spec": jobTemplate(ref("held"), fields{"suspend": true})})
	k.create("job", "done", fields{"spec": jobTemplate(ref("done"), nil), "status": fields{
		"succeeded": 1, "startTime": "2026-11-01T10:00:00Z", "completionTime": "2026-11-01T11:00:00Z", "uncountedTerminatedPods": fields{},
		"conditions": []any{
			fields{"type": "SuccessCriteriaMet", "status": "True", "lastTransitionTime": "2026-11-01T11:00:00Z"},
			fields{"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-01T11:00:00Z"},
		},
	}})

	// Pods: of one replica set, which are one use; one alone with init and ephemeral containers and a volume; one that has
	// finished, one that has not started.
	for i := range 3 {
		k.create("pod", fmt.Sprintf("web-2-%d", i), fields{
			"metadata": ownedBy("ReplicaSet", "web-2"), "spec": podSpec(ref("deployment")), "status": runs(host + "/r@" + digestA),
		})
	}
	spec := podSpec(ref("alone"), "public.ecr.aws/x/sidecar:1")
	spec["initContainers"] = []any{fields{"name": "init", "image": ref("init")}}
	status := runs("docker-pullable://"+host+"/r@"+digestB, "public.ecr.aws/x/sidecar@"+digestB)
	status["initContainerStatuses"] = []any{fields{
		"name": "init", "image": "x", "imageID": host + "/r@" + digestA, "ready": true, "restartCount": 0,
		"state": fields{"terminated": fields{"exitCode": 0}},
	}}
	k.create("pod", "alone", fields{"spec": spec, "status": status})
	k.ephemeral("alone", ref("debug"))
	k.create("pod", "finished", fields{"spec": podSpec(ref("finished")), "status": fields{"phase": "Succeeded"}})
	k.create("pod", "pending", fields{"spec": podSpec(ref("pending")), "status": fields{"phase": "Pending"}})
}

var kubeUses = map[string][]string{
	"eks-deployment":            {"live | web | r:deployment | container c0", "kept | zero | r:zero | container c0, scaled to zero"},
	"eks-statefulset":           {"live | db | r:statefulset | container c0"},
	"eks-daemonset":             {"live | agent | r:daemonset | container c0"},
	"eks-replicaset":            {"kept | web-1 | r:replicaset | container c0, scaled to zero", "live | web-2 | r:deployment | container c0"},
	"eks-replicationcontroller": {"live | old | r:rc | container c0"},
	"eks-podtemplate":           {"kept | base | r:podtemplate | container c0"},
	"eks-controllerrevision":    {"kept | agent-1 | r:revision | revision 3"},
	"eks-cronjob":               {"live | nightly | r:cronjob | container c0", "kept | asleep | r:asleep | container c0, suspended"},
	"eks-job": {
		"live | migrate | r:job | container c0", "kept | held | r:held | container c0, suspended",
		"kept | done | r:done | container c0, finished",
	},
	"eks-pod": {
		"live | web-2 | r:deployment@aaaaaaaa | pod's container c0",
		"live | alone | r:alone@bbbbbbbb | pod's container c0", "live | alone | r:init@aaaaaaaa | pod's init container init",
		"live | alone | r:debug | pod's ephemeral container debug",
		"kept | finished | r:finished | pod's container c0, finished", "live | pending | r:pending | pod's container c0",
	},
}

func wantKubeUses(t *testing.T, snap *Snapshot) {
	t.Helper()
	for source, want := range kubeUses {
		wantUses(t, snap, source, want...)
	}
	for _, u := range snap.Uses {
		if !u.Since.IsZero() {
			t.Errorf("%v runs since %v", u.Resource, u.Since)
		}
	}
}

// TestEKS: every kind of object that can start a container, through pages of two.
func TestEKS(t *testing.T) {
	defer func(n int) { kubePage = n }(kubePage)
	kubePage = 2
	w := newWorld(t)
	w.eksCluster("main")
	seedKube(w.kube("main"))
	snap := w.scanEKS(w.eksOptions())
	wantOK(t, snap)
	wantKubeUses(t, snap)
	for _, u := range snap.Uses {
		if u.Source == "eks-deployment" && u.Resource != "arn:aws:eks:"+tokyo+":"+accountA+":cluster/main/shop/deployment/web" && u.Resource != "arn:aws:eks:"+tokyo+":"+accountA+":cluster/main/shop/deployment/zero" {
			t.Errorf("resource %s", u.Resource)
		}
	}
	calls := w.calls(nil)
	if calls["eks:DescribeCluster"] != 1 || calls["sts:GetCallerIdentity"] != 0 || calls["kubernetes:list pods"] != 3 {
		t.Errorf("calls %v", calls)
	}
}

// TestEKSImageIDs: what nodes report of a container, and what that makes of a tag.
func TestEKSImageIDs(t *testing.T) {
	other := accountB + ".dkr.ecr." + tokyo + ".amazonaws.com/r"
	since := "since 2026-11-01T10:00:00Z"
	for name, tt := range map[string]struct {
		text, id string
		want     []string
	}{
		"digest":             {host + "/r:v1", host + "/r@" + digestA, []string{"r:v1@aaaaaaaa"}},
		"docker":             {host + "/r:v1", "docker-pullable://" + host + "/r@" + digestA, []string{"r:v1@aaaaaaaa"}},
		"configuration":      {host + "/r:v1", digestA, []string{"r:v1 " + since}},
		"docker config":      {host + "/r:v1", "docker://" + digestA, []string{"r:v1 " + since}},
		"nothing":            {host + "/r:v1", "", []string{"r:v1 " + since}},
		"pinned":             {host + "/r@" + digestA, "", []string{"r@aaaaaaaa"}},
		"pinned to another":  {host + "/r:v1@" + digestA, host + "/r@" + digestB, []string{"r:v1@aaaaaaaa", "r@bbbbbbbb"}},
		"another repository": {host + "/r:v1", other + "@" + digestA, []string{"r:v1@aaaaaaaa", "222222222222 r@aaaaaaaa"}},
		"cached from ECR":    {"docker.io/library/nginx", host + "/r@" + digestA, []string{"r@aaaaaaaa"}},
		"cached from Docker": {host + "/r:v1", "docker.io/library/nginx@" + digestA, []string{"r:v1@aaaaaaaa"}},
		"none of ECR":        {"nginx", "docker.io/library/nginx@" + digestA, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &eksCluster{eksScan: &eksScan{work: &work{Target: Target{Account: accountA, Region: tokyo}}}, arn: "arn", seen: map[eksUse]bool{}}
			var o kubeObject
			text, _ := json.Marshal(fields{"spec": podSpec(tt.text), "status": runs(tt.id)})
			if err := json.Unmarshal(text, &o); err != nil {
				t.Fatal(err)
			}
			c.object(&kubeKinds[slices.IndexFunc(kubeKinds, func(k kubeKind) bool { return k.name == "pod" })], &o)
			c.object(&kubeKinds[slices.IndexFunc(kubeKinds, func(k kubeKind) bool { return k.name == "pod" })], &o) // says nothing new
			var got []string
			for _, u := range c.found {
				s := strings.TrimPrefix(strings.ReplaceAll(u.Ref.String(), u.Ref.Repository.Host()+"/", u.Ref.Repository.Account+" "), accountA+" ")
				if u.Ref.Digest != "" {
					s = s[:strings.Index(s, "@")+1] + short(string(u.Ref.Digest))
				}
				if !u.Since.IsZero() {
					s += " since " + u.Since.Format(time.RFC3339)
				}
				got = append(got, s)
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) || len(c.errs) > 0 {
				t.Errorf("got %q, want %q; errors %v", got, tt.want, c.errs)
			}
		})
	}
}

// TestEKSVolumes: images that are mounted, in a template and in a pod.
func TestEKSVolumes(t *testing.T) {
	w := newWorld(t)
	w.eksCluster("main")
	k := w.kube("main")
	spec := podSpec("nginx", "nginx")
	spec["volumes"] = []any{fields{"name": "models", "image": fields{"reference": host + "/r:models"}}, fields{"name": "data", "image": fields{"reference": host + "/r:data"}}}
	status := runs("", "")
	status["containerStatuses"].([]any)[1].(fields)["volumeMounts"] = []any{
		fields{"name": "models", "mountPath": "/m", "volumeStatus": fields{"image": fields{"imageRef": host + "/r@" + digestA}}},
	}
	k.create("deployment", "web", fields{"spec": fields{"selector": fields{}, "template": fields{"spec": spec}}})
	k.create("pod", "alone", fields{"spec": spec, "status": status})
	snap := w.scanEKS(w.eksOptions())
	wantOK(t, snap)
	wantUses(t, snap, "eks-deployment", "live | web | r:models | image volume models", "live | web | r:data | image volume data")
	wantUses(t, snap, "eks-pod", "live | alone | r:models@aaaaaaaa | pod's image volume models", "live | alone | r:data | pod's image volume data")
	for _, u := range snap.Uses {
		if (u.Source == "eks-pod" && u.Ref.Tag == "data") != !u.Since.IsZero() {
			t.Errorf("%v since %v", u.Ref, u.Since)
		}
	}
}

// TestEKSFailures: a cluster that cannot be read is named, with what to do; the others are read.
func TestEKSFailures(t *testing.T) {
	private := func(w *world) {
		must(w.eks().UpdateClusterConfig(w.t.Context(), &eks.UpdateClusterConfigInput{
			Name: aws.String("main"), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{EndpointPublicAccess: aws.Bool(false), EndpointPrivateAccess: aws.Bool(true)},
		}))(w.t)
	}
	root := aws.String("arn:aws:iam::" + accountA + ":root")
	policy := func(name, namespace string) func(*world) {
		return func(w *world) {
			scope := &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}
			if namespace != "" {
				scope = &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeNamespace, Namespaces: []string{namespace}}
			}
			const prefix = "arn:aws:eks::aws:cluster-access-policy/"
			must(w.eks().DisassociateAccessPolicy(w.t.Context(), &eks.DisassociateAccessPolicyInput{ClusterName: aws.String("main"), PrincipalArn: root, PolicyArn: aws.String(prefix + "AmazonEKSClusterAdminPolicy")}))(w.t)
			must(w.eks().AssociateAccessPolicy(w.t.Context(), &eks.AssociateAccessPolicyInput{ClusterName: aws.String("main"), PrincipalArn: root, PolicyArn: aws.String(prefix + name), AccessScope: scope}))(w.t)
		}
	}
	fault := func(f ...orgsim.Fault) func(*world) { return func(w *world) { w.SetFaults(f) } }
	const hint = "demurrage uses import --covers eks:" + accountA + "/" + tokyo + "/main"
	for name, tt := range map[string]struct {
		change func(*world)
		want   []string // nothing: it does not fail
		lost   bool     // even the other cluster
	}{
		"private": {private, []string{"cluster/main", "private", hint}, false},
		"no access entry": {func(w *world) {
			must(w.eks().DeleteAccessEntry(w.t.Context(), &eks.DeleteAccessEntryInput{ClusterName: aws.String("main"), PrincipalArn: root}))(w.t)
		}, []string{"cluster/main", "401", "aws eks create-access-entry --region " + tokyo + " --cluster-name main --principal-arn arn:aws:iam::" + accountA + ":role/reader", "AmazonEKSAdminViewPolicy"}, false},
		"view policy":     {policy("AmazonEKSViewPolicy", ""), []string{"cluster/main", "forbidden: podtemplates;", "ClusterRole demurrage-uses"}, false},
		"admin view":      {policy("AmazonEKSAdminViewPolicy", ""), nil, false},
		"one namespace":   {policy("AmazonEKSAdminViewPolicy", "shop"), []string{"cluster/main", "pods", "jobs.batch", "deployments.apps"}, false},
		"one kind":        {fault(orgsim.Fault{Service: "kubernetes", Operation: "list cronjobs", Status: 403}), []string{"forbidden: cronjobs.batch;"}, false},
		"answered once":   {fault(orgsim.Fault{Service: "kubernetes", Operation: "list pods", Status: 503, Times: 1}), nil, false},
		"expired":         {fault(orgsim.Fault{Service: "kubernetes", Operation: "list pods", Status: 410, Times: 1}), nil, false},
		"token expired":   {fault(orgsim.Fault{Service: "kubernetes", Operation: "list pods", Status: 401, Times: 1}), nil, false},
		"let out":         {fault(orgsim.Fault{Service: "kubernetes", Operation: "list pods", Status: 401}), []string{"list pods", "401"}, false},
		"always expired":  {fault(orgsim.Fault{Service: "kubernetes", Operation: "list pods", Status: 410}), []string{"list pods", "410"}, false},
		"missing kind":    {fault(orgsim.Fault{Service: "kubernetes", Operation: "list jobs", Status: 404}), []string{"list jobs.batch", "404"}, false},
		"fails":           {fault(orgsim.Fault{Service: "kubernetes", Operation: "list jobs", Status: 500}), []string{"list jobs.batch", "500"}, false},
		"ListClusters":    {fault(orgsim.Fault{Service: "eks", Operation: "ListClusters", Code: "AccessDeniedException", Status: 403}), []string{"ListClusters", "AccessDeniedException"}, true},
		"DescribeCluster": {fault(orgsim.Fault{Service: "eks", Operation: "DescribeCluster", Code: "AccessDeniedException", Status: 403}), []string{"DescribeCluster", "cluster/main", "AccessDeniedException"}, true},
		"registered": {func(w *world) {
			must(w.eks().RegisterCluster(w.t.Context(), &eks.RegisterClusterInput{Name: aws.String("elsewhere"), ConnectorConfig: &ekstypes.ConnectorConfigRequest{Provider: ekstypes.ConnectorConfigProviderEksAnywhere, RoleArn: aws.String("arn:aws:iam::" + accountA + ":role/c")}}))(w.t)
		}, []string{"cluster/elsewhere", "registered from elsewhere", "eks:" + accountA + "/" + tokyo + "/elsewhere"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for _, cluster := range []string{"main", "other"} {
				w.eksCluster(cluster)
				w.kube(cluster).create("pod", "p", fields{"spec": podSpec(host + "/r:" + cluster)})
			}
			tt.change(w)
			snap := w.scanEKS(w.eksOptions())
			if tt.want == nil {
				wantOK(t, snap)
				wantUses(t, snap, "eks-pod", "live | p | r:main | pod's container c0", "live | p | r:other | pod's container c0")
				return
			}
			wantFailed(t, snap, "eks", tt.want...)
			if got := uses(snap, "eks-pod"); !tt.lost && !slices.Contains(got, "live | p | r:other | pod's container c0") && tt.want[0] == "cluster/main" {
				t.Errorf("the other cluster was not read: %q", got)
			}
			// An import that covers the clusters turns their failures into notes.
			o := w.eksOptions()
			o.Covered = func(account, region, cluster string) (string, bool) {
				return "inside.json", account == accountA && region == tokyo
			}
			if snap := w.scanEKS(o); name == "ListClusters" {
				wantFailed(t, snap, "eks", tt.want...)
			} else {
				wantOK(t, snap)
				if len(snap.Notes) == 0 || !strings.Contains(snap.Notes[0].Text, "inside.json") || !strings.Contains(snap.Notes[0].Resource, ":cluster/") {
					t.Errorf("notes %v", snap.Notes)
				}
			}
		})
	}
}

// TestEKSCutShort: what came before an error in the middle of a list is kept, and what is no list is an error.
func TestEKSCutShort(t *testing.T) {
	defer func(n int) { kubePage = n }(kubePage)
	kubePage = 1
	item := func(name string) string {
		return `{"metadata":{"name":"` + name + `","namespace":"shop"},"spec":{"containers":[{"name":"c0","image":"` + host + "/r:" + name + `"}]}}`
	}
	for name, tt := range map[string]struct {
		second string // the answer to the second page of pods
		fine   bool
	}{
		"whole":     {`{"kind":"PodList","items":[` + item("b") + `],"metadata":{}}`, true},
		"no items":  {`{"kind":"PodList","items":null,"metadata":{}}`, true},
		"cut":       {`{"kind":"PodList","items":[` + item("b") + `,`, false},
		"cut later": {`{"kind":"PodList","items":[` + item("b") + `]`, false},
		"no list":   {`{"kind":"Status"}`, false},
		"no JSON":   {`<html>`, false},
		"no object": {`[]`, false},
		"no array":  {`{"items":{}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.eksCluster("main")
			w.kube("main").create("pod", "a", fields{"spec": podSpec(host + "/r:a")})
			w.kube("main").create("pod", "b", fields{"spec": podSpec(host + "/r:b")})
			front := w.front(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/pods") || r.URL.Query().Get("continue") == "" {
					return false
				}
				_, _ = io.WriteString(rw, tt.second)
				return true
			})
			snap := w.scanEKS(front)
			if tt.fine {
				wantOK(t, snap)
			} else {
				wantFailed(t, snap, "eks", "list pods", "cluster/main")
			}
			if !slices.Contains(uses(snap, "eks-pod"), "live | a | r:a | pod's container c0") {
				t.Errorf("what came before is lost: %q", uses(snap, "eks-pod"))
			}
		})
	}
}

// front puts a handler before the world; what it does not answer goes through.
func (w *world) front(answer func(http.ResponseWriter, *http.Request) bool) Options {
	ts := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !answer(rw, r) {
			w.ServeHTTP(rw, r)
		}
	}))
	w.t.Cleanup(ts.Close)
	o := w.eksOptions()
	o.Config = func(ctx context.Context, account, region string) (aws.Config, error) {
		cfg, err := w.config(ctx, account, region)
		cfg.BaseEndpoint = &ts.URL
		return cfg, err
	}
	return o
}

// TestEKSClusterStates: what DescribeCluster says about a cluster that has no usable endpoint.
func TestEKSClusterStates(t *testing.T) {
	for name, tt := range map[string]struct {
		cluster fields // nil: it is gone
		want    []string
		note    string
	}{
		"deleted":        {},
		"being made":     {cluster: fields{"name": "main", "status": "CREATING"}, note: "still being created"},
		"failed":         {cluster: fields{"name": "main", "status": "FAILED"}, want: []string{"FAILED", "cluster/main"}},
		"being deleted":  {cluster: fields{"name": "main", "status": "DELETING"}, want: []string{"DELETING", "cluster/main"}},
		"no certificate": {cluster: fields{"name": "main", "status": "ACTIVE", "endpoint": "https://127.0.0.1:1"}, want: []string{"certificate"}},
		"no https":       {cluster: fields{"name": "main", "status": "ACTIVE", "endpoint": "ftp://127.0.0.1:1"}, want: []string{"not an https URL"}},
		"closed": {cluster: fields{"name": "main", "status": "ACTIVE", "endpoint": "http://127.0.0.1:1", "resourcesVpcConfig": fields{"endpointPublicAccess": true, "publicAccessCidrs": []any{"192.0.2.0/24"}}},
			want: []string{"192.0.2.0/24 only", "connection refused", "demurrage uses import"}},
		"no entries possible": {cluster: fields{"name": "main", "status": "ACTIVE", "endpoint": "401", "accessConfig": fields{"authenticationMode": "CONFIG_MAP"}}, want: []string{"update-cluster-config", "create-access-entry"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.eksCluster("main")
			o := w.front(func(rw http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/refuse/") {
					http.Error(rw, "no", http.StatusUnauthorized)
					return true
				}
				if r.URL.Path != "/clusters/main" {
					return false
				}
				if tt.cluster == nil {
					rw.Header().Set("X-Amzn-Errortype", "ResourceNotFoundException")
					http.Error(rw, `{"message": "No cluster found"}`, http.StatusNotFound)
					return true
				}
				about := tt.cluster
				if about["endpoint"] == "401" {
					about["endpoint"] = "http://" + r.Host + "/refuse"
				}
				_ = json.NewEncoder(rw).Encode(fields{"cluster": about})
				return true
			})
			snap := w.scanEKS(o)
			if tt.want != nil {
				wantFailed(t, snap, "eks", tt.want...)
			} else {
				wantOK(t, snap)
			}
			if (tt.note != "") != (len(snap.Notes) > 0) || tt.note != "" && !strings.Contains(snap.Notes[0].Text, tt.note) {
				t.Errorf("notes %v", snap.Notes)
			}
		})
	}
}

// TestEKSPlain: a token is not sent without TLS, unless AWS itself is simulated.
func TestEKSPlain(t *testing.T) {
	for endpoint, want := range map[string]bool{"http://127.0.0.1:1": false, "https://127.0.0.1:1": true} {
		c := &eksCluster{eksScan: &eksScan{work: &work{}}, about: &ekstypes.Cluster{
			Endpoint: &endpoint, CertificateAuthority: &ekstypes.Certificate{Data: aws.String(base64.StdEncoding.EncodeToString([]byte(otherAuthority)))},
		}}
		if api, err := c.kubernetes(); (err == nil && api != nil) != want {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// TestEKSDeletedMeanwhile: a cluster that goes away while it is read has nothing that uses images.
func TestEKSDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	w.eksCluster("main")
	gone := false
	snap := w.scanEKS(w.front(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/pods") && !gone {
			gone = true
			must(w.eks().DeleteCluster(t.Context(), &eks.DeleteClusterInput{Name: aws.String("main")}))(t)
		}
		return false
	}))
	wantOK(t, snap)
	if !gone {
		t.Error("pods were not asked for")
	}
}

// TestEKSUnparsable: what looks like ECR and cannot be understood is a failure, wherever it stands.
func TestEKSUnparsable(t *testing.T) {
	for _, kind := range []string{"pod", "deployment", "controllerrevision"} {
		w := newWorld(t)
		w.eksCluster("main")
		const bad = host + "/Upper:v1"
		w.kube("main").create(kind, "x", map[string]fields{
			"pod": {"spec": podSpec(bad)}, "deployment": {"spec": template(bad, nil)}, "controllerrevision": {"data": fields{"spec": podSpec(bad)}, "revision": 1},
		}[kind])
		wantFailed(t, w.scanEKS(w.eksOptions()), "eks", "shop/"+kind+"/x", "Upper")
	}
}

// TestEKSToken: what the cluster is handed, and that no operation is called for it.
func TestEKSToken(t *testing.T) {
	w := newWorld(t)
	cfg := w.as(tokyo)
	cfg.BaseEndpoint = nil
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(w.eksToken(cfg, "main"), "k8s-aws-v1."))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Scheme != "https" || u.Host != "sts."+tokyo+".amazonaws.com" || q.Get("Action") != "GetCallerIdentity" || q.Get("X-Amz-Expires") != "60" ||
		q.Get("X-Amz-SignedHeaders") != "host;x-k8s-aws-id" || !strings.HasPrefix(q.Get("X-Amz-Credential"), accountA+"/") || !strings.Contains(q.Get("X-Amz-Credential"), "/"+tokyo+"/sts/") {
		t.Errorf("the token holds %s", u)
	}
}

// eksReader is a role that may do everything in accountA, and the options of a scan with it.
func (w *world) eksReader() (role string, o Options) {
	w.t.Helper()
	t, c := w.t, iam.NewFromConfig(w.as(tokyo))
	role = *must(c.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName:                 aws.String("reader"),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + accountA + `"},"Action":"sts:AssumeRole"}]}`),
	}))(t).Role.Arn
	must(c.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: aws.String("reader"), PolicyName: aws.String("p"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`),
	}))(t)
	session := must(sts.NewFromConfig(w.as(tokyo)).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("scan")}))(t).Credentials
	o = w.eksOptions()
	o.Config = func(ctx context.Context, account, region string) (aws.Config, error) {
		cfg, err := w.config(ctx, account, region)
		cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: *session.AccessKeyId, SecretAccessKey: *session.SecretAccessKey, SessionToken: *session.SessionToken}, nil
		})
		return cfg, err
	}
	return role, o
}

// TestEKSRole: the identity is the role's that the session was assumed from.
func TestEKSRole(t *testing.T) {
	w := newWorld(t)
	w.eksCluster("main")
	w.kube("main").create("pod", "p", fields{"spec": podSpec(host + "/r:p")})
	role, o := w.eksReader()
	wantFailed(t, w.scanEKS(o), "eks", "401")
	must(w.eks().CreateAccessEntry(t.Context(), &eks.CreateAccessEntryInput{ClusterName: aws.String("main"), PrincipalArn: &role}))(t)
	wantFailed(t, w.scanEKS(o), "eks", "forbidden", "pods")
	must(w.eks().AssociateAccessPolicy(t.Context(), &eks.AssociateAccessPolicyInput{
		ClusterName: aws.String("main"), PrincipalArn: &role, PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSAdminViewPolicy"),
		AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster},
	}))(t)
	snap := w.scanEKS(o)
	wantOK(t, snap)
	wantUses(t, snap, "eks-pod", "live | p | r:p | pod's container c0")
}
