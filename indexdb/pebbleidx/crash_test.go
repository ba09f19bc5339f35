package pebbleidx

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"sendonce"
	"sendonce/indexdb"
)

var ctx = context.Background()

func fixed() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// setUp makes a folder and a device that may write to it.
func setUp(t *testing.T, db *indexdb.DB) indexdb.Asker {
	t.Helper()
	who := indexdb.Asker{Tenant: 1, Device: sendonce.DeviceID{1}, Folder: sendonce.FolderID{2}}
	_, err := db.CreateFolder(ctx, indexdb.Folder{ID: who.Folder, Tenant: 1, Name: "f"})
	if err == nil {
		err = db.AddInvite(ctx, indexdb.Invite{Tenant: 1, Role: sendonce.RoleReadWrite, Expires: fixed().Add(time.Hour)})
	}
	if err == nil {
		_, err = db.Redeem(ctx, [32]byte{}, who.Device, "d", fixed(), sendonce.FolderID{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return who
}

func put(who indexdb.Asker, worker, i int) *indexdb.Commit {
	id, chunk := [16]byte{byte(worker), byte(i), 7}, sendonce.ID{byte(worker), byte(i), 8}
	return &indexdb.Commit{Who: who, Op: sendonce.OpID(id), Time: fixed(),
		Stored: []indexdb.Stored{{ID: chunk, Location: sendonce.Location{Segment: 1, Length: 5}, Size: 5}},
		Changes: []indexdb.Change{{Node: sendonce.NodeID(id), SetPlace: true, Parent: who.Folder.Root(), Name: fmt.Sprint(worker, "-", i),
			Kind: sendonce.KindFile, SetContent: true, Size: 5, Refs: []sendonce.ID{chunk},
			Content: sendonce.Content{Refs: []sendonce.Ref{{ID: chunk, Size: 5}}}}}}
}

// TestCrash cuts the power at every sync of a run in which several devices
// commit at once: what was acknowledged before the cut, or shown to a reader, is
// there after it, and the folder is sound.
func TestCrash(t *testing.T) {
	const workers, rounds = 3, 12
	type cut struct {
		fs    *vfs.MemFS
		acked []sendonce.Cursor
		read  sendonce.Cursor
	}
	var mu sync.Mutex // guards what follows
	var cuts []cut
	var acked []sendonce.Cursor
	var read sendonce.Cursor
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))

	mem := vfs.NewCrashableMem()
	recording := false
	fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		default:
			return nil
		}
		time.Sleep(200 * time.Microsecond) // a disk is slow: readers come in between
		mu.Lock()
		defer mu.Unlock()
		if recording {
			// Before this sync: only what was synced earlier is sure. Some of the
			// rest may have reached the disk by itself.
			c := cut{acked: append([]sendonce.Cursor(nil), acked...), read: read}
			c.fs = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50 * rng.IntN(3), RNG: rng})
			cuts = append(cuts, c)
		}
		return nil
	}))
	db := openIndex(t, fs, fixed)
	who := setUp(t, db)
	mu.Lock()
	recording = true
	mu.Unlock()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				commit := func() {
					r, err := db.Commit(ctx, put(who, w, i))
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					acked = append(acked, r.Cursor)
					mu.Unlock()
				}
				var twice sync.WaitGroup // a replay is an acknowledgement too
				twice.Go(commit)
				twice.Go(commit)
				twice.Wait()
			}
		})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // sees commits whose sync is under way
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			c, err := db.Head(ctx, 1, who.Folder)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			if c.Seq > read.Seq {
				read = c
			}
			mu.Unlock()
		}
	}()
	wg.Wait()
	close(stop)
	<-stopped
	mu.Lock()
	recording = false
	mu.Unlock()
	cuts = append(cuts, cut{mem.CrashClone(vfs.CrashCloneCfg{}), acked, read})
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if len(cuts) < rounds {
		t.Fatalf("only %d syncs: the work is too small to mean anything", len(cuts))
	}
	for i, c := range cuts {
		db := openIndex(t, c.fs, fixed)
		for _, cursor := range append(c.acked, c.read) {
			if ok, err := db.CheckCursor(ctx, 1, who.Folder, cursor); err != nil || !ok {
				t.Errorf("cut %d: the cursor at %d is lost (%v)", i, cursor.Seq, err)
			}
		}
		found, err := db.Check(ctx, 1, who.Folder)
		if err != nil || len(found) > 0 {
			t.Errorf("cut %d: %q, %v", i, found, err)
		}
		// A client that heard nothing tries again; all ends in the same state.
		for w := range workers {
			for n := range rounds {
				if _, err := db.Commit(ctx, put(who, w, n)); err != nil {
					t.Errorf("cut %d: again: %v", i, err)
				}
			}
		}
		if head, err := db.Head(ctx, 1, who.Folder); err != nil || head.Seq != workers*rounds {
			t.Errorf("cut %d: after all, the head is at %d (%v)", i, head.Seq, err)
		}
		if err := db.Close(); err != nil {
			t.Errorf("cut %d: %v", i, err)
		}
	}
}

