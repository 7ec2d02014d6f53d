package report

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"demurrage/internal/image"
)

var outputs = []struct {
	name  string
	write func(io.Writer, *Run) error
}{
	{"terminal-80.txt", func(w io.Writer, r *Run) error { return Table(w, r, TermOptions{Width: 80}) }},
	{"terminal-wide-all.txt", func(w io.Writer, r *Run) error { return Table(w, r, TermOptions{All: true}) }},
	{"terminal-color.txt", func(w io.Writer, r *Run) error { return Table(w, r, TermOptions{Width: 120, Color: true}) }},
	{"plan.json", func(w io.Writer, r *Run) error { return JSON(w, r, false) }},
	{"plan-all.json", func(w io.Writer, r *Run) error { return JSON(w, r, true) }},
	{"plan.csv", func(w io.Writer, r *Run) error { return CSV(w, r, false) }},
	{"plan-all.csv", func(w io.Writer, r *Run) error { return CSV(w, r, true) }},
	{"summary.md", Markdown},
	{"short.txt", func(w io.Writer, r *Run) error { _, err := io.WriteString(w, Short(r)); return err }},
	{"focus.csv", FOCUS},
	{"facts.csv", allFacts},
	{"report.html", HTML},
}

func TestGolden(t *testing.T) {
	for _, o := range outputs {
		t.Run(o.name, func(t *testing.T) {
			run := sample(t)
			var first, second bytes.Buffer
			if err := o.write(&first, run); err != nil {
				t.Fatal(err)
			}
			if err := o.write(&second, sample(t)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Error("the same run gave other bytes")
			}
			golden(t, o.name, first.Bytes())
		})
	}
}

func TestExplain(t *testing.T) {
	run := sample(t)
	api := repo(platform, virginia, "prod/api")
	for _, c := range []struct {
		name string
		ref  image.Ref
		gone bool
	}{
		{"used", image.Ref{Repository: api, Tag: "v1"}, false},
		{"expired", image.Ref{Repository: api, Digest: digest("api-0")}, false},
		{"tag-and-digest", image.Ref{Repository: api, Tag: "v3", Digest: digest("api-0")}, false},
		{"same-tag-and-digest", image.Ref{Repository: api, Tag: "v3", Digest: digest("api-3")}, false},
		{"index", image.Ref{Repository: repo(platform, virginia, "prod/multi"), Tag: "multi"}, false},
		{"blocked", image.Ref{Repository: repo(payments, tokyo, "checkout"), Tag: "c1"}, false},
		{"gone", image.Ref{Repository: api, Tag: "v9"}, true},
		{"gone-repository", image.Ref{Repository: repo(platform, virginia, "gone"), Tag: "latest"}, true},
		{"unscanned-account", image.Ref{Repository: repo(closed, virginia, "x"), Tag: "latest"}, true},
		{"unread-account", image.Ref{Repository: repo(research, virginia, "x"), Tag: "latest"}, true},
		{"unread-region", image.Ref{Repository: repo(payments, virginia, "x"), Tag: "latest"}, true},
		{"stranger", image.Ref{Repository: repo("555555555555", virginia, "x"), Tag: "latest"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			err := Explain(&b, run, c.ref)
			var gone NotFound
			if errors.As(err, &gone) != c.gone || err != nil && !c.gone {
				t.Errorf("error %v", err)
			}
			golden(t, "explain-"+c.name+".txt", b.Bytes())
		})
	}
}

// A writer that fails makes every output fail.
func TestWriteErrors(t *testing.T) {
	run := sample(t)
	for _, o := range outputs {
		if err := o.write(fails{}, run); !errors.Is(err, errFull) {
			t.Errorf("%s: error %v", o.name, err)
		}
	}
	if err := Workbook(fails{}, run, WorkbookOptions{}); !errors.Is(err, errFull) {
		t.Errorf("workbook: error %v", err)
	}
	if err := Explain(fails{}, run, image.Ref{Repository: repo(platform, virginia, "prod/api"), Tag: "v1"}); !errors.Is(err, errFull) {
		t.Errorf("explain: error %v", err)
	}
}

var errFull = errors.New("disk full")

type fails struct{}

func (fails) Write([]byte) (int, error) { return 0, errFull }

func TestFormats(t *testing.T) {
	for text, want := range map[string]Format{"table": FormatTable, "JSON": FormatJSON, "csv": FormatCSV, "markdown": FormatMarkdown, "html": FormatHTML, "focus": FormatFOCUS, "xlsx": "", "": ""} {
		if got, err := ParseFormat(text); got != want || (err == nil) != (want != "") {
			t.Errorf("ParseFormat(%q) = %q, %v", text, got, err)
		}
	}
	for path, want := range map[string]Format{"a.xlsx": FormatWorkbook, "d/a.JSON": FormatJSON, "a.csv": FormatCSV, "a.md": FormatMarkdown, "a.html": FormatHTML, "a.htm": "", "a": "", "a.xls": ""} {
		if got, err := FormatOf(path); got != want || (err == nil) != (want != "") {
			t.Errorf("FormatOf(%q) = %q, %v", path, got, err)
		}
	}
}
