package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Most that a treemap shows by themselves; the rest of an account is one field, and the rest of the accounts another.
const (
	mostFields   = 300
	mostAccounts = 40
)

// treemap is the picture of what is stored, for the page.
type treemap struct {
	Name          string
	Width, Height int
	Shown         string
	Accounts      []mapAccount
	Cells         []mapCell
}

type mapAccount struct {
	box
	Label *mapText
}

type mapCell struct {
	box
	Class  string // none, some, most
	Text   string
	Find   string // what finds the repository in the table; "" for several
	Labels []mapText
}

type mapText struct {
	X, Y tenth
	Text string
}

type box struct{ X, Y, W, H tenth }

// tenth is a length that is written to a tenth.
type tenth float64

func (t tenth) String() string { return strconv.FormatFloat(float64(t), 'f', 1, 64) }

// plot is a repository, or the small ones of an account together.
type plot struct {
	row   *costRow
	rest  int // how many repositories it stands for; 0: row
	bytes int64
	goes  int64 // of bytes
}

type plots struct {
	name  string
	label string
	bytes int64
	plots []plot
}

// newPlots groups what is stored by account, the largest first.
func newPlots(v *costView) []plots {
	var largest []*costRow
	for i := range v.rows {
		if v.rows[i].unique > 0 {
			largest = append(largest, &v.rows[i])
		}
	}
	slices.SortStableFunc(largest, func(a, b *costRow) int { return cmp.Compare(b.unique, a.unique) })
	accounts := map[string]*plots{}
	var list []*plots
	for i, r := range largest {
		a := accounts[r.Account]
		if a == nil {
			a = &plots{name: named(*r.account), label: cmp.Or(r.account.Name, r.Account)}
			accounts[r.Account] = a
			list = append(list, a)
		}
		a.bytes += r.unique
		if i < mostFields {
			a.plots = append(a.plots, plot{row: r, bytes: r.unique, goes: r.going()})
			continue
		}
		if n := len(a.plots); n == 0 || a.plots[n-1].rest == 0 {
			a.plots = append(a.plots, plot{row: r})
		}
		rest := &a.plots[len(a.plots)-1]
		rest.rest++
		rest.bytes += r.unique
		rest.goes += r.going()
	}
	slices.SortStableFunc(list, func(a, b *plots) int { return cmp.Compare(b.bytes, a.bytes) })
	out := make([]plots, 0, min(len(list), mostAccounts))
	for i, a := range list {
		if i < mostAccounts {
			out = append(out, *a)
			continue
		}
		if i == mostAccounts {
			others := count(len(list)-mostAccounts, "smaller account")
			out = append(out, plots{name: others, label: others, plots: []plot{{row: a.plots[0].row}}})
		}
		others := &out[mostAccounts]
		others.bytes += a.bytes
		for j := range a.plots {
			others.plots[0].rest += max(a.plots[j].rest, 1)
			others.plots[0].bytes += a.plots[j].bytes
			others.plots[0].goes += a.plots[j].goes
		}
	}
	for i := range out {
		slices.SortStableFunc(out[i].plots, func(a, b plot) int { return cmp.Compare(b.bytes, a.bytes) })
	}
	return out
}

// going is how much of what a repository stores can go: exactly, or in proportion to the sizes of its images.
func (r *costRow) going() int64 {
	if r.freedKnown > 0 || r.sum == 0 {
		return r.freed
	}
	return int64(float64(r.unique) * (float64(r.goes.Bytes) / float64(r.sum)))
}

func newTreemap(v *costView, accounts []plots, name string, width, height int) treemap {
	const title, gap = 17.0, 1.5
	m := treemap{Name: name, Width: width, Height: height}
	repositories := 0
	for i := range v.rows {
		if v.rows[i].unique > 0 {
			repositories++
		}
	}
	m.Shown = "bytes of " + count(repositories, "repository") + " in " + count(len(accounts), "account")
	weights := make([]int64, len(accounts))
	for i := range accounts {
		weights[i] = accounts[i].bytes
	}
	for i, at := range squarify(weights, box{0, 0, tenth(width), tenth(height)}) {
		a := &accounts[i]
		out := mapAccount{box: at}
		at = box{at.X + gap, at.Y + gap, max(at.W-2*gap, 0), max(at.H-2*gap, 0)}
		if at.W > 60 && at.H > 2*title {
			out.Label = &mapText{at.X + 3, at.Y + 12, fit(a.label, float64(at.W)-6, 7)}
			at.Y, at.H = at.Y+title, at.H-title
		}
		m.Accounts = append(m.Accounts, out)
		weights := make([]int64, len(a.plots))
		for j := range a.plots {
			weights[j] = a.plots[j].bytes
		}
		for j, at := range squarify(weights, at) {
			m.Cells = append(m.Cells, newMapCell(v, a.name, &a.plots[j], at))
		}
	}
	return m
}

