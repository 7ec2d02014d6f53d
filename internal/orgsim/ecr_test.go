package orgsim

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
)

func digestOf(s string) string { return imageDigest(sha256.Sum256([]byte(s))).String() }

func testDescriptor(media, seed string, size int64) map[string]any {
	return map[string]any{"mediaType": media, "digest": digestOf(seed), "size": size}
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// manifestOf is an OCI image whose size is 100 and the layers'.
func manifestOf(seed string, layers ...int64) string {
	var ls []any
	for i, n := range layers {
		ls = append(ls, testDescriptor("application/vnd.oci.image.layer.v1.tar+gzip", fmt.Sprint(seed, i), n))
	}
	return marshal(map[string]any{
		"schemaVersion": 2, "mediaType": mediaOCIManifest,
		"config": testDescriptor("application/vnd.oci.image.config.v1+json", seed, 100), "layers": ls,
	})
}

// indexOf is an OCI index of manifests, for amd64 and arm64 in turn.
func indexOf(manifests ...string) string {
	var ds []any
	for i, m := range manifests {
		ds = append(ds, map[string]any{
			"mediaType": mediaOCIManifest, "digest": digestOf(m), "size": len(m),
			"platform": map[string]any{"os": "linux", "architecture": []string{"amd64", "arm64"}[i%2]},
		})
	}
	return marshal(map[string]any{"schemaVersion": 2, "mediaType": mediaOCIIndex, "manifests": ds})
}

// artifactOf is a referrer of a subject.
func artifactOf(kind, subject string) string {
	return marshal(map[string]any{
		"schemaVersion": 2, "mediaType": mediaOCIManifest, "artifactType": kind,
		"config": testDescriptor("application/vnd.oci.empty.v1+json", "{}", 2), "layers": []any{},
		"subject":     map[string]any{"mediaType": mediaOCIManifest, "digest": subject, "size": 1},
		"annotations": map[string]string{"kind": kind},
	})
}

// registry is a repository seen by one caller.
type registry struct {
	*ecr.Client
	t    *testing.T
	name string
}

func (m *sim) ecrAs(cfg aws.Config) *ecr.Client { return ecr.NewFromConfig(cfg) }

func (m *sim) repository(cfg aws.Config, name string) registry {
	m.t.Helper()
	r := registry{m.ecrAs(cfg), m.t, name}
	if _, err := r.CreateRepository(m.t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name}); err != nil {
		m.t.Fatal(err)
	}
	return r
}

// push puts a manifest and answers its digest; an empty tag is none.
func (r registry) push(manifest, tag string) string {
	r.t.Helper()
	in := &ecr.PutImageInput{RepositoryName: &r.name, ImageManifest: &manifest}
	if tag != "" {
		in.ImageTag = &tag
	}
	out, err := r.PutImage(r.t.Context(), in)
	if err != nil {
		r.t.Fatal(err)
	}
	return *out.Image.ImageId.ImageDigest
}

