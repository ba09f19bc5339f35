// Package blobstore is the contract of the storage server's role: it keeps
// packs, tells where it put them, and gives them back.
//
// A store knows nothing of chunks: a record is opaque bytes (package content
// defines what is inside, so that the index can be rebuilt from the store).
//
// Invariants: a Location that Put returned stays readable until its segment is
// dropped, across crashes; nothing that was not returned is promised. What it
// does not promise: that equal records are stored once (the index sees to that),
// nor any order between concurrent Puts.
//
// Implementations: pebbleblob (embedded). Package blobtest holds the conformance
// suite that each must pass, a memory store, one that refuses, one that injects
// faults.
package blobstore

import (
	"context"

	"sendonce"
)

// Store keeps records. All methods may be called concurrently.
type Store interface {
	// Put makes records durable and returns one location for each, in order.
	// When it returns nil error, every record survives a crash. On error none
	// is promised, though some may have been written. The store does not keep
	// the slices after it returns. Concurrent Puts may share one sync.
	// Errors: KindFull when the disk is full; KindLimit for a record over
	// MaxRecord.
	Put(ctx context.Context, records [][]byte) ([]sendonce.Location, error)

	// Get reads records and calls fn once for each location, in an order that
	// suits the store; i is the index in locs. record is valid only during the
	// call. A location that is not there (never was, or was dropped) gives fn a
	// nil record. A checksum error of the engine is KindDamaged and ends Get.
	// An error from fn ends Get and is returned as it is.
	Get(ctx context.Context, locs []sendonce.Location, fn func(i int, record []byte) error) error

	// Close ends the store; calls under way finish first.
	Close() error
}

// MaxRecord is the largest record: a pack and its header.
const MaxRecord = sendonce.MaxPack + 1<<20

// Segment describes one segment of a store.
type Segment struct {
	ID      uint64
	Bytes   int64 // of records, headers of the engine not counted
	Records int64
}

// Maintainer is the optional ability that rewriting, rebuilding the index and
// verification need.
type Maintainer interface {
	// Segments lists the segments in ascending order of ID.
	Segments(ctx context.Context) ([]Segment, error)
	// Scan calls fn for every record of a segment in order of offset; record is
	// valid only during the call.
	Scan(ctx context.Context, segment uint64, fn func(loc sendonce.Location, record []byte) error) error
	// Drop removes a segment whole; its locations then read as nil. Dropping a
	// segment that is not there is no error.
	Drop(ctx context.Context, segment uint64) error
}
