package orgsim

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// Lifecycle policies are checked, kept, answered and previewed, never applied.
func addECRLifecycleOps(s *service) {
	repositoryOp(s, "PutLifecyclePolicy", putLifecyclePolicy)
	repositoryOp(s, "GetLifecyclePolicy", getLifecyclePolicy)
	repositoryOp(s, "DeleteLifecyclePolicy", deleteLifecyclePolicy)
	repositoryOp(s, "StartLifecyclePolicyPreview", startLifecyclePolicyPreview)
	repositoryOp(s, "GetLifecyclePolicyPreview", getLifecyclePolicyPreview)
}

func putLifecyclePolicy(_ *Call, r *ecrRepository, in *ecr.PutLifecyclePolicyInput) (*ecr.PutLifecyclePolicyOutput, error) {
	text := aws.ToString(in.LifecyclePolicyText)
	if _, err := parseLifecycle(text); err != nil {
		return nil, err
	}
	r.lifecycle = text
	return &ecr.PutLifecyclePolicyOutput{LifecyclePolicyText: new(text), RegistryId: new(r.account), RepositoryName: new(r.name)}, nil
}

func (r *ecrRepository) errNoLifecycle() error {
	return errorf("LifecyclePolicyNotFoundException", "Lifecycle policy does not exist for the repository with name '%s' in the registry with id '%s'", r.name, r.account)
}

func getLifecyclePolicy(_ *Call, r *ecrRepository, _ *ecr.GetLifecyclePolicyInput) (*ecr.GetLifecyclePolicyOutput, error) {
	if r.lifecycle == "" {
		return nil, r.errNoLifecycle()
	}
	return &ecr.GetLifecyclePolicyOutput{LifecyclePolicyText: new(r.lifecycle), RegistryId: new(r.account), RepositoryName: new(r.name)}, nil
}

func deleteLifecyclePolicy(_ *Call, r *ecrRepository, _ *ecr.DeleteLifecyclePolicyInput) (*ecr.DeleteLifecyclePolicyOutput, error) {
	if r.lifecycle == "" {
		return nil, r.errNoLifecycle()
	}
	out := &ecr.DeleteLifecyclePolicyOutput{LifecyclePolicyText: new(r.lifecycle), RegistryId: new(r.account), RepositoryName: new(r.name)}
	r.lifecycle = ""
	return out, nil
}

// ---- policies ----

// lifecycleRule is a rule of a policy that was checked.
type lifecycleRule struct {
	priority           int
	tagStatus          string // tagged, untagged or any
	prefixes, patterns []string
	archive            bool // selects archived images instead of active ones
	countType          string
	count              int
	transition         bool // to the archive, instead of expiring
}

func errLifecycle(format string, args ...any) error {
	return errorf("InvalidParameterException", "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Lifecycle policy validation failure: %s'", fmt.Sprintf(format, args...))
}

