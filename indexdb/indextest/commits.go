package indextest

import (
	"fmt"
	"reflect"
	"strings"

	"sendonce"
	"sendonce/indexdb"
)

func create(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	d, f, l := w.node(), w.node(), w.node()
	full := file(f, d, "full", "hello")
	full.Mode, full.MTimeNS = 0o1755, -5
	full.Xattrs = []sendonce.Xattr{{Name: "user.a", Value: []byte{0, 1}}, {Name: "user.b"}}
	link := indexdb.Change{Node: l, SetPlace: true, Parent: d, Name: "link", Kind: sendonce.KindSymlink, SetContent: true, Target: "../x"}
	// Children may come before their parents: it is the state afterwards that counts.
	r, err := w.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: w.op(), Time: w.clock, Snapshot: true,
		Changes: []indexdb.Change{full, link, dir(d, p.root(), "d")}})
	must(w.t, err)
	if r.Cursor.Seq != 1 || r.Replay || !r.Time.Equal(w.clock) {
		w.t.Errorf("the first commit gives %+v", r)
	}
	w.restart()
	if p.head() != r.Cursor {
		w.t.Errorf("the head is %+v, want %+v", p.head(), r.Cursor)
	}
	want := &sendonce.Node{ID: f, Parent: d, Name: "full", Kind: sendonce.KindFile, Rev: 1, Mode: 0o1755, MTimeNS: -5, Size: 5,
		Content: sendonce.Content{Inline: []byte("hello")}, Xattrs: full.Xattrs}
	if got := p.get(f, 0); !reflect.DeepEqual(got, want) {
		w.t.Errorf("got %+v, want %+v", got, want)
	}
	if got := p.get(l, 1); got.Target != "../x" || got.Kind != sendonce.KindSymlink {
		w.t.Errorf("the link is %+v", got)
	}
	if got := p.get(w.node(), 0); got != nil {
		w.t.Errorf("a node that is not there: %+v", got)
	}
	if _, err := w.ix.Nodes(ctx, tenant, p.who.Folder, 2, nil); sendonce.KindOf(err) != sendonce.KindNotFound {
		w.t.Errorf("a seq that is not reached: %v", err)
	}
	var entries []indexdb.Entry
	must(w.t, w.ix.Entries(ctx, tenant, p.who.Folder, 0, 0, func(e indexdb.Entry) error { entries = append(entries, e); return nil }))
	if len(entries) != 1 || entries[0].Seq != 1 || !entries[0].Snapshot || entries[0].Device != p.who.Device || len(entries[0].Nodes) != 3 ||
		entries[0].Chain != r.Cursor.Chain || !entries[0].Time.Equal(w.clock) {
		w.t.Errorf("entries: %+v", entries)
	}
	creators, err := w.ix.Creators(ctx, tenant, p.who.Folder, []sendonce.NodeID{f, p.root(), w.node()})
	must(w.t, err)
	if creators[0] != p.who.Device || !creators[1].IsZero() || !creators[2].IsZero() {
		w.t.Errorf("creators: %v", creators)
	}
	// A snapshot may change nothing.
	if _, err := w.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: w.op(), Snapshot: true}); err != nil || p.head().Seq != 2 {
		w.t.Errorf("an empty snapshot: %v", err)
	}
	list, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	if list[0].Bytes != 5 || list[0].Files != 3 || list[0].Head != p.head() {
		w.t.Errorf("the folder counts %+v", list[0])
	}
}

