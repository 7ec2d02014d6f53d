package uselist

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"demurrage/internal/image"
)

// Of the objects of Kubernetes only what names images and who they are is read.
//
// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/

// listing is what `kubectl get … -o json` writes: kind List, or PodList and the like straight from the API, or one object.
type listing struct {
	Kind     string `json:"kind"`
	Version  string `json:"apiVersion"`
	Metadata struct {
		Continue  string `json:"continue"`
		Remaining *int64 `json:"remainingItemCount"`
	} `json:"metadata"`
	Items json.RawMessage `json:"items"`
}

type object struct {
	Kind     string `json:"kind"`
	Version  string `json:"apiVersion"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
		Owners    []struct {
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Spec struct {
		podSpec                  // of a pod
		Template    *podTemplate `json:"template"`
		JobTemplate *jobTemplate `json:"jobTemplate"`
		Replicas    *int64       `json:"replicas"`
	} `json:"spec"`
	Template *podTemplate `json:"template"` // of a PodTemplate
	Status   podStatus    `json:"status"`
}

type jobTemplate struct {
	Spec struct {
		Template *podTemplate `json:"template"`
	} `json:"spec"`
}

type podTemplate struct {
	Spec podSpec `json:"spec"`
}

type podSpec struct {
	Containers          []container `json:"containers"`
	InitContainers      []container `json:"initContainers"`
	EphemeralContainers []container `json:"ephemeralContainers"`
	Volumes             []struct {
		Name  string `json:"name"`
		Image *struct {
			Reference string `json:"reference"`
		} `json:"image"`
	} `json:"volumes"`
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type podStatus struct {
	Phase                      string            `json:"phase"`
	StartTime                  time.Time         `json:"startTime"`
	ContainerStatuses          []containerStatus `json:"containerStatuses"`
	InitContainerStatuses      []containerStatus `json:"initContainerStatuses"`
	EphemeralContainerStatuses []containerStatus `json:"ephemeralContainerStatuses"`
}

type containerStatus struct {
	Name    string `json:"name"`
	ImageID string `json:"imageID"`
	State   struct {
		Running *struct {
			StartedAt time.Time `json:"startedAt"`
		} `json:"running"`
	} `json:"state"`
	VolumeMounts []struct {
		Name   string `json:"name"`
		Status *struct {
			Image *struct {
				Ref string `json:"imageRef"`
			} `json:"image"`
		} `json:"volumeStatus"`
	} `json:"volumeMounts"`
}

// templates finds the pod template of each kind of workload. Groups of the API that have other kinds of the same names
// (Volcano's Job) are not meant.
var templates = map[string]struct {
	groups string
	of     func(*object) *podTemplate
}{
	"Deployment":            {"apps extensions", ofSpec},
	"ReplicaSet":            {"apps extensions", ofSpec},
	"DaemonSet":             {"apps extensions", ofSpec},
	"StatefulSet":           {"apps", ofSpec},
	"ReplicationController": {"v1", ofSpec},
	"Job":                   {"batch", ofSpec},
	"CronJob": {"batch", func(o *object) *podTemplate {
		if o.Spec.JobTemplate == nil {
			return nil
		}
		return o.Spec.JobTemplate.Spec.Template
	}},
	"PodTemplate": {"v1", func(o *object) *podTemplate { return o.Template }},
	"Pod":         {"v1", func(o *object) *podTemplate { return &podTemplate{Spec: o.Spec.podSpec} }},
}

func ofSpec(o *object) *podTemplate { return o.Spec.Template }

// imageless are what else `kubectl get all` lists.
var imageless = []string{"Service", "HorizontalPodAutoscaler"}

func (p *parser) kubernetes() error {
	var l listing
	dec := json.NewDecoder(bytes.NewReader(p.data))
	if err := dec.Decode(&l); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return p.json(0, int(syntax.Offset), err)
		}
		return p.json(0, 0, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return p.fail(int(dec.InputOffset()), errors.New("something stands behind the end of the list"))
	}
	if l.Kind == "" || l.Version == "" {
		return p.fail(0, errors.New(`it is an object, and none of Kubernetes' ("kind" and "apiVersion" are missing): a list of images is a JSON array`))
	}
	p.list.Kubernetes = true
	kind, ok := strings.CutSuffix(l.Kind, "List")
	if !ok {
		var o object
		if err := json.Unmarshal(p.data, &o); err != nil {
			return p.fail(0, err)
		}
		return p.at(0, p.object(&o))
	}
	switch {
	case l.Metadata.Continue != "" || l.Metadata.Remaining != nil && *l.Metadata.Remaining > 0:
		return p.fail(0, errors.New("the list goes on: it is one page of several, and the others are missing"))
	case len(l.Items) == 0 || l.Items[0] != '[':
		return p.fail(0, fmt.Errorf("the %s has no items", clip(l.Kind)))
	}
	return p.each(l.Items, max(0, bytes.Index(p.data, l.Items)), func(dec *json.Decoder) error {
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return err
		}
		// Objects of other kinds have fields of other types; which kind it is has to be known first.
		var head struct {
			Kind    string `json:"kind"`
			Version string `json:"apiVersion"`
		}
		if err := json.Unmarshal(raw, &head); err != nil {
			return err
		}
		if head.Kind == "" { // the API leaves out what the list says
			head.Kind, head.Version = kind, l.Version
		}
		if slices.Contains(imageless, head.Kind) {
			return nil
		}
		if _, ok := templates[head.Kind]; !ok {
			return unknownKind(head.Kind, head.Version)
		}
		var o object
		if err := json.Unmarshal(raw, &o); err != nil {
			return err
		}
		o.Kind, o.Version = head.Kind, head.Version
		return p.object(&o)
	})
}

