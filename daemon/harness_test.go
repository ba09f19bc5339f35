package daemon_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"sendonce"
	"sendonce/blobstore"
	"sendonce/blobstore/blobtest"
	"sendonce/daemon"
	"sendonce/daemon/state"
	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
	"sendonce/internal/fsys"
	"sendonce/internal/fsys/fsystest"
	"sendonce/protocol"
	"sendonce/protocol/prototest"
	"sendonce/proxy"
)

func TestMain(m *testing.M) {
	// Pebble keeps one goroutine for the life of the process.
	goleak.VerifyTestMain(m)
}

// world is a real proxy over memory engines, and a network in memory.
type world struct {
	t      testing.TB
	net    *prototest.Network
	index  *indexdb.DB
	store  blobstore.Store
	lossy  *lossy // under store
	limits proxy.Limits
	srv    *proxy.Server
	keys   byte
	dials  atomic.Int64
	log    *slog.Logger

	mu   sync.Mutex
	stop func()
}

const serverKey = 1

var dryRun = daemon.SyncOptions{DryRun: true}

func newWorld(t testing.TB, with ...func(*world)) *world {
	t.Helper()
	w := &world{t: t, net: &prototest.Network{}, lossy: &lossy{Store: blobtest.NewMem(), lost: make(map[sendonce.Location]bool)}, keys: serverKey}
	w.store = w.lossy
	level := slog.Level(100)
	if os.Getenv("DAEMON_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	for _, f := range with {
		f(w)
	}
	fault := w.net.OnDial
	w.net.OnDial = func(n int, addr string) prototest.Fault {
		w.dials.Add(1)
		if fault == nil {
			return prototest.Fault{}
		}
		return fault(n, addr)
	}
	db, err := indexdb.New(indextest.NewMem(), indexdb.Options{Now: time.Now, Rand: rand.Reader})
	w.must(err)
	w.index = db
	w.start()
	t.Cleanup(func() {
		w.halt()
		w.check()
	})
	return w
}

// start starts the proxy; halt ends it. Its data stay.
func (w *world) start() {
	w.t.Helper()
	l, err := w.net.Listen("proxy", prototest.Key(serverKey))
	w.must(err)
	w.srv, err = proxy.New(proxy.Config{Index: w.index, Store: w.store, Listener: l, Key: prototest.Key(serverKey),
		Now: time.Now, Rand: rand.Reader, Log: w.log, Version: "test", Limits: w.limits})
	w.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	srv := w.srv
	go func() { ended <- srv.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("proxy: %v", err)
		}
	})
}

func (w *world) halt() { w.stop() }

// check verifies the index's own rules.
func (w *world) check() {
	ctx := context.Background()
	folders, err := w.index.Folders(ctx, sendonce.DefaultTenant)
	w.must(err)
	for _, f := range folders {
		bad, err := w.index.Check(ctx, sendonce.DefaultTenant, f.ID)
		w.must(err)
		for _, s := range bad {
			w.t.Errorf("index: %s: %s", f.Name, s)
		}
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v (hint: %s)", err, sendonce.HintOf(err))
	}
}

// admin calls an admin method as the server's owner.
func (w *world) admin(method string, request, reply any) {
	w.t.Helper()
	body, err := json.Marshal(request)
	w.must(err)
	rec := httptest.NewRecorder()
	w.srv.Handler().ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/v1/"+method, bytes.NewReader(body)))
	if rec.Code != http.StatusOK {
		w.t.Fatalf("%s: %s", method, rec.Body)
	}
	if reply != nil {
		w.must(json.Unmarshal(rec.Body.Bytes(), reply))
	}
}

// device is one client with one directory.
type device struct {
	*daemon.Client
	w    *world
	key  byte
	id   sendonce.DeviceID
	db   *state.DB
	disk vfs.FS
	dir  string
	name string // of the folder

	// Changed only while nothing runs.
	openTree func(string) (fsys.Tree, error)
	config   func(*daemon.Config)
}

// device enrols a device; with folder "" it has the role in all folders. It
// attaches a new directory as folder "f".
func (w *world) device(role sendonce.Role, with ...func(*daemon.Config)) *device {
	w.t.Helper()
	return w.deviceOn(vfs.NewMem(), role, with...)
}

