package indexdb

import (
	"sendonce"
	"sendonce/indexdb/portable"
)

// judgePlaces checks the parents: alive, a directory, and known to the device.
func (x *committer) judgePlaces() error {
	for _, n := range x.changed {
		if !n.takes() {
			continue
		}
		parent, err := x.node(n.after.Parent)
		if err != nil {
			return err
		}
		if !parent.after.live() || parent.after.Kind != sendonce.KindDir || !x.visible(parent) {
			x.conflict(n.id, ConflictParent, n.before)
			continue
		}
		inside, err := x.insideItself(n)
		if err != nil {
			return err
		}
		if inside {
			x.conflict(n.id, ConflictCycle, n.before)
		}
	}
	return nil
}

// insideItself climbs from a directory that took a place, through the state
// after the commit. A cycle that does not hold n is found when its own nodes are
// judged: every cycle holds a node that this commit moved.
func (x *committer) insideItself(n *nodeState) (bool, error) {
	if n.after.Kind != sendonce.KindDir {
		return false, nil
	}
	seen := map[sendonce.NodeID]bool{}
	for id := n.after.Parent; id != n.id; {
		up, err := x.node(id)
		if err != nil {
			return false, err
		}
		if up.root || up.after == nil || seen[id] {
			return false, nil
		}
		seen[id] = true
		id = up.after.Parent
	}
	return true, nil
}

// judgeSlots gives the slots to those who take them, one each, and checks the
// folder's name rule.
func (x *committer) judgeSlots() error {
	for _, n := range x.changed {
		if !n.takes() {
			continue
		}
		st, err := x.slot(slotOf(n.after))
		if err != nil {
			return err
		}
		if !st.after.IsZero() {
			if err := x.slotConflict(n, ConflictSlot, st.after); err != nil {
				return err
			}
			continue
		}
		st.after = n.id
		if x.folder.Names != sendonce.NamesPortable {
			continue
		}
		if portable.Check(n.after.Name) != "" {
			x.conflict(n.id, ConflictName, n.before)
			continue
		}
		f, err := x.fold(slotName{n.after.Parent, portable.Fold(n.after.Name)})
		if err != nil {
			return err
		}
		if !f.after.IsZero() {
			if err := x.slotConflict(n, ConflictName, f.after); err != nil {
				return err
			}
			continue
		}
		f.after = n.id
	}
	return x.judgeReuse()
}

func (x *committer) slotConflict(n *nodeState, reason ConflictReason, holder sendonce.NodeID) error {
	h, err := x.node(holder)
	if err != nil {
		return err
	}
	x.conflict(n.id, reason, h.before)
	return nil
}

// judgeReuse holds push-only devices to their rule: they delete only to give the
// slot to another node of theirs.
func (x *committer) judgeReuse() error {
	if x.role != sendonce.RolePushOnly {
		return nil
	}
	for _, n := range x.changed {
		if !n.after.Deleted {
			continue
		}
		reused := false
		if n.before.live() {
			st, err := x.slot(slotOf(n.before))
			if err != nil {
				return err
			}
			reused = !st.after.IsZero() && st.after != n.id
		}
		if !reused {
			x.conflict(n.id, ConflictForbidden, n.before)
		}
	}
	return nil
}

// judgeEmpty checks that deleted directories have no children left.
func (x *committer) judgeEmpty() error {
	for _, n := range x.changed {
		if n.after.Kind != sendonce.KindDir || n.after.live() || !n.before.live() {
			continue
		}
		d, err := x.dir(n.id)
		if err != nil {
			return err
		}
		if d.after.children > 0 {
			x.conflict(n.id, ConflictNotEmpty, n.before)
		}
	}
	return nil
}

// pathInfo is how far a directory is from the root: in levels, and the bytes of
// its path with a trailing slash.
type pathInfo struct {
	depth, length uint64
}

// path climbs to the root; it needs a state without cycles.
func (x *committer) path(id sendonce.NodeID) (pathInfo, error) {
	if p, ok := x.paths[id]; ok {
		return p, nil
	}
	n, err := x.node(id)
	if err != nil || n.root {
		return pathInfo{}, err
	}
	if n.after == nil {
		return pathInfo{}, damaged("node %s has no record, but children", id)
	}
	up, err := x.path(n.after.Parent)
	if err != nil {
		return pathInfo{}, err
	}
	p := pathInfo{up.depth + 1, up.length + uint64(len(n.after.Name)) + 1}
	x.paths[id] = p
	return p, nil
}

