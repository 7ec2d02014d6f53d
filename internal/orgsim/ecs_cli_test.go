package orgsim

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// cliCluster prepares a repository with v1 as latest and task definitions web:1 to web:3 of it.
func cliCluster(t *testing.T) (*sim, cluster, registry, map[string]string) {
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v := cliManifests()
	r.push(v["v1"], "latest")
	c := m.cluster(m.as(accountA))
	for range 3 {
		c.register("web", appURI+":latest")
	}
	v["td"] = "arn:aws:ecs:us-east-1:111111111111:task-definition"
	return m, c, r, v
}

func TestCLITaskDefinitionsAndTasks(t *testing.T) {
	t.Parallel()
	m, c, _, v := cliCluster(t)
	v["containers"] = `[{"name":"c","image":"` + appURI + `:latest","memory":64}]`
	v["task"] = *c.run("web").TaskArn
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecs create-cluster --query cluster.[clusterName,status]", want: "default\tACTIVE"},
		{args: "ecs list-clusters --page-size 1 --query clusterArns", want: "arn:aws:ecs:us-east-1:111111111111:cluster/default\narn:aws:ecs:us-east-1:111111111111:cluster/main"},
		{args: "ecs describe-clusters --clusters main none --query [clusters[].clusterName,failures[].reason]", want: "main\nMISSING"},
		{args: "ecs delete-cluster --cluster main", want: "error: ClusterContainsTasksException"},
		{args: "ecs delete-cluster --cluster default --query cluster.status", want: "INACTIVE"},
		{args: "ecs register-task-definition --family job --container-definitions @containers --tags key=a,value=b --query taskDefinition.[taskDefinitionArn,revision,status]", want: "@td/job:1\t1\tACTIVE"},
		{args: "ecs list-tags-for-resource --resource-arn @td/job:1 --query tags[].[key,value]", want: "a\tb"},
		{args: "ecs tag-resource --resource-arn @td/job:1 --tags key=c,value=d", want: ""},
		{args: "ecs untag-resource --resource-arn @td/job:1 --tag-keys a", want: ""},
		{args: "ecs list-tags-for-resource --resource-arn @td/job:1 --query tags[].key", want: "c"},
		{args: "ecs list-tags-for-resource --resource-arn @td/job:9", want: "error: InvalidParameterException"},
		{args: "ecs list-task-definitions --page-size 2 --query taskDefinitionArns", want: "@td/job:1\t@td/web:1\n@td/web:2\t@td/web:3"},
		{args: "ecs list-task-definitions --family-prefix web --sort DESC --max-items 1 --query taskDefinitionArns", want: "@td/web:3\nNone"},
		{args: "ecs list-task-definition-families --query families", want: "job\tweb"},
		{args: "ecs describe-task-definition --task-definition web --query taskDefinition.[revision,containerDefinitions[0].image]", want: "3\t@app:latest"},
		{args: "ecs describe-task-definition --task-definition none", want: "error: ClientException"},
		{args: "ecs deregister-task-definition --task-definition web:3 --query taskDefinition.status", want: "INACTIVE"},
		{args: "ecs list-task-definitions --status INACTIVE --query taskDefinitionArns", want: "@td/web:3"},
		{args: "ecs delete-task-definitions --task-definitions web:3 web:1 --query [taskDefinitions[].status,failures[].reason]", want: "DELETE_IN_PROGRESS\nTASK_DEFINITION_NOT_INACTIVE"},
		{args: "ecs run-task --cluster main --task-definition job --count 2 --query tasks[].containers[].imageDigest", want: "@d1\t@d1"},
		{args: "ecs run-task --cluster none --task-definition job", want: "error: ClusterNotFoundException"},
		{args: "ecs list-tasks --cluster main --family web --query taskArns", want: "@task"},
		{args: "ecs list-tasks --cluster main --page-size 1 --query length(taskArns)", want: "1\n1\n1"},
		{args: "ecs describe-tasks --cluster main --tasks @task none --query [tasks[].containers[].[image,imageDigest],failures[].reason]", want: "@app:latest\t@d1\nMISSING"},
		{args: "ecs stop-task --cluster main --task @task --query task.lastStatus", want: "STOPPED"},
		{args: "ecs list-tasks --cluster main --desired-status STOPPED --query taskArns", want: "@task"},
		{args: "ecs stop-task --cluster main --task none", want: "error: InvalidParameterException"},
		// A pull from another account that no repository policy allows.
		{account: accountB, args: "ecs create-cluster --query cluster.clusterName", want: "default"},
		{account: accountB, args: "ecs register-task-definition --family job --container-definitions @containers --query taskDefinition.revision", want: "1"},
		{account: accountB, args: "ecs run-task --task-definition job --query tasks[].[lastStatus,stopCode,stoppedReason]", want: "STOPPED\tTaskFailedToStart\tCannotPullContainerError: pull access denied…"},
	})
}

