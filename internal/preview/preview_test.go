package preview

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// fake is ECR: busy with another preview until a time, and with ours until another.
type fake struct {
	busy, ready time.Time
	starts      int
	gets        int
	again       int // the call before which somebody starts it again
	results     int
	status      types.LifecyclePolicyPreviewStatus
	text        string // of the answer; "": that of the request
	err         error
}

func (f *fake) StartLifecyclePolicyPreview(_ context.Context, in *ecr.StartLifecyclePolicyPreviewInput, _ ...func(*ecr.Options)) (*ecr.StartLifecyclePolicyPreviewOutput, error) {
	f.starts++
	if time.Now().Before(f.busy) {
		return nil, &types.LifecyclePolicyPreviewInProgressException{}
	}
	if f.text == "" {
		f.text = *in.LifecyclePolicyText
	}
	return &ecr.StartLifecyclePolicyPreviewOutput{}, nil
}

func (f *fake) GetLifecyclePolicyPreview(_ context.Context, in *ecr.GetLifecyclePolicyPreviewInput, _ ...func(*ecr.Options)) (*ecr.GetLifecyclePolicyPreviewOutput, error) {
	f.gets++
	if f.gets == f.again {
		return &ecr.GetLifecyclePolicyPreviewOutput{Status: types.LifecyclePolicyPreviewStatusInProgress, LifecyclePolicyText: &f.text}, nil
	}
	if f.err != nil {
		return nil, f.err
	}
	out := &ecr.GetLifecyclePolicyPreviewOutput{Status: f.status, LifecyclePolicyText: &f.text}
	if time.Now().Before(f.ready) {
		out.Status = types.LifecyclePolicyPreviewStatusInProgress
		return out, nil
	}
	from := 0
	if in.NextToken != nil {
		_, _ = fmt.Sscan(*in.NextToken, &from)
	}
	to := min(from+int(*in.MaxResults), f.results)
	for i := from; i < to; i++ {
		out.PreviewResults = append(out.PreviewResults, types.LifecyclePolicyPreviewResult{ImageDigest: aws.String("sha256:" + fmt.Sprintf("%064x", i)),
			AppliedRulePriority: aws.Int32(7), Action: &types.LifecyclePolicyRuleAction{Type: types.ImageActionTypeTransition}})
	}
	if to < f.results {
		out.NextToken = aws.String(fmt.Sprint(to))
	}
	return out, nil
}

func TestPreview(t *testing.T) {
	const text = `{"rules": []}`
	for _, tt := range []struct {
		name        string
		busy, ready time.Duration
		f           fake
		want        string // of the error
		gets        int
	}{
		{name: "at once", gets: 1},
		{name: "pages", f: fake{results: 250}, gets: 3},
		{name: "is started again between pages", f: fake{results: 250, again: 3}, gets: 6},
		{name: "waits with longer pauses", ready: 10 * time.Second, gets: 5}, // after 0, 1, 3, 7 and 15 s
		{name: "waits for another's", busy: time.Minute, gets: 1},
		{name: "gives up", ready: time.Hour, want: "GetLifecyclePolicyPreview: it was not there after 10m0s"},
		{name: "gives up before it starts", busy: time.Hour, want: "StartLifecyclePolicyPreview: it was not there after 10m0s"},
		{name: "failed", f: fake{status: types.LifecyclePolicyPreviewStatusFailed}, want: `the preview ended as "FAILED"`},
		{name: "expired", f: fake{status: types.LifecyclePolicyPreviewStatusExpired}, want: `the preview ended as "EXPIRED"`},
		{name: "another policy", f: fake{text: `{"rules": [1]}`}, want: "another policy"},
		{name: "the same policy", f: fake{text: `{"rules":[]}`}, gets: 1},
		{name: "refused", f: fake{err: &types.RepositoryNotFoundException{Message: aws.String("it is gone")}}, want: "GetLifecyclePolicyPreview: RepositoryNotFoundException: it is gone"},
		{name: "broken", f: fake{err: errors.New("no route")}, want: "GetLifecyclePolicyPreview: no route"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := tt.f
				f.busy, f.ready = time.Now().Add(tt.busy), time.Now().Add(tt.ready)
				if f.status == "" {
					f.status = types.LifecyclePolicyPreviewStatusComplete
				}
				list, at, err := Preview(t.Context(), &f, "app", text)
				if tt.want != "" {
					if err == nil || !strings.Contains(err.Error(), tt.want) {
						t.Fatalf("%v", err)
					}
					return
				}
				if err != nil || len(list) != f.results || f.gets != tt.gets || at.Before(f.busy) {
					t.Errorf("%v: %d results of %d after %d calls, of %v", err, len(list), f.results, f.gets, at)
				}
				for i, p := range list {
					if p.Rule != 7 || p.Action != "transition" || !strings.HasSuffix(string(p.Digest), fmt.Sprintf("%064x", i)) {
						t.Fatalf("%+v", p)
					}
				}
			})
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			f := &fake{ready: time.Now().Add(time.Hour)}
			time.AfterFunc(2*time.Second, cancel)
			if _, _, err := Preview(ctx, f, "app", text); !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
		})
	})
}
