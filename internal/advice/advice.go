// Package advice makes files of the lifecycle policies that are proposed for repositories: as ECR takes them, for
// Terraform and for CloudFormation.
//
// It must never write outside the directory it was given, whatever a repository is called, and puts no policy anywhere.
package advice

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
	"demurrage/planner"
)

// Advice is what is proposed for a repository.
type Advice struct {
	Repository image.Repository
	Policy     string          // JSON; "": there is no safe one
	Why        []string        // why there is none, or what it rests on
	Has        image.Lifecycle // a policy of its own today, which the proposed one would replace
	Expires    planner.Tally   // by the proposed policy, now: sizes of images
	Deletes    planner.Tally   // by the plan
	Files      []string        // that were written, with slashes
}

// Of proposes a policy for a repository: one that takes nothing now which the plan keeps or blocks, and never what is kept
// for more than being new.
func Of(r *planner.RepositoryPlan, now time.Time) Advice {
	a := Advice{Repository: r.Repository, Has: r.Inventory.Lifecycle, Deletes: r.Count.Delete}
	if len(r.Errors) > 0 {
		a.Why = []string{"The repository could be read in part only, so that it may hold images that nobody has seen: " + strings.Join(r.Errors, "; ")}
		return a
	}
	if why := refused(r.Repository); why != "" {
		a.Why = []string{why}
		return a
	}
	actions := make(map[image.Digest]planner.Action, len(r.Decisions))
	bytes := make(map[image.Digest]int64, len(r.Decisions))
	for i := range r.Decisions {
		d := &r.Decisions[i]
		actions[d.Image.Digest], bytes[d.Image.Digest] = d.Action, d.Image.OwnBytes()
	}
	goes := func(i *image.Image) bool { return actions[i.Digest] == planner.Delete }
	// A policy goes by age, so what a rule keeps for its age alone may age under it too. What keep_count keeps may not, unless
	// nothing can be proposed, or much less, without.
	fresh := []planner.Code{planner.WithinExpiry, planner.MinAge}
	counts := append(fresh, planner.KeepCount)
	if r.Unknown() { // whatever it keeps may be in use as well
		fresh, counts = nil, nil
	}
	images := slices.Concat(r.Inventory.Images, missing(r, now))
	last := lastRoot(r)
	propose := func(but ...planner.Code) lifecycle.Advice {
		return lifecycle.Recommend(images, stays(r, last, but...), goes, r.KeepTags, now)
	}
	proposed, counted := propose(fresh...), propose(counts...)
	only := func(taken []image.Digest) bool {
		return !slices.ContainsFunc(taken, func(d image.Digest) bool { return actions[d] != planner.Delete })
	}
	switch {
	case counted.Policy != "" && only(counted.Expires) && (len(counted.Expires) > len(proposed.Expires) || !only(proposed.Expires)):
		proposed = counted
		proposed.Why = append(proposed.Why, "a policy cannot keep the newest images whatever their age, as keep_count does: where nothing is pushed for long enough it takes them too, unless they are in use today")
	case !only(proposed.Expires):
		proposed = propose()
	}
	a.Policy, a.Why = proposed.Policy, proposed.Why
	if a.Policy == "" && last != "" {
		a.Why = append([]string{"all of it goes, and its rule does not let it become empty (allow_empty): the newest image has to stay"}, a.Why...)
	}
	if n := r.Count.Blocked.Images; n > 0 {
		a.Why = append(a.Why, fmt.Sprintf("what could not be looked at may use %d images more, which are to stay for that reason", n))
	}
	for _, d := range proposed.Expires {
		a.Expires.Images++
		a.Expires.Bytes += bytes[d]
	}
	return a
}

// missing stand in for images that something runs by a tag, and that are gone: they will be pushed again, and are to stay then.
func missing(r *planner.RepositoryPlan, now time.Time) []image.Image {
	var images []image.Image
	for i := range r.Broken {
		if u := &r.Broken[i]; u.Live && u.Ref.Tag != "" {
			sum := sha256.Sum256([]byte("missing " + u.Ref.Tag))
			images = append(images, image.Image{Digest: image.Digest("sha256:" + hex.EncodeToString(sum[:])), Tags: []string{u.Ref.Tag}, PushedAt: now})
		}
	}
	slices.SortFunc(images, image.Compare)
	return slices.CompactFunc(images, func(a, b image.Image) bool { return a.Digest == b.Digest })
}

// stays says which images a policy must never take: those that the plan keeps, but for these codes alone, or blocks, and the
// last root, which a deletion would leave. What hangs on an image that stays is not asked for.
func stays(r *planner.RepositoryPlan, last image.Digest, but ...planner.Code) func(*image.Image) bool {
	if len(but) > 0 {
		but = append(but, planner.ChildOfKept, planner.IndexOfKept, planner.ReferrerOfKept, planner.SubjectOfKept)
	}
	stay := make(map[image.Digest]bool, len(r.Decisions))
	for i := range r.Decisions {
		d := &r.Decisions[i]
		stay[d.Image.Digest] = d.Action == planner.Blocked || d.Action == planner.Keep &&
			slices.ContainsFunc(d.Reasons, func(reason planner.Reason) bool { return !slices.Contains(but, reason.Code) })
	}
	if last != "" {
		stay[last] = true
	}
	return func(i *image.Image) bool {
		must, known := stay[i.Digest]
		return must || !known
	}
}

