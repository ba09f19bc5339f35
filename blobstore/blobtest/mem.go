package blobtest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"sendonce"
	"sendonce/blobstore"
)

// Mem keeps records in memory. It implements blobstore.Store and
// blobstore.Maintainer, and is the plainest reading of their contracts.
type Mem struct {
	// SegmentBytes is when a segment is closed and the next one begun. Change it
	// before the first Put only.
	SegmentBytes int64

	mu       sync.Mutex // guards the fields below
	closed   bool
	last     uint64 // the segment being written; numbers are never reused
	segments map[uint64]*memSegment
}

type memSegment struct {
	next    uint32
	bytes   int64
	records map[uint32][]byte
}

var (
	_ blobstore.Store      = (*Mem)(nil)
	_ blobstore.Maintainer = (*Mem)(nil)
)

// NewMem returns an empty store with segments of 1 MiB.
func NewMem() *Mem {
	return &Mem{SegmentBytes: 1 << 20, last: 1, segments: map[uint64]*memSegment{}}
}

// begin locks the store and reports why it cannot be used.
func (m *Mem) begin(ctx context.Context, op string) error {
	if err := ctx.Err(); err != nil {
		return &sendonce.Error{Op: op, Kind: sendonce.KindInterrupted, Err: err}
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return &sendonce.Error{Op: op, Kind: sendonce.KindUnavailable, Detail: "the store is closed"}
	}
	return nil
}

// Put implements blobstore.Store.
func (m *Mem) Put(ctx context.Context, records [][]byte) ([]sendonce.Location, error) {
	const op = "put records"
	for _, r := range records {
		if len(r) > blobstore.MaxRecord {
			return nil, &sendonce.Error{Op: op, Kind: sendonce.KindLimit,
				Detail: fmt.Sprintf("a record has %d bytes, the limit is %d", len(r), blobstore.MaxRecord)}
		}
	}
	if err := m.begin(ctx, op); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	locs := make([]sendonce.Location, len(records))
	for i, r := range records {
		s := m.segments[m.last]
		if s != nil && s.bytes >= m.SegmentBytes {
			m.last++
			s = nil
		}
		if s == nil {
			s = &memSegment{records: map[uint32][]byte{}}
			m.segments[m.last] = s
		}
		locs[i] = sendonce.Location{Segment: m.last, Offset: s.next, Length: uint32(len(r))}
		s.records[s.next] = append([]byte{}, r...)
		s.next += uint32(max(len(r), 1))
		s.bytes += int64(len(r))
	}
	return locs, nil
}

// record returns the record at loc, or nil.
func (m *Mem) record(loc sendonce.Location) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.segments[loc.Segment]
	if s == nil {
		return nil
	}
	if r, ok := s.records[loc.Offset]; ok && len(r) == int(loc.Length) {
		return r
	}
	return nil
}

// Get implements blobstore.Store.
func (m *Mem) Get(ctx context.Context, locs []sendonce.Location, fn func(i int, record []byte) error) error {
	const op = "get records"
	if err := m.begin(ctx, op); err != nil {
		return err
	}
	m.mu.Unlock()
	order := make([]int, len(locs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(locs[a].Segment, locs[b].Segment), cmp.Compare(locs[a].Offset, locs[b].Offset))
	})
	var buf []byte
	for _, i := range order {
		if err := ctx.Err(); err != nil {
			return &sendonce.Error{Op: op, Kind: sendonce.KindInterrupted, Err: err}
		}
		r := m.record(locs[i])
		if r != nil {
			// Overwriting the last record catches callers that keep it.
			buf = append(buf[:0], r...)
			r = buf[:len(r):len(r)]
			if r == nil {
				r = []byte{}
			}
		}
		if err := fn(i, r); err != nil {
			return err
		}
	}
	return nil
}

// Segments implements blobstore.Maintainer.
func (m *Mem) Segments(ctx context.Context) ([]blobstore.Segment, error) {
	if err := m.begin(ctx, "list segments"); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	var list []blobstore.Segment
	for _, id := range slices.Sorted(maps.Keys(m.segments)) {
		s := m.segments[id]
		list = append(list, blobstore.Segment{ID: id, Bytes: s.bytes, Records: int64(len(s.records))})
	}
	return list, nil
}

// Scan implements blobstore.Maintainer.
func (m *Mem) Scan(ctx context.Context, segment uint64, fn func(loc sendonce.Location, record []byte) error) error {
	if err := m.begin(ctx, "scan segment"); err != nil {
		return err
	}
	var locs []sendonce.Location
	if s := m.segments[segment]; s != nil {
		for _, off := range slices.Sorted(maps.Keys(s.records)) {
			locs = append(locs, sendonce.Location{Segment: segment, Offset: off, Length: uint32(len(s.records[off]))})
		}
	}
	m.mu.Unlock()
	return m.Get(ctx, locs, func(i int, record []byte) error { return fn(locs[i], record) })
}

// Drop implements blobstore.Maintainer.
func (m *Mem) Drop(ctx context.Context, segment uint64) error {
	if err := m.begin(ctx, "drop segment"); err != nil {
		return err
	}
	defer m.mu.Unlock()
	delete(m.segments, segment)
	if segment == m.last {
		m.last++
	}
	return nil
}

// Close implements blobstore.Store.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}
