package image

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// Registry is what owns images: one account in one region.
type Registry struct {
	Account string `json:"account"`
	Region  string `json:"region"`
}

// Host is the registry's canonical host name, ACCOUNT.dkr.ecr.REGION.SUFFIX.
func (r Registry) Host() string {
	return r.Account + ".dkr.ecr." + r.Region + "." + PartitionOf(r.Region).dnsSuffix
}

// Repository is a repository in a registry.
type Repository struct {
	Registry
	Name string `json:"name"`
}

// ARN is the repository's Amazon resource name.
func (r Repository) ARN() string {
	return "arn:" + PartitionOf(r.Region).ID + ":ecr:" + r.Region + ":" + r.Account + ":repository/" + r.Name
}

// String is the repository as a reference without a tag: host/name.
func (r Repository) String() string { return r.Host() + "/" + r.Name }

// CompareRepositories orders repositories by account, region and name.
func CompareRepositories(a, b Repository) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
}

// Ref is a parsed reference to an image in an ECR registry. It is comparable, and two spellings of one reference
// (host forms, prefixes, an implied "latest") parse to the same value. At least one of Tag and Digest is set; where
// both are, the reference needs both: the digest is what runs, the tag is what is asked for next.
type Ref struct {
	Repository Repository `json:"repository"`
	Tag        string     `json:"tag,omitempty"`
	Digest     Digest     `json:"digest,omitempty"`
}

// ErrNotECR says that a text refers to no ECR private registry: an image of Docker Hub, public.ecr.aws or any other.
var ErrNotECR = errors.New("not a reference to an ECR private registry")

// ParseError is a text that looks like a reference to an ECR registry and is none. Whoever meets one does not know
// which image is meant, so it is a coverage gap and must never be dropped.
type ParseError struct{ Text, Why string }

func (e *ParseError) Error() string {
	return fmt.Sprintf("image reference %q: %s", clip(e.Text), e.Why)
}

// ParseRef parses an image reference in any spelling that AWS services accept or report: each host form of ECR
// (classic, FIPS, dual-stack; every partition), with a tag, a digest, both, or neither (which means the tag
// "latest"), after an optional docker://, oci://, http:// or https://.
//
// The error is ErrNotECR for references to other registries, and a *ParseError for what looks like ECR but cannot
// be understood.
//
// Host forms: https://docs.aws.amazon.com/general/latest/gr/ecr.html and
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html
func ParseRef(text string) (Ref, error) {
	s := strings.TrimSpace(text)
	for _, scheme := range [...]string{"docker://", "oci://", "https://", "http://"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			s = s[len(scheme):]
			break
		}
	}
	host, path, hasPath := strings.Cut(s, "/")
	host = strings.ToLower(host)
	if !looksLikeECR(host) {
		if looksLikeECR(strings.ToLower(s)) {
			return Ref{}, &ParseError{text, "an ECR host stands where none is expected"}
		}
		return Ref{}, ErrNotECR
	}
	registry, why := parseHost(host)
	if why != "" {
		return Ref{}, &ParseError{text, why}
	}
	if !hasPath || path == "" {
		return Ref{}, &ParseError{text, "it names no repository"}
	}
	ref := Ref{Repository: Repository{Registry: registry}}
	name, digest, hasDigest := strings.Cut(path, "@")
	if hasDigest {
		d, err := ParseDigest(digest)
		if err != nil {
			return Ref{}, &ParseError{text, err.Error()}
		}
		ref.Digest = d
	}
	name, tag, hasTag := strings.Cut(name, ":")
	if hasTag && !validTag(tag) {
		return Ref{}, &ParseError{text, fmt.Sprintf("%q is not a tag", clip(tag))}
	}
	if !validName(name) {
		return Ref{}, &ParseError{text, fmt.Sprintf("%q is not a repository name", clip(name))}
	}
	ref.Repository.Name, ref.Tag = name, tag
	if ref.Tag == "" && ref.Digest == "" {
		ref.Tag = "latest"
	}
	return ref, nil
}

// String is the canonical spelling: classic host, name, tag and digest as far as set.
func (r Ref) String() string {
	s := r.Repository.String()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// CompareRefs orders references by repository, tag and digest.
func CompareRefs(a, b Ref) int {
	return cmp.Or(CompareRepositories(a.Repository, b.Repository), cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Digest, b.Digest))
}

// looksLikeECR errs on the side of yes: what it lets through is parsed strictly, what it refuses is forgotten.
// The VPC endpoint hosts of ECR (vpce-….dkr.ecr.REGION.vpce.amazonaws.com) look like it and name no account.
func looksLikeECR(s string) bool {
	return strings.Contains(s, ".dkr.ecr") || strings.Contains(s, ".dkr-ecr")
}

// parseHost takes ACCOUNT.dkr.ecr[-fips].REGION.SUFFIX or ACCOUNT.dkr-ecr[-fips].REGION.SUFFIX apart.
func parseHost(host string) (r Registry, why string) {
	host = strings.TrimSuffix(host, ":443")
	account, rest, _ := strings.Cut(host, ".")
	if !ValidAccount(account) {
		return Registry{}, "its host does not begin with an account id of 12 digits"
	}
	for _, form := range [...]string{"dkr.ecr.", "dkr.ecr-fips.", "dkr-ecr.", "dkr-ecr-fips."} {
		tail, ok := strings.CutPrefix(rest, form)
		if !ok {
			continue
		}
		region, suffix, _ := strings.Cut(tail, ".")
		if !ValidRegion(region) {
			return Registry{}, fmt.Sprintf("%q in its host is not a region", clip(region))
		}
		if !knownSuffix(suffix) {
			return Registry{}, fmt.Sprintf("the host's suffix %q is none of a known partition", clip(suffix))
		}
		return Registry{Account: account, Region: region}, ""
	}
	return Registry{}, "its host is none of ECR's forms"
}

// ValidAccount reports whether s is an AWS account id: 12 digits.
func ValidAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// validTag follows the OCI distribution specification: [A-Za-z0-9_][A-Za-z0-9._-]{0,127}.
func validTag(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && (c < 'A' || c > 'Z') && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// validName is a little wider than ECR's own rule (which forbids doubled separators), so that no image in use is
// lost to a rule that was once laxer.
func validName(s string) bool {
	if s == "" || len(s) > 256 || strings.Contains(s, "//") || s[0] == '/' || s[len(s)-1] == '/' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isDigit(c) && c != '_' && c != '.' && c != '-' && c != '/' {
			return false
		}
	}
	return true
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
