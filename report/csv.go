package report

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"demurrage/planner"
)

// CSV writes the plan as a table of one image a row (RFC 4180). Images that are kept are left out unless all is set.
func CSV(w io.Writer, run *Run, all bool) error {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	row := []string{"account", "region", "repository", "digest", "tags", "media_type", "bytes", "pushed_at",
		"last_pulled_at", "action", "reason_codes", "reason", "resource"}
	if err := c.Write(row); err != nil {
		return err
	}
	for r, err := range run.Plan.Repositories {
		if err != nil {
			return err
		}
		row[0], row[1], row[2] = csvText(r.Repository.Account), csvText(r.Repository.Region), csvText(r.Repository.Name)
		for i := range r.Decisions {
			d := &r.Decisions[i]
			if !all && d.Action == planner.Keep {
				continue
			}
			img := d.Image
			row[3] = csvText(string(img.Digest))
			row[4] = csvText(strings.Join(img.Tags, " "))
			row[5] = csvText(img.MediaType)
			row[6] = strconv.FormatInt(img.OwnBytes(), 10)
			row[7], row[8] = instant(img.PushedAt), instant(img.LastPulledAt)
			row[9] = string(d.Action)
			row[10] = csvText(codes(d.Reasons))
			row[11], row[12] = "", ""
			if len(d.Reasons) > 0 {
				row[11], row[12] = csvText(d.Reasons[0].Detail), csvText(d.Reasons[0].Resource)
			}
			if err := c.Write(row); err != nil {
				return err
			}
		}
	}
	c.Flush()
	return c.Error()
}

// codes lists the codes of reasons, each once, in their order.
func codes(reasons []planner.Reason) string {
	var list []string
	for i := range reasons {
		if c := string(reasons[i].Code); !slices.Contains(list, c) {
			list = append(list, c)
		}
	}
	return strings.Join(list, " ")
}

// instant is a time as RFC 3339 writes it, in UTC; "" for no time.
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
