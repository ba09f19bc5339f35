package proxy

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"sendonce"
	"sendonce/content"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
)

// impatient limits make the waits of tests short.
var impatient = Limits{PackGrace: 30 * time.Millisecond, CommitPatience: 300 * time.Millisecond, StopPatience: 5 * time.Second}

// Chunks that do not hash to what was asked for never arrive: the packs are
// refused, the third one ends the push, and nothing is committed.
func TestWrongHash(t *testing.T) {
	w := newWorld(t, limits(impatient))
	f := w.folder("docs")
	p := w.device(sendonce.RoleReadWrite, "").push(f)
	data := p.file(noise(1, 3*testChunk))
	op := p.offer(data)
	expect[*protocol.Missing](p)
	for i := range 2 {
		n := p.sendPack(p.client, noise(uint64(100+i), testChunk))
		if f := expect[*protocol.Fail](p); f.Kind != sendonce.KindDamaged || f.Op != n {
			t.Fatalf("got %+v, want KindDamaged for pack %d", f, n)
		}
	}
	p.commit(p.create("f", op, data))
	m := expect[*protocol.Missing](p)
	if m.Op != p.ops || len(m.IDs) != 3 {
		t.Fatalf("the commit got %+v, want its 3 chunks missing", m)
	}
	p.sendPack(p.client, noise(200, testChunk))
	wantGone(p.client, p.st, sendonce.KindDamaged)
	if head, _ := w.index.Head(context.Background(), sendonce.DefaultTenant, f); head.Seq != 0 {
		t.Error("something was committed")
	}
	if w.srv.metrics.ChunksUnasked.Load() != 3 || w.srv.metrics.PacksRefused.Load() != 3 {
		t.Error("the counters do not tell")
	}
}

func TestBomb(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	p := w.device(sendonce.RoleReadWrite, "").push(f)
	data := p.file(noise(1, 3*testChunk))
	op := p.offer(data)
	ask := missing(data, expect[*protocol.Missing](p))
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	w.must(err)
	bomb := enc.EncodeAll(make([]byte, 256<<20), nil)
	n := p.sendRaw(p.client, &protocol.PackHeader{Sizes: []uint32{testChunk}, Encoding: content.EncodingZstd, Length: uint32(len(bomb))}, bomb)
	if f := expect[*protocol.Fail](p); f.Kind != sendonce.KindDamaged || f.Op != n {
		t.Fatalf("got %+v", f)
	}
	// An unknown encoding, and a raw pack of another length.
	p.sendRaw(p.client, &protocol.PackHeader{Sizes: []uint32{10}, Encoding: 77, Length: 10}, make([]byte, 10))
	if f := expect[*protocol.Fail](p); f.Kind != sendonce.KindDamaged {
		t.Fatalf("got %+v", f)
	}
	p.sendAll(ask)
	p.committed(p.commit(p.create("f", op, data))) // the push goes on
	if n := w.srv.metrics.MemoryBytes.Load(); n != 0 {
		t.Errorf("%d bytes of memory are still accounted for", n)
	}
}

