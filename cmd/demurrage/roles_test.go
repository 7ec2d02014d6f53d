package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	gocmp "github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

var update = flag.Bool("update", false, "write the golden files anew")

var memberRolesFile = filepath.Join("..", "..", "deploy", "member-roles.yaml")

// TestMemberRoles: deploy/member-roles.yaml is what the tables say today.
//
//	go test ./cmd/demurrage -run TestMemberRoles -update
func TestMemberRoles(t *testing.T) {
	var made, stderr bytes.Buffer
	if code := run([]string{"demurrage", "permissions", "--role", "all", "--format", "cloudformation"}, &made, &stderr); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	if *update {
		if err := os.WriteFile(memberRolesFile, made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(memberRolesFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(kept), made.String()); diff != "" {
		t.Errorf("deploy/member-roles.yaml is not what is needed any more: make it anew with -update (-there +needed):\n%s", diff)
	}
	if n := made.Len(); n > 51200 {
		t.Errorf("%d bytes, where a template may have 51200 (--template-body)", n)
	}
	if strings.Contains(made.String()[strings.Index(made.String(), "AWSTemplateFormatVersion"):], "arn:aws:iam::${") {
		t.Error("a partition is written into the template")
	}
	for name, role := range memberRoles() {
		policy := stackOf(t, nil).role(t, role.ID).policy
		if n := len(policy); n > 10240 { // white space does not count
			t.Errorf("%s: a policy of %d characters, where the policies of a role may have 10240", name, n)
		}
	}
}

// TestTemplatesLint has cfn-lint look at the templates: https://github.com/aws-cloudformation/cfn-lint, which knows the
// resource types of AWS.
//
//	pip install cfn-lint
func TestTemplatesLint(t *testing.T) {
	t.Parallel()
	lint, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("cfn-lint is not installed, which looks at the templates: pip install cfn-lint")
	}
	files := []string{memberRolesFile}
	for _, role := range []string{"read", "sweep"} {
		var made, stderr bytes.Buffer
		if code := run([]string{"demurrage", "permissions", "--role", role, "--format", "cloudformation"}, &made, &stderr); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &stderr)
		}
		file := filepath.Join(t.TempDir(), role+".yaml")
		if err := os.WriteFile(file, made.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, lint, append([]string{"--include-checks", "W", "--"}, files...)...).CombinedOutput(); err != nil {
		t.Errorf("cfn-lint: %v\n%s", err, out)
	}
	// It can object: a property too few is one.
	text, err := os.ReadFile(memberRolesFile)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, bytes.ReplaceAll(text, []byte("      PrincipalArn: !If"), []byte("      Principal: !If")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, lint, "--", broken).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("PrincipalArn")) {
		t.Errorf("cfn-lint takes an exclusion without a principal: %v\n%s", err, out)
	}
}

// stack is a template, read as CloudFormation does as far as this one needs it.
type stack struct {
	Parameters map[string]struct {
		Default string `yaml:"Default"`
	} `yaml:"Parameters"`
	Resources map[string]struct {
		Type       string    `yaml:"Type"`
		Properties yaml.Node `yaml:"Properties"`
	} `yaml:"Resources"`
	values map[string]string // of parameters and pseudo parameters
}

// stackOf reads deploy/member-roles.yaml with values for its parameters.
func stackOf(t *testing.T, values map[string]string) *stack {
	t.Helper()
	text, err := os.ReadFile(memberRolesFile)
	if err != nil {
		t.Fatal(err)
	}
	s := stack{values: map[string]string{"AWS::Partition": "aws", "HubPrincipalArn": "arn:aws:iam::" + accountHub + ":root",
		"ExternalId": externalID, "OrganizationId": "o-demurrage01"}}
	if err := yaml.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	for name, p := range s.Parameters {
		if p.Default != "" {
			s.values[name] = p.Default
		}
	}
	maps.Copy(s.values, values)
	return &s
}

// value is a node with its references replaced.
func (s *stack) value(t *testing.T, n *yaml.Node) any {
	t.Helper()
	switch {
	case n.Tag == "!Ref":
		v, ok := s.values[n.Value]
		if !ok {
			t.Fatalf("line %d: nobody says what %s is", n.Line, n.Value)
		}
		return v
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"):
		t.Fatalf("line %d: %s is not understood here", n.Line, n.Tag)
	case n.Kind == yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i < len(n.Content); i += 2 {
			m[n.Content[i].Value] = s.value(t, n.Content[i+1])
		}
		return m
	case n.Kind == yaml.SequenceNode:
		var list []any
		for _, c := range n.Content {
			list = append(list, s.value(t, c))
		}
		return list
	}
	return n.Value
}

// stackRole is a role as IAM has to be told of it.
type stackRole struct{ name, trust, policy string }

