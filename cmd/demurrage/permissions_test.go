package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/inspector2"
	inspectortypes "github.com/aws/aws-sdk-go-v2/service/inspector2/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	sagemakertypes "github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"demurrage/internal/image"
	"demurrage/internal/preview"
)

func failures(p *planFile) []image.Coverage {
	return slices.DeleteFunc(slices.Clone(p.Coverage), func(c image.Coverage) bool { return c.Status != image.CoverageFailed })
}

// allow gives the role of A and B a policy of exactly these actions.
func (w *world) allow(actions []string) {
	w.Helper()
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{
		map[string]any{"Effect": "Allow", "Action": actions, "Resource": "*"}}})
	if err != nil {
		w.Fatalf("%v", err)
	}
	for _, account := range []string{accountA, accountB} {
		done(iam.NewFromConfig(w.as(account, w.region)).PutRolePolicy(w.Context(), &iam.PutRolePolicyInput{
			RoleName: aws.String("DemurrageRead"), PolicyName: aws.String("all"), PolicyDocument: aws.String(string(text)),
		}))(w)
	}
}

// seedEverything makes something of each kind that is listed, so that everything is described too.
func seedEverything(w *world) {
	w.Helper()
	w.cluster(accountB, virginia)
	for _, c := range sourceCases() {
		repository := strings.ToLower(c.name)
		w.share(virginia, repository)
		c.use(w, repository)
	}
	w.share(ireland, "multi")
	w.put(accountA, ireland, "multi", indexOf(w.push(accountA, ireland, "multi", "child")), "v1")
	w.share(virginia, "workloads")
	w.push(accountA, virginia, "workloads", "service", "service")
	ref := host(virginia) + "/workloads:service"
	w.service("web", w.register(virginia, "web", ref), 1, "")
	w.function("aliased", ref, true)
	done(w.lambda(accountB, virginia).CreateAlias(w.Context(), &lambda.CreateAliasInput{
		FunctionName: aws.String("aliased"), Name: aws.String("prod"), FunctionVersion: aws.String("1")}))(w)
	for _, account := range []string{accountA, accountB} {
		done(inspector2.NewFromConfig(w.as(account, ireland)).Enable(w.Context(), &inspector2.EnableInput{
			ResourceTypes: []inspectortypes.ResourceScanType{inspectortypes.ResourceScanTypeEcr}}))(w)
	}

	seedRollouts(w, ref)
	seedKubernetes(w)
	c := sagemaker.NewFromConfig(w.as(accountB, virginia))
	name, role := aws.String("everything"), aws.String(someRole)
	resources := &sagemakertypes.MonitoringResources{ClusterConfig: &sagemakertypes.MonitoringClusterConfig{
		InstanceCount: aws.Int32(1), InstanceType: sagemakertypes.ProcessingInstanceTypeMlM5Large, VolumeSizeInGB: aws.Int32(1)}}
	output := &sagemakertypes.MonitoringOutputConfig{MonitoringOutputs: []sagemakertypes.MonitoringOutput{}}
	done(c.CreateProcessingJob(w.Context(), &sagemaker.CreateProcessingJobInput{ProcessingJobName: name, RoleArn: role,
		AppSpecification:    &sagemakertypes.AppSpecification{ImageUri: &ref},
		ProcessingResources: &sagemakertypes.ProcessingResources{ClusterConfig: &sagemakertypes.ProcessingClusterConfig{InstanceCount: aws.Int32(1), InstanceType: sagemakertypes.ProcessingInstanceTypeMlM5Large, VolumeSizeInGB: aws.Int32(1)}}}))(w)
	done(c.CreateHyperParameterTuningJob(w.Context(), &sagemaker.CreateHyperParameterTuningJobInput{HyperParameterTuningJobName: name,
		HyperParameterTuningJobConfig: &sagemakertypes.HyperParameterTuningJobConfig{Strategy: sagemakertypes.HyperParameterTuningJobStrategyTypeBayesian,
			ResourceLimits: &sagemakertypes.ResourceLimits{MaxParallelTrainingJobs: aws.Int32(1)}}}))(w)
	done(c.CreateMonitoringSchedule(w.Context(), &sagemaker.CreateMonitoringScheduleInput{MonitoringScheduleName: name,
		MonitoringScheduleConfig: &sagemakertypes.MonitoringScheduleConfig{}}))(w)
	done(c.CreateDataQualityJobDefinition(w.Context(), &sagemaker.CreateDataQualityJobDefinitionInput{JobDefinitionName: name, RoleArn: role, JobResources: resources,
		DataQualityAppSpecification: &sagemakertypes.DataQualityAppSpecification{ImageUri: &ref}, DataQualityJobInput: &sagemakertypes.DataQualityJobInput{}, DataQualityJobOutputConfig: output}))(w)
	done(c.CreateModelQualityJobDefinition(w.Context(), &sagemaker.CreateModelQualityJobDefinitionInput{JobDefinitionName: name, RoleArn: role, JobResources: resources,
		ModelQualityAppSpecification: &sagemakertypes.ModelQualityAppSpecification{ImageUri: &ref},
		ModelQualityJobInput:         &sagemakertypes.ModelQualityJobInput{GroundTruthS3Input: &sagemakertypes.MonitoringGroundTruthS3Input{}}, ModelQualityJobOutputConfig: output}))(w)
	done(c.CreateModelBiasJobDefinition(w.Context(), &sagemaker.CreateModelBiasJobDefinitionInput{JobDefinitionName: name, RoleArn: role, JobResources: resources,
		ModelBiasAppSpecification: &sagemakertypes.ModelBiasAppSpecification{ImageUri: &ref, ConfigUri: aws.String("s3://b/c")},
		ModelBiasJobInput:         &sagemakertypes.ModelBiasJobInput{GroundTruthS3Input: &sagemakertypes.MonitoringGroundTruthS3Input{}}, ModelBiasJobOutputConfig: output}))(w)
	done(c.CreateModelExplainabilityJobDefinition(w.Context(), &sagemaker.CreateModelExplainabilityJobDefinitionInput{JobDefinitionName: name, RoleArn: role, JobResources: resources,
		ModelExplainabilityAppSpecification: &sagemakertypes.ModelExplainabilityAppSpecification{ImageUri: &ref, ConfigUri: aws.String("s3://b/c")},
		ModelExplainabilityJobInput:         &sagemakertypes.ModelExplainabilityJobInput{}, ModelExplainabilityJobOutputConfig: output}))(w)
	done(c.CreateAlgorithm(w.Context(), &sagemaker.CreateAlgorithmInput{AlgorithmName: name, TrainingSpecification: &sagemakertypes.TrainingSpecification{
		TrainingImage: &ref, SupportedTrainingInstanceTypes: []sagemakertypes.TrainingInstanceType{}, TrainingChannels: []sagemakertypes.ChannelSpecification{}}}))(w)
	done(c.CreateInferenceComponent(w.Context(), &sagemaker.CreateInferenceComponentInput{InferenceComponentName: name, EndpointName: name}))(w)
}