// lastRoot is the image that a deletion leaves since nothing else would be left; "": another is left, or none has to be.
func lastRoot(r *planner.RepositoryPlan) image.Digest {
	if r.AllowEmpty {
		return ""
	}
	images := r.Inventory.Images
	last := image.NewGraph(images).LastRoot(images, func(i int) bool { return r.Decisions[i].Action == planner.Delete })
	if last < 0 {
		return ""
	}
	return images[last].Digest
}

// nameOfECR is https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
var nameOfECR = regexp.MustCompile(`\A(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*\z`)

const longest = 240 // of a file's name without its ending

// refused says why no files can be named for a repository; "": they can.
func refused(r image.Repository) string {
	if !image.ValidAccount(r.Account) || !image.ValidRegion(r.Region) || !nameOfECR.MatchString(r.Name) || len(r.Name) > 256 {
		return "Its name is none that ECR gives to repositories: no file is made of it."
	}
	for part := range strings.SplitSeq(r.Name, "/") {
		if len(part) > longest {
			return "Its name is too long for a file."
		}
	}
	return ""
}

// The endings of the files of a repository.
const (
	endingPolicy         = ".json"
	endingTerraform      = ".tf"
	endingCloudFormation = ".cfn.yaml"
)

// file is the name of a file of a repository, with slashes.
func file(r image.Repository, ending string) string {
	return r.Account + "/" + r.Region + "/" + r.Name + ending
}

// names are all files that a repository may have.
func names(r image.Repository) []string {
	if refused(r) != "" {
		return nil
	}
	return []string{file(r, endingPolicy), file(r, endingTerraform), file(r, endingCloudFormation)}
}

// texts are the files of a repository with a policy, in the order of names.
func (a *Advice) texts() []string {
	policy := ascii(strings.TrimSpace(a.Policy)) + "\n"
	return []string{policy, terraform(a.Repository, policy), cloudFormation(a.Repository, policy)}
}

// terraform writes the policy as a here document, in which only templates mean anything.
//
// https://developer.hashicorp.com/terraform/language/expressions/strings
func terraform(r image.Repository, policy string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# For a provider in account %s, %s. An import of the policy that is in place:\n", r.Account, r.Region)
	fmt.Fprintf(&b, "#   terraform import aws_ecr_lifecycle_policy.%s %s\n", label(r), r.Name)
	fmt.Fprintf(&b, "resource \"aws_ecr_lifecycle_policy\" %q {\n  repository = %q\n  policy     = <<POLICY\n", label(r), r.Name)
	b.WriteString(strings.NewReplacer("${", "$${", "%{", "%%{").Replace(policy))
	b.WriteString("POLICY\n}\n")
	return b.String()
}

// cloudFormation writes the property of the repository, in which ${…} means something to Fn::Sub alone.
//
// https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-properties-ecr-repository-lifecyclepolicy.html
func cloudFormation(r image.Repository, policy string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# For the stack in account %s, %s, that has the repository: LifecyclePolicy is a property of it.\n", r.Account, r.Region)
	fmt.Fprintf(&b, "Resources:\n  %s:\n    Type: AWS::ECR::Repository\n    DeletionPolicy: Retain\n    UpdateReplacePolicy: Retain\n    Properties:\n", logicalID(r))
	fmt.Fprintf(&b, "      RepositoryName: %q\n      LifecyclePolicy:\n        RegistryId: %q\n        LifecyclePolicyText: |\n", r.Name, r.Account)
	for line := range strings.Lines(policy) {
		b.WriteString("          " + line)
	}
	return b.String()
}

// short tells repositories apart whose names are the same but for separators.
func short(r image.Repository) string {
	sum := sha256.Sum256([]byte(r.Account + "/" + r.Region + "/" + r.Name))
	return hex.EncodeToString(sum[:4])
}

func label(r image.Repository) string {
	return "ecr_" + strings.NewReplacer("/", "_", ".", "_", "-", "_").Replace(r.Name) + "_" + short(r)
}

func logicalID(r image.Repository) string {
	var b strings.Builder
	b.WriteString("Repository")
	for part := range strings.FieldsFuncSeq(r.Name, func(c rune) bool { return strings.ContainsRune("/._-", c) }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()[:min(b.Len(), 200)] + strings.ToUpper(short(r))
}

// ascii writes JSON with escapes in the place of everything that is not ASCII: no editor and no format reads it in
// another way.
func ascii(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c < 0x80:
			b.WriteRune(c)
		case c > 0xFFFF:
			c -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, c)
		}
	}
	return b.String()
}
