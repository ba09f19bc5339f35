package state

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"sendonce"
)

// syncFS calls crash before every sync of a file or directory, that is, at
// every point where the disk's state is about to become more.
type syncFS struct {
	vfs.FS
	crash func()
}

type syncFile struct {
	vfs.File
	fs *syncFS
}

func (f syncFile) Sync() error {
	f.fs.crash()
	return f.File.Sync()
}

func (f syncFile) SyncData() error {
	f.fs.crash()
	return f.File.SyncData()
}

func (f syncFile) SyncTo(n int64) (bool, error) {
	f.fs.crash()
	return f.File.SyncTo(n)
}

func (s *syncFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return syncFile{f, s}, nil
}

func (s *syncFS) Create(n string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.wrap(s.FS.Create(n, c))
}

func (s *syncFS) OpenReadWrite(n string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return s.wrap(s.FS.OpenReadWrite(n, c, o...))
}

func (s *syncFS) OpenDir(n string) (vfs.File, error) { return s.wrap(s.FS.OpenDir(n)) }

func (s *syncFS) ReuseForWrite(a, b string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.wrap(s.FS.ReuseForWrite(a, b, c))
}

// TestCrashKeepsAPrefix cuts the power before every sync, with none, some or
// all of the unsynced writes lost: what is there afterwards is the state after
// some batch, no earlier than the last one that Apply acknowledged.
func TestCrashKeepsAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type crash struct {
			fs    *vfs.MemFS
			acked int
		}
		var (
			mu      sync.Mutex
			crashes []crash
			acked   int
		)
		mem := vfs.NewCrashableMem()
		seed := rapid.Uint64().Draw(t, "seed")
		rng := rand.New(rand.NewPCG(seed, 0))
		cut := func() {
			mu.Lock()
			defer mu.Unlock()
			lose := []int{0, 50, 100}[len(crashes)%3]
			crashes = append(crashes, crash{mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: lose, RNG: rng}), acked})
		}
		d, err := Open(&syncFS{mem, cut}, "state", Options{})
		if err != nil {
			t.Fatalf("%v", err)
		}
		models := []*model{newModel()}
		m := newModel()
		for seq := range rapid.Uint64Range(1, 4).Draw(t, "batches") {
			b := drawBatch(t, m, seq+1)
			if seq%2 == 1 { // a large one, which makes the engine write tables
				b.Receipt = []byte(strings.Repeat("x", maxText))
			}
			if err := d.Apply(testFolder, b); err != nil {
				t.Fatalf("%v", err)
			}
			m.apply(b)
			mu.Lock()
			models = append(models, m.clone())
			acked = len(models) - 1
			mu.Unlock()
		}
		if err := d.p.Flush(); err != nil {
			t.Fatalf("%v", err)
		}
		if err := d.Close(); err != nil {
			t.Fatalf("%v", err)
		}
		cut()
		if len(crashes) < 5 {
			t.Fatalf("only %d syncs were seen", len(crashes))
		}
		// A few of the crashes each time: the draws cover all of them between them.
		step := rapid.IntRange(16, 32).Draw(t, "step")
		for i := rapid.IntRange(0, 15).Draw(t, "first"); i < len(crashes); i += step {
			c := crashes[i]
			d, err := Open(c.fs, "state", Options{})
			if err != nil {
				t.Fatalf("crash %d of %d: %v", i, len(crashes), err)
			}
			cur, err := d.Live(testFolder).Cursor()
			if err != nil {
				t.Fatalf("crash %d: %v", i, err)
			}
			// Batch n moves the cursor to n, so the cursor names the prefix.
			if cur.Seq < uint64(c.acked) || cur.Seq >= uint64(len(models)) {
				t.Fatalf("crash %d: %d batches were acknowledged, the cursor is at %d of %d", i, c.acked, cur.Seq, len(models)-1)
			}
			check(t, d, d.Live(testFolder), models[cur.Seq])
			if got, want := storedRows(t, d), models[cur.Seq].rows(); got != want {
				t.Fatalf("crash %d: %d rows are stored, want %d", i, got, want)
			}
			if err := d.Close(); err != nil {
				t.Fatalf("crash %d: %v", i, err)
			}
		}
	})
}

// TestUnsyncedIsAPrefixToo: an unsynced batch may be lost in a crash, but a
// synced one after it brings it to the disk.
func TestUnsyncedIsAPrefixToo(t *testing.T) {
	mem := vfs.NewCrashableMem()
	d, err := Open(mem, "state", Options{})
	if err != nil {
		t.Fatal(err)
	}
	row := func(i byte) *Batch {
		return &Batch{SetLocal: []Local{{Node: sendonce.NodeID{i}, Name: fmt.Sprint("f", i), Kind: sendonce.KindFile}}}
	}
	there := func(fs vfs.FS, i byte) bool {
		t.Helper()
		d, err := Open(fs, "state", Options{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := d.Live(testFolder).Local(sendonce.NodeID{i})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		return l != nil
	}
	if err := d.ApplyUnsynced(testFolder, row(1)); err != nil {
		t.Fatal(err)
	}
	if there(mem.CrashClone(vfs.CrashCloneCfg{}), 1) {
		t.Error("an unsynced batch waited for the disk")
	}
	if err := d.Apply(testFolder, row(2)); err != nil {
		t.Fatal(err)
	}
	crashed := mem.CrashClone(vfs.CrashCloneCfg{})
	if !there(crashed, 1) || !there(crashed, 2) {
		t.Error("a synced batch left an earlier one behind")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