// parseLifecycle checks a policy as ECR does before it takes one, and answers its rules by priority.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html and, for sets of rules,
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
func parseLifecycle(text string) ([]lifecycleRule, error) {
	if n := utf8.RuneCountInString(text); n < 100 || n > 30720 {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: 'Member must have length between 100 and 30720'")
	}
	var policy map[string]any
	if err := json.Unmarshal([]byte(text), &policy); err != nil || policy == nil {
		return nil, errLifecycle("Could not map policyString into LifecyclePolicy.")
	}
	if err := lifecycleProperties(policy, []string{"rules"}); err != nil {
		return nil, err
	}
	list, ok := policy["rules"].([]any)
	switch {
	case !ok:
		return nil, errLifecycleType(policy["rules"], "array")
	case len(list) == 0:
		return nil, errLifecycle("array is too short: must have at least 1 elements but instance has 0 elements")
	case len(list) > 50:
		return nil, errLifecycle("array is too long: must have at most 50 elements but instance has %d elements", len(list))
	}
	var rules []lifecycleRule
	for _, v := range list {
		rule, err := parseLifecycleRule(v)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	slices.SortStableFunc(rules, func(a, b lifecycleRule) int { return cmp.Compare(a.priority, b.priority) })
	return rules, checkLifecycleRules(rules)
}

// lifecycleProperties checks the names in an object: all that are required, and no other but the optional ones.
func lifecycleProperties(object map[string]any, required []string, optional ...string) error {
	missing := slices.DeleteFunc(slices.Clone(required), func(name string) bool { _, ok := object[name]; return ok })
	if len(missing) > 0 {
		slices.Sort(missing)
		return errLifecycle("object has missing required properties (%s)", marshalText(missing))
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(required, name) && !slices.Contains(optional, name) {
			return errLifecycle("object instance has properties which are not allowed by the schema: (%s)", marshalText([]string{name}))
		}
	}
	return nil
}

func errLifecycleType(v any, allowed string) error {
	name := "object"
	switch v := v.(type) {
	case nil:
		name = "null"
	case bool:
		name = "boolean"
	case string:
		name = "string"
	case []any:
		name = "array"
	case float64:
		if name = "number"; v == float64(int64(v)) {
			name = "integer"
		}
	}
	return errLifecycle("instance type (%s) does not match any allowed primitive type (allowed: [%q])", name, allowed)
}

func lifecycleEnum(v any, values ...string) (string, error) {
	s, ok := v.(string)
	if !ok {
		return "", errLifecycleType(v, "string")
	}
	if !slices.Contains(values, s) {
		return "", errLifecycle("instance value (%q) not found in enum (possible values: %s)", s, marshalText(values))
	}
	return s, nil
}

func lifecyclePositive(v any) (int, error) {
	n, ok := v.(float64)
	if !ok || n != float64(int32(n)) {
		return 0, errLifecycleType(v, "integer")
	}
	if n < 1 {
		return 0, errLifecycle("numeric instance is lower than the required minimum (minimum: 1, found: %d)", int(n))
	}
	return int(n), nil
}

// lifecycleTags are the prefixes or patterns of a selection; none if it has no such list.
func lifecycleTags(selection map[string]any, name string) (texts []string, err error) {
	v, ok := selection[name]
	if !ok {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errLifecycleType(v, "array")
	}
	if len(list) == 0 {
		return nil, errLifecycle("array is too short: must have at least 1 elements but instance has 0 elements")
	}
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, errLifecycleType(v, "string")
		}
		if s == "" {
			return nil, errLifecycle(`string "" is too short (length: 0, required minimum: 1)`)
		}
		texts = append(texts, s)
	}
	return texts, nil
}

func marshalText(v any) string {
	b, _ := json.Marshal(v) // strings always can be
	return string(b)
}

func parseLifecycleRule(v any) (rule lifecycleRule, err error) {
	object, ok := v.(map[string]any)
	if !ok {
		return rule, errLifecycleType(v, "object")
	}
	if err := lifecycleProperties(object, []string{"rulePriority", "selection", "action"}, "description"); err != nil {
		return rule, err
	}
	if rule.priority, err = lifecyclePositive(object["rulePriority"]); err != nil {
		return rule, err
	}
	if d, ok := object["description"]; ok {
		if _, ok := d.(string); !ok {
			return rule, errLifecycleType(d, "string")
		}
	}
	selection, ok := object["selection"].(map[string]any)
	if !ok {
		return rule, errLifecycleType(object["selection"], "object")
	}
	if err := rule.parseSelection(selection); err != nil {
		return rule, err
	}
	action, ok := object["action"].(map[string]any)
	if !ok {
		return rule, errLifecycleType(object["action"], "object")
	}
	return rule, rule.parseAction(action)
}

func (rule *lifecycleRule) parseSelection(selection map[string]any) (err error) {
	if err := lifecycleProperties(selection, []string{"tagStatus", "countType", "countNumber"}, "tagPrefixList", "tagPatternList", "storageClass", "countUnit"); err != nil {
		return err
	}
	if rule.tagStatus, err = lifecycleEnum(selection["tagStatus"], "tagged", "untagged", "any"); err != nil {
		return err
	}
	if rule.countType, err = lifecycleEnum(selection["countType"], "imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"); err != nil {
		return err
	}
	if rule.count, err = lifecyclePositive(selection["countNumber"]); err != nil {
		return err
	}

	if rule.prefixes, err = lifecycleTags(selection, "tagPrefixList"); err != nil {
		return err
	}
	if rule.patterns, err = lifecycleTags(selection, "tagPatternList"); err != nil {
		return err
	}
	listed := len(rule.prefixes) > 0 || len(rule.patterns) > 0
	switch {
	case len(rule.prefixes) > 0 && len(rule.patterns) > 0:
		return errLifecycle("tagPrefixList and tagPatternList cannot be used in the same rule")
	case rule.tagStatus == "tagged" && !listed:
		return errLifecycle("tagPrefixList or tagPatternList is required when tagStatus is tagged")
	case rule.tagStatus != "tagged" && listed:
		return errLifecycle("tagPrefixList and tagPatternList can only be used when tagStatus is tagged")
	}
	for _, p := range rule.patterns {
		if strings.Count(p, "*") > 4 {
			return errLifecycle("tagPatternList: %q has more than 4 wildcards", p)
		}
	}

	unit, ok := selection["countUnit"]
	if (rule.countType != "imageCountMoreThan") != ok {
		return errLifecycle("instance failed to match exactly one schema (matched 0 out of 2)")
	}
	if ok {
		if _, err := lifecycleEnum(unit, "days"); err != nil {
			return err
		}
	}

	class := "standard"
	if v, ok := selection["storageClass"]; ok {
		if class, err = lifecycleEnum(v, "standard", "archive"); err != nil {
			return err
		}
	}
	rule.archive = class == "archive"
	if rule.archive != (rule.countType == "sinceImageTransitioned") {
		return errLifecycle("storageClass %s cannot be used with countType %s", class, rule.countType)
	}
	return nil
}

