// Package sweep deletes what a reviewed plan says, and is the only package that changes anything in AWS.
//
// What goes is the saved plan intersected with a fresh one, looked at once more just before each registry's deletions:
// nothing that was not reviewed, nothing that is not deletable any more, never a tag, never more than the brakes let
// through. Every call is written into the journal before it is sent and its outcome afterwards, so that at any moment,
// killed or not, each image of the plan is accounted for.
package sweep

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"demurrage/internal/image"
	"demurrage/internal/journal"
	"demurrage/planner"
)

// PlanSchema is the version of the plan JSON contract that is understood.
const PlanSchema = "demurrage/plan/1"

// Refusal is why nothing was touched, and what to do about it.
type Refusal struct{ Why string }

func (r *Refusal) Error() string { return r.Why }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// Reviewed is what somebody has agreed to delete: a saved plan, or one that was just shown.
type Reviewed struct {
	journal.Plan
	ConfigSHA256 string
	WhatIf       bool
	// Images are those to delete, by repository.
	Images map[image.Repository][]Candidate
}

// Candidate is an image as it was reviewed.
type Candidate struct {
	Digest       image.Digest
	Bytes        int64 // 0 for an index
	Tags         []string
	LastPulledAt time.Time // zero: no pull was on record
	Status       image.Status
}

// planImage is an image of the plan JSON.
type planImage struct {
	Account      string       `json:"account"`
	Region       string       `json:"region"`
	Repository   string       `json:"repository"`
	Digest       string       `json:"digest"`
	Tags         []string     `json:"tags"`
	Bytes        int64        `json:"bytes"`
	LastPulledAt *time.Time   `json:"last_pulled_at"`
	Status       image.Status `json:"status"`
	Action       string       `json:"action"`
}

// ReadPlan reads a saved plan. One of another version is a *Refusal; what is no plan at all, or has an entry that makes
// no sense, is any other error.
func ReadPlan(r io.Reader) (*Reviewed, error) {
	sum := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(r, sum), 1<<16)
	dec := json.NewDecoder(in)
	p := &Reviewed{Images: map[image.Repository][]Candidate{}}
	schema := ""
	err := object(dec, func(key string) error {
		switch key {
		case "schema":
			if err := dec.Decode(&schema); err != nil {
				return err
			}
			if schema != PlanSchema {
				return refuse("the plan is of version %q, and this demurrage applies %q: plan again", schema, PlanSchema)
			}
			return nil
		case "run_id":
			return dec.Decode(&p.Run)
		case "config_sha256":
			return dec.Decode(&p.ConfigSHA256)
		case "generated_at":
			return dec.Decode(&p.GeneratedAt)
		case "what_if":
			return dec.Decode(&p.WhatIf)
		case "images":
			if schema == "" {
				return errors.New("its schema does not stand before its images")
			}
			return p.images(dec)
		default:
			var ignored json.RawMessage
			return dec.Decode(&ignored)
		}
	})
	if err == nil {
		_, err = dec.Token()
		if err == nil {
			err = errors.New("there is something behind its end")
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("at byte %d: it ends in the middle", dec.InputOffset())
	case err != nil:
		var refusal *Refusal
		if errors.As(err, &refusal) {
			return nil, err
		}
		return nil, fmt.Errorf("at byte %d: %w", dec.InputOffset(), err)
	case schema == "":
		return nil, errors.New(`it has no "schema": it is not a plan in JSON (demurrage plan --out plan.json)`)
	}
	p.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return p, nil
}

// object goes through the keys of a JSON object; f decodes each value.
func object(dec *json.Decoder, f func(key string) error) error {
	if err := delim(dec, '{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if seen[key] {
			return fmt.Errorf("%q is there twice", key)
		}
		seen[key] = true
		if err := f(key); err != nil {
			return err
		}
	}
	return delim(dec, '}')
}

func delim(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%v instead of %v", t, want)
	}
	return nil
}

func (r *Reviewed) images(dec *json.Decoder) error {
	if err := delim(dec, '['); err != nil {
		return err
	}
	for dec.More() {
		var img planImage
		if err := dec.Decode(&img); err != nil {
			return err
		}
		if img.Action != string(planner.Delete) {
			continue
		}
		repo := image.Repository{Registry: image.Registry{Account: img.Account, Region: img.Region}, Name: img.Repository}
		d, err := image.ParseDigest(img.Digest)
		switch {
		case err != nil:
			return err
		case !image.ValidAccount(img.Account) || !image.ValidRegion(img.Region) || img.Repository == "":
			return fmt.Errorf("image %s: %q in %q has no repository %q", d, img.Account, img.Region, img.Repository)
		case img.Bytes < 0:
			return fmt.Errorf("image %s: it has %d bytes", d, img.Bytes)
		}
		c := Candidate{Digest: d, Bytes: img.Bytes, Tags: img.Tags, Status: img.Status}
		if img.LastPulledAt != nil {
			c.LastPulledAt = *img.LastPulledAt
		}
		r.Images[repo] = append(r.Images[repo], c)
	}
	for repo, list := range r.Images {
		sortCandidates(list)
		for i := range list[1:] {
			if list[i].Digest == list[i+1].Digest {
				return fmt.Errorf("image %s of %s is there twice", list[i].Digest, repo)
			}
		}
	}
	return delim(dec, ']')
}

