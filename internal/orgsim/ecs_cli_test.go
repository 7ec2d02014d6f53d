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
	out, err := ecs.NewFromConfig(steady(m.as(accountA))).DescribeTaskSets(t.Context(), &ecs.DescribeTaskSetsInput{Cluster: aws.String("main"), Service: aws.String("ext")})
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