// image describes one image, whatever its status; nil if there is none.
func (r registry) image(id types.ImageIdentifier) *types.ImageDetail {
	r.t.Helper()
	out, err := r.DescribeImages(r.t.Context(), &ecr.DescribeImagesInput{
		RepositoryName: &r.name, ImageIds: []types.ImageIdentifier{id},
		Filter: &types.DescribeImagesFilter{ImageStatus: types.ImageStatusFilterAny},
	})
	if codeOf(err) == "ImageNotFoundException" {
		return nil
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return &out.ImageDetails[0]
}

func byDigest(d string) types.ImageIdentifier { return types.ImageIdentifier{ImageDigest: &d} }
func byTag(t string) types.ImageIdentifier    { return types.ImageIdentifier{ImageTag: &t} }

func (r registry) get(ids ...types.ImageIdentifier) *ecr.BatchGetImageOutput {
	r.t.Helper()
	out, err := r.BatchGetImage(r.t.Context(), &ecr.BatchGetImageInput{RepositoryName: &r.name, ImageIds: ids})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r registry) delete(ids ...types.ImageIdentifier) *ecr.BatchDeleteImageOutput {
	r.t.Helper()
	out, err := r.BatchDeleteImage(r.t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &r.name, ImageIds: ids})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func failureCodes(fs []types.ImageFailure) (codes []types.ImageFailureCode) {
	for _, f := range fs {
		codes = append(codes, f.FailureCode)
	}
	return codes
}

func TestMovingATagLeavesTheOldImageUntagged(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	m.SetClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	v1, v2 := manifestOf("v1", 10), manifestOf("v2", 20)
	d1 := r.push(v1, "latest")
	m.SetClock(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	d2 := r.push(v2, "latest")
	if d1 != digestOf(v1) || d2 != digestOf(v2) {
		t.Errorf("digests %s and %s are not the sha256 of the manifests", d1, d2)
	}
	old, now := r.image(byDigest(d1)), r.image(byTag("latest"))
	if old == nil || len(old.ImageTags) != 0 || *old.ImageSizeInBytes != 110 {
		t.Errorf("old image: %+v", old)
	}
	if *now.ImageDigest != d2 || !slices.Equal(now.ImageTags, []string{"latest"}) {
		t.Errorf("tagged image: %+v", now)
	}

	// A second tag does not move the push time.
	m.SetClock(time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC))
	r.push(v1, "old")
	if again := r.image(byTag("old")); !again.ImagePushedAt.Equal(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("pushed at %v after tagging again", again.ImagePushedAt)
	}
}

func TestPutImageErrors(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v1 := manifestOf("v1", 10)
	r.push(v1, "a")
	noType := strings.Replace(v1, `"mediaType":"`+mediaOCIManifest+`",`, "", 1)
	put := func(in *ecr.PutImageInput) error {
		in.RepositoryName = cmpOr(in.RepositoryName, &r.name)
		_, err := r.PutImage(t.Context(), in)
		return err
	}
	for _, tt := range []struct {
		name string
		in   ecr.PutImageInput
		want string
	}{
		{"same tag", ecr.PutImageInput{ImageManifest: &v1, ImageTag: aws.String("a")}, "ImageAlreadyExistsException"},
		{"no tag", ecr.PutImageInput{ImageManifest: &v1}, "ImageAlreadyExistsException"},
		{"other digest", ecr.PutImageInput{ImageManifest: &v1, ImageTag: aws.String("b"), ImageDigest: aws.String(digestOf("x"))}, "ImageDigestDoesNotMatchException"},
		{"its digest", ecr.PutImageInput{ImageManifest: &v1, ImageTag: aws.String("b"), ImageDigest: aws.String(digestOf(v1))}, ""},
		{"no media type", ecr.PutImageInput{ImageManifest: &noType}, "InvalidParameterException"},
		{"media type declared", ecr.PutImageInput{ImageManifest: &noType, ImageManifestMediaType: aws.String(mediaOCIManifest)}, ""},
		{"two media types", ecr.PutImageInput{ImageManifest: &v1, ImageManifestMediaType: aws.String(mediaDockerManifest)}, "InvalidParameterException"},
		{"an image declared an index", ecr.PutImageInput{ImageManifest: &noType, ImageManifestMediaType: aws.String(mediaOCIIndex)}, "InvalidParameterException"},
		{"not JSON", ecr.PutImageInput{ImageManifest: aws.String("{")}, "InvalidParameterException"},
		{"bad tag", ecr.PutImageInput{ImageManifest: &v1, ImageTag: aws.String("-x")}, "InvalidParameterException"},
		{"missing child", ecr.PutImageInput{ImageManifest: aws.String(indexOf(manifestOf("gone")))}, "ReferencedImagesNotFoundException"},
		{"no repository", ecr.PutImageInput{RepositoryName: aws.String("none"), ImageManifest: &v1}, "RepositoryNotFoundException"},
	} {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, put(&tt.in), tt.want) })
	}

	if _, err := r.PutImageTagMutability(t.Context(), &ecr.PutImageTagMutabilityInput{RepositoryName: &r.name, ImageTagMutability: types.ImageTagMutabilityImmutable}); err != nil {
		t.Fatal(err)
	}
	v2 := manifestOf("v2", 1)
	wantCode(t, put(&ecr.PutImageInput{ImageManifest: &v2, ImageTag: aws.String("a")}), "ImageTagAlreadyExistsException")
	wantCode(t, put(&ecr.PutImageInput{ImageManifest: &v2, ImageTag: aws.String("new")}), "")
}

