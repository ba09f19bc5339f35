package daemon

import (
	"context"
	"sync"
	"time"

	"sendonce"
	"sendonce/daemon/scan"
	"sendonce/daemon/session"
	"sendonce/daemon/state"
	"sendonce/daemon/watch"
	"sendonce/internal/fsys"
)

// loop is a running daemon. One goroutine owns each folder (keeper); one keeps
// the session.
type loop struct {
	c       *Client
	changed chan struct{} // the set of folders, or a pause, changed
	up      *gate         // open while there is a session
}

// gate lets goroutines wait until there is a session.
type gate struct {
	mu   sync.Mutex
	sess *session.Session
	open chan struct{} // closed while sess is not nil
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) set(s *session.Session) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case s != nil && g.sess == nil:
		close(g.open)
	case s == nil && g.sess != nil:
		g.open = make(chan struct{})
	}
	g.sess = s
}

func (g *gate) wait(ctx context.Context) (*session.Session, error) {
	for {
		g.mu.Lock()
		s, open := g.sess, g.open
		g.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// wake tells a running daemon that the folders changed.
func (c *Client) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		select {
		case c.running.changed <- struct{}{}:
		default:
		}
	}
}

// isLive reports whether passes share the session of a running daemon.
func (c *Client) isLive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running != nil
}

// Run keeps all attached folders pushed until ctx ends: it watches them, scans
// them when something may have changed and at least every Rescan, and reconnects
// for as long as it takes.
func (c *Client) Run(ctx context.Context) error {
	l := &loop{c: c, changed: make(chan struct{}, 1), up: newGate()}
	c.mu.Lock()
	if c.running != nil {
		c.mu.Unlock()
		return &sendonce.Error{Op: "run", Kind: sendonce.KindLocked, Detail: "the daemon is running already"}
	}
	c.running = l
	c.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	var all sync.WaitGroup
	defer func() {
		cancel(nil)
		all.Wait()
		c.mu.Lock()
		c.running = nil
		c.mu.Unlock()
	}()
	all.Go(func() {
		if err := l.connect(ctx); err != nil {
			cancel(err)
		}
	})
	keepers := make(map[sendonce.FolderID]keeping)
	for {
		folders, err := c.db.Folders()
		if err != nil {
			return err
		}
		l.keep(ctx, &all, keepers, folders)
		select {
		case <-l.changed:
		case <-ctx.Done():
			if err := context.Cause(ctx); sendonce.KindOf(err) == sendonce.KindUnauthorized || sendonce.KindOf(err) == sendonce.KindNotSetUp {
				return err
			}
			return nil
		}
	}
}

// keeping is a folder as its keeper found it, and how to end that.
type keeping struct {
	folder state.Folder
	stop   context.CancelFunc
}

// keep starts and ends keepers so that each active folder has one, for the
// directory that is attached now.
func (l *loop) keep(ctx context.Context, all *sync.WaitGroup, keepers map[sendonce.FolderID]keeping, folders []state.Folder) {
	active := make(map[sendonce.FolderID]state.Folder)
	for _, f := range folders {
		if !f.Paused {
			active[f.ID] = f
		}
	}
	for id, k := range keepers {
		if f, ok := active[id]; !ok || f.Dir != k.folder.Dir || f.Dev != k.folder.Dev || f.Ino != k.folder.Ino {
			k.stop()
			delete(keepers, id)
		}
	}
	for id, f := range active {
		if _, ok := keepers[id]; !ok {
			kctx, stop := context.WithCancel(ctx)
			keepers[id] = keeping{f, stop}
			all.Go(func() { l.keeper(kctx, f) })
		}
	}
}

