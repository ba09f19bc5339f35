package pebbleblob

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"

	"sendonce"
	"sendonce/blobstore"
)

// put is one call of Put on its way through the writer.
type put struct {
	records [][]byte
	bytes   int64
	locs    []sendonce.Location
	state   atomic.Int32
	copied  chan struct{} // closed when a reading of records has ended
	done    chan error    // has room for the one answer
}

// States of a put. While it waits, whoever changes the state first wins: the
// writer, which then reads the records, or the caller, who then takes them back.
const (
	putWaiting int32 = iota
	putReading
	putWithdrawn
)

// Put implements blobstore.Store. While the disk is full it returns KindFull
// without waiting. Cancelling ctx helps until the writer has taken the records;
// after that Put waits for the answer.
func (s *Store) Put(ctx context.Context, records [][]byte) ([]sendonce.Location, error) {
	const op = "put records"
	// The list is copied, for the writer may look at lengths after a withdrawal.
	p := &put{records: slices.Clone(records), locs: make([]sendonce.Location, 0, len(records)), copied: make(chan struct{}), done: make(chan error, 1)}
	for _, r := range records {
		if len(r) > blobstore.MaxRecord {
			return nil, &sendonce.Error{Op: op, Kind: sendonce.KindLimit,
				Detail: fmt.Sprintf("a record has %d bytes, the limit is %d", len(r), blobstore.MaxRecord)}
		}
		p.bytes += int64(len(r))
	}
	if err := ctx.Err(); err != nil {
		return nil, wrap(op, "", err)
	}
	if err := s.enter(op); err != nil {
		return nil, err
	}
	defer s.leave()
	if len(records) == 0 {
		return p.locs, nil
	}
	full := s.disk.state()
	select {
	case s.puts <- p:
	case <-full:
		return nil, s.fullError(op)
	case <-ctx.Done():
		return nil, wrap(op, "", ctx.Err())
	}
	select {
	case err := <-p.done:
		if err != nil {
			return nil, wrap(op, s.dir, err)
		}
		return p.locs, nil
	case <-full:
		// The writer may hang in Pebble until there is space. It does not while
		// it reads the records, so waiting for that is short.
		if !p.state.CompareAndSwap(putWaiting, putWithdrawn) {
			<-p.copied
		}
		return nil, s.fullError(op)
	}
}

// spare refuses a group that would leave less than the reserve free. Without a
// reserve a full disk could not even be emptied: dropping a segment writes too.
func (s *Store) spare(bytes int64) error {
	if s.opts.ReserveBytes < 0 {
		return nil
	}
	use, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		return nil // not known here; the writes themselves will tell
	}
	if use.AvailBytes < uint64(bytes+s.opts.ReserveBytes) {
		return s.fullError("put records")
	}
	return nil
}

func (s *Store) fullError(op string) error {
	return &sendonce.Error{Op: op, Path: s.dir, Kind: sendonce.KindFull, Hint: hintFull}
}

// cursor is a segment being written: where its next record goes and what is in
// it. The zero cursor is none.
type cursor struct {
	segment uint64
	offset  uint32
	totals
}

// row is one key and value to be written.
type row struct {
	segment uint64
	offset  uint32
	value   []byte
}

// writer is the one goroutine that writes: no other hands out locations, writes
// to the database or changes the fields below.
type writer struct {
	s           *Store
	tmp         string // directory of tables being written
	tableFormat sstable.TableFormat
	tables      uint64 // names of temporary files

	cur      [classes]cursor
	next     uint64 // next segment number to use
	reserved uint64 // numbers below this are reserved on disk
	rows     []row  // reused between groups
}

func (w *writer) run() {
	defer close(w.s.ended)
	for {
		select {
		case p := <-w.s.puts:
			w.group(p)
		case task := <-w.s.tasks:
			task(w)
		case <-w.s.quit:
			return
		}
	}
}

// group commits p together with the Puts that wait right now.
func (w *writer) group(p *put) {
	group, bytes := []*put{p}, p.bytes
	for more := true; more && bytes < maxGroupBytes; {
		select {
		case p := <-w.s.puts:
			group, bytes = append(group, p), bytes+p.bytes
		default:
			more = false
		}
	}
	err := w.write(group, bytes)
	for _, p := range group {
		p.done <- err
	}
}

