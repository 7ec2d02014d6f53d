package scan

import (
	"context"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"

	"demurrage/internal/image"
)

// CodeBuild publishes no rates.
var codebuildAll = bucket{name: "everything", rate: 10, burst: 20, adapt: true}

var codebuildOps = map[string]bucket{
	"ListProjects":     codebuildAll,
	"BatchGetProjects": codebuildAll,
}

const batchGetProjectsBatch = 100 // and the length of a page

type codebuildAPI interface {
	codebuild.ListProjectsAPIClient
	BatchGetProjects(context.Context, *codebuild.BatchGetProjectsInput, ...func(*codebuild.Options)) (*codebuild.BatchGetProjectsOutput, error)
}

// batchImage finds in a buildspec, which is YAML or JSON, the images that the builds of a batch have: what stands under
// the key image, or is the whole of a list's item. What its commands pull and push is not meant.
//
// https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build-buildspec.html
var batchImage = regexp.MustCompile(`(?im)(?:image["']?\s*:\s*\[?\s*|^\s*-\s+|[\[,]\s*)["']?([0-9]{12}\.dkr[.-]ecr[^\s"',\]}$]+)["']?\s*(?:[,\]}#]|$)`)

// scanCodeBuild looks at the images that projects build in. A build that is running has pulled its image already.
func scanCodeBuild(ctx context.Context, w *work) {
	var api codebuildAPI = codebuild.NewFromConfig(w.cfg)
	listed, _ := codebuildProjects(ctx, w, api)
	var missing []string
	for names := range slices.Chunk(listed, batchGetProjectsBatch) {
		out, err := api.BatchGetProjects(ctx, &codebuild.BatchGetProjectsInput{Names: names})
		if err != nil {
			w.fail("BatchGetProjects", names[0], err)
			continue
		}
		answered := make(map[string]bool)
		for i := range out.Projects {
			p := &out.Projects[i]
			answered[aws.ToString(p.Name)] = true
			if p.Environment == nil {
				w.fail("BatchGetProjects", aws.ToString(p.Arn), errNoAnswer)
				continue
			}
			use := image.Use{Source: "codebuild-project", Resource: aws.ToString(p.Arn), Detail: "build environment", Live: true}
			w.use("BatchGetProjects", use, aws.ToString(p.Environment.Image), "")
			if p.Source != nil {
				use.Detail = "build environment of a batch"
				for _, found := range batchImage.FindAllStringSubmatch(aws.ToString(p.Source.Buildspec), -1) {
					w.use("BatchGetProjects", use, found[1], "")
				}
			}
		}
		for _, name := range names {
			if !answered[name] { // named in projectsNotFound, or not at all
				missing = append(missing, name)
			}
		}
	}
	if len(missing) == 0 {
		return
	}
	still, complete := codebuildProjects(ctx, w, api)
	for _, name := range missing {
		if !complete || slices.Contains(still, name) { // else it was deleted meanwhile
			w.fail("BatchGetProjects", name, errNoAnswer)
		}
	}
}

func codebuildProjects(ctx context.Context, w *work, api codebuildAPI) (names []string, complete bool) {
	for out, err := range pages(ctx, codebuild.NewListProjectsPaginator(api, &codebuild.ListProjectsInput{})) {
		if err != nil {
			w.fail("ListProjects", "", err)
			return names, false
		}
		names = append(names, out.Projects...)
	}
	return names, true
}
