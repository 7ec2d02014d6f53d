package orgsim

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"regexp"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func addLambdaFunctionOps(s *service) {
	op(s, "CreateFunction", createFunction, route("POST", "/2015-03-31/functions", 201), onFunction[lambda.CreateFunctionInput]())
	op(s, "UpdateFunctionCode", updateFunctionCode, route("PUT", "/2015-03-31/functions/{FunctionName}/code", 200), onFunction[lambda.UpdateFunctionCodeInput]())
	op(s, "GetFunction", getFunction, route("GET", "/2015-03-31/functions/{FunctionName}", 200, "Qualifier"), onFunction[lambda.GetFunctionInput]())
	op(s, "GetFunctionConfiguration", getFunctionConfiguration, route("GET", "/2015-03-31/functions/{FunctionName}/configuration", 200, "Qualifier"), onFunction[lambda.GetFunctionConfigurationInput]())
	op(s, "ListFunctions", listFunctions, route("GET", "/2015-03-31/functions", 200, "FunctionVersion", "Marker", "MasterRegion", "MaxItems"))
	op(s, "DeleteFunction", deleteFunction, route("DELETE", "/2015-03-31/functions/{FunctionName}", 204, "Qualifier"), onFunction[lambda.DeleteFunctionInput]())
}

var functionName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// setImage resolves an image reference and takes the image as the code of v. The image must be in a repository
// of the same region that lets Lambda in, and be of a single platform.
//
// https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
func (v *lambdaVersion) setImage(c *Call, uri string) error {
	ref, ok := parseImageRef(uri)
	if !ok || ref.region != c.Region {
		return invalidValue("Source image %s is not valid. Provide a valid source image.", uri)
	}
	// Across accounts the repository has to name the service. In its own account Lambda adds the permission itself.
	if !c.serviceMayPull(ref, "lambda.amazonaws.com", *v.FunctionArn) {
		return &apiError{Code: "AccessDeniedException", Message: "Lambda does not have permission to access the ECR image. Check the ECR permissions.", Status: 403}
	}
	r, im := c.Server.locate(ref)
	if im == nil || im.status(c.Now) != "ACTIVE" {
		return invalidValue("Source image %s does not exist. Provide a valid source image.", uri)
	}
	if m, err := parseManifest(im.manifest.bytes(), im.media.Value()); err != nil || m.isIndex() {
		return invalidValue("The image manifest, config or layer media type for the source image %s is not supported.", uri)
	}
	im.pulled = c.Now.UnixNano()
	v.imageURI = uri
	v.resolvedURI = r.uri() + "@" + im.digest.String()
	v.CodeSha256 = new(hex.EncodeToString(im.digest[:]))
	v.CodeSize = 0
	return nil
}

func (v *lambdaVersion) setZip(zip []byte) {
	sum := sha256.Sum256(zip)
	v.CodeSha256 = new(base64.StdEncoding.EncodeToString(sum[:]))
	v.CodeSize = int64(len(zip))
}