func TestCLIServices(t *testing.T) {
	t.Parallel()
	m, c, r, v := cliCluster(t)
	s := c.create(&ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)})
	v["rev"] = *s.CurrentServiceRevisions[0].Arn
	v["deployment"] = *s.CurrentServiceDeployment
	r.push(v["v2"], "latest")
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecs create-service --cluster main --service-name api --task-definition web:1 --desired-count 2 --query service.[runningCount,deployments[0].status]", want: "2\tPRIMARY"},
		{args: "ecs create-service --cluster main --service-name api --task-definition web:1", want: "error: InvalidParameterException"},
		{args: "ecs list-services --cluster main --page-size 1 --query serviceArns", want: "arn:aws:ecs:us-east-1:111111111111:service/main/api\narn:aws:ecs:us-east-1:111111111111:service/main/web"},
		{args: "ecs describe-services --cluster main --services web none --query [services[].currentServiceRevisions[].arn,failures[].reason]", want: "@rev\nMISSING"},
		{args: "ecs describe-services --cluster main --services a b c d e f g h i j k", want: "error: InvalidParameterException"},
		{args: "ecs update-service --cluster main --service web --desired-count 2 --query service.runningCount", want: "2"},
		{args: "ecs describe-service-revisions --service-revision-arns @rev --query serviceRevisions[].containerImages[].[image,imageDigest]", want: "@app:latest\t@d1"},
		{args: "ecs describe-service-revisions --service-revision-arns arn:none --query failures[].reason", want: "MISSING"},
		{args: "ecs list-service-deployments --cluster main --service web --query serviceDeployments[].serviceDeploymentArn", want: "@deployment"},
		{args: "ecs describe-service-deployments --service-deployment-arns @deployment --query serviceDeployments[].[status,targetServiceRevision.arn]", want: "SUCCESSFUL\t@rev"},
		{args: "ecs update-service --cluster main --service web --force-new-deployment --query service.status", want: "ACTIVE"},
		{args: "ecs list-service-deployments --cluster main --service web --query length(serviceDeployments)", want: "2"},
		{args: "ecs update-service --cluster main --service none --desired-count 1", want: "error: ServiceNotFoundException"},
		{args: "ecs delete-service --cluster main --service web", want: "error: InvalidParameterException"},
		{args: "ecs delete-service --cluster main --service web --force --query service.status", want: "INACTIVE"},
		{args: "ecs list-services --cluster none", want: "error: ClusterNotFoundException"},
	})
}

func TestCLITaskSets(t *testing.T) {
	t.Parallel()
	m, _, _, v := cliCluster(t)
	v["external"] = `type=EXTERNAL`
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecs create-service --cluster main --service-name ext --desired-count 2 --deployment-controller @external --query service.[deployments,taskSets,deploymentController.type]", want: "None\tNone\tEXTERNAL"},
		{args: "ecs create-task-set --cluster main --service ext --task-definition web --external-id a --scale value=100,unit=PERCENT --query taskSet.[computedDesiredCount,runningCount,status]", want: "2\t2\tACTIVE"},
	})
	if t.Failed() || t.Skipped() {
		return
	}
	out, err := ecs.NewFromConfig(m.as(accountA)).DescribeTaskSets(t.Context(), &ecs.DescribeTaskSetsInput{Cluster: aws.String("main"), Service: aws.String("ext")})
	if err != nil {
		t.Fatal(err)
	}
	v["set"] = *out.TaskSets[0].TaskSetArn
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecs update-service-primary-task-set --cluster main --service ext --primary-task-set @set --query taskSet.status", want: "PRIMARY"},
		{args: "ecs update-task-set --cluster main --service ext --task-set @set --scale value=50,unit=PERCENT --query taskSet.runningCount", want: "1"},
		{args: "ecs describe-task-sets --cluster main --service ext --task-sets @set none --query [taskSets[].[externalId,status],failures[].reason]", want: "a\tPRIMARY\nMISSING"},
		{args: "ecs delete-task-set --cluster main --service ext --task-set @set", want: "error: InvalidParameterException"},
		{args: "ecs delete-task-set --cluster main --service ext --task-set @set --force --query taskSet.status", want: "DRAINING"},
		{args: "ecs describe-task-sets --cluster main --service none", want: "error: ServiceNotFoundException"},
	})
}

