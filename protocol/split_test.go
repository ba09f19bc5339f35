package protocol

import (
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sendonce"
)

// manyNodes are n nodes of all kinds, numbered by Rev, of which every third has
// an extended attribute of size bytes.
func manyNodes(n, size int) []sendonce.Node {
	kinds := sampleNodes()
	value := make([]byte, size)
	nodes := make([]sendonce.Node, n)
	for i := range nodes {
		nodes[i] = kinds[i%len(kinds)]
		nodes[i].Rev = uint64(i)
		if !nodes[i].Deleted && i%3 == 0 {
			nodes[i].Xattrs = []sendonce.Xattr{{Name: "user.v", Value: value}}
		}
	}
	return nodes
}

// nodeLists cover the ways in which a frame gets full: none, by bytes, by
// records (20,000 short tombstones), by a few large ones.
func nodeLists() [][]sendonce.Node {
	gone := sampleNodes()[7]
	gone.Name = "g"
	return [][]sendonce.Node{nil, manyNodes(1, 10), manyNodes(20000, 10), repeat(gone, 20000), manyNodes(100, 60000)}
}

func TestSplitNodes(t *testing.T) {
	for _, nodes := range nodeLists() {
		runs := SplitNodes(nodes)
		for _, run := range runs {
			m := &ChangeSet{Through: sendonce.Cursor{Seq: 1 << 63, Chain: id32[[32]byte](1)}, Restart: true, Forked: true, Complete: true, Nodes: run}
			if _, err := NewReader(reader(frame(t, m))).Next(); err != nil {
				t.Fatal(err)
			}
		}
		if got := slices.Concat(runs...); len(nodes) != len(got) || len(nodes) > 0 && !reflect.DeepEqual(nodes, got) {
			t.Fatalf("%d nodes became others", len(nodes))
		}
		if len(nodes) == 20000 && len(runs) > 4 {
			t.Errorf("%d runs", len(runs))
		}
	}
}

func TestSplitEntries(t *testing.T) {
	var entries, joined []LogEntry
	for i, nodes := range nodeLists() {
		entries = append(entries, LogEntry{Seq: uint64(90 - i), DeviceName: longName[1:], Nodes: nodes})
	}
	runs := SplitEntries(entries)
	for _, run := range runs {
		m, err := NewReader(reader(frame(t, &LogEntries{Op: MaxOp, Entries: run, Done: true}))).Next()
		if err != nil {
			t.Fatal(err)
		}
		joined = JoinEntries(joined, m.(*LogEntries).Entries)
	}
	if len(runs) < 6 || len(joined) != len(entries) {
		t.Fatalf("%d runs, %d entries", len(runs), len(joined))
	}
	for i, e := range entries {
		same := func(a, b sendonce.Node) bool { return a.ID == b.ID && a.Rev == b.Rev && a.Name == b.Name }
		if got := joined[i]; got.Seq != e.Seq || got.DeviceName != e.DeviceName || !slices.EqualFunc(got.Nodes, e.Nodes, same) {
			t.Errorf("entry %d became another", i)
		}
	}
}

func TestSplitChanges(t *testing.T) {
	kinds := sampleChanges()
	for _, c := range []struct{ n, value, runs int }{{0, 0, 0}, {1, 0, 1}, {1000, 0, 1}, {1001, 0, 2}, {2500, 5000, 7}, {300, 65000, 11}} {
		changes := make([]Change, c.n)
		for i := range changes {
			changes[i] = kinds[i%len(kinds)]
			if changes[i].SetMeta && c.value > 0 {
				changes[i].Xattrs = []sendonce.Xattr{{Name: "user.v", Value: make([]byte, c.value)}}
			}
		}
		runs := SplitChanges(changes)
		for _, run := range runs {
			m := &Commit{Op: MaxOp, ID: id16[sendonce.OpID](1), Snapshot: true, Changes: run}
			sum := 4 << 10
			for i := range run {
				sum += ChangeSize(&run[i])
			}
			if size := len(frame(t, m)); sum < size {
				t.Fatalf("ChangeSize adds up to %d for %d bytes", sum, size)
			}
		}
		if got := slices.Concat(runs...); len(got) != c.n || c.n > 0 && !reflect.DeepEqual(changes, got) {
			t.Fatalf("%d changes became others", c.n)
		}
		if len(runs) < c.runs || len(runs) > c.runs+4 {
			t.Errorf("%d changes with %d bytes: %d runs, want %d", c.n, c.value, len(runs), c.runs)
		}
	}
}

