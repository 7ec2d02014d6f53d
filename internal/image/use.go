package image

import (
	"cmp"
	"time"
)

// Use says that one resource uses one image, and who found that out.
type Use struct {
	Ref      Ref    `json:"ref"`
	Source   string `json:"source"`  // kind of resource: "ecs-task", "ecs-service", "lambda-function", …
	Account  string `json:"account"` // where the resource is
	Region   string `json:"region"`
	Resource string `json:"resource"`         // ARN
	Detail   string `json:"detail,omitempty"` // why, in words: "container app, deployment PRIMARY"
	Live     bool   `json:"live,omitempty"`   // something runs or will be started from it; otherwise it is kept for a rollback
	// Since is set where something runs from a tag and does not say which digest that was: the time from which on it
	// does. The tag may have moved since, to a newer image or back to an older one, so nobody knows what runs.
	Since time.Time `json:"since,omitzero"`
	// Unknown says why nobody can tell which image of the repository is meant: its tag is computed at run time, say. Any
	// of them could be.
	Unknown string `json:"unknown,omitempty"`
	// Through is the repository that is really named where the image is pulled through the cache of another registry:
	// its reference then is what that cache pulls from.
	Through string `json:"through,omitempty"`
}

// CompareUses is a total order: live ones first, then by source, place, resource, reference and detail.
func CompareUses(a, b Use) int {
	if a.Live != b.Live {
		if a.Live {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region),
		cmp.Compare(a.Resource, b.Resource), CompareRefs(a.Ref, b.Ref), cmp.Compare(a.Detail, b.Detail), a.Since.Compare(b.Since), cmp.Compare(a.Unknown, b.Unknown), cmp.Compare(a.Through, b.Through))
}

// CoverageStatus says whether a source was looked at.
type CoverageStatus string

// The statuses of a source in a target. Only Failed blocks.
const (
	CoverageOK          CoverageStatus = "ok"
	CoverageUnavailable CoverageStatus = "unavailable" // the service does not exist in that region
	CoverageAttested    CoverageStatus = "attested"    // not read, but a person vouches that nothing there uses images
	CoverageFailed      CoverageStatus = "failed"
)

// SourceECR is the one source that reads registries.
const SourceECR = "ecr"

// SourceIAM is the one source that reads who may become somebody else. It finds no uses either: without it, any account
// that could not be looked at may have a role here.
const SourceIAM = "iam"

// SourceMirrors is the one source that reads what pull-through caches pull from.
const SourceMirrors = "pull-through-cache"

// Coverage is what became of one source in one target.
type Coverage struct {
	Account string         `json:"account"`
	Region  string         `json:"region"` // "*": the account's regions could not be found out
	Source  string         `json:"source"`
	Status  CoverageStatus `json:"status"`
	Error   string         `json:"error"`
	Unread  bool           `json:"-"` // failed before anything of the source was read (the role, the region, the run)
}

// CompareCoverage orders by account, region and source.
func CompareCoverage(a, b Coverage) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Source, b.Source))
}