func revisions(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	a, b := w.node(), w.node()
	p.ok(file(a, p.root(), "a", "one"), file(b, p.root(), "b", "other"))
	p.ok(edit(a, 1, "two"))
	p.ok(move(a, 2, p.root(), "z"))
	// Only what is set changes.
	if n := p.get(a, 0); n.Name != "z" || string(n.Content.Inline) != "two" || n.Mode != 0o644 || n.Rev != 3 {
		w.t.Errorf("after three revisions: %+v", n)
	}
	p.conflict([]indexdb.Change{edit(a, 2, "late"), edit(b, 1, "fine")}, why(a, indexdb.ConflictRevision, a))
	p.conflict([]indexdb.Change{file(a, p.root(), "again", "")}, why(a, indexdb.ConflictRevision, a))
	ghost := w.node()
	p.conflict([]indexdb.Change{edit(ghost, 1, "x"), edit(b, 3, "y")}, why(ghost, indexdb.ConflictRevision), why(b, indexdb.ConflictRevision, b))
	p.ok(del(a, 3))
	for at, want := range map[uint64]string{1: "a one", 2: "a two", 3: "z two", 4: "z  deleted", 0: "z  deleted"} {
		n := p.get(a, at)
		got := n.Name + " " + string(n.Content.Inline)
		if n.Deleted {
			got += " deleted"
		}
		if got != want {
			w.t.Errorf("at %d: %q, want %q", at, got, want)
		}
	}
	var revs []uint64
	must(w.t, w.ix.Revisions(ctx, tenant, p.who.Folder, a, func(n *sendonce.Node) (bool, error) {
		revs = append(revs, n.Rev)
		return len(revs) < 3, nil
	}))
	if !reflect.DeepEqual(revs, []uint64{4, 3, 2}) {
		w.t.Errorf("revisions %v", revs)
	}
	if got := fmt.Sprint(p.names(1, p.root(), ""), p.names(3, p.root(), ""), p.names(0, p.root(), "")); got != "[a b] [b z] [b]" {
		w.t.Errorf("names at 1, 3 and now: %s", got)
	}
	// A tombstone can be brought back, by its revision: an edit beats a delete.
	p.conflict([]indexdb.Change{edit(a, 3, "edit")}, why(a, indexdb.ConflictRevision, a))
	p.ok(edit(a, 4, "edit"))
	if n := p.get(a, 0); n.Deleted || n.Name != "z" || string(n.Content.Inline) != "edit" {
		w.t.Errorf("brought back: %+v", n)
	}
	p.ok(indexdb.Change{Node: p.root(), Base: 0, SetMeta: true, Mode: 0o700})
	if n := p.get(p.root(), 0); n.Mode != 0o700 || n.Rev != 6 {
		w.t.Errorf("the root is %+v", n)
	}
	p.conflict([]indexdb.Change{{Node: p.root(), SetMeta: true}}, why(p.root(), indexdb.ConflictRevision, p.root()))
}

func places(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	a, b, c, d, e := w.node(), w.node(), w.node(), w.node(), w.node()
	p.ok(dir(a, p.root(), "a"), dir(b, a, "b"), dir(c, b, "c"), file(d, p.root(), "d", "d"), file(e, a, "e", "e"))
	p.conflict([]indexdb.Change{file(w.node(), p.root(), "other", ""), move(e, 1, p.root(), "d")}, why(e, indexdb.ConflictSlot, d))
	n, m := w.node(), w.node()
	p.conflict([]indexdb.Change{file(n, p.root(), "a", ""), file(m, w.node(), "m", ""), move(d, 1, e, "d")},
		why(m, indexdb.ConflictParent), why(d, indexdb.ConflictParent, d), why(n, indexdb.ConflictSlot, a))
	p.conflict([]indexdb.Change{file(n, p.root(), "new", ""), file(m, p.root(), "new", "")}, why(m, indexdb.ConflictSlot))
	p.conflict([]indexdb.Change{move(a, 1, c, "a")}, why(a, indexdb.ConflictCycle, a))
	p.conflict([]indexdb.Change{move(a, 1, a, "a")}, why(a, indexdb.ConflictCycle, a))
	// Two moves that are sound alone make a cycle together.
	x := w.node()
	p.ok(dir(x, p.root(), "x"))
	p.conflict([]indexdb.Change{move(a, 1, x, "a"), move(x, 2, b, "x")}, why(a, indexdb.ConflictCycle, a), why(x, indexdb.ConflictCycle, x))
	// Swaps, rotations, and moves into what the same commit makes.
	p.ok(move(a, 1, p.root(), "d"), move(d, 1, p.root(), "a"))
	y := w.node()
	p.ok(dir(y, p.root(), "y"), move(a, 3, y, "deep"), move(b, 1, p.root(), "b"), move(x, 2, b, "x"))
	p.ok(move(b, 4, a, "b"), move(x, 4, p.root(), "x"))
	if got := fmt.Sprint(p.names(0, p.root(), ""), p.names(0, a, ""), p.names(0, b, ""), p.names(2, p.root(), "")); got != "[a x y] [b e] [c] [a d x]" {
		w.t.Errorf("after the moves: %s", got)
	}
	p.conflict([]indexdb.Change{del(x, 5), file(y, x, "no", "")}, why(y, indexdb.ConflictRevision, y))
	z := w.node()
	p.conflict([]indexdb.Change{del(x, 5), file(z, x, "no", "")}, why(z, indexdb.ConflictParent), why(x, indexdb.ConflictNotEmpty, x))
}

