package protocol

import (
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"sendonce"
	"sendonce/protocol/internal/pb"
)

// Each of these breaks one rule; both ends must refuse it.
func TestBrokenMessages(t *testing.T) {
	const invalid, limit = sendonce.KindInvalid, sendonce.KindLimit
	folder, node := id16[sendonce.FolderID](1), id16[sendonce.NodeID](2)
	tooLong := strings.Repeat("x", MaxText+1)
	ref := func(size int64) []sendonce.Ref { return []sendonce.Ref{{ID: id32[sendonce.ID](1), Size: size}} }
	withNode := func(f func(*sendonce.Node)) Message {
		n := sampleNodes()[0]
		f(&n)
		return &NodeList{Op: 1, Nodes: []sendonce.Node{n}}
	}
	withChange := func(f func(*Change)) Message {
		c := sampleChanges()[0]
		f(&c)
		return &Commit{Op: 5, ID: id16[sendonce.OpID](1), Changes: []Change{c}}
	}
	for i, c := range []struct {
		m    Message
		kind sendonce.ErrKind
	}{
		{&Fail{}, invalid},
		{&Fail{Kind: 1, Op: MaxOp + 1}, invalid},
		{&Fail{Kind: 1, Detail: tooLong}, limit},
		{&Fail{Kind: 1, Hint: tooLong}, limit},
		{&Hello{}, invalid},
		{&Hello{Version: 1, Token: make([]byte, MaxToken+1)}, limit},
		{&Hello{Version: 1, DeviceName: longName}, limit},
		{&Welcome{}, invalid},
		{&Welcome{Version: 1, Server: tooLong}, limit},
		{&Welcome{Version: 1, Folders: []FolderInfo{{}}}, invalid},
		{&Welcome{Version: 1, Folders: []FolderInfo{{ID: folder, Role: 5}}}, invalid},
		{&Welcome{Version: 1, Folders: []FolderInfo{{ID: folder, Names: 2}}}, invalid},
		{&Welcome{Version: 1, Folders: []FolderInfo{{ID: folder, Name: longName}}}, limit},
		{&Welcome{Version: 1, Folders: make([]FolderInfo, MaxFrameItems+1)}, limit},
		{&PushOpen{Folder: folder}, invalid},
		{&PushOpen{Push: id16[sendonce.PushID](1)}, invalid},
		{&Offer{}, invalid},
		{&Offer{Op: MaxOp + 1}, invalid},
		{&Offer{Op: 1, Refs: make([]sendonce.Ref, sendonce.MaxOfferRefs+1)}, limit},
		{&Offer{Op: 1, Edits: make([]sendonce.Edit, MaxEdits+1)}, limit},
		{&Offer{Op: 1, Edits: []sendonce.Edit{{Insert: 1}}}, invalid},
		{&Offer{Op: 1, Edits: []sendonce.Edit{{Insert: 1}, {Insert: math.MaxUint64}}, Refs: append(ref(1), ref(1)...)}, invalid},
		{&Offer{Op: 1, Edits: []sendonce.Edit{{Keep: 1}}, Refs: ref(1)}, invalid},
		{&Offer{Op: 1, Refs: ref(0)}, invalid},
		{&Offer{Op: 1, Refs: ref(sendonce.MaxChunk + 1)}, invalid},
		{&Offer{Op: 1, Refs: []sendonce.Ref{{Size: maxRun + 1}}}, invalid},
		{&Offer{Op: 1, Refs: []sendonce.Ref{{Size: maxRun}, {Size: 1}}}, invalid},
		{&Missing{Op: 1, Bits: make([]byte, sendonce.MaxOfferRefs/8+1)}, limit},
		{&Missing{Op: 1, IDs: make([]sendonce.ID, sendonce.MaxOfferRefs+1)}, limit},
		{&Missing{Op: MaxOp + 1}, invalid},
		{&StoredAck{Op: MaxOp + 1}, invalid},
		{&StoredAck{Through: MaxOp + 1}, invalid},
		{&Commit{ID: id16[sendonce.OpID](1)}, invalid},
		{&Commit{Op: 1}, invalid},
		{&Commit{Op: MaxOp + 1, ID: id16[sendonce.OpID](1)}, invalid},
		{&Commit{Op: 1, ID: id16[sendonce.OpID](1), Changes: make([]Change, sendonce.MaxChanges+1)}, limit},
		{withChange(func(c *Change) { c.Node = sendonce.NodeID{} }), invalid},
		{withChange(func(c *Change) { c.Kind = 0 }), invalid},
		{withChange(func(c *Change) { c.SetPlace = false }), invalid},
		{withChange(func(c *Change) { c.Delete = true }), invalid},
		{withChange(func(c *Change) { c.Delete, c.Base = true, 1 }), invalid},
		{withChange(func(c *Change) { c.Base, c.BaseOp = 1, 1 }), invalid},
		{withChange(func(c *Change) { c.BaseOp = 5 }), invalid},
		{withChange(func(c *Change) { *c = Change{Node: c.Node, Base: 1} }), invalid},
		{withChange(func(c *Change) { c.Parent = sendonce.NodeID{} }), invalid},
		{withChange(func(c *Change) { c.Name = "" }), invalid},
		{withChange(func(c *Change) { c.Name = ".." }), invalid},
		{withChange(func(c *Change) { c.Name = "a/b" }), invalid},
		{withChange(func(c *Change) { c.Name = longName }), invalid},
		{withChange(func(c *Change) { c.Mode = 0o4755 }), invalid},
		{withChange(func(c *Change) { c.Xattrs = []sendonce.Xattr{{}} }), invalid},
		{withChange(func(c *Change) { c.Xattrs = []sendonce.Xattr{{Name: "a", Value: make([]byte, sendonce.MaxXattrs)}} }), limit},
		{withChange(func(c *Change) { c.Offer, c.Target = 0, "x" }), invalid},
		{withChange(func(c *Change) { c.Offer, c.Root = 0, id32[sendonce.ID](1) }), invalid},
		{withChange(func(c *Change) { c.Kind = sendonce.KindDir }), invalid},
		{withChange(func(c *Change) { c.Kind = sendonce.KindSymlink }), invalid},
		{withChange(func(c *Change) { c.Kind, c.Offer, c.Target = sendonce.KindSymlink, 0, "a\x00b" }), invalid},
		{withChange(func(c *Change) {
			c.Kind, c.Offer, c.Target = sendonce.KindSymlink, 0, strings.Repeat("x", sendonce.MaxTarget+1)
		}), limit},
		{withChange(func(c *Change) { c.Offer = MaxOp + 1 }), invalid},
		{withChange(func(c *Change) { c.Offer, c.Inline = 0, make([]byte, sendonce.MaxInline+1) }), limit},
		{&Committed{Op: MaxOp + 1}, invalid},
		{&Committed{Op: 1, Receipt: Receipt{Signature: make([]byte, 65)}}, limit},
		{&Conflict{Op: MaxOp + 1}, invalid},
		{&Conflict{Op: 1, Nodes: make([]ConflictNode, sendonce.MaxChanges+1)}, limit},
		{&Conflict{Op: 1, Nodes: []ConflictNode{{Current: &sendonce.Node{}}}}, invalid},
		{&PackHeader{Op: 1, Length: 1}, invalid},
		{&PackHeader{Op: 1, Sizes: []uint32{1}}, invalid},
		{&PackHeader{Op: 1, Sizes: []uint32{0}, Length: 1}, invalid},
		{&PackHeader{Op: 1, Sizes: []uint32{1}, Length: sendonce.MaxPack + 1}, limit},
		{&PackHeader{Op: 1, Sizes: []uint32{sendonce.MaxPack, 1}, Length: 1}, limit},
		{&PackHeader{Op: 1, Sizes: []uint32{math.MaxUint32}, Length: 1}, limit},
		{&PackHeader{Op: 1, Sizes: make([]uint32, MaxPackChunks+1), Length: 1}, limit},
		{&PackHeader{Op: MaxOp + 1, Sizes: []uint32{1}, Length: 1}, invalid},
		{&Changes{}, invalid},
		{&ChangeSet{Forked: true}, invalid},
		{&ChangeSet{Nodes: make([]sendonce.Node, 1)}, invalid},
		{&List{Op: 1}, invalid},
		{&List{Op: MaxOp + 1, Folder: folder}, invalid},
		{&List{Op: 1, Folder: folder, Path: "a//b"}, invalid},
		{&List{Op: 1, Folder: folder, Path: "a/../b"}, invalid},
		{&List{Op: 1, Folder: folder, Path: strings.Repeat("x/", sendonce.MaxDepth) + "x"}, limit},
		{&List{Op: 1, Folder: folder, Path: strings.Repeat("x", sendonce.MaxPath+1)}, limit},
		{&NodeList{Op: MaxOp + 1}, invalid},
		{&NodeList{Op: 1, Nodes: make([]sendonce.Node, MaxFrameItems+1)}, limit},
		{withNode(func(n *sendonce.Node) { n.ID = sendonce.NodeID{} }), invalid},
		{withNode(func(n *sendonce.Node) { n.Kind = 0 }), invalid},
		{withNode(func(n *sendonce.Node) { n.Kind = 4 }), invalid},
		{withNode(func(n *sendonce.Node) { n.Name = "" }), invalid},
		{withNode(func(n *sendonce.Node) { n.Parent, n.Name = sendonce.NodeID{}, "." }), invalid},
		{withNode(func(n *sendonce.Node) { n.Deleted, n.Name = true, "/" }), invalid},
		{withNode(func(n *sendonce.Node) { n.Mode = sendonce.MaxMode + 1 }), invalid},
		{withNode(func(n *sendonce.Node) { n.Size = 1 }), invalid},
		{withNode(func(n *sendonce.Node) { n.Size = -1 }), invalid},
		{withNode(func(n *sendonce.Node) { n.Target = "x" }), invalid},
		{withNode(func(n *sendonce.Node) { n.Kind, n.Target = sendonce.KindSymlink, "\x00" }), invalid},
		{withNode(func(n *sendonce.Node) { n.Kind, n.Size, n.Content.Inline = sendonce.KindDir, 1, []byte("x") }), invalid},
		{withNode(func(n *sendonce.Node) { n.Xattrs = []sendonce.Xattr{{Name: "a\x00"}} }), invalid},
		{withNode(func(n *sendonce.Node) { n.Xattrs = []sendonce.Xattr{{Name: longName}} }), invalid},
		{withNode(func(n *sendonce.Node) { n.Content.Inline, n.Size = []byte("x"), 2 }), invalid},
		{withNode(func(n *sendonce.Node) {
			n.Content.Inline, n.Size = make([]byte, sendonce.MaxInline+1), sendonce.MaxInline+1
		}), invalid},
		{withNode(func(n *sendonce.Node) { n.Content.Refs = ref(0) }), invalid},
		{withNode(func(n *sendonce.Node) { n.Content.Refs, n.Size = repeat(ref(1)[0], 17), 17 }), invalid},
		{withNode(func(n *sendonce.Node) {
			n.Content.Refs, n.Content.Inline, n.Size = ref(1), []byte("x"), 1
		}), invalid},
		{withNode(func(n *sendonce.Node) { n.Content.Count = 1 }), invalid},
		{withNode(func(n *sendonce.Node) { n.Content.Root, n.Size = id32[sendonce.ID](1), 1 }), invalid},
		{withNode(func(n *sendonce.Node) { n.Content.Root, n.Content.Count = id32[sendonce.ID](1), 17 }), invalid},
		{withNode(func(n *sendonce.Node) {
			n.Content.Root, n.Content.Count, n.Content.Level, n.Size = id32[sendonce.ID](1), 17, maxLevel+1, 1
		}), invalid},
		{&Read{Op: 1, Folder: folder}, invalid},
		{&Read{Op: 1, Node: node}, invalid},
		{&Read{Op: MaxOp + 1, Folder: folder, Node: node}, invalid},
		{&ManifestPart{Op: 1, Refs: ref(-1)}, invalid},
		{&ManifestPart{Op: MaxOp + 1}, invalid},
		{&ManifestPart{Op: 1, Refs: make([]sendonce.Ref, sendonce.MaxOfferRefs+1)}, limit},
		{&Fetch{Op: 1}, invalid},
		{&Fetch{Op: MaxOp + 1, Folder: folder}, invalid},
		{&Fetch{Op: 1, Folder: folder, Items: []FetchItem{{}}}, invalid},
		{&Fetch{Op: 1, Folder: folder, Items: []FetchItem{{Node: node, First: 2, Count: math.MaxUint64}}}, invalid},
		{&Fetch{Op: 1, Folder: folder, Items: make([]FetchItem, MaxFetchItems+1)}, limit},
		{&Done{Op: MaxOp + 1}, invalid},
		{&Log{Op: 1}, invalid},
		{&Log{Op: MaxOp + 1, Folder: folder}, invalid},
		{&LogEntries{Op: MaxOp + 1}, invalid},
		{&LogEntries{Op: 1, Entries: make([]LogEntry, MaxFrameItems+1)}, limit},
		{&LogEntries{Op: 1, Entries: []LogEntry{{DeviceName: longName}}}, limit},
		{&LogEntries{Op: 1, Entries: []LogEntry{{Nodes: make([]sendonce.Node, 1)}}}, invalid},
		{&Admin{}, invalid},
		{&Admin{Method: longName}, limit},
		{&Admin{Method: "m", Body: make([]byte, MaxAdminBody+1)}, limit},
		{&AdminReply{Body: make([]byte, MaxAdminBody+1)}, limit},
	} {
		if _, err := AppendFrame(nil, c.m); sendonce.KindOf(err) != c.kind {
			t.Errorf("case %d, %v: sending it gives %v (%v), want %v", i, TypeOf(c.m), err, sendonce.KindOf(err), c.kind)
		}
		b, err := proto.Marshal(c.m.(wire).toPB())
		if err != nil || len(b) >= sendonce.MaxFrame {
			t.Fatalf("case %d, %v: %d bytes, %v", i, TypeOf(c.m), len(b), err)
		}
		if _, err := ParseFrame(TypeOf(c.m), b); err == nil {
			t.Errorf("case %d, %v was received", i, TypeOf(c.m))
		}
	}
}