func (rule *lifecycleRule) parseAction(action map[string]any) error {
	if err := lifecycleProperties(action, []string{"type"}, "targetStorageClass"); err != nil {
		return err
	}
	kind, err := lifecycleEnum(action["type"], "expire", "transition")
	if err != nil {
		return err
	}
	rule.transition = kind == "transition"
	target, ok := action["targetStorageClass"]
	if rule.transition != ok {
		return errLifecycle("instance failed to match exactly one schema (matched 0 out of 2)")
	}
	if ok {
		if _, err := lifecycleEnum(target, "archive"); err != nil {
			return err
		}
	}
	switch {
	case rule.countType == "sinceImagePulled" && !rule.transition, rule.countType == "sinceImageTransitioned" && rule.transition:
		return errLifecycle("action %s cannot be used with countType %s", kind, rule.countType)
	case rule.countType == "sinceImageTransitioned" && rule.count < 90:
		return errLifecycle("numeric instance is lower than the required minimum (minimum: 90, found: %d)", rule.count)
	}
	return nil
}

// checkLifecycleRules checks rules, which are in the order of their priorities, against each other. What there may be
// one of is counted for each storage class apart, as AWS's example of archiving and expiring any image shows.
func checkLifecycleRules(rules []lifecycleRule) error {
	for i, b := range rules {
		for _, a := range rules[:i] { // a has the lower number
			if a.priority == b.priority {
				return errLifecycle("rulePriority %d is used by more than one rule", a.priority)
			}
			if a.archive != b.archive {
				continue
			}
			switch {
			case a.tagStatus == "any":
				return errLifecycle("a rule with tagStatus any must have the highest rulePriority, but %d is higher than %d", b.priority, a.priority)
			case a.tagStatus == "untagged" && b.tagStatus == "untagged":
				return errLifecycle("only one rule can select untagged images, but %d and %d do", a.priority, b.priority)
			case a.tagStatus == "tagged" && b.tagStatus == "tagged" &&
				slices.Equal(slices.Sorted(slices.Values(a.prefixes)), slices.Sorted(slices.Values(b.prefixes))) &&
				slices.Equal(slices.Sorted(slices.Values(a.patterns)), slices.Sorted(slices.Values(b.patterns))):
				return errLifecycle("rules %d and %d select the same tags", a.priority, b.priority)
			}
		}
	}
	return nil
}

// ---- evaluation ----

// identifies reports whether a rule's tag selection and storage class hold for an image. An image that is being
// restored is in neither class.
func (rule *lifecycleRule) identifies(im *ecrImage, now time.Time) bool {
	class := types.ImageStatusActive
	if rule.archive {
		class = types.ImageStatusArchived
	}
	if im.status(now) != class {
		return false
	}
	switch rule.tagStatus {
	case "any":
		return true
	case "untagged":
		return len(im.tags) == 0
	}
	for _, p := range rule.prefixes {
		if !slices.ContainsFunc(im.tags, func(tag string) bool { return strings.HasPrefix(tag, p) }) {
			return false
		}
	}
	for _, p := range rule.patterns {
		if !slices.ContainsFunc(im.tags, lifecyclePattern(p).MatchString) {
			return false
		}
	}
	return true
}

// lifecyclePattern matches whole tags; * stands for any text.
func lifecyclePattern(p string) *regexp.Regexp {
	return regexp.MustCompile(`^` + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, `.*`) + `$`)
}

