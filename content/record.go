package content

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"sendonce"
)

// What a record holds; the numbers are on disk.
const (
	RecordChunks uint8 = 1 // chunks of files
	RecordPages  uint8 = 2 // pages of manifest trees
)

const (
	recordVersion = 1
	// RecordHeader is the size of the fixed part of a record; 36 bytes for each
	// chunk follow, then the payload.
	RecordHeader = 20
	crcAt        = 16
)

// Record is a pack as a store keeps it: with everything that is needed to rebuild
// the index from the store.
type Record struct {
	Kind     uint8 // RecordChunks or RecordPages
	Tenant   sendonce.TenantID
	Encoding uint8         // of Payload: EncodingRaw or EncodingZstd
	IDs      []sendonce.ID // of the chunks or pages, in the order of the pack
	Sizes    []uint32      // plain bytes of each
	Payload  []byte        // the very bytes that travelled
}

// RawSize returns the plain bytes of all chunks.
func (r *Record) RawSize() int {
	n := 0
	for _, s := range r.Sizes {
		n += int(s)
	}
	return n
}

// Size returns the size of the encoded record.
func (r *Record) Size() int { return RecordHeader + 36*len(r.IDs) + len(r.Payload) }

// Check reports whether r can be written: known kind and encoding, a tenant, 1 to
// MaxPackChunks chunks with nonzero IDs and sizes, sizes and payload within
// sendonce.MaxPack, and a raw payload of just the sum of the sizes. Errors:
// KindNewerFormat for an unknown kind or encoding, KindLimit, KindInvalid.
func (r *Record) Check() error {
	const op = "check record"
	if r.Kind != RecordChunks && r.Kind != RecordPages || r.Encoding > EncodingZstd {
		return fail(op, sendonce.KindNewerFormat, "kind %d or encoding %d is not known", r.Kind, r.Encoding)
	}
	if len(r.IDs) > MaxPackChunks || len(r.Payload) > sendonce.MaxPack {
		return fail(op, sendonce.KindLimit, "%d chunks in %d bytes", len(r.IDs), len(r.Payload))
	}
	if r.Tenant == 0 || len(r.IDs) == 0 || len(r.IDs) != len(r.Sizes) || len(r.Payload) == 0 {
		return fail(op, sendonce.KindInvalid, "tenant %d, %d IDs, %d sizes, %d bytes", r.Tenant, len(r.IDs), len(r.Sizes), len(r.Payload))
	}
	raw := 0
	for i, size := range r.Sizes {
		if size == 0 || r.IDs[i].IsZero() {
			return fail(op, sendonce.KindInvalid, "chunk %d has size %d and ID %v", i, size, r.IDs[i])
		}
		if size > sendonce.MaxPack || raw+int(size) > sendonce.MaxPack {
			return fail(op, sendonce.KindLimit, "its chunks have more than %d bytes", sendonce.MaxPack)
		}
		raw += int(size)
	}
	if r.Encoding == EncodingRaw && raw != len(r.Payload) {
		return fail(op, sendonce.KindInvalid, "%d bytes for chunks of %d", len(r.Payload), raw)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// recordSum is the checksum of an encoded record: CRC-32C (RFC 9260, appendix A)
// over everything but itself.
func recordSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:crcAt], castagnoli), castagnoli, b[crcAt+4:])
}

// RecordRoom returns how many bytes stand before the payload in a record of n
// chunks.
func RecordRoom(n int) int { return RecordHeader + 36*n }

// AppendRecord appends the encoding of r to dst. Check must hold.
func AppendRecord(dst []byte, r *Record) []byte {
	start, room := len(dst), RecordRoom(len(r.IDs))
	dst = append(slices.Grow(dst, room+len(r.Payload))[:start+room], r.Payload...)
	FillRecord(dst[start:], r)
	return dst
}

// FillRecord turns b, which holds r.Payload after RecordRoom(len(r.IDs)) bytes of
// anything, into the encoding of r: a payload that was received into its place
// need not be copied. Check must hold.
func FillRecord(b []byte, r *Record) {
	h := append(b[:0], recordVersion, r.Kind, r.Encoding, 0)
	h = binary.LittleEndian.AppendUint32(h, uint32(r.Tenant))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(r.IDs)))
	h = binary.LittleEndian.AppendUint32(h, uint32(len(r.Payload)))
	h = append(h, 0, 0, 0, 0) // the checksum
	for i := range r.IDs {
		h = append(h, r.IDs[i][:]...)
	}
	for _, size := range r.Sizes {
		h = binary.LittleEndian.AppendUint32(h, size)
	}
	binary.LittleEndian.PutUint32(b[crcAt:], recordSum(b))
}

