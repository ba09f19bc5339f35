package indexdb

import (
	"encoding/binary"

	"sendonce"
)

// Every key begins with one byte that names the kind of row; fixed-length
// fields follow, integers big-endian. Revisions in keys are stored inverted
// (^rev), so that an ascending scan meets the newest first. The table of all
// rows is in docs/formats/index.md.
const (
	rowDir        = 'b' // tenant folder node: children count and reach of a directory
	rowChunk      = 'c' // tenant id, then one of chunk*
	rowDevice     = 'd' // device
	rowDeviceList = 'D' // tenant device
	rowEpoch      = 'e' // tenant
	rowFolder     = 'f' // tenant folder
	rowFolderName = 'F' // tenant name
	rowHead       = 'h' // tenant folder
	rowInvite     = 'i' // token
	rowEntry      = 'j' // tenant folder seq
	rowLease      = 'l' // tenant device folder push
	rowNode       = 'n' // tenant folder node ^rev
	rowOp         = 'o' // device op
	rowFold       = 'p' // tenant folder parent folded-name: portable folders only
	rowSlot       = 's' // tenant folder parent name 0x00 ^rev
	rowTenant     = 't' // tenant
	rowFormat     = 'v'
)

// What follows a chunk prefix.
const (
	chunkLocation  = 'L'
	chunkReference = 'R' // folder device (zero device: the folder's own scope)
	chunkReceipt   = 'U' // device
)

// ChunkPrefixLen is the length of a chunk prefix. All keys that begin with
// ChunkRow have at least that many bytes.
const ChunkPrefixLen = 1 + 4 + 32

// ChunkRow is the first byte of the keys that belong to a chunk; engines may
// keep a filter on the prefixes of such keys.
const ChunkRow = rowChunk

// ChunkPrefix returns the ChunkPrefixLen bytes that all rows of one chunk (or
// page) share, and no other row begins with.
func ChunkPrefix(tenant sendonce.TenantID, id sendonce.ID) []byte {
	return appendChunk(make([]byte, 0, ChunkPrefixLen), tenant, id)
}

func appendTenant(dst []byte, row byte, t sendonce.TenantID) []byte {
	return binary.BigEndian.AppendUint32(append(dst, row), uint32(t))
}

func appendChunk(dst []byte, t sendonce.TenantID, id sendonce.ID) []byte {
	return append(appendTenant(dst, rowChunk, t), id[:]...)
}

func locationKey(t sendonce.TenantID, id sendonce.ID) []byte {
	return append(appendChunk(make([]byte, 0, ChunkPrefixLen+1), t, id), chunkLocation)
}

func referenceKey(t sendonce.TenantID, id sendonce.ID, s scope) []byte {
	k := append(appendChunk(make([]byte, 0, ChunkPrefixLen+49), t, id), chunkReference)
	return append(append(k, s.folder[:]...), s.device[:]...)
}

func receiptKey(t sendonce.TenantID, id sendonce.ID, d sendonce.DeviceID) []byte {
	k := append(appendChunk(make([]byte, 0, ChunkPrefixLen+33), t, id), chunkReceipt)
	return append(k, d[:]...)
}

// scope is whose reference a reference row is: a folder's, or, with a device,
// that of a push-only device in the folder.
type scope struct {
	folder sendonce.FolderID
	device sendonce.DeviceID
}

// chunkSuffix takes apart what follows the prefix of a chunk's key. ok is false
// for a key that this version does not know.
func chunkSuffix(key []byte) (row byte, s scope, ok bool) {
	if len(key) <= ChunkPrefixLen {
		return 0, s, false
	}
	row, rest := key[ChunkPrefixLen], key[ChunkPrefixLen+1:]
	switch {
	case row == chunkLocation && len(rest) == 0:
		return row, s, true
	case row == chunkReference && len(rest) == 48:
		copy(s.folder[:], rest)
		copy(s.device[:], rest[16:])
		return row, s, true
	case row == chunkReceipt && len(rest) == 32:
		copy(s.device[:], rest)
		return row, s, true
	}
	return row, s, false
}

