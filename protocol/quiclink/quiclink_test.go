package quiclink

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"sendonce"
	"sendonce/protocol"
)

func TestIdentitySurvivesPEM(t *testing.T) {
	a := identity(t, 1)
	b, err := ParsePEM(append(a.MarshalPEM(), "\n \n"...))
	if err != nil {
		t.Fatal(err)
	}
	if a.ID() != b.ID() || !a.Key().Equal(b.Key()) || !bytes.Equal(a.cert.Certificate[0], b.cert.Certificate[0]) {
		t.Error("another identity")
	}
	if a.ID() == identity(t, 2).ID() {
		t.Error("two keys, one identity")
	}
	if !ed25519.Verify(b.Public(), []byte("m"), ed25519.Sign(a.Key(), []byte("m"))) {
		t.Error("Key and Public do not belong together")
	}
}

// An RSA-free way to a PEM block that is PKCS #8 but not Ed25519: an X25519 key.
const x25519PEM = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VuBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH
-----END PRIVATE KEY-----
`

func TestBrokenIdentities(t *testing.T) {
	good := string(identity(t, 1).MarshalPEM())
	for name, in := range map[string]string{
		"empty":          "",
		"wrong type":     strings.ReplaceAll(good, "PRIVATE", "PUBLIC"),
		"twice":          good + good,
		"not PKCS #8":    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"another scheme": x25519PEM,
	} {
		_, err := ParsePEM([]byte(in))
		if e := wantKind(t, err, sendonce.KindInvalid); e.Hint == "" {
			t.Errorf("%s: no hint", name)
		}
	}
	_, err := NewIdentity(bytes.NewReader(make([]byte, 31)))
	wantKind(t, err, sendonce.KindInternal)
	_, err = NewDialer(Config{})
	wantKind(t, err, sendonce.KindInternal)
	_, err = ListenAddr(Config{}, "127.0.0.1:0")
	wantKind(t, err, sendonce.KindInternal)
}

func TestPeersKnowEachOther(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	client, server := w.pair(true)
	if p := client.Peer(); p.ID != w.server.ID() || !p.Key.Equal(w.server.Public()) || p.Addr != w.l.Addr() {
		t.Errorf("the client sees %v", p)
	}
	if p := server.Peer(); p.ID != w.client.ID() || !p.Key.Equal(w.client.Public()) {
		t.Errorf("the server sees %v", p)
	}
}

func TestAnotherServerKeyIsRefused(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	_, err := w.d.Dial(testContext(t), w.l.Addr(), identity(t, 3).ID(), false)
	e := wantKind(t, err, sendonce.KindUnauthorized)
	if !strings.Contains(e.Hint, "join again") || !strings.Contains(e.Error(), w.server.ID().Short()) || !errors.Is(err, errWrongKey) {
		t.Errorf("%v; hint %q", e, e.Hint)
	}
}

// rawDial speaks TLS as no client of ours does.
func rawDial(t *testing.T, w *world, change func(*tls.Config)) error {
	t.Helper()
	conf := tlsConfig(w.client)
	conf.InsecureSkipVerify = true
	change(conf)
	ctx := testContext(t)
	q, err := quic.DialAddr(ctx, w.l.Addr(), conf, &quic.Config{})
	if err != nil {
		return err
	}
	defer q.CloseWithError(0, "")
	_, err = q.AcceptStream(ctx) // a client learns of a refused certificate only after its own handshake
	return err
}

func TestStrangersAreRefused(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	ecdsa := tlsCertificate(t)
	two := w.client.cert
	two.Certificate = [][]byte{two.Certificate[0], two.Certificate[0]}
	for name, c := range map[string]struct {
		change func(*tls.Config)
		kind   sendonce.ErrKind
	}{
		"no certificate":    {func(c *tls.Config) { c.Certificates = nil }, sendonce.KindUnauthorized},
		"an ECDSA key":      {func(c *tls.Config) { c.Certificates = []tls.Certificate{ecdsa} }, sendonce.KindUnauthorized},
		"a chain":           {func(c *tls.Config) { c.Certificates = []tls.Certificate{two} }, sendonce.KindUnauthorized},
		"another protocol":  {func(c *tls.Config) { c.NextProtos = []string{"sendonce/9"} }, sendonce.KindUnsupported},
		"no curve we speak": {func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} }, sendonce.KindUnauthorized},
	} {
		err := rawDial(t, w, c.change)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if got := sendonce.KindOf(wrap("dial", "", err)); got != c.kind {
			t.Errorf("%s: %v is %v", name, err, got)
		}
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	_, err := w.l.Accept(ctx)
	wantKind(t, err, sendonce.KindInterrupted)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNobodyThere(t *testing.T) {
	w := newWorld(t, Config{}, Config{Resolve: func(ctx context.Context, addr string) ([]net.Addr, error) {
		if addr == "nowhere:1" {
			return nil, nil
		}
		return resolve(ctx, addr)
	}})
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // takes packets, answers none
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	for _, addr := range []string{silent.LocalAddr().String(), "nowhere:1", "no port", "127.0.0.1:nosuchservice"} {
		_, err := w.d.Dial(ctx, addr, w.server.ID(), false)
		if e := wantKind(t, err, sendonce.KindUnavailable); e.Hint == "" || e.Path != addr {
			t.Errorf("%v; hint %q", e, e.Hint)
		}
	}
	_, err = ListenAddr(Config{Identity: w.server}, w.l.Addr())
	if e := wantKind(t, err, sendonce.KindUnavailable); e.Hint == "" {
		t.Error("no hint for a port in use")
	}
	d, err := NewDialer(Config{Identity: w.client, ListenPacket: func() (net.PacketConn, error) { return nil, os.ErrPermission }})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Dial(ctx, w.l.Addr(), w.server.ID(), false)
	wantKind(t, err, sendonce.KindUnavailable)
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// A name with a dead and a live address connects through the live one.
func TestSecondAddressIsTried(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var live net.Addr
	w := newWorld(t, Config{}, Config{Resolve: func(context.Context, string) ([]net.Addr, error) {
		return []net.Addr{silent.LocalAddr(), live}, nil
	}})
	live = w.l.socket.LocalAddr()
	w.pair(false)
}

func TestAllKindsOfStreams(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	a, b := w.pair(true)
	ctx := testContext(t)
	for _, dir := range []struct{ from, to protocol.Conn }{{a, b}, {b, a}} {
		s := must[protocol.Stream](t)(dir.from.Open(ctx))
		io.WriteString(s, "question")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		r := must[protocol.Stream](t)(dir.to.Accept(ctx))
		if got := readAll(t, r); string(got) != "question" {
			t.Errorf("%q", got)
		}
		io.WriteString(r, "answer")
		r.Close()
		if got := readAll(t, s); string(got) != "answer" {
			t.Errorf("%q", got)
		}
		one := must[protocol.SendStream](t)(dir.from.OpenSend(ctx))
		io.WriteString(one, "one way")
		one.Close()
		if got := readAll(t, must[protocol.RecvStream](t)(dir.to.AcceptRecv(ctx))); string(got) != "one way" {
			t.Errorf("%q", got)
		}
	}
}

func TestCancelAndStop(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	a, b := w.pair(true)
	ctx := testContext(t)
	s := must[protocol.Stream](t)(a.Open(ctx))
	io.WriteString(s, "x")
	r := must[protocol.Stream](t)(b.Accept(ctx))
	s.Cancel(sendonce.KindDamaged)
	if _, err := io.ReadAll(r); sendonce.KindOf(err) != sendonce.KindDamaged {
		t.Errorf("read of a cancelled stream: %v", err)
	}
	_, err := s.Write([]byte("x"))
	wantKind(t, err, sendonce.KindDamaged)
	s.StopRecv(sendonce.KindFull)
	_, err = s.Read(make([]byte, 1))
	wantKind(t, err, sendonce.KindFull)
	for err = nil; err == nil; {
		_, err = r.Write(make([]byte, 1000))
	}
	wantKind(t, err, sendonce.KindFull)
	if e := s.SetReadDeadline(time.Now()); e != nil {
		t.Error(e)
	}
	u := must[protocol.Stream](t)(a.Open(ctx))
	for _, set := range []func(time.Time) error{u.SetReadDeadline, u.SetWriteDeadline} {
		if err := set(time.Now().Add(-time.Second)); err != nil {
			t.Error(err)
		}
	}
	_, err = u.Read(make([]byte, 1))
	if wantKind(t, err, sendonce.KindUnavailable); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	_, err = u.Write(make([]byte, 32<<20))
	if wantKind(t, err, sendonce.KindUnavailable); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	u.Cancel(sendonce.KindBusy)
	wantKind(t, u.Close(), sendonce.KindUnavailable)
}

func TestCloseTellsThePeer(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	ctx := testContext(t)
	for _, closer := range []int{0, 1} {
		a, b := w.pair(false)
		if closer == 1 {
			a, b = b, a
		}
		s := must[protocol.Stream](t)(b.Open(ctx))
		io.WriteString(s, "x")
		r := must[protocol.Stream](t)(a.Accept(ctx))
		readSome(t, r)
		if err := a.Close(sendonce.KindUnauthorized, "this device was revoked"+strings.Repeat(".", 2000)); err != nil {
			t.Error(err)
		}
		<-b.(protocol.Watched).Done()
		<-a.(protocol.Watched).Done()
		_, e1 := s.Read(make([]byte, 1))
		_, e2 := s.Write([]byte("x"))
		_, e3 := b.Open(ctx)
		_, e4 := b.OpenSend(ctx)
		_, e5 := b.Accept(ctx)
		_, e6 := b.AcceptRecv(ctx)
		_, e7 := r.Read(make([]byte, 1))
		for i, err := range []error{e1, e2, e3, e4, e5, e6, e7} {
			if e := wantKind(t, err, sendonce.KindUnauthorized); !strings.Contains(e.Detail, "this device was revoked") {
				t.Errorf("%d: %v", i, e)
			}
		}
		if err := a.Close(0, ""); err != nil { // again: nothing happens
			t.Error(err)
		}
	}
}

func readSome(t testing.TB, r io.Reader) {
	t.Helper()
	if _, err := r.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
}

// Last words followed by Close at once are heard by a peer that listens.
func TestLastWordsAreHeard(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	ctx := testContext(t)
	for range 10 {
		client, server := w.pair(false)
		go func() {
			s, err := server.Accept(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(s, "no")
			server.Close(sendonce.KindRefused, "no")
		}()
		s := must[protocol.Stream](t)(client.Open(ctx))
		io.WriteString(s, "may I?")
		b := make([]byte, 2)
		if _, err := io.ReadFull(s, b); err != nil {
			t.Fatal(err)
		}
	}
}

func TestClosingEndsEverything(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	a, b := w.pair(false)
	if err := w.l.Close(); err != nil {
		t.Fatal(err)
	}
	<-b.(protocol.Watched).Done()
	ctx := testContext(t)
	_, err := a.Accept(ctx)
	wantKind(t, err, sendonce.KindUnavailable)
	_, err = w.l.Accept(ctx)
	wantKind(t, err, sendonce.KindUnavailable)
	if err := w.d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = w.d.Dial(ctx, w.l.Addr(), w.server.ID(), false)
	wantKind(t, err, sendonce.KindUnavailable)
	if w.l.Close() != nil || w.d.Close() != nil {
		t.Error("closing again fails")
	}
}

func TestBigTransfers(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	a, b := w.pair(true)
	ctx := testContext(t)
	const streams, each = 4, 16 << 20
	var wg sync.WaitGroup
	sums := make(chan [32]byte, 2*streams)
	for i := range streams {
		wg.Go(func() {
			s, err := a.OpenSend(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			h := sha256.New()
			if _, err := io.CopyN(io.MultiWriter(s, h), rand.NewChaCha8([32]byte{byte(i)}), each); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			sums <- [32]byte(h.Sum(nil))
		})
		wg.Go(func() {
			r, err := b.AcceptRecv(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			h := sha256.New()
			if n, err := io.Copy(h, r); err != nil || n != each {
				t.Errorf("%d bytes, %v", n, err)
			}
			sums <- [32]byte(h.Sum(nil))
		})
	}
	wg.Wait()
	close(sums)
	seen := map[[32]byte]int{}
	for s := range sums {
		seen[s]++
	}
	for _, n := range seen {
		if n != 2 || len(seen) != streams {
			t.Fatal("what arrived is not what was sent")
		}
	}
	if s := a.(protocol.Watched).Stats(); s.BytesSent < streams*each || s.PacketsSent == 0 || s.RTT == 0 {
		t.Errorf("%+v", s)
	}
}

func TestStreamsWaitForTheLimit(t *testing.T) {
	w := newWorld(t, Config{}, Config{})
	a, b := w.pair(true)
	ctx := testContext(t)
	var open []protocol.SendStream
	for range maxUniStreams {
		s := must[protocol.SendStream](t)(a.OpenSend(ctx))
		io.WriteString(s, "x")
		open = append(open, s)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err := a.OpenSend(short)
	wantKind(t, err, sendonce.KindUnavailable)
	open[0].Close()
	readAll(t, must[protocol.RecvStream](t)(b.AcceptRecv(ctx)))
	must[protocol.SendStream](t)(a.OpenSend(ctx))
}

// A peer that does not read holds its sender, and only with what windows allow.
func TestBackpressureAndBudget(t *testing.T) {
	w := newWorld(t, Config{WindowBudget: -1}, Config{})
	a, b := w.pair(true)
	ctx := testContext(t)
	s := must[protocol.SendStream](t)(a.OpenSend(ctx))
	io.WriteString(s, "x")
	r := must[protocol.RecvStream](t)(b.AcceptRecv(ctx))
	if err := s.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := s.Write(make([]byte, 32<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n > 2*listenStreamWindow {
		t.Errorf("%d bytes written to a peer that does not read: %v", n, err)
	}
	s.Cancel(sendonce.KindInterrupted)
	r.StopRecv(sendonce.KindInterrupted)

	// Without a budget windows stay as they were, and everything still arrives.
	s = must[protocol.SendStream](t)(a.OpenSend(ctx))
	go func() {
		s.Write(make([]byte, 8<<20))
		s.Close()
	}()
	if n := len(readAll(t, must[protocol.RecvStream](t)(b.AcceptRecv(ctx)))); n != 8<<20 {
		t.Errorf("%d bytes", n)
	}
	w.l.budget.mu.Lock()
	defer w.l.budget.mu.Unlock()
	if len(w.l.budget.granted) != 0 {
		t.Error("windows grew without a budget")
	}
}

func TestWindowBudget(t *testing.T) {
	one, two := new(quic.Conn), new(quic.Conn)
	b := &windowBudget{left: 10, granted: map[*quic.Conn]int64{}}
	if !b.allow(one, 6) || b.allow(two, 5) || !b.allow(two, 4) || b.allow(one, 1) {
		t.Error("not 10 bytes in all")
	}
	b.release(one)
	b.release(one)
	if b.allow(two, 7) || !b.allow(two, 6) {
		t.Error("not what was released")
	}
	b.release(two)
	if b.left != 10 || len(b.granted) != 0 {
		t.Errorf("%d left", b.left)
	}
}

func TestHandshakeLimit(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	h := &handshakeLimit{rate: 2, now: func() time.Time { return now }}
	got := []bool{h.exceeded(nil), h.exceeded(nil), h.exceeded(nil)}
	now = now.Add(500 * time.Millisecond)
	got = append(got, h.exceeded(nil), h.exceeded(nil))
	now = now.Add(time.Hour)
	got = append(got, h.exceeded(nil), h.exceeded(nil), h.exceeded(nil))
	for i, want := range []bool{false, false, true, false, true, false, false, true} {
		if got[i] != want {
			t.Errorf("attempt %d: %v", i, got[i])
		}
	}
	w := newWorld(t, Config{HandshakeRate: -1}, Config{}) // every peer must prove its address
	w.pair(false)
}
