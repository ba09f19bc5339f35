package scan

import (
	"context"
	"sort"
	"strings"

	"sendonce"
	"sendonce/daemon/scan/ignore"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
)

// Options of Run.
type Options struct {
	Root    sendonce.NodeID // the folder's root node
	Workers int             // directories listed at the same time; 0: 1
	// Subtrees limits the scan: only these directories are listed, and new or
	// moved ones inside them, and all below one whose ignore file changed. nil:
	// everything; "" is the root.
	Subtrees []string
}

// scanner is one scan.
type scanner struct {
	ctx    context.Context
	tree   fsys.Tree
	base   Base
	o      Options
	emit   func(Change) error
	dev    uint64 // of the root
	claims claims
	pool   *pool
	report Report

	walked map[string]bool // with Subtrees: what has been listed

	gone []gone // rows without an entry, in the order they were missed
}

// gone is a row whose name is not there any more, unless it turns out to have
// moved.
type gone struct {
	row      state.Local
	path     string
	in       *place
	replaced bool // another node has the name now
}

// place is a directory that was listed.
type place struct {
	path     string
	dev, ino uint64
	rules    *ignore.Rules // for what is in it

	checked, same bool // whether it was looked at again, and is the same
}

// Run compares the tree with base and calls emit for each difference, from the
// calling goroutine. An error of emit, of the root's listing or of base ends the
// scan; trouble with single entries is in Report.Skipped.
func Run(ctx context.Context, tree fsys.Tree, base Base, o Options, emit func(Change) error) (Report, error) {
	s := &scanner{ctx: ctx, tree: tree, base: base, o: o, emit: emit, claims: newClaims()}
	root, err := tree.Lstat("")
	if err != nil {
		return s.report, err
	}
	s.dev = root.Dev
	s.pool = newPool(o.Workers, s.list)
	defer s.pool.stop()
	tops, err := s.tops(root)
	if err != nil {
		return s.report, err
	}
	s.pool.add(tops)
	for _, d := range tops {
		if err := s.walk(d); err != nil {
			return s.report, err
		}
	}
	return s.report, s.removals()
}

// tops returns the directories to begin with: the root, or the known ones that
// Subtrees names (the nearest known parent of one that is new).
func (s *scanner) tops(root fsys.Info) ([]*directory, error) {
	top := directory{node: s.o.Root, rules: ignore.New(), dev: root.Dev, ino: root.Ino}
	if s.o.Subtrees == nil {
		top.deep = true
		return []*directory{&top}, nil
	}
	s.walked = make(map[string]bool)
	want := make(map[string]bool)
	for _, p := range s.o.Subtrees {
		want[p] = true
	}
	found := make(map[string]*directory)
	for p := range want {
		d, err := s.known(p, top)
		if err != nil {
			return nil, err
		}
		if d != nil {
			found[d.path] = d
		}
	}
	out := make([]*directory, 0, len(found))
	for _, d := range found {
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].path < out[j].path })
	return out, nil
}

// known walks down to a directory as far as the rows know it; nil if it is
// ignored.
func (s *scanner) known(path string, top directory) (*directory, error) {
	d := &top
	for rest := path; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		rows, err := s.base.LocalChildren(d.node)
		if err != nil {
			return nil, err
		}
		i := sort.Search(len(rows), func(i int) bool { return rows[i].Name >= name })
		if i == len(rows) || rows[i].Name != name || rows[i].Kind != sendonce.KindDir {
			return d, nil
		}
		inner, err := rulesOf(s.tree, d.path, d.rules)
		if err != nil {
			return nil, err
		}
		next := &directory{path: join(d.path, name), node: rows[i].Node, depth: d.depth + 1, rules: inner}
		if inner.Match(next.path, true) {
			return nil, nil
		}
		info, err := s.tree.Lstat(next.path)
		if err != nil || info.Type != fsys.Directory || info.Ino != rows[i].Stat.Ino || info.Dev != s.dev {
			return d, nil // moved or gone: its parent's listing will tell
		}
		next.dev, next.ino = info.Dev, info.Ino
		d = next
	}
	return d, nil
}

// walk reports a directory and, in order of names, what is in it.
func (s *scanner) walk(d *directory) error {
	if err := s.ctx.Err(); err != nil {
		return context.Cause(s.ctx)
	}
	if s.walked != nil { // a named directory may also be met as a new one
		if s.walked[d.path] {
			return nil
		}
		s.walked[d.path] = true
	}
	l := s.pool.get(d)
	if l.fatal != nil {
		return l.fatal
	}
	if l.err != nil {
		if d.path == "" {
			return l.err
		}
		if sendonce.KindOf(l.err) != sendonce.KindNotFound { // vanished: the next scan will see
			s.skip(d.path, reason(l.err))
		}
		return nil
	}
	s.report.Dirs++
	s.report.Ignored += l.ignored
	s.report.Known += l.known
	s.report.Files += l.files
	s.report.Symlinks += l.symlinks
	s.report.Bytes += l.bytes
	s.report.Skipped = append(s.report.Skipped, l.skipped...)
	s.gone = append(s.gone, l.gone...)
	for i := range l.found {
		f := &l.found[i]
		if f.change.Kind != 0 {
			if err := s.emit(f.change); err != nil {
				return err
			}
		}
		if f.dir != nil {
			if err := s.walk(f.dir); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *scanner) skip(path, why string) {
	s.report.Skipped = append(s.report.Skipped, Skipped{Path: path, Reason: why})
}

// removals reports the rows that are gone and were not found elsewhere, children
// before parents.
func (s *scanner) removals() error {
	for _, g := range s.gone {
		if s.claims.taken(g.row.Node) || s.isBack(g) {
			continue
		}
		if _, err := s.remove(g); err != nil {
			return err
		}
	}
	return nil
}

// isBack reports whether a missed name is there after all, or may be: it was
// written anew since its directory was listed, or a rename hid it from the
// listing, or the directory that was listed is another one by now. The next scan
// compares it.
func (s *scanner) isBack(g gone) bool {
	if in := g.in; !in.checked {
		info, err := s.tree.Lstat(in.path)
		in.checked = true
		in.same = err == nil && info.Type == fsys.Directory && info.Dev == in.dev && info.Ino == in.ino
	}
	if !g.in.same || g.replaced {
		return !g.in.same
	}
	_, err := s.tree.Lstat(g.path)
	return err == nil || !isGone(err)
}

// remove reports a row and all below it. What is ignored by now stays, and so
// does every directory that holds it.
func (s *scanner) remove(g gone) (kept bool, err error) {
	if g.row.Kind == sendonce.KindDir {
		rows, err := s.base.LocalChildren(g.row.Node)
		if err != nil {
			return false, err
		}
		for _, r := range rows {
			if s.claims.taken(r.Node) {
				continue
			}
			path := join(g.path, r.Name)
			if g.in.rules.Match(path, r.Kind == sendonce.KindDir) {
				kept = true
				continue
			}
			stays, err := s.remove(gone{row: r, path: path, in: g.in})
			if err != nil {
				return false, err
			}
			kept = kept || stays
		}
		if kept {
			return true, nil
		}
	}
	s.report.Removed++
	row := g.row
	return false, s.emit(Change{Kind: Removed, Path: g.path, Name: row.Name, Type: row.Kind, Node: row.Node, Parent: row.Parent, Old: &row})
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
