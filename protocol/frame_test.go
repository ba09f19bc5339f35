package protocol

import (
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sendonce"
)

var update = flag.Bool("update", false, "write the golden files anew")

func wantKind(t testing.TB, err error, want sendonce.ErrKind) *sendonce.Error {
	t.Helper()
	e, ok := errors.AsType[*sendonce.Error](err)
	if !ok || sendonce.KindOf(err) != want {
		t.Fatalf("error %v (%v), want kind %v", err, sendonce.KindOf(err), want)
	}
	return e
}

func frame(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := AppendFrame(nil, m)
	if err != nil {
		t.Fatalf("%v: %v", TypeOf(m), err)
	}
	return b
}

// body returns what follows the type byte.
func body(t testing.TB, m Message) []byte {
	t.Helper()
	b := frame(t, m)
	for b[0] >= 0x80 {
		b = b[1:]
	}
	return b[2:]
}

func TestEveryMessageSurvivesTheWire(t *testing.T) {
	seen := map[FrameType]bool{}
	for i, m := range samples() {
		seen[TypeOf(m)] = true
		got, err := ParseFrame(TypeOf(m), body(t, m))
		if err != nil {
			t.Errorf("sample %d, %v: %v", i, TypeOf(m), err)
			continue
		}
		if d := cmp.Diff(m, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("sample %d, %v: %s", i, TypeOf(m), d)
		}
		if n := len(frame(t, m)); n != FrameSize(m) {
			t.Errorf("sample %d, %v: FrameSize %d, frame %d", i, TypeOf(m), FrameSize(m), n)
		}
	}
	for typ := range FrameType(255) {
		if known := newMessage(typ) != nil; known != seen[typ] || known && newMessage(typ).frameType() != typ ||
			known == strings.HasPrefix(typ.String(), "frame type") {
			t.Errorf("%v: in newMessage %v, in samples %v", typ, known, seen[typ])
		}
	}
}

// The bytes on the wire are a format: old peers must go on reading them.
func TestFramesAreGolden(t *testing.T) {
	var b strings.Builder
	for _, m := range samples() {
		fmt.Fprintf(&b, "%v %s\n", TypeOf(m), hex.EncodeToString(frame(t, m)))
	}
	const file = "testdata/frames.golden"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("the bytes changed: %s", d)
	}
}

// What a first push costs is what these sizes add up to.
func TestSizesAreGolden(t *testing.T) {
	names := 0
	push := firstPush(1000)
	for _, c := range push.Changes {
		names += len(c.Name)
	}
	one := []sendonce.Ref{{ID: id32[sendonce.ID](1), Size: 70000}}
	node := sampleNodes()[2]
	node.Content.Refs, node.Size = one, 70000
	nodes := func(n int) int { return FrameSize(&NodeList{Op: 1, Nodes: repeat(node, n)}) }
	for _, c := range []struct {
		what        string
		got, golden int
	}{
		{"a Commit of 1,000 new files without their names, per 1,000", FrameSize(push) - names, 14877},
		{"an Offer frame of a new one-chunk file, over 32 bytes and the size's varint", FrameSize(&Offer{Op: 11500, Edits: []sendonce.Edit{{Insert: 1}}, Refs: one, Last: true}) - 32 - 3, 11},
		{"an Offer frame of 16,384 references", FrameSize(bigOffer()), 573456},
		{"a node of one chunk, without its name", nodes(11) - nodes(10) - len(node.Name), 101},
		{"Hello", FrameSize(&Hello{Version: 1, DeviceName: "laptop"}), 12},
		{"Welcome of one folder", FrameSize(samples()[3]) - FrameSize(&Welcome{Version: 1}), 163},
		{"StoredAck", FrameSize(&StoredAck{Op: 1000, Through: 1000}), 8},
		{"Committed", FrameSize(&Committed{Op: 1, Receipt: samples()[15].(*Committed).Receipt}), 158},
	} {
		if c.got != c.golden {
			t.Errorf("%s: %d bytes, want %d", c.what, c.got, c.golden)
		}
	}
}

func repeat[T any](v T, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = v
	}
	return out
}

func TestUnknownFieldsAreIgnoredAndUnknownTypesAreNot(t *testing.T) {
	b := append(body(t, &Done{Op: 5}), 0xfa, 0x07, 2, 'h', 'i') // field 127, two bytes
	m, err := ParseFrame(TypeDone, b)
	if err != nil || m.(*Done).Op != 5 {
		t.Fatalf("%v, %v", m, err)
	}
	for _, typ := range []FrameType{0, 25, 255} {
		_, err := ParseFrame(typ, nil)
		wantKind(t, err, sendonce.KindInvalid)
	}
}

// stranger is a Message only by embedding one: it has no bytes of its own.
type stranger struct{ Message }

func TestForeignMessagesAreRefused(t *testing.T) {
	_, err := AppendFrame(nil, stranger{&Done{}})
	wantKind(t, err, sendonce.KindInvalid)
	if n := FrameSize(stranger{&Done{}}); n != 0 {
		t.Errorf("size %d", n)
	}
}

func TestParsedMessagesOwnTheirMemory(t *testing.T) {
	for i, m := range samples() {
		b := body(t, m)
		got, err := ParseFrame(TypeOf(m), b)
		if err != nil {
			t.Fatal(err)
		}
		clear(b)
		if d := cmp.Diff(m, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("sample %d, %v changed with the buffer: %s", i, TypeOf(m), d)
		}
	}
}

func TestTooLongFramesAreRefused(t *testing.T) {
	big := sampleNodes()[5]
	big.Xattrs = []sendonce.Xattr{{Name: "user.big", Value: make([]byte, 60<<10)}}
	dst := []byte("before")
	got, err := AppendFrame(dst, &NodeList{Op: 1, Nodes: repeat(big, 20)})
	wantKind(t, err, sendonce.KindLimit)
	if string(got) != "before" {
		t.Errorf("dst became %q", got)
	}
	_, err = ParseFrame(TypeDone, make([]byte, sendonce.MaxFrame))
	wantKind(t, err, sendonce.KindLimit)
}

// Two bytes on the wire must not become hundreds in memory without end.
func TestManyTinyRecordsAreRefused(t *testing.T) {
	tiny := func(field byte, n int) []byte {
		b := make([]byte, 0, 2*n)
		for range n {
			b = append(b, field<<3|2, 0)
		}
		return b
	}
	for typ, field := range map[FrameType]byte{TypeNodeList: 2, TypeChangeSet: 4, TypeConflict: 2, TypeLogEntries: 2, TypeWelcome: 7} {
		_, err := ParseFrame(typ, tiny(field, MaxFrameItems+1))
		wantKind(t, err, sendonce.KindLimit)
	}
	nested := tiny(8, 40000) // nodes of one log entry
	n := len(nested)
	b := append([]byte{2<<3 | 2, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n >> 14)}, nested...)
	_, err := ParseFrame(TypeLogEntries, b)
	wantKind(t, err, sendonce.KindLimit)
}
