package fsys

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"

	"sendonce"
)

// FuzzCheck: what passes stays below the root, whoever joins it, and is taken
// apart as it was put together.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "..", "../a", "a/..", "a/../..", "/", "/a", "a/", "a//b", ".", "./a", "a/.", "...", "a\x00", strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("a/", 2048)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := check(s); err != nil {
			if k := sendonce.KindOf(err); k != sendonce.KindInvalid && k != sendonce.KindLimit {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		if s == "" {
			return
		}
		if len(s) > sendonce.MaxPath || path.Join("/r", s) != "/r/"+s || strings.Contains(s, "\x00") {
			t.Fatalf("%q passed", s)
		}
		dir, name := split(s)
		if sendonce.CheckName(name) != nil || check(dir) != nil || strings.TrimPrefix(dir+"/"+name, "/") != s {
			t.Fatalf("%q is split into %q and %q", s, dir, name)
		}
	})
}

func TestWrap(t *testing.T) {
	if wrap("x", "y", nil) != nil {
		t.Error("no error became one")
	}
	for err, kind := range map[error]sendonce.ErrKind{
		syscall.ENOSPC: sendonce.KindFull, syscall.EDQUOT: sendonce.KindFull, syscall.EACCES: sendonce.KindUnauthorized, syscall.EPERM: sendonce.KindUnauthorized,
		syscall.ENOENT: sendonce.KindNotFound, syscall.ENOTDIR: sendonce.KindNotFound, syscall.EEXIST: sendonce.KindExists, syscall.EISDIR: sendonce.KindExists,
		syscall.ENAMETOOLONG: sendonce.KindLimit, syscall.ELOOP: sendonce.KindInvalid, syscall.EXDEV: sendonce.KindInvalid, syscall.EAGAIN: sendonce.KindBusy,
		syscall.EIO: sendonce.KindInternal, fs.ErrNotExist: sendonce.KindNotFound,
	} {
		got := wrap("op", "path", err)
		if sendonce.KindOf(got) != kind || !strings.HasPrefix(got.Error(), "op: path: ") {
			t.Errorf("%v: %v (%v), want %v", err, got, sendonce.KindOf(got), kind)
		}
	}
	inner := &sendonce.Error{Op: "in", Kind: sendonce.KindBusy}
	if got := wrap("out", "path", inner); !errors.Is(got, inner) || got.Error() != inner.Error() {
		t.Errorf("said twice: %v", got)
	}
}

func TestIsTemp(t *testing.T) {
	if !IsTemp(tempPrefix+"1") || IsTemp("a"+tempPrefix) || IsTemp("") {
		t.Error("IsTemp")
	}
}
