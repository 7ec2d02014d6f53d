package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"demurrage/internal/image"
)

// The buckets of the ECR API: https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html. Only that
// of BatchGetImage is published.
var (
	ecrGet  = bucket{name: "BatchGetImage", rate: 2000, burst: 2000}
	ecrRest = bucket{name: "everything else", rate: 10, burst: 20, adapt: true}
)

var ecrOps = map[string]bucket{
	"DescribeRepositories": ecrRest,
	"DescribeImages":       ecrRest,
	"GetRegistryPolicy":    ecrRest,
	"GetRepositoryPolicy":  ecrRest,
	"GetLifecyclePolicy":   ecrRest,
	"ListTagsForResource":  ecrRest,

	"DescribeRegistry":             ecrRest,
	"ListPullTimeUpdateExclusions": ecrRest,
	"GetAccountSetting":            ecrRest,
	"BatchGetImage":                ecrGet,
}

// ecrPage is the longest page of DescribeRepositories and DescribeImages.
const ecrPage = 1000

type repositoryAPI interface {
	ecr.DescribeRepositoriesAPIClient
	GetRegistryPolicy(context.Context, *ecr.GetRegistryPolicyInput, ...func(*ecr.Options)) (*ecr.GetRegistryPolicyOutput, error)
	GetRepositoryPolicy(context.Context, *ecr.GetRepositoryPolicyInput, ...func(*ecr.Options)) (*ecr.GetRepositoryPolicyOutput, error)
	GetLifecyclePolicy(context.Context, *ecr.GetLifecyclePolicyInput, ...func(*ecr.Options)) (*ecr.GetLifecyclePolicyOutput, error)
	DescribeRegistry(context.Context, *ecr.DescribeRegistryInput, ...func(*ecr.Options)) (*ecr.DescribeRegistryOutput, error)
	ListPullTimeUpdateExclusions(context.Context, *ecr.ListPullTimeUpdateExclusionsInput, ...func(*ecr.Options)) (*ecr.ListPullTimeUpdateExclusionsOutput, error)
	GetAccountSetting(context.Context, *ecr.GetAccountSettingInput, ...func(*ecr.Options)) (*ecr.GetAccountSettingOutput, error)
	ListTagsForResource(context.Context, *ecr.ListTagsForResourceInput, ...func(*ecr.Options)) (*ecr.ListTagsForResourceOutput, error)
}

type imageAPI interface {
	ecr.DescribeImagesAPIClient
	BatchGetImage(context.Context, *ecr.BatchGetImageInput, ...func(*ecr.Options)) (*ecr.BatchGetImageOutput, error)
}

// ecrScan takes the inventory of a registry.
type ecrScan struct {
	*work
	repositories repositoryAPI
	images       imageAPI
	manifests    *manifests
	layers       *layers // nil: what images are stored as is not asked for
	names        interner
}

func scanECR(ctx context.Context, w *work) {
	client := ecr.NewFromConfig(w.cfg)
	s := &ecrScan{work: w, repositories: client, images: client, manifests: loadManifests(ctx, w)}
	// Our own reading of a manifest passes for a pull unless it is remembered, whatever happens meanwhile.
	defer s.manifests.save(ctx, w)
	defer func() { s.layers.save(ctx, w) }()
	s.scan(ctx)
}

