package proxy

import (
	"context"
	"crypto/rand"
	"slices"
	"testing"
	"time"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/stream"
)

// follow opens a Changes stream.
func (c *client) follow(f sendonce.FolderID, at sendonce.Cursor) *stream.Stream {
	c.w.t.Helper()
	st := c.open()
	c.w.must(st.Answer(&protocol.Changes{Folder: f, Cursor: at}))
	return st
}

// set reads frames up to one that completes a set.
func (c *client) set(st *stream.Stream) (nodes []sendonce.Node, first, last *protocol.ChangeSet) {
	c.w.t.Helper()
	for {
		m := want[*protocol.ChangeSet](c, st)
		if first == nil {
			first = m
		}
		nodes = append(nodes, m.Nodes...)
		if m.Complete {
			return nodes, first, m
		}
	}
}

func TestChanges(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a, b := w.device(sendonce.RoleReadWrite, ""), w.device(sendonce.RoleReadOnly, "docs")
	p := a.push(f)

	// From the start, before the first commit: the root alone.
	live := b.follow(f, sendonce.Cursor{})
	nodes, first, last := b.set(live)
	if len(nodes) != 1 || nodes[0].ID != f.Root() || !first.Restart || first.Forked || last.Through.Seq != 0 {
		t.Fatalf("an empty folder: %+v %+v", nodes, last)
	}
	// Live.
	ch, done := p.put("f", noise(1, 700))
	nodes, first, last = b.set(live)
	if len(nodes) != 1 || nodes[0].ID != ch.Node || first.Restart || last.Through != done.Receipt.Cursor {
		t.Fatalf("live: %+v %+v", nodes, last)
	}
	sub := p.dir(f.Root(), "sub")
	del := p.committed(p.commit(protocol.Change{Node: sub, Base: w.headOf(f).Seq, Delete: true}))
	var seen []sendonce.Node
	for {
		nodes, _, last = b.set(live)
		seen = append(seen, nodes...)
		if last.Through == del.Receipt.Cursor {
			break
		}
	}
	if n := seen[len(seen)-1]; n.ID != sub || !n.Deleted {
		t.Fatalf("a delete: %+v", seen)
	}
	// From a cursor: each node once, as it is now.
	nodes, first, last = b.set(b.follow(f, done.Receipt.Cursor))
	if len(nodes) != 1 || !nodes[0].Deleted || first.Restart || last.Through != del.Receipt.Cursor {
		t.Fatalf("from a cursor: %+v %+v", nodes, last)
	}
	// From the head: nothing, but said so.
	nodes, _, last = b.set(b.follow(f, del.Receipt.Cursor))
	if len(nodes) != 0 || last.Through != del.Receipt.Cursor {
		t.Fatalf("from the head: %+v %+v", nodes, last)
	}
	// From a history that is not the server's.
	for _, c := range []sendonce.Cursor{{Seq: 2, Chain: [32]byte{1}}, {Seq: 99}} {
		nodes, first, last = b.set(b.follow(f, c))
		if !first.Restart || !first.Forked || len(nodes) != 2 || last.Through != del.Receipt.Cursor {
			t.Fatalf("from %v: %+v %+v", c, nodes, last)
		}
	}
	st := b.follow(sendonce.FolderID{9}, sendonce.Cursor{})
	wantFail(b, st, sendonce.KindNotFound)
}

// More than fits into one run, and parents before children in a listing.
func TestChangesInRuns(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	total := 0
	for i := range 7 {
		var changes []protocol.Change
		dir := newNode()
		changes = append(changes, protocol.Change{Node: dir, SetPlace: true, Parent: f.Root(), Name: string(rune('a' + i)), Kind: sendonce.KindDir})
		for j := range 900 {
			changes = append(changes, protocol.Change{Node: newNode(), SetPlace: true, Parent: dir, Name: time.Duration(j).String(), Kind: sendonce.KindFile})
		}
		p.committed(p.commit(changes...))
		total += len(changes)
	}
	st := a.follow(f, sendonce.Cursor{})
	nodes, _, last := a.set(st)
	if len(nodes) != total+1 || last.Through != w.headOf(f) {
		t.Fatalf("a listing of %d nodes, want %d", len(nodes), total+1)
	}
	known := map[sendonce.NodeID]bool{{}: true}
	for _, n := range nodes {
		if !known[n.Parent] {
			t.Fatalf("%q comes before its parent", n.Name)
		}
		known[n.ID] = true
	}
	var entry sendonce.Cursor
	w.must(w.index.Entries(context.Background(), sendonce.DefaultTenant, f, 0, 1, func(e indexdb.Entry) error {
		entry = sendonce.Cursor{Seq: e.Seq, Chain: e.Chain}
		return nil
	}))
	st = a.follow(f, entry)
	n, sets := 0, 0
	for last.Through = entry; last.Through != w.headOf(f); sets++ {
		nodes, _, last = a.set(st)
		n += len(nodes)
	}
	if n != total-901 || sets < 2 {
		t.Fatalf("%d nodes in %d sets, want %d", n, sets, total-901)
	}
}

