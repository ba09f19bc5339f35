package scan

import (
	"errors"
	"slices"
	"strings"
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

	dev, ino uint64 // as it was when its parent was listed

	job job
}

// listing is what comparing one directory with its rows gave.
type listing struct {
	err     error // of the directory: it stays as it was
	fatal   error // of the state: the scan ends
	in      *place
	found   []found
	dirs    []*directory
	gone    []gone
	skipped []Skipped
	ignored int64
	known   int64

	files, symlinks, bytes int64
}

// found is an entry that differs from its row, or a directory to walk into (its
// change has Kind 0 if it does not differ itself).
type found struct {
	change Change
	dir    *directory
}

// claims says which nodes have an entry that is not the one in their row. The
// first to claim a node has it.
type claims struct {
	mu    *sync.Mutex
	nodes map[sendonce.NodeID]bool
	dirs  map[sendonce.NodeID]string // where moved directories are now
}

func newClaims() claims {
	return claims{mu: new(sync.Mutex), nodes: make(map[sendonce.NodeID]bool), dirs: make(map[sendonce.NodeID]string)}
}

// moved notes where a directory is now, for the rows below it.
func (c claims) moved(id sendonce.NodeID, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirs[id] = path
}

func (c claims) movedTo(id sendonce.NodeID) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path, ok := c.dirs[id]
	return path, ok
}

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
		if rows, l.fatal = s.base.LocalChildren(d.node); l.fatal != nil {
			return l
		}
	}
	l.known = int64(len(rows))
	rules := d.rules
	var own *fsys.Entry // the ignore file
	if i, there := slices.BinarySearchFunc(entries, IgnoreFile, func(e fsys.Entry, name string) int { return strings.Compare(e.Name, name) }); there {
		own = &entries[i]
		if own.Info.Type == fsys.Regular || own.Err != nil {
			if rules, l.err = rulesOf(s.tree, d.path, d.rules); l.err != nil {
				return l
			}
		}
	}
	if rulesChanged(own, rows) {
		d.deep = true // what was left out may be far below
	}
	l.in = &place{path: d.path, dev: d.dev, ino: d.ino, rules: rules}
	moved := movedHere(d, rules, entries, rows)
	for _, e := range entries {
		for len(rows) > 0 && rows[0].Name < e.Name {
			l.miss(d, rules, rows[0])
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
		if l.fatal != nil {
			return l
		}
	}
	for _, r := range rows {
		l.miss(d, rules, r)
	}
	s.pool.add(l.dirs)
	l.dirs = nil
	return l
}

// miss notes a row without an entry. What is ignored by now is left alone, here
// and on the server, whether it is still there or not.
func (l *listing) miss(d *directory, rules *ignore.Rules, row state.Local) {
	path := join(d.path, row.Name)
	if rules.Match(path, row.Kind == sendonce.KindDir) {
		l.ignored++
		return
	}
	l.gone = append(l.gone, gone{row: row, path: path, in: l.in})
}

// rulesChanged reports whether a directory's ignore file (nil: none) is another
// one than its row says.
func rulesChanged(own *fsys.Entry, rows []state.Local) bool {
	i, known := slices.BinarySearchFunc(rows, IgnoreFile, func(r state.Local, name string) int { return strings.Compare(r.Name, name) })
	if own == nil || !known {
		return own != nil || known
	}
	return rows[i].Kind != kindOf(own.Info.Type) || rows[i].Stat.Ino != own.Info.Ino || compare(&rows[i], own.Info) != 0
}

// movedHere returns the entries, by inode, that have a name in this directory
// which is not the one in the row of their inode: log rotated to log.1, two names
// swapped. A name that is not synced does not count: an editor's ignored backup
// copy is no move.
func movedHere(d *directory, rules *ignore.Rules, entries []fsys.Entry, rows []state.Local) map[uint64]*fsys.Info {
	var other map[uint64]*fsys.Info
	for i := range entries {
		e := &entries[i]
		for len(rows) > 0 && rows[0].Name < e.Name {
			rows = rows[1:]
		}
		if len(rows) > 0 && rows[0].Name == e.Name && rows[0].Stat.Ino == e.Info.Ino {
			continue
		}
		if e.Err != nil || fsys.IsTemp(e.Name) || rules.Match(join(d.path, e.Name), e.Info.Type == fsys.Directory) {
			continue
		}
		if other == nil {
			other = make(map[uint64]*fsys.Info)
		}
		other[e.Info.Ino] = &e.Info
	}
	return other
}