// Backoff between attempts to connect, and after a failed pass.
const (
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// connect keeps the session until ctx ends. Only an answer that no retry can
// change is an error.
func (l *loop) connect(ctx context.Context) error {
	c, backoff := l.c, firstBackoff
	for ctx.Err() == nil {
		began := c.cfg.Now()
		s, err := c.dial(ctx)
		if err != nil {
			switch sendonce.KindOf(err) {
			case sendonce.KindUnauthorized, sendonce.KindNotSetUp, sendonce.KindUnsupported:
				return err
			}
			c.cfg.Log.Warn("cannot reach the server; will try again", "error", err, "in", backoff)
			if !sleep(ctx, backoff) {
				return nil
			}
			backoff = min(2*backoff, maxBackoff)
			continue
		}
		c.cfg.Log.Info("connected", "server", s.Peer.Addr)
		l.share(s)
		select {
		case <-s.Done():
			c.cfg.Log.Warn("the connection to the server ended")
		case <-ctx.Done():
		}
		l.share(nil)
		_ = s.Close()
		if c.cfg.Now().Sub(began) > maxBackoff {
			backoff = firstBackoff
			continue
		}
		if !sleep(ctx, backoff) { // a server that drops whoever comes is not asked in a tight loop
			return nil
		}
		backoff = min(2*backoff, maxBackoff)
	}
	return nil
}

func (l *loop) share(s *session.Session) {
	l.c.mu.Lock()
	l.c.sess = s
	l.c.mu.Unlock()
	l.up.set(s)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// keeper owns one folder: it watches it and runs its passes.
func (l *loop) keeper(ctx context.Context, f state.Folder) {
	c := l.c
	fs := c.folder(f.ID)
	hints := make(chan watch.Hint)
	var w *watched
	defer func() { w.close() }()
	backoff := firstBackoff
	next := time.NewTimer(0) // when a full scan is due
	defer next.Stop()
	for {
		var dirs []string // nil: everything
		select {
		case <-ctx.Done():
			return
		case h := <-hints:
			if !h.All {
				dirs = h.Dirs
			}
		case <-next.C:
		}
		if w == nil { // at first, and after trouble with the root
			w = l.watch(ctx, f, hints)
			dirs = nil
		} else {
			st := w.Status()
			c.setWatching(fs, st.Text, int64(st.Directories))
		}
		ok, refused := l.once(ctx, f, dirs)
		if ctx.Err() != nil {
			return
		}
		if refused { // the root may be another directory the next time
			w.close()
			w = nil
		}
		switch {
		case !ok:
			next.Reset(backoff)
			backoff = min(2*backoff, maxBackoff)
		case dirs == nil:
			backoff = firstBackoff
			next.Reset(c.cfg.Rescan)
		}
	}
}

// watched is a watcher and the tree that it looks at.
type watched struct {
	*watch.Watcher
	tree fsys.Tree
}

func (w *watched) close() {
	if w == nil {
		return
	}
	_ = w.Watcher.Close()
	_ = w.tree.Close()
}

// watch begins to watch a folder; nil if it cannot be: it is scanned then.
func (l *loop) watch(ctx context.Context, f state.Folder, hints chan<- watch.Hint) *watched {
	c := l.c
	tree, err := c.cfg.OpenTree(f.Dir)
	if err == nil {
		w, e := watch.Start(ctx, watch.Options{Dir: f.Dir, Tree: tree, Settle: c.cfg.Settle, Hints: hints, Log: c.cfg.Log,
			SkipFile: scan.IgnoreFile, Skip: func(dir string) bool {
				ignored, err := scan.Ignored(tree, dir)
				return err == nil && ignored // in doubt it is watched
			}})
		if e == nil {
			st := w.Status()
			c.setWatching(c.folder(f.ID), st.Text, int64(st.Directories))
			return &watched{w, tree}
		}
		err = e
		_ = tree.Close()
	}
	c.cfg.Log.Warn("cannot watch; finding changes by scanning", "folder", f.Name, "error", err)
	c.setWatching(c.folder(f.ID), "scan only: "+err.Error(), 0)
	return nil
}

// once waits for a session and runs a pass. ok is false if another one should
// come soon; refused says that the folder itself stood in the way.
func (l *loop) once(ctx context.Context, f state.Folder, dirs []string) (ok, refused bool) {
	c := l.c
	fs := c.folder(f.ID)
	c.setState(fs, "waiting", "for the server")
	sess, err := l.up.wait(ctx)
	if err != nil {
		return false, false
	}
	if now, err := c.current(f); err == nil && now.Paused {
		return true, false // the end of this keeper is on its way
	}
	var sum Summary
	err = c.syncOne(ctx, f, sess, dirs, SyncOptions{}, &sum)
	log := c.cfg.Log.With("folder", f.Name)
	switch {
	case ctx.Err() != nil:
		return false, false
	case sendonce.KindOf(err) == sendonce.KindRefused:
		log.Error("the folder needs attention", "error", err, "hint", sendonce.HintOf(err))
		c.wake() // it may be paused now
		return false, true
	case err != nil:
		log.Warn("pass failed; will try again", "error", err)
		return false, false
	case sum.Changes > 0 || len(sum.Skipped)+len(sum.Conflicts) > 0:
		log.Info("pushed", "changes", sum.Changes, "chunks_missing", sum.ChunksMissing, "pack_bytes", sum.PackBytes,
			"skipped", len(sum.Skipped), "conflicts", len(sum.Conflicts))
	}
	return !sum.busy, false
}

func (c *Client) setWatching(fs *folderState, text string, dirs int64) {
	c.mu.Lock()
	fs.status.Watching, fs.status.Directories = text, dirs
	c.mu.Unlock()
}
