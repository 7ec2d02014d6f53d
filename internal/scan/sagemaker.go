package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
	"github.com/aws/smithy-go"

	"demurrage/internal/image"
)

// SageMaker publishes no rates for these.
var sagemakerAll = bucket{name: "everything", rate: 10, burst: 20, adapt: true}

var sagemakerOps = map[string]bucket{
	"ListModels": sagemakerAll, "DescribeModel": sagemakerAll,
	"ListEndpoints": sagemakerAll, "DescribeEndpoint": sagemakerAll,
	"ListInferenceComponents": sagemakerAll, "DescribeInferenceComponent": sagemakerAll,
	"ListImages": sagemakerAll, "ListImageVersions": sagemakerAll, "DescribeImageVersion": sagemakerAll,
	"ListModelPackageGroups": sagemakerAll, "ListModelPackages": sagemakerAll, "DescribeModelPackage": sagemakerAll,
	"ListAlgorithms": sagemakerAll, "DescribeAlgorithm": sagemakerAll,
	"ListTrainingJobs": sagemakerAll, "DescribeTrainingJob": sagemakerAll,
	"ListProcessingJobs": sagemakerAll, "DescribeProcessingJob": sagemakerAll,
	"ListHyperParameterTuningJobs": sagemakerAll, "DescribeHyperParameterTuningJob": sagemakerAll,
	"ListMonitoringSchedules": sagemakerAll, "DescribeMonitoringSchedule": sagemakerAll,
	"ListDataQualityJobDefinitions": sagemakerAll, "DescribeDataQualityJobDefinition": sagemakerAll,
	"ListModelQualityJobDefinitions": sagemakerAll, "DescribeModelQualityJobDefinition": sagemakerAll,
	"ListModelBiasJobDefinitions": sagemakerAll, "DescribeModelBiasJobDefinition": sagemakerAll,
	"ListModelExplainabilityJobDefinitions": sagemakerAll, "DescribeModelExplainabilityJobDefinition": sagemakerAll,
	"ListPipelines": sagemakerAll, "DescribePipeline": sagemakerAll,
}

const sagemakerPage = 100

// sagemakerKind is one kind of resource of SageMaker that can name an image: how to list those there are, and how to
// ask for one. Whatever image the answer names counts.
type sagemakerKind struct {
	source string // of its uses
	list   string // operations
	read   string
	names  func(ctx context.Context, each func(arn, name string)) error
	// describe asks for one by its name, or by its ARN where it has no name.
	describe func(ctx context.Context, arn, name string) (any, error)
}

// scanSageMaker looks at everything in SageMaker that names an image and that something can be started from, or is
// running. Jobs that have ended are history.
func scanSageMaker(ctx context.Context, w *work) {
	client := sagemaker.NewFromConfig(w.cfg)
	kinds := sagemakerKinds(client)
	each(ctx, w, 4, slices.Values(kinds), func(k sagemakerKind) {
		type resource struct{ arn, name string }
		var found []resource
		if err := k.names(ctx, func(arn, name string) { found = append(found, resource{arn, name}) }); err != nil {
			op := k.list
			if failed, ok := errors.AsType[*smithy.OperationError](err); ok {
				op = failed.OperationName // of several lists that lead to the names
			}
			w.fail(op, "", err)
		}
		each(ctx, w, 2, slices.Values(found), func(r resource) {
			out, err := k.describe(ctx, r.arn, r.name)
			if err != nil {
				if !sagemakerGone(err) {
					w.fail(k.read, r.arn, err)
				}
				return
			}
			w.images(k.read, image.Use{Source: k.source, Resource: r.arn, Live: true}, out)
		})
	})
}

// sagemakerGone: what was listed and is not there any more was deleted meanwhile. SageMaker says so in two ways.
//
// https://docs.aws.amazon.com/sagemaker/latest/APIReference/CommonErrors.html
func sagemakerGone(err error) bool {
	if errorCode(err) == (&types.ResourceNotFound{}).ErrorCode() {
		return true
	}
	return errorCode(err) == "ValidationException" && (strings.Contains(err.Error(), "Could not find") || strings.Contains(err.Error(), "does not exist"))
}

