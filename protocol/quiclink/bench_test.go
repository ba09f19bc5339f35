package quiclink

import (
	"io"
	"testing"

	"sendonce/protocol"
)

// benchmarkBulk sends packs' worth of bytes on one stream of each of n connections.
func benchmarkBulk(b *testing.B, n int) {
	w := newWorld(b, Config{}, Config{})
	ctx := testContext(b)
	buf := make([]byte, 1<<20)
	type ends struct {
		s    protocol.SendStream
		done chan error
	}
	var conns []ends
	for range n {
		client, server := w.pair(true)
		s, err := client.OpenSend(ctx)
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			r, err := server.AcceptRecv(ctx)
			if err == nil {
				_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 64<<10))
			}
			done <- err
		}()
		conns = append(conns, ends{s, done})
	}
	b.SetBytes(int64(n * len(buf)))
	b.ResetTimer()
	sent := make(chan error, n)
	for _, c := range conns {
		go func() {
			for range b.N {
				if _, err := c.s.Write(buf); err != nil {
					sent <- err
					return
				}
			}
			sent <- c.s.Close()
		}()
	}
	for _, c := range conns {
		if err := <-sent; err != nil {
			b.Fatal(err)
		}
		if err := <-c.done; err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBulk1Connection(b *testing.B)  { benchmarkBulk(b, 1) }
func BenchmarkBulk4Connections(b *testing.B) { benchmarkBulk(b, 4) }

func BenchmarkRequest(b *testing.B) {
	w := newWorld(b, Config{}, Config{})
	client, server := w.pair(false)
	ctx := testContext(b)
	go func() {
		s, err := server.Accept(ctx)
		if err == nil {
			io.Copy(s, s)
		}
	}()
	s, err := client.Open(ctx)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 64)
	for b.Loop() {
		if _, err := s.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(s, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDial(b *testing.B) {
	w := newWorld(b, Config{}, Config{})
	for b.Loop() {
		client, _ := w.pair(false)
		client.Close(0, "")
	}
}
