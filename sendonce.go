package sendonce

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strings"
)

// ID names a chunk: keyed BLAKE3 (32 bytes) of the plain bytes under the tenant
// key. A page of a manifest tree has an ID too, under its own domain. The
// all-zero ID stands for a run of zero bytes and is never the ID of a chunk.
type ID [32]byte

// IsZero reports whether id is the all-zero ID of a zero extent.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the ID in hexadecimal, for people and logs.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Ref is one entry of a manifest: a chunk and its size in bytes, or, with the
// zero ID, a run of Size zero bytes.
type Ref struct {
	ID   ID
	Size int64
}

// Manifest is the ordered list of references that makes a file's content.
type Manifest []Ref

// Size returns the length in bytes of the content that m describes.
func (m Manifest) Size() int64 {
	var n int64
	for _, r := range m {
		n += r.Size
	}
	return n
}

// Edit is one step of an edit script from one manifest to another: skip
// references of the base, keep the next ones, then insert new ones. After the
// last step the rest of the base is dropped.
type Edit struct {
	Skip, Keep, Insert uint64
}

// NodeID names a node of a folder for its whole life; 16 bytes made by the
// device that created the node (see Step). The root's is the folder's.
type NodeID [16]byte

// IsZero reports whether id names no node.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// String returns the ID in hexadecimal.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// Step returns the ID that is n away, as 128-bit big-endian numbers that wrap
// around. A device draws 16 random bytes once and numbers the nodes of a pass
// from there: they then travel as small differences and lie together in the index.
func (id NodeID) Step(n int64) NodeID {
	low, carry := bits.Add64(binary.BigEndian.Uint64(id[8:]), uint64(n), 0)
	high, _ := bits.Add64(binary.BigEndian.Uint64(id[:8]), uint64(n>>63), carry)
	binary.BigEndian.PutUint64(id[8:], low)
	binary.BigEndian.PutUint64(id[:8], high)
	return id
}

// FolderID names a folder.
type FolderID [16]byte

// Root returns the ID of the folder's root directory.
func (id FolderID) Root() NodeID { return NodeID(id) }

// IsZero reports whether id names no folder.
func (id FolderID) IsZero() bool { return id == FolderID{} }

// String returns the ID in hexadecimal.
func (id FolderID) String() string { return hex.EncodeToString(id[:]) }

// OpID names one commit attempt of a device for ever: replaying it returns the
// first result. 16 random bytes.
type OpID [16]byte

// PushID names one push session of a device; it ties Data streams, which may
// arrive on other connections, to their Push stream. 16 random bytes.
type PushID [16]byte

// TenantID names an owner of data. 1 is the tenant "default".
type TenantID uint32

// DefaultTenant is the tenant that every index has.
const DefaultTenant TenantID = 1

// DeviceID is a peer's identity: SHA-256 of the SubjectPublicKeyInfo (RFC 5280)
// of its Ed25519 key. Servers have one too; theirs is called a fingerprint.
type DeviceID [32]byte

// DeviceIDOf returns the identity that belongs to a DER-encoded SPKI.
func DeviceIDOf(spki []byte) DeviceID { return sha256.Sum256(spki) }

// IsZero reports whether id names no device.
func (id DeviceID) IsZero() bool { return id == DeviceID{} }

var deviceEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// String returns the identity as 52 characters of lower-case base32 (RFC 4648,
// no padding), the form that join links carry.
func (id DeviceID) String() string {
	return strings.ToLower(deviceEncoding.EncodeToString(id[:]))
}

// Short returns the first 8 characters, enough to tell one's own devices apart.
func (id DeviceID) Short() string { return id.String()[:8] }

// ParseDeviceID reads what String wrote; case is ignored.
func ParseDeviceID(s string) (DeviceID, error) {
	var id DeviceID
	b, err := deviceEncoding.DecodeString(strings.ToUpper(s))
	if err != nil || len(b) != len(id) {
		return id, &Error{Op: "parse fingerprint", Kind: KindInvalid, Detail: fmt.Sprintf("%q is not 52 characters of base32", s)}
	}
	copy(id[:], b)
	return id, nil
}

// Kind of a node. It never changes during a node's life.
type Kind uint8

// The kinds of node; the numbers are on disk and on the wire.
const (
	KindFile    Kind = 1
	KindDir     Kind = 2
	KindSymlink Kind = 3
)

