// Package lifecycle evaluates Amazon ECR lifecycle policies the way that ECR does, without asking ECR: which images
// of a repository a policy would take now, which ones next and when. And it proposes policies that cannot take what
// must stay.
//
// It is pure: it knows no clock, no AWS client and nothing of who uses what.
//
// # How the rules are read
//
// From the Amazon ECR User Guide, pages LifecyclePolicies (LP), lifecycle_policy_parameters (PP) and
// lifecycle_policy_examples (EX, all of whose outcomes are tests here):
//
//   - All rules are evaluated at the same time and then applied by priority (LP). So a count is over everything that the
//     rule's selection matches, with what higher rules hold or take "as if they haven't been expired" (LP): in EX,
//     "Filtering on all images", example B, the rule for any image counts E, which it cannot take, as the newest, and
//     takes D.
//   - An image is acted on by one rule or none, and one that matches the tagging requirements of a rule is immune to
//     every rule of lower priority (a higher number), even where the higher one keeps it (LP).
//   - Several prefixes or patterns are an AND: each has to match some tag of the image (LP; EX, "multiple tags").
//   - The storage class is part of the selection: EX, "Combining archive and expire rules", has two rules for any
//     image, and the second would never act otherwise. So one rule for any, one for untagged per storage class (LP).
//   - Older than N days means older: at N days to the instant nothing happens yet (EX, "all images", example B: the
//     untagged image of "1 day ago" stays under a limit of 1 day).
//   - Age and order go by the push, or by the last activation once the image was restored from the archive (LP). A
//     pull counts for sinceImagePulled unless a later restoration does; without either, the push does (LP).
//   - No image that an index refers to is expired or archived before the index is deleted or archived (LP). An archived
//     index therefore holds nothing. ECR does not say whether a child can go in the same evaluation as its index;
//     here it goes at one after it (Fate.After).
//   - Referrers (signatures, attestations, SBOMs) are images like others to the rules: they are selected, counted and
//     taken. Beyond that ECR removes, or archives, a referrer within 24 hours of its subject (LP); no rule does this,
//     so no Fate tells it: look at the fate of the subject.
//   - An image that is being restored (ACTIVATING) counts as archived until it is active.
//   - ECR does not say which of two images that were pushed at the same instant is the newer one. Here the digest
//     decides, and Fate.Tied says so where it matters.
package lifecycle

import (
	"time"

	"demurrage/internal/image"
)

// Policy is a lifecycle policy that can be evaluated. Its rules are in the order of their priority.
type Policy struct {
	Rules []Rule
}

// Rule is one rule of a policy, with the names of the policy's JSON.
type Rule struct {
	Priority     int
	Description  string
	TagStatus    TagStatus
	TagPrefixes  []string // AND: every entry has to match some tag of the image
	TagPatterns  []string // AND, with * wildcards
	StorageClass string   // of the selection: "", "standard" or "archive"
	CountType    CountType
	CountNumber  int
	Action       Action
}

// TagStatus, CountType and Action have the values of the policy's JSON.
type (
	TagStatus string
	CountType string
	Action    string
)

const (
	Tagged   TagStatus = "tagged"
	Untagged TagStatus = "untagged"
	Any      TagStatus = "any"

	ImageCountMoreThan     CountType = "imageCountMoreThan"
	SinceImagePushed       CountType = "sinceImagePushed"
	SinceImagePulled       CountType = "sinceImagePulled"
	SinceImageTransitioned CountType = "sinceImageTransitioned"

	Expire     Action = "expire"
	Transition Action = "transition" // to the archive
)

// The storage classes of the policy's JSON.
const (
	standard = "standard"
	archive  = "archive"
)

// Problem is something wrong with a policy. A fatal one makes it impossible to evaluate: ECR would not have taken it.
type Problem struct {
	Priority int    // of the rule; 0: of the policy as a whole
	Code     string // stable: "syntax", "never-matches", "shadowed", …
	Text     string
	Fatal    bool
}

// Fate is what a policy does to one image.
type Fate struct {
	Rule   int    // priority of the rule that acts on it, now or later; 0: none ever does
	Action Action // of that rule
	Now    bool   // at the next evaluation, which is within 24 hours
	// Due is when a rule that goes by age acts; zero where it cannot be known. It may be past (then Now is true, or an
	// index holds the image back).
	Due time.Time
	// Pushes is how many more images that the counting rule selects have to be pushed until it acts on this one; 0
	// where Now, or for rules that do not count.
	Pushes int
	// Shield is the priority of the rule whose tag selection holds the image and so makes it immune to all later ones; 0: none.
	Shield int
	// Held is the digest of an index that still refers to the image and does not go: ECR expires no child before it.
	// The index may go later; its own fate tells. One that never goes is named first.
	Held image.Digest
	// After is the digest of an index that still refers to the image and does go, now or After another one: the image
	// follows at an evaluation after that, so Now is false.
	After image.Digest
	// Tied: an image that was pushed at the same instant may go in the place of this one, or this one in its place,
	// since the count ends between them.
	Tied bool
}
