package report

import (
	"archive/zip"
	"fmt"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
	"demurrage/internal/image"
	"demurrage/planner"
)

const (
	benchRepositories = 500_000
	benchImages       = 2 // of each repository, that go
)

// large is a plan that is made up as it is read, so that what is measured is the report.
func large() *Run {
	run := &Run{ID: "large", GeneratedAt: now, Prices: cost.List(), Accounts: map[string]Account{}, Stored: map[image.Repository]cost.Stored{},
		Bill: &cost.Bill{Metric: "UnblendedCost", Currency: "USD"}}
	p := &planner.Plan{Now: now, Complete: true, Summaries: make([]planner.RepositorySummary, benchRepositories)}
	const accounts = 500
	for a := range accounts {
		id := fmt.Sprintf("%012d", 100_000_000_000+a)
		run.Accounts[id] = Account{ID: id, Name: fmt.Sprintf("account-%03d", a), CostCenter: fmt.Sprintf("CC-%02d", a%50)}
		p.Coverage = append(p.Coverage, image.Coverage{Account: id, Region: tokyo, Source: "ecr", Status: image.CoverageOK})
		run.Bill.Lines = append(run.Bill.Lines, cost.BillLine{Month: "2026-10", Account: id, Region: tokyo, Storage: true, Amount: cost.Money(7_654_321 * (a + 1))})
		for i := range benchRepositories / accounts {
			s := &p.Summaries[a*(benchRepositories/accounts)+i]
			going := planner.Tally{Images: benchImages, Bytes: benchImages * int64(100_000_000+i)}
			*s = planner.RepositorySummary{Repository: repo(id, tokyo, fmt.Sprintf("team/service-%06d", i)), Rule: "*", LastPush: now,
				Count: planner.Count{Keep: planner.Tally{Images: 1, Bytes: 100_000_001}, Delete: going}}
			p.Count.Add(s.Count)
			run.Stored[s.Repository] = cost.Stored{Exact: true, Unique: going.Bytes, Freed: going.Bytes / 2}
		}
	}
	p.Repositories = func(yield func(*planner.RepositoryPlan, error) bool) {
		var images [benchImages]image.Image
		r := &planner.RepositoryPlan{Decisions: make([]planner.Decision, benchImages)}
		for i := range p.Summaries {
			r.RepositorySummary = p.Summaries[i]
			for j := range images {
				images[j] = image.Image{Digest: digestOf(i, j), Tags: []string{"build-000001"}, Bytes: r.Count.Delete.Bytes / benchImages, PushedAt: now, LastPulledAt: now}
				r.Decisions[j] = planner.Decision{Image: &images[j], Action: planner.Delete, Reasons: reasons}
			}
			if !yield(r, nil) {
				return
			}
		}
	}
	run.Plan = p
	return run
}

var reasons = []planner.Reason{{Code: planner.Expired, Detail: "rule *: older than 30d before now"}}

func digestOf(i, j int) image.Digest {
	return image.Digest(fmt.Sprintf("sha256:%032x%032x", i*7919, j+1))
}

// BenchmarkWorkbook writes a workbook of 500,000 repositories and 1,000,000 images.
func BenchmarkWorkbook(b *testing.B) {
	run := large()
	for b.Loop() {
		heap(b, func() error { return Workbook(io.Discard, run, WorkbookOptions{}) })
	}
}

// BenchmarkStream writes the same rows, of as many cells and styles, by excelize alone.
func BenchmarkStream(b *testing.B) {
	run := large()
	for b.Loop() {
		heap(b, func() error { return bare(run) })
	}
}

func bare(run *Run) error {
	f := excelize.NewFile()
	defer f.Close()
	style, err := f.NewStyle(&excelize.Style{NumFmt: 4})
	if err != nil {
		return err
	}
	row := make([]any, 0, 32)
	cell := func(v any) { row = append(row, excelize.Cell{StyleID: style, Value: v}) }
	write := func(sheet string, rows func(set func() error) error) error {
		if _, err := f.NewSheet(sheet); err != nil {
			return err
		}
		s, err := f.NewStreamWriter(sheet)
		if err != nil {
			return err
		}
		n := 0
		if err := rows(func() error {
			n++
			at, _ := excelize.CoordinatesToCellName(1, n)
			err := s.SetRow(at, row)
			row = row[:0]
			return err
		}); err != nil {
			return err
		}
		return s.Flush()
	}
	if err := write("Repositories", func(set func() error) error {
		for i := range run.Plan.Summaries {
			s := &run.Plan.Summaries[i]
			a := run.Accounts[s.Repository.Account]
			cell(s.Repository.Account)
			cell(a.Name)
			cell(s.Repository.Region)
			cell(s.Repository.Name)
			cell(nil)
			cell(a.CostCenter)
			cell(3)
			for range 7 {
				cell(float64(s.Count.Delete.Bytes) / cost.GB)
			}
			cell(s.LastPush)
			cell(nil)
			cell(nil)
			cell(s.Rule)
			cell("exact")
			cell(nil)
			cell("config")
			cell(2)
			cell(0.0)
			cell(0)
			if err := set(); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if err := write("Images to delete", func(set func() error) error {
		for r := range run.Plan.Repositories {
			for _, d := range r.Decisions {
				cell(r.Repository.Account)
				cell(r.Repository.Region)
				cell(r.Repository.Name)
				cell(string(d.Image.Digest))
				cell(d.Image.Tags[0])
				cell(d.Image.PushedAt)
				cell(d.Image.LastPulledAt)
				cell(float64(d.Image.Bytes) / (cost.GB >> 10))
				cell(r.Rule)
				cell("expired: " + d.Reasons[0].Detail)
				if err := set(); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return err
	}
	f.SetZipWriter(func(io.Writer) excelize.ZipWriter { return zip.NewWriter(io.Discard) })
	return f.Write(io.Discard)
}

// heap runs something and reports the most memory that it needed, beside what was there before.
func heap(b *testing.B, run func() error) {
	b.Helper()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, uint64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
	}()
	err := run()
	close(stop)
	<-done
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(most>>20), "MiB-heap")
	b.ReportMetric(float64(before>>20), "MiB-run")
}
