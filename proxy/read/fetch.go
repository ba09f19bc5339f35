package read

import (
	"sendonce"
	"sendonce/protocol"
	"sendonce/proxy/vault"
)

// Chunks are fetched in windows, so that a reader of any size costs the same
// memory: what is in a window is read in the store's order and sent in the
// request's.
const (
	windowBytes  = 16 << 20
	windowChunks = 1024
)

// fetch answers Fetch: every chunk of the ranges once, in order, then Done. What
// cannot be had does not keep the rest back: the answer then ends with a Fail
// that names the first file concerned, instead of Done.
func (r *reading) fetch(m *protocol.Fetch) error {
	f := &fetch{reading: r, op: m.Op, seen: map[sendonce.ID]bool{}}
	for _, it := range m.Items {
		n, err := r.file(it.Node, it.Rev)
		if err == nil && !n.Content.IsEmpty() && len(n.Content.Inline) == 0 {
			err = r.s.env.Vault.Walk(r.ctx, r.peer.Tenant, n.Content, it.First, it.Count, func(refs []sendonce.Ref) error {
				return f.want(n.Name, refs)
			})
		}
		if f.broken != nil {
			return f.broken
		}
		if err != nil && f.failed == nil {
			f.failed = &sendonce.Error{Op: "fetch", Detail: nameOf(n, it.Node) + ": " + protocol.FailOf(m.Op, err).Detail, Err: err}
		}
		if sendonce.KindOf(err) == sendonce.KindLimit {
			break
		}
	}
	if err := f.flush(); err != nil {
		return err
	}
	if f.failed != nil {
		return answered(f.failed)
	}
	return r.st.Send(&protocol.Done{Op: m.Op})
}

// nameOf names a file in a text that travels: paths of errors do not.
func nameOf(n *sendonce.Node, id sendonce.NodeID) string {
	if n == nil {
		return id.String()
	}
	return n.Name
}

// fetch is the answer to one Fetch.
type fetch struct {
	*reading
	op     uint64
	seen   map[sendonce.ID]bool // wanted or sent already
	failed error                // the first thing that could not be had
	broken error                // the stream's or the server's own failure

	ids   []sendonce.ID // the window, in order
	files []string      // whose chunk each one is
	bytes int64
}

// want adds references to the window and sends it when it is full.
func (f *fetch) want(file string, refs []sendonce.Ref) error {
	for _, r := range refs {
		if r.ID.IsZero() || f.seen[r.ID] {
			continue
		}
		if len(f.seen) >= f.s.env.FetchRefs {
			return &sendonce.Error{Kind: sendonce.KindLimit, Detail: "too many chunks in one request", Hint: "ask for fewer ranges at a time"}
		}
		f.seen[r.ID] = true
		f.ids, f.files, f.bytes = append(f.ids, r.ID), append(f.files, file), f.bytes+r.Size
		if len(f.ids) >= windowChunks || f.bytes >= windowBytes {
			if f.broken = f.flush(); f.broken != nil {
				return f.broken
			}
		}
	}
	return nil
}

// flush reads the window and sends it.
func (f *fetch) flush() error {
	if len(f.ids) == 0 {
		return nil
	}
	ids, files, size := f.ids, f.files, f.bytes
	f.ids, f.files, f.bytes = nil, nil, 0

	// Chunks as they are, and packs of which at least half is wanted.
	memory := 2*size + sendonce.MaxPack
	if err := f.s.memory.Acquire(f.ctx, memory); err != nil {
		return err
	}
	defer f.s.memory.Release(memory)

	w := &window{fetch: f, wanted: make(map[sendonce.ID]bool, len(ids)), plain: map[sendonce.ID][]byte{}, packs: map[sendonce.ID]*vault.Pack{}}
	for _, id := range ids {
		w.wanted[id] = true
	}
	bad, err := f.s.env.Vault.Read(f.ctx, f.peer.Tenant, ids, w.whole, w.chunk)
	if err != nil {
		return answered(err)
	}
	if len(bad) > 0 {
		f.s.env.Metrics.ChunksDamaged.Add(int64(len(bad)))
		for i, id := range ids {
			if f.failed == nil && id == bad[0] {
				f.failed = &sendonce.Error{Op: "fetch", Kind: sendonce.KindDamaged, Detail: files[i] + ": chunk " + id.String() + " is damaged or lost on the server",
					Hint: "on a device that has the file, copy it under another name and sync: its chunks are then sent again"}
			}
		}
		f.s.env.Log.Error("damaged chunks", "count", len(bad), "first", bad[0].String())
	}
	return w.send(ids)
}

