package pebbleblob

import (
	"bytes"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func FuzzParseKey(f *testing.F) {
	f.Add([]byte{})
	f.Add(makeKey(1, 0))
	f.Add(makeKey(smallBase|77, sealOffset))
	f.Add(makeKey(metaSegment, metaNext))
	f.Fuzz(func(t *testing.T, b []byte) {
		segment, offset, err := parseKey(b)
		if err != nil {
			return
		}
		if !bytes.Equal(makeKey(segment, offset), b) {
			t.Fatalf("%x parses as %d, %d, which is %x", b, segment, offset, makeKey(segment, offset))
		}
	})
}

func FuzzParseSeal(f *testing.F) {
	f.Add([]byte{})
	f.Add(appendSeal(nil, totals{}))
	f.Add(appendSeal(nil, totals{records: 3, bytes: math.MaxUint32}))
	f.Add(bytes.Repeat([]byte{255}, sealSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := parseSeal(b)
		if err != nil {
			return
		}
		if v.records < 0 || v.bytes < 0 || !bytes.Equal(appendSeal(nil, v), b) {
			t.Fatalf("%x parses as %+v", b, v)
		}
	})
}

// Keys sort as locations do, and every row of the log above every table.
func TestKeyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		segment := rapid.OneOf(rapid.Uint64Range(1, 3), rapid.Uint64Range(1, smallBase-1))
		s1, s2 := segment.Draw(rt, "s1"), segment.Draw(rt, "s2")
		o1, o2 := rapid.Uint32().Draw(rt, "o1"), rapid.Uint32().Draw(rt, "o2")
		less := s1 < s2 || s1 == s2 && o1 < o2
		if got := bytes.Compare(makeKey(s1, o1), makeKey(s2, o2)) < 0; got != less {
			rt.Fatalf("(%d, %d) before (%d, %d): %t", s1, o1, s2, o2, got)
		}
		tab, row, meta := makeKey(big.segment(s1), o1), makeKey(small.segment(s2), o2), makeKey(metaSegment, 0)
		if bytes.Compare(tab, row) >= 0 || bytes.Compare(row, meta) >= 0 {
			rt.Fatalf("%x, %x, %x are not in order", tab, row, meta)
		}
		for c := range classes {
			lo, hi := c.bounds()
			if id := c.segment(s1); id < lo || id >= hi {
				rt.Fatalf("segment %d is outside of its class", id)
			}
		}
	})
}
