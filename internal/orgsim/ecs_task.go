package orgsim

import (
	"cmp"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// stoppedTaskLife is how long a stopped task can be listed and described.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
const stoppedTaskLife = time.Hour

// ecsTask is a task; fleet is what keeps it running, nil for one that RunTask started.
type ecsTask struct {
	types.Task
	id    string
	fleet *ecsFleet
}

func (t *ecsTask) stopped() bool { return t.StoppedAt != nil }

// gone reports whether a stopped task is no longer to be seen.
func (t *ecsTask) gone(now time.Time) bool {
	return t.stopped() && now.Sub(*t.StoppedAt) >= stoppedTaskLife
}

func addECSTaskOps(s *service) {
	op(s, "RunTask", runTask)
	op(s, "StopTask", stopTask, resource(func(c *Call, in *ecs.StopTaskInput) []string {
		return []string{c.taskARN(in.Cluster, aws.ToString(in.Task))}
	}))
	op(s, "ListTasks", listTasks, settles())
	op(s, "DescribeTasks", describeTasks, settles(), resource(func(c *Call, in *ecs.DescribeTasksInput) []string {
		var arns []string
		for _, t := range in.Tasks {
			arns = append(arns, c.taskARN(in.Cluster, t))
		}
		return arns
	}))
}

// taskARN is the ARN of a task that a request names by id or ARN.
func (c *Call) taskARN(cluster *string, task string) string {
	if strings.HasPrefix(task, "arn:") {
		return task
	}
	return c.ecsARN("task", clusterName(cluster), task)
}

// containerImages resolves the images of a task definition's containers to digests: what a deployment pins. An
// image that cannot be resolved, and a container that opted out of version consistency, have none.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html#deployment-container-image-stability
func (c *Call) containerImages(td *types.TaskDefinition) []types.ContainerImage {
	images := make([]types.ContainerImage, len(td.ContainerDefinitions))
	for i, cd := range td.ContainerDefinitions {
		images[i] = types.ContainerImage{ContainerName: cd.Name, Image: cd.Image}
		if cd.VersionConsistency == types.VersionConsistencyDisabled {
			continue
		}
		if digest, _, err := c.imageToRun(*cd.Image, "", td); err == nil {
			images[i].ImageDigest = &digest
		}
	}
	return images
}

// imageToRun resolves the image of a container, or takes the digest that was pinned for it. The digest of an
// image that is in no private registry is made up from its name. pulled moves the pull times.
func (c *Call) imageToRun(image, pinned string, td *types.TaskDefinition) (digest string, pulled func(), err error) {
	ref := image
	if parsed, ok := parseImageRef(image); ok && pinned != "" {
		ref = ecrHost(parsed.account, parsed.region) + "/" + parsed.repository + "@" + pinned
	}
	r, im, err := c.resolveImage(ref, aws.ToString(td.ExecutionRoleArn))
	if err != nil {
		return "", nil, err
	}
	if im == nil {
		if _, d, ok := strings.Cut(image, "@"); ok {
			return d, func() {}, nil
		}
		return imageDigest(sha256.Sum256([]byte(image))).String(), func() {}, nil
	}
	arch := "amd64"
	if td.RuntimePlatform != nil && td.RuntimePlatform.CpuArchitecture == types.CPUArchitectureArm64 {
		arch = "arm64"
	}
	return im.digest.String(), func() {
		if !c.Server.regionOf(r.account, r.region).ecr.excluded(aws.ToString(td.ExecutionRoleArn)) {
			r.markPulled(im, arch, c.Now)
		}
	}, nil
}

// taskSpec says what to start a task for.
type taskSpec struct {
	group, startedBy string
	launchType       types.LaunchType
	pinned           []types.ContainerImage // by container of the task definition; nil: resolve now
	overrides        *types.TaskOverride
	fleet            *ecsFleet
	tags             []types.Tag
}

// startTask runs a task. If one of its images cannot be pulled it is stopped at once, and its containers have no
// digests.
func (c *Call) startTask(cl *ecsCluster, td *types.TaskDefinition, spec taskSpec) *ecsTask {
	e := &c.home().ecs
	id := e.id(c)
	t := &ecsTask{id: id, fleet: spec.fleet, Task: types.Task{
		AvailabilityZone:  new(c.Region + "a"),
		ClusterArn:        new(cl.arn),
		Connectivity:      types.ConnectivityConnected,
		ConnectivityAt:    new(c.Now),
		Cpu:               new(cmp.Or(aws.ToString(td.Cpu), "256")),
		CreatedAt:         new(c.Now),
		DesiredStatus:     new("RUNNING"),
		Group:             new(cmp.Or(spec.group, "family:"+*td.Family)),
		HealthStatus:      types.HealthStatusUnknown,
		LastStatus:        new("RUNNING"),
		LaunchType:        spec.launchType,
		Memory:            new(cmp.Or(aws.ToString(td.Memory), "512")),
		Overrides:         spec.overrides,
		PullStartedAt:     new(c.Now),
		PullStoppedAt:     new(c.Now),
		StartedAt:         new(c.Now),
		TaskArn:           new(c.ecsARN("task", cl.name, id)),
		TaskDefinitionArn: td.TaskDefinitionArn,
		Version:           1,
	}}
	if spec.startedBy != "" {
		t.StartedBy = &spec.startedBy
	}
	if t.Overrides == nil {
		t.Overrides = &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{}}
	}

	var failure error
	var pulls []func()
	for i, cd := range td.ContainerDefinitions {
		ct := types.Container{
			ContainerArn: new(c.ecsARN("container", cl.name, id, e.id(c))),
			Cpu:          new(strconv.Itoa(int(cd.Cpu))),
			HealthStatus: types.HealthStatusUnknown,
			Image:        cd.Image,
			LastStatus:   new("RUNNING"),
			Name:         cd.Name,
			TaskArn:      t.TaskArn,
		}
		if cd.Memory != nil {
			ct.Memory = new(strconv.Itoa(int(*cd.Memory)))
		}
		if cd.MemoryReservation != nil {
			ct.MemoryReservation = new(strconv.Itoa(int(*cd.MemoryReservation)))
		}
		var pinned string
		if spec.pinned != nil {
			pinned = aws.ToString(spec.pinned[i].ImageDigest)
		}
		digest, pulled, err := c.imageToRun(*cd.Image, pinned, td)
		if err != nil {
			failure = cmp.Or(failure, err)
			ct.Reason = new("CannotPullContainerError: " + err.Error())
		} else {
			ct.ImageDigest = &digest
			ct.RuntimeId = new(id + "-" + strconv.Itoa(i))
			pulls = append(pulls, pulled)
		}
		t.Containers = append(t.Containers, ct)
	}
	cl.sweep(c.Now)
	cl.tasks = append(cl.tasks, t)
	cl.byID[id] = t
	e.setTags(*t.TaskArn, spec.tags)
	if failure != nil {
		for i := range t.Containers {
			t.Containers[i].ImageDigest, t.Containers[i].RuntimeId = nil, nil
		}
		t.StartedAt, t.PullStoppedAt = nil, nil
		t.stop(c, types.TaskStopCodeTaskFailedToStart, "CannotPullContainerError: "+failure.Error())
		return t
	}
	for _, pulled := range pulls {
		pulled()
	}
	return t
}