// listed goes through the pages of one of SageMaker's lists.
func listed[O, P any](ctx context.Context, p paginator[O, P], take func(*O)) error {
	for out, err := range pages(ctx, p) {
		if err != nil {
			return err
		}
		take(out)
	}
	return nil
}

// sagemakerKinds is the table of what is looked at.
func sagemakerKinds(c *sagemaker.Client) []sagemakerKind {
	kinds := []sagemakerKind{
		{"sagemaker-model", "ListModels", "DescribeModel",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListModelsPaginator(c, &sagemaker.ListModelsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListModelsOutput) {
					for i := range out.Models {
						each(aws.ToString(out.Models[i].ModelArn), aws.ToString(out.Models[i].ModelName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeModel(ctx, &sagemaker.DescribeModelInput{ModelName: &name})
			},
		},
		{"sagemaker-endpoint", "ListEndpoints", "DescribeEndpoint",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListEndpointsPaginator(c, &sagemaker.ListEndpointsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListEndpointsOutput) {
					for i := range out.Endpoints {
						each(aws.ToString(out.Endpoints[i].EndpointArn), aws.ToString(out.Endpoints[i].EndpointName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeEndpoint(ctx, &sagemaker.DescribeEndpointInput{EndpointName: &name})
			},
		},
		{"sagemaker-inference-component", "ListInferenceComponents", "DescribeInferenceComponent",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListInferenceComponentsPaginator(c, &sagemaker.ListInferenceComponentsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListInferenceComponentsOutput) {
					for i := range out.InferenceComponents {
						each(aws.ToString(out.InferenceComponents[i].InferenceComponentArn), aws.ToString(out.InferenceComponents[i].InferenceComponentName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeInferenceComponent(ctx, &sagemaker.DescribeInferenceComponentInput{InferenceComponentName: &name})
			},
		},
		{"sagemaker-algorithm", "ListAlgorithms", "DescribeAlgorithm",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListAlgorithmsPaginator(c, &sagemaker.ListAlgorithmsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListAlgorithmsOutput) {
					for i := range out.AlgorithmSummaryList {
						each(aws.ToString(out.AlgorithmSummaryList[i].AlgorithmArn), aws.ToString(out.AlgorithmSummaryList[i].AlgorithmName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeAlgorithm(ctx, &sagemaker.DescribeAlgorithmInput{AlgorithmName: &name})
			},
		},
		{"sagemaker-monitoring-schedule", "ListMonitoringSchedules", "DescribeMonitoringSchedule",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListMonitoringSchedulesPaginator(c, &sagemaker.ListMonitoringSchedulesInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListMonitoringSchedulesOutput) {
					for i := range out.MonitoringScheduleSummaries {
						each(aws.ToString(out.MonitoringScheduleSummaries[i].MonitoringScheduleArn), aws.ToString(out.MonitoringScheduleSummaries[i].MonitoringScheduleName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeMonitoringSchedule(ctx, &sagemaker.DescribeMonitoringScheduleInput{MonitoringScheduleName: &name})
			},
		},
		{"sagemaker-pipeline", "ListPipelines", "DescribePipeline",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListPipelinesPaginator(c, &sagemaker.ListPipelinesInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListPipelinesOutput) {
					for i := range out.PipelineSummaries {
						each(aws.ToString(out.PipelineSummaries[i].PipelineArn), aws.ToString(out.PipelineSummaries[i].PipelineName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribePipeline(ctx, &sagemaker.DescribePipelineInput{PipelineName: &name})
			},
		},
		{"sagemaker-job-definition", "ListDataQualityJobDefinitions", "DescribeDataQualityJobDefinition",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListDataQualityJobDefinitionsPaginator(c, &sagemaker.ListDataQualityJobDefinitionsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListDataQualityJobDefinitionsOutput) {
					for i := range out.JobDefinitionSummaries {
						each(aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionArn), aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeDataQualityJobDefinition(ctx, &sagemaker.DescribeDataQualityJobDefinitionInput{JobDefinitionName: &name})
			},
		},
		{"sagemaker-job-definition", "ListModelQualityJobDefinitions", "DescribeModelQualityJobDefinition",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListModelQualityJobDefinitionsPaginator(c, &sagemaker.ListModelQualityJobDefinitionsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListModelQualityJobDefinitionsOutput) {
					for i := range out.JobDefinitionSummaries {
						each(aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionArn), aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeModelQualityJobDefinition(ctx, &sagemaker.DescribeModelQualityJobDefinitionInput{JobDefinitionName: &name})
			},
		},
		{"sagemaker-job-definition", "ListModelBiasJobDefinitions", "DescribeModelBiasJobDefinition",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListModelBiasJobDefinitionsPaginator(c, &sagemaker.ListModelBiasJobDefinitionsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListModelBiasJobDefinitionsOutput) {
					for i := range out.JobDefinitionSummaries {
						each(aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionArn), aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeModelBiasJobDefinition(ctx, &sagemaker.DescribeModelBiasJobDefinitionInput{JobDefinitionName: &name})
			},
		},
		{"sagemaker-job-definition", "ListModelExplainabilityJobDefinitions", "DescribeModelExplainabilityJobDefinition",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListModelExplainabilityJobDefinitionsPaginator(c, &sagemaker.ListModelExplainabilityJobDefinitionsInput{MaxResults: aws.Int32(sagemakerPage)})
				return listed(ctx, p, func(out *sagemaker.ListModelExplainabilityJobDefinitionsOutput) {
					for i := range out.JobDefinitionSummaries {
						each(aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionArn), aws.ToString(out.JobDefinitionSummaries[i].MonitoringJobDefinitionName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeModelExplainabilityJobDefinition(ctx, &sagemaker.DescribeModelExplainabilityJobDefinitionInput{JobDefinitionName: &name})
			},
		},
	}
	kinds = append(kinds, sagemakerPackages(c), sagemakerImages(c))
	for _, status := range []types.TrainingJobStatus{types.TrainingJobStatusInProgress, types.TrainingJobStatusStopping} {
		kinds = append(kinds, sagemakerKind{"sagemaker-training-job", "ListTrainingJobs", "DescribeTrainingJob",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListTrainingJobsPaginator(c, &sagemaker.ListTrainingJobsInput{MaxResults: aws.Int32(sagemakerPage), StatusEquals: status})
				return listed(ctx, p, func(out *sagemaker.ListTrainingJobsOutput) {
					for i := range out.TrainingJobSummaries {
						each(aws.ToString(out.TrainingJobSummaries[i].TrainingJobArn), aws.ToString(out.TrainingJobSummaries[i].TrainingJobName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeTrainingJob(ctx, &sagemaker.DescribeTrainingJobInput{TrainingJobName: &name})
			},
		})
	}
	for _, status := range []types.ProcessingJobStatus{types.ProcessingJobStatusInProgress, types.ProcessingJobStatusStopping} {
		kinds = append(kinds, sagemakerKind{"sagemaker-processing-job", "ListProcessingJobs", "DescribeProcessingJob",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListProcessingJobsPaginator(c, &sagemaker.ListProcessingJobsInput{MaxResults: aws.Int32(sagemakerPage), StatusEquals: status})
				return listed(ctx, p, func(out *sagemaker.ListProcessingJobsOutput) {
					for i := range out.ProcessingJobSummaries {
						each(aws.ToString(out.ProcessingJobSummaries[i].ProcessingJobArn), aws.ToString(out.ProcessingJobSummaries[i].ProcessingJobName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeProcessingJob(ctx, &sagemaker.DescribeProcessingJobInput{ProcessingJobName: &name})
			},
		})
	}
	for _, status := range []types.HyperParameterTuningJobStatus{types.HyperParameterTuningJobStatusInProgress, types.HyperParameterTuningJobStatusStopping} {
		kinds = append(kinds, sagemakerKind{"sagemaker-tuning-job", "ListHyperParameterTuningJobs", "DescribeHyperParameterTuningJob",
			func(ctx context.Context, each func(arn, name string)) error {
				p := sagemaker.NewListHyperParameterTuningJobsPaginator(c, &sagemaker.ListHyperParameterTuningJobsInput{MaxResults: aws.Int32(sagemakerPage), StatusEquals: status})
				return listed(ctx, p, func(out *sagemaker.ListHyperParameterTuningJobsOutput) {
					for i := range out.HyperParameterTuningJobSummaries {
						each(aws.ToString(out.HyperParameterTuningJobSummaries[i].HyperParameterTuningJobArn), aws.ToString(out.HyperParameterTuningJobSummaries[i].HyperParameterTuningJobName))
					}
				})
			},
			func(ctx context.Context, _, name string) (any, error) {
				return c.DescribeHyperParameterTuningJob(ctx, &sagemaker.DescribeHyperParameterTuningJobInput{HyperParameterTuningJobName: &name})
			},
		})
	}
	return kinds
}

// sagemakerPackages are model packages, of groups and without: versions are approved and deployed long after they were
// made.
func sagemakerPackages(c *sagemaker.Client) sagemakerKind {
	return sagemakerKind{"sagemaker-model-package", "ListModelPackages", "DescribeModelPackage",
		func(ctx context.Context, each func(arn, name string)) error {
			take := func(out *sagemaker.ListModelPackagesOutput) {
				for i := range out.ModelPackageSummaryList {
					each(aws.ToString(out.ModelPackageSummaryList[i].ModelPackageArn), "")
				}
			}
			alone := sagemaker.NewListModelPackagesPaginator(c, &sagemaker.ListModelPackagesInput{
				ModelPackageType: types.ModelPackageTypeUnversioned, MaxResults: aws.Int32(sagemakerPage),
			})
			if err := listed(ctx, alone, take); err != nil {
				return err
			}
			groups := sagemaker.NewListModelPackageGroupsPaginator(c, &sagemaker.ListModelPackageGroupsInput{MaxResults: aws.Int32(sagemakerPage)})
			var names []string
			err := listed(ctx, groups, func(out *sagemaker.ListModelPackageGroupsOutput) {
				for i := range out.ModelPackageGroupSummaryList {
					names = append(names, aws.ToString(out.ModelPackageGroupSummaryList[i].ModelPackageGroupName))
				}
			})
			for _, name := range names {
				versions := sagemaker.NewListModelPackagesPaginator(c, &sagemaker.ListModelPackagesInput{
					ModelPackageGroupName: &name, MaxResults: aws.Int32(sagemakerPage),
				})
				if err := listed(ctx, versions, take); err != nil && !sagemakerGone(err) {
					return err
				}
			}
			return err
		},
		func(ctx context.Context, arn, _ string) (any, error) {
			return c.DescribeModelPackage(ctx, &sagemaker.DescribeModelPackageInput{ModelPackageName: &arn})
		},
	}
}

// sagemakerImages are the versions of images that notebooks and Studio's applications run in.
func sagemakerImages(c *sagemaker.Client) sagemakerKind {
	return sagemakerKind{"sagemaker-image-version", "ListImageVersions", "DescribeImageVersion",
		func(ctx context.Context, each func(arn, name string)) error {
			var names []string
			images := sagemaker.NewListImagesPaginator(c, &sagemaker.ListImagesInput{MaxResults: aws.Int32(sagemakerPage)})
			err := listed(ctx, images, func(out *sagemaker.ListImagesOutput) {
				for i := range out.Images {
					names = append(names, aws.ToString(out.Images[i].ImageName))
				}
			})
			for _, name := range names {
				versions := sagemaker.NewListImageVersionsPaginator(c, &sagemaker.ListImageVersionsInput{ImageName: &name, MaxResults: aws.Int32(sagemakerPage)})
				if err := listed(ctx, versions, func(out *sagemaker.ListImageVersionsOutput) {
					for i := range out.ImageVersions {
						each(aws.ToString(out.ImageVersions[i].ImageVersionArn), name)
					}
				}); err != nil && !sagemakerGone(err) {
					return err
				}
			}
			return err
		},
		func(ctx context.Context, arn, name string) (any, error) {
			number, err := strconv.ParseInt(arn[strings.LastIndexByte(arn, '/')+1:], 10, 32)
			if err != nil {
				return nil, fmt.Errorf("version of an image: %w", err)
			}
			return c.DescribeImageVersion(ctx, &sagemaker.DescribeImageVersionInput{ImageName: &name, Version: aws.Int32(int32(number))})
		},
	}
}