// deviceOn is device with a disk for its state.
func (w *world) deviceOn(disk vfs.FS, role sendonce.Role, with ...func(*daemon.Config)) *device {
	w.t.Helper()
	w.keys++
	d := &device{w: w, key: w.keys, id: prototest.ID(prototest.Key(w.keys)), disk: disk, dir: w.tempDir(), name: "f"}
	d.openTree = func(dir string) (fsys.Tree, error) { return fsys.OpenTree(dir) }
	d.config = func(c *daemon.Config) {
		for _, f := range with {
			f(c)
		}
	}
	d.open()
	w.t.Cleanup(func() {
		if d.Client != nil {
			w.must(d.Close())
		}
	})
	w.must(d.join(role))
	_, err := d.Attach(context.Background(), d.dir, d.name, sendonce.NamesExact)
	w.must(err)
	return d
}

// open opens the client over the state as it is on its disk.
func (d *device) open() {
	d.w.t.Helper()
	db, err := state.Open(d.disk, "state", state.Options{})
	d.w.must(err)
	d.db = db
	c := daemon.Config{State: db, DeviceName: fmt.Sprintf("device %d", d.key), Dialer: d.w.net.Dialer(prototest.Key(d.key)), Device: d.id,
		Now: time.Now, Rand: rand.Reader, Log: d.w.log, Connections: 2, Workers: 2, Settle: 10 * time.Millisecond,
		OpenTree:   func(dir string) (fsys.Tree, error) { return d.openTree(dir) },
		OpenTarget: func(dir string) (fsys.Target, error) { return fsys.OpenTarget(dir) }}
	d.config(&c)
	d.Client, err = daemon.Open(c)
	d.w.must(err)
}

// reopen is a restart of the client's process.
func (d *device) reopen() {
	d.w.t.Helper()
	d.w.must(d.Close())
	d.open()
}

func (d *device) join(role sendonce.Role) error {
	var inv struct {
		Token []byte `json:"token"`
	}
	d.w.admin("invite", map[string]string{"role": role.String()}, &inv)
	return d.Join(context.Background(), protocol.Link{Addrs: []string{"proxy"}, Server: prototest.ID(prototest.Key(serverKey)), Token: inv.Token}, "")
}

func (d *device) trySync() (daemon.Summary, error) {
	return d.Sync(context.Background(), nil, daemon.SyncOptions{})
}

// sync runs a pass that must do everything.
func (d *device) sync() daemon.Summary {
	d.w.t.Helper()
	sum, err := d.trySync()
	if err != nil {
		d.w.t.Fatalf("sync: %v\n%+v", err, sum)
	}
	return sum
}

// quiet runs a pass that must find nothing to do.
func (d *device) quiet() {
	d.w.t.Helper()
	sum := d.sync()
	if sum.FilesRead != 0 || sum.BytesRead != 0 || sum.Changes != 0 || sum.Commits != 0 || sum.Chunks != 0 || sum.Packs != 0 {
		d.w.t.Fatalf("a pass over an unchanged folder did something: %+v", sum)
	}
}

// path returns the absolute path of a name in the device's directory.
func (d *device) path(name string) string { return filepath.Join(d.dir, name) }

// old is the time that written files get, so that their ctime alone is young.
var old = time.Unix(1_600_000_000, 123_456_789)

// write writes a file, and its directories.
func (d *device) write(name string, data []byte) {
	d.w.t.Helper()
	d.w.must(os.MkdirAll(filepath.Dir(d.path(name)), 0o755))
	d.w.must(os.WriteFile(d.path(name), data, 0o644))
	d.w.must(os.Chtimes(d.path(name), old, old))
}

// settle makes the state believe that what is there has been at rest for long:
// files written within two seconds of being read are read again.
func (d *device) settle() {
	d.w.t.Helper()
	d.w.must(d.Close())
	db, err := state.Open(d.disk, "state", state.Options{})
	d.w.must(err)
	folders, err := db.Folders()
	d.w.must(err)
	for _, f := range folders {
		rd := db.Live(f.ID)
		var b state.Batch
		var walk func(sendonce.NodeID)
		walk = func(dir sendonce.NodeID) {
			rows, err := rd.LocalChildren(dir)
			d.w.must(err)
			for _, r := range rows {
				if r.Kind == sendonce.KindDir {
					walk(r.Node)
				}
				if r.Racy {
					r.Racy = false
					b.SetLocal = append(b.SetLocal, r)
				}
			}
		}
		walk(f.ID.Root())
		d.w.must(db.Apply(f.ID, &b))
	}
	d.w.must(db.Close())
	d.open()
}

