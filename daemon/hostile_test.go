package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sendonce"
	"sendonce/content"
	"sendonce/daemon"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
)

// liar is a server that says whatever a test wants, in the right frames.
type liar struct {
	w      *world
	folder sendonce.FolderID
	hasher *content.Hasher
	answer func(st *liarStream, m protocol.Message) error
	patch  func([]byte) []byte // of the bytes that it sends; nil: none
}

type liarStream struct {
	*protocol.Reader
	*protocol.Writer
	raw protocol.Stream
}

var liarKey = [32]byte{7}

var errDone = errors.New("the server has said enough")

// newLiar replaces the proxy of a new world. It returns a device that trusts it.
func newLiar(t *testing.T, answer func(st *liarStream, m protocol.Message) error) (*liar, *device) {
	t.Helper()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	folders, err := d.Folders()
	w.must(err)
	w.halt()
	l := &liar{w: w, folder: folders[0].ID, hasher: content.NewHasher(liarKey), answer: answer}
	lis, err := w.net.Listen("proxy", prototest.Key(serverKey))
	w.must(err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := lis.Accept(context.Background())
			if err != nil {
				return
			}
			all.Go(func() {
				for {
					st, err := conn.AcceptRecv(context.Background())
					if err != nil {
						return
					}
					all.Go(func() { st.StopRecv(0) })
				}
			})
			all.Go(func() {
				for {
					st, err := conn.Accept(context.Background())
					if err != nil {
						return
					}
					all.Go(func() { l.serve(st) })
				}
			})
		}
	})
	t.Cleanup(func() {
		w.must(lis.Close())
		all.Wait()
	})
	return l, d
}

func (l *liar) serve(raw protocol.Stream) {
	var to bytes.Buffer
	st := &liarStream{Reader: protocol.NewReader(raw), Writer: protocol.NewWriter(&to), raw: raw}
	defer raw.StopRecv(0)
	for {
		m, err := st.Next()
		if err != nil {
			_ = raw.Close()
			return
		}
		if _, ok := m.(*protocol.Hello); ok {
			err = st.Send(&protocol.Welcome{Version: protocol.Version, Params: sendonce.DefaultParams, TenantKey: liarKey, Time: time.Now(),
				Folders: []protocol.FolderInfo{{ID: l.folder, Name: "f", Role: sendonce.RoleReadWrite, Head: sendonce.Cursor{}}}})
		} else {
			err = l.answer(st, m)
		}
		_ = st.Flush()
		b := to.Bytes()
		if l.patch != nil {
			b = l.patch(b)
		}
		_, _ = raw.Write(b)
		to.Reset()
		if err != nil {
			_ = raw.Close()
			return
		}
	}
}

func nodeID(n byte) sendonce.NodeID { return sendonce.NodeID{n} }

func (l *liar) file(n byte, name string, parent sendonce.NodeID, refs ...sendonce.Ref) sendonce.Node {
	return sendonce.Node{ID: nodeID(n), Parent: parent, Name: name, Kind: sendonce.KindFile, Rev: 1, Mode: 0o644,
		Size: sendonce.Manifest(refs).Size(), Content: sendonce.Content{Refs: refs}}
}

func (l *liar) ref(data []byte) sendonce.Ref {
	return sendonce.Ref{ID: l.hasher.Chunk(data), Size: int64(len(data))}
}

func sendPack(st *liarStream, op uint64, chunks ...[]byte) error {
	var raw []byte
	h := &protocol.PackHeader{Op: op}
	for _, c := range chunks {
		raw = append(raw, c...)
		h.Sizes = append(h.Sizes, uint32(len(c)))
	}
	h.Length = uint32(len(raw))
	return st.SendPack(h, raw)
}

