package pebbleblob

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/blobstore"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestOrderOfSyncs fixes the order in which one Put of many bytes, and one of
// few, touch the disk. The files' numbers are Pebble's.
func TestOrderOfSyncs(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	number := regexp.MustCompile(`[0-9]{6}`)
	log := func(format string, args ...any) {
		line := strings.ReplaceAll(fmt.Sprintf(format, args...), testDir, "DIR")
		switch op, _, _ := strings.Cut(line, ":"); {
		case op == "close", op == "open", op == "open-dir", strings.HasPrefix(op, "prefetch"), strings.HasPrefix(op, "read"):
			return // changes nothing on the disk
		}
		mu.Lock()
		defer mu.Unlock()
		line = number.ReplaceAllString(line, "N")
		if len(lines) == 0 || lines[len(lines)-1] != line { // writes come in pieces
			lines = append(lines, line)
		}
	}
	o := testOptions(t)
	o.SegmentBytes, o.TableBytes = 1<<20, 200<<10
	s := mustOpen(t, vfs.WithLogging(vfs.NewMem(), log), o)
	defer mustClose(t, s)
	mustPut(t, s, []byte("reserves segment numbers"))
	var got strings.Builder
	for _, put := range []struct {
		name    string
		records [][]byte
	}{
		{"many bytes, in two segments", [][]byte{make([]byte, 700<<10), make([]byte, 700<<10), make([]byte, 100<<10)}},
		{"few bytes", [][]byte{make([]byte, 1000)}},
	} {
		mu.Lock()
		lines = nil
		mu.Unlock()
		mustPut(t, s, put.records...)
		mu.Lock()
		fmt.Fprintf(&got, "# %s\n%s\n", put.name, strings.Join(lines, "\n"))
		mu.Unlock()
	}
	golden := filepath.Join("testdata", "order.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the order has changed (-update accepts it):\n%s", got.String())
	}
}

// written returns the bytes that Pebble wrote to tables and to its log.
func written(m *pebble.Metrics) (tables, log uint64) {
	for _, l := range m.Levels {
		tables += l.TableBytesIngested + l.TableBytesFlushed + l.TableBytesCompacted
	}
	return tables, m.WAL.BytesWritten
}

// TestWriteAmplification mixes small and big Puts and checks what the layout of
// keys is for: tables are never rewritten, and do not force flushes.
func TestWriteAmplification(t *testing.T) {
	o := testOptions(t)
	o.SegmentBytes, o.TableBytes = 2<<20, 100<<10
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	var big, small uint64
	record := make([]byte, 150<<10)
	for range 200 {
		mustPut(t, s, record, record)
		big += 2 * uint64(len(record))
		for range 4 {
			mustPut(t, s, record[:10<<10])
			small += 10 << 10
		}
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	m := s.db.Metrics()
	tables, log := written(m)
	t.Logf("big %d, small %d, tables %d, log %d bytes; %d flushes, %d compactions, %d of them moves\n%s",
		big, small, tables, log, m.Flush.Count, m.Compact.Count, m.Compact.MoveCount, m)
	if limit := (big + small) * 105 / 100; tables > limit {
		t.Errorf("%d bytes of tables for %d bytes of records: something was rewritten", tables, big+small)
	}
	if limit := small * 120 / 100; log > limit {
		t.Errorf("%d bytes of log for %d bytes of small records", log, small)
	}
	if n := m.Levels[6].TablesIngested; n < 200 || m.Levels[6].TableBytesIngested < big {
		t.Errorf("%d tables, %d bytes went straight to the bottom, want all %d bytes", n, m.Levels[6].TableBytesIngested, big)
	}
	if m.Flush.AsIngestTableCount > 0 {
		t.Errorf("%d tables were queued behind the memtable", m.Flush.AsIngestTableCount)
	}
	// 8 MB of small records through memtables of 1 MiB; an ingest that forced a
	// flush would make it 200.
	if m.Flush.Count > 20 {
		t.Errorf("%d flushes", m.Flush.Count)
	}
}

// TestDropGivesSpaceBack drops segments of both kinds and watches Pebble's files.
func TestDropGivesSpaceBack(t *testing.T) {
	o := testOptions(t)
	o.SegmentBytes, o.TableBytes = 256<<10, 100<<10
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	for range 30 {
		mustPut(t, s, make([]byte, 200<<10))
		for range 4 {
			mustPut(t, s, make([]byte, 20<<10))
		}
	}
	segments, err := s.Segments(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, sg := range segments {
		if err := s.Drop(context.Background(), sg.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	m := s.db.Metrics()
	if live := m.Table.Local.LiveSize; live > 100<<10 {
		t.Errorf("%d bytes of tables are live after everything was dropped\n%s", live, m)
	}
	if n := m.Compact.Count - m.Compact.MoveCount - m.Compact.DeleteOnlyCount; n > 2 {
		t.Errorf("dropping took %d compactions\n%s", n, m)
	}
}

// Puts that wait at the same time share syncs.
func TestGroupCommit(t *testing.T) {
	var mu sync.Mutex
	syncs := 0
	fs := vfs.WithLogging(vfs.NewMem(), func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(format, "sync") {
			syncs++
		}
	})
	s := mustOpen(t, fs, testOptions(t))
	defer mustClose(t, s)
	mustPut(t, s, []byte("first"))
	// The writer is kept busy while the callers queue up.
	const callers = 32
	busy, free := make(chan struct{}), make(chan struct{})
	s.tasks <- func(*writer) { close(busy); <-free }
	<-busy
	mu.Lock()
	before := syncs
	mu.Unlock()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { mustPut(t, s, []byte("one of many")) })
	}
	// A caller that is late makes a group of its own; most are not.
	for waiting := 0; waiting < callers; {
		s.mu.Lock()
		waiting = s.active
		s.mu.Unlock()
	}
	close(free)
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if n := syncs - before; n > callers/2 {
		t.Errorf("%d syncs for %d callers", n, callers)
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), testOptions(t))
	defer mustClose(t, s)
	locs := mustPut(t, s, []byte("first"))
	busy, free := make(chan struct{}), make(chan struct{})
	s.tasks <- func(*writer) { close(busy); <-free }
	<-busy
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 2)
	go func() { _, err := s.Put(ctx, [][]byte{{1}}); errs <- err }()
	go func() { errs <- s.Drop(ctx, locs[0].Segment) }()
	cancel()
	for range 2 {
		wantKind(t, <-errs, sendonce.KindInterrupted, false)
	}
	close(free)
	if err := readAll(s, locs, []byte("first")); err != nil {
		t.Fatal(err)
	}
}

// More segments than one reservation covers.
func TestManySegments(t *testing.T) {
	o := testOptions(t)
	o.SegmentBytes = 1
	s := mustOpen(t, vfs.NewMem(), o)
	defer mustClose(t, s)
	records := make([][]byte, 2*reserveSegments+10)
	for i := range records {
		records[i] = []byte{byte(i), byte(i >> 8)}
	}
	locs := mustPut(t, s, records...)
	if err := readAll(s, locs, records...); err != nil {
		t.Fatal(err)
	}
	segments, err := s.Segments(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(segments) != len(records) || segments[0] != (blobstore.Segment{ID: smallBase | 1, Bytes: 2, Records: 1}) {
		t.Errorf("%d segments, the first is %+v", len(segments), segments[0])
	}
}
