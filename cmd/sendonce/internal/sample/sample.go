// Package sample makes trees to try sendonce on: a copy of a real tree, or a
// generated one; and compares two trees byte for byte.
//
// Invariants: the source of a copy is only read; the generated tree is the same
// every time. It does not promise to copy what a folder does not hold: FIFOs,
// sockets and devices are left out.
package sample

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// Tree counts what a tree holds.
type Tree struct {
	Files int64 `json:"files"`
	Dirs  int64 `json:"dirs"`
	Bytes int64 `json:"bytes"`
}

// Copy copies directories, regular files (with mode and mtime) and symlinks of
// src into the directory dst, which it makes.
func Copy(dst, src string) (t Tree, err error) {
	type dirTime struct {
		path string
		info fs.FileInfo
	}
	var dirs []dirTime
	err = filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		to := filepath.Join(dst, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeDir:
			t.Dirs++
			dirs = append(dirs, dirTime{to, info})
			return os.MkdirAll(to, info.Mode().Perm()|0o700)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(target, to)
		case 0:
			n, err := copyFile(to, path, info)
			t.Files++
			t.Bytes += n
			return err
		}
		return nil
	})
	if err != nil {
		return t, err
	}
	t.Dirs-- // the root is the folder itself
	for _, d := range dirs {
		if err := os.Chtimes(d.path, d.info.ModTime(), d.info.ModTime()); err != nil {
			return t, err
		}
	}
	return t, nil
}

func copyFile(to, from string, info fs.FileInfo) (n int64, err error) {
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm()|0o200)
	if err != nil {
		return 0, err
	}
	n, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return n, err
	}
	return n, os.Chtimes(to, info.ModTime(), info.ModTime())
}

// Generate makes a tree of text files with much in common, about 12 MB in 400
// files, the same every time.
func Generate(dst string) (Tree, error) {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 3000)
	for i := range words {
		b := make([]byte, 3+r.IntN(9))
		for j := range b {
			b[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(b)
	}
	t := Tree{}
	var before []byte
	for d := range 20 {
		dir := filepath.Join(dst, fmt.Sprintf("part-%02d", d))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return t, err
		}
		t.Dirs++
		for f := range 20 {
			var b bytes.Buffer
			if f%4 == 3 { // every fourth file begins as the one before it did
				b.Write(before[:len(before)/2])
			}
			for lines := 200 + r.IntN(800); lines > 0; lines-- {
				for range 8 {
					b.WriteString(words[r.IntN(len(words))])
					b.WriteByte(' ')
				}
				b.WriteByte('\n')
			}
			before = b.Bytes()
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("text-%02d.txt", f)), before, 0o644); err != nil {
				return t, err
			}
			t.Files++
			t.Bytes += int64(len(before))
		}
	}
	return t, nil
}

// File is a regular file of a tree.
type File struct {
	Path string // relative
	Size int64
}

// Files lists the regular files of a tree, the largest first.
func Files(root string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		files = append(files, File{rel, info.Size()})
		return err
	})
	sort.Slice(files, func(i, j int) bool {
		a, b := files[i], files[j]
		return a.Size > b.Size || a.Size == b.Size && a.Path < b.Path
	})
	return files, err
}

// BiggestDir returns the directory right below root that holds the most bytes,
// and how many; "" if there is none.
func BiggestDir(root string) (name string, bytes int64, err error) {
	files, err := Files(root)
	sums := map[string]int64{}
	for _, f := range files {
		if dir, _, below := strings.Cut(f.Path, string(filepath.Separator)); below {
			sums[dir] += f.Size
		}
	}
	for dir, n := range sums {
		if n > bytes || n == bytes && dir < name {
			name, bytes = dir, n
		}
	}
	return name, bytes, err
}

// Compare reports the first difference between two trees in names, types, modes,
// symlink targets or bytes; nil if there is none.
func Compare(a, b string) error {
	seen := map[string]bool{}
	err := filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(a, path)
		if err != nil || rel == "." {
			return err
		}
		seen[rel] = true
		return compareEntry(rel, path, filepath.Join(b, rel))
	})
	if err != nil {
		return err
	}
	return filepath.WalkDir(b, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(b, path)
		if err == nil && rel != "." && !seen[rel] {
			err = fmt.Errorf("%s is only in the second tree", rel)
		}
		return err
	})
}

func compareEntry(rel, a, b string) error {
	x, err := os.Lstat(a)
	if err != nil {
		return err
	}
	y, err := os.Lstat(b)
	if err != nil {
		return err
	}
	if x.Mode() != y.Mode() {
		return fmt.Errorf("%s: mode %v and %v", rel, x.Mode(), y.Mode())
	}
	switch x.Mode().Type() {
	case fs.ModeSymlink:
		s, err := os.Readlink(a)
		if err != nil {
			return err
		}
		t, err := os.Readlink(b)
		if err == nil && s != t {
			err = fmt.Errorf("%s: symlink to %q and %q", rel, s, t)
		}
		return err
	case 0:
		return compareBytes(rel, a, b)
	}
	return nil
}

func compareBytes(rel, a, b string) error {
	x, err := os.ReadFile(a)
	if err != nil {
		return err
	}
	y, err := os.ReadFile(b)
	if err == nil && !bytes.Equal(x, y) {
		err = fmt.Errorf("%s: the bytes differ", rel)
	}
	return err
}
