package orgsim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// usedDigests are those that a user needs, by the simulation's own knowledge.
func (m *sim) usedDigests(user string) []string {
	var got []string
	for key, users := range m.InUse() {
		if slices.ContainsFunc(users, func(arn string) bool { return strings.Contains(arn, user) }) {
			got = append(got, key[strings.IndexByte(key, '@')+1:])
		}
	}
	return got
}

// TestDeploymentsOverlap: two revisions run or are needed until a deployment is complete, and one does when it is, or
// when it was rolled back.
func TestDeploymentsOverlap(t *testing.T) {
	t.Parallel()
	bake := aws.Int32(10)
	breaker := func(rollback bool) *types.DeploymentConfiguration {
		return &types.DeploymentConfiguration{DeploymentCircuitBreaker: &types.DeploymentCircuitBreaker{Enable: true, Rollback: rollback}}
	}
	for _, tt := range []struct {
		name   string
		config *types.DeploymentConfiguration
		fails  bool // the new tasks cannot start
		status types.ServiceDeploymentStatus
		runs   []string // "old", "new"
		later  types.ServiceDeploymentStatus
	}{
		{"at once", nil, false, "SUCCESSFUL", []string{"new"}, "SUCCESSFUL"},
		{"bake time of a rolling one without alarms", &types.DeploymentConfiguration{BakeTimeInMinutes: bake}, false, "SUCCESSFUL", []string{"new"}, "SUCCESSFUL"},
		{"alarms", &types.DeploymentConfiguration{Alarms: &types.DeploymentAlarms{Enable: true, AlarmNames: []string{"errors"}}}, false, "IN_PROGRESS", []string{"new"}, "SUCCESSFUL"},
		{"blue/green", &types.DeploymentConfiguration{Strategy: types.DeploymentStrategyBlueGreen, BakeTimeInMinutes: bake}, false, "IN_PROGRESS", []string{"new", "old"}, "SUCCESSFUL"},
		{"failing", nil, true, "IN_PROGRESS", []string{"old"}, "IN_PROGRESS"},
		{"broken", breaker(false), true, "STOPPED", []string{"old"}, "STOPPED"},
		{"broken, rolled back", breaker(true), true, "ROLLBACK_SUCCESSFUL", []string{"old"}, "ROLLBACK_SUCCESSFUL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newSim(t)
			now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
			m.SetClock(now)
			r := m.repository(m.as(accountA), "app")
			digests := map[string]string{r.push(manifestOf("v1"), "v1"): "old", r.push(manifestOf("v2"), "v2"): "new"}
			c := m.cluster(m.as(accountA))
			c.create(&ecs.CreateServiceInput{ServiceName: aws.String("web"), TaskDefinition: aws.String(c.register("web", appURI+":v1")), DesiredCount: aws.Int32(1)})
			images := []string{appURI + ":v2"}
			if tt.fails {
				images = append(images, appURI+":none")
			}
			s := c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), TaskDefinition: aws.String(c.register("web", images...)), DeploymentConfiguration: tt.config})
			status := func() types.ServiceDeploymentStatus {
				out, err := c.DescribeServiceDeployments(t.Context(), &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{*s.CurrentServiceDeployment}})
				if err != nil || len(out.ServiceDeployments) != 1 {
					t.Fatal(out, err)
				}
				return out.ServiceDeployments[0].Status
			}
			if got := status(); got != tt.status {
				t.Errorf("status %s, want %s", got, tt.status)
			}
			var runs []string
			for _, d := range c.digests("web") {
				runs = append(runs, digests[d])
			}
			if slices.Sort(runs); !slices.Equal(runs, tt.runs) {
				t.Errorf("it runs %v, want %v", runs, tt.runs)
			}
			var needed []string
			for _, d := range m.usedDigests("service/main/web") {
				needed = append(needed, digests[d])
			}
			if slices.Sort(needed); tt.status == "IN_PROGRESS" && len(needed) != 2 || !slices.Contains(needed, tt.runs[0]) {
				t.Errorf("it needs %v", needed)
			}
			m.SetClock(now.Add(time.Hour))
			if got := status(); got != tt.later {
				t.Errorf("an hour later: %s, want %s", got, tt.later)
			}
			if d := c.describe("web").Deployments; tt.later == "SUCCESSFUL" && (len(d) != 1 || d[0].RolloutState != types.DeploymentRolloutStateCompleted) {
				t.Errorf("an hour later: %+v", d)
			}
		})
	}
}

