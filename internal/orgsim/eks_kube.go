package orgsim

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eks/types"
)

// kubePrefix is where the Kubernetes APIs of the clusters are: /_k8s/ACCOUNT/REGION/CLUSTER, which is the endpoint that
// DescribeCluster tells. Each is the part of a Kubernetes API that keeps objects: POST, GET and DELETE, lists by page, and PUT
// of a status or of ephemeral containers. Nothing acts on them, and no kubelet runs a pod: whoever seeds a cluster writes
// the pods and their status.
//
// https://kubernetes.io/docs/reference/using-api/api-concepts/
const kubePrefix = "/_k8s/"

// kubeShelf keeps the objects of one kind, by "namespace/name".
type kubeShelf struct{ objects map[string]map[string]any }

// kubeKinds are the kinds that a cluster keeps, by path.
var kubeKinds = map[string]string{
	"api/v1/pods": "Pod", "api/v1/podtemplates": "PodTemplate", "api/v1/replicationcontrollers": "ReplicationController",
	"apis/apps/v1/controllerrevisions": "ControllerRevision", "apis/apps/v1/daemonsets": "DaemonSet", "apis/apps/v1/deployments": "Deployment",
	"apis/apps/v1/replicasets": "ReplicaSet", "apis/apps/v1/statefulsets": "StatefulSet",
	"apis/batch/v1/cronjobs": "CronJob", "apis/batch/v1/jobs": "Job",
}

// kubeRequest is a request with its path taken apart.
type kubeRequest struct {
	method               string
	kind                 string // path of the kind
	namespace, name, sub string
	query                url.Values
	body                 []byte
}

var kubePath = regexp.MustCompile(`^(api/v1|apis/[a-z0-9.]+/v1)(?:/namespaces/([a-z0-9-]+))?/([a-z]+)(?:/([a-z0-9.-]+))?(?:/(status|ephemeralcontainers))?$`)

func parseKubePath(p string) (*kubeRequest, bool) {
	m := kubePath.FindStringSubmatch(p)
	if m == nil || kubeKinds[m[1]+"/"+m[3]] == "" || m[4] != "" && m[2] == "" {
		return nil, false
	}
	return &kubeRequest{kind: m[1] + "/" + m[3], namespace: m[2], name: m[4], sub: m[5]}, true
}

// plural and group are how permissions name a kind.
func (r *kubeRequest) plural() string { return path.Base(r.kind) }

func (r *kubeRequest) group() string {
	if rest, ok := strings.CutPrefix(r.kind, "apis/"); ok {
		group, _, _ := strings.Cut(rest, "/")
		return group
	}
	return ""
}

func (r *kubeRequest) verb() string {
	switch {
	case r.method == http.MethodPost:
		return "create"
	case r.method == http.MethodPut:
		return "update"
	case r.method == http.MethodDelete:
		return "delete"
	case r.name == "":
		return "list"
	default:
		return "get"
	}
}

// kubeStatus is an error answer of Kubernetes.
func kubeStatus(code int, reason, format string, args ...any) *apiError {
	return &apiError{Status: code, Code: reason, Message: fmt.Sprintf(format, args...)}
}

var errKubeUnauthorized = kubeStatus(http.StatusUnauthorized, "Unauthorized", "Unauthorized")

// serveKubernetes answers a request to the API of a cluster. Faults meet it as the service "kubernetes" and an operation as in "list pods".
func (s *Server) serveKubernetes(w http.ResponseWriter, r *http.Request) {
	status, answer := http.StatusOK, any(nil)
	var err *apiError
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, kubePrefix), "/", 4)
	body, readErr := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch {
	case readErr != nil:
		err = kubeStatus(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "%v", readErr)
	case len(parts) < 4:
		err = kubeStatus(http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	default:
		status, answer, err = s.kubernetes(r, parts, body)
	}
	if err != nil {
		status = err.Status
		answer = map[string]any{
			"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure", "code": status, "reason": err.Code, "message": err.Message,
		}
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
	}
	text, _ := json.Marshal(answer)
	_ = writeBody(w, status, "application/json", text)
}

