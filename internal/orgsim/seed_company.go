package orgsim

import (
	"path"
	"slices"
	"strings"
	"time"
)

// The accounts of the demo: Northquay, a freight forwarder. Each product team has an account for production and one
// for staging.
const (
	demoHub             = "111111111111"
	demoLogs            = "121212121212"
	demoPlatform        = "222222222222"
	demoCI              = "223344556677"
	demoBooking         = "300000000011"
	demoBookingStaging  = "300000000012"
	demoTracking        = "310000000011"
	demoTrackingStaging = "310000000012"
	demoCustoms         = "320000000011"
	demoCustomsStaging  = "320000000012"
	demoWarehouse       = "330000000011"
	demoWarehouseStage  = "330000000012"
	demoData            = "400000000001"
	demoSandbox         = "500000000001"
	demoFeeder          = "600000000001"
	demoLegacy          = "700000000001"

	demoVirginia = "us-east-1"
	demoTokyo    = "ap-northeast-1"
	demoIreland  = "eu-west-1"
)

// Lifecycle policies as teams write them, not knowing what runs.
const (
	// Takes every image with a tag dev-…, also the one that carries prod-7 beside dev-41.
	demoDevPolicy = `{"rules":[{"rulePriority":1,"description":"old development images","selection":{"tagStatus":"tagged","tagPrefixList":["dev-"],"countType":"sinceImagePushed","countUnit":"days","countNumber":30},"action":{"type":"expire"}}]}`
	// Counts images, and so takes the tag of the service that seldom deploys.
	demoCountPolicy = `{"rules":[{"rulePriority":1,"description":"keep the newest","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":400},"action":{"type":"expire"}}]}`
	// What demoDevPolicy should have been: the first rule keeps what carries prod-…, whatever else it is tagged.
	demoSafePolicy = `{"rules":[{"rulePriority":1,"description":"production stays","selection":{"tagStatus":"tagged","tagPrefixList":["prod-"],"countType":"imageCountMoreThan","countNumber":9999},"action":{"type":"expire"}},` +
		`{"rulePriority":2,"description":"old development images","selection":{"tagStatus":"tagged","tagPrefixList":["dev-"],"countType":"sinceImagePushed","countUnit":"days","countNumber":30},"action":{"type":"expire"}}]}`
	// Was written for another way to tag, and never matches.
	demoIdlePolicy = `{"rules":[{"rulePriority":1,"description":"old snapshots","selection":{"tagStatus":"tagged","tagPatternList":["snapshot-*"],"countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}`
	// Is right where nothing runs without a tag.
	demoUntaggedPolicy = `{"rules":[{"rulePriority":1,"description":"layers of old builds","selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}}]}`
)