func (s *ecrScan) scan(ctx context.Context) {
	shared, sharedErr := s.registryPolicy(ctx)
	s.replication(ctx)
	excluded := s.blindPulls(ctx)
	s.prepareLayers(ctx, excluded)
	var repositories []image.Inventory
	seen := make(map[string]bool) // a repository made between two pages shifts the second
	complete := true
	p := ecr.NewDescribeRepositoriesPaginator(s.repositories, &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(ecrPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("DescribeRepositories", "", err)
			complete = false
			break
		}
		for i := range out.Repositories {
			r := &out.Repositories[i]
			if seen[aws.ToString(r.RepositoryName)] || s.opts.Repositories != nil && !s.opts.Repositories(aws.ToString(r.RepositoryName)) {
				continue
			}
			inv := image.Inventory{Repository: image.Repository{
				Registry: image.Registry{Account: s.Account, Region: s.Region},
				Name:     strings.Clone(aws.ToString(r.RepositoryName)),
			}}
			seen[inv.Repository.Name] = true
			inv.HasPolicy, inv.Policy = shared != "" || sharedErr != nil, shared
			if sharedErr != nil {
				inv.Errors = append(inv.Errors, "GetRegistryPolicy: "+reason(sharedErr))
			}
			if r.CreatedAt != nil {
				inv.CreatedAt = r.CreatedAt.UTC()
			}
			repositories = append(repositories, inv)
		}
	}
	each(ctx, s.work, 4, slices.Values(repositories), func(inv image.Inventory) {
		if err := s.inventory(ctx, &inv); err != nil {
			return // deleted meanwhile
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inventories = append(s.inventories, inv)
	})
	complete = complete && ctx.Err() == nil && s.opts.Repositories == nil
	s.storeContents(ctx, excluded, complete)
	if complete {
		s.manifests.forgetOthers(repositories, s.inventories)
	}
}

// registryPolicy gives the registry's own policy if it may let others pull, which it can for all repositories at once
// and without any policy of theirs. What it allows is not read but for the permissions that have nothing to do with
// pulling: a policy for replication alone shares nothing, and is left out.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry-permissions.html
func (s *ecrScan) registryPolicy(ctx context.Context) (string, error) {
	out, err := s.repositories.GetRegistryPolicy(ctx, &ecr.GetRegistryPolicyInput{})
	if errorCode(err) == (&types.RegistryPolicyNotFoundException{}).ErrorCode() {
		return "", nil
	}
	if err != nil {
		s.fail("GetRegistryPolicy", "", err)
		return "", err
	}
	for _, action := range actionsOf(aws.ToString(out.PolicyText)) {
		switch strings.ToLower(action) {
		case "ecr:replicateimage", "ecr:createrepository", "ecr:batchimportupstreamimage":
		default:
			return strings.Clone(aws.ToString(out.PolicyText)), nil
		}
	}
	return "", nil
}

// replication says where images are copied to. Deleting one here does not touch its copies, and what is deleted there is
// not copied again.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html
func (s *ecrScan) replication(ctx context.Context) {
	out, err := s.repositories.DescribeRegistry(ctx, &ecr.DescribeRegistryInput{})
	if err != nil {
		s.fail("DescribeRegistry", "", err)
		return
	}
	if out.ReplicationConfiguration == nil {
		return
	}
	for _, rule := range out.ReplicationConfiguration.Rules {
		what := "all repositories"
		if len(rule.RepositoryFilters) > 0 {
			var filters []string
			for _, f := range rule.RepositoryFilters {
				filters = append(filters, aws.ToString(f.Filter))
			}
			what = "repositories that begin with " + strings.Join(filters, " or ")
		}
		for _, d := range rule.Destinations {
			s.note("", fmt.Sprintf("images of %s are replicated to %s in %s: deleting them here deletes no copy, and a copy that is deleted does not come again",
				what, aws.ToString(d.RegistryId), aws.ToString(d.Region)))
		}
	}
}

// blindPulls tells whose pulls, but ours, leave no pull time: pull times do not protect what only they pull. It reports
// whether ours leave none.
//
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-time-update-exclusions.html
func (s *ecrScan) blindPulls(ctx context.Context) (excluded bool) {
	own := ""
	if s.opts.OwnPrincipal != nil {
		own = s.opts.OwnPrincipal(s.Account)
	}
	err := chain(func(token *string) (*string, error) {
		out, err := s.repositories.ListPullTimeUpdateExclusions(ctx, &ecr.ListPullTimeUpdateExclusionsInput{NextToken: token, MaxResults: aws.Int32(100)})
		if err != nil {
			return nil, err
		}
		for _, principal := range out.PullTimeUpdateExclusions {
			if principal == own {
				excluded = true
			} else {
				s.note(principal, "its pulls leave no pull time: pull times are blind to it, and keep_pulled_within does not keep what only it pulls")
			}
		}
		return out.NextToken, nil
	})
	if err != nil {
		s.fail("ListPullTimeUpdateExclusions", "", err)
	}
	return excluded
}

// actionsOf lists the actions that the statements of a policy name. A statement that does not name any, or that
// cannot be understood, may allow all: "*".
func actionsOf(policy string) []string {
	var doc struct{ Statement json.RawMessage }
	type statement struct{ Action json.RawMessage }
	var statements []statement
	if json.Unmarshal([]byte(policy), &doc) != nil || oneOrMany(doc.Statement, &statements) != nil {
		return []string{"*"}
	}
	var actions []string
	for _, st := range statements {
		var named []string
		if oneOrMany(st.Action, &named) != nil || len(named) == 0 {
			named = []string{"*"}
		}
		actions = append(actions, named...)
	}
	return actions
}

// oneOrMany reads what policies write as a value or as a list of values.
func oneOrMany[T any](raw json.RawMessage, many *[]T) error {
	if err := json.Unmarshal(raw, many); err == nil {
		return nil
	}
	var one T
	err := json.Unmarshal(raw, &one)
	*many = []T{one}
	return err
}

// errDeleted says that a repository does not exist any more.
var errDeleted = errors.New("the repository was deleted meanwhile")

// inventory reads one repository. The only error is errDeleted.
func (s *ecrScan) inventory(ctx context.Context, inv *image.Inventory) error {
	name := inv.Repository.Name
	if err := s.describeImages(ctx, inv); err != nil {
		return err
	}
	if err := s.readManifests(ctx, inv); err != nil {
		return err
	}
	slices.SortFunc(inv.Images, image.Compare)

	policy, err := s.repositories.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RepositoryName: &name})
	switch {
	case err == nil:
		inv.HasPolicy, inv.Policy = true, strings.Clone(aws.ToString(policy.PolicyText))+inv.Policy
	case repositoryGone(err):
		return errDeleted
	case errorCode(err) == (&types.RepositoryPolicyNotFoundException{}).ErrorCode():
	default:
		inv.HasPolicy = true // somebody else may be allowed to pull, and nobody knows who
		inv.Errors = append(inv.Errors, "GetRepositoryPolicy: "+reason(err))
		s.fail("GetRepositoryPolicy", name, err)
	}

	if s.opts.Repositories != nil {
		return nil // what follows is for the report
	}
	lifecycle, err := s.repositories.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: &name})
	switch {
	case err == nil:
		inv.Lifecycle, inv.Expires = image.LifecycleSome, s.names.intern(aws.ToString(lifecycle.LifecyclePolicyText))
	case repositoryGone(err):
		return errDeleted
	case errorCode(err) == (&types.LifecyclePolicyNotFoundException{}).ErrorCode():
		inv.Lifecycle = image.LifecycleNone
	default: // no decision rests on it
		s.note("", "whether its repositories have lifecycle policies could not be read: GetLifecyclePolicy: "+reason(err))
	}
	arn := inv.Repository.ARN()
	tags, err := s.repositories.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: &arn})
	switch {
	case err == nil:
		for _, t := range tags.Tags {
			if inv.Tags == nil {
				inv.Tags = make(map[string]string, len(tags.Tags))
			}
			inv.Tags[s.names.intern(aws.ToString(t.Key))] = s.names.intern(aws.ToString(t.Value))
		}
	case repositoryGone(err):
		return errDeleted
	default:
		s.fail("ListTagsForResource", name, err)
	}
	return nil
}

