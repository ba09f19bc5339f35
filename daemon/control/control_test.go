package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sendonce"
	"sendonce/daemon"
	"sendonce/daemon/control"
	"sendonce/daemon/state"
	"sendonce/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake answers with what it is given and remembers the questions.
type fake struct {
	asked  []any
	err    error
	status daemon.Status
	folder state.Folder
	sum    daemon.Summary
	list   []daemon.ListEntry
	log    []protocol.LogEntry
	rest   daemon.RestoreSummary
	block  chan struct{}
}

func (f *fake) ask(args ...any) error { f.asked = args; return f.err }

func (f *fake) Status(context.Context) (daemon.Status, error) { return f.status, f.ask("status") }

func (f *fake) Attach(_ context.Context, dir, folder string, names sendonce.NameRule) (state.Folder, error) {
	return f.folder, f.ask(dir, folder, names)
}

func (f *fake) Detach(_ context.Context, dir string) error { return f.ask(dir) }

func (f *fake) SetPaused(_ context.Context, dir string, paused, accept bool) error {
	return f.ask(dir, paused, accept)
}

func (f *fake) Sync(ctx context.Context, dirs []string, o daemon.SyncOptions) (daemon.Summary, error) {
	if f.block != nil {
		close(f.block)
		<-ctx.Done()
		return f.sum, ctx.Err()
	}
	if o.Progress != nil {
		for i := range 3 {
			o.Progress(daemon.Progress{Phase: "push", Files: int64(i), Folder: "\xff"})
		}
	}
	return f.sum, f.ask(dirs, o.DryRun)
}

func (f *fake) List(_ context.Context, folder, path string, at uint64, atTime time.Time, recursive bool) ([]daemon.ListEntry, error) {
	return f.list, f.ask(folder, path, at, atTime.UnixNano(), recursive)
}

func (f *fake) Log(_ context.Context, folder, path string, limit int, snapshots bool) ([]protocol.LogEntry, error) {
	return f.log, f.ask(folder, path, limit, snapshots)
}

func (f *fake) Restore(_ context.Context, o daemon.RestoreOptions) (daemon.RestoreSummary, error) {
	if o.Progress != nil {
		o.Progress(daemon.Progress{Phase: "restore"})
	}
	return f.rest, f.ask(o.Folder, o.Path, o.At, o.AtTime.UnixNano(), o.To, o.DryRun)
}

func (f *fake) Admin(_ context.Context, method string, body, answer any) error {
	if err := f.ask(method, string(body.(json.RawMessage))); err != nil {
		return err
	}
	return json.Unmarshal([]byte(`{"x": 7}`), answer)
}

// connect serves f on a Unix socket and returns a client of it.
func connect(t *testing.T, f *fake) *control.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: control.Handler(f)}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(l) }()
	c := control.NewClient(func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", path) })
	t.Cleanup(func() {
		_ = c.Close()
		_ = srv.Close()
		<-ended
	})
	return c
}

const odd = "not\xffUTF-8\nand:more"

