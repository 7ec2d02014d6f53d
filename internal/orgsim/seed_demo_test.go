package orgsim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/organizations"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"demurrage/accounts"
	"demurrage/internal/image"
)

var demoNow = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// seededDemo is shared by the tests that change nothing but pull times.
var seededDemo = sync.OnceValues(func() (*Server, error) {
	s := New()
	return s, s.SeedDemo(demoNow)
})

// demoSim is the seeded demo behind a listener. The methods below ask it through the real SDK.
type demoSim struct{ *sim }

func newDemoSim(t *testing.T) demoSim {
	t.Helper()
	s, err := seededDemo()
	if err != nil {
		t.Fatal(err)
	}
	return demoSim{serve(t, s)}
}

func (m demoSim) in(account, region string) aws.Config {
	cfg := m.as(account)
	cfg.Region = region
	return cfg
}

func must[T any](m demoSim) func(T, error) T {
	return func(v T, err error) T {
		m.t.Helper()
		if err != nil {
			m.t.Fatal(err)
		}
		return v
	}
}

// image describes the image that a tag or digest names; nil if it is not there.
func (m demoSim) image(account, region, repository, ref string) *ecrtypes.ImageDetail {
	m.t.Helper()
	id := ecrtypes.ImageIdentifier{ImageTag: &ref}
	if strings.HasPrefix(ref, "sha256:") {
		id = ecrtypes.ImageIdentifier{ImageDigest: &ref}
	}
	out, err := ecr.NewFromConfig(m.in(account, region)).DescribeImages(m.t.Context(), &ecr.DescribeImagesInput{
		RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{id},
		Filter: &ecrtypes.DescribeImagesFilter{ImageStatus: ecrtypes.ImageStatusFilterAny},
	})
	if codeOf(err) == "ImageNotFoundException" {
		return nil
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return &out.ImageDetails[0]
}

func (m demoSim) mustImage(account, region, repository, ref string) *ecrtypes.ImageDetail {
	m.t.Helper()
	d := m.image(account, region, repository, ref)
	if d == nil {
		m.t.Fatalf("%s of %s/%s/%s is not there", ref, account, region, repository)
	}
	return d
}

func (m demoSim) service(account, region, name string) ecstypes.Service {
	m.t.Helper()
	out := must[*ecs.DescribeServicesOutput](m)(ecs.NewFromConfig(m.in(account, region)).DescribeServices(m.t.Context(), &ecs.DescribeServicesInput{
		Cluster: aws.String("prod"), Services: []string{name},
	}))
	if len(out.Services) != 1 {
		m.t.Fatalf("service %s: %+v", name, out.Failures)
	}
	return out.Services[0]
}

// images are those of a task definition's containers.
func (m demoSim) images(account, region, definition string) []string {
	m.t.Helper()
	out := must[*ecs.DescribeTaskDefinitionOutput](m)(ecs.NewFromConfig(m.in(account, region)).DescribeTaskDefinition(m.t.Context(), &ecs.DescribeTaskDefinitionInput{
		TaskDefinition: &definition,
	}))
	var images []string
	for _, c := range out.TaskDefinition.ContainerDefinitions {
		images = append(images, *c.Image)
	}
	return images
}

// tasks of a family with a desired status.
func (m demoSim) tasks(account, region, family string, status ecstypes.DesiredStatus) []ecstypes.Task {
	m.t.Helper()
	client := ecs.NewFromConfig(m.in(account, region))
	list := must[*ecs.ListTasksOutput](m)(client.ListTasks(m.t.Context(), &ecs.ListTasksInput{Cluster: aws.String("prod"), Family: &family, DesiredStatus: status}))
	if len(list.TaskArns) == 0 {
		return nil
	}
	return must[*ecs.DescribeTasksOutput](m)(client.DescribeTasks(m.t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("prod"), Tasks: list.TaskArns})).Tasks
}

