package pass

import (
	"context"

	"sendonce"
	"sendonce/daemon/state"
	"sendonce/protocol"
)

// pull brings Remote up to the server's head. Nothing local is touched: in this
// version what others did is recorded, not applied. fresh asks the server where
// its head is, instead of trusting the session's Welcome.
func (p *pass) pull(fresh bool) error {
	folders := p.Session.Welcome.Folders
	if fresh {
		w, err := p.Session.Refresh(p.ctx)
		if err != nil {
			return err
		}
		folders = w.Folders
	}
	var info *protocol.FolderInfo
	for i := range folders {
		if folders[i].ID == p.Folder.ID {
			info = &folders[i]
		}
	}
	if info == nil && !fresh { // attached after the session began
		return p.pull(true)
	}
	if info == nil {
		return &sendonce.Error{Op: "sync", Path: p.Folder.Name, Kind: sendonce.KindUnauthorized, Detail: "the server does not let this device use the folder (any more)",
			Hint: "ask for a new invite, or detach it: sendonce remove " + p.Folder.Dir}
	}
	p.role = info.Role
	cur, err := p.rd.Cursor()
	if err != nil || cur == info.Head || cur.Seq >= info.Head.Seq && !fresh && p.Shared {
		return err
	}
	return p.catchUp(cur)
}

// catchUp reads the Changes stream from a cursor until it is complete.
func (p *pass) catchUp(cur sendonce.Cursor) error {
	ctx, f := p.ctx, p.Folder
	st, err := p.Session.Open(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { st.Raw.StopRecv(sendonce.KindInterrupted) })
	defer stop()
	defer st.Raw.StopRecv(0)
	if err := st.Send(&protocol.Changes{Folder: f.ID, Cursor: cur}); err != nil {
		return err
	}
	if err := st.Flush(); err != nil {
		return err
	}
	if err := st.Raw.Close(); err != nil {
		return err
	}
	for {
		m, err := st.Next()
		if err != nil {
			return &sendonce.Error{Op: "read changes", Path: f.Name, Kind: sendonce.KindOf(err), Err: err}
		}
		switch m := m.(type) {
		case *protocol.Fail:
			return m.Err()
		case *protocol.ChangeSet:
			if m.Restart && cur != (sendonce.Cursor{}) {
				// P8: what was agreed on means nothing to this server. Without a base
				// both sides are united: equal content is adopted, nothing is deleted,
				// and everything has to be looked at.
				p.Log.Warn("the server's journal is not the one this device knew: it was restored or replaced; nothing is deleted", "folder", f.Name)
				if err := p.State.ForgetTrees(f.ID); err != nil {
					return err
				}
				p.Dirs = nil
			}
			b := &state.Batch{DropRemote: m.Restart, SetRemote: m.Nodes}
			if m.Complete {
				b.Cursor = &m.Through
			}
			if err := p.State.Apply(f.ID, b); err != nil {
				return err
			}
			if m.Complete {
				return nil
			}
		default:
			return &sendonce.Error{Op: "read changes", Path: f.Name, Kind: sendonce.KindInvalid, Detail: "an answer of an unexpected type"}
		}
	}
}
