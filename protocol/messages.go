package protocol

import (
	"time"

	"sendonce"
)

// Message is one frame's content. The concrete types are the structs of this
// file; sendonce.proto is the definition of their bytes. A message that Recv
// returned has been checked against the limits and owns its memory.
type Message interface{ frameType() FrameType }

// Hello opens the Control stream of every connection; sent again on it, it asks
// for a new Welcome.
type Hello struct {
	Version    uint32
	Features   uint64
	DeviceName string
	// Token is the join token of a device that is not enrolled yet; the server's
	// identity was pinned before it is sent. Empty otherwise.
	Token []byte
	// Bulk says that this connection carries only Data streams of a push that
	// another connection opened; Welcome is then short (no key, no folders).
	Bulk bool
}

// Welcome answers Hello.
type Welcome struct {
	Version   uint32
	Features  uint64
	Server    string // version text, for people
	TenantKey [32]byte
	Params    sendonce.Params
	Time      time.Time // the server's clock, for display only
	Folders   []FolderInfo
}

// FolderInfo is a folder as one device may see it.
type FolderInfo struct {
	ID    sendonce.FolderID
	Name  string
	Names sendonce.NameRule
	Role  sendonce.Role
	Head  sendonce.Cursor
}

// Fail ends a stream or answers one request with an error.
type Fail struct {
	Op     uint64 // the request it answers; 0: the whole stream
	Kind   sendonce.ErrKind
	Detail string
	Hint   string
}

// --- Push stream ---

// PushOpen opens a Push stream: one per folder. Opening again with the same
// Push after a reconnect continues the session.
type PushOpen struct {
	Folder sendonce.FolderID
	Push   sendonce.PushID
}

// PushReady answers PushOpen.
type PushReady struct {
	Epoch uint64
	Head  sendonce.Cursor
}

// Offer carries a run of one file's manifest as an edit script against the
// revision it replaces. Op numbers the offered file within the push, rising
// from 1; frames with the same Op follow one another and continue the script.
type Offer struct {
	Op   uint64
	Node sendonce.NodeID // first frame: whose manifest Base names; zero for a new file
	Base uint64          // revision that the edits apply to; 0: everything is inserted
	// Edits apply in order; Insert counts consume Refs in order.
	Edits []sendonce.Edit
	Refs  []sendonce.Ref // at most MaxOfferRefs; zero extents take part, with the zero ID
	Last  bool           // the manifest is complete
}

// Missing answers one Offer frame (in order) with a bit for each of its Refs,
// or one Commit with the IDs that are gone.
type Missing struct {
	Op   uint64
	Bits []byte        // bit i (least significant first) set: Refs[i] is missing, send it
	IDs  []sendonce.ID // for a Commit
}

// IsMissing reports bit i.
func (m *Missing) IsMissing(i int) bool {
	return i/8 < len(m.Bits) && m.Bits[i/8]&(1<<(i%8)) != 0
}

// StoredAck tells that packs are durable: pack Op, and every pack numbered at most
// Through. An acknowledged chunk is never sent again.
type StoredAck struct {
	Op, Through uint64
}

// Commit asks for an atomic set of changes; Op numbers commits within the push.
type Commit struct {
	Op       uint64
	ID       sendonce.OpID
	Snapshot bool // ends a pass
	Changes  []Change
}

// Change is a patch of one node on the revision it replaces.
type Change struct {
	Node   sendonce.NodeID
	Base   uint64 // revision replaced; 0 with BaseOp 0 creates the node
	BaseOp uint64 // instead of Base: the commit of this push that made the revision
	Delete bool

	SetPlace bool
	Parent   sendonce.NodeID
	Name     string
	Kind     sendonce.Kind // of a created node

	SetMeta bool
	Mode    uint32
	MTimeNS int64
	Xattrs  []sendonce.Xattr

	SetContent bool   // of a file: Inline or Offer; neither: empty. Of a symlink: Target.
	Inline     []byte // at most MaxInline bytes
	Offer      uint64 // the Op of the offer that holds the manifest
	Target     string
	// Root is the ID that the client computed for the offered content: the root
	// page of a tree, or the keyed hash of direct references; the proxy must get
	// the same. Zero: not checked (inline and empty contents, single references).
	Root sendonce.ID
}

// Committed tells that a commit is durable.
type Committed struct {
	Op      uint64
	Receipt Receipt
}

// Conflict tells that a commit was not applied.
type Conflict struct {
	Op    uint64
	Nodes []ConflictNode
}

// ConflictNode tells what stood in the way of one change.
type ConflictNode struct {
	Node    sendonce.NodeID
	Reason  uint8 // indexdb.ConflictReason: 1 revision, 2 slot, 3 parent, 4 not empty, 5 cycle, 6 forbidden, 7 name
	Current *sendonce.Node
}

// --- Data streams ---

// PackHeader opens a Data stream, or precedes a pack on a Read stream; Length
// raw bytes follow it.
type PackHeader struct {
	Push     sendonce.PushID // Data streams only
	Op       uint64          // Data: number of the pack, rising from 1. Read: the request.
	Sizes    []uint32        // plain size of each chunk, in order
	Encoding uint8           // content.Encoding*
	Length   uint32          // bytes that follow
}

// --- Changes stream ---

// Changes opens a Changes stream.
type Changes struct {
	Folder sendonce.FolderID
	Cursor sendonce.Cursor
}

// ChangeSet delivers what happened after the cursor. Revisions that newer ones
// replaced may be skipped. A set may span several frames; Through is advanced
// only by the one that completes it.
type ChangeSet struct {
	Through sendonce.Cursor
	// Restart: the cursor is not in the server's journal (seq 0, or a restored
	// server); what follows is a listing of the head.
	Restart bool
	// Forked: with Restart, the device's history is not a prefix of the server's.
	Forked   bool
	Nodes    []sendonce.Node
	Complete bool // Through is valid: everything up to it has been delivered
}

