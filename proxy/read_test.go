package proxy

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sendonce"
	"sendonce/blobstore/blobtest"
	"sendonce/content"
	"sendonce/protocol"
	"sendonce/proxy/stream"
)

// dir makes a directory and returns its node.
func (p *pusher) dir(parent sendonce.NodeID, name string) sendonce.NodeID {
	p.w.t.Helper()
	id := newNode()
	p.committed(p.commit(protocol.Change{Node: id, SetPlace: true, Parent: parent, Name: name, Kind: sendonce.KindDir, SetMeta: true, Mode: 0o755}))
	return id
}

// list asks for a List and returns what comes.
func (c *client) list(st *stream.Stream, m *protocol.List) ([]sendonce.Node, *protocol.Fail) {
	c.w.t.Helper()
	c.w.must(st.Answer(m))
	var nodes []sendonce.Node
	for {
		switch a := c.next(st).(type) {
		case *protocol.NodeList:
			nodes = append(nodes, a.Nodes...)
			if a.Done {
				return nodes, nil
			}
		case *protocol.Fail:
			if a.Op != m.Op {
				c.w.t.Fatalf("Fail for %d, want %d", a.Op, m.Op)
			}
			return nil, a
		default:
			c.w.t.Fatalf("got %T", a)
		}
	}
}

func names(nodes []sendonce.Node) (out []string) {
	for _, n := range nodes {
		out = append(out, n.Name)
	}
	return out
}

func TestList(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	sub := p.dir(f.Root(), "sub")
	deep := p.dir(sub, "deep")
	p.put("top", noise(1, 5000))
	seq := w.headOf(f).Seq
	var changes []protocol.Change
	for i := range 900 { // more than is read at a time
		changes = append(changes, protocol.Change{Node: newNode(), SetPlace: true, Parent: deep, Name: fmt.Sprintf("n%04d", i), Kind: sendonce.KindSymlink, SetContent: true, Target: "x"})
	}
	p.committed(p.commit(changes...))

	st := a.open()
	if got, _ := a.list(st, &protocol.List{Op: 1, Folder: f}); !slices.Equal(names(got), []string{"sub", "top"}) {
		t.Errorf("root: %q", names(got))
	}
	if got, _ := a.list(st, &protocol.List{Op: 2, Folder: f, Recursive: true}); len(got) != 903 || got[1].ID != deep || got[902].Name != "top" {
		t.Errorf("recursive: %d nodes", len(got))
	}
	if got, _ := a.list(st, &protocol.List{Op: 3, Folder: f, At: seq, Recursive: true}); !slices.Equal(names(got), []string{"sub", "deep", "top"}) {
		t.Errorf("at %d: %q", seq, names(got))
	}
	if got, _ := a.list(st, &protocol.List{Op: 4, Folder: f, Path: "sub/deep/n0899"}); len(got) != 1 || got[0].Target != "x" {
		t.Errorf("path: %+v", got)
	}
	if got, _ := a.list(st, &protocol.List{Op: 5, Folder: f, Node: sub, Path: "deep"}); len(got) != 901 || got[0].ID != deep {
		t.Errorf("path from a node: %d nodes", len(got))
	}
	for _, path := range []string{"nothing", "sub/nothing", "top/x", "sub/deep/n09"} {
		if _, fail := a.list(st, &protocol.List{Op: 6, Folder: f, Path: path}); fail == nil || fail.Kind != sendonce.KindNotFound {
			t.Errorf("%s: %+v", path, fail)
		}
	}
	if _, fail := a.list(st, &protocol.List{Op: 7, Folder: f, At: 999}); fail == nil || fail.Kind != sendonce.KindNotFound {
		t.Errorf("a seq that is not there yet: %+v", fail)
	}
	if _, fail := a.list(st, &protocol.List{Op: 8, Folder: f, Node: newNode()}); fail == nil || fail.Kind != sendonce.KindNotFound {
		t.Errorf("an unknown node: %+v", fail)
	}
	// A push-only device reads nothing at all.
	b := w.device(sendonce.RolePushOnly, "docs")
	if _, fail := b.list(b.open(), &protocol.List{Op: 1, Folder: f}); fail == nil || fail.Kind != sendonce.KindUnauthorized {
		t.Errorf("push-only: %+v", fail)
	}
}

func (w *world) headOf(f sendonce.FolderID) sendonce.Cursor {
	w.t.Helper()
	c, err := w.index.Head(context.Background(), sendonce.DefaultTenant, f)
	w.must(err)
	return c
}

