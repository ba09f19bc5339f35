package indextest

import (
	"errors"
	"fmt"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sendonce"
	"sendonce/indexdb"
)

// modelNode is a node as the model keeps it.
type modelNode struct {
	parent  sendonce.NodeID
	name    string
	dir     bool
	text    string
	rev     uint64
	deleted bool
}

// model is the folder as a map, written as plainly as it can be: it copies the
// map for each commit, judges the copy, and keeps every one.
type model struct {
	root    sendonce.NodeID
	history []map[sendonce.NodeID]modelNode // by seq
}

func (m *model) now() map[sendonce.NodeID]modelNode { return m.history[len(m.history)-1] }

// apply returns whether the changes may be committed; if so they are.
func (m *model) apply(changes []indexdb.Change) bool {
	next := map[sendonce.NodeID]modelNode{}
	for id, n := range m.now() {
		next[id] = n
	}
	for _, c := range changes {
		n, exists := next[c.Node]
		if exists && n.rev != c.Base || !exists && c.Base != 0 {
			return false
		}
		if !exists {
			n.dir = c.Kind == sendonce.KindDir
		}
		if c.SetPlace {
			n.parent, n.name = c.Parent, c.Name
		}
		if c.Delete || n.deleted {
			n.text = ""
		}
		if c.SetContent {
			n.text = string(c.Content.Inline)
		}
		n.rev, n.deleted = uint64(len(m.history)), c.Delete
		next[c.Node] = n
	}
	slots := map[string]bool{}
	for id, n := range next {
		if id == m.root || n.deleted {
			continue
		}
		up, ok := next[n.parent]
		slot := fmt.Sprint(n.parent, "/", n.name)
		if !ok || up.deleted || !up.dir || slots[slot] {
			return false
		}
		slots[slot] = true
		steps := 0
		for at := n.parent; at != m.root; at = next[at].parent {
			if steps++; steps > len(next) {
				return false
			}
		}
	}
	m.history = append(m.history, next)
	return true
}

// list returns the tree at a seq as text.
func (m *model) list(at uint64, dir sendonce.NodeID, path string) (out []string) {
	for id, n := range m.history[at] {
		if id != m.root && !n.deleted && n.parent == dir {
			out = append(out, fmt.Sprintf("%s/%s %x %d %q", path, n.name, id, n.rev, n.text))
			if n.dir {
				out = append(out, m.list(at, id, path+"/"+n.name)...)
			}
		}
	}
	sort.Strings(out)
	return out
}

// indexList is the same of an index.
func (p *peer) indexList(t fataler, at uint64, dir sendonce.NodeID, path string) (out []string) {
	var dirs []*sendonce.Node
	must(t, p.ix.Children(ctx, tenant, p.who.Folder, at, dir, "", func(n *sendonce.Node) (bool, error) {
		out = append(out, fmt.Sprintf("%s/%s %x %d %q", path, n.Name, n.ID, n.Rev, n.Content.Inline))
		if n.Kind == sendonce.KindDir {
			dirs = append(dirs, n)
		}
		return true, nil
	}))
	for _, d := range dirs {
		out = append(out, p.indexList(t, at, d.ID, path+"/"+d.Name)...)
	}
	sort.Strings(out)
	return out
}

// modelCheck commits random changes, most of them nonsense, to an index and to
// the model: both must take and refuse the same ones (I9), and list the same
// tree at every sequence number (I8).
func modelCheck(t *testing.T, make World) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		w := &world{t: t, clock: clock}
		w.open = make(t, func() time.Time { return w.clock })
		w.ix = w.open()
		defer w.ix.Close()
		p := w.peer(sendonce.RoleReadWrite, "f")
		m := &model{root: p.root(), history: []map[sendonce.NodeID]modelNode{{p.root(): {dir: true}}}}
		ids := []sendonce.NodeID{p.root()}
		for range 8 {
			ids = append(ids, w.node())
		}
		node := rapid.SampledFrom(ids)
		for range rapid.IntRange(1, 25).Draw(rt, "commits") {
			var changes []indexdb.Change
			for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids[1:]), 1, 4, rapid.ID[sendonce.NodeID]).Draw(rt, "nodes") {
				changes = append(changes, drawChange(rt, m, id, node))
			}
			before := p.head().Seq
			want := m.apply(changes)
			_, err := p.commit(changes...)
			var conflict *indexdb.ConflictError
			switch {
			case err == nil && !want:
				rt.Fatalf("%+v was committed, and breaks a rule", changes)
			case err != nil && want:
				rt.Fatalf("%+v was refused: %v", changes, err)
			case err != nil && (!errors.As(err, &conflict) || len(conflict.Nodes) == 0):
				rt.Fatalf("refused with %v", err)
			}
			if got := p.head().Seq - before; (got == 1) != want {
				rt.Fatalf("the head moved by %d", got)
			}
		}
		if rapid.Bool().Draw(rt, "restart") {
			w.restart()
		}
		for at := 1; at < len(m.history); at++ {
			got, want := p.indexList(rt, uint64(at), p.root(), ""), m.list(uint64(at), p.root(), "")
			if fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("at %d the index lists %v, the model %v", at, got, want)
			}
		}
		if c, ok := w.ix.(indexdb.Maintainer); ok {
			found, err := c.Check(ctx, tenant, p.who.Folder)
			must(rt, err)
			if len(found) > 0 {
				rt.Fatalf("check: %q", found)
			}
		}
	})
}

// drawChange draws a change of a node: mostly on its current revision.
func drawChange(t *rapid.T, m *model, id sendonce.NodeID, node *rapid.Generator[sendonce.NodeID]) indexdb.Change {
	c := indexdb.Change{Node: id}
	now, exists := m.now()[id]
	if exists {
		c.Base = now.rev
		if rapid.IntRange(0, 9).Draw(t, "stale") == 0 {
			c.Base = max(1, c.Base-1)
		}
		if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			c.Delete = true
			return c
		}
	}
	c.SetPlace = !exists || rapid.Bool().Draw(t, "place")
	if c.SetPlace {
		c.Parent, c.Name = node.Draw(t, "parent"), rapid.SampledFrom([]string{"a", "a\x01", "ab"}).Draw(t, "name")
	}
	isDir := now.dir
	if !exists {
		c.Kind = rapid.SampledFrom([]sendonce.Kind{sendonce.KindDir, sendonce.KindDir, sendonce.KindFile}).Draw(t, "kind")
		isDir = c.Kind == sendonce.KindDir
	}
	if !isDir && rapid.Bool().Draw(t, "content") {
		text := rapid.StringN(0, 4, -1).Draw(t, "text")
		c.SetContent, c.Size, c.Content.Inline = true, int64(len(text)), []byte(text)
	}
	return c
}
