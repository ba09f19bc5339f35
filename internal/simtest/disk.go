package simtest

import (
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is a disk in memory that can lose power. It implements vfs.FS, with "/"
// as its root.
//
// What a disk would hold after a crash is fixed at the very moment of the crash;
// Restart returns it. The process that used the disk lives on as a ghost until
// the test ends it: its operations still succeed, but nobody will ever read what
// they wrote. (They do not fail, because Pebble panics, by design, when it cannot
// open its next log, and a panic would take the test with it.) So a test must
// not believe a ghost: what a process acknowledged counts only if the disk had
// not crashed by then. OnCrash is the place to cut its network and cancel its
// context.
//
// Safe for concurrent use.
type Disk struct {
	mem   *vfs.MemFS
	rng   *rand.Rand
	syncs atomic.Int64

	// Set before the process starts.
	crashAt  int64 // the first sync that does not happen; 0 is never
	unsynced int
	onSync   func(n int64, path string)
	onCrash  func()

	// Operations hold mu for reading while they touch mem; crashing holds it for
	// writing, so that it cuts between operations and never through one.
	mu    sync.RWMutex
	found *vfs.MemFS // what the crash left; nil before it
}

var _ vfs.FS = (*Disk)(nil)

// NewDisk returns an empty disk that does not crash by itself. rng decides what
// unsynced data survives a crash; the disk owns it from now on.
func NewDisk(rng *rand.Rand) *Disk { return &Disk{mem: vfs.NewCrashableMem(), rng: rng} }

// CrashAt makes the disk crash instead of doing its n-th sync, counted from 1
// since NewDisk or Restart; syncs of files and of directories count alike. For
// unsynced see Crash. Call it before the process starts.
func (d *Disk) CrashAt(n int64, unsynced int) { d.crashAt, d.unsynced = n, unsynced }

// OnSync calls fn before each sync, with its number and the path synced, and
// with no lock held. Call it before the process starts.
func (d *Disk) OnSync(fn func(n int64, path string)) { d.onSync = fn }

// OnCrash calls fn when the disk has crashed, before the operation that met the
// crash returns, and with no lock held. Call it before the process starts.
func (d *Disk) OnCrash(fn func()) { d.onCrash = fn }

// Syncs returns how many syncs have been asked for.
func (d *Disk) Syncs() int64 { return d.syncs.Load() }

// Crash cuts the power now. What was synced survives, and of each unsynced 4 KiB
// block and directory entry a share of unsynced percent:
//
//	0    the strictest disk: nothing unsynced survives
//	100  only the process died, not the machine
//
// Only the first crash counts.
func (d *Disk) Crash(unsynced int) {
	d.mu.Lock()
	first := d.found == nil
	if first {
		d.found = d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: d.rng})
	}
	d.mu.Unlock()
	if first && d.onCrash != nil {
		d.onCrash()
	}
}

// Crashed reports whether the disk has crashed.
func (d *Disk) Crashed() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.found != nil
}

// Restart returns the disk that the next process finds; nobody holds a lock on
// it and no crash is set. If the disk has not crashed yet, it crashes now, as
// Crash(0) does. Call it once the old process has ended, or its ghost will share
// the random numbers.
func (d *Disk) Restart() *Disk {
	d.Crash(0)
	return &Disk{mem: d.found, rng: d.rng}
}

// Copy returns another disk with what is on this one now, synced or not, as a
// backup tool would read it. Nobody holds a lock on it and no crash is set. rng
// is as for NewDisk.
func (d *Disk) Copy(rng *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{mem: d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng}), rng: rng}
}

// do runs one operation, not across a crash.
func (d *Disk) do(op func() error) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return op()
}

// sync counts a sync, and crashes instead when its number has come.
func (d *Disk) sync(path string, op func() error) error {
	n := d.syncs.Add(1)
	if d.onSync != nil {
		d.onSync(n, path)
	}
	if d.crashAt > 0 && n >= d.crashAt {
		d.Crash(d.unsynced)
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
func (d *Disk) List(dir string) ([]string, error) { return d.mem.List(dir) }

// Stat implements vfs.FS.
func (d *Disk) Stat(name string) (vfs.FileInfo, error) { return d.mem.Stat(name) }

// GetDiskUsage implements vfs.FS. A Disk has no size, so it is not supported.
func (d *Disk) GetDiskUsage(path string) (vfs.DiskUsage, error) { return d.mem.GetDiskUsage(path) }

// PathBase implements vfs.FS.
func (d *Disk) PathBase(path string) string { return d.mem.PathBase(path) }

// PathJoin implements vfs.FS.
func (d *Disk) PathJoin(elem ...string) string { return d.mem.PathJoin(elem...) }

// PathDir implements vfs.FS.
func (d *Disk) PathDir(path string) string { return d.mem.PathDir(path) }

// Unwrap implements vfs.FS. A Disk hides what it is made of, so that nothing
// reaches the memory around the crash.
func (d *Disk) Unwrap() vfs.FS { return nil }

// diskFile is an open file of a Disk. Reading, closing and the methods that touch
// no data need no care about crashes and pass through.
type diskFile struct {
	vfs.File
	disk *Disk
	path string
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

func (f *diskFile) Sync() error     { return f.disk.sync(f.path, f.File.Sync) }
func (f *diskFile) SyncData() error { return f.disk.sync(f.path, f.File.SyncData) }

// SyncTo promises nothing about what survives (vfs.File), so it does nothing
// here: a store that leans on it loses data in every crash test.
func (f *diskFile) SyncTo(int64) (bool, error) {
	return false, nil
}