// write makes the records of a group durable and fills in their locations.
func (w *writer) write(group []*put, bytes int64) error {
	if err := w.s.failure(); err != nil {
		return err
	}
	if err := w.s.spare(bytes); err != nil {
		return err
	}
	c := small
	if bytes >= w.s.opts.TableBytes {
		c = big
	}
	cur := w.cur[c]
	w.rows = w.rows[:0]
	for _, p := range group {
		for _, r := range p.records {
			loc, err := w.place(c, &cur, r)
			if err != nil {
				return err
			}
			p.locs = append(p.locs, loc)
		}
	}
	// Up to here the records were not looked into, and a full disk may have
	// kept this goroutine waiting (newSegment).
	for i, p := range group {
		if !p.state.CompareAndSwap(putWaiting, putReading) {
			release(group[:i])
			return w.s.fullError("put records")
		}
	}
	err := w.commit(c, w.rows, func() { release(group) })
	clear(w.rows) // the values belong to the callers
	if err != nil {
		return err
	}
	w.setCurrent(c, cur)
	return nil
}

// release tells the callers that their records have been read.
func release(group []*put) {
	for _, p := range group {
		close(p.copied)
	}
}

// place gives a record its location behind cur and adds its row; the record
// that fills a segment brings the seal with it, so that both are durable
// together.
func (w *writer) place(c class, cur *cursor, record []byte) (sendonce.Location, error) {
	if cur.segment == 0 {
		n, err := w.newSegment()
		if err != nil {
			return sendonce.Location{}, err
		}
		*cur = cursor{segment: c.segment(n)}
	}
	loc := sendonce.Location{Segment: cur.segment, Offset: cur.offset, Length: uint32(len(record))}
	w.rows = append(w.rows, row{cur.segment, cur.offset, record})
	cur.offset += uint32(max(len(record), 1)) // an empty record takes a key too
	cur.records++
	cur.bytes += int64(len(record))
	if int64(cur.offset) >= w.s.opts.SegmentBytes {
		w.rows = append(w.rows, row{cur.segment, sealOffset, appendSeal(nil, cur.totals)})
		*cur = cursor{}
	}
	return loc, nil
}

func (w *writer) setCurrent(c class, cur cursor) {
	w.cur[c] = cur
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	w.s.current[c] = cur
}

// newSegment returns a number that no segment has had.
func (w *writer) newSegment() (uint64, error) {
	if w.next == w.reserved {
		upTo := w.next + reserveSegments
		if upTo >= smallBase {
			return 0, &sendonce.Error{Op: "start segment", Kind: sendonce.KindLimit, Detail: "all segment numbers are used up"}
		}
		v := binary.BigEndian.AppendUint64(nil, upTo)
		if err := w.s.db.Set(makeKey(metaSegment, metaNext), v, pebble.Sync); err != nil {
			return 0, err
		}
		if err := w.s.failure(); err != nil {
			return 0, err
		}
		w.reserved = upTo
	}
	n := w.next
	w.next++
	return n, nil
}

// loadNext reads where the reserved numbers end; numbering goes on there.
func (w *writer) loadNext() error {
	w.next = 1
	v, ok, err := w.s.metaRow(metaNext, 8)
	if err != nil {
		return err
	}
	if ok {
		w.next = binary.BigEndian.Uint64(v)
	}
	if w.next == 0 || w.next >= smallBase {
		return damaged("the next segment number is out of range")
	}
	w.reserved = w.next
	return nil
}

// commit makes rows durable, in the way of their class. It calls copied, once,
// when the values are no longer needed.
func (w *writer) commit(c class, rows []row, copied func()) error {
	var err error
	if c == big {
		err = w.ingest(rows, copied)
	} else {
		err = w.batch(rows, copied)
	}
	if err != nil {
		return err
	}
	// Pebble calls Fatalf and then returns nil when its log fails.
	return w.s.failure()
}

func (w *writer) batch(rows []row, copied func()) error {
	b := w.s.db.NewBatch()
	defer b.Close()
	err := fill(b, rows)
	copied()
	if err != nil {
		return err
	}
	return b.Commit(pebble.Sync)
}

func fill(b *pebble.Batch, rows []row) error {
	for _, r := range rows {
		op := b.SetDeferred(keySize, len(r.value))
		putKey(op.Key, r.segment, r.offset)
		copy(op.Value, r.value)
		if err := op.Finish(); err != nil {
			return err
		}
	}
	return nil
}
