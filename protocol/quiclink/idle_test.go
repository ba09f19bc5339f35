package quiclink

import (
	"testing"

	"sendonce"
	"sendonce/protocol"
)

// hello plays a pass that finds nothing to do: Hello, Welcome, good-bye.
func hello(t testing.TB, client, server protocol.Conn) {
	ctx := testContext(t)
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			s, err := server.Accept(ctx)
			if err != nil {
				return err
			}
			if _, err := protocol.NewReader(s).Next(); err != nil {
				return err
			}
			w := protocol.NewWriter(s)
			if err := w.Send(&protocol.Welcome{Version: 1, Server: "sendonce 1.0.0", TenantKey: [32]byte{1}, Params: sendonce.DefaultParams,
				Folders: []protocol.FolderInfo{{ID: sendonce.FolderID{1}, Name: "documents", Role: sendonce.RoleAdmin,
					Head: sendonce.Cursor{Seq: 1234, Chain: [32]byte{9}}}}}); err != nil {
				return err
			}
			return w.Flush()
		}()
	}()
	s := must[protocol.Stream](t)(client.Open(ctx))
	w := protocol.NewWriter(s)
	if err := w.Send(&protocol.Hello{Version: 1, DeviceName: "laptop"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	must[protocol.Message](t)(protocol.NewReader(s).Next())
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A pass that finds nothing to do is to cost at most 8 kB of UDP payload. What
// dominates is the client's first flight: a key share of 1,216 bytes, padded to
// two full packets of 1,200.
func TestIdleSessionIsSmall(t *testing.T) {
	for _, small := range []bool{false, true} {
		w := newWorld(t, Config{}, Config{SmallHandshake: small})
		client, server := w.pair(false)
		hello(t, client, server)
		if err := client.Close(sendonce.KindUnavailable, ""); err != nil {
			t.Fatal(err)
		}
		<-server.(protocol.Watched).Done()
		s := client.(protocol.Watched).Stats()
		t.Logf("small %v: sent %d bytes in %d packets, received %d in %d", small, s.BytesSent, s.PacketsSent, s.BytesReceived, s.PacketsReceived)
		if total := s.BytesSent + s.BytesReceived; total > 8000 {
			t.Errorf("small %v: %d bytes", small, total)
		}
		if n := len(w.server.cert.Certificate[0]); n > 200 {
			t.Errorf("a certificate of %d bytes", n)
		}
	}
}
