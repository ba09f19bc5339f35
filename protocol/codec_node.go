package protocol

import (
	"math"

	"google.golang.org/protobuf/proto"

	"sendonce"
	"sendonce/protocol/internal/pb"
)

func nodePB(n *sendonce.Node) *pb.Node {
	p := &pb.Node{Id: raw(n.ID[:]), Parent: raw(n.Parent[:]), Name: []byte(n.Name), Kind: uint32(n.Kind), Rev: n.Rev, Deleted: n.Deleted}
	if n.Deleted {
		return p
	}
	p.Mode, p.MtimeNs, p.Size = n.Mode, n.MTimeNS, uint64(n.Size)
	p.Inline = n.Content.Inline
	p.RefIds, p.RefSizes = refsPB(n.Content.Refs)
	p.Root, p.Level, p.Count = raw(n.Content.Root[:]), uint32(n.Content.Level), n.Content.Count
	p.Target, p.Xattrs = []byte(n.Target), xattrsPB(n.Xattrs)
	return p
}

func nodeOf(p *pb.Node, n *sendonce.Node) error {
	kind, err := small(p.Kind, "kind")
	if err != nil {
		return err
	}
	n.Kind, n.Name, n.Rev, n.Deleted = sendonce.Kind(kind), string(p.Name), p.Rev, p.Deleted
	if err := fixed(n.ID[:], p.Id, "node"); err != nil {
		return err
	}
	if err := fixed(n.Parent[:], p.Parent, "parent"); err != nil {
		return err
	}
	if n.Deleted {
		return nil
	}
	if p.Size > math.MaxInt64 {
		return invalid("size %d", p.Size)
	}
	n.Mode, n.MTimeNS, n.Size = p.Mode, p.MtimeNs, int64(p.Size)
	c := &n.Content
	c.Inline, c.Count = p.Inline, p.Count
	if c.Refs, err = refsOf(p.RefIds, p.RefSizes); err != nil {
		return err
	}
	if c.Level, err = small(p.Level, "level"); err != nil {
		return err
	}
	n.Target, n.Xattrs = string(p.Target), xattrsOf(p.Xattrs)
	return fixed(c.Root[:], p.Root, "root")
}

func nodesPB(nodes []sendonce.Node) []*pb.Node {
	out := make([]*pb.Node, len(nodes))
	for i := range nodes {
		out[i] = nodePB(&nodes[i])
	}
	return out
}