func chunkID(key []byte) (id sendonce.ID) {
	copy(id[:], key[5:])
	return id
}

func tenantKey(row byte, t sendonce.TenantID) []byte { return appendTenant(nil, row, t) }

func folderNameKey(t sendonce.TenantID, name string) []byte {
	return append(appendTenant(nil, rowFolderName, t), name...)
}

func deviceKey(d sendonce.DeviceID) []byte { return append([]byte{rowDevice}, d[:]...) }

func deviceListKey(t sendonce.TenantID, d sendonce.DeviceID) []byte {
	return append(appendTenant(nil, rowDeviceList, t), d[:]...)
}

func inviteKey(token [32]byte) []byte { return append([]byte{rowInvite}, token[:]...) }

func opKey(d sendonce.DeviceID, op sendonce.OpID) []byte {
	return append(append([]byte{rowOp}, d[:]...), op[:]...)
}

func leasePrefix(t sendonce.TenantID, d sendonce.DeviceID) []byte {
	return append(appendTenant(nil, rowLease, t), d[:]...)
}

func leaseKey(t sendonce.TenantID, d sendonce.DeviceID, f sendonce.FolderID, p sendonce.PushID) []byte {
	return append(append(leasePrefix(t, d), f[:]...), p[:]...)
}

// place is a folder of a tenant: what the rows of one folder begin with.
type place struct {
	tenant sendonce.TenantID
	folder sendonce.FolderID
}

const placeLen = 1 + 4 + 16

func (p place) key(row byte) []byte {
	return append(appendTenant(make([]byte, 0, 64), row, p.tenant), p.folder[:]...)
}

func (p place) entry(seq uint64) []byte { return binary.BigEndian.AppendUint64(p.key(rowEntry), seq) }

func (p place) dir(id sendonce.NodeID) []byte { return append(p.key(rowDir), id[:]...) }

func (p place) nodes(id sendonce.NodeID) []byte { return append(p.key(rowNode), id[:]...) }

func (p place) node(id sendonce.NodeID, rev uint64) []byte {
	return binary.BigEndian.AppendUint64(p.nodes(id), ^rev)
}

func (p place) slots(parent sendonce.NodeID) []byte { return append(p.key(rowSlot), parent[:]...) }

// slotName is the prefix of all revisions of one slot. Names hold no NUL, so
// the terminator keeps keys in the byte order of names: "a" < "a\x01" < "ab".
func (p place) slotName(parent sendonce.NodeID, name string) []byte {
	return append(append(p.slots(parent), name...), 0)
}

func (p place) slot(parent sendonce.NodeID, name string, rev uint64) []byte {
	return binary.BigEndian.AppendUint64(p.slotName(parent, name), ^rev)
}

func (p place) fold(parent sendonce.NodeID, folded string) []byte {
	return append(append(p.key(rowFold), parent[:]...), folded...)
}

// parseNode takes a node's key apart.
func parseNode(key []byte) (id sendonce.NodeID, rev uint64, ok bool) {
	if len(key) != placeLen+16+8 {
		return id, 0, false
	}
	copy(id[:], key[placeLen:])
	return id, ^binary.BigEndian.Uint64(key[placeLen+16:]), true
}

// parseSlot takes a slot's key apart; name aliases key.
func parseSlot(key []byte) (parent sendonce.NodeID, name []byte, rev uint64, ok bool) {
	end := len(key) - 9
	if end < placeLen+16 || key[end] != 0 {
		return parent, nil, 0, false
	}
	copy(parent[:], key[placeLen:])
	return parent, key[placeLen+16 : end], ^binary.BigEndian.Uint64(key[end+1:]), true
}

// after returns the end of the range of all keys that begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