func TestLog(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	ch, first := p.put("f", noise(1, 700))
	for i := range 300 {
		p.ops++
		w.must(p.st.Answer(&protocol.Commit{Op: p.ops, ID: newOp(), Snapshot: i%100 == 99, Changes: []protocol.Change{
			{Node: newNode(), SetPlace: true, Parent: f.Root(), Name: fmt.Sprint(i), Kind: sendonce.KindDir}}}))
		expect[*protocol.Committed](p)
	}
	last := p.committed(p.commit(protocol.Change{Node: ch.Node, Base: first.Receipt.Cursor.Seq, SetMeta: true, Mode: 0o600}))
	st := a.open()
	ask := func(m *protocol.Log) (out []protocol.LogEntry) {
		t.Helper()
		m.Op, m.Folder = 1, f
		w.must(st.Answer(m))
		for {
			a := want[*protocol.LogEntries](a, st)
			out = protocol.JoinEntries(out, a.Entries)
			if a.Done {
				return out
			}
		}
	}
	all := ask(&protocol.Log{})
	if len(all) != 302 {
		t.Fatalf("%d entries", len(all))
	}
	for i, e := range all {
		if e.Seq != uint64(302-i) || e.Device != a.id || e.DeviceName != "device" || e.Changes != 1 {
			t.Fatalf("entry %d is %+v", i, e)
		}
	}
	if all[0].Chain != last.Receipt.Cursor.Chain {
		t.Error("the chain is not the receipt's")
	}
	if got := ask(&protocol.Log{Limit: 2, Before: 100}); len(got) != 2 || got[0].Seq != 99 {
		t.Errorf("before 100: %+v", got)
	}
	if got := ask(&protocol.Log{Snapshots: true}); len(got) != 3 || got[2].Seq != 101 {
		t.Errorf("snapshots: %+v", got)
	}
	got := ask(&protocol.Log{Node: ch.Node, WithNodes: true})
	if len(got) != 2 || got[0].Seq != 302 || got[1].Seq != 1 || got[1].Nodes[0].Mode != 0o644 || got[0].Nodes[0].Mode != 0o600 {
		t.Errorf("of a node: %+v", got)
	}
}

func TestFetchRanges(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	data := noise(1, 2000*testChunk) // two windows
	ch, done := p.put("f", data)
	rev := done.Receipt.Cursor.Seq
	if got := a.fetchAll(f, ch.Node, rev); !bytes.Equal(got, data) {
		t.Fatal("the whole differs")
	}
	whole := w.srv.metrics.PacksWhole.Load()
	if whole < 100 {
		t.Errorf("%d packs were passed on whole", whole)
	}
	st := a.open()
	w.must(st.Answer(&protocol.Fetch{Op: 1, Folder: f, Items: []protocol.FetchItem{
		{Node: ch.Node, Rev: rev, First: 5, Count: 2}, {Node: ch.Node, First: 1999}, {Node: ch.Node, First: 6, Count: 2}}}))
	got, fail := a.chunks(st)
	if fail != nil || len(got) != 4 {
		t.Errorf("%d chunks, want 5, 6, 7 and 1999 alone; %+v", len(got), fail)
	}
	for _, i := range []int{5, 6, 7, 1999} {
		if b := got[a.hasher.Chunk(data[i*testChunk:(i+1)*testChunk])]; len(b) != testChunk {
			t.Errorf("chunk %d is not there", i)
		}
	}
	// What cannot be had does not keep the rest back.
	w.must(st.Answer(&protocol.Fetch{Op: 2, Folder: f, Items: []protocol.FetchItem{
		{Node: newNode()}, {Node: ch.Node, Rev: 999}, {Node: ch.Node, First: 1990, Count: 99}, {Node: f.Root()}, {Node: ch.Node, First: 3, Count: 1}}}))
	got, fail = a.chunks(st)
	if fail == nil || fail.Op != 2 || fail.Kind != sendonce.KindNotFound || len(got) != 1 {
		t.Errorf("%d chunks, %+v", len(got), fail)
	}
	w.must(st.Answer(&protocol.Fetch{Op: 3, Folder: f})) // and the stream goes on
	if got, fail := a.chunks(st); len(got) != 0 || fail != nil {
		t.Errorf("an empty fetch: %d chunks, %+v", len(got), fail)
	}
}

