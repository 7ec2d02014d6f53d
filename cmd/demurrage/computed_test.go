package main

import (
	"testing"

	eventstypes "github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// TestComputedTag: where only the tag of an image is filled in at run time, any image of the repository may be meant,
// however the text writes that down. It is never "latest".
func TestComputedTag(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.cluster(accountB, virginia)
	machine := func(image string) func(string) {
		return func(repository string) {
			w.machine(repository, `{"QueryLanguage": "JSONata", "StartAt": "run", "States": {"run": {"Type": "Task", "Resource": "arn:aws:states:::sagemaker:createTrainingJob.sync",
				"Arguments": {"AlgorithmSpecification": {"TrainingImage": "`+image+`"}}, "End": true}}}`)
		}
	}
	rule := func(image string) func(string) {
		return func(repository string) {
			w.rule(repository, eventstypes.Target{Arn: new("arn:aws:states:" + virginia + ":" + accountB + ":stateMachine:run"), InputTransformer: &eventstypes.InputTransformer{
				InputPathsMap: map[string]string{"version": "$.detail.version"}, InputTemplate: new(`{"image": "` + image + `"}`)}})
		}
	}
	cases := map[string]func(string){
		"jsonata-tag":           machine(`{% '` + host(virginia) + `/jsonata-tag:' & $states.input.version %}`),
		"jsonata-digest":        machine(`{% '` + host(virginia) + `/jsonata-digest@' & $states.input.digest %}`),
		"jsonata-part-of-a-tag": machine(`{% '` + host(virginia) + `/jsonata-part-of-a-tag:v' & $states.input.version %}`),
		"jsonata-quotes":        machine(`{% \"` + host(virginia) + `/jsonata-quotes:\" & $states.input.version %}`),
		"jsonata-joined-twice":  machine(`{% '` + host(virginia) + `/jsonata-joined-twice' & ':' & $states.input.version %}`),
		"transformer":           rule(host(virginia) + `/transformer:<version>`),
		"transformer-part":      rule(host(virginia) + `/transformer-part:v<version>`),
		"format":                machine(`States.Format('` + host(virginia) + `/format:{}', $.version)`),
	}
	used := map[string]string{}
	for repository, use := range cases {
		w.share(virginia, repository)
		used[repository] = w.push(accountA, virginia, repository, repository+" in use", "v7")
		use(repository)
	}
	w.share(virginia, "literal")
	literal := w.push(accountA, virginia, "literal", "in use", "v7")
	unused := w.push(accountA, virginia, "literal", "not in use", "v6")
	machine(`{% '` + host(virginia) + `/literal:v7' %}`)("literal")
	p := w.plan(2)
	for repository := range cases {
		if img := p.image(repository, used[repository]); img.Action != "blocked" {
			t.Errorf("%s: %q instead of blocked: %+v", repository, img.Action, img.Reasons)
		}
	}
	if got := p.action("literal", literal) + " " + p.action("literal", unused); got != "keep delete" {
		t.Errorf("what is not computed: %s", got)
	}
}
