package content

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"sendonce"
)

// How the bytes of a pack are encoded; the numbers are on disk and on the wire.
const (
	EncodingRaw  uint8 = 0 // as they are
	EncodingZstd uint8 = 1 // Zstandard frames (RFC 8878), no dictionary
)

// MaxPackChunks is the largest number of chunks in one pack.
const MaxPackChunks = 16384

// Level says how much effort packing takes. It changes no format.
type Level int

// The levels. CPU time and size for source text are in docs/formats/content.md.
const (
	Fastest Level = iota + 1
	Default
	Better
)

var levels = [...]struct {
	name string
	zstd zstd.EncoderLevel
}{
	Fastest: {"fastest", zstd.SpeedFastest},
	Default: {"default", zstd.SpeedDefault},
	Better:  {"better", zstd.SpeedBetterCompression},
}

func (l Level) known() bool { return l >= Fastest && int(l) < len(levels) }

// String returns the name that ParseLevel reads.
func (l Level) String() string {
	if l.known() {
		return levels[l].name
	}
	return fmt.Sprintf("level %d", int(l))
}

// ParseLevel reads a level's name; the error is KindUsage.
func ParseLevel(s string) (Level, error) {
	for l := Fastest; l.known(); l++ {
		if levels[l].name == s {
			return l, nil
		}
	}
	return 0, &sendonce.Error{Op: "parse compression level", Kind: sendonce.KindUsage, Detail: fmt.Sprintf("unknown level %q", s),
		Hint: "use one of fastest, default, better"}
}

// packWindow is how far back the encoder looks. A pack that reaches its target
// ends with one chunk more at most, so that nearly everything is within reach; the
// encoder's memory is twice the window and more.
const packWindow = 1 << 20

// Packer encodes packs, one at a time: concurrent calls wait for each other, so
// that memory stays that of one encoder (2 to 10 MiB by level). It needs no
// closing.
type Packer struct {
	enc    *zstd.Encoder
	futile atomic.Bool // the last pack did not compress
}

// NewPacker returns a Packer; an unknown level is KindUsage.
func NewPacker(l Level) (*Packer, error) {
	if !l.known() {
		return nil, fail("new packer", sendonce.KindUsage, "%v is not known", l)
	}
	// No checksum: each chunk is checked by its ID, each record by its own.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(levels[l].zstd), zstd.WithWindowSize(packWindow),
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, &sendonce.Error{Op: "new packer", Kind: sendonce.KindInternal, Err: err}
	}
	return &Packer{enc: enc}, nil
}

// Encode appends the encoded bytes of a pack to dst and tells the encoding: zstd,
// or raw where that does not save 3 percent. raw must have at most
// sendonce.MaxPack bytes; it is not kept and must not overlap dst. The result
// never has more bytes than raw.
func (p *Packer) Encode(dst, raw []byte) (encoding uint8, out []byte) {
	if out, ok := p.Compress(dst, raw); ok {
		return EncodingZstd, out
	}
	return EncodingRaw, append(dst, raw...)
}

// Compress is Encode for a caller that sends an incompressible pack as it lies:
// ok is false if zstd does not save 3 percent, and out is then dst's memory with
// nothing of use in it.
func (p *Packer) Compress(dst, raw []byte) (out []byte, ok bool) {
	if p.futile.Load() && len(raw) >= probeFrom && !p.probe(dst, raw) {
		return dst, false
	}
	n := len(dst)
	out = p.enc.EncodeAll(raw, slices.Grow(dst, len(raw)+len(raw)>>12+64))
	ok = saves(len(out)-n, len(raw))
	p.futile.Store(!ok)
	return out, ok
}

// After a pack that did not compress, the next one is asked first: probes pieces
// of it, spread evenly, of probeBytes each. A video or an archive then costs a
// tenth of trying all of it.
const (
	probes     = 6
	probeBytes = 16 << 10
	probeFrom  = 4 * probes * probeBytes
)

// probe reports whether a part of the pack compresses.
func (p *Packer) probe(dst, raw []byte) bool {
	for i := range probes {
		at := (len(raw) - probeBytes) / (probes - 1) * i
		piece := raw[at : at+probeBytes]
		if out := p.enc.EncodeAll(piece, dst); saves(len(out)-len(dst), len(piece)) {
			return true
		}
	}
	return false
}

func saves(packed, raw int) bool { return packed*100 <= raw*97 }

// Unpacker decodes packs. It is safe for concurrent use: as many calls run at a
// time as there are processors (GOMAXPROCS), each in its own goroutine; others
// wait. It starts no goroutine and needs no closing.
type Unpacker struct{ dec *zstd.Decoder }

// NewUnpacker returns an Unpacker.
func NewUnpacker() (*Unpacker, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(sendonce.MaxPack), zstd.WithDecoderMaxWindow(sendonce.MaxPack))
	if err != nil {
		return nil, &sendonce.Error{Op: "new unpacker", Kind: sendonce.KindInternal, Err: err}
	}
	return &Unpacker{dec}, nil
}

// decodeSlack is room behind the output, with which the decoder copies faster.
const decodeSlack = 64

// Decode appends the plain bytes of a pack to dst, exactly rawSize of them. data
// is not kept and must not overlap dst. However hostile data is, no more than
// rawSize and the decoder's own tables are allocated.
//
// Errors: KindLimit if rawSize or data is over sendonce.MaxPack, or a frame says
// that it holds more than rawSize; KindDamaged if data does not decode to rawSize
// bytes; KindNewerFormat for an unknown encoding.
func (u *Unpacker) Decode(dst []byte, encoding uint8, data []byte, rawSize int) ([]byte, error) {
	const op = "decode pack"
	if rawSize < 0 || rawSize > sendonce.MaxPack || len(data) > sendonce.MaxPack {
		return nil, fail(op, sendonce.KindLimit, "%d bytes that hold %d, the limit is %d", len(data), rawSize, sendonce.MaxPack)
	}
	switch encoding {
	case EncodingRaw:
		if len(data) != rawSize {
			return nil, fail(op, sendonce.KindDamaged, "it has %d bytes, not %d", len(data), rawSize)
		}
		return append(dst, data...), nil
	case EncodingZstd:
		n := len(dst)
		dst = slices.Grow(dst, rawSize+decodeSlack)
		out, err := u.dec.DecodeAll(data, dst[:n:n+rawSize+decodeSlack])
		switch {
		case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded), err == nil && len(out)-n > rawSize:
			return nil, fail(op, sendonce.KindLimit, "it holds more than the %d bytes that were announced", rawSize)
		case err != nil:
			return nil, &sendonce.Error{Op: op, Kind: sendonce.KindDamaged, Err: err}
		case len(out)-n != rawSize:
			return nil, fail(op, sendonce.KindDamaged, "it holds %d bytes, not %d", len(out)-n, rawSize)
		}
		return out, nil
	}
	return nil, &sendonce.Error{Op: op, Kind: sendonce.KindNewerFormat, Detail: fmt.Sprintf("encoding %d is not known", encoding),
		Hint: "update sendonce on this machine"}
}
