package indextest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"sendonce"
	"sendonce/indexdb"
)

// World makes an empty index and returns what opens it: called again after the
// index was closed, open gives the same data, as after a restart. now is the
// clock that the index must use.
type World func(t testing.TB, now func() time.Time) (open func() indexdb.Index)

// MemWorld is the world of the rules over a memory engine.
func MemWorld(t testing.TB, now func() time.Time) func() indexdb.Index {
	m := newMem()
	return func() indexdb.Index {
		m = m.Reopen()
		db, err := indexdb.New(m, indexdb.Options{Now: now, Rand: &counter{}})
		must(t, err)
		return db
	}
}

// counter is a source of bytes that never repeats.
type counter struct{ n uint64 }

func (c *counter) Read(b []byte) (int, error) {
	for i := range b {
		c.n++
		b[i] = byte(c.n ^ c.n>>8)
	}
	return len(b), nil
}

const tenant = sendonce.DefaultTenant

var ctx = context.Background()

// world is one test's index, with a clock and a source of IDs.
type world struct {
	t     testing.TB
	open  func() indexdb.Index
	ix    indexdb.Index
	clock time.Time
	ids   uint64
}

func newWorld(t testing.TB, make World) *world {
	w := &world{t: t, clock: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}
	w.open = make(t, func() time.Time { return w.clock })
	w.ix = w.open()
	t.Cleanup(w.end)
	return w
}

// restart closes the index and opens it again.
func (w *world) restart() {
	w.t.Helper()
	must(w.t, w.ix.Close())
	w.ix = w.open()
}

// end checks every folder, as every test must, and closes the index.
func (w *world) end() {
	w.t.Helper()
	folders, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	for _, f := range folders {
		w.check(f.ID)
	}
	if err := w.ix.Close(); err != nil {
		w.t.Errorf("close: %v", err)
	}
}

func (w *world) check(f sendonce.FolderID) {
	w.t.Helper()
	if m, ok := w.ix.(indexdb.Maintainer); ok {
		found, err := m.Check(ctx, tenant, f)
		if err != nil {
			w.t.Errorf("check: %v", err)
		}
		for _, s := range found {
			w.t.Errorf("check: %s", s)
		}
	}
}

// maintainer skips the test if the index has no such ability.
func (w *world) maintainer() indexdb.Maintainer {
	m, ok := w.ix.(indexdb.Maintainer)
	if !ok {
		w.t.Skip("the index is no Maintainer")
	}
	return m
}

func (w *world) next() (b [16]byte) {
	w.ids++
	b[0] = byte(w.ids * 37) // not in order
	binary.BigEndian.PutUint64(b[8:], w.ids)
	return b
}

func (w *world) node() sendonce.NodeID       { return sendonce.NodeID(w.next()) }
func (w *world) op() sendonce.OpID           { return sendonce.OpID(w.next()) }
func (w *world) folderID() sendonce.FolderID { return sendonce.FolderID(w.next()) }

func (w *world) device() (d sendonce.DeviceID) {
	b := w.next()
	copy(d[:], b[:])
	return d
}

func (w *world) chunk() (id sendonce.ID) {
	b := w.next()
	copy(id[:], b[:])
	id[31] = 1
	return id
}

func (w *world) stored(ids ...sendonce.ID) (out []indexdb.Stored) {
	for _, id := range ids {
		w.ids++
		out = append(out, indexdb.Stored{ID: id, Size: 1000,
			Location: sendonce.Location{Segment: w.ids, Offset: 7, Length: 1000}, Index: uint32(w.ids % 5)})
	}
	return out
}

// folder makes a folder.
func (w *world) folder(name string, rule sendonce.NameRule) sendonce.FolderID {
	w.t.Helper()
	f, err := w.ix.CreateFolder(ctx, indexdb.Folder{ID: w.folderID(), Tenant: tenant, Name: name, Names: rule, Created: w.clock})
	must(w.t, err)
	return f.ID
}

// enrol enrols a device with a role in a folder, or, with "", in all.
func (w *world) enrol(role sendonce.Role, folder string) sendonce.DeviceID {
	w.t.Helper()
	d := w.device()
	w.grant(d, role, folder)
	return d
}

func (w *world) grant(d sendonce.DeviceID, role sendonce.Role, folder string) {
	w.t.Helper()
	token := [32]byte(w.device())
	must(w.t, w.ix.AddInvite(ctx, indexdb.Invite{Token: token, Tenant: tenant, Role: role, Folder: folder, Expires: w.clock.Add(time.Minute)}))
	_, err := w.ix.Redeem(ctx, token, d, fmt.Sprintf("device %x", d[8:16]), w.clock, w.folderID())
	must(w.t, err)
}

// peer is a device with a folder to push to.
type peer struct {
	*world
	who indexdb.Asker
}

func (w *world) peer(role sendonce.Role, folder string) *peer {
	w.t.Helper()
	f := w.folder(folder, sendonce.NamesExact)
	return w.as(w.enrol(role, folder), f)
}

func (w *world) as(d sendonce.DeviceID, f sendonce.FolderID) *peer {
	return &peer{w, indexdb.Asker{Tenant: tenant, Device: d, Folder: f}}
}

func (p *peer) root() sendonce.NodeID { return p.who.Folder.Root() }

func (p *peer) commit(changes ...indexdb.Change) (indexdb.Result, error) {
	return p.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: p.op(), Time: p.clock, Changes: changes})
}

