package orgsim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const lambdaRole = "arn:aws:iam::111111111111:role/fn"

func imageFunction(name, uri string) *lambda.CreateFunctionInput {
	return &lambda.CreateFunctionInput{FunctionName: &name, Role: aws.String(lambdaRole), PackageType: types.PackageTypeImage, Code: &types.FunctionCode{ImageUri: &uri}}
}

func TestFunctionKeepsResolvedDigest(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	m.SetClock(time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC))
	d1 := r.push(manifestOf("v1"), "latest")
	c := lambda.NewFromConfig(m.as(accountA))
	ctx := t.Context()
	made, err := c.CreateFunction(ctx, imageFunction("fn", appURI+":latest"))
	if err != nil {
		t.Fatal(err)
	}
	if "sha256:"+*made.CodeSha256 != d1 || *made.Version != "$LATEST" || *made.LastModified != "2026-02-03T04:05:06.000+0000" || made.PackageType != "Image" || made.State != "Active" {
		t.Errorf("created: %+v", made)
	}
	if r.image(byDigest(d1)).LastRecordedPullTime == nil {
		t.Error("Lambda did not pull the image")
	}
	if _, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: aws.String("fn")}); err != nil {
		t.Fatal(err)
	}
	d2 := r.push(manifestOf("v2"), "latest")

	get := func(name, qualifier string) *lambda.GetFunctionOutput {
		t.Helper()
		in := &lambda.GetFunctionInput{FunctionName: &name}
		if qualifier != "" {
			in.Qualifier = &qualifier
		}
		out, err := c.GetFunction(ctx, in)
		if err != nil {
			t.Fatal(name, qualifier, err)
		}
		return out
	}
	resolved := func(name, qualifier, want string) {
		t.Helper()
		out := get(name, qualifier)
		if *out.Code.ImageUri != appURI+":latest" || *out.Code.ResolvedImageUri != appURI+"@"+want || *out.Code.RepositoryType != "ECR" {
			t.Errorf("%s %s: %s resolved to %s, want %s", name, qualifier, *out.Code.ImageUri, *out.Code.ResolvedImageUri, want)
		}
	}
	resolved("fn", "", d1)
	if _, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("fn"), ImageUri: aws.String(appURI + ":latest")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: aws.String("fn"), Name: aws.String("live"), FunctionVersion: aws.String("1")}); err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:lambda:us-east-1:111111111111:function:fn"
	resolved("fn", "", d2)
	resolved("fn", "$LATEST", d2)
	resolved("fn", "1", d1)
	resolved("fn", "live", d1)
	resolved(arn, "", d2)
	resolved(arn+":1", "", d1)
	resolved(arn+":live", "live", d1)
	resolved(arn+":$LATEST", "", d2)
	resolved("111111111111:function:fn", "1", d1)
	resolved("fn:1", "", d1)
	for name, want := range map[string]string{"fn": arn, "fn:1": arn + ":1", "fn:live": arn + ":live", "fn:$LATEST": arn + ":$LATEST"} {
		if got := *get(name, "").Configuration.FunctionArn; got != want {
			t.Errorf("%s has ARN %s, want %s", name, got, want)
		}
	}
	_, err = c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(arn + ":1"), Qualifier: aws.String("live")})
	wantCode(t, err, "InvalidParameterValueException")
	for _, name := range []string{"none", "fn:2", arn + "x"} {
		_, err = c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &name})
		wantCode(t, err, "ResourceNotFoundException")
	}
	if use := m.InUse()[accountA+"/us-east-1/app@"+d1]; !slices.Equal(use, []string{arn + ":1"}) {
		t.Errorf("the old image is used by %v", use)
	}

	// A function whose image is deleted has failed.
	r.delete(byDigest(d1))
	conf, err := c.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("fn"), Qualifier: aws.String("1")})
	if err != nil || conf.State != types.StateFailed || conf.StateReasonCode != types.StateReasonCodeImageDeleted {
		t.Errorf("with the image deleted: %+v, %v", conf, err)
	}
}

