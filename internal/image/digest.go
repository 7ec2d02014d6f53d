package image

import (
	"fmt"
	"strings"
)

// Digest is a validated "sha256:<64 hex digits>", the only algorithm that ECR computes. The zero value is no digest.
type Digest string

const sha256Prefix = "sha256:"

// ParseDigest validates a digest. ECR writes lower-case hex; anything else is an error.
func ParseDigest(s string) (Digest, error) {
	hex, ok := strings.CutPrefix(s, sha256Prefix)
	if !ok || !isHex64(hex) {
		return "", fmt.Errorf("%q is not a sha256 digest", clip(s))
	}
	return Digest(s), nil
}

func isHex64(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// SubjectOfTag gives the digest that a referrer's tag points at, in the schemes of registries and signers that
// predate OCI 1.1: "sha256-<hex>" (the referrers fallback index) and cosign's "sha256-<hex>.sig", ".att", ".sbom".
func SubjectOfTag(tag string) (Digest, bool) {
	rest, ok := strings.CutPrefix(tag, "sha256-")
	if !ok || len(rest) < 64 || !isHex64(rest[:64]) {
		return "", false
	}
	switch rest[64:] {
	case "", ".sig", ".att", ".sbom":
		return Digest(sha256Prefix + rest[:64]), true
	}
	return "", false
}

// clip shortens untrusted text for an error message.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
