package scan

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"sendonce"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/internal/fsys/fsystest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func (w *world) put(t testing.TB, path, data string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(w.path(path)), 0o755))
	must(t, os.WriteFile(w.path(path), []byte(data), 0o644))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) skipped(r Report) []string {
	out := []string{}
	for _, s := range r.Skipped {
		out = append(out, s.Path+": "+s.Reason)
	}
	slices.Sort(out)
	return out
}

func TestKinds(t *testing.T) {
	w := newWorld(t)
	w.put(t, "d/f", "1")
	w.put(t, "g", "2")
	must(t, os.Symlink("..", w.path("d/loop"))) // never followed
	r := w.scan(t, Options{})
	w.expect(t, "added d", "added d/f", "added d/loop", "added g")
	if want := (Report{Files: 2, Dirs: 2, Symlinks: 1, Bytes: 2}); !reflect.DeepEqual(r, want) {
		t.Errorf("%+v", r)
	}
	must(t, os.Chmod(w.path("d"), 0o700))
	must(t, os.Rename(w.path("g"), w.path("h")))
	must(t, os.Remove(w.path("d/loop")))
	w.put(t, "d/f", "11")
	r = w.scan(t, Options{})
	w.expect(t, "meta d", "modified d/f", "moved h", "removed d/loop")
	if r.Removed != 1 || r.Known != 4 {
		t.Errorf("%+v", r)
	}
	w.check(t)
}

// Moving a directory of any size is one change, and no file is opened.
func TestMoveLargeDirectory(t *testing.T) {
	w := newWorld(t)
	for i := range 100 {
		for j := range 100 {
			w.put(t, fmt.Sprintf("big/%d/%d", i, j), "x")
		}
	}
	w.put(t, "to/x", "x")
	w.scan(t, Options{})
	must(t, os.Rename(w.path("big"), w.path("to/new")))
	for _, workers := range []int{1, 4} {
		w.tree.Opens.Store(0)
		r, err := Run(context.Background(), w.tree, w.base, Options{Root: root, Workers: workers}, func(c Change) error {
			w.last = []Change{c}
			return nil
		})
		must(t, err)
		w.expect(t, "moved to/new")
		if w.tree.Opens.Load() != 0 || r.Files != 10_001 {
			t.Errorf("%d opens, %+v", w.tree.Opens.Load(), r)
		}
	}
}

func TestParallelEqualsSerial(t *testing.T) {
	w := newWorld(t)
	for i := range 40 {
		for j := range 10 {
			w.put(t, fmt.Sprintf("d%d/e%d/f", i, j), fmt.Sprint(i, j))
			w.put(t, fmt.Sprintf("d%d/g%d", i, j), fmt.Sprint(i, j))
		}
	}
	both := func() {
		t.Helper()
		var got [2][]Change
		var reports [2]Report
		for i, workers := range []int{1, 4} {
			var err error
			reports[i], err = Run(context.Background(), w.tree, w.base, Options{Root: root, Workers: workers}, func(c Change) error {
				got[i] = append(got[i], c)
				return nil
			})
			must(t, err)
		}
		if !reflect.DeepEqual(got[0], got[1]) || !reflect.DeepEqual(reports[0], reports[1]) {
			t.Errorf("serial %+v:%s\nparallel %+v:%s", reports[0], show(got[0]), reports[1], show(got[1]))
		}
		if len(got[0]) == 0 {
			t.Error("no changes")
		}
	}
	both()
	w.scan(t, Options{})
	for i := range 40 {
		d := fmt.Sprintf("d%d", i)
		switch i % 5 {
		case 0:
			must(t, os.RemoveAll(w.path(d)))
		case 1:
			must(t, os.Rename(w.path(d), w.path("moved"+d)))
		case 2:
			must(t, os.Rename(w.path(d+"/e1"), w.path(d+"/e10")))
			must(t, os.Rename(w.path(d+"/g1"), w.path(d+"/e10/g1")))
		case 3:
			w.put(t, d+"/g1", "changed")
		}
	}
	both()
	w.scan(t, Options{Workers: 4})
	w.check(t)
}

