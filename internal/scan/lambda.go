package scan

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"demurrage/internal/image"
)

// The buckets of the Lambda control plane: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
var (
	lambdaGet  = bucket{name: "GetFunction", rate: 100, burst: 100}
	lambdaRest = bucket{name: "everything else", rate: 15, burst: 15}
)

var lambdaOps = map[string]bucket{
	"ListFunctions": lambdaRest,
	"ListAliases":   lambdaRest,
	"GetFunction":   lambdaGet,

	"ListEventSourceMappings": lambdaRest,
}

type lambdaAPI interface {
	lambda.ListFunctionsAPIClient
	lambda.ListAliasesAPIClient
	lambda.ListEventSourceMappingsAPIClient
	GetFunction(context.Context, *lambda.GetFunctionInput, ...func(*lambda.Options)) (*lambda.GetFunctionOutput, error)
}

const (
	lambdaPage      = 50 // of every list but that of
	mappingsPage    = 100
	latest          = "$LATEST"
	lambdaCacheName = "lambda-versions"
)

// lambdaVersion is a version of a function that has an image. It is the key of the cache: a published version never
// changes, but when a function was deleted and made anew its version numbers begin again, so the digest of the code
// and the time of the publication go with the ARN. (RevisionId would do too, but changes with every permission.)
type lambdaVersion struct {
	arn, function, version string
	sha256, modified       string
}

// lambdaCode is what the cache keeps of a published version.
type lambdaCode struct {
	SHA256   string `json:"sha256"`
	Modified string `json:"modified"`
	Image    string `json:"image"`
	Resolved string `json:"resolved"`
}

type lambdaScan struct {
	*work
	api lambdaAPI

	mu    sync.Mutex
	known map[string]lambdaCode // published versions by ARN: of earlier runs, and of this one
}

func scanLambda(ctx context.Context, w *work) {
	s := &lambdaScan{work: w, api: lambda.NewFromConfig(w.cfg)}
	s.known = loadCache[map[string]lambdaCode](ctx, w, lambdaCacheName)
	if s.known == nil {
		s.known = make(map[string]lambdaCode)
	}
	before := maps.Clone(s.known)
	functions, complete := s.functions(ctx)
	each(ctx, w, 4, maps.Keys(functions), func(name string) { s.function(ctx, name, functions[name]) })
	s.lookUp(ctx, append(s.mappings(ctx), w.pinned(ctx)...))
	if complete {
		s.forget(functions)
	}
	if !maps.Equal(before, s.known) {
		saveCache(ctx, w, lambdaCacheName, s.known)
	}
}

// functions lists the versions of all functions that are made of an image, by the function's name.
func (s *lambdaScan) functions(ctx context.Context) (functions map[string][]lambdaVersion, complete bool) {
	functions = make(map[string][]lambdaVersion)
	p := lambda.NewListFunctionsPaginator(s.api, &lambda.ListFunctionsInput{
		FunctionVersion: types.FunctionVersionAll, MaxItems: aws.Int32(lambdaPage),
	})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("ListFunctions", "", err)
			return functions, false
		}
		for i := range out.Functions {
			f := &out.Functions[i]
			if f.PackageType != types.PackageTypeImage {
				continue
			}
			name := strings.Clone(aws.ToString(f.FunctionName))
			functions[name] = append(functions[name], lambdaVersion{
				arn: strings.Clone(aws.ToString(f.FunctionArn)), function: name, version: strings.Clone(aws.ToString(f.Version)),
				sha256: strings.Clone(aws.ToString(f.CodeSha256)), modified: strings.Clone(aws.ToString(f.LastModified)),
			})
		}
	}
	return functions, true
}

// function looks at the versions of a function that matter: $LATEST, those that an alias points at, and the newest
// published ones. The first two are live. Others can be invoked too, by whoever knows their ARN, but nothing in AWS
// says that anybody does: they count as kept for a rollback.
func (s *lambdaScan) function(ctx context.Context, name string, versions []lambdaVersion) {
	aliases := s.aliases(ctx, name)
	newest := s.newest(name, versions)
	for _, v := range versions {
		names := aliases[v.version]
		delete(aliases, v.version)
		if v.version == latest || len(names) > 0 || newest[v.version] {
			s.version(ctx, v, names)
		}
	}
	// Versions that were published after the list was read.
	if len(versions) == 0 {
		return
	}
	base := strings.TrimSuffix(versions[0].arn, ":"+versions[0].version)
	for version, names := range aliases {
		s.version(ctx, lambdaVersion{arn: base + ":" + version, function: name, version: version}, names)
	}
}

