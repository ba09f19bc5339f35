package scan

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sendonce"
	"sendonce/daemon/state"
	"sendonce/internal/fsys"
	"sendonce/internal/fsys/fsystest"
)

var root = sendonce.NodeID{0xff}

// memory is a Base in memory, kept as a pass keeps the state.
type memory struct {
	rows map[sendonce.NodeID]*state.Local
	next uint64
	// Indexes, made anew by index.
	children map[sendonce.NodeID][]state.Local
	inodes   map[[2]uint64]sendonce.NodeID
}

func newMemory() *memory {
	m := &memory{rows: make(map[sendonce.NodeID]*state.Local)}
	m.index()
	return m
}

func (m *memory) index() {
	m.children, m.inodes = make(map[sendonce.NodeID][]state.Local), make(map[[2]uint64]sendonce.NodeID)
	for id, r := range m.rows {
		m.children[r.Parent] = append(m.children[r.Parent], *r)
		k := [2]uint64{r.Stat.Dev, r.Stat.Ino}
		if old, ok := m.inodes[k]; !ok || string(id[:]) < string(old[:]) {
			m.inodes[k] = id
		}
	}
	for _, rows := range m.children {
		slices.SortFunc(rows, func(a, b state.Local) int { return strings.Compare(a.Name, b.Name) })
	}
}

func (m *memory) LocalChildren(parent sendonce.NodeID) ([]state.Local, error) {
	return slices.Clone(m.children[parent]), nil
}

func (m *memory) Local(id sendonce.NodeID) (*state.Local, error) { return m.rows[id], nil }

func (m *memory) LocalByInode(dev, ino uint64) (*state.Local, error) {
	return m.rows[m.inodes[[2]uint64{dev, ino}]], nil
}

func (m *memory) path(id sendonce.NodeID) string {
	path := ""
	for id != root {
		r := m.rows[id]
		if r == nil {
			return "(an orphan)/" + path
		}
		path = strings.TrimSuffix(r.Name+"/"+path, "/")
		id = r.Parent
	}
	return path
}