// What cannot be listed, looked at or read stays as it was.
func TestFrozen(t *testing.T) {
	denied := &sendonce.Error{Op: "list", Kind: sendonce.KindUnauthorized, Err: syscall.EACCES}
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, w *world)
		skipped string // path of the entry that is reported; "": none
	}{
		{"list error", func(t *testing.T, w *world) {
			w.tree.Before = func(op fsystest.Op, path string) error {
				if op == fsystest.ReadDir && path == "d" {
					return denied
				}
				return nil
			}
		}, "d"},
		{"vanished while scanning", func(t *testing.T, w *world) {
			w.tree.Before = func(op fsystest.Op, path string) error {
				if op == fsystest.ReadDir && path == "d" {
					return os.RemoveAll(w.path("d"))
				}
				return nil
			}
		}, ""},
		{"entry error", func(t *testing.T, w *world) {
			w.tree.Entries = func(dir string, es []fsys.Entry) []fsys.Entry {
				if dir == "" {
					es[0] = fsys.Entry{Name: es[0].Name, Err: denied}
				}
				return es
			}
		}, "d"},
		{"another file system", func(t *testing.T, w *world) {
			w.tree.Info = func(path string, i *fsys.Info) {
				if path == "d" {
					i.Dev++
				}
			}
		}, "d"},
		{"a FIFO in its place", func(t *testing.T, w *world) {
			must(t, os.RemoveAll(w.path("d")))
			must(t, syscall.Mkfifo(w.path("d"), 0o644))
		}, "d"},
		{"hidden by a rename while listing", func(t *testing.T, w *world) {
			w.tree.Entries = func(dir string, es []fsys.Entry) []fsys.Entry {
				if dir == "" {
					return es[1:]
				}
				return es
			}
		}, ""},
		{"nobody can tell", func(t *testing.T, w *world) {
			must(t, os.RemoveAll(w.path("d")))
			w.tree.Before = func(op fsystest.Op, path string) error {
				if op == fsystest.Lstat && path == "d" {
					return denied
				}
				return nil
			}
		}, ""},
		{"ignore file unreadable", func(t *testing.T, w *world) {
			w.put(t, "d/"+IgnoreFile, "f")
			w.tree.Before = func(op fsystest.Op, path string) error {
				if op == fsystest.Open && path == "d/"+IgnoreFile {
					return denied
				}
				return nil
			}
		}, "d"},
		{"ignore file cannot be looked at", func(t *testing.T, w *world) {
			w.put(t, "d/"+IgnoreFile, "f")
			w.tree.Before = func(op fsystest.Op, path string) error {
				if op == fsystest.Open && path == "d/"+IgnoreFile {
					return denied
				}
				return nil
			}
			w.tree.Entries = func(dir string, es []fsys.Entry) []fsys.Entry {
				for i := range es {
					if es[i].Name == IgnoreFile {
						es[i] = fsys.Entry{Name: IgnoreFile, Err: denied}
					}
				}
				return es
			}
		}, "d"},
		{"ignore file too large", func(t *testing.T, w *world) {
			w.put(t, "d/"+IgnoreFile, strings.Repeat("pattern\n", maxIgnoreFile/8)+"x")
		}, "d"},
		{"ignored by now", func(t *testing.T, w *world) {
			w.put(t, IgnoreFile, "/d/\n/"+IgnoreFile)
			must(t, os.Remove(w.path("d/f")))
		}, ""},
		{"ignored and deleted", func(t *testing.T, w *world) {
			w.put(t, IgnoreFile, "/d/\n/"+IgnoreFile)
			must(t, os.RemoveAll(w.path("d")))
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, workers := range []int{1, 4} {
				w := newWorld(t)
				w.put(t, "d/f", "x")
				w.put(t, "d/e/g", "x")
				w.put(t, "z", "x")
				w.scan(t, Options{})
				c.prepare(t, w)
				w.put(t, "z", fmt.Sprint("changed ", workers)) // everything else goes on
				r := w.scan(t, Options{Workers: workers})
				w.expect(t, "modified z")
				var got string
				if len(r.Skipped) > 0 {
					got = r.Skipped[0].Path
				}
				if len(r.Skipped) > 1 || got != c.skipped || got != "" && r.Skipped[0].Reason == "" {
					t.Errorf("skipped %v", w.skipped(r))
				}
			}
		})
	}
}