func createFunction(c *Call, in *lambda.CreateFunctionInput) (*lambda.CreateFunctionOutput, error) {
	l := &c.home().lambda
	ref, err := c.functionRef(in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if !functionName.MatchString(ref.name) || ref.qualifier != "" || ref.account != c.Account || ref.region != c.Region {
		return nil, invalidValue("1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint", aws.ToString(in.FunctionName))
	}
	if l.functions[ref.name] != nil {
		return nil, lambdaConflict("Function already exist: %s", ref.name)
	}
	if aws.ToString(in.Role) == "" {
		return nil, invalidValue("The role defined for the function cannot be assumed by Lambda.")
	}
	v := &lambdaVersion{FunctionConfiguration: types.FunctionConfiguration{
		Architectures:    in.Architectures,
		Description:      new(aws.ToString(in.Description)),
		EphemeralStorage: cmp.Or(in.EphemeralStorage, &types.EphemeralStorage{Size: new(int32(512))}),
		FunctionArn:      new(c.lambdaARN(ref.name)),
		FunctionName:     new(ref.name),
		Handler:          in.Handler,
		LastModified:     new(c.Now.UTC().Format(lambdaTime)),
		LastUpdateStatus: types.LastUpdateStatusSuccessful,
		MemorySize:       cmp.Or(in.MemorySize, new(int32(128))),
		PackageType:      cmp.Or(in.PackageType, types.PackageTypeZip),
		RevisionId:       l.revisionID(c),
		Role:             in.Role,
		Runtime:          in.Runtime,
		State:            types.StateActive,
		Timeout:          cmp.Or(in.Timeout, new(int32(3))),
		TracingConfig:    &types.TracingConfigResponse{Mode: types.TracingModePassThrough},
		Version:          new("$LATEST"),
	}}
	if v.Architectures == nil {
		v.Architectures = []types.Architecture{types.ArchitectureX8664}
	}
	if in.Environment != nil {
		v.Environment = &types.EnvironmentResponse{Variables: in.Environment.Variables}
	}
	if in.ImageConfig != nil {
		v.ImageConfigResponse = &types.ImageConfigResponse{ImageConfig: in.ImageConfig}
	}
	code := valueOf(in.Code)
	switch v.PackageType {
	case types.PackageTypeImage:
		if code.ImageUri == nil || code.ZipFile != nil || code.S3Bucket != nil {
			return nil, invalidValue("Please provide ImageUri, and nothing else, when creating a function with packageType Image.")
		}
		if in.Runtime != "" || in.Handler != nil || in.Layers != nil {
			return nil, invalidValue("Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image.")
		}
		if err := v.setImage(c, *code.ImageUri); err != nil {
			return nil, err
		}
	case types.PackageTypeZip:
		if code.ImageUri != nil {
			return nil, invalidValue("Please do not provide ImageUri when creating a function with packageType Zip.")
		}
		if in.Runtime == "" || in.Handler == nil {
			return nil, invalidValue("Runtime and Handler are mandatory parameters for functions created with deployment packages.")
		}
		if code.ZipFile == nil {
			return nil, invalidValue("Please provide a source for function code.")
		}
		v.setZip(code.ZipFile)
	default:
		return nil, invalidValue("Unknown package type %s", v.PackageType)
	}

	f := &lambdaFunction{
		name: ref.name, arn: *v.FunctionArn, latest: v,
		aliases: make(map[string]*types.AliasConfiguration), tags: maps.Clone(in.Tags),
	}
	if l.functions == nil {
		l.functions = make(map[string]*lambdaFunction)
	}
	l.functions[f.name] = f
	if in.Publish {
		v = f.publish(c, nil)
		return configAs[lambda.CreateFunctionOutput](v.configuration(c, *v.Version)), nil
	}
	return configAs[lambda.CreateFunctionOutput](v.configuration(c, "")), nil
}

// updateFunctionCode resolves the image anew, also when its reference is the same.
func updateFunctionCode(c *Call, in *lambda.UpdateFunctionCodeInput) (*lambda.UpdateFunctionCodeOutput, error) {
	f, _, err := c.function(in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if err := f.checkRevision(in.RevisionId); err != nil {
		return nil, err
	}
	v := *f.latest
	if v.PackageType == types.PackageTypeImage {
		if in.ImageUri == nil {
			return nil, invalidValue("Please provide ImageUri when updating a function with packageType Image.")
		}
		err = v.setImage(c, *in.ImageUri)
	} else {
		if in.ZipFile == nil {
			return nil, invalidValue("Please do not provide ImageUri when updating a function with packageType Zip.")
		}
		v.setZip(in.ZipFile)
	}
	if err != nil {
		return nil, err
	}
	if in.Architectures != nil {
		v.Architectures = in.Architectures
	}
	v.LastModified = new(c.Now.UTC().Format(lambdaTime))
	v.RevisionId = c.home().lambda.revisionID(c)
	if in.DryRun {
		return configAs[lambda.UpdateFunctionCodeOutput](v.configuration(c, "")), nil
	}
	f.latest = &v
	if in.Publish {
		p := f.publish(c, nil)
		return configAs[lambda.UpdateFunctionCodeOutput](p.configuration(c, *p.Version)), nil
	}
	return configAs[lambda.UpdateFunctionCodeOutput](v.configuration(c, "")), nil
}

func (f *lambdaFunction) checkRevision(id *string) error {
	if id != nil && *id != *f.latest.RevisionId {
		return &apiError{Code: "PreconditionFailedException", Message: "The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the latest RevisionId", Status: 412}
	}
	return nil
}

func getFunction(c *Call, in *lambda.GetFunctionInput) (*lambda.GetFunctionOutput, error) {
	f, ref, err := c.function(in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	v := f.version(ref.qualifier)
	if v == nil {
		return nil, errFunctionNotFound(ref.arn(c))
	}
	code := &types.FunctionCodeLocation{RepositoryType: new("S3"), Location: new("https://awslambda-" + c.Region + "-tasks.s3." + c.Region + "." + dnsSuffixOf(c.Partition) + "/snapshots/" + c.Account + "/" + f.name)}
	if v.PackageType == types.PackageTypeImage {
		code = &types.FunctionCodeLocation{RepositoryType: new("ECR"), ImageUri: new(v.imageURI), ResolvedImageUri: new(v.resolvedURI)}
	}
	return &lambda.GetFunctionOutput{Code: code, Configuration: new(v.configuration(c, ref.qualifier)), Tags: f.tags}, nil
}

func getFunctionConfiguration(c *Call, in *lambda.GetFunctionConfigurationInput) (*lambda.GetFunctionConfigurationOutput, error) {
	f, ref, err := c.function(in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	v := f.version(ref.qualifier)
	if v == nil {
		return nil, errFunctionNotFound(ref.arn(c))
	}
	return configAs[lambda.GetFunctionConfigurationOutput](v.configuration(c, ref.qualifier)), nil
}

// listFunctions lists $LATEST of every function, with FunctionVersion=ALL the published versions too. It leaves
// out code and state.
//
// https://docs.aws.amazon.com/lambda/latest/api/API_ListFunctions.html
func listFunctions(c *Call, in *lambda.ListFunctionsInput) (*lambda.ListFunctionsOutput, error) {
	all := in.FunctionVersion == types.FunctionVersionAll
	if in.FunctionVersion != "" && !all {
		return nil, invalidValue("1 validation error detected: Value '%s' at 'functionVersion' failed to satisfy constraint: Member must satisfy enum value set: [ALL]", in.FunctionVersion)
	}
	l := &c.home().lambda
	var versions []*lambdaVersion
	for _, name := range slices.Sorted(maps.Keys(l.functions)) {
		versions = append(versions, l.functions[name].latest)
		if all {
			versions = append(versions, l.functions[name].published...)
		}
	}
	versions, next, err := lambdaPage(versions, in.MaxItems, in.Marker)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListFunctionsOutput{NextMarker: next, Functions: []types.FunctionConfiguration{}}
	for _, v := range versions {
		conf := v.FunctionConfiguration
		if all {
			conf.FunctionArn = new(*conf.FunctionArn + ":" + *v.Version)
		}
		conf.State, conf.LastUpdateStatus = "", ""
		out.Functions = append(out.Functions, conf)
	}
	return out, nil
}

func deleteFunction(c *Call, in *lambda.DeleteFunctionInput) (*lambda.DeleteFunctionOutput, error) {
	f, ref, err := c.function(in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if ref.qualifier == "" {
		delete(c.home().lambda.functions, f.name)
		return &lambda.DeleteFunctionOutput{StatusCode: 204}, nil
	}
	if ref.qualifier == "$LATEST" {
		return nil, invalidValue("$LATEST version cannot be deleted without deleting the function.")
	}
	if f.aliases[ref.qualifier] != nil {
		return nil, invalidValue("Deletion of aliases is not currently supported.")
	}
	v := f.version(ref.qualifier)
	if v == nil {
		return nil, errFunctionNotFound(ref.arn(c))
	}
	var by []string
	for name, a := range f.aliases {
		_, routed := aliasWeights(a.RoutingConfig)[*v.Version]
		if *a.FunctionVersion == *v.Version || routed {
			by = append(by, name)
		}
	}
	if by != nil {
		slices.Sort(by)
		return nil, lambdaConflict("Unable to delete version because the following aliases reference it: %v", by)
	}
	f.published = slices.DeleteFunc(slices.Clone(f.published), func(x *lambdaVersion) bool { return x == v })
	return &lambda.DeleteFunctionOutput{StatusCode: 204}, nil
}
