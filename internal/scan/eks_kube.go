package scan

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// This is the little of the Kubernetes API that a scan needs: reading lists, page by page, of what can start a container.
// It knows no other verb than GET, and holds one object at a time.
//
// https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks

// kubeKind is a kind of object with a pod template, or the pod.
type kubeKind struct{ name, path string }

var kubeKinds = []kubeKind{
	{"deployment", "/apis/apps/v1/deployments"},
	{"statefulset", "/apis/apps/v1/statefulsets"},
	{"daemonset", "/apis/apps/v1/daemonsets"},
	{"replicaset", "/apis/apps/v1/replicasets"},
	{"controllerrevision", "/apis/apps/v1/controllerrevisions"},
	{"replicationcontroller", "/api/v1/replicationcontrollers"},
	{"podtemplate", "/api/v1/podtemplates"},
	{"cronjob", "/apis/batch/v1/cronjobs"},
	{"job", "/apis/batch/v1/jobs"},
	{"pod", "/api/v1/pods"},
}

// plural is the kind as permissions name it: "pods", "jobs.batch".
func (k *kubeKind) plural() string {
	parts := strings.Split(k.path, "/")
	name := parts[len(parts)-1]
	if parts[1] == "apis" {
		name += "." + parts[2]
	}
	return name
}