func TestFunctionImagesAreChecked(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	v := manifestOf("v1")
	r.push(v, "v1")
	r.push(indexOf(v), "multi")
	own, other := lambda.NewFromConfig(m.as(accountA)), lambda.NewFromConfig(m.as(accountB))
	ctx := t.Context()
	for uri, want := range map[string]string{
		appURI + ":none":  "InvalidParameterValueException",
		appURI + ":multi": "InvalidParameterValueException",
		"nginx:latest":    "InvalidParameterValueException",
		accountA + ".dkr.ecr.eu-west-1.amazonaws.com/app:v1": "InvalidParameterValueException",
		accountB + ".dkr.ecr.us-east-1.amazonaws.com/app:v1": "AccessDeniedException",
	} {
		_, err := own.CreateFunction(ctx, imageFunction("fn", uri))
		wantCode(t, err, want)
	}
	_, err := other.CreateFunction(ctx, imageFunction("fn", appURI+":v1"))
	wantCode(t, err, "AccessDeniedException")
	if !strings.Contains(err.Error(), "Lambda does not have permission to access the ECR image") {
		t.Error(err)
	}
	for _, tt := range []struct{ principal, want string }{
		{`{"AWS":"arn:aws:iam::222222222222:root"}`, "AccessDeniedException"},
		{`{"Service":"lambda.amazonaws.com"},"Condition":{"StringLike":{"aws:sourceArn":"arn:aws:lambda:us-east-1:333333333333:function:*"}}`, "AccessDeniedException"},
		{`{"Service":"lambda.amazonaws.com"},"Condition":{"StringLike":{"aws:sourceArn":"arn:aws:lambda:us-east-1:222222222222:function:*"}}`, ""},
	} {
		if _, err := r.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: &r.name, PolicyText: aws.String(repositoryPolicy(tt.principal))}); err != nil {
			t.Fatal(err)
		}
		_, err := other.CreateFunction(ctx, imageFunction("fn", appURI+":v1"))
		wantCode(t, err, tt.want)
	}
	_, err = other.CreateFunction(ctx, imageFunction("fn", appURI+":v1"))
	wantCode(t, err, "ResourceConflictException")
}

func TestFunctionListing(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	r.push(manifestOf("v1"), "v1")
	c := lambda.NewFromConfig(m.as(accountA))
	ctx := t.Context()
	for i := range 60 {
		in := imageFunction(fmt.Sprintf("fn%02d", i), appURI+":v1")
		in.Publish = true
		if _, err := c.CreateFunction(ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	zip := &lambda.CreateFunctionInput{FunctionName: aws.String("zip"), Role: aws.String(lambdaRole), Runtime: types.RuntimePython312, Handler: aws.String("a.b"), Code: &types.FunctionCode{ZipFile: []byte("PK")}}
	if _, err := c.CreateFunction(ctx, zip); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in   lambda.ListFunctionsInput
		want []int
	}{
		{lambda.ListFunctionsInput{}, []int{50, 11}},
		{lambda.ListFunctionsInput{MaxItems: aws.Int32(10000)}, []int{50, 11}},
		{lambda.ListFunctionsInput{MaxItems: aws.Int32(40)}, []int{40, 21}},
		{lambda.ListFunctionsInput{FunctionVersion: types.FunctionVersionAll}, []int{50, 50, 21}},
	} {
		var pages []int
		p := lambda.NewListFunctionsPaginator(c, &tt.in)
		for p.HasMorePages() {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, len(out.Functions))
			if f := out.Functions[0]; f.State != "" || f.PackageType != types.PackageTypeImage {
				t.Errorf("listed: %+v", f)
			}
		}
		if !slices.Equal(pages, tt.want) {
			t.Errorf("%s: pages of %v, want %v", marshal(tt.in), pages, tt.want)
		}
	}
	_, err := c.ListFunctions(ctx, &lambda.ListFunctionsInput{MaxItems: aws.Int32(0)})
	wantCode(t, err, "InvalidParameterValueException")
	got, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("zip")})
	if err != nil || got.Code.ImageUri != nil || *got.Code.RepositoryType != "S3" || got.Configuration.CodeSize != 2 {
		t.Errorf("zip: %+v, %v", got, err)
	}
}

