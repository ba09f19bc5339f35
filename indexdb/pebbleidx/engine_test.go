package pebbleidx

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce"
	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
)

func openMem(t testing.TB, fs vfs.FS) *Engine {
	t.Helper()
	e, err := Open(fs, "index", Options{CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEngine(t *testing.T) {
	indextest.RunEngine(t, func(t testing.TB) indexdb.Engine { return openMem(t, vfs.NewMem()) })
}

// TestComparer checks the properties that Pebble asks of Split. (Its own
// CheckComparer also cuts leading bytes off, for synthetic prefixes, which
// nothing here uses.)
func TestComparer(t *testing.T) {
	var keys [][]byte
	for _, k := range []string{"a", "c", "cL", "cz", "d\x00"} {
		keys = append(keys, []byte(k))
	}
	for _, id := range []sendonce.ID{{1}, {1, 1}, {2}, {'c'}} {
		p := indexdb.ChunkPrefix(1, id)
		for _, suffix := range []string{"", "L", "R\x00\x01", "U"} {
			k := append(p[:len(p):len(p)], suffix...)
			if n := split(k); n != indexdb.ChunkPrefixLen {
				t.Errorf("%x is split at %d", k, n)
			}
			keys = append(keys, k)
		}
	}
	for _, a := range keys {
		pa := a[:split(a)]
		if len(pa) < len(a) && comparer.Compare(pa, a) >= 0 {
			t.Errorf("the prefix of %x is not before it", a)
		}
		for _, b := range keys {
			pb := b[:split(b)]
			if comparer.Compare(a, b) <= 0 && comparer.Compare(pa, pb) > 0 || comparer.Compare(pa, pb) < 0 && comparer.Compare(a, b) >= 0 {
				t.Errorf("%x and %x are ordered differently from their prefixes", a, b)
			}
		}
	}
}
