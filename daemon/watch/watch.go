// Package watch notices that something below a root may have changed. What it
// says is a hint and never the truth: the scan that follows looks for itself.
//
// Invariants: after an overflow of the kernel's queue, and whenever the package
// cannot know what it missed, it says "everything"; a directory that cannot be
// watched is counted and shown in Status, not passed over in silence. A directory
// that appears is watched before the hint about it is given, and named by it, so
// what is written into it later is seen, and what was written before is found by
// the scan. What it does not promise: that every change gives a hint; the daemon
// scans everything now and then for that reason.
//
// Read watch.go (what is told and when), then dirs.go (what is watched).
package watch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sort"
	"strings"
	"sync"
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
	Skip func(dir string) bool
	// SkipFile is the name of the files that Skip decides by, in any directory;
	// when one changes, everything may have. "": none.
	SkipFile string
	Hints    chan<- Hint
	Source   Source // nil: fsnotify
	Log      *slog.Logger
}

// maxDelay is how many settle times a root that never comes to rest waits.
const maxDelay = 4

// maxDirs is how many changed directories are named; beyond it, "everything".
const maxDirs = 1000

// maxRetries is how many directories that could not be watched are tried again
// before a hint.
const maxRetries = 64

// Status tells how much is watched.
type Status struct {
	Text        string // "events", or "scan only for N of M directories: <why>"
	Directories int
	Missing     int // directories that are not watched
}

// Watcher watches one root.
type Watcher struct {
	o      Options
	src    Source
	cancel context.CancelFunc
	done   sync.WaitGroup
	failed chan error // from the source; at most one waits

	mu   sync.Mutex
	dirs dirs
}