// What the protocol's own decoder refuses ends the stream and nothing else.
func TestBrokenStreams(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	raw := func(b []byte) {
		t.Helper()
		st := a.open()
		st.Raw.Write(b)
		st.Raw.Close()
		wantGone(a, st, 0)
	}
	raw([]byte{5, 200, 1, 2, 3, 4})                                    // unknown type
	raw([]byte{0xff, 0xff, 0xff, 0x7f})                                // far too long
	raw([]byte{9, byte(protocol.TypePushOpen), 1})                     // truncated
	raw(append([]byte{9, byte(protocol.TypePushOpen)}, "notproto"...)) // malformed
	raw(binary.AppendUvarint(nil, sendonce.MaxFrame+1))                // one byte too long
	for _, first := range []protocol.Message{
		&protocol.Hello{Version: 1}, &protocol.Offer{Op: 1}, &protocol.Done{Op: 1}, &protocol.Missing{Op: 1}, &protocol.StoredAck{Op: 1},
	} {
		st := a.open()
		w.must(st.Answer(first))
		wantFail(a, st, sendonce.KindInvalid)
	}
	for _, m := range []protocol.Message{
		&protocol.PushOpen{Folder: f, Push: sendonce.PushID{1}}, &protocol.List{Op: 1, Folder: f}, &protocol.Done{Op: 1},
	} {
		p := a.push(f)
		w.must(p.st.Answer(m))
		wantGone(a, p.st, sendonce.KindInvalid)
	}
	// Data streams: not a pack, an oversized one, a truncated one.
	p := a.push(f)
	for _, b := range [][]byte{{3, byte(protocol.TypeDone), 8, 1}, {0xff, 0xff, 0xff, 0x7f}} {
		s, err := a.conn.OpenSend(context.Background())
		w.must(err)
		s.Write(b)
		s.Close()
	}
	h, err := protocol.AppendFrame(nil, &protocol.PackHeader{Push: p.id, Op: 1, Sizes: []uint32{testChunk}, Length: testChunk})
	w.must(err)
	s, err := a.conn.OpenSend(context.Background())
	w.must(err)
	s.Write(append(h, 1, 2, 3))
	s.Close()
	waitFor(t, func() bool { return w.srv.metrics.MemoryBytes.Load() == 0 })
	p.put("still", noise(1, 5000))

	// Another Hello asks for a new Welcome; anything else on the Control stream
	// ends the connection.
	w.must(a.control.Answer(&protocol.Hello{Version: 1}))
	if m := want[*protocol.Welcome](a, a.control); len(m.Folders) != 1 || m.Folders[0].Head.Seq != 1 {
		t.Errorf("the new Welcome says %+v", m.Folders)
	}
	w.must(a.control.Answer(&protocol.Done{Op: 1}))
	wantGone(a, a.control, sendonce.KindInvalid)
	wantGone(p.client, p.st, sendonce.KindInvalid)
}

func TestWrongCommits(t *testing.T) {
	w := newWorld(t, limits(impatient))
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := p.file(noise(1, 40*testChunk))
	upload := func(refs []sendonce.Ref) uint64 {
		op := p.offer(file{refs: refs})
		if m := expect[*protocol.Missing](p); len(m.Bits) > 0 && m.IsMissing(0) {
			p.sendAll(missing(data, m))
		}
		return op
	}
	good := upload(data.refs)
	wrongRoot := p.create("f", good, data)
	wrongRoot.Root[5] ^= 1
	shorter := append([]sendonce.Ref(nil), data.refs...)
	shorter[3].Size--
	tiny := p.file(noise(2, 100))
	tinyOp := p.offer(tiny)
	p.sendAll(missing(tiny, expect[*protocol.Missing](p)))
	for name, ch := range map[string]protocol.Change{
		"wrong root":           wrongRoot,
		"wrong size":           func() protocol.Change { c := p.create("f", upload(shorter), data); c.Root = sendonce.ID{}; return c }(),
		"unknown offer":        p.create("f", 999, data),
		"small and not inline": p.create("f", tinyOp, tiny),
	} {
		p.commit(ch)
		if f := expect[*protocol.Fail](p); f.Op != p.ops || f.Kind != sendonce.KindInvalid {
			t.Errorf("%s: got %+v", name, f)
		}
	}
	// An offer that is not complete.
	p.offers++
	w.must(p.st.Answer(&protocol.Offer{Op: p.offers, Refs: data.refs[:1]}))
	expect[*protocol.Missing](p)
	p.commit(p.create("f", p.offers, data))
	if f := expect[*protocol.Fail](p); f.Kind != sendonce.KindInvalid {
		t.Errorf("got %+v", f)
	}
	w.must(p.st.Answer(&protocol.Offer{Op: p.offers, Last: true}))
	expect[*protocol.Missing](p)
	p.committed(p.commit(p.create("f", good, data))) // after all of that

	// Offers out of order end the push.
	w.must(p.st.Answer(&protocol.Offer{Op: 1, Last: true}))
	wantGone(a, p.st, sendonce.KindInvalid)
}

