package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/stream"
)

// nodesPerFrame is how many bytes of nodes are gathered before they are sent.
const nodesPerFrame = 256 << 10

// read serves one Read stream: requests in, answers out, in order. The role is
// looked up again for each request, because such a stream lives long.
func (pe *peer) read(ctx context.Context, st *stream.Stream, m protocol.Message) error {
	for {
		r := &reading{pe: pe, st: st, ctx: ctx}
		var op uint64
		var err error
		switch m := m.(type) {
		case *protocol.List:
			op, err = m.Op, r.in(m.Folder, func() error { return r.list(m) })
		case *protocol.Read:
			op, err = m.Op, r.in(m.Folder, func() error { return r.manifest(m) })
		case *protocol.Fetch:
			op, err = m.Op, r.in(m.Folder, func() error { return r.fetch(m) })
		case *protocol.Log:
			op, err = m.Op, r.in(m.Folder, func() error { return r.log(m) })
		default:
			return stream.Broken("%v on a Read stream", protocol.TypeOf(m))
		}
		var told *answerError
		if errors.As(err, &told) {
			err = st.Send(protocol.FailOf(op, told.err))
		}
		if err == nil {
			err = st.Flush()
		}
		if err == nil {
			m, err = st.Next()
		}
		if err != nil {
			return err
		}
	}
}

// answerError is an error that answers one request and leaves the stream alone.
type answerError struct{ err error }

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

// answered marks an error of the request, not of the stream.
func answered(err error) error {
	if err == nil {
		return nil
	}
	return &answerError{err}
}

// reading is one request of a Read stream.
type reading struct {
	pe     *peer
	st     *stream.Stream
	ctx    context.Context
	folder sendonce.FolderID
}

func (r *reading) index() indexdb.Index { return r.pe.srv.index }

// in runs a request if the device may read the folder.
func (r *reading) in(f sendonce.FolderID, do func() error) error {
	r.folder = f
	if err := r.pe.reader(r.ctx, f); err != nil {
		return answered(err)
	}
	r.pe.srv.metrics.Reads.Add(1)
	return do()
}

// node returns a node as it was at seq at (0: now); KindNotFound if it was not
// there.
func (r *reading) node(id sendonce.NodeID, at uint64) (*sendonce.Node, error) {
	nodes, err := r.index().Nodes(r.ctx, r.pe.tenant, r.folder, at, []sendonce.NodeID{id})
	if err == nil && (len(nodes) != 1 || nodes[0] == nil || nodes[0].Deleted) {
		err = &sendonce.Error{Op: "read node", Path: id.String(), Kind: sendonce.KindNotFound}
	}
	if err != nil {
		return nil, err
	}
	return nodes[0], nil
}

// file returns a node at exactly one of its revisions; rev 0 is the newest.
func (r *reading) file(id sendonce.NodeID, rev uint64) (*sendonce.Node, error) {
	n, err := r.node(id, rev)
	switch {
	case err != nil:
		return nil, err
	case rev != 0 && n.Rev != rev:
		return nil, &sendonce.Error{Op: "read node", Path: n.Name, Kind: sendonce.KindNotFound, Detail: fmt.Sprintf("it has no revision %d", rev)}
	case n.Kind != sendonce.KindFile:
		return nil, &sendonce.Error{Op: "read node", Path: n.Name, Kind: sendonce.KindInvalid, Detail: "a " + n.Kind.String() + " has no content"}
	}
	return n, nil
}

// list answers List: the node that a path names, and what is below it.
func (r *reading) list(m *protocol.List) error {
	at := m.At
	if at == 0 { // one state for the whole answer
		head, err := r.index().Head(r.ctx, r.pe.tenant, r.folder)
		if err != nil {
			return answered(err)
		}
		at = head.Seq
	}
	start := m.Node
	if start.IsZero() {
		start = r.folder.Root()
	}
	n, err := r.node(start, at)
	if err != nil {
		return answered(err)
	}
	out := &nodeFrames{send: func(nodes []sendonce.Node, done bool) error {
		return r.st.Send(&protocol.NodeList{Op: m.Op, Nodes: nodes, Done: done})
	}}
	if m.Path != "" {
		for part := range strings.SplitSeq(m.Path, "/") {
			if n, err = r.child(n, part, at); err != nil {
				return answered(err)
			}
		}
		if err := out.add(*n); err != nil {
			return err
		}
	}
	if n.Kind == sendonce.KindDir {
		w := &walk{index: r.index(), ctx: r.ctx, tenant: r.pe.tenant, folder: r.folder, at: at, recursive: m.Recursive}
		if err := w.below(n.ID, out.add); err != nil {
			return err
		}
	}
	return out.end()
}