// judgeReach checks depth and path length of every node that took a slot and of
// all below it, and carries the reach of directories upward. The rows bound the
// reach from above; where the bound would refuse a move, the tree is measured.
func (x *committer) judgeReach() error {
	if len(x.conflicts) > 0 {
		return nil // the state may hold cycles, and nothing will be written
	}
	// Measuring lowers bounds to what the tree was before the commit, so it must
	// come before the commit's own nodes raise them.
	for _, n := range x.changed {
		if ok, _, err := x.fits(n); err != nil {
			return err
		} else if !ok && n.after.Kind == sendonce.KindDir && n.before.live() {
			if _, err := x.measure(n.id, sendonce.MaxDepth+1); err != nil {
				return err
			}
		}
	}
	for _, n := range x.changed {
		ok, below, err := x.fits(n)
		if err != nil {
			return err
		}
		if !ok {
			return &sendonce.Error{Kind: sendonce.KindLimit, Path: n.after.Name,
				Detail: "the path would be longer or deeper than the limit", Hint: "use fewer or shorter directory names"}
		}
		if !n.takes() {
			continue
		}
		if err := x.carry(n, below); err != nil {
			return err
		}
	}
	return nil
}

// fits reports whether a node that took a slot, and all below it, is within the
// limits, and how far it reaches below.
func (x *committer) fits(n *nodeState) (bool, dirRow, error) {
	if !n.takes() {
		return true, dirRow{}, nil
	}
	up, err := x.path(n.after.Parent)
	if err != nil {
		return false, dirRow{}, err
	}
	below, err := x.reach(n)
	length := up.length + uint64(len(n.after.Name))
	if below.length > 0 {
		length += 1 + below.length
	}
	return up.depth+1+below.height <= sendonce.MaxDepth && length <= sendonce.MaxPath, below, err
}

// reach bounds the tree below a node.
func (x *committer) reach(n *nodeState) (dirRow, error) {
	if n.after.Kind != sendonce.KindDir {
		return dirRow{}, nil
	}
	d, err := x.dir(n.id)
	if err != nil {
		return dirRow{}, err
	}
	return dirRow{height: d.after.height, length: d.after.length}, nil
}

// carry raises the reach of the directories above n until nothing rises.
func (x *committer) carry(n *nodeState, below dirRow) error {
	for !n.root {
		d, err := x.dir(n.after.Parent)
		if err != nil {
			return err
		}
		above := raise(d.after, n.after.Name, below)
		if above == d.after {
			return nil
		}
		d.after = above
		below = dirRow{height: above.height, length: above.length}
		if n, err = x.node(n.after.Parent); err != nil {
			return err
		}
	}
	return nil
}

// raise returns d with room for a child that reaches as far as below.
func raise(d dirRow, name string, below dirRow) dirRow {
	length := uint64(len(name))
	if below.length > 0 {
		length += 1 + below.length
	}
	d.height = max(d.height, below.height+1)
	d.length = max(d.length, length)
	return d
}

// measure walks the tree below a directory as it was before the commit, and sets
// the bounds of it and of all directories below to what it finds. (What the
// commit moves into the tree is judged by itself; what it moves out counts
// still.) All of them, because carry stops at the first that need not rise: a
// bound may never be less than what those below it say.
func (x *committer) measure(id sendonce.NodeID, levels int) (out dirRow, err error) {
	if levels == 0 {
		return out, damaged("directory %s lies deeper than the limit", id)
	}
	err = slots(x.t, x.p, head, id, "", func(name string, child sendonce.NodeID) (bool, error) {
		n, err := loadNode(x.t, x.p, child, head)
		if err != nil || n == nil {
			return false, err
		}
		var below dirRow
		if n.Kind == sendonce.KindDir {
			if below, err = x.measure(child, levels-1); err != nil {
				return false, err
			}
		}
		out = raise(out, name, below)
		return true, nil
	})
	if err != nil {
		return out, err
	}
	d, err := x.dir(id)
	if err == nil {
		d.after.height, d.after.length = out.height, out.length
	}
	return out, err
}
