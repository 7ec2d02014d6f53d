package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/account"
	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	batchtypes "github.com/aws/aws-sdk-go-v2/service/batch/types"
	agentcore "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/gamelift"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	imagebuildertypes "github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/aws/aws-sdk-go-v2/service/inspector2"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
	"github.com/aws/smithy-go"

	"demurrage/internal/image"
	"demurrage/internal/scan"
)

// probe makes the cheapest call that an IAM action stands for. Lists are asked for one entry; everything else is asked
// for what does not exist, so that AWS answers that it does not, or that it may not be said.
type probe func(context.Context, aws.Config, scan.Target) error

// ask is a probe with the same input everywhere.
func ask[C, O, I, R any](client func(aws.Config, ...func(*O)) C, call func(C, context.Context, *I, ...func(*O)) (*R, error), in *I) probe {
	return at(client, call, func(place) *I { return in })
}

// all is a probe of a list of whatever there is, as a scan asks for it: of what is answered, only the list itself and the
// codes in empty, which a scan takes for an empty one, say that a scan gets it.
func all[C, O, I, R any](client func(aws.Config, ...func(*O)) C, call func(C, context.Context, *I, ...func(*O)) (*R, error), in *I, empty ...string) probe {
	p := ask(client, call, in)
	return func(ctx context.Context, cfg aws.Config, t scan.Target) error {
		err := p(ctx, cfg, t)
		if api, ok := errors.AsType[smithy.APIError](err); ok && slices.Contains(empty, api.ErrorCode()) {
			return nil
		}
		return listError(err)
	}
}

// unlisted is why there is no list, which a scan would fail for, whatever the code says.
type unlisted struct{ error }

func (e *unlisted) Unwrap() error { return e.error }

func listError(err error) error {
	if err == nil {
		return nil
	}
	return &unlisted{err}
}

// at is a probe whose input names the place: an ARN of elsewhere would be judged by other policies.
func at[C, O, I, R any](client func(aws.Config, ...func(*O)) C, call func(C, context.Context, *I, ...func(*O)) (*R, error), in func(place) *I) probe {
	return func(ctx context.Context, cfg aws.Config, t scan.Target) error {
		_, err := call(client(cfg), ctx, in(place(t)))
		return err
	}
}

// place is where a probe asks.
type place scan.Target

func (p place) arn(service, resource string) *string {
	return aws.String("arn:" + image.PartitionOf(p.Region).ID + ":" + service + ":" + p.Region + ":" + p.Account + ":" + resource)
}

func (p place) ecs(resource string) []string { return []string{*p.arn("ecs", resource)} }

// What does not exist. The ids have the forms that their services ask for, since some look at those first.
const (
	nothing     = "demurrage-check"
	nothingID   = "0123456789abcdef0123456789abcdef"
	noRuntime   = "demurragecheck-0123456789"
	noEMR       = "00demurragecheck"
	noDigest    = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	noBatchJob  = "00000000-0000-0000-0000-000000000000"
	noPackage   = "model-package/" + nothing + "/1"
	noRecipe    = "container-recipe/" + nothing + "/1.0.0"
	noAppRunner = "service/" + nothing + "/" + nothingID
)

var (
	one  = aws.Int32(1)
	none = aws.String(nothing)
)

