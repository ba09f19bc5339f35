package pebbleidx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/internal/pebblefs"
)

// Options of an engine. The zero value takes the defaults. Sizes are bytes.
type Options struct {
	// Log gets what Pebble reports. nil discards it.
	Log *slog.Logger
	// Fatal is called when the log could not be written or synced, so that
	// nobody knows what is on the disk. It should end the process. If it
	// returns, the engine refuses every call from then on. nil panics.
	Fatal func(reason string)
	// CacheBytes is for decoded blocks and filters; 0 is 64 MiB.
	CacheBytes int64
	// MemTableBytes is for writes that are in the log only; there may be four
	// of that size. 0 is 8 MiB.
	MemTableBytes uint64
	// ReserveBytes of free disk space are left alone: with less, writes are
	// refused (KindFull) and reads go on. 0 is 64 MiB, negative none.
	ReserveBytes int64
}

const (
	// pebbleFormat is fixed, so that a newer Pebble does not change what is on
	// disk unasked.
	pebbleFormat = pebble.FormatTableFormatV6

	// filterBits a key let about 1 in 100 absent chunks through to the table.
	filterBits = 10

	maxMemTables = 4
)

// Engine is an indexdb.Engine in a Pebble database.
type Engine struct {
	db      *pebble.DB
	dir     string
	fs      vfs.FS
	lock    *pebble.Lock
	reserve uint64
	log     *slog.Logger
	space   *spaceGuard
	onFatal func(string)

	// open is held shared by every call and alone by Close.
	open   sync.RWMutex
	closed bool

	// order is held from a transaction's first read to its batch being applied.
	order sync.Mutex
	// issued counts batches; it is raised, under order, before a batch can be
	// seen by a reader.
	issued atomic.Uint64

	syncs sync.Mutex // guards the fields below
	// durable is the newest batch known to be synced. The log is written in
	// order, so all before it are too.
	durable uint64
	moved   sync.Cond // durable rose, or failed was set
	failed  error
}

var _ indexdb.Engine = (*Engine)(nil)

// Open opens the database in dir, or makes a new one. It takes the directory's
// lock. Errors: KindLocked, KindNewerFormat, KindDamaged, KindFull, and
// KindInvalid for a directory that holds something else.
func Open(fs vfs.FS, dir string, o Options) (*Engine, error) {
	const op = "open index database"
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Fatal == nil {
		o.Fatal = func(reason string) { panic("sendonce: index database: " + reason) }
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 8 << 20
	}
	if o.ReserveBytes == 0 {
		o.ReserveBytes = 64 << 20
	}
	e := &Engine{dir: dir, fs: fs, log: o.Log, reserve: uint64(max(o.ReserveBytes, 0)), onFatal: o.Fatal,
		space: newSpaceGuard(fs, fs.PathJoin(dir, "probe"))}
	e.moved.L = &e.syncs
	var err error
	if e.lock, err = lockDir(fs, dir); err != nil {
		return nil, wrap(op, dir, err)
	}
	if err = checkFormat(fs, dir); err == nil {
		e.db, err = pebble.Open(dir, e.pebbleOptions(o))
	}
	if err != nil {
		e.lock.Close()
		return nil, wrap(op, dir, err)
	}
	e.space.arm()
	return e, nil
}

func (e *Engine) pebbleOptions(o Options) *pebble.Options {
	p := &pebble.Options{
		FS:                          vfs.OnDiskFull(pebblefs.Ordered(e.fs), e.space.wait),
		Lock:                        e.lock,
		Comparer:                    comparer,
		FormatMajorVersion:          pebbleFormat,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                o.MemTableBytes,
		MemTableStopWritesThreshold: maxMemTables,
		MaxOpenFiles:                500,
		L0CompactionThreshold:       2,
		Logger:                      pebbleLog{e},
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { e.log.Warn("index database: background work failed", "err", err) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				e.log.Error("index database: damaged", "path", i.Path, "err", i.Details)
			},
		},
	}
	for i := range p.Levels {
		// Keys are hashes and do not compress, but reference rows repeat their
		// folder and journal rows their devices: the fastest codec suffices.
		p.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.SnappyCompression }
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
		p.Levels[i].BlockSize = 8 << 10
		p.Levels[i].IndexBlockSize = 64 << 10
	}
	return p
}

// enter begins a call; the returned function ends it.
func (e *Engine) enter(ctx context.Context) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.open.RLock()
	err := e.failure()
	if e.closed {
		err = &sendonce.Error{Op: "index database", Path: e.dir, Kind: sendonce.KindUnavailable, Detail: "it is closed"}
	}
	if err != nil {
		e.open.RUnlock()
		return nil, err
	}
	return e.open.RUnlock, nil
}

func (e *Engine) failure() error {
	e.syncs.Lock()
	defer e.syncs.Unlock()
	return e.failed
}

// View implements indexdb.Engine.
func (e *Engine) View(ctx context.Context, fn func(indexdb.Reader) error) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	snap := e.db.NewSnapshot()
	seen := e.issued.Load() // after the snapshot: no less than what it shows
	r := &reader{src: snap}
	err = fn(r)
	if e2 := r.close(); err == nil {
		err = e2
	}
	if e2 := snap.Close(); err == nil {
		err = e2
	}
	if e2 := e.await(seen); e2 != nil {
		return e2
	}
	return err
}

