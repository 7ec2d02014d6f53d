package sweep

import (
	"errors"
	"strings"
	"testing"
	"time"

	"demurrage/internal/image"
)

const planHead = `{"schema": "demurrage/plan/1", "run_id": "r", "config_sha256": "c", "generated_at": "2026-11-20T12:00:00Z", "complete": true, "coverage": [], "images": `

var entry = `{"account": "111111111111", "region": "us-east-1", "repository": "app", "digest": "` + string(dig(1)) + `", "bytes": 5, "action": "delete"}`

func TestReadPlan(t *testing.T) {
	p, err := ReadPlan(strings.NewReader(planHead + `[` + entry + `, ` + strings.NewReplacer("delete", "keep").Replace(entry) + `], "x": 1}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Tally(); got.Images != 1 || got.Bytes != 5 || p.Run != "r" || p.ConfigSHA256 != "c" || len(p.SHA256) != 64 {
		t.Errorf("%+v", p)
	}
	for name, tt := range map[string]struct {
		text, want string
		refused    bool
	}{
		"another version": {text: `{"schema": "demurrage/plan/2", "images": []}`, want: "plan again", refused: true},
		"no schema":       {text: `{"run_id": "r"}`, want: `no "schema"`},
		"empty":           {text: ``, want: "ends in the middle"},
		"cut short":       {text: planHead + `[` + entry, want: "ends in the middle"},
		"no JSON":         {text: `REPOSITORY IMAGES`, want: "invalid character"},
		"a list":          {text: `[]`, want: "instead of"},
		"twice":           {text: planHead + `[` + entry + `,` + entry + `]}`, want: "twice"},
		"a key twice":     {text: planHead + `[` + entry + `], "images": []}`, want: "twice"},
		"digest":          {text: planHead + strings.Replace(`[`+entry+`]}`, "sha256:", "sha1:", 1), want: "digest"},
		"account":         {text: planHead + strings.Replace(`[`+entry+`]}`, "111111111111", "1111", 1), want: `"1111"`},
		"region":          {text: planHead + strings.Replace(`[`+entry+`]}`, "us-east-1", "../x", 1), want: `"../x"`},
		"bytes":           {text: planHead + strings.Replace(`[`+entry+`]}`, `"bytes": 5`, `"bytes": -5`, 1), want: "bytes"},
		"more behind it":  {text: planHead + `[]} {}`, want: "behind its end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadPlan(strings.NewReader(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%v does not say %q", err, tt.want)
			}
			var refusal *Refusal
			if errors.As(err, &refusal) != tt.refused {
				t.Errorf("refusal: %v", err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Reviewed)
		want   string
	}{
		"good":           {change: func(*Reviewed) {}},
		"skewed clock":   {change: func(r *Reviewed) { r.GeneratedAt = now.Add(time.Minute) }},
		"old":            {change: func(r *Reviewed) { r.GeneratedAt = now.Add(-49 * time.Hour) }, want: "max_plan_age"},
		"in the future":  {change: func(r *Reviewed) { r.GeneratedAt = now.Add(time.Hour) }, want: "future"},
		"no time":        {change: func(r *Reviewed) { r.GeneratedAt = time.Time{} }, want: "future"},
		"another config": {change: func(r *Reviewed) { r.ConfigSHA256 = "d" }, want: "configuration"},
		"what if":        {change: func(r *Reviewed) { r.WhatIf = true }, want: "what-if"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Reviewed{ConfigSHA256: "c"}
			r.GeneratedAt = now.Add(-time.Hour)
			tt.change(r)
			err := r.Check("c", now, 48*time.Hour)
			var refusal *Refusal
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (!errors.As(err, &refusal) || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v does not say %q", err, tt.want)
			}
		})
	}
}

func TestNarrow(t *testing.T) {
	other := repo
	other.Account, other.Name = "222222222222", "dev/app"
	fresh := func() *Reviewed {
		return &Reviewed{Images: map[image.Repository][]Candidate{repo: all(img(1)), other: all(img(2), img(3))}}
	}
	for name, tt := range map[string]struct {
		filter Filter
		want   int
		err    string
	}{
		"nothing":          {want: 3},
		"account":          {filter: Filter{Accounts: []string{"222222222222"}}, want: 2},
		"region":           {filter: Filter{Regions: []string{"us-east-1"}}, want: 3},
		"repository":       {filter: Filter{Repositories: []image.Pattern{image.Glob("dev/*")}}, want: 2},
		"both":             {filter: Filter{Accounts: []string{"111111111111"}, Repositories: []image.Pattern{image.Glob("dev/*")}}, want: 0},
		"an account alien": {filter: Filter{Accounts: []string{"333333333333"}}, err: "--account 333333333333"},
		"a typing error":   {filter: Filter{Repositories: []image.Pattern{image.Glob("dve/*")}}, err: "--repository dve/*"},
	} {
		t.Run(name, func(t *testing.T) {
			r := fresh()
			err := r.Narrow(tt.filter)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v does not say %q", err, tt.err)
				}
				return
			}
			if got := r.Tally().Images; err != nil || got != tt.want {
				t.Errorf("%d images, %v", got, err)
			}
		})
	}
}
