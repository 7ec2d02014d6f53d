package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode"
	"unicode/utf8"

	"demurrage/internal/image"
	"demurrage/planner"
)

// Schema is the version of the plan JSON contract.
const Schema = "demurrage/plan/1"

const mostReasons = 20 // that an image lists in JSON

// JSON writes the plan in the form of Schema: one document, an entry a line. Images that are kept are left out
// unless all is set. Nothing but the repository at hand is held in memory.
func JSON(w io.Writer, run *Run, all bool) error {
	j := newJSONWriter(w)
	p := run.Plan
	total := p.Count.Total()
	j.field("schema", Schema)
	j.field("run_id", run.ID)
	j.field("config_sha256", run.ConfigSHA256)
	j.field("generated_at", run.GeneratedAt.UTC())
	if run.WhatIf {
		j.field("what_if", true)
	}
	j.field("complete", p.Complete)
	j.coverage(p)
	j.field("summary", jsonSummary{total.Images, total.Bytes, p.Count.Delete, p.Count.Blocked, p.Count.Keep})
	j.broken(p)
	j.gaps(p)
	j.list("attestations")
	for i := range p.Attestations {
		j.entry(newJSONAttestation(&p.Attestations[i]))
	}
	j.endList()
	j.list("notes")
	for i := range p.Notes {
		j.entry(&p.Notes[i])
	}
	j.endList()
	if run.Bill != nil || len(run.Stored) > 0 {
		j.costs(run, newCostView(run))
	}
	j.list("images")
	for r, err := range p.Repositories {
		if err != nil {
			return err
		}
		out := jsonImage{Account: r.Repository.Account, Region: r.Repository.Region, Repository: r.Repository.Name}
		for i := range r.Decisions {
			if d := &r.Decisions[i]; all || d.Action != planner.Keep {
				out.set(d)
				j.entry(&out)
			}
		}
		if j.err != nil {
			return j.err // no need to plan the rest
		}
	}
	j.endList()
	return j.close()
}

type jsonSummary struct {
	Images  int           `json:"images"`
	Bytes   int64         `json:"bytes"`
	Delete  planner.Tally `json:"delete"`
	Blocked planner.Tally `json:"blocked"`
	Keep    planner.Tally `json:"keep"`
}

type jsonBroken struct {
	Ref      string `json:"ref"`
	Live     bool   `json:"live"`
	Source   string `json:"source"`
	Account  string `json:"account"`
	Region   string `json:"region"`
	Resource string `json:"resource"`
}

func (j *jsonWriter) broken(p *planner.Plan) {
	j.list("broken_references")
	for i := range p.Broken {
		u := &p.Broken[i]
		j.entry(jsonBroken{u.Ref.String(), u.Live, u.Source, u.Account, u.Region, u.Resource})
	}
	j.endList()
}

func (j *jsonWriter) coverage(p *planner.Plan) {
	j.list("coverage")
	for i := range p.Coverage {
		j.entry(&p.Coverage[i])
	}
	j.endList()
}

func (j *jsonWriter) gaps(p *planner.Plan) {
	j.list("gaps")
	for i := range p.Gaps {
		j.entry(&p.Gaps[i])
	}
	j.endList()
	j.list("unscanned_accounts")
	for i := range p.Unscanned {
		j.entry(&p.Unscanned[i])
	}
	j.endList()
}

type jsonAttestation struct {
	Accounts []string  `json:"accounts"`
	Regions  []string  `json:"regions,omitempty"`
	Sources  []string  `json:"sources,omitempty"`
	Reason   string    `json:"reason"`
	Expires  time.Time `json:"expires"`
	Used     int       `json:"used"`
}

func newJSONAttestation(a *planner.Attested) jsonAttestation {
	out := jsonAttestation{Accounts: []string{}, Regions: a.Regions, Sources: a.Sources, Reason: a.Reason, Expires: a.Expires.UTC(), Used: a.Used}
	for _, p := range a.Accounts {
		out.Accounts = append(out.Accounts, p.String())
	}
	return out
}

