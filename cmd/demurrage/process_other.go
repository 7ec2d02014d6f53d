//go:build !unix

package main

import "os/exec"

// ownGroup: there are no process groups here, so the command alone is killed.
func ownGroup(cmd *exec.Cmd) (kill func() error) {
	return func() error { return cmd.Process.Kill() }
}
