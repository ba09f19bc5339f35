package pebbleidx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/internal/pebblefs"
)

// formatName is the file that says what a directory holds; formatText is what it
// says, with the version of the layout and of the comparer.
const (
	formatName    = "FORMAT"
	formatText    = "sendonce index %d\n"
	formatVersion = 1
)

const hintNewer = "use a version of sendonce at least as new as the one that wrote this directory"

// lockDir makes the directory and locks it.
func lockDir(fsys vfs.FS, dir string) (*pebble.Lock, error) {
	if err := pebblefs.MkdirAll(fsys, dir, 0o700); err != nil {
		return nil, err
	}
	lock, err := pebble.LockDirectory(dir, fsys)
	var perr *fs.PathError
	if err == nil || errors.As(err, &perr) || isFull(err) {
		return lock, err
	}
	return nil, &sendonce.Error{Kind: sendonce.KindLocked, Err: err,
		Hint: "stop the other process that uses this directory, or choose another directory"}
}

// checkFormat reads the format file, or writes one in a directory without a
// database. It is written before the database is made, so that a database
// without it is not ours.
func checkFormat(fsys vfs.FS, dir string) error {
	name := fsys.PathJoin(dir, formatName)
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		desc, err := pebble.Peek(dir, fsys)
		if err != nil {
			return err
		}
		if desc.Exists {
			return &sendonce.Error{Kind: sendonce.KindInvalid, Detail: "the directory holds a database that is not an index",
				Hint: "choose another directory"}
		}
		return writeFormat(fsys, dir, name)
	}
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(f, 64))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	var version int
	if _, err := fmt.Sscanf(string(b), formatText, &version); err != nil || version < 1 {
		return &sendonce.Error{Kind: sendonce.KindDamaged, Detail: "the file FORMAT is not of an index",
			Hint: "choose another directory, or restore this one from a copy"}
	}
	if version > formatVersion {
		return &sendonce.Error{Kind: sendonce.KindNewerFormat, Hint: hintNewer,
			Detail: fmt.Sprintf("the directory has format %d, this version reads up to %d", version, formatVersion)}
	}
	return nil
}

func writeFormat(fsys vfs.FS, dir, name string) error {
	tmp := name + ".tmp"
	f, err := fsys.Create(tmp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, formatText, formatVersion)
	if e := f.Sync(); err == nil {
		err = e
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		return err
	}
	for _, d := range []string{dir, fsys.PathDir(dir)} {
		if err := syncDir(fsys, d); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}

// wrap gives an error of Pebble or of the filesystem its kind; one that has a
// kind keeps it. nil stays nil.
func wrap(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var known *sendonce.Error
	if errors.As(err, &known) && path == "" {
		return err
	}
	e := &sendonce.Error{Op: op, Path: path, Err: err}
	switch {
	case known != nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
	case isFull(err):
		e.Kind, e.Hint = sendonce.KindFull, hintFull
	case pebble.IsCorruptionError(err):
		e.Kind, e.Hint = sendonce.KindDamaged, "check the disk, and restore the index from a copy"
	case strings.Contains(err.Error(), "unknown format major version"):
		// Pebble says it in words only.
		e.Kind, e.Hint = sendonce.KindNewerFormat, hintNewer
	}
	return e
}
