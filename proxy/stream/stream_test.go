package stream

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sendonce"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
)

const patience = 30 * time.Second

// pair returns the two ends of one stream; the peer has said Done{1} already.
func pair(t *testing.T) (st *Stream, peer protocol.Stream) {
	t.Helper()
	n, ctx := &prototest.Network{}, context.Background()
	l, err := n.Listen("here", prototest.Key(1))
	must(t, err)
	client, err := n.Dialer(prototest.Key(2)).Dial(ctx, "here", prototest.ID(prototest.Key(1)), false)
	must(t, err)
	server, err := l.Accept(ctx)
	must(t, err)
	t.Cleanup(func() { l.Close(); client.Close(0, "over") })
	peer, err = client.Open(ctx)
	must(t, err)
	w := protocol.NewWriter(peer)
	must(t, errors.Join(w.Send(&protocol.Done{Op: 1}), w.Flush()))
	raw, err := server.Accept(ctx)
	must(t, err)
	st = New(raw, time.Now, patience)
	if m, err := st.Next(); err != nil || m.(*protocol.Done).Op != 1 {
		t.Fatalf("the first message is %v, %v", m, err)
	}
	return st, peer
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEnd(t *testing.T) {
	full := &sendonce.Error{Op: "x", Kind: sendonce.KindFull, Detail: "no room", Hint: "make some"}
	for name, c := range map[string]struct {
		end  error
		kind sendonce.ErrKind // that the peer is told; 0: nothing
	}{
		"in order":          {nil, 0},
		"the peer's end":    {io.EOF, 0},
		"an error":          {full, sendonce.KindFull},
		"a breach":          {Broken("%d is too many", 5), sendonce.KindInvalid},
		"an error, foreign": {errors.New("?"), sendonce.KindInternal},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, peer := pair(t)
				must(t, st.Send(&protocol.Done{Op: 2})) // not flushed: End does it
				st.End(c.end)
				r := protocol.NewReader(peer)
				if m, err := r.Next(); err != nil || m.(*protocol.Done).Op != 2 {
					t.Fatalf("got %v, %v", m, err)
				}
				m, err := r.Next()
				if c.kind != 0 {
					f, ok := m.(*protocol.Fail)
					if !ok || f.Op != 0 || f.Kind != c.kind || c.end == error(full) && f.Hint != full.Hint {
						t.Fatalf("got %+v, %v", m, err)
					}
					m, err = r.Next()
				}
				if !errors.Is(err, io.EOF) {
					t.Fatalf("after the end: %v, %v", m, err)
				}
			})
		})
	}
}

func TestFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, peer := pair(t)
		why := Broken("no")
		if err := st.Fail(7, why); err != why {
			t.Errorf("Fail returned %v", err)
		}
		if m, err := protocol.NewReader(peer).Next(); err != nil || m.(*protocol.Fail).Op != 7 {
			t.Errorf("got %+v, %v", m, err)
		}
		st.Abort(sendonce.KindUnavailable)
		if err := st.Fail(8, why); err == nil || err == why {
			t.Errorf("a Fail that nobody can hear returned %v", err)
		}
		if _, err := st.Next(); sendonce.KindOf(err) != sendonce.KindUnavailable {
			t.Errorf("reading after Abort: %v", err)
		}
		st.End(why) // harmless
	})
}

// A peer that reads nothing is given up after its patience; one that reads
// slowly is not.
func TestPatience(t *testing.T) {
	payload := make([]byte, sendonce.MaxPack)
	send := func(st *Stream) error {
		for range 8 {
			h := &protocol.PackHeader{Op: 1, Sizes: []uint32{uint32(len(payload))}, Length: uint32(len(payload))}
			if err := errors.Join(st.SendPack(h, payload), st.Flush()); err != nil {
				return err
			}
		}
		return nil
	}
	synctest.Test(t, func(t *testing.T) {
		st, _ := pair(t)
		start := time.Now()
		if err := send(st); err == nil {
			t.Fatal("everything was sent to a peer that does not read")
		}
		if d := time.Since(start); d != patience {
			t.Errorf("it was given up after %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		st, peer := pair(t)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for b := make([]byte, patientPiece); ; time.Sleep(patience / 2) {
				if _, err := io.ReadFull(peer, b); err != nil {
					return
				}
			}
		})
		start := time.Now()
		must(t, send(st))
		if d := time.Since(start); d < 2*patience {
			t.Errorf("the reader was not slow: %v", d)
		}
		st.Abort(0)
	})
}
