package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	apprunnertypes "github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	batchtypes "github.com/aws/aws-sdk-go-v2/service/batch/types"
	agentcore "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	agentcoretypes "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	codebuildtypes "github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emrserverless/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventstypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/gamelift"
	gamelifttypes "github.com/aws/aws-sdk-go-v2/service/gamelift/types"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	imagebuildertypes "github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	sagemakertypes "github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

const someRole = "arn:aws:iam::" + accountB + ":role/service"

// pinnedDefinition is an old revision of a task definition, of an image that nothing else uses: the newest revision,
// which is kept for a rollback, is of another.
func (w *world) pinnedDefinition(repository, tag string) string {
	w.Helper()
	name := family(repository)
	old := w.register(virginia, name, host(virginia)+"/"+repository+":"+tag)
	w.register(virginia, name, "docker.io/library/other")
	return old
}

// jobDefinition registers a job definition, and with deregistered takes it out of service.
func (w *world) jobDefinition(repository, tag string, deregistered bool) string {
	w.Helper()
	c := batch.NewFromConfig(w.as(accountB, virginia))
	arn := *done(c.RegisterJobDefinition(w.Context(), &batch.RegisterJobDefinitionInput{
		JobDefinitionName: new(family(repository)), Type: batchtypes.JobDefinitionTypeContainer,
		ContainerProperties: &batchtypes.ContainerProperties{Image: new(host(virginia) + "/" + repository + ":" + tag)},
	}))(w).JobDefinitionArn
	if deregistered {
		done(c.DeregisterJobDefinition(w.Context(), &batch.DeregisterJobDefinitionInput{JobDefinition: &arn}))(w)
	}
	return arn
}

// pinnedVersion is an old version of a function whose image has no tag any more. One newer version is kept for a
// rollback.
func (w *world) pinnedVersion(repository string) (version, digest string) {
	w.Helper()
	name, ref := family(repository), host(virginia)+"/"+repository
	digest = w.push(accountA, virginia, repository, repository+" in use", "v1")
	version = w.function(name, ref+":v1", true)
	w.push(accountA, virginia, repository, repository+" of later", "v1")
	w.update(accountB, virginia, name, ref+":v1")
	done(w.lambda(accountB, virginia).PublishVersion(w.Context(), &lambda.PublishVersionInput{FunctionName: &name}))(w)
	return version, digest
}

func (w *world) rule(repository string, target eventstypes.Target) string {
	w.Helper()
	c := eventbridge.NewFromConfig(w.as(accountB, virginia))
	bus := "bus-" + family(repository)
	done(c.CreateEventBus(w.Context(), &eventbridge.CreateEventBusInput{Name: &bus}))(w)
	arn := *done(c.PutRule(w.Context(), &eventbridge.PutRuleInput{Name: new(family(repository)), EventBusName: &bus, ScheduleExpression: new("rate(1 day)")}))(w).RuleArn
	target.Id = new("1")
	done(c.PutTargets(w.Context(), &eventbridge.PutTargetsInput{Rule: new(family(repository)), EventBusName: &bus, Targets: []eventstypes.Target{target}}))(w)
	return arn
}

func (w *world) schedule(repository string, target schedulertypes.Target) string {
	w.Helper()
	target.RoleArn = new(someRole)
	return *done(scheduler.NewFromConfig(w.as(accountB, virginia)).CreateSchedule(w.Context(), &scheduler.CreateScheduleInput{
		Name: new(family(repository)), ScheduleExpression: new("rate(1 day)"), Target: &target,
		FlexibleTimeWindow: &schedulertypes.FlexibleTimeWindow{Mode: schedulertypes.FlexibleTimeWindowModeOff},
	}))(w).ScheduleArn
}

func (w *world) machine(repository, definition string) string {
	w.Helper()
	return *done(sfn.NewFromConfig(w.as(accountB, virginia)).CreateStateMachine(w.Context(), &sfn.CreateStateMachineInput{
		Name: new(family(repository)), RoleArn: new(someRole), Definition: &definition,
	}))(w).StateMachineArn
}

