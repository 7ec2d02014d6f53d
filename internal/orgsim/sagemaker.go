package orgsim

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

type sagemakerState struct {
	kinds map[string]*shelf[reflect.Value] // by kind ("Model"): pointers to what Describe answers
}

// shelf is that of a kind, to read; keep puts something on it.
func (s *sagemakerState) shelf(kind string) *shelf[reflect.Value] {
	if k := s.kinds[kind]; k != nil {
		return k
	}
	return &shelf[reflect.Value]{}
}

func (s *sagemakerState) keep(kind, name string, v reflect.Value) {
	if s.kinds == nil {
		s.kinds = make(map[string]*shelf[reflect.Value])
	}
	if s.kinds[kind] == nil {
		s.kinds[kind] = &shelf[reflect.Value]{}
	}
	s.kinds[kind].put(name, v)
}

// sagemakerService is SageMaker as a register of resources: what is created is described with the same fields, and
// nothing runs but endpoints, which resolve the images of their models at once, and jobs, which never end.
func sagemakerService() *service {
	s := &service{name: "sagemaker", protocol: json11, targetPrefix: "SageMaker", badParameter: "ValidationException"}
	s.uses = func(r *region, use func(image, digest, arn string)) {
		for kind, shelf := range r.sagemaker.kinds {
			for _, v := range shelf.items {
				arn := textOf(v, sagemakerField(kind, "Arn"))
				eachString(v, func(text string) {
					if strings.Contains(text, ".dkr.") {
						use(text, "", arn)
					}
				})
			}
		}
	}
	sagemakerKind[sagemaker.CreateModelInput, sagemaker.CreateModelOutput, sagemaker.DescribeModelInput, sagemaker.DescribeModelOutput,
		sagemaker.ListModelsInput, sagemaker.ListModelsOutput](s, "Model", "model/", "Models")
	sagemakerKind[sagemaker.CreateEndpointConfigInput, sagemaker.CreateEndpointConfigOutput, sagemaker.DescribeEndpointConfigInput,
		sagemaker.DescribeEndpointConfigOutput, sagemaker.ListEndpointConfigsInput, sagemaker.ListEndpointConfigsOutput](s, "EndpointConfig", "endpoint-config/", "EndpointConfigs")
	sagemakerKind[sagemaker.CreateInferenceComponentInput, sagemaker.CreateInferenceComponentOutput, sagemaker.DescribeInferenceComponentInput,
		sagemaker.DescribeInferenceComponentOutput, sagemaker.ListInferenceComponentsInput, sagemaker.ListInferenceComponentsOutput](s, "InferenceComponent", "inference-component/", "InferenceComponents")
	sagemakerKind[sagemaker.CreateAlgorithmInput, sagemaker.CreateAlgorithmOutput, sagemaker.DescribeAlgorithmInput, sagemaker.DescribeAlgorithmOutput,
		sagemaker.ListAlgorithmsInput, sagemaker.ListAlgorithmsOutput](s, "Algorithm", "algorithm/", "AlgorithmSummaryList")
	sagemakerKind[sagemaker.CreateMonitoringScheduleInput, sagemaker.CreateMonitoringScheduleOutput, sagemaker.DescribeMonitoringScheduleInput,
		sagemaker.DescribeMonitoringScheduleOutput, sagemaker.ListMonitoringSchedulesInput, sagemaker.ListMonitoringSchedulesOutput](s, "MonitoringSchedule", "monitoring-schedule/", "MonitoringScheduleSummaries")
	sagemakerKind[sagemaker.CreatePipelineInput, sagemaker.CreatePipelineOutput, sagemaker.DescribePipelineInput, sagemaker.DescribePipelineOutput,
		sagemaker.ListPipelinesInput, sagemaker.ListPipelinesOutput](s, "Pipeline", "pipeline/", "PipelineSummaries")
	sagemakerKind[sagemaker.CreateDataQualityJobDefinitionInput, sagemaker.CreateDataQualityJobDefinitionOutput, sagemaker.DescribeDataQualityJobDefinitionInput,
		sagemaker.DescribeDataQualityJobDefinitionOutput, sagemaker.ListDataQualityJobDefinitionsInput, sagemaker.ListDataQualityJobDefinitionsOutput](s, "DataQualityJobDefinition", "data-quality-job-definition/", "JobDefinitionSummaries")
	sagemakerKind[sagemaker.CreateModelQualityJobDefinitionInput, sagemaker.CreateModelQualityJobDefinitionOutput, sagemaker.DescribeModelQualityJobDefinitionInput,
		sagemaker.DescribeModelQualityJobDefinitionOutput, sagemaker.ListModelQualityJobDefinitionsInput, sagemaker.ListModelQualityJobDefinitionsOutput](s, "ModelQualityJobDefinition", "model-quality-job-definition/", "JobDefinitionSummaries")
	sagemakerKind[sagemaker.CreateModelBiasJobDefinitionInput, sagemaker.CreateModelBiasJobDefinitionOutput, sagemaker.DescribeModelBiasJobDefinitionInput,
		sagemaker.DescribeModelBiasJobDefinitionOutput, sagemaker.ListModelBiasJobDefinitionsInput, sagemaker.ListModelBiasJobDefinitionsOutput](s, "ModelBiasJobDefinition", "model-bias-job-definition/", "JobDefinitionSummaries")
	sagemakerKind[sagemaker.CreateModelExplainabilityJobDefinitionInput, sagemaker.CreateModelExplainabilityJobDefinitionOutput, sagemaker.DescribeModelExplainabilityJobDefinitionInput,
		sagemaker.DescribeModelExplainabilityJobDefinitionOutput, sagemaker.ListModelExplainabilityJobDefinitionsInput, sagemaker.ListModelExplainabilityJobDefinitionsOutput](s, "ModelExplainabilityJobDefinition", "model-explainability-job-definition/", "JobDefinitionSummaries")
	sagemakerKind[sagemaker.CreateTrainingJobInput, sagemaker.CreateTrainingJobOutput, sagemaker.DescribeTrainingJobInput, sagemaker.DescribeTrainingJobOutput,
		sagemaker.ListTrainingJobsInput, sagemaker.ListTrainingJobsOutput](s, "TrainingJob", "training-job/", "TrainingJobSummaries")
	sagemakerKind[sagemaker.CreateProcessingJobInput, sagemaker.CreateProcessingJobOutput, sagemaker.DescribeProcessingJobInput, sagemaker.DescribeProcessingJobOutput,
		sagemaker.ListProcessingJobsInput, sagemaker.ListProcessingJobsOutput](s, "ProcessingJob", "processing-job/", "ProcessingJobSummaries")
	sagemakerKind[sagemaker.CreateHyperParameterTuningJobInput, sagemaker.CreateHyperParameterTuningJobOutput, sagemaker.DescribeHyperParameterTuningJobInput,
		sagemaker.DescribeHyperParameterTuningJobOutput, sagemaker.ListHyperParameterTuningJobsInput, sagemaker.ListHyperParameterTuningJobsOutput](s, "HyperParameterTuningJob", "hyper-parameter-tuning-job/", "HyperParameterTuningJobSummaries")
	sagemakerKind[sagemaker.CreateModelPackageGroupInput, sagemaker.CreateModelPackageGroupOutput, sagemaker.DescribeModelPackageGroupInput,
		sagemaker.DescribeModelPackageGroupOutput, sagemaker.ListModelPackageGroupsInput, sagemaker.ListModelPackageGroupsOutput](s, "ModelPackageGroup", "model-package-group/", "ModelPackageGroupSummaryList")
	sagemakerKind[sagemaker.CreateEndpointInput, sagemaker.CreateEndpointOutput, sagemaker.DescribeEndpointInput, sagemaker.DescribeEndpointOutput,
		sagemaker.ListEndpointsInput, sagemaker.ListEndpointsOutput](s, "Endpoint", "endpoint/", "Endpoints")
	sagemakerKind[sagemaker.CreateImageInput, sagemaker.CreateImageOutput, sagemaker.DescribeImageInput, sagemaker.DescribeImageOutput,
		sagemaker.ListImagesInput, sagemaker.ListImagesOutput](s, "Image", "image/", "Images")
	sagemakerPackageOps(s)
	sagemakerImageOps(s)
	return s
}