func TestVersionsAndAliases(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	r := m.repository(m.as(accountA), "app")
	c := lambda.NewFromConfig(m.as(accountA))
	ctx := t.Context()
	fn := aws.String("fn")
	for i := range 3 {
		uri := appURI + fmt.Sprint(":v", i)
		r.push(manifestOf(uri), fmt.Sprint("v", i))
		if i == 0 {
			if _, err := c.CreateFunction(ctx, imageFunction("fn", uri)); err != nil {
				t.Fatal(err)
			}
		} else if _, err := c.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: fn, ImageUri: &uri}); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second changes nothing
			out, err := c.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: fn})
			if err != nil || *out.Version != fmt.Sprint(i+1) {
				t.Errorf("published %+v, %v", out, err)
			}
		}
	}
	versions := func() (vs []string) {
		out, err := c.ListVersionsByFunction(ctx, &lambda.ListVersionsByFunctionInput{FunctionName: fn})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range out.Versions {
			vs = append(vs, *v.Version)
		}
		return vs
	}
	if got := versions(); !slices.Equal(got, []string{"$LATEST", "1", "2", "3"}) {
		t.Errorf("versions: %v", got)
	}
	alias := func(version string, weights map[string]float64) error {
		_, err := c.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: fn, Name: aws.String("live"), FunctionVersion: &version, RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: weights}})
		return err
	}
	wantCode(t, alias("9", nil), "ResourceNotFoundException")
	wantCode(t, alias("1", map[string]float64{"9": 0.5}), "ResourceNotFoundException")
	wantCode(t, alias("$LATEST", map[string]float64{"1": 0.5}), "InvalidParameterValueException")
	wantCode(t, alias("1", map[string]float64{"2": 0.1}), "")
	wantCode(t, alias("1", nil), "ResourceConflictException")
	for _, v := range []string{"1", "2"} {
		_, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: fn, Qualifier: &v})
		wantCode(t, err, "ResourceConflictException")
		out, err := c.ListAliases(ctx, &lambda.ListAliasesInput{FunctionName: fn, FunctionVersion: &v})
		if err != nil || len(out.Aliases) != 1 || out.Aliases[0].RoutingConfig.AdditionalVersionWeights["2"] != 0.1 {
			t.Errorf("aliases of %s: %+v, %v", v, out, err)
		}
	}
	up, err := c.UpdateAlias(ctx, &lambda.UpdateAliasInput{FunctionName: fn, Name: aws.String("live"), FunctionVersion: aws.String("3"), RoutingConfig: &types.AliasRoutingConfiguration{}})
	if err != nil || *up.FunctionVersion != "3" || up.RoutingConfig != nil {
		t.Errorf("updated: %+v, %v", up, err)
	}
	if got, err := c.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: fn, Name: aws.String("live")}); err != nil || *got.AliasArn != "arn:aws:lambda:us-east-1:111111111111:function:fn:live" {
		t.Errorf("alias: %+v, %v", got, err)
	}
	if _, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: fn, Qualifier: aws.String("1")}); err != nil {
		t.Fatal(err)
	}
	if got := versions(); !slices.Equal(got, []string{"$LATEST", "2", "3"}) {
		t.Errorf("versions: %v", got)
	}
	if _, err := c.DeleteAlias(ctx, &lambda.DeleteAliasInput{FunctionName: fn, Name: aws.String("live")}); err != nil {
		t.Fatal(err)
	}
	_, err = c.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: fn, Name: aws.String("live")})
	wantCode(t, err, "ResourceNotFoundException")
	if _, err := c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: fn}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: fn})
	wantCode(t, err, "ResourceNotFoundException")
}

func TestFunctionsInChina(t *testing.T) {
	t.Parallel()
	m := newSim(t)
	cfg := m.as(accountA)
	cfg.Region = "cn-north-1"
	m.repository(cfg, "app").push(manifestOf("v1"), "v1")
	c := lambda.NewFromConfig(cfg)
	out, err := c.CreateFunction(t.Context(), imageFunction("fn", accountA+".dkr.ecr.cn-north-1.amazonaws.com.cn/app:v1"))
	if err != nil || *out.FunctionArn != "arn:aws-cn:lambda:cn-north-1:111111111111:function:fn" {
		t.Fatal(out, err)
	}
}
