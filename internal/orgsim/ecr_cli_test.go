package orgsim

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// cliStep is a call of the aws CLI and what it prints as text, or "error: CODE" if it fails. A want of "…" is
// anything, and what surrounds it a part of the output.
type cliStep struct {
	account string // default accountA
	args    string // split at spaces; see expand
	want    string
}

var cliError = regexp.MustCompile(`An error occurred \((\w+)\)`)

// runCLI runs steps one after the other against one simulated organization. Words of a step's arguments that
// begin with @ are taken from values, so that manifests and policies need no quoting.
func runCLI(t *testing.T, m *sim, region string, values map[string]string, steps []cliStep) {
	t.Helper()
	aws, err := exec.LookPath("aws")
	if err != nil {
		t.Skip("the aws CLI is not in PATH")
	}
	if testing.Short() {
		t.Skip("the aws CLI takes most of a second a call")
	}
	for _, step := range steps {
		account := step.account
		if account == "" {
			account = accountA
		}
		args := []string{"--endpoint-url", m.url, "--region", region, "--output", "text"}
		for word := range strings.FieldsSeq(step.args) {
			for k, v := range values {
				word = strings.ReplaceAll(word, "@"+k, v)
			}
			args = append(args, word)
		}
		cmd := exec.CommandContext(t.Context(), aws, args...)
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + account, "AWS_SECRET_ACCESS_KEY=x",
			"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "AWS_PAGER=", "AWS_CONFIG_FILE=" + filepath.Join(t.TempDir(), "none"),
		}
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		var got string
		if err := cmd.Run(); err != nil {
			got = "error: " + strings.TrimSpace(stderr.String())
			if found := cliError.FindStringSubmatch(stderr.String()); found != nil {
				got = "error: " + found[1]
			}
		} else {
			got = strings.TrimSpace(stdout.String())
		}
		want := step.want
		for k, v := range values {
			want = strings.ReplaceAll(want, "@"+k, v)
		}
		before, after, open := strings.Cut(want, "…")
		if open && strings.HasPrefix(got, before) && strings.HasSuffix(got, after) && !(want == "…" && strings.HasPrefix(got, "error: ")) {
			continue
		}
		if got != want {
			t.Errorf("aws %s\n got: %s\nwant: %s", step.args, got, want)
		}
	}
}

// cliManifests are the images that the CLI tests push; @v1 is a manifest, @d1 its digest.
func cliManifests() map[string]string {
	v := map[string]string{"v1": manifestOf("v1", 10), "v2": manifestOf("v2", 20), "v3": manifestOf("v3", 30)}
	v["index"] = indexOf(v["v1"], v["v2"])
	v["d1"], v["d2"], v["d3"], v["dindex"] = digestOf(v["v1"]), digestOf(v["v2"]), digestOf(v["v3"]), digestOf(v["index"])
	v["sbom"] = artifactOf("application/spdx+json", v["d3"])
	v["dsbom"] = digestOf(v["sbom"])
	v["app"] = appURI
	v["policy"] = repositoryPolicy(`{"AWS":"arn:aws:iam::333333333333:root"}`)
	v["open"] = repositoryPolicy(`{"AWS":"arn:aws:iam::222222222222:root"}`)
	return v
}

