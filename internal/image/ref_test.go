package image

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const hexA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
const hexB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
const digestA, digestB = Digest("sha256:" + hexA), Digest("sha256:" + hexB)

func repo(region, name string) Repository {
	return Repository{Registry{"123456789012", region}, name}
}

func TestParseRefGood(t *testing.T) {
	tests := []struct {
		text string
		want Ref
	}{
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/app", Ref{repo("us-east-1", "app"), "latest", ""}},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1", Ref{repo("us-east-1", "app"), "v1", ""}},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/a/b_c/d.e-f:V1_2.3-x", Ref{repo("us-east-1", "a/b_c/d.e-f"), "V1_2.3-x", ""}},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/app@sha256:" + hexA, Ref{repo("us-east-1", "app"), "", digestA}},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1@sha256:" + hexA, Ref{repo("us-east-1", "app"), "v1", digestA}},
		{"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com/app:v1", Ref{repo("us-east-1", "app"), "v1", ""}},
		{"123456789012.dkr-ecr.us-east-1.on.aws/app:v1", Ref{repo("us-east-1", "app"), "v1", ""}},
		{"123456789012.dkr-ecr-fips.us-gov-west-1.on.aws/app:v1", Ref{repo("us-gov-west-1", "app"), "v1", ""}},
		{"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/app:v1", Ref{repo("cn-north-1", "app"), "v1", ""}},
		{"123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn/app:v1", Ref{repo("cn-northwest-1", "app"), "v1", ""}},
		{"123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu/app", Ref{repo("eusc-de-east-1", "app"), "latest", ""}},
		{"123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov/app", Ref{repo("us-iso-east-1", "app"), "latest", ""}},
		{"docker://123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1", Ref{repo("us-east-1", "app"), "v1", ""}},
		{"HTTPS://123456789012.DKR.ECR.us-east-1.amazonaws.com/app:v1", Ref{repo("us-east-1", "app"), "v1", ""}},
		{" 123456789012.dkr.ecr.us-east-1.amazonaws.com:443/app:v1\n", Ref{repo("us-east-1", "app"), "v1", ""}},
		{"123456789012.dkr.ecr.us-east-1.amazonaws.com/old--name:v1", Ref{repo("us-east-1", "old--name"), "v1", ""}},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseRef(tt.text)
			if err != nil || got != tt.want {
				t.Fatalf("ParseRef(%q) = %+v, %v; want %+v", tt.text, got, err, tt.want)
			}
			if again, err := ParseRef(got.String()); err != nil || again != got {
				t.Errorf("the canonical spelling %q parses to %+v, %v", got, again, err)
			}
		})
	}
}

func TestParseRefForeign(t *testing.T) {
	for _, text := range []string{"", "nginx", "nginx:1.27", "public.ecr.aws/docker/library/nginx:latest", "ghcr.io/org/app@sha256:" + hexA,
		"localhost:5000/app", "registry.example.com/ecr/app:v1"} {
		if ref, err := ParseRef(text); !errors.Is(err, ErrNotECR) {
			t.Errorf("ParseRef(%q) = %v, %v; want ErrNotECR", text, ref, err)
		}
	}
}

// What looks like ECR and cannot be understood is never dropped: an image in use may be meant.
func TestParseRefLooksLikeECR(t *testing.T) {
	for _, text := range []string{
		"${AWS::AccountId}.dkr.ecr.us-east-1.amazonaws.com/app:v1",
		"12345.dkr.ecr.us-east-1.amazonaws.com/app",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app:",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app@",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app@sha256:abc",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app@sha256:" + strings.ToUpper(hexA),
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app@md5:" + hexA,
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/App:v1",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app:v1:v2",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app:-v1",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/app:" + strings.Repeat("x", 129),
		"123456789012.dkr.ecr.us-east-1.example.com/app:v1",
		"123456789012.dkr.ecr.nowhere.amazonaws.com/app:v1",
		"123456789012.dkr.ecr-new.us-east-1.amazonaws.com/app:v1",
		"vpce-0a1b-2c3d.dkr.ecr.us-east-1.vpce.amazonaws.com/app:v1",
		"123456789012.dkr.ecr.us-east-1.amazonaws.com//app",
		"proxy.example.com/123456789012.dkr.ecr.us-east-1.amazonaws.com/app",
	} {
		var parse *ParseError
		if ref, err := ParseRef(text); !errors.As(err, &parse) {
			t.Errorf("ParseRef(%q) = %v, %v; want a ParseError", text, ref, err)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	f.Add("123456789012.dkr.ecr.us-east-1.amazonaws.com/a/b:v1@sha256:" + hexA)
	f.Add("docker://123456789012.dkr-ecr-fips.us-east-1.on.aws/app")
	f.Add("nginx:latest")
	f.Fuzz(func(t *testing.T, text string) {
		ref, err := ParseRef(text)
		if err != nil {
			var parse *ParseError
			if !errors.Is(err, ErrNotECR) && !errors.As(err, &parse) {
				t.Fatalf("an error of neither kind: %v", err)
			}
			if errors.Is(err, ErrNotECR) && strings.Contains(strings.ToLower(text), ".dkr.ecr") {
				t.Fatalf("%q looks like ECR and was dropped", text)
			}
			return
		}
		if ref.Tag == "" && ref.Digest == "" {
			t.Fatalf("%q parsed to a reference to nothing", text)
		}
		if again, err := ParseRef(ref.String()); err != nil || again != ref {
			t.Fatalf("%q: %q parses to %+v, %v", text, ref, again, err)
		}
	})
}

func TestSubjectOfTag(t *testing.T) {
	for _, suffix := range []string{"", ".sig", ".att", ".sbom"} {
		if d, ok := SubjectOfTag("sha256-" + hexA + suffix); !ok || d != digestA {
			t.Errorf("SubjectOfTag(…%s) = %q, %v", suffix, d, ok)
		}
	}
	for _, tag := range []string{"", "latest", "sha256-" + hexA[1:], "sha256-" + hexA + ".zip", "sha256-" + strings.ToUpper(hexA), "sha512-" + hexA} {
		if d, ok := SubjectOfTag(tag); ok {
			t.Errorf("SubjectOfTag(%q) = %q", tag, d)
		}
	}
}

func TestPattern(t *testing.T) {
	tests := []struct {
		pattern Pattern
		name    string
		want    bool
	}{
		{Glob("*"), "", true},
		{Glob("prod/*"), "prod/a/b", true},
		{Glob("prod/*"), "prod", false},
		{Glob("v?.*"), "v1.2", true},
		{Glob("v?.*"), "v10.2", false},
		{Glob("a.c"), "abc", false},
		{Glob("[a-z]*"), "[a-z]x", true},
		{Glob("[a-z]*"), "ax", false},
		{Glob("a*"), "a\nb", true},
		{Exact("*"), "anything", false},
		{Exact("*"), "*", true},
		{Pattern{}, "", false},
	}
	for _, tt := range tests {
		if got := tt.pattern.Match(tt.name); got != tt.want {
			t.Errorf("%q matches %q: %v, want %v", tt.pattern, tt.name, got, tt.want)
		}
	}
}

func ExampleParseRef() {
	ref, _ := ParseRef("docker://123456789012.dkr-ecr.eu-west-1.on.aws/team/app")
	fmt.Println(ref)
	// Output: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:latest
}