// sortCandidates puts the images of a repository in the order in which they are looked up.
func sortCandidates(list []Candidate) {
	slices.SortFunc(list, func(a, b Candidate) int { return cmp.Compare(a.Digest, b.Digest) })
}

// Review takes a plan that was just made and is shown to whoever has to agree.
func Review(p *planner.Plan, run, config string) (*Reviewed, error) {
	r := &Reviewed{Plan: journal.Plan{SHA256: "run:" + run, Run: run, GeneratedAt: p.Now}, ConfigSHA256: config, Images: map[image.Repository][]Candidate{}}
	for repo, err := range p.Repositories {
		if err != nil {
			return nil, err
		}
		for i := range repo.Decisions {
			if d := &repo.Decisions[i]; d.Action == planner.Delete {
				r.Images[repo.Repository] = append(r.Images[repo.Repository],
					Candidate{d.Image.Digest, d.Image.OwnBytes(), d.Image.Tags, d.Image.LastPulledAt, d.Image.Status})
			}
		}
		sortCandidates(r.Images[repo.Repository])
	}
	return r, nil
}

// Check refuses a plan that may not be applied: one of another configuration, of times that never were, or too old.
func (r *Reviewed) Check(config string, now time.Time, maxAge time.Duration) error {
	const skew = 5 * time.Minute // between the clocks of who planned and who deletes
	switch age := now.Sub(r.GeneratedAt); {
	case r.WhatIf:
		return refuse("the plan is a what-if: its ages are counted from a time that somebody chose (--now); plan again without")
	case r.ConfigSHA256 != config:
		return refuse("the plan was made with another configuration (SHA-256 %.12s…, now %.12s…): plan again, and have that reviewed", r.ConfigSHA256, config)
	case r.GeneratedAt.IsZero() || age < -skew:
		return refuse("the plan is of %s, which is in the future: check the clocks", r.GeneratedAt.UTC().Format(time.RFC3339))
	case age > maxAge:
		return refuse("the plan is %s old, and [safety] max_plan_age is %s: plan again", age.Round(time.Hour), maxAge)
	}
	return nil
}

// Filter narrows what is applied. An empty list lets everything through.
type Filter struct {
	Accounts, Regions []string
	Repositories      []image.Pattern
}

// Matches reports whether a repository is let through.
func (f *Filter) Matches(repo image.Repository) bool {
	return (len(f.Accounts) == 0 || slices.Contains(f.Accounts, repo.Account)) &&
		(len(f.Regions) == 0 || slices.Contains(f.Regions, repo.Region)) &&
		(len(f.Repositories) == 0 || slices.ContainsFunc(f.Repositories, func(p image.Pattern) bool { return p.Match(repo.Name) }))
}

// Narrow drops what the filter does not let through. A part of the filter that lets through nothing of the plan is an
// error: it is a mistake, be it harmless.
func (r *Reviewed) Narrow(f Filter) error {
	hit := func(what, value string, match func(image.Repository) bool) error {
		for repo := range r.Images {
			if match(repo) {
				return nil
			}
		}
		return fmt.Errorf("--%s %s: the plan deletes nothing there", what, value)
	}
	var errs []error
	for _, a := range f.Accounts {
		errs = append(errs, hit("account", a, func(r image.Repository) bool { return r.Account == a }))
	}
	for _, region := range f.Regions {
		errs = append(errs, hit("region", region, func(r image.Repository) bool { return r.Region == region }))
	}
	for _, p := range f.Repositories {
		errs = append(errs, hit("repository", p.String(), func(r image.Repository) bool { return p.Match(r.Name) }))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	maps.DeleteFunc(r.Images, func(repo image.Repository, _ []Candidate) bool { return !f.Matches(repo) })
	return nil
}

// Tally counts what was reviewed.
func (r *Reviewed) Tally() journal.Tally {
	var t journal.Tally
	for _, list := range r.Images {
		for i := range list {
			t.Add(journal.Tally{Images: 1, Bytes: list[i].Bytes})
		}
	}
	return t
}

// Planned counts what is to be accounted for, by registry: what was reviewed, and what an earlier attempt has deleted
// beyond it (it may have been narrowed less).
func (r *Reviewed) Planned(done *journal.Ledger) []journal.Planned {
	sums := map[image.Registry]*journal.Tally{}
	add := func(repo image.Repository, bytes int64) {
		if sums[repo.Registry] == nil {
			sums[repo.Registry] = &journal.Tally{}
		}
		sums[repo.Registry].Add(journal.Tally{Images: 1, Bytes: bytes})
	}
	for repo, list := range r.Images {
		for i := range list {
			add(repo, list[i].Bytes)
		}
	}
	for e := range done.Images() {
		if e.State == journal.Deleted && !r.names(e.Repository, e.Digest) {
			add(e.Repository, e.Bytes)
		}
	}
	var planned []journal.Planned
	for registry, t := range sums {
		planned = append(planned, journal.Planned{Account: registry.Account, Region: registry.Region, Tally: *t})
	}
	slices.SortFunc(planned, func(a, b journal.Planned) int {
		return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region))
	})
	return planned
}

func (r *Reviewed) names(repo image.Repository, d image.Digest) bool {
	_, ok := slices.BinarySearchFunc(r.Images[repo], d, func(c Candidate, d image.Digest) int { return cmp.Compare(c.Digest, d) })
	return ok
}