// sagemakerField is the name of a member of a kind: JobDefinitionName of all kinds of monitoring, ModelArn of models.
func sagemakerField(kind, suffix string) string {
	if strings.HasSuffix(kind, "JobDefinition") {
		return "JobDefinition" + suffix
	}
	return kind + suffix
}

// sagemakerKind registers CreateX, DescribeX and ListXs. Members that have the same name in what is created and in what
// is described or listed are the same.
func sagemakerKind[CI, CO, DI, DO, LI, LO any](s *service, kind, path, list string) {
	name, arn := sagemakerField(kind, "Name"), sagemakerField(kind, "Arn")
	op(s, "Create"+kind, func(c *Call, in *CI) (*CO, error) {
		id := textOf(reflect.ValueOf(in), name)
		shelf := c.home().sagemaker.shelf(kind)
		if _, ok := shelf.get(id); ok {
			return nil, errorf("ValidationException", "Cannot create already existing %s %q.", kind, id)
		}
		d := reflect.ValueOf(new(DO))
		copyFields(d.Elem(), reflect.ValueOf(in).Elem())
		setText(d, arn, c.arn("sagemaker", path+strings.ToLower(id)))
		for _, field := range []string{"CreationTime", "LastModifiedTime"} {
			if f := d.Elem().FieldByName(field); f.IsValid() && f.Type() == reflect.TypeFor[*time.Time]() {
				f.Set(reflect.ValueOf(new(c.Now)))
			}
		}
		for field, status := range map[string]string{"TrainingJobStatus": "InProgress", "ProcessingJobStatus": "InProgress",
			"HyperParameterTuningJobStatus": "InProgress", "EndpointStatus": "InService", "InferenceComponentStatus": "InService", "ImageStatus": "CREATED"} {
			if f := d.Elem().FieldByName(field); f.IsValid() {
				f.SetString(status)
			}
		}
		if e, ok := d.Interface().(*sagemaker.DescribeEndpointOutput); ok {
			if err := deployEndpoint(c, e); err != nil {
				return nil, err
			}
		}
		c.home().sagemaker.keep(kind, id, d)
		out := new(CO)
		setText(reflect.ValueOf(out), arn, textOf(d, arn))
		return out, nil
	})
	op(s, "Describe"+kind, func(c *Call, in *DI) (*DO, error) {
		id := textOf(reflect.ValueOf(in), name)
		v, ok := c.home().sagemaker.shelf(kind).get(id)
		if !ok {
			return nil, errorf("ValidationException", "Could not find %s %q.", strings.ToLower(kind), id)
		}
		return v.Interface().(*DO), nil
	})
	op(s, "List"+kind+"s", func(c *Call, in *LI) (*LO, error) {
		input := reflect.ValueOf(in).Elem()
		status := ""
		if f := input.FieldByName("StatusEquals"); f.IsValid() {
			status = f.String()
		}
		var all []reflect.Value
		for _, v := range c.home().sagemaker.shelf(kind).all() {
			if f := v.Elem().FieldByName(kind + "Status"); status == "" || f.IsValid() && f.String() == status {
				all = append(all, v)
			}
		}
		token, _ := input.FieldByName("NextToken").Interface().(*string)
		size, _ := input.FieldByName("MaxResults").Interface().(*int32)
		all, next, err := page(all, size, 10, 100, token)
		if err != nil {
			return nil, err
		}
		out := new(LO)
		items := reflect.ValueOf(out).Elem().FieldByName(list)
		items.Set(reflect.MakeSlice(items.Type(), len(all), len(all)))
		for i, v := range all {
			copyFields(items.Index(i), v.Elem())
			for from, to := range map[string]string{name: "MonitoringJobDefinitionName", arn: "MonitoringJobDefinitionArn"} {
				setText(items.Index(i).Addr(), to, textOf(v, from))
			}
		}
		if next != nil {
			setText(reflect.ValueOf(out), "NextToken", *next)
		}
		return out, nil
	})
}