// A commit that another proxy on the same index made is found by asking.
func TestChangesByAnotherProxy(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	st := a.follow(f, sendonce.Cursor{})
	a.set(st)
	node := newNode()
	_, err := w.index.Commit(context.Background(), &indexdb.Commit{Who: indexdb.Asker{Tenant: sendonce.DefaultTenant, Device: a.id, Folder: f}, Op: newOp(), Time: time.Now(),
		Changes: []indexdb.Change{{Node: node, SetPlace: true, Parent: f.Root(), Name: "x", Kind: sendonce.KindDir}}})
	w.must(err)
	if nodes, _, _ := a.set(st); len(nodes) != 1 || nodes[0].ID != node {
		t.Fatalf("got %+v", nodes)
	}
}

// A push-only device hears of its own nodes only, and its conflicts say no more
// than ID and kind.
func TestPushOnly(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a, b := w.device(sendonce.RoleReadWrite, ""), w.device(sendonce.RolePushOnly, "docs")
	p, q := a.push(f), b.push(f)
	theirs, done := p.put("theirs", noise(1, 700))
	own, _ := q.put("own", noise(2, 700))
	nodes, _, last := b.set(b.follow(f, sendonce.Cursor{}))
	if len(nodes) != 1 || nodes[0].ID != own.Node || last.Through != w.headOf(f) {
		t.Fatalf("it sees %+v", nodes)
	}
	nodes, _, last = b.set(b.follow(f, done.Receipt.Cursor))
	if len(nodes) != 1 || nodes[0].ID != own.Node || last.Through != w.headOf(f) {
		t.Fatalf("from a cursor it sees %+v", nodes)
	}
	q.commit(protocol.Change{Node: newNode(), SetPlace: true, Parent: f.Root(), Name: "theirs", Kind: sendonce.KindFile})
	c := expect[*protocol.Conflict](q)
	if len(c.Nodes) != 1 || c.Nodes[0].Current == nil || c.Nodes[0].Current.Name != "" || c.Nodes[0].Current.Rev != 0 || c.Nodes[0].Current.ID != theirs.Node {
		t.Fatalf("the conflict says %+v", c.Nodes[0].Current)
	}
	q.commit(protocol.Change{Node: theirs.Node, Base: done.Receipt.Cursor.Seq, SetMeta: true, Mode: 0o600})
	expect[*protocol.Conflict](q)
	// The reader of the folder has no such limits.
	if got := a.fetchAll(f, own.Node, 0); len(got) != 700 {
		t.Error("the owner cannot read what was pushed")
	}
	st := w.device(sendonce.RoleReadOnly, "docs").open()
	w.must(st.Answer(&protocol.PushOpen{Folder: f, Push: sendonce.PushID{1}}))
	wantFail(a, st, sendonce.KindUnauthorized)
}

func TestConflictAndDependents(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	// A chain of three revisions, pipelined.
	node := newNode()
	first := p.commit(protocol.Change{Node: node, SetPlace: true, Parent: f.Root(), Name: "d", Kind: sendonce.KindDir})
	second := p.commit(protocol.Change{Node: node, BaseOp: first.Op, SetMeta: true, Mode: 0o700})
	third := p.commit(protocol.Change{Node: node, BaseOp: second.Op, SetPlace: true, Parent: f.Root(), Name: "e"})
	p.committed(first)
	p.committed(second)
	p.committed(third)
	// One that fails takes those that build on it along, and no others.
	bad := p.commit(protocol.Change{Node: node, Base: 1, SetMeta: true, Mode: 0o755})
	dep := p.commit(protocol.Change{Node: node, BaseOp: bad.Op, SetMeta: true, Mode: 0o755})
	p.ops++ // a commit that never was
	unknown := p.commit(protocol.Change{Node: node, BaseOp: p.ops, SetMeta: true, Mode: 0o755})
	fine := p.commit(protocol.Change{Node: newNode(), SetPlace: true, Parent: f.Root(), Name: "fine", Kind: sendonce.KindDir})
	if c := expect[*protocol.Conflict](p); c.Op != bad.Op || c.Nodes[0].Current == nil || c.Nodes[0].Current.Rev != 3 || c.Nodes[0].Current.Name != "e" {
		t.Fatalf("got %+v", c)
	}
	for _, c := range []*protocol.Commit{dep, unknown} {
		if m := expect[*protocol.Conflict](p); m.Op != c.Op || m.Nodes[0].Node != node {
			t.Fatalf("got %+v", m)
		}
	}
	p.committed(fine)
	if h := w.headOf(f); h.Seq != 4 {
		t.Errorf("the head is %d", h.Seq)
	}
}