// Demo describes the company of SeedDemo. Every call makes it anew.
func Demo() *Description {
	d := &Description{
		Hub:        demoHub,
		ExternalID: "northquay-demurrage",
		Units: []DemoUnit{
			{Name: "Security"}, {Name: "Infrastructure"}, {Name: "Workloads"}, {"Prod", "Workloads"}, {"Staging", "Workloads"},
			{Name: "Sandbox"}, {Name: "Suspended"},
		},
		Accounts: []DemoAccount{
			{ID: ManagementAccount, Name: "management", Owner: "cloud-office", CostCenter: "CC-1000"},
			{ID: demoHub, Name: "security-hub", Unit: "Security", Owner: "security", CostCenter: "CC-1100", Pulls: true},
			{ID: demoLogs, Name: "log-archive", Unit: "Security", Owner: "security", CostCenter: "CC-1100"},
			{ID: demoPlatform, Name: "platform", Unit: "Infrastructure", Owner: "platform", CostCenter: "CC-1200"},
			{ID: demoCI, Name: "ci", Unit: "Infrastructure", Owner: "platform", CostCenter: "CC-1210"},
			{ID: demoBooking, Name: "booking-prod", Unit: "Workloads/Prod", Owner: "booking", CostCenter: "CC-3000"},
			{ID: demoBookingStaging, Name: "booking-staging", Unit: "Workloads/Staging", Owner: "booking", CostCenter: "CC-3000"},
			{ID: demoTracking, Name: "tracking-prod", Unit: "Workloads/Prod", Owner: "tracking", CostCenter: "CC-3100"},
			{ID: demoTrackingStaging, Name: "tracking-staging", Unit: "Workloads/Staging", Owner: "tracking", CostCenter: "CC-3100"},
			{ID: demoCustoms, Name: "customs-prod", Unit: "Workloads/Prod", Owner: "customs", CostCenter: "CC-3200"},
			{ID: demoCustomsStaging, Name: "customs-staging", Unit: "Workloads/Staging", Owner: "customs", CostCenter: "CC-3200"},
			{ID: demoWarehouse, Name: "warehouse-prod", Unit: "Workloads/Prod", Owner: "warehouse", CostCenter: "CC-3300"},
			{ID: demoWarehouseStage, Name: "warehouse-staging", Unit: "Workloads/Staging", Owner: "warehouse", CostCenter: "CC-3300"},
			{ID: demoData, Name: "data-ml", Unit: "Workloads/Prod", Owner: "data-science", CostCenter: "CC-4000"},
			{ID: demoSandbox, Name: "sandbox", Unit: "Sandbox", Owner: "cloud-office", CostCenter: "CC-1000", Pulls: true},
			// Incident: an acquired company whose role asks for an external id of its own, so that it cannot be read.
			{ID: demoFeeder, Name: "baltic-feeder", Unit: "Workloads/Prod", Owner: "baltic-feeder", CostCenter: "CC-6000", Refuses: true},
			// Closed: nobody can enter it. An attestation of demo.toml stands in for it.
			{ID: demoLegacy, Name: "legacy-edi", Unit: "Suspended", Owner: "customs", CostCenter: "CC-3200", Closed: true},
		},
	}
	shared := d.platform()
	d.ci()
	prod := d.products(shared)
	d.staging(prod)
	d.data()
	d.sandbox()
	d.elsewhere()
	return d
}

// add adds a repository; what is not said of region and owner comes from the account.
func (d *Description) add(r DemoRepository) *DemoRepository {
	if r.Region == "" {
		r.Region = demoVirginia
	}
	i := slices.IndexFunc(d.Accounts, func(a DemoAccount) bool { return a.ID == r.Account })
	r.Owner, r.CostCenter = d.Accounts[i].Owner, d.Accounts[i].CostCenter
	d.Repositories = append(d.Repositories, &r)
	return &r
}

// family adds a task definition family in an account and region.
func (d *Description) family(account, region, name string, revisions ...DemoRevision) *DemoFamily {
	f := &DemoFamily{Account: account, Region: region, Name: name, Revisions: revisions}
	d.Families = append(d.Families, f)
	return f
}

func (d *Description) service(f *DemoFamily, deployments ...DemoDeployment) *DemoService {
	v := &DemoService{Family: f, Cluster: demoClusterOf(f.Account), Name: f.Name, Deployments: deployments}
	d.Services = append(d.Services, v)
	return v
}

func demoClusterOf(account string) string {
	switch account {
	case demoBookingStaging, demoTrackingStaging, demoCustomsStaging, demoWarehouseStage:
		return "staging"
	case demoCI:
		return "runners"
	default:
		return "prod"
	}
}

// demoAfter is shortly after a build was pushed, when it is deployed. The sidecars of a revision are at least a week
// older.
func demoAfter(r *DemoRepository, build int) time.Duration { return r.Age(build) - 30*time.Minute }

// demoRevision is registered after a build was pushed and names it by its tag, with the sidecars that were current.
func demoRevision(r *DemoRepository, build int, sidecars ...*DemoRepository) DemoRevision {
	rev := DemoRevision{Age: demoAfter(r, build), Images: []DemoImage{r.Image(build)}}
	for _, s := range sidecars {
		rev.Images = append(rev.Images, s.Image(s.Last(rev.Age+demoDays(7))))
	}
	return rev
}

// follow adds a service that is deployed with every build that has a tag: its family has a revision for each of the
// last n of them, and the service went from the last but one to the last.
func (d *Description) follow(r *DemoRepository, n int, sidecars ...*DemoRepository) {
	var revisions []DemoRevision
	for build := r.Builds; build > 0 && len(revisions) < n; build-- {
		if r.HasTag(build) {
			revisions = append(revisions, demoRevision(r, build, sidecars...))
		}
	}
	slices.Reverse(revisions)
	name := strings.ReplaceAll(r.Name, "/", "-")
	f := d.family(r.Account, r.Region, name, revisions...)
	v := d.service(f)
	for i := max(0, len(revisions)-2); i < len(revisions); i++ {
		v.Deployments = append(v.Deployments, DemoDeployment{revisions[i].Age - 5*time.Minute, i + 1, 2})
	}
}

