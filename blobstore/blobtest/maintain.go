package blobtest

import (
	"bytes"
	"fmt"

	"sendonce"
	"sendonce/blobstore"
)

// maintainer returns the store as a Maintainer, and skips the test if it is none.
func (h *harness) maintainer() blobstore.Maintainer {
	m, ok := h.store.(blobstore.Maintainer)
	if !ok {
		h.t.Skip("the store is no Maintainer")
	}
	return m
}

// checkSegments compares Segments and Scan with what must be there.
func (h *harness) checkSegments() {
	h.t.Helper()
	m, ok := h.store.(blobstore.Maintainer)
	if !ok {
		return
	}
	segments, err := m.Segments(h.ctx)
	h.check(err)
	scanned := 0
	for i, sg := range segments {
		if i > 0 && segments[i-1].ID >= sg.ID {
			h.t.Fatalf("segment %d comes after %d", sg.ID, segments[i-1].ID)
		}
		got := blobstore.Segment{ID: sg.ID}
		next := uint32(0)
		h.check(m.Scan(h.ctx, sg.ID, func(loc sendonce.Location, record []byte) error {
			want, ok := h.want[loc]
			switch {
			case !ok || !bytes.Equal(want, record):
				return fmt.Errorf("Scan gives %+v, which was not put", loc)
			case loc.Segment != sg.ID || loc.Offset < next:
				return fmt.Errorf("Scan of segment %d gives %+v behind offset %d", sg.ID, loc, next)
			}
			next = loc.Offset + 1
			got.Records++
			got.Bytes += int64(len(record))
			scanned++
			return nil
		}))
		if got != sg {
			h.t.Fatalf("the segment is listed as %+v and scans as %+v", sg, got)
		}
	}
	if scanned != len(h.want) {
		h.t.Fatalf("%d records in all segments, want %d", scanned, len(h.want))
	}
}

// drop drops a segment and forgets what was in it.
func (h *harness) drop(segment uint64) {
	h.t.Helper()
	h.check(h.maintainer().Drop(h.ctx, segment))
	var gone []sendonce.Location
	for l := range h.want {
		if l.Segment == segment {
			gone = append(gone, l)
			delete(h.want, l)
		}
	}
	h.check(h.store.Get(h.ctx, gone, func(i int, r []byte) error {
		if r != nil {
			return fmt.Errorf("%+v is there after its segment was dropped", gone[i])
		}
		return nil
	}))
}

func segmentsAndScan(h *harness) {
	h.maintainer()
	h.checkSegments()
	h.put(h.records(10, 0, 3000)...)
	h.checkSegments()
	h.put(h.records(1<<20, 2<<20)...)
	h.put(h.records(1<<20, 1<<20)...)
	h.put(h.records(7)...)
	h.checkSegments()
	h.check(h.maintainer().Scan(h.ctx, 1<<40, func(sendonce.Location, []byte) error {
		return fmt.Errorf("a segment that is not there has a record")
	}))
}

func drop(h *harness) {
	h.maintainer()
	old := h.put(h.records(10, 20)...)
	h.put(h.records(2<<20, 2<<20)...)
	h.drop(old[0].Segment) // the one being written
	h.put(h.records(10, 20)...)
	h.checkSegments()
	segments, err := h.maintainer().Segments(h.ctx)
	h.check(err)
	for _, sg := range segments {
		h.drop(sg.ID)
		h.checkSegments()
	}
	h.drop(segments[0].ID) // again
	h.drop(1 << 40)
	h.drop(0)
	h.drop(1<<64 - 1)
	h.put(h.records(10, 2<<20)...)
	if h.reopen != nil {
		h.store = h.reopen()
	}
	h.put(h.records(10)...)
	h.checkSegments()
}

func dropWhileRead(h *harness) {
	m := h.maintainer()
	locs := h.put(h.records(500<<10, 500<<10, 500<<10)...)
	dropped := false
	h.check(h.store.Get(h.ctx, locs, func(i int, r []byte) error {
		if !dropped {
			dropped = true
			if err := m.Drop(h.ctx, locs[0].Segment); err != nil {
				return err
			}
		}
		if r != nil && !bytes.Equal(r, h.want[locs[i]]) {
			return fmt.Errorf("%+v reads as other bytes while it is dropped", locs[i])
		}
		return nil
	}))
	h.drop(locs[0].Segment)
}