// pinned is the digest that a service's revision knows for its only container.
func (m demoSim) pinned(account, region string, v ecstypes.Service) string {
	m.t.Helper()
	out := must[*ecs.DescribeServiceRevisionsOutput](m)(ecs.NewFromConfig(m.in(account, region)).DescribeServiceRevisions(m.t.Context(), &ecs.DescribeServiceRevisionsInput{
		ServiceRevisionArns: []string{*v.CurrentServiceRevisions[0].Arn},
	}))
	return aws.ToString(out.ServiceRevisions[0].ContainerImages[0].ImageDigest)
}

func (m demoSim) age(d *ecrtypes.ImageDetail) time.Duration { return demoNow.Sub(*d.ImagePushedAt) }

func tagOf(ref string) string { return ref[strings.LastIndexByte(ref, ':')+1:] }

func TestDemoIncidents(t *testing.T) {
	incidents := []struct {
		name  string
		check func(t *testing.T, m demoSim)
	}{
		{"shared sidecar at an old tag", func(t *testing.T, m demoSim) {
			v := m.service(demoCustoms, demoVirginia, "prod-tariff-lookup")
			sidecar := m.images(demoCustoms, demoVirginia, *v.TaskDefinition)[1]
			if !strings.HasPrefix(sidecar, demoPlatform+".dkr.ecr.us-east-1.amazonaws.com/platform/envoy-sidecar:") {
				t.Fatalf("the sidecar is %s", sidecar)
			}
			if d := m.mustImage(demoPlatform, demoVirginia, "platform/envoy-sidecar", tagOf(sidecar)); m.age(d) < demoDays(400) {
				t.Errorf("%s is only %v old", sidecar, m.age(d))
			}
		}},
		{"one image tagged dev and prod", func(t *testing.T, m demoSim) {
			d := m.mustImage(demoCustoms, demoVirginia, "prod/declare", "prod-7")
			if !slices.Contains(d.ImageTags, "dev-41") || m.age(d) < demoDays(400) {
				t.Errorf("prod-7 has the tags %v and is %v old", d.ImageTags, m.age(d))
			}
			v := m.service(demoCustoms, demoVirginia, "prod-declare")
			if ref := m.images(demoCustoms, demoVirginia, *v.TaskDefinition)[0]; tagOf(ref) != "prod-7" || v.RunningCount != 4 {
				t.Errorf("the service runs %d of %s", v.RunningCount, ref)
			}
		}},
		{"moved latest that still runs", func(t *testing.T, m demoSim) {
			tasks := m.tasks(demoWarehouse, demoVirginia, "prod-label-printer", ecstypes.DesiredStatusRunning)
			if len(tasks) != 2 || tagOf(*tasks[0].Containers[0].Image) != "latest" {
				t.Fatalf("tasks %+v", tasks)
			}
			if d := m.mustImage(demoWarehouse, demoVirginia, "prod/label-printer", *tasks[0].Containers[0].ImageDigest); len(d.ImageTags) > 0 {
				t.Errorf("what runs has the tags %v", d.ImageTags)
			}
		}},
		{"service at zero whose tag moved", func(t *testing.T, m demoSim) {
			v := m.service(demoWarehouse, demoTokyo, "prod-label-printer")
			if tasks := m.tasks(demoWarehouse, demoTokyo, "prod-label-printer", ecstypes.DesiredStatusRunning); v.DesiredCount != 0 || len(tasks) > 0 {
				t.Errorf("desired count %d, %d tasks", v.DesiredCount, len(tasks))
			}
			if d := m.mustImage(demoWarehouse, demoTokyo, "prod/label-printer", m.pinned(demoWarehouse, demoTokyo, v)); len(d.ImageTags) > 0 {
				t.Errorf("what the revision pinned has the tags %v", d.ImageTags)
			}
		}},
		{"account that refuses the role, and one that is closed", func(t *testing.T, m demoSim) {
			hub := m.in(demoHub, demoVirginia)
			for _, a := range Demo().Accounts {
				for _, role := range []string{"DemurrageRead", "DemurrageSweep"} {
					_, err := sts.NewFromConfig(hub).AssumeRole(t.Context(), &sts.AssumeRoleInput{
						RoleArn: aws.String("arn:aws:iam::" + a.ID + ":role/" + role), RoleSessionName: aws.String("demurrage"), ExternalId: aws.String("northquay-demurrage"),
					})
					want := ""
					if a.ID == demoFeeder || a.ID == demoLegacy {
						want = "AccessDenied"
					}
					if got := codeOf(err); got != want {
						t.Errorf("%s of %s: %v", role, a.Name, err)
					}
				}
			}
		}},
		{"function whose tag moved, and an alias at an old version", func(t *testing.T, m demoSim) {
			client := lambda.NewFromConfig(m.in(demoBooking, demoVirginia))
			live := *m.mustImage(demoBooking, demoVirginia, "prod/notify", "live").ImageDigest
			seen := map[string]bool{live: true}
			for _, qualifier := range []string{"$LATEST", "prod"} {
				out := must[*lambda.GetFunctionOutput](m)(client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("notify"), Qualifier: &qualifier}))
				_, digest, _ := strings.Cut(*out.Code.ResolvedImageUri, "@")
				if tagOf(*out.Code.ImageUri) != "live" || seen[digest] {
					t.Errorf("%s: %s resolved to %s", qualifier, *out.Code.ImageUri, digest)
				}
				seen[digest] = true
				if d := m.mustImage(demoBooking, demoVirginia, "prod/notify", digest); len(d.ImageTags) > 0 {
					t.Errorf("%s has the tags %v", qualifier, d.ImageTags)
				}
			}
			alias := must[*lambda.GetAliasOutput](m)(client.GetAlias(t.Context(), &lambda.GetAliasInput{FunctionName: aws.String("notify"), Name: aws.String("prod")}))
			if *alias.FunctionVersion != "2" {
				t.Errorf("prod is version %s", *alias.FunctionVersion)
			}
		}},
		{"use across regions, by dual-stack and FIPS hosts", func(t *testing.T, m demoSim) {
			for _, c := range []struct{ account, region, service, ref string }{
				{demoTracking, demoIreland, "prod-geofence", demoTracking + ".dkr.ecr.us-east-1.amazonaws.com/prod/geofence:build-71"},
				{demoCustoms, demoVirginia, "prod-sanctions-screen", demoCustoms + ".dkr-ecr.us-east-1.on.aws/prod/sanctions-screen:build-110"},
				{demoCustoms, demoVirginia, "prod-edi-gateway", demoCustoms + ".dkr.ecr-fips.us-east-1.amazonaws.com/prod/edi-gateway:dev-66"},
			} {
				v := m.service(c.account, c.region, c.service)
				if ref := m.images(c.account, c.region, *v.TaskDefinition)[0]; ref != c.ref || v.RunningCount != 2 {
					t.Errorf("%s runs %d of %s", c.service, v.RunningCount, ref)
				}
				ref, err := image.ParseRef(c.ref)
				if err != nil {
					t.Fatal(err)
				}
				if d := m.mustImage(c.account, demoVirginia, ref.Repository.Name, ref.Tag); m.age(d) < demoDays(180) {
					t.Errorf("%s is only %v old", c.ref, m.age(d))
				}
			}
		}},
		{"CODE_DEPLOY service with task sets only", func(t *testing.T, m demoSim) {
			v := m.service(demoBooking, demoVirginia, "prod-rate-sheets")
			if len(v.Deployments) != 0 || len(v.TaskSets) != 1 || !strings.HasSuffix(*v.TaskSets[0].TaskDefinition, ":1") {
				t.Errorf("%d deployments, task sets %+v", len(v.Deployments), v.TaskSets)
			}
			out := must[*ecs.ListTaskDefinitionsOutput](m)(ecs.NewFromConfig(m.in(demoBooking, demoVirginia)).ListTaskDefinitions(t.Context(), &ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("prod-rate-sheets")}))
			if len(out.TaskDefinitionArns) != 7 {
				t.Errorf("revisions %v", out.TaskDefinitionArns)
			}
		}},
		{"reference by tag and digest, and by neither", func(t *testing.T, m demoSim) {
			v := m.service(demoBooking, demoVirginia, "prod-quote-engine")
			ref, err := image.ParseRef(m.images(demoBooking, demoVirginia, *v.TaskDefinition)[0])
			if err != nil || ref.Tag == "" || ref.Digest == "" {
				t.Fatalf("%+v, %v", ref, err)
			}
			if d := m.mustImage(demoBooking, demoVirginia, "prod/quote-engine", ref.Tag); *d.ImageDigest == string(ref.Digest) {
				t.Error("the tag has not moved")
			}
			m.mustImage(demoBooking, demoVirginia, "prod/quote-engine", string(ref.Digest))

			v = m.service(demoWarehouse, demoVirginia, "prod-dock-scheduler")
			if ref := m.images(demoWarehouse, demoVirginia, *v.TaskDefinition)[0]; strings.Contains(ref, ":") {
				t.Errorf("%s has a tag", ref)
			}
			if d := m.mustImage(demoWarehouse, demoVirginia, "prod/dock-scheduler", m.pinned(demoWarehouse, demoVirginia, v)); len(d.ImageTags) > 0 {
				t.Errorf("what runs has the tags %v", d.ImageTags)
			}
		}},
		{"broken references, live and latent", func(t *testing.T, m demoSim) {
			v := m.service(demoWarehouse, demoVirginia, "prod-slotting")
			if m.image(demoWarehouse, demoVirginia, "prod/slotting", m.pinned(demoWarehouse, demoVirginia, v)) != nil || v.RunningCount == 0 {
				t.Error("the image is there, or the service does not run")
			}
			for i, gone := range []bool{true, true, false, false, false, false} {
				ref := m.images(demoWarehouse, demoVirginia, fmt.Sprintf("prod-pick-path:%d", i+1))[0]
				if got := m.image(demoWarehouse, demoVirginia, "prod/pick-path", tagOf(ref)) == nil; got != gone {
					t.Errorf("%s gone: %v", ref, got)
				}
			}
		}},
		{"multi-arch, attested, signed", func(t *testing.T, m demoSim) {
			kinds := m.children(t, "platform/envoy-sidecar", "latest")
			if !maps.Equal(kinds, map[string]int{"linux/amd64": 1, "linux/arm64": 1, "unknown/unknown": 2}) {
				t.Errorf("children %v", kinds)
			}
			index := m.mustImage(demoPlatform, demoVirginia, "platform/envoy-sidecar", "latest")
			signature := strings.Replace(*index.ImageDigest, ":", "-", 1) + ".sig"
			m.mustImage(demoPlatform, demoVirginia, "platform/envoy-sidecar", signature)

			tracked := m.mustImage(demoTracking, demoVirginia, "prod/tracking-api", "latest")
			out := must[*ecr.ListImageReferrersOutput](m)(ecr.NewFromConfig(m.in(demoTracking, demoVirginia)).ListImageReferrers(t.Context(), &ecr.ListImageReferrersInput{
				RepositoryName: aws.String("prod/tracking-api"), SubjectId: &ecrtypes.SubjectIdentifier{ImageDigest: tracked.ImageDigest},
			}))
			if len(out.Referrers) != 1 {
				t.Errorf("referrers %+v", out.Referrers)
			}
		}},
		{"nested index", func(t *testing.T, m demoSim) {
			v := m.service(demoWarehouse, demoVirginia, "terminal-agent")
			tag := tagOf(m.images(demoWarehouse, demoVirginia, *v.TaskDefinition)[0])
			if kinds := m.children(t, "platform/terminal-agent", tag); kinds["index"] != 1 || kinds["windows/amd64"] != 1 {
				t.Errorf("children %v", kinds)
			}
		}},
		{"orphaned signatures", func(t *testing.T, m demoSim) {
			orphans := 0
			for d := range m.all(t, demoCustoms, "prod/sanctions-screen") {
				for _, tag := range d.ImageTags {
					if subject, ok := image.SubjectOfTag(tag); ok && m.image(demoCustoms, demoVirginia, "prod/sanctions-screen", string(subject)) == nil {
						orphans++
					}
				}
			}
			if orphans != 4 {
				t.Errorf("%d orphans", orphans)
			}
		}},
		{"archived images", func(t *testing.T, m demoSim) {
			archived := 0
			for d := range m.all(t, demoCustoms, "prod/edi-gateway") {
				if d.ImageStatus == ecrtypes.ImageStatusArchived {
					archived++
				}
			}
			if archived != 40 {
				t.Errorf("%d archived", archived)
			}
		}},
		{"scheduled task that stopped", func(t *testing.T, m demoSim) {
			tasks := m.tasks(demoTracking, demoVirginia, "batch-eta-replay", ecstypes.DesiredStatusStopped)
			if len(tasks) != 1 || *tasks[0].StartedBy != "events-rule/nightly-eta-replay" || tasks[0].Containers[0].ImageDigest == nil {
				t.Fatalf("tasks %+v", tasks)
			}
			out := must[*ecs.DescribeTaskDefinitionOutput](m)(ecs.NewFromConfig(m.in(demoTracking, demoVirginia)).DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: tasks[0].TaskDefinitionArn}))
			if out.TaskDefinition.Status != ecstypes.TaskDefinitionStatusInactive {
				t.Errorf("revision %d is %s", out.TaskDefinition.Revision, out.TaskDefinition.Status)
			}
		}},
		{"repository that is waste", func(t *testing.T, m demoSim) {
			n := DemoExpected()[demoData+"/us-east-1/ml/demand-forecast-train"]
			if n.Delete*100 < n.Total*88 || n.Total < 400 {
				t.Errorf("%+v", n)
			}
			for key := range m.InUse() {
				if strings.Contains(key, "/ml/demand-forecast-train@") {
					t.Errorf("%s is in use", key)
				}
			}
		}},
		{"pulled by a host that nothing lists", func(t *testing.T, m demoSim) {
			d := m.mustImage(demoTracking, demoVirginia, "prod/tracking-ingest", "build-140")
			if d.LastRecordedPullTime == nil || demoNow.Sub(*d.LastRecordedPullTime) > demoDays(7) {
				t.Errorf("last pulled %v", d.LastRecordedPullTime)
			}
			if used := m.InUse()[demoTracking+"/us-east-1/prod/tracking-ingest@"+*d.ImageDigest]; used != nil {
				t.Errorf("used by %v", used)
			}
		}},
		{"cross-account pulls need the policy", func(t *testing.T, m demoSim) {
			_, err := ecr.NewFromConfig(m.in(demoCustoms, demoVirginia)).BatchGetImage(t.Context(), &ecr.BatchGetImageInput{
				RegistryId: aws.String(demoPlatform), RepositoryName: aws.String("platform/envoy-sidecar"), ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("latest")}},
			})
			wantCode(t, err, "")
			_, err = ecr.NewFromConfig(m.in(demoCustoms, demoVirginia)).BatchGetImage(t.Context(), &ecr.BatchGetImageInput{
				RegistryId: aws.String(demoBooking), RepositoryName: aws.String("prod/booking-web"), ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("latest")}},
			})
			wantCode(t, err, "AccessDeniedException")
		}},
	}
	for _, c := range incidents {
		t.Run(c.name, func(t *testing.T) { c.check(t, newDemoSim(t)) })
	}
}

