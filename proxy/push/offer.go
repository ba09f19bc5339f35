package push

import (
	"fmt"

	"sendonce"
	"sendonce/protocol"
	"sendonce/proxy/apply"
	"sendonce/proxy/stream"
)

// offer is one file's manifest as it has been offered so far.
type offer struct {
	apply.Offer
	last bool // complete
	// need are chunks that were not durable for this device when they were
	// offered; a commit that uses the offer waits for them.
	need []sendonce.ID
}

// cost is what the offer counts against Limits.PushRefs.
func (o *offer) cost() int { return 8 + len(o.Refs) + len(o.Edits) + len(o.need) }

// askAtOnce is how many references one question to the index covers.
const askAtOnce = 16384

// offered takes an Offer frame and those that came right behind it, since small
// files come as many small frames, and answers them with one question to the
// index.
func (p *push) offered(m *protocol.Offer) error {
	frames, refs := []*protocol.Offer{m}, len(m.Refs)
	for refs < askAtOnce && p.ahead == nil {
		var next protocol.Message
		select {
		case next = <-p.frames: // nil when the stream has ended: seen again in turn
		default:
		}
		o, ok := next.(*protocol.Offer)
		if !ok {
			p.ahead = next
			break
		}
		frames, refs = append(frames, o), refs+len(o.Refs)
	}
	return p.decide(frames)
}

// decide is the idea of the whole: it tells the device, for every reference that
// it offers, whether the chunk is there already or has to be sent. A chunk is
// there if this device may know so (the index answers from the scopes that the
// device reads or owns, and from its own receipts, and from nothing else), or if
// this push has been told to send it before.
func (p *push) decide(frames []*protocol.Offer) error {
	// What has to be asked: every chunk that this push does not know about yet.
	var ask []sendonce.ID
	for _, f := range frames {
		for _, r := range f.Refs {
			if p.chunks[r.ID] == 0 && !r.ID.IsZero() {
				p.chunks[r.ID] = asking
				ask = append(ask, r.ID)
			}
		}
	}
	present, err := p.s.env.Index.Present(p.work, p.who, ask)
	if err != nil {
		return err
	}
	for i, id := range ask {
		if p.chunks[id] = absent; present[i] {
			delete(p.chunks, id)
		}
	}
	// One answer for each frame, in order: bit i says "send Refs[i]".
	for _, f := range frames {
		o, err := p.collect(f)
		if err != nil {
			return err
		}
		missing := &protocol.Missing{Op: f.Op, Bits: make([]byte, (len(f.Refs)+7)/8)}
		for i, r := range f.Refs {
			switch p.chunks[r.ID] {
			case 0: // present, or zeros
				continue
			case absent:
				missing.Bits[i/8] |= 1 << (i % 8)
				p.await(r.ID)
				p.s.env.Metrics.BytesMissing.Add(r.Size)
				p.s.env.Metrics.ChunksMissing.Add(1)
			case early: // it came before its offer
				p.admit(p.early[r.ID])
			}
			o.need = append(o.need, r.ID) // on its way, or here and not durable yet
			p.refs++
		}
		p.s.env.Metrics.ChunksOffered.Add(int64(len(f.Refs)))
		if err := p.send(missing); err != nil {
			return err
		}
	}
	return nil
}

// await records that the device has been told to send a chunk.
func (p *push) await(id sendonce.ID) {
	p.chunks[id] = awaited
	p.awaited++
}

// collect adds one frame to the offer that it belongs to and returns that.
func (p *push) collect(f *protocol.Offer) (*offer, error) {
	o := p.offers[f.Op]
	switch {
	case f.Op > p.lastOffer:
		if prev := p.offers[p.lastOffer]; prev != nil && !prev.last {
			return nil, stream.Broken("offer %d begins before offer %d is complete", f.Op, p.lastOffer)
		}
		o = &offer{Offer: apply.Offer{Node: f.Node, Base: f.Base}}
		p.offers[f.Op], p.lastOffer = o, f.Op
		p.refs += o.cost()
	case o == nil || o.last || f.Op != p.lastOffer:
		return nil, stream.Broken("offer %d cannot be continued", f.Op)
	}
	edits := f.Edits
	if len(edits) == 0 && len(f.Refs) > 0 {
		edits = []sendonce.Edit{{Insert: uint64(len(f.Refs))}}
	}
	o.Edits = append(o.Edits, edits...)
	o.Refs = append(o.Refs, f.Refs...)
	o.last = f.Last
	p.refs += len(edits) + len(f.Refs)
	if p.refs > p.s.env.Limits.PushRefs {
		return nil, &sendonce.Error{Op: "offer", Kind: sendonce.KindLimit,
			Detail: fmt.Sprintf("offers that no commit has used yet hold more than %d references", p.s.env.Limits.PushRefs),
			Hint:   "commit more often, or raise the proxy's limit"}
	}
	return o, nil
}

// forget drops an offer that a commit has used.
func (p *push) forget(op uint64) {
	if o := p.offers[op]; o != nil {
		p.refs -= o.cost()
		delete(p.offers, op)
	}
}
