package sample

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestCopyIsTheSame(t *testing.T) {
	src, dst := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	write(t, filepath.Join(src, "a/b.txt"), "text")
	write(t, filepath.Join(src, "c.sh"), "#!")
	if err := os.Chmod(filepath.Join(src, "c.sh"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("c.sh", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	tree, err := Copy(dst, src)
	if err != nil || tree != (Tree{Files: 2, Dirs: 1, Bytes: 6}) {
		t.Fatalf("got %+v, %v", tree, err)
	}
	if err := Compare(src, dst); err != nil {
		t.Error(err)
	}
}

func TestCompareFindsEachDifference(t *testing.T) {
	for want, change := range map[string]func(dir string) error{
		"the bytes differ":      func(d string) error { return os.WriteFile(filepath.Join(d, "f"), []byte("other"), 0o644) },
		"mode":                  func(d string) error { return os.Chmod(filepath.Join(d, "f"), 0o600) },
		"no such file":          func(d string) error { return os.Remove(filepath.Join(d, "f")) },
		"only in the second":    func(d string) error { return os.WriteFile(filepath.Join(d, "g"), nil, 0o644) },
		"l: symlink to":         func(d string) error { l := filepath.Join(d, "l"); os.Remove(l); return os.Symlink("elsewhere", l) },
		"l: mode Lrwxrwxrwx an": func(d string) error { l := filepath.Join(d, "l"); os.Remove(l); return os.Mkdir(l, 0o755) },
	} {
		src, dst := t.TempDir(), filepath.Join(t.TempDir(), "copy")
		write(t, filepath.Join(src, "f"), "bytes")
		if err := os.Symlink("f", filepath.Join(src, "l")); err != nil {
			t.Fatal(err)
		}
		if _, err := Copy(dst, src); err != nil {
			t.Fatal(err)
		}
		if err := change(dst); err != nil {
			t.Fatal(err)
		}
		if err := Compare(src, dst); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestGenerateIsAlwaysTheSame(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	x, err := Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	if y, err := Generate(b); err != nil || x != y || x.Files != 400 || x.Dirs != 20 {
		t.Errorf("%+v and %+v, %v", x, y, err)
	}
	if err := Compare(a, b); err != nil {
		t.Error(err)
	}
	name, bytes, err := BiggestDir(a)
	if err != nil || name == "" || bytes <= x.Bytes/20 {
		t.Errorf("%s, %d, %v", name, bytes, err)
	}
	files, err := Files(a)
	if err != nil || len(files) != 400 || files[0].Size < files[399].Size {
		t.Errorf("%d files, %v", len(files), err)
	}
}
