// Package indexdb is the contract of the index server's role and the rules that
// every index obeys: which chunks exist and where, who may call them present,
// the journal of every folder, tenants, devices, roles and invites.
//
// The rules are written once, over an Engine; pebbleidx is an engine.
// Start with this file (the contract), then commit.go (compare and swap), then
// keys.go (the key layout; docs/formats/index.md shows it as tables). Of commit.go,
// commit_state.go builds the state after a commit and commit_judge.go judges it.
//
// Invariants: I7 (replaying an operation equals once), I8 (sequence numbers rise
// without gaps, entries never change), I9 (one live parent, no cycles, one node
// per slot). What it does not promise: that a chunk it calls present is still
// there later; Commit re-checks in its own transaction.
package indexdb

import (
	"context"
	"time"

	"sendonce"
)

// Index is the whole contract. All methods may be called concurrently and are
// durable when they return.
type Index interface {
	Chunks
	Journal
	Tree
	Accounts
	Close() error
}

// Asker is who asks about chunks: an enrolled device and the folder that it
// pushes to. What it may call present follows from its roles (DESIGN 6).
type Asker struct {
	Tenant sendonce.TenantID
	Device sendonce.DeviceID
	Folder sendonce.FolderID
}

// Stored tells where a chunk (or page) is after its pack became durable.
type Stored struct {
	ID       sendonce.ID
	Location sendonce.Location
	Index    uint32 // which chunk of the pack
	Size     uint32 // plain bytes
}

// Chunks answers what exists.
type Chunks interface {
	// Present reports for each ID whether the asker may call it present: there
	// is a location, not flagged damaged, and either a reference in a scope
	// that the asker may read or owns, or its own upload receipt.
	Present(ctx context.Context, who Asker, ids []sendonce.ID) ([]bool, error)
	// Locate returns where each ID is, whoever asks; a zero Location where it
	// is not, or is flagged damaged. It is for the proxy's own use, after it
	// has checked that the reader's folder references the chunk.
	Locate(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) ([]Stored, error)
	// AddStored records locations and, for a non-zero device, upload receipts,
	// in one durable batch. Idempotent. A location that exists already is kept,
	// unless it is flagged damaged: then the new one heals it.
	AddStored(ctx context.Context, tenant sendonce.TenantID, device sendonce.DeviceID, chunks []Stored) error
	// Referenced reports for each ID whether the folder's own scope holds a
	// reference to it (any device's). A pack goes to a reader whole only if
	// all its chunks are.
	Referenced(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.ID) ([]bool, error)
	// BeginPush records the lease row of a push session, which pins the epoch
	// at which it began, and returns that epoch. Beginning again is harmless.
	BeginPush(ctx context.Context, who Asker, push sendonce.PushID) (epoch uint64, err error)
	// EndPush removes the lease row.
	EndPush(ctx context.Context, who Asker, push sendonce.PushID) error
}

// Change is one node's change inside a commit: a patch on the revision that it
// replaces. Fields under a false Set flag keep the base's value.
type Change struct {
	Node   sendonce.NodeID
	Base   uint64 // revision replaced; 0 creates the node
	Delete bool   // make a tombstone; nothing else is read

	SetPlace bool // Parent, Name
	Parent   sendonce.NodeID
	Name     string

	Kind sendonce.Kind // of a created node

	SetMeta bool // Mode, MTimeNS, Xattrs
	Mode    uint32
	MTimeNS int64
	Xattrs  []sendonce.Xattr

	SetContent bool // Size, Content, Target
	Size       int64
	Content    sendonce.Content
	Target     string
	// Refs are the chunk IDs in Content that the base's content does not hold
	// (all of them for a new file); each must be allowed and there. Pages are
	// the IDs of pages that the proxy built and stored for it; each must be
	// there. The kept ones are vouched for by the base revision being current.
	Refs  []sendonce.ID
	Pages []sendonce.ID
}

// Commit is one atomic set of changes.
type Commit struct {
	Who      Asker
	Op       sendonce.OpID
	Time     time.Time // the proxy's clock; stored, decides nothing
	Snapshot bool      // this commit ends a pass
	Changes  []Change
	// Stored are locations (pages, or a small push's chunks, with receipts not
	// needed) to record in the same batch. They count as there, and as allowed.
	Stored []Stored
}

// Result is the outcome of a commit.
type Result struct {
	Cursor sendonce.Cursor // where the journal stands after it
	Time   time.Time       // as stored; a replay returns the first one's
	Replay bool            // it had been applied before
}

