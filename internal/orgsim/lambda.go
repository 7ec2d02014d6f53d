package orgsim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// lambdaState is AWS Lambda of one account in one region.
type lambdaState struct {
	functions map[string]*lambdaFunction
	serial    uint64 // of the last revision id
	mappings  shelf[types.EventSourceMappingConfiguration]
}

func lambdaService() *service {
	s := &service{
		name:         "lambda",
		protocol:     restJSON,
		badParameter: "InvalidParameterValueException",
	}
	addLambdaFunctionOps(s)
	addLambdaVersionOps(s)
	addLambdaAliasOps(s)
	addLambdaMappingOps(s)
	return s
}

// lambdaFunction is a function: what $LATEST is, what was published, and the aliases of both. Values that answers
// share are replaced when they change.
type lambdaFunction struct {
	name, arn string
	latest    *lambdaVersion
	published []*lambdaVersion // in order; deleted ones are missing
	last      int              // number of the last version
	aliases   map[string]*types.AliasConfiguration
	tags      map[string]string
}

// lambdaVersion is $LATEST or a published version, with the image it was resolved to.
type lambdaVersion struct {
	types.FunctionConfiguration
	imageURI, resolvedURI string // package type Image
}

// lambdaTime is the format of LastModified.
const lambdaTime = "2006-01-02T15:04:05.000-0700"

func (c *Call) lambdaARN(name string) string {
	return "arn:" + c.Partition + ":lambda:" + c.Region + ":" + c.Account + ":function:" + name
}

// revisionID makes the next one, in the form of a UUID, the same in every run.
func (l *lambdaState) revisionID(c *Call) *string {
	l.serial++
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/lambda/%d", c.Account, c.Region, l.serial))
	h := hex.EncodeToString(sum[:16])
	return new(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
}

// functionRef is how requests name a function: by name, by `account:function:name` or by ARN, each with or
// without `:qualifier`.
//
// https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
type functionRef struct {
	account, region, name, qualifier string
}

func (c *Call) functionRef(name, qualifier *string) (functionRef, error) {
	ref := functionRef{account: c.Account, region: c.Region}
	s := aws.ToString(name)
	bad := errorf("InvalidParameterValueException", "1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern for function names", s)
	parts := strings.Split(s, ":")
	if parts[0] == "arn" {
		if len(parts) < 7 || parts[2] != "lambda" {
			return ref, bad
		}
		ref.region, parts = parts[3], parts[4:]
	}
	if len(parts) >= 3 && parts[1] == "function" {
		ref.account, parts = parts[0], parts[2:]
	}
	if len(parts) > 2 || parts[0] == "" {
		return ref, bad
	}
	ref.name = parts[0]
	if len(parts) == 2 {
		ref.qualifier = parts[1]
	}
	if q := aws.ToString(qualifier); q != "" {
		if ref.qualifier != "" && ref.qualifier != q {
			return ref, errorf("InvalidParameterValueException", "The derived qualifier from the function name does not match the specified qualifier.")
		}
		ref.qualifier = q
	}
	return ref, nil
}

func (ref functionRef) arn(c *Call) string {
	arn := "arn:" + c.Partition + ":lambda:" + ref.region + ":" + ref.account + ":function:" + ref.name
	if ref.qualifier != "" {
		arn += ":" + ref.qualifier
	}
	return arn
}

// onFunction tells IAM which function the request's FunctionName and Qualifier name.
func onFunction[I any]() opOption {
	return resource(func(c *Call, in *I) []string {
		fields := reflect.ValueOf(in).Elem()
		var qualifier *string
		if q := fields.FieldByName("Qualifier"); q.IsValid() {
			qualifier = q.Interface().(*string)
		}
		ref, err := c.functionRef(fields.FieldByName("FunctionName").Interface().(*string), qualifier)
		if err != nil {
			return nil
		}
		return []string{ref.arn(c)}
	})
}

// function finds the function that a request names. Functions have no resource policies here, so that another
// account's are closed.
func (c *Call) function(name, qualifier *string) (*lambdaFunction, functionRef, error) {
	ref, err := c.functionRef(name, qualifier)
	if err != nil {
		return nil, ref, err
	}
	if ref.account != c.Account {
		return nil, ref, accessDenied(c, c.op.action, ref.arn(c))
	}
	if f := c.home().lambda.functions[ref.name]; f != nil && ref.region == c.Region {
		return f, ref, nil
	}
	return nil, ref, errFunctionNotFound(ref.arn(c))
}

func errFunctionNotFound(arn string) error {
	return &apiError{Code: "ResourceNotFoundException", Message: "Function not found: " + arn, Status: 404}
}

func lambdaConflict(format string, args ...any) error {
	return &apiError{Code: "ResourceConflictException", Message: fmt.Sprintf(format, args...), Status: 409}
}

func invalidValue(format string, args ...any) error {
	return errorf("InvalidParameterValueException", format, args...)
}

// version finds $LATEST ("" too), a published version, or what an alias points at; nil if it is not there.
func (f *lambdaFunction) version(qualifier string) *lambdaVersion {
	if a := f.aliases[qualifier]; a != nil {
		qualifier = *a.FunctionVersion
	}
	if qualifier == "" || qualifier == "$LATEST" {
		return f.latest
	}
	for _, v := range f.published {
		if *v.Version == qualifier {
			return v
		}
	}
	return nil
}

// configuration is the function's as it is seen under a qualifier, which is part of the ARN. A function whose
// image is gone has failed.
//
// https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
func (v *lambdaVersion) configuration(c *Call, qualifier string) types.FunctionConfiguration {
	conf := v.FunctionConfiguration
	if qualifier != "" {
		conf.FunctionArn = new(*conf.FunctionArn + ":" + qualifier)
	}
	if ref, ok := parseImageRef(v.resolvedURI); ok {
		if _, im := c.Server.locate(ref); im == nil {
			conf.State = types.StateFailed
			conf.StateReasonCode = types.StateReasonCodeImageDeleted
			conf.StateReason = new("The image " + v.resolvedURI + " was deleted.")
		}
	}
	return conf
}

// configAs turns a configuration into one of the outputs that have its fields, and mappingAs a mapping.
func configAs[O any](conf types.FunctionConfiguration) *O { return sameFields[O](conf) }

func mappingAs[O any](m types.EventSourceMappingConfiguration) *O { return sameFields[O](m) }

func sameFields[O any](from any) *O {
	out := new(O)
	copyFields(reflect.ValueOf(out).Elem(), reflect.ValueOf(from))
	return out
}

// lambdaPage pages as Lambda does: any number up to 10,000 can be asked for, at most 50 are answered.
func lambdaPage[T any](items []T, maxItems *int32, marker *string) ([]T, *string, error) {
	if maxItems != nil && *maxItems > 50 && *maxItems <= 10000 {
		maxItems = nil
	}
	return page(items, maxItems, 50, 50, marker)
}
