package read

import (
	"slices"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
)

// logWindow is how many journal entries are read at a time.
const logWindow = 256

// log answers Log: journal entries, newest first.
func (r *reading) log(m *protocol.Log) error {
	head, err := r.index().Head(r.ctx, r.peer.Tenant, r.folder)
	if err != nil {
		return answered(err)
	}
	devices, err := r.index().Devices(r.ctx, r.peer.Tenant)
	if err != nil {
		return answered(err)
	}
	a := &logAnswer{reading: r, m: m, names: make(map[sendonce.DeviceID]string, len(devices)), left: m.Limit}
	for _, d := range devices {
		a.names[d.ID] = d.Name
	}
	before := head.Seq + 1
	if m.Before != 0 {
		before = min(m.Before, before)
	}
	if m.Node.IsZero() {
		err = a.all(before)
	} else {
		err = a.ofNode(before)
	}
	if err != nil {
		return err
	}
	return a.flush(true)
}

// logAnswer is the answer to one Log.
type logAnswer struct {
	*reading
	m     *protocol.Log
	names map[sendonce.DeviceID]string
	left  uint64 // entries still wanted, if m.Limit is set
	out   []protocol.LogEntry
	size  int
}

func (a *logAnswer) full() bool { return a.m.Limit != 0 && a.left == 0 }

// all goes back through the journal.
func (a *logAnswer) all(before uint64) error {
	for before > 1 && !a.full() {
		after := before - 1 - min(before-1, logWindow)
		entries, err := a.entries(after, int(before-1-after))
		if err != nil {
			return err
		}
		for _, e := range slices.Backward(entries) {
			if err := a.add(e); err != nil {
				return err
			}
		}
		before = after + 1
	}
	return nil
}

// ofNode takes the entries that made the node's revisions.
func (a *logAnswer) ofNode(before uint64) error {
	for before > 1 && !a.full() {
		var revs []uint64
		err := a.index().Revisions(a.ctx, a.peer.Tenant, a.folder, a.m.Node, func(n *sendonce.Node) (bool, error) {
			if n.Rev != 0 && n.Rev < before {
				revs = append(revs, n.Rev)
			}
			return len(revs) < logWindow, nil
		})
		if err != nil {
			return answered(err)
		}
		for _, rev := range revs {
			entries, err := a.entries(rev-1, 1)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if err := a.add(e); err != nil {
					return err
				}
			}
		}
		if len(revs) < logWindow {
			return nil
		}
		before = revs[len(revs)-1]
	}
	return nil
}

func (a *logAnswer) entries(after uint64, limit int) ([]indexdb.Entry, error) {
	var out []indexdb.Entry
	err := a.index().Entries(a.ctx, a.peer.Tenant, a.folder, after, limit, func(e indexdb.Entry) error {
		out = append(out, e)
		return nil
	})
	return out, answered(err)
}

// add puts an entry into the answer if it is wanted.
func (a *logAnswer) add(e indexdb.Entry) error {
	if a.m.Snapshots && !e.Snapshot || a.full() {
		return nil
	}
	a.left--
	entry := protocol.LogEntry{Seq: e.Seq, Chain: e.Chain, Device: e.Device, DeviceName: a.names[e.Device],
		Time: e.Time, Snapshot: e.Snapshot, Changes: uint64(len(e.Nodes))}
	if a.m.WithNodes {
		nodes, err := a.index().Nodes(a.ctx, a.peer.Tenant, a.folder, e.Seq, e.Nodes)
		if err != nil {
			return answered(err)
		}
		for _, n := range nodes {
			if n != nil {
				entry.Nodes = append(entry.Nodes, *n)
			}
		}
	}
	a.out = append(a.out, entry)
	if a.size += protocol.FrameSize(&protocol.LogEntries{Entries: []protocol.LogEntry{entry}}); a.size < nodesPerFrame {
		return nil
	}
	return a.flush(false)
}

func (a *logAnswer) flush(done bool) error {
	runs := protocol.SplitEntries(a.out)
	a.out, a.size = nil, 0
	for i, run := range runs {
		if err := a.st.Send(&protocol.LogEntries{Op: a.m.Op, Entries: run, Done: done && i == len(runs)-1}); err != nil {
			return err
		}
	}
	if done && len(runs) == 0 {
		return a.st.Send(&protocol.LogEntries{Op: a.m.Op, Done: true})
	}
	return nil
}
