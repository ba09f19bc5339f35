//go:build linux

package fsys

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sendonce"
)

func openDir(t testing.TB) (*tree, string) {
	t.Helper()
	dir := t.TempDir()
	tr, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := fds(t)
	t.Cleanup(func() {
		if after := fds(t); after != before {
			t.Errorf("%d descriptors were open, now %d", before, after)
		}
		if err := errors.Join(tr.Close(), tr.Close()); err != nil {
			t.Error(err)
		}
	})
	return tr, dir
}

// fds counts this process's descriptors; tests of this package do not run in
// parallel.
func fds(t testing.TB) int {
	t.Helper()
	es, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(es)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, data string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(data), 0o644))
}

func wantKind(t testing.TB, err error, kind sendonce.ErrKind) {
	t.Helper()
	if err == nil || sendonce.KindOf(err) != kind {
		t.Errorf("error %v (%v), want %v", err, sendonce.KindOf(err), kind)
	}
}

// bothWays runs a test with openat2 and with the walk for old kernels.
func bothWays(t *testing.T, fn func(t *testing.T)) {
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("walk=%v", old), func(t *testing.T) {
			was := noOpenat2.Swap(old)
			defer noOpenat2.Store(was)
			fn(t)
		})
	}
}

func TestAnyName(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, dir := openDir(t)
		var want []string
		for b := 1; b < 256; b++ {
			if b != '/' && b != '.' {
				want = append(want, string([]byte{byte(b)}))
			}
		}
		want = append(want, strings.Repeat("n", 255), "...", "..a", "a\nb", "\xed\xa0\x80")
		for _, n := range want {
			write(t, filepath.Join(dir, n), n)
		}
		slices.Sort(want)
		es, err := tr.ReadDir("")
		must(t, err)
		var got []string
		for _, e := range es {
			got = append(got, e.Name)
			if e.Err != nil || e.Info.Type != Regular || e.Info.Size != int64(len(e.Name)) || e.Info.Mode != 0o644 || e.Info.Ino == 0 || e.Info.MTimeNS == 0 || e.Info.Links != 1 {
				t.Errorf("%q: %+v", e.Name, e)
			}
			f, err := tr.Open(e.Name)
			must(t, err)
			data, err := io.ReadAll(f)
			must(t, err)
			info, err := f.Stat()
			if err != nil || string(data) != e.Name || info != e.Info {
				t.Errorf("%q: read %q, %+v, %v", e.Name, data, info, err)
			}
			must(t, errors.Join(f.Close(), f.Close()))
			if _, err := f.Stat(); err == nil {
				t.Error("a closed file can be examined")
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("names %q, want %q", got, want)
		}
	})
}

func TestLongPaths(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, _ := openDir(t)
		path := ""
		for len(path)+512 < sendonce.MaxPath {
			path = strings.TrimPrefix(path+"/"+strings.Repeat("d", 255), "/")
			must(t, tr.Mkdir(path))
		}
		path += "/" + strings.Repeat("e", 100)
		must(t, tr.Mkdir(path))
		path += "/" + strings.Repeat("f", sendonce.MaxPath-len(path)-1)
		if len(path) != sendonce.MaxPath {
			t.Fatal(len(path))
		}
		must(t, tr.Replace(path, 0, Meta{Mode: 0o600}, func(io.WriterAt) error { return nil }))
		f, err := tr.Open(path)
		must(t, err)
		must(t, f.Close())
		_, err = tr.Lstat(path)
		must(t, err)
		_, err = tr.Lstat(path + "x")
		wantKind(t, err, sendonce.KindLimit)
		deep := strings.TrimSuffix(strings.Repeat("x/", 700), "/")
		for i := 1; i <= len(deep); i += 2 {
			must(t, tr.Mkdir(deep[:i]))
		}
		es, err := tr.ReadDir(deep)
		if err != nil || len(es) != 0 {
			t.Errorf("%d entries, %v", len(es), err)
		}
	})
}