// ChangeSize is an upper bound for each kind of change on its own.
func TestChangeSizeBounds(t *testing.T) {
	empty := FrameSize(&Commit{Op: MaxOp, ID: id16[sendonce.OpID](1)})
	for i, c := range sampleChanges() {
		const tags = 2 * 16 // tag and length of each column
		if got := FrameSize(&Commit{Op: MaxOp, ID: id16[sendonce.OpID](1), Changes: []Change{c}}) - empty; got > ChangeSize(&c)+tags*2 {
			t.Errorf("change %d: %d bytes, ChangeSize %d", i, got, ChangeSize(&c))
		}
	}
}

// apply runs a script over base, as the receiver of an offer does.
func apply(base []int, offers []*Offer, next func() int) []int {
	var out []int
	for _, o := range offers {
		for _, e := range o.Edits {
			base = base[e.Skip:]
			out = append(out, base[:e.Keep]...)
			base = base[e.Keep:]
			for range e.Insert {
				out = append(out, next())
			}
		}
	}
	return out
}

func TestSplitOffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var edits []sendonce.Edit
		var inserts, used uint64
		for range rapid.SampledFrom([]int{0, 1, 5, MaxEdits + 3}).Draw(t, "edits") {
			e := sendonce.Edit{Skip: rapid.Uint64Range(0, 2).Draw(t, "skip"), Keep: rapid.Uint64Range(0, 2).Draw(t, "keep"),
				Insert: rapid.SampledFrom([]uint64{0, 0, 1, 3}).Draw(t, "insert")}
			edits = append(edits, e)
		}
		if len(edits) > 0 && len(edits) < 10 {
			edits[0].Insert = rapid.SampledFrom([]uint64{0, 2, sendonce.MaxOfferRefs, sendonce.MaxOfferRefs + 1}).Draw(t, "long")
		}
		for _, e := range edits {
			inserts, used = inserts+e.Insert, used+e.Skip+e.Keep
		}
		refs := make([]sendonce.Ref, inserts)
		for i := range refs {
			refs[i] = sendonce.Ref{ID: id32[sendonce.ID](1), Size: int64(i%1000 + 1)}
		}
		base := make([]int, used)
		for i := range base {
			base[i] = -i
		}
		counter := func() func() int { n := 0; return func() int { n++; return n } }
		want := apply(base, []*Offer{{Edits: edits}}, counter())
		offers := SplitOffer(7, id16[sendonce.NodeID](1), 5, edits, refs)
		var got []sendonce.Ref
		for i, o := range offers {
			if _, err := AppendFrame(nil, o); err != nil {
				t.Fatal(err)
			}
			if o.Op != 7 || o.Last != (i == len(offers)-1) || (o.Base == 5) != (i == 0) || o.Node.IsZero() != (i != 0) {
				t.Fatalf("frame %d of %d: %v %v %v", i, len(offers), o.Op, o.Last, o.Base)
			}
			got = append(got, o.Refs...)
		}
		if !slices.Equal(refs, got) || !slices.Equal(want, apply(base, offers, counter())) {
			t.Fatal("the frames do not add up to the script")
		}
	})
	all := SplitOffer(1, sendonce.NodeID{}, 0, nil, bigOffer().Refs)
	if len(all) != 1 || !cmp.Equal(all[0], bigOffer()) {
		t.Errorf("no edits must mean: insert all")
	}
	if runs := SplitRefs(append(bigOffer().Refs, sendonce.Ref{Size: 1})); len(runs) != 2 || len(runs[1]) != 1 {
		t.Errorf("%d runs of references", len(runs))
	}
}

// The largest offer frame that the limits allow fits.
func TestWorstOfferFits(t *testing.T) {
	o := bigOffer()
	o.Op, o.Base, o.Node = MaxOp, 1<<64-1, id16[sendonce.NodeID](1)
	for i := range o.Refs {
		o.Refs[i] = sendonce.Ref{Size: maxRun / sendonce.MaxOfferRefs}
	}
	o.Edits = repeat(sendonce.Edit{Skip: 1<<64 - 1, Keep: 1<<64 - 1}, MaxEdits)
	o.Edits[5].Insert = sendonce.MaxOfferRefs
	if _, err := AppendFrame(nil, o); err != nil {
		t.Error(err)
	}
}
