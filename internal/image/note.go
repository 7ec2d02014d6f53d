package image

import "cmp"

// Note is something that a scan came upon and that changes no decision, but that whoever reads the plan should know:
// pull times that are blind to somebody, a replication, a revision that is computed at run time.
type Note struct {
	Account  string `json:"account"`
	Region   string `json:"region"`
	Source   string `json:"source"`
	Resource string `json:"resource,omitempty"`
	Text     string `json:"text"`
}

// CompareNotes is a total order: by source, place, resource and text.
func CompareNotes(a, b Note) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region),
		cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Text, b.Text))
}
