package pebbleblob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"sendonce"
)

const testDir = "/srv/chunks"

func mustOpen(t testing.TB, fs vfs.FS, o Options) *Store {
	t.Helper()
	s, err := Open(fs, testDir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPut(t testing.TB, s *Store, records ...[]byte) []sendonce.Location {
	t.Helper()
	locs, err := s.Put(context.Background(), records)
	if err != nil {
		t.Fatal(err)
	}
	return locs
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// readAll returns the error of Get, or that of a record that reads as others.
func readAll(s *Store, locs []sendonce.Location, want ...[]byte) error {
	return s.Get(context.Background(), locs, func(i int, r []byte) error {
		if !bytes.Equal(r, want[i]) {
			return errors.New("a record reads as other bytes")
		}
		return nil
	})
}

func wantKind(t testing.TB, err error, want sendonce.ErrKind, hint bool) {
	t.Helper()
	if got := sendonce.KindOf(err); got != want {
		t.Fatalf("error %v is %v, want %v", err, got, want)
	}
	if hint && sendonce.HintOf(err) == "" {
		t.Fatalf("error %v has no hint", err)
	}
}

func TestLocked(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, testOptions(t))
	_, err := Open(fs, testDir, testOptions(t))
	wantKind(t, err, sendonce.KindLocked, true)
	mustClose(t, s)
	mustClose(t, mustOpen(t, fs, testOptions(t)))
}

func TestLockedOnDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(vfs.Default, dir, testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(vfs.Default, dir, testOptions(t))
	wantKind(t, err, sendonce.KindLocked, true)
	mustClose(t, s)
}

func TestNewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, testOptions(t))
	v := binary.BigEndian.AppendUint32(nil, formatVersion+1)
	if err := s.db.Set(makeKey(metaSegment, metaFormat), v, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	_, err := Open(fs, testDir, testOptions(t))
	wantKind(t, err, sendonce.KindNewerFormat, true)
}

func TestNewerPebble(t *testing.T) {
	fs := vfs.NewMem()
	mustClose(t, mustOpen(t, fs, testOptions(t)))
	m, _, err := atomicfs.LocateMarker(fs, testDir, "format-version")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.Move("999"), m.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(fs, testDir, testOptions(t))
	wantKind(t, err, sendonce.KindNewerFormat, true)
}

// A database of something else is not taken for an empty store.
func TestForeignDatabase(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open(testDir, &pebble.Options{FS: fs, FormatMajorVersion: pebbleFormat, Logger: pebbleLogger{log: Options{}.withDefaults().Logger}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("a"), nil, nil), db.Close()); err != nil {
		t.Fatal(err)
	}
	_, err = Open(fs, testDir, testOptions(t))
	wantKind(t, err, sendonce.KindDamaged, true)
}

func TestDamagedRows(t *testing.T) {
	for name, row := range map[string]row{
		"format": {metaSegment, metaFormat, []byte{1}},
		"next":   {metaSegment, metaNext, make([]byte, 8)},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := mustOpen(t, fs, testOptions(t))
			if err := s.db.Set(makeKey(row.segment, row.offset), row.value, pebble.Sync); err != nil {
				t.Fatal(err)
			}
			mustClose(t, s)
			_, err := Open(fs, testDir, testOptions(t))
			wantKind(t, err, sendonce.KindDamaged, true)
		})
	}
	t.Run("seal", func(t *testing.T) {
		s := mustOpen(t, vfs.NewMem(), testOptions(t))
		defer mustClose(t, s)
		if err := s.db.Set(makeKey(smallBase|5, sealOffset), []byte("odd"), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		_, err := s.Segments(context.Background())
		wantKind(t, err, sendonce.KindDamaged, true)
	})
}

// tables returns the paths of the store's tables.
func tables(t *testing.T, fs vfs.FS) (paths []string) {
	t.Helper()
	names, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") {
			paths = append(paths, fs.PathJoin(testDir, n))
		}
	}
	return paths
}