func TestHoles(t *testing.T) {
	tr, dir := openDir(t)
	const mb = 1 << 20
	data := bytes.Repeat([]byte{7}, 64<<10)
	must(t, tr.Replace("h", 4*mb, Meta{Mode: 0o640, MTimeNS: 1}, func(w io.WriterAt) error {
		_, err := w.WriteAt(data, mb)
		return err
	}))
	f, err := tr.Open("h")
	must(t, err)
	defer f.Close()
	info, err := f.Stat()
	must(t, err)
	if info.Size != 4*mb || info.Blocks*512 > mb {
		t.Fatalf("%+v: the holes were filled", info)
	}
	start, end, err := f.NextData(0)
	if err != nil || start != mb || end != mb+int64(len(data)) {
		t.Errorf("data %d-%d, %v", start, end, err)
	}
	start, end, err = f.NextData(end)
	if err != nil || start != 4*mb || end != 4*mb {
		t.Errorf("at the end: %d-%d, %v", start, end, err)
	}
	// Looking for data moves no position.
	got, err := io.ReadAll(f)
	if err != nil || len(got) != 4*mb || !bytes.Equal(got[mb:mb+len(data)], data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	write(t, filepath.Join(dir, "plain"), "abc")
	g, err := tr.Open("plain")
	must(t, err)
	defer g.Close()
	for _, c := range [][3]int64{{0, 0, 3}, {2, 2, 3}, {3, 3, 3}, {9, 3, 3}} {
		if start, end, err := g.NextData(c[0]); err != nil || start != c[1] || end != c[2] {
			t.Errorf("from %d: %d-%d, %v", c[0], start, end, err)
		}
	}
	p := make([]byte, 2)
	if n, err := g.ReadAt(p, 2); n != 1 || err != io.EOF {
		t.Errorf("ReadAt the end: %d, %v", n, err)
	}
	if n, err := g.ReadAt(nil, 9); n != 0 || err != nil {
		t.Errorf("ReadAt nothing: %d, %v", n, err)
	}
	if _, err := g.ReadAt(p, -1); err == nil {
		t.Error("ReadAt before the beginning")
	}
}

// Nothing but regular files is opened, and nothing blocks.
func TestOtherTypes(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, dir := openDir(t)
		must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
		l, err := net.Listen("unix", filepath.Join(dir, "sock"))
		must(t, err)
		defer l.Close()
		must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
		must(t, os.Symlink("fifo", filepath.Join(dir, "link")))
		names := []string{"dir", "fifo", "link", "sock"}
		if unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) == nil {
			names = append(names, "null")
		}
		for _, n := range names {
			_, err := tr.Open(n)
			wantKind(t, err, sendonce.KindInvalid)
			info, err := tr.Lstat(n)
			if want := map[string]Type{"dir": Directory, "link": Symlink}[n]; err != nil || info.Type != want {
				t.Errorf("%s: %+v, %v", n, info, err)
			}
			if n != "dir" {
				wantKind(t, tr.SetMeta(n, Meta{}), sendonce.KindInvalid)
				if _, err := tr.ReadDir(n); err == nil {
					t.Errorf("%s was listed", n)
				}
			}
		}
		target, err := tr.Readlink("link")
		if err != nil || target != "fifo" {
			t.Error(target, err)
		}
		_, err = tr.Readlink("fifo")
		if err == nil {
			t.Error("a FIFO has a target")
		}
	})
}

// every calls every method with a path; the result is the first that succeeds.
func every(tr Target, path string) (worked string) {
	note := func(name string, err error) {
		if err == nil && worked == "" {
			worked = name
		}
	}
	_, err := tr.ReadDir(path)
	note("ReadDir", err)
	_, err = tr.Lstat(path)
	note("Lstat", err)
	f, err := tr.Open(path)
	if err == nil {
		f.Close()
	}
	note("Open", err)
	_, err = tr.Readlink(path)
	note("Readlink", err)
	note("Mkdir", tr.Mkdir(path))
	note("Replace", tr.Replace(path, 1, Meta{Mode: 0o600}, func(w io.WriterAt) error {
		_, err := w.WriteAt([]byte("x"), 0)
		return err
	}))
	note("Symlink", tr.Symlink(path, "x", 1))
	note("SetMeta", tr.SetMeta(path, Meta{Mode: 0o777}))
	note("SyncDir", tr.SyncDir(path))
	return worked
}

