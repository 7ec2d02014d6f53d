package scan

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// IAM publishes no rates.
var iamAll = bucket{name: "everything", rate: 10, burst: 20, adapt: true}

var iamOps = map[string]bucket{"ListRoles": iamAll}

const iamPage = 1000

// scanIAM collects the trust policies of the account's roles, as far as they admit anybody but its own services: whoever
// may assume a role here may pull whatever the role may.
//
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListRoles.html
func scanIAM(ctx context.Context, w *work) {
	var api iam.ListRolesAPIClient = iam.NewFromConfig(w.cfg)
	seen := make(map[string]bool)
	for out, err := range pages(ctx, iam.NewListRolesPaginator(api, &iam.ListRolesInput{MaxItems: aws.Int32(iamPage)})) {
		if err != nil {
			w.fail("ListRoles", "", err)
			break
		}
		for i := range out.Roles {
			// The text is URL-encoded: https://docs.aws.amazon.com/IAM/latest/APIReference/API_Role.html
			text, err := url.QueryUnescape(aws.ToString(out.Roles[i].AssumeRolePolicyDocument))
			if err != nil {
				w.fail("ListRoles", aws.ToString(out.Roles[i].Arn), err)
				continue
			}
			if !servicesOnly(text) {
				seen[strings.Clone(text)] = true
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trusts = slices.AppendSeq(w.trusts, maps.Keys(seen))
}

// servicesOnly reports whether a trust policy plainly admits AWS services alone, as most do.
func servicesOnly(trust string) bool {
	var doc struct {
		Statement []struct{ Principal map[string]json.RawMessage }
	}
	if json.Unmarshal([]byte(trust), &doc) != nil || len(doc.Statement) == 0 {
		return false
	}
	for _, st := range doc.Statement {
		if _, ok := st.Principal["Service"]; !ok || len(st.Principal) != 1 {
			return false
		}
	}
	return true
}
