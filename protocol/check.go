package protocol

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"sendonce"
)

// Limits of single messages that sendonce's limits do not name. Sizes are bytes.
const (
	MaxText       = 4096           // Fail's detail and hint, a version text, an admin method
	MaxDeviceName = 255            // a device's and a folder's name
	MaxToken      = 64             // a join token
	MaxAdminBody  = 512 << 10      // an admin request or answer
	MaxPackChunks = 16384          // chunks in one pack
	MaxFrameItems = 16384          // nested records (nodes, attributes, folders, entries) in one frame
	MaxFetchItems = 4096           // ranges in one Fetch
	MaxEdits      = 8192           // edits in one Offer frame; with MaxOfferRefs references they always fit
	MaxOp         = 1<<60 - 1      // any request, offer, commit or pack number
	maxRun        = int64(1) << 60 // bytes in a zero extent, and in one frame's references
	maxLevel      = 16             // levels of a page tree; 64^16 references are more than any file has
)

func invalid(format string, args ...any) error {
	return &sendonce.Error{Kind: sendonce.KindInvalid, Detail: fmt.Sprintf(format, args...)}
}

func overLimit(what string, n, limit int) error {
	return &sendonce.Error{Kind: sendonce.KindLimit, Detail: fmt.Sprintf("%s: %d, the limit is %d", what, n, limit)}
}

func checkCount(what string, n, limit int) error {
	if n > limit {
		return overLimit(what, n, limit)
	}
	return nil
}

func checkOp(op uint64) error {
	if op > MaxOp {
		return invalid("request number %d is too large", op)
	}
	return nil
}

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return overLimit(what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return invalid("%s is not UTF-8", what)
	}
	return nil
}

func checkFolder(id sendonce.FolderID) error {
	if id.IsZero() {
		return invalid("no folder")
	}
	return nil
}

func checkRefs(refs []sendonce.Ref) error {
	var sum int64
	for i, r := range refs {
		if r.Size <= 0 {
			return invalid("reference %d has size %d", i, r.Size)
		}
		if !r.ID.IsZero() && r.Size > sendonce.MaxChunk || r.Size > maxRun-sum {
			return invalid("reference %d is too large: %d bytes", i, r.Size)
		}
		sum += r.Size
	}
	return nil
}

func checkXattrs(xs []sendonce.Xattr) error {
	sum := 0
	for _, x := range xs {
		if x.Name == "" || len(x.Name) > 255 || strings.IndexByte(x.Name, 0) >= 0 {
			return invalid("an extended attribute has no valid name")
		}
		sum += len(x.Name) + len(x.Value)
	}
	return checkCount("extended attributes", sum, sendonce.MaxXattrs)
}

func checkTarget(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return invalid("a symlink's target holds NUL")
	}
	return checkCount("symlink target", len(s), sendonce.MaxTarget)
}

func checkMode(mode uint32) error {
	if mode > sendonce.MaxMode {
		return invalid("mode %#o holds bits that do not travel", mode)
	}
	return nil
}

func checkNodes(nodes []sendonce.Node) error {
	if err := checkCount("nodes", len(nodes), MaxFrameItems); err != nil {
		return err
	}
	for i := range nodes {
		if err := checkNode(&nodes[i]); err != nil {
			return err
		}
	}
	return nil
}

// checkNode accepts what an index may hold, and the form in which a push-only
// device learns of a node (ID and kind alone).
func checkNode(n *sendonce.Node) error {
	if n.ID.IsZero() {
		return invalid("a node has no ID")
	}
	if n.Kind < sendonce.KindFile || n.Kind > sendonce.KindSymlink {
		return invalid("node %s: %v", n.ID, n.Kind)
	}
	if n.Name != "" || !n.Parent.IsZero() {
		if err := sendonce.CheckName(n.Name); err != nil {
			return err
		}
	}
	if n.Deleted {
		return nil // the rest does not travel
	}
	if err := checkMode(n.Mode); err != nil {
		return err
	}
	if err := checkXattrs(n.Xattrs); err != nil {
		return err
	}
	if n.Kind != sendonce.KindSymlink && n.Target != "" || n.Kind != sendonce.KindFile && (n.Size != 0 || !n.Content.IsEmpty()) {
		return invalid("node %s: a %v cannot hold that", n.ID, n.Kind)
	}
	if err := checkTarget(n.Target); err != nil {
		return err
	}
	if err := checkContent(&n.Content, n.Size); err != nil {
		return invalid("node %s: %v", n.ID, err)
	}
	return nil
}

