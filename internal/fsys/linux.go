//go:build linux

package fsys

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"sendonce"
)

// tree is a Tree and a Target over a directory descriptor. Each path is opened
// by the kernel with openat2(2) below it, which refuses symlinks in every
// component and anything that leads out.
type tree struct {
	fd     int
	name   string
	dev    uint64 // of the root
	closed atomic.Bool
}

var _ Target = (*tree)(nil)

// OpenTree opens a root for reading. Its path may go through symlinks; what lies
// below may not.
func OpenTree(dir string) (Tree, error) { return open(dir) }

// OpenTarget opens a root for writing; the directory is made if it is not there.
func OpenTarget(dir string) (Target, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, wrap("make directory", dir, err)
	}
	return open(dir)
}

func open(dir string) (*tree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, wrap("open", dir, err)
	}
	info, err := statAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		unix.Close(fd)
		return nil, wrap("open", dir, err)
	}
	return &tree{fd: fd, name: dir, dev: info.Dev}, nil
}

// Close closes the root. A second call does nothing: the number may belong to
// somebody else by then.
func (t *tree) Close() error {
	if t.closed.Swap(true) {
		return nil
	}
	return wrap("close", t.name, unix.Close(t.fd))
}

// noOpenat2 remembers that the kernel (before 5.6, or a filter) lacks it.
var noOpenat2 atomic.Bool

// maxAgain bounds how often an open is repeated that the kernel could not decide.
const maxAgain = 100

