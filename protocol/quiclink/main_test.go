package quiclink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sendonce"
	"sendonce/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identity returns a fixed identity for each number.
func identity(t testing.TB, n byte) *Identity {
	t.Helper()
	id, err := NewIdentity(bytes.NewReader(bytes.Repeat([]byte{n}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// world is a listener and a dialer on loopback.
type world struct {
	t      testing.TB
	l      *Listener
	d      *Dialer
	server *Identity
	client *Identity
}

func newWorld(t testing.TB, listen, dial Config) *world {
	t.Helper()
	w := &world{t: t, server: identity(t, 1), client: identity(t, 2)}
	listen.Identity, dial.Identity = w.server, w.client
	var err error
	if w.l, err = ListenAddr(listen, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if w.d, err = NewDialer(dial); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.d.Close(); err != nil {
			t.Error(err)
		}
		if err := w.l.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// pair returns both ends of a new connection.
func (w *world) pair(bulk bool) (client, server protocol.Conn) {
	w.t.Helper()
	ctx := testContext(w.t)
	c, err := w.d.Dial(ctx, w.l.Addr(), w.server.ID(), bulk)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := w.l.Accept(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	return c, s
}

// testContext only keeps a broken test from hanging.
func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

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

func readAll(t testing.TB, r io.Reader) []byte {
	t.Helper()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
