package daemon_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sendonce"
)

// benchPush pushes what fill writes, each time to a new server.
func benchPush(b *testing.B, fill func(d *device) int64) {
	b.ReportAllocs()
	var size int64
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b)
		d := w.device(sendonce.RoleReadWrite)
		size = fill(d)
		b.SetBytes(size)
		runtime.GC()
		b.StartTimer()
		d.sync()
		b.StopTimer()
		if err := os.RemoveAll(d.dir); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkPushRandom(b *testing.B) {
	data := noise(1, 64<<20)
	benchPush(b, func(d *device) int64 {
		d.write("a", data)
		return int64(len(data))
	})
}

func BenchmarkPushSource(b *testing.B) {
	files := map[string][]byte{}
	root := filepath.Join(runtime.GOROOT(), "src", "net")
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		files[strings.TrimPrefix(p, root+"/")], err = os.ReadFile(p)
		return err
	})
	if err != nil {
		b.Fatalf("this benchmark pushes the sources of the Go toolchain, which are not here: %v", err)
	}
	benchPush(b, func(d *device) int64 {
		var n int64
		for name, data := range files {
			d.write(name, data)
			n += int64(len(data))
		}
		return n
	})
}

func BenchmarkPushSmallFiles(b *testing.B) {
	benchPush(b, func(d *device) int64 {
		var n int64
		for i := range 11_500 {
			data := noise(uint64(i), 300+i%4096)
			d.write(fmt.Sprintf("%d/%d", i/100, i), data)
			n += int64(len(data))
		}
		return n
	})
}
