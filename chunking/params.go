package chunking

import (
	"fmt"
	"math/bits"

	"github.com/restic/chunker"

	"sendonce"
)

// Rabin is the number of the algorithm in sendonce.Params: a Rabin fingerprint
// over a window of 64 bytes (M. O. Rabin, "Fingerprinting by random
// polynomials", 1981), as github.com/restic/chunker cuts.
const Rabin uint8 = 1

const (
	// polynomial is the same for everyone. A secret one would protect nothing:
	// chunk lengths give it away.
	polynomial = chunker.Pol(0x3DA3358B4DC173)
	// window is how many bytes the fingerprint looks at; no chunk can be cut
	// before it is full.
	window = 64
)

// Check reports whether p can be used: a known algorithm, Avg a power of two,
// 64 <= Min < Avg < Max <= sendonce.MaxChunk. Errors: KindNewerFormat for an
// unknown algorithm, KindInvalid otherwise.
func Check(p sendonce.Params) error {
	bad := func(format string, args ...any) error {
		return &sendonce.Error{Op: "check chunking params", Kind: sendonce.KindInvalid, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case p.Algorithm == 0:
		return bad("no algorithm is given")
	case p.Algorithm != Rabin:
		return &sendonce.Error{Op: "check chunking params", Kind: sendonce.KindNewerFormat,
			Detail: fmt.Sprintf("algorithm %d is not known", p.Algorithm), Hint: "update sendonce on this machine"}
	case p.Min < window:
		return bad("min is %d, it must be at least %d", p.Min, window)
	case bits.OnesCount32(p.Avg) != 1:
		return bad("avg is %d, it must be a power of two", p.Avg)
	case p.Min >= p.Avg:
		return bad("min is %d, it must be less than avg (%d)", p.Min, p.Avg)
	case p.Avg >= p.Max:
		return bad("avg is %d, it must be less than max (%d)", p.Avg, p.Max)
	case p.Max > sendonce.MaxChunk:
		return bad("max is %d, the limit is %d", p.Max, sendonce.MaxChunk)
	}
	return nil
}
