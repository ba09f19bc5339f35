package indexdb

import "context"

// Engine is an ordered map from byte strings to byte strings with serialisable
// transactions: all that the rules of this package need of a database.
// Implementations: pebbleidx (embedded); indextest has a memory engine, one
// that refuses, and one that injects faults.
type Engine interface {
	// View calls fn with a reader of one consistent state.
	View(ctx context.Context, fn func(Reader) error) error
	// Update runs fn in a serialisable transaction and returns when its writes
	// are durable. fn may run more than once and must not have other effects.
	// If fn returns an error nothing is written and the error is returned.
	Update(ctx context.Context, fn func(Txn) error) error
	// Write stores blind, idempotent puts and deletes in one atomic, durable
	// step outside any transaction; concurrent Writes may share a sync.
	Write(ctx context.Context, ops []Op) error
	// Close ends the engine.
	Close() error
}

// Op is one blind write; a nil Value deletes the key.
type Op struct {
	Key, Value []byte
}

// Reader reads one state. Slices handed to callbacks are valid only during the
// call; slices returned belong to the caller.
type Reader interface {
	// Get returns one value for each key, nil where there is none. An empty
	// value that exists is returned as a non-nil empty slice.
	Get(keys ...[]byte) ([][]byte, error)
	// Scan calls fn for the keys in [start, end) in ascending order until fn
	// returns false; end nil means no upper bound.
	Scan(start, end []byte, fn func(key, value []byte) (bool, error)) error
	// ScanReverse is Scan in descending order.
	ScanReverse(start, end []byte, fn func(key, value []byte) (bool, error)) error
	// Prefixes calls fn for each pair whose key begins with one of the
	// prefixes, which must be sorted, distinct, and whole chunk prefixes
	// (ChunkPrefix); i is the index of the prefix. This is the question "which
	// of these chunks exist", asked in one sorted pass.
	Prefixes(prefixes [][]byte, fn func(i int, key, value []byte) error) error
}

// Txn is a Reader that sees its own writes, and may write.
type Txn interface {
	Reader
	Put(key, value []byte)
	Delete(key []byte)
}
