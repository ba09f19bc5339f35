package state

import (
	"encoding/binary"
	"fmt"
	"strings"

	"sendonce"
)

// rowVersion is the first byte of every value. A row of another version is
// damage: the database's format number (open.go) tells versions apart before
// any row is read.
const rowVersion = 1

const (
	formEmpty  = 0
	formInline = 1
	formRefs   = 2
	formTree   = 3
)

const flagRacy, flagDeleted = 1, 1

// appendContent appends a content. The caller has checked it (checkContent).
func appendContent(b []byte, c sendonce.Content) []byte {
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
		return appendBytes(b, c.Inline)
	}
	return append(b, formEmpty)
}

func (r *rowReader) content() (c sendonce.Content) {
	switch r.byte() {
	case formEmpty:
	case formInline:
		c.Inline = []byte(r.str(sendonce.MaxInline))
		r.must(len(c.Inline) > 0)
	case formRefs:
		n := r.count(sendonce.MaxDirectRefs, 33)
		r.must(n > 0)
		c.Refs = make([]sendonce.Ref, n)
		for i := range c.Refs {
			copy(c.Refs[i].ID[:], r.take(32))
			c.Refs[i].Size = r.size()
		}
	case formTree:
		copy(c.Root[:], r.take(32))
		c.Level = r.byte()
		c.Count = r.uvarint()
		r.must(c.IsTree())
	default:
		r.must(false)
	}
	return c
}

// checkContent refuses what could not be read back: the checks mirror content.
func checkContent(c sendonce.Content) error {
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

// checkName accepts what a slot key can hold: any name of a node, and the empty
// one of a root.
func checkName(name string) error {
	if len(name) > sendonce.MaxName || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%q is not a name", name)
	}
	return nil
}

func checkKind(k sendonce.Kind) error {
	if k < sendonce.KindFile || k > sendonce.KindSymlink {
		return fmt.Errorf("%v", k)
	}
	return nil
}

// appendLocal appends the value of a Local row; parent and name are its key.
// ctime and birth are differences from mtime, which they mostly are close to.
func appendLocal(b []byte, l *Local) []byte {
	var flags byte
	if l.Racy {
		flags = flagRacy
	}
	b = append(b, rowVersion, flags, byte(l.Kind))
	b = append(b, l.Node[:]...)
	b = binary.AppendUvarint(b, l.Stat.Dev)
	b = binary.AppendUvarint(b, l.Stat.Ino)
	b = binary.AppendUvarint(b, uint64(l.Stat.Size))
	b = binary.BigEndian.AppendUint64(b, uint64(l.Stat.MTimeNS))
	b = binary.AppendVarint(b, l.Stat.CTimeNS-l.Stat.MTimeNS)
	b = binary.AppendVarint(b, l.Stat.BirthNS-l.Stat.MTimeNS)
	b = binary.AppendUvarint(b, uint64(l.Stat.Mode))
	b = appendContent(b, l.Content)
	return appendString(b, l.Target)
}

// parseLocal reads what appendLocal wrote; parent and name are left empty.
func parseLocal(b []byte) (l Local, ok bool) {
	r := rowReader{b: b}
	r.version()
	flags := r.byte()
	r.must(flags&^flagRacy == 0)
	l.Racy = flags&flagRacy != 0
	l.Kind = r.kind()
	copy(l.Node[:], r.take(16))
	l.Stat.Dev = r.uvarint()
	l.Stat.Ino = r.uvarint()
	l.Stat.Size = r.size()
	l.Stat.MTimeNS = int64(r.uint64())
	l.Stat.CTimeNS = r.varint() + l.Stat.MTimeNS
	l.Stat.BirthNS = r.varint() + l.Stat.MTimeNS
	l.Stat.Mode = r.uint32()
	l.Content = r.content()
	l.Target = r.str(sendonce.MaxTarget)
	return l, r.done()
}