// probes are by their action: those of scan.Actions() and those that find out an account's regions.
//
// BatchGetImage, which moves the pull time of what it finds, is asked for a digest in a repository that does not exist.
var probes = map[string]probe{
	"account:ListRegions": all(account.NewFromConfig, (*account.Client).ListRegions, &account.ListRegionsInput{MaxResults: one}),
	"ec2:DescribeRegions": all(ec2.NewFromConfig, (*ec2.Client).DescribeRegions, &ec2.DescribeRegionsInput{}),

	"ecr:DescribeRepositories": all(ecr.NewFromConfig, (*ecr.Client).DescribeRepositories, &ecr.DescribeRepositoriesInput{MaxResults: one}),
	"ecr:DescribeImages":       ask(ecr.NewFromConfig, (*ecr.Client).DescribeImages, &ecr.DescribeImagesInput{RepositoryName: none, MaxResults: one}),
	"ecr:GetRegistryPolicy":    all(ecr.NewFromConfig, (*ecr.Client).GetRegistryPolicy, &ecr.GetRegistryPolicyInput{}, "RegistryPolicyNotFoundException"),
	"ecr:GetRepositoryPolicy":  ask(ecr.NewFromConfig, (*ecr.Client).GetRepositoryPolicy, &ecr.GetRepositoryPolicyInput{RepositoryName: none}),
	"ecr:GetLifecyclePolicy":   ask(ecr.NewFromConfig, (*ecr.Client).GetLifecyclePolicy, &ecr.GetLifecyclePolicyInput{RepositoryName: none}),
	"ecr:ListTagsForResource": at(ecr.NewFromConfig, (*ecr.Client).ListTagsForResource, func(p place) *ecr.ListTagsForResourceInput {
		return &ecr.ListTagsForResourceInput{ResourceArn: p.arn("ecr", "repository/"+nothing)}
	}),
	"ecr:DescribeRegistry":              all(ecr.NewFromConfig, (*ecr.Client).DescribeRegistry, &ecr.DescribeRegistryInput{}),
	"ecr:ListPullTimeUpdateExclusions":  all(ecr.NewFromConfig, (*ecr.Client).ListPullTimeUpdateExclusions, &ecr.ListPullTimeUpdateExclusionsInput{MaxResults: one}),
	"ecr:GetAccountSetting":             ask(ecr.NewFromConfig, (*ecr.Client).GetAccountSetting, &ecr.GetAccountSettingInput{Name: aws.String("BLOB_MOUNTING")}),
	"ecr:DescribePullThroughCacheRules": all(ecr.NewFromConfig, (*ecr.Client).DescribePullThroughCacheRules, &ecr.DescribePullThroughCacheRulesInput{MaxResults: one}),
	"ecr:BatchGetImage": ask(ecr.NewFromConfig, (*ecr.Client).BatchGetImage, &ecr.BatchGetImageInput{
		RepositoryName: none, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: aws.String(noDigest)}}}),

	"ecs:ListClusters":     all(ecs.NewFromConfig, (*ecs.Client).ListClusters, &ecs.ListClustersInput{MaxResults: one}),
	"ecs:DescribeClusters": ask(ecs.NewFromConfig, (*ecs.Client).DescribeClusters, &ecs.DescribeClustersInput{Clusters: []string{nothing}}),
	"ecs:ListTasks":        ask(ecs.NewFromConfig, (*ecs.Client).ListTasks, &ecs.ListTasksInput{Cluster: none, MaxResults: one}),
	"ecs:DescribeTasks":    ask(ecs.NewFromConfig, (*ecs.Client).DescribeTasks, &ecs.DescribeTasksInput{Cluster: none, Tasks: []string{nothingID}}),
	"ecs:ListServices":     ask(ecs.NewFromConfig, (*ecs.Client).ListServices, &ecs.ListServicesInput{Cluster: none, MaxResults: one}),
	"ecs:DescribeServices": ask(ecs.NewFromConfig, (*ecs.Client).DescribeServices, &ecs.DescribeServicesInput{Cluster: none, Services: []string{nothing}}),
	"ecs:DescribeServiceRevisions": at(ecs.NewFromConfig, (*ecs.Client).DescribeServiceRevisions, func(p place) *ecs.DescribeServiceRevisionsInput {
		return &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: p.ecs("service-revision/" + nothing + "/" + nothing + "/1")}
	}),
	"ecs:ListServiceDeployments": ask(ecs.NewFromConfig, (*ecs.Client).ListServiceDeployments, &ecs.ListServiceDeploymentsInput{Cluster: none, Service: none, MaxResults: one}),
	"ecs:DescribeServiceDeployments": at(ecs.NewFromConfig, (*ecs.Client).DescribeServiceDeployments, func(p place) *ecs.DescribeServiceDeploymentsInput {
		return &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: p.ecs("service-deployment/" + nothing + "/" + nothing + "/demurrage")}
	}),
	"ecs:ListTaskDefinitions":    all(ecs.NewFromConfig, (*ecs.Client).ListTaskDefinitions, &ecs.ListTaskDefinitionsInput{Status: ecstypes.TaskDefinitionStatusActive, MaxResults: one}),
	"ecs:DescribeTaskDefinition": ask(ecs.NewFromConfig, (*ecs.Client).DescribeTaskDefinition, &ecs.DescribeTaskDefinitionInput{TaskDefinition: none}),
	"ecs:ListDaemons": at(ecs.NewFromConfig, (*ecs.Client).ListDaemons, func(p place) *ecs.ListDaemonsInput {
		return &ecs.ListDaemonsInput{ClusterArn: p.arn("ecs", "cluster/"+nothing), MaxResults: one}
	}),
	"ecs:DescribeDaemon": at(ecs.NewFromConfig, (*ecs.Client).DescribeDaemon, func(p place) *ecs.DescribeDaemonInput {
		return &ecs.DescribeDaemonInput{DaemonArn: p.arn("ecs", "daemon/"+nothing+"/"+nothing)}
	}),
	"ecs:DescribeDaemonRevisions": at(ecs.NewFromConfig, (*ecs.Client).DescribeDaemonRevisions, func(p place) *ecs.DescribeDaemonRevisionsInput {
		return &ecs.DescribeDaemonRevisionsInput{DaemonRevisionArns: p.ecs("daemon-revision/" + nothing + "/" + nothing + "/1")}
	}),
	"ecs:ListDaemonDeployments": at(ecs.NewFromConfig, (*ecs.Client).ListDaemonDeployments, func(p place) *ecs.ListDaemonDeploymentsInput {
		return &ecs.ListDaemonDeploymentsInput{DaemonArn: p.arn("ecs", "daemon/"+nothing+"/"+nothing), MaxResults: one}
	}),
	"ecs:DescribeDaemonDeployments": at(ecs.NewFromConfig, (*ecs.Client).DescribeDaemonDeployments, func(p place) *ecs.DescribeDaemonDeploymentsInput {
		return &ecs.DescribeDaemonDeploymentsInput{DaemonDeploymentArns: p.ecs("daemon-deployment/" + nothing + "/" + nothing + "/demurrage")}
	}),
	"ecs:ListDaemonTaskDefinitions":    all(ecs.NewFromConfig, (*ecs.Client).ListDaemonTaskDefinitions, &ecs.ListDaemonTaskDefinitionsInput{MaxResults: one}, "UnsupportedFeatureException", "UnknownOperationException"),
	"ecs:DescribeDaemonTaskDefinition": ask(ecs.NewFromConfig, (*ecs.Client).DescribeDaemonTaskDefinition, &ecs.DescribeDaemonTaskDefinitionInput{DaemonTaskDefinition: none}),

	"lambda:ListFunctions":           all(lambda.NewFromConfig, (*lambda.Client).ListFunctions, &lambda.ListFunctionsInput{MaxItems: one}),
	"lambda:ListAliases":             ask(lambda.NewFromConfig, (*lambda.Client).ListAliases, &lambda.ListAliasesInput{FunctionName: none, MaxItems: one}),
	"lambda:GetFunction":             ask(lambda.NewFromConfig, (*lambda.Client).GetFunction, &lambda.GetFunctionInput{FunctionName: none}),
	"lambda:ListEventSourceMappings": all(lambda.NewFromConfig, (*lambda.Client).ListEventSourceMappings, &lambda.ListEventSourceMappingsInput{MaxItems: one}),

	"eks:ListClusters":    all(eks.NewFromConfig, (*eks.Client).ListClusters, &eks.ListClustersInput{MaxResults: one}),
	"eks:DescribeCluster": ask(eks.NewFromConfig, (*eks.Client).DescribeCluster, &eks.DescribeClusterInput{Name: none}),

	"batch:DescribeJobDefinitions": all(batch.NewFromConfig, (*batch.Client).DescribeJobDefinitions, &batch.DescribeJobDefinitionsInput{MaxResults: one}),
	"batch:DescribeJobQueues":      all(batch.NewFromConfig, (*batch.Client).DescribeJobQueues, &batch.DescribeJobQueuesInput{MaxResults: one}),
	"batch:ListJobs":               ask(batch.NewFromConfig, (*batch.Client).ListJobs, &batch.ListJobsInput{JobQueue: none, JobStatus: batchtypes.JobStatusRunning, MaxResults: one}),
	"batch:DescribeJobs":           ask(batch.NewFromConfig, (*batch.Client).DescribeJobs, &batch.DescribeJobsInput{Jobs: []string{noBatchJob}}),

	"events:ListEventBuses":    all(eventbridge.NewFromConfig, (*eventbridge.Client).ListEventBuses, &eventbridge.ListEventBusesInput{Limit: one}),
	"events:ListRules":         all(eventbridge.NewFromConfig, (*eventbridge.Client).ListRules, &eventbridge.ListRulesInput{Limit: one}),
	"events:ListTargetsByRule": ask(eventbridge.NewFromConfig, (*eventbridge.Client).ListTargetsByRule, &eventbridge.ListTargetsByRuleInput{Rule: none, Limit: one}),
	"scheduler:ListSchedules":  all(scheduler.NewFromConfig, (*scheduler.Client).ListSchedules, &scheduler.ListSchedulesInput{MaxResults: one}),
	"scheduler:GetSchedule":    ask(scheduler.NewFromConfig, (*scheduler.Client).GetSchedule, &scheduler.GetScheduleInput{Name: none}),

	"states:ListStateMachines": all(sfn.NewFromConfig, (*sfn.Client).ListStateMachines, &sfn.ListStateMachinesInput{MaxResults: 1}),
	"states:DescribeStateMachine": at(sfn.NewFromConfig, (*sfn.Client).DescribeStateMachine, func(p place) *sfn.DescribeStateMachineInput {
		return &sfn.DescribeStateMachineInput{StateMachineArn: p.arn("states", "stateMachine:"+nothing)}
	}),
	"states:ListStateMachineVersions": at(sfn.NewFromConfig, (*sfn.Client).ListStateMachineVersions, func(p place) *sfn.ListStateMachineVersionsInput {
		return &sfn.ListStateMachineVersionsInput{StateMachineArn: p.arn("states", "stateMachine:"+nothing), MaxResults: 1}
	}),

	"codebuild:ListProjects":     all(codebuild.NewFromConfig, (*codebuild.Client).ListProjects, &codebuild.ListProjectsInput{}),
	"codebuild:BatchGetProjects": ask(codebuild.NewFromConfig, (*codebuild.Client).BatchGetProjects, &codebuild.BatchGetProjectsInput{Names: []string{nothing}}),

	"sagemaker:ListModels":                 all(sagemaker.NewFromConfig, (*sagemaker.Client).ListModels, &sagemaker.ListModelsInput{MaxResults: one}),
	"sagemaker:DescribeModel":              ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeModel, &sagemaker.DescribeModelInput{ModelName: none}),
	"sagemaker:ListEndpoints":              all(sagemaker.NewFromConfig, (*sagemaker.Client).ListEndpoints, &sagemaker.ListEndpointsInput{MaxResults: one}),
	"sagemaker:DescribeEndpoint":           ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeEndpoint, &sagemaker.DescribeEndpointInput{EndpointName: none}),
	"sagemaker:ListInferenceComponents":    all(sagemaker.NewFromConfig, (*sagemaker.Client).ListInferenceComponents, &sagemaker.ListInferenceComponentsInput{MaxResults: one}),
	"sagemaker:DescribeInferenceComponent": ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeInferenceComponent, &sagemaker.DescribeInferenceComponentInput{InferenceComponentName: none}),
	"sagemaker:ListImages":                 all(sagemaker.NewFromConfig, (*sagemaker.Client).ListImages, &sagemaker.ListImagesInput{MaxResults: one}),
	"sagemaker:ListImageVersions":          ask(sagemaker.NewFromConfig, (*sagemaker.Client).ListImageVersions, &sagemaker.ListImageVersionsInput{ImageName: none, MaxResults: one}),
	"sagemaker:DescribeImageVersion":       ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeImageVersion, &sagemaker.DescribeImageVersionInput{ImageName: none, Version: one}),
	"sagemaker:ListModelPackageGroups":     all(sagemaker.NewFromConfig, (*sagemaker.Client).ListModelPackageGroups, &sagemaker.ListModelPackageGroupsInput{MaxResults: one}),
	"sagemaker:ListModelPackages":          all(sagemaker.NewFromConfig, (*sagemaker.Client).ListModelPackages, &sagemaker.ListModelPackagesInput{MaxResults: one}),
	"sagemaker:DescribeModelPackage": at(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeModelPackage, func(p place) *sagemaker.DescribeModelPackageInput {
		return &sagemaker.DescribeModelPackageInput{ModelPackageName: p.arn("sagemaker", noPackage)}
	}),
	"sagemaker:ListAlgorithms":                           all(sagemaker.NewFromConfig, (*sagemaker.Client).ListAlgorithms, &sagemaker.ListAlgorithmsInput{MaxResults: one}),
	"sagemaker:DescribeAlgorithm":                        ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeAlgorithm, &sagemaker.DescribeAlgorithmInput{AlgorithmName: none}),
	"sagemaker:ListTrainingJobs":                         all(sagemaker.NewFromConfig, (*sagemaker.Client).ListTrainingJobs, &sagemaker.ListTrainingJobsInput{MaxResults: one}),
	"sagemaker:DescribeTrainingJob":                      ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeTrainingJob, &sagemaker.DescribeTrainingJobInput{TrainingJobName: none}),
	"sagemaker:ListProcessingJobs":                       all(sagemaker.NewFromConfig, (*sagemaker.Client).ListProcessingJobs, &sagemaker.ListProcessingJobsInput{MaxResults: one}),
	"sagemaker:DescribeProcessingJob":                    ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeProcessingJob, &sagemaker.DescribeProcessingJobInput{ProcessingJobName: none}),
	"sagemaker:ListHyperParameterTuningJobs":             all(sagemaker.NewFromConfig, (*sagemaker.Client).ListHyperParameterTuningJobs, &sagemaker.ListHyperParameterTuningJobsInput{MaxResults: one}),
	"sagemaker:DescribeHyperParameterTuningJob":          ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeHyperParameterTuningJob, &sagemaker.DescribeHyperParameterTuningJobInput{HyperParameterTuningJobName: none}),
	"sagemaker:ListMonitoringSchedules":                  all(sagemaker.NewFromConfig, (*sagemaker.Client).ListMonitoringSchedules, &sagemaker.ListMonitoringSchedulesInput{MaxResults: one}),
	"sagemaker:DescribeMonitoringSchedule":               ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeMonitoringSchedule, &sagemaker.DescribeMonitoringScheduleInput{MonitoringScheduleName: none}),
	"sagemaker:ListDataQualityJobDefinitions":            all(sagemaker.NewFromConfig, (*sagemaker.Client).ListDataQualityJobDefinitions, &sagemaker.ListDataQualityJobDefinitionsInput{MaxResults: one}),
	"sagemaker:DescribeDataQualityJobDefinition":         ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeDataQualityJobDefinition, &sagemaker.DescribeDataQualityJobDefinitionInput{JobDefinitionName: none}),
	"sagemaker:ListModelQualityJobDefinitions":           all(sagemaker.NewFromConfig, (*sagemaker.Client).ListModelQualityJobDefinitions, &sagemaker.ListModelQualityJobDefinitionsInput{MaxResults: one}),
	"sagemaker:DescribeModelQualityJobDefinition":        ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeModelQualityJobDefinition, &sagemaker.DescribeModelQualityJobDefinitionInput{JobDefinitionName: none}),
	"sagemaker:ListModelBiasJobDefinitions":              all(sagemaker.NewFromConfig, (*sagemaker.Client).ListModelBiasJobDefinitions, &sagemaker.ListModelBiasJobDefinitionsInput{MaxResults: one}),
	"sagemaker:DescribeModelBiasJobDefinition":           ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeModelBiasJobDefinition, &sagemaker.DescribeModelBiasJobDefinitionInput{JobDefinitionName: none}),
	"sagemaker:ListModelExplainabilityJobDefinitions":    all(sagemaker.NewFromConfig, (*sagemaker.Client).ListModelExplainabilityJobDefinitions, &sagemaker.ListModelExplainabilityJobDefinitionsInput{MaxResults: one}),
	"sagemaker:DescribeModelExplainabilityJobDefinition": ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribeModelExplainabilityJobDefinition, &sagemaker.DescribeModelExplainabilityJobDefinitionInput{JobDefinitionName: none}),
	"sagemaker:ListPipelines":                            all(sagemaker.NewFromConfig, (*sagemaker.Client).ListPipelines, &sagemaker.ListPipelinesInput{MaxResults: one}),
	"sagemaker:DescribePipeline":                         ask(sagemaker.NewFromConfig, (*sagemaker.Client).DescribePipeline, &sagemaker.DescribePipelineInput{PipelineName: none}),

	"apprunner:ListServices": all(apprunner.NewFromConfig, (*apprunner.Client).ListServices, &apprunner.ListServicesInput{MaxResults: one}),
	"apprunner:DescribeService": at(apprunner.NewFromConfig, (*apprunner.Client).DescribeService, func(p place) *apprunner.DescribeServiceInput {
		return &apprunner.DescribeServiceInput{ServiceArn: p.arn("apprunner", noAppRunner)}
	}),

	"bedrock-agentcore:ListAgentRuntimes":         all(agentcore.NewFromConfig, (*agentcore.Client).ListAgentRuntimes, &agentcore.ListAgentRuntimesInput{MaxResults: one}),
	"bedrock-agentcore:ListAgentRuntimeVersions":  ask(agentcore.NewFromConfig, (*agentcore.Client).ListAgentRuntimeVersions, &agentcore.ListAgentRuntimeVersionsInput{AgentRuntimeId: aws.String(noRuntime), MaxResults: one}),
	"bedrock-agentcore:ListAgentRuntimeEndpoints": ask(agentcore.NewFromConfig, (*agentcore.Client).ListAgentRuntimeEndpoints, &agentcore.ListAgentRuntimeEndpointsInput{AgentRuntimeId: aws.String(noRuntime), MaxResults: one}),
	"bedrock-agentcore:GetAgentRuntime":           ask(agentcore.NewFromConfig, (*agentcore.Client).GetAgentRuntime, &agentcore.GetAgentRuntimeInput{AgentRuntimeId: aws.String(noRuntime)}),

	"emr-serverless:ListApplications": all(emrserverless.NewFromConfig, (*emrserverless.Client).ListApplications, &emrserverless.ListApplicationsInput{MaxResults: one}),
	"emr-serverless:GetApplication":   ask(emrserverless.NewFromConfig, (*emrserverless.Client).GetApplication, &emrserverless.GetApplicationInput{ApplicationId: aws.String(noEMR)}),

	"gamelift:ListContainerGroupDefinitions":        all(gamelift.NewFromConfig, (*gamelift.Client).ListContainerGroupDefinitions, &gamelift.ListContainerGroupDefinitionsInput{Limit: one}),
	"gamelift:ListContainerGroupDefinitionVersions": ask(gamelift.NewFromConfig, (*gamelift.Client).ListContainerGroupDefinitionVersions, &gamelift.ListContainerGroupDefinitionVersionsInput{Name: none, Limit: one}),
	"gamelift:ListContainerFleets":                  all(gamelift.NewFromConfig, (*gamelift.Client).ListContainerFleets, &gamelift.ListContainerFleetsInput{Limit: one}),

	"imagebuilder:ListContainerRecipes": all(imagebuilder.NewFromConfig, (*imagebuilder.Client).ListContainerRecipes, &imagebuilder.ListContainerRecipesInput{Owner: imagebuildertypes.OwnershipSelf, MaxResults: one}),
	"imagebuilder:GetContainerRecipe": at(imagebuilder.NewFromConfig, (*imagebuilder.Client).GetContainerRecipe, func(p place) *imagebuilder.GetContainerRecipeInput {
		return &imagebuilder.GetContainerRecipeInput{ContainerRecipeArn: p.arn("imagebuilder", noRecipe)}
	}),

	"inspector2:BatchGetAccountStatus": inspectorStatus,
	"inspector2:ListCoverage":          inspectorCoverage,

	"iam:ListRoles": all(iam.NewFromConfig, (*iam.Client).ListRoles, &iam.ListRolesInput{MaxItems: one}),
}