func TestLimits(t *testing.T) {
	l := impatient
	l.PushRefs, l.Pushes, l.Connections, l.Unasked, l.FetchRefs = 300, 2, 2, 5, 20
	w := newWorld(t, limits(l))
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	a.again(true)
	d, err := w.connect(a.key, &protocol.Hello{Version: 1})
	if err == nil { // it is told after Hello, when it is known who it is
		wantGone(d, d.control, sendonce.KindLimit)
	} else if sendonce.KindOf(err) != sendonce.KindLimit {
		t.Errorf("a third connection: %v", err)
	}
	p, _ := a.push(f), a.push(f)
	st := a.open()
	w.must(st.Answer(&protocol.PushOpen{Folder: f, Push: sendonce.PushID{7}}))
	wantFail(a, st, sendonce.KindLimit)

	ch, _ := p.put("f", noise(1, 60*testChunk))
	st = a.open()
	w.must(st.Answer(&protocol.Fetch{Op: 5, Folder: f, Items: []protocol.FetchItem{{Node: ch.Node}}}))
	if got, fail := a.chunks(st); fail == nil || fail.Kind != sendonce.KindLimit || len(got) > 20 {
		t.Errorf("a fetch of 60 chunks: %d came, %+v", len(got), fail)
	}
	for i := range 6 {
		p.sendPack(a, noise(uint64(i), 2000))
	}
	wantGone(a, p.st, sendonce.KindLimit)
	waitFor(t, func() bool { return w.srv.pushes.Open() == 1 })

	q := a.push(f)
	big := q.file(noise(9, 400*100))
	refs := big.refs
	for len(refs) < 400 {
		refs = append(refs, refs...)
	}
	q.offer(file{refs: refs})
	wantGone(a, q.st, sendonce.KindLimit)
}

// A peer that opens things and says nothing is cut off.
func TestSilence(t *testing.T) {
	l := impatient
	l.PeerPatience = 50 * time.Millisecond
	w := newWorld(t, limits(l))
	conn, err := w.net.Dialer(w.srv.cfg.Key).Dial(context.Background(), "proxy", prototest.ID(w.srv.cfg.Key), false)
	w.must(err)
	defer conn.Close(0, "")
	if _, err := conn.Accept(context.Background()); sendonce.KindOf(err) != sendonce.KindUnavailable {
		t.Errorf("a connection without Hello ended with %v", err)
	}
	a := w.device(sendonce.RoleReadWrite, "")
	st := a.open()
	st.Raw.Write([]byte{50}) // the beginning of a frame
	wantGone(a, st, sendonce.KindUnavailable)

	// One that asks for much and does not read: what it is told does not fit into
	// the window.
	f := w.folder("docs")
	p := a.push(f)
	ch, _ := p.put("f", noise(1, 150*testChunk))
	st = a.open()
	w.must(st.Answer(&protocol.Fetch{Op: 1, Folder: f, Items: []protocol.FetchItem{{Node: ch.Node}}}))
	waitFor(t, func() bool { return w.srv.metrics.SentPackBytes.Load() > 0 })
	time.Sleep(200 * time.Millisecond) // the proxy loses its patience meanwhile
	var err2 error
	for err2 == nil {
		var m protocol.Message
		if m, err2 = a.tryNext(st); err2 == nil {
			if _, ok := m.(*protocol.PackHeader); ok {
				_, err2 = st.Body(nil)
			}
			if _, ok := m.(*protocol.Done); ok {
				t.Fatal("everything came to a peer that did not read")
			}
		}
	}
}
