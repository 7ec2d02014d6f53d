package scan

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/inspector2"
	"github.com/aws/aws-sdk-go-v2/service/inspector2/types"

	"demurrage/internal/image"
)

// Inspector publishes no rates.
var inspectorAll = bucket{name: "everything", rate: 5, burst: 10, adapt: true}

var inspectorOps = map[string]bucket{
	"BatchGetAccountStatus": inspectorAll,
	"ListCoverage":          inspectorAll,
}

// https://docs.aws.amazon.com/general/latest/gr/inspector2.html
var inspectorRegions []string

const (
	inspectorPage = 200
	inspectorLate = 48 * time.Hour // what Inspector knows of use may be a day old, and so may what is newest of it
)

type inspectorAPI interface {
	inspector2.ListCoverageAPIClient
	BatchGetAccountStatus(context.Context, *inspector2.BatchGetAccountStatusInput, ...func(*inspector2.Options)) (*inspector2.BatchGetAccountStatusOutput, error)
}

// scanInspector asks Amazon Inspector, where it scans the registry, which images it has seen in use on ECS and EKS. That
// can only add protection: what it has not seen may be in use all the same.
//
// https://docs.aws.amazon.com/inspector/latest/user/scanning-ecr.html
func scanInspector(ctx context.Context, w *work) {
	var api inspectorAPI = inspector2.NewFromConfig(w.cfg)
	status, err := api.BatchGetAccountStatus(ctx, &inspector2.BatchGetAccountStatusInput{AccountIds: []string{w.Account}})
	if err != nil {
		w.fail("BatchGetAccountStatus", "", err)
		return
	}
	for _, f := range status.FailedAccounts {
		w.fail("BatchGetAccountStatus", aws.ToString(f.AccountId), fmt.Errorf("failure %s: %s", f.ErrorCode, aws.ToString(f.ErrorMessage)))
	}
	if len(status.FailedAccounts) > 0 {
		return
	}
	if len(status.Accounts) == 0 || status.Accounts[0].ResourceState == nil || status.Accounts[0].ResourceState.Ecr == nil {
		w.fail("BatchGetAccountStatus", w.Account, errNoAnswer)
		return
	}
	if status.Accounts[0].ResourceState.Ecr.Status == types.StatusDisabled {
		return
	}
	since := time.Now().Add(-inspectorLate)
	ofImages := []types.CoverageStringFilter{{Comparison: types.CoverageStringComparisonEquals, Value: aws.String(string(types.CoverageResourceTypeAwsEcrContainerImage))}}
	for _, filter := range []*types.CoverageFilterCriteria{
		{ResourceType: ofImages, EcrImageInUseCount: []types.CoverageNumberFilter{{LowerInclusive: aws.Int64(1)}}},
		{ResourceType: ofImages, EcrImageLastInUseAt: []types.CoverageDateFilter{{StartInclusive: &since}}},
	} {
		p := inspector2.NewListCoveragePaginator(api, &inspector2.ListCoverageInput{FilterCriteria: filter, MaxResults: aws.Int32(inspectorPage)})
		for out, err := range pages(ctx, p) {
			if err != nil {
				w.fail("ListCoverage", "", err)
				break
			}
			for i := range out.CoveredResources {
				inspected(w, &out.CoveredResources[i])
			}
		}
	}
}

// inspected records an image that Inspector knows in use: arn:aws:ecr:REGION:ACCOUNT:repository/NAME/sha256:….
func inspected(w *work, r *types.CoveredResource) {
	id := aws.ToString(r.ResourceId)
	parts := strings.SplitN(id, ":", 6)
	name, digest, ok := "", "", len(parts) == 6 && parts[2] == "ecr"
	if ok {
		name, digest, ok = cutLast(strings.TrimPrefix(parts[5], "repository/"), "/")
	}
	d, err := image.ParseDigest(digest)
	if !ok || err != nil {
		w.fail("ListCoverage", id, fmt.Errorf("it is not the ARN of an image"))
		return
	}
	detail := "seen in use"
	if r.ResourceMetadata != nil && r.ResourceMetadata.EcrImage != nil {
		m := r.ResourceMetadata.EcrImage
		detail = fmt.Sprintf("seen in use by %d tasks or pods", aws.ToInt64(m.InUseCount))
		if m.LastInUseAt != nil {
			detail += ", last on " + m.LastInUseAt.UTC().Format(time.DateOnly)
		}
	}
	w.add(image.Use{Source: "inspector", Resource: id, Detail: detail, Live: true}, image.Ref{
		Repository: image.Repository{Registry: image.Registry{Account: parts[4], Region: parts[3]}, Name: strings.Clone(name)}, Digest: d,
	})
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