func TestLocked(t *testing.T) {
	for name, c := range map[string]struct {
		fs  vfs.FS
		dir string
	}{"memory": {vfs.NewMem(), "index"}, "disk": {vfs.Default, t.TempDir()}} {
		e, err := Open(c.fs, c.dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(c.fs, c.dir, Options{})
		if sendonce.KindOf(err) != sendonce.KindLocked || sendonce.HintOf(err) == "" {
			t.Errorf("%s: opened twice: %v", name, err)
		}
		if err := errors.Join(e.Close(), e.Close()); err != nil {
			t.Error(err)
		}
		if e, err = Open(c.fs, c.dir, Options{}); err != nil {
			t.Fatalf("%s: opened again: %v", name, err)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFormat(t *testing.T) {
	for text, kind := range map[string]sendonce.ErrKind{
		"sendonce index 2\n": sendonce.KindNewerFormat, "sendonce index 0\n": sendonce.KindDamaged,
		"sendonce chunks 1\n": sendonce.KindDamaged, "": sendonce.KindDamaged,
	} {
		fs := vfs.NewMem()
		if err := openMem(t, fs).Close(); err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create("index/FORMAT", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(text))
		f.Close()
		if _, err := Open(fs, "index", Options{}); sendonce.KindOf(err) != kind || sendonce.HintOf(err) == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	fs := vfs.NewMem()
	fs.MkdirAll("index", 0o700)
	db, err := pebble.Open("index", &pebble.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(fs, "index", Options{}); sendonce.KindOf(err) != sendonce.KindInvalid {
		t.Errorf("another's database: %v", err)
	}
}

// TestSyncFails: a log that cannot be synced ends everything, once.
func TestSyncFails(t *testing.T) {
	var mu sync.Mutex
	broken := false
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			return syscall.EIO
		}
		return nil
	}))
	ended := make(chan string, 9)
	e, err := Open(fs, "index", Options{Fatal: func(reason string) { ended <- reason }})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Write(ctx, []indexdb.Op{{Key: []byte("a"), Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	broken = true
	mu.Unlock()
	if err := e.Write(ctx, []indexdb.Op{{Key: []byte("a"), Value: []byte("2")}}); sendonce.KindOf(err) != sendonce.KindUnavailable {
		t.Errorf("a write that was not synced: %v", err)
	}
	if reason := <-ended; !strings.Contains(reason, "input/output error") {
		t.Errorf("ended for %q", reason)
	}
	for name, call := range map[string]func() error{
		"write":  func() error { return e.Write(ctx, nil) },
		"update": func() error { return e.Update(ctx, func(indexdb.Txn) error { return nil }) },
		"view":   func() error { return e.View(ctx, func(indexdb.Reader) error { return nil }) },
	} {
		if err := call(); sendonce.KindOf(err) != sendonce.KindUnavailable {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	if len(ended) > 0 {
		t.Error("it ended twice")
	}
}

// nearlyFull is a filesystem that tells how much space there is.
type nearlyFull struct {
	vfs.FS
	avail uint64
}

func (n *nearlyFull) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: n.avail}, nil
}

func TestNearlyFull(t *testing.T) {
	fs := &nearlyFull{FS: vfs.NewMem(), avail: 1 << 30}
	e := openMem(t, fs)
	defer e.Close()
	op := []indexdb.Op{{Key: []byte("a"), Value: []byte("1")}}
	if err := e.Write(ctx, op); err != nil {
		t.Fatal(err)
	}
	fs.avail = 1 << 20
	for name, err := range map[string]error{
		"write":  e.Write(ctx, op),
		"update": e.Update(ctx, func(x indexdb.Txn) error { x.Put([]byte("b"), nil); return nil }),
	} {
		if sendonce.KindOf(err) != sendonce.KindFull || sendonce.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := e.View(ctx, func(r indexdb.Reader) error {
		v, err := r.Get([]byte("a"), []byte("b"))
		if err == nil && (string(v[0]) != "1" || v[1] != nil) {
			t.Errorf("read %q", v)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	fs.avail = 1 << 30
	if err := e.Write(ctx, op); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// TestFull: a write that meets a full disk waits for space; those that come
// meanwhile are refused.
func TestFull(t *testing.T) {
	var mu sync.Mutex
	full := false
	met := make(chan struct{}, 100)
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if full && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate) {
			if op.Kind == errorfs.OpCreate {
				select {
				case met <- struct{}{}: // the guard's first try
				default:
				}
			}
			return syscall.ENOSPC
		}
		return nil
	}))
	e := openMem(t, fs)
	mu.Lock()
	full = true
	mu.Unlock()
	waited := make(chan error)
	go func() { waited <- e.Write(ctx, []indexdb.Op{{Key: []byte("a"), Value: []byte("1")}}) }()
	<-met
	if err := e.Write(ctx, []indexdb.Op{{Key: []byte("b"), Value: []byte("1")}}); sendonce.KindOf(err) != sendonce.KindFull {
		t.Errorf("while the disk is full: %v", err)
	}
	mu.Lock()
	full = false
	mu.Unlock()
	if err := <-waited; err != nil {
		t.Errorf("the write that waited: %v", err)
	}
	if err := e.Write(ctx, []indexdb.Op{{Key: []byte("b"), Value: []byte("1")}}); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