// demoSidecars are the shared repositories that services of other accounts run beside their own images.
type demoSidecars struct{ envoy, otel, logs, envoyTokyo, otelTokyo, agents *DemoRepository }

var demoBothArchitectures = []string{"amd64", "arm64"}

// platform adds the registry that many others pull from.
func (d *Description) platform() demoSidecars {
	s := demoSidecars{
		// Incident: multi-arch with attestation manifests, signed by cosign.
		envoy: d.add(DemoRepository{
			Account: demoPlatform, Name: "platform/envoy-sidecar", Shared: true, Lifecycle: demoCountPolicy,
			Base: "static", Deps: 48, App: 6, Platforms: demoBothArchitectures, Attested: true, Signed: demoCosign,
			Builds: 175, Every: 5, Newest: 3, Tag: "v1.%d.0", Moving: []string{"latest"},
		}),
		otel: d.add(DemoRepository{
			Account: demoPlatform, Name: "platform/otel-collector", Shared: true,
			Base: "static", Deps: 92, App: 14, Platforms: demoBothArchitectures, Docker: true,
			Builds: 125, Every: 7, Newest: 2, Tag: "0.%d.0", Moving: []string{"latest"},
		}),
		logs: d.add(DemoRepository{
			Account: demoPlatform, Name: "platform/log-router", Shared: true,
			Base: "static", Deps: 38, App: 4, Builds: 90, Every: 9.5, Newest: 12, Tag: "2.%d", Moving: []string{"stable"},
		}),
		envoyTokyo: d.add(DemoRepository{
			Account: demoPlatform, Region: demoTokyo, Name: "platform/envoy-sidecar", Shared: true,
			Base: "static", Deps: 48, App: 6, Platforms: demoBothArchitectures, Attested: true, Signed: demoCosign,
			Builds: 85, Every: 10, Newest: 4, Tag: "v1.%d.0", Moving: []string{"latest"},
		}),
		otelTokyo: d.add(DemoRepository{
			Account: demoPlatform, Region: demoTokyo, Name: "platform/otel-collector", Shared: true,
			Base: "static", Deps: 92, App: 14, Platforms: demoBothArchitectures, Docker: true,
			Builds: 60, Every: 14, Newest: 6, Tag: "0.%d.0",
		}),
		// Incident: an index of indexes.
		agents: d.add(DemoRepository{
			Account: demoPlatform, Name: "platform/terminal-agent", Shared: true,
			Base: "static", Deps: 61, App: 22, Platforms: demoBothArchitectures, Nested: true,
			Builds: 44, Every: 19, Newest: 15, Tag: "%d.0.0", Moving: []string{"latest"},
		}),
	}
	// Incident: base images are in no task definition; that builds pull them shows in their pull times alone.
	for _, base := range []struct {
		name, base string
		deps       int
		platforms  []string
		pulls      []DemoPull
	}{
		{"base-jvm", "jvm", 45, demoBothArchitectures, []DemoPull{{117, demoDays(1) + 12*time.Hour}, {92, demoDays(26) + 12*time.Hour}, {60, demoDays(200) + 12*time.Hour}}},
		{"base-node", "node", 12, demoBothArchitectures, []DemoPull{{119, demoDays(2) + 12*time.Hour}, {70, demoDays(44) + 12*time.Hour}}},
		{"base-python", "python", 30, nil, []DemoPull{{116, demoDays(3) + 12*time.Hour}, {41, demoDays(9) + 12*time.Hour}}},
		{"base-dotnet", "dotnet", 18, nil, []DemoPull{{110, demoDays(8) + 12*time.Hour}}},
	} {
		d.add(DemoRepository{
			Account: demoPlatform, Name: "platform/" + base.name, Shared: true,
			Base: base.base, Deps: base.deps, App: 9, Platforms: base.platforms,
			Builds: 120, Every: 7.2, Newest: 5, Tag: "2.%d", Moving: []string{"latest"}, Pulls: base.pulls,
		})
	}
	// No rule matches these: they are kept.
	d.add(DemoRepository{Account: demoPlatform, Name: "vendor/redis", Shared: true, Base: "static", Deps: 41, App: 2, Builds: 28, Every: 30, Newest: 20, Tag: "7.2.%d"})
	d.add(DemoRepository{Account: demoPlatform, Name: "vendor/postgres-exporter", Shared: true, Base: "static", Deps: 16, App: 3, Builds: 24, Every: 35, Newest: 31, Tag: "0.15.%d"})
	return s
}