// all lists every image of a repository in Virginia, archived ones too.
func (m demoSim) all(t *testing.T, account, repository string) func(func(ecrtypes.ImageDetail) bool) {
	return func(yield func(ecrtypes.ImageDetail) bool) {
		p := ecr.NewDescribeImagesPaginator(ecr.NewFromConfig(m.in(account, demoVirginia)), &ecr.DescribeImagesInput{
			RepositoryName: &repository, Filter: &ecrtypes.DescribeImagesFilter{ImageStatus: ecrtypes.ImageStatusFilterAny},
		})
		for p.HasMorePages() {
			out, err := p.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range out.ImageDetails {
				if !yield(d) {
					return
				}
			}
		}
	}
}

// children counts the children of an index of the platform account by platform; "index" is one without.
func (m demoSim) children(t *testing.T, repository, tag string) map[string]int {
	t.Helper()
	out := must[*ecr.BatchGetImageOutput](m)(ecr.NewFromConfig(m.in(demoPlatform, demoVirginia)).BatchGetImage(t.Context(), &ecr.BatchGetImageInput{
		RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: &tag}},
	}))
	if len(out.Images) != 1 {
		t.Fatalf("%s:%s: %+v", repository, tag, out.Failures)
	}
	var index struct {
		Manifests []struct {
			Platform *struct{ Architecture, OS string }
		}
	}
	if err := json.Unmarshal([]byte(*out.Images[0].ImageManifest), &index); err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	for _, c := range index.Manifests {
		if c.Platform == nil {
			kinds["index"]++
			continue
		}
		kinds[c.Platform.OS+"/"+c.Platform.Architecture]++
	}
	return kinds
}