// Update implements indexdb.Engine. fn runs once.
func (e *Engine) Update(ctx context.Context, fn func(indexdb.Txn) error) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	b := e.db.NewIndexedBatch()
	number, applied, err := e.transact(ctx, b, fn)
	return e.settle(b, number, applied, err)
}

// transact runs fn and applies its batch, in the order of transactions. It
// returns the number of the newest batch that the result rests on.
func (e *Engine) transact(ctx context.Context, b *pebble.Batch, fn func(indexdb.Txn) error) (number uint64, applied bool, err error) {
	e.order.Lock()
	defer e.order.Unlock()
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	t := &txn{reader: reader{src: b}, b: b}
	err = fn(t)
	if e2 := t.reader.close(); err == nil {
		err = e2
	}
	if err == nil {
		err = t.err
	}
	if err != nil || b.Empty() {
		return e.issued.Load(), false, err
	}
	return e.apply(b)
}

// Write implements indexdb.Engine.
func (e *Engine) Write(ctx context.Context, ops []indexdb.Op) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	b := e.db.NewBatch()
	for _, op := range ops {
		if op.Value == nil {
			err = b.Delete(op.Key, nil)
		} else {
			err = b.Set(op.Key, op.Value, nil)
		}
		if err != nil {
			return errors.Join(wrap("write index", e.dir, err), b.Close())
		}
	}
	var number uint64
	var applied bool
	if !b.Empty() {
		e.order.Lock()
		number, applied, err = e.apply(b)
		e.order.Unlock()
	}
	return e.settle(b, number, applied, err)
}

// apply makes a batch visible; it is durable when SyncWait returns. The caller
// holds order. (Whether a batch was applied cannot be asked of it afterwards: a
// large one is empty then, Pebble having taken its memory.)
func (e *Engine) apply(b *pebble.Batch) (number uint64, applied bool, err error) {
	if err := e.failure(); err != nil {
		return 0, false, err
	}
	if err := e.checkSpace(); err != nil {
		return 0, false, err // tells nothing of what was read, so waits for nothing
	}
	number = e.issued.Add(1)
	if err := e.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return 0, false, e.fail(fmt.Sprintf("a batch was not applied: %v", err))
	}
	return number, true, nil
}

// settle waits until a call's own batch, if one was applied, and all that it
// rests on are durable, and frees the batch.
func (e *Engine) settle(b *pebble.Batch, number uint64, applied bool, err error) error {
	if applied {
		if serr := b.SyncWait(); serr != nil {
			return e.fail(fmt.Sprintf("the log could not be written: %v", serr))
		}
		e.syncs.Lock()
		if number > e.durable {
			e.durable = number
			e.moved.Broadcast()
		}
		e.syncs.Unlock()
	} else if serr := e.await(number); serr != nil {
		err = serr
	}
	if cerr := b.Close(); err == nil {
		err = cerr
	}
	return err
}

// await returns when batch number is durable, or the engine has failed.
func (e *Engine) await(number uint64) error {
	e.syncs.Lock()
	defer e.syncs.Unlock()
	for e.durable < number && e.failed == nil {
		e.moved.Wait()
	}
	return e.failed
}

// fail ends the process by Options.Fatal. If that returns, as in a test, the
// engine is of no use any more.
func (e *Engine) fail(reason string) error {
	e.syncs.Lock()
	already := e.failed != nil
	if !already {
		e.failed = &sendonce.Error{Op: "index database", Path: e.dir, Kind: sendonce.KindUnavailable,
			Detail: "it has failed: " + reason, Hint: "check the disk, then start again"}
		e.moved.Broadcast()
	}
	err := e.failed
	e.syncs.Unlock()
	if !already {
		e.onFatal(reason)
	}
	return err
}

// Compact rewrites the whole database into its lowest level, where filters and
// order serve best: after a bulk load, or when it is idle.
func (e *Engine) Compact(ctx context.Context) error {
	leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	return wrap("compact index", e.dir, e.db.Compact(ctx, []byte{0}, []byte{0xff}, true))
}

// Close waits for the calls under way and closes the database. Calls after it
// get KindUnavailable.
func (e *Engine) Close() error {
	e.open.Lock()
	defer e.open.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.space.disarm()
	err := e.db.Close()
	if e2 := e.lock.Close(); err == nil {
		err = e2
	}
	return wrap("close index database", e.dir, err)
}

// pebbleLog hands Pebble's messages on.
type pebbleLog struct{ e *Engine }

func (l pebbleLog) Infof(format string, args ...any) {
	l.e.log.Debug("index database: " + fmt.Sprintf(format, args...))
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.e.log.Error("index database: " + fmt.Sprintf(format, args...))
}

// Fatalf must not return, for Pebble's state is broken: if Options.Fatal does,
// the goroutine stops here.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.e.fail(fmt.Sprintf(format, args...))
	select {}
}
