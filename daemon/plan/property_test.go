package plan

import (
	"testing"

	"pgregory.net/rapid"

	"sendonce"
)

// Small domains, so that the drawn trees often agree and often clash.
var (
	drawID   = rapid.SampledFrom([]sendonce.NodeID{me, rival, {3}})
	drawDir  = rapid.SampledFrom([]sendonce.NodeID{root, other})
	drawName = rapid.SampledFrom([]string{"a", "b", "aux"})
	drawText = rapid.SampledFrom([]string{"", "old", "new"})
	drawKind = rapid.SampledFrom([]sendonce.Kind{sendonce.KindFile, sendonce.KindFile, sendonce.KindDir, sendonce.KindSymlink})
)

func drawNode(t *rapid.T, what string, nodeID sendonce.NodeID) *sendonce.Node {
	n := &sendonce.Node{ID: nodeID, Parent: drawDir.Draw(t, what+" parent"), Name: drawName.Draw(t, what+" name"), Kind: drawKind.Draw(t, what+" kind"),
		Rev: rapid.Uint64Range(1, 3).Draw(t, what+" rev"), Mode: rapid.SampledFrom([]uint32{0o600, 0o755}).Draw(t, what+" mode"), MTimeNS: rapid.Int64Range(1, 2).Draw(t, what+" mtime")}
	text := drawText.Draw(t, what+" text")
	switch n.Kind {
	case sendonce.KindFile:
		n.Content, n.Size = bytesOf(text), int64(len(text))
	case sendonce.KindSymlink:
		n.Target = text
	}
	return n
}

// drawCase draws a difference and what is known about it. The trees obey what
// the state promises: Remote keeps the node's kind, Slot has the wanted name.
func drawCase(t *rapid.T) (Local, Input) {
	l := local(drawNode(t, "local", me), func(l *Local) {
		if rapid.Bool().Draw(t, "new") {
			isNew(l)
		} else if rapid.Bool().Draw(t, "gone") {
			isGone(l)
		}
	})
	in := Input{Role: sendonce.Role(rapid.IntRange(0, 5).Draw(t, "role")), Names: sendonce.NameRule(rapid.IntRange(0, 1).Draw(t, "names")),
		ParentGone: rapid.Bool().Draw(t, "parent gone"), SlotReused: rapid.Bool().Draw(t, "slot reused"), Unseen: rapid.Bool().Draw(t, "unseen")}
	if !l.Node.IsZero() {
		if rapid.Bool().Draw(t, "has synced") {
			in.Synced = drawNode(t, "synced", me)
			if rapid.Bool().Draw(t, "synced as seen") {
				in.Synced = &sendonce.Node{ID: me, Parent: l.Parent, Name: l.Name, Kind: l.Kind, Rev: 2, Mode: l.Mode, MTimeNS: l.MTimeNS, Size: l.Size, Content: l.Content, Target: l.Target}
			}
		}
		switch rapid.IntRange(0, 3).Draw(t, "remote") {
		case 1:
			in.Remote = in.Synced
		case 2:
			in.Remote = drawNode(t, "remote", me)
		case 3:
			in.Remote = drawNode(t, "remote", me)
			in.Remote.Deleted = true
		}
	}
	if rapid.Bool().Draw(t, "has slot") {
		in.Slot = drawNode(t, "slot", drawID.Draw(t, "slot id"))
		in.Slot.Parent, in.Slot.Name = l.Parent, l.Name
	}
	return l, in
}

func remoteOf(in Input) *sendonce.Node {
	if in.Remote != nil {
		return in.Remote
	}
	return in.Synced
}

