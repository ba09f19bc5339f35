package simtest_test

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce/internal/simtest"
)

const category = vfs.WriteCategoryUnspecified

// create writes a file and syncs it if told to.
func create(t *testing.T, d *simtest.Disk, name, content string, sync bool) {
	t.Helper()
	f, err := d.Create(name, category)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func syncDir(t *testing.T, d *simtest.Disk, dir string) {
	t.Helper()
	f, err := d.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, d *simtest.Disk, name string) (string, bool) {
	t.Helper()
	f, err := d.Open(name)
	if err != nil {
		return "", false
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), true
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	rng := newRand(t)
	for _, tt := range []struct {
		unsynced int
		want     map[string]string
	}{
		{0, map[string]string{"both": "1", "name": ""}},
		{100, map[string]string{"both": "1", "name": "2", "data": "3"}},
	} {
		d := simtest.NewDisk(rng)
		create(t, d, "both", "1", true)
		create(t, d, "name", "2", false)
		syncDir(t, d, "/")
		create(t, d, "data", "3", true)
		d.Crash(tt.unsynced)
		found := d.Restart()
		names, err := found.List("/")
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != len(tt.want) {
			t.Errorf("%d %% unsynced: found %v", tt.unsynced, names)
		}
		for name, want := range tt.want {
			if got, ok := content(t, found, name); !ok || got != want {
				t.Errorf("%d %% unsynced: %s holds %q, %t, want %q", tt.unsynced, name, got, ok, want)
			}
		}
	}
}

// The other operations of a filesystem, as Pebble uses them.
func TestFilesystem(t *testing.T) {
	d := simtest.NewDisk(newRand(t))
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := d.PathJoin("/", "x", "y")
	check(d.MkdirAll(dir, 0o755))
	a, b := d.PathJoin(dir, "a"), d.PathJoin(dir, "b")
	if d.PathDir(a) != dir || d.PathBase(a) != "a" || d.Unwrap() != nil {
		t.Error("paths do not come apart as they were joined")
	}
	create(t, d, a, "one", true)
	check(d.Link(a, b))
	check(d.Remove(a))
	check(d.Rename(b, a))
	f, err := d.OpenReadWrite(a, category)
	check(err)
	_, err = f.WriteAt([]byte("T"), 0)
	check(err)
	if full, err := f.SyncTo(3); full || err != nil {
		t.Errorf("SyncTo: %t, %v", full, err)
	}
	check(f.SyncData())
	check(f.Close())
	if got, _ := content(t, d, a); got != "Tne" {
		t.Errorf("a holds %q", got)
	}
	info, err := d.Stat(a)
	check(err)
	if info.Size() != 3 {
		t.Errorf("a has %d bytes", info.Size())
	}
	if _, err := d.GetDiskUsage(dir); err == nil {
		t.Error("a disk without a size tells its usage")
	}
	g, err := d.ReuseForWrite(a, b, category)
	check(err)
	check(g.Close())
	if names, err := d.List(dir); err != nil || !slices.Equal(names, []string{"b"}) {
		t.Errorf("found %v, %v", names, err)
	}
	check(d.RemoveAll("/x"))
	if _, err := d.Open(b); err == nil {
		t.Error("b is there after RemoveAll")
	}
}

func TestCrashAtSync(t *testing.T) {
	d := simtest.NewDisk(newRand(t))
	crashes := 0
	d.OnCrash(func() { crashes++ })
	var paths []string
	d.OnSync(func(n int64, path string) { paths = append(paths, fmt.Sprint(n, path)) })
	d.CrashAt(3, 0)
	create(t, d, "a", "1", true)
	syncDir(t, d, "/")
	if d.Crashed() {
		t.Fatal("crashed too early")
	}
	create(t, d, "a", "changed", true) // the crash comes instead of this sync
	if !d.Crashed() || crashes != 1 {
		t.Fatalf("crashed: %t, OnCrash called %d times", d.Crashed(), crashes)
	}
	create(t, d, "ghost", "2", true)
	syncDir(t, d, "/")
	if got, ok := content(t, d, "ghost"); !ok || got != "2" {
		t.Errorf("the ghost reads %q, %t", got, ok)
	}
	d.Crash(100)
	if crashes != 1 {
		t.Errorf("OnCrash called %d times", crashes)
	}
	if want := []string{"1a", "2/", "3a", "4ghost", "5/"}; !slices.Equal(paths, want) || d.Syncs() != 5 {
		t.Errorf("syncs %v, counted %d, want %v", paths, d.Syncs(), want)
	}
	found := d.Restart()
	if got, _ := content(t, found, "a"); got != "1" {
		t.Errorf("a holds %q after the crash", got)
	}
	if _, ok := content(t, found, "ghost"); ok {
		t.Error("what the ghost wrote is there after the crash")
	}
	if found.Syncs() != 0 || found.Crashed() {
		t.Errorf("the new disk begins with %d syncs, crashed %t", found.Syncs(), found.Crashed())
	}
}

func TestLockDiesWithTheProcess(t *testing.T) {
	d := simtest.NewDisk(newRand(t))
	if _, err := d.Lock("LOCK"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock("LOCK"); err == nil {
		t.Fatal("locked twice")
	}
	if _, err := d.Restart().Lock("LOCK"); err != nil {
		t.Fatalf("after the crash: %v", err)
	}
}

// quiet keeps Pebble's messages out of the test's output.
type quiet struct{ t *testing.T }

func (quiet) Infof(string, ...any)                {}
func (q quiet) Errorf(format string, args ...any) { q.t.Logf(format, args...) }
func (q quiet) Fatalf(format string, args ...any) { q.t.Errorf(format, args...) }
func openDB(t *testing.T, d *simtest.Disk) *pebble.DB {
	t.Helper()
	db, err := pebble.Open("/db", &pebble.Options{FS: d, Logger: quiet{t}, MemTableSize: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// TestPebbleInBubble runs Pebble in a bubble: a writer that sleeps between synced
// writes, for two hours that pass at once, a crash in the middle, a restart.
func TestPebbleInBubble(t *testing.T) {
	start := time.Now()
	synctest.Test(t, func(t *testing.T) {
		rng := newRand(t)
		d := simtest.NewDisk(rng)
		d.CrashAt(200+rng.Int64N(200), rng.IntN(101))
		crashed := make(chan struct{})
		d.OnCrash(func() { close(crashed) })
		db := openDB(t, d)
		var acked atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := int64(1); ; i++ {
				if err := db.Set(fmt.Appendf(nil, "%08d", i), make([]byte, 1000), pebble.Sync); err != nil {
					t.Error(err)
					return
				}
				if d.Crashed() {
					return // the word of a ghost
				}
				acked.Store(i)
				time.Sleep(20 * time.Second)
			}
		}()
		began := time.Now()
		<-crashed
		<-done
		if took := time.Since(began); took < 30*time.Minute {
			t.Errorf("the crash came after %v of simulated time", took)
		}
		// The ghost's goroutines must end before the bubble does.
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		db = openDB(t, d.Restart())
		for i := int64(1); i <= acked.Load(); i++ {
			_, c, err := db.Get(fmt.Appendf(nil, "%08d", i))
			if err != nil {
				t.Fatalf("write %d of %d: %v", i, acked.Load(), err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		t.Logf("%d writes", acked.Load())
	})
	t.Logf("%v of real time", time.Since(start))
}
