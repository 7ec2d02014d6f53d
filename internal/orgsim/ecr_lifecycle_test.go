package orgsim

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

var lifecycleNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// lifecyclePolicy makes a policy of rules "priority selection -> action", where selection and action are the inside
// of JSON objects and an action of a word is that type.
func lifecyclePolicy(rules ...string) string {
	var list []string
	for _, r := range rules {
		head, action, _ := strings.Cut(r, " -> ")
		priority, selection, _ := strings.Cut(head, " ")
		switch action {
		case "":
			action = `"type":"expire"`
		case "archive":
			action = `"type":"transition","targetStorageClass":"archive"`
		}
		list = append(list, fmt.Sprintf(`{"rulePriority":%s,"description":"a rule","selection":{%s},"action":{%s}}`, priority, selection, action))
	}
	return `{"rules":[` + strings.Join(list, ",") + `]}`
}

func tagged(list string, prefixes ...string) string {
	text, _ := json.Marshal(prefixes)
	return fmt.Sprintf(`"tagStatus":"tagged","tag%sList":%s,`, list, text)
}

func moreThan(n int) string {
	return fmt.Sprintf(`"countType":"imageCountMoreThan","countNumber":%d`, n)
}

func olderThan(kind string, days int) string {
	return fmt.Sprintf(`"countType":"since%s","countUnit":"days","countNumber":%d`, kind, days)
}

// preview starts a preview of a policy and answers it once it is complete, all pages.
func (r registry) preview(policy string) *ecr.GetLifecyclePolicyPreviewOutput {
	r.t.Helper()
	in := &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: &r.name}
	if policy != "" {
		in.LifecyclePolicyText = &policy
	}
	if _, err := r.StartLifecyclePolicyPreview(r.t.Context(), in); err != nil {
		r.t.Fatal(err)
	}
	var out *ecr.GetLifecyclePolicyPreviewOutput
	var results []types.LifecyclePolicyPreviewResult
	var token *string
	for {
		var err error
		if out, err = r.GetLifecyclePolicyPreview(r.t.Context(), &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: &r.name, NextToken: token}); err != nil {
			r.t.Fatal(err)
		}
		if out.Status == types.LifecyclePolicyPreviewStatusInProgress {
			continue
		}
		results = append(results, out.PreviewResults...)
		if token = out.NextToken; token == nil {
			out.PreviewResults = results
			return out
		}
	}
}

