package orgsim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/gamelift"
	"github.com/aws/aws-sdk-go-v2/service/gamelift/types"
)

type gameliftState struct {
	definitions map[string][]types.ContainerGroupDefinition // by name, in order of version
	fleets      shelf[types.ContainerFleet]
}

// gameliftService is GameLift's container fleets, which are there at once. The Go SDK speaks to it in CBOR, the aws CLI
// in JSON.
func gameliftService() *service {
	s := &service{name: "gamelift", protocol: json11, targetPrefix: "GameLift", badParameter: "InvalidRequestException"}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for _, versions := range r.gamelift.definitions {
			for _, d := range versions {
				if d.GameServerContainerDefinition != nil {
					use(aws.ToString(d.GameServerContainerDefinition.ImageUri), aws.ToString(d.GameServerContainerDefinition.ResolvedImageDigest), *d.ContainerGroupDefinitionArn)
				}
				for _, x := range d.SupportContainerDefinitions {
					use(aws.ToString(x.ImageUri), aws.ToString(x.ResolvedImageDigest), *d.ContainerGroupDefinitionArn)
				}
			}
		}
	}
	resolve := func(c *Call, uri *string) *string {
		if ref, ok := parseImageRef(aws.ToString(uri)); ok {
			if _, im := c.Server.locate(ref); im != nil {
				return new(im.digest.String())
			}
		}
		return nil
	}
	add := func(c *Call, name string, server *types.GameServerContainerDefinitionInput, support []types.SupportContainerDefinitionInput) types.ContainerGroupDefinition {
		g := &c.home().gamelift
		version := int32(len(g.definitions[name]) + 1)
		d := types.ContainerGroupDefinition{Name: &name, VersionNumber: &version, Status: types.ContainerGroupDefinitionStatusReady,
			ContainerGroupType:          types.ContainerGroupTypeGameServer,
			ContainerGroupDefinitionArn: new(c.arn("gamelift", fmt.Sprintf("containergroupdefinition/%s:%d", name, version)))}
		if server != nil {
			d.GameServerContainerDefinition = &types.GameServerContainerDefinition{ContainerName: server.ContainerName, ImageUri: server.ImageUri,
				ServerSdkVersion: server.ServerSdkVersion, ResolvedImageDigest: resolve(c, server.ImageUri)}
		}
		for _, x := range support {
			d.SupportContainerDefinitions = append(d.SupportContainerDefinitions, types.SupportContainerDefinition{ContainerName: x.ContainerName,
				ImageUri: x.ImageUri, ResolvedImageDigest: resolve(c, x.ImageUri)})
		}
		if g.definitions == nil {
			g.definitions = make(map[string][]types.ContainerGroupDefinition)
		}
		g.definitions[name] = append(slices.Clip(g.definitions[name]), d)
		return d
	}
	op(s, "CreateContainerGroupDefinition", func(c *Call, in *gamelift.CreateContainerGroupDefinitionInput) (*gamelift.CreateContainerGroupDefinitionOutput, error) {
		if len(c.home().gamelift.definitions[aws.ToString(in.Name)]) > 0 {
			return nil, errorf("ConflictException", "%s exists", *in.Name)
		}
		d := add(c, aws.ToString(in.Name), in.GameServerContainerDefinition, in.SupportContainerDefinitions)
		return &gamelift.CreateContainerGroupDefinitionOutput{ContainerGroupDefinition: &d}, nil
	})
	op(s, "UpdateContainerGroupDefinition", func(c *Call, in *gamelift.UpdateContainerGroupDefinitionInput) (*gamelift.UpdateContainerGroupDefinitionOutput, error) {
		if len(c.home().gamelift.definitions[aws.ToString(in.Name)]) == 0 {
			return nil, errorf("NotFoundException", "%s does not exist", aws.ToString(in.Name))
		}
		d := add(c, *in.Name, in.GameServerContainerDefinition, in.SupportContainerDefinitions)
		return &gamelift.UpdateContainerGroupDefinitionOutput{ContainerGroupDefinition: &d}, nil
	})
	op(s, "ListContainerGroupDefinitions", func(c *Call, in *gamelift.ListContainerGroupDefinitionsInput) (*gamelift.ListContainerGroupDefinitionsOutput, error) {
		var list []types.ContainerGroupDefinition
		for _, name := range sortedNames(c.home().gamelift.definitions) {
			versions := c.home().gamelift.definitions[name]
			list = append(list, versions[len(versions)-1])
		}
		list, next, err := page(list, in.Limit, 10, 10, in.NextToken)
		return &gamelift.ListContainerGroupDefinitionsOutput{ContainerGroupDefinitions: list, NextToken: next}, err
	})
	op(s, "ListContainerGroupDefinitionVersions", func(c *Call, in *gamelift.ListContainerGroupDefinitionVersionsInput) (*gamelift.ListContainerGroupDefinitionVersionsOutput, error) {
		versions := c.home().gamelift.definitions[aws.ToString(in.Name)]
		if len(versions) == 0 {
			return nil, errorf("NotFoundException", "%s does not exist", aws.ToString(in.Name))
		}
		list, next, err := page(versions, in.Limit, 10, 10, in.NextToken)
		return &gamelift.ListContainerGroupDefinitionVersionsOutput{ContainerGroupDefinitions: list, NextToken: next}, err
	})
	op(s, "CreateContainerFleet", func(c *Call, in *gamelift.CreateContainerFleetInput) (*gamelift.CreateContainerFleetOutput, error) {
		id := fmt.Sprintf("containerfleet-%012d", len(c.home().gamelift.fleets.items)+1)
		f := types.ContainerFleet{FleetId: &id, FleetArn: new(c.arn("gamelift", "containerfleet/"+id)), Status: types.ContainerFleetStatusActive}
		if name := aws.ToString(in.GameServerContainerGroupDefinitionName); name != "" {
			name, _, _ = strings.Cut(name, ":")
			versions := c.home().gamelift.definitions[name]
			if len(versions) == 0 {
				return nil, errorf("NotFoundException", "%s does not exist", name)
			}
			f.GameServerContainerGroupDefinitionName, f.GameServerContainerGroupDefinitionArn = &name, versions[len(versions)-1].ContainerGroupDefinitionArn
		}
		c.home().gamelift.fleets.put(id, f)
		return &gamelift.CreateContainerFleetOutput{ContainerFleet: &f}, nil
	})
	op(s, "ListContainerFleets", func(c *Call, in *gamelift.ListContainerFleetsInput) (*gamelift.ListContainerFleetsOutput, error) {
		list, next, err := page(c.home().gamelift.fleets.all(), in.Limit, 10, 10, in.NextToken)
		return &gamelift.ListContainerFleetsOutput{ContainerFleets: list, NextToken: next}, err
	})
	return s
}