func deletes(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	a, b, c := w.node(), w.node(), w.node()
	p.ok(dir(a, p.root(), "a"), dir(b, a, "b"), file(c, b, "c", "ccc"))
	p.conflict([]indexdb.Change{del(a, 1)}, why(a, indexdb.ConflictNotEmpty, a))
	p.conflict([]indexdb.Change{del(a, 1), del(c, 1)}, why(a, indexdb.ConflictNotEmpty, a))
	p.conflict([]indexdb.Change{del(a, 1), del(b, 1)}, why(b, indexdb.ConflictNotEmpty, b))
	p.ok(del(a, 1), del(b, 1), move(c, 1, p.root(), "a")) // the name is free in the same commit
	if got := fmt.Sprint(p.names(0, p.root(), ""), p.names(1, b, ""), p.names(0, b, "")); got != "[a] [c] []" {
		w.t.Errorf("names: %s", got)
	}
	w.restart()
	// A file replaced by a directory: a tombstone and a create in one commit.
	d := w.node()
	p.ok(del(c, 2), dir(d, p.root(), "a"))
	p.ok(file(w.node(), d, "in", "x"))
	p.conflict([]indexdb.Change{del(c, 2)}, why(c, indexdb.ConflictRevision, c))
	list, err := w.ix.Folders(ctx, tenant)
	must(w.t, err)
	if list[0].Bytes != 1 || list[0].Files != 2 {
		w.t.Errorf("the folder counts %+v", list[0])
	}
}

func kinds(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	d, f, l := w.node(), w.node(), w.node()
	p.ok(dir(d, p.root(), "d"), file(f, p.root(), "f", "x"),
		indexdb.Change{Node: l, SetPlace: true, Parent: p.root(), Name: "l", Kind: sendonce.KindSymlink, SetContent: true, Target: "t"})
	same := edit(f, 1, "y")
	same.Kind = sendonce.KindFile
	p.ok(same)
	other := edit(f, 2, "y")
	other.Kind = sendonce.KindDir
	p.refused(sendonce.KindInvalid, other)
	p.refused(sendonce.KindInvalid, edit(d, 1, "content"))
	p.refused(sendonce.KindInvalid, edit(l, 1, "content"))
	p.refused(sendonce.KindInvalid, indexdb.Change{Node: f, Base: 2, SetContent: true, Target: "t"})
	p.ok(del(l, 1))
	p.refused(sendonce.KindInvalid, move(l, 3, p.root(), "l")) // a link that comes back needs a target
}

func invalidCommits(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	r, n := p.root(), w.node()
	id := w.chunk()
	bad := map[string]indexdb.Change{
		"zero node":         dir(sendonce.NodeID{}, r, "a"),
		"empty name":        dir(n, r, ""),
		"slash":             dir(n, r, "a/b"),
		"NUL":               dir(n, r, "a\x00"),
		"dots":              dir(n, r, ".."),
		"long name":         dir(n, r, strings.Repeat("x", 256)),
		"no place":          {Node: n, Kind: sendonce.KindDir},
		"no kind":           {Node: n, SetPlace: true, Parent: r, Name: "a"},
		"no parent":         dir(n, sendonce.NodeID{}, "a"),
		"kind 9":            {Node: n, SetPlace: true, Parent: r, Name: "a", Kind: 9},
		"root deleted":      del(r, 0),
		"root moved":        move(r, 0, n, "a"),
		"root content":      edit(r, 0, "x"),
		"nothing deleted":   del(n, 0),
		"mode":              {Node: n, SetPlace: true, Parent: r, Name: "a", Kind: sendonce.KindDir, SetMeta: true, Mode: 0o4755},
		"link target":       {Node: n, SetPlace: true, Parent: r, Name: "a", Kind: sendonce.KindSymlink},
		"long target":       {Node: n, SetPlace: true, Parent: r, Name: "a", Kind: sendonce.KindSymlink, SetContent: true, Target: strings.Repeat("x", 4097)},
		"inline size":       changed(file(n, r, "a", "xx"), func(c *indexdb.Change) { c.Size = 3 }),
		"long inline":       file(n, r, "a", strings.Repeat("x", 257)),
		"size of nothing":   changed(file(n, r, "a", ""), func(c *indexdb.Change) { c.Size = 3 }),
		"negative size":     changed(file(n, r, "a", ""), func(c *indexdb.Change) { c.Size = -1 }),
		"two forms":         changed(file(n, r, "a", "x"), func(c *indexdb.Change) { c.Content.Root = id }),
		"sum of references": changed(chunked(n, r, "a", id), func(c *indexdb.Change) { c.Size++ }),
		"unnamed reference": changed(chunked(n, r, "a", id), func(c *indexdb.Change) { c.Refs = nil }),
		"too many":          changed(chunked(n, r, "a", make([]sendonce.ID, 17)...), func(c *indexdb.Change) { c.Refs = nil }),
		"unnamed root":      changed(tree(n, r, "a", id, id), func(c *indexdb.Change) { c.Pages = nil }),
		"refs only":         {Node: n, SetPlace: true, Parent: r, Name: "a", Kind: sendonce.KindFile, Refs: []sendonce.ID{id}},
	}
	for name, c := range bad {
		if _, err := p.commit(c); sendonce.KindOf(err) != sendonce.KindInvalid {
			w.t.Errorf("%s: %v", name, err)
		}
	}
	p.refused(sendonce.KindInvalid)
	p.refused(sendonce.KindInvalid, dir(n, r, "a"), dir(n, r, "b"))
	if _, err := w.ix.Commit(ctx, &indexdb.Commit{Who: p.who, Op: w.op(), Changes: []indexdb.Change{dir(n, r, "a")}, Stored: []indexdb.Stored{{}}}); sendonce.KindOf(err) != sendonce.KindInvalid {
		w.t.Errorf("a stored chunk without a place: %v", err)
	}
	if p.head().Seq != 0 {
		w.t.Error("a refused commit left a trace")
	}
	gone := w.as(w.enrol(sendonce.RoleAdmin, ""), w.folderID())
	gone.refused(sendonce.KindNotFound, dir(n, gone.root(), "a"))
}