func TestDemoOrganization(t *testing.T) {
	m := newDemoSim(t)
	org := organizations.NewFromConfig(m.in(demoHub, demoVirginia))
	closed, total := 0, 0
	p := organizations.NewListAccountsPaginator(org, &organizations.ListAccountsInput{})
	for p.HasMorePages() {
		out := must[*organizations.ListAccountsOutput](m)(p.NextPage(t.Context()))
		total += len(out.Accounts)
		for _, a := range out.Accounts {
			if a.State == "CLOSED" {
				closed++
			}
		}
	}
	if total < 12 || closed != 1 {
		t.Errorf("%d accounts, %d closed", total, closed)
	}
	units := must[*organizations.ListOrganizationalUnitsForParentOutput](m)(org.ListOrganizationalUnitsForParent(t.Context(), &organizations.ListOrganizationalUnitsForParentInput{ParentId: aws.String("r-demu")}))
	var names []string
	for _, u := range units.OrganizationalUnits {
		names = append(names, *u.Name)
	}
	if want := []string{"Security", "Infrastructure", "Workloads", "Sandbox", "Suspended"}; !slices.Equal(names, want) {
		t.Errorf("units %v", names)
	}
}

func TestDemoSize(t *testing.T) {
	s, err := seededDemo()
	if err != nil {
		t.Fatal(err)
	}
	repositories, images := 0, 0
	for _, reg := range s.allRegions() {
		for _, r := range reg.ecr.repositories {
			repositories++
			images += len(r.ordered)
			for _, im := range r.ordered {
				most := int64(3 << 30)
				if r.account == demoData || r.account == demoSandbox {
					most = 8 << 30
				}
				if im.size > most || im.size < 20<<20 && len(im.tags)+len(im.children()) > 0 && !strings.HasPrefix(im.tags[0], "sha256-") {
					t.Errorf("%s of %s has %d bytes", im.digest, r.name, im.size)
				}
				if age := s.now().Sub(time.Unix(0, im.pushed)); age < 0 || age > demoDays(950) {
					t.Errorf("%s of %s is %v old", im.digest, r.name, age)
				}
			}
		}
	}
	if repositories < 55 || repositories > 75 || images < 18000 || images > 22000 {
		t.Errorf("%d repositories with %d images", repositories, images)
	}
}

