package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sendonce"
)

// model is a folder's state as plain maps.
type model struct {
	local    map[sendonce.NodeID]Local
	synced   map[sendonce.NodeID]sendonce.Node
	over     map[sendonce.NodeID]sendonce.Node // Remote where it differs
	manifest map[sendonce.NodeID]sendonce.Manifest
	cursor   sendonce.Cursor
	receipt  []byte
}

func newModel() *model {
	return &model{local: map[sendonce.NodeID]Local{}, synced: map[sendonce.NodeID]sendonce.Node{}, over: map[sendonce.NodeID]sendonce.Node{}, manifest: map[sendonce.NodeID]sendonce.Manifest{}}
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.local), maps.Clone(m.synced), maps.Clone(m.over), maps.Clone(m.manifest), m.cursor, m.receipt}
}

func (m *model) apply(b *Batch) {
	if b.DropRemote {
		clear(m.over)
	}
	for _, l := range b.SetLocal {
		maps.DeleteFunc(m.local, func(_ sendonce.NodeID, o Local) bool { return o.Parent == l.Parent && o.Name == l.Name })
		m.local[l.Node] = l
	}
	for _, id := range b.DropLocal {
		delete(m.local, id)
	}
	for _, n := range b.SetSynced {
		if old, ok := m.synced[n.ID]; ok && !old.Content.Equal(n.Content) {
			delete(m.manifest, n.ID)
		}
		m.synced[n.ID] = n
		if o, ok := m.over[n.ID]; ok && cmp.Equal(o, n) {
			delete(m.over, n.ID)
		}
	}
	for _, id := range b.DropSynced {
		if _, ok := m.synced[id]; ok && m.over[id].Deleted {
			delete(m.over, id)
		}
		delete(m.synced, id)
		delete(m.manifest, id)
	}
	for _, n := range b.SetRemote {
		delete(m.over, n.ID)
		if s, ok := m.synced[n.ID]; (n.Deleted && ok) || (!n.Deleted && (!ok || !cmp.Equal(s, n))) {
			m.over[n.ID] = n
		}
	}
	for id, refs := range b.SetManifest {
		m.manifest[id] = refs
	}
	if b.Cursor != nil {
		m.cursor = *b.Cursor
	}
	if b.Receipt != nil {
		m.receipt = b.Receipt
	}
}

func (m *model) remote(id sendonce.NodeID) *sendonce.Node {
	if n, ok := m.over[id]; ok {
		return &n
	}
	if n, ok := m.synced[id]; ok {
		return &n
	}
	return nil
}