// rewrite changes a file's bytes.
func rewrite(t *testing.T, fs vfs.FS, path string, change func([]byte) []byte) {
	t.Helper()
	f, err := fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	b = change(bytes.Clone(b))
	g, err := fs.Create(path, writeCategory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), g.Sync(), g.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedTable(t *testing.T) {
	o := testOptions(t)
	o.TableBytes, o.SegmentBytes = 1, 1
	a, b := bytes.Repeat([]byte("a"), 100<<10), bytes.Repeat([]byte("b"), 100<<10)
	fill := func(t *testing.T) (*vfs.MemFS, []sendonce.Location) {
		fs := vfs.NewMem()
		s := mustOpen(t, fs, o)
		locs := append(mustPut(t, s, a), mustPut(t, s, b)...)
		mustClose(t, s)
		return fs, locs
	}
	t.Run("flipped bit", func(t *testing.T) {
		fs, locs := fill(t)
		hit := false
		for _, path := range tables(t, fs) {
			rewrite(t, fs, path, func(p []byte) []byte {
				if i := bytes.Index(p, a[:5000]); i >= 0 {
					p[i+2500] ^= 1
					hit = true
				}
				return p
			})
		}
		if !hit {
			t.Fatal("the record was not found in any table")
		}
		s := mustOpen(t, fs, o)
		defer mustClose(t, s)
		wantKind(t, readAll(s, locs[:1], a), sendonce.KindDamaged, true)
		wantKind(t, s.Scan(context.Background(), locs[0].Segment, func(sendonce.Location, []byte) error { return nil }),
			sendonce.KindDamaged, true)
		if err := readAll(s, locs[1:], b); err != nil {
			t.Fatalf("a sound record beside a damaged one: %v", err)
		}
		mustPut(t, s, b)
	})
	t.Run("shortened", func(t *testing.T) {
		fs, _ := fill(t)
		rewrite(t, fs, tables(t, fs)[0], func(p []byte) []byte { return p[:len(p)/2] })
		_, err := Open(fs, testDir, o)
		wantKind(t, err, sendonce.KindDamaged, true)
	})
	t.Run("missing", func(t *testing.T) {
		fs, _ := fill(t)
		if err := fs.Remove(tables(t, fs)[0]); err != nil {
			t.Fatal(err)
		}
		_, err := Open(fs, testDir, o)
		wantKind(t, err, sendonce.KindDamaged, true)
	})
}

// failing is a filesystem whose operations fail with err while it is on, if
// match picks them.
func failing(err error, match func(errorfs.Op) bool) (fs vfs.FS, on *atomic.Bool) {
	on = new(atomic.Bool)
	return errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if on.Load() && match(op) {
			return err
		}
		return nil
	})), on
}

func TestSyncErrorIsFatal(t *testing.T) {
	isSync := func(k errorfs.OpKind) bool {
		return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData
	}
	for _, tt := range []struct {
		name  string
		bytes int
		match func(path string) bool
	}{
		{"table", 5000, func(p string) bool { return strings.Contains(p, "/tmp/") }},
		{"directory", 5000, func(p string) bool { return p == testDir }},
		{"manifest", 5000, func(p string) bool { return strings.Contains(p, "MANIFEST") }},
		{"log", 10, func(p string) bool { return strings.HasSuffix(p, ".log") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs, on := failing(syscall.EIO, func(op errorfs.Op) bool { return isSync(op.Kind) && tt.match(op.Path) })
			var fatal atomic.Int32
			o := testOptions(t)
			o.TableBytes = 1000
			o.Fatal = func(err error) {
				if sendonce.HintOf(err) == "" {
					t.Errorf("fatal error %v has no hint", err)
				}
				fatal.Add(1)
			}
			s := mustOpen(t, fs, o)
			before := append(mustPut(t, s, []byte("before")), mustPut(t, s, make([]byte, 2000))...)
			on.Store(true)
			if _, err := s.Put(context.Background(), [][]byte{make([]byte, tt.bytes)}); err == nil {
				t.Fatal("Put succeeded although its sync failed")
			}
			on.Store(false)
			if n := fatal.Load(); n != 1 {
				t.Fatalf("Fatal was called %d times", n)
			}
			for _, n := range []int{10, 5000} {
				if _, err := s.Put(context.Background(), [][]byte{make([]byte, n)}); err == nil {
					t.Fatal("Put succeeded after a fatal error")
				}
			}
			if err := s.Drop(context.Background(), before[0].Segment); err == nil {
				t.Fatal("Drop succeeded after a fatal error")
			}
			if err := readAll(s, before, []byte("before"), make([]byte, 2000)); err != nil {
				t.Fatalf("reading after a fatal error: %v", err)
			}
			if err := s.Close(); err == nil {
				t.Fatal("Close hides the fatal error")
			}
			if n := fatal.Load(); n != 1 {
				t.Fatalf("Fatal was called %d times", n)
			}
		})
	}
}

func TestFatalDefaultsToPanic(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	Options{}.withDefaults().Fatal(errors.New("x"))
}

