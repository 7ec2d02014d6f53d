package orgsim

import (
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsCluster holds services and tasks. A deleted one stays as INACTIVE, as AWS keeps it for a while.
type ecsCluster struct {
	name, arn string
	active    bool
	services  map[string]*ecsServiceState
	daemons   map[string]*ecsDaemon
	tasks     []*ecsTask // in the order they started
	byID      map[string]*ecsTask
	swept     int // tasks left after the last sweep of those long stopped
}

func addECSClusterOps(s *service) {
	op(s, "CreateCluster", createCluster)
	op(s, "DeleteCluster", deleteCluster)
	op(s, "ListClusters", listClusters)
	op(s, "DescribeClusters", describeClusters, resource(func(c *Call, in *ecs.DescribeClustersInput) []string {
		var arns []string
		for _, name := range in.Clusters {
			arns = append(arns, c.clusterARN(name))
		}
		return arns
	}))
}

// clusterName reads a short name or ARN; none is "default".
func clusterName(ref *string) string {
	if aws.ToString(ref) == "" {
		return "default"
	}
	return lastSegment(*ref)
}

func (c *Call) clusterARN(name string) string {
	if strings.HasPrefix(name, "arn:") {
		return name
	}
	return c.ecsARN("cluster", name)
}

// cluster finds the active cluster that a request names.
func (c *Call) cluster(ref *string) (*ecsCluster, error) {
	cl := c.home().ecs.clusters[clusterName(ref)]
	if cl == nil || !cl.active || strings.HasPrefix(aws.ToString(ref), "arn:") && *ref != cl.arn {
		return nil, errorf("ClusterNotFoundException", "Cluster not found.")
	}
	return cl, nil
}

func createCluster(c *Call, in *ecs.CreateClusterInput) (*ecs.CreateClusterOutput, error) {
	e := &c.home().ecs
	name := clusterName(in.ClusterName)
	cl := e.clusters[name]
	if cl == nil || !cl.active {
		cl = &ecsCluster{
			name: name, arn: c.ecsARN("cluster", name), active: true,
			services: make(map[string]*ecsServiceState),
			daemons:  make(map[string]*ecsDaemon),
			byID:     make(map[string]*ecsTask),
		}
		if e.clusters == nil {
			e.clusters = make(map[string]*ecsCluster)
		}
		e.clusters[name] = cl
		delete(e.tags, cl.arn)
		e.setTags(cl.arn, in.Tags)
	}
	return &ecs.CreateClusterOutput{Cluster: new(cl.describe(e))}, nil
}

func deleteCluster(c *Call, in *ecs.DeleteClusterInput) (*ecs.DeleteClusterOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	for _, s := range cl.services {
		if s.active {
			return nil, errorf("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
		}
	}
	for _, t := range cl.tasks {
		if !t.stopped() {
			return nil, errorf("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
		}
	}
	cl.active = false
	return &ecs.DeleteClusterOutput{Cluster: new(cl.describe(&c.home().ecs))}, nil
}

func listClusters(c *Call, in *ecs.ListClustersInput) (*ecs.ListClustersOutput, error) {
	e := &c.home().ecs
	arns := []string{}
	for _, name := range slices.Sorted(maps.Keys(e.clusters)) {
		if cl := e.clusters[name]; cl.active {
			arns = append(arns, cl.arn)
		}
	}
	arns, next, err := page(arns, in.MaxResults, 100, 100, in.NextToken)
	return &ecs.ListClustersOutput{ClusterArns: arns, NextToken: next}, err
}

func describeClusters(c *Call, in *ecs.DescribeClustersInput) (*ecs.DescribeClustersOutput, error) {
	e := &c.home().ecs
	names := in.Clusters
	if len(names) == 0 {
		names = []string{"default"}
	}
	if len(names) > 100 {
		return nil, invalidParameter("Clusters cannot be longer than 100.")
	}
	out := &ecs.DescribeClustersOutput{Clusters: []types.Cluster{}, Failures: []types.Failure{}}
	for _, name := range names {
		cl := e.clusters[lastSegment(name)]
		if arn := c.clusterARN(name); cl == nil || cl.arn != arn {
			out.Failures = append(out.Failures, missing(arn))
			continue
		}
		d := cl.describe(e)
		if !slices.Contains(in.Include, types.ClusterFieldTags) {
			d.Tags = nil
		}
		out.Clusters = append(out.Clusters, d)
	}
	return out, nil
}

func missing(arn string) types.Failure {
	return types.Failure{Arn: &arn, Reason: new("MISSING")}
}

func (cl *ecsCluster) describe(e *ecsState) types.Cluster {
	d := types.Cluster{
		ClusterArn:  new(cl.arn),
		ClusterName: new(cl.name),
		Status:      new("INACTIVE"),
		Tags:        e.tags[cl.arn],
	}
	if cl.active {
		d.Status = new("ACTIVE")
	}
	for _, s := range cl.services {
		if s.active {
			d.ActiveServicesCount++
		}
	}
	for _, t := range cl.tasks {
		if !t.stopped() {
			d.RunningTasksCount++
		}
	}
	return d
}