// TestDemoLayers checks that builds share layers, in a repository and across repositories.
func TestDemoLayers(t *testing.T) {
	layers := func(r *DemoRepository, build int) map[string]bool {
		p := DemoPush{Name: fmt.Sprint(build), Build: build, Kind: demoKindImage, Arch: "amd64", Age: r.Age(build)}
		parsed, err := parseManifest([]byte(r.imageManifest(&p).text), "")
		if err != nil {
			t.Fatal(err)
		}
		set := make(map[string]bool)
		for _, l := range parsed.Layers {
			set[l.Digest] = true
		}
		return set
	}
	shared := func(a, b map[string]bool) (n int) {
		for d := range a {
			if b[d] {
				n++
			}
		}
		return n
	}
	d := Demo()
	find := func(name string) *DemoRepository {
		i := slices.IndexFunc(d.Repositories, func(r *DemoRepository) bool { return r.Name == name })
		return d.Repositories[i]
	}
	eta, tariff := find("prod/eta-service"), find("prod/tariff-lookup")
	if n := shared(layers(eta, 150), layers(eta, 151)); n != 4 {
		t.Errorf("two builds in a row share %d layers, want the base's and the dependencies'", n)
	}
	build := 0
	for n := 1; n <= eta.Builds && build == 0; n++ {
		if eta.Age(n) < tariff.Age(tariff.Builds) {
			build = n
		}
	}
	if n := shared(layers(eta, build), layers(tariff, tariff.Builds)); n != 3 {
		t.Errorf("builds from one base share %d layers, want 3", n)
	}
}

