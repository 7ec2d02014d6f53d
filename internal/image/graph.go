package image

import "slices"

// Relation is how an image hangs on another.
type Relation uint8

// The relations of the graph.
const (
	Child    Relation = iota // of an index
	Referrer                 // of a subject: a signature, an attestation, an SBOM, a SOCI index
)

// Edge leads to another image of the same repository, by its place in the list the graph was made of.
type Edge struct {
	To       int
	Relation Relation
}

// Graph holds what ties the images of one repository together: indexes and their children (nested too), subjects
// and their referrers (by OCI subject and by the tag schemes of SubjectOfTag). References to images that are not in
// the repository are left out. It is immutable and shares the images it was made of.
type Graph struct {
	index    map[Digest]int
	up, down [][]Edge
	root     []bool
}

// NewGraph links the images of one repository.
func NewGraph(images []Image) *Graph {
	g := &Graph{
		index: make(map[Digest]int, len(images)),
		up:    make([][]Edge, len(images)),
		down:  make([][]Edge, len(images)),
		root:  make([]bool, len(images)),
	}
	for i := range images {
		g.index[images[i].Digest] = i
	}
	for i := range images {
		img := &images[i]
		for _, d := range img.Children {
			if j, ok := g.index[d]; ok {
				g.link(i, j, Child)
			}
		}
		if img.Subject != "" {
			if j, ok := g.index[img.Subject]; ok {
				g.link(j, i, Referrer)
			}
		}
		for _, tag := range img.Tags {
			if d, ok := SubjectOfTag(tag); ok {
				if j, ok := g.index[d]; ok {
					g.link(j, i, Referrer)
				}
			}
		}
	}
	g.findRoots(images)
	return g
}

// link adds the edge from a parent (index or subject) down to its dependant, once.
func (g *Graph) link(parent, dependant int, rel Relation) {
	if parent == dependant {
		return // only a tag can say such a thing
	}
	down, up := Edge{dependant, rel}, Edge{parent, rel}
	// The edge stands in both lists or in neither: the shorter one answers.
	if len(g.up[dependant]) < len(g.down[parent]) {
		if slices.Contains(g.up[dependant], up) {
			return
		}
	} else if slices.Contains(g.down[parent], down) {
		return
	}
	g.down[parent] = append(g.down[parent], down)
	g.up[dependant] = append(g.up[dependant], up)
}

// findRoots marks the images that retention rules judge: those that nothing holds, those that only a tag makes a
// referrer while another tag makes them something of their own, and, since tags can tie a knot that no root
// reaches, whatever would otherwise be judged by nobody.
func (g *Graph) findRoots(images []Image) {
	reached := make([]bool, len(images))
	var queue []int
	reach := func(i int) {
		if !reached[i] {
			reached[i] = true
			queue = append(queue, i)
		}
		for len(queue) > 0 {
			i := queue[len(queue)-1]
			queue = queue[:len(queue)-1]
			for _, e := range g.down[i] {
				if !reached[e.To] {
					reached[e.To] = true
					queue = append(queue, e.To)
				}
			}
		}
	}
	for i := range images {
		if len(g.up[i]) == 0 || g.ownTagged(images, i) {
			g.root[i] = true
			reach(i)
		}
	}
	for i := range images {
		if !reached[i] {
			g.root[i] = true
			reach(i)
		}
	}
}

// ownTagged: all that ties image i to others is its tags, and it has a tag that ties it to none.
func (g *Graph) ownTagged(images []Image, i int) bool {
	img := &images[i]
	for _, e := range g.up[i] {
		if e.Relation == Child || img.Subject == images[e.To].Digest {
			return false
		}
	}
	for _, tag := range img.Tags {
		if _, ok := SubjectOfTag(tag); !ok {
			return true
		}
	}
	return false
}

// Find gives the place of a digest in the list the graph was made of.
func (g *Graph) Find(d Digest) (int, bool) {
	i, ok := g.index[d]
	return i, ok
}

// Up lists the indexes that hold image i and the subjects it refers to.
func (g *Graph) Up(i int) []Edge { return g.up[i] }

// Down lists the children and the referrers of image i.
func (g *Graph) Down(i int) []Edge { return g.down[i] }

// IsRoot reports whether retention rules judge image i itself: it is neither a child nor a referrer.
func (g *Graph) IsRoot(i int) bool { return g.root[i] }

// LastRoot is the newest root where all of them go, of those that can be pulled if there is one; -1: a root stays, or there is
// none. The images are those that the graph was made of, oldest first.
func (g *Graph) LastRoot(images []Image, goes func(i int) bool) int {
	last := -1
	for i := range images {
		if !g.root[i] {
			continue
		}
		if !goes(i) {
			return -1
		}
		if last < 0 || images[i].Status == Active || images[last].Status != Active {
			last = i
		}
	}
	return last
}
