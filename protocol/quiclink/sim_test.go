package quiclink

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quic-go/quic-go/testutils/simnet"

	"sendonce"
	"sendonce/protocol"
)

// lossyRouter drops packets as its seed says.
type lossyRouter struct {
	simnet.PerfectRouter
	drop func() bool
}

func (r *lossyRouter) SendPacket(p simnet.Packet) error {
	if r.drop() {
		return nil
	}
	return r.PerfectRouter.SendPacket(p)
}

// simWorld runs f in a bubble with a listener and a dialer on a simulated network.
func simWorld(t *testing.T, latency time.Duration, drop func() bool, f func(t *testing.T, w *world, net *simnet.Simnet)) {
	synctest.Test(t, func(t *testing.T) {
		router := &lossyRouter{drop: drop}
		n := &simnet.Simnet{Router: router}
		settings := simnet.NodeBiDiLinkSettings{Latency: latency}
		clientAddr := &net.UDPAddr{IP: net.IP{10, 0, 0, 1}, Port: 1}
		serverAddr := &net.UDPAddr{IP: net.IP{10, 0, 0, 2}, Port: 7411}
		cs, ss := n.NewEndpoint(clientAddr, settings), n.NewEndpoint(serverAddr, settings)
		if err := n.Start(); err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, server: identity(t, 1), client: identity(t, 2)}
		var err error
		if w.l, err = Listen(Config{Identity: w.server}, ss); err != nil {
			t.Fatal(err)
		}
		if w.d, err = NewDialer(Config{Identity: w.client, ListenPacket: func() (net.PacketConn, error) { return cs, nil }}); err != nil {
			t.Fatal(err)
		}
		f(t, w, n)
		if err := w.d.Close(); err != nil {
			t.Error(err)
		}
		if err := w.l.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // closed connections linger inside quic-go
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTransferOverALossyPath(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	var mu sync.Mutex // guards random and dropped
	dropped := 0
	drop := func() bool {
		mu.Lock()
		defer mu.Unlock()
		d := random.IntN(100) < 2
		if d {
			dropped++
		}
		return d
	}
	simWorld(t, 25*time.Millisecond, drop, func(t *testing.T, w *world, _ *simnet.Simnet) {
		client, server := w.pair(true)
		ctx := testContext(t)
		want := make([]byte, 2<<20)
		rand.NewChaCha8([32]byte{1}).Read(want)
		go func() {
			s, err := client.OpenSend(ctx)
			if err == nil {
				_, err = s.Write(want)
			}
			if err == nil {
				err = s.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}()
		got := readAll(t, must[protocol.RecvStream](t)(server.AcceptRecv(ctx)))
		if !bytes.Equal(got, want) {
			t.Error("other bytes arrived")
		}
		mu.Lock()
		defer mu.Unlock()
		if dropped == 0 {
			t.Error("nothing was lost on the way")
		}
	})
}

// A path that dies is noticed by both ends, and a dial over it fails in time.
func TestDeadPath(t *testing.T) {
	var dead atomic.Bool
	simWorld(t, 10*time.Millisecond, dead.Load, func(t *testing.T, w *world, _ *simnet.Simnet) {
		client, server := w.pair(false)
		ctx := t.Context()
		s := must[protocol.Stream](t)(client.Open(ctx))
		io.WriteString(s, "x")
		must[protocol.Stream](t)(server.Accept(ctx))
		time.Sleep(time.Hour) // the keep-alives hold an idle connection
		if _, err := s.Write([]byte("still there")); err != nil {
			t.Fatal(err)
		}
		dead.Store(true)
		start := time.Now()
		_, err := s.Read(make([]byte, 1))
		wantKind(t, err, sendonce.KindUnavailable)
		<-server.(protocol.Watched).Done()
		if d := time.Since(start); d > 2*idleTimeout {
			t.Errorf("noticed after %v", d)
		}
		start = time.Now()
		_, err = w.d.Dial(ctx, w.l.Addr(), w.server.ID(), false)
		e := wantKind(t, err, sendonce.KindUnavailable)
		if d := time.Since(start); d > handshakeTimeout+time.Second || e.Hint == "" || errors.Is(err, io.EOF) {
			t.Errorf("after %v: %v", d, err)
		}
		dead.Store(false)
	})
}

// On a path with distance an idle session costs the same few packets.
func TestIdleSessionOverDistance(t *testing.T) {
	simWorld(t, 20*time.Millisecond, func() bool { return false }, func(t *testing.T, w *world, _ *simnet.Simnet) {
		client, server := w.pair(false)
		hello(t, client, server)
		start := time.Now()
		if err := client.Close(sendonce.KindUnavailable, ""); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("Close took %v after an answer was read", d)
		}
		<-server.(protocol.Watched).Done()
		s := client.(protocol.Watched).Stats()
		t.Logf("sent %d, received %d", s.BytesSent, s.BytesReceived)
		if s.BytesSent+s.BytesReceived > 6000 { // no timer depends on the machine here
			t.Errorf("%+v", s)
		}
	})
}
