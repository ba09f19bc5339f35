package pebblefs

import (
	"errors"
	"io/fs"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// MkdirAll makes dir and those of its parents that are missing, and makes all
// their names durable. A directory that exists is kept as it is. (Pebble does the
// same for a directory that it makes itself, and stops at the first parent that
// is there: whoever makes the directory before must do it for Pebble.)
func MkdirAll(fsys vfs.FS, dir string, perm os.FileMode) error {
	names := []string{dir} // missing, the deepest first, then the parent that is there
	for at := dir; ; {
		parent := fsys.PathDir(at)
		_, err := fsys.Stat(at)
		if err == nil || parent == at {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		names = append(names, parent)
		at = parent
	}
	if err := fsys.MkdirAll(dir, perm); err != nil {
		return err
	}
	for _, name := range names[1:] {
		if err := syncDir(fsys, name); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, name string) error {
	d, err := fsys.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