// seedRollouts makes deployments of a service and of a daemon that are still being watched.
func seedRollouts(w *world, ref string) {
	w.Helper()
	c := w.ecs(accountB, virginia)
	done(c.UpdateService(w.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("web"), ForceNewDeployment: true,
		DeploymentConfiguration: &ecstypes.DeploymentConfiguration{BakeTimeInMinutes: aws.Int32(10), Strategy: ecstypes.DeploymentStrategyBlueGreen}}))(w)
	definition := done(c.RegisterDaemonTaskDefinition(w.Context(), &ecs.RegisterDaemonTaskDefinitionInput{
		Family: aws.String("agent"), ContainerDefinitions: []ecstypes.DaemonContainerDefinition{{Name: aws.String("agent"), Image: &ref}}}))(w).DaemonTaskDefinitionArn
	providers := []string{"arn:aws:ecs:" + virginia + ":" + accountB + ":capacity-provider/instances"}
	daemon := done(c.CreateDaemon(w.Context(), &ecs.CreateDaemonInput{ClusterArn: aws.String("arn:aws:ecs:" + virginia + ":" + accountB + ":cluster/main"),
		DaemonName: aws.String("agent"), DaemonTaskDefinitionArn: definition, CapacityProviderArns: providers}))(w).DaemonArn
	done(c.UpdateDaemon(w.Context(), &ecs.UpdateDaemonInput{DaemonArn: daemon, DaemonTaskDefinitionArn: definition, CapacityProviderArns: providers,
		DeploymentConfiguration: &ecstypes.DaemonDeploymentConfiguration{BakeTimeInMinutes: 10}}))(w)
}

