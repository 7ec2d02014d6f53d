package orgsim

import (
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"demurrage/accounts"
)

func TestSeedScale(t *testing.T) {
	s := New()
	if err := s.SeedScale(demoNow, 3, 2, 100); err != nil {
		t.Fatal(err)
	}
	m := demoSim{serve(t, s)}

	repositories, images := 0, 0
	for _, reg := range s.allRegions() {
		for _, r := range reg.ecr.repositories {
			repositories++
			images += len(r.ordered)
		}
	}
	if repositories != 3*2*5 || images != 3*2*100 {
		t.Errorf("%d repositories, %d images", repositories, images)
	}

	for _, id := range []string{ManagementAccount, scaleAccount(3)} {
		m.assume(m.as(ManagementAccount), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::" + id + ":role/DemurrageRead")})
	}
	cfg := m.in(scaleAccount(2), "ap-northeast-1")

	// A generated manifest has its digest, and the size it was announced with.
	d := m.mustImage(scaleAccount(2), "ap-northeast-1", "prod/api", "latest")
	got := must[*ecr.BatchGetImageOutput](m)(ecr.NewFromConfig(cfg).BatchGetImage(t.Context(), &ecr.BatchGetImageInput{
		RepositoryName: aws.String("prod/api"), ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: aws.String("latest")}},
	}))
	text := *got.Images[0].ImageManifest
	parsed, err := parseManifest([]byte(text), "")
	if err != nil {
		t.Fatal(err)
	}
	if sha256Of(text) != *d.ImageDigest || parsed.size() != *d.ImageSizeInBytes {
		t.Errorf("digest %s of size %d, but %s of %d", *d.ImageDigest, *d.ImageSizeInBytes, sha256Of(text), parsed.size())
	}

	services := must[*ecs.DescribeServicesOutput](m)(ecs.NewFromConfig(cfg).DescribeServices(t.Context(), &ecs.DescribeServicesInput{
		Cluster: aws.String("main"), Services: []string{"api", "web"},
	}))
	for _, v := range services.Services {
		if v.RunningCount != 1 {
			t.Errorf("%s runs %d tasks", *v.ServiceName, v.RunningCount)
		}
	}
	definitions := must[*ecs.ListTaskDefinitionsOutput](m)(ecs.NewFromConfig(cfg).ListTaskDefinitions(t.Context(), &ecs.ListTaskDefinitionsInput{}))
	functions := must[*lambda.ListFunctionsOutput](m)(lambda.NewFromConfig(cfg).ListFunctions(t.Context(), &lambda.ListFunctionsInput{}))
	if len(services.Services) != 2 || len(definitions.TaskDefinitionArns) != 3 || len(functions.Functions) != 1 {
		t.Errorf("%d services, %d task definitions, %d functions", len(services.Services), len(definitions.TaskDefinitionArns), len(functions.Functions))
	}
	out := must[*ecs.DescribeTaskDefinitionOutput](m)(ecs.NewFromConfig(cfg).DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String("report")}))
	report := m.mustImage(scaleAccount(2), "ap-northeast-1", "batch/report", tagOf(*out.TaskDefinition.ContainerDefinitions[0].Image))
	if m.age(report) < demoDays(25) {
		t.Errorf("the report's image is %v old", m.age(report))
	}
}

// TestSeedScaleSmall: fewer images than repositories, or none, are no error.
func TestSeedScaleSmall(t *testing.T) {
	for _, images := range []int{0, 5, 30} {
		if err := New().SeedScale(demoNow, 1, 1, images); err != nil {
			t.Errorf("%d images: %v", images, err)
		}
	}
}

func TestScaleConfig(t *testing.T) {
	cfg, err := accounts.Parse("scale.toml", ScaleConfig(12, 4))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Accounts) != 12 || len(cfg.Accounts[0].Regions) != 4 || cfg.Accounts[11].ID != scaleAccount(12) {
		t.Errorf("%d accounts, the first in %v", len(cfg.Accounts), cfg.Accounts[0].Regions)
	}
}

func BenchmarkSeedDemo(b *testing.B) {
	for b.Loop() {
		if err := New().SeedDemo(demoNow); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSeedScale(b *testing.B) {
	for b.Loop() {
		if err := New().SeedScale(demoNow.Add(time.Hour), 20, 4, 500); err != nil {
			b.Fatal(err)
		}
	}
}
