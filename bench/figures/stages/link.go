// Package stages measures the parts that a push is made of, each alone: reading,
// cutting, hashing, compressing, the QUIC link, storing, indexing. The parts are
// the product's own packages, called as the daemon and the proxy call them.
//
// What it does not promise: that the sum of the parts is the whole. The
// difference is a figure of its own: what coordination, copies and contention cost.
//
// Read model.go first, then link.go; audit.go looks into a proxy's data.
package stages

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"sendonce"
	"sendonce/bench/figures/corpus"
	"sendonce/bench/figures/measure"
	"sendonce/protocol"
	"sendonce/protocol/quiclink"
)

// LinkResult is one end of a raw transfer.
type LinkResult struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // from the first byte to the receiver's word that all has come; 0 at the receiver
	CPU     float64 `json:"cpu"`     // seconds, of this process
}

// packBytes is the size of a pack of data that does not compress.
const packBytes = sendonce.PackTarget

// Receive takes packs until it has had total bytes, and throws them away. ready
// is told the address and the identity to dial.
func Receive(ctx context.Context, listen string, total int64, ready func(addr, identity string) error) (LinkResult, error) {
	id, err := quiclink.NewIdentity(rand.Reader)
	if err != nil {
		return LinkResult{}, err
	}
	l, err := quiclink.ListenAddr(quiclink.Config{Identity: id}, listen)
	if err != nil {
		return LinkResult{}, err
	}
	defer l.Close()
	self := id.ID()
	if err := ready(l.Addr(), hex.EncodeToString(self[:])); err != nil {
		return LinkResult{}, err
	}
	cpu := measure.SelfCPU()
	var got atomic.Int64
	complete := make(chan struct{})
	finished := make(chan struct{}) // the sender has read the last word
	g, gctx := errgroup.WithContext(ctx)
	lctx, stop := context.WithCancel(gctx)
	g.Go(func() error {
		select {
		case <-finished:
		case <-gctx.Done():
		}
		stop()
		return l.Close()
	})
	g.Go(func() error {
		for {
			conn, err := l.Accept(lctx)
			if err != nil {
				return unless(lctx, err)
			}
			// The control stream is on one of them; connections need not come in the
			// order in which they were dialled.
			g.Go(func() error { return unless(lctx, sayWhenComplete(lctx, conn, complete, finished)) })
			g.Go(func() error {
				for {
					st, err := conn.AcceptRecv(lctx)
					if err != nil {
						return nil // the sender has closed the connection, or all is over
					}
					g.Go(func() error {
						n, err := takePack(st)
						if n > 0 && got.Add(n) == total {
							close(complete)
						}
						return unless(lctx, err)
					})
				}
			})
		}
	})
	err = g.Wait()
	return LinkResult{Bytes: got.Load(), CPU: (measure.SelfCPU() - cpu).Seconds()}, err
}

// unless hides errors that come from the end of everything.
func unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// takePack reads one pack as the proxy does, with the minimum rate.
func takePack(st protocol.RecvStream) (int64, error) {
	r := protocol.NewReaderRate(st, time.Now)
	m, err := r.Next()
	if err != nil {
		return 0, err
	}
	h, ok := m.(*protocol.PackHeader)
	if !ok {
		return 0, errors.New("not a pack")
	}
	b, err := r.Body(make([]byte, 0, h.Length))
	if err == nil {
		// Only a stream whose end has been read makes room for another one.
		if _, end := r.Next(); end != io.EOF {
			err = fmt.Errorf("after a pack: %w", end)
		}
	}
	return int64(len(b)), err
}

// sayWhenComplete answers on the control stream once all has come, and waits for
// the sender to end it.
func sayWhenComplete(ctx context.Context, conn protocol.Conn, complete <-chan struct{}, finished chan<- struct{}) error {
	st, err := conn.Accept(ctx)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(st, make([]byte, 1)); err != nil {
		return err
	}
	select {
	case <-complete:
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := st.Write([]byte{1}); err != nil {
		return err
	}
	_, _ = st.Read(make([]byte, 1)) // its end, or the connection's
	close(finished)
	return nil
}

// Send sends total bytes of packs over conns connections, two senders on each,
// as a push does, and waits for the receiver's word.
func Send(ctx context.Context, addr, identity string, total int64, conns int) (LinkResult, error) {
	id, err := quiclink.NewIdentity(rand.Reader)
	if err != nil {
		return LinkResult{}, err
	}
	var server sendonce.DeviceID
	if b, err := hex.DecodeString(identity); err != nil || copy(server[:], b) != len(server) {
		return LinkResult{}, fmt.Errorf("identity %q", identity)
	}
	d, err := quiclink.NewDialer(quiclink.Config{Identity: id})
	if err != nil {
		return LinkResult{}, err
	}
	defer d.Close()
	body := make([]byte, packBytes)
	if _, err := io.ReadFull(corpus.Source(9), body); err != nil {
		return LinkResult{}, err
	}
	var lines []protocol.Conn
	for range conns {
		c, err := d.Dial(ctx, addr, server, true)
		if err != nil {
			return LinkResult{}, err
		}
		lines = append(lines, c)
	}
	control, err := lines[0].Open(ctx)
	if err != nil {
		return LinkResult{}, err
	}
	if _, err := control.Write([]byte{1}); err != nil {
		return LinkResult{}, err
	}
	cpu, begun := measure.SelfCPU(), time.Now()
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for _, c := range lines {
		for range 2 {
			g.Go(func() error {
				for {
					op := next.Add(1)
					left := total - (op-1)*packBytes
					if left <= 0 {
						return nil
					}
					if err := sendPack(gctx, c, uint64(op), body[:min(left, packBytes)]); err != nil {
						return err
					}
				}
			})
		}
	}
	if err := g.Wait(); err != nil {
		return LinkResult{}, err
	}
	if _, err := io.ReadFull(control, make([]byte, 1)); err != nil {
		return LinkResult{}, err
	}
	r := LinkResult{Bytes: total, Seconds: time.Since(begun).Seconds(), CPU: (measure.SelfCPU() - cpu).Seconds()}
	return r, control.Close()
}

func sendPack(ctx context.Context, c protocol.Conn, op uint64, body []byte) error {
	st, err := c.OpenSend(ctx)
	if err != nil {
		return err
	}
	h := protocol.PackHeader{Push: sendonce.PushID{1}, Op: op, Sizes: []uint32{uint32(len(body))}, Length: uint32(len(body))}
	w := protocol.NewWriter(st)
	if err := w.SendPack(&h, body); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return st.Close()
}