func (p *parser) at(offset int, err error) error {
	if err != nil {
		return p.fail(offset, err)
	}
	return nil
}

func unknownKind(kind, version string) error {
	return fmt.Errorf("%q of %q is nothing that images are known of: list pods, deployments, statefulsets, daemonsets, replicasets, "+
		"replicationcontrollers, jobs, cronjobs and podtemplates only", clip(kind), clip(version))
}

// object takes the images of one object.
func (p *parser) object(o *object) error {
	known, ok := templates[o.Kind]
	group, _, _ := strings.Cut(o.Version, "/")
	if !ok || !slices.Contains(strings.Fields(known.groups), group) {
		return unknownKind(o.Kind, o.Version)
	}
	resource := o.Metadata.Namespace + "/" + o.Kind + "/" + o.Metadata.Name
	if o.Metadata.Name == "" {
		return fmt.Errorf("a %s has no name", o.Kind)
	}
	template := known.of(o)
	if template == nil || len(template.Spec.Containers) == 0 {
		return fmt.Errorf("%q has no containers", clip(resource))
	}
	p.list.Kinds = insert(p.list.Kinds, o.Kind)
	p.list.Namespaces = insert(p.list.Namespaces, o.Metadata.Namespace)
	// A deployment keeps the replica sets of its history to go back to.
	e := Entry{Resource: resource, Rollback: o.Kind == "ReplicaSet" && len(o.Metadata.Owners) > 0 && o.Spec.Replicas != nil && *o.Spec.Replicas == 0}
	status, what := &podStatus{}, ""
	if o.Kind == "Pod" {
		status = &o.Status
		for _, owner := range o.Metadata.Owners { // all pods of a controller are one use
			if owner.Controller && owner.Kind != "" && owner.Name != "" {
				e.Resource, what = o.Metadata.Namespace+"/"+owner.Kind+"/"+owner.Name, "pod's "
			}
		}
	}
	if err := p.pod(e, what, &template.Spec, status); err != nil {
		return fmt.Errorf("%q: %w", clip(resource), err)
	}
	return nil
}

// pod takes the images of a pod or, with an empty status, of a template. The words of its uses begin with what.
func (p *parser) pod(e Entry, what string, spec *podSpec, status *podStatus) error {
	for _, c := range []struct {
		part       string
		containers []container
		statuses   []containerStatus
	}{
		{"container ", spec.Containers, status.ContainerStatuses},
		{"init container ", spec.InitContainers, status.InitContainerStatuses},
		{"ephemeral container ", spec.EphemeralContainers, status.EphemeralContainerStatuses},
	} {
		told := map[string]*containerStatus{}
		for i := range c.statuses {
			told[c.statuses[i].Name] = &c.statuses[i]
		}
		for _, container := range c.containers {
			e.Detail = what + c.part + container.Name
			s := told[container.Name]
			delete(told, container.Name)
			if s == nil {
				s = &containerStatus{}
			}
			if err := p.container(e, container.Image, s); err != nil {
				return err
			}
		}
		for name, s := range told { // of what the specification does not have any more
			e.Detail = what + c.part + name
			if err := p.container(e, "", s); err != nil {
				return err
			}
		}
	}
	mounted := map[string]string{}
	for _, s := range slices.Concat(status.ContainerStatuses, status.InitContainerStatuses, status.EphemeralContainerStatuses) {
		for _, m := range s.VolumeMounts {
			if m.Status != nil && m.Status.Image != nil {
				mounted[m.Name] = m.Status.Image.Ref
			}
		}
	}
	for _, v := range spec.Volumes {
		if v.Image == nil {
			continue
		}
		e.Detail = what + "image volume " + v.Name
		var since time.Time
		if status.Phase == "Running" {
			since = status.StartTime
		}
		if err := p.run(e, v.Image.Reference, mounted[v.Name], since); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) container(e Entry, text string, s *containerStatus) error {
	var since time.Time
	if s.State.Running != nil {
		since = s.State.Running.StartedAt
	}
	return p.run(e, text, s.ImageID, since)
}

// run takes an image as it was asked for and as the container runtime says that it is: "NAME@DIGEST", where the name may
// be that of a mirror or of another repository that has the image too. An id without a name is not the image's digest in
// a registry: then nobody knows what runs from a tag since the container was started.
func (p *parser) run(e Entry, text, id string, since time.Time) error {
	asked, err := image.ParseRef(text)
	isECR := err == nil
	if !isECR && !errors.Is(err, image.ErrNotECR) {
		return err
	}
	if _, rest, ok := strings.Cut(id, "://"); ok { // docker-pullable://
		id = rest
	}
	_, digest, named := strings.Cut(id, "@")
	var ran image.Ref
	fromECR := false
	if named {
		ran, err = image.ParseRef(id)
		fromECR = err == nil
		if !fromECR && !errors.Is(err, image.ErrNotECR) {
			return err
		}
	}
	if !isECR && !fromECR {
		p.list.Skipped++
		return nil
	}
	if isECR {
		if asked.Digest == "" && named {
			if asked.Digest, err = image.ParseDigest(digest); err != nil {
				return fmt.Errorf("image id %q: %w", clip(id), err)
			}
		} else if asked.Digest == "" {
			e.Since = since
		}
		e.Ref = clone(asked)
		if err := p.put(e); err != nil {
			return err
		}
	}
	if fromECR && (!isECR || ran.Repository != asked.Repository || ran.Digest != asked.Digest) {
		e.Ref, e.Since = clone(ran), time.Time{}
		return p.put(e)
	}
	return nil
}

// insert adds to a sorted list what is not in it yet.
func insert(list []string, s string) []string {
	i, found := slices.BinarySearch(list, s)
	if found {
		return list
	}
	return slices.Insert(list, i, strings.Clone(s))
}
