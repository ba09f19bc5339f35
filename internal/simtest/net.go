package simtest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"
)

// Link says how a host is connected. The zero value is a perfect link.
type Link struct {
	Latency   time.Duration // one way, of packets that arrive at the host
	Jitter    time.Duration // at most this much more, so packets overtake each other
	Bandwidth int64         // bytes per second, each way; 0 is unlimited
	Queue     time.Duration // of packets waiting to be sent before more are dropped; 0 is 100 ms
	Loss      float64       // share of arriving packets that are lost, 0 to 1
}

const defaultQueue = 100 * time.Millisecond

// Net connects hosts inside a testing/synctest bubble. All its methods may be
// called at any time, from any goroutine of the bubble.
type Net struct {
	mu      sync.Mutex // guards the fields below, and the fields of hosts
	rng     *rand.Rand
	hosts   []*Host
	sockets map[netip.AddrPort]*socket
	cut     map[[2]*Host]bool
	stats   Stats
}

// Stats counts packets.
type Stats struct {
	Delivered int // handed to the receiver's link
	Lost      int // by Link.Loss
	Overrun   int // because the sender's queue was full
	Cut       int // at a partition, or because a host was down
	Unknown   int // nobody listens there
}

// NewNet returns a network without hosts. rng decides losses and jitter; the
// network owns it from now on.
func NewNet(rng *rand.Rand) *Net {
	return &Net{rng: rng, sockets: map[netip.AddrPort]*socket{}, cut: map[[2]*Host]bool{}}
}

// Host is a machine on a Net.
type Host struct {
	Name string

	net      *Net
	ip       netip.Addr
	link     Link
	down     bool
	nextPort uint16
	up       lane // packets that it sends
	in       lane // packets that it receives
}

// lane is one direction of a link with a limited rate: when it will be idle.
type lane struct{ free time.Time }

// take reserves the lane for n bytes from at on, and returns when they are
// through.
func (l *lane) take(at time.Time, n int, rate int64) time.Time {
	if rate <= 0 {
		return at
	}
	if l.free.Before(at) {
		l.free = at
	}
	l.free = l.free.Add(time.Duration(n) * time.Second / time.Duration(rate))
	return l.free
}

// Host adds a machine. Hosts get the addresses 10.0.0.1, 10.0.0.2 and so on, at
// most 254 of them.
func (n *Net) Host(name string, link Link) *Host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &Host{Name: name, net: n, link: link, nextPort: 49152, ip: netip.AddrFrom4([4]byte{10, 0, 0, byte(len(n.hosts) + 1)})}
	n.hosts = append(n.hosts, h)
	return h
}

// Addr returns the address of a port of the host.
func (h *Host) Addr(port uint16) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.ip, port))
}

// SetLink changes how the host is connected from now on.
func (h *Host) SetLink(l Link) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.link = l
}

// SetDown unplugs the host, or plugs it in again. Packets under way to it still
// arrive, as with a partition.
func (h *Host) SetDown(down bool) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.down = down
}

// Cut drops from now on what the two hosts send each other, silently, as a
// broken cable does. Packets under way still arrive.
func (n *Net) Cut(a, b *Host) { n.setCut(a, b, true) }

// Heal ends a Cut.
func (n *Net) Heal(a, b *Host) { n.setCut(a, b, false) }

func (n *Net) setCut(a, b *Host, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]*Host{a, b}], n.cut[[2]*Host{b, a}] = cut, cut
}

// Stats returns the counts so far.
func (n *Net) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stats
}