// entry compares one entry with its row. ok is false if there is nothing to
// report or to walk into.
func (s *scanner) entry(d *directory, l *listing, rules *ignore.Rules, e fsys.Entry, row *state.Local, moved map[uint64]*fsys.Info) (f found, ok bool) {
	if fsys.IsTemp(e.Name) {
		return f, false
	}
	if !rules.Empty() && rules.Match(join(d.path, e.Name), e.Info.Type == fsys.Directory) {
		l.ignored++
		return f, false
	}
	if why := s.unfit(d, &e); why != "" {
		l.skip(join(d.path, e.Name), why)
		return f, false
	}
	kind := kindOf(e.Info.Type)
	l.count(kind, e.Info.Size)
	if row != nil && row.Kind == kind && row.Stat.Ino == e.Info.Ino && s.holds(row.Node, e.Info) {
		f.change.Kind, f.change.Node, f.change.Old = compare(row, e.Info), row.Node, row
	} else if l.fatal = s.other(d, l, &f.change, e, kind, row, moved); l.fatal != nil {
		return f, false
	}
	known := f.change.Kind == 0 || f.change.Kind == Meta && row != nil && row.Stat.Ino == e.Info.Ino
	walkInto := kind == sendonce.KindDir && (d.deep || !known)
	if f.change.Kind == 0 && !walkInto { // most of a tree, mostly
		return f, false
	}
	c := &f.change
	c.Path, c.Name, c.Type, c.Parent, c.ParentPath, c.Info = join(d.path, e.Name), e.Name, kind, d.node, d.path, e.Info
	if walkInto {
		f.dir = &directory{path: c.Path, node: c.Node, depth: d.depth + 1, rules: rules, deep: true, dev: e.Info.Dev, ino: e.Info.Ino}
		l.dirs = append(l.dirs, f.dir)
	}
	return f, true
}

// unfit says why an entry is not synced; "" if it is.
func (s *scanner) unfit(d *directory, e *fsys.Entry) string {
	switch {
	case e.Err != nil:
		return reason(e.Err)
	case e.Info.Type == fsys.Other:
		return "not a file, directory or symlink (a FIFO, socket or device)"
	// Directories only: overlay file systems give files other device numbers.
	case e.Info.Type == fsys.Directory && e.Info.Dev != s.dev:
		return "another file system is mounted here; attach it as a folder of its own"
	case len(d.path)+1+len(e.Name) > sendonce.MaxPath:
		return "the path is longer than the limit of 4096 bytes"
	case d.depth >= sendonce.MaxDepth:
		return "it lies deeper than the limit of 128 directories"
	}
	return ""
}

// other fills in the change of an entry that is not the one in the row of its
// name: moved here, new, or another file that took the name.
func (s *scanner) other(d *directory, l *listing, c *Change, e fsys.Entry, kind sendonce.Kind, row *state.Local, moved map[uint64]*fsys.Info) error {
	path := join(d.path, e.Name)
	leave := func() { // the row's node is not here any more
		l.gone = append(l.gone, gone{row: *row, path: path, in: l.in, replaced: true})
		row = nil
	}
	switch {
	case row == nil:
	case row.Kind != kind:
		leave()
	case row.Stat.Ino == e.Info.Ino:
		row = nil // another name of the file was taken for it
	case identical(row, moved[row.Stat.Ino]) && asRead(row, moved[row.Stat.Ino]) || s.claims.taken(row.Node):
		// Where a file took the name it is a new one saved over the old (the same
		// node, new bytes), but not if the old one lives on under another name.
		leave()
	}
	old, err := s.moveOf(e.Info)
	switch {
	case err != nil:
		return err
	case old != nil:
		if row != nil {
			leave()
		}
		c.Kind, c.Node, c.Old = Moved, old.Node, old
		switch {
		case kind == sendonce.KindDir:
			s.claims.moved(old.Node, path)
		case !asRead(old, &e.Info):
			c.Kind = Modified
		}
	case row == nil || !s.claims.take(row.Node):
		c.Kind = Added
	default:
		c.Kind, c.Node, c.Old = Modified, row.Node, row
		if kind == sendonce.KindDir { // made anew under the same name
			c.Kind = Meta
		}
	}
	return nil
}

