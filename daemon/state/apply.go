package state

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"sendonce"
	"sendonce/daemon/state/internal/row"
)

// Apply makes a batch of changes to one folder's trees: all of it is durable
// when Apply returns nil, and none of it after any error. The fields are applied in
// this order: DropRemote, SetLocal, DropLocal, SetSynced, DropSynced,
// SetRemote, SetManifest, Cursor, Receipt; within a field, in the order of the slice.
//
//   - SetLocal moves a node's row if it has one under another parent or name,
//     and drops the row of another node that had the same parent and name.
//   - SetSynced drops the node's manifest when the content changes, and its
//     Remote row when that is equal. Where there is no Remote row, Remote
//     follows Synced.
//   - DropSynced drops the manifest, and the Remote row if it is a tombstone.
//   - SetRemote keeps no row for a node equal to its Synced one, nor for a
//     tombstone of a node that Synced does not have.
//   - SetManifest is for nodes whose Synced content is a tree with as many
//     references; an empty manifest drops it.
//
// A batch that could not be read back is refused as a whole (KindInvalid).
// Nothing in b is kept.
func (d *DB) Apply(folder sendonce.FolderID, b *Batch) error {
	return d.apply(folder, b, pebble.Sync)
}

// ApplyUnsynced is Apply without waiting for the disk: a crash may lose the
// batch, though never without losing all later ones up to the next synced
// write too. It takes only batches of SetLocal, others are refused
// (KindInvalid): a Local row is what was seen, so losing one costs a second look.
func (d *DB) ApplyUnsynced(folder sendonce.FolderID, b *Batch) error {
	if len(b.DropLocal)+len(b.SetSynced)+len(b.DropSynced)+len(b.SetRemote)+len(b.SetManifest) > 0 || b.DropRemote || b.Cursor != nil || b.Receipt != nil {
		return d.invalid(errors.New("an unsynced batch may only set Local rows"))
	}
	return d.apply(folder, b, pebble.NoSync)
}

func (d *DB) invalid(err error) error {
	return &sendonce.Error{Op: "write state", Path: d.dir, Kind: sendonce.KindInvalid, Err: err}
}

func (d *DB) apply(folder sendonce.FolderID, b *Batch, o *pebble.WriteOptions) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &writer{tree: tree{folder}, d: d, b: d.p.NewBatch(), pending: make(map[string][]byte)}
	defer w.b.Close()
	w.batch(b)
	w.err = errors.Join(w.err, w.stop())
	if w.err != nil {
		return d.fail("write state", w.err)
	}
	if w.b.Empty() {
		return nil
	}
	return d.commit("write state", w.b, o)
}

// writer builds one engine batch. The first error sticks and ends the work.
//
// Most rows it asks for are not there (a first push), so it asks through one
// iterator that uses the tables' filters at every level; an indexed batch or
// Get would read a block for each.
type writer struct {
	tree
	d        *DB
	b        *pebble.Batch
	pending  map[string][]byte // what b holds, so that it reads its own writes; nil: deleted
	it       *pebble.Iterator  // over the database as it was; opened at the first need
	noRemote bool              // the database has no Remote rows of this folder that count
	err      error
}

// stop ends the use of the iterator.
func (w *writer) stop() error {
	if w.it == nil {
		return nil
	}
	return w.it.Close()
}

func (w *writer) batch(b *Batch) {
	w.noRemote = !w.any(w.table(tabRemote))
	if b.DropRemote && !w.noRemote {
		w.dropRange(w.table(tabRemote))
		w.dropRange(w.table(tabRemoteSlot))
		w.noRemote = true
	}
	for i := range b.SetLocal {
		w.setLocal(&b.SetLocal[i])
	}
	for _, id := range b.DropLocal {
		w.dropLocal(id)
	}
	for i := range b.SetSynced {
		w.setSynced(&b.SetSynced[i])
	}
	for _, id := range b.DropSynced {
		w.dropSynced(id)
	}
	for i := range b.SetRemote {
		w.setRemote(&b.SetRemote[i])
	}
	for id, m := range b.SetManifest {
		w.setManifest(id, m)
	}
	if b.Cursor != nil {
		w.set(w.table(tabCursor), row.AppendCursor(nil, *b.Cursor))
	}
	if b.Receipt != nil && w.check(checkReceipt(b.Receipt)) {
		w.set(w.table(tabReceipt), b.Receipt)
	}
}