func newMapCell(v *costView, account string, p *plot, at box) mapCell {
	share := shareText(p.goes, p.bytes)
	c := mapCell{box: at, Class: "none"}
	switch {
	case 2*p.goes >= p.bytes:
		c.Class = "most"
	case p.goes > 0:
		c.Class = "some"
	}
	name := count(p.rest, "smaller repository")
	if p.rest == 0 {
		c.Find = pageText(p.row.Name)
		name = c.Find
	}
	c.Text = cut(visible(account), 100) + ", " + cut(name, 150) + ": " + size(p.bytes) + " stored, " + share + " can go"
	if p.rest == 0 && p.row.goes.Images > 0 {
		c.Text += ", saving " + v.saving(&p.row.costSums)
	}
	if at.W > 40 && at.H > 18 {
		c.Labels = append(c.Labels, mapText{at.X + 4, at.Y + 13, fitName(name, float64(at.W)-8)})
	}
	if at.W > 100 && at.H > 34 {
		c.Labels = append(c.Labels, mapText{at.X + 4, at.Y + 27, fit(size(p.bytes)+", "+share+" can go", float64(at.W)-8, 6.2)})
	}
	return c
}

// shareText writes a share without saying that a little is nothing, or that nearly all is all.
func shareText(part, of int64) string {
	if part <= 0 || of <= 0 {
		return "0 %"
	}
	n := int(float64(part) / float64(of) * 100)
	switch {
	case part >= of:
		return "100 %"
	case n == 0:
		return "less than 1 %"
	}
	return strconv.Itoa(n) + " %"
}

// fit cuts a text to a width, where a character is so wide.
func fit(s string, width, character float64) string {
	s = visible(s)
	if most := int(width / character); utf8.RuneCountInString(s) > most {
		return strings.TrimSpace(cut(s, max(most, 1)))
	}
	return s
}

// fitName cuts the name of a repository to a width, the folders in front first.
func fitName(s string, width float64) string {
	const character = 6.2
	if i := strings.LastIndexByte(s, '/'); i >= 0 && utf8.RuneCountInString(s) > int(width/character) {
		s = s[i+1:]
	}
	return fit(s, width, character)
}

// squarify divides a rectangle by weights, which fall, into rectangles that are as square as they can be.
//
// Bruls, Huizing, van Wijk: Squarified Treemaps (2000).
func squarify(weights []int64, in box) []box {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	out := make([]box, 0, len(weights))
	if total == 0 {
		return append(out, make([]box, len(weights))...)
	}
	scale := float64(in.W) * float64(in.H) / total
	for at := 0; at < len(weights); {
		side := float64(min(in.W, in.H))
		end, sum := at+1, float64(weights[at])*scale
		for end < len(weights) {
			more := sum + float64(weights[end])*scale
			first := float64(weights[at]) * scale
			if worst(first, float64(weights[end])*scale, more, side) > worst(first, float64(weights[end-1])*scale, sum, side) {
				break
			}
			end, sum = end+1, more
		}
		thick := 0.0
		if side > 0 {
			thick = sum / side
		}
		offset := 0.0
		for _, w := range weights[at:end] {
			long := 0.0
			if thick > 0 {
				long = float64(w) * scale / thick
			}
			if in.W < in.H {
				out = append(out, box{in.X + tenth(offset), in.Y, tenth(long), tenth(thick)})
			} else {
				out = append(out, box{in.X, in.Y + tenth(offset), tenth(thick), tenth(long)})
			}
			offset += long
		}
		if in.W < in.H {
			in.Y, in.H = in.Y+tenth(thick), max(in.H-tenth(thick), 0)
		} else {
			in.X, in.W = in.X+tenth(thick), max(in.W-tenth(thick), 0)
		}
		at = end
	}
	return out
}

// worst is how long the longest rectangle of a row is for its width.
func worst(largest, smallest, sum, side float64) float64 {
	if sum == 0 || smallest == 0 {
		return 1e300
	}
	s := sum * sum
	return max(side*side*largest/s, s/(side*side*smallest))
}
