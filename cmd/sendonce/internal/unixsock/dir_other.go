//go:build !linux

package unixsock

import (
	"os"
	"syscall"
)

// openDir fails: there is no /proc here to shorten a path with.
func openDir(dir string) (*os.File, error) { return nil, tooLong(dir) }

// private does nothing; the directory's mode guards the moment until chmod.
func private(_, _ string, _ syscall.RawConn) error { return nil }
