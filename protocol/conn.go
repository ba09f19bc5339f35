package protocol

import (
	"context"
	"crypto/ed25519"
	"io"
	"time"

	"sendonce"
)

// ALPN is the application protocol name (RFC 7301) of this version.
const ALPN = "sendonce/1"

// Version is the protocol version that Hello and Welcome carry.
const Version = 1

// Dialer makes connections to a server whose identity is pinned.
type Dialer interface {
	// Dial connects to addr ("host:port"); the peer must prove to be server.
	// bulk is a hint: a connection that will carry much data (path MTU discovery
	// pays) or little. Errors: KindUnavailable, or KindUnauthorized when the
	// server's key is another one.
	Dial(ctx context.Context, addr string, server sendonce.DeviceID, bulk bool) (Conn, error)
}

// Listener accepts connections from any peer that proves to hold the key of
// the identity it shows; whether that identity is enrolled is the proxy's
// question.
type Listener interface {
	// Accept waits for the next connection; KindUnavailable after Close.
	Accept(ctx context.Context) (Conn, error)
	Addr() string
	Close() error
}

// Conn is one authenticated connection. All methods may be called concurrently.
type Conn interface {
	Peer() Peer
	// Open opens a bidirectional stream; OpenSend a one-way one. They wait while
	// the peer's stream limit is reached.
	Open(ctx context.Context) (Stream, error)
	OpenSend(ctx context.Context) (SendStream, error)
	// Accept and AcceptRecv wait for a stream that the peer opened.
	Accept(ctx context.Context) (Stream, error)
	AcceptRecv(ctx context.Context) (RecvStream, error)
	// Close ends the connection at once; streams fail on both sides with an
	// error of the given kind.
	Close(kind sendonce.ErrKind, reason string) error
}

// Watched is the optional ability of a Conn to tell about itself.
type Watched interface {
	// Stats returns what the connection has carried so far, in UDP payload bytes.
	Stats() Stats
	// Done is closed when the connection has ended.
	Done() <-chan struct{}
}

// Peer is the other end's proven identity.
type Peer struct {
	ID   sendonce.DeviceID
	Key  ed25519.PublicKey
	Addr string // for people and logs
}

// Stats counts UDP payload bytes and packets of one connection.
type Stats struct {
	BytesSent, BytesReceived     uint64
	PacketsSent, PacketsReceived uint64
	PacketsLost                  uint64
	RTT                          time.Duration
}

// SendStream is the sending half. Write may block on flow control. Close ends
// the stream in order; Cancel abandons it, and the peer's reads fail.
type SendStream interface {
	io.Writer
	Close() error
	Cancel(kind sendonce.ErrKind)
	SetWriteDeadline(t time.Time) error
}

// RecvStream is the receiving half. StopRecv tells the peer to send no more.
type RecvStream interface {
	io.Reader
	StopRecv(kind sendonce.ErrKind)
	SetReadDeadline(t time.Time) error
}

// Stream is both halves; Close closes the sending half only.
type Stream interface {
	SendStream
	RecvStream
}