// deployEndpoint resolves the images of an endpoint's models.
func deployEndpoint(c *Call, e *sagemaker.DescribeEndpointOutput) error {
	v, ok := c.home().sagemaker.shelf("EndpointConfig").get(aws.ToString(e.EndpointConfigName))
	if !ok {
		return errorf("ValidationException", "Could not find endpoint configuration %q.", aws.ToString(e.EndpointConfigName))
	}
	for _, variant := range v.Interface().(*sagemaker.DescribeEndpointConfigOutput).ProductionVariants {
		m, ok := c.home().sagemaker.shelf("Model").get(aws.ToString(variant.ModelName))
		if !ok {
			return errorf("ValidationException", "Could not find model %q.", aws.ToString(variant.ModelName))
		}
		summary := types.ProductionVariantSummary{VariantName: variant.VariantName}
		model := m.Interface().(*sagemaker.DescribeModelOutput)
		containers := model.Containers
		if model.PrimaryContainer != nil {
			containers = append(containers[:len(containers):len(containers)], *model.PrimaryContainer)
		}
		for _, container := range containers {
			image := types.DeployedImage{SpecifiedImage: container.Image}
			if ref, ok := parseImageRef(aws.ToString(container.Image)); ok {
				if _, im := c.Server.locate(ref); im != nil {
					name, _, _ := strings.Cut(aws.ToString(container.Image), ":")
					name, _, _ = strings.Cut(name, "@")
					image.ResolvedImage = new(name + "@" + im.digest.String())
				}
			}
			summary.DeployedImages = append(summary.DeployedImages, image)
		}
		e.ProductionVariants = append(e.ProductionVariants, summary)
	}
	return nil
}

