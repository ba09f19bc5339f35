package restore

import (
	"context"
	"errors"
	"io"
	"sync"

	"sendonce"
	"sendonce/content"
	"sendonce/daemon/session"
	"sendonce/protocol"
)

// Chunks are asked for in windows of about windowBytes, windowsAhead of them
// before they are needed. Their product and a little bounds the memory.
const (
	windowBytes    = 6 << 20
	windowItems    = 2000
	windowSegments = 2000
	windowsAhead   = 3
)

// window is one Fetch: what it must bring and what it brought.
type window struct {
	items  []protocol.FetchItem
	packs  int // received
	need   map[sendonce.ID]bool
	bytes  int64
	loaded chan struct{} // closed when chunks and err are final
	chunks map[sendonce.ID][]byte
	err    error // the server could not bring all of it
}

// segment is a run of one file's references whose chunks come with one window.
// The segments of all files, in order, are what the writing goroutine works on.
type segment struct {
	file      int
	first     bool // of its file
	last      bool
	unchanged bool  // the target has the file already
	err       error // its manifest could not be read
	refs      []sendonce.Ref
	off       int64 // of refs[0] in the file
	win       *window
}

// fetcher asks ahead: one goroutine plans (manifests, what the target has, what
// to fetch), one receives.
type fetcher struct {
	r        *run
	ctx      context.Context
	cancel   context.CancelCauseFunc
	all      sync.WaitGroup
	st       *session.Stream
	segments chan segment
	sent     chan *window  // asked for, in order
	slots    chan struct{} // one for each window that is held

	// Owned by the planning goroutine.
	op      uint64
	cur     *window
	pending []segment // wait for cur to be sent

	// Owned by the writing goroutine.
	in *window
}

func newFetcher(r *run, files []entry) (*fetcher, error) {
	st, err := r.sess.Open(r.ctx)
	if err != nil {
		return nil, err
	}
	f := &fetcher{r: r, st: st, segments: make(chan segment, windowSegments), sent: make(chan *window, windowsAhead+1), slots: make(chan struct{}, windowsAhead)}
	f.ctx, f.cancel = context.WithCancelCause(r.ctx)
	context.AfterFunc(f.ctx, func() {
		st.Raw.StopRecv(sendonce.KindInterrupted)
		st.Raw.Cancel(sendonce.KindInterrupted)
	})
	f.all.Go(func() {
		defer close(f.segments)
		defer close(f.sent)
		if err := f.plan(files); err != nil {
			f.cancel(err)
		}
	})
	f.all.Go(func() {
		if err := f.receive(); err != nil {
			f.cancel(err)
		}
	})
	return f, nil
}

func (f *fetcher) close() {
	f.cancel(context.Canceled)
	f.all.Wait()
}

// plan looks at each file in order.
func (f *fetcher) plan(files []entry) error {
	manifests := &manifests{ctx: f.ctx, r: f.r}
	defer manifests.close()
	for i := range files {
		refs, bad, err := manifests.of(&files[i].node)
		switch {
		case err != nil:
		case bad != nil:
			err = f.emit(segment{file: i, first: true, last: true, err: bad})
		default:
			err = f.file(i, &files[i], refs)
		}
		if err != nil {
			return err
		}
	}
	if err := f.send(); err != nil {
		return err
	}
	return f.st.Raw.Close()
}

// file cuts a file into segments.
func (f *fetcher) file(i int, e *entry, refs sendonce.Manifest) error {
	if f.r.reuse.same(i, refs) {
		return f.emit(segment{file: i, first: true, last: true, unchanged: true})
	}
	s := segment{file: i, first: true, win: f.cur}
	var off int64
	for k, ref := range refs {
		if !ref.ID.IsZero() && !f.r.reuse.has(i, ref) {
			if s.win == nil {
				f.open()
				s.win = f.cur
			}
			f.want(e, uint64(k), ref)
		}
		s.refs = append(s.refs, ref)
		off += ref.Size
		if f.cur != nil && (f.cur.bytes >= windowBytes || len(f.cur.items) >= windowItems) && k < len(refs)-1 {
			if err := f.emit(s); err != nil {
				return err
			}
			if err := f.send(); err != nil {
				return err
			}
			s = segment{file: i, off: off}
		}
	}
	s.last = true
	return f.emit(s)
}

