package daemon_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sendonce"
	"sendonce/internal/fsys/fsystest"
)

// everything fills a directory with what is awkward.
func everything(d *device) {
	t := d.w.t
	d.write("empty", nil)
	d.write("one", []byte{1})
	d.write("inline limit", noise(1, sendonce.MaxInline))
	d.write("over inline", noise(2, sendonce.MaxInline+1))
	d.write("zeros 256", make([]byte, 256))
	d.write("zeros 257", make([]byte, 257))
	d.write("zeros", make([]byte, 300<<10))
	d.write("small limit", noise(3, 1<<20))
	d.write("over small", noise(4, 1<<20+1))
	d.write("large", noise(5, 5<<20))
	d.write("tree", noise(6, 40*64<<10)) // more references than a node holds
	d.write("deep/er/and/deeper", []byte("x"))
	d.write("name\nwith:newline", []byte("n"))
	d.write("\xff\xfe not UTF-8", []byte("b"))
	d.write(strings.Repeat("n", 255), []byte("long"))
	d.write("-", []byte("dash"))
	d.w.must(os.Mkdir(d.path("empty dir"), 0o700))
	d.w.must(os.Mkdir(d.path("sticky"), 0o755))
	d.w.must(os.Chmod(d.path("sticky"), 0o755|os.ModeSticky))
	d.write("read only", []byte("r"))
	d.w.must(os.Chmod(d.path("read only"), 0o444))
	d.write("runs", []byte("#!"))
	d.w.must(os.Chmod(d.path("runs"), 0o755))
	d.w.must(os.Symlink("nowhere/at all", d.path("link")))
	d.w.must(os.Symlink("\xff", d.path("\xfd")))
	f, err := os.Create(d.path("sparse"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(noise(7, 100<<10), 4<<20)
	d.w.must(err)
	d.w.must(f.Truncate(9 << 20))
	d.w.must(f.Close())
	d.w.must(os.Chtimes(d.path("sparse"), old, old))
	d.w.must(os.Chtimes(d.path("deep/er"), old, old))
}

func TestPushAndRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	everything(d)
	sum := d.sync()
	if sum.Commits == 0 || sum.BytesMissing < 8<<20 {
		t.Errorf("summary: %+v", sum)
	}
	d.verify()
	d.settle()
	d.quiet()
}

func TestChangeOfOneLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	data := noise(1, 600<<10)
	d.write("a", data)
	d.sync()
	data[300<<10] ^= 1
	d.write("a", data)
	sum := d.sync()
	if sum.ChunksMissing != 1 || sum.Changes != 1 {
		t.Errorf("a changed byte sent %d chunks in %d changes", sum.ChunksMissing, sum.Changes)
	}
	d.verify()
}

func TestAppendSendsAnEditScript(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	data := noise(1, 40<<20)
	d.write("a", data)
	first := d.sync()
	data = append(data, "one more line\n"...)
	d.write("a", data)
	sum := d.sync()
	if sum.Chunks > 2 || first.Chunks < 300 {
		t.Errorf("appending offered %d references; the whole file has %d", sum.Chunks, first.Chunks)
	}
	d.verify()
}

func TestMoveOfDirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	for i := range 1000 {
		d.write(fmt.Sprintf("dir/%d", i), fmt.Appendf(nil, "file %d", i))
	}
	d.sync()
	d.settle()
	w.must(os.Rename(d.path("dir"), d.path("other")))
	sum := d.sync()
	if sum.Changes != 1 || sum.FilesRead != 0 {
		t.Errorf("renaming a directory: %d changes, %d files read", sum.Changes, sum.FilesRead)
	}
	d.verify()
	d.quiet()
}

func TestCopySendsNoChunk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	data := noise(1, 3<<20)
	d.write("a", data)
	d.sync()
	d.write("b", data)
	sum := d.sync()
	if sum.ChunksMissing != 0 || sum.Packs != 0 || sum.Changes != 1 {
		t.Errorf("a copy: %+v", sum)
	}
	d.verify()
}

func TestDeleteAndReplaceByOtherKinds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("gone", []byte("x"))
	d.write("dir/a", []byte("a"))
	d.write("dir/sub/b", []byte("b"))
	d.write("file", []byte("f"))
	d.write("swap1", noise(1, 5000))
	d.write("swap2", noise(2, 6000))
	d.sync()
	d.settle()

	w.must(os.Remove(d.path("gone")))
	w.must(os.RemoveAll(d.path("dir")))
	d.write("dir", []byte("a file now")) // directory -> file
	w.must(os.Remove(d.path("file")))
	d.write("file/inner/x", []byte("a directory now")) // file -> directory
	w.must(os.Rename(d.path("swap1"), d.path("t")))
	w.must(os.Rename(d.path("swap2"), d.path("swap1")))
	w.must(os.Rename(d.path("t"), d.path("swap2")))
	d.sync()
	d.verify()
	d.settle()
	d.quiet()

	w.must(os.Remove(d.path("dir"))) // and back
	d.write("dir/a", []byte("a"))
	w.must(os.RemoveAll(d.path("file")))
	d.write("file", []byte("f"))
	d.sync()
	d.verify()
}

