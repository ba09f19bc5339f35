package content

import (
	"encoding/binary"
	"math"

	"sendonce"
)

const (
	pageVersion = 1
	pageHeader  = 4 // version, level, number of entries

	// A page ends after an entry whose ID says so, but has at least minEntries
	// (unless it is the last of its level) and at most MaxPageEntries.
	minEntries = 64
	// MaxPageEntries is the largest number of entries in one page.
	MaxPageEntries = 1024
	// MaxLevel is the highest level that a page may have; leaves have level 0.
	// With at least 64 entries a page that is enough for any file.
	MaxLevel = 7
	// MaxPage is the largest size of an encoded page: every size takes at most
	// 9 bytes, because it is not negative as an int64.
	MaxPage = pageHeader + MaxPageEntries*(32+9+9)
)

// Entry is one line of a page: in a leaf a reference of the manifest, above it a
// page of the level below.
type Entry struct {
	ID    sendonce.ID
	Bytes int64  // of content: the size of the reference, or of all below the page
	Refs  uint64 // references below the page; 1 in a leaf
}

// endsPage reports whether a page that has enough entries ends after id.
func endsPage(id sendonce.ID) bool {
	return binary.BigEndian.Uint16(id[:2])%512 == 0
}

// AppendPage appends the encoding of a page to dst. The entries must number 1 to
// MaxPageEntries and have positive Bytes and Refs (Refs is not written at level
// 0).
func AppendPage(dst []byte, level uint8, entries []Entry) []byte {
	dst = append(dst, pageVersion, level)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(entries)))
	for i := range entries {
		dst = append(dst, entries[i].ID[:]...)
	}
	for i := range entries {
		dst = binary.AppendUvarint(dst, uint64(entries[i].Bytes))
	}
	if level > 0 {
		for i := range entries {
			dst = binary.AppendUvarint(dst, entries[i].Refs)
		}
	}
	return dst
}

// ParsePage reads what AppendPage wrote and appends the entries to dst; they do
// not share memory with page. Errors: KindNewerFormat for a later version,
// KindDamaged for anything else that AppendPage would not have written.
func ParsePage(dst []Entry, page []byte) (level uint8, entries []Entry, err error) {
	const op = "read manifest page"
	bad := func(format string, args ...any) (uint8, []Entry, error) {
		return 0, nil, fail(op, sendonce.KindDamaged, format, args...)
	}
	if len(page) < pageHeader {
		return bad("it has %d bytes", len(page))
	}
	if page[0] > pageVersion {
		return 0, nil, &sendonce.Error{Op: op, Kind: sendonce.KindNewerFormat, Hint: "update sendonce on this machine"}
	}
	level = page[1]
	n := int(binary.LittleEndian.Uint16(page[2:4]))
	switch {
	case page[0] != pageVersion:
		return bad("its version is %d", page[0])
	case level > MaxLevel:
		return bad("its level is %d", level)
	case n < 1 || n > MaxPageEntries:
		return bad("it has %d entries", n)
	case len(page) < pageHeader+n*33:
		return bad("it has %d bytes for %d entries", len(page), n)
	}
	ids, numbers := page[pageHeader:pageHeader+n*32], page[pageHeader+n*32:]
	next := func() (uint64, bool) {
		v, m := binary.Uvarint(numbers)
		if m <= 0 || v == 0 || v > math.MaxInt64 || m > 1 && numbers[m-1] == 0 {
			return 0, false // missing, too large, zero, or not the shortest form
		}
		numbers = numbers[m:]
		return v, true
	}
	start := len(dst)
	var sum, refs uint64
	for i := range n {
		v, ok := next()
		id := sendonce.ID(ids[i*32 : i*32+32])
		switch sum += v; {
		case !ok || sum > math.MaxInt64:
			return bad("the size of entry %d is wrong", i)
		case level == 0 && !id.IsZero() && v > sendonce.MaxChunk:
			return bad("chunk %d has %d bytes", i, v)
		case level > 0 && id.IsZero():
			return bad("entry %d names no page", i)
		}
		dst = append(dst, Entry{ID: id, Bytes: int64(v), Refs: 1})
	}
	if level > 0 {
		for i := range n {
			v, ok := next()
			refs += v
			// What is not the last page of its level has at least minEntries; this
			// also bounds how many pages a hostile tree can make a reader fetch.
			if !ok || refs > MaxRefs || i < n-1 && v>>(6*level) == 0 {
				return bad("the number of references of entry %d is wrong", i)
			}
			dst[start+i].Refs = v
		}
	}
	if len(numbers) != 0 {
		return bad("%d bytes follow it", len(numbers))
	}
	return level, dst, nil
}
