package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/blobstore/blobtest"
	"sendonce/daemon"
	"sendonce/internal/fsys"
	"sendonce/internal/fsys/fsystest"
	"sendonce/protocol/prototest"
)

func fill(d *device, seed uint64) {
	for i := range 40 {
		d.write(fmt.Sprintf("dir%d/small%d", i%3, i), noise(seed+uint64(i), 100+900*i))
	}
	d.write("large", noise(seed+100, 3<<20))
}

// A connection that breaks at any point of a push costs an error, and the next
// pass completes the work.
func TestConnectionCut(t *testing.T) {
	t.Parallel()
	for n := int64(1); n < 4<<20; n = n*7/4 + 61 {
		var cut atomic.Int64
		w := newWorld(t, func(w *world) {
			w.net.OnDial = func(int, string) prototest.Fault { return prototest.Fault{CutAfter: cut.Load()} }
		})
		d := w.device(sendonce.RoleReadWrite)
		fill(d, uint64(n))
		cut.Store(n)
		_, err := d.trySync()
		w.kind(err, sendonce.KindUnavailable)
		cut.Store(0)
		d.sync()
		d.verify()
		d.settle()
		d.quiet()
		w.halt()
	}
}

// The same for a restore.
func TestConnectionCutWhileRestoring(t *testing.T) {
	t.Parallel()
	var cut atomic.Int64
	w := newWorld(t, func(w *world) {
		w.net.OnDial = func(int, string) prototest.Fault { return prototest.Fault{CutAfter: cut.Load()} }
	})
	d := w.device(sendonce.RoleReadWrite)
	fill(d, 1)
	d.write("tree", noise(3, 20*128<<10))
	d.sync()
	for n := int64(100); n < 5<<20; n = n*5/2 + 61 {
		to := filepath.Join(w.tempDir(), "to")
		cut.Store(n)
		sum, err := d.Restore(t.Context(), daemon.RestoreOptions{Folder: d.name, To: to})
		w.kind(err, sendonce.KindUnavailable)
		if len(sum.Skipped) > 0 {
			t.Errorf("cut after %d: skipped %v", n, sum.Skipped)
		}
		cut.Store(0)
		if sum, err = d.Restore(t.Context(), daemon.RestoreOptions{Folder: d.name, To: to}); err != nil {
			t.Fatalf("%v %+v", err, sum)
		}
		same(t, d.dir, to)
	}
}

func TestFileThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2000, 900 << 10, 3 << 20} {
		for _, times := range []int{1, 2, 100} {
			w := newWorld(t)
			d := w.device(sendonce.RoleReadWrite)
			d.write("a", noise(1, 5000))
			d.write("busy", noise(2, size))
			d.write("z", noise(3, 5000))
			left := times
			begun := false
			d.hook(func(tr *fsystest.Tree) {
				tr.Before = func(op fsystest.Op, path string) error {
					switch {
					case path != "busy":
					case op == fsystest.Open:
						begun = true
					case op == fsystest.Read && begun && left > 0:
						begun = false
						left--
						// Half of it, in place: old and new bytes side by side.
						f, err := os.OpenFile(d.path("busy"), os.O_WRONLY, 0)
						if err != nil {
							return err
						}
						_, err = f.WriteAt(noise(uint64(100+left), size/2), int64(size/2))
						return errors.Join(err, f.Close())
					}
					return nil
				}
			})
			sum, err := d.trySync()
			got := tree(t, d.restored())
			if times < 3 {
				w.must(err)
				d.verify()
			} else {
				w.kind(err, sendonce.KindPartial)
				if len(sum.Skipped) != 1 || sum.Skipped[0].Path != "busy" || !strings.Contains(sum.Skipped[0].Reason, "changed") {
					t.Errorf("skipped: %+v", sum.Skipped)
				}
				if _, ok := got["busy"]; ok {
					t.Error("a file that never came to rest was committed")
				}
			}
			if got["a"].data == "" || got["z"].data == "" {
				t.Error("its neighbours were not pushed")
			}
			left = 0
			d.sync()
			d.verify()
		}
	}
}

