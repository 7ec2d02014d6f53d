package report

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/agext/levenshtein"

	"demurrage/internal/image"
	"demurrage/planner"
)

// NotFound says that the plan knows no image of a reference.
type NotFound struct{ Ref image.Ref }

func (e NotFound) Error() string { return "no image of this run is " + e.Ref.String() }

// Explain prints why the image that a reference names stays or goes: every reason with its evidence, and its
// relatives. A reference with a tag and a digest may name two images. Where it names none, that is said, with
// whatever uses it all the same and the tags that come close, and the error is a NotFound.
func Explain(w io.Writer, run *Run, ref image.Ref) error {
	repo, err := findRepository(run.Plan, ref.Repository)
	if err != nil {
		return err
	}
	e := &explainer{w: bufio.NewWriter(w), run: run}
	e.line(0, ref.String())
	found := false
	if repo == nil {
		e.unknownRepository(ref.Repository)
	} else {
		found = e.images(repo, ref)
	}
	e.pointingAt(ref)
	e.attestations()
	if err := e.w.Flush(); err != nil {
		return err
	}
	if !found {
		return NotFound{ref}
	}
	return nil
}

// findRepository gives the plan of a repository, nil if the run has none.
func findRepository(p *planner.Plan, repo image.Repository) (*planner.RepositoryPlan, error) {
	_, ok := slices.BinarySearchFunc(p.Summaries, repo, func(s planner.RepositorySummary, r image.Repository) int {
		return image.CompareRepositories(s.Repository, r)
	})
	if !ok {
		return nil, nil
	}
	for r, err := range p.Repositories {
		if err != nil {
			return nil, err
		}
		if r.Repository == repo {
			return r, nil
		}
	}
	return nil, nil
}

// attestations are part of every explanation: one may be why an image can go.
func (e *explainer) attestations() {
	for i := range e.run.Plan.Attestations {
		a := &e.run.Plan.Attestations[i]
		e.line(0, "Attested until "+date(a.Expires)+" to use no images: "+scope(&a.Attestation)+". Reason: "+a.Reason)
	}
}

type explainer struct {
	w   *bufio.Writer // holds the first error
	run *Run
}

func (e *explainer) line(indent int, s string) {
	fmt.Fprintf(e.w, "%*s%s\n", 2*indent, "", visible(s))
}

func (e *explainer) images(r *planner.RepositoryPlan, ref image.Ref) (found bool) {
	byTag, byDigest := -1, -1
	for i := range r.Decisions {
		img := r.Decisions[i].Image
		if ref.Tag != "" && slices.Contains(img.Tags, ref.Tag) {
			byTag = i
		}
		if img.Digest == ref.Digest {
			byDigest = i
		}
	}
	if byDigest >= 0 {
		e.image(r, byDigest, "by digest")
	}
	switch {
	case byTag >= 0 && byTag == byDigest:
		e.line(1, "The tag "+ref.Tag+" names this image too.")
	case byTag >= 0:
		e.image(r, byTag, "by tag "+ref.Tag)
	}
	if ref.Digest != "" && byDigest < 0 {
		e.line(1, "No image in the repository has this digest.")
	}
	if ref.Tag != "" && byTag < 0 {
		e.line(1, "No image in the repository has the tag "+ref.Tag+"."+nearTags(r, ref.Tag))
	}
	if len(r.Errors) > 0 {
		e.line(1, "The repository could be read in part only: "+strings.Join(r.Errors, "; "))
	}
	return byTag >= 0 || byDigest >= 0
}

var meaning = map[planner.Action]string{
	planner.Keep:    "it stays",
	planner.Delete:  "everything that could use it was looked at and nothing does",
	planner.Blocked: "it would go, but for something that could not be looked at; it stays",
}

func (e *explainer) image(r *planner.RepositoryPlan, i int, how string) {
	d := &r.Decisions[i]
	img := d.Image
	e.line(1, string(img.Digest)+" ("+how+")")
	if len(img.Tags) > 0 {
		e.line(2, "tags: "+strings.Join(img.Tags, " "))
	} else {
		e.line(2, "untagged")
	}
	pulled := "no pull on record"
	if !img.LastPulledAt.IsZero() {
		pulled = "last pulled " + instant(img.LastPulledAt)
	}
	kind := cmp.Or(img.MediaType, "unknown media type")
	if img.ArtifactType != "" {
		kind += ", artifact " + img.ArtifactType
	}
	e.line(2, kind+", "+size(img.OwnBytes())+", pushed "+instant(img.PushedAt)+", "+pulled)
	if r.Rule == "" {
		e.line(2, "rule: none matches the repository")
	} else {
		e.line(2, "rule: "+r.Rule)
	}
	e.line(2, "decision: "+string(d.Action)+" ("+meaning[d.Action]+")")
	for i := range d.Reasons {
		e.reason(&d.Reasons[i])
	}
	e.relatives(r, i)
}

