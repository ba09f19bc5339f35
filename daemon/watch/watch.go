// Package watch notices that something below a root may have changed. What it
// says is a hint and never the truth: the scan that follows looks for itself.
//
// Invariants: after an overflow of the kernel's queue, and whenever the package
// cannot know what it missed, it says "everything"; a directory that cannot be
// watched is counted and shown in Status, not passed over in silence. A directory
// that appears is watched before the hint about it is given, so what is written
// into it later is seen, and what was written before is found by the scan.
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"sendonce"
	"sendonce/internal/fsys"
)

// Hint names directories whose entries may have changed, relative to the root.
type Hint struct {
	Dirs []string // sorted
	All  bool     // anything may have changed
}

// Source is where events come from; fsnotify outside tests.
type Source interface {
	Add(path string) error
	Remove(path string) error
	Events() <-chan fsnotify.Event
	Errors() <-chan error
	Close() error
}

// Options of Start.
type Options struct {
	Dir    string    // absolute path of the root
	Tree   fsys.Tree // the root, for finding the directories; closed by the caller after Close
	Settle time.Duration
	// Skip reports whether a directory is left out (ignored); may be nil.
	Skip   func(dir string) bool
	Hints  chan<- Hint
	Source Source // nil: fsnotify
	Log    *slog.Logger
}

// maxDelay is how many settle times a directory that never comes to rest waits.
const maxDelay = 4

// maxDirs is how many changed directories are named; beyond it, "everything".
const maxDirs = 1000

// Status tells how much is watched.
type Status struct {
	Text        string // "events", or "scan only: <why>"
	Directories int
	Missing     int // directories that are not watched
}

// Watcher watches one root.
type Watcher struct {
	o      Options
	src    Source
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	watched map[string]bool // paths relative to the root
	missing int
	why     string // of the first one missing
}

// Start watches all directories below the root, then gives hints until Close.
// Running out of watches is no error; Status tells.
func Start(ctx context.Context, o Options) (*Watcher, error) {
	if o.Source == nil {
		w, err := fsnotify.NewBufferedWatcher(4096)
		if err != nil {
			return nil, &sendonce.Error{Op: "watch", Path: o.Dir, Kind: sendonce.KindUnsupported, Err: err,
				Hint: "raise fs.inotify.max_user_instances; until then changes are found by scanning"}
		}
		o.Source = notifier{w}
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{o: o, src: o.Source, cancel: cancel, watched: make(map[string]bool)}
	events := make(chan struct{})
	w.done.Go(func() {
		// Events queue in the source while the directories are being added.
		w.add(ctx, "")
		close(events)
		w.run(ctx)
	})
	select {
	case <-events:
	case <-ctx.Done():
	}
	return w, nil
}

// Close ends the watching.
func (w *Watcher) Close() error {
	w.cancel()
	err := w.src.Close()
	w.done.Wait()
	return err
}

// Status tells how much is watched now.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := Status{Text: "events", Directories: len(w.watched), Missing: w.missing}
	if w.missing > 0 {
		s.Text = fmt.Sprintf("scan only for %d of %d directories: %s", w.missing, w.missing+len(w.watched), w.why)
	}
	return s
}

func (w *Watcher) abs(dir string) string {
	if dir == "" {
		return w.o.Dir
	}
	return strings.TrimSuffix(w.o.Dir, "/") + "/" + dir
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// add watches a directory and all below it.
func (w *Watcher) add(ctx context.Context, dir string) {
	if ctx.Err() != nil || dir != "" && w.o.Skip != nil && w.o.Skip(dir) {
		return
	}
	err := w.src.Add(w.abs(dir))
	w.mu.Lock()
	switch {
	case err == nil:
		w.watched[dir] = true
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENOTDIR): // gone again
		w.mu.Unlock()
		return
	default:
		if w.missing++; w.missing == 1 {
			w.why = reason(err)
			w.o.Log.Warn("some directories are not watched and are found by scanning only", "dir", w.abs(dir), "error", err)
		}
	}
	w.mu.Unlock()
	entries, err := w.o.Tree.ReadDir(dir)
	if err != nil {
		return // the scan reports it
	}
	for _, e := range entries {
		if e.Info.Type == fsys.Directory {
			w.add(ctx, join(dir, e.Name))
		}
	}
}