func cmpOr[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

func TestTagQuota(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v := manifestOf("v")
	for i := range maxTags {
		if _, err := invoke[ecr.PutImageInput, ecr.PutImageOutput](m.Server, accountA, "us-east-1", "ecr", "PutImage",
			&ecr.PutImageInput{RepositoryName: &r.name, ImageManifest: &v, ImageTag: aws.String(fmt.Sprint("t", i))}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := r.PutImage(t.Context(), &ecr.PutImageInput{RepositoryName: &r.name, ImageManifest: &v, ImageTag: aws.String("more")})
	wantCode(t, err, "LimitExceededException")
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	small, big := manifestOf("small", 10), manifestOf("big", 1000, 20)
	dSmall, dBig := r.push(small, ""), r.push(big, "big")
	index := indexOf(small, big)
	dIndex := r.push(index, "multi")
	nested := indexOf(index)
	dNested := r.push(nested, "nested")

	for digest, want := range map[string]int64{dSmall: 110, dBig: 1120, dIndex: 1120, dNested: 1120} {
		if got := *r.image(byDigest(digest)).ImageSizeInBytes; got != want {
			t.Errorf("size of %s is %d, want %d", digest, got, want)
		}
	}
	referenced := []types.ImageFailureCode{types.ImageFailureCodeImageReferencedByManifestList}
	out := r.delete(byDigest(dIndex))
	if got := failureCodes(out.Failures); !slices.Equal(got, referenced) || !strings.Contains(*out.Failures[0].FailureReason, dNested) {
		t.Errorf("deleting a nested index: %v", out.Failures)
	}
	if got := failureCodes(r.delete(byTag("big")).Failures); !slices.Equal(got, referenced) {
		t.Errorf("taking a child's last tag: %v", got)
	}
	// In the call that deletes the index its children still are held, in either order.
	r.delete(byDigest(dNested))
	out = r.delete(byDigest(dSmall), byDigest(dIndex), byDigest(dBig))
	if got := failureCodes(out.Failures); !slices.Equal(got, slices.Concat(referenced, referenced)) || len(out.ImageIds) != 1 {
		t.Errorf("index with its children: %v deleted, failures %v", out.ImageIds, out.Failures)
	}
	if out = r.delete(byDigest(dSmall), byDigest(dBig)); len(out.Failures) != 0 || len(out.ImageIds) != 2 {
		t.Errorf("children after their index: %+v", out)
	}
}

func TestBatchDeleteImage(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v1, v2 := manifestOf("v1"), manifestOf("v2")
	d1, d2 := r.push(v1, "a"), r.push(v2, "x")
	r.push(v1, "b")
	r.push(v1, "c")

	out := r.delete(byTag("a"))
	if len(out.ImageIds) != 1 || r.image(byDigest(d1)) == nil {
		t.Errorf("taking one tag of three: %+v", out)
	}
	out = r.delete(byDigest(d1))
	var tags []string
	for _, id := range out.ImageIds {
		tags = append(tags, *id.ImageTag)
	}
	if !slices.Equal(tags, []string{"b", "c"}) || r.image(byDigest(d1)) != nil {
		t.Errorf("deleting by digest: %v", tags)
	}
	out = r.delete(
		types.ImageIdentifier{}, byDigest(d1), byTag("none"), byDigest("sha256:zz"),
		types.ImageIdentifier{ImageDigest: &d2, ImageTag: aws.String("b")},
		byTag("x"), byDigest(d2))
	want := []types.ImageFailureCode{"MissingDigestAndTag", "ImageNotFound", "ImageNotFound", "InvalidImageDigest", "ImageNotFound", "ImageNotFound"}
	if diff := cmp.Diff(want, failureCodes(out.Failures)); diff != "" {
		t.Errorf("failures (-want +got):\n%s", diff)
	}
	if len(out.ImageIds) != 1 || *out.ImageIds[0].ImageTag != "x" {
		t.Errorf("deleted: %+v", out.ImageIds)
	}

	_, err := r.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: &r.name, ImageIds: make([]types.ImageIdentifier, 101)})
	wantCode(t, err, "InvalidParameterException")
}

func TestBatchGetImage(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v1, v2 := manifestOf("v1"), manifestOf("v2")
	d1, d2 := r.push(v1, "a"), r.push(v2, "b")
	out := r.get(byTag("a"), byDigest(d2), types.ImageIdentifier{ImageDigest: &d1, ImageTag: aws.String("b")}, byTag("none"), types.ImageIdentifier{})
	if len(out.Images) != 2 || *out.Images[0].ImageManifest != v1 || *out.Images[1].ImageManifest != v2 || *out.Images[0].ImageManifestMediaType != mediaOCIManifest {
		t.Errorf("images: %+v", out.Images)
	}
	if diff := cmp.Diff([]types.ImageFailureCode{"ImageTagDoesNotMatchDigest", "ImageNotFound", "MissingDigestAndTag"}, failureCodes(out.Failures)); diff != "" {
		t.Error(diff)
	}
	none, err := r.BatchGetImage(t.Context(), &ecr.BatchGetImageInput{RepositoryName: &r.name, ImageIds: []types.ImageIdentifier{byTag("a")}, AcceptedMediaTypes: []string{mediaDockerManifest}})
	if err != nil || len(none.Images) != 0 || len(none.Failures) != 1 {
		t.Errorf("a media type that was not asked for: %+v, %v", none, err)
	}
}

func TestPullTimes(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	d := r.push(manifestOf("v1"), "a")
	if im := r.image(byDigest(d)); im.LastRecordedPullTime != nil {
		t.Errorf("pulled at %v before any pull", im.LastRecordedPullTime)
	}
	first := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	m.SetClock(first)
	r.get(byTag("a"))
	if im := r.image(byDigest(d)); im.LastRecordedPullTime == nil || !im.LastRecordedPullTime.Equal(first) {
		t.Errorf("pulled at %v, want %v", im.LastRecordedPullTime, first)
	}

	role := m.makeRole(accountA, "reader", trust("", accountA), allow("ecr:*"))
	ctx := t.Context()
	if _, err := r.RegisterPullTimeUpdateExclusion(ctx, &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: &role}); err != nil {
		t.Fatal(err)
	}
	_, err := r.RegisterPullTimeUpdateExclusion(ctx, &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: &role})
	wantCode(t, err, "ExclusionAlreadyExistsException")
	m.SetClock(first.Add(time.Hour))
	reader := registry{m.ecrAs(m.assume(m.as(accountA), &sts.AssumeRoleInput{RoleArn: &role})), t, "app"}
	if out := reader.get(byTag("a")); len(out.Images) != 1 {
		t.Errorf("the excluded role got %+v", out)
	}
	if im := r.image(byDigest(d)); !im.LastRecordedPullTime.Equal(first) {
		t.Errorf("an excluded role moved the pull time to %v", im.LastRecordedPullTime)
	}
	list, err := r.ListPullTimeUpdateExclusions(ctx, &ecr.ListPullTimeUpdateExclusionsInput{})
	if err != nil || !slices.Equal(list.PullTimeUpdateExclusions, []string{role}) {
		t.Errorf("exclusions: %+v, %v", list, err)
	}
	if _, err := r.DeregisterPullTimeUpdateExclusion(ctx, &ecr.DeregisterPullTimeUpdateExclusionInput{PrincipalArn: &role}); err != nil {
		t.Fatal(err)
	}
	_, err = r.DeregisterPullTimeUpdateExclusion(ctx, &ecr.DeregisterPullTimeUpdateExclusionInput{PrincipalArn: &role})
	wantCode(t, err, "ExclusionNotFoundException")
	reader.get(byTag("a"))
	if im := r.image(byDigest(d)); !im.LastRecordedPullTime.Equal(first.Add(time.Hour)) {
		t.Errorf("pulled at %v after the exclusion ended", im.LastRecordedPullTime)
	}
}

