package state

import (
	"encoding/binary"

	"sendonce"
)

// Keys of the database. docs/formats/state.md shows the same as a table. The
// first byte is the table; rows of a folder's trees share the prefix
// T | folder, so that one range deletion forgets a folder.
const (
	keyFormat   = "F"
	keyServer   = "S"
	tagSetting  = 'G'
	tagFolder   = 'D'
	tagTree     = 'T'
	treePrefix  = 1 + 16 // tag and folder
	tablePrefix = treePrefix + 1
)

// Tables under a folder's prefix.
const (
	tabCursor     = 'c' //                        -> cursor
	tabInode      = 'i' // dev 8, ino 8, node 16  -> nothing
	tabSyncedSlot = 'k' // parent, name, 0, node  -> nothing
	tabLocal      = 'l' // parent, name           -> Local
	tabManifest   = 'm' // node, part 4           -> manifest part
	tabPlace      = 'n' // node                   -> parent, name of its Local row
	tabReceipt    = 'p' //                        -> opaque bytes
	tabRemoteSlot = 'q' // parent, name, 0, node  -> nothing
	tabRemote     = 'r' // node                   -> Node, only where it differs from Synced
	tabSynced     = 's' // node                   -> Node
)

// tree makes the keys of one folder.
type tree struct{ folder sendonce.FolderID }

func (t tree) key(table byte, extra int) []byte {
	k := make([]byte, 0, tablePrefix+extra)
	k = append(k, tagTree)
	k = append(k, t.folder[:]...)
	return append(k, table)
}

// all is the first key of the folder; after(all) is the end of the range.
func (t tree) all() []byte { return append([]byte{tagTree}, t.folder[:]...) }

func (t tree) table(table byte) []byte { return t.key(table, 0) }

func (t tree) node(table byte, id sendonce.NodeID) []byte {
	return append(t.key(table, 16), id[:]...)
}

func (t tree) child(parent sendonce.NodeID, name string) []byte {
	k := append(t.key(tabLocal, 16+len(name)), parent[:]...)
	return append(k, name...)
}

// slot is the key of a Synced or Remote slot row. Names hold no NUL, so the
// order of the keys is the order of the names.
func (t tree) slot(table byte, parent sendonce.NodeID, name string, id sendonce.NodeID) []byte {
	return append(t.slotName(table, parent, name, 16), id[:]...)
}

// slotName is the prefix of the slot rows of one name.
func (t tree) slotName(table byte, parent sendonce.NodeID, name string, extra int) []byte {
	k := append(t.key(table, 16+len(name)+1+extra), parent[:]...)
	k = append(k, name...)
	return append(k, 0)
}

func (t tree) inode(dev, ino uint64) []byte {
	k := t.key(tabInode, 32)
	k = binary.BigEndian.AppendUint64(k, dev)
	return binary.BigEndian.AppendUint64(k, ino)
}

func (t tree) inodeNode(dev, ino uint64, id sendonce.NodeID) []byte {
	return append(t.inode(dev, ino), id[:]...)
}

func (t tree) part(id sendonce.NodeID, n int) []byte {
	return binary.BigEndian.AppendUint32(append(t.key(tabManifest, 20), id[:]...), uint32(n))
}

// after returns the first key that does not begin with prefix. The prefixes of
// this package begin with an ASCII tag, so there always is one.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		end[i]++
		if end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// slotOf splits the part of a slot key behind the parent into name and node.
func slotOf(rest []byte) (name []byte, id sendonce.NodeID, ok bool) {
	n := len(rest) - 17
	if n < 0 || rest[n] != 0 {
		return nil, id, false
	}
	copy(id[:], rest[n+1:])
	return rest[:n], id, true
}