// A stored pack goes to a reader whole only if the folder that is read
// references all of it (I11).
func TestWholePackKeepsFoldersApart(t *testing.T) {
	w := newWorld(t)
	secret, open := w.folder("secret"), w.folder("open")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(secret)
	data := p.file(noise(1, 10*testChunk))
	op := p.offer(data)
	ask := missing(data, expect[*protocol.Missing](p))
	p.sendPack(a, ask...) // one pack
	p.committed(p.commit(p.create("all", op, data)))
	// The open folder gets nine of the ten chunks, without sending them again.
	q := a.push(open)
	part := q.file(data.data[:9*testChunk])
	op = q.offer(part)
	if len(missing(part, expect[*protocol.Missing](q))) != 0 {
		t.Fatal("chunks are missing that the device may read")
	}
	ch := q.create("part", op, part)
	q.committed(q.commit(ch))

	b := w.device(sendonce.RoleReadOnly, "open")
	st := b.open()
	w.must(st.Answer(&protocol.Fetch{Op: 1, Folder: open, Items: []protocol.FetchItem{{Node: ch.Node}}}))
	got, fail := b.chunks(st)
	if fail != nil || len(got) != 9 {
		t.Errorf("%d chunks came, want the 9 of the folder; %+v", len(got), fail)
	}
	if got[data.refs[9].ID] != nil {
		t.Error("a chunk of another folder came")
	}
	if w.srv.metrics.PacksWhole.Load() != 0 {
		t.Error("the pack went whole")
	}
	// The other folder's reader gets the pack as it is, even for less than all.
	w.must(st.Answer(&protocol.Read{Op: 2, Folder: secret, Node: ch.Node}))
	wantFail(b, st, sendonce.KindNotFound)
	sa := a.open()
	w.must(sa.Answer(&protocol.Fetch{Op: 1, Folder: secret, Items: []protocol.FetchItem{{Node: nodeNamed(w, secret, "all"), First: 2}}}))
	if got, fail := a.chunks(sa); fail != nil || len(got) != 10 || w.srv.metrics.PacksWhole.Load() != 1 {
		t.Errorf("%d chunks, %+v", len(got), fail)
	}
}

func nodeNamed(w *world, f sendonce.FolderID, name string) (id sendonce.NodeID) {
	w.t.Helper()
	w.must(w.index.Children(context.Background(), sendonce.DefaultTenant, f, 0, f.Root(), "", func(n *sendonce.Node) (bool, error) {
		if n.Name == name {
			id = n.ID
		}
		return true, nil
	}))
	return id
}

// I14: a damaged chunk is named, flagged, answered missing, and healed by the
// next device that has it; everything else still comes.
func TestDamagedChunk(t *testing.T) {
	store := &rotten{Mem: blobtest.NewMem()}
	w := newWorld(t, func(w *world, c *Config) { c.Store = store })
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	good, _ := p.put("good", noise(1, 5*testChunk))
	bad, _ := p.put("bad", noise(2, 5*testChunk))
	badFile := p.file(noise(2, 5*testChunk))
	store.rot = badFile.refs[2].ID
	st := a.open()
	items := []protocol.FetchItem{{Node: bad.Node, First: 2, Count: 1}, {Node: good.Node, Count: 4}}
	w.must(st.Answer(&protocol.Fetch{Op: 1, Folder: f, Items: items}))
	got, fail := a.chunks(st)
	if fail == nil || fail.Kind != sendonce.KindDamaged || !strings.Contains(fail.Detail, "bad") || len(got) < 4 {
		t.Fatalf("%d chunks, %+v", len(got), fail)
	}
	store.rot = sendonce.ID{}
	op := p.offer(badFile)
	m := expect[*protocol.Missing](p)
	if !m.IsMissing(2) || m.IsMissing(0) {
		t.Fatalf("missing %b, want the damaged chunk alone", m.Bits)
	}
	p.sendAll(missing(badFile, m))
	p.committed(p.commit(p.create("again", op, badFile)))
	if got := a.fetchAll(f, bad.Node, 0); !bytes.Equal(got, badFile.data) {
		t.Error("the first file is not healed")
	}
}

// rotten is a store in which one chunk's bytes have changed, in a record whose
// checksum is right: only hashing the chunk shows it.
type rotten struct {
	*blobtest.Mem
	rot sendonce.ID
}

func (s *rotten) Get(ctx context.Context, locs []sendonce.Location, fn func(int, []byte) error) error {
	return s.Mem.Get(ctx, locs, func(i int, record []byte) error {
		rec, err := content.ParseRecord(record)
		if err != nil || !slices.Contains(rec.IDs, s.rot) {
			return fn(i, record)
		}
		un, err := content.NewUnpacker()
		if err != nil {
			return err
		}
		plain, err := un.Decode(nil, rec.Encoding, rec.Payload, rec.RawSize())
		if err != nil {
			return err
		}
		at := 0
		for j, id := range rec.IDs {
			if id == s.rot {
				plain[at] ^= 1
			}
			at += int(rec.Sizes[j])
		}
		rec.Encoding, rec.Payload = content.EncodingRaw, plain
		return fn(i, content.AppendRecord(nil, &rec))
	})
}
