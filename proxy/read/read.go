package read

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sendonce"
	"sendonce/protocol"
	"sendonce/proxy/stream"
)

// Serve serves one Read stream, of which m is the first message: requests in,
// answers out, in order. The role is looked up again for each request, because
// such a stream lives long. The error is io.EOF when the peer has ended it.
func (s *Service) Serve(ctx context.Context, pe Peer, st *stream.Stream, m protocol.Message) error {
	for {
		r := &reading{s: s, peer: pe, st: st, ctx: ctx}
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
	s      *Service
	peer   Peer
	st     *stream.Stream
	ctx    context.Context
	folder sendonce.FolderID
}

func (r *reading) index() Index { return r.s.env.Index }

// in runs a request if the device may read the folder.
func (r *reading) in(f sendonce.FolderID, do func() error) error {
	r.folder = f
	role, err := r.peer.Role(r.ctx, f)
	if err == nil && !role.CanRead() {
		err = &sendonce.Error{Op: "read folder", Kind: sendonce.KindUnauthorized, Detail: fmt.Sprintf("the role %v reads nothing", role)}
	}
	if err != nil {
		return answered(err)
	}
	r.s.env.Metrics.Reads.Add(1)
	return do()
}

// node returns a node as it was at seq at (0: now); KindNotFound if it was not
// there.
func (r *reading) node(id sendonce.NodeID, at uint64) (*sendonce.Node, error) {
	nodes, err := r.index().Nodes(r.ctx, r.peer.Tenant, r.folder, at, []sendonce.NodeID{id})
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
		head, err := r.index().Head(r.ctx, r.peer.Tenant, r.folder)
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
		w := &walk{index: r.index(), ctx: r.ctx, tenant: r.peer.Tenant, folder: r.folder, at: at, recursive: m.Recursive}
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
		err := r.index().Children(r.ctx, r.peer.Tenant, r.folder, at, dir.ID, after, func(n *sendonce.Node) (bool, error) {
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

// manifest answers Read.
func (r *reading) manifest(m *protocol.Read) error {
	n, err := r.file(m.Node, m.Rev)
	if err != nil {
		return answered(err)
	}
	if !n.Content.IsEmpty() && len(n.Content.Inline) == 0 {
		part := &protocol.ManifestPart{Op: m.Op}
		err := r.s.env.Vault.Walk(r.ctx, r.peer.Tenant, n.Content, 0, 0, func(refs []sendonce.Ref) error {
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