func TestNoEscape(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, dir := openDir(t)
		out := t.TempDir()
		write(t, filepath.Join(out, "secret"), "s")
		write(t, filepath.Join(dir, "real/secret"), "s")
		for name, target := range map[string]string{"abs": out, "up": "../" + filepath.Base(out), "inside": "real", "loop": "loop", "proc": "/proc/self/root", "dot": "."} {
			must(t, os.Symlink(target, filepath.Join(dir, name)))
			for _, p := range []string{name + "/secret", name + "/new", name + "/a/b"} {
				if m := every(tr, p); m != "" {
					t.Errorf("%s of %s worked through a symlink", m, p)
				}
			}
		}
		for _, p := range []string{"..", "../x", "real/..", "real/../..", "/etc", "/", ".", "real/.", "real/", "real//secret", "a\x00b", "./real", strings.Repeat("a", 256)} {
			if m := every(tr, p); m != "" {
				t.Errorf("%s of %q worked", m, p)
			}
		}
		es, err := os.ReadDir(out)
		if err != nil || len(es) != 1 {
			t.Errorf("outside there is now %v, %v", es, err)
		}
		// The link itself may be replaced; its target is not touched.
		must(t, tr.Replace("abs", 0, Meta{Mode: 0o600}, func(io.WriterAt) error { return nil }))
		if _, err := os.Stat(filepath.Join(out, "secret")); err != nil {
			t.Error(err)
		}
	})
}

// While a directory is swapped with a symlink that leads out, no method reads or
// writes outside.
func TestNoEscapeUnderAttack(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, dir := openDir(t)
		out := t.TempDir()
		write(t, filepath.Join(out, "f"), "outside")
		must(t, os.Chmod(filepath.Join(out, "f"), 0o400))
		write(t, filepath.Join(dir, "d/f"), "inside")
		must(t, os.Symlink(out, filepath.Join(dir, "l")))
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() {
			d, l := filepath.Join(dir, "d"), filepath.Join(dir, "l")
			for {
				select {
				case <-stop:
					return
				default:
					_ = unix.Renameat2(unix.AT_FDCWD, d, unix.AT_FDCWD, l, unix.RENAME_EXCHANGE)
				}
			}
		})
		opened := 0
		for range 3000 {
			if f, err := tr.Open("d/f"); err == nil {
				opened++
				data, err := io.ReadAll(f)
				if err != nil || string(data) != "inside" {
					t.Errorf("read %q, %v", data, err)
				}
				f.Close()
			}
			_ = tr.Replace("d/f", 6, Meta{Mode: 0o600}, func(w io.WriterAt) error {
				_, err := w.WriteAt([]byte("inside"), 0)
				return err
			})
			_ = tr.Mkdir("d/new")
			_ = tr.Symlink("d/s", "x", 1)
			_ = tr.SetMeta("d/f", Meta{Mode: 0o600})
			if es, err := tr.ReadDir("d"); err == nil && len(es) == 1 && es[0].Info.Mode == 0o400 {
				t.Error("listed outside")
			}
		}
		close(stop)
		done.Wait()
		if opened == 0 {
			t.Error("nothing was ever opened")
		}
		es, err := os.ReadDir(out)
		info, e := os.Stat(filepath.Join(out, "f"))
		if err != nil || e != nil || len(es) != 1 || info.Mode() != 0o400 {
			t.Errorf("outside: %v %v %v %v", es, err, info, e)
		}
	})
}