// ci adds what builds leave behind.
func (d *Description) ci() {
	d.add(DemoRepository{Account: demoCI, Name: "ci/build-cache", Lifecycle: demoUntaggedPolicy, Base: "jvm", Deps: 410, App: 160, Builds: 950, Every: 0.9, Newest: 0, Moving: []string{"cache"}})
	d.add(DemoRepository{Account: demoCI, Name: "ci/integration-tests", Base: "node", Deps: 320, App: 45, Docker: true, Builds: 900, Every: 0.9, Newest: 0, Tag: "run-%d"})
	runner := d.add(DemoRepository{Account: demoCI, Name: "ci/runner", Base: "dotnet", Deps: 520, App: 30, Builds: 150, Every: 5.5, Newest: 4, Tag: "2.%d.0", Moving: []string{"latest"}})
	d.add(DemoRepository{Account: demoCI, Name: "tools/terraform", Base: "static", Deps: 88, App: 5, Builds: 60, Every: 14, Newest: 11, Tag: "1.%d"})
	d.follow(runner, 4)
}

// products adds the production repositories of the product teams, with what runs from them.
func (d *Description) products(s demoSidecars) []*DemoRepository {
	latest := []string{"latest"}
	begin := len(d.Repositories)

	// Booking.
	api := d.add(DemoRepository{
		Account: demoBooking, Name: "prod/booking-api", Base: "jvm", Deps: 118, App: 16, Platforms: demoBothArchitectures, Attested: true, Signed: demoCosign,
		Builds: 230, Every: 3.7, Newest: 1, Tag: "v3.%d.0", Moving: latest,
		Extra: []DemoTag{{60, "release-11", demoDays(300) + 12*time.Hour}, {150, "release-12", demoDays(200) + 12*time.Hour}},
	})
	d.follow(api, 8, s.envoy, s.otel)
	web := d.add(DemoRepository{Account: demoBooking, Name: "prod/booking-web", Base: "node", Deps: 96, App: 22, Builds: 300, Every: 2.9, Newest: 0, Tag: "build-%d", Moving: latest})
	d.follow(web, 9, s.envoy)

	quote := d.add(DemoRepository{
		Account: demoBooking, Name: "prod/quote-engine", Base: "jvm", Deps: 140, App: 12, Signed: demoReferrer, Builds: 190, Every: 4.6, Newest: 2, Tag: "v2.%d.0",
		Extra: []DemoTag{{100, "candidate", demoDays(400) + 12*time.Hour}, {150, "candidate", demoDays(170) + 12*time.Hour}},
	})
	// Incident: a reference by tag and digest whose tag has moved since. It needs both.
	d.service(d.family(demoBooking, demoVirginia, "prod-quote-engine",
		DemoRevision{Age: demoDays(399) + 12*time.Hour, Images: []DemoImage{{Repository: quote, Tag: "candidate", Build: 100}}}),
		DemoDeployment{demoDays(399) + 11*time.Hour, 1, 3})

	rates := d.add(DemoRepository{Account: demoBooking, Name: "prod/rate-sheets", Base: "python", Deps: 150, App: 9, Builds: 125, Every: 7, Newest: 6, Tag: "build-%d"})
	// Incident: a service under CODE_DEPLOY has no deployments, only task sets. Its revision is not among the newest.
	d.service(d.family(demoBooking, demoVirginia, "prod-rate-sheets",
		demoRevision(rates, 60), demoRevision(rates, 96), demoRevision(rates, 101), demoRevision(rates, 106), demoRevision(rates, 111), demoRevision(rates, 116), demoRevision(rates, 120)),
		DemoDeployment{demoAfter(rates, 60) - time.Hour, 1, 2}).CodeDeploy = true

	notify := d.add(DemoRepository{Account: demoBooking, Name: "prod/notify", Base: "lambda", Deps: 64, App: 5, Docker: true, Builds: 145, Every: 5.8, Newest: 3, Tag: "build-%d", Tagged: 3, Moving: []string{"live"}})
	// Incident: functions whose tag has moved since. What each version was resolved to counts: $LATEST and the newest
	// three, and an old one behind an alias. Version 1 is used by nothing.
	function := &DemoFunction{Account: demoBooking, Region: demoVirginia, Name: "notify", Aliases: []DemoAlias{{"prod", 2}, {"canary", 6}}}
	for _, build := range []int{83, 98, 104, 112, 119, 128} {
		function.Code = append(function.Code, DemoCode{demoAfter(notify, build), DemoImage{Repository: notify, Tag: "live"}})
	}
	d.Functions = append(d.Functions, function)

	schedules := d.add(DemoRepository{Account: demoBooking, Name: "prod/schedule-import", Base: "lambda", Deps: 88, App: 7, Docker: true, Builds: 95, Every: 9, Newest: 8, Tag: "build-%d"})
	function = &DemoFunction{Account: demoBooking, Region: demoVirginia, Name: "schedule-import", Aliases: []DemoAlias{{"live", 5}}}
	for build := 91; build <= 95; build++ {
		function.Code = append(function.Code, DemoCode{demoAfter(schedules, build), schedules.Image(build)})
	}
	d.Functions = append(d.Functions, function)

	// Tracking.
	tracking := d.add(DemoRepository{
		Account: demoTracking, Name: "prod/tracking-api", Base: "static", Deps: 34, App: 11, Platforms: demoBothArchitectures, Signed: demoReferrer,
		Builds: 265, Every: 3.2, Newest: 0, Tag: "v5.%d.0", Moving: latest,
	})
	d.follow(tracking, 7, s.envoy, s.logs)
	ingest := d.add(DemoRepository{
		Account: demoTracking, Name: "prod/tracking-ingest", Base: "static", Deps: 52, App: 18, Builds: 320, Every: 2.7, Newest: 1, Tag: "build-%d",
		// Incident: gates at the terminals run old builds on plain hosts, which no API lists. The pull of the last is too old to count.
		Pulls: []DemoPull{{140, demoDays(6) + 12*time.Hour}, {177, demoDays(19) + 12*time.Hour}, {96, demoDays(75) + 12*time.Hour}},
	})
	d.follow(ingest, 6, s.otel)
	geofence := d.add(DemoRepository{Account: demoTracking, Name: "prod/geofence", Base: "python", Deps: 240, App: 14, Builds: 110, Every: 7.8, Newest: 9, Tag: "build-%d"})
	d.follow(geofence, 5)
	// Incident: a use across regions: the registry is in Virginia, the service in Ireland, where nothing is planned.
	d.service(d.family(demoTracking, demoIreland, "prod-geofence", demoRevision(geofence, 64), demoRevision(geofence, 71)),
		DemoDeployment{demoAfter(geofence, 71) - time.Hour, 2, 2})
	eta := d.add(DemoRepository{Account: demoTracking, Name: "prod/eta-service", Lifecycle: demoIdlePolicy, Base: "jvm", Deps: 160, App: 10, Builds: 155, Every: 5.6, Newest: 5, Tag: "v1.%d.0"})
	d.follow(eta, 6, s.envoy)
	// Incident: a schedule pins an old revision, which has even been deregistered. Its task stopped minutes ago.
	var replay []DemoRevision
	for build := 61; build <= 131; build += 10 {
		replay = append(replay, demoRevision(eta, build))
	}
	replay[0].Inactive = true
	d.Tasks = append(d.Tasks, DemoTask{
		Family: d.family(demoTracking, demoVirginia, "batch-eta-replay", replay...), Cluster: "prod", Revision: 1,
		StartedBy: "events-rule/nightly-eta-replay", Started: 25 * time.Minute, Stopped: 10 * time.Minute,
	})
	d.follow(d.add(DemoRepository{Account: demoTracking, Name: "prod/tracking-web", Base: "node", Deps: 88, App: 19, Builds: 245, Every: 3.4, Newest: 3, Tag: "build-%d", Moving: latest}), 6)
	d.follow(d.add(DemoRepository{
		Account: demoTracking, Region: demoTokyo, Name: "prod/tracking-api", Base: "static", Deps: 34, App: 11, Platforms: demoBothArchitectures,
		Builds: 200, Every: 4.2, Newest: 1, Tag: "v5.%d.0", Moving: latest,
	}), 6, s.envoyTokyo)
	d.follow(d.add(DemoRepository{Account: demoTracking, Region: demoTokyo, Name: "prod/tracking-ingest", Base: "static", Deps: 52, App: 18, Builds: 190, Every: 4.4, Newest: 2, Tag: "build-%d"}), 5, s.otelTokyo)

	// Customs.
	declare := d.add(DemoRepository{
		Account: demoCustoms, Name: "prod/declare", Lifecycle: demoDevPolicy, Base: "dotnet", Deps: 110, App: 15, Builds: 205, Every: 4.2, Newest: 4, Tag: "dev-%d",
		Extra: []DemoTag{{36, "prod-6", demoDays(640) + 12*time.Hour}, {41, "prod-7", demoDays(600) + 12*time.Hour}, {150, "prod-8", demoDays(190) + 12*time.Hour}},
	})
	// Incident: an image that is tagged both dev-41 and prod-7, and used by production, which went back from prod-8.
	d.service(d.family(demoCustoms, demoVirginia, "prod-declare",
		DemoRevision{Age: demoDays(599) + 12*time.Hour, Images: []DemoImage{{Repository: declare, Tag: "prod-7"}}},
		DemoRevision{Age: demoDays(189) + 12*time.Hour, Images: []DemoImage{{Repository: declare, Tag: "prod-8"}}}),
		DemoDeployment{demoDays(189) + 11*time.Hour, 2, 4}, DemoDeployment{demoDays(188) + 11*time.Hour, 1, 4})
	// Incident: a service that is rarely deployed still runs the shared sidecar at a tag of more than a year ago.
	tariff := d.add(DemoRepository{Account: demoCustoms, Name: "prod/tariff-lookup", Base: "jvm", Deps: 95, App: 8, Builds: 32, Every: 14, Newest: 421, Tag: "v1.%d.0"})
	d.follow(tariff, 2, s.envoy)
	screen := d.add(DemoRepository{
		Account: demoCustoms, Name: "prod/sanctions-screen", Base: "python", Deps: 310, App: 12, Signed: demoCosign, Builds: 150, Every: 5.7, Newest: 7, Tag: "build-%d",
		// Incident: somebody deleted images and left their signatures.
		Deleted: []DemoDelete{{20, demoDays(300) + 12*time.Hour}, {21, demoDays(300) + 12*time.Hour}, {22, demoDays(300) + 12*time.Hour}, {137, demoDays(20) + 12*time.Hour}},
	})
	// Incident: a reference through the dual-stack host.
	d.service(d.family(demoCustoms, demoVirginia, "prod-sanctions-screen",
		DemoRevision{Age: demoAfter(screen, 110), Images: []DemoImage{{Repository: screen, Tag: "build-110", Host: DemoDualStack}}}),
		DemoDeployment{demoAfter(screen, 110) - time.Hour, 1, 2})
	// Incident: archived images are hidden from whoever does not ask for them.
	edi := d.add(DemoRepository{
		Account: demoCustoms, Name: "prod/edi-gateway", Lifecycle: demoSafePolicy, Base: "jvm", Deps: 70, App: 30, Docker: true, Builds: 95, Every: 8.8, Newest: 14, Tag: "dev-%d", Archived: 40,
		Extra: []DemoTag{{52, "prod-2", demoDays(380) + 12*time.Hour}, {66, "prod-3", demoDays(260) + 12*time.Hour}},
	})
	// Incident: a reference through the FIPS host.
	d.service(d.family(demoCustoms, demoVirginia, "prod-edi-gateway",
		DemoRevision{Age: demoAfter(edi, 66), Images: []DemoImage{{Repository: edi, Tag: "dev-66", Host: DemoFIPS}}}),
		DemoDeployment{demoAfter(edi, 66) - time.Hour, 1, 2})

	// Warehouse.
	slotting := d.add(DemoRepository{
		Account: demoWarehouse, Name: "prod/slotting", Base: "python", Deps: 270, App: 16, Builds: 130, Every: 6.4, Newest: 10, Tag: "build-%d",
		Deleted: []DemoDelete{{98, demoDays(40) + 12*time.Hour}},
	})
	// Incident: a live broken reference: the image that the service runs was deleted. Its next task will not start.
	d.service(d.family(demoWarehouse, demoVirginia, "prod-slotting", demoRevision(slotting, 98, s.logs)), DemoDeployment{demoAfter(slotting, 98) - time.Hour, 1, 2})
	pick := d.add(DemoRepository{
		Account: demoWarehouse, Name: "prod/pick-path", Base: "static", Deps: 60, App: 25, Builds: 105, Every: 8, Newest: 13, Tag: "build-%d",
		Deleted: []DemoDelete{{100, demoDays(20) + 12*time.Hour}, {101, demoDays(20) + 12*time.Hour}},
	})
	// Incident: latent broken references: old revisions whose images are gone.
	d.follow(pick, 6)
	labels := d.add(DemoRepository{Account: demoWarehouse, Name: "prod/label-printer", Base: "node", Deps: 54, App: 8, Builds: 155, Every: 5.5, Newest: 2, Tag: "build-%d", Tagged: 4, Moving: latest})
	// Incident: latest has moved on, and the image that the service runs has no tag any more.
	d.service(d.family(demoWarehouse, demoVirginia, "prod-label-printer",
		DemoRevision{Age: demoAfter(labels, 121), Images: []DemoImage{{Repository: labels, Tag: "latest"}}}),
		DemoDeployment{demoAfter(labels, 121) - time.Hour, 1, 2})
	labelsTokyo := d.add(DemoRepository{Account: demoWarehouse, Region: demoTokyo, Name: "prod/label-printer", Base: "node", Deps: 54, App: 8, Builds: 120, Every: 7, Newest: 5, Tag: "build-%d", Tagged: 4, Moving: latest})
	// Incident: the same with a service at zero: only its service revision knows the digest.
	d.service(d.family(demoWarehouse, demoTokyo, "prod-label-printer",
		DemoRevision{Age: demoAfter(labelsTokyo, 89), Images: []DemoImage{{Repository: labelsTokyo, Tag: "latest"}}}),
		DemoDeployment{demoAfter(labelsTokyo, 89) - time.Hour, 1, 1}, DemoDeployment{demoDays(120) + 12*time.Hour, 1, 0})
	dock := d.add(DemoRepository{Account: demoWarehouse, Name: "prod/dock-scheduler", Base: "jvm", Deps: 130, App: 13, Builds: 170, Every: 5.2, Newest: 1, Tag: "build-%d", Tagged: 5, Moving: latest})
	// Incident: a reference without a tag means latest. What it was resolved to has no tag any more.
	d.service(d.family(demoWarehouse, demoVirginia, "prod-dock-scheduler",
		DemoRevision{Age: demoAfter(dock, 133), Images: []DemoImage{{Repository: dock}}}),
		DemoDeployment{demoAfter(dock, 133) - time.Hour, 1, 1})
	// The nested index is run by its old tag.
	d.service(d.family(demoWarehouse, demoVirginia, "terminal-agent",
		DemoRevision{Age: demoDays(500) + 12*time.Hour, Images: []DemoImage{s.agents.Image(s.agents.Last(demoDays(510)))}}),
		DemoDeployment{demoDays(500) + 11*time.Hour, 1, 1})
	return slices.Clone(d.Repositories[begin:])
}

