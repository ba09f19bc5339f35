package indexdb

import (
	"math"

	"sendonce"
)

// checkCommit refuses what is wrong whatever the index holds.
func checkCommit(c *Commit) error {
	if len(c.Changes) > sendonce.MaxChanges {
		return &sendonce.Error{Kind: sendonce.KindLimit, Detail: "a commit with more than 1,000 changes"}
	}
	if len(c.Changes) == 0 && !c.Snapshot {
		return invalid("a commit without changes that is no snapshot")
	}
	seen := make(map[sendonce.NodeID]bool, len(c.Changes))
	for i := range c.Changes {
		ch := &c.Changes[i]
		if ch.Node.IsZero() || seen[ch.Node] {
			return invalid("node %s is zero or is changed twice", ch.Node)
		}
		seen[ch.Node] = true
		if ch.Base > math.MaxInt64 {
			return invalid("node %s: the base is out of range", ch.Node)
		}
		if err := checkChange(ch, ch.Node == c.Who.Folder.Root()); err != nil {
			return err
		}
	}
	return checkStored(c.Stored)
}

func checkChange(ch *Change, root bool) error {
	switch {
	case ch.Delete && root:
		return invalid("the root cannot be deleted")
	case ch.Delete && ch.Base == 0:
		return invalid("node %s: a delete of what does not exist yet", ch.Node)
	case ch.Delete:
		return nil
	case root && (ch.SetPlace || ch.SetContent):
		return invalid("the root has no place and no content")
	case ch.Base == 0 && !root && !ch.SetPlace:
		return invalid("node %s: created without a place", ch.Node)
	case ch.Base == 0 && !root && (ch.Kind < sendonce.KindFile || ch.Kind > sendonce.KindSymlink):
		return invalid("node %s: created without a kind", ch.Node)
	}
	if ch.SetPlace {
		if err := sendonce.CheckName(ch.Name); err != nil {
			return err
		}
		if ch.Parent.IsZero() {
			return invalid("node %s: no parent", ch.Node)
		}
	}
	if ch.SetMeta {
		if ch.Mode > sendonce.MaxMode {
			return invalid("node %s: mode %o is out of range", ch.Node, ch.Mode)
		}
		total := 0
		for _, a := range ch.Xattrs {
			total += len(a.Name) + len(a.Value)
		}
		// Each attribute counts a byte more, so that their number is bounded too.
		if total+len(ch.Xattrs) > sendonce.MaxXattrs {
			return &sendonce.Error{Kind: sendonce.KindLimit, Path: ch.Name, Detail: "extended attributes over 64 KiB"}
		}
	}
	if !ch.SetContent && (len(ch.Refs) > 0 || len(ch.Pages) > 0) {
		return invalid("node %s: references without content", ch.Node)
	}
	return nil
}

// checkContent refuses content that does not fit the node's kind or is not of
// exactly one form, and content whose references nobody vouches for.
func checkContent(ch *Change, kind sendonce.Kind, before *record) error {
	c := &ch.Content
	switch kind {
	case sendonce.KindDir:
		return invalid("node %s: a directory has no content", ch.Node)
	case sendonce.KindSymlink:
		if ch.Target == "" || len(ch.Target) > sendonce.MaxTarget || ch.Size != 0 || !c.IsEmpty() {
			return invalid("node %s: a symlink has a target of 1 to %d bytes and nothing else", ch.Node, sendonce.MaxTarget)
		}
		return nil
	}
	forms := 0
	for _, used := range []bool{len(c.Inline) > 0, len(c.Refs) > 0, c.IsTree()} {
		if used {
			forms++
		}
	}
	if forms > 1 || ch.Target != "" || ch.Size < 0 || ch.Size > maxSize || !c.IsTree() && (c.Level != 0 || c.Count != 0) {
		return invalid("node %s: content that is not of one form", ch.Node)
	}
	switch {
	case len(c.Inline) > 0:
		if len(c.Inline) > sendonce.MaxInline || int64(len(c.Inline)) != ch.Size {
			return invalid("node %s: inline content of a wrong size", ch.Node)
		}
	case len(c.Refs) > 0:
		return checkDirect(ch, before)
	case c.IsTree():
		// The pages of a tree that grew out of another are vouched for by that.
		if c.Count == 0 || ch.Size == 0 || !before.hasTree() && !contains(ch.Pages, c.Root) {
			return invalid("node %s: a tree without references, or whose root is not among its pages", ch.Node)
		}
	case ch.Size != 0:
		return invalid("node %s: empty content with a size", ch.Node)
	}
	return nil
}

func (r *record) hasTree() bool { return r.live() && r.Content.IsTree() }

func contains(ids []sendonce.ID, id sendonce.ID) bool {
	for i := range ids {
		if ids[i] == id {
			return true
		}
	}
	return false
}

// checkDirect checks that direct references add up, and that each is named in
// Refs or held by the base. What a tree of the base held only the proxy knows.
func checkDirect(ch *Change, before *record) error {
	if len(ch.Content.Refs) > sendonce.MaxDirectRefs {
		return invalid("node %s: too many direct references", ch.Node)
	}
	var sum int64
	for _, r := range ch.Content.Refs {
		if r.Size <= 0 || r.Size > maxSize-sum {
			return invalid("node %s: a reference of a wrong size", ch.Node)
		}
		sum += r.Size
		if r.ID.IsZero() || before.hasTree() || contains(ch.Refs, r.ID) {
			continue
		}
		kept := false
		if before.live() {
			for _, k := range before.Content.Refs {
				kept = kept || k.ID == r.ID
			}
		}
		if !kept {
			return invalid("node %s: chunk %s is neither in its base nor named as new", ch.Node, r.ID)
		}
	}
	if sum != ch.Size {
		return invalid("node %s: references that do not add up to the size", ch.Node)
	}
	return nil
}