// TestRollbackWaitsForItsTasks: it ends when they can be started.
func TestRollbackWaitsForItsTasks(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	old := r.push(manifestOf("v1"), "v1")
	r.push(manifestOf("v2"), "v2")
	c := m.cluster(m.as(accountA))
	c.create(&ecs.CreateServiceInput{
		ServiceName: aws.String("web"), TaskDefinition: aws.String(c.register("web", appURI+":v1")), DesiredCount: aws.Int32(1),
		DeploymentConfiguration: &types.DeploymentConfiguration{Alarms: &types.DeploymentAlarms{Enable: true, AlarmNames: []string{"errors"}}},
	})
	s := c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), TaskDefinition: aws.String(c.register("web", appURI+":v2"))})
	r.delete(byDigest(old))
	stop := &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: s.CurrentServiceDeployment}
	if _, err := c.StopServiceDeployment(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		d := c.describe("web").Deployments
		return string(d[0].RolloutState) + " " + *d[0].TaskDefinition
	}
	if got := state(); !strings.HasPrefix(got, "IN_PROGRESS") || !strings.HasSuffix(got, "web:1") {
		t.Errorf("without the image: %s", got)
	}
	r.push(manifestOf("v1"), "v1")
	c.update(&ecs.UpdateServiceInput{Service: aws.String("web"), DesiredCount: aws.Int32(1)})
	if got := state(); !strings.HasPrefix(got, "COMPLETED") || !strings.HasSuffix(got, "web:1") {
		t.Errorf("with the image: %s", got)
	}
	if _, err := c.StopServiceDeployment(t.Context(), stop); err == nil {
		t.Error("what is complete could be stopped")
	}
}

// TestDaemonRollsBack if its tasks cannot start.
func TestDaemonRollsBack(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	digest := r.push(manifestOf("v1"), "v1")
	c := m.cluster(m.as(accountA))
	provider := []string{"arn:aws:ecs:us-east-1:" + accountA + ":capacity-provider/managed"}
	register := func(image string) *string {
		out, err := c.RegisterDaemonTaskDefinition(t.Context(), &ecs.RegisterDaemonTaskDefinitionInput{
			Family: aws.String("agent"), ContainerDefinitions: []types.DaemonContainerDefinition{{Name: aws.String("c"), Image: &image}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.DaemonTaskDefinitionArn
	}
	d, err := c.CreateDaemon(t.Context(), &ecs.CreateDaemonInput{
		ClusterArn: aws.String("main"), DaemonName: aws.String("agent"), DaemonTaskDefinitionArn: register(appURI + ":v1"), CapacityProviderArns: provider,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateDaemon(t.Context(), &ecs.UpdateDaemonInput{DaemonArn: d.DaemonArn, DaemonTaskDefinitionArn: register(appURI + ":none"), CapacityProviderArns: provider}); err != nil {
		t.Fatal(err)
	}
	list, err := c.ListDaemonDeployments(t.Context(), &ecs.ListDaemonDeploymentsInput{DaemonArn: d.DaemonArn})
	if err != nil || len(list.DaemonDeployments) != 2 || list.DaemonDeployments[0].Status != types.DaemonDeploymentStatusRollbackSuccessful {
		t.Fatalf("deployments %+v, %v", list, err)
	}
	if got := m.usedDigests("daemon/main/agent"); !slices.Equal(got, []string{digest}) {
		t.Errorf("it needs %v", got)
	}
}
