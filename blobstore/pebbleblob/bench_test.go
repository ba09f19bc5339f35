package pebbleblob

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
)

// The benchmarks run on a real directory (TMPDIR), with default options and
// bytes that do not compress. WA is bytes written to tables and log per byte of
// records; the time to settle is in it.

func benchOpen(b *testing.B, o Options) *Store {
	o.Fatal = func(err error) { b.Fatal(err) }
	s, err := Open(vfs.Default, b.TempDir(), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

func benchRecords(n, size int) ([][]byte, int64) {
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([][]byte, n)
	for i := range records {
		records[i] = make([]byte, size)
		for j := 0; j+8 <= size; j += 8 {
			v := rng.Uint64()
			for k := range 8 {
				records[i][j+k] = byte(v >> (8 * k))
			}
		}
	}
	return records, int64(n) * int64(size)
}

func reportWA(b *testing.B, s *Store, user int64) {
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	tables, log := written(s.db.Metrics())
	b.ReportMetric(float64(tables+log)/float64(user), "WA")
}

// Put of groups as a proxy makes them: 256 KiB records.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{4, 16, 64} {
		b.Run(fmt.Sprintf("%dMiB", n/4), func(b *testing.B) {
			s := benchOpen(b, Options{})
			records, bytes := benchRecords(n, 256<<10)
			b.SetBytes(bytes)
			for b.Loop() {
				mustPut(b, s, records...)
			}
			reportWA(b, s, bytes*int64(b.N))
		})
	}
}

// The same bytes, as a table and through the log: this is what defaultTableBytes
// was chosen by.
func BenchmarkPutBothWays(b *testing.B) {
	for _, kib := range []int{64, 256, 512, 1024, 2048} {
		for name, o := range map[string]Options{"table": {TableBytes: 1}, "log": {TableBytes: 1 << 40}} {
			b.Run(fmt.Sprintf("%dKiB/%s", kib, name), func(b *testing.B) {
				s := benchOpen(b, o)
				records, bytes := benchRecords(kib/64, 64<<10)
				b.SetBytes(bytes)
				for b.Loop() {
					mustPut(b, s, records...)
				}
				reportWA(b, s, bytes*int64(b.N))
			})
		}
	}
}

func BenchmarkPutSmall(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		s := benchOpen(b, Options{})
		records, bytes := benchRecords(1, 4<<10)
		b.SetBytes(bytes)
		for b.Loop() {
			mustPut(b, s, records...)
		}
		reportWA(b, s, bytes*int64(b.N))
	})
	b.Run("64 callers", func(b *testing.B) {
		s := benchOpen(b, Options{})
		records, bytes := benchRecords(1, 4<<10)
		b.SetBytes(bytes)
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				mustPut(b, s, records...)
			}
		})
		reportWA(b, s, bytes*int64(b.N))
	})
}

// Get from 512 MiB of 256 KiB records (more than the cache, less than the
// system's page cache).
func BenchmarkGet(b *testing.B) {
	s := benchOpen(b, Options{})
	records, _ := benchRecords(64, 256<<10)
	var locs []sendonce.Location
	for range 32 {
		locs = append(locs, mustPut(b, s, records...)...)
	}
	get := func(b *testing.B, locs []sendonce.Location) {
		n := int64(0)
		err := s.Get(context.Background(), locs, func(_ int, r []byte) error {
			if r == nil {
				b.Fatal("a record is not there")
			}
			n += int64(len(r))
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		if n != int64(len(locs))*256<<10 {
			b.Fatalf("%d bytes", n)
		}
	}
	b.Run("runs of 64", func(b *testing.B) {
		b.SetBytes(64 * 256 << 10)
		i := 0
		for b.Loop() {
			get(b, locs[i:i+64])
			i = (i + 64) % len(locs)
		}
	})
	b.Run("64 random", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 3))
		ask := make([]sendonce.Location, 64)
		b.SetBytes(64 * 256 << 10)
		for b.Loop() {
			for i := range ask {
				ask[i] = locs[rng.IntN(len(locs))]
			}
			get(b, ask)
		}
	})
	b.Run("1 random", func(b *testing.B) {
		rng := rand.New(rand.NewPCG(1, 3))
		b.SetBytes(256 << 10)
		for b.Loop() {
			i := rng.IntN(len(locs))
			get(b, locs[i:i+1])
		}
	})
}
