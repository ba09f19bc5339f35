package indexdb

import (
	"context"
	"fmt"

	"sendonce"
	"sendonce/indexdb/portable"
)

// Check implements Maintainer. It holds a few dozen bytes in memory for each
// live node of the folder, and reads all chunk rows of the tenant.
func (db *DB) Check(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID) (found []string, err error) {
	err = db.view(ctx, "check folder", func(r Reader) error {
		c := &checker{r: r, p: place{tenant, folder}, live: map[sendonce.NodeID]*checkedNode{}}
		f, err := loadFolder(r, c.p)
		if err != nil {
			return err
		}
		c.folder = f
		for _, step := range []func() error{c.journal, c.revisions, c.tree, c.slots, c.folds, c.dirs, c.references} {
			if err := step(); err != nil {
				return err
			}
		}
		found = c.found
		return nil
	})
	return found, err
}

type checker struct {
	r        Reader
	p        place
	folder   *Folder
	found    []string
	live     map[sendonce.NodeID]*checkedNode
	named    int // revisions that the journal names
	slotRows int // that the revisions of all nodes account for
}

type checkedNode struct {
	slotName
	dir      bool
	state    uint8 // of the walk: 0 not seen, 1 under way, 2 done
	children uint64
	reach    dirRow
}

func (c *checker) report(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// journal checks that entries have no gaps, that the chain and the digests are
// what the entries and the node records give, and that the head is the last.
func (c *checker) journal() error {
	var last sendonce.Cursor
	prefix := c.p.key(rowEntry)
	err := c.r.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
		e, err := parseEntry(k, v)
		if err != nil {
			return false, err
		}
		if e.Seq != last.Seq+1 {
			c.report("journal: entry %d follows %d", e.Seq, last.Seq)
		}
		keys := make([][]byte, len(e.Nodes))
		for i, id := range e.Nodes {
			keys[i] = c.p.node(id, e.Seq)
		}
		values, err := c.r.Get(keys...)
		if err != nil {
			return false, err
		}
		var d digester
		for i, id := range e.Nodes {
			if values[i] == nil {
				c.report("journal: entry %d names node %s, which has no such revision", e.Seq, id)
			}
			d.add(id, values[i])
		}
		if d.sum() != e.Digest {
			c.report("journal: the digest of entry %d does not match its nodes", e.Seq)
		}
		if chainOf(c.p.folder, last.Chain, &e) != e.Chain {
			c.report("journal: the chain breaks at entry %d", e.Seq)
		}
		c.named += len(e.Nodes)
		last = sendonce.Cursor{Seq: e.Seq, Chain: e.Chain}
		return true, nil
	})
	if err == nil && last != c.folder.Head {
		c.report("journal: the head is at %d, the last entry is %d", c.folder.Head.Seq, last.Seq)
	}
	return err
}

// revisions reads every revision of every node: kinds and creators never change,
// and what content refers to is there and referenced. It collects the live ones.
func (c *checker) revisions() error {
	var newest, newer *record // of the node being read; the one read before
	var rows int
	var bytes, files int64
	var ids []sendonce.ID
	prefix := c.p.key(rowNode)
	err := c.r.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
		id, rev, ok := parseNode(k)
		if !ok {
			return false, damaged("a node's key is malformed")
		}
		n, err := decodeNode(id, rev, v)
		if err != nil {
			return false, err
		}
		if rev > 0 {
			rows++
		}
		for _, ref := range n.Content.Refs {
			if !ref.ID.IsZero() {
				ids = append(ids, ref.ID)
			}
		}
		if n.Content.IsTree() {
			ids = append(ids, n.Content.Root)
		}
		if len(ids) >= pageSize {
			if err := c.chunks(ids); err != nil {
				return false, err
			}
			ids = ids[:0]
		}
		var next *record // the revision after n, nil if n is the newest
		if newer != nil && newer.ID == id {
			next = newer
		} else if err := c.step(nil, newer); err != nil { // newer was its node's first
			return false, err
		}
		if err := c.step(n, next); err != nil {
			return false, err
		}
		newer = n
		if newest != nil && newest.ID == id {
			if n.Kind != newest.Kind || n.creator != newest.creator {
				c.report("node %s: its kind or creator changed", id)
			}
			return true, nil
		}
		newest = n
		if n.live() {
			c.live[id] = &checkedNode{slotName: slotOf(n), dir: n.Kind == sendonce.KindDir}
			bytes += n.Size
			if id != c.p.folder.Root() {
				files++
			}
		}
		return true, nil
	})
	if err == nil {
		err = c.step(nil, newer)
	}
	if err != nil {
		return err
	}
	if rows != c.named {
		c.report("journal: it names %d revisions, there are %d", c.named, rows)
	}
	if bytes != c.folder.Bytes || files != c.folder.Files {
		c.report("counts: %d bytes in %d nodes, but the head says %d in %d", bytes, files, c.folder.Bytes, c.folder.Files)
	}
	return c.chunks(ids)
}

// step checks the slot rows of the step from one revision of a node to the next:
// a slot that the node took names it from then on, one that it left does not.
func (c *checker) step(from, to *record) error {
	if to == nil || to.ID == c.p.folder.Root() {
		return nil
	}
	n := nodeState{id: to.ID, before: from, after: to}
	if n.takes() {
		v, err := get(c.r, c.p.slot(to.Parent, to.Name, to.Rev))
		if err != nil {
			return err
		}
		if string(v) != string(to.ID[:]) {
			c.report("slot %q in %s: node %s took it at %d, and no row says so", to.Name, to.Parent, to.ID, to.Rev)
		}
		c.slotRows++
	}
	if n.leaves() {
		v, err := get(c.r, c.p.slot(from.Parent, from.Name, to.Rev))
		switch {
		case err != nil:
			return err
		case v == nil:
			c.report("slot %q in %s: node %s left it at %d, and no row says so", from.Name, from.Parent, to.ID, to.Rev)
		case len(v) == 0:
			c.slotRows++ // else it is counted with the node that took it
		}
	}
	return nil
}

