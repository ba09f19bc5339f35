package chunking

import (
	"io"

	"sendonce"
)

// HoleFinder is the optional ability of a source to tell where its holes are.
type HoleFinder interface {
	// NextData returns the offset of the next data at or after off, and where
	// that data ends (a hole follows, or the end of the file). At the end it
	// returns (size, size, nil).
	NextData(off int64) (start, end int64, err error)
}

// minRun is the shortest run of zeros that becomes a zero extent.
const minRun = sendonce.MinZeroRun

// defaultReadSize is how much is read at a time: small enough to stay in the
// second level cache while it is searched and cut, large enough to make calls
// rare. It is a field of scanner so that tests can show that it changes nothing.
const defaultReadSize = 128 << 10

// run says what the counted zeros of a scanner are.
type run uint8

const (
	runNone run = iota // bytes of the segment
	runOpen            // a run that may go on
	runDone            // a whole zero extent
)

// scanner reads a source once, from the start to the end, and splits it into
// segments (to be cut) and zero extents. It is used in turns: Read until io.EOF,
// which is the end of the segment, then endRun for the extent that follows.
//
// The bytes that were taken from the source but not delivered are, in order:
//
//	zeros         zero bytes that are only counted; run says what they are
//	buf[lo:ready] bytes known to belong to the segment
//	buf[ready:hi] not examined yet
//
// and a run that is open or done is never followed by ready bytes.
type scanner struct {
	src      io.ReaderAt
	holes    HoleFinder // nil: everything is read
	readSize int

	off     int64 // of the source, up to which bytes were taken
	dataEnd int64 // up to which the source has no hole
	end     int64 // where the source ends, as far as is known

	buf           []byte
	lo, ready, hi int
	zeros         int64
	run           run
	atRun         bool // the segment ends at ready, for a zero extent
}

func (s *scanner) reset(src io.ReaderAt, size int64) {
	*s = scanner{src: src, readSize: s.readSize, end: size, dataEnd: size, buf: s.buf}
	// A zero extent fits only into a file of its size: smaller ones are spared
	// the system calls.
	if h, ok := src.(HoleFinder); ok && size >= minRun {
		s.holes, s.dataEnd = h, 0
	}
}

// deliverable reports whether bytes of the segment are at hand.
func (s *scanner) deliverable() bool {
	return s.run == runNone && s.zeros > 0 || s.lo < s.ready
}

// drained reports whether the source has nothing left.
func (s *scanner) drained() bool {
	return s.off >= s.end && s.lo == s.hi && s.zeros == 0
}

// ended reports whether the segment has no more bytes.
func (s *scanner) ended() bool {
	return s.run == runDone || s.run == runOpen && s.zeros >= minRun || s.drained()
}

// Read delivers the rest of the segment. It ends with io.EOF at a zero extent
// and at the end of the source.
func (s *scanner) Read(p []byte) (int, error) {
	for !s.deliverable() {
		if s.ended() {
			return 0, io.EOF
		}
		if err := s.advance(); err != nil {
			return 0, err
		}
	}
	if s.zeros > 0 {
		n := int(min(int64(len(p)), s.zeros))
		clear(p[:n])
		s.zeros -= int64(n)
		return n, nil
	}
	n := copy(p, s.buf[s.lo:s.ready])
	s.lo += n
	return n, nil
}

// short returns the whole segment, in the scanner's memory, if it has at most
// limit bytes and all of them are at hand; otherwise ok is false and the segment
// is still to be read. It may be called only at the start of a segment.
func (s *scanner) short(limit int) (segment []byte, ok bool, err error) {
	for !s.deliverable() && !s.ended() {
		if err := s.advance(); err != nil {
			return nil, false, err
		}
	}
	if s.ended() {
		return nil, true, nil
	}
	whole := s.zeros == 0 && (s.atRun || s.ready == s.hi && s.off >= s.end)
	if !whole || s.ready-s.lo > limit {
		return nil, false, nil
	}
	segment = s.buf[s.lo:s.ready]
	s.lo = s.ready
	return segment, true, nil
}

// endRun returns the length of the zero extent that begins here, reading as far
// as the zeros go, or 0 at the end of the source. It may be called only at the
// end of a segment.
func (s *scanner) endRun() (int64, error) {
	for s.run != runDone && !s.drained() {
		if err := s.advance(); err != nil {
			return 0, err
		}
	}
	n := s.zeros
	s.zeros, s.run = 0, runNone
	return n, nil
}

// advance makes one step when nothing is deliverable: it takes the next piece of
// the source or examines what is in the buffer.
func (s *scanner) advance() error {
	if s.lo == s.hi {
		if s.off < s.end {
			return s.fetch()
		}
		s.settle()
		return nil
	}
	b := s.buf[s.lo:s.hi]
	last := s.off >= s.end
	if s.run == runNone && b[0] != 0 {
		var n int
		n, s.atRun = findRun(b)
		if !s.atRun && !last {
			// Zeros at the end of the buffer may be the start of a long run.
			n -= trailingZeros(b)
		}
		s.ready = s.lo + n
		return nil
	}
	n := leadingZeros(b)
	s.zeros += int64(n)
	s.lo += n
	s.ready = s.lo
	s.run = runOpen
	if n < len(b) || last {
		s.settle()
	}
	return nil
}

// settle decides what a run is that has come to its end.
func (s *scanner) settle() {
	if s.run == runOpen {
		s.run = runNone
		if s.zeros >= minRun {
			s.run = runDone
		}
	}
}

// fetch takes the next hole, or reads into the buffer, which must be empty.
func (s *scanner) fetch() error {
	if s.holes != nil && s.off >= s.dataEnd {
		if hole := s.nextHole(); hole > 0 {
			s.off += hole
			s.zeros += hole
			s.run = runOpen
			return nil
		}
		if s.off >= s.end {
			return nil
		}
	}
	if s.buf == nil {
		s.buf = make([]byte, s.readSize)
	}
	want := min(int64(len(s.buf)), min(s.dataEnd, s.end)-s.off)
	n, err := readFull(s.src, s.buf[:want], s.off)
	if err != nil {
		return err
	}
	s.off += int64(n)
	if int64(n) < want {
		s.end = s.off
	}
	s.lo, s.ready, s.hi = 0, 0, n
	s.atRun = false
	return nil
}

// nextHole returns the length of the hole at off, and finds out where the data
// after it ends. A source that fails to tell is read instead: the outcome is the
// same, and an error that matters comes again.
func (s *scanner) nextHole() int64 {
	start, end, err := s.holes.NextData(s.off)
	if err != nil {
		s.holes, s.dataEnd = nil, s.end
		return 0
	}
	start = max(start, s.off)
	if end <= start { // no data from here on
		s.end = min(s.end, start)
	}
	s.dataEnd = end
	return min(start, s.end) - s.off
}

// readFull reads len(p) bytes at off, fewer only where the source ends.
func readFull(src io.ReaderAt, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := src.ReadAt(p[n:], off+int64(n))
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, io.ErrNoProgress
		}
	}
	return n, nil
}
