// Package row reads and writes the parts of the state's rows: numbers, texts,
// nodes, contents, manifests and cursors.
//
// Invariants: a value has exactly one encoding, and Reader accepts no other; a
// row claims nothing that it does not hold, so hostile bytes cost no memory; what
// an Append function wrote after its Check function agreed is read back as it was.
//
// Read reader.go, then node.go; docs/formats/state.md has the tables.
package row

import (
	"encoding/binary"
	"math"

	"sendonce"
)

// AppendBytes appends a length and the bytes.
func AppendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// AppendString appends a length and the bytes of a text.
func AppendString(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// Reader reads a row from its start; the first thing that is wrong makes it
// bad for good, and everything read from then on is zero. It never allocates
// more than the row is long, whatever the row claims.
type Reader struct {
	b   []byte
	bad bool
}

// NewReader reads b, which it does not keep or change.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Must makes the row bad unless ok.
func (r *Reader) Must(ok bool) {
	if !ok {
		r.bad = true
		r.b = nil
	}
}

// Done reports whether the row was well-formed and is used up.
func (r *Reader) Done() bool { return !r.bad && len(r.b) == 0 }

// Version reads the first byte of every row.
func (r *Reader) Version() { r.Must(r.Byte() == Version) }

// Take returns the next n bytes of the row itself, nil if there are fewer.
func (r *Reader) Take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b) {
		r.Must(false)
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if v := r.Take(1); v != nil {
		return v[0]
	}
	return 0
}

// Uint64 reads 8 big-endian bytes.
func (r *Reader) Uint64() uint64 {
	if v := r.Take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Uvarint reads an unsigned varint in its only, shortest, form.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.Must(false)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Varint reads a zigzag varint.
func (r *Reader) Varint() int64 {
	u := r.Uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// Uint32 reads a varint of at most 32 bits.
func (r *Reader) Uint32() uint32 {
	v := r.Uvarint()
	r.Must(v <= math.MaxUint32)
	return uint32(v)
}

// Size reads a varint that is not negative as an int64.
func (r *Reader) Size() int64 {
	v := r.Uvarint()
	r.Must(v <= math.MaxInt64)
	return int64(v)
}

// Count reads a number of items of at least itemBytes each.
func (r *Reader) Count(limit uint64, itemBytes int) int {
	v := r.Uvarint()
	r.Must(v <= limit && v <= uint64(len(r.b)/itemBytes))
	if r.bad {
		return 0
	}
	return int(v)
}

// Text reads a text of at most limit bytes.
func (r *Reader) Text(limit int) string { return string(r.Take(r.Count(uint64(limit), 1))) }

// Kind reads a node's kind.
func (r *Reader) Kind() sendonce.Kind {
	k := sendonce.Kind(r.Byte())
	r.Must(CheckKind(k) == nil)
	return k
}
