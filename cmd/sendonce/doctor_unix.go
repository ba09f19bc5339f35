//go:build unix

package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sendonce"
	"sendonce/cmd/sendonce/internal/human"
	"sendonce/daemon"
)

// lowSpace is the free space, in bytes, below which the state may soon not be
// writable; noSpace is where its database refuses to write.
const (
	lowSpace = 256 << 20
	noSpace  = 32 << 20
)

// udpBuffer is the size of socket buffer that quic-go asks for.
const udpBuffer = 7 << 20

// checkMachine looks at limits of the machine: disk space everywhere, inotify
// and UDP buffers where /proc tells them.
func checkMachine(ctx context.Context, stateDir string, s *daemon.Status) []finding {
	findings := []finding{checkSpace(stateDir)}
	if runtime.GOOS != "linux" {
		return findings
	}
	return append(findings, checkInotify(ctx, s), checkUDP())
}

// checkSpace measures the file system of the state directory, or of the nearest
// directory above it that exists.
func checkSpace(dir string) finding {
	const check = "disk space"
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return failed(check, &sendonce.Error{Op: "statfs", Path: dir, Kind: sendonce.KindInternal, Err: err})
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	switch {
	case free < noSpace:
		return failed(check, &sendonce.Error{Path: dir, Kind: sendonce.KindFull, Detail: human.Bytes(free) + " free", Hint: "free some space"})
	case free < lowSpace:
		return warning(check, "free some space", "%s free in %s", human.Bytes(free), dir)
	}
	return ok(check, "%s free in %s", human.Bytes(free), dir)
}

// checkInotify compares the limit with the directories that a daemon watches.
func checkInotify(ctx context.Context, s *daemon.Status) finding {
	const check = "inotify"
	limit, err := readNumber("/proc/sys/fs/inotify/max_user_watches")
	if err != nil {
		return failed(check, err)
	}
	var dirs int64
	if s != nil {
		for _, f := range s.Folders {
			n, err := countDirs(ctx, f.Dir)
			if err != nil {
				return failed(check, err)
			}
			dirs += n
		}
	}
	const hint = "raise fs.inotify.max_user_watches with sysctl; without watches changes are found by scanning"
	switch {
	case dirs > limit:
		return warning(check, hint, "%s attached, %s can be watched", human.Plural(dirs, "directory"), human.Count(limit))
	case dirs > limit/4*3:
		return warning(check, hint, "%s attached, nearly the limit of %s", human.Plural(dirs, "directory"), human.Count(limit))
	}
	return ok(check, "%s attached, %s can be watched", human.Plural(dirs, "directory"), human.Count(limit))
}

// countDirs counts directories; those that cannot be read are not watched either.
func countDirs(ctx context.Context, root string) (n int64, err error) {
	err = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && d.IsDir() {
			n++
		}
		return nil
	})
	return n, err
}

func checkUDP() finding {
	const check = "UDP buffers"
	read, err := readNumber("/proc/sys/net/core/rmem_max")
	if err != nil {
		return failed(check, err)
	}
	write, err := readNumber("/proc/sys/net/core/wmem_max")
	if err != nil {
		return failed(check, err)
	}
	if min(read, write) < udpBuffer {
		return warning(check, "for full speed set net.core.rmem_max and net.core.wmem_max to 7500000 with sysctl",
			"at most %s to receive, %s to send", human.Bytes(read), human.Bytes(write))
	}
	return ok(check, "%s to receive, %s to send", human.Bytes(read), human.Bytes(write))
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, &sendonce.Error{Op: "read limit", Kind: sendonce.KindInternal, Err: err}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, &sendonce.Error{Op: "read limit", Path: path, Kind: sendonce.KindInternal, Err: err}
	}
	return n, nil
}