func nodesOf(ps []*pb.Node) ([]sendonce.Node, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	nodes := make([]sendonce.Node, len(ps))
	for i, p := range ps {
		if err := nodeOf(p, &nodes[i]); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func xattrsPB(xs []sendonce.Xattr) []*pb.Xattr {
	var out []*pb.Xattr
	for i := range xs {
		out = append(out, &pb.Xattr{Name: []byte(xs[i].Name), Value: xs[i].Value})
	}
	return out
}

func xattrsOf(ps []*pb.Xattr) []sendonce.Xattr {
	var out []sendonce.Xattr
	for _, p := range ps {
		out = append(out, sendonce.Xattr{Name: string(p.Name), Value: p.Value})
	}
	return out
}

func (m *Conflict) toPB() proto.Message {
	p := &pb.Conflict{Op: m.Op}
	for i := range m.Nodes {
		c := &m.Nodes[i]
		n := &pb.ConflictNode{Node: raw(c.Node[:]), Reason: uint32(c.Reason)}
		if c.Current != nil {
			n.Current = nodePB(c.Current)
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

func (m *Conflict) fromPB(b []byte) error {
	var p pb.Conflict
	if err := decode(b, &p); err != nil {
		return err
	}
	m.Op = p.Op
	for _, n := range p.Nodes {
		c := ConflictNode{}
		reason, err := small(n.Reason, "reason")
		if err != nil {
			return err
		}
		c.Reason = reason
		if err := fixed(c.Node[:], n.Node, "node"); err != nil {
			return err
		}
		if n.Current != nil {
			c.Current = new(sendonce.Node)
			if err := nodeOf(n.Current, c.Current); err != nil {
				return err
			}
		}
		m.Nodes = append(m.Nodes, c)
	}
	return nil
}

func (m *Changes) toPB() proto.Message {
	return &pb.Changes{Folder: raw(m.Folder[:]), Cursor: cursorPB(m.Cursor)}
}

func (m *Changes) fromPB(b []byte) error {
	var p pb.Changes
	err := decode(b, &p)
	if err == nil {
		m.Cursor, err = cursorOf(p.Cursor)
	}
	if err != nil {
		return err
	}
	return fixed(m.Folder[:], p.Folder, "folder")
}

func (m *ChangeSet) toPB() proto.Message {
	return &pb.ChangeSet{Through: cursorPB(m.Through), Restart: m.Restart, Forked: m.Forked, Nodes: nodesPB(m.Nodes), Complete: m.Complete}
}

func (m *ChangeSet) fromPB(b []byte) error {
	var p pb.ChangeSet
	err := decode(b, &p)
	if err != nil {
		return err
	}
	m.Restart, m.Forked, m.Complete = p.Restart, p.Forked, p.Complete
	if m.Through, err = cursorOf(p.Through); err != nil {
		return err
	}
	m.Nodes, err = nodesOf(p.Nodes)
	return err
}

func (m *List) toPB() proto.Message {
	return &pb.List{Op: m.Op, Folder: raw(m.Folder[:]), Node: raw(m.Node[:]), At: m.At, Recursive: m.Recursive, Path: []byte(m.Path)}
}

func (m *List) fromPB(b []byte) error {
	var p pb.List
	if err := decode(b, &p); err != nil {
		return err
	}
	*m = List{Op: p.Op, At: p.At, Recursive: p.Recursive, Path: string(p.Path)}
	if err := fixed(m.Node[:], p.Node, "node"); err != nil {
		return err
	}
	return fixed(m.Folder[:], p.Folder, "folder")
}

func (m *NodeList) toPB() proto.Message {
	return &pb.NodeList{Op: m.Op, Nodes: nodesPB(m.Nodes), Done: m.Done}
}

func (m *NodeList) fromPB(b []byte) error {
	var p pb.NodeList
	err := decode(b, &p)
	if err == nil {
		m.Op, m.Done = p.Op, p.Done
		m.Nodes, err = nodesOf(p.Nodes)
	}
	return err
}

func (m *Read) toPB() proto.Message {
	return &pb.Read{Op: m.Op, Folder: raw(m.Folder[:]), Node: raw(m.Node[:]), Rev: m.Rev}
}

func (m *Read) fromPB(b []byte) error {
	var p pb.Read
	if err := decode(b, &p); err != nil {
		return err
	}
	m.Op, m.Rev = p.Op, p.Rev
	if err := fixed(m.Node[:], p.Node, "node"); err != nil {
		return err
	}
	return fixed(m.Folder[:], p.Folder, "folder")
}

func (m *Log) toPB() proto.Message {
	return &pb.Log{Op: m.Op, Folder: raw(m.Folder[:]), Node: raw(m.Node[:]), Before: m.Before, Limit: m.Limit, Snapshots: m.Snapshots, WithNodes: m.WithNodes}
}

func (m *Log) fromPB(b []byte) error {
	var p pb.Log
	if err := decode(b, &p); err != nil {
		return err
	}
	*m = Log{Op: p.Op, Before: p.Before, Limit: p.Limit, Snapshots: p.Snapshots, WithNodes: p.WithNodes}
	if err := fixed(m.Node[:], p.Node, "node"); err != nil {
		return err
	}
	return fixed(m.Folder[:], p.Folder, "folder")
}

func (m *LogEntries) toPB() proto.Message {
	p := &pb.LogEntries{Op: m.Op, Done: m.Done}
	for i := range m.Entries {
		e := &m.Entries[i]
		p.Entries = append(p.Entries, &pb.LogEntry{Seq: e.Seq, Chain: raw(e.Chain[:]), Device: raw(e.Device[:]), DeviceName: e.DeviceName,
			TimeNs: timePB(e.Time), Snapshot: e.Snapshot, Changes: e.Changes, Nodes: nodesPB(e.Nodes)})
	}
	return p
}

func (m *LogEntries) fromPB(b []byte) error {
	var p pb.LogEntries
	if err := decode(b, &p); err != nil {
		return err
	}
	m.Op, m.Done = p.Op, p.Done
	for _, e := range p.Entries {
		out := LogEntry{Seq: e.Seq, DeviceName: e.DeviceName, Time: timeOf(e.TimeNs), Snapshot: e.Snapshot, Changes: e.Changes}
		var err error
		if out.Nodes, err = nodesOf(e.Nodes); err != nil {
			return err
		}
		if err := fixed(out.Chain[:], e.Chain, "chain"); err != nil {
			return err
		}
		if err := fixed(out.Device[:], e.Device, "device"); err != nil {
			return err
		}
		m.Entries = append(m.Entries, out)
	}
	return nil
}