func (e *explainer) reason(r *planner.Reason) {
	var from []string
	if r.Source != "" {
		from = append(from, r.Source)
	}
	if r.Account != "" {
		from = append(from, "account "+named(e.run.account(r.Account)))
	}
	if r.Region != "" {
		from = append(from, r.Region)
	}
	s := string(r.Code)
	if r.Detail != "" {
		s += ": " + r.Detail
	}
	if len(from) > 0 {
		s += " (" + strings.Join(from, ", ") + ")"
	}
	e.line(3, s)
	if r.Resource != "" {
		e.line(4, r.Resource)
	}
}

// relatives lists what hangs together with an image, and what becomes of it.
func (e *explainer) relatives(r *planner.RepositoryPlan, i int) {
	images := make([]image.Image, len(r.Decisions))
	for j := range r.Decisions {
		images[j] = *r.Decisions[j].Image
	}
	g := image.NewGraph(images)
	up := map[image.Relation]string{image.Child: "part of index", image.Referrer: "refers to"}
	down := map[image.Relation]string{image.Child: "index of", image.Referrer: "referred to by"}
	for _, list := range []struct {
		edges []image.Edge
		words map[image.Relation]string
	}{{g.Up(i), up}, {g.Down(i), down}} {
		for _, edge := range list.edges {
			d := &r.Decisions[edge.To]
			s := list.words[edge.Relation] + " " + string(d.Image.Digest)
			if len(d.Image.Tags) > 0 {
				s += " (" + strings.Join(d.Image.Tags, " ") + ")"
			}
			e.line(2, s+": "+string(d.Action))
		}
	}
}

// unknownRepository says why a repository is not in the plan.
func (e *explainer) unknownRepository(repo image.Repository) {
	for i := range e.run.Plan.Unscanned {
		if u := &e.run.Plan.Unscanned[i]; u.Account == repo.Account {
			e.line(1, "Account "+named(e.run.account(repo.Account))+" is not scanned: "+u.Why)
			return
		}
	}
	known := false
	for i := range e.run.Plan.Coverage {
		c := &e.run.Plan.Coverage[i]
		if c.Account != repo.Account {
			continue
		}
		known = true
		if (c.Region == "*" || c.Region == repo.Region && c.Source == image.SourceECR) && c.Status != image.CoverageOK {
			e.line(1, "The registry "+repo.Host()+" was not read: "+cmp.Or(c.Error, string(c.Status)))
			return
		}
	}
	switch {
	case !known:
		e.line(1, "Account "+repo.Account+" is not part of this run.")
	case !slices.ContainsFunc(e.run.Plan.Coverage, func(c image.Coverage) bool {
		return c.Account == repo.Account && c.Region == repo.Region && c.Source == image.SourceECR
	}):
		e.line(1, "The registry "+repo.Host()+" is not part of this run.")
	default:
		e.line(1, "The registry "+repo.Host()+" has no repository "+repo.Name+".")
	}
}

// pointingAt lists what uses the reference although its image is gone.
func (e *explainer) pointingAt(ref image.Ref) {
	first := true
	for i := range e.run.Plan.Broken {
		u := &e.run.Plan.Broken[i]
		if u.Ref.Repository != ref.Repository || (ref.Tag == "" || u.Ref.Tag != ref.Tag) && (ref.Digest == "" || u.Ref.Digest != ref.Digest) {
			continue
		}
		if first {
			e.line(1, "Broken references, used although the image is gone:")
			first = false
		}
		s := liveness(u) + " " + u.Ref.String() + ": " + u.Source + " in account " + named(e.run.account(u.Account)) + ", " + u.Region
		if u.Detail != "" {
			s += " (" + u.Detail + ")"
		}
		e.line(2, s)
		e.line(3, u.Resource)
	}
}

// nearTags lists the tags that come closest to one that does not exist.
func nearTags(r *planner.RepositoryPlan, tag string) string {
	const most = 5
	type near struct {
		tag      string
		distance int
	}
	var list []near
	for i := range r.Decisions {
		for _, t := range r.Decisions[i].Image.Tags {
			if d := levenshtein.Distance(tag, t, nil); d <= max(2, len(tag)/2) {
				list = append(list, near{t, d})
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	slices.SortFunc(list, func(a, b near) int { return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.tag, b.tag)) })
	s := " Near:"
	for _, n := range list[:min(len(list), most)] {
		s += " " + n.tag
	}
	return s
}