func changed(c indexdb.Change, fn func(*indexdb.Change)) indexdb.Change {
	fn(&c)
	return c
}

// limits checks the number of changes, depth and path length, also for what lies
// below a directory that is moved.
func limits(w *world) {
	p := w.peer(sendonce.RoleReadWrite, "f")
	var many []indexdb.Change
	for i := range sendonce.MaxChanges + 1 {
		many = append(many, file(w.node(), p.root(), fmt.Sprint("many", i), ""))
	}
	p.refused(sendonce.KindLimit, many...)
	p.ok(many[:sendonce.MaxChanges]...)

	chain := func(parent sendonce.NodeID, n int, name string) (changes []indexdb.Change, ids []sendonce.NodeID) {
		for range n {
			id := w.node()
			changes = append(changes, dir(id, parent, name))
			ids = append(ids, id)
			parent = id
		}
		return changes, ids
	}
	// Depth: a chain of 100, and one of 50 that may not hang below its end.
	c1, deep := chain(p.root(), 100, "d")
	p.ok(c1...)
	c2, low := chain(p.root(), 50, "e")
	seq := p.ok(c2...)
	p.refused(sendonce.KindLimit, move(low[0], seq, deep[99], "e"))
	moved := p.ok(move(low[0], seq, deep[77], "e")) // 78 + 50
	p.refused(sendonce.KindLimit, file(w.node(), low[49], "129", ""))
	// What the bound remembers of a tree that has shrunk is measured again.
	out := p.ok(move(low[1], seq, p.root(), "rest"))
	moved = p.ok(move(low[0], moved, deep[99], "e"))
	p.refused(sendonce.KindLimit, move(low[1], out, low[0], "again"))
	p.ok(move(low[0], moved, p.root(), "e"))
	p.ok(move(low[1], out, low[0], "again"))
	p.check(p.who.Folder)

	// Path length: 16 names of 255 bytes and their slashes are 4095.
	c3, long := chain(p.root(), 15, strings.Repeat("n", 255))
	seq = p.ok(c3...)
	p.ok(file(w.node(), long[14], strings.Repeat("f", 255), ""))
	d := w.node()
	p.refused(sendonce.KindLimit, dir(d, long[14], "d"), file(w.node(), d, strings.Repeat("f", 255), ""))
	p.ok(dir(d, p.root(), "xx"))
	p.refused(sendonce.KindLimit, move(long[0], seq, d, strings.Repeat("n", 255)))
	p.ok(move(long[0], seq, d, strings.Repeat("n", 253)))
	big := changed(file(w.node(), p.root(), "xattrs", ""), func(c *indexdb.Change) {
		c.Xattrs = []sendonce.Xattr{{Name: "user.big", Value: make([]byte, sendonce.MaxXattrs)}}
	})
	p.refused(sendonce.KindLimit, big)
}
