// Package restore reads back: it lists a folder as it was at a point of its
// journal and writes that into a directory.
//
// Invariants: every chunk is checked against its ID before a byte of it is
// written (I14); a file appears under its name only when it is whole (I4);
// nothing outside the target is touched (I12), whatever the server says. What it
// does not promise: that files in the target which are not part of what is
// restored are removed; they stay.
//
// Read restore.go (the whole), then windows.go (how chunks are asked for ahead),
// then reuse.go (what is in the target already).
package restore

import (
	"context"
	"io"
	"log/slog"
	"sort"

	"sendonce"
	"sendonce/content"
	"sendonce/daemon/session"
	"sendonce/internal/fsys"
	"sendonce/protocol"
)

// Options of Run.
type Options struct {
	Folder  sendonce.FolderID
	Path    string // of what to restore, "" for the whole folder
	At      uint64 // sequence number; 0: head
	Target  fsys.Target
	Hasher  *content.Hasher
	Params  sendonce.Params
	DryRun  bool
	Log     *slog.Logger
	Skip    func(path, reason string) // told of each entry that was left out
	Counted func()                    // told after each file; may be nil
}

// Counts is what Run did. Sizes are bytes.
type Counts struct {
	Files, Dirs, Symlinks, Unchanged int64
	Bytes, Reused, Fetched           int64
	FilesTotal, BytesTotal           int64 // known when listing has ended
}

// entry is one node to restore.
type entry struct {
	path string
	node sendonce.Node
}

// run is one restore.
type run struct {
	o     Options
	sess  *session.Session
	ctx   context.Context
	c     *Counts
	dirs  []entry
	reuse *reuse
}

// Run restores and returns when everything is written. Single files that could
// not be restored are reported to Skip and do not end it.
func Run(ctx context.Context, sess *session.Session, o Options, c *Counts) error {
	r := &run{o: o, sess: sess, ctx: ctx, c: c}
	files, err := r.list()
	if err != nil {
		return err
	}
	if o.DryRun {
		return nil
	}
	if err := r.makeDirs(); err != nil {
		return err
	}
	if r.reuse, err = scanTarget(ctx, o, files); err != nil {
		return err
	}
	defer r.reuse.close()
	if err := r.files(files); err != nil {
		return err
	}
	return r.finishDirs()
}

// list asks for the nodes, makes symlinks' and directories' turn known, and
// returns the files in the order of the listing.
func (r *run) list() ([]entry, error) {
	var files []entry
	paths := map[sendonce.NodeID]string{}
	first := true
	err := List(r.ctx, r.sess, protocol.List{Folder: r.o.Folder, At: r.o.At, Path: r.o.Path, Recursive: true}, func(n *sendonce.Node) error {
		path := n.Name
		if first && (r.o.Path != "" || n.ID == r.o.Folder.Root()) {
			first = false
			if n.Kind == sendonce.KindDir { // its content goes into the target itself
				paths[n.ID] = ""
				r.dirs = append(r.dirs, entry{node: *n})
				return nil
			}
		} else {
			first = false
			parent, ok := paths[n.Parent]
			if !ok {
				if n.Parent != r.o.Folder.Root() || r.o.Path != "" {
					return &sendonce.Error{Op: "restore", Kind: sendonce.KindInvalid, Detail: "the server listed " + n.ID.String() + " before its directory"}
				}
			} else if parent != "" {
				path = parent + "/" + n.Name
			}
		}
		if len(path) > sendonce.MaxPath {
			r.o.Skip(path[:64]+"...", "the path is too long")
			return nil
		}
		switch n.Kind {
		case sendonce.KindDir:
			paths[n.ID] = path
			r.dirs = append(r.dirs, entry{path: path, node: *n})
		case sendonce.KindFile:
			files = append(files, entry{path: path, node: *n})
			r.c.FilesTotal++
			r.c.BytesTotal += n.Size
		case sendonce.KindSymlink:
			files = append(files, entry{path: path, node: *n})
		}
		return nil
	})
	return files, err
}