// staging adds a staging repository for each product of Virginia: more builds, of which only some have a tag of their
// own.
func (d *Description) staging(prod []*DemoRepository) {
	accounts := map[string]string{
		demoBooking: demoBookingStaging, demoTracking: demoTrackingStaging, demoCustoms: demoCustomsStaging, demoWarehouse: demoWarehouseStage,
	}
	for i, p := range prod {
		if p.Region != demoVirginia {
			continue
		}
		r := d.add(DemoRepository{
			Account: accounts[p.Account], Name: "staging/" + path.Base(p.Name), Base: p.Base, Deps: p.Deps, App: p.App, Docker: p.Docker,
			Builds: 260 + 37*(i%5), Every: 1.3 + 0.3*float64(i%4), Newest: i % 7, Tag: "build-%d", Tagged: 3, Moving: []string{"develop"},
		})
		switch path.Base(p.Name) {
		case "tariff-lookup":
			r.Newest, r.Every = 230, 1.6 // a team that has left: what its newest push was counts, not what day it is
		case "notify", "schedule-import": // tried out on laptops
		default:
			d.follow(r, 3)
		}
	}
}

// data adds machine learning: few builds, each of gigabytes.
func (d *Description) data() {
	// Incident: nothing uses any of these, and nine tenths are older than anybody asks for: the biggest saving.
	d.add(DemoRepository{Account: demoData, Name: "ml/demand-forecast-train", Base: "cuda", Deps: 1900, App: 640, Builds: 430, Every: 2.1, Newest: 1, Tag: "exp-%d"})
	model := d.add(DemoRepository{Account: demoData, Name: "ml/eta-model", Base: "cuda", Deps: 1100, App: 380, Builds: 150, Every: 5.5, Newest: 3, Tag: "v%d", Moving: []string{"champion"}})
	d.follow(model, 3)
	ocr := d.add(DemoRepository{Account: demoData, Name: "ml/document-ocr", Base: "cuda", Deps: 800, App: 210, Builds: 135, Every: 6, Newest: 8, Tag: "build-%d", Tagged: 2, Moving: []string{"latest"}})
	d.follow(ocr, 4)
	d.add(DemoRepository{
		Account: demoData, Name: "ml/route-optimizer", Base: "python", Deps: 900, App: 70, Builds: 115, Every: 7, Newest: 2, Tag: "build-%d",
		Pulls: []DemoPull{{51, demoDays(12) + 12*time.Hour}, {88, demoDays(40) + 12*time.Hour}}, // by a cluster that no API lists
	})
	notebook := d.add(DemoRepository{Account: demoData, Name: "ml/notebook", Base: "python", Deps: 1650, App: 120, Builds: 85, Every: 9.5, Newest: 16, Tag: "2.%d", Moving: []string{"latest"}})
	features := d.add(DemoRepository{Account: demoData, Name: "prod/feature-store", Base: "python", Deps: 330, App: 17, Builds: 130, Every: 6.2, Newest: 6, Tag: "build-%d"})
	d.follow(features, 5)

	// Old builds that only services besides ECS and Lambda need, each in its own way.
	for _, o := range []struct {
		kind, name string
		repository *DemoRepository
		tag        string
	}{
		{"batch", "retrain-quarterly", model, "v55"},
		{"states", "eta-training", model, "v66"},
		{"scheduler", "eta-nightly", model, "v77"},
		{"sagemaker", "eta-fallback", model, "v40"},
		{"bedrock-agentcore", "document_agent", ocr, "build-30"},
		{"emr-serverless", "eta-features", model, "v12"},
		{"imagebuilder", "notebook-hardened", notebook, "2.9"},
		{"events", "notebook-refresh", notebook, "2.21"},
		{"apprunner", "feature-console", features, "build-44"},
		{"codebuild", "feature-tests", features, "build-17"},
	} {
		d.Others = append(d.Others, DemoOther{Account: demoData, Region: o.repository.Region, Kind: o.kind, Name: o.name, Image: DemoImage{Repository: o.repository, Tag: o.tag}})
	}
}

// sandbox adds what people tried.
func (d *Description) sandbox() {
	for i, name := range []string{"aki/pricing-spike", "lena/kafka-lab", "omar/llm-proxy", "hackathon/yard-cam"} {
		d.add(DemoRepository{
			Account: demoSandbox, Name: name, Base: []string{"node", "jvm", "python", "cuda"}[i], Deps: 120 + 90*i, App: 20,
			Builds: 34 + 11*i, Every: 2.5 + float64(i), Newest: 25 + 70*i, Tag: "try-%d", Tagged: 2, Moving: []string{"latest"},
		})
	}
}

// elsewhere adds what is in the accounts that cannot be read.
func (d *Description) elsewhere() {
	d.follow(d.add(DemoRepository{Account: demoFeeder, Name: "prod/feeder-schedule", Base: "jvm", Deps: 90, App: 9, Builds: 60, Every: 9, Newest: 11, Tag: "build-%d"}), 3)
	d.add(DemoRepository{Account: demoLegacy, Name: "prod/edi-as2", Base: "dotnet", Deps: 60, App: 12, Builds: 30, Every: 12, Newest: 400, Tag: "build-%d"})
}
