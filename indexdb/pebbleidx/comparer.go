package pebbleidx

import (
	"github.com/cockroachdb/pebble/v2"

	"sendonce/indexdb"
)

// comparer orders keys by their bytes. Its Split makes all rows of one chunk
// share a prefix, so that one look into a table's filter tells whether any of
// them can be there; every other key is its own prefix. The name is on disk: a
// change of Split needs a new one.
var comparer = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Split = split
	c.Name = "sendonce.index.v1"
	return &c
}()

func split(key []byte) int {
	if len(key) > indexdb.ChunkPrefixLen && key[0] == indexdb.ChunkRow {
		return indexdb.ChunkPrefixLen
	}
	return len(key)
}
