package protocol

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"sendonce"
	"sendonce/protocol/internal/pb"
)

// countItems refuses a body with more than MaxFrameItems nested records: two
// bytes on the wire would otherwise cost hundreds in memory.
func countItems(body []byte, d protoreflect.MessageDescriptor) error {
	left := MaxFrameItems
	if countNested(body, d, &left); left < 0 {
		return overLimit("records in one frame", MaxFrameItems+1, MaxFrameItems)
	}
	return nil
}

// countNested stops early at malformed bytes: the decoder will report them.
func countNested(b []byte, d protoreflect.MessageDescriptor, left *int) {
	nested := false
	for i := 0; i < d.Fields().Len() && !nested; i++ {
		nested = d.Fields().Get(i).Message() != nil
	}
	for nested && len(b) > 0 && *left >= 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		if typ != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
				return
			}
			b = b[n:]
			continue
		}
		v, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return
		}
		b = b[n:]
		if f := d.Fields().ByNumber(num); f != nil && f.Message() != nil {
			*left--
			countNested(v, f.Message(), left)
		}
	}
}

// fixed copies an identifier of exactly len(dst) bytes; absent bytes leave it zero.
func fixed(dst, b []byte, what string) error {
	if len(b) != 0 && len(b) != len(dst) {
		return invalid("%s has %d bytes", what, len(b))
	}
	copy(dst, b)
	return nil
}

// raw returns b, or nil if all of it is zero, so that absent identifiers cost nothing.
func raw(b []byte) []byte {
	for _, c := range b {
		if c != 0 {
			return b
		}
	}
	return nil
}

func small(v uint32, what string) (uint8, error) {
	if v > math.MaxUint8 {
		return 0, invalid("%s %d", what, v)
	}
	return uint8(v), nil
}

// timePB gives nanoseconds since 1970; the zero Time is absent.
func timePB(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ns := t.UnixNano()
	return &ns
}

func timeOf(ns *int64) time.Time {
	if ns == nil {
		return time.Time{}
	}
	return time.Unix(0, *ns).UTC()
}

// checkTime refuses what nanoseconds in 64 bits cannot hold (years 1678-2261).
func checkTime(t time.Time) error {
	if !t.IsZero() && !time.Unix(0, t.UnixNano()).Equal(t) {
		return invalid("time %v cannot travel", t)
	}
	return nil
}

func cursorPB(c sendonce.Cursor) *pb.Cursor {
	if c == (sendonce.Cursor{}) {
		return nil
	}
	return &pb.Cursor{Seq: c.Seq, Chain: raw(c.Chain[:])}
}

func cursorOf(p *pb.Cursor) (c sendonce.Cursor, err error) {
	c.Seq = p.GetSeq()
	return c, fixed(c.Chain[:], p.GetChain(), "chain")
}

// refsPB returns the columns of refs.
func refsPB(refs []sendonce.Ref) (ids []byte, sizes []uint64) {
	if len(refs) == 0 {
		return nil, nil
	}
	ids, sizes = make([]byte, 0, len(refs)*len(sendonce.ID{})), make([]uint64, len(refs))
	for i := range refs {
		ids = append(ids, refs[i].ID[:]...)
		sizes[i] = uint64(refs[i].Size)
	}
	return ids, sizes
}

func refsOf(ids []byte, sizes []uint64) ([]sendonce.Ref, error) {
	if len(ids) != len(sizes)*len(sendonce.ID{}) {
		return nil, invalid("%d bytes of IDs for %d sizes", len(ids), len(sizes))
	}
	if len(sizes) == 0 {
		return nil, nil
	}
	refs := make([]sendonce.Ref, len(sizes))
	for i := range refs {
		if sizes[i] > math.MaxInt64 {
			return nil, invalid("reference %d is too large", i)
		}
		copy(refs[i].ID[:], ids[i*len(sendonce.ID{}):])
		refs[i].Size = int64(sizes[i])
	}
	return refs, nil
}

func (m *Fail) toPB() proto.Message {
	return &pb.Fail{Op: m.Op, Kind: uint32(m.Kind), Detail: m.Detail, Hint: m.Hint}
}

func (m *Fail) fromPB(b []byte) error {
	var p pb.Fail
	if err := decode(b, &p); err != nil {
		return err
	}
	kind, err := small(p.Kind, "error kind")
	*m = Fail{Op: p.Op, Kind: sendonce.ErrKind(kind), Detail: p.Detail, Hint: p.Hint}
	return err
}

func (m *Hello) toPB() proto.Message {
	return &pb.Hello{Version: m.Version, Features: m.Features, DeviceName: m.DeviceName, Token: m.Token, Bulk: m.Bulk}
}

func (m *Hello) fromPB(b []byte) error {
	var p pb.Hello
	if err := decode(b, &p); err != nil {
		return err
	}
	*m = Hello{Version: p.Version, Features: p.Features, DeviceName: p.DeviceName, Token: p.Token, Bulk: p.Bulk}
	return nil
}