// acts writes a preview as "image:priority action class", by the names that images were pushed under.
func acts(out *ecr.GetLifecyclePolicyPreviewOutput, names map[string]string) string {
	var words []string
	for _, x := range out.PreviewResults {
		word := fmt.Sprintf("%s:%d", names[*x.ImageDigest], *x.AppliedRulePriority)
		if x.Action.Type == types.ImageActionTypeTransition {
			word += ">" + strings.ToLower(string(x.Action.TargetStorageClass))
		}
		if x.StorageClass == types.LifecyclePolicyStorageClassArchive {
			word += "(archived)"
		}
		words = append(words, word)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// TestLifecycleExamples are the examples of AWS's documentation and what it says beside them. An image is "name
// days-since-push tag…".
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_examples.html
func TestLifecycleExamples(t *testing.T) {
	t.Parallel()
	betaProd := []string{"A 10 beta-1 prod-1", "B 9 beta-2 prod-2", "C 8 beta-3"}
	alphaBeta := []string{"A 12 alpha-1", "B 11 beta-1", "C 10 alpha-2 beta-2", "D 4 alpha-3", "E 3 beta-3", "F 2 alpha-4 beta-4"}
	three := []string{"A 10 alpha-1 beta-1 gamma-1", "B 9 alpha-2 beta-2", "C 8 alpha-3 beta-3 gamma-2"}
	all := []string{"A 4 alpha-1", "B 3 beta-1", "C 2", "D 1 alpha-2"}
	for _, x := range []struct {
		name   string
		images []string
		policy string
		want   string
	}{
		{"age", []string{"A 15 prod1", "B 15 dev", "C 14 prod2", "D 1 production"}, lifecyclePolicy("1 " + tagged("Pattern", "prod*") + olderThan("ImagePushed", 14)), "A:1"},
		{"count", []string{"A 3", "B 2", "C 1", "D 4 x"}, lifecyclePolicy(`1 "tagStatus":"untagged",` + moreThan(1)), "A:1 B:1"},
		{"several rules A", betaProd, lifecyclePolicy("1 "+tagged("Prefix", "prod")+moreThan(1), "2 "+tagged("Prefix", "beta")+moreThan(1)), "A:1"},
		{"several rules A, listed the other way", betaProd, lifecyclePolicy("2 "+tagged("Prefix", "beta")+moreThan(1), "1 "+tagged("Prefix", "prod")+moreThan(1)), "A:1"},
		{"several rules B", betaProd, lifecyclePolicy("1 "+tagged("Prefix", "beta")+moreThan(1), "2 "+tagged("Prefix", "prod")+moreThan(1)), "A:1 B:1"},
		{"several tags A", alphaBeta, lifecyclePolicy("1 " + tagged("Prefix", "alpha", "beta") + olderThan("ImagePushed", 5)), "C:1"},
		{"several patterns A", alphaBeta, lifecyclePolicy("1 " + tagged("Pattern", "alpha*", "*eta-*") + olderThan("ImagePushed", 5)), "C:1"},
		{"several tags B", three, lifecyclePolicy("1 " + tagged("Prefix", "alpha", "beta") + moreThan(1)), "A:1 B:1"},
		{"any", all, lifecyclePolicy(`1 "tagStatus":"any",` + moreThan(1)), "A:1 B:1 C:1"},
		// Rule 3 identifies all five and keeps the newest, E; it may not mark what rules 1 and 2 identify.
		{
			"all kinds of rules", []string{"A 4 alpha-1 beta-1", "B 3", "C 2 alpha-2", "D 1.01 git-hash", "E 1"},
			lifecyclePolicy("1 "+tagged("Prefix", "alpha")+moreThan(1), `2 "tagStatus":"untagged",`+olderThan("ImagePushed", 1), `3 "tagStatus":"any",`+moreThan(1)), "A:1 B:2 D:3",
		},
		{"archive by age", []string{"A 31 prod-1", "B 29 prod-2", "C 99 dev"}, lifecyclePolicy("1 " + tagged("Pattern", "prod*") + olderThan("ImagePushed", 30) + " -> archive"), "A:1>archive"},

		// What the texts say besides.
		{"a rule that keeps shields", []string{"A 90 dev-1 prod-1", "B 90 dev-2"}, lifecyclePolicy("1 "+tagged("Prefix", "prod-")+moreThan(99), "2 "+tagged("Prefix", "dev-")+olderThan("ImagePushed", 30)), "B:2"},
		{"without it", []string{"A 90 dev-1 prod-1", "B 90 dev-2"}, lifecyclePolicy("1 " + tagged("Prefix", "dev-") + olderThan("ImagePushed", 30)), "A:1 B:1"},
		{"patterns match whole tags", []string{"A 9 a.b", "B 9 axb", "C 9 xa.b", "D 9 a.bx"}, lifecyclePolicy("1 " + tagged("Pattern", "a.b") + olderThan("ImagePushed", 1)), "A:1"},
		{"stars", []string{"A 9 release-1-rc", "B 9 rc", "C 9 a-rc-"}, lifecyclePolicy("1 " + tagged("Pattern", "*-rc*") + olderThan("ImagePushed", 1)), "A:1 C:1"},
		{"by push if never pulled", []string{"A 9 x", "B 7 x2"}, lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImagePulled", 8) + " -> archive"), "A:1>archive"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			m := newSim(t)
			m.SetClock(lifecycleNow.AddDate(0, 0, -100))
			r := m.repository(m.as(accountA), "app")
			names := make(map[string]string)
			for _, im := range x.images {
				words := strings.Fields(im)
				days, err := time.ParseDuration(words[1] + "h")
				if err != nil {
					t.Fatal(err)
				}
				m.SetClock(lifecycleNow.Add(-24 * days))
				names[r.push(manifestOf(words[0]), "")] = words[0]
				for _, tag := range words[2:] {
					r.push(manifestOf(words[0]), tag)
				}
			}
			m.SetClock(lifecycleNow)
			out := r.preview(x.policy)
			if got := acts(out, names); got != x.want {
				t.Errorf("got %s, want %s", got, x.want)
			}
			expire, archive := 0, 0
			for _, c := range out.PreviewResults {
				if c.Action.Type == types.ImageActionTypeExpire {
					expire++
				} else {
					archive++
				}
			}
			counts := out.Summary.TransitioningImageTotalCounts
			if int(*out.Summary.ExpiringImageTotalCount) != expire || (archive > 0) != (len(counts) == 1) || archive > 0 && int(*counts[0].ImageTotalCount) != archive {
				t.Errorf("summary %+v of %d and %d", out.Summary, expire, archive)
			}
			if left, err := r.DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: &r.name}); err != nil || len(left.ImageDetails) != len(x.images) {
				t.Errorf("a preview has deleted: %v", err)
			}
		})
	}
}

