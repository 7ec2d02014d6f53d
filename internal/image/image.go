// Package image is demurrage's vocabulary: registries, repositories, parsed image references, digests, images,
// the graph between them, and the two facts that a scan brings home: who uses what (Use) and what was looked at
// (Coverage).
//
// It holds values only. It imports nothing else of demurrage, talks to nobody, and compares values, never the
// strings they were parsed from.
package image

import (
	"cmp"
	"time"
)

// Image is one manifest in a repository, as DescribeImages (and, for an index, its manifest) tells.
type Image struct {
	Digest       Digest    `json:"d"`
	Tags         []string  `json:"t,omitempty"` // sorted
	Bytes        int64     `json:"b,omitempty"` // ImageSizeInBytes; of an index: its largest child's, so never to be added to them
	PushedAt     time.Time `json:"p"`
	LastPulledAt time.Time `json:"u,omitzero"` // lastRecordedPullTime, without demurrage's own reads; zero: none recorded
	ArchivedAt   time.Time `json:"h,omitzero"` // lastArchivedAt
	ActivatedAt  time.Time `json:"v,omitzero"` // lastActivatedAt: restored from the archive
	MediaType    string    `json:"m,omitempty"`
	ArtifactType string    `json:"a,omitempty"`
	Status       Status    `json:"s,omitempty"` // "" is ACTIVE
	Subject      Digest    `json:"r,omitempty"` // OCI 1.1 subject: this image is a referrer of it
	Children     []Digest  `json:"c,omitempty"` // of an index
	Unreadable   string    `json:"e,omitempty"` // why the manifest of what is or may be an index could not be read
}

// Status is an image's storage status. The zero value is ACTIVE.
type Status string

// The statuses of the ECR API (ImageStatus), as stored here.
const (
	Active     Status = ""
	Archived   Status = "ARCHIVED"
	Activating Status = "ACTIVATING"
)

// The manifest media types that are known to have no children, and those that are indexes. Any other type has to
// be read before anything can be said about it.
const (
	MediaTypeOCIIndex     = "application/vnd.oci.image.index.v1+json"
	MediaTypeDockerIndex  = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeOCIManifest  = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeDockerV2     = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerV1     = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeDockerSigned = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	MediaTypeOCIArtifact  = "application/vnd.oci.artifact.manifest.v1+json"
)

// Childless reports whether an image of this media type cannot have children, so that its manifest need not be read.
func Childless(mediaType string) bool {
	switch mediaType {
	case MediaTypeOCIManifest, MediaTypeDockerV2, MediaTypeDockerV1, MediaTypeDockerSigned, MediaTypeOCIArtifact:
		return true
	}
	return false
}

// IsIndex reports whether the image is an index (a manifest list): it has no bytes of its own worth counting.
func (i *Image) IsIndex() bool {
	return i.MediaType == MediaTypeOCIIndex || i.MediaType == MediaTypeDockerIndex || len(i.Children) > 0
}

// OwnBytes is what the image adds to its repository: its size, and 0 for an index, whose children carry the bytes.
func (i *Image) OwnBytes() int64 {
	if i.IsIndex() {
		return 0
	}
	return i.Bytes
}

// Inventory is one repository with all of its images, archived ones included.
type Inventory struct {
	Repository Repository        `json:"repository"`
	CreatedAt  time.Time         `json:"created_at,omitzero"`
	Tags       map[string]string `json:"tags,omitempty"`       // resource tags, for the report
	HasPolicy  bool              `json:"has_policy,omitempty"` // others may be able to pull: a policy exists, or could not be read
	Policy     string            `json:"policy,omitempty"`
	Lifecycle  Lifecycle         `json:"lifecycle,omitempty"`
	Expires    string            `json:"expires,omitempty"` // the text of its lifecycle policy
	Errors     []string          `json:"errors,omitempty"`  // what could not be read; with any of these nothing in it is deletable
	Images     []Image           `json:"images"`            // sorted by Compare
}

// Lifecycle says whether a repository has a lifecycle policy; "": nobody knows.
type Lifecycle string

// The answers.
const (
	LifecycleSome Lifecycle = "some"
	LifecycleNone Lifecycle = "none"
)

// Compare orders images as every output lists them: by push time, then digest.
func Compare(a, b Image) int {
	if c := a.PushedAt.Compare(b.PushedAt); c != 0 {
		return c
	}
	return cmp.Compare(a.Digest, b.Digest)
}
