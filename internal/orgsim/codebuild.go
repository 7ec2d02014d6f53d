package orgsim

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/codebuild"
	"github.com/aws/aws-sdk-go-v2/service/codebuild/types"
)

type codebuildState struct {
	projects shelf[types.Project]
}

// codebuildService is CodeBuild without builds.
func codebuildService() *service {
	s := &service{name: "codebuild", protocol: json11, targetPrefix: "CodeBuild_20161006", lowerCamel: true, badParameter: "InvalidInputException"}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for _, p := range r.codebuild.projects.all() {
			use(aws.ToString(p.Environment.Image), "", *p.Arn)
		}
	}
	op(s, "CreateProject", func(c *Call, in *codebuild.CreateProjectInput) (*codebuild.CreateProjectOutput, error) {
		name := aws.ToString(in.Name)
		if _, ok := c.home().codebuild.projects.get(name); ok {
			return nil, errorf("ResourceAlreadyExistsException", "Project already exists: %s", c.arn("codebuild", "project/"+name))
		}
		if in.Environment == nil {
			return nil, errorf("InvalidInputException", "Project environment is required")
		}
		p := types.Project{Arn: new(c.arn("codebuild", "project/"+name)), Name: in.Name, Environment: in.Environment, Source: in.Source,
			Artifacts: in.Artifacts, ServiceRole: in.ServiceRole, Created: new(c.Now), LastModified: new(c.Now)}
		c.home().codebuild.projects.put(name, p)
		return &codebuild.CreateProjectOutput{Project: &p}, nil
	})
	op(s, "DeleteProject", func(c *Call, in *codebuild.DeleteProjectInput) (*codebuild.DeleteProjectOutput, error) {
		c.home().codebuild.projects.drop(aws.ToString(in.Name))
		return &codebuild.DeleteProjectOutput{}, nil
	})
	op(s, "ListProjects", func(c *Call, in *codebuild.ListProjectsInput) (*codebuild.ListProjectsOutput, error) {
		list, next, err := page(c.home().codebuild.projects.sorted(), nil, 100, 100, in.NextToken)
		return &codebuild.ListProjectsOutput{Projects: list, NextToken: next}, err
	})
	op(s, "BatchGetProjects", func(c *Call, in *codebuild.BatchGetProjectsInput) (*codebuild.BatchGetProjectsOutput, error) {
		if len(in.Names) > 100 {
			return nil, errorf("InvalidInputException", "Invalid project names: at most 100")
		}
		out := &codebuild.BatchGetProjectsOutput{Projects: []types.Project{}, ProjectsNotFound: []string{}}
		for _, name := range in.Names {
			if p, ok := c.home().codebuild.projects.get(name); ok {
				out.Projects = append(out.Projects, p)
			} else {
				out.ProjectsNotFound = append(out.ProjectsNotFound, name)
			}
		}
		return out, nil
	})
	return s
}
