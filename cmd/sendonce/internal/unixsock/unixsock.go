// Package unixsock listens on and connects to Unix sockets by path: with mode
// 0600 from the first moment, over a stale socket that a killed process left, and
// at paths longer than the 107 bytes that a socket address holds.
//
// What it does not promise: that two processes that start at the same moment on
// one path do not both take it; the callers hold a lock on the directory.
package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"sendonce"
)

// maxPath is the longest path that fits sockaddr_un everywhere: 108 bytes with
// the closing NUL on Linux, 104 on the BSDs and macOS.
const maxPath = 103

// Listen makes the socket path, for its owner only. KindLocked if another
// process answers there; KindExists if something else has the name.
func Listen(path string) (net.Listener, error) {
	if err := clear(path); err != nil {
		return nil, err
	}
	address, release, err := short(path)
	if err != nil {
		return nil, err
	}
	defer release()
	config := net.ListenConfig{Control: private}
	l, err := config.Listen(context.Background(), "unix", address)
	if err != nil {
		return nil, &sendonce.Error{Op: "listen", Path: path, Kind: sendonce.KindUnavailable, Err: err}
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // it knows only the short name
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, &sendonce.Error{Op: "listen", Kind: sendonce.KindInternal, Err: err}
	}
	return &listener{Listener: l, path: path}, nil
}

type listener struct {
	net.Listener
	path string
}

// Close stops listening and removes the socket.
func (l *listener) Close() error {
	err := l.Listener.Close()
	if rm := os.Remove(l.path); err == nil && rm != nil && !errors.Is(rm, fs.ErrNotExist) {
		err = rm
	}
	return err
}

// clear removes a socket that nobody listens on.
func clear(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &sendonce.Error{Op: "listen", Kind: sendonce.KindUnavailable, Err: err}
	}
	if info.Mode().Type() != fs.ModeSocket {
		return &sendonce.Error{Op: "listen", Path: path, Kind: sendonce.KindExists, Detail: "it exists and is not a socket"}
	}
	conn, err := Dial(context.Background(), path)
	if err == nil {
		conn.Close()
		return &sendonce.Error{Op: "listen", Path: path, Kind: sendonce.KindLocked, Detail: "another process answers there",
			Hint: "stop it, or choose another socket"}
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	if err := os.Remove(path); err != nil {
		return &sendonce.Error{Op: "listen", Kind: sendonce.KindUnavailable, Err: err}
	}
	return nil
}

// Dial connects to the socket path; KindUnavailable if nobody answers.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	address, release, err := short(path)
	if err != nil {
		return nil, err
	}
	defer release()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", address)
	if err != nil {
		return nil, &sendonce.Error{Op: "connect", Path: path, Kind: sendonce.KindUnavailable, Err: err}
	}
	return conn, nil
}

// short returns an address for path that fits a socket address. release is
// called when the address has been used.
func short(path string) (address string, release func(), err error) {
	if len(path) <= maxPath {
		return path, func() {}, nil
	}
	dir, err := openDir(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	address = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if len(address) > maxPath {
		dir.Close()
		return "", nil, tooLong(path)
	}
	return address, func() { dir.Close() }, nil
}

func tooLong(path string) error {
	return &sendonce.Error{Op: "open socket", Path: path, Kind: sendonce.KindLimit,
		Detail: fmt.Sprintf("the path has %d bytes, a socket's may have %d", len(path), maxPath),
		Hint:   "choose a shorter path with --socket, or a shorter directory"}
}
