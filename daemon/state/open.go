package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/daemon/state/internal/fatal"
	"sendonce/internal/pebblefs"
)

// formatVersion is the number of the layout in keys.go and its values.
const formatVersion = 1

// reserve is the free space, in bytes, below which nothing is written. Pebble
// can only end the process when its log cannot grow, and its background work
// needs room for a few tables; refusing early keeps both from happening.
const reserve = 32 << 20

// Memory and file sizes, in bytes. Memtables are counted against the cache: with
// two of them 8 MiB are left for blocks. Filters are read whole, so tables are
// kept small enough for theirs to stay in the cache.
const (
	cacheBytes    = 16 << 20
	memTableBytes = 4 << 20
	tableBytes    = 4 << 20
	flushOnClose  = 1 << 20 // a longer log would be slow to replay at the next Open
)

// Options of Open; the zero value is good.
type Options struct {
	// Log receives the engine's background errors; nil drops them.
	Log *slog.Logger
}

// DB is a client's state. After an error of the engine that it calls fatal (its
// log cannot be written) every write fails until the process starts anew. All methods may be called concurrently; none may be
// called after Close.
type DB struct {
	dir  string
	fs   vfs.FS
	p    *pebble.DB
	lock *pebble.Lock
	log  fatal.Log

	mu      sync.Mutex // one writer at a time: Apply reads what it replaces
	written int64      // bytes of batches since Open

	full   atomic.Bool           // the engine's background work found the disk full
	broken atomic.Pointer[error] // a fatal error: nothing is written any more
}

// Open opens the state in dir of fs, creating both (mode 0700) where they do
// not exist. Errors: KindLocked when another process, or this one, has it open;
// KindNewerFormat; KindDamaged; KindFull.
func Open(fs vfs.FS, dir string, o Options) (*DB, error) {
	d := &DB{dir: dir, fs: fs, log: fatal.Log{Log: o.Log}}
	if err := pebblefs.MkdirAll(fs, dir, 0o700); err != nil {
		return nil, d.fail("open state", err)
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, d.failLock(err)
	}
	d.lock = lock
	if err := d.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

// open opens the engine under the lock.
func (d *DB) open() (err error) {
	defer d.catch(&err, "open state")
	o := &pebble.Options{
		FS:                          pebblefs.Ordered(d.fs),
		Lock:                        d.lock,
		Logger:                      &d.log,
		FormatMajorVersion:          pebble.FormatNewest,
		CacheSize:                   cacheBytes,
		MemTableSize:                memTableBytes,
		MaxOpenFiles:                128,
		DisableTableStats:           true, // saves reading every table at Open; there is little to plan
		CompactionConcurrencyRange:  func() (int, int) { return 1, 1 },
		MemTableStopWritesThreshold: 3,
		EventListener: &pebble.EventListener{
			BackgroundError: d.backgroundError,
			FlushEnd: func(i pebble.FlushInfo) {
				if i.Err == nil {
					d.full.Store(false)
				}
			},
			DataCorruption: func(i pebble.DataCorruptionInfo) { d.log.Errorf("damaged: %v", i) },
		},
	}
	o.Experimental.FileCacheShards = 1
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.TargetFileSizes[i] = tableBytes
	}
	p, err := pebble.Open(d.dir, o)
	if err != nil {
		return d.fail("open state", err)
	}
	d.p = p
	if err := d.checkFormat(); err != nil {
		return errors.Join(err, p.Close())
	}
	return nil
}

// checkFormat reads the format number; a new database gets one.
func (d *DB) checkFormat() error {
	v, err := get(d.p, []byte(keyFormat))
	if err != nil {
		return d.fail("open state", err)
	}
	if v != nil {
		n, size := binary.Uvarint(v)
		switch {
		case size != len(v) || n == 0:
			return d.damaged("open state", "the format number")
		case n > formatVersion:
			return d.newer(fmt.Sprintf("it has format %d, this version reads %d", n, formatVersion))
		}
		return nil
	}
	it, err := d.p.NewIter(nil)
	if err != nil {
		return d.fail("open state", err)
	}
	empty := !it.First()
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return d.fail("open state", err)
	}
	if !empty {
		return d.damaged("open state", "the format number is missing")
	}
	return d.put("open state", []byte(keyFormat), binary.AppendUvarint(nil, formatVersion))
}

