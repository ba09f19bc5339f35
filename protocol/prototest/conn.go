package prototest

import (
	"context"
	"crypto/ed25519"
	"sync"

	"sendonce"
	"sendonce/protocol"
)

// link is what the two ends of a connection share. Its mutex guards everything
// of the connection but the insides of pipes; a pipe's mutex is never held when
// it is taken.
type link struct {
	ends     [2]*Conn
	window   int
	lose     bool
	cutAfter int64
	ended    func()
	done     chan struct{}

	mu      sync.Mutex // guards what follows
	written [2]int64
	closed  bool
	errs    [2]error // why each end fails, once closed
	pipes   map[*pipe]struct{}
}

// Conn implements protocol.Conn and protocol.Watched.
type Conn struct {
	l    *link
	side int
	peer protocol.Peer
	bidi streams // opened by this side
	uni  streams
}

var (
	_ protocol.Conn    = (*Conn)(nil)
	_ protocol.Watched = (*Conn)(nil)
)

// streams are those of one kind that one side opens.
type streams struct {
	slots   chan struct{} // a token for each open stream
	pending []*opened     // not shown to the peer yet, in order; under link.mu
	ready   []*opened     // shown, waiting for Accept; under link.mu
	signal  chan struct{} // capacity 1: ready has grown
}

// opened is one stream: there is what the opener writes, back the other way
// (nil if one-way).
type opened struct {
	there, back *pipe
	over        sync.Once
	announced   bool // under link.mu
}

func newConn(l *link, side int, peer ed25519.PrivateKey, addr string) *Conn {
	return &Conn{l: l, side: side,
		peer: protocol.Peer{ID: ID(peer), Key: peer.Public().(ed25519.PublicKey), Addr: addr},
		bidi: streams{slots: make(chan struct{}, maxStreams), signal: make(chan struct{}, 1)},
		uni:  streams{slots: make(chan struct{}, maxUniStreams), signal: make(chan struct{}, 1)}}
}

// Peer implements protocol.Conn.
func (c *Conn) Peer() protocol.Peer { return c.peer }

// Open implements protocol.Conn.
func (c *Conn) Open(ctx context.Context) (protocol.Stream, error) {
	o, err := c.open(ctx, &c.bidi, true)
	if err != nil {
		return nil, err
	}
	show := func() { c.show(&c.bidi, o) }
	return &stream{sendStream{c, o.there, show}, recvStream{o.back}}, nil
}

// OpenSend implements protocol.Conn.
func (c *Conn) OpenSend(ctx context.Context) (protocol.SendStream, error) {
	o, err := c.open(ctx, &c.uni, false)
	if err != nil {
		return nil, err
	}
	return &sendStream{c, o.there, func() { c.show(&c.uni, o) }}, nil
}

// Accept implements protocol.Conn.
func (c *Conn) Accept(ctx context.Context) (protocol.Stream, error) {
	o, err := c.accept(ctx, &c.other().bidi)
	if err != nil {
		return nil, err
	}
	return &stream{sendStream{c, o.back, func() {}}, recvStream{o.there}}, nil
}

// AcceptRecv implements protocol.Conn.
func (c *Conn) AcceptRecv(ctx context.Context) (protocol.RecvStream, error) {
	o, err := c.accept(ctx, &c.other().uni)
	if err != nil {
		return nil, err
	}
	return &recvStream{o.there}, nil
}

// Close implements protocol.Conn.
func (c *Conn) Close(kind sendonce.ErrKind, reason string) error {
	here := &sendonce.Error{Op: "stream", Path: c.peer.Addr, Kind: orUnavailable(kind), Detail: "closed by this side"}
	there := &sendonce.Error{Op: "stream", Path: c.other().peer.Addr, Kind: orUnavailable(kind), Detail: "closed by the peer"}
	if reason != "" {
		here.Detail += ": " + reason
		there.Detail += ": " + reason
	}
	var errs [2]error
	errs[c.side], errs[1-c.side] = here, there
	c.l.end(errs, c.side, c.l.lose)
	return nil
}

