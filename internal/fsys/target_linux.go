package fsys

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sendonce"
)

func (t *tree) Mkdir(path string) error {
	fd, name, err := t.parent(path)
	if err != nil {
		return wrap("make directory", path, err)
	}
	defer unix.Close(fd)
	err = unix.Mkdirat(fd, name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		info, e := statAt(fd, name, 0)
		if e == nil && info.Type == Directory {
			return nil
		}
		return &sendonce.Error{Op: "make directory", Path: path, Kind: sendonce.KindExists, Detail: "something else has this name", Hint: "move it away, or restore to an empty directory"}
	}
	return wrap("make directory", path, err)
}

// temps numbers the temporary files of this process, whichever Target they are of.
var temps atomic.Uint64

// began tells this process from an earlier one that had the same number.
var began = time.Now().UnixNano()

// tempName returns a name that no other writer has. What a crash left behind is
// never taken for one's own, and IsTemp knows it.
func tempName() string {
	return fmt.Sprintf("%s%x-%x-%x", tempPrefix, unix.Getpid(), began, temps.Add(1))
}

// replaceable refuses to put a file where a directory is.
func replaceable(fd int, name, path string) error {
	info, err := statAt(fd, name, 0)
	if err == nil && info.Type == Directory {
		return &sendonce.Error{Op: "write", Path: path, Kind: sendonce.KindExists, Detail: "a directory has this name", Hint: "move it away, or restore to an empty directory"}
	}
	return nil
}

func (t *tree) Replace(path string, size int64, meta Meta, fill func(io.WriterAt) error) (err error) {
	dir, name, err := t.parent(path)
	if err != nil {
		return wrap("write", path, err)
	}
	defer unix.Close(dir)
	if err := replaceable(dir, name, path); err != nil {
		return err
	}
	temp := tempName()
	fd, err := unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return wrap("write", path, err)
	}
	defer func() {
		if fd >= 0 {
			unix.Close(fd)
		}
		if err != nil {
			_ = unix.Unlinkat(dir, temp, 0) // best effort: a leftover is recognised by IsTemp
		}
	}()
	if err := unix.Ftruncate(fd, size); err != nil {
		return wrap("write", path, err)
	}
	if err := fill(&writer{fd: fd, path: path}); err != nil {
		return err
	}
	if err := setMeta(fd, meta); err != nil {
		return wrap("write", path, err)
	}
	// A new name waits for Sync, unless that would not reach it.
	if info, e := statAt(fd, "", unix.AT_EMPTY_PATH); e == nil && info.Dev == t.dev {
		err := unix.Renameat2(dir, temp, dir, name, unix.RENAME_NOREPLACE)
		if err == nil {
			return nil
		}
		if err != unix.EEXIST && err != unix.EINVAL && err != unix.ENOSYS { // the latter two: this file system or kernel cannot
			return wrap("rename", path, err)
		}
	}
	if err := fsync(fd); err != nil {
		return wrap("sync", path, err)
	}
	err = unix.Close(fd)
	fd = -1
	if err != nil {
		return wrap("close", path, err)
	}
	return wrap("rename", path, unix.Renameat(dir, temp, dir, name))
}

func fsync(fd int) error {
	for {
		if err := unix.Fsync(fd); err != unix.EINTR {
			return err
		}
	}
}

// setMeta sets mode and times of an open file or directory.
func setMeta(fd int, meta Meta) error {
	if err := unix.Fchmod(fd, meta.Mode&sendonce.MaxMode); err != nil {
		return err
	}
	return futimens(fd, times(meta.MTimeNS))
}

// futimens sets times through a descriptor; before Linux 5.8 there is no call
// for that, but /proc has a name for it.
func futimens(fd int, ts []unix.Timespec) error {
	err := unix.UtimesNanoAt(fd, "", ts, unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, procName(fd), ts, 0)
	}
	return err
}

// times sets the modification time and leaves the access time.
func times(mtimeNS int64) []unix.Timespec {
	return []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(mtimeNS)}
}

// writer fills a file that is being written.
type writer struct {
	fd   int
	path string
}

func (w *writer) WriteAt(p []byte, off int64) (int, error) {
	var done int
	for done < len(p) {
		n, err := unix.Pwrite(w.fd, p[done:], off+int64(done))
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, wrap("write", w.path, err)
		}
		done += n
	}
	return done, nil
}

func (t *tree) Symlink(path, target string, mtimeNS int64) error {
	dir, name, err := t.parent(path)
	if err != nil {
		return wrap("make symlink", path, err)
	}
	defer unix.Close(dir)
	if err := replaceable(dir, name, path); err != nil {
		return err
	}
	temp := tempName()
	if err := unix.Symlinkat(target, dir, temp); err != nil {
		return wrap("make symlink", path, err)
	}
	err = unix.UtimesNanoAt(dir, temp, times(mtimeNS), unix.AT_SYMLINK_NOFOLLOW)
	if err == nil {
		err = unix.Renameat(dir, temp, dir, name)
	}
	if err != nil {
		_ = unix.Unlinkat(dir, temp, 0)
	}
	return wrap("make symlink", path, err)
}

// SetMeta needs no permission on the entry itself: owning it is enough, so that
// what has mode 0 can be changed again.
func (t *tree) SetMeta(path string, meta Meta) error {
	fd, err := t.openat(path, unix.O_PATH, 0)
	if err != nil {
		return wrap("set mode", path, err)
	}
	defer unix.Close(fd)
	info, err := statAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return wrap("set mode", path, err)
	}
	if info.Type != Regular && info.Type != Directory {
		return &sendonce.Error{Op: "set mode", Path: path, Kind: sendonce.KindInvalid, Detail: "neither a file nor a directory"}
	}
	if err := chmodPath(fd, meta.Mode&sendonce.MaxMode); err != nil {
		return wrap("set mode", path, err)
	}
	return wrap("set times", path, futimens(fd, times(meta.MTimeNS)))
}

// chmodPath is fchmod for a descriptor opened with O_PATH: a call of its own
// since Linux 6.6, before that by the name that /proc has for it.
func chmodPath(fd int, mode uint32) error {
	err := unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH)
	if err == unix.EOPNOTSUPP || err == unix.EPERM { // the latter: perhaps a filter that does not know the call
		if e := unix.Fchmodat(unix.AT_FDCWD, procName(fd), mode, 0); e != unix.ENOENT {
			return e
		}
	}
	return err
}

func procName(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

func (t *tree) SyncDir(path string) error {
	fd, err := t.openat(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return wrap("sync", path, err)
	}
	defer unix.Close(fd)
	return wrap("sync", path, fsync(fd))
}

func (t *tree) Sync() error { return wrap("sync", t.name, unix.Syncfs(t.fd)) }
