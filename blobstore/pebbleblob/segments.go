package pebbleblob

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"sendonce/blobstore"
)

// Segments implements blobstore.Maintainer. It reads one seal for each segment,
// not the records.
func (s *Store) Segments(ctx context.Context) ([]blobstore.Segment, error) {
	const op = "list segments"
	if err := s.enter(op); err != nil {
		return nil, err
	}
	defer s.leave()
	// The open segments first: one that is sealed meanwhile is then in both
	// lists, and never in none.
	s.mu.Lock()
	current := s.current
	s.mu.Unlock()
	list, err := s.sealed(ctx)
	if err != nil {
		return nil, wrap(op, s.dir, err)
	}
	byID := func(sg blobstore.Segment, id uint64) int { return cmp.Compare(sg.ID, id) }
	for _, c := range current {
		if c.segment == 0 {
			continue
		}
		if i, found := slices.BinarySearchFunc(list, c.segment, byID); !found {
			list = slices.Insert(list, i, blobstore.Segment{ID: c.segment, Bytes: c.bytes, Records: c.records})
		}
	}
	return list, nil
}

// sealed hops from seal to seal.
func (s *Store) sealed(ctx context.Context) (list []blobstore.Segment, err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{UpperBound: makeKey(metaSegment, 0)})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	var key [keySize]byte
	for ok := it.SeekGE(putKey(key[:], 1, sealOffset)); ok; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		segment, offset, err := parseKey(it.Key())
		if err != nil {
			return nil, err
		}
		if offset != sealOffset {
			// The numbers have a gap here and the hop went too short: this is
			// the first record of the next segment.
			ok = it.SeekGE(putKey(key[:], segment, sealOffset))
			continue
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return nil, err
		}
		t, err := parseSeal(v)
		if err != nil {
			return nil, err
		}
		list = append(list, blobstore.Segment{ID: segment, Bytes: t.bytes, Records: t.records})
		ok = it.SeekGE(putKey(key[:], segment+1, sealOffset))
	}
	return list, it.Error()
}

// sealLast seals the last segment of a class if the last process did not: of
// each class only the segment being written can be unsealed.
func (w *writer) sealLast(c class) error {
	segment, ok, err := w.lastUnsealed(c)
	if err != nil || !ok {
		return err
	}
	var t totals
	err = w.s.rows(segment, func(_ uint32, record []byte) error {
		t.records++
		t.bytes += int64(len(record))
		return nil
	})
	if err != nil {
		return err
	}
	return w.commit(c, []row{{segment, sealOffset, appendSeal(nil, t)}}, func() {})
}

func (w *writer) lastUnsealed(c class) (segment uint64, ok bool, err error) {
	lo, hi := c.bounds()
	it, err := w.s.db.NewIter(&pebble.IterOptions{LowerBound: makeKey(lo, 0), UpperBound: makeKey(hi, 0)})
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.Last() {
		return 0, false, it.Error()
	}
	segment, offset, err := parseKey(it.Key())
	return segment, offset != sealOffset, err
}

// Drop implements blobstore.Maintainer. The segment's tables, which hold nothing
// else, leave the database in one synced step (an excise) and are deleted once no
// Get or Scan uses them. Dropping the segment being written ends it.
func (s *Store) Drop(ctx context.Context, segment uint64) error {
	const op = "drop segment"
	if err := s.enter(op); err != nil {
		return err
	}
	defer s.leave()
	if !isSegment(segment) {
		return nil
	}
	done := make(chan error, 1)
	task := func(w *writer) { done <- w.drop(segment) }
	full := s.disk.state()
	select {
	case s.tasks <- task:
	case <-full:
		return s.fullError(op)
	case <-ctx.Done():
		return wrap(op, "", ctx.Err())
	}
	select {
	case err := <-done:
		return wrap(op, s.dir, err)
	case <-full:
		return s.fullError(op)
	}
}

func (w *writer) drop(segment uint64) error {
	if err := w.s.failure(); err != nil {
		return err
	}
	span := pebble.KeyRange{Start: makeKey(segment, 0), End: makeKey(segment+1, 0)}
	if err := w.s.db.Excise(context.Background(), span); err != nil {
		return err
	}
	for c := range classes {
		if w.cur[c].segment == segment {
			w.setCurrent(c, cursor{})
		}
	}
	return w.s.failure()
}
