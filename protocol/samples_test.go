package protocol

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"strings"
	"time"

	"sendonce"
)

func id16[T ~[16]byte](n byte) T {
	var v T
	for i := range v {
		v[i] = n
	}
	return v
}

func id32[T ~[32]byte](n byte) T {
	var v T
	for i := range v {
		v[i] = n
	}
	return v
}

var sampleTime = time.Date(2026, 3, 4, 5, 6, 7, 891011121, time.UTC)

func sampleNodes() []sendonce.Node {
	base := sendonce.Node{ID: id16[sendonce.NodeID](1), Parent: id16[sendonce.NodeID](9), Name: "a file.txt", Kind: sendonce.KindFile, Rev: 70000,
		Mode: 0o644, MTimeNS: sampleTime.UnixNano()}
	with := func(f func(*sendonce.Node)) sendonce.Node {
		n := base
		f(&n)
		return n
	}
	return []sendonce.Node{
		base,
		with(func(n *sendonce.Node) { n.Content.Inline, n.Size = []byte("hello"), 5 }),
		with(func(n *sendonce.Node) {
			n.Content.Refs, n.Size = []sendonce.Ref{{ID: id32[sendonce.ID](3), Size: 70000}, {Size: 1 << 40}}, 70000+1<<40
		}),
		with(func(n *sendonce.Node) {
			n.Content = sendonce.Content{Root: id32[sendonce.ID](4), Level: 2, Count: 5000}
			n.Size = 5000 << 16
		}),
		with(func(n *sendonce.Node) { n.Kind, n.Target = sendonce.KindSymlink, "../to\xff/here" }),
		with(func(n *sendonce.Node) {
			n.Name, n.MTimeNS = "not \xff UTF-8\n", -5
			n.Xattrs = []sendonce.Xattr{{Name: "user.a", Value: []byte{0, 1}}, {Name: "user.empty"}}
		}),
		{ID: id16[sendonce.NodeID](2), Kind: sendonce.KindDir, Rev: 1, Mode: 0o755},
		{ID: id16[sendonce.NodeID](3), Parent: id16[sendonce.NodeID](9), Name: "gone", Kind: sendonce.KindDir, Rev: 8, Deleted: true},
	}
}

func sampleChanges() []Change {
	file, dir := sendonce.KindFile, sendonce.KindDir
	parent := id16[sendonce.NodeID](9)
	return []Change{
		{Node: id16[sendonce.NodeID](1), SetPlace: true, Parent: parent, Name: "new.txt", Kind: file, SetMeta: true, Mode: 0o600, MTimeNS: 1e18, SetContent: true, Offer: 7},
		{Node: id16[sendonce.NodeID](2), SetPlace: true, Parent: parent, Name: "small", Kind: file, SetMeta: true, Mode: 0o644, MTimeNS: -1, SetContent: true, Inline: []byte("tiny")},
		{Node: id16[sendonce.NodeID](3), SetPlace: true, Parent: id16[sendonce.NodeID](4), Name: "dir", Kind: dir, SetMeta: true, Mode: 0o755,
			Xattrs: []sendonce.Xattr{{Name: "user.x", Value: []byte("1")}, {Name: "user.y", Value: []byte("2")}}},
		{Node: id16[sendonce.NodeID](4), SetPlace: true, Parent: parent, Name: "link", Kind: sendonce.KindSymlink, SetContent: true, Target: "../x"},
		{Node: id16[sendonce.NodeID](5), Base: 12, Kind: file, SetContent: true, Offer: 3, Root: id32[sendonce.ID](5)},
		{Node: id16[sendonce.NodeID](6), BaseOp: 1, Kind: file, SetContent: true},
		{Node: id16[sendonce.NodeID](7), Base: 1 << 40, Delete: true},
		{Node: id16[sendonce.NodeID](8), Base: 9, SetMeta: true, MTimeNS: -1 << 63},
		{Node: id16[sendonce.NodeID](8), BaseOp: 2, SetMeta: true, MTimeNS: 1<<63 - 1, Mode: sendonce.MaxMode},
	}
}