// These cannot even be written down as messages, or not be sent at all.
func TestWhatCannotBeSent(t *testing.T) {
	twice := func(f func(*Change)) Message {
		c := sampleChanges()[0]
		f(&c)
		return &Commit{Op: 5, ID: id16[sendonce.OpID](1), Changes: []Change{c}}
	}
	far := time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, m := range []Message{
		&Welcome{Version: 1, Time: far},
		&Committed{Op: 1, Receipt: Receipt{Time: far}},
		&LogEntries{Op: 1, Entries: []LogEntry{{Time: far}}},
		&Fail{Kind: 1, Detail: "\xff"},
		&Fail{Kind: 1, Hint: "\xff"},
		&Hello{Version: 1, DeviceName: "\xff"},
		&Welcome{Version: 1, Folders: []FolderInfo{{ID: id16[sendonce.FolderID](1), Name: "\xff"}}},
		&Admin{Method: "\xff"},
		twice(func(c *Change) { c.Inline = []byte("x") }),
		twice(func(c *Change) { c.Target = "x" }),
	} {
		if _, err := AppendFrame(nil, m); sendonce.KindOf(err) != sendonce.KindInvalid {
			t.Errorf("case %d, %v: %v", i, TypeOf(m), err)
		}
	}
}

// Bodies that no sender of ours makes.
func TestMalformedBodies(t *testing.T) {
	short, id := make([]byte, 15), bytes16(1)
	flags := func(f ...uint32) *pb.Commit {
		return &pb.Commit{Op: 9, Id: id, Nodes: bytes16(byte(len(f)))[:0], Flags: f}
	}
	commit := func(f uint32, edit func(*pb.Commit)) *pb.Commit {
		p := flags(f | flagNode)
		p.Nodes = id
		edit(p)
		return p
	}
	const base, place, meta, content = flagBase, flagPlace, flagMeta, flagContent
	for i, c := range []struct {
		t FrameType
		p proto.Message
	}{
		{TypeFail, &pb.Fail{Kind: 256}},
		{TypeWelcome, &pb.Welcome{Version: 1, TenantKey: short}},
		{TypeWelcome, &pb.Welcome{Version: 1, Params: &pb.Params{Algorithm: 256}}},
		{TypeWelcome, &pb.Welcome{Version: 1, Folders: []*pb.FolderInfo{{Id: short}}}},
		{TypeWelcome, &pb.Welcome{Version: 1, Folders: []*pb.FolderInfo{{Id: id, Names: 256}}}},
		{TypeWelcome, &pb.Welcome{Version: 1, Folders: []*pb.FolderInfo{{Id: id, Role: 256}}}},
		{TypeWelcome, &pb.Welcome{Version: 1, Folders: []*pb.FolderInfo{{Id: id, Head: &pb.Cursor{Chain: short}}}}},
		{TypePushOpen, &pb.PushOpen{Folder: short, Push: id}},
		{TypePushOpen, &pb.PushOpen{Folder: id, Push: short}},
		{TypePushReady, &pb.PushReady{Head: &pb.Cursor{Chain: short}}},
		{TypeOffer, &pb.Offer{Op: 1, Edits: []uint64{1, 2}}},
		{TypeOffer, &pb.Offer{Op: 1, Ids: make([]byte, 31), Sizes: []uint64{1}}},
		{TypeOffer, &pb.Offer{Op: 1, Ids: make([]byte, 32), Sizes: []uint64{math.MaxUint64}}},
		{TypeOffer, &pb.Offer{Op: 1, Ids: make([]byte, 32)}},
		{TypeOffer, &pb.Offer{Op: 1, Node: short}},
		{TypeMissing, &pb.Missing{Ids: make([]byte, 33)}},
		{TypeCommitted, &pb.Committed{Receipt: &pb.Receipt{Folder: short}}},
		{TypeCommitted, &pb.Committed{Receipt: &pb.Receipt{Op: short}}},
		{TypeCommitted, &pb.Committed{Receipt: &pb.Receipt{Cursor: &pb.Cursor{Chain: short}}}},
		{TypeConflict, &pb.Conflict{Nodes: []*pb.ConflictNode{{Node: short}}}},
		{TypeConflict, &pb.Conflict{Nodes: []*pb.ConflictNode{{Node: id, Reason: 256}}}},
		{TypeConflict, &pb.Conflict{Nodes: []*pb.ConflictNode{{Node: id, Current: &pb.Node{Id: short}}}}},
		{TypePackHeader, &pb.PackHeader{Encoding: 256, Sizes: []uint32{1}, Length: 1}},
		{TypePackHeader, &pb.PackHeader{Push: short, Sizes: []uint32{1}, Length: 1}},
		{TypeChanges, &pb.Changes{Folder: short}},
		{TypeChanges, &pb.Changes{Folder: id, Cursor: &pb.Cursor{Chain: short}}},
		{TypeChangeSet, &pb.ChangeSet{Through: &pb.Cursor{Chain: short}}},
		{TypeChangeSet, &pb.ChangeSet{Nodes: []*pb.Node{{Id: short}}}},
		{TypeList, &pb.List{Folder: short}},
		{TypeList, &pb.List{Folder: id, Node: short}},
		{TypeNodeList, &pb.NodeList{Nodes: []*pb.Node{{Id: id, Kind: 257}}}},
		{TypeNodeList, &pb.NodeList{Nodes: []*pb.Node{{Id: id, Kind: 1, Parent: short}}}},
		{TypeNodeList, &pb.NodeList{Nodes: []*pb.Node{{Id: id, Kind: 1, Size: math.MaxUint64}}}},
		{TypeNodeList, &pb.NodeList{Nodes: []*pb.Node{{Id: id, Kind: 1, Level: 256}}}},
		{TypeNodeList, &pb.NodeList{Nodes: []*pb.Node{{Id: id, Kind: 1, Root: short}}}},
		{TypeNodeList, &pb.NodeList{Nodes: []*pb.Node{{Id: id, Kind: 1, RefIds: short, RefSizes: []uint64{1}}}}},
		{TypeRead, &pb.Read{Folder: short, Node: id}},
		{TypeRead, &pb.Read{Folder: id, Node: short}},
		{TypeManifestPart, &pb.ManifestPart{Ids: short}},
		{TypeFetch, &pb.Fetch{Folder: short}},
		{TypeFetch, &pb.Fetch{Folder: id, Nodes: id}},
		{TypeFetch, &pb.Fetch{Folder: id, Nodes: short, Ranges: []uint64{1, 2, 3}}},
		{TypeLog, &pb.Log{Folder: short}},
		{TypeLog, &pb.Log{Folder: id, Node: short}},
		{TypeLogEntries, &pb.LogEntries{Entries: []*pb.LogEntry{{Chain: short}}}},
		{TypeLogEntries, &pb.LogEntries{Entries: []*pb.LogEntry{{Device: short}}}},
		{TypeLogEntries, &pb.LogEntries{Entries: []*pb.LogEntry{{Nodes: []*pb.Node{{Id: short}}}}}},
		{TypeCommit, &pb.Commit{Op: 1, Id: short}},
		{TypeCommit, &pb.Commit{Op: 1, Id: id, Flags: make([]uint32, 1001), NodeSteps: make([]int64, 1001)}},
		{TypeCommit, flags(1)},
		{TypeCommit, commit(1<<8, func(*pb.Commit) {})},
		{TypeCommit, commit(base|meta, func(p *pb.Commit) { // a step where the flag says a whole ID
			p.Bases, p.Modes, p.Mtimes, p.Nodes, p.NodeSteps = []uint64{1}, []uint32{1}, []int64{1}, nil, []int64{1}
		})},
		{TypeCommit, &pb.Commit{Op: 9, Id: id, Flags: []uint32{base | meta}, Nodes: id, Bases: []uint64{1}, Modes: []uint32{1}, Mtimes: []int64{1}}},
		{TypeCommit, commit(base|meta, func(p *pb.Commit) {
			p.Bases, p.Modes, p.Mtimes, p.NodeSteps = []uint64{1}, []uint32{1}, []int64{1}, []int64{1}
		})},
		{TypeCommit, commit(base|meta, func(p *pb.Commit) { p.Modes, p.Mtimes = []uint32{1}, []int64{1} })},
		{TypeCommit, commit(base|meta, func(p *pb.Commit) { p.Bases, p.Modes = []uint64{1}, []uint32{1} })},
		{TypeCommit, commit(base|meta, func(p *pb.Commit) { p.Bases = []uint64{1} })},
		{TypeCommit, commit(base|meta, func(p *pb.Commit) { p.Bases, p.Modes, p.Mtimes = []uint64{0}, []uint32{1}, []int64{1} })},
		{TypeCommit, commit(1|place, func(*pb.Commit) {})},
		{TypeCommit, commit(1|place, func(p *pb.Commit) { p.ParentIndex, p.NameSizes, p.Names = []uint32{0}, []uint32{1}, []byte("a") })},
		{TypeCommit, commit(1|place, func(p *pb.Commit) {
			p.Parents, p.ParentIndex, p.NameSizes, p.Names = make([]byte, 32), []uint32{1}, []uint32{1}, []byte("a")
		})},
		{TypeCommit, commit(1|place, func(p *pb.Commit) {
			p.Parents, p.ParentIndex, p.NameSizes, p.Names = id, []uint32{0}, []uint32{2}, []byte("a")
		})},
		{TypeCommit, commit(1|place, func(p *pb.Commit) {
			p.Parents, p.ParentIndex, p.NameSizes, p.Names = append(bytes16(1), id...), []uint32{0}, []uint32{1}, []byte("a")
		})},
		{TypeCommit, commit(1|place, func(p *pb.Commit) {
			p.Parents, p.ParentIndex, p.NameSizes, p.Names = id, []uint32{0}, []uint32{1}, []byte("ab")
		})},
		{TypeCommit, commit(base|content, func(p *pb.Commit) { p.Bases = []uint64{1} })},
		{TypeCommit, commit(base|content, func(p *pb.Commit) { p.Bases, p.Contents = []uint64{1}, []uint64{3} })},
		{TypeCommit, commit(base|content, func(p *pb.Commit) { p.Bases, p.Contents = []uint64{1}, []uint64{formTarget} })},
		{TypeCommit, commit(base|content, func(p *pb.Commit) { p.Bases, p.Contents = []uint64{1}, []uint64{formOffer} })},
		{TypeCommit, commit(base|content, func(p *pb.Commit) { p.Bases, p.Contents = []uint64{1}, []uint64{1 << 2} })},
		{TypeCommit, commit(base|content, func(p *pb.Commit) { p.Bases, p.Contents = []uint64{1}, []uint64{math.MaxUint64 &^ 3} })},
		{TypeCommit, commit(base|content, func(p *pb.Commit) {
			p.Bases, p.Contents, p.RootIndex, p.Roots = []uint64{1}, []uint64{2<<2 | formOffer}, []uint32{0}, make([]byte, 32)
		})},
		{TypeCommit, commit(base|content, func(p *pb.Commit) { p.Bases, p.Contents, p.Roots = []uint64{1}, []uint64{0}, make([]byte, 32) })},
		{TypeCommit, commit(meta, func(p *pb.Commit) {
			p.Modes, p.Mtimes, p.BaseOpIndex, p.BaseOps = []uint32{1}, []int64{1}, []uint32{1}, []uint64{1}
		})},
		{TypeCommit, commit(base|meta, func(p *pb.Commit) {
			p.Bases, p.Modes, p.Mtimes, p.XattrIndex = []uint64{1}, []uint32{1}, []int64{1}, []uint32{0}
		})},
	} {
		b, err := proto.Marshal(c.p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseFrame(c.t, b)
		if k := sendonce.KindOf(err); k != sendonce.KindInvalid && k != sendonce.KindLimit {
			t.Errorf("case %d, %v: %v", i, c.t, err)
		}
	}
	for typ := TypeFail; typ <= TypeAdminReply; typ++ {
		_, err := ParseFrame(typ, []byte{0xff})
		wantKind(t, err, sendonce.KindInvalid)
	}
	// the same commit body, whole, is accepted: the cases above fail for their own reason
	good := commit(base|meta, func(p *pb.Commit) { p.Bases, p.Modes, p.Mtimes = []uint64{1}, []uint32{1}, []int64{1} })
	b, _ := proto.Marshal(good)
	if _, err := ParseFrame(TypeCommit, b); err != nil {
		t.Error(err)
	}
}

func bytes16(n byte) []byte {
	id := id16[sendonce.NodeID](n)
	return id[:]
}