func reason(err error) string {
	if errors.Is(err, syscall.ENOSPC) {
		return "the limit of inotify watches is reached (raise fs.inotify.max_user_watches)"
	}
	return err.Error()
}

// forget drops the watches of a directory that was removed or renamed, and of
// all below it: their paths are wrong now.
func (w *Watcher) forget(dir string) (was bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.watched[dir] {
		return false
	}
	for d := range w.watched {
		if d == dir || strings.HasPrefix(d, dir+"/") {
			_ = w.src.Remove(w.abs(d)) // gone already, mostly
			delete(w.watched, d)
		}
	}
	return true
}

// run owns what has changed and was not told yet.
func (w *Watcher) run(ctx context.Context) {
	var (
		dirs    = make(map[string]bool)
		all     bool
		timer   = time.NewTimer(time.Hour)
		armed   bool // the timer runs
		quiet   bool // nothing came since it was set
		waited  int
		settled bool
	)
	timer.Stop()
	defer timer.Stop()
	pending := func() bool { return all || len(dirs) > 0 }
	touched := func() {
		quiet = false
		if !armed {
			armed = true
			timer.Reset(w.o.Settle)
		}
	}
	for {
		var out chan<- Hint
		var hint Hint
		if settled && pending() {
			out = w.o.Hints
			hint = makeHint(dirs, all)
		}
		select {
		case out <- hint:
			clear(dirs)
			all, settled, waited, armed = false, false, 0, false
		case ev, ok := <-w.src.Events():
			if !ok {
				return
			}
			if w.event(ctx, ev, dirs) {
				touched()
			}
			if len(dirs) > maxDirs {
				all = true
				clear(dirs)
			}
		case err, ok := <-w.src.Errors():
			if !ok {
				return
			}
			w.o.Log.Info("events were lost; looking at everything", "dir", w.o.Dir, "error", err)
			w.add(ctx, "") // directories may have appeared unseen
			all = true
			touched()
		case <-timer.C:
			if waited++; quiet || waited >= maxDelay {
				settled = true
			} else {
				quiet = true
				timer.Reset(w.o.Settle)
			}
		case <-ctx.Done():
			return
		}
	}
}

func makeHint(dirs map[string]bool, all bool) Hint {
	if all {
		return Hint{All: true}
	}
	h := Hint{Dirs: make([]string, 0, len(dirs))}
	for d := range dirs {
		h.Dirs = append(h.Dirs, d)
	}
	sort.Strings(h.Dirs)
	return h
}

// event notes which directories an event concerns and keeps the watches right.
func (w *Watcher) event(ctx context.Context, ev fsnotify.Event, dirs map[string]bool) bool {
	path, ok := w.relative(ev.Name)
	if !ok {
		return false
	}
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	if path == "" { // the root itself
		dirs[""] = true
		return true
	}
	if fsys.IsTemp(name) {
		return false
	}
	if ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename) {
		w.forget(path)
	}
	if ev.Has(fsnotify.Create) {
		if info, err := w.o.Tree.Lstat(path); err == nil && info.Type == fsys.Directory {
			w.forget(path)
			w.add(ctx, path)
		}
	}
	dirs[dir] = true
	return true
}

func (w *Watcher) relative(abs string) (string, bool) {
	if abs == w.o.Dir {
		return "", true
	}
	return strings.CutPrefix(abs, strings.TrimSuffix(w.o.Dir, "/")+"/")
}

// notifier is fsnotify as a Source.
type notifier struct{ *fsnotify.Watcher }

func (n notifier) Events() <-chan fsnotify.Event { return n.Watcher.Events }
func (n notifier) Errors() <-chan error          { return n.Watcher.Errors }
