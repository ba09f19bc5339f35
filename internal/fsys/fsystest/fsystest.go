// Package fsystest wraps a file tree so that a test can count what is done with
// it, make any operation fail, change what it says, and act at any moment of a
// scan, a read or a restore.
//
// Invariants: without hooks a wrapped tree does exactly what the inner one does;
// every method of fsys.Tree and fsys.Target goes through Before first; counters
// may be read while the tree is in use. What it does not promise: a tree in
// memory; tests use a temporary directory.
//
// Read fsystest.go (reading), then target.go (writing).
package fsystest

import (
	"sync/atomic"

	"sendonce/internal/fsys"
)

// Op is an operation on a path.
type Op string

// The operations, named after the methods.
const (
	ReadDir  Op = "ReadDir"
	Lstat    Op = "Lstat"
	Open     Op = "Open"
	Readlink Op = "Readlink"
	Read     Op = "Read" // Read and ReadAt of an open file
	Stat     Op = "Stat" // of an open file
	NextData Op = "NextData"
	Mkdir    Op = "Mkdir"
	Replace  Op = "Replace"
	Write    Op = "Write" // of a file that Replace fills
	Symlink  Op = "Symlink"
	SetMeta  Op = "SetMeta"
	SyncDir  Op = "SyncDir"
	Sync     Op = "Sync"
)

// Counts are how often each thing was done.
type Counts struct {
	Lists, Lstats, Opens, Readlinks, Reads, Bytes, Writes, Syncs atomic.Int64
}

// Tree wraps a Tree. Set the hooks before it is used; they are called from
// whatever goroutine uses the tree.
type Tree struct {
	fsys.Tree
	Counts
	// Before is called before each operation; its error is the operation's result.
	// It may change the real tree, and so come between any two steps. May be nil.
	Before func(op Op, path string) error
	// Info may change what is said of an entry (path) before it is returned; may be
	// nil.
	Info func(path string, i *fsys.Info)
	// Entries may change a listing; may be nil.
	Entries func(dir string, es []fsys.Entry) []fsys.Entry
}

// Wrap wraps a tree without hooks.
func Wrap(t fsys.Tree) *Tree { return &Tree{Tree: t} }

func (t *Tree) before(op Op, path string) error {
	if t.Before == nil {
		return nil
	}
	return t.Before(op, path)
}

func (t *Tree) info(path string, i *fsys.Info) {
	if t.Info != nil {
		t.Info(path, i)
	}
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// ReadDir implements fsys.Tree.
func (t *Tree) ReadDir(dir string) ([]fsys.Entry, error) {
	t.Lists.Add(1)
	if err := t.before(ReadDir, dir); err != nil {
		return nil, err
	}
	es, err := t.Tree.ReadDir(dir)
	for i := range es {
		t.info(join(dir, es[i].Name), &es[i].Info)
	}
	if err == nil && t.Entries != nil {
		es = t.Entries(dir, es)
	}
	return es, err
}

// Lstat implements fsys.Tree.
func (t *Tree) Lstat(path string) (fsys.Info, error) {
	t.Lstats.Add(1)
	if err := t.before(Lstat, path); err != nil {
		return fsys.Info{}, err
	}
	i, err := t.Tree.Lstat(path)
	if err == nil {
		t.info(path, &i)
	}
	return i, err
}

// Readlink implements fsys.Tree.
func (t *Tree) Readlink(path string) (string, error) {
	t.Readlinks.Add(1)
	if err := t.before(Readlink, path); err != nil {
		return "", err
	}
	return t.Tree.Readlink(path)
}

// Open implements fsys.Tree.
func (t *Tree) Open(path string) (fsys.File, error) {
	t.Opens.Add(1)
	if err := t.before(Open, path); err != nil {
		return nil, err
	}
	f, err := t.Tree.Open(path)
	if err != nil {
		return nil, err
	}
	return &file{File: f, t: t, path: path}, nil
}

type file struct {
	fsys.File
	t    *Tree
	path string
}

func (f *file) Read(p []byte) (int, error) {
	return f.read(func() (int, error) { return f.File.Read(p) })
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	return f.read(func() (int, error) { return f.File.ReadAt(p, off) })
}

func (f *file) read(do func() (int, error)) (int, error) {
	f.t.Reads.Add(1)
	if err := f.t.before(Read, f.path); err != nil {
		return 0, err
	}
	n, err := do()
	f.t.Bytes.Add(int64(n))
	return n, err
}

func (f *file) Stat() (fsys.Info, error) {
	if err := f.t.before(Stat, f.path); err != nil {
		return fsys.Info{}, err
	}
	i, err := f.File.Stat()
	if err == nil {
		f.t.info(f.path, &i)
	}
	return i, err
}

func (f *file) NextData(off int64) (start, end int64, err error) {
	if err := f.t.before(NextData, f.path); err != nil {
		return 0, 0, err
	}
	return f.File.NextData(off)
}
