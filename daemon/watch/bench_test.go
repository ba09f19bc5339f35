package watch

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sendonce/internal/fsys"
)

// BenchmarkStart watches 2,100 directories (and lists them, to find them) with the
// system's own source, and ends the watching.
func BenchmarkStart(b *testing.B) {
	const tops, subs = 100, 20
	root := b.TempDir()
	for i := range tops {
		for j := range subs {
			if err := os.MkdirAll(filepath.Join(root, fmt.Sprintf("top-%d/sub-%d", i, j)), 0o755); err != nil {
				b.Fatal(err)
			}
		}
	}
	tree, err := fsys.OpenTree(root)
	if err != nil {
		b.Fatal(err)
	}
	defer tree.Close()
	const dirs = tops*(subs+1) + 1
	b.ReportAllocs()
	for b.Loop() {
		w, err := Start(context.Background(), Options{Dir: root, Tree: tree, Settle: time.Second,
			Hints: make(chan Hint), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		if st := w.Status(); st.Directories != dirs {
			b.Fatalf("%+v, want %d directories", st, dirs)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/1000/float64(b.N*dirs), "us/dir")
}