// Cut ends the connection without a word, as a failing network does; both ends
// get KindUnavailable, and what was not read is lost.
func (c *Conn) Cut() {
	err := &sendonce.Error{Op: "stream", Path: c.peer.Addr, Kind: sendonce.KindUnavailable, Detail: "the peer does not answer"}
	c.l.end([2]error{err, err}, c.side, true)
}

// Stats implements protocol.Watched: stream bytes, without any overhead.
func (c *Conn) Stats() protocol.Stats {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	return protocol.Stats{BytesSent: uint64(c.l.written[c.side]), BytesReceived: uint64(c.l.written[1-c.side])}
}

// Done implements protocol.Watched.
func (c *Conn) Done() <-chan struct{} { return c.l.done }

func (c *Conn) other() *Conn { return c.l.ends[1-c.side] }

func orUnavailable(kind sendonce.ErrKind) sendonce.ErrKind {
	if kind == 0 {
		return sendonce.KindUnavailable
	}
	return kind
}

// end closes the connection once. lose: unread bytes are thrown away on the
// other side too; on the side that closes they always are.
func (l *link) end(errs [2]error, side int, lose bool) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return
	}
	l.closed, l.errs = true, errs
	pipes := l.pipes
	l.pipes = nil
	close(l.done)
	l.mu.Unlock()
	for p := range pipes {
		p.shut(errs[p.writer], errs[1-p.writer], lose || p.writer != side)
	}
	l.ended()
}

// count takes n bytes that side wants to write and returns how many of them the
// connection still carries; fewer than n: it must be cut then.
func (l *link) count(side int, n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cutAfter > 0 {
		n = int(min(int64(n), max(0, l.cutAfter-l.written[0]-l.written[1])))
	}
	l.written[side] += int64(n)
	return n
}

// uncount gives back bytes that were counted but not written.
func (l *link) uncount(side, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written[side] -= int64(n)
}

func (l *link) err(side int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.errs[side]
}

func (c *Conn) open(ctx context.Context, s *streams, bidi bool) (*opened, error) {
	select {
	case <-c.l.done:
		return nil, c.l.err(c.side)
	default:
	}
	select {
	case s.slots <- struct{}{}:
	case <-c.l.done:
		return nil, c.l.err(c.side)
	case <-ctx.Done():
		return nil, interrupted("open stream", ctx.Err())
	}
	o := &opened{}
	done := func() {
		if o.there.ended() && (o.back == nil || o.back.ended()) {
			o.over.Do(func() {
				c.l.mu.Lock()
				delete(c.l.pipes, o.there)
				delete(c.l.pipes, o.back)
				c.l.mu.Unlock()
				<-s.slots
			})
		}
	}
	o.there = newPipe(c.side, c.l.window, done)
	if bidi {
		o.back = newPipe(1-c.side, c.l.window, done)
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.l.closed {
		return nil, c.l.errs[c.side]
	}
	c.l.pipes[o.there] = struct{}{}
	if bidi {
		c.l.pipes[o.back] = struct{}{}
	}
	s.pending = append(s.pending, o)
	return o, nil
}

// show lets the peer accept o and all streams that were opened before it.
func (c *Conn) show(s *streams, o *opened) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	for !o.announced {
		first := s.pending[0]
		s.pending = s.pending[1:]
		first.announced = true
		s.ready = append(s.ready, first)
	}
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

func (c *Conn) accept(ctx context.Context, s *streams) (*opened, error) {
	for {
		c.l.mu.Lock()
		if len(s.ready) > 0 && (!c.l.closed || !c.l.lose) {
			o := s.ready[0]
			s.ready = s.ready[1:]
			if len(s.ready) > 0 {
				select { // another one may be waiting
				case s.signal <- struct{}{}:
				default:
				}
			}
			c.l.mu.Unlock()
			return o, nil
		}
		closed, err := c.l.closed, c.l.errs[c.side]
		c.l.mu.Unlock()
		if closed {
			return nil, err
		}
		select {
		case <-s.signal:
		case <-c.l.done:
		case <-ctx.Done():
			return nil, interrupted("accept stream", ctx.Err())
		}
	}
}
