package restore

import (
	"context"
	"errors"

	"sendonce"
	"sendonce/daemon/session"
	"sendonce/protocol"
)

// List calls fn for each node that a listing gives.
func List(ctx context.Context, sess *session.Session, q protocol.List, fn func(*sendonce.Node) error) error {
	st, err := sess.Open(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { st.Raw.StopRecv(sendonce.KindInterrupted) })
	defer stop()
	defer st.Raw.StopRecv(0)
	q.Op = 1
	if err := errors.Join(st.Send(&q), st.Flush(), st.Raw.Close()); err != nil {
		return err
	}
	for {
		m, err := st.Next()
		if err != nil {
			return &sendonce.Error{Op: "list", Kind: sendonce.KindOf(err), Err: err}
		}
		switch m := m.(type) {
		case *protocol.Fail:
			return m.Err()
		case *protocol.NodeList:
			for i := range m.Nodes {
				if err := fn(&m.Nodes[i]); err != nil {
					return err
				}
			}
			if m.Done {
				return nil
			}
		default:
			return &sendonce.Error{Op: "list", Kind: sendonce.KindInvalid, Detail: "an answer of an unexpected type"}
		}
	}
}

// ListPaths is List with the path of each node in its folder. A directory that
// q.Path names is not listed itself, nor is the root.
func ListPaths(ctx context.Context, sess *session.Session, q protocol.List, fn func(path string, n *sendonce.Node) error) error {
	root := q.Folder.Root()
	paths := map[sendonce.NodeID]string{root: ""}
	first := q.Path != ""
	return List(ctx, sess, q, func(n *sendonce.Node) error {
		p := n.Name
		if first {
			first = false
			if n.Kind == sendonce.KindDir {
				paths[n.ID] = q.Path
				return nil
			}
			p = q.Path
		} else if n.ID == root {
			return nil
		} else if d := paths[n.Parent]; d != "" {
			p = d + "/" + n.Name
		}
		if n.Kind == sendonce.KindDir {
			paths[n.ID] = p
		}
		return fn(p, n)
	})
}