// ok commits what must succeed and returns the sequence number.
func (p *peer) ok(changes ...indexdb.Change) uint64 {
	p.t.Helper()
	r, err := p.commit(changes...)
	must(p.t, err)
	return r.Cursor.Seq
}

// conflict commits what must fail with one reason for each node given.
func (p *peer) conflict(changes []indexdb.Change, want ...indexdb.ConflictNode) {
	p.t.Helper()
	before := p.head()
	_, err := p.commit(changes...)
	var c *indexdb.ConflictError
	if sendonce.KindOf(err) != sendonce.KindConflict || !errors.As(err, &c) {
		p.t.Fatalf("no conflict, but %v", err)
	}
	if len(c.Nodes) != len(want) {
		p.t.Fatalf("%d conflicts (%v), want %d", len(c.Nodes), c, len(want))
	}
	for i, n := range c.Nodes {
		if n.Node != want[i].Node || n.Reason != want[i].Reason {
			p.t.Errorf("conflict %d is node %s, %s; want %s, %s", i, n.Node, n.Reason, want[i].Node, want[i].Reason)
		}
		if (n.Current == nil) != (want[i].Current == nil) || n.Current != nil && n.Current.ID != want[i].Current.ID {
			p.t.Errorf("conflict %d: current is %+v, want %+v", i, n.Current, want[i].Current)
		}
	}
	if p.head() != before {
		p.t.Error("a refused commit moved the head")
	}
}

// refused commits what must fail with an error of a kind.
func (p *peer) refused(kind sendonce.ErrKind, changes ...indexdb.Change) {
	p.t.Helper()
	if _, err := p.commit(changes...); sendonce.KindOf(err) != kind {
		p.t.Errorf("got %v, want %v", err, kind)
	}
}

func (p *peer) head() sendonce.Cursor {
	p.t.Helper()
	c, err := p.ix.Head(ctx, tenant, p.who.Folder)
	must(p.t, err)
	return c
}

// get reads one node at a seq.
func (p *peer) get(id sendonce.NodeID, at uint64) *sendonce.Node {
	p.t.Helper()
	n, err := p.ix.Nodes(ctx, tenant, p.who.Folder, at, []sendonce.NodeID{id})
	must(p.t, err)
	return n[0]
}

// names lists a directory.
func (p *peer) names(at uint64, dir sendonce.NodeID, from string) (out []string) {
	p.t.Helper()
	must(p.t, p.ix.Children(ctx, tenant, p.who.Folder, at, dir, from, func(n *sendonce.Node) (bool, error) {
		out = append(out, n.Name)
		return true, nil
	}))
	return out
}

func (p *peer) present(ids ...sendonce.ID) string {
	p.t.Helper()
	got, err := p.ix.Present(ctx, p.who, ids)
	must(p.t, err)
	s := ""
	for _, ok := range got {
		if ok {
			s += "+"
		} else {
			s += "-"
		}
	}
	return s
}

func dir(id, parent sendonce.NodeID, name string) indexdb.Change {
	return indexdb.Change{Node: id, SetPlace: true, Parent: parent, Name: name, Kind: sendonce.KindDir, SetMeta: true, Mode: 0o755}
}

func file(id, parent sendonce.NodeID, name, inline string) indexdb.Change {
	return indexdb.Change{Node: id, SetPlace: true, Parent: parent, Name: name, Kind: sendonce.KindFile, SetMeta: true, Mode: 0o644,
		SetContent: true, Size: int64(len(inline)), Content: sendonce.Content{Inline: []byte(inline)}}
}

func chunked(id, parent sendonce.NodeID, name string, ids ...sendonce.ID) indexdb.Change {
	c := file(id, parent, name, "")
	c.Refs = ids
	for _, id := range ids {
		c.Content.Refs = append(c.Content.Refs, sendonce.Ref{ID: id, Size: 1000})
		c.Size += 1000
	}
	c.Content.Inline = nil
	return c
}

// tree is a file whose content is one page over some chunks.
func tree(id, parent sendonce.NodeID, name string, root sendonce.ID, chunks ...sendonce.ID) indexdb.Change {
	c := file(id, parent, name, "")
	c.Size = int64(1000 * len(chunks))
	c.Content = sendonce.Content{Root: root, Level: 1, Count: uint64(len(chunks))}
	c.Refs, c.Pages = chunks, []sendonce.ID{root}
	return c
}

func move(id sendonce.NodeID, base uint64, parent sendonce.NodeID, name string) indexdb.Change {
	return indexdb.Change{Node: id, Base: base, SetPlace: true, Parent: parent, Name: name}
}

func del(id sendonce.NodeID, base uint64) indexdb.Change {
	return indexdb.Change{Node: id, Base: base, Delete: true}
}

func edit(id sendonce.NodeID, base uint64, inline string) indexdb.Change {
	return indexdb.Change{Node: id, Base: base, SetContent: true, Size: int64(len(inline)), Content: sendonce.Content{Inline: []byte(inline)}}
}

// why is a conflict to expect; current zero: none.
func why(node sendonce.NodeID, reason indexdb.ConflictReason, current ...sendonce.NodeID) indexdb.ConflictNode {
	n := indexdb.ConflictNode{Node: node, Reason: reason}
	if len(current) > 0 {
		n.Current = &sendonce.Node{ID: current[0]}
	}
	return n
}