// sagemakerPackageOps are model packages, whose ARN counts versions where they are of a group.
func sagemakerPackageOps(s *service) {
	op(s, "CreateModelPackage", func(c *Call, in *sagemaker.CreateModelPackageInput) (*sagemaker.CreateModelPackageOutput, error) {
		shelf := c.home().sagemaker.shelf("ModelPackage")
		d := &sagemaker.DescribeModelPackageOutput{}
		copyFields(reflect.ValueOf(d).Elem(), reflect.ValueOf(in).Elem())
		d.CreationTime, d.ModelPackageStatus = new(c.Now), types.ModelPackageStatusCompleted
		if group := aws.ToString(in.ModelPackageGroupName); group != "" {
			version := int32(1)
			for _, v := range shelf.all() {
				if aws.ToString(v.Interface().(*sagemaker.DescribeModelPackageOutput).ModelPackageGroupName) == group {
					version++
				}
			}
			d.ModelPackageVersion, d.ModelPackageName = &version, &group
			d.ModelPackageArn = new(c.arn("sagemaker", fmt.Sprintf("model-package/%s/%d", group, version)))
		} else {
			d.ModelPackageArn = new(c.arn("sagemaker", "model-package/"+aws.ToString(in.ModelPackageName)))
		}
		c.home().sagemaker.keep("ModelPackage", *d.ModelPackageArn, reflect.ValueOf(d))
		return &sagemaker.CreateModelPackageOutput{ModelPackageArn: d.ModelPackageArn}, nil
	})
	op(s, "DescribeModelPackage", func(c *Call, in *sagemaker.DescribeModelPackageInput) (*sagemaker.DescribeModelPackageOutput, error) {
		v, ok := c.home().sagemaker.shelf("ModelPackage").get(aws.ToString(in.ModelPackageName))
		if !ok {
			return nil, errorf("ValidationException", "ModelPackage %s does not exist.", aws.ToString(in.ModelPackageName))
		}
		return v.Interface().(*sagemaker.DescribeModelPackageOutput), nil
	})
	op(s, "ListModelPackages", func(c *Call, in *sagemaker.ListModelPackagesInput) (*sagemaker.ListModelPackagesOutput, error) {
		var list []types.ModelPackageSummary
		for _, v := range c.home().sagemaker.shelf("ModelPackage").all() {
			d := v.Interface().(*sagemaker.DescribeModelPackageOutput)
			group := aws.ToString(d.ModelPackageGroupName)
			switch {
			case in.ModelPackageGroupName != nil && group != *in.ModelPackageGroupName:
			case in.ModelPackageGroupName == nil && group != "" && in.ModelPackageType != types.ModelPackageTypeVersioned && in.ModelPackageType != types.ModelPackageTypeBoth:
			default:
				list = append(list, types.ModelPackageSummary{ModelPackageArn: d.ModelPackageArn, ModelPackageGroupName: d.ModelPackageGroupName,
					ModelPackageVersion: d.ModelPackageVersion, CreationTime: d.CreationTime, ModelPackageStatus: d.ModelPackageStatus})
			}
		}
		list, next, err := page(list, in.MaxResults, 10, 100, in.NextToken)
		return &sagemaker.ListModelPackagesOutput{ModelPackageSummaryList: list, NextToken: next}, err
	})
}

