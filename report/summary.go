package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xuri/excelize/v2"

	"demurrage/internal/cost"
)

// summary is the page that finance reads.
func (b *book) summary() error {
	f, p := b.facts, b.run.Plan
	if err := b.page(sheetSummary, "", 1); err != nil {
		return err
	}
	for column, width := range map[string]float64{"A": 46, "B": 26, "C": 18, "D": 18, "E": 18} {
		if err := b.file.SetColWidth(sheetSummary, column, column, width); err != nil {
			return err
		}
	}
	n := &note{book: b}
	n.put(kindTitle, "Container images that overstay in Amazon ECR")
	state, banner := "FINAL", kindFinal
	if !p.Complete || p.Count.Blocked.Images > 0 {
		state, banner = "PROVISIONAL (INCOMPLETE)", kindIncomplete
	}
	n.banner(banner, state+": "+f.coverage.String()+unscanned(len(p.Unscanned)))
	n.put(kindText, "Run", b.run.ID)
	n.put(kindText, "Generated (UTC)", b.run.GeneratedAt.UTC().Format("2006-01-02 15:04"))
	n.skip()

	n.put(kindHeader, "Figure", "Value")
	all := f.total.count.Total()
	n.figure("Repositories", kindInt, f.total.repositories)
	n.figure("Images", kindInt, all.Images)
	n.figure("Stored (TB)", kindTB, float64(all.Bytes)/(cost.GB<<10))
	n.figure(b.perMonth("List cost"), kindMoney, money(&f.total, f.total.list))
	n.figure("Images to delete", kindInt, p.Count.Delete.Images)
	n.figure("Reclaimable (GB)", kindGB, gb(p.Count.Delete.Bytes))
	n.figure(b.perMonth("Saving, upper bound"), kindMoney, money(&f.total, f.total.saving))
	n.figure("Blocked images", kindInt, p.Count.Blocked.Images)
	n.figure("Blocked (GB)", kindGB, gb(p.Count.Blocked.Bytes))
	n.figure(b.perMonth("Saving that is blocked, upper bound"), kindMoney, money(&f.total, f.total.held))
	n.figure("Without a known price (GB)", kindGB, gb(f.total.unpriced.Total().Bytes))
	n.figure("Broken references, live", kindInt, f.broken.live)
	n.figure("Broken references, latent", kindInt, f.broken.latent)
	n.skip()

	n.put(kindHeader, "Ten largest accounts", "Name", b.perMonth("List cost"), "Reclaimable (GB)", b.perMonth("Saving, upper bound"))
	largest := slices.DeleteFunc(slices.Clone(f.accounts), func(a account) bool { return a.count.Total().Images == 0 })
	slices.SortFunc(largest, func(a, b account) int {
		return cmp.Or(cmp.Compare(b.list, a.list), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	for i := range largest[:min(len(largest), 10)] {
		a := &largest[i]
		n.row([]kind{kindText, kindText, kindMoney, kindGB, kindMoney}, a.ID, a.Name, money(&a.totals, a.list), gb(a.count.Delete.Bytes), money(&a.totals, a.saving))
	}
	n.skip()

	n.put(kindHeader, "Notes")
	n.note("Cost is list price × the sum of image sizes. It is an upper bound: layers that images share are stored and billed once, and are counted here once for each image.")
	n.note("Prices: " + priceNote(b.run.Prices) + ", " + b.run.Prices.Currency + ". 1 TB = 1,024 GB; 1 GB = 1,024 MB = 2^30 bytes.")
	if u := f.total.unpriced.Total(); u.Images > 0 {
		n.note(fmt.Sprintf("%.1f GB are in regions without a known price: they are in no amount of money.", cellValue(gb(u.Bytes))))
	}
	n.note("Blocked images would be deleted, but something that could use them was not looked at (sheets Blocked and Coverage). They are kept.")
	for i := range p.Attestations {
		a := &p.Attestations[i]
		n.note("Attested until " + date(a.Expires) + " to use no images: " + scope(&a.Attestation) + ". Reason: " + a.Reason)
	}
	if b.beyond != "" {
		n.note(sheetImages + ": " + b.beyond + ".")
	}
	n.note("Configuration (SHA-256): " + b.run.ConfigSHA256 + "; demurrage " + b.run.Version)
	return n.err
}

// note writes the summary row by row, on a sheet that is not streamed. It keeps the first error.
type note struct {
	book *book
	at   int
	err  error
}

func (n *note) skip() { n.at++ }

// put writes a row of one kind.
func (n *note) put(k kind, values ...any) {
	all := make([]kind, len(values))
	for i := range all {
		all[i] = k
	}
	n.row(all, values...)
	if k == kindHeader && len(values) > 2 && n.err == nil { // titles that wrap
		n.err = n.book.file.SetRowHeight(sheetSummary, n.at, headerHeight)
	}
}

func (n *note) row(look []kind, values ...any) {
	n.at++
	for i, v := range values {
		v = cellValue(v)
		k := look[i]
		if _, ok := v.(string); ok && k < kindHeader {
			k = kindText
		}
		n.cell(i+1, k, v)
	}
}

func (n *note) figure(name string, k kind, value any) { n.row([]kind{kindText, k}, name, value) }

// banner and note write a text over the width of the page.
func (n *note) banner(k kind, s string) { n.wide(k, 24, s) }

func (n *note) note(s string) {
	lines := 1 + utf8.RuneCountInString(s)/120
	n.wide(kindNote, 16*float64(min(lines, 25)), s)
}

func (n *note) wide(k kind, height float64, s string) {
	const columns = 5
	n.put(k, s)
	for i := 2; i <= columns; i++ {
		n.cell(i, k, nil)
	}
	if n.err == nil {
		from, to, _ := strings.Cut(cells(1, n.at, columns, n.at), ":")
		n.err = n.book.file.MergeCell(sheetSummary, from, to)
	}
	if n.err == nil {
		n.err = n.book.file.SetRowHeight(sheetSummary, n.at, height)
	}
}

func (n *note) cell(column int, k kind, v any) {
	at, err := "", n.err
	if err == nil {
		at, err = excelize.CoordinatesToCellName(column, n.at)
	}
	if err == nil {
		if s, ok := v.(string); ok {
			err = n.book.file.SetCellStr(sheetSummary, at, s)
		} else {
			err = n.book.file.SetCellValue(sheetSummary, at, v)
		}
	}
	if err == nil {
		err = n.book.file.SetCellStyle(sheetSummary, at, at, n.book.styles[k])
	}
	n.err = err
}
