package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"sendonce"
	"sendonce/protocol"
	"sendonce/proxy/stream"
	"sendonce/proxy/vault"
)

// pack is one pack that has been received and whose chunks have been hashed.
type pack struct {
	op       uint64
	ids      []sendonce.ID
	sizes    []uint32
	encoding uint8
	record   []byte // room for a stored record's header, then payload
	payload  []byte // the very bytes that travelled
	memory   int64  // what it holds of the push's and the server's memory
}

// overtaking is by how much a Data stream may come before its push is open.
const overtaking = 5 * time.Second

// Receive takes one Data stream of a device: a pack, checked before its push
// hears of it. It waits for a push that is not open yet, and for memory.
func (s *Service) Receive(ctx context.Context, device sendonce.DeviceID, rs protocol.RecvStream) error {
	r := protocol.NewReaderRate(rs, s.env.Now)
	silence := time.AfterFunc(s.env.Limits.PeerPatience, func() { rs.StopRecv(sendonce.KindUnavailable) })
	m, err := r.Next()
	silence.Stop()
	if err != nil {
		return err
	}
	h, ok := m.(*protocol.PackHeader)
	if !ok || h.Op == 0 {
		return stream.Broken("a Data stream must begin with a numbered pack, not %v", protocol.TypeOf(m))
	}
	p := s.pushes.find(pushKey{device, h.Push}, overtaking, ctx.Done())
	if p == nil {
		return &sendonce.Error{Op: "receive pack", Kind: sendonce.KindNotFound, Detail: "no such push is open"}
	}

	if err := p.take(ctx, r, h); err != nil {
		return err
	}
	silence.Reset(s.env.Limits.PeerPatience)
	defer silence.Stop()
	return atEnd(r)
}

// take reads the pack that h announces, checks it, and hands it to the push's
// owner.
func (p *push) take(ctx context.Context, r *protocol.Reader, h *protocol.PackHeader) (err error) {
	p.receiving.Add(1)
	defer p.receiving.Add(-1)

	// Memory first, for the pack as it travels and as it is unpacked: a sender
	// that is ahead of the disk waits here, and QUIC makes it wait too.
	raw := int64(0)
	for _, n := range h.Sizes {
		raw += int64(n)
	}
	k := &pack{op: h.Op, sizes: h.Sizes, encoding: h.Encoding, memory: int64(h.Length) + raw}
	if err := p.acquire(ctx, k.memory); err != nil {
		return err
	}
	room := vault.Room(len(h.Sizes))
	if k.record, err = r.Body(p.s.buffers.Get(room + int(h.Length))[:room]); err != nil {
		p.release(k)
		return err
	}
	k.payload = k.record[room:]
	k.ids, err = p.verify(ctx, k)
	if ctx.Err() != nil {
		p.release(k)
		return ctx.Err()
	}
	if err != nil { // it is not what it says: its owner tells the device
		p.s.env.Log.Debug("pack refused", "device", p.who.Device.Short(), "err", err)
		p.release(k)
	} else {
		p.free(raw)
		k.memory -= raw
	}
	m := p.s.env.Metrics
	m.Packs.Add(1)
	m.PackBytes.Add(int64(h.Length))
	m.RawBytes.Add(raw)
	select {
	case p.packs <- k:
		return nil
	case <-p.ended:
		p.release(k)
		return &sendonce.Error{Op: "receive pack", Kind: sendonce.KindNotFound, Detail: "the push has ended"}
	}
}

// atEnd takes the end of a Data stream, so that the transport can forget it.
func atEnd(r *protocol.Reader) error {
	m, err := r.Next()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = stream.Broken("%v after the pack of a Data stream", protocol.TypeOf(m))
	}
	return err
}

