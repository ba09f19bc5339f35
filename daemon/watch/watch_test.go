package watch

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/goleak"

	"sendonce/internal/fsys"
	"sendonce/internal/fsys/fsystest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const settle = 100 * time.Millisecond

// source is a Source whose events a test makes.
type source struct {
	events chan fsnotify.Event
	errors chan error

	mu      sync.Mutex
	watched map[string]bool
	limit   int // of watches; less than zero: none
	err     error
	adds    int
}

func newSource() *source {
	return &source{events: make(chan fsnotify.Event, 10_000), errors: make(chan error), watched: make(map[string]bool), limit: -1, err: syscall.ENOSPC}
}

func (s *source) Add(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adds++
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	if s.limit >= 0 && len(s.watched) >= s.limit && !s.watched[path] {
		return s.err
	}
	s.watched[path] = true
	return nil
}

func (s *source) Remove(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.watched[path] {
		return fsnotify.ErrNonExistentWatch
	}
	delete(s.watched, path)
	return nil
}

func (s *source) Events() <-chan fsnotify.Event { return s.events }
func (s *source) Errors() <-chan error          { return s.errors }
func (s *source) Close() error                  { return nil }

func (s *source) setLimit(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
}

// bed is a watcher over a real directory with a source or inotify.
type bed struct {
	t     *testing.T
	dir   string
	src   *source
	w     *Watcher
	hints chan Hint
	tree  *fsystest.Tree
}

func (b *bed) mkdir(dirs ...string) {
	b.t.Helper()
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(b.dir, d), 0o755); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bed) rename(from, to string) {
	b.t.Helper()
	if err := os.Rename(filepath.Join(b.dir, from), filepath.Join(b.dir, to)); err != nil {
		b.t.Fatal(err)
	}
}

func newBed(t *testing.T, dirs ...string) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir(), src: newSource(), hints: make(chan Hint)}
	b.mkdir(dirs...)
	inner, err := fsys.OpenTree(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	b.tree = fsystest.Wrap(inner)
	return b
}

func (b *bed) start(o Options) {
	b.t.Helper()
	o.Dir, o.Tree, o.Settle, o.Hints, o.Log = b.dir, b.tree, settle, b.hints, slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if b.w, err = Start(b.t.Context(), o); err != nil {
		b.t.Fatal(err)
	}
}

// fake runs a test in a bubble, with the source.
func fake(t *testing.T, o Options, dirs []string, fn func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, dirs...)
		o.Source = b.src
		b.start(o)
		fn(b)
		if err := b.w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (b *bed) event(op fsnotify.Op, path string) {
	b.src.events <- fsnotify.Event{Name: strings.TrimSuffix(b.dir+"/"+path, "/"), Op: op}
}

// next returns the next hint and how long it took.
func (b *bed) next() (Hint, time.Duration) {
	b.t.Helper()
	began := time.Now()
	select {
	case h := <-b.hints:
		return h, time.Since(began)
	case <-time.After(time.Minute):
		b.t.Fatal("no hint")
		return Hint{}, 0
	}
}

func (b *bed) expect(all bool, dirs ...string) time.Duration {
	b.t.Helper()
	h, took := b.next()
	if h.All != all || !slices.Equal(h.Dirs, dirs) {
		b.t.Errorf("hint %+v, want all %v, %q", h, all, dirs)
	}
	return took
}

func (b *bed) silence() {
	b.t.Helper()
	select {
	case h := <-b.hints:
		b.t.Errorf("an unexpected hint %+v", h)
	case <-time.After(time.Hour):
	}
}

func (b *bed) watched(want ...string) {
	b.t.Helper()
	synctest.Wait()
	b.src.mu.Lock()
	defer b.src.mu.Unlock()
	var got []string
	for p := range b.src.watched {
		got = append(got, strings.TrimPrefix(strings.TrimPrefix(p, b.dir), "/"))
	}
	slices.Sort(got)
	if s := b.w.Status(); !slices.Equal(got, want) || s.Directories != len(want) {
		b.t.Errorf("watched %q (status %+v), want %q", got, s, want)
	}
}

