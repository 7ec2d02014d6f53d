package uselist

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"demurrage/internal/image"
)

const host = "111111111111.dkr.ecr.us-east-1.amazonaws.com"

var (
	one = "sha256:" + strings.Repeat("1", 64)
	two = "sha256:" + strings.Repeat("2", 64)
)

// brief writes a list down: a line an entry, and what else it says.
func brief(l *List) string {
	var b strings.Builder
	for _, e := range l.Entries {
		ref := e.Ref
		b.WriteString(strings.TrimPrefix(ref.String(), host+"/") + " | " + e.Resource)
		if e.Detail != "" {
			b.WriteString(" | " + e.Detail)
		}
		if e.Rollback {
			b.WriteString(" | rollback")
		}
		if !e.Since.IsZero() {
			b.WriteString(" | since " + e.Since.Format(time.TimeOnly))
		}
		b.WriteString("\n")
	}
	if l.Skipped > 0 {
		fmt.Fprintf(&b, "skipped %d\n", l.Skipped)
	}
	return strings.NewReplacer(one, "ONE", two, "TWO").Replace(b.String())
}

// kube fills in what tests of kubectl's lists have in common.
func kube(text string) string {
	return strings.NewReplacer("HOST", host, "ONE", one, "TWO", two).Replace(text)
}

func items(objects ...string) string {
	return kube(`{"apiVersion": "v1", "items": [` + strings.Join(objects, ",\n") + `], "kind": "List", "metadata": {"resourceVersion": ""}}`)
}

