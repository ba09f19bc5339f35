package daemon

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"sendonce"
	"sendonce/content"
	"sendonce/daemon/session"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/protocol"
)

// Client is one enrolled device. Its methods may be called concurrently; passes
// over one folder exclude each other.
type Client struct {
	cfg   Config
	level content.Level
	db    *state.DB

	mu      sync.Mutex
	sess    *session.Session // shared by the passes of a running daemon; nil: each pass dials
	folders map[sendonce.FolderID]*folderState
	running *loop // while Run runs
}

// folderState is what a client remembers of a folder between passes.
type folderState struct {
	pass sync.Mutex // one pass at a time
	// Guarded by Client.mu:
	status FolderStatus
}

// Settings kept in the state.
const (
	settingDeviceName = "device name"
	settingTenantKey  = "tenant"
)

// Open makes a client over an open state database.
func Open(cfg Config) (*Client, error) {
	if cfg.Now == nil || cfg.Rand == nil || cfg.Dialer == nil || cfg.State == nil || cfg.OpenTree == nil || cfg.OpenTarget == nil {
		return nil, &sendonce.Error{Op: "open client", Kind: sendonce.KindInternal, Detail: "incomplete configuration"}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Connections = orDefault(cfg.Connections, 4)
	cfg.Workers = orDefault(cfg.Workers, runtime.GOMAXPROCS(0))
	cfg.Settle = orDefault(cfg.Settle, 300*time.Millisecond)
	cfg.Rescan = orDefault(cfg.Rescan, 10*time.Minute)
	level, err := content.ParseLevel(orDefault(cfg.Level, "default"))
	if err != nil {
		return nil, err
	}
	if cfg.DeviceName == "" {
		if cfg.DeviceName, err = cfg.State.Setting(settingDeviceName); err != nil {
			return nil, err
		}
	}
	return &Client{cfg: cfg, level: level, db: cfg.State, folders: make(map[sendonce.FolderID]*folderState)}, nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Close ends the session and closes the state.
func (c *Client) Close() error {
	c.mu.Lock()
	sess := c.sess
	c.sess = nil
	c.mu.Unlock()
	if sess != nil {
		_ = sess.Close()
	}
	return c.db.Close()
}

// Join enrols this device with a link, or adds the link's role to a device that
// is enrolled at the same server already.
func (c *Client) Join(ctx context.Context, link protocol.Link, deviceName string) error {
	old, err := c.db.Server()
	if err != nil {
		return err
	}
	if old != nil && old.Fingerprint != link.Server {
		return &sendonce.Error{Op: "join", Kind: sendonce.KindExists, Detail: "this device is enrolled at another server (" + strings.Join(old.Addrs, ", ") + ")",
			Hint: "use another --state directory for the other server"}
	}
	if deviceName == "" {
		deviceName = orDefault(c.cfg.DeviceName, "device")
	}
	sess, err := session.Dial(ctx, c.cfg.Dialer, session.Target{Addrs: link.Addrs, Server: link.Server,
		Hello: protocol.Hello{DeviceName: deviceName, Token: link.Token}})
	if err != nil {
		return err
	}
	defer sess.Close()
	if err := c.db.SetSetting(settingDeviceName, deviceName); err != nil {
		return err
	}
	c.cfg.DeviceName = deviceName
	return c.db.SetServer(state.Server{Addrs: link.Addrs, Fingerprint: link.Server})
}

// session returns the running daemon's session, or dials one that the caller
// must close (own is true).
func (c *Client) session(ctx context.Context) (s *session.Session, own bool, err error) {
	c.mu.Lock()
	s = c.sess
	c.mu.Unlock()
	if s != nil {
		return s, false, nil
	}
	s, err = c.dial(ctx)
	return s, true, err
}

func (c *Client) dial(ctx context.Context) (*session.Session, error) {
	srv, err := c.db.Server()
	if err != nil {
		return nil, err
	}
	if srv == nil {
		return nil, &sendonce.Error{Op: "connect", Kind: sendonce.KindNotSetUp, Detail: "this device is not enrolled",
			Hint: "run `sendonce invite` on the server and `sendonce join LINK` here"}
	}
	return session.Dial(ctx, c.cfg.Dialer, session.Target{Addrs: srv.Addrs, Server: srv.Fingerprint,
		Hello: protocol.Hello{DeviceName: c.cfg.DeviceName}})
}

// Admin calls an admin method of the proxy (docs/protocol.md, "Admin methods").
// answer may be nil.
func (c *Client) Admin(ctx context.Context, method string, body, answer any) error {
	s, own, err := c.session(ctx)
	if err != nil {
		return err
	}
	if own {
		defer s.Close()
	}
	return admin(ctx, s, method, body, answer)
}

func admin(ctx context.Context, s *session.Session, method string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return &sendonce.Error{Op: method, Kind: sendonce.KindInternal, Err: err}
	}
	st, err := s.Open(ctx)
	if err != nil {
		return err
	}
	defer st.Raw.Close()
	stop := context.AfterFunc(ctx, func() { st.Raw.StopRecv(sendonce.KindInterrupted) })
	defer stop()
	if err := st.Send(&protocol.Admin{Method: method, Body: data}); err != nil {
		return err
	}
	if err := st.Flush(); err != nil {
		return err
	}
	m, err := st.Next()
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *protocol.Fail:
		return m.Err()
	case *protocol.AdminReply:
		if answer == nil {
			return nil
		}
		if err := json.Unmarshal(m.Body, answer); err != nil {
			return &sendonce.Error{Op: method, Kind: sendonce.KindInvalid, Err: err}
		}
		return nil
	}
	return &sendonce.Error{Op: method, Kind: sendonce.KindInvalid, Detail: "an answer of an unexpected type"}
}