func TestArchivedImages(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	ctx := t.Context()
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	m.SetClock(start)
	v := manifestOf("v1")
	d := r.push(v, "a")
	move := func(class types.TargetStorageClass) (types.ImageStatus, error) {
		out, err := r.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{RepositoryName: &r.name, ImageId: &types.ImageIdentifier{ImageDigest: &d}, TargetStorageClass: class})
		if err != nil {
			return "", err
		}
		return out.ImageStatus, nil
	}
	if status, err := move("ARCHIVE"); err != nil || status != "ARCHIVED" {
		t.Fatal(status, err)
	}
	_, err := move("ARCHIVE")
	wantCode(t, err, "ImageStorageClassUpdateNotSupportedException")

	count := func(status types.ImageStatusFilter) int {
		in, in2 := &ecr.DescribeImagesInput{RepositoryName: &r.name}, &ecr.ListImagesInput{RepositoryName: &r.name}
		if status != "" {
			in.Filter = &types.DescribeImagesFilter{ImageStatus: status}
			in2.Filter = &types.ListImagesFilter{ImageStatus: status}
		}
		out, err := r.DescribeImages(ctx, in)
		out2, err2 := r.ListImages(ctx, in2)
		if err != nil || err2 != nil || len(out.ImageDetails) != len(out2.ImageIds) {
			t.Fatal(err, err2, out, out2)
		}
		return len(out.ImageDetails)
	}
	if count("") != 0 || count("ARCHIVED") != 1 || count("ANY") != 1 || count("ACTIVE") != 0 {
		t.Error("an archived image is not hidden by default alone")
	}
	if got := failureCodes(r.get(byDigest(d)).Failures); !slices.Equal(got, []types.ImageFailureCode{"ImageInaccessible"}) {
		t.Errorf("pulling an archived image: %v", got)
	}
	if status, err := move("STANDARD"); err != nil || status != "ACTIVATING" {
		t.Fatal(status, err)
	}
	m.SetClock(start.Add(19 * time.Minute))
	if im := r.image(byDigest(d)); im.ImageStatus != "ACTIVATING" || im.LastActivatedAt != nil || !im.LastArchivedAt.Equal(start) {
		t.Errorf("after 19 minutes: %+v", im)
	}
	m.SetClock(start.Add(20 * time.Minute))
	if im := r.image(byDigest(d)); im.ImageStatus != "ACTIVE" || !im.LastActivatedAt.Equal(start.Add(20*time.Minute)) {
		t.Errorf("after 20 minutes: %+v", im)
	}
	if _, err := move("ARCHIVE"); err != nil {
		t.Fatal(err)
	}
	r.push(v, "") // pushing again restores
	if im := r.image(byDigest(d)); im.ImageStatus != "ACTIVE" {
		t.Errorf("after a push: %+v", im)
	}
}