// sourceCases are one use or more for every source; each names the resource that explain has to name.
func sourceCases() []useCase {
	push := func(w *world, repository string) string {
		return w.push(accountA, virginia, repository, repository+" in use", "v1")
	}
	ref := func(repository string) string { return host(virginia) + "/" + repository + ":v1" }
	ecsCluster := new("arn:aws:ecs:" + virginia + ":" + accountB + ":cluster/prod")
	return []useCase{
		{"batch/definition", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, w.jobDefinition(repository, "v1", false)
		}},
		{"batch/running-job-of-a-deregistered-definition", func(w *world, repository string) (string, string) {
			d, name := push(w, repository), family(repository)
			definition := w.jobDefinition(repository, "v1", false)
			c := batch.NewFromConfig(w.as(accountB, virginia))
			done(c.CreateJobQueue(w.Context(), &batch.CreateJobQueueInput{JobQueueName: &name, Priority: new(int32(1)), ComputeEnvironmentOrder: []batchtypes.ComputeEnvironmentOrder{
				{ComputeEnvironment: new("main"), Order: new(int32(1))}}}))(w)
			job := *done(c.SubmitJob(w.Context(), &batch.SubmitJobInput{JobName: &name, JobQueue: &name, JobDefinition: &definition}))(w).JobArn
			done(c.DeregisterJobDefinition(w.Context(), &batch.DeregisterJobDefinitionInput{JobDefinition: &definition}))(w)
			return d, job
		}},
		{"08-pinned/rule-task-definition-arn", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, w.rule(repository, eventstypes.Target{Arn: ecsCluster, EcsParameters: &eventstypes.EcsParameters{TaskDefinitionArn: new(w.pinnedDefinition(repository, "v1"))}})
		}},
		{"08-pinned/rule-deregistered-job-definition", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, w.rule(repository, eventstypes.Target{Arn: new("arn:aws:batch:" + virginia + ":" + accountB + ":job-queue/main"),
				BatchParameters: &eventstypes.BatchParameters{JobDefinition: new(w.jobDefinition(repository, "v1", true)), JobName: new("j")}})
		}},
		{"08-pinned/rule-function-version", func(w *world, repository string) (string, string) {
			version, d := w.pinnedVersion(repository)
			return d, w.rule(repository, eventstypes.Target{Arn: &version})
		}},
		{"08-pinned/schedule-task-definition", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, w.schedule(repository, schedulertypes.Target{Arn: ecsCluster, EcsParameters: &schedulertypes.EcsParameters{TaskDefinitionArn: new(w.pinnedDefinition(repository, "v1"))}})
		}},
		{"08-pinned/schedule-universal-target", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			w.pinnedDefinition(repository, "v1")
			return d, w.schedule(repository, schedulertypes.Target{Arn: new("arn:aws:scheduler:::aws-sdk:ecs:runTask"),
				Input: new(`{"Cluster": "prod", "TaskDefinition": "` + family(repository) + `:1"}`)})
		}},
		{"08-pinned/state-machine-family-and-revision", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			w.pinnedDefinition(repository, "v1")
			return d, w.machine(repository, `{"StartAt": "run", "States": {"run": {"Type": "Task", "Resource": "arn:aws:states:::ecs:runTask.sync",
				"Parameters": {"Cluster": "prod", "TaskDefinition": "`+family(repository)+`:1"}, "End": true}}}`)
		}},
		{"08-pinned/state-machine-job-definition-name-and-revision", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			w.jobDefinition(repository, "v1", true)
			return d, w.machine(repository, `{"StartAt": "run", "States": {"run": {"Type": "Task", "Resource": "arn:aws:states:::batch:submitJob.sync",
				"Arguments": {"JobName": "j", "JobQueue": "q", "JobDefinition": "`+family(repository)+`:1"}, "End": true}}}`)
		}},
		{"08-pinned/state-machine-function-qualifier", func(w *world, repository string) (string, string) {
			_, d := w.pinnedVersion(repository)
			return d, w.machine(repository, `{"StartAt": "run", "States": {"run": {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke",
				"Parameters": {"FunctionName": "`+family(repository)+`", "Qualifier": "1"}, "End": true}}}`)
		}},
		{"states/image", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, w.machine(repository, `{"StartAt": "run", "States": {"run": {"Type": "Task", "Resource": "arn:aws:states:::eks:runJob.sync",
				"Parameters": {"Job": {"spec": {"template": {"spec": {"containers": [{"image": "`+ref(repository)+`"}]}}}}}, "End": true}}}`)
		}},
		{"states/published-version", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			c := sfn.NewFromConfig(w.as(accountB, virginia))
			machine := w.machine(repository, `{"image": "`+ref(repository)+`"}`)
			version := *done(c.PublishStateMachineVersion(w.Context(), &sfn.PublishStateMachineVersionInput{StateMachineArn: &machine}))(w).StateMachineVersionArn
			done(c.UpdateStateMachine(w.Context(), &sfn.UpdateStateMachineInput{StateMachineArn: &machine, Definition: new(`{}`)}))(w)
			return d, version
		}},
		{"08-pinned/event-source-mapping", func(w *world, repository string) (string, string) {
			version, d := w.pinnedVersion(repository)
			return d, *done(w.lambda(accountB, virginia).CreateEventSourceMapping(w.Context(), &lambda.CreateEventSourceMappingInput{
				FunctionName: &version, EventSourceArn: new("arn:aws:sqs:" + virginia + ":" + accountB + ":queue"),
			}))(w).EventSourceMappingArn
		}},
		{"codebuild", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, *done(codebuild.NewFromConfig(w.as(accountB, virginia)).CreateProject(w.Context(), &codebuild.CreateProjectInput{
				Name: new(family(repository)), ServiceRole: new(someRole), Source: &codebuildtypes.ProjectSource{Type: codebuildtypes.SourceTypeNoSource},
				Artifacts: &codebuildtypes.ProjectArtifacts{Type: codebuildtypes.ArtifactsTypeNoArtifacts},
				Environment: &codebuildtypes.ProjectEnvironment{Image: new(ref(repository)), Type: codebuildtypes.EnvironmentTypeLinuxContainer,
					ComputeType: codebuildtypes.ComputeTypeBuildGeneral1Small},
			}))(w).Project.Arn
		}},
		{"sagemaker/model", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, *done(sagemaker.NewFromConfig(w.as(accountB, virginia)).CreateModel(w.Context(), &sagemaker.CreateModelInput{
				ModelName: new(family(repository)), PrimaryContainer: &sagemakertypes.ContainerDefinition{Image: new(ref(repository))},
			}))(w).ModelArn
		}},
		{"sagemaker/endpoint-whose-tag-moved", func(w *world, repository string) (string, string) {
			d, name := push(w, repository), family(repository)
			c := sagemaker.NewFromConfig(w.as(accountB, virginia))
			done(c.CreateModel(w.Context(), &sagemaker.CreateModelInput{ModelName: &name, PrimaryContainer: &sagemakertypes.ContainerDefinition{Image: new(ref(repository))}}))(w)
			done(c.CreateEndpointConfig(w.Context(), &sagemaker.CreateEndpointConfigInput{EndpointConfigName: &name,
				ProductionVariants: []sagemakertypes.ProductionVariant{{ModelName: &name, VariantName: new("all")}}}))(w)
			arn := *done(c.CreateEndpoint(w.Context(), &sagemaker.CreateEndpointInput{EndpointName: &name, EndpointConfigName: &name}))(w).EndpointArn
			w.push(accountA, virginia, repository, repository+" of later", "v1")
			return d, arn
		}},
		{"sagemaker/training-job", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, *done(sagemaker.NewFromConfig(w.as(accountB, virginia)).CreateTrainingJob(w.Context(), &sagemaker.CreateTrainingJobInput{
				TrainingJobName: new(family(repository)), RoleArn: new(someRole), OutputDataConfig: &sagemakertypes.OutputDataConfig{S3OutputPath: new("s3://b/o")},
				StoppingCondition:      &sagemakertypes.StoppingCondition{},
				ResourceConfig:         &sagemakertypes.ResourceConfig{VolumeSizeInGB: new(int32(1))},
				AlgorithmSpecification: &sagemakertypes.AlgorithmSpecification{TrainingImage: new(ref(repository)), TrainingInputMode: sagemakertypes.TrainingInputModeFile},
			}))(w).TrainingJobArn
		}},
		{"sagemaker/model-package", func(w *world, repository string) (string, string) {
			d, name := push(w, repository), family(repository)
			c := sagemaker.NewFromConfig(w.as(accountB, virginia))
			done(c.CreateModelPackageGroup(w.Context(), &sagemaker.CreateModelPackageGroupInput{ModelPackageGroupName: &name}))(w)
			return d, *done(c.CreateModelPackage(w.Context(), &sagemaker.CreateModelPackageInput{ModelPackageGroupName: &name,
				InferenceSpecification: &sagemakertypes.InferenceSpecification{Containers: []sagemakertypes.ModelPackageContainerDefinition{{Image: new(ref(repository))}}},
			}))(w).ModelPackageArn
		}},
		{"sagemaker/image-version", func(w *world, repository string) (string, string) {
			d, name := push(w, repository), family(repository)
			c := sagemaker.NewFromConfig(w.as(accountB, virginia))
			done(c.CreateImage(w.Context(), &sagemaker.CreateImageInput{ImageName: &name, RoleArn: new(someRole)}))(w)
			return d, *done(c.CreateImageVersion(w.Context(), &sagemaker.CreateImageVersionInput{ImageName: &name, BaseImage: new(ref(repository)), ClientToken: new("1")}))(w).ImageVersionArn
		}},
		{"sagemaker/pipeline", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, *done(sagemaker.NewFromConfig(w.as(accountB, virginia)).CreatePipeline(w.Context(), &sagemaker.CreatePipelineInput{
				PipelineName: new(family(repository)), RoleArn: new(someRole), ClientRequestToken: new(strings.Repeat("t", 32)),
				PipelineDefinition: new(`{"Steps": [{"Arguments": {"AppSpecification": {"ImageUri": "` + ref(repository) + `"}}}]}`),
			}))(w).PipelineArn
		}},
		{"apprunner/paused", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			c := apprunner.NewFromConfig(w.as(accountB, virginia))
			arn := done(c.CreateService(w.Context(), &apprunner.CreateServiceInput{ServiceName: new(family(repository)), SourceConfiguration: &apprunnertypes.SourceConfiguration{
				ImageRepository: &apprunnertypes.ImageRepository{ImageIdentifier: new(ref(repository)), ImageRepositoryType: apprunnertypes.ImageRepositoryTypeEcr}}}))(w).Service.ServiceArn
			done(c.PauseService(w.Context(), &apprunner.PauseServiceInput{ServiceArn: arn}))(w)
			return d, *arn
		}},
		{"bedrock-agentcore/version-that-an-endpoint-serves", func(w *world, repository string) (string, string) {
			d, name := push(w, repository), strings.ReplaceAll(family(repository), "-", "_")
			c := agentcore.NewFromConfig(w.as(accountB, virginia))
			artifact := func(uri string) agentcoretypes.AgentRuntimeArtifact {
				return &agentcoretypes.AgentRuntimeArtifactMemberContainerConfiguration{Value: agentcoretypes.ContainerConfiguration{ContainerUri: &uri}}
			}
			network := &agentcoretypes.NetworkConfiguration{NetworkMode: agentcoretypes.NetworkModePublic}
			out := done(c.CreateAgentRuntime(w.Context(), &agentcore.CreateAgentRuntimeInput{AgentRuntimeName: &name, RoleArn: new(someRole),
				AgentRuntimeArtifact: artifact(ref(repository)), NetworkConfiguration: network}))(w)
			done(c.CreateAgentRuntimeEndpoint(w.Context(), &agentcore.CreateAgentRuntimeEndpointInput{AgentRuntimeId: out.AgentRuntimeId, Name: new("prod"), AgentRuntimeVersion: new("1")}))(w)
			done(c.UpdateAgentRuntime(w.Context(), &agentcore.UpdateAgentRuntimeInput{AgentRuntimeId: out.AgentRuntimeId, RoleArn: new(someRole),
				AgentRuntimeArtifact: artifact("docker.io/library/other"), NetworkConfiguration: network}))(w)
			return d, *out.AgentRuntimeArn
		}},
		{"emr-serverless/worker-whose-tag-moved", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			arn := *done(emrserverless.NewFromConfig(w.as(accountB, virginia)).CreateApplication(w.Context(), &emrserverless.CreateApplicationInput{
				Name: new(family(repository)), ReleaseLabel: new("emr-7.0.0"), Type: new("SPARK"), ClientToken: new(family(repository)),
				WorkerTypeSpecifications: map[string]emrtypes.WorkerTypeSpecificationInput{"Driver": {ImageConfiguration: &emrtypes.ImageConfigurationInput{ImageUri: new(ref(repository))}}},
			}))(w).Arn
			w.push(accountA, virginia, repository, repository+" of later", "v1")
			return d, arn
		}},
		{"gamelift/version-before", func(w *world, repository string) (string, string) {
			d, name := push(w, repository), family(repository)
			c := gamelift.NewFromConfig(w.as(accountB, virginia))
			server := func(uri string) *gamelifttypes.GameServerContainerDefinitionInput {
				return &gamelifttypes.GameServerContainerDefinitionInput{ContainerName: new("game"), ImageUri: &uri, ServerSdkVersion: new("5.2.0"),
					PortConfiguration: &gamelifttypes.ContainerPortConfiguration{ContainerPortRanges: []gamelifttypes.ContainerPortRange{
						{FromPort: new(int32(1)), ToPort: new(int32(2)), Protocol: gamelifttypes.IpProtocolTcp}}}}
			}
			arn := *done(c.CreateContainerGroupDefinition(w.Context(), &gamelift.CreateContainerGroupDefinitionInput{Name: &name, OperatingSystem: gamelifttypes.ContainerOperatingSystemAmazonLinux2023,
				TotalMemoryLimitMebibytes: new(int32(100)), TotalVcpuLimit: new(1.0), GameServerContainerDefinition: server(ref(repository))}))(w).ContainerGroupDefinition.ContainerGroupDefinitionArn
			w.push(accountA, virginia, repository, repository+" of later", "v1")
			done(c.UpdateContainerGroupDefinition(w.Context(), &gamelift.UpdateContainerGroupDefinitionInput{Name: &name, GameServerContainerDefinition: server("docker.io/library/other")}))(w)
			return d, arn
		}},
		{"imagebuilder/parent", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, *done(imagebuilder.NewFromConfig(w.as(accountB, virginia)).CreateContainerRecipe(w.Context(), &imagebuilder.CreateContainerRecipeInput{
				Name: new(family(repository)), SemanticVersion: new("1.0.0"), ContainerType: imagebuildertypes.ContainerTypeDocker, ParentImage: new(ref(repository)),
				ClientToken: new("1"), TargetRepository: &imagebuildertypes.TargetContainerRepository{RepositoryName: new("out"), Service: imagebuildertypes.ContainerRepositoryServiceEcr},
			}))(w).ContainerRecipeArn
		}},
		{"imagebuilder/dockerfile", func(w *world, repository string) (string, string) {
			d := push(w, repository)
			return d, *done(imagebuilder.NewFromConfig(w.as(accountB, virginia)).CreateContainerRecipe(w.Context(), &imagebuilder.CreateContainerRecipeInput{
				Name: new(family(repository)), SemanticVersion: new("1.0.0"), ContainerType: imagebuildertypes.ContainerTypeDocker, ParentImage: new("amazonlinux:latest"),
				DockerfileTemplateData: new("FROM {{{ imagebuilder:parentImage }}}\nCOPY --from=" + ref(repository) + " /a /b\n"),
				ClientToken:            new("1"), TargetRepository: &imagebuildertypes.TargetContainerRepository{RepositoryName: new("out"), Service: imagebuildertypes.ContainerRepositoryServiceEcr},
			}))(w).ContainerRecipeArn
		}},
		{"pull-through-cache", func(w *world, repository string) (string, string) {
			d, name := push(w, repository), family(repository)
			done(w.ecr(accountB, virginia).CreatePullThroughCacheRule(w.Context(), &ecr.CreatePullThroughCacheRuleInput{
				EcrRepositoryPrefix: &name, UpstreamRegistryUrl: new(host(virginia)), UpstreamRepositoryPrefix: new("ROOT"), CustomRoleArn: new(someRole),
			}))(w)
			return d, w.register(virginia, name, fmt.Sprintf("%s.dkr.ecr.%s.amazonaws.com/%s/%s:v1", accountB, virginia, name, repository))
		}},
	}
}

// TestEverySourceKeeps: for every source, an image that only it uses is kept, with the resource as evidence.
func TestEverySourceKeeps(t *testing.T) {
	t.Parallel()
	testUses(t, newWorld(t, virginia), virginia, sourceCases())
}
