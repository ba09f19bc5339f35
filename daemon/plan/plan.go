// Package plan decides what to do about one difference, from the three trees
// alone. Everything in it is a pure function: no I/O, no clock, no randomness.
//
// In this version the device pushes and never applies: what others did stays in
// Remote, a clash is a conflict that is listed, and nothing is overwritten.
package plan

import "sendonce"

// Local is the difference that a scan found, after the file was read.
type Local struct {
	Gone    bool            // the node is gone locally
	Node    sendonce.NodeID // zero if the name is new
	Parent  sendonce.NodeID
	Name    string
	Kind    sendonce.Kind
	Mode    uint32
	MTimeNS int64
	Size    int64
	Content sendonce.Content
	Target  string
}

// Verb is what to do.
type Verb uint8

// The verbs.
const (
	Nothing  Verb = 0 // Local equals Synced
	Create   Verb = 1 // commit a new node
	Update   Verb = 2 // commit a patch on Base
	Delete   Verb = 3 // commit a tombstone on Base
	Adopt    Verb = 4 // Remote has the same: agree (Synced = Remote, Local takes Node) and send nothing
	Conflict Verb = 5 // list it; send nothing
	Forget   Verb = 6 // gone on both sides: drop the rows
	Refuse   Verb = 7 // the role or the name rule forbids it: list it as skipped
)

// Decision is the answer for one difference.
type Decision struct {
	Verb   Verb
	Node   sendonce.NodeID // of Update, Delete, Adopt, Forget, Conflict
	Base   uint64          // revision replaced
	Place  bool            // Update: send parent and name
	Meta   bool            // Update: send mode and mtime
	Bytes  bool            // Update: send content or target
	Reason string          // of Conflict and Refuse, for people
}
