package indexdb

import (
	"slices"

	"sendonce"
	"sendonce/indexdb/portable"
)

// nodeState is a node before the commit and after it. For a node that the commit
// does not change, or whose change fails, both are the same record; nil is a
// node that does not exist.
type nodeState struct {
	id            sendonce.NodeID
	root          bool
	before, after *record
}

// leaves reports whether the node gives up its slot, takes whether it takes one.
func (n *nodeState) leaves() bool { return !n.root && n.before.live() && !n.stays() }
func (n *nodeState) takes() bool  { return !n.root && n.after.live() && !n.stays() }
func (n *nodeState) stays() bool {
	return n.before.live() && n.after.live() && n.before.Parent == n.after.Parent && n.before.Name == n.after.Name
}

// node returns the state of any node of the folder.
func (x *committer) node(id sendonce.NodeID) (*nodeState, error) {
	if n, ok := x.nodes[id]; ok {
		return n, nil
	}
	r, err := loadNode(x.t, x.p, id, head)
	if err != nil {
		return nil, err
	}
	n := &nodeState{id: id, root: id == x.p.folder.Root(), before: r, after: r}
	x.nodes[id] = n
	return n, nil
}

// visible reports whether the device may know of the node: a push-only device
// sees the root and what it created.
func (x *committer) visible(n *nodeState) bool {
	if n.after == nil {
		return false
	}
	return x.role.CanRead() || n.root || n.after.creator == x.who.device
}

// build works out every node after the commit. A change whose base is not
// current, or that the role forbids, is noted and left out.
func (x *committer) build() error {
	for i := range x.c.Changes {
		ch := &x.c.Changes[i]
		n, err := x.node(ch.Node)
		if err != nil {
			return err
		}
		switch {
		case n.before != nil && !x.visible(n):
			// To a push-only device another's node is one that does not exist,
			// but for an ID that it would have to know.
			x.conflict(n.id, ConflictRevision, nil)
			continue
		case n.before == nil && ch.Base != 0, n.before != nil && (ch.Base != n.before.Rev || ch.Base == 0 && !n.root):
			x.conflict(n.id, ConflictRevision, n.before)
			continue
		case n.root && !x.role.CanRead():
			x.conflict(n.id, ConflictForbidden, n.before)
			continue
		}
		if n.after, err = x.patch(ch, n.before); err != nil {
			return err
		}
		x.changed = append(x.changed, n)
	}
	return nil
}

// patch applies a change to a record, or creates one.
func (x *committer) patch(ch *Change, before *record) (*record, error) {
	out := &record{Node: sendonce.Node{ID: ch.Node, Kind: ch.Kind}, creator: x.who.device}
	switch {
	case before != nil && (ch.Delete || before.Deleted):
		// A tombstone keeps its place; a node brought back begins with it.
		out.Kind, out.Parent, out.Name, out.creator = before.Kind, before.Parent, before.Name, before.creator
		out.Deleted = ch.Delete
	case before != nil:
		*out = *before
	}
	if ch.Delete {
		return out, nil
	}
	if before != nil && ch.Kind != 0 && ch.Kind != before.Kind {
		return nil, invalid("node %s: its kind is %s and never changes", ch.Node, before.Kind)
	}
	if ch.SetPlace {
		out.Parent, out.Name = ch.Parent, ch.Name
	}
	if ch.SetMeta {
		out.Mode, out.MTimeNS, out.Xattrs = ch.Mode, ch.MTimeNS, ch.Xattrs
	}
	if ch.SetContent {
		if err := checkContent(ch, out.Kind, before); err != nil {
			return nil, err
		}
		out.Size, out.Content, out.Target = ch.Size, ch.Content, ch.Target
	}
	if out.Kind == sendonce.KindSymlink && out.Target == "" {
		return nil, invalid("node %s: a symlink without a target", ch.Node)
	}
	return out, nil
}

// slotName is a place for one node: a name in a directory.
type slotName struct {
	parent sendonce.NodeID
	name   string
}

