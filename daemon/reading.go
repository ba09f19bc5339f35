package daemon

import (
	"context"
	"errors"
	"strings"
	"time"

	"sendonce"
	"sendonce/content"
	"sendonce/daemon/restore"
	"sendonce/daemon/session"
	"sendonce/protocol"
)

var _ Remote = (*Client)(nil)

// source is a folder of the server, for reading.
type source struct {
	sess *session.Session
	own  bool
	info protocol.FolderInfo
}

func (s *source) close() {
	if s.own {
		_ = s.sess.Close()
	}
}

// source finds a folder by its name, or by the directory attached to it.
func (c *Client) source(ctx context.Context, folder string) (*source, error) {
	name := folder
	if all, err := c.db.Folders(); err == nil {
		for _, f := range all {
			if f.Dir == folder {
				name = f.Name
			}
		}
	}
	sess, own, err := c.session(ctx)
	if err != nil {
		return nil, err
	}
	s := &source{sess: sess, own: own}
	known := sess.Welcome.Folders
	if !own {
		if known, err = c.serverFolders(ctx, sess); err != nil {
			return nil, err
		}
	}
	info, err := lookup(known, name)
	if err != nil {
		s.close()
		return nil, err
	}
	s.info = *info
	return s, nil
}

// seqAt returns the sequence number that at or a time means; 0 is the head.
func (s *source) seqAt(ctx context.Context, at uint64, t time.Time) (uint64, error) {
	if t.IsZero() {
		return at, nil
	}
	var before uint64
	for {
		entries, err := s.log(ctx, protocol.Log{Folder: s.info.ID, Before: before, Limit: 1000})
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if !e.Time.After(t) {
				return e.Seq, nil
			}
			before = e.Seq
		}
		if len(entries) == 0 || before <= 1 {
			return 0, &sendonce.Error{Op: "find revision", Path: s.info.Name, Kind: sendonce.KindNotFound,
				Detail: "the folder had no commit yet at " + t.Format(time.RFC3339), Hint: "see when it changed: sendonce log " + s.info.Name}
		}
	}
}

// List lists a path of a folder as it was at a sequence number or time: the
// node itself if it is not a directory, else what is in it.
func (c *Client) List(ctx context.Context, folder, path string, at uint64, atTime time.Time, recursive bool) ([]ListEntry, error) {
	s, err := c.source(ctx, folder)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if at, err = s.seqAt(ctx, at, atTime); err != nil {
		return nil, err
	}
	var out []ListEntry
	q := protocol.List{Folder: s.info.ID, Path: strings.Trim(path, "/"), At: at, Recursive: recursive}
	err = restore.ListPaths(ctx, s.sess, q, func(p string, n *sendonce.Node) error {
		out = append(out, ListEntry{Path: p, Node: *n})
		return nil
	})
	return out, err
}

// Log returns journal entries, newest first, of a folder or of one path in it.
func (c *Client) Log(ctx context.Context, folder, path string, limit int, snapshots bool) ([]protocol.LogEntry, error) {
	s, err := c.source(ctx, folder)
	if err != nil {
		return nil, err
	}
	defer s.close()
	q := protocol.Log{Folder: s.info.ID, Limit: uint64(max(limit, 0)), Snapshots: snapshots}
	if path = strings.Trim(path, "/"); path != "" {
		err := restore.List(ctx, s.sess, protocol.List{Folder: s.info.ID, Path: path}, func(n *sendonce.Node) error {
			if q.Node.IsZero() {
				q.Node = n.ID
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s.log(ctx, q)
}

func (s *source) log(ctx context.Context, q protocol.Log) ([]protocol.LogEntry, error) {
	st, err := s.sess.Open(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { st.Raw.StopRecv(sendonce.KindInterrupted) })
	defer stop()
	defer st.Raw.StopRecv(0)
	q.Op = 1
	if err := errors.Join(st.Send(&q), st.Flush(), st.Raw.Close()); err != nil {
		return nil, err
	}
	var out []protocol.LogEntry
	for {
		m, err := st.Next()
		if err != nil {
			return nil, &sendonce.Error{Op: "log", Kind: sendonce.KindOf(err), Err: err}
		}
		switch m := m.(type) {
		case *protocol.Fail:
			return nil, m.Err()
		case *protocol.LogEntries:
			out = append(out, m.Entries...)
			if m.Done {
				return out, nil
			}
		default:
			return nil, &sendonce.Error{Op: "log", Kind: sendonce.KindInvalid, Detail: "an answer of an unexpected type"}
		}
	}
}

// Restore writes a folder, or a path of it, as it was at a sequence number or
// time, into a directory. The summary is valid with an error of KindPartial too.
func (c *Client) Restore(ctx context.Context, o RestoreOptions) (RestoreSummary, error) {
	began := c.cfg.Now()
	sum := RestoreSummary{Skipped: []Skipped{}}
	s, err := c.source(ctx, o.Folder)
	if err != nil {
		return sum, err
	}
	defer s.close()
	var sent, received int64
	if !s.own {
		sent, received = s.sess.Wire()
	}
	if sum.Seq, err = s.seqAt(ctx, o.At, o.AtTime); err != nil {
		return sum, err
	}
	target, err := c.cfg.OpenTarget(o.To)
	if err != nil {
		return sum, err
	}
	defer target.Close()
	var counts restore.Counts
	var reported time.Time
	run := restore.Options{Folder: s.info.ID, Path: strings.Trim(o.Path, "/"), At: sum.Seq, Target: target,
		Hasher: content.NewHasher(s.sess.Welcome.TenantKey), Params: s.sess.Welcome.Params, DryRun: o.DryRun, Log: c.cfg.Log,
		Skip: func(path, reason string) {
			sum.Skipped = append(sum.Skipped, Skipped{Folder: s.info.Name, Path: path, Reason: reason})
		},
		Counted: func() {
			now := c.cfg.Now()
			if o.Progress == nil || now.Sub(reported) < 100*time.Millisecond {
				return
			}
			reported = now
			p := Progress{Folder: s.info.Name, Phase: "restore", Files: counts.Files, FilesTotal: counts.FilesTotal, Bytes: counts.Bytes, BytesTotal: counts.BytesTotal}
			p.WireSent, p.WireReceive = s.sess.Wire()
			o.Progress(p)
		}}
	err = restore.Run(ctx, s.sess, run, &counts)
	if sum.Seq == 0 {
		sum.Seq = s.info.Head.Seq
	}
	sum.Files, sum.Dirs, sum.Symlinks, sum.Unchanged = counts.Files, counts.Dirs, counts.Symlinks, counts.Unchanged
	sum.Bytes, sum.BytesReused, sum.BytesFetched = counts.Bytes, counts.Reused, counts.Fetched
	if o.DryRun {
		sum.Files, sum.Bytes = counts.FilesTotal, counts.BytesTotal
	}
	sum.WireSent, sum.WireReceived = s.sess.Wire()
	sum.WireSent -= sent
	sum.WireReceived -= received
	sum.Seconds = c.cfg.Now().Sub(began).Seconds()
	if err == nil && len(sum.Skipped) > 0 {
		err = &sendonce.Error{Op: "restore", Kind: sendonce.KindPartial, Detail: "some entries could not be restored; everything else is in place"}
	}
	return sum, err
}
