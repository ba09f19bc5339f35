package corpus

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRandom(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, p := range []string{a, b} {
		if err := Random(p, 1<<20+7, 3); err != nil {
			t.Fatal(err)
		}
	}
	if err := AppendRandom(b, 100, 4); err != nil {
		t.Fatal(err)
	}
	x, _ := os.ReadFile(a)
	y, _ := os.ReadFile(b)
	if len(x) != 1<<20+7 || len(y) != len(x)+100 || !bytes.Equal(x, y[:len(x)]) {
		t.Errorf("%d and %d bytes", len(x), len(y))
	}
	if err := Random(filepath.Join(dir, "none", "a"), 1, 1); err == nil {
		t.Error("a file in no directory")
	}
	if err := AppendRandom(filepath.Join(dir, "none"), 1, 1); err == nil {
		t.Error("no file was appended to")
	}
}

func TestSmallAndCopy(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	if err := Small(from, 1000, 300, 1600*1000, 5); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d0000", filepath.Join(from, "link")); err != nil {
		t.Fatal(err)
	}
	if err := CopyTree(to, from); err != nil {
		t.Fatal(err)
	}
	files, total := 0, int64(0)
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		a, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, p)
		b, err := os.ReadFile(filepath.Join(to, rel))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v", rel, err)
		}
		files, total = files+1, total+int64(len(a))
		return nil
	})
	if err != nil || files != 1000 || total < 1400*1000 || total > 1800*1000 {
		t.Errorf("%d files, %d bytes, %v", files, total, err)
	}
	if target, err := os.Readlink(filepath.Join(to, "link")); err != nil || target != "d0000" {
		t.Errorf("symlink %q, %v", target, err)
	}
	if err := CopyTree(to, filepath.Join(dir, "none")); err == nil {
		t.Error("nothing was copied")
	}
}

func TestInsertLine(t *testing.T) {
	p := filepath.Join(t.TempDir(), "f")
	os.WriteFile(p, []byte("one\ntwo\nthree\nfour\n"), 0o644)
	if err := InsertLine(p, "new"); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(p); string(b) != "one\ntwo\nthree\nnew\nfour\n" {
		t.Errorf("%q", b)
	}
	if err := InsertLine(p+"x", "new"); err == nil {
		t.Error("no file was changed")
	}
}
