package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sendonce"
	"sendonce/daemon/pass"
	"sendonce/daemon/session"
	"sendonce/daemon/state"
)

// Sync runs one pass over the folders of the given directories (all attached
// ones if there are none). The Summary is valid even with an error of
// KindPartial, which says that something was skipped or is in conflict.
func (c *Client) Sync(ctx context.Context, dirs []string, o SyncOptions) (Summary, error) {
	began := c.cfg.Now()
	sum := Summary{Conflicts: []Conflict{}, Skipped: []Skipped{}}
	folders, err := c.chosen(dirs)
	if err != nil {
		return sum, err
	}
	sess, own, err := c.session(ctx)
	if err != nil {
		return sum, err
	}
	var sent, received int64 // before this call; a session of its own counts whole
	if !own {
		sent, received = sess.Wire()
	}
	var failed []error
	for _, f := range folders {
		if err := c.syncOne(ctx, f, sess, nil, o, &sum); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	if own {
		_ = sess.Close()
	}
	sum.WireSent, sum.WireReceived = sess.Wire()
	sum.WireSent -= sent
	sum.WireReceived -= received
	sum.Seconds = c.cfg.Now().Sub(began).Seconds()
	if err := ctx.Err(); err != nil {
		return sum, &sendonce.Error{Op: "sync", Kind: sendonce.KindInterrupted, Detail: "interrupted; what the server acknowledged is kept", Err: context.Cause(ctx)}
	}
	if len(failed) == 1 {
		return sum, failed[0]
	}
	if len(failed) > 1 {
		return sum, &sendonce.Error{Op: "sync", Kind: sendonce.KindOf(failed[0]), Hint: sendonce.HintOf(failed[0]), Err: errors.Join(failed...)}
	}
	return sum, sum.verdict()
}

// verdict is the error that a finished pass deserves.
func (s *Summary) verdict() error {
	if len(s.Skipped)+len(s.Conflicts) == 0 {
		return nil
	}
	return &sendonce.Error{Op: "sync", Kind: sendonce.KindPartial,
		Detail: fmt.Sprintf("%d skipped, %d in conflict; everything else is stored", len(s.Skipped), len(s.Conflicts))}
}

func (s *Summary) add(folder string, r *pass.Result, dry bool) {
	s.Files += r.Report.Files
	s.Dirs += r.Report.Dirs
	s.BytesScanned += r.Report.Bytes
	s.BytesRead += r.Stats.BytesRead.Load()
	s.FilesRead += r.Stats.FilesRead.Load()
	s.Chunks += r.Stats.Chunks.Load()
	s.ChunksMissing += r.Stats.ChunksMissing.Load()
	s.BytesMissing += r.Stats.BytesMissing.Load()
	s.Packs += r.Stats.Packs.Load()
	s.PackBytes += r.Stats.PackBytes.Load()
	s.Commits += r.Stats.Commits.Load()
	s.Changes += r.Stats.Changes.Load()
	if dry {
		s.Changes += r.Would
	}
	for _, n := range r.Conflicts {
		s.Conflicts = append(s.Conflicts, Conflict{Folder: folder, Path: n.Path, Reason: n.Reason})
	}
	for _, n := range r.Skipped {
		s.Skipped = append(s.Skipped, Skipped{Folder: folder, Path: n.Path, Reason: n.Reason})
		s.busy = s.busy || n.Busy
	}
}

// chosen returns the attached folders of dirs.
func (c *Client) chosen(dirs []string) ([]state.Folder, error) {
	if len(dirs) == 0 {
		all, err := c.db.Folders()
		if err == nil && len(all) == 0 {
			err = &sendonce.Error{Op: "sync", Kind: sendonce.KindNotSetUp, Detail: "no directory is attached", Hint: "attach one: sendonce add DIR"}
		}
		return all, err
	}
	var out []state.Folder
	for _, d := range dirs {
		f, err := c.attached(d)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// syncOne runs a pass, adds to sum what it did, and keeps the folder's status.
func (c *Client) syncOne(ctx context.Context, f state.Folder, sess *session.Session, dirs []string, o SyncOptions, sum *Summary) error {
	fs := c.folder(f.ID)
	fs.pass.Lock()
	defer fs.pass.Unlock()
	f, err := c.current(f) // as it is now that it is this pass's turn
	if err != nil {
		return err
	}
	if f.Paused {
		kind := sendonce.KindRefused
		if f.PauseReason == "" {
			kind = sendonce.KindPartial
		}
		return &sendonce.Error{Op: "sync", Path: f.Dir, Kind: kind, Detail: "the folder is paused" + colon(f.PauseReason), Hint: "resume it: sendonce resume " + f.Dir}
	}
	c.mu.Lock()
	c.recall(f.ID, f.Name, &fs.status)
	fs.status.State, fs.status.Detail = "syncing", ""
	c.mu.Unlock()
	cfg := pass.Config{State: c.db, Folder: f, Session: sess, OpenTree: c.cfg.OpenTree, Now: c.cfg.Now, Rand: c.cfg.Rand, Log: c.cfg.Log,
		Level: c.level, Connections: c.cfg.Connections, Workers: c.cfg.Workers, Dirs: dirs, DryRun: o.DryRun, Shared: c.isLive(),
		Accepted: func(use bool) bool { return c.acceptance(f.ID, use) }}
	if o.Progress != nil {
		cfg.Progress = func(p pass.Progress) {
			o.Progress(Progress{Folder: f.Name, Phase: p.Phase, Files: p.Done, FilesTotal: p.Total, Bytes: p.Bytes, BytesTotal: p.BytesTotal,
				WireSent: p.WireSent, WireReceive: p.WireReceived})
		}
	}
	var r pass.Result
	err = pass.Run(ctx, cfg, &r)
	one := Summary{}
	one.add(f.Name, &r, o.DryRun)
	sum.add(f.Name, &r, o.DryRun)
	c.mu.Lock()
	defer c.mu.Unlock()
	st := &fs.status
	st.State, st.Detail = "idle", ""
	if err != nil {
		st.State, st.Detail = "error", err.Error()
		return err
	}
	if !o.DryRun {
		st.LastSync = c.cfg.Now()
		outside := func(path string) bool { return r.Dirs != nil && !slices.Contains(r.Dirs, parentOf(path)) }
		st.Conflicts = slices.DeleteFunc(st.Conflicts, func(n Conflict) bool {
			return !outside(n.Path) || slices.ContainsFunc(one.Conflicts, func(o Conflict) bool { return o.Path == n.Path })
		})
		st.Skipped = slices.DeleteFunc(st.Skipped, func(n Skipped) bool {
			return !outside(n.Path) || slices.ContainsFunc(one.Skipped, func(o Skipped) bool { return o.Path == n.Path })
		})
		st.Conflicts, st.Skipped = append(st.Conflicts, one.Conflicts...), append(st.Skipped, one.Skipped...)
		return c.keep(f.ID, st, one.Changes > 0)
	}
	return nil
}

// parentOf returns the directory of a path in a folder, "" for the root.
func parentOf(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 0)] }

// current reads a folder's record anew: it may have been paused, detached or
// attached elsewhere.
func (c *Client) current(f state.Folder) (state.Folder, error) {
	all, err := c.db.Folders()
	if err != nil {
		return f, err
	}
	for _, g := range all {
		if g.ID == f.ID {
			return g, nil
		}
	}
	return f, &sendonce.Error{Op: "sync", Path: f.Dir, Kind: sendonce.KindNotSetUp, Detail: "it was detached"}
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

func (c *Client) setState(fs *folderState, name, detail string) {
	c.mu.Lock()
	fs.status.State, fs.status.Detail = name, detail
	c.mu.Unlock()
}

// SetPaused stops or resumes a folder. acceptDeletes lets the next pass send
// deletes that the mass-change brake would stop.
func (c *Client) SetPaused(ctx context.Context, dir string, paused, acceptDeletes bool) error {
	f, err := c.attached(dir)
	if err != nil {
		return err
	}
	f.Paused, f.PauseReason = paused, ""
	if err := c.db.SetFolder(f); err != nil {
		return err
	}
	if acceptDeletes {
		if err := c.db.SetSetting(acceptanceOf(f.ID), "yes"); err != nil {
			return err
		}
	}
	c.wake()
	return nil
}

func acceptanceOf(id sendonce.FolderID) string { return "accept deletes of " + id.String() }

// acceptance tells, and uses up, the user's word that many deletes are meant.
func (c *Client) acceptance(id sendonce.FolderID, use bool) bool {
	v, err := c.db.Setting(acceptanceOf(id))
	if err != nil || v == "" {
		return false
	}
	return !use || c.db.SetSetting(acceptanceOf(id), "") == nil
}

// Status tells about the device and its folders.
func (c *Client) Status(ctx context.Context) (Status, error) {
	st := Status{DeviceName: c.cfg.DeviceName, Folders: []FolderStatus{}}
	srv, err := c.db.Server()
	if err != nil {
		return st, err
	}
	if srv != nil && len(srv.Addrs) > 0 {
		st.Server, st.Fingerprint = srv.Addrs[0], srv.Fingerprint.String()
	}
	st.Device = c.cfg.Device.String()
	folders, err := c.db.Folders()
	if err != nil {
		return st, err
	}
	c.mu.Lock()
	st.Connected, st.Daemon = c.sess != nil, c.running != nil
	c.mu.Unlock()
	for _, f := range folders {
		fs := c.folder(f.ID)
		c.mu.Lock()
		s := fs.status
		c.mu.Unlock()
		s.Conflicts, s.Skipped = append([]Conflict{}, s.Conflicts...), append([]Skipped{}, s.Skipped...)
		c.recall(f.ID, f.Name, &s)
		s.Name, s.Dir, s.ID, s.Role = f.Name, f.Dir, f.ID.String(), f.Role.String()
		if f.Paused {
			s.State, s.Detail = "paused", f.PauseReason
		}
		rd := c.db.Live(f.ID)
		cur, err := rd.Cursor()
		if err != nil {
			return st, err
		}
		s.Seq = cur.Seq
		err = rd.Foreign(func(*sendonce.Node) (bool, error) {
			s.Behind++
			return true, nil
		})
		if err != nil {
			return st, err
		}
		st.Folders = append(st.Folders, s)
	}
	return st, nil
}
