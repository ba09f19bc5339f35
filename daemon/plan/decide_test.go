package plan

import (
	"testing"

	"sendonce"
)

var (
	root  = sendonce.NodeID{0xf0}
	other = sendonce.NodeID{0xf1}
	me    = sendonce.NodeID{1}
	rival = sendonce.NodeID{2}
)

func bytesOf(s string) sendonce.Content { return sendonce.Content{Inline: []byte(s)} }

// file is node me at revision 5, in root as "a", holding "old".
func file(edit ...func(*sendonce.Node)) *sendonce.Node {
	n := &sendonce.Node{ID: me, Parent: root, Name: "a", Kind: sendonce.KindFile, Rev: 5, Mode: 0o644, MTimeNS: 100, Size: 3, Content: bytesOf("old")}
	for _, e := range edit {
		e(n)
	}
	return n
}

func rev(r uint64) func(*sendonce.Node) { return func(n *sendonce.Node) { n.Rev = r } }
func id(i sendonce.NodeID) func(*sendonce.Node) {
	return func(n *sendonce.Node) { n.ID = i }
}
func name(s string) func(*sendonce.Node) { return func(n *sendonce.Node) { n.Name = s } }
func holds(s string) func(*sendonce.Node) {
	return func(n *sendonce.Node) { n.Content, n.Size = bytesOf(s), int64(len(s)) }
}
func mode(m uint32) func(*sendonce.Node) { return func(n *sendonce.Node) { n.Mode = m } }
func dead(n *sendonce.Node)              { n.Deleted = true }
func dir(n *sendonce.Node) {
	n.Kind, n.Content, n.Size, n.Mode = sendonce.KindDir, sendonce.Content{}, 0, 0o755
}
func link(target string) func(*sendonce.Node) {
	return func(n *sendonce.Node) {
		n.Kind, n.Content, n.Size, n.Target = sendonce.KindSymlink, sendonce.Content{}, 0, target
	}
}

// local is what the scan sees when it sees exactly n.
func local(n *sendonce.Node, edit ...func(*Local)) Local {
	l := Local{Node: n.ID, Parent: n.Parent, Name: n.Name, Kind: n.Kind, Mode: n.Mode, MTimeNS: n.MTimeNS, Size: n.Size, Content: n.Content, Target: n.Target}
	for _, e := range edit {
		e(&l)
	}
	return l
}

func isNew(l *Local) { l.Node = sendonce.NodeID{} }
func isGone(l *Local) {
	*l = Local{Gone: true, Node: l.Node, Parent: l.Parent, Name: l.Name, Kind: l.Kind}
}
func mtime(t int64) func(*Local) { return func(l *Local) { l.MTimeNS = t } }

