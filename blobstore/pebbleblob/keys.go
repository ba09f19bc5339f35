package pebbleblob

import (
	"encoding/binary"
	"math"

	"sendonce"
)

// Keys are a segment (8 bytes) and an offset (4 bytes), big-endian, so that they
// sort in the order of writing. docs/formats/blobstore.md has the table.
//
// The order of the ranges matters: tables below, then everything that goes
// through the memtable in one contiguous range. A flushed table spans from its
// first to its last key; were a row of the log to lie below or between ingested
// segments, compacting it would rewrite every table in between.
const (
	keySize = 12

	// smallBase is the first number of the segments that are written through the
	// log. Segments below it are written as tables. Bit 62, so that the numbers
	// stay positive in systems without unsigned integers.
	smallBase = uint64(1) << 62

	// metaSegment is above every segment and holds the store's own rows.
	metaSegment = uint64(math.MaxUint64)

	// sealOffset is the offset of a segment's last row, its seal. No record gets
	// there: segments are closed long before (see maxSegmentBytes).
	sealOffset = uint32(math.MaxUint32)
)

// Rows of metaSegment, told apart by their offset.
const (
	metaFormat = uint32(1) // value: format version, 4 bytes big-endian
	metaNext   = uint32(2) // value: first segment number not reserved yet, 8 bytes big-endian
)

// formatVersion is the version of the rows that this package writes. A store
// with a higher one is refused.
const formatVersion = 1

// class is one of the two ways to write, each with its own range of segments.
type class int

const (
	big   class = iota // tables, ingested
	small              // synced batches
	classes
)

// segment returns the segment with number n in the class.
func (c class) segment(n uint64) uint64 {
	if c == small {
		return smallBase | n
	}
	return n
}

// bounds returns the class's range of segments, the upper end excluded.
func (c class) bounds() (lo, hi uint64) {
	if c == small {
		return smallBase, metaSegment
	}
	return 0, smallBase
}

// isSegment reports whether id can name a segment of records.
func isSegment(id uint64) bool { return id != 0 && id != metaSegment }

// makeKey returns the key of an offset in a segment.
func makeKey(segment uint64, offset uint32) []byte {
	return putKey(make([]byte, keySize), segment, offset)
}

// putKey writes the key into b, which has room for keySize bytes.
func putKey(b []byte, segment uint64, offset uint32) []byte {
	b = b[:keySize]
	binary.BigEndian.PutUint64(b, segment)
	binary.BigEndian.PutUint32(b[8:], offset)
	return b
}

// parseKey is the inverse of makeKey.
func parseKey(key []byte) (segment uint64, offset uint32, err error) {
	if len(key) != keySize {
		return 0, 0, damaged("a key has the wrong length")
	}
	return binary.BigEndian.Uint64(key), binary.BigEndian.Uint32(key[8:]), nil
}

// totals is what a seal says about its segment.
type totals struct {
	records int64
	bytes   int64
}

const sealSize = 16

// appendSeal appends the value of a seal: records, then bytes, 8 bytes
// big-endian each.
func appendSeal(b []byte, t totals) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(t.records))
	return binary.BigEndian.AppendUint64(b, uint64(t.bytes))
}

// parseSeal is the inverse of appendSeal; numbers that no segment can have are
// damage.
func parseSeal(v []byte) (totals, error) {
	if len(v) != sealSize {
		return totals{}, damaged("a seal has the wrong length")
	}
	records, bytes := binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])
	if records > math.MaxUint32 || bytes > math.MaxUint32 {
		return totals{}, damaged("a seal counts more than a segment holds")
	}
	return totals{records: int64(records), bytes: int64(bytes)}, nil
}

func damaged(detail string) error {
	return &sendonce.Error{Op: "read chunk store", Kind: sendonce.KindDamaged, Detail: detail, Hint: hintDamaged}
}