// child finds a live child by its name.
func (r *reading) child(dir *sendonce.Node, name string, at uint64) (*sendonce.Node, error) {
	if dir.Kind != sendonce.KindDir {
		return nil, &sendonce.Error{Op: "resolve path", Path: dir.Name, Kind: sendonce.KindNotFound, Detail: "not a directory"}
	}
	// First the place in byte order where the name would be, then, because a
	// portable folder keeps another order, all of the directory.
	for _, after := range []string{justBefore(name), ""} {
		var found *sendonce.Node
		err := r.index().Children(r.ctx, r.pe.tenant, r.folder, at, dir.ID, after, func(n *sendonce.Node) (bool, error) {
			if n.Name == name {
				c := *n
				found = &c
			}
			return after == "" && found == nil, nil
		})
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, &sendonce.Error{Op: "resolve path", Path: name, Kind: sendonce.KindNotFound, Detail: "no such file or directory"}
}

// justBefore returns a string that sorts before name and after every other name
// that does.
func justBefore(name string) string {
	head, last := name[:len(name)-1], name[len(name)-1]
	if last == 0 {
		return head
	}
	return head + string([]byte{last - 1}) + strings.Repeat("\xff", sendonce.MaxName)
}

// walk lists directories as they were at one seq, parents before children.
type walk struct {
	index     indexdb.Index
	ctx       context.Context
	tenant    sendonce.TenantID
	folder    sendonce.FolderID
	at        uint64
	recursive bool
}

// childrenAtOnce bounds what is held of a directory while it is sent on.
const childrenAtOnce = 512

// below calls fn for the children of a directory, and with recursive for all
// that is below them. Its memory is one slice of children for each level.
func (w *walk) below(dir sendonce.NodeID, fn func(sendonce.Node) error) error {
	return w.level(dir, 0, fn)
}

func (w *walk) level(dir sendonce.NodeID, depth int, fn func(sendonce.Node) error) error {
	if depth > sendonce.MaxDepth {
		return &sendonce.Error{Op: "list", Path: dir.String(), Kind: sendonce.KindLimit, Detail: "too many levels"}
	}
	// fn may wait for a slow peer, so it is called outside the index.
	for after := ""; ; {
		var some []sendonce.Node
		err := w.index.Children(w.ctx, w.tenant, w.folder, w.at, dir, after, func(n *sendonce.Node) (bool, error) {
			some = append(some, *n)
			return len(some) < childrenAtOnce, nil
		})
		if err != nil {
			return err
		}
		for i := range some {
			if err := fn(some[i]); err != nil {
				return err
			}
			if w.recursive && some[i].Kind == sendonce.KindDir {
				if err := w.level(some[i].ID, depth+1, fn); err != nil {
					return err
				}
			}
		}
		if len(some) < childrenAtOnce {
			return nil
		}
		after = some[len(some)-1].Name
	}
}

// nodeFrames gathers nodes into frames. send is called for each frame; done is
// set for the last one, which may be empty.
type nodeFrames struct {
	send  func(nodes []sendonce.Node, done bool) error
	nodes []sendonce.Node
	size  int
}

func (f *nodeFrames) add(n sendonce.Node) error {
	f.nodes = append(f.nodes, n)
	f.size += protocol.FrameSize(&protocol.NodeList{Nodes: []sendonce.Node{n}})
	if f.size < nodesPerFrame {
		return nil
	}
	return f.flush(false)
}

func (f *nodeFrames) end() error { return f.flush(true) }

func (f *nodeFrames) flush(done bool) error {
	runs := protocol.SplitNodes(f.nodes)
	f.nodes, f.size = nil, 0
	for i, run := range runs {
		if err := f.send(run, done && i == len(runs)-1); err != nil {
			return err
		}
	}
	if done && len(runs) == 0 {
		return f.send(nil, true)
	}
	return nil
}

// manifest answers Read.
func (r *reading) manifest(m *protocol.Read) error {
	n, err := r.file(m.Node, m.Rev)
	if err != nil {
		return answered(err)
	}
	if !n.Content.IsEmpty() && len(n.Content.Inline) == 0 {
		part := &protocol.ManifestPart{Op: m.Op}
		err := r.pe.srv.vault.Walk(r.ctx, r.pe.tenant, n.Content, 0, 0, func(refs []sendonce.Ref) error {
			for len(refs) > 0 {
				k := min(len(refs), sendonce.MaxOfferRefs-len(part.Refs))
				part.Refs, refs = append(part.Refs, refs[:k]...), refs[k:]
				if len(part.Refs) < sendonce.MaxOfferRefs {
					return nil
				}
				if err := r.st.Send(part); err != nil {
					return &streamError{err}
				}
				part.Refs = part.Refs[:0]
			}
			return nil
		})
		if err == nil {
			part.Done = true
			return r.st.Send(part)
		}
		var broken *streamError
		if errors.As(err, &broken) {
			return broken.err
		}
		return answered(&sendonce.Error{Op: "read manifest", Path: n.Name, Err: err})
	}
	return r.st.Send(&protocol.ManifestPart{Op: m.Op, Done: true})
}

// streamError marks the stream's own failure inside a callback.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }
func (e *streamError) Unwrap() error { return e.err }
