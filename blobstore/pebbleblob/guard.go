package pebbleblob

import (
	"errors"
	"io"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
)

// guardFS watches what the store does to the disk. A sync that fails is
// reported once and for all: it must not be retried, because the kernel may
// have dropped the dirty pages and would call the next sync a success.
// A lock that is taken becomes KindLocked here, where it is still known to be
// about a lock.
type guardFS struct {
	vfs.FS
	syncFailed func(path string, err error)
}

func (g *guardFS) wrap(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &guardFile{File: f, path: name, guard: g}, nil
}

func (g *guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, c)
	return g.wrap(name, f, err)
}

func (g *guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.OpenReadWrite(name, c, opts...)
	return g.wrap(name, f, err)
}

func (g *guardFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(oldname, newname, c)
	return g.wrap(newname, f, err)
}

func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	return g.wrap(name, f, err)
}

func (g *guardFS) Lock(name string) (io.Closer, error) {
	c, err := g.FS.Lock(name)
	var perr *fs.PathError
	switch {
	case err == nil:
		return c, nil
	case errors.As(err, &perr), isFull(err):
		return nil, err // the lock's file could not be made
	}
	return nil, &sendonce.Error{Op: "lock", Path: name, Kind: sendonce.KindLocked, Hint: hintLocked, Err: err}
}

// Unwrap implements vfs.FS.
func (g *guardFS) Unwrap() vfs.FS { return g.FS }

type guardFile struct {
	vfs.File
	path  string
	guard *guardFS
}

func (f *guardFile) check(err error) error {
	if err != nil {
		f.guard.syncFailed(f.path, err)
	}
	return err
}

// Write passes a used-up quota on as a full disk, the one error that Pebble's
// own wrapper for full disks knows.
func (f *guardFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err != nil && isFull(err) {
		err = &fs.PathError{Op: "write", Path: f.path, Err: syscall.ENOSPC}
	}
	return n, err
}

func (f *guardFile) Sync() error     { return f.check(f.File.Sync()) }
func (f *guardFile) SyncData() error { return f.check(f.File.SyncData()) }

func (f *guardFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.check(err)
}

// fullDisk holds back Pebble's own writes while the disk is full. Pebble ends
// the process when a write to its log fails, so the write that found no space
// waits here, and with it all others, until a probe can be written again.
// Callers of Put are told at once.
type fullDisk struct {
	fs    vfs.FS
	probe string        // path of the probe file
	size  int           // bytes of it
	every time.Duration // between two probes

	mu   sync.Mutex    // guards the fields below
	full chan struct{} // closed while the disk is full
	halt chan struct{} // closed to end a wait; nil while nothing may wait
}

// state returns a channel that is closed while the disk is full.
func (d *fullDisk) state() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

// allow lets writes wait for space from now on.
func (d *fullDisk) allow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.halt = make(chan struct{})
}

// end ends a wait for space, and every later one at once.
func (d *fullDisk) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.halt)
}

// wait is what vfs.OnDiskFull calls: it returns when the write may be tried
// again, or when the store closes.
func (d *fullDisk) wait() {
	d.mu.Lock()
	halt := d.halt
	if halt == nil {
		d.mu.Unlock()
		return
	}
	close(d.full)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.full = make(chan struct{})
		d.mu.Unlock()
	}()
	t := time.NewTimer(d.every)
	defer t.Stop()
	for {
		select {
		case <-halt:
			return
		case <-t.C:
		}
		if d.hasSpace() {
			return
		}
		t.Reset(d.every)
	}
}

// hasSpace tries to write the probe. Free space as the system reports it is not
// asked: it knows nothing of quotas and reserved blocks.
func (d *fullDisk) hasSpace() bool {
	f, err := d.fs.Create(d.probe, writeCategory)
	if err != nil {
		return false
	}
	_, err = f.Write(make([]byte, d.size))
	err = errors.Join(err, f.Close(), d.fs.Remove(d.probe))
	return err == nil
}
