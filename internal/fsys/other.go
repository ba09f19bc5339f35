//go:build !linux

package fsys

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"sendonce"
)

// rootTree is a Tree over os.Root, which keeps every path inside but follows
// symlinks there; so each component is examined first.
type rootTree struct {
	root *os.Root
	name string
}

// OpenTree opens a root for reading. Its path may go through symlinks; what lies
// below may not.
func OpenTree(dir string) (Tree, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, wrap("open", dir, err)
	}
	return &rootTree{root: r, name: dir}, nil
}

// OpenTarget gives an error (KindUnsupported): writing a root is for Linux only.
func OpenTarget(dir string) (Target, error) {
	return nil, &sendonce.Error{Op: "open", Path: dir, Kind: sendonce.KindUnsupported, Detail: "this platform can push but not restore", Hint: "restore on Linux"}
}

func (t *rootTree) Close() error { return wrap("close", t.name, t.root.Close()) }

// at checks a path and that no component but the last is a symlink. Between this
// look and the use of the path a directory may become a symlink; os.Root then
// still keeps it inside.
func (t *rootTree) at(path string) (string, error) {
	if err := check(path); err != nil {
		return "", err
	}
	for i := range path {
		if path[i] != '/' {
			continue
		}
		info, err := t.root.Lstat(path[:i])
		if err != nil {
			return "", wrap("open", path, err)
		}
		if !info.IsDir() {
			return "", &sendonce.Error{Op: "open", Path: path, Kind: sendonce.KindNotFound, Detail: "a symlink or file is in the way"}
		}
	}
	if path == "" {
		return ".", nil
	}
	return path, nil
}

func infoOf(fi fs.FileInfo) Info {
	i := Info{Mode: uint32(fi.Mode().Perm()), Size: fi.Size(), Blocks: (fi.Size() + 511) / 512, Links: 1, MTimeNS: fi.ModTime().UnixNano()}
	if fi.Mode()&fs.ModeSticky != 0 {
		i.Mode |= 0o1000
	}
	switch fi.Mode().Type() {
	case 0:
		i.Type = Regular
	case fs.ModeDir:
		i.Type = Directory
	case fs.ModeSymlink:
		i.Type = Symlink
	}
	fill(&i, fi)
	return i
}

func (t *rootTree) ReadDir(dir string) ([]Entry, error) {
	name, err := t.at(dir)
	if err != nil {
		return nil, err
	}
	if info, err := t.root.Lstat(name); err != nil || !info.IsDir() {
		if err == nil {
			err = fs.ErrNotExist
		}
		return nil, wrap("list", dir, err)
	}
	f, err := t.root.Open(name)
	if err != nil {
		return nil, wrap("list", dir, err)
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	if err != nil {
		return nil, wrap("list", dir, err)
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	out := make([]Entry, 0, len(list))
	for _, d := range list {
		full := d.Name()
		if dir != "" {
			full = dir + "/" + full
		}
		fi, err := t.root.Lstat(full)
		switch {
		case err == nil:
			out = append(out, Entry{Name: d.Name(), Info: infoOf(fi)})
		case !os.IsNotExist(err): // else it is gone between the listing and now
			out = append(out, Entry{Name: d.Name(), Err: wrap("examine", d.Name(), err)})
		}
	}
	return out, nil
}

func (t *rootTree) Lstat(path string) (Info, error) {
	name, err := t.at(path)
	if err != nil {
		return Info{}, err
	}
	fi, err := t.root.Lstat(name)
	if err != nil {
		return Info{}, wrap("examine", path, err)
	}
	return infoOf(fi), nil
}

func (t *rootTree) Readlink(path string) (string, error) {
	name, err := t.at(path)
	if err != nil {
		return "", err
	}
	s, err := t.root.Readlink(name)
	if err == nil && len(s) > sendonce.MaxTarget {
		return "", &sendonce.Error{Op: "read link", Path: path, Kind: sendonce.KindLimit, Detail: "the target is longer than the limit of 4096 bytes"}
	}
	return s, wrap("read link", path, err)
}

func (t *rootTree) Open(path string) (File, error) {
	name, err := t.at(path)
	if err != nil {
		return nil, err
	}
	before, err := t.root.Lstat(name)
	if err != nil {
		return nil, wrap("open", path, err)
	}
	if !before.Mode().IsRegular() {
		return nil, &sendonce.Error{Op: "open", Path: path, Kind: sendonce.KindInvalid, Detail: "not a regular file"}
	}
	f, err := t.root.Open(name)
	if err != nil {
		return nil, wrap("open", path, err)
	}
	after, err := f.Stat()
	if err == nil && !os.SameFile(before, after) {
		err = &sendonce.Error{Op: "open", Path: path, Kind: sendonce.KindBusy, Detail: "it was replaced while it was being opened"}
	}
	if err != nil {
		f.Close()
		return nil, wrap("open", path, err)
	}
	return &rootFile{f: f, path: path}, nil
}

type rootFile struct {
	f    *os.File
	path string
}

func (f *rootFile) Close() error { return wrap("close", f.path, f.f.Close()) }

func (f *rootFile) Read(p []byte) (int, error) {
	n, err := f.f.Read(p)
	return n, f.read(err)
}

func (f *rootFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	return n, f.read(err)
}

func (f *rootFile) read(err error) error {
	if err == io.EOF {
		return err
	}
	return wrap("read", f.path, err)
}

func (f *rootFile) Stat() (Info, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return Info{}, wrap("examine", f.path, err)
	}
	return infoOf(fi), nil
}

func (f *rootFile) NextData(off int64) (start, end int64, err error) {
	info, err := f.Stat()
	return min(off, info.Size), info.Size, err
}