// A hostile server can make a restore fail, or leave a file out. It cannot make
// it write a wrong byte, or anything outside the target.
func TestHostileServer(t *testing.T) {
	t.Parallel()
	good, bad := noise(1, 5000), noise(2, 5000)
	hasher := content.NewHasher(liarKey)
	many := make(sendonce.Manifest, 100)
	for i := range many {
		data := noise(uint64(50+i), 1000+i)
		many[i] = sendonce.Ref{ID: hasher.Chunk(data), Size: int64(len(data))}
	}
	type lie struct {
		nodes   func(l *liar) []sendonce.Node
		patch   func([]byte) []byte
		read    func(l *liar, st *liarStream, m *protocol.Read) error
		fetch   func(l *liar, st *liarStream, m *protocol.Fetch) error
		kind    sendonce.ErrKind // of Restore's error
		written []string
	}
	honest := func(l *liar) []sendonce.Node { return []sendonce.Node{l.file(1, "good", l.folder.Root(), l.ref(good))} }
	large := func(l *liar) []sendonce.Node {
		c, err := content.Describe(l.hasher, many, nil)
		l.w.must(err)
		return []sendonce.Node{{ID: nodeID(1), Parent: l.folder.Root(), Name: "tree", Kind: sendonce.KindFile, Rev: 1, Size: many.Size(), Content: c}}
	}
	for name, c := range map[string]lie{
		"honest": {nodes: honest, written: []string{"good"}},
		"name that leads out": {nodes: func(l *liar) []sendonce.Node {
			return []sendonce.Node{{ID: nodeID(2), Parent: l.folder.Root(), Name: "zQ", Kind: sendonce.KindDir, Rev: 1}, l.file(1, "x", nodeID(2), l.ref(good))}
		}, patch: func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("zQ"), []byte("..")) }, kind: sendonce.KindInvalid},
		"name with a slash": {nodes: func(l *liar) []sendonce.Node {
			return []sendonce.Node{l.file(1, "zQzQzQ", l.folder.Root(), l.ref(good))}
		}, patch: func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("zQzQzQ"), []byte("../../")) }, kind: sendonce.KindInvalid},
		"child before its directory": {nodes: func(l *liar) []sendonce.Node {
			return []sendonce.Node{l.file(1, "x", nodeID(2), l.ref(good)), {ID: nodeID(2), Parent: l.folder.Root(), Name: "d", Kind: sendonce.KindDir, Rev: 1}}
		}, kind: sendonce.KindInvalid},
		"child of a file": {nodes: func(l *liar) []sendonce.Node {
			return []sendonce.Node{l.file(1, "x", l.folder.Root(), l.ref(good)), l.file(2, "y", nodeID(1), l.ref(good))}
		}, kind: sendonce.KindInvalid},
		"directory and symlink of one name": {nodes: func(l *liar) []sendonce.Node {
			return []sendonce.Node{{ID: nodeID(2), Parent: l.folder.Root(), Name: "d", Kind: sendonce.KindDir, Rev: 1, Mode: 0o755},
				{ID: nodeID(3), Parent: l.folder.Root(), Name: "d", Kind: sendonce.KindSymlink, Target: "../../outside", Rev: 1},
				l.file(1, "x", nodeID(2), l.ref(good))}
		}, kind: sendonce.KindPartial, written: []string{"d", "d/x"}},
		"two files of one name": {nodes: func(l *liar) []sendonce.Node {
			return []sendonce.Node{l.file(1, "x", l.folder.Root(), l.ref(good)), l.file(2, "x", l.folder.Root(), l.ref(good))}
		}, written: []string{"x"}},
		"size that does not fit": {nodes: func(l *liar) []sendonce.Node {
			r := l.ref(good)
			r.Size--
			return []sendonce.Node{l.file(1, "x", l.folder.Root(), r)}
		}, kind: sendonce.KindPartial},
		"wrong bytes": {nodes: honest, fetch: func(l *liar, st *liarStream, m *protocol.Fetch) error {
			return errors.Join(sendPack(st, m.Op, bad), st.Send(&protocol.Done{Op: m.Op}))
		}, kind: sendonce.KindPartial},
		"no bytes": {nodes: honest, fetch: func(l *liar, st *liarStream, m *protocol.Fetch) error {
			return st.Send(&protocol.Done{Op: m.Op})
		}, kind: sendonce.KindPartial},
		"more bytes than asked for": {nodes: honest, fetch: func(l *liar, st *liarStream, m *protocol.Fetch) error {
			return errors.Join(sendPack(st, m.Op, bad, good, bad), st.Send(&protocol.Done{Op: m.Op}))
		}, written: []string{"good"}},
		"packs without end": {nodes: honest, fetch: func(l *liar, st *liarStream, m *protocol.Fetch) error {
			return errors.Join(sendPack(st, m.Op, bad), sendPack(st, m.Op, bad), sendPack(st, m.Op, bad))
		}, kind: sendonce.KindInvalid},
		"end in the middle": {nodes: honest, fetch: func(l *liar, st *liarStream, m *protocol.Fetch) error {
			return errors.Join(sendPack(st, m.Op, good), errDone)
		}, kind: sendonce.KindUnavailable},
		"answer of another type": {nodes: honest, fetch: func(l *liar, st *liarStream, m *protocol.Fetch) error {
			return st.Send(&protocol.NodeList{Op: m.Op, Done: true})
		}, kind: sendonce.KindInvalid},
		"manifest": {nodes: large, written: []string{"tree"}},
		"manifest of something else": {nodes: large, read: func(l *liar, st *liarStream, m *protocol.Read) error {
			other := append(sendonce.Manifest(nil), many...)
			other[3] = l.ref(bad)
			return st.Send(&protocol.ManifestPart{Op: m.Op, Refs: other, Done: true})
		}, kind: sendonce.KindPartial},
		"manifest without end": {nodes: large, read: func(l *liar, st *liarStream, m *protocol.Read) error {
			return errors.Join(st.Send(&protocol.ManifestPart{Op: m.Op, Refs: many}), st.Send(&protocol.ManifestPart{Op: m.Op, Refs: many}))
		}, kind: sendonce.KindInvalid},
		"manifest refused": {nodes: large, read: func(l *liar, st *liarStream, m *protocol.Read) error {
			return st.Send(protocol.FailOf(m.Op, &sendonce.Error{Kind: sendonce.KindDamaged, Detail: "lost"}))
		}, kind: sendonce.KindPartial},
		"manifest cut short": {nodes: large, read: func(l *liar, st *liarStream, m *protocol.Read) error {
			return errors.Join(st.Send(&protocol.ManifestPart{Op: m.Op, Refs: many[:5]}), errDone)
		}, kind: sendonce.KindUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			chunks := map[sendonce.ID][]byte{}
			var l *liar
			l, d := newLiar(t, func(st *liarStream, m protocol.Message) error {
				switch m := m.(type) {
				case *protocol.List:
					return st.Send(&protocol.NodeList{Op: m.Op, Nodes: c.nodes(l), Done: true})
				case *protocol.Read:
					if c.read != nil {
						return c.read(l, st, m)
					}
					return st.Send(&protocol.ManifestPart{Op: m.Op, Refs: many, Done: true})
				case *protocol.Fetch:
					if c.fetch != nil {
						return c.fetch(l, st, m)
					}
					var err error
					for _, data := range chunks {
						err = errors.Join(err, sendPack(st, m.Op, data))
					}
					return errors.Join(err, st.Send(&protocol.Done{Op: m.Op}))
				}
				return errDone
			})
			l.patch = c.patch
			if name == "manifest" {
				for i := range many {
					chunks[many[i].ID] = noise(uint64(50+i), 1000+i)
				}
			} else {
				chunks[l.hasher.Chunk(good)] = good
			}
			parent := l.w.tempDir()
			to := filepath.Join(parent, "a", "b")
			l.w.must(os.MkdirAll(filepath.Dir(to), 0o755))
			_, err := d.Restore(t.Context(), daemon.RestoreOptions{Folder: "f", To: to})
			if sendonce.KindOf(err) != c.kind {
				t.Errorf("error: %v, not of kind %v", err, c.kind)
			}
			want := map[string]bool{"a": true, "a/b": true}
			for _, n := range c.written {
				want["a/b/"+n] = true
			}
			got := tree(t, parent)
			for n, e := range got {
				if !want[n] {
					t.Errorf("%q was written", n)
				}
				if e.data != "" && e.data != string(good) && n != "a/b/tree" {
					t.Errorf("%q has wrong bytes", n)
				}
			}
			for n := range want {
				if _, ok := got[n]; !ok {
					t.Errorf("%q is missing", n)
				}
			}
		})
	}
}