// since is when an image began to be what a rule counts from: its push, or the end of its last restoration. The two
// other count types look at its last pull and at its archiving instead.
func (rule *lifecycleRule) since(im *ecrImage) int64 {
	begin, archived := im.pushed, int64(0)
	if im.more != nil {
		archived = im.more.archivedAt
		if im.more.activeAt != 0 {
			begin = im.more.activeAt
		}
	}
	switch rule.countType {
	case "sinceImageTransitioned":
		return archived
	case "sinceImagePulled":
		return max(im.pulled, begin)
	default:
		return begin
	}
}

// marks are the images that a rule alone, without regard to others, would act on.
func (rule *lifecycleRule) marks(images []*ecrImage, now time.Time) []*ecrImage {
	var found []*ecrImage
	for _, im := range images {
		if rule.identifies(im, now) {
			found = append(found, im)
		}
	}
	if rule.countType == "imageCountMoreThan" { // the newest are kept
		slices.SortFunc(found, func(a, b *ecrImage) int {
			return cmp.Or(cmp.Compare(rule.since(b), rule.since(a)), bytes.Compare(b.digest[:], a.digest[:]))
		})
		return found[min(rule.count, len(found)):]
	}
	limit := now.AddDate(0, 0, -rule.count).UnixNano()
	return slices.DeleteFunc(found, func(im *ecrImage) bool { return rule.since(im) >= limit })
}

// evaluateLifecycle says which rule acts on which image. It is the yardstick for the program's own evaluation and
// shares nothing with it: every rule looks at every image, as slowly as AWS's words are written. All rules are
// evaluated as if they were alone; then they are applied by priority, where a rule cannot act on an image that the
// tag selection of an earlier one identifies, nor on what an index holds.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html#lp_evaluation_rules
func (s *ecrImages) evaluateLifecycle(rules []lifecycleRule, now time.Time) map[*ecrImage]*lifecycleRule {
	applied := make(map[*ecrImage]*lifecycleRule)
	for i := range rules {
		rule := &rules[i]
		for _, im := range rule.marks(s.ordered, now) {
			shielded := slices.ContainsFunc(rules[:i], func(earlier lifecycleRule) bool { return earlier.identifies(im, now) })
			held := slices.ContainsFunc(s.holders[im.digest], func(index *ecrImage) bool {
				return !rule.transition || index.status(now) != types.ImageStatusArchived
			})
			if !shielded && !held {
				applied[im] = rule
			}
		}
	}
	return applied
}

// ---- previews ----

// ecrPreview is the last preview of a repository: made when it was started, shown later.
type ecrPreview struct {
	text    string
	started time.Time
	results []types.LifecyclePolicyPreviewResult
	asked   atomic.Int32 // Gets so far
}

const (
	previewTakes = 30 * time.Second // unless it was asked for before
	previewKept  = 24 * time.Hour
)

// running reports whether a preview goes on: until it was asked for once, or some time has gone by.
func (p *ecrPreview) running(now time.Time) bool {
	return p.asked.Load() == 0 && now.Sub(p.started) < previewTakes
}

func startLifecyclePolicyPreview(c *Call, r *ecrRepository, in *ecr.StartLifecyclePolicyPreviewInput) (*ecr.StartLifecyclePolicyPreviewOutput, error) {
	text := r.lifecycle
	if in.LifecyclePolicyText != nil {
		text = *in.LifecyclePolicyText
	} else if text == "" {
		return nil, r.errNoLifecycle()
	}
	rules, err := parseLifecycle(text)
	if err != nil {
		return nil, err
	}
	if r.preview != nil && r.preview.running(c.Now) {
		return nil, errorf("LifecyclePolicyPreviewInProgressException", "The lifecycle policy preview for the repository with name '%s' in the registry with id '%s' is in progress", r.name, r.account)
	}
	r.preview = &ecrPreview{text: text, started: c.Now, results: r.previewResults(rules, c.Now)}
	return &ecr.StartLifecyclePolicyPreviewOutput{
		LifecyclePolicyText: &text,
		RegistryId:          new(r.account),
		RepositoryName:      new(r.name),
		Status:              types.LifecyclePolicyPreviewStatusInProgress,
	}, nil
}

