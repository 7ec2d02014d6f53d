package scan

import (
	"context"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder"
	"github.com/aws/aws-sdk-go-v2/service/imagebuilder/types"

	"demurrage/internal/image"
)

// https://docs.aws.amazon.com/general/latest/gr/imagebuilder.html
var imagebuilderAll = bucket{name: "everything", rate: 10, burst: 20, adapt: true}

var imagebuilderOps = map[string]bucket{
	"ListContainerRecipes": imagebuilderAll,
	"GetContainerRecipe":   imagebuilderAll,
}

// Every region that had it in 2026: https://docs.aws.amazon.com/general/latest/gr/imagebuilder.html
var imagebuilderRegions []string

const imagebuilderPage = 25

type imagebuilderAPI interface {
	imagebuilder.ListContainerRecipesAPIClient
	GetContainerRecipe(context.Context, *imagebuilder.GetContainerRecipeInput, ...func(*imagebuilder.Options)) (*imagebuilder.GetContainerRecipeOutput, error)
}

// scanImageBuilder looks at what container recipes build upon: their parent image and what their Dockerfile names. The
// images that were built are nobody's use.
//
// https://docs.aws.amazon.com/imagebuilder/latest/userguide/create-container-recipes.html
func scanImageBuilder(ctx context.Context, w *work) {
	var api imagebuilderAPI = imagebuilder.NewFromConfig(w.cfg)
	var arns []string
	for out, err := range pages(ctx, imagebuilder.NewListContainerRecipesPaginator(api,
		&imagebuilder.ListContainerRecipesInput{Owner: types.OwnershipSelf, MaxResults: aws.Int32(imagebuilderPage)})) {
		if err != nil {
			w.fail("ListContainerRecipes", "", err)
			break
		}
		for i := range out.ContainerRecipeSummaryList {
			arns = append(arns, aws.ToString(out.ContainerRecipeSummaryList[i].Arn))
		}
	}
	each(ctx, w, 4, slices.Values(arns), func(arn string) {
		const op = "GetContainerRecipe"
		out, err := api.GetContainerRecipe(ctx, &imagebuilder.GetContainerRecipeInput{ContainerRecipeArn: &arn})
		switch {
		case errorCode(err) == (&types.ResourceNotFoundException{}).ErrorCode(): // deleted meanwhile
		case err != nil:
			w.fail(op, arn, err)
		case out.ContainerRecipe == nil:
			w.fail(op, arn, errNoAnswer)
		default:
			w.images(op, image.Use{Source: "imagebuilder-container-recipe", Resource: arn, Live: true}, out.ContainerRecipe)
		}
	})
}