func TestCLIDeployments(t *testing.T) {
	t.Parallel()
	m, c, r, v := cliCluster(t)
	c.create(&ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)})
	r.push(v["v2"], "latest")
	v["paused"] = `{"strategy":"BLUE_GREEN","bakeTimeInMinutes":10,"lifecycleHooks":[{"targetType":"PAUSE","lifecycleStages":["POST_SCALE_UP"]}]}`
	const update = "ecs update-service --cluster main --service web --force-new-deployment --deployment-configuration @paused --query service."
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: update + "[deployments[].[status,rolloutState],length(currentServiceRevisions)]", want: "2\nPRIMARY\tIN_PROGRESS\nACTIVE\tCOMPLETED"},
	})
	if t.Failed() || t.Skipped() {
		return
	}
	v["deployment"] = *c.describe("web").CurrentServiceDeployment
	out, err := c.DescribeServiceDeployments(t.Context(), &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{v["deployment"]}})
	if err != nil {
		t.Fatal(err)
	}
	v["hook"] = *out.ServiceDeployments[0].LifecycleHookDetails[0].HookId
	const status = "ecs describe-service-deployments --service-deployment-arns @deployment --query serviceDeployments[]."
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: status + "[status,lifecycleStage,lifecycleHookDetails[0].status]", want: "IN_PROGRESS\tPOST_SCALE_UP\tAWAITING_ACTION"},
		{args: "ecs continue-service-deployment --service-deployment-arn @deployment --hook-id none", want: "error: InvalidParameterException"},
		{args: "ecs continue-service-deployment --service-deployment-arn @deployment --hook-id @hook --query serviceDeploymentArn", want: "@deployment"},
		{args: status + "[status,lifecycleStage]", want: "IN_PROGRESS\tBAKE_TIME"},
		{args: "ecs stop-service-deployment --service-deployment-arn @deployment --stop-type ROLLBACK --query serviceDeploymentArn", want: "@deployment"},
		{args: status + "[status,rollback.reason]", want: "ROLLBACK_SUCCESSFUL\tService deployment rolled back because of a user request."},
		{args: "ecs stop-service-deployment --service-deployment-arn @deployment", want: "error: ConflictException"},
		{args: "ecs stop-service-deployment --service-deployment-arn arn:none", want: "error: ServiceDeploymentNotFoundException"},
		{args: "ecs list-service-deployments --cluster main --service web --query serviceDeployments[].status", want: "ROLLBACK_SUCCESSFUL\tSUCCESSFUL"},
	})
}

