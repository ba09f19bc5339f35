package watch

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"sendonce/internal/fsys"
)

// dirs are the directories of the root as the watcher knows them: a tree, so that
// forgetting one costs what is in it, not what is watched. The zero value is empty.
type dirs struct {
	root    dirNode
	watched int
	missing map[string]bool // could not be watched
	why     string          // the error of the last one missing
}

type dirNode struct {
	watched  bool
	children map[string]*dirNode
}

// find returns a directory's node; made if it is not there and make is set.
func (d *dirs) find(path string, make bool) *dirNode {
	n := &d.root
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		next := n.children[name]
		if next == nil {
			if !make {
				return nil
			}
			next = &dirNode{}
			if n.children == nil {
				n.children = map[string]*dirNode{}
			}
			n.children[name] = next
		}
		n = next
	}
	return n
}

func (d *dirs) has(path string) bool {
	n := d.find(path, false)
	return n != nil && n.watched
}

func (d *dirs) set(path string) {
	delete(d.missing, path)
	if n := d.find(path, true); !n.watched {
		n.watched = true
		d.watched++
	}
}

func (d *dirs) miss(path, why string) (first bool) {
	if d.missing == nil {
		d.missing = make(map[string]bool)
	}
	d.find(path, true)
	d.missing[path] = true
	d.why = why
	return len(d.missing) == 1
}

// cut removes a directory and all below it, and calls fn for the watched ones.
func (d *dirs) cut(path string, fn func(path string)) {
	n := d.find(path, false)
	if n == nil {
		return
	}
	d.each(path, n, fn)
	if path == "" {
		d.root = dirNode{}
		return
	}
	parent, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		parent, name = path[:i], path[i+1:]
	}
	delete(d.find(parent, false).children, name)
}

func (d *dirs) each(path string, n *dirNode, fn func(path string)) {
	delete(d.missing, path)
	if n.watched {
		d.watched--
		fn(path)
	}
	for name, c := range n.children {
		d.each(join(path, name), c, fn)
	}
}

// add watches a directory and those below it, and tells p of each that was not
// watched before: what is in it may have come first. Directories that are watched
// already are passed over unless again is set.
func (w *Watcher) add(ctx context.Context, dir string, p *pending, again bool) {
	if ctx.Err() != nil || dir != "" && w.o.Skip != nil && w.o.Skip(dir) {
		return
	}
	w.mu.Lock()
	known := w.dirs.has(dir)
	w.mu.Unlock()
	if known && !again {
		return
	}
	if !known {
		switch err := w.src.Add(w.abs(dir)); {
		case err == nil:
			w.mu.Lock()
			w.dirs.set(dir)
			w.mu.Unlock()
			p.add(dir)
		case dir != "" && (errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR)): // gone again
			return
		default:
			w.miss(dir, err)
		}
	}
	entries, err := w.o.Tree.ReadDir(dir)
	if err != nil {
		return // the scan reports it
	}
	for _, e := range entries {
		if e.Info.Type == fsys.Directory {
			w.add(ctx, join(dir, e.Name), p, again)
		}
	}
}

// miss notes a directory that cannot be watched. Only the first of many is logged.
func (w *Watcher) miss(dir string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dirs.miss(dir, reason(err)) {
		w.o.Log.Warn("some directories are not watched; their changes are found by scanning only", "dir", w.abs(dir), "error", err)
	}
}

// retry tries directories again that could not be watched: others may have been
// deleted, or the limit raised. It stops at the first that still cannot be.
func (w *Watcher) retry(ctx context.Context, p *pending) {
	w.mu.Lock()
	var some []string
	for d := range w.dirs.missing {
		if some = append(some, d); len(some) == maxRetries {
			break
		}
	}
	w.mu.Unlock()
	for _, d := range some {
		if info, err := w.o.Tree.Lstat(d); err != nil || info.Type != fsys.Directory || d == "" && info.Links == 0 {
			if d != "" {
				w.forget(d) // it is gone
			}
			continue
		}
		w.add(ctx, d, p, false)
		w.mu.Lock()
		failed := w.dirs.missing[d]
		w.mu.Unlock()
		if failed {
			return
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
func (w *Watcher) forget(dir string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dirs.cut(dir, func(d string) { _ = w.src.Remove(w.abs(d)) }) // gone already, mostly
}