// inspectorStatus answers for each account apart, and with success where one may not be told.
func inspectorStatus(ctx context.Context, cfg aws.Config, t scan.Target) error {
	out, err := inspector2.NewFromConfig(cfg).BatchGetAccountStatus(ctx, &inspector2.BatchGetAccountStatusInput{AccountIds: []string{t.Account}})
	if err != nil || len(out.FailedAccounts) == 0 {
		return listError(err)
	}
	return listError(&smithy.GenericAPIError{Code: string(out.FailedAccounts[0].ErrorCode), Message: aws.ToString(out.FailedAccounts[0].ErrorMessage)})
}

// inspectorCoverage: where Inspector is off, it refuses everybody, and a scan does not ask.
func inspectorCoverage(ctx context.Context, cfg aws.Config, _ scan.Target) error {
	_, err := inspector2.NewFromConfig(cfg).ListCoverage(ctx, &inspector2.ListCoverageInput{MaxResults: one})
	if denied(err) && !strings.Contains(err.Error(), "not authorized to perform") && !strings.Contains(err.Error(), "explicit deny") {
		return nil
	}
	return listError(err)
}

// probeTimeout is how long the answer to a probe may take, with all that is tried again.
const probeTimeout = 30 * time.Second

// answer is what a probe says.
type answer int