func TestDecide(t *testing.T) {
	rw := sendonce.RoleReadWrite
	tests := []struct {
		what string
		l    Local
		in   Input
		want Decision
	}{
		// A new name.
		{"new, slot free", local(file(), isNew), Input{}, Decision{Verb: Create, Place: true, Meta: true, Bytes: true}},
		{"new, slot has the same bytes", local(file(), isNew), Input{Slot: file(id(rival))}, Decision{Verb: Adopt, Node: rival, Base: 5}},
		{"new, same bytes, other mtime", local(file(), isNew, mtime(7)), Input{Slot: file(id(rival))}, Decision{Verb: Adopt, Node: rival, Base: 5, Meta: true}},
		{"new, same bytes, other mode", local(file(mode(0o600)), isNew), Input{Slot: file(id(rival))}, Decision{Verb: Adopt, Node: rival, Base: 5, Meta: true}},
		{"new, slot has other bytes", local(file(holds("new")), isNew), Input{Slot: file(id(rival))}, Decision{Verb: Conflict, Node: rival, Base: 5, Reason: whyTaken}},
		{"new directory merges", local(file(dir), isNew, mtime(9)), Input{Slot: file(dir, id(rival))}, Decision{Verb: Adopt, Node: rival, Base: 5}},
		{"new file where a directory is", local(file(), isNew), Input{Slot: file(dir, id(rival))}, Decision{Verb: Conflict, Node: rival, Base: 5, Reason: whyTaken}},
		{"new symlink, equal", local(file(link("x")), isNew), Input{Slot: file(link("x"), id(rival), mode(0))}, Decision{Verb: Adopt, Node: rival, Base: 5}},
		{"new symlink, other target", local(file(link("x")), isNew), Input{Slot: file(link("y"), id(rival))}, Decision{Verb: Conflict, Node: rival, Base: 5, Reason: whyTaken}},
		{"new, parent deleted there", local(file(), isNew), Input{ParentGone: true}, Decision{Verb: Conflict, Reason: whyParentGone}},
		{"has a node, never synced", local(file()), Input{}, Decision{Verb: Create, Node: me, Place: true, Meta: true, Bytes: true}},
		{"has a node, the server has it too", local(file()), Input{Remote: file(rev(8)), Slot: file(rev(8))}, Decision{Verb: Adopt, Node: me, Base: 8}},
		{"has a node, the server's differs", local(file(holds("new"))), Input{Remote: file(rev(8))}, Decision{Verb: Conflict, Node: me, Base: 8, Reason: whyBothChanged}},
		{"has a node that is dead there", local(file()), Input{Remote: file(dead)}, Decision{Verb: Create, Place: true, Meta: true, Bytes: true}},

		// Known, the same there.
		{"nothing changed", local(file()), Input{Synced: file(), Remote: file()}, Decision{Verb: Nothing, Node: me}},
		{"edited", local(file(holds("new"))), Input{Synced: file(), Slot: file()}, Decision{Verb: Update, Node: me, Base: 5, Bytes: true}},
		{"touched", local(file(), mtime(7)), Input{Synced: file(), Slot: file()}, Decision{Verb: Update, Node: me, Base: 5, Meta: true}},
		{"chmod of a directory", local(file(dir, mode(0o700))), Input{Synced: file(dir)}, Decision{Verb: Update, Node: me, Base: 5, Meta: true}},
		{"mtime of a directory", local(file(dir), mtime(7)), Input{Synced: file(dir)}, Decision{Verb: Nothing, Node: me}},
		{"renamed", local(file(name("b"))), Input{Synced: file()}, Decision{Verb: Update, Node: me, Base: 5, Place: true}},
		{"moved and edited", local(file(holds("new"), func(n *sendonce.Node) { n.Parent = other })), Input{Synced: file()}, Decision{Verb: Update, Node: me, Base: 5, Place: true, Bytes: true}},
		{"renamed onto another's file", local(file(name("b"))), Input{Synced: file(), Slot: file(id(rival), name("b"))}, Decision{Verb: Conflict, Node: me, Base: 5, Reason: whyTaken}},
		{"moved into a deleted directory", local(file(name("b"))), Input{Synced: file(), ParentGone: true}, Decision{Verb: Conflict, Node: me, Base: 5, Reason: whyParentGone}},
		{"symlink retargeted", local(file(link("y"))), Input{Synced: file(link("x"))}, Decision{Verb: Update, Node: me, Base: 5, Bytes: true}},
		{"became a directory", local(file(dir)), Input{Synced: file(), Slot: file()}, Decision{Verb: Create, Place: true, Meta: true, Bytes: true}},

		// Known, changed there.
		{"only they changed", local(file()), Input{Synced: file(), Remote: file(rev(9), holds("their"))}, Decision{Verb: Nothing, Node: me}},
		{"only they deleted", local(file()), Input{Synced: file(), Remote: file(rev(9), dead)}, Decision{Verb: Nothing, Node: me}},
		{"same edit", local(file(holds("new"))), Input{Synced: file(), Remote: file(rev(9), holds("new"))}, Decision{Verb: Adopt, Node: me, Base: 9}},
		{"same edit, other mtime", local(file(holds("new")), mtime(1)), Input{Synced: file(), Remote: file(rev(9), holds("new"))}, Decision{Verb: Adopt, Node: me, Base: 9, Meta: true}},
		{"different edits", local(file(holds("new"))), Input{Synced: file(), Remote: file(rev(9), holds("their"))}, Decision{Verb: Conflict, Node: me, Base: 9, Reason: whyBothChanged}},
		{"we edited, they renamed", local(file(holds("new"))), Input{Synced: file(), Remote: file(rev(9), name("b"))}, Decision{Verb: Conflict, Node: me, Base: 9, Reason: whyBothChanged}},
		{"we edited, they deleted", local(file(holds("new"))), Input{Synced: file(), Remote: file(rev(9), dead)}, Decision{Verb: Conflict, Node: me, Base: 9, Reason: whyDeletedThere}},
		{"a revision nobody explains", local(file(holds("new"))), Input{Synced: file(), Remote: file(rev(4))}, Decision{Verb: Conflict, Node: me, Base: 4, Reason: whyBothChanged}},

		// Gone.
		{"deleted here", local(file(), isGone), Input{Synced: file()}, Decision{Verb: Delete, Node: me, Base: 5}},
		{"never was here", local(file(), isGone), Input{Synced: file(), Unseen: true}, Decision{Verb: Nothing, Node: me}},
		{"deleted here, changed there", local(file(), isGone), Input{Synced: file(), Remote: file(rev(9), holds("their"))}, Decision{Verb: Conflict, Node: me, Base: 9, Reason: whyChangedThere}},
		{"deleted on both sides", local(file(), isGone), Input{Synced: file(), Remote: file(rev(9), dead)}, Decision{Verb: Forget, Node: me}},
		{"deleted here, never synced", local(file(), isGone), Input{}, Decision{Verb: Forget, Node: me}},
		{"deleted here, only they have it", local(file(), isGone), Input{Remote: file()}, Decision{Verb: Forget, Node: me}},
		{"the root is gone", local(file(dir), isGone), Input{Synced: file(dir, func(n *sendonce.Node) { n.Parent = sendonce.NodeID{} })}, Decision{Verb: Refuse, Node: me, Reason: whyRootGone}},
	}
	for _, tt := range tests {
		tt.in.Role = rw
		if got := Decide(tt.l, tt.in); got != tt.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.what, got, tt.want)
		}
	}
}