// samples has at least one message of every type, with every field set somewhere.
func samples() []Message {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32))
	cursor := sendonce.Cursor{Seq: 1234, Chain: id32[[32]byte](8)}
	folder, node := id16[sendonce.FolderID](0xf0), id16[sendonce.NodeID](0xa0)
	receipt := Receipt{Folder: folder, Op: id16[sendonce.OpID](5), Cursor: cursor, Time: sampleTime}
	receipt.Sign(key)
	refs := []sendonce.Ref{{ID: id32[sendonce.ID](1), Size: 65536}, {Size: 1 << 30}, {ID: id32[sendonce.ID](2), Size: 1}}
	current := sampleNodes()[2]
	return []Message{
		&Fail{Op: 3, Kind: sendonce.KindUnauthorized, Detail: "no", Hint: "ask"},
		&Hello{Version: 1, Features: 1 << 63, DeviceName: "Läptop", Token: bytes.Repeat([]byte{7}, 16)},
		&Hello{Version: 1, Bulk: true},
		&Welcome{Version: 1, Features: 2, Server: "sendonce 1", TenantKey: id32[[32]byte](6), Params: sendonce.DefaultParams, Time: sampleTime,
			Folders: []FolderInfo{{ID: folder, Name: "docs", Names: sendonce.NamesPortable, Role: sendonce.RoleAdmin, Head: cursor}, {ID: id16[sendonce.FolderID](2)}}},
		&Welcome{Version: 1},
		&PushOpen{Folder: folder, Push: id16[sendonce.PushID](3)},
		&PushReady{Epoch: 4, Head: cursor},
		&Offer{Op: 1, Edits: []sendonce.Edit{{Insert: 3}}, Refs: refs, Last: true},
		&Offer{Op: 2, Node: node, Base: 17, Edits: []sendonce.Edit{{Keep: 1 << 40, Insert: 1}, {Skip: 2, Insert: 2}, {Skip: 5, Keep: 5}}, Refs: refs},
		&Offer{Op: MaxOp, Node: node, Base: 17, Last: true},
		&Missing{Op: 1, Bits: []byte{5, 0, 1}},
		&Missing{Op: 2, IDs: []sendonce.ID{id32[sendonce.ID](1), {}}},
		&StoredAck{Op: 5, Through: 4},
		&Commit{Op: 3, ID: id16[sendonce.OpID](4), Snapshot: true, Changes: sampleChanges()},
		&Commit{Op: 1, ID: id16[sendonce.OpID](4)},
		&Committed{Op: 3, Receipt: receipt},
		&Committed{Op: 3, Receipt: Receipt{Time: time.Unix(0, 0).UTC()}},
		&Conflict{Op: 3, Nodes: []ConflictNode{{Node: node, Reason: 2, Current: &current}, {Node: node, Reason: 1},
			{Node: node, Reason: 1, Current: &sendonce.Node{ID: node, Kind: sendonce.KindFile}}}},
		&PackHeader{Push: id16[sendonce.PushID](3), Op: 1, Sizes: []uint32{1, 65536}, Encoding: 2, Length: 60000},
		&PackHeader{Op: 1, Sizes: []uint32{sendonce.MaxPack}, Length: sendonce.MaxPack},
		&Changes{Folder: folder, Cursor: cursor},
		&Changes{Folder: folder},
		&ChangeSet{Through: cursor, Restart: true, Forked: true, Nodes: sampleNodes(), Complete: true},
		&ChangeSet{},
		&List{Op: 1, Folder: folder, Node: node, At: 5, Recursive: true, Path: "a/b \xff/c"},
		&List{Op: 1, Folder: folder},
		&NodeList{Op: 1, Nodes: sampleNodes(), Done: true},
		&Read{Op: 1, Folder: folder, Node: node, Rev: 6},
		&ManifestPart{Op: 1, Refs: refs, Done: true},
		&Fetch{Op: 1, Folder: folder, Items: []FetchItem{{Node: node, Rev: 1, First: 2, Count: 3}, {Node: node}}},
		&Done{Op: 1},
		&Log{Op: 1, Folder: folder, Node: node, Before: 3, Limit: 4, Snapshots: true, WithNodes: true},
		&LogEntries{Op: 1, Done: true, Entries: []LogEntry{{Seq: 1, Chain: id32[[32]byte](1), Device: id32[sendonce.DeviceID](2), DeviceName: "laptop",
			Time: sampleTime, Snapshot: true, Changes: 2, Nodes: sampleNodes()[:2]}, {Seq: 2}}},
		&Admin{Method: "invite", Body: []byte(`{"role":"admin"}`)},
		&AdminReply{Body: []byte("{}")},
	}
}

// firstPush is a commit that creates n small files in a few directories.
func firstPush(n int) *Commit {
	c := &Commit{Op: 1, ID: id16[sendonce.OpID](1)}
	mtime := sampleTime.UnixNano()
	for i := range n {
		mtime += int64(i%7) * 1e9 * 3600 * 24 * 13 // as unlike as files of years
		c.Changes = append(c.Changes, Change{Node: sendonce.NodeID{1, 2, 3, 15: 250}.Step(int64(i)), SetPlace: true, Parent: sendonce.NodeID{2, byte(i / 20)},
			Name: fmt.Sprintf("file-%05d.go", i), Kind: sendonce.KindFile, SetMeta: true, Mode: 0o644, MTimeNS: mtime, SetContent: true, Offer: uint64(i + 1)})
	}
	return c
}

func bigOffer() *Offer {
	o := &Offer{Op: 1, Edits: []sendonce.Edit{{Insert: sendonce.MaxOfferRefs}}, Last: true}
	for i := range sendonce.MaxOfferRefs {
		o.Refs = append(o.Refs, sendonce.Ref{ID: sendonce.ID{byte(i), byte(i >> 8), 1}, Size: int64(16<<10 + i)})
	}
	return o
}

var longName = strings.Repeat("n", 256)