// dump is everything that a plan can see of the registries, with times as ages.
func dump(s *Server) []string {
	var out []string
	for _, reg := range s.allRegions() {
		for _, r := range reg.ecr.repositories {
			for _, im := range r.ordered {
				pulled := time.Duration(-1)
				if im.pulled != 0 {
					pulled = s.now().Sub(time.Unix(0, im.pulled))
				}
				out = append(out, fmt.Sprint(r.arn(), im.digest, im.size, im.tags, s.now().Sub(time.Unix(0, im.pushed)), pulled, im.status(s.now())))
			}
		}
	}
	for key, users := range s.InUse() {
		out = append(out, fmt.Sprint(key, users))
	}
	slices.Sort(out)
	return out
}

func TestDemoIsDeterministic(t *testing.T) {
	a, b := New(), New()
	for s, now := range map[*Server]time.Time{a: demoNow, b: demoNow.Add(1234*time.Hour + 56*time.Minute)} {
		if err := s.SeedDemo(now); err != nil {
			t.Fatal(err)
		}
		if !s.now().Equal(now) {
			t.Errorf("the clock stands at %v", s.now())
		}
	}
	// The same digests, ages and uses, ARNs of tasks and revisions included, whatever the time.
	da, db := dump(a), dump(b)
	if !slices.Equal(da, db) {
		for i := range da {
			if da[i] != db[i] {
				t.Fatalf("they differ:\n%s\n%s", da[i], db[i])
			}
		}
	}
}

