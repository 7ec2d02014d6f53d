package report

import (
	"bufio"
	"io"
	"strings"
	"time"

	"demurrage/internal/advice"
	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

// Recommended are the policies that were proposed for the repositories of a run, and where they are.
type Recommended struct {
	Dir    string
	Files  []string // of repositories, in Dir
	Advice []advice.Advice
}

// parts are the repositories with a policy proposed, those for which none is safe, and those in which nothing goes.
func (r *Recommended) parts() (with, without, idle []*advice.Advice) {
	for i := range r.Advice {
		switch a := &r.Advice[i]; {
		case len(a.Files) > 0:
			with = append(with, a)
		case a.Deletes.Images > 0:
			without = append(without, a)
		default:
			idle = append(idle, a)
		}
	}
	return with, without, idle
}

// saving is what the proposed policies take now, and what that saves at most, where prices are known.
func (r *Recommended) saving(run *Run) (sum planner.Tally, money cost.Money, unpriced int64) {
	for i := range r.Advice {
		a := &r.Advice[i]
		sum.Images += a.Expires.Images
		sum.Bytes += a.Expires.Bytes
		if m, ok := run.Prices.Monthly(a.Repository.Region, a.Expires.Bytes); ok {
			money += m
		} else {
			unpriced += a.Expires.Bytes
		}
	}
	return sum, money, unpriced
}

func (r *Recommended) total(run *Run) string {
	sum, money, unpriced := r.saving(run)
	s := "They take " + images(sum) + " now"
	if saved := (figures{run.Prices.Currency}).saving(money, sum.Bytes, unpriced); saved != "" {
		s += ", which saves " + saved + " (" + upperBound + "; " + priceNote(run.Prices) + ")"
	}
	return s + "."
}

func idleText(n int) string {
	return "Nothing can go from " + count(n, "more repository") + ", for which there is no policy to recommend."
}

const putNothing = "demurrage itself puts no policy. Each replaces the policy that its repository has, so compare first; ECR acts on it within 24 hours. With credentials of the registry's account:"

func putCommand(dir string, r image.Repository) string {
	return "aws ecr put-lifecycle-policy --registry-id " + r.Account + " --region " + r.Region + " --repository-name " + r.Name +
		" --lifecycle-policy-text " + shellWord("file://"+strings.TrimSuffix(dir, "/")+"/"+r.Account+"/"+r.Region+"/"+r.Name+".json")
}

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return !isPlain(r) || r == '*' }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Recommend writes what was proposed for people.
func Recommend(w io.Writer, run *Run, r *Recommended, opts TermOptions) error {
	t := newTerminal(w, opts, run)
	with, without, idle := r.parts()
	t.wrappedIn(bold, "", count(len(with), "repository")+" with a policy that cannot take what stays as of run "+run.ID+" of "+date(run.GeneratedAt)+", in "+r.Dir+". "+r.total(run), 0)
	if len(without) > 0 {
		t.line("")
		t.heading(yellow, "No safe policy: "+count(len(without), "repository"))
		shown := t.few(len(without))
		for _, a := range without[:shown] {
			t.wrapped("  ", placeText(run, a.Repository)+": "+strings.Join(a.Why, "; "), 4)
		}
		if n := len(without) - shown; n > 0 {
			t.wrapped("  ", "… and "+count(n, "more repository")+": "+advice.Index, 0)
		}
	}
	if len(idle) > 0 {
		t.line("")
		t.wrapped("", idleText(len(idle)), 0)
	}
	if len(with) > 0 {
		t.line("")
		t.wrapped("", putNothing, 0)
		t.line("  " + visible(putCommand(r.Dir, with[0].Repository)))
	}
	t.hints()
	return t.w.Flush()
}

