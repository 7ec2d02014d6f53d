package image

import (
	"fmt"
	"reflect"
	"testing"
	"time"
)

func img(name string, opts ...func(*Image)) Image {
	i := Image{Digest: d(name), PushedAt: time.Unix(0, 0), MediaType: MediaTypeOCIManifest}
	for _, o := range opts {
		o(&i)
	}
	return i
}

// d makes a digest that is recognizable by its first letter.
func d(name string) Digest { return Digest("sha256:" + fmt.Sprintf("%s%064d", name, 0)[:64]) }

func tags(t ...string) func(*Image) { return func(i *Image) { i.Tags = t } }
func subject(n string) func(*Image) { return func(i *Image) { i.Subject = d(n) } }
func tagOf(n, suffix string) string { return "sha256-" + string(d(n)[7:]) + suffix }
func children(n ...string) func(*Image) {
	return func(i *Image) {
		i.MediaType = MediaTypeOCIIndex
		for _, n := range n {
			i.Children = append(i.Children, d(n))
		}
	}
}

func TestGraphRoots(t *testing.T) {
	tests := []struct {
		name   string
		images []Image
		roots  []bool
	}{
		{"alone, untagged", []Image{img("a")}, []bool{true}},
		{"index and child", []Image{img("a", children("b")), img("b")}, []bool{true, false}},
		{"nested indexes", []Image{img("a", children("b")), img("b", children("c")), img("c")}, []bool{true, false, false}},
		{"a tagged child is a child", []Image{img("a", children("b")), img("b", tags("v1-amd64"))}, []bool{true, false}},
		{"a child of nothing here", []Image{img("a", children("x"))}, []bool{true}},
		{"referrer by subject", []Image{img("a"), img("b", subject("a"))}, []bool{true, false}},
		{"referrer of a referrer", []Image{img("a"), img("b", subject("a")), img("c", subject("b"))}, []bool{true, false, false}},
		{"referrer of nothing here", []Image{img("b", subject("x"))}, []bool{true}},
		{"cosign's tags", []Image{img("a"), img("b", tags(tagOf("a", ".sig"))), img("c", tags(tagOf("a", ".att")))}, []bool{true, false, false}},
		{"fallback index with its referrers", []Image{img("a"), img("b", children("c"), tags(tagOf("a", ""))), img("c", subject("a"))}, []bool{true, false, false}},
		{"a signature's tag beside its own", []Image{img("a"), img("b", tags("release", tagOf("a", ".sig")))}, []bool{true, true}},
		{"a tag that points at itself", []Image{img("a", tags(tagOf("a", "")))}, []bool{true}},
		{"a knot of tags", []Image{img("a", tags(tagOf("b", ""))), img("b", tags(tagOf("a", "")))}, []bool{true, false}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := NewGraph(tt.images)
			var got []bool
			for i := range tt.images {
				got = append(got, g.IsRoot(i))
			}
			if !reflect.DeepEqual(got, tt.roots) {
				t.Errorf("roots %v, want %v", got, tt.roots)
			}
			for i := range tt.images {
				for _, e := range g.Down(i) {
					back := 0
					for _, u := range g.Up(e.To) {
						if u == (Edge{i, e.Relation}) {
							back++
						}
					}
					if back != 1 {
						t.Errorf("the edge %d -> %d stands %d times on the other side", i, e.To, back)
					}
				}
			}
		})
	}
}