// stop ends a task; it goes on being listed as STOPPED for an hour.
func (t *ecsTask) stop(c *Call, code types.TaskStopCode, reason string) {
	t.DesiredStatus, t.LastStatus = new("STOPPED"), new("STOPPED")
	t.StopCode, t.StoppedReason = code, &reason
	t.StoppingAt, t.StoppedAt, t.ExecutionStoppedAt = new(c.Now), new(c.Now), new(c.Now)
	t.Version++
	t.Containers = slices.Clone(t.Containers)
	for i := range t.Containers {
		t.Containers[i].LastStatus = new("STOPPED")
		if t.StartedAt != nil {
			t.Containers[i].ExitCode = new(int32(0))
		}
	}
}

// sweep forgets tasks that can no longer be seen; rarely, so that starting n tasks takes O(n).
func (cl *ecsCluster) sweep(now time.Time) {
	if len(cl.tasks) < 2*cl.swept+64 {
		return
	}
	cl.tasks = slices.DeleteFunc(cl.tasks, func(t *ecsTask) bool {
		if t.gone(now) {
			delete(cl.byID, t.id)
			return true
		}
		return false
	})
	cl.swept = len(cl.tasks)
}

func (cl *ecsCluster) task(ref string, now time.Time) *ecsTask {
	t := cl.byID[lastSegment(ref)]
	if t == nil || t.gone(now) || strings.HasPrefix(ref, "arn:") && *t.TaskArn != ref {
		return nil
	}
	return t
}

