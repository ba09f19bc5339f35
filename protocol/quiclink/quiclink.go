package quiclink

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"time"

	"github.com/quic-go/quic-go"

	"sendonce"
	"sendonce/protocol"
)

const (
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 60 * time.Second
	keepAlive        = 15 * time.Second // the dialer's: one side is enough

	maxStreams    = 32 // bidirectional streams that a peer may have open
	maxUniStreams = 16 // one-way streams

	// A dialer trusts its one server with memory for fast long paths. A listener
	// starts lower, because the first window of every peer counts whether or not
	// it is used, and lets windows grow while its budget lasts.
	dialStreamWindow    = 4 << 20
	dialConnWindow      = 8 << 20
	listenStreamWindow  = 1 << 20
	listenConnWindow    = 2 << 20
	maxStreamWindow     = 16 << 20
	maxConnWindow       = 64 << 20
	defaultWindowBudget = 1 << 30

	// quietPacketSize is the first packet size of connections that carry little:
	// RFC 9000 pads the first packets to 1,200 bytes at least, and 1,280 is quic-go's default.
	quietPacketSize = 1200
)

// Config says how to reach peers. It is not changed after it is handed over.
type Config struct {
	// Identity is this side's key. Required.
	Identity *Identity
	// ListenPacket opens the socket that a Dialer sends from, once, at the first
	// Dial; the Dialer closes it. nil: a UDP socket on a free port of any address.
	ListenPacket func() (net.PacketConn, error)
	// Resolve gives the addresses of a "host:port", best first, at least one.
	// nil: the system's resolver.
	Resolve func(ctx context.Context, addr string) ([]net.Addr, error)
	// SmallHandshake makes a Dialer agree on keys with X25519 alone instead of
	// X25519 with ML-KEM-768: 1.8 kB less for each connection, but what is
	// recorded today could be read by a quantum computer one day.
	SmallHandshake bool
	// WindowBudget bounds, for a Listener, by how many bytes all its connections'
	// receive windows together may grow above their first 2 MiB. 0: 1 GiB.
	WindowBudget int64
	// HandshakeRate is how many connection attempts a second a Listener answers
	// without asking the sender to prove its address first (RFC 9000, 8.1.2), in
	// bursts of as many. 0: 100; negative: always asks.
	HandshakeRate int
	// Now is the clock of HandshakeRate; nil: time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Identity == nil {
		return c, &sendonce.Error{Op: "configure QUIC", Kind: sendonce.KindInternal, Detail: "no identity"}
	}
	if c.ListenPacket == nil {
		c.ListenPacket = func() (net.PacketConn, error) { return net.ListenUDP("udp", nil) }
	}
	if c.Resolve == nil {
		c.Resolve = resolve
	}
	if c.WindowBudget == 0 {
		c.WindowBudget = defaultWindowBudget
	}
	if c.HandshakeRate == 0 {
		c.HandshakeRate = 100
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

// tlsConfig is what both sides share. A dialer offers one key exchange, so that
// its first flight holds one key share; a listener takes either.
func tlsConfig(id *Identity) *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{id.cert},
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocol.ALPN},
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768, tls.X25519},
		SessionTicketsDisabled: true,
	}
}

// peerOf returns the identity that the handshake proved.
func peerOf(s *tls.ConnectionState) (id sendonce.DeviceID, key ed25519.PublicKey, err error) {
	if len(s.PeerCertificates) != 1 {
		return id, nil, &sendonce.Error{Op: "check peer", Kind: sendonce.KindUnauthorized, Detail: "not exactly one certificate"}
	}
	cert := s.PeerCertificates[0]
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return id, nil, &sendonce.Error{Op: "check peer", Kind: sendonce.KindUnauthorized, Detail: "its key is not an Ed25519 key"}
	}
	return sendonce.DeviceIDOf(cert.RawSubjectPublicKeyInfo), key, nil
}

// dialConfig is for connections that this side makes.
func dialConfig(bulk bool) *quic.Config {
	c := &quic.Config{
		HandshakeIdleTimeout:           handshakeTimeout,
		MaxIdleTimeout:                 idleTimeout,
		KeepAlivePeriod:                keepAlive,
		InitialStreamReceiveWindow:     dialStreamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: dialConnWindow,
		MaxConnectionReceiveWindow:     maxConnWindow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          maxUniStreams,
	}
	if !bulk {
		c.DisablePathMTUDiscovery = true // a probe is a full packet of padding
		c.InitialPacketSize = quietPacketSize
	}
	return c
}

// listenConfig is for connections that peers make.
func listenConfig(b *windowBudget) *quic.Config {
	return &quic.Config{
		// quic-go cannot tell here whether the connection will be a busy one, and
		// the probes of an idle pass would cost more than all the rest of it.
		// Downloads then travel in packets of the initial size, 1,280 bytes: 0.3 %
		// more bytes than with discovery.
		DisablePathMTUDiscovery:        true,
		HandshakeIdleTimeout:           handshakeTimeout,
		MaxIdleTimeout:                 idleTimeout,
		InitialStreamReceiveWindow:     listenStreamWindow,
		MaxStreamReceiveWindow:         maxStreamWindow,
		InitialConnectionReceiveWindow: listenConnWindow,
		MaxConnectionReceiveWindow:     maxConnWindow,
		AllowConnectionWindowIncrease:  b.allow,
		MaxIncomingStreams:             maxStreams,
		MaxIncomingUniStreams:          maxUniStreams,
	}
}

// resetKey derives the key of stateless resets (RFC 9000, 10.3) from the
// identity, so that a restarted server, or its sibling with the same identity,
// tells peers at once that their connections are gone.
func resetKey(id *Identity) *quic.StatelessResetKey {
	h := hmac.New(sha256.New, id.key.Seed())
	h.Write([]byte("sendonce stateless reset 1"))
	k := quic.StatelessResetKey(h.Sum(nil))
	return &k
}