const pod = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, `

func workload(version, kind, spec string) string {
	return fmt.Sprintf(`{"apiVersion": %q, "kind": %q, "metadata": {"name": "w", "namespace": "n"}, %s}`, version, kind, spec)
}

const template = `"template": {"spec": {"containers": [{"name": "app", "image": "HOST/app:v1"}]}}`

func TestParse(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"lines", host + "/app:v1\n" + host + "/app@" + one + "\n", "app@ONE | line 2\napp:v1 | line 1\n"},
		{"comments, CRLF, blanks, no end of line", "\uFEFF# all of it\r\n\r\n  " + host + "/app:v1 # web\r\n\t# more\r\n" + host + "/b\t# tab", "app:v1 | line 3\nb:latest | line 5\n"},
		{"one reference twice", host + "/app:v1\n" + host + "/app:v1", "app:v1 | line 1\napp:v1 | line 2\n"},
		{"other registries", "nginx\ndocker.io/library/nginx:1.25@" + one + "\nlocalhost:5000/a/b\npublic.ecr.aws/x/y:z\n[::1]:80/a\ndocker://ghcr.io/a/b", "skipped 6\n"},
		{"other spellings of ECR", "docker://" + host + ":443/app:v1\n111111111111.dkr-ecr.us-east-1.on.aws/b:v2\n111111111111.DKR.ECR.us-east-1.amazonaws.com/c", "app:v1 | line 1\nb:v2 | line 2\nc:latest | line 3\n"},
		{"ecrm's file", "[\n  \"" + host + "/app:v1\",\n  \"nginx:1\"\n]\n", "app:v1 | entry 1\nskipped 1\n"},
		{"nothing is used", " [ ] \n", ""},
		{"entries with words", `[{"ref": "` + host + `/app:v1", "resource": "rack 7", "detail": "web"}, {"ref": "` + host + `/b:v1"}, "` + host + `/c"]`, "app:v1 | rack 7 | web\nb:v1 | entry 2\nc:latest | entry 3\n"},

		{"pod", items(pod + `"spec": {"containers": [{"name": "app", "image": "HOST/app:v1"}, {"name": "x", "image": "nginx"}],
			"initContainers": [{"name": "init", "image": "HOST/init:v1"}], "ephemeralContainers": [{"name": "debug", "image": "HOST/debug:v1"}],
			"volumes": [{"name": "data", "image": {"reference": "HOST/data:v1"}}, {"name": "tmp", "emptyDir": {}}]}}`),
			"app:v1 | n/Pod/p | container app\ndata:v1 | n/Pod/p | image volume data\ndebug:v1 | n/Pod/p | ephemeral container debug\ninit:v1 | n/Pod/p | init container init\nskipped 1\n"},
		{"what runs", items(pod + `"spec": {"containers": [{"name": "app", "image": "HOST/app:v1"}, {"name": "b", "image": "HOST/b@TWO"}]}, "status": {"phase": "Running", "containerStatuses": [
			{"name": "app", "imageID": "HOST/app@ONE"}, {"name": "b", "imageID": "docker-pullable://HOST/b@TWO"}]}}`),
			"app:v1@ONE | n/Pod/p | container app\nb@TWO | n/Pod/p | container b\n"},
		{"another digest runs than is asked for", items(pod + `"spec": {"containers": [{"name": "app", "image": "HOST/app@TWO"}]}, "status": {"containerStatuses": [{"name": "app", "imageID": "HOST/app@ONE"}]}}`),
			"app@ONE | n/Pod/p | container app\napp@TWO | n/Pod/p | container app\n"},
		{"the same image in another repository", items(pod + `"spec": {"containers": [{"name": "app", "image": "HOST/prod/app:v1"}]}, "status": {"containerStatuses": [{"name": "app", "imageID": "HOST/dev/app@ONE"}]}}`),
			"dev/app@ONE | n/Pod/p | container app\nprod/app:v1@ONE | n/Pod/p | container app\n"},
		{"through mirrors", items(pod + `"spec": {"containers": [{"name": "a", "image": "HOST/app:v1"}, {"name": "b", "image": "docker.io/b:v1"}]}, "status": {"containerStatuses": [
			{"name": "a", "imageID": "mirror.local/app@ONE"}, {"name": "b", "imageID": "HOST/b@TWO"}]}}`),
			"app:v1@ONE | n/Pod/p | container a\nb@TWO | n/Pod/p | container b\n"},
		{"an id that is no digest of a registry", items(pod + `"spec": {"containers": [{"name": "a", "image": "HOST/a:v1"}, {"name": "b", "image": "HOST/b@TWO"}, {"name": "c", "image": "HOST/c:v1"}]}, "status": {"containerStatuses": [
			{"name": "a", "imageID": "docker://ONE", "state": {"running": {"startedAt": "2026-11-20T01:02:03Z"}}},
			{"name": "b", "imageID": "ONE", "state": {"running": {"startedAt": "2026-11-20T01:02:03Z"}}}, {"name": "c", "imageID": "", "state": {"waiting": {}}}]}}`),
			"a:v1 | n/Pod/p | container a | since 01:02:03\nb@TWO | n/Pod/p | container b\nc:v1 | n/Pod/p | container c\n"},
		{"mounted images", items(pod + `"spec": {"containers": [{"name": "a", "image": "nginx"}], "volumes": [{"name": "x", "image": {"reference": "HOST/x:v1"}}, {"name": "y", "image": {"reference": "HOST/y:v1"}}]},
			"status": {"phase": "Running", "startTime": "2026-11-20T01:02:03Z", "containerStatuses": [{"name": "a", "imageID": "", "volumeMounts": [{"name": "x", "mountPath": "/x", "volumeStatus": {"image": {"imageRef": "HOST/x@ONE"}}}]}]}}`),
			"x:v1@ONE | n/Pod/p | image volume x\ny:v1 | n/Pod/p | image volume y | since 01:02:03\nskipped 1\n"},
		{"a status of what the pod has no more", items(pod + `"spec": {"containers": [{"name": "a", "image": "nginx"}]}, "status": {"ephemeralContainerStatuses": [{"name": "gone", "imageID": "HOST/app@ONE"}]}}`),
			"app@ONE | n/Pod/p | ephemeral container gone\nskipped 1\n"},
		{"pods of a controller are one use", items(strings.Repeat(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "ownerReferences": [
			{"kind": "Other", "name": "o"}, {"kind": "ReplicaSet", "name": "web-1", "controller": true}]}, "spec": {"containers": [{"name": "app", "image": "HOST/app:v1"}]}},`, 2) + pod + `"spec": {"containers": [{"name": "a"}]}}`),
			"app:v1 | n/ReplicaSet/web-1 | pod's container app\nskipped 1\n"},
		{"deployment at zero replicas", items(workload("apps/v1", "Deployment", `"spec": {"replicas": 0, `+template+`}`)), "app:v1 | n/Deployment/w | container app\n"},
		{"stateful set", items(workload("apps/v1", "StatefulSet", `"spec": {`+template+`}`)), "app:v1 | n/StatefulSet/w | container app\n"},
		{"daemon set", items(workload("apps/v1", "DaemonSet", `"spec": {`+template+`}`)), "app:v1 | n/DaemonSet/w | container app\n"},
		{"replica set", items(workload("apps/v1", "ReplicaSet", `"spec": {`+template+`}`)), "app:v1 | n/ReplicaSet/w | container app\n"},
		{"replica set of a deployment's history", items(`{"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "w", "namespace": "n", "ownerReferences": [{"kind": "Deployment"}]}, "spec": {"replicas": 0, ` + template + `}}`),
			"app:v1 | n/ReplicaSet/w | container app | rollback\n"},
		{"replication controller", items(workload("v1", "ReplicationController", `"spec": {`+template+`}`)), "app:v1 | n/ReplicationController/w | container app\n"},
		{"job", items(workload("batch/v1", "Job", `"spec": {`+template+`}, "status": {"startTime": "2026-11-20T01:02:03Z"}`)), "app:v1 | n/Job/w | container app\n"},
		{"suspended cron job", items(workload("batch/v1", "CronJob", `"spec": {"suspend": true, "jobTemplate": {"spec": {`+template+`}}}`)), "app:v1 | n/CronJob/w | container app\n"},
		{"pod template", items(workload("v1", "PodTemplate", template)), "app:v1 | n/PodTemplate/w | container app\n"},
		{"what kubectl get all lists too", items(workload("v1", "Service", `"spec": {"containers": 1}`), workload("autoscaling/v2", "HorizontalPodAutoscaler", `"spec": {}`)), ""},
		{"one object", kube(workload("apps/v1", "Deployment", `"spec": {`+template+`}`)), "app:v1 | n/Deployment/w | container app\n"},
		{"the API's own list", kube(`{"kind": "PodList", "apiVersion": "v1", "metadata": {"remainingItemCount": 0}, "items": [{"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [{"name": "a", "image": "HOST/app:v1"}]}}]}`),
			"app:v1 | n/Pod/p | container a\n"},
		{"an empty list of kubectl's", items(), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Parse("f", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, brief(l)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	app := `"spec": {"containers": [{"name": "app", "image": "HOST/app:v1"}]}`
	tests := []struct{ name, text, want string }{
		{"nothing", " \r\n", "f: it names no image at all"},
		{"comments only", "# none\n", "f: it names no image at all"},
		{"what looks like ECR", "nginx\n" + "1.dkr.ecr.us-east-1.amazonaws.com/app:v1\n", "f:2: image reference"},
		{"another host of ECR", host + "/app:v1\n\nhttps://vpce-1.dkr.ecr.us-east-1.vpce.amazonaws.com/app", "f:3: image reference"},
		{"a table", "NAMESPACE   NAME\nkube-system   x\n", `f:1: "NAMESPACE   NAME" is not an image reference`},
		{"an error message", "nginx\nERROR: Unauthorized\n", "f:2: "},
		{"YAML", "apiVersion: v1\nitems: []\n", "f:1: "},
		{"an ECR reference in YAML", "- image: " + host + "/app:v1\n", "f:1: image reference"},
		{"two references in a line", host + "/a:v1 " + host + "/b:v1", "f:1: image reference"},
		{"NUL", "nginx\n\x00", "f:2: it is no text in UTF-8"},
		{"no UTF-8", "nginx\nngin\xff", "f:2: it is no text in UTF-8"},
		{"UTF-16", "\xff\xfen\x00g\x00", "f:1: it is no text in UTF-8"},
		{"a number in an array", "[\"nginx\",\n7]", `f:2: "7" stands where a reference is expected`},
		{"null in an array", "[null]", "f:1: "},
		{"a list in an array", "[\n\n[\"nginx\"]]", "f:3: "},
		{"an empty reference", `[""]`, `f:1: "" is not an image reference`},
		{"words in an array", "[\"nginx\",\n\n  \"not found\"]", `f:3: "not found" is not`},
		{"no ref", "[{\"resource\": \"x\"}]", `f:1: entry 1 has no "ref"`},
		{"another key", `[{"ref": "nginx", "image": "x"}]`, `unknown field "image"`},
		{"long words", `[{"ref": "` + host + `/a", "resource": "` + strings.Repeat("x", 1001) + `"}]`, "f:1: what is said of a use has 1001 bytes"},
		{"cut short", "[\n\"nginx\",", "the JSON is cut short"},
		{"no comma", "[\"nginx\"\n\"b\"]", "f:2: expected comma"},
		{"two arrays", `["nginx"] ["b"]`, "something stands behind the end"},
		{"not of Kubernetes", "{\"" + host + "/app:v1\": [\"task\"]}", "f:1: it is an object, and none of Kubernetes'"},
		{"another object", "{\n\"kind\": 7}", "cannot unmarshal number"},
		{"an object that is cut short", `{"kind": "List", "apiVersion": "v1", "items": [`, "the JSON is cut short"},
		{"two lists", items() + items(), "something stands behind the end"},
		{"one page", kube(`{"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": "abc"}, "items": []}`), "it is one page of several"},
		{"one page, by its count", kube(`{"kind": "PodList", "apiVersion": "v1", "metadata": {"remainingItemCount": 3}, "items": []}`), "it is one page of several"},
		{"no items", `{"kind": "List", "apiVersion": "v1"}`, "the List has no items"},
		{"items that are null", `{"kind": "List", "apiVersion": "v1", "items": null}`, "the List has no items"},
		{"another kind", items(pod+app+"}", workload("argoproj.io/v1alpha1", "Rollout", `"spec": {"replicas": "x"}`)), `f:2: "Rollout" of "argoproj.io/v1alpha1" is nothing`},
		{"another group", items(workload("batch.volcano.sh/v1alpha1", "Job", `"spec": {}`)), `"Job" of "batch.volcano.sh/v1alpha1" is nothing`},
		{"another kind alone", workload("v1", "ConfigMap", `"data": {}`), `f:1: "ConfigMap" of "v1" is nothing`},
		{"an item of no kind", items(`{}`), `f:1: "" of "v1" is nothing`},
		{"no containers", items(workload("apps/v1", "Deployment", `"spec": {}`)), `"n/Deployment/w" has no containers`},
		{"a cron job without a template", items(workload("batch/v1", "CronJob", `"spec": {}`)), `"n/CronJob/w" has no containers`},
		{"no name", items(`{"apiVersion": "v1", "kind": "Pod", ` + app + `}`), "a Pod has no name"},
		{"an image like ECR's", items(pod+app+"}", pod+`"spec": {"containers": [{"name": "app", "image": "1.dkr.ecr.us-east-1.amazonaws.com/app"}]}}`), `f:2: "n/Pod/p": image reference`},
		{"an image id like ECR's", items(pod + app + `, "status": {"containerStatuses": [{"name": "app", "imageID": "HOST/app@sha256:1"}]}}`), `"n/Pod/p": image reference`},
		{"an image id without a digest", items(pod + app + `, "status": {"containerStatuses": [{"name": "app", "imageID": "mirror.local/app@sha512:1"}]}}`), `"n/Pod/p": image id`},
		{"containers of another type", items("\n" + pod + `"spec": {"containers": "none"}}`), "f:2: json: cannot unmarshal"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := Parse("f", []byte(tt.text))
			var e *Error
			if l != nil || !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, %v; want %q", l, err, tt.want)
			}
		})
	}
}

