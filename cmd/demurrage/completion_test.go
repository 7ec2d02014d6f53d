package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// completions are lines up to the cursor, and the candidates.
var completions = []struct {
	line string
	want []string // all of them, or with "…" some
}{
	{"demurrage pl", []string{"plan"}},
	{"demurrage ", []string{"plan", "delete", "…"}},
	{"demurrage --conf", []string{"--config"}},
	{"demurrage --config wrong.toml pl", []string{"plan"}},
	{"demurrage --config=wrong.toml pl", []string{"plan"}},
	{"demurrage plan --acc", []string{"--accept-incomplete"}},
	{"demurrage plan --format ", []string{"csv", "json", "markdown", "table"}},
	{"demurrage plan --format m", []string{"markdown"}},
	{"demurrage plan --all --format j", []string{"json"}},
	{"demurrage permissions --role ", []string{"all", "read", "sweep"}},
	{"demurrage plan --log-level w", []string{"warn"}},
	{"demurrage uses im", []string{"import"}},
	{"demurrage uses import --obs", []string{"--observed"}},
	{"demurrage uses import --covers eks:111111111111/us-east-1/main --obs", []string{"--observed"}},
	{"demurrage report --to s3://bucket/ --lay", []string{"--layers"}},
	{"demurrage completion f", []string{"fish"}},
	{"demurrage delete --now", nil}, // hidden, and refused
	{"demurrage explain --run x reference --form", nil},
	{"demurrage uses remove x pl", nil},
}

// TestComplete asks the program, as the scripts do.
func TestComplete(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	app := newApp(nil, nil)
	for _, c := range completions {
		words := strings.Split(c.line, " ")
		b.Reset()
		complete(&b, app, words[1:])
		var got []string
		for line := range strings.Lines(b.String()) {
			candidate, _, ok := strings.Cut(line, "\t")
			if !ok {
				t.Errorf("%q: no tab in %q", c.line, line)
			}
			got = append(got, candidate)
		}
		compareCandidates(t, c.line, got, c.want)
	}
}

func compareCandidates(t *testing.T, line string, got, want []string) {
	t.Helper()
	want, some := slices.Clone(want), slices.Contains(want, "…")
	want = slices.DeleteFunc(want, func(s string) bool { return s == "…" })
	slices.Sort(got)
	slices.Sort(want)
	if some {
		got = slices.DeleteFunc(got, func(s string) bool { return !slices.Contains(want, s) })
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q: %q instead of %q", line, got, want)
	}
}

// completionProbes ask a shell for the candidates of a line, one a line. The script is $1, the line $2.
var completionProbes = map[string]string{
	"bash": `source "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _demurrage demurrage; printf '%s\n' "${COMPREPLY[@]}"`,
	"zsh": `compdef() { }; _files() { }; _describe() { local -a all=("${(@P)2}"); print -rl -- "${all[@]%%:*}"; }
words=("${(@s: :)2}"); CURRENT=${#words}; source "$1"; _demurrage`,
	"fish": `source $argv[1]; function __fish_complete_path; end; complete -C $argv[2] | string split -f1 \t`,
}

// TestCompletionScripts sources each script in its shell, where there is one. A configuration that would fail, and a
// place that is no AWS, show that neither is touched.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "fish", "zsh"} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip(shell, "is not here")
			}
			dir := t.TempDir()
			script := filepath.Join(dir, "script")
			out, err := exec.Command("demurrage", "completion", shell).Output()
			if err == nil {
				err = os.WriteFile(script, out, 0o600)
			}
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "accounts.toml"), []byte("not TOML"), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range completions {
				args := []string{"-c", completionProbes[shell]}
				if shell != "fish" {
					args = append(args, shell) // $0
				}
				cmd := exec.Command(shell, append(args, script, c.line)...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "AWS_ENDPOINT_URL=http://127.0.0.1:1", "DEMURRAGE_LAST=not a number", "HOME="+dir)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%q: %v: %s", c.line, err, out)
				}
				compareCandidates(t, c.line, strings.Fields(string(out)), c.want)
			}
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) > 2 && shell == "bash" {
				t.Fatalf("left behind: %v, %v", entries, err)
			}
		})
	}
}

// TestCompletionValues holds the values that are offered to the usage of their flags, and asks that no --format is
// forgotten.
func TestCompletionValues(t *testing.T) {
	t.Parallel()
	app := newApp(nil, nil)
	found := map[string]bool{}
	var look func(*cli.Command)
	look = func(c *cli.Command) {
		for _, f := range c.Flags {
			name := "--" + f.Names()[0]
			usage := f.(cli.DocGenerationFlag).GetUsage()
			values := valuesOf(c.Name, name)
			if name == "--format" && values == nil {
				t.Errorf("%s %s has no values", c.Name, name)
			}
			for _, v := range values {
				found[c.Name+" "+name], found[name] = true, true
				if !strings.Contains(usage, v) {
					t.Errorf("%s %s: %q is not in its usage %q", c.Name, name, v, usage)
				}
			}
		}
		for _, sub := range c.Subcommands {
			look(sub)
		}
	}
	for _, c := range app.Commands {
		look(c)
	}
	for key := range flagValues {
		if command, _, ok := strings.Cut(key, " "); ok && app.Command(command) == nil {
			t.Errorf("%s: there is no such command", key)
			continue
		}
		if !found[key] {
			t.Errorf("%s is no flag", key)
		}
	}
}
