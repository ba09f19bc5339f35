package scan

import (
	"errors"
	"sync"

	"sendonce"
	"sendonce/daemon/scan/ignore"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
)

// directory is one directory to list.
type directory struct {
	path  string
	node  sendonce.NodeID // zero: it is new
	depth int
	rules *ignore.Rules // of its parents
	deep  bool          // list the known directories in it too

	job job
}

// listing is what comparing one directory with its rows gave.
type listing struct {
	err     error
	found   []found
	dirs    []*directory
	gone    []gone
	skipped []Skipped
	ignored int64
	known   int64
}

// found is one entry: how it differs (Kind 0: not at all), and the directory to
// walk into.
type found struct {
	change Change
	dir    *directory
}

// claims says which nodes have an entry that is not the one in their row. The
// first to claim a node has it.
type claims struct {
	mu    *sync.Mutex
	nodes map[sendonce.NodeID]bool
}

func newClaims() claims { return claims{mu: new(sync.Mutex), nodes: make(map[sendonce.NodeID]bool)} }

func (c claims) take(id sendonce.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[id] {
		return false
	}
	c.nodes[id] = true
	return true
}

func (c claims) taken(id sendonce.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

// list compares one directory. It runs on any of the pool's goroutines.
func (s *scanner) list(d *directory) *listing {
	l := &listing{}
	entries, err := s.tree.ReadDir(d.path)
	if err != nil {
		l.err = err
		return l
	}
	var rows []state.Local
	if !d.node.IsZero() {
		if rows, l.err = s.base.LocalChildren(d.node); l.err != nil {
			return l
		}
	}
	l.known = int64(len(rows))
	rules := d.rules
	for _, e := range entries {
		if e.Name == IgnoreFile && e.Info.Type == fsys.Regular {
			if rules, l.err = s.rulesOf(d); l.err != nil {
				return l
			}
		}
	}
	moved := movedHere(entries, rows)
	for _, e := range entries {
		for len(rows) > 0 && rows[0].Name < e.Name {
			l.gone = append(l.gone, gone{rows[0], join(d.path, rows[0].Name)})
			rows = rows[1:]
		}
		var row *state.Local
		if len(rows) > 0 && rows[0].Name == e.Name {
			row = &rows[0]
			rows = rows[1:]
		}
		if f, ok := s.entry(d, l, rules, e, row, moved); ok {
			l.found = append(l.found, f)
		}
		if l.err != nil {
			return l
		}
	}
	for _, r := range rows {
		l.gone = append(l.gone, gone{r, join(d.path, r.Name)})
	}
	s.pool.add(l.dirs)
	l.dirs = nil
	return l
}

// movedHere returns the inodes that have a name in this directory which is not
// the one in their row: log rotated to log.1, two names swapped.
func movedHere(entries []fsys.Entry, rows []state.Local) map[uint64]bool {
	var other map[uint64]bool
	for _, e := range entries {
		for len(rows) > 0 && rows[0].Name < e.Name {
			rows = rows[1:]
		}
		if len(rows) > 0 && rows[0].Name == e.Name && rows[0].Stat.Ino == e.Info.Ino {
			continue
		}
		if other == nil {
			other = make(map[uint64]bool)
		}
		other[e.Info.Ino] = true
	}
	return other
}

// entry compares one entry with its row. ok is false if there is nothing to
// report or to walk into.
func (s *scanner) entry(d *directory, l *listing, rules *ignore.Rules, e fsys.Entry, row *state.Local, moved map[uint64]bool) (f found, ok bool) {
	path := join(d.path, e.Name)
	switch {
	case fsys.IsTemp(e.Name):
		return f, false
	case rules.Match(path, e.Info.Type == fsys.Directory):
		l.ignored++
		return f, false
	case e.Err != nil:
		l.skip(path, reason(e.Err))
		return f, false
	case e.Info.Type == fsys.Other:
		l.skip(path, "not a file, directory or symlink (a FIFO, socket or device)")
		return f, false
	case e.Info.Dev != s.dev:
		l.skip(path, "another file system is mounted here; attach it as a folder of its own")
		return f, false
	case len(path) > sendonce.MaxPath:
		l.skip(path, "the path is longer than the limit of 4096 bytes")
		return f, false
	case d.depth >= sendonce.MaxDepth:
		l.skip(path, "it lies deeper than the limit of 128 directories")
		return f, false
	}
	kind := kindOf(e.Info.Type)
	f.change = Change{Path: path, Name: e.Name, Type: kind, Parent: d.node, ParentPath: d.path, Info: e.Info}
	walkInto := d.deep
	switch {
	case row != nil && row.Kind != kind:
		l.gone = append(l.gone, gone{*row, path})
		row = nil
	case row != nil && row.Stat.Ino != e.Info.Ino:
		// Another file took the name: a new one saved over the old (the same
		// node, new bytes), unless the old one lives on under another name.
		if moved[row.Stat.Ino] || s.claims.taken(row.Node) {
			l.gone = append(l.gone, gone{*row, path})
			row = nil
		}
	case row != nil && s.claims.taken(row.Node):
		row = nil // a hard link of it was taken for a move: the next scan is right again
	}
	if row == nil || row.Stat.Ino != e.Info.Ino {
		old, err := s.moveOf(e.Info, kind)
		if err != nil {
			l.err = err
			return f, false
		}
		switch {
		case old != nil:
			if row != nil {
				l.gone = append(l.gone, gone{*row, path})
			}
			f.change.Kind, f.change.Node, f.change.Old = Moved, old.Node, old
			walkInto = true
		case row == nil || !s.claims.take(row.Node):
			f.change.Kind = Added
			walkInto = true
		default:
			f.change.Kind, f.change.Node, f.change.Old = Modified, row.Node, row
			if kind == sendonce.KindDir { // made anew under the same name
				f.change.Kind = Meta
			}
			walkInto = true
		}
	} else {
		f.change.Kind, f.change.Node, f.change.Old = compare(row, e.Info), row.Node, row
	}
	if kind == sendonce.KindDir && walkInto {
		f.dir = &directory{path: path, node: f.change.Node, depth: d.depth + 1, rules: rules, deep: true}
		l.dirs = append(l.dirs, f.dir)
	}
	return f, true
}

// compare says how an entry with the inode of its row differs from it.
func compare(row *state.Local, i fsys.Info) ChangeKind {
	st := row.Stat
	if row.Kind == sendonce.KindDir {
		if st.Mode != i.Mode {
			return Meta
		}
		return 0 // its time follows what is in it
	}
	same := st.Dev == i.Dev && st.Size == i.Size && st.MTimeNS == i.MTimeNS && st.CTimeNS == i.CTimeNS && st.Mode == i.Mode
	if same && !row.Racy {
		return 0
	}
	// A changed ctime alone may hide an edit whose mtime was put back, and so may
	// a chmod: read it again.
	return Modified
}

// moveOf returns the row that an entry under a new name was moved from (P6):
// the same inode and birth time, size and mtime, and nothing of it left under
// the old name. Renaming changes a file's ctime, so that cannot count.
func (s *scanner) moveOf(i fsys.Info, kind sendonce.Kind) (*state.Local, error) {
	old, err := s.base.LocalByInode(i.Dev, i.Ino)
	if err != nil || old == nil || old.Kind != kind {
		return nil, err
	}
	if old.Stat.BirthNS != 0 && i.BirthNS != 0 && old.Stat.BirthNS != i.BirthNS {
		return nil, nil // the number was given to a new file
	}
	if kind != sendonce.KindDir && (old.Racy || old.Stat.Size != i.Size || old.Stat.MTimeNS != i.MTimeNS) {
		return nil, nil
	}
	path, err := s.pathOf(old)
	if err != nil {
		return nil, err
	}
	if there, err := s.tree.Lstat(path); err == nil && there.Ino == i.Ino && there.Dev == i.Dev {
		return nil, nil // a hard link: a file of its own
	}
	if !s.claims.take(old.Node) {
		return nil, nil
	}
	return old, nil
}

var errRows = errors.New("the rows of the state make a circle")

// pathOf returns where a row says that its entry is.
func (s *scanner) pathOf(row *state.Local) (string, error) {
	path := row.Name
	for depth := 0; row.Parent != s.o.Root; depth++ {
		if depth > sendonce.MaxDepth {
			return "", &sendonce.Error{Op: "scan", Path: path, Kind: sendonce.KindDamaged, Err: errRows}
		}
		up, err := s.base.Local(row.Parent)
		if err != nil {
			return "", err
		}
		if up == nil { // its directory is not known any more
			return "\x00", nil
		}
		path, row = up.Name+"/"+path, up
	}
	return path, nil
}

func (l *listing) skip(path, why string) {
	l.skipped = append(l.skipped, Skipped{Path: path, Reason: why})
}

func kindOf(t fsys.Type) sendonce.Kind {
	switch t {
	case fsys.Directory:
		return sendonce.KindDir
	case fsys.Symlink:
		return sendonce.KindSymlink
	}
	return sendonce.KindFile
}

// reason puts an error into a few words.
func reason(err error) string {
	var e *sendonce.Error
	if errors.As(err, &e) {
		if e.Detail != "" {
			return e.Detail
		}
		if e.Err != nil {
			return e.Err.Error()
		}
	}
	return err.Error()
}