func TestReplace(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, dir := openDir(t)
		must(t, tr.Mkdir("d"))
		const mtime = 1234567890_123456789
		put := func(path, data string) error {
			return tr.Replace(path, int64(len(data)), Meta{Mode: 0o7751, MTimeNS: mtime}, func(w io.WriterAt) error {
				_, err := w.WriteAt([]byte(data), 0)
				return err
			})
		}
		for _, data := range []string{"first", "second, longer", ""} { // a new name, then existing ones
			must(t, put("d/f", data))
			info, err := tr.Lstat("d/f")
			must(t, err)
			got, err := os.ReadFile(filepath.Join(dir, "d/f"))
			if err != nil || string(got) != data || info.Mode != 0o1751 || info.MTimeNS != mtime || info.Size != int64(len(data)) {
				t.Errorf("%q %v %+v", got, err, info)
			}
			fi, err := os.Stat(filepath.Join(dir, "d/f"))
			if err != nil || fi.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
				t.Errorf("%v %v", fi.Mode(), err)
			}
		}
		must(t, put("d/f", "kept"))
		boom := errors.New("boom")
		for _, name := range []string{"d/f", "d/new"} {
			err := tr.Replace(name, 100, Meta{Mode: 0o600}, func(w io.WriterAt) error {
				_, _ = w.WriteAt([]byte("half"), 0)
				return boom
			})
			if err != boom {
				t.Errorf("error %v", err)
			}
			if err := tr.Replace(name, -1, Meta{}, nil); err == nil {
				t.Error("a negative size")
			}
		}
		// Somebody else takes the name while it is written.
		must(t, tr.Replace("d/raced", 2, Meta{Mode: 0o600}, func(w io.WriterAt) error {
			write(t, filepath.Join(dir, "d/raced"), "theirs")
			_, err := w.WriteAt([]byte("us"), 0)
			return err
		}))
		if got, _ := os.ReadFile(filepath.Join(dir, "d/raced")); string(got) != "us" {
			t.Errorf("raced: %q", got)
		}
		wantKind(t, tr.Replace("d/dir", 0, Meta{}, func(io.WriterAt) error { return os.Mkdir(filepath.Join(dir, "d/dir"), 0o755) }), sendonce.KindExists)
		wantKind(t, put("d/dir", "x"), sendonce.KindExists)
		wantKind(t, tr.Symlink("d/dir", "x", 1), sendonce.KindExists)
		wantKind(t, tr.Mkdir("d/f"), sendonce.KindExists)
		wantKind(t, put("no/f", "x"), sendonce.KindNotFound)
		wantKind(t, put("d/f/x", "x"), sendonce.KindNotFound)
		wantKind(t, put("", "x"), sendonce.KindInvalid)
		must(t, tr.Mkdir("d/dir"))
		must(t, tr.Symlink("d/l", strings.Repeat("t", 4095), mtime))
		must(t, tr.Symlink("d/l", "again", mtime))
		must(t, tr.Symlink("d/raced", "file to link", mtime))
		must(t, put("d/l2", "x"))
		info, err := tr.Lstat("d/l")
		if err != nil || info.MTimeNS != mtime || info.Type != Symlink {
			t.Errorf("%+v %v", info, err)
		}
		must(t, errors.Join(tr.SyncDir("d"), tr.SyncDir(""), tr.Sync()))
		var names []string
		es, err := tr.ReadDir("d")
		must(t, err)
		for _, e := range es {
			names = append(names, e.Name)
		}
		if want := []string{"dir", "f", "l", "l2", "raced"}; !slices.Equal(names, want) {
			t.Errorf("the directory holds %q, want %q", names, want)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "d/f")); string(got) != "kept" {
			t.Errorf("a failure changed the file to %q", got)
		}
	})
}

// Two targets over one directory, in one process, never use one temporary name.
func TestReplaceTwice(t *testing.T) {
	a, dir := openDir(t)
	b, err := open(dir)
	must(t, err)
	defer b.Close()
	fill := func(s string, inner func() error) func(w io.WriterAt) error {
		return func(w io.WriterAt) error {
			_, err := w.WriteAt([]byte(s), 0)
			return errors.Join(err, inner())
		}
	}
	must(t, a.Replace("a", 1, Meta{Mode: 0o600}, fill("a", func() error {
		return b.Replace("b", 1, Meta{Mode: 0o600}, fill("b", func() error { return nil }))
	})))
	for _, n := range []string{"a", "b"} {
		if got, err := os.ReadFile(filepath.Join(dir, n)); string(got) != n {
			t.Errorf("%s: %q %v", n, got, err)
		}
	}
}

// asNobody runs fn on a thread that has no rights of root over files.
func asNobody(t *testing.T, dir string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Geteuid() == 0 {
			runtime.LockOSThread() // never unlocked: the thread ends with its rights
			must(t, os.Chown(dir, 65534, 65534))
			if _, err := unix.SetfsgidRetGid(65534); err != nil {
				t.Error(err)
			}
			if _, err := unix.SetfsuidRetUid(65534); err != nil {
				t.Error(err)
			}
		}
		fn()
	}()
	<-done
}