// ParseRecord reads what AppendRecord wrote. IDs and Sizes are new memory,
// Payload aliases b. Errors: KindNewerFormat for a later version, or for an
// unknown kind or encoding under a good checksum; KindDamaged for anything else
// that AppendRecord would not have written.
func ParseRecord(b []byte) (Record, error) {
	const op = "read record"
	if len(b) < RecordHeader || b[0] == 0 {
		return Record{}, fail(op, sendonce.KindDamaged, "%d bytes are no record", len(b))
	}
	if b[0] > recordVersion {
		return Record{}, &sendonce.Error{Op: op, Kind: sendonce.KindNewerFormat, Detail: fmt.Sprintf("its version is %d", b[0]),
			Hint: "update sendonce on this machine"}
	}
	n, payload := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
	if n > MaxPackChunks || RecordHeader+36*uint64(n)+uint64(payload) != uint64(len(b)) {
		return Record{}, fail(op, sendonce.KindDamaged, "%d bytes for %d chunks in %d bytes", len(b), n, payload)
	}
	if sum := recordSum(b); sum != binary.LittleEndian.Uint32(b[crcAt:]) || b[3] != 0 {
		return Record{}, fail(op, sendonce.KindDamaged, "its checksum is wrong")
	}
	ids, sizes := b[RecordHeader:], b[RecordHeader+32*n:]
	r := Record{
		Kind:     b[1],
		Encoding: b[2],
		Tenant:   sendonce.TenantID(binary.LittleEndian.Uint32(b[4:])),
		IDs:      make([]sendonce.ID, n),
		Sizes:    make([]uint32, n),
		Payload:  b[RecordHeader+36*n:],
	}
	for i := range r.IDs {
		r.IDs[i] = sendonce.ID(ids[32*i:])
		r.Sizes[i] = binary.LittleEndian.Uint32(sizes[4*i:])
	}
	switch err := r.Check(); {
	case sendonce.KindOf(err) == sendonce.KindNewerFormat:
		return Record{}, err
	case err != nil:
		return Record{}, &sendonce.Error{Op: op, Kind: sendonce.KindDamaged, Err: err}
	}
	return r, nil
}

// Split calls fn with each chunk of a pack's plain bytes, in order, aliasing
// plain; an error from fn ends it and is returned as it is. If the sizes do not
// add up to len(plain), nothing is called and the error is KindDamaged.
func Split(plain []byte, sizes []uint32, fn func(i int, chunk []byte) error) error {
	sum := uint64(0)
	for _, s := range sizes {
		sum += uint64(s)
	}
	if sum != uint64(len(plain)) {
		return fail("split pack", sendonce.KindDamaged, "it has %d bytes for chunks of %d", len(plain), sum)
	}
	for i, s := range sizes {
		if err := fn(i, plain[:s:s]); err != nil {
			return err
		}
		plain = plain[s:]
	}
	return nil
}

// Verify checks that plain, the decoded payload of r, is the chunks or pages that
// r names. The error is KindDamaged and names the first that is not.
func Verify(h *Hasher, r *Record, plain []byte) error {
	return Split(plain, r.Sizes, func(i int, chunk []byte) error {
		if idOf(h, r.Kind, chunk) != r.IDs[i] {
			return &sendonce.Error{Op: "verify pack", Path: r.IDs[i].String(), Kind: sendonce.KindDamaged,
				Detail: fmt.Sprintf("the bytes of chunk %d of %d do not match its ID", i, len(r.IDs))}
		}
		return nil
	})
}

// Damaged returns the indexes of all chunks of r that are not what they should
// be; if plain has not the right length, those are all of them.
func Damaged(h *Hasher, r *Record, plain []byte) []int {
	var bad []int
	err := Split(plain, r.Sizes, func(i int, chunk []byte) error {
		if idOf(h, r.Kind, chunk) != r.IDs[i] {
			bad = append(bad, i)
		}
		return nil
	})
	if err != nil {
		for i := range r.Sizes {
			bad = append(bad, i)
		}
	}
	return bad
}

func idOf(h *Hasher, kind uint8, b []byte) sendonce.ID {
	if kind == RecordPages {
		return h.Page(b)
	}
	return h.Chunk(b)
}