// openat opens a path below the root without following any symlink.
func (t *tree) openat(path string, flags int, mode uint32) (int, error) {
	if err := check(path); err != nil {
		return -1, err
	}
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	if path == "" {
		path = "."
	}
	again := 0
	for !noOpenat2.Load() {
		fd, err := unix.Openat2(t.fd, path, &unix.OpenHow{Flags: uint64(flags), Mode: uint64(mode), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN && again < maxAgain: // a rename raced with us; or somebody has a lease on the file
			again++
			continue
		case err == unix.ENOSYS:
			noOpenat2.Store(true)
			continue
		case err == unix.EPERM, // a filter's way to say ENOSYS, or the truth
			err == unix.ENAMETOOLONG: // the kernel counts a NUL to the 4096 bytes of a path
			return t.walk(path, flags, mode)
		}
		return fd, err
	}
	return t.walk(path, flags, mode)
}

// walk is openat for kernels without openat2: component by component.
func (t *tree) walk(path string, flags int, mode uint32) (int, error) {
	at := t.fd
	for {
		part, rest, more := strings.Cut(path, "/")
		if !more {
			fd, err := openOne(at, part, flags, mode)
			if at != t.fd {
				unix.Close(at)
			}
			return fd, err
		}
		next, err := openOne(at, part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if at != t.fd {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, path = next, rest
	}
}

// openOne opens one name in a directory; a symlink gives ELOOP whatever the flags.
func openOne(at int, name string, flags int, mode uint32) (fd int, err error) {
	for {
		if fd, err = unix.Openat(at, name, flags, mode); err != unix.EINTR {
			break
		}
	}
	if err == unix.ENOTDIR { // O_DIRECTORY says this of a symlink too
		if info, e := statAt(at, name, 0); e == nil && info.Type == Symlink {
			err = unix.ELOOP
		}
	}
	if err == nil && flags&unix.O_PATH != 0 && flags&unix.O_DIRECTORY == 0 { // O_PATH opens the symlink itself
		if info, e := statAt(fd, "", unix.AT_EMPTY_PATH); e != nil || info.Type == Symlink {
			unix.Close(fd)
			return -1, errors.Join(e, unix.ELOOP)
		}
	}
	return fd, err
}

// parent opens the directory that holds a path.
func (t *tree) parent(path string) (fd int, name string, err error) {
	if err := check(path); err != nil {
		return -1, "", err
	}
	dir, name := split(path)
	if name == "" {
		return -1, "", &sendonce.Error{Op: "open", Path: t.name, Kind: sendonce.KindInvalid, Detail: "the root itself cannot be written"}
	}
	fd, err = t.openat(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	return fd, name, err
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

func statAt(fd int, name string, flags int) (Info, error) {
	var st unix.Statx_t
	for {
		err := unix.Statx(fd, name, flags|unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, statMask, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Info{}, err
		}
		break
	}
	ns := func(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }
	i := Info{Mode: uint32(st.Mode) & sendonce.MaxMode, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino, Links: uint64(st.Nlink),
		Size: int64(st.Size), Blocks: int64(st.Blocks), MTimeNS: ns(st.Mtime), CTimeNS: ns(st.Ctime)}
	if st.Mask&unix.STATX_BTIME != 0 {
		i.BirthNS = ns(st.Btime)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		i.Type = Regular
	case unix.S_IFDIR:
		i.Type = Directory
	case unix.S_IFLNK:
		i.Type = Symlink
	}
	return i, nil
}

// direntBuffers recycles the buffers of ReadDir.
var direntBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func (t *tree) ReadDir(dir string) ([]Entry, error) {
	fd, err := t.openat(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, wrap("list", dir, err)
	}
	defer unix.Close(fd)
	buf := direntBuffers.Get().(*[]byte)
	defer direntBuffers.Put(buf)
	var names []string
	for {
		n, err := unix.ReadDirent(fd, *buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, wrap("list", dir, err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent((*buf)[:n], -1, names)
	}
	slices.Sort(names)
	out := make([]Entry, 0, len(names))
	for _, name := range names {
		info, err := statAt(fd, name, 0)
		if errors.Is(err, unix.ENOENT) { // gone between the listing and now
			continue
		}
		out = append(out, Entry{Name: name, Info: info, Err: wrap("examine", name, err)})
	}
	return out, nil
}

func (t *tree) Lstat(path string) (Info, error) {
	if path == "" {
		info, err := statAt(t.fd, "", unix.AT_EMPTY_PATH)
		return info, wrap("examine", t.name, err)
	}
	fd, name, err := t.parent(path)
	if err != nil {
		return Info{}, wrap("examine", path, err)
	}
	defer unix.Close(fd)
	info, err := statAt(fd, name, 0)
	return info, wrap("examine", path, err)
}

func (t *tree) Readlink(path string) (string, error) {
	fd, name, err := t.parent(path)
	if err != nil {
		return "", wrap("read link", path, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, sendonce.MaxTarget+1)
	n, err := unix.Readlinkat(fd, name, buf)
	if err != nil {
		return "", wrap("read link", path, err)
	}
	if n > sendonce.MaxTarget {
		return "", &sendonce.Error{Op: "read link", Path: path, Kind: sendonce.KindLimit, Detail: "the target is longer than the limit of 4096 bytes"}
	}
	return string(buf[:n]), nil
}

func (t *tree) Open(path string) (File, error) {
	// O_NONBLOCK: a FIFO that took the file's place must not hang us.
	fd, err := t.openat(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		if err == unix.ENXIO { // what the kernel says of a socket
			return nil, notRegular(path)
		}
		return nil, wrap("open", path, err)
	}
	f := &file{fd: fd, path: path}
	info, err := f.Stat()
	if err == nil && info.Type != Regular {
		err = notRegular(path)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return f, nil
}

func notRegular(path string) error {
	return &sendonce.Error{Op: "open", Path: path, Kind: sendonce.KindInvalid, Detail: "not a regular file"}
}

// file is an open regular file. A plain descriptor: os.File would register it
// with the runtime's poller, which regular files do not need.
type file struct {
	fd   int
	path string
	off  int64
}

func (f *file) Close() error {
	if f.fd < 0 {
		return nil
	}
	fd := f.fd
	f.fd = -1 // later calls give EBADF, not another's file
	return wrap("close", f.path, unix.Close(fd))
}

func (f *file) Stat() (Info, error) {
	info, err := statAt(f.fd, "", unix.AT_EMPTY_PATH)
	return info, wrap("examine", f.path, err)
}

func (f *file) Read(p []byte) (int, error) {
	n, err := f.pread(p, f.off)
	f.off += int64(n)
	return n, err
}

func (f *file) pread(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Pread(f.fd, p, off)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, wrap("read", f.path, err)
		}
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	var done int
	for done < len(p) {
		n, err := f.pread(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (f *file) NextData(off int64) (start, end int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	if off >= info.Size {
		return info.Size, info.Size, nil
	}
	if info.Blocks*512 >= info.Size { // no holes: do not ask for each
		return off, info.Size, nil
	}
	start, err = unix.Seek(f.fd, off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // a hole up to the end
		return info.Size, info.Size, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOTSUP):
		return off, info.Size, nil
	case err != nil:
		return 0, 0, wrap("find data", f.path, err)
	}
	end, err = unix.Seek(f.fd, start, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) { // cut short meanwhile
		return info.Size, info.Size, nil
	}
	if err != nil {
		return 0, 0, wrap("find data", f.path, err)
	}
	return start, end, nil
}