const (
	permitted answer = iota
	refused
	unclear // throttled, out of order, or of an unknown kind
)

// judge says what an error answers to whether a call is permitted. What was asked for does not exist: that AWS says so
// means that it looked.
func judge(err error) answer {
	if err == nil {
		return permitted
	}
	if denied(err) {
		return refused
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorFault() == smithy.FaultServer {
		return unclear
	}
	if _, ok := errors.AsType[*unlisted](err); ok {
		return unclear
	}
	code := api.ErrorCode()
	for _, words := range []string{"UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidSignature", "InvalidToken", "InvalidIdentityToken"} {
		if strings.HasPrefix(code, words) { // of the credentials
			return unclear
		}
	}
	for _, words := range []string{"NotFound", "NotExist", "Validation", "Invalid", "ClientException", "BadRequest", "Unsupported", "UnknownOperation", "MissingVersion"} {
		if strings.Contains(code, words) {
			return permitted
		}
	}
	return unclear
}

// denied reports whether AWS refuses what was asked, whoever would ask it with the same rights.
func denied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode() {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException", "AuthorizationError", "NotAuthorized", "Forbidden", "ForbiddenException", "ACCESS_DENIED":
		return true
	}
	return false
}

// run makes a probe's call.
func (p probe) run(ctx context.Context, cfg aws.Config, t scan.Target) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := p(ctx, cfg, t)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		if _, ok := errors.AsType[smithy.APIError](err); !ok {
			return fmt.Errorf("no answer within %s", probeTimeout)
		}
	}
	return err
}
