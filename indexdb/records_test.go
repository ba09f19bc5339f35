package indexdb

import (
	"bytes"
	"testing"
	"time"

	"sendonce"
)

var sampleTime = time.Unix(1, 5).UTC()

// sampleNodes are one node of each form.
func sampleNodes() []*record {
	n := sendonce.Node{Parent: sendonce.NodeID{1}, Name: "a\xff", Mode: 0o644, MTimeNS: -7}
	with := func(fn func(*sendonce.Node)) *record {
		r := &record{Node: n, creator: sendonce.DeviceID{9}}
		fn(&r.Node)
		return r
	}
	return []*record{
		with(func(n *sendonce.Node) {
			n.Kind = sendonce.KindDir
			n.Xattrs = []sendonce.Xattr{{Name: "user.x", Value: []byte{1}}, {}}
		}),
		with(func(n *sendonce.Node) { n.Kind, n.Target = sendonce.KindSymlink, "t" }),
		with(func(n *sendonce.Node) { n.Kind = sendonce.KindFile }),
		with(func(n *sendonce.Node) { n.Kind, n.Size, n.Content.Inline = sendonce.KindFile, 2, []byte("hi") }),
		with(func(n *sendonce.Node) {
			n.Kind, n.Size = sendonce.KindFile, 1<<40
			n.Content.Refs = []sendonce.Ref{{ID: sendonce.ID{1}, Size: 1 << 39}, {Size: 1 << 39}}
		}),
		with(func(n *sendonce.Node) {
			n.Kind, n.Size, n.Content = sendonce.KindFile, 1<<50, sendonce.Content{Root: sendonce.ID{3}, Level: 2, Count: 1 << 20}
		}),
		{Node: sendonce.Node{Kind: sendonce.KindFile, Name: "x", Deleted: true}},
	}
}

// codecs decode a record and encode it again; nil for one that is malformed.
var codecs = []struct {
	name string
	fn   func(b []byte) []byte
}{
	{"node", func(b []byte) []byte {
		n, err := decodeNode(sendonce.NodeID{}, 1, b)
		return again(err, func() []byte { return encodeNode(n) })
	}},
	{"dir", func(b []byte) []byte {
		v, err := decodeDir(b)
		return again(err, func() []byte { return encodeDir(v) })
	}},
	{"head", func(b []byte) []byte {
		v, err := decodeHead(b)
		return again(err, func() []byte { return encodeHead(v) })
	}},
	{"entry", func(b []byte) []byte {
		v, err := decodeEntry(1, b)
		return again(err, func() []byte { return encodeEntry(&v) })
	}},
	{"op", func(b []byte) []byte { v, err := decodeOp(b); return again(err, func() []byte { return encodeOp(v) }) }},
	{"location", func(b []byte) []byte {
		v, err := decodeLocation(sendonce.ID{}, b)
		return again(err, func() []byte { return encodeLocation(v) })
	}},
	{"epoch", func(b []byte) []byte {
		v, err := decodeEpoch(b)
		return again(err, func() []byte { return encodeEpoch(v) })
	}},
	{"receipt", func(b []byte) []byte {
		v, err := decodeReceipt(b)
		return again(err, func() []byte { return encodeReceipt(v) })
	}},
	{"lease", func(b []byte) []byte {
		v, err := decodeLease(b)
		return again(err, func() []byte { return encodeLease(v) })
	}},
	{"tenant", func(b []byte) []byte {
		v, err := decodeTenant(1, b)
		return again(err, func() []byte { return encodeTenant(&v) })
	}},
	{"folder", func(b []byte) []byte {
		v, err := decodeFolder(place{}, b)
		return again(err, func() []byte { return encodeFolder(&v) })
	}},
	{"device", func(b []byte) []byte {
		v, err := decodeDevice(sendonce.DeviceID{}, b)
		return again(err, func() []byte { return encodeDevice(v) })
	}},
	{"invite", func(b []byte) []byte {
		v, err := decodeInvite([32]byte{}, b)
		return again(err, func() []byte { return encodeInvite(&v) })
	}},
}

func again(err error, encode func() []byte) []byte {
	if err != nil {
		return nil
	}
	return encode()
}

// samples are records of every kind, by the index of their codec.
func samples() map[int][][]byte {
	device := &Device{Tenant: 1, Name: "d", Added: sampleTime, Wide: sendonce.RoleAdmin,
		Grants: map[sendonce.FolderID]sendonce.Role{{1}: sendonce.RolePushOnly, {2}: sendonce.RoleReadOnly}}
	m := map[int][][]byte{
		1:  {encodeDir(dirRow{1, 2, 300})},
		2:  {encodeHead(headRow{sendonce.Cursor{Seq: 300, Chain: [32]byte{1}}, 5, 6})},
		3:  {encodeEntry(&Entry{Time: sampleTime, Snapshot: true, Nodes: []sendonce.NodeID{{1}, {2}}})},
		4:  {encodeOp(opRow{sampleTime, time.Time{}, sendonce.FolderID{1}, sendonce.Cursor{Seq: 1}})},
		5:  {encodeLocation(locationRow{Stored{Location: sendonce.Location{Segment: 1 << 63, Offset: 1 << 31, Length: 9}, Index: 1, Size: 200}, true})},
		6:  {encodeEpoch(300)},
		7:  {encodeReceipt(sampleTime)},
		8:  {encodeLease(leaseRow{3, sampleTime})},
		9:  {encodeTenant(&Tenant{Name: "default", Params: sendonce.DefaultParams})},
		10: {encodeFolder(&Folder{Name: "f", Names: sendonce.NamesPortable, Created: sampleTime, Quota: 1 << 40})},
		11: {encodeDevice(device)},
		12: {encodeInvite(&inviteRow{Invite: Invite{Tenant: 1, Role: sendonce.RoleReadOnly, Folder: "f", Expires: sampleTime}})},
	}
	for _, n := range sampleNodes() {
		m[0] = append(m[0], encodeNode(n))
	}
	return m
}