func TestModeZero(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, dir := openDir(t)
		asNobody(t, dir, func() {
			ok := func(err error) {
				t.Helper()
				if err != nil {
					t.Error(err)
				}
			}
			ok(tr.Mkdir("d"))
			ok(tr.Replace("f", 0, Meta{Mode: 0o600, MTimeNS: 5}, func(io.WriterAt) error { return nil }))
			for _, p := range []string{"d", "f"} {
				for _, m := range []Meta{{0, 1_000_000_007}, {0o1755, 7}, {0o6644, 9}, {0, 11}} {
					ok(tr.SetMeta(p, m))
					info, err := tr.Lstat(p)
					ok(err)
					if info.Mode != m.Mode&sendonce.MaxMode || info.MTimeNS != m.MTimeNS {
						t.Errorf("%s: %+v, want %+v", p, info, m)
					}
				}
			}
			_, err := tr.Open("f")
			wantKind(t, err, sendonce.KindUnauthorized)
			_, err = tr.ReadDir("d")
			wantKind(t, err, sendonce.KindUnauthorized)
			ok(tr.SetMeta("d", Meta{Mode: 0o700}))
		})
	})
	t.Run("proc", func(t *testing.T) { // what chmodPath falls back on
		tr, dir := openDir(t)
		write(t, filepath.Join(dir, "f"), "")
		fd, err := tr.openat("f", unix.O_PATH, 0)
		must(t, err)
		defer unix.Close(fd)
		must(t, unix.Fchmodat(unix.AT_FDCWD, procName(fd), 0o400, 0))
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, procName(fd), times(3), 0))
		info, err := tr.Lstat("f")
		if err != nil || info.Mode != 0o400 || info.MTimeNS != 3 {
			t.Errorf("%+v %v", info, err)
		}
	})
}

func TestCloseOnExec(t *testing.T) {
	bothWays(t, func(t *testing.T) {
		tr, dir := openDir(t)
		write(t, filepath.Join(dir, "a/f"), "x")
		f, err := tr.Open("a/f")
		must(t, err)
		defer f.Close()
		parent, _, err := tr.parent("a/f")
		must(t, err)
		defer unix.Close(parent)
		check := func(fd int) {
			t.Helper()
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("descriptor %d would be inherited: %v", fd, err)
			}
		}
		check(tr.fd)
		check(f.(*file).fd)
		check(parent)
	})
}

// Somebody's lease makes an open say "again" for as long as they like.
func TestLease(t *testing.T) {
	tr, dir := openDir(t)
	path := filepath.Join(dir, "f")
	write(t, path, "x")
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Logf("no leases here: %v", err)
		return
	}
	done := make(chan error, 1)
	go func() {
		_, err := tr.Open("f")
		done <- err
	}()
	select {
	case err := <-done:
		wantKind(t, err, sendonce.KindBusy)
	case <-time.After(20 * time.Second):
		t.Fatal("hangs")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f"), "")
	_, err := OpenTree(filepath.Join(dir, "none"))
	wantKind(t, err, sendonce.KindNotFound)
	_, err = OpenTree(filepath.Join(dir, "f"))
	wantKind(t, err, sendonce.KindNotFound)
	_, err = OpenTarget(filepath.Join(dir, "f", "x"))
	if err == nil {
		t.Error("a directory below a file")
	}
	tr, err := OpenTarget(filepath.Join(dir, "x/y"))
	must(t, err)
	must(t, tr.Close())
}

// Listing 10,000 names needs several calls to the kernel.
func TestManyNames(t *testing.T) {
	tr, dir := openDir(t)
	for i := range 10_000 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d-%s", i, strings.Repeat("x", i%50))), "")
	}
	es, err := tr.ReadDir("")
	must(t, err)
	if len(es) != 10_000 || !slices.IsSortedFunc(es, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d entries", len(es))
	}
}

func BenchmarkReadDir(b *testing.B) {
	tr, dir := openDir(b)
	for i := range 1000 {
		write(b, filepath.Join(dir, fmt.Sprintf("file-%d.go", i)), "")
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := tr.ReadDir(""); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "us/entry")
}

// BenchmarkReplace writes 4 KiB files: under new names with one Sync at the end,
// and each synced before it replaces another.
func BenchmarkReplace(b *testing.B) {
	data := bytes.Repeat([]byte{1}, 4096)
	for _, again := range []bool{false, true} {
		b.Run(fmt.Sprintf("existing=%v", again), func(b *testing.B) {
			tr, _ := openDir(b)
			put := func(i int) {
				err := tr.Replace(fmt.Sprintf("f%d", i), 4096, Meta{Mode: 0o600}, func(w io.WriterAt) error {
					_, err := w.WriteAt(data, 0)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			if again {
				for i := range b.N {
					put(i)
				}
				must(b, tr.Sync())
			}
			b.SetBytes(4096)
			b.ResetTimer()
			for i := range b.N {
				put(i)
			}
			must(b, tr.Sync())
		})
	}
}
