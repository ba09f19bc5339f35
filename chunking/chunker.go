package chunking

import (
	"io"
	"math/bits"
	"slices"

	"github.com/restic/chunker"

	"sendonce"
)

// Chunk is a piece of the content: a chunk with its bytes, or a zero extent.
type Chunk struct {
	Offset int64  // in the content, bytes
	Length int64  // bytes; a zero extent may have many GiB
	Data   []byte // the bytes of a chunk; nil for a zero extent
	Zero   bool   // a zero extent
}

// Chunker cuts one source after another. It is not safe for concurrent use; use
// several, they share nothing that is written.
//
// Its memory does not depend on the source: nothing but itself until the first
// source that is larger than Min, then about 0.7 MiB (two read buffers and the
// tables of the fingerprint).
type Chunker struct {
	params sendonce.Params
	scan   scanner
	rabin  *chunker.Chunker // nil until it is needed
	phase  phase
	offset int64 // of the next chunk
	err    error // ends the source
}

// phase is what the next call of Next begins with.
type phase uint8

const (
	phaseTiny    phase = iota // the source is at most Min bytes: one read
	phaseSegment              // at the start of a segment
	phaseCut                  // inside a segment that the fingerprint cuts
	phaseRun                  // behind a segment
)

// New returns a Chunker that cuts by p; the errors are those of Check. Before
// the first Reset it is at the end of an empty source.
func New(p sendonce.Params) (*Chunker, error) {
	if err := Check(p); err != nil {
		return nil, err
	}
	return &Chunker{params: p, scan: scanner{readSize: defaultReadSize}, err: io.EOF}, nil
}

// Reset begins with a new source of size bytes, whatever became of the last. If
// r implements HoleFinder, holes are not read; that changes nothing but the
// time. At most size bytes are delivered, even if the source has grown; if it
// ends earlier, what there is (the caller, who examines the file before and
// after, finds out that it changed). The Chunker keeps r until the next Reset.
func (c *Chunker) Reset(r io.ReaderAt, size int64) {
	c.scan.reset(r, max(size, 0))
	c.phase = phaseSegment
	if size <= int64(min(c.params.Min, minRun-1)) {
		c.phase = phaseTiny
	}
	c.offset = 0
	c.err = nil
}

// Next returns the next chunk or zero extent, and io.EOF at the end, again and
// again. Any other error is the source's, as it is, and ends the source too.
//
// Data is appended to buf[:0]: if cap(buf) >= Max it is in buf's memory, else
// possibly in new memory; either way it is the caller's and never touched again.
// So chunks can be cut side by side into one large buffer.
//
// One call reads a zero extent to its end, unless it is a hole; a source that
// should be interruptible returns an error from ReadAt.
func (c *Chunker) Next(buf []byte) (Chunk, error) {
	if c.err != nil {
		return Chunk{}, c.err
	}
	chunk, err := c.next(buf[:0])
	if err != nil {
		c.err = err
		return Chunk{}, err
	}
	chunk.Offset = c.offset
	c.offset += chunk.Length
	return chunk, nil
}

func (c *Chunker) next(buf []byte) (Chunk, error) {
	for {
		switch c.phase {
		case phaseTiny:
			c.phase = phaseRun
			buf = slices.Grow(buf, int(c.scan.end))
			n, err := readFull(c.scan.src, buf[:c.scan.end], 0)
			c.scan.off, c.scan.end = int64(n), int64(n)
			if err != nil || n > 0 {
				return dataChunk(buf[:n]), err
			}
		case phaseSegment:
			// Nothing is cut before Min bytes: so short a segment is one chunk.
			segment, ok, err := c.scan.short(int(c.params.Min))
			if err != nil {
				return Chunk{}, err
			}
			c.phase = phaseRun
			if !ok {
				c.resetRabin()
				c.phase = phaseCut
			} else if len(segment) > 0 {
				return dataChunk(append(buf, segment...)), nil
			}
		case phaseCut:
			cut, err := c.rabin.Next(buf)
			if err == nil {
				return dataChunk(cut.Data), nil
			}
			if err != io.EOF {
				return Chunk{}, err
			}
			c.phase = phaseRun
		case phaseRun:
			n, err := c.scan.endRun()
			if err != nil {
				return Chunk{}, err
			}
			if n == 0 {
				return Chunk{}, io.EOF
			}
			c.phase = phaseSegment
			return Chunk{Length: n, Zero: true}, nil
		}
	}
}

// resetRabin makes the fingerprint begin with the segment. A reset of the outside
// chunker puts its average back to 1 MiB, so it is set every time.
func (c *Chunker) resetRabin() {
	lo, hi := uint(c.params.Min), uint(c.params.Max)
	if c.rabin == nil {
		c.rabin = chunker.NewWithBoundaries(&c.scan, polynomial, lo, hi)
	} else {
		c.rabin.ResetWithBoundaries(&c.scan, polynomial, lo, hi)
	}
	c.rabin.SetAverageBits(bits.TrailingZeros32(c.params.Avg))
}

func dataChunk(data []byte) Chunk {
	return Chunk{Length: int64(len(data)), Data: data}
}