// String returns "file", "dir" or "symlink".
func (k Kind) String() string {
	switch k {
	case KindFile:
		return "file"
	case KindDir:
		return "dir"
	case KindSymlink:
		return "symlink"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Content tells where a file's bytes are. Exactly one form is used, chosen by
// content.Describe as a pure function of the manifest and the bytes:
//   - empty: all fields zero;
//   - Inline: up to MaxInline bytes kept in the node itself;
//   - Refs: up to MaxDirectRefs references kept in the node;
//   - Root, Level, Count: a tree of pages; Count is the number of references.
type Content struct {
	Inline []byte
	Refs   []Ref
	Root   ID
	Level  uint8
	Count  uint64
}

// IsEmpty reports whether the content has no bytes.
func (c Content) IsEmpty() bool {
	return len(c.Inline) == 0 && len(c.Refs) == 0 && c.Root.IsZero()
}

// IsTree reports whether the content is a tree of pages.
func (c Content) IsTree() bool { return !c.Root.IsZero() }

// Equal reports whether two contents describe the same bytes. Because the form
// is a pure function of the bytes and the chunking params, equal bytes have
// equal contents.
func (c Content) Equal(d Content) bool {
	if string(c.Inline) != string(d.Inline) || c.Root != d.Root || c.Level != d.Level || c.Count != d.Count || len(c.Refs) != len(d.Refs) {
		return false
	}
	for i := range c.Refs {
		if c.Refs[i] != d.Refs[i] {
			return false
		}
	}
	return true
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Node is one file, directory or symlink of a folder at one revision.
type Node struct {
	ID      NodeID
	Parent  NodeID // zero for the root
	Name    string // any bytes but '/' and NUL; empty for the root
	Kind    Kind
	Rev     uint64 // journal sequence number at which it last changed
	Mode    uint32 // permission bits, at most 0o1777
	MTimeNS int64  // nanoseconds since 1970, as the device saw it
	Size    int64  // bytes of content; 0 unless a file
	Content Content
	Target  string // of a symlink
	Xattrs  []Xattr
	Deleted bool // a tombstone: only ID, Parent, Name, Kind and Rev matter
}

// Cursor is the last point of a folder's journal that a device has applied: a
// sequence number and the chain hash there. A chain that does not match the
// server's means a restored or forked server.
type Cursor struct {
	Seq   uint64
	Chain [32]byte
}

// Role is what a device may do with a folder. The numbers are on disk and on
// the wire.
type Role uint8

// The roles.
const (
	RoleNone      Role = 0
	RolePushOnly  Role = 1 // adds and revises nodes of its own; reads nothing
	RoleReadOnly  Role = 2
	RoleReadWrite Role = 3
	RoleAdmin     Role = 4 // read-write, and manages devices and invites
)

// CanRead reports whether the role may read every node of the folder.
func (r Role) CanRead() bool { return r >= RoleReadOnly }

// CanPush reports whether the role may commit changes.
func (r Role) CanPush() bool { return r == RolePushOnly || r >= RoleReadWrite }

// CanManage reports whether the role may manage devices and invites.
func (r Role) CanManage() bool { return r == RoleAdmin }

var roleNames = [...]string{"none", "push-only", "read-only", "read-write", "admin"}

// String returns the name that the command line uses.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ParseRole reads a role as the command line spells it.
func ParseRole(s string) (Role, error) {
	for i, n := range roleNames {
		if n == s && i > 0 {
			return Role(i), nil
		}
	}
	return RoleNone, &Error{Op: "parse role", Kind: KindUsage, Detail: fmt.Sprintf("unknown role %q", s),
		Hint: "use one of read-write, read-only, push-only, admin"}
}

// NameRule says which names a folder may hold.
type NameRule uint8

// The name rules; the numbers are on disk and on the wire.
const (
	NamesExact    NameRule = 0 // any bytes but '/' and NUL; slots by bytes
	NamesPortable NameRule = 1 // NFC, case-folded slots, no name that some platform forbids
)

// Params say where content is cut; they belong to a tenant and are chosen once.
// All sizes are bytes.
type Params struct {
	Algorithm uint8 // 1 = restic/chunker (Rabin, polynomial 0x3DA3358B4DC173)
	Min       uint32
	Avg       uint32 // a power of two
	Max       uint32
}

// DefaultParams are the params of a new tenant.
var DefaultParams = Params{Algorithm: 1, Min: 16 << 10, Avg: 64 << 10, Max: 256 << 10}

// Location is where a store keeps a pack: chosen by the store, returned when
// the pack is durable, opaque to everyone else. The zero Location is none.
type Location struct {
	Segment uint64
	Offset  uint32
	Length  uint32 // bytes of the stored record
}

// IsZero reports whether l is no location.
func (l Location) IsZero() bool { return l == Location{} }
