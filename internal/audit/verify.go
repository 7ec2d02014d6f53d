package audit

import (
	"cmp"
	"slices"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
)

// Previewed is an image that AWS's own preview of a policy lists, with what becomes of it.
type Previewed struct {
	Digest   image.Digest
	Tags     []string
	PushedAt time.Time
	Rule     int // priority
	Action   lifecycle.Action
}

// Verified is what AWS's previews say about what was evaluated here.
type Verified struct {
	Repositories int // that AWS made a preview of
	Images       int // that AWS and we say the same of: those that go
	Differences  []Difference
	Failures     []Failure
}

// Kind is how a preview and an evaluation differ.
type Kind string

// The kinds.
const (
	AWSOnly   Kind = "aws-only"   // AWS takes it, we do not
	HereOnly  Kind = "here-only"  // the reverse
	OtherRule Kind = "other-rule" // both, by another rule or with another action
)

// Difference is an image of which AWS and we say different things.
type Difference struct {
	Repository image.Repository
	Digest     image.Digest
	Tags       []string
	Kind       Kind
	AWS, Here  Verdict
	Why        string // the likely reason
}

// Verdict is which rule does what, at once; the zero value: none does anything.
type Verdict struct {
	Rule   int              `json:"rule"`
	Action lifecycle.Action `json:"action"`
}

// Failure is a repository of which no preview could be made.
type Failure struct {
	Repository image.Repository
	Error      string
}

// Sort orders what was found side by side.
func (v *Verified) Sort() {
	slices.SortFunc(v.Differences, func(a, b Difference) int {
		return cmp.Or(image.CompareRepositories(a.Repository, b.Repository), cmp.Compare(a.Digest, b.Digest))
	})
	slices.SortFunc(v.Failures, func(a, b Failure) int {
		return cmp.Or(image.CompareRepositories(a.Repository, b.Repository), cmp.Compare(a.Error, b.Error))
	})
}

// Compare holds a preview that AWS made at a time against the evaluation at that time of an inventory that was taken at
// another, image by image.
func (v *Verified) Compare(inv *image.Inventory, taken time.Time, preview []Previewed, at time.Time) {
	v.Repositories++
	policy, problems := lifecycle.Parse(inv.Expires)
	if policy == nil {
		v.Failures = append(v.Failures, Failure{inv.Repository, "AWS evaluates the policy and we cannot: " + fatal(problems)})
		return
	}
	theirs := make(map[image.Digest]*Previewed, len(preview))
	for i := range preview {
		theirs[preview[i].Digest] = &preview[i]
	}
	changed := "" // something that makes other images' fates others
	fates := policy.Evaluate(inv.Images, at)
	known := make(map[image.Digest]bool, len(inv.Images))
	for i := range inv.Images {
		known[inv.Images[i].Digest] = true
	}
	for i := range preview {
		p := &preview[i]
		if known[p.Digest] {
			continue
		}
		why := "it is not in the inventory of the run"
		if p.PushedAt.After(taken) {
			why = "it was pushed after the run"
		}
		changed = "images have come since the run"
		v.Differences = append(v.Differences, Difference{Repository: inv.Repository, Digest: p.Digest, Tags: p.Tags, Kind: AWSOnly,
			AWS: Verdict{p.Rule, p.Action}, Why: why})
	}
	for i := range fates {
		img, f := &inv.Images[i], &fates[i]
		d := Difference{Repository: inv.Repository, Digest: img.Digest, Tags: img.Tags}
		if f.Now {
			d.Here = Verdict{f.Rule, f.Action}
		}
		their := theirs[img.Digest]
		if their != nil {
			d.AWS = Verdict{their.Rule, their.Action}
		}
		switch {
		case d.Here == d.AWS && f.Now:
			v.Images++
			continue
		case d.Here == d.AWS:
			continue
		case !f.Now:
			d.Kind = AWSOnly
		case their == nil:
			d.Kind = HereOnly
		default:
			d.Kind = OtherRule
		}
		d.Why = why(inv, img, f, their, changed, at)
		v.Differences = append(v.Differences, d)
	}
}

func why(inv *image.Inventory, img *image.Image, f *lifecycle.Fate, their *Previewed, changed string, at time.Time) string {
	switch {
	case len(inv.Errors) > 0:
		return "the inventory is incomplete: " + inv.Errors[0]
	case their != nil && !slices.Equal(slices.Sorted(slices.Values(their.Tags)), img.Tags):
		return "its tags have changed since the run"
	case f.Tied:
		return "the count ends between it and an image that was pushed at the same instant"
	case changed != "":
		return changed
	case their != nil && f.Held+f.After != "":
		return "here, an index that refers to it has to go first: " + string(cmp.Or(f.Held, f.After))
	case their != nil && f.Due.After(at) && f.Due.Sub(at) < 24*time.Hour:
		return "it is due within a day: " + f.Due.UTC().Format(time.RFC3339)
	case their == nil:
		return "images have been deleted, pulled, tagged or restored since the run, or the rules are read in another way here"
	}
	return "images have been pushed, deleted or tagged since the run, or the rules are read in another way here"
}

func fatal(problems []lifecycle.Problem) string {
	for _, p := range problems {
		if p.Fatal {
			return p.Text
		}
	}
	return "nobody knows why"
}
