package chunking

import (
	"bytes"
	"io"
	"testing"

	"github.com/restic/chunker"

	"sendonce"
)

func benchmark(b *testing.B, data []byte, size int64, files int) {
	c := newChunker(b, sendonce.DefaultParams, defaultReadSize)
	buf := make([]byte, 0, sendonce.DefaultParams.Max)
	r := bytes.NewReader(data)
	b.SetBytes(size * int64(files))
	b.ReportAllocs()
	for b.Loop() {
		for i := range files {
			c.Reset(io.NewSectionReader(r, int64(i)*size, size), size)
			for {
				if _, err := c.Next(buf); err == io.EOF {
					break
				} else if err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}

// text looks like source code to a chunker: few byte values, repeated lines.
func text(n int) []byte {
	words := []string{"func ", "return ", "err ", "!= nil ", "{\n", "}\n", "\t", "for ", "range ", "(", ")", "value", " := ", "chunk."}
	var b []byte
	for _, r := range stream(3, n) {
		if b = append(b, words[int(r)%len(words)]...); len(b) >= n {
			break
		}
	}
	return b[:n]
}

func BenchmarkRandom(b *testing.B) { benchmark(b, stream(1, 32<<20), 32<<20, 1) }
func BenchmarkText(b *testing.B)   { benchmark(b, text(32<<20), 32<<20, 1) }
func BenchmarkZeros(b *testing.B)  { benchmark(b, make([]byte, 32<<20), 32<<20, 1) }

// 1,000 files of 11 KB, below Min, and 1,000 of 20 KB, above it.
func BenchmarkTinyFiles(b *testing.B)  { benchmark(b, stream(1, 11e6), 11e3, 1000) }
func BenchmarkSmallFiles(b *testing.B) { benchmark(b, stream(1, 20e6), 20e3, 1000) }

// The outside chunker alone, for comparison.
func BenchmarkRawRandom(b *testing.B) {
	data := stream(1, 32<<20)
	raw := chunker.New(nil, polynomial)
	buf := make([]byte, 0, sendonce.DefaultParams.Max)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		raw.ResetWithBoundaries(bytes.NewReader(data), polynomial, uint(sendonce.DefaultParams.Min), uint(sendonce.DefaultParams.Max))
		raw.SetAverageBits(16)
		for {
			if _, err := raw.Next(buf); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
