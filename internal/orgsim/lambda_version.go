package orgsim

import (
	"maps"
	"regexp"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

func addLambdaVersionOps(s *service) {
	op(s, "PublishVersion", publishVersion, route("POST", "/2015-03-31/functions/{FunctionName}/versions", 201), onFunction[lambda.PublishVersionInput]())
	op(s, "ListVersionsByFunction", listVersionsByFunction, route("GET", "/2015-03-31/functions/{FunctionName}/versions", 200, "Marker", "MaxItems"), onFunction[lambda.ListVersionsByFunctionInput]())
}

func addLambdaAliasOps(s *service) {
	const aliases, alias = "/2015-03-31/functions/{FunctionName}/aliases", "/2015-03-31/functions/{FunctionName}/aliases/{Name}"
	op(s, "CreateAlias", createAlias, route("POST", aliases, 201), onFunction[lambda.CreateAliasInput]())
	op(s, "UpdateAlias", updateAlias, route("PUT", alias, 200), onFunction[lambda.UpdateAliasInput]())
	op(s, "GetAlias", getAlias, route("GET", alias, 200), onFunction[lambda.GetAliasInput]())
	op(s, "ListAliases", listAliases, route("GET", aliases, 200, "FunctionVersion", "Marker", "MaxItems"), onFunction[lambda.ListAliasesInput]())
	op(s, "DeleteAlias", deleteAlias, route("DELETE", alias, 204), onFunction[lambda.DeleteAliasInput]())
}

// publish makes a version of $LATEST, which keeps the image that $LATEST was resolved to. If nothing changed since
// the last version, that one is answered.
//
// https://docs.aws.amazon.com/lambda/latest/api/API_PublishVersion.html
func (f *lambdaFunction) publish(c *Call, description *string) *lambdaVersion {
	v := *f.latest
	if n := len(f.published); n > 0 {
		last := f.published[n-1]
		if *last.Version == strconv.Itoa(f.last) && *last.CodeSha256 == *v.CodeSha256 {
			return last
		}
	}
	f.last++
	v.Version = new(strconv.Itoa(f.last))
	v.LastModified = new(c.Now.UTC().Format(lambdaTime))
	v.RevisionId = c.home().lambda.revisionID(c)
	if description != nil {
		v.Description = description
	}
	f.published = append(slices.Clip(f.published), &v)
	return &v
}

func publishVersion(c *Call, in *lambda.PublishVersionInput) (*lambda.PublishVersionOutput, error) {
	f, _, err := c.function(in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if err := f.checkRevision(in.RevisionId); err != nil {
		return nil, err
	}
	if in.CodeSha256 != nil && *in.CodeSha256 != *f.latest.CodeSha256 {
		return nil, invalidValue("CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). Please try again with the CodeSHA256 in $LATEST.", *in.CodeSha256, *f.latest.CodeSha256)
	}
	v := f.publish(c, in.Description)
	return configAs[lambda.PublishVersionOutput](v.configuration(c, *v.Version)), nil
}

func listVersionsByFunction(c *Call, in *lambda.ListVersionsByFunctionInput) (*lambda.ListVersionsByFunctionOutput, error) {
	f, _, err := c.function(in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	versions := append([]*lambdaVersion{f.latest}, f.published...)
	versions, next, err := lambdaPage(versions, in.MaxItems, in.Marker)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListVersionsByFunctionOutput{NextMarker: next, Versions: []types.FunctionConfiguration{}}
	for _, v := range versions {
		out.Versions = append(out.Versions, v.configuration(c, *v.Version))
	}
	return out, nil
}

var (
	aliasName   = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	onlyNumeral = regexp.MustCompile(`^[0-9]+$`)
)

func aliasWeights(r *types.AliasRoutingConfiguration) map[string]float64 {
	if r == nil {
		return nil
	}
	return r.AdditionalVersionWeights
}

// setAlias checks and stores an alias.
//
// https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
func (f *lambdaFunction) setAlias(c *Call, a types.AliasConfiguration) (*types.AliasConfiguration, error) {
	weights := aliasWeights(a.RoutingConfig)
	if len(weights) == 0 {
		a.RoutingConfig = nil
	}
	if len(weights) > 1 {
		return nil, invalidValue("Number of items in AdditionalVersionWeights cannot be greater than 1")
	}
	if len(weights) > 0 && *a.FunctionVersion == "$LATEST" {
		return nil, invalidValue("$LATEST is not supported for an alias pointing to more than 1 version")
	}
	for v, w := range weights {
		if w < 0 || w > 1 || v == *a.FunctionVersion {
			return nil, invalidValue("Invalid version weight %v of version %s", w, v)
		}
	}
	for _, v := range append([]string{*a.FunctionVersion}, slices.Sorted(maps.Keys(weights))...) {
		if f.aliases[v] != nil || v == "" || f.version(v) == nil {
			return nil, errFunctionNotFound(f.arn + ":" + v)
		}
	}
	a.AliasArn = new(f.arn + ":" + *a.Name)
	a.RevisionId = c.home().lambda.revisionID(c)
	f.aliases[*a.Name] = &a
	return &a, nil
}

func createAlias(c *Call, in *lambda.CreateAliasInput) (*lambda.CreateAliasOutput, error) {
	f, _, err := c.function(in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.Name)
	if !aliasName.MatchString(name) || onlyNumeral.MatchString(name) {
		return nil, invalidValue("1 validation error detected: Value '%s' at 'name' failed to satisfy constraint", name)
	}
	if old := f.aliases[name]; old != nil {
		return nil, lambdaConflict("Alias already exists: %s", *old.AliasArn)
	}
	a, err := f.setAlias(c, types.AliasConfiguration{
		Name: &name, FunctionVersion: new(aws.ToString(in.FunctionVersion)),
		Description: new(aws.ToString(in.Description)), RoutingConfig: in.RoutingConfig,
	})
	if err != nil {
		return nil, err
	}
	return &lambda.CreateAliasOutput{AliasArn: a.AliasArn, Description: a.Description, FunctionVersion: a.FunctionVersion, Name: a.Name, RevisionId: a.RevisionId, RoutingConfig: a.RoutingConfig}, nil
}

// alias finds an alias of the function that a request names.
func (c *Call) alias(function, name *string) (*lambdaFunction, *types.AliasConfiguration, error) {
	f, _, err := c.function(function, nil)
	if err != nil {
		return nil, nil, err
	}
	a := f.aliases[aws.ToString(name)]
	if a == nil {
		return f, nil, &apiError{Code: "ResourceNotFoundException", Message: "Cannot find alias arn: " + f.arn + ":" + aws.ToString(name), Status: 404}
	}
	return f, a, nil
}

func updateAlias(c *Call, in *lambda.UpdateAliasInput) (*lambda.UpdateAliasOutput, error) {
	f, old, err := c.alias(in.FunctionName, in.Name)
	if err != nil {
		return nil, err
	}
	if in.RevisionId != nil && *in.RevisionId != *old.RevisionId {
		return nil, &apiError{Code: "PreconditionFailedException", Message: "The RevisionId provided does not match the latest RevisionId. Call the GetFunction/GetAlias API to retrieve the latest RevisionId", Status: 412}
	}
	changed := *old
	if in.FunctionVersion != nil {
		changed.FunctionVersion = in.FunctionVersion
	}
	if in.Description != nil {
		changed.Description = in.Description
	}
	if in.RoutingConfig != nil {
		changed.RoutingConfig = in.RoutingConfig
	}
	a, err := f.setAlias(c, changed)
	if err != nil {
		return nil, err
	}
	return &lambda.UpdateAliasOutput{AliasArn: a.AliasArn, Description: a.Description, FunctionVersion: a.FunctionVersion, Name: a.Name, RevisionId: a.RevisionId, RoutingConfig: a.RoutingConfig}, nil
}

func getAlias(c *Call, in *lambda.GetAliasInput) (*lambda.GetAliasOutput, error) {
	_, a, err := c.alias(in.FunctionName, in.Name)
	if err != nil {
		return nil, err
	}
	return &lambda.GetAliasOutput{AliasArn: a.AliasArn, Description: a.Description, FunctionVersion: a.FunctionVersion, Name: a.Name, RevisionId: a.RevisionId, RoutingConfig: a.RoutingConfig}, nil
}

// listAliases lists by name; with FunctionVersion those that send traffic to that version.
func listAliases(c *Call, in *lambda.ListAliasesInput) (*lambda.ListAliasesOutput, error) {
	f, _, err := c.function(in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	found := []types.AliasConfiguration{}
	for _, name := range slices.Sorted(maps.Keys(f.aliases)) {
		a := f.aliases[name]
		if v := in.FunctionVersion; v != nil && *a.FunctionVersion != *v {
			if _, routed := aliasWeights(a.RoutingConfig)[*v]; !routed {
				continue
			}
		}
		found = append(found, *a)
	}
	found, next, err := lambdaPage(found, in.MaxItems, in.Marker)
	return &lambda.ListAliasesOutput{Aliases: found, NextMarker: next}, err
}

// deleteAlias succeeds also if there is no such alias.
func deleteAlias(c *Call, in *lambda.DeleteAliasInput) (*lambda.DeleteAliasOutput, error) {
	f, _, err := c.function(in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	delete(f.aliases, aws.ToString(in.Name))
	return &lambda.DeleteAliasOutput{}, nil
}
