package unixsock

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"sendonce"
)

// openDir opens a directory only to be named through /proc/self/fd.
func openDir(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &sendonce.Error{Op: "open socket", Kind: sendonce.KindUnavailable,
			Err: &os.PathError{Op: "open", Path: dir, Err: err}}
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// private gives the socket's inode its mode before bind(2) makes the name, so
// that there is no moment at which others could connect.
func private(_, _ string, raw syscall.RawConn) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), 0o600) }); err != nil {
		return err
	}
	return failed
}
