package quiclink

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"sendonce"
	"sendonce/protocol"
)

// Listener accepts connections on one socket; it implements protocol.Listener.
type Listener struct {
	tr     *quic.Transport
	ln     *quic.Listener
	socket net.PacketConn
	budget *windowBudget

	mu     sync.Mutex // guards what follows
	conns  map[*conn]struct{}
	closed bool
}

var _ protocol.Listener = (*Listener)(nil)

// ListenAddr listens on the UDP address "host:port" (an empty host is every
// address, port 0 a free one). KindUnavailable if the address cannot be had.
func ListenAddr(c Config, addr string) (*Listener, error) {
	socket, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, &sendonce.Error{Op: "listen", Path: addr, Kind: sendonce.KindUnavailable, Err: err,
			Hint: "another process may use the port; choose one with --listen"}
	}
	l, err := Listen(c, socket)
	if err != nil {
		_ = socket.Close()
	}
	return l, err
}

// Listen accepts connections on socket, which the Listener owns from then on.
func Listen(c Config, socket net.PacketConn) (*Listener, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	conf := tlsConfig(c.Identity)
	conf.ClientAuth = tls.RequireAnyClientCert
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		_, _, err := peerOf(&s)
		return err
	}
	l := &Listener{socket: socket, budget: &windowBudget{left: c.WindowBudget, granted: make(map[*quic.Conn]int64)}, conns: make(map[*conn]struct{})}
	limit := &handshakeLimit{rate: c.HandshakeRate, now: c.Now}
	l.tr = &quic.Transport{Conn: socket, StatelessResetKey: resetKey(c.Identity), VerifySourceAddress: limit.exceeded}
	l.ln, err = l.tr.Listen(conf, listenConfig(l.budget))
	if err != nil {
		_ = l.tr.Close()
		return nil, &sendonce.Error{Op: "listen", Path: socket.LocalAddr().String(), Kind: sendonce.KindUnavailable, Err: err}
	}
	return l, nil
}

// Accept implements protocol.Listener.
func (l *Listener) Accept(ctx context.Context) (protocol.Conn, error) {
	for {
		q, err := l.ln.Accept(ctx)
		if err != nil {
			return nil, wrap("accept", "", err)
		}
		context.AfterFunc(q.Context(), func() { l.budget.release(q) })
		c, err := newConn(q)
		if err != nil { // VerifyConnection has refused such a peer already
			continue
		}
		if !l.keep(c) {
			_ = c.Close(sendonce.KindUnavailable, "stopping")
			return nil, closedError("accept", "")
		}
		return c, nil
	}
}

func (l *Listener) keep(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.conns[c] = struct{}{}
	context.AfterFunc(c.q.Context(), func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, c)
	})
	return true
}

// Addr returns the socket's address.
func (l *Listener) Addr() string { return l.socket.LocalAddr().String() }

// Close ends all connections, telling their peers, and closes the socket.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	open := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		open = append(open, c)
	}
	l.mu.Unlock()
	_ = l.ln.Close() // no new ones
	return shut(l.tr, l.socket, open, func() {})
}

// windowBudget bounds what all receive windows of a listener grow to together.
type windowBudget struct {
	mu      sync.Mutex // guards what follows
	left    int64
	granted map[*quic.Conn]int64
}

// allow is called by quic-go before a connection's window grows by delta bytes.
func (b *windowBudget) allow(c *quic.Conn, delta uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if delta > uint64(max(b.left, 0)) {
		return false
	}
	b.left -= int64(delta)
	b.granted[c] += int64(delta)
	return true
}

func (b *windowBudget) release(c *quic.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += b.granted[c]
	delete(b.granted, c)
}

// handshakeLimit is a bucket that fills with rate attempts a second, up to a
// second's worth.
type handshakeLimit struct {
	rate int // negative: nothing is let through
	now  func() time.Time

	mu     sync.Mutex // guards what follows
	tokens float64
	last   time.Time
}

// exceeded reports whether an attempt must prove its address first.
func (h *handshakeLimit) exceeded(net.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	if h.last.IsZero() {
		h.tokens = float64(h.rate)
	} else {
		h.tokens = min(h.tokens+now.Sub(h.last).Seconds()*float64(h.rate), float64(h.rate))
	}
	h.last = now
	if h.tokens < 1 {
		return true
	}
	h.tokens--
	return false
}
