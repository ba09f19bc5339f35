package state

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"sendonce"
	"sendonce/daemon/state/internal/row"
)

// View is a Reader of one folder, either of one moment (DB.Reader) or of what
// is stored at each call (DB.Live). It may be used from several goroutines.
type View struct {
	tree
	d    *DB
	r    pebble.Reader
	snap *pebble.Snapshot
}

var _ Reader = (*View)(nil)

// Reader returns the folder's trees as they are now; later batches do not show
// in it. Close it soon: it keeps the engine from forgetting old rows, and DB.Close
// needs it closed.
func (d *DB) Reader(folder sendonce.FolderID) *View {
	s := d.p.NewSnapshot()
	return &View{tree: tree{folder}, d: d, r: s, snap: s}
}

// Live returns a Reader each of whose calls sees every batch applied before
// it. It needs no Close.
func (d *DB) Live(folder sendonce.FolderID) *View {
	return &View{tree: tree{folder}, d: d, r: d.p}
}

// Close ends the view.
func (v *View) Close() error {
	if v.snap == nil {
		return nil
	}
	return v.fail(v.snap.Close())
}

const opRead = "read state"

func (v *View) fail(err error) error {
	if err == nil {
		return nil
	}
	return v.d.fail(opRead, err)
}

func (v *View) damaged(what string) error { return v.d.damaged(opRead, what) }

// get returns a copy of a value, nil if there is none.
func get(r pebble.Reader, key []byte) ([]byte, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, len(v)), v...)
	return out, closer.Close()
}

// scan calls fn for the rows whose key begins with prefix, in order; the slices
// are valid during the call.
func scan(r pebble.Reader, prefix []byte, fn func(key, value []byte) (bool, error)) error {
	return scanRange(r, prefix, after(prefix), fn)
}

func scanRange(r pebble.Reader, start, end []byte, fn func(key, value []byte) (bool, error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: start, UpperBound: end})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := fn(it.Key(), value); err != nil || !more {
			return err
		}
	}
	return it.Error()
}

// LocalChildren implements Reader.
func (v *View) LocalChildren(parent sendonce.NodeID) ([]Local, error) {
	var out []Local
	prefix := v.child(parent, "")
	err := scan(v.r, prefix, func(k, value []byte) (bool, error) {
		l, ok := parseLocal(value)
		if !ok {
			return false, v.damaged("a Local row")
		}
		l.Parent, l.Name = parent, string(k[len(prefix):])
		if out == nil {
			out = make([]Local, 0, 16)
		}
		out = append(out, l)
		return true, nil
	})
	if err != nil {
		return nil, v.fail(err)
	}
	return out, nil
}

// Local implements Reader.
func (v *View) Local(id sendonce.NodeID) (*Local, error) {
	place, err := get(v.r, v.node(tabPlace, id))
	if err != nil || place == nil {
		return nil, v.fail(err)
	}
	if len(place) < len(id) {
		return nil, v.damaged("a place row")
	}
	value, err := get(v.r, append(v.table(tabLocal), place...))
	if err != nil {
		return nil, v.fail(err)
	}
	if value == nil && v.snap == nil {
		return v.localAgain(id) // a live view: a batch came in between
	}
	return v.local(id, place, value)
}

func (v *View) local(id sendonce.NodeID, place, value []byte) (*Local, error) {
	l, ok := parseLocal(value)
	if !ok || l.Node != id {
		return nil, v.damaged("a Local row")
	}
	copy(l.Parent[:], place)
	l.Name = string(place[len(id):])
	return &l, nil
}

// localAgain answers from one moment what two reads of a live view could not.
func (v *View) localAgain(id sendonce.NodeID) (*Local, error) {
	s := v.d.Reader(v.folder)
	l, err := s.Local(id)
	return l, errors.Join(err, s.Close())
}

// LocalByInode implements Reader. Where hard links share the inode it is the
// row with the least node ID.
func (v *View) LocalByInode(dev, ino uint64) (*Local, error) {
	var id sendonce.NodeID
	prefix := v.inode(dev, ino)
	err := scan(v.r, prefix, func(k, _ []byte) (bool, error) {
		if len(k) != len(prefix)+len(id) {
			return false, v.damaged("an inode row")
		}
		copy(id[:], k[len(prefix):])
		return false, nil
	})
	if err != nil || id.IsZero() {
		return nil, v.fail(err)
	}
	return v.Local(id)
}

func (v *View) nodeAt(table byte, id sendonce.NodeID) (*sendonce.Node, error) {
	value, err := get(v.r, v.node(table, id))
	if err != nil || value == nil {
		return nil, v.fail(err)
	}
	return v.parse(id, value)
}

func (v *View) parse(id sendonce.NodeID, value []byte) (*sendonce.Node, error) {
	n, ok := row.ParseNode(value)
	if !ok {
		return nil, v.damaged("a node row")
	}
	n.ID = id
	return &n, nil
}

// Synced implements Reader.
func (v *View) Synced(id sendonce.NodeID) (*sendonce.Node, error) { return v.nodeAt(tabSynced, id) }

// Remote implements Reader.
func (v *View) Remote(id sendonce.NodeID) (*sendonce.Node, error) {
	if n, err := v.nodeAt(tabRemote, id); err != nil || n != nil {
		return n, err
	}
	return v.nodeAt(tabSynced, id)
}