func TestSettle(t *testing.T) {
	fake(t, Options{}, []string{"a/b"}, func(b *bed) {
		b.watched("", "a", "a/b")
		b.silence()
		b.event(fsnotify.Write, "a/f")
		b.event(fsnotify.Write, "a/b/f")
		b.event(fsnotify.Chmod, "a/f")
		if took := b.expect(false, "a", "a/b"); took != settle {
			t.Errorf("told after %v", took)
		}
		b.silence()
		// Each event begins the settle time anew.
		for range 3 {
			b.event(fsnotify.Write, "a/f")
			time.Sleep(settle - time.Millisecond)
		}
		if took := b.expect(false, "a"); took != time.Millisecond {
			t.Errorf("told after %v", took)
		}
		b.event(fsnotify.Write, "a/.sendonce-tmp-1")
		b.src.events <- fsnotify.Event{Name: "/elsewhere", Op: fsnotify.Write}
		b.silence()
		b.event(fsnotify.Chmod, "") // the root itself
		b.expect(false, "")
	})
}

// A file that is written all the time is told of nevertheless.
func TestMaxDelay(t *testing.T) {
	fake(t, Options{}, nil, func(b *bed) {
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(settle / 10):
					b.event(fsnotify.Write, "log")
				}
			}
		}()
		for range 3 {
			if took := b.expect(false, ""); took > maxDelay*settle+settle/5 || took < maxDelay*settle {
				t.Errorf("told after %v", took)
			}
		}
		close(stop)
		synctest.Wait()
	})
}

// A consumer that is busy gets, later, one hint with everything.
func TestSlowConsumer(t *testing.T) {
	fake(t, Options{}, nil, func(b *bed) {
		for i := range 50 {
			b.event(fsnotify.Write, fmt.Sprintf("d%d/f", i%5))
			time.Sleep(settle)
		}
		b.expect(false, "d0", "d1", "d2", "d3", "d4")
		b.silence()
	})
}

func TestManyDirs(t *testing.T) {
	fake(t, Options{}, nil, func(b *bed) {
		for i := range maxDirs {
			b.event(fsnotify.Write, fmt.Sprintf("%d/f", i))
		}
		if h, _ := b.next(); h.All || len(h.Dirs) != maxDirs {
			t.Errorf("all %v, %d directories", h.All, len(h.Dirs))
		}
		for i := range maxDirs + 100 {
			b.event(fsnotify.Write, fmt.Sprintf("%d/f", i))
		}
		b.expect(true)
		b.event(fsnotify.Write, "a/f")
		b.expect(false, "a")
	})
}

func TestOverflow(t *testing.T) {
	fake(t, Options{}, []string{"a/b", "c"}, func(b *bed) {
		b.rename("a", "c/a")
		b.mkdir("new")
		b.src.errors <- fmt.Errorf("wrapped: %w", fsnotify.ErrEventOverflow)
		b.expect(true)
		b.watched("", "c", "c/a", "c/a/b", "new")
		// Other errors lose events too, but no names. An overflow among them counts.
		b.src.errors <- errors.New("something")
		b.expect(true)
	})
	w := &Watcher{failed: make(chan error, 1)}
	w.note(fsnotify.ErrEventOverflow)
	w.note(errors.New("other"))
	if err := <-w.failed; !errors.Is(err, fsnotify.ErrEventOverflow) {
		t.Errorf("kept %v", err)
	}
}

func TestDirectoriesComeAndGo(t *testing.T) {
	fake(t, Options{}, []string{"a/b/c", "z"}, func(b *bed) {
		b.rename("a", "z/n")
		b.event(fsnotify.Rename, "a")
		b.event(fsnotify.Create, "z/n")
		b.event(fsnotify.Rename, "a") // of itself
		// The directories that are new under this name are named too: they may hold
		// more than their parent's scan has seen.
		b.expect(false, "", "z", "z/n", "z/n/b", "z/n/b/c")
		b.watched("", "z", "z/n", "z/n/b", "z/n/b/c")
		if err := os.RemoveAll(b.dir + "/z/n/b"); err != nil {
			t.Fatal(err)
		}
		b.event(fsnotify.Remove, "z/n/b/c")
		b.event(fsnotify.Remove, "z/n/b")
		b.expect(false, "z/n", "z/n/b")
		b.watched("", "z", "z/n")
		b.mkdir("z/n/b")
		b.event(fsnotify.Create, "z/n/b")
		b.expect(false, "z/n", "z/n/b")
		b.watched("", "z", "z/n", "z/n/b")
		b.event(fsnotify.Create, "z/gone") // and gone again before we looked
		b.expect(false, "z")
		b.event(fsnotify.Remove, "z/file")
		b.expect(false, "z")
		b.watched("", "z", "z/n", "z/n/b")
	})
}

