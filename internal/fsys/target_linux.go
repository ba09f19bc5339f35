package fsys

import (
	"errors"
	"fmt"
	"io"

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

// tempName returns a name that no other writer of this process has.
func (t *tree) tempName() string {
	return fmt.Sprintf("%s%d-%d", tempPrefix, unix.Getpid(), t.temp.Add(1))
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
	temp := t.tempName()
	fd, err := unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EEXIST) { // left by a crash of a process that had our number
		if err = unix.Unlinkat(dir, temp, 0); err == nil {
			fd, err = unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		}
	}
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
	if err := unix.Fsync(fd); err != nil {
		return wrap("sync", path, err)
	}
	err = unix.Close(fd)
	fd = -1
	if err != nil {
		return wrap("close", path, err)
	}
	return wrap("rename", path, unix.Renameat(dir, temp, dir, name))
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
		err = unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), ts, 0)
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
	temp := t.tempName()
	_ = unix.Unlinkat(dir, temp, 0) // a leftover of a crash, if any
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

func (t *tree) SetMeta(path string, meta Meta) error {
	fd, err := t.openat(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return wrap("set mode", path, err)
	}
	defer unix.Close(fd)
	return wrap("set mode", path, setMeta(fd, meta))
}

func (t *tree) SyncDir(path string) error {
	fd, err := t.openat(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return wrap("sync", path, err)
	}
	defer unix.Close(fd)
	return wrap("sync", path, unix.Fsync(fd))
}
