package proxy

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"sendonce"
	"sendonce/protocol"
)

// FuzzPush lets a device send valid frames in any order on a Push stream, with
// packs on the side, and checks that the proxy neither panics nor hangs, and
// that the index keeps its rules (world's own check at the end).
func FuzzPush(f *testing.F) {
	f.Add([]byte{0x00, 0x11, 0x22, 0x30, 0x40})
	f.Add([]byte{0x05, 0x15, 0x31, 0x41, 0x05, 0x45, 0x55})
	f.Add([]byte{0x31, 0x31, 0x02, 0x42, 0x42, 0x62, 0x13})
	f.Add([]byte{0x70, 0x71, 0x72, 0x00, 0x40, 0x50, 0x60})
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 64 {
			return
		}
		l := impatient
		l.CommitPatience, l.PackGrace, l.PushRefs = 5*time.Millisecond, 5*time.Millisecond, 200
		w := newWorld(t, limits(l))
		folder := w.folder("docs")
		a := w.device(sendonce.RoleReadWrite, "")
		p := a.push(folder)
		files := []file{a.file(noise(1, 300)), a.file(noise(2, 5*testChunk)), a.file(noise(3, 20*testChunk)), a.file(nil)}
		var node sendonce.NodeID
		node[0] = 1
		var wg sync.WaitGroup
		wg.Go(func() { // answers are of no interest, but must be taken
			for {
				if _, err := p.st.Next(); err != nil {
					return
				}
			}
		})
		for i, s := range steps {
			arg := int(s & 15)
			data := files[arg%len(files)]
			var err error
			switch s >> 4 {
			case 0: // a whole offer
				p.offers++
				err = p.st.Send(&protocol.Offer{Op: p.offers, Refs: data.refs, Last: true})
			case 1: // a part of one, or one that goes on
				err = p.st.Send(&protocol.Offer{Op: uint64(arg), Node: node, Base: uint64(arg / 4), Refs: data.refs, Last: arg%2 == 0})
			case 2: // edits that may not fit
				p.offers++
				err = p.st.Send(&protocol.Offer{Op: p.offers, Node: node, Base: uint64(arg), Last: true,
					Edits: []sendonce.Edit{{Skip: uint64(arg), Keep: uint64(arg), Insert: uint64(len(data.refs))}}, Refs: data.refs})
			case 3: // a pack of it
				if len(data.refs) > 0 && p.packs < 10 {
					p.sendPack(a, data.data[:data.refs[0].Size], []byte{s})
				}
			case 4: // a commit that creates
				err = p.st.Send(&protocol.Commit{Op: uint64(i + 1), ID: sendonce.OpID{byte(arg + 1)}, Changes: []protocol.Change{{Node: node, SetPlace: true,
					Parent: folder.Root(), Name: "f", Kind: sendonce.KindFile, SetContent: true, Offer: uint64(arg)}}})
			case 5: // one that revises
				err = p.st.Send(&protocol.Commit{Op: uint64(i + 1), ID: sendonce.OpID{byte(arg + 1), 5}, Changes: []protocol.Change{{Node: node, BaseOp: uint64(min(arg, i)),
					SetContent: true, Offer: uint64(arg)}}})
			case 6: // one that deletes, and a directory beside it
				err = p.st.Send(&protocol.Commit{Op: uint64(i + 1), ID: sendonce.OpID{byte(arg + 1), 6}, Changes: []protocol.Change{
					{Node: node, Base: uint64(arg), Delete: true},
					{Node: sendonce.NodeID{9, s}, SetPlace: true, Parent: node, Name: "d", Kind: sendonce.KindDir}}})
			case 7:
				p.st.Flush()
				if len(data.refs) > 0 && p.packs < 10 {
					p.sendAll([][]byte{data.data[:min(len(data.data), testChunk)]})
				}
			default:
				err = p.st.Send(&protocol.Commit{Op: uint64(i + 1), ID: sendonce.OpID{s}})
			}
			var refused *sendonce.Error
			if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &refused) {
				t.Fatal(err)
			}
		}
		p.st.Flush() // the push may have ended; then nobody reads it
		p.st.Raw.Close()
		q := a.push(folder)
		alive := a.file(noise(9, 2*testChunk))
		op := q.offer(alive)
		q.sendAll(missing(alive, expect[*protocol.Missing](q)))
		for done := false; !done; { // such short patience may run out before the pack is here
			q.commit(q.create("alive", op, alive))
			switch m := q.until().(type) {
			case *protocol.Committed:
				done = true
			case *protocol.Missing:
			default:
				t.Fatalf("another push got %T %+v", m, m)
			}
		}
		a.conn.Close(0, "")
		wg.Wait()
		w.stop()
		if n := w.srv.metrics.MemoryBytes.Load(); n != 0 {
			t.Errorf("%d bytes of memory are still accounted for", n)
		}
		if _, err := w.index.Head(context.Background(), sendonce.DefaultTenant, folder); err != nil {
			t.Error(err)
		}
	})
}

// BenchmarkPush pushes 64 MiB in chunks of 64 KiB, packs of 1 MiB on four
// connections, from offer to receipt, over the memory engines.
func BenchmarkPush(b *testing.B) {
	const chunk, total = 64 << 10, 64 << 20
	w := newWorld(b)
	f := w.folder("docs")
	a := w.device(sendonce.RoleReadWrite, "")
	conns := []*client{a, a.again(true), a.again(true), a.again(true)}
	data := noise(1, total)
	b.SetBytes(total)
	for b.Loop() {
		b.StopTimer()
		p := a.push(f)
		tag := newNode()
		var refs []sendonce.Ref
		for off := 0; off < total; off += chunk {
			copy(data[off:], tag[:]) // new data every time
			refs = append(refs, sendonce.Ref{ID: a.hasher.Chunk(data[off : off+chunk]), Size: chunk})
		}
		b.StartTimer()
		op := p.offer(file{refs: refs})
		m := expect[*protocol.Missing](p)
		if !m.IsMissing(0) || !m.IsMissing(len(refs)-1) {
			b.Fatal("nothing is missing")
		}
		var wg sync.WaitGroup
		for i, c := range conns {
			wg.Go(func() {
				for n := i; n < total>>20; n += len(conns) {
					h := &protocol.PackHeader{Push: p.id, Op: uint64(n + 1), Length: 1 << 20}
					for range 16 {
						h.Sizes = append(h.Sizes, chunk)
					}
					s, err := c.conn.OpenSend(context.Background())
					if err != nil {
						b.Error(err)
						return
					}
					out := protocol.NewWriter(s)
					if err := errors.Join(out.SendPack(h, data[n<<20:(n+1)<<20]), out.Flush(), s.Close()); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		ch := p.create(tag.String(), op, file{refs: refs})
		p.committed(p.commit(ch))
		p.done()
	}
}
