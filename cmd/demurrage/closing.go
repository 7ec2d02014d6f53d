package main

import (
	"path/filepath"
	"regexp"
	"strings"

	"demurrage/report"
)

// closing ends a command on stderr with what matters of a run, and the commands to go on with. It never ends with an error:
// what there was to do is done.
func (s *session) closing(run *report.Run, swept *report.Sweep, next []string) {
	if sharedBool(s.c, "quiet") {
		return
	}
	width, _ := terminal(s.stderr)
	if err := report.Closing(s.stderr, run, swept, next, report.TermOptions{Width: width, Color: color(s.c, s.stderr)}); err != nil {
		s.log.Warn("summary not written", "error", err)
	}
}

// mend are the commands about what a plan should not have: references to images that are gone, and gaps.
func (s *session) mend(run *report.Run) []string {
	var next []string
	if u := run.FirstBroken(); u != nil {
		next = append(next, s.command("explain", "--run", run.ID, u.Ref.String()))
	}
	if !run.Plan.Complete || len(run.Plan.Gaps) > 0 {
		next = append(next, s.command("check"))
	}
	return next
}

// proceed is mend, and what leads to the deletions of a plan. file is where the plan was written to, "" where it was not, and
// id the run to plan, "" for a new one.
func (s *session) proceed(run *report.Run, file, id string) []string {
	next := s.mend(run)
	switch {
	case run.Plan.Count.Delete.Images == 0:
	case run.WhatIf: // nothing may be deleted by it
		next = append(next, s.command("plan", "--out", "plan.json"))
	case filepath.Ext(file) == ".json":
		next = append(next, s.command("delete", "--plan", file))
	case id != "":
		next = append(next, s.command("plan", "--run", id, "--out", "plan.json"))
	default:
		next = append(next, s.command("plan", "--out", "plan.json"))
	}
	return next
}

// command is a command line of this program, with this configuration, for a POSIX shell.
func (s *session) command(args ...string) string {
	line := "demurrage"
	if config := sharedString(s.c, "config"); config != "accounts.toml" {
		line += " --config " + quoted(config)
	}
	for _, arg := range args {
		line += " " + quoted(arg)
	}
	return line
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

func quoted(arg string) string {
	if plainWord.MatchString(arg) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