// RemoteSlot implements Reader. While entries of the journal are still to come
// two nodes may claim a name; the one with the higher revision has it.
func (v *View) RemoteSlot(parent sendonce.NodeID, name string) (*sendonce.Node, error) {
	var best *sendonce.Node
	for _, table := range []byte{tabRemoteSlot, tabSyncedSlot} {
		prefix := v.slotName(table, parent, name, 0)
		err := scan(v.r, prefix, func(k, _ []byte) (bool, error) {
			_, id, ok := slotOf(k[tablePrefix+16:])
			if !ok {
				return false, v.damaged("a slot row")
			}
			n, err := v.Remote(id)
			if err == nil && claims(n, parent, name) && (best == nil || n.Rev > best.Rev) {
				best = n
			}
			return true, err
		})
		if err != nil {
			return nil, v.fail(err)
		}
	}
	return best, nil
}

// claims reports whether a node of Remote, found by a slot row, really is there:
// a Synced slot row stays while Remote has moved the node away or deleted it.
func claims(n *sendonce.Node, parent sendonce.NodeID, name string) bool {
	return n != nil && !n.Deleted && n.Parent == parent && n.Name == name
}

// RemoteChildren implements Reader. It holds the names of one directory in
// memory; a live view may miss or show what is applied meanwhile.
func (v *View) RemoteChildren(parent sendonce.NodeID, fn func(*sendonce.Node) (bool, error)) error {
	type entry struct {
		name string
		id   sendonce.NodeID
	}
	list := func(table byte) (out []entry, err error) {
		prefix := append(v.table(table), parent[:]...)
		err = scan(v.r, prefix, func(k, _ []byte) (bool, error) {
			name, id, ok := slotOf(k[len(prefix):])
			if !ok {
				return false, v.damaged("a slot row")
			}
			out = append(out, entry{string(name), id})
			return true, nil
		})
		return out, v.fail(err)
	}
	over, err := list(tabRemoteSlot)
	if err != nil {
		return err
	}
	synced, err := list(tabSyncedSlot)
	if err != nil {
		return err
	}
	// Merge the two by name; of nodes that claim one name the newest wins.
	var best *sendonce.Node
	for len(over) > 0 || len(synced) > 0 {
		from := &over
		if len(over) == 0 || len(synced) > 0 && synced[0].name < over[0].name {
			from = &synced
		}
		e := (*from)[0]
		*from = (*from)[1:]
		n, err := v.Remote(e.id)
		if err != nil {
			return err
		}
		if !claims(n, parent, e.name) {
			continue
		}
		if best != nil && best.Name != n.Name {
			if more, err := fn(best); err != nil || !more {
				return err
			}
			best = nil
		}
		if best == nil || n.Rev > best.Rev {
			best = n
		}
	}
	if best != nil {
		_, err := fn(best)
		return err
	}
	return nil
}

// Foreign implements Reader, in order of node IDs.
func (v *View) Foreign(fn func(*sendonce.Node) (bool, error)) error { return v.nodes(tabRemote, fn) }

// AllSynced calls fn for every node of Synced, in order of node IDs, until fn
// returns false.
func (v *View) AllSynced(fn func(*sendonce.Node) (bool, error)) error { return v.nodes(tabSynced, fn) }

// nodes walks a node table; what fn returns as an error comes back as it is.
func (v *View) nodes(table byte, fn func(*sendonce.Node) (bool, error)) error {
	prefix := v.table(table)
	var stop error
	err := scan(v.r, prefix, func(k, value []byte) (bool, error) {
		var id sendonce.NodeID
		if len(k) != len(prefix)+len(id) {
			return false, v.damaged("the key of a node row")
		}
		copy(id[:], k[len(prefix):])
		n, err := v.parse(id, value)
		if err != nil {
			return false, err
		}
		more, err := fn(n)
		stop = err
		return more && err == nil, nil
	})
	if err != nil {
		return v.fail(err)
	}
	return stop
}

// Manifest implements Reader; nil where no manifest was stored since the
// content last changed. It takes 40 bytes of
// memory a reference.
func (v *View) Manifest(id sendonce.NodeID) (sendonce.Manifest, error) {
	var m sendonce.Manifest
	var total uint64
	prefix := v.node(tabManifest, id)
	err := scan(v.r, prefix, func(k, value []byte) (bool, error) {
		if !bytes.Equal(k, v.part(id, row.Parts(uint64(len(m))))) {
			return false, v.damaged("a part of a manifest is missing")
		}
		var ok bool
		var n uint64
		if m, n, ok = row.ParsePart(m, value); !ok || total != 0 && n != total || uint64(len(m)) > n {
			return false, v.damaged("a part of a manifest")
		}
		total = n
		return true, nil
	})
	if err != nil {
		return nil, v.fail(err)
	}
	if uint64(len(m)) != total {
		return nil, v.damaged("the end of a manifest is missing")
	}
	return m, nil
}

// Cursor implements Reader; zero before the first.
func (v *View) Cursor() (sendonce.Cursor, error) {
	value, err := get(v.r, v.table(tabCursor))
	if err != nil || value == nil {
		return sendonce.Cursor{}, v.fail(err)
	}
	c, ok := row.ParseCursor(value)
	if !ok {
		return sendonce.Cursor{}, v.damaged("the cursor")
	}
	return c, nil
}