func (m *Welcome) toPB() proto.Message {
	p := &pb.Welcome{Version: m.Version, Features: m.Features, Server: m.Server, TenantKey: raw(m.TenantKey[:]), TimeNs: timePB(m.Time)}
	if m.Params != (sendonce.Params{}) {
		p.Params = &pb.Params{Algorithm: uint32(m.Params.Algorithm), Min: m.Params.Min, Avg: m.Params.Avg, Max: m.Params.Max}
	}
	for i := range m.Folders {
		f := &m.Folders[i]
		p.Folders = append(p.Folders, &pb.FolderInfo{Id: f.ID[:], Name: f.Name, Names: uint32(f.Names), Role: uint32(f.Role), Head: cursorPB(f.Head)})
	}
	return p
}

func (m *Welcome) fromPB(b []byte) error {
	var p pb.Welcome
	if err := decode(b, &p); err != nil {
		return err
	}
	alg, err := small(p.GetParams().GetAlgorithm(), "chunking algorithm")
	if err != nil {
		return err
	}
	*m = Welcome{Version: p.Version, Features: p.Features, Server: p.Server, Time: timeOf(p.TimeNs),
		Params: sendonce.Params{Algorithm: alg, Min: p.GetParams().GetMin(), Avg: p.GetParams().GetAvg(), Max: p.GetParams().GetMax()}}
	for _, f := range p.Folders {
		info := FolderInfo{Name: f.Name}
		names, err1 := small(f.Names, "name rule")
		role, err2 := small(f.Role, "role")
		head, err3 := cursorOf(f.Head)
		for _, err := range []error{err1, err2, err3, fixed(info.ID[:], f.Id, "folder")} {
			if err != nil {
				return err
			}
		}
		info.Names, info.Role, info.Head = sendonce.NameRule(names), sendonce.Role(role), head
		m.Folders = append(m.Folders, info)
	}
	return fixed(m.TenantKey[:], p.TenantKey, "tenant key")
}

func (m *PushOpen) toPB() proto.Message {
	return &pb.PushOpen{Folder: raw(m.Folder[:]), Push: raw(m.Push[:])}
}

func (m *PushOpen) fromPB(b []byte) error {
	var p pb.PushOpen
	if err := decode(b, &p); err != nil {
		return err
	}
	if err := fixed(m.Folder[:], p.Folder, "folder"); err != nil {
		return err
	}
	return fixed(m.Push[:], p.Push, "push ID")
}

func (m *PushReady) toPB() proto.Message {
	return &pb.PushReady{Epoch: m.Epoch, Head: cursorPB(m.Head)}
}

func (m *PushReady) fromPB(b []byte) error {
	var p pb.PushReady
	err := decode(b, &p)
	if err == nil {
		m.Epoch = p.Epoch
		m.Head, err = cursorOf(p.Head)
	}
	return err
}

func (m *Offer) toPB() proto.Message {
	p := &pb.Offer{Op: m.Op, Node: raw(m.Node[:]), Base: m.Base, Last: m.Last}
	p.Ids, p.Sizes = refsPB(m.Refs)
	if len(m.Edits) == 1 && m.Edits[0] == (sendonce.Edit{Insert: uint64(len(m.Refs))}) && len(m.Refs) > 0 {
		return p // the usual case of a new file: no edits on the wire
	}
	for _, e := range m.Edits {
		p.Edits = append(p.Edits, e.Skip, e.Keep, e.Insert)
	}
	return p
}

func (m *Offer) fromPB(b []byte) error {
	var p pb.Offer
	if err := decode(b, &p); err != nil {
		return err
	}
	if len(p.Edits)%3 != 0 {
		return invalid("half an edit")
	}
	refs, err := refsOf(p.Ids, p.Sizes)
	if err != nil {
		return err
	}
	*m = Offer{Op: p.Op, Base: p.Base, Refs: refs, Last: p.Last}
	if len(p.Edits) > 0 {
		m.Edits = make([]sendonce.Edit, len(p.Edits)/3)
		for i := range m.Edits {
			m.Edits[i] = sendonce.Edit{Skip: p.Edits[3*i], Keep: p.Edits[3*i+1], Insert: p.Edits[3*i+2]}
		}
	} else if len(refs) > 0 {
		m.Edits = []sendonce.Edit{{Insert: uint64(len(refs))}}
	}
	return fixed(m.Node[:], p.Node, "node")
}

func (m *Missing) toPB() proto.Message {
	p := &pb.Missing{Op: m.Op, Bits: m.Bits}
	for i := range m.IDs {
		p.Ids = append(p.Ids, m.IDs[i][:]...)
	}
	return p
}