// Listen opens a port of the host; 0 takes a free one. The caller, or the end of
// the Net, closes it; a port that was closed can be opened again. The packets are
// at most 1,400 bytes; longer ones are dropped.
func (h *Host) Listen(port uint16) (net.PacketConn, error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == 0 {
		for n.sockets[netip.AddrPortFrom(h.ip, h.nextPort)] != nil {
			h.nextPort++
		}
		port = h.nextPort
		h.nextPort++
	}
	at := netip.AddrPortFrom(h.ip, port)
	if n.sockets[at] != nil {
		return nil, fmt.Errorf("simtest: listen %v: the port is in use", at)
	}
	s := &socket{host: h, at: at}
	s.wire = &simnet.SimulatedLink{UploadPacket: router{n}, LatencyFunc: s.delay}
	s.SimConn = simnet.NewBlockingSimConn(net.UDPAddrFromAddrPort(at), s.wire)
	s.wire.Start()
	n.sockets[at] = s
	return s, nil
}

// Close closes every port and returns when the network's goroutines have ended.
// Close the transports that use it first: they complain otherwise.
func (n *Net) Close() error {
	n.mu.Lock()
	var open []*socket
	for _, s := range n.sockets {
		open = append(open, s)
	}
	n.mu.Unlock()
	for _, s := range open {
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// socket is an open port: simnet's connection and the two queues between it and
// the router.
type socket struct {
	*simnet.SimConn
	host *Host
	at   netip.AddrPort
	wire *simnet.SimulatedLink
	once sync.Once
	err  error
}

// Close implements net.PacketConn.
func (s *socket) Close() error {
	s.once.Do(func() {
		n := s.host.net
		n.mu.Lock()
		delete(n.sockets, s.at)
		n.mu.Unlock()
		// The connection first: the queue may be waiting for it to be read.
		if s.err = s.SimConn.Close(); s.err == nil {
			s.err = s.wire.Close()
		}
	})
	return s.err
}

// delay says how long an arriving packet is under way from now on.
func (s *socket) delay(p simnet.Packet) time.Duration {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	sent := now
	if from := n.hostOf(p.From); from != nil {
		sent = from.up.take(now, len(p.Data), from.link.Bandwidth)
	}
	arrived := sent.Add(s.host.link.Latency)
	if j := s.host.link.Jitter; j > 0 {
		arrived = arrived.Add(time.Duration(n.rng.Int64N(int64(j))))
	}
	return s.host.in.take(arrived, len(p.Data), s.host.link.Bandwidth).Sub(now)
}

// hostOf returns the host of an address, or nil. n.mu is held.
func (n *Net) hostOf(a net.Addr) *Host {
	u, ok := a.(*net.UDPAddr)
	if !ok {
		return nil
	}
	ip := u.AddrPort().Addr().Unmap()
	for _, h := range n.hosts {
		if h.ip == ip {
			return h
		}
	}
	return nil
}

// router carries packets between sockets. It implements simnet.Router.
type router struct{ n *Net }

// AddNode implements simnet.Router; sockets add themselves.
func (router) AddNode(net.Addr, simnet.PacketReceiver) {}

// SendPacket implements simnet.Router. A packet that goes nowhere is no error
// of the sender, as with UDP.
func (r router) SendPacket(p simnet.Packet) error {
	if s := r.n.route(p); s != nil {
		s.wire.RecvPacket(p)
	}
	return nil
}

// route returns the socket that a packet reaches, or nil.
func (n *Net) route(p simnet.Packet) *socket {
	n.mu.Lock()
	defer n.mu.Unlock()
	var to *socket
	if u, ok := p.To.(*net.UDPAddr); ok {
		a := u.AddrPort()
		to = n.sockets[netip.AddrPortFrom(a.Addr().Unmap(), a.Port())]
	}
	from := n.hostOf(p.From)
	switch {
	case to == nil || from == nil:
		n.stats.Unknown++
	case from.down || to.host.down || n.cut[[2]*Host{from, to.host}]:
		n.stats.Cut++
	case time.Until(from.up.free) > from.queue():
		n.stats.Overrun++
	case to.host.link.Loss > 0 && n.rng.Float64() < to.host.link.Loss:
		n.stats.Lost++
	default:
		n.stats.Delivered++
		return to
	}
	return nil
}

func (h *Host) queue() time.Duration {
	if h.link.Queue > 0 {
		return h.link.Queue
	}
	return defaultQueue
}
