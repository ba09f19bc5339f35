package pebbleidx

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"sendonce/indexdb"
)

// TestCrashBetweenNames cuts the power at every sync of an Open, a write and
// another Open, on disks where each unsynced name survives or not by itself: the
// index opens all the same. (Without package pebblefs a marker may survive that
// names a manifest which did not.)
func TestCrashBetweenNames(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	mem := vfs.NewCrashableMem()
	var mu sync.Mutex // guards cuts and rng
	var cuts []*vfs.MemFS
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData:
			mu.Lock()
			defer mu.Unlock()
			for range 6 {
				cuts = append(cuts, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
			}
		}
		return nil
	}))
	for range 2 {
		d, err := Open(fs, "index", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Write(t.Context(), []indexdb.Op{{Key: []byte("a"), Value: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, cut := range cuts {
		d, err := Open(cut, "index", Options{})
		if err != nil {
			t.Fatalf("cut %d of %d: %v", i, len(cuts), err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrashAfterOpen: once a write has been acknowledged, the directory and all
// its parents are on the disk.
func TestCrashAfterOpen(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d, err := Open(mem, "/srv/new/index", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(t.Context(), []indexdb.Op{{Key: []byte("a"), Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	cut := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(cut, "/srv/new/index", Options{}); err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = d.View(t.Context(), func(r indexdb.Reader) error {
		v, err := r.Get([]byte("a"))
		if err == nil && string(v[0]) != "1" {
			t.Errorf("after the crash there is %q", v[0])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