func TestRoles(t *testing.T) {
	create := func(r sendonce.Role) Decision { return Decide(local(file(), isNew), Input{Role: r}) }
	remove := func(in Input) Decision {
		in.Synced = file()
		return Decide(local(file(), isGone), in)
	}
	for _, tt := range []struct {
		what string
		got  Decision
		want Verb
		why  string
	}{
		{"read-only creates", create(sendonce.RoleReadOnly), Refuse, whyReadOnly},
		{"nobody creates", create(sendonce.RoleNone), Refuse, whyNoRole},
		{"an unknown role creates", create(200), Refuse, whyNoRole},
		{"push-only creates", create(sendonce.RolePushOnly), Create, ""},
		{"admin creates", create(sendonce.RoleAdmin), Create, ""},
		{"push-only deletes", remove(Input{Role: sendonce.RolePushOnly}), Refuse, whyPushOnly},
		{"push-only makes room", remove(Input{Role: sendonce.RolePushOnly, SlotReused: true}), Delete, ""},
		{"read-only makes room", remove(Input{Role: sendonce.RoleReadOnly, SlotReused: true}), Refuse, whyReadOnly},
		{"read-only has nothing to send", Decide(local(file()), Input{Synced: file(), Role: sendonce.RoleReadOnly}), Nothing, ""},
		{"read-only adopts", Decide(local(file(), isNew), Input{Slot: file(id(rival)), Role: sendonce.RoleReadOnly}), Adopt, ""},
	} {
		if tt.got.Verb != tt.want || tt.got.Reason != tt.why {
			t.Errorf("%s: %+v, want verb %d, reason %q", tt.what, tt.got, tt.want, tt.why)
		}
	}
}

func TestNamesAreRefusedOnlyWhereTheyAreNew(t *testing.T) {
	aux := file(name("aux.h"))
	in := Input{Role: sendonce.RoleReadWrite, Names: sendonce.NamesPortable}
	if d := Decide(local(aux, isNew), in); d.Verb != Refuse || d.Reason == "" {
		t.Errorf("a new forbidden name: %+v", d)
	}
	in.Synced = file()
	if d := Decide(local(aux), in); d.Verb != Refuse {
		t.Errorf("a rename to a forbidden name: %+v", d)
	}
	in.Synced = aux // it got there before the rule, or by a rule of its own
	if d := Decide(local(aux, mtime(7)), in); d.Verb != Update {
		t.Errorf("an update of a node that has a forbidden name: %+v", d)
	}
	in = Input{Role: sendonce.RoleReadWrite}
	if d := Decide(local(aux, isNew), in); d.Verb != Create {
		t.Errorf("a name that an exact folder may hold: %+v", d)
	}
}

func TestBrake(t *testing.T) {
	const most = int64(1) << 62
	for _, tt := range []struct {
		removed, known int64
		stops          bool
	}{
		{0, 0, false}, {500, 500, false}, {501, 501, true}, {501, 2003, true}, {501, 2004, false},
		{501, 2005, false}, {1_000_000, 1_000_000, true}, {most / 4, most, false}, {most/4 + 1, most, true},
	} {
		err := Brake(tt.removed, tt.known)
		if (err != nil) != tt.stops {
			t.Errorf("Brake(%d, %d) = %v, want stop %v", tt.removed, tt.known, err, tt.stops)
		}
		if err != nil && (sendonce.KindOf(err) != sendonce.KindRefused || sendonce.HintOf(err) == "") {
			t.Errorf("Brake(%d, %d): kind %v, hint %q", tt.removed, tt.known, sendonce.KindOf(err), sendonce.HintOf(err))
		}
	}
}
