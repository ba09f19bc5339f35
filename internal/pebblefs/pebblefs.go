// Package pebblefs makes the names that a Pebble database rests on safe on
// filesystems that do not keep the order of names: those of its directory
// (MkdirAll) and of its manifest (FS).
//
// Pebble says which manifest counts by the name of a file, "marker.manifest.N.NAME",
// and syncs the directory after it has made both the manifest and the marker. A
// crash before that sync may leave the marker without the manifest, and then the
// database does not open. FS syncs the directory before each marker is made, so
// that a marker never names what is not there.
//
// It does not promise anything about the order of other names: Pebble syncs the
// directory itself where it needs that.
package pebblefs

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a vfs.FS that keeps markers behind what they name. Use Ordered.
type FS struct{ vfs.FS }

// Ordered wraps a filesystem for Pebble. A sync that fails fails the creation of
// the marker, which Pebble reports as fatal.
func Ordered(fs vfs.FS) *FS { return &FS{fs} }

// Create implements vfs.FS.
func (f *FS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(f.PathBase(name), "marker.") {
		if err := syncDir(f, f.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return f.FS.Create(name, c)
}

// Unwrap implements vfs.FS.
func (f *FS) Unwrap() vfs.FS { return f.FS }
