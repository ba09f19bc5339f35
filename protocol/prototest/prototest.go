// Package prototest is a transport in memory, for tests of what speaks the
// protocol: it implements protocol's Dialer, Listener, Conn, Watched and Stream
// contracts with the behaviour of QUIC that callers can trip over:
//
//   - the peer sees a stream only after the first Write, Close or Cancel on it,
//     and in the order in which the streams were opened;
//   - Write blocks when the peer does not read (each direction of a stream holds
//     at most Window bytes);
//   - Open waits while the peer's limit of open streams (32, and 16 one-way) is
//     reached; a stream is over when both directions have been read to the end,
//     cancelled or stopped;
//   - Cancel throws away what the peer has not read yet, and so does a closed
//     connection with LoseOnClose.
//
// It starts no goroutines and uses only timers of package time, so it runs inside
// a testing/synctest bubble. It is not for production: nothing is encrypted and
// identities are believed. Faults are injected through Network.OnDial, Conn.Cut
// and Network.CutAll.
//
// Read prototest.go first, then conn.go, then pipe.go.
package prototest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"net"
	"sync"

	"sendonce"
	"sendonce/protocol"
)

// Limits as package quiclink has them.
const (
	maxStreams    = 32
	maxUniStreams = 16
	backlog       = 128 // connections waiting for Accept
	defaultWindow = 1 << 20
)

// Fault says what happens to one connection. The zero Fault is none.
type Fault struct {
	// Err fails the dial with this error.
	Err error
	// CutAfter, if not 0, cuts the connection as soon as both ends together have
	// written this many stream bytes; what is over the limit is lost.
	CutAfter int64
}

// Network connects Dialers with Listeners by address. Set its fields before use.
type Network struct {
	// OnDial chooses the fault of the n-th dial (from 0) of the network; nil: none.
	OnDial func(n int, addr string) Fault
	// Window is how many unread bytes one direction of a stream holds; 0: 1 MiB.
	Window int
	// LoseOnClose makes Conn.Close throw away what the peer has not read yet, as
	// QUIC may; otherwise the peer reads it first.
	LoseOnClose bool

	mu        sync.Mutex // guards what follows
	listeners map[string]*Listener
	conns     map[*Conn]struct{} // dialing ends
	dials     int
}

// Key returns a fixed key for each n.
func Key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// ID returns the identity of a key.
func ID(key ed25519.PrivateKey) sendonce.DeviceID {
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic("prototest: not a key: " + err.Error())
	}
	return sendonce.DeviceIDOf(spki)
}

// Listen accepts connections for addr, any text, with the identity of key.
// KindExists if the address is taken.
func (n *Network) Listen(addr string, key ed25519.PrivateKey) (*Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, &sendonce.Error{Op: "listen", Path: addr, Kind: sendonce.KindExists}
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*Listener)
	}
	l := &Listener{n: n, addr: addr, key: key, queue: make(chan *Conn, backlog), closed: make(chan struct{})}
	n.listeners[addr] = l
	return l, nil
}

// Dialer returns a Dialer with the identity of key.
func (n *Network) Dialer(key ed25519.PrivateKey) *Dialer { return &Dialer{n: n, key: key} }

// CutAll cuts every connection, as a failing network does.
func (n *Network) CutAll() {
	n.mu.Lock()
	conns := make([]*Conn, 0, len(n.conns))
	for c := range n.conns {
		conns = append(conns, c)
	}
	n.mu.Unlock()
	for _, c := range conns {
		c.Cut()
	}
}

// Open returns how many connections there are.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// Dialer implements protocol.Dialer.
type Dialer struct {
	n   *Network
	key ed25519.PrivateKey
}

var _ protocol.Dialer = (*Dialer)(nil)

