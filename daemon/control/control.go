// Package control lets commands talk to a running daemon: JSON over HTTP on a
// Unix socket that only the user can reach. Handler is the daemon's side, Client
// the command's; both speak for the same API, so that a command need not know
// which it has.
//
// Invariants: an error keeps its kind and hint across the socket, and a name its
// bytes, UTF-8 or not (text.go). What it does not promise: a stable interface for programs; those use the command line's
// --json.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"sendonce"
	"sendonce/daemon"
	"sendonce/daemon/state"
	"sendonce/protocol"
)

// API is what a daemon can be asked; daemon.Client implements it.
type API interface {
	daemon.Remote
	Attach(ctx context.Context, dir, folder string, names sendonce.NameRule) (state.Folder, error)
	Detach(ctx context.Context, dir string) error
	Sync(ctx context.Context, dirs []string, o daemon.SyncOptions) (daemon.Summary, error)
	Status(ctx context.Context) (daemon.Status, error)
	SetPaused(ctx context.Context, dir string, paused, acceptDeletes bool) error
	Admin(ctx context.Context, method string, body, answer any) error
}

// The requests and answers, as JSON.
type (
	folderCall struct {
		Dir           string            `json:"dir"`
		Folder        string            `json:"folder,omitempty"`
		Names         sendonce.NameRule `json:"names,omitempty"`
		Paused        bool              `json:"paused,omitempty"`
		AcceptDeletes bool              `json:"accept_deletes,omitempty"`
	}
	syncCall struct {
		Dirs   []string `json:"dirs"`
		DryRun bool     `json:"dry_run"`
	}
	listCall struct {
		Folder    string    `json:"folder"`
		Path      string    `json:"path"`
		At        uint64    `json:"at"`
		AtTime    time.Time `json:"at_time"`
		Recursive bool      `json:"recursive"`
		Limit     int       `json:"limit"`
		Snapshots bool      `json:"snapshots"`
	}
	restoreCall struct {
		Folder string    `json:"folder"`
		Path   string    `json:"path"`
		At     uint64    `json:"at"`
		AtTime time.Time `json:"at_time"`
		To     string    `json:"to"`
		DryRun bool      `json:"dry_run"`
	}
	adminCall struct {
		Method string          `json:"method"`
		Body   json.RawMessage `json:"body"`
	}
	// line is one line of a long answer: progress lines, then one with the
	// result, the error, or both.
	line[T any] struct {
		Progress *daemon.Progress `json:"progress,omitempty"`
		Result   *T               `json:"result,omitempty"`
		Error    *failure         `json:"error,omitempty"`
	}
	failure struct {
		Kind   sendonce.ErrKind `json:"kind"`
		Detail string           `json:"detail"`
		Hint   string           `json:"hint,omitempty"`
	}
)

func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	return &failure{Kind: sendonce.KindOf(err), Detail: err.Error(), Hint: sendonce.HintOf(err)}
}

func (f *failure) err() error {
	if f == nil {
		return nil
	}
	return &sendonce.Error{Kind: f.Kind, Detail: f.Detail, Hint: f.Hint}
}

// maxCall bounds a request.
const maxCall = sendonce.MaxFrame

// Handler serves an API.
func Handler(c API) http.Handler {
	mux := http.NewServeMux()
	handle(mux, "/v1/status", func(ctx context.Context, _ struct{}) (daemon.Status, error) { return c.Status(ctx) })
	handle(mux, "/v1/attach", func(ctx context.Context, q folderCall) (state.Folder, error) {
		return c.Attach(ctx, q.Dir, q.Folder, q.Names)
	})
	handle(mux, "/v1/detach", func(ctx context.Context, q folderCall) (struct{}, error) {
		return struct{}{}, c.Detach(ctx, q.Dir)
	})
	handle(mux, "/v1/pause", func(ctx context.Context, q folderCall) (struct{}, error) {
		return struct{}{}, c.SetPaused(ctx, q.Dir, q.Paused, q.AcceptDeletes)
	})
	handle(mux, "/v1/list", func(ctx context.Context, q listCall) ([]daemon.ListEntry, error) {
		return c.List(ctx, q.Folder, q.Path, q.At, q.AtTime, q.Recursive)
	})
	handle(mux, "/v1/log", func(ctx context.Context, q listCall) ([]protocol.LogEntry, error) {
		return c.Log(ctx, q.Folder, q.Path, q.Limit, q.Snapshots)
	})
	handle(mux, "/v1/admin", func(ctx context.Context, q adminCall) (answer json.RawMessage, err error) {
		return answer, c.Admin(ctx, q.Method, q.Body, &answer)
	})
	handleLong(mux, "/v1/sync", func(ctx context.Context, q syncCall, report func(daemon.Progress)) (daemon.Summary, error) {
		return c.Sync(ctx, q.Dirs, daemon.SyncOptions{DryRun: q.DryRun, Progress: report})
	})
	handleLong(mux, "/v1/restore", func(ctx context.Context, q restoreCall, report func(daemon.Progress)) (daemon.RestoreSummary, error) {
		return c.Restore(ctx, daemon.RestoreOptions{Folder: q.Folder, Path: q.Path, At: q.At, AtTime: q.AtTime, To: q.To, DryRun: q.DryRun, Progress: report})
	})
	return mux
}

func decode[Q any](w http.ResponseWriter, r *http.Request) (q Q, err error) {
	if err = json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCall)).Decode(&q); err != nil {
		err = &sendonce.Error{Op: "read request", Kind: sendonce.KindInvalid, Err: err}
	}
	return unescape(q), err
}

// handle serves a call with one answer.
func handle[Q, A any](mux *http.ServeMux, path string, fn func(context.Context, Q) (A, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		q, err := decode[Q](w, r)
		var out line[A]
		if err == nil {
			var a A
			if a, err = fn(r.Context(), q); err == nil {
				out.Result = &a
			}
		}
		out.Error = failureOf(err)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(escape(out)) // the caller has gone: nobody is left to tell
	})
}

// handleLong serves a call that reports progress.
func handleLong[Q, A any](mux *http.ServeMux, path string, fn func(context.Context, Q, func(daemon.Progress)) (A, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		var mu sync.Mutex
		enc := json.NewEncoder(w)
		send := func(l line[A]) {
			mu.Lock()
			defer mu.Unlock()
			_ = enc.Encode(escape(l))
			_ = http.NewResponseController(w).Flush()
		}
		q, err := decode[Q](w, r)
		if err != nil {
			send(line[A]{Error: failureOf(err)})
			return
		}
		a, err := fn(r.Context(), q, func(p daemon.Progress) { send(line[A]{Progress: &p}) })
		send(line[A]{Result: &a, Error: failureOf(err)})
	})
}

var errNoAnswer = errors.New("the daemon ended without an answer")
