package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"demurrage/internal/orgsim"
)

const ptyWidth = 100

// onTerminal runs the program with its stderr, or all of its output, on a pseudo terminal, and gives what was written there.
func (w *world) onTerminal(t *testing.T, code int, args ...string) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	defer func() { _ = master.Close() }()
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: ptyWidth})
	}
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	tty, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	cmd, stdout, _ := w.command(args...)
	cmd.Env, cmd.Stderr = append(cmd.Env, "TERM=xterm"), tty
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = tty.Close()
	var shown bytes.Buffer
	_, _ = shown.ReadFrom(master) // ends with an error when the program has
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) || cmd.ProcessState.ExitCode() != code {
		t.Fatalf("demurrage %v: %v instead of exit code %d\n%s\n%s", args, err, code, shown.String(), stdout)
	}
	return shown.String()
}

var control = regexp.MustCompile("\x1b\\[([0-9]*)(?:;[0-9]+)*([A-Za-z])")

// screenOf is what stands on a terminal in the end. It knows what moves the cursor up and what clears the rest, and lines that
// are too long are its failures.
func screenOf(t *testing.T, shown string) string {
	t.Helper()
	var lines []string
	row := 0
	for _, line := range strings.SplitAfter(shown, "\n") {
		for {
			at := control.FindStringSubmatchIndex(line)
			if at == nil {
				break
			}
			switch n, _ := strconv.Atoi(line[at[2]:at[3]]); line[at[4]:at[5]] {
			case "A":
				row = max(row-n, 0)
			case "J":
				lines = lines[:min(row, len(lines))]
			case "m": // a colour
			default:
				t.Errorf("unexpected %q", line[at[0]:at[1]])
			}
			line = line[:at[0]] + line[at[1]:]
		}
		text := strings.TrimRight(line, "\r\n")
		if utf8.RuneCountInString(text) > ptyWidth && !strings.HasPrefix(text, "demurrage: ") {
			t.Errorf("longer than the terminal is wide: %q", text)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
			t.Errorf("controls the terminal: %q", text)
		}
		for len(lines) <= row {
			lines = append(lines, "")
		}
		lines[row] = text
		if strings.HasSuffix(line, "\n") {
			row++
		}
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// TestProgress: on a terminal a scan says how far it is, how often it has called, what it waits for and what has failed, and
// leaves nothing of that behind. Anywhere else it says nothing.
func TestProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, virginia)
	w.repository(accountA, virginia, "app")
	w.push(accountA, virginia, "app", "one", "v1")
	w.SetFaults([]orgsim.Fault{
		{Account: accountB, Region: ireland, Service: "ecs", LatencyMS: 600},
		{Account: accountA, Region: virginia, Service: "batch", Code: "AccessDeniedException", Status: 403},
	})
	shown := w.onTerminal(t, 2, "plan", "--format", "json")
	for _, want := range []string{
		`scanning \d/4 targets`, ` [1-9]\d* calls, 1 image, 1 source failed`, `waiting for 222222222222 eu-west-1 ecs \(\d+s\)`,
	} {
		if !regexp.MustCompile(want).MatchString(shown) {
			t.Errorf("%s is not among\n%q", want, shown)
		}
	}
	left := screenOf(t, shown)
	if strings.Contains(left, "scanning") || strings.Contains(left, "waiting") || !strings.Contains(left, "coverage is incomplete") {
		t.Errorf("what is left:\n%s", left)
	}
	if shown := w.onTerminal(t, 2, "--quiet", "plan", "--format", "json"); strings.Count(shown, "\n") != 1 || strings.Contains(shown, "\x1b") {
		t.Errorf("--quiet: %q", shown)
	}
	if o := w.must(2, "plan", "--format", "json"); strings.Contains(o.stderr, "scanning") || strings.Contains(o.stderr, "\x1b") {
		t.Errorf("not a terminal: %q", o.stderr)
	}
}

// TestProgressOfDelete: it says what became of how many images and in which account it is.
func TestProgressOfDelete(t *testing.T) {
	t.Parallel()
	p := newSweepPair(t)
	p.save(0)
	p.SetFaults([]orgsim.Fault{{Account: accountA, Operation: "BatchDeleteImage", LatencyMS: 700}})
	shown := p.onTerminal(t, 0, "delete", "--plan", "plan.json", "--format", "json")
	for _, want := range []string{`deleting \d/\d images`, `\d deleted, \d skipped, 0 failed`, `in 111111111111 alpha`} {
		if !regexp.MustCompile(want).MatchString(shown) {
			t.Errorf("%s is not among\n%q", want, shown)
		}
	}
	if left := screenOf(t, shown); strings.Contains(left, "deleting") || !strings.Contains(left, "can be deleted now") {
		t.Errorf("what is left:\n%s", left)
	}
}
