package read

import (
	"context"

	"sendonce"
	"sendonce/protocol"
)

// nodesPerFrame is how many bytes of nodes are gathered before they are sent.
const nodesPerFrame = 256 << 10

// walk lists directories as they were at one seq, parents before children.
type walk struct {
	index     Index
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