// checkContent accepts exactly one form, and the size that goes with it.
func checkContent(c *sendonce.Content, size int64) error {
	forms := 0
	want := int64(0)
	if len(c.Inline) > 0 {
		forms++
		want = int64(len(c.Inline))
	}
	if len(c.Refs) > 0 {
		forms++
		if err := checkRefs(c.Refs); err != nil {
			return err
		}
		want = sendonce.Manifest(c.Refs).Size()
	}
	if c.IsTree() {
		forms++
		if c.Level > maxLevel || c.Count == 0 || size <= 0 {
			return invalid("a tree of %d levels and %d references for %d bytes", c.Level, c.Count, size)
		}
		want = size
	} else if c.Level != 0 || c.Count != 0 {
		return invalid("a tree without a root")
	}
	switch {
	case forms > 1:
		return invalid("content in more than one form")
	case len(c.Inline) > sendonce.MaxInline:
		return overLimit("inline bytes", len(c.Inline), sendonce.MaxInline)
	case len(c.Refs) > sendonce.MaxDirectRefs:
		return overLimit("direct references", len(c.Refs), sendonce.MaxDirectRefs)
	case size != want:
		return invalid("content of %d bytes and size %d", want, size)
	}
	return nil
}

func (m *Fail) check() error {
	if m.Kind == 0 {
		return invalid("no error kind") // an unknown one is passed on: newer peers have more
	}
	if err := checkOp(m.Op); err != nil {
		return err
	}
	if err := checkText("detail", m.Detail, MaxText); err != nil {
		return err
	}
	return checkText("hint", m.Hint, MaxText)
}

func (m *Hello) check() error {
	if m.Version == 0 {
		return invalid("no version")
	}
	if err := checkCount("token", len(m.Token), MaxToken); err != nil {
		return err
	}
	return checkText("device name", m.DeviceName, MaxDeviceName)
}

func (m *Welcome) check() error {
	if m.Version == 0 {
		return invalid("no version")
	}
	if err := checkCount("folders", len(m.Folders), MaxFrameItems); err != nil {
		return err
	}
	for i := range m.Folders {
		f := &m.Folders[i]
		if err := checkFolder(f.ID); err != nil {
			return err
		}
		if f.Names > sendonce.NamesPortable || f.Role > sendonce.RoleAdmin {
			return invalid("folder %s: name rule %d, role %d", f.ID, f.Names, f.Role)
		}
		if err := checkText("folder name", f.Name, MaxDeviceName); err != nil {
			return err
		}
	}
	if err := checkTime(m.Time); err != nil {
		return err
	}
	return checkText("server version", m.Server, MaxText)
}

func (m *PushOpen) check() error {
	if m.Push == (sendonce.PushID{}) {
		return invalid("no push ID")
	}
	return checkFolder(m.Folder)
}

func (m *PushReady) check() error { return nil }

func (m *Offer) check() error {
	if m.Op == 0 {
		return invalid("no request number")
	}
	if err := checkOp(m.Op); err != nil {
		return err
	}
	if err := checkCount("references", len(m.Refs), sendonce.MaxOfferRefs); err != nil {
		return err
	}
	if err := checkCount("edits", len(m.Edits), MaxEdits); err != nil {
		return err
	}
	if len(m.Edits) > 0 {
		left := uint64(len(m.Refs))
		for _, e := range m.Edits {
			if e.Insert > left {
				return invalid("edits insert more than the %d references", len(m.Refs))
			}
			left -= e.Insert
		}
		if left > 0 {
			return invalid("edits leave %d of %d references", left, len(m.Refs))
		}
	}
	return checkRefs(m.Refs)
}

func (m *Missing) check() error {
	if err := checkCount("bits", len(m.Bits), sendonce.MaxOfferRefs/8); err != nil {
		return err
	}
	if err := checkCount("IDs", len(m.IDs), sendonce.MaxOfferRefs); err != nil {
		return err
	}
	return checkOp(m.Op)
}

func (m *StoredAck) check() error {
	if err := checkOp(m.Through); err != nil {
		return err
	}
	return checkOp(m.Op)
}