func TestRootGone(t *testing.T) {
	fake(t, Options{}, []string{"a"}, func(b *bed) {
		if err := os.RemoveAll(b.dir); err != nil {
			t.Fatal(err)
		}
		b.event(fsnotify.Remove, "a") // all that is seen while the root is held open
		b.expect(false, "")
		if s := b.w.Status(); s.Missing != 1 || s.Directories != 0 || !strings.Contains(s.Text, "removed") {
			t.Errorf("%+v", s)
		}
	})
}

func TestRootRenamed(t *testing.T) {
	fake(t, Options{}, []string{"a"}, func(b *bed) {
		b.event(fsnotify.Rename, "")
		b.expect(false, "", "a") // it is there again under its name: watched anew
		b.watched("", "a")
	})
}

func TestLimit(t *testing.T) {
	fake(t, Options{}, []string{"a", "b", "c/d"}, func(b *bed) {
		b.watched("", "a", "b", "c", "c/d")
		b.src.setLimit(6)
		b.mkdir("e/f/g")
		b.event(fsnotify.Create, "e")
		b.expect(false, "", "e")
		b.watched("", "a", "b", "c", "c/d", "e")
		s := b.w.Status()
		if s.Missing != 2 || s.Text != "scan only for 2 of 8 directories: the limit of inotify watches is reached (raise fs.inotify.max_user_watches)" {
			t.Errorf("%+v", s)
		}
		// A watch comes free: one more fits, and is named, since it was not watched.
		if err := os.RemoveAll(b.dir + "/a"); err != nil {
			t.Fatal(err)
		}
		b.event(fsnotify.Remove, "a")
		h, _ := b.next()
		if len(h.Dirs) != 2 || !strings.HasPrefix(h.Dirs[1], "e/f") {
			t.Errorf("%+v", h)
		}
		if s := b.w.Status(); s.Missing != 1 || s.Directories != 6 {
			t.Errorf("%+v", s)
		}
		// While nothing fits, one attempt a hint is all that it costs.
		b.src.mu.Lock()
		before := b.src.adds
		b.src.mu.Unlock()
		b.event(fsnotify.Write, "b/f")
		b.expect(false, "b")
		if b.src.adds > before+2 {
			t.Errorf("%d attempts", b.src.adds-before)
		}
		b.src.setLimit(100)
		b.event(fsnotify.Write, "b/f")
		b.next()
		if s := b.w.Status(); s.Missing != 0 || s.Text != "events" || s.Directories != 7 {
			t.Errorf("%+v", s)
		}
		b.watched("", "b", "c", "c/d", "e", "e/f", "e/f/g")
	})
	// From the start, and another error; what is missing is forgotten with its
	// directory.
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, "a", "b")
		b.src.limit, b.src.err = 0, syscall.EACCES
		b.start(Options{Source: b.src})
		if s := b.w.Status(); s.Missing != 3 || s.Directories != 0 || !strings.Contains(s.Text, "permission denied") {
			t.Errorf("%+v", s)
		}
		if err := os.RemoveAll(b.dir + "/a"); err != nil {
			t.Fatal(err)
		}
		b.event(fsnotify.Remove, "a")
		b.expect(false, "")
		if s := b.w.Status(); s.Missing != 2 {
			t.Errorf("%+v", s)
		}
		if err := b.w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSkip(t *testing.T) {
	var mu sync.Mutex
	skip := map[string]bool{"build": true}
	o := Options{SkipFile: ".skip", Skip: func(dir string) bool {
		mu.Lock()
		defer mu.Unlock()
		return skip[dir]
	}}
	fake(t, o, []string{"build/x", "src/deep"}, func(b *bed) {
		b.watched("", "src", "src/deep")
		mu.Lock()
		skip = map[string]bool{"src/deep": true}
		mu.Unlock()
		b.event(fsnotify.Write, ".skip")
		b.expect(true)
		b.watched("", "build", "build/x", "src", "src/deep") // what is watched stays so
		mu.Lock()
		clear(skip)
		mu.Unlock()
		b.mkdir("src/deep/more")
		b.event(fsnotify.Create, "src/.skip")
		b.expect(true)
		b.watched("", "build", "build/x", "src", "src/deep", "src/deep/more")
	})
}

