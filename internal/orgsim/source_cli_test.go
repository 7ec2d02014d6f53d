package orgsim

import "testing"

// The aws CLI against every operation of the services that are registers of workloads: botocore checks the shapes.
func TestCLIOfWorkloads(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v := cliManifests()
	r.push(v["v1"], "v1")
	v["arn"] = "us-east-1:111111111111"
	v["role"] = "arn:aws:iam::111111111111:role/service"
	v["pipeline"] = `{"Steps":[]}`
	v["states"] = `{"StartAt":"a","States":{}}`
	v["artifact"] = `{"containerConfiguration":{"containerUri":"public.ecr.aws/a/b:1"}}`
	v["server"] = `{"ContainerName":"g","ImageUri":"public.ecr.aws/a/b:1","ServerSdkVersion":"5.2.0","PortConfiguration":{"ContainerPortRanges":[{"FromPort":1,"ToPort":2,"Protocol":"TCP"}]}}`
	v["container"] = `{"image":"public.ecr.aws/a/b:1"}`
	v["target"] = `{"Arn":"arn:aws:scheduler:::aws-sdk:ecs:runTask","RoleArn":"arn:aws:iam::111111111111:role/service","Input":"{}"}`
	v["environment"] = `type=LINUX_CONTAINER,image=public.ecr.aws/a/b:1,computeType=BUILD_GENERAL1_SMALL`
	v["repository"] = `{"ImageRepository":{"ImageIdentifier":"public.ecr.aws/a/b:1","ImageRepositoryType":"ECR_PUBLIC"}}`
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "batch register-job-definition --job-definition-name j --type container --container-properties @container --query revision", want: "1"},
		{args: "batch describe-job-definitions --status ACTIVE --query jobDefinitions[].[jobDefinitionArn,containerProperties.image]", want: "arn:aws:batch:@arn:job-definition/j:1\tpublic.ecr.aws/a/b:1"},
		{args: "batch create-job-queue --job-queue-name q --priority 1 --compute-environment-order order=1,computeEnvironment=e --query jobQueueName", want: "q"},
		{args: "batch describe-job-queues --query jobQueues[].status", want: "VALID"},
		{args: "batch submit-job --job-name x --job-queue q --job-definition j --query jobName", want: "x"},
		{args: "batch list-jobs --job-queue q --job-status RUNNING --query jobSummaryList[].jobName", want: "x"},
		{args: "batch describe-jobs --jobs 00000001-0000-4000-8000-000000000001 --query jobs[].container.image", want: "public.ecr.aws/a/b:1"},
		{args: "batch terminate-job --job-id 00000001-0000-4000-8000-000000000001 --reason r", want: ""},
		{args: "batch deregister-job-definition --job-definition j:1", want: ""},
		{args: "batch describe-job-definitions --job-definitions j:1 --query jobDefinitions[].status", want: "INACTIVE"},
		{args: "events create-event-bus --name b --query EventBusArn", want: "arn:aws:events:@arn:event-bus/b"},
		{args: "events put-rule --name r --event-bus-name b --schedule-expression rate(1~day) --query RuleArn", want: "arn:aws:events:@arn:rule/b/r"},
		{args: "events put-targets --rule r --event-bus-name b --targets Id=1,Arn=arn:aws:sqs:@arn:q --query FailedEntryCount", want: "0"},
		{args: "events list-event-buses --query EventBuses[].Name", want: "b\tdefault"},
		{args: "events list-rules --event-bus-name b --query Rules[].[Name,State]", want: "r\tENABLED"},
		{args: "events list-targets-by-rule --rule r --event-bus-name b --query Targets[].Arn", want: "arn:aws:sqs:@arn:q"},
		{args: "events delete-rule --name r --event-bus-name b", want: "error: ValidationException"},
		{args: "scheduler create-schedule --name s --schedule-expression rate(1~day) --flexible-time-window Mode=OFF --target @target --query ScheduleArn", want: "arn:aws:scheduler:@arn:schedule/default/s"},
		{args: "scheduler list-schedules --query Schedules[].[Name,GroupName,State]", want: "s\tdefault\tENABLED"},
		{args: "scheduler get-schedule --name s --query Target.Input", want: "{}"},
		{args: "scheduler delete-schedule --name s", want: ""},
		{args: "scheduler get-schedule --name s", want: "error: ResourceNotFoundException"},
		{args: "stepfunctions create-state-machine --name m --role-arn @role --definition @states --query stateMachineArn", want: "arn:aws:states:@arn:stateMachine:m"},
		{args: "stepfunctions publish-state-machine-version --state-machine-arn arn:aws:states:@arn:stateMachine:m --query stateMachineVersionArn", want: "arn:aws:states:@arn:stateMachine:m:1"},
		{args: "stepfunctions update-state-machine --state-machine-arn arn:aws:states:@arn:stateMachine:m --definition {}", want: "…"},
		{args: "stepfunctions list-state-machines --query stateMachines[].[name,type]", want: "m\tSTANDARD"},
		{args: "stepfunctions list-state-machine-versions --state-machine-arn arn:aws:states:@arn:stateMachine:m --query stateMachineVersions[].stateMachineVersionArn", want: "arn:aws:states:@arn:stateMachine:m:1"},
		{args: "stepfunctions describe-state-machine --state-machine-arn arn:aws:states:@arn:stateMachine:m:1 --query definition", want: "@states"},
		{args: "stepfunctions describe-state-machine --state-machine-arn arn:aws:states:@arn:stateMachine:n", want: "error: StateMachineDoesNotExist"},
		{args: "codebuild create-project --name pr --service-role @role --source type=NO_SOURCE --artifacts type=NO_ARTIFACTS --environment @environment --query project.arn", want: "arn:aws:codebuild:@arn:project/pr"},
		{args: "codebuild list-projects --query projects", want: "pr"},
		{args: "codebuild batch-get-projects --names pr none --query [projects[].environment.image,projectsNotFound]", want: "public.ecr.aws/a/b:1\nnone"},
		{args: "sagemaker create-model --model-name m --primary-container Image=public.ecr.aws/a/b:1 --query ModelArn", want: "arn:aws:sagemaker:@arn:model/m"},
		{args: "sagemaker list-models --query Models[].ModelName", want: "m"},
		{args: "sagemaker describe-model --model-name m --query PrimaryContainer.Image", want: "public.ecr.aws/a/b:1"},
		{args: "sagemaker describe-model --model-name n", want: "error: ValidationException"},
		{args: "sagemaker list-training-jobs --status-equals InProgress --query TrainingJobSummaries", want: ""},
		{args: "sagemaker list-model-packages --query ModelPackageSummaryList", want: ""},
		{args: "apprunner create-service --service-name apps --source-configuration @repository --query Service.Status", want: "RUNNING"},
		{args: "apprunner list-services --query ServiceSummaryList[].ServiceName", want: "apps"},
		{args: "apprunner describe-service --service-arn arn:aws:apprunner:@arn:service/apps/00000000000000000000000000000001 --query Service.SourceConfiguration.ImageRepository.ImageIdentifier", want: "public.ecr.aws/a/b:1"},
		{args: "emr-serverless create-application --name e --type SPARK --release-label emr-7.0.0 --image-configuration imageUri=public.ecr.aws/a/b:1 --query name", want: "e"},
		{args: "emr-serverless list-applications --query applications[].state", want: "CREATED"},
		{args: "emr-serverless get-application --application-id 00f0000000000001 --query application.imageConfiguration.imageUri", want: "public.ecr.aws/a/b:1"},
		{args: "gamelift create-container-group-definition --name g --operating-system AMAZON_LINUX_2023 --total-memory-limit-mebibytes 100 --total-vcpu-limit 1 --game-server-container-definition @server --query ContainerGroupDefinition.VersionNumber", want: "1"},
		{args: "gamelift list-container-group-definitions --query ContainerGroupDefinitions[].Name", want: "g"},
		{args: "gamelift list-container-group-definition-versions --name g --query ContainerGroupDefinitions[].GameServerContainerDefinition.ImageUri", want: "public.ecr.aws/a/b:1"},
		{args: "gamelift list-container-fleets --query ContainerFleets", want: ""},
		{args: "imagebuilder create-container-recipe --name i --semantic-version 1.0.0 --container-type DOCKER --parent-image amazonlinux:2023 --target-repository service=ECR,repositoryName=o --components componentArn=arn:aws:imagebuilder:us-east-1:aws:component/x/1.0.0 --query containerRecipeArn", want: "arn:aws:imagebuilder:@arn:container-recipe/i/1.0.0"},
		{args: "imagebuilder list-container-recipes --query containerRecipeSummaryList[].parentImage", want: "amazonlinux:2023"},
		{args: "imagebuilder get-container-recipe --container-recipe-arn arn:aws:imagebuilder:@arn:container-recipe/i/1.0.0 --query containerRecipe.name", want: "i"},
		{args: "inspector2 enable --resource-types ECR --query accounts[].resourceStatus.ecr", want: "ENABLED"},
		{args: "inspector2 batch-get-account-status --account-ids 111111111111 --query accounts[].resourceState.ecr.status", want: "ENABLED"},
		{args: "inspector2 list-coverage --query coveredResources[].resourceMetadata.ecrImage.inUseCount", want: "0"},
		{args: "bedrock-agentcore-control create-agent-runtime --agent-runtime-name a --role-arn @role --network-configuration networkMode=PUBLIC --agent-runtime-artifact @artifact --query agentRuntimeVersion", want: "1"},
		{args: "bedrock-agentcore-control list-agent-runtimes --query agentRuntimes[].agentRuntimeId", want: "a-0000000001"},
		{args: "bedrock-agentcore-control list-agent-runtime-versions --agent-runtime-id a-0000000001 --query agentRuntimes[].agentRuntimeVersion", want: "1"},
		{args: "bedrock-agentcore-control list-agent-runtime-endpoints --agent-runtime-id a-0000000001 --query runtimeEndpoints[].liveVersion", want: "1"},
		{args: "bedrock-agentcore-control get-agent-runtime --agent-runtime-id a-0000000001 --query agentRuntimeArtifact.containerConfiguration.containerUri", want: "public.ecr.aws/a/b:1"},
	})
}
