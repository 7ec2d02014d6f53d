// Package journal is the vocabulary of what a sweep did: the records that are written before and after each call that
// deletes, and what they add up to.
//
// It holds values only, and talks to nobody: internal/sweep writes records, internal/store keeps them, report shows what
// they amount to. It must never lose an image: every image that a sweep was to delete is deleted, skipped, failed or
// left, and it says which.
package journal

import (
	"time"

	"demurrage/internal/image"
)

// Kind is what a record is about.
type Kind string

// The kinds of records, in the order in which they come.
const (
	KindBegin   Kind = "begin"   // somebody begins a sweep, or goes on with one
	KindSkip    Kind = "skip"    // images of a repository that are left alone, and why
	KindIntent  Kind = "intent"  // a call is about to be sent
	KindOutcome Kind = "outcome" // what became of a call
	KindEnd     Kind = "end"     // everything is accounted for
)

// Record is a line of a journal.
type Record struct {
	Kind  Kind      `json:"kind"`
	At    time.Time `json:"at"`
	Fence int64     `json:"fence,omitempty"` // number of the lock under which it was written

	Begin *Begin `json:"begin,omitempty"`

	// Of skips, intents and outcomes.
	Account    string  `json:"account,omitempty"`
	Region     string  `json:"region,omitempty"`
	Repository string  `json:"repository,omitempty"`
	Call       int     `json:"call,omitempty"`  // of an intent and its outcome, which have the same number; no other call of the sweep has it
	Role       string  `json:"role,omitempty"`  // ARN of the role that the call is made with
	Error      string  `json:"error,omitempty"` // of the call as a whole; of images that are left alone, why, where that is the same for all
	Images     []Image `json:"images,omitempty"`

	End *End `json:"end,omitempty"`
}

// Repo is the repository that a record is about.
func (r *Record) Repo() image.Repository {
	return image.Repository{Registry: image.Registry{Account: r.Account, Region: r.Region}, Name: r.Repository}
}

// Begin says who sweeps, by which plan, and after which look.
type Begin struct {
	Sweep      string    `json:"sweep"`
	Who        string    `json:"who"` // ARN of the hub's identity
	Host       string    `json:"host"`
	PID        int       `json:"pid"`
	Version    string    `json:"version"`
	Config     string    `json:"config_sha256"`
	Plan       Plan      `json:"plan"`
	Run        string    `json:"run_id"` // the scan whose plan the saved one was intersected with
	Incomplete bool      `json:"incomplete,omitempty"`
	Filters    []string  `json:"filters,omitempty"`
	StartedAt  time.Time `json:"started_at"`
	DryRun     bool      `json:"dry_run,omitempty"`
	// PlannedIn is what is to be accounted for: what the saved plan deletes within the filters, and what an earlier attempt
	// has deleted beyond it.
	PlannedIn []Planned `json:"planned"`
}

// Planned is what is to be accounted for in a registry.
type Planned struct {
	Account string `json:"account"`
	Region  string `json:"region"`
	Tally
}

// Plan says which plan is applied.
type Plan struct {
	SHA256      string    `json:"sha256"` // of the file; of a plan that was made and shown by the same command, "run:" and its run
	Run         string    `json:"run_id"`
	GeneratedAt time.Time `json:"generated_at"`
}

// End closes a sweep.
type End struct {
	// Abandoned says why it ended before everything was done, "" where everything was.
	Abandoned string `json:"abandoned,omitempty"`
}

// State is what became of an image.
type State string

// The states. An image that has none is left: it is still to be done.
const (
	Deleted State = "deleted"
	Skipped State = "skipped"
	Failed  State = "failed"
)

// Image is one image of a record.
type Image struct {
	Digest image.Digest `json:"digest"`
	Bytes  int64        `json:"bytes,omitempty"` // as the plan counts them: 0 for an index
	Tags   []string     `json:"tags,omitempty"`
	Why    string       `json:"why,omitempty"`    // of an intent: why it goes
	State  State        `json:"state,omitempty"`  // of a skip and an outcome
	Code   Code         `json:"code,omitempty"`   // of what is not deleted; ECR's failure code where ECR refused
	Detail string       `json:"detail,omitempty"` // the same in words
}

// Code says why an image was not deleted. Those of ECR (ImageReferencedByManifestList) stand beside these.
type Code string

// The codes of what is skipped.
const (
	DryRun         Code = "dry-run"         // it would have been deleted
	NotEnforced    Code = "not-enforced"    // its account has no enforce = true
	NotDeletable   Code = "not-deletable"   // a fresh plan keeps or blocks it
	Unconfirmed    Code = "unconfirmed"     // no earlier complete run, confirm_after older, found it deletable
	LastRoot       Code = "last-root"       // its repository would be empty
	RelativeStays  Code = "relative-stays"  // an index, a subject or a referrer of it is not deleted
	Changed        Code = "changed"         // the look just before the deletion keeps it
	NotLooked      Code = "not-looked"      // that look could not be taken, or not of all that could use it
	Gone           Code = "gone"            // somebody else has deleted it
	AccountStopped Code = "account-stopped" // too many failures in a row in its account
)

// The codes of failures that are not ECR's own.
const (
	CallFailed Code = "call-failed" // the call as a whole
	NoAnswer   Code = "no-answer"   // ECR answered, but not for this image
)

// Brake reports whether the code stands for a brake, which a person may loosen, rather than for something that changed.
func (c Code) Brake() bool {
	return c == NotEnforced || c == Unconfirmed || c == LastRoot
}

// Tally counts images and their bytes.
type Tally struct {
	Images int   `json:"images"`
	Bytes  int64 `json:"bytes"`
}

// Add adds another tally.
func (t *Tally) Add(o Tally) { t.Images += o.Images; t.Bytes += o.Bytes }