// Every call arrives as it was made and brings back what was answered, bytes that
// are not UTF-8 too.
func TestCalls(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	f := &fake{
		status: daemon.Status{Device: "d", Connected: true, Folders: []daemon.FolderStatus{{Dir: odd, State: "idle",
			Conflicts: []daemon.Conflict{{Path: odd, Reason: "r"}}, Skipped: []daemon.Skipped{}}}},
		folder: state.Folder{Name: "f", Dir: odd, Dev: 1 << 63, Ino: 3, Role: sendonce.RolePushOnly},
		sum:    daemon.Summary{Files: 1, Conflicts: []daemon.Conflict{{Path: odd}}, Skipped: []daemon.Skipped{{Path: "\x00base64:AA=="}}},
		list: []daemon.ListEntry{{Path: "a/" + odd, Node: sendonce.Node{ID: sendonce.NodeID{1}, Name: odd, Kind: sendonce.KindSymlink, Target: odd}},
			{Path: "b", Node: sendonce.Node{Kind: sendonce.KindFile, Rev: 1<<64 - 1, Size: 3, Content: sendonce.Content{Inline: []byte{0, 255, 1}}}}},
		log:  []protocol.LogEntry{{Seq: 4, Chain: [32]byte{9}, Time: at, DeviceName: "x", Snapshot: true}},
		rest: daemon.RestoreSummary{Seq: 4, Skipped: []daemon.Skipped{{Path: odd}}},
	}
	c := connect(t, f)
	ctx := t.Context()
	var reports []daemon.Progress
	report := func(p daemon.Progress) { reports = append(reports, p) }
	for name, call := range map[string]struct {
		do   func() (any, error)
		want any
		args []any
	}{
		"status": {func() (any, error) { return c.Status(ctx) }, f.status, []any{"status"}},
		"attach": {func() (any, error) { return c.Attach(ctx, odd, "n", sendonce.NamesPortable) }, f.folder, []any{odd, "n", sendonce.NamesPortable}},
		"detach": {func() (any, error) { return nil, c.Detach(ctx, odd) }, nil, []any{odd}},
		"pause":  {func() (any, error) { return nil, c.SetPaused(ctx, odd, true, true) }, nil, []any{odd, true, true}},
		"sync": {func() (any, error) {
			return c.Sync(ctx, []string{"a", odd}, daemon.SyncOptions{DryRun: true, Progress: report})
		}, f.sum, []any{[]string{"a", odd}, true}},
		"list": {func() (any, error) { return c.List(ctx, "f", odd, 1<<60, at, true) }, f.list, []any{"f", odd, uint64(1 << 60), at.UnixNano(), true}},
		"log":  {func() (any, error) { return c.Log(ctx, "f", odd, 5, true) }, f.log, []any{"f", odd, 5, true}},
		"restore": {func() (any, error) {
			return c.Restore(ctx, daemon.RestoreOptions{Folder: "f", Path: odd, At: 3, AtTime: at, To: odd, DryRun: true, Progress: report})
		}, f.rest, []any{"f", odd, uint64(3), at.UnixNano(), odd, true}},
		"admin": {func() (any, error) {
			var answer struct{ X int }
			err := c.Admin(ctx, "usage", map[string]int{"n": 1}, &answer)
			return answer.X, err
		}, 7, []any{"usage", `{"n":1}`}},
	} {
		t.Run(name, func(t *testing.T) {
			f.err, reports = nil, nil
			got, err := call.do()
			if err != nil || !reflect.DeepEqual(got, call.want) {
				t.Errorf("%v\ngot  %+v\nwant %+v", err, got, call.want)
			}
			if !reflect.DeepEqual(f.asked, call.args) {
				t.Errorf("asked %q, want %q", f.asked, call.args)
			}
			if name == "sync" && (len(reports) != 3 || reports[2].Files != 2 || reports[0].Folder != "\xff") {
				t.Errorf("progress: %+v", reports)
			}
			// The same with an error: kind and hint come through, and for long calls
			// the result too.
			f.err = &sendonce.Error{Op: "do", Path: odd, Kind: sendonce.KindPartial, Detail: "some", Hint: "try " + odd}
			got, err = call.do()
			if sendonce.KindOf(err) != sendonce.KindPartial || sendonce.HintOf(err) != "try "+odd || !strings.Contains(err.Error(), f.err.Error()) {
				t.Errorf("error: %v", err)
			}
			if (name == "sync" || name == "restore") && !reflect.DeepEqual(got, call.want) {
				t.Errorf("the result of a part: %+v", got)
			}
			f.err = errors.New("nobody classified it")
			if _, err = call.do(); sendonce.KindOf(err) != sendonce.KindInternal || err.Error() != f.err.Error() {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func TestCallerGivesUp(t *testing.T) {
	f := &fake{block: make(chan struct{})}
	c := connect(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-f.block; cancel() }()
	_, err := c.Sync(ctx, nil, daemon.SyncOptions{})
	if sendonce.KindOf(err) != sendonce.KindInterrupted {
		t.Errorf("error: %v", err)
	}
}

func TestNoDaemon(t *testing.T) {
	c := control.NewClient(func(context.Context) (net.Conn, error) { return nil, errors.New("nobody listens") })
	if _, err := c.Status(t.Context()); sendonce.KindOf(err) != sendonce.KindUnavailable || sendonce.HintOf(err) == "" {
		t.Errorf("error: %v", err)
	}
	for _, body := range []string{"", "{}", "no JSON", `{"progress":{}}`} { // {} is an answer: of nothing
		l := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }))
		c := control.NewClient(func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", l.Listener.Addr().String())
		})
		if _, err := c.Status(t.Context()); body != "{}" && sendonce.KindOf(err) != sendonce.KindUnavailable {
			t.Errorf("answer %q: %v", body, err)
		}
		_ = c.Close()
		l.Close()
	}
}

// FuzzRequest sends any bytes to every call: an answer comes, of one JSON line,
// and nothing panics.
func FuzzRequest(f *testing.F) {
	paths := []string{"status", "attach", "detach", "pause", "list", "log", "admin", "sync", "restore", "none"}
	for i := range paths {
		f.Add(uint8(i), []byte(`{"dir":"a","dirs":["\u0000base64:/w=="],"path":"p","at_time":"2026-01-02T03:04:05Z","body":{}}`))
		f.Add(uint8(i), []byte(`{"dir":1}`))
		f.Add(uint8(i), []byte(`[`))
	}
	f.Fuzz(func(t *testing.T, call uint8, body []byte) {
		path := paths[int(call)%len(paths)]
		rec := httptest.NewRecorder()
		control.Handler(&fake{}).ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/"+path, strings.NewReader(string(body))))
		if path == "none" {
			if rec.Code != http.StatusNotFound {
				t.Errorf("status %d", rec.Code)
			}
			return
		}
		dec := json.NewDecoder(rec.Body)
		for n := 0; ; n++ {
			var line struct {
				Result, Error, Progress json.RawMessage
			}
			if err := dec.Decode(&line); err != nil {
				if n == 0 {
					t.Errorf("no answer to %q: %v", body, err)
				}
				return
			}
		}
	})
}
