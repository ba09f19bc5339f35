package fsystest

import (
	"io"
	"sync/atomic"
	"syscall"

	"sendonce"
	"sendonce/internal/fsys"
)

// Target wraps a Target.
type Target struct {
	*Tree
	inner fsys.Target
	// Room is how many more bytes may be written before the disk is full; less
	// than zero: any number. WrapTarget sets it to -1.
	Room atomic.Int64
}

var _ fsys.Target = (*Target)(nil)

// WrapTarget wraps a target without hooks.
func WrapTarget(t fsys.Target) *Target {
	w := &Target{Tree: Wrap(t), inner: t}
	w.Room.Store(-1)
	return w
}

// Full is the error of a disk without room (KindFull), as fsys gives it.
func Full(path string) error {
	return &sendonce.Error{Op: "write", Path: path, Kind: sendonce.KindFull, Err: syscall.ENOSPC}
}

// Mkdir implements fsys.Target.
func (t *Target) Mkdir(path string) error {
	if err := t.before(Mkdir, path); err != nil {
		return err
	}
	return t.inner.Mkdir(path)
}

// Replace implements fsys.Target.
func (t *Target) Replace(path string, size int64, meta fsys.Meta, fill func(w io.WriterAt) error) error {
	if err := t.before(Replace, path); err != nil {
		return err
	}
	return t.inner.Replace(path, size, meta, func(w io.WriterAt) error {
		return fill(&writer{t: t, path: path, w: w})
	})
}

type writer struct {
	t    *Target
	path string
	w    io.WriterAt
}

// WriteAt writes as much as there is room for, as a real disk does.
func (w *writer) WriteAt(p []byte, off int64) (int, error) {
	w.t.Writes.Add(1)
	if err := w.t.before(Write, w.path); err != nil {
		return 0, err
	}
	for {
		room := w.t.Room.Load()
		if room < 0 {
			return w.w.WriteAt(p, off)
		}
		n := min(int64(len(p)), room)
		if !w.t.Room.CompareAndSwap(room, room-n) {
			continue
		}
		done, err := w.w.WriteAt(p[:n], off)
		if err == nil && done < len(p) {
			err = Full(w.path)
		}
		return done, err
	}
}

// Symlink implements fsys.Target.
func (t *Target) Symlink(path, target string, mtimeNS int64) error {
	if err := t.before(Symlink, path); err != nil {
		return err
	}
	return t.inner.Symlink(path, target, mtimeNS)
}

// SetMeta implements fsys.Target.
func (t *Target) SetMeta(path string, meta fsys.Meta) error {
	if err := t.before(SetMeta, path); err != nil {
		return err
	}
	return t.inner.SetMeta(path, meta)
}

// SyncDir implements fsys.Target.
func (t *Target) SyncDir(path string) error {
	t.Syncs.Add(1)
	if err := t.before(SyncDir, path); err != nil {
		return err
	}
	return t.inner.SyncDir(path)
}

// Sync implements fsys.Target.
func (t *Target) Sync() error {
	t.Syncs.Add(1)
	if err := t.before(Sync, ""); err != nil {
		return err
	}
	return t.inner.Sync()
}
