// Package pebbleblob is the embedded store: records in a Pebble database of
// their own, written so that each byte goes to the disk about once.
//
// Records get sequential keys (segment, offset). Many bytes at once become a
// sorted table that is written straight to its final place and ingested; few
// bytes go through the write-ahead log in one synced batch. The two ways use two
// disjoint ranges of segments, so that what Pebble flushes and compacts never
// lies across an ingested table, and never rewrites one.
//
// Invariants:
//   - One goroutine (writer.go) hands out locations and writes. Puts that wait
//     for it together share one sync.
//   - A location is handed out once, ever: a number of a segment is reserved
//     durably before its first use, and a restart goes on behind the reserved
//     numbers. What a crash left of an unfinished Put is never overwritten.
//   - Every segment ends with a seal, a row that counts it; only the segment
//     being written has none. Open seals what a crash left open.
//   - A sync that fails ends the process through Options.Fatal. It is never
//     repeated: after a failed fsync nobody knows what the disk holds.
//   - A full disk is not fatal: Puts are refused with KindFull, Pebble's own
//     writes wait, and all goes on when there is space.
//
// What it does not promise: that a Put that returned an error left nothing
// behind (it can leave records that no location points to).
//
// Read store.go first, then writer.go and keys.go.
package pebbleblob