// aliases gives the names of the aliases that point at each version of a function, those that send only part of
// the traffic there included.
func (s *lambdaScan) aliases(ctx context.Context, function string) map[string][]string {
	byVersion := make(map[string][]string)
	p := lambda.NewListAliasesPaginator(s.api, &lambda.ListAliasesInput{FunctionName: &function, MaxItems: aws.Int32(lambdaPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			if !gone(err) {
				s.fail("ListAliases", function, err)
			}
			return byVersion
		}
		for i := range out.Aliases {
			a := &out.Aliases[i]
			versions := []string{aws.ToString(a.FunctionVersion)}
			if a.RoutingConfig != nil {
				versions = slices.AppendSeq(versions, maps.Keys(a.RoutingConfig.AdditionalVersionWeights))
			}
			for _, v := range versions {
				byVersion[v] = append(byVersion[v], aws.ToString(a.Name))
			}
		}
	}
	return byVersion
}

// newest picks the newest published versions, as many as are to be kept. A version whose number is none is picked
// in any case.
func (s *lambdaScan) newest(function string, versions []lambdaVersion) map[string]bool {
	picked := make(map[string]bool)
	numbers := make(map[string]int)
	for _, v := range versions {
		if n, err := strconv.Atoi(v.version); err == nil {
			numbers[v.version] = n
		} else {
			picked[v.version] = true
		}
	}
	published := slices.SortedFunc(maps.Keys(numbers), func(a, b string) int { return cmp.Compare(numbers[b], numbers[a]) })
	if s.opts.KeepLambdaVersions != nil {
		if n := s.opts.KeepLambdaVersions(function); n >= 0 {
			published = published[:min(n, len(published))]
		}
	}
	for _, v := range published {
		picked[v] = true
	}
	return picked
}

// version records the image of one version. The reference that Lambda resolved when the version was made is what
// counts, since its tag may have moved since; the tag is what the next update asks for.
//
// https://docs.aws.amazon.com/lambda/latest/dg/images-create.html
func (s *lambdaScan) version(ctx context.Context, v lambdaVersion, aliases []string) {
	code, err := s.code(ctx, v)
	if err != nil {
		if gone(err) && len(aliases) == 0 {
			return // deleted meanwhile
		}
		s.fail("GetFunction", v.arn, err)
		return
	}
	u := image.Use{Source: "lambda-function", Resource: v.arn, Detail: "version " + v.version, Live: v.version == latest || len(aliases) > 0}
	slices.Sort(aliases)
	for _, a := range aliases {
		u.Detail += ", alias " + a
	}
	asked, err := s.resolve(code.Image, "")
	resolved, err2 := s.resolve(code.Resolved, "")
	if err := errors.Join(err, err2); err != nil {
		s.fail("GetFunction", v.arn, err)
	}
	if len(asked) == 1 && asked[0].Digest == "" && code.Resolved == "" {
		s.fail("GetFunction", v.arn, errNotResolved)
	}
	s.add(u, merge(asked, resolved)...)
}

// merge joins what was asked for with what it was resolved to, where the two go together.
func merge(asked, resolved []image.Ref) []image.Ref {
	if len(asked) == 1 && len(resolved) == 1 && asked[0].Repository == resolved[0].Repository &&
		resolved[0].Digest != "" && (asked[0].Digest == "" || asked[0].Digest == resolved[0].Digest) &&
		(resolved[0].Tag == "" || resolved[0].Tag == asked[0].Tag) {
		ref := asked[0]
		ref.Digest = resolved[0].Digest
		return []image.Ref{ref}
	}
	return append(asked, resolved...)
}

var (
	errNoImage     = errors.New("the function is made of an image, but Lambda does not tell which")
	errNotResolved = errors.New("the digest that the function's tag was resolved to is not in the answer")
)

// code asks for a version's image, of published versions only once in their life.
func (s *lambdaScan) code(ctx context.Context, v lambdaVersion) (lambdaCode, error) {
	immutable := v.version != latest && v.sha256 != "" && v.modified != ""
	s.mu.Lock()
	code, ok := s.known[v.arn]
	s.mu.Unlock()
	if ok && immutable && code.SHA256 == v.sha256 && code.Modified == v.modified && code.Image != "" {
		return code, nil
	}
	out, err := s.api.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &v.function, Qualifier: &v.version})
	if err != nil {
		return lambdaCode{}, err
	}
	if out.Code == nil || aws.ToString(out.Code.ImageUri) == "" && aws.ToString(out.Code.ResolvedImageUri) == "" {
		return lambdaCode{}, errNoImage
	}
	code = lambdaCode{
		SHA256: v.sha256, Modified: v.modified,
		Image:    strings.Clone(aws.ToString(out.Code.ImageUri)),
		Resolved: strings.Clone(aws.ToString(out.Code.ResolvedImageUri)),
	}
	if immutable && code.Image != "" && code.Resolved != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.known[v.arn] = code
	}
	return code, nil
}