// Start watches all directories below the root, then gives hints until Close,
// which must be called. Running out of watches is no error; Status tells.
func Start(ctx context.Context, o Options) (*Watcher, error) {
	o.Dir = filepath.Clean(o.Dir)
	if o.Source == nil {
		w, err := fsnotify.NewBufferedWatcher(4096)
		if err != nil {
			return nil, &sendonce.Error{Op: "watch", Path: o.Dir, Kind: sendonce.KindUnsupported, Err: err,
				Hint: "raise fs.inotify.max_user_instances; until then changes are found by scanning"}
		}
		o.Source = notifier{w}
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{o: o, src: o.Source, cancel: cancel, failed: make(chan error, 1)}
	// A source may hold a lock while it waits for an error to be taken, which Add
	// and Remove need: so somebody else than their caller takes it.
	w.done.Go(func() {
		for {
			select {
			case err, ok := <-w.src.Errors():
				if !ok {
					return
				}
				w.note(err)
			case <-ctx.Done():
				return
			}
		}
	})
	ready := make(chan struct{})
	w.done.Go(func() {
		// Events queue in the source while the directories are being added.
		w.add(ctx, "", nil, false)
		close(ready)
		w.run(ctx)
	})
	select {
	case <-ready:
	case <-ctx.Done():
	}
	return w, nil
}

// note keeps an error for run; an overflow is never displaced by another one.
func (w *Watcher) note(err error) {
	for {
		select {
		case w.failed <- err:
			return
		case old := <-w.failed:
			if errors.Is(old, fsnotify.ErrEventOverflow) {
				err = old
			}
		}
	}
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
	s := Status{Text: "events", Directories: w.dirs.watched, Missing: len(w.dirs.missing)}
	if s.Missing > 0 {
		s.Text = fmt.Sprintf("scan only for %d of %d directories: %s", s.Missing, s.Missing+s.Directories, w.dirs.why)
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

// pending is what has changed and was not told yet.
type pending struct {
	dirs map[string]bool
	all  bool
}

func (p *pending) add(dir string) {
	if p == nil || p.all {
		return
	}
	p.dirs[dir] = true
	if len(p.dirs) > maxDirs {
		p.everything()
	}
}

func (p *pending) everything() {
	p.all = true
	clear(p.dirs)
}

func (p *pending) any() bool { return p.all || len(p.dirs) > 0 }

func (p *pending) hint() Hint {
	if p.all {
		return Hint{All: true}
	}
	h := Hint{Dirs: make([]string, 0, len(p.dirs))}
	for d := range p.dirs {
		h.Dirs = append(h.Dirs, d)
	}
	sort.Strings(h.Dirs)
	return h
}

// run owns what has changed and was not told yet. It is told when nothing came
// for a settle time, or when the first change is maxDelay of them old.
func (w *Watcher) run(ctx context.Context) {
	p := &pending{dirs: make(map[string]bool)}
	quiet, limit := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	quiet.Stop()
	limit.Stop()
	defer quiet.Stop()
	defer limit.Stop()
	var waiting, settled bool // since the first change; until the consumer takes the hint
	touched := func() {
		if settled || !p.any() {
			return
		}
		quiet.Reset(w.o.Settle)
		if !waiting {
			waiting = true
			limit.Reset(maxDelay * w.o.Settle)
		}
	}
	settle := func() {
		quiet.Stop()
		limit.Stop()
		w.checkRoot()
		w.retry(ctx, p)
		settled = true
	}
	for {
		var out chan<- Hint
		var hint Hint
		if settled {
			out, hint = w.o.Hints, p.hint()
		}
		select {
		case out <- hint:
			clear(p.dirs)
			p.all, waiting, settled = false, false, false
		case ev, ok := <-w.src.Events():
			if !ok {
				return
			}
			w.event(ctx, ev, p)
			touched()
		case err := <-w.failed:
			w.o.Log.Info("events may have been lost; looking at everything", "dir", w.o.Dir, "error", err)
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				// Directories may have been renamed unseen, and their watches carry
				// the old names.
				w.forget("")
				w.add(ctx, "", nil, false)
			}
			p.everything()
			touched()
		case <-quiet.C:
			settle()
		case <-limit.C:
			settle()
		case <-ctx.Done():
			return
		}
	}
}

// event notes which directories an event concerns and keeps the watches right.
func (w *Watcher) event(ctx context.Context, ev fsnotify.Event, p *pending) {
	path, ok := w.relative(ev.Name)
	if !ok {
		return
	}
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	if path != "" && fsys.IsTemp(name) {
		return
	}
	p.add(dir)
	gone := ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)
	switch {
	case path == "" && gone:
		w.forget("")
		w.miss("", errRootGone)
	case gone:
		w.forget(path)
	case path != "" && ev.Has(fsnotify.Create):
		if info, err := w.o.Tree.Lstat(path); err == nil && info.Type == fsys.Directory {
			w.forget(path) // under this name another one was watched
			w.add(ctx, path, p, false)
		}
	}
	if path != "" && name == w.o.SkipFile {
		w.add(ctx, dir, p, true) // what was left out may not be any more
		p.everything()
	}
}

// checkRoot notices that the root was removed: as long as the tree holds it open
// no event says so.
func (w *Watcher) checkRoot() {
	if info, err := w.o.Tree.Lstat(""); err == nil && info.Type == fsys.Directory && info.Links == 0 {
		w.forget("")
		w.miss("", errRootGone)
	}
}

var errRootGone = errors.New("the directory was removed or renamed")

func (w *Watcher) relative(abs string) (string, bool) {
	if abs == w.o.Dir {
		return "", true
	}
	rest, ok := strings.CutPrefix(abs, strings.TrimSuffix(w.o.Dir, "/")+"/")
	return strings.TrimLeft(rest, "/"), ok
}

// notifier is fsnotify as a Source.
type notifier struct{ *fsnotify.Watcher }

func (n notifier) Events() <-chan fsnotify.Event { return n.Watcher.Events }
func (n notifier) Errors() <-chan error          { return n.Watcher.Errors }