// describeImages lists all images of a repository, archived ones too. What goes wrong is put down in the inventory,
// since nothing of a repository that is only half known can be deleted.
func (s *ecrScan) describeImages(ctx context.Context, inv *image.Inventory) error {
	name := inv.Repository.Name
	bad := func(err error) {
		s.fail("DescribeImages", name, err)
		inv.Errors = append(inv.Errors, "DescribeImages: "+reason(err))
	}
	seen := make(map[image.Digest]bool)
	p := ecr.NewDescribeImagesPaginator(s.images, &ecr.DescribeImagesInput{
		RepositoryName: &name, MaxResults: aws.Int32(ecrPage),
		Filter: &types.DescribeImagesFilter{ImageStatus: types.ImageStatusFilterAny},
	})
	for out, err := range pages(ctx, p) {
		if repositoryGone(err) {
			return errDeleted
		}
		if err != nil {
			bad(err)
			return nil
		}
		for i := range out.ImageDetails {
			img, err := s.image(&out.ImageDetails[i])
			if err != nil {
				bad(err)
				continue
			}
			if !seen[img.Digest] { // a push between two pages shifts the second
				seen[img.Digest] = true
				inv.Images = append(inv.Images, img)
			}
		}
	}
	return nil
}

// image takes over what ECR tells about an image.
func (s *ecrScan) image(d *types.ImageDetail) (image.Image, error) {
	digest, err := image.ParseDigest(strings.Clone(aws.ToString(d.ImageDigest)))
	if err != nil {
		return image.Image{}, err
	}
	if d.ImagePushedAt == nil {
		return image.Image{}, fmt.Errorf("%s has no push time", digest)
	}
	img := image.Image{
		Digest:       digest,
		Bytes:        aws.ToInt64(d.ImageSizeInBytes),
		PushedAt:     d.ImagePushedAt.UTC(),
		MediaType:    s.names.intern(aws.ToString(d.ImageManifestMediaType)),
		ArtifactType: s.names.intern(aws.ToString(d.ArtifactMediaType)),
	}
	for _, t := range d.ImageTags {
		img.Tags = append(img.Tags, strings.Clone(t))
	}
	slices.Sort(img.Tags)
	if d.LastRecordedPullTime != nil {
		img.LastPulledAt = d.LastRecordedPullTime.UTC()
	}
	img.ArchivedAt, img.ActivatedAt = aws.ToTime(d.LastArchivedAt).UTC(), aws.ToTime(d.LastActivatedAt).UTC()
	if d.ImageStatus != types.ImageStatusActive {
		img.Status = image.Status(s.names.intern(string(d.ImageStatus)))
	}
	if subject := aws.ToString(d.SubjectManifestDigest); subject != "" {
		if img.Subject, err = image.ParseDigest(strings.Clone(subject)); err != nil {
			return image.Image{}, fmt.Errorf("subject of %s: %w", digest, err)
		}
	}
	return img, nil
}

func repositoryGone(err error) bool {
	return errorCode(err) == (&types.RepositoryNotFoundException{}).ErrorCode()
}

// interner keeps one copy of each of a few texts that come again and again.
type interner struct{ m sync.Map }

func (n *interner) intern(s string) string {
	if s == "" {
		return ""
	}
	if v, ok := n.m.Load(s); ok {
		return v.(string)
	}
	s = strings.Clone(s)
	v, _ := n.m.LoadOrStore(s, s)
	return v.(string)
}
