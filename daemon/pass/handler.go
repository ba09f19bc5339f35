package pass

import (
	"errors"
	"io/fs"

	"sendonce"
	"sendonce/daemon/plan"
	"sendonce/daemon/push"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/protocol"
)

// racyWindow: a file whose ctime is this close to the time it was read may have
// been written again without a visible trace, so the next scan reads it again.
const racyWindow = int64(2e9)

// Ready decides about a file now that its bytes are known. Part of push.Handler.
func (p *pass) Ready(j *push.Job) bool {
	it := j.Tag.(*item)
	if j.Open == nil {
		return true
	}
	it.job = j
	it.local.Content, it.local.Size = j.Content, j.Length
	it.local.Mode, it.local.MTimeNS = j.Info.Mode, j.Info.MTimeNS
	if err := p.decide(it); err != nil {
		p.out.fail(err)
		return false
	}
	if it.onlyAdoptedMeta() {
		it.dec = plan.Decision{Verb: plan.Nothing, Node: it.local.Node}
	}
	switch it.dec.Verb {
	case plan.Create, plan.Update:
		if it.dec.Verb == plan.Create {
			if err := p.newID(it); err != nil {
				p.out.fail(err)
				return false
			}
		}
		if j.HashOnly && it.dec.Bytes { // the server's tree moved on meanwhile
			p.again()
			return false
		}
		offered := j.Change.Base
		j.Change = p.toChange(it)
		if j.Base != nil && offered != j.Change.Base && j.Change.SetContent {
			p.again()
			return false
		}
		return true
	case plan.Adopt:
		p.out.fail(p.adopt(it))
	case plan.Nothing:
		p.out.fail(p.out.row(p, it.row(it.local.Node)))
	default:
		p.list(it)
	}
	return false
}

// onlyAdoptedMeta reports whether a file that was read again differs from what
// was agreed on in nothing but a mode or mtime that it had when it was adopted.
// To send those would change the file for the device that made it, and turn that
// device's next edit into a conflict.
func (it *item) onlyAdoptedMeta() bool {
	old, d := it.change.Old, it.dec
	return d.Verb == plan.Update && d.Meta && !d.Bytes && !d.Place && old != nil &&
		old.Stat.Mode == it.local.Mode && old.Stat.MTimeNS == it.local.MTimeNS
}

// Unreadable lists a file that could not be read. Part of push.Handler.
func (p *pass) Unreadable(j *push.Job, err error) {
	it := j.Tag.(*item)
	if errors.Is(err, fs.ErrNotExist) {
		p.out.busy(it.change.Path, "it vanished before it could be read")
		return
	}
	if sendonce.KindOf(err) == sendonce.KindBusy {
		p.out.busy(it.change.Path, reasonOf(err))
		return
	}
	p.out.skip(it.change.Path, reasonOf(err))
}

// Committed writes down what the server now has. Part of push.Handler.
func (p *pass) Committed(jobs []*push.Job, r protocol.Receipt) error {
	b := &state.Batch{SetManifest: make(map[sendonce.NodeID]sendonce.Manifest), Receipt: r.Append(nil)}
	for _, j := range jobs {
		it := j.Tag.(*item)
		if it.dec.Verb == plan.Delete {
			b.DropLocal = append(b.DropLocal, it.local.Node)
			b.DropSynced = append(b.DropSynced, it.local.Node)
			continue
		}
		b.SetSynced = append(b.SetSynced, it.node(r.Cursor.Seq))
		b.SetLocal = append(b.SetLocal, it.row(it.local.Node))
		it.manifest(b, it.local.Node)
	}
	cur, err := p.rd.Cursor()
	if err != nil {
		return err
	}
	if r.Cursor.Seq == cur.Seq+1 {
		b.Cursor = &r.Cursor
	} else {
		p.retry.Store(true) // others committed in between: fetch their changes
	}
	p.meter.committed(len(jobs))
	return p.State.Apply(p.Folder.ID, b)
}

