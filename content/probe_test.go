package content

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"sendonce"
)

// A pack that compresses is found after any number that do not, and the other
// way round: what a probe skips is only what would not have paid.
func TestProbe(t *testing.T) {
	noise := make([]byte, sendonce.PackTarget)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(noise)
	text := bytes.Repeat([]byte("the same line again and again, with a number: 12345\n"), sendonce.PackTarget/52)
	half := append(append([]byte{}, noise[:len(noise)/2]...), text[:len(text)/2]...)
	for _, l := range []Level{Fastest, Default, Better} {
		p, err := NewPacker(l)
		if err != nil {
			t.Fatal(err)
		}
		u, err := NewUnpacker()
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range []struct {
			raw  []byte
			want uint8
		}{{noise, EncodingRaw}, {noise, EncodingRaw}, {text, EncodingZstd}, {noise, EncodingRaw}, {half, EncodingZstd}, {noise, EncodingRaw}, {noise[:1000], EncodingRaw}, {text[:1000], EncodingZstd}} {
			enc, out := p.Encode(nil, c.raw)
			if enc != c.want {
				t.Errorf("%v, pack %d: encoding %d, want %d", l, i, enc, c.want)
			}
			if back, err := u.Decode(nil, enc, out, len(c.raw)); err != nil || !bytes.Equal(back, c.raw) {
				t.Errorf("%v, pack %d does not come back: %v", l, i, err)
			}
		}
	}
}