// seedKubernetes makes a cluster that the role may read.
func seedKubernetes(w *world) {
	w.Helper()
	c, name, role := eks.NewFromConfig(w.as(accountB, virginia)), aws.String("main"), aws.String("arn:aws:iam::"+accountB+":role/DemurrageRead")
	done(c.CreateCluster(w.Context(), &eks.CreateClusterInput{Name: name, RoleArn: aws.String(someRole), ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: []string{"subnet-1", "subnet-2"}},
		AccessConfig: &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApi}}))(w)
	done(c.CreateAccessEntry(w.Context(), &eks.CreateAccessEntryInput{ClusterName: name, PrincipalArn: role}))(w)
	done(c.AssociateAccessPolicy(w.Context(), &eks.AssociateAccessPolicyInput{ClusterName: name, PrincipalArn: role,
		PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSAdminViewPolicy"), AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster}}))(w)
}

// TestPermissions: a scan with exactly the permissions that the program prints reads everything; with any one of them
// taken away it has a gap in the source that needs it (or, where no decision needs it, a note), and ends properly. Those
// that only previews need, a scan has not. The worlds are several because a scan waits for
// the rate limits of AWS.
func TestPermissions(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a scan for every permission takes a while")
	}
	first := newWorld(t, virginia)
	var policy struct{ Statement []struct{ Action []string } }
	if err := json.Unmarshal([]byte(first.must(0, "permissions").stdout), &policy); err != nil || len(policy.Statement) != 1 {
		t.Fatalf("permissions: %v %+v", err, policy)
	}
	actions := policy.Statement[0].Action
	template := first.must(0, "permissions", "--format", "cloudformation").stdout
	for _, a := range actions {
		if strings.Count(template, "- "+a+"\n") != 1 {
			t.Errorf("the template does not allow %s", a)
		}
	}
	for some := range slices.Chunk(actions, (len(actions)+11)/12) {
		t.Run(some[0], func(t *testing.T) {
			t.Parallel()
			testWithout(t, actions, some)
		})
	}
}

// testWithout scans with all actions, and then with all but one, for each of some.
func testWithout(t *testing.T, actions, some []string) {
	w := newWorld(t, virginia)
	seedEverything(w)
	done(w.ecr(accountA, ireland).PutLifecyclePolicy(w.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: aws.String("multi"), LifecyclePolicyText: aws.String(expireAfter(30))}))(w)
	stored := 0
	scan := func(code int, allowed []string) *planFile {
		t.Helper()
		w.allow(allowed)
		stored++ // what an earlier run remembers would not be asked for again
		// Planned is a region with few repositories, which is quick.
		w.config(fmt.Sprintf("%s\n[store]\nurl = %q\n", strings.Replace(worldConfig, virginia, ireland, 1), filepath.Join(w.dir, fmt.Sprint("store-", stored))))
		return w.plan(code)
	}
	before := w.Calls()
	if p := scan(0, actions); !p.Complete {
		t.Fatalf("with all permissions: %+v", failures(p))
	}
	called := operations(w.called(before))
	for _, without := range some {
		service, operation, _ := strings.Cut(without, ":")
		if slices.Contains(preview.Actions(), without) {
			if called[service+":"+operation] > 0 {
				t.Errorf("a scan calls %s", without)
			}
			scan(0, actions)
			if v := w.audit(0, "--verify").Verified; v.Repositories != 1 {
				t.Errorf("with all permissions: %+v", v)
			}
			w.allow(slices.DeleteFunc(slices.Clone(actions), func(a string) bool { return a == without }))
			if v := w.audit(2, "--verify").Verified; len(v.Failures) != 1 || !strings.Contains(v.Failures[0].Error, operation) {
				t.Errorf("without %s: %+v", without, v)
			}
			continue
		}
		if without == "ecs:DescribeClusters" {
			continue // asked only where a cluster vanishes during the scan
		}
		if called[service+":"+operation] == 0 && without != "ec2:DescribeRegions" {
			t.Errorf("%s was not called: this test tests nothing of it", without)
			continue
		}
		left := slices.DeleteFunc(slices.Clone(actions), func(a string) bool {
			// One of these two is enough.
			return a == without || strings.HasSuffix(without, "Regions") && strings.HasSuffix(a, "Regions")
		})
		if without == "ecr:GetAccountSetting" || without == "ecr:GetLifecyclePolicy" { // they are for the report alone
			if p := scan(0, left); !slices.ContainsFunc(p.Notes, func(n planNote) bool { return strings.Contains(n.Text, operation) }) {
				t.Errorf("without %s: no note says so: %+v", without, p.Notes)
			}
			continue
		}
		p := scan(2, left)
		if !slices.ContainsFunc(failures(p), func(c image.Coverage) bool { return strings.Contains(c.Error, operation) }) {
			t.Errorf("without %s: no source says so: %+v", without, failures(p))
		}
	}
}
