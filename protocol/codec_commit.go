package protocol

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"sendonce"
	"sendonce/protocol/internal/pb"
)

// The bits of Commit.flags in sendonce.proto.
const (
	flagKind    = 3
	flagDelete  = 1 << 2
	flagPlace   = 1 << 3
	flagMeta    = 1 << 4
	flagContent = 1 << 5
	flagBase    = 1 << 6
	flagNode    = 1 << 7
	flagAll     = 1<<8 - 1
)

// The forms of an entry of Commit.contents.
const (
	formInline = 0
	formOffer  = 1
	formTarget = 2
)

func (m *Commit) check() error {
	if m.Op == 0 || m.ID == (sendonce.OpID{}) {
		return invalid("a commit needs a request number and an op ID")
	}
	if err := checkOp(m.Op); err != nil {
		return err
	}
	if err := checkCount("changes", len(m.Changes), sendonce.MaxChanges); err != nil {
		return err
	}
	for i := range m.Changes {
		if err := m.Changes[i].check(m.Op); err != nil {
			return &sendonce.Error{Op: "change of node " + m.Changes[i].Node.String(), Err: err}
		}
	}
	return nil
}

// check looks only at what travels: fields that a Set flag selects.
func (c *Change) check(op uint64) error {
	if c.Node.IsZero() {
		return invalid("no node")
	}
	if c.Kind > sendonce.KindSymlink {
		return invalid("%v", c.Kind)
	}
	if c.Base != 0 && c.BaseOp != 0 {
		return invalid("both a revision and a commit as base")
	}
	if c.BaseOp >= op {
		return invalid("the base is commit %d, which is not an earlier one", c.BaseOp)
	}
	create := c.Base == 0 && c.BaseOp == 0
	switch {
	case create && (c.Delete || !c.SetPlace || c.Kind == 0):
		return invalid("a new node needs a place and a kind")
	case c.Delete && (c.SetPlace || c.SetMeta || c.SetContent):
		return invalid("a delete that also sets something")
	case !c.Delete && !c.SetPlace && !c.SetMeta && !c.SetContent:
		return invalid("a change of nothing")
	}
	if c.SetPlace {
		if c.Parent.IsZero() {
			return invalid("no parent")
		}
		if err := sendonce.CheckName(c.Name); err != nil {
			return err
		}
	}
	if c.SetMeta {
		if err := checkMode(c.Mode); err != nil {
			return err
		}
		if err := checkXattrs(c.Xattrs); err != nil {
			return err
		}
	}
	if !c.SetContent {
		return nil
	}
	forms := 0
	for _, set := range []bool{len(c.Inline) > 0, c.Offer != 0, c.Target != ""} {
		if set {
			forms++
		}
	}
	if forms > 1 || !c.Root.IsZero() && c.Offer == 0 {
		return invalid("content in more than one form")
	}
	switch c.Kind {
	case sendonce.KindDir:
		return invalid("a directory with content")
	case sendonce.KindSymlink:
		if len(c.Inline) > 0 || c.Offer != 0 {
			return invalid("a symlink with bytes")
		}
	case sendonce.KindFile:
		if c.Target != "" {
			return invalid("a file with a target")
		}
	}
	if err := checkOp(c.Offer); err != nil {
		return err
	}
	if err := checkTarget(c.Target); err != nil {
		return err
	}
	return checkCount("inline bytes", len(c.Inline), sendonce.MaxInline)
}