// kubeObject is what matters of an object of any of the kinds.
type kubeObject struct {
	Metadata struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		OwnerReferences []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		kubePodSpec               // of a pod
		Template    *kubeTemplate `json:"template"`
		JobTemplate *struct {
			Spec struct {
				Template kubeTemplate `json:"template"`
			} `json:"spec"`
		} `json:"jobTemplate"`
		Replicas *int32 `json:"replicas"`
		Suspend  bool   `json:"suspend"`
	} `json:"spec"`
	Template *kubeTemplate   `json:"template"` // of a pod template
	Data     json.RawMessage `json:"data"`     // of a controller revision
	Revision int64           `json:"revision"`
	Status   struct {
		Phase                      string                `json:"phase"`
		StartTime                  time.Time             `json:"startTime"`
		InitContainerStatuses      []kubeContainerStatus `json:"initContainerStatuses"`
		ContainerStatuses          []kubeContainerStatus `json:"containerStatuses"`
		EphemeralContainerStatuses []kubeContainerStatus `json:"ephemeralContainerStatuses"`
		Conditions                 []struct {
			Type   string `json:"type"`
			Status string `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

type kubeTemplate struct {
	Spec kubePodSpec `json:"spec"`
}

type kubePodSpec struct {
	InitContainers      []kubeContainer `json:"initContainers"`
	Containers          []kubeContainer `json:"containers"`
	EphemeralContainers []kubeContainer `json:"ephemeralContainers"`
	Volumes             []struct {
		Name  string `json:"name"`
		Image *struct {
			Reference string `json:"reference"`
		} `json:"image"`
	} `json:"volumes"`
}

type kubeContainer struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type kubeContainerStatus struct {
	Name    string `json:"name"`
	ImageID string `json:"imageID"`
	State   struct {
		Running *struct {
			StartedAt time.Time `json:"startedAt"`
		} `json:"running"`
	} `json:"state"`
	VolumeMounts []struct {
		Name   string `json:"name"`
		Status struct {
			Image struct {
				Ref string `json:"imageRef"`
			} `json:"image"`
		} `json:"volumeStatus"`
	} `json:"volumeMounts"`
}

// How many objects a page has, and the pause before a page is asked for again. Tests make them small.
var (
	kubePage  = 500
	kubePause = time.Second
)

const (
	kubeConnect  = 10 * time.Second
	kubeTimeout  = 2 * time.Minute // of a page
	kubeAttempts = 3
	kubePatience = 10 * time.Second // with a server that asks for a pause
	kubeTokenAge = 10 * time.Minute // clusters accept a token for 15
)

type kubeClient struct {
	endpoint string
	http     *http.Client
	sign     func(context.Context) (string, error) // makes a token
	limit    int                                   // objects of a page; 0: kubePage
	timeout  time.Duration                         // of a page; 0: kubeTimeout

	token string
	made  time.Time
}

func newKubeClient(endpoint string, roots *x509.CertPool, sign func(context.Context) (string, error)) *kubeClient {
	return &kubeClient{
		endpoint: strings.TrimSuffix(endpoint, "/"),
		sign:     sign,
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:               http.ProxyFromEnvironment,
				DialContext:         (&net.Dialer{Timeout: kubeConnect}).DialContext,
				TLSHandshakeTimeout: kubeConnect,
				TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
				ForceAttemptHTTP2:   true,
			},
			// The token is for this host alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

var errNotSigned = errors.New("no token can be made")

// kubeError is an error that the API answered.
type kubeError struct {
	status  int
	message string
	pause   time.Duration // that it asks for
}

func (e *kubeError) Error() string {
	return strconv.Itoa(e.status) + " " + cmp.Or(e.message, http.StatusText(e.status))
}

// list gives all objects of a kind to f, in all namespaces. One that is given before an error was met is given, and
// some may be given twice: a list whose continuation has expired is begun anew, once.
func (k *kubeClient) list(ctx context.Context, path string, f func(*kubeObject)) error {
	next, begun := "", 1
	for {
		var err error
		next, err = k.page(ctx, path, next, f)
		if answer, ok := errors.AsType[*kubeError](err); ok && answer.status == http.StatusGone && begun < 2 {
			next, begun = "", begun+1
			continue
		}
		if err != nil || next == "" {
			return err
		}
	}
}

// first is list for the first page alone.
func (k *kubeClient) first(ctx context.Context, path string, f func(*kubeObject)) error {
	_, err := k.page(ctx, path, "", f)
	return err
}

// page reads a page, and once more if the server is busy, the connection breaks, or a token that was used before is
// not accepted any more.
func (k *kubeClient) page(ctx context.Context, path, from string, f func(*kubeObject)) (next string, err error) {
	for attempt := 1; ; attempt++ {
		used := k.token != ""
		next, err = k.attempt(ctx, path, from, f)
		answer, answered := errors.AsType[*kubeError](err)
		pause := time.Duration(0)
		switch {
		case err == nil || attempt == kubeAttempts || ctx.Err() != nil:
			return next, err
		case answered && answer.status == http.StatusUnauthorized && used:
			k.token = ""
		case answered && (answer.status == http.StatusTooManyRequests || answer.status >= http.StatusInternalServerError):
			pause = min(answer.pause, kubePatience)
		case errors.Is(err, io.ErrUnexpectedEOF):
		default:
			return "", err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func (k *kubeClient) attempt(ctx context.Context, path, from string, f func(*kubeObject)) (next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(k.timeout, kubeTimeout))
	defer cancel()
	query := url.Values{"limit": {strconv.Itoa(cmp.Or(k.limit, kubePage))}}
	if from != "" {
		query.Set("continue", from)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.endpoint+path+"?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	if k.token == "" || time.Since(k.made) > kubeTokenAge {
		if k.token, err = k.sign(ctx); err != nil {
			return "", fmt.Errorf("%w: %w", errNotSigned, err)
		}
		k.made = time.Now()
	}
	req.Header.Set("Authorization", "Bearer "+k.token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "demurrage")
	answer, err := k.http.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return "", answerError(answer)
	}
	return decodeKubeList(answer.Body, f)
}

func answerError(answer *http.Response) error {
	e := &kubeError{status: answer.StatusCode, pause: kubePause}
	var status struct {
		Message string `json:"message"`
	}
	if json.NewDecoder(io.LimitReader(answer.Body, 1<<16)).Decode(&status) == nil {
		e.message = status.Message
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		e.pause = time.Duration(seconds) * time.Second
	}
	return e
}

// decodeKubeList gives the items of a list to f as they come and returns where the next page begins, "" after the last.
// What is not a whole list is an error: an answer that is cut short must not pass for an empty cluster.
func decodeKubeList(r io.Reader, f func(*kubeObject)) (next string, err error) {
	d := json.NewDecoder(r)
	defer func() {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}()
	if err := expect(d, json.Delim('{')); err != nil {
		return "", err
	}
	items := false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", err
		}
		switch key {
		case "metadata":
			var m struct {
				Continue string `json:"continue"`
			}
			if err := d.Decode(&m); err != nil {
				return "", err
			}
			next = m.Continue
		case "items":
			items = true
			if err := decodeKubeItems(d, f); err != nil {
				return "", err
			}
		default:
			if err := d.Decode(new(json.RawMessage)); err != nil {
				return "", err
			}
		}
	}
	if err := expect(d, json.Delim('}')); err != nil {
		return "", err
	}
	if !items {
		return "", errors.New("the answer is not a list")
	}
	return next, nil
}

func decodeKubeItems(d *json.Decoder, f func(*kubeObject)) error {
	switch t, err := d.Token(); {
	case err != nil:
		return err
	case t == nil: // an empty list, as some servers write it
		return nil
	case t != json.Delim('['):
		return fmt.Errorf("the items of the list are %v", t)
	}
	for d.More() {
		var o kubeObject
		if err := d.Decode(&o); err != nil {
			return err
		}
		f(&o)
	}
	return expect(d, json.Delim(']'))
}

func expect(d *json.Decoder, want json.Delim) error {
	t, err := d.Token()
	if err == nil && t != want {
		err = fmt.Errorf("%v stands where %v is expected", t, want)
	}
	return err
}
