package main

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	codebuildtypes "github.com/aws/aws-sdk-go-v2/service/codebuild/types"
)

// TestBatchBuilds: the builds of a batch can each have an image of their own, which the project's buildspec names.
//
// https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build-buildspec.html
func TestBatchBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	image := func(repository string) string { return host(virginia) + "/" + repository + ":v1" }
	used := map[string]string{}
	for repository, spec := range map[string]string{
		"build-list":   "version: 0.2\nbatch:\n  build-list:\n    - identifier: a\n      env:\n        image: " + image("build-list") + "\n",
		"quoted":       "version: 0.2\nbatch:\n  build-graph:\n    - env: {compute-type: BUILD_GENERAL1_SMALL, image: \"" + image("quoted") + "\"}\n      identifier: a\n",
		"build-matrix": "version: 0.2\nbatch:\n  build-matrix:\n    dynamic:\n      env:\n        image:\n          - " + image("build-matrix") + "\n          - 'aws/codebuild/standard:7.0'\n",
		"json":         `{"version": 0.2, "batch": {"build-list": [{"identifier": "a", "env": {"image": "` + image("json") + `"}}]}}`,
		"pushed":       "version: 0.2\nphases:\n  build:\n    commands:\n      - docker push " + host(virginia) + "/pushed:$TAG\n",
	} {
		w.share(virginia, repository)
		used[repository] = w.push(accountA, virginia, repository, "in use", "v1")
		done(codebuild.NewFromConfig(w.as(accountB, virginia)).CreateProject(t.Context(), &codebuild.CreateProjectInput{
			Name: &repository, ServiceRole: new(someRole), Source: &codebuildtypes.ProjectSource{Type: codebuildtypes.SourceTypeNoSource, Buildspec: &spec},
			Artifacts: &codebuildtypes.ProjectArtifacts{Type: codebuildtypes.ArtifactsTypeNoArtifacts},
			Environment: &codebuildtypes.ProjectEnvironment{Image: new("aws/codebuild/standard:7.0"), Type: codebuildtypes.EnvironmentTypeLinuxContainer,
				ComputeType: codebuildtypes.ComputeTypeBuildGeneral1Small},
		}))(w)
	}
	p := w.plan(0)
	for repository, digest := range used {
		want := "keep"
		if repository == "pushed" { // what a build makes it does not use
			want = "delete"
		}
		if img := p.image(repository, digest); img.Action != want {
			t.Errorf("%s: %q instead of %s: %+v", repository, img.Action, want, img.Reasons)
		}
	}
}