// What a server says about a push is believed only when it is signed, and fits
// what was asked; an early end is an error and no endless wait.
func TestHostileServerOfPush(t *testing.T) {
	t.Parallel()
	receipt := func(l *liar, m *protocol.Commit, key byte) *protocol.Committed {
		r := protocol.Receipt{Folder: l.folder, Op: m.ID, Cursor: sendonce.Cursor{Seq: 1}, Time: time.Now()}
		r.Sign(prototest.Key(key))
		return &protocol.Committed{Op: m.Op, Receipt: r}
	}
	all := func(m *protocol.Offer) *protocol.Missing {
		return &protocol.Missing{Op: m.Op, Bits: bytes.Repeat([]byte{0xff}, (len(m.Refs)+7)/8)}
	}
	for name, c := range map[string]struct {
		offer  func(st *liarStream, m *protocol.Offer) error
		commit func(l *liar, st *liarStream, m *protocol.Commit) error
		kind   sendonce.ErrKind
		synced bool
	}{
		"honest": {commit: func(l *liar, st *liarStream, m *protocol.Commit) error { return st.Send(receipt(l, m, serverKey)) }, synced: true},
		"signed by another": {commit: func(l *liar, st *liarStream, m *protocol.Commit) error {
			return st.Send(receipt(l, m, 99))
		}, kind: sendonce.KindInvalid},
		"another commit's receipt": {commit: func(l *liar, st *liarStream, m *protocol.Commit) error {
			other := *m
			other.ID[0]++
			return st.Send(receipt(l, &other, serverKey))
		}, kind: sendonce.KindInvalid},
		"a commit that was not sent": {commit: func(l *liar, st *liarStream, m *protocol.Commit) error {
			other := *m
			other.Op++
			return st.Send(receipt(l, &other, serverKey))
		}, kind: sendonce.KindInvalid},
		"an offer that was not made": {offer: func(st *liarStream, m *protocol.Offer) error {
			return st.Send(&protocol.Missing{Op: m.Op + 1})
		}, kind: sendonce.KindInvalid},
		"an answer of another type": {offer: func(st *liarStream, m *protocol.Offer) error {
			return st.Send(&protocol.Done{Op: m.Op})
		}, kind: sendonce.KindInvalid},
		"an early end": {offer: func(st *liarStream, m *protocol.Offer) error { return errDone }, kind: sendonce.KindUnavailable},
		"an early end of everything": {offer: func(st *liarStream, m *protocol.Offer) error {
			return errors.Join(st.Send(all(m)), errDone)
		}, kind: sendonce.KindUnavailable},
		"full": {offer: func(st *liarStream, m *protocol.Offer) error {
			return st.Send(protocol.FailOf(0, &sendonce.Error{Kind: sendonce.KindFull, Detail: "no room"}))
		}, kind: sendonce.KindFull},
		"no base, for ever": {commit: func(l *liar, st *liarStream, m *protocol.Commit) error {
			return st.Send(protocol.FailOf(m.Op, &sendonce.Error{Kind: sendonce.KindNotFound, Detail: "no such revision"}))
		}, kind: sendonce.KindUnavailable},
		"chunks gone, for ever": {commit: func(l *liar, st *liarStream, m *protocol.Commit) error {
			return st.Send(&protocol.Missing{Op: m.Op, IDs: []sendonce.ID{{1}}})
		}, kind: sendonce.KindUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var l *liar
			l, d := newLiar(t, func(st *liarStream, m protocol.Message) error {
				switch m := m.(type) {
				case *protocol.Changes:
					return st.Send(&protocol.ChangeSet{Complete: true})
				case *protocol.PushOpen:
					return st.Send(&protocol.PushReady{})
				case *protocol.Offer:
					if c.offer != nil {
						return c.offer(st, m)
					}
					return st.Send(all(m))
				case *protocol.Commit:
					if c.commit != nil {
						return c.commit(l, st, m)
					}
				}
				return errDone
			})
			d.write("a", noise(1, 3000))
			d.write("b", noise(2, 2<<20))
			_, err := d.trySync()
			if sendonce.KindOf(err) != c.kind {
				t.Errorf("error: %v, not of kind %v", err, c.kind)
			}
			var seen int
			l.w.must(d.db.Live(l.folder).AllSynced(func(*sendonce.Node) (bool, error) { seen++; return true, nil }))
			if c.synced != (seen > 0) {
				t.Errorf("%d nodes are taken for synced", seen)
			}
		})
	}
}
