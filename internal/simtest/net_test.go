package simtest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"sendonce/internal/simtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}

var seedFlag = flag.Uint64("sim.seed", 0, "seed of the simulation; 0 takes the time")

// newRand returns the test's random numbers and logs the seed.
func newRand(t *testing.T) *mrand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = mrand.Uint64()
	}
	t.Logf("seed: -sim.seed=%d", seed)
	return mrand.New(mrand.NewPCG(seed, 1))
}

func listen(t *testing.T, h *simtest.Host, port uint16) net.PacketConn {
	t.Helper()
	c, err := h.Listen(port)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func send(t *testing.T, c net.PacketConn, to net.Addr, b []byte) {
	t.Helper()
	if _, err := c.WriteTo(b, to); err != nil {
		t.Fatal(err)
	}
}

// receive reads packets for as long as d and returns them with their delays.
func receive(t *testing.T, c net.PacketConn, d time.Duration) (packets []string, after []time.Duration) {
	t.Helper()
	start := time.Now()
	if err := c.SetReadDeadline(start.Add(d)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return packets, after
		}
		packets, after = append(packets, string(buf[:n])), append(after, time.Since(start))
	}
}

func TestLatencyAndPorts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simtest.NewNet(newRand(t))
		defer n.Close()
		a, b := n.Host("a", simtest.Link{Latency: 30 * time.Millisecond}), n.Host("b", simtest.Link{Latency: 70 * time.Millisecond})
		ca, cb := listen(t, a, 0), listen(t, b, 443)
		if other := listen(t, a, 0); other.LocalAddr().String() == ca.LocalAddr().String() {
			t.Fatalf("two sockets at %v", other.LocalAddr())
		}
		if _, err := b.Listen(443); err == nil {
			t.Fatal("a port was opened twice")
		}
		send(t, ca, b.Addr(443), []byte("ping"))
		send(t, ca, b.Addr(444), []byte("to nobody"))
		got, after := receive(t, cb, time.Second)
		if len(got) != 1 || got[0] != "ping" || after[0] != 70*time.Millisecond {
			t.Fatalf("got %q after %v", got, after)
		}
		send(t, cb, ca.LocalAddr(), []byte("pong"))
		got, after = receive(t, ca, time.Second)
		if len(got) != 1 || got[0] != "pong" || after[0] != 30*time.Millisecond {
			t.Fatalf("got %q after %v", got, after)
		}
		if s := n.Stats(); s.Delivered != 2 || s.Unknown != 1 {
			t.Fatalf("%+v", s)
		}
		if err := cb.Close(); err != nil {
			t.Fatal(err)
		}
		cb = listen(t, b, 443) // the next process on the same machine
		send(t, ca, b.Addr(443), []byte("again"))
		if got, _ := receive(t, cb, time.Second); len(got) != 1 {
			t.Fatalf("got %q", got)
		}
	})
}

func TestCutAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simtest.NewNet(newRand(t))
		defer n.Close()
		a, b, c := n.Host("a", simtest.Link{}), n.Host("b", simtest.Link{}), n.Host("c", simtest.Link{})
		ca, cb, cc := listen(t, a, 1), listen(t, b, 1), listen(t, c, 1)
		reach := func(from net.PacketConn, to net.PacketConn) bool {
			send(t, from, to.LocalAddr(), []byte("x"))
			got, _ := receive(t, to, time.Second)
			return len(got) == 1
		}
		check := func(when string, ab, ac, bc bool) {
			t.Helper()
			for _, p := range []struct {
				x, y net.PacketConn
				want bool
			}{{ca, cb, ab}, {cb, ca, ab}, {ca, cc, ac}, {cc, ca, ac}, {cb, cc, bc}, {cc, cb, bc}} {
				if reach(p.x, p.y) != p.want {
					t.Errorf("%s: %v reaches %v: %t", when, p.x.LocalAddr(), p.y.LocalAddr(), !p.want)
				}
			}
		}
		check("at first", true, true, true)
		n.Cut(a, b)
		check("cut", false, true, true)
		n.Heal(b, a)
		check("healed", true, true, true)
		c.SetDown(true)
		check("c down", true, false, false)
		c.SetDown(false)
		check("c up", true, true, true)
	})
}

func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simtest.NewNet(newRand(t))
		defer n.Close()
		a, b := n.Host("a", simtest.Link{}), n.Host("b", simtest.Link{Loss: 0.25})
		ca, cb := listen(t, a, 1), listen(t, b, 1)
		const packets = 4000
		go func() {
			for range packets {
				send(t, ca, cb.LocalAddr(), []byte("x"))
			}
		}()
		got, _ := receive(t, cb, time.Second)
		if lost := packets - len(got); lost < packets/5 || lost > packets*3/10 || n.Stats().Lost != lost {
			t.Fatalf("%d of %d packets lost, counted %+v", lost, packets, n.Stats())
		}
		b.SetLink(simtest.Link{})
		before := n.Stats().Lost
		send(t, ca, cb.LocalAddr(), []byte("x"))
		if got, _ := receive(t, cb, time.Second); len(got) != 1 || n.Stats().Lost != before {
			t.Fatal("a packet was lost on a perfect link")
		}
	})
}

