package read

import (
	"context"
	"errors"
	"io"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/protocol"
	"sendonce/proxy/stream"
)

// Follow serves one Changes stream: what happened since the cursor, then what
// happens from now on, until the stream or ctx ends. A push-only device hears of
// the nodes that it created and of nothing else.
func (s *Service) Follow(ctx context.Context, pe Peer, st *stream.Stream, m *protocol.Changes) error {
	role, err := pe.Role(ctx, m.Folder)
	if err != nil {
		return err
	}
	k := folderKey{pe.Tenant, m.Folder}
	defer s.feeds.join(k)()

	// Nothing more is said by the peer; an error means that it has gone. (An end
	// of its half in order only means that it says no more.)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		more, err := st.Next()
		if err == nil {
			s.env.Log.Debug("unexpected frame", "device", pe.Device.Short(), "frame", protocol.TypeOf(more).String())
		}
		if !errors.Is(err, io.EOF) {
			cancel()
		}
	}()
	defer func() { st.Raw.StopRecv(sendonce.KindUnavailable); <-gone }()

	f := &follower{index: s.env.Index, st: st, tenant: pe.Tenant, folder: m.Folder}
	if role == sendonce.RolePushOnly {
		f.only = pe.Device
	}
	at, err := f.begin(ctx, m.Cursor)
	for err == nil {
		select {
		case <-s.feeds.after(k, at.Seq):
			at, err = f.follow(ctx, at)
		case <-ctx.Done():
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// follower delivers a folder's journal to one stream.
type follower struct {
	index  Index
	st     *stream.Stream
	tenant sendonce.TenantID
	folder sendonce.FolderID
	only   sendonce.DeviceID // not zero: only what this device created
}

// Bounds of what is delivered, and held, at a time.
const (
	entriesAtOnce = 256
	nodesAtOnce   = 4096 // more than one entry's, which has sendonce.MaxChanges
)

// begin delivers everything that a device with this cursor does not know.
func (f *follower) begin(ctx context.Context, c sendonce.Cursor) (sendonce.Cursor, error) {
	known, err := f.index.CheckCursor(ctx, f.tenant, f.folder, c)
	if err != nil {
		return c, err
	}
	if known && c.Seq != 0 {
		// Said even when there is nothing: the device then knows that it is up to date.
		return f.since(ctx, c, true)
	}
	return f.listing(ctx, c.Seq != 0)
}

// follow delivers what happened since the cursor, if anything.
func (f *follower) follow(ctx context.Context, c sendonce.Cursor) (sendonce.Cursor, error) {
	return f.since(ctx, c, false)
}

// listing delivers the head as a whole.
func (f *follower) listing(ctx context.Context, forked bool) (sendonce.Cursor, error) {
	head, err := f.index.Head(ctx, f.tenant, f.folder)
	if err != nil {
		return head, err
	}
	first := true
	out := &nodeFrames{send: func(nodes []sendonce.Node, done bool) error {
		nodes, err := f.visible(ctx, nodes)
		if err != nil {
			return err
		}
		set := &protocol.ChangeSet{Nodes: nodes, Restart: first, Forked: first && forked}
		first = false
		if done {
			set.Complete, set.Through = true, head
		}
		return f.st.Send(set)
	}}
	// Seq 0 would mean the head, which may have moved; before the first commit
	// there is the root alone.
	root, err := f.index.Nodes(ctx, f.tenant, f.folder, head.Seq, []sendonce.NodeID{f.folder.Root()})
	if err != nil {
		return head, err
	}
	if len(root) == 1 && root[0] != nil && (head.Seq != 0 || root[0].Rev == 0) {
		if err := out.add(*root[0]); err != nil {
			return head, err
		}
	}
	if head.Seq != 0 {
		w := &walk{index: f.index, ctx: ctx, tenant: f.tenant, folder: f.folder, at: head.Seq, recursive: true}
		if err := w.below(f.folder.Root(), out.add); err != nil {
			return head, err
		}
	}
	if err := out.end(); err != nil {
		return head, err
	}
	return head, f.st.Flush()
}

// since delivers the entries after the cursor, a bounded run of them at a time:
// each changed node once, as it was at the end of the run.
func (f *follower) since(ctx context.Context, c sendonce.Cursor, always bool) (sendonce.Cursor, error) {
	for {
		var ids []sendonce.NodeID
		seen := map[sendonce.NodeID]bool{}
		at := c
		err := f.index.Entries(ctx, f.tenant, f.folder, c.Seq, entriesAtOnce, func(e indexdb.Entry) error {
			if len(ids)+len(e.Nodes) > nodesAtOnce && len(ids) > 0 {
				return errEnough
			}
			for _, id := range e.Nodes {
				if !seen[id] {
					seen[id] = true
					ids = append(ids, id)
				}
			}
			at = sendonce.Cursor{Seq: e.Seq, Chain: e.Chain}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return c, err
		}
		if at.Seq == c.Seq {
			if always {
				if err := f.st.Send(&protocol.ChangeSet{Complete: true, Through: c}); err != nil {
					return c, err
				}
			}
			return c, f.st.Flush()
		}
		if err := f.deliver(ctx, at, ids); err != nil {
			return c, err
		}
		c, always = at, false
	}
}

var errEnough = errors.New("enough entries for one run")

// deliver sends nodes as they were at a cursor, and the cursor.
func (f *follower) deliver(ctx context.Context, at sendonce.Cursor, ids []sendonce.NodeID) error {
	out := &nodeFrames{send: func(nodes []sendonce.Node, done bool) error {
		nodes, err := f.visible(ctx, nodes)
		if err != nil {
			return err
		}
		set := &protocol.ChangeSet{Nodes: nodes}
		if done {
			set.Complete, set.Through = true, at
		}
		return f.st.Send(set)
	}}
	for len(ids) > 0 {
		some := ids[:min(len(ids), childrenAtOnce)]
		ids = ids[len(some):]
		nodes, err := f.index.Nodes(ctx, f.tenant, f.folder, at.Seq, some)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			if n == nil {
				continue
			}
			if err := out.add(*n); err != nil {
				return err
			}
		}
	}
	return out.end()
}

// visible keeps the nodes that the device may see.
func (f *follower) visible(ctx context.Context, nodes []sendonce.Node) ([]sendonce.Node, error) {
	if f.only.IsZero() || len(nodes) == 0 {
		return nodes, nil
	}
	ids := make([]sendonce.NodeID, len(nodes))
	for i := range nodes {
		ids[i] = nodes[i].ID
	}
	creators, err := f.index.Creators(ctx, f.tenant, f.folder, ids)
	if err != nil {
		return nil, err
	}
	own := nodes[:0]
	for i := range nodes {
		if creators[i] == f.only {
			own = append(own, nodes[i])
		}
	}
	return own, nil
}