// Close ends everything while somebody waits for a hint nobody takes.
func TestClose(t *testing.T) {
	fake(t, Options{}, nil, func(b *bed) {
		b.event(fsnotify.Write, "f")
		time.Sleep(time.Hour)
	})
	synctest.Test(t, func(t *testing.T) { // the source ends
		b := newBed(t)
		b.start(Options{Source: b.src})
		close(b.src.events)
		close(b.src.errors)
		synctest.Wait()
		if err := b.w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// real starts a watcher with inotify.
func real(t *testing.T, dirs ...string) *bed {
	t.Helper()
	b := newBed(t, dirs...)
	b.start(Options{})
	t.Cleanup(func() {
		if err := b.w.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// until collects hints until one covers a directory: names it, or a directory
// above it that is new to whoever scans, or everything.
func (b *bed) until(dir string) {
	b.t.Helper()
	for {
		h, _ := b.next()
		if h.All || slices.Contains(h.Dirs, dir) {
			return
		}
	}
}

func (b *bed) write(path string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, path), []byte("x"), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func TestInotify(t *testing.T) {
	b := real(t, "old/sub")
	b.mkdir("a/b/c")
	b.write("a/b/c/f") // at once: the watches come later
	b.until("a/b/c")
	b.write("a/b/c/g")
	b.until("a/b/c")
	b.rename("old", "a/new")
	b.until("a")
	b.write("a/new/sub/f")
	b.until("a/new/sub")
	b.mkdir("old/sub")
	b.until("old/sub")
	b.write("old/sub/f")
	b.until("old/sub")
	if err := os.RemoveAll(b.dir + "/a"); err != nil {
		t.Fatal(err)
	}
	b.until("")
	if s := b.w.Status(); s.Text != "events" {
		t.Errorf("%+v", s)
	}
	// The root itself: renamed, then removed.
	if err := os.Rename(b.dir, b.dir+"-2"); err != nil {
		t.Fatal(err)
	}
	b.until("")
	if s := b.w.Status(); s.Missing != 1 || s.Directories != 0 {
		t.Errorf("%+v", s)
	}
}

func TestInotifyRootRemoved(t *testing.T) {
	b := real(t, "a")
	if err := os.RemoveAll(b.dir); err != nil {
		t.Fatal(err)
	}
	b.until("")
}

// Directories that are made, renamed and removed as fast as can be: at the end
// exactly those that are there are watched, under the names they have.
func TestInotifyStorm(t *testing.T) {
	b := real(t)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-b.hints:
			case <-stop:
				return
			}
		}
	})
	for i := range 300 {
		b.mkdir(fmt.Sprintf("d%d/x/y", i%7))
		if i%3 == 0 {
			_ = os.RemoveAll(fmt.Sprintf("%s/m%d", b.dir, i%5))
			b.rename(fmt.Sprintf("d%d", i%7), fmt.Sprintf("m%d", i%5))
		}
		if i%4 == 0 {
			_ = os.RemoveAll(fmt.Sprintf("%s/d%d/x", b.dir, i%6))
		}
	}
	close(stop)
	done.Wait()
	want := 0
	_ = filepath.WalkDir(b.dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			want++
		}
		return nil
	})
	_ = filepath.WalkDir(b.dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			rel, _ := filepath.Rel(b.dir, p)
			if rel = strings.TrimPrefix(rel, "."); rel != "" {
				b.write(rel + "/f")
				b.until(rel)
			}
		}
		return nil
	})
	if s := b.w.Status(); s.Directories != want || s.Missing != 0 {
		t.Errorf("%+v, want %d directories", s, want)
	}
}
