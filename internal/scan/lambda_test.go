package scan

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"demurrage/internal/image"
	"demurrage/internal/orgsim"
)

// lambdaWorld has a function of four published versions, each of another image that was pushed under the tag v1.
func lambdaWorld(t *testing.T) (w *world, c *lambda.Client, digests []string) {
	w = newWorld(t)
	c = lambda.NewFromConfig(w.as(tokyo))
	w.repository("fn")
	ref := host + "/fn:v1"
	for i, name := range []string{"one", "two", "three", "four"} {
		digests = append(digests, w.push("fn", manifest(name, ""), "v1"))
		if i == 0 {
			w.function("f", ref)
		} else {
			must(c.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ImageUri: &ref}))(t)
		}
		must(c.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: aws.String("f")}))(t)
	}
	return w, c, digests
}

func (w *world) scanKeeping(versions int) *Snapshot {
	o := w.options(Target{Account: accountA, Region: tokyo})
	o.KeepLambdaVersions = func(string) int { return versions }
	return w.run(o)[image.Registry{Account: accountA, Region: tokyo}]
}

func TestLambdaVersions(t *testing.T) {
	w, c, d := lambdaWorld(t)
	must(c.CreateAlias(t.Context(), &lambda.CreateAliasInput{
		FunctionName: aws.String("f"), Name: aws.String("prod"), FunctionVersion: aws.String("1"),
		RoutingConfig: &types.AliasRoutingConfiguration{AdditionalVersionWeights: map[string]float64{"2": 0.1}},
	}))(t)
	latest := "live | f:$LATEST | fn:v1@" + short(d[3]) + " | version $LATEST"
	one := "live | f:1 | fn:v1@" + short(d[0]) + " | version 1, alias prod"
	two := "live | f:2 | fn:v1@" + short(d[1]) + " | version 2, alias prod"
	three := "kept | f:3 | fn:v1@" + short(d[2]) + " | version 3"
	four := "kept | f:4 | fn:v1@" + short(d[3]) + " | version 4"

	snap := w.scanKeeping(0)
	wantOK(t, snap)
	wantUses(t, snap, "lambda-function", latest, one, two)
	wantUses(t, w.scanKeeping(1), "lambda-function", latest, one, two, four)
	wantUses(t, w.scanKeeping(-1), "lambda-function", latest, one, two, three, four)
	wantUses(t, w.scan(), "lambda-function", latest, one, two, three, four)
}

func TestMerge(t *testing.T) {
	const (
		repo  = "111111111111.dkr.ecr.us-east-1.amazonaws.com/app"
		other = "111111111111.dkr.ecr.us-east-1.amazonaws.com/other"
		a     = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		b     = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	)
	for _, tt := range []struct {
		name, asked, resolved string
		want                  []string
	}{
		{"tag", repo + ":v1", repo + "@" + a, []string{repo + ":v1@" + a}},
		{"digest", repo + "@" + a, repo + "@" + a, []string{repo + "@" + a}},
		{"tag and digest", repo + ":v1@" + a, repo + "@" + a, []string{repo + ":v1@" + a}},
		{"two digests", repo + "@" + a, repo + "@" + b, []string{repo + "@" + a, repo + "@" + b}},
		{"two repositories", repo + ":v1", other + "@" + a, []string{repo + ":v1", other + "@" + a}},
		{"another tag", repo + ":v1", repo + ":v2@" + a, []string{repo + ":v1", repo + ":v2@" + a}},
		{"not resolved", repo + ":v1", "", []string{repo + ":v1"}},
		{"only resolved", "", repo + "@" + a, []string{repo + "@" + a}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := new(work)
			asked, err := w.resolve(tt.asked, "")
			resolved, err2 := w.resolve(tt.resolved, "")
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			var got []string
			for _, r := range merge(asked, resolved) {
				got = append(got, r.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPublishedVersionsAreReadOnce: on a second run only $LATEST is asked for.
func TestPublishedVersionsAreReadOnce(t *testing.T) {
	w, _, _ := lambdaWorld(t)
	first := w.scan()
	before := w.calls(nil)
	if before["lambda:GetFunction"] != 5 {
		t.Errorf("%d GetFunction on the first run", before["lambda:GetFunction"])
	}
	second := w.scan()
	if n := w.calls(before)["lambda:GetFunction"]; n != 1 {
		t.Errorf("%d GetFunction on the second run", n)
	}
	if !slices.Equal(first.Uses, second.Uses) {
		t.Errorf("uses differ: %v, %v", first.Uses, second.Uses)
	}
	// What is gone is forgotten, but not when it merely could not be listed.
	remembered := func() int {
		var c cached[map[string]lambdaCode]
		if err := json.Unmarshal(w.mem.m[accountA+tokyo+lambdaCacheName], &c); err != nil {
			t.Fatal(err)
		}
		return len(c.Value)
	}
	w.SetFaults([]orgsim.Fault{{Operation: "ListFunctions", Code: "AccessDeniedException", Status: 403}})
	w.scan()
	if n := remembered(); n != 4 {
		t.Errorf("%d versions remembered after a failed list", n)
	}
	w.SetFaults(nil)
	must(lambda.NewFromConfig(w.as(tokyo)).DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("f")}))(t)
	w.scan()
	if n := remembered(); n != 0 {
		t.Errorf("%d versions remembered of a deleted function", n)
	}
}

// TestFunctionMadeAnew: version 1 of a function that was deleted and made again is not the one in the cache, even if
// its image has the same digest in another repository.
func TestFunctionMadeAnew(t *testing.T) {
	w := newWorld(t)
	c := lambda.NewFromConfig(w.as(tokyo))
	for i, name := range []string{"aa", "bb"} {
		w.SetClock(clock(i))
		w.repository(name)
		d := w.push(name, manifest("one", ""), "v1")
		w.function("f", host+"/"+name+":v1")
		must(c.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: aws.String("f")}))(t)
		wantUses(t, w.scan(), "lambda-function",
			"live | f:$LATEST | "+name+":v1@"+short(d)+" | version $LATEST",
			"kept | f:1 | "+name+":v1@"+short(d)+" | version 1")
		must(c.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("f")}))(t)
	}
}

