package push

import (
	"sendonce"
	"sendonce/daemon/push/internal/script"
	"sendonce/protocol"
)

// piece is one chunk (or zero extent) of a file on its way. data comes from the
// push's buffers and is counted in its budget.
type piece struct {
	ref   sendonce.Ref
	data  []byte
	reset bool // the file is read anew: forget the pieces before this one
}

// offerFrame is what the answer to one Offer frame needs.
type offerFrame struct {
	op     uint64
	pieces []piece
	mark   bool // not an offer: here the pack under way is closed
}

// An offer frame leaves when it holds this much, so that the answer comes while
// the file is still being read.
const (
	frameRefs  = 256
	frameEdits = 1024 // far below protocol.MaxEdits
	frameBytes = 2 << 20
)

// offering is one file's manifest while it is offered. Owned by the emitter.
type offering struct {
	p     *Push
	op    uint64
	j     *Job
	diff  *script.Differ // nil for a new file
	first bool
	frame offerFrame
	refs  []sendonce.Ref
	bytes int64
}

func (p *Push) newOffer(j *Job) *offering {
	p.offerOp++
	o := &offering{p: p, op: p.offerOp, j: j, first: true}
	if j.Base != nil {
		o.diff = script.New(j.Base)
	}
	return o
}

// add offers one piece; a piece that the base holds is kept, not offered.
func (o *offering) add(pc piece) error {
	if o.diff != nil && o.diff.Add(pc.ref) {
		o.p.drop(pc)
		if o.diff.Len() >= frameEdits {
			return o.send(false)
		}
		return nil
	}
	o.refs = append(o.refs, pc.ref)
	o.frame.pieces = append(o.frame.pieces, pc)
	o.bytes += int64(len(pc.data))
	if len(o.refs) >= frameRefs || o.bytes >= frameBytes {
		return o.send(false)
	}
	return nil
}

func (o *offering) finish() error { return o.send(true) }

// abandon gives back what is not sent yet. What was sent stays unused, but has
// to be completed before the next offer may begin.
func (o *offering) abandon() error {
	o.p.drop(o.frame.pieces...)
	o.frame, o.refs, o.bytes = offerFrame{}, nil, 0
	if o.first {
		return nil
	}
	if o.diff != nil {
		o.diff.Take()
	}
	return o.send(true)
}

func (o *offering) send(last bool) error {
	m := &protocol.Offer{Op: o.op, Refs: o.refs, Last: last}
	if o.diff != nil {
		m.Edits = o.diff.Take()
		if o.first {
			m.Node, m.Base = o.j.Change.Node, o.j.Change.Base
		}
	}
	o.first = false
	for _, r := range o.refs {
		if !r.ID.IsZero() {
			o.p.Stats.Chunks.Add(1)
		}
	}
	o.frame.op = o.op
	o.p.frames.push(o.frame)
	o.frame, o.refs, o.bytes = offerFrame{}, nil, 0
	return o.p.send(m)
}

// drop gives pieces back unused.
func (p *Push) drop(pieces ...piece) {
	for _, pc := range pieces {
		if pc.data != nil {
			p.mem.release(room(len(pc.data)))
			p.buffers.put(pc.data)
		}
	}
}