func (m *Commit) toPB() proto.Message {
	p := &pb.Commit{Op: m.Op, Id: raw(m.ID[:]), Snapshot: m.Snapshot}
	n := len(m.Changes)
	p.Flags = make([]uint32, 0, n)
	var node sendonce.NodeID
	parents := make(map[sendonce.NodeID]uint32)
	var mtime int64
	var offer uint64
	for i := range m.Changes {
		c := &m.Changes[i]
		at := uint32(i)
		flags := uint32(c.Kind) & flagKind
		if step, ok := nodeStep(node, c.Node); ok {
			p.NodeSteps = append(p.NodeSteps, step)
		} else {
			flags |= flagNode
			p.Nodes = append(p.Nodes, c.Node[:]...)
		}
		node = c.Node
		if c.Delete {
			flags |= flagDelete
		}
		if c.Base != 0 {
			flags |= flagBase
			p.Bases = append(p.Bases, c.Base)
		}
		if c.BaseOp != 0 {
			p.BaseOpIndex, p.BaseOps = append(p.BaseOpIndex, at), append(p.BaseOps, c.BaseOp)
		}
		if c.SetPlace {
			flags |= flagPlace
			k, known := parents[c.Parent]
			if !known {
				k = uint32(len(parents))
				parents[c.Parent] = k
				p.Parents = append(p.Parents, c.Parent[:]...)
			}
			p.ParentIndex = append(p.ParentIndex, k)
			p.Names, p.NameSizes = append(p.Names, c.Name...), append(p.NameSizes, uint32(len(c.Name)))
		}
		if c.SetMeta {
			flags |= flagMeta
			p.Modes, p.Mtimes = append(p.Modes, c.Mode), append(p.Mtimes, c.MTimeNS-mtime) // wraps around, and back when read
			mtime = c.MTimeNS
			for _, x := range xattrsPB(c.Xattrs) {
				p.XattrIndex, p.Xattrs = append(p.XattrIndex, at), append(p.Xattrs, x)
			}
		}
		if c.SetContent {
			flags |= flagContent
			var v uint64
			switch {
			case c.Offer != 0:
				v = protowire.EncodeZigZag(int64(c.Offer-offer))<<2 | formOffer
				offer = c.Offer
			case c.Target != "":
				v = uint64(len(c.Target))<<2 | formTarget
				p.Data = append(p.Data, c.Target...)
			default:
				v = uint64(len(c.Inline))<<2 | formInline
				p.Data = append(p.Data, c.Inline...)
			}
			p.Contents = append(p.Contents, v)
			if !c.Root.IsZero() {
				p.RootIndex, p.Roots = append(p.RootIndex, at), append(p.Roots, c.Root[:]...)
			}
		}
		p.Flags = append(p.Flags, flags)
	}
	return p
}

// nodeStep returns how far node is from prev, if saying so is shorter than
// naming it. Nodes that were made together have numbers that are near.
func nodeStep(prev, node sendonce.NodeID) (int64, bool) {
	step := int64(binary.BigEndian.Uint64(node[8:]) - binary.BigEndian.Uint64(prev[8:]))
	const near = 1 << 48
	return step, -near < step && step < near && prev.Step(step) == node
}

func (m *Commit) fromPB(b []byte) error {
	var p pb.Commit
	if err := decode(b, &p); err != nil {
		return err
	}
	m.Op, m.Snapshot = p.Op, p.Snapshot
	if err := fixed(m.ID[:], p.Id, "op ID"); err != nil {
		return err
	}
	n := len(p.Flags)
	if err := checkCount("changes", n, sendonce.MaxChanges); err != nil {
		return err
	}
	c := columns{p: &p}
	if len(p.Nodes)/len(sendonce.NodeID{})+len(p.NodeSteps) != n || len(p.Nodes)%len(sendonce.NodeID{}) != 0 || len(p.Mtimes) != len(p.Modes) || len(p.NameSizes) != len(p.ParentIndex) ||
		len(p.RootIndex)*len(sendonce.ID{}) != len(p.Roots) || len(p.BaseOpIndex) != len(p.BaseOps) || len(p.XattrIndex) != len(p.Xattrs) {
		return invalid("columns of different length")
	}
	if n > 0 {
		m.Changes = make([]Change, n)
	}
	for i := range m.Changes {
		if err := c.change(i, &m.Changes[i]); err != nil {
			return err
		}
	}
	if !c.empty() {
		return invalid("columns longer than the changes that select them")
	}
	return nil
}

// columns takes the entries of a commit's columns one change at a time, by
// shortening them from the front.
type columns struct {
	p     *pb.Commit
	used  int // parents used so far: the table is in order of first use
	node  sendonce.NodeID
	mtime int64
	offer uint64
}

func (s *columns) empty() bool {
	p := s.p
	return len(p.Nodes) == 0 && len(p.NodeSteps) == 0 && len(p.Bases) == 0 && len(p.ParentIndex) == 0 && len(p.Names) == 0 && len(p.Modes) == 0 && len(p.Contents) == 0 &&
		len(p.Data) == 0 && len(p.RootIndex) == 0 && len(p.BaseOpIndex) == 0 && len(p.XattrIndex) == 0 &&
		len(p.Parents) == s.used*len(sendonce.NodeID{})
}

