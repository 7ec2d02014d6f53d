package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"demurrage/report"
)

// writeFormat writes a run in one of the formats of the report. path is the file's name, "" for stdout: what does
// not fit into a workbook goes beside it.
func writeFormat(w io.Writer, run *report.Run, format report.Format, all bool, path string) error {
	switch format {
	case report.FormatJSON:
		return report.JSON(w, run, all)
	case report.FormatCSV:
		return report.CSV(w, run, all)
	case report.FormatMarkdown:
		return report.Markdown(w, run)
	case report.FormatWorkbook:
		return report.Workbook(w, run, report.WorkbookOptions{Overflow: func() (string, io.WriteCloser, error) {
			name := strings.TrimSuffix(path, ".xlsx") + "-images.csv"
			f, err := os.Create(name)
			return name, f, err
		}})
	default:
		return fmt.Errorf("format %s is not for files", format)
	}
}

// coverage prints what a scan looked at.
func (s *session) coverage(run *report.Run) error {
	width, _ := terminal(s.stdout)
	return report.Coverage(s.stdout, run, report.TermOptions{Width: width, Color: color(s.c, s.stdout)})
}
