package content

import (
	"bytes"
	"go/build"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"sendonce"
)

// testText is n bytes that compress to about a third.
func testText(n int) []byte {
	words := strings.Fields("the chunk is sent once and then never again to any proxy that keeps an index of what it holds")
	var b []byte
	for _, r := range stream(50, n) {
		if b = append(append(b, words[int(r)%len(words)]...), ' '); len(b) >= n {
			break
		}
	}
	return b[:n]
}

func newPacker(t testing.TB, l Level) *Packer {
	t.Helper()
	p, err := NewPacker(l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newUnpacker(t testing.TB) *Unpacker {
	t.Helper()
	u, err := NewUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParseLevel(t *testing.T) {
	for _, l := range []Level{Fastest, Default, Better} {
		if got, err := ParseLevel(l.String()); got != l || err != nil {
			t.Errorf("ParseLevel(%q) = %v, %v", l, got, err)
		}
	}
	for _, l := range []Level{0, -1, 4} {
		_, err := ParseLevel(l.String())
		wantKind(t, l.String(), err, sendonce.KindUsage)
		_, err = NewPacker(l)
		wantKind(t, l.String(), err, sendonce.KindUsage)
	}
	_, err := ParseLevel("best")
	wantKind(t, "best", err, sendonce.KindUsage)
}

func TestPackRoundTrip(t *testing.T) {
	u := newUnpacker(t)
	packers := []*Packer{newPacker(t, Fastest), newPacker(t, Default), newPacker(t, Better)}
	text, noise := testText(sendonce.MaxPack), stream(51, sendonce.MaxPack)
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SampledFrom(packers).Draw(t, "packer")
		var raw []byte
		for range rapid.IntRange(0, 4).Draw(t, "pieces") {
			src := rapid.SampledFrom([][]byte{text, noise}).Draw(t, "kind")
			n := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 400_000)).Draw(t, "length")
			raw = append(raw, src[n:2*n]...)
		}
		head := []byte("head")
		encoding, out := p.Encode(bytes.Clone(head), raw)
		if !bytes.HasPrefix(out, head) {
			t.Fatal("Encode does not append")
		}
		data := out[len(head):]
		if len(data) > len(raw) {
			t.Fatalf("%d bytes become %d", len(raw), len(data))
		}
		back, err := u.Decode(bytes.Clone(head), encoding, data, len(raw))
		if err != nil || !bytes.HasPrefix(back, head) || !bytes.Equal(back[len(head):], raw) {
			t.Fatalf("%d bytes, encoding %d: %d bytes come back, %v", len(raw), encoding, len(back)-len(head), err)
		}
	})
}

func TestEncodingIsChosen(t *testing.T) {
	text, noise := testText(100_000), stream(52, 100_000)
	for _, l := range []Level{Fastest, Default, Better} {
		p := newPacker(t, l)
		if encoding, out := p.Encode(nil, text); encoding != EncodingZstd || len(out) > len(text)/2 {
			t.Errorf("%v: text is encoded as %d, %d bytes of %d", l, encoding, len(out), len(text))
		}
		if encoding, out := p.Encode(nil, noise); encoding != EncodingRaw || !bytes.Equal(out, noise) {
			t.Errorf("%v: noise is encoded as %d", l, encoding)
		}
		// 2 % of text in noise are not worth it.
		if encoding, _ := p.Encode(nil, append(noise[:98_000:98_000], text[:2000]...)); encoding != EncodingRaw {
			t.Errorf("%v: nearly noise is encoded as %d", l, encoding)
		}
	}
}

func TestLargestPack(t *testing.T) {
	raw := append(stream(53, sendonce.MaxPack/2), testText(sendonce.MaxPack/2)...)
	u := newUnpacker(t)
	encoding, out := newPacker(t, Fastest).Encode(nil, raw)
	if back, err := u.Decode(nil, encoding, out, len(raw)); err != nil || !bytes.Equal(back, raw) {
		t.Errorf("encoding %d: %v", encoding, err)
	}
	// Another encoder may use a window as large as the largest pack.
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(sendonce.MaxPack), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	if back, err := u.Decode(nil, EncodingZstd, enc.EncodeAll(raw, nil), len(raw)); err != nil || !bytes.Equal(back, raw) {
		t.Errorf("window of 8 MiB: %v", err)
	}
}

