package fsys

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"sendonce"
)

// tempPrefix begins the names of files that are being written.
const tempPrefix = ".sendonce-tmp-"

// IsTemp reports whether name is one of our own temporary files, which a crash
// may leave behind.
func IsTemp(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// check is the lexical door: it refuses every path that could name something
// else than an entry below the root, before the kernel sees it.
func check(path string) error {
	if path == "" {
		return nil
	}
	if len(path) > sendonce.MaxPath {
		return &sendonce.Error{Op: "open", Path: path[:64] + "...", Kind: sendonce.KindLimit, Detail: "the path is longer than the limit of 4096 bytes"}
	}
	for rest, part := path, ""; rest != ""; {
		var more bool
		part, rest, more = strings.Cut(rest, "/")
		if err := sendonce.CheckName(part); err != nil {
			return &sendonce.Error{Op: "open", Path: path, Kind: sendonce.KindInvalid, Err: err}
		}
		if more && rest == "" {
			return &sendonce.Error{Op: "open", Path: path, Kind: sendonce.KindInvalid, Detail: "the path ends in '/'"}
		}
	}
	return nil
}

// split returns the directory and the name of a path that check let pass.
func split(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// wrap gives an error of the system its kind and its path.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var own *sendonce.Error
	if errors.As(err, &own) { // says it better already
		return err
	}
	e := &sendonce.Error{Op: op, Path: path, Kind: sendonce.KindInternal, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Kind, e.Hint = sendonce.KindFull, "make room on this disk and try again"
	case errors.Is(err, fs.ErrPermission):
		e.Kind, e.Hint = sendonce.KindUnauthorized, "give the user that sendonce runs as access, or leave it out with .sendonceignore"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // a directory on the way is a file now
		e.Kind = sendonce.KindNotFound
	case errors.Is(err, fs.ErrExist):
		e.Kind = sendonce.KindExists
	case errors.Is(err, syscall.EISDIR):
		e.Kind, e.Hint = sendonce.KindExists, "move the directory away, or restore to an empty directory"
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ETXTBSY):
		e.Kind = sendonce.KindBusy
	case errors.Is(err, syscall.ENAMETOOLONG):
		e.Kind = sendonce.KindLimit
	case errors.Is(err, syscall.ELOOP):
		e.Kind, e.Err = sendonce.KindInvalid, errors.New("a symlink is in the way")
	case errors.Is(err, syscall.EXDEV):
		e.Kind, e.Err = sendonce.KindInvalid, errors.New("it leads out of the root")
	}
	return e
}