// verify unpacks a pack under its declared size as a hard limit and hashes every
// chunk: an ID is never taken from a peer.
func (p *push) verify(ctx context.Context, k *pack) ([]sendonce.ID, error) {
	select {
	case p.s.workers <- struct{}{}:
		defer func() { <-p.s.workers }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return p.s.vault.Identify(p.work, p.who.Tenant, k.encoding, k.payload, k.sizes)
}

// acquire takes n bytes of the push's and the server's memory.
func (p *push) acquire(ctx context.Context, n int64) error {
	if err := p.memory.Acquire(ctx, n); err != nil {
		return err
	}
	if err := p.s.memory.Acquire(ctx, n); err != nil {
		p.memory.Release(n)
		return err
	}
	p.s.env.Metrics.MemoryBytes.Add(n)
	return nil
}

func (p *push) free(n int64) {
	p.memory.Release(n)
	p.s.memory.Release(n)
	p.s.env.Metrics.MemoryBytes.Add(-n)
}

// release gives a pack's memory back.
func (p *push) release(k *pack) {
	p.free(k.memory)
	p.s.buffers.Put(k.record)
	k.memory, k.record, k.payload = 0, nil, nil
}

// arrive takes a verified pack: into the batch if it brings something that was
// asked for, else aside until its offer comes, since streams overtake each other
// and small files are sent ahead of the answer.
func (p *push) arrive(k *pack) error {
	if k.ids == nil {
		return p.refusePack(k.op, "the pack does not unpack to the chunks that it announces")
	}
	asked, fresh := 0, 0
	for _, id := range k.ids {
		switch p.chunks[id] {
		case awaited:
			asked++
		case 0:
			fresh++
		}
	}
	p.unasked += fresh
	p.s.env.Metrics.ChunksUnasked.Add(int64(fresh))
	if p.unasked > p.s.env.Limits.Unasked {
		p.release(k)
		return &sendonce.Error{Op: "receive pack", Kind: sendonce.KindLimit, Detail: "too many chunks that nobody asked for"}
	}
	if asked > 0 || p.awaited == 0 {
		p.admit(k)
		return nil
	}
	p.held[k] = true
	for _, id := range k.ids {
		if p.chunks[id] == 0 {
			p.chunks[id], p.early[id] = early, k
		}
	}
	p.heldDue.start(p.s.env.Limits.PackGrace)
	return nil
}

// admit puts a pack into the batch.
func (p *push) admit(k *pack) {
	delete(p.held, k)
	for _, id := range k.ids {
		switch p.chunks[id] {
		case awaited:
			p.awaited--
		case early:
			delete(p.early, id)
		}
		p.chunks[id] = arrived
	}
	p.batch = append(p.batch, k)
	p.batchSize += int64(len(k.payload))
	p.batchDue.start(batchPatience)
	p.stalled.stop() // a pack came: whoever waits starts anew
}

// judgeHeld ends the grace of the packs that no offer has named. If the push
// awaits nothing they are kept for what may come; if the index knows a chunk of
// it for this device, the pack was sent twice; else its chunks are not what was
// asked for, which is what damage looks like when IDs are computed here.
func (p *push) judgeHeld() error {
	if p.ahead != nil || len(p.frames) > 0 { // an offer may be among those
		p.heldDue.start(p.s.env.Limits.PackGrace / 10)
		return nil
	}
	held := p.held
	p.held = map[*pack]bool{}
	for k := range held {
		known := p.awaited == 0
		if !known {
			present, err := p.s.env.Index.Present(p.work, p.who, k.ids)
			if err != nil {
				return err
			}
			for _, yes := range present {
				known = known || yes
			}
		}
		if known {
			p.admit(k)
			continue
		}
		for _, id := range k.ids {
			if p.early[id] == k {
				delete(p.early, id)
				delete(p.chunks, id)
			}
		}
		op := k.op
		p.release(k)
		if err := p.refusePack(op, "none of its chunks hashes to an ID that was asked for"); err != nil {
			return err
		}
	}
	return nil
}

// maxUnwanted is how many bad packs end a push.
const maxUnwanted = 3

// refusePack tells the device that a pack was of no use.
func (p *push) refusePack(op uint64, why string) error {
	p.unwanted++
	p.s.env.Metrics.PacksRefused.Add(1)
	err := &sendonce.Error{Op: "receive pack", Kind: sendonce.KindDamaged, Detail: fmt.Sprintf("pack %d: %s", op, why)}
	if p.unwanted >= maxUnwanted {
		return err
	}
	return p.send(protocol.FailOf(op, err))
}
