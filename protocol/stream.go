package protocol

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"sendonce"
)

const (
	writeBuffer = 32 << 10
	readBuffer  = 16 << 10
	// keepBuffer is the largest frame buffer that a Reader or Writer holds on to
	// between frames, so that an idle stream costs little.
	keepBuffer = 64 << 10
	// growStep is how far a reader allocates ahead of what has arrived.
	growStep = 64 << 10

	// A frame that has begun must finish within rateWindow, or bring at least
	// rateBytes in every one (16 KiB/s).
	rateWindow = 30 * time.Second
	rateBytes  = 16 << 10 * 30
)

// Writer sends messages on one stream. All methods may be called concurrently;
// each message, and each pack with its header, stays in one piece. After an
// error of the stream every further call fails with it.
type Writer struct {
	mu      sync.Mutex
	w       io.Writer
	b       *bufio.Writer
	scratch []byte
	broken  error // the stream's error, kept for ever
}

// NewWriter returns a Writer to w, which it does not close.
func NewWriter(w io.Writer) *Writer {
	return &Writer{w: w, b: bufio.NewWriterSize(w, writeBuffer)}
}

// Send queues m. It reaches the peer when the buffer (32 KiB) is full or at the
// next Flush, and may block on the peer's flow control then. A refused message
// (see AppendFrame) leaves the stream as it was.
func (w *Writer) Send(m Message) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.send(m)
}

// Flush gives everything queued to the stream.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken == nil {
		w.broken = w.b.Flush()
	}
	return w.broken
}