// window is what has been read of one window.
type window struct {
	*fetch
	wanted map[sendonce.ID]bool
	plain  map[sendonce.ID][]byte
	packs  map[sendonce.ID]*vault.Pack // of the wanted chunks that go with a whole pack
}

// whole decides whether a stored pack goes to the reader as it is: when all of it
// is wanted, or when most of it is and the folder that is being read references
// the rest. Otherwise it would show chunks of folders that the reader may not
// read (I11).
func (w *window) whole(p vault.Pack, wanted []uint32) (bool, error) {
	var others []sendonce.ID
	var total, rest int64
	for i, id := range p.IDs {
		total += int64(p.Sizes[i])
		if !w.wanted[id] {
			others = append(others, id)
			rest += int64(p.Sizes[i])
		}
	}
	if 2*rest > total {
		return false, nil
	}
	if len(others) > 0 {
		referenced, err := w.index().Referenced(w.ctx, w.peer.Tenant, w.folder, others)
		if err != nil {
			return false, err
		}
		for _, yes := range referenced {
			if !yes {
				return false, nil
			}
		}
	}
	p.Payload = append([]byte(nil), p.Payload...)
	for _, j := range wanted {
		w.packs[p.IDs[j]] = &p
	}
	return true, nil
}

func (w *window) chunk(id sendonce.ID, plain []byte) error {
	w.plain[id] = append([]byte(nil), plain...)
	return nil
}

// send sends the window in the order of the request; loose chunks are packed
// again on the way.
func (w *window) send(ids []sendonce.ID) error {
	loose := &repacker{window: w}
	sent := map[*vault.Pack]bool{}
	for _, id := range ids {
		if p := w.packs[id]; p != nil {
			if sent[p] {
				continue
			}
			sent[p] = true
			if err := loose.flush(); err != nil {
				return err
			}
			if err := w.sendPack(*p); err != nil {
				return err
			}
			for _, id := range p.IDs { // they need not come again
				w.seen[id] = true
			}
			w.s.env.Metrics.PacksWhole.Add(1)
		} else if b := w.plain[id]; b != nil {
			if err := loose.add(id, b); err != nil {
				return err
			}
		}
	}
	return loose.flush()
}

func (f *fetch) sendPack(p vault.Pack) error {
	f.s.env.Metrics.SentPackBytes.Add(int64(len(p.Payload)))
	return f.st.SendPack(&protocol.PackHeader{Op: f.op, Sizes: p.Sizes, Encoding: p.Encoding, Length: uint32(len(p.Payload))}, p.Payload)
}

// repacker packs loose chunks into packs of about sendonce.PackTarget.
type repacker struct {
	*window
	ids   []sendonce.ID
	sizes []uint32
	raw   []byte
}

func (r *repacker) add(id sendonce.ID, plain []byte) error {
	if len(r.raw)+len(plain) > sendonce.MaxPack {
		if err := r.flush(); err != nil {
			return err
		}
	}
	r.ids, r.sizes, r.raw = append(r.ids, id), append(r.sizes, uint32(len(plain))), append(r.raw, plain...)
	if len(r.raw) >= sendonce.PackTarget {
		return r.flush()
	}
	return nil
}

func (r *repacker) flush() error {
	if len(r.ids) == 0 {
		return nil
	}
	p, err := r.s.env.Vault.Repack(r.ids, r.sizes, r.raw)
	if err != nil {
		return err
	}
	r.ids, r.sizes, r.raw = nil, nil, r.raw[:0]
	return r.sendPack(p)
}
