package content

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"sendonce"
)

// testRecord returns a record of four chunks (or pages) of text, and its plain
// bytes.
func testRecord(t testing.TB, kind, encoding uint8) (*Record, []byte) {
	plain := testText(5000)
	r := &Record{Kind: kind, Tenant: 7, Encoding: encoding, Sizes: []uint32{1, 999, 3000, 1000}, Payload: plain}
	h := NewHasher(testKey)
	err := Split(plain, r.Sizes, func(i int, chunk []byte) error {
		r.IDs = append(r.IDs, idOf(h, kind, chunk))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if encoding == EncodingZstd {
		_, r.Payload = newPacker(t, Better).Encode(nil, plain)
	}
	return r, plain
}

func equalRecords(a, b *Record) bool {
	return a.Kind == b.Kind && a.Tenant == b.Tenant && a.Encoding == b.Encoding && slices.Equal(a.IDs, b.IDs) &&
		slices.Equal(a.Sizes, b.Sizes) && bytes.Equal(a.Payload, b.Payload)
}

func TestRecordRoundTrip(t *testing.T) {
	for _, kind := range []uint8{RecordChunks, RecordPages} {
		for _, encoding := range []uint8{EncodingRaw, EncodingZstd} {
			r, plain := testRecord(t, kind, encoding)
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			b := AppendRecord([]byte("head"), r)[4:]
			if len(b) != r.Size() || r.RawSize() != len(plain) {
				t.Errorf("%d bytes, Size says %d; RawSize says %d", len(b), r.Size(), r.RawSize())
			}
			got, err := ParseRecord(b)
			if err != nil || !equalRecords(&got, r) {
				t.Errorf("kind %d, encoding %d: %+v, %v", kind, encoding, got, err)
			}
		}
	}
}

// The old records open, and the encoder still writes the same.
func TestGoldenRecords(t *testing.T) {
	h, u := NewHasher(testKey), newUnpacker(t)
	for i, name := range goldenRecords {
		b := golden(t, name)
		r, err := ParseRecord(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		plain, err := u.Decode(nil, r.Encoding, r.Payload, r.RawSize())
		if err != nil || !bytes.Equal(plain, testText(5000)) {
			t.Errorf("%s: %d bytes, %v", name, len(plain), err)
		}
		if err := Verify(h, &r, plain); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, _ := testRecord(t, []uint8{RecordChunks, RecordChunks, RecordPages}[i], []uint8{EncodingRaw, EncodingZstd, EncodingRaw}[i])
		want.Payload = r.Payload // what zstd makes of it may change with its version
		if !equalRecords(&r, want) || !bytes.Equal(AppendRecord(nil, &r), b) {
			t.Errorf("%s: the record is now written differently", name)
		}
	}
}

// Every changed bit and every cut is noticed.
func TestRecordDamage(t *testing.T) {
	r, _ := testRecord(t, RecordChunks, EncodingZstd)
	b := AppendRecord(nil, r)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			_, err := ParseRecord(b)
			if k := sendonce.KindOf(err); k != sendonce.KindDamaged && !(i == 0 && k == sendonce.KindNewerFormat) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
			b[i] ^= 1 << bit
		}
		if _, err := ParseRecord(b[:i]); sendonce.KindOf(err) != sendonce.KindDamaged {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	_, err := ParseRecord(append(b, 0))
	wantKind(t, "one byte more", err, sendonce.KindDamaged)
}

// What must not be written is not read either, though the checksum is right.
func TestRecordCheck(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(r *Record)
		kind   sendonce.ErrKind
	}{
		{"kind", func(r *Record) { r.Kind = 3 }, sendonce.KindNewerFormat},
		{"no kind", func(r *Record) { r.Kind = 0 }, sendonce.KindNewerFormat},
		{"encoding", func(r *Record) { r.Encoding = 2 }, sendonce.KindNewerFormat},
		{"tenant", func(r *Record) { r.Tenant = 0 }, sendonce.KindInvalid},
		{"no chunks", func(r *Record) { r.IDs, r.Sizes = nil, nil }, sendonce.KindInvalid},
		{"no payload", func(r *Record) { r.Payload = nil }, sendonce.KindInvalid},
		{"zero ID", func(r *Record) { r.IDs[1] = sendonce.ID{} }, sendonce.KindInvalid},
		{"size 0", func(r *Record) { r.Sizes[1] = 0 }, sendonce.KindInvalid},
		{"raw sum", func(r *Record) { r.Sizes[1]++ }, sendonce.KindInvalid},
		{"large sum", func(r *Record) { r.Encoding, r.Sizes[1] = EncodingZstd, sendonce.MaxPack }, sendonce.KindLimit},
		{"large size", func(r *Record) { r.Encoding, r.Sizes[1] = EncodingZstd, 1<<32-1 }, sendonce.KindLimit},
		{"large payload", func(r *Record) { r.Encoding, r.Payload = EncodingZstd, make([]byte, sendonce.MaxPack+1) }, sendonce.KindLimit},
		{"many chunks", func(r *Record) {
			r.Encoding = EncodingZstd
			r.IDs = slices.Repeat(r.IDs[:1], MaxPackChunks+1)
			r.Sizes = slices.Repeat([]uint32{1}, MaxPackChunks+1)
		}, sendonce.KindLimit},
	} {
		r, _ := testRecord(t, RecordChunks, EncodingRaw)
		tc.change(r)
		wantKind(t, tc.name, r.Check(), tc.kind)
		want := sendonce.KindDamaged
		if tc.kind == sendonce.KindNewerFormat {
			want = tc.kind
		}
		_, err := ParseRecord(AppendRecord(nil, r))
		wantKind(t, tc.name+", written", err, want)
	}
	r, _ := testRecord(t, RecordChunks, EncodingRaw)
	r.Sizes = r.Sizes[:3]
	wantKind(t, "a size is missing", r.Check(), sendonce.KindInvalid)
	b := AppendRecord(nil, r)
	b[0] = recordVersion + 1
	_, err := ParseRecord(b)
	wantKind(t, "version 2", err, sendonce.KindNewerFormat)
}

// A largest record fits what a store takes: a pack and 1 MiB.
func TestLargestRecord(t *testing.T) {
	r := Record{IDs: make([]sendonce.ID, MaxPackChunks), Payload: make([]byte, sendonce.MaxPack)}
	if limit := sendonce.MaxPack + 1<<20; r.Size() > limit {
		t.Errorf("%d bytes, the limit is %d", r.Size(), limit)
	}
}

func TestVerify(t *testing.T) {
	h := NewHasher(testKey)
	for _, kind := range []uint8{RecordChunks, RecordPages} {
		r, plain := testRecord(t, kind, EncodingRaw)
		plain = bytes.Clone(plain)
		if err := Verify(h, r, plain); err != nil || Damaged(h, r, plain) != nil {
			t.Errorf("kind %d: %v", kind, err)
		}
		plain[500] ^= 1  // chunk 1
		plain[4999] ^= 1 // chunk 3
		err := Verify(h, r, plain)
		wantKind(t, "two bits", err, sendonce.KindDamaged)
		var e *sendonce.Error
		if !errors.As(err, &e) || e.Path != r.IDs[1].String() {
			t.Errorf("the error does not name the chunk: %v", err)
		}
		if bad := Damaged(h, r, plain); !slices.Equal(bad, []int{1, 3}) {
			t.Errorf("damaged are %v, want 1 and 3", bad)
		}
		wantKind(t, "a byte is missing", Verify(h, r, plain[1:]), sendonce.KindDamaged)
		if bad := Damaged(h, r, plain[1:]); !slices.Equal(bad, []int{0, 1, 2, 3}) {
			t.Errorf("damaged are %v, want all", bad)
		}
		other := NewHasher([32]byte{9})
		wantKind(t, "another tenant's key", Verify(other, r, plain), sendonce.KindDamaged)
	}
}

func FuzzRecord(f *testing.F) {
	r, _ := testRecord(f, RecordPages, EncodingRaw)
	f.Add(AppendRecord(nil, r), true)
	f.Add(AppendRecord(nil, r), false)
	f.Add([]byte{1, 1, 0, 0}, true)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if fix && len(b) >= RecordHeader { // past the checksum
			b = bytes.Clone(b)
			binary.LittleEndian.PutUint32(b[crcAt:], recordSum(b))
		}
		r, err := ParseRecord(b)
		if err == nil && !bytes.Equal(AppendRecord(nil, &r), b) {
			t.Fatal("parse then append gives other bytes")
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	r, _ := testRecord(b, RecordChunks, EncodingRaw)
	r.Payload = stream(60, sendonce.PackTarget)
	r.IDs = slices.Repeat(r.IDs[:1], 16)
	r.Sizes = slices.Repeat([]uint32{sendonce.PackTarget / 16}, 16)
	buf := AppendRecord(nil, r)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRecord(buf[:0], r)
		if _, err := ParseRecord(buf); err != nil {
			b.Fatal(err)
		}
	}
}