// previewResults are the images that a rule would act on, oldest push first.
func (r *ecrRepository) previewResults(rules []lifecycleRule, now time.Time) []types.LifecyclePolicyPreviewResult {
	applied := r.evaluateLifecycle(rules, now)
	results := []types.LifecyclePolicyPreviewResult{}
	for _, im := range r.ordered {
		rule := applied[im]
		if rule == nil {
			continue
		}
		detail := r.detail(im, now)
		result := types.LifecyclePolicyPreviewResult{
			Action:              &types.LifecyclePolicyRuleAction{Type: types.ImageActionTypeExpire},
			AppliedRulePriority: aws.Int32(int32(rule.priority)),
			ImageDigest:         detail.ImageDigest,
			ImagePushedAt:       detail.ImagePushedAt,
			ImageTags:           detail.ImageTags,
			StorageClass:        types.LifecyclePolicyStorageClassStandard,
		}
		if rule.transition {
			result.Action = &types.LifecyclePolicyRuleAction{Type: types.ImageActionTypeTransition, TargetStorageClass: types.LifecyclePolicyTargetStorageClassArchive}
		}
		if rule.archive {
			result.StorageClass = types.LifecyclePolicyStorageClassArchive
		}
		results = append(results, result)
	}
	return results
}

func getLifecyclePolicyPreview(c *Call, r *ecrRepository, in *ecr.GetLifecyclePolicyPreviewInput) (*ecr.GetLifecyclePolicyPreviewOutput, error) {
	p := r.preview
	if p == nil {
		return nil, errorf("LifecyclePolicyPreviewNotFoundException", "Lifecycle policy preview does not exist for the repository with name '%s' in the registry with id '%s'", r.name, r.account)
	}
	if in.ImageIds != nil {
		if in.MaxResults != nil || in.NextToken != nil {
			return nil, errorf("InvalidParameterException", "Invalid parameter at 'maxResults' failed to satisfy constraint: 'maxResults and nextToken cannot be used together with imageIds'")
		}
		if err := checkImageIDs(in.ImageIds); err != nil {
			return nil, err
		}
	}
	tagStatus := valueOf(in.Filter).TagStatus
	if tagStatus != "" && !slices.Contains(tagStatus.Values(), tagStatus) {
		return nil, errorf("InvalidParameterException", "Invalid parameter at 'filter' failed to satisfy constraint: 'Member must satisfy enum value set: %v'", tagStatus.Values())
	}
	out := &ecr.GetLifecyclePolicyPreviewOutput{
		LifecyclePolicyText: &p.text,
		PreviewResults:      []types.LifecyclePolicyPreviewResult{},
		RegistryId:          new(r.account),
		RepositoryName:      new(r.name),
	}
	running := p.running(c.Now)
	p.asked.Add(1)
	switch {
	case running:
		out.Status = types.LifecyclePolicyPreviewStatusInProgress
		return out, nil
	case c.Now.Sub(p.started) >= previewKept:
		out.Status = types.LifecyclePolicyPreviewStatusExpired
		return out, nil
	}
	out.Status = types.LifecyclePolicyPreviewStatusComplete
	out.Summary = previewSummary(p.results)
	shown := slices.DeleteFunc(slices.Clone(p.results), func(result types.LifecyclePolicyPreviewResult) bool {
		tagged := len(result.ImageTags) > 0
		return tagStatus == types.TagStatusTagged && !tagged || tagStatus == types.TagStatusUntagged && tagged ||
			in.ImageIds != nil && !slices.ContainsFunc(in.ImageIds, func(id types.ImageIdentifier) bool {
				return (id.ImageDigest != nil || id.ImageTag != nil) &&
					(id.ImageDigest == nil || *id.ImageDigest == *result.ImageDigest) &&
					(id.ImageTag == nil || slices.Contains(result.ImageTags, *id.ImageTag))
			})
	})
	var err error
	out.PreviewResults, out.NextToken, err = page(shown, in.MaxResults, 100, 100, in.NextToken)
	return out, err
}

// previewSummary counts all of a preview, not only what a filter shows.
func previewSummary(results []types.LifecyclePolicyPreviewResult) *types.LifecyclePolicyPreviewSummary {
	var expiring, transitioning int32
	for _, result := range results {
		if result.Action.Type == types.ImageActionTypeExpire {
			expiring++
		} else {
			transitioning++
		}
	}
	summary := &types.LifecyclePolicyPreviewSummary{ExpiringImageTotalCount: &expiring}
	if transitioning > 0 {
		summary.TransitioningImageTotalCounts = []types.TransitioningImageTotalCount{
			{TargetStorageClass: types.LifecyclePolicyTargetStorageClassArchive, ImageTotalCount: &transitioning},
		}
	}
	return summary
}
