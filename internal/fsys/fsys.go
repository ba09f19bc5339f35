// Package fsys is the only door to users' files: everything that reads or
// writes inside a synced root or a restore target goes through a Tree or a
// Target, so that nothing outside the root is ever touched (I12) and tests can
// inject faults.
//
// Paths are relative to the root, slash-separated raw bytes, "" is the root
// itself; no component is ever followed if it is a symlink. What it does not
// promise: that a file keeps its bytes while it is read, and, elsewhere than on
// Linux, a Target.
//
// Read fsys.go (the contract), path.go (the lexical check), linux.go, then
// target_linux.go. Package fsystest wraps a Tree to count and to fail.
package fsys

import "io"

// Type of a directory entry.
type Type uint8

// The types; Other is a FIFO, socket or device and is never opened.
const (
	Other Type = iota
	Regular
	Directory
	Symlink
)

// Info is what lstat tells about a file. Times are nanoseconds since 1970.
type Info struct {
	Type     Type
	Mode     uint32 // permission bits and sticky, setuid and setgid masked
	Dev, Ino uint64 // 0 where the file system does not tell
	Links    uint64
	Size     int64
	Blocks   int64 // 512-byte blocks allocated; fewer than Size/512 means holes
	MTimeNS  int64
	CTimeNS  int64
	BirthNS  int64 // 0 where the file system does not tell
}

// Entry is one name in a directory.
type Entry struct {
	Name string
	Info Info
	Err  error // the entry could not be examined; Info is zero
}

// Tree reads a synced root.
type Tree interface {
	// ReadDir lists a directory with the Info of each entry, sorted by the
	// bytes of the names. An entry that vanished meanwhile is left out.
	ReadDir(dir string) ([]Entry, error)
	// Lstat examines one path without following it.
	Lstat(path string) (Info, error)
	// Open opens a regular file for reading, without following a symlink and
	// without blocking on anything else; other types give an error.
	Open(path string) (File, error)
	// Readlink returns a symlink's target.
	Readlink(path string) (string, error)
	Close() error
}

// File is an open regular file.
type File interface {
	io.Reader
	io.ReaderAt
	Stat() (Info, error)
	// NextData returns the offset of the next data at or after off, and where
	// that data ends (a hole follows, or the end of the file). At the end it
	// returns (size, size, nil). File systems without holes return (off, size).
	NextData(off int64) (start, end int64, err error)
	Close() error
}

// Meta is what a restored entry is given.
type Meta struct {
	Mode    uint32
	MTimeNS int64
}

// Target writes below a root: what restore (and later two-way sync) needs.
type Target interface {
	Tree
	// Mkdir makes a directory, 0700 until SetMeta; one that exists is kept.
	Mkdir(path string) error
	// Replace puts a regular file at path: fill writes to a temporary file in
	// the same directory (created with the given size as one hole), which then
	// gets its meta and takes path's name by rename. An error of fill comes back
	// as it is, and nothing is left behind. A directory at path is never replaced
	// (KindExists).
	//
	// A file that takes the place of another is on the disk before it does: a
	// crash leaves the one or the other, whole. A file under a new name is not
	// waited for: after a crash it may be there in part, until Sync has returned.
	Replace(path string, size int64, meta Meta, fill func(w io.WriterAt) error) error
	// Symlink puts a symlink at path by rename, replacing a file or symlink.
	Symlink(path, target string, mtimeNS int64) error
	// SetMeta sets mode and modification time of a directory or file, even one
	// whose mode lets nobody open it.
	SetMeta(path string, meta Meta) error
	// SyncDir makes the names in a directory durable.
	SyncDir(path string) error
	// Sync makes durable all that was written before it, names and bytes. It
	// waits for the whole file system (syncfs), once instead of for every file.
	Sync() error
}
