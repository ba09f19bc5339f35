package prototest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"sendonce"
	"sendonce/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func wantKind(t testing.TB, err error, want sendonce.ErrKind) *sendonce.Error {
	t.Helper()
	e, ok := errors.AsType[*sendonce.Error](err)
	if !ok || sendonce.KindOf(err) != want {
		t.Fatalf("error %v (%v), want kind %v", err, sendonce.KindOf(err), want)
	}
	return e
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// bubble runs f with both ends of a connection in a synctest bubble, where a
// goroutine that never ends fails the test.
func bubble(t *testing.T, n *Network, f func(t *testing.T, client, server *Conn)) {
	synctest.Test(t, func(t *testing.T) {
		l := must[*Listener](t)(n.Listen("server", Key(1)))
		client := must[protocol.Conn](t)(n.Dialer(Key(2)).Dial(t.Context(), "server", ID(Key(1)), true)).(*Conn)
		server := must[protocol.Conn](t)(l.Accept(t.Context())).(*Conn)
		f(t, client, server)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if n.Open() != 0 {
			t.Errorf("%d connections left", n.Open())
		}
	})
}

func TestStreams(t *testing.T) {
	bubble(t, &Network{}, func(t *testing.T, client, server *Conn) {
		ctx := t.Context()
		for _, d := range []struct{ from, to *Conn }{{client, server}, {server, client}} {
			if d.to.Peer().ID != ID(map[*Conn]byteKey{client: 2, server: 1}[d.from].key()) {
				t.Error("another peer")
			}
			s := must[protocol.Stream](t)(d.from.Open(ctx))
			io.WriteString(s, "question")
			s.Close()
			r := must[protocol.Stream](t)(d.to.Accept(ctx))
			if b, err := io.ReadAll(r); string(b) != "question" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			io.WriteString(r, "answer")
			r.Close()
			if b, err := io.ReadAll(s); string(b) != "answer" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			one := must[protocol.SendStream](t)(d.from.OpenSend(ctx))
			one.Close()
			if b, err := io.ReadAll(must[protocol.RecvStream](t)(d.to.AcceptRecv(ctx))); len(b) != 0 || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			_, err := one.Write([]byte("x"))
			wantKind(t, err, sendonce.KindUnavailable)
		}
		if s := client.Stats(); s.BytesSent != 14 || s.BytesReceived != 14 {
			t.Errorf("%+v", s)
		}
	})
}

type byteKey byte

func (k byteKey) key() (key []byte) { return Key(byte(k)) }

// The peer sees streams at the first write, in the order of opening.
func TestStreamsShowAtTheFirstWrite(t *testing.T) {
	bubble(t, &Network{}, func(t *testing.T, client, server *Conn) {
		first := must[protocol.Stream](t)(client.Open(t.Context()))
		second := must[protocol.Stream](t)(client.Open(t.Context()))
		short, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err := server.Accept(short)
		wantKind(t, err, sendonce.KindUnavailable)
		io.WriteString(second, "2")
		a := must[protocol.Stream](t)(server.Accept(t.Context()))
		b := must[protocol.Stream](t)(server.Accept(t.Context()))
		io.WriteString(first, "1")
		buf := make([]byte, 2)
		io.ReadFull(a, buf[:1])
		io.ReadFull(b, buf[1:])
		if string(buf) != "12" {
			t.Errorf("%q", buf)
		}
	})
}

