package row

import (
	"encoding/binary"
	"fmt"
	"strings"

	"sendonce"
)

// Version is the first byte of every value. A row of another version is
// damage: the database's format number tells versions apart before
// any row is read.
const Version = 1

const (
	formEmpty  = 0
	formInline = 1
	formRefs   = 2
	formTree   = 3
)

const flagDeleted = 1

// AppendContent appends a content. The caller has checked it (CheckContent).
func AppendContent(b []byte, c sendonce.Content) []byte {
	switch {
	case c.IsTree():
		b = append(b, formTree)
		b = append(b, c.Root[:]...)
		b = append(b, c.Level)
		return binary.AppendUvarint(b, c.Count)
	case len(c.Refs) > 0:
		b = append(b, formRefs)
		b = binary.AppendUvarint(b, uint64(len(c.Refs)))
		for _, r := range c.Refs {
			b = append(b, r.ID[:]...)
			b = binary.AppendUvarint(b, uint64(r.Size))
		}
		return b
	case len(c.Inline) > 0:
		b = append(b, formInline)
		return AppendBytes(b, c.Inline)
	}
	return append(b, formEmpty)
}

// Content reads what AppendContent wrote.
func (r *Reader) Content() (c sendonce.Content) {
	switch r.Byte() {
	case formEmpty:
	case formInline:
		c.Inline = []byte(r.Text(sendonce.MaxInline))
		r.Must(len(c.Inline) > 0)
	case formRefs:
		n := r.Count(sendonce.MaxDirectRefs, 33)
		r.Must(n > 0)
		c.Refs = make([]sendonce.Ref, n)
		for i := range c.Refs {
			copy(c.Refs[i].ID[:], r.Take(32))
			c.Refs[i].Size = r.Size()
		}
	case formTree:
		copy(c.Root[:], r.Take(32))
		c.Level = r.Byte()
		c.Count = r.Uvarint()
		r.Must(c.IsTree())
	default:
		r.Must(false)
	}
	return c
}

// CheckContent refuses what could not be read back: the checks mirror Content.
func CheckContent(c sendonce.Content) error {
	forms := 0
	for _, has := range []bool{len(c.Inline) > 0, len(c.Refs) > 0, c.IsTree()} {
		if has {
			forms++
		}
	}
	switch {
	case forms > 1, !c.IsTree() && (c.Level != 0 || c.Count != 0):
		return fmt.Errorf("the content has more than one form")
	case len(c.Inline) > sendonce.MaxInline:
		return fmt.Errorf("%d inline bytes", len(c.Inline))
	case len(c.Refs) > sendonce.MaxDirectRefs:
		return fmt.Errorf("%d direct references", len(c.Refs))
	}
	for _, r := range c.Refs {
		if r.Size < 0 {
			return fmt.Errorf("a reference of %d bytes", r.Size)
		}
	}
	return nil
}

// CheckName accepts what a slot key can hold: any name of a node, and the empty
// one of a root.
func CheckName(name string) error {
	if len(name) > sendonce.MaxName || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is not a name", name)
	}
	return nil
}

// CheckKind refuses kinds that are none.
func CheckKind(k sendonce.Kind) error {
	if k < sendonce.KindFile || k > sendonce.KindSymlink {
		return fmt.Errorf("%v", k)
	}
	return nil
}

// AppendNode appends the value of a Synced or Remote row; the ID is its key.
func AppendNode(b []byte, n *sendonce.Node) []byte {
	var flags byte
	if n.Deleted {
		flags = flagDeleted
	}
	b = append(b, Version, flags, byte(n.Kind))
	b = append(b, n.Parent[:]...)
	b = AppendString(b, n.Name)
	b = binary.AppendUvarint(b, n.Rev)
	if n.Deleted {
		return b
	}
	b = binary.AppendUvarint(b, uint64(n.Mode))
	b = binary.BigEndian.AppendUint64(b, uint64(n.MTimeNS))
	b = binary.AppendUvarint(b, uint64(n.Size))
	b = AppendContent(b, n.Content)
	b = AppendString(b, n.Target)
	b = binary.AppendUvarint(b, uint64(len(n.Xattrs)))
	for _, x := range n.Xattrs {
		b = AppendString(b, x.Name)
		b = AppendBytes(b, x.Value)
	}
	return b
}