func TestDecodeErrors(t *testing.T) {
	u := newUnpacker(t)
	text := testText(10_000)
	_, packed := newPacker(t, Default).Encode(nil, text)
	bad := bytes.Clone(packed)
	bad[len(bad)/2] ^= 0xff
	for _, tc := range []struct {
		name     string
		encoding uint8
		data     []byte
		raw      int
		kind     sendonce.ErrKind
	}{
		{"good", EncodingZstd, packed, 10_000, 0},
		{"one byte less", EncodingZstd, packed, 9_999, sendonce.KindLimit},
		{"much less", EncodingZstd, packed, 10, sendonce.KindLimit},
		{"one byte more", EncodingZstd, packed, 10_001, sendonce.KindDamaged},
		{"negative", EncodingZstd, packed, -1, sendonce.KindLimit},
		{"over the limit", EncodingZstd, packed, sendonce.MaxPack + 1, sendonce.KindLimit},
		{"too much data", EncodingRaw, make([]byte, sendonce.MaxPack+1), 5, sendonce.KindLimit},
		{"nothing", EncodingZstd, nil, 5, sendonce.KindDamaged},
		{"no frame", EncodingZstd, text, 10_000, sendonce.KindDamaged},
		{"cut off", EncodingZstd, packed[:len(packed)-1], 10_000, sendonce.KindDamaged},
		{"raw, too short", EncodingRaw, text, 10_001, sendonce.KindDamaged},
		{"raw, too long", EncodingRaw, text, 9_999, sendonce.KindDamaged},
		{"unknown encoding", 2, text, 10_000, sendonce.KindNewerFormat},
	} {
		_, err := u.Decode(nil, tc.encoding, tc.data, tc.raw)
		wantKind(t, tc.name, err, tc.kind)
	}
	// A changed byte may decode, but never to the same bytes.
	if back, err := u.Decode(nil, EncodingZstd, bad, 10_000); err == nil && bytes.Equal(back, text) {
		t.Error("a changed byte changes nothing")
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// bomb is a small frame that holds 256 MiB of zeros, with or without saying so.
func bomb(t testing.TB, tell bool) []byte {
	var b bytes.Buffer
	enc, err := zstd.NewWriter(&b, zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if tell {
		enc.ResetContentSize(&b, 256<<20)
	}
	zeros := make([]byte, 1<<20)
	for range 256 {
		if _, err := enc.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBomb(t *testing.T) {
	u := newUnpacker(t)
	for _, tell := range []bool{true, false} {
		data := bomb(t, tell)
		for _, raw := range []int{0, 1000, 1 << 20} {
			n := allocated(func() {
				_, err := u.Decode(nil, EncodingZstd, data, raw)
				if k := sendonce.KindOf(err); k != sendonce.KindLimit && (tell || k != sendonce.KindDamaged) {
					t.Errorf("a bomb of %d bytes, size told %v: %v", len(data), tell, err)
				}
			})
			if limit := uint64(raw + 2<<20); n > limit {
				t.Errorf("size told %v, %d announced: %d bytes were allocated, want at most %d", tell, raw, n, limit)
			}
		}
	}
}

func TestUnpackerConcurrently(t *testing.T) {
	u, p := newUnpacker(t), newPacker(t, Fastest)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 20 {
				raw := testText(1000 * (1 + g + i))
				encoding, out := p.Encode(nil, raw)
				if back, err := u.Decode(nil, encoding, out, len(raw)); err != nil || !bytes.Equal(back, raw) {
					t.Errorf("%d bytes: %v", len(raw), err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzDecode(f *testing.F) {
	u := newUnpacker(f)
	text := testText(3000)
	_, packed := newPacker(f, Default).Encode(nil, text)
	f.Add(packed, uint32(3000), EncodingZstd)
	f.Add(packed, uint32(2999), EncodingZstd)
	f.Add(packed[:20], uint32(1<<20), EncodingZstd)
	f.Add(text, uint32(3000), EncodingRaw)
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0xff, 0xff, 0xff}, uint32(100), EncodingZstd)
	f.Fuzz(func(t *testing.T, data []byte, raw uint32, encoding uint8) {
		back, err := u.Decode(nil, encoding, data, int(raw))
		if err == nil && len(back) != int(raw) {
			t.Fatalf("%d bytes, %d were announced", len(back), raw)
		}
		if cap(back) > int(raw)+4096+int(raw)/4 {
			t.Fatalf("room for %d bytes, %d were announced", cap(back), raw)
		}
	})
}

// sourcePacks returns the Go files of the standard library, in the order of their
// paths, in packs of at most sendonce.PackTarget.
func sourcePacks(b *testing.B) (packs [][]byte, total int64) {
	var pack []byte
	root := filepath.Join(build.Default.GOROOT, "src")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !strings.HasSuffix(path, ".go") {
			return err
		}
		data, err := os.ReadFile(path)
		if len(pack)+len(data) > sendonce.PackTarget && len(pack) > 0 {
			packs = append(packs, pack)
			pack = nil
		}
		pack = append(pack, data...)
		total += int64(len(data))
		return err
	})
	if err != nil {
		b.Fatalf("this benchmark packs the sources of the Go toolchain, which are not here: %v", err)
	}
	return append(packs, pack), total
}

// BenchmarkEncode packs the Go sources and tells how many bytes come out.
func BenchmarkEncode(b *testing.B) {
	packs, total := sourcePacks(b)
	for _, l := range []Level{Fastest, Default, Better} {
		b.Run(l.String(), func(b *testing.B) {
			p := newPacker(b, l)
			var out []byte
			var sum int
			b.SetBytes(total)
			for b.Loop() {
				sum = 0
				for _, pack := range packs {
					_, out = p.Encode(out[:0], pack)
					sum += len(out)
				}
			}
			b.ReportMetric(float64(sum), "packed-bytes")
		})
	}
}

func BenchmarkEncodeRandom(b *testing.B) {
	raw := stream(54, sendonce.PackTarget)
	for _, l := range []Level{Fastest, Default, Better} {
		b.Run(l.String(), func(b *testing.B) {
			p := newPacker(b, l)
			var out []byte
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				_, out = p.Encode(out[:0], raw)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	packs, _ := sourcePacks(b)
	raw := packs[len(packs)/2]
	encoding, data := newPacker(b, Default).Encode(nil, raw)
	u := newUnpacker(b)
	var out []byte
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if out, err = u.Decode(out[:0], encoding, data, len(raw)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPackerMemory tells what one encoder allocates for its first pack.
func BenchmarkPackerMemory(b *testing.B) {
	raw := testText(sendonce.PackTarget)
	for _, l := range []Level{Fastest, Default, Better} {
		b.Run(l.String(), func(b *testing.B) {
			out := make([]byte, 0, 2*len(raw))
			b.ReportAllocs()
			for b.Loop() {
				newPacker(b, l).Encode(out, raw)
			}
		})
	}
}