func (f *fetcher) open() {
	if f.cur == nil {
		f.cur = &window{need: make(map[sendonce.ID]bool), chunks: make(map[sendonce.ID][]byte), loaded: make(chan struct{})}
	}
}

// want adds one reference to the current window.
func (f *fetcher) want(e *entry, k uint64, ref sendonce.Ref) {
	w := f.cur
	if w.need[ref.ID] {
		return
	}
	w.need[ref.ID] = true
	w.bytes += ref.Size
	if n := len(w.items) - 1; n >= 0 && w.items[n].Node == e.node.ID && w.items[n].First+w.items[n].Count == k {
		w.items[n].Count++
		return
	}
	w.items = append(w.items, protocol.FetchItem{Node: e.node.ID, Rev: e.node.Rev, First: k, Count: 1})
}

// emit queues a segment; it reaches the writer when its window has been asked
// for.
func (f *fetcher) emit(s segment) error {
	f.pending = append(f.pending, s)
	full := f.cur != nil && (f.cur.bytes >= windowBytes || len(f.cur.items) >= windowItems)
	if full || len(f.pending) >= windowSegments {
		return f.send()
	}
	return nil
}

// send asks for the current window and hands its segments on.
func (f *fetcher) send() error {
	if w := f.cur; w != nil {
		f.cur = nil
		select {
		case f.slots <- struct{}{}:
		case <-f.ctx.Done():
			return context.Cause(f.ctx)
		}
		f.op++
		if err := errors.Join(f.st.Send(&protocol.Fetch{Op: f.op, Folder: f.r.o.Folder, Items: w.items}), f.st.Flush()); err != nil {
			return err
		}
		w.items = nil
		f.sent <- w // has room: it holds more windows than there are slots
	}
	for _, s := range f.pending {
		select {
		case f.segments <- s:
		case <-f.ctx.Done():
			return context.Cause(f.ctx)
		}
	}
	f.pending = f.pending[:0]
	return nil
}

// receive reads the answers, in the order of the requests.
func (f *fetcher) receive() error {
	un, err := content.NewUnpacker()
	if err != nil {
		return err
	}
	var body, plain []byte
	for w := range f.sent {
		for done := false; !done; {
			m, err := f.st.Next()
			if err != nil {
				return connectionBroke("fetch", err)
			}
			switch m := m.(type) {
			case *protocol.PackHeader:
				// Each pack brings something new, or the server just keeps sending.
				if w.packs++; w.packs > len(w.need) {
					return &sendonce.Error{Op: "fetch", Kind: sendonce.KindInvalid, Detail: "the server sent more packs than chunks were asked for"}
				}
				if body, err = f.st.Body(body[:0]); err != nil {
					return err
				}
				if plain, err = f.unpack(un, w, m, body, plain); err != nil {
					return err
				}
			case *protocol.Fail:
				w.err, done = m.Err(), true
			case *protocol.Done:
				done = true
			default:
				return &sendonce.Error{Op: "fetch", Kind: sendonce.KindInvalid, Detail: "an answer of an unexpected type"}
			}
		}
		close(w.loaded)
	}
	return nil
}

// unpack keeps those chunks of a pack that the window needs. A chunk is known
// by its hash, so one that arrives damaged is as good as one that did not come.
func (f *fetcher) unpack(un *content.Unpacker, w *window, h *protocol.PackHeader, body, plain []byte) ([]byte, error) {
	var size int
	for _, s := range h.Sizes {
		size += int(s)
	}
	plain, err := un.Decode(plain[:0], h.Encoding, body, size)
	if err != nil {
		return plain, err
	}
	rest := plain
	for _, s := range h.Sizes {
		data := rest[:s]
		rest = rest[s:]
		id := f.r.o.Hasher.Chunk(data)
		if w.need[id] && w.chunks[id] == nil {
			w.chunks[id] = append(make([]byte, 0, len(data)), data...)
			f.r.c.Fetched += int64(len(data))
		}
	}
	return plain, nil
}

// next returns the next segment with its window loaded; io.EOF after the last.
func (f *fetcher) next() (segment, error) {
	select {
	case s, ok := <-f.segments:
		if !ok {
			if err := context.Cause(f.ctx); err != nil {
				return s, err
			}
			return s, io.EOF
		}
		if s.win != nil && s.win != f.in {
			f.leave()
			select {
			case <-s.win.loaded:
			case <-f.ctx.Done():
				return s, context.Cause(f.ctx)
			}
			f.in = s.win
		}
		return s, nil
	case <-f.ctx.Done():
		return segment{}, context.Cause(f.ctx)
	}
}