// sagemakerImageOps are versions of SageMaker images, which copy nothing: their base image is what they need.
func sagemakerImageOps(s *service) {
	op(s, "CreateImageVersion", func(c *Call, in *sagemaker.CreateImageVersionInput) (*sagemaker.CreateImageVersionOutput, error) {
		name := aws.ToString(in.ImageName)
		if _, ok := c.home().sagemaker.shelf("Image").get(name); !ok {
			return nil, errorf("ResourceNotFound", "Image %s does not exist.", name)
		}
		shelf := c.home().sagemaker.shelf("ImageVersion")
		version := int32(1)
		for _, key := range shelf.sorted() {
			if strings.HasPrefix(key, name+"/") {
				version++
			}
		}
		d := &sagemaker.DescribeImageVersionOutput{BaseImage: in.BaseImage, ContainerImage: in.BaseImage, Version: &version, CreationTime: new(c.Now),
			ImageArn: new(c.arn("sagemaker", "image/"+name)), ImageVersionArn: new(c.arn("sagemaker", fmt.Sprintf("image-version/%s/%d", name, version))),
			ImageVersionStatus: types.ImageVersionStatusCreated}
		c.home().sagemaker.keep("ImageVersion", fmt.Sprintf("%s/%d", name, version), reflect.ValueOf(d))
		return &sagemaker.CreateImageVersionOutput{ImageVersionArn: d.ImageVersionArn}, nil
	})
	op(s, "DescribeImageVersion", func(c *Call, in *sagemaker.DescribeImageVersionInput) (*sagemaker.DescribeImageVersionOutput, error) {
		v, ok := c.home().sagemaker.shelf("ImageVersion").get(fmt.Sprintf("%s/%d", aws.ToString(in.ImageName), aws.ToInt32(in.Version)))
		if !ok {
			return nil, errorf("ResourceNotFound", "The version of the image does not exist.")
		}
		return v.Interface().(*sagemaker.DescribeImageVersionOutput), nil
	})
	op(s, "ListImageVersions", func(c *Call, in *sagemaker.ListImageVersionsInput) (*sagemaker.ListImageVersionsOutput, error) {
		var list []types.ImageVersion
		shelf := c.home().sagemaker.shelf("ImageVersion")
		for _, key := range shelf.sorted() {
			if v, ok := shelf.get(key); ok && strings.HasPrefix(key, aws.ToString(in.ImageName)+"/") {
				d := v.Interface().(*sagemaker.DescribeImageVersionOutput)
				list = append(list, types.ImageVersion{ImageArn: d.ImageArn, ImageVersionArn: d.ImageVersionArn, Version: d.Version, CreationTime: d.CreationTime,
					LastModifiedTime: d.CreationTime, ImageVersionStatus: d.ImageVersionStatus})
			}
		}
		list, next, err := page(list, in.MaxResults, 10, 100, in.NextToken)
		return &sagemaker.ListImageVersionsOutput{ImageVersions: list, NextToken: next}, err
	})
}

// copyFields copies the members that two structs have in common.
func copyFields(to, from reflect.Value) {
	for _, field := range reflect.VisibleFields(from.Type()) {
		t := to.FieldByName(field.Name)
		if field.IsExported() && t.IsValid() && t.CanSet() && t.Type() == field.Type && field.Name != "ResultMetadata" {
			t.Set(from.FieldByIndex(field.Index))
		}
	}
}

// textOf is a member of a struct behind a pointer that is a string, "" if there is none.
func textOf(v reflect.Value, field string) string {
	f := v.Elem().FieldByName(field)
	if !f.IsValid() {
		return ""
	}
	text, _ := f.Interface().(*string)
	return aws.ToString(text)
}

func setText(v reflect.Value, field, text string) {
	if f := v.Elem().FieldByName(field); f.IsValid() && f.Type() == reflect.TypeFor[*string]() {
		f.Set(reflect.ValueOf(&text))
	}
}

// eachString goes through all strings of a value.
func eachString(v reflect.Value, f func(string)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			eachString(v.Elem(), f)
		}
	case reflect.Struct:
		for _, field := range reflect.VisibleFields(v.Type()) {
			if field.IsExported() && field.Name != "ResultMetadata" {
				eachString(v.FieldByIndex(field.Index), f)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachString(v.Index(i), f)
		}
	case reflect.String:
		f(v.String())
	default:
	}
}
