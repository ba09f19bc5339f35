package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"sendonce"
)

// The exit codes. 2 is left to Go's own crashes.
const (
	exitDone         = 0
	exitFailed       = 1
	exitPartial      = 3
	exitNotSetUp     = 10
	exitLocked       = 11
	exitUnauthorized = 12
	exitUnavailable  = 13
	exitRefused      = 14
	exitDamaged      = 15
	exitUsage        = 64
	exitInterrupted  = 130
)

// exits is the one table from kinds of error to exit codes; a kind that is not
// in it is exitFailed. meaning is what `help exit-codes` prints.
var exits = []struct {
	code    int
	kind    sendonce.ErrKind
	meaning string
}{
	{exitDone, 0, "done"},
	{exitFailed, sendonce.KindInternal, "failed; the message says why"},
	{exitPartial, sendonce.KindPartial, "part failed: some files were skipped, or there are conflicts"},
	{exitNotSetUp, sendonce.KindNotSetUp, "not set up: no state, not joined, or no folder attached"},
	{exitLocked, sendonce.KindLocked, "locked: another process uses the directory, or runs already"},
	{exitUnauthorized, sendonce.KindUnauthorized, "not authorised: unknown or revoked device, wrong role, used or expired link"},
	{exitUnavailable, sendonce.KindUnavailable, "the proxy (or the daemon) cannot be reached; trying again may help"},
	{exitRefused, sendonce.KindRefused, "refused by a safety limit"},
	{exitDamaged, sendonce.KindDamaged, "damage was found"},
	{exitUsage, sendonce.KindUsage, "the command line or the config file is wrong"},
	{exitInterrupted, sendonce.KindInterrupted, "interrupted by a signal"},
}

// exitCode turns an error into the exit code.
func exitCode(err error) int {
	kind := sendonce.KindOf(err)
	if kind == sendonce.KindInternal && errors.Is(err, context.Canceled) {
		kind = sendonce.KindInterrupted
	}
	for _, e := range exits {
		if e.kind == kind {
			return e.code
		}
	}
	return exitFailed
}

// exitCodesTopic is the help topic `sendonce help exit-codes`.
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("sendonce ends with one of these codes:\n\n")
	for _, e := range exits {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.meaning)
		if e.code == exitFailed {
			b.WriteString("    2  the program crashed (Go's own code); please report it\n")
		}
	}
	b.WriteString("\nThe daemon and the proxy end with 0 after a first SIGINT or SIGTERM.")
	return &cobra.Command{Use: "exit-codes", Short: "What each exit code means", Long: b.String()}
}
