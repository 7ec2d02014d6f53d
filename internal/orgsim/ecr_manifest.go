package orgsim

import (
	"encoding/json"
	"slices"
)

// The media types of manifests that the simulated registry takes.
const (
	mediaDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	mediaDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	mediaOCIManifest    = "application/vnd.oci.image.manifest.v1+json"
	mediaOCIIndex       = "application/vnd.oci.image.index.v1+json"
)

// ecrManifest is what is read of an image manifest or index.
//
// https://github.com/opencontainers/image-spec/blob/main/manifest.md and image-index.md
type ecrManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *ecrDescriptor    `json:"config"`
	Layers        []ecrDescriptor   `json:"layers"`
	Manifests     []ecrDescriptor   `json:"manifests"`
	Subject       *ecrDescriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

type ecrDescriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Platform  *struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	} `json:"platform"`
}

// parseManifest reads a manifest. The media type that a caller declares and the one the manifest carries must not
// contradict each other, and one of them must be there; its kind must be that of its content.
func parseManifest(raw []byte, declared string) (*ecrManifest, error) {
	invalid := func(format string, args ...any) error {
		return errorf("InvalidParameterException", "Invalid parameter at 'ImageManifest' failed to satisfy constraint: '"+format+"'", args...)
	}
	m := new(ecrManifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, invalid("Invalid JSON syntax")
	}
	if m.SchemaVersion != 2 {
		return nil, invalid("Unsupported schemaVersion %d", m.SchemaVersion)
	}
	switch {
	case m.MediaType == "" && declared == "":
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'ImageManifestMediaType' failed to satisfy constraint: 'imageManifestMediaType must be specified for an image manifest without mediaType'")
	case m.MediaType == "":
		m.MediaType = declared
	case declared != "" && declared != m.MediaType:
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'ImageManifestMediaType' failed to satisfy constraint: '%s does not match the mediaType %s of the image manifest'", declared, m.MediaType)
	}
	switch m.MediaType {
	case mediaDockerManifest, mediaOCIManifest:
		if m.Config == nil || m.Manifests != nil {
			return nil, invalid("Image manifest must have config and layers, and no manifests")
		}
	case mediaDockerList, mediaOCIIndex:
		if m.Config != nil || m.Layers != nil || m.Manifests == nil {
			return nil, invalid("Manifest list must have manifests, and no config or layers")
		}
	default:
		return nil, invalid("Unsupported manifest media type %s", m.MediaType)
	}
	descriptors := slices.Concat(m.Layers, m.Manifests)
	for _, d := range []*ecrDescriptor{m.Config, m.Subject} {
		if d != nil {
			descriptors = append(descriptors, *d)
		}
	}
	for _, d := range descriptors {
		if _, ok := parseDigest(d.Digest); !ok || d.Size < 0 {
			return nil, invalid("Invalid descriptor with digest '%s' and size %d", d.Digest, d.Size)
		}
	}
	return m, nil
}

func (m *ecrManifest) isIndex() bool {
	return m.MediaType == mediaDockerList || m.MediaType == mediaOCIIndex
}

// size of a single image: its config and layers, compressed, as pushed.
func (m *ecrManifest) size() int64 {
	n := m.Config.Size
	for _, l := range m.Layers {
		n += l.Size
	}
	return n
}

// artifactMediaType says what a single image holds: its artifactType, or else the type of its config.
func (m *ecrManifest) artifactMediaType() string {
	if m.ArtifactType == "" && m.Config != nil {
		return m.Config.MediaType
	}
	return m.ArtifactType
}

// platformChild is the child a machine of this architecture pulls of an index; false if it has none.
func (m *ecrManifest) platformChild(arch string) (imageDigest, bool) {
	for _, d := range m.Manifests {
		if d.Platform != nil && d.Platform.Architecture == arch {
			return parseDigest(d.Digest)
		}
	}
	return imageDigest{}, false
}