func (m *Committed) check() error {
	if n := len(m.Receipt.Signature); n > 64 {
		return overLimit("signature", n, 64)
	}
	if err := checkTime(m.Receipt.Time); err != nil {
		return err
	}
	return checkOp(m.Op)
}

func (m *Conflict) check() error {
	if err := checkCount("nodes", len(m.Nodes), sendonce.MaxChanges); err != nil {
		return err
	}
	for _, n := range m.Nodes {
		if n.Current == nil {
			continue
		}
		if err := checkNode(n.Current); err != nil {
			return err
		}
	}
	return checkOp(m.Op)
}

func (m *PackHeader) check() error {
	if err := checkCount("chunks", len(m.Sizes), MaxPackChunks); err != nil {
		return err
	}
	if len(m.Sizes) == 0 || m.Length == 0 {
		return invalid("an empty pack")
	}
	if m.Length > sendonce.MaxPack {
		return overLimit("pack", int(m.Length), sendonce.MaxPack)
	}
	sum := 0
	for _, n := range m.Sizes {
		if n == 0 {
			return invalid("a pack with an empty chunk")
		}
		if n > sendonce.MaxPack || sum+int(n) > sendonce.MaxPack {
			return overLimit("plain bytes of a pack", sum+int(n), sendonce.MaxPack)
		}
		sum += int(n)
	}
	return checkOp(m.Op)
}

func (m *Changes) check() error { return checkFolder(m.Folder) }

func (m *ChangeSet) check() error {
	if m.Forked && !m.Restart {
		return invalid("forked without restart")
	}
	return checkNodes(m.Nodes)
}

func (m *List) check() error {
	if err := checkCount("path", len(m.Path), sendonce.MaxPath); err != nil {
		return err
	}
	if m.Path != "" {
		parts := strings.Split(m.Path, "/")
		if err := checkCount("path depth", len(parts), sendonce.MaxDepth); err != nil {
			return err
		}
		for _, p := range parts {
			if err := sendonce.CheckName(p); err != nil {
				return err
			}
		}
	}
	if err := checkOp(m.Op); err != nil {
		return err
	}
	return checkFolder(m.Folder)
}

func (m *NodeList) check() error {
	if err := checkOp(m.Op); err != nil {
		return err
	}
	return checkNodes(m.Nodes)
}

func (m *Read) check() error {
	if m.Node.IsZero() {
		return invalid("no node")
	}
	if err := checkOp(m.Op); err != nil {
		return err
	}
	return checkFolder(m.Folder)
}

func (m *ManifestPart) check() error {
	if err := checkCount("references", len(m.Refs), sendonce.MaxOfferRefs); err != nil {
		return err
	}
	if err := checkOp(m.Op); err != nil {
		return err
	}
	return checkRefs(m.Refs)
}

func (m *Fetch) check() error {
	if err := checkCount("ranges", len(m.Items), MaxFetchItems); err != nil {
		return err
	}
	for _, it := range m.Items {
		if it.Node.IsZero() {
			return invalid("no node")
		}
		if it.First+it.Count < it.First {
			return invalid("a range beyond every manifest")
		}
	}
	if err := checkOp(m.Op); err != nil {
		return err
	}
	return checkFolder(m.Folder)
}

func (m *Done) check() error { return checkOp(m.Op) }

func (m *Log) check() error {
	if err := checkOp(m.Op); err != nil {
		return err
	}
	return checkFolder(m.Folder)
}

func (m *LogEntries) check() error {
	if err := checkCount("entries", len(m.Entries), MaxFrameItems); err != nil {
		return err
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		if err := checkTime(e.Time); err != nil {
			return err
		}
		if err := checkText("device name", e.DeviceName, MaxDeviceName); err != nil {
			return err
		}
		if err := checkNodes(e.Nodes); err != nil {
			return err
		}
	}
	return checkOp(m.Op)
}

func (m *Admin) check() error {
	if m.Method == "" {
		return invalid("no method")
	}
	if err := checkCount("body", len(m.Body), MaxAdminBody); err != nil {
		return err
	}
	return checkText("method", m.Method, MaxDeviceName)
}

func (m *AdminReply) check() error { return checkCount("body", len(m.Body), MaxAdminBody) }
