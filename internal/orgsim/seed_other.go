package orgsim

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/apprunner"
	apprunnertypes "github.com/aws/aws-sdk-go-v2/service/apprunner/types"
	"github.com/aws/aws-sdk-go-v2/service/batch"
	batchtypes "github.com/aws/aws-sdk-go-v2/service/batch/types"
	agentcore "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	agentcoretypes "github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	codebuildtypes "github.com/aws/aws-sdk-go-v2/service/codebuild/types"
	"github.com/aws/aws-sdk-go-v2/service/emrserverless"
	emrtypes "github.com/aws/aws-sdk-go-v2/service/emrserverless/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	eventstypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	imagebuildertypes "github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	sagemakertypes "github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	schedulertypes "github.com/aws/aws-sdk-go-v2/service/scheduler/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// DemoOther is something besides ECS and Lambda that uses an image, by its tag.
type DemoOther struct {
	Account, Region, Name string
	Kind                  string // a service, by its signing name
	Image                 DemoImage
}

// other makes it, in the end of the story.
func (m *demoSeeder) other(o *DemoOther) error {
	text := m.text(o.Image)
	role := new("arn:aws:iam::" + o.Account + ":role/service")
	do := func(operation string, in any) error { return m.do(o.Account, o.Region, o.Kind, operation, in) }
	switch o.Kind {
	case "batch":
		return do("RegisterJobDefinition", &batch.RegisterJobDefinitionInput{JobDefinitionName: &o.Name, Type: batchtypes.JobDefinitionTypeContainer,
			ContainerProperties: &batchtypes.ContainerProperties{Image: &text}})
	case "codebuild":
		return do("CreateProject", &codebuild.CreateProjectInput{Name: &o.Name, ServiceRole: role,
			Environment: &codebuildtypes.ProjectEnvironment{Image: &text, Type: codebuildtypes.EnvironmentTypeLinuxContainer}})
	case "sagemaker":
		return do("CreateModel", &sagemaker.CreateModelInput{ModelName: &o.Name, PrimaryContainer: &sagemakertypes.ContainerDefinition{Image: &text}})
	case "apprunner":
		return do("CreateService", &apprunner.CreateServiceInput{ServiceName: &o.Name, SourceConfiguration: &apprunnertypes.SourceConfiguration{
			ImageRepository: &apprunnertypes.ImageRepository{ImageIdentifier: &text, ImageRepositoryType: apprunnertypes.ImageRepositoryTypeEcr}}})
	case "emr-serverless":
		return do("CreateApplication", &emrserverless.CreateApplicationInput{Name: &o.Name, Type: new("SPARK"), ReleaseLabel: new("emr-7.5.0"),
			ImageConfiguration: &emrtypes.ImageConfigurationInput{ImageUri: &text}})
	case "imagebuilder":
		return do("CreateContainerRecipe", &imagebuilder.CreateContainerRecipeInput{Name: &o.Name, SemanticVersion: new("1.0.0"),
			ContainerType: imagebuildertypes.ContainerTypeDocker, ParentImage: &text})
	case "bedrock-agentcore":
		return do("CreateAgentRuntime", &agentcore.CreateAgentRuntimeInput{AgentRuntimeName: &o.Name, RoleArn: role,
			AgentRuntimeArtifact: &agentcoretypes.AgentRuntimeArtifactMemberContainerConfiguration{Value: agentcoretypes.ContainerConfiguration{ContainerUri: &text}}})
	case "states":
		return do("CreateStateMachine", &sfn.CreateStateMachineInput{Name: &o.Name, RoleArn: role, Definition: new(fmt.Sprintf(
			`{"StartAt": "train", "States": {"train": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
				"Parameters": {"AlgorithmSpecification": {"TrainingImage": %q, "TrainingInputMode": "File"}}, "End": true}}}`, text))})
	case "scheduler":
		return do("CreateSchedule", &scheduler.CreateScheduleInput{Name: &o.Name, ScheduleExpression: new("rate(1 day)"), Target: &schedulertypes.Target{
			RoleArn: role, Arn: new("arn:aws:scheduler:::aws-sdk:sagemaker:createProcessingJob"), Input: new(fmt.Sprintf(`{"AppSpecification": {"ImageUri": %q}}`, text))}})
	case "events":
		if err := do("PutRule", &eventbridge.PutRuleInput{Name: &o.Name, ScheduleExpression: new("rate(1 day)")}); err != nil {
			return err
		}
		return do("PutTargets", &eventbridge.PutTargetsInput{Rule: &o.Name, Targets: []eventstypes.Target{{Id: new("1"),
			Arn: new("arn:aws:sqs:" + o.Region + ":" + o.Account + ":builds"), Input: new(fmt.Sprintf(`{"image": %q}`, text))}}})
	default:
		return fmt.Errorf("no such kind of workload: %s", o.Kind)
	}
}