// restore restores the folder's head into a new directory and compares.
func (d *device) restored() string {
	d.w.t.Helper()
	to := filepath.Join(d.w.tempDir(), "restored")
	sum, err := d.Restore(context.Background(), daemon.RestoreOptions{Folder: d.name, To: to})
	if err != nil {
		d.w.t.Fatalf("restore: %v\n%+v", err, sum)
	}
	return to
}

// verify restores and compares with the device's own directory.
func (d *device) verify() {
	d.w.t.Helper()
	same(d.w.t, d.dir, d.restored())
}

// entry is what has to be equal after a restore.
type entry struct {
	mode   fs.FileMode
	mtime  int64 // not of directories: every new name moves it on the way
	data   string
	blocks int64
}

func tree(t testing.TB, dir string) map[string]entry {
	t.Helper()
	out := make(map[string]entry)
	err := filepath.WalkDir(dir, func(p string, de fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if rel == "." {
			return nil
		}
		info, err := de.Info()
		if err != nil {
			return err
		}
		e := entry{mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			e.data, e.mtime = string(data), info.ModTime().UnixNano()
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				e.blocks = st.Blocks
			}
		case info.Mode()&fs.ModeSymlink != 0:
			if e.data, err = os.Readlink(p); err != nil {
				return err
			}
			e.mtime = info.ModTime().UnixNano()
		}
		out[rel] = e
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// same compares two directories.
func same(t testing.TB, want, got string) {
	t.Helper()
	a, b := tree(t, want), tree(t, got)
	for _, name := range slices.Sorted(maps.Keys(a)) {
		x, ok := b[name]
		y := a[name]
		switch {
		case !ok:
			t.Errorf("%q is missing", name)
		case x.data != y.data:
			t.Errorf("%q has %d bytes, %d are right, or they differ", name, len(x.data), len(y.data))
		case x.mode != y.mode || x.mtime != y.mtime:
			t.Errorf("%q: mode %v and mtime %d, not %v and %d", name, x.mode, x.mtime, y.mode, y.mtime)
		case x.blocks > y.blocks+64: // a few blocks of slack; a filled hole is larger
			t.Errorf("%q takes %d blocks, not %d", name, x.blocks, y.blocks)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			t.Errorf("%q should not be there", name)
		}
	}
}

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	x := seed*0x9E3779B97F4A7C15 + 1
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

// kind fails unless err has the kind.
func (w *world) kind(err error, k sendonce.ErrKind) {
	w.t.Helper()
	if sendonce.KindOf(err) != k {
		w.t.Fatalf("error of kind %v, not %v: %v", sendonce.KindOf(err), k, err)
	}
}

// eventually polls until ok; nothing here waits for a fixed time.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			w.t.Fatalf("never: %s\n%s", what, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// tempDir makes a directory for a test, in memory where that is possible: tests
// make many small files, and the disk has nothing to prove here.
func (w *world) tempDir() string {
	w.t.Helper()
	const shm = "/dev/shm"
	if _, err := os.Stat(shm); err != nil {
		return w.t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "sendonce-test-")
	w.must(err)
	w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// hook makes the device see its directory through a wrapper.
func (d *device) hook(set func(*fsystest.Tree)) {
	d.openTree = func(dir string) (fsys.Tree, error) {
		t, err := fsys.OpenTree(dir)
		if err != nil {
			return nil, err
		}
		wrapped := fsystest.Wrap(t)
		set(wrapped)
		return wrapped, nil
	}
}

// lossy is a store that forgets records.
type lossy struct {
	blobstore.Store
	mu   sync.Mutex
	puts []sendonce.Location
	lost map[sendonce.Location]bool
}

func (l *lossy) Put(ctx context.Context, records [][]byte) ([]sendonce.Location, error) {
	locs, err := l.Store.Put(ctx, records)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.puts = append(l.puts, locs...)
	return locs, err
}

func (l *lossy) Get(ctx context.Context, locs []sendonce.Location, fn func(int, []byte) error) error {
	return l.Store.Get(ctx, locs, func(i int, record []byte) error {
		l.mu.Lock()
		lost := l.lost[locs[i]]
		l.mu.Unlock()
		if lost {
			record = nil
		}
		return fn(i, record)
	})
}

// damage makes the n-th record that was stored unreadable.
func (w *world) damage(n int) {
	l := w.lossy
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost[l.puts[n]] = true
}

// connectedOnce reports whether nobody dialled again after the first device was
// set up: joining and attaching dial once each, its daemon once.
func (w *world) connectedOnce() bool { return w.dials.Load() == 3 }