// ParseNode reads what AppendNode wrote; the ID is left zero.
func ParseNode(b []byte) (n sendonce.Node, ok bool) {
	r := Reader{b: b}
	r.Version()
	flags := r.Byte()
	r.Must(flags&^flagDeleted == 0)
	n.Deleted = flags&flagDeleted != 0
	n.Kind = r.Kind()
	copy(n.Parent[:], r.Take(16))
	n.Name = r.Text(sendonce.MaxName)
	r.Must(CheckName(n.Name) == nil)
	n.Rev = r.Uvarint()
	if n.Deleted {
		return n, r.Done()
	}
	n.Mode = r.Uint32()
	n.MTimeNS = int64(r.Uint64())
	n.Size = r.Size()
	n.Content = r.Content()
	n.Target = r.Text(sendonce.MaxTarget)
	count := r.Count(sendonce.MaxXattrs, 2)
	for range count {
		x := sendonce.Xattr{Name: r.Text(sendonce.MaxXattrs)}
		if v := r.Text(sendonce.MaxXattrs); v != "" {
			x.Value = []byte(v)
		}
		n.Xattrs = append(n.Xattrs, x)
	}
	return n, r.Done()
}

// CheckNode refuses a node that could not be read back.
func CheckNode(n *sendonce.Node) error {
	if n.ID.IsZero() {
		return fmt.Errorf("a node without an ID")
	}
	if n.Size < 0 || len(n.Target) > sendonce.MaxTarget {
		return fmt.Errorf("a size or target out of range")
	}
	total := 0
	for _, x := range n.Xattrs {
		total += len(x.Name) + len(x.Value)
	}
	if total > sendonce.MaxXattrs || len(n.Xattrs) > sendonce.MaxXattrs {
		return fmt.Errorf("%d bytes of extended attributes", total)
	}
	return FirstError(CheckName(n.Name), CheckKind(n.Kind), CheckContent(n.Content))
}

// SameNode reports whether two nodes are equal in every field that is stored.
func SameNode(a, b *sendonce.Node) bool {
	return string(AppendNode(nil, a)) == string(AppendNode(nil, b))
}

// PartRefs bounds a manifest row: 4,096 references are about 140 KB.
const PartRefs = 4096

// Parts is the number of rows that a manifest of count references takes.
func Parts(count uint64) int { return int((count + PartRefs - 1) / PartRefs) }

// AppendPart appends one row of a manifest: the length of the whole, then the
// IDs of this part back to back, then its sizes.
func AppendPart(b []byte, total int, part []sendonce.Ref) []byte {
	b = append(b, Version)
	b = binary.AppendUvarint(b, uint64(total))
	b = binary.AppendUvarint(b, uint64(len(part)))
	for i := range part {
		b = append(b, part[i].ID[:]...)
	}
	for i := range part {
		b = binary.AppendUvarint(b, uint64(part[i].Size))
	}
	return b
}

// ParsePart appends the references of one manifest row to m.
func ParsePart(m sendonce.Manifest, b []byte) (sendonce.Manifest, uint64, bool) {
	r := Reader{b: b}
	r.Version()
	total := r.Uvarint()
	n := r.Count(PartRefs, 33)
	r.Must(n > 0 && uint64(n) <= total)
	ids := r.Take(32 * n)
	for i := range n {
		ref := sendonce.Ref{Size: r.Size()}
		if r.bad {
			return m, 0, false
		}
		copy(ref.ID[:], ids[32*i:])
		m = append(m, ref)
	}
	return m, total, r.Done()
}

// FirstError returns the first error that is not nil.
func FirstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// AppendCursor appends the value of the cursor row.
func AppendCursor(b []byte, c sendonce.Cursor) []byte {
	b = append(b, Version)
	b = binary.AppendUvarint(b, c.Seq)
	return append(b, c.Chain[:]...)
}

// ParseCursor reads what AppendCursor wrote.
func ParseCursor(b []byte) (c sendonce.Cursor, ok bool) {
	r := Reader{b: b}
	r.Version()
	c.Seq = r.Uvarint()
	copy(c.Chain[:], r.Take(len(c.Chain)))
	return c, r.Done()
}
