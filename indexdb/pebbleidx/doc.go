// Package pebbleidx keeps an index in an embedded Pebble database: the engine
// that a proxy and an index server use by default.
//
// Invariants:
//
//   - Transactions and writes are ordered by one mutex, which is held from a
//     transaction's first read until its batch is applied, and not while the log
//     is synced: those that wait for the disk share one sync.
//   - Nothing is returned, to a reader either, that rests on a write which is
//     not yet durable.
//   - A log that cannot be written or synced ends the process, by Options.Fatal;
//     it is never tried again, for the kernel may have dropped the pages.
//   - A database of a newer format is refused before anything is written.
//
// It does not promise that other processes may look at the directory while it is
// open. Read engine.go first, then reader.go.
package pebbleidx