// isWrite picks what needs space on a disk.
func isWrite(op errorfs.Op) bool {
	switch op.Kind {
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpLink:
		return true
	}
	return false
}

func TestFullDisk(t *testing.T) {
	for name, fullErr := range map[string]error{"full": syscall.ENOSPC, "quota": errQuota} {
		for size, n := range map[string]int{"small": 100, "table": 5000} {
			t.Run(name+" "+size, func(t *testing.T) {
				fs, on := failing(fullErr, isWrite)
				o := testOptions(t)
				o.TableBytes, o.ProbeEvery = 1000, time.Millisecond
				s := mustOpen(t, fs, o)
				defer mustClose(t, s)
				a, b := bytes.Repeat([]byte("a"), n), bytes.Repeat([]byte("b"), n)
				first := mustPut(t, s, a)
				on.Store(true)
				for range 3 {
					_, err := s.Put(context.Background(), [][]byte{b})
					wantKind(t, err, sendonce.KindFull, true)
					if err := readAll(s, first, a); err != nil {
						t.Fatalf("reading while the disk is full: %v", err)
					}
				}
				on.Store(false)
				second := putWhenThereIsSpace(t, s, b)
				if err := readAll(s, append(first, second...), a, b); err != nil {
					t.Fatal(err)
				}
				if list, err := fs.List(testDir + "/tmp"); err != nil || len(list) > 0 {
					t.Fatalf("left behind: %v, %v", list, err)
				}
			})
		}
	}
}

func putWhenThereIsSpace(t *testing.T, s *Store, r []byte) []sendonce.Location {
	t.Helper()
	for {
		locs, err := s.Put(context.Background(), [][]byte{r})
		if err == nil {
			return locs
		}
		wantKind(t, err, sendonce.KindFull, true)
		time.Sleep(time.Millisecond)
	}
}

// The first Put of a store reserves numbers before it reads its records; a disk
// that is full by then must not keep the caller waiting.
func TestFullDiskBeforeReading(t *testing.T) {
	fs, on := failing(syscall.ENOSPC, isWrite)
	o := testOptions(t)
	o.ProbeEvery = time.Millisecond
	s := mustOpen(t, fs, o)
	defer mustClose(t, s)
	record := []byte("taken back")
	on.Store(true)
	_, err := s.Put(context.Background(), [][]byte{record})
	wantKind(t, err, sendonce.KindFull, true)
	clear(record) // the race detector sees it if the writer still looks
	on.Store(false)
	locs := putWhenThereIsSpace(t, s, []byte("kept"))
	if err := readAll(s, locs, []byte("kept")); err != nil {
		t.Fatal(err)
	}
}

func TestOpenOnFullDisk(t *testing.T) {
	fs, on := failing(syscall.ENOSPC, isWrite)
	on.Store(true)
	_, err := Open(fs, testDir, testOptions(t))
	wantKind(t, err, sendonce.KindFull, true)
	on.Store(false)
	mustClose(t, mustOpen(t, fs, testOptions(t)))
}

func TestCloseWhileFull(t *testing.T) {
	fs, on := failing(syscall.ENOSPC, isWrite)
	o := testOptions(t)
	o.ProbeEvery = time.Hour
	s := mustOpen(t, fs, o)
	locs := mustPut(t, s, []byte("safe"))
	on.Store(true)
	_, err := s.Put(context.Background(), [][]byte{[]byte("too much")})
	wantKind(t, err, sendonce.KindFull, true)
	err = s.Drop(context.Background(), 7)
	wantKind(t, err, sendonce.KindFull, true)
	if err := s.Close(); err == nil {
		t.Fatal("Close hides the write that was cut off")
	}
	on.Store(false)
	s = mustOpen(t, fs, o)
	defer mustClose(t, s)
	if err := readAll(s, locs, []byte("safe")); err != nil {
		t.Fatal(err)
	}
}

func TestReserve(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(t)
	o.ReserveBytes = 1000
	s := mustOpen(t, fs, o)
	defer mustClose(t, s)
	locs := mustPut(t, s, make([]byte, 500))
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1200, TotalBytes: 1 << 20})
	mustPut(t, s, make([]byte, 200))
	_, err := s.Put(context.Background(), [][]byte{make([]byte, 201)})
	wantKind(t, err, sendonce.KindFull, true)
	if err := s.Drop(context.Background(), locs[0].Segment); err != nil {
		t.Fatalf("Drop below the reserve: %v", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 20})
	mustPut(t, s, make([]byte, 201))
}
