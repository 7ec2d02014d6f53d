package orgsim

import (
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// The size of the organization that `sim --seed scale` makes: a million images.
const (
	ScaleAccounts = 500
	ScaleRegions  = 4
	ScaleImages   = 500 // in each account and region
)

// scaleRegions are the regions of the scale world, as many of them as are asked for.
var scaleRegions = []string{"us-east-1", "ap-northeast-1", "eu-west-1", "us-west-2", "eu-central-1", "ap-southeast-1", "us-east-2", "sa-east-1"}

// scaleRepositories share the images of a target evenly.
var scaleRepositories = []string{"prod/api", "prod/web", "prod/worker", "staging/api", "batch/report"}

// SeedScale fills an empty organization with many accounts that are all alike: in every region five repositories
// with the given number of images among them, a cluster with two services, three task definition families and a
// function. Manifests are made when they are asked for. Every account has the roles DemurrageRead and
// DemurrageSweep, which the management account may assume. The clock stands at now afterwards.
//
// Regions are cut to those that it knows.
func (s *Server) SeedScale(now time.Time, accounts, regions, images int) error {
	now = now.UTC()
	names := scaleRegions[:min(regions, len(scaleRegions))]
	s.LimitRegions(names...)
	s.SetClock(now.Add(-demoBegin))
	if err := s.seedRole(ManagementAccount, "DemurrageRead", ManagementAccount, "", seedReads, nil); err != nil {
		return err
	}
	series := newScaleSeries(now, images/len(scaleRepositories))
	for a := 1; a <= accounts; a++ {
		id := scaleAccount(a)
		s.SetClock(now.Add(-demoBegin))
		s.AddAccount(id, fmt.Sprintf("team-%03d", a))
		if err := s.seedRole(id, "DemurrageRead", ManagementAccount, "", seedReads, nil); err != nil {
			return err
		}
		if err := s.seedRole(id, "DemurrageSweep", ManagementAccount, "", seedSweeps, nil); err != nil {
			return err
		}
		for _, region := range names {
			if err := s.seedScaleTarget(now, id, region, series); err != nil {
				return err
			}
		}
	}
	s.SetClock(now)
	return nil
}

func scaleAccount(n int) string { return fmt.Sprintf("8%011d", n) }

// scaleSeries is what the image series of all repositories have in common, and so share in memory. Build 0 is the
// newest.
type scaleSeries struct {
	pushed []time.Time
	tags   [][]string
}

func newScaleSeries(now time.Time, builds int) *scaleSeries {
	s := &scaleSeries{}
	for i := range builds {
		// Half a day off, so that no age is near a span of whole days.
		s.pushed = append(s.pushed, now.Add(-demoDays(2*i)-12*time.Hour))
		var tags []string
		if i%5 != 4 {
			tags = append(tags, "build-"+strconv.Itoa(builds-i))
		}
		if i == 0 {
			tags = append(tags, "latest")
		}
		s.tags = append(s.tags, tags)
	}
	return s
}

func (s *Server) seedScaleTarget(now time.Time, account, region string, series *scaleSeries) error {
	builds := len(series.pushed)
	s.SetClock(now.Add(-demoBegin))
	for _, name := range scaleRepositories {
		err := s.do(account, region, "ecr", "CreateRepository", &ecr.CreateRepositoryInput{
			RepositoryName: &name, Tags: []ecrtypes.Tag{{Key: aws.String("cost-center"), Value: aws.String("CC-" + account[8:])}},
		})
		if err != nil {
			return err
		}
		g := scaleGenerator{account + "/" + region + "/" + name}
		err = s.GenerateImages(account, region, name, GeneratedImages{
			Count: builds, Manifest: g.manifest, Size: g.size,
			Pushed: func(i int) time.Time { return series.pushed[i] },
			Tags:   func(i int) []string { return series.tags[i] },
		})
		if err != nil {
			return err
		}
	}
	if builds == 0 {
		return nil
	}
	s.SetClock(now.Add(-11 * time.Hour))
	return s.seedScaleWorkloads(account, region, builds)
}

// seedScaleWorkloads makes what runs: the newest build of two services and a function, and an old one that only a
// task definition names.
func (s *Server) seedScaleWorkloads(account, region string, builds int) error {
	uri := func(repository string, build int) *string {
		return aws.String(ecrHost(account, region) + "/" + repository + ":build-" + strconv.Itoa(build))
	}
	old := builds // the newest has a tag, as have four of five
	for i := builds * 3 / 4; i > 0; i-- {
		if i%5 != 4 {
			old = builds - i
			break
		}
	}
	if err := s.do(account, region, "ecs", "CreateCluster", &ecs.CreateClusterInput{ClusterName: aws.String("main")}); err != nil {
		return err
	}
	for _, f := range []struct {
		name, repository string
		build            int
		runs             bool
	}{
		{"api", "prod/api", builds, true}, {"web", "prod/web", builds, true}, {"report", "batch/report", old, false},
	} {
		err := s.do(account, region, "ecs", "RegisterTaskDefinition", &ecs.RegisterTaskDefinitionInput{
			Family:               &f.name,
			ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: uri(f.repository, f.build)}},
		})
		if err == nil && f.runs {
			err = s.do(account, region, "ecs", "CreateService", &ecs.CreateServiceInput{
				Cluster: aws.String("main"), ServiceName: &f.name, TaskDefinition: &f.name, DesiredCount: aws.Int32(1),
			})
		}
		if err != nil {
			return err
		}
	}
	return s.do(account, region, "lambda", "CreateFunction", &lambda.CreateFunctionInput{
		FunctionName: aws.String("worker"), PackageType: lambdatypes.PackageTypeImage,
		Code: &lambdatypes.FunctionCode{ImageUri: uri("prod/worker", builds)},
		Role: aws.String("arn:aws:iam::" + account + ":role/worker"),
	})
}