// role is a role of the template, by the id that it has in the tables.
func (s *stack) role(t *testing.T, id string) stackRole {
	t.Helper()
	resource, ok := s.Resources["Demurrage"+id]
	if !ok || resource.Type != "AWS::IAM::Role" {
		t.Fatalf("no role %s: %+v", id, resource)
	}
	properties := s.value(t, &resource.Properties).(map[string]any)
	policy := properties["Policies"].([]any)[0].(map[string]any)["PolicyDocument"]
	return stackRole{properties["RoleName"].(string), asJSON(t, properties["AssumeRolePolicyDocument"]), asJSON(t, policy)}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// newRolesWorld is a pair whose accounts have the roles of the template and no others.
func newRolesWorld(t *testing.T, values map[string]string) *pair {
	t.Helper()
	w := startWorld(t, t.TempDir(), virginia)
	t.Cleanup(w.serve())
	w.config(sweepConfig)
	p := seedPair(w)
	s := stackOf(t, values)
	for _, account := range []string{accountA, accountB} {
		for _, role := range memberRoles() {
			r := s.role(t, role.ID)
			c := iam.NewFromConfig(w.as(account, virginia))
			done(c.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &r.name, AssumeRolePolicyDocument: &r.trust}))(w)
			done(c.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &r.name, PolicyName: aws.String("all"), PolicyDocument: &r.policy}))(w)
		}
	}
	return p
}

// TestRolesOfTheTemplate: with the roles of the template and nothing else, everything is seen and what is planned can be
// deleted.
func TestRolesOfTheTemplate(t *testing.T) {
	t.Parallel()
	p := newRolesWorld(t, nil)
	plan := p.plan(0)
	p.want(t, plan, "delete", "delete", "delete")
	if !plan.Complete || len(failures(plan)) > 0 {
		t.Fatalf("complete: %v, %+v", plan.Complete, failures(plan))
	}
	p.save(0)
	s := p.delete(0, "--plan", "plan.json")
	for _, d := range []string{p.private, p.shared, p.own} {
		if got := s.state(d); got != "deleted" {
			t.Errorf("%s: %q", d, got)
		}
	}
}

// TestRolesTrust: nobody but the hub, from this organization, with this external id.
func TestRolesTrust(t *testing.T) {
	t.Parallel()
	for name, values := range map[string]map[string]string{
		"another external id":  {"ExternalId": "of-somebody-else"},
		"another organization": {"OrganizationId": "o-another0000"},
		"another principal":    {"HubPrincipalArn": "arn:aws:iam::" + accountC + ":root"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newRolesWorld(t, values)
			o := p.must(1, "plan", "--format", "json", "--all")
			plan := p.parsePlan([]byte(o.stdout))
			if plan.Complete || len(plan.Images) > 0 || !strings.Contains(o.stderr, "nothing could be read") || !strings.Contains(o.stdout, "its trust policy does not admit") {
				t.Errorf("complete: %v, %d images, %s", plan.Complete, len(plan.Images), o.stderr)
			}
		})
	}
}