// children returns Remote's live nodes of a directory by name, the newest for
// each name.
func (m *model) children(parent sendonce.NodeID) []*sendonce.Node {
	byName := map[string]*sendonce.Node{}
	for _, id := range testIDs {
		n := m.remote(id)
		if n == nil || n.Deleted || n.Parent != parent {
			continue
		}
		if o := byName[n.Name]; o == nil || n.Rev > o.Rev {
			byName[n.Name] = n
		}
	}
	var out []*sendonce.Node
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

var (
	testFolder  = sendonce.FolderID{0xff, 0xff, 7} // ends of ranges must carry
	testParents = []sendonce.NodeID{{}, {0xff, 0xff}, {1}}
	testNames   = []string{"", "a", "a\x01", "ab", "ä", "z" + strings.Repeat("y", 254)}
	testIDs     = func() (ids []sendonce.NodeID) {
		for i := range 6 {
			ids = append(ids, sendonce.NodeID{byte(i * 51), byte(i)})
		}
		ids[0] = sendonce.NodeID{15: 1}
		return ids
	}()
)

func drawContent(t *rapid.T) (c sendonce.Content) {
	switch rapid.IntRange(0, 3).Draw(t, "form") {
	case 1:
		c.Inline = rapid.SliceOfN(rapid.Byte(), 1, 5).Draw(t, "inline")
	case 2:
		c.Refs = drawRefs(t, 1, 3)
	case 3:
		c.Root, c.Level, c.Count = sendonce.ID{rapid.Byte().Draw(t, "root"), 1}, 1, rapid.Uint64Range(17, 20).Draw(t, "count")
	}
	return c
}

func drawRefs(t *rapid.T, from, to int) (refs []sendonce.Ref) {
	for range rapid.IntRange(from, to).Draw(t, "refs") {
		refs = append(refs, sendonce.Ref{ID: sendonce.ID{rapid.Byte().Draw(t, "id")}, Size: rapid.Int64Range(0, 1<<40).Draw(t, "size")})
	}
	return refs
}

func drawNode(t *rapid.T) sendonce.Node {
	n := sendonce.Node{ID: rapid.SampledFrom(testIDs).Draw(t, "node"), Parent: rapid.SampledFrom(testParents).Draw(t, "parent"),
		Name: rapid.SampledFrom(testNames).Draw(t, "name"), Kind: sendonce.KindFile}
	n.Rev = uint64(n.ID[1]) + 10*rapid.Uint64Range(0, 2).Draw(t, "rev") // unique among nodes
	if rapid.Bool().Draw(t, "plain") {
		return n
	}
	n.Kind = rapid.SampledFrom([]sendonce.Kind{1, 2, 3}).Draw(t, "kind")
	n.Mode, n.MTimeNS, n.Size = 0o1777, rapid.Int64().Draw(t, "mtime"), rapid.Int64Min(0).Draw(t, "size")
	n.Content, n.Target = drawContent(t), rapid.StringN(0, 5, 10).Draw(t, "target")
	if rapid.Bool().Draw(t, "xattrs") {
		n.Xattrs = []sendonce.Xattr{{Name: "user.a", Value: []byte{0}}, {Name: "user.b"}}
	}
	return n
}

func drawLocal(t *rapid.T) Local {
	n := drawNode(t)
	return Local{Node: n.ID, Parent: n.Parent, Name: n.Name, Kind: n.Kind, Racy: n.Mode == 0, Content: n.Content, Target: n.Target,
		Stat: Stat{Dev: rapid.Uint64Range(0, 1).Draw(t, "dev"), Ino: rapid.SampledFrom([]uint64{0, 1, 1<<64 - 1}).Draw(t, "ino"), Size: n.Size,
			MTimeNS: n.MTimeNS, CTimeNS: rapid.Int64().Draw(t, "ctime"), BirthNS: rapid.Int64().Draw(t, "birth"), Mode: rapid.Uint32().Draw(t, "mode")}}
}

// drawBatch draws a batch that is valid on top of m.
func drawBatch(t *rapid.T, m *model, seq uint64) *Batch {
	ids := rapid.SliceOfN(rapid.SampledFrom(testIDs), 0, 2)
	b := &Batch{DropRemote: rapid.IntRange(0, 9).Draw(t, "drop remote") == 0,
		SetLocal: rapid.SliceOfN(rapid.Custom(drawLocal), 0, 3).Draw(t, "locals"), DropLocal: ids.Draw(t, "drop local"),
		SetSynced: rapid.SliceOfN(rapid.Custom(drawNode), 0, 3).Draw(t, "synced"), DropSynced: ids.Draw(t, "drop synced"),
		Cursor: &sendonce.Cursor{Seq: seq, Chain: [32]byte{byte(seq)}}, Receipt: []byte(fmt.Sprint("receipt ", seq))}
	for range rapid.IntRange(0, 3).Draw(t, "remotes") {
		n := drawNode(t)
		if s, ok := m.synced[n.ID]; ok && rapid.Bool().Draw(t, "as synced") {
			n = s
		}
		if rapid.Bool().Draw(t, "deleted") {
			n = sendonce.Node{ID: n.ID, Parent: n.Parent, Name: n.Name, Kind: n.Kind, Rev: n.Rev, Deleted: true}
		}
		b.SetRemote = append(b.SetRemote, n)
	}
	after := m.clone()
	after.apply(b)
	b.SetManifest = map[sendonce.NodeID]sendonce.Manifest{}
	for _, id := range testIDs {
		if c := after.synced[id].Content; c.IsTree() && rapid.Bool().Draw(t, "manifest") {
			b.SetManifest[id] = drawRefs(t, int(c.Count), int(c.Count))
		}
	}
	return b
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func same(t fataler, what string, got any, err error, want any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func check(t fataler, d *DB, v *View, m *model) {
	t.Helper()
	for _, parent := range testParents {
		var want []Local
		for _, l := range m.local {
			if l.Parent == parent {
				want = append(want, l)
			}
		}
		slices.SortFunc(want, func(a, b Local) int { return strings.Compare(a.Name, b.Name) })
		got, err := v.LocalChildren(parent)
		same(t, "LocalChildren", got, err, want)

		var kids []*sendonce.Node
		err = v.RemoteChildren(parent, func(n *sendonce.Node) (bool, error) {
			kids = append(kids, n)
			return true, nil
		})
		same(t, "RemoteChildren", kids, err, m.children(parent))
		for _, name := range testNames {
			var want *sendonce.Node
			for _, n := range m.children(parent) {
				if n.Name == name {
					want = n
				}
			}
			got, err := v.RemoteSlot(parent, name)
			same(t, "RemoteSlot", got, err, want)
		}
	}
	var foreign, wantForeign, all, wantAll []sendonce.Node
	for _, id := range slices.SortedFunc(slices.Values(testIDs), func(a, b sendonce.NodeID) int { return strings.Compare(string(a[:]), string(b[:])) }) {
		var local *Local
		if l, ok := m.local[id]; ok {
			local = &l
		}
		gotLocal, err := v.Local(id)
		same(t, "Local", gotLocal, err, local)
		var synced *sendonce.Node
		if n, ok := m.synced[id]; ok {
			synced = &n
			wantAll = append(wantAll, n)
		}
		if n, ok := m.over[id]; ok {
			wantForeign = append(wantForeign, n)
		}
		got, err := v.Synced(id)
		same(t, "Synced", got, err, synced)
		got, err = v.Remote(id)
		same(t, "Remote", got, err, m.remote(id))
		refs, err := v.Manifest(id)
		same(t, "Manifest", refs, err, m.manifest[id])
	}
	into := func(out *[]sendonce.Node) func(*sendonce.Node) (bool, error) {
		return func(n *sendonce.Node) (bool, error) {
			*out = append(*out, *n)
			return true, nil
		}
	}
	same(t, "Foreign", &foreign, v.Foreign(into(&foreign)), &wantForeign)
	same(t, "AllSynced", &all, v.AllSynced(into(&all)), &wantAll)
	for _, dev := range []uint64{0, 1} {
		for _, ino := range []uint64{0, 1, 1<<64 - 1} {
			var want *Local
			for _, l := range m.local {
				if l.Stat.Dev == dev && l.Stat.Ino == ino && (want == nil || string(l.Node[:]) < string(want.Node[:])) {
					want = &l
				}
			}
			got, err := v.LocalByInode(dev, ino)
			same(t, "LocalByInode", got, err, want)
		}
	}
	cur, err := v.Cursor()
	same(t, "Cursor", cur, err, m.cursor)
	if v.snap == nil {
		receipt, err := d.Receipt(v.folder)
		same(t, "Receipt", receipt, err, m.receipt)
	}
}

// rows counts what is stored for a folder: indexes must not outlive their rows.
func (m *model) rows() int {
	n := 3*len(m.local) + 2*len(m.synced) + len(m.manifest) // every manifest here is one part
	for _, o := range m.over {
		n += 2
		if o.Deleted {
			n--
		}
	}
	if m.cursor != (sendonce.Cursor{}) {
		n += 2 // and the receipt
	}
	return n
}

func storedRows(t fataler, d *DB) int {
	n := 0
	err := scan(d.p, tree{testFolder}.all(), func(_, _ []byte) (bool, error) { n++; return true, nil })
	if err != nil {
		t.Fatalf("%v", err)
	}
	return n
}

// TestModel compares random batches, also across Close and Open, with maps.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		open := func() *DB {
			d, err := Open(fs, "state", Options{})
			if err != nil {
				t.Fatalf("%v", err)
			}
			return d
		}
		d := open()
		m := newModel()
		for seq := range rapid.Uint64Range(1, 8).Draw(t, "batches") {
			snap, before := d.Reader(testFolder), m.clone()
			b := drawBatch(t, m, seq+1)
			if err := d.Apply(testFolder, b); err != nil {
				t.Fatalf("%v", err)
			}
			m.apply(b)
			check(t, d, d.Live(testFolder), m)
			check(t, d, snap, before)
			if err := snap.Close(); err != nil {
				t.Fatalf("%v", err)
			}
			if got, want := storedRows(t, d), m.rows(); got != want {
				t.Fatalf("%d rows are stored, want %d", got, want)
			}
			if rapid.IntRange(0, 3).Draw(t, "reopen") == 0 {
				if err := d.Close(); err != nil {
					t.Fatalf("%v", err)
				}
				d = open()
				check(t, d, d.Live(testFolder), m)
			}
		}
		other := d.Live(sendonce.FolderID{1})
		check(t, d, other, newModel())
		if err := d.DropFolder(testFolder); err != nil {
			t.Fatalf("%v", err)
		}
		check(t, d, d.Live(testFolder), newModel())
		if err := d.Close(); err != nil {
			t.Fatalf("%v", err)
		}
	})
}