func TestFileThatShrinksAndGrows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	data := noise(1, 3<<20)
	for _, size := range []int{0, 3 << 20, 0, 256, 257, 2 << 20, 100, 3 << 20, 1 << 20, 64 << 10} {
		d.write("a", data[:size])
		d.sync()
		d.verify()
	}
}

// A commit whose chunks lie in a pack that is not full goes through while the
// next file takes its time.
func TestCommitsDoNotWaitForFullPacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("a", noise(1, 400))
	for i := range 1000 {
		d.write(fmt.Sprintf("b%d", i), nil)
	}
	d.write("z", noise(2, 400))
	f, err := d.Folders()
	w.must(err)
	d.hook(func(tr *fsystest.Tree) {
		tr.Before = func(op fsystest.Op, path string) error {
			if op == fsystest.Read && path == "z" {
				w.eventually("the commit before the slow file is durable", func() bool {
					head, err := w.index.Head(t.Context(), sendonce.DefaultTenant, f[0].ID)
					return err == nil && head.Seq == 1
				})
			}
			return nil
		}
	})
	d.sync()
	d.verify()
}

func TestPushOfMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	for i := range 12 {
		d.write(fmt.Sprintf("large %d", i), noise(uint64(i), 4<<20))
		for j := range 20 {
			d.write(fmt.Sprintf("small %d %d", i, j), noise(uint64(1000+100*i+j), 50<<10))
		}
	}
	d.sync()
	d.verify()
}

func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("a", noise(1, 2<<20))
	d.write("dir/b", nil)
	sum, err := d.Sync(t.Context(), nil, dryRun)
	w.must(err)
	if sum.Changes != 3 || sum.FilesRead != 0 || sum.Commits != 0 {
		t.Errorf("dry run: %+v", sum)
	}
	again, err := d.Sync(t.Context(), nil, dryRun)
	w.must(err)
	if again.Changes != 3 {
		t.Errorf("a second dry run sees %d changes", again.Changes)
	}
	if got := d.sync(); got.Changes != 3 {
		t.Errorf("the pass made %d changes", got.Changes)
	}
	d.verify()
}

func TestUntouchedBytesAreNotSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("small", noise(1, 100<<10))
	d.write("large", noise(2, 3<<20))
	d.sync()
	d.settle()
	later := old.Add(time.Hour)
	for _, name := range []string{"small", "large"} {
		w.must(os.Chtimes(d.path(name), later, later))
		w.must(os.Chmod(d.path(name), 0o600))
	}
	sum := d.sync()
	if sum.Changes != 2 || sum.ChunksMissing != 0 || sum.Chunks != 0 {
		t.Errorf("new times and modes: %+v", sum)
	}
	d.verify()
	// Only the inode's own time moved: read, found the same, and remembered.
	w.must(os.Chmod(d.path("small"), 0o644))
	w.must(os.Chmod(d.path("small"), 0o600))
	w.must(os.Chtimes(d.path("large"), later, later))
	if sum = d.sync(); sum.Changes != 0 {
		t.Errorf("nothing changed, and %d changes were sent", sum.Changes)
	}
	d.settle()
	d.quiet()
}

func TestEqualFilesOfOnePushTravelOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	data := noise(1, 3<<20)
	for i := range 5 {
		d.write(fmt.Sprint("large", i), data)
		d.write(fmt.Sprint("small", i), data[:90_000])
	}
	sum := d.sync()
	if sum.BytesMissing > int64(len(data))+200_000 {
		t.Errorf("%d bytes were sent for %d different ones", sum.BytesMissing, len(data))
	}
	d.verify()
}

func TestSummaryCountsLogicalSizes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	d := w.device(sendonce.RoleReadWrite)
	d.write("a", bytes.Repeat([]byte("text "), 100_000))
	sum := d.sync()
	if sum.Files != 1 || sum.BytesScanned != 500_000 || sum.BytesRead != 500_000 || sum.FilesRead != 1 {
		t.Errorf("summary: %+v", sum)
	}
	if sum.PackBytes >= sum.BytesMissing/4 || sum.WireSent == 0 {
		t.Errorf("text was not compressed: %+v", sum)
	}
}