// TestDemoRules compares the rules that DemoExpected restates by hand with demo.toml.
func TestDemoRules(t *testing.T) {
	cfg, err := accounts.Parse("demo.toml", DemoConfig())
	if err != nil {
		t.Fatal(err)
	}
	rules := cfg.Rules()
	if len(rules.Repositories) != len(expectedRules) || rules.MinAge != 24*time.Hour {
		t.Fatalf("%d rules, minimum age %v", len(rules.Repositories), rules.MinAge)
	}
	for i, r := range rules.Repositories {
		got := expectedRule{
			prefix: strings.TrimSuffix(r.Name.String(), "*"), expires: int(r.Expires / demoDays(1)), fromNewest: r.FromNewestPush, keepCount: r.KeepCount,
			pulledWithin: int(r.KeepPulledWithin / demoDays(1)), untaggedExpires: int(r.UntaggedExpires / demoDays(1)), untaggedSeparate: r.UntaggedExpires > 0,
		}
		for _, a := range r.Accounts {
			got.account += a.String()
		}
		for _, p := range r.KeepTags {
			got.keepTags = append(got.keepTags, p.String())
		}
		if fmt.Sprint(got) != fmt.Sprint(expectedRules[i]) {
			t.Errorf("rule %d is %+v, restated as %+v", i, got, expectedRules[i])
		}
	}
	if len(rules.Attestations) != 1 || !rules.Attestations[0].InForce(demoNow) {
		t.Errorf("attestations %+v", rules.Attestations)
	}
	for family, n := range map[string]int{"batch-eta-replay": 2, "prod-declare": 5} {
		if got := cfg.KeepTaskDefinitions(family); got != n {
			t.Errorf("%d generations of %s", got, family)
		}
	}
	if n := cfg.KeepLambdaVersions("notify"); n != 3 {
		t.Errorf("%d versions", n)
	}
	if cfg.Assume.ExternalID != Demo().ExternalID {
		t.Errorf("external id %q", cfg.Assume.ExternalID)
	}
}