// SendPack queues h and then body, whose length must be h.Length. A large body
// goes to the stream without a copy; body may be reused afterwards.
func (w *Writer) SendPack(h *PackHeader, body []byte) error {
	if uint64(len(body)) != uint64(h.Length) {
		return &sendonce.Error{Op: "send pack", Kind: sendonce.KindInvalid,
			Detail: fmt.Sprintf("the header says %d bytes, the body has %d", h.Length, len(body))}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.send(h); err != nil {
		return err
	}
	if len(body) <= w.b.Available() {
		_, w.broken = w.b.Write(body)
		return w.broken
	}
	if w.broken = w.b.Flush(); w.broken != nil {
		return w.broken
	}
	_, w.broken = w.w.Write(body)
	return w.broken
}

func (w *Writer) send(m Message) error {
	if w.broken != nil {
		return w.broken
	}
	frame, err := AppendFrame(w.scratch[:0], m)
	if err != nil {
		return err
	}
	_, w.broken = w.b.Write(frame)
	if cap(frame) <= keepBuffer {
		w.scratch = frame
	}
	return w.broken
}

// Reader receives messages from one stream. It is not safe for concurrent use.
// After any error but io.EOF the stream's position is lost: give the stream up.
type Reader struct {
	src  *ratedReader
	b    *bufio.Reader
	buf  []byte
	body int64 // bytes of the last pack that Body has not been asked for yet
}

// NewReader returns a Reader of r without a minimum rate, for streams whose
// sender is trusted to go on and for tests.
func NewReader(r io.Reader) *Reader { return NewReaderRate(r, nil) }

// NewReaderRate returns a Reader of r. If now is not nil and r has
// SetReadDeadline (as RecvStream has), a frame or pack that has begun must keep
// a minimum rate: 30 s to finish, or 480 KiB in each 30 s; else Next and Body
// fail with KindUnavailable. Between frames there is no deadline. The Reader then
// owns the stream's read deadline.
func NewReaderRate(r io.Reader, now func() time.Time) *Reader {
	src := &ratedReader{r: r}
	if d, ok := r.(deadliner); ok && now != nil {
		src.d, src.now = d, now
	}
	return &Reader{src: src, b: bufio.NewReaderSize(src, readBuffer)}
}

// Next returns the next message. io.EOF comes only at a frame's boundary; an end
// inside a frame is KindInvalid ("truncated"), a frame that ParseFrame refuses is
// its error, a failure of the stream is passed on. After a *PackHeader, call Body
// before Next.
func (r *Reader) Next() (Message, error) {
	if r.body > 0 {
		return nil, &sendonce.Error{Op: "read frame", Kind: sendonce.KindInternal, Detail: "the pack's body was not read"}
	}
	if _, err := r.b.Peek(1); err != nil {
		return nil, err // io.EOF: in order
	}
	r.src.arm()
	defer r.src.disarm()
	size, err := r.readLength()
	if err != nil {
		return nil, err
	}
	if r.buf, err = r.fill(r.buf[:0], int(size)); err != nil {
		return nil, err
	}
	m, err := ParseFrame(FrameType(r.buf[0]), r.buf[1:])
	if cap(r.buf) > keepBuffer {
		r.buf = nil
	}
	if err != nil {
		return nil, err
	}
	if h, ok := m.(*PackHeader); ok {
		r.body = int64(h.Length)
	}
	return m, nil
}

// Body reads the bytes of the pack whose header Next has just returned, exactly
// Length of them, appends them to dst and returns the longer slice. Memory grows
// with what arrives, not with what the header promises.
func (r *Reader) Body(dst []byte) ([]byte, error) {
	if r.body == 0 {
		return dst, &sendonce.Error{Op: "read pack", Kind: sendonce.KindInternal, Detail: "no pack header was read"}
	}
	r.src.arm()
	defer r.src.disarm()
	n := int(r.body)
	r.body = 0
	return r.fill(dst, n)
}

// readLength reads a frame's uvarint.
func (r *Reader) readLength() (uint64, error) {
	var size uint64
	for shift := 0; shift < 21; shift += 7 {
		c, err := r.b.ReadByte()
		if err != nil {
			return 0, truncated(err)
		}
		size |= uint64(c&0x7f) << shift
		if c < 0x80 {
			switch {
			case size == 0:
				return 0, &sendonce.Error{Op: "read frame", Kind: sendonce.KindInvalid, Detail: "empty frame"}
			case size > maxFrameLen:
				return 0, tooLong()
			}
			return size, nil
		}
	}
	return 0, tooLong()
}

// fill appends the next n bytes to dst, growing it only a step ahead of them.
func (r *Reader) fill(dst []byte, n int) ([]byte, error) {
	for n > 0 {
		if len(dst) == cap(dst) {
			dst = append(dst, make([]byte, min(n, max(growStep, len(dst))))...)[:len(dst)]
		}
		step := min(n, cap(dst)-len(dst))
		got, err := io.ReadFull(r.b, dst[len(dst):len(dst)+step])
		dst = dst[:len(dst)+got]
		n -= got
		if err != nil {
			return dst, truncated(err)
		}
	}
	return dst, nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &sendonce.Error{Op: "read frame", Kind: sendonce.KindInvalid, Detail: "truncated", Err: io.ErrUnexpectedEOF}
	}
	return err
}

func tooLong() error {
	return &sendonce.Error{Op: "read frame", Kind: sendonce.KindLimit, Detail: fmt.Sprintf("longer than %d bytes", maxFrameLen)}
}

type deadliner interface{ SetReadDeadline(time.Time) error }

// ratedReader sets deadlines on the stream while armed, and clears them at the
// first read after that. A frame that is already buffered costs no call at all.
type ratedReader struct {
	r   io.Reader
	d   deadliner // nil: no rate
	now func() time.Time

	armed, set bool // inside a frame; a deadline is set for this frame
	got        int  // bytes in the present window
}

func (r *ratedReader) arm() { r.armed = r.d != nil }

func (r *ratedReader) disarm() {
	if r.set {
		r.set = false
		// A stream that refuses has failed, and its next Read says so.
		_ = r.d.SetReadDeadline(time.Time{})
	}
	r.armed = false
}

func (r *ratedReader) Read(p []byte) (int, error) {
	if !r.armed {
		return r.r.Read(p)
	}
	if !r.set || r.got >= rateBytes {
		if err := r.d.SetReadDeadline(r.now().Add(rateWindow)); err != nil {
			return 0, err
		}
		r.set, r.got = true, 0
	}
	n, err := r.r.Read(p)
	r.got += n
	if err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = &sendonce.Error{Op: "read frame", Kind: sendonce.KindUnavailable, Detail: "the peer began a frame and sends it too slowly", Err: err}
	}
	return n, err
}
