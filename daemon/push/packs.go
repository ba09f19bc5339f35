package push

import (
	"context"
	"sync"

	"sendonce"
	"sendonce/content"
	"sendonce/protocol"
)

// packer gathers missing chunks into packs, in the order of the answers, which
// is the order of the tree: files that lie together compress together. Packs
// are compressed by several goroutines and sent on Data streams, one each.
type packer struct {
	p *Push

	mu    sync.Mutex
	raw   []byte
	sizes []uint32
	op    uint64

	closed chan rawPack   // gathered
	ready  chan *sealed   // compressed
	rawBuf sync.Pool      // *[]byte of PackTarget and a chunk
	comp   sync.WaitGroup // compressors
	send   sync.WaitGroup // senders
	lines  *lines
}

type rawPack struct {
	op    uint64
	raw   []byte
	sizes []uint32
}

type sealed struct {
	header protocol.PackHeader
	body   []byte // owned; its length is what the budget still counts
	raw    bool   // body is from rawBuf
}

func newPacker(p *Push) *packer {
	k := &packer{p: p, closed: make(chan rawPack, 1), ready: make(chan *sealed, 2)}
	size := sendonce.PackTarget + int(p.o.Params.Max)
	k.rawBuf.New = func() any { b := make([]byte, 0, size); return &b }
	k.lines = newLines(k)
	return k
}

func (k *packer) start() {
	k.comp.Add(k.p.o.Workers)
	for range k.p.o.Workers {
		k.p.goDo(k.compress)
	}
	k.p.wg.Go(func() {
		k.comp.Wait()
		close(k.ready)
	})
	k.lines.start()
}

// add takes over a chunk that is missing.
func (k *packer) add(data []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.raw) > 0 && len(k.raw)+len(data) > sendonce.PackTarget {
		if err := k.flushLocked(); err != nil {
			return err
		}
	}
	if k.raw == nil {
		k.raw = (*k.rawBuf.Get().(*[]byte))[:0]
	}
	k.raw = append(k.raw, data...)
	k.sizes = append(k.sizes, uint32(len(data)))
	// The bytes count in the budget until the pack has left, the buffer no more.
	k.p.mem.release(room(len(data)) - int64(len(data)))
	k.p.buffers.put(data)
	return nil
}

// flush closes the pack under way.
func (k *packer) flush() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.flushLocked()
}

func (k *packer) flushLocked() error {
	if len(k.raw) == 0 {
		return nil
	}
	k.op++
	pk := rawPack{op: k.op, raw: k.raw, sizes: k.sizes}
	k.raw, k.sizes = nil, nil
	select {
	case k.closed <- pk:
		return nil
	case <-k.p.ctx.Done():
		return context.Cause(k.p.ctx)
	}
}

// finish closes the last pack and waits until all have been handed to the
// transport.
func (k *packer) finish() error {
	if err := k.flush(); err != nil {
		return err
	}
	close(k.closed)
	k.lines.enough()
	done := make(chan struct{})
	k.p.wg.Go(func() { k.send.Wait(); close(done) })
	select {
	case <-done:
		return nil
	case <-k.p.ctx.Done():
		return context.Cause(k.p.ctx)
	}
}

// compress is one compressing goroutine.
func (k *packer) compress() error {
	defer k.comp.Done()
	enc, err := content.NewPacker(k.p.o.Level)
	if err != nil {
		return err
	}
	var scratch []byte
	for {
		select {
		case pk, ok := <-k.closed:
			if !ok {
				return nil
			}
			s := &sealed{header: protocol.PackHeader{Push: k.p.id, Op: pk.op, Sizes: pk.sizes}}
			var small bool
			scratch, small = enc.Compress(scratch[:0], pk.raw)
			// From here on the pack is as small as it travels.
			if s.raw = !small; s.raw {
				s.header.Encoding, s.body = content.EncodingRaw, pk.raw
			} else {
				s.header.Encoding = content.EncodingZstd
				s.body = append(make([]byte, 0, len(scratch)), scratch...)
				k.p.mem.release(int64(len(pk.raw) - len(s.body)))
				k.rawBuf.Put(&pk.raw)
			}
			s.header.Length = uint32(len(s.body))
			select {
			case k.ready <- s:
			case <-k.p.ctx.Done():
				return nil
			}
		case <-k.p.ctx.Done():
			return nil
		}
	}
}

// sent gives a pack's memory back.
func (k *packer) sent(s *sealed) {
	k.p.Stats.Packs.Add(1)
	k.p.Stats.PackBytes.Add(int64(len(s.body)))
	k.p.mem.release(int64(len(s.body)))
	if s.raw {
		k.rawBuf.Put(&s.body)
	}
}