func checkLocal(l *Local) error {
	if l.Node.IsZero() {
		return fmt.Errorf("a Local row without a node")
	}
	if l.Stat.Size < 0 || len(l.Target) > sendonce.MaxTarget {
		return fmt.Errorf("a size or target out of range")
	}
	return firstError(checkName(l.Name), checkKind(l.Kind), checkContent(l.Content))
}

// appendNode appends the value of a Synced or Remote row; the ID is its key.
func appendNode(b []byte, n *sendonce.Node) []byte {
	var flags byte
	if n.Deleted {
		flags = flagDeleted
	}
	b = append(b, rowVersion, flags, byte(n.Kind))
	b = append(b, n.Parent[:]...)
	b = appendString(b, n.Name)
	b = binary.AppendUvarint(b, n.Rev)
	if n.Deleted {
		return b
	}
	b = binary.AppendUvarint(b, uint64(n.Mode))
	b = binary.BigEndian.AppendUint64(b, uint64(n.MTimeNS))
	b = binary.AppendUvarint(b, uint64(n.Size))
	b = appendContent(b, n.Content)
	b = appendString(b, n.Target)
	b = binary.AppendUvarint(b, uint64(len(n.Xattrs)))
	for _, x := range n.Xattrs {
		b = appendString(b, x.Name)
		b = appendBytes(b, x.Value)
	}
	return b
}

// parseNode reads what appendNode wrote; the ID is left zero.
func parseNode(b []byte) (n sendonce.Node, ok bool) {
	r := rowReader{b: b}
	r.version()
	flags := r.byte()
	r.must(flags&^flagDeleted == 0)
	n.Deleted = flags&flagDeleted != 0
	n.Kind = r.kind()
	copy(n.Parent[:], r.take(16))
	n.Name = r.str(sendonce.MaxName)
	r.must(checkName(n.Name) == nil)
	n.Rev = r.uvarint()
	if n.Deleted {
		return n, r.done()
	}
	n.Mode = r.uint32()
	n.MTimeNS = int64(r.uint64())
	n.Size = r.size()
	n.Content = r.content()
	n.Target = r.str(sendonce.MaxTarget)
	count := r.count(sendonce.MaxXattrs, 2)
	for range count {
		x := sendonce.Xattr{Name: r.str(sendonce.MaxXattrs)}
		if v := r.str(sendonce.MaxXattrs); v != "" {
			x.Value = []byte(v)
		}
		n.Xattrs = append(n.Xattrs, x)
	}
	return n, r.done()
}

func checkNode(n *sendonce.Node) error {
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
	return firstError(checkName(n.Name), checkKind(n.Kind), checkContent(n.Content))
}

// sameNode reports whether two nodes are equal in every field that is stored.
func sameNode(a, b *sendonce.Node) bool {
	return string(appendNode(nil, a)) == string(appendNode(nil, b))
}

// partRefs bounds a manifest row: 4,096 references are about 140 KB.
const partRefs = 4096

func parts(count uint64) int { return int((count + partRefs - 1) / partRefs) }

// appendPart appends one row of a manifest: the length of the whole, then the
// IDs of this part back to back, then its sizes.
func appendPart(b []byte, total int, part []sendonce.Ref) []byte {
	b = append(b, rowVersion)
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

// parsePart appends the references of one manifest row to m.
func parsePart(m sendonce.Manifest, b []byte) (sendonce.Manifest, uint64, bool) {
	r := rowReader{b: b}
	r.version()
	total := r.uvarint()
	n := r.count(partRefs, 33)
	r.must(n > 0 && uint64(n) <= total)
	ids := r.take(32 * n)
	for i := range n {
		ref := sendonce.Ref{Size: r.size()}
		if r.bad {
			return m, 0, false
		}
		copy(ref.ID[:], ids[32*i:])
		m = append(m, ref)
	}
	return m, total, r.done()
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