// scaleGenerator makes the manifests of one repository.
type scaleGenerator struct{ repository string }

const (
	scaleConfigSize = 4096
	scaleBaseSize   = 120 * mebibyte
)

// manifest of build i: a base layer that all repositories share, and one of the build.
func (g scaleGenerator) manifest(i int) []byte {
	b := make([]byte, 0, 768)
	b = append(b, `{"schemaVersion":2,"mediaType":"`+mediaOCIManifest+`","config":`...)
	id := g.repository + "/" + strconv.Itoa(i)
	b = descriptor(b, "application/vnd.oci.image.config.v1+json", id+"/config", scaleConfigSize)
	b = append(b, `,"layers":[`...)
	b = descriptor(b, "application/vnd.oci.image.layer.v1.tar+gzip", "scale/base", scaleBaseSize)
	b = append(b, ',')
	b = descriptor(b, "application/vnd.oci.image.layer.v1.tar+gzip", id, g.layer(i))
	return append(b, "]}"...)
}

func (g scaleGenerator) layer(i int) int64 { return int64(20+i%37) * mebibyte }

func (g scaleGenerator) size(i int) int64 { return scaleConfigSize + scaleBaseSize + g.layer(i) }

// ScaleConfig is an accounts.toml that fits the organization of SeedScale: each account has an entry, and the
// registries of all regions are planned.
func ScaleConfig(accounts, regions int) []byte {
	b := []byte(`# The configuration of the organization that ` + "`demurrage sim --seed scale`" + ` makes.
[assume]
role = "DemurrageRead"
sweep_role = "DemurrageSweep"

[organization]
discover = true

[scan]
regions = [`)
	for i, name := range scaleRegions[:min(regions, len(scaleRegions))] {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendQuote(b, name)
	}
	b = append(b, `]
concurrency = 32

[[repositories]]
name_pattern       = "prod/*"
expires            = "90d"
keep_count         = 10
keep_tag_patterns  = ["latest"]
keep_pulled_within = "30d"
untagged_expires   = "7d"

[[repositories]]
name_pattern = "*"
expires      = "30d"
keep_count   = 3
`...)
	for a := 1; a <= accounts; a++ {
		b = fmt.Appendf(b, "\n[[accounts]]\nid = %q\nname = \"team-%03d\"\ncost_center = \"CC-%s\"\nenforce = true\n", scaleAccount(a), a, scaleAccount(a)[8:])
	}
	return b
}
