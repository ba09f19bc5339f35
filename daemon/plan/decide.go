package plan

import (
	"fmt"

	"sendonce"
)

// Input is what Decide knows besides the local difference.
type Input struct {
	// Synced is the node as both sides agreed on it; nil if they never did.
	Synced *sendonce.Node
	// Remote is the node as the server last said, maybe a tombstone; nil if the
	// server never named it. Where Synced is set, nil means "the same".
	Remote *sendonce.Node
	// Slot is the live node that has the wanted (parent, name) in Remote; nil if
	// there is none, or if this very pass deletes that node or moves it away
	// earlier in the same commit. Not read when Gone.
	Slot *sendonce.Node
	// ParentGone: another device deleted the wanted parent.
	ParentGone bool
	// SlotReused: a node that is Gone makes room for another one that this
	// device puts under the same name in the same commit.
	SlotReused bool
	// Unseen: the node has no Local row, so that its being Gone means that it
	// never was here. A scan reports only nodes that have one.
	Unseen bool

	Role  sendonce.Role
	Names sendonce.NameRule
}

// Reasons of conflicts, for people.
const (
	whyDeletedThere = "deleted by another device, changed here"
	whyChangedThere = "deleted here, changed by another device"
	whyBothChanged  = "changed here and by another device"
	whyTaken        = "another device has a different file here"
	whyParentGone   = "another device deleted the directory it is in"
	whyReadOnly     = "this device may only read this folder"
	whyNoRole       = "this device has no access to this folder"
	whyPushOnly     = "this device may add but not delete"
	whyRootGone     = "the folder's own directory is gone"
)

// Decide says what to do about one difference. It is total: every input has an
// answer, and an answer that would replace or delete something is given only
// when Remote is exactly what Synced says (I5), so whatever another device did
// is never overwritten unseen.
//
// Adopt and the metadata: equal bytes never conflict (P3), so an equal node is
// adopted whatever its mode and mtime are; Meta then reports that they differ,
// and after Synced and the node are set as Adopt says, a second Decide gives the
// Update that sends the local ones. Nothing and Adopt end: no answer repeats
// once it was carried out (I10).
//
// Metadata that is not compared: a directory's mtime (every new file in it
// moves it, and I2 asks for names, bytes and modes only) and a symlink's mode.
//
// A file that became a directory (or the like) is a new node, since a node's
// kind never changes: it gets a Create with no Node, and the old node is
// decided separately as Gone, with SlotReused.
func Decide(l Local, in Input) Decision {
	d := decide(l, in)
	switch d.Verb {
	case Create, Update, Delete:
	default:
		return d
	}
	refuse := func(why string) Decision { return Decision{Verb: Refuse, Node: l.Node, Reason: why} }
	switch {
	case in.Role == sendonce.RoleNone || in.Role > sendonce.RoleAdmin:
		return refuse(whyNoRole)
	case !in.Role.CanPush():
		return refuse(whyReadOnly)
	case d.Verb == Delete && in.Role == sendonce.RolePushOnly && !in.SlotReused:
		return refuse(whyPushOnly)
	}
	if d.Verb == Create || d.Place {
		if why := CheckName(l.Name, in.Names); why != "" {
			return refuse(why)
		}
	}
	return d
}

// decide is Decide without roles and names.
func decide(l Local, in Input) Decision {
	remote := in.Remote
	if remote == nil {
		remote = in.Synced
	}
	switch {
	case l.Gone:
		return gone(l, in, remote)
	case in.Synced != nil && in.Synced.Kind == l.Kind:
		return known(l, in, remote)
	case in.Synced != nil:
		l.Node = sendonce.NodeID{}
		return fresh(l, in)
	case remote == nil:
		return fresh(l, in)
	case remote.Deleted:
		// Its number is used up; the file is still here, so it comes back (P1).
		l.Node = sendonce.NodeID{}
		return fresh(l, in)
	case samePlace(l, remote) && sameBytes(l, remote):
		// A commit of ours whose answer was lost, or a listing from the start.
		return adopt(l, remote)
	}
	return Decision{Verb: Conflict, Node: l.Node, Base: remote.Rev, Reason: whyBothChanged}
}

// gone decides about a node whose name is no longer there.
func gone(l Local, in Input, remote *sendonce.Node) Decision {
	switch {
	case in.Unseen:
		return Decision{Verb: Nothing, Node: l.Node} // never was here: others' work, not ours to delete
	case in.Synced == nil, remote.Deleted:
		return Decision{Verb: Forget, Node: l.Node} // without agreement nothing is deleted (P8)
	case !unchanged(in.Synced, remote):
		return Decision{Verb: Conflict, Node: l.Node, Base: remote.Rev, Reason: whyChangedThere}
	case in.Synced.Parent.IsZero():
		return Decision{Verb: Refuse, Node: l.Node, Reason: whyRootGone}
	}
	return Decision{Verb: Delete, Node: l.Node, Base: in.Synced.Rev}
}

