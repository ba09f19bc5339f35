package pebbleblob

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"sendonce"
)

// Get implements blobstore.Store. It reads in the order of the keys, through one
// iterator, so that neighbours on disk are read as one run.
func (s *Store) Get(ctx context.Context, locs []sendonce.Location, fn func(i int, record []byte) error) error {
	const op = "get records"
	if err := s.enter(op); err != nil {
		return err
	}
	defer s.leave()
	order := make([]int, len(locs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(locs[a].Segment, locs[b].Segment), cmp.Compare(locs[a].Offset, locs[b].Offset))
	})
	if len(order) == 0 {
		return nil
	}
	var called error // what fn returned, to be passed on as it is
	err := s.iterate(locs[order[0]].Segment, locs[order[len(order)-1]].Segment, func(it *pebble.Iterator) error {
		r := reader{it: it}
		for _, i := range order {
			if err := ctx.Err(); err != nil {
				return err
			}
			record, err := r.read(locs[i])
			if err != nil {
				return err
			}
			if called = fn(i, record); called != nil {
				return called
			}
		}
		return nil
	})
	if called != nil {
		return called
	}
	return wrap(op, s.dir, err)
}

// iterate calls fn with an iterator over the segments from lo to hi.
func (s *Store) iterate(lo, hi uint64, fn func(it *pebble.Iterator) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: makeKey(lo, 0), UpperBound: makeKey(hi, sealOffset)})
	if err != nil {
		return err
	}
	return errors.Join(fn(it), it.Close())
}

// reader reads locations in ascending order. It steps to a neighbour, and seeks
// to anything else.
type reader struct {
	it      *pebble.Iterator
	valid   bool // it stands on a row: segment, offset
	segment uint64
	offset  uint32
	end     uint32 // where the next record of the segment would begin
	key     [keySize]byte
}

// read returns the record at loc, or nil if it is not there.
func (r *reader) read(loc sendonce.Location) ([]byte, error) {
	if !isSegment(loc.Segment) || loc.Offset == sealOffset {
		return nil, nil
	}
	switch {
	case r.valid && r.segment == loc.Segment && r.offset == loc.Offset: // asked for again
	case r.valid && r.segment == loc.Segment && r.end == loc.Offset:
		r.valid = r.it.Next()
	default:
		r.valid = r.it.SeekGE(putKey(r.key[:], loc.Segment, loc.Offset))
	}
	if !r.valid {
		return nil, r.it.Error()
	}
	var err error
	if r.segment, r.offset, err = parseKey(r.it.Key()); err != nil {
		return nil, err
	}
	r.end = r.offset // until the length is known nothing is a neighbour
	if r.segment != loc.Segment || r.offset != loc.Offset {
		r.valid = false
		return nil, nil
	}
	v, err := r.it.ValueAndErr()
	if err != nil {
		return nil, err
	}
	r.end = r.offset + uint32(max(len(v), 1))
	if len(v) != int(loc.Length) {
		return nil, nil // no Put returned this
	}
	if v == nil {
		v = []byte{} // nil means that it is not there
	}
	return v, nil
}

// Scan implements blobstore.Maintainer.
func (s *Store) Scan(ctx context.Context, segment uint64, fn func(loc sendonce.Location, record []byte) error) error {
	const op = "scan segment"
	if err := s.enter(op); err != nil {
		return err
	}
	defer s.leave()
	var called error
	err := s.rows(segment, func(offset uint32, record []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		called = fn(sendonce.Location{Segment: segment, Offset: offset, Length: uint32(len(record))}, record)
		return called
	})
	if called != nil {
		return called
	}
	return wrap(op, s.dir, err)
}

// rows calls fn for each record of a segment in order, the seal left out.
func (s *Store) rows(segment uint64, fn func(offset uint32, record []byte) error) error {
	if !isSegment(segment) {
		return nil
	}
	return s.iterate(segment, segment, func(it *pebble.Iterator) error {
		for ok := it.First(); ok; ok = it.Next() {
			_, offset, err := parseKey(it.Key())
			if err != nil {
				return err
			}
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			if err := fn(offset, v); err != nil {
				return err
			}
		}
		return it.Error()
	})
}
