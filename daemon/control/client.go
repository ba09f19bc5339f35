package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"sendonce"
	"sendonce/daemon"
	"sendonce/daemon/state"
	"sendonce/protocol"
)

// Client asks a running daemon. It implements API.
type Client struct {
	http *http.Client
}

var _ API = (*Client)(nil)

// NewClient returns a client that reaches the daemon through dial.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}}
}

// Close gives up idle connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// call sends q and reads the lines of the answer.
func call[A any](ctx context.Context, c *Client, path string, q any, report func(daemon.Progress)) (out A, err error) {
	fail := func(err error) (A, error) {
		kind := sendonce.KindUnavailable
		if ctx.Err() != nil {
			kind = sendonce.KindInterrupted
		}
		return out, &sendonce.Error{Op: "ask the daemon", Kind: kind, Err: err, Hint: "see its log, or stop it and run the command again without it"}
	}
	body, err := json.Marshal(escape(q))
	if err != nil {
		return fail(err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://daemon"+path, bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail(errors.New(resp.Status))
	}
	dec := json.NewDecoder(resp.Body)
	for {
		var l line[A]
		err := dec.Decode(&l)
		if errors.Is(err, io.EOF) {
			err = errNoAnswer
		}
		if err != nil {
			return fail(err)
		}
		l = unescape(l)
		if l.Progress != nil {
			if report != nil {
				report(*l.Progress)
			}
			continue
		}
		if l.Result != nil {
			out = *l.Result
		}
		return out, l.Error.err()
	}
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (daemon.Status, error) {
	return call[daemon.Status](ctx, c, "/v1/status", struct{}{}, nil)
}

// Attach asks to attach a directory.
func (c *Client) Attach(ctx context.Context, dir, folder string, names sendonce.NameRule) (state.Folder, error) {
	return call[state.Folder](ctx, c, "/v1/attach", folderCall{Dir: dir, Folder: folder, Names: names}, nil)
}

// Detach asks to detach a directory.
func (c *Client) Detach(ctx context.Context, dir string) error {
	_, err := call[struct{}](ctx, c, "/v1/detach", folderCall{Dir: dir}, nil)
	return err
}

// SetPaused asks to pause or resume a folder.
func (c *Client) SetPaused(ctx context.Context, dir string, paused, acceptDeletes bool) error {
	_, err := call[struct{}](ctx, c, "/v1/pause", folderCall{Dir: dir, Paused: paused, AcceptDeletes: acceptDeletes}, nil)
	return err
}

// Sync asks for a pass.
func (c *Client) Sync(ctx context.Context, dirs []string, o daemon.SyncOptions) (daemon.Summary, error) {
	return call[daemon.Summary](ctx, c, "/v1/sync", syncCall{Dirs: dirs, DryRun: o.DryRun}, o.Progress)
}

// List asks for a listing.
func (c *Client) List(ctx context.Context, folder, path string, at uint64, atTime time.Time, recursive bool) ([]daemon.ListEntry, error) {
	return call[[]daemon.ListEntry](ctx, c, "/v1/list", listCall{Folder: folder, Path: path, At: at, AtTime: atTime, Recursive: recursive}, nil)
}

// Log asks for journal entries.
func (c *Client) Log(ctx context.Context, folder, path string, limit int, snapshots bool) ([]protocol.LogEntry, error) {
	return call[[]protocol.LogEntry](ctx, c, "/v1/log", listCall{Folder: folder, Path: path, Limit: limit, Snapshots: snapshots}, nil)
}

// Restore asks the daemon to restore into a directory of this machine.
func (c *Client) Restore(ctx context.Context, o daemon.RestoreOptions) (daemon.RestoreSummary, error) {
	return call[daemon.RestoreSummary](ctx, c, "/v1/restore", restoreCall{
		Folder: o.Folder, Path: o.Path, At: o.At, AtTime: o.AtTime, To: o.To, DryRun: o.DryRun}, o.Progress)
}

// Admin passes an admin method on to the proxy.
func (c *Client) Admin(ctx context.Context, method string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return &sendonce.Error{Op: method, Kind: sendonce.KindInternal, Err: err}
	}
	raw, err := call[json.RawMessage](ctx, c, "/v1/admin", adminCall{Method: method, Body: data}, nil)
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(raw, answer); err != nil {
		return &sendonce.Error{Op: method, Kind: sendonce.KindInvalid, Err: err}
	}
	return nil
}