// After a conflict the offers can be used again, by a commit without the change
// that failed.
func TestOffersSurviveConflict(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	p := a.push(f)
	p.put("taken", noise(1, 700))
	data := p.file(noise(2, 3*testChunk))
	op := p.offer(data)
	p.sendAll(missing(data, expect[*protocol.Missing](p)))
	ch := p.create("taken", op, data)
	p.commit(ch)
	expect[*protocol.Conflict](p)
	ch.Name = "free"
	p.committed(p.commit(ch))
}

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	f := w.folder("docs")
	a, b, c := w.device(sendonce.RoleReadWrite, ""), w.device(sendonce.RoleReadWrite, ""), w.device(sendonce.RoleReadWrite, "")
	st := a.follow(f, sendonce.Cursor{})
	a.set(st)
	p := a.push(f)
	var r RevokeReply
	w.must(w.admin("revoke", RevokeRequest{Device: a.id.String()[:20]}, &r))
	if r.Closed != 1 {
		t.Errorf("%d connections closed", r.Closed)
	}
	wantGone(a, st, sendonce.KindUnauthorized)
	wantGone(a, p.st, sendonce.KindUnauthorized)
	if _, err := w.connect(a.key, &protocol.Hello{Version: 1}); sendonce.KindOf(err) != sendonce.KindUnauthorized {
		t.Errorf("a revoked device: %v", err)
	}
	// By another proxy: found by asking, within 2 seconds.
	st = b.follow(f, sendonce.Cursor{})
	b.set(st)
	w.must(w.index.Revoke(context.Background(), b.id))
	wantGone(b, st, sendonce.KindUnauthorized)
	// The others stay.
	c.push(f).put("x", noise(1, 500))
}

func TestJoin(t *testing.T) {
	now, start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Now()
	w := newWorld(t, func(w *world, c *Config) { c.Now = func() time.Time { return now.Add(time.Since(start)) } })
	texts := map[string]bool{}
	fail := func(key byte, h protocol.Hello) {
		t.Helper()
		h.Version = 1
		_, err := w.connect(key, &h)
		if sendonce.KindOf(err) != sendonce.KindUnauthorized {
			t.Errorf("got %v", err)
		} else {
			texts[err.Error()] = true
		}
	}
	inv := w.invite(InviteRequest{Minutes: 1})
	fail(50, protocol.Hello{})                        // unknown, no token
	fail(50, protocol.Hello{Token: make([]byte, 16)}) // unknown token
	fail(50, protocol.Hello{Token: []byte("x")})      // nonsense
	if _, err := w.connect(51, &protocol.Hello{Version: 1, Token: inv.Token}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.connect(51, &protocol.Hello{Version: 1, Token: inv.Token}); err != nil { // again: the same
		t.Fatal(err)
	}
	fail(52, protocol.Hello{Token: inv.Token}) // used
	if len(texts) != 1 {
		t.Errorf("failures can be told apart: %q", slices.Collect(keys(texts)))
	}
	// Five failures a minute, then even a good token is not looked at.
	good := w.invite(InviteRequest{})
	for range 2 {
		fail(53, protocol.Hello{Token: noise(1, 16)})
	}
	fail(54, protocol.Hello{Token: good.Token})
	if len(texts) != 1 {
		t.Errorf("the limit can be told: %q", slices.Collect(keys(texts)))
	}
	if _, err := w.connect(51, &protocol.Hello{Version: 2}); sendonce.KindOf(err) != sendonce.KindUnsupported {
		t.Errorf("another version: %v", err)
	}
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestJoinLimiter(t *testing.T) {
	l := newJoinLimiter(5)
	now := time.Unix(1000, 0)
	for i := range 5 {
		if !l.allow("a", now) {
			t.Fatalf("refused after %d failures", i)
		}
		l.failed("a", now)
	}
	if l.allow("a", now.Add(59*time.Second)) || !l.allow("b", now) || !l.allow("a", now.Add(time.Minute)) {
		t.Error("the window is not a minute for each address")
	}
	var buf [8]byte
	for range maxJoinAddrs + 10 {
		rand.Read(buf[:])
		l.failed(string(buf[:]), now)
	}
	if l.allow("new", now) {
		t.Error("the table grows without end")
	}
	if !l.allow("new", now.Add(time.Hour)) || len(l.seen) != 0 {
		t.Error("old failures are kept")
	}
	for addr, host := range map[string]string{"1.2.3.4:5": "1.2.3.4", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[::ffff:1.2.3.4]:9": "1.2.3.4", "mem": "mem"} {
		if got := hostOf(addr); got != host {
			t.Errorf("%s: %s, want %s", addr, got, host)
		}
	}
}