func (w *writer) set(key, value []byte) {
	if w.err == nil {
		w.err = w.b.Set(key, value, nil)
		w.pending[string(key)] = value
	}
}

func (w *writer) delete(key []byte) {
	if w.err == nil {
		w.err = w.b.Delete(key, nil)
		w.pending[string(key)] = nil
	}
}

// get returns a value as it will be after the batch so far, nil if there is
// none. It is valid until the next get. Rows with empty values are not read.
func (w *writer) get(key []byte) []byte {
	if w.err != nil {
		return nil
	}
	if v, ok := w.pending[string(key)]; ok {
		return v
	}
	if w.it == nil {
		all := w.all()
		w.it, w.err = w.d.p.NewIter(&pebble.IterOptions{LowerBound: all, UpperBound: after(all), UseL6Filters: true})
		if w.err != nil {
			return nil
		}
	}
	if !w.it.SeekPrefixGE(key) { // the engine's default: a prefix is a whole key
		w.err = w.it.Error()
		return nil
	}
	v, err := w.it.ValueAndErr()
	w.err = err
	return v
}

func (w *writer) check(err error) bool {
	if w.err == nil && err != nil {
		w.err = w.d.invalid(err)
	}
	return w.err == nil
}

func (w *writer) damaged(what string) {
	if w.err == nil {
		w.err = w.d.damaged("write state", what)
	}
}

// any reports whether the database has rows with a prefix.
func (w *writer) any(prefix []byte) (found bool) {
	if w.err == nil {
		w.err = scan(w.d.p, prefix, func(_, _ []byte) (bool, error) {
			found = true
			return false, nil
		})
	}
	return found
}

// dropRange deletes a whole table of the database, before anything is pending.
func (w *writer) dropRange(prefix []byte) {
	if w.err == nil {
		w.err = w.b.DeleteRange(prefix, after(prefix), nil)
	}
}

func (w *writer) setLocal(l *Local) {
	if !w.check(checkLocal(l)) {
		return
	}
	place := append(l.Parent[:len(l.Parent):len(l.Parent)], l.Name...)
	placeKey, rowKey := w.node(tabPlace, l.Node), w.child(l.Parent, l.Name)
	value := appendLocal(nil, l)

	old := w.localAt(rowKey)
	same := old != nil && old.Node == l.Node
	if !same {
		if old != nil { // another node had the name
			w.delete(w.node(tabPlace, old.Node))
			w.delete(w.inodeNode(old.Stat.Dev, old.Stat.Ino, old.Node))
		}
		if was := w.get(placeKey); was != nil { // the node had another name
			wasKey := append(w.table(tabLocal), was...)
			old = w.localAt(wasKey)
			w.delete(wasKey)
		} else {
			old = nil
		}
		w.set(placeKey, place)
	}
	if old == nil || old.Stat.Dev != l.Stat.Dev || old.Stat.Ino != l.Stat.Ino {
		if old != nil {
			w.delete(w.inodeNode(old.Stat.Dev, old.Stat.Ino, l.Node))
		}
		w.set(w.inodeNode(l.Stat.Dev, l.Stat.Ino, l.Node), nil)
	}
	w.set(rowKey, value)
}

// localAt reads the Local row under a full row key; parent and name stay empty.
func (w *writer) localAt(key []byte) *Local {
	v := w.get(key)
	if v == nil {
		return nil
	}
	l, ok := parseLocal(v)
	if !ok {
		w.damaged("a Local row")
		return nil
	}
	return &l
}

func (w *writer) dropLocal(id sendonce.NodeID) {
	place := w.get(w.node(tabPlace, id))
	if place == nil {
		return
	}
	key := append(w.table(tabLocal), place...) // place is valid no longer
	if old := w.localAt(key); old != nil {
		w.delete(w.inodeNode(old.Stat.Dev, old.Stat.Ino, id))
	}
	w.delete(key)
	w.delete(w.node(tabPlace, id))
}