func (s *columns) change(i int, c *Change) error {
	p := s.p
	flags := p.Flags[i]
	if flags&^flagAll != 0 {
		return invalid("unknown flags %#x", flags)
	}
	switch {
	case flags&flagNode != 0 && len(p.Nodes) > 0:
		p.Nodes = p.Nodes[copy(s.node[:], p.Nodes):]
	case flags&flagNode == 0 && len(p.NodeSteps) > 0:
		s.node = s.node.Step(p.NodeSteps[0])
		p.NodeSteps = p.NodeSteps[1:]
	default:
		return invalid("no node")
	}
	c.Node = s.node
	c.Kind = sendonce.Kind(flags & flagKind)
	c.Delete = flags&flagDelete != 0
	if flags&flagBase != 0 {
		if len(p.Bases) == 0 || p.Bases[0] == 0 {
			return invalid("no base")
		}
		c.Base, p.Bases = p.Bases[0], p.Bases[1:]
	}
	if len(p.BaseOpIndex) > 0 && p.BaseOpIndex[0] == uint32(i) {
		c.BaseOp = p.BaseOps[0]
		p.BaseOpIndex, p.BaseOps = p.BaseOpIndex[1:], p.BaseOps[1:]
	}
	if flags&flagPlace != 0 {
		if err := s.place(c); err != nil {
			return err
		}
	}
	if flags&flagMeta != 0 {
		if len(p.Modes) == 0 {
			return invalid("no mode")
		}
		c.SetMeta, c.Mode = true, p.Modes[0]
		s.mtime += p.Mtimes[0]
		c.MTimeNS = s.mtime
		p.Modes, p.Mtimes = p.Modes[1:], p.Mtimes[1:]
		k := 0
		for k < len(p.XattrIndex) && p.XattrIndex[k] == uint32(i) {
			k++
		}
		c.Xattrs = xattrsOf(p.Xattrs[:k])
		p.XattrIndex, p.Xattrs = p.XattrIndex[k:], p.Xattrs[k:]
	}
	if flags&flagContent != 0 {
		return s.content(i, c)
	}
	return nil
}

func (s *columns) place(c *Change) error {
	p := s.p
	if len(p.ParentIndex) == 0 {
		return invalid("no parent")
	}
	k, size := int(p.ParentIndex[0]), int(p.NameSizes[0])
	p.ParentIndex, p.NameSizes = p.ParentIndex[1:], p.NameSizes[1:]
	if k > s.used || (k+1)*len(c.Parent) > len(p.Parents) || size > len(p.Names) {
		return invalid("a parent or name beyond its column")
	}
	s.used = max(s.used, k+1)
	c.SetPlace = true
	copy(c.Parent[:], p.Parents[k*len(c.Parent):])
	c.Name, p.Names = string(p.Names[:size]), p.Names[size:]
	return nil
}

func (s *columns) content(i int, c *Change) error {
	p := s.p
	if len(p.Contents) == 0 {
		return invalid("no content")
	}
	v := p.Contents[0]
	p.Contents = p.Contents[1:]
	c.SetContent = true
	form, v := v&3, v>>2
	switch {
	case form == formOffer:
		s.offer += uint64(protowire.DecodeZigZag(v))
		if s.offer == 0 || s.offer > MaxOp {
			return invalid("offer %d", s.offer)
		}
		c.Offer = s.offer
	case form > formTarget || form == formTarget && v == 0 || v > math.MaxInt32 || int(v) > len(p.Data):
		return invalid("content beyond its column")
	case form == formTarget:
		c.Target, p.Data = string(p.Data[:v]), p.Data[v:]
	case v > 0:
		c.Inline, p.Data = append([]byte(nil), p.Data[:v]...), p.Data[v:]
	}
	if len(p.RootIndex) > 0 && p.RootIndex[0] == uint32(i) {
		copy(c.Root[:], p.Roots)
		p.RootIndex, p.Roots = p.RootIndex[1:], p.Roots[len(c.Root):]
		if c.Root.IsZero() {
			return invalid("a zero root")
		}
	}
	return nil
}
