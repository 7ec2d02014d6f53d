package scan

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"demurrage/internal/image"
)

// object records the images of one object of a cluster.
func (c *eksCluster) object(kind *kubeKind, o *kubeObject) {
	live, state := o.state(kind.name)
	u := image.Use{Source: "eks-" + kind.name, Resource: c.resource(o, kind.name, o.Metadata.Name), Live: live}
	switch kind.name {
	case "pod":
		c.pod(u, state, o)
	case "controllerrevision":
		u.Detail = state
		c.revision(u, o)
	case "podtemplate":
		if o.Template != nil {
			c.template(u, state, &o.Template.Spec)
		}
	case "cronjob":
		if o.Spec.JobTemplate != nil {
			c.template(u, state, &o.Spec.JobTemplate.Spec.Template.Spec)
		}
	default:
		if o.Spec.Template != nil {
			c.template(u, state, &o.Spec.Template.Spec)
		}
	}
}

func (c *eksCluster) resource(o *kubeObject, kind, name string) string {
	return c.arn + "/" + o.Metadata.Namespace + "/" + kind + "/" + name
}

// state says whether something runs or will be started from an object as it is now, and in words why not.
func (o *kubeObject) state(kind string) (live bool, why string) {
	switch kind {
	case "pod":
		if o.Status.Phase == "Succeeded" || o.Status.Phase == "Failed" {
			return false, "finished"
		}
	case "job":
		for _, condition := range o.Status.Conditions {
			if (condition.Type == "Complete" || condition.Type == "Failed") && condition.Status == "True" {
				return false, "finished"
			}
		}
	case "controllerrevision":
		return false, fmt.Sprintf("revision %d", o.Revision)
	case "podtemplate":
		return false, ""
	}
	if o.Spec.Suspend {
		return false, "suspended"
	}
	if o.Spec.Replicas != nil && *o.Spec.Replicas == 0 {
		return false, "scaled to zero"
	}
	return true, ""
}

// parts calls f for every image of a pod, with what it is in words: "container app", "image volume models".
func (p *kubePodSpec) parts(f func(part, name, text string)) {
	for _, group := range []struct {
		word       string
		containers []kubeContainer
	}{{"init container ", p.InitContainers}, {"container ", p.Containers}, {"ephemeral container ", p.EphemeralContainers}} {
		for _, container := range group.containers {
			f(group.word, container.Name, container.Image)
		}
	}
	for _, v := range p.Volumes {
		if v.Image != nil {
			f("image volume ", v.Name, v.Image.Reference)
		}
	}
}

func (c *eksCluster) template(u image.Use, state string, spec *kubePodSpec) {
	spec.parts(func(part, name, text string) {
		u.Detail = detail(part+name, state)
		c.image(u, text, "")
	})
}

func detail(what, state string) string {
	if state == "" {
		return what
	}
	return what + ", " + state
}

// image records the image that a text names.
func (c *eksCluster) image(u image.Use, text, digest string) {
	refs, err := c.resolve(text, digest)
	if err != nil {
		c.fail(u.Source[len("eks-"):], u.Resource, err)
	}
	c.record(u, refs)
}

// revision records every image that an old state of a workload names. What is in it is up to the controller that wrote
// it: daemon sets and stateful sets return to it, other controllers keep theirs in other shapes.
func (c *eksCluster) revision(u image.Use, o *kubeObject) {
	var data any
	if len(o.Data) == 0 {
		return
	}
	if err := json.Unmarshal(o.Data, &data); err != nil {
		c.fail("controllerrevision", u.Resource, err)
		return
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for key, e := range v {
				text, ok := e.(string)
				if ok && (key == "image" || key == "reference") {
					c.image(u, text, "")
				}
				walk(e)
			}
		}
	}
	walk(data)
}

// pod records what a pod was made from and what runs of it. The digest that the node reports counts beside the tag, which
// may have moved since. Pods of a controller are all the same use, of the controller.
func (c *eksCluster) pod(u image.Use, state string, o *kubeObject) {
	for _, owner := range o.Metadata.OwnerReferences {
		if owner.Controller {
			u.Resource = c.resource(o, strings.ToLower(owner.Kind), owner.Name)
		}
	}
	running := make(map[string]kubeContainerStatus)
	mounted := make(map[string]string) // volumes: what the node reports
	for _, group := range [][]kubeContainerStatus{o.Status.InitContainerStatuses, o.Status.ContainerStatuses, o.Status.EphemeralContainerStatuses} {
		for _, status := range group {
			running[status.Name] = status
			for _, v := range status.VolumeMounts {
				if v.Status.Image.Ref != "" {
					mounted[v.Name] = v.Status.Image.Ref
				}
			}
		}
	}
	o.Spec.parts(func(part, name, text string) {
		u := u
		u.Detail = detail("pod's "+part+name, state)
		status := running[name]
		id := status.ImageID
		since := status.State.Running != nil
		if since {
			u.Since = status.State.Running.StartedAt.UTC()
		}
		if part == "image volume " {
			id = mounted[name]
			since = o.Status.Phase == "Running"
			u.Since = o.Status.StartTime.UTC()
		}
		repository, digest := imageID(id)
		if digest != "" || !since || !u.Live {
			u.Since = time.Time{}
		}
		c.image(u, text, digest)
		c.cached(u, text, repository, digest)
	})
}

// cached records what the node reports where that is another repository: one that the same image was pulled from before.
func (c *eksCluster) cached(u image.Use, text, repository, digest string) {
	if digest == "" {
		return
	}
	refs, err := c.resolve(repository+"@"+digest, "")
	if err != nil {
		c.fail("pod", u.Resource, err)
	}
	if len(refs) == 0 {
		return
	}
	if asked, err := c.resolve(text, ""); err == nil && len(asked) > 0 && asked[0].Repository == refs[0].Repository {
		return
	}
	c.record(u, refs)
}

// imageID takes apart what a node reports of the image of a container: docker-pullable://REPOSITORY@DIGEST or
// REPOSITORY@DIGEST. What has no repository is the digest of the image's configuration, which is no name of it.
func imageID(id string) (repository, digest string) {
	if _, rest, ok := strings.Cut(id, "://"); ok {
		id = rest
	}
	repository, digest, _ = strings.Cut(id, "@")
	if digest == "" {
		return "", ""
	}
	return repository, digest
}
