// Package bin reads and writes the primitives of the index's records: fixed
// fields, minimal varints and length-prefixed bytes.
//
// Invariants: a Reader never reads past its input, allocates no more than the
// caller's limit, and accepts exactly one encoding of each value, so that what
// was parsed and appended again is the same bytes. It does not know any record;
// package indexdb does. Start with Reader.
package bin

import (
	"encoding/binary"
	"errors"
)

// ErrBytes is what every malformed input ends in.
var ErrBytes = errors.New("malformed record")

// AppendBytes appends a uvarint length and the bytes.
func AppendBytes[T ~string | ~[]byte](dst []byte, b T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// AppendBool appends 0 or 1.
func AppendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// Reader takes a record apart. After the first error every method returns a
// zero value; Done tells.
type Reader struct {
	b   []byte
	bad bool
}

// NewReader returns a Reader of b, which it does not keep beyond its own life.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Fail marks the input as malformed.
func (r *Reader) Fail() { r.bad, r.b = true, nil }

// Done returns ErrBytes if anything was malformed or bytes are left over.
func (r *Reader) Done() error {
	if r.bad || len(r.b) > 0 {
		return ErrBytes
	}
	return nil
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.Fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Expect reads one byte that must be want, a record's version for instance.
func (r *Reader) Expect(want byte) {
	if r.Byte() != want {
		r.Fail()
	}
}

// Bool reads a byte that must be 0 or 1.
func (r *Reader) Bool() bool {
	v := r.Byte()
	if v > 1 {
		r.Fail()
	}
	return v == 1
}

// Uint64 reads 8 bytes, big-endian.
func (r *Reader) Uint64() uint64 {
	var b [8]byte
	r.Fixed(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// Uvarint reads a minimal uvarint of at most limit.
func (r *Reader) Uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit || n > 1 && r.b[n-1] == 0 {
		r.Fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Varint reads a minimal zig-zag varint.
func (r *Reader) Varint() int64 {
	u := r.Uvarint(1<<64 - 1)
	return int64(u>>1) ^ -int64(u&1)
}

// Fixed fills dst.
func (r *Reader) Fixed(dst []byte) {
	if len(r.b) < len(dst) {
		r.Fail()
		clear(dst)
		return
	}
	copy(dst, r.b)
	r.b = r.b[len(dst):]
}

// Bytes reads a length of at most limit and returns a copy of that many bytes,
// nil for none.
func (r *Reader) Bytes(limit int) []byte {
	n := int(r.Uvarint(uint64(limit)))
	if n > len(r.b) {
		r.Fail()
		return nil
	}
	if n == 0 {
		return nil
	}
	b := append([]byte(nil), r.b[:n]...)
	r.b = r.b[n:]
	return b
}

// Count reads a number of items that take at least size bytes each, at most
// limit, so that a caller may allocate for them.
func (r *Reader) Count(limit, size int) int {
	n := int(r.Uvarint(uint64(limit)))
	if n*size > len(r.b) {
		r.Fail()
		return 0
	}
	return n
}
