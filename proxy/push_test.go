package proxy

import (
	"bytes"
	"testing"

	"sendonce"
	"sendonce/protocol"
)

func TestPushAndReadBack(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	files := map[string][]byte{"small": noise(1, 700), "one": noise(2, testChunk), "tree": noise(3, 40*testChunk+5), "long": bytes.Repeat(noise(4, testChunk), 9)}
	nodes := map[string]protocol.Change{}
	for name, data := range files {
		ch, _ := p.put(name, data)
		nodes[name] = ch
	}
	p.done()
	b := w.device(sendonce.RoleReadOnly, "docs")
	for name, data := range files {
		if got := b.fetchAll(f, nodes[name].Node, 0); !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes come back, not the %d that were pushed", name, len(got), len(data))
		}
	}
}

func TestSecondPushSendsNothing(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	data := noise(1, 50*testChunk)
	p := a.push(f)
	p.put("first", data)
	sent := p.bytes
	if sent != int64(len(data)) {
		t.Fatalf("%d bytes sent, want %d", sent, len(data))
	}
	p.put("second", data) // in the same push
	p.done()
	q := a.push(f) // in another
	q.put("third", data)
	if p.bytes != sent || q.bytes != 0 {
		t.Fatalf("sent %d more bytes in the same push and %d in the next one", p.bytes-sent, q.bytes)
	}
	// A device that may read the folder sends nothing either.
	r := w.device(sendonce.RoleReadWrite, "docs").push(f)
	r.put("fourth", data)
	if r.bytes != 0 {
		t.Fatalf("a reader of the folder sent %d bytes", r.bytes)
	}
}

// I11: chunks of a folder that a device may not read make no difference to it.
func TestUnreadableFolderLooksEmpty(t *testing.T) {
	w := newWorld(t)
	secret, open := w.folder("secret"), w.folder("open")
	data := noise(1, 20*testChunk)
	w.device(sendonce.RoleReadWrite, "secret").push(secret).put("f", data)
	for _, role := range []sendonce.Role{sendonce.RoleReadWrite, sendonce.RolePushOnly} {
		b := w.device(role, "open")
		p := b.push(open)
		p.put("probe "+role.String(), data)
		// Read-write devices of one folder see each other's; the first one, and
		// the push-only one, have to send everything.
		if p.bytes != int64(len(data)) {
			t.Errorf("%v: sent %d of %d bytes: it could tell that another folder has them", role, p.bytes, len(data))
		}
		st := b.open()
		w.must(st.Answer(&protocol.Read{Op: 1, Folder: secret, Node: secret.Root()}))
		there := wantFail(b, st, sendonce.KindNotFound).Detail
		w.must(st.Answer(&protocol.Read{Op: 2, Folder: sendonce.FolderID{9}, Node: secret.Root()}))
		if not := wantFail(b, st, sendonce.KindNotFound).Detail; not != there {
			t.Errorf("a folder that is there says %q, one that is not %q", there, not)
		}
		w.must(st.Answer(&protocol.Changes{Folder: secret}))
	}
}

func TestEditScript(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := noise(1, 100*testChunk)
	ch, first := p.put("f", data)

	// Chunk 50 is replaced, and one is added at the end.
	next := bytes.Clone(data)
	copy(next[50*testChunk:], noise(2, testChunk))
	next = append(next, noise(3, 100)...)
	nf := p.file(next)
	p.offers++
	w.must(p.st.Answer(&protocol.Offer{Op: p.offers, Node: ch.Node, Base: first.Receipt.Cursor.Seq, Last: true,
		Edits: []sendonce.Edit{{Keep: 50, Insert: 1}, {Skip: 1, Keep: 49, Insert: 1}},
		Refs:  []sendonce.Ref{nf.refs[50], nf.refs[100]}}))
	m := expect[*protocol.Missing](p)
	if !m.IsMissing(0) || !m.IsMissing(1) {
		t.Fatalf("missing bits %b", m.Bits)
	}
	p.sendAll([][]byte{next[50*testChunk : 51*testChunk], next[100*testChunk:]})
	second := p.committed(p.commit(protocol.Change{Node: ch.Node, Base: first.Receipt.Cursor.Seq, SetContent: true, Offer: p.offers, Root: p.root(nf)}))
	if got := a.fetchAll(f, ch.Node, second.Receipt.Cursor.Seq); !bytes.Equal(got, next) {
		t.Error("the new revision differs")
	}
	if got := a.fetchAll(f, ch.Node, first.Receipt.Cursor.Seq); !bytes.Equal(got, data) {
		t.Error("the old revision differs (I1)")
	}

	// The same edits on a revision that is not there, and a script that does not fit.
	for _, o := range []*protocol.Offer{
		{Node: ch.Node, Base: 999, Last: true, Edits: []sendonce.Edit{{Keep: 50}}},
		{Node: ch.Node, Base: first.Receipt.Cursor.Seq, Last: true, Edits: []sendonce.Edit{{Keep: 500}}},
	} {
		p.offers++
		o.Op = p.offers
		w.must(p.st.Answer(o))
		expect[*protocol.Missing](p)
		p.commit(protocol.Change{Node: ch.Node, Base: second.Receipt.Cursor.Seq, SetContent: true, Offer: p.offers})
		if f := expect[*protocol.Fail](p); f.Op != p.ops || f.Kind != sendonce.KindNotFound && f.Kind != sendonce.KindInvalid {
			t.Errorf("got %+v", f)
		}
	}
}

