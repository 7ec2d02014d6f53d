package report

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Another library reads the workbook: its sheets, and what is text, a number, a formula or a date in them.
func TestWorkbookInAnotherLibrary(t *testing.T) {
	python := ""
	for _, p := range []string{"python3", "/usr/bin/python3"} { // the system's own packages are for its own Python
		if exec.Command(p, "-c", "import openpyxl").Run() == nil {
			python = p
		}
	}
	if python == "" {
		t.Skip("openpyxl is not installed: no other library reads the workbook")
	}
	var book bytes.Buffer
	run := financial(t, sample(t))
	if err := Workbook(&book, run, WorkbookOptions{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report.xlsx")
	if err := os.WriteFile(path, book.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `
import sys, datetime, openpyxl
book = openpyxl.load_workbook(sys.argv[1])
print("|".join(book.sheetnames))
formulas = [c.value for s in book for row in s.iter_rows() for c in row if c.data_type == "f"]
assert all(f.startswith("=SUBTOTAL(109,") for f in formulas), formulas
assert not [1 for s in book for row in s.iter_rows() for c in row if c.hyperlink], "links"
rows = list(book["Trend"].iter_rows(values_only=True))
assert isinstance(rows[1][0], datetime.datetime) and rows[1][0].day == 1, rows[1]
assert all(isinstance(r[0], str) and r[0].isdigit() for r in list(book["Accounts"].iter_rows(values_only=True))[1:2])
assert len(book["Repositories"].tables) == 1
assert len(book["Summary"]._charts) == 2, book["Summary"]._charts
results = {r[-1] for r in list(book["Reconciliation"].iter_rows(values_only=True))[1:]}
assert results == {"OK"}, results
`
	out, err := exec.Command(python, "-W", "ignore", "-c", script, path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Split(strings.TrimSpace(string(out)), "|"); strings.Join(got, "|") != strings.Join(sheetNames, "|") {
		t.Errorf("sheets %q", got)
	}
}
