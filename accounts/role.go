package accounts

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"demurrage/internal/image"
)

// Role is an IAM role as the configuration names it: a name or path/name, which is a role of that name in every
// account, or an ARN, in which {partition} and {account} stand for those of the account that is meant. The zero
// value is no role.
type Role struct{ partition, account, path string } // partition and account: "" where a placeholder stands

var (
	// https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html: names have up to 64 characters; paths, which
	// allow any printable ASCII, up to 512.
	rolePath     = regexp.MustCompile(`^(?:[!-.0-~]+/)*[\w+=,.@-]{1,64}$`)
	rolePartARN  = regexp.MustCompile(`^(aws(?:-[a-z]+)*|\{partition\})$`)
	roleBadBrace = regexp.MustCompile(`[{}]`)
)

// ParseRole reads a role. The empty text is no role.
func ParseRole(text string) (Role, error) {
	if text == "" {
		return Role{}, nil
	}
	r := Role{path: strings.TrimPrefix(text, "/")}
	if strings.HasPrefix(text, "arn:") {
		parts := strings.SplitN(text, ":", 6)
		if len(parts) != 6 || parts[2] != "iam" || parts[3] != "" || !rolePartARN.MatchString(parts[1]) ||
			(parts[4] != "{account}" && !image.ValidAccount(parts[4])) || !strings.HasPrefix(parts[5], "role/") {
			return Role{}, fmt.Errorf("%q is not a role's ARN (arn:{partition}:iam::{account}:role/NAME)", clip(text))
		}
		if parts[1] != "{partition}" {
			r.partition = parts[1]
		}
		if parts[4] != "{account}" {
			r.account = parts[4]
		}
		r.path = strings.TrimPrefix(parts[5], "role/")
	}
	if !rolePath.MatchString(r.path) || len(r.path) > 512 || roleBadBrace.MatchString(r.path) {
		return Role{}, fmt.Errorf("%q is not a role (use NAME, PATH/NAME or arn:{partition}:iam::{account}:role/NAME)", clip(text))
	}
	return r, nil
}

// ARN is the role's ARN in an account, "" for no role. What the role itself names comes before what is given here;
// where neither tells the partition, "{partition}" stands in its place.
func (r Role) ARN(partition, account string) string {
	if r == (Role{}) {
		return ""
	}
	return "arn:" + cmp.Or(r.partition, partition, "{partition}") + ":iam::" + cmp.Or(r.account, account) + ":role/" + r.path
}

// withPartition fills in a partition that became known.
func withPartition(arn, partition string) string {
	if partition == "" {
		return arn
	}
	return strings.Replace(arn, "{partition}", partition, 1)
}