func TestReferrers(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	ctx := t.Context()
	d := r.push(manifestOf("v1"), "a")
	sbom := r.push(artifactOf("application/spdx+json", d), "")
	sig := r.push(artifactOf("application/vnd.cncf.notary.signature", d), "")
	r.push(artifactOf("application/spdx+json", digestOf("elsewhere")), "") // its subject does not exist

	if im := r.image(byDigest(sbom)); *im.SubjectManifestDigest != d || *im.ArtifactMediaType != "application/spdx+json" {
		t.Errorf("artifact: %+v", im)
	}
	list := func(in *ecr.ListImageReferrersInput) *ecr.ListImageReferrersOutput {
		in.RepositoryName, in.SubjectId = &r.name, &types.SubjectIdentifier{ImageDigest: &d}
		out, err := r.ListImageReferrers(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := list(&ecr.ListImageReferrersInput{MaxResults: aws.Int32(1)})
	two := list(&ecr.ListImageReferrersInput{MaxResults: aws.Int32(1), NextToken: one.NextToken})
	got := []string{*one.Referrers[0].Digest, *two.Referrers[0].Digest}
	slices.Sort(got)
	want := []string{sbom, sig}
	slices.Sort(want)
	if !slices.Equal(got, want) || two.NextToken != nil {
		t.Errorf("referrers %v, want %v", got, want)
	}
	spdx := list(&ecr.ListImageReferrersInput{Filter: &types.ListImageReferrersFilter{ArtifactTypes: []string{"application/spdx+json"}}})
	if len(spdx.Referrers) != 1 || spdx.Referrers[0].Annotations["kind"] != "application/spdx+json" {
		t.Errorf("filtered: %+v", spdx.Referrers)
	}
	_, err := r.ListImageReferrers(ctx, &ecr.ListImageReferrersInput{RepositoryName: &r.name, SubjectId: &types.SubjectIdentifier{ImageDigest: &d}, MaxResults: aws.Int32(51)})
	wantCode(t, err, "InvalidParameterException")

	// Deleting a subject leaves its referrers.
	r.delete(byDigest(d))
	if r.image(byDigest(sbom)) == nil || r.image(byDigest(sig)) == nil {
		t.Error("referrers went with their subject")
	}
}

func TestImagePaging(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	ctx := t.Context()
	start := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	const n = 2500
	generate := func(size func(int) int64) GeneratedImages {
		return GeneratedImages{
			Count:    n,
			Manifest: func(i int) []byte { return []byte(manifestOf(fmt.Sprint("gen", i), int64(i))) },
			Pushed:   func(i int) time.Time { return start.Add(time.Duration(i/3) * time.Minute) }, // some at once
			Pulled: func(i int) time.Time {
				if i%2 == 0 {
					return time.Time{}
				}
				return start.Add(time.Hour)
			},
			Tags: func(i int) []string {
				if i%5 == 0 {
					return nil
				}
				return []string{fmt.Sprint("v", i), fmt.Sprint("build-", i)}
			},
			Size: size,
		}
	}
	if err := m.GenerateImages(accountA, "us-east-1", "app", generate(nil)); err != nil {
		t.Fatal(err)
	}
	var pages []int
	var details []types.ImageDetail
	p := ecr.NewDescribeImagesPaginator(r, &ecr.DescribeImagesInput{RepositoryName: &r.name, MaxResults: aws.Int32(1000)})
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, len(out.ImageDetails))
		details = append(details, out.ImageDetails...)
	}
	if !slices.Equal(pages, []int{1000, 1000, 500}) {
		t.Errorf("pages of %v", pages)
	}
	if !slices.IsSortedFunc(details, func(a, b types.ImageDetail) int {
		return strings.Compare(fmt.Sprint(a.ImagePushedAt.UnixNano(), *a.ImageDigest), fmt.Sprint(b.ImagePushedAt.UnixNano(), *b.ImageDigest))
	}) {
		t.Error("images are not in the order of push time and digest")
	}
	seen := make(map[string]bool)
	for _, d := range details {
		seen[*d.ImageDigest] = true
	}
	if len(seen) != n {
		t.Errorf("%d images, want %d", len(seen), n)
	}

	// The declared sizes agree with what parsing would have said.
	fast := m.repository(m.as(accountB), "app")
	if err := m.GenerateImages(accountB, "us-east-1", "app", generate(func(i int) int64 { return 100 + int64(i) })); err != nil {
		t.Fatal(err)
	}
	slow, err := r.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &r.name})
	if err != nil {
		t.Fatal(err)
	}
	quick, err := fast.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &r.name})
	if err != nil {
		t.Fatal(err)
	}
	if len(slow.ImageDetails) != 100 {
		t.Errorf("a default page has %d images", len(slow.ImageDetails))
	}
	for i := range quick.ImageDetails {
		quick.ImageDetails[i].RegistryId = aws.String(accountA)
	}
	if a, b := marshal(slow.ImageDetails), marshal(quick.ImageDetails); a != b {
		t.Errorf("declared sizes differ from parsed ones:\n%s\n%s", a, b)
	}
	d := details[7]
	if out := r.get(byDigest(*d.ImageDigest)); digestOf(*out.Images[0].ImageManifest) != *d.ImageDigest {
		t.Error("a generated manifest does not have its image's digest")
	}

	// ListImages has a row for every tag; a page may end inside an image.
	rows := 0
	lp := ecr.NewListImagesPaginator(r, &ecr.ListImagesInput{RepositoryName: &r.name, MaxResults: aws.Int32(999)})
	unique := make(map[string]bool)
	for lp.HasMorePages() {
		out, err := lp.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		rows += len(out.ImageIds)
		for _, id := range out.ImageIds {
			unique[*id.ImageDigest+aws.ToString(id.ImageTag)] = true
		}
	}
	if want := n/5 + 2*(n-n/5); rows != want || len(unique) != want {
		t.Errorf("%d rows, %d of them distinct, want %d", rows, len(unique), want)
	}

	// A page that starts after the images before it were deleted misses none.
	first, err := r.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &r.name, MaxResults: aws.Int32(50)})
	if err != nil {
		t.Fatal(err)
	}
	var ids []types.ImageIdentifier
	for _, d := range first.ImageDetails {
		ids = append(ids, byDigest(*d.ImageDigest))
	}
	r.delete(ids...)
	next, err := r.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &r.name, NextToken: first.NextToken})
	if err != nil || *next.ImageDetails[0].ImageDigest != *details[50].ImageDigest {
		t.Errorf("the page after a deletion begins elsewhere: %v", err)
	}

	for _, in := range []*ecr.DescribeImagesInput{
		{MaxResults: aws.Int32(1001)}, {MaxResults: aws.Int32(0)}, {NextToken: aws.String("x")},
		{MaxResults: aws.Int32(1), ImageIds: []types.ImageIdentifier{byTag("v1")}},
		{NextToken: first.NextToken, ImageIds: []types.ImageIdentifier{byTag("v1")}},
	} {
		in.RepositoryName = &r.name
		_, err := r.DescribeImages(ctx, in)
		wantCode(t, err, "InvalidParameterException")
	}
	_, err = r.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &r.name, ImageIds: []types.ImageIdentifier{byTag("none")}})
	wantCode(t, err, "ImageNotFoundException")
	for status, want := range map[types.TagStatus]int{"TAGGED": 100, "UNTAGGED": 100, "ANY": 100} {
		out, err := r.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &r.name, Filter: &types.DescribeImagesFilter{TagStatus: status}})
		if err != nil || len(out.ImageDetails) != want {
			t.Errorf("%s: %d, %v", status, len(out.ImageDetails), err)
			continue
		}
		for _, d := range out.ImageDetails {
			if status == "TAGGED" && len(d.ImageTags) == 0 || status == "UNTAGGED" && len(d.ImageTags) > 0 {
				t.Errorf("%s answered %+v", status, d)
			}
		}
	}
}

