package indexdb

import (
	"encoding/binary"
	"math"
	"time"

	"sendonce"
	"sendonce/indexdb/internal/bin"
)

// FormatVersion is the version of the keys and records of an index. An index
// of a newer one is refused.
const FormatVersion = 1

// Each kind of record begins with its own version byte; 1 is the first.
const recordV1 = 1

// maxBytes bounds a byte field of a record that has no limit of its own.
const maxBytes = 1 << 20

// maxSize is the largest file, and the largest sum over a folder.
const maxSize = 1 << 62

func appendTime(dst []byte, t time.Time) []byte {
	var n int64
	if !t.IsZero() {
		n = t.UnixNano()
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

func readTime(r *bin.Reader) time.Time {
	if n := int64(r.Uint64()); n != 0 {
		return time.Unix(0, n).UTC()
	}
	return time.Time{}
}

// record is a node as it is kept: with the device that created it.
type record struct {
	sendonce.Node
	creator sendonce.DeviceID
}

func (r *record) live() bool { return r != nil && !r.Deleted }

// The forms of content, as a byte of a node record.
const (
	formEmpty  = 0
	formInline = 1
	formRefs   = 2
	formTree   = 3
)

// encodeNode writes a node record. ID and revision are in the key.
func encodeNode(n *record) []byte {
	b := make([]byte, 0, 96+len(n.Name)+len(n.Content.Inline)+36*len(n.Content.Refs))
	b = append(b, recordV1, byte(n.Kind))
	b = bin.AppendBool(b, n.Deleted)
	b = append(b, n.creator[:]...)
	b = append(b, n.Parent[:]...)
	b = bin.AppendBytes(b, n.Name)
	if n.Deleted {
		return b
	}
	b = binary.AppendUvarint(b, uint64(n.Mode))
	b = binary.AppendVarint(b, n.MTimeNS)
	b = binary.AppendUvarint(b, uint64(len(n.Xattrs)))
	for _, x := range n.Xattrs {
		b = bin.AppendBytes(b, x.Name)
		b = bin.AppendBytes(b, x.Value)
	}
	switch n.Kind {
	case sendonce.KindSymlink:
		b = bin.AppendBytes(b, n.Target)
	case sendonce.KindFile:
		b = binary.AppendUvarint(b, uint64(n.Size))
		b = appendContent(b, &n.Content)
	}
	return b
}

func appendContent(b []byte, c *sendonce.Content) []byte {
	switch {
	case len(c.Inline) > 0:
		b = append(b, formInline)
		b = bin.AppendBytes(b, c.Inline)
	case len(c.Refs) > 0:
		b = append(b, formRefs)
		b = binary.AppendUvarint(b, uint64(len(c.Refs)))
		for _, ref := range c.Refs {
			b = append(b, ref.ID[:]...)
			b = binary.AppendUvarint(b, uint64(ref.Size))
		}
	case c.IsTree():
		b = append(b, formTree)
		b = append(b, c.Root[:]...)
		b = append(b, c.Level)
		b = binary.AppendUvarint(b, c.Count)
	default:
		b = append(b, formEmpty)
	}
	return b
}

// decodeNode reads what encodeNode wrote.
func decodeNode(id sendonce.NodeID, rev uint64, b []byte) (*record, error) {
	r := bin.NewReader(b)
	n := &record{Node: sendonce.Node{ID: id, Rev: rev}}
	r.Expect(recordV1)
	n.Kind = sendonce.Kind(r.Byte())
	if n.Kind < sendonce.KindFile || n.Kind > sendonce.KindSymlink {
		r.Fail()
	}
	n.Deleted = r.Bool()
	r.Fixed(n.creator[:])
	r.Fixed(n.Parent[:])
	n.Name = string(r.Bytes(sendonce.MaxName))
	if n.Deleted {
		return n, nodeErr(r, id, rev)
	}
	n.Mode = uint32(r.Uvarint(math.MaxUint32))
	n.MTimeNS = r.Varint()
	if count := r.Count(sendonce.MaxXattrs, 2); count > 0 {
		n.Xattrs = make([]sendonce.Xattr, count)
		for i := range n.Xattrs {
			n.Xattrs[i] = sendonce.Xattr{Name: string(r.Bytes(sendonce.MaxXattrs)), Value: r.Bytes(sendonce.MaxXattrs)}
		}
	}
	switch n.Kind {
	case sendonce.KindSymlink:
		n.Target = string(r.Bytes(sendonce.MaxTarget))
	case sendonce.KindFile:
		n.Size = int64(r.Uvarint(maxSize))
		readContent(r, &n.Content)
	}
	return n, nodeErr(r, id, rev)
}

func readContent(r *bin.Reader, c *sendonce.Content) {
	switch r.Byte() {
	case formEmpty:
	case formInline:
		if c.Inline = r.Bytes(sendonce.MaxInline); len(c.Inline) == 0 {
			r.Fail()
		}
	case formRefs:
		n := r.Count(sendonce.MaxDirectRefs, 33)
		if n == 0 {
			r.Fail()
			return
		}
		c.Refs = make([]sendonce.Ref, n)
		for i := range c.Refs {
			r.Fixed(c.Refs[i].ID[:])
			c.Refs[i].Size = int64(r.Uvarint(maxSize))
		}
	case formTree:
		r.Fixed(c.Root[:])
		c.Level = r.Byte()
		c.Count = r.Uvarint(math.MaxUint64)
		if c.Root.IsZero() {
			r.Fail()
		}
	default:
		r.Fail()
	}
}

func nodeErr(r *bin.Reader, id sendonce.NodeID, rev uint64) error {
	if r.Done() != nil {
		return damaged("the record of node %s at revision %d is malformed", id, rev)
	}
	return nil
}

// dirRow counts a directory's live children, and bounds how far the tree below
// it reaches: never less than the truth, but perhaps more after deletes and
// moves. height is in levels, length in bytes of the longest path below. An
// absent row is all zero.
type dirRow struct {
	children, height, length uint64
}

func encodeDir(d dirRow) []byte {
	b := binary.AppendUvarint([]byte{recordV1}, d.children)
	return binary.AppendUvarint(binary.AppendUvarint(b, d.height), d.length)
}

func decodeDir(b []byte) (d dirRow, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	d = dirRow{children: r.Uvarint(math.MaxInt64), height: r.Uvarint(math.MaxInt32), length: r.Uvarint(math.MaxInt32)}
	return d, r.Done()
}

// headRow is what changes with every commit of a folder.
type headRow struct {
	cursor       sendonce.Cursor
	bytes, files int64
}

func encodeHead(h headRow) []byte {
	b := binary.AppendUvarint([]byte{recordV1}, h.cursor.Seq)
	b = append(b, h.cursor.Chain[:]...)
	b = binary.AppendUvarint(b, uint64(h.bytes))
	return binary.AppendUvarint(b, uint64(h.files))
}

func decodeHead(b []byte) (h headRow, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	h.cursor.Seq = r.Uvarint(math.MaxInt64)
	r.Fixed(h.cursor.Chain[:])
	h.bytes, h.files = int64(r.Uvarint(maxSize)), int64(r.Uvarint(maxSize))
	return h, r.Done()
}

func encodeEntry(e *Entry) []byte {
	b := make([]byte, 0, 1+16+32+8+1+3+16*len(e.Nodes)+64)
	b = append(append(append(b, recordV1), e.Op[:]...), e.Device[:]...)
	b = bin.AppendBool(appendTime(b, e.Time), e.Snapshot)
	b = binary.AppendUvarint(b, uint64(len(e.Nodes)))
	for _, id := range e.Nodes {
		b = append(b, id[:]...)
	}
	return append(append(b, e.Digest[:]...), e.Chain[:]...)
}

func decodeEntry(seq uint64, b []byte) (e Entry, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	e.Seq = seq
	r.Fixed(e.Op[:])
	r.Fixed(e.Device[:])
	e.Time = readTime(r)
	e.Snapshot = r.Bool()
	e.Nodes = make([]sendonce.NodeID, r.Count(sendonce.MaxChanges, 16))
	for i := range e.Nodes {
		r.Fixed(e.Nodes[i][:])
	}
	r.Fixed(e.Digest[:])
	r.Fixed(e.Chain[:])
	return e, r.Done()
}

// opRow is the result of an operation. recorded is by this index's clock.
type opRow struct {
	recorded, time time.Time
	folder         sendonce.FolderID
	cursor         sendonce.Cursor
}

func encodeOp(o opRow) []byte {
	b := appendTime(appendTime([]byte{recordV1}, o.recorded), o.time)
	b = binary.AppendUvarint(append(b, o.folder[:]...), o.cursor.Seq)
	return append(b, o.cursor.Chain[:]...)
}

func decodeOp(b []byte) (o opRow, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	o.recorded, o.time = readTime(r), readTime(r)
	r.Fixed(o.folder[:])
	o.cursor.Seq = r.Uvarint(math.MaxInt64)
	r.Fixed(o.cursor.Chain[:])
	return o, r.Done()
}

// locationRow is where a chunk is.
type locationRow struct {
	Stored
	damaged bool
}

func encodeLocation(l locationRow) []byte {
	b := bin.AppendBool([]byte{recordV1}, l.damaged)
	b = binary.AppendUvarint(b, l.Location.Segment)
	b = binary.AppendUvarint(b, uint64(l.Location.Offset))
	b = binary.AppendUvarint(b, uint64(l.Location.Length))
	b = binary.AppendUvarint(b, uint64(l.Index))
	return binary.AppendUvarint(b, uint64(l.Size))
}

func decodeLocation(id sendonce.ID, b []byte) (l locationRow, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	l.ID = id
	l.damaged = r.Bool()
	l.Location.Segment = r.Uvarint(math.MaxUint64)
	l.Location.Offset = uint32(r.Uvarint(math.MaxUint32))
	l.Location.Length = uint32(r.Uvarint(math.MaxUint32))
	l.Index = uint32(r.Uvarint(math.MaxUint32))
	l.Size = uint32(r.Uvarint(math.MaxUint32))
	if err := r.Done(); err != nil {
		return l, damaged("the location of chunk %s is malformed", id)
	}
	return l, nil
}

// A reference row's value is the epoch in which it was last written; an epoch
// row's is the epoch; a receipt's is its time.
func encodeEpoch(epoch uint64) []byte { return binary.AppendUvarint([]byte{recordV1}, epoch) }

func decodeEpoch(b []byte) (uint64, error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	e := r.Uvarint(math.MaxInt64)
	return e, r.Done()
}

func encodeReceipt(t time.Time) []byte { return appendTime([]byte{recordV1}, t) }

func decodeReceipt(b []byte) (time.Time, error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	t := readTime(r)
	return t, r.Done()
}

type leaseRow struct {
	epoch uint64
	time  time.Time
}

func encodeLease(l leaseRow) []byte {
	return appendTime(binary.AppendUvarint([]byte{recordV1}, l.epoch), l.time)
}

func decodeLease(b []byte) (l leaseRow, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	l.epoch = r.Uvarint(math.MaxInt64)
	l.time = readTime(r)
	return l, r.Done()
}

func encodeTenant(t *Tenant) []byte {
	b := bin.AppendBytes([]byte{recordV1}, t.Name)
	b = append(append(b, t.Key[:]...), t.Params.Algorithm)
	b = binary.AppendUvarint(b, uint64(t.Params.Min))
	b = binary.AppendUvarint(b, uint64(t.Params.Avg))
	return binary.AppendUvarint(b, uint64(t.Params.Max))
}

func decodeTenant(id sendonce.TenantID, b []byte) (t Tenant, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	t.ID = id
	t.Name = string(r.Bytes(maxBytes))
	r.Fixed(t.Key[:])
	t.Params.Algorithm = r.Byte()
	t.Params.Min = uint32(r.Uvarint(math.MaxUint32))
	t.Params.Avg = uint32(r.Uvarint(math.MaxUint32))
	t.Params.Max = uint32(r.Uvarint(math.MaxUint32))
	return t, r.Done()
}

// encodeFolder writes what does not change with commits.
func encodeFolder(f *Folder) []byte {
	b := bin.AppendBytes([]byte{recordV1}, f.Name)
	b = appendTime(append(b, byte(f.Names)), f.Created)
	return binary.AppendUvarint(b, uint64(f.Quota))
}

func decodeFolder(p place, b []byte) (f Folder, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	f.Tenant, f.ID = p.tenant, p.folder
	f.Name = string(r.Bytes(sendonce.MaxName))
	if f.Names = sendonce.NameRule(r.Byte()); f.Names > sendonce.NamesPortable {
		r.Fail()
	}
	f.Created = readTime(r)
	f.Quota = int64(r.Uvarint(maxSize))
	return f, r.Done()
}

func encodeDevice(d *Device) []byte {
	b := binary.BigEndian.AppendUint32([]byte{recordV1}, uint32(d.Tenant))
	b = bin.AppendBytes(b, d.Name)
	b = bin.AppendBool(appendTime(b, d.Added), d.Revoked)
	b = append(b, byte(d.Wide))
	b = binary.AppendUvarint(b, uint64(len(d.Grants)))
	for _, f := range sortedFolders(d.Grants) {
		b = append(append(b, f[:]...), byte(d.Grants[f]))
	}
	return b
}

func decodeDevice(id sendonce.DeviceID, b []byte) (*Device, error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	d := &Device{ID: id, Grants: map[sendonce.FolderID]sendonce.Role{}}
	var tenant [4]byte
	r.Fixed(tenant[:])
	d.Tenant = sendonce.TenantID(binary.BigEndian.Uint32(tenant[:]))
	d.Name = string(r.Bytes(maxBytes))
	d.Added = readTime(r)
	d.Revoked = r.Bool()
	d.Wide = readRole(r)
	var last sendonce.FolderID
	for i := range r.Count(maxBytes, 17) {
		var f sendonce.FolderID
		r.Fixed(f[:])
		if i > 0 && string(f[:]) <= string(last[:]) {
			r.Fail()
			break
		}
		d.Grants[f], last = readRole(r), f
	}
	if err := r.Done(); err != nil {
		return nil, damaged("the record of device %s is malformed", id.Short())
	}
	return d, nil
}

func readRole(r *bin.Reader) sendonce.Role {
	role := sendonce.Role(r.Byte())
	if role > sendonce.RoleAdmin {
		r.Fail()
	}
	return role
}

// inviteRow is an invite and who used it up.
type inviteRow struct {
	Invite
	usedBy sendonce.DeviceID // zero: nobody yet
}

func encodeInvite(i *inviteRow) []byte {
	b := binary.BigEndian.AppendUint32([]byte{recordV1}, uint32(i.Tenant))
	b = bin.AppendBytes(append(b, byte(i.Role)), i.Folder)
	return append(appendTime(b, i.Expires), i.usedBy[:]...)
}

func decodeInvite(token [32]byte, b []byte) (i inviteRow, err error) {
	r := bin.NewReader(b)
	r.Expect(recordV1)
	i.Token = token
	var tenant [4]byte
	r.Fixed(tenant[:])
	i.Tenant = sendonce.TenantID(binary.BigEndian.Uint32(tenant[:]))
	i.Role = readRole(r)
	i.Folder = string(r.Bytes(sendonce.MaxName))
	i.Expires = readTime(r)
	r.Fixed(i.usedBy[:])
	return i, r.Done()
}
