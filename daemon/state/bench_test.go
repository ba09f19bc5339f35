package state

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
)

// benchID scatters as random IDs do.
func benchID(n int) (id sendonce.NodeID) {
	x := uint64(n)*0x9E3779B97F4A7C15 + 1
	binary.BigEndian.PutUint64(id[:], x^x>>29)
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

func benchRows(n, dirs int) ([]Local, []sendonce.Node) {
	local, synced := make([]Local, n), make([]sendonce.Node, n)
	for i := range n {
		chunk := sendonce.ID(sha256.Sum256(binary.AppendUvarint(nil, uint64(i))))
		c := sendonce.Content{Refs: []sendonce.Ref{{ID: chunk, Size: 20000}}}
		mtime := int64(1_700_000_000_123_456_789) + int64(i)*1e9
		local[i] = Local{Node: benchID(i + dirs), Parent: benchID(i % dirs), Name: fmt.Sprintf("source_file_%d.go", i), Kind: sendonce.KindFile,
			Stat: Stat{Dev: 2049, Ino: 5_000_000 + uint64(i), Size: 20000, MTimeNS: mtime, CTimeNS: mtime + 5e6, BirthNS: mtime - 3e6, Mode: 0o644}, Content: c}
		l := &local[i]
		synced[i] = sendonce.Node{ID: l.Node, Parent: l.Parent, Name: l.Name, Kind: l.Kind, Rev: uint64(i), Mode: l.Stat.Mode, MTimeNS: mtime, Size: 20000, Content: c}
	}
	return local, synced
}

var benchFolder = sendonce.FolderID{1, 2, 3}

func benchOpen(b *testing.B, fs vfs.FS, dir string) *DB {
	b.Helper()
	d, err := Open(fs, dir, Options{})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func benchFill(b *testing.B, d *DB, n, dirs int) {
	b.Helper()
	local, synced := benchRows(n, dirs)
	for i := 0; i < n; i += 1000 {
		end := min(n, i+1000)
		if err := d.Apply(benchFolder, &Batch{SetLocal: local[i:end], SetSynced: synced[i:end]}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkApply writes 1,000 new files, Local and Synced, in a durable batch.
func BenchmarkApply(b *testing.B) {
	d := benchOpen(b, vfs.Default, b.TempDir())
	const rows = 1000
	local, synced := benchRows(rows*b.N, 1000)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		r := [2]int{i * rows, (i + 1) * rows}
		if err := d.Apply(benchFolder, &Batch{SetLocal: local[r[0]:r[1]], SetSynced: synced[r[0]:r[1]]}); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(rows*b.N), "us/row")
	m := d.p.Metrics()
	b.ReportMetric(float64(m.WAL.BytesIn)/float64(rows*b.N), "log-B/row")
	b.ReportMetric(float64(m.DiskSpaceUsage())/float64(rows*b.N), "disk-B/row")
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLocalChildren reads 20,000 rows in 1,000 directories.
func BenchmarkLocalChildren(b *testing.B) {
	d := benchOpen(b, vfs.Default, b.TempDir())
	const rows, dirs = 20000, 1000
	benchFill(b, d, rows, dirs)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		v := d.Reader(benchFolder)
		n := 0
		for i := range dirs {
			c, err := v.LocalChildren(benchID(i))
			if err != nil {
				b.Fatal(err)
			}
			n += len(c)
		}
		if n != rows {
			b.Fatalf("%d rows, want %d", n, rows)
		}
		if err := v.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rows*b.N), "ns/row")
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpenClose is what a pass without changes pays: a state of 11,500
// files is opened, its directories are read, and it is closed.
func BenchmarkOpenClose(b *testing.B) {
	for _, read := range []bool{false, true} {
		b.Run(fmt.Sprintf("read=%v", read), func(b *testing.B) {
			dir := b.TempDir()
			d := benchOpen(b, vfs.Default, dir)
			benchFill(b, d, 11500, 700)
			if err := d.Close(); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			for range b.N {
				d := benchOpen(b, vfs.Default, dir)
				if read {
					for i := range 700 {
						if _, err := d.Live(benchFolder).LocalChildren(benchID(i)); err != nil {
							b.Fatal(err)
						}
					}
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
