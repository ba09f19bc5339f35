package pebbleblob

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/internal/pebblefs"
)

// Options of a store. The zero value is the default; sizes are bytes.
type Options struct {
	// Logger gets what Pebble reports. nil discards it.
	Logger *slog.Logger

	// Fatal is called, once, when a sync or a write to the log or the manifest
	// failed, so that the state of the disk is unknown. It ends the process. If
	// it returns, as in tests, the store refuses every Put and Drop from then
	// on. nil panics.
	Fatal func(error)

	CacheBytes    int64         // of decoded blocks; 0 is 32 MiB
	MemtableBytes uint64        // of records written through the log; 0 is 8 MiB
	SegmentBytes  int64         // at which a segment is closed; 0 is 64 MiB, at most 1 GiB
	TableBytes    int64         // from which a group is written as tables; 0 is 1 MiB
	ReserveBytes  int64         // of free space that Puts leave to the rest; 0 is 64 MiB, negative none
	ProbeBytes    int           // that must be free before a full disk is used again; 0 is 4 MiB
	ProbeEvery    time.Duration // while the disk is full; 0 is one second
}

const (
	defaultSegmentBytes = 64 << 20
	maxSegmentBytes     = 1 << 30 // plus one record, and still far below sealOffset

	// defaultTableBytes is near where the two ways take the same time. Measured on
	// ext4, MB/s by the log and as tables: 256 KiB 432 and 151, 1 MiB 380 and 345,
	// 2 MiB 406 and 405 (BenchmarkPutBothWays). The log writes everything twice,
	// so tables begin a little earlier.
	defaultTableBytes = 1 << 20

	// maxGroupBytes bounds what one group commit takes from waiting Puts, and
	// so how long the first of them waits for the others.
	maxGroupBytes = 64 << 20

	// reserveSegments is how many segment numbers one synced row reserves.
	reserveSegments = 1024

	pebbleFormat  = pebble.FormatTableFormatV6
	writeCategory = vfs.DiskWriteCategory("chunks")
)

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 32 << 20
	}
	if o.MemtableBytes == 0 {
		o.MemtableBytes = 8 << 20
	}
	if o.SegmentBytes <= 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	o.SegmentBytes = min(o.SegmentBytes, maxSegmentBytes)
	if o.TableBytes <= 0 {
		o.TableBytes = defaultTableBytes
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 64 << 20
	}
	if o.ProbeBytes <= 0 {
		o.ProbeBytes = 4 << 20
	}
	if o.ProbeEvery <= 0 {
		o.ProbeEvery = time.Second
	}
	return o
}

// Store keeps records in a Pebble database. It implements blobstore.Store and
// blobstore.Maintainer.
type Store struct {
	opts Options
	dir  string
	fs   *guardFS // without the wait for space
	db   *pebble.DB
	disk *fullDisk

	puts   chan *put
	tasks  chan func(*writer)
	ended  chan struct{} // closed when the writer has ended
	quit   chan struct{} // closed to end the writer
	failed atomic.Pointer[error]

	halting atomic.Bool // Close has begun to end the writer

	mu      sync.Mutex // guards the fields below
	idle    sync.Cond  // signalled when active becomes 0
	active  int        // calls under way
	closed  bool
	current [classes]cursor // the segments being written, as of the last durable write
}

var (
	_ blobstore.Store      = (*Store)(nil)
	_ blobstore.Maintainer = (*Store)(nil)
)

// Open opens the store in dir on fs, and makes it if it is not there. Pass
// vfs.Default for the system's filesystem. Nothing else may use dir.
//
// Errors: KindLocked when another process has dir open, KindNewerFormat,
// KindDamaged, KindFull.
func Open(fsys vfs.FS, dir string, o Options) (*Store, error) {
	s := &Store{
		opts: o.withDefaults(), dir: dir,
		puts: make(chan *put), tasks: make(chan func(*writer)),
		ended: make(chan struct{}), quit: make(chan struct{}),
	}
	s.idle.L = &s.mu
	s.fs = &guardFS{FS: fsys, syncFailed: func(path string, err error) {
		s.fatal(&sendonce.Error{Op: "sync", Path: path, Kind: sendonce.KindInternal, Hint: hintFatal, Err: err})
	}}
	s.disk = &fullDisk{
		fs: fsys, probe: fsys.PathJoin(dir, "probe"), size: s.opts.ProbeBytes, every: s.opts.ProbeEvery,
		full: make(chan struct{}),
	}

	db, err := pebble.Open(dir, s.pebbleOptions())
	if err != nil {
		return nil, wrapOpen(fsys, dir, err)
	}
	s.db = db
	w, err := s.start()
	if err == nil {
		err = s.failure()
	}
	if err != nil {
		return nil, errors.Join(wrap("open chunk store", dir, err), db.Close())
	}
	s.disk.allow() // until here a full disk fails Open
	go w.run()
	return s, nil
}

