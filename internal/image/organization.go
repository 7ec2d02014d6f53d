package image

import "strings"

// Organization is what is known of the AWS Organization, whose accounts policies may admit as a whole. The zero value:
// nothing.
type Organization struct {
	ID      string   `json:"id"`
	Members []Member `json:"members"` // every account of it, whether it is scanned or not
}

// Member is an account of the organization and its place there, as policies write it: o-…/r-…/ou-…/ with a slash at
// the end, "" where it is not known.
type Member struct {
	Account string `json:"account"`
	Path    string `json:"path,omitempty"`
}

// Under reports whether a member of an organization may be in the part of it that a value of aws:PrincipalOrgPaths
// describes.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-principalorgpaths
func (m *Member) Under(organization, pattern string) bool {
	if m.Path == "" {
		return strings.HasPrefix(pattern, organization+"/")
	}
	return Glob(pattern).Match(m.Path)
}
