//go:build !unix

package main

import (
	"context"

	"sendonce/daemon"
)

// checkMachine has nothing to look at: there is no portable way to ask.
func checkMachine(context.Context, string, *daemon.Status) []finding { return nil }