func TestRepositories(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	ctx := t.Context()
	cfg := m.as(accountA)
	cfg.Region = "cn-north-1"
	cn := m.repository(cfg, "team/app")
	out, err := cn.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{})
	if err != nil {
		t.Fatal(err)
	}
	r := out.Repositories[0]
	if *r.RepositoryArn != "arn:aws-cn:ecr:cn-north-1:111111111111:repository/team/app" || *r.RepositoryUri != "111111111111.dkr.ecr.cn-north-1.amazonaws.com.cn/team/app" {
		t.Errorf("in China: %s, %s", *r.RepositoryArn, *r.RepositoryUri)
	}

	c := m.ecrAs(m.as(accountA))
	for i := range 120 {
		if _, err := c.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String(fmt.Sprintf("r%03d", 119-i))}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = c.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("r000")})
	wantCode(t, err, "RepositoryAlreadyExistsException")
	_, err = c.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("Bad")})
	wantCode(t, err, "InvalidParameterException")
	p := ecr.NewDescribeRepositoriesPaginator(c, &ecr.DescribeRepositoriesInput{})
	var names []string
	for p.HasMorePages() {
		out, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(names) == 0 && len(out.Repositories) != 100 {
			t.Errorf("the default page has %d", len(out.Repositories))
		}
		for _, r := range out.Repositories {
			names = append(names, *r.RepositoryName)
		}
	}
	if len(names) != 120 || !slices.IsSorted(names) {
		t.Errorf("%d repositories: %v", len(names), names)
	}
	_, err = c.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"none"}})
	wantCode(t, err, "RepositoryNotFoundException")
	if want := "The repository with name 'none' does not exist in the registry with id '111111111111'"; !strings.Contains(err.Error(), want) {
		t.Errorf("message %q", err)
	}
	_, err = c.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"r000"}, MaxResults: aws.Int32(1)})
	wantCode(t, err, "InvalidParameterException")
	_, err = c.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(1001)})
	wantCode(t, err, "InvalidParameterException")

	reg := registry{c, t, "r000"}
	reg.push(manifestOf("x"), "")
	_, err = c.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &reg.name})
	wantCode(t, err, "RepositoryNotEmptyException")
	_, err = c.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &reg.name, Force: true})
	wantCode(t, err, "")
}

