package fsystest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"sendonce"
	"sendonce/internal/fsys"
)

func wrapped(t *testing.T) (*Target, string) {
	t.Helper()
	dir := t.TempDir()
	inner, err := fsys.OpenTarget(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := WrapTarget(inner)
	t.Cleanup(func() { w.Close() })
	return w, dir
}

func all(w *Target) map[Op]error {
	out := make(map[Op]error)
	out[Mkdir] = w.Mkdir("d")
	out[Replace] = w.Replace("f", 4, fsys.Meta{Mode: 0o644}, func(o io.WriterAt) error {
		_, err := o.WriteAt([]byte("data"), 0)
		out[Write] = err
		return nil
	})
	out[Symlink] = w.Symlink("l", "f", 1)
	out[SetMeta] = w.SetMeta("d", fsys.Meta{Mode: 0o755})
	out[SyncDir] = w.SyncDir("")
	out[Sync] = w.Sync()
	_, out[ReadDir] = w.ReadDir("")
	_, out[Lstat] = w.Lstat("f")
	_, out[Readlink] = w.Readlink("l")
	var f fsys.File
	if f, out[Open] = w.Open("f"); f != nil {
		_, out[Read] = f.Read(make([]byte, 2))
		_, out[Stat] = f.Stat()
		_, _, out[NextData] = f.NextData(0)
		f.Close()
	}
	return out
}

// Each operation can be made to fail, and only that one.
func TestFail(t *testing.T) {
	for op := range all(must(wrapped(t))) {
		w, _ := wrapped(t)
		all(w)
		boom := errors.New("boom")
		w.Before = func(o Op, path string) error {
			if o == op {
				return boom
			}
			return nil
		}
		for o, err := range all(w) {
			if (o == op) != (err == boom) || o != op && err != nil {
				t.Errorf("%s fails, %s gives %v", op, o, err)
			}
		}
	}
}

func must(w *Target, _ string) *Target { return w }

func TestCounts(t *testing.T) {
	w, _ := wrapped(t)
	for op, err := range all(w) {
		if err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
	got := [...]int64{w.Lists.Load(), w.Lstats.Load(), w.Opens.Load(), w.Readlinks.Load(), w.Reads.Load(), w.Bytes.Load(), w.Writes.Load(), w.Syncs.Load()}
	if want := [...]int64{1, 1, 1, 1, 1, 2, 1, 2}; got != want {
		t.Errorf("counts %v, want %v", got, want)
	}
}

func TestHooks(t *testing.T) {
	w, dir := wrapped(t)
	all(w)
	w.Info = func(path string, i *fsys.Info) {
		if path == "f" {
			i.Dev = 77
		}
	}
	w.Entries = func(_ string, es []fsys.Entry) []fsys.Entry { return es[1:] }
	w.Before = func(op Op, path string) error {
		if op == Read {
			return os.WriteFile(filepath.Join(dir, path), []byte("changed"), 0o644)
		}
		return nil
	}
	es, err := w.ReadDir("")
	if err != nil || len(es) != 2 || es[0].Name != "f" || es[0].Info.Dev != 77 {
		t.Errorf("%+v %v", es, err)
	}
	f, err := w.Open("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if data, err := io.ReadAll(f); err != nil || string(data) != "changed" {
		t.Errorf("%q %v", data, err)
	}
}

func TestFull(t *testing.T) {
	w, dir := wrapped(t)
	w.Room.Store(6)
	put := func(name string) error {
		return w.Replace(name, 4, fsys.Meta{Mode: 0o644}, func(o io.WriterAt) error {
			_, err := o.WriteAt([]byte("data"), 0)
			return err
		})
	}
	if err := put("a"); err != nil {
		t.Fatal(err)
	}
	if err := put("b"); sendonce.KindOf(err) != sendonce.KindFull {
		t.Errorf("error %v", err)
	}
	es, err := os.ReadDir(dir)
	if err != nil || len(es) != 1 {
		t.Errorf("a full disk left %v, %v", es, err)
	}
}