// --- Read stream: requests are pipelined and answered in order ---

// List asks for the children of a directory as they were at seq At (0: head).
type List struct {
	Op     uint64
	Folder sendonce.FolderID
	Node   sendonce.NodeID // zero: the root
	At     uint64
	// Recursive lists the whole subtree, parents before children.
	Recursive bool
	// Path, if not empty, is resolved from Node first ("a/b/c"); the answer's
	// first node is then the node it names.
	Path string
}

// NodeList answers List in one or more frames.
type NodeList struct {
	Op    uint64
	Nodes []sendonce.Node
	Done  bool
}

// Read asks for the manifest of a node's revision.
type Read struct {
	Op     uint64
	Folder sendonce.FolderID
	Node   sendonce.NodeID
	Rev    uint64
}

// ManifestPart answers Read in one or more frames.
type ManifestPart struct {
	Op   uint64
	Refs []sendonce.Ref
	Done bool
}

// Fetch asks for the chunks of ranges of manifests, in order, each once. The
// answer is packs (PackHeader and bytes), then Done. A whole stored pack may
// come with chunks that were not asked for; the reader knows chunks by hashing.
type Fetch struct {
	Op     uint64
	Folder sendonce.FolderID
	Items  []FetchItem
}

// FetchItem is a range of references of one node's revision.
type FetchItem struct {
	Node         sendonce.NodeID
	Rev          uint64
	First, Count uint64 // references; Count 0: to the end
}

// Done ends the answer to Op.
type Done struct {
	Op uint64
}

// Log asks for journal entries, newest first.
type Log struct {
	Op        uint64
	Folder    sendonce.FolderID
	Node      sendonce.NodeID // only entries that change it; zero: all
	Before    uint64          // only entries with seq < Before; 0: from the head
	Limit     uint64
	Snapshots bool // only those that end a pass
	WithNodes bool // with the nodes as they were then
}

// LogEntries answers Log in one or more frames.
type LogEntries struct {
	Op      uint64
	Entries []LogEntry
	Done    bool
}

// LogEntry is a journal entry for people.
type LogEntry struct {
	Seq        uint64
	Chain      [32]byte
	Device     sendonce.DeviceID
	DeviceName string
	Time       time.Time
	Snapshot   bool
	Changes    uint64          // how many nodes
	Nodes      []sendonce.Node // with WithNodes
}

// --- Admin stream: one request, one answer ---

// Admin is a request; Method names it and Body is JSON, the same that the
// proxy's own socket speaks (docs/protocol.md lists the methods).
type Admin struct {
	Method string
	Body   []byte
}

// AdminReply answers Admin.
type AdminReply struct {
	Body []byte
}

// FrameType is the byte that precedes a frame's protobuf. Numbers are kept for
// ever and never reused.
type FrameType uint8

// The frame types.
const (
	TypeFail         FrameType = 1
	TypeHello        FrameType = 2
	TypeWelcome      FrameType = 3
	TypePushOpen     FrameType = 4
	TypePushReady    FrameType = 5
	TypeOffer        FrameType = 6
	TypeMissing      FrameType = 7
	TypeStored       FrameType = 8
	TypeCommit       FrameType = 9
	TypeCommitted    FrameType = 10
	TypeConflict     FrameType = 11
	TypePackHeader   FrameType = 12
	TypeChanges      FrameType = 13
	TypeChangeSet    FrameType = 14
	TypeList         FrameType = 15
	TypeNodeList     FrameType = 16
	TypeRead         FrameType = 17
	TypeManifestPart FrameType = 18
	TypeFetch        FrameType = 19
	TypeDone         FrameType = 20
	TypeLog          FrameType = 21
	TypeLogEntries   FrameType = 22
	TypeAdmin        FrameType = 23
	TypeAdminReply   FrameType = 24
)

func (*Fail) frameType() FrameType         { return TypeFail }
func (*Hello) frameType() FrameType        { return TypeHello }
func (*Welcome) frameType() FrameType      { return TypeWelcome }
func (*PushOpen) frameType() FrameType     { return TypePushOpen }
func (*PushReady) frameType() FrameType    { return TypePushReady }
func (*Offer) frameType() FrameType        { return TypeOffer }
func (*Missing) frameType() FrameType      { return TypeMissing }
func (*StoredAck) frameType() FrameType    { return TypeStored }
func (*Commit) frameType() FrameType       { return TypeCommit }
func (*Committed) frameType() FrameType    { return TypeCommitted }
func (*Conflict) frameType() FrameType     { return TypeConflict }
func (*PackHeader) frameType() FrameType   { return TypePackHeader }
func (*Changes) frameType() FrameType      { return TypeChanges }
func (*ChangeSet) frameType() FrameType    { return TypeChangeSet }
func (*List) frameType() FrameType         { return TypeList }
func (*NodeList) frameType() FrameType     { return TypeNodeList }
func (*Read) frameType() FrameType         { return TypeRead }
func (*ManifestPart) frameType() FrameType { return TypeManifestPart }
func (*Fetch) frameType() FrameType        { return TypeFetch }
func (*Done) frameType() FrameType         { return TypeDone }
func (*Log) frameType() FrameType          { return TypeLog }
func (*LogEntries) frameType() FrameType   { return TypeLogEntries }
func (*Admin) frameType() FrameType        { return TypeAdmin }
func (*AdminReply) frameType() FrameType   { return TypeAdminReply }