// forget drops versions that do not exist any more.
func (s *lambdaScan) forget(functions map[string][]lambdaVersion) {
	listed := make(map[string]bool)
	for _, versions := range functions {
		for _, v := range versions {
			listed[v.arn] = true
		}
	}
	maps.DeleteFunc(s.known, func(arn string, _ lambdaCode) bool { return !listed[arn] })
}

func gone(err error) bool {
	_, ok := errors.AsType[*types.ResourceNotFoundException](err)
	return ok
}

// resolveLambda looks at versions that resources of another target invoke.
func resolveLambda(ctx context.Context, w *work, pinned []pin) {
	s := &lambdaScan{work: w, api: lambda.NewFromConfig(w.cfg), known: make(map[string]lambdaCode)}
	s.lookUp(ctx, pinned)
}

// mappings finds the versions that event source mappings invoke, disabled ones too: their consumers pin them.
//
// https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html
func (s *lambdaScan) mappings(ctx context.Context) []pin {
	var pinned []pin
	p := lambda.NewListEventSourceMappingsPaginator(s.api, &lambda.ListEventSourceMappingsInput{MaxItems: aws.Int32(mappingsPage)})
	for out, err := range pages(ctx, p) {
		if err != nil {
			s.fail("ListEventSourceMappings", "", err)
			break
		}
		for i := range out.EventSourceMappings {
			m := &out.EventSourceMappings[i]
			use := image.Use{
				Source: "lambda-event-source-mapping", Account: s.Account, Region: s.Region, Detail: "event source mapping " + aws.ToString(m.UUID), Live: true,
				Resource: cmp.Or(aws.ToString(m.EventSourceMappingArn), aws.ToString(m.FunctionArn)),
			}
			pinned = append(pinned, pin{kind: "lambda", name: aws.ToString(m.FunctionArn), use: use})
		}
	}
	return pinned
}

// lookUp records the images of published versions that others invoke by their number, however old. $LATEST and what
// aliases point at are looked at in any case.
func (s *lambdaScan) lookUp(ctx context.Context, pinned []pin) {
	type version struct{ function, version string }
	by := make(map[version][]image.Use)
	for _, p := range pinned {
		name := p.name
		if _, after, ok := strings.Cut(name, ":function:"); ok {
			name = after
		}
		function, qualifier, _ := strings.Cut(name, ":")
		if _, err := strconv.Atoi(qualifier); err == nil {
			by[version{function, qualifier}] = append(by[version{function, qualifier}], p.use)
		}
	}
	each(ctx, s.work, 4, maps.Keys(by), func(v version) {
		const op = "GetFunction"
		out, err := s.api.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &v.function, Qualifier: &v.version})
		if gone(err) {
			for _, use := range by[v] {
				s.note(use.Resource, "the version that it invokes does not exist: "+clipped(v.function+":"+v.version))
			}
			return
		}
		if err != nil {
			s.fail(op, v.function+":"+v.version, err)
			return
		}
		if out.Configuration == nil || out.Code == nil {
			s.fail(op, v.function+":"+v.version, errNoAnswer)
			return
		}
		if out.Configuration.PackageType != types.PackageTypeImage {
			return
		}
		asked, err := s.resolve(aws.ToString(out.Code.ImageUri), "")
		resolved, err2 := s.resolve(aws.ToString(out.Code.ResolvedImageUri), "")
		if err := errors.Join(err, err2); err != nil || aws.ToString(out.Code.ResolvedImageUri) == "" {
			s.fail(op, v.function+":"+v.version, cmp.Or(err, errNotResolved))
		}
		for _, use := range by[v] {
			use.Detail = strings.TrimPrefix(use.Detail+", version "+v.version+" of "+v.function, ", ")
			s.add(use, merge(asked, resolved)...)
		}
	})
}