// Folders lists the attached folders.
func (c *Client) Folders() ([]state.Folder, error) { return c.db.Folders() }

// Attach connects a directory with a folder of the server, which is created if
// it is new. An empty name takes the only folder that this device was invited
// to, or else the directory's own name. A directory that is attached, or lies
// inside or around one that is, is refused.
func (c *Client) Attach(ctx context.Context, dir, name string, names sendonce.NameRule) (state.Folder, error) {
	fail := func(k sendonce.ErrKind, detail, hint string) (state.Folder, error) {
		return state.Folder{}, &sendonce.Error{Op: "attach", Path: dir, Kind: k, Detail: detail, Hint: hint}
	}
	info, err := c.rootInfo(dir)
	if err != nil {
		return state.Folder{}, err
	}
	attached, err := c.db.Folders()
	if err != nil {
		return state.Folder{}, err
	}
	var reattach *state.Folder
	for i, f := range attached {
		switch {
		case f.Dir == dir && (name == "" || name == f.Name):
			reattach = &attached[i]
		case f.Dir == dir:
			return fail(sendonce.KindExists, "it is attached already, as folder "+f.Name, "detach it first: sendonce remove "+dir)
		case within(dir, f.Dir) || within(f.Dir, dir):
			return fail(sendonce.KindRefused, "it overlaps the attached directory "+f.Dir, "attach directories that do not contain each other")
		case name != "" && f.Name == name:
			return fail(sendonce.KindExists, "folder "+name+" is attached at "+f.Dir, "one directory for each folder on a device; detach the other first: sendonce remove "+f.Dir)
		}
	}
	if reattach != nil {
		if reattach.Dev == info.Dev && reattach.Ino == info.Ino {
			return fail(sendonce.KindExists, "it is attached already, as folder "+reattach.Name, "nothing is to be done; `sendonce status` shows it")
		}
		// The user says that this directory is the folder's root now.
		reattach.Dev, reattach.Ino = info.Dev, info.Ino
		reattach.Paused, reattach.PauseReason = false, ""
		if err := c.db.SetFolder(*reattach); err != nil {
			return state.Folder{}, err
		}
		c.wake()
		return *reattach, nil
	}
	s, own, err := c.session(ctx)
	if err != nil {
		return state.Folder{}, err
	}
	if own {
		defer s.Close()
	}
	f, err := c.serverFolder(ctx, s, dir, name, names)
	if err != nil {
		return state.Folder{}, err
	}
	for _, a := range attached {
		if a.ID == f.ID {
			return fail(sendonce.KindExists, "folder "+f.Name+" is attached at "+a.Dir, "one directory for each folder on a device; detach the other first: sendonce remove "+a.Dir)
		}
	}
	f.Dir, f.Dev, f.Ino = dir, info.Dev, info.Ino
	if err := c.db.SetFolder(f); err != nil {
		return f, err
	}
	c.wake()
	return f, nil
}

