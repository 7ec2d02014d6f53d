package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"demurrage/internal/cost"
	"demurrage/planner"
)

// FactTable is one table of facts.
type FactTable struct {
	Name  string // of a file, without an ending: "accounts"
	Write func(w io.Writer) error
}

// FactTables are the facts of a run as CSV (RFC 4180, CRLF), one table a file. Bytes are integers, amounts are exact
// decimals in the currency that the header names, times are UTC, and what is not known is empty, which is not zero.
func FactTables(run *Run) []FactTable {
	v := newCostView(run)
	table := func(name string, header []string, rows func(*csvTable) error) FactTable {
		return FactTable{name, func(w io.Writer) error {
			t := &csvTable{w: csv.NewWriter(w)}
			t.w.UseCRLF = true
			for _, name := range header {
				t.text(name)
			}
			if err := t.end(); err != nil {
				return err
			}
			if err := rows(t); err != nil {
				return err
			}
			t.w.Flush()
			return t.w.Error()
		}}
	}
	list, billed := func(s string) string { return s + "_" + v.currency }, "billed"
	if v.billed {
		billed += "_" + v.billCurrency
	}
	sums := []string{"repositories", "images", "image_bytes", "unique_bytes", "estimated_bytes", "unpriced_bytes", list("list"), "billed_month", billed,
		"delete_images", "delete_bytes", "freed_bytes", list("saving_low"), "saving_low_missing_repositories", list("saving_high"), "blocked_images", "blocked_bytes", list("blocked_saving_high")}
	return []FactTable{
		table("accounts", append([]string{"month", "account", "account_name", "ou", "owner", "cost_center", "coverage"}, sums...), func(t *csvTable) error {
			for i := range v.accounts {
				a := &v.accounts[i]
				t.text(v.month, a.ID, a.Name, a.OU, a.owner.name, a.costCenter.name, coverageText(&a.account))
				t.sums(v, &a.sums)
				if err := t.end(); err != nil {
					return err
				}
			}
			return nil
		}),
		table("repositories", append(append([]string{"month", "account", "region", "repository", "account_name", "owner", "cost_center"}, sums...), "last_push", "last_pull", "rule"), func(t *csvTable) error {
			for i := range v.rows {
				r := &v.rows[i]
				name := r.Name
				if r.beyond != "" {
					name = r.beyond
				}
				t.text(v.month, r.Account, r.Region, name, r.account.Name, r.owner, r.costCenter)
				t.sums(v, &r.costSums)
				t.text(instant(r.lastPush), instant(r.lastPull), r.rule)
				if err := t.end(); err != nil {
					return err
				}
			}
			return nil
		}),
		table("images-to-delete", []string{"account", "region", "repository", "digest", "tags", "pushed_at", "last_pulled_at", "bytes", "rule", "reason_codes", "reason"},
			func(t *csvTable) error { return imageRows(t, run, planner.Delete) }),
		table("images-blocked", []string{"account", "region", "repository", "digest", "tags", "pushed_at", "last_pulled_at", "bytes", "rule", "reason_codes", "reason"},
			func(t *csvTable) error { return imageRows(t, run, planner.Blocked) }),
		table("blocked", []string{"account", "account_name", "what", "error", "what_to_do", "holds_back_images", "holds_back_bytes", "unblocks_images", "unblocks_bytes", list("unblocks_saving_high"), "unpriced_bytes"}, func(t *csvTable) error {
			for i := range v.gaps {
				g := &v.gaps[i]
				t.text(g.Account, run.account(g.Account).Name, missed(g.Gap, true), g.Error, remedy(g.Gap))
				t.ints(int64(g.HoldsBack.Images), g.HoldsBack.Bytes, int64(g.Unblocks.Images), g.Unblocks.Bytes)
				t.money(g.saving, g.unpriced == 0 || g.unpriced < g.Unblocks.Bytes)
				t.ints(g.unpriced)
				if err := t.end(); err != nil {
					return err
				}
			}
			return nil
		}),
		table("broken-references", []string{"state", "reference", "source", "account", "region", "resource", "detail"}, func(t *csvTable) error {
			for i := range run.Plan.Broken {
				u := &run.Plan.Broken[i]
				t.text(liveness(u), u.Ref.String(), u.Source, u.Account, u.Region, u.Resource, u.Detail)
				if err := t.end(); err != nil {
					return err
				}
			}
			return nil
		}),
		table("trend", []string{"month", "run_id", "complete", "provisional", billed, "billed_storage" + strings.TrimPrefix(billed, "billed"), list("list"), "images", "unique_bytes",
			list("saving_low"), list("saving_high"), "deleted_images", "deleted_bytes_at_most", list("realised_saving")}, func(t *csvTable) error {
			for i := range v.trend {
				m := &v.trend[i]
				known := m.remembered != nil
				past := m.remembered
				if !known {
					past = &Month{}
				}
				complete, provisional := "", ""
				if known {
					complete = strconv.FormatBool(past.Complete)
				}
				if m.billed != nil {
					provisional = strconv.FormatBool(m.provisional)
				}
				t.text(m.month, past.RunID, complete, provisional)
				for _, b := range []*cost.Money{m.billed, m.storage} {
					if b == nil {
						t.money(0, false)
					} else {
						t.money(*b, true)
					}
				}
				t.money(m.list, known)
				t.number(int64(m.images), known)
				t.number(m.stored, known)
				t.money(m.low, known && m.lowKnown)
				t.money(m.high, known)
				t.number(int64(past.Deleted.Images), known)
				t.number(past.Deleted.Bytes, known)
				t.money(past.Deleted.Saving, known)
				if err := t.end(); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func imageRows(t *csvTable, run *Run, action planner.Action) error {
	for r, err := range run.Plan.Repositories {
		if err != nil {
			return err
		}
		for i := range r.Decisions {
			d := &r.Decisions[i]
			if d.Action != action {
				continue
			}
			t.text(r.Repository.Account, r.Repository.Region, r.Repository.Name, string(d.Image.Digest), strings.Join(d.Image.Tags, " "),
				instant(d.Image.PushedAt), instant(d.Image.LastPulledAt))
			t.ints(d.Image.OwnBytes())
			detail := ""
			if len(d.Reasons) > 0 {
				detail = d.Reasons[0].Detail
			}
			t.text(r.Rule, codes(d.Reasons), detail)
			if err := t.end(); err != nil {
				return err
			}
		}
	}
	return nil
}

// csvTable writes a row cell by cell: text so that no spreadsheet takes it for a formula, and numbers as they are.
type csvTable struct {
	w   *csv.Writer
	row []string
}

func (t *csvTable) text(cells ...string) {
	for _, s := range cells {
		t.row = append(t.row, csvText(s))
	}
}

func (t *csvTable) ints(cells ...int64) {
	for _, n := range cells {
		t.number(n, true)
	}
}

func (t *csvTable) number(n int64, known bool) {
	s := ""
	if known {
		s = strconv.FormatInt(n, 10)
	}
	t.row = append(t.row, s)
}

func (t *csvTable) money(m cost.Money, known bool) {
	s := ""
	if known {
		s = m.String()
	}
	t.row = append(t.row, s)
}

func (t *csvTable) sums(v *costView, s *costSums) {
	t.ints(int64(s.repositories), int64(s.images), s.sum, s.unique, s.estimated, s.unpriced)
	t.money(s.list, s.isPriced())
	t.text(v.billMonth)
	t.money(s.billed, v.billed)
	t.ints(int64(s.goes.Images), s.goes.Bytes)
	t.number(s.freed, s.hasFreed())
	t.money(s.low, s.hasLow())
	t.ints(int64(s.lowMissing()))
	t.money(s.high, s.isPriced())
	t.ints(int64(s.blocked.Images), s.blocked.Bytes)
	t.money(s.held, s.isPriced())
}

func (t *csvTable) end() error {
	err := t.w.Write(t.row)
	t.row = t.row[:0]
	return err
}