// TestSweepRoleDenies: whatever another policy allows the sweep role, it deletes no repository and changes no policy.
func TestSweepRoleDenies(t *testing.T) {
	t.Parallel()
	p := newRolesWorld(t, nil)
	done(iam.NewFromConfig(p.as(accountA, virginia)).PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("DemurrageSweep"), PolicyName: aws.String("more"),
		PolicyDocument: aws.String(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}`)}))(p.world)
	assumed := done(sts.NewFromConfig(p.as(accountHub, virginia)).AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String("arn:aws:iam::" + accountA + ":role/DemurrageSweep"), RoleSessionName: aws.String("tests"), ExternalId: aws.String(externalID)}))(p.world)
	c := ecr.NewFromConfig(p.with(*assumed.Credentials.AccessKeyId, *assumed.Credentials.SessionToken, virginia))
	name := aws.String("private")
	done(c.DescribeImages(t.Context(), &ecr.DescribeImagesInput{RepositoryName: name}))(p.world) // the other policy does count
	_, repository := c.DeleteRepository(t.Context(), &ecr.DeleteRepositoryInput{RepositoryName: name, Force: true})
	_, lifecycle := c.PutLifecyclePolicy(t.Context(), &ecr.PutLifecyclePolicyInput{RepositoryName: name, LifecyclePolicyText: aws.String(
		`{"rules": [{"rulePriority": 1, "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}, "action": {"type": "expire"}}]}`)})
	_, policy := c.SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: name, PolicyText: aws.String(pullPolicy)})
	for operation, err := range map[string]error{"DeleteRepository": repository, "PutLifecyclePolicy": lifecycle, "SetRepositoryPolicy": policy} {
		if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "AccessDeniedException" {
			t.Errorf("%s: %v", operation, err)
		}
	}
	out := done(c.BatchDeleteImage(t.Context(), &ecr.BatchDeleteImageInput{RepositoryName: name, ImageIds: []ecrtypes.ImageIdentifier{{ImageDigest: &p.private}}}))(p.world)
	if len(out.Failures) > 0 {
		t.Errorf("what it is for: %+v", out.Failures)
	}
}

// motoStack is what a stack has, as roles.py found it.
type motoStack struct {
	Status  string
	Outputs map[string]string
	Types   []string
	Roles   map[string]struct{ Trust, Policy json.RawMessage }
}

// TestMotoRoles creates the stacks by CloudFormation, as moto has it, and scans and plans by their roles. moto enforces
// neither trust nor policies (TestRolesOfTheTemplate does): what the roles became is compared with what they are to be.
func TestMotoRoles(t *testing.T) {
	t.Parallel()
	w := newMotoWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "python3", filepath.Join("testdata", "moto", "roles.py"), w.moto, memberRolesFile, asJSON(t, w.Accounts))
	cmd.Env = w.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("roles.py: %v\n%s", err, &stderr)
	}
	var made struct{ Stacks, Instances map[string]motoStack }
	if err := json.Unmarshal(out, &made); err != nil {
		t.Fatal(err)
	}
	hub := "arn:aws:iam::" + w.Accounts["hub"] + ":role/DemurrageHub"
	for _, account := range []string{"hub", "platform", "shop", "pay"} {
		home := made.Stacks[account+"/"+motoEast]
		s := stackOf(t, map[string]string{"HubPrincipalArn": hub, "OrganizationId": "o-exampleorgid"})
		for name, role := range memberRoles() {
			want, got := s.role(t, role.ID), home.Roles[role.Name]
			if !sameJSON(t, want.trust, got.Trust) || !sameJSON(t, want.policy, got.Policy) {
				t.Errorf("%s, %s: %s %s", account, name, got.Trust, got.Policy)
			}
			if arn := "arn:aws:iam::" + w.Accounts[account] + ":role/" + role.Name; home.Outputs[role.ID+"Arn"] != arn {
				t.Errorf("%s: outputs %v, want %s", account, home.Outputs, arn)
			}
		}
		if other := made.Stacks[account+"/"+motoTokyo]; other.Status != "CREATE_COMPLETE" || len(other.Roles) != 0 {
			t.Errorf("%s: the stack that is not at home: %+v", account, other)
		}
		// The instance of the StackSet is without a sweep role.
		if i := made.Instances[account]; len(i.Roles) != 1 || i.Roles["OfTheSet"].Policy == nil {
			t.Errorf("%s: the instance of the StackSet: %+v", account, i)
		}
	}
	p := w.plan(t, exitOK, w.config(t, filepath.Join(t.TempDir(), "data"), w.listed()))
	w.compare(t, p, motoWanted)
	if !p.Complete {
		t.Errorf("%+v", p.Gaps)
	}
}

func sameJSON(t *testing.T, want string, got []byte) bool {
	t.Helper()
	var a, b any
	if err := errors.Join(json.Unmarshal([]byte(want), &a), json.Unmarshal(got, &b)); err != nil {
		t.Errorf("%v: %s", err, got)
		return false
	}
	return gocmp.Equal(a, b)
}

// motoForm asks moto itself for an operation of the query protocol.
func (w *motoWorld) motoForm(t *testing.T, service string, form url.Values) []byte {
	t.Helper()
	status, answer := w.call(t, motoHubKey, motoEast, service, "", form.Encode())
	if status != http.StatusOK {
		t.Errorf("%s: %d %s", form.Get("Action"), status, answer)
	}
	return answer
}

// motoTakesExclusion asks moto for a stack of an exclusion, which it makes without one.
func motoTakesExclusion(t *testing.T, w *motoWorld) bool {
	w.motoForm(t, "cloudformation", url.Values{"Version": {"2010-05-15"}, "Action": {"CreateStack"}, "StackName": {"exclusion"},
		"TemplateBody": {`{"Resources": {"X": {"Type": "AWS::ECR::PullTimeUpdateExclusion", "Properties": {"PrincipalArn": "arn:aws:iam::123456789012:role/X"}}}}`}})
	answer := w.motoForm(t, "cloudformation", url.Values{"Version": {"2010-05-15"}, "Action": {"DescribeStackResources"}, "StackName": {"exclusion"}})
	return !bytes.Contains(answer, []byte("PullTimeUpdateExclusion"))
}

// motoWritesPython asks moto for a stack of a role, and for its policy.
func motoWritesPython(t *testing.T, w *motoWorld) bool {
	w.motoForm(t, "cloudformation", url.Values{"Version": {"2010-05-15"}, "Action": {"CreateStack"}, "StackName": {"policy"}, "TemplateBody": {`{"Resources":
		{"X": {"Type": "AWS::IAM::Role", "Properties": {"RoleName": "Python", "AssumeRolePolicyDocument": {}, "Policies": [{"PolicyName": "P", "PolicyDocument":
		{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecr:DescribeImages", "Resource": "*"}]}}]}}}}`}})
	answer := w.motoForm(t, "iam", url.Values{"Version": {"2010-05-08"}, "Action": {"GetRolePolicy"}, "RoleName": {"Python"}, "PolicyName": {"P"}})
	return !bytes.Contains(answer, []byte("%22Version")) && !bytes.Contains(answer, []byte(`"Version`)) && !bytes.Contains(answer, []byte("&quot;Version"))
}
