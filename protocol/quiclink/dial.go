package quiclink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"sendonce"
	"sendonce/protocol"
)

// attemptDelay is how long one address has before the next is tried as well (RFC 8305, 8).
const attemptDelay = 250 * time.Millisecond

// Dialer makes connections from one socket; it implements protocol.Dialer.
type Dialer struct {
	config Config

	mu     sync.Mutex // guards what follows
	tr     *quic.Transport
	socket net.PacketConn
	conns  map[*conn]struct{}
	closed bool
	dials  sync.WaitGroup
}

var _ protocol.Dialer = (*Dialer)(nil)

// NewDialer returns a Dialer; the socket is opened at the first Dial.
func NewDialer(c Config) (*Dialer, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Dialer{config: c, conns: make(map[*conn]struct{})}, nil
}

// Dial implements protocol.Dialer. It gives up after 10 s at the latest.
func (d *Dialer) Dial(ctx context.Context, addr string, server sendonce.DeviceID, bulk bool) (protocol.Conn, error) {
	tr, err := d.begin()
	if err != nil {
		return nil, err
	}
	defer d.dials.Done()
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeTimeout, errNoAnswer)
	defer cancel()
	addrs, err := d.config.Resolve(ctx, addr)
	if err == nil && len(addrs) == 0 {
		err = errors.New("the name has no address")
	}
	if err != nil {
		return nil, dialError(addr, err)
	}
	c, err := d.race(ctx, tr, addr, addrs, server, bulk)
	if err != nil {
		return nil, err
	}
	if !d.keep(c) {
		_ = c.Close(sendonce.KindUnavailable, "stopping")
		return nil, closedError("dial", addr)
	}
	return c, nil
}

// begin opens the socket if need be and counts one dial more.
func (d *Dialer) begin() (*quic.Transport, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, closedError("dial", "")
	}
	if d.tr == nil {
		socket, err := d.config.ListenPacket()
		if err != nil {
			return nil, &sendonce.Error{Op: "open socket", Kind: sendonce.KindUnavailable, Err: err}
		}
		d.socket = socket
		d.tr = &quic.Transport{Conn: socket, StatelessResetKey: resetKey(d.config.Identity)}
	}
	d.dials.Add(1)
	return d.tr, nil
}

// keep registers a connection for Close; false if it came too late.
func (d *Dialer) keep(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.conns[c] = struct{}{}
	context.AfterFunc(c.q.Context(), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.conns, c)
	})
	return true
}

// race tries the addresses one after another, a little apart, and takes the
// first connection. If all fail, a wrong key is the error that matters most.
func (d *Dialer) race(ctx context.Context, tr *quic.Transport, addr string, addrs []net.Addr, server sendonce.DeviceID, bulk bool) (*conn, error) {
	type result struct {
		c   *conn
		err error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result)
	next, running := 0, 0
	start := func() {
		a := addrs[next]
		next++
		running++
		go func() {
			c, err := d.attempt(ctx, tr, addr, a, server, bulk)
			results <- result{c, err}
		}()
	}
	start()
	timer := time.NewTimer(attemptDelay)
	defer timer.Stop()
	var won *conn
	var failed error
	for running > 0 {
		select {
		case <-timer.C:
			if next < len(addrs) && won == nil && ctx.Err() == nil {
				start()
				timer.Reset(attemptDelay)
			}
		case r := <-results:
			running--
			switch {
			case r.c != nil && won == nil:
				won = r.c
				cancel()
			case r.c != nil:
				_ = r.c.q.CloseWithError(0, "")
			default:
				if failed == nil || sendonce.KindOf(r.err) == sendonce.KindUnauthorized {
					failed = r.err
				}
				if next < len(addrs) && won == nil && ctx.Err() == nil {
					start()
				}
			}
		}
	}
	if won != nil {
		return won, nil
	}
	return nil, failed
}

func (d *Dialer) attempt(ctx context.Context, tr *quic.Transport, addr string, a net.Addr, server sendonce.DeviceID, bulk bool) (*conn, error) {
	var found atomic.Pointer[sendonce.DeviceID] // another identity than the pinned one
	conf := tlsConfig(d.config.Identity)
	conf.InsecureSkipVerify = true // there is no authority: VerifyConnection pins the key itself
	conf.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768}
	if d.config.SmallHandshake {
		conf.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		id, _, err := peerOf(&s)
		if err != nil {
			return err
		}
		if id != server {
			found.Store(&id)
			return errWrongKey
		}
		return nil
	}
	q, err := tr.Dial(ctx, a, conf, dialConfig(bulk))
	if id := found.Load(); id != nil {
		return nil, &sendonce.Error{Op: "dial", Path: addr, Kind: sendonce.KindUnauthorized,
			Detail: fmt.Sprintf("the server shows the key %s, not %s", id.Short(), server.Short()), Err: errWrongKey,
			Hint: "somebody may be in between, or the server has a new key: if that is expected, join again with a fresh link from \"sendonce invite\""}
	}
	if err != nil {
		return nil, dialError(addr, err)
	}
	return newConn(q)
}

// Close ends all connections, telling their peers, and closes the socket.
func (d *Dialer) Close() error {
	d.mu.Lock()
	d.closed = true
	tr, socket := d.tr, d.socket
	d.tr, d.socket = nil, nil
	open := make([]*conn, 0, len(d.conns))
	for c := range d.conns {
		open = append(open, c)
	}
	d.mu.Unlock()
	return shut(tr, socket, open, d.dials.Wait)
}

// shut ends connections side by side, then the transport, then the socket.
func shut(tr *quic.Transport, socket net.PacketConn, open []*conn, wait func()) error {
	var wg sync.WaitGroup
	for _, c := range open {
		wg.Go(func() { _ = c.Close(sendonce.KindUnavailable, "stopping") })
	}
	wg.Wait()
	if tr == nil {
		return nil
	}
	err := tr.Close() // fails dials and accepts under way
	wait()
	if e := socket.Close(); err == nil && !errors.Is(e, net.ErrClosed) {
		err = e
	}
	if err != nil {
		return &sendonce.Error{Op: "close socket", Kind: sendonce.KindInternal, Err: err}
	}
	return nil
}

func resolve(ctx context.Context, addr string) ([]net.Addr, error) {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return []net.Addr{net.UDPAddrFromAddrPort(ap)}, nil
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var out []net.Addr
	for _, ip := range ips {
		out = append(out, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip.Unmap(), uint16(port))))
	}
	return out, nil
}
