package protocol

import (
	"bytes"
	"crypto/ed25519"
	"io"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sendonce"
)

func reader(b []byte) io.Reader { return bytes.NewReader(b) }

func keyOf(n byte) ed25519.PublicKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, 32)).Public().(ed25519.PublicKey)
}

// again checks that a parsed message can be sent and is the same when it arrives.
func again(t *testing.T, m Message) {
	b, err := AppendFrame(nil, m)
	if err != nil {
		if sendonce.KindOf(err) == sendonce.KindLimit {
			return // our encoding may be longer than that of a tight foreign one
		}
		t.Fatalf("%v was received but cannot be sent: %v", TypeOf(m), err)
	}
	got, err := NewReader(reader(b)).Next()
	if err != nil {
		t.Fatalf("%v was sent but cannot be received: %v", TypeOf(m), err)
	}
	if d := cmp.Diff(m, got, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%v: %s", TypeOf(m), d)
	}
}

func FuzzReader(f *testing.F) {
	var all []byte
	for _, m := range samples() {
		b := frame(f, m)
		f.Add(b)
		if TypeOf(m) != TypePackHeader {
			all = append(all, b...)
		}
	}
	f.Add(all)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add(append(frame(f, &PackHeader{Op: 1, Sizes: []uint32{9}, Length: 3}), 1, 2, 3))
	f.Fuzz(func(t *testing.T, b []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		var seen []Message
		r := NewReader(reader(b))
		for {
			m, err := r.Next()
			if err != nil {
				if err != io.EOF {
					e := wantKind(t, err, sendonce.KindOf(err))
					if k := e.Kind; k != 0 && k != sendonce.KindInvalid && k != sendonce.KindLimit {
						t.Fatalf("%v: kind %v", err, k)
					}
				}
				break
			}
			seen = append(seen, m)
			if h, ok := m.(*PackHeader); ok {
				body, err := r.Body(nil)
				if err == nil && len(body) != int(h.Length) {
					t.Fatalf("%d bytes of body, the header says %d", len(body), h.Length)
				}
			}
		}
		runtime.ReadMemStats(&after)
		// A nested record of two bytes may cost 400 in protobuf's and our form; the rest is buffers.
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20+400*uint64(len(b)) {
			t.Fatalf("%d bytes allocated for %d", n, len(b))
		}
		for _, m := range seen {
			again(t, m)
		}
	})
}

func FuzzParseFrame(f *testing.F) {
	for _, m := range samples() {
		f.Add(byte(TypeOf(m)), body(f, m))
	}
	f.Add(byte(TypeCommit), body(f, firstPush(30)))
	f.Fuzz(func(t *testing.T, typ byte, b []byte) {
		m, err := ParseFrame(FrameType(typ), b)
		if err != nil {
			if k := sendonce.KindOf(err); k != sendonce.KindInvalid && k != sendonce.KindLimit {
				t.Fatalf("%v: kind %v", err, k)
			}
			return
		}
		if TypeOf(m) != FrameType(typ) {
			t.Fatalf("%v came as %v", TypeOf(m), FrameType(typ))
		}
		again(t, m)
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add(sampleLink().String())
	f.Add("sendonce://[::1]:7411,h/#aa.bb")
	f.Add("sendonce://a,b:1,[fe80::1%e]:2#" + sampleLink().Server.String() + ".lrofyxc4lrofyxc4lrofyxc4lq")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLink(s)
		if err != nil {
			if sendonce.KindOf(err) != sendonce.KindUsage || sendonce.HintOf(err) == "" {
				t.Fatalf("%v: %v, hint %q", err, sendonce.KindOf(err), sendonce.HintOf(err))
			}
			return
		}
		got, err := ParseLink(l.String())
		if err != nil {
			t.Fatalf("%q became %q: %v", s, l, err)
		}
		if d := cmp.Diff(l, got); d != "" {
			t.Fatalf("%q: %s", s, d)
		}
	})
}