// TestLifecycleOfArchivedImages follows one image through pulls, archive and restoration.
func TestLifecycleOfArchivedImages(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	day := func(n float64) { m.SetClock(lifecycleNow.Add(time.Duration(n * 24 * float64(time.Hour)))) }
	day(0)
	d := r.push(manifestOf("a"), "a")
	move := func(class types.TargetStorageClass) {
		t.Helper()
		if _, err := r.UpdateImageStorageClass(t.Context(), &ecr.UpdateImageStorageClassInput{RepositoryName: &r.name, ImageId: &types.ImageIdentifier{ImageDigest: &d}, TargetStorageClass: class}); err != nil {
			t.Fatal(err)
		}
	}
	pushed := lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImagePushed", 10))
	pulled := lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImagePulled", 10) + " -> archive")
	gone := lifecyclePolicy(`1 "tagStatus":"any",`+olderThan("ImagePushed", 10)+" -> archive", `2 "tagStatus":"any","storageClass":"archive",`+olderThan("ImageTransitioned", 90))
	check := func(when string, want ...string) {
		t.Helper()
		for i, policy := range []string{pushed, pulled, gone} {
			if got := acts(r.preview(policy), map[string]string{d: "a"}); got != want[i] {
				t.Errorf("%s, policy %d: got %q, want %q", when, i, got, want[i])
			}
		}
	}
	check("new", "", "", "")
	day(9)
	r.get(byDigest(d))
	day(11)
	check("pulled", "a:1", "", "a:1>archive")
	day(20)
	check("pulled long ago", "a:1", "a:1>archive", "a:1>archive")
	move("ARCHIVE")
	day(109)
	check("archived", "", "", "")
	day(111)
	check("archived long ago", "", "", "a:2(archived)")
	move("STANDARD")
	check("being restored", "", "", "")
	day(112)
	check("restored", "", "", "")
	day(122)
	check("restored long ago", "a:1", "a:1>archive", "a:1>archive")
}

// TestLifecycleOfIndexes: what an index holds goes after it, never before or with it.
func TestLifecycleOfIndexes(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	m.SetClock(lifecycleNow.AddDate(0, 0, -20))
	child, other := manifestOf("child"), manifestOf("other")
	names := map[string]string{r.push(child, ""): "child", r.push(other, ""): "other"}
	index := r.push(indexOf(child), "multi")
	names[index] = "index"
	m.SetClock(lifecycleNow)
	if got := acts(r.preview(lifecyclePolicy(`1 "tagStatus":"untagged",`+olderThan("ImagePushed", 10))), names); got != "other:1" {
		t.Errorf("untagged: %s", got)
	}
	everything := lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImagePushed", 10))
	if got := acts(r.preview(everything), names); got != "index:1 other:1" {
		t.Errorf("any: %s", got)
	}
	archive := lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImagePushed", 10) + " -> archive")
	if _, err := r.UpdateImageStorageClass(t.Context(), &ecr.UpdateImageStorageClassInput{RepositoryName: &r.name, ImageId: &types.ImageIdentifier{ImageDigest: &index}, TargetStorageClass: types.TargetStorageClassArchive}); err != nil {
		t.Fatal(err)
	}
	if got := acts(r.preview(everything), names); got != "other:1" {
		t.Errorf("any, with the index archived: %s", got)
	}
	if got := acts(r.preview(archive), names); got != "child:1>archive other:1>archive" {
		t.Errorf("archive, with the index archived: %s", got)
	}
	r.delete(byDigest(index))
	if got := acts(r.preview(everything), names); got != "child:1 other:1" {
		t.Errorf("any, without the index: %s", got)
	}
}