func TestCLIDaemons(t *testing.T) {
	t.Parallel()
	m, c, _, v := cliCluster(t)
	const arn = "arn:aws:ecs:us-east-1:111111111111:"
	v["definition"], v["daemon"], v["provider"] = arn+"daemon-task-definition/agent", arn+"daemon/main/agent", arn+"capacity-provider/managed"
	v["cluster"] = arn + "cluster/main"
	v["containers"] = `[{"name":"c","image":"` + appURI + `:latest","memory":64}]`
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecs register-daemon-task-definition --family agent --container-definitions @containers --query daemonTaskDefinitionArn", want: "@definition:1"},
		{args: "ecs register-daemon-task-definition --family agent --container-definitions @containers --query daemonTaskDefinitionArn", want: "@definition:2"},
		{args: "ecs describe-daemon-task-definition --daemon-task-definition agent --query daemonTaskDefinition.[revision,status,containerDefinitions[0].image]", want: "2\tACTIVE\t@app:latest"},
		{args: "ecs describe-daemon-task-definition --daemon-task-definition none", want: "error: ClientException"},
		{args: "ecs create-daemon --cluster-arn @cluster --daemon-name agent --daemon-task-definition-arn @definition:1 --capacity-provider-arns @provider --query [daemonArn,status]", want: "@daemon\tACTIVE"},
		{args: "ecs list-daemons --cluster-arn @cluster --max-results 1 --query daemonSummariesList[].daemonArn", want: "@daemon"},
		{args: "ecs list-daemons --cluster-arn " + arn + "cluster/none", want: "error: ClusterNotFoundException"},
		{args: "ecs describe-daemon --daemon-arn @daemon --query daemon.currentRevisions[].totalRunningCount", want: "1"},
		{args: "ecs describe-daemon --daemon-arn @daemon-none", want: "error: DaemonNotFoundException"},
		{args: "ecs list-tasks --cluster main --daemon-name agent --query length(taskArns)", want: "1"},
		{args: "ecs update-daemon --daemon-arn @daemon --daemon-task-definition-arn @definition:2 --capacity-provider-arns @provider --deployment-configuration bakeTimeInMinutes=10 --query status", want: "ACTIVE"},
		{args: "ecs list-daemon-deployments --daemon-arn @daemon --query daemonDeployments[].status", want: "IN_PROGRESS\tSUCCESSFUL"},
		{args: "ecs delete-daemon-task-definition --daemon-task-definition agent:2 --query daemonTaskDefinitionArn", want: "@definition:2"},
		{args: "ecs list-daemon-task-definitions --max-results 1 --query daemonTaskDefinitions[].[arn,status]", want: "@definition:1\tACTIVE"},
	})
	if t.Failed() || t.Skipped() {
		return
	}
	out, err := c.DescribeDaemon(t.Context(), &ecs.DescribeDaemonInput{DaemonArn: aws.String(v["daemon"])})
	if err != nil {
		t.Fatal(err)
	}
	v["revision"], v["deployment"] = *out.Daemon.CurrentRevisions[0].Arn, *out.Daemon.DeploymentArn
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecs describe-daemon-revisions --daemon-revision-arns @revision arn:none --query [daemonRevisions[].containerImages[].[image,imageDigest],failures[].reason]", want: "@app:latest\t@d1\nMISSING"},
		{args: "ecs describe-daemon-deployments --daemon-deployment-arns @deployment --query daemonDeployments[].[status,length(sourceDaemonRevisions),targetDaemonRevision.arn]", want: "IN_PROGRESS\t1\t@revision"},
		{args: "ecs delete-daemon --daemon-arn @daemon --query status", want: "DELETE_IN_PROGRESS"},
		{args: "ecs list-daemons --cluster-arn @cluster --query daemonSummariesList", want: ""},
	})
}

func TestCLIExpressServices(t *testing.T) {
	t.Parallel()
	m, _, r, v := cliCluster(t)
	v["role"], v["container"] = "arn:aws:iam::111111111111:role/r", `{"image":"`+appURI+`:latest"}`
	v["arn"] = "arn:aws:ecs:us-east-1:111111111111:service/main/site"
	r.push(v["v2"], "v2")
	v["newer"] = `{"image":"` + appURI + `:v2"}`
	runCLI(t, m, "us-east-1", v, []cliStep{
		{args: "ecs create-express-gateway-service --cluster main --service-name site --infrastructure-role-arn @role --execution-role-arn @role --primary-container @container --query service.[serviceArn,status.statusCode]", want: "@arn\tACTIVE"},
		{args: "ecs list-services --cluster main --resource-management-type ECS --query serviceArns", want: "@arn"},
		{args: "ecs list-services --cluster main --resource-management-type CUSTOMER --query serviceArns", want: ""},
		{args: "ecs describe-services --cluster main --services site --query services[].[resourceManagementType,runningCount,taskDefinition]", want: "ECS\t1\t@td/main-site:1"},
		{args: "ecs update-express-gateway-service --service-arn @arn --primary-container @newer --query service.targetConfiguration.primaryContainer.image", want: "@app:v2"},
		{args: "ecs describe-express-gateway-service --service-arn @arn --query service.activeConfigurations[].primaryContainer.image", want: "@app:v2"},
		{args: "ecs describe-express-gateway-service --service-arn @arn-none", want: "error: ResourceNotFoundException"},
		{args: "ecs delete-express-gateway-service --service-arn @arn --query service.status.statusCode", want: "INACTIVE"},
		{args: "ecs describe-express-gateway-service --service-arn @arn", want: "error: ResourceNotFoundException"},
	})
}
