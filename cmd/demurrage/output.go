package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"demurrage/internal/image"
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
	case report.FormatHTML:
		return report.HTML(w, run)
	case report.FormatFOCUS:
		return report.FOCUS(w, run)
	case report.FormatWorkbook:
		return report.Workbook(w, run, report.WorkbookOptions{Overflow: func() (string, io.WriteCloser, error) {
			name := overflowName(path)
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

// verdict turns a plan that is not complete into exit code 2, and a run that could read nothing at all into 1.
func verdict(run *report.Run, accept bool) error {
	counts := map[image.CoverageStatus]int{}
	read := 0 // in AWS; "import:NAME" and "external:NAME" are not
	for _, c := range run.Plan.Coverage {
		counts[c.Status]++
		if c.Status == image.CoverageOK && !strings.Contains(c.Source, ":") {
			read++
		}
	}
	if read == 0 && counts[image.CoverageFailed] > 0 {
		return fmt.Errorf("nothing could be read: all %d sources failed (run %s); demurrage check says what to add", counts[image.CoverageFailed], run.ID)
	}
	blocked := run.Plan.Count.Blocked.Images
	if accept || run.Plan.Complete && blocked == 0 {
		return nil
	}
	return &exitError{exitIncomplete, fmt.Sprintf("coverage is incomplete: %d sources could not be read, %d accounts are not scanned, %d images are blocked (run %s)",
		counts[image.CoverageFailed], run.Plan.Outside(), blocked, run.ID)}
}

// write shows a run on stdout.
func (s *session) write(run *report.Run, format report.Format, all bool) error {
	if format == report.FormatTable {
		width, _ := terminal(s.stdout)
		return report.Table(s.stdout, run, report.TermOptions{Width: width, Color: color(s.c, s.stdout), All: all})
	}
	if run.WhatIf && !sharedBool(s.c, "quiet") { // a table says so itself
		fmt.Fprintln(s.stderr, "what if: ages are counted from", run.GeneratedAt.Format(time.RFC3339))
	}
	return writeFormat(s.stdout, run, format, all, "")
}

// overflowName is the file beside a workbook that holds the images for which it has no room.
func overflowName(path string) string {
	name, ok := strings.CutSuffix(path, ".xlsx")
	if !ok {
		return path
	}
	return name + "-images.csv"
}

// writeFile writes a report. Without a format, the file's ending chooses one.
func (s *session) writeFile(path string, run *report.Run, format report.Format, all bool) error {
	if format == "" {
		var err error
		if format, err = report.FormatOf(path); err != nil {
			return err
		}
	}
	return s.replace(path, func(w io.Writer) error { return writeFormat(w, run, format, all, path) })
}

// replace writes a file whole or not at all: a reader never meets half of one. It keeps the permissions of the file that it
// replaces, and replaces no device or pipe.
func (s *session) replace(path string, write func(io.Writer) error) (err error) {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return fmt.Errorf("write %s: it is not a regular file", path)
		}
		mode = info.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".demurrage-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	writing := s.screen.phase("writing "+path, 0, "", nil, nil)
	written := write(tmp)
	writing.end()
	if err := errors.Join(written, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	if !sharedBool(s.c, "quiet") {
		fmt.Fprintln(s.stderr, "wrote", path)
	}
	return nil
}