// A real mount, where the test may make one.
func TestMount(t *testing.T) {
	w := newWorld(t)
	w.put(t, "m/f", "x")
	w.scan(t, Options{})
	if err := syscall.Mount("none", w.path("m"), "tmpfs", 0, ""); err != nil {
		t.Logf("nothing can be mounted here, TestFrozen fakes it: %v", err)
		return
	}
	defer func() { must(t, syscall.Unmount(w.path("m"), 0)) }()
	w.put(t, "m/other", "y")
	r := w.scan(t, Options{})
	w.expect(t)
	if len(r.Skipped) != 1 || r.Skipped[0].Path != "m" {
		t.Errorf("%v", r.Skipped)
	}
}

func TestErrors(t *testing.T) {
	boom := errors.New("boom")
	for _, workers := range []int{1, 4} {
		w := newWorld(t)
		for i := range 20 {
			w.put(t, fmt.Sprintf("d%d/e/f", i), "x")
		}
		run := func(ctx context.Context, base Base, emit func(Change) error) error {
			_, err := Run(ctx, w.tree, base, Options{Root: root, Workers: workers}, emit)
			return err
		}
		nothing := func(Change) error { return nil }
		if err := run(context.Background(), w.base, func(c Change) error { return boom }); err != boom {
			t.Errorf("emit: %v", err)
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(boom)
		if err := run(ctx, w.base, nothing); err != boom {
			t.Errorf("cancelled: %v", err)
		}
		w.scan(t, Options{})
		for _, op := range []fsystest.Op{fsystest.ReadDir, fsystest.Lstat} {
			w.tree.Before = func(o fsystest.Op, path string) error {
				if o == op && path == "" {
					return boom
				}
				return nil
			}
			if err := run(context.Background(), w.base, nothing); err != boom {
				t.Errorf("%s of the root: %v", op, err)
			}
		}
		w.tree.Before = nil
		for fail := 1; fail <= 3; fail++ {
			w.put(t, "d1/e/new", "x") // so that an inode is asked for
			must(t, os.RemoveAll(w.path("d2")))
			if err := run(context.Background(), &failing{memory: w.base, what: fail, err: boom}, nothing); !errors.Is(err, boom) {
				t.Errorf("base fails in %d: %v", fail, err)
			}
		}
	}
}

// failing is a Base one of whose methods fails.
type failing struct {
	*memory
	what int
	err  error
}

func (f *failing) LocalChildren(p sendonce.NodeID) ([]state.Local, error) {
	if f.what == 1 && p != root {
		return nil, f.err
	}
	return f.memory.LocalChildren(p)
}

func (f *failing) LocalByInode(dev, ino uint64) (*state.Local, error) {
	switch f.what {
	case 2:
		return nil, f.err
	case 3: // a row whose directory must be asked for
		return &state.Local{Node: sendonce.NodeID{9}, Parent: sendonce.NodeID{8}, Name: "x", Kind: sendonce.KindDir, Stat: state.Stat{Dev: dev, Ino: ino}}, f.circle(dev, ino)
	}
	return f.memory.LocalByInode(dev, ino)
}

func (f *failing) circle(dev, ino uint64) error { return f.err }

func TestCircle(t *testing.T) {
	w := newWorld(t)
	w.put(t, "old/f", "x")
	w.scan(t, Options{})
	for id, r := range w.base.rows {
		if r.Kind == sendonce.KindDir {
			r.Parent = id
		}
	}
	w.base.index()
	_, err := Run(context.Background(), w.tree, w.base, Options{Root: root}, func(Change) error { return nil })
	if sendonce.KindOf(err) != sendonce.KindDamaged {
		t.Errorf("error %v", err)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	deep := strings.TrimSuffix(strings.Repeat("d/", sendonce.MaxDepth+2), "/")
	must(t, os.MkdirAll(w.path(deep), 0o755))
	r := w.scan(t, Options{})
	if len(w.last) != sendonce.MaxDepth || len(r.Skipped) != 1 || !strings.Contains(r.Skipped[0].Reason, "deeper") {
		t.Errorf("%d changes, skipped %v", len(w.last), w.skipped(r))
	}
	long := ""
	for len(long) < sendonce.MaxPath {
		dir, err := os.OpenRoot(w.dir)
		must(t, err)
		parts := strings.Split(long, "/")
		for _, p := range parts {
			if p != "" {
				next, err := dir.OpenRoot(p)
				must(t, err)
				dir.Close()
				dir = next
			}
		}
		must(t, dir.Mkdir(strings.Repeat("n", 250), 0o755))
		dir.Close()
		long = join(long, strings.Repeat("n", 250))
	}
	r = w.scan(t, Options{})
	if len(r.Skipped) != 2 || !strings.Contains(strings.Join(w.skipped(r), " "), "longer than the limit") || len(w.last) != sendonce.MaxPath/251 {
		t.Errorf("%d changes, skipped %v", len(w.last), w.skipped(r))
	}
}

func TestIgnore(t *testing.T) {
	w := newWorld(t)
	w.put(t, IgnoreFile, "*.o\nbuild/\n*~\n")
	w.put(t, "a.o", "x")
	w.put(t, "build/x/y", "x")
	w.put(t, "src/"+IgnoreFile, "!keep.o\nlocal")
	w.put(t, "src/keep.o", "x")
	w.put(t, "src/local", "x")
	w.put(t, "src/t", "1")
	w.put(t, ".sendonce-tmp-1", "x")
	r := w.scan(t, Options{Workers: 2})
	w.expect(t, "added "+IgnoreFile, "added src", "added src/"+IgnoreFile, "added src/keep.o", "added src/t")
	if r.Ignored != 3 {
		t.Errorf("%d ignored", r.Ignored)
	}
	// An editor keeps the old file under an ignored name: an edit, not a move.
	must(t, os.Rename(w.path("src/t"), w.path("src/t~")))
	w.put(t, "src/t", "2")
	w.scan(t, Options{})
	w.expect(t, "modified src/t")
	// Without the rules everything is new; with them again nothing is deleted.
	w.put(t, IgnoreFile, "")
	w.put(t, "src/"+IgnoreFile, "")
	w.scan(t, Options{})
	w.expect(t, "modified "+IgnoreFile, "added a.o", "added build", "added build/x", "added build/x/y", "modified src/"+IgnoreFile, "added src/local", "added src/t~")
	w.put(t, IgnoreFile, "*\n")
	w.scan(t, Options{})
	w.expect(t)
	// Moved to an ignored name: gone from what is synced.
	w.put(t, IgnoreFile, "*~\n")
	must(t, os.Rename(w.path("src/keep.o"), w.path("src/keep.o~")))
	w.scan(t, Options{})
	w.expect(t, "modified "+IgnoreFile, "removed src/keep.o")
}

func TestIgnored(t *testing.T) {
	w := newWorld(t)
	w.put(t, IgnoreFile, "build/\n")
	w.put(t, "src/"+IgnoreFile, "!build/\n/only\n")
	for dir, want := range map[string]bool{"": false, "build": true, "build/x/y": true, "src": false, "src/build": false, "src/only": true, "src/x/only": false, "none/build": true, "none": false} {
		if got, err := Ignored(w.tree, dir); err != nil || got != want {
			t.Errorf("%s: %v, %v", dir, got, err)
		}
	}
	w.tree.Before = func(op fsystest.Op, path string) error {
		if path == "src/"+IgnoreFile {
			return syscall.EIO
		}
		return nil
	}
	if _, err := Ignored(w.tree, "src/x"); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v", err)
	}
}

// Where there are no inode numbers nothing is a move.
func TestWithoutInodes(t *testing.T) {
	w := newWorld(t)
	w.tree.Info = func(_ string, i *fsys.Info) { i.Ino, i.Dev = 0, 0 }
	w.put(t, "a/f", "x")
	w.put(t, "b", "x")
	w.scan(t, Options{})
	must(t, os.Rename(w.path("b"), w.path("c")))
	must(t, os.Rename(w.path("a"), w.path("d")))
	w.scan(t, Options{})
	w.expect(t, "added c", "added d", "added d/f", "removed a/f", "removed a", "removed b")
	w.check(t)
}

func TestSubtrees(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{"a/f", "a/x/f", "b/f", "b/y/f", "c/f", "f"} {
		w.put(t, p, "1")
	}
	w.scan(t, Options{})
	sub := func(dirs ...string) Options { return Options{Subtrees: append([]string{}, dirs...), Workers: 2} }
	for _, p := range []string{"a/f", "a/x/f", "c/f", "f"} {
		w.put(t, p, "22")
	}
	must(t, os.Remove(w.path("b/f")))
	w.scan(t, sub("a"))
	w.expect(t, "modified a/f")
	w.scan(t, sub("", "a/x"))
	w.expect(t, "modified f", "modified a/x/f")
	w.scan(t, sub())
	w.expect(t)
	// A new directory, named itself, with all that is in it.
	w.put(t, "a/new/deep/f", "1")
	w.scan(t, sub("a/new", "a/new/deep"))
	w.expect(t, "added a/new", "added a/new/deep", "added a/new/deep/f")
	// Moved from one named directory to another; nothing else is looked at.
	must(t, os.Rename(w.path("a/x"), w.path("c/x")))
	must(t, os.Rename(w.path("c/f"), w.path("a/g")))
	w.scan(t, sub("a", "c"))
	w.expect(t, "modified a/g", "moved c/x") // c/f was edited too, if birth times tell that it is that
	// Removed: named itself.
	must(t, os.RemoveAll(w.path("c/x")))
	w.scan(t, sub("c/x"))
	w.expect(t, "removed c/x/f", "removed c/x")
	// Replaced while it is named: listed once.
	must(t, os.Rename(w.path("b"), w.path("old")))
	w.put(t, "b/y/f", "new")
	w.scan(t, sub("b", "b/y", ""))
	w.expect(t, "added b", "added b/y", "added b/y/f", "moved old", "removed old/f")
	// What is ignored is not walked, whoever names it.
	w.put(t, IgnoreFile, "/secret/\n")
	w.put(t, "secret/f", "x")
	w.scan(t, sub("secret", "secret/in"))
	w.expect(t, "added "+IgnoreFile)
	w.scan(t, sub("nowhere/at/all", "f/x"))
	w.expect(t)
	w.scan(t, Options{})
	w.expect(t)
	must(t, os.RemoveAll(w.path("secret")))
	w.check(t)
}

// BenchmarkUnchanged scans 20,000 files in 1,000 directories, none of them
// changed, against rows in memory and against the state.
func BenchmarkUnchanged(b *testing.B) {
	w := newWorld(b)
	for i := range benchDirs {
		for j := range benchFiles {
			w.put(b, fmt.Sprintf("%d/%d/file-%d.go", i/30, i%30, j), "")
		}
	}
	w.scan(b, Options{})
	db, err := state.Open(vfs.NewMem(), "state", state.Options{})
	must(b, err)
	defer db.Close()
	var batch state.Batch
	for _, r := range w.base.rows {
		batch.SetLocal = append(batch.SetLocal, *r)
	}
	must(b, db.Apply(sendonce.FolderID(root), &batch))
	for _, base := range []struct {
		name string
		Base
	}{{"memory", w.base}, {"state", db.Live(sendonce.FolderID(root))}} {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/workers=%d", base.name, workers), func(b *testing.B) {
				b.ReportAllocs()
				before := processorTime(b)
				for b.Loop() {
					r, err := Run(context.Background(), w.tree.Tree, base, Options{Root: root, Workers: workers}, func(c Change) error {
						return fmt.Errorf("changed: %+v", c)
					})
					if err != nil || r.Files != benchDirs*benchFiles {
						b.Fatal(r, err)
					}
				}
				files := float64(b.N * benchDirs * benchFiles)
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1000/files, "us/file")
				b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1000/files, "cpu-us/file")
			})
		}
	}
}

const benchDirs, benchFiles = 1000, 20

// processorTime is what this process has used of all cores.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	must(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