func TestCLIRepositories(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	v := cliManifests()
	v["arn"] = "arn:aws:ecr:us-east-1:111111111111:repository/app"
	v["registry"] = `{"Version":"2012-10-17","Statement":[{"Sid":"r","Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:ReplicateImage","Resource":"*"}]}`
	v["lifecycle"] = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}`
	v["replication"] = `{"rules":[{"destinations":[{"region":"eu-west-1","registryId":"111111111111"}]}]}`
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecr create-repository --repository-name app --tags Key=team,Value=web --query repository.[repositoryArn,repositoryUri,imageTagMutability]", want: "@arn\t@app\tMUTABLE"},
		{args: "ecr create-repository --repository-name app", want: "error: RepositoryAlreadyExistsException"},
		{args: "ecr create-repository --repository-name b/c --query repository.registryId", want: accountA},
		{args: "ecr create-repository --repository-name dd --image-tag-mutability IMMUTABLE --query repository.imageTagMutability", want: "IMMUTABLE"},
		{args: "ecr describe-repositories --query repositories[].repositoryName", want: "app\tb/c\tdd"},
		{args: "ecr describe-repositories --page-size 1 --max-items 2 --query repositories[].repositoryName", want: "app\nb/c\nNone"},
		{args: "ecr describe-repositories --repository-names none", want: "error: RepositoryNotFoundException"},
		{args: "ecr describe-repositories --registry-id 111111111111", account: accountB, want: "error: AccessDeniedException"},
		{args: "ecr list-tags-for-resource --resource-arn @arn --query tags[].[Key,Value]", want: "team\tweb"},
		{args: "ecr tag-resource --resource-arn @arn --tags Key=env,Value=prod", want: ""},
		{args: "ecr untag-resource --resource-arn @arn --tag-keys team", want: ""},
		{args: "ecr list-tags-for-resource --resource-arn @arn --query tags[].Key", want: "env"},
		{args: "ecr get-repository-policy --repository-name app", want: "error: RepositoryPolicyNotFoundException"},
		{args: "ecr set-repository-policy --repository-name app --policy-text @policy --query repositoryName", want: "app"},
		{args: "ecr get-repository-policy --repository-name app --query policyText", want: "@policy"},
		{args: "ecr delete-repository-policy --repository-name app --query registryId", want: accountA},
		{args: "ecr get-lifecycle-policy --repository-name app", want: "error: LifecyclePolicyNotFoundException"},
		{args: "ecr put-lifecycle-policy --repository-name app --lifecycle-policy-text @lifecycle --query repositoryName", want: "app"},
		{args: "ecr get-lifecycle-policy --repository-name app --query lifecyclePolicyText", want: "@lifecycle"},
		{args: "ecr delete-lifecycle-policy --repository-name app --query repositoryName", want: "app"},
		{args: "ecr put-image-tag-mutability --repository-name app --image-tag-mutability IMMUTABLE --query imageTagMutability", want: "IMMUTABLE"},
		{args: "ecr delete-repository --repository-name dd --query repository.repositoryName", want: "dd"},
		{args: "ecr delete-repository --repository-name dd", want: "error: RepositoryNotFoundException"},
		{args: "ecr get-registry-policy", want: "error: RegistryPolicyNotFoundException"},
		{args: "ecr put-registry-policy --policy-text @registry --query registryId", want: accountA},
		{args: "ecr get-registry-policy --query policyText", want: "@registry"},
		{args: "ecr delete-registry-policy --query registryId", want: accountA},
		{args: "ecr put-replication-configuration --replication-configuration @replication --query replicationConfiguration.rules[].destinations[].region", want: "eu-west-1"},
		{args: "ecr describe-registry --query [registryId,replicationConfiguration.rules[0].destinations[0].region]", want: accountA + "\teu-west-1"},
		{args: "ecr get-account-setting --name BLOB_MOUNTING --query value", want: "DISABLED"},
		{args: "ecr put-account-setting --name BLOB_MOUNTING --value ENABLED --query value", want: "ENABLED"},
		{args: "ecr get-account-setting --name NONE", want: "error: ValidationException"},
		{args: "ecr create-pull-through-cache-rule --ecr-repository-prefix hub --upstream-registry-url registry-1.docker.io --query ecrRepositoryPrefix", want: "hub"},
		{args: "ecr create-pull-through-cache-rule --ecr-repository-prefix hub --upstream-registry-url registry-1.docker.io", want: "error: PullThroughCacheRuleAlreadyExistsException"},
		{args: "ecr describe-pull-through-cache-rules --query pullThroughCacheRules[].upstreamRegistryUrl", want: "registry-1.docker.io"},
		{args: "ecr describe-pull-through-cache-rules --ecr-repository-prefixes none", want: "error: PullThroughCacheRuleNotFoundException"},
		{args: "ecr get-login-password", want: "…"},
		{args: "ecr get-authorization-token --query authorizationData[].proxyEndpoint", want: "https://111111111111.dkr.ecr.us-east-1.amazonaws.com"},
	})
}

func TestCLIImages(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	m.SetClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	v := cliManifests()
	v["role"] = "arn:aws:iam::111111111111:role/reader"
	const put = "ecr put-image --repository-name app --query image.imageId.imageDigest --image-manifest "
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecr create-repository --repository-name app --query repository.repositoryName", want: "app"},
		{args: put + "@v1 --image-tag one", want: "@d1"},
		{args: put + "@v1 --image-tag one", want: "error: ImageAlreadyExistsException"},
		{args: put + "@v1 --image-digest @d2", want: "error: ImageDigestDoesNotMatchException"},
		{args: put + "@index", want: "error: ReferencedImagesNotFoundException"},
		{args: put + "@v2 --image-tag one", want: "@d2"},
		{args: put + "@v3 --image-tag three", want: "@d3"},
		{args: put + "@index --image-tag multi --image-manifest-media-type " + mediaOCIIndex, want: "@dindex"},
		{args: put + "@sbom", want: "@dsbom"},
		{args: "ecr describe-images --repository-name app --image-ids imageDigest=@d1 --query imageDetails[].[imageTags,imageSizeInBytes,imageStatus]", want: "None\t110\tACTIVE"},
		{args: "ecr describe-images --repository-name app --image-ids imageTag=multi --query imageDetails[].[imageSizeInBytes,imagePushedAt]", want: "120\t1767225600"},
		{args: "ecr describe-images --repository-name app --page-size 2 --query length(imageDetails)", want: "2\n2\n1"},
		{args: "ecr describe-images --repository-name app --filter tagStatus=UNTAGGED --query sort(imageDetails[].imageSizeInBytes)", want: "2\t110"},
		{args: "ecr describe-images --repository-name app --image-ids imageTag=none", want: "error: ImageNotFoundException"},
		{args: "ecr list-images --repository-name app --filter tagStatus=TAGGED --query sort(imageIds[].imageTag)", want: "multi\tone\tthree"},
		{args: "ecr list-images --repository-name app --page-size 1 --max-items 3 --query length(imageIds||`[]`)", want: "1\n1\n1\n0"},
		{args: "ecr batch-get-image --repository-name app --image-ids imageTag=three imageTag=none --query [images[0].imageManifest,failures[0].failureCode]", want: "@v3\tImageNotFound"},
		{args: "ecr describe-images --repository-name app --image-ids imageTag=three --query imageDetails[].lastRecordedPullTime", want: "1767225600"},
		{args: "ecr list-image-referrers --repository-name app --subject-id imageDigest=@d3 --query referrers[].[digest,artifactType]", want: "@dsbom\tapplication/spdx+json"},
		{args: "ecr batch-delete-image --repository-name app --image-ids imageDigest=@d1 --query failures[].failureCode", want: "ImageReferencedByManifestList"},
		{args: "ecr batch-delete-image --repository-name app --image-ids imageDigest=@dindex --query imageIds[].imageTag", want: "multi"},
		{args: "ecr batch-delete-image --repository-name app --image-ids imageDigest=@d1 imageDigest=@d1 --query [imageIds[].imageDigest,failures[].failureCode]", want: "@d1\nImageNotFound"},
		{args: "ecr update-image-storage-class --repository-name app --image-id imageTag=three --target-storage-class ARCHIVE --query imageStatus", want: "ARCHIVED"},
		{args: "ecr update-image-storage-class --repository-name app --image-id imageTag=three --target-storage-class ARCHIVE", want: "error: ImageStorageClassUpdateNotSupportedException"},
		{args: "ecr describe-images --repository-name app --query length(imageDetails)", want: "2"},
		{args: "ecr describe-images --repository-name app --filter imageStatus=ARCHIVED --query imageDetails[].imageTags", want: "three"},
		{args: "ecr batch-get-image --repository-name app --image-ids imageTag=three --query failures[].failureCode", want: "ImageInaccessible"},
		{args: "ecr update-image-storage-class --repository-name app --image-id imageTag=three --target-storage-class STANDARD --query imageStatus", want: "ACTIVATING"},
		{args: "ecr register-pull-time-update-exclusion --principal-arn @role --query principalArn", want: "@role"},
		{args: "ecr list-pull-time-update-exclusions --query pullTimeUpdateExclusions", want: "@role"},
		{args: "ecr deregister-pull-time-update-exclusion --principal-arn @role --query principalArn", want: "@role"},
		{args: "ecr deregister-pull-time-update-exclusion --principal-arn @role", want: "error: ExclusionNotFoundException"},
		// A pull from another account: the repository policy decides.
		{account: accountB, args: "ecr batch-get-image --registry-id 111111111111 --repository-name app --image-ids imageTag=one", want: "error: AccessDeniedException"},
		{args: "ecr set-repository-policy --repository-name app --policy-text @policy --query repositoryName", want: "app"},
		{account: accountB, args: "ecr batch-get-image --registry-id 111111111111 --repository-name app --image-ids imageTag=one", want: "error: AccessDeniedException"},
		{args: "ecr set-repository-policy --repository-name app --policy-text @open --query repositoryName", want: "app"},
		{account: accountB, args: "ecr batch-get-image --registry-id 111111111111 --repository-name app --image-ids imageTag=one --query images[].imageId.imageDigest", want: "@d2"},
		{args: "ecr delete-repository --repository-name app", want: "error: RepositoryNotEmptyException"},
		{args: "ecr delete-repository --repository-name app --force --query repository.repositoryName", want: "app"},
	})
}

func TestCLILifecyclePolicies(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	m.SetClock(lifecycleNow.AddDate(0, 0, -20))
	v := cliManifests()
	v["own"] = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}`
	v["archive"] = `{"rules":[{"rulePriority":3,"selection":{"tagStatus":"tagged","tagPatternList":["t*"],"countType":"sinceImagePulled","countUnit":"days","countNumber":14},"action":{"type":"transition","targetStorageClass":"archive"}}]}`
	v["first"] = `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}},{"rulePriority":2,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`
	v["pulled"] = strings.Replace(v["own"], "sinceImagePushed", "sinceImagePulled", 1)
	v["prose"] = strings.Repeat("policy", 20)
	v["untagged"] = digestOf(v["v3"])
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecr create-repository --repository-name app --query repository.registryId", want: accountA},
		{args: "ecr put-image --repository-name app --image-manifest @v1 --image-tag one --query image.imageId.imageDigest", want: "@d1"},
		{args: "ecr put-image --repository-name app --image-manifest @v2 --image-tag two --query image.imageId.imageDigest", want: "@d2"},
		{args: "ecr put-image --repository-name app --image-manifest @v3 --query image.imageId.imageDigest", want: "@untagged"},
	})
	m.SetClock(lifecycleNow)
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecr put-lifecycle-policy --repository-name app --lifecycle-policy-text @first", want: "error: InvalidParameterException"},
		{args: "ecr put-lifecycle-policy --repository-name app --lifecycle-policy-text @pulled", want: "error: InvalidParameterException"},
		{args: "ecr put-lifecycle-policy --repository-name app --lifecycle-policy-text @prose", want: "error: InvalidParameterException"},
		{args: "ecr get-lifecycle-policy --repository-name app", want: "error: LifecyclePolicyNotFoundException"},
		{args: "ecr get-lifecycle-policy-preview --repository-name app", want: "error: LifecyclePolicyPreviewNotFoundException"},
		{args: "ecr start-lifecycle-policy-preview --repository-name app", want: "error: LifecyclePolicyNotFoundException"},
		{args: "ecr put-lifecycle-policy --repository-name app --lifecycle-policy-text @own --query lifecyclePolicyText", want: "@own"},
		{args: "ecr start-lifecycle-policy-preview --repository-name app --query [status,registryId,repositoryName,lifecyclePolicyText]", want: "IN_PROGRESS\t" + accountA + "\tapp\t@own"},
		{args: "ecr start-lifecycle-policy-preview --repository-name app", want: "error: LifecyclePolicyPreviewInProgressException"},
		{args: "ecr get-lifecycle-policy-preview --repository-name app --no-paginate --query status", want: "IN_PROGRESS"},
		{args: "ecr wait lifecycle-policy-preview-complete --repository-name app", want: ""},
		{args: "ecr get-lifecycle-policy-preview --repository-name app --query previewResults[].[imageDigest,action.type,appliedRulePriority,storageClass,imageTags]", want: "@untagged\tEXPIRE\t1\tSTANDARD\tNone"},
		{args: "ecr get-lifecycle-policy-preview --repository-name app --filter tagStatus=TAGGED --query [length(previewResults),summary.expiringImageTotalCount]", want: "0\t1"},
		{args: "ecr start-lifecycle-policy-preview --repository-name app --lifecycle-policy-text @archive --query status", want: "IN_PROGRESS"},
		{args: "ecr get-lifecycle-policy-preview --repository-name app --no-paginate --query length(previewResults)", want: "0"},
		{args: "ecr get-lifecycle-policy-preview --repository-name app --image-ids imageTag=two imageTag=one --query previewResults[].[imageTags[0],action.type,action.targetStorageClass,appliedRulePriority]", want: "two\tTRANSITION\tARCHIVE\t3"},
		{args: "ecr get-lifecycle-policy-preview --repository-name app --query summary.transitioningImageTotalCounts[].[targetStorageClass,imageTotalCount]", want: "ARCHIVE\t1"},
		{account: accountB, args: "ecr start-lifecycle-policy-preview --registry-id 111111111111 --repository-name app", want: "error: AccessDeniedException"},
		{args: "ecr register-pull-time-update-exclusion --principal-arn arn:aws:sts::111111111111:assumed-role/reader/me", want: "error: InvalidParameterException"},
		{args: "ecr describe-images --repository-name app --query length(imageDetails)", want: "3"},
	})
}
