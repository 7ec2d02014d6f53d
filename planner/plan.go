package planner

import (
	"iter"
	"time"

	"demurrage/internal/image"
)

// Action is what is to become of an image.
type Action string

// The actions. A reason to keep always wins over a reason to block, and both over a reason to delete.
const (
	Keep    Action = "keep"
	Delete  Action = "delete"
	Blocked Action = "blocked" // it would be deleted but for something unknown
)

// Code names a reason. A code keeps its meaning for ever.
type Code string

// The reason codes of the plan JSON contract, by the action they lead to.
const (
	InUse          Code = "in-use"
	ChildOfKept    Code = "child-of-kept"
	IndexOfKept    Code = "index-of-kept"   // an index that holds a used image
	SubjectOfKept  Code = "subject-of-kept" // the subject of a used referrer: ECR removes referrers with their subject
	ReferrerOfKept Code = "referrer-of-kept"
	PulledRecently Code = "pulled-recently"
	WithinExpiry   Code = "within-expiry"
	MinAge         Code = "min-age"
	KeepCount      Code = "keep-count"
	KeepTag        Code = "keep-tag"
	NoRule         Code = "no-rule"

	CoverageGap        Code = "coverage-gap"
	UnscannedConsumer  Code = "unscanned-consumer"
	UnreadableManifest Code = "unreadable-manifest"
	ChildOfBlocked     Code = "child-of-blocked"
	ReferrerOfBlocked  Code = "referrer-of-blocked"

	Expired           Code = "expired"
	UntaggedExpired   Code = "untagged-expired"
	ChildOfDeleted    Code = "child-of-deleted"
	ReferrerOfDeleted Code = "referrer-of-deleted"
)

// Reason is one ground for a decision, with its evidence: the resource that uses the image, the gap that blocks it,
// the rule that it falls under or the relative whose fate it shares.
type Reason struct {
	Code     Code   `json:"code"`
	Detail   string `json:"detail"`
	Source   string `json:"source,omitempty"`
	Account  string `json:"account,omitempty"`
	Region   string `json:"region,omitempty"`
	Resource string `json:"resource,omitempty"`
}

// Decision is what becomes of one image, with every reason for it. Where the action is Keep, the reasons are those
// to keep; where it is Blocked, those that block; where it is Delete, why it goes.
type Decision struct {
	Image   *image.Image
	Action  Action
	Reasons []Reason
}

// Tally counts images and their bytes. Indexes count as images and weigh nothing: their children carry the bytes.
type Tally struct {
	Images int   `json:"images"`
	Bytes  int64 `json:"bytes"`
}

func (t *Tally) add(o Tally) { t.Images += o.Images; t.Bytes += o.Bytes }

// Count is a tally by action.
type Count struct{ Keep, Delete, Blocked Tally }

// Total is the tally of all actions.
func (c Count) Total() Tally {
	t := c.Keep
	t.add(c.Delete)
	t.add(c.Blocked)
	return t
}

// Add sums two counts.
func (c *Count) Add(o Count) { c.Keep.add(o.Keep); c.Delete.add(o.Delete); c.Blocked.add(o.Blocked) }

func (c *Count) count(d Decision) {
	t := Tally{1, d.Image.OwnBytes()}
	switch d.Action {
	case Keep:
		c.Keep.add(t)
	case Delete:
		c.Delete.add(t)
	case Blocked:
		c.Blocked.add(t)
	}
}

// RepositoryPlan is the plan of one repository: a decision for each of its images.
type RepositoryPlan struct {
	RepositorySummary
	Decisions  []Decision       // exactly one an image, in the order of image.Compare
	Broken     []image.Use      // uses that point into the repository at an image that is gone
	AllowEmpty bool             // the rule lets the last image go too
	KeepTags   []image.Pattern  // of tags that the rule keeps, today's and tomorrow's
	Inventory  *image.Inventory // what it was planned from

	gate gate
}

// Unknown reports whether something that could use images of the repository was not looked at. Where it was not, images
// that only a rule keeps may be in use as well.
func (p *RepositoryPlan) Unknown() bool { return len(p.gate.reasons) > 0 }

// RepositorySummary is what is said of a repository without its images.
type RepositorySummary struct {
	Repository image.Repository
	Tags       map[string]string // its resource tags
	HasPolicy  bool
	Rule       string // the name or pattern of the rule that judges it; "" where none does
	Count      Count
	Untagged   Tally // roots without a tag
	LastPush   time.Time
	LastPull   time.Time // zero: no pull is on record
	Errors     []string
}

// Gap is something that could not be looked at, or looked at only in part, as one person can mend it: an account
// that refused the role (with all of its regions and sources), a source that failed in a region, an account of the
// organization that is not scanned.
type Gap struct {
	Account string   `json:"account"`
	Regions []string `json:"regions,omitempty"` // sorted
	Sources []string `json:"sources,omitempty"` // sorted
	Error   string   `json:"error"`
	// Unscanned: the account exists in the organization and is not in the scan.
	Unscanned bool `json:"unscanned,omitempty"`
	// HoldsBack counts the images that are blocked and that this gap is one reason for; Unblocks those that it alone
	// blocks, so that mending or attesting it is enough.
	HoldsBack         Tally            `json:"holds_back"`
	Unblocks          Tally            `json:"unblocks"`
	UnblocksPerRegion map[string]int64 `json:"-"` // bytes of Unblocks by the region that stores them, to price them
}

// Unscanned is an account of the organization that nobody looks at: excluded, suspended, outside the chosen OUs.
type Unscanned struct {
	Account string `json:"account"`
	Name    string `json:"name,omitempty"`
	State   string `json:"state,omitempty"`
	Why     string `json:"why"`
}

// Outside is how many accounts are neither scanned nor vouched for.
func (p *Plan) Outside() int {
	n := 0
	for i := range p.Gaps {
		if p.Gaps[i].Unscanned {
			n++
		}
	}
	return n
}

// Attested is an attestation in force, with what it stood in for in this run.
type Attested struct {
	Attestation
	Used int // how many failed sources and unscanned accounts it covers
}

// Plan is the whole plan of a run without its images, which Repositories yields anew each time, one repository at a
// time, so that a plan needs memory for its uses and its largest repository only.
type Plan struct {
	Now          time.Time // what ages are counted from
	Complete     bool      // no coverage entry is failed
	Coverage     []image.Coverage
	Gaps         []Gap // those that hold back most bytes first
	Unscanned    []Unscanned
	Attestations []Attested
	Broken       []image.Use // live before latent
	Notes        []image.Note
	Count        Count
	Summaries    []RepositorySummary // by account, region, name

	Repositories iter.Seq2[*RepositoryPlan, error]
}