// Close ends the use of the state. Every Reader must be closed before.
func (d *DB) Close() (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if broken := d.broken.Load(); broken != nil {
		return *broken // the engine may hold its own locks; the process has to end
	}
	defer d.catch(&err, "close state")
	if d.written > flushOnClose && !d.full.Load() {
		err = d.p.Flush()
	}
	if err := errors.Join(err, d.p.Close(), d.lock.Close()); err != nil {
		return d.fail("close state", err)
	}
	return nil
}

// room refuses a write when the disk is full or nearly so, before the engine
// gets to see it.
func (d *DB) room(op string) error {
	if broken := d.broken.Load(); broken != nil {
		return *broken
	}
	if d.full.Load() {
		return d.noSpace(op, errors.New("no space left on device"))
	}
	// A file system that cannot tell its free space is taken at its word later.
	if u, err := d.fs.GetDiskUsage(d.dir); err == nil && u.AvailBytes < reserve {
		return d.noSpace(op, fmt.Errorf("%d MiB are free, %d must be", u.AvailBytes>>20, reserve>>20))
	}
	return nil
}

// commit makes a batch durable (or, unsynced, leaves that to the system). The
// caller holds mu.
func (d *DB) commit(op string, b *pebble.Batch, o *pebble.WriteOptions) (err error) {
	if err := d.room(op); err != nil {
		return err
	}
	defer d.catch(&err, op)
	d.written += int64(b.Len())
	if err := d.p.Apply(b, o); err != nil {
		return d.fail(op, err)
	}
	return nil
}

// put stores one row outside the trees; a nil value deletes it.
func (d *DB) put(op string, key, value []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := d.p.NewBatch()
	defer b.Close()
	var err error
	if value == nil {
		err = b.Delete(key, nil)
	} else {
		err = b.Set(key, value, nil)
	}
	if err != nil {
		return d.fail(op, err)
	}
	return d.commit(op, b, pebble.Sync)
}

func (d *DB) backgroundError(err error) {
	if isFull(err) {
		d.full.Store(true)
	}
	d.log.Errorf("background work: %v", err)
}

func isFull(err error) bool {
	return vfs.IsNoSpaceError(err) || errors.Is(err, syscall.EDQUOT)
}

// fail gives an engine's error its kind.
func (d *DB) fail(op string, err error) error {
	var known *sendonce.Error
	switch {
	case errors.As(err, &known):
		return err
	case isFull(err):
		return d.noSpace(op, err)
	case strings.Contains(err.Error(), "unknown format major version"):
		return d.newer(err.Error())
	case pebble.IsCorruptionError(err):
		return d.damaged(op, err.Error())
	}
	return &sendonce.Error{Op: op, Path: d.dir, Kind: sendonce.KindInternal, Err: err}
}

func (d *DB) failLock(err error) error {
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && !strings.Contains(err.Error(), "open ") ||
		strings.Contains(err.Error(), "held by current process") {
		return &sendonce.Error{Op: "open state", Path: d.dir, Kind: sendonce.KindLocked, Err: err,
			Hint: "another sendonce is using it: let it finish, or stop the daemon"}
	}
	return d.fail("open state", err)
}

func (d *DB) noSpace(op string, err error) error {
	return &sendonce.Error{Op: op, Path: d.dir, Kind: sendonce.KindFull, Err: err,
		Hint: "free some space on the disk that holds the state"}
}

func (d *DB) newer(detail string) error {
	return &sendonce.Error{Op: "open state", Path: d.dir, Kind: sendonce.KindNewerFormat, Detail: detail,
		Hint: "use the version of sendonce that wrote it, or a newer one"}
}

// damaged says so with the way out: everything here but the enrolment can be
// seen again, and without it the trees are merged as a union (P8).
func (d *DB) damaged(op, detail string) error {
	return &sendonce.Error{Op: op, Path: d.dir, Kind: sendonce.KindDamaged, Detail: "the state is damaged: " + detail,
		Hint: "remove this directory, then join and attach the folders again: the state is rebuilt, and no file is deleted or overwritten"}
}

// catch turns a fatal error that the engine met inside one of our own calls
// into that call's error, for good. Use it in a defer.
func (d *DB) catch(err *error, op string) {
	if r := recover(); r != nil {
		*err = d.fail(op, fatal.Caught(r))
		d.broken.CompareAndSwap(nil, err)
	}
}
