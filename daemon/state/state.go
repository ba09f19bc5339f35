// Package state keeps what a client knows, in its own Pebble database: for each
// folder three trees (Remote: what the server last said; Local: what the last
// scan saw; Synced: what both agreed on), the manifests of synced files, and the
// cursor. Only observations are kept, never queued work: the plan is recomputed
// after every restart.
//
// Invariants: a batch is atomic and durable when Apply returns; the cursor moves
// in the same batch as the Remote rows it stands for. Remote rows are stored only
// where they differ from Synced, so a quiet folder costs one row a node.
//
// Read state.go, then keys.go, then apply.go (what a batch does) and view.go.
package state

import (
	"sendonce"
)

// Local is what the last scan saw of one file, directory or symlink. The
// content it names was hashed from exactly the bytes that had this stat.
type Local struct {
	Node   sendonce.NodeID
	Parent sendonce.NodeID
	Name   string
	Kind   sendonce.Kind
	Stat   Stat
	// Racy: the file's ctime was within 2 s of the time it was read, so an equal
	// stat proves nothing; the next scan reads it again.
	Racy bool
	// Content of a file, Target of a symlink, as last read.
	Content sendonce.Content
	Target  string
}

// Stat is the part of lstat that decides whether a file is read again. Times
// are nanoseconds since 1970.
type Stat struct {
	Dev, Ino                  uint64
	Size                      int64
	MTimeNS, CTimeNS, BirthNS int64
	Mode                      uint32
}

// Reader reads one folder's trees. Results belong to the caller. A missing row
// is (nil, nil).
type Reader interface {
	// LocalChildren returns the Local rows of a directory in byte order of names.
	LocalChildren(parent sendonce.NodeID) ([]Local, error)
	// Local returns a node's Local row.
	Local(id sendonce.NodeID) (*Local, error)
	// LocalByInode returns the Local row last seen with this inode.
	LocalByInode(dev, ino uint64) (*Local, error)
	// Synced returns a node as both sides agreed on it; tombstones are not kept.
	Synced(id sendonce.NodeID) (*sendonce.Node, error)
	// Remote returns a node as the server last said; a tombstone (Deleted) where
	// the server deleted a node that Synced still has.
	Remote(id sendonce.NodeID) (*sendonce.Node, error)
	// RemoteSlot returns the live node that has (parent, name) in Remote.
	RemoteSlot(parent sendonce.NodeID, name string) (*sendonce.Node, error)
	// RemoteChildren calls fn for the live children in Remote, by name.
	RemoteChildren(parent sendonce.NodeID, fn func(*sendonce.Node) (bool, error)) error
	// Foreign calls fn for every Remote row that differs from Synced (tombstones
	// too): what others did and this device has not applied.
	Foreign(fn func(*sendonce.Node) (bool, error)) error
	// Manifest returns the manifest of a synced file whose content is a tree.
	Manifest(id sendonce.NodeID) (sendonce.Manifest, error)
	// Cursor returns the last journal point applied.
	Cursor() (sendonce.Cursor, error)
}

// Batch is a set of changes to one folder's trees, applied in order.
type Batch struct {
	SetLocal    []Local
	DropLocal   []sendonce.NodeID
	SetSynced   []sendonce.Node // also drops the node's Remote row if it is equal
	DropSynced  []sendonce.NodeID
	SetRemote   []sendonce.Node // Deleted: a tombstone; equal to Synced: stored as no row
	SetManifest map[sendonce.NodeID]sendonce.Manifest
	DropRemote  bool             // forget every Remote row first (a listing from the start follows)
	Cursor      *sendonce.Cursor // nil: unchanged
	Receipt     []byte           // of the commit that these changes stand for; nil: unchanged
}

// Folder is a folder attached to this device.
type Folder struct {
	ID    sendonce.FolderID
	Name  string
	Dir   string // absolute path of the root
	Names sendonce.NameRule
	Role  sendonce.Role
	Dev   uint64 // of the root when it was attached: another one means unmounted
	Ino   uint64
	// Paused folders are skipped; PauseReason says why if not the user's wish.
	Paused      bool
	PauseReason string
}

// Server is the proxy that this device is enrolled at.
type Server struct {
	Addrs       []string // "host:port", tried in order
	Fingerprint sendonce.DeviceID
}
