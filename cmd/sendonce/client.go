package main

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/cmd/sendonce/internal/keyfile"
	"sendonce/cmd/sendonce/internal/unixsock"
	"sendonce/daemon"
	"sendonce/daemon/control"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/protocol/quiclink"
)

// client is what the subcommands ask: a daemon.Client in this process, or the
// running daemon behind its socket.
type client interface {
	control.API
	Close() error
}

// The names inside a state directory.
const (
	stateKeyFile = "key"
	stateDB      = "db"
)

// client returns the running daemon of this state directory, or else opens the
// state here.
func (a *app) client(ctx context.Context) (client, error) {
	for _, path := range a.sockets() {
		if answers(ctx, path) {
			a.log.Debug("asking the daemon", "socket", path)
			return control.NewClient(func(ctx context.Context) (net.Conn, error) { return unixsock.Dial(ctx, path) }), nil
		}
	}
	return a.openClient(ctx, clientOptions{})
}

// answers says whether a process listens on a socket.
func answers(ctx context.Context, path string) bool {
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	conn, err := unixsock.Dial(ctx, path)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// clientOptions are what differs between the ways to open the state.
type clientOptions struct {
	create      bool // make the state directory and the key where there are none
	connections int
	workers     int
	settle      time.Duration
	rescan      time.Duration
}

// localClient closes with it what was opened for it.
type localClient struct {
	*daemon.Client
	dialer *quiclink.Dialer
}

func (c *localClient) Close() error { return errors.Join(c.Client.Close(), c.dialer.Close()) }

// collectSooner lets less garbage pile up than Go does by default: memory matters
// more to those who share a machine with us than the few percent of CPU that it
// costs. GOGC overrides it.
func collectSooner() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40)
	}
}

// openClient opens the state directory in this process. KindNotSetUp if there
// is none; KindLocked if another process has it.
func (a *app) openClient(ctx context.Context, o clientOptions) (_ *localClient, err error) {
	collectSooner()
	id, err := a.identity(o.create)
	if err != nil {
		return nil, err
	}
	db, err := a.openState(ctx)
	if err != nil {
		return nil, err
	}
	dialer, err := quiclink.NewDialer(quiclink.Config{Identity: id})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	c, err := daemon.Open(daemon.Config{
		State: db, Device: id.ID(), Version: thisVersion().Version, Dialer: dialer, Now: a.now, Rand: rand.Reader, Log: a.log,
		OpenTree:   func(dir string) (fsys.Tree, error) { return fsys.OpenTree(dir) },
		OpenTarget: func(dir string) (fsys.Target, error) { return fsys.OpenTarget(dir) },
		Level:      a.global.Level, Connections: o.connections, Workers: o.workers, Settle: o.settle, Rescan: o.rescan,
	})
	if err != nil {
		return nil, errors.Join(err, dialer.Close(), db.Close())
	}
	return &localClient{c, dialer}, nil
}

// identity reads this device's key.
func (a *app) identity(create bool) (*quiclink.Identity, error) {
	path := filepath.Join(a.global.State, stateKeyFile)
	if create {
		if err := os.MkdirAll(a.global.State, 0o700); err != nil {
			return nil, &sendonce.Error{Op: "make state directory", Kind: sendonce.KindInternal, Err: err}
		}
		return keyfile.LoadOrCreate(path, rand.Reader)
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil, &sendonce.Error{Op: "open state", Path: a.global.State, Kind: sendonce.KindNotSetUp, Detail: "this device has not joined a server",
			Hint: "run sendonce invite on the server and sendonce join LINK here"}
	}
	return keyfile.Load(path)
}

// statePatience is how long a command waits for another one that has the state
// open: two syncs may follow each other closely.
const statePatience = 2 * time.Second

func (a *app) openState(ctx context.Context) (*state.DB, error) {
	deadline := time.NewTimer(statePatience)
	defer deadline.Stop()
	for {
		db, err := state.Open(vfs.Default, filepath.Join(a.global.State, stateDB), state.Options{Log: a.log})
		if sendonce.KindOf(err) != sendonce.KindLocked {
			return db, err
		}
		again := time.NewTimer(50 * time.Millisecond)
		select {
		case <-again.C:
		case <-deadline.C:
			return nil, &sendonce.Error{Op: "open state", Path: a.global.State, Kind: sendonce.KindLocked, Detail: "another sendonce uses it",
				Hint: "wait for it to end, or use another --state directory"}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
