package content

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"sendonce"
)

// testKey is the tenant key of all golden files.
var testKey = [32]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32}

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

// manifest returns n references that depend on seed only; one in a thousand is a
// zero extent, if there are more than 50.
func manifest(seed uint64, n int) sendonce.Manifest {
	b := stream(seed, n*34)
	m := make(sendonce.Manifest, n)
	for i := range m {
		size := int64(binary.LittleEndian.Uint16(b[i*34+32:]))
		m[i] = sendonce.Ref{ID: sendonce.ID(b[i*34:]), Size: 16<<10 + size}
		if n > 50 && size%1000 == 0 {
			m[i] = sendonce.Ref{Size: sendonce.MinZeroRun + size<<20}
		}
	}
	return m
}

// pages keeps what Describe emits and counts what Load asks for.
type pages struct {
	byID  map[sendonce.ID][]byte
	order []sendonce.ID
	asked int
}

func (p *pages) emit(page Page) error {
	if p.byID == nil {
		p.byID = map[sendonce.ID][]byte{}
	}
	p.byID[page.ID] = page.Data
	p.order = append(p.order, page.ID)
	return nil
}

func (p *pages) get(ids []sendonce.ID) ([][]byte, error) {
	out := make([][]byte, len(ids))
	for i, id := range ids {
		out[i] = p.byID[id]
	}
	p.asked += len(ids)
	return out, nil
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantKind(t testing.TB, what string, err error, kind sendonce.ErrKind) {
	t.Helper()
	if sendonce.KindOf(err) != kind {
		t.Errorf("%s: error %v, want kind %v", what, err, kind)
	}
}
