package main

// The exit codes, as the README documents them. Nothing that failed ever exits 0.
const (
	exitOK          = 0
	exitNothing     = 1   // nothing useful was done: bad config, no credentials, bad flags
	exitIncomplete  = 2   // done, but something was blocked because it could not be read
	exitFailed      = 3   // some deletions failed
	exitRefused     = 4   // refused by a brake or at the confirmation: nothing was touched
	exitInterrupted = 130 // by SIGINT or SIGTERM
)

// exitError is an error that decides the exit code.
type exitError struct {
	code int
	msg  string
}

func (e *exitError) Error() string { return e.msg }
