package scan

import (
	"fmt"
	"os"
	"testing"

	"sendonce"
	"sendonce/internal/fsys"
)

// save writes a file as most editors do: a new one, renamed over the old.
func (w *world) save(t testing.TB, path, data string) {
	t.Helper()
	w.put(t, path+".new", data)
	must(t, os.Rename(w.path(path+".new"), w.path(path)))
}

// Inode numbers are used again at once by many file systems: after two saves the
// second file has the number that the first one had. Each still is what it was.
func TestInodeUsedAgain(t *testing.T) {
	w := newWorld(t)
	ino := map[string]uint64{"a": 11, "b": 12, "c": 13}
	born := map[string]int64{}
	w.tree.Info = func(path string, i *fsys.Info) {
		if n, ok := ino[path]; ok {
			i.Ino, i.BirthNS = n, born[path]
		}
	}
	for _, births := range []bool{true, false} {
		for i, name := range []string{"a", "b", "c"} {
			w.put(t, name, fmt.Sprint("old", births))
			ino[name] = uint64(11 + i)
			if births {
				born[name] = 1
			} else {
				delete(born, name)
			}
		}
		w.scan(t, Options{})
		for _, name := range []string{"a", "b", "c"} {
			w.put(t, name, fmt.Sprint("saved again", births))
			if births {
				born[name] = 2
			}
		}
		ino["a"], ino["b"], ino["c"] = 14, 11, 12
		w.scan(t, Options{})
		w.expect(t, "modified a", "modified b", "modified c")
		w.check(t)
	}
}

// The same with real files, on whatever this test runs.
func TestSaveMany(t *testing.T) {
	w := newWorld(t)
	const n = 50
	for i := range n {
		w.put(t, fmt.Sprintf("d/%02d", i), "old")
	}
	w.scan(t, Options{})
	want := []string{}
	for i := range n {
		w.save(t, fmt.Sprintf("d/%02d", i), "saved")
		want = append(want, fmt.Sprintf("modified d/%02d", i))
	}
	w.scan(t, Options{})
	w.expect(t, want...)
}

// A file that was read so soon after it was written that it must be read again
// (every file that a daemon saw being made) still is the same file after a rename,
// and so is one that was also written: it keeps its node. But if its old name is in
// use again, that keeps it.
func TestMovedAndModified(t *testing.T) {
	w := newWorld(t)
	w.put(t, "d/in", "1")
	w.put(t, "log", "1")
	w.put(t, "racy", "1")
	w.put(t, "taken", "1")
	w.put(t, "written", "1")
	w.scan(t, Options{})
	if i, err := w.tree.Tree.Lstat("log"); err != nil || i.BirthNS == 0 {
		t.Logf("this file system tells no birth times (%v): what was written is new here", err)
		return
	}
	was := make(map[sendonce.NodeID]string)
	for id, r := range w.base.rows {
		was[id] = r.Name
		r.Racy = r.Name == "racy"
	}
	w.base.index()
	must(t, os.Rename(w.path("racy"), w.path("d/racy.1")))
	must(t, os.Rename(w.path("written"), w.path("taken")))
	w.put(t, "taken", "1 and more")
	must(t, os.Rename(w.path("log"), w.path("log.1")))
	w.put(t, "log.1", "1 and more")
	w.put(t, "log", "new")
	w.scan(t, Options{})
	w.expect(t, "modified d/racy.1", "modified log", "added log.1", "modified taken", "removed taken")
	for i, old := range []string{"racy", "log", "", "written", "taken"} {
		if c := w.last[i]; was[c.Node] != old {
			t.Errorf("%s was %q, want %q", c.Path, was[c.Node], old)
		}
	}
	w.check(t)
}

// Rules that change are applied to what was left out, whatever was to be listed.
func TestSubtreesRulesChange(t *testing.T) {
	w := newWorld(t)
	w.put(t, IgnoreFile, "*.o\n")
	w.put(t, "a/b/x.o", "1")
	w.put(t, "a/b/x.c", "1")
	w.put(t, "c/"+IgnoreFile, "*.p")
	w.put(t, "c/d/x.p", "1")
	w.scan(t, Options{})
	root := Options{Subtrees: []string{""}}
	w.put(t, IgnoreFile, "# none\n")
	w.scan(t, root)
	w.expect(t, "modified "+IgnoreFile, "added a/b/x.o")
	must(t, os.Remove(w.path("c/"+IgnoreFile)))
	w.scan(t, Options{Subtrees: []string{"c"}})
	w.expect(t, "added c/d/x.p", "removed c/"+IgnoreFile)
	w.scan(t, root)
	w.expect(t)
	w.check(t)
}

// What is ignored by now is not deleted with the directory that held it; that
// directory stays, too.
func TestIgnoredInRemoved(t *testing.T) {
	w := newWorld(t)
	w.put(t, "d/e/keep.o", "1")
	w.put(t, "d/e/f", "1")
	w.put(t, "d/g/f", "1")
	w.scan(t, Options{})
	w.put(t, IgnoreFile, "*.o\n")
	must(t, os.RemoveAll(w.path("d")))
	if r := w.scan(t, Options{}); r.Removed != 3 {
		t.Errorf("%+v", r)
	}
	w.expect(t, "added "+IgnoreFile, "removed d/e/f", "removed d/g/f", "removed d/g")
}

// A delete is not believed if the directory that was listed is another one by now.
func TestRemovedFromAnother(t *testing.T) {
	w := newWorld(t)
	w.put(t, "d/f", "1")
	w.put(t, "empty/.keep", "1")
	w.put(t, "z", "1")
	w.scan(t, Options{})
	w.tree.Entries = func(dir string, es []fsys.Entry) []fsys.Entry {
		if dir == "d" { // what is listed is not what the parent's listing saw
			must(t, os.Rename(w.path("d"), w.path("z.d")))
			must(t, os.Mkdir(w.path("d"), 0o755))
			return nil
		}
		return es
	}
	w.scan(t, Options{})
	w.expect(t)
}

// On overlay file systems files have other device numbers than directories.
func TestFilesOfAnotherDevice(t *testing.T) {
	w := newWorld(t)
	w.tree.Info = func(_ string, i *fsys.Info) {
		if i.Type != fsys.Directory {
			i.Dev += 7
		}
	}
	w.put(t, "d/f", "1")
	if r := w.scan(t, Options{}); len(r.Skipped) > 0 {
		t.Errorf("skipped %v", r.Skipped)
	}
	must(t, os.Rename(w.path("d/f"), w.path("d/g")))
	w.scan(t, Options{})
	w.expect(t, "moved d/g")
}
