package pebbleidx

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sendonce/indexdb"
	"sendonce/indexdb/indextest"
)

// chacha is the tests' source of randomness.
func chacha() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{1}) }

func openIndex(t testing.TB, fs vfs.FS, now func() time.Time) *indexdb.DB {
	t.Helper()
	db, err := indexdb.New(openMem(t, fs), indexdb.Options{Now: now, Rand: chacha()})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestIndex(t *testing.T) {
	indextest.Run(t, func(t testing.TB, now func() time.Time) func() indexdb.Index {
		fs := vfs.NewMem()
		return func() indexdb.Index { return openIndex(t, fs, now) }
	})
}