func slotOf(r *record) slotName { return slotName{r.Parent, r.Name} }

// slotState is who has a slot before the commit and after it; zero is nobody.
type slotState struct {
	before, after sendonce.NodeID
}

func (x *committer) slot(s slotName) (*slotState, error) {
	if st, ok := x.slots[s]; ok {
		return st, nil
	}
	id, err := loadSlot(x.t, x.p, s.parent, s.name, head)
	st := &slotState{id, id}
	x.slots[s] = st
	return st, err
}

func (x *committer) fold(s slotName) (*slotState, error) {
	if st, ok := x.folds[s]; ok {
		return st, nil
	}
	v, err := get(x.t, x.p.fold(s.parent, s.name))
	if err != nil {
		return nil, err
	}
	st := &slotState{}
	if v != nil {
		if len(v) != 16 {
			return nil, damaged("a folded slot's value is malformed")
		}
		st.before, st.after = sendonce.NodeID(v), sendonce.NodeID(v)
	}
	x.folds[s] = st
	return st, nil
}

// dirState is a directory's row before and after.
type dirState struct {
	before, after dirRow
}

func (x *committer) dir(id sendonce.NodeID) (*dirState, error) {
	if d, ok := x.dirs[id]; ok {
		return d, nil
	}
	v, err := get(x.t, x.p.dir(id))
	if err != nil {
		return nil, err
	}
	d := &dirState{}
	if v != nil {
		if d.before, err = rec(decodeDir(v))("a directory"); err != nil {
			return nil, err
		}
		d.after = d.before
	}
	x.dirs[id] = d
	return d, nil
}

// move vacates and takes slots and counts children. It must come after build.
// Taking comes after all vacating, so that names can be swapped.
func (x *committer) move() error {
	for _, n := range x.changed {
		if !n.leaves() {
			continue
		}
		st, err := x.slot(slotOf(n.before))
		if err != nil {
			return err
		}
		if st.before != n.id {
			return damaged("the slot of node %s names another", n.id)
		}
		st.after = sendonce.NodeID{}
		if x.folder.Names == sendonce.NamesPortable {
			f, err := x.fold(slotName{n.before.Parent, portable.Fold(n.before.Name)})
			if err != nil {
				return err
			}
			f.after = sendonce.NodeID{}
		}
		d, err := x.dir(n.before.Parent)
		if err != nil {
			return err
		}
		if d.after.children == 0 {
			return damaged("directory %s counts fewer children than it has", n.before.Parent)
		}
		d.after.children--
	}
	for _, n := range x.changed {
		if !n.takes() {
			continue
		}
		d, err := x.dir(n.after.Parent)
		if err != nil {
			return err
		}
		d.after.children++
	}
	return nil
}

// writeSlots writes the slots whose owner changed.
func (x *committer) writeSlots() {
	for s, st := range x.slots {
		switch {
		case st.before == st.after:
		case st.after.IsZero():
			x.t.Put(x.p.slot(s.parent, s.name, x.seq), []byte{})
		default:
			x.t.Put(x.p.slot(s.parent, s.name, x.seq), slices.Clone(st.after[:]))
		}
	}
	for s, st := range x.folds {
		switch {
		case st.before == st.after:
		case st.after.IsZero():
			x.t.Delete(x.p.fold(s.parent, s.name))
		default:
			x.t.Put(x.p.fold(s.parent, s.name), slices.Clone(st.after[:]))
		}
	}
}

// writeDirs writes the directory rows that changed. What reaches nowhere has no
// row.
func (x *committer) writeDirs() {
	for id, d := range x.dirs {
		if d.after.children == 0 {
			d.after = dirRow{}
		}
		switch {
		case d.before == d.after:
		case d.after == dirRow{}:
			x.t.Delete(x.p.dir(id))
		default:
			x.t.Put(x.p.dir(id), encodeDir(d.after))
		}
	}
}