// ConflictError is returned (as a *ConflictError in the chain, kind
// KindConflict) when a compare-and-swap fails: nothing was applied.
type ConflictError struct {
	Nodes []ConflictNode
}

// ConflictNode tells what stood in the way of one change.
type ConflictNode struct {
	Node   sendonce.NodeID // of the change that failed
	Reason ConflictReason
	// Current is what the index holds: the node itself, or the node that has
	// the slot. nil if there is none. For a push-only device only ID and Kind
	// are set.
	Current *sendonce.Node
}

// ConflictReason numbers cross the wire.
type ConflictReason uint8

// The reasons why a change can fail.
const (
	ConflictRevision  ConflictReason = 1 // the base is not the current revision
	ConflictSlot      ConflictReason = 2 // another live node has (parent, name)
	ConflictParent    ConflictReason = 3 // the parent is missing, deleted or not a directory
	ConflictNotEmpty  ConflictReason = 4 // a deleted directory still has children
	ConflictCycle     ConflictReason = 5 // a directory would be inside itself
	ConflictForbidden ConflictReason = 6 // the role does not allow this change
	ConflictName      ConflictReason = 7 // the folder's name rule refuses the name
)

// MissingError is returned (kind KindMissing) when a commit names chunks that
// are not there or not allowed: nothing was applied.
type MissingError struct {
	IDs []sendonce.ID
}

// Entry is one journal entry.
type Entry struct {
	Seq      uint64
	Op       sendonce.OpID
	Device   sendonce.DeviceID
	Time     time.Time
	Snapshot bool
	Nodes    []sendonce.NodeID // each node's revision is Seq
	Digest   [32]byte          // SHA-256 over the node records of this entry
	Chain    [32]byte          // SHA-256 over the previous chain and this entry
}

// Journal is the folder's commits in order.
type Journal interface {
	// Commit applies a commit (DESIGN 3, "compare and swap") and returns when it
	// is durable. Errors: *ConflictError, *MissingError, KindFull (quota),
	// KindUnauthorized, KindTooOld (an op ID no longer kept), KindInvalid.
	Commit(ctx context.Context, c *Commit) (Result, error)
	// Head returns the folder's cursor; seq 0 with a zero chain before the
	// first commit.
	Head(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID) (sendonce.Cursor, error)
	// Entries calls fn for the entries with after < seq, ascending, at most
	// limit of them (0: no limit).
	Entries(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, after uint64, limit int, fn func(Entry) error) error
	// CheckCursor reports whether the folder's journal holds this cursor, that
	// is, whether the device's history is a prefix of the server's.
	CheckCursor(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, c sendonce.Cursor) (bool, error)
}

// Tree reads nodes. at is a sequence number; 0 means the head.
type Tree interface {
	// Nodes returns the named nodes as they were at seq `at`; nil where a node
	// did not exist yet. Tombstones are returned.
	Nodes(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, at uint64, ids []sendonce.NodeID) ([]*sendonce.Node, error)
	// Children calls fn for the live children of a directory at seq `at`, in
	// byte order of their names, starting after the name `after` ("": from the
	// first), until fn returns false.
	Children(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, at uint64, parent sendonce.NodeID, after string, fn func(*sendonce.Node) (bool, error)) error
	// Revisions calls fn for the revisions of one node, newest first, until fn
	// returns false.
	Revisions(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, id sendonce.NodeID, fn func(*sendonce.Node) (bool, error)) error
	// Creators returns the device that created each node; zero for the root and
	// for a node that does not exist. A push-only device sees only its own.
	Creators(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.NodeID) ([]sendonce.DeviceID, error)
}

// Tenant is an owner of data.
type Tenant struct {
	ID     sendonce.TenantID
	Name   string
	Key    [32]byte // chunk IDs are keyed by it
	Params sendonce.Params
}

// Folder is a tree kept in step.
type Folder struct {
	ID      sendonce.FolderID
	Tenant  sendonce.TenantID
	Name    string
	Names   sendonce.NameRule
	Created time.Time
	Quota   int64 // logical bytes; 0: none
	Bytes   int64 // logical bytes now
	Files   int64 // live nodes now, without the root
	Head    sendonce.Cursor
}

// Device is an enrolled client.
type Device struct {
	ID      sendonce.DeviceID
	Tenant  sendonce.TenantID
	Name    string
	Added   time.Time
	Revoked bool
	Wide    sendonce.Role                       // role in every folder of the tenant, or RoleNone
	Grants  map[sendonce.FolderID]sendonce.Role // roles in single folders
}

