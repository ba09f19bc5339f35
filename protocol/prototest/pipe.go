package prototest

import (
	"io"
	"os"
	"sync"
	"time"

	"sendonce"
)

// pipe is one direction of a stream.
type pipe struct {
	writer int    // which end writes
	over   func() // called, without the mutex, whenever the pipe may have ended
	limit  int

	mu            sync.Mutex // guards what follows
	changed       chan struct{}
	buf           []byte
	fin           bool
	finRead       bool
	readErr       error // final
	writeErr      error // final
	cancelled     bool  // by the writer
	stopped       bool  // by the reader
	readDeadline  time.Time
	writeDeadline time.Time
}

func newPipe(writer, limit int, over func()) *pipe {
	return &pipe{writer: writer, limit: limit, over: over, changed: make(chan struct{})}
}

// wake must be called with the mutex held after each change.
func (p *pipe) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// ended reports whether nothing more can happen in this direction.
func (p *pipe) ended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.finRead || p.cancelled || p.stopped
}

func (p *pipe) read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		switch {
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[n:]
			p.wake()
			p.mu.Unlock()
			return n, nil
		case p.fin && p.readErr == nil:
			p.finRead = true
			p.mu.Unlock()
			p.over()
			return 0, io.EOF
		case p.readErr != nil:
			err := p.readErr
			p.mu.Unlock()
			return 0, err
		}
		changed, deadline := p.changed, p.readDeadline
		p.mu.Unlock()
		if !wait(changed, deadline) {
			return 0, late("read stream")
		}
	}
}

func (p *pipe) write(b []byte) (int, error) {
	total := 0
	for {
		p.mu.Lock()
		if p.writeErr != nil {
			err := p.writeErr
			p.mu.Unlock()
			return total, err
		}
		n := min(len(b), p.limit-len(p.buf))
		if n > 0 {
			p.buf = append(p.buf, b[:n]...)
			b, total = b[n:], total+n
			p.wake()
		}
		changed, deadline := p.changed, p.writeDeadline
		p.mu.Unlock()
		if len(b) == 0 {
			return total, nil
		}
		if !wait(changed, deadline) {
			return total, late("write stream")
		}
	}
}

// close ends the direction in order.
func (p *pipe) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cancelled || p.stopped {
		return &sendonce.Error{Op: "close stream", Kind: sendonce.KindUnavailable, Detail: "the stream was cancelled"}
	}
	if p.writeErr == nil {
		p.fin = true
		p.writeErr = &sendonce.Error{Op: "write stream", Kind: sendonce.KindUnavailable, Detail: "the stream was closed"}
		p.wake()
	}
	return nil
}

// cancel is the writer's, stop the reader's way to abandon the direction.
func (p *pipe) cancel(kind sendonce.ErrKind) {
	p.abandon(&p.cancelled, "read stream", "write stream", kind, "cancelled by the peer", "cancelled by this side")
}

func (p *pipe) stop(kind sendonce.ErrKind) {
	p.abandon(&p.stopped, "read stream", "write stream", kind, "cancelled by this side", "cancelled by the peer")
}

func (p *pipe) abandon(mark *bool, readOp, writeOp string, kind sendonce.ErrKind, readDetail, writeDetail string) {
	p.mu.Lock()
	if !p.cancelled && !p.stopped && !p.finRead {
		*mark = true
		p.buf = nil
		if p.readErr == nil {
			p.readErr = &sendonce.Error{Op: readOp, Kind: orUnavailable(kind), Detail: readDetail}
		}
		if p.writeErr == nil || p.fin {
			p.writeErr = &sendonce.Error{Op: writeOp, Kind: orUnavailable(kind), Detail: writeDetail}
		}
		p.wake()
	}
	p.mu.Unlock()
	p.over()
}

// shut ends the direction with its connection.
func (p *pipe) shut(writeErr, readErr error, lose bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if lose {
		p.buf = nil
	}
	if p.readErr == nil && (lose || !p.fin) {
		p.readErr = readErr
	}
	if !p.cancelled && !p.stopped {
		p.writeErr = writeErr
	}
	p.wake()
}

func (p *pipe) setDeadline(d *time.Time, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*d = t
	p.wake()
}

// wait waits for a change; false: the deadline has passed.
func wait(changed <-chan struct{}, deadline time.Time) bool {
	if deadline.IsZero() {
		<-changed
		return true
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case <-changed:
		return true
	case <-t.C:
		return false
	}
}

func late(op string) error {
	return &sendonce.Error{Op: op, Kind: sendonce.KindUnavailable, Err: os.ErrDeadlineExceeded}
}

type sendStream struct {
	c    *Conn
	p    *pipe
	show func()
}

// Write counts the bytes first: what is beyond the cut never gets into the pipe.
func (s *sendStream) Write(b []byte) (int, error) {
	s.show()
	n := s.c.l.count(s.c.side, len(b))
	done, err := s.p.write(b[:n])
	s.c.l.uncount(s.c.side, n-done)
	if n < len(b) && err == nil {
		s.c.Cut()
		err = s.c.l.err(s.c.side)
	}
	return done, err
}

func (s *sendStream) Close() error {
	s.show()
	return s.p.close()
}

func (s *sendStream) Cancel(kind sendonce.ErrKind) {
	s.show()
	s.p.cancel(kind)
}

func (s *sendStream) SetWriteDeadline(t time.Time) error {
	s.p.setDeadline(&s.p.writeDeadline, t)
	return nil
}

type recvStream struct{ p *pipe }

func (r *recvStream) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return r.p.read(b)
}

func (r *recvStream) StopRecv(kind sendonce.ErrKind) { r.p.stop(kind) }

func (r *recvStream) SetReadDeadline(t time.Time) error {
	r.p.setDeadline(&r.p.readDeadline, t)
	return nil
}

type stream struct {
	sendStream
	recvStream
}
