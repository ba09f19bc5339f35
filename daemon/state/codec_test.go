package state

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sendonce"
	"sendonce/daemon/state/internal/row"
)

var (
	refsContent   = sendonce.Content{Refs: []sendonce.Ref{{ID: sendonce.ID{1}, Size: 70000}, {Size: 1 << 30}}}
	treeContent   = sendonce.Content{Root: sendonce.ID{9}, Level: 2, Count: 5000}
	inlineContent = sendonce.Content{Inline: []byte("hello")}
)

func sampleNodes() []sendonce.Node {
	id := sendonce.NodeID{1}
	return []sendonce.Node{
		{ID: id, Kind: sendonce.KindDir},
		{ID: id, Parent: sendonce.NodeID{2}, Name: "a", Kind: sendonce.KindFile, Rev: 7, Mode: 0o644, MTimeNS: -5, Size: 5, Content: inlineContent},
		{ID: id, Name: "b", Kind: sendonce.KindFile, Size: 1 << 40, Content: refsContent, Xattrs: []sendonce.Xattr{{Name: "user.x", Value: []byte("y")}, {Name: "user.z"}}},
		{ID: id, Name: "c", Kind: sendonce.KindFile, Rev: 1<<64 - 1, Content: treeContent},
		{ID: id, Name: "d", Kind: sendonce.KindSymlink, Target: "../e"},
		{ID: id, Parent: sendonce.NodeID{3}, Name: "gone", Kind: sendonce.KindFile, Rev: 3, Deleted: true},
	}
}

func sampleLocals() []Local {
	var out []Local
	for _, n := range sampleNodes() {
		out = append(out, Local{Node: n.ID, Kind: n.Kind, Content: n.Content, Target: n.Target, Racy: n.Deleted,
			Stat: Stat{Dev: 1 << 40, Ino: 1<<64 - 1, Size: n.Size, MTimeNS: n.MTimeNS, CTimeNS: -1 << 63, BirthNS: 1<<63 - 1, Mode: n.Mode}})
	}
	return out
}

// TestGolden pins format 1: rows written by any version of it must stay readable.
func TestGolden(t *testing.T) {
	n := sampleNodes()[1]
	want := "\x01\x00\x01" + "\x02" + string(make([]byte, 15)) + "\x01a" + "\x07" + "\xa4\x03" + "\xff\xff\xff\xff\xff\xff\xff\xfb" + "\x05" + "\x01\x05hello" + "\x00" + "\x00"
	if got := string(row.AppendNode(nil, &n)); got != want {
		t.Errorf("a node row is\n%q, want\n%q", got, want)
	}
	l := Local{Node: sendonce.NodeID{4}, Kind: sendonce.KindSymlink, Racy: true, Target: "t",
		Stat: Stat{Dev: 1, Ino: 300, Size: 1, MTimeNS: 256, CTimeNS: 257, BirthNS: 255, Mode: 0o777}}
	want = "\x01\x01\x03" + "\x04" + string(make([]byte, 15)) + "\x01" + "\xac\x02" + "\x01" + "\x00\x00\x00\x00\x00\x00\x01\x00" + "\x02" + "\x01" + "\xff\x03" + "\x00" + "\x01t"
	if got := string(appendLocal(nil, &l)); got != want {
		t.Errorf("a Local row is\n%q, want\n%q", got, want)
	}
	want = "\x01\x05\x02" + "\x01" + string(make([]byte, 31)) + string(make([]byte, 32)) + "\xf0\xa2\x04" + "\x80\x80\x80\x80\x04"
	if got := string(row.AppendPart(nil, 5, refsContent.Refs)); got != want {
		t.Errorf("a manifest row is\n%q, want\n%q", got, want)
	}
}

func TestRowsComeBack(t *testing.T) {
	for _, n := range sampleNodes() {
		got, ok := row.ParseNode(row.AppendNode(nil, &n))
		got.ID = n.ID
		if d := cmp.Diff(n, got); !ok || d != "" {
			t.Errorf("node, ok %v: %s", ok, d)
		}
	}
	for _, l := range sampleLocals() {
		got, ok := parseLocal(appendLocal(nil, &l))
		if d := cmp.Diff(l, got); !ok || d != "" {
			t.Errorf("local, ok %v: %s", ok, d)
		}
	}
}

// fuzzRow checks a row codec: any bytes are read without harm, and what is
// accepted is the only encoding of what was read.
func fuzzRow[T any](f *testing.F, seeds [][]byte, parse func([]byte) (T, bool), encode func([]byte, *T) []byte) {
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)-1])
		f.Add(append(bytes.Clone(s), 0))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, ok := parse(b)
		if !ok {
			return
		}
		if again := encode(nil, &v); !bytes.Equal(again, b) {
			t.Errorf("read %x, wrote %x", b, again)
		}
	})
}

func FuzzNode(f *testing.F) {
	var seeds [][]byte
	for _, n := range sampleNodes() {
		seeds = append(seeds, row.AppendNode(nil, &n))
	}
	fuzzRow(f, seeds, row.ParseNode, row.AppendNode)
}

func FuzzLocal(f *testing.F) {
	var seeds [][]byte
	for _, l := range sampleLocals() {
		seeds = append(seeds, appendLocal(nil, &l))
	}
	fuzzRow(f, seeds, parseLocal, appendLocal)
}

func FuzzFolder(f *testing.F) {
	fuzzRow(f, [][]byte{appendFolder(nil, &Folder{}), appendFolder(nil, &Folder{Name: "n", Dir: "/d", Role: 3, Names: 1, Dev: 1 << 50, Ino: 2, Paused: true, PauseReason: "why"})}, parseFolder, appendFolder)
}

func FuzzServer(f *testing.F) {
	fuzzRow(f, [][]byte{appendServer(nil, &Server{}), appendServer(nil, &Server{Addrs: []string{"a:1", ""}, Fingerprint: sendonce.DeviceID{1}})}, parseServer, appendServer)
}

func FuzzCursor(f *testing.F) {
	fuzzRow(f, [][]byte{row.AppendCursor(nil, sendonce.Cursor{Seq: 300, Chain: [32]byte{1}})}, row.ParseCursor,
		func(b []byte, c *sendonce.Cursor) []byte { return row.AppendCursor(b, *c) })
}

func FuzzManifest(f *testing.F) {
	type part struct {
		m     sendonce.Manifest
		total uint64
	}
	fuzzRow(f, [][]byte{row.AppendPart(nil, 2, refsContent.Refs), row.AppendPart(nil, 9000, refsContent.Refs[:1])},
		func(b []byte) (part, bool) {
			m, total, ok := row.ParsePart(nil, b)
			return part{m, total}, ok && total < 1<<62
		},
		func(b []byte, p *part) []byte { return row.AppendPart(b, int(p.total), p.m) })
}
