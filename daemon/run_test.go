package daemon_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"sendonce"
	"sendonce/daemon"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
)

// running runs the daemon until the test ends, or until it ends by itself.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

func (d *device) run() *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.err = d.Run(ctx)
	}()
	d.w.t.Cleanup(r.stop)
	return r
}

func (r *running) stop() { r.cancel(); <-r.ended }

// has reports whether the server's head holds a file with these bytes.
func (d *device) has(name string, data []byte) bool {
	list, err := d.List(context.Background(), d.name, "", 0, time.Time{}, true)
	if err != nil {
		return false
	}
	for _, e := range list {
		if e.Path == name {
			return bytes.Equal(e.Node.Content.Inline, data)
		}
	}
	return false
}

func (d *device) folderState() daemon.FolderStatus {
	d.w.t.Helper()
	st, err := d.Status(context.Background())
	d.w.must(err)
	return st.Folders[0]
}

func TestRunPushesWhatIsSaved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("before", []byte("b"))
	r := d.run()
	w.eventually("what was there is pushed", func() bool { return d.has("before", []byte("b")) })
	d.write("dir/saved", []byte("1"))
	w.eventually("a new file is pushed", func() bool { return d.has("dir/saved", []byte("1")) })
	d.write("dir/saved", []byte("22"))
	w.eventually("an edit is pushed", func() bool { return d.has("dir/saved", []byte("22")) })
	w.must(os.RemoveAll(d.path("dir")))
	w.eventually("a delete is pushed", func() bool { return !d.has("dir/saved", []byte("22")) })
	w.eventually("idle", func() bool { s := d.folderState(); return s.State == "idle" && s.Watching == "events" })
	if st, err := d.Status(t.Context()); err != nil || !st.Connected || !st.Daemon {
		t.Errorf("status: %+v, %v", st, err)
	}
	if err := d.Run(t.Context()); sendonce.KindOf(err) != sendonce.KindLocked {
		t.Errorf("a second Run: %v", err)
	}
	r.stop()
	w.must(r.err)
	d.verify()
}

func TestRunSurvivesTheProxy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.run()
	w.eventually("connected", func() bool { st, _ := d.Status(t.Context()); return st.Connected })
	w.halt()
	d.write("while it was away", []byte("x"))
	w.start()
	w.eventually("pushed after the proxy came back", func() bool { return d.has("while it was away", []byte("x")) })
	w.net.CutAll()
	d.write("after a cut", []byte("y"))
	w.eventually("pushed after a cut", func() bool { return d.has("after a cut", []byte("y")) })
}

func TestRunEndsWhenTheDeviceIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	r := d.run()
	w.eventually("connected", func() bool { st, _ := d.Status(t.Context()); return st.Connected })
	w.admin("revoke", map[string]string{"device": d.id.String()}, nil)
	<-r.ended
	w.kind(r.err, sendonce.KindUnauthorized)
}

func TestRunFollowsFolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.run()
	d.write("a", []byte("a"))
	w.eventually("pushed", func() bool { return d.has("a", []byte("a")) })

	w.must(d.SetPaused(t.Context(), d.dir, true, false))
	w.eventually("paused", func() bool { return d.folderState().State == "paused" })
	d.write("b", []byte("b"))
	w.must(d.SetPaused(t.Context(), d.dir, false, false))
	w.eventually("pushed after the pause", func() bool { return d.has("b", []byte("b")) })

	// Another folder, while it runs.
	other := w.tempDir()
	w.must(os.WriteFile(other+"/x", []byte("x"), 0o644))
	_, err := d.Attach(t.Context(), other, "other", sendonce.NamesExact)
	w.must(err)
	w.eventually("the new folder is pushed", func() bool {
		list, err := d.List(t.Context(), "other", "", 0, time.Time{}, true)
		return err == nil && len(list) == 1
	})
	w.must(d.Detach(t.Context(), other))

	// The root is replaced; nothing happens until the user says that it is meant.
	w.must(os.Rename(d.dir, d.dir+".old"))
	t.Cleanup(func() { os.RemoveAll(d.dir + ".old") })
	w.must(os.Mkdir(d.dir, 0o755))
	d.write("c", []byte("c"))
	if _, err := d.trySync(); sendonce.KindOf(err) != sendonce.KindRefused {
		t.Errorf("a replaced root: %v", err)
	}
	_, err = d.Attach(t.Context(), d.dir, "", sendonce.NamesExact)
	w.must(err)
	w.eventually("pushed from the new root", func() bool { return d.has("c", []byte("c")) })
	d.write("d", []byte("d"))
	w.eventually("and watched", func() bool { return d.has("d", []byte("d")) })
}

// Calls share the daemon's session: one that is given up leaves it usable.
func TestCallsShareTheSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("a", noise(1, 100<<10))
	d.run()
	w.eventually("connected", func() bool { st, _ := d.Status(t.Context()); return st.Connected })
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			_, _ = d.List(ctx, d.name, "", 0, time.Time{}, true)
			_ = d.Admin(ctx, "usage", struct{}{}, nil)
			_, _ = d.Sync(ctx, nil, daemon.SyncOptions{})
		})
	}
	all.Wait()
	d.sync()
	if !w.connectedOnce() {
		t.Error("the session had to be made anew")
	}
	d.verify()
}

// A proxy that accepts and drops everybody is not dialled without pause.
func TestRunDoesNotSpin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	w.halt()
	l, err := w.net.Listen("proxy", prototest.Key(serverKey))
	w.must(err)
	var mu sync.Mutex
	dials := 0
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				return
			}
			served.Go(func() {
				st, err := conn.Accept(context.Background())
				if err == nil {
					_, _ = protocol.NewReader(st).Next()
					wr := protocol.NewWriter(st)
					_ = errors.Join(wr.Send(&protocol.Welcome{Version: protocol.Version, Params: sendonce.DefaultParams, Time: time.Now()}), wr.Flush())
				}
				mu.Lock()
				dials++
				mu.Unlock()
				_ = conn.Close(sendonce.KindUnavailable, "go away")
			})
		}
	})
	r := d.run()
	w.eventually("it was tried twice", func() bool { mu.Lock(); defer mu.Unlock(); return dials >= 2 })
	r.stop()
	w.must(l.Close())
	served.Wait()
	if dials > 10 {
		t.Errorf("%d dials in about a second", dials)
	}
}

func TestConcurrentSyncs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	for i := range 200 {
		d.write(fmt.Sprintf("%d/%d", i%7, i), noise(uint64(i), i*100))
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if _, err := d.trySync(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	d.verify()
}