// serverFolder finds or creates the server's folder.
func (c *Client) serverFolder(ctx context.Context, s *session.Session, dir, name string, names sendonce.NameRule) (state.Folder, error) {
	// Welcome is as old as the session: ask again.
	known, err := c.serverFolders(ctx, s)
	if err != nil {
		return state.Folder{}, err
	}
	if name == "" {
		name = filepath.Base(dir)
		if len(known) == 1 && known[0].Name != name {
			if _, err := lookup(known, name); err != nil {
				name = known[0].Name
			}
		}
	}
	if f, err := lookup(known, name); err == nil {
		return state.Folder{ID: f.ID, Name: f.Name, Names: f.Names, Role: f.Role}, nil
	}
	rule := "exact"
	if names == sendonce.NamesPortable {
		rule = "portable"
	}
	if err := admin(ctx, s, "create-folder", map[string]string{"name": name, "names": rule}, nil); err != nil {
		return state.Folder{}, err
	}
	if known, err = c.serverFolders(ctx, s); err != nil {
		return state.Folder{}, err
	}
	f, err := lookup(known, name)
	if err != nil {
		return state.Folder{}, err
	}
	return state.Folder{ID: f.ID, Name: f.Name, Names: f.Names, Role: f.Role}, nil
}

// serverFolders asks for the folders that this device may see now.
func (c *Client) serverFolders(ctx context.Context, s *session.Session) ([]protocol.FolderInfo, error) {
	w, err := s.Refresh(ctx)
	if err != nil {
		return nil, err
	}
	return w.Folders, nil
}

func lookup(known []protocol.FolderInfo, name string) (*protocol.FolderInfo, error) {
	var names []string
	for i := range known {
		if known[i].Name == name {
			return &known[i], nil
		}
		names = append(names, known[i].Name)
	}
	hint := "this device sees no folder yet; attach a directory: sendonce add DIR"
	if len(names) > 0 {
		hint = "this device sees: " + strings.Join(names, ", ")
	}
	return nil, &sendonce.Error{Op: "find folder", Path: name, Kind: sendonce.KindNotFound, Detail: "no such folder", Hint: hint}
}

// Detach forgets a directory; its files and the server's folder stay.
func (c *Client) Detach(ctx context.Context, dir string) error {
	f, err := c.attached(dir)
	if err != nil {
		return err
	}
	fs := c.folder(f.ID)
	fs.pass.Lock()
	defer fs.pass.Unlock()
	if err := c.db.DropFolder(f.ID); err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.folders, f.ID)
	c.mu.Unlock()
	c.wake()
	return nil
}

// attached finds the attached folder of a directory, or of a folder's name.
func (c *Client) attached(dir string) (state.Folder, error) {
	all, err := c.db.Folders()
	if err != nil {
		return state.Folder{}, err
	}
	for _, f := range all {
		if f.Dir == dir || f.Name == dir || f.Name == filepath.Base(dir) && within(dir, f.Dir) {
			return f, nil
		}
	}
	for _, f := range all { // somewhere inside an attached directory
		if within(dir, f.Dir) {
			return f, nil
		}
	}
	return state.Folder{}, &sendonce.Error{Op: "find folder", Path: dir, Kind: sendonce.KindNotSetUp, Detail: "it is not attached",
		Hint: "attach it: sendonce add " + dir}
}

// within reports whether dir is root or below it.
func within(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, strings.TrimSuffix(root, "/")+"/")
}

func (c *Client) rootInfo(dir string) (fsys.Info, error) {
	if !filepath.IsAbs(dir) {
		return fsys.Info{}, &sendonce.Error{Op: "attach", Path: dir, Kind: sendonce.KindUsage, Detail: "not an absolute path"}
	}
	t, err := c.cfg.OpenTree(dir)
	if err != nil {
		return fsys.Info{}, err
	}
	defer t.Close()
	return t.Lstat("")
}

// folder returns a folder's memory, making it.
func (c *Client) folder(id sendonce.FolderID) *folderState {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.folders[id]
	if f == nil {
		f = &folderState{status: FolderStatus{State: "idle", Watching: "scan only: no daemon is running"}}
		c.folders[id] = f
	}
	return f
}