func TestRecords(t *testing.T) {
	for i, c := range codecs {
		if len(samples()[i]) == 0 {
			t.Errorf("%s: no sample", c.name)
		}
		for _, b := range samples()[i] {
			if got := c.fn(b); !bytes.Equal(got, b) {
				t.Errorf("%s: %x comes back as %x", c.name, b, got)
			}
			for n := range b {
				if c.fn(b[:n]) != nil {
					t.Errorf("%s: cut to %d of %d bytes, it is accepted", c.name, n, len(b))
				}
			}
			if c.fn(append(b[:len(b):len(b)], 0)) != nil {
				t.Errorf("%s: with a byte too many, it is accepted", c.name)
			}
			newer := bytes.Clone(b)
			newer[0]++
			if c.fn(newer) != nil {
				t.Errorf("%s: a version that is not known is accepted", c.name)
			}
		}
	}
}

func FuzzRecords(f *testing.F) {
	for i, list := range samples() {
		for _, b := range list {
			f.Add(uint8(i), b)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		c := codecs[int(kind)%len(codecs)]
		if got := c.fn(b); got != nil && !bytes.Equal(got, b) {
			t.Errorf("%s: %x is accepted and comes back as %x", c.name, b, got)
		}
	})
}

func FuzzKeys(f *testing.F) {
	p := place{1, sendonce.FolderID{2}}
	f.Add(p.node(sendonce.NodeID{3}, 4))
	f.Add(p.slot(sendonce.NodeID{3}, "a\x01", 4))
	f.Add(locationKey(1, sendonce.ID{5}))
	f.Add(referenceKey(1, sendonce.ID{5}, scope{device: sendonce.DeviceID{6}}))
	f.Add(receiptKey(1, sendonce.ID{5}, sendonce.DeviceID{6}))
	f.Fuzz(func(t *testing.T, key []byte) {
		if id, rev, ok := parseNode(key); ok && !bytes.Equal(p.node(id, rev)[placeLen:], key[placeLen:]) {
			t.Errorf("%x is parsed as node %s at %d", key, id, rev)
		}
		if parent, name, rev, ok := parseSlot(key); ok && !bytes.Equal(p.slot(parent, string(name), rev)[placeLen:], key[placeLen:]) {
			t.Errorf("%x is parsed as slot %q at %d", key, name, rev)
		}
		row, s, ok := chunkSuffix(key)
		if !ok {
			return
		}
		id := chunkID(key)
		want := map[byte][]byte{chunkLocation: locationKey(1, id), chunkReference: referenceKey(1, id, s), chunkReceipt: receiptKey(1, id, s.device)}[row]
		if !bytes.Equal(want[5:], key[5:]) {
			t.Errorf("%x is parsed as row %c of %s", key, row, id)
		}
	})
}

// TestChainDefinition holds the chain to bytes worked out by hand from
// docs/formats/index.md, so that it can never change unnoticed.
func TestChainDefinition(t *testing.T) {
	var d digester
	d.add(sendonce.NodeID{1}, []byte("record"))
	e := &Entry{Seq: 2, Op: sendonce.OpID{3}, Device: sendonce.DeviceID{4}, Time: sampleTime, Snapshot: true,
		Nodes: []sendonce.NodeID{{1}}, Digest: d.sum()}
	sum := chainOf(sendonce.FolderID{5}, [32]byte{6}, e)
	if got := hexOf(d.sum()); got != goldenDigest {
		t.Errorf("digest %s", got)
	}
	if got := hexOf(sum); got != goldenChain {
		t.Errorf("chain %s", got)
	}
}

func hexOf(b [32]byte) string { return sendonce.ID(b).String() }

func TestAfter(t *testing.T) {
	for _, c := range [][2]string{{"a", "b"}, {"a\xff", "b"}, {"a\x00", "a\x01"}} {
		if got := after([]byte(c[0])); string(got) != c[1] {
			t.Errorf("after %q is %q", c[0], got)
		}
	}
	if after([]byte{0xff}) != nil {
		t.Error("there is something after all keys")
	}
}

const (
	goldenDigest = "821fdc52b5cdcb4c3e6f39d5f90705ca1704d4e155b6432af6bc92fd4a6e2273"
	goldenChain  = "1dff20b6e9220a00092badd4fef212658cd02856d4e2eefe322820c40015bf27"
)