type jsonImage struct {
	Account      string           `json:"account"`
	Region       string           `json:"region"`
	Repository   string           `json:"repository"`
	Digest       image.Digest     `json:"digest"`
	MediaType    string           `json:"media_type"`
	Status       image.Status     `json:"status,omitempty"` // ARCHIVED, ACTIVATING; none: ACTIVE
	Tags         []string         `json:"tags"`
	Bytes        int64            `json:"bytes"`
	PushedAt     time.Time        `json:"pushed_at"`
	LastPulledAt *time.Time       `json:"last_pulled_at"`
	Action       planner.Action   `json:"action"`
	Reasons      []planner.Reason `json:"reasons"`
	More         int              `json:"more,omitempty"` // reasons left out
}

var noTags = []string{}

func (out *jsonImage) set(d *planner.Decision) {
	out.Digest, out.MediaType, out.Status, out.Bytes = d.Image.Digest, d.Image.MediaType, d.Image.Status, d.Image.OwnBytes()
	out.Tags = d.Image.Tags
	if out.Tags == nil {
		out.Tags = noTags
	}
	out.PushedAt, out.LastPulledAt = d.Image.PushedAt.UTC(), nil
	if !d.Image.LastPulledAt.IsZero() {
		pulled := d.Image.LastPulledAt.UTC()
		out.LastPulledAt = &pulled
	}
	shown := min(len(d.Reasons), mostReasons)
	out.Action, out.Reasons, out.More = d.Action, d.Reasons[:shown], len(d.Reasons)-shown
	if out.Reasons == nil {
		out.Reasons = []planner.Reason{}
	}
}

// jsonWriter writes one object field by field, and its lists entry by entry.
type jsonWriter struct {
	w     *bufio.Writer
	buf   bytes.Buffer
	enc   *json.Encoder
	comma string // what parts the next field or entry from the one before
	err   error
}

func newJSONWriter(w io.Writer) *jsonWriter {
	j := &jsonWriter{w: bufio.NewWriterSize(w, 1<<16), comma: "{"}
	j.enc = json.NewEncoder(&j.buf)
	return j
}

func (j *jsonWriter) field(name string, v any) {
	j.text(j.comma + `"` + name + `": `)
	j.value(v)
	j.comma = ",\n "
}

func (j *jsonWriter) list(name string) {
	j.text(j.comma + `"` + name + `": [`)
	j.comma = "\n  "
}

func (j *jsonWriter) entry(v any) {
	j.text(j.comma)
	j.value(v)
	j.comma = ",\n  "
}

func (j *jsonWriter) endList() {
	j.text("]")
	j.comma = ",\n "
}

func (j *jsonWriter) close() error {
	j.text("}\n")
	if j.err != nil {
		return j.err
	}
	return j.w.Flush()
}

func (j *jsonWriter) text(s string) {
	if j.err == nil {
		_, j.err = j.w.WriteString(s)
	}
}

func (j *jsonWriter) value(v any) {
	if j.err != nil {
		return
	}
	j.buf.Reset()
	if j.err = j.enc.Encode(v); j.err == nil {
		j.err = writeGraphic(j.w, bytes.TrimSuffix(j.buf.Bytes(), []byte("\n")))
	}
}

// writeGraphic writes encoded JSON with escapes in the place of control and format characters that the encoder
// leaves as they are: the value is the same, and nothing happens to a terminal that shows it.
func writeGraphic(w *bufio.Writer, data []byte) error {
	start := 0
	for i := 0; i < len(data); {
		if data[i] < 0x7f {
			i++
			continue
		}
		r, n := utf8.DecodeRune(data[i:])
		if !unicode.IsGraphic(r) {
			if _, err := w.Write(data[start:i]); err != nil {
				return err
			}
			if r > 0xFFFF {
				r -= 0x10000
				fmt.Fprintf(w, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			} else {
				fmt.Fprintf(w, `\u%04x`, r)
			}
			start = i + n
		}
		i += n
	}
	_, err := w.Write(data[start:])
	return err
}