// Failed notes a commit that was not applied; a further round settles it, or
// lists it as a conflict. Part of push.Handler.
func (p *pass) Failed(jobs []*push.Job, f push.Failure) {
	p.retry.Store(true)
	if len(f.Nodes) == 0 {
		p.again()
	}
	if n := len(f.Missing); n > 0 {
		p.Log.Info("chunks vanished before they were committed; offering again", "folder", p.Folder.Name, "chunks", n)
		return
	}
	if f.NoBase {
		p.noBase.Store(true)
		return
	}
	byNode := make(map[sendonce.NodeID]*item, len(jobs))
	for _, j := range jobs {
		it := j.Tag.(*item)
		byNode[it.local.Node] = it
	}
	for _, n := range f.Nodes {
		it := byNode[n.Node]
		if it == nil {
			continue
		}
		p.out.conflict(it.change.Path, conflictText(n.Reason))
		// The next round knows what the server knows and decides anew. What it
		// cannot see, or has got wrong once, must not fail its commits again.
		if n.Reason >= reasonNotEmpty || p.round > 1 {
			p.refuse(it.change.Path, conflictText(n.Reason))
		}
	}
}

// again notes that changes are left which nothing stands in the way of.
func (p *pass) again() {
	p.unsent.Store(true)
	p.retry.Store(true)
}

// The reasons of protocol.ConflictNode.
const (
	reasonRevision uint8 = 1 + iota
	reasonSlot
	reasonParent
	reasonNotEmpty
	reasonCycle
	reasonForbidden
	reasonName
)

func conflictText(reason uint8) string {
	switch reason {
	case reasonRevision:
		return "another device changed it"
	case reasonSlot:
		return "another device has put something else under this name"
	case reasonParent:
		return "another device deleted the directory that holds it"
	case reasonNotEmpty:
		return "something in the deleted directory is in conflict, or was put there by another device"
	case reasonCycle:
		return "another device moved a directory so that this move would make a circle"
	case reasonForbidden:
		return "this device may not change it"
	case reasonName:
		return "the folder's name rule refuses the name"
	}
	return "the server refused the change"
}

// node returns the node as the server has it after the commit with number seq.
func (it *item) node(seq uint64) sendonce.Node {
	l := it.local
	n := sendonce.Node{ID: l.Node, Parent: l.Parent, Name: l.Name, Kind: l.Kind, Mode: l.Mode, MTimeNS: l.MTimeNS}
	if it.synced != nil {
		n = *it.synced
		if it.dec.Place {
			n.Parent, n.Name = l.Parent, l.Name
		}
		if it.dec.Meta {
			n.Mode, n.MTimeNS = l.Mode, l.MTimeNS
		}
	}
	if it.synced == nil || it.dec.Bytes {
		n.Content, n.Size, n.Target = l.Content, l.Size, l.Target
	}
	n.Rev = seq
	return n
}

// row returns the entry's Local row.
func (it *item) row(node sendonce.NodeID) state.Local {
	l, info := it.local, it.change.Info
	row := state.Local{Node: node, Parent: l.Parent, Name: l.Name, Kind: l.Kind, Content: l.Content, Target: l.Target}
	if it.change.Old != nil {
		row.Racy = it.change.Old.Racy
	}
	if j := it.job; j != nil {
		info = j.Info
		row.Racy = info.CTimeNS > j.ReadNS-racyWindow
	}
	row.Stat = statOf(info)
	return row
}

func statOf(i fsys.Info) state.Stat {
	return state.Stat{Dev: i.Dev, Ino: i.Ino, Size: i.Size, MTimeNS: i.MTimeNS, CTimeNS: i.CTimeNS, BirthNS: i.BirthNS, Mode: i.Mode}
}

// manifest adds the manifest of a file that was read, if it is a tree.
func (it *item) manifest(b *state.Batch, node sendonce.NodeID) {
	if j := it.job; j != nil && j.Content.IsTree() {
		b.SetManifest[node] = j.Manifest
	}
}
