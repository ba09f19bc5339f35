package chunking

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/restic/chunker"

	"sendonce"
)

// testParams cut small chunks, so that short inputs have many.
var testParams = sendonce.Params{Algorithm: Rabin, Min: 256, Avg: 1024, Max: 4096}

// stream fills n bytes that depend on seed only: xorshift64* (G. Marsaglia,
// "Xorshift RNGs", 2003; S. Vigna's multiplier). Golden files depend on it.
func stream(seed uint64, n int) []byte {
	b := make([]byte, 0, n+8)
	x := seed*0x9E3779B97F4A7C15 + 1
	for len(b) < n {
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		b = binary.LittleEndian.AppendUint64(b, x*0x2545F4914F6CDD1D)
	}
	return b[:n]
}

// sparse is a source with holes, which must be zeros in data. It counts what is
// read and fails the reads of holes, unless the file is too small to be asked.
type sparse struct {
	data  []byte
	holes [][2]int64 // ascending, not touching
	read  int64
}

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	for _, h := range s.holes {
		if len(s.data) >= minRun && off < h[1] && off+int64(len(p)) > h[0] {
			return 0, fmt.Errorf("read of %d+%d is in the hole %v", off, len(p), h)
		}
	}
	if off >= int64(len(s.data)) {
		return 0, io.EOF
	}
	n := copy(p, s.data[off:])
	s.read += int64(n)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (s *sparse) NextData(off int64) (start, end int64, err error) {
	size := int64(len(s.data))
	if off >= size {
		return size, size, nil
	}
	end = size
	for _, h := range s.holes {
		switch {
		case off >= h[0] && off < h[1]:
			off = h[1]
		case h[0] > off:
			return off, h[0], nil
		}
	}
	return off, end, nil
}

// collect cuts the whole source, each chunk into memory of its own.
func collect(t testing.TB, c *Chunker, r io.ReaderAt, size int64) []Chunk {
	t.Helper()
	c.Reset(r, size)
	var out []Chunk
	for {
		chunk, err := c.Next(nil)
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatalf("Next after %d chunks: %v", len(out), err)
		}
		out = append(out, chunk)
	}
}

func newChunker(t testing.TB, p sendonce.Params, readSize int) *Chunker {
	t.Helper()
	c, err := New(p)
	if err != nil {
		t.Fatal(err)
	}
	c.scan.readSize = readSize
	return c
}

// model is the definition, written without any thought of speed.
func model(t testing.TB, p sendonce.Params, data []byte) []Chunk {
	t.Helper()
	var out []Chunk
	segment := func(from, to int) {
		rest := data[from:to]
		raw := chunker.NewWithBoundaries(&plainReader{rest}, polynomial, uint(p.Min), uint(p.Max))
		avgBits := 0
		for 1<<avgBits < p.Avg {
			avgBits++
		}
		raw.SetAverageBits(avgBits)
		for {
			cut, err := raw.Next(nil)
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, Chunk{Offset: int64(from), Length: int64(cut.Length), Data: cut.Data})
			from += int(cut.Length)
		}
	}
	start := 0
	for i := 0; i < len(data); {
		j := i
		for j < len(data) && data[j] == 0 {
			j++
		}
		if j-i >= minRun {
			segment(start, i)
			out = append(out, Chunk{Offset: int64(i), Length: int64(j - i), Zero: true})
			start = j
		}
		i = max(j, i+1)
	}
	segment(start, len(data))
	return out
}

type plainReader struct{ b []byte }

func (r *plainReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

func equalChunks(a, b []Chunk) bool {
	return slices.EqualFunc(a, b, func(x, y Chunk) bool {
		return x.Offset == y.Offset && x.Length == y.Length && x.Zero == y.Zero && string(x.Data) == string(y.Data)
	})
}

// describe lists chunks for a failing test.
func describe(chunks []Chunk) string {
	s := ""
	for _, c := range chunks {
		kind := ""
		if c.Zero {
			kind = "z"
		}
		s += fmt.Sprintf(" %d+%d%s", c.Offset, c.Length, kind)
	}
	return s
}
