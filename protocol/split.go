package protocol

import (
	"google.golang.org/protobuf/proto"

	"sendonce"
)

// splitRoom is what the list of a split message may take, splitItems how many records: the rest of a frame is
// for the message's other fields (a cursor, a number).
const (
	splitRoom  = sendonce.MaxFrame - 4<<10
	splitItems = MaxFrameItems - 16
)

// SplitNodes cuts nodes into runs of which each fits into one NodeList or
// ChangeSet frame. The runs share memory with nodes. No nodes give no runs.
func SplitNodes(nodes []sendonce.Node) [][]sendonce.Node {
	return split(nodes, splitItems-1, func(n *sendonce.Node) (int, int) {
		return field(proto.Size(nodePB(n))), 1 + len(n.Xattrs)
	})
}

// SplitChanges cuts changes into runs of which each fits into one Commit frame
// (at most MaxChanges, and MaxFrame bytes). A change that names an earlier one of
// the same commit cannot exist, so a cut never breaks one; but the runs are no
// longer atomic together.
func SplitChanges(changes []Change) [][]Change {
	return split(changes, sendonce.MaxChanges, func(c *Change) (int, int) { return ChangeSize(c), 1 })
}

// ChangeSize returns the most bytes that c can take in a Commit frame. The sum
// over its changes plus 4 KiB must stay under sendonce.MaxFrame; SplitChanges
// does that sum.
func ChangeSize(c *Change) int {
	const ids, varint = 16, 10
	n := ids + 2 // node, flags
	if c.Base != 0 || c.BaseOp != 0 {
		n += varint + 3
	}
	if c.SetPlace {
		n += ids + 2 + len(c.Name) + 2
	}
	if c.SetMeta {
		n += 2 + varint
		for i := range c.Xattrs {
			n += 2 + field(len(c.Xattrs[i].Name)) + field(len(c.Xattrs[i].Value)) + field(0)
		}
	}
	if c.SetContent {
		n += varint + len(c.Inline) + len(c.Target)
		if !c.Root.IsZero() {
			n += len(c.Root) + 2
		}
	}
	return n
}

// SplitRefs cuts refs into runs of at most MaxOfferRefs, each for one
// ManifestPart or Offer frame.
func SplitRefs(refs []sendonce.Ref) [][]sendonce.Ref {
	return split(refs, sendonce.MaxOfferRefs, func(*sendonce.Ref) (int, int) { return 0, 1 })
}

// SplitEntries cuts log entries into runs of which each fits into one LogEntries
// frame. An entry whose nodes do not fit becomes several entries that are equal
// but for their nodes; JoinEntries puts them together again.
func SplitEntries(entries []LogEntry) [][]LogEntry {
	var small []LogEntry
	for _, e := range entries {
		parts := SplitNodes(e.Nodes)
		if len(parts) == 0 {
			parts = [][]sendonce.Node{nil}
		}
		for _, p := range parts {
			e.Nodes = p
			small = append(small, e)
		}
	}
	return split(small, splitItems, func(e *LogEntry) (int, int) {
		size, items := 256+len(e.DeviceName), 1
		for i := range e.Nodes {
			size += field(proto.Size(nodePB(&e.Nodes[i])))
			items += 1 + len(e.Nodes[i].Xattrs)
		}
		return size, items
	})
}

// JoinEntries appends more to entries, with the nodes of an entry that
// SplitEntries cut put together.
func JoinEntries(entries, more []LogEntry) []LogEntry {
	for _, e := range more {
		if n := len(entries); n > 0 && entries[n-1].Seq == e.Seq {
			entries[n-1].Nodes = append(entries[n-1].Nodes, e.Nodes...)
			continue
		}
		entries = append(entries, e)
	}
	return entries
}

// SplitOffer makes the frames of one file's offer: edits and refs are those of
// the whole manifest, cut so that each frame holds at most MaxOfferRefs
// references and MaxEdits edits; the last one is marked. edits may be nil for
// "insert all". The insert counts must add up to len(refs).
func SplitOffer(op uint64, node sendonce.NodeID, base uint64, edits []sendonce.Edit, refs []sendonce.Ref) []*Offer {
	if len(edits) == 0 && len(refs) > 0 {
		edits = []sendonce.Edit{{Insert: uint64(len(refs))}}
	}
	frame := func() *Offer { return &Offer{Op: op} }
	first := &Offer{Op: op, Node: node, Base: base}
	out := []*Offer{first}
	o := first
	for _, e := range edits {
		for {
			if len(o.Edits) == MaxEdits || len(o.Refs) == sendonce.MaxOfferRefs && e.Insert > 0 {
				o = frame()
				out = append(out, o)
			}
			take := min(e.Insert, uint64(sendonce.MaxOfferRefs-len(o.Refs)), uint64(len(refs)))
			o.Edits = append(o.Edits, sendonce.Edit{Skip: e.Skip, Keep: e.Keep, Insert: take})
			o.Refs = append(o.Refs, refs[:take]...)
			refs = refs[take:]
			e = sendonce.Edit{Insert: e.Insert - take}
			if e.Insert == 0 || len(refs) == 0 {
				break
			}
		}
	}
	o.Last = true
	return out
}

// field is the size of a nested record of n bytes: tag (two bytes at most),
// length, bytes.
func field(n int) int {
	size := n + 3
	for ; n > 0x7f; n >>= 7 {
		size++
	}
	return size
}

// split cuts list into runs within splitRoom bytes and limit items.
func split[T any](list []T, limit int, cost func(*T) (size, items int)) [][]T {
	var out [][]T
	start, size, count := 0, 0, 0
	for i := range list {
		s, n := cost(&list[i])
		if i > start && (size+s > splitRoom || count+n > limit) {
			out = append(out, list[start:i:i])
			start, size, count = i, 0, 0
		}
		size, count = size+s, count+n
	}
	if start < len(list) {
		out = append(out, list[start:len(list):len(list)])
	}
	return out
}