func TestLambdaFailures(t *testing.T) {
	w, _, d := lambdaWorld(t)
	w.SetFaults([]orgsim.Fault{{Operation: "ListAliases", Code: "AccessDeniedException", Status: 403}})
	snap := w.scanKeeping(0)
	wantFailed(t, snap, "lambda", "ListAliases", "f", "AccessDeniedException")
	wantUses(t, snap, "lambda-function", "live | f:$LATEST | fn:v1@"+short(d[3])+" | version $LATEST")

	w.SetFaults([]orgsim.Fault{{Operation: "GetFunction", Code: "ResourceNotFoundException", Status: 404}})
	wantOK(t, w.scanKeeping(0)) // deleted meanwhile
	w.SetFaults([]orgsim.Fault{{Operation: "GetFunction", Code: "ServiceException", Status: 500}})
	wantFailed(t, w.scanKeeping(0), "lambda", "GetFunction", "function:f:$LATEST", "ServiceException")
}

func prod(t *testing.T, c *lambda.Client, version string) {
	must(c.CreateAlias(t.Context(), &lambda.CreateAliasInput{FunctionName: aws.String("f"), Name: aws.String("prod"), FunctionVersion: &version}))(t)
}

// TestAliasOfAVersionPublishedSince: the list of versions is older than that of aliases (L3).
func TestAliasOfAVersionPublishedSince(t *testing.T) {
	w, c, d := lambdaWorld(t)
	prod(t, c, "2")
	s := &lambdaScan{work: &work{Target: Target{Account: accountA, Region: tokyo}, opts: &Options{}, log: slog.New(slog.DiscardHandler)}, api: c, known: map[string]lambdaCode{}}
	arn := "arn:aws:lambda:" + tokyo + ":" + accountA + ":function:f:"
	s.function(t.Context(), "f", []lambdaVersion{{arn: arn + latest, function: "f", version: latest}})
	if !slices.ContainsFunc(s.found, func(u image.Use) bool { return u.Ref.Digest == image.Digest(d[1]) && u.Live && u.Resource == arn+"2" }) {
		t.Errorf("found %v, errors %v", s.found, s.errs)
	}
	_ = w
}

// TestAliasedVersionThatIsNotFound was not just deleted: an alias still points at it (L4).
func TestAliasedVersionThatIsNotFound(t *testing.T) {
	w, c, _ := lambdaWorld(t)
	prod(t, c, "1")
	w.SetFaults([]orgsim.Fault{{Operation: "GetFunction", Code: "ResourceNotFoundException", Status: 404}})
	wantFailed(t, w.scanKeeping(0), "lambda", "GetFunction", "function:f:1", "ResourceNotFoundException")
}
