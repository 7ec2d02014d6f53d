package report

import (
	"io"
	"time"

	"demurrage/internal/audit"
	"demurrage/internal/image"
	"demurrage/internal/lifecycle"
	"demurrage/planner"
)

// AuditSchema is the version of the audit's JSON.
const AuditSchema = "demurrage/audit/1"

// AuditJSON writes everything that an audit found in the form of AuditSchema: one document, an entry a line.
func AuditJSON(w io.Writer, run *Run, a *audit.Audit, v *audit.Verified) error {
	j := newJSONWriter(w)
	p := run.Plan
	j.field("schema", AuditSchema)
	j.field("run_id", run.ID)
	j.field("config_sha256", run.ConfigSHA256)
	j.field("generated_at", run.GeneratedAt.UTC())
	if run.WhatIf {
		j.field("what_if", true)
	}
	j.field("complete", p.Complete && a.Complete() && (v == nil || len(v.Failures) == 0))
	_, sum := byFreed(a)
	j.field("summary", map[string]any{
		"in_use_now": len(a.Now), "in_use_next": len(a.Next), "blocked": len(a.Blocked), "problems": len(a.Problems),
		"repositories": map[string]int{"policy": len(a.Policies), "no_policy": len(a.Without), "unread": len(a.Unread)},
		"expires":      sum.Expires, "plan_deletes": sum.Deletes, "both": sum.Both,
	})
	if v != nil {
		j.field("verified", newJSONVerified(v))
	}
	for _, list := range []struct {
		name string
		of   []audit.Finding
	}{{"in_use_now", a.Now}, {"in_use_next", a.Next}, {"blocked", a.Blocked}} {
		j.list(list.name)
		for i := range list.of {
			j.entry(newJSONFinding(&list.of[i]))
		}
		j.endList()
	}
	j.list("problems")
	for _, problem := range sortedProblems(a) {
		j.entry(struct {
			jsonRepository
			Rule  int    `json:"rule,omitempty"`
			Code  string `json:"code"`
			Text  string `json:"text"`
			Fatal bool   `json:"fatal,omitempty"`
		}{newJSONRepository(problem.Repository), problem.Priority, problem.Code, problem.Text, problem.Fatal})
	}
	j.endList()
	j.broken(p)
	j.coverage(p)
	j.gaps(p)
	for _, list := range []struct {
		name string
		of   []image.Repository
	}{{"without_policy", a.Without}, {"unread_policy", a.Unread}} {
		j.list(list.name)
		for _, r := range list.of {
			j.entry(newJSONRepository(r))
		}
		j.endList()
	}
	j.list("policies")
	for i := range a.Policies {
		p := &a.Policies[i]
		j.entry(struct {
			jsonRepository
			Rules         int                  `json:"rules"`
			Errors        []string             `json:"errors,omitempty"`
			ProtectedNow  map[planner.Code]int `json:"protected_now,omitempty"`
			ProtectedNext map[planner.Code]int `json:"protected_next,omitempty"`
			Unknown       bool                 `json:"unknown,omitempty"` // not everything that may use these was looked at
			Expires       planner.Tally        `json:"expires"`
			Deletes       planner.Tally        `json:"plan_deletes"`
			Both          planner.Tally        `json:"both"`
		}{newJSONRepository(p.Repository), p.Rules, p.Errors, p.ProtectedNow, p.ProtectedNext, p.Unknown, p.Expires, p.Deletes, p.Both})
	}
	j.endList()
	return j.close()
}

type jsonRepository struct {
	Account    string `json:"account"`
	Region     string `json:"region"`
	Repository string `json:"repository,omitempty"`
}

func newJSONRepository(r image.Repository) jsonRepository {
	return jsonRepository{r.Account, r.Region, r.Name}
}

type jsonFinding struct {
	jsonRepository
	Digest  image.Digest     `json:"digest"`
	Tags    []string         `json:"tags"`
	Bytes   int64            `json:"bytes"`
	Rule    int              `json:"rule"`
	Text    string           `json:"description,omitempty"`
	Action  lifecycle.Action `json:"action"`
	Now     bool             `json:"now"`
	Tied    bool             `json:"tied,omitempty"`   // it, or an image that was pushed at the same instant
	Due     *time.Time       `json:"due"`              // null: it cannot be known, or it is now
	Pushes  int              `json:"pushes,omitempty"` // until then
	Far     bool             `json:"far,omitempty"`    // in ten years, or after more than 1,000 pushes, and more than the repository has images
	Reasons []planner.Reason `json:"reasons"`
	More    int              `json:"more,omitempty"` // reasons left out
	Parts   []image.Digest   `json:"parts,omitempty"`
}

func newJSONFinding(f *audit.Finding) jsonFinding {
	out := jsonFinding{newJSONRepository(f.Repository), f.Digest, f.Tags, f.Bytes, f.Rule, f.Text, f.Action, f.Now, f.Tied, nil, f.Pushes, f.Far, f.Reasons, f.More, f.Parts}
	if out.Tags == nil {
		out.Tags = noTags
	}
	if out.Reasons == nil {
		out.Reasons = []planner.Reason{}
	}
	if !f.Due.IsZero() {
		out.Due = new(f.Due.UTC())
	}
	return out
}

type jsonVerified struct {
	Repositories int              `json:"repositories"`
	Images       int              `json:"images"` // that AWS and demurrage say the same of
	Differences  []jsonDifference `json:"differences"`
	Failures     []jsonFailure    `json:"failures"`
}

type jsonDifference struct {
	jsonRepository
	Digest image.Digest   `json:"digest"`
	Tags   []string       `json:"tags"`
	Kind   audit.Kind     `json:"kind"`
	AWS    *audit.Verdict `json:"aws"`
	Here   *audit.Verdict `json:"here"`
	Why    string         `json:"why"`
}

type jsonFailure struct {
	jsonRepository
	Error string `json:"error"`
}

func newJSONVerified(v *audit.Verified) jsonVerified {
	out := jsonVerified{v.Repositories, v.Images, []jsonDifference{}, []jsonFailure{}}
	for i := range v.Differences {
		d := &v.Differences[i]
		entry := jsonDifference{newJSONRepository(d.Repository), d.Digest, d.Tags, d.Kind, nil, nil, d.Why}
		if entry.Tags == nil {
			entry.Tags = noTags
		}
		if d.AWS != (audit.Verdict{}) {
			entry.AWS = &d.AWS
		}
		if d.Here != (audit.Verdict{}) {
			entry.Here = &d.Here
		}
		out.Differences = append(out.Differences, entry)
	}
	for _, f := range v.Failures {
		out.Failures = append(out.Failures, jsonFailure{newJSONRepository(f.Repository), f.Error})
	}
	return out
}