func (m *Missing) fromPB(b []byte) error {
	var p pb.Missing
	if err := decode(b, &p); err != nil {
		return err
	}
	const n = len(sendonce.ID{})
	if len(p.Ids)%n != 0 {
		return invalid("%d bytes of IDs", len(p.Ids))
	}
	*m = Missing{Op: p.Op, Bits: p.Bits}
	if len(p.Ids) > 0 {
		m.IDs = make([]sendonce.ID, len(p.Ids)/n)
		for i := range m.IDs {
			copy(m.IDs[i][:], p.Ids[i*n:])
		}
	}
	return nil
}

func (m *StoredAck) toPB() proto.Message { return &pb.StoredAck{Op: m.Op, Through: m.Through} }

func (m *StoredAck) fromPB(b []byte) error {
	var p pb.StoredAck
	err := decode(b, &p)
	m.Op, m.Through = p.Op, p.Through
	return err
}

func (m *Committed) toPB() proto.Message {
	r := &m.Receipt
	return &pb.Committed{Op: m.Op, Receipt: &pb.Receipt{Folder: raw(r.Folder[:]), Op: raw(r.Op[:]),
		Cursor: cursorPB(r.Cursor), TimeNs: timePB(r.Time), Signature: r.Signature}}
}

func (m *Committed) fromPB(b []byte) error {
	var p pb.Committed
	if err := decode(b, &p); err != nil {
		return err
	}
	r := p.GetReceipt()
	cursor, err := cursorOf(r.GetCursor())
	if err != nil {
		return err
	}
	*m = Committed{Op: p.Op, Receipt: Receipt{Cursor: cursor, Signature: r.GetSignature()}}
	if r != nil {
		m.Receipt.Time = timeOf(r.TimeNs)
	}
	if err := fixed(m.Receipt.Folder[:], r.GetFolder(), "folder"); err != nil {
		return err
	}
	return fixed(m.Receipt.Op[:], r.GetOp(), "op ID")
}

func (m *PackHeader) toPB() proto.Message {
	return &pb.PackHeader{Push: raw(m.Push[:]), Op: m.Op, Sizes: m.Sizes, Encoding: uint32(m.Encoding), Length: m.Length}
}

func (m *PackHeader) fromPB(b []byte) error {
	var p pb.PackHeader
	if err := decode(b, &p); err != nil {
		return err
	}
	enc, err := small(p.Encoding, "encoding")
	if err != nil {
		return err
	}
	*m = PackHeader{Op: p.Op, Sizes: p.Sizes, Encoding: enc, Length: p.Length}
	return fixed(m.Push[:], p.Push, "push ID")
}

func (m *ManifestPart) toPB() proto.Message {
	p := &pb.ManifestPart{Op: m.Op, Done: m.Done}
	p.Ids, p.Sizes = refsPB(m.Refs)
	return p
}

func (m *ManifestPart) fromPB(b []byte) error {
	var p pb.ManifestPart
	err := decode(b, &p)
	if err == nil {
		m.Op, m.Done = p.Op, p.Done
		m.Refs, err = refsOf(p.Ids, p.Sizes)
	}
	return err
}

func (m *Fetch) toPB() proto.Message {
	p := &pb.Fetch{Op: m.Op, Folder: raw(m.Folder[:])}
	for i := range m.Items {
		it := &m.Items[i]
		p.Nodes = append(p.Nodes, it.Node[:]...)
		p.Ranges = append(p.Ranges, it.Rev, it.First, it.Count)
	}
	return p
}

func (m *Fetch) fromPB(b []byte) error {
	var p pb.Fetch
	if err := decode(b, &p); err != nil {
		return err
	}
	const n = len(sendonce.NodeID{})
	count := len(p.Nodes) / n
	if len(p.Nodes) != count*n || len(p.Ranges) != count*3 {
		return invalid("%d bytes of nodes for %d numbers", len(p.Nodes), len(p.Ranges))
	}
	*m = Fetch{Op: p.Op}
	if count > 0 {
		m.Items = make([]FetchItem, count)
		for i := range m.Items {
			m.Items[i] = FetchItem{Rev: p.Ranges[3*i], First: p.Ranges[3*i+1], Count: p.Ranges[3*i+2]}
			copy(m.Items[i].Node[:], p.Nodes[i*n:])
		}
	}
	return fixed(m.Folder[:], p.Folder, "folder")
}

func (m *Done) toPB() proto.Message { return &pb.Done{Op: m.Op} }

func (m *Done) fromPB(b []byte) error {
	var p pb.Done
	err := decode(b, &p)
	m.Op = p.Op
	return err
}

func (m *Admin) toPB() proto.Message { return &pb.Admin{Method: m.Method, Body: m.Body} }

func (m *Admin) fromPB(b []byte) error {
	var p pb.Admin
	err := decode(b, &p)
	m.Method, m.Body = p.Method, p.Body
	return err
}

func (m *AdminReply) toPB() proto.Message { return &pb.AdminReply{Body: m.Body} }

func (m *AdminReply) fromPB(b []byte) error {
	var p pb.AdminReply
	err := decode(b, &p)
	m.Body = p.Body
	return err
}