func TestFlowControlAndDeadlines(t *testing.T) {
	bubble(t, &Network{Window: 1000}, func(t *testing.T, client, server *Conn) {
		s := must[protocol.SendStream](t)(client.OpenSend(t.Context()))
		s.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := s.Write(make([]byte, 5000))
		if wantKind(t, err, sendonce.KindUnavailable); n != 1000 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
		r := must[protocol.RecvStream](t)(server.AcceptRecv(t.Context()))
		done := make(chan error)
		s.SetWriteDeadline(time.Time{})
		go func() {
			_, err := s.Write(bytes.Repeat([]byte("x"), 5000))
			done <- err
		}()
		if n, err := io.ReadFull(r, make([]byte, 6000)); n != 6000 || err != nil {
			t.Error(n, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() { // a deadline set while Read waits counts too
			time.Sleep(time.Minute)
			r.SetReadDeadline(time.Now().Add(time.Minute))
		}()
		start := time.Now()
		_, err = r.Read(make([]byte, 1))
		if wantKind(t, err, sendonce.KindUnavailable); time.Since(start) != 2*time.Minute {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
	})
}

func TestCancelAndStop(t *testing.T) {
	bubble(t, &Network{}, func(t *testing.T, client, server *Conn) {
		s := must[protocol.Stream](t)(client.Open(t.Context()))
		io.WriteString(s, "lost")
		r := must[protocol.Stream](t)(server.Accept(t.Context()))
		s.Cancel(sendonce.KindDamaged)
		_, err := r.Read(make([]byte, 9))
		wantKind(t, err, sendonce.KindDamaged)
		_, err = s.Write([]byte("x"))
		wantKind(t, err, sendonce.KindDamaged)
		wantKind(t, s.Close(), sendonce.KindUnavailable)
		s.StopRecv(sendonce.KindFull)
		_, err = r.Write([]byte("x"))
		wantKind(t, err, sendonce.KindFull)
		_, err = s.Read(make([]byte, 9))
		wantKind(t, err, sendonce.KindFull)
		s.StopRecv(sendonce.KindBusy) // again: nothing changes
		_, err = s.Read(make([]byte, 9))
		wantKind(t, err, sendonce.KindFull)
	})
}

func TestStreamLimit(t *testing.T) {
	bubble(t, &Network{}, func(t *testing.T, client, server *Conn) {
		var open []protocol.Stream
		for range maxStreams {
			open = append(open, must[protocol.Stream](t)(client.Open(t.Context())))
		}
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := client.Open(short)
		wantKind(t, err, sendonce.KindUnavailable)
		// A stream is over when both directions are.
		open[0].Cancel(sendonce.KindBusy)
		again, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = client.Open(again)
		wantKind(t, err, sendonce.KindUnavailable)
		open[0].StopRecv(sendonce.KindBusy)
		must[protocol.Stream](t)(client.Open(t.Context()))
		if n := len(client.l.pipes); n != 2*maxStreams {
			t.Errorf("%d pipes", n)
		}
	})
}

func TestClose(t *testing.T) {
	for _, lose := range []bool{false, true} {
		bubble(t, &Network{LoseOnClose: lose}, func(t *testing.T, client, server *Conn) {
			s := must[protocol.Stream](t)(client.Open(t.Context()))
			io.WriteString(s, "x")
			r := must[protocol.Stream](t)(server.Accept(t.Context()))
			io.WriteString(r, "last words")
			waiting := make(chan error)
			go func() {
				_, err := client.AcceptRecv(context.Background())
				waiting <- err
			}()
			synctest.Wait()
			server.Close(sendonce.KindUnauthorized, "revoked")
			server.Close(sendonce.KindBusy, "too late")
			b, err := io.ReadAll(s)
			if want := map[bool]string{false: "last words", true: ""}[lose]; string(b) != want {
				t.Errorf("lose %v: %q", lose, b)
			}
			_, e2 := s.Write([]byte("x"))
			_, e3 := client.Open(t.Context())
			_, e4 := client.OpenSend(t.Context())
			_, e5 := client.Accept(t.Context())
			_, e6 := r.Write([]byte("x"))
			_, e7 := r.Read(make([]byte, 1))
			for _, err := range []error{err, e2, e3, e4, e5, e6, e7, <-waiting} {
				wantKind(t, err, sendonce.KindUnauthorized)
			}
			<-client.Done()
			<-server.Done()
		})
	}
}

func TestCutAfter(t *testing.T) {
	for cut := int64(1); cut < 10; cut++ {
		n := &Network{OnDial: func(int, string) Fault { return Fault{CutAfter: cut} }}
		bubble(t, n, func(t *testing.T, client, server *Conn) {
			s := must[protocol.SendStream](t)(client.OpenSend(t.Context()))
			var err error
			wrote := 0
			for range 5 {
				var k int
				if k, err = s.Write([]byte("ab")); err != nil {
					wrote += k
					break
				}
				wrote += k
			}
			if wantKind(t, err, sendonce.KindUnavailable); int64(wrote) != cut {
				t.Errorf("cut after %d: %d written", cut, wrote)
			}
			_, err = server.Open(t.Context())
			wantKind(t, err, sendonce.KindUnavailable)
			<-server.Done()
		})
	}
}

func TestDialing(t *testing.T) {
	fault := errors.New("fault")
	n := &Network{OnDial: func(i int, _ string) Fault {
		if i == 0 {
			return Fault{Err: fault}
		}
		return Fault{}
	}}
	l := must[*Listener](t)(n.Listen("a", Key(1)))
	_, err := n.Listen("a", Key(1))
	wantKind(t, err, sendonce.KindExists)
	d := n.Dialer(Key(2))
	ctx := context.Background()
	if _, err := d.Dial(ctx, "a", ID(Key(1)), false); err != fault {
		t.Error(err)
	}
	_, err = d.Dial(ctx, "b", ID(Key(1)), false)
	wantKind(t, err, sendonce.KindUnavailable)
	_, err = d.Dial(ctx, "a", ID(Key(3)), false)
	wantKind(t, err, sendonce.KindUnauthorized)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = d.Dial(gone, "a", ID(Key(1)), false)
	wantKind(t, err, sendonce.KindInterrupted)
	_, err = l.Accept(gone)
	wantKind(t, err, sendonce.KindInterrupted)
	for range backlog {
		must[protocol.Conn](t)(d.Dial(ctx, "a", ID(Key(1)), false))
	}
	_, err = d.Dial(ctx, "a", ID(Key(1)), false)
	wantKind(t, err, sendonce.KindUnavailable)
	if n.Open() != backlog {
		t.Errorf("%d open", n.Open())
	}
	c := must[protocol.Conn](t)(l.Accept(ctx))
	n.CutAll()
	_, err = c.Open(ctx)
	wantKind(t, err, sendonce.KindUnavailable)
	if l.Addr() != "a" || l.Close() != nil || l.Close() != nil {
		t.Error("close")
	}
	_, err = l.Accept(ctx)
	wantKind(t, err, sendonce.KindUnavailable)
	must[*Listener](t)(n.Listen("a", Key(1))) // the address is free again
}

// Many streams at once, with frames of the real protocol, for the race detector.
func TestConcurrentConversations(t *testing.T) {
	bubble(t, &Network{Window: 4096}, func(t *testing.T, client, server *Conn) {
		var wg sync.WaitGroup
		const streams = 100
		ctx := t.Context()
		for range streams {
			wg.Go(func() {
				s, err := server.Accept(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				m, err := protocol.NewReaderRate(s, time.Now).Next()
				if err == nil {
					w := protocol.NewWriter(s)
					err = errors.Join(w.Send(m), w.Flush(), s.Close())
				}
				if err != nil {
					t.Error(err)
				}
				s.StopRecv(sendonce.KindInterrupted)
			})
		}
		for i := range streams {
			wg.Go(func() {
				err := func() error {
					s, err := client.Open(ctx)
					if err != nil {
						return err
					}
					w := protocol.NewWriter(s)
					body := bytes.Repeat([]byte{byte(i)}, 10000)
					if err := errors.Join(w.Send(&protocol.Admin{Method: "echo", Body: body}), w.Flush(), s.Close()); err != nil {
						return err
					}
					r := protocol.NewReader(s)
					m, err := r.Next()
					if err != nil {
						return err
					}
					if !bytes.Equal(m.(*protocol.Admin).Body, body) {
						return fmt.Errorf("stream %d: another body", i)
					}
					if _, err := r.Next(); err != io.EOF {
						return fmt.Errorf("stream %d: at the end: %v", i, err)
					}
					return nil
				}()
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}
