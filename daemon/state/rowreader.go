package state

import (
	"encoding/binary"
	"math"

	"sendonce"
)

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendString(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// rowReader reads a row from its start; the first thing that is wrong makes it
// bad for good, and everything read from then on is zero. It never allocates
// more than the row is long, whatever the row claims.
type rowReader struct {
	b   []byte
	bad bool
}

func (r *rowReader) must(ok bool) {
	if !ok {
		r.bad = true
		r.b = nil
	}
}

// done reports whether the row was well-formed and is used up.
func (r *rowReader) done() bool { return !r.bad && len(r.b) == 0 }

func (r *rowReader) version() { r.must(r.byte() == rowVersion) }

// take returns the next n bytes of the row itself, nil if there are fewer.
func (r *rowReader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.must(false)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *rowReader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *rowReader) uint64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// uvarint reads an unsigned varint in its only, shortest, form.
func (r *rowReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.must(false)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *rowReader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *rowReader) uint32() uint32 {
	v := r.uvarint()
	r.must(v <= math.MaxUint32)
	return uint32(v)
}

func (r *rowReader) size() int64 {
	v := r.uvarint()
	r.must(v <= math.MaxInt64)
	return int64(v)
}

// count reads a number of items of at least itemBytes each.
func (r *rowReader) count(limit uint64, itemBytes int) int {
	v := r.uvarint()
	r.must(v <= limit && v <= uint64(len(r.b)/itemBytes))
	if r.bad {
		return 0
	}
	return int(v)
}

func (r *rowReader) str(limit int) string { return string(r.take(r.count(uint64(limit), 1))) }

func (r *rowReader) kind() sendonce.Kind {
	k := sendonce.Kind(r.byte())
	r.must(checkKind(k) == nil)
	return k
}
