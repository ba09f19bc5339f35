// Package scan compares a synced root with what the last scan saw and reports
// the differences. It stats every entry and opens no file: reading is the
// caller's work, for those entries that changed.
//
// Invariants: a Removed change is reported only for a name that a completed
// listing of its parent did not show (I15); directories that could not be listed
// freeze their whole subtree, and so does an ignore file that cannot be read; what
// is ignored stays as it was, here and on the server; nothing outside the root is
// looked at (I12).
//
// What it does not promise: to notice an edit that put size and mtime back in a
// file that was also renamed since the last scan (both change the ctime); and that
// of two names that changed places while they were listed both are seen: the next
// scan is right again.
//
// Read scan.go (what is reported), run.go (the walk and the removals), list.go
// (one directory and one entry), then pool.go (listing ahead).
package scan

import (
	"sendonce"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
)

// ChangeKind says how an entry differs from its Local row.
type ChangeKind uint8

// The kinds of change.
const (
	Added    ChangeKind = 1 // a name without a Local row
	Modified ChangeKind = 2 // a file or symlink that must be read again; if Old has another place, it moved as well
	Meta     ChangeKind = 3 // mode (or a directory's mtime) only; the bytes are as known
	Moved    ChangeKind = 4 // a known node under another parent or name; its bytes are as known
	Removed  ChangeKind = 5 // a Local row whose name is gone
	Touched  ChangeKind = 6 // only the stat cache changed (ctime, a racy entry not due)
)

// Change is one difference. Changes come parents before children in the order
// of a depth-first walk by name bytes; Removed ones come last, children before
// parents, after every possible move has been seen.
type Change struct {
	Kind ChangeKind
	Path string // as it is now; of a Removed one, as it was
	Name string
	Type sendonce.Kind
	// Node is the known node, zero for an Added one. Parent is the parent's
	// node, zero if the parent is itself Added in this scan: ParentPath then
	// names it.
	Node       sendonce.NodeID
	Parent     sendonce.NodeID
	ParentPath string
	Info       fsys.Info
	Old        *state.Local // the row it is compared with; nil for Added
}

// Skipped is an entry that was not looked at and why.
type Skipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// Report sums a scan up.
type Report struct {
	Files, Dirs, Symlinks int64
	Bytes                 int64 // sizes of all regular files seen
	Ignored               int64
	Skipped               []Skipped
	Removed               int64 // Removed changes reported
	Known                 int64 // Local rows compared
}

// Base is what scan reads of the state.
type Base interface {
	LocalChildren(parent sendonce.NodeID) ([]state.Local, error)
	Local(id sendonce.NodeID) (*state.Local, error)
	LocalByInode(dev, ino uint64) (*state.Local, error)
}