func TestKinds(t *testing.T) {
	l, err := Parse("f", []byte(items(workload("apps/v1", "Deployment", `"spec": {`+template+`}`), pod+`"spec": {"containers": [{"name": "a"}]}}`)))
	if err != nil {
		t.Fatal(err)
	}
	if !l.Kubernetes || !slices.Equal(l.Kinds, []string{"Deployment", "Pod"}) || !slices.Equal(l.Namespaces, []string{"n"}) {
		t.Errorf("%+v", l)
	}
	if l, err = Parse("f", []byte("nginx")); err != nil || l.Kubernetes {
		t.Errorf("%+v, %v", l, err)
	}
}

// endless never ends; what reads it has to.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func TestReadIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes memory")
	}
	if _, err := Read("f", endless{}); err == nil || !strings.Contains(err.Error(), "bigger than 256 MiB") {
		t.Errorf("%v", err)
	}
}

// FuzzParse: whatever a list says, what comes out of it are references to ECR with the words that were said, each once,
// and reading these again gives the same.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"", "# x\n" + host + "/app:v1\n", "[\"" + host + "/app:v1\", {\"ref\": \"nginx\"}]", items(pod + `"spec": {"containers": [{"name": "a", "image": "HOST/app:v1"}]}}`),
		items(workload("batch/v1", "CronJob", `"spec": {"jobTemplate": {"spec": {`+template+`}}}`)), `{"kind": "PodList", "apiVersion": "v1", "items": [{}]}`, "{", "[[", "\uFEFF[]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := Parse("f", data)
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Line < 0 || e.Line > 1+strings.Count(string(data), "\n") || !utf8.ValidString(e.Error()) {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		if !utf8.Valid(data) || strings.ContainsRune(string(data), 0) {
			t.Fatal("no text was taken")
		}
		var again []map[string]string
		for i, e := range l.Entries {
			if ref, err := image.ParseRef(e.Ref.String()); err != nil || ref != e.Ref {
				t.Fatalf("%v: %v", e.Ref, err)
			}
			if e.Resource == "" || i > 0 && compareEntries(l.Entries[i-1], e) >= 0 {
				t.Fatalf("%+v", l.Entries)
			}
			again = append(again, map[string]string{"ref": e.Ref.String(), "resource": e.Resource, "detail": e.Detail})
		}
		text, err := json.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if again == nil {
			text = []byte("[]")
		}
		m, err := Parse("f", text)
		if err != nil {
			t.Fatal(err)
		}
		if l.Kubernetes { // since when is not said again
			return
		}
		if diff := cmp.Diff(l.Entries, m.Entries); diff != "" {
			t.Fatal(diff)
		}
	})
}