// TestDemoMargins checks that no age is within 3 hours of a span that decisions turn on.
func TestDemoMargins(t *testing.T) {
	const margin = 3 * time.Hour
	s, err := seededDemo()
	if err != nil {
		t.Fatal(err)
	}
	near := func(age time.Duration, days ...int) bool {
		return slices.ContainsFunc(days, func(n int) bool { return n > 0 && (age-demoDays(n)).Abs() < margin })
	}
	for _, r := range Demo().Repositories {
		rule := expectedRuleOf(r)
		if rule == nil {
			continue
		}
		images := s.regionOf(r.Account, r.Region).ecr.repositories[r.Name].ordered
		newest := images[len(images)-1].pushed
		for _, im := range images {
			age := demoNow.Sub(time.Unix(0, im.pushed))
			since := age
			if rule.fromNewest {
				since = time.Duration(newest - im.pushed)
			}
			if near(age, 1) || near(since, rule.expires, rule.untaggedExpires) {
				t.Errorf("%s: an image is %v old, %v before the newest", r.Key(), age, time.Duration(newest-im.pushed))
			}
			if pulled := demoNow.Sub(time.Unix(0, im.pulled)); im.pulled != 0 && rule.pulledWithin > 0 && near(pulled, rule.pulledWithin, rule.pulledWithin+1) {
				t.Errorf("%s: an image was pulled %v ago", r.Key(), pulled)
			}
		}
	}
}

func TestDemoExpected(t *testing.T) {
	s, err := seededDemo()
	if err != nil {
		t.Fatal(err)
	}
	expected := DemoExpected()
	var sum Counts
	for _, r := range Demo().Repositories {
		n, planned := expected[r.Key()]
		if wanted := r.Account != demoFeeder && r.Account != demoLegacy; planned != wanted {
			t.Errorf("%s planned: %v", r.Key(), planned)
		}
		if !planned {
			continue
		}
		if there := len(s.regionOf(r.Account, r.Region).ecr.repositories[r.Name].ordered); n.Total != there || n.Keep+n.Delete+n.Blocked != n.Total {
			t.Errorf("%s: %+v of %d images", r.Key(), n, there)
		}
		sum = Counts{sum.Total + n.Total, sum.Keep + n.Keep, sum.Delete + n.Delete, sum.Blocked + n.Blocked}
	}
	if sum.Keep < 2000 || sum.Delete < 5000 || sum.Blocked < 1000 {
		t.Errorf("in all: %+v", sum)
	}

	// What the simulation itself knows to be in use must be kept. It knows of more than a scan looks for (every active
	// revision, every version), so only what runs is compared.
	kept := map[string]bool{}
	d := Demo()
	for r, images := range expectedWorld(d) {
		made := map[string]*demoManifest{}
		for _, p := range r.Pushes() {
			made[p.Name] = r.manifest(&p, made)
			if im := images[p.Name]; im != nil && im.keep {
				kept[r.Key()+"@"+made[p.Name].digest] = true
			}
		}
	}
	for key, users := range s.InUse() {
		runs := slices.ContainsFunc(users, func(arn string) bool { return strings.Contains(arn, ":task/") || strings.Contains(arn, ":service/") })
		if runs && !kept[key] && !strings.HasPrefix(key, demoFeeder) {
			t.Errorf("%s runs (%v) and is not kept", key, users)
		}
	}
}