// leave gives the memory of the window that the writer is done with back.
func (f *fetcher) leave() {
	if f.in != nil {
		f.in.chunks = nil
		f.in = nil
		<-f.slots
	}
}

// chunk returns the bytes of one reference of the segment, and whether the
// target provided them.
func (f *fetcher) chunk(s *segment, ref sendonce.Ref) ([]byte, bool, error) {
	if s.win != nil {
		if data := s.win.chunks[ref.ID]; data != nil {
			return data, false, nil
		}
		if s.win.need[ref.ID] {
			if s.win.err != nil {
				return nil, false, s.win.err
			}
			return nil, false, &sendonce.Error{Op: "restore", Kind: sendonce.KindDamaged, Detail: "the server did not deliver chunk " + ref.ID.String()[:16],
				Hint: "push the file again from a device that still has it"}
		}
	}
	data, err := f.r.reuse.read(ref)
	if data == nil && err == nil {
		err = &sendonce.Error{Op: "restore", Kind: sendonce.KindInternal, Detail: "chunk " + ref.ID.String()[:16] + " was not asked for"}
	}
	return data, true, err
}

// manifests reads the manifests of large files, on a stream of its own that is
// opened when the first one is needed.
type manifests struct {
	ctx context.Context
	r   *run
	st  *session.Stream
	op  uint64
}

func (m *manifests) close() {
	if m.st != nil {
		_ = m.st.Raw.Close()
		m.st.Raw.StopRecv(0)
	}
}

// of returns a file's manifest, or what is bad about it; err ends the restore.
func (m *manifests) of(n *sendonce.Node) (refs sendonce.Manifest, bad, err error) {
	if !n.Content.IsTree() {
		return n.Content.Refs, nil, nil
	}
	if m.st == nil {
		st, err := m.r.sess.Open(m.ctx)
		if err != nil {
			return nil, nil, err
		}
		context.AfterFunc(m.ctx, func() { st.Raw.StopRecv(sendonce.KindInterrupted) })
		m.st = st
	}
	m.op++
	q := &protocol.Read{Op: m.op, Folder: m.r.o.Folder, Node: n.ID, Rev: n.Rev}
	if err := errors.Join(m.st.Send(q), m.st.Flush()); err != nil {
		return nil, nil, connectionBroke("read manifest", err)
	}
	for {
		a, err := m.st.Next()
		if err != nil {
			return nil, nil, connectionBroke("read manifest", err)
		}
		switch a := a.(type) {
		case *protocol.Fail:
			if a.Op == m.op && a.Kind != sendonce.KindUnavailable {
				return nil, a.Err(), nil
			}
			return nil, nil, a.Err()
		case *protocol.ManifestPart:
			refs = append(refs, a.Refs...)
			if a.Op != m.op || uint64(len(refs)) > n.Content.Count || len(a.Refs) == 0 && !a.Done {
				return nil, nil, &sendonce.Error{Op: "read manifest", Path: n.Name, Kind: sendonce.KindInvalid, Detail: "the server sent something else than the node's references"}
			}
			if a.Done {
				return refs, m.check(n, refs), nil
			}
		default:
			return nil, nil, &sendonce.Error{Op: "read manifest", Kind: sendonce.KindInvalid, Detail: "an answer of an unexpected type"}
		}
	}
}

func connectionBroke(op string, err error) error {
	return &sendonce.Error{Op: op, Kind: sendonce.KindUnavailable, Detail: "the connection to the server broke",
		Hint: "run the same command again: what is restored is not fetched twice", Err: err}
}

// check makes sure that the references are the ones the node names.
func (m *manifests) check(n *sendonce.Node, refs sendonce.Manifest) error {
	c, err := content.Describe(m.r.o.Hasher, refs, nil)
	if err != nil {
		return err
	}
	if !c.Equal(n.Content) {
		return &sendonce.Error{Op: "read manifest", Path: n.Name, Kind: sendonce.KindDamaged, Detail: "the manifest does not hash to the node's content"}
	}
	return nil
}