func TestPutLifecyclePolicy(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	anyRule := `"tagStatus":"any",` + moreThan(5)
	prefix := func(p string) string { return tagged("Prefix", p) + moreThan(5) }
	padded := func(n int) string {
		p := lifecyclePolicy("1 " + anyRule)
		return strings.Replace(p, "a rule", strings.Repeat("x", n-len(p)+len("a rule")), 1)
	}
	var many []string
	for i := range 51 {
		many = append(many, fmt.Sprintf("%d %s", i+1, prefix(fmt.Sprint("p", i))))
	}
	for _, x := range []struct{ name, policy, fails string }{
		{"any", lifecyclePolicy("1 " + anyRule), ""},
		{"one of each", lifecyclePolicy("1 "+prefix("a"), `3 "tagStatus":"untagged",`+moreThan(1), "7 "+anyRule), ""},
		{"four stars", lifecyclePolicy("1 " + tagged("Pattern", "*test*1*2*3", "test*1*2*3*") + moreThan(1)), ""},
		{"each storage class apart", lifecyclePolicy(`1 "tagStatus":"any",`+olderThan("ImagePushed", 30)+" -> archive", `2 "tagStatus":"any","storageClass":"archive",`+olderThan("ImageTransitioned", 90)), ""},
		{"50 rules", lifecyclePolicy(many[:50]...), ""},
		{"30,720 characters", padded(30720), ""},
		{"standard in words", lifecyclePolicy(`1 "storageClass":"standard",` + anyRule), ""},

		{"too short", `{"rules":[]}`, "length between 100 and 30720"},
		{"too long", padded(30721), "length between 100 and 30720"},
		{"not JSON", strings.Repeat("x", 100), "Could not map policyString into LifecyclePolicy."},
		{"a list", "[" + strings.Repeat(" ", 100) + "]", "Could not map policyString"},
		{"no rules", `{"rules":[]` + strings.Repeat(" ", 100) + "}", "array is too short"},
		{"rules of another kind", `{"rules":null` + strings.Repeat(" ", 100) + "}", `instance type (null) does not match any allowed primitive type (allowed: ["array"])`},
		{"no member", `{` + strings.Repeat(" ", 100) + "}", `object has missing required properties (["rules"])`},
		{"51 rules", lifecyclePolicy(many...), "array is too long"},
		{"priority 0", lifecyclePolicy("0 " + anyRule), "(minimum: 1, found: 0)"},
		{"priority 1.5", lifecyclePolicy("1.5 " + anyRule), "instance type (number)"},
		{"same priority", lifecyclePolicy("1 "+prefix("a"), "1 "+prefix("b")), "rulePriority 1"},
		{"any first", lifecyclePolicy("1 "+anyRule, "2 "+prefix("a")), "tagStatus any must have the highest rulePriority"},
		{"untagged twice", lifecyclePolicy(`1 "tagStatus":"untagged",`+moreThan(1), `2 "tagStatus":"untagged",`+moreThan(2)), "only one rule can select untagged"},
		{"the same tags twice", lifecyclePolicy("1 "+prefix("a"), "2 "+prefix("a")), "select the same tags"},
		{"tagged without a list", lifecyclePolicy(`1 "tagStatus":"tagged",` + moreThan(1)), "tagPrefixList or tagPatternList is required"},
		{"untagged with a list", lifecyclePolicy(`1 "tagStatus":"untagged","tagPrefixList":["a"],` + moreThan(1)), "can only be used when tagStatus is tagged"},
		{"both lists", lifecyclePolicy("1 " + tagged("Prefix", "a") + `"tagPatternList":["b"],` + moreThan(1)), "cannot be used in the same rule"},
		{"an empty list", lifecyclePolicy(`1 "tagStatus":"tagged","tagPrefixList":[],` + moreThan(1)), "array is too short"},
		{"null for a list", lifecyclePolicy(`1 "tagStatus":"any","tagPrefixList":null,` + moreThan(1)), "instance type (null)"},
		{"an empty prefix", lifecyclePolicy("1 " + tagged("Prefix", "") + moreThan(1)), "too short"},
		{"five stars", lifecyclePolicy("1 " + tagged("Pattern", "test*1*2*3*4*5") + moreThan(1)), "more than 4 wildcards"},
		{"another status", lifecyclePolicy(`1 "tagStatus":"all",` + moreThan(1)), `instance value ("all") not found in enum (possible values: ["tagged","untagged","any"])`},
		{"count 0", lifecyclePolicy(`1 "tagStatus":"any",` + moreThan(0)), "(minimum: 1, found: 0)"},
		{"a count with a unit", lifecyclePolicy(`1 "countUnit":"days",` + anyRule), "matched 0 out of 2"},
		{"an age without a unit", lifecyclePolicy(`1 "tagStatus":"any","countType":"sinceImagePushed","countNumber":5`), "matched 0 out of 2"},
		{"hours", lifecyclePolicy(`1 "tagStatus":"any","countType":"sinceImagePushed","countUnit":"hours","countNumber":5`), `instance value ("hours")`},
		{"another count type", lifecyclePolicy(`1 "tagStatus":"any","countType":"sinceForever","countNumber":5`), `instance value ("sinceForever")`},
		{"another member", lifecyclePolicy(`1 "imageTag":"x",` + anyRule), `not allowed by the schema: (["imageTag"])`},
		{"expiring by pulls", lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImagePulled", 5)), "expire cannot be used with countType sinceImagePulled"},
		{"archiving the archived", lifecyclePolicy(`1 "tagStatus":"any","storageClass":"archive",` + olderThan("ImageTransitioned", 90) + " -> archive"), "transition cannot be used"},
		{"transitioned in standard", lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImageTransitioned", 90)), "storageClass standard cannot be used"},
		{"pushed in the archive", lifecyclePolicy(`1 "storageClass":"archive",` + anyRule), "storageClass archive cannot be used"},
		{"89 days", lifecyclePolicy(`1 "tagStatus":"any","storageClass":"archive",` + olderThan("ImageTransitioned", 89)), "(minimum: 90, found: 89)"},
		{"another action", lifecyclePolicy("1 " + anyRule + ` -> "type":"delete"`), `instance value ("delete")`},
		{"a transition to nowhere", lifecyclePolicy("1 " + anyRule + ` -> "type":"transition"`), "matched 0 out of 2"},
		{"expiring to the archive", lifecyclePolicy("1 " + anyRule + ` -> "type":"expire","targetStorageClass":null`), "matched 0 out of 2"},
	} {
		_, err := r.PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: &r.name, LifecyclePolicyText: &x.policy})
		_, started := r.StartLifecyclePolicyPreview(t.Context(), &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: &r.name, LifecyclePolicyText: &x.policy})
		if x.fails == "" {
			if err != nil || started != nil {
				t.Errorf("%s: %v, %v", x.name, err, started)
			}
			if out, err := r.GetLifecyclePolicy(t.Context(), &ecr.GetLifecyclePolicyInput{RepositoryName: &r.name}); err != nil || *out.LifecyclePolicyText != x.policy {
				t.Errorf("%s: kept otherwise: %v", x.name, err)
			}
			r.latestPreview(t) // let it end
			continue
		}
		for _, err := range []error{err, started} {
			wantCode(t, err, "InvalidParameterException")
			if err == nil || !strings.Contains(err.Error(), x.fails) {
				t.Errorf("%s: %v does not say %q", x.name, err, x.fails)
			}
		}
	}
}

