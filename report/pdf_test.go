package report

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"context"
)

// LibreOffice opens the workbook, and prints the summary on one page with everything on it.
func TestSummaryIsOnePage(t *testing.T) {
	for _, tool := range []string{"soffice", "pdftotext"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed: the workbook is not printed", tool)
		}
	}
	for name, run := range map[string]*Run{"sample": sample(t), "finance": financial(t, sample(t)), "bulk": financial(t, bulk(t, 100, 20))} {
		t.Run(name, func(t *testing.T) {
			pages := printed(t, name, run)
			summary := 0
			for _, p := range pages {
				if strings.Contains(p, "Container images in Amazon ECR: cost and savings") {
					summary++
				}
			}
			if summary != 1 || !strings.Contains(pages[0], "Ten largest accounts") || !strings.Contains(pages[0], "Method") || strings.Contains(pages[1], "Ten largest") {
				t.Errorf("the summary is on %d pages, the first is\n%s", summary, pages[0])
			}
			all := strings.Join(pages, "\n")
			for _, sheet := range sheetNames {
				if !strings.Contains(all, sheet) { // every page's foot names its sheet
					t.Errorf("%s is not printed", sheet)
				}
			}
			if m := regexp.MustCompile(`#{4,}|#(REF|NAME|VALUE|DIV)`).FindString(all); m != "" {
				t.Errorf("something is cut off or wrong: %q", m)
			}
		})
	}
}

// printed gives the text of the pages that LibreOffice makes of a workbook. DEMURRAGE_PDF names a directory that keeps the files.
func printed(t *testing.T, name string, run *Run) []string {
	t.Helper()
	dir := t.TempDir()
	out := dir
	if keep := os.Getenv("DEMURRAGE_PDF"); keep != "" {
		out = keep
	}
	var b bytes.Buffer
	if err := Workbook(&b, run, WorkbookOptions{}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(out, name+".xlsx")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	convert := exec.CommandContext(ctx, "soffice", "-env:UserInstallation=file://"+filepath.Join(dir, "profile"), "--headless", "--norestore",
		"--convert-to", "pdf", "--outdir", out, path)
	if text, err := convert.CombinedOutput(); err != nil {
		t.Fatalf("soffice: %v\n%s", err, text)
	}
	text, err := exec.CommandContext(ctx, "pdftotext", "-layout", filepath.Join(out, name+".pdf"), "-").Output()
	if err != nil {
		t.Fatalf("pdftotext: %v", err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\f"), "\f")
}
