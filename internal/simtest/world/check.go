package world

import (
	"fmt"

	"sendonce"
	"sendonce/content"
	"sendonce/indexdb"
)

// ack is what a client was told: the folder up to seq is durable, and what the
// client has of its own in it was tree then; nil if that is not known.
type ack struct {
	client *Client
	seq    uint64
	tree   Tree
}

// entrySeen is a journal entry as it was when it was first seen (I8).
type entrySeen struct {
	digest, chain [32]byte
	op            sendonce.OpID
}

func (w *World) acknowledge(a ack) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.seq == 0 {
		return
	}
	for i, b := range w.acks {
		if b.client == a.client && b.seq == a.seq {
			if a.tree != nil {
				w.acks[i] = a
			}
			return
		}
	}
	w.acks = append(w.acks, a)
}

// Acks returns how many acknowledged trees the model holds.
func (w *World) Acks() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acks)
}

// ForgetAfter drops what the model knows of a folder's journal after seq: the
// server was replaced by an older copy of itself.
func (w *World) ForgetAfter(folder sendonce.FolderID, seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.acks[:0]
	for _, a := range w.acks {
		if a.client.ID != folder || a.seq <= seq {
			kept = append(kept, a)
		}
	}
	w.acks = kept
	for n := range w.seen[folder] {
		if n > seq {
			delete(w.seen[folder], n)
		}
	}
}

// Check holds the world against the model: everything acknowledged restores
// byte-exact at its sequence number, the heads are what the clients have, the
// index keeps its rules, the journals have no gap and no entry that changed, and
// every stored chunk hashes to its ID. All must be quiet.
func (w *World) Check() {
	w.T.Helper()
	w.CheckStore()
	folders, err := w.Proxy.Index.Folders(w.ctx, sendonce.DefaultTenant)
	w.must(err)
	heads := map[sendonce.FolderID]uint64{}
	for _, f := range folders {
		bad, err := w.Proxy.Index.Check(w.ctx, sendonce.DefaultTenant, f.ID)
		w.must(err)
		for _, s := range bad {
			w.T.Errorf("folder %s: %s", f.Name, s)
		}
		heads[f.ID] = w.CheckJournal(f.ID)
	}
	w.mu.Lock()
	acks := append([]ack(nil), w.acks...)
	w.mu.Unlock()
	type revision struct {
		folder sendonce.FolderID
		seq    uint64
	}
	restored := map[revision]Tree{}
	for _, a := range acks {
		if a.seq > heads[a.client.ID] {
			w.T.Errorf("seq %d was acknowledged to %s, the journal ends at %d", a.seq, a.client.Name, heads[a.client.ID])
			continue
		}
		at := revision{a.client.ID, a.seq}
		got := restored[at]
		if got == nil {
			var err error
			if got, _, err = a.client.Restore(a.seq); err != nil {
				w.T.Errorf("seq %d, acknowledged to %s, does not restore: %v", a.seq, a.client.Name, err)
				continue
			}
			restored[at] = got
		}
		if a.tree != nil {
			w.same(fmt.Sprintf("seq %d, acknowledged to %s", a.seq, a.client.Name), a.tree, got.Below(a.client.Prefix))
		}
	}
	for _, c := range w.clients {
		want, err := ReadTree(c.Dir)
		w.must(err)
		got, _, err := c.Restore(0)
		w.must(err)
		w.same("the head, against the directory of "+c.Name, want.Below(c.Prefix), got.Below(c.Prefix))
	}
}

func (w *World) same(what string, want, got Tree) {
	w.T.Helper()
	diff := want.Diff(got)
	if len(diff) > 10 {
		diff = append(diff[:10], fmt.Sprintf("and %d more", len(diff)-10))
	}
	for _, d := range diff {
		w.T.Errorf("%s: %s", what, d)
	}
}

// CheckJournal checks that a folder's sequence numbers have no gap and that no
// entry has changed since it was first seen here, and returns the last one.
func (w *World) CheckJournal(folder sendonce.FolderID) uint64 {
	w.T.Helper()
	var last uint64
	ops := map[sendonce.OpID]uint64{}
	err := w.Proxy.Index.Entries(w.ctx, sendonce.DefaultTenant, folder, 0, 0, func(e indexdb.Entry) error {
		if last++; e.Seq != last {
			w.T.Errorf("entry %d follows entry %d", e.Seq, last-1)
			last = e.Seq
		}
		if at, twice := ops[e.Op]; twice {
			w.T.Errorf("entries %d and %d are of the same operation", at, e.Seq)
		}
		ops[e.Op] = e.Seq
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.seen[folder] == nil {
			w.seen[folder] = map[uint64]entrySeen{}
		}
		now := entrySeen{e.Digest, e.Chain, e.Op}
		if was, ok := w.seen[folder][e.Seq]; ok && was != now {
			w.T.Errorf("entry %d has changed", e.Seq)
		}
		w.seen[folder][e.Seq] = now
		return nil
	})
	w.must(err)
	return last
}

// CheckStore reads every record of the store and checks that it is whole and that
// its chunks hash to their IDs (I14), and returns how many chunks there are.
func (w *World) CheckStore() int {
	w.T.Helper()
	tenant, err := w.Proxy.Index.Tenant(w.ctx, sendonce.DefaultTenant)
	w.must(err)
	h := content.NewHasher(tenant.Key)
	u, err := content.NewUnpacker()
	w.must(err)
	segments, err := w.Proxy.Store.Segments(w.ctx)
	w.must(err)
	chunks := 0
	for _, s := range segments {
		err := w.Proxy.Store.Scan(w.ctx, s.ID, func(loc sendonce.Location, record []byte) error {
			r, err := content.ParseRecord(record)
			if err == nil {
				var plain []byte
				if plain, err = u.Decode(nil, r.Encoding, r.Payload, r.RawSize()); err == nil {
					err = content.Verify(h, &r, plain)
				}
			}
			if err != nil {
				w.T.Errorf("the record at %+v: %v", loc, err)
			}
			chunks += len(r.IDs)
			return nil
		})
		w.must(err)
	}
	return chunks
}
