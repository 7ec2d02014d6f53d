package orgsim

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// ecsState is Amazon ECS of one account in one region. What answers share with the state (slices, pointers) is
// replaced when it changes, never written into.
type ecsState struct {
	clusters    map[string]*ecsCluster
	families    map[string]*ecsFamily
	revisions   map[string]*types.ServiceRevision   // by ARN
	deployments map[string]*types.ServiceDeployment // by ARN
	tags        map[string][]types.Tag              // by ARN, of everything that can be tagged
	serial      uint64                              // of the last id

	baking map[*ecsServiceState]bool // services whose deployment is watched for a while

	daemonFamilies    map[string][]*types.DaemonTaskDefinition // revision N is at N-1
	daemonRevisions   map[string]*types.DaemonRevision         // by ARN
	daemonDeployments map[string]*types.DaemonDeployment       // by ARN
	bakingDaemons     map[*ecsDaemon]bool
}

func ecsService() *service {
	s := &service{
		name:         "ecs",
		protocol:     json11,
		targetPrefix: "AmazonEC2ContainerServiceV20141113",
		lowerCamel:   true,
	}
	addECSClusterOps(s)
	addECSTaskDefinitionOps(s)
	addECSTaskOps(s)
	addECSServiceOps(s)
	addECSDeploymentOps(s)
	addECSDaemonOps(s)
	addECSExpressOps(s)
	addECSTaskSetOps(s)
	op(s, "TagResource", tagECSResource)
	op(s, "UntagResource", untagECSResource)
	op(s, "ListTagsForResource", listECSTags)
	return s
}

// arn of an ECS resource in the caller's account and region.
func (c *Call) ecsARN(parts ...string) string {
	return "arn:" + c.Partition + ":ecs:" + c.Region + ":" + c.Account + ":" + strings.Join(parts, "/")
}

// id makes the next identifier: 32 hexadecimal digits, the same in every run.
func (e *ecsState) id(c *Call) string {
	sum := e.sum(c)
	return hex.EncodeToString(sum[:16])
}

// number makes the next identifier of 19 digits, as deployments and revisions have.
func (e *ecsState) number(c *Call) string {
	sum := e.sum(c)
	return fmt.Sprintf("%019d", 1e18+binary.BigEndian.Uint64(sum[:])%uint64(8e18))
}

func (e *ecsState) sum(c *Call) [sha256.Size]byte {
	e.serial++
	return sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", c.Account, c.Region, e.serial))
}

// lastSegment is the name in an ARN, or the name itself.
func lastSegment(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }

func invalidParameter(format string, args ...any) error {
	return errorf("InvalidParameterException", format, args...)
}

func (e *ecsState) setTags(arn string, tags []types.Tag) {
	if e.tags == nil {
		e.tags = make(map[string][]types.Tag)
	}
	merged := make(map[string]types.Tag)
	for _, t := range slices.Concat(e.tags[arn], tags) {
		merged[aws.ToString(t.Key)] = t
	}
	out := make([]types.Tag, 0, len(merged))
	for _, k := range slices.Sorted(maps.Keys(merged)) {
		out = append(out, merged[k])
	}
	e.tags[arn] = out
}

func (e *ecsState) taggable(arn *string) error {
	if _, ok := e.tags[aws.ToString(arn)]; !ok {
		return invalidParameter("The specified resource could not be found: %s", aws.ToString(arn))
	}
	return nil
}

func tagECSResource(c *Call, in *ecs.TagResourceInput) (*ecs.TagResourceOutput, error) {
	e := &c.home().ecs
	if err := e.taggable(in.ResourceArn); err != nil {
		return nil, err
	}
	e.setTags(*in.ResourceArn, in.Tags)
	return &ecs.TagResourceOutput{}, nil
}

func untagECSResource(c *Call, in *ecs.UntagResourceInput) (*ecs.UntagResourceOutput, error) {
	e := &c.home().ecs
	if err := e.taggable(in.ResourceArn); err != nil {
		return nil, err
	}
	e.tags[*in.ResourceArn] = slices.DeleteFunc(slices.Clone(e.tags[*in.ResourceArn]), func(t types.Tag) bool {
		return slices.Contains(in.TagKeys, *t.Key)
	})
	return &ecs.UntagResourceOutput{}, nil
}

func listECSTags(c *Call, in *ecs.ListTagsForResourceInput) (*ecs.ListTagsForResourceOutput, error) {
	e := &c.home().ecs
	if err := e.taggable(in.ResourceArn); err != nil {
		return nil, err
	}
	return &ecs.ListTagsForResourceOutput{Tags: e.tags[*in.ResourceArn]}, nil
}