// latestPreview asks once for the preview that was started last.
func (r registry) latestPreview(t *testing.T) *ecr.GetLifecyclePolicyPreviewOutput {
	t.Helper()
	out, err := r.GetLifecyclePolicyPreview(t.Context(), &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: &r.name})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLifecyclePolicyPreview(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	m.SetClock(lifecycleNow.AddDate(0, 0, -20))
	r := m.repository(m.as(accountA), "app")
	ctx := t.Context()
	var digests []string
	for i := range 105 {
		m.SetClock(lifecycleNow.AddDate(0, 0, -20).Add(time.Duration(i) * time.Minute))
		tag := ""
		if i%2 == 0 {
			tag = fmt.Sprint("t-", i)
		}
		digests = append(digests, r.push(manifestOf(fmt.Sprint(i)), tag))
	}
	m.SetClock(lifecycleNow)
	start := func(policy *string) error {
		_, err := r.StartLifecyclePolicyPreview(ctx, &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: &r.name, LifecyclePolicyText: policy})
		return err
	}
	get := func(in ecr.GetLifecyclePolicyPreviewInput) (*ecr.GetLifecyclePolicyPreviewOutput, error) {
		in.RepositoryName = &r.name
		return r.GetLifecyclePolicyPreview(ctx, &in)
	}

	_, err := get(ecr.GetLifecyclePolicyPreviewInput{})
	wantCode(t, err, "LifecyclePolicyPreviewNotFoundException")
	wantCode(t, start(nil), "LifecyclePolicyNotFoundException")
	policy := lifecyclePolicy(`1 "tagStatus":"any",` + olderThan("ImagePushed", 10))
	if _, err := r.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: &r.name, LifecyclePolicyText: &policy}); err != nil {
		t.Fatal(err)
	}
	if err := start(nil); err != nil {
		t.Fatal(err)
	}
	wantCode(t, start(nil), "LifecyclePolicyPreviewInProgressException")
	if out := r.latestPreview(t); out.Status != "IN_PROGRESS" || len(out.PreviewResults) > 0 || out.Summary != nil || *out.LifecyclePolicyText != policy {
		t.Errorf("at first %+v", out)
	}
	out := r.latestPreview(t)
	if out.Status != "COMPLETE" || len(out.PreviewResults) != 100 || out.NextToken == nil || *out.Summary.ExpiringImageTotalCount != 105 {
		t.Errorf("then %s, %d, %+v", out.Status, len(out.PreviewResults), out.Summary)
	}
	first := out.PreviewResults[0]
	if *first.ImageDigest != digests[0] || !slices.Equal(first.ImageTags, []string{"t-0"}) || !first.ImagePushedAt.Equal(lifecycleNow.AddDate(0, 0, -20)) ||
		*first.AppliedRulePriority != 1 || first.StorageClass != "STANDARD" || first.Action.Type != "EXPIRE" || first.Action.TargetStorageClass != "" {
		t.Errorf("the first is %+v", first)
	}
	if rest, err := get(ecr.GetLifecyclePolicyPreviewInput{NextToken: out.NextToken}); err != nil || len(rest.PreviewResults) != 5 || rest.NextToken != nil || *rest.PreviewResults[4].ImageDigest != digests[104] {
		t.Errorf("the rest: %+v %v", rest, err)
	}

	for _, x := range []struct {
		in   ecr.GetLifecyclePolicyPreviewInput
		want int
	}{
		{ecr.GetLifecyclePolicyPreviewInput{MaxResults: aws.Int32(7)}, 7},
		{ecr.GetLifecyclePolicyPreviewInput{Filter: &types.LifecyclePolicyPreviewFilter{TagStatus: "TAGGED"}}, 53},
		{ecr.GetLifecyclePolicyPreviewInput{Filter: &types.LifecyclePolicyPreviewFilter{TagStatus: "UNTAGGED"}}, 52},
		{ecr.GetLifecyclePolicyPreviewInput{Filter: &types.LifecyclePolicyPreviewFilter{TagStatus: "ANY"}, MaxResults: aws.Int32(100)}, 100},
		{ecr.GetLifecyclePolicyPreviewInput{ImageIds: []types.ImageIdentifier{byTag("t-2"), byDigest(digests[3]), byDigest(digests[2]), byTag("none")}}, 2},
		{ecr.GetLifecyclePolicyPreviewInput{ImageIds: []types.ImageIdentifier{{ImageDigest: &digests[2], ImageTag: aws.String("t-4")}}}, 0},
	} {
		if out, err := get(x.in); err != nil || len(out.PreviewResults) != x.want || *out.Summary.ExpiringImageTotalCount != 105 {
			t.Errorf("%+v: %+v %v, want %d", x.in, out, err, x.want)
		}
	}
	for _, in := range []ecr.GetLifecyclePolicyPreviewInput{
		{MaxResults: aws.Int32(0)},
		{MaxResults: aws.Int32(101)},
		{MaxResults: aws.Int32(5), ImageIds: []types.ImageIdentifier{byTag("t-2")}},
		{ImageIds: []types.ImageIdentifier{}},
		{NextToken: aws.String("x")},
		{Filter: &types.LifecyclePolicyPreviewFilter{TagStatus: "SOME"}},
	} {
		_, err := get(in)
		wantCode(t, err, "InvalidParameterException")
	}

	// A preview shows what was when it was started; another policy's leaves the repository's alone.
	r.delete(byDigest(digests[0]))
	if out := r.latestPreview(t); *out.PreviewResults[0].ImageDigest != digests[0] {
		t.Error("a preview changes after it was made")
	}
	m.SetClock(lifecycleNow.Add(24*time.Hour - time.Second))
	if out := r.latestPreview(t); out.Status != "COMPLETE" {
		t.Errorf("after a day less a second %s", out.Status)
	}
	m.SetClock(lifecycleNow.Add(24 * time.Hour))
	if out := r.latestPreview(t); out.Status != "EXPIRED" || len(out.PreviewResults) > 0 {
		t.Errorf("after a day %s", out.Status)
	}
	other := lifecyclePolicy("1 " + tagged("Prefix", "t-1") + olderThan("ImagePushed", 10))
	if err := start(&other); err != nil {
		t.Fatal(err)
	}
	m.SetClock(lifecycleNow.Add(24*time.Hour + previewTakes))
	if out := r.latestPreview(t); out.Status != "COMPLETE" || len(out.PreviewResults) != 8 || *out.LifecyclePolicyText != other { // t-1{0,2,4,6,8} and t-10{0,2,4}
		t.Errorf("by time %s, %d", out.Status, len(out.PreviewResults))
	}
	if out, err := r.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: &r.name}); err != nil || *out.LifecyclePolicyText != policy {
		t.Errorf("the preview has become the policy: %v", err)
	}
	if err := start(aws.String("{}")); codeOf(err) != "InvalidParameterException" {
		t.Error(err)
	}
}