// RecommendIndex writes the README.md of the proposed policies.
func RecommendIndex(w io.Writer, run *Run, r *Recommended) error {
	m := &markdown{w: bufio.NewWriter(w), run: run, fig: figures{run.Prices.Currency}}
	with, without, idle := r.parts()
	m.line("# Lifecycle policies")
	m.line()
	m.line("Made from run ", mdText(run.ID), " of ", date(run.GeneratedAt), ": ", count(len(with), "repository"), " with a policy that cannot take what stays today, ",
		count(len(without), "repository"), " for which none is safe. ", idleText(len(idle)), " ", mdText(r.total(run)))
	if !run.Plan.Complete || run.Plan.Count.Blocked.Images > 0 {
		m.line()
		m.line("**INCOMPLETE**: not everything that could use these images was looked at. What is blocked for that reason stays, like what is in use.")
	}
	if run.WhatIf {
		m.line()
		m.line("What if: ages are counted from ", date(run.GeneratedAt), ", not from when the run was made.")
	}
	m.line()
	m.line("What stays is safe as long as it carries the tags that it carries today: make the policies anew when what runs has changed.")
	if len(with) > 0 {
		m.line()
		m.line(mdEscaper.Replace(putNothing))
		m.line()
		m.line("    ", visible(putCommand(".", with[0].Repository)))
		m.line()
		m.line("| Repository | Account | Region | Takes now | Size | At most a month | Plan deletes | Has a policy | Files |")
		m.line("| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |")
		for _, a := range with {
			price := "no known price"
			if money, ok := run.Prices.Monthly(a.Repository.Region, a.Expires.Bytes); ok {
				price = m.fig.money(money)
			}
			has := map[image.Lifecycle]string{image.LifecycleSome: "yes", image.LifecycleNone: "no"}[a.Has]
			if has == "" {
				has = "not known"
			}
			var links []string
			for _, file := range a.Files { // names of repositories are letters, digits and . _ - /
				links = append(links, "["+file[strings.LastIndex(file, a.Repository.Name)+len(a.Repository.Name)+1:]+"]("+file+")")
			}
			m.line("| ", mdText(a.Repository.Name), " | ", mdText(named(run.account(a.Repository.Account))), " | ", mdText(a.Repository.Region),
				" | ", number(a.Expires.Images), " | ", size(a.Expires.Bytes), " | ", price, " | ", number(a.Deletes.Images), " | ", has, " | ", strings.Join(links, " "), " |")
		}
		m.line()
		m.line("## What they rest on")
		m.reasons(with)
	}
	if len(without) > 0 {
		m.line()
		m.line("## No safe policy")
		m.reasons(without)
	}
	if len(idle) > 0 {
		m.line()
		m.line("## Nothing can go")
		m.reasons(idle)
	}
	return m.w.Flush()
}

func (m *markdown) reasons(list []*advice.Advice) {
	m.line()
	for _, a := range list {
		m.line("- ", mdText(placeText(m.run, a.Repository)))
		for _, why := range a.Why {
			m.line("  - ", mdText(why))
		}
	}
}

// RecommendJSON writes the summary.json of the proposed policies.
func RecommendJSON(w io.Writer, run *Run, r *Recommended) error {
	j := newJSONWriter(w)
	j.field("schema", advice.Schema)
	j.field("run_id", run.ID)
	j.field("config_sha256", run.ConfigSHA256)
	j.field("generated_at", run.GeneratedAt.UTC())
	if run.WhatIf {
		j.field("what_if", true)
	}
	j.field("complete", run.Plan.Complete && run.Plan.Count.Blocked.Images == 0)
	sum, money, unpriced := r.saving(run)
	with, without, idle := r.parts()
	j.field("summary", struct {
		With     int           `json:"with_policy"`
		Without  int           `json:"no_safe_policy"`
		Idle     int           `json:"nothing_goes"`
		Expires  planner.Tally `json:"expires"`
		Saving   string        `json:"monthly_at_most"`
		Currency string        `json:"currency"`
		Unpriced int64         `json:"unpriced_bytes,omitempty"`
		PricesOf time.Time     `json:"prices_of"`
	}{len(with), len(without), len(idle), sum, money.String(), run.Prices.Currency, unpriced, run.Prices.AsOf.UTC()})
	j.list("repositories")
	for i := range r.Advice {
		a := &r.Advice[i]
		out := struct {
			jsonRepository
			Safe    bool          `json:"safe"`
			Why     []string      `json:"why"`
			Has     string        `json:"has_policy,omitempty"` // some, none; left out: not known
			Files   []string      `json:"files,omitempty"`
			Expires planner.Tally `json:"expires"`
			Deletes planner.Tally `json:"plan_deletes"`
			Saving  *string       `json:"monthly_at_most"` // null: the price is not known
		}{newJSONRepository(a.Repository), len(a.Files) > 0, a.Why, string(a.Has), a.Files, a.Expires, a.Deletes, nil}
		if out.Why == nil {
			out.Why = []string{}
		}
		if money, ok := run.Prices.Monthly(a.Repository.Region, a.Expires.Bytes); ok {
			out.Saving = new(money.String())
		}
		j.entry(out)
	}
	j.endList()
	j.list("files")
	for _, file := range r.Files {
		j.entry(file)
	}
	j.endList()
	return j.close()
}