func (s *Store) pebbleOptions() *pebble.Options {
	log := pebbleLogger{log: s.opts.Logger, fatal: s.gaveUp}
	o := &pebble.Options{
		FS:                 vfs.OnDiskFull(pebblefs.Ordered(s.fs), s.disk.wait),
		FormatMajorVersion: pebbleFormat,
		CacheSize:          s.opts.CacheBytes,
		MemTableSize:       s.opts.MemtableBytes,
		MaxOpenFiles:       500,
		Logger:             log,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { log.log.Warn("chunk store: background work failed", "err", err) },
			// Without this Pebble would end the process over one bad block.
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				log.log.Error("chunk store: damaged", "path", info.Path, "err", info.Details)
			},
		},
	}
	// Packs are compressed already. Their blocks hold one record each; the block
	// size only says how many small records share one.
	for i := range o.Levels {
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
		o.Levels[i].BlockSize = 32 << 10
		o.Levels[i].IndexBlockSize = 256 << 10
		o.TargetFileSizes[i] = defaultSegmentBytes
	}
	// A flushed or compacted table ends with its segment, so that dropping the
	// segment drops whole tables.
	o.Experimental.SpanPolicyFunc = func(start []byte) (pebble.SpanPolicy, []byte, error) {
		segment, _, err := parseKey(start)
		if err != nil || segment == metaSegment {
			return pebble.SpanPolicy{}, nil, nil // an error here would make Pebble try for ever
		}
		return pebble.SpanPolicy{}, makeKey(segment+1, 0), nil
	}
	// Reads must not cause writes.
	o.Experimental.ReadSamplingMultiplier = -1
	return o
}

// start checks the format, cleans up after a crash and returns the writer.
func (s *Store) start() (*writer, error) {
	if err := s.checkFormat(); err != nil {
		return nil, err
	}
	w := &writer{s: s, tmp: s.fs.PathJoin(s.dir, "tmp"), tableFormat: s.db.TableFormat()}
	if err := w.clean(); err != nil {
		return nil, err
	}
	if err := w.loadNext(); err != nil {
		return nil, err
	}
	for c := range classes {
		if err := w.sealLast(c); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (s *Store) checkFormat() error {
	v, ok, err := s.metaRow(metaFormat, 4)
	if err != nil {
		return err
	}
	if !ok {
		if err := s.mustBeEmpty(); err != nil {
			return err
		}
		return s.db.Set(makeKey(metaSegment, metaFormat), binary.BigEndian.AppendUint32(nil, formatVersion), pebble.Sync)
	}
	if got := binary.BigEndian.Uint32(v); got > formatVersion {
		return &sendonce.Error{Op: "read format version", Kind: sendonce.KindNewerFormat, Hint: hintNewer,
			Detail: fmt.Sprintf("the store has format %d, this version knows up to %d", got, formatVersion)}
	}
	return nil
}

// mustBeEmpty refuses a database with rows but no format row: it is not a store,
// or has lost its youngest rows.
func (s *Store) mustBeEmpty() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	if it.First() {
		return errors.Join(damaged("there are rows but no format version"), it.Close())
	}
	return it.Close()
}

// metaRow reads one of the store's own rows, which has n bytes.
func (s *Store) metaRow(row uint32, n int) (value []byte, ok bool, err error) {
	v, c, err := s.db.Get(makeKey(metaSegment, row))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	value = append([]byte(nil), v...)
	if err := c.Close(); err != nil {
		return nil, false, err
	}
	if len(value) != n {
		return nil, false, damaged("a row of the store itself has the wrong length")
	}
	return value, true, nil
}

// enter begins a call; leave ends it.
func (s *Store) enter(op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return &sendonce.Error{Op: op, Kind: sendonce.KindUnavailable, Detail: "the chunk store is closed"}
	}
	s.active++
	return nil
}

func (s *Store) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active--; s.active == 0 {
		s.idle.Broadcast()
	}
}

// fatal reports the first failure after which the disk's state is unknown.
func (s *Store) fatal(err error) {
	if s.failed.CompareAndSwap(nil, &err) {
		s.opts.Fatal(err)
	}
}

// gaveUp is for Pebble's own last words. Once Close has begun they only make
// Close fail: a write that waited for space is cut off then.
func (s *Store) gaveUp(err error) {
	if s.halting.Load() {
		s.failed.CompareAndSwap(nil, &err)
		return
	}
	s.fatal(err)
}

// failure returns what fatal reported, or nil.
func (s *Store) failure() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Close ends the store; calls under way finish first. Closing it again does
// nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	for s.active > 0 {
		s.idle.Wait()
	}
	s.mu.Unlock()
	s.halting.Store(true)
	close(s.quit)
	s.disk.end()
	<-s.ended
	return wrap("close chunk store", s.dir, errors.Join(s.db.Close(), s.failure()))
}

// pebbleLogger hands Pebble's messages on.
type pebbleLogger struct {
	log   *slog.Logger
	fatal func(error)
}

func (l pebbleLogger) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug(fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Warn(fmt.Sprintf(format, args...))
}

// Fatalf is what Pebble calls when it cannot go on: a failed write to the log or
// to the manifest, or a broken invariant of its own.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.fatal(&sendonce.Error{Op: "write chunk store", Kind: sendonce.KindInternal, Hint: hintFatal, Detail: fmt.Sprintf(format, args...)})
}

func notThere(err error) bool { return errors.Is(err, fs.ErrNotExist) }