func TestWhoMayPreview(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	policy := lifecyclePolicy(`1 "tagStatus":"any",` + moreThan(1))
	role := m.makeRole(accountA, "reader", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"sts:AssumeRole"}]}`,
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ecr:StartLifecyclePolicyPreview","ecr:Describe*"],"Resource":"arn:aws:ecr:us-east-1:111111111111:repository/app"}]}`)
	as := ecr.NewFromConfig(m.assume(m.as(accountA), &sts.AssumeRoleInput{RoleArn: &role}))
	if _, err := as.StartLifecyclePolicyPreview(t.Context(), &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: &r.name, LifecyclePolicyText: &policy}); err != nil {
		t.Error(err)
	}
	_, err := as.GetLifecyclePolicyPreview(t.Context(), &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: &r.name})
	wantCode(t, err, "AccessDeniedException")
	_, err = as.StartLifecyclePolicyPreview(t.Context(), &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: aws.String("none"), LifecyclePolicyText: &policy})
	wantCode(t, err, "AccessDeniedException")
	_, err = as.PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: &r.name, LifecyclePolicyText: aws.String("{}")})
	wantCode(t, err, "AccessDeniedException") // before the policy is looked at
	_, err = m.ecrAs(m.as(accountB)).GetLifecyclePolicyPreview(t.Context(), &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: &r.name, RegistryId: aws.String(accountA)})
	wantCode(t, err, "AccessDeniedException")
	_, err = r.GetLifecyclePolicyPreview(t.Context(), &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: aws.String("none")})
	wantCode(t, err, "RepositoryNotFoundException")
}