// Role returns what the device may do with a folder: the higher of its
// tenant-wide role and its grant, RoleNone when revoked.
func (d *Device) Role(f sendonce.FolderID) sendonce.Role {
	if d.Revoked {
		return sendonce.RoleNone
	}
	return max(d.Wide, d.Grants[f])
}

// Invite lets one device enrol. Token is 16 random bytes that only the link
// holds; the index keeps SHA-256 of it.
type Invite struct {
	Token   [32]byte // SHA-256 of the link's token
	Tenant  sendonce.TenantID
	Role    sendonce.Role
	Folder  string // a folder's name, or "" for a tenant-wide role
	Expires time.Time
}

// Accounts keeps tenants, folders, devices and invites.
type Accounts interface {
	// Tenant returns a tenant with its key and params, or KindNotFound.
	Tenant(ctx context.Context, id sendonce.TenantID) (Tenant, error)
	// Device returns an enrolled device, or KindNotFound.
	Device(ctx context.Context, id sendonce.DeviceID) (*Device, error)
	// Devices lists the devices of a tenant, by name.
	Devices(ctx context.Context, tenant sendonce.TenantID) ([]*Device, error)
	// Folders lists the folders of a tenant, by name.
	Folders(ctx context.Context, tenant sendonce.TenantID) ([]*Folder, error)
	// CreateFolder makes a folder with an empty root (journal seq 0), or
	// returns the one that has the name. id is used only if it is made.
	CreateFolder(ctx context.Context, f Folder) (*Folder, error)
	// SetQuota sets the logical bytes that a folder may hold; 0: no limit. It
	// counts from the next commit on: a folder that holds more keeps it, and
	// takes no commit that makes it grow. KindNotFound for a folder that is not
	// there, KindInvalid for a negative number.
	SetQuota(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, bytes int64) error
	// AddInvite stores an invite.
	AddInvite(ctx context.Context, inv Invite) error
	// Redeem uses an invite up: a compare-and-swap. It enrols the device (or
	// adds the role to one that is enrolled), creating the invite's folder, if
	// it names one, with newFolder as its ID where it does not exist. The same
	// device redeeming the same token again gets the same answer; anyone else,
	// an expired or an unknown token: KindUnauthorized, one text for all.
	Redeem(ctx context.Context, token [32]byte, id sendonce.DeviceID, name string, now time.Time, newFolder sendonce.FolderID) (*Device, error)
	// Revoke marks a device revoked; KindNotFound if it is not enrolled.
	Revoke(ctx context.Context, id sendonce.DeviceID) error
}

// Maintainer is the optional ability that the collector, scrubbing and
// rebuilding need.
type Maintainer interface {
	// AdvanceEpoch begins a new epoch of a tenant and returns it, with the
	// oldest epoch that a lease pins (the new one if there is no lease). A
	// collector advances first, then marks from heads read after that.
	AdvanceEpoch(ctx context.Context, tenant sendonce.TenantID) (epoch, oldest uint64, err error)
	// DropReferences removes reference rows of a folder's scopes for IDs (a
	// collector has found them unmarked) that were last written before the
	// current epoch: what a commit referenced while the collector was marking
	// stays (I6). Without AdvanceEpoch it removes nothing that is new.
	DropReferences(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID, ids []sendonce.ID) error
	// ExpireReceipts removes upload receipts recorded before a time, except
	// those of devices with a push session under way, and returns how many.
	ExpireReceipts(ctx context.Context, tenant sendonce.TenantID, before time.Time) (int, error)
	// ExpireLeases removes the lease rows of push sessions last begun before a
	// time, those of clients that never came back, and returns how many.
	ExpireLeases(ctx context.Context, tenant sendonce.TenantID, before time.Time) (int, error)
	// Sweep deletes the locations of those IDs for which its transaction finds
	// no reference and no receipt, and returns the IDs it removed.
	Sweep(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) ([]sendonce.ID, error)
	// FlagDamaged marks chunks whose stored bytes do not hash to their ID (I14):
	// they are answered missing until AddStored heals them.
	FlagDamaged(ctx context.Context, tenant sendonce.TenantID, ids []sendonce.ID) error
	// Check verifies the rules over a whole folder: chain, digests, slots, one
	// live parent, no cycles, counts, and that every reference of a retained
	// revision has a location. It returns one text for each violation.
	Check(ctx context.Context, tenant sendonce.TenantID, folder sendonce.FolderID) ([]string, error)
}
