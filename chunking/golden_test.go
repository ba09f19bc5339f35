package chunking

import (
	"bufio"
	"bytes"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"sendonce"
)

// goldenStream is 8 MiB of data of several kinds with zero extents, zeros that
// are none, and ends of both kinds.
func goldenStream() []byte {
	var b []byte
	b = append(b, stream(100, 3_000_000)...)
	b = append(b, make([]byte, minRun)...) // exactly long enough
	b = append(b, stream(101, 1_000_000)...)
	b = append(b, make([]byte, minRun-1)...) // one byte too short
	b = append(b, bytes.Repeat([]byte("all work and no play\n"), 50_000)...)
	b = append(b, make([]byte, 1_234_567)...)
	b = append(b, stream(102, 8<<20-len(b)-10_000)...)
	return append(b, make([]byte, 10_000)...)
}

// The files in testdata/cuts are kept for ever: params are a format, and data
// that was cut once must be cut so again. A line is offset, length and the
// CRC-32 (IEEE) of a chunk, or "zero".
func TestGoldenCuts(t *testing.T) {
	data := goldenStream()
	for name, p := range map[string]sendonce.Params{
		"default.txt": sendonce.DefaultParams,
		"small.txt":   {Algorithm: Rabin, Min: 4 << 10, Avg: 16 << 10, Max: 64 << 10},
	} {
		var got bytes.Buffer
		for _, c := range collect(t, newChunker(t, p, defaultReadSize), bytes.NewReader(data), int64(len(data))) {
			if c.Zero {
				fmt.Fprintf(&got, "%d %d zero\n", c.Offset, c.Length)
			} else {
				fmt.Fprintf(&got, "%d %d %08x\n", c.Offset, c.Length, crc32.ChecksumIEEE(c.Data))
			}
		}
		want, err := os.ReadFile(filepath.Join("testdata", "cuts", name))
		if err != nil {
			t.Errorf("%v; the cuts now are:\n%s", err, got.Bytes())
			continue
		}
		if bytes.Equal(got.Bytes(), want) {
			continue
		}
		g, w := bufio.NewScanner(&got), bufio.NewScanner(bytes.NewReader(want))
		for line := 1; ; line++ {
			g.Scan()
			w.Scan()
			if g.Text() != w.Text() {
				t.Errorf("%s line %d: %q, want %q", name, line, g.Text(), w.Text())
				break
			}
		}
	}
}
