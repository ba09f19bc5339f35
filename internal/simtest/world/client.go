package world

import (
	"context"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"sendonce"
	"sendonce/daemon"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/internal/simtest"
	"sendonce/protocol/quiclink"
)

// Client is a device: a machine with a state disk, and a real directory that is
// kept in step with one folder. (Crashes are of the state disk: the user's files
// are whatever they are.)
type Client struct {
	machine
	w        *World
	Name     string
	Folder   string // name
	Dir      string // attached
	Prefix   string // what of the folder is this client's own: "" all, or "dir/"
	ID       sendonce.FolderID
	identity *quiclink.Identity

	dialer *quiclink.Dialer
	db     *state.DB
	daemon *daemon.Client
	cancel atomic.Pointer[context.CancelFunc] // of the Sync under way
}

// Client adds a device that is enrolled and has a directory attached to a folder,
// which is made if it is new. Prefix says which paths it alone writes.
func (w *World) Client(name, folder, prefix string) *Client {
	w.T.Helper()
	id, err := quiclink.NewIdentity(w.secrets())
	w.must(err)
	c := &Client{w: w, Name: name, Folder: folder, Prefix: prefix, Dir: filepath.Join(w.tempDir(), name), identity: id}
	w.must(os.Mkdir(c.Dir, 0o755))
	c.host = w.Net.Host(name, w.Link)
	c.mount(simtest.NewDisk(w.random()))
	c.start()
	w.clients = append(w.clients, c)
	w.must(c.daemon.Join(w.ctx, w.Proxy.link(sendonce.RoleAdmin), name))
	f, err := c.daemon.Attach(w.ctx, c.Dir, folder, sendonce.NamesExact)
	w.must(err)
	c.ID = f.ID
	return c
}

func (c *Client) start() {
	w := c.w
	w.T.Helper()
	var err error
	c.db, err = state.Open(c.disk, "/state", state.Options{Log: w.Log})
	w.must(err)
	c.dialer, err = quiclink.NewDialer(quiclink.Config{Identity: c.identity,
		ListenPacket: func() (net.PacketConn, error) { return c.host.Listen(0) },
		Resolve:      func(context.Context, string) ([]net.Addr, error) { return []net.Addr{w.Proxy.host.Addr(Port)}, nil },
	})
	w.must(err)
	c.daemon, err = daemon.Open(daemon.Config{State: c.db, DeviceName: c.Name, Version: "test", Dialer: c.dialer, Device: c.identity.ID(),
		Now: time.Now, Rand: w.secrets(), Log: w.Log.With("machine", c.Name), Workers: 2,
		OpenTree: fsys.OpenTree, OpenTarget: openTarget})
	w.must(err)
	c.onDeath(func() {
		if stop := c.cancel.Load(); stop != nil {
			(*stop)()
		}
	})
}

// openTarget is fsys.OpenTarget without waiting for the real disk.
func openTarget(dir string) (fsys.Target, error) {
	t, err := fsys.OpenTarget(dir)
	if err != nil {
		return nil, err
	}
	return hasty{t}, nil
}

type hasty struct{ fsys.Target }

func (hasty) Sync() error          { return nil }
func (hasty) SyncDir(string) error { return nil }

func (c *Client) close() {
	c.w.T.Helper()
	for _, err := range []error{c.daemon.Close(), c.dialer.Close()} {
		if err != nil && !c.Crashed() {
			c.w.T.Errorf("closing client %s: %v", c.Name, err)
		}
	}
}

// Restart ends the process and starts another one on what a crash, if there was
// one, left.
func (c *Client) Restart() {
	c.w.T.Helper()
	c.close()
	if c.Crashed() {
		c.mount(c.disk.Restart())
		c.host.SetDown(false)
	}
	c.start()
}

func (c *Client) path(name string) string {
	return filepath.Join(c.Dir, filepath.FromSlash(c.Prefix+name))
}

