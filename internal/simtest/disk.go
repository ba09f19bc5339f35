package simtest

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrCrashed is what every operation on a Disk returns once it has crashed.
var ErrCrashed = errors.New("simtest: the disk has crashed")

// Disk is a disk in memory that can lose power. It implements vfs.FS, with "/"
// as its root. A process under test uses it until it crashes; from then on each
// operation fails with ErrCrashed, and the process unwinds through its ordinary
// error paths. Restart then gives the disk that the next process finds.
//
// Safe for concurrent use.
type Disk struct {
	mem     *vfs.MemFS
	crashAt atomic.Int64 // the first sync that does not happen; 0 is never
	syncs   atomic.Int64
	onSync  func(n int64, path string)

	// Operations hold mu for reading while they touch mem; crashing holds it for
	// writing, so that it cuts between operations and never through one.
	mu      sync.RWMutex
	crashed bool
}

var _ vfs.FS = (*Disk)(nil)

// NewDisk returns an empty disk that does not crash by itself.
func NewDisk() *Disk { return &Disk{mem: vfs.NewCrashableMem()} }

// CrashAt makes the disk crash instead of doing its n-th sync, counted from 1
// since NewDisk or Restart. Syncs of files and of directories count alike. 0
// takes the order back. Call it before the process starts.
func (d *Disk) CrashAt(n int64) { d.crashAt.Store(n) }

// Syncs returns how many syncs have been asked for.
func (d *Disk) Syncs() int64 { return d.syncs.Load() }

// OnSync calls fn before each sync, with its number and the path synced, and
// with no lock held. Call it before the process starts.
func (d *Disk) OnSync(fn func(n int64, path string)) { d.onSync = fn }

// Crash cuts the power now. Crashing twice is crashing once.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
}

// Crashed reports whether the disk has crashed.
func (d *Disk) Crashed() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.crashed
}

// Restart returns the disk as the next process finds it: all that was synced,
// and of each unsynced 4 KiB block and directory entry a share of unsynced
// percent, chosen by rng. It crashes d first if it has not crashed yet.
//
//	0    the strictest disk: nothing unsynced survives
//	100  only the process died, not the machine
func (d *Disk) Restart(unsynced int, rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.crashed = true
	return &Disk{mem: d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: rng})}
}

// do runs one operation, unless the power is off.
func (d *Disk) do(op func() error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.crashed {
		return ErrCrashed
	}
	return op()
}

// sync counts a sync, and crashes instead of doing it when its number has come.
func (d *Disk) sync(path string, op func() error) error {
	n := d.syncs.Add(1)
	if d.onSync != nil {
		d.onSync(n, path)
	}
	if at := d.crashAt.Load(); at > 0 && n >= at {
		d.Crash()
	}
	return d.do(op)
}

func (d *Disk) file(path string, open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := d.do(func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &diskFile{File: f, disk: d, path: path}, nil
}

// Create implements vfs.FS.
func (d *Disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(name, func() (vfs.File, error) { return d.mem.Create(name, c) })
}

// Open implements vfs.FS.
func (d *Disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(name, func() (vfs.File, error) { return d.mem.Open(name, opts...) })
}

// OpenReadWrite implements vfs.FS.
func (d *Disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.file(name, func() (vfs.File, error) { return d.mem.OpenReadWrite(name, c, opts...) })
}

// OpenDir implements vfs.FS.
func (d *Disk) OpenDir(name string) (vfs.File, error) {
	return d.file(name, func() (vfs.File, error) { return d.mem.OpenDir(name) })
}

// ReuseForWrite implements vfs.FS.
func (d *Disk) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file(newname, func() (vfs.File, error) { return d.mem.ReuseForWrite(oldname, newname, c) })
}

// Link implements vfs.FS.
func (d *Disk) Link(oldname, newname string) error {
	return d.do(func() error { return d.mem.Link(oldname, newname) })
}

// Remove implements vfs.FS.
func (d *Disk) Remove(name string) error {
	return d.do(func() error { return d.mem.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (d *Disk) RemoveAll(name string) error {
	return d.do(func() error { return d.mem.RemoveAll(name) })
}

// Rename implements vfs.FS.
func (d *Disk) Rename(oldname, newname string) error {
	return d.do(func() error { return d.mem.Rename(oldname, newname) })
}

// MkdirAll implements vfs.FS.
func (d *Disk) MkdirAll(dir string, perm os.FileMode) error {
	return d.do(func() error { return d.mem.MkdirAll(dir, perm) })
}

// Lock implements vfs.FS. The lock dies with the process: the disk that Restart
// returns has no locks held.
func (d *Disk) Lock(name string) (io.Closer, error) {
	var c io.Closer
	err := d.do(func() (err error) {
		c, err = d.mem.Lock(name)
		return err
	})
	return c, err
}

// List implements vfs.FS.
func (d *Disk) List(dir string) (names []string, err error) {
	err = d.do(func() (err error) {
		names, err = d.mem.List(dir)
		return err
	})
	return names, err
}

// Stat implements vfs.FS.
func (d *Disk) Stat(name string) (info vfs.FileInfo, err error) {
	err = d.do(func() (err error) {
		info, err = d.mem.Stat(name)
		return err
	})
	return info, err
}

// GetDiskUsage implements vfs.FS.
func (d *Disk) GetDiskUsage(path string) (use vfs.DiskUsage, err error) {
	err = d.do(func() (err error) {
		use, err = d.mem.GetDiskUsage(path)
		return err
	})
	return use, err
}

// PathBase implements vfs.FS.
func (d *Disk) PathBase(path string) string { return d.mem.PathBase(path) }

// PathJoin implements vfs.FS.
func (d *Disk) PathJoin(elem ...string) string { return d.mem.PathJoin(elem...) }

// PathDir implements vfs.FS.
func (d *Disk) PathDir(path string) string { return d.mem.PathDir(path) }

// Unwrap implements vfs.FS. A Disk hides what it is made of, so that nothing
// reaches the memory around the crash.
func (d *Disk) Unwrap() vfs.FS { return nil }

// diskFile is an open file of a Disk. Close and the methods that touch no data
// pass through even after a crash: a dead process's files are closed for it.
type diskFile struct {
	vfs.File
	disk *Disk
	path string
}

func (f *diskFile) Read(p []byte) (n int, err error) {
	err = f.disk.do(func() (err error) {
		n, err = f.File.Read(p)
		return err
	})
	return n, err
}

func (f *diskFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.disk.do(func() (err error) {
		n, err = f.File.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *diskFile) Write(p []byte) (n int, err error) {
	err = f.disk.do(func() (err error) {
		n, err = f.File.Write(p)
		return err
	})
	return n, err
}

func (f *diskFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.disk.do(func() (err error) {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	return n, err
}

func (f *diskFile) Stat() (info vfs.FileInfo, err error) {
	err = f.disk.do(func() (err error) {
		info, err = f.File.Stat()
		return err
	})
	return info, err
}

func (f *diskFile) Sync() error     { return f.disk.sync(f.path, f.File.Sync) }
func (f *diskFile) SyncData() error { return f.disk.sync(f.path, f.File.SyncData) }

// SyncTo promises nothing about what survives (vfs.File), so it does nothing
// here: a store that leans on it loses data in every crash test.
func (f *diskFile) SyncTo(int64) (fullSync bool, err error) {
	return false, f.disk.do(func() error { return nil })
}
