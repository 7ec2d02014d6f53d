package orgsim

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"
)

type imageBuilderState struct {
	recipes shelf[types.ContainerRecipe] // by ARN
}

// imageBuilderService is EC2 Image Builder's container recipes, which are not built.
func imageBuilderService() *service {
	s := &service{name: "imagebuilder", protocol: restJSON, lowerCamel: true, badParameter: "InvalidPaginationTokenException"}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for arn, recipe := range r.imageBuilder.recipes.items {
			use(aws.ToString(recipe.ParentImage), "", arn)
		}
	}
	op(s, "CreateContainerRecipe", func(c *Call, in *imagebuilder.CreateContainerRecipeInput) (*imagebuilder.CreateContainerRecipeOutput, error) {
		arn := c.arn("imagebuilder", fmt.Sprintf("container-recipe/%s/%s", aws.ToString(in.Name), aws.ToString(in.SemanticVersion)))
		if _, ok := c.home().imageBuilder.recipes.get(arn); ok {
			return nil, errorf("ResourceAlreadyExistsException", "%s already exists", arn)
		}
		c.home().imageBuilder.recipes.put(arn, types.ContainerRecipe{Arn: &arn, Name: in.Name, Version: in.SemanticVersion, ContainerType: in.ContainerType,
			ParentImage: in.ParentImage, DockerfileTemplateData: in.DockerfileTemplateData, TargetRepository: in.TargetRepository, Components: in.Components,
			Owner: &c.Account})
		return &imagebuilder.CreateContainerRecipeOutput{ContainerRecipeArn: &arn, ClientToken: in.ClientToken}, nil
	}, route("PUT", "/CreateContainerRecipe", 200))
	op(s, "DeleteContainerRecipe", func(c *Call, in *imagebuilder.DeleteContainerRecipeInput) (*imagebuilder.DeleteContainerRecipeOutput, error) {
		c.home().imageBuilder.recipes.drop(aws.ToString(in.ContainerRecipeArn))
		return &imagebuilder.DeleteContainerRecipeOutput{ContainerRecipeArn: in.ContainerRecipeArn}, nil
	}, route("DELETE", "/DeleteContainerRecipe", 200, "ContainerRecipeArn"))
	op(s, "GetContainerRecipe", func(c *Call, in *imagebuilder.GetContainerRecipeInput) (*imagebuilder.GetContainerRecipeOutput, error) {
		r, ok := c.home().imageBuilder.recipes.get(aws.ToString(in.ContainerRecipeArn))
		if !ok {
			return nil, errorf("ResourceNotFoundException", "The resource with ARN %s does not exist", aws.ToString(in.ContainerRecipeArn))
		}
		return &imagebuilder.GetContainerRecipeOutput{ContainerRecipe: &r}, nil
	}, route("GET", "/GetContainerRecipe", 200, "ContainerRecipeArn"))
	op(s, "ListContainerRecipes", func(c *Call, in *imagebuilder.ListContainerRecipesInput) (*imagebuilder.ListContainerRecipesOutput, error) {
		var list []types.ContainerRecipeSummary
		for _, r := range c.home().imageBuilder.recipes.all() {
			list = append(list, types.ContainerRecipeSummary{Arn: r.Arn, Name: r.Name, ParentImage: r.ParentImage, ContainerType: r.ContainerType, Owner: r.Owner})
		}
		list, next, err := page(list, in.MaxResults, 25, 25, in.NextToken)
		return &imagebuilder.ListContainerRecipesOutput{ContainerRecipeSummaryList: list, NextToken: next}, err
	}, route("POST", "/ListContainerRecipes", 200))
	return s
}