// repositoryPolicy lets principals read.
func repositoryPolicy(principal string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":["ecr:BatchGetImage","ecr:DescribeImages"]}]}`
}

func TestCrossAccount(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	ctx := t.Context()
	own := m.repository(m.as(accountA), "app")
	d := own.push(manifestOf("v1"), "a")
	other := m.ecrAs(m.as(accountB))
	get := func() error {
		out, err := other.BatchGetImage(ctx, &ecr.BatchGetImageInput{RegistryId: aws.String(accountA), RepositoryName: &own.name, ImageIds: []types.ImageIdentifier{byDigest(d)}})
		if err == nil && len(out.Images) != 1 {
			t.Errorf("got %+v", out)
		}
		return err
	}
	set := func(policy string) {
		t.Helper()
		if _, err := own.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: &own.name, PolicyText: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	wantCode(t, get(), "AccessDeniedException")
	set(repositoryPolicy(`{"AWS":"arn:aws:iam::333333333333:root"}`))
	wantCode(t, get(), "AccessDeniedException")
	set(repositoryPolicy(`{"AWS":"arn:aws:iam::222222222222:root"}`))
	wantCode(t, get(), "")
	set(repositoryPolicy(`"*"`))
	wantCode(t, get(), "")
	_, err := other.DescribeImages(ctx, &ecr.DescribeImagesInput{RegistryId: aws.String(accountA), RepositoryName: &own.name})
	wantCode(t, err, "")
	_, err = other.ListImages(ctx, &ecr.ListImagesInput{RegistryId: aws.String(accountA), RepositoryName: &own.name})
	wantCode(t, err, "AccessDeniedException")
	_, err = other.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RegistryId: aws.String(accountA)})
	wantCode(t, err, "AccessDeniedException")
	_, err = other.DescribeImages(ctx, &ecr.DescribeImagesInput{RegistryId: aws.String(accountA), RepositoryName: aws.String("none")})
	wantCode(t, err, "AccessDeniedException")
	_, err = own.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: &own.name, PolicyText: aws.String("{")})
	wantCode(t, err, "InvalidParameterException")

	if _, err := own.DeleteRepositoryPolicy(ctx, &ecr.DeleteRepositoryPolicyInput{RepositoryName: &own.name}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, get(), "AccessDeniedException")
	// A registry policy of scope V2 covers pulls; of scope V1 it does not.
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:BatchGetImage","Resource":"arn:aws:ecr:us-east-1:111111111111:repository/*"}]}`
	if _, err := own.PutRegistryPolicy(ctx, &ecr.PutRegistryPolicyInput{PolicyText: &policy}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, get(), "")
	if _, err := own.PutAccountSetting(ctx, &ecr.PutAccountSettingInput{Name: aws.String("REGISTRY_POLICY_SCOPE"), Value: aws.String("V1")}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, get(), "AccessDeniedException")
}

func TestIdentityPolicyDecidesInTheOwnRegistry(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	ctx := t.Context()
	own := m.repository(m.as(accountA), "app")
	m.repository(m.as(accountA), "secret")
	role := m.makeRole(accountA, "narrow", trust("", accountA), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:DescribeImages","Resource":"arn:aws:ecr:us-east-1:111111111111:repository/app"}]}`)
	c := m.ecrAs(m.assume(m.as(accountA), &sts.AssumeRoleInput{RoleArn: &role}))
	_, err := c.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &own.name})
	wantCode(t, err, "")
	_, err = c.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("secret")})
	wantCode(t, err, "AccessDeniedException")
	_, err = c.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: &own.name})
	wantCode(t, err, "AccessDeniedException")
}

func BenchmarkDescribeImagesPage(b *testing.B) {
	s := New()
	s.AddAccount(accountA, "alpha")
	name := "app"
	if _, err := invoke[ecr.CreateRepositoryInput, ecr.CreateRepositoryOutput](s, accountA, "us-east-1", "ecr", "CreateRepository", &ecr.CreateRepositoryInput{RepositoryName: &name}); err != nil {
		b.Fatal(err)
	}
	start := time.Now().Add(-time.Hour)
	err := s.GenerateImages(accountA, "us-east-1", name, GeneratedImages{
		Count:    100_000,
		Manifest: func(i int) []byte { return fmt.Appendf(nil, "%d", i) },
		Pushed:   func(i int) time.Time { return start.Add(time.Duration(i)) },
		Size:     func(int) int64 { return 1 },
	})
	if err != nil {
		b.Fatal(err)
	}
	var token *string
	for b.Loop() {
		out, err := invoke[ecr.DescribeImagesInput, ecr.DescribeImagesOutput](s, accountA, "us-east-1", "ecr", "DescribeImages", &ecr.DescribeImagesInput{RepositoryName: &name, MaxResults: aws.Int32(1000), NextToken: token})
		if err != nil {
			b.Fatal(err)
		}
		token = out.NextToken
	}
}