func (w *writer) nodeAt(table byte, id sendonce.NodeID) *sendonce.Node {
	key := w.node(table, id)
	if table == tabRemote && w.noRemote {
		if w.pending[string(key)] == nil {
			return nil
		}
	}
	v := w.get(key)
	if v == nil {
		return nil
	}
	n, ok := row.ParseNode(v)
	if !ok {
		w.damaged("a node row")
		return nil
	}
	n.ID = id
	return &n
}

func (w *writer) setSynced(n *sendonce.Node) {
	if n.Deleted {
		w.check(errors.New("Synced keeps no tombstones"))
	}
	if !w.check(row.CheckNode(n)) {
		return
	}
	old := w.nodeAt(tabSynced, n.ID)
	if old == nil || old.Parent != n.Parent || old.Name != n.Name {
		if old != nil {
			w.delete(w.slot(tabSyncedSlot, old.Parent, old.Name, n.ID))
		}
		w.set(w.slot(tabSyncedSlot, n.Parent, n.Name, n.ID), nil)
	}
	if old != nil && old.Content.IsTree() && !old.Content.Equal(n.Content) {
		w.dropManifest(n.ID)
	}
	w.set(w.node(tabSynced, n.ID), row.AppendNode(nil, n))
	if over := w.nodeAt(tabRemote, n.ID); over != nil && row.SameNode(over, n) {
		w.dropOverlay(over)
	}
}

func (w *writer) dropSynced(id sendonce.NodeID) {
	old := w.nodeAt(tabSynced, id)
	if old == nil {
		return
	}
	w.delete(w.slot(tabSyncedSlot, old.Parent, old.Name, id))
	w.delete(w.node(tabSynced, id))
	if old.Content.IsTree() {
		w.dropManifest(id)
	}
	if over := w.nodeAt(tabRemote, id); over != nil && over.Deleted {
		w.dropOverlay(over)
	}
}

// dropOverlay removes a Remote row and its slot.
func (w *writer) dropOverlay(n *sendonce.Node) {
	w.delete(w.node(tabRemote, n.ID))
	if !n.Deleted {
		w.delete(w.slot(tabRemoteSlot, n.Parent, n.Name, n.ID))
	}
}

func (w *writer) setRemote(n *sendonce.Node) {
	if !w.check(row.CheckNode(n)) {
		return
	}
	if over := w.nodeAt(tabRemote, n.ID); over != nil {
		w.dropOverlay(over)
	}
	synced := w.nodeAt(tabSynced, n.ID)
	switch {
	case n.Deleted && synced == nil, synced != nil && row.SameNode(synced, n):
		return
	case !n.Deleted:
		w.set(w.slot(tabRemoteSlot, n.Parent, n.Name, n.ID), nil)
	}
	w.set(w.node(tabRemote, n.ID), row.AppendNode(nil, n))
}

func (w *writer) dropManifest(id sendonce.NodeID) {
	if w.err != nil {
		return
	}
	var keys [][]byte
	w.err = scan(w.d.p, w.node(tabManifest, id), func(k, _ []byte) (bool, error) {
		keys = append(keys, append([]byte(nil), k...))
		return true, nil
	})
	for _, k := range keys {
		w.delete(k)
	}
}

func (w *writer) setManifest(id sendonce.NodeID, m sendonce.Manifest) {
	w.dropManifest(id)
	if len(m) == 0 || w.err != nil {
		return
	}
	n := w.nodeAt(tabSynced, id)
	if w.err != nil {
		return
	}
	if n == nil || !n.Content.IsTree() || n.Content.Count != uint64(len(m)) {
		w.check(fmt.Errorf("a manifest of %d references for %v, which has no such tree in Synced", len(m), id))
		return
	}
	for i := range m {
		if m[i].Size < 0 {
			w.check(fmt.Errorf("a reference of %d bytes", m[i].Size))
			return
		}
	}
	for part := 0; part*row.PartRefs < len(m); part++ {
		w.set(w.part(id, part), row.AppendPart(nil, len(m), m[part*row.PartRefs:min(len(m), (part+1)*row.PartRefs)]))
	}
}