func (l *listing) count(kind sendonce.Kind, size int64) {
	switch kind {
	case sendonce.KindFile:
		l.files++
		l.bytes += size
	case sendonce.KindSymlink:
		l.symlinks++
	}
}

// holds reports whether an entry with the inode of its row still is that node: of
// a file with several names, another one may have been taken for it.
func (s *scanner) holds(id sendonce.NodeID, i fsys.Info) bool {
	if i.Links > 1 && i.Type != fsys.Directory {
		return s.claims.take(id)
	}
	return !s.claims.taken(id)
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

// identical reports whether an entry (nil: none) is the very file that a row saw.
// Inode numbers are used again, often at once, so the birth time must be the same;
// where that is unknown, a file must not have been written since.
func identical(row *state.Local, i *fsys.Info) bool {
	if i == nil || row.Stat.Dev != i.Dev || row.Stat.Ino != i.Ino || row.Kind != kindOf(i.Type) {
		return false
	}
	if row.Stat.BirthNS != 0 && i.BirthNS != 0 {
		return row.Stat.BirthNS == i.BirthNS
	}
	return asRead(row, i)
}

// asRead reports whether the identical file under another name has the bytes that
// its row says. Renaming changes a file's ctime, so that cannot count here.
func asRead(row *state.Local, i *fsys.Info) bool {
	return row.Kind == sendonce.KindDir || !row.Racy && row.Stat.Size == i.Size && row.Stat.MTimeNS == i.MTimeNS
}

// moveOf returns the row that an entry under a new name was moved from (P6): that
// of the identical file, if nothing of it is left under the old name. If it must be
// read as well, the old name must be free: what has that by now is the file then.
func (s *scanner) moveOf(i fsys.Info) (*state.Local, error) {
	if i.Ino == 0 { // this file system does not tell
		return nil, nil
	}
	old, err := s.base.LocalByInode(i.Dev, i.Ino)
	if err != nil || old == nil || !identical(old, &i) {
		return nil, err
	}
	path, known, err := s.pathOf(old)
	if err != nil {
		return nil, err
	}
	if known {
		there, err := s.tree.Lstat(path)
		if err == nil && there.Ino == i.Ino && there.Dev == i.Dev {
			return nil, nil // a hard link: a file of its own
		}
		if err == nil && !asRead(old, &i) {
			return nil, nil
		}
		if err != nil && !isGone(err) {
			return nil, nil // nobody can tell
		}
	}
	if !s.claims.take(old.Node) {
		return nil, nil
	}
	return old, nil
}

// isGone reports whether an error means that a path is not there: it has no
// entry, or cannot have one below a symlink or over a limit.
func isGone(err error) bool {
	switch sendonce.KindOf(err) {
	case sendonce.KindNotFound, sendonce.KindInvalid, sendonce.KindLimit:
		return true
	}
	return false
}

var errRows = errors.New("the rows of the state make a circle")

// pathOf returns where a row says that its entry is; false if its directory is
// not known any more.
func (s *scanner) pathOf(row *state.Local) (string, bool, error) {
	path := row.Name
	for depth := 0; row.Parent != s.o.Root; depth++ {
		if depth > sendonce.MaxDepth {
			return "", false, &sendonce.Error{Op: "scan", Path: path, Kind: sendonce.KindDamaged, Err: errRows}
		}
		if dir, ok := s.claims.movedTo(row.Parent); ok {
			return join(dir, path), true, nil
		}
		up, err := s.base.Local(row.Parent)
		if err != nil || up == nil {
			return "", false, err
		}
		path, row = up.Name+"/"+path, up
	}
	return path, true, nil
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