// The same order of packets and the same seed lose the same packets.
func TestLossFollowsSeed(t *testing.T) {
	run := func(seed uint64) (got []string) {
		synctest.Test(t, func(t *testing.T) {
			n := simtest.NewNet(mrand.New(mrand.NewPCG(seed, 1)))
			defer n.Close()
			a, b := n.Host("a", simtest.Link{}), n.Host("b", simtest.Link{Loss: 0.5})
			ca, cb := listen(t, a, 1), listen(t, b, 1)
			go func() {
				for i := range 200 {
					send(t, ca, cb.LocalAddr(), []byte{byte(i)})
				}
			}()
			got, _ = receive(t, cb, time.Second)
		})
		return got
	}
	one, again, other := run(1), run(1), run(2)
	if join(one) != join(again) {
		t.Error("the same seed lost other packets")
	}
	if join(one) == join(other) {
		t.Error("another seed lost the same packets")
	}
}

func join(packets []string) (all string) {
	for _, p := range packets {
		all += p
	}
	return all
}

func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simtest.NewNet(newRand(t))
		defer n.Close()
		slow := simtest.Link{Bandwidth: 100_000, Latency: 10 * time.Millisecond, Queue: time.Second}
		a, b := n.Host("a", slow), n.Host("b", simtest.Link{Latency: 10 * time.Millisecond})
		ca, cb := listen(t, a, 1), listen(t, b, 1)
		transfer := func(from, to net.PacketConn, packets int) []time.Duration {
			go func() {
				for range packets {
					send(t, from, to.LocalAddr(), make([]byte, 1000))
				}
			}()
			_, after := receive(t, to, 3*time.Second)
			return after
		}
		for _, after := range [][]time.Duration{transfer(ca, cb, 50), transfer(cb, ca, 50)} {
			if len(after) != 50 {
				t.Fatalf("%d packets arrived", len(after))
			}
			// 1,000 bytes each at 100,000 bytes a second: 10 ms apart.
			if last, want := after[49], 510*time.Millisecond; last != want {
				t.Errorf("the last packet came after %v, want %v", last, want)
			}
		}
		if got := len(transfer(ca, cb, 300)); got >= 110 || got < 90 {
			t.Errorf("%d packets went through a queue of one second", got)
		}
		if n.Stats().Overrun == 0 {
			t.Error("no packet was dropped at the full queue")
		}
	})
}

func TestJitterReorders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simtest.NewNet(newRand(t))
		defer n.Close()
		a, b := n.Host("a", simtest.Link{}), n.Host("b", simtest.Link{Latency: time.Millisecond, Jitter: 50 * time.Millisecond})
		ca, cb := listen(t, a, 1), listen(t, b, 1)
		var sent []string
		for i := range 30 {
			send(t, ca, cb.LocalAddr(), []byte{byte(i)})
			sent = append(sent, string([]byte{byte(i)}))
		}
		got, after := receive(t, cb, time.Second)
		if len(got) != len(sent) || join(got) == join(sent) {
			t.Fatalf("%d packets in the order %q", len(got), got)
		}
		if after[0] < time.Millisecond || after[29] >= 51*time.Millisecond {
			t.Fatalf("packets came after %v to %v", after[0], after[29])
		}
	})
}

// throwaway returns a TLS configuration with a certificate of its own.
func throwaway(t *testing.T) *tls.Config {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos: []string{"simtest"}, InsecureSkipVerify: true}
}

// TestQUIC sends 1 MiB there and back over a lossy network that is cut for three
// seconds in the middle.
func TestQUIC(t *testing.T) {
	start := time.Now()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		n := simtest.NewNet(newRand(t))
		link := simtest.Link{Latency: 20 * time.Millisecond, Loss: 0.02, Bandwidth: 2 << 20}
		client, server := n.Host("client", link), n.Host("server", link)
		config := throwaway(t)

		st := &quic.Transport{Conn: listen(t, server, 443)}
		l, err := st.Listen(config, nil)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- echo(ctx, l) }()

		ct := &quic.Transport{Conn: listen(t, client, 0)}
		conn, err := ct.Dial(ctx, server.Addr(443), config, nil)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := conn.OpenStreamSync(ctx)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 1<<20)
		rand.Read(data)
		go func() {
			time.Sleep(200 * time.Millisecond)
			n.Cut(client, server)
			time.Sleep(3 * time.Second)
			n.Heal(client, server)
		}()
		wrote := make(chan error, 1)
		go func() {
			_, err := stream.Write(data)
			if err == nil {
				err = stream.Close()
			}
			wrote <- err
		}()
		got, err := io.ReadAll(stream)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back, not the %d sent", len(got), len(data))
		}
		took := time.Since(began)
		s := n.Stats()
		if took < 3200*time.Millisecond || s.Cut == 0 || s.Lost == 0 {
			t.Errorf("done in %v with %+v: the network was too good", took, s)
		}

		// From the inside out: connection, listener, transports (which leave their
		// sockets open), network.
		conn.CloseWithError(0, "")
		if err := <-served; err != nil {
			t.Error(err)
		}
		for _, c := range []io.Closer{l, ct, st, n} {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		t.Logf("%v of simulated time, %+v", took, s)
	})
	t.Logf("%v of real time", time.Since(start))
}

// echo sends one stream of one connection back.
func echo(ctx context.Context, l *quic.Listener) error {
	conn, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(stream, stream); err != nil {
		return err
	}
	if err := stream.Close(); err != nil {
		return err
	}
	<-conn.Context().Done()
	return nil
}