func TestPullTimeExclusionLimit(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	c := m.ecrAs(m.as(accountA))
	register := func(arn string) error {
		_, err := c.RegisterPullTimeUpdateExclusion(t.Context(), &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: &arn})
		return err
	}
	for _, arn := range []string{"", "reader", "arn:aws:iam::111111111111:group/readers", "arn:aws:iam::222222222222:role/reader", "arn:aws:sts::111111111111:assumed-role/reader/x", "arn:aws:iam::111111111111:role/" + strings.Repeat("x", 170)} {
		wantCode(t, register(arn), "InvalidParameterException")
	}
	for i := range 100 {
		if err := register(fmt.Sprintf("arn:aws:iam::111111111111:%s/path/r%d", []string{"role", "user"}[i%2], i)); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, register("arn:aws:iam::111111111111:role/one-more"), "LimitExceededException")
}

// TestDemoLifecycles: what the policies of the demo would take, and what of that is in use.
func TestDemoLifecycles(t *testing.T) {
	s, err := seededDemo()
	if err != nil {
		t.Fatal(err)
	}
	users := s.InUse()
	type taken struct {
		some    bool // images go
		running []string
	}
	want := map[string]taken{
		demoPlatform + "/us-east-1/platform/envoy-sidecar": {true, []string{"v1.90.0"}}, // by the count
		demoCustoms + "/us-east-1/prod/declare":            {true, []string{"dev-41"}},  // though it is prod-7
		demoCustoms + "/us-east-1/prod/edi-gateway":        {true, nil},                 // where prod-… is kept first
		demoTracking + "/us-east-1/prod/eta-service":       {false, nil},
		demoCI + "/us-east-1/ci/build-cache":               {true, nil},
	}
	for _, r := range Demo().Repositories {
		if r.Lifecycle == "" {
			continue
		}
		repo := s.ecrRepository(r.Account, r.Region, r.Name)
		rules, err := parseLifecycle(repo.lifecycle)
		if err != nil {
			t.Fatal(r.Key(), err)
		}
		applied := repo.evaluateLifecycle(rules, demoNow)
		got := taken{some: len(applied) > 0}
		for im := range applied {
			runs := slices.ContainsFunc(users[r.Key()+"@"+im.digest.String()], func(arn string) bool { return strings.Contains(arn, ":task/") })
			if runs {
				got.running = append(got.running, im.tags[0])
			}
		}
		t.Logf("%s: %d of %d images go, of which run %q", r.Key(), len(applied), len(repo.ordered), got.running)
		if w, ok := want[r.Key()]; !ok || !reflect.DeepEqual(got, w) {
			t.Errorf("%s: %+v, want %+v", r.Key(), got, w)
		}
		delete(want, r.Key())
	}
	if len(want) > 0 {
		t.Errorf("no policy at %v", want)
	}

	// The safe policy is not safe for want of something to take: what runs there carries both tags, and is old enough.
	im := s.ecrRepository(demoCustoms, demoVirginia, "prod/edi-gateway").byTag["dev-66"]
	if !slices.Contains(im.tags, "prod-3") || demoNow.Sub(time.Unix(0, im.pushed)) < demoDays(200) {
		t.Errorf("dev-66 has the tags %v", im.tags)
	}
	rules, err := parseLifecycle(demoDevPolicy)
	if err != nil {
		t.Fatal(err)
	}
	if s.ecrRepository(demoCustoms, demoVirginia, "prod/edi-gateway").evaluateLifecycle(rules, demoNow)[im] == nil {
		t.Error("prod/declare's policy would not take it")
	}
}
