package pebbleblob

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"sendonce/blobstore"
	"sendonce/blobstore/blobtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testOptions make a store that is quick to open and fails the test when it
// would end the process.
func testOptions(t testing.TB) Options {
	return Options{MemtableBytes: 1 << 20, CacheBytes: 1 << 20, Fatal: func(err error) { t.Errorf("fatal: %v", err) }}
}

// opener returns an Open for the suite, each store on a filesystem of its own.
func opener(o Options) blobtest.Open {
	return func(t testing.TB) (blobstore.Store, func() blobstore.Store) {
		fs := vfs.NewMem()
		o := o
		d := testOptions(t)
		o.MemtableBytes, o.CacheBytes, o.Fatal = d.MemtableBytes, d.CacheBytes, d.Fatal
		open := func() *Store {
			s, err := Open(fs, "/srv/chunks", o)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		return s, func() blobstore.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open()
			return s
		}
	}
}

func TestConformance(t *testing.T) {
	blobtest.Run(t, opener(Options{}))
}

// Small segments and a low bar for tables: every call crosses segments.
func TestConformanceSmallSegments(t *testing.T) {
	blobtest.Run(t, opener(Options{SegmentBytes: 5000, TableBytes: 3000}))
}
