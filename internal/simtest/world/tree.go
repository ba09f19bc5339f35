package world

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is a directory as a user sees it: what is at each path.
type Tree map[string]File

// File is one file, directory or symlink.
type File struct {
	Kind  string // "file", "dir", "link"
	Mode  fs.FileMode
	MTime int64  // nanoseconds; of files only
	Data  string // of a file, or a link's target
}

// ReadTree reads a real directory.
func ReadTree(dir string) (Tree, error) {
	t := Tree{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		f := File{Kind: "file", Mode: info.Mode().Perm()}
		switch {
		case d.IsDir():
			f.Kind = "dir"
		case d.Type() == fs.ModeSymlink:
			f.Kind, f.Mode = "link", 0
			f.Data, err = os.Readlink(path)
		default:
			var b []byte
			b, err = os.ReadFile(path)
			f.Data, f.MTime = string(b), info.ModTime().UnixNano()
		}
		t[filepath.ToSlash(name)] = f
		return err
	})
	return t, err
}

// Below returns what is under a prefix, "" or "dir/".
func (t Tree) Below(prefix string) Tree {
	out := Tree{}
	for name, f := range t {
		if strings.HasPrefix(name, prefix) {
			out[name] = f
		}
	}
	return out
}

// Diff tells how got differs from t, a line for each path; nil if it does not.
func (t Tree) Diff(got Tree) []string {
	var out []string
	for name, want := range t {
		g, ok := got[name]
		switch {
		case !ok:
			out = append(out, name+": missing")
		case g.Kind != want.Kind || g.Mode != want.Mode || g.MTime != want.MTime:
			out = append(out, fmt.Sprintf("%s: %s %v %d, want %s %v %d", name, g.Kind, g.Mode, g.MTime, want.Kind, want.Mode, want.MTime))
		case g.Data != want.Data:
			out = append(out, fmt.Sprintf("%s: other bytes (%d, want %d)", name, len(g.Data), len(want.Data)))
		}
	}
	for name := range got {
		if _, ok := t[name]; !ok {
			out = append(out, name+": should not be there")
		}
	}
	slices.Sort(out)
	return out
}
