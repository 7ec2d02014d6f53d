package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the program as its users do. The scripts know, beside testscript's own commands:
//
//	exits CODE PROGRAM ARG…    run, and ask for the exit code
//	simulate whole|refusing    begin a simulated organization (seedPair; refusing: account B refuses the role), write
//	                           accounts.toml into the working directory and point the environment at both
//	json FILE                  ask for one JSON document ("stdout" is a file, as everywhere)
//	await FILE TEXT            wait until a file has a text
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// Nothing of the machine's AWS configuration, and no way to AWS where a script forgets to simulate.
			for name, value := range map[string]string{
				"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
				"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "GOCOVERDIR": os.Getenv("GOCOVERDIR"),
			} {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"simulate": simulate,
			"json":     isJSON,
			"await":    await,
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if want, err := strconv.Atoi(args[0]); err != nil || code != want {
		ts.Fatalf("exit code %d instead of %s", code, args[0])
	}
}

// script is a script as a reporter.
type script struct{ *testscript.TestScript }

func (script) Helper()                  {}
func (script) Context() context.Context { return context.Background() }

func simulate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 || args[0] != "whole" && args[0] != "refusing" {
		ts.Fatalf("usage: simulate whole|refusing")
	}
	w := startWorld(script{ts}, ts.MkAbs("."), virginia)
	ts.Defer(w.serve())
	w.config(worldConfig)
	w.role(accountA, accountHub)
	w.role(accountB, accountHub)
	p := seedPair(w)
	if args[0] == "refusing" {
		w.trust(accountB, accountHub, "another")
	}
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": w.url, "AWS_ACCESS_KEY_ID": w.hub, "AWS_SECRET_ACCESS_KEY": "simulated", "AWS_REGION": w.region,
		"REGISTRY": host(virginia), "USED": p.used, "UNUSED": p.shared,
	} {
		ts.Setenv(name, value)
	}
}

func isJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: json FILE")
	}
	if valid := json.Valid([]byte(ts.ReadFile(args[0]))); valid == neg {
		ts.Fatalf("%s: valid JSON: %t", args[0], valid)
	}
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	file := ts.MkAbs(filepath.Clean(args[0]))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if text, _ := os.ReadFile(file); strings.Contains(string(text), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s never has %q", args[0], args[1])
		}
	}
}
