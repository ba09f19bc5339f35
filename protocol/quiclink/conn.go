package quiclink

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"sendonce"
	"sendonce/protocol"
)

// How long Close lets last words travel: about two round trips, between these.
const (
	minLinger = 10 * time.Millisecond
	maxLinger = 300 * time.Millisecond
)

// maxReason is how many bytes of a reason travel, so that one packet holds them.
const maxReason = 512

// conn implements protocol.Conn and protocol.Watched.
type conn struct {
	q    *quic.Conn
	peer protocol.Peer
	// talking is set by a write and cleared when something is read: then the
	// peer has not shown that it got our last words.
	talking atomic.Bool
}

var (
	_ protocol.Conn    = (*conn)(nil)
	_ protocol.Watched = (*conn)(nil)
)

func newConn(q *quic.Conn) (*conn, error) {
	state := q.ConnectionState().TLS
	id, key, err := peerOf(&state)
	if err != nil {
		_ = q.CloseWithError(quic.ApplicationErrorCode(sendonce.KindUnauthorized), "")
		return nil, err
	}
	return &conn{q: q, peer: protocol.Peer{ID: id, Key: key, Addr: q.RemoteAddr().String()}}, nil
}

func (c *conn) Peer() protocol.Peer { return c.peer }

func (c *conn) Open(ctx context.Context) (protocol.Stream, error) {
	s, err := c.q.OpenStreamSync(ctx)
	if err != nil {
		return nil, c.fail("open stream", err)
	}
	return &stream{sendStream{s, c}, recvStream{s, c}}, nil
}

func (c *conn) OpenSend(ctx context.Context) (protocol.SendStream, error) {
	s, err := c.q.OpenUniStreamSync(ctx)
	if err != nil {
		return nil, c.fail("open stream", err)
	}
	return &sendStream{s, c}, nil
}

func (c *conn) Accept(ctx context.Context) (protocol.Stream, error) {
	s, err := c.q.AcceptStream(ctx)
	if err != nil {
		return nil, c.fail("accept stream", err)
	}
	return &stream{sendStream{s, c}, recvStream{s, c}}, nil
}

func (c *conn) AcceptRecv(ctx context.Context) (protocol.RecvStream, error) {
	s, err := c.q.AcceptUniStream(ctx)
	if err != nil {
		return nil, c.fail("accept stream", err)
	}
	return &recvStream{s, c}, nil
}

// Close implements protocol.Conn. kind and the first 512 bytes of reason reach
// the peer with the closing packet, unless that one is lost; every stream call
// of the peer then fails with them. QUIC throws away what a peer has not read
// yet when a connection closes, so if this side spoke last, Close first gives
// the peer about two round trips (10-300 ms) to read; a side that has just
// read an answer closes at once.
func (c *conn) Close(kind sendonce.ErrKind, reason string) error {
	if c.talking.Load() {
		t := time.NewTimer(min(max(2*c.q.ConnectionStats().SmoothedRTT, minLinger), maxLinger))
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.q.Context().Done():
		}
	}
	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	if err := c.q.CloseWithError(quic.ApplicationErrorCode(kind), reason); err != nil {
		return c.fail("close", err)
	}
	return nil
}

// Stats implements protocol.Watched. quic-go counts UDP payload bytes.
func (c *conn) Stats() protocol.Stats {
	s := c.q.ConnectionStats()
	return protocol.Stats{BytesSent: s.BytesSent, BytesReceived: s.BytesReceived, PacketsSent: s.PacketsSent,
		PacketsReceived: s.PacketsReceived, PacketsLost: s.PacketsLost, RTT: s.SmoothedRTT}
}

// Done implements protocol.Watched.
func (c *conn) Done() <-chan struct{} { return c.q.Context().Done() }

func (c *conn) fail(op string, err error) error { return wrap(op, c.peer.Addr, err) }

// quicSend and quicRecv are the halves of quic-go's three stream types.
type quicSend interface {
	Write([]byte) (int, error)
	Close() error
	CancelWrite(quic.StreamErrorCode)
	SetWriteDeadline(time.Time) error
}

type quicRecv interface {
	Read([]byte) (int, error)
	CancelRead(quic.StreamErrorCode)
	SetReadDeadline(time.Time) error
}

type sendStream struct {
	s quicSend
	c *conn
}

func (s *sendStream) Write(p []byte) (int, error) {
	s.c.talking.Store(true)
	n, err := s.s.Write(p)
	if err != nil {
		err = s.c.fail("write stream", err)
	}
	return n, err
}

func (s *sendStream) Close() error {
	s.c.talking.Store(true)
	if err := s.s.Close(); err != nil {
		return s.c.fail("close stream", err)
	}
	return nil
}

func (s *sendStream) Cancel(kind sendonce.ErrKind) { s.s.CancelWrite(quic.StreamErrorCode(kind)) }

func (s *sendStream) SetWriteDeadline(t time.Time) error { return s.s.SetWriteDeadline(t) }

type recvStream struct {
	s quicRecv
	c *conn
}

func (r *recvStream) Read(p []byte) (int, error) {
	n, err := r.s.Read(p)
	if n > 0 {
		r.c.talking.Store(false)
	}
	if err != nil {
		err = r.c.fail("read stream", err)
	}
	return n, err
}

func (r *recvStream) StopRecv(kind sendonce.ErrKind) { r.s.CancelRead(quic.StreamErrorCode(kind)) }

func (r *recvStream) SetReadDeadline(t time.Time) error { return r.s.SetReadDeadline(t) }

type stream struct {
	sendStream
	recvStream
}