// TestDecideIsSafe: I5. Nothing that another device did is replaced, a delete
// needs a known node that is gone, and refusals say why.
func TestDecideIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, in := drawCase(t)
		d := Decide(l, in)
		if again := Decide(l, in); again != d {
			t.Fatalf("not a function: %+v, then %+v", d, again)
		}
		remote := remoteOf(in)
		switch d.Verb {
		case Update, Delete:
			if in.Synced == nil || d.Node != l.Node || d.Base != in.Synced.Rev || remote.Deleted || remote.Rev != d.Base || !remote.Content.Equal(in.Synced.Content) ||
				remote.Target != in.Synced.Target || remote.Parent != in.Synced.Parent || remote.Name != in.Synced.Name {
				t.Fatalf("%+v replaces something that was not agreed on: synced %+v, remote %+v", d, in.Synced, remote)
			}
		case Create:
			if in.ParentGone || in.Slot != nil && (in.Synced == nil || in.Slot.ID != in.Synced.ID) {
				t.Fatalf("%+v where %+v is", d, in.Slot)
			}
			if !d.Node.IsZero() && remote != nil {
				t.Fatalf("%+v creates a node that the server has named: %+v", d, remote)
			}
		case Adopt:
			n := in.Slot
			if n == nil || n.ID != d.Node || remote != nil && remote.ID == d.Node {
				n = remote
			}
			if n.Deleted || n.ID != d.Node || n.Rev != d.Base || !sameBytes(l, n) || !samePlace(l, n) {
				t.Fatalf("%+v adopts what is not the same: %+v, local %+v", d, n, l)
			}
		case Conflict, Refuse:
			if d.Reason == "" {
				t.Fatalf("%+v gives no reason", d)
			}
		case Nothing, Forget:
		default:
			t.Fatalf("%+v is no decision", d)
		}
		if d.Verb == Delete && !l.Gone || l.Gone && (d.Verb == Create || d.Verb == Update || d.Verb == Adopt) {
			t.Fatalf("gone %v gives %+v", l.Gone, d)
		}
		if d.Verb == Delete && in.Unseen {
			t.Fatalf("%+v of a node that never was here", d)
		}
		if d.Verb == Update && !d.Place && !d.Meta && !d.Bytes {
			t.Fatalf("%+v sends nothing", d)
		}
		if !in.Role.CanPush() || in.Role > sendonce.RoleAdmin {
			if d.Verb == Create || d.Verb == Update || d.Verb == Delete {
				t.Fatalf("role %v is told to commit: %+v", in.Role, d)
			}
		}
	})
}

// TestDecideEnds: I10. Carrying a decision out and deciding again comes to rest
// at once, or, after an Adopt, after one Update of the metadata.
func TestDecideEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, in := drawCase(t)
		first := Decide(l, in)
		for step := 0; ; step++ {
			d := Decide(l, in)
			switch d.Verb {
			case Nothing, Conflict, Refuse, Forget:
				return // at rest: nothing was or will be sent
			}
			if step == 2 {
				t.Fatalf("%+v leads on and on: %+v", first, d)
			}
			switch d.Verb {
			case Delete:
				in.Synced, in.Remote, in.Unseen = nil, nil, true
				continue
			case Adopt:
				n := in.Slot
				if remote := remoteOf(in); remote != nil && remote.ID == d.Node {
					n = remote
				}
				agreed := *n
				in.Synced, in.Remote, in.Slot = &agreed, &agreed, &agreed
				l.Node = agreed.ID
				if after := Decide(l, in); (after.Verb == Nothing) == d.Meta {
					t.Fatalf("adopting said meta differs: %v, then %+v", d.Meta, after)
				}
				continue
			case Create:
				if l.Node = d.Node; l.Node.IsZero() {
					l.Node = sendonce.NodeID{9}
				}
			}
			done := sendonce.Node{ID: l.Node, Parent: l.Parent, Name: l.Name, Kind: l.Kind, Rev: 100 + uint64(step), Mode: l.Mode, MTimeNS: l.MTimeNS, Size: l.Size, Content: l.Content, Target: l.Target}
			in.Synced, in.Remote, in.Slot = &done, &done, &done
			if after := Decide(l, in); after.Verb != Nothing {
				t.Fatalf("%+v was carried out, and then: %+v", d, after)
			}
		}
	})
}

// TestEqualTreesNeedNothing: what is the same everywhere is left alone, and is
// never deleted unless it is gone.
func TestEqualTreesNeedNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := drawNode(t, "node", me)
		in := Input{Synced: n, Remote: n, Slot: n, Role: sendonce.Role(rapid.IntRange(0, 5).Draw(t, "role")),
			Names: sendonce.NameRule(rapid.IntRange(0, 1).Draw(t, "names")), ParentGone: rapid.Bool().Draw(t, "parent gone")}
		if d := Decide(local(n), in); d.Verb != Nothing {
			t.Fatalf("%+v", d)
		}
	})
}