func (s *Server) kubernetes(r *http.Request, parts []string, body []byte) (int, any, *apiError) {
	account, region, name := parts[0], parts[1], parts[2]
	caller, ok := s.kubeCaller(r)
	if !ok {
		return 0, nil, errKubeUnauthorized
	}
	req, ok := parseKubePath(parts[3])
	if !ok {
		return 0, nil, kubeStatus(http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
	req.method, req.query, req.body = r.Method, r.URL.Query(), body
	operation := req.verb() + " " + req.plural()
	kubernetes := &service{name: "kubernetes", protocol: restJSON}
	err := s.control.interfere(r.Context(), caller.Account, region, kubernetes, operation)
	s.control.count(caller.Account, region, kubernetes.name, operation, err != nil)
	if err != nil {
		e, _ := kubernetes.asAPIError(err)
		return 0, nil, e
	}
	if req.verb() == "list" || req.verb() == "get" {
		s.mu.RLock()
		defer s.mu.RUnlock()
	} else {
		s.mu.Lock()
		defer s.mu.Unlock()
	}
	var cl *eksCluster
	if reg := s.regionOf(account, region); reg != nil {
		cl = reg.eks.clusters[name]
	}
	if cl == nil || cl.ConnectorConfig != nil || !cl.ResourcesVpcConfig.EndpointPublicAccess {
		return 0, nil, kubeStatus(http.StatusNotFound, "NotFound", "there is no such endpoint")
	}
	principal := cmp.Or(caller.RoleARN, caller.ARN)
	entry := cl.entries[principal]
	if entry == nil {
		return 0, nil, errKubeUnauthorized
	}
	if !entry.allows(req) {
		where := "at the cluster scope"
		if req.namespace != "" {
			where = fmt.Sprintf("in the namespace %q", req.namespace)
		}
		return 0, nil, kubeStatus(http.StatusForbidden, "Forbidden", "%s.%s is forbidden: User %q cannot %s resource %q in API group %q %s",
			req.plural(), req.group(), caller.ARN, req.verb(), req.plural(), req.group(), where)
	}
	status, answer, apiErr := cl.serve(req, s.now())
	if apiErr != nil {
		return 0, nil, apiErr
	}
	return status, answer, nil
}

// tokenLife is how long after its signing a token is accepted.
const tokenLife = 15 * time.Minute

// kubeCaller is who signed the call of GetCallerIdentity that a bearer token holds. Signatures are verified nowhere here, so
// that a token for another cluster cannot be told apart; that the header of the cluster's name is signed is asked for.
//
// https://github.com/kubernetes-sigs/aws-iam-authenticator#api-authorization-from-outside-a-cluster
func (s *Server) kubeCaller(r *http.Request) (principal, bool) {
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer k8s-aws-v1.")
	if !ok {
		return principal{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return principal{}, false
	}
	u, err := url.Parse(string(raw))
	if err != nil {
		return principal{}, false
	}
	q := u.Query()
	signed, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	expires, err2 := strconv.Atoi(q.Get("X-Amz-Expires"))
	age := time.Since(signed)
	if err != nil || err2 != nil || expires < 0 || expires > 900 || age > tokenLife || age < -tokenLife || q.Get("Action") != "GetCallerIdentity" ||
		!slices.Contains(strings.Split(q.Get("X-Amz-SignedHeaders"), ";"), "x-k8s-aws-id") {
		return principal{}, false
	}
	sc, err := parseScope(&http.Request{URL: u})
	if err != nil || sc.service != "sts" {
		return principal{}, false
	}
	c, err := s.identify(sc, s.services["sts"])
	if err != nil {
		return principal{}, false
	}
	return c.Caller, true
}

// allows reports whether the policies of an access entry allow a request. AmazonEKSViewPolicy has the resources of the
// Kubernetes role "view", among which pod templates are not.
//
// https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html
func (e *eksEntry) allows(r *kubeRequest) bool {
	read := r.verb() == "list" || r.verb() == "get"
	for arn, p := range e.policies {
		if p.AccessScope.Type == types.AccessScopeTypeNamespace && !slices.ContainsFunc(p.AccessScope.Namespaces, func(glob string) bool {
			ok, err := path.Match(glob, r.namespace)
			return ok && err == nil && r.namespace != ""
		}) {
			continue
		}
		switch path.Base(arn) {
		case "AmazonEKSClusterAdminPolicy":
			return true
		case "AmazonEKSAdminViewPolicy":
			if read {
				return true
			}
		case "AmazonEKSViewPolicy":
			if read && r.plural() != "podtemplates" {
				return true
			}
		default: // AmazonEKSAdminPolicy, AmazonEKSEditPolicy
			if r.plural() != "podtemplates" {
				return true
			}
		}
	}
	return false
}

// serve answers a request that is allowed.
func (cl *eksCluster) serve(r *kubeRequest, now time.Time) (int, any, *apiError) {
	shelf := cl.objects[r.kind]
	if shelf == nil {
		shelf = &kubeShelf{objects: make(map[string]map[string]any)}
	}
	key := r.namespace + "/" + r.name
	old := shelf.objects[key]
	if r.name != "" && old == nil {
		return 0, nil, kubeStatus(http.StatusNotFound, "NotFound", "%s %q not found", r.plural(), r.name)
	}
	switch {
	case r.verb() == "list":
		return shelf.list(r)
	case r.verb() == "get" && r.sub == "":
		return http.StatusOK, old, nil
	case r.verb() == "delete" && r.sub == "":
		delete(shelf.objects, key)
		return http.StatusOK, old, nil
	case r.verb() == "update" && r.sub != "":
		o, err := r.object()
		if err != nil {
			return 0, nil, err
		}
		changed := maps.Clone(old)
		if r.sub == "status" {
			changed["status"] = o["status"]
		} else {
			spec := map[string]any{"ephemeralContainers": kubeField(o, "spec", "ephemeralContainers")}
			was, _ := old["spec"].(map[string]any)
			for name, value := range was {
				if name != "ephemeralContainers" {
					spec[name] = value
				}
			}
			changed["spec"] = spec
		}
		shelf.objects[key] = changed
		return http.StatusOK, changed, nil
	case r.verb() == "create" && r.name == "":
		o, err := r.object()
		if err != nil {
			return 0, nil, err
		}
		metadata := o["metadata"].(map[string]any)
		name := metadata["name"].(string)
		if shelf.objects[r.namespace+"/"+name] != nil {
			return 0, nil, kubeStatus(http.StatusConflict, "AlreadyExists", "%s %q already exists", r.plural(), name)
		}
		metadata["creationTimestamp"] = now.UTC().Format(time.RFC3339)
		delete(o, "status") // it is written by itself
		shelf.objects[r.namespace+"/"+name] = o
		cl.objects[r.kind] = shelf
		return http.StatusCreated, o, nil
	default:
		return 0, nil, kubeStatus(http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the requested resource")
	}
}

// object is the object that a request carries.
func (r *kubeRequest) object() (map[string]any, *apiError) {
	var o map[string]any
	if err := json.Unmarshal(r.body, &o); err != nil {
		return nil, kubeStatus(http.StatusBadRequest, "BadRequest", "%v", err)
	}
	version := strings.TrimPrefix(strings.TrimPrefix(path.Dir(r.kind), "apis/"), "api/")
	metadata, _ := o["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	switch namespace, ok := metadata["namespace"].(string); {
	case o["kind"] != kubeKinds[r.kind] || o["apiVersion"] != version:
		return nil, kubeStatus(http.StatusBadRequest, "BadRequest", "%v %v does not belong at %s", o["apiVersion"], o["kind"], r.kind)
	case r.namespace == "":
		return nil, kubeStatus(http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the requested resource")
	case ok && namespace != r.namespace:
		return nil, kubeStatus(http.StatusBadRequest, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request")
	case name == "" || r.name != "" && name != r.name:
		return nil, kubeStatus(http.StatusUnprocessableEntity, "Invalid", "metadata.name: Required value: name or generateName is required")
	}
	metadata["namespace"] = r.namespace
	return o, nil
}

// list answers the objects of all namespaces or of one, a page of them.
func (shelf *kubeShelf) list(r *kubeRequest) (int, any, *apiError) {
	limit, err := strconv.Atoi(cmp.Or(r.query.Get("limit"), "0"))
	if err != nil || limit < 0 {
		return 0, nil, kubeStatus(http.StatusBadRequest, "BadRequest", "invalid limit %q", r.query.Get("limit"))
	}
	from := ""
	if text := r.query.Get("continue"); text != "" {
		raw, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			return 0, nil, kubeStatus(http.StatusBadRequest, "BadRequest", "continue key is not valid: %v", err)
		}
		from = string(raw)
	}
	items, metadata := []any{}, map[string]any{"resourceVersion": "1"}
	for _, key := range slices.Sorted(maps.Keys(shelf.objects)) {
		if key <= from || r.namespace != "" && !strings.HasPrefix(key, r.namespace+"/") {
			continue
		}
		if limit > 0 && len(items) == limit {
			metadata["continue"] = base64.RawURLEncoding.EncodeToString([]byte(from))
			break
		}
		items, from = append(items, shelf.objects[key]), key
	}
	kind, version := kubeKinds[r.kind]+"List", strings.TrimPrefix(strings.TrimPrefix(path.Dir(r.kind), "apis/"), "api/")
	return http.StatusOK, map[string]any{"kind": kind, "apiVersion": version, "metadata": metadata, "items": items}, nil
}

// eksUses tells what needs images: every object of every cluster but the pods that have finished, whoever may see it.
func eksUses(reg *region, use func(image, digest, arn string)) {
	for _, cl := range reg.eks.clusters {
		for kind, shelf := range cl.objects {
			for key, o := range shelf.objects {
				namespace, name, _ := strings.Cut(key, "/")
				arn := *cl.Arn + "/" + namespace + "/"
				own := strings.ToLower(kubeKinds[kind]) + "/" + name
				if kind != "api/v1/pods" {
					kubeImages(o, func(_, image string) { use(image, "", arn+own) })
					continue
				}
				if phase := kubeField(o, "status", "phase"); phase == "Succeeded" || phase == "Failed" {
					continue
				}
				owners, _ := kubeField(o, "metadata", "ownerReferences").([]any)
				for _, owner := range owners {
					if kubeField(owner, "controller") == true {
						own = strings.ToLower(fmt.Sprint(kubeField(owner, "kind"))) + "/" + fmt.Sprint(kubeField(owner, "name"))
					}
				}
				running := kubeDigests(o["status"])
				kubeImages(o["spec"], func(container, image string) { use(image, running[container], arn+own) })
			}
		}
	}
}

func kubeField(v any, names ...string) any {
	for _, name := range names {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// kubeImages finds containers and image volumes, however deep.
func kubeImages(v any, f func(name, image string)) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			kubeImages(e, f)
		}
	case map[string]any:
		name, _ := v["name"].(string)
		if image, ok := v["image"].(string); ok {
			f(name, image)
		}
		if image, ok := kubeField(v, "image", "reference").(string); ok {
			f(name, image)
		}
		for _, e := range v {
			kubeImages(e, f)
		}
	}
}

// kubeDigests are the digests that a pod's status gives its containers.
func kubeDigests(status any) map[string]string {
	digests := make(map[string]string)
	for _, group := range []string{"initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"} {
		list, _ := kubeField(status, group).([]any)
		for _, c := range list {
			name, _ := kubeField(c, "name").(string)
			id, _ := kubeField(c, "imageID").(string)
			if _, digest, ok := strings.Cut(id, "@"); ok {
				digests[name] = digest
			}
		}
	}
	return digests
}

// seedKubernetes puts an object with its status into a namespace of a cluster, as an administrator and a kubelet would:
// for seeds and tests.
func (s *Server) seedKubernetes(account, region, cluster, kind, namespace string, object map[string]any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	reg := s.regionOf(account, region)
	if reg == nil || reg.eks.clusters[cluster] == nil {
		return fmt.Errorf("there is no cluster %s in %s/%s", cluster, account, region)
	}
	body, err := json.Marshal(object)
	if err != nil {
		return err
	}
	for _, r := range []*kubeRequest{{method: http.MethodPost}, {method: http.MethodPut, name: kubeField(object, "metadata", "name").(string), sub: "status"}} {
		r.kind, r.namespace, r.body = kind, namespace, body
		if _, _, err := reg.eks.clusters[cluster].serve(r, s.control.now()); err != nil {
			return err
		}
	}
	return nil
}