// Files that outgrow the size at which they are read whole, or end early, or
// vanish, between the scan and the reading.
func TestFileThatChangesBetweenScanAndReading(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"grows":     func(p string) error { return os.WriteFile(p, noise(9, 30<<20), 0o644) },
		"shrinks":   func(p string) error { return os.Truncate(p, 10) },
		"empties":   func(p string) error { return os.Truncate(p, 0) },
		"vanishes":  os.Remove,
		"directory": func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) },
	} {
		for _, size := range []int{1000, 2 << 20} {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				w := newWorld(t)
				d := w.device(sendonce.RoleReadWrite)
				d.write("a", noise(1, 5000))
				d.write("b", noise(2, size))
				d.write("c", noise(3, 2<<20))
				done := false
				d.hook(func(tr *fsystest.Tree) {
					tr.Before = func(op fsystest.Op, path string) error {
						if op == fsystest.Open && path == "b" && !done {
							done = true
							return change(d.path("b"))
						}
						return nil
					}
				})
				if _, err := d.trySync(); err != nil {
					w.kind(err, sendonce.KindPartial)
				}
				d.sync()
				d.verify()
			})
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	for _, name := range []string{"small", "fine", "large", "bad sector", "late", "link"} {
		d.write(name, noise(1, 3000))
	}
	d.write("large", noise(2, 3<<20))
	d.write("bad sector", noise(3, 2<<20))
	d.hook(func(tr *fsystest.Tree) {
		reads := 0
		tr.Before = func(op fsystest.Op, path string) error {
			switch {
			case op == fsystest.Open && (path == "small" || path == "large"):
				return &fs.PathError{Op: "open", Path: path, Err: syscall.EACCES}
			case op == fsystest.Read && path == "bad sector":
				if reads++; reads > 1 {
					return &fs.PathError{Op: "read", Path: path, Err: syscall.EIO}
				}
			}
			return nil
		}
	})
	sum, err := d.trySync()
	w.kind(err, sendonce.KindPartial)
	if len(sum.Skipped) != 3 || sum.Changes != 3 {
		t.Errorf("%+v", sum)
	}
	d.openTree = func(dir string) (fsys.Tree, error) { return fsys.OpenTree(dir) }
	d.sync()
	d.verify()
}

// The proxy's disk is full: a clear error, nothing acknowledged is lost, and the
// push goes on when there is room.
func TestProxyFull(t *testing.T) {
	t.Parallel()
	full := &sendonce.Error{Op: "put records", Kind: sendonce.KindFull, Detail: "no space left"}
	var left atomic.Int64
	left.Store(1 << 40)
	w := newWorld(t, func(w *world) {
		w.store = &blobtest.Faulty{Store: w.store, Hook: func(c blobtest.Call) error {
			if c.Op == "put" && !c.Done && left.Add(-1) < 0 {
				return full
			}
			return nil
		}}
	})
	d := w.device(sendonce.RoleReadWrite)
	d.write("first", noise(1, 10_000))
	d.sync()
	fill(d, 10)
	left.Store(0)
	_, err := d.trySync()
	w.kind(err, sendonce.KindFull)
	if got := tree(t, d.restored()); got["first"].data != string(noise(1, 10_000)) {
		t.Error("what was acknowledged is lost")
	}
	left.Store(1 << 40)
	d.sync()
	d.verify()
}

// The client's own disk is full: the pass fails, and is made good later.
func TestStateFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	disk := &smallDisk{FS: vfs.NewMem()}
	d := w.deviceOn(disk, sendonce.RoleReadWrite)
	d.write("a", noise(1, 10_000))
	d.sync()
	d.write("b", noise(2, 10_000))
	disk.full.Store(true)
	_, err := d.trySync()
	w.kind(err, sendonce.KindFull)
	disk.full.Store(false)
	d.sync()
	d.verify()
}

// smallDisk is a disk that may say that hardly anything is left of it.
type smallDisk struct {
	vfs.FS
	full atomic.Bool
}

func (s *smallDisk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	u := vfs.DiskUsage{TotalBytes: 1 << 40, AvailBytes: 1 << 39}
	if s.full.Load() {
		u.AvailBytes = 1 << 10
	}
	return u, nil
}

// One chunk that the store has lost costs one file.
func TestDamagedChunkIsSkippedByRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("bad", noise(1, 200<<10))
	d.sync() // packs of their own
	d.write("good", noise(2, 200<<10))
	d.write("tree", noise(3, 40*64<<10))
	d.sync()
	w.damage(0)
	to := filepath.Join(w.tempDir(), "to")
	sum, err := d.Restore(t.Context(), daemon.RestoreOptions{Folder: d.name, To: to})
	w.kind(err, sendonce.KindPartial)
	if len(sum.Skipped) != 1 || sum.Skipped[0].Path != "bad" || sum.Files != 2 {
		t.Errorf("%+v", sum)
	}
	got := tree(t, to)
	if got["good"].data != string(noise(2, 200<<10)) || len(got) != 2 {
		t.Errorf("restored: %d entries", len(got))
	}
}

func TestCancelledSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	fill(d, 1)
	for _, at := range []int64{1, 5, 20} {
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		d.hook(func(tr *fsystest.Tree) {
			tr.Before = func(op fsystest.Op, path string) error {
				if op == fsystest.Open {
					if n.Add(1) == at {
						cancel()
					}
				}
				return nil
			}
		})
		_, err := d.Sync(ctx, nil, daemon.SyncOptions{})
		w.kind(err, sendonce.KindInterrupted)
		cancel()
	}
	d.openTree = func(dir string) (fsys.Tree, error) { return fsys.OpenTree(dir) }
	d.sync()
	d.verify()
}

func TestOtherServerAtTheAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	w.halt()
	_, err := d.trySync()
	w.kind(err, sendonce.KindUnavailable)
	l, err := w.net.Listen("proxy", prototest.Key(77))
	w.must(err)
	_, err = d.trySync()
	w.kind(err, sendonce.KindUnauthorized)
	w.must(l.Close())
	w.start()
	d.sync()
}