func statOf(i fsys.Info) state.Stat {
	return state.Stat{Dev: i.Dev, Ino: i.Ino, Size: i.Size, MTimeNS: i.MTimeNS, CTimeNS: i.CTimeNS, BirthNS: i.BirthNS, Mode: i.Mode}
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// world is a real tree, a Base, and the changes of the last scan.
type world struct {
	dir  string
	tree *fsystest.Tree
	base *memory
	last []Change
}

func newWorld(t testing.TB) *world {
	t.Helper()
	dir := t.TempDir()
	tree, err := fsys.OpenTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return &world{dir: dir, tree: fsystest.Wrap(tree), base: newMemory()}
}

func (w *world) path(p string) string { return filepath.Join(w.dir, p) }

// scan runs a scan, checks the promises about the order of its changes, and
// applies them to the rows as a pass does.
func (w *world) scan(t fataler, o Options) Report {
	t.Helper()
	r, err := w.try(t, o)
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	return r
}

func (w *world) try(t fataler, o Options) (Report, error) {
	t.Helper()
	o.Root = root
	w.last = nil
	report, err := Run(context.Background(), w.tree, w.base, o, func(c Change) error {
		w.last = append(w.last, c)
		return nil
	})
	w.apply(t, w.last)
	return report, err
}

func (w *world) apply(t fataler, changes []Change) {
	t.Helper()
	seen := make(map[sendonce.NodeID]bool)
	added := make(map[string]sendonce.NodeID)
	at := make(map[string]int) // where a path's change came
	removing := false
	for n, c := range changes {
		if !c.Node.IsZero() {
			if seen[c.Node] {
				t.Fatalf("two changes of one node: %s", show(changes))
			}
			seen[c.Node] = true
		}
		if (c.Kind == Added) != c.Node.IsZero() || (c.Kind == Added) != (c.Old == nil) || c.Old != nil && c.Old.Node != c.Node {
			t.Fatalf("a change without sense: %+v", c)
		}
		if c.Kind == Removed {
			removing = true
			for _, r := range w.base.rows {
				if r.Parent == c.Node {
					t.Fatalf("%s was removed before %s, which is in it: %s", c.Path, r.Name, show(changes))
				}
			}
			delete(w.base.rows, c.Node)
			continue
		}
		if removing {
			t.Fatalf("a change after the removals: %s", show(changes))
		}
		at[c.Path] = n
		parent := c.Parent
		if parent.IsZero() {
			var ok bool
			if parent, ok = added[c.ParentPath]; !ok {
				t.Fatalf("%s comes before its parent: %s", c.Path, show(changes))
			}
		}
		dir, name := filepath.Split(c.Path)
		if name != c.Name || strings.TrimSuffix(dir, "/") != c.ParentPath {
			t.Fatalf("names do not agree: %+v", c)
		}
		row := state.Local{Node: c.Node, Parent: parent, Name: c.Name, Kind: c.Type, Stat: statOf(c.Info)}
		switch c.Kind {
		case Added:
			w.base.next++
			binary.BigEndian.PutUint64(row.Node[:], w.base.next)
			added[c.Path] = row.Node
			w.read(t, &row, c)
		case Modified:
			w.read(t, &row, c)
		default:
			row.Content, row.Target = c.Old.Content, c.Old.Target
		}
		w.base.rows[row.Node] = &row
	}
	for _, c := range changes {
		if n, ok := at[c.ParentPath]; ok && c.Kind != Removed && n > at[c.Path] {
			t.Fatalf("%s comes before its parent: %s", c.Path, show(changes))
		}
	}
	w.base.index()
}

// read takes what the entry holds now, as a pass does.
func (w *world) read(t fataler, row *state.Local, c Change) {
	t.Helper()
	switch c.Type {
	case sendonce.KindFile:
		f, err := w.tree.Tree.Open(c.Path)
		if err != nil {
			t.Fatalf("%v", err)
		}
		defer f.Close()
		row.Content.Inline, err = io.ReadAll(f)
		if err != nil {
			t.Fatalf("%v", err)
		}
	case sendonce.KindSymlink:
		var err error
		if row.Target, err = w.tree.Tree.Readlink(c.Path); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

func show(changes []Change) string {
	var b strings.Builder
	for _, c := range changes {
		from := ""
		if c.Old != nil {
			from = " was " + c.Old.Name
		}
		fmt.Fprintf(&b, "\n  %s %s %s%s", kindNames[c.Kind], c.Type, c.Path, from)
	}
	return b.String()
}

var kindNames = map[ChangeKind]string{Added: "added", Modified: "modified", Meta: "meta", Moved: "moved", Removed: "removed", Touched: "touched"}

// changes lists the last changes as "kind path".
func (w *world) changes() []string {
	out := []string{}
	for _, c := range w.last {
		out = append(out, kindNames[c.Kind]+" "+c.Path)
	}
	return out
}

func (w *world) expect(t testing.TB, want ...string) {
	t.Helper()
	if got := w.changes(); !slices.Equal(got, want) {
		t.Errorf("changes:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// check compares the rows with the tree.
func (w *world) check(t fataler) {
	t.Helper()
	have := make(map[string]*state.Local)
	for id, r := range w.base.rows {
		p := w.base.path(id)
		if have[p] != nil {
			t.Fatalf("two rows for %s", p)
		}
		have[p] = r
	}
	err := filepath.WalkDir(w.dir, func(full string, d os.DirEntry, err error) error {
		p, _ := filepath.Rel(w.dir, full)
		if err != nil || p == "." {
			return err
		}
		r := have[p]
		delete(have, p)
		fi, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case r == nil:
			return fmt.Errorf("%s has no row", p)
		case uint32(fi.Mode().Perm()) != r.Stat.Mode:
			return fmt.Errorf("%s has mode %o, the row %o", p, fi.Mode().Perm(), r.Stat.Mode)
		case fi.IsDir() != (r.Kind == sendonce.KindDir), fi.Mode().IsRegular() != (r.Kind == sendonce.KindFile):
			return fmt.Errorf("%s is a %v, the row is a %v", p, fi.Mode(), r.Kind)
		}
		switch r.Kind {
		case sendonce.KindFile:
			data, err := os.ReadFile(full)
			if err != nil || string(data) != string(r.Content.Inline) || r.Stat.Size != fi.Size() || r.Stat.MTimeNS != fi.ModTime().UnixNano() {
				return fmt.Errorf("%s holds %q (%v), the row says %q, %+v", p, data, err, r.Content.Inline, r.Stat)
			}
		case sendonce.KindSymlink:
			target, err := os.Readlink(full)
			if err != nil || target != r.Target {
				return fmt.Errorf("%s leads to %s (%v), the row says %s", p, target, err, r.Target)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\nafter%s", err, show(w.last))
	}
	if len(have) > 0 {
		t.Fatalf("rows without an entry: %q\nafter%s", slices.Collect(maps.Keys(have)), show(w.last))
	}
}

// fineTime reports whether every change between two looks shows in a file's
// times; where the kernel's clock ticks only every few milliseconds (before Linux
// 6.13), a test must wait for it. (A daemon marks such rows as racy.)
func fineTime(t *testing.T) bool {
	name := filepath.Join(t.TempDir(), "f")
	var last time.Time
	for range 20 {
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.ModTime().Equal(last) {
			return false
		}
		last = fi.ModTime()
	}
	return true
}

// editor changes the tree at random.
type editor struct {
	*world
	t *rapid.T
	// sneaky inodes were edited with size and mtime put back. A rename (or link) between
	// the same two scans would hide that from every stat: the package doc says so.
	sneaky map[uint64]bool
	n      int
}

func (e *editor) all() (files, dirs, every []string) {
	dirs = []string{""}
	_ = filepath.WalkDir(e.dir, func(full string, d os.DirEntry, err error) error {
		p, _ := filepath.Rel(e.dir, full)
		if p == "." || err != nil {
			return nil
		}
		every = append(every, p)
		if d.IsDir() {
			dirs = append(dirs, p)
		}
		if d.Type().IsRegular() {
			files = append(files, p)
		}
		return nil
	})
	return
}

func (e *editor) pick(from []string, what string) string {
	return rapid.SampledFrom(from).Draw(e.t, what)
}

// name is a path in an existing directory, often one that is taken.
func (e *editor) name() string {
	_, dirs, _ := e.all()
	return join(e.pick(dirs, "dir"), e.pick([]string{"a", "b", "c", "log", "log.1", "log.2"}, "name"))
}

func (e *editor) data() []byte {
	e.n++
	return []byte(fmt.Sprintf("%04d", e.n)) // all of one size
}

func (e *editor) inode(p string) uint64 {
	i, err := e.tree.Tree.Lstat(p)
	if err != nil {
		return 0
	}
	return i.Ino
}

func (e *editor) isSneaky(p string) bool {
	found := false
	_ = filepath.WalkDir(e.path(p), func(full string, d os.DirEntry, err error) error {
		q, _ := filepath.Rel(e.dir, full)
		if err == nil && e.sneaky[e.inode(q)] {
			found = true
		}
		return nil
	})
	return found
}

// rename ignores errors: many pairs are impossible.
func (e *editor) rename(a, b string) {
	if !e.isSneaky(a) {
		_ = os.Rename(e.path(a), e.path(b))
	}
}

func (e *editor) mutate() {
	files, dirs, every := e.all()
	switch op := rapid.IntRange(0, 17).Draw(e.t, "op"); op {
	case 0, 1:
		_ = os.WriteFile(e.path(e.name()), e.data(), 0o644)
	case 2, 3:
		_ = os.Mkdir(e.path(e.name()), 0o755)
	case 4:
		_ = os.Symlink(e.pick([]string{"a", "..", "nowhere", "/"}, "target"), e.path(e.name()))
	case 5:
		e.rename("log.1", "log.2")
		e.rename("log", "log.1")
		_ = os.WriteFile(e.path("log"), e.data(), 0o644)
	default:
		if len(every) == 0 {
			return
		}
		p := e.pick(every, "path")
		switch op {
		case 6:
			_ = os.RemoveAll(e.path(p))
		case 7, 8:
			e.rename(p, e.name())
		case 9: // swap two names
			q := e.pick(every, "other")
			if strings.HasPrefix(q+"/", p+"/") || strings.HasPrefix(p+"/", q+"/") || e.isSneaky(q) || e.isSneaky(p) {
				return
			}
			e.rename(p, "swap")
			e.rename(q, p)
			e.rename("swap", q)
		case 10: // replace whatever it is by a directory, or by a file
			if e.isSneaky(p) {
				return
			}
			_ = os.RemoveAll(e.path(p))
			if rapid.Bool().Draw(e.t, "into a directory") {
				_ = os.Mkdir(e.path(p), 0o755)
			} else {
				_ = os.WriteFile(e.path(p), e.data(), 0o644)
			}
		case 11:
			if !e.isSneaky(p) {
				_ = os.Link(e.path(p), e.path(e.name()))
			}
		case 12: // a directory made anew, what it held put back
			d := e.pick(dirs, "again")
			if d == "" || e.isSneaky(d) {
				return
			}
			e.rename(d, "swap")
			_ = os.Mkdir(e.path(d), 0o755)
			es, _ := os.ReadDir(e.path("swap"))
			for _, x := range es {
				e.rename("swap/"+x.Name(), d+"/"+x.Name())
			}
			_ = os.Remove(e.path("swap"))
		default:
			if len(files) == 0 {
				return
			}
			f := e.pick(files, "file")
			fi, err := os.Stat(e.path(f))
			if err != nil {
				return
			}
			switch op {
			case 13:
				_ = os.WriteFile(e.path(f), append(e.data(), e.data()...), 0o644)
			case 14:
				_ = os.Truncate(e.path(f), int64(rapid.IntRange(0, 8).Draw(e.t, "size")))
			case 15:
				_ = os.Chmod(e.path(p), []os.FileMode{0o755, 0o700, 0o644}[e.n%3]|0o700)
				e.n++
			case 16: // an edit that puts size and mtime back
				data := e.data()
				_ = os.Truncate(e.path(f), 0)
				if fi.Size() != int64(len(data)) {
					_ = os.WriteFile(e.path(f), data, 0o644)
					return
				}
				now, err := e.tree.Tree.Lstat(f)
				if err != nil || now.Links > 1 {
					return
				}
				row, _ := e.base.LocalByInode(now.Dev, now.Ino)
				if row == nil || e.base.path(row.Node) != f {
					return
				}
				_ = os.WriteFile(e.path(f), data, 0o644)
				_ = os.Chtimes(e.path(f), fi.ModTime(), fi.ModTime())
				e.sneaky[e.inode(f)] = true
			case 17: // save as editors do: a new file over the old
				_ = os.WriteFile(e.path("swap"), e.data(), 0o644)
				e.rename("swap", f)
			}
		}
	}
}

// After any changes, the rows that a pass would write are what is there; a scan
// that follows finds nothing.
func TestModel(t *testing.T) {
	fine := fineTime(t)
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		defer os.RemoveAll(w.dir)
		e := &editor{world: w, t: rt, sneaky: make(map[uint64]bool)}
		for range rapid.IntRange(1, 6).Draw(rt, "scans") {
			if !fine {
				time.Sleep(11 * time.Millisecond)
			}
			clear(e.sneaky)
			for range rapid.IntRange(0, 12).Draw(rt, "mutations") {
				e.mutate()
			}
			o := Options{Workers: 1}
			if rapid.Bool().Draw(rt, "racy") {
				for _, r := range w.base.rows {
					r.Racy = r.Kind != sendonce.KindDir
				}
				w.base.index()
			}
			if rapid.Bool().Draw(rt, "parallel") {
				o.Workers = 4
			}
			w.scan(rt, o)
			w.check(rt)
			w.scan(rt, Options{Workers: 1})
			if len(w.last) > 0 {
				rt.Fatalf("a second scan found%s", show(w.last))
			}
		}
	})
}