func runTask(c *Call, in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	count := aws.ToInt32(cmp.Or(in.Count, new(int32(1))))
	if count < 1 || count > 10 {
		return nil, invalidParameter("Count should be between 1 and 10.")
	}
	td, err := c.runnableTaskDefinition(in.TaskDefinition)
	if err != nil {
		return nil, err
	}
	out := &ecs.RunTaskOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	images := c.containerImages(td)
	for range count {
		t := c.startTask(cl, td, taskSpec{
			group:      aws.ToString(in.Group),
			startedBy:  aws.ToString(in.StartedBy),
			launchType: launchType(in.LaunchType, in.CapacityProviderStrategy),
			pinned:     images,
			overrides:  in.Overrides,
			tags:       in.Tags,
		})
		out.Tasks = append(out.Tasks, t.Task)
	}
	return out, nil
}

// launchType is EC2 unless the request says otherwise.
func launchType(lt types.LaunchType, providers []types.CapacityProviderStrategyItem) types.LaunchType {
	if lt == "" && len(providers) == 0 {
		return types.LaunchTypeEc2
	}
	return lt
}

func stopTask(c *Call, in *ecs.StopTaskInput) (*ecs.StopTaskOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	t := cl.task(aws.ToString(in.Task), c.Now)
	if t == nil {
		return nil, invalidParameter("The referenced task was not found.")
	}
	if !t.stopped() {
		t.stop(c, types.TaskStopCodeUserInitiated, cmp.Or(aws.ToString(in.Reason), "Task stopped by user"))
		if t.fleet != nil {
			t.fleet.keep(c, t.fleet.desired) // the scheduler replaces it
		}
	}
	return &ecs.StopTaskOutput{Task: new(t.Task)}, nil
}

func listTasks(c *Call, in *ecs.ListTasksInput) (*ecs.ListTasksOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	status := string(cmp.Or(in.DesiredStatus, types.DesiredStatusRunning))
	var group string
	switch {
	case in.DaemonName != nil:
		group = "daemon:" + *in.DaemonName
	case in.ServiceName != nil:
		s, err := cl.activeService(in.ServiceName)
		if err != nil {
			return nil, err
		}
		group = "service:" + s.name
	}
	c.settleECS()
	arns := []string{}
	for _, t := range cl.tasks {
		switch {
		case t.gone(c.Now), *t.DesiredStatus != status,
			group != "" && *t.Group != group,
			in.LaunchType != "" && t.LaunchType != in.LaunchType,
			in.StartedBy != nil && aws.ToString(t.StartedBy) != *in.StartedBy,
			in.Family != nil && familyOf(*t.TaskDefinitionArn) != *in.Family,
			in.ContainerInstance != nil: // they are not simulated
			continue
		}
		arns = append(arns, *t.TaskArn)
	}
	arns, next, err := page(arns, in.MaxResults, 100, 100, in.NextToken)
	return &ecs.ListTasksOutput{TaskArns: arns, NextToken: next}, err
}

// familyOf is the family in a task definition's ARN.
func familyOf(arn string) string {
	family, _, _ := strings.Cut(lastSegment(arn), ":")
	return family
}

func describeTasks(c *Call, in *ecs.DescribeTasksInput) (*ecs.DescribeTasksOutput, error) {
	cl, err := c.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if len(in.Tasks) < 1 || len(in.Tasks) > 100 {
		return nil, invalidParameter("Tasks must have between 1 and 100 entries.")
	}
	c.settleECS()
	out := &ecs.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	for _, ref := range in.Tasks {
		t := cl.task(ref, c.Now)
		if t == nil {
			out.Failures = append(out.Failures, missing(c.taskARN(in.Cluster, ref)))
			continue
		}
		d := t.Task
		if slices.Contains(in.Include, types.TaskFieldTags) {
			d.Tags = c.home().ecs.tags[*t.TaskArn]
		}
		out.Tasks = append(out.Tasks, d)
	}
	return out, nil
}
