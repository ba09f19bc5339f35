package pebbleidx

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/indexdb"
)

// benchEntries is how many chunks the index of the benchmarks holds, each with a
// location and a reference.
const benchEntries = 1_000_000

// benchID is the ID of chunk n: random to the index, known to the benchmark.
func benchID(n uint64) (id sendonce.ID) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], n)
	rand.NewChaCha8(seed).Read(id[:])
	return id
}

var bench struct {
	sync.Once
	db  *indexdb.DB
	who indexdb.Asker
}

// benchIndex returns an index of benchEntries chunks in a memory filesystem, so
// that the processor is measured and not the disk. It is made once.
func benchIndex(b *testing.B) (*indexdb.DB, indexdb.Asker) {
	bench.Do(func() {
		e, err := Open(vfs.NewMem(), "index", Options{})
		if err != nil {
			b.Fatal(err)
		}
		db, err := indexdb.New(e, indexdb.Options{Now: fixed, Rand: chacha()})
		if err != nil {
			b.Fatal(err)
		}
		bench.db, bench.who = db, benchFolder(b, db)
		for n := uint64(0); n < benchEntries; n += 20_000 {
			c := &indexdb.Commit{Who: bench.who}
			binary.BigEndian.PutUint64(c.Op[:], n+1)
			var refs []sendonce.ID
			for i := range uint64(20_000) {
				id := benchID(n + i)
				refs = append(refs, id)
				c.Stored = append(c.Stored, indexdb.Stored{ID: id, Size: 65536, Index: uint32(i % 16),
					Location: sendonce.Location{Segment: n, Offset: uint32(i), Length: 1 << 20}})
			}
			root := benchID(1<<62 + n)
			c.Stored = append(c.Stored, indexdb.Stored{ID: root, Location: sendonce.Location{Segment: n, Length: 1}})
			c.Changes = []indexdb.Change{{Node: sendonce.NodeID(c.Op), SetPlace: true, Parent: bench.who.Folder.Root(), Name: root.String(),
				Kind: sendonce.KindFile, SetContent: true, Size: 1, Refs: refs, Pages: []sendonce.ID{root},
				Content: sendonce.Content{Root: root, Level: 2, Count: 20_000}}}
			if _, err := db.Commit(ctx, c); err != nil {
				b.Fatal(err)
			}
		}
		if err := e.Compact(ctx); err != nil {
			b.Fatal(err)
		}
	})
	return bench.db, bench.who
}

func benchFolder(b *testing.B, db *indexdb.DB) indexdb.Asker {
	who := indexdb.Asker{Tenant: 1, Device: sendonce.DeviceID{1}, Folder: sendonce.FolderID{2}}
	_, err := db.CreateFolder(ctx, indexdb.Folder{ID: who.Folder, Tenant: 1, Name: "f"})
	if err == nil {
		err = db.AddInvite(ctx, indexdb.Invite{Tenant: 1, Role: sendonce.RoleReadWrite, Expires: fixed().Add(1e9)})
	}
	if err == nil {
		_, err = db.Redeem(ctx, [32]byte{}, who.Device, "d", fixed(), sendonce.FolderID{})
	}
	if err != nil {
		b.Fatal(err)
	}
	return who
}

// Bytes per second are of IDs: divide by 32 for IDs per second.
func benchPresent(b *testing.B, known bool) {
	const batch = 10_000
	db, who := benchIndex(b)
	b.SetBytes(32 * batch)
	rng := rand.New(rand.NewPCG(1, 2))
	ids := make([]sendonce.ID, batch)
	for b.Loop() {
		b.StopTimer()
		for i := range ids {
			n := rng.Uint64N(benchEntries)
			if !known {
				n += 1 << 40
			}
			ids[i] = benchID(n)
		}
		b.StartTimer()
		got, err := db.Present(ctx, who, ids)
		if err != nil || slices.Contains(got, !known) {
			b.Fatal("wrong answer", err)
		}
	}
}

func BenchmarkPresentAbsent(b *testing.B)  { benchPresent(b, false) }
func BenchmarkPresentPresent(b *testing.B) { benchPresent(b, true) }

// BenchmarkCommit commits 1,000 new files, each with one chunk that has been
// stored. One op is one commit.
func BenchmarkCommit(b *testing.B) {
	db, who := benchIndex(b)
	n := uint64(1 << 50)
	for b.Loop() {
		b.StopTimer()
		c := &indexdb.Commit{Who: who}
		dir := benchID(n)
		copy(c.Op[:], dir[:])
		var stored []indexdb.Stored
		for range sendonce.MaxChanges {
			n++
			id := benchID(n)
			stored = append(stored, indexdb.Stored{ID: id, Size: 9, Location: sendonce.Location{Segment: n, Length: 1}})
			c.Changes = append(c.Changes, indexdb.Change{Node: sendonce.NodeID(id[:16]), SetPlace: true, Parent: who.Folder.Root(), Name: id.String(),
				Kind: sendonce.KindFile, SetMeta: true, SetContent: true, Size: 9, Refs: []sendonce.ID{id},
				Content: sendonce.Content{Refs: []sendonce.Ref{{ID: id, Size: 9}}}})
		}
		if err := db.AddStored(ctx, 1, who.Device, stored); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		if _, err := db.Commit(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAddStored records 1,000 new chunks with receipts.
func BenchmarkAddStored(b *testing.B) {
	db, who := benchIndex(b)
	b.SetBytes(32 * 1000)
	n := uint64(1 << 55)
	stored := make([]indexdb.Stored, 1000)
	for b.Loop() {
		b.StopTimer()
		for i := range stored {
			n++
			stored[i] = indexdb.Stored{ID: benchID(n), Size: 9, Location: sendonce.Location{Segment: n, Length: 1}}
		}
		b.StartTimer()
		if err := db.AddStored(ctx, 1, who.Device, stored); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChildren lists a directory of 10,000 files. One op is one listing.
func BenchmarkChildren(b *testing.B) {
	db, err := indexdb.New(openBench(b), indexdb.Options{Now: fixed, Rand: chacha()})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	who := benchFolder(b, db)
	for n := range uint64(10) {
		c := &indexdb.Commit{Who: who, Op: sendonce.OpID{byte(n + 1)}}
		for i := range uint64(1000) {
			id := benchID(n*1000 + i)
			c.Changes = append(c.Changes, indexdb.Change{Node: sendonce.NodeID(id[:16]), SetPlace: true, Parent: who.Folder.Root(),
				Name: id.String(), Kind: sendonce.KindFile})
		}
		if _, err := db.Commit(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		n := 0
		err := db.Children(ctx, 1, who.Folder, 0, who.Folder.Root(), "", func(*sendonce.Node) (bool, error) { n++; return true, nil })
		if err != nil || n != 10_000 {
			b.Fatal(n, err)
		}
	}
}

func openBench(b *testing.B) *Engine {
	e, err := Open(vfs.NewMem(), "index", Options{})
	if err != nil {
		b.Fatal(err)
	}
	return e
}

func TestBenchIDs(t *testing.T) {
	a, b := benchID(1), benchID(2)
	if bytes.Equal(a[:], b[:]) || a != benchID(1) {
		t.Error("the benchmarks' IDs are not distinct, or not stable")
	}
}