func (r *run) makeDirs() error {
	for _, d := range r.dirs {
		if d.path == "" {
			continue
		}
		if err := r.o.Target.Mkdir(d.path); err != nil {
			if sendonce.KindOf(err) == sendonce.KindFull {
				return err
			}
			r.o.Skip(d.path, err.Error())
			continue
		}
		r.c.Dirs++
	}
	return nil
}

// finishDirs sets modes and times, children before parents, since writing into
// a directory changes its time, and makes everything durable.
func (r *run) finishDirs() error {
	sort.SliceStable(r.dirs, func(i, j int) bool { return r.dirs[i].path > r.dirs[j].path })
	for _, d := range r.dirs {
		if d.node.Mode == 0 && d.node.MTimeNS == 0 { // a root nobody described
			continue
		}
		if err := r.o.Target.SetMeta(d.path, fsys.Meta{Mode: d.node.Mode, MTimeNS: d.node.MTimeNS}); err != nil {
			r.o.Skip(d.path, err.Error())
		}
	}
	return r.o.Target.Sync()
}

// files restores the files, asking for chunks ahead of the writing.
func (r *run) files(files []entry) error {
	f, err := newFetcher(r, files)
	if err != nil {
		return err
	}
	defer f.close()
	for {
		s, err := f.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		e := &files[s.file]
		if err := r.file(f, e, &s); err != nil {
			if k := sendonce.KindOf(err); k == sendonce.KindFull || f.ctx.Err() != nil {
				return err
			}
			r.o.Skip(e.path, err.Error())
		}
		for !s.last { // what an error left
			if s, err = f.next(); err != nil {
				return err
			}
		}
		if r.o.Counted != nil {
			r.o.Counted()
		}
	}
}

// file restores one file; s is its first segment, and its last when file
// returns without an error.
func (r *run) file(f *fetcher, e *entry, s *segment) error {
	if s.err != nil {
		return s.err
	}
	if e.node.Kind == sendonce.KindSymlink {
		if err := r.o.Target.Symlink(e.path, e.node.Target, e.node.MTimeNS); err != nil {
			return err
		}
		r.c.Symlinks++
		return nil
	}
	meta := fsys.Meta{Mode: e.node.Mode, MTimeNS: e.node.MTimeNS}
	if s.unchanged {
		r.c.Unchanged++
		r.c.Files++
		return r.o.Target.SetMeta(e.path, meta)
	}
	err := r.o.Target.Replace(e.path, e.node.Size, meta, func(out io.WriterAt) error {
		if len(e.node.Content.Inline) > 0 {
			_, err := out.WriteAt(e.node.Content.Inline, 0)
			return err
		}
		for {
			end, err := r.write(f, s, out)
			if err != nil {
				return err
			}
			if s.last {
				if end != e.node.Size {
					return &sendonce.Error{Op: "restore", Path: e.path, Kind: sendonce.KindDamaged, Detail: "its manifest does not add up to its size"}
				}
				return nil
			}
			if *s, err = f.next(); err != nil {
				return err
			}
		}
	})
	if err == nil {
		r.c.Files++
		r.c.Bytes += e.node.Size
	}
	return err
}

// write puts one segment's bytes in place; zero extents stay holes.
func (r *run) write(f *fetcher, s *segment, out io.WriterAt) (end int64, err error) {
	end = s.off
	for _, ref := range s.refs {
		if !ref.ID.IsZero() {
			data, reused, err := f.chunk(s, ref)
			if err != nil {
				return end, err
			}
			if int64(len(data)) != ref.Size {
				return end, &sendonce.Error{Op: "restore", Kind: sendonce.KindDamaged, Detail: "a chunk does not have the size that the manifest says"}
			}
			if _, err := out.WriteAt(data, end); err != nil {
				return end, err
			}
			if reused {
				r.c.Reused += ref.Size
			}
		}
		end += ref.Size
	}
	return end, nil
}
