package main

import (
	"regexp"
	"testing"

	"demurrage/internal/scan"
)

// TestWaits: the target that began first is waited for, with the sources that have not answered, until it is stored.
func TestWaits(t *testing.T) {
	a, b := scan.Target{Account: accountA, Region: virginia}, scan.Target{Account: accountB, Region: ireland}
	var w waits
	for i, step := range []struct {
		event scan.Event
		want  string
	}{
		{scan.Event{Target: a}, `^waiting for 111111111111 us-east-1 \(0s\)$`},
		{scan.Event{Target: a, Source: "lambda"}, `us-east-1 lambda \(0s\)$`},
		{scan.Event{Target: a, Source: "ecs"}, `us-east-1 ecs, lambda \(0s\)$`},
		{scan.Event{Target: b}, `us-east-1 ecs, lambda \(0s\) and 1 more target$`},
		{scan.Event{Target: b, Source: "ecs"}, `us-east-1 ecs, lambda \(0s\) and 1 more target$`},
		{scan.Event{Target: a, Source: "ecs", Done: true}, `us-east-1 lambda \(0s\) and 1 more target$`},
		{scan.Event{Target: a, Source: "lambda", Done: true}, `us-east-1 \(0s\) and 1 more target$`},
		{scan.Event{Target: a, Done: true, Images: 7, Failed: []string{"ecs"}}, `^waiting for 222222222222 eu-west-1 ecs \(0s\)$`},
		{scan.Event{Target: b, Source: "ecs", Done: true}, `eu-west-1 \(0s\)$`},
		{scan.Event{Target: b, Done: true, Images: 1}, `^$`},
		{scan.Event{Target: a, Source: "ecs"}, `us-east-1 ecs \(0s\)$`}, // a look
		{scan.Event{Target: a, Source: "ecs", Done: true}, `^$`},
		{scan.Event{Target: a, Source: "ecs", Done: true}, `^$`},
	} {
		w.event(step.event)
		if got := w.String(); !regexp.MustCompile(step.want).MatchString(got) {
			t.Errorf("step %d: %q, want %s", i, got, step.want)
		}
	}
	if got := w.found(); got != "8 images, 1 source failed" {
		t.Error(got)
	}
	if got := oneLine("us-\x1b[2J\neast"); got != `us-\x1b[2J east` {
		t.Errorf("%q", got)
	}
}