// Kept references are vouched for by the base revision only if that is the one
// replaced: an edit script against another node must not smuggle chunks in.
func TestEditScriptAgainstAnotherNode(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := noise(1, 30*testChunk)
	ch, first := p.put("f", data)
	p.offers++
	w.must(p.st.Answer(&protocol.Offer{Op: p.offers, Node: ch.Node, Base: first.Receipt.Cursor.Seq, Last: true, Edits: []sendonce.Edit{{Keep: 30}}}))
	expect[*protocol.Missing](p)
	copied := p.create("copy", p.offers, p.file(data))
	p.committed(p.commit(copied))
	if got := a.fetchAll(f, copied.Node, 0); !bytes.Equal(got, data) {
		t.Error("the copy differs")
	}
	// A push-only device cannot build on what it did not make.
	q := w.device(sendonce.RolePushOnly, "docs").push(f)
	q.offers++
	w.must(q.st.Answer(&protocol.Offer{Op: q.offers, Node: ch.Node, Base: first.Receipt.Cursor.Seq, Last: true, Edits: []sendonce.Edit{{Keep: 30}}}))
	expect[*protocol.Missing](q)
	q.commit(q.create("stolen", q.offers, q.file(data)))
	if f := expect[*protocol.Fail](q); f.Kind != sendonce.KindNotFound || f.Op != q.ops {
		t.Errorf("got %+v", f)
	}
}

// I7: the same commit again, in the same push, in a new one, and with its
// offers sent again.
func TestReplayedCommit(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := file{}
	data = p.file(noise(1, 30*testChunk))
	op := p.offer(data)
	p.sendAll(missing(data, expect[*protocol.Missing](p)))
	c := p.commit(p.create("f", op, data))
	first := p.committed(c)
	for range 3 {
		w.must(p.st.Answer(c))
		if again := p.committed(c); again.Receipt.Cursor != first.Receipt.Cursor || !again.Receipt.Time.Equal(first.Receipt.Time) {
			t.Fatalf("a replay gave %+v, the first answer was %+v", again, first)
		}
	}
	q := a.push(f)
	op = q.offer(data)
	if m := expect[*protocol.Missing](q); len(missing(data, m)) != 0 {
		t.Fatal("chunks are missing that were committed")
	}
	c.Changes[0].Offer = op
	c.Op = 77
	w.must(q.st.Answer(c))
	if again := q.committed(c); again.Receipt.Cursor != first.Receipt.Cursor {
		t.Fatalf("a replay in another push gave %+v, the first answer was %+v", again, first)
	}
}

func TestPackBeforeItsOffer(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)

	// While nothing is awaited.
	small := p.file(noise(1, 5000))
	p.sendPack(a, small.data)
	op := p.offer(small)
	expect[*protocol.Missing](p)
	c := p.commit(p.create("ahead", op, small))
	p.committed(c)

	// While something else is awaited: the pack is held until its offer comes.
	big, early := p.file(noise(2, 10*testChunk)), p.file(noise(3, 6000))
	first := p.offer(big)
	ask := missing(big, expect[*protocol.Missing](p))
	n := p.sendPack(a, early.data)
	waitFor(t, func() bool { return w.srv.metrics.ChunksUnasked.Load() >= 1 && w.srv.metrics.Packs.Load() >= int64(n) })
	second := p.offer(early)
	if m := expect[*protocol.Missing](p); m.IsMissing(0) {
		// The pack was still on its way: then it answers the question.
		t.Log("the offer overtook the pack")
	}
	p.sendAll(ask)
	p.committed(p.commit(p.create("big", first, big), p.create("early", second, early)))
	if w.srv.metrics.PacksRefused.Load() != 0 {
		t.Error("a pack that came early was refused")
	}
}

// A Data stream on another connection may overtake PushOpen.
func TestDataStreamBeforeItsPush(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	other := a.again(true)
	if other.welcome.TenantKey != [32]byte{} || other.welcome.Folders != nil {
		t.Error("a bulk connection's Welcome is not short")
	}
	p := &pusher{client: a, folder: f, acked: map[uint64]bool{}, id: sendonce.PushID{42}}
	data := p.file(noise(1, 5000))
	p.sendPack(other, data.data)
	p.reopen()
	op := p.offer(data)
	expect[*protocol.Missing](p)
	p.committed(p.commit(p.create("f", op, data)))

	// A pack of a push that another device has open reaches nobody.
	b := w.device(sendonce.RoleReadWrite, "")
	q := &pusher{client: b, folder: f, acked: map[uint64]bool{}, id: p.id}
	late := q.file(noise(2, 5000))
	op = p.offer(late)
	expect[*protocol.Missing](p)
	before := w.srv.metrics.Packs.Load()
	q.sendPack(b, late.data)
	p.sendPack(a, late.data)
	p.committed(p.commit(p.create("g", op, late)))
	if n := w.srv.metrics.Packs.Load() - before; n != 1 {
		t.Errorf("%d packs were received, want 1", n)
	}
}

func TestSeveralConnections(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	conns := []*client{a, a.again(true), a.again(true), a.again(true)}
	p := a.push(f)
	data := p.file(noise(1, 64*testChunk))
	op := p.offer(data)
	for i, b := range missing(data, expect[*protocol.Missing](p)) {
		p.sendPack(conns[i%4], b)
	}
	ch := p.create("f", op, data)
	p.committed(p.commit(ch))
	if got := a.fetchAll(f, ch.Node, 0); !bytes.Equal(got, data.data) {
		t.Error("the content differs")
	}
}
