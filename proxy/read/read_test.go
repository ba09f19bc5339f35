package read

import (
	"errors"
	"strings"
	"testing"

	"sendonce"
	"sendonce/protocol"
)

func TestJustBefore(t *testing.T) {
	for _, name := range []string{"a", "b\x00", "\x01", "é", "\xff\xff", "long name.txt"} {
		before := justBefore(name)
		if before >= name {
			t.Errorf("%q is not before %q", before, name)
		}
		for _, other := range []string{name[:len(name)-1], name + "x", "a", "b", "c"} {
			if other != name && other < name && other > before {
				t.Errorf("%q is between %q and %q", other, before, name)
			}
		}
	}
}

// closed reports whether a channel is.
func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestFeeds(t *testing.T) {
	table := newFeedTable()
	docs, other := folderKey{1, sendonce.FolderID{1}}, folderKey{2, sendonce.FolderID{1}} // another tenant's
	table.tell(docs, 9)                                                                   // nobody listens: nothing is kept
	leave, leaveToo := table.join(docs), table.join(docs)
	leaveOther := table.join(other)
	first := table.after(docs, 0)
	if closed(first) {
		t.Fatal("something has happened already")
	}
	table.tell(docs, 2)
	table.tell(docs, 1) // late: no news
	if !closed(first) || !closed(table.after(docs, 1)) || closed(table.after(docs, 2)) {
		t.Error("a listener hears of what is beyond its cursor, and of nothing else")
	}
	if closed(table.after(other, 0)) {
		t.Error("another tenant's folder is taken for this one")
	}
	next := table.after(docs, 2)
	asked := map[folderKey]bool{}
	table.poll(func(k folderKey) (sendonce.Cursor, error) {
		asked[k] = true
		if k == other {
			return sendonce.Cursor{Seq: 7}, errors.New("not now")
		}
		return sendonce.Cursor{Seq: 5}, nil
	})
	if len(asked) != 2 || !closed(next) || closed(table.after(other, 0)) {
		t.Errorf("after asking for %v", asked)
	}
	leave()
	if !closed(table.after(docs, 4)) {
		t.Error("the feed went with one of its two listeners")
	}
	leaveToo()
	leaveOther()
	if len(table.feeds) != 0 {
		t.Errorf("%d feeds are kept for nobody", len(table.feeds))
	}
}

// Nodes come in frames of a bounded size, in order, and the last frame alone is
// marked, even if it has nothing in it.
func TestNodeFrames(t *testing.T) {
	for _, count := range []int{0, 1, 3, 5000} {
		var sizes []int
		var last bool
		seen := 0
		f := &nodeFrames{send: func(nodes []sendonce.Node, done bool) error {
			if last {
				t.Fatal("a frame after the last one")
			}
			for _, n := range nodes {
				if n.Rev != uint64(seen) {
					t.Fatalf("node %d in place of %d", n.Rev, seen)
				}
				seen++
			}
			if n := protocol.FrameSize(&protocol.NodeList{Nodes: nodes}); n > sendonce.MaxFrame {
				t.Fatalf("a frame of %d bytes", n)
			}
			sizes, last = append(sizes, len(nodes)), done
			return nil
		}}
		for i := range count {
			if err := f.add(sendonce.Node{Rev: uint64(i), Name: strings.Repeat("n", 200)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.end(); err != nil {
			t.Fatal(err)
		}
		if seen != count || !last || count == 5000 && len(sizes) < 3 || count < 5 && len(sizes) != 1 {
			t.Errorf("%d nodes in frames of %v, want %d", seen, sizes, count)
		}
	}
	gone := errors.New("gone")
	f := &nodeFrames{send: func([]sendonce.Node, bool) error { return gone }}
	if err := f.end(); err != gone {
		t.Errorf("a peer that is gone: %v", err)
	}
}