func (c *checker) chunks(ids []sendonce.ID) error {
	states, err := (&chunkQuery{tenant: c.p.tenant, folder: c.p.folder}).run(c.r, ids)
	for i := range states {
		if !states[i].located {
			c.report("chunk %s: a retained revision needs it, and it has no location", ids[i])
		}
		if !states[i].inFolder {
			c.report("chunk %s: a retained revision needs it, and no row references it", ids[i])
		}
	}
	return err
}

// tree checks that every live node hangs below the root, by live directories.
func (c *checker) tree() error {
	root := c.p.folder.Root()
	if n := c.live[root]; n == nil || !n.dir {
		c.report("root: it is not a live directory")
	}
	for id, n := range c.live {
		if id == root {
			continue
		}
		if up := c.live[n.parent]; up == nil || !up.dir {
			c.report("node %s: its parent %s is not a live directory", id, n.parent)
		} else {
			up.children++
		}
		c.climb(id, root)
	}
	return nil
}

// climb follows parents to the root, raising what they reach.
func (c *checker) climb(id, root sendonce.NodeID) {
	seen := map[sendonce.NodeID]bool{}
	var below dirRow
	for id != root {
		n := c.live[id]
		if n == nil {
			return // reported by tree
		}
		if seen[id] {
			c.report("node %s: it is inside itself", id)
			return
		}
		seen[id] = true
		up := c.live[n.parent]
		if up == nil {
			return
		}
		reach := raise(up.reach, n.name, below)
		if n.state == 2 && reach == up.reach {
			return
		}
		n.state, up.reach = 2, reach
		below, id = reach, n.parent
	}
}

// slots checks that the taken slots at the head are those of the live nodes.
func (c *checker) slots() error {
	taken := 0
	for id, n := range c.live {
		if id == c.p.folder.Root() {
			continue
		}
		holder, err := loadSlot(c.r, c.p, n.parent, n.name, head)
		if err != nil {
			return err
		}
		if holder != id {
			c.report("slot %q in %s: it holds %s and not %s", n.name, n.parent, holder, id)
		}
		taken++
	}
	var last []byte
	rows, all := 0, 0
	prefix := c.p.key(rowSlot)
	err := c.r.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
		if _, _, rev, ok := parseSlot(k); !ok || rev > c.folder.Head.Seq {
			c.report("slot: a row with a malformed key or a revision that the journal has not reached")
			return true, nil
		}
		all++
		name := k[:len(k)-8]
		if string(last) != string(name) {
			last = append(last[:0], name...)
			if len(v) > 0 {
				rows++
			}
		}
		return true, nil
	})
	if err == nil && rows != taken {
		c.report("slots: %d are taken, by %d nodes", rows, taken)
	}
	if err == nil && all != c.slotRows {
		c.report("slots: %d rows, of which the nodes' revisions account for %d", all, c.slotRows)
	}
	return err
}

// folds checks the case-folded slots of a portable folder.
func (c *checker) folds() error {
	want := map[string]sendonce.NodeID{}
	if c.folder.Names == sendonce.NamesPortable {
		for id, n := range c.live {
			if id == c.p.folder.Root() {
				continue
			}
			key := string(c.p.fold(n.parent, portable.Fold(n.name)))
			if _, twice := want[key]; twice {
				c.report("node %s: %q clashes with another name", id, n.name)
			}
			want[key] = id
		}
	}
	rows := 0
	prefix := c.p.key(rowFold)
	err := c.r.Scan(prefix, after(prefix), func(k, v []byte) (bool, error) {
		rows++
		if id, ok := want[string(k)]; !ok || string(id[:]) != string(v) {
			c.report("folded slot: a row that is no live node's")
		}
		return true, nil
	})
	if err == nil && rows != len(want) {
		c.report("folded slots: %d rows for %d nodes", rows, len(want))
	}
	return err
}

// dirs checks children counts, and that reaches are bounds.
func (c *checker) dirs() error {
	for id, n := range c.live {
		v, err := get(c.r, c.p.dir(id))
		if err != nil {
			return err
		}
		var d dirRow
		if v != nil {
			if d, err = rec(decodeDir(v))("a directory"); err != nil {
				return err
			}
		}
		if d.children != n.children || d.height < n.reach.height || d.length < n.reach.length {
			c.report("directory %s: its row says %+v, it has %d children and reaches %+v", id, d, n.children, n.reach)
		}
	}
	prefix := c.p.key(rowDir)
	return c.r.Scan(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		if len(k) != placeLen+16 || c.live[sendonce.NodeID(k[placeLen:])] == nil {
			c.report("directory row: it is no live node's")
		}
		return true, nil
	})
}

// references checks that every chunk that the folder references has a location.
func (c *checker) references() error {
	var id sendonce.ID
	located := false
	prefix := tenantKey(rowChunk, c.p.tenant)
	return c.r.Scan(prefix, after(prefix), func(k, _ []byte) (bool, error) {
		row, s, ok := chunkSuffix(k)
		if !ok {
			c.report("chunk: a row of unknown form")
			return true, nil
		}
		if this := chunkID(k); this != id {
			id, located = this, false
		}
		switch {
		case row == chunkLocation:
			located = true
		case row == chunkReference && s.folder == c.p.folder && !located:
			c.report("chunk %s: it is referenced and has no location", id)
		}
		return true, nil
	})
}
