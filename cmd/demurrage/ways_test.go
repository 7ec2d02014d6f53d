package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/inspector2"
	inspectortypes "github.com/aws/aws-sdk-go-v2/service/inspector2/types"
	"github.com/aws/aws-sdk-go-v2/service/sfn"
)

// TestWay03PatternThatNamesNothing: rules for generations say how many are kept, never whether something is looked at;
// and a key that nobody knows is an error before anything is touched.
func TestWay03PatternThatNamesNothing(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.config(strings.ReplaceAll(worldConfig, `name_pattern = "*"
keep_count   = 1`, `name         = "*"
keep_count   = 1`)) // exact: no family and no function is called so
	p.want(t, p.plan(0), "delete", "delete", "delete")
	p.config(worldConfig + "\n[scan2]\nclusters = [\"none\"]\n")
	if o := p.must(1, "plan"); !strings.Contains(o.stderr, "scan2") {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// TestWay12ArtifactsOfAnImageInUse: what belongs to an image goes by the image, whatever its own age, and is not counted
// among the newest that are kept.
func TestWay12ArtifactsOfAnImageInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.cluster(accountB, virginia)
	w.share(virginia, "signed")
	used := w.push(accountA, virginia, "signed", "in use", "v1")
	unused := w.push(accountA, virginia, "signed", "not in use", "v0")
	cosign := func(of string) string { return strings.Replace(of, ":", "-", 1) + ".sig" }
	signature := w.push(accountA, virginia, "signed", "signature of in use", cosign(used))
	other := w.push(accountA, virginia, "signed", "signature of not in use", cosign(unused))
	w.task(virginia, "signed", host(virginia)+"/signed:v1")
	p := w.plan(0)
	for digest, want := range map[string]string{used: "keep", signature: "keep", unused: "delete", other: "delete"} {
		if got := p.action("signed", digest); got != want {
			t.Errorf("%s: %q instead of %q", digest, got, want)
		}
	}
}

// TestInspectorAddsProtection: what Inspector has seen in use is kept, though the account that uses it is not scanned.
func TestInspectorAddsProtection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.share(virginia, "app")
	w.AddAccount(accountC, "gamma")
	used := w.push(accountA, virginia, "app", "in use", "v1")
	unused := w.push(accountA, virginia, "app", "not in use", "v0")
	w.policy("app", strings.Replace(pullPolicy, accountB, accountC, 1))
	w.cluster(accountC, virginia)
	c, family := w.ecs(accountC, virginia), aws.String("app")
	done(c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: family, Cpu: aws.String("256"), Memory: aws.String("512"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: family, Image: aws.String(host(virginia) + "/app@" + used), Memory: aws.Int32(128), Essential: aws.Bool(true)}}}))(w)
	done(c.RunTask(t.Context(), &ecs.RunTaskInput{Cluster: aws.String("main"), TaskDefinition: family}))(w)
	w.config(worldConfig + "\n[[attestations]]\naccounts = [\"" + accountC + "\"]\nreason = \"believed to be empty\"\nexpires = \"2099-01-01\"\n")
	if p := w.plan(0); p.action("app", used) != "delete" {
		t.Fatalf("without Inspector: %+v: this test tests nothing", p.image("app", used))
	}
	done(inspector2.NewFromConfig(w.as(accountA, virginia)).Enable(t.Context(), &inspector2.EnableInput{
		ResourceTypes: []inspectortypes.ResourceScanType{inspectortypes.ResourceScanTypeEcr}}))(w)
	p := w.plan(0)
	if img := p.image("app", used); img.Action != "keep" || img.Reasons[0].Source != "inspector" {
		t.Errorf("what Inspector knows in use: %+v", img)
	}
	if got := p.action("app", unused); got != "delete" {
		t.Errorf("what it does not: %q", got)
	}
}

// TestPinAcrossAccounts: a state machine of one account starts an old revision of another's.
func TestPinAcrossAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.share(virginia, "app")
	used := w.push(accountA, virginia, "app", "in use", "v1")
	definition := w.pinnedDefinition("app", "v1")
	if p := w.plan(0); p.action("app", used) != "delete" {
		t.Fatal("nothing pins it yet: this test tests nothing")
	}
	machine := *done(sfn.NewFromConfig(w.as(accountA, ireland)).CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{
		Name: aws.String("m"), RoleArn: aws.String(someRole), Definition: aws.String(`{"Parameters": {"TaskDefinition": "` + definition + `"}}`),
	}))(w).StateMachineArn
	if img := w.plan(0).image("app", used); img.Action != "keep" || img.Reasons[0].Resource != machine || img.Reasons[0].Account != accountA {
		t.Errorf("what it pins: %+v", img)
	}
}

// TestNotes: what changes no decision is said.
func TestNotes(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	c := p.ecr(accountA, virginia)
	done(c.RegisterPullTimeUpdateExclusion(t.Context(), &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: aws.String("arn:aws:iam::" + accountA + ":role/DemurrageRead")}))(p.world)
	done(c.RegisterPullTimeUpdateExclusion(t.Context(), &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: aws.String("arn:aws:iam::" + accountA + ":role/ci")}))(p.world)
	done(c.PutReplicationConfiguration(t.Context(), &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &ecrtypes.ReplicationConfiguration{Rules: []ecrtypes.ReplicationRule{
		{Destinations: []ecrtypes.ReplicationDestination{{Region: aws.String(ireland), RegistryId: aws.String(accountA)}}}}}}))(p.world)
	done(sfn.NewFromConfig(p.as(accountB, virginia)).CreateStateMachine(t.Context(), &sfn.CreateStateMachineInput{
		Name: aws.String("m"), RoleArn: aws.String(someRole), Definition: aws.String(`{"Parameters": {"TaskDefinition.$": "$.definition"}}`)}))(p.world)
	plan := p.plan(0)
	p.want(t, plan, "delete", "delete", "delete")
	table := p.must(0, "plan", "--run", plan.RunID).stdout
	for _, want := range []string{"role/ci", "replicated to", "computed at run time"} {
		if !slices.ContainsFunc(plan.Notes, func(n planNote) bool { return strings.Contains(n.Resource+" "+n.Text, want) }) {
			t.Errorf("no note says %q: %+v", want, plan.Notes)
		}
		if !strings.Contains(strings.Join(strings.Fields(table), " "), want) {
			t.Errorf("the table does not say %q", want)
		}
	}
	for _, n := range plan.Notes {
		if strings.Contains(n.Resource, "DemurrageRead") {
			t.Errorf("our own exclusion is no news: %+v", n)
		}
	}
}
