package pebbleblob

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"sendonce"
)

const (
	hintFull    = "free some space on the disk that holds the chunk store, then try again"
	hintDamaged = "check the disk, then run verify; clients that still have the data send it again"
	hintLocked  = "stop the other process that uses this directory, or choose another directory"
	hintNewer   = "use a version of sendonce at least as new as the one that wrote this directory"
	hintFatal   = "check the disk and its cables, then start again; nothing that was acknowledged depends on this write"
)

// wrap gives an error of Pebble or of the filesystem its kind. An error that
// has a kind already keeps it. nil stays nil.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	e := &sendonce.Error{Op: op, Path: path, Err: err}
	var known *sendonce.Error
	switch {
	case errors.As(err, &known):
	case isFull(err):
		e.Kind, e.Hint = sendonce.KindFull, hintFull
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist):
		// A table that the manifest names and the directory lacks is damage too.
		e.Kind, e.Hint = sendonce.KindDamaged, hintDamaged
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		e.Kind = sendonce.KindInterrupted
	default:
		e.Kind = sendonce.KindInternal
	}
	return e
}

// isFull reports whether the disk or a quota on it is used up.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errQuota)
}

// wrapOpen is wrap for errors of pebble.Open, which tells less.
func wrapOpen(fsys vfs.FS, dir string, err error) error {
	const op = "open chunk store"
	if newerPebble(fsys, dir) {
		return &sendonce.Error{Op: op, Path: dir, Kind: sendonce.KindNewerFormat, Hint: hintNewer, Err: err}
	}
	if strings.Contains(err.Error(), "object size mismatch") {
		// A table that was cut short; Pebble does not mark this as damage.
		return &sendonce.Error{Op: op, Path: dir, Kind: sendonce.KindDamaged, Hint: hintDamaged, Err: err}
	}
	return wrap(op, dir, err)
}

// newerPebble reports whether dir was written in a format that this version of
// Pebble does not know. Pebble says so only in words, so its marker is read here.
func newerPebble(fsys vfs.FS, dir string) bool {
	_, v, err := locate(fsys, dir)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(v, 10, 64)
	return err == nil && n > uint64(pebble.FormatNewest)
}

func locate(fsys vfs.FS, dir string) (*atomicfs.Marker, string, error) {
	m, v, err := atomicfs.LocateMarker(fsys, dir, "format-version")
	if err != nil {
		return nil, "", err
	}
	return m, v, m.Close()
}