// Dial implements protocol.Dialer; it does not block.
func (d *Dialer) Dial(ctx context.Context, addr string, server sendonce.DeviceID, _ bool) (protocol.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, interrupted("dial", err)
	}
	n := d.n
	n.mu.Lock()
	l, nth := n.listeners[addr], n.dials
	n.dials++
	n.mu.Unlock()
	var f Fault
	if n.OnDial != nil {
		f = n.OnDial(nth, addr)
	}
	switch {
	case f.Err != nil:
		return nil, f.Err
	case l == nil:
		return nil, &sendonce.Error{Op: "dial", Path: addr, Kind: sendonce.KindUnavailable, Detail: "no answer", Hint: "check the address, and that the proxy is running"}
	case ID(l.key) != server:
		return nil, &sendonce.Error{Op: "dial", Path: addr, Kind: sendonce.KindUnauthorized, Detail: "the server's key is not the pinned one",
			Hint: "the server has a new key: if that is expected, join again with a fresh link"}
	}
	client, end := n.connect(d.key, l, f)
	select {
	case l.queue <- end:
	case <-l.closed:
		client.Cut()
		return nil, &sendonce.Error{Op: "dial", Path: addr, Kind: sendonce.KindUnavailable, Detail: "closed"}
	default:
		client.Cut()
		return nil, &sendonce.Error{Op: "dial", Path: addr, Kind: sendonce.KindUnavailable, Detail: "the peer refuses connections just now"}
	}
	return client, nil
}

func (n *Network) connect(key ed25519.PrivateKey, l *Listener, f Fault) (client, server *Conn) {
	window := n.Window
	if window == 0 {
		window = defaultWindow
	}
	s := &link{cutAfter: f.CutAfter, window: window, lose: n.LoseOnClose, done: make(chan struct{}), pipes: make(map[*pipe]struct{})}
	client = newConn(s, 0, l.key, "mem:"+l.addr)
	server = newConn(s, 1, key, "mem:client")
	s.ends = [2]*Conn{client, server}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conns == nil {
		n.conns = make(map[*Conn]struct{})
	}
	n.conns[client] = struct{}{}
	s.ended = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.conns, client)
	}
	return client, server
}

// Listener implements protocol.Listener.
type Listener struct {
	n     *Network
	addr  string
	key   ed25519.PrivateKey
	queue chan *Conn

	once   sync.Once
	closed chan struct{}

	mu       sync.Mutex // guards what follows
	accepted []*Conn
}

var _ protocol.Listener = (*Listener)(nil)

// Accept implements protocol.Listener.
func (l *Listener) Accept(ctx context.Context) (protocol.Conn, error) {
	select {
	case <-l.closed: // first of all, even if connections are waiting
		return nil, l.closedError()
	default:
	}
	select {
	case c := <-l.queue:
		l.mu.Lock()
		l.accepted = append(l.accepted, c)
		l.mu.Unlock()
		return c, nil
	case <-l.closed:
		return nil, l.closedError()
	case <-ctx.Done():
		return nil, interrupted("accept", ctx.Err())
	}
}

func (l *Listener) closedError() error {
	return &sendonce.Error{Op: "accept", Path: l.addr, Kind: sendonce.KindUnavailable, Detail: "closed", Err: net.ErrClosed}
}

// Addr returns the address that Listen was given.
func (l *Listener) Addr() string { return l.addr }

// Close frees the address and closes all the listener's connections.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.n.mu.Lock()
		delete(l.n.listeners, l.addr)
		l.n.mu.Unlock()
		close(l.closed)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close(sendonce.KindUnavailable, "stopping")
				continue
			default:
			}
			break
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range l.accepted {
			_ = c.Close(sendonce.KindUnavailable, "stopping")
		}
		l.accepted = nil
	})
	return nil
}

func interrupted(op string, err error) error {
	kind := sendonce.KindInterrupted
	if err == context.DeadlineExceeded {
		kind = sendonce.KindUnavailable
	}
	return &sendonce.Error{Op: op, Kind: kind, Err: err}
}