// Write makes or replaces a file, and its directories.
func (c *Client) Write(name string, data []byte) {
	c.w.T.Helper()
	c.w.must(os.MkdirAll(filepath.Dir(c.path(name)), 0o755))
	c.w.must(os.WriteFile(c.path(name), data, 0o644))
}

// Rename moves a file or directory.
func (c *Client) Rename(from, to string) {
	c.w.T.Helper()
	c.w.must(os.MkdirAll(filepath.Dir(c.path(to)), 0o755))
	c.w.must(os.Rename(c.path(from), c.path(to)))
}

// Remove deletes a file or directory with all that is in it.
func (c *Client) Remove(name string) {
	c.w.T.Helper()
	c.w.must(os.RemoveAll(c.path(name)))
}

// Sync runs one pass. If it is done and the machine is whole, the tree as it is
// now goes into the model: it must be possible to get it back for ever. Nothing
// may change the directory meanwhile.
func (c *Client) Sync() (daemon.Summary, error) {
	w := c.w
	w.T.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	c.cancel.Store(&cancel)
	defer c.cancel.Store(nil)
	if c.Crashed() { // before it could be told
		cancel()
	}
	sum, err := c.daemon.Sync(ctx, nil, daemon.SyncOptions{})
	if c.Crashed() {
		return sum, err
	}
	seq, rerr := c.acknowledged()
	w.must(rerr)
	if err != nil {
		// What the receipt stands for is acknowledged all the same, though which
		// tree that is only the proxy knows.
		w.acknowledge(ack{client: c, seq: seq})
		return sum, err
	}
	tree, terr := ReadTree(c.Dir)
	w.must(terr)
	w.acknowledge(ack{client: c, seq: seq, tree: tree.Below(c.Prefix)})
	return sum, nil
}

// acknowledged returns the sequence number up to which the client knows.
func (c *Client) acknowledged() (uint64, error) {
	cur, err := c.db.Live(c.ID).Cursor()
	if err != nil {
		return 0, err
	}
	r, err := c.db.Receipt(c.ID)
	if err != nil {
		return 0, err
	}
	const at = len("sendonce receipt 1\x00") + 16 + 16
	if len(r) >= at+8 {
		return max(cur.Seq, binary.BigEndian.Uint64(r[at:])), nil
	}
	return cur.Seq, nil
}

// Settle runs passes until one is done, starting anew what has crashed, and
// returns how many it took. It waits between them as long as wait says.
func (c *Client) Settle(wait time.Duration) int {
	w := c.w
	w.T.Helper()
	var err error
	for n := 1; n <= 40; n++ {
		if c.Crashed() {
			c.Restart()
		}
		if w.Proxy.Crashed() {
			w.Proxy.Restart()
		}
		var sum daemon.Summary
		if sum, err = c.Sync(); err == nil && !c.Crashed() && !w.Proxy.Crashed() {
			return n
		}
		if err != nil && sendonce.KindOf(err) == sendonce.KindPartial {
			w.T.Errorf("client %s: skipped %v, in conflict %v", c.Name, sum.Skipped, sum.Conflicts)
			break
		}
		w.Log.Info("pass failed", "client", c.Name, "err", err, "client crashed", c.Crashed(), "proxy crashed", w.Proxy.Crashed())
		time.Sleep(wait)
	}
	w.T.Fatalf("client %s does not get done: %v", c.Name, err)
	return 0
}

// Restore writes the folder as it was at seq (0: now) into a new directory and
// reads that. An error of KindPartial comes with what could be restored, and the
// paths of what could not.
func (c *Client) Restore(seq uint64) (tree Tree, skipped []string, err error) {
	to := c.w.tempDir()
	sum, err := c.daemon.Restore(c.w.ctx, daemon.RestoreOptions{Folder: c.Folder, At: seq, To: to})
	t, terr := ReadTree(to)
	c.w.must(terr)
	c.w.must(os.RemoveAll(to))
	for _, s := range sum.Skipped {
		skipped = append(skipped, s.Path)
	}
	return t, skipped, err
}

// State returns the client's state database.
func (c *Client) State() *state.DB { return c.db }