// known decides about a node that both sides once agreed on.
func known(l Local, in Input, remote *sendonce.Node) Decision {
	d := Decision{Verb: Update, Node: l.Node, Base: in.Synced.Rev,
		Place: !samePlace(l, in.Synced), Meta: !sameMeta(l, in.Synced), Bytes: !sameBytes(l, in.Synced)}
	conflict := func(why string) Decision {
		return Decision{Verb: Conflict, Node: l.Node, Base: remote.Rev, Reason: why}
	}
	switch {
	case !d.Place && !d.Meta && !d.Bytes:
		return Decision{Verb: Nothing, Node: l.Node}
	case remote.Deleted:
		return conflict(whyDeletedThere)
	case !unchanged(in.Synced, remote):
		if remote.Kind == l.Kind && samePlace(l, remote) && sameBytes(l, remote) {
			return adopt(l, remote)
		}
		return conflict(whyBothChanged)
	case d.Place && in.ParentGone:
		return conflict(whyParentGone)
	case d.Place && in.Slot != nil && in.Slot.ID != l.Node:
		return conflict(whyTaken)
	}
	return d
}

// fresh decides about a name that stands for no node yet.
func fresh(l Local, in Input) Decision {
	slot := in.Slot
	if slot != nil && in.Synced != nil && slot.ID == in.Synced.ID {
		slot = nil // the node that changed its kind: it makes room
	}
	switch {
	case in.ParentGone:
		return Decision{Verb: Conflict, Node: l.Node, Reason: whyParentGone}
	case slot == nil:
		return Decision{Verb: Create, Node: l.Node, Place: true, Meta: true, Bytes: true}
	case sameBytes(l, slot):
		return adopt(l, slot)
	}
	return Decision{Verb: Conflict, Node: slot.ID, Base: slot.Rev, Reason: whyTaken}
}

func adopt(l Local, n *sendonce.Node) Decision {
	return Decision{Verb: Adopt, Node: n.ID, Base: n.Rev, Meta: !sameMeta(l, n)}
}

// unchanged reports whether Remote still is what was agreed on. The revision
// alone would do for an honest server; a restored one may count again.
func unchanged(synced, remote *sendonce.Node) bool {
	return !remote.Deleted && remote.Rev == synced.Rev && remote.Kind == synced.Kind &&
		remote.Parent == synced.Parent && remote.Name == synced.Name &&
		remote.Mode == synced.Mode && remote.MTimeNS == synced.MTimeNS &&
		remote.Size == synced.Size && remote.Target == synced.Target && remote.Content.Equal(synced.Content)
}

func samePlace(l Local, n *sendonce.Node) bool { return l.Parent == n.Parent && l.Name == n.Name }

// sameBytes compares kind and bytes; directories have none.
func sameBytes(l Local, n *sendonce.Node) bool {
	if l.Kind != n.Kind {
		return false
	}
	switch l.Kind {
	case sendonce.KindFile:
		return l.Size == n.Size && l.Content.Equal(n.Content)
	case sendonce.KindSymlink:
		return l.Target == n.Target
	}
	return true
}

func sameMeta(l Local, n *sendonce.Node) bool {
	switch l.Kind {
	case sendonce.KindDir:
		return l.Mode == n.Mode
	case sendonce.KindSymlink:
		return l.MTimeNS == n.MTimeNS
	}
	return l.Mode == n.Mode && l.MTimeNS == n.MTimeNS
}

// Limits of the mass-change brake (P5).
const (
	brakeFiles   = 500
	brakePercent = 25
)

// Brake stops a pass that would delete too much at once: more than 500 nodes
// and more than a quarter of the known ones. That is what an unmounted disk or
// a slip of the hand looks like. It returns nil or an error of KindRefused.
func Brake(removed, known int64) error {
	// A whole number is at most a quarter exactly when it is at most the quarter
	// rounded down, and no product can overflow.
	if removed <= brakeFiles || removed <= known/(100/brakePercent) {
		return nil
	}
	return &sendonce.Error{Op: "sync", Kind: sendonce.KindRefused,
		Detail: fmt.Sprintf("%d of %d known files and directories are gone, more than %d %% and more than %d", removed, known, brakePercent, brakeFiles),
		Hint:   "if they are meant to be deleted, run: sendonce resume --accept-deletes DIR; if not, bring them back (is a disk not mounted?)"}
}
